"""A room's echo: an impulse response that decays, and convolution with it. It knows no setting."""

from __future__ import annotations

import numpy as np

from tunesmith.speech.augment.level import RATE, lasting, limited, transform_length

GAP = 0.003
"""Seconds between the direct sound and the first echo: a detour of one metre."""


def impulse_response(rt60: float, direct: float, rng: np.random.Generator) -> np.ndarray:
    """What a room answers to one click: the click at once, then noise that decays exponentially (Moorer 1979).

    Args:
        rt60: Seconds in which the echo falls by 60 dB.
        direct: Energy of the click over that of the echo, in dB.
        rng: The step's generator.

    Returns:
        float32 [RATE * (rt60 + GAP)], its energy one, so that speech stays about as loud.
    """
    gap, length = round(GAP * RATE), max(1, round(rt60 * RATE))
    tail = rng.standard_normal(length) * 10 ** (-3 * np.arange(length) / (rt60 * RATE))
    response = np.zeros(gap + length)
    response[gap:] = tail * (10 ** (-direct / 10) / float(np.dot(tail, tail))) ** 0.5
    response[0] = 1.0
    found: np.ndarray = (response / float(np.dot(response, response)) ** 0.5).astype(np.float32)
    return found


def echoed(wave: np.ndarray, response: np.ndarray) -> np.ndarray:
    """A waveform as it is heard in a room; the direct sound is not delayed, and what rings on after the end is cut.

    Args:
        wave: float32 [samples].
        response: float32 [any], the room's answer to one click.

    Returns:
        float32 [samples].
    """
    if not len(wave):
        return wave
    length = transform_length(len(wave) + len(response) - 1)
    heard = np.fft.irfft(np.fft.rfft(wave, length) * np.fft.rfft(response, length), length)
    return limited(lasting(heard, len(wave)))
