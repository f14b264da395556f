"""A recipe with some settings changed, and what memory it would take then: rows and weights are not read anew.

It knows no order of changes and writes no file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tunesmith.errors import UserError
from tunesmith.prepare import Prepared
from tunesmith.recipe import Recipe, Source, Stage, resolve_options
from tunesmith.recipe.consistency import check_consistency
from tunesmith.recipe.faults import check
from tunesmith.recipe.overrides import apply
from tunesmith.recipe.resolved import inline, leaf_values
from tunesmith.types import Facts

if TYPE_CHECKING:
    from tunesmith.data.loader import Loader
    from tunesmith.model.memory import MemoryPlan
    from tunesmith.plan import Plan

Patch = Mapping[str, Any]
"""Dotted keys of a recipe to their new values."""

UNCHANGED = ("tokenizer", "renderers", "longest", "criteria")
"""What a task reads once and no change of a ladder concerns."""

KEEPS_CACHE = ("batch.", "optimizer.", "engine.gradient_checkpointing")
"""Settings that move no boundary between what is frozen and what learns, nor what a row puts out there."""


def settings_of(patch: Patch) -> list[str]:
    """A patch as ``key=value`` texts, as on the command line."""
    return [f"{key}={inline(value)}" for key, value in patch.items()]


def patched(source: Source, patch: Patch) -> Source:
    """A recipe with settings changed, checked as if they had been written.

    Raises:
        UserError: A setting is unknown, out of range, or in conflict with another.
    """
    if not patch:
        return source
    tree = source.recipe.model_dump(mode="json")
    apply(settings_of(patch), tree)
    recipe, faults = check(tree, Recipe)
    if recipe is not None:
        origins = {}
        for leaf, _ in leaf_values(recipe.model_dump()):
            key = ".".join(leaf)
            ours = any(f"{key}.".startswith(f"{one}.") or f"{one}.".startswith(f"{key}.") for one in patch)
            origins[key] = "recipe" if ours else source.origins.get(key, "default")
        faults = check_consistency(recipe, origins)
    if recipe is None or faults:
        raise source.error(faults[0].path, faults[0].what, faults[0].fix)
    return replace(source, recipe=recipe, origins=origins)


def changed(prepared: Prepared, patch: Patch) -> Prepared:
    """The same rows under a recipe with settings changed, with a task of its own.

    Raises:
        UserError: As in `patched`; an option that the task does not take.
    """
    source, task = patched(prepared.source, patch), copy(prepared.task)
    for name in list(vars(task)):
        if isinstance(getattr(type(task), name, None), cached_property) and name not in UNCHANGED:
            del vars(task)[name]
    if any(key.startswith("options.") for key in patch):
        source = resolve_options(source, task.Options)
        task.options = task.Options.model_validate(source.recipe.options)
        task.facts = _refed(prepared.task.facts, patch)
    return replace(prepared, source=source, task=task)


def _refed(facts: Facts, patch: Patch) -> Facts:
    """Facts of a survey under another length of texts or size of pictures, which are all that hangs on it."""
    values = dict(facts.values)
    if "options.max_length" in patch:
        values["max_length"] = patch["options.max_length"]
    if (size := patch.get("options.size")) is not None:
        if "input" in values:
            values["input"] = {**values["input"], "size": size if isinstance(size, list) else [size, size]}
        if "size" in values:
            values["size"] = size
    return replace(facts, values=values)


class Replanner:
    """What memory a recipe takes with settings changed; every patch is planned once.

    Args:
        prepared: The recipe as it is.
        plan: Its plan.
        sets: Its row sets, where their lengths are known already.
    """

    def __init__(self, prepared: Prepared, plan: Plan, sets: Mapping[str, Loader] | None = None) -> None:
        from tunesmith.plan import loaders_of, shape_of

        self.prepared, self.plan = prepared, plan
        self.lengths = {
            name: list(loader.lengths) for name, loader in (sets or loaders_of(changed(prepared, {}))).items()
        }
        self.blocks = len(shape_of(changed(prepared, {}))[1].blocks)
        self.traces = 0
        self._known: dict[str, MemoryPlan | UserError] = {}

    def recipe(self, patch: Patch) -> Recipe:
        """The recipe with a patch."""
        return patched(self.prepared.source, patch).recipe

    def memory(self, patch: Patch) -> MemoryPlan:
        """The memory of the worst stage with a patch.

        Raises:
            UserError: The recipe or its task refuses it.
        """
        key = json.dumps(patch, sort_keys=True)
        if key not in self._known:
            try:
                self._known[key] = self._traced(patch)
            except UserError as fault:
                self._known[key] = fault
        found = self._known[key]
        if isinstance(found, UserError):
            raise found
        return found

    def _traced(self, patch: Patch) -> MemoryPlan:
        from tunesmith.forecast.memory import stage_memories
        from tunesmith.plan import check_stages, pick_held, shape_of

        prepared = changed(self.prepared, patch)
        recipe, task = prepared.source.recipe, prepared.task
        precision = str(patch.get("engine.precision", self.plan.precision))
        task.held, _ = pick_held(prepared, precision)
        self.traces += 1
        model, layers, dropout, _ = shape_of(prepared)
        stages = recipe.stages or task.stages(len(layers.blocks))
        check_stages(prepared, stages)
        plan = replace(self.plan, precision=precision, held=task.held, resolved=stages, decisions=[], memories=[])
        sets = self._sets(prepared, patch)
        if not all(key.startswith(KEEPS_CACHE) for key in patch):
            plan.stages = _staged(plan, prepared, stages, model, layers, dropout, sets)
        micro = int(patch.get("batch.micro", self.plan.micro))
        found = stage_memories(plan, prepared, model, layers, dropout, sets["train"], micro)
        return max(found, key=lambda one: one.resident)

    def _sets(self, prepared: Prepared, patch: Patch) -> dict[str, Loader]:
        """Loaders by the changed task, which encode only the rows that are asked for."""
        import torch

        from tunesmith.plan import loaders_of

        sets, most = loaders_of(prepared), patch.get("options.max_length")
        for name, loader in sets.items():
            if "options.size" not in patch:
                loader.lengths = [n if most is None else min(n, int(most)) for n in self.lengths[name]]
        if width := prepared.task.reference_width:
            sets["train"].extra = {"reference": torch.zeros(len(sets["train"]), width)}
        return sets


def _staged(
    plan: Plan, prepared: Prepared, stages: Sequence[Stage], model: Any, layers: Any, dropout: Any, sets: Any
) -> list[dict[str, Any]]:
    """The stages with what is cached in each."""
    from tunesmith.forecast.stages import plan_stage

    anew = replace(plan, stages=[], decisions=[])
    for index, stage in enumerate(stages):
        plan_stage(anew, prepared, index, stage, model, layers, dropout, sets)
    return anew.stages
