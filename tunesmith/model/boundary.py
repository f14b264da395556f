"""Where the frozen part of a model ends, and how another answer is put there.

The boundary is derived, not declared: it is the topmost module whose output no learning parameter has touched, which
autograd itself says on one probe batch. It knows no task, no loop and no store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from tunesmith.model.layers import LayerGroups

Run = Callable[[], Tensor]

ROWS, LENGTH = -1, -2

SAME_LOSS = 1e-4
"""Largest relative difference between the probe's loss and its loss when the seam answers for what lies below."""


@dataclass(frozen=True)
class Boundary:
    """Where the frozen part ends.

    Args:
        name: Dotted name of the seam in the model.
        seam: The topmost untouched module.
        calls: How often the seam runs in a forward pass (ALBERT's shared blocks run many times); the last is kept.
        idle: Modules below it that need not run once its output is known, each with its output's structure.
        spec: Structure of the seam's output.
        leaves: The probe's output, flattened: tensors, or constants.
        used: For each leaf, whether anything above the seam reads it.
        above: Blocks that run after the seam.
        shapes: Of the idle modules' tensors, where code between them takes shapes apart; ``ROWS`` and ``LENGTH`` stand
            for what follows the batch. None: whatever the seam puts out stands for them.
    """

    name: str
    seam: nn.Module
    calls: int
    idle: tuple[tuple[nn.Module, TreeSpec, tuple[Any, ...]], ...]
    spec: TreeSpec
    leaves: tuple[Any, ...]
    used: tuple[bool, ...]
    above: tuple[nn.Module, ...]
    shapes: tuple[tuple[tuple[int, ...], ...], ...] | None = None

    def tensors(self, model: nn.Module) -> dict[str, Tensor]:
        """Frozen weights and buffers of ``model`` that may decide what the seam puts out: all but the blocks above it.

        Wider than the modules that ran below: some weights are read without a forward pass of their own (DeBERTa's
        relative positions).
        """
        tops = {id(m) for block in self.above for m in block.modules()}
        learning = {id(m) for m in model.modules() if any(p.requires_grad for p in m.parameters(recurse=False))}
        return {
            f"{name}.{key}": value
            for name, module in model.named_modules()
            if id(module) not in tops | learning
            for key, value in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        }


@dataclass
class _Trace:
    """What ran in one forward pass, in order: each module with its output and whether gradients flow into it."""

    ran: list[tuple[nn.Module, bool, Any]]
    loss: Tensor

    def runs_of(self, modules: set[int]) -> list[int]:
        return [i for i, (module, _, _) in enumerate(self.ran) if id(module) in modules]


def find_boundary(layers: LayerGroups, run: Run) -> Boundary | str:
    """The boundary of a model as it is frozen now, or why there is none.

    Candidates are tried from the top. One holds if nothing above it reads what a block below it puts out (a decoder
    reads the encoder past its own blocks), and if the loss stays the same when it answers for everything below.

    Args:
        layers: The model's groups, with the stage applied.
        run: Computes the loss of one probe batch, with gradients on.
    """
    names = {id(module): name for name, module in layers.model.named_modules()}
    trace = _traced(layers, run)
    why = "no block lies below the lowest learning layer"
    for seam, calls, below in _candidates(layers, trace):
        found = _proved(names[id(seam)], seam, calls, below, trace, layers, run)
        if isinstance(found, Boundary):
            return found
        why = found
    return why


def _traced(layers: LayerGroups, run: Run) -> _Trace:
    ran: list[tuple[nn.Module, bool, Any]] = []

    def watch(module: nn.Module, _args: Any, output: Any) -> None:
        touched = any(isinstance(x, Tensor) and x.requires_grad for x in tree_flatten(output)[0])
        ran.append((module, touched, output))

    with ExitStack() as hooks:
        for module in _watched(layers):
            hooks.callback(module.register_forward_hook(watch).remove)
        loss = run()
    return _Trace(ran, loss.detach())


def _watched(layers: LayerGroups) -> list[nn.Module]:
    """The trunk, its blocks, stacks of some of them, and the modules with weights of their own that may feed them."""
    inside = {id(m) for block in layers.blocks for m in block.modules()}
    above = {id(m) for m in layers.trunk.modules() if any(id(c) in inside for c in m.modules())}
    feeders = [
        m
        for m in layers.trunk.modules()
        if id(m) not in inside | above and m is not layers.trunk and next(m.parameters(), None) is not None
    ]
    stacks = _stacks(layers)
    return [*([] if layers.trunk is layers.model else [layers.trunk]), *layers.blocks, *feeders, *stacks]


def _stacks(layers: LayerGroups) -> dict[nn.Module, frozenset[int]]:
    """Modules of the trunk that hold some blocks and not all of them (an encoder beside a decoder), with those."""
    known = {id(block) for block in layers.blocks}
    inside = {id(m) for block in layers.blocks for m in block.modules()}
    found = {}
    for module in layers.trunk.modules():
        its = frozenset(id(m) for m in module.modules()) & known
        runs = not isinstance(module, (nn.ModuleList, nn.ModuleDict))
        if runs and id(module) not in inside and 0 < len(its) < len(known):
            found[module] = its
    return found


def _candidates(layers: LayerGroups, trace: _Trace) -> Iterator[tuple[nn.Module, int, list[nn.Module]]]:
    """Seams from the top with the number of their runs and the modules that ran below them.

    A cut through the order of execution is a candidate where no block stands on both of its sides.
    """
    whole = trace.runs_of({id(layers.trunk)})
    if len(whole) == 1 and not trace.ran[whole[0]][1]:
        yield layers.trunk, 1, []
    blocks = {id(block) for block in layers.blocks}
    runs = trace.runs_of(blocks)
    free = next((i for i, at in enumerate(runs) if trace.ran[at][1]), len(runs))
    stacks = _stacks(layers)
    for cut in range(free, 0, -1):
        before = [trace.ran[at][0] for at in runs[:cut]]
        # A whole stack answers for what it does around its blocks, too (an encoder's first convolutions).
        until = runs[cut] if cut < len(runs) else len(trace.ran)
        for at in range(until - 1, runs[cut - 1], -1):
            module, touched, _ = trace.ran[at]
            once = len(trace.runs_of({id(module)})) == 1
            if module in stacks and once and not touched and id(before[-1]) in stacks[module]:
                later = {id(m) for m, _, _ in trace.ran[at + 1 :]}
                yield module, 1, list({id(m): m for m, _, _ in trace.ran[:at] if id(m) not in later}.values())
        if {id(m) for m in before} & {id(trace.ran[at][0]) for at in runs[cut:]}:
            continue
        seam, last = before[-1], runs[cut - 1]
        later = {id(module) for module, _, _ in trace.ran[last + 1 :]}
        earlier = {id(m): m for m, _, _ in trace.ran[:last] if m is not seam and id(m) not in later}
        yield seam, sum(module is seam for module in before), list(earlier.values())


def _proved(
    name: str, seam: nn.Module, calls: int, below: Sequence[nn.Module], trace: _Trace, layers: LayerGroups, run: Run
) -> Boundary | str:
    output = [out for module, _, out in trace.ran if module is seam][calls - 1]
    leaves, spec = tree_flatten(output)
    if not any(isinstance(leaf, Tensor) for leaf in leaves):
        return f"{name} puts out no tensor"
    used, read = _readers(seam, calls, below, run)
    blocks = {id(block) for block in layers.blocks}
    if any(id(module) in blocks for module in read):
        return f"what lies above {name} also reads blocks below it"
    shapes = {id(module): tree_flatten(out) for module, _, out in trace.ran}
    live = {id(module) for module in read}
    idle = tuple(
        (module, shapes[id(module)][1], tuple(None if isinstance(x, Tensor) else x for x in shapes[id(module)][0]))
        for module in below
        if id(module) not in live
    )
    last = max(i for i, (module, _, _) in enumerate(trace.ran) if module is seam)
    after = {id(module) for module, _, _ in trace.ran[last + 1 :]}
    above = () if seam is layers.trunk else tuple(block for block in layers.blocks if id(block) in after)
    found = Boundary(name, seam, calls, idle, spec, tuple(_detached(leaf) for leaf in leaves), used, above)
    if trace.loss.is_meta:
        return found
    why = _fault_of(found, trace.loss, run)
    if why is not None:
        # What runs between the modules takes their outputs apart, and found another shape than it knows (Whisper).
        shaped = replace(found, shapes=_shapes_of(found, [tree_flatten(out)[0] for out in _outputs(found, trace)]))
        if shaped.shapes is None or _fault_of(shaped, trace.loss, run) is not None:
            return f"{name} can't stand for what ran before it: {why}"
        found = shaped
    return found


def _outputs(boundary: Boundary, trace: _Trace) -> list[Any]:
    """What each idle module put out last."""
    told = {id(module): output for module, _, output in trace.ran}
    return [told[id(module)] for module, _, _ in boundary.idle]


def _fault_of(boundary: Boundary, loss: Tensor, run: Run) -> str | None:
    """Why the boundary's own output can't stand for what lies below it; None where the loss stays."""
    answers = [x if u else unread(x, len(x)) for x, u in zip(boundary.leaves, boundary.used, strict=True)]
    try:
        with torch.no_grad(), answered_by(boundary, answers):
            replayed = run()
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as fault:
        said = (str(fault).strip().splitlines() or [""])[0]
        return f"{type(fault).__name__}: {said}"
    if not bool((replayed - loss).abs() <= SAME_LOSS * loss.abs().clamp(min=1.0)):
        return f"the loss changes from {loss:.6g} to {replayed:.6g}"
    return None


def _shapes_of(boundary: Boundary, outputs: Sequence[Sequence[Any]]) -> tuple[tuple[tuple[int, ...], ...], ...] | None:
    """Shapes of the idle modules' tensors by rows and length; None where that is not plain (a width that is one)."""
    first = next(x for x, u in zip(boundary.leaves, boundary.used, strict=True) if isinstance(x, Tensor) and u)
    if first.ndim < 3:
        return None
    rows, length = first.shape[:2]
    found = []
    for leaves in outputs:
        shapes = []
        for leaf in leaves:
            sizes = list(leaf.shape) if isinstance(leaf, Tensor) else []
            by_row = bool(sizes) and sizes[0] == rows
            shape = [LENGTH if size == length else int(size) for size in sizes[by_row:]]
            if shape.count(LENGTH) > 1 or rows == length:
                return None
            shapes.append((*([ROWS] if by_row else []), *shape))
        found.append(tuple(shapes))
    return tuple(found)


def _readers(seam: nn.Module, calls: int, below: Sequence[nn.Module], run: Run) -> tuple[tuple[bool, ...], list[Any]]:
    """Which leaves of the seam's output are read above it, and which modules below are read past it.

    Those that the loss has a gradient for: the seam's output is cut off from what lies below, so a gradient that
    arrives further down came another way (position biases, an encoder's states).
    """
    fed: list[Any] = []
    marked: list[tuple[nn.Module, Tensor]] = []
    seen = 0

    def mark(module: nn.Module, _args: Any, output: Any) -> Any:
        nonlocal seen
        seen += module is seam
        last = module is seam and seen == calls
        values, spec = tree_flatten(output)
        new = [_fed(value, cut=last) for value in values]
        if last:
            fed.extend(new)
        else:
            marked.extend((module, value) for value in new if isinstance(value, Tensor) and value.requires_grad)
        # The model may write in place into what it is given, which a leaf does not allow.
        handed = [v.clone() if isinstance(v, Tensor) and v.requires_grad else v for v in new]
        return tree_unflatten(handed, spec)

    with ExitStack() as hooks:
        for module in (*below, seam):
            hooks.callback(module.register_forward_hook(mark).remove)
        loss = run()
    wanted = [leaf for leaf in fed if isinstance(leaf, Tensor) and leaf.requires_grad]
    targets = [*wanted, *(value for _, value in marked)]
    found = torch.autograd.grad(loss, targets, allow_unused=True) if targets and loss.requires_grad else ()
    gradients = iter(found)
    used = tuple(
        next(gradients, None) is not None if isinstance(leaf, Tensor) and leaf.requires_grad else True for leaf in fed
    )
    return used, [module for (module, _), gradient in zip(marked, gradients, strict=False) if gradient is not None]


def _fed(value: Any, *, cut: bool) -> Any:
    if not (isinstance(value, Tensor) and value.is_floating_point()):
        return value
    return value if value.requires_grad and not cut else value.detach().clone().requires_grad_(True)


def _detached(leaf: Any) -> Any:
    return leaf.detach() if isinstance(leaf, Tensor) else leaf


def unread(leaf: Any, rows: int) -> Any:
    """NaN in place of a leaf that nothing reads, so that a wrong guess could not pass unseen."""
    shape = (rows, *leaf.shape[1:])
    return torch.full((1,) * len(shape), torch.nan, dtype=leaf.dtype, device=leaf.device).expand(shape)


@contextmanager
def answered_by(boundary: Boundary, leaves: Sequence[Any]) -> Iterator[None]:
    """Let the seam answer with ``leaves`` and the modules below it not run."""
    first = next(leaf for leaf, used in zip(leaves, boundary.used, strict=True) if isinstance(leaf, Tensor) and used)

    def answering(value: Any) -> Callable[..., Any]:
        return lambda *_args, **_kwargs: value

    answers = {boundary.seam: tree_unflatten(list(leaves), boundary.spec)}
    known = {ROWS: first.shape[0], LENGTH: first.shape[1] if first.ndim > 1 else 1}
    for i, (module, spec, constants) in enumerate(boundary.idle):
        # Only other modules that do not run read this; the structure is what the code between them takes apart.
        stand_ins = [first] * len(constants)
        if boundary.shapes is not None:
            sizes = [[known.get(size, size) for size in shape] for shape in boundary.shapes[i]]
            stand_ins = [first.new_zeros(()).expand(size) for size in sizes]
        answers[module] = tree_unflatten(
            [s if c is None else c for s, c in zip(stand_ins, constants, strict=True)], spec
        )
    # A block may carry a forward of its own already (recomputation wraps it so).
    before = {module: vars(module).get("forward") for module in answers}
    for module, value in answers.items():
        module.forward = answering(value)
    try:
        yield
    finally:
        for module, forward in before.items():
            if forward is None:
                del module.forward
            else:
                module.forward = forward


def observed(boundary: Boundary, run: Run) -> list[Any]:
    """The seam's output for another probe, flattened; the forward pass ends there."""
    found: list[Any] = []
    with torch.no_grad(), at_seam(boundary, lambda output: found.extend(tree_flatten(output)[0])):
        run()
    return found


def loss_without_padding(
    boundary: Boundary, leaves: Sequence[Any], lengths: Sequence[int], *, left: bool, run: Run
) -> Tensor:
    """The loss of a probe when the seam answers with these leaves, zero where rows are padded, as a store would.

    Args:
        boundary: Where.
        leaves: From ``observed``.
        lengths: Of the probe's rows.
        left: Whether padding comes before a row.
        run: Computes the probe's loss.
    """
    longest = max(lengths)
    places = torch.arange(longest)
    ends = torch.tensor(lengths)[:, None]
    inside = places >= longest - ends if left else places < ends

    def stored(leaf: Any, used: bool) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        if not used:
            return unread(leaf, len(lengths))
        if leaf.ndim < 3 or leaf.shape[1] != longest:
            return leaf
        keep = inside.to(leaf.device).view(*inside.shape, *(1 for _ in leaf.shape[2:]))
        return leaf.masked_fill(~keep, 0)

    answers = [stored(leaf, used) for leaf, used in zip(leaves, boundary.used, strict=True)]
    with torch.no_grad(), answered_by(boundary, answers):
        return run()


@contextmanager
def at_seam(boundary: Boundary, take: Callable[[Any], None]) -> Iterator[None]:
    """Hand the seam's output to ``take`` and end the forward pass."""
    seen = 0

    def hook(_module: nn.Module, _args: Any, output: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == boundary.calls:
            take(output)
            raise _Reached

    handle = boundary.seam.register_forward_hook(hook)
    try:
        yield
    except _Reached:
        return
    finally:
        handle.remove()


class _Reached(Exception):
    """Ends a forward pass at the seam: what lies above it need not run."""
