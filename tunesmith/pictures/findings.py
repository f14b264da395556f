"""What is wrong with the pictures of a data set: unreadable, in both splits, odd, with boxes too small to see.

Each picture is decoded once, small, in threads. It knows no model but its input size, and reads no format of labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.data.ahead import ahead
from tunesmith.pictures.files import MOST_PIXELS, PictureFault, folder_of
from tunesmith.pictures.likeness import Sight, near_pairs, same_pixels, see
from tunesmith.types import Finding, Row

SHOWN = 5
LEAK_ERROR_SHARE = 0.01
NEAR_LEAK_ERROR_SHARE = 0.05
REPEATS_WARNING_SHARE = 0.01
TINY_PIXELS = 4.0
TINY_WARNING_SHARE = 0.01
CLIPPED_WARNING_SHARE = 0.01
MOST_VERIFIED = 200

FINDING_CODES = (
    "unreadable-picture",
    "picture-leak",
    "near-picture-leak",
    "repeated-picture",
    "contradictory-pictures",
    "odd-picture",
    "tiny-box",
    "box-outside",
)
"""All codes that `picture_findings` may give, for a task's ``finding_codes``."""


@dataclass
class _Seen:
    """The pictures of one side that could be read."""

    rows: Sequence[Row]
    numbers: list[int]
    sights: list[Sight]
    paths: list[Path]
    faults: list[tuple[int, str]]

    def place(self, at: int) -> str:
        """The name of a picture."""
        return str(self.rows[self.numbers[at]]["image"])


def picture_findings(
    train: Sequence[Row],
    held_out: Sequence[Row],
    folders: Sequence[Path],
    *,
    source: str,
    held_out_source: str,
    input_size: tuple[int, int] | None = None,
    most_pixels: int = MOST_PIXELS,
    threads: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[Finding]:
    """Look at every picture once.

    Args:
        train: Rows with ``image``, and ``label`` or ``objects`` where they have any.
        held_out: The same, of the other side.
        folders: Where relative paths start from, tried in turn.
        source: Name of the training source, for ``where``.
        held_out_source: Name of the held-out source.
        input_size: Height and width that pictures are fitted into; with it, boxes too small to see are found.
        most_pixels: A larger picture is named and not decoded.
        threads: How many decode at once (default: by the machine).
        on_progress: Told (done, total) pictures.

    Yields:
        Findings with the codes of `FINDING_CODES`.
    """
    total, done = len(train) + len(held_out), 0
    sides: list[_Seen] = []
    for rows in (train, held_out):
        side = _Seen(rows, [], [], [], [])
        for number, path, found in ahead(_seer(folders, most_pixels), enumerate(rows), threads=threads):
            if isinstance(found, PictureFault):
                side.faults.append((number, found.reason))
            elif path is not None:
                side.numbers.append(number)
                side.sights.append(found)
                side.paths.append(path)
            done += 1
            if on_progress:
                on_progress(done, total)
        sides.append(side)
    learned, judged = sides
    for side, name in ((learned, source), (judged, held_out_source)):
        yield from _unreadable(side, name)
        yield from _odd(side, name)
        yield from box_findings(side.rows, name, input_size)
    yield from _leaks(learned, judged, held_out_source, most_pixels)
    yield from _repeats(learned, source)


def _seer(folders: Sequence[Path], most_pixels: int) -> Callable[[tuple[int, Row]], Any]:
    def look(item: tuple[int, Row]) -> tuple[int, Path | None, Sight | PictureFault]:
        number, row = item
        folder = folder_of(row, folders)
        if folder is None:
            return number, None, PictureFault("is not there")
        path = folder / str(row["image"])
        try:
            return number, path, see(path, most_pixels=most_pixels)
        except PictureFault as fault:
            return number, path, fault

    return look


def _unreadable(side: _Seen, source: str) -> Iterator[Finding]:
    if not side.faults:
        return
    shown = "; ".join(f"{side.rows[number]['image']} {reason}" for number, reason in side.faults[:3])
    yield Finding(
        "unreadable-picture",
        "error",
        f"{_of(len(side.faults), len(side.rows))} cannot be read: {shown}",
        source,
        "mend these pictures, or leave them and their labels out",
        tuple(str(side.rows[number]["image"]) for number, _ in side.faults[:SHOWN]),
        len(side.faults) / len(side.rows),
    )


def _odd(side: _Seen, source: str) -> Iterator[Finding]:
    """What is converted on reading, counted."""
    kinds: dict[str, list[int]] = {}
    for at, sight in enumerate(side.sights):
        look = sight.look
        odd = {
            "CMYK (converted to RGB)": look.mode == "CMYK",
            "more than 8 bits a channel (scaled to 8)": look.deep,
            "animated or of several pages (the first is taken)": look.animated,
            "turned by EXIF (shown upright)": look.orientation > 1,
            "transparent (laid on white)": look.mode in ("RGBA", "LA", "PA"),
        }
        for kind, holds in odd.items():
            if holds:
                kinds.setdefault(kind, []).append(at)
    if not kinds:
        return
    counts = "; ".join(f"{len(found):,} {kind}, as {side.place(found[0])}" for kind, found in kinds.items())
    yield Finding(
        "odd-picture",
        "note",
        f"pictures that are converted when they are read: {counts}",
        source,
        "nothing to do, if that is what they are",
        tuple(side.place(found[0]) for found in kinds.values())[:SHOWN],
    )


def _leaks(learned: _Seen, judged: _Seen, source: str, most_pixels: int) -> Iterator[Finding]:
    """Held-out pictures that stand among the training pictures, exactly or nearly."""
    exact: list[tuple[int, int]] = []
    near: list[tuple[int, int]] = []
    verified = 0
    for asked, known, same_file in near_pairs(learned.sights, judged.sights):
        equal = same_file
        if not equal and verified < MOST_VERIFIED and _same_thumbnails(learned.sights[known], judged.sights[asked]):
            verified += 1
            equal = same_pixels(learned.paths[known], judged.paths[asked], most_pixels=most_pixels)
        (exact if equal else near).append((asked, known))
    for code, pairs, error_share, words in (
        ("picture-leak", exact, LEAK_ERROR_SHARE, "also stand among the training pictures"),
        ("near-picture-leak", near, NEAR_LEAK_ERROR_SHARE, "look nearly the same as a training picture"),
    ):
        if pairs:
            share = len(pairs) / len(judged.rows)
            asked, known = pairs[0]
            yield Finding(
                code,
                "error" if share >= error_share else "warning",
                f"{len(pairs):,} of {len(judged.rows):,} held-out pictures ({share:.1%}) {words} "
                f"({judged.place(asked)} is {learned.place(known)}): the score would flatter the model",
                source,
                "leave them out of one of the two; pictures of one scene belong on one side (data.group_by)",
                tuple(judged.place(asked) for asked, _ in pairs[:SHOWN]),
                share,
            )


def _same_thumbnails(first: Sight, second: Sight) -> bool:
    return bool((first.thumbnail == second.thumbnail).all())


def _repeats(side: _Seen, source: str) -> Iterator[Finding]:
    """Training pictures whose files are equal, and those of them that are labelled differently."""
    groups: dict[int, list[int]] = {}
    for at, sight in enumerate(side.sights):
        groups.setdefault(sight.digest, []).append(at)
    repeated = [found for found in groups.values() if len(found) > 1]
    if not repeated:
        return
    extra = sum(len(found) - 1 for found in repeated)
    share = extra / len(side.rows)
    first, second = repeated[0][:2]
    yield Finding(
        "repeated-picture",
        "warning" if share >= REPEATS_WARNING_SHARE else "note",
        f"{_of(extra, len(side.rows))} repeat another exactly ({side.place(second)} is {side.place(first)})",
        source,
        "leave the repeats out",
        tuple(side.place(found[1]) for found in repeated[:SHOWN]),
        share,
    )
    differing = [
        found for found in repeated if len({str(side.rows[side.numbers[at]].get("label")) for at in found}) > 1
    ]
    if differing:
        count = sum(map(len, differing))
        labels = [side.rows[side.numbers[at]].get("label") for at in differing[0][:2]]
        yield Finding(
            "contradictory-pictures",
            "warning",
            f"{_of(count, len(side.rows))} are the same file as another with a different label "
            f"({side.place(differing[0][0])} is {labels[0]!r}, {side.place(differing[0][1])} is {labels[1]!r})",
            source,
            "decide for one label, or leave them out",
            tuple(side.place(found[0]) for found in differing[:SHOWN]),
            count / len(side.rows),
        )


def box_findings(rows: Iterable[Row], source: str, input_size: tuple[int, int] | None = None) -> Iterator[Finding]:
    """Boxes that were clipped, and those that are too small to see once pictures have the model's size."""
    boxes = 0
    clipped: list[str] = []
    tiny: list[str] = []
    labels: Counter[str] = Counter()
    for row in rows:
        for item in row.get("objects") or ():
            boxes += 1
            if item.get("clipped"):
                clipped.append(str(row["image"]))
            if input_size is not None and not item.get("crowd"):
                scale = min(input_size[0] / row["height"], input_size[1] / row["width"])
                if min(item["box"][2:]) * scale < TINY_PIXELS:
                    tiny.append(str(row["image"]))
                    labels[str(item["label"])] += 1
    if clipped:
        share = len(clipped) / boxes
        yield Finding(
            "box-outside",
            "warning" if share >= CLIPPED_WARNING_SHARE else "note",
            f"{len(clipped):,} of {boxes:,} boxes ({share:.1%}) reach out of their picture and were clipped to it",
            source,
            "check the tool that wrote them",
            tuple(dict.fromkeys(clipped))[:SHOWN],
            share,
        )
    if tiny and input_size is not None:
        share = len(tiny) / boxes
        kinds = ", ".join(f"{name} ({count:,})" for name, count in labels.most_common(3))
        yield Finding(
            "tiny-box",
            "warning" if share >= TINY_WARNING_SHARE else "note",
            f"{len(tiny):,} of {boxes:,} boxes ({share:.1%}) are narrower than {TINY_PIXELS:g} pixels once their "
            f"picture fits into {input_size[1]} x {input_size[0]}: {kinds}",
            source,
            "take a larger input size, cut the pictures into tiles, or leave these objects out",
            tuple(dict.fromkeys(tiny))[:SHOWN],
            share,
        )


def _of(count: int, total: int) -> str:
    return f"{count:,} of {total:,} pictures ({count / total:.1%})"
