"""What a setting means: its type in plain words, its default, its description.

It reads the sections' own descriptions; it knows no recipe file and no task but the options model it is handed.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel

from tunesmith.errors import UserError
from tunesmith.recipe.faults import belongs
from tunesmith.recipe.resolved import inline
from tunesmith.recipe.sections import Recipe
from tunesmith.recipe.settings import REQUIRED, Setting, children, elsewhere, every, find, nearest

WIDTH = 100


@dataclass(frozen=True)
class Explanation:
    """One setting or section, for a person.

    Args:
        key: The dotted key; empty for the whole recipe.
        type: What may stand there, in plain words.
        default: The default as it would be written, or ``required``; empty for the whole recipe.
        description: What it means.
        choices: The words that may stand there, where they are given.
        children: The settings under it.
    """

    key: str
    type: str
    default: str
    description: str
    choices: tuple[str, ...] = ()
    children: tuple[Explanation, ...] = ()


def explain(key: str | None, options: type[BaseModel] | None = None) -> Explanation:
    """Explain one setting, one section, or (None) the whole recipe.

    Args:
        key: A dotted key such as ``data`` or ``stages.lr``; the position of a stage may be written or left out.
        options: The task's own options, for keys under ``options``.

    Raises:
        UserError: There is no such setting; the fix names the one that was meant.
    """
    if key is None or not key.strip():
        root = Setting((), Recipe, description="Everything a run is made from.")
        return Explanation("", "a recipe", "", root.description, (), _children(Recipe, (), options))
    path = tuple(key.strip().split("."))
    setting = find(path, Recipe, options)
    if setting is None or (path[0] == "options" and len(path) > 1 and options is None):
        raise _unknown(path, options)
    return _explained(setting, options)


def render(explanation: Explanation) -> str:
    """Write an explanation as plain text: one setting as a paragraph, a section as a table."""
    lines = []
    if explanation.key:
        lines.append(explanation.key)
        lines += [f"  type:    {explanation.type}", f"  default: {explanation.default}", ""]
    lines += textwrap.wrap(explanation.description, WIDTH - 2, initial_indent="  ", subsequent_indent="  ")
    if explanation.children:
        rows = list(_rows(explanation.children))
        lines += ["", *_table(["setting", "type", "default", "what it means"], rows)]
    return "\n".join(lines) + "\n"


def _explained(setting: Setting, options: type[BaseModel] | None) -> Explanation:
    section = options if setting.path == ("options",) and options is not None else setting.section()
    choices = tuple(str(word) for word in setting.choices())
    kind = setting.wants()
    if section is not None and not choices and kind.startswith(("{", "a list of sections")):
        nullable = " or null" if setting.allows(type(None)) else ""
        kind = ("a list of sections" if setting.allows(list) else "a section") + nullable
    description = setting.description
    if section is not None and section.__doc__ and not choices:
        doc = " ".join(section.__doc__.split()).replace("``", "")
        description = doc if not description or len(doc) > len(description) else description
    return Explanation(
        setting.key, kind, _default(setting), description, choices, _children(section, setting.path, options)
    )


def _children(
    section: type[BaseModel] | None, path: tuple[str, ...], options: type[BaseModel] | None
) -> tuple[Explanation, ...]:
    return tuple(_explained(child, options) for child in children(section, path)) if section is not None else ()


def _default(setting: Setting) -> str:
    if setting.default is REQUIRED:
        above = find(setting.path[:-1])
        return "none" if above is not None and above.allows(dict) else "required"
    return "its settings' own" if isinstance(setting.default, BaseModel) else inline(setting.default)


def _unknown(path: tuple[str, ...], options: type[BaseModel] | None) -> UserError:
    key = ".".join(path)
    known = [setting.key for setting in every()]
    if options is not None:
        known += [setting.key for setting in every(options, ("options",))]
    plain = ".".join(part for part in path if not part.isdecimal())
    name, exact = path[-1], elsewhere(path[-1])
    task_own = [one for one in known if one.startswith("options.") and one.rpartition(".")[2] == name]
    last = nearest(name, sorted({one.rpartition(".")[2] for one in known}))
    near = nearest(plain, known)
    if path[0] == "options" and options is None:
        return UserError(f"{key}: an option belongs to a task", "", "name the task too, or the recipe that names it")
    if exact or task_own:
        fix = belongs(name, [*exact, *task_own], "try")
    elif near is not None or last is not None:
        meant = [near] if near is not None else [one for one in known if one.rpartition(".")[2] == last]
        fix = f"did you mean {' or '.join(meant)}?"
    else:
        fix = f"the sections are {', '.join(Recipe.model_fields)}"
    return UserError(f"{key}: there is no such setting", "", fix)


def _rows(explanations: tuple[Explanation, ...]) -> Iterator[list[str]]:
    for one in explanations:
        yield [one.key, one.type, one.default, one.description]
        yield from _rows(one.children)


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Columns as wide as their text, up to a limit; longer text goes on in the next line."""
    most = (40, 30, 18, 60)
    widths = [min(most[i], max(len(row[i]) for row in [head, *rows])) for i in range(len(head))]
    lines = [*_row(head, widths), "  ".join("-" * width for width in widths)]
    for row in rows:
        lines += _row(row, widths)
    return lines


def _row(cells: list[str], widths: list[int]) -> list[str]:
    wrapped = [
        textwrap.wrap(cell, width, break_on_hyphens=False) or [""] for cell, width in zip(cells, widths, strict=True)
    ]
    height = max(len(cell) for cell in wrapped)
    lines = []
    for i in range(height):
        parts = [cell[i] if i < len(cell) else "" for cell in wrapped]
        lines.append("  ".join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip())
    return lines
