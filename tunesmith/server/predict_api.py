"""POST /v1/predict: rows, pictures or recordings to a tuned model's predictions, as ``tunesmith predict`` gives them.

The route is ours: OpenAI's API has none for classes, boxes and masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from starlette.responses import JSONResponse
from starlette.routing import Route

from tunesmith.data.source import read_rows
from tunesmith.errors import UserError
from tunesmith.run import jsonable
from tunesmith.server.answering import Answered, ask, refuse
from tunesmith.server.audio_api import check_length
from tunesmith.server.forms import Form, Incoming, content_of_uri, read_form, request_folder
from tunesmith.server.requests import Body, Id, parsed, read_body

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from tunesmith.types import Row

PATH = "/v1/predict"
MOST = 256
ELSEWHERE = {
    "decoder": "/v1/chat/completions",
    "text-to-image": "/v1/images/generations",
}
"""Kinds of models that are asked at another route."""
Given = Mapping[str, Any]


class PredictBody(Body):
    """The JSON that is posted.

    ``inputs`` are rows with the task's input columns, and an ``id`` if that is wanted; a column that names a file
    holds a ``data:`` URI in base64.
    """

    model: Id
    inputs: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST)]


class PredictForm(Body):
    """The fields of the form that brings files, beside the files themselves (``file``, as often as wanted)."""

    model: Id
    language: Annotated[str, Field(min_length=2, max_length=32)] | None = None


def routes() -> list[Route]:
    """Routes of this room."""
    return [Route(PATH, predict, methods=["POST"])]


async def predict(request: Request) -> Response:
    """A prediction for each input, in their order."""
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        async with read_form(request, most_files=MOST) as form:
            asked = parsed(form.plain(), PredictForm)
            files = [file for given in form.files.values() for file in given]
            if not files:
                raise refuse("file", "Missing required parameter: 'file'")
            said = await ask(request, asked.model, _check, lambda task, _: _rows_of_files(task, files, asked.language))
        return _answer(said, asked.model)
    body = await read_body(request, PredictBody)
    async with request_folder(request) as folder:
        form = Form(folder)
        said = await ask(request, body.model, _check, lambda task, _: _rows_of_json(task, body.inputs, form))
    return _answer(said, body.model)


def _check(kind: str) -> None:
    if kind in ELSEWHERE:
        raise refuse("model", f"a {kind} model is asked at {ELSEWHERE[kind]}")


def _rows_of_files(task: Any, files: Sequence[Incoming], language: str | None) -> list[Row]:
    column = file_column(task)
    if column is None:
        columns = ", ".join(task.inputs)
        raise refuse("file", f"a model for {task.name} reads no files: send JSON with inputs that have {columns}")
    spoken = {} if language is None else {"language": language}
    rows = [_file_row(column, file, str(number), spoken) for number, file in enumerate(files, 1)]
    check_length(rows)
    return rows


def _rows_of_json(task: Any, inputs: Sequence[Given], form: Form) -> list[Row]:
    """Rows with all input columns; files among them are written to the request's folder first."""
    column = file_column(task)
    rows: list[Row] = []
    for number, given in enumerate(inputs):
        place = f"inputs.{number}"
        name = given.get("id", str(number + 1))
        if not isinstance(name, (str, int)) or isinstance(name, bool):
            raise refuse(f"{place}.id", "an id is a text or a whole number")
        if column is None:
            rows.append(_plain_row(task, {**given, "id": str(name)}, place))
            continue
        if column not in given:
            raise refuse(f"{place}.{column}", f"input {number + 1} has no {column!r}")
        content = content_of_uri(given[column], f"{place}.{column}")
        spoken = {"language": str(given["language"])} if given.get("language") else {}
        rows.append(_file_row(column, form.add(column, f"{column} {number + 1}", content), str(name), spoken))
    check_length(rows)
    return rows


def _plain_row(task: Any, given: Given, place: str) -> Row:
    """One row as ``tunesmith predict`` takes it.

    Raises:
        ApiFault: It lacks an input column, or holds something else there.
    """
    row: Row = {name: value for name, value in given.items() if name != task.target}
    shape = task.row_shape(task.options, answered=False)
    if shape is not None:
        try:
            row = read_rows([given], shape=shape)[0]
        except UserError as fault:
            raise refuse(place, f"{fault.what}; {fault.fix}") from fault
    for name in task.inputs:
        if row.get(name) is None:
            columns = ", ".join(task.inputs)
            raise refuse(f"{place}.{name}", f"an input has no {name!r}: a model for {task.name} reads {columns}")
        if task.columns[name] is str and not isinstance(row[name], str):
            raise refuse(f"{place}.{name}", f"{name!r} is no text")
    return row


def _file_row(column: str, file: Incoming, name: str, more: Given) -> Row:
    row: dict[str, Any] = {"id": name, column: str(file.place), "file_name": file.name, **more}
    if column != "audio":
        return row
    from tunesmith.speech.inputs import recording_row

    return {**recording_row(file.place, file.name), **row}


def file_column(task: Any) -> str | None:
    """The input column of a task that names a file; None where rows hold what is read themselves."""
    found = [name for name in task.inputs if name in task.file_columns]
    return found[0] if found and task.reads_files else None


def _answer(said: Answered, model: str) -> Response:
    data = []
    for index, (row, one, why) in enumerate(zip(said.rows, said.predictions, said.faults, strict=True)):
        found = {"object": "prediction", "index": index, "id": row["id"], "prediction": jsonable(one)}
        data.append(found if why is None else {**found, "fault": why})
    answer = {"object": "list", "model": model, "task": said.task.name, "data": data}
    labels = said.task.facts.values.get("labels")
    return JSONResponse(answer if labels is None else {**answer, "classes": [str(label) for label in labels]})
