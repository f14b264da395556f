"""Answers that grow together are those that each prompt gets alone, whenever it joins and whoever stands beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.fixtures.families import config_of
from tunesmith.asking.steps import drawn, nucleus, penalised
from tunesmith.errors import UserError
from tunesmith.model.adapters import attach, load_adapter, save_adapter
from tunesmith.model.continuous import Batch, Growing
from tunesmith.model.generation import Answer, answers
from tunesmith.model.shared_base import SharedBase, can_share
from tunesmith.recipe import AdapterSection

PROMPTS = ([5, 9, 11], [7, 8, 9, 10, 11, 12, 13, 14], [30], [40, 41, 42, 43, 44])
STOP = frozenset({2})


def decoder(family: str = "llama", **changes: Any) -> Any:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config_of(family, **changes)).eval()
    with torch.no_grad():
        # Weights as small as they are drawn say the same for ever.
        for parameter in model.parameters():
            parameter.mul_(6 if parameter.ndim > 1 else 1)
    return model


def alone(model: Any, prompt: list[int], most: int = 12, steer: Any = None) -> Answer:
    with torch.inference_mode():
        return answers(model, [torch.tensor(prompt)], stop=list(STOP), most=most, pad=1, steers=[steer])[0]


def finish(batch: Batch) -> None:
    while batch.rows:
        batch.step()


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2", "opt", "gemma2", "mistral", "bloom", "mixtral"])
def test_prompts_that_join_at_any_token_are_answered_as_alone(family: str) -> None:
    model = decoder(family)
    wanted = [alone(model, prompt) for prompt in PROMPTS]
    assert any(one.tokens != wanted[0].tokens for one in wanted)
    batch = Batch(SharedBase(model), 1)
    rows = [Growing(prompt, STOP, 12) for prompt in PROMPTS]
    batch.join(rows[:1])
    batch.step()
    batch.step()
    batch.join(rows[1:3])
    batch.step()
    batch.join(rows[3:])
    finish(batch)
    assert [row.answer for row in rows] == wanted
    assert batch.tokens == 0


def test_full_attention_is_one_batch_and_a_sliding_window_is_not() -> None:
    for family, merges in (("llama", True), ("gemma2", False)):
        batch = Batch(SharedBase(decoder(family)), 1)
        batch.join([Growing(prompt, frozenset(), 12) for prompt in PROMPTS])
        assert batch.merges is merges
        assert len(batch._groups) == (1 if merges else 4)


def test_who_leaves_changes_no_other_answer_and_gives_room_back() -> None:
    model = decoder()
    batch = Batch(SharedBase(model), 1)
    rows = [Growing(prompt, frozenset(), 12) for prompt in PROMPTS]
    batch.join(rows)
    batch.step()
    before = batch.tokens
    batch.leave([rows[1]])
    # The longest left, and with it what filled up the others.
    assert batch.tokens == (len(PROMPTS[3]) + 1) * 3 < before
    finish(batch)
    with torch.inference_mode():
        wanted = answers(model, [torch.tensor(p) for p in PROMPTS], stop=[999], most=12, pad=1)
    assert [rows[i].answer.tokens for i in (0, 2, 3)] == [wanted[i].tokens for i in (0, 2, 3)]
    assert len(rows[1].written) == 2


def test_drawn_answers_are_their_seeds_and_notes_are_the_models_own() -> None:
    model = decoder()

    def steer() -> Any:
        steps = [penalised(0.5, 0.5, {9: 2.0}), nucleus(0.8, 0.9), drawn(0.8, 3)]

        def step(written: Sequence[int], logits: Tensor) -> Tensor:
            for one in steps:
                logits = one(written, logits)
            return logits

        return step

    wanted = alone(model, PROMPTS[0], steer=steer)
    assert wanted != alone(model, PROMPTS[0])
    batch = Batch(SharedBase(model), 1)
    row = Growing(PROMPTS[0], STOP, 12, steer=steer, note=3)
    batch.join([Growing(PROMPTS[1], STOP, 12)])
    batch.join([row])
    finish(batch)
    assert row.answer == wanted
    with torch.inference_mode():
        whole = torch.tensor([[*PROMPTS[0], *row.written]])
        scores = torch.log_softmax(model(whole).logits[0].float(), -1)[len(PROMPTS[0]) - 1 : -1]
    assert [one.token for one in row.noted] == row.written
    for one, line in zip(row.noted, scores, strict=True):
        assert one.logprob == pytest.approx(float(line[one.token]), abs=1e-4)
        assert [token for token, _ in one.likeliest] == line.topk(3).indices.tolist()


def test_an_answer_that_fails_leaves_the_others() -> None:
    def steer() -> Any:
        def step(written: Sequence[int], logits: Tensor) -> Tensor:
            if len(written) == 2:
                raise UserError("this can't go on")
            return logits

        return step

    model = decoder()
    batch = Batch(SharedBase(model), 1)
    rows = [Growing(PROMPTS[0], STOP, 8), Growing(PROMPTS[1], STOP, 8, steer=steer)]
    batch.join(rows)
    finish(batch)
    assert isinstance(rows[1].fault, UserError)
    assert rows[0].answer == alone(model, PROMPTS[0], 8)


def test_memory_that_ends_takes_the_youngest_answer_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = decoder()
    batch = Batch(SharedBase(model), 1)
    rows = [Growing(prompt, frozenset(), 10) for prompt in PROMPTS[:3]]
    batch.join(rows[:2])
    batch.step()
    batch.join(rows[2:])
    last = model.model.layers[-1]
    honest, failed = last.forward, []

    def short(*values: Any, **named: Any) -> Any:
        if not failed:
            failed.append(1)
            raise torch.OutOfMemoryError
        return honest(*values, **named)

    monkeypatch.setattr(last, "forward", short)
    batch.step()
    assert isinstance(rows[2].fault, torch.OutOfMemoryError)
    finish(batch)
    with torch.inference_mode():
        wanted = answers(model, [torch.tensor(p) for p in PROMPTS[:2]], stop=[999], most=10, pad=1)
    assert [row.answer.tokens for row in rows[:2]] == [one.tokens for one in wanted]


def test_a_model_without_keys_and_values_is_refused() -> None:
    with pytest.raises(UserError, match="keeps no keys and values"):
        Batch(SharedBase(torch.nn.Linear(2, 2)), 0)


# Many adapters on one base


def adapters(folder: Path, family: str = "llama") -> dict[str, Path]:
    """Three of different kind and rank: plain, rank-stabilised on some layers, and with magnitudes."""
    found = {}
    kinds = {
        "plain": AdapterSection(r=4),
        "some": AdapterSection(r=2, rslora=True, targets=["q_proj", "v_proj"]),
        "dora": AdapterSection(r=3, dora=True),
    }
    for number, (name, section) in enumerate(kinds.items()):
        model = decoder(family)
        attach(model, list(model.model.layers), section, seed=number)
        torch.manual_seed(number)
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if "lora_B" in key:
                    parameter.normal_(0, 0.5)
        save_adapter(model, folder / name, base_name="base", task_type="CAUSAL_LM")
        found[name] = folder / name
    return found


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_each_row_is_answered_by_its_own_adapter(tmp_path: Path, family: str) -> None:
    places = adapters(tmp_path, family)
    wanted: dict[str | None, list[Answer]] = {None: [alone(decoder(family), prompt) for prompt in PROMPTS]}
    for name, place in places.items():
        model = decoder(family)
        load_adapter(model, place)
        wanted[name] = [alone(model.eval(), prompt) for prompt in PROMPTS]
    assert len({str(one) for one in wanted.values()}) == 4
    base = SharedBase(decoder(family))
    for name, place in places.items():
        base.put(name, place)
    assert base.mixes is (family == "llama")
    batch = Batch(base, 1)
    rows = {name: [Growing(p, STOP, 12, adapter=name) for p in PROMPTS] for name in wanted}
    for number in range(len(PROMPTS)):
        batch.join([some[number] for some in rows.values()])
        batch.step()
    assert len(batch._groups) <= (1 if family == "llama" else 4)
    finish(batch)
    assert {name: [row.answer for row in some] for name, some in rows.items()} == wanted


def test_an_adapter_that_is_dropped_leaves_the_base_and_the_others_as_they_were(tmp_path: Path) -> None:
    places = adapters(tmp_path)
    base = SharedBase(decoder())
    base.put("plain", places["plain"])
    base.put("dora", places["dora"])
    own = decoder()
    load_adapter(own, places["dora"])
    own.eval()
    assert base.bytes_of("plain") == sum(
        t.numel() * 4 for k, t in decoder_state(places["plain"]).items() if "lora" in k
    )
    base.drop("plain")
    assert base.names == ("dora",)
    ids = torch.tensor([PROMPTS[1]])
    with torch.inference_mode():
        base.route(["dora"])
        assert torch.equal(base.model(ids).logits, own(ids).logits)
        base.route([None])
        assert torch.equal(base.model(ids).logits, decoder()(ids).logits)
    with pytest.raises(KeyError):
        base.route(["plain"])


def decoder_state(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "adapter_model.safetensors")


def test_an_adapter_of_another_model_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    places = adapters(tmp_path)
    base = SharedBase(decoder(hidden_size=32))
    ids = torch.tensor([PROMPTS[1]])
    with torch.inference_mode():
        before = base.model(ids).logits
    with pytest.raises(UserError, match="this model needs"):
        base.put("plain", places["plain"])
    with torch.inference_mode():
        assert torch.equal(base.model(ids).logits, before)


def test_an_adapter_that_brings_a_head_needs_a_base_of_its_own(tmp_path: Path) -> None:
    model = decoder(tie_word_embeddings=False)
    attach(model, list(model.model.layers), AdapterSection(r=2), seed=0)
    save_adapter(model, tmp_path, base_name="base", task_type="CAUSAL_LM", modules_to_save=["lm_head"])
    assert not can_share(tmp_path)
    with pytest.raises(UserError, match="whole layers"):
        SharedBase(decoder(tie_word_embeddings=False)).put("head", tmp_path)
