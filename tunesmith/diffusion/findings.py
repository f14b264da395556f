"""What is wrong with captioned pictures: too few, too small, much cut, nearly the same; and with their captions.

Pictures on both sides and unreadable ones are found as `tunesmith.pictures.findings` finds them. It knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tunesmith.data.ahead import ahead
from tunesmith.diffusion.buckets import BYTES_PER_PIXEL, MOST_PIXELS, Crop, Size, plan_crops
from tunesmith.diffusion.formats.rows import COLUMNS
from tunesmith.diffusion.text_findings import (
    SHOWN,
    long_captions,
    meaning_findings,
    names_of,
    share_of,
    text_findings,
    token_findings,
    two_captions,
)
from tunesmith.diffusion.tokens import CaptionLengths, Vocabulary
from tunesmith.pictures.files import PictureFault, folder_of
from tunesmith.pictures.findings import picture_findings
from tunesmith.pictures.likeness import Sight, near_pairs, see
from tunesmith.types import Finding, Row

FEW_PICTURES = 3
ENLARGED_WARNING = 1.25
LARGE_PIXELS = 50_000_000
CUT_WARNING_SHARE = 0.25

FINDING_CODES = (
    "few-pictures",
    "small-picture",
    "large-picture",
    "much-cut",
    "long-caption",
    "prompt-without-token",
    "held-out-without-token",
    "caption-without-class",
    "known-token",
    "token-in-pieces",
    "unknown-token",
    "same-captions",
    "short-caption",
    "two-captions",
    "near-repeated-picture",
    "unreadable-picture",
    "picture-leak",
    "near-picture-leak",
    "repeated-picture",
    "odd-picture",
)
"""All codes that `caption_findings` may give, for a task's ``finding_codes``."""


def caption_findings(
    train: Sequence[Row],
    held_out: Sequence[Row],
    folders: Sequence[Path],
    *,
    source: str,
    held_out_source: str,
    buckets: Sequence[Size],
    lengths: Sequence[CaptionLengths] = (),
    held_out_lengths: Sequence[CaptionLengths] = (),
    prompt: str | None = None,
    token: str | None = None,
    class_noun: str | None = None,
    vocabulary: Vocabulary | None = None,
    most_pixels: int = MOST_PIXELS,
    threads: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[Finding]:
    """Look at every caption, and at every picture.

    Args:
        train: Rows as `tunesmith.diffusion.formats.CaptionShape` makes them.
        held_out: The same, of the other side; rows of prompts have an empty ``image``.
        folders: Where relative paths start from, tried in turn.
        source: Name of the training source, for ``where``.
        held_out_source: Name of the held-out source.
        buckets: Sizes that pictures are learned at (`buckets_for`).
        lengths: Tokens of the training captions, row by row, one for each text encoder.
        held_out_lengths: The same of the held-out rows.
        prompt: What every training picture shows, where the recipe says it.
        token: The word that names the subject, where one subject is learned.
        class_noun: What the subject is (``dog``), where the recipe says it.
        vocabulary: The tokenizer's, before the token was added to it; None where the token is a new one.
        most_pixels: A larger picture is named and not decoded.
        threads: How many pictures are decoded at once (default: by the machine).
        on_progress: Told (done, total) pictures.

    Yields:
        Findings with the codes of `FINDING_CODES`.
    """
    pictures, others = _pictures(train), _pictures(held_out)
    crops = plan_crops(pictures, buckets)
    yield from few_pictures(pictures, source, one_subject=token is not None or prompt is not None)
    yield from size_findings(pictures, crops, source)
    for rows, counts, name in ((train, lengths, source), (held_out, held_out_lengths, held_out_source)):
        for one in counts:
            yield from long_captions(rows, one, name)
    yield from token_findings(train, held_out, source, held_out_source, prompt, token, class_noun)
    if token is not None and vocabulary is not None:
        yield from meaning_findings(token, vocabulary)
    yield from text_findings(train, source, prompt)
    yield from two_captions(pictures, source)
    yield from picture_findings(
        pictures,
        others,
        folders,
        source=source,
        held_out_source=held_out_source,
        most_pixels=most_pixels,
        threads=threads,
        on_progress=on_progress,
    )
    yield from near_repeats(pictures, folders, source, most_pixels=most_pixels, threads=threads)


def _pictures(rows: Sequence[Row]) -> list[Row]:
    """Rows that have a picture, with our columns alone: labels and boxes of the source are nobody's matter here."""
    return [{name: row[name] for name in ("id", *COLUMNS)} for row in rows if row["image"]]


def few_pictures(rows: Sequence[Row], source: str, *, one_subject: bool) -> Iterator[Finding]:
    """One or two pictures: what always stands beside the subject is learned with it."""
    if not 0 < len(rows) < FEW_PICTURES or not (one_subject or len(rows) == 1):
        return
    one = len(rows) == 1
    what = "there is one picture only" if one else f"there are {len(rows)} pictures only"
    yield Finding(
        "few-pictures",
        "warning",
        f"{what}: the subject is learned together with its background, light and pose",
        source,
        "give 5 to 30 pictures of it, in different places and light",
        names_of(rows),
        1.0,
    )


def size_findings(rows: Sequence[Row], crops: Sequence[tuple[str, Crop]], source: str) -> Iterator[Finding]:
    """Pictures that are enlarged to fill their bucket, very large ones, and those of which much is cut away."""
    small = sorted((item for item in crops if item[1].scale > 1), key=lambda item: -item[1].scale)
    if small:
        name, crop = small[0]
        (h, w), (down, across) = crop.original, crop.size
        yield Finding(
            "small-picture",
            "warning" if crop.scale >= ENLARGED_WARNING else "note",
            f"{share_of(len(small), len(crops))} are smaller than what they are learned at and will be enlarged, up to "
            f"{crop.scale:.3g} times ({name}: {w} x {h} to {across} x {down}): the model would learn their blur",
            source,
            "take larger pictures, or a smaller options.size",
            tuple(name for name, _ in small[:SHOWN]),
            len(small) / len(crops),
        )
    large = [row for row in rows if int(row["height"]) * int(row["width"]) >= LARGE_PIXELS]
    if large:
        row = max(large, key=lambda row: int(row["height"]) * int(row["width"]))
        megabytes = BYTES_PER_PIXEL * int(row["height"]) * int(row["width"]) / 1e6
        yield Finding(
            "large-picture",
            "note",
            f"{share_of(len(large), len(rows))} are very large (as {row['image']}: {row['width']:,} x "
            f"{row['height']:,}): one that is no JPEG takes {megabytes:,.0f} MB while it is read",
            source,
            "nothing to do, if there is memory; else save them smaller",
            names_of(large),
            len(large) / len(rows),
        )
    cut = sorted((item for item in crops if item[1].cut >= CUT_WARNING_SHARE), key=lambda item: -item[1].cut)
    if cut:
        name, crop = cut[0]
        yield Finding(
            "much-cut",
            "warning",
            f"of {share_of(len(cut), len(crops))} a quarter or more is cut away, up to {crop.cut:.1%} ({name}: "
            f"{crop.original[1]} x {crop.original[0]} to {crop.size[1]} x {crop.size[0]})",
            source,
            "crop them by hand so that the subject stays, or allow longer buckets",
            tuple(name for name, _ in cut[:SHOWN]),
            len(cut) / len(crops),
        )


def near_repeats(
    rows: Sequence[Row],
    folders: Sequence[Path],
    source: str,
    *,
    most_pixels: int = MOST_PIXELS,
    threads: int | None = None,
) -> Iterator[Finding]:
    """Training pictures that are nearly another one: frames of a film, the same picture saved anew."""

    def look(row: Row) -> tuple[Row, Sight | None]:
        folder = folder_of(row, folders)
        try:
            return row, see(folder / str(row["image"]), most_pixels=most_pixels) if folder is not None else None
        except PictureFault:
            return row, None

    seen = [(row, sight) for row, sight in ahead(look, rows, threads=threads) if sight is not None]
    pairs = dict(_near_within([sight for _, sight in seen], 0))
    if not pairs:
        return
    asked, known = next(iter(pairs.items()))
    share = len(pairs) / len(rows)
    yield Finding(
        "near-repeated-picture",
        "warning",
        f"{share_of(len(pairs), len(rows))} look nearly the same as another "
        f"({seen[asked][0]['image']} is {seen[known][0]['image']}): they count as one, learned more often",
        source,
        "leave them out, or take pictures from other sides",
        tuple(str(seen[at][0]["image"]) for at in list(pairs)[:SHOWN]),
        share,
    )


def _near_within(sights: Sequence[Sight], start: int) -> Iterator[tuple[int, int]]:
    """Each picture that is nearly an earlier one, and that one; equal files are another finding."""
    if len(sights) < 2:
        return
    half = len(sights) // 2
    yield from _near_within(sights[:half], start)
    yield from _near_within(sights[half:], start + half)
    for asked, known, same_file in near_pairs(sights[:half], sights[half:]):
        if not same_file:
            yield start + half + asked, start + known
