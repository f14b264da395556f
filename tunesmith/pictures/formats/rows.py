"""Rows of other readers (CSV, JSONL, data sets), in the columns of picture tasks. It opens no folder of labels.

A picture may be named by its path, or stand in the row as bytes or a Pillow picture; then it is written out once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tunesmith.data.digest import plain, plain_columns
from tunesmith.data.opened import Misfit
from tunesmith.pictures.class_masks import MaskValues, check_size, mask_areas, read_mask_values
from tunesmith.pictures.classes import PictureClasses, declared
from tunesmith.pictures.files import (
    MOST_PIXELS,
    Look,
    PictureFault,
    find_picture,
    is_picture_name,
    look_at_picture,
)
from tunesmith.pictures.formats.listing import LINK_OUT, leads_out
from tunesmith.pictures.formats.objects import ObjectChecker, frame_of, look_normalised, turn_objects
from tunesmith.pictures.formats.opened import Kind
from tunesmith.pictures.kept import PictureStore
from tunesmith.pictures.regions import RegionFault, box_of, points_of, runs_of

IMAGE_COLUMNS = (
    *("image", "file_name", "filename", "path", "file", "image_path", "filepath", "file_path", "img", "picture"),
    *("image_file", "image_name", "image_file_name"),
)
LABEL_COLUMNS = ("label", "class", "category", "class_name", "label_name", "labels", "target", "fine_label")
MASK_COLUMNS = ("mask", "mask_path", "mask_file_name", "annotation", "segmentation_mask", "mask_file", "label")
OBJECT_COLUMNS = ("objects", "annotations", "boxes", "bboxes", "bbox", "instances")
_BOX_NAMES = ("box", "bbox", "bndbox")
_LABEL_NAMES = (
    "label",
    "category",
    "class",
    "name",
    "category_name",
    "categories",
    "labels",
    "class_name",
    "category_id",
)
BoxForm = Literal["xywh", "xyxy", "cxcywh"]
_FORMS = ("xywh", "xyxy", "cxcywh")
_ONE_BOX_A_ROW = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("x1", "y1", "x2", "y2"),
    ("x", "y", "width", "height"),
)


class RowReader:
    """Turns raw rows into those of a picture task, and counts what it met.

    Args:
        kind: What rows hold: a label, boxes or a mask.
        folders: Folders that paths in rows start from, tried in turn.
        answered: Whether rows must hold what is to be learned.
        box_form: What a plain list of four numbers is.
        names: Names of the classes by number, where the recipe gives them.
        store: Takes pictures that stand inside rows.
        most_pixels: The largest picture that is read.
    """

    def __init__(
        self,
        kind: Kind,
        folders: Sequence[Path],
        *,
        answered: bool = True,
        box_form: BoxForm = "xywh",
        names: Sequence[str] = (),
        store: PictureStore | None = None,
        most_pixels: int = MOST_PIXELS,
    ) -> None:
        self.classes = declared([(name, at) for at, name in enumerate(names)], "the recipe") if names else None
        self._told = False
        self.kind, self.folders, self.answered, self.box_form = kind, list(folders), answered, box_form
        self.store, self.most_pixels = store or PictureStore(), most_pixels
        self.checker = ObjectChecker()
        self.columns: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()

    def row(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """The row in a task's columns; other columns stay.

        Raises:
            Misfit: It lacks something, or its objects are at fault.
            PictureFault: Its picture is.
        """
        column, value = _first(raw, IMAGE_COLUMNS)
        if column is None:
            raise Misfit(
                f"names no picture: it has the columns {', '.join(map(str, raw)) or 'none'}; image is expected"
            )
        name, path = self._picture(value)
        self.columns[column] += 1
        look = look_at_picture(path, most_pixels=self.most_pixels)
        used = {column}
        made: dict[str, Any] = {"image": name}
        if self.kind == "label":
            if self.answered:
                used |= self._label(raw, made)
        else:
            made.update(width=look.width, height=look.height)
            if self.answered:
                used |= self._mask(raw, made, look) if self.kind == "mask" else self._boxes(raw, made, look)
        return {**plain_columns(raw, used, self.dropped), **made}

    def notes(self) -> list[str]:
        """What a person should know of the rows taken so far, one sentence each."""
        used = ", ".join(f"{column} ({count:,})" for column, count in self.columns.most_common())
        said = [f"pictures are named by column {used}"] if used else []
        if self.dropped:
            said.append(f"columns that hold bytes, pictures or arrays were left out: {', '.join(self.dropped)}")
        return [*said, *self.checker.notes()]

    def _picture(self, value: Any) -> tuple[str, Path]:
        """A picture's name for rows, and its file.

        Raises:
            PictureFault: It is not there, or a link that leads out.
        """
        kept = self.store.take(value)
        if kept is not None:
            return kept, self.store.folder / kept
        name = value.get("path") if isinstance(value, Mapping) else value
        if not isinstance(name, str) or not name.strip():
            raise PictureFault(f"names no picture: {str(value)[:60]!r}")
        name = name.strip()
        path = find_picture(name, self.folders)
        if path is None and "\\" in name:
            name = name.replace("\\", "/")
            path = find_picture(name, self.folders)
        if path is None:
            link = next((folder / name for folder in self.folders if (folder / name).is_symlink()), None)
            raise PictureFault(f"names the picture {name}, which {'is a broken link' if link else 'is not there'}")
        for folder in self.folders:
            if path.is_relative_to(folder) and (target := leads_out(path, folder)):
                raise PictureFault(f"names the picture {name}, which " + LINK_OUT.format(target=target))
        return name, path

    def _label(self, raw: Mapping[str, Any], made: dict[str, Any]) -> set[str]:
        column, value = _first(raw, LABEL_COLUMNS)
        if column is None:
            others = ", ".join(str(name) for name in raw if name not in IMAGE_COLUMNS)
            raise Misfit(f"has no label: beside the picture it has {others or 'nothing'}; label is expected")
        label, whole = plain(value)
        if not whole or isinstance(label, (list, dict)):
            raise Misfit(f"has a {type(value).__name__} as its label; one class a picture is expected")
        made["label"] = label
        return {column}

    def _mask(self, raw: Mapping[str, Any], made: dict[str, Any], look: Look) -> set[str]:
        column, value = _first(raw, MASK_COLUMNS)
        if column is None or (column == "label" and isinstance(value, str) and not is_picture_name(value)):
            return self._boxes(raw, made, look)
        name, path = self._picture(value)
        if self.classes is None:
            raise Misfit(f"has a mask ({name}), and nothing says what its values mean: name them in options.labels")
        try:
            found = read_mask_values(path, most_pixels=self.most_pixels)
            check_size(found, (look.height, look.width))
            self._see_two_values(found)
            made["mask"], made["areas"] = name, mask_areas(found, self.classes)[0]
        except PictureFault as fault:
            raise Misfit(f"has a mask ({name}) that {fault.reason}") from fault
        return {column}

    def _see_two_values(self, found: MaskValues) -> None:
        """Two classes may stand as 0 and 255 instead of 0 and 1; the first mask that has both sides tells."""
        if self.classes is None or self.classes.source_ids != (0, 1) or self._told:
            return
        values = set(found.counts())
        self._told = bool(values & {1, 255})
        if 255 in values and 1 not in values:
            self.classes = PictureClasses(self.classes.names, (0, 255))

    def _boxes(self, raw: Mapping[str, Any], made: dict[str, Any], look: Look) -> set[str]:
        column, value = _first(raw, OBJECT_COLUMNS)
        if column is None:
            sides = next((names for names in _ONE_BOX_A_ROW if all(name in raw for name in names)), None)
            if sides:
                raise Misfit(
                    f"is one box of a picture ({', '.join(sides)}); a row is a picture with all of its boxes: "
                    "give COCO JSON, or JSONL with image and objects"
                )
            wanted = "mask, or objects with segmentation" if self.kind == "mask" else "objects"
            raise Misfit(f"has no {wanted}: it has the columns {', '.join(map(str, raw))}")
        value = _from_text(value, column) if isinstance(value, str) else _listed(value)
        used = {column}
        if column in ("boxes", "bboxes", "bbox") and isinstance(value, list):
            beside, labels = _first(raw, ("labels", "label", "categories", "category", "classes", "class"))
            labels = _listed(labels)
            if not (value and isinstance(value[0], Mapping)):
                labels = _from_text(labels, str(beside)) if isinstance(labels, str) and labels[:1] == "[" else labels
                value = {"bbox": value, "label": labels if isinstance(labels, list) else [labels] * len(value)}
                used |= {beside} if beside else set()
        entries = _entries(value, column)
        declared = _declared_size(raw)
        objects = [self._object(entry, number) for number, entry in enumerate(entries, 1)]
        if look_normalised(item["corners"] for item in objects) and max(look.width, look.height) > 4:
            raise Misfit("has boxes between 0 and 1, shares of the picture where pixels are expected")
        if frame_of(look, declared, self.checker.counts, where="has width and height"):
            turn_objects(objects, look)
        try:
            made["objects"] = self.checker.settle(objects, (look.width, look.height))
        except Misfit as fault:
            hint = ""
            if self.box_form == "xywh" and _fit_as_corners(entries, look):
                hint = " (as corners x1, y1, x2, y2 they would fit: is options.boxes: xyxy meant?)"
            raise Misfit(f"{fault}{hint}") from fault
        return used

    def _object(self, entry: Mapping[str, Any], number: int) -> dict[str, Any]:
        place = f"object {number}"
        _, label = _first(entry, _LABEL_NAMES)
        if isinstance(label, bool) or not isinstance(label, (str, int)) or label == "":
            raise Misfit(f"({place}) has no label: it has {', '.join(map(str, entry))}")
        if self.classes is not None and isinstance(label, int):
            at = self.classes.of_source(label)
            if at is None:
                raise Misfit(f"({place}) has the class id {label}; the recipe names 0 to {len(self.classes) - 1}")
            entry, label = {"source_id": label, **entry}, self.classes.names[at]
        found: dict[str, Any] = {
            "place": place,
            "label": str(label),
            "source_id": entry.get("source_id", label if isinstance(label, int) else None),
            "crowd": bool(entry.get("crowd", entry.get("iscrowd", False))),
        }
        segmentation = entry.get("segmentation")
        try:
            if self.kind == "mask":
                _check_region(segmentation)
                found["segmentation"] = segmentation
            corners = _corners(entry, self.box_form)
            if corners is None:
                around = box_of(segmentation)
                if around is None:
                    raise RegionFault("has a segmentation without a pixel")
                x, y, w, h = around
                corners = [x, y, x + w, y + h]
        except RegionFault as fault:
            said = "has no box" if segmentation is None and self.kind == "boxes" else str(fault)
            raise Misfit(f"({place}) {said}") from fault
        found["corners"] = corners
        return found


def _first(raw: Mapping[str, Any], names: Sequence[str]) -> tuple[str | None, Any]:
    """The first of several columns that a row has, in any case, and its value."""
    for name in names:
        if raw.get(name) is not None:
            return name, raw[name]
    lower = {str(name).lower(): name for name in raw if raw[name] is not None}
    found = next((lower[name] for name in names if name in lower), None)
    return (found, raw[found]) if found is not None else (None, None)


def _listed(value: Any) -> Any:
    """Arrays as lists, at any depth that rows have."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return {name: _listed(item) for name, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, (list, tuple)) else value


def _from_text(text: str, column: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Misfit(f"has a text in {column} that is no JSON ({error})") from error


def _entries(value: Any, column: str) -> list[Mapping[str, Any]]:
    """Objects one by one, from a list of mappings or, as data sets have it, a mapping of lists."""
    if isinstance(value, Mapping):
        lists = {name: items for name, items in value.items() if isinstance(items, (list, tuple))}
        lengths = {len(items) for items in lists.values()}
        if len(lengths) > 1:
            told = ", ".join(f"{name} {len(items)}" for name, items in lists.items())
            raise Misfit(f"has lists of different lengths in {column}: {told}")
        return [{name: items[at] for name, items in lists.items()} for at in range(lengths.pop() if lengths else 0)]
    if isinstance(value, (list, tuple)) and all(isinstance(entry, Mapping) for entry in value):
        return list(value)
    raise Misfit(f"has something in {column} that is no list of objects")


def _corners(entry: Mapping[str, Any], form: BoxForm) -> list[float] | None:
    """An object's box as x1, y1, x2, y2; None where it has none.

    Raises:
        Misfit: It is no box.
    """
    _, box = _first(entry, _BOX_NAMES)
    if isinstance(box, Mapping):
        entry, box = box, None
    if box is None:
        for names in _ONE_BOX_A_ROW:
            if all(isinstance(entry.get(name), (int, float)) for name in names):
                values = [float(entry[name]) for name in names]
                return _to_corners(values, "xywh" if names[0] == "x" else "xyxy")
        return None
    sides = box if isinstance(box, (list, tuple)) else ()
    values = [float(side) for side in sides if isinstance(side, (int, float)) and not isinstance(side, bool)]
    if len(values) != 4 or len(sides) != 4:
        raise Misfit(f"has a box that is not four numbers: {box!r}")
    return _to_corners(values, form)


def _to_corners(values: Sequence[float], form: BoxForm) -> list[float]:
    x, y, w, h = values
    if form == "xyxy":
        return [x, y, w, h]
    return [x, y, x + w, y + h] if form == "xywh" else [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def _fit_as_corners(entries: Sequence[Mapping[str, Any]], look: Look) -> bool:
    for entry in entries:
        corners = _corners(entry, "xyxy")
        if corners is None:
            return False
        x1, y1, x2, y2 = corners
        if not (0 <= x1 < x2 <= look.width + 1 and 0 <= y1 < y2 <= look.height + 1):
            return False
    return True


def _check_region(segmentation: Any) -> None:
    if isinstance(segmentation, Mapping):
        runs_of(segmentation)
    elif isinstance(segmentation, list) and segmentation:
        flat = all(isinstance(value, (int, float)) for value in segmentation)
        for polygon in [segmentation] if flat else segmentation:
            points_of(polygon)
    else:
        raise RegionFault("has no segmentation; a mask needs polygons or run lengths")


def _declared_size(raw: Mapping[str, Any]) -> tuple[float, float] | None:
    """Width and height that a row says its picture has; they may be texts, as in CSV."""
    try:
        width, height = float(raw.get("width") or 0), float(raw.get("height") or 0)
    except (TypeError, ValueError):
        return None
    return (width, height) if width > 0 and height > 0 else None
