"""Settings that contradict each other, or that a person wrote and nothing would use.

It knows the sections and which values were written by a person; it reads no file, no data and no task.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from tunesmith.recipe.faults import Fault
from tunesmith.recipe.sections import Recipe, Stage

WRITTEN = ("recipe", "command line")
"""Origins of a value that a person wrote; what is automatic or a default contradicts nothing."""


def check_consistency(recipe: Recipe, origins: Mapping[str, str]) -> list[Fault]:
    """Find conflicts and unused settings.

    Args:
        recipe: A recipe whose types are right.
        origins: Dotted key of every value to where it came from; only written values can be unused.
    """
    written = {key for key, origin in origins.items() if origin in WRITTEN}
    checks: list[Callable[[Recipe, set[str]], Iterator[Fault]]] = [_stages, _adapter, _model, _data, _steps, _cache]
    return [fault for check in checks for fault in check(recipe, written)]


def _fault(key: str, what: str, fix: str, *, value: bool = False) -> Fault:
    return Fault(tuple(key.split(".")), f"{key}: {what}", fix, value)


def _stages(recipe: Recipe, written: set[str]) -> Iterator[Fault]:
    for i, stage in enumerate(recipe.stages or []):
        key = f"stages.{i}"
        if stage.epochs is not None and stage.steps is not None:
            what = f"this stage gives both epochs and steps ({stage.epochs:g} and {stage.steps})"
            yield _fault(f"{key}.steps", what, "keep one of the two")
        if stage.epochs is None and stage.steps is None:
            more = ": patience only ends it earlier" if stage.patience is not None else ""
            yield _fault(key, f"this stage has no length{more}", f"add 'epochs: ...' or 'steps: ...' under {key}")
        if stage.patience is not None and recipe.data.validation == 0:
            what = "there is nothing to see a plateau on: data.validation is 0"
            yield _fault(f"{key}.patience", what, "remove it, or write a share such as 'validation: 0.1' under data")
        if stage.train == "adapter" and recipe.adapter is None:
            fix = "add a section 'adapter: {r: 16}', or train head, all or {top: n}"
            yield _fault(f"{key}.train", "this stage trains an adapter, and the recipe has none", fix, value=True)
        yield from _rates(stage, key, written)


def _rates(stage: Stage, key: str, written: set[str]) -> Iterator[Fault]:
    if stage.layer_decay < 1 and stage.train == "head" and f"{key}.layer_decay" in written:
        what = "nothing uses it: this stage trains the head alone"
        yield _fault(f"{key}.layer_decay", what, "remove it, or train {top: n} or all")
    if stage.steps is not None and stage.warmup >= max(1, stage.steps):
        what = f"{stage.warmup:g} steps of warm-up in a stage of {stage.steps} never reach the rate"
        yield _fault(f"{key}.warmup", what, f"write a number below {stage.steps}, or a share below 1", value=True)


def _adapter(recipe: Recipe, written: set[str]) -> Iterator[Fault]:
    adapter = recipe.adapter
    if adapter is None or not _any_below("adapter", written):
        return
    if recipe.stages is not None and all(stage.train != "adapter" for stage in recipe.stages):
        fix = "write 'train: adapter' in a stage, or remove the section"
        yield _fault("adapter", "nothing uses it: no stage trains the adapter", fix)


def _model(recipe: Recipe, written: set[str]) -> Iterator[Fault]:
    if recipe.model.name.startswith("starter:"):
        for name in ("revision", "remote_code", "allow_pickle"):
            if getattr(recipe.model, name) and f"model.{name}" in written:
                what = f"nothing uses it: {recipe.model.name} comes from an installed package"
                yield _fault(f"model.{name}", what, "remove it")


def _data(recipe: Recipe, written: set[str]) -> Iterator[Fault]:
    data = recipe.data
    if isinstance(data.eval, str):
        share = _share(data.eval)
        if share is not None:
            what = f"got {data.eval!r} (text), which names a source; a share is a number"
            yield _fault("data.eval", what, f"write {share:g}, without quotes", value=True)
        for name in ("group_by", "stratify") if data.validation == 0 else ():
            if getattr(data, name) is not None and f"data.{name}" in written:
                what = f"nothing uses it: nothing is split, data.eval is a source of its own ({data.eval})"
                yield _fault(f"data.{name}", what, "remove it, or write a share such as 'eval: 0.2'")
    if data.format not in ("auto", "dataset"):
        for name in ("name", "split"):
            if getattr(data, name) is not None:
                what = f"nothing uses it: it is for Hugging Face data sets, and data.format is {data.format}"
                yield _fault(f"data.{name}", what, "remove it, or write 'format: dataset'")


def _share(text: str) -> float | None:
    percent = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*%", text.strip())
    if percent:
        return float(percent[1]) / 100
    return float(text) if re.fullmatch(r"0?\.[0-9]+", text.strip()) else None


def _steps(recipe: Recipe, written: set[str]) -> Iterator[Fault]:
    batch, engine, optimizer = recipe.batch, recipe.engine, recipe.optimizer
    if isinstance(batch.micro, int) and batch.micro > batch.rows:
        what = f"{batch.micro} rows in a forward pass are more than the {batch.rows} of a step (batch.rows)"
        yield _fault("batch.micro", what, f"write {batch.rows} or less, or raise batch.rows", value=True)
    if engine.precision == "fp16" and engine.device == "cpu":
        yield _fault("engine.precision", "fp16 does not train on a CPU", "write fp32 or bf16", value=True)
    if optimizer.name == "sgd" and "optimizer.eps" in written:
        yield _fault("optimizer.eps", "nothing uses it: the optimizer is sgd", "remove it, or write 'name: adamw'")


def _cache(recipe: Recipe, written: set[str]) -> Iterator[Fault]:
    # A plan that turned the cache off leaves what the person wrote about it standing in the resolved recipe.
    if recipe.cache.use == "off" and "cache.use" in written:
        for name in ("dtype", "max_gb"):
            if f"cache.{name}" in written:
                yield _fault(f"cache.{name}", "nothing uses it: cache.use is off", "remove it, or write 'use: auto'")


def _any_below(key: str, written: set[str]) -> bool:
    return any(known == key or known.startswith(f"{key}.") for known in written)
