"""Hugging Face data sets with pictures and class numbers inside, saved by datasets and as Parquet."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fixtures.picture_sources import save
from tunesmith.data.source import read_rows
from tunesmith.errors import UserError
from tunesmith.pictures.files import read_picture
from tunesmith.pictures.formats import PictureShape
from tunesmith.pictures.kept import PictureStore


def data_set(folder: Path) -> Any:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    content = [save(folder / f"{n}.png", n).read_bytes() for n in range(3)]
    numbers = {"label": datasets.ClassLabel(names=["cat", "dog"]), "kind": datasets.ClassLabel(names=["eel", "fox"])}
    return datasets.Dataset.from_dict(
        {
            "image": [{"bytes": held, "path": None} for held in content],
            "label": [0, 1, 0],
            "objects": [{"bbox": [[1, 2, 10, 8], [3, 3, 4, 4]], "category": [n % 2, 0]} for n in range(3)],
        },
        features=datasets.Features(
            {
                "image": datasets.Image(),
                "label": numbers["label"],
                "objects": {
                    "bbox": datasets.Sequence(datasets.Sequence(datasets.Value("float32"))),
                    "category": datasets.Sequence(numbers["kind"]),
                },
            }
        ),
    )


@pytest.mark.parametrize("way", ["saved", "parquet", "parquet without datasets"])
def test_pictures_and_class_numbers_inside(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = data_set(tmp_path / "pictures")
    source = tmp_path / "set"
    if way == "saved":
        made.save_to_disk(source)
    else:
        source = tmp_path / "set.parquet"
        made.to_parquet(source)
        if way.endswith("datasets"):
            monkeypatch.setitem(sys.modules, "datasets", None)
    shape = PictureShape("label", store=PictureStore(tmp_path / "kept"))
    store = read_rows(source, shape=shape)
    assert [row["label"] for row in store] == ["cat", "dog", "cat"]
    assert any("column label: class numbers were replaced by their names (cat, dog)" in n for n in store.report.notes)
    for number, row in enumerate(store):
        found = read_picture(shape.store.folder / row["image"])
        np.testing.assert_array_equal(found, read_picture(tmp_path / "pictures" / f"{number}.png"))
    boxes = read_rows(source, shape=PictureShape("boxes", store=shape.store))
    assert [[item["label"] for item in row["objects"]] for row in boxes[:2]] == [["eel", "eel"], ["fox", "eel"]]
    assert boxes[0]["objects"][0]["box"] == [1.0, 2.0, 10.0, 8.0]


def test_a_picture_at_fault_is_one_broken_row(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    content = [save(tmp_path / "a.png").read_bytes(), b"no picture"]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    rows = {"image": [{"bytes": held, "path": None} for held in content], "label": ["x", "y"]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "set")
    shape = PictureShape("label", store=PictureStore(tmp_path / "kept"))
    assert len(read_rows(tmp_path / "set", shape=shape, broken_rows=0.5)) == 1
    with pytest.raises(UserError, match="row 2 is no picture of a known format"):
        read_rows(tmp_path / "set", shape=shape)
