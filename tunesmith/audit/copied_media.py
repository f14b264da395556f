"""Mended copies of pictures and recordings with what is known of them: files are copied, labels written anew.

It knows layouts of files and no task. Boxes are x, y, width and height in pixels of the picture as a person sees it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from tunesmith.audit.copied import CopyJob, Misfit, Placed
from tunesmith.audit.mended import DERIVED

_KEPT = ("content", "start", "end", "height", "width")


class _Files:
    """Copies files of rows into a folder, each once and under a name of its own."""

    def __init__(self, job: CopyJob, column: str, folder: Path) -> None:
        self.job, self.column, self.folder = job, column, folder
        self._names: dict[Path, str] = {}
        self._taken: set[str] = set()

    def take(self, row: Mapping[str, Any], name: str | None = None) -> str:
        """The name, below the folder, of a row's file.

        Args:
            row: With the column.
            name: The name it should have; by default its own.

        Raises:
            Misfit: The file is gone, or its name is taken where it must be this one.
        """
        source = self.source(row)
        if source in self._names and name is None:
            return self._names[source]
        free = name or self._own_name(str(row[self.column]), source)
        if free in self._taken:
            raise Misfit(f"two files would be called {free}")
        self._taken.add(free)
        self._names[source] = free
        target = self.folder / free
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        return free

    def source(self, row: Mapping[str, Any]) -> Path:
        """Where a row's file lies."""
        folders = self.job.data.task.folders
        if self.column == "audio":
            from tunesmith.speech.audio import place_of

            found = place_of(row, folders)
        else:
            from tunesmith.pictures.files import folder_of

            folder = folder_of(row, folders)
            found = None if folder is None else folder / str(row[self.column])
        if found is None or not found.is_file():
            raise Misfit(f"{row[self.column]} is not there any more")
        return found

    def _own_name(self, name: str, source: Path) -> str:
        from tunesmith.pictures.formats.listing import IMAGE_FOLDERS, LABEL_FOLDERS, split_family

        path = PurePosixPath(name)
        if path.is_absolute() or any(part.startswith(".") for part in path.parts):
            return self.free(source.name)
        # Below a folder of its own, a picture needs no further folders called images or train.
        spared = (*IMAGE_FOLDERS, *LABEL_FOLDERS) if self.folder != self.job.folder / self.job.side.name else ()
        folders = [
            one for one in path.parts[:-1] if not spared or (one.lower() not in spared and not split_family(one))
        ]
        return self.free(PurePosixPath(*folders, path.name).as_posix())

    def free(self, name: str) -> str:
        """The name, or one like it that is not taken."""
        free, number = name, 1
        while free in self._taken:
            number += 1
            free = PurePosixPath(name).with_stem(f"{PurePosixPath(name).stem}-{number}").as_posix()
        return free


def as_class_folders(job: CopyJob) -> Placed:
    """A folder of pictures for each class.

    Raises:
        Misfit: A label is no name of a folder.
    """
    place = job.place
    files = _Files(job, "image", place)
    for row in job.kept():
        label = str(row["label"])
        if "/" in label or label.startswith((".", "__")) or label.strip() != label or not label:
            raise Misfit(f"label {label!r} is no name of a folder")
        parts = PurePosixPath(str(row["image"])).parts
        was = next((at for at, part in enumerate(parts[:-1]) if part == label), None)
        inside = PurePosixPath(*(parts[was + 1 :] if was is not None else parts[-1:])).as_posix()
        files.take(row, files.free(f"{label}/{inside}"))
    return Placed(job.side.name, "a folder of pictures for each class", columns=_columns(job))


def as_metadata(job: CopyJob) -> Placed:
    """Files, and a metadata.jsonl that names each in one row.

    Raises:
        Misfit: A file is named twice.
    """
    return _rows(job, "metadata.jsonl", once=True)


def as_rows(job: CopyJob) -> Placed:
    """Files, and a file of rows that name them."""
    return _rows(job, "rows.jsonl", once=False)


def _rows(job: CopyJob, file: str, *, once: bool) -> Placed:
    place, column = job.place, media_column(job)
    files, masks = _Files(job, column, place), _Files(job, "mask", place)
    options: dict[str, Any] = {"boxes": "xywh"} if hasattr(job.data.task.options, "boxes") else {}
    named: set[str] = set()
    with (place / file).open("w", encoding="utf-8") as stream:
        for row in job.kept():
            name = files.take(row)
            if once and name in named:
                raise Misfit(f"two rows name {name}")
            named.add(name)
            dropped = {*DERIVED, column, *(("width", "height") if column == "image" else ())}
            values = {key: value for key, value in row.items() if key not in dropped and value is not None}
            if isinstance(row.get("mask"), str):
                values["mask"] = masks.take(row)
            if once and column == "image":
                values.pop("id", None)
            stream.write(json.dumps({"file_name": name, **values}, ensure_ascii=False) + "\n")
    told = f"files, with {file}"
    if hasattr(job.data.task.options, "prompt"):
        options["prompt"] = None
    return Placed(job.side.name if once else f"{job.side.name}/{file}", told, options, columns=_columns(job))


def as_pictures_alone(job: CopyJob) -> Placed:
    """Pictures that one prompt describes, which the recipe has.

    Raises:
        Misfit: Some have captions of their own.
    """
    prompt = getattr(job.data.task.options, "prompt", None)
    place = job.place
    files = _Files(job, "image", place)
    for row in job.kept():
        if prompt is None or row["text"] != prompt:
            raise Misfit("pictures have captions of their own")
        files.take(row)
    return Placed(job.side.name, "pictures", columns=_columns(job))


def as_captions_beside(job: CopyJob) -> Placed:
    """Pictures, each with its caption in a text file beside it.

    Raises:
        Misfit: Two pictures would share one text file.
    """
    place = job.place
    files = _Files(job, "image", place)
    for row in job.kept():
        text = place / PurePosixPath(files.take(row)).with_suffix(".txt")
        if text.exists():
            raise Misfit(f"two pictures would have the caption {text.name}")
        text.write_text(f"{row['text']}\n", encoding="utf-8")
    return Placed(job.side.name, "pictures with captions beside them", columns=_columns(job))


def as_coco(job: CopyJob) -> Placed:
    """Pictures, and one COCO file for their boxes and regions; pictures keep the ids that they have.

    Raises:
        Misfit: Two rows name one picture, or have one id.
    """
    place = job.place
    files = _Files(job, "image", place / "images")
    names = _class_names(job)
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    bare = 0
    for number, row in enumerate(job.kept(), 1):
        name, objects = files.take(row), _objects(row)
        bare += not objects
        own = row.get("image_id", number)
        images.append({"id": own, "file_name": name, "width": row["width"], "height": row["height"]})
        for one in objects:
            x, y, w, h = (float(side) for side in one["box"])
            boxes.append(
                {
                    "id": len(boxes) + 1,
                    "image_id": own,
                    "category_id": names.index(str(one["label"])) + 1,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": int(bool(one.get("crowd"))),
                    **({"segmentation": one["segmentation"]} if "segmentation" in one else {}),
                }
            )
    if any(len({image[key] for image in images}) < len(images) for key in ("file_name", "id")):
        raise Misfit("two rows name one picture, or have one id")
    table = [{"id": at, "name": name} for at, name in enumerate(names, 1)]
    content = {"images": images, "annotations": boxes, "categories": table}
    (place / "annotations.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return Placed(job.side.name, "COCO", _background(job, bare, len(images)), columns=_columns(job))


def as_yolo(job: CopyJob) -> Placed:
    """Pictures, a file of boxes for each, and data.yaml with the classes.

    Raises:
        Misfit: A region or a crowd, which boxes of YOLO can't say; or two pictures of one name.
    """
    place = job.place
    files = _Files(job, "image", place / "images")
    names, stems = _class_names(job), set[str]()
    for row in job.kept():
        name = files.take(row)
        stem = PurePosixPath(name).with_suffix("").as_posix()
        if stem in stems:
            raise Misfit(f"two pictures would have the labels {stem}.txt")
        stems.add(stem)
        lines = []
        for one in _objects(row):
            if one.get("crowd") or "segmentation" in one:
                raise Misfit("YOLO boxes know neither crowds nor regions")
            x, y, w, h = (float(side) for side in one["box"])
            shares = ((x + w / 2) / row["width"], (y + h / 2) / row["height"], w / row["width"], h / row["height"])
            lines.append(f"{names.index(str(one['label']))} {' '.join(f'{share:.12g}' for share in shares)}\n")
        text = place / "labels" / f"{stem}.txt"
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text("".join(lines), encoding="utf-8")
    table = {"path": ".", "train": "images", "val": "images", "names": dict(enumerate(names))}
    (place / "data.yaml").write_text(yaml.safe_dump(table, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return Placed(job.side.name, "YOLO", columns=_columns(job))


def as_masks(job: CopyJob) -> Placed:
    """Folders of pictures and of masks with the same names, and the classes of their values.

    Raises:
        Misfit: A row has no mask, or nothing says what the values are.
    """
    place = job.place
    pictures, masks = _Files(job, "image", place / "images"), _Files(job, "mask", place / "masks")
    for row in job.kept():
        if not isinstance(row.get("mask"), str):
            raise Misfit("a row has no mask of its own")
        name = pictures.take(row)
        masks.take(row, PurePosixPath(name).with_suffix(PurePosixPath(str(row["mask"])).suffix).as_posix())
    table = [_mask_class(one) for one in job.data.task.declared]
    if not table:
        raise Misfit("nothing says what the values of the masks are")
    (place / "classes.json").write_text(json.dumps(table, ensure_ascii=False), encoding="utf-8")
    return Placed(job.side.name, "pictures and masks", columns=_columns(job))


def _mask_class(one: Mapping[str, Any]) -> dict[str, Any]:
    source = one.get("source_id")
    if isinstance(source, str) and source.startswith("#"):
        return {"name": one["name"], "color": [int(source[at : at + 2], 16) for at in (1, 3, 5)]}
    return {"id": one["id"] if source is None else int(source), "name": one["name"]}


def media_column(job: CopyJob) -> str:
    """The column that names the file of a row."""
    return "audio" if job.data.has("audio") else "image"


def _columns(job: CopyJob) -> tuple[str, ...]:
    """What must come back as it was: what the task reads, with the bytes of the files, and groups."""
    group = job.data.prepared.source.recipe.data.group_by
    return tuple(dict.fromkeys((*job.data.task.columns, *_KEPT, *((group,) if group else ()))))


def _objects(row: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found = row.get("objects")
    return found if isinstance(found, list) else ()


def _class_names(job: CopyJob) -> list[str]:
    """Classes in the source's order; those that it does not declare follow."""
    from tunesmith.pictures.classes import BACKGROUND

    declared = [str(one["name"]) for one in job.data.task.declared if str(one["name"]) != BACKGROUND]
    met = {str(one["label"]) for row in job.side.kept() for one in _objects(row)}
    return [*declared, *sorted(met - set(declared))]


def _background(job: CopyJob, bare: int, pictures: int) -> dict[str, Any]:
    """Pictures without objects are meant: in COCO, nothing else says so."""
    share = bare / max(1, pictures)
    allowed = float(getattr(job.data.task.options, "background", 0.0))
    return {"background": min(1.0, float(f"{share * 1.05 + 0.0005:.2g}"))} if share > allowed else {}


def layouts(job: CopyJob) -> Iterator[Any]:
    """Layouts to try in turn, the source's own first."""
    format = job.report.format
    if job.data.has("audio"):
        yield from (as_metadata, as_rows)
        return
    if job.data.has("captions"):
        if format == "texts-beside":
            yield as_captions_beside
        yield from (as_pictures_alone, as_metadata, as_rows)
        return
    by_format = {
        "image-folder": as_class_folders,
        "yolo": as_yolo,
        "coco": as_coco,
        "voc": as_coco,
        "mask-folder": as_masks,
        "image-folder-metadata": as_metadata,
    }
    if format in by_format:
        yield by_format[format]
    if format == "yolo":
        yield as_coco
    yield from (as_metadata, as_rows)
