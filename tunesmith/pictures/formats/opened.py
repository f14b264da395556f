"""What a picture source is once it is opened: its rows, its classes, and what there is to say. It knows no format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from tunesmith.data.ahead import ahead
from tunesmith.data.opened import Misfit, NamedPlace, OpenedSource
from tunesmith.data.reading import Fault, Record
from tunesmith.pictures.files import MOST_PIXELS, Look, PictureFault, content_of, look_at_picture
from tunesmith.pictures.formats.listing import LINK_OUT, Listing
from tunesmith.pictures.pairing import Pairing

Kind: TypeAlias = Literal["label", "boxes", "mask"]


@dataclass(frozen=True, kw_only=True)
class Opened(OpenedSource):
    """A picture source, ready to be read once.

    Args:
        format: ``image-folder``, ``image-folder-metadata``, ``coco``, ``yolo``, ``voc``, ``mask-folder``, ``pictures``.
        classes: The declared class table, where the source has one.
        pairing: Pictures and labels, counted.
    """

    classes: tuple[dict[str, Any], ...] | None
    between: str = " picture "
    pairing: Pairing | None = None


@dataclass(frozen=True)
class Request(NamedPlace):
    """What is asked of a format.

    Args:
        path: The file or folder.
        kind: What rows hold: a label, boxes or a mask.
        label: The source as the person wrote it.
        split: The split that is wanted.
        background: Share of pictures that may have no label.
        names: Names of the classes, where the recipe has them and the source declares none.
        most_pixels: The largest picture that is read.
        notes: Takes what was decided.
    """

    path: Path
    kind: Kind
    label: str
    split: str | None = None
    background: float = 0.0
    names: tuple[str, ...] = ()
    most_pixels: int = MOST_PIXELS
    notes: list[str] = field(default_factory=list)

    def settle_pairing(self, pairing: Pairing) -> None:
        """Say the pairing table, or stop by it.

        Raises:
            UserError: Too many pictures have no label, or a label has no picture.
        """
        pairing.check(self.background)
        self.notes.extend(pairing.lines())


Item = TypeVar("Item")
Work = TypeVar("Work")


def make_records(
    items: Iterable[Item],
    work: Callable[[Item], Work],
    finish: Callable[[Item, Work], dict[str, Any]],
    name: Callable[[Item], str],
    paths: Callable[[Item], Sequence[Path]],
    close: Callable[[], None] = lambda: None,
) -> Iterator[Record]:
    """Records of many pictures: files are looked at in threads, rows are made in order, each with its ``content``.

    Args:
        items: One for each picture.
        work: What is done in a thread: opening the file.
        finish: Makes the row of it, in the reader's thread.
        name: The picture's name, for what is wrong with it.
        paths: The files whose bytes are the row's content: the picture, and its mask.
        close: Called at the end, or where reading stops.
    """

    def done(item: Item) -> tuple[Item, Work | PictureFault | Misfit, str]:
        try:
            found = work(item)
            return item, found, content_of(*paths(item))
        except (PictureFault, Misfit) as fault:
            return item, fault, ""

    try:
        for number, (item, found, content) in enumerate(ahead(done, items), 1):
            try:
                if isinstance(found, (PictureFault, Misfit)):
                    raise found
                yield number, {**finish(item, found), "content": content}
            except PictureFault as fault:
                yield number, Fault(f"({name(item)}) {fault.reason}")
            except Misfit as fault:
                yield number, Fault(str(fault))
    finally:
        close()


def looker(request: Request, listing: Listing) -> Callable[[str], Look]:
    """What looks at a file of a listing by its name, and refuses a link that leads out of the folder."""

    def look(name: str) -> Look:
        if name in listing.outside:
            raise PictureFault(LINK_OUT.format(target=listing.outside[name]))
        return look_at_picture(listing.folder / name, most_pixels=request.most_pixels)

    return look
