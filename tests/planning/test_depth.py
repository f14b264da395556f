"""A deep network by a few of its blocks: the same figures as with all of them, and a way out where that can't be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tunesmith.forecast.passes import traced
from tunesmith.model import depth
from tunesmith.model.ledger import held_by_depth, pass_held, step_held
from tunesmith.model.memory import passing_bytes, plan_memory


class Block(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, inner), nn.Linear(inner, width)
        self.runs = 0

    def forward(self, given: Tensor) -> Tensor:
        self.runs += 1
        return given + self.down(nn.functional.gelu(self.up(self.norm(given))))  # type: ignore[no-any-return]


class Deep(nn.Module):
    """Blocks between an embedding and a wide head, whose outputs may outweigh all blocks."""

    def __init__(
        self, count: int = 20, width: int = 16, inner: int = 64, words: int = 50, odd: int | None = None
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.layers = nn.ModuleList(Block(width, inner * (2 if i == odd else 1)) for i in range(count))
        self.head = nn.Linear(width, words)

    def forward(self, tokens: Tensor) -> Tensor:
        given = self.embed(tokens)
        for block in self.layers:
            given = block(given)
        return self.head(given).square().sum()  # type: ignore[no-any-return]


class Numbered(Deep):
    """Asks for its blocks by number, as some networks do."""

    def forward(self, tokens: Tensor) -> Tensor:
        given = self.embed(tokens)
        for i in range(20):
            given = self.layers[i](given)
        return self.head(given).square().sum()  # type: ignore[no-any-return]


def on_meta(kind: type[Deep] = Deep, **shape: Any) -> tuple[Deep, Tensor]:
    with torch.device("meta"):
        return kind(**shape), torch.zeros(4, 8, dtype=torch.long)


def freeze(model: Deep, top: int) -> None:
    for parameter in (
        *model.embed.parameters(),
        *(p for b in model.layers[: len(model.layers) - top] for p in b.parameters()),
    ):
        parameter.requires_grad_(False)


@contextmanager
def in_full() -> Iterator[None]:
    before, depth.LEAST_RUN = depth.LEAST_RUN, 10**6
    try:
        yield
    finally:
        depth.LEAST_RUN = before


def planned(model: Deep, tokens: Tensor, passes: int = 1) -> Any:
    groups = {f"block {i}": [block] for i, block in enumerate(model.layers)} | {"head": [model.head]}
    return plan_memory(
        model,
        lambda: model(tokens),
        optimizer=lambda learning: 8 * sum(p.numel() for p in learning),
        average=False,
        cached=0,
        estimate=0,
        passes=passes,
        groups=groups,
        blocks=tuple(model.layers),
    )


@pytest.mark.parametrize("top", [20, 14, 3], ids=["all", "the upper ones", "the last three"])
@pytest.mark.parametrize("words", [50, 20_000], ids=["narrow head", "wide head"])
@pytest.mark.parametrize("passes", [1, 2])
def test_a_few_blocks_tell_what_all_of_them_hold(top: int, words: int, passes: int) -> None:
    model, tokens = on_meta(words=words)
    if top < 20:
        freeze(model, top)
    short = planned(model, tokens, passes)
    assert max(block.runs for block in model.layers) > min(block.runs for block in model.layers) == 0
    with in_full():
        full = planned(model, tokens, passes)
    assert short.traced
    assert short.allocated == pytest.approx(full.allocated, abs=20)
    assert short.parts() == pytest.approx(full.parts(), abs=20)
    assert sum(short.groups.values()) == pytest.approx(sum(full.groups.values()), abs=20)
    assert len(model.layers) == 20


def test_where_the_worst_moment_moves_with_depth_it_is_found() -> None:
    """With few blocks most is held at the loss, with many when going back ends: gradients outweigh activations."""
    model, _ = on_meta(count=60, width=64, inner=256, words=9000)
    tokens = torch.zeros(1, 8, dtype=torch.long, device="meta")
    few = step_held(Deep(2, 64, 256, 9000).to("meta"), lambda: Deep(2, 64, 256, 9000).to("meta")(tokens))
    assert "gradients" not in {name for name, size in few.by.items() if size > 1 << 20}
    short = planned(model, tokens)
    with in_full():
        full = planned(model, tokens)
    assert short.gradients > full.allocated * 0.1
    assert short.allocated == pytest.approx(full.allocated, rel=0.005)


def test_a_pass_without_gradients_and_its_operations_are_told_the_same_way() -> None:
    model, tokens = on_meta()
    freeze(model, 8)
    blocks, loss = tuple(model.layers), lambda: {"sum": model(tokens)}
    held = passing_bytes(model, lambda: model(tokens), blocks=blocks)
    short = traced(model, loss, training=True, blocks=blocks)
    cut = traced(model, loss, training=True, seam="layers.11", blocks=blocks)
    inside = traced(model, loss, training=True, seam="layers.7", blocks=blocks)
    with in_full():
        assert held == passing_bytes(model, lambda: model(tokens)) == pass_held(model, lambda: model(tokens)).most
        assert short == traced(model, loss, training=True)
        assert cut == traced(model, loss, training=True, seam="layers.11")
        assert inside == traced(model, loss, training=True, seam="layers.7")
    assert cut is not None
    assert cut.below
    assert cut.above


@pytest.mark.parametrize("kind", [Numbered, Deep], ids=["asked for by number", "an odd one in the middle"])
def test_what_can_not_be_cut_short_is_traced_in_full(kind: type[Deep]) -> None:
    model, tokens = on_meta(kind, **({"odd": 10} if kind is Deep else {}))
    short = planned(model, tokens)
    assert short.traced
    assert min(block.runs for block in model.layers) > 0
    with in_full():
        assert short.parts() == planned(model, tokens).parts()


def test_a_network_that_fails_leaves_its_blocks_in_place() -> None:
    model, _ = on_meta()

    def fails() -> Any:
        raise RuntimeError("no shape")

    assert passing_bytes(model, fails, blocks=tuple(model.layers)) == 0
    assert len(model.layers) == 20


def test_phases_of_a_ledger_are_followed_apart() -> None:
    few = step_held(*_step(2))
    more = step_held(*_step(4))
    found = held_by_depth(few, [depth.Slope(range(20), few, more)])
    assert found.most == max(most for most, _ in found.phases.values()) > more.most


def _step(count: int) -> tuple[Deep, Any]:
    model, tokens = on_meta(count=count)
    return model, lambda: model(tokens)
