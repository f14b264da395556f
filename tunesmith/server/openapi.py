"""The published OpenAPI of the server, made of its routes and of the bodies they read. It answers no route.

What a route is for is the first line of its docstring; what it takes is the class that checks it. What is written by
hand is only what a class can't say: forms, pages of lists, and the shapes of answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from tunesmith.server import answer_shapes
from tunesmith.server.requests import MOST_LISTED, Body, ChatBody, CompletionBody, EmbeddingBody, ImageBody, JobBody

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

Schema = dict[str, Any]
REF = "#/components/schemas/{model}"
ERRORS = {
    "400": "What was asked can't be done; `param` names the field.",
    "401": "The token is missing or wrong.",
    "403": "Host, Origin or Sec-Fetch-Site is not allowed.",
    "404": "There is no such thing.",
    "408": "The body came too slowly.",
    "409": "It can't be done as things are now.",
    "413": "The body is too long.",
    "415": "The body is of a kind that is not taken.",
    "429": "Too many requests wait; Retry-After says in how many seconds to ask again.",
    "500": "The server failed; its terminal says where.",
    "503": "It can't be done just now: a lack of memory, a model that is being unloaded.",
    "504": "The answer took too long.",
    "507": "The server's disk is full.",
}
LISTS = {
    "/v1/files": 10_000,
    "/v1/fine_tuning/jobs": MOST_LISTED,
    "/v1/fine_tuning/jobs/{job_id}/events": MOST_LISTED,
    "/v1/fine_tuning/jobs/{job_id}/checkpoints": MOST_LISTED,
}
"""Lists that come in pages, and the most entries of one."""
ONCE = (("POST", "/v1/files"), ("POST", "/v1/uploads"), ("POST", "/v1/fine_tuning/jobs"))
"""What an Idempotency-Key does once only."""
FILE_PARTS = {("POST", "/v1/uploads/{upload_id}/parts"): "data"}
"""What the part of a form that has the file is called, where it is not ``file``."""


def bodies() -> dict[tuple[str, str], type[Body]]:
    """The class of each JSON body, by method and path."""
    from tunesmith.server.predict_api import PredictBody
    from tunesmith.server.uploads_api import CompleteBody, UploadBody

    return {
        ("POST", "/v1/uploads"): UploadBody,
        ("POST", "/v1/uploads/{upload_id}/complete"): CompleteBody,
        ("POST", "/v1/fine_tuning/jobs"): JobBody,
        ("POST", "/v1/chat/completions"): ChatBody,
        ("POST", "/v1/completions"): CompletionBody,
        ("POST", "/v1/embeddings"): EmbeddingBody,
        ("POST", "/v1/images/generations"): ImageBody,
        ("POST", "/v1/predict"): PredictBody,
    }


def forms() -> dict[tuple[str, str], type[Body] | None]:
    """The class of the fields that a form has beside its files, by method and path; None: those of an upload.

    The part of an upload has none.
    """
    from tunesmith.server.audio_api import TranscriptionBody
    from tunesmith.server.predict_api import PredictForm

    return {
        ("POST", "/v1/files"): None,
        ("POST", "/v1/uploads/{upload_id}/parts"): Body,
        ("POST", "/v1/audio/transcriptions"): TranscriptionBody,
        ("POST", "/v1/predict"): PredictForm,
    }


def document(routes: Iterable[BaseRoute]) -> Schema:
    """The OpenAPI 3.1 document of these routes."""
    from tunesmith import __version__

    classes = dict.fromkeys([*bodies().values(), *(form for form in forms().values() if form is not None)])
    _, shared = models_json_schema([(cls, "validation") for cls in classes], ref_template=REF)
    paths: dict[str, Schema] = {}
    for route in routes:
        path = general(getattr(route, "path", ""))
        for method in sorted(getattr(route, "methods", None) or ()):
            if method != "HEAD":
                paths.setdefault(path, {})[method.lower()] = operation(method, path, getattr(route, "endpoint", None))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tunesmith",
            "version": __version__,
            "description": "OpenAI's fine-tuning and inference API on your own machine.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {**shared.get("$defs", {}), **answer_shapes.SHAPES},
        },
    }


def general(path: str) -> str:
    """A route's path without the names of its placeholders' kinds: ``{name:path}`` is ``{name}``."""
    return re.sub(r":[a-z]+\}", "}", path)


def operation(method: str, path: str, endpoint: Any) -> Schema:
    """What one method of a path takes and answers."""
    summary = (getattr(endpoint, "__doc__", None) or "").strip().partition("\n")[0]
    found: Schema = {
        "operationId": f"{getattr(endpoint, '__module__', '').rpartition('.')[2]}_{getattr(endpoint, '__name__', '')}",
        "summary": summary,
        "responses": responses(method, path),
    }
    if asked := parameters(method, path):
        found["parameters"] = asked
    if content := request_content(method, path):
        found["requestBody"] = {"required": True, "content": content}
    return found


def parameters(method: str, path: str) -> list[Schema]:
    """What stands in the path, the query and the headers."""
    parts = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    found: list[Schema] = [
        {"name": part, "in": "path", "required": True, "schema": {"type": "string"}} for part in parts
    ]
    most = LISTS.get(path)
    if method == "GET" and most is not None:
        kinds = {
            "after": {"type": "string"},
            "limit": {"type": "integer", "minimum": 1, "maximum": most},
            "order": {"type": "string", "enum": ["asc", "desc"]},
        }
        found += [{"name": name, "in": "query", "schema": kind} for name, kind in kinds.items()]
    if (method, path) in ONCE:
        key = {"type": "string", "minLength": 1, "maxLength": 255}
        found.append({"name": "Idempotency-Key", "in": "header", "schema": key})
    return found


def request_content(method: str, path: str) -> Schema:
    """The kinds of body that are taken."""
    found: Schema = {}
    body = bodies().get((method, path))
    if body is not None:
        found["application/json"] = {"schema": {"$ref": REF.format(model=body.__name__)}}
    if (method, path) in forms():
        fields = forms()[method, path]
        purpose = answer_shapes.shape(purpose=answer_shapes.one_of("fine-tune", "user_data"))
        given = purpose if fields is None else fields.model_json_schema(ref_template=REF)
        # Not by allOf: the class of the fields takes no further ones, and the file is one.
        name = FILE_PARTS.get((method, path), "file")
        file = {name: {"type": "string", "format": "binary"}}
        required = [*given.get("required", ()), name]
        schema = {**given, "properties": given["properties"] | file, "required": required}
        found["multipart/form-data"] = {"schema": schema}
    return found


def responses(method: str, path: str) -> Schema:
    """What comes back, the faults too."""
    found: Schema = {"200": {"description": "Done.", "content": answer_shapes.content_of(method, path)}}
    error = {"application/json": {"schema": {"$ref": REF.format(model="Error")}}}
    for status, said in ERRORS.items():
        found[status] = {"description": said, "content": error}
    return found
