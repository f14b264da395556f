"""Questions with answers, refused, copied, contradicted, repeated and leaked at known rows.

It knows no audit and none of its codes; what a world is stands in `audit_worlds`.
"""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.audit_damaged_texts import LEFTOVERS, REFUSALS, can_break, mojibake, with_email, with_secret
from benchmarks.audit_worlds import EXAMPLES, Case, Draw, Row, World, write_jsonl, write_recipe


def _conversation(row: Row, question: str | None = None, answer: str | None = None) -> Row:
    """A row with another question or answer."""
    messages = [dict(turn) for turn in row["messages"]]
    if question is not None:
        messages[-2]["content"] = question
    if answer is not None:
        messages[-1]["content"] = answer
    return row | {"messages": messages}


def _said(row: Row, turn: int) -> str:
    return str(row["messages"][turn]["content"])


def _read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _asked_twice(rows: Sequence[Row]) -> list[Case]:
    """Clean rows that ask the same and are answered in other words, which need not contradict each other."""
    first: dict[str, Row] = {}
    found = []
    for row in rows:
        other = first.setdefault(_said(row, -2).strip().lower(), row)
        if other is not row and _said(other, -1) != _said(row, -1):
            found.append((f"train:{other['id']}", f"train:{row['id']}"))
    return found


def answers_faq(folder: Path, seed: int, quick: bool) -> World:
    """Questions and answers with refusals, copies, contradictions, repeats, leaks, groups on both sides, leftovers."""
    draw = Draw(seed, "answers/faq")
    rows = _read(EXAMPLES / "faq" / "faq.jsonl")
    twice = {row["group"] for row in rows if row["group"] != row["id"]}
    order = [rows[int(i)] for i in draw.rng.permutation(len(rows))]
    alone = [row for row in order if row["group"] not in twice]
    held = 40 if quick else 75
    ids = {row["id"] for row in alone[:held]}
    train, judged = [row for row in order if row["id"] not in ids][: 200 if quick else None], alone[:held]
    draw.over("train", len(train))
    free = [row["group"] not in twice for row in train]
    count, faults = (4 if quick else 12), {"asked-twice": _asked_twice(train)}
    clean = [row for row in train if row["group"] not in twice]

    def changed(fault: str, change: Callable[[Row], Row], fit: Callable[[Row], bool] = lambda _row: True) -> None:
        for at in draw.take("train", count, lambda i: free[i] and fit(train[i])):
            train[at] = change(train[at])
            faults.setdefault(fault, []).append((f"train:{train[at]['id']}",))

    def answer(change: Callable[[str, Draw], str]) -> Callable[[Row], Row]:
        return lambda row: _conversation(row, answer=change(_said(row, -1), draw))

    changed("refusal", lambda row: _conversation(row, answer=draw.one(REFUSALS)))
    changed("copied-question", lambda row: _conversation(row, answer=_said(row, -2)))
    changed("mojibake", answer(mojibake), lambda row: can_break(_said(row, -1)))
    changed("e-mail", answer(with_email))
    changed("secret", answer(with_secret))
    changed("leftover", lambda row: _conversation(row, answer=f"{_said(row, -1)} {draw.one(LEFTOVERS)}"))

    def copied(fault: str, into: list[Row], side: str, change: Callable[[Row], Row]) -> None:
        for at in draw.take("train", count, lambda i: free[i]):
            row = train[at]
            copy = change(row) | {"id": f"{row['category']}-9{draw.letters(6, string.digits)}"}
            into.append(copy)
            faults.setdefault(fault, []).append((f"train:{row['id']}", f"{side}:{copy['id']}"))

    copied("exact", train, "train", dict)
    copied(
        "contradiction", train, "train",
        lambda row: _conversation(row, answer=_said(draw.one([o for o in clean if o["id"] != row["id"]]), -1)),
    )  # fmt: skip
    # Rows that share their group share it with their double; a leak of a group alone has another question.
    copied("leak-exact", judged, "eval", dict)
    for at, target in zip(draw.take("train", count, lambda i: free[i]), range(count), strict=True):
        judged[target] = judged[target] | {"group": train[at]["group"]}
        faults.setdefault("leak-group", []).append((f"train:{train[at]['id']}", f"eval:{judged[target]['id']}"))
    write_jsonl(folder / "train.jsonl", train)
    write_jsonl(folder / "eval.jsonl", judged)
    recipe = write_recipe(
        folder, "causal-lm", "starter:smollm2-135m", "train.jsonl", "eval.jsonl",
        stages=[{"train": "adapter", "epochs": 1, "lr": 5e-4}], adapter={"kind": "lora", "r": 16},
    )  # fmt: skip
    counts = {"train": len(train), "eval": len(judged)}
    return World("answers/faq", folder, recipe, faults, counts, ("--group", "group")).save()


def answers_sql(folder: Path, seed: int, quick: bool) -> World:
    """Questions and queries, many of them alike by nature, with repeats, leaks and contradictions."""
    draw = Draw(seed, "answers/sql")
    source = EXAMPLES / "text-to-sql"
    train, judged = _read(source / "train.jsonl"), _read(source / "eval.jsonl")
    if quick:
        train, judged = train[:400], judged[:60]
    draw.over("train", len(train))
    base, count = list(train), 8 if quick else 60
    faults: dict[str, list[Case]] = {}

    def copied(fault: str, into: list[Row], side: str, change: Callable[[Row], Row]) -> None:
        for at in draw.take("train", count):
            row = base[at]
            copy = change(row) | {"id": f"{row['schema_name']}-9{draw.letters(6, string.digits)}"}
            into.append(copy)
            faults.setdefault(fault, []).append((f"train:{row['id']}", f"{side}:{copy['id']}"))

    by_schema: dict[str, list[Row]] = {}
    for row in base:
        by_schema.setdefault(row["schema_name"], []).append(row)

    def contradicted(row: Row) -> Row:
        others = [o for o in by_schema[row["schema_name"]] if _said(o, -1) != _said(row, -1)]
        return _conversation(row, answer=_said(draw.one(others), -1))

    copied("exact", train, "train", dict)
    copied("contradiction", train, "train", contradicted)
    copied("leak-exact", judged, "eval", dict)
    for row in (*train, *judged):
        row["database"] = str(source / row["database"])
    write_jsonl(folder / "train.jsonl", train)
    write_jsonl(folder / "eval.jsonl", judged)
    recipe = write_recipe(
        folder, "causal-lm", "starter:smollm2-135m", "train.jsonl", "eval.jsonl",
        stages=[{"train": "adapter", "epochs": 1, "lr": 5e-4}], adapter={"kind": "lora", "r": 16},
    )  # fmt: skip
    return World("answers/sql", folder, recipe, faults, {"train": len(train), "eval": len(judged)}).save()
