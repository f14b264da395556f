"""Captions that say nothing, stand at several pictures, lack the subject's token, or belong to another picture.

It makes no picture; whether caption and picture fit, an encoder says, where the recipe names one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.audit.found import Found, Mark, Skipped, View, share_level
from tunesmith.audit.picture_table import PictureSide, picture_table
from tunesmith.audit.spread import histogram
from tunesmith.diffusion.text_findings import has_word
from tunesmith.types import Row

if TYPE_CHECKING:
    from tunesmith.audit.data import AuditData
    from tunesmith.audit.found import SideName

Floats = NDArray[np.float64]

MOST_MARKS = 100_000
MOST_SCORED, LEAST_SCORED = 20_000, 12
LEAST_TOLD = 0.75
"""How often an encoder must tell a caption's own picture from another, on average, before it is believed."""
MISFIT_RANK, MISFIT_MARGIN = 0.5, 0.0
FAR_RANK, FAR_DEVIATIONS = 0.01, 3.0
"""A pair that lies so far below the others is suspect where even so many of the random pairs fit as well."""
LEAST_GAIN, JOINT_DEVIATIONS = 0.25, 4.5
"""Another caption fits the picture better, and another picture the caption: how much at least; and taken together."""
SURE_SWAP = 1.0
REPEATED_WARNING = 0.1
_NOTHING = frozenset(
    (
        *("image", "images", "picture", "pictures", "photo", "photos", "photograph", "pic", "img", "untitled", "none"),
        *("n/a", "na", "null", "nan", "no caption", "caption", "unknown", "test", "todo", "tbd", "no description"),
        *("a photo", "a picture", "an image", "this is a photo", "this is an image", "this is a picture", "file"),
    )
)
_CAMERA = re.compile(
    r"(img|dsc[fn]?|dscn|pict?|p|pxl|mvimg|vid|screenshot|scan|image|photo|whatsapp image|cimg|gopr|dji|untitled)"
    r"[\s_-]*\(?\d{2,}[\d\s_().:-]*",
    re.IGNORECASE,
)
_FILE = re.compile(r"\S+\.(jpe?g|png|webp|gif|bmp|tiff?|heic)", re.IGNORECASE)
_CODE = re.compile(r"[0-9a-f]{12,}|[\d\s_.:-]{3,}", re.IGNORECASE)


def caption_findings(data: AuditData) -> Iterator[Found | View | Skipped]:
    """Look at all captions of both sides."""
    if data.options("prompt") is not None:
        yield Skipped("captions", f"all pictures have one prompt (options.prompt): {data.options('prompt')}")
        yield from _token(data)
        return
    yield from _token(data)
    table = None
    for side, rows in data.sides.items():
        if not len(rows) or not any(row.get("image") for row in rows):
            continue
        yield from _by_words(data, side, rows)
        table = table or picture_table(data)
        yield from _by_encoder(data, side, rows, table[side])


def _token(data: AuditData) -> Iterator[Found]:
    """Captions without the word that names the subject."""
    token = data.options("token")
    if not token:
        return
    rows = data.sides["train"]
    lacking = [(str(row["id"]), str(row["text"])) for row in rows if not has_word(str(row["text"]), token)]
    if lacking:
        yield Found(
            "prompt-without-token",
            "error",
            f"{len(lacking):,} of {len(rows):,} captions ({len(lacking) / len(rows):.1%}) are without the token "
            f"{token!r}: the subject could not be called by it",
            data.where("train"),
            f"write it where the subject is meant: a photo of {token}",
            [Mark(name, "train", 1.0, _short(text)) for name, text in lacking[:MOST_MARKS]],
            len(lacking) / len(rows),
        )


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}...")


def says_nothing(text: str) -> bool:
    """Whether a caption is empty or a word for any picture."""
    return " ".join(text.lower().split()).strip(" .!-_\"'") in (*_NOTHING, "")


def is_file_name(text: str, image: str) -> bool:
    """Whether a caption is a file's name, its own picture's or one that a camera gives."""
    said = " ".join(text.split())
    stem = PurePath(image.replace("\\", "/")).stem
    own = re.sub(r"[\W_]+", " ", stem).strip().lower()
    same = re.sub(r"[\W_]+", " ", said.removesuffix(PurePath(image).suffix)).strip().lower() == own
    # A file may well be called by what it shows; with a number it is a name.
    return bool(
        (same and re.search(r"\d", own)) or _CAMERA.fullmatch(said) or _FILE.fullmatch(said) or _CODE.fullmatch(said)
    )


def _by_words(data: AuditData, side: SideName, rows: Sequence[Row]) -> Iterator[Found]:
    """Captions that tell nothing by their words alone."""
    names: list[str] = []
    nothing: list[tuple[str, str]] = []
    files: list[tuple[str, str]] = []
    first: dict[str, tuple[str, str]] = {}
    repeated: list[tuple[str, str, str]] = []
    for row in rows:
        name, text, content = str(row["id"]), str(row.get("text") or ""), str(row.get("content") or row["id"])
        names.append(name)
        if says_nothing(text):
            nothing.append((name, text))
            continue
        if is_file_name(text, str(row.get("image") or "")):
            files.append((name, text))
            continue
        other, of_content = first.setdefault(" ".join(text.lower().split()), (name, content))
        if of_content != content:
            repeated.append((name, text, other))
    total, where = len(names), data.where(side)
    for code, found, what, fix in (
        ("empty-caption", nothing, "say nothing of their picture", "say what is to be seen"),
        (
            "file-name-caption",
            files,
            "are the name of a file",
            "say what is to be seen; the column may be the wrong one",
        ),
    ):
        if found:
            yield Found(
                code,
                share_level(len(found) / total, 0.002, 0.2),
                f"{len(found):,} of {total:,} captions ({len(found) / total:.1%}) {what} (as {_short(found[0][1])})",
                where,
                fix,
                [Mark(name, side, 1.0, _short(text)) for name, text in found[:MOST_MARKS]],
                len(found) / total,
                remedy="drop",
            )
    if repeated and len(first) > 1:
        share = len(repeated) / total
        yield Found(
            "repeated-caption",
            share_level(share, REPEATED_WARNING),
            f"{len(repeated):,} of {total:,} captions ({share:.1%}) stand at another picture already (as "
            f"{_short(repeated[0][1])}): they tell these pictures not apart",
            where,
            "say what differs between the pictures, if that is to be learned",
            [Mark(name, side, 0.5, _short(text), f"{side}:{other}") for name, text, other in repeated[:MOST_MARKS]],
            share,
        )


def _by_encoder(
    data: AuditData, side: SideName, rows: Sequence[Row], pictures: PictureSide
) -> Iterator[Found | View | Skipped]:
    """Captions that fit their picture no better than any other caption does."""
    from tunesmith.audit.caption_fit import caption_vectors, fit_of
    from tunesmith.diffusion.pictures import without_token
    from tunesmith.errors import UserError

    named = data.options("text_scorer")
    if named is None:
        if side == "train":
            reason = "options.text_scorer names no CLIP model, so whether captions fit their pictures is not looked at"
            yield Skipped("captions", reason)
        return
    token = data.options("token")
    texts = {str(row["id"]): str(row.get("text") or "") for row in rows if row.get("image")}
    at = [
        i
        for i in np.flatnonzero(pictures.readable).tolist()
        if not says_nothing(texts[pictures.ids[i]]) and not is_file_name(texts[pictures.ids[i]], pictures.names[i])
    ]
    if len(at) > MOST_SCORED:
        chosen = np.unique(np.linspace(0, len(at) - 1, MOST_SCORED).astype(int))
        yield Skipped("captions", f"of {len(at):,} pictures {len(chosen):,} were held against their captions ({side})")
        at = [at[i] for i in chosen]
    if len(at) < LEAST_SCORED:
        return
    captions = [without_token(texts[pictures.ids[i]], token) for i in at]
    try:
        seen, said = caption_vectors(data, named, pictures, at, captions)
    except UserError as fault:
        yield Skipped("captions", f"whether captions fit their pictures is not known: {fault.what}")
        return
    whole = np.flatnonzero(np.isfinite(seen).all(axis=1) & np.isfinite(said).all(axis=1)).tolist()
    at, captions = [at[i] for i in whole], [captions[i] for i in whole]
    fit = fit_of(seen[whole], said[whole], captions)
    if fit.tells() < LEAST_TOLD:
        yield Skipped(
            "captions",
            f"{named} tells a picture's own caption from another in {fit.tells():.0%} of pairs only ({side}): either "
            "most captions do not fit, or it knows too little of such pictures to judge them",
        )
        return
    yield from _misfits(data, side, pictures, at, fit, texts)


def suspects(rank: Floats, margin: Floats, gain: Floats) -> NDArray[np.bool_]:
    """Which captions are of another picture: no better than random ones, or far below the others and beaten clearly."""
    random = (rank >= MISFIT_RANK) | (margin <= MISFIT_MARGIN)
    low = (np.median(margin) - margin) / _spread(margin)
    high = (gain - np.median(gain)) / _spread(gain)
    far = (low > FAR_DEVIATIONS) | ((low + high > JOINT_DEVIATIONS) & (gain > LEAST_GAIN))
    return np.asarray(random | (far & (rank >= FAR_RANK)))


def _spread(values: Floats) -> float:
    """The deviation, by the middle half of the values, which a few wrong ones do not change."""
    return max(1e-6, 1.4826 * float(np.median(np.abs(values - np.median(values)))))


def _misfits(
    data: AuditData, side: SideName, pictures: PictureSide, at: Sequence[int], fit: Any, texts: dict[str, str]
) -> Iterator[Found | View]:
    from tunesmith.audit.caption_fit import swapped_pairs

    yield histogram(
        f"caption-fit-{side}",
        "How well captions fit their pictures",
        {side: fit.margin},
        np.arange(-4, 8.1, 0.5).tolist(),
        unit="deviations better than random pairs; 0 and below: of another picture",
        said=[f"{data.options('text_scorer')} tells own captions from others in {fit.tells():.0%} of pairs"],
    )
    bad = np.flatnonzero(suspects(fit.rank, fit.margin, fit.gain)).tolist()
    bad.sort(key=lambda i: fit.margin[i])
    if not bad:
        return
    pairs = dict(swapped_pairs(fit, bad, SURE_SWAP))
    name = [pictures.ids[i] for i in at]
    total, where = len(at), data.where(side)
    single = [i for i in bad if i not in pairs]
    for code, found, what, fix in (
        ("swapped-captions", [i for i in bad if i in pairs], "fit another picture whose caption is wrong, too",
         "put each caption to its picture: a column was shifted, or rows were sorted apart"),
        ("caption-misfit", single, "fit their picture hardly better than the caption of any other one",
         "look at them: write what is to be seen, or leave them out"),
    ):  # fmt: skip
        if found:
            yield Found(
                code,
                share_level(len(found) / total, 0.01),
                f"{len(found):,} of {total:,} captions ({len(found) / total:.1%}) {what}, says "
                f"{data.options('text_scorer')} (as {name[found[0]]}: {_short(texts[name[found[0]]])})",
                where,
                fix,
                [_mark(i, side, name, texts, fit, pairs) for i in found[:MOST_MARKS]],
                len(found) / total,
                remedy="change" if code == "swapped-captions" else None,
            )


def _mark(i: int, side: SideName, name: Sequence[str], texts: dict[str, str], fit: Any, pairs: dict[int, int]) -> Mark:
    other = pairs.get(i)
    note = f"{_short(texts[name[i]])}: {fit.rank[i]:.0%} of random pairs fit at least as well"
    score = round(float(min(1.0, max(fit.rank[i], 0.05))), 3)
    if other is None:
        return Mark(name[i], side, score, note)
    right = texts[name[other]]
    return Mark(name[i], side, score, f"{note}; {_short(right)} fits", f"{side}:{name[other]}", {"text": right})
