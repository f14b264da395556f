"""Folders of pictures: a text file of the same name beside each, or no captions and one prompt for all.

It knows no file of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from tunesmith.diffusion.formats.captions import (
    CAPTION_FOLDERS,
    EXAMPLE_PROMPT,
    PROMPT_OPTION,
    SHOWN,
    CaptionNotes,
    both_told,
    caption_files,
    caption_of,
    counted,
    some,
)
from tunesmith.errors import UserError
from tunesmith.pictures.files import Look
from tunesmith.pictures.formats.listing import (
    IMAGE_FOLDERS,
    Listing,
    choose_split,
    key_of,
    pictures_by_key,
    split_family,
    split_of,
)
from tunesmith.pictures.formats.opened import Opened, Request, looker, make_records
from tunesmith.pictures.pairing import Pairing

CAPTION = ".txt"
_DROPPED = (*IMAGE_FOLDERS, *CAPTION_FOLDERS)


def has_captions_beside(listing: Listing) -> bool:
    """Whether any picture has a text file of its name."""
    keys = {key_of(name, _DROPPED) for name in listing.pictures()}
    return any(key_of(name, _DROPPED) in keys for name in caption_files(listing))


def open_pictures(request: Request, listing: Listing, prompt: str | None) -> Opened:
    """Pictures of one split with the captions beside them, or with the prompt.

    Raises:
        UserError: A picture or a caption stands alone, a picture has two captions or captions beside a prompt, two
            pictures have one name, or the split is not there.
    """
    split = _chosen_split(request, listing)
    pictures = [name for name in listing.pictures() if split is None or _split_of(name) == split]
    if has_captions_beside(listing):
        texts = [name for name in caption_files(listing) if split is None or _split_of(name) == split]
        return _open_paired(request, listing, pictures, texts, prompt, split)
    strays = caption_files(listing)
    alone = f"{counted(len(strays), 'text file')} of other names: {some(strays)}" if strays else ""
    if prompt is None:
        first = f"{request.root_label}/{PurePosixPath(pictures[0]).with_suffix(CAPTION)}"
        raise UserError(
            f"nothing says what the pictures show: {request.label} has {counted(len(pictures), 'picture')} and no "
            f"captions{f' ({alone})' if alone else ''}",
            request.label,
            f"write a caption into a text file beside each ({first}), or give a metadata.jsonl with file_name and "
            f"text; or set {PROMPT_OPTION}: {EXAMPLE_PROMPT}, where all show one subject",
        )
    _tell_prompt(request, pictures, prompt)
    if alone:
        request.notes.append(f"left alone: {alone}")
    return _opened(request, listing, [(name, None) for name in pictures], prompt, split, None)


def _split_of(name: str) -> str | None:
    folders = name.split("/")[:-1]
    if len(folders) > 1 and folders[0].lower() in CAPTION_FOLDERS and split_family(folders[1]):
        return folders[1]
    return split_of(name)


def _chosen_split(request: Request, listing: Listing) -> str | None:
    """The split that is read, where folders are splits and not merely called so."""
    splits = [_split_of(name) for name in listing.pictures()]
    counts = {split: splits.count(split) for split in dict.fromkeys(splits) if split is not None}
    if None in splits and not any(split_family(split) == "train" for split in counts) and request.split is None:
        counts = {}
    split = choose_split(counts, request.split, request.label, request.notes)
    if split is not None and None in splits:
        request.notes.append(f"{splits.count(None):,} pictures of {request.label} lie in no split and were left alone")
    return split


def _open_paired(
    request: Request,
    listing: Listing,
    pictures: Sequence[str],
    texts: Sequence[str],
    prompt: str | None,
    split: str | None,
) -> Opened:
    by_key = pictures_by_key(pictures, request.label, _DROPPED)
    captions = _captions_by_key(request, texts)
    pairs = [(name, captions[key]) for key, name in by_key.items() if key in captions]
    if prompt is not None and pairs:
        told = f"{len(pairs):,} of {counted(len(pictures), 'picture')} have a caption ({pairs[0][1]})"
        raise both_told(prompt, told, request.label)
    pairing = Pairing(request.label, "caption", fills=False)
    for key, name in by_key.items():
        pairing.add(name, key in captions)
    orphans = [name for key, name in captions.items() if key not in by_key]
    pairing.add_orphans(orphans)
    bare = [name for key, name in by_key.items() if key not in captions]
    table = "\n    ".join(pairing.lines())
    if bare:
        expected = f"{request.root_label}/{_expected(bare[0], pairs)}"
        raise UserError(
            f"{counted(len(bare), 'picture')} without a caption: {some(bare)}\n    {table}",
            expected,
            f"write what {bare[0]} shows into {expected}, or remove the picture",
        )
    if orphans:
        raise UserError(
            f"{counted(len(orphans), 'caption')} without a picture: {some(orphans)}\n    {table}",
            f"{request.root_label}/{orphans[0]}",
            "add the picture of that name, or remove the file",
        )
    endings = " and ".join(sorted({PurePosixPath(text).suffix for _, text in pairs}))
    request.notes.append(f"{request.label}: a {endings} file with the caption of each picture")
    request.notes.extend(pairing.lines())
    return _opened(request, listing, pairs, None, split, pairing)


def _captions_by_key(request: Request, texts: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in texts:
        other = found.setdefault(key_of(name, _DROPPED), name)
        if other != name:
            raise UserError(
                f"two captions for a picture: {other} and {name}",
                f"{request.root_label}/{name}",
                "keep one of the two files",
            )
    return found


def _expected(picture: str, pairs: Sequence[tuple[str, str]]) -> str:
    """Where a picture's caption would lie, as those of the others do."""
    path = PurePosixPath(picture)
    if not pairs:
        return str(path.with_suffix(CAPTION))
    other, text = (PurePosixPath(name) for name in pairs[0])
    folder = str(path.parent)
    if other.parent != text.parent:
        theirs = next((part for part in text.parts[:-1] if part.lower() in CAPTION_FOLDERS), None)
        parts = [part for part in path.parts[:-1] if part.lower() not in IMAGE_FOLDERS]
        at = next((n for n, part in enumerate(path.parts[:-1]) if part.lower() in IMAGE_FOLDERS), 0)
        folder = "/".join([*parts[:at], *([theirs] if theirs else []), *parts[at:]])
    return str(PurePosixPath(folder) / f"{path.stem}{text.suffix}")


def _tell_prompt(request: Request, pictures: Sequence[str], prompt: str) -> None:
    request.notes.append(f"{counted(len(pictures), 'picture')} in {request.label} have the prompt: {prompt}")
    folders = sorted({str(PurePosixPath(name).parent) for name in pictures})
    if len(folders) > 1:
        shown = ", ".join("the folder itself" if folder == "." else folder for folder in folders[:SHOWN])
        more = ", ..." if len(folders) > SHOWN else ""
        request.notes.append(f"they lie in {len(folders):,} folders, and all have this one prompt: {shown}{more}")


def _opened(
    request: Request,
    listing: Listing,
    pairs: Sequence[tuple[str, str | None]],
    prompt: str | None,
    split: str | None,
    pairing: Pairing | None,
) -> Opened:
    """The records of pictures, each with its file of a caption or none."""
    told, look = CaptionNotes(), looker(request, listing)

    def work(pair: tuple[str, str | None]) -> tuple[Look, str]:
        name, text = pair
        return look(name), caption_of(listing, text, told) if text is not None else str(prompt)

    return Opened(
        format="texts-beside" if pairing is not None else "pictures",
        records=make_records(
            pairs,
            work,
            lambda pair, found: {
                "id": pair[0],
                "image": pair[0],
                "text": found[1],
                "height": found[0].height,
                "width": found[0].width,
            },
            lambda pair: pair[0],
            lambda pair: [listing.folder / pair[0]],
            lambda: request.notes.extend(told.lines()),
        ),
        paths=(f"{request.root_label}/{split}" if split else request.label,),
        notes=request.notes,
        classes=None,
        root=request.root,
        total=len(pairs),
        pairing=pairing,
    )
