"""Speed and pitch: resampling, and stretching by overlapped pieces (WSOLA). It knows no chance and no setting."""

from __future__ import annotations

from typing import Any

import numpy as np

from tunesmith.errors import UserError
from tunesmith.speech.augment.level import RATE, lasting, limited

HOP, WINDOW, SEARCH = 256, 512, 160
"""Samples between pieces, in a piece, and by which a piece is moved at most to fit the one before it: more than half
a period of the lowest voice (50 Hz)."""


def resampled(wave: np.ndarray, rate: float, wanted: float) -> np.ndarray:
    """A waveform at another rate: float32 [about samples * wanted / rate].

    Args:
        wave: float32 [samples].
        rate: Samples a second that it has.
        wanted: Samples a second that it is to have.

    Raises:
        UserError: soxr is not installed.
    """
    try:
        import soxr
    except ImportError as error:
        fix = 'pip install "tunesmith[audio]"'
        raise UserError("resampling sound needs the package soxr, which is not installed", fix=fix) from error
    if rate == wanted or not len(wave):
        return wave
    found: np.ndarray = soxr.resample(wave.astype(np.float32, copy=False), rate, wanted, quality="HQ")
    return found


def at_speed(wave: np.ndarray, factor: float) -> np.ndarray:
    """Played faster: ``factor`` divides the duration and multiplies every frequency.

    Args:
        wave: float32 [samples].
        factor: 1.1 is a tenth faster.

    Returns:
        float32 [round(samples / factor)].
    """
    return limited(lasting(resampled(wave, RATE * factor, RATE), round(len(wave) / factor)))


def pitched(wave: np.ndarray, semitones: float) -> np.ndarray:
    """Higher or lower, formants included; no sound moves in time by more than 10 ms.

    Args:
        wave: float32 [samples].
        semitones: By how many; 12 double every frequency.

    Returns:
        float32 [samples].
    """
    factor = 2 ** (semitones / 12)
    longer = stretched(wave, factor)
    return limited(lasting(resampled(longer, RATE * factor, RATE), len(wave)))


def stretched(wave: np.ndarray, factor: float) -> np.ndarray:
    """Slower at the same pitch, by waveform-similarity overlap-add (WSOLA, Verhelst and Roelands 1993).

    Args:
        wave: float32 [samples].
        factor: Multiplies the duration.

    Returns:
        float32 [round(samples * factor)].
    """
    samples = round(len(wave) * factor)
    if not len(wave) or factor == 1:
        return wave
    pieces = samples // HOP + 2
    margin = WINDOW + SEARCH + HOP
    padded = np.pad(wave.astype(np.float32, copy=False), (margin, margin + WINDOW + HOP))
    power = np.concatenate([[0.0], np.cumsum(padded.astype(np.float64) ** 2)])
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)
    made = np.zeros(pieces * HOP + WINDOW, np.float32)
    last = len(padded) - WINDOW - SEARCH - HOP
    start = margin - WINDOW // 2
    for piece in range(pieces):
        wanted = min(round(piece * HOP / factor) + margin - WINDOW // 2, last)
        if piece:
            start = _alike(padded, power, start + HOP, wanted)
        made[piece * HOP : piece * HOP + WINDOW] += window * padded[start : start + WINDOW]
    return made[WINDOW // 2 : WINDOW // 2 + samples]


def _alike(padded: np.ndarray, power: np.ndarray, follows: int, wanted: int) -> int:
    """Where near ``wanted`` the sound is most like that which lies at ``follows``, the piece's own continuation."""
    target = padded[follows : follows + WINDOW]
    low = wanted - SEARCH
    region = padded[low : wanted + SEARCH + WINDOW]
    energy = power[low + WINDOW : wanted + SEARCH + WINDOW + 1] - power[low : wanted + SEARCH + 1]
    likeness: Any = np.correlate(region, target, mode="valid") / np.sqrt(np.maximum(energy, 1e-9))
    best = int(np.argmax(likeness))
    return low + best if likeness[best] > 0 else wanted
