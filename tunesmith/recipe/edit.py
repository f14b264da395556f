"""Settings changed in a recipe's own text: comments, order and layout stay, as far as the text allows.

It knows YAML's layout and dotted keys; it checks no value and knows no setting.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import yaml

from tunesmith.recipe.document import Document, Path, parse
from tunesmith.recipe.overrides import apply
from tunesmith.recipe.read import name_the_model
from tunesmith.recipe.resolved import inline, is_list_of_sections


class _NotHere(Exception):
    """The text offers no place for this change (an alias stands there)."""


def edited(text: str, settings: Sequence[str], place: str) -> tuple[str, bool]:
    """The text with settings changed or added, and whether its comments and its order are still there.

    They are lost where a setting can't be written at its place (below an alias, or where one is to be unset): then the
    whole recipe is written anew.

    Args:
        text: A recipe.
        settings: ``key=value`` texts, as on the command line.
        place: The file's name, for errors.

    Raises:
        UserError: The text is no recipe, or a setting can't be set.
    """
    text = text.removeprefix("\ufeff")
    wanted = copy.deepcopy(parse(text, place).tree)
    name_the_model(wanted, Document(None))
    applied = apply(settings, wanted)
    try:
        changed = text
        for one in applied:
            if one.unsets:
                raise _NotHere
            changed = _with(changed, one.path, _value_at(wanted, one.path))
        found = copy.deepcopy(parse(changed, place).tree)
        name_the_model(found, Document(None))
        if found == wanted:
            return changed, True
    except (_NotHere, yaml.YAMLError, LookupError, ValueError):
        pass
    return yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True), False


def _value_at(tree: Any, path: Path) -> Any:
    for part in path:
        tree = tree[int(part)] if isinstance(tree, list) else tree[part]
    return tree


def _with(text: str, path: Path, value: Any) -> str:
    """The text with one value set."""
    here: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    for depth, part in enumerate(path):
        if isinstance(here, yaml.MappingNode):
            found = next(((key, child) for key, child in here.value if key.value == part), None)
            if found is None:
                return _inserted(text, here, path[depth:], value)
            if found[1].start_mark.index < found[0].end_mark.index:
                raise _NotHere
            here = found[1]
        elif isinstance(here, yaml.SequenceNode):
            entry = here.value[int(part)]
            if entry.start_mark.index < here.start_mark.index:
                raise _NotHere
            here = entry
        else:
            # A section in short: ``model: name``, ``adapter: null``.
            inner = _nested(path[depth:], value)
            short = {"name": here.value} if path[:depth] == ("model",) else {}
            return _replaced(text, here, inline(short | inner))
    return _replaced(text, here, inline(value))


def _nested(path: Path, value: Any) -> Any:
    return {path[0]: _nested(path[1:], value)} if path else value


def _replaced(text: str, node: yaml.Node, new: str) -> str:
    start, end = node.start_mark.index, _end(node)
    space = "" if start and text[start - 1] in " \n" else " "
    return text[:start] + space + new + text[end:]


def _end(node: yaml.Node) -> int:
    """Where a node's own text ends: a block's end mark stands behind the comments that follow it."""
    block = isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value
    if not block:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(last, tuple) else last)


def _inserted(text: str, section: yaml.MappingNode, path: Path, value: Any) -> str:
    """A setting that the section does not have yet, behind those that it has."""
    if section.flow_style:
        entry = inline(_nested(path, value))[1:-1]
        at = _end(section.value[-1][1]) if section.value else section.start_mark.index + 1
        return text[:at] + (", " if section.value else "") + entry + text[at:]
    indent = " " * section.value[0][0].start_mark.column
    at = _end(section)
    if text[at - 1] != "\n":
        line = text.find("\n", at)
        at = len(text) if line < 0 else line + 1
    before = "" if text[at - 1] == "\n" else "\n"
    return text[:at] + before + "".join(f"{line}\n" for line in _lines(path, value, indent)) + text[at:]


def _lines(path: Path, value: Any, indent: str) -> list[str]:
    if len(path) > 1:
        return [f"{indent}{path[0]}:", *_lines(path[1:], value, indent + "  ")]
    if is_list_of_sections(value):
        return [f"{indent}{path[0]}:", *(f"{indent}  - {inline(entry)}" for entry in value)]
    return [indent + inline({path[0]: value})[1:-1]]
