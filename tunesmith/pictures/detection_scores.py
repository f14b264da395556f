"""How good boxes are: COCO's average precision and recall, thresholds, curves and confusions.

It knows boxes as rows and predictions give them and, through ``detection_matches``, who found what; no model, no page.

Average precision is no sum over rows, so a bootstrap of it needs it anew for every resample. `DetectionTally` matches
each picture once; a resample then only weighs the pictures. All pictures once give what the reference ``COCOeval``
gives; so does a resample, but for the order of copies where boxes of one class and picture are exactly equally sure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tunesmith.pictures.detection_matches import (
    IOU_THRESHOLDS,
    MOST_FOUND,
    SIZES,
    ClassMatches,
    Floats,
    Found,
    Ints,
    found_in,
    match,
    match_pictures,
    overlaps,
)
from tunesmith.types import Row, Scores

Predictions = Sequence[Sequence[Mapping[str, Any]]]
"""Boxes found in each picture: ``{"box": [x, y, width, height], "score": 0 to 1, "label": name}``."""

RECALLS: Floats = np.linspace(0.0, 1.0, 101)
"""Recalls at which precision is read."""

DEFAULT_THRESHOLD = 0.5
"""Least score of a box where no better one is known for its class."""

_HALF, _THREE_QUARTERS = 0, 5
_SIZE = {name: number for number, name in enumerate(SIZES)}


@dataclass(frozen=True)
class ClassAverage:
    """One class: its objects that count, average precision over all overlaps, at 0.50 and 0.75, and recall.

    The four are None where the pictures show no such object.
    """

    label: str
    objects: int
    ap: float | None
    ap50: float | None
    ap75: float | None
    recall: float | None


@dataclass(frozen=True)
class Threshold:
    """The least score of a class that gives the best F1 at an overlap of 0.50, and what it gives there."""

    score: float
    precision: float
    recall: float
    f1: float

    def to_json(self) -> dict[str, float]:
        """The threshold as JSON-able values."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class DetectionTally:
    """Every picture's matches, from which scores of any selection of pictures follow in milliseconds.

    Args:
        classes: Names of the classes.
        pictures: Number of pictures.
        matches: One for each class.
    """

    classes: tuple[str, ...]
    pictures: int
    matches: tuple[ClassMatches, ...]

    @classmethod
    def of(cls, predictions: Predictions, rows: Sequence[Row], classes: Sequence[str]) -> DetectionTally:
        """Matches the boxes of every picture with its objects.

        Raises:
            UserError: A box is no finite number, or an object has a class that is not in ``classes``.
            ValueError: There is not one list of predictions a row.
        """
        return cls(tuple(classes), len(rows), tuple(match_pictures(predictions, rows, classes)))

    def __call__(self, index: Ints) -> float:
        """Average precision (AP50:95) of the pictures ``index``, which may repeat; NaN where they show no object.

        This is what ``metrics.paired_bootstrap_scores`` asks of each of its two models.
        """
        return self.average_precision(self._weights(index))

    def average_precision(self, weights: Floats | None = None, size: str = "all") -> float:
        """Mean over classes, overlaps and recalls of the precision; NaN where there is no object of that size.

        Args:
            weights: How often each picture counts, [pictures]; once where left out.
            size: A key of ``SIZES``.
        """
        return _mean([found for m in self.matches if (found := _precision(m, _SIZE[size], weights)) is not None])

    def scores(self, index: Ints | None = None) -> Scores:
        """The twelve numbers of the COCO evaluation, of all pictures or of those in ``index``.

        ``ap`` is always there, NaN where there is no object; ``ap_small`` and ``ar_large`` are left out where the
        pictures show no object of that size.
        """
        weights = None if index is None else self._weights(index)
        whole = [found for m in self.matches if (found := _precision(m, _SIZE["all"], weights)) is not None]
        out = {"ap": _mean(whole)}
        out["ap50"], out["ap75"] = (_mean([p[at] for p in whole]) for at in (_HALF, _THREE_QUARTERS))
        out |= {f"ap_{size}": self.average_precision(weights, size) for size in SIZES if size != "all"}
        out |= {f"ar{most}": self._recall(weights, "all", most) for most in (1, 10, 100)}
        out |= {f"ar_{size}": self._recall(weights, size, MOST_FOUND) for size in SIZES if size != "all"}
        return {name: value for name, value in out.items() if name == "ap" or np.isfinite(value)}

    def by_class(self) -> list[ClassAverage]:
        """Every class, its objects seen or not."""
        out = []
        for label, m in zip(self.classes, self.matches, strict=True):
            objects = int(m.positives[0].sum())
            found, recall = _precision(m, 0, None), _recall(m, 0, None, MOST_FOUND)
            if found is None or recall is None:
                out.append(ClassAverage(label, objects, None, None, None, None))
                continue
            ap50, ap75 = (float(found[at].mean()) for at in (_HALF, _THREE_QUARTERS))
            out.append(ClassAverage(label, objects, float(found.mean()), ap50, ap75, float(recall.mean())))
        return out

    def best_thresholds(self) -> dict[str, Threshold]:
        """Per class the threshold with the best F1 at an overlap of 0.50; a class of which nothing was found has none.

        It lies halfway between the last box that it lets pass and the first that it does not. Of equally good ones the
        highest is taken. Chosen on rows that are then scored, its precision and recall there flatter the model.
        """
        found = {label: _best(m) for label, m in zip(self.classes, self.matches, strict=True)}
        return {label: best for label, best in found.items() if best is not None}

    def curve(self, label: str | None = None) -> list[tuple[float, float]]:
        """Recall and precision at an overlap of 0.50, at 101 recalls; of one class, or the mean of all that occur.

        The precision is that of COCO: the best at this recall or a higher one. Empty where there is no object.
        """
        wanted = self.matches if label is None else [self.matches[self.classes.index(label)]]
        found = [p[_HALF] for m in wanted if (p := _precision(m, 0, None)) is not None]
        if not found:
            return []
        return list(zip(RECALLS.tolist(), np.mean(found, axis=0).tolist(), strict=True))

    def _weights(self, index: Ints) -> Floats:
        return np.bincount(index, minlength=self.pictures).astype(np.float64)

    def _recall(self, weights: Floats | None, size: str, most: int) -> float:
        return _mean([r for m in self.matches if (r := _recall(m, _SIZE[size], weights, most)) is not None])


def best_thresholds(predictions: Predictions, rows: Sequence[Row], classes: Sequence[str]) -> dict[str, Threshold]:
    """`DetectionTally.best_thresholds` of these predictions."""
    return DetectionTally.of(predictions, rows, classes).best_thresholds()


def confusion_of_boxes(
    predictions: Predictions,
    rows: Sequence[Row],
    classes: Sequence[str],
    thresholds: Mapping[str, float] | float = DEFAULT_THRESHOLD,
) -> Ints:
    """Counts of objects by true class (first axis) and found class: int64 [classes + 1, classes + 1].

    The last column holds the objects that were missed, the last row the boxes that are false: where nothing is. A box
    takes an object of its own class at an overlap of 0.50 if it can; those left over then take objects of other
    classes. Crowds and boxes inside them are left out.

    Args:
        predictions: Boxes found in each picture.
        rows: The pictures' rows.
        classes: Names of the classes.
        thresholds: Least score of a box that counts, for all classes or for each; 0.5 for one that is not named.
    """
    counts = np.zeros((len(classes) + 1, len(classes) + 1), dtype=np.int64)
    for one in _confusions(predictions, rows, classes, thresholds):
        counts += one
    return counts


def picture_f1(
    predictions: Predictions,
    rows: Sequence[Row],
    classes: Sequence[str],
    thresholds: Mapping[str, float] | float = DEFAULT_THRESHOLD,
) -> list[float]:
    """F1 of each picture's boxes at an overlap of 0.50; 1 where there is nothing and nothing was found."""
    out = []
    for counts in _confusions(predictions, rows, classes, thresholds):
        hits, there, found = np.trace(counts), counts[:-1].sum(), counts[:, :-1].sum()
        out.append(float(2 * hits / (there + found)) if there + found else 1.0)
    return out


def passing(
    predictions: Sequence[Mapping[str, Any]], thresholds: Mapping[str, float] | float
) -> list[Mapping[str, Any]]:
    """The boxes of one picture that reach their class's threshold, surest first."""

    def least(label: str) -> float:
        return float(thresholds.get(label, DEFAULT_THRESHOLD) if isinstance(thresholds, Mapping) else thresholds)

    return sorted(
        (one for one in predictions if float(one["score"]) >= least(str(one["label"]))), key=lambda one: -one["score"]
    )


def _mean(parts: Sequence[Floats]) -> float:
    return float(np.mean([part.mean() for part in parts])) if parts else float("nan")


def _precision(m: ClassMatches, size: int, weights: Floats | None) -> Floats | None:
    """Precision at every recall, [IoU thresholds, recalls]; None where there is no object."""
    positives = _positives(m, size, weights)
    if positives == 0:
        return None
    weight = np.ones(m.picture.size) if weights is None else weights[m.picture]
    hits = np.cumsum(m.hit[size] * weight, axis=1)
    seen = np.cumsum(m.counted[size] * weight, axis=1)
    # The smallest number added is the reference's own, for a box that does not count before all others.
    precision = hits / (seen + np.spacing(1))
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    out = np.zeros((IOU_THRESHOLDS.size, RECALLS.size))
    for at, recall in enumerate(hits / positives):
        place = np.searchsorted(recall, RECALLS, side="left")
        reached = int(np.searchsorted(place, recall.size))
        out[at, :reached] = best[at, place[:reached]]
    return out


def _recall(m: ClassMatches, size: int, weights: Floats | None, most: int) -> Floats | None:
    """Recall of at most ``most`` boxes a picture, [IoU thresholds]; None where there is no object."""
    positives = _positives(m, size, weights)
    if positives == 0:
        return None
    weight = (m.rank < most) * (1.0 if weights is None else weights[m.picture])
    return np.asarray(m.hit[size] @ weight / positives, dtype=np.float64)


def _positives(m: ClassMatches, size: int, weights: Floats | None) -> float:
    return float(m.positives[size].sum() if weights is None else m.positives[size] @ weights)


def _best(m: ClassMatches) -> Threshold | None:
    hits, seen = np.cumsum(m.hit[0, _HALF]), np.cumsum(m.counted[0, _HALF])
    if hits.size == 0 or hits[-1] == 0:
        return None
    positives = int(m.positives[0].sum())
    f1 = 2 * hits / (seen + positives)
    # A threshold lets all equally sure boxes pass or none.
    ends = np.flatnonzero(np.append(m.score[1:] != m.score[:-1], True))
    at = int(ends[np.argmax(f1[ends])])
    below = m.score[at + 1] if at + 1 < m.score.size else m.score[at]
    middle = float((m.score[at] + below) / 2)
    score = middle if middle > below else float(m.score[at])
    return Threshold(score, float(hits[at] / seen[at]), float(hits[at] / positives), float(f1[at]))


def _confusions(
    predictions: Predictions, rows: Sequence[Row], classes: Sequence[str], thresholds: Mapping[str, float] | float
) -> Iterator[Ints]:
    index = {name: number for number, name in enumerate(classes)}
    for found, row in zip(predictions, rows, strict=True):
        yield _confusion(found_in(passing(found, thresholds), row, index), len(classes))


def _confusion(by_class: Mapping[int, Found], classes: int) -> Ints:
    """The counts of one picture."""
    counts = np.zeros((classes + 1, classes + 1), dtype=np.int64)
    half = IOU_THRESHOLDS[:1]
    boxes, objects = [], []
    for label, one in by_class.items():
        (taken,) = match(overlaps(one.boxes, one.objects, one.crowd), one.crowd[None], one.crowd, half)[0]
        hit = taken[taken >= 0]
        counts[label, label] += int((~one.crowd[hit]).sum())
        open_object = ~one.crowd
        open_object[hit] = False
        boxes += [(s, label, box) for s, box, t in zip(one.scores, one.boxes, taken, strict=True) if t < 0]
        objects += [(label, box) for box in one.objects[open_object]]
    boxes.sort(key=lambda entry: -entry[0])
    places = np.array([box for _, _, box in boxes]).reshape(-1, 4)
    things = np.array([box for _, box in objects]).reshape(-1, 4)
    nothing = np.zeros(len(objects), dtype=bool)
    (taken,) = match(overlaps(places, things, nothing), nothing[None], nothing, half)[0]
    for (_, label, _), one_taken in zip(boxes, taken, strict=True):
        counts[objects[one_taken][0] if one_taken >= 0 else classes, label] += 1
    for number, (label, _) in enumerate(objects):
        counts[label, classes] += number not in taken
    return counts
