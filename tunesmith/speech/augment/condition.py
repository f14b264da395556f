"""Conditions under which held-out speech is scored: a preset's surroundings, always and at one exact ratio.

It knows no file, no row and no model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tunesmith.errors import UserError
from tunesmith.recipe.ranges import Range
from tunesmith.speech.augment.augmenter import Augmenter
from tunesmith.speech.augment.presets import PRESETS, settings_of
from tunesmith.speech.augment.settings import AugmentSettings, Clipping, Gain, Mask, Pitch, Preset, Speed


@dataclass(frozen=True)
class Condition:
    """A preset's room, band, noise and codec, each always; nothing that moves words in time, no gain, no mask.

    The same generator gives the same sound: only the noise and the echo's tail are drawn.

    Args:
        name: Of the preset.
        snr: The signal-to-noise ratio in dB, measured before the codec; None: no noise.
        augmenter: What does it.
    """

    name: str
    snr: float | None
    augmenter: Augmenter

    @property
    def label(self) -> str:
        """For a table: ``call-center at 5 dB``."""
        return f"{self.name} without noise" if self.snr is None else f"{self.name} at {self.snr:g} dB"

    def apply(self, wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A recording under the condition: float32 [samples], as long as it was.

        Args:
            wave: float32 [samples] at 16 kHz; not changed.
            rng: The row's generator; exactly one number is taken from it.
        """
        return self.augmenter(wave, rng).wave

    def describe(self) -> list[str]:
        """What happens to the recordings, for a person."""
        return self.augmenter.describe()


def condition(name: str, snr: float | None, backgrounds: Sequence[np.ndarray] = ()) -> Condition:
    """The condition of a preset at a ratio.

    Args:
        name: Of a preset.
        snr: In dB; None: no noise.
        backgrounds: As for ``Augmenter.of``.

    Raises:
        UserError: There is no such preset, or the ratio is no number.
    """
    known = next((preset for preset in PRESETS if preset == name), None)
    if known is None:
        raise UserError(f"there is no condition {name!r}", fix=f"name one of {', '.join(PRESETS)}")
    return at(known, snr, backgrounds)


def at(settings: Preset | AugmentSettings, snr: float | None, backgrounds: Sequence[np.ndarray] = ()) -> Condition:
    """The condition that settings describe, at a ratio.

    A group that never happens in the settings does not happen here. Of every range the middle is taken, of several
    codecs the first; noise is of the settings' colours (each row draws one), even where they have noise never.

    Args:
        settings: A preset's name, or settings.
        snr: In dB; None: no noise.
        backgrounds: As for ``Augmenter.of``.

    Raises:
        UserError: The ratio is no number, or a background can't be used.
    """
    if snr is not None and not math.isfinite(snr):
        raise UserError(f"a signal-to-noise ratio of {snr} dB is no number", fix="write a number of dB, or none")
    full = settings_of(settings)
    fixed = full.model_copy(
        update={
            "noise": full.noise.model_copy(
                update={"probability": 0.0 if snr is None else 1.0, "snr": (snr or 0.0, snr or 0.0)}
            ),
            "room": full.room.model_copy(
                update={
                    "probability": _always(full.room.probability),
                    "rt60": _middle(full.room.rt60, even=False),
                    "direct": _middle(full.room.direct),
                }
            ),
            "telephone": full.telephone.model_copy(
                update={
                    "probability": _always(full.telephone.probability),
                    "mu_law": float(full.telephone.mu_law >= 0.5),
                }
            ),
            "codec": full.codec.model_copy(
                update={
                    "probability": _always(full.codec.probability),
                    "formats": full.codec.formats[:1],
                    "kbps": _middle(full.codec.kbps, even=False),
                }
            ),
            "speed": Speed(),
            "pitch": Pitch(),
            "gain": Gain(),
            "clipping": Clipping(),
            "mask": Mask(),
            "views": None,
        }
    )
    # Not by ``of``: every value is written, and must not be checked against the ranges of a recipe.
    return Condition(full.preset, snr, Augmenter(fixed, Augmenter.of(full, backgrounds).backgrounds))


def _always(probability: float) -> float:
    return 1.0 if probability else 0.0


def _middle(ends: Range, *, even: bool = True) -> Range:
    middle = (ends[0] + ends[1]) / 2 if even else math.sqrt(ends[0] * ends[1])
    return (middle, middle)
