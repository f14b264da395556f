"""The benchmark of pictures runs: its report has the published shape, and its figures stand beside their goals."""

from __future__ import annotations

import json

import pytest

from tests.peers.test_benchmarks import ROOT, quick

RECIPES = ROOT / "benchmarks" / "results" / "recipes"


@pytest.mark.heavy
def test_a_detection_step_is_measured_beside_transformers(capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = quick("vision", "detection-step", capsys)
    assert "labelled forward" in row["peer_name"]
    assert row["goal"] == 1.0
    assert row["runs"]["ours"]["count"] == row["runs"]["peer"]["count"] == 2


@pytest.mark.heavy
def test_waiting_for_data_is_a_share_of_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = quick("vision", "data", capsys)
    assert (row["peer"], row["unit"], row["goal"]) == (None, "share", 0.1)
    assert 0 <= row["ours"] <= 1


@pytest.mark.heavy
def test_a_head_on_recorded_features_is_measured_beside_the_trainer(capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = quick("vision", "head/mobilenet-v2", capsys)
    assert "Trainer" in row["peer_name"]
    assert row["goal"] == 8.0
    assert "blocks are frozen" in row["size"]["cache"]


def test_the_figures_that_are_given_out_reach_their_goals() -> None:
    """What a full run wrote on the machine that it names."""
    report = json.loads((ROOT / "benchmarks" / "results" / "vision.json").read_text(encoding="utf-8"))
    assert report["quick"] is False
    assert {row["case"] for row in report["results"]} == {
        "head/mobilenet-v2", "head/resnet-50", "detection-step", "data",
    }  # fmt: skip
    assert [row["case"] for row in report["results"] if not row["holds"]] == []


@pytest.mark.parametrize(
    ("recipe", "metric", "least"),
    [
        ("object-detection", "ap50", 0.60),
        ("image-segmentation", "miou", 0.70),
        ("image-classification", "accuracy", 0.5),
    ],
)
def test_what_the_recipes_came_to_is_what_they_promise(recipe: str, metric: str, least: float) -> None:
    """Scores of whole runs of the recipes as they stand, on held-out stamps and photographs."""
    scores = json.loads((RECIPES / f"{recipe}.json").read_text(encoding="utf-8"))
    assert scores["all"]["tuned"][metric] >= least
    assert scores["verdict"] == "better"
    assert scores["rows"] >= 50
