"""YAML text in, plain values with the place of each one out.

It knows YAML, lines and columns; it knows no setting. Scalars follow YAML 1.2's core rules, because YAML 1.1 reads
``1e-3`` as text, ``on`` as true, ``010`` as eight and ``1:30`` as ninety.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from tunesmith.errors import UserError

Mark = tuple[int, int]
"""Line and column, both counted from 1."""

Path = tuple[str, ...]
"""Where a value stands in the tree; list positions as text: ``("stages", "0", "lr")``."""

MOST_BYTES = 1_000_000
MOST_VALUES = 20_000
MOST_DEPTH = 40

_CORE = {
    "null": r"^(?:~|null|Null|NULL|)$",
    "bool": r"^(?:true|True|TRUE|false|False|FALSE)$",
    "int": r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$",
    "float": r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
}
_TAG = "tag:yaml.org,2002:"
_PLAIN_WORDS = [
    ("found character '\\t'", "indent with spaces, not with tabs"),
    ("cannot start any token", "put quotes around a value that begins with a special character"),
    ("mapping values are not allowed", "put quotes around a value that holds ': ', and check the indentation"),
    ("could not find expected ':'", "write 'name: value', with a colon and a space"),
    ("expected ',' or ']'", "close the list with ']'"),
    ("expected ',' or '}'", "close the section with '}'"),
    ("expected <block end>", "check the indentation: settings of one section begin in one column"),
    ("<stream end>", "close the bracket or brace that was opened"),
    ("found undefined alias", "put quotes around a text that begins with '*'"),
    ("while scanning an alias", "put quotes around a text that begins with '*'"),
    ("expected a single document", "keep one recipe in one file: remove the '---' line"),
    ("quoted scalar", "close the quotes that were opened"),
]


@dataclass
class Place:
    """Where a value stands: its name (for a list entry the value itself), and the value."""

    key: Mark
    value: Mark


@dataclass
class Document:
    """Plain values (dict, list, str, int, float, bool, None) and where each stands."""

    tree: Any
    places: dict[Path, Place] = field(default_factory=dict)


class _Fault(Exception):
    def __init__(self, mark: Mark, what: str, fix: str) -> None:
        super().__init__(what)
        self.mark, self.what, self.fix = mark, what, fix


class _Loader(yaml.SafeLoader):
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MOST_DEPTH and parent is not None:
            raise _Fault(_mark(parent.start_mark), f"nested more than {MOST_DEPTH} levels deep", "flatten it")
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


_Loader.yaml_implicit_resolvers = {}
for _name in ("null", "bool", "int", "float"):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(_CORE[_name]), None)
_Loader.add_implicit_resolver(_TAG + "merge", re.compile(r"^<<$"), ["<"])


def is_plain_text(text: str) -> bool:
    """Whether these characters, written without quotes, are read as text."""
    return not any(re.match(pattern, text) for pattern in _CORE.values())


def parse(text: str, place: str) -> Document:
    """Read YAML text.

    Args:
        text: The text of one document.
        place: The file's name, for errors; line and column are added.

    Raises:
        UserError: The text is not YAML, repeats a name in one section, holds a tag that is not plain data, nests or
            expands without bound.
    """
    try:
        return _read(text)
    except _Fault as fault:
        raise UserError(fault.what, f"{place}:{fault.mark[0]}:{fault.mark[1]}", fault.fix) from None


def parse_value(text: str, place: str) -> Any:
    """Read one value by the same rules, as it stands on a command line.

    Raises:
        UserError: As in :func:`parse`; also for a value that YAML would cut at a ``#``.
    """
    try:
        node = _compose(text)
        if isinstance(node, yaml.ScalarNode) and node.style is None and node.value != text.strip():
            raise _Fault((1, 1), f"YAML would read only {node.value!r} of this value", "put quotes around the value")
        return _read(text).tree
    except _Fault as fault:
        raise UserError(fault.what, place, fault.fix) from None


def _mark(mark: Any) -> Mark:
    return (mark.line + 1, mark.column + 1)


def _compose(text: str) -> yaml.Node | None:
    try:
        loader = _Loader(text)
        try:
            node: yaml.Node | None = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        mark = (before.count("\n") + 1, error.position - (before.rfind("\n") + 1) + 1)
        character = f"character number {error.character}" if isinstance(error.character, int) else "a character"
        raise _Fault(
            mark, f"not text: {character} can't stand in a recipe", "remove it, save the file as UTF-8"
        ) from None
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "not readable"
        if error.context_mark is not None and error.context_mark.line != getattr(at, "line", None):
            problem += f" ({_context(error.context)} that begins in line {error.context_mark.line + 1})"
        fix = next((fix for words, fix in _PLAIN_WORDS if words in f"{problem} {error.context}"), None)
        mark = _mark(at) if at is not None else (1, 1)
        raise _Fault(mark, f"not valid YAML: {problem}", fix or "write one 'name: value' a line") from None
    return node


def _context(context: str | None) -> str:
    return "in a list" if "sequence" in str(context) else "in a section" if "mapping" in str(context) else "in a value"


def _read(text: str) -> Document:
    node = _compose(text)
    document = Document(None)
    if node is not None:
        document.tree = _Builder(document.places).value(node, ())
        document.places[()] = Place((1, 1), _mark(node.start_mark))
    return document


class _Builder:
    def __init__(self, places: dict[Path, Place]) -> None:
        self.places = places
        self.built = 0

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.built += 1
        at = _mark(node.start_mark)
        if self.built > MOST_VALUES or len(path) > MOST_DEPTH:
            raise _Fault(at, f"its aliases (*name) expand to more than {MOST_VALUES:,} values", "write the values out")
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node, at)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.entry(child, (*path, str(i))) for i, child in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self.section(node, path)
        raise _tag_fault(node, at)

    def entry(self, node: yaml.Node, path: Path) -> Any:
        self.places[path] = Place(_mark(node.start_mark), _mark(node.start_mark))
        return self.value(node, path)

    def section(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        lines: dict[Hashable, Mark] = {}
        for key, child in node.value:
            at = _mark(key.start_mark)
            if not isinstance(key, yaml.ScalarNode) or (key.value == "" and key.style is None):
                raise _Fault(at, "a setting's name must be one word", "write 'name: value'")
            if key.tag == _TAG + "merge":
                self.merge(child, path, values)
                continue
            name = str(key.value)
            if name in lines:
                what = f"'{name}' stands twice in one section, in line {lines[name][0]} and in line {at[0]}"
                raise _Fault(at, what, "remove one of the two")
            lines[name] = at
            self.forget((*path, name))
            self.places[(*path, name)] = Place(at, _mark(child.start_mark))
            values[name] = self.value(child, (*path, name))
        return values

    def merge(self, node: yaml.Node, path: Path, into: dict[str, Any]) -> None:
        """What ``<<: *name`` brings in: it never overrides, and of several the first to name a value gives it."""
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(source, yaml.MappingNode):
                raise _Fault(_mark(node.start_mark), "'<<' takes in a section only", "write <<: *name of a section")
            fresh = _Builder({})
            fresh.built = self.built
            section = fresh.section(source, path)
            self.built = fresh.built
            for name in section.keys() - into.keys():
                into[name] = section[name]
                self.places.update({known: fresh.places[known] for known in _below(fresh.places, (*path, name))})

    def forget(self, path: Path) -> None:
        for known in list(_below(self.places, path)):
            del self.places[known]


def _below(places: dict[Path, Place], path: Path) -> Iterator[Path]:
    return (known for known in places if known[: len(path)] == path)


def _scalar(node: yaml.ScalarNode, at: Mark) -> Any:
    text, kind = str(node.value), str(node.tag).removeprefix(_TAG)
    if kind == "str" or node.tag == "!" or kind == "merge":
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise _Fault(at, "this text holds half a character (a lone surrogate)", "write the character itself")
        return text
    if kind not in _CORE:
        raise _tag_fault(node, at)
    if not re.match(_CORE[kind], text) and not (kind == "float" and re.match(_CORE["int"], text)):
        raise _Fault(at, f"{text!r} is marked as !!{kind} and is none", "remove the mark")
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        return _whole(text, at)
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _whole(text: str, at: Mark) -> int:
    if len(text) > 100:
        raise _Fault(at, f"a whole number of {len(text)} digits", "write a smaller number")
    radix = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text, radix)


def _tag_fault(node: yaml.Node, at: Mark) -> _Fault:
    tag = str(node.tag).replace(_TAG, "!!")
    return _Fault(at, f"the mark {tag} is not allowed: a recipe holds plain data only", "remove the mark")
