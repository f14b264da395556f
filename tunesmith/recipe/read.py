"""The recipe file and the command line in, a checked recipe out, with the place of every value for errors.

It knows files, lines and the sections; it knows no task, no data and no model.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tunesmith.errors import UserError
from tunesmith.recipe import document
from tunesmith.recipe.consistency import WRITTEN, check_consistency
from tunesmith.recipe.document import Document, Place, parse
from tunesmith.recipe.faults import Fault, check
from tunesmith.recipe.overrides import Override, apply
from tunesmith.recipe.resolved import difference, leaf_values, noted_origins, recipe_digest, resolved_yaml
from tunesmith.recipe.sections import Recipe
from tunesmith.recipe.settings import find, nearest

__all__ = [
    "Source",
    "check_consistency",
    "difference",
    "read_recipe",
    "recipe_digest",
    "resolve_options",
    "resolved_yaml",
]

_BEGIN = "write settings as 'name: value' lines, beginning with 'task: ...'"


@dataclass(frozen=True)
class _Layout:
    """Where every value of a recipe stands."""

    name: str
    places: Mapping[document.Path, Place] = field(default_factory=dict)
    overrides: tuple[Override, ...] = ()

    def where(self, path: document.Path, value: bool = False) -> str:
        for override in reversed(self.overrides):
            n = len(override.path)
            made = path == override.path[: len(path)] and path not in self.places and path != ()
            if override.path == path[:n] or made:
                return override.where
        for end in range(len(path), -1, -1):
            place = self.places.get(path[:end])
            if place is not None:
                line, column = place.value if value and end == len(path) else place.key
                return f"{self.name}:{line}:{column}"
        return self.name

    def order(self, fault: Fault) -> tuple[int, int]:
        where = self.where(fault.path, fault.value).removeprefix(self.name)
        line, _, column = where.lstrip(":").partition(":")
        return (int(line), int(column)) if line.isdecimal() and column.isdecimal() else (0, 0)

    def first(self, faults: Sequence[Fault]) -> UserError:
        """One error for all of them: the first in the file, and the others listed."""
        ordered = sorted(faults, key=self.order)
        fix = ordered[0].fix
        if others := ordered[1:]:
            fix += f"\nand {len(others)} more fault" + ("s" if len(others) > 1 else "") + ":"
            fix += "".join(f"\n  {self.where(one.path, one.value)}: {one.what} (fix: {one.fix})" for one in others)
        return UserError(ordered[0].what, self.where(ordered[0].path, ordered[0].value), fix)


@dataclass(frozen=True)
class Source:
    """A checked recipe and where it came from.

    Args:
        recipe: The checked recipe, defaults filled in.
        path: The file it was read from, as it was named.
        text: That file's text.
        origins: Dotted key of every value of the whole recipe to ``default``, ``recipe`` or ``command line``.
    """

    recipe: Recipe
    path: Path
    text: str = ""
    origins: dict[str, str] = field(default_factory=dict)
    _layout: _Layout | None = field(default=None, repr=False, compare=False)

    def where(self, *loc: str | int, value: bool = False) -> str:
        """The place of a setting: ``recipe.yaml:9:3``, or ``command line: key=value`` where that set it.

        Args:
            *loc: The key, in parts or dotted. Where it is not written, its nearest ancestor's place is named.
            value: The place of the value instead of the setting's name.
        """
        layout = self._layout or _Layout(str(self.path))
        parts = tuple(str(part) for part in loc)
        if parts not in layout.places:
            parts = tuple(piece for part in parts for piece in part.split("."))
        return layout.where(parts, value)

    def written(self, key: str) -> bool:
        """Whether a person wrote this value, or one below it."""
        below = f"{key}."
        return any(
            origin in WRITTEN for known, origin in self.origins.items() if known == key or known.startswith(below)
        )

    def error(self, loc: Sequence[str | int] | str, what: str, fix: str, *, value: bool = False) -> UserError:
        """An error about one setting, to be raised by whoever found it.

        Args:
            loc: The key, in parts or dotted.
            what: What is wrong with it.
            fix: What to do.
            value: Point at the value instead of the setting's name.
        """
        parts = (loc,) if isinstance(loc, str) else tuple(loc)
        return UserError(what, self.where(*parts, value=value), fix)


def read_recipe(path: str | Path, overrides: Sequence[str] = (), *, text: str | None = None) -> Source:
    """Read and check a recipe.

    Args:
        path: The file.
        overrides: ``key=value`` texts from the command line, values read as YAML; ``key=null`` unsets.
        text: The recipe itself, which is not read from a file then; ``path`` is what it is called.

    Raises:
        UserError: The file can't be read or is not YAML; a setting is unknown, missing, of the wrong type, out of
            range, in conflict with another or used by nothing. The first fault is the error, the others stand in its
            fix.
    """
    path = Path(path)
    text = _read_text(path) if text is None else text
    parsed = parse(text, str(path))
    tree = _sections(parsed, path)
    name_the_model(tree, parsed)
    applied = apply(overrides, tree)
    name_the_model(tree, Document(None))
    layout = _Layout(str(path), parsed.places, tuple(applied))
    recipe, faults = check(tree, Recipe)
    if recipe is None:
        raise layout.first(faults)
    origins = _origins(recipe, tree, layout, noted_origins(text))
    if faults := check_consistency(recipe, origins):
        raise layout.first(faults)
    return Source(recipe, path, text, origins, layout)


def resolve_options(source: Source, options: type[BaseModel]) -> Source:
    """Check a recipe's ``options`` against the task's own model and fill in its defaults.

    Args:
        source: A recipe as read.
        options: The task's options; it must forbid extra fields, else an unknown option would pass in silence.

    Returns:
        The source with every option in ``recipe.options`` (JSON-able values) and in ``origins``.

    Raises:
        UserError: An option is unknown, missing, of the wrong type or out of range.
    """
    checked, faults = check(source.recipe.options, options, ("options",))
    layout = source._layout or _Layout(str(source.path))
    if checked is None:
        raise layout.first([replace(fault, path=("options", *fault.path)) for fault in faults])
    values = checked.model_dump(mode="json")
    origins = {key: origin for key, origin in source.origins.items() if key.partition(".")[0] != "options"}
    for leaf, _ in leaf_values(values, ("options",)):
        key = ".".join(leaf)
        above = (source.origins.get(".".join(leaf[:end])) for end in range(len(leaf), 1, -1))
        origins[key] = next((origin for origin in above if origin is not None), "default")
    return replace(source, recipe=source.recipe.model_copy(update={"options": values}), origins=origins)


def _read_text(path: Path) -> str:
    try:
        if path.is_dir():
            inside = sorted(one.name for one in path.iterdir() if one.suffix in (".yaml", ".yml"))
            fix = f"name a file in it: {', '.join(inside[:5])}" if inside else "name a recipe, a .yaml file"
            raise UserError("this is a folder, not a recipe", str(path), fix)
        with path.open("rb") as file:
            raw = file.read(document.MOST_BYTES + 1)
    except FileNotFoundError:
        raise UserError("there is no such file", str(path), _near(path)) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"can't read the recipe: {reason}", str(path), "name a file that you may read") from None
    return _decoded(raw, path)


def _decoded(raw: bytes, path: Path) -> str:
    if len(raw) > document.MOST_BYTES:
        what = f"longer than {document.MOST_BYTES:,} bytes: this is no recipe"
        raise UserError(
            what, f"{path}:1:1", "name the recipe, a .yaml file; the rows it trains on stand under data.train"
        )
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        what = "this is not text: a byte that is not UTF-8"
        raise UserError(what, f"{path}:{line}:{column}", "name a recipe, a .yaml file, and save it as UTF-8") from None
    return text


def _near(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder {folder} either; check the path"
    names = sorted(one.name for one in folder.iterdir() if one.suffix in (".yaml", ".yml"))
    near = nearest(path.name, names) or nearest(path.stem, [Path(name).stem for name in names])
    if near is not None:
        name = near if near in names else next(name for name in names if Path(name).stem == near)
        return f"did you mean '{folder / name}'?"
    return (
        f"the recipes there are {', '.join(names[:5])}" if names else "check the path; no recipe stands in that folder"
    )


def _sections(parsed: Document, path: Path) -> dict[str, Any]:
    tree = copy.deepcopy(parsed.tree)
    if isinstance(tree, dict) and tree:
        return tree
    line, column = parsed.places[()].value if () in parsed.places else (1, 1)
    kinds = {list: "a list", str: "one text", type(None): "empty", dict: "empty"}
    what = f"the recipe is {kinds.get(type(tree), 'one value')}, not sections with settings"
    raise UserError(
        what if tree else "the recipe is empty" if tree is None else what, f"{path}:{line}:{column}", _BEGIN
    )


def name_the_model(tree: dict[str, Any], parsed: Document) -> None:
    """Write ``model: x`` out as ``model: {name: x}``, so that every key has a place."""
    if isinstance(tree.get("model"), str):
        tree["model"] = {"name": tree["model"]}
        place = parsed.places.get(("model",))
        if place is not None:
            parsed.places["model", "name"] = Place(place.value, place.value)


def _origins(recipe: Recipe, tree: Any, layout: _Layout, noted: Mapping[int, str]) -> dict[str, str]:
    origins = {}
    for leaf, value in leaf_values(recipe.model_dump()):
        origin = "recipe" if _stands(tree, leaf) else "default"
        if origin == "recipe" and any(leaf[: len(o.path)] == o.path for o in layout.overrides if not o.unsets):
            origin = "command line"
        elif origin == "recipe" and leaf in layout.places:
            origin = noted.get(layout.places[leaf].value[0], origin)
            setting = find(leaf)
            if origin == "default" and setting is not None and leaf[0] != "options" and setting.default != value:
                origin = "recipe"  # a resolved recipe that a person edited
        origins[".".join(leaf)] = origin
    return origins


def _stands(tree: Any, path: document.Path) -> bool:
    for part in path:
        if isinstance(tree, list):
            tree = tree[int(part)]
        elif isinstance(tree, dict) and part in tree:
            tree = tree[part]
        else:
            return False
    return True
