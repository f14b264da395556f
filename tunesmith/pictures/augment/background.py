"""What stands behind the object and before it: other backgrounds, a blur, a covered rectangle. It moves nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from tunesmith.data.draws import Draws, between
from tunesmith.pictures.augment.sample import IGNORE, Outline, Sample, Size
from tunesmith.pictures.augment.settings import Background
from tunesmith.pictures.augment.warp import kept


def behind(
    sample: Sample,
    image: Image.Image,
    settings: Background,
    draws: Draws,
    *,
    beyond: Callable[[], np.ndarray],
    background_id: int,
    backgrounds: Sequence[np.ndarray],
) -> tuple[Sample, Image.Image]:
    """Another background, or a blurred one, where it is known what the object is.

    Args:
        sample: Mask and outlines; its picture is not read.
        image: The picture.
        settings: The steps.
        draws: The picture's randomness.
        beyond: Gives where there is canvas instead of picture, 255 there and else 0, uint8 [height, width]: a pasted
            background covers it too.
        background_id: The class that a mask gives to the background.
        backgrounds: Pictures to paste on, uint8 [height, width, 3]; with none they are painted.

    Returns:
        The sample (canvas that a background now covers has the background's class), and its picture.
    """
    paste = draws.happens("background.paste", settings.paste)
    blur = draws.happens("background.blur", settings.blur)
    if paste is None and blur is None:
        return sample, image
    thing = _things(sample, background_id)
    if thing is None:
        return sample, image
    if paste is not None:
        canvas = beyond()
        thing = np.where(canvas, np.uint8(0), thing)
        image = Image.composite(image, _other(paste, sample.size, backgrounds), _softened(thing))
        if sample.mask is not None:
            sample = replace(sample, mask=np.where(canvas, np.uint8(background_id), sample.mask))
    if blur is not None:
        radius = between(blur, settings.blur_radius) * min(image.size)
        image = Image.composite(image, image.filter(ImageFilter.BoxBlur(radius)), _softened(thing))
    return sample, image


def covered(
    sample: Sample, image: Image.Image, settings: Background, draws: Draws, min_visible: float
) -> tuple[Sample, Image.Image]:
    """A rectangle of one colour over the picture: masks are unknown there, objects nearly hidden by it are dropped."""
    rng = draws.happens("background.cut_out", settings.cut_out)
    if rng is None:
        return sample, image
    across, down = (max(1, round(between(rng, settings.cut_out_size) * side)) for side in (image.width, image.height))
    left, top = int(rng.integers(0, image.width - across + 1)), int(rng.integers(0, image.height - down + 1))
    image = image.copy()
    image.paste(tuple(rng.integers(0, 256, 3).tolist()), (left, top, left + across, top + down))
    if sample.mask is not None:
        mask = sample.mask.copy()
        mask[top : top + down, left : left + across] = IGNORE
        sample = replace(sample, mask=mask)
    if sample.boxes is not None and len(sample.boxes):
        boxes = sample.boxes.astype(np.float64)
        low = np.maximum(boxes[:, :2], (left, top))
        high = np.minimum(boxes[:, 2:], (left + across, top + down))
        hidden = np.maximum(high - low, 0).prod(1) / np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(1), 1e-9)
        sample = kept(sample, 1 - hidden >= min_visible)
    return sample, image


def _things(sample: Sample, background_id: int) -> np.ndarray | None:
    """Where objects are, 255 inside; None where it is not known. What a mask calls unknown is left as it is."""
    if sample.mask is not None:
        return np.where(sample.mask == background_id, np.uint8(0), np.uint8(255))
    # Outlines of some of the objects only would cut the others away.
    if sample.outlines and all(sample.outlines):
        return _drawn([ring for rings in sample.outlines for ring in rings], sample.size)
    return None


def _drawn(rings: Sequence[np.ndarray] | Outline, size: Size) -> np.ndarray:
    """Filled polygons as uint8 [height, width], 255 inside."""
    canvas = Image.new("L", (size[1], size[0]), 0)
    draw = ImageDraw.Draw(canvas)
    for ring in rings:
        # PIL draws through pixel centres, which lie half a pixel further.
        draw.polygon([(float(x), float(y)) for x, y in ring - 0.5], fill=255)
    return np.asarray(canvas)


def _softened(thing: np.ndarray) -> Image.Image:
    """A mask whose edges fade, as a lens draws them; only inwards, since what lies outside is the old background."""
    soft = np.asarray(Image.fromarray(thing).filter(ImageFilter.BoxBlur(1)))
    # What is one pixel thin would fade away.
    return Image.fromarray(np.where(thing, np.maximum(soft, 128), 0).astype(np.uint8))


def _other(rng: np.random.Generator, size: Size, backgrounds: Sequence[np.ndarray]) -> Image.Image:
    """A window of one of the pictures; or plain colour, a gradient, or blotches."""
    height, width = size
    if not backgrounds:
        cells = ((1, 1), (2, 2), (5, 5), (14, 14))[int(rng.integers(0, 4))]
        # From nearly grey to full colours, around one brightness.
        colours = rng.uniform(30, 225) + rng.uniform(10, 120) * rng.uniform(-1, 1, (*cells, 3))
        return Image.fromarray(np.clip(colours, 0, 255).astype(np.uint8)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
    picture = Image.fromarray(backgrounds[int(rng.integers(0, len(backgrounds)))])
    # The largest window of the wanted proportions, made smaller by chance.
    most = min(picture.width / width, picture.height / height) * rng.uniform(0.5, 1.0)
    across, down = width * most, height * most
    left, top = rng.random(2) * (picture.width - across, picture.height - down)
    box = (left, top, min(picture.width, left + across), min(picture.height, top + down))
    return picture.resize((width, height), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
