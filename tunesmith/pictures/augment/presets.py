"""What pictures of a kind need: a table of settings by name, and a recipe's word for them as settings."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, TypeAlias

from pydantic import AfterValidator

from tunesmith.pictures.augment.settings import (
    AugmentSettings,
    Background,
    Camera,
    Light,
    Preset,
    Viewpoint,
)
from tunesmith.recipe.sections import overlaid

PRESETS: Mapping[Preset, AugmentSettings] = MappingProxyType(
    {
        # Things and places under the sky: any weather, any hand that holds the camera, left is as good as right.
        "outdoor": AugmentSettings(
            preset="outdoor",
            viewpoint=Viewpoint(flip=0.5, rotate=7, scale=(0.8, 1.25), perspective=0.04, translate=0.08),
            light=Light(brightness=0.3, contrast=0.3, hue=8, saturation=0.3, gamma=0.3, shadow=0.25),
            background=Background(cut_out=0.1),
            camera=Camera(noise=0.25, jpeg=0.25, motion_blur=0.15, resolution=0.2),
        ),
        # A thing that was photographed on purpose, somewhere else than it will be used; its colour says what it is.
        "product": AugmentSettings(
            preset="product",
            viewpoint=Viewpoint(flip=0.5, rotate=15, scale=(0.7, 1.3), perspective=0.05, translate=0.1),
            light=Light(brightness=0.25, contrast=0.2, hue=4, saturation=0.15, gamma=0.2, shadow=0.2),
            background=Background(paste=0.3, blur=0.15, cut_out=0.15),
            camera=Camera(noise=0.2, jpeg=0.2, motion_blur=0.05, resolution=0.2),
        ),
        # Paper: never mirrored, nearly upright, photographed by hand or scanned badly.
        "document": AugmentSettings(
            preset="document",
            viewpoint=Viewpoint(rotate=3, scale=(0.9, 1.1), perspective=0.04, translate=0.03),
            light=Light(brightness=0.25, contrast=0.3, hue=3, saturation=0.2, gamma=0.3, shadow=0.4),
            camera=Camera(noise=0.3, jpeg=0.4, jpeg_quality=(30, 90), motion_blur=0.1, resolution=0.3),
        ),
        # Seen from above: no direction is up, and height changes size.
        "aerial": AugmentSettings(
            preset="aerial",
            viewpoint=Viewpoint(
                flip=0.5, vertical_flip=0.5, quarter_turn=0.75, rotate=15, scale=(0.75, 1.35), translate=0.1
            ),
            light=Light(brightness=0.25, contrast=0.25, hue=6, saturation=0.25, gamma=0.2, shadow=0.1),
            camera=Camera(noise=0.2, jpeg=0.2, motion_blur=0.1, resolution=0.3),
        ),
        "none": AugmentSettings(preset="none"),
    }
)


def settings_of(written: Preset | AugmentSettings) -> AugmentSettings:
    """A recipe's ``augment`` with every value filled in; giving it what it gave changes nothing.

    Args:
        written: A preset's name, or a preset with what is written beside it.
    """
    if isinstance(written, str):
        written = AugmentSettings(preset=written)
    return overlaid(PRESETS[written.preset], written)


Augment: TypeAlias = Annotated[Preset | AugmentSettings, AfterValidator(settings_of)]
"""The type of a task's ``augment`` option: checked, it is always ``AugmentSettings`` with every value filled in."""
