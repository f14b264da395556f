"""Where a network is listened to: the input of a linear head, or the highest block that reads the input.

It knows no modality, no cache and no finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from tunesmith.data.loader import Loader, sorted_batches
from tunesmith.model.layers import LayerGroups
from tunesmith.train.features import NoLinearHead, Recorder, check_finite, linear_head
from tunesmith.train.inference import halving
from tunesmith.train.step import to_device

if TYPE_CHECKING:
    from tunesmith.train.engine import LocalEngine

Report = Callable[[int], None]


class _Heard(Exception):
    """What was listened for is there: the rest of the forward pass is not needed."""


class Reader:
    """A network in ``eval`` mode, with the place at which it is listened to.

    Args:
        task: Its ``loss`` runs the model; a copy, for packing is switched off.
        model: On the engine's device.
        layers: Its groups.
        engine: Device and precision.
        rows: Rows in one forward pass.
        loader: Rows to try the place on.

    Raises:
        LookupError: No block reads the rows.
    """

    def __init__(
        self, task: Any, model: nn.Module, layers: LayerGroups, engine: LocalEngine, rows: int, loader: Loader
    ) -> None:
        self.task, self.model, self.engine, self._rows = task, model, engine, rows
        task.packed = False
        self._recorder: Recorder | None = None
        self.kind = "head"
        try:
            recorder = Recorder(task, model, linear_head(model, layers.names("head")), engine, rows)
            recorder.check(loader)
            self._recorder, self.width = recorder, recorder.head.in_features
        except NoLinearHead:
            self.kind = "block"
            self._place = self._last_fired(_candidates(model, layers), loader)
            self.width = self._vectors(loader, [0]).shape[1]

    def vectors(self, loader: Loader, report: Report = lambda _done: None) -> Tensor:
        """What the network sees in every row, float32 [rows, width].

        Raises:
            UserError: Some are not finite, or a row can't be read.
        """
        if self._recorder is not None:
            return self._recorder.record(loader, "", lambda _what, done, _total: report(done)).inputs
        found = torch.empty(len(loader), self.width)
        done = 0
        for indices in sorted_batches(loader.lengths, loader.together(self._rows, self.engine.device.type)):
            parts = halving(indices, lambda some: self._vectors(loader, some))
            found[indices.copy()] = torch.cat(parts)
            done += len(indices)
            report(done)
        check_finite(found, loader.ids)
        return found

    def _vectors(self, loader: Loader, indices: Sequence[int] | np.ndarray) -> Tensor:
        batch = to_device(loader.batch(list(indices)), self.engine.device)
        states: list[Tensor] = []

        def hear(_module: nn.Module, _args: Any, output: Any) -> None:
            state = _tensor_of(output)
            if state is not None:
                states.append(state)
            if sum(len(one) for one in states) >= len(indices):
                raise _Heard

        self._run(batch, [(self._place, hear)])
        if not states:
            raise LookupError("the highest block was not reached")
        if len(states) > 1 and len(indices) > 1:
            # Rows went through in parts of unknown order (pictures by size).
            return torch.cat([self._vectors(loader, [i]) for i in indices])
        return _pooled(states[0], batch, len(indices)).float().cpu()

    def _last_fired(self, blocks: Sequence[nn.Module], loader: Loader) -> nn.Module:
        """The block among these that ran last for a row."""
        fired: list[nn.Module] = []

        def note(module: nn.Module, _args: Any, output: Any) -> None:
            if _tensor_of(output) is not None:
                fired.append(module)

        self._run(to_device(loader.batch([0]), self.engine.device), [(block, note) for block in blocks])
        if not fired:
            raise LookupError("the network has no block that puts out states")
        return fired[-1]

    def _run(self, batch: Any, hooks: Sequence[tuple[nn.Module, Callable[..., None]]]) -> None:
        with _hooked(hooks), torch.no_grad(), self.engine.precision():
            try:
                self.task.loss(self.model, batch)
            except _Heard:
                return


@contextmanager
def _hooked(hooks: Sequence[tuple[nn.Module, Callable[..., None]]]) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module, hook in hooks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _candidates(model: nn.Module, layers: LayerGroups) -> Sequence[nn.Module]:
    """Blocks that read the input: of the encoder where there is one, of a helper (a VAE), else all.

    A decoder's states beside an encoder say what is to be written, and a denoiser's how much noise was added.
    """
    if layers.helpers:
        return LayerGroups.of(layers.helpers[0], trunk=layers.helpers[0]).blocks or (layers.helpers[0],)
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False) and hasattr(model, "get_encoder"):
        find: Any = model.get_encoder
        encoder = find()
        if isinstance(encoder, nn.Module) and encoder is not model:
            return LayerGroups.of(encoder, trunk=encoder).blocks or (encoder,)
    blocks = layers.blocks or (layers.trunk,)
    # The upper half of a network that writes texts is about the next word; the middle tells texts apart, in half the
    # time (Skean et al. 2025, arXiv:2502.02013).
    return blocks[: max(1, len(blocks) // 2)] if _writes(model) else blocks


def _writes(model: nn.Module) -> bool:
    """Whether it puts out a word at every position."""
    find = getattr(model, "get_output_embeddings", None)
    return callable(find) and isinstance(find(), nn.Module)


def _tensor_of(output: Any) -> Tensor | None:
    """The first floating-point tensor with positions in what a block puts out."""
    leaves = [one for one in tree_flatten(output)[0] if isinstance(one, Tensor) and one.is_floating_point()]
    return next((one for one in leaves if one.ndim in (2, 3, 4)), None)


def _pooled(state: Tensor, batch: Any, rows: int) -> Tensor:
    """States averaged over positions, [rows, width]."""
    if state.ndim == 4:
        last = state.shape[1] == state.shape[2] != state.shape[3]
        mean = state.mean((1, 2)) if last else state.mean((2, 3))
    elif state.ndim == 3:
        mean = _mean_over(state, batch.get("attention_mask"))
    else:
        mean = state
    if len(mean) % rows:
        raise LookupError(f"the highest block puts out {len(mean)} states for {rows} rows")
    # Several states a row: an answer that was chosen, and one that was not.
    return mean.reshape(rows, -1, mean.shape[-1]).mean(1)


def _mean_over(state: Tensor, mask: Any) -> Tensor:
    """The mean of [rows, positions, width] over the positions that a mask [rows, any number] lets count."""
    if not isinstance(mask, Tensor) or mask.ndim != 2 or len(mask) != len(state):
        return state.mean(1)
    if mask.shape[1] != state.shape[1]:
        # Sound: a mask of samples or frames, and states of longer steps; both begin together.
        heard = (mask.sum(1, keepdim=True) * state.shape[1] / mask.shape[1]).ceil().clamp(min=1)
        mask = torch.arange(state.shape[1], device=state.device)[None] < heard
    weight = mask.to(state.dtype)[..., None]
    found: Tensor = (state * weight).sum(1) / weight.sum(1).clamp(min=1)
    return found
