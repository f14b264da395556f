"""The benchmark of speech runs: features equal the peer's, and a GPU's cases are set up at a tiny size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.peers.test_benchmarks import load, quick

pytestmark = pytest.mark.skipif(find_spec("soundfile") is None, reason="soundfile is not installed")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The shape of the report is looked at here, not its figures."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def speech(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark; the cache folder that it names is gone when it ends."""
    monkeypatch.setenv("TUNESMITH_CACHE", "")
    return load("speech")


@pytest.mark.heavy
def test_features_are_measured_beside_those_of_transformers(capsys: pytest.CaptureFixture[str]) -> None:
    clips, windows = quick("speech", "features", capsys)
    assert (clips["case"], windows["case"]) == ("features/clips", "features/windows")
    assert (clips["size"]["seconds"], windows["size"]["seconds"]) == (3.0, 30.0)
    assert all(row["goal"] == 1.0 and row["size"]["largest_difference"] < 1e-4 for row in (clips, windows))


@pytest.mark.heavy
@pytest.mark.parametrize("case", ["medium", "large"])
def test_what_a_gpu_is_to_run_is_set_up_at_a_tiny_size(speech: Any, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code that measures memory, on the CPU, which counts no bytes: they are given here, one figure a step."""
    told = iter([1 << 30, 6 << 30, 2 << 30])
    monkeypatch.setattr(speech, "peak_bytes", lambda _device: next(told))
    shape = speech.MEDIUM if case == "medium" else speech.LARGE
    tiny = replace(shape, width=16, heads=2, layers=2, seconds=2)
    goal = 5.0 if case == "medium" else 10.0
    row = speech.measured(f"memory/{case}-lora", tiny, goal, steps=3, device="cpu")
    size = row["size"]
    assert (row["unit"], row["ours"], row["holds"]) == ("GiB", 6.0, goal == 10.0)
    assert (size["clips"], size["rows_a_pass"], size["steps"], size["warnings"]) == (8, 8, 3, [])
    # Rank 16 on every linear layer: q, k, v and out are square, once in the encoder and twice in the decoder.
    square, wide = 16 * (16 + 16), 16 * (16 + 64)
    assert size["learning"] == tiny.layers * (12 * square + 4 * wide)
    assert size["recomputed"] is True
    assert size["predicted_gib"] > 0
    assert size["seconds_a_step"] > 0


@pytest.mark.parametrize(("case", "millions"), [("MEDIUM", 764), ("LARGE", 1543)])
def test_the_shapes_are_those_of_whisper(case: str, millions: int) -> None:
    """The numbers that the published models have."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    with torch.device("meta"):
        model = WhisperForConditionalGeneration(WhisperConfig(**getattr(load("speech"), case).config))
    assert round(sum(p.numel() for p in model.parameters()) / 1e6) == millions


def test_clips_are_as_long_as_the_model_hears(speech: Any, tmp_path: Path) -> None:
    import soundfile

    speech.write_clips(tmp_path, 30)
    files = sorted((tmp_path / "train").glob("*.wav"))
    assert [soundfile.info(file).frames for file in files] == [480_000] * 8
    assert all(70 < len(file.with_suffix(".txt").read_text(encoding="utf-8").split()) < 100 for file in files)


def test_without_a_gpu_its_cases_are_named_with_the_reason() -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is at hand")
    module = load("speech")
    rows = [row for case in ("memory/medium-lora", "memory/large-lora") for row in module.CASES[case](True)]
    assert [(row["case"], row["goal"]) for row in rows] == [("memory/medium-lora", 5.0), ("memory/large-lora", 10.0)]
    assert all(row["reason"] == "no GPU is at hand" and row["ours"] is None for row in rows)
