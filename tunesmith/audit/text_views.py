"""What a pass over texts told about the data as a whole: sentences that stand everywhere, languages, lengths."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence

from tunesmith.audit.data import AuditData
from tunesmith.audit.found import Found, Mark, SideName, View, share_level
from tunesmith.audit.gathered import MOST_MARKS, Fault, Gathered
from tunesmith.audit.repeats import Repeats, sentence_of
from tunesmith.audit.row_texts import Piece, excerpt
from tunesmith.data.row_findings import OUTLIER_TIMES
from tunesmith.data.tally import share_of
from tunesmith.types import Row

LEAST_ROWS, LEAST_SHARE = 8, 0.002
"""A sentence is boilerplate from this many rows on, and from this share of them."""
MAIN_SHARE = 0.7
"""Share of rows from which a language is the data's own, and the others strangers."""
EVAL_ONLY_SHARE, TRAIN_NEXT_TO_NONE = 0.05, 0.005
FOREIGN = Fault(
    "are in another language than most",
    "leave them out, or make sure that the model is meant to learn them",
    warning=0.001,
    remedy="drop",
)


def boilerplate_findings(
    data: AuditData, repeats: Repeats, read: Callable[[Row], list[Piece]], roles: Sequence[str]
) -> Iterator[Found]:
    """Sentences that many rows share. The rows of the commonest come first."""
    train, held = data.sides["train"], data.sides["eval"]
    rows = len(train) + len(held)
    common = repeats.common(max(LEAST_ROWS, round(LEAST_SHARE * rows)))
    if not common:
        return
    marks: dict[int, Mark] = {}
    examples = []
    concerned: set[int] = set()
    for number, numbers in common:
        concerned.update(numbers.tolist())
        first = int(numbers[0])
        row = train[first] if first < len(train) else held[first - len(train)]
        said = next((s for p in read(row) if p.role in roles and (s := sentence_of(p.text, number))), "")
        examples.append((said, len(numbers)))
        for place in numbers.tolist():
            if len(marks) >= MOST_MARKS:
                break
            if place not in marks:
                side: SideName = "train" if place < len(train) else "eval"
                found = train[place] if side == "train" else held[place - len(train)]
                marks[place] = Mark(str(found["id"]), side, 0.7, excerpt(said))
    share = len(concerned) / rows
    shown = "; ".join(f"{excerpt(said)!r} in {count:,}" for said, count in examples[:3])
    yield Found(
        "boilerplate",
        share_level(share, 0.05),
        f"{share_of(len(concerned), rows)} hold a sentence that many others hold, too: {shown}",
        data.where("train"),
        "take these sentences out, unless the model is meant to say them",
        list(marks.values()),
        share,
    )


def language_says(
    data: AuditData, names: Sequence[str | None], languages: Mapping[SideName, array[int]]
) -> Iterator[Found | View]:
    """Rows in other languages than most, languages that only the held-out rows have, and how many rows each has."""
    import numpy as np

    counts = {side: np.bincount(np.frombuffer(of, np.uint8), minlength=len(names)) for side, of in languages.items()}
    known = counts["train"][1:] + counts["eval"][1:]
    if not known.sum():
        return
    main = int(known.argmax()) + 1
    order = [0, *(np.argsort(-known, kind="stable") + 1).tolist()]
    shown = {str(names[n]): int(known[n - 1]) for n in order[1:] if known[n - 1]}
    said = ", ".join(f"{name} {count / known.sum():.1%}" for name, count in list(shown.items())[:6])
    yield View(
        "languages",
        "Languages",
        "bars",
        {
            "names": [*shown, "not told"],
            "counts": {
                side: [int(count[names.index(name)]) for name in shown] + [int(count[0])]
                for side, count in counts.items()
            },
        },
        said=[f"Of the texts that are long enough to tell: {said}."],
    )
    if known[main - 1] < MAIN_SHARE * known.sum():
        yield Found(
            "language-mix",
            "note",
            f"the texts are in several languages: {said}",
            data.where("train"),
            "see that the model knows all of them, and that the held-out rows have them in the same shares",
        )
    else:
        yield from _foreign(data, names, languages, main)
    yield from _only_held_out(data, names, counts)


def _foreign(
    data: AuditData, names: Sequence[str | None], languages: Mapping[SideName, array[int]], main: int
) -> Iterator[Found]:
    import numpy as np

    gathered = Gathered(data, {"language-mix": FOREIGN})
    for side, of in languages.items():
        numbers = np.frombuffer(of, np.uint8)
        for place in np.flatnonzero((numbers != 0) & (numbers != main)):
            row = data.sides[side][int(place)]
            gathered.add("language-mix", side, str(row["id"]), str(names[numbers[place]]), 0.8)
    yield from gathered.findings({"language-mix": f", which are in {names[main]}"})


def _only_held_out(data: AuditData, names: Sequence[str | None], counts: Mapping[SideName, object]) -> Iterator[Found]:
    import numpy as np

    train, held = (np.asarray(counts[side], dtype=float) for side in ("train", "eval"))
    if train[1:].sum() < 20 or held[1:].sum() < 20:
        return
    train, held = train / train[1:].sum(), held / held[1:].sum()
    only = [n for n in range(1, len(names)) if held[n] >= EVAL_ONLY_SHARE and train[n] < TRAIN_NEXT_TO_NONE]
    if only:
        named = ", ".join(f"{names[n]} ({held[n]:.1%})" for n in only)
        yield Found(
            "language-only-in-eval",
            "warning",
            f"held-out rows are in languages that next to no training row is in: {named}",
            data.where("eval"),
            "add training rows in these languages, or judge the model on its own",
            share=float(sum(held[n] for n in only)),
        )


def length_says(data: AuditData, words: Mapping[SideName, array[int]]) -> Iterator[Found | View]:
    """Rows that are far longer than the others, and how long rows are."""
    import numpy as np

    sides = {side: np.frombuffer(of, np.int32) for side, of in words.items()}
    lengths = np.concatenate(list(sides.values()))
    if not len(lengths) or not lengths.max():
        return
    median, high = (float(np.percentile(lengths, share)) for share in (50, 99))
    said = f"words per row: half have at most {median:,.0f}, 99 % at most {high:,.0f}, the longest {lengths.max():,}"
    edges = np.unique(np.geomspace(1, max(2, lengths.max() + 1), 31).round().astype(int))
    yield View(
        "text-lengths",
        "Length of the texts",
        "histogram",
        {
            "edges": edges.tolist(),
            "counts": {side: np.histogram(of.clip(1), edges)[0].tolist() for side, of in sides.items()},
        },
        unit="words",
        said=[f"{said[0].upper()}{said[1:]}."],
    )
    far = Fault(
        f"are at least {OUTLIER_TIMES} times as long as the median ({said})",
        "check these rows; a broken quote or a whole document may have become one row",
        remedy="drop",
    )
    gathered = Gathered(data, {"length-outliers": far})
    for side, of in sides.items():
        for place in np.flatnonzero(of >= OUTLIER_TIMES * max(1.0, median)):
            score = float(1 - median / of[place])
            gathered.add(
                "length-outliers", side, str(data.sides[side][int(place)]["id"]), f"{of[place]:,} words", score
            )
    if not gathered.marks:
        yield Found("length-outliers", "note", said, data.where("train"), "nothing to do")
    yield from gathered.findings()
