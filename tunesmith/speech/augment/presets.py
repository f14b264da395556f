"""What speech of a kind needs: a table of settings by name, and a recipe's word for them as settings."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, TypeAlias

from pydantic import AfterValidator

from tunesmith.recipe.sections import Section, overlaid
from tunesmith.speech.augment.settings import (
    AugmentSettings,
    Codec,
    Gain,
    Mask,
    Noise,
    Preset,
    Room,
    Speed,
    Telephone,
)

PRESETS: Mapping[Preset, AugmentSettings] = MappingProxyType(
    {
        "none": AugmentSettings(preset="none"),
        # Read aloud into a good microphone, as the speech to come will be: only the level varies.
        "clean": AugmentSettings(
            preset="clean",
            gain=Gain(probability=0.5, db=(-6, 6)),
            mask=Mask(probability=1.0, bands=2, band_bins=8, spans=2, span_frames=20, most=0.05),
        ),
        # Two people on the telephone, one of them among others who also speak.
        "call-center": AugmentSettings(
            preset="call-center",
            noise=Noise(probability=0.7, snr=(5, 20), color=["pink", "babble"]),
            gain=Gain(probability=0.5, db=(-10, 6)),
            telephone=Telephone(probability=0.8, mu_law=0.5),
            codec=Codec(probability=0.5, formats=["opus", "gsm", "mp3"], kbps=(8, 24)),
        ),
        # One microphone on a table in a room where others whisper and something hums.
        "meeting": AugmentSettings(
            preset="meeting",
            noise=Noise(probability=0.7, snr=(5, 25), color=["babble", "pink"]),
            speed=Speed(probability=0.5, factor=(0.9, 1.1)),
            gain=Gain(probability=0.5, db=(-10, 6)),
            room=Room(probability=0.7, rt60=(0.2, 0.8), direct=(-3, 10)),
        ),
        # Outdoors, by hand: wind in the microphone, engines.
        "field": AugmentSettings(
            preset="field",
            noise=Noise(probability=0.9, snr=(0, 20), color=["wind", "brown", "pink"]),
            speed=Speed(probability=0.5, factor=(0.9, 1.1)),
            gain=Gain(probability=0.5, db=(-10, 6)),
        ),
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


def _filled_in(written: Preset | AugmentSettings) -> AugmentSettings:
    """As ``settings_of``, but a group that was written and never happens is a mistake, not a wish."""
    full = settings_of(written)
    for name in () if isinstance(written, str) else sorted(written.model_fields_set):
        group = getattr(written, name)
        if isinstance(group, Section) and not {"probability"} & group.model_fields_set:
            if getattr(full, name).probability:
                continue
            raise ValueError(f"{name} is written without its probability, which is 0 in preset {full.preset}")
    return full


Augment: TypeAlias = Annotated[Preset | AugmentSettings, AfterValidator(_filled_in)]
"""The type of a task's ``augment`` option: checked, it is always ``AugmentSettings`` with every value filled in."""
