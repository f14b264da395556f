"""The whole recipe as text again, every value with where it came from; and what tells two recipes apart.

It knows the sections; it reads no file and knows no task.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from tunesmith.recipe.document import is_plain_text
from tunesmith.recipe.sections import Recipe

HEADER = "# A recipe, resolved by tunesmith: behind every value stands where it came from."
ORIGINS = ("default", "recipe", "command line", "auto")

NOT_THE_RUN = (
    "run.name",
    "run.folder",
    "run.keep",
    "run.checkpoint_seconds",
    "run.checkpoint_steps",
    "run.track",
)
"""Settings that say where a run goes and how often it is saved, never what it computes."""


def resolved_yaml(recipe: Recipe, origins: Mapping[str, str]) -> str:
    """Write the whole recipe as YAML, one value a line, each with its origin as a comment.

    :func:`tunesmith.recipe.read_recipe` reads it back to the same recipe and the same origins.

    Args:
        recipe: A checked recipe.
        origins: Dotted key to origin; a key that is absent takes its nearest ancestor's, else ``default``.
    """
    return "\n".join([HEADER, *_block(recipe.model_dump(), (), origins)]) + "\n"


def noted_origins(text: str) -> dict[int, str]:
    """Line number (from 1) to origin, of a file that :func:`resolved_yaml` wrote; empty for any other."""
    lines = text.removeprefix("\ufeff").splitlines()
    if not lines or lines[0] != HEADER:
        return {}
    ends = re.compile(rf"  # ({'|'.join(ORIGINS)})$")
    return {i: found[1] for i, line in enumerate(lines, 1) if (found := ends.search(line))}


def recipe_digest(recipe: Recipe, ignore: Sequence[str] = NOT_THE_RUN) -> str:
    """SHA-256 of everything that decides what a run computes, as 64 hexadecimal digits.

    Args:
        recipe: A checked recipe.
        ignore: Dotted keys (values or sections) that do not count.
    """
    text = json.dumps(_without(recipe.model_dump(mode="json"), ignore), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def difference(a: Recipe, b: Recipe, ignore: Sequence[str] = NOT_THE_RUN) -> list[str]:
    """What two recipes say differently, one line a value: ``stages.0.lr: 0.001 -> 0.01``.

    Empty exactly when their digests with the same ``ignore`` are equal.
    """
    one, other = (_without(recipe.model_dump(mode="json"), ignore) for recipe in (a, b))
    return list(_differ(one, other, ()))


def leaf_values(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every leaf of a tree with its path; a list that holds no section is one leaf, as is anything empty."""
    if isinstance(tree, dict) and tree:
        for name, value in tree.items():
            yield from leaf_values(value, (*path, str(name)))
    elif is_list_of_sections(tree):
        for i, value in enumerate(tree):
            yield from leaf_values(value, (*path, str(i)))
    else:
        yield path, tree


def is_list_of_sections(value: Any) -> bool:
    """Whether this is a list with a section in every entry."""
    return isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(one, dict) and one for one in value)


def inline(value: Any) -> str:
    """A value on one line of YAML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(str(name))}: {inline(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(inline(one) for one in value) + "]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _number(value)
    return str(value) if isinstance(value, int) else _quoted(str(value))


def _block(section: Mapping[str, Any], path: tuple[str, ...], origins: Mapping[str, str]) -> Iterator[str]:
    indent = "  " * len(path)
    for name, value in section.items():
        here, start = (*path, str(name)), f"{indent}{_quoted(str(name))}:"
        if isinstance(value, dict) and value:
            yield start
            yield from _block(value, here, origins)
        elif is_list_of_sections(value):
            yield start
            for i, entry in enumerate(value):
                for n, line in enumerate(_block(entry, (*here, str(i)), origins)):
                    dash = "- " if n == 0 else "  "
                    yield f"{indent}  {dash}{line[len(indent) + 4 :]}"
        else:
            yield f"{start} {inline(value)}  # {_origin(here, origins)}"


def _origin(path: tuple[str, ...], origins: Mapping[str, str]) -> str:
    for end in range(len(path), 0, -1):
        if (key := ".".join(path[:end])) in origins:
            return origins[key]
    return "default"


def _number(value: float) -> str:
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    text = repr(value)
    # Readers of YAML 1.1 take 1e-08 for text, and 1.0e-08 for a number.
    return text if "." in text or "e" not in text else text.replace("e", ".0e")


_OLD_RULES = yaml.resolver.Resolver.yaml_implicit_resolvers


def _quoted(text: str) -> str:
    """Text as YAML that YAML 1.1 and 1.2 both read as this text."""
    if re.fullmatch(r"[A-Za-z0-9_./]([A-Za-z0-9_./@+:-]*[A-Za-z0-9_./@+-])?", text) and is_plain_text(text):
        old = _OLD_RULES.get(text[0], [])
        if not any(pattern.match(text) for _, pattern in old):
            return text
    return '"' + "".join(_escaped(character) for character in text) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _without(tree: dict[str, Any], ignore: Sequence[str], path: tuple[str, ...] = ()) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in tree.items():
        if ".".join((*path, name)) not in ignore:
            kept[name] = _without(value, ignore, (*path, name)) if isinstance(value, dict) else value
    return kept


_ABSENT = object()


def _differ(a: Any, b: Any, path: tuple[str, ...]) -> Iterator[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        for name in [*a, *(name for name in b if name not in a)]:
            yield from _differ(a.get(name, _ABSENT), b.get(name, _ABSENT), (*path, name))
    elif is_list_of_sections(a) and is_list_of_sections(b):
        for i in range(max(len(a), len(b))):
            left, right = (one[i] if i < len(one) else _ABSENT for one in (a, b))
            yield from _differ(left, right, (*path, str(i)))
    elif json.dumps(a, default=str, sort_keys=True) != json.dumps(b, default=str, sort_keys=True):
        left, right = ("nothing" if one is _ABSENT else inline(one) for one in (a, b))
        yield f"{'.'.join(path)}: {left} -> {right}"
