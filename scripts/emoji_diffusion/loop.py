"""The training loop of all three parts: AdamW, a schedule, a mean of the weights, and a state to go on from.

It knows steps and losses, not what is learned. A batch follows from the seed and the number of its step alone, so a
run that was stopped and resumed gives the same weights as one that was not.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from emoji_diffusion.source import stop

SAVE_SECONDS, SAY_STEPS, LOOK_STEPS = 90.0, 50, 500


@dataclass(frozen=True)
class Plan:
    """How long and how fast one part learns."""

    steps: int
    batch: int
    lr: float
    weight_decay: float = 0.01
    ema: float = 0.0


@dataclass(frozen=True)
class Place:
    """Where states go, which random numbers are drawn, and whether products are taken in bfloat16.

    ``told`` says what the state of a part depends on; a state of another kind is not gone on from.
    """

    work: Path
    seed: int
    bfloat16: bool
    told: str = ""

    @contextmanager
    def products(self) -> Iterator[None]:
        """Matrix products in bfloat16 where the processor is faster with them; weights stay float32."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            yield

    def rng(self, name: str, step: int) -> np.random.Generator:
        """The random numbers of one step of one part."""
        return np.random.default_rng([self.seed, *name.encode(), step])


def say(text: str) -> None:
    """One line for the person who waits."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def rate(step: int, steps: int) -> float:
    """The share of the learning rate at a step: a short rise, level, and down to 2 percent over the last quarter.

    As it is level for long, a run can be resumed with more steps and learns on as if they had been wanted at first.
    """
    rise = max(min(steps // 20, 200), 1)
    left = (steps - step) / max(steps / 4, 1)
    return min((step + 1) / rise, 1.0, 0.02 + 0.98 * left)


def keep(state: dict[str, object], path: Path) -> None:
    """Write a state so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def learn(
    name: str,
    model: nn.Module,
    loss: Callable[[np.random.Generator, int], tuple[torch.Tensor, dict[str, float]]],
    plan: Plan,
    place: Place,
    look: Callable[[int], None] | None = None,
) -> dict[str, float]:
    """Train ``model`` in place and leave the mean of its weights in it where the plan wants that.

    Args:
        name: Of the part; its state is ``work/name.pt``.
        model: Whatever has the parameters.
        loss: The mean loss of the batch that a generator draws for a step, and numbers to report.
        plan: Steps and rates.
        place: Where the state goes.
        look: Called with the step now and then, with the mean weights in the model.

    Returns:
        The means of the reported numbers over the last tenth of the steps.
    """
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": plan.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=plan.lr, betas=(0.9, 0.99))
    mean = {key: value.detach().clone() for key, value in model.named_parameters()}
    step, last, path = 0, {}, place.work / f"{name}.pt"
    if path.is_file():
        state = torch.load(path, weights_only=True)
        if state["told"] != place.told:
            stop(f"{path} was made with other data or sizes", "--work FOLDER, an empty one", f"delete {path.parent}")
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        mean, step, last = state["mean"], state["step"], state["last"]
        say(f"{name}: goes on at step {step} of {plan.steps}")
    saved = said = time.monotonic()
    sums: dict[str, float] = {}
    seen = 0
    model.train()
    while step < plan.steps:
        for group in optimiser.param_groups:
            group["lr"] = plan.lr * rate(step, plan.steps)
        with place.products():
            total, numbers = loss(place.rng(name, step), step)
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
        if plan.ema:
            follow(mean, model, min(plan.ema, (step + 1) / (step + 10)))
        for key, value in numbers.items():
            sums[key] = sums.get(key, 0.0) + value
        seen += 1
        if step % SAY_STEPS == 0 or step == plan.steps:
            now = time.monotonic()
            last = {key: value / seen for key, value in sums.items()}
            shown = "  ".join(f"{key} {value:.4f}" for key, value in last.items())
            say(f"{name} {step}/{plan.steps}  {shown}  {seen * plan.batch / (now - said):.0f} pictures/s")
            said, sums, seen = now, {}, 0
        if time.monotonic() - saved > SAVE_SECONDS or step == plan.steps:
            keep({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "mean": mean, "step": step,
                  "last": last, "told": place.told}, path)  # fmt: skip
            saved = time.monotonic()
        if look is not None and step % LOOK_STEPS == 0 and step < plan.steps:
            with averaged(model, mean, bool(plan.ema)):
                look(step)
    if plan.ema:
        model.load_state_dict({**model.state_dict(), **mean})
    model.eval()
    return last


@torch.no_grad()
def follow(mean: dict[str, torch.Tensor], model: nn.Module, decay: float) -> None:
    """Move the mean of the weights a little towards them."""
    torch._foreach_lerp_(list(mean.values()), [value.detach() for value in model.parameters()], 1 - decay)


@contextmanager
def averaged(model: nn.Module, mean: dict[str, torch.Tensor], wanted: bool) -> Iterator[None]:
    """The mean weights in the model for a while, which evaluates meanwhile."""
    own = {key: value.detach().clone() for key, value in model.named_parameters()}
    if wanted:
        model.load_state_dict({**model.state_dict(), **mean})
    model.eval()
    yield
    model.load_state_dict({**model.state_dict(), **own})
    model.train()


def faster_in_bfloat16() -> bool:
    """Whether this processor has products in bfloat16."""
    try:
        flags = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def threads() -> int:
    """As many as ``OMP_NUM_THREADS`` says, else one for each processor."""
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
