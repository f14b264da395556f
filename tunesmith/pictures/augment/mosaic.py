"""Several pictures as one: a mosaic of four, and two blended. It knows no row: the caller brings the samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from tunesmith.pictures.augment.geometry import scaling, translation
from tunesmith.pictures.augment.sample import GREY, IGNORE, Outline, Sample, Size
from tunesmith.pictures.augment.warp import Filter, move

TILES = 4
Viewed = Callable[[int, Size, Size], np.ndarray]
"""Of picture i, its size and the size at which it is wanted: the matrix that brings it there."""


def mosaic(
    samples: Sequence[Sample],
    size: Size,
    rng: np.random.Generator,
    *,
    viewed: Viewed | None = None,
    scale: tuple[float, float] = (0.5, 1.0),
    min_visible: float = 0.0,
    least_side: float = 0.0,
    resample: Filter = "bilinear",
    fill: int = GREY,
) -> Sample:
    """Four pictures that meet at a point (YOLOv4, arXiv:2004.10934), each resampled once.

    Each is as large as it would be alone, times a factor, and lies with its corner at the point; what reaches beyond
    the canvas is cut away.

    Args:
        samples: Four.
        size: Height and width of the result.
        rng: Draws the point, within the middle half of the canvas, and the four factors.
        viewed: Each picture's own viewpoint; None: as it is.
        scale: Range of the factors.
        min_visible: Boxes of which a smaller share is left are dropped and counted.
        least_side: Boxes with a shorter side than this, in pixels, are dropped and counted.
        resample: The filter.
        fill: Grey level where no picture is; masks hold 255 there.

    Raises:
        ValueError: It isn't four.
    """
    if len(samples) != TILES:
        raise ValueError(f"a mosaic is made of {TILES} pictures, not {len(samples)}")
    height, width = size
    x, y = (int(side * share) for side, share in zip((width, height), rng.uniform(0.25, 0.75, 2), strict=True))
    factors = rng.uniform(scale[0], scale[1], TILES)
    canvas = Image.new("RGB", (width, height), (fill,) * 3)
    mask = None if any(s.mask is None for s in samples) else np.full(size, IGNORE, dtype=np.uint8)
    tiles = []
    for i, sample in enumerate(samples):
        factor = min(height / sample.size[0], width / sample.size[1]) * factors[i]
        across, down = (max(1, round(side * factor)) for side in (sample.size[1], sample.size[0]))
        # The part of the picture, at this scale, that lies between the point and the canvas's edges.
        shown_across, shown_down = min(across, width - x if i % 2 else x), min(down, height - y if i // 2 else y)
        left, top = (0 if i % 2 else across - shown_across), (0 if i // 2 else down - shown_down)
        matrix = (
            scaling(across / sample.size[1], down / sample.size[0])
            if viewed is None
            else viewed(i, sample.size, (down, across))
        )
        tile = move(
            sample, translation(-left, -top) @ matrix, (shown_down, shown_across),
            resample=resample, min_visible=min_visible, least_side=least_side, fill=fill,
        )  # fmt: skip
        at = (x if i % 2 else x - shown_across, y if i // 2 else y - shown_down)
        canvas.paste(Image.fromarray(tile.image), at)
        if mask is not None and tile.mask is not None:
            mask[at[1] : at[1] + shown_down, at[0] : at[0] + shown_across] = tile.mask
        tiles.append(_shifted(tile, at))
    return replace(_together(tiles, np.array(canvas)), mask=mask)


def mixup(a: Sample, b: Sample, rng: np.random.Generator, *, alpha: float = 32.0) -> Sample:
    """Two pictures of one size blended, both keeping their boxes (arXiv:1902.04103).

    Args:
        a: One.
        b: The other; where one has a mask, the result has none, since a pixel can't have two classes.
        rng: Draws a's share.
        alpha: The share is drawn from Beta(alpha, alpha); 32 keeps it near one half, so that both can be seen.

    Raises:
        ValueError: They differ in size.
    """
    if a.size != b.size:
        raise ValueError(f"pictures of {a.size} and {b.size} can't be blended")
    share = float(rng.beta(alpha, alpha))
    blended = Image.blend(Image.fromarray(b.image), Image.fromarray(a.image), share)
    return _together([a, b], np.array(blended))


def _shifted(sample: Sample, by: tuple[int, int]) -> Sample:
    """Boxes and outlines at another place; the picture is not touched."""
    if sample.boxes is None:
        return sample
    shift = np.array(by, dtype=np.float32)
    outlines = sample.outlines and tuple(tuple(ring + shift for ring in rings) for rings in sample.outlines)
    return replace(sample, boxes=sample.boxes + np.tile(shift, 2), outlines=outlines)


def _together(samples: Sequence[Sample], image: np.ndarray) -> Sample:
    """All boxes, labels and outlines on one picture; what one of the samples lacks is left out."""
    boxes = [s.boxes for s in samples if s.boxes is not None]
    labels = [s.labels for s in samples if s.labels is not None]
    outlines: list[Outline] = [outline for s in samples for outline in s.outlines or ()]
    whole = len(boxes) == len(samples)
    return Sample(
        image,
        boxes=np.concatenate(boxes) if whole else None,
        labels=np.concatenate(labels) if whole and len(labels) == len(samples) else None,
        outlines=tuple(outlines) if whole and all(s.outlines is not None for s in samples) else None,
        dropped=sum(s.dropped for s in samples),
    )
