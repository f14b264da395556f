"""Language models at their limits: memory that runs out, prompts that leave no room, files that move, two processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tunesmith.errors import UserError
from tunesmith.prove import load_model, load_task
from tunesmith.tasks.causal_lm import CausalLM
from tunesmith.train.inference import halving

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
ADAPTER = ("adapter.kind=lora", "adapter.r=8", "stages=[{train: adapter, epochs: 4, lr: 2e-2}]")


def _fixture() -> Any:
    spec = spec_from_file_location("small_decoders", Path(__file__).parents[1] / "fixtures" / "small_decoders.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


small = _fixture()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))


def _scores(run: Any) -> dict[str, Any]:
    return json.loads((run.folder / "scores.json").read_text(encoding="utf-8"))


def test_halves_come_back_in_order_and_one_row_that_does_not_fit_is_said() -> None:
    seen = []

    def work(rows: np.ndarray) -> list[int]:
        if len(rows) > 2:
            raise MemoryError
        seen.append(len(rows))
        return rows.tolist()

    assert [i for part in halving(np.arange(7), work) for i in part] == list(range(7))
    assert max(seen) == 2
    with pytest.raises(MemoryError):
        halving(np.arange(3), lambda _rows: (_ for _ in ()).throw(MemoryError()))


def test_evaluation_that_does_not_fit_is_halved_and_gives_the_same_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small.write_decoder(tmp_path / "model")
    settings = (*ADAPTER, "data.validation=0.2", "cache.use=on", "adapter.top=1")
    whole = small.tuned(tmp_path / "whole", model, small.conversations(64), *settings)
    real = {name: getattr(CausalLM, name) for name in ("validate", "predict", "loss")}
    most: dict[str, int] = {}

    def tight(name: str) -> Any:
        def limited(self: Any, of: Any, batch: Any) -> Any:
            rows = len(batch["prompts"])
            if rows > 4 and not torch.is_grad_enabled():
                raise torch.OutOfMemoryError("simulated")
            most[name] = max(most.get(name, 0), rows)
            return real[name](self, of, batch)

        return limited

    for name in real:
        monkeypatch.setattr(CausalLM, name, tight(name))
    # What was recorded before must not stand in for what is recorded now.
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "other"))
    cut = small.tuned(tmp_path / "cut", model, small.conversations(64), *settings)
    assert max(most.get("validate", 0), most["predict"]) == 4
    assert _scores(cut)["tuned"] == _scores(whole)["tuned"]
    assert _scores(cut)["all"]["tuned"]["perplexity"] == pytest.approx(
        _scores(whole)["all"]["tuned"]["perplexity"], rel=1e-4
    )


def test_a_prompt_that_leaves_no_room_ends_where_the_model_does(tmp_path: Path) -> None:
    """Positions that are a table of 256: an answer that ran past it would be an index error."""
    rows = small.conversations(48)
    rows[-1]["messages"][0]["content"] += " and so on" * 23
    model = small.write_decoder(tmp_path / "model", "gpt2")
    accepted = (
        "audit.accept={few-rows: a test, leak: a test, answer-cut: a test, truncated: a test, length-outliers: a test}",
    )
    run = small.tuned(tmp_path, model, rows, *ADAPTER, "options.max_new_tokens=64", *accepted, "options.shots=[1, 16]")
    lines = [json.loads(line) for line in (run.folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert all(line["tuned"]["tokens"] <= 64 for line in lines)
    task = load_task(run)
    prompt = task.renderers["answers"](rows[-1]).prompt
    assert prompt > 256 - 64
    with torch.inference_mode():
        long = task.predict(load_model(run, task).eval(), task.collate([task.encode(rows[-1])]))[0]
    assert long["tokens"] <= max(0, 256 - prompt)


def test_an_adapter_run_needs_its_template_file_no_more(tmp_path: Path) -> None:
    model = small.write_decoder(tmp_path / "model", template=None)
    template = tmp_path / "mine.jinja"
    template.write_text(small.CHATML.replace("<|im_start|>{{", "<|im_start|>{{-"), encoding="utf-8")
    run = small.tuned(tmp_path, model, small.conversations(48), *ADAPTER, f"options.template={template}")
    before = load_task(run).encode(small.conversations(1)[0])["input_ids"].tolist()
    template.write_text("{{ 'something else' }}", encoding="utf-8")
    assert load_task(run).encode(small.conversations(1)[0])["input_ids"].tolist() == before
    template.unlink()
    assert load_task(run).encode(small.conversations(1)[0])["input_ids"].tolist() == before


def test_an_adapters_folder_says_where_an_answer_ends(tmp_path: Path) -> None:
    from transformers import GenerationConfig

    run = small.tuned(tmp_path, small.write_decoder(tmp_path / "model"), small.conversations(48), *ADAPTER)
    task = load_task(run)
    assert GenerationConfig.from_pretrained(run.model).eos_token_id == task.facts.values["stop"]


def test_raw_text_between_conversations_is_learned_and_not_asked(tmp_path: Path) -> None:
    rows = small.conversations(48)
    for i in range(0, 48, 8):
        rows[i] = {"id": f"text-{i}", "text": f"grass is green and snow is white, {i}"}
    accepted = "audit.accept={few-rows: a test, leak: a test, nothing-asked: a test}"
    run = small.tuned(tmp_path, small.write_decoder(tmp_path / "model"), rows, *ADAPTER, accepted)
    lines = [json.loads(line) for line in (run.folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    asked = [line for line in lines if line["id"].startswith("text-")]
    assert 0 < len(asked) < 6
    assert all(line["tuned"]["answer"] == "" for line in asked)


def test_a_file_for_the_forgetting_probe_lies_beside_the_data_and_is_missed_early(tmp_path: Path) -> None:
    model = small.write_decoder(tmp_path / "model")
    with pytest.raises(UserError, match=r"nowhere\.txt"):
        small.tuned(tmp_path / "a", model, small.conversations(48), *ADAPTER, "options.forgetting=nowhere.txt")
    assert not list((tmp_path / "a").rglob("events.jsonl"))


@pytest.mark.heavy
@pytest.mark.parametrize("task", ["causal-lm", "preference"])
def test_two_processes_learn_what_one_does(tmp_path: Path, task: str) -> None:
    rows = small.conversations(48) if task == "causal-lm" else small.pairs(48)
    model = small.write_decoder(tmp_path / "model", hidden_size=32)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    recipe = tmp_path / "recipe.yaml"
    own = "options: {forgetting: null, shots: [], metric: perplexity}\n" if task == "causal-lm" else ""
    recipe.write_text(
        f"task: {task}\nmodel: {model}\ndata: {{train: {tmp_path / 'rows.jsonl'}, eval: 0.25}}\n{own}"
        "stages: [{train: adapter, steps: 6, lr: 1e-2}]\nadapter: {kind: lora, r: 4}\n"
        "batch: {rows: 7, micro: 2}\nengine: {device: cpu, precision: fp32}\noptimizer: {name: sgd}\n"
        "audit: {accept: {few-rows: a test, leak: a test, duplicate-rows: a test}}\n"
        f"run: {{folder: {tmp_path / 'runs'}}}\n",
        encoding="utf-8",
    )
    env = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    losses = []
    for name, start in (("one", []), ("two", ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"])):
        command = [sys.executable, "-m", *start, "tunesmith", "train", str(recipe), f"run.name={name}"]
        ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240, check=False)
        assert ended.returncode == 0, ended.stderr
        events = (tmp_path / "runs" / name / "events.jsonl").read_text(encoding="utf-8").splitlines()
        losses.append([e["loss"] for e in map(json.loads, events) if e["kind"] == "step"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
