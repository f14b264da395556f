"""What can be measured of a recording without understanding it: loudness, silence, clipping, noise, bandwidth.

It knows no rows and no transcripts. A waveform is float32 mono, [samples], in -1..1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float32]

FLOOR_DB = -120.0
FRAME_SECONDS, HOP_SECONDS = 0.032, 0.016
FRAMES_AT_ONCE = 4096

SILENCE_DB = -60.0
"""A frame this quiet is silent in any recording."""
SILENCE_BELOW_LOUD_DB = 40.0
"""A frame that lies this far below the loud ones (the 95th percentile) is silent in its recording."""

FULL_SCALE, CLIPPED_RUN, FLAT = 0.99, 3, 2 / 32768

NOISE_BANDS, NOISE_FROM_HZ = 20, 100.0
NOISE_SMOOTHED, NOISE_PERCENTILE, NOISE_QUANTILE = 3, 5.0, 0.1
LEAST_NOISE_FRAMES = 50
SNR_RANGE_DB = (-10.0, 60.0)

BAND_BELOW_PEAK_DB, BAND_SMOOTHED_HZ = 60.0, 250.0


@dataclass(frozen=True)
class Measures:
    """A recording in numbers.

    Args:
        seconds: How long it is.
        peak: The largest absolute sample.
        rms_db: Root mean square in dB of full scale, `FLOOR_DB` at least.
        silence: The share of its 16 ms frames that are silent, 0 to 1.
        leading: Seconds of silence before the first sound; all of it where there is no sound.
        trailing: Seconds of silence after the last sound; likewise.
        clipped: The share of samples that are cut off at full scale, 0 to 1.
        snr_db: Estimated ratio of speech to noise in dB, within `SNR_RANGE_DB`; None where there is too little sound.
        bandwidth: The highest frequency in Hz that holds sound, 0 where there is none.
    """

    seconds: float
    peak: float
    rms_db: float
    silence: float
    leading: float
    trailing: float
    clipped: float
    snr_db: float | None
    bandwidth: float


def measure(wave: Wave, rate: int) -> Measures:
    """Measure a recording.

    The noise is estimated by minimum statistics (Martin 2001, without his tracking): in each of 20 mel bands, the 5th
    percentile of the smoothed energy over time, divided by what that percentile is of pure noise of that bandwidth.
    A sound that never pauses and never changes (a tone, a hum) counts as noise.

    Args:
        wave: float32 [samples].
        rate: Samples a second.
    """
    count = len(wave)
    if not count:
        return Measures(0.0, 0.0, FLOOR_DB, 1.0, 0.0, 0.0, 0.0, None, 0.0)
    seconds = count / rate
    peak = float(max(wave.max(), -wave.min()))
    rms_db = _db(float(np.dot(wave, wave)) / count)
    sounding = sounds(wave, rate)
    heard = np.flatnonzero(sounding)
    if not len(heard):
        return Measures(seconds, peak, rms_db, 1.0, seconds, seconds, clipped_share(wave, peak), None, 0.0)
    energies, spectrum = _energies(wave, rate)
    return Measures(
        seconds,
        peak,
        rms_db,
        1 - len(heard) / len(sounding),
        float(heard[0]) * HOP_SECONDS,
        max(0.0, seconds - float(heard[-1] + 1) * HOP_SECONDS),
        clipped_share(wave, peak),
        _snr_db(energies, rate),
        _bandwidth(spectrum, rate),
    )


def frame_levels_db(wave: Wave, rate: int, seconds: float = HOP_SECONDS) -> NDArray[np.float32]:
    """The level of each stretch of a recording in dB of full scale, float32 [frames]; a rest at the end has its own.

    Args:
        wave: float32 [samples].
        rate: Samples a second.
        seconds: How long a stretch is; it is rounded to whole samples.
    """
    size = max(1, round(seconds * rate))
    whole = len(wave) // size
    parts = wave[: whole * size].reshape(whole, size)
    power = np.einsum("ij,ij->i", parts, parts) / size
    if whole * size < len(wave):
        rest = wave[whole * size :]
        power = np.append(power, np.float32(np.dot(rest, rest) / len(rest)))
    return np.asarray(10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10))), dtype=np.float32)


def sounds(wave: Wave, rate: int) -> NDArray[np.bool_]:
    """Which frames of `HOP_SECONDS` are not silent, [frames]."""
    levels = frame_levels_db(wave, rate)
    if not len(levels):
        return np.zeros(0, dtype=np.bool_)
    loud = float(np.partition(levels, place := int(0.95 * (len(levels) - 1)))[place])
    return np.asarray(levels > max(SILENCE_DB, loud - SILENCE_BELOW_LOUD_DB))


def clipped_share(wave: Wave, peak: float) -> float:
    """The share of samples beyond full scale, or in flat runs of three and more at it; one loud sample is no clipping.

    Args:
        wave: float32 [samples].
        peak: Its largest absolute sample, which says whether there is anything to look for.
    """
    if peak < FULL_SCALE:
        return 0.0
    at = np.flatnonzero(np.abs(wave) >= FULL_SCALE)
    beyond = np.abs(wave[at]) > 1.0
    flat = (np.diff(at) == 1) & (np.abs(np.diff(wave[at])) <= FLAT)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flat.astype(np.int8), [0]))))
    for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if stop - start + 1 >= CLIPPED_RUN:
            beyond[start : stop + 1] = True
    return float(np.count_nonzero(beyond)) / len(wave)


def _db(power: float) -> float:
    return max(FLOOR_DB, 10 * math.log10(power)) if power > 0 else FLOOR_DB


def spectra(wave: Wave, rate: int) -> Iterator[NDArray[np.float32]]:
    """Power spectra of Hann windows of `FRAME_SECONDS`, one every `HOP_SECONDS`; a rest at the end is left out.

    Args:
        wave: float32 [samples]; a shorter one than a window is filled with zeros.
        rate: Samples a second.

    Yields:
        float32 [frames, bins], some thousand frames at a time.
    """
    size, hop = _sizes(rate)
    if len(wave) < size:
        wave = np.pad(wave, (0, size - len(wave)))
    views = np.lib.stride_tricks.sliding_window_view(wave, size)[::hop]
    shape = np.hanning(size + 1)[:-1].astype(np.float32)
    for start in range(0, len(views), FRAMES_AT_ONCE):
        spectrum = np.fft.rfft(views[start : start + FRAMES_AT_ONCE] * shape, axis=1)
        yield (spectrum.real**2 + spectrum.imag**2).astype(np.float32, copy=False)


def _sizes(rate: int) -> tuple[int, int]:
    """Samples of a window and from one to the next."""
    return max(16, round(FRAME_SECONDS * rate)), max(8, round(HOP_SECONDS * rate))


@cache
def band_edges(rate: int, bands: int, low: float, high: float) -> NDArray[np.int64]:
    """The bins at which mel bands begin, and where the last one ends: [bands + 1], each at least one bin wide."""
    mel = np.linspace(1127 * math.log1p(low / 700), 1127 * math.log1p(high / 700), bands + 1)
    size = _sizes(rate)[0]
    edges = np.round(700 * np.expm1(mel / 1127) * size / rate).astype(np.int64)
    for at in range(1, len(edges)):
        edges[at] = max(edges[at], edges[at - 1] + 1)
    return np.minimum(edges, size // 2 + 1)


def band_sums(power: NDArray[np.float32], edges: NDArray[np.int64]) -> NDArray[np.float32]:
    """The energy in each band, [frames, bands] of spectra [frames, bins]."""
    return np.add.reduceat(power[:, : edges[-1]], edges[:-1], axis=1)


def _energies(wave: Wave, rate: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Band energies [frames, bands] for the noise, and the mean power spectrum [bins]."""
    edges = band_edges(rate, NOISE_BANDS, NOISE_FROM_HZ, rate / 2)
    bands, total, frames = [], np.zeros(_sizes(rate)[0] // 2 + 1), 0
    for power in spectra(wave, rate):
        bands.append(band_sums(power, edges))
        total += power.sum(axis=0)
        frames += len(power)
    return np.concatenate(bands), total / frames


def _snr_db(energies: NDArray[np.float32], rate: int) -> float | None:
    lively = energies[energies.sum(axis=1) > 1e-7]  # digital silence between or around says nothing of the noise
    if len(lively) < LEAST_NOISE_FRAMES:
        return None
    sums = np.cumsum(lively, axis=0, dtype=np.float64)
    smooth = (sums[NOISE_SMOOTHED:] - sums[:-NOISE_SMOOTHED]) / NOISE_SMOOTHED
    place = int(NOISE_PERCENTILE / 100 * (len(smooth) - 1))
    lowest = np.partition(smooth, place, axis=0)[place]
    noise = float((lowest / _noise_quantiles(rate)).sum())
    whole = float(lively.mean(axis=0, dtype=np.float64).sum())
    low, high = SNR_RANGE_DB
    return min(high, max(low, 10 * math.log10(max(whole - noise, 1e-12) / max(noise, 1e-12))))


@cache
def _noise_quantiles(rate: int) -> NDArray[np.float64]:
    """What a low quantile of smoothed noise is of its mean, in each band [bands] (Wilson and Hilferty's approximation).

    The quantile is a higher one than the percentile that is taken, since much of a recording is speech and not noise.
    """
    widths = np.diff(band_edges(rate, NOISE_BANDS, NOISE_FROM_HZ, rate / 2)).clip(1)
    independent = 2 * (1 + (widths - 1) / 1.5) * (1 + (NOISE_SMOOTHED - 1) / 1.3)
    z = _normal_quantile(NOISE_QUANTILE)
    return np.asarray((1 - 2 / (9 * independent) + z * np.sqrt(2 / (9 * independent))) ** 3)


def _normal_quantile(share: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(share)


def _bandwidth(spectrum: NDArray[np.float64], rate: int) -> float:
    """The highest frequency whose smoothed power is within `BAND_BELOW_PEAK_DB` of the peak."""
    step = rate / _sizes(rate)[0]
    width = max(1, round(BAND_SMOOTHED_HZ / step))
    smooth = np.convolve(spectrum, np.full(width, 1 / width), mode="same")
    heard = np.flatnonzero(smooth >= smooth.max() * 10 ** (-BAND_BELOW_PEAK_DB / 10))
    return float(heard[-1]) * step
