"""What setting a dotted key names, and what it wants, in plain words.

It reads the sections' own types and descriptions; it knows no file, no value that a person wrote, and no task.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tunesmith.recipe.sections import Recipe, Wants

REQUIRED: Any = PydanticUndefined

ELSEWHERE = {
    "learning_rate": "stages.lr",
    "batch_size": "batch.rows",
    "micro_batch_size": "batch.micro",
    "per_device_train_batch_size": "batch.micro",
    "per_device_eval_batch_size": "batch.eval_rows",
    "gradient_accumulation_steps": "batch.micro",
    "num_epochs": "stages.epochs",
    "num_train_epochs": "stages.epochs",
    "max_steps": "stages.steps",
    "warmup_steps": "stages.warmup",
    "warmup_ratio": "stages.warmup",
    "lr_scheduler_type": "stages.schedule",
    "scheduler": "stages.schedule",
    "early_stopping_patience": "stages.patience",
    "freeze": "stages.train",
    "base_model": "model.name",
    "model_name": "model.name",
    "model_name_or_path": "model.name",
    "trust_remote_code": "model.remote_code",
    "dataset": "data.train",
    "datasets": "data.train",
    "test": "data.eval",
    "valid": "data.eval",
    "validation": "data.eval",
    "lora": "adapter.kind",
    "lora_r": "adapter.r",
    "rank": "adapter.r",
    "lora_alpha": "adapter.alpha",
    "lora_dropout": "adapter.dropout",
    "target_modules": "adapter.targets",
    "max_grad_norm": "optimizer.clip",
    "grad_clip": "optimizer.clip",
    "momentum": "optimizer.betas",
    "fp16": "engine.precision",
    "bf16": "engine.precision",
    "num_workers": "engine.workers",
    "torch_compile": "engine.compile",
    "output_dir": "run.folder",
    "report_to": "run.track",
    "save_steps": "run.checkpoint_steps",
    "save_total_limit": "run.keep",
}
"""Names that other tools give to a setting of ours."""


@dataclass(frozen=True)
class Setting:
    """One place in the recipe: what it is called, what may stand there, what it means."""

    path: tuple[str, ...]
    annotation: Any
    metadata: tuple[Any, ...] = ()
    description: str = ""
    default: Any = REQUIRED

    @property
    def key(self) -> str:
        """The dotted key."""
        return ".".join(self.path)

    def section(self) -> type[BaseModel] | None:
        """The settings under this one, where it is a section or a list of sections; None where it is a value."""
        for kind, _ in alternatives(self.annotation):
            if _is_model(kind):
                return typing.cast(type[BaseModel], kind)
            if get_origin(kind) is list and (section := Setting((), get_args(kind)[0]).section()):
                return section
        return None

    def choices(self) -> tuple[Any, ...]:
        """The words that may stand here, where they are given."""
        return tuple(word for kind, _ in alternatives(self.annotation) for word in _literals(kind))

    def allows(self, kind: Any) -> bool:
        """Whether a value of this plain type (``type(None)``, ``int``, ``list``, ...) may stand here."""
        return any(kind in (one, get_origin(one)) for one, _ in alternatives(self.annotation))

    def wants(self) -> str:
        """What may stand here, in plain words: ``a whole number above 0, or null``."""
        return _wants(self.annotation, self.metadata)


def children(section: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[Setting]:
    """The settings of one section, in the order they are declared."""
    for name, field in section.model_fields.items():
        default = REQUIRED if field.is_required() else field.get_default(call_default_factory=True)
        yield Setting((*path, name), field.annotation, tuple(field.metadata), field.description or "", default)


def find(path: Sequence[str], root: type[BaseModel] = Recipe, options: type[BaseModel] | None = None) -> Setting | None:
    """The setting at this place, or None; a list index may be left out (``stages.lr``)."""
    here = Setting((), root, description=(root.__doc__ or "").strip())
    for i, part in enumerate(path):
        under = options if tuple(path[:i]) == ("options",) and options is not None else None
        found = _step(here, part, under)
        if found is None:
            return None
        here = found
    return here


def every(root: type[BaseModel] = Recipe, path: tuple[str, ...] = ()) -> Iterator[Setting]:
    """All settings below a section, depth first, list positions left out: ``stages.lr``."""
    for setting in children(root, path):
        yield setting
        section = setting.section()
        if section is not None:
            yield from every(section, setting.path)


def elsewhere(name: str) -> list[str]:
    """Keys of the recipe whose last part is this name, or that other tools call by it."""
    exact = [setting.key for setting in every() if setting.path[-1] == name and len(setting.path) > 1]
    return exact or [ELSEWHERE[name.lower()]] if exact or name.lower() in ELSEWHERE else []


def nearest(word: str, words: Sequence[str]) -> str | None:
    """The one of ``words`` that a person most likely meant, or None."""
    lower = {known.lower(): known for known in words}
    close = difflib.get_close_matches(word.lower().replace("-", "_"), [w.replace("-", "_") for w in lower], 1, 0.65)
    by_form = {known.replace("-", "_"): original for known, original in lower.items()}
    return by_form[close[0]] if close else None


def alternatives(annotation: Any, metadata: Sequence[Any] = ()) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """The members of a union (or the type alone), each with its constraints."""
    if hasattr(annotation, "__metadata__"):
        yield from alternatives(annotation.__origin__, (*metadata, *annotation.__metadata__))
    elif get_origin(annotation) in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from alternatives(member, metadata)
    else:
        yield annotation, tuple(metadata)


def _step(here: Setting, part: str, under: type[BaseModel] | None) -> Setting | None:
    if under is not None:
        return _field(under, here.path, part)
    steps = (_into(kind, here, part) for kind, _ in alternatives(here.annotation))
    return next((found for found in steps if found is not None), None)


def _field(section: type[BaseModel], path: tuple[str, ...], name: str) -> Setting | None:
    return next((child for child in children(section, path) if child.path[-1] == name), None)


def _into(kind: Any, here: Setting, part: str) -> Setting | None:
    arguments, inside = get_args(kind), (*here.path, part)
    if _is_model(kind):
        return _field(kind, here.path, part)
    if get_origin(kind) is list and not part.isdecimal():
        return _step(Setting(here.path, arguments[0]), part, None)
    if get_origin(kind) is tuple:
        known = part.isdecimal() and int(part) < len(arguments)
        return Setting(inside, arguments[int(part)], (), here.description) if known else None
    if get_origin(kind) in (list, dict):
        return Setting(inside, arguments[-1], (), here.description)
    return None


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _literals(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) is Literal else ()


def _wants(annotation: Any, metadata: Sequence[Any]) -> str:
    words: list[str] = [marker.words for marker in metadata if isinstance(marker, Wants)]
    null = False
    for kind, constraints in alternatives(annotation, metadata):
        if kind is type(None):
            null = True
        elif not any(isinstance(marker, Wants) for marker in metadata):
            words += [str(word) for word in _literals(kind)] or [_noun(kind, _bounds(constraints))]
    return _joined([*words, "null"] if null else words)


def _joined(words: Sequence[str]) -> str:
    if len(words) == 1:
        return words[0]
    phrases = any(" " in word and not word.startswith("{") for word in words)
    return ", ".join(words[:-1]) + (", or " if phrases else " or ") + words[-1]


def _noun(kind: Any, bounds: dict[str, Any]) -> str:
    arguments = get_args(kind)
    if _is_model(kind):
        return _outline(kind)
    if get_origin(kind) is list:
        return f"a list of {_plural(arguments[0])}"
    if get_origin(kind) is tuple:
        return f"a list of {len(arguments)}: " + ", ".join(_wants(one, ()) for one in arguments)
    if kind in (int, float):
        return ("a whole number" if kind is int else "a number") + _range(bounds)
    if kind is str:
        return "text" if not bounds.get("min_length") else "text that is not empty"
    pairs = dict in (kind, get_origin(kind))
    return "{name: value} pairs" if pairs else {bool: "true or false"}.get(kind, "a value")


def _outline(section: type[BaseModel]) -> str:
    fields = section.model_fields
    names = [name for name, one in fields.items() if one.is_required()] or list(fields)[:3]
    return "{" + ", ".join(f"{name}: {'n' if fields[name].annotation is int else '...'}" for name in names) + "}"


def _plural(annotation: Any) -> str:
    kinds = [kind for kind, _ in alternatives(annotation)]
    words = [str(word) for kind in kinds for word in _literals(kind)]
    if words:
        return _joined(words)
    if _is_model(kinds[0]):
        return f"sections like {_noun(kinds[0], {})}"
    return {str: "texts", int: "whole numbers", float: "numbers", bool: "true or false"}.get(kinds[0], "values")


def _bounds(metadata: Sequence[Any]) -> dict[str, Any]:
    bounds: dict[str, Any] = {}
    for marker in metadata:
        if isinstance(marker, FieldInfo):
            bounds |= _bounds(marker.metadata)
        for name in ("gt", "ge", "lt", "le", "min_length"):
            if getattr(marker, name, None) is not None:
                bounds[name] = getattr(marker, name)
    return bounds


def _range(bounds: dict[str, Any]) -> str:
    low = f"above {bounds['gt']}" if "gt" in bounds else f"from {bounds['ge']}" if "ge" in bounds else ""
    high = f"below {bounds['lt']}" if "lt" in bounds else f"at most {bounds['le']}" if "le" in bounds else ""
    if low and high:
        joiner = " to " if low.startswith("from") else " and "
        return f" {low}{joiner}{high.removeprefix('at most ') if joiner == ' to ' else high}"
    if low.startswith("from"):
        return f" of {bounds['ge']} or more"
    return f" {low}{high}" if low or high else ""
