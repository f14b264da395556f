"""Answers in batches are those of every prompt alone; what does not fit is halved; an end is an end."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tunesmith.model import generation
from tunesmith.model.generation import answers

MOST = 12


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama", vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, bos_token_id=None, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    made = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        # Weights of this size say the same for ever otherwise.
        for parameter in made.parameters():
            parameter.mul_(6)
    return made


def _prompts() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(1, 40, (n,), generator=generator) for n in (3, 17, 1, 9, 9, 30)]


@torch.no_grad()
def _alone(model: Any, prompt: torch.Tensor, stop: int | None) -> tuple[tuple[int, ...], bool]:
    ids = prompt.tolist()
    said: list[int] = []
    while len(said) < MOST:
        token = int(model(input_ids=torch.tensor([ids + said])).logits[0, -1].argmax())
        if token == stop:
            return tuple(said), True
        said.append(token)
    return tuple(said), False


def test_batches_answer_as_every_prompt_alone(model: Any) -> None:
    found = answers(model, _prompts(), stop=[39], most=MOST, pad=0)
    assert [(a.tokens, a.ended) for a in found] == [_alone(model, p, 39) for p in _prompts()]


def test_what_all_prompts_begin_with_is_computed_once(model: Any) -> None:
    start = torch.randint(1, 40, (40,), generator=torch.Generator().manual_seed(5))
    prompts = [torch.cat([start, p]) for p in _prompts()]
    seen: list[tuple[int, int]] = []

    def watch(_module: Any, _args: Any, given: Any) -> None:
        seen.append(tuple(given["input_ids"].shape))

    handle = model.model.register_forward_pre_hook(watch, with_kwargs=True)
    try:
        found = answers(model, prompts, stop=[39], most=MOST, pad=0)
    finally:
        handle.remove()
    assert seen[:2] == [(1, 40), (6, 30)]
    assert [(a.tokens, a.ended) for a in found] == [_alone(model, p, 39) for p in prompts]


def test_an_answer_ends_at_its_stop_token_which_is_no_part_of_it(model: Any) -> None:
    said, _ = _alone(model, _prompts()[1], None)
    stop = said[4]
    found = answers(model, _prompts(), stop=[stop, 39], most=MOST, pad=0)[1]
    assert found.tokens == said[: said.index(stop)]
    assert found.ended


def test_what_does_not_fit_is_halved_and_says_the_same(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = answers(model, _prompts(), stop=[39], most=MOST, pad=0)
    real, sizes = type(model).generate, []

    def small(self: Any, input_ids: torch.Tensor, **more: Any) -> Any:
        sizes.append(len(input_ids))
        if len(input_ids) > 2:
            raise torch.OutOfMemoryError("no room")
        return real(self, input_ids=input_ids, **more)

    monkeypatch.setattr(type(model), "generate", small)
    assert answers(model, _prompts(), stop=[39], most=MOST, pad=0) == whole
    assert max(sizes) > 2
    assert sizes.count(1) + 2 * sizes.count(2) >= len(whole)


def test_each_answer_is_steered_by_its_own_step_from_its_start(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that counts up from the number of its row, and ends after four; rows without one stay as they are."""
    calls: list[tuple[int, tuple[int, ...]]] = []

    def counting(row: int) -> Any:
        def begin() -> Any:
            def step(written: Any, logits: torch.Tensor) -> torch.Tensor:
                calls.append((row, tuple(written)))
                wanted = 39 if len(written) == 4 else 1 + row + len(written)
                return torch.full_like(logits, -torch.inf).index_fill(0, torch.tensor(wanted), 0.0)

            return step

        return begin

    free = answers(model, _prompts(), stop=[39], most=MOST, pad=0)
    steers = [counting(row) if row % 2 else None for row in range(6)]
    real = type(model).generate

    def small(self: Any, input_ids: torch.Tensor, **more: Any) -> Any:
        out = real(self, input_ids=input_ids, **more)
        if len(input_ids) > 2:
            raise torch.OutOfMemoryError("no room, after all steps were taken")
        return out

    for halves in (False, True):
        if halves:
            monkeypatch.setattr(type(model), "generate", small)
        found = answers(model, _prompts(), stop=[39], most=MOST, pad=0, steers=steers)
        assert found[0::2] == free[0::2]
        assert [(a.tokens, a.ended) for a in found[1::2]] == [((r + 1, r + 2, r + 3, r + 4), True) for r in (1, 3, 5)]
    assert max(len(written) for _, written in calls) == 4, "no step is asked once its answer has ended"


def test_long_prompts_travel_in_smaller_batches(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "CACHED_BYTES", 50 * generation.token_bytes(model))
    assert list(generation._batches([30, 3, 9, 9], MOST, generation.held_tokens(model))) == [[0], [2, 3], [1]]


def test_an_answer_ends_where_the_model_takes_no_more(model: Any) -> None:
    free = answers(model, _prompts(), stop=[39], most=MOST, pad=0)
    found = answers(model, _prompts(), stop=[39], most=MOST, pad=0, longest=30)
    for prompt, whole, cut in zip(_prompts(), free, found, strict=True):
        room = min(MOST, 30 - len(prompt))
        assert cut.tokens == whole.tokens[: max(0, room)]
    assert found[-1].tokens == ()
    assert not found[-1].ended


def test_a_window_that_slides_sees_what_every_prompt_alone_sees() -> None:
    torch.manual_seed(1)
    config = AutoConfig.for_model(
        "mistral", vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, bos_token_id=None, eos_token_id=None, pad_token_id=0,
        sliding_window=12,
    )  # fmt: skip
    made = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(6)
    start = torch.randint(1, 40, (40,), generator=torch.Generator().manual_seed(5))
    prompts = [torch.cat([start, p]) for p in _prompts()]
    found = answers(made, prompts, stop=[39], most=MOST, pad=0)
    assert [(a.tokens, a.ended) for a in found] == [_alone(made, p, 39) for p in prompts]


def test_the_bytes_of_a_token_are_those_of_its_cache(model: Any) -> None:
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        model(input_ids=torch.arange(1, 11)[None], past_key_values=cache, use_cache=True)
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert held == 10 * generation.token_bytes(model)
