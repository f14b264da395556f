"""The audit's benchmark: its truth is right for each fault, its scores count right, two of its cases run."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.fixtures.built import built
from tests.peers.test_benchmarks import load

ROOT = Path(__file__).resolve().parents[2]
STAMPS = ROOT / "examples" / "pictures" / "stamps"
PROMPTS = ROOT / "examples" / "prompts" / "train"


def world(name: str, folder: Path) -> Any:
    made = load("audit_faults").make(name, folder / "world", quick=True)
    kept = json.loads((made.folder / "truth.json").read_text(encoding="utf-8"))
    assert kept["faults"] == {fault: [list(case) for case in cases] for fault, cases in made.faults.items()}
    taken = [case[0] for fault, cases in made.faults.items() for case in cases]
    assert len(taken) == len(set(taken)), "a row carries one fault"
    return made


def table(made: Any, column: str = "text") -> dict[str, Any]:
    """``side:id`` to a column of a world of CSV files."""
    rows = {}
    for side in ("train", "eval"):
        with (made.folder / f"{side}.csv").open(encoding="utf-8", newline="") as stream:
            rows.update({f"{side}:{row['id']}": row[column] for row in csv.DictReader(stream)})
    return rows


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def conversations(made: Any) -> dict[str, dict[str, Any]]:
    return {f"{side}:{row['id']}": row for side in ("train", "eval") for row in lines(made.folder / f"{side}.jsonl")}


def pixels(made: Any, place: str) -> np.ndarray[Any, Any]:
    side, _, name = place.partition(":")
    with Image.open(made.folder / side / name) as picture:
        return np.asarray(picture.convert("RGB"), dtype=np.float32)


@pytest.mark.parametrize("name", ["text/flips-20", "text/source-flips-5"])
def test_flipped_labels_are_the_ones_that_differ_from_the_clean_rows(name: str, tmp_path: Path) -> None:
    made, source = world(name, tmp_path), "source" in name
    faults = load("audit_faults_text")
    by_text = {row["text"]: row["label"] for row in faults.sentiment("source" if source else "label")}
    texts, labels = table(made), table(made, "label")
    differing = {place for place, text in texts.items() if labels[place] != by_text[text]}
    assert differing == {place for (place,) in made.faults["flips"]}
    assert len(differing) == round((0.05 if source else 0.2) * made.rows["train"])


def test_repeats_are_equal_or_nearly_and_nothing_else_is(tmp_path: Path) -> None:
    made = world("text/doubles", tmp_path)
    texts = table(made)
    for fault, cases in made.faults.items():
        for one, other in cases:
            assert one.startswith("train:")
            assert other.startswith("eval:" if "leak" in fault else "train:")
            assert (texts[one] == texts[other]) == fault.endswith("exact"), fault
            words, others = (["".join(filter(str.isalnum, w)).lower() for w in texts[p].split()] for p in (one, other))
            words, others = [w for w in words if w], [w for w in others if w]
            apart = sum(a != b for a, b in zip(words, others, strict=True))
            assert apart == (1 if "word" in fault else 0), (fault, texts[one], texts[other])
    pairs = {frozenset(case) for cases in made.faults.values() for case in cases}
    seen: dict[str, str] = {}
    for place, text in texts.items():
        if (first := seen.setdefault(text, place)) != place:
            assert frozenset((first, place)) in pairs


def test_damaged_texts_are_known_row_by_row(tmp_path: Path) -> None:
    made = world("text/damage", tmp_path)
    clean = {row["id"]: row["text"] for row in load("audit_faults_text").sentiment()}
    texts = table(made)
    damaged = {place for place, text in texts.items() if text != clean[place.split(":", 1)[1]]}
    planted = {fault: {place for (place,) in cases} for fault, cases in made.faults.items()}
    assert damaged == set().union(*planted.values()) - planted["overlap"]
    for place in planted["mojibake"]:
        assert texts[place].encode("cp1252").decode("utf-8") != texts[place]
    for place in planted["card"]:
        digits = [int(c) for c in texts[place].split("My card is")[1] if c.isdigit()]
        assert sum(sum(divmod(2 * d, 10)) if at % 2 == 0 else d for at, d in enumerate(digits)) % 10 == 0
    against = (made.folder / "benchmark.jsonl").read_text(encoding="utf-8")
    shared = {place for place, text in texts.items() if json.dumps(text, ensure_ascii=False)[1:-1] in against}
    assert {place for place in shared if place.startswith("train:")} == planted["overlap"]


def test_answers_are_known_row_by_row(tmp_path: Path) -> None:
    made = world("answers/faq", tmp_path)
    rows = conversations(made)
    said = {place: [turn["content"] for turn in row["messages"]] for place, row in rows.items()}
    for one, other in made.faults["contradiction"] + made.faults["asked-twice"]:
        assert said[one][:-1] == said[other][:-1]
        assert said[one][-1] != said[other][-1]
    for one, other in made.faults["exact"] + made.faults["leak-exact"]:
        assert said[one] == said[other]
    for (place,) in made.faults["copied-question"]:
        assert said[place][-1] == said[place][-2]
    shared = {r["group"] for p, r in rows.items() if p.startswith("train")} & {
        r["group"] for p, r in rows.items() if p.startswith("eval")
    }
    planted = {rows[one]["group"] for fault in ("leak-group", "leak-exact") for one, _ in made.faults[fault]}
    assert shared == planted


@pytest.fixture(scope="module")
def stamps() -> Path:
    return built("pictures") / "stamps"


@pytest.fixture(scope="module")
def prompts() -> Path:
    return built("prompts") / "train"


@pytest.mark.usefixtures("stamps")
def test_flipped_pictures_lie_in_another_class(tmp_path: Path) -> None:
    made = world("pictures/flips-20", tmp_path)
    true = {file.read_bytes(): file.parent.name for file in (STAMPS / "train").glob("*/*")}
    files = list((made.folder / "train").glob("*/*"))
    wrong = {f"train:{f.parent.name}/{f.name}" for f in files if true[f.read_bytes()] != f.parent.name}
    assert wrong == {place for (place,) in made.faults["flips"]}


@pytest.mark.usefixtures("stamps")
def test_repeated_pictures_are_equal_or_nearly(tmp_path: Path) -> None:
    made = world("pictures/doubles", tmp_path)
    for fault, cases in made.faults.items():
        for one, other in cases:
            first, second = pixels(made, one), pixels(made, other)
            if fault.endswith("exact"):
                assert np.array_equal(first, second)
            elif "resize" in fault:
                assert second.shape[0] == round(first.shape[0] * 0.7)
            else:
                assert first.shape == second.shape
                if "crop" in fault:
                    middle = Image.fromarray(first[13:-13, 13:-13].astype(np.uint8))
                    first = np.asarray(middle.resize((256, 256)), dtype=np.float32)
                apart = 0.15 * first.mean() + 3 if "brightness" in fault else 8
                assert 0 < np.abs(first - second).mean() < apart, fault


@pytest.mark.usefixtures("stamps")
def test_poor_pictures_are_poor(tmp_path: Path) -> None:
    made = world("pictures/quality", tmp_path)
    for (place,) in made.faults["unreadable"]:
        with pytest.raises(OSError, match=r"identify|truncated"):
            pixels(made, place)
    readable = {place for fault, cases in made.faults.items() if fault != "unreadable" for (place,) in cases}
    assert max(pixels(made, place).mean() for (place,) in made.faults["dark"]) < 25
    assert min(pixels(made, place).mean() for (place,) in made.faults["bright"]) > 220
    assert max(pixels(made, place).std() for (place,) in made.faults["low-information"]) < 90
    assert {pixels(made, place).shape[:2] for (place,) in made.faults["odd-aspect"]} == {(32, 256)}
    assert {pixels(made, place).shape[:2] for (place,) in made.faults["odd-size"]} == {(20, 20)}
    for file in (made.folder / "train").glob("*/*"):
        place = f"train:{file.parent.name}/{file.name}"
        same = file.read_bytes() == (STAMPS / "train" / file.parent.name / file.name).read_bytes()
        damaged = place in readable or (place,) in made.faults["unreadable"]
        assert same != damaged


@pytest.mark.usefixtures("stamps")
def test_boxes_are_damaged_where_the_truth_says_so(tmp_path: Path) -> None:
    made = world("pictures/boxes", tmp_path)

    def boxes(file: Path) -> dict[str, list[tuple[Any, ...]]]:
        told = json.loads(file.read_text(encoding="utf-8"))
        names = {one["id"]: one["file_name"] for one in told["images"]}
        found: dict[str, list[tuple[Any, ...]]] = {name: [] for name in names.values()}
        for one in told["annotations"]:
            found[names[one["image_id"]]].append((one["category_id"], *one["bbox"]))
        return found

    clean = boxes(ROOT / "examples/pictures/detection/train/_annotations.coco.json")
    damaged = boxes(made.folder / "train" / "_annotations.coco.json")
    changed = {f"train:{name}" for name in clean if sorted(clean[name]) != sorted(damaged[name])}
    assert changed == {place for cases in made.faults.values() for (place,) in cases}
    more = {"box-dropped": -1, "box-doubled": 1, "box-tiny": 1}
    for fault, cases in made.faults.items():
        for (place,) in cases:
            name = place.split(":")[1]
            assert len(damaged[name]) - len(clean[name]) == more.get(fault, 0), fault


@pytest.mark.usefixtures("stamps")
def test_masks_are_damaged_where_the_truth_says_so(tmp_path: Path) -> None:
    made = world("pictures/masks", tmp_path)
    changed = set()
    for file in (made.folder / "train" / "masks").iterdir():
        with (
            Image.open(file) as one,
            Image.open(ROOT / "examples/pictures/segmentation/train/masks" / file.name) as other,
        ):
            assert one.size == other.size
            if not np.array_equal(np.array(one), np.array(other)):
                changed.add(f"train:images/{file.stem}.jpg")
    assert changed == {place for cases in made.faults.values() for (place,) in cases}


@pytest.mark.usefixtures("prompts")
def test_recordings_and_transcripts_are_damaged_where_the_truth_says_so(tmp_path: Path) -> None:
    import soundfile

    made = world("audio", tmp_path)
    clean = {row["file_name"]: row["text"] for row in lines(PROMPTS / "metadata.jsonl")}
    rows = lines(made.folder / "train" / "metadata.jsonl")
    own = {row["file_name"]: row["text"] for row in rows if row["file_name"] in clean}
    swapped = {f"train:{name}" for name, text in own.items() if text != clean[name]}
    assert swapped == {place for (place,) in made.faults["transcript-swapped"]}
    altered = {f"train:{name}" for name in own
               if (made.folder / "train" / name).read_bytes() != (PROMPTS / name).read_bytes()}  # fmt: skip
    kinds = ("clipped", "silent", "noisy", "unreadable")
    assert altered == {place for kind in kinds for (place,) in made.faults[kind]}

    def wave(place: str) -> Any:
        side, _, name = place.partition(":")
        return soundfile.read(made.folder / side / name, dtype="float32")[0]

    assert all(not wave(place).any() for (place,) in made.faults["silent"])
    assert all((np.abs(wave(place)) > 0.99).mean() > 0.01 for (place,) in made.faults["clipped"])
    for one, other in made.faults["leak-near-gain"]:
        assert wave(other) == pytest.approx(0.6 * wave(one), abs=1e-3)


def mark(place: str, twin: str | None = None) -> dict[str, Any]:
    side, _, row = place.partition(":")
    return {"row": row, "side": side, "twin": twin, "note": ""}


def test_score_counts_cases_and_marks() -> None:
    scores = load("audit_scores")
    cases = [["train:a", "train:b"], ["train:c", "eval:d"], ["train:e"]]
    marks = [mark("train:b", "train:a"), mark("train:c", "eval:x"), mark("train:e", "train:z"), mark("train:f")]
    one = scores.score(marks, cases)
    assert (one["planted"], one["found"], one["marked"], one["right"]) == (3, 2, 4, 2)
    assert one["missed"] == ["train:c eval:d"]
    total = scores.pooled([one, scores.score([mark("train:f")], [["train:f"]])])
    assert (total["recall"], total["precision"]) == (0.75, 0.6)
    spared = scores.score(marks, cases, spared=["train:f", "train:c"])
    assert (spared["marked"], spared["right"]) == (2, 2)
    assert scores.pooled([scores.score([], cases)])["precision"] is None


def test_a_goal_holds_or_not() -> None:
    scores = load("audit_scores")
    total = {"recall": 0.8, "precision": 0.6}
    assert scores.held(total, scores.Goal(0.8, 0.6))["holds"]
    assert not scores.held(total, scores.Goal(0.81, 0.6))["holds"]
    assert not scores.held(total, scores.Goal(0.8, 0.61))["holds"]
    assert not scores.held({"recall": 1.0, "precision": None}, scores.Goal(0.8, 0.6))["holds"]
    assert scores.held({"recall": 1.0, "precision": None}, scores.Goal(0.8))["holds"]


def test_our_recall_is_taken_at_the_precision_of_a_peer() -> None:
    scores, peers = load("audit_scores"), load("audit_beside")
    faults = {"flips": [["train:a"], ["train:b"]]}
    ranked = [mark("train:a"), mark("train:x"), mark("train:b"), mark("train:y")]
    report = {"findings": [{"code": scores.CODES["flips"][0], "marks": ranked}]}
    assert scores.pooled([peers.at_precision(report, "flips", faults, 1.0)])["recall"] == 0.5
    assert scores.pooled([peers.at_precision(report, "flips", faults, 0.5)])["recall"] == 1.0


@pytest.mark.heavy
@pytest.mark.usefixtures("stamps")
def test_quick_run_of_two_cases(capsys: pytest.CaptureFixture[str]) -> None:
    audit = load("audit")
    kept = {file: file.stat().st_mtime_ns for file in (ROOT / "benchmarks" / "results").glob("*.json")}
    audit.main(["--quick", "--json", "--cases", "text/doubles,pictures/quality"])
    assert kept == {file: file.stat().st_mtime_ns for file in (ROOT / "benchmarks" / "results").glob("*.json")}
    report = json.loads(capsys.readouterr().out)
    assert report["benchmark"] == "audit"
    assert report["quick"] is True
    assert report["machine"]["cpu"]
    rows = {(row["case"], row.get("peer"), row["fault"]): row for row in report["results"]}
    exact = rows["text/doubles", None, "exact"]
    assert (exact["recall"], exact["precision"]) == (1.0, 1.0), exact
    assert exact["holds"]
    assert rows["pictures/quality", None, "unreadable"]["recall"] == 1.0
    costs = rows["text/doubles", None, None]
    assert costs["seconds"] > 0
    assert 50 < costs["peak_mib"] < 4_096
    assert ("pictures/quality", "cleanvision", None) in rows
    assert "exact" in audit.table(report)


def test_unknown_case_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load("audit").main(["--cases", "txet"])
    assert "text/doubles" in capsys.readouterr().err
