"""Texts end to end: attention keeps them apart, in every family that can be told, forward and backward."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tunesmith.errors import UserError
from tunesmith.model.decoder import check_decoder, collate_tokens, token_losses
from tunesmith.model.packing import can_pack, packed_attention

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "phi", "phi3", "gpt2", "opt")
LENGTHS = (5, 1, 12, 9)


def _config(family: str, **changes: Any) -> Any:
    file = Path(__file__).parents[1] / "fixtures" / "families.py"
    spec = spec_from_file_location("families", file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.config_of(family, **changes)


def _decoder(family: str, **changes: Any) -> Any:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(_config(family, **changes)).eval()


def _texts() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(3, 60, (n,), generator=generator) for n in LENGTHS]


def _own(model: Any, text: Tensor) -> Tensor:
    logits = model(input_ids=text[None]).logits[0, :-1].float()
    return F.cross_entropy(logits, text[1:], reduction="none")


def _explicit(q: Tensor, k: Tensor, v: Tensor, window: int | None, cap: float | None) -> Tensor:
    """Attention of one text by the formula, float64."""
    q, k, v = (x.double() for x in (q, k, v))
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    if cap is not None:
        scores = cap * torch.tanh(scores / cap)
    n = q.shape[2]
    far = torch.arange(n)[:, None] - torch.arange(n)[None]
    hidden = (far < 0) | (far >= (window or n))
    return (scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v).transpose(1, 2)


@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("cap", [None, 5.0])
def test_attention_is_the_formula_for_every_text_alone(window: int | None, cap: float | None) -> None:
    torch.manual_seed(0)
    shape = (1, 6, sum(LENGTHS), 8)
    q = torch.randn(shape, requires_grad=True)
    k, v = (torch.randn(1, 2, sum(LENGTHS), 8, requires_grad=True) for _ in range(2))
    out, _ = packed_attention(torch.nn.Identity(), q, k, v, sliding_window=window, softcap=cap, segments=LENGTHS)
    parts = [_explicit(*part, window, cap) for part in zip(*(x.split(LENGTHS, 2) for x in (q, k, v)), strict=True)]
    expected = torch.cat(parts, 1)
    assert torch.allclose(out.double(), expected, atol=1e-6)
    weights = torch.randn_like(out)
    ours = torch.autograd.grad((out * weights).sum(), (q, k, v))
    theirs = torch.autograd.grad((expected * weights).sum(), (q, k, v))
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, other, atol=1e-5)


def test_what_it_does_not_know_is_refused() -> None:
    q = torch.randn(1, 2, 4, 8)
    with pytest.raises(TypeError, match="s_aux"):
        packed_attention(torch.nn.Identity(), q, q, q, segments=(4,), s_aux=torch.ones(2))
    with pytest.raises(ValueError, match="3 tokens"):
        packed_attention(torch.nn.Identity(), q, q, q, segments=(3,))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("end_to_end", [True, False])
def test_losses_end_to_end_are_those_of_every_text_alone(family: str, end_to_end: bool) -> None:
    model = _decoder(family)
    assert can_pack(model) is None
    check_decoder(model, end_to_end=end_to_end)
    texts = _texts()
    learned = [torch.ones(len(text), dtype=torch.bool) for text in texts]
    batch = collate_tokens(texts, learned, end_to_end=end_to_end, pad=1)
    losses = token_losses(model, batch)
    alone = torch.cat([_own(model, text) for text in texts if len(text) > 1])
    assert torch.allclose(losses, alone, atol=1e-5)
    model.zero_grad()
    losses.sum().backward()
    ours = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    torch.cat([_own(model, text) for text in texts if len(text) > 1]).sum().backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            assert torch.allclose(ours[name], parameter.grad, atol=2e-5, rtol=1e-4), name


def test_a_model_with_an_attention_of_its_own_is_padded() -> None:
    model = _decoder("falcon")
    assert "attention of its own" in str(can_pack(model))
    check_decoder(model, end_to_end=False)
    texts = _texts()
    batch = collate_tokens(texts, [torch.ones(len(t), dtype=torch.bool) for t in texts], end_to_end=False, pad=1)
    alone = torch.cat([_own(model, text) for text in texts if len(text) > 1])
    assert torch.allclose(token_losses(model, batch), alone, atol=1e-5)


def test_only_learned_tokens_are_asked_for_and_the_first_never_is() -> None:
    texts = _texts()
    learned = [torch.zeros(len(text), dtype=torch.bool) for text in texts]
    learned[0][0] = learned[0][3] = learned[2][11] = True
    batch = collate_tokens(texts, learned, end_to_end=True, pad=1)
    assert batch["owner"].tolist() == [0, 2]
    assert batch["targets"].tolist() == [int(texts[0][3]), int(texts[2][11])]
    assert batch["at"].tolist() == [2, 5 + 1 + 10]


def test_texts_that_see_each_other_are_found_out() -> None:
    model = _decoder("llama")
    for layer in model.model.layers:
        forward = layer.self_attn.forward

        def blind(*args: Any, inner: Any = forward, segments: Any = None, **more: Any) -> Any:
            return inner(*args, segments=(sum(segments),) if segments else None, **more)

        layer.self_attn.forward = blind
    with pytest.raises(UserError, match="see each other"):
        check_decoder(model, end_to_end=True)


def test_logits_that_are_no_known_map_of_the_states_are_found_out() -> None:
    model = _decoder("llama")
    inner = model.lm_head.forward
    model.lm_head.forward = lambda x: inner(x) ** 3 * 100
    with pytest.raises(UserError, match="not a linear map"):
        check_decoder(model, end_to_end=True)
