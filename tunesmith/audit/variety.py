"""What pictures are made of: light, colour, sharpness, size, background, objects; and what is missing.

It says what is there and which parts of the usual span are empty. It can't know what a model will be shown: each
sentence ends in what to add, if that is to be expected.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.audit.found import View
from tunesmith.audit.object_variety import object_views
from tunesmith.audit.picture_table import PictureSide
from tunesmith.audit.spread import LEAST_VALUES, End, classes_apart, histogram, missing_ends

if TYPE_CHECKING:
    from tunesmith.audit.data import AuditData
    from tunesmith.audit.found import SideName

Table = Mapping["SideName", PictureSide]

PLAIN_DEVIATION, SOFT_DEVIATION, LIMIT_LIGHT = 0.03, 0.09, 0.04
BORDERS = ("plain white", "plain black", "plain grey or colour", "soft", "busy")
PLAIN_MANY, BUSY_MANY = 0.9, 0.98
HOURS_SHARE = 0.2
LAYOUT_SIDE, SAME_LAYOUT, SOME_LAYOUT = 16, 0.5, 0.25
MIRRORED, MIRRORED_MANY = 0.8, 0.6
THUMBS = 2000

DARKER = End(0.2, "have a mean below 20 % of white: add some in dim light or at night, if that is to be expected")
BRIGHTER = End(0.7, "have a mean above 70 % of white: add some in bright light, before sky or snow, if that may come")
FLATTER = End(0.1, "have little contrast: add some in haze, rain or flat light, if that may come")
HARDER = End(0.25, "have much contrast: add some in hard sun, with deep shadows, if that may come")
COOLER = End(-0.3, "are in bluish light: add some in shade or before dusk, if that may come")
WARMER = End(0.6, "are in warm light: add some under lamps or in the evening, if that may come")
SOFTER = End(0.45, "are soft: a model that will be shown moving or unfocused pictures has learned from none")
SHARPER = End(0.6, "are sharp: look whether they were enlarged, or compressed much")


def variety_views(data: AuditData, table: Table) -> Iterator[View]:
    """Views of all pictures, and of the objects in them where there are boxes."""
    table = {side: pictures for side, pictures in table.items() if pictures.readable.any()}
    if "train" not in table:
        return
    yield from light_views(table)
    yield size_view(table)
    yield border_view(table)
    yield from hour_view(table)
    yield from layout_view(table)
    if data.has("boxes") or data.has("masks"):
        yield from object_views(data)


def _values(table: Table, name: str) -> dict[str, NDArray[np.float64]]:
    return {side: pictures.column(name) for side, pictures in table.items()}


def light_views(table: Table) -> Iterator[View]:
    """Histograms of light, contrast, colour temperature and sharpness, with the classes that stand apart."""
    labels = table["train"].labels
    coloured = float(np.nanmean(table["train"].column("colour") > 0.02)) if table["train"].readable.any() else 0.0
    wanted: tuple[tuple[Any, ...], ...] = (
        ("light", "Light", "light", (0, 1, 0.05), "mean grey, 1 is white", DARKER, BRIGHTER, "darker", "brighter"),
        ("contrast", "Contrast", "contrast", (0, 0.45, 0.025), "deviation of grey", FLATTER, HARDER, "flatter",
         "harder"),
        ("colour-temperature", "Colour of the light", "warmth", (-2, 2, 0.2), "log2 of red by blue", COOLER, WARMER,
         "cooler", "warmer"),
        ("sharpness", "Sharpness", "sharp", (0.15, 1.1, 0.05), "share of an edge in one pixel", SOFTER, SHARPER,
         "softer", "sharper"),
    )  # fmt: skip
    for name, title, column, (first, last, step), unit, low, high, lower, higher in wanted:
        if column == "warmth" and coloured < 0.5:
            continue
        values = _values(table, column)
        said = missing_ends(values["train"], low, high)
        said += classes_apart(values["train"], labels, lower, higher)
        edges = np.arange(first, last + step / 2, step).tolist()
        yield histogram(name, title, values, edges, unit=unit, said=said, labels=labels)


def size_view(table: Table) -> View:
    """Longer sides of pictures, and whether all have one size."""
    values = {side: np.fmax(pictures.column("width"), pictures.column("height")) for side, pictures in table.items()}
    known = values["train"][np.isfinite(values["train"])]
    said = []
    if len(known) >= LEAST_VALUES and known.min() == known.max():
        said.append(f"all pictures have a longer side of {known[0]:,.0f} pixels, so that nothing else was ever seen")
    wide = table["train"].column("width") / table["train"].column("height")
    wide = wide[np.isfinite(wide)]
    if len(wide) >= LEAST_VALUES and (wide.min() > 1.05 or wide.max() < 0.95):
        kind, other = ("landscape", "upright") if wide.min() > 1 else ("upright", "landscape")
        said.append(f"all pictures are {kind}: add {other} ones, if these may come")
    return histogram(
        "picture-size",
        "Size",
        values,
        [0, *(2**power for power in range(5, 14))],
        unit="pixels, longer side",
        said=said,
    )


def borders_of(pictures: PictureSide) -> NDArray[np.int64]:
    """Which of `BORDERS` each picture has; -1 where it can't be read."""
    deviation, light = pictures.column("border"), pictures.column("border_light")
    plain = deviation < PLAIN_DEVIATION
    return np.select(
        [
            np.isnan(deviation),
            plain & (light > 1 - LIMIT_LIGHT),
            plain & (light < LIMIT_LIGHT),
            plain,
            deviation < SOFT_DEVIATION,
        ],
        [-1, 0, 1, 2, 3],
        4,
    )


def border_view(table: Table) -> View:
    """What surrounds the subject: the outer eighth of pictures."""
    counts = {}
    for side, pictures in table.items():
        kinds = borders_of(pictures)
        counts[side] = np.bincount(kinds[kinds >= 0], minlength=len(BORDERS)).tolist()
    total = sum(counts["train"])
    said = []
    if total >= LEAST_VALUES:
        plain, busy = sum(counts["train"][:3]) / total, counts["train"][4] / total
        if plain >= PLAIN_MANY:
            said.append(f"{plain:.0%} have a plain border: before a real background the model will be on new ground")
        elif busy >= BUSY_MANY:
            said.append(f"{busy:.0%} have a busy border: add some before plain walls or sky, if these may come")
    kinds = borders_of(table["train"]).astype(np.float64)
    said += classes_apart(
        np.where(kinds < 0, np.nan, (kinds < 3).astype(np.float64)),
        table["train"].labels,
        "less often before a plain background",
        "more often before a plain background",
    )
    return View("background", "Background at the border", "bars", {"names": list(BORDERS), "counts": counts}, said=said)


def hour_view(table: Table) -> Iterator[View]:
    """When photographs were taken, where their EXIF says so."""
    hours = table["train"].column("hour")
    known = hours[np.isfinite(hours)].astype(int)
    if len(known) < LEAST_VALUES or len(known) < HOURS_SHARE * len(hours):
        return
    counts = {}
    for side, pictures in table.items():
        found = pictures.column("hour")
        counts[side] = np.bincount(found[np.isfinite(found)].astype(int), minlength=24).tolist()
    night = sum(counts["train"][hour] for hour in (*range(6), *range(21, 24))) / len(known)
    said = [f"{len(known):,} of {len(hours):,} pictures say when they were taken"]
    if night < 0.02:
        said.append("hardly any was taken between 21 and 6 o'clock: add some at night, if that is to be expected")
    if 1 - night < 0.02:
        said.append("hardly any was taken between 6 and 21 o'clock: add some by day")
    yield View(
        "hour", "Hour of the day", "bars", {"names": [str(h) for h in range(24)], "counts": counts}, "o'clock", said
    )


def layout_view(table: Table) -> Iterator[View]:
    """What pictures have in common, place by place: a fixed camera, one viewpoint."""
    train = table["train"]
    readable = np.flatnonzero(train.readable)
    if len(readable) < LEAST_VALUES:
        return
    chosen = readable[np.unique(np.linspace(0, len(readable) - 1, THUMBS).astype(int))]
    thumbs = train.thumbs(chosen.tolist()).astype(np.float32)
    # 32 x 32 by fields of 2 x 2
    fields = thumbs.reshape(len(thumbs), LAYOUT_SIDE, 2, LAYOUT_SIDE, 2).mean(axis=(2, 4))
    shared = shared_layout(fields)
    mirrored = float((mirror_likeness(fields) >= MIRRORED).mean())
    said = []
    if shared >= SAME_LAYOUT:
        said.append(
            f"{shared:.0%} of the pattern of light is the same in all pictures: one camera at one place, or one pose; "
            "from other places the model has seen nothing"
        )
    elif shared >= SOME_LAYOUT:
        said.append(f"{shared:.0%} of the pattern of light is the same in all pictures: they are framed much alike")
    if mirrored >= MIRRORED_MANY:
        said.append(
            f"in {mirrored:.0%} of the pictures left mirrors right: if the subject has sides, most were taken from the "
            "front or the back"
        )
    if not said:
        said.append("no viewpoint stands out; from which side things were taken can't be told by pixels alone")
    cells = [[round(float(value) / 255, 4) for value in row] for row in fields.mean(axis=0)]
    yield View(
        "layout",
        "Mean picture",
        "heat",
        {"cells": cells, "across": "left to right", "down": "top to bottom"},
        "mean grey, 1 is white",
        said,
    )


def shared_layout(fields: NDArray[np.float32]) -> float:
    """Which share of the variance within pictures, float [n, side, side], their mean has, less what chance gives."""
    centred = fields - fields.mean(axis=(1, 2), keepdims=True)
    own = float((centred**2).mean())
    if own <= 0 or len(fields) < 2:
        return 0.0
    common = float((centred.mean(axis=0) ** 2).mean())
    count = len(fields)
    return max(0.0, (common / own * count - 1) / (count - 1))


def mirror_likeness(fields: NDArray[np.float32]) -> NDArray[np.float32]:
    """The correlation of each picture with its mirror image, [n]; 0 without contrast."""
    flat = fields.reshape(len(fields), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    turned = fields[:, :, ::-1].reshape(len(fields), -1)
    turned = turned - turned.mean(axis=1, keepdims=True)
    squares = (flat**2).sum(axis=1)
    found = np.divide((flat * turned).sum(axis=1), squares, out=np.zeros(len(flat), np.float32), where=squares > 1)
    return np.asarray(found, dtype=np.float32)
