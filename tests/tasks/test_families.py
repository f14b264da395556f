"""Families end to end: every promise of a run holds for shapes that differ where it matters."""

from __future__ import annotations

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import torch

from tunesmith.data.source import read_rows
from tunesmith.errors import UserError
from tunesmith.model.weights import resolve
from tunesmith.recipe import ModelSection
from tunesmith.tasks.text_classification import TextClassification, TextOptions


def _fixture(name: str) -> Any:
    spec = spec_from_file_location(name, Path(__file__).parents[1] / "fixtures" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


families, small = _fixture("families"), _fixture("small_models")

# Family: the cache's decision for head, and for the top block.
CASES = {
    "albert": ("2 of 2 blocks", "1 of 2 blocks"),
    "deberta-v2": ("3 of 3 blocks", "2 of 3 blocks"),
    "mpnet": ("3 of 3 blocks", "2 of 3 blocks"),
    "modernbert": ("3 of 3 blocks", "2 of 3 blocks"),
    "gpt2": ("3 of 3 blocks", "2 of 3 blocks"),
    "falcon": ("3 of 3 blocks", "2 of 3 blocks"),
    "t5": ("4 of 4 blocks", "2 of 4 blocks"),
    "bart": ("4 of 4 blocks", "2 of 4 blocks"),
    "fnet": ("depend on how far it is padded", "depend on how far it is padded"),
    "xlnet": ("3 of 3 blocks", "without a batch axis"),
}


def _folder(family: str, folder: Path) -> Path:
    from transformers import AutoModel

    torch.manual_seed(0)
    ids = {} if family in ("albert", "mpnet", "deberta-v2", "fnet") else {"eos_token_id": 3}
    AutoModel.from_config(families.config_of(family, **ids)).save_pretrained(folder)
    small.write_tokenizer(folder, side="left" if family == "xlnet" else "right")
    return folder


@pytest.mark.parametrize("family", CASES)
def test_every_promise_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    model = _folder(family, tmp_path / "model")
    run = small.fine_tuned(tmp_path, model, small.rows_of(48))
    receipts = json.loads((run.folder / "receipts.json").read_text(encoding="utf-8"))
    assert [r["promise"] for r in receipts if not r["holds"] and r["promise"] != "memory was predicted"] == []
    events, _ = run.read_events()
    decisions = [event for event in events if event["kind"] == "cache"]
    for decision, words in zip(decisions, CASES[family], strict=True):
        assert words in decision["reason"]
    losses = [event["loss"] for event in events if event["kind"] == "step"]
    assert all(0 < loss < 10 for loss in losses)


def test_the_cache_that_is_asked_for_and_cannot_be_had_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    model = _folder("fnet", tmp_path / "model")
    with pytest.raises(UserError, match=r"cache\.use: on") as fault:
        small.fine_tuned(tmp_path, model, small.rows_of(48), "cache.use=on")
    assert "padded" in fault.value.what
    assert "cache" in fault.value.fix


def test_the_real_encoder_knows_sentiment_without_training() -> None:
    try:
        source = resolve(ModelSection(name="starter:minilm-l6"))
    except UserError as fault:
        pytest.skip(f"the starter is not installed: {fault.what}")
    file = Path(__file__).parents[2] / "examples" / "sentiment" / "sentiment.csv"
    rows = list(read_rows(str(file), limit=120))
    task = TextClassification(TextOptions(), source)
    task.facts = task.survey(rows)
    model = task.load().eval()
    bases = task.bases(model, rows)
    batch = task.collate([task.encode(row) for row in rows])
    with torch.no_grad():
        score = {name: task.score(bases[name](model, batch), rows)["macro_f1"] for name in bases}
    assert score["zero-shot by label names"] > 0.6 > score["majority class"]
