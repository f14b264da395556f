"""Preferences: losses by their formulas, references recorded once, and pairs told apart after training."""

from __future__ import annotations

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tunesmith.check import check_task
from tunesmith.data.source import read_rows
from tunesmith.language.rows import ConversationShape
from tunesmith.model.weights import resolve
from tunesmith.recipe import ModelSection
from tunesmith.tasks.preference import Preference, PreferenceOptions


def _fixture() -> Any:
    spec = spec_from_file_location("small_decoders", Path(__file__).parents[1] / "fixtures" / "small_decoders.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


small = _fixture()
ADAPTER = ("adapter.kind=lora", "adapter.r=8", "stages=[{train: adapter, epochs: 4, lr: 1e-2}]")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))


def _task(tmp_path: Path, **options: Any) -> tuple[Preference, list[Any], Any]:
    source = resolve(ModelSection(name=str(small.write_decoder(tmp_path / "model"))))
    task = Preference(PreferenceOptions(**options), source)
    rows = list(read_rows(small.pairs(6), shape=task.row_shape(task.options)))
    task.facts = task.survey(rows)
    return task, rows, task.load().eval()


def _log_probability(task: Preference, model: Any, prompt: str, answer: str) -> tuple[float, int]:
    """Of an answer and its end token after a prompt, by the model's own logits."""
    chat = [{"role": "user", "content": prompt}]
    before = task.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)["input_ids"]
    after = task.tokenizer(answer + "<|im_end|>", add_special_tokens=False)["input_ids"]
    logits = model(input_ids=torch.tensor([before + after])).logits[0].double().log_softmax(-1)
    return sum(float(logits[len(before) - 1 + i, token]) for i, token in enumerate(after)), len(after)


@torch.no_grad()
def test_dpo_is_its_formula(tmp_path: Path) -> None:
    task, rows, model = _task(tmp_path, beta=0.3, label_smoothing=0.1)
    batch = task.collate([task.encode(row) for row in rows])
    batch["reference"] = torch.randn(len(rows), 2) - 20
    expected = 0.0
    for row, (chosen, rejected) in zip(rows, batch["reference"].tolist(), strict=True):
        asked = row["messages"][0]["content"]
        better, _ = _log_probability(task, model, asked, row["chosen"][0]["content"])
        worse, _ = _log_probability(task, model, asked, row["rejected"][0]["content"])
        margin = torch.tensor(0.3 * ((better - chosen) - (worse - rejected)))
        expected += float(-0.9 * F.logsigmoid(margin) - 0.1 * F.logsigmoid(-margin))
    assert task.count(batch) == {"pairs": 6.0}
    assert float(task.loss(model, batch)["pairs"]) == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
def test_orpo_is_its_formula(tmp_path: Path) -> None:
    task, rows, model = _task(tmp_path, method="orpo", beta=0.3)
    batch = task.collate([task.encode(row) for row in rows])
    odds, nats, tokens = 0.0, 0.0, 0
    for row in rows:
        asked = row["messages"][0]["content"]
        (better, n), (worse, m) = (_log_probability(task, model, asked, row[side][0]["content"])
                                   for side in ("chosen", "rejected"))  # fmt: skip
        ratio = [x - torch.log1p(-torch.tensor(x).exp()) for x in (better / n, worse / m)]
        odds -= 0.3 * float(F.logsigmoid(ratio[0] - ratio[1]))
        nats, tokens = nats - better, tokens + n
    found = task.loss(model, batch)
    assert task.count(batch) == {"pairs": 6.0, "tokens": float(tokens)}
    assert float(found["chosen/tokens"]) == pytest.approx(nats, rel=1e-4)
    assert float(found["odds/pairs"]) == pytest.approx(odds, rel=1e-4)


@pytest.mark.parametrize("method", ["dpo", "orpo"])
def test_pairs_are_told_apart_after_training(tmp_path: Path, method: str) -> None:
    model = small.write_decoder(tmp_path / "model")
    run = small.tuned(tmp_path, model, small.pairs(), *ADAPTER, f"options.method={method}", task="preference")
    scores = run.read_json("scores.json")
    assert scores["tuned"] == 1.0
    assert scores["all"]["tuned"]["margin"] > scores["all"]["base"]["margin"]
    receipts = json.loads((run.folder / "receipts.json").read_text(encoding="utf-8"))
    assert [r["promise"] for r in receipts if not r["holds"] and r["promise"] != "memory was predicted"] == []


def test_the_reference_is_recorded_once_and_is_the_model_before_it_learned(tmp_path: Path) -> None:
    from tunesmith.model import store

    model = small.write_decoder(tmp_path / "model")
    said: list[str] = []
    real = store.ActivationStore.append

    def counted(self: Any, keys: Any, lengths: Any, leaves: Any) -> None:
        said.append(str(tuple(leaves[0].shape)))
        real(self, keys, lengths, leaves)

    store.ActivationStore.append = counted  # type: ignore[method-assign]
    try:
        first = small.tuned(tmp_path / "a", model, small.pairs(), *ADAPTER, task="preference")
        recorded = list(said)
        second = small.tuned(tmp_path / "b", model, small.pairs(), *ADAPTER, task="preference")
    finally:
        store.ActivationStore.append = real  # type: ignore[method-assign]
    assert recorded
    assert said == recorded
    losses = [[e["loss"] for e in run.read_events()[0] if e["kind"] == "step"] for run in (first, second)]
    assert losses[0] == losses[1]
    # Before the first step nothing has moved, so every pair costs log 2.
    assert losses[0][0] == pytest.approx(0.6931, abs=1e-3)


def test_the_contract_holds(tmp_path: Path) -> None:
    source = resolve(ModelSection(name=str(small.write_decoder(tmp_path / "model", num_hidden_layers=3))))
    rows = list(read_rows(small.pairs(10), shape=ConversationShape("preference")))
    check_task(Preference, rows, source=source, options={"method": "orpo"}).raise_failures()
