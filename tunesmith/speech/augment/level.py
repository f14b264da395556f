"""How loud a waveform is: power of active speech, gain, full scale. It knows no chance and no setting."""

from __future__ import annotations

import numpy as np

RATE = 16_000
"""Samples a second of every waveform here."""
SILENT = 1e-8
"""Mean square (-80 dB of full scale) below which a waveform counts as silence."""
NOMINAL = 10**-2.6
"""Mean square of speech at the level that telephony calls nominal, -26 dB of full scale (ITU-T P.56)."""
MARGIN = 10**-1.59
"""Frames more than 15.9 dB below the active level are pauses, as in ITU-T P.56."""
FRAME = RATE // 50


def active_power(wave: np.ndarray) -> float:
    """Mean square over the frames in which somebody speaks; 0 for silence.

    The active level is the power over all frames of 20 ms that lie at most 15.9 dB below it: ITU-T P.56's definition,
    on frames and without its hangover.

    Args:
        wave: float32 [samples].
    """
    if not len(wave):
        return 0.0
    whole = len(wave) // FRAME * FRAME
    framed = wave[:whole].reshape(-1, FRAME) if whole else wave[None]
    powers = np.einsum("fs,fs->f", framed, framed, dtype=np.float64) / framed.shape[1]
    level = float(powers.mean())
    # Pauses only ever leave the mean, so the level rises until it stands.
    while level > SILENT:
        louder = float(powers[powers >= level * MARGIN].mean())
        if louder <= level * (1 + 1e-9):
            return level
        level = louder
    return 0.0


def limited(wave: np.ndarray) -> np.ndarray:
    """The waveform, made softer as a whole where it goes beyond full scale: nothing is cut off.

    Args:
        wave: Any floats [samples].

    Returns:
        float32 [samples] within -1..1.
    """
    peak = float(np.abs(wave).max(initial=0.0))
    return (wave / peak if peak > 1 else wave).astype(np.float32, copy=False)


def gained(wave: np.ndarray, db: float) -> tuple[np.ndarray, float]:
    """Louder or softer, to full scale at most.

    Args:
        wave: float32 [samples].
        db: Gain in dB.

    Returns:
        The waveform, and the dB that it got: fewer than ``db`` where its peak reaches full scale before.
    """
    peak = float(np.abs(wave).max(initial=0.0))
    factor = 10 ** (db / 20)
    if peak * factor > 1:
        factor = 1 / peak
        db = 20 * float(np.log10(factor))
    return limited(wave * np.float32(factor)), db


def overdriven(wave: np.ndarray, db: float) -> np.ndarray:
    """The waveform with its peaks cut off ``db`` below the highest, as an input that is driven too hard cuts them."""
    highest = np.float32(float(np.abs(wave).max(initial=0.0)) * 10 ** (-db / 20))
    return limited(np.clip(wave, -highest, highest))


def lasting(wave: np.ndarray, samples: int) -> np.ndarray:
    """The waveform cut, or continued with silence, to so many samples."""
    short = samples - len(wave)
    return np.pad(wave, (0, short)) if short > 0 else wave[:samples]


def transform_length(samples: int) -> int:
    """A length of at least so many samples whose Fourier transform is fast: 2, 3 or 5 times a power of two."""
    power = 1 << max(0, samples - 1).bit_length()
    return min(n for n in (power, power * 5 // 8, power * 3 // 4) if n >= samples)
