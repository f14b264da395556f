"""What recordings have in common: the same one twice, on both sides, with different words; the same voices.

It reads no sound: pairs that sound alike are given to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tunesmith.speech.heard import Part, Place, Side, Traced, part_of
from tunesmith.speech.normalize import normalize
from tunesmith.types import Finding

SHOWN = 5
REPEATS_WARNING_SHARE = 0.01
LEAST_OVERLAP = 0.1
"""The share of the shorter one that two parts of one file must share; neighbours share a breath."""


def leak_findings(learned: Side, judged: Side, near: Sequence[tuple[int, int]]) -> Iterator[Traced]:
    """What the two sides have in common, and what repeats within one.

    Args:
        learned: The training side.
        judged: The held-out side.
        near: Numbers of a held-out row and of a training row that sound alike, whether or not they are the same file.
    """
    yield from _repeated(learned)
    yield from _conflicting((learned, judged))
    if learned.rows and judged.rows:
        exact = list(_same_parts(learned, judged))
        yield from _leaks(learned, judged, exact, near)
        yield from _speakers(learned, judged)


def _groups(side: Side) -> dict[Part, list[int]]:
    groups: dict[Part, list[int]] = {}
    for number, row in enumerate(side.rows):
        groups.setdefault(part_of(row), []).append(number)
    return groups


def _repeated(side: Side) -> Iterator[Traced]:
    repeated = [found for found in _groups(side).values() if len(found) > 1]
    if repeated:
        extra = sum(len(found) - 1 for found in repeated)
        share = extra / len(side.rows)
        first, second = repeated[0][:2]
        finding = Finding(
            "repeated-audio",
            "warning" if share >= REPEATS_WARNING_SHARE else "note",
            f"{extra:,} of {len(side.rows):,} recordings ({share:.1%}) repeat another exactly "
            f"({side.id(second)} is {side.id(first)})",
            side.name,
            "leave the repeats out",
            tuple(side.id(found[1]) for found in repeated[:SHOWN]),
            share,
        )
        places = [
            Place(side, number, f"is {side.id(found[0])}", (side, found[0]))
            for found in repeated
            for number in found[1:]
        ]
        yield Traced(finding, places)


def _conflicting(sides: Sequence[Side]) -> Iterator[Traced]:
    """Recordings that have different words in different rows, whichever side these are on."""
    groups: dict[Part, list[tuple[Side, int]]] = {}
    for side in sides:
        for part, numbers in _groups(side).items():
            groups.setdefault(part, []).extend((side, number) for number in numbers)
    differing, places = [], list[Place]()
    for found in groups.values():
        texts = {_words(side, number): (side, number) for side, number in found if side.rows[number].get("text")}
        if len(texts) > 1:
            differing.append(list(texts.values()))
            places += [Place(side, number, twin=_otherwise(found, side, number)) for side, number in found]
    if differing:
        total = sum(len(side.rows) for side in sides)
        count = sum(map(len, differing))
        (one, first), (other, second) = differing[0][:2]
        shown = [f"{side.id(number)} {_short(side, number)!r}" for side, number in ((one, first), (other, second))]
        finding = Finding(
            "conflicting-texts",
            "error",
            f"{count:,} of {total:,} rows ({count / total:.1%}) are the same recording as another with different "
            f"words: {' and '.join(shown)}",
            " and ".join(dict.fromkeys(side.name for found in differing for side, _ in found)),
            "decide for one transcript, or leave the rows out",
            tuple(side.id(number) for found in differing for side, number in found)[:SHOWN],
            count / total,
        )
        yield Traced(finding, places)


def _otherwise(group: Sequence[tuple[Side, int]], side: Side, number: int) -> tuple[Side, int] | None:
    """The first row of the same recording whose words are others."""
    own = str(side.rows[number].get("text") or "")
    return next((row for row in group if str(row[0].rows[row[1]].get("text") or "") != own), None)


def _words(side: Side, number: int) -> str:
    row = side.rows[number]
    text, language = str(row["text"]), row.get("language")
    return normalize(text, str(language) if language else None) or text.strip()


def _short(side: Side, number: int) -> str:
    text = str(side.rows[number]["text"])
    return text if len(text) <= 40 else f"{text[:37]}..."


def _same_parts(learned: Side, judged: Side) -> Iterator[tuple[int, int]]:
    """Every held-out row and training row of one file whose parts overlap."""
    by_file: dict[str, list[tuple[float, float, int]]] = {}
    for number, row in enumerate(learned.rows):
        content, start, end = part_of(row)
        by_file.setdefault(content, []).append((start, end, number))
    for asked, row in enumerate(judged.rows):
        content, start, end = part_of(row)
        for other_start, other_end, number in by_file.get(content, ()):
            shared = min(end, other_end) - max(start, other_start)
            if (start, end) == (other_start, other_end) or (
                shared > LEAST_OVERLAP * min(end - start, other_end - other_start)
            ):
                yield asked, number


def _leaks(
    learned: Side, judged: Side, exact: Sequence[tuple[int, int]], near: Sequence[tuple[int, int]]
) -> Iterator[Traced]:
    same, learned_exactly = {asked for asked, _ in exact}, {number for _, number in exact}
    alike = [pair for pair in near if pair[0] not in same]
    heard = {
        "audio-in-both-splits": exact,
        "near-audio-leak": [pair for pair in near if pair[1] not in learned_exactly],
    }
    fix = "leave them out of one of the two; recordings of one speaker or session belong on one side (data.group_by)"
    for code, pairs, words in (
        ("audio-in-both-splits", _first_each(exact), "also stand among the training recordings"),
        ("near-audio-leak", sorted(_first_each(alike)), "sound nearly the same as a training recording"),
    ):
        if pairs:
            share = len(pairs) / len(judged.rows)
            asked, known = pairs[0]
            finding = Finding(
                code,
                "error" if code == "audio-in-both-splits" else "warning",
                f"{len(pairs):,} of {len(judged.rows):,} held-out recordings ({share:.1%}) {words} "
                f"({judged.id(asked)} is {learned.id(known)}): the score would flatter the model",
                judged.name,
                fix,
                tuple(judged.id(asked) for asked, _ in pairs[:SHOWN]),
                share,
            )
            twins = {number: asked for asked, number in reversed(heard[code])}  # the first one of each training row
            places = [
                Place(learned, number, f"is held out as {judged.id(asked)}", (judged, asked))
                for number, asked in sorted(twins.items())
            ]
            yield Traced(finding, places)


def _first_each(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The first training row of each held-out row."""
    return list({asked: (asked, number) for asked, number in reversed(pairs)}.values())[::-1]


def _speakers(learned: Side, judged: Side) -> Iterator[Traced]:
    known = {str(row["speaker"]) for row in learned.rows if row.get("speaker")}
    asked = {str(row["speaker"]) for row in judged.rows if row.get("speaker")}
    both = sorted(known & asked)
    if both:
        rows = [number for number, row in enumerate(judged.rows) if str(row.get("speaker") or "") in known]
        share = len(rows) / len(judged.rows)
        one = len(known | asked) == 1
        shown = ", ".join(both[:SHOWN]) + (", ..." if len(both) > SHOWN else "")
        finding = Finding(
            "speaker-in-both-splits",
            "note" if one else "warning",
            f"{len(both):,} of {len(asked):,} held-out speakers ({shown}), with {len(rows):,} of {len(judged.rows):,} "
            f"held-out recordings ({share:.1%}), also speak in the training recordings: "
            "the score says little of new voices",
            judged.name,
            "nothing to do where the model is for this one voice"
            if one
            else "divide by speaker: data.group_by: speaker",
            tuple(judged.id(number) for number in rows[:SHOWN]),
            share,
        )
        first = {
            str(row["speaker"]): asked for asked, row in reversed(list(enumerate(judged.rows))) if row.get("speaker")
        }
        places = [
            Place(learned, number, f"speaker {row['speaker']}", (judged, first[str(row["speaker"])]))
            for number, row in enumerate(learned.rows)
            if str(row.get("speaker") or "") in first
        ]
        yield Traced(finding, places)
