"""A drawn voice, and what is measured of it: power, fundamental, delay, level."""

from __future__ import annotations

import numpy as np

from tunesmith.speech.augment import (
    AugmentSettings,
    Clipping,
    Codec,
    Color,
    Gain,
    Mask,
    Noise,
    Pitch,
    Room,
    Speed,
    Telephone,
)

RATE = 16_000
COLORS: tuple[Color, ...] = ("white", "pink", "brown", "wind", "babble")
ALL_ON = AugmentSettings(
    noise=Noise(probability=1, snr=(5, 20), color=list(COLORS)),
    speed=Speed(probability=1),
    pitch=Pitch(probability=1),
    gain=Gain(probability=1),
    room=Room(probability=1),
    telephone=Telephone(probability=1),
    codec=Codec(probability=1, formats=["mp3", "gsm"]),
    clipping=Clipping(probability=1),
    mask=Mask(probability=1),
)


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def voice(seconds: float = 2.0, hertz: float = 120.0, level: float = 0.1) -> np.ndarray:
    """A buzz with the harmonics of a voice, float32."""
    t = np.arange(round(seconds * RATE)) / RATE
    buzz = sum(np.sin(2 * np.pi * k * hertz * t + k) / k for k in range(1, int(3300 / hertz)))
    made: np.ndarray = (level * buzz / np.sqrt(np.mean(np.square(buzz)))).astype(np.float32)
    return made


def spoken(seconds: float = 3.0, hertz: float = 120.0, level: float = 0.1) -> np.ndarray:
    """A voice that speaks for 0.5 s and pauses for 0.5 s, the pauses digitally silent."""
    wave = voice(seconds, hertz, level)
    wave[talking(len(wave)) == 0] = 0
    return wave


def talking(samples: int) -> np.ndarray:
    found: np.ndarray = (np.arange(samples) // (RATE // 2)) % 2 == 0
    return found


def power(wave: np.ndarray) -> float:
    return float(np.mean(np.square(wave.astype(np.float64))))


def db(ratio: float) -> float:
    return float(10 * np.log10(ratio))


def fundamental(wave: np.ndarray) -> float:
    """Hertz of a voice by its autocorrelation, between samples by a parabola."""
    middle = wave[len(wave) // 4 : len(wave) * 3 // 4].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(middle, 2 * len(middle))) ** 2
    lags = np.fft.irfft(spectrum)[: RATE // 50]
    lags = lags / np.arange(len(middle), len(middle) - len(lags), -1)
    low = RATE // 500
    peak = low + int(np.argmax(lags[low:]))
    # Multiples of the period are as high: the first peak that is nearly so high is the period.
    peak = next(i for i in range(low, peak + 1) if lags[i] > 0.95 * lags[peak] and lags[i] == lags[i - 2 : i + 3].max())
    before, here, after = lags[peak - 1 : peak + 2]
    return float(RATE / (peak + (before - after) / (2 * (before - 2 * here + after))))


def lag(one: np.ndarray, other: np.ndarray) -> int:
    """Samples by which the other comes later."""
    length = 2 * max(len(one), len(other))
    likeness = np.fft.irfft(np.fft.rfft(other, length) * np.conj(np.fft.rfft(one, length)), length)
    best = int(np.argmax(likeness))
    return best if best < length // 2 else best - length


def level_at(wave: np.ndarray, hertz: float) -> float:
    """Amplitude of one tone in the middle of a waveform."""
    part = wave[RATE // 4 : RATE // 4 + RATE]
    turning = np.exp(-2j * np.pi * hertz * np.arange(len(part)) / RATE)
    return float(2 * np.abs(np.mean(part * turning)))


def tone(hertz: float, seconds: float = 1.5, level: float = 0.3) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)
