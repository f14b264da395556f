"""Where the camera stood: flips, turns, scale, cut, perspective and shift, drawn and composed into one matrix."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tunesmith.data.draws import Draws, between, factor_between
from tunesmith.pictures.augment.geometry import (
    about,
    from_corners,
    map_points,
    quarter_turns,
    rotation,
    scaling,
    translation,
)
from tunesmith.pictures.augment.sample import Size
from tunesmith.pictures.augment.settings import Viewpoint


def draw_view(
    settings: Viewpoint, source: Size, size: Size, placed: Callable[[Size], np.ndarray], draws: Draws
) -> np.ndarray:
    """One viewpoint as a matrix from the picture's pixels to the model's input.

    In this order: turned by quarters and mirrored, placed (or a cut of it stretched over the input), scaled and turned
    about its centre, shifted, seen askew.

    Args:
        settings: The steps.
        source: Height and width of the picture.
        size: Height and width of the result.
        placed: Where a picture of a given size lies in the result when nothing is drawn.
        draws: The picture's randomness.
    """
    matrix, turned = _mirrored(settings, source, draws)
    if settings.crop == (1.0, 1.0) and settings.aspect == (1.0, 1.0):
        laid = placed(turned)
        centre = map_points(laid, np.array([turned[1] / 2, turned[0] / 2]))
    else:
        laid = _cut(settings, turned, size, draws)
        centre = np.array([size[1] / 2, size[0] / 2])
    matrix = laid @ matrix
    if settings.scale != (1.0, 1.0):
        factor = factor_between(draws.of("viewpoint.scale"), settings.scale)
        matrix = about(scaling(factor, factor), (centre[0], centre[1])) @ matrix
    if settings.rotate:
        degrees = between(draws.of("viewpoint.rotate"), (-settings.rotate, settings.rotate))
        matrix = about(rotation(degrees), (centre[0], centre[1])) @ matrix
    if settings.translate:
        across, down = draws.of("viewpoint.translate").uniform(-settings.translate, settings.translate, 2)
        matrix = translation(across * size[1], down * size[0]) @ matrix
    if settings.perspective:
        matrix = _askew(settings.perspective, size, draws) @ matrix
    found: np.ndarray = matrix
    return found


def _mirrored(settings: Viewpoint, source: Size, draws: Draws) -> tuple[np.ndarray, Size]:
    """What maps pixels onto pixels, and the size of the result."""
    turns = 0
    if (rng := draws.happens("viewpoint.quarter_turn", settings.quarter_turn)) is not None:
        turns = int(rng.integers(1, 4))
    matrix, (height, width) = quarter_turns(turns, source)
    if draws.happens("viewpoint.flip", settings.flip) is not None:
        matrix = translation(width, 0) @ scaling(-1, 1) @ matrix
    if draws.happens("viewpoint.vertical_flip", settings.vertical_flip) is not None:
        matrix = translation(0, height) @ scaling(1, -1) @ matrix
    return matrix, (height, width)


def _cut(settings: Viewpoint, source: Size, size: Size, draws: Draws) -> np.ndarray:
    """A window of the picture stretched over the result, as pictures of ImageNet are cut (arXiv:1409.4842)."""
    height, width = source
    area = height * width * between(draws.of("viewpoint.crop"), settings.crop)
    ratio = size[1] / size[0] * factor_between(draws.of("viewpoint.aspect"), settings.aspect)
    across, down = (area * ratio) ** 0.5, (area / ratio) ** 0.5
    # A window that is longer than the picture becomes smaller and keeps its proportions.
    fits = min(1.0, width / across, height / down)
    across, down = across * fits, down * fits
    left, top = draws.of("viewpoint.crop_place").random(2) * (width - across, height - down)
    found: np.ndarray = scaling(size[1] / across, size[0] / down) @ translation(-left, -top)
    return found


def _askew(most: float, size: Size, draws: Draws) -> np.ndarray:
    """A perspective that shows a quadrilateral, each corner moved at most so far, as the whole rectangle.

    The rectangle's corners go to their places from points around them, so that no point of the result lies beyond the
    horizon.
    """
    frame = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    moved = frame + draws.of("viewpoint.perspective").uniform(-most, most, (4, 2))
    sides = np.array([size[1], size[0]], dtype=np.float64)
    return from_corners(moved * sides, frame * sides)
