"""A ledger of every tensor that a step makes: who holds how much at the moment when most is held.

It counts storages, not tensors, and follows them until the last holder lets go, autograd among them; so it is exact on
real tensors (to the byte of what torch's allocator gives out) and on the meta device, where nothing is computed. It
knows no task and no stage.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from tunesmith.model.depth import Slope

GRADIENTS, BACKWARD = "gradients", "going back"


_ATEN: Any = torch.ops.aten
CONVOLUTIONS = frozenset(
    {_ATEN.convolution.default, _ATEN.convolution_overrideable.default, _ATEN.convolution_backward.default}
)


@dataclass
class Held:
    """What is held at the worst moment of what a ledger watched.

    Args:
        most: Bytes, parameters and buffers not counted.
        by: The same by who made it: a layer group, `GRADIENTS`, or `BACKWARD` for what the backward pass made.
        widest: Most bytes that one convolution's library lays out anew, beside what torch's allocator knows of.
        made: Bytes of all that was made going forward, whether it was kept or not.
        end: Bytes that are left when a step is over: its gradients.
        largest: Bytes of the largest storage.
        phases: The most, and who made it, of each phase of a step.
    """

    most: int = 0
    by: dict[str, int] = field(default_factory=dict)
    widest: int = 0
    made: int = 0
    end: int = 0
    largest: int = 0
    phases: dict[str, tuple[int, dict[str, int]]] = field(default_factory=dict)


class Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of the storages that operations make and somebody still holds.

    Args:
        known: Storages that are not counted: parameters and buffers.
    """

    def __init__(self, known: Iterable[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.known = set(known)
        self.now = 0
        self.held = Held()
        self.label = "other"
        self.phase = "forward"
        self.by: dict[str, int] = {}
        self._seen: dict[int, Any] = {}
        self._labels: dict[int, str] = {}

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        # A step of a large model is ten thousand operations: nothing general is asked of their results.
        for tensor in (out,) if isinstance(out, Tensor) else out if isinstance(out, (list, tuple)) else ():
            if isinstance(tensor, Tensor):
                self.take(tensor)
        if func in CONVOLUTIONS:
            # The library lays pictures out in its own way, and the result back: both stand twice for a while.
            made = (*out, args[0]) if isinstance(out, tuple) else (out, args[0])
            twice = sum(t.numel() * t.element_size() for t in made if t is not None)
            self.held.widest = max(self.held.widest, twice)
        return out

    def take(self, tensor: Tensor) -> None:
        """Count a tensor's storage from now on, under the present label."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.known or key in self._seen:
            return
        size = storage.nbytes()
        self._labels[key] = self.label
        self.held.largest = max(self.held.largest, size)
        self.by[self.label] = self.by.get(self.label, 0) + size
        self.now += size
        if self.label != BACKWARD:
            self.held.made += size
        if self.now > self._most(self.phase):
            self.held.phases[self.phase] = (self.now, dict(self.by))
        # A storage's own object stays the same for as long as C++ holds it; a tensor's does not stand for its storage.
        self._seen[key] = weakref.ref(storage, partial(self._leave, key, size))

    def _most(self, phase: str) -> int:
        return self.held.phases[phase][0] if phase in self.held.phases else 0

    def _leave(self, key: int, size: int, _gone: object) -> None:
        if self._seen.pop(key, None) is not None:
            self.now -= size
            self.by[self._labels.pop(key)] -= size

    def rename(self, tensor: Tensor, label: str) -> None:
        """Count a storage under another label."""
        key = tensor.untyped_storage()._cdata
        if key in self._seen and self._labels[key] != label:
            size = tensor.untyped_storage().nbytes()
            self.by[self._labels[key]] -= size
            self.by[label] = self.by.get(label, 0) + size
            self._labels[key] = label

    def close(self) -> Held:
        """What was held; nothing is followed any longer."""
        self._seen.clear()
        if self.held.phases:
            self.held.most, self.held.by = max(self.held.phases.values(), key=lambda one: one[0])
        return self.held


class Autocast(TorchFunctionMode):
    """Autocast on the meta device, where torch has none: products in a narrow type, the rest as it comes.

    As ``torch.autocast`` does it: the narrow copy of a weight that learns is kept until the pass is over.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._copies: dict[int, Tensor] = {}

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not torch.is_autocast_enabled("cpu") or "out" in kwargs:
            return func(*args, **kwargs)
        if func in NARROW:
            args = [self._narrow(one) for one in args]
            kwargs = {name: self._narrow(one) for name, one in kwargs.items()}
        elif func in WIDE:
            args = [one.float() if self._floats(one) else one for one in args]
        elif func in PROMOTED and args and isinstance(args[0], (list, tuple)):
            widest = [one.dtype for one in args[0] if self._floats(one)]
            if torch.float32 in widest:
                args = [[one.float() if self._floats(one) else one for one in args[0]], *args[1:]]
        return func(*args, **kwargs)

    @staticmethod
    def _floats(value: Any) -> bool:
        return isinstance(value, Tensor) and value.is_meta and value.is_floating_point()

    def _narrow(self, value: Any) -> Any:
        if not self._floats(value) or value.dtype != torch.float32:
            return value
        if not (value.is_leaf and value.requires_grad):
            return value.to(self.dtype)
        if id(value) not in self._copies:
            self._copies[id(value)] = value.to(self.dtype)
        return self._copies[id(value)]


_F = nn.functional
NARROW = {
    _F.linear, _F.conv1d, _F.conv2d, _F.conv3d, _F.conv_transpose1d, _F.conv_transpose2d, _F.bilinear,
    _F.scaled_dot_product_attention, torch.matmul, torch.mm, torch.bmm, torch.addmm, torch.baddbmm, torch.addbmm,
    torch.conv1d, torch.conv2d, torch.conv3d, Tensor.matmul, Tensor.mm, Tensor.bmm, Tensor.__matmul__,
    Tensor.__rmatmul__, Tensor.addmm, Tensor.baddbmm,
}  # fmt: skip
WIDE = {
    _F.mse_loss, _F.l1_loss, _F.smooth_l1_loss, _F.nll_loss, _F.cosine_embedding_loss, _F.ctc_loss, _F.kl_div,
    _F.huber_loss, _F.soft_margin_loss, _F.binary_cross_entropy_with_logits, torch.linalg.norm, torch.cdist,
}  # fmt: skip
PROMOTED = {torch.cat, torch.stack, torch.concat}
"""What a CPU's autocast computes in the narrow type, in fp32, and in the widest type of its inputs."""


class MetaAnswers(TorchFunctionMode):
    """Answers False when code asks a meta tensor for its truth: the general path, with masks, is the larger one.

    Attention keeps what the fused kernels keep, which have no matrix of all pairs; torch's own meta path would keep it.
    """

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.Tensor.__bool__ and isinstance(args[0], Tensor) and args[0].is_meta:
            return False
        if func is torch.Tensor.item and args[0].is_meta and args[0].dtype is torch.bool:
            return True
        if func is nn.functional.scaled_dot_product_attention and args[0].is_meta:
            return _attention(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Attention on the meta device, by the kernel that torch would take: the fused one wherever it can."""
    fused = query.dim() == 4 and query.shape[:2] == key.shape[:2] and query.shape[-1] == value.shape[-1]
    if attn_mask is not None:
        fused &= attn_mask.dim() in (2, 4) and not attn_mask.requires_grad
        if attn_mask.dtype == torch.bool:
            attn_mask = torch.zeros(attn_mask.shape, dtype=query.dtype, device=query.device)
    if not fused or dropout_p:
        return nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    kernel: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    out: Tensor = kernel(query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale)[0]
    return out


_SHAPES: ContextVar[str | None] = ContextVar("on shapes", default=None)


@contextmanager
def on_shapes(precision: str | None) -> Iterator[None]:
    """Answers and types as a real pass has them, for a pass on the meta device; None: nothing of the kind."""
    if precision is None:
        yield
        return
    before = _SHAPES.set(precision)
    try:
        with ExitStack() as stack:
            stack.enter_context(MetaAnswers())
            if precision != "fp32":
                dtype = torch.bfloat16 if precision == "bf16" else torch.float16
                # torch's own tells code that asks, and code that switches it off; ours does what it would have done.
                stack.enter_context(torch.autocast("cpu", dtype))
                stack.enter_context(Autocast(dtype))
            yield
    finally:
        _SHAPES.reset(before)


def shapes_again() -> AbstractContextManager[None]:
    """The same as now, for a block that is computed again going back: torch's function modes are not there by then."""
    return on_shapes(_SHAPES.get())


def own_storages(model: nn.Module) -> set[int]:
    """The storages of a model's parameters and buffers."""
    return {t.untyped_storage()._cdata for t in (*model.parameters(), *model.buffers())}


@contextmanager
def told_apart(ledger: Ledger, groups: Mapping[str, Sequence[nn.Module]]) -> Iterator[None]:
    """Label what a layer group's modules make going forward by the group's name."""
    with ExitStack() as stack:
        for name, modules in groups.items():
            for module in modules:
                _watch(stack, ledger, name, module)
        yield


def _watch(stack: ExitStack, ledger: Ledger, name: str, module: nn.Module) -> None:
    before: list[str] = []

    def enter(_module: nn.Module, _args: Any) -> None:
        before.append(ledger.label)
        ledger.label = name

    def leave(_module: nn.Module, _args: Any, _out: Any) -> None:
        ledger.label = before.pop() if before else "other"

    stack.callback(module.register_forward_pre_hook(enter).remove)
    stack.callback(module.register_forward_hook(leave, always_call=True).remove)


def step_held(
    model: nn.Module,
    run: Callable[[], Tensor],
    *,
    passes: int = 1,
    precision: str = "fp32",
    groups: Mapping[str, Sequence[nn.Module]] | None = None,
    around: Callable[[], AbstractContextManager[Any]] = nullcontext,
    lower: Collection[nn.Parameter] = (),
) -> Held:
    """What the forward and backward passes of one step hold at their worst moment, gradients among it.

    Args:
        model: On the meta device, or real.
        run: One micro-batch's loss, a scalar.
        passes: 1, or 2 where gradients of an earlier micro-batch stand while the next one runs.
        precision: What autocast computes in, on the meta device.
        groups: Modules by layer group, to tell activations apart.
        around: A context for forward and backward pass together (dropout that is drawn again with its block).
        lower: Parameters whose gradients tell that the way back is past the middle, which is a phase of its own.
    """
    ledger = Ledger(own_storages(model))
    half = {id(parameter) for parameter in lower}

    def accumulated(parameter: nn.Parameter) -> None:
        ledger.rename(parameter.grad, GRADIENTS)  # type: ignore[arg-type]
        if id(parameter) in half:
            ledger.phase = "back, lower half"

    learning = [p for p in model.parameters() if p.requires_grad]
    with ExitStack() as stack:
        for parameter in learning:
            hook = parameter.register_post_accumulate_grad_hook(accumulated)  # type: ignore[no-untyped-call]
            stack.callback(hook.remove)
        stack.enter_context(told_apart(ledger, groups or {}))
        stack.enter_context(ledger)
        try:
            for _ in range(passes):
                ledger.label, ledger.phase = "other", "forward"
                with around():
                    with on_shapes(precision):
                        loss = run()
                    ledger.label, ledger.phase = BACKWARD, "back"
                    loss.backward()  # type: ignore[no-untyped-call]
                del loss
            ledger.held.end = ledger.now
        finally:
            for parameter in learning:
                parameter.grad = None
    return ledger.close()


def pass_held(model: nn.Module, run: Callable[[], Any], *, precision: str = "fp32") -> Held:
    """What a pass that keeps nothing for going back holds at its worst moment."""
    ledger = Ledger(own_storages(model))
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(ledger)
        stack.enter_context(on_shapes(precision))
        run()
    return ledger.close()


def held_by_depth(few: Held, slopes: Sequence[Slope]) -> Held:
    """What the whole network holds, given what it holds with few blocks: each phase's worst moment is a straight line.

    A phase's most is at one of its ends, wherever in a network it lies; so of two phases that change places with depth
    both are followed.
    """
    phases: dict[str, tuple[int, dict[str, int]]] = {}
    for phase, (most, by) in few.phases.items():
        found, total = dict(by), float(most)
        for slope in slopes:
            other, beside = slope.more.phases.get(phase, (most, by))
            total += slope.at_full(most, other)
            blocks = [f"block {i}" for i in slope.run]
            for name in {*by, *beside} - set(blocks):
                found[name] = round(found.get(name, 0) + slope.at_full(by.get(name, 0), beside.get(name, 0)))
            kept = [sum(one.get(name, 0) for name in blocks) for one in (by, beside)]
            each = (kept[0] + slope.at_full(*kept)) / len(blocks)
            found |= dict.fromkeys(blocks, round(each))
        phases[phase] = (round(total), found)

    def line(what: Callable[[Held], int]) -> int:
        return round(what(few) + sum(slope.at_full(what(few), what(slope.more)) for slope in slopes))

    most, by = max(phases.values(), key=lambda one: one[0], default=(0, {}))
    made, end = line(lambda one: one.made), line(lambda one: one.end)
    return Held(most, by, few.widest, made, end, few.largest, phases)
