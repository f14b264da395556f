"""Masks on features: bands of frequency and spans of time that are covered (SpecAugment). It knows no setting."""

from __future__ import annotations

import numpy as np


def spec_augment(
    features: np.ndarray,
    rng: np.random.Generator,
    *,
    bands: int = 2,
    band_bins: int = 10,
    spans: int = 2,
    span_frames: int = 25,
    most: float = 0.1,
    fill: float | None = None,
    frames: int | None = None,
) -> np.ndarray:
    """Features with bands and spans covered (arXiv:1904.08779, without its time warping).

    Args:
        features: float [bins, frames], log-mel as a rule; not changed.
        rng: The step's generator.
        bands: How many bands of bins are covered.
        band_bins: Most bins of a band; as many as are drawn evenly from 0 to this, never all.
        spans: How many spans of frames are covered.
        span_frames: Most frames of a span; drawn as for bands.
        most: Share of the valid frames that all spans together cover at most.
        fill: What stands there; None: the mean of the valid features.
        frames: How many frames hold sound; those after them are padding, which is neither covered nor counted.

    Returns:
        A copy [bins, frames] of the same type.
    """
    covered = features.copy()
    bins, held = features.shape
    valid = held if frames is None else min(frames, held)
    if not valid or not bins:
        return covered
    value = features[:, :valid].mean(dtype=np.float64) if fill is None else fill
    for start, width in _places(rng, bands, min(band_bins, bins - 1), bins):
        covered[start : start + width, :valid] = value
    longest = min(span_frames, int(most * valid / spans)) if spans else 0
    for start, width in _places(rng, spans, longest, valid):
        covered[:, start : start + width] = value
    return covered


def _places(rng: np.random.Generator, count: int, widest: int, length: int) -> list[tuple[int, int]]:
    widths = rng.integers(0, widest + 1, count)
    return [(int(rng.integers(0, length - width + 1)), int(width)) for width in widths]
