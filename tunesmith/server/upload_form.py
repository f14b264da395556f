"""A form with one file, read as it comes in: the file goes to the disk, never whole into memory. It knows no route.

How long and how slow a body may be is the gate's business; a fault of it ends the reading here, and nothing is left.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from io import BufferedWriter
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.server.faults import ApiFault

if TYPE_CHECKING:
    from starlette.requests import Request

WRITE_BYTES = 1 << 20
FIELD_BYTES = 1 << 12
PARTS = 32
NAME_LETTERS = 255


class UploadForm:
    """Reads ``multipart/form-data`` of text fields and one part with a file.

    Args:
        place: Where the file is written; whoever reads the form removes it.
        part: What the part with the file is called.

    Attributes:
        fields: Texts by name.
        filename: As the client calls the file, without a path; None while none came.
        digest: Of the file's content.
        bytes: Of it.
    """

    def __init__(self, place: Path, part: str = "file") -> None:
        self.place, self.part = place, part
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self._content = blake2b(digest_size=16)
        self._waiting = bytearray()
        self._header, self._value = bytearray(), bytearray()
        self._headers: dict[str, str] = {}
        self._name, self._text = "", bytearray()
        self._in_file = self._ended = False
        self._parts = self.bytes = 0

    @property
    def digest(self) -> str:
        """Of what was written, in hexadecimal."""
        return self._content.hexdigest()

    async def read(self, request: Request) -> None:
        """Take the whole body; after this the file is on the disk, and outlives a loss of power.

        Raises:
            ApiFault: 400 or 415, it is no such form; 400, the client went away; whatever the gate raises.
            OSError: The disk takes no more.
        """
        from python_multipart.exceptions import FormParserError
        from python_multipart.multipart import MultipartParser, parse_options_header
        from starlette.concurrency import run_in_threadpool
        from starlette.requests import ClientDisconnect

        kind, options = parse_options_header(request.headers.get("content-type"))
        if kind != b"multipart/form-data":
            raise ApiFault(415, "send the file as a form: multipart/form-data", code="unsupported_media_type")
        if not options.get(b"boundary"):
            raise ApiFault(400, "the Content-Type of the form says no boundary", code="invalid_form")
        try:
            parser = MultipartParser(
                options[b"boundary"],
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._add_header,
                    "on_header_value": self._add_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._begin_content,
                    "on_part_data": self._add,
                    "on_part_end": self._end,
                    "on_end": self._finish,
                },
            )
            with await run_in_threadpool(self._open) as file:
                async for chunk in request.stream():
                    parser.write(chunk)
                    if len(self._waiting) >= WRITE_BYTES:
                        await run_in_threadpool(self._write, file)
                if not self._ended:
                    raise ApiFault(400, "the form ends before its last boundary: send it again", code="invalid_form")
                await run_in_threadpool(self._write, file, last=True)
        except FormParserError as fault:
            raise ApiFault(400, f"this is no form: {fault}", code="invalid_form") from fault
        except ClientDisconnect as fault:
            raise ApiFault(400, "the client went away before the form ended", code="invalid_form") from fault
        if self.filename is None:
            raise ApiFault(
                400,
                f"the form has no part '{self.part}' with a file",
                param=self.part,
                code="missing_required_parameter",
            )

    def _open(self) -> BufferedWriter:
        handle = os.open(self.place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        return os.fdopen(handle, "wb")

    def _write(self, file: BufferedWriter, *, last: bool = False) -> None:
        self._content.update(self._waiting)
        self.bytes += len(self._waiting)
        file.write(self._waiting)
        self._waiting.clear()
        if last:
            file.flush()
            os.fsync(file.fileno())

    # What the parser tells

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > PARTS:
            raise ApiFault(400, f"the form has more than {PARTS} parts", code="invalid_form")
        self._headers, self._text, self._in_file = {}, bytearray(), False

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._header.decode("latin-1").lower()] = self._value.decode("latin-1")
        self._header, self._value = bytearray(), bytearray()

    def _begin_content(self) -> None:
        from python_multipart.multipart import parse_options_header

        _, options = parse_options_header(self._headers.get("content-disposition"))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" in options:
            if self._name != self.part or self.filename is not None:
                what = f"the form holds a file {self._name[:100]!a} beside the one called '{self.part}'"
                raise ApiFault(400, what, param=self.part, code="invalid_form")
            self._in_file = True
            self.filename = bare_name(options[b"filename"].decode("utf-8", "replace"))

    def _add(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._waiting += data[start:end]
            return
        self._text += data[start:end]
        if len(self._text) > FIELD_BYTES:
            what = f"a field of a form holds at most {FIELD_BYTES:,} bytes; send a file as a file, with a filename"
            raise ApiFault(400, what, param=self._name[:100] or None, code="invalid_form")

    def _end(self) -> None:
        if not self._in_file:
            self.fields[self._name] = self._text.decode("utf-8", "replace")

    def _finish(self) -> None:
        self._ended = True


def bare_name(name: str) -> str:
    """A client's file name without its folders and without what no line can show."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in last if letter.isprintable())[:NAME_LETTERS] or "file"
