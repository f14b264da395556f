"""Toxic texts, by a text classifier that a person names; without one nobody looks. It knows no other check."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING

from tunesmith.audit.data import AuditData
from tunesmith.audit.found import Found, Skipped
from tunesmith.audit.gathered import Fault, Gathered
from tunesmith.audit.row_texts import PLAIN, Piece, excerpt, reader
from tunesmith.errors import UserError
from tunesmith.types import Row

if TYPE_CHECKING:
    from tunesmith.model.text_scores import TextScores

TOGETHER = 256
LEAST_SCORE = 0.5
"""Probability from which a text is toxic."""
HARMLESS = re.compile(r"non|not|neutral|clean|(?<!un)safe|normal|^ok|label_0$|benign|neither|acceptable|nothate", re.I)
TOXIC = re.compile(r"tox|hat|offens|obscen|insult|threat|abus|hurt|label_1$|harass|profan|severe|identity|unsafe", re.I)
_ROLES = (PLAIN, "user", "assistant", "text")
FAULT = Fault(
    "are toxic, says the model that was named",
    "look at them; leave them out unless the model is meant to learn to tell them",
    warning=0.001,
    remedy="drop",
)


def toxicity_findings(data: AuditData) -> Iterator[Found | Skipped]:
    """Rows that a classifier finds toxic.

    Raises:
        UserError: The model is not there, is no text classifier, or its labels don't tell what is toxic.
    """
    name = data.wishes.toxicity
    if name is None:
        yield Skipped("toxicity", "it is judged by a text classifier that you name: --toxicity MODEL")
        return
    from tunesmith.machine import pick_device
    from tunesmith.model.text_scores import TextScores
    from tunesmith.model.weights import resolve, weights_digest
    from tunesmith.recipe.sections import ModelSection

    weights = resolve(ModelSection(name=name), where="--toxicity")
    scores = TextScores(weights, pick_device())
    which = toxic_outputs(scores.labels, several=scores.several)
    digest = weights_digest(weights)
    gathered = Gathered(data, {"toxic-text": FAULT})
    read = reader(data)

    for side, rows in data.sides.items():
        found = data.kept.measured(
            f"toxicity-1-{digest}",
            [blake2b(_said(read(row)).encode("utf-8", "replace"), digest_size=16).hexdigest() for row in rows],
            partial(_judged, scores, which, rows, read),
            lambda done, total: data.progress("judging toxicity", done, total),
        )
        for row, score in zip(rows, found, strict=True):
            if score >= LEAST_SCORE:
                gathered.add("toxic-text", side, str(row["id"]), excerpt(_said(read(row))), round(score, 4))
    yield from gathered.findings()


def _said(pieces: Sequence[Piece]) -> str:
    return "\n".join(piece.text for piece in pieces if piece.role in _ROLES)


def _judged(
    scores: TextScores,
    which: Sequence[int],
    rows: Sequence[Row],
    read: Callable[[Row], list[Piece]],
    missing: Sequence[int],
) -> Iterator[float]:
    """The probability that each of these rows is toxic, a few hundred texts in memory at a time."""
    for start in range(0, len(missing), TOGETHER):
        some = [_said(read(rows[place])) for place in missing[start : start + TOGETHER]]
        for probabilities in scores.of(some):
            told = [probabilities[n] for n in which]
            yield max(told) if scores.several else min(1.0, sum(told))


def toxic_outputs(labels: Sequence[str], *, several: bool) -> list[int]:
    """The outputs whose probabilities make a text toxic; of labels that exclude each other they add up.

    Raises:
        UserError: No label's name tells.
    """
    harmless = [n for n, label in enumerate(labels) if HARMLESS.search(label)]
    toxic = [n for n, label in enumerate(labels) if TOXIC.search(label) and n not in harmless]
    if not several and harmless and len(harmless) < len(labels):
        return [n for n in range(len(labels)) if n not in harmless]
    if toxic:
        return toxic
    what = f"none of its labels says what is toxic: {', '.join(labels)}"
    raise UserError(what, "--toxicity", "name a model whose config.json calls a label toxic, offensive, hate, ...")
