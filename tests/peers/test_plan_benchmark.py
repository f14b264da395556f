"""The plan's grid: what it reports, and that predictions of small cells are near what torch's allocator gave out."""

from __future__ import annotations

import json

import pytest

from tests.peers.test_benchmarks import kept, load


@pytest.mark.heavy
def test_predicted_and_measured_bytes_stand_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    before = kept()
    load("plan").main(["--quick", "--json", "--kinds", "allocated"])
    assert kept() == before, "a quick run must not overwrite the figures of a full one"
    report = json.loads(capsys.readouterr().out)
    assert [row["case"] for row in report["results"]] == ["allocated/text/head/8x128", "allocated/language/lora/1x512"]
    for row in report["results"]:
        assert row["predicted"] == pytest.approx(row["measured"], rel=0.03)
        assert sum(row["parts"].values()) > row["predicted"]
    found = report["summary"]
    assert found["allocated/predicted"]["holds"]
    assert found["allocated/classic"]["median"] > found["allocated/predicted"]["median"]


def test_every_cell_has_a_name_of_its_own() -> None:
    cells = load("plan_cells").CELLS
    assert len({cell.name for cell in cells}) == len(cells) >= 40
