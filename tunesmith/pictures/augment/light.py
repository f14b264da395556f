"""What light fell on the scene: one colour matrix, one table of 256 levels, one soft shadow. It moves nothing."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from tunesmith.data.draws import Draws, between, factor_between
from tunesmith.pictures.augment.settings import Light

_GREY = np.array([0.299, 0.587, 0.114])
_TO_YIQ = np.array([_GREY, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)
_SHADOW_SIDE = 96
"""A shadow is drawn on so many pixels a side, blurred there, and stretched over the picture."""


def relit(image: Image.Image, settings: Light, draws: Draws) -> Image.Image:
    """A picture in other light."""
    if settings.hue or settings.saturation:
        image = image.convert("RGB", _matrix(settings, draws))
    if settings.gamma or settings.brightness or settings.contrast:
        levels = _levels(image, settings, draws)
        image = image.point(levels * 3)
    return _shadowed(image, settings, draws)


def _matrix(settings: Light, draws: Draws) -> tuple[float, ...]:
    """Hue and saturation as the twelve numbers that PIL takes; greys stay as they are."""
    turn = np.deg2rad(between(draws.of("light.hue"), (-settings.hue, settings.hue)))
    factor = between(draws.of("light.saturation"), (1 - settings.saturation, 1 + settings.saturation))
    cos, sin = factor * np.cos(turn), factor * np.sin(turn)
    colours = _FROM_YIQ @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ _TO_YIQ
    return tuple(np.concatenate([colours, np.zeros((3, 1))], 1).ravel().tolist())


def _levels(image: Image.Image, settings: Light, draws: Draws) -> list[int]:
    """Gamma, then brightness, then contrast as one table of 256 levels."""
    exponent = factor_between(draws.of("light.gamma"), (1 / (1 + settings.gamma), 1 + settings.gamma))
    bright = between(draws.of("light.brightness"), (1 - settings.brightness, 1 + settings.brightness))
    apart = between(draws.of("light.contrast"), (1 - settings.contrast, 1 + settings.contrast))
    levels = 255 * bright * (np.arange(256) / 255) ** exponent
    if settings.contrast:
        # Around the picture's own mean, so that a dark picture stays dark.
        small = np.asarray(image.reduce(max(1, min(image.size) // 16)))
        mean = float(levels[(small.reshape(-1, 3).mean(0) @ _GREY).astype(int)])
        levels = mean + apart * (levels - mean)
    return [int(level) for level in np.clip(levels + 0.5, 0, 255)]


def _shadowed(image: Image.Image, settings: Light, draws: Draws) -> Image.Image:
    rng = draws.happens("light.shadow", settings.shadow)
    if rng is None:
        return image
    kept = 1 - between(rng, settings.shadow_depth)
    # A band between two rays that start beyond one side, or the half plane behind one of them.
    angle, at, wide = rng.uniform(0, 2 * np.pi), rng.uniform(-0.3, 0.3), rng.uniform(0.2, 0.9)
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    lean = rng.uniform(-0.3, 0.3, 2)
    ends = [(-1.5, at + lean[0]), (1.5, at - lean[0]), (1.5, at + wide - lean[1]), (-1.5, at + wide + lean[1])]
    corners = [(0.5 + u * along + v * across) * _SHADOW_SIDE for u, v in ends]
    mask = Image.new("L", (_SHADOW_SIDE, _SHADOW_SIDE), 0)
    ImageDraw.Draw(mask).polygon([(float(x), float(y)) for x, y in corners], fill=255)
    # Two boxes make a tent: an edge without a step.
    blur = ImageFilter.BoxBlur(rng.uniform(1, 5))
    soft = mask.filter(blur).filter(blur).resize(image.size, Image.Resampling.BILINEAR)
    darker = image.point([int(kept * level + 0.5) for level in range(256)] * 3)
    return Image.composite(darker, image, soft)
