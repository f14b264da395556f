"""From layer groups to an optimizer: rates by depth, decay where it belongs, schedules, moving averages.

The schedule is a pure function of the step, so it has no state to save. It knows no task and no data.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tunesmith.model.layers import LayerGroups
from tunesmith.model.stages import LearningGroup
from tunesmith.recipe import OptimizerSection, Stage
from tunesmith.train.adamw8bit import AdamW8bit, state_bytes


def parameter_groups(
    layers: LayerGroups, learning: Sequence[LearningGroup], weight_decay: float
) -> list[dict[str, Any]]:
    """Optimizer groups: one per layer group, split by whether weight decay applies (never to biases and norms).

    Each carries ``group`` (the layer group's name), ``rate`` (its factor on the stage's rate) and ``names``.
    """
    out: list[dict[str, Any]] = []
    for member in learning:
        if not member.trains:
            continue
        named = [(name, p) for name, p in layers.parameters(member.group) if p.requires_grad]
        for decays in (True, False):
            chosen = [(name, p) for name, p in named if (p.ndim > 1) == decays]
            if chosen:
                out.append(
                    {
                        "params": [p for _, p in chosen],
                        "names": [name for name, _ in chosen],
                        "group": member.group,
                        "rate": member.rate,
                        "weight_decay": weight_decay if decays else 0.0,
                        "lr": 0.0,
                    }
                )
    return out


def build_optimizer(groups: list[dict[str, Any]], settings: OptimizerSection) -> torch.optim.Optimizer:
    """The optimizer of a stage, without state."""
    if settings.name == "sgd":
        return torch.optim.SGD(groups, lr=0.0, momentum=settings.betas[0])
    if settings.name == "adamw-8bit":
        return AdamW8bit(groups, lr=0.0, betas=settings.betas, eps=settings.eps)
    # The fused kernel reads and writes every tensor once; it exists for the CPU and for CUDA.
    fused = all(p.device.type in ("cpu", "cuda") for group in groups for p in group["params"])
    return torch.optim.AdamW(groups, lr=0.0, betas=settings.betas, eps=settings.eps, fused=fused)


STATE_BYTES = {"adamw": 8, "sgd": 4}


def optimizer_bytes(name: str, parameters: Iterable[nn.Parameter]) -> int:
    """Bytes of the state that an optimizer of a recipe's name keeps for parameters; meta tensors will do."""
    if name == "adamw-8bit":
        return state_bytes(parameters)
    return STATE_BYTES[name] * sum(parameter.numel() for parameter in parameters)


def carry_state(old: torch.optim.Optimizer | None, new: torch.optim.Optimizer) -> int:
    """Keep the moments of parameters that go on learning in the next stage; how many there were."""
    if old is None:
        return 0
    kept = 0
    for group in new.param_groups:
        for parameter in group["params"]:
            if parameter in old.state:
                new.state[parameter] = old.state[parameter]
                kept += 1
    return kept


def rate_at(step: int, total: int, warmup: float, schedule: str) -> float:
    """Factor on the peak rate at a step of a stage.

    Args:
        step: Counted from 0.
        total: Steps of the stage.
        warmup: Steps of linear warm-up; below 1 a share of ``total``.
        schedule: ``cosine``, ``linear`` or ``constant``.
    """
    rising = round(warmup * total) if warmup < 1 else min(int(warmup), total)
    if step < rising:
        return (step + 1) / (rising + 1)
    if schedule == "constant":
        return 1.0
    done = (step - rising) / max(1, total - rising)
    return 0.5 * (1 + math.cos(math.pi * done)) if schedule == "cosine" else 1.0 - done


def set_rates(optimizer: torch.optim.Optimizer, stage: Stage, peak: float, step: int, total: int) -> dict[str, float]:
    """Set every group's rate for a step; the rates by layer group."""
    factor = rate_at(step, total, stage.warmup, stage.schedule)
    rates: dict[str, float] = {}
    for group in optimizer.param_groups:
        group["lr"] = peak * group["rate"] * factor
        rates[group["group"]] = group["lr"]
    return rates


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as named tensors, ``<parameter>/<slot>``, for a safetensors file."""
    out: dict[str, Tensor] = {}
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            for slot, value in optimizer.state.get(parameter, {}).items():
                if value is not None:
                    out[f"{name}/{slot}"] = torch.as_tensor(value).detach()
    return out


@torch.no_grad()
def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], *, partly: bool = False) -> None:
    """Put named tensors back where ``optimizer_tensors`` found them.

    Args:
        optimizer: Receives them.
        tensors: State by ``<parameter>/<slot>``.
        partly: Leave out what belongs to parameters that the optimizer does not have, as ``carry_state`` does.

    Raises:
        KeyError: A tensor belongs to a parameter that the optimizer does not have.
    """
    by_name = {
        name: parameter
        for group in optimizer.param_groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
    }
    for key, value in tensors.items():
        name, _, slot = key.rpartition("/")
        if partly and name not in by_name:
            continue
        parameter = by_name[name]
        device = "cpu" if slot == "step" and not optimizer.param_groups[0].get("fused") else parameter.device
        if value.shape == parameter.shape:
            # In memory as the parameter lies: in another order the same step rounds differently.
            kept = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        else:
            kept = value.to(device).clone()
        optimizer.state[parameter][slot] = kept


class MovingAverage:
    """Exponential moving average of the learning weights.

    The decay warms up as min(decay, (1 + n) / (10 + n)), so that early averages are not stuck at the start.
    """

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]], decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.shadow: dict[str, Tensor] = {}
        self.live: dict[str, nn.Parameter] = {}
        self.watch(parameters)

    def watch(self, parameters: Iterable[tuple[str, nn.Parameter]]) -> None:
        """Average these parameters, too, from their present values on."""
        for name, parameter in parameters:
            self.live[name] = parameter
            known = self.shadow.get(name)
            now = parameter.detach().clone()
            self.shadow[name] = now if known is None else torch.empty_like(now, dtype=known.dtype).copy_(known)

    def restore(self, shadow: Mapping[str, Tensor], updates: int) -> None:
        """Go on from a checkpoint."""
        self.shadow, self.updates = {name: value.clone() for name, value in shadow.items()}, updates

    @torch.no_grad()
    def update(self) -> None:
        """Take one step of the average."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, parameter in self.live.items():
            self.shadow[name].lerp_(parameter.detach(), 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange averaged and live weights; call again to exchange them back."""
        for name, parameter in self.live.items():
            kept = parameter.detach().clone()
            parameter.copy_(self.shadow[name])
            self.shadow[name] = kept
