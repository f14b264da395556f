"""Augmentation: pictures as they vary while a model learns, and as they lie when it is judged.

It knows no file, no row and no model; every draw comes from the generator it is given.
"""

from tunesmith.pictures.augment.augmenter import Augmenter, Kind, Mix
from tunesmith.pictures.augment.mosaic import mixup, mosaic
from tunesmith.pictures.augment.placement import Fit, Placement, fit, place
from tunesmith.pictures.augment.presets import PRESETS, Augment, settings_of
from tunesmith.pictures.augment.sample import GREY, IGNORE, Outline, Sample, Size, outline_of
from tunesmith.pictures.augment.settings import AugmentSettings, Background, Camera, Light, Preset, Viewpoint
from tunesmith.pictures.augment.sheet import contact_sheet

__all__ = [
    "GREY",
    "IGNORE",
    "PRESETS",
    "Augment",
    "AugmentSettings",
    "Augmenter",
    "Background",
    "Camera",
    "Fit",
    "Kind",
    "Light",
    "Mix",
    "Outline",
    "Placement",
    "Preset",
    "Sample",
    "Size",
    "Viewpoint",
    "contact_sheet",
    "fit",
    "mixup",
    "mosaic",
    "outline_of",
    "place",
    "settings_of",
]
