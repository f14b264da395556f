"""A file of text: which encoding it is in, which of its lines are garbage, and opening it. It knows no columns."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO

from tunesmith.errors import UserError

CHUNK_BYTES = 2**20
HEAD_BYTES = 2**18
LONGEST_LINE_BYTES = 256 * 2**20

_CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\v\f\r\x1b")
_NOT_IN_CP1252 = b"\x81\x8d\x8f\x90\x9d"
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OTHER_KINDS = (
    (b"PK\x03\x04", "a zip archive or an Excel workbook", "unpack it, or save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word document", "save the sheet as CSV"),
    (b"\x1f\x8b", "compressed with gzip", "unpack it first (gunzip)"),
    (b"BZh", "compressed with bzip2", "unpack it first (bunzip2)"),
    (b"\xfd7zXZ", "compressed with xz", "unpack it first (unxz)"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstandard", "unpack it first (unzstd)"),
    (b"SQLite format 3\0", "an SQLite database", "export the table as CSV"),
    (b"%PDF-", "a PDF document", "give the rows as CSV or JSONL"),
    (b"\x89PNG", "a PNG picture", "give rows that name the picture files"),
    (b"\xff\xd8\xff", "a JPEG picture", "give rows that name the picture files"),
)


@dataclass(frozen=True)
class TextFile:
    """What one pass over the bytes of a file told.

    Args:
        path: The file.
        label: Its name for places.
        encoding: A Python codec name.
        dirty: Whether some lines are garbage, so that every line has to be looked at.
        size: Bytes.
        head: The first characters, at most about 256 thousand.
        whole: Whether ``head`` is all of the file.
        notes: What a person should know about the encoding.
    """

    path: Path
    label: str
    encoding: str
    dirty: bool
    size: int
    head: str
    whole: bool
    notes: tuple[str, ...] = ()

    @contextmanager
    def open(self) -> Iterator[tuple[TextIO, BinaryIO]]:
        """The text, line ends as they are, and the bytes below it (their ``tell`` is the progress).

        A byte that the encoding does not have comes as a lone surrogate, so that its row alone is lost.
        """
        with self.path.open("rb") as raw:
            errors = "strict" if self.encoding in ("utf-16", "utf-32") else "surrogateescape"
            text = io.TextIOWrapper(raw, encoding=self.encoding, errors=errors, newline="")
            try:
                yield text, raw
            except UnicodeDecodeError as error:
                raise UserError(
                    f"the file begins as {self.encoding} but does not go on so ({error.reason})",
                    self.label,
                    "save it as UTF-8",
                ) from error
            finally:
                text.detach()

    def garbage(self, line: str) -> str | None:
        """Why this line is no text, or None; asks only where the file is known to hold such lines."""
        if not self.dirty:
            return None
        return _garbage(line.encode(self.encoding.removesuffix("-sig"), "surrogateescape"))


def _garbage(line: bytes) -> str | None:
    controls = len(line) - len(line.translate(None, _CONTROLS))
    if not controls:
        return None
    if b"\0" in line:
        return "holds NUL bytes"
    if controls * 20 > len(line):
        return "is mostly control characters"
    return None if _is_utf8(line) else "holds binary bytes"


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


@dataclass
class _Census:
    """Counts of physical lines by what their bytes look like."""

    lines: int = 0
    garbage: int = 0
    utf8: int = 0
    other: int = 0
    first_other: int = 0
    cp1252: bool = True

    def add(self, block: bytes) -> None:
        clean = len(block.translate(None, _CONTROLS)) == len(block)
        if clean and block.isascii():
            self.lines += block.count(b"\n")
            return
        for line in block.splitlines(keepends=True):
            self.lines += 1
            if not clean and _garbage(line):
                self.garbage += 1
            elif not line.isascii():
                self._add_letters(line)

    def _add_letters(self, line: bytes) -> None:
        if _is_utf8(line):
            self.utf8 += 1
            return
        self.other += 1
        self.first_other = self.first_other or self.lines
        if len(line.translate(None, _NOT_IN_CP1252)) != len(line):
            self.cp1252 = False


def _blocks(file: BinaryIO, label: str) -> Iterator[bytes]:
    """The bytes in blocks that end at a line's end."""
    pieces: list[bytes] = []
    held = 0
    while chunk := file.read(CHUNK_BYTES):
        cut = chunk.rfind(b"\n") + 1
        if not cut:
            pieces.append(chunk)
            held += len(chunk)
            if held > LONGEST_LINE_BYTES:
                raise UserError(
                    f"a line is longer than {LONGEST_LINE_BYTES:,} bytes",
                    label,
                    "give one row a line (CSV or JSONL)",
                )
            continue
        yield b"".join((*pieces, chunk[:cut]))
        pieces, held = [chunk[cut:]], len(chunk) - cut
    yield b"".join(pieces)


def look_at(path: Path, label: str) -> TextFile:
    """Read the file once and tell its encoding.

    A byte order mark decides; else UTF-8, where lines that are not UTF-8 are fewer than lines with letters beyond
    ASCII that are; else cp1252, or latin-1 where cp1252 lacks a byte that occurs.

    Raises:
        UserError: where it is empty, of a known binary kind, or mostly garbage.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        if not head.strip():
            raise UserError("the file is empty", label, "give a file with at least a few rows")
        for magic, kind, fix in _OTHER_KINDS:
            if head.startswith(magic):
                raise UserError(f"this is not a text file: it is {kind}", label, fix)
        for bom, encoding in _BOMS:
            if encoding != "utf-8-sig" and head.startswith(bom):
                text = _head_text(head, encoding)
                return TextFile(path, label, encoding, False, size, text, size <= HEAD_BYTES)
        census = _Census()
        file.seek(0)
        for block in _blocks(file, label):
            census.add(block)
    if census.garbage * 2 > census.lines:
        raise UserError(
            f"this is not a text file: {census.garbage:,} of {census.lines:,} lines hold NUL or binary bytes",
            label,
            "give CSV, TSV, JSON, JSONL or Parquet; save text in UTF-16 without a byte order mark as UTF-8",
        )
    encoding, notes = _encoding(census, label)
    if head.startswith(codecs.BOM_UTF8):
        encoding = "utf-8-sig"
    return TextFile(
        path, label, encoding, census.garbage > 0, size, _head_text(head, encoding), size <= HEAD_BYTES, notes
    )


def _encoding(census: _Census, label: str) -> tuple[str, tuple[str, ...]]:
    if census.other <= census.utf8:
        return "utf-8", ()
    encoding = "cp1252" if census.cp1252 else "latin-1"
    return encoding, (
        f"{label} is not UTF-8 (first at line {census.first_other:,}) and was read as {encoding}; "
        "if its letters look wrong, save it as UTF-8",
    )


def _head_text(head: bytes, encoding: str) -> str:
    """The head's characters; one that the cut went through is left out."""
    errors = "ignore" if encoding in ("utf-16", "utf-32") else "surrogateescape"
    return codecs.getincrementaldecoder(encoding)(errors).decode(head)
