"""Recordings: what one is, told by its header, and its samples as speech models want them. It knows no transcripts.

Formats are found by content and not by name, and only those named in `containers` are opened. A part of a long
recording is read without the rest.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import UserError
from tunesmith.speech.containers import HEAD_BYTES, AudioFault, check_whole, format_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "AUDIO_RATE",
    "AudioFault",
    "Sound",
    "channel_levels_db",
    "content_of",
    "find_audio",
    "is_audio_name",
    "is_file",
    "library",
    "look_at_audio",
    "misnamed",
    "part_of",
    "place_of",
    "read_audio",
]

AUDIO_RATE = 16_000
"""Samples a second that speech models read."""
PART_SLACK_SECONDS = 0.1
"""A part may end this much after its recording: manifests round, and coders add or lose some silence."""
BLOCK_FRAMES = 2**18
MARGIN_SECONDS = 0.02
"""Sound on both sides of a part that is resampled with it, so that a part equals that cut from the whole."""
LOUDEST = 100.0
"""Floating-point samples beyond this were never scaled to -1 to 1."""
RATES = (1_000, 1_000_000)

_ENDINGS: dict[str, tuple[str, ...]] = {
    "WAV": (".wav", ".wave"),
    "FLAC": (".flac",),
    "OGG": (".ogg", ".oga", ".opus"),
    "MP3": (".mp3", ".mp2"),
    "AIFF": (".aif", ".aiff", ".aifc"),
    "AU": (".au", ".snd"),
    "CAF": (".caf",),
    "W64": (".w64", ".wav"),
    "RF64": (".rf64", ".wav"),
    "NIST": (".sph", ".nist", ".wav"),
}
_UNREAD_ENDINGS = (".m4a", ".mp4", ".aac", ".wma", ".webm", ".mka", ".amr", ".3gp", ".mov")
AUDIO_SUFFIXES = frozenset((*(ending for endings in _ENDINGS.values() for ending in endings), *_UNREAD_ENDINGS))
"""Endings, in lower case, of files that are taken for recordings; the content decides what they are."""


@dataclass(frozen=True)
class Sound:
    """What a recording is, told by its header; no sample is decoded.

    Args:
        seconds: Its length.
        rate: Samples a second and channel.
        channels: How many.
        frames: Samples a channel.
        format: WAV, FLAC, OGG, MP3, AIFF, AU, CAF, W64, RF64 or NIST.
        subtype: How samples are coded: PCM_16, VORBIS, ...
        content: A digest of the file's bytes, 16 hexadecimal characters.
    """

    seconds: float
    rate: int
    channels: int
    frames: int
    format: str
    subtype: str
    content: str


def is_audio_name(name: str) -> bool:
    """Whether a file's name ends as a recording's does, in any case."""
    return Path(name).suffix.lower() in AUDIO_SUFFIXES


def misnamed(name: str, sound: Sound) -> str | None:
    """What to say of a recording whose name ends as another format's; None where all is well."""
    ending = Path(name).suffix.lower()
    return f"{name} is {sound.format}" if ending not in _ENDINGS[sound.format] else None


def find_audio(name: str, folders: Sequence[Path]) -> Path | None:
    """The file that a row names: absolute, or below the first of the folders that has it."""
    return next((place for folder in folders if is_file(place := folder / name)), None)


def is_file(place: Path) -> bool:
    """Whether there is a file; a name that no file can have names none."""
    try:
        return place.is_file()
    except (OSError, ValueError):
        return False


def place_of(row: Mapping[str, Any], folders: Sequence[Path]) -> Path | None:
    """The file of a row's recording; None where it is not there.

    Training and held-out recordings may have the same names in folders of their own: the digest in ``content`` tells
    which one is meant.

    Args:
        row: With ``audio``, and ``content`` where it has one.
        folders: Where relative paths may start from.
    """
    name = str(row["audio"])
    found = [place for folder in dict.fromkeys(folders) if is_file(place := folder / name)]
    if len(found) < 2 or "content" not in row:
        return found[0] if found else None
    for place in found:
        with suppress(AudioFault):
            if content_of(place) == row["content"]:
                return place
    return found[0]


def content_of(place: Path) -> str:
    """A digest of a file's bytes, 16 hexadecimal characters; the file is read in pieces.

    Raises:
        AudioFault: It cannot be read.
    """
    with _file(place) as stream:
        return _digest(stream)


def look_at_audio(place: Path) -> Sound:
    """What a recording is, by its header and the digest of its bytes, without decoding it.

    Raises:
        AudioFault: It is missing, empty, truncated, no recording, or of a format that isn't read.
    """
    with _opened(place) as (sound, stream, kind, held):
        frames = _frames(sound, kind, held)
        return Sound(
            seconds=frames / sound.samplerate,
            rate=int(sound.samplerate),
            channels=int(sound.channels),
            frames=frames,
            format=kind,
            subtype=str(sound.subtype),
            content=_digest(stream),
        )


def part_of(seconds: float, start: float | None, end: float | None) -> tuple[float, float]:
    """A part of a recording of so many seconds, its ends filled in.

    Raises:
        AudioFault: It is inverted, or lies outside; up to 0.1 s past the end it is cut there.
    """
    first, last = 0.0 if start is None else start, seconds if end is None else end
    if not (math.isfinite(first) and math.isfinite(last)):
        raise AudioFault(f"has no part from {start} to {end} seconds")
    if first < 0 or first >= seconds or last > seconds + PART_SLACK_SECONDS:
        raise AudioFault(f"has {seconds:,.2f} seconds, and the part from {first:g} to {last:g} lies outside")
    if last <= first:
        raise AudioFault(f"has a part that ends ({last:g} s) where or before it starts ({first:g} s)")
    return first, min(last, seconds)


def read_audio(
    place: Path, start: float | None = None, end: float | None = None, rate: int = AUDIO_RATE
) -> NDArray[np.float32]:
    """The samples of a recording, or of a part of it, as one channel.

    Channels are averaged; another rate is resampled (soxr, high quality). Only the part is read, in pieces.

    Args:
        place: The file.
        start: Where the part begins, in seconds (default: the beginning).
        end: Where it ends, in seconds (default: the end).
        rate: Samples a second that are wanted.

    Returns:
        float32 [samples], -1 to 1.

    Raises:
        AudioFault: It cannot be read, or has no such part.
    """
    import numpy as np

    whole = start is None and end is None
    with _opened(place, thorough=whole) as (sound, _, kind, held):
        frames, own = _frames(sound, kind, held), int(sound.samplerate)
        first, last = part_of(frames / own, start, end)
        begin, stop = round(first * own), min(frames, round(last * own))
        if stop <= begin:
            raise AudioFault(f"has a part from {first:g} to {last:g} seconds that holds no sample")
        # Whole steps of both rates, so that samples lie where they would in the whole.
        step = own // math.gcd(own, rate)
        margin = 0 if own == rate else math.ceil(MARGIN_SECONDS * own / step) * step
        before, after = min(margin, begin // step * step), min(margin, frames - stop)
        blocks = _blocks(sound, begin - before, stop + after, kind)
        wave: NDArray[np.float32] = np.concatenate(list(blocks if own == rate else _resampled(blocks, own, rate)))
    cut, length = before * rate // own, max(1, round((stop - begin) * rate / own))
    return np.clip(wave[cut : cut + length], np.float32(-1), np.float32(1))


def channel_levels_db(place: Path, start: float | None = None, end: float | None = None) -> tuple[list[float], float]:
    """The level of each channel of a recording or a part of it, and of their mean, in dB of full scale (-120 at least).

    Args:
        place: The file.
        start: Where the part begins, in seconds.
        end: Where it ends, in seconds.

    Raises:
        AudioFault: It cannot be read, or has no such part.
    """
    import numpy as np

    with _opened(place, thorough=False) as (sound, _, kind, held):
        frames, own = _frames(sound, kind, held), int(sound.samplerate)
        first, last = part_of(frames / own, start, end)
        sound.seek(begin := round(first * own))
        sums, at, stop = np.zeros(int(sound.channels) + 1), begin, min(frames, round(last * own))
        while at < stop:
            block = sound.read(min(BLOCK_FRAMES, stop - at), dtype="float64", always_2d=True)
            if not len(block):
                break
            sums[:-1] += np.square(block).sum(axis=0)
            sums[-1] += np.square(block.mean(axis=1)).sum()
            at += len(block)
    levels = (10 * np.log10(np.maximum(sums / max(1, at - begin), 1e-12))).tolist()
    return levels[:-1], levels[-1]


def _blocks(sound: Any, begin: int, stop: int, kind: str) -> Iterator[NDArray[np.float32]]:
    """Mono pieces of frames ``begin`` to ``stop``."""
    import numpy as np

    sound.seek(begin)
    at = begin
    while at < stop:
        block = sound.read(min(BLOCK_FRAMES, stop - at), dtype="float32", always_2d=True)
        if not len(block):
            # An MP3 without a count of its frames has a guessed length that may be a little too large.
            if kind == "MP3" and at > begin and (stop - at) / sound.samplerate < PART_SLACK_SECONDS + 0.01 * stop:
                return
            raise AudioFault(
                f"is truncated: it ends after {at / sound.samplerate:,.2f} of {stop / sound.samplerate:,.2f} seconds"
            )
        mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
        loudest = float(np.abs(block).max())
        if not math.isfinite(loudest):
            bad = at + int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])
            raise AudioFault(f"holds samples that are no numbers, the first at {bad / sound.samplerate:,.2f} seconds")
        if loudest > LOUDEST:
            raise AudioFault(f"holds samples up to {loudest:,.0f} where -1 to 1 is expected: save it scaled, or as PCM")
        yield mono
        at += len(block)


def _resampled(blocks: Iterator[NDArray[np.float32]], own: int, rate: int) -> Iterator[NDArray[np.float32]]:
    soxr = library("soxr")
    import numpy as np

    stream = soxr.ResampleStream(own, rate, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def _frames(sound: Any, kind: str, held: int | None) -> int:
    """Frames of a recording: what its header says, or what was counted.

    Raises:
        AudioFault: There are none, or the header has something impossible.
    """
    said, rate = int(sound.frames), int(sound.samplerate)
    if not RATES[0] <= rate <= RATES[1]:
        raise AudioFault(f"says it has {rate:,} samples a second: its header is wrong")
    if said == 0:
        raise AudioFault("has a header and no samples (0 seconds)")
    if said < 0 or said > 2**50:
        raise AudioFault("does not say how long it is: write it anew with a program that knows the length")
    if held is None:
        return said
    if held > said + 8 * 1152 and held > 1.01 * said:
        raise AudioFault(
            "is an MP3 of varying bit rate whose header does not say its length "
            f"({held / rate:,.1f} seconds are there, {said / rate:,.1f} would be read): convert it to WAV or FLAC"
        )
    return min(said, held)


class _Nameless:
    """A file without its name, of which soundfile would believe that ``.raw`` has no header."""

    def __init__(self, stream: BufferedReader) -> None:
        self.seek, self.tell, self.read, self.readinto = stream.seek, stream.tell, stream.read, stream.readinto


@contextmanager
def _file(place: Path) -> Iterator[BufferedReader]:
    try:
        with place.open("rb") as stream:
            yield stream
    except FileNotFoundError as error:
        raise AudioFault("is not there") from error
    except PermissionError as error:
        raise AudioFault("may not be read: change its permissions") from error
    except IsADirectoryError as error:
        raise AudioFault("is a folder") from error
    except OSError as error:
        raise AudioFault(f"cannot be read ({error.strerror or error})") from error


@contextmanager
def _opened(place: Path, *, thorough: bool = True) -> Iterator[tuple[Any, BufferedReader, str, int | None]]:
    """The recording, opened: as soundfile has it, its bytes, its format, and its frames where they were counted."""
    soundfile = library("soundfile")
    with _file(place) as stream:
        kind = format_of(stream.read(HEAD_BYTES), place.name)
        held = check_whole(stream, kind, thorough=thorough)
        stream.seek(0)
        try:
            with soundfile.SoundFile(_Nameless(stream)) as sound:
                if kind == "FLAC" and thorough and sound.frames > 0:
                    _check_end(sound)
                yield sound, stream, kind, held
        except (RuntimeError, ValueError, TypeError, OverflowError, MemoryError) as error:
            raise AudioFault(_why(error, kind, place.stat().st_size)) from error


def _check_end(sound: Any) -> None:
    """The last sample of a FLAC is found by a few jumps; it is not there where the file was cut."""
    try:
        sound.seek(sound.frames - 1)
        found = len(sound.read(1))
    except RuntimeError:
        found = 0
    if not found:
        raise AudioFault(
            f"is truncated: its header says {sound.frames / sound.samplerate:,.2f} seconds, it ends before"
        )
    sound.seek(0)


def _why(error: BaseException, kind: str, size: int) -> str:
    if isinstance(error, MemoryError):
        return "does not fit into memory: read parts of it"
    said = " ".join(str(error).split()).rpartition("Error opening")[2].partition(": ")[2] or "its content is damaged"
    return f"begins as {kind} ({size:,} bytes), but cannot be decoded: {said[:120].rstrip('.')}"


def _digest(stream: BufferedReader) -> str:
    stream.seek(0)
    return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


def library(name: str) -> Any:
    """A package of the extra ``audio``, imported.

    Raises:
        UserError: It is not installed.
    """
    import importlib

    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # soundfile raises OSError where its library is missing
        raise UserError(
            f"reading recordings needs the package {name}, which is not installed", "", 'pip install "tunesmith[audio]"'
        ) from error
