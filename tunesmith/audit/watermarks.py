"""Marks that lie at the same place in many pictures: logos, stamps of dates, watermarks. It knows no label.

A mark is the same while what lies under it changes. So the sign of fine detail, pixel by pixel, is averaged over many
pictures: of scenes it averages out, of a mark it remains (after Dekel et al. 2017, "On the effectiveness of visible
watermarks", who take the median of gradients). Pictures are aligned as a whole, stretched to one size, and by each of
their four corners, pixel by pixel.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tunesmith.audit.found import Found, Mark, share_level
from tunesmith.audit.picture_table import PictureSide
from tunesmith.data.ahead import ahead
from tunesmith.pictures.files import PictureFault, read_picture

if TYPE_CHECKING:
    from tunesmith.audit.data import AuditData
    from tunesmith.audit.found import SideName

Signs = NDArray[np.int8]

WHOLE, CORNER, CELL = 192, 128, 8
LEAST_PICTURES, MOST_SAMPLED = 30, 400
LEAST_DETAIL = 5.0
"""Grey levels that a pixel differs by from its surroundings, below which it has no sign."""
LEAST_MEAN, DEVIATIONS = 0.12, 3.5
CELL_PIXELS, LEAST_MARKED = 12, 60
LEAST_MARKED_PICTURES = 3
MOST_AREA = 0.25
AGREES, SURE = 0.5, 0.65
VIEWS = ("whole", "upper left", "upper right", "lower left", "lower right")


@dataclass(frozen=True)
class Template:
    """A mark.

    Args:
        view: One of `VIEWS`.
        places: Flat places in it.
        signs: The sign of detail there, int8.
        box: Left, top, right, bottom as shares of the view.
    """

    view: str
    places: NDArray[np.int64]
    signs: Signs
    box: tuple[float, float, float, float]

    @property
    def key(self) -> str:
        """What names it in `Kept`."""
        content = self.view.encode() + self.places.tobytes() + self.signs.tobytes()
        return f"watermark-1-{hashlib.blake2b(content, digest_size=8).hexdigest()}"

    def told(self) -> str:
        """Where it lies, for a person."""
        if self.view != "whole":
            return f"in the {self.view} corner"
        x, y = (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2
        across = "left" if x < 0.35 else "right" if x > 0.65 else "middle"
        down = "upper" if y < 0.35 else "lower" if y > 0.65 else ""
        return "in the middle" if (across, down) == ("middle", "") else f"at the {down} {across}".replace("  ", " ")

    def agreement(self, signs: dict[str, Signs]) -> float:
        """How much of it a picture has, -1 to 1."""
        if self.view not in signs:
            return 0.0
        return float((signs[self.view].reshape(-1)[self.places] * self.signs).mean())


def signs_of(path: Path) -> dict[str, Signs]:
    """The sign of fine detail in each view of a picture: int8 [192, 192] and [128, 128]; none of a damaged one."""
    try:
        pixels = read_picture(path)
    except PictureFault:
        return {}
    grey = Image.fromarray(pixels).convert("L")
    found = {"whole": _signs(np.asarray(grey.resize((WHOLE, WHOLE), Image.Resampling.BOX)))}
    width, height = grey.size
    if min(width, height) >= 2 * CORNER:
        for name in VIEWS[1:]:
            left = 0 if name.endswith("left") else width - CORNER
            top = 0 if name.startswith("upper") else height - CORNER
            found[name] = _signs(np.asarray(grey.crop((left, top, left + CORNER, top + CORNER))))
    return found


def _signs(grey: NDArray[np.uint8]) -> Signs:
    detail = grey.astype(np.float32) - _blurred(grey.astype(np.float32))
    return ((detail > LEAST_DETAIL).astype(np.int8) - (detail < -LEAST_DETAIL)).astype(np.int8)


def _blurred(values: NDArray[np.float32], reach: int = 4) -> NDArray[np.float32]:
    """The mean over a square around each pixel."""
    size = 2 * reach + 1
    for axis in (0, 1):
        widths = [(reach + 1, reach) if at == axis else (0, 0) for at in (0, 1)]
        sums = np.cumsum(np.pad(values, widths, mode="edge"), axis=axis, dtype=np.float64)
        count = values.shape[axis]
        upper, lower = sums.take(range(size, size + count), axis), sums.take(range(count), axis)
        values = ((upper - lower) / size).astype(np.float32)
    return values


def find_templates(sample: Sequence[dict[str, Signs]]) -> list[Template]:
    """Marks in a sample of pictures, the most sure first; none where pictures are alike all over."""
    found: list[tuple[float, Template]] = []
    for view in VIEWS:
        seen = [signs[view] for signs in sample if view in signs]
        if len(seen) < LEAST_PICTURES:
            continue
        mean, filled = np.zeros(seen[0].shape), np.zeros(seen[0].shape)
        for one in seen:
            mean += one / len(seen)
            filled += (one != 0) / len(seen)
        marked = np.abs(mean) > np.maximum(LEAST_MEAN, DEVIATIONS * np.sqrt(filled / len(seen)))
        for part in _parts(marked):
            template = _template(view, mean, marked & part)
            if template is None:
                continue
            template = _refined(template, seen)
            agreements = np.array([template.agreement({view: one}) for one in seen])
            has = agreements > AGREES
            if has.sum() >= LEAST_MARKED_PICTURES and float(np.median(agreements[has])) >= SURE:
                found.append((float(has.mean()) * len(template.places), template))
    found.sort(key=lambda item: -item[0])
    return [template for _, template in found]


def _refined(template: Template, seen: Sequence[Signs]) -> Template:
    """The mark as the pictures that have it agree on it: without pixels that only happen to be marked."""
    signs = np.stack([one.reshape(-1)[template.places] for one in seen])
    has = (signs * template.signs).mean(axis=1) > AGREES
    if has.sum() < LEAST_MARKED_PICTURES:
        return template
    sure = np.abs(signs[has].mean(axis=0)) >= AGREES
    if sure.sum() < LEAST_MARKED:
        return template
    return Template(template.view, template.places[sure], template.signs[sure], template.box)


def _template(view: str, mean: NDArray[np.float64], marked: NDArray[np.bool_]) -> Template | None:
    if marked.sum() < LEAST_MARKED:
        return None
    rows, columns = np.nonzero(marked)
    height, width = marked.shape
    box = columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height
    if (box[2] - box[0]) * (box[3] - box[1]) > MOST_AREA * (4 if view != "whole" else 1):
        return None
    places = np.flatnonzero(marked)
    signs = np.sign(mean.reshape(-1)[places]).astype(np.int8)
    return Template(view, places, signs, tuple(float(side) for side in box))  # type: ignore[arg-type]


def _parts(marked: NDArray[np.bool_]) -> Iterator[NDArray[np.bool_]]:
    """Groups of neighbouring fields with enough marked pixels; none where half of all fields have them."""
    count = marked.shape[0] // CELL
    fields = marked.reshape(count, CELL, count, CELL).sum(axis=(1, 3)) >= CELL_PIXELS
    if fields.mean() > 0.5:
        return
    left = fields.copy()
    for start in np.argwhere(fields):
        if not left[tuple(start)]:
            continue
        part = np.zeros_like(fields)
        waiting = deque([(int(start[0]), int(start[1]))])
        left[tuple(start)] = False
        while waiting:
            row, column = waiting.popleft()
            part[row, column] = True
            for r in range(max(0, row - 2), min(count, row + 3)):
                for c in range(max(0, column - 2), min(count, column + 3)):
                    if left[r, c]:
                        left[r, c] = False
                        waiting.append((r, c))
        yield np.kron(part, np.ones((CELL, CELL), bool))


def watermark_findings(data: AuditData, table: dict[SideName, PictureSide]) -> Iterator[Found]:
    """Marks in the training pictures, and every picture of both sides that has one."""
    train = table["train"]
    readable = np.flatnonzero(train.readable)
    if len(readable) < LEAST_PICTURES:
        return
    chosen = readable[np.unique(np.linspace(0, len(readable) - 1, MOST_SAMPLED).astype(int))]
    sample = []
    for done, signs in enumerate(ahead(signs_of, [_path(train, at) for at in chosen]), 1):
        sample.append(signs)
        data.progress("looking for watermarks", done, len(chosen))
    templates = find_templates(sample)
    del sample
    if not templates:
        return
    # One mark may be found in several views, whole and by its corner: the most sure one stands for it.
    template = templates[0]
    for side, pictures in table.items():
        yield from _marked(data, template, side, pictures)


def _path(pictures: PictureSide, at: int) -> Path:
    return pictures.paths[at] or Path()


def _marked(data: AuditData, template: Template, side: SideName, pictures: PictureSide) -> Iterator[Found]:
    places = np.flatnonzero(pictures.readable)
    keys = [pictures.contents[at] for at in places]

    def measure(positions: Sequence[int]) -> Iterator[Any]:
        paths = [_path(pictures, places[at]) for at in positions]
        return ahead(lambda path: round(template.agreement(signs_of(path)), 3), paths)

    def tell(done: int, total: int) -> None:
        data.progress("looking at every picture for the watermark", done, total)

    agreement = np.array(data.kept.measured(template.key, keys, measure, tell), dtype=np.float64)
    found = places[agreement > AGREES]
    if not len(found):
        return
    scores = dict(zip(places.tolist(), agreement.tolist(), strict=True))
    order = sorted(found.tolist(), key=lambda at: -scores[at])
    share = len(found) / len(pictures)
    yield Found(
        "watermark",
        share_level(share, 0.02),
        f"{len(found):,} of {len(pictures):,} pictures ({share:.1%}) have the same mark {template.told()}: a "
        f"watermark, a logo or a date{_of_class(pictures, found)}",
        data.where(side),
        "take pictures without it, or cut it away; a model that makes pictures learns to draw it",
        [Mark(pictures.ids[at], side, round(min(1.0, scores[at]), 3), f"the mark {template.told()}") for at in order],
        share,
    )


def _of_class(pictures: PictureSide, found: NDArray[np.int64]) -> str:
    """Words where a class has the mark far more often than the others."""
    marked = np.zeros(len(pictures), bool)
    marked[found] = True
    labels = np.array([label or "" for label in pictures.labels], dtype=str)
    worst, words = 0.0, ""
    for name in np.unique(labels[labels != ""])[:1000]:
        ours = labels == name
        if ours.sum() >= 5 and not ours.all():
            apart = float(marked[ours].mean() - marked[~ours].mean())
            if apart > max(worst, 0.3):
                worst = apart
                words = (
                    f"; {marked[ours].mean():.0%} of class {str(name)!r} and {marked[~ours].mean():.0%} of the others "
                    "have it: a model would tell the class by it"
                )
    return words
