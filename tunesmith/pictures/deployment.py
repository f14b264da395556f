"""A trained picture model as one ONNX file, and the proof that it predicts what the model predicts.

Inside the file are scaling, normalising, the order of channels, and decoding; the class table and what stays outside
(resizing, the choice among candidates) are told in its metadata. It knows no run and no architecture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from tunesmith.model.deployable import OUTPUTS, Deployable, Pixels, about
from tunesmith.model.onnx_file import OPSET, TOLERANCES, Difference, export_deployable, open_onnx, raise_differences
from tunesmith.pictures.augment import GREY, Placement
from tunesmith.pictures.augment.placement import CROP_SHARE
from tunesmith.pictures.preprocess import Preprocessing
from tunesmith.pictures.segmentation_scores import unpack_mask
from tunesmith.types import Row

if TYPE_CHECKING:
    from tunesmith.pictures.task import PictureTask

AT_ONCE = 4
SHARE_OF_PIXELS = 1e-4
"""Of a whole mask, that may have another class: where two classes are equally likely, rounding decides."""

Arrays = Mapping[str, np.ndarray]


def export_pictures(task: PictureTask, model: nn.Module, rows: Sequence[Row], file: Path) -> dict[str, Any]:
    """Write the file, run it on pictures, and compare its predictions with the task's own.

    Args:
        task: With its facts.
        model: On the CPU.
        rows: Pictures that the model did not learn from.
        file: The ONNX file; it is gone again where it differs.

    Returns:
        What the file says of itself, and the largest differences.

    Raises:
        UserError: It can't be written, a package is missing, or it differs: with picture, output and difference.
    """
    wrapped = deployable(task, model.eval())
    told = description(task)
    export_deployable(wrapped, file, about(wrapped, task.class_names(), told))
    try:
        found = compare(task, model, rows, file)
        raise_differences(found, file)
    except BaseException:
        file.unlink(missing_ok=True)
        raise
    differences = [
        {"output": d.name, "largest": d.largest, "tolerance": d.tolerance, "where": d.where, "holds": d.holds}
        for d in found
    ]
    measured = {"pictures": len(rows), "differences": differences}
    return {**told, "opset": OPSET, "bytes": file.stat().st_size, "verified": measured}


def deployable(task: PictureTask, model: nn.Module) -> Deployable:
    """The model with everything around it that a graph can hold."""
    names = OUTPUTS[task.kind]

    def answer(inner: Any, planes: Tensor) -> tuple[Tensor, ...]:
        outputs = task.deployed(inner, planes)
        return tuple(outputs[name] for name in names)

    return Deployable(model, task.kind, pixels_of(task.preprocessing), answer)


def pixels_of(wanted: Preprocessing) -> Pixels:
    """The part of the preprocessing that is inside."""
    height, width = wanted.size
    return Pixels(height, width, wanted.mean, wanted.std, wanted.scale, "bgr" if wanted.order == "BGR" else "rgb")


def description(task: PictureTask) -> dict[str, Any]:
    """What whoever uses the file must know."""
    wanted = task.preprocessing
    height, width = wanted.size
    size = f"height {height}, width {width}"
    shorter = wanted.shorter or round(max(wanted.size) / CROP_SHARE)
    texts = {
        "stretch": f"resize to {size}, giving up proportions",
        "letterbox": f"scale by one factor so that it fits into {size}; place it at the upper left; "
        f"fill the rest with {GREY}",
        "resize-crop": f"scale by one factor so that its shorter side has {shorter} pixels (more where the input is "
        f"longer); cut {size} out of the centre",
    }
    resize: dict[str, Any] = {
        "fit": wanted.fit,
        "shorter": shorter if wanted.fit == "resize-crop" else None,
        "filter": wanted.filter,
        "fill": GREY,
    }
    text = f"turn the picture as its EXIF says, as RGB; {texts[wanted.fit]} ({wanted.filter}, antialiased)"
    return {
        "task": task.name,
        "classes": task.facts.values.get("classes") or task.table(list(task.class_names())),
        "input_size": [height, width],
        "resize": {**resize, "text": text},
        "postprocessing": task.postprocessing(),
    }


@dataclass
class _Worst:
    """The largest difference of each output, with its place."""

    found: dict[str, Difference] = field(default_factory=dict)

    def see(self, name: str, apart: float, tolerance: float, where: str) -> None:
        """Take a difference; what is no number is infinitely far."""
        apart = float(apart) if np.isfinite(apart) else float("inf")
        if name not in self.found or apart > self.found[name].largest:
            self.found[name] = Difference(name, apart, tolerance, where)


@dataclass(frozen=True)
class _Pictures:
    """Some pictures with what was said of them: by the model, and by the file."""

    rows: Sequence[Row]
    placements: Sequence[Placement]
    said: Sequence[Any]
    """The task's own predictions."""
    read: Sequence[Any]
    """The predictions from what the file puts out."""
    own: Arrays
    """What the model puts out where the file does."""
    file: Arrays

    def where(self, index: int) -> str:
        """A picture's name."""
        return f"picture {self.rows[index]['image']}"


def compare(task: PictureTask, model: nn.Module, rows: Sequence[Row], file: Path) -> list[Difference]:
    """The largest differences between a task's predictions and a file's."""
    run, worst = open_onnx(file), _Worst()
    for start in range(0, len(rows), AT_ONCE):
        _COMPARED[task.kind](task, _pictures(task, model, rows[start : start + AT_ONCE], run), worst)
    return list(worst.found.values())


def _pictures(
    task: PictureTask, model: nn.Module, rows: Sequence[Row], run: Callable[[Arrays], dict[str, np.ndarray]]
) -> _Pictures:
    fitted = [task.fitted(row) for row in rows]
    placements = [placement for _, placement in fitted]
    file = run({"pictures": np.stack([sample.image for sample, _ in fitted])})
    batch = task.collate([task.example(row, *one) for row, one in zip(rows, fitted, strict=True)])
    with torch.inference_mode():
        said = task.predict(model, batch)
        own = {name: values.cpu().numpy() for name, values in task.deployed(model, task.numbers(batch)).items()}
    return _Pictures(rows, placements, said, task.read_deployed(file, placements), own, file)


def _compare_labels(task: PictureTask, seen: _Pictures, worst: _Worst) -> None:
    tolerance = TOLERANCES["scores"]
    for i, (mine, theirs) in enumerate(zip(seen.said, seen.read, strict=True)):
        sure = mine["probabilities"]
        for name, probability in sure.items():
            apart = abs(probability - theirs["probabilities"][name])
            worst.see("scores", apart, tolerance, f"{seen.where(i)}, class {name}")
        # Where two are equally likely, either may win.
        other = mine["label"] != theirs["label"] and sure[mine["label"]] - sure[theirs["label"]] > 2 * tolerance
        worst.see("label", float(other), 0.0, f"{seen.where(i)}, {theirs['label']} for {mine['label']}")


def _compare_boxes(task: PictureTask, seen: _Pictures, worst: _Worst) -> None:
    """Each detection of either side must be among the candidates of the other, with its class.

    The best candidates of both sides lie as near as they may; which of several that overlap is kept can change where
    they are equally sure, and is no difference.
    """
    names = list(task.class_names())
    for i, placement in enumerate(seen.placements):
        own, file = ((placement.to_original(s["boxes"][i]), s["scores"][i]) for s in (seen.own, seen.file))
        for said, these, others in ((seen.said[i], own, file), (seen.read[i], file, own)):
            for one in (*said, _best(*these, names)):
                by, moved = _nearest(one, others[0], others[1][:, names.index(one["label"])])
                where = f"{seen.where(i)}, {one['label']} {one['score']:.3f}"
                worst.see("scores", by, TOLERANCES["scores"], where)
                worst.see("boxes", moved, TOLERANCES["boxes"], where)
        # What is no detection on either side has no box to compare; its scores, in order, must be alike.
        apart = np.abs(np.sort(own[1], axis=0) - np.sort(file[1], axis=0))
        worst.see("scores", float(apart.max()), TOLERANCES["scores"], seen.where(i))


def _best(boxes: np.ndarray, scores: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """The likeliest candidate, so that a box is compared where nothing is detected, too."""
    at, label = np.unravel_index(int(np.nan_to_num(scores, nan=2.0).argmax()), scores.shape)
    x1, y1, x2, y2 = map(float, boxes[at])
    return {"box": [x1, y1, x2 - x1, y2 - y1], "score": float(scores[at, label]), "label": names[int(label)]}


def _nearest(one: Mapping[str, Any], boxes: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """How far the nearest candidate is, in score and in pixels."""
    x, y, width, height = one["box"]
    by = np.abs(scores - one["score"])
    moved = np.abs(boxes - np.array([x, y, x + width, y + height])).max(-1)
    best = int(np.maximum(by / TOLERANCES["scores"], moved / TOLERANCES["boxes"]).argmin())
    return float(by[best]), float(moved[best])


def _compare_masks(task: PictureTask, seen: _Pictures, worst: _Worst) -> None:
    tolerance = TOLERANCES["probabilities"]
    apart = np.abs(seen.own["probabilities"] - seen.file["probabilities"])
    # Where the winners are equally sure, which one wins is rounding.
    other = (seen.own["classes"] != seen.file["classes"]) & ~(apart <= tolerance)
    for i in range(len(seen.rows)):
        at = f"{seen.where(i)}, "
        worst.see("probabilities", float(apart[i].max()), tolerance, at + _pixel(apart[i]))
        worst.see("classes", float(other[i].mean()), TOLERANCES["classes"], at + _pixel(other[i]))
        mine, theirs = unpack_mask(seen.said[i]), unpack_mask(seen.read[i])
        share = 1.0 if mine.shape != theirs.shape else float((mine != theirs).mean())
        worst.see("mask", share, SHARE_OF_PIXELS, seen.where(i))


def _pixel(values: np.ndarray) -> str:
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    return f"row {row}, column {column}"


_COMPARED: dict[str, Callable[[PictureTask, _Pictures, _Worst], None]] = {
    "label": _compare_labels,
    "boxes": _compare_boxes,
    "mask": _compare_masks,
}
