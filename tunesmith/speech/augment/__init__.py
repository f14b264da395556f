"""Augmentation: recordings as they vary while a model learns, and the conditions under which it is judged.

It knows no file, no row and no model; every draw comes from the generator it is given.
"""

from tunesmith.speech.augment.augmenter import Augmented, Augmenter
from tunesmith.speech.augment.condition import Condition, at, condition
from tunesmith.speech.augment.masks import spec_augment
from tunesmith.speech.augment.presets import PRESETS, Augment, settings_of
from tunesmith.speech.augment.settings import (
    AugmentSettings,
    Clipping,
    Codec,
    Color,
    Format,
    Gain,
    Mask,
    Noise,
    Pitch,
    Preset,
    Room,
    Speed,
    Telephone,
)

__all__ = [
    "PRESETS",
    "Augment",
    "AugmentSettings",
    "Augmented",
    "Augmenter",
    "Clipping",
    "Codec",
    "Color",
    "Condition",
    "Format",
    "Gain",
    "Mask",
    "Noise",
    "Pitch",
    "Preset",
    "Room",
    "Speed",
    "Telephone",
    "at",
    "condition",
    "settings_of",
    "spec_augment",
]
