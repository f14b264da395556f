"""What is wrong with a tree of values, in plain words with a fix.

It turns the type checker's findings into sentences; it knows no file, no line and no task.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from tunesmith.recipe.document import Path
from tunesmith.recipe.settings import Setting, elsewhere, find, nearest

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong.

    Args:
        path: Where it stands in the tree.
        what: The key and what is wrong with it.
        fix: What to do.
        value: Whether the value is at fault (and is pointed at), not the setting's name.
    """

    path: Path
    what: str
    fix: str
    value: bool = False


def check(tree: Any, section: type[Model], root: Path = ()) -> tuple[Model | None, list[Fault]]:
    """Check plain values against a section's types, without coercion.

    Args:
        tree: JSON-able values as read.
        section: What they are to be.
        root: Where the tree stands in the recipe, for the keys of the faults.

    Returns:
        The checked section and no fault, or None and every fault.
    """
    try:
        # Strict JSON mode: text is no number and 1 is not true, but a list may become a tuple.
        return section.model_validate_json(json.dumps(tree), strict=True), []
    except ValidationError as error:
        return None, _faults(error, tree, section, root)


def _faults(error: ValidationError, tree: Any, section: type[BaseModel], root: Path) -> list[Fault]:
    found: dict[Path, tuple[str, str]] = {}
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        kind, path = item["type"], _follow(tree, item["loc"])
        if kind == "missing":
            if isinstance(_at(tree, path), dict):
                path = (*path, str(item["loc"][-1]))
            else:
                kind = "too_short"
        found.setdefault(path, (kind, item["msg"]))
    # Every member of a union complains; the one that looked deepest into the value knows what is wrong.
    paths = [path for path in found if not any(len(p) > len(path) and p[: len(path)] == path for p in found)]
    absent = {path for path in paths if found[path][0] == "missing"}
    faults = []
    for path in paths:
        kind, message = found[path]
        if kind == "extra_forbidden":
            near = _sibling(path, section)
            absent.discard((*path[:-1], near or ""))
            faults.append(_unknown(path, section, root, near))
        elif kind in ("value_error", "assertion_error"):
            faults.append(_refused(path, section, root, message))
        elif kind != "missing":
            faults.append(_wrong(path, _at(tree, path), section, root))
    return faults + [_missing(path, section, root) for path in paths if path in absent]


def _follow(tree: Any, loc: Sequence[int | str]) -> Path:
    path: list[str] = []
    for part in loc:
        entry = isinstance(tree, list) and isinstance(part, int) and part < len(tree)
        if not entry and not (isinstance(tree, dict) and part in tree):
            continue  # the name of a union's member, not of a setting
        tree = tree[part]
        path.append(str(part))
    return tuple(path)


def _at(tree: Any, path: Path) -> Any:
    for part in path:
        tree = tree[int(part)] if isinstance(tree, list) else tree[part]
    return tree


def _key(path: Path, root: Path) -> str:
    return ".".join((*root, *path))


def _section_at(path: Path, section: type[BaseModel]) -> type[BaseModel]:
    setting = find(path, section)
    found = setting.section() if setting is not None else None
    assert found is not None, "an unknown or a missing setting stands in a section"
    return found


def _sibling(path: Path, section: type[BaseModel]) -> str | None:
    return nearest(path[-1], list(_section_at(path[:-1], section).model_fields))


def _unknown(path: Path, section: type[BaseModel], root: Path, near: str | None) -> Fault:
    name, here = path[-1], (*root, *path[:-1])
    what = f"{_key(path, root)}: there is no such setting"
    plain = ".".join(part for part in here if not part.isdecimal())
    others = [key for key in elsewhere(name) if key.rpartition(".")[0] != plain]
    same = [key for key in elsewhere(name) if key.rpartition(".")[0] == plain]
    if same:
        return Fault(path, what, f"write '{same[0].rpartition('.')[2]}'")
    close = near is not None and _close(name, near)
    if others and not close:
        return Fault(path, what, belongs(name, others))
    if near is not None:
        return Fault(path, what, f"did you mean '{near}'? write '{near}'")
    known = ", ".join(_section_at(path[:-1], section).model_fields)
    fix = f"remove it; the settings here are {known}" if known else "remove it; there are no settings here"
    return Fault(path, what, fix if here else f"{fix} (what belongs to the task stands in options)")


def _close(name: str, near: str) -> bool:
    return name.lower().replace("-", "_").rstrip("s") == near.rstrip("s")


def belongs(name: str, keys: Sequence[str], verb: str = "move it to") -> str:
    """Say where a name stands: ``'lr' stands in a stage: move it to stages.0.lr``."""
    sections = [key.rpartition(".")[0] for key in keys]
    places = ["a stage" if section == "stages" else section for section in sections]
    ours = keys[0].rpartition(".")[2]
    called = f"'{name}'" if ours == name else f"'{name}' is called '{ours}' here and"
    return f"{called} stands in {_or(places)}: {verb} {_or([key.replace('stages.', 'stages.0.', 1) for key in keys])}"


def _or(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + " or " + words[-1] if len(words) > 1 else words[0]


def _missing(path: Path, section: type[BaseModel], root: Path) -> Fault:
    setting = find(path, section)
    assert setting is not None, "a missing setting is one of the section's own"
    place = f" under {_key(path[:-1], root)}" if path[:-1] or root else ""
    fix = f"add '{path[-1]}: ...'{place}: {_first_sentence(setting.description) or setting.wants()}"
    return Fault(path, f"{_key(path, root)}: is missing", fix)


def _first_sentence(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".") if text[1:2].islower() or text[1:2] == " " else text.rstrip(".")


def _refused(path: Path, section: type[BaseModel], root: Path, message: str) -> Fault:
    words = re.sub(r"^(Value|Assertion) error, ", "", message)
    setting = find(path, section)
    wants = setting.wants() if setting is not None and path else "settings that agree with each other"
    return Fault(path, f"{_key(path, root)}: {words}", f"write {wants}", value=bool(path))


def _wrong(path: Path, value: Any, section: type[BaseModel], root: Path) -> Fault:
    key, setting = _key(path, root), find(path, section)
    if setting is None or not path:
        return Fault(path, f"{key or 'the recipe'}: got {shown(value)}, wants settings", "write 'name: value' lines")
    inner = setting.section()
    if inner is not None and value is None and not setting.allows(type(None)):
        return Fault(path, f"{key}: has nothing in it", "write its settings under it, or remove the line", value=False)
    if inner is not None and not setting.choices() and not _has_words(setting):
        return _no_section(path, value, setting, inner, key)
    wants = setting.wants()
    fix = _fix(value, setting) or (f"write {wants}" + ("" if value is not None else ", or remove the line"))
    return Fault(path, f"{key}: got {shown(value)}, wants {wants}", fix, value=True)


def _has_words(setting: Setting) -> bool:
    return not setting.wants().startswith(("{", "a list of sections"))


def _no_section(path: Path, value: Any, setting: Setting, inner: type[BaseModel], key: str) -> Fault:
    names = list(inner.model_fields)
    listed = setting.allows(list)
    if listed and value == []:
        return Fault(path, f"{key}: is an empty list", "write at least one entry, or remove the line", value=True)
    noun = "a list of sections" if listed else "a section"
    what = f"{key}: got {shown(value)}, wants {noun} with settings ({', '.join(names[:4])}, ...)"
    if listed and isinstance(value, dict):
        return Fault(path, what, f"begin each entry of {key} with '- '", value=True)
    accepted = isinstance(value, str | int | float) and not check({names[0]: value}, inner)[1]
    example = f"{names[0]}: {value if accepted else '...'}"
    return Fault(path, what, f"write {key}: {'[{' if listed else '{'}{example}{'}]' if listed else '}'}", value=True)


def _fix(value: Any, setting: Setting) -> str:
    """What the person most likely meant, where the value shows it; else nothing."""
    if isinstance(value, bool):
        return _for_switch(value, setting)
    if isinstance(value, str):
        return _for_text(value, setting)
    if isinstance(value, float) and value.is_integer() and setting.allows(int) and abs(value) < 2**53:
        return f"write {int(value)}"
    if isinstance(value, int | float) and setting.allows(str) and not setting.allows(float):
        return f"put quotes around it: '{value}'"
    return ""


def _for_switch(value: bool, setting: Setting) -> str:
    words = setting.choices()
    if {"on", "off"} & set(words):
        return f"write '{'on' if value else 'off'}'"
    return f"put quotes around it: '{shown(value)}'" if setting.allows(str) and not words else ""


def _for_text(value: str, setting: Setting) -> str:
    words = [str(word) for word in setting.choices()]
    near = nearest(value, words)
    if near is None and "on" in words and value.lower() in ("yes", "true", "no", "false"):
        near = "on" if value.lower() in ("yes", "true") else "off"
    if near is not None:
        return f"did you mean '{near}'? write '{near}'"
    if setting.allows(bool):
        switches = {"on": "true", "yes": "true", "y": "true", "off": "false", "no": "false", "n": "false"}
        switch = switches.get(value.lower(), value.lower() if value.lower() in ("true", "false") else "")
        return f"write {switch}" + (", without quotes" if switch == value.lower() else "") if switch else ""
    if setting.allows(int) or setting.allows(float):
        return _number_in(value)
    return f"write it as a list: [{value}]" if setting.allows(list) and not setting.allows(str) else ""


def _number_in(text: str) -> str:
    percent = re.fullmatch(r"\s*([0-9]+(?:[.,][0-9]+)?)\s*%\s*", text)
    if percent:
        return f"write {float(percent[1].replace(',', '.')) / 100:g}"
    bare = text.strip().replace("_", "")
    if re.fullmatch(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", bare):
        return f"write {bare}" + (", without quotes" if bare == text.strip() else "")
    if re.fullmatch(r"[0-9]+,[0-9]+", bare):
        return f"write {bare.replace(',', '.')}"
    return ""


def shown(value: Any) -> str:
    """A value as an error shows it: short, with its kind where that is not plain to see."""
    if isinstance(value, str):
        return f"{value if len(value) <= 60 else value[:57] + '...'!r} (text)"
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return "a section" if isinstance(value, dict) else str(value)
