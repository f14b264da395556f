"""What was heard of recordings, kept from one audit to the next, and how they were made. It judges nothing."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, field
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.audit.kept import TOGETHER, Kept
from tunesmith.data.ahead import ahead
from tunesmith.data.digest import canonical_json
from tunesmith.errors import UserError
from tunesmith.speech import heard
from tunesmith.speech.audio import AUDIO_RATE, AudioFault, channel_levels_db, place_of
from tunesmith.speech.conditions import Conditions, conditions
from tunesmith.speech.heard import Heard, Part, part_of
from tunesmith.speech.measures import FLOOR_DB, Measures
from tunesmith.types import Row

if TYPE_CHECKING:
    from tunesmith.audit.data import AuditData

HEARD, MADE = "heard-1", "recording-conditions-3"


def key_of(part: Part) -> str:
    """What names a part of a recording in `Kept`, 32 hexadecimal digits."""
    return blake2b(canonical_json(list(part)), digest_size=16).hexdigest()


@dataclass
class SoundMemory:
    """What was heard of parts of recordings in earlier runs, and now.

    Args:
        kept: Where it is kept; used from one thread.
    """

    kept: Kept
    pending: dict[str, Any] = field(default_factory=dict)

    def get(self, part: Part) -> Heard | None:
        """What was heard of a part; None where nothing was."""
        found = self.kept.get(HEARD, key_of(part))
        if found is None:
            return None
        print_ = np.frombuffer(base64.b64decode(found[1]), dtype=np.uint32)
        return Heard(Measures(*found[0]), print_)

    def put(self, part: Part, heard: Heard) -> None:
        """Keep what was heard, with what comes next."""
        encoded = base64.b64encode(heard.print.astype("<u4").tobytes()).decode()
        self.pending[key_of(part)] = [astuple(heard.measures), encoded]
        if len(self.pending) >= TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Write what is pending."""
        self.kept.put(HEARD, self.pending)
        self.pending = {}


def remember_sounds(kept: Kept) -> None:
    """From now on what this process hears is kept, and what was heard in earlier ones is not heard again."""
    heard.KEPT.memory = SoundMemory(kept)


@dataclass(frozen=True)
class Made:
    """How a recording was made.

    Args:
        conditions: Of the row's part; None where it cannot be read.
        channels: Level of each channel of the file in dB of full scale; none of a file with one.
        mixed: Level of their mean.
    """

    conditions: Conditions | None
    channels: tuple[float, ...] = ()
    mixed: float = FLOOR_DB


def made_of(data: AuditData, rows: Sequence[Row], what: str) -> Iterator[Made]:
    """How each recording was made, in order; decoded once and kept.

    Args:
        data: With ``kept`` and the task that reads recordings.
        rows: Of one side.
        what: For the progress.
    """
    keys = [key_of(part_of(row)) for row in rows]

    def measure(start: int, positions: Sequence[int]) -> Iterator[dict[str, Any]]:
        yield from ahead(lambda at: _made(data.task, rows[start + at]), positions, threads=heard.THREADS)

    for start in range(0, len(keys), _CHUNK):
        some = keys[start : start + _CHUNK]
        found = data.kept.measured(MADE, some, partial(measure, start))
        for value in found:
            known = value["conditions"]
            yield Made(Conditions(**known) if known else None, tuple(value["channels"]), value["mixed"])
        data.progress(what, min(len(keys), start + _CHUNK), len(keys))


_CHUNK = 500


def _made(task: Any, row: Row) -> dict[str, Any]:
    try:
        wave = task.beginning(row)
    except UserError:
        return {"conditions": None, "channels": (), "mixed": FLOOR_DB}
    channels: Sequence[float] = ()
    mixed = FLOOR_DB
    place = place_of(row, task.folders) if int(row.get("channels") or 1) > 1 else None
    if place is not None:
        try:
            channels, mixed = channel_levels_db(place, row.get("start"), row.get("end"))
        except AudioFault:
            channels = ()
    found = asdict(conditions(wave, AUDIO_RATE)) if len(wave) and np.isfinite(wave).all() else None
    return {"conditions": found, "channels": tuple(channels), "mixed": mixed}
