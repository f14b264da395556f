"""AdamW in 8 bits beside bitsandbytes' AdamW8bit: the same map, and the same way through many steps."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import nn

from tunesmith.model.four_bit import library
from tunesmith.train.adamw8bit import SMALLEST, AdamW8bit, dynamic_map

if find_spec("bitsandbytes") is None:
    pytest.skip("bitsandbytes is not installed", allow_module_level=True)


@pytest.mark.parametrize("signed", [True, False])
def test_the_map_is_theirs(signed: bool) -> None:
    assert torch.equal(dynamic_map(signed), library().create_dynamic_map(signed))


def _way(kind: Any, **settings: Any) -> torch.Tensor:
    """How a matrix of 160 x 96 moves in 60 steps of gradients of several sizes."""
    generator = torch.Generator().manual_seed(5)
    weight = nn.Parameter(torch.randn(160, 96, generator=generator))
    start = weight.detach().clone()
    optimizer = kind([weight], lr=1e-2, weight_decay=0.1, **settings)
    for step in range(60):
        weight.grad = (torch.randn(160, 96, generator=generator) + 0.5) * 10 ** -(step % 3)
        optimizer.step()
    return (weight.detach() - start).flatten()


def test_it_goes_their_way_and_nearer_to_adamw() -> None:
    from bitsandbytes.optim import AdamW8bit as Theirs

    wanted, theirs, ours = _way(torch.optim.AdamW), _way(Theirs, min_8bit_size=SMALLEST), _way(AdamW8bit)
    assert torch.cosine_similarity(ours, theirs, 0) > 0.99
    assert float(ours.norm() / theirs.norm()) == pytest.approx(1, abs=0.02)
    assert (ours - wanted).norm() < 1.1 * (theirs - wanted).norm()
    assert (theirs - wanted).norm() > 1e-3 * wanted.norm(), "bitsandbytes held its moments in fp32"
