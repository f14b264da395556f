"""The split: shares, groups, duplicates, labels, stability."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from tunesmith.data.source import read_rows
from tunesmith.data.split import Split, split_rows
from tunesmith.errors import UserError


def rows(count: int, labels: str = "ab", start: int = 0) -> list[dict[str, Any]]:
    return [{"id": str(n), "text": f"text {n}", "label": labels[n % len(labels)]} for n in range(start, start + count)]


def split(data: Any, **options: Any) -> Split:
    settings = {"share": 0.2, "seed": 0, "inputs": ["text"], "target": "label", "group_by": None, "stratify": True}
    return split_rows(data, **{**settings, **options})


def texts(data: list[dict[str, Any]], side: Any) -> set[str]:
    return {data[n]["text"] for n in side}


def test_every_row_is_on_one_side_and_the_share_is_met() -> None:
    done = split(rows(1000))
    assert sorted([*done.train, *done.eval]) == list(range(1000))
    assert list(done.train) == sorted(done.train)
    assert len(done.eval) == 200
    assert done.lines[0] == "200 of 1,000 rows are held out (20.0%; seed 0)"


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.9])
def test_each_label_keeps_its_share_within_one_row(share: float) -> None:
    data = rows(1000, "aaaaaaaabc")
    done = split(data, share=share)
    held = Counter(data[n]["label"] for n in done.eval)
    for label, count in Counter(row["label"] for row in data).items():
        assert abs(held[label] - share * count) <= 1


def test_a_label_with_two_rows_stands_on_both_sides_and_one_with_one_is_learned() -> None:
    data = [*rows(100, "a"), *rows(2, "b", 100), *rows(1, "c", 102)]
    for seed in range(10):
        done = split(data, seed=seed)
        assert Counter(data[n]["label"] for n in done.eval)["b"] == 1
        assert Counter(data[n]["label"] for n in done.train) >= Counter(b=1, c=1)


def test_without_stratifying_labels_do_not_matter() -> None:
    data = rows(500, "aab")
    other = [{**row, "label": "x"} for row in data]
    assert split(data, stratify=False).eval == split(other, stratify=False).eval == split(data, target=None).eval


def test_equal_inputs_stay_together_whatever_their_labels() -> None:
    rng = random.Random(0)
    data = [{"id": str(n), "text": f"text {rng.randrange(150)}", "label": rng.choice("ab")} for n in range(1000)]
    for stratify in (True, False):
        done = split(data, stratify=stratify)
        assert not texts(data, done.train) & texts(data, done.eval)
        assert 150 <= len(done.eval) <= 250
        assert any("repeat another row's inputs" in line for line in done.lines)


def test_groups_stay_together() -> None:
    rng = random.Random(1)
    data = [{**row, "speaker": f"s{rng.randrange(40)}"} for row in rows(1000)]
    done = split(data, group_by="speaker")
    speakers = [{data[n]["speaker"] for n in side} for side in (done.train, done.eval)]
    assert not speakers[0] & speakers[1]
    assert 150 <= len(done.eval) <= 250
    assert "40 groups by speaker" in done.lines[0]


def test_rows_without_a_group_are_their_own() -> None:
    data = [{**row, "speaker": None if n % 10 else f"s{n % 7}"} for n, row in enumerate(rows(500))]
    done = split(data, group_by="speaker")
    assert 90 <= len(done.eval) <= 110
    assert any("450 rows have no speaker" in line for line in done.lines)


def test_one_huge_group_is_learned_and_the_lack_is_said() -> None:
    data = [{**row, "speaker": "huge" if n < 95 else f"s{n}"} for n, row in enumerate(rows(100))]
    for seed in range(5):
        done = split(data, group_by="speaker", stratify=False, seed=seed)
        assert len(done.train) >= 95
        assert any("20.0% was asked for" in line for line in done.lines)


def test_the_order_of_the_rows_does_not_matter() -> None:
    rng = random.Random(2)
    data = [
        {**row, "text": f"t{rng.randrange(300)}", "label": rng.choice("abc"), "g": rng.randrange(60)}
        for row in rows(800)
    ]
    mixed = rng.sample(data, len(data))
    for group_by in (None, "g"):
        one = {data[n]["id"] for n in split(data, group_by=group_by).eval}
        two = {mixed[n]["id"] for n in split(mixed, group_by=group_by).eval}
        assert one == two


def test_new_rows_move_few_old_ones_and_another_seed_moves_many() -> None:
    old, new = rows(2000), rows(2200)
    before, after = texts(old, split(old).eval), texts(new, split(new).eval)
    old_texts = {row["text"] for row in old}
    assert len(before ^ (after & old_texts)) < 0.05 * len(before)
    assert len(before & texts(old, split(old, seed=1).eval)) < 0.4 * len(before)


def test_other_processes_split_the_same() -> None:
    code = (
        "from tunesmith.data.split import split_rows\n"
        "rows = [{'id': str(n), 'text': f'text {n}', 'label': 'ab'[n % 2]} for n in range(200)]\n"
        "s = split_rows(rows, share=.2, seed=0, inputs=['text'], target='label', group_by=None, stratify=True)\n"
        "print(list(s.eval))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {f"{list(split(rows(200)).eval)}\n"}


def test_a_store_is_split_like_a_list() -> None:
    data = rows(300)
    assert split(read_rows(data, memory_bytes=100)) == split(data)


@pytest.mark.parametrize(
    ("data", "options", "said", "fix"),
    [
        (rows(10), {"group_by": "spekaer"}, "no row has a value in column 'spekaer'", "text, label"),
        (
            [{**row, "speaker": "one"} for row in rows(10)],
            {"group_by": "speaker"},
            "all 10 rows have one value",
            "source of their own",
        ),
        ([{**row, "text": "same"} for row in rows(10)], {}, "the same inputs", "source of their own"),
        (rows(1), {}, "the same inputs", "more rows"),
        (rows(2, "ab"), {}, "every label stands with one input only", "data.stratify: false"),
        ([], {}, "no rows to divide", "few rows"),
    ],
)
def test_an_empty_side_is_an_error_with_a_fix(
    data: list[dict[str, Any]], options: dict[str, Any], said: str, fix: str
) -> None:
    with pytest.raises(UserError) as caught:
        split(data, **options)
    assert said in caught.value.what
    assert fix in caught.value.fix


def test_a_misnamed_input_column_is_left_to_the_audit() -> None:
    done = split(rows(100), inputs=["body"])
    assert len(done.eval) == 20
