"""All steps in their order: one augmenter for the recordings of a task. It knows no file, no row and no model.

The order is the way that sound takes: the voice (speed, pitch), the room, what else is heard there, the input (gain,
clipping), the line (telephone, codec). The telephone's band lies upon speech and noise before they are mixed, so that
their ratio is the one that is heard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tunesmith.data.draws import Draws, between, factor_between
from tunesmith.errors import UserError
from tunesmith.speech.augment.describe import sentences, steps
from tunesmith.speech.augment.level import RATE, SILENT, gained, limited, overdriven
from tunesmith.speech.augment.line import NARROW, coded, sampled_narrowly, telephone_band
from tunesmith.speech.augment.masks import spec_augment
from tunesmith.speech.augment.noise import background, colored, mixed
from tunesmith.speech.augment.presets import settings_of
from tunesmith.speech.augment.room import echoed, impulse_response
from tunesmith.speech.augment.settings import AugmentSettings, Preset
from tunesmith.speech.augment.tempo import at_speed, pitched


@dataclass(frozen=True)
class Augmented:
    """A recording as it was varied.

    Args:
        wave: float32 [samples] within -1..1.
        speed: By which every time of the recording is divided; 1 where nothing moved.
        done: What was done with which amounts, in order, for a person.
    """

    wave: np.ndarray
    speed: float = 1.0
    done: tuple[str, ...] = ()

    def moved(self, seconds: float) -> float:
        """Where something lies now that lay at ``seconds`` of the recording."""
        return seconds / self.speed


@dataclass(frozen=True)
class Augmenter:
    """Recordings as the model hears them while it learns. It holds no state: one may serve many threads.

    Args:
        settings: With every value filled in.
        backgrounds: Recordings to lay under the speech, each float32 [any number of samples].
    """

    settings: AugmentSettings
    backgrounds: tuple[np.ndarray, ...] = ()

    @classmethod
    def of(cls, settings: Preset | AugmentSettings, backgrounds: Sequence[np.ndarray] = ()) -> Augmenter:
        """An augmenter from a recipe's ``augment``.

        Args:
            settings: A preset's name, or settings.
            backgrounds: Recordings at 16 kHz to lay under the speech, mono; with none, noise is made.

        Raises:
            UserError: A background is silent or no waveform.
        """
        for number, wave in enumerate(backgrounds, 1):
            fault = _fault(wave)
            if fault:
                what = f"recording {number} of {len(backgrounds)} for the background {fault}"
                raise UserError(what, "recipe: options.augment.noise.folder", "take it out of the folder")
        return cls(settings_of(settings), tuple(backgrounds))

    @property
    def random(self) -> bool:
        """Whether anything is drawn at all."""
        return bool(steps(self.settings))

    def describe(self) -> list[str]:
        """What happens to the recordings, for a person, a sentence a group."""
        return sentences(self.settings)

    def __call__(self, wave: np.ndarray, rng: np.random.Generator) -> Augmented:
        """One recording varied; ``rng`` alone decides how, and gives exactly one number.

        Args:
            wave: float32 [samples] at 16 kHz; not changed.
            rng: The row's generator.
        """
        draws, done = Draws(rng), list[str]()
        wave = np.array(wave, dtype=np.float32)
        if not len(wave):
            return Augmented(wave)
        wave, speed = self._voice(wave, draws, done)
        narrow = draws.happens("telephone", self.settings.telephone.probability)
        wave = self._heard(wave, draws, done, narrow is not None)
        wave = self._taken_in(limited(wave), draws, done)
        return Augmented(self._sent(wave, draws, done, narrow), speed, tuple(done))

    def features(self, log_mel: np.ndarray, rng: np.random.Generator, frames: int | None = None) -> np.ndarray:
        """Features with bands and spans covered; exactly one number is taken from ``rng``.

        Args:
            log_mel: float [bins, frames]; not changed.
            rng: The row's generator.
            frames: How many frames hold sound; None: all.

        Returns:
            A copy [bins, frames], or ``log_mel`` itself where nothing is covered.
        """
        mask, draws = self.settings.mask, Draws(rng)
        step = draws.happens("mask", mask.probability)
        if step is None:
            return log_mel
        return spec_augment(
            log_mel, step,
            bands=mask.bands, band_bins=mask.band_bins, spans=mask.spans, span_frames=mask.span_frames,
            most=mask.most, fill=None if mask.fill == "mean" else mask.fill, frames=frames,
        )  # fmt: skip

    def _voice(self, wave: np.ndarray, draws: Draws, done: list[str]) -> tuple[np.ndarray, float]:
        settings, speed = self.settings, 1.0
        if (rng := draws.happens("speed", settings.speed.probability)) is not None:
            speed = factor_between(rng, settings.speed.factor)
            wave = at_speed(wave, speed)
            done.append(f"speed {speed:.3f}")
        if (rng := draws.happens("pitch", settings.pitch.probability)) is not None:
            semitones = between(rng, settings.pitch.semitones)
            wave = pitched(wave, semitones)
            done.append(f"pitch {semitones:+.2f} semitones")
        return wave, speed

    def _heard(self, wave: np.ndarray, draws: Draws, done: list[str], narrow: bool) -> np.ndarray:
        """The room and what else is heard in it."""
        settings = self.settings
        if (rng := draws.happens("room", settings.room.probability)) is not None:
            rt60, direct = factor_between(rng, settings.room.rt60), between(rng, settings.room.direct)
            wave = echoed(wave, impulse_response(rt60, direct, rng))
            done.append(f"room with RT60 {rt60:.2f} s, direct sound {direct:+.1f} dB")
        if narrow:
            wave = telephone_band(wave)
            done.append("telephone band")
        if (rng := draws.happens("noise", settings.noise.probability)) is not None:
            snr = between(rng, settings.noise.snr)
            noise, name = self._noise(len(wave), rng)
            wave = mixed(wave, telephone_band(noise) if narrow else noise, snr)
            done.append(f"{name} at {snr:.1f} dB")
        return wave

    def _noise(self, samples: int, rng: np.random.Generator) -> tuple[np.ndarray, str]:
        if self.backgrounds:
            number = int(rng.integers(0, len(self.backgrounds)))
            return background(self.backgrounds[number], samples, rng), f"recorded background {number + 1}"
        colors = self.settings.noise.colors
        color = colors[int(rng.integers(0, len(colors)))]
        return colored(samples, color, rng), f"{color} noise"

    def _taken_in(self, wave: np.ndarray, draws: Draws, done: list[str]) -> np.ndarray:
        """The microphone's input."""
        if (rng := draws.happens("gain", self.settings.gain.probability)) is not None:
            wanted = between(rng, self.settings.gain.db)
            wave, got = gained(wave, wanted)
            short = f" of {wanted:+.1f} dB: full scale" if got < wanted else ""
            done.append(f"gain {got:+.1f} dB{short}")
        if (rng := draws.happens("clipping", self.settings.clipping.probability)) is not None:
            db = between(rng, self.settings.clipping.db)
            wave = overdriven(wave, db)
            done.append(f"clipped {db:.1f} dB below the peak")
        return wave

    def _sent(self, wave: np.ndarray, draws: Draws, done: list[str], narrow: np.random.Generator | None) -> np.ndarray:
        """The line, after its band."""
        if narrow is not None and narrow.random() < self.settings.telephone.mu_law:
            wave = sampled_narrowly(wave)
            done.append("8 kHz in 8 bits")
        if (rng := draws.happens("codec", self.settings.codec.probability)) is not None:
            formats = self.settings.codec.formats
            codec = formats[int(rng.integers(0, len(formats)))]
            kbps = factor_between(rng, self.settings.codec.kbps)
            wave = coded(wave, codec, kbps, RATE if narrow is None else NARROW)
            done.append(f"{codec}" if codec == "gsm" else f"{codec} at {kbps:.0f} kbit/s")
        return wave


def _fault(wave: np.ndarray) -> str:
    """What is wrong with a background; nothing if it can be used."""
    if wave.ndim != 1 or not np.issubdtype(wave.dtype, np.floating):
        return f"is no mono waveform of floats: {wave.dtype} {list(wave.shape)}"
    if not np.isfinite(wave).all():
        return "holds numbers that are not finite"
    if not len(wave) or float(np.square(wave).max()) < SILENT:
        return "is silent"
    return ""
