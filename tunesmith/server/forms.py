"""Files that come with a request: written to a folder of its own for as long as the request lasts. It knows no model.

What a client names a file is never a path here, and nothing that it writes into a request can name a file of this
machine.
"""

from __future__ import annotations

import base64
import binascii
import re
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect

from tunesmith.server.faults import ApiFault
from tunesmith.server.waiting import GONE

if TYPE_CHECKING:
    from starlette.requests import Request

INCOMING = "incoming"
MOST_FIELDS = 64
MOST_FIELD_BYTES = 1 << 20
_ENDING = re.compile(r"\.[A-Za-z0-9]{1,8}")
_DATA_URI = re.compile(r"data:[\w.+-]{0,64}/[\w.+-]{0,64}(;[\w.+=-]{0,64})*;base64,", re.ASCII)


@dataclass(frozen=True)
class Incoming:
    """A file that came with a request.

    Args:
        name: As the client calls it; for answers alone.
        place: Where its bytes lie while the request lasts.
    """

    name: str
    place: Path


@dataclass
class Form:
    """A form's fields and files, in their order.

    Args:
        folder: The request's own.
        values: Fields by name, each as often as it came; ``x[]`` counts as ``x``.
        files: Files by the name of their field.
    """

    folder: Path
    values: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, list[Incoming]] = field(default_factory=dict)

    def plain(self, lists: Sequence[str] = ()) -> dict[str, Any]:
        """Fields for a body: one text each, and lists for those named.

        Raises:
            ApiFault: 400, a field that is no list came twice.
        """
        for name, values in self.values.items():
            if len(values) > 1 and name not in lists:
                raise ApiFault(400, f"'{name}' was given {len(values)} times", param=name, code="invalid_value")
        return {name: list(given) if name in lists else given[0] for name, given in self.values.items()}

    def add(self, name: str, given: str, content: bytes) -> Incoming:
        """Write a file of the request."""
        file = Incoming(given, self._free(given))
        file.place.write_bytes(content)
        self.files.setdefault(name, []).append(file)
        return file

    def copy(self, name: str, upload: UploadFile) -> Incoming:
        """Write a file that was uploaded."""
        given = upload.filename or "file"
        file = Incoming(given, self._free(given))
        with file.place.open("wb") as stream:
            shutil.copyfileobj(upload.file, stream)
        self.files.setdefault(name, []).append(file)
        return file

    def _free(self, given: str) -> Path:
        """A place in the folder; only a plain ending is kept of what the client calls it."""
        ending = Path(given).suffix
        number = sum(map(len, self.files.values())) + 1
        return self.folder / f"{number:04d}{ending if _ENDING.fullmatch(ending) else ''}"


@asynccontextmanager
async def request_folder(request: Request) -> AsyncIterator[Path]:
    """A folder for what comes with a request, which goes when the request ends."""
    server = request.app.state.server
    whole = server.settings.folder / INCOMING
    if INCOMING not in server.extra:
        # What a server that was killed left behind.
        shutil.rmtree(whole, ignore_errors=True)
        server.extra[INCOMING] = whole
    whole.mkdir(parents=True, exist_ok=True)
    folder = Path(mkdtemp(dir=whole))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def read_form(request: Request, *, most_files: int) -> AsyncIterator[Form]:
    """The fields and files of a ``multipart/form-data`` request.

    Args:
        request: Its body has not been read yet.
        most_files: How many files it may bring.

    Raises:
        ApiFault: 415 where it is no form, 400 where a field is no text.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        raise ApiFault(415, "send the body as multipart/form-data", code="unsupported_media_type")
    async with request_folder(request) as folder:
        form = Form(folder)
        try:
            async with request.form(
                max_files=most_files, max_fields=MOST_FIELDS, max_part_size=MOST_FIELD_BYTES
            ) as given:
                for key, value in given.multi_items():
                    name = key.removesuffix("[]")
                    if isinstance(value, UploadFile):
                        await run_in_threadpool(form.copy, name, value)
                    else:
                        form.values.setdefault(name, []).append(value)
        except ClientDisconnect as fault:
            raise ApiFault(GONE, "the client went away while it sent the form", code="client_gone") from fault
        yield form


def content_of_uri(value: Any, param: str) -> bytes:
    """The bytes of a ``data:`` URI in base64, which is how a file stands inside JSON.

    Raises:
        ApiFault: 400, it is none. Paths and addresses are not followed.
    """
    found = _DATA_URI.match(value[:512]) if isinstance(value, str) else None
    try:
        if found is None:
            raise ValueError("paths and addresses are not followed")
        return base64.b64decode(value[found.end() :], validate=True)
    except (ValueError, binascii.Error) as fault:
        what = f"'{param}' is no file: write data:TYPE;base64,..., or send a form with files ({fault})"
        raise ApiFault(400, what, param=param, code="invalid_value") from fault
