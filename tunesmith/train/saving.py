"""What of a loop outlives its process: checkpoints, the best weights, and how both come back.

It knows no modality; it never decides when to save.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tunesmith.errors import UserError
from tunesmith.train.checkpoint import (
    Checkpoint,
    prune_checkpoints,
    random_state,
    read_checkpoint,
    restore_random,
    write_checkpoint,
)
from tunesmith.train.job import Position, put_tensors
from tunesmith.train.optim import optimizer_tensors

if TYPE_CHECKING:
    from tunesmith.train.loop import Loop

BEST = "best"


def state_of(loop: Loop) -> dict[str, Any]:
    """The JSON-able part of a checkpoint."""
    job = loop.job
    return {
        "position": dict(vars(loop.at)),
        "learned": sorted(loop.learned),
        "watchers": {type(watcher).__name__: watcher.state() for watcher in job.watchers},
        "scaler": job.engine.scaler_state(),
        "average_updates": loop.average.updates if loop.average else 0,
        "events": loop.logged,
        "micro": loop.micro,
        **surroundings(loop),
    }


def surroundings(loop: Loop) -> dict[str, Any]:
    """What the last bit of a number depends on, beside the recipe and the rows."""
    engine = loop.job.engine
    return {
        "threads": torch.get_num_threads(),
        "world": engine.world,
        "device": engine.device.type,
        "precision": loop.job.precision,
        "torch": torch.__version__,
    }


def save(loop: Loop) -> Checkpoint | None:
    """Write a checkpoint of this moment, and remove old ones (main rank)."""
    job = loop.job
    if not job.engine.main:
        return None
    parts = {
        "weights": weights_of(loop),
        "optimizer": optimizer_tensors(loop.optimizer) if loop.optimizer else {},
        "average": loop.average.shadow if loop.average else {},
        "random": random_state(),
    }
    written = write_checkpoint(job.checkpoints / f"step-{loop.at.step:09d}", state_of(loop), parts)
    prune_checkpoints(job.checkpoints, job.recipe.run.keep)
    return written


def weights_of(loop: Loop) -> dict[str, Tensor]:
    """Every parameter that has learned so far, and every buffer."""
    model = loop.job.model
    named = dict(model.named_parameters())
    # A tied weight stands in the state under a second name, and is no buffer.
    kept = {name for name, _ in model.named_buffers()}
    buffers = {k: v for k, v in model.state_dict().items() if k in kept}
    return {name: named[name] for name in named if name in loop.learned} | buffers


def resume(loop: Loop, checkpoint: Checkpoint) -> None:
    """Put a checkpoint's weights, position and counters into a loop.

    Raises:
        UserError: The best weights that the checkpoint speaks of can't be read: going on could not end well.
    """
    state, job = checkpoint.state, loop.job
    loop.at = Position(**state["position"])
    if loop.at.best is not None:
        best_of(loop)
    loop.learned = set(state["learned"])
    loop.logged, loop.micro = state["events"], state["micro"]
    put_tensors(job.model, checkpoint.tensors("weights"))
    job.engine.restore_scaler(state["scaler"])
    # By name: a run that began on a terminal may go on without its progress bar, and other ranks have none.
    for watcher in job.watchers:
        if type(watcher).__name__ in state["watchers"]:
            watcher.restore(state["watchers"][type(watcher).__name__])
    restore_random(checkpoint.tensors("random"))


def differences(loop: Loop, checkpoint: Checkpoint) -> list[str]:
    """Names of tensors that a checkpoint lacks or holds with another value than the loop had at its end."""
    kept = checkpoint.tensors("weights")
    missing = [name for name in loop.learned if name not in kept]
    own = optimizer_tensors(loop.optimizer) if loop.optimizer else {}
    stored = checkpoint.tensors("optimizer")
    wrong = [k for k, v in own.items() if k not in stored or not torch.equal(stored[k], v.cpu())]
    return [*missing, *wrong, *(["random state"] if not checkpoint.tensors("random") else [])]


def save_best(loop: Loop) -> None:
    """Keep these weights as the best so far (main rank)."""
    if loop.job.engine.main:
        write_checkpoint(loop.job.checkpoints / BEST, {"best": loop.at.best}, {"weights": weights_of(loop)})


def widen_best(loop: Loop, learning: set[str]) -> None:
    """Add to the best weights so far what is about to learn for the first time, as it is before it does (main rank).

    Else the best of an early stage would come back among what a later one made of the layers below.
    """
    fresh = learning - loop.learned
    if loop.at.best is None or not fresh or not loop.job.engine.main:
        return
    kept = best_of(loop).tensors("weights")
    named = dict(loop.job.model.named_parameters())
    whole = {name: named[name] for name in fresh} | kept
    write_checkpoint(loop.job.checkpoints / BEST, {"best": loop.at.best}, {"weights": whole})


def best_of(loop: Loop) -> Checkpoint:
    """The best weights so far.

    Raises:
        UserError: They are damaged or gone.
    """
    best = loop.at.best
    assert best is not None
    place = loop.job.checkpoints / BEST
    found = read_checkpoint(place)
    # A later best is fine: the run was killed after it, and comes by there again.
    if isinstance(found, Checkpoint) and found.state["best"]["step"] >= best["step"]:
        return found
    why = found if isinstance(found, str) else f"they are from step {found.state['best']['step']}"
    raise UserError(
        f"the best weights so far (step {best['step']}) can't be used: {why}",
        str(place),
        "put that folder back from a copy, or start anew with --fresh, which keeps the old run beside the new one",
    )


def put_best(loop: Loop) -> bool:
    """Put the weights that are to be saved into the model: the best on validation rows, else the last.

    Returns:
        Whether they are others than those that the last stage ended with.
    """
    if loop.at.best is not None:
        loop.job.engine.wait()
        put_tensors(loop.job.model, best_of(loop).tensors("weights"))
        return bool(loop.at.best["step"] != loop.at.step)
    if loop.average is not None:
        loop.average.swap()
    return False
