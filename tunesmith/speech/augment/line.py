"""What a line does to speech: the telephone's band, G.711, and codecs at a low bitrate. It knows no setting.

Codecs are those of libsndfile; what they add at the start and end is taken away again by it and here.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np

from tunesmith.errors import UserError
from tunesmith.speech.augment.level import RATE, lasting, limited, transform_length
from tunesmith.speech.augment.settings import Format
from tunesmith.speech.augment.tempo import resampled

NARROW = 8_000
LOW, HIGH = 300.0, 3400.0
BELOW, ABOVE = 150.0, 500.0
"""Hertz outside the band within which sound fades to nothing."""
CODECS: dict[Format, tuple[str, str]] = {
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "vorbis": ("OGG", "VORBIS"),
    "gsm": ("WAV", "GSM610"),
}


def telephone_band(wave: np.ndarray) -> np.ndarray:
    """300 to 3400 Hz whole, nothing below 150 and above 3900 Hz, without delay: float32 [samples]; linear.

    It is not limited to full scale, so that speech and noise that were filtered apart still add up.
    """
    if not len(wave):
        return wave
    # The filter rings for some 10 ms, which would come round to the other end.
    length = transform_length(len(wave) + RATE // 20)
    hertz: np.ndarray = np.fft.rfftfreq(length, 1 / RATE)
    passed: np.ndarray = np.clip(np.minimum((hertz - LOW) / BELOW, (HIGH - hertz) / ABOVE) + 1, 0, 1)
    passed = 0.5 - 0.5 * np.cos(np.pi * passed)
    heard: np.ndarray = np.fft.irfft(np.fft.rfft(wave, length) * passed, length)
    found: np.ndarray = heard[: len(wave)].astype(np.float32, copy=False)
    return found


def telephoned(wave: np.ndarray, *, mu_law: bool = False) -> np.ndarray:
    """A waveform as a telephone gives it: float32 [samples], still at 16 kHz.

    Args:
        wave: float32 [samples].
        mu_law: Whether it is sampled in 8 bits on the way. Sampling at 8 kHz alone loses nothing of the band.
    """
    heard = limited(telephone_band(wave))
    return sampled_narrowly(heard) if mu_law else heard


def sampled_narrowly(wave: np.ndarray) -> np.ndarray:
    """A waveform sampled at 8 kHz in 8 bits (G.711 mu-law), and at 16 kHz again: float32 [samples]."""
    narrow = decoded_mu_law(encoded_mu_law(limited(resampled(wave, RATE, NARROW))))
    return limited(lasting(resampled(narrow, NARROW, RATE), len(wave)))


def encoded_mu_law(wave: np.ndarray) -> np.ndarray:
    """Samples in -1..1 as G.711 mu-law: uint8 [samples]."""
    linear = np.clip(np.rint(wave * 32768.0), -32768, 32767).astype(np.int32)
    size = np.minimum(np.abs(linear) >> 2, 8158) + 33
    chord = np.maximum(np.frexp(size.astype(np.float64))[1] - 6, 0)
    code = (chord << 4) | ((size >> (chord + 1)) & 15)
    found: np.ndarray = (~np.where(linear < 0, code | 128, code) & 255).astype(np.uint8)
    return found


def decoded_mu_law(codes: np.ndarray) -> np.ndarray:
    """Samples in -1..1, float32 [samples], of G.711 mu-law."""
    turned = ~codes.astype(np.int32) & 255
    chord = (turned >> 4) & 7
    size = ((((turned & 15) << 1) + 33) << chord) - 33
    found: np.ndarray = (np.where(turned & 128, -size, size) / 8192.0).astype(np.float32)
    return found


def coded(wave: np.ndarray, codec: Format, kbps: float, rate: int = RATE) -> np.ndarray:
    """A waveform encoded and decoded again: float32 [samples], at 16 kHz, without delay.

    Args:
        wave: float32 [samples] within -1..1.
        codec: Its name; ``gsm`` always works at 8 kHz.
        kbps: Kilobits a second, about: see ``encoded``.
        rate: At which it is encoded, 16,000 or 8,000.

    Raises:
        UserError: soundfile is not installed, or can't write the codec.
    """
    if not len(wave):
        return wave
    soundfile = _soundfile()
    rate = NARROW if codec == "gsm" else rate
    data = encoded(limited(resampled(wave, RATE, rate)), codec, kbps, rate)
    decoded, _ = soundfile.read(BytesIO(data), dtype="float32")
    return limited(lasting(resampled(decoded, rate, RATE), len(wave)))


def encoded(wave: np.ndarray, codec: Format, kbps: float, rate: int) -> bytes:
    """A file of one codec, in memory.

    Args:
        wave: float32 [samples, one at least].
        codec: Its name.
        kbps: The bitrate that is aimed at. Opus spends less on what is easy; MP3 stays within 8 to 64 at 8 kHz;
            Vorbis begins at about 20; GSM 06.10 has 13 alone.
        rate: Samples a second of the waveform.

    Raises:
        UserError: soundfile is not installed, or can't write the codec.
    """
    soundfile = _soundfile()
    form, subtype = CODECS[codec]
    how: dict[str, Any] = {"format": form, "subtype": subtype, "samplerate": rate, "channels": 1}
    if codec != "gsm":
        how["compression_level"] = _level(codec, kbps, rate)
    if codec == "mp3":
        # Only this mode writes down what the decoder must skip.
        how["bitrate_mode"] = "AVERAGE"
    kept = BytesIO()
    try:
        with soundfile.SoundFile(kept, "w", **how) as file:
            # libsndfile gives Vorbis what it gets at once on the stack: a long recording would overflow it.
            for start in range(0, len(wave), rate):
                file.write(wave[start : start + rate])
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        what = f"the installed soundfile can't write {codec}: {error}"
        fix = 'pip install --upgrade "soundfile>=0.13", or leave it out of the formats'
        raise UserError(what, "recipe: options.augment.codec.formats", fix) from error
    return kept.getvalue()


def _level(codec: Format, kbps: float, rate: int) -> float:
    """The compression level, 0 to 1, for a bitrate: the inverse of what libsndfile makes of a level."""
    least, most = {"opus": (6, 256), "mp3": (8, 160 if rate > 12_000 else 64)}.get(codec, (20, 50))
    return float(np.clip((most - kbps) / (most - least), 0.0, 0.99))


def _soundfile() -> Any:
    try:
        import soundfile
    except ImportError as error:
        fix = 'pip install "tunesmith[audio]"'
        raise UserError("codecs need the package soundfile, which is not installed", fix=fix) from error
    return soundfile
