"""A stage of the recipe, made concrete on a model: which groups learn and at what rate.

It knows no optimizer and no data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tunesmith.errors import UserError
from tunesmith.model.layers import ADAPTER, EMBEDDINGS, HEAD, NECK, LayerGroups, lies_within
from tunesmith.recipe import Stage, Top


@dataclass(frozen=True)
class LearningGroup:
    """One layer group of a stage: ``rate`` is its factor on the stage's peak rate, None while frozen."""

    group: str
    parameters: int
    trains: bool
    rate: float | None

    def to_json(self, lr: float | None) -> dict[str, Any]:
        """The group as JSON, with its absolute rate at the stage's peak rate ``lr``."""
        rate = None if self.rate is None or lr is None else self.rate * lr
        return {"group": self.group, "parameters": self.parameters, "trains": self.trains, "lr": rate}


def stage_name(stage: Stage) -> str:
    """The stage's name in tables and events: ``head``, ``top 2``, ``all``, ``adapter``, ``adapter of denoiser``."""
    name = f"top {stage.train.top}" if isinstance(stage.train, Top) else stage.train
    return f"{name} of {', '.join(stage.within)}" if stage.within else name


def learning_groups(layers: LayerGroups, stage: Stage) -> list[LearningGroup]:
    """Every group of the model, bottom to top, with what the stage makes of it.

    With ``layer_decay`` d, the head learns at the stage's rate, the neck and the top block at d times it, the block
    below at d squared, and so on down to the embeddings (discriminative rates, arXiv:1801.06146).

    Raises:
        UserError: The stage asks for groups that the model does not have.
    """
    what = stage.train.top if isinstance(stage.train, Top) else stage.train
    learning = layers.learning(what)
    depth = {HEAD: 0, ADAPTER: 0, NECK: 1, EMBEDDINGS: len(layers.blocks) + 1}
    depth |= {f"block {i}": len(layers.blocks) - i for i in range(len(layers.blocks))}
    learning = [g for g in learning if any(lies_within(name, stage.within) for name in layers.groups[g])]
    if not learning:
        inside = ", ".join(stage.within or ())
        kind = type(layers.model).__name__
        said = f"stages: of what {stage_name(stage)!r} trains, {kind} has nothing within {inside}"
        modules = ", ".join(name for name, _ in layers.model.named_children())
        raise UserError(said, kind, f"name some of its modules, such as {modules}")
    # Asked for once: a walk over all parameters for each of a hundred groups takes seconds.
    sizes = {name: p.numel() for name, p in layers.model.named_parameters()}
    return [
        LearningGroup(
            group,
            sum(sizes.get(n, 0) for n in layers.groups[group] if group not in learning or lies_within(n, stage.within)),
            group in learning,
            stage.layer_decay ** depth[group] if group in learning else None,
        )
        for group in layers.groups
    ]
