"""A tuned sentence encoder is a folder that sentence-transformers loads, and its ``encode`` gives our logits."""

from __future__ import annotations

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tunesmith.prove import load_model, load_task


def _worlds() -> Any:
    spec = spec_from_file_location("small_models", Path(__file__).parents[1] / "fixtures" / "small_models.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


small = _worlds()
TEXTS = ["the film was good", "bad", "the actor and the music and the plot was cold weak sloppy", "x " * 200]


def _logits(run: Any) -> Tensor:
    task = load_task(run)
    model = load_model(run, task).eval()
    batch = task.collate([task.encode({"id": t, "text": t}) for t in TEXTS])
    with torch.no_grad():
        return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])  # type: ignore[no-any-return]


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken"])
def test_encode_gives_the_logits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder, pooling: str
) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    model = small.write_model(tmp_path / "model")
    run = small.fine_tuned(
        tmp_path, model, None, f"options.pooling={pooling}", "stages=[{train: all, epochs: 1, lr: 1e-2}]"
    )  # fmt: skip
    theirs = sentence_transformers.SentenceTransformer(str(run.model), device="cpu")
    found = torch.from_numpy(theirs.encode(TEXTS, show_progress_bar=False))
    torch.testing.assert_close(found, _logits(run), rtol=1e-4, atol=1e-5)
    table = json.loads((run.model / "config.json").read_text(encoding="utf-8"))["id2label"]
    assert table == {"0": "bad", "1": "good"}
    # What was saved is a sentence encoder that knows these labels: a further run starts from its head.
    second = tmp_path / "second"
    second.mkdir()
    again = small.fine_tuned(second, run.model, None, "stages=[{train: head, epochs: 1}]")
    first = (again.folder / "base.jsonl").read_text(encoding="utf-8").splitlines()[0]
    assert "pretrained classifier" in json.loads(first)["candidates"]
