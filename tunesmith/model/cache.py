"""The activation cache: what the frozen part of a model puts out, computed once per row and replayed after.

The boundary is derived, not declared: it is the topmost module whose output no learning parameter has touched, which
autograd itself says on one probe batch. It knows no task and no loop; rows come as digests of their content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from tunesmith.model.layers import LayerGroups
from tunesmith.model.store import ActivationStore, LeafLayout

Run = Callable[[], Tensor]


@dataclass(frozen=True)
class Boundary:
    """Where the frozen part ends.

    Args:
        name: Dotted name of the seam in the model.
        seam: The topmost untouched module.
        idle: Modules below it that need not run once its output is known.
        spec: Structure of the seam's output.
        leaves: The probe's output, flattened: tensors, or constants.
        used: For each leaf, whether anything above the seam reads it.
    """

    name: str
    seam: nn.Module
    idle: tuple[nn.Module, ...]
    spec: TreeSpec
    leaves: tuple[Any, ...]
    used: tuple[bool, ...]

    def prefix(self) -> list[nn.Module]:
        """The modules whose work is saved; their weights and buffers decide the cache's key."""
        return [*self.idle, self.seam]


def find_boundary(layers: LayerGroups, run: Run) -> Boundary | None:
    """The boundary of a model as it is frozen now; None where everything has been touched.

    Args:
        layers: The model's groups, with the stage applied.
        run: Computes the loss of one probe batch, with gradients on.
    """
    names = {id(module): name for name, module in layers.model.named_modules()}
    seen: dict[int, tuple[bool, Any]] = {}
    order: list[nn.Module] = []

    def watch(module: nn.Module, _args: Any, output: Any) -> None:
        touched = any(isinstance(x, Tensor) and x.requires_grad for x in tree_flatten(output)[0])
        seen[id(module)] = (touched, output)
        order.append(module)

    with ExitStack() as hooks:
        for module in layers.trunk.modules():
            hooks.callback(module.register_forward_hook(watch).remove)
        run()
    seam = _topmost(layers, seen)
    if seam is None:
        return None
    leaves, spec = tree_flatten(seen[id(seam)][1])
    idle = () if seam is layers.trunk else tuple(_below(layers, seam, order))
    draft = Boundary(names[id(seam)], seam, idle, spec, tuple(leaves), tuple(True for _ in leaves))
    return Boundary(draft.name, seam, idle, spec, draft.leaves, _used(draft, run))


def _topmost(layers: LayerGroups, seen: dict[int, tuple[bool, Any]]) -> nn.Module | None:
    def untouched(module: nn.Module) -> bool:
        return id(module) in seen and not seen[id(module)][0]

    if layers.trunk is not layers.model and untouched(layers.trunk):
        return layers.trunk
    seam = None
    for block in layers.blocks:
        if not untouched(block):
            break
        seam = block
    return seam


def _below(layers: LayerGroups, seam: nn.Module, order: Sequence[nn.Module]) -> Iterator[nn.Module]:
    """Modules that ran before the seam and need not again: the lower blocks, and what feeds the first of them."""
    inside = {id(m) for block in layers.blocks for m in block.modules()}
    above = {id(m) for m in layers.trunk.modules() if any(id(c) in inside for c in m.modules())}
    covered: set[int] = set()
    earlier = order[: order.index(seam)]
    for module in reversed(earlier):
        if id(module) in above and module not in layers.blocks:
            continue
        lower_block = module in layers.blocks
        feeder = id(module) not in inside and next(module.parameters(), None) is not None
        if (lower_block or feeder) and id(module) not in covered:
            covered |= {id(m) for m in module.modules()}
            yield module


def _used(boundary: Boundary, run: Run) -> tuple[bool, ...]:
    """Which leaves of the seam's output anything above it reads: those the loss has a gradient for."""
    fed = [_differentiable(leaf) for leaf in boundary.leaves]
    with _stub(boundary, fed):
        loss = run()
    wanted = [leaf for leaf in fed if isinstance(leaf, Tensor) and leaf.requires_grad]
    gradients = iter(torch.autograd.grad(loss, wanted, allow_unused=True)) if wanted else iter(())
    return tuple(
        next(gradients) is not None if isinstance(leaf, Tensor) and leaf.requires_grad else True for leaf in fed
    )


def _differentiable(leaf: Any) -> Any:
    if isinstance(leaf, Tensor) and leaf.is_floating_point():
        return leaf.detach().clone().requires_grad_(True)
    return leaf


@contextmanager
def _stub(boundary: Boundary, leaves: Sequence[Any]) -> Iterator[None]:
    """Let the seam answer with ``leaves`` and the modules below it not run."""
    value = tree_unflatten(list(leaves), boundary.spec)
    first = next(leaf for leaf in leaves if isinstance(leaf, Tensor))

    def answer(*_args: Any, **_kwargs: Any) -> Any:
        return value

    def stand_in(*_args: Any, **_kwargs: Any) -> Any:
        return first

    blocks = {id(boundary.seam)} | {id(m) for m in boundary.idle if type(m) is type(boundary.seam)}
    for module in boundary.prefix():
        module.forward = answer if id(module) in blocks else stand_in
    try:
        yield
    finally:
        for module in boundary.prefix():
            del module.forward


class _Recorded(Exception):
    """Ends a forward pass at the seam: what lies above it need not run."""


class ActivationCache:
    """A boundary with a store: records the seam's output row by row, and replays it.

    Args:
        boundary: Where the frozen part ends.
        store: Where the activations are kept.
    """

    def __init__(self, boundary: Boundary, store: ActivationStore) -> None:
        self.boundary, self.store = boundary, store

    @contextmanager
    def recording(self, keys: Sequence[bytes], lengths: Sequence[int]) -> Iterator[None]:
        """Run the frozen part for real and keep what it puts out for these rows; the forward pass ends there."""

        def keep(_module: nn.Module, _args: Any, output: Any) -> None:
            leaves = tree_flatten(output)[0]
            kept = [x for x, used in zip(leaves, self.boundary.used, strict=True) if used and isinstance(x, Tensor)]
            self.store.append(keys, lengths, kept)
            raise _Recorded

        handle = self.boundary.seam.register_forward_hook(keep)
        try:
            yield
        except _Recorded:
            return
        finally:
            handle.remove()

    @contextmanager
    def replaying(self, keys: Sequence[bytes], lengths: Sequence[int], device: torch.device) -> Iterator[None]:
        """Let the seam answer from the store; nothing below it runs.

        A leaf that nothing reads is answered with NaN, so that a wrong guess could not pass unseen.
        """
        stored = iter(self.store.read(keys, max(lengths)))
        leaves: list[Any] = []
        for leaf, used in zip(self.boundary.leaves, self.boundary.used, strict=True):
            if not isinstance(leaf, Tensor):
                leaves.append(leaf)
            elif used:
                leaves.append(next(stored).to(device=device, dtype=leaf.dtype))
            else:
                shape = (len(keys), *leaf.shape[1:])
                leaves.append(torch.full((1,) * len(shape), torch.nan, dtype=leaf.dtype, device=device).expand(shape))
        with _stub(self.boundary, leaves):
            yield


def leaf_layouts(boundary: Boundary, padded: int, dtype: torch.dtype) -> list[LeafLayout]:
    """How the used leaves are stored; a leaf is ragged where its second axis is the padded one.

    Args:
        boundary: With the leaves of a probe batch.
        padded: The probe batch's length along the padded axis.
        dtype: Stored precision of floating-point leaves.
    """
    layouts = []
    for leaf, used in zip(boundary.leaves, boundary.used, strict=True):
        if not (isinstance(leaf, Tensor) and used):
            continue
        ragged = leaf.ndim >= 3 and padded > 1 and leaf.shape[1] == padded
        kind = dtype if leaf.is_floating_point() else leaf.dtype
        layouts.append(LeafLayout(tuple(leaf.shape[2 if ragged else 1 :]), kind, ragged))
    return layouts


def predicted_bytes(layouts: Sequence[LeafLayout], lengths: Sequence[int]) -> int:
    """Bytes on disk for rows of these lengths."""
    per_position = sum(leaf.bytes_per_position for leaf in layouts if leaf.ragged)
    per_row = sum(leaf.bytes_per_position for leaf in layouts if not leaf.ragged)
    return per_position * sum(lengths) + per_row * len(lengths)
