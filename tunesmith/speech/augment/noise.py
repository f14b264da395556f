"""Noise behind speech: made, or cut from recordings, and mixed at a signal-to-noise ratio. It decides nothing."""

from __future__ import annotations

import numpy as np

from tunesmith.speech.augment.level import NOMINAL, RATE, SILENT, active_power, limited, transform_length
from tunesmith.speech.augment.settings import Color

FLOOR = 50.0
"""Hertz below which no colour grows further: what lies there is not heard and would take all the power."""
VOICES, SYLLABLES = 6, 4.0
GUSTS, GUSTY = 1, 0.5
"""How many envelopes swell together, and how often a second at most."""


def colored(samples: int, color: Color, rng: np.random.Generator) -> np.ndarray:
    """Noise of one colour: float32 [samples] with a mean square of one.

    The power of ``pink`` falls by 3 dB an octave, of ``brown`` by 6 dB (flat below 50 Hz). ``wind`` is brown noise in
    gusts. ``babble`` has the spectrum of speech and swells as six voices together do; it has no words and no pitch.

    Args:
        samples: How many.
        color: Its name.
        rng: The step's generator.
    """
    if not samples:
        return np.zeros(0, np.float32)
    length = transform_length(samples)
    bins = length // 2 + 1
    spectrum = rng.standard_normal(2 * bins, dtype=np.float32).view(np.complex64)
    spectrum *= _shape(color, np.arange(bins, dtype=np.float32) * np.float32(RATE / length))
    noise = np.fft.irfft(spectrum, length)[:samples].astype(np.float32, copy=False)
    if color == "babble":
        noise *= _swelling(samples, VOICES, SYLLABLES, rng)
    elif color == "wind":
        noise *= _swelling(samples, GUSTS, GUSTY, rng)
    power = _power(noise)
    return noise / np.float32(power**0.5) if power else noise


def background(recording: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    """A part of a recording from a random place on, begun anew where it ends: float32 [samples].

    Where only silence lies at the place, the part around the recording's loudest sample is taken.

    Args:
        recording: float32 [any number of samples, one at least].
        samples: How many are wanted.
        rng: The step's generator.
    """
    spare = len(recording) - samples
    start = int(rng.integers(0, spare + 1 if spare > 0 else len(recording)))
    part = np.take(recording, np.arange(start, start + samples), mode="wrap")
    if _power(part) < SILENT:
        start = int(np.argmax(np.abs(recording))) - samples // 2
        part = np.take(recording, np.arange(start, start + samples), mode="wrap")
    return part.astype(np.float32, copy=False)


def mixed(wave: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
    """Speech with noise behind it; softer as a whole where the sum would go beyond full scale.

    The ratio is the speech's power where it is active (``active_power``) over the noise's mean square. Silence has no
    such ratio: it gets the noise that speech of nominal level (-26 dB of full scale) would have behind it. Noise that
    is silent itself adds nothing.

    Args:
        wave: float32 [samples].
        noise: float32 [samples], at any level.
        snr: The ratio in dB.
    """
    power = _power(noise)
    if power < np.finfo(np.float32).tiny:
        return wave
    wanted = (active_power(wave) or NOMINAL) * 10 ** (-snr / 10)
    return limited(wave + noise * np.float32((wanted / power) ** 0.5))


def _power(wave: np.ndarray) -> float:
    return float(np.dot(wave, wave)) / len(wave) if len(wave) else 0.0


def _shape(color: Color, hertz: np.ndarray) -> np.ndarray:
    """Amplitude of a colour at each frequency; nothing at 0 Hz."""
    if color == "white":
        shape = np.ones_like(hertz)
    elif color == "pink":
        shape = np.maximum(hertz, FLOOR) ** -0.5
    elif color == "babble":
        # The long-term average of speech: even up to 500 Hz, then falling (Byrne et al. 1994).
        shape = np.where(hertz < 80, 0, 1 / (1 + (hertz / 500) ** 2) ** 0.6)
    else:
        shape = 1 / np.maximum(hertz, FLOOR)
    shape[0] = 0
    return shape.astype(np.float32)


def _swelling(samples: int, voices: int, hertz: float, rng: np.random.Generator) -> np.ndarray:
    """The envelope of several sources of noise together, each rising and falling up to ``hertz`` times a second."""
    points = max(8, int(samples / RATE * hertz * 4) + 2)
    rough = rng.standard_normal((voices, points)) ** 2
    smooth = np.array([0.25, 0.5, 0.25])
    power = np.convolve(rough.mean(0), smooth, mode="same") + 0.05
    return np.interp(np.linspace(0, points - 1, samples), np.arange(points), power**0.5).astype(np.float32)
