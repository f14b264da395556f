"""Recordings as a report holds them: short files of few bytes that every browser plays; and how noisy they are.

It knows waveforms; no text and no model.
"""

from __future__ import annotations

import base64
import io
import struct
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Wave: TypeAlias = NDArray[np.float32]

RATE = 16_000
"""Hz of a waveform once it is read."""

LOWEST = 1e-10
"""Power below which there is nothing: -100 dB of full scale."""

_KINDS = (("MP3", "MPEG_LAYER_III", "mpeg"), ("OGG", "OPUS", "ogg"))


def clip_uri(wave: Wave, rate: int = RATE) -> str:
    """The waveform as a file inside an address, ``data:audio/mpeg;base64,...``.

    MP3 where soundfile writes it, since every browser plays it; else Opus; else plain samples of 16 bit, which take
    eight times as much.

    Args:
        wave: Mono, float32 [samples] in -1..1.
        rate: Hz.
    """
    samples = np.clip(np.nan_to_num(np.asarray(wave, dtype=np.float32)), -1, 1)
    kind, content = _small(samples, rate) or ("wav", _plain(samples, rate))
    return f"data:audio/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _small(samples: Wave, rate: int) -> tuple[str, bytes] | None:
    try:
        import soundfile
    except (ImportError, OSError):
        return None
    for name, subtype, kind in _KINDS:
        if not soundfile.check_format(name, subtype):
            continue
        stream = io.BytesIO()
        try:
            with soundfile.SoundFile(stream, "w", rate, 1, format=name, subtype=subtype) as file:
                # Encoders of libsndfile hold a whole write on the stack.
                for start in range(0, samples.size, rate):
                    file.write(samples[start : start + rate])
        except (soundfile.SoundFileError, RuntimeError):
            continue
        if stream.getvalue():
            return kind, stream.getvalue()
    return None


def _plain(samples: Wave, rate: int) -> bytes:
    """A WAV file of 16 bit."""
    content = (samples * 32767).round().astype("<i2").tobytes()
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        36 + len(content),
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        rate,
        2 * rate,
        2,
        16,
        b"data",
        len(content),
    )
    return head + content


def noise_level(wave: Wave, rate: int = RATE) -> float | None:
    """How far speech stands above noise, in dB, estimated from the loudest and the quietest parts.

    Args:
        wave: Mono, float32 [samples].
        rate: Hz.

    Returns:
        10 log10 of the ratio of powers, -20 at least; None where there is less than 0.3 s or nothing but silence.
    """
    size = rate // 40
    frames = wave.size // size
    if frames < 12:
        return None
    power = np.sort(np.square(wave[: frames * size].astype(np.float64)).reshape(frames, size).mean(axis=1))
    quiet = max(float(power[: max(1, frames // 10)].mean()), LOWEST)
    loud = float(power[-max(1, frames * 3 // 10) :].mean())
    if loud <= LOWEST:
        return None
    return float(10 * np.log10(max((loud - quiet) / quiet, 0.01)))
