"""Recordings that sound the same: re-encoded, resampled, louder, trimmed. It knows no rows and no words.

A recording's print says, every 16 ms, for each pair of neighbouring bands between 300 and 3,400 Hz whether the upper
one is louder beside the lower than on average in this recording: 24 bits (after Haitsma and Kalker, 2002). Gain,
filters and codecs leave most of them as they are; another recording has up to half of them otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tunesmith.speech.measures import Wave, band_edges, band_sums, spectra

SoundPrint = NDArray[np.uint32]
"""uint32 [frames], a frame every 16 ms: 24 bits of print, and `SOUNDING` where the frame holds sound."""

BITS = 24
LOW_HZ, HIGH_HZ = 300.0, 3400.0
SMOOTHED_FRAMES = 8
SOUNDING_BELOW_PEAK_DB, LEAST_POWER = 35.0, 1e-6
SOUNDING = np.uint32(1 << 31)
_MASK = np.uint32((1 << BITS) - 1)

MOST_DIFFERENCE, SURE_FRAMES = 0.15, 48
"""The share of bits that may differ: codecs and trimming change up to 0.12, other recordings have 0.28 at least where
they have so many frames of sound in common (0.77 s)."""
CHANCE = 0.5
"""The share of bits in which prints differ that have nothing to do with each other."""
LEAST_FRAMES = 24
"""Frames of sound that two prints must have in common (0.38 s): of fewer, equal bits would not be enough."""
LEAST_OVERLAP = 0.8
"""The share of the shorter one's sound that must lie in the other."""

INDEX_STEP = 2
MOST_TRIED = 6
OFFSETS_AROUND = 2


def sound_print(wave: Wave, rate: int = 16_000) -> SoundPrint:
    """The print of a recording; recordings of different rates can be compared.

    Args:
        wave: float32 mono [samples].
        rate: Samples a second, 8,000 at least.
    """
    edges = band_edges(rate, BITS + 1, LOW_HZ, HIGH_HZ)
    energies = np.concatenate([band_sums(power, edges) for power in spectra(wave, rate)]).astype(np.float64)
    whole = energies.sum(axis=1)
    sounding = whole > max(LEAST_POWER, float(whole.max()) * 10 ** (-SOUNDING_BELOW_PEAK_DB / 10))
    if not sounding.any():
        return np.zeros(len(whole), dtype=np.uint32)
    steps = np.diff(np.log(_smoothed(energies) + 1e-9), axis=1)
    louder = steps > steps[sounding].mean(axis=0)
    bits = (louder * (1 << np.arange(BITS))).sum(axis=1).astype(np.uint32)
    return np.asarray(np.where(sounding, bits | SOUNDING, bits), dtype=np.uint32)


def _smoothed(energies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Energies [frames, bands] under a bell over time, so that a shift of half a frame changes little."""
    bell = np.hanning(SMOOTHED_FRAMES + 2)[1:-1]
    bell /= bell.sum()
    padded = np.pad(energies, ((SMOOTHED_FRAMES // 2, SMOOTHED_FRAMES - SMOOTHED_FRAMES // 2 - 1), (0, 0)))
    smooth = np.zeros_like(energies)
    for at, share in enumerate(bell.tolist()):
        smooth += share * padded[at : at + len(energies)]
    return smooth


def most_difference(frames: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of bits that may differ between prints with so many frames of sound in common, shape as ``frames``.

    Shares of fewer bits scatter more, by the root of their number: so that chance makes prints alike as seldom as it
    does those with `SURE_FRAMES`, they must lie further below `CHANCE` (the false alarms of Haitsma and Kalker, 2002).
    """
    least = CHANCE - (CHANCE - MOST_DIFFERENCE) * np.sqrt(SURE_FRAMES / np.maximum(frames, 1))
    return np.asarray(np.minimum(MOST_DIFFERENCE, least))


def alike(first: SoundPrint, second: SoundPrint) -> bool:
    """Whether two prints are of the same sound, wherever the one lies in the other.

    Args:
        first: Of `sound_print`.
        second: Likewise; less than 0.38 s of sound is alike to nothing.
    """
    if len(first) < LEAST_FRAMES or len(second) < LEAST_FRAMES:
        return False
    a, b = _signs(first), _signs(second)
    offsets = (np.arange(len(a))[:, None] - np.arange(len(b)) + len(b) - 1).ravel()
    agreed = np.bincount(offsets, weights=(a @ b.T).ravel())
    heard = np.bincount(offsets, weights=np.outer(_sounds(first), _sounds(second)).ravel())
    enough = heard >= _frames_needed(first, second)
    # Bits that agree less those that differ, out of all: the share that differs is (1 - that) / 2.
    differ = 0.5 - agreed[enough] / (2 * BITS * heard[enough])
    return bool((differ <= most_difference(heard[enough].astype(np.float64))).any())


def difference(first: SoundPrint, second: SoundPrint, offset: int) -> tuple[float, int]:
    """How two prints differ where ``second`` begins ``offset`` frames into ``first``.

    Returns:
        The share of bits that differ, 1 if too few frames meet, and how many frames hold sound in both.
    """
    start, stop = max(0, offset), min(len(first), offset + len(second))
    if stop - start < LEAST_FRAMES:
        return 1.0, 0
    a, b = first[start:stop], second[start - offset : stop - offset]
    heard = (a & b & SOUNDING) != 0
    count = int(np.count_nonzero(heard))
    if count < _frames_needed(first, second):
        return 1.0, count
    return float(_bit_counts((a[heard] ^ b[heard]) & _MASK).sum()) / (BITS * count), count


def _sounds(of: SoundPrint) -> NDArray[np.float32]:
    return np.asarray((of & SOUNDING) != 0, dtype=np.float32)


def _signs(of: SoundPrint) -> NDArray[np.float32]:
    """Bits as -1 and 1, and 0 where there is no sound: [frames, bits]."""
    bits = (of[:, None] >> np.arange(BITS, dtype=np.uint32)) & np.uint32(1)
    return np.asarray((2 * bits.astype(np.float32) - 1) * _sounds(of)[:, None], dtype=np.float32)


def _frames_needed(first: SoundPrint, second: SoundPrint) -> float:
    return max(LEAST_FRAMES, LEAST_OVERLAP * float(min(_sounds(first).sum(), _sounds(second).sum())))


def _bit_counts(values: NDArray[np.uint32]) -> NDArray[np.uint8]:
    if hasattr(np, "bitwise_count"):
        return np.asarray(np.bitwise_count(values))
    bits = np.unpackbits(np.ascontiguousarray(values).view(np.uint8))  # numpy 1
    return np.asarray(bits.reshape(len(values), 32).sum(1), dtype=np.uint8)


class PrintIndex:
    """Known prints, so that one that is alike is found without comparing all.

    Frames that are equal bit by bit vote for a recording and an offset; those with most votes are compared in full.
    """

    def __init__(self, known: Sequence[SoundPrint]) -> None:
        self.known = known
        values, rows, places = [], [], []
        for number, one in enumerate(known):
            at = np.flatnonzero(one[::INDEX_STEP] & SOUNDING) * INDEX_STEP
            values.append(one[at] & _MASK)
            rows.append(np.full(len(at), number, dtype=np.int64))
            places.append(at.astype(np.int64))
        flat = np.concatenate(values) if values else np.zeros(0, dtype=np.uint32)
        order = np.argsort(flat, kind="stable")
        self.values = flat[order]
        self.rows = np.concatenate(rows)[order] if rows else np.zeros(0, dtype=np.int64)
        self.places = np.concatenate(places)[order] if places else np.zeros(0, dtype=np.int64)

    def find(self, asked: SoundPrint) -> list[int]:
        """Numbers of known recordings that are alike to a print, the likeliest first, `MOST_TRIED` at most."""
        return list(dict.fromkeys(self._found(asked)))

    def _found(self, asked: SoundPrint) -> Iterator[int]:
        at = np.flatnonzero(asked & SOUNDING)
        if len(at) < LEAST_FRAMES or not len(self.values):
            return
        wanted = asked[at] & _MASK
        low, high = np.searchsorted(self.values, wanted, "left"), np.searchsorted(self.values, wanted, "right")
        hits = high - low
        starts = np.repeat(low - np.concatenate(([0], np.cumsum(hits)[:-1])), hits)
        entries = starts + np.arange(int(hits.sum()))
        offsets = self.places[entries] - np.repeat(at, hits)
        ballots, votes = np.unique(self.rows[entries] * (1 << 32) + offsets + (1 << 31), return_counts=True)
        for ballot in ballots[np.argsort(-votes, kind="stable")[:MOST_TRIED]].tolist():
            row, offset = ballot >> 32, (ballot & ((1 << 32) - 1)) - (1 << 31)
            around = range(offset - OFFSETS_AROUND, offset + OFFSETS_AROUND + 1)
            compared = np.array([difference(self.known[row], asked, near) for near in around])
            if (compared[:, 0] <= most_difference(compared[:, 1])).any():
                yield row
