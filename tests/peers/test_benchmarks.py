from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
KEYS = {"case", "ours", "peer", "peer_name", "unit", "ratio", "goal", "holds"}


def load(name: str) -> ModuleType:
    """A benchmark as a module, as running its file would load it."""
    found = sys.modules.get(f"benchmarks.{name}")
    if found is not None:
        return found
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    spec = importlib.util.spec_from_file_location(f"benchmarks.{name}", ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[f"benchmarks.{name}"] = module
    spec.loader.exec_module(module)
    return module


def check(report: dict[str, Any], benchmark: str) -> list[dict[str, Any]]:
    """The report has the published shape; its rows."""
    assert report["benchmark"] == benchmark
    assert report["quick"] is True
    assert report["machine"]["cpu"]
    assert report["machine"]["threads"] >= 1
    assert report["versions"]["torch"]
    assert report["results"]
    for row in report["results"]:
        assert set(row) >= KEYS
        assert row["ours"] >= 0
        if row["peer"] is None:
            assert row["ratio"] is None
            assert row["goal"] is not None
        else:
            assert row["peer_name"]
            assert row["ratio"] == pytest.approx(row["peer"] / row["ours"], rel=2e-3)
    return list(report["results"])


def kept() -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in (ROOT / "benchmarks" / "results").glob("*.json")}


def quick(name: str, cases: str, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Run a benchmark's command line with --quick --json, in this process."""
    module, before = load(name), kept()
    about = (module.__doc__ or "").splitlines()[0]
    module.command(name, about, module.CASES, ("torch",), ["--quick", "--json", "--cases", cases])
    assert kept() == before, "a quick run must not overwrite the figures of a full one"
    return check(json.loads(capsys.readouterr().out), name)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Smaller still than --quick, on one thread: the shape of the report is looked at here, not its figures."""
    import torch

    module, threads = load("text_classification"), torch.get_num_threads()
    work = module.Work
    monkeypatch.setattr(
        module, "Work", lambda train, rows, epochs, lr, cache="auto": work(train, 32, min(epochs, 2), lr, cache)
    )
    monkeypatch.setattr(module, "HELD_OUT", 16)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_dropout_report(capsys: pytest.CaptureFixture[str]) -> None:
    rows = quick("dropout", "32x64x384", capsys)
    assert [row["case"] for row in rows] == ["[32, 64, 384]"]
    assert rows[0]["runs"]["peer"]["count"] == rows[0]["runs"]["ours"]["count"] > 1


@pytest.mark.heavy
@pytest.mark.usefixtures("small")
def test_head_is_measured_against_trainer_and_the_cache_changes_no_loss(
    capsys: pytest.CaptureFixture[str],
) -> None:
    speed, losses = quick("text_classification", "head", capsys)
    assert "Trainer" in speed["peer_name"]
    assert "blocks are frozen" in speed["size"]["cache"]
    assert losses["goal"] == 1e-5
    assert losses["size"]["steps"] == 2
    assert losses["holds"], losses


@pytest.mark.heavy
@pytest.mark.usefixtures("small")
def test_all_layers_is_measured_without_a_cache(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (row,) = quick("text_classification", "all", capsys)
    assert "too few to repay the recording" in row["size"]["cache"]
    assert row["goal"] == 1.0


def test_help_is_light(capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = quick("text_classification", "help", capsys)
    assert row["unit"] == "seconds"
    assert 0 < row["ours"] < 5


def test_unknown_case_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    module = load("text_classification")
    with pytest.raises(SystemExit):
        module.command("text_classification", "x", module.CASES, (), ["--cases", "haed"])
    assert "head,top2" in capsys.readouterr().err


def test_failed_command_is_no_figure() -> None:
    with pytest.raises(RuntimeError, match="no-such-recipe"):
        load("text_classification").spent(["plan", "no-such-recipe.yaml"])


def test_rows_say_whether_the_goal_holds(capsys: pytest.CaptureFixture[str]) -> None:
    harness = load("harness")
    assert harness.against("a", [1.0], [3.0], peer_name="p", goal=2.0)["holds"]
    assert not harness.against("a", [1.0, 1.0], [1.5, 1.5], peer_name="p", goal=2.0)["holds"]
    assert not harness.within("a", [0.4], unit="seconds", goal=0.3)["holds"]
    missing = harness.absent("a", peer_name="q", reason="is not installed")
    report = {
        "benchmark": "x",
        "quick": True,
        "machine": {"cpu": "c", "threads": 1},
        "results": [missing, harness.within("b", [0.4], unit="seconds", goal=0.3)],
    }
    text = harness.table(report)
    assert "is not installed" in text
    assert "MISSED" in text


def test_sides_take_turns() -> None:
    order: list[str] = []

    def side(name: str) -> Any:
        return lambda: order.append(name) or float(len(order))

    ours, peer = load("harness").in_turn(3, side("ours"), side("peer"))
    assert order == ["ours", "peer"] * 3
    assert ours == [1.0, 3.0, 5.0]
    assert peer == [2.0, 4.0, 6.0]


@pytest.mark.parametrize("held", ["bf16", "nf4"])
@pytest.mark.parametrize("family", ["llama", "falcon"])
def test_the_shapes_for_a_gpu_train_at_a_tiny_size(family: str, held: str) -> None:
    """The code that measures large shapes, on the CPU; its figures mean nothing here."""
    gpu = load("language_gpu")
    shape = gpu.LLAMA_8B if family == "llama" else gpu.FALCON_40B
    tiny = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100}
    tiny |= {"num_key_value_heads": 2, "intermediate_size": 128} if family == "llama" else {"num_kv_heads": 2}
    measured = gpu.measure(gpu.Shape("tiny", shape | tiny, held, 16, "GiB", 1.0), "cpu", steps=1)
    assert measured["tokens_per_second"] > 0
    assert measured["flops_per_second"] > 0


def test_without_a_gpu_its_cases_are_named_with_the_reason() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("a GPU is at hand")
    rows = load("language_gpu").rows(quick=True)
    assert [row["case"] for row in rows] == ["gpu/lora-8b", "gpu/nf4-7b", "gpu/nf4-40b"]
    assert all(row["reason"] == "no GPU is at hand" and row["ours"] is None for row in rows)
