"""Panels of generated pictures: what stands in them, and that the report draws each."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tunesmith.diffusion.panels import (
    MOST_STEPS,
    development_panels,
    generation_panels,
    metrics_table,
    sample_galleries,
)
from tunesmith.diffusion.scores import Compared, Criteria, GenerationScores, Resampling, compared, pack_picture
from tunesmith.metrics import Interval
from tunesmith.report import panels as report_panels
from tunesmith.report import write_report

SCRIPT = "<script>alert('x')</script>"
REAL = [np.full((6, 6, 3), (200 + n, 20, 20), dtype=np.uint8) for n in range(14)]
OWN = np.full((300, 900, 3), (20, 20, 220), dtype=np.uint8)


class Colours:
    """The mean colour of a picture, of length 1."""

    name = "colours"

    def encode(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        found = np.array([picture.reshape(-1, 3).mean(axis=0) for picture in pictures])
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def picture(*colour: int) -> dict[str, Any]:
    return pack_picture(np.full((8, 8, 3), colour, dtype=np.uint8))


def rated(**more: Any) -> tuple[GenerationScores, GenerationScores]:
    rows = [{"id": f"s{n}", "text": f"sks {n % 2} {SCRIPT}", "subject": True, "image": ""} for n in range(10)]
    rows += [{"id": f"o{n}", "text": f"other {n}", "subject": False, "image": "own"} for n in range(6)]
    settings: dict[str, Any] = {"references": REAL, "picture_of": lambda row: OWN if row["image"] else None}
    held = Criteria(Colours(), **settings | more)
    base = [picture(40, 60, 90 + n) for n in range(10)] + [picture(30, 20 + n, 200) for n in range(6)]
    tuned = [picture(200, 20, 20 + 9 * n) for n in range(10)]
    tuned += [picture(30 + (40 * n if n > 3 else 0), 20 + n, 200) for n in range(6)]
    return held.rate(base, rows), held.rate(tuned, rows)


def by_title(found: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {panel["title"]: panel for panel in found}


def colour_of(shown: dict[str, Any]) -> list[int]:
    """The colour of a picture inside a panel, and that its size is the one that is told."""
    image = Image.open(io.BytesIO(base64.b64decode(shown["image"].split(",")[1])))
    assert image.size == (shown["width"], shown["height"])
    return np.array(image.convert("RGB")).reshape(-1, 3).mean(axis=0).round().astype(int).tolist()


def test_base_stands_beside_tuned_with_prompt_and_scores() -> None:
    base, tuned = rated()
    galleries = by_title(sample_galleries(base, tuned, shown=4))
    worst = galleries["Worst pictures, tuned"]
    assert "4 of 10 held-out rows" in worst["note"]
    assert [item["id"] for item in worst["items"]] == ["s9", "s8", "s7", "s6"]
    card = worst["items"][0]
    assert [one["name"] for one in card["pictures"]] == ["training picture", "base", "tuned"]
    assert card["detail"] == {"prompt": f"sks 1 {SCRIPT}"}
    for shown, scores in zip(card["pictures"][1:], (base, tuned), strict=True):
        assert shown["caption"] == f"subject {scores.measures['subject_fidelity'][9]:.2f}"
    np.testing.assert_allclose(colour_of(card["pictures"][2]), [200, 20, 101], atol=6)
    np.testing.assert_allclose(colour_of(card["pictures"][1]), [40, 60, 99], atol=6)
    assert card["pictures"][0]["caption"] == f"nearest to tuned, {tuned.near[9]:.2f}"


def test_other_prompts_that_lost_are_shown_with_their_own_picture() -> None:
    base, tuned = rated()
    lost = by_title(sample_galleries(base, tuned))["Other prompts that lost most"]
    change = (tuned.measures["other_picture_fidelity"] - base.measures["other_picture_fidelity"])[10:]
    assert [item["id"] for item in lost["items"]] == ["o5", "o4"]
    assert (change < 0).sum() == 2
    assert "picture fidelity fell in 2 of 6" in lost["note"]
    shown = lost["items"][0]["pictures"]
    assert [one["name"] for one in shown] == ["its own picture", "base", "tuned"]
    assert (shown[0]["width"], shown[0]["height"]) == (480, 160)


def test_random_rows_are_drawn_by_the_seed() -> None:
    base, tuned = rated()
    ids = [
        [item["id"] for item in by_title(sample_galleries(base, tuned, seed=seed))["Pictures at random"]["items"]]
        for seed in (0, 0, 1)
    ]
    assert ids[0] == ids[1] != ids[2]
    assert len(set(ids[0])) == 6


def test_without_a_base_the_tuned_model_stands_alone() -> None:
    _, tuned = rated()
    found = sample_galleries(None, tuned)
    assert "Other prompts that lost most" not in by_title(found)
    names = {one["name"] for panel in found for item in panel["items"] for one in item["pictures"]}
    assert "base" not in names
    assert metrics_table(None, tuned)["columns"] == ["metric", "base", "tuned"]


def test_captions_are_judged_by_their_own_picture() -> None:
    _, tuned = rated(references=())
    worst = by_title(sample_galleries(None, tuned))["Worst pictures, tuned"]
    assert "cosine to the row's own picture" in worst["note"]
    assert [item["id"] for item in worst["items"]][:2] == ["o5", "o4"]


def development(steps: Sequence[int]) -> list[dict[str, Any]]:
    return [{"step": step, "predictions": [picture(40 + step, 60, 90), picture(40, 60, 90)]} for step in steps]


def test_the_strip_goes_by_step_with_scores_and_curves() -> None:
    base, tuned = rated()
    rows = base.rows[:2]
    strip, curves = development_panels(rows, development([100, 0, 50]), tuned.criteria)
    assert strip["strip"] is True
    assert [item["id"] for item in strip["items"]] == ["s0", "s1"]
    assert [[one["name"] for one in item["pictures"]] for item in strip["items"]] == [
        ["step 0", "step 50", "step 100"]
    ] * 2
    first = [one["caption"] for one in strip["items"][0]["pictures"]]
    assert all(re.fullmatch(r"subject 0\.\d\d", words) for words in first)
    assert first == sorted(first)
    assert first[0] < first[2]
    series = {one["name"]: one["points"] for one in curves["series"]}
    assert [step for step, _ in series["subject fidelity"]] == [0, 50, 100]
    assert series["subject fidelity"][0][1] < series["subject fidelity"][2][1]
    assert series["diversity"][0][1] == pytest.approx(0, abs=1e-6)


def test_many_times_are_thinned_and_the_ends_stay() -> None:
    base, _ = rated()
    (strip,) = development_panels(base.rows[:2], development(range(0, 200, 10)))
    names = [one["name"] for one in strip["items"][0]["pictures"]]
    assert len(names) == len(set(names)) == MOST_STEPS
    assert (names[0], names[-1]) == ("step 0", "step 190")
    assert "8 of 20 times" in strip["note"]
    assert development_panels(base.rows[:2], []) == []


def test_the_table_has_every_metric_with_its_interval() -> None:
    base, tuned = rated()
    found = compared(base, tuned, Resampling(resamples=300, diversity_resamples=50))
    table = metrics_table(base, tuned, found)
    lines = {line[0]: line[1:] for line in table["rows"]}
    subject = next(one for one in found if one.metric == "subject_fidelity")
    one = subject.interval
    expected = [one.base, one.tuned, one.difference, one.low, one.high, subject.verdict]
    assert lines["subject fidelity"] == pytest.approx(expected)
    assert lines["subject fidelity"][-1] == "better"
    assert lines["nearest training picture, of all rows"][2:] == [None, None, None, ""]
    assert len(lines) == len(tuned.scores())
    assert "95 % interval" in table["note"]
    assert f"among themselves: {tuned.criteria.real_fidelity:.3f}" in table["note"]


def test_overfitting_is_told_above_the_metrics() -> None:
    base, tuned = rated()
    found = compared(base, tuned, Resampling(resamples=300, diversity_resamples=50))
    assert "Overfitted" not in metrics_table(base, tuned, found)["note"]
    worse = Interval(-0.2, -0.3, -0.1, 0.9, 0.7, 0.95, 16, 16)
    fallen = [one for one in found if one.metric != "other_picture_fidelity"]
    fallen.append(Compared("other_picture_fidelity", True, 6, worse))
    note = metrics_table(base, tuned, fallen)["note"]
    assert "Overfitted: subject fidelity rises by" in note
    assert "falls by 0.200 (-0.300 to -0.100)" in note


def test_the_report_draws_every_panel(tmp_path: Path) -> None:
    base, tuned = rated()
    found = compared(base, tuned, Resampling(resamples=300, diversity_resamples=50))
    made = generation_panels(base, tuned, found=found, samples=development([0, 9]), sample_rows=base.rows[:2])
    prepared = report_panels.prepare(json.loads(json.dumps(made)))
    assert [panel.macro for panel in prepared] == [*["gallery"] * 4, "lines", "table", "gallery"]
    assert [panel.view["strip"] for panel in prepared if panel.macro == "gallery"] == [False, False, False, True, True]
    real = by_title(made)["Real pictures of the subject"]
    assert "12 of 14" in real["note"]
    assert len(real["items"][0]["pictures"]) == 12

    spec = spec_from_file_location("make_run", Path(__file__).parents[1] / "fixtures" / "make_run.py")
    assert spec is not None
    assert spec.loader is not None
    fixture = module_from_spec(spec)
    spec.loader.exec_module(fixture)
    run = fixture.make_run(tmp_path / "run")
    (run / "panels.json").write_text(json.dumps(made), encoding="utf-8")
    write_report(run)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.count('class="cards gallery reel"') + page.count('class="cards gallery alone reel"') == 2
    assert SCRIPT not in page
    assert page.count("<img") == sum(len(item["pictures"]) for panel in made for item in panel.get("items", ()))
