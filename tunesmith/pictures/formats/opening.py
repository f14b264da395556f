"""The front door of picture sources: which format a file or folder is of, found by its content and said aloud.

It reads no format itself. Files of rows (CSV, JSONL, Parquet) and saved data sets are other readers' matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tunesmith.data.arrow import is_saved_data_set
from tunesmith.data.folder import FORMATS
from tunesmith.errors import UserError
from tunesmith.pictures.files import MOST_PIXELS, is_picture_name
from tunesmith.pictures.formats import coco, coco_files, voc, yolo, yolo_layout
from tunesmith.pictures.formats.image_folder import has_class_folders, open_image_folder, open_pictures_alone
from tunesmith.pictures.formats.listing import Listing, list_files
from tunesmith.pictures.formats.masks import mask_names, open_masks
from tunesmith.pictures.formats.metadata import metadata_files, open_metadata
from tunesmith.pictures.formats.opened import Kind, Opened, Request

_WANTED: dict[Kind, str] = {
    "label": "a folder for each class with its pictures inside (also below train, val, test), a metadata.csv with "
    "file_name and label beside the pictures, or rows (CSV, JSONL) with image and label",
    "boxes": "COCO JSON, YOLO (data.yaml, images, labels), Pascal VOC XML, or rows (JSONL) with image and objects",
    "mask": "folders images and masks with the same names, COCO JSON with segmentation, or YOLO polygons",
}
_TASKS: dict[Kind, str] = {
    "label": "image-classification",
    "boxes": "object-detection",
    "mask": "image-segmentation",
}
_SHOWN_NAMES = {
    "coco": "COCO JSON",
    "yolo": "YOLO labels",
    "voc": "Pascal VOC XML",
    "masks": "masks",
    "folders": "class folders",
}
_SERVES: dict[str, tuple[Kind, ...]] = {
    "masks": ("mask",),
    "coco": ("boxes", "mask"),
    "yolo": ("boxes", "mask"),
    "voc": ("boxes",),
    "folders": ("label",),
}


def open_pictures(
    path: Path,
    kind: Kind,
    *,
    label: str,
    split: str | None = None,
    background: float = 0.0,
    names: Sequence[str] = (),
    answered: bool = True,
    most_pixels: int = MOST_PIXELS,
) -> Opened | None:
    """The source as rows, or None where it is no picture source (rows in CSV, JSONL, Parquet: others read those).

    Args:
        path: A file or folder.
        kind: What the task learns: a label, boxes or a mask.
        label: The source as the person wrote it, for places.
        split: The split that is wanted, where the source has several (default: train).
        background: Share of pictures that may have no label, 0 to 1.
        names: Names of the classes in the order of their numbers, for sources that declare none.
        answered: Whether labels are wanted; without them a picture, or a folder of any shape, gives its pictures.
        most_pixels: A picture with more is refused before it is decoded.

    Raises:
        UserError: It is a picture source at fault, or of another task.
    """
    request = Request(path, kind, label, split, background, tuple(names), most_pixels)
    if not answered:
        return _open_unanswered(request)
    return _open_file(request) if path.is_file() else _open_folder(request)


def _open_unanswered(request: Request) -> Opened | None:
    if request.path.is_file():
        return open_pictures_alone(request, None) if is_picture_name(request.path.name) else None
    if is_saved_data_set(request.path):
        return None
    listing = list_files(request.path, request.label)
    if not listing.files:
        raise UserError("the folder is empty", request.label, "give a picture, or a folder of pictures")
    return open_pictures_alone(request, listing) if listing.pictures() else None


def _open_file(request: Request) -> Opened | None:
    suffix = request.path.suffix.lower()
    if suffix == ".json" and coco_files.may_be_coco(request.path):
        _check_kind(request, ["coco"])
        return coco.open_coco(request, request.path)
    if suffix in (".yaml", ".yml"):
        _check_kind(request, ["yolo"])
        return yolo.open_yolo(request)
    if is_picture_name(request.path.name):
        raise UserError("this is one picture, without a label", request.label, f"give {_WANTED[request.kind]}")
    if suffix == ".xml":
        raise UserError("this is one XML file", request.label, "name the folder that has the pictures too")
    return None


def _open_folder(request: Request) -> Opened | None:
    if is_saved_data_set(request.path):
        return None
    listing = list_files(request.path, request.label)
    if not listing.files:
        raise UserError("the folder is empty", request.label, f"give {_WANTED[request.kind]}")
    metadata = metadata_files(listing)
    if metadata:
        return open_metadata(request, listing, metadata)
    found = _formats(request, listing)
    if not found:
        _refuse_unlabelled(request, listing)
        return None
    fitting = _check_kind(request, found)
    if len(fitting) > 1:
        others = " and ".join(_SHOWN_NAMES[name] for name in fitting[1:])
        request.notes.append(
            f"{request.label} holds {_SHOWN_NAMES[fitting[0]]} and {others}: the former is read; name a file to choose"
        )
    return _OPENERS[fitting[0]](request, listing)


def _open_coco(request: Request, listing: Listing) -> Opened:
    path = coco_files.find_json(request, listing)
    assert path is not None
    return coco.open_coco(request, path)


_OPENERS: dict[str, Callable[[Request, Listing], Opened]] = {
    "coco": _open_coco,
    "yolo": lambda request, _: yolo.open_yolo(request),
    "voc": voc.open_voc,
    "masks": open_masks,
    "folders": open_image_folder,
}


def _formats(request: Request, listing: Listing) -> list[str]:
    """The formats that a folder has the parts of, the surer ones first; class folders only where nothing else is."""
    found = []
    if mask_names(listing):
        found.append("masks")
    jsons = [name for name in listing.ending(".json") if name.count("/") <= 2]
    if any(coco_files.may_be_coco(listing.folder / name) for name in jsons):
        found.append("coco")
    yamls = [listing.folder / name for name in listing.ending(".yaml", ".yml") if "/" not in name]
    if yolo.folder_has_labels(listing.files) or any(map(yolo_layout.may_be_data_yaml, yamls)):
        found.append("yolo")
    xmls = voc.label_files(listing)
    if any(voc.may_be_voc(listing.folder / name) for name in xmls[:5]):
        found.append("voc")
    if (not found or (request.kind == "label" and found == ["masks"])) and has_class_folders(listing):
        found.append("folders")
    return found


def _check_kind(request: Request, found: Sequence[str]) -> list[str]:
    """The formats that serve the task.

    Raises:
        UserError: None does; the message says which task they are for.
    """
    fitting = [name for name in found if request.kind in _SERVES[name]]
    if not fitting:
        held = " and ".join(_SHOWN_NAMES[name] for name in found)
        tasks = " or ".join(dict.fromkeys(_TASKS[kind] for name in found for kind in _SERVES[name]))
        raise UserError(
            f"this source holds {held}, which is for task: {tasks}, not {_TASKS[request.kind]}",
            request.label,
            f"set task: {tasks}; or give {_WANTED[request.kind]}",
        )
    return fitting


def _refuse_unlabelled(request: Request, listing: Listing) -> None:
    """A folder of no format that is known here: rows, which others read, or a fault.

    Raises:
        UserError: It holds pictures, and nothing that labels them.
    """
    if any(Path(name).suffix.lower() in FORMATS for name in listing.files):
        return
    if listing.pictures():
        raise UserError(
            f"the folder holds {len(listing.pictures()):,} pictures, and nothing that labels them",
            request.label,
            f"give {_WANTED[request.kind]}",
        )
