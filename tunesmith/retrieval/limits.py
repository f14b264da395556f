"""How large a document may be, and how much time and memory reading it may take. It reads none."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from typing import BinaryIO

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """What one document may cost.

    Args:
        file_bytes: Larger files are not read.
        text_characters: Longer converted texts are not taken.
        seconds: Of converting, as the processor counts them; then the process that does it is killed. A process that
            waits instead of working is killed after ten times as long.
        memory_bytes: Of that process, where the system can limit it (Linux).
        unpacked_bytes: Of all the XML in an Office document once it is unpacked.
        ratio: How many times its packed size the XML may be, above 32 MiB: more is a bomb.
    """

    file_bytes: int = 64 * MIB
    text_characters: int = 32 * MIB
    seconds: float = 60.0
    memory_bytes: int = 3 * 1024 * MIB
    unpacked_bytes: int = 512 * MIB
    ratio: float = 200.0


def size_fault(size: int, limits: Limits) -> str:
    """Why a file of so many bytes is not read; empty if it is."""
    if size <= limits.file_bytes:
        return ""
    return f"it has {size:,} bytes, more than the {limits.file_bytes:,} that a document may have"


def zip_fault(file: BinaryIO, limits: Limits) -> str:
    """Why an Office document (a zip archive) is not unpacked; empty if it is.

    Only sizes are looked at. One that the directory understates does not help a bomb: `zipfile` stops there.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        return f"it is no whole zip archive ({error}), which every DOCX, PPTX and XLSX is"
    if any(entry.flag_bits & 1 for entry in entries):
        return "it is protected by a password"
    texts = [entry for entry in entries if entry.filename.lower().endswith((".xml", ".rels", ".vml"))]
    unpacked = sum(entry.file_size for entry in texts)
    packed = max(1, sum(entry.compress_size for entry in texts))
    if unpacked > limits.unpacked_bytes:
        return f"it unpacks to {unpacked:,} bytes of XML, more than the {limits.unpacked_bytes:,} allowed (a zip bomb?)"
    if unpacked > 32 * MIB and unpacked > limits.ratio * packed:
        return f"it unpacks to {unpacked:,} bytes of XML, {unpacked // packed:,} times its size: a zip bomb"
    return ""
