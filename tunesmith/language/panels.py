"""What a report shows of written answers: metrics side by side, what was mended and broken, what is learned of a row.

It knows predictions and rows; no model and no page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.language.rows import answer_of
from tunesmith.types import Preview, Row

SHOWN = 8
Right = tuple[Sequence[float] | None, Sequence[float]]
NAMES = {
    "nats": "nats",
    "perplexity": "perplexity of the reference answers",
    "stop_rate": "ended by itself",
    "answer_tokens": "tokens an answer",
}


def answer_panels(
    rows: Sequence[Row],
    base: Sequence[Any] | None,
    tuned: Sequence[Any],
    before: Mapping[str, float] | None,
    after: Mapping[str, float],
    right: Right | None,
    previews: Sequence[Preview],
) -> list[dict[str, Any]]:
    """Panels for the report.

    Args:
        rows: The held-out rows.
        base, tuned: Predictions for them.
        before, after: Their scores.
        right: How right each row's answer is (0 to 1), of base and tuned; None where none were written.
        previews: Rows as the model reads them.
    """
    panels = [_scores(before, after)]
    if right is not None:
        panels += _examples(rows, base, tuned, right)
    return [*panels, _spans(previews)]


def preference_panels(
    rows: Sequence[Row],
    before: Mapping[str, float] | None,
    after: Mapping[str, float],
    right: Sequence[float],
    previews: Sequence[Preview],
) -> list[dict[str, Any]]:
    """Panels of pairs: scores, the pairs that the tuned model still takes the wrong way round, what is compared.

    Args:
        rows: The held-out rows.
        before, after: Scores of base and tuned.
        right: 1 where the tuned model finds the chosen answer likelier.
        previews: Rows as the model reads them.
    """
    wrong = [i for i in range(len(rows)) if right[i] < 1]
    items = [
        {
            "id": rows[i]["id"],
            "input": conversation(rows[i]["messages"]),
            "expected": answer_of(rows[i]),
            "tuned": str(rows[i]["rejected"][-1].get("content") or ""),
            "tuned_ok": False,
        }
        for i in wrong[:SHOWN]
    ]
    note = f"{len(wrong)} of {len(rows)} held-out pairs: the model finds the rejected answer likelier."
    panel = {"kind": "examples", "title": "The wrong way round", "note": note, "items": items}
    return [_scores(before, after), panel, _spans(previews)]


def _scores(before: Mapping[str, float] | None, after: Mapping[str, float]) -> dict[str, Any]:
    names = [name for name in after if before is None or name in before]
    rows = [
        [NAMES.get(name, name.replace("_", " ")), None if before is None else before[name], after[name]]
        for name in names
    ]
    note = "On the held-out rows."
    return {"kind": "table", "title": "Scores", "columns": ["score", "base", "tuned"], "rows": rows, "note": note}


def _spans(previews: Sequence[Preview]) -> dict[str, Any]:
    return {"kind": "spans", "title": "What is learned", "items": [p.to_json() for p in previews]}


def _examples(
    rows: Sequence[Row], base: Sequence[Any] | None, tuned: Sequence[Any], right: Right
) -> list[dict[str, Any]]:
    first, last = right
    worst = sorted(range(len(rows)), key=lambda i: (last[i], i))
    spread = range(0, len(rows), max(1, len(rows) // SHOWN))
    groups: list[tuple[str, Sequence[int]]] = []
    if first is not None:
        groups += [
            ("Mended: better than before", [i for i in range(len(rows)) if last[i] > first[i]]),
            ("Broken: worse than before", [i for i in range(len(rows)) if last[i] < first[i]]),
        ]
    groups += [("Wrong, tuned", [i for i in worst if last[i] < 1]), ("Evenly drawn", list(spread))]
    panels = []
    for title, chosen in groups:
        items = [
            _item(rows[i], base[i] if base else None, tuned[i], first[i] if first else None, last[i])
            for i in chosen[:SHOWN]
        ]
        note = f"{len(chosen)} of {len(rows)} held-out rows." if title != "Evenly drawn" else "Whatever came of them."
        panels.append({"kind": "examples", "title": title, "note": note, "items": items})
    return panels


def _item(row: Row, base: Any, tuned: Any, before: float | None, after: float) -> dict[str, Any]:
    return {
        "id": row["id"],
        "input": conversation(row["messages"][:-1]),
        "expected": answer_of(row),
        "base": base["answer"] if base else None,
        "tuned": tuned["answer"],
        "base_ok": before >= 1 if before is not None and base else None,
        "tuned_ok": after >= 1,
        "detail": {"ended by itself": "yes" if tuned["ended"] else "no", "tokens": tuned["tokens"]},
    }


def conversation(messages: Sequence[Mapping[str, Any]]) -> str:
    """A conversation for a person: the only user message as it is, else every turn under its role."""
    if len(messages) == 1 and messages[0]["role"] == "user":
        return str(messages[0]["content"])
    return "\n\n".join(f"{m['role']}: {m.get('content') or ''}" for m in messages)
