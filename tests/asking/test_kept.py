"""Replies that were given are not asked for again, survive a stop, and belong to one model and one prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tunesmith.asking.kept import ASKED_TOGETHER, FILE, Remembered
from tunesmith.asking.model import Progress, Prompt, Reply
from tunesmith.errors import UserError


@dataclass
class Counting:
    """Answers with its identity and the question, and counts; fails when it is told to."""

    identity: str = "one"
    name: str = "counting"
    context: int = 100
    constrains: bool = False
    asked: list[str] = field(default_factory=list)
    fails_at: int | None = None

    def count(self, text: str) -> int:
        return len(text)

    def answer(self, prompts: Sequence[Prompt], progress: Progress | None = None) -> list[Reply]:
        texts = [str(prompt.messages[0]["content"]) for prompt in prompts]
        if self.fails_at is not None and len(self.asked) >= self.fails_at:
            raise KeyboardInterrupt
        self.asked += texts
        return [Reply(f"{self.identity}: {text}", 3, 2, 0.5, False) for text in texts]


def prompt(text: str) -> Prompt:
    return Prompt(({"role": "user", "content": text},))


def test_each_prompt_is_asked_once_ever(tmp_path: Path) -> None:
    model = Counting()
    kept = Remembered(model, tmp_path)
    first = kept.answer([prompt("a"), prompt("b"), prompt("a")])
    assert [reply.text for reply in first] == ["one: a", "one: b", "one: a"]
    assert sorted(model.asked) == ["a", "b"]
    again = Remembered(model, tmp_path)
    assert again.answer([prompt("b"), prompt("a")]) == [first[1], first[0]]
    assert sorted(model.asked) == ["a", "b"]
    assert (again.asked, again.remembered) == (0, 2)


def test_another_model_or_another_setting_is_asked_anew(tmp_path: Path) -> None:
    one, two = Counting(), Counting(identity="two")
    Remembered(one, tmp_path).answer([prompt("a")])
    assert Remembered(two, tmp_path).answer([prompt("a")])[0].text == "two: a"
    changed = [
        replace(prompt("a"), seed=1), replace(prompt("a"), schema={"type": "object"}),
        replace(prompt("a"), choices=("x",)), replace(prompt("a"), grammar="start: x"),
    ]  # fmt: skip
    kept = Remembered(one, tmp_path)
    kept.answer([*changed, prompt("a")])
    assert (kept.asked, kept.remembered) == (4, 1)


def test_a_stop_loses_only_what_was_being_asked(tmp_path: Path) -> None:
    many = [prompt(f"{n:04}") for n in range(3 * ASKED_TOGETHER)]
    with pytest.raises(KeyboardInterrupt):
        Remembered(Counting(fails_at=2 * ASKED_TOGETHER), tmp_path).answer(many)
    model = Counting()
    told: list[tuple[int, int]] = []
    found = Remembered(model, tmp_path).answer(many, lambda _what, done, total: told.append((done, total)))
    assert len(model.asked) == ASKED_TOGETHER
    assert [reply.text for reply in found] == [f"one: {n:04}" for n in range(len(many))]
    assert told == [(len(many), len(many))]


def test_a_file_that_is_none_of_ours_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database at all" * 100)
    with pytest.raises(UserError, match="can't be kept") as caught:
        Remembered(Counting(), tmp_path)
    assert FILE in caught.value.where
