"""Reading what is not one text table: Parquet, folders, class folders, saved data sets, hub ids."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import Any

import pytest

from tunesmith.data.source import read_rows
from tunesmith.errors import UserError


def refused(source: Any, **options: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        read_rows(source, **options)
    assert caught.value.fix
    return caught.value


def parquet(path: Path, columns: dict[str, list[Any]]) -> Path:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path)
    return path


def test_parquet_keeps_types_and_numbers_its_rows(tmp_path: Path) -> None:
    count = 2500
    path = parquet(
        tmp_path / "a.parquet",
        {
            "text": [f"t{n}" for n in range(count)],
            "n": list(range(count)),
            "raw": [b"\0\xff"] * count,
            "day": [dt.date(2024, 1, 1)] * count,
            "tags": [["a", "b"]] * count,
            "none": [None] * count,
        },
    )
    store = read_rows(path, columns={"number": "n"})
    row = dict(store[2000])
    row.pop("id")
    assert row == {
        "text": "t2000",
        "number": 2000,
        "raw": b"\0\xff",
        "day": "2024-01-01",
        "tags": ["a", "b"],
        "none": None,
    }
    assert store.place(2000) == f"{path} row 2001"
    assert (store.report.format, store.report.detected_by, store.report.rows) == ("parquet", "file name", count)
    assert "did you mean 'text'?" in refused(path, columns={"x": "txet"}).what


def test_parquet_under_another_name_and_torn(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.csv", {"text": ["a"]})
    report = read_rows(path).report
    assert (report.format, report.detected_by) == ("parquet", "content")
    path.write_bytes(path.read_bytes()[:-8])
    assert "not a readable Parquet file" in refused(path).what


@pytest.mark.parametrize("package", ["pyarrow.parquet", "datasets"])
def test_a_missing_package_is_named_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    path = parquet(tmp_path / "a.parquet", {"text": ["a"]})
    monkeypatch.setitem(sys.modules, package, None)
    error = refused(path) if package != "datasets" else refused("some/dataset")
    assert package.partition(".")[0] in error.what
    assert error.fix == "pip install 'tunesmith[data]'"


def test_a_folder_is_read_in_sorted_order_with_places(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    (folder / "deep").mkdir(parents=True)
    (folder / "b.csv").write_text("text,n\nthree,3\n")
    (folder / "a.csv").write_text("text,n\none,1\ntwo,2\n")
    (folder / "deep" / "c.csv").write_text("n,text\n4,four\n")
    (folder / "README.md").write_text("about")
    (folder / ".hidden.csv").write_text("x\n")
    store = read_rows("parts", relative_to=tmp_path)
    assert [row["text"] for row in store] == ["one", "two", "three", "four"]
    assert [store.place(n) for n in range(4)] == [
        "parts/a.csv:2",
        "parts/a.csv:3",
        "parts/b.csv:2",
        "parts/deep/c.csv:2",
    ]
    assert store.report.paths == ("parts/a.csv", "parts/b.csv", "parts/deep/c.csv")
    assert (store.report.format, store.report.detected_by) == ("csv", "folder content")
    assert store.report.notes == ("1 other files in parts were not read: README.md",)
    assert len(read_rows(folder, limit=2)) == 2


def test_files_of_a_folder_must_agree(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,n\none,1\n")
    (tmp_path / "b.csv").write_text("text,m\none,1\n")
    error = refused(tmp_path)
    assert "it lacks n and has m besides" in error.what
    (tmp_path / "b.csv").unlink()
    (tmp_path / "c.jsonl").write_text('{"text": "x"}\n')
    assert "mixes formats: 1 .csv, 1 .jsonl" in refused(tmp_path).what
    store = read_rows(tmp_path, format="jsonl")
    assert [row["text"] for row in store] == ["x"]
    assert store.report.detected_by == "recipe"


def test_class_folders_of_texts(tmp_path: Path) -> None:
    for label in ("neg", "pos"):
        (tmp_path / label).mkdir()
        for n in range(3):
            (tmp_path / label / f"{n}.txt").write_text(f"{label} {n}\nsecond line ä", encoding="utf-8")
    (tmp_path / "pos" / "empty.txt").write_text("")
    store = read_rows(tmp_path)
    assert len(store) == 7
    row = dict(store[4])
    row.pop("id")
    assert row == {"text": "pos 1\nsecond line ä", "label": "pos", "file": "1.txt"}
    assert store.place(4) == f"{tmp_path}/pos/1.txt"
    assert store[6]["text"] == ""
    assert store.report.format == "text-folder"
    (tmp_path / "pos" / "bad.txt").write_bytes(b"\0\xff\x01" * 50)
    assert "not a text file" in refused(tmp_path).what
    assert read_rows(tmp_path, broken_rows=0.2).report.broken_count == 1


def test_a_folder_of_something_else_says_what_it_has(tmp_path: Path) -> None:
    assert "empty" in refused(tmp_path).what
    for n in range(3):
        (tmp_path / f"{n}.jpg").write_bytes(b"\xff\xd8\xff")
    assert "3 .jpg" in refused(tmp_path).what
    assert "save_to_disk" in refused(tmp_path, format="dataset").what
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    assert "this is a file" in refused(tmp_path / "a.csv", format="folder").what


def test_a_saved_data_set_with_splits_classes_and_pictures(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    from PIL import Image

    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["neg", "pos"]),
            "picture": datasets.Image(),
        }
    )
    picture = Image.new("RGB", (5, 4), (200, 0, 0))
    rows = {"text": ["a", "b", "c"], "label": [1, 0, -1], "picture": [picture] * 3}
    one = datasets.Dataset.from_dict(rows, features=features)
    one.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": one, "test": one.select([1])}).save_to_disk(str(tmp_path / "both"))
    store = read_rows(tmp_path / "one")
    assert [row["label"] for row in store] == ["pos", "neg", None]
    assert store[0]["picture"].size == (5, 4)
    assert (store.report.format, store.report.rows) == ("dataset", 3)
    assert "neg, pos" in store.report.notes[0]
    assert store.place(1) == f"{tmp_path}/one row 2"
    assert len(read_rows(tmp_path / "both")) == 3
    assert [row["text"] for row in read_rows(tmp_path / "both", split="test")] == ["b"]
    assert "did you mean 'test'?" in refused(tmp_path / "both", split="tset").what
    assert "has no splits" in refused(tmp_path / "one", split="train").what
    (tmp_path / "one" / "dataset_info.json").write_text("{")
    assert "cannot be read" in refused(tmp_path / "one").what


def test_a_hub_id_that_cannot_be_had_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    error = refused("nobody/no-such-data-set")
    assert error.where == "nobody/no-such-data-set"
    assert "\n" not in error.what
    assert "there is no such file or folder" in error.what
    assert "offline" in error.fix


def test_a_hub_id_is_loaded_with_name_and_split(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    asked: list[tuple[Any, ...]] = []

    def load_dataset(identity: str, name: str | None, *, split: str) -> Any:
        asked.append((identity, name, split))
        return datasets.Dataset.from_dict({"text": ["a", "b"]})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    store = read_rows("org/set", name="small", split="test")
    assert asked == [("org/set", "small", "test")]
    assert store.place(1) == "org/set row 2"
    assert len(read_rows("set", format="dataset")) == 2
    assert asked[-1] == ("set", None, "train")


def test_reading_a_csv_imports_nothing_heavy() -> None:
    import subprocess

    code = (
        "import sys; from tunesmith.data.source import read_rows; read_rows([{'a': 1}]); "
        "print([m for m in ('torch', 'transformers', 'pyarrow', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_folder_of_split_files_is_read_split_by_split(tmp_path: Path) -> None:
    for name, text in (("train-0.csv", "a"), ("train-1.csv", "b"), ("test.csv", "c")):
        (tmp_path / name).write_text(f"text,label\n{text},x\n")
    train = read_rows(tmp_path)
    assert [row["text"] for row in train] == ["a", "b"]
    assert any("left alone: 1 of test" in note for note in train.report.notes)
    assert [row["text"] for row in read_rows(tmp_path, split="test")] == ["c"]
    with pytest.raises(UserError, match="no files of split 'dev'"):
        read_rows(tmp_path, split="dev")


def test_a_folder_without_split_names_is_read_whole(tmp_path: Path) -> None:
    for name in ("first.csv", "second.csv"):
        (tmp_path / name).write_text(f"text,label\n{name},x\n")
    assert len(read_rows(tmp_path)) == 2
