"""How files of recordings begin and end: their format by content, and whether they are whole. It decodes nothing.

The library that decodes says nothing of a recording that was cut short, and of an MP3 it believes a length that its
header may have wrong; both are told here, from the bytes.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

HEAD_BYTES = 4096
_STREAMED_BYTES = 0x7F000000
"""Sizes from here on are placeholders of programs that wrote to a pipe and never knew the length."""
_OGG_PAGE_BYTES = 65_307

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"fLaC", "FLAC"),
    (b"OggS", "OGG"),
    (b"RIFX", "WAV"),
    (b"RF64", "RF64"),
    (b"riff\x2e\x91\xcf\x11", "W64"),
    (b".snd", "AU"),
    (b"caff", "CAF"),
    (b"NIST_1A", "NIST"),
)
_UNREAD: tuple[tuple[bytes, str], ...] = (
    (b"\x1a\x45\xdf\xa3", "is WebM or Matroska"),
    (b"\x30\x26\xb2\x75", "is Windows Media (WMA)"),
    (b"#!AMR", "is AMR"),
    (b"ADIF", "is AAC"),
    (b"MAC ", "is Monkey's Audio (APE)"),
    (b"wvpk", "is WavPack"),
    (b"\0\0\x01\xba", "is an MPEG film"),
)
_NO_RECORDINGS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the recording itself: run git lfs pull"),
    (b"<!doctype html", "is a web page, not a recording: the download went wrong"),
    (b"<html", "is a web page, not a recording: the download went wrong"),
    (b"pk\x03\x04", "is a zip archive: unpack it"),
    (b"\x1f\x8b", "is compressed with gzip: unpack it"),
    (b"\x89png", "is a PNG picture, not a recording"),
    (b"\xff\xd8\xff", "is a JPEG picture, not a recording"),
    (b"%pdf", "is a PDF document, not a recording"),
)
CONVERT = "convert it to WAV or FLAC, for example with: ffmpeg -i {name} {stem}.flac"


class AudioFault(Exception):
    """Why a recording can't be used, in words that follow its name.

    Args:
        reason: ``is truncated: ...``
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def format_of(head: bytes, name: str) -> str:
    """The format that a file's first bytes are of, whatever its name ends in.

    Args:
        head: Its first bytes, `HEAD_BYTES` at most.
        name: Its name, for what to do about it.

    Raises:
        AudioFault: None that is read.
    """
    if not head:
        raise AudioFault("is empty (0 bytes)")
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "WAV"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "AIFF"
    if head[4:8] == b"ftyp":
        raise AudioFault(f"is MP4 or M4A (AAC), which is not read: {_convert(name)}")
    for beginning, found in _BEGINNINGS:
        if head.startswith(beginning):
            return found
    for beginning, said in _UNREAD:
        if head.startswith(beginning):
            raise AudioFault(f"{said}, which is not read: {_convert(name)}")
    if head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xF6 == 0xF0:
        raise AudioFault(f"is AAC (ADTS), which is not read: {_convert(name)}")
    if head[:3] == b"ID3" or _frame_at(head, 0) is not None:
        return "MP3"
    raise AudioFault(_unknown(head, name))


def _convert(name: str) -> str:
    return CONVERT.format(name=name, stem=name.rpartition(".")[0] or name)


def _unknown(head: bytes, name: str) -> str:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for beginning, reason in _NO_RECORDINGS:
        if start.startswith(beginning):
            return reason
    if head[:4] == b"RIFF":
        return f"is RIFF, but not WAV: {_convert(name)}"
    if not head.strip(b"\0"):
        return "holds zeros only: it was not written whole"
    if not any(code < 32 and code not in b"\t\n\r\f" for code in head):
        return "is a text file, not a recording"
    ending = name.lower().rpartition(".")[2]
    said = f"is named .{ending}, but its header is not" if ending in ("mp3", "wav", "flac", "ogg") else "has no header"
    return f"{said} one of a known format (WAV, FLAC, OGG, MP3, AIFF, AU, CAF)"


def check_whole(stream: BinaryIO, kind: str, *, thorough: bool = True) -> int | None:
    """See that a file does not end before its recording does.

    Args:
        stream: The file, at any place; it is left at another one.
        kind: Its format.
        thorough: Whether an MP3 is walked through, in time that grows with its length.

    Returns:
        The frames that an MP3 holds, where they were counted.

    Raises:
        AudioFault: It is truncated, or an MP3 whose header has its length wrong.
    """
    if kind in _CHECKS:
        _CHECKS[kind](stream)
    elif kind == "MP3" and thorough:
        return _check_mp3(stream)
    return None


def _size(stream: BinaryIO) -> int:
    return stream.seek(0, os.SEEK_END)


def _check_riff(stream: BinaryIO) -> None:
    """The chunk of samples (``data``, or ``SSND`` of AIFF) must lie in the file; other chunks matter to nobody."""
    size = _size(stream)
    stream.seek(0)
    form = stream.read(4)
    order = "<" if form in (b"RIFF", b"RF64") else ">"
    at, large = 12, 0
    while at + 8 <= size:
        stream.seek(at)
        name, length = struct.unpack(f"{order}4sI", stream.read(8))
        if name == b"ds64" and length >= 16:
            large = struct.unpack("<QQ", stream.read(16))[1]
        if name in (b"data", b"SSND"):
            length = large if form == b"RF64" else length if length < _STREAMED_BYTES else 0
            _check_samples(length, size - at - 8)
            return
        at += 8 + length + length % 2
    raise AudioFault("has a header and no samples: it was not written whole")


def _check_au(stream: BinaryIO) -> None:
    size = _size(stream)
    stream.seek(4)
    words = stream.read(8)
    if len(words) == 8:
        begin, length = struct.unpack(">II", words)
        _check_samples(length if length < _STREAMED_BYTES else 0, size - begin)


def _check_samples(said: int, held: int) -> None:
    if said > max(0, held):
        raise AudioFault(_cut(f"{said:,} bytes of samples", f"{max(0, held):,}"))


def _cut(said: str, held: str) -> str:
    return f"is truncated: its header says {said}, and it holds {held}"


def _check_ogg(stream: BinaryIO) -> None:
    """The last page must lie in the file."""
    size = _size(stream)
    stream.seek(max(0, size - _OGG_PAGE_BYTES - 1))
    tail = stream.read()
    at = tail.rfind(b"OggS")
    count = tail[at + 26] if at >= 0 and len(tail) > at + 26 else 256
    table = tail[at + 27 : at + 27 + count]
    if at < 0 or len(table) < count or len(tail) < at + 27 + count + sum(table):
        raise AudioFault("is truncated: it ends inside a page of OGG")


_CHECKS: dict[str, Callable[[BinaryIO], None]] = {
    "WAV": _check_riff,
    "RF64": _check_riff,
    "AIFF": _check_riff,
    "AU": _check_au,
    "OGG": _check_ogg,
}


@dataclass(frozen=True)
class _Frame:
    """A frame of MPEG audio: its bytes and its samples a channel, and where its side information ends."""

    length: int
    samples: int
    side: int


_KBITS = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Kilobits a second by (MPEG-1, layer) and index 1 to 14."""


def _frame_at(data: bytes | mmap.mmap, at: int) -> _Frame | None:
    """The frame of MPEG audio whose header stands at a place, or None."""
    if at + 4 > len(data):
        return None
    first, second, third, fourth = data[at : at + 4]
    version, layer = (second >> 3) & 3, 4 - ((second >> 1) & 3)
    bits, rate = third >> 4, (third >> 2) & 3
    if first != 0xFF or second < 0xE0 or version == 1 or layer == 4 or bits in (0, 15) or rate == 3:
        return None
    full = version == 3
    hz = (44_100, 48_000, 32_000)[rate] >> (0 if full else 1 if version == 2 else 2)
    kbits, padding = _KBITS[full, layer][bits - 1], (third >> 1) & 1
    if layer == 1:
        return _Frame((12_000 * kbits // hz + padding) * 4, 384, 0)
    samples = 1152 if full or layer == 2 else 576
    mono = fourth >> 6 == 3
    side = (17 if mono else 32) if full else (9 if mono else 17)
    return _Frame(samples // 8 * 1000 * kbits // hz + padding, samples, side)


def _check_mp3(stream: BinaryIO) -> int:
    """Count an MP3's frames against the number that its header says.

    Returns:
        The samples a channel that it holds.
    """
    stream.seek(0)
    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = _after_tag(data)
        first = _frame_at(data, at)
        if first is None:
            at = _next_frame(data, at)
            first = _frame_at(data, at) if at >= 0 else None
        if first is None:
            raise AudioFault("has a tag of an MP3 and no frame of one: its header is wrong")
        declared = _declared_frames(data, at, first)
        held = _count(data, at if declared is None else at + first.length)
    # The last frame may lack some bytes, and one of silence is often added.
    if declared is not None and abs(declared - held) > 2:
        if declared > held:
            raise AudioFault(_cut(f"{declared:,} frames", f"{held:,}"))
        raise AudioFault(
            f"is an MP3 with a wrong header: it says {declared:,} frames, and {held:,} are there (several files joined "
            f"into one?): convert it to WAV or FLAC with a program that reads all of it"
        )
    return held * first.samples


def _after_tag(data: mmap.mmap) -> int:
    at = 0
    while data[at : at + 3] == b"ID3" and len(data) >= at + 10:
        length = 0
        for part in data[at + 6 : at + 10]:
            length = (length << 7) | (part & 0x7F)
        at += 10 + length + (10 if data[at + 5] & 0x10 else 0)
    return at


def _declared_frames(data: mmap.mmap, at: int, first: _Frame) -> int | None:
    """What a Xing, Info or VBRI header says, where the first frame holds one with a number of frames."""
    for place in {at + 4 + first.side, at + 6 + first.side}:
        if data[place : place + 4] in (b"Xing", b"Info") and data[place + 7] & 1:
            return int(struct.unpack(">I", data[place + 8 : place + 12])[0])
    if data[at + 36 : at + 40] == b"VBRI":
        return int(struct.unpack(">I", data[at + 50 : at + 54])[0])
    return None


def _count(data: mmap.mmap, at: int) -> int:
    """Frames from a place on; whatever stands between them is left out, as decoders do."""
    count, size = 0, len(data)
    while at < size:
        frame = _frame_at(data, at)
        if frame is None:
            at = _next_frame(data, at)
            if at < 0:
                break
            continue
        if at + frame.length > size + frame.length // 2:
            break
        count += 1
        at += frame.length
    return count


def _next_frame(data: mmap.mmap, at: int) -> int:
    """Where the next two frames in a row begin; -1: nowhere."""
    while (at := data.find(b"\xff", at + 1)) >= 0:
        frame = _frame_at(data, at)
        if frame is not None and _frame_at(data, at + frame.length) is not None:
            return at
    return -1
