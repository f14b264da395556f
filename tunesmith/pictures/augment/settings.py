"""What a recipe may write under ``options.augment``. It knows no picture.

A preset gives every value; whatever is written beside it replaces the preset's.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field

from tunesmith.recipe.ranges import RANGE, Share, ordered
from tunesmith.recipe.sections import Section

Preset: TypeAlias = Literal["outdoor", "product", "document", "aerial", "none"]
Shares = Annotated[
    tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]], AfterValidator(ordered), RANGE
]
Factors = Annotated[
    tuple[Annotated[float, Field(gt=0, le=10)], Annotated[float, Field(gt=0, le=10)]], AfterValidator(ordered), RANGE
]


class Viewpoint(Section):
    """Where the camera stood: all of it is one map of the plane, and boxes and masks move with the picture."""

    flip: Share = Field(default=0.0, description="Share of pictures that are mirrored left to right.")
    vertical_flip: Share = Field(default=0.0, description="Share of pictures that are mirrored top to bottom.")
    quarter_turn: Share = Field(
        default=0.0, description="Share of pictures that are turned by 90, 180 or 270 degrees, each as often."
    )
    rotate: float = Field(
        default=0.0, ge=0, le=180, description="Degrees by which a picture is turned at most, either way."
    )
    scale: Factors = Field(
        default=(1.0, 1.0), description="Range of the factor by which things become larger or smaller."
    )
    crop: Shares = Field(
        default=(1.0, 1.0),
        description="Range of the share of the picture's area that is kept, cut out anywhere; below 1 the cut fills "
        "the model's input whatever the task's fit.",
    )
    aspect: Factors = Field(
        default=(1.0, 1.0), description="Range of the factor by which a cut is stretched across against down."
    )
    perspective: float = Field(
        default=0.0, ge=0, le=0.2, description="Share of the sides by which each corner is moved at most."
    )
    translate: float = Field(
        default=0.0, ge=0, le=1, description="Share of the sides by which a picture is shifted at most, either way."
    )
    min_visible: Share = Field(
        default=0.25, description="Objects of which less than this share is left in the picture are dropped, counted."
    )


class Light(Section):
    """What light fell on the scene. Each range is drawn from evenly, for every picture."""

    brightness: float = Field(
        default=0.0, ge=0, lt=1, description="Brightness is multiplied by 1 plus or minus at most this."
    )
    contrast: float = Field(
        default=0.0, ge=0, lt=1, description="The distance from the mean grey is multiplied by 1 plus or minus this."
    )
    hue: float = Field(default=0.0, ge=0, le=180, description="Degrees on the colour circle, at most, either way.")
    saturation: float = Field(
        default=0.0, ge=0, le=1, description="Saturation is multiplied by 1 plus or minus at most this; 1 reaches grey."
    )
    gamma: float = Field(
        default=0.0,
        ge=0,
        le=3,
        description="The exponent lies between 1 / (1 + this) and 1 + this; dark parts move most.",
    )
    shadow: Share = Field(default=0.0, description="Share of pictures on which a soft-edged shadow falls.")
    shadow_depth: Shares = Field(
        default=(0.25, 0.6), description="Range of the share of light that a shadow takes away."
    )


class Background(Section):
    """What stands behind the object and before it. Needs to know where the object is, by a mask or outlines."""

    paste: Share = Field(
        default=0.0, description="Share of pictures whose background becomes another; only where the object is known."
    )
    folder: str | None = Field(
        default=None, min_length=1, description="Folder of pictures to paste on; null paints backgrounds."
    )
    blur: Share = Field(
        default=0.0, description="Share of pictures whose background is blurred; only where the object is known."
    )
    blur_radius: Shares = Field(
        default=(0.01, 0.03), description="Range of the blur's radius as a share of the shorter side."
    )
    cut_out: Share = Field(
        default=0.0, description="Share of pictures of which a rectangle is covered (arXiv:1708.04552)."
    )
    cut_out_size: Shares = Field(
        default=(0.1, 0.3), description="Range of the rectangle's sides as a share of the picture's."
    )


class Camera(Section):
    """What the camera and the file did to the picture."""

    noise: Share = Field(default=0.0, description="Share of pictures with sensor noise.")
    noise_level: Annotated[
        tuple[Annotated[float, Field(ge=0, le=80)], Annotated[float, Field(ge=0, le=80)]],
        AfterValidator(ordered),
        RANGE,
    ] = Field(default=(2.0, 10.0), description="Range of the noise's standard deviation, in grey levels of 255.")
    jpeg: Share = Field(default=0.0, description="Share of pictures that are written and read as JPEG once more.")
    jpeg_quality: Annotated[
        tuple[Annotated[int, Field(ge=1, le=95)], Annotated[int, Field(ge=1, le=95)]], AfterValidator(ordered), RANGE
    ] = Field(default=(40, 90), description="Range of the JPEG quality, 1 to 95.")
    motion_blur: Share = Field(default=0.0, description="Share of pictures that are blurred along a line.")
    motion_length: Shares = Field(
        default=(0.01, 0.03), description="Range of the line's length as a share of the shorter side."
    )
    resolution: Share = Field(default=0.0, description="Share of pictures that lose resolution.")
    resolution_scale: Shares = Field(
        default=(0.4, 0.9), description="Range of the share of the sides' pixels that is left before enlarging again."
    )


class AugmentSettings(Section):
    """How pictures vary while the model learns; what is evaluated never varies."""

    preset: Preset = Field(
        default="none",
        description="What the pictures are of: outdoor, product, document, aerial; or none. It gives every value that "
        "is not written beside it.",
    )
    viewpoint: Viewpoint = Field(default=Viewpoint(), description="Where the camera stood.")
    light: Light = Field(default=Light(), description="What light fell on the scene.")
    background: Background = Field(default=Background(), description="What stands behind the object and before it.")
    camera: Camera = Field(default=Camera(), description="What the camera and the file did.")
    mosaic: Share = Field(
        default=0.0,
        description="Share of pictures that are put together from four (YOLOv4, arXiv:2004.10934).",
    )
    mixup: Share = Field(
        default=0.0,
        description="Share of pictures that are blended with another, both keeping their boxes (arXiv:1902.04103).",
    )
    close_out: Share = Field(
        default=0.15, description="Share of the epochs, at the end, without mosaic and mixup: real pictures last."
    )
    views: int | None = Field(
        default=None,
        gt=0,
        description="With a frozen backbone: so many augmented views of each row, drawn once and recorded, so that the "
        "activation cache stays on; null draws anew in every epoch.",
    )
