"""What a report shows of pictures: galleries of base against tuned, confusions, curves, sizes, tables by class.

It knows rows, predictions, scores and how to draw them; no model and no page (``report.panels`` says what a panel is).
Pictures stand inside the report, small, so that it is one file of a few megabytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from tunesmith.pictures.detection_scores import DEFAULT_THRESHOLD, DetectionTally, Predictions, passing, picture_f1
from tunesmith.pictures.draw import data_uri, draw_boxes, draw_mask, fitted, hex_of
from tunesmith.pictures.segmentation_scores import IGNORED, Mask, masks_by_class, miou_from, tally_masks, unpack_mask
from tunesmith.types import Row

Json: TypeAlias = dict[str, Any]
Read: TypeAlias = Callable[[Row], NDArray[np.uint8]]
"""A row's picture, uint8 [height, width, 3] in RGB as a person sees it."""

Thresholds: TypeAlias = Mapping[str, float] | float

SHOWN = 8
"""Pictures in a gallery."""

MOST_BOXES = 60
"""Boxes drawn on a picture, the surest."""

MOST_CURVES = 6
"""Classes whose curves are drawn, those with the most objects."""

SIZE_EDGES = (0, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096)
"""Sides in pixels between which objects are counted; 32 and 96 part small, medium and large as COCO does."""


def chosen_rows(quality: ArrayLike, seed: int, shown: int = SHOWN) -> tuple[list[int], list[int]]:
    """The worst rows, worst first, and rows drawn at random.

    Args:
        quality: Each row's, 1 at best; a row of quality 1 or NaN is none of the worst.
        seed: Of the draw.
        shown: How many of each at most.
    """
    values = np.asarray(quality, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    worst = [int(i) for i in order if values[i] < 1][:shown]
    drawn = np.random.default_rng(seed).permutation(values.size)[:shown]
    return worst, [int(i) for i in drawn]


def gallery_panel(title: str, note: str, items: Sequence[Json], legend: Sequence[Json] = ()) -> Json:
    """A panel of pictures side by side; its items come from `gallery_item`."""
    return {"kind": "gallery", "title": title, "note": note, "items": list(items), "legend": list(legend)}


def gallery_item(row: Row, pictures: Sequence[Json], **said: Any) -> Json:
    """One card: ``pictures`` of one row, from `shown_picture`; ``said`` as in an example (expected, base, tuned_ok)."""
    return {"id": str(row["id"]), "pictures": list(pictures), **said}


def shown_picture(name: str, picture: Image.Image, caption: str = "", ok: bool | None = None) -> Json:
    """One picture of a card, of the size it has; ``ok`` marks it right or wrong."""
    shape = {"width": picture.width, "height": picture.height}
    return {"name": name, "image": data_uri(picture), "caption": caption, "ok": ok, **shape}


def detection_galleries(
    rows: Sequence[Row],
    base: Predictions | None,
    tuned: Predictions,
    classes: Sequence[str],
    read: Read,
    *,
    thresholds: Thresholds = DEFAULT_THRESHOLD,
    base_thresholds: Thresholds | None = None,
    seed: int = 0,
    shown: int = SHOWN,
) -> list[Json]:
    """The worst pictures by F1 of the tuned model's boxes, and pictures at random: truth, base, tuned.

    Args:
        rows: The held-out rows.
        base, tuned: Boxes found in them.
        classes: Names of the classes.
        read: A row's picture.
        thresholds: Least score of a box that counts and is drawn.
        base_thresholds: The same of the base; left out, ``thresholds``.
        seed: Of the random pictures.
        shown: Pictures in each gallery.
    """
    sides = {"base": (base, thresholds if base_thresholds is None else base_thresholds), "tuned": (tuned, thresholds)}
    quality = {
        name: picture_f1(found, rows, classes, least) for name, (found, least) in sides.items() if found is not None
    }

    def card(number: int) -> Json:
        row = rows[number]
        whole = Image.fromarray(read(row))
        small = fitted(whole)
        scale = small.width / whole.width
        there = [one for one in row.get("objects") or () if not one.get("crowd")]
        pictures = [shown_picture("truth", draw_boxes(small, row.get("objects") or (), classes, scale=scale))]
        pictures[0]["caption"] = _counted((one["label"] for one in there), classes)
        for name, f1 in quality.items():
            found, least = sides[name]
            kept = passing((found or [])[number], least)
            drawn = draw_boxes(small, kept[:MOST_BOXES], classes, scale=scale)
            caption = f"F1 {f1[number]:.2f}; {_counted((one['label'] for one in kept), classes)}"
            pictures.append(shown_picture(name, drawn, caption, f1[number] == 1))
        return gallery_item(row, pictures)

    words = "F1 of the boxes that reach their class's threshold, at an overlap of 0.50"
    return _galleries(quality["tuned"], words, card, seed, shown)


def segmentation_galleries(
    rows: Sequence[Row],
    base: Sequence[Mapping[str, Any]] | None,
    tuned: Sequence[Mapping[str, Any]],
    classes: Sequence[str],
    read: Read,
    truth: Callable[[Row], Mask],
    *,
    bare: Collection[int] = (),
    seed: int = 0,
    shown: int = SHOWN,
) -> list[Json]:
    """The worst pictures by mean IoU of the tuned model's mask, and pictures at random: truth, base, tuned.

    Args:
        rows: The held-out rows.
        base, tuned: Packed masks (``pack_mask``) predicted for them.
        classes: Names of the classes.
        read: A row's picture.
        truth: A row's true mask, of the predicted one's size.
        bare: Classes that are not painted (the background).
        seed: Of the random pictures.
        shown: Pictures in each gallery.
    """
    number_of = len(classes)
    pairs = ((truth(row), unpack_mask(found)) for row, found in zip(rows, tuned, strict=True))
    quality = miou_from(tally_masks(pairs, number_of, boundary=False))
    sides = {"base": base, "tuned": tuned}
    seen: set[int] = set()

    def card(number: int) -> Json:
        row, true = rows[number], truth(rows[number])
        small = fitted(Image.fromarray(read(row)))
        seen.update(np.unique(true).tolist())
        pictures = [shown_picture("truth", draw_mask(small, true, bare=bare))]
        for name, found in sides.items():
            if found is None:
                continue
            mask = unpack_mask(found[number])
            seen.update(np.unique(mask).tolist())
            caption = _by_class(tally_masks([(true, mask)], number_of, boundary=False), classes)
            pictures.append(shown_picture(name, draw_mask(small, mask, bare=bare), caption))
        return gallery_item(row, pictures)

    panels = _galleries(quality, "mIoU, the mean over the picture's classes", card, seed, shown)
    painted = [n for n in sorted(seen - set(bare)) if n < number_of]
    legend = [{"name": classes[n], "colour": hex_of(n)} for n in painted]
    if IGNORED in seen:
        legend.append({"name": "does not count", "colour": "#808080"})
    return [panel | {"legend": legend} for panel in panels]


def classification_galleries(
    rows: Sequence[Row],
    base: Sequence[Mapping[str, Any]] | None,
    tuned: Sequence[Mapping[str, Any]],
    read: Read,
    *,
    seed: int = 0,
    shown: int = 2 * SHOWN,
) -> list[Json]:
    """The worst pictures by the probability of the true label, and pictures at random, with what each model said.

    Args:
        rows: The held-out rows.
        base, tuned: Predictions for them, ``label`` and ``probabilities``.
        read: A row's picture.
        seed: Of the random pictures.
        shown: Pictures in each gallery.
    """
    truth = [str(row["label"]) for row in rows]
    quality = [float(p["probabilities"].get(t, 0.0)) for p, t in zip(tuned, truth, strict=True)]

    def card(number: int) -> Json:
        said: Json = {"expected": truth[number]}
        for name, found in (("base", base), ("tuned", tuned)):
            if found is not None:
                label = str(found[number]["label"])
                sure = float(found[number]["probabilities"].get(label, 0.0))
                said |= {name: f"{label} {sure:.2f}", f"{name}_ok": label == truth[number]}
        picture = fitted(Image.fromarray(read(rows[number])), 320, 320)
        return gallery_item(rows[number], [shown_picture("", picture)], **said)

    return _galleries(quality, "the probability that the tuned model gives the true label", card, seed, shown)


def _galleries(quality: ArrayLike, words: str, card: Callable[[int], Json], seed: int, shown: int) -> list[Json]:
    worst, drawn = chosen_rows(quality, seed, shown)
    count = np.asarray(quality).size
    panels = []
    if worst:
        note = f"{len(worst)} of {count} held-out pictures, the lowest first: {words}."
        panels.append(gallery_panel("Worst pictures, tuned", note, [card(i) for i in worst]))
    if drawn:
        note = f"{len(drawn)} of {count} held-out pictures, whatever came of them."
        panels.append(gallery_panel("Pictures at random", note, [card(i) for i in drawn]))
    return panels


def _counted(labels: Iterable[Any], classes: Sequence[str], most: int = 6) -> str:
    """``2 x cat, dog``; a label that a picture can't show in letters is named beside its number."""
    counts = Counter(str(label) for label in labels)
    if not counts:
        return "nothing"
    words = []
    for label, count in counts.most_common(most):
        shown = label if label.isascii() or label not in classes else f"#{classes.index(label)} {label}"
        words.append(shown if count == 1 else f"{count} × {shown}")
    return ", ".join(words) + (f" and {len(counts) - most} other classes" if len(counts) > most else "")


def _by_class(tally: NDArray[np.float64], classes: Sequence[str], most: int = 4) -> str:
    """A picture's mean IoU, and that of the classes that went worst."""
    known = [one for one in masks_by_class(tally, classes) if one.iou is not None]
    if not known:
        return "no pixel counts"
    worst = sorted(known, key=lambda one: one.iou or 0.0)[:most]
    return f"mIoU {float(miou_from(tally[0])):.2f}; " + ", ".join(f"{one.label} {one.iou:.2f}" for one in worst)


def confusion_panel(
    classes: Sequence[str], base: ArrayLike | None, tuned: ArrayLike, *, unit: str = "objects", missed: bool = True
) -> Json:
    """Confusion matrices of boxes (with missed and false, from `confusion_of_boxes`) or of pixels.

    Args:
        classes: Names of the classes.
        base, tuned: Counts, [classes, classes] or, with ``missed``, one more each way.
        unit: What is counted.
        missed: Whether the last column is what was missed, and the last row what is false.
    """
    counts = {"base": None if base is None else np.asarray(base).tolist(), "tuned": np.asarray(tuned).tolist()}
    head = {"kind": "confusion", "title": "Confusion matrix", "labels": list(classes), "unit": unit, "missed": missed}
    return head | counts


def curves_panels(base: DetectionTally | None, tuned: DetectionTally) -> list[Json]:
    """Precision over recall at an overlap of 0.50: base against tuned, and the tuned model by class."""
    pairs = [("tuned", tuned.curve())] + ([] if base is None else [("base", base.curve())])
    panels = [_curves("Precision and recall", "mean of the classes, at an overlap of 0.50", pairs)]
    by_objects = sorted((one for one in tuned.by_class() if one.objects), key=lambda one: -one.objects)
    if len(by_objects) > 1:
        shown = by_objects[:MOST_CURVES]
        note = "tuned, at an overlap of 0.50"
        if len(shown) < len(by_objects):
            note += f"; the {len(shown)} classes with the most objects of {len(by_objects)}"
        pairs = [(one.label, tuned.curve(one.label)) for one in shown]
        panels.append(_curves("Precision and recall by class", note, pairs))
    return panels


def _curves(title: str, note: str, pairs: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> Json:
    series = []
    for name, points in pairs:
        reached = [[x, y] for x, y in points if y > 0]
        # A curve ends where no box finds more: straight down, not along the bottom.
        series.append({"name": name, "points": [*reached, [reached[-1][0], 0.0]] if reached else []})
    spans = {"x_span": [0.0, 1.0], "y_span": [0.0, 1.0]}
    return {"kind": "lines", "title": title, "note": note, "x": "recall", "y": "precision", "series": series, **spans}


def detection_table(
    base: DetectionTally | None, tuned: DetectionTally, thresholds: Mapping[str, float] | None = None
) -> Json:
    """Average precision of every class, base against tuned, with the thresholds that were chosen."""
    before = {one.label: one.ap for one in base.by_class()} if base is not None else {}
    columns = ["class", "objects", "AP base", "AP tuned", "AP50 tuned", "recall tuned", "threshold"]
    rows = [
        [one.label, one.objects, before.get(one.label), one.ap, one.ap50, one.recall, (thresholds or {}).get(one.label)]
        for one in tuned.by_class()
    ]
    note = "AP: mean over overlaps 0.50 to 0.95, as COCO; recall: of at most 100 boxes a class and picture."
    return _table("By class", note, columns, rows)


def segmentation_table(base: NDArray[Any] | None, tuned: NDArray[Any], classes: Sequence[str]) -> Json:
    """IoU, Dice and boundary IoU of every class over all pictures, from tallies of `tally_masks`."""
    before = [one.iou for one in masks_by_class(base, classes)] if base is not None else [None] * len(classes)
    columns = ["class", "pixels", "IoU base", "IoU tuned", "Dice tuned", "boundary IoU tuned"]
    after = masks_by_class(tuned, classes)
    rows = [
        [one.label, one.pixels, was, one.iou, one.dice, one.boundary_iou]
        for was, one in zip(before, after, strict=True)
    ]
    note = "Over the pixels of all held-out pictures; a class that neither they nor the predictions show has no figure."
    return _table("By class", note, columns, rows)


def _table(title: str, note: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Json:
    """A table without the columns that hold nothing."""
    kept = [n for n in range(len(columns)) if any(row[n] is not None for row in rows)]
    cells = [[row[n] for n in kept] for row in rows]
    return {"kind": "table", "title": title, "note": note, "columns": [columns[n] for n in kept], "rows": cells}


def object_sizes(rows: Iterable[Row]) -> list[int]:
    """How many objects have a side between two neighbours of ``SIZE_EDGES``; the side of a square of the same area.

    It is JSON-able, so that the training rows' can be kept with the facts of a run. Crowds are left out.
    """
    boxes = [one["box"] for row in rows for one in row.get("objects") or () if not one.get("crowd")]
    sides = np.sqrt(np.array([float(b[2]) * float(b[3]) for b in boxes]))
    return [int(n) for n in np.histogram(np.clip(sides, 0, SIZE_EDGES[-1]), SIZE_EDGES)[0]]


def size_panel(counts: Mapping[str, Sequence[int]]) -> Json:
    """Object sizes of sets side by side, ``{"train": object_sizes(...), "held-out": ...}``."""
    table = np.array(list(counts.values()))
    used = np.flatnonzero(table.sum(axis=0))
    first, last = (int(used[0]), int(used[-1])) if used.size else (0, 0)
    words = []
    for name, own in zip(counts, table, strict=True):
        total = max(1, int(own.sum()))
        parts = np.split(own, [SIZE_EDGES.index(32), SIZE_EDGES.index(96)])
        small, medium, large = (f"{100 * int(part.sum()) / total:.0f} %" for part in parts)
        words.append(f"{name} {small} small, {medium} medium, {large} large")
    return {
        "kind": "histogram",
        "title": "Object sizes",
        "note": f"As COCO parts them, at 32 and 96 pixels: {'; '.join(words)}.",
        "x": "side in pixels",
        "unit": "objects",
        "edges": list(SIZE_EDGES[first : last + 2]),
        "series": [
            {"name": name, "counts": own[first : last + 1].tolist()} for name, own in zip(counts, table, strict=True)
        ],
    }
