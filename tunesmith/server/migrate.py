"""An account of OpenAI's fine-tuning API, brought here: its files, its jobs' settings, and a recipe of each job.

It only reads, and asks nothing but the address that a person named. It trains nothing.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tunesmith.asking.endpoint import KEY, OPENAI
from tunesmith.data.source import read_rows
from tunesmith.data.store import ReadReport
from tunesmith.errors import UserError
from tunesmith.language.rows import ConversationShape
from tunesmith.run import write_whole
from tunesmith.server import job_recipe
from tunesmith.server.migrated_recipe import HostedJob, NotOurs, migrated_recipe, model_of, one_line, read_job
from tunesmith.server.migration import MigratedFile, MigratedJob, Migration
from tunesmith.web.http import Client, Limits
from tunesmith.web.replies import MIB, HttpFault
from tunesmith.web.waiting import Clock

Progress = Callable[[str, int, int], None]
FILE_BYTES = 512 * MIB
"""The service's own limit of one file."""
PAGE = 100
LIMITS = Limits(rate=8.0, attempts=6, timeout_seconds=120.0, longest_wait_seconds=300.0, sync_bytes=None)
FIXES = {
    0: "see that the address is that of the API (https://HOST/v1), and give the same command again; it goes on",
    401: "put a valid key of the account into the variable of the environment",
    403: "use a key that may read files and fine-tuning jobs",
    404: "see that the address ends as the API's does (/v1)",
}
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


def open_account(base: str | None = None, key_variable: str | None = None, *, clock: Clock | None = None) -> Client:
    """A client of the account whose key the environment holds.

    Args:
        base: Address of the API; None takes ``OPENAI_BASE_URL``, else the service's own.
        key_variable: Name of the variable with the key; None takes ``OPENAI_API_KEY``.
        clock: Whose seconds count; None is the machine's.

    Raises:
        UserError: There is no key, or the address is none.
    """
    variable = key_variable or KEY
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UserError(f"there is no key in {variable}", "the environment", f"export {variable}")
    headers = {"Accept": "application/json", "Authorization": f"Bearer {key}"}
    address = base or os.environ.get("OPENAI_BASE_URL") or OPENAI
    return Client(address, LIMITS, headers=headers, clock=clock, fixes=FIXES)


def migrate(account: Client, into: Path, models: Mapping[str, str], progress: Progress = lambda *_: None) -> Migration:
    """Bring files and jobs of an account into a folder.

    What an earlier migration brought is neither asked for again nor written over, so that one that was stopped goes on.

    Args:
        account: Who is asked (`open_account`).
        into: Gets ``files/``, ``results/``, ``jobs/``, a recipe of each job, and ``migration.json``.
        models: Hosted name to a model of ours; ``""`` is for all that are not named.
        progress: Told (what, done, of).

    Raises:
        HttpFault: The account can't be read.
        UserError: The folder can't be written.
    """
    try:
        return _Mover(account, into, models, progress).all()
    finally:
        account.close()


class _Mover:
    def __init__(self, account: Client, into: Path, models: Mapping[str, str], progress: Progress) -> None:
        self.account, self.into, self.models, self.progress = account, into, models, progress
        self.found = Migration(str(account.origin))
        self.files: dict[str, MigratedFile] = {}
        for name in ("", "files", "results", "jobs"):
            try:
                (into / name).mkdir(parents=True, exist_ok=True)
            except OSError as fault:
                what = f"the folder can't be made: {fault.strerror}"
                raise UserError(what, str(into / name), "name another folder with --into") from fault

    def all(self) -> Migration:
        jobs = list(self._listed("fine_tuning/jobs"))
        listed = {str(one.get("id")): one for one in self._listed("files", {"purpose": "fine-tune"})}
        for number, job in enumerate(jobs, 1):
            self.found.jobs.append(self._job(job, listed))
            self.progress("jobs", number, len(jobs))
        for number, (id, about) in enumerate(listed.items(), 1):
            # Not every service of this API filters its list.
            if about.get("purpose", "fine-tune") == "fine-tune":
                self._file(id, about)
            self.progress("files", number, len(listed))
        self.found.files = list(self.files.values())
        write_whole(self.into / "migration.json", _json(self.found.plain()))
        return self.found

    def _listed(self, path: str, params: Mapping[str, Any] | None = None) -> Iterator[Mapping[str, Any]]:
        """All entries of a list, page by page."""

        def following(reply: Any) -> str | None:
            data = _entries(reply, path)
            return str(reply.get("last_id") or data[-1].get("id")) if reply.get("has_more") and data else None

        ask = self.account.get
        pages = self.account.pages(
            lambda after: ask(path, {**(params or {}), "limit": PAGE, "after": after}), following
        )
        for reply in pages:
            yield from _entries(reply, path)

    def _job(self, about: Mapping[str, Any], listed: Mapping[str, Mapping[str, Any]]) -> MigratedJob:
        id, hosted = one_line(about.get("id")), one_line(about.get("model"))
        if not _ID.fullmatch(id):
            return MigratedJob(id, hosted, why="its id is none that the API gives")
        write_whole(self.into / "jobs" / f"{id}.json", _json(about))
        for result in about.get("result_files") or ():
            self._file(str(result), {}, "results")
        train, held = (
            self._file(str(about[which]), listed.get(str(about[which]), {})) if about.get(which) else None
            for which in ("training_file", "validation_file")
        )
        if train is None or not train.path:
            why = "it names no training file" if train is None else f"{train.id} is not to be had: {train.why}"
            return MigratedJob(id, hosted, why=why)
        eval = held.path if held is not None and held.path else None
        lost = (f"its validation file {held.id} is not to be had: {held.why}",) if held is not None and not eval else ()
        try:
            job = read_job(about)
            reports = [self._read(path, job) for path in (train.path, eval) if path]
        except NotOurs as fault:
            return MigratedJob(id, hosted, why=str(fault))
        except UserError as fault:
            return MigratedJob(id, hosted, why=f"{fault.what} ({fault.where})")
        model, place = model_of(job.model, self.models), self.into / f"{id}.yaml"
        if not (kept := place.exists()):
            write_whole(place, migrated_recipe(job, model, reports[0].rows, train.path, eval).encode())
        return MigratedJob(
            id, hosted, model, place.name, rows=reports[0].rows, broken=sum(one.broken_count for one in reports),
            shown=tuple(one for report in reports for one in report.broken), notes=(*job.notes, *lost), kept=kept,
        )  # fmt: skip

    def _read(self, path: str, job: HostedJob) -> ReadReport:
        """How the recipe's task reads the rows of a file."""
        shape = ConversationShape(job_recipe.KINDS[job.method])
        return read_rows(path, format="jsonl", broken_rows=1.0, relative_to=self.into, shape=shape).report

    def _file(self, id: str, about: Mapping[str, Any], folder: str = "files") -> MigratedFile:
        """A file of the account, in the folder; asked for once."""
        if id not in self.files:
            self.files[id] = self._fetched(id, about, folder)
        return self.files[id]

    def _fetched(self, id: str, about: Mapping[str, Any], folder: str) -> MigratedFile:
        name = one_line(about.get("filename") or "")
        if not _ID.fullmatch(id):
            return MigratedFile(one_line(id), name, why="its id is none that the API gives")
        path = f"{folder}/{id}.{'csv' if folder == 'results' else 'jsonl'}"
        place = self.into / path
        if place.exists():
            return MigratedFile(id, name, path, place.stat().st_size, kept=True)
        try:
            content = self.account.download(f"files/{id}/content", most=FILE_BYTES).body
        except HttpFault as fault:
            if fault.stops:
                raise
            return MigratedFile(id, name, why=fault.what)
        promised = about.get("bytes")
        if folder == "files" and isinstance(promised, int) and promised != len(content):
            return MigratedFile(id, name, why=f"{len(content):,} bytes came of the {promised:,} that it has")
        write_whole(place, _unfolded(content) if folder == "results" else content)
        return MigratedFile(id, name, path, place.stat().st_size)


def _entries(reply: Any, path: str) -> list[Mapping[str, Any]]:
    """The entries of a page.

    Raises:
        HttpFault: It is no list.
    """
    data = reply.get("data") if isinstance(reply, Mapping) else None
    if not isinstance(data, list) or not all(isinstance(one, Mapping) for one in data):
        raise HttpFault(f"the list of {path} is none", path, FIXES[0], reason="damaged", stops=True)
    return data


def _unfolded(content: bytes) -> bytes:
    """A table of results as text: the service gives it in base64."""
    with suppress(ValueError):
        told = base64.b64decode(b"".join(content.split()), validate=True)
        if told.startswith(b"step"):
            return told
    return content


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n"
