"""What the camera and the file did: motion blur, lost resolution, noise, JPEG. It moves nothing."""

from __future__ import annotations

from io import BytesIO
from statistics import NormalDist

import numpy as np
from PIL import Image, ImageChops

from tunesmith.data.draws import Draws, between
from tunesmith.pictures.augment.settings import Camera

_NORMAL = np.array([NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)])
"""A byte drawn evenly becomes a normal number through this table."""
_DOUBLINGS = 3


def photographed(image: Image.Image, settings: Camera, draws: Draws) -> Image.Image:
    """A picture as a worse camera would have given it, in the order in which a camera does it."""
    if (rng := draws.happens("camera.motion_blur", settings.motion_blur)) is not None:
        image = _moved(image, between(rng, settings.motion_length) * min(image.size), rng.uniform(0, np.pi))
    if (rng := draws.happens("camera.resolution", settings.resolution)) is not None:
        left = between(rng, settings.resolution_scale)
        small = image.resize(
            (max(1, round(image.width * left)), max(1, round(image.height * left))), Image.Resampling.BILINEAR
        )
        image = small.resize(image.size, Image.Resampling.BILINEAR)
    if (rng := draws.happens("camera.noise", settings.noise)) is not None:
        image = _noisy(image, between(rng, settings.noise_level), rng)
    if (rng := draws.happens("camera.jpeg", settings.jpeg)) is not None:
        image = _rewritten(image, int(rng.integers(settings.jpeg_quality[0], settings.jpeg_quality[1] + 1)))
    return image


def _moved(image: Image.Image, length: float, angle: float) -> Image.Image:
    """The mean of copies along a line of ``length`` pixels.

    Averaging with a copy shifted by d, then by 2 d, then by 4 d is the mean of eight copies. Half of each shift goes
    either way, so the picture stays where its boxes are.
    """
    step = length / 2**_DOUBLINGS
    way = np.array([np.cos(angle), np.sin(angle)])
    lean = np.zeros(2, dtype=int)
    for i in range(_DOUBLINGS):
        shift = np.rint(way * step * 2**i).astype(int)
        # An odd pixel goes to the side that got fewer.
        first = (shift + (lean < 0)) // 2
        lean += 2 * first - shift
        image = Image.blend(_shifted(image, first), _shifted(image, first - shift), 0.5)
    return image


def _shifted(image: Image.Image, by: np.ndarray) -> Image.Image:
    """A shifted copy on the picture itself, so that the edges do not darken."""
    across, down = by.tolist()
    if not across and not down:
        return image
    canvas = image.copy()
    canvas.paste(image, (across, down))
    return canvas


def _noisy(image: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    count = image.width * image.height * 3
    noise = Image.frombytes("RGB", image.size, rng.bytes(count))
    table = np.clip(np.rint(128 + level * _NORMAL), 0, 255).astype(int).tolist()
    return ImageChops.add(image, noise.point(table * 3), 1, -128)


def _rewritten(image: Image.Image, quality: int) -> Image.Image:
    file = BytesIO()
    image.save(file, "JPEG", quality=quality)
    with Image.open(file) as read:
        return read.convert("RGB")
