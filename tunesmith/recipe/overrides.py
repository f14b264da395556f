"""Values given on the command line, ``stages.0.epochs=2``, set into the tree of a recipe.

It knows dotted keys and what section a key names; it checks no value and reads no file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith.errors import UserError
from tunesmith.recipe.document import Path, parse_value
from tunesmith.recipe.faults import shown
from tunesmith.recipe.settings import Setting, find


@dataclass(frozen=True)
class Override:
    """One ``key=value`` as it was written, with its key in parts."""

    path: Path
    text: str
    unsets: bool = False

    @property
    def where(self) -> str:
        """The place an error names."""
        return f"command line: {self.text}"


def apply(overrides: Sequence[str], tree: dict[str, Any]) -> list[Override]:
    """Set every override into the tree, in order; of two for one key, the later holds.

    ``key=null`` writes null where the setting may be null, and otherwise removes what the recipe says.

    Raises:
        UserError: No ``key=value``, a value that is not YAML, a list position that is not there, a key below a value.
    """
    return [_apply(text, tree) for text in overrides]


def _apply(text: str, tree: dict[str, Any]) -> Override:
    where = f"command line: {text}"
    key, equals, value_text = text.partition("=")
    if not equals or not re.fullmatch(r"[^\s.=]+(\.[^\s.=]+)*", key):
        raise UserError(f"{text!r} is no override", where, "write key=value, for example stages.0.epochs=2")
    if not value_text.strip():
        raise UserError(f"{key}: has no value", where, f"write {key}=value, or {key}=null to unset it")
    path = tuple(key.split("."))
    value = parse_value(value_text, where)
    setting = find(path)
    unsets = value is None and not (setting is not None and setting.allows(type(None)))
    _set(tree, path, value, unsets, where)
    return Override(path, text, unsets)


def _set(tree: dict[str, Any], path: Path, value: Any, unsets: bool, where: str) -> None:
    here: Any = tree
    for i, part in enumerate(path):
        last = i == len(path) - 1
        if isinstance(here, list):
            index = _index(here, part, path[:i], where)
            if last and unsets:
                raise UserError(f"{'.'.join(path)}: an entry of a list can't be unset", where, "write it in the recipe")
            if last:
                here[index] = value
            else:
                here[index] = _container(here[index], path[: i + 1], path[i + 1], where)
                here = here[index]
        elif last and unsets:
            here.pop(part, None)
        elif last:
            here[part] = value
        elif part not in here and unsets:
            return
        else:
            here[part] = _container(here.get(part), path[: i + 1], path[i + 1], where)
            here = here[part]


def _index(entries: list[Any], part: str, path: Path, where: str) -> int:
    key, count = ".".join(path), len(entries)
    if not part.isdecimal() or not part.isascii():
        fix = f"write {key}.0 for the first" + (f", {key}.{count - 1} for the last" if count > 1 else "")
        raise UserError(f"{key}: is a list, and {part!r} is no position in it", where, fix)
    if int(part[:9]) >= count:
        there = "is 1 entry" if count == 1 else f"are {count} entries"
        fix = (
            f"write {key}.0" + (f" to {key}.{count - 1}" if count > 1 else "")
            if count
            else f"write the list: {key}=[...]"
        )
        raise UserError(f"{key}.{part}: there {there} in {key}, counted from 0", where, fix)
    return int(part)


def _container(value: Any, path: Path, part: str, where: str) -> Any:
    """What holds ``part``: the section or list that is there, or a new section in its place."""
    if isinstance(value, dict | list):
        return value
    key, setting = ".".join(path), find(path)
    if setting is None:
        return {}  # an unknown name, which the check of the whole recipe explains
    if path == ("stages",):
        fix = "write stages in the recipe, or stages='[{train: head, epochs: 1}]'"
        raise UserError("stages: the recipe has no stages of its own", where, fix)
    fresh = value is None and (setting.allows(dict) or setting.section() is not None)
    if fresh or setting.annotation is Any or (len(path) > 1 and _holds(setting, part)):
        return {}
    if setting.section() is not None and not setting.choices():
        raise UserError(f"{key}: the recipe gives {shown(value)} here, no section", where, f"write {key} as a section")
    raise UserError(f"{key}: has no settings below it, it wants {setting.wants()}", where, f"write {key}=...")


def _holds(setting: Setting, part: str) -> bool:
    inner = setting.section()
    return inner is not None and part in inner.model_fields
