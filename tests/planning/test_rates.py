"""Rates are measured on this machine, kept for it alone, and read back as they were."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tunesmith.machine import cache_folder
from tunesmith.rates import Rates, measure, rate_at, stored


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Rates, list[tuple[str, int, int]]]:
    """Measured once for all tests of this file."""
    folder, told = tmp_path_factory.mktemp("cache"), []
    patch, threads = pytest.MonkeyPatch(), torch.get_num_threads()
    patch.setenv("TUNESMITH_CACHE", str(folder))
    torch.set_num_threads(1)
    try:
        found = measure(lambda what, done, total: told.append((what, done, total)))
    finally:
        torch.set_num_threads(threads)
        patch.undo()
    return folder, found, told


@pytest.fixture
def here(kept: tuple[Path, Rates, list[tuple[str, int, int]]], monkeypatch: pytest.MonkeyPatch) -> Rates:
    monkeypatch.setenv("TUNESMITH_CACHE", str(kept[0]))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    return kept[1]


def test_what_was_measured_is_read_back(here: Rates) -> None:
    assert stored() == here
    assert here.threads == 1


def test_measured_rates_are_those_of_a_computer(here: Rates) -> None:
    cpu = here.units["cpu"]
    for table in (cpu.products, cpu.batched, cpu.convolutions, cpu.attention):
        assert all(1e7 < rate < 1e14 for points in table.values() for _, _, rate in points)
    for table in (cpu.moves, cpu.functions):
        assert all(1e7 < rate < 1e13 for points in table.values() for _, _, rate in points)
    assert 1e-7 < cpu.call_seconds < 1e-3
    # A large product reaches more operations per second than one row through the same kind of matrix.
    by_rows = {narrow: rate for narrow, _, rate in cpu.products["fp32"]}
    assert by_rows[1.0] < max(by_rows.values()) / 2
    assert here.write_bytes > 1e6
    assert here.read_bytes > 1e6
    assert here.pictures is not None
    assert here.pictures > 1


def test_a_rate_tells_how_long_a_product_takes_here(here: Rates) -> None:
    from time import thread_time

    rows, width, outputs = 512, 640, 768
    a, b, threads = torch.randn(rows, width), torch.randn(outputs, width), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        best = float("inf")
        for _ in range(20):
            began = thread_time()
            torch.nn.functional.linear(a, b)
            best = min(best, thread_time() - began)
    finally:
        torch.set_num_threads(threads)
    flops = 2 * rows * width * outputs
    predicted = flops / rate_at(here.units["cpu"].products["fp32"], rows, flops)
    assert 0.5 < predicted / best < 2


def test_progress_reaches_the_end(kept: tuple[Path, Rates, list[tuple[str, int, int]]]) -> None:
    _, _, told = kept
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert told[-1][1] == told[-1][2]


def test_a_person_is_told_figures_with_units(here: Rates) -> None:
    lines = dict(here.lines())
    assert "operations/s" in lines["cpu products fp32"]
    assert "GB/s" in lines["cpu memory"]
    assert "pictures/s" in lines["JPEG"]


def test_rates_of_other_threads_are_not_taken(here: Rates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert stored() is None


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"format": 1}', '{"format": 0}'])
def test_a_damaged_file_counts_as_none(here: Rates, damage: str) -> None:
    (file,) = cache_folder("rates").glob("*.json")
    whole = file.read_text(encoding="utf-8")
    try:
        file.write_text(damage, encoding="utf-8")
        assert stored() is None
    finally:
        file.write_text(whole, encoding="utf-8")
    assert stored() == here


def test_doctor_shows_what_is_kept(here: Rates, capsys: pytest.CaptureFixture[str]) -> None:
    from tunesmith.cli.explaining import doctor

    assert doctor(measure=False, as_json=True) == 0
    found = {check["name"]: check["detail"] for check in json.loads(capsys.readouterr().out)}
    assert all(found[f"rate {name}"] == figures for name, figures in here.lines())


def test_a_rate_between_two_points_lies_between_them() -> None:
    points = ((16.0, 1e6, 1e9), (1024.0, 1e9, 4e9))
    assert rate_at(points, 16, 1e6) == pytest.approx(1e9, rel=0.01)
    assert rate_at(points, 1024, 1e9) == pytest.approx(4e9, rel=0.01)
    assert 1.5e9 < rate_at(points, 128, 3e7) < 2.7e9
