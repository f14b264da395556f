"""Batch norms whose statistics stay as they were trained, whatever learns around them; and norms with right gradients.

A norm that averages over its batch ties the pictures of a batch together: a loss is then no sum over pictures, and
micro-batches, ranks and cached activations change the numbers. A few pictures a step also tell less about statistics
than the many that they were made of. Scale and shift still learn. It knows modules; no task and no stage.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


class _Sound:
    """Hands its backward pass a gradient that lies in memory as torch expects it.

    torch 2.13 computes wrong gradients on a CPU, without a word, for a batch of one whose gradient comes from a
    transposition (from tokens back to a map, as in RT-DETR's encoder): it takes that for another layout of memory.
    """

    def forward(self: Any, given: Tensor) -> Tensor:
        """The norm of what is given."""
        out: Tensor = self.normed(given)
        if out.requires_grad and len(given) == 1 and given.device.type == "cpu":
            out.register_hook(lambda slope: slope.contiguous())  # type: ignore[no-untyped-call,unused-ignore]
        return out

    def normed(self: Any, given: Tensor) -> Tensor:
        """What torch's norm gives."""
        found: Tensor = nn.modules.batchnorm._BatchNorm.forward(self, given)
        return found


class _Still(_Sound):
    """Uses the running statistics in training mode, too."""

    def normed(self: Any, given: Tensor) -> Tensor:
        """What torch's norm gives in ``eval`` mode."""
        mean, variance = self.running_mean, self.running_var
        return F.batch_norm(given, mean, variance, self.weight, self.bias, False, 0.0, self.eps)


class SoundBatchNorm1d(_Sound, nn.BatchNorm1d):
    """Of vectors."""


class SoundBatchNorm2d(_Sound, nn.BatchNorm2d):
    """Of maps."""


class SoundBatchNorm3d(_Sound, nn.BatchNorm3d):
    """Of volumes."""


class StillBatchNorm1d(_Still, nn.BatchNorm1d):
    """Of vectors."""


class StillBatchNorm2d(_Still, nn.BatchNorm2d):
    """Of maps."""


class StillBatchNorm3d(_Still, nn.BatchNorm3d):
    """Of volumes."""


_SOUND: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: SoundBatchNorm1d,
    nn.BatchNorm2d: SoundBatchNorm2d,
    nn.BatchNorm3d: SoundBatchNorm3d,
}
_STILL: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: StillBatchNorm1d,
    nn.BatchNorm2d: StillBatchNorm2d,
    nn.BatchNorm3d: StillBatchNorm3d,
    SoundBatchNorm1d: StillBatchNorm1d,
    SoundBatchNorm2d: StillBatchNorm2d,
    SoundBatchNorm3d: StillBatchNorm3d,
}


def sound_norms(model: nn.Module) -> nn.Module:
    """The same model, changed in place, with norms whose gradients are right for a single picture, too."""
    for module in model.modules():
        if type(module) in _SOUND:
            # The same object with another forward pass: hooks, names and ties stay.
            module.__class__ = _SOUND[type(module)]
    return model


def still_norms(model: nn.Module, fresh: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """Keep the statistics of every pretrained batch norm; names in files stay the same.

    The gradients of all norms are right afterwards, of moving ones, too (``sound_norms``).

    Args:
        model: Changed in place.
        fresh: Parameters that the pretrained weights did not hold: their norms have statistics of nothing, and must
            move.

    Returns:
        Names of the norms that are still now.
    """
    found = []
    for name, module in sound_norms(model).named_modules():
        own = {f"{name}.{key}" for key, _ in module.named_parameters(recurse=False)}
        if type(module) in _STILL and getattr(module, "running_mean", None) is not None and not own & fresh:
            module.__class__ = _STILL[type(module)]
            found.append(name)
    return tuple(found)


def moving_norms(model: nn.Module) -> tuple[str, ...]:
    """Names of the norms whose statistics move while they train: with them a loss is no sum over pictures."""
    return tuple(name for name, module in model.named_modules() if type(module) in _STILL)


def statistics(model: nn.Module) -> dict[str, Tensor]:
    """Running statistics of all batch norms by name, as they are now."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    return {
        f"{name}.{key}": tensor
        for name, module in model.named_modules()
        if isinstance(module, kinds)
        for key, tensor in module.named_buffers(recurse=False)
    }
