"""Which converter a document gets, and what is asked of its file before. It knows no format from inside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from tunesmith.retrieval.limits import Limits, size_fault, zip_fault
from tunesmith.retrieval.plain import Converted, Refused, printable

OFFICE = ("docx", "pptx", "xlsx")
SPLIT = "split it, or give it as text"
ANEW = "save it anew by the program that made it"
_MODULES = {
    "html": "web_pages", "pdf": "pdf_files", "docx": "word_files", "pptx": "slide_files", "xlsx": "sheet_files",
    "eml": "mail_files",
}  # fmt: skip
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")


class Unreadable(Exception):
    """A converter says why a document can't be read, and what to do."""

    def __init__(self, reason: str, fix: str = "") -> None:
        super().__init__(reason)
        self.reason, self.fix = reason, fix


def converted(path: Path, kind: str, limits: Limits) -> Converted | Refused:
    """The text of a document as Markdown, or why there is none. No fault of a document is raised."""
    try:
        _look_at(path, kind, limits)
        convert: Callable[[Path, Limits], Converted] = import_module(f"{__package__}.{_MODULES[kind]}").convert
        return _whole(convert(path, limits), limits)
    except Unreadable as error:
        return Refused(error.reason, error.fix)
    except ModuleNotFoundError as error:
        needed = f"reading it needs the package {error.name}, which is not installed"
        return Refused(needed, "pip install 'tunesmith[documents]'")
    except MemoryError:
        return Refused("converting it needs more memory than a document may take", SPLIT)
    except Exception as error:  # Whatever a broken file makes a library raise.
        said = " ".join(str(error).split())[:200]
        return Refused(f"it can't be converted ({type(error).__name__}: {said})", ANEW)


def _whole(found: Converted, limits: Limits) -> Converted:
    """What was found, if it is text and not too much."""
    if len(found.text) > limits.text_characters:
        raise Unreadable(f"its text has more than {limits.text_characters:,} characters", SPLIT)
    if not found.text.strip() and not found.inside:
        raise Unreadable(
            "it holds no text" + "".join(f"; {note}" for note in found.notes), "read its text by OCR first"
        )
    text, damage = printable(found.text)
    return replace(found, text=text, notes=(*found.notes, *damage))


def _look_at(path: Path, kind: str, limits: Limits) -> None:
    """Refuse what need not be opened to be refused."""
    if fault := size_fault(path.stat().st_size, limits):
        raise Unreadable(fault, SPLIT)
    if kind not in OFFICE:
        return
    with path.open("rb") as file:
        if file.read(8) == _OLE:
            file.seek(0)
            if _ENCRYPTED in file.read(limits.file_bytes):
                raise Unreadable("it is protected by a password", "remove the password and save it again")
            raise Unreadable("it is an old Office document whatever its name says", "save it in the new format")
        if fault := zip_fault(file, limits):
            raise Unreadable(fault, "remove the password and save it again" if "password" in fault else ANEW)
