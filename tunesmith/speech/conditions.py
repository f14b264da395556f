"""Under what conditions a recording was made: mains hum, direct current, cuts, pauses, how sound dies away.

It knows no rows and judges nothing. A waveform is float32 mono, [samples], in -1..1. What every run measures of a
recording stands in `measures`; this is what a closer look adds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunesmith.speech.measures import FLOOR_DB, HOP_SECONDS, Wave, frame_levels_db, sounds

MAINS_HZ = (50.0, 60.0)
HUM_WINDOW_SECONDS, HUM_LEAST_WINDOWS = 0.5, 4
HUM_HARMONICS = 3
HUM_QUIET = 0.25
"""The share of windows that are quieter: hum goes on where speech pauses."""
HUM_PROMINENCE_DB = 15.0
HUM_NEIGHBOURS_HZ = (8.0, 20.0)
HUM_LEAST_DB = -70.0

DECAY_SECONDS = 0.008
DECAY_SMOOTHED = 5
DECAY_LEAST_DB, DECAY_ABOVE_FLOOR_DB, DECAY_START_DB, DECAY_RISE_DB = 15.0, 10.0, 3.0, 2.0
LEAST_DECAYS = 2


@dataclass(frozen=True)
class Conditions:
    """How a recording was made, in numbers.

    Args:
        offset: Mean of its samples (direct current), -1 to 1.
        hum_hz: 50 or 60 where the hum of the mains is heard, else 0.
        hum_db: Its level in dB of full scale, `FLOOR_DB` where there is none.
        start_db: Level of the first 32 ms beneath the loud parts (95th percentile of frames), in dB, 0 or more.
        end_db: The same of the last 32 ms.
        range_db: How far its quiet frames (10th percentile) lie beneath the loud parts, in dB.
        pause: Seconds of the longest silence between sounds.
        pause_at: Where it begins, in seconds.
        decay: Seconds in which sound would die away by 60 dB, the median over where it does die away; None where that
            is too seldom. Room and voice together: dry speech has about 0.2, a meeting room 0.5 and more.
    """

    offset: float
    hum_hz: float
    hum_db: float
    start_db: float
    end_db: float
    range_db: float
    pause: float
    pause_at: float
    decay: float | None


def conditions(wave: Wave, rate: int) -> Conditions:
    """Measure how a recording was made.

    Args:
        wave: float32 [samples], one at least.
        rate: Samples a second.
    """
    levels = frame_levels_db(wave, rate)
    loud = float(np.quantile(levels, 0.95))
    hum_hz, hum_db = _hum(wave, rate)
    pause_at, pause = _pause(wave, rate)
    return Conditions(
        float(wave.mean(dtype=np.float64)),
        hum_hz,
        hum_db,
        max(0.0, loud - float(levels[:2].max())),
        max(0.0, loud - float(levels[-2:].max())),
        loud - float(np.quantile(levels, 0.1)),
        pause,
        pause_at,
        decay_seconds(wave, rate),
    )


def _hum(wave: Wave, rate: int) -> tuple[float, float]:
    """Hertz of the mains that is heard (0: none), and its level: lines that stand out in the quieter windows."""
    size, found = round(HUM_WINDOW_SECONDS * rate), (0.0, FLOOR_DB)
    if len(wave) < size:
        return found
    windows = np.lib.stride_tricks.sliding_window_view(wave, size)[:: size // 2]
    if len(windows) < HUM_LEAST_WINDOWS:
        return found
    step = rate / size
    top = round((MAINS_HZ[-1] * HUM_HARMONICS + HUM_NEIGHBOURS_HZ[1]) / step) + 2
    shape = np.hanning(size).astype(np.float32)
    spectra = [np.abs(np.fft.rfft(window * shape)[:top]) ** 2 for window in windows]
    power = (
        np.quantile(np.stack(spectra), HUM_QUIET, axis=0) * 4 / float(shape.sum()) ** 2
    )  # of a sine: amplitude squared
    for mains in MAINS_HZ:
        lines = [_line(power, round(mains * k / step), step) for k in range(1, HUM_HARMONICS + 1)]
        level = 10 * math.log10(sum(line for line, _ in lines) / 2 + 1e-12)
        # Two lines at least: one alone may be a tone of something else.
        if sum(above >= HUM_PROMINENCE_DB for _, above in lines) >= 2 and level > max(HUM_LEAST_DB, found[1]):
            found = mains, level
    return found


def _line(power: NDArray[np.float64], at: int, step: float) -> tuple[float, float]:
    """Power of a spectral line, and how many dB it stands above its surroundings."""
    near, far = (round(hz / step) for hz in HUM_NEIGHBOURS_HZ)
    around = np.concatenate([power[max(1, at - far) : at - near + 1], power[at + near : at + far + 1]])
    line = float(power[at - 1 : at + 2].max())
    return line, 10 * math.log10((line + 1e-14) / (float(np.median(around)) + 1e-14))


def _pause(wave: Wave, rate: int) -> tuple[float, float]:
    """Where the longest silence between sounds begins, and how long it is, in seconds."""
    heard = np.flatnonzero(sounds(wave, rate))
    if len(heard) < 2:
        return 0.0, 0.0
    gaps = np.diff(heard) - 1
    longest = int(gaps.argmax())
    return float(heard[longest] + 1) * HOP_SECONDS, float(gaps[longest]) * HOP_SECONDS


def decay_seconds(wave: Wave, rate: int) -> float | None:
    """In how many seconds sound dies away by 60 dB where it stops: the median of straight lines through such places.

    A stand-in for reverberation that needs no impulse: in a room that rings nothing dies away faster than the room
    lets it (compare Ratnam et al., 2003).

    Args:
        wave: float32 [samples].
        rate: Samples a second.

    Returns:
        Seconds; None where sound dies away by 15 dB fewer than twice.
    """
    levels = frame_levels_db(wave, rate, DECAY_SECONDS)
    if len(levels) < 4 * DECAY_SMOOTHED:
        return None
    power = np.convolve(
        10 ** (levels.astype(np.float64) / 10), np.full(DECAY_SMOOTHED, 1 / DECAY_SMOOTHED), mode="valid"
    )
    smooth = 10 * np.log10(power + 1e-12)
    floor = float(np.quantile(smooth, 0.05)) + DECAY_ABOVE_FLOOR_DB
    found = []
    for begin, stop in _falls(smooth.tolist()):
        part = smooth[begin : stop + 1]
        part = part[(part <= part[0] - DECAY_START_DB) & (part >= floor)]
        if len(part) >= 4 and part[0] - part[-1] >= DECAY_LEAST_DB - DECAY_START_DB:
            times = np.arange(len(part)) * DECAY_SECONDS
            found.append(-60 / float(np.polyfit(times, part, 1)[0]))
    return float(np.median(found)) if len(found) >= LEAST_DECAYS else None


def _falls(levels: list[float]) -> list[tuple[int, int]]:
    """Where levels fall from a peak to a trough, small rises on the way not counted: first and last frame of each."""
    found, peak, trough = [], 0, 0
    for at, level in enumerate(levels):
        if level > levels[trough] + DECAY_RISE_DB or at == len(levels) - 1:
            if trough > peak:
                found.append((peak, trough))
            peak = trough = at
        elif level > levels[peak]:
            peak = trough = at
        elif level < levels[trough]:
            trough = at
    return found
