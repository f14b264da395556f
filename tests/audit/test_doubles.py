"""Rows that stand twice are found on either side of the split, each marked once with its twin; others are not."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from tests.audit.test_near_pictures import cropped, scene
from tests.audit.test_near_texts import drawn
from tunesmith.audit.data import AuditData, Wishes
from tunesmith.audit.doubles import double_findings
from tunesmith.audit.found import Found
from tunesmith.audit.kept import Kept
from tunesmith.data.deep_codes import DEEP_CODES
from tunesmith.prepare import read_sides
from tunesmith.recipe import read_recipe

Json = dict[str, Any]
TEXTS = drawn(60)


def data_of(folder: Path, task: str, rows: Any, held_out: Any, **data: Any) -> AuditData:
    section = {"train": "train", "eval": "eval", "validation": 0, **data}
    written = {"task": task, "model": "starter:none", "data": section}
    source = read_recipe(folder / "recipe.yaml", text=yaml.safe_dump(written))
    prepared = read_sides(source, rows=rows, held_out=held_out)
    return AuditData(prepared, Kept(folder / "measures.sqlite"), Wishes(effects=False), has_weights=False)


def rows_of(texts: Iterable[str], labels: str = "ab", prefix: str = "r") -> list[Json]:
    return [{"id": f"{prefix}{n}", "text": text, "label": labels[n % len(labels)]} for n, text in enumerate(texts)]


def found(data: AuditData) -> dict[str, Found]:
    said = [one for one in double_findings(data) if isinstance(one, Found)]
    known = {*DEEP_CODES, "duplicate-rows", "contradictory-labels", "leak"}
    assert {one.code for one in said} <= known
    return {one.code: one for one in said}


def pairs(one: Found) -> list[tuple[str, str | None]]:
    assert all(mark.note for mark in one.marks)
    assert all(0 < mark.score <= 1 for mark in one.marks)
    return [(f"{mark.side}:{mark.row}", mark.twin) for mark in one.marks]


def test_texts_exact_and_near_within_and_across(tmp_path: Path) -> None:
    train = rows_of(TEXTS[:40])
    word = TEXTS[5].replace(TEXTS[5].split()[6], "elephant")
    more = [TEXTS[3], TEXTS[4].upper(), word]
    train += [{"id": f"c{n}", "text": text, "label": train[n + 3]["label"]} for n, text in enumerate(more)]
    held = rows_of([*TEXTS[40:], TEXTS[0], f"{TEXTS[1]}!!"], prefix="h")
    held[-2]["label"], held[-1]["label"] = train[0]["label"], train[1]["label"]
    said = found(data_of(tmp_path, "text-classification", train, held))
    assert set(said) == {"duplicate-rows", "near-duplicates", "leak", "near-leak"}
    assert pairs(said["duplicate-rows"]) == [("train:c0", "train:r3")]
    assert sorted(pairs(said["near-duplicates"])) == [("train:c1", "train:r4"), ("train:c2", "train:r5")]
    assert pairs(said["leak"]) == [("train:r0", "eval:h20")]
    assert pairs(said["near-leak"]) == [("train:r1", "eval:h21")]
    assert all(one.remedy == "drop" for one in said.values())
    assert said["leak"].share == pytest.approx(1 / 22)
    assert said["leak"].level == "error"
    assert "1 of 22 held-out rows (4.5%)" in said["leak"].what
    assert said["near-duplicates"].share == pytest.approx(2 / 43)


def test_clean_rows_are_left_alone(tmp_path: Path) -> None:
    assert not found(data_of(tmp_path, "text-classification", rows_of(TEXTS[:40]), rows_of(TEXTS[40:], prefix="h")))


def test_outvoted_labels_are_marked_and_all_where_nobody_wins(tmp_path: Path) -> None:
    train = rows_of(TEXTS[:40])
    train += [{"id": f"v{n}", "text": TEXTS[0], "label": label} for n, label in enumerate("aab")]
    train += [{"id": "w0", "text": TEXTS[1], "label": "a"}]
    one = found(data_of(tmp_path, "text-classification", train, rows_of(TEXTS[40:], prefix="h")))[
        "contradictory-labels"
    ]
    assert {name for name, _ in pairs(one)} == {"train:v2", "train:r1", "train:w0"}
    assert one.marks[0].row == "v2"
    assert "labelled 'b'; the same inputs are labelled 'a'" in one.marks[0].note
    assert "6 of 44 rows" in one.what


def test_minimal_pairs_with_other_labels_are_no_faults(tmp_path: Path) -> None:
    train = rows_of(TEXTS[:40])
    changed = TEXTS[7].replace(TEXTS[7].split()[6], "never")
    train.append({"id": "m", "text": changed, "label": "a" if train[7]["label"] == "b" else "b"})
    assert not found(data_of(tmp_path, "text-classification", train, rows_of(TEXTS[40:], prefix="h")))


def test_a_share_held_out_of_one_source_is_judged_together(tmp_path: Path) -> None:
    rows = rows_of([*TEXTS, *(f"{text}." for text in TEXTS[:10])], labels="a")
    data = data_of(tmp_path, "text-classification", rows, None, eval=0.3)
    said = found(data)
    marked = {name for code in ("near-duplicates", "near-leak") for name, _ in pairs(said[code]) if code in said}
    twins = {twin for code in said for _, twin in pairs(said[code])}
    assert len(marked) == 10
    assert {name.partition(":")[2] for name in marked | {str(twin) for twin in twins}} == {
        f"r{n}" for n in [*range(10), *range(60, 70)]
    }


def test_conversations_are_compared_as_a_whole(tmp_path: Path) -> None:
    def talk(question: str, answer: str, name: str) -> Json:
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        return {"id": name, "messages": turns}

    train = [talk(TEXTS[n], TEXTS[n + 30], f"t{n}") for n in range(30)]
    train += [talk(TEXTS[2].title(), TEXTS[32], "near"), talk(TEXTS[3], TEXTS[34], "other answer")]
    held = [talk(TEXTS[4], TEXTS[34] + "?", "h0"), talk(TEXTS[5], TEXTS[35], "h1")]
    said = found(data_of(tmp_path, "causal-lm", train, held))
    assert pairs(said["near-duplicates"]) == [("train:near", "train:t2")]
    assert pairs(said["near-leak"]) == [("train:t4", "eval:h0")]
    assert pairs(said["leak"]) == [("train:t5", "eval:h1")]


def test_pictures_saved_anew_and_cropped(tmp_path: Path) -> None:
    names: dict[str, list[str]] = {"train": [], "eval": []}
    for side, seeds in (("train", range(12)), ("eval", range(12, 18))):
        for seed in seeds:
            file = tmp_path / side / "ab"[seed % 2] / f"{seed:02d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            scene(seed).save(file)
            names[side].append(f"{'ab'[seed % 2]}/{seed:02d}.png")
    train, held = tmp_path / "train", tmp_path / "eval"
    shutil.copyfile(train / "a/02.png", train / "a/copy.png")
    scene(4).save(train / "a/saved.jpg", quality=60)
    shutil.copyfile(train / "b/05.png", held / "b/leaked.png")
    cropped(scene(7), 0.88, (1.0, 0.3)).save(held / "b/cropped.jpg", quality=85)
    data = data_of(tmp_path, "image-classification", None, None, train=str(train), eval=str(held))
    said = found(data)
    assert pairs(said["duplicate-rows"]) == [("train:a/copy.png", "train:a/02.png")]
    assert {frozenset(pair) for pair in pairs(said["near-duplicates"])} == {
        frozenset(("train:a/saved.jpg", "train:a/04.png"))
    }
    assert pairs(said["leak"]) == [("train:b/05.png", "eval:b/leaked.png")]
    assert pairs(said["near-leak"]) == [("train:b/07.png", "eval:b/cropped.jpg")]
    assert "cropped" in said["near-leak"].marks[0].note

    # A second audit measures no picture again.
    opened: list[int] = []
    original = Image.open

    def count(*args: Any, **options: Any) -> Any:
        opened.append(1 if isinstance(args[0], (str, Path)) else 0)
        return original(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "open", count)
        assert set(found(data)) == set(said)
    assert not sum(opened)


def test_counts_stay_true_where_marks_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.audit.doubles.MOST_MARKS", 5)
    train = rows_of([*TEXTS[:40], *TEXTS[:20]], labels="a")
    one = found(data_of(tmp_path, "text-classification", train, rows_of(TEXTS[40:], "a", "h")))["duplicate-rows"]
    assert len(one.marks) == 5
    assert "20 of 60 rows" in one.what
    assert one.level == "error"


def test_recordings_of_one_name_in_two_folders_are_no_leak(tmp_path: Path) -> None:
    """Rows name their files from their own folder; without a start and an end a recording is its whole content."""
    from tests.fixtures import sounds
    from tunesmith.audit.folder import source_of
    from tunesmith.audit.opening import open_data

    for side, seed in (("train", 0), ("eval", 1)):
        sounds.audio_folder(tmp_path / side, 6, name="metadata.jsonl", seed=seed)
    data = open_data(source_of(tmp_path), weights_needed=False)
    assert "leak" not in {found.code for found in double_findings(data) if isinstance(found, Found)}
    copied = tmp_path / "eval" / "clip-002.wav"
    copied.write_bytes((tmp_path / "train" / "clip-004.wav").read_bytes())
    data = open_data(source_of(tmp_path), weights_needed=False)
    (leak,) = [one for one in double_findings(data) if isinstance(one, Found) and one.code == "leak"]
    assert [(mark.row, mark.twin) for mark in leak.marks] == [("clip-004.wav", "eval:clip-002.wav")]
