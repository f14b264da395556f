"""A mended copy: every format read again has exactly the rows wanted; nothing is written in place, or by halves."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.fixtures import picture_sources as drawn
from tests.fixtures import sounds
from tunesmith.audit.copied import CopyJob, Placed
from tunesmith.audit.copied_tables import as_lines
from tunesmith.audit.data import AuditData
from tunesmith.audit.fixing import check_codes, check_place, write_fixed
from tunesmith.audit.found import AuditReport, Found, Mark
from tunesmith.audit.kept import Kept
from tunesmith.audit.mended import decide
from tunesmith.errors import UserError
from tunesmith.prepare import read_sides
from tunesmith.recipe import Source, read_recipe

ROWS = [{"text": f"text, number {n}", "label": ["no", "yes"][n % 2], "speaker": f"s{n // 4}"} for n in range(24)]
ASKED = [{"question": f"What is {n}?", "answer": f"It is\n{n + 1}."} for n in range(20)]


def source_of(task: str, train: Path, **more: Any) -> Source:
    sections = {"task": task, "model": "starter:none", **more, "data": {"train": str(train), **more.get("data", {})}}
    return read_recipe(train.parent / "recipe.yaml", text=yaml.safe_dump(sections))


def opened(source: Source, folder: Path) -> AuditData:
    return AuditData(read_sides(source), Kept(folder / "measures.sqlite"), has_weights=False)


def report(*found: Found, **accepted: str) -> AuditReport:
    return AuditReport(
        "rows", {}, list(found), accepted={code.replace("_", "-"): why for code, why in accepted.items()}
    )


def finding(code: str, marks: Sequence[Mark], remedy: Any = "drop") -> Found:
    return Found(code, "warning", "what", "where", "fix", marks, remedy=remedy)


def ids(rows: Sequence[Any]) -> list[str]:
    return [str(row["id"]) for row in rows]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_jsonl(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


# Every format


def csv_of_texts(folder: Path) -> Source:
    path = folder / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["body", "label", "speaker"], delimiter=";")
        writer.writeheader()
        writer.writerows(
            {"body": row["text"] + ' "said"\nagain', **{k: row[k] for k in ("label", "speaker")}} for row in ROWS
        )
    return source_of("text-classification", path, data={"columns": {"text": "body"}})


def jsonl_of_texts(folder: Path) -> Source:
    return source_of("text-classification", write_jsonl(folder / "rows.jsonl", ROWS))


def json_on_one_line(folder: Path) -> Source:
    path = folder / "rows.json"
    path.write_text(json.dumps(ROWS), encoding="utf-8")
    return source_of("text-classification", path)


def parquet_of_texts(folder: Path) -> Source:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.Table.from_pylist([{**row, "n": at} for at, row in enumerate(ROWS)]), folder / "rows.parquet")
    return source_of("text-classification", folder / "rows.parquet")


def two_files(folder: Path) -> Source:
    (folder / "parts").mkdir()
    for name, rows in (("a", ROWS[:14]), ("b", ROWS[14:])):
        write_jsonl(folder / "parts" / f"{name}.jsonl", rows)
    return source_of("text-classification", folder / "parts")


def folder_of_texts(folder: Path) -> Source:
    for number, row in enumerate(ROWS):
        path = folder / "texts" / row["label"] / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(row["text"], encoding="utf-8")
    return source_of("text-classification", folder / "texts")


def questions(folder: Path) -> Source:
    return source_of("causal-lm", write_jsonl(folder / "asked.jsonl", ASKED))


def preferences(folder: Path) -> Source:
    rows = [{"prompt": f"Say {n}.", "chosen": f"{n}", "rejected": "no"} for n in range(20)]
    return source_of("preference", write_jsonl(folder / "pairs.jsonl", rows))


def class_folders(folder: Path) -> Source:
    drawn.image_folder(folder / "pictures", {"train/cats": 6, "train/dogs": 6, "test/cats": 4, "test/dogs": 4})
    place = str(folder / "pictures")
    return source_of("image-classification", folder / "pictures", data={"eval": place, "eval_split": "test"})


def named_pictures(folder: Path) -> Source:
    rows = []
    for number in range(12):
        drawn.save(folder / "shots" / f"{number}.png", number)
        rows.append({"image": f"shots/{number}.png", "label": ["a", "b"][number % 2], "camera": number % 3})
    return source_of("image-classification", write_jsonl(folder / "pictures.jsonl", rows))


def coco(folder: Path) -> Source:
    boxes = {f"{n}.jpg": [(1 + n % 2, (2, 3, 10.5, 8.25)), (2, (n, 1, 5, 5))] for n in range(10)}
    drawn.coco(folder / "coco", {**boxes, "none.jpg": []})
    return source_of("object-detection", folder / "coco", options={"background": 0.2})


def yolo(folder: Path) -> Source:
    drawn.yolo(folder / "yolo", {f"p{n}": f"{n % 2} 0.5 0.5 0.{n + 1} 0.333333\n" for n in range(9)} | {"bare": ""})
    return source_of("object-detection", folder / "yolo")


def voc(folder: Path) -> Source:
    drawn.voc(folder / "voc", {f"p{n}": [("cat" if n % 2 else "dog", (2, 3, 10 + n, 20))] for n in range(10)})
    return source_of("object-detection", folder / "voc")


def masks(folder: Path) -> Source:
    rng = np.random.default_rng(0)
    drawn.mask_folder(
        folder / "masks",
        {f"m{n}": rng.integers(0, 3, (30, 40)) for n in range(10)},
        '{"0": "sky", "1": "sea", "2": "land"}',
    )
    return source_of("image-segmentation", folder / "masks")


def regions(folder: Path) -> Source:
    boxes = {f"{n}.jpg": [(1 + n % 2, (2, 3, 10, 8))] for n in range(10)}
    drawn.coco(folder / "coco", boxes, segmentation=[[2, 3, 12, 3, 12, 11, 2, 11]])
    return source_of("image-segmentation", folder / "coco")


def recordings(folder: Path) -> Source:
    sounds.audio_folder(folder / "speech", 10)
    return source_of("speech-to-text", folder / "speech")


def texts_beside_recordings(folder: Path) -> Source:
    sounds.texts_beside(folder / "speech", 10)
    return source_of("speech-to-text", folder / "speech")


def parts_of_recordings(folder: Path) -> Source:
    sounds.spoken(folder / "long.wav", "sun rain wind snow day night moon star hill lake")
    rows = [{"audio": "long.wav", "text": f"w{n}", "start": n / 10, "end": n / 10 + 0.5} for n in range(10)]
    return source_of("speech-to-text", write_jsonl(folder / "parts.jsonl", rows), data={"eval": 0.3})


def captions_beside(folder: Path) -> Source:
    for number in range(10):
        drawn.save(folder / "captioned" / f"{number}.png", number)
        (folder / "captioned" / f"{number}.txt").write_text(f"picture {number}", encoding="utf-8")
    return source_of("text-to-image", folder / "captioned")


def one_prompt(folder: Path) -> Source:
    for number in range(8):
        drawn.save(folder / "subject" / f"{number}.png", number)
    prompts = write_jsonl(folder / "prompts.jsonl", [{"text": f"sks on {n}"} for n in range(6)])
    options = {"prompt": "a sks bird"}
    return source_of("text-to-image", folder / "subject", data={"eval": str(prompts)}, options=options)


FORMATS: dict[Callable[[Path], Source], str] = {
    csv_of_texts: "CSV",
    jsonl_of_texts: "JSONL",
    json_on_one_line: "JSON",
    parquet_of_texts: "Parquet",
    two_files: "JSONL",
    folder_of_texts: "a folder of texts for each label",
    questions: "JSONL",
    preferences: "JSONL",
    class_folders: "a folder of pictures for each class",
    named_pictures: "files, with metadata.jsonl",
    coco: "COCO",
    yolo: "YOLO",
    voc: "COCO",
    masks: "pictures and masks",
    regions: "COCO",
    recordings: "files, with metadata.jsonl",
    texts_beside_recordings: "files, with metadata.jsonl",
    parts_of_recordings: "files, with rows.jsonl",
    captions_beside: "pictures with captions beside them",
    one_prompt: "pictures",
}


def told(row: Any) -> str:
    """What a row says, whatever it and its file are called."""
    left = ("id", "image", "mask", "audio", "file", "source_id", "clipped", "image_id")
    values = {name: value for name, value in row.items() if name not in left}
    if "objects" in values:
        boxes = [{**one, "box": [round(side, 6) for side in one["box"]]} for one in values["objects"]]
        values["objects"] = [{k: v for k, v in one.items() if k not in left} for one in boxes]
    return json.dumps(values, sort_keys=True)


@pytest.mark.parametrize("make", FORMATS, ids=lambda make: make.__name__)
def test_a_copy_read_again_has_exactly_the_rows_wanted(make: Any, tmp_path: Path) -> None:
    data = opened(make(tmp_path), tmp_path)
    gone: dict[Any, list[int]] = {"train": [0, 3], "eval": [1]}
    marks = [Mark(ids(data.sides[side])[n], side, note="is bad") for side, some in gone.items() for n in some]
    before = {
        file: file.read_bytes() for file in sorted(tmp_path.rglob("*")) if file.is_file() and "sqlite" not in file.name
    }
    log = write_fixed(data, report(finding("leak", marks)), tmp_path / "mended")
    assert log.layout["train"] == FORMATS[make]
    again = read_sides(read_recipe(log.recipe))
    for side, rows in (("train", again.learning), ("eval", again.held_out)):
        wanted = [told(row) for n, row in enumerate(data.sides[side]) if n not in gone[side]]
        assert sorted(map(told, rows)) == sorted(wanted)
        assert len(rows) == log.rows[side] > 0
    assert log.removed == {"leak": 3}
    removed = lines(log.folder / "removed.jsonl")
    assert [one["row"] for one in removed] == [mark.row for mark in marks]
    assert {(one["code"], one["note"], one["after"]) for one in removed} == {("leak", "is bad", None)}
    assert told(removed[0]["before"]) == told(data.sides["train"][0])
    assert {file: file.read_bytes() for file in before} == before, "the source changed"
    assert not list(tmp_path.glob(".mended*"))


def test_the_copy_does_not_need_its_source_any_more(tmp_path: Path) -> None:
    data = opened(class_folders(tmp_path), tmp_path)
    log = write_fixed(data, report(), tmp_path / "mended")
    (tmp_path / "pictures").rename(tmp_path / "moved")
    again = read_sides(read_recipe(log.recipe))
    assert sorted(map(told, again.learning)) == sorted(map(told, data.sides["train"]))


def test_coco_keeps_the_ids_of_its_pictures(tmp_path: Path) -> None:
    data = opened(coco(tmp_path), tmp_path)
    log = write_fixed(data, report(), tmp_path / "mended")
    known = {row["image"]: row["image_id"] for row in data.sides["train"]}
    content = json.loads((log.folder / "train" / "annotations.json").read_text(encoding="utf-8"))
    assert {image["file_name"]: image["id"] for image in content["images"]} == known


def test_a_table_keeps_its_columns_and_its_delimiter(tmp_path: Path) -> None:
    data = opened(csv_of_texts(tmp_path), tmp_path)
    log = write_fixed(data, report(finding("leak", [Mark(ids(data.sides["train"])[0], "train")])), tmp_path / "mended")
    assert (log.folder / "train.csv").read_text(encoding="utf-8").startswith("body;label;speaker\n")
    assert read_recipe(log.recipe).recipe.data.columns == {"text": "body"}


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    data = opened(parquet_of_texts(tmp_path), tmp_path)
    log = write_fixed(data, report(), tmp_path / "mended")
    assert pq.read_schema(log.folder / "train.parquet").equals(pq.read_schema(tmp_path / "rows.parquet"))


# What changes


@pytest.mark.parametrize("make", [csv_of_texts, jsonl_of_texts, parquet_of_texts, folder_of_texts, class_folders])
def test_a_changed_label_is_the_one_of_the_copy(make: Any, tmp_path: Path) -> None:
    data = opened(make(tmp_path), tmp_path)
    row = data.sides["train"][0]
    labels = sorted({one["label"] for one in data.sides["train"]})
    other = next(label for label in labels if label != row["label"])
    mark = Mark(str(row["id"]), "train", change={"label": other})
    log = write_fixed(data, report(finding("leak", [mark], "change")), tmp_path / "mended")
    again = read_sides(read_recipe(log.recipe)).learning
    wanted = [told({**one, "label": other} if n == 0 else one) for n, one in enumerate(data.sides["train"])]
    assert sorted(map(told, again)) == sorted(wanted)
    assert log.changed == {"leak": 1}
    (changed,) = lines(log.folder / "changed.jsonl")
    assert (changed["before"], changed["after"]) == ({"label": row["label"]}, {"label": other})


def test_a_changed_answer_and_a_changed_box(tmp_path: Path) -> None:
    data = opened(questions(tmp_path), tmp_path)
    row = data.sides["train"][1]
    messages = [row["messages"][0], {"role": "assistant", "content": "Two."}]
    mark = Mark(str(row["id"]), "train", change={"messages": messages})
    log = write_fixed(data, report(finding("leak", [mark], "change")), tmp_path / "mended")
    again = read_sides(read_recipe(log.recipe)).learning
    assert [one["messages"][1]["content"] for one in again].count("Two.") == 1
    assert len(again) == len(data.sides["train"])
    (tmp_path / "boxes").mkdir()
    data = opened(coco(tmp_path / "boxes"), tmp_path)
    row = data.sides["train"][0]
    one = {**row["objects"][0], "box": [1.0, 1.0, 6.0, 6.0]}
    mark = Mark(str(row["id"]), "train", change={"objects": [one, *row["objects"][1:]]})
    log = write_fixed(data, report(finding("leak", [mark], "change")), tmp_path / "better")
    boxes = [entry["box"] for again in read_sides(read_recipe(log.recipe)).learning for entry in again["objects"]]
    assert boxes.count([1.0, 1.0, 6.0, 6.0]) == 1


def test_what_is_decided_of_a_row_that_several_findings_name() -> None:
    change = Mark("a", "train", change={"label": "x"})
    other = Mark("a", "train", change={"label": "y", "text": "t"})
    decided = decide(report(finding("leak", [change], "change"), finding("rare-class", [other], "change")))
    assert decided.by_row["train"]["a"].change == {"label": "x", "text": "t"}
    gone = decide(report(finding("leak", [change], "change"), finding("rare-class", [Mark("a", "train")])))
    assert (gone.by_row["train"]["a"].change, gone.by_row["train"]["a"].code) == (None, "rare-class")
    assert gone.by_row["train"]["a"].also == ("leak",)


def test_a_likely_label_is_given_only_where_asked_and_never_to_who_judges() -> None:
    marks = [Mark("a", "train", change={"label": "x"}), Mark("b", "eval", change={"label": "x"})]
    wrong = report(finding("leak", marks))
    assert decide(wrong).by_row["train"]["a"].change is None
    relabelled = decide(wrong, relabel=True).by_row
    assert relabelled["train"]["a"].change == {"label": "x"}
    assert relabelled["eval"]["b"].change is None


def test_accepted_findings_are_left_alone_unless_named() -> None:
    wrong = report(finding("leak", [Mark("a", "train")]), finding("rare-class", [Mark("b", "train")]), leak="meant")
    assert set(decide(wrong).by_row["train"]) == {"b"}
    assert set(decide(wrong, ["leak"]).by_row["train"]) == {"a"}
    assert not decide(report(finding("leak", [Mark("a", "train")], None))).by_row["train"]


# Bad input


def test_a_folder_that_holds_something_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    source = jsonl_of_texts(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        write_fixed(opened(source, tmp_path), report(), tmp_path / "there")
    assert [file.name for file in (tmp_path / "there").iterdir()] == ["mine.txt"]
    with pytest.raises(UserError, match="this is a file"):
        check_place(tmp_path / "rows.jsonl", source)
    (tmp_path / "empty").mkdir()
    assert write_fixed(opened(source, tmp_path), report(), tmp_path / "empty").rows["train"]


@pytest.mark.parametrize("inside", ["new", "train/new", "../pictures/new"])
def test_a_copy_inside_of_the_data_is_refused(inside: str, tmp_path: Path) -> None:
    source = class_folders(tmp_path)
    with pytest.raises(UserError, match="inside of the data"):
        check_place(tmp_path / "pictures" / inside, source)
    (tmp_path / "link").symlink_to(tmp_path / "pictures")
    with pytest.raises(UserError, match="inside of the data"):
        check_place(tmp_path / "link" / "new", source)
    check_place(tmp_path / "pictures-mended", source)


def test_an_unknown_code_is_named_with_its_neighbour(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'leak'"):
        check_codes(["leek"], jsonl_of_texts(tmp_path))
    check_codes(["leak", "group-leak", "similar-labels"], jsonl_of_texts(tmp_path))


def test_a_copy_without_rows_is_refused(tmp_path: Path) -> None:
    data = opened(jsonl_of_texts(tmp_path), tmp_path)
    every = [Mark(row, "eval") for row in ids(data.sides["eval"])]
    with pytest.raises(UserError, match="eval rows would be left out"):
        write_fixed(data, report(finding("leak", every)), tmp_path / "mended")
    assert not (tmp_path / "mended").exists()


# Whole or not at all


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_what_stops_the_writing_leaves_no_half_copy(stop: Any, tmp_path: Path) -> None:
    data = opened(class_folders(tmp_path), tmp_path)

    def stopped(what: str, done: int, total: int) -> None:
        if what.startswith("writing eval"):
            assert list(tmp_path.glob(".mended*")), "the train side is written already"
            raise stop

    data.progress = stopped
    with pytest.raises((KeyboardInterrupt, UserError)):
        write_fixed(data, report(), tmp_path / "mended")
    assert not list(tmp_path.glob("*mended*"))
    assert not list(tmp_path.glob(".mended*"))


def test_a_layout_that_loses_a_row_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def losing(job: CopyJob) -> Placed:
        placed = as_lines(job)
        file = job.folder / placed.name
        file.write_text("".join(file.read_text(encoding="utf-8").splitlines(keepends=True)[1:]), encoding="utf-8")
        return Placed(placed.name, "losing")

    monkeypatch.setattr("tunesmith.audit.fixing.as_it_was", losing)
    data = opened(jsonl_of_texts(tmp_path), tmp_path)
    log = write_fixed(data, report(), tmp_path / "mended")
    assert set(log.layout.values()) == {"JSONL"}, "the next layout holds them"
    assert log.rows["train"] == len(data.sides["train"])
    monkeypatch.setattr("tunesmith.audit.fixing.as_lines", losing)
    with pytest.raises(UserError, match="no layout holds"):
        write_fixed(data, report(), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_rows_that_cannot_be_read_are_counted_and_logged(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", ROWS)
    path.write_text(path.read_text(encoding="utf-8") + "{broken\n", encoding="utf-8")
    data = opened(source_of("text-classification", path, data={"broken_rows": 0.1}), tmp_path)
    log = write_fixed(data, report(), tmp_path / "mended")
    assert log.unreadable == 1
    (gone,) = lines(log.folder / "removed.jsonl")
    assert gone["code"] == "unreadable"
    assert gone["place"].endswith("rows.jsonl:25")
