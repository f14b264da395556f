"""What a recipe may write under ``options.augment`` of a task on speech. It knows no sound.

A preset gives every value; whatever is written beside it replaces the preset's.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field

from tunesmith.recipe.ranges import RANGE, Share, ordered
from tunesmith.recipe.sections import Section

Preset: TypeAlias = Literal["none", "clean", "call-center", "meeting", "field"]
Color: TypeAlias = Literal["white", "pink", "brown", "wind", "babble"]
Format: TypeAlias = Literal["opus", "mp3", "vorbis", "gsm"]


class Noise(Section):
    """What is heard behind the speech, at a set distance below it."""

    probability: Share = Field(default=0.0, description="Share of recordings that get noise.")
    snr: Annotated[
        tuple[Annotated[float, Field(ge=-20, le=60)], Annotated[float, Field(ge=-20, le=60)]],
        AfterValidator(ordered),
        RANGE,
    ] = Field(
        default=(5.0, 20.0),
        description="Range of the signal-to-noise ratio in dB: power of the speech where it is active over power of "
        "the noise, both as they lie in the telephone's band where there is one.",
    )
    color: Color | Annotated[list[Color], Field(min_length=1)] = Field(
        default="pink",
        description="Noise that is made where there is no folder, or a list of which each is as often: white, pink, "
        "brown, wind (brown, in gusts) or babble (speech-shaped, swelling as six voices do, without words).",
    )
    folder: str | None = Field(
        default=None, min_length=1, description="Folder of recordings that are laid under the speech; null makes noise."
    )

    @property
    def colors(self) -> tuple[Color, ...]:
        """The kinds of noise that are made, one at least."""
        return (self.color,) if isinstance(self.color, str) else tuple(self.color)


class Speed(Section):
    """How fast it was spoken; the voice becomes higher or lower with it, and words move in time."""

    probability: Share = Field(default=0.0, description="Share of recordings that are played faster or slower.")
    factor: Annotated[
        tuple[Annotated[float, Field(ge=0.5, le=2)], Annotated[float, Field(ge=0.5, le=2)]],
        AfterValidator(ordered),
        RANGE,
    ] = Field(default=(0.9, 1.1), description="Range of the speed: 1.1 makes a recording of 11 s one of 10 s.")


class Pitch(Section):
    """How high the voice is, formants included; nothing moves in time."""

    probability: Share = Field(default=0.0, description="Share of recordings whose pitch is shifted.")
    semitones: Annotated[
        tuple[Annotated[float, Field(ge=-12, le=12)], Annotated[float, Field(ge=-12, le=12)]],
        AfterValidator(ordered),
        RANGE,
    ] = Field(default=(-2.0, 2.0), description="Range of the shift in semitones; 12 double the pitch.")


class Gain(Section):
    """How loud the recording is, noise included."""

    probability: Share = Field(default=0.0, description="Share of recordings that become louder or softer.")
    db: Annotated[
        tuple[Annotated[float, Field(ge=-60, le=40)], Annotated[float, Field(ge=-60, le=40)]],
        AfterValidator(ordered),
        RANGE,
    ] = Field(default=(-6.0, 6.0), description="Range of the gain in dB; never more than full scale allows.")


class Room(Section):
    """The room that the microphone hears; the direct sound stays where it is."""

    probability: Share = Field(default=0.0, description="Share of recordings that get a room's echo.")
    rt60: Annotated[
        tuple[Annotated[float, Field(ge=0.05, le=3)], Annotated[float, Field(ge=0.05, le=3)]],
        AfterValidator(ordered),
        RANGE,
    ] = Field(default=(0.2, 0.6), description="Range of the seconds in which the echo falls by 60 dB (RT60).")
    direct: Annotated[
        tuple[Annotated[float, Field(ge=-20, le=40)], Annotated[float, Field(ge=-20, le=40)]],
        AfterValidator(ordered),
        RANGE,
    ] = Field(
        default=(0.0, 12.0),
        description="Range of the dB by which the direct sound is stronger than the echo; less is farther away.",
    )


class Telephone(Section):
    """A telephone line: 300 to 3400 Hz."""

    probability: Share = Field(default=0.0, description="Share of recordings that come through a telephone line.")
    mu_law: Share = Field(
        default=0.5, description="Share of those that are sampled at 8 kHz in 8 bits (G.711 mu-law) on the way."
    )


class Codec(Section):
    """A codec at a low bitrate: really encoded and decoded. Opus takes about 20 ms for a second of sound."""

    probability: Share = Field(default=0.0, description="Share of recordings that are encoded and decoded.")
    formats: list[Format] = Field(
        default=["opus", "mp3"],
        min_length=1,
        description="Codecs of which each is as often: opus, mp3, vorbis, gsm (GSM 06.10: 13 kbit/s at 8 kHz).",
    )
    kbps: Annotated[
        tuple[Annotated[float, Field(ge=6, le=64)], Annotated[float, Field(ge=6, le=64)]],
        AfterValidator(ordered),
        RANGE,
    ] = Field(
        default=(8.0, 24.0),
        description="Range of the bitrate in kbit/s; vorbis goes no lower than about 20, gsm has one.",
    )


class Clipping(Section):
    """An input that was driven too hard: peaks are cut off."""

    probability: Share = Field(default=0.0, description="Share of recordings whose peaks are cut off.")
    db: Annotated[
        tuple[Annotated[float, Field(ge=0, le=30)], Annotated[float, Field(ge=0, le=30)]],
        AfterValidator(ordered),
        RANGE,
    ] = Field(default=(3.0, 12.0), description="Range of the dB below the highest peak at which it is cut off.")


class Mask(Section):
    """Bands and spans of the features that are covered (SpecAugment, arXiv:1904.08779)."""

    probability: Share = Field(default=0.0, description="Share of recordings whose features are masked.")
    bands: int = Field(default=2, ge=0, le=20, description="Bands of frequency that are covered.")
    band_bins: int = Field(default=10, ge=1, le=128, description="Most bins that a band covers; from none on.")
    spans: int = Field(default=2, ge=0, le=50, description="Spans of time that are covered.")
    span_frames: int = Field(
        default=25, ge=1, le=1000, description="Most frames that a span covers, of 10 ms in most models; from none on."
    )
    most: Share = Field(default=0.1, description="Share of a recording's frames that all spans cover at most.")
    fill: Literal["mean"] | float = Field(
        default="mean", description="What stands there: the mean of the recording's features, or a number."
    )


class AugmentSettings(Section):
    """How recordings vary while the model learns; what is evaluated never varies."""

    preset: Preset = Field(
        default="none",
        description="Where the speech is heard: clean, call-center, meeting, field; or none. It gives every value that "
        "is not written beside it.",
    )
    noise: Noise = Field(default=Noise(), description="What is heard behind the speech.")
    speed: Speed = Field(default=Speed(), description="How fast it was spoken.")
    pitch: Pitch = Field(default=Pitch(), description="How high the voice is.")
    gain: Gain = Field(default=Gain(), description="How loud the recording is.")
    room: Room = Field(default=Room(), description="The room that the microphone hears.")
    telephone: Telephone = Field(default=Telephone(), description="A telephone line.")
    codec: Codec = Field(default=Codec(), description="A codec at a low bitrate.")
    clipping: Clipping = Field(default=Clipping(), description="An input that was driven too hard.")
    mask: Mask = Field(default=Mask(), description="Bands and spans of the features that are covered.")
    views: int | None = Field(
        default=None,
        gt=0,
        description="With a frozen encoder: so many augmented versions of each row, drawn once and recorded, so that "
        "the activation cache stays on; null draws anew in every epoch.",
    )
