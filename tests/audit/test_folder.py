"""Rows without a recipe: what they are for, told by what they hold."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fixtures import picture_sources as drawn
from tests.fixtures import sounds
from tunesmith.audit.folder import source_of
from tunesmith.errors import UserError
from tunesmith.prepare import read_sides


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def texts(folder: Path) -> Path:
    return write(folder / "rows.csv", [{"text": f"it is {n}", "label": "ab"[n % 2]} for n in range(30)])


def texts_of_other_names(folder: Path) -> Path:
    rows = [{"nr": n, "complaint": f"the thing number {n} broke", "kind": ["bill", "repair"][n % 2]} for n in range(40)]
    return write(folder / "rows.jsonl", rows)


def questions(folder: Path) -> Path:
    return write(folder / "rows.jsonl", [{"question": f"What is {n}?", "answer": f"{n}"} for n in range(30)])


def raw_texts(folder: Path) -> Path:
    return write(folder / "rows.jsonl", [{"text": f"Once upon a time, {n}."} for n in range(30)])


def preferences(folder: Path) -> Path:
    return write(folder / "rows.jsonl", [{"prompt": f"{n}?", "chosen": f"{n}", "rejected": "no"} for n in range(30)])


def class_folders(folder: Path) -> Path:
    return drawn.image_folder(folder / "d", {"cats": 8, "dogs": 8})


def class_folders_of_splits(folder: Path) -> Path:
    return drawn.image_folder(folder / "d", {"train/cats": 6, "train/dogs": 6, "test/cats": 3, "test/dogs": 3})


def named_pictures(folder: Path) -> Path:
    rows = [{"image": drawn.save(folder / f"{n}.png", n).name, "label": "ab"[n % 2]} for n in range(10)]
    return write(folder / "rows.csv", rows)


def boxes(folder: Path) -> Path:
    drawn.coco(folder / "d", {f"{n}.jpg": [(1 + n % 2, (2, 3, 10, 8))] for n in range(10)})
    return folder / "d"


def boxes_of_splits(folder: Path) -> Path:
    for split in ("train", "val"):
        drawn.yolo(folder / "d", {f"{split}{n}": f"{n % 2} 0.5 0.5 0.2 0.2\n" for n in range(6)}, split=split)
    (folder / "d" / "data.yaml").write_text("path: .\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n")
    return folder / "d"


def masks(folder: Path) -> Path:
    return drawn.mask_folder(folder / "d", {f"m{n}": np.eye(30, 40) * 255 for n in range(10)})


def captions(folder: Path) -> Path:
    for number in range(10):
        (drawn.save(folder / "d" / f"{number}.png", number).with_suffix(".txt")).write_text(f"picture {number}")
    return folder / "d"


def recordings(folder: Path) -> Path:
    return sounds.audio_folder(folder / "d", 10)


def named_recordings(folder: Path) -> Path:
    return sounds.manifest(folder / "rows.csv", count=10)


KINDS = {
    texts: ("text-classification", {}),
    texts_of_other_names: ("text-classification", {"text": "complaint", "label": "kind"}),
    questions: ("causal-lm", {}),
    raw_texts: ("causal-lm", {}),
    preferences: ("preference", {}),
    class_folders: ("image-classification", {}),
    class_folders_of_splits: ("image-classification", {}),
    named_pictures: ("image-classification", {}),
    boxes: ("object-detection", {}),
    boxes_of_splits: ("object-detection", {}),
    masks: ("image-segmentation", {}),
    captions: ("text-to-image", {}),
    recordings: ("speech-to-text", {}),
    named_recordings: ("speech-to-text", {}),
}


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_what_rows_hold_tells_their_task_and_columns(make: Any, tmp_path: Path) -> None:
    source = source_of(make(tmp_path))
    assert (source.recipe.task, source.recipe.data.columns) == KINDS[make]
    sides = read_sides(source)
    assert len(sides.learning) >= len(sides.held_out) > 0
    assert set(sides.task.columns) <= set(sides.learning[0])


@pytest.mark.parametrize(("make", "rows"), [(class_folders_of_splits, (12, 6)), (boxes_of_splits, (6, 6))])
def test_splits_of_a_folder_are_its_sides(make: Any, rows: tuple[int, int], tmp_path: Path) -> None:
    sides = read_sides(source_of(make(tmp_path)))
    assert (len(sides.learning), len(sides.held_out)) == rows


def test_files_of_splits_are_the_sides(tmp_path: Path) -> None:
    write(tmp_path / "d" / "train.jsonl", [{"question": f"{n}?", "answer": "a"} for n in range(20)])
    write(tmp_path / "d" / "test.jsonl", [{"question": f"what {n}?", "answer": "a"} for n in range(5)])
    sides = read_sides(source_of(tmp_path / "d"))
    assert (len(sides.learning), len(sides.held_out)) == (20, 5)


def test_settings_and_a_model_win_over_the_guess(tmp_path: Path) -> None:
    source = source_of(texts(tmp_path), "some/model", ["data.eval=0.4", "run.seed=7"])
    assert (source.recipe.model.name, source.recipe.data.eval, source.recipe.run.seed) == ("some/model", 0.4, 7)
    other = source_of(texts(tmp_path), None, ["task=causal-lm"])
    assert other.recipe.task == "causal-lm"
    named = source_of(texts_of_other_names(tmp_path), None, ["task=text-classification"])
    assert named.recipe.data.columns == {"text": "complaint", "label": "kind"}


def test_a_recipe_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(
        f"task: text-classification\nmodel: a/b\ndata: {{train: {texts(tmp_path)}}}\n"
    )
    source = source_of(tmp_path / "recipe.yaml", None, ["data.eval=0.3"])
    assert (source.path, source.recipe.data.eval) == (tmp_path / "recipe.yaml", 0.3)


def test_what_can_not_be_audited_is_said(tmp_path: Path) -> None:
    texts(tmp_path)
    with pytest.raises(UserError, match="no such file or folder") as nowhere:
        source_of(tmp_path / "row.csv")
    assert "rows.csv" in nowhere.value.fix
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="the folder is empty"):
        source_of(tmp_path / "empty")
    with pytest.raises(UserError, match="no such file"):
        source_of(tmp_path / "none.yaml")
    write(tmp_path / "numbers.csv", [{"a": n, "b": n * n} for n in range(30)])
    with pytest.raises(UserError, match="don't tell what they are for") as unknown:
        source_of(tmp_path / "numbers.csv")
    assert "task=text-classification" in unknown.value.fix
    drawn.save(tmp_path / "alone" / "a.png", 1)
    with pytest.raises(UserError, match="nothing that labels them"):
        source_of(tmp_path / "alone")
