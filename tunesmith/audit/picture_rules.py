"""When a picture counts as dark, bright, blurred, empty, clipped, odd: thresholds on measures. It reads no file.

Thresholds are absolute where a network's input is: a picture whose brightest hundredth is a third of white is dark in
any data set. Where the rest of the data sets the norm (content, size, colour) they are relative to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunesmith.audit.picture_table import PictureSide

Floats = NDArray[np.float64]

DARK_P99, DARK_P95 = 0.33, 0.2
BRIGHT_P5 = 0.8
BLOWN_SHARE, BLOWN_EDGE, BLOWN_USUAL, BLOWN_P5 = 0.4, 0.9, 0.1, 0.6
BLURRED, SMEARED = 0.33, 0.27
LEAST_CONTRAST = 0.02
EMPTY_BITS, EMPTY_CONTRAST, BLANK_CONTRAST = 0.3, 0.012, 0.004
FEW_BITS, FEW_CONTRAST = 3.0, 0.06
FEW_SHARE, USUAL_QUANTILE = 0.5, 0.1
CLIPPED_WHITE, CLIPPED_BLACK, CLIPPED_EDGE = 0.25, 0.5, 0.5
ODD_ASPECT, ODD_ASPECT_MOST = float(np.log2(1 / 0.35)), 0.2
ODD_SIZE_OCTAVES, ODD_SIZE_SPREADS = 3.0, 3.0
GREY, GREY_MOST = 0.004, 0.2
SLACK = 1e-9


@dataclass(frozen=True)
class Rule:
    """One thing that may be wrong with a picture.

    Args:
        code: Of the finding.
        test: The pictures of a side to a score each, 0 where nothing is wrong, up to 1.
        note: A picture's measures to what is the matter with it.
        what: After ``3 of 100 pictures (3.0%)``.
        fix: What to do.
        warning: From which share of the pictures on it is a warning.
        remedy: Whether nothing can be learned from such a picture, so that it may be left out.
    """

    code: str
    test: Callable[[PictureSide], Floats]
    note: Callable[[Mapping[str, float]], str]
    what: str
    fix: str
    warning: float = 0.02
    remedy: bool = False


def darkness(side: PictureSide) -> Floats:
    """Pictures with hardly anything brighter than a third of white."""
    p95, p99 = side.column("p95"), side.column("p99")
    dark = (p99 < DARK_P99) | (p95 < DARK_P95)
    return np.where(dark, 1 - 0.8 * np.minimum(p99, 1.0), 0.0)


def brightness(side: PictureSide) -> Floats:
    """Pictures with hardly anything darker than white, or of which a large part is blown out.

    White all along the edge may be a white background, which is no fault: there what is left must be bright, too.
    """
    p5, white = side.column("p5"), side.column("white")
    usual = np.nanquantile(white, 0.75) if np.isfinite(white).any() else 0.0
    washed = (usual < BLOWN_USUAL) & (p5 >= BLOWN_P5)
    blown = (white >= BLOWN_SHARE) & ((side.column("white_edge") < BLOWN_EDGE) | washed)
    bright = (p5 > BRIGHT_P5) | blown
    return np.where(bright, np.clip(np.maximum(p5, white), 0.05, 1.0), 0.0)


def blur(side: PictureSide) -> Floats:
    """Pictures whose strongest edges are slopes, in every direction or, smeared by motion, in one."""
    sharp, least = side.column("sharp"), side.column("sharp_least")
    soft = np.isnan(sharp) & (side.column("contrast") >= LEAST_CONTRAST) & (side.column("entropy") >= FEW_BITS)
    blurred = sharp < BLURRED
    smeared = (least < SMEARED) & ~blurred
    score = np.select(
        [soft, blurred, smeared],
        [np.full(len(sharp), 0.9), 1 - np.nan_to_num(sharp) / (2 * BLURRED), np.full(len(sharp), 0.3)],
        0.0,
    )
    return np.asarray(score)


def emptiness(side: PictureSide) -> Floats:
    """Pictures of one tone."""
    entropy, contrast = side.column("entropy"), side.column("contrast")
    plain = (entropy < EMPTY_BITS) | (contrast < EMPTY_CONTRAST)
    # Dark and bright pictures have little contrast, and may still show something.
    other = (darkness(side) > 0) | (brightness(side) > 0)
    empty = np.where(other, contrast < BLANK_CONTRAST, plain)
    return np.where(empty, np.clip(1 - np.nan_to_num(entropy) / 8, 0.05, 1.0), 0.0)


def faintness(side: PictureSide) -> Floats:
    """Pictures that show far less than the others; dark, bright and empty ones are said to be that."""
    entropy = side.column("entropy")
    known = entropy[np.isfinite(entropy)]
    usual = float(np.quantile(known, USUAL_QUANTILE)) if len(known) else 0.0
    faint = (entropy < min(FEW_SHARE * usual, FEW_BITS)) & (side.column("contrast") < FEW_CONTRAST)
    other = (darkness(side) > 0) | (brightness(side) > 0) | (emptiness(side) > 0)
    return np.where(faint & ~other, np.clip(1 - np.nan_to_num(entropy) / 8, 0.05, 1.0), 0.0)


def clipping(side: PictureSide) -> Floats:
    """Pictures with large parts at the limit of light or dark, not counting plain backgrounds."""
    white = np.where(side.column("white_edge") < CLIPPED_EDGE, side.column("white"), 0.0)
    black = np.where(side.column("black_edge") < CLIPPED_EDGE, side.column("black"), 0.0)
    clipped = ((white >= CLIPPED_WHITE) | (black >= CLIPPED_BLACK)) & (darkness(side) == 0) & (brightness(side) == 0)
    return np.where(clipped & (emptiness(side) == 0), np.maximum(white, black), 0.0)


def odd_aspect(side: PictureSide) -> Floats:
    """Pictures much longer than they are wide, or the reverse, unless that is what the data are."""
    octaves = np.abs(np.log2(side.column("width") / side.column("height")))
    odd = octaves >= ODD_ASPECT - SLACK
    if odd.sum() > ODD_ASPECT_MOST * max(1, len(odd)):
        return np.zeros(len(odd))
    return np.where(odd, np.clip(octaves / 6, 0.05, 1.0), 0.0)


def odd_size(side: PictureSide) -> Floats:
    """Pictures with far fewer or far more pixels than the others."""
    octaves = np.log2(side.column("width") * side.column("height"))
    known = octaves[np.isfinite(octaves)]
    if not len(known):
        return np.zeros(len(octaves))
    low, middle, high = np.quantile(known, (0.25, 0.5, 0.75))
    far = np.abs(octaves - middle) / max(ODD_SIZE_OCTAVES, ODD_SIZE_SPREADS * (high - low))
    return np.where(far > 1 + SLACK, np.clip(far / 4, 0.05, 1.0), 0.0)


def odd_grey(side: PictureSide) -> Floats:
    """Pictures without colour among coloured ones."""
    other = (darkness(side) > 0) | (brightness(side) > 0) | (emptiness(side) > 0)
    grey = (side.column("colour") < GREY) & ~other
    if not 0 < grey.sum() <= GREY_MOST * len(grey):
        return np.zeros(len(grey))
    return np.where(grey, 0.5, 0.0)


def turned(side: PictureSide) -> Floats:
    """Pictures whose pixels were turned while their EXIF still asks for the turn: they are read lying on a side."""
    return np.where(side.column("retold") == 1, 0.9, 0.0)


RULES: tuple[Rule, ...] = (
    Rule(
        "dark-picture",
        darkness,
        lambda m: f"its brightest hundredth is {m['p99']:.0%} of white, its mean {m['light']:.0%}",
        "are dark: there is hardly anything brighter than a third of white",
        "look at them: leave out what can't be made out, or make them brighter; night that is meant is no fault",
        warning=0.01,
    ),
    Rule(
        "bright-picture",
        brightness,
        lambda m: f"its mean is {m['light']:.0%} of white, {m['white']:.0%} of its pixels are white",
        "are overexposed: there is hardly anything that is not near white",
        "look at them: leave out what can't be made out",
        warning=0.01,
    ),
    Rule(
        "blurred-picture",
        blur,
        lambda m: (
            "it has no edge at all"
            if m.get("sharp") is None
            else f"its strongest edges are {1 / max(m['sharp'], 1 / 6):.1f} pixels wide or more at {_at(m)}"
        ),
        "are blurred, smeared by motion, or were enlarged",
        "leave out those in which the subject can't be made out; keep them if such pictures are to be expected",
        warning=0.01,
    ),
    Rule(
        "empty-picture",
        emptiness,
        lambda m: f"{m['entropy']:.1f} bits of grey, a contrast of {m['contrast']:.1%}",
        "show nothing: they are of one tone",
        "leave them out, unless nothing is what they are to show",
        warning=0.0,
        remedy=True,
    ),
    Rule(
        "low-information-picture",
        faintness,
        lambda m: f"{m['entropy']:.1f} bits of grey, a contrast of {m['contrast']:.1%}",
        "show far less than the others: few tones, faint",
        "look at them; leave out those in which nothing can be made out",
    ),
    Rule(
        "clipped-picture",
        clipping,
        lambda m: f"{m['white']:.0%} of its pixels are white, {m['black']:.0%} black",
        "have large parts at the limit of light or dark, in which nothing can be seen",
        "nothing, if only the background is lost; else leave them out",
        warning=0.05,
    ),
    Rule(
        "odd-aspect",
        odd_aspect,
        lambda m: f"{m['width']} x {m['height']} pixels",
        "are more than 2.8 times as long as they are wide, or the reverse: much is cut away, squeezed or padded",
        "cut them to what matters; options.fit says what happens to the rest",
        warning=0.01,
    ),
    Rule(
        "odd-size",
        odd_size,
        lambda m: f"{m['width']} x {m['height']} pixels",
        "have far fewer or far more pixels than the others",
        "small ones are enlarged and blurred: look for the originals; thumbnails and icons don't belong here",
        warning=0.01,
    ),
    Rule(
        "grey-among-colours",
        odd_grey,
        lambda _m: "it has no colour",
        "have no colour while the others do",
        "nothing, if such pictures are to be expected; not if all of them are of one class",
        warning=1.1,
    ),
    Rule(
        "turned-picture",
        turned,
        lambda m: f"EXIF asks for turn {m['turn']:.0f}, but its own size says that the pixels were turned already",
        "lie on a side: their pixels were turned, and the EXIF tag that asks for it was left in",
        "take the tag out (exiftool -Orientation=1), and see that boxes and masks still fit",
        warning=0.0,
    ),
)
"""What is looked for in each picture by itself, in this order."""


def _at(measures: Mapping[str, float]) -> str:
    from tunesmith.audit.picture_measures import SIDE

    longer = max(measures["width"], measures["height"])
    return "its own size" if longer <= SIDE else f"a longer side of {SIDE}"
