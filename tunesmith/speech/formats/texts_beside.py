"""A text file for each recording, beside it or in a mirrored folder; and recordings without any. It knows no tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from tunesmith.data.folder_listing import LINK_OUT, choose_split
from tunesmith.data.reading import Fault, Record
from tunesmith.data.text_file import look_at
from tunesmith.errors import UserError
from tunesmith.speech.formats.listing import Listing, by_key, split_of
from tunesmith.speech.formats.opened import Opened, Request
from tunesmith.speech.pairing import Pairing

ENDINGS = (".txt", ".lab")
MOST_TEXT_BYTES = 2**20
_NO_TEXTS = re.compile(
    r"(readme|licen[cs]e|copying|changelog|notes|requirements|speakers?([-_ ]info)?)\b", re.IGNORECASE
)
_TIMED_LABEL = re.compile(r"\d+\s+\d+\s+\S+")


def text_names(listing: Listing) -> list[str]:
    """Files that may be transcripts by their names."""
    return [name for name in listing.ending(*ENDINGS) if not _NO_TEXTS.match(PurePosixPath(name).name)]


def has_texts_beside(listing: Listing) -> bool:
    """Whether any recording has a text file of its name."""
    recordings = by_key(listing.recordings(), listing.label, "recording")
    return any(key in recordings for key in by_key(text_names(listing), listing.label, "transcript"))


def open_texts_beside(request: Request, listing: Listing) -> Opened:
    """Recordings with the text files of their names, of one split.

    Raises:
        UserError: Too many stand alone, two have one name, or the split is not there.
    """
    counts: dict[str, int] = {}
    for name in listing.recordings():
        if found := split_of(name):
            counts[found] = counts.get(found, 0) + 1
    split = choose_split(counts, request.split, request.label, request.notes, "recordings")
    recordings = by_key(_of(split, listing.recordings()), request.label, "recording")
    texts = by_key(_of(split, text_names(listing)), request.label, "transcript")
    pairing = Pairing(request.label, "text file")
    for key, name in recordings.items():
        pairing.add(name, key in texts)
    pairing.add_orphans(name for key, name in texts.items() if key not in recordings)
    paired = [(name, texts[key]) for key, name in recordings.items() if key in texts]
    kinds = " and ".join(sorted({PurePosixPath(text).suffix for _, text in paired})) or "text"
    request.notes.append(f"{request.label}: a {kinds} file for each recording")
    pairing.settle(request.notes)
    return Opened(
        format="texts-beside",
        records=_records(request, listing, paired),
        paths=(f"{request.root_label}/{split}" if split else request.label,),
        notes=request.notes,
        root=request.root,
        total=len(paired),
        pairing=pairing,
    )


def _of(split: str | None, names: Sequence[str]) -> list[str]:
    return [name for name in names if split is None or split_of(name) == split]


def _records(request: Request, listing: Listing, paired: Sequence[tuple[str, str]]) -> Iterator[Record]:
    odd: list[str] = []
    for number, (name, text_name) in enumerate(paired, 1):
        found = _text(listing, text_name, odd)
        if isinstance(found, Fault) or name in listing.outside:
            reason = LINK_OUT.format(target=listing.outside[name]) if name in listing.outside else ""
            yield number, found if isinstance(found, Fault) else Fault(f"({name}) {reason}")
        else:
            yield number, {"id": name, "audio": name, "text": found}
    if odd:
        request.notes.append(f"{len(odd):,} text files are of another encoding than UTF-8: {odd[0]}")


def _text(listing: Listing, name: str, odd: list[str]) -> str | Fault:
    """A transcript, its lines joined by spaces."""
    if name in listing.outside:
        return Fault(f"({name}) " + LINK_OUT.format(target=listing.outside[name]))
    path = listing.folder / name
    size = path.stat().st_size
    if size > MOST_TEXT_BYTES:
        return Fault(f"({name}) is too large for a transcript: {size:,} bytes")
    if not size:
        return Fault(f"({name}) is an empty transcript")
    try:
        file = look_at(path, name)
    except UserError as error:
        return Fault(f"({name}) " + ("is an empty transcript" if "empty" in error.what else error.what))
    odd.extend(file.notes)
    with file.open() as (text, _):
        lines = [line for line in text.read().splitlines() if line.strip()]
    if name.lower().endswith(".lab") and all(_TIMED_LABEL.match(line.strip()) for line in lines):
        return Fault(f"({name}) holds labels with times, not a transcript")
    return " ".join(" ".join(lines).split())


def open_recordings_alone(request: Request, listing: Listing) -> Opened:
    """Recordings without transcripts, as they are given to a model: one file, or all below a folder."""
    names = listing.recordings() if request.path.is_dir() else list(listing.files)

    def records() -> Iterator[Record]:
        for number, name in enumerate(names, 1):
            if name in listing.outside:
                yield number, Fault(f"({name}) " + LINK_OUT.format(target=listing.outside[name]))
            else:
                yield number, {"id": name, "audio": name}

    return Opened(
        format="recordings",
        records=records(),
        paths=(request.label,),
        notes=request.notes,
        root=request.root,
        total=len(names),
    )
