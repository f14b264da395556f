"""Any source of a picture task as rows of one shape: what the data room asks, and hands folders and rows to.

It knows no model and no loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.data.opened import Misfit
from tunesmith.pictures.files import MOST_PIXELS, PictureFault, content_of, find_picture
from tunesmith.pictures.formats.opened import Kind, Opened
from tunesmith.pictures.formats.opening import open_pictures
from tunesmith.pictures.formats.rows import BoxForm, RowReader
from tunesmith.pictures.kept import PictureStore
from tunesmith.pictures.pairing import Pairing

__all__ = ["PictureShape"]


class PictureShape:
    """Raw rows to rows with ``image`` and a label, objects or a mask (a `tunesmith.types.RowShape`).

    ``open`` is asked first; where it gives a picture source, its records are rows already and come back as they are.

    Args:
        kind: What rows hold: a label, boxes or a mask.
        answered: Whether rows must hold what is to be learned; not so when it is to be predicted.
        background: Share of pictures that may have no label, 0 to 1.
        names: Names of the classes in the order of their numbers, for sources that declare none.
        box_form: What a list of four numbers is in rows of CSV, JSONL and data sets.
        store: Where pictures that stand inside rows are written to; ``folders`` names it then.
        most_pixels: A picture with more is refused before it is decoded.

    Attributes:
        opened: The picture source, where ``open`` found one.
    """

    makes_json = True
    """Whether rows are JSON once they are shaped, whatever stood in them: bytes and pictures were written to files."""

    def __init__(
        self,
        kind: Kind,
        *,
        answered: bool = True,
        background: float = 0.0,
        names: Sequence[str] = (),
        box_form: BoxForm = "xywh",
        store: PictureStore | None = None,
        most_pixels: int = MOST_PIXELS,
    ) -> None:
        self.kind, self.answered, self.background, self.names = kind, answered, background, tuple(names)
        self.box_form, self.store, self.most_pixels = box_form, store or PictureStore(), most_pixels
        self.opened: Opened | None = None
        self._reader: RowReader | None = None
        self._folders: list[Path] = [Path()]

    def open(self, path: Path, label: str, split: str | None = None) -> Opened | None:
        """The source where it is a folder or file of pictures and labels; None where it is rows that others read.

        Raises:
            UserError: It is a picture source at fault, or of another task.
        """
        self._folders = [path if path.is_dir() else path.parent, Path()]
        self.opened = open_pictures(
            path,
            self.kind,
            label=label,
            split=split,
            background=self.background,
            names=self.names,
            answered=self.answered,
            most_pixels=self.most_pixels,
        )
        return self.opened

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any] | str:
        """The row in our columns, or why it has none: words that follow its place in a sentence."""
        if self.opened is not None:
            return self._named(dict(row))
        if self._reader is None:
            self._reader = RowReader(
                self.kind,
                self._folders,
                answered=self.answered,
                box_form=self.box_form,
                names=self.names,
                store=self.store,
                most_pixels=self.most_pixels,
            )
        try:
            return self._named(self._reader.row(row))
        except PictureFault as fault:
            return fault.reason
        except Misfit as fault:
            return str(fault)

    def _named(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with the digest of its files' bytes, which names it in caches: a path may hold another one."""
        if "content" not in row:
            named = [str(row[column]) for column in ("image", "mask") if column in row]
            found = [place for name in named if (place := find_picture(name, self.folders)) is not None]
            if len(found) == len(named):
                row["content"] = content_of(*found)
        return row

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where paths in rows start from: the source, and where pictures that stood inside rows were written to."""
        start = [self.opened.root] if self.opened is not None else self._folders
        return tuple(dict.fromkeys([*start, *([self.store.folder] if self.store.used else [])]))

    def notes(self) -> list[str]:
        """What a person should know once the rows were read: the split, the pairing table, what was mended."""
        if self.opened is not None:
            if isinstance(self.opened.records, Iterator) and hasattr(self.opened.records, "close"):
                self.opened.records.close()
            return list(self.opened.notes)
        if self._reader is None:
            return []
        return self._reader.notes()

    @property
    def classes(self) -> tuple[dict[str, Any], ...] | None:
        """The class table that the source declares (id, name, source_id), or None.

        Of rows with masks it is what the recipe's names stand for: values 0, 1, ... or 0 and 255.
        """
        if self.opened is not None:
            return self.opened.classes
        named = self._reader.classes if self._reader is not None and self.kind == "mask" else None
        return tuple(named.to_json()) if named is not None else None

    @property
    def pairing(self) -> Pairing | None:
        """Pictures and labels, counted, where the source has both as files."""
        return self.opened.pairing if self.opened is not None else None
