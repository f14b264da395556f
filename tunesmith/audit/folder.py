"""A recipe for rows that have none: what a folder or file holds tells the task. It judges no row."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.data.folder import FORMATS
from tunesmith.data.folder_listing import list_files, split_family
from tunesmith.data.source import read_rows
from tunesmith.errors import UserError
from tunesmith.recipe import Source, read_recipe
from tunesmith.registry import find_task
from tunesmith.types import Row

STARTERS = {
    "text-classification": "starter:minilm-l6",
    "causal-lm": "starter:smollm2-135m",
    "preference": "starter:smollm2-135m",
    "image-classification": "starter:mobilenet-v2",
    "image-segmentation": "starter:mobilenet-v2",
    "object-detection": "starter:yolox-tiny",
    "speech-to-text": "starter:whisper-base",
}
"""The weights that stand in where nobody names any."""
NO_MODEL = "starter:none"
PICTURE_TASKS = ("object-detection", "image-segmentation", "text-to-image", "image-classification")
"""Tasks of pictures, those whose data can't be taken for another's first."""
TEXT_COLUMNS = ("text", "sentence", "review", "content", "comment", "message", "body", "utterance", "tweet", "question")
LABEL_COLUMNS = ("label", "labels", "class", "category", "target", "intent", "sentiment", "topic", "emotion")
LOOKED_AT = 200
"""Rows that are read to tell what they are."""
MOST_CLASSES_SHARE = 0.2
LONGEST_NAME = 500
_RECIPES = (".yaml", ".yml")


def is_recipe(path: Path) -> bool:
    """Whether a name is that of a recipe, and not of data."""
    return path.suffix.lower() in _RECIPES and not path.is_dir()


def source_of(path: str | Path, model: str | None = None, overrides: Sequence[str] = ()) -> Source:
    """The recipe at a path, or one for the rows at a path.

    Args:
        path: A recipe, a folder or a file of rows.
        model: Weights in place of the recipe's, or of the starter for the kind of rows.
        overrides: ``key=value`` texts; ``task=`` says what the rows are for.

    Raises:
        UserError: There is nothing there, the recipe is at fault, or the rows don't tell what they are for.
    """
    path, extra = Path(path).expanduser(), [f"model={json.dumps(model)}"] if model else []
    if is_recipe(path):
        return read_recipe(path, [*extra, *overrides])
    if not path.exists():
        raise UserError("there is no such file or folder", str(path), _near(path))
    if path.is_dir() and not any(path.iterdir()):
        raise UserError("the folder is empty", str(path), "name a folder with rows in it, or a recipe")
    sections = _guessed(path, _asked(overrides))
    text = "".join(f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in sections.items())
    return read_recipe(Path(f"recipe for {path.name or path.resolve().name}"), [*extra, *overrides], text=text)


def _near(path: Path) -> str:
    from difflib import get_close_matches

    if not path.parent.is_dir():
        return f"there is no folder {path.parent} either; check the path"
    near = get_close_matches(path.name, [one.name for one in path.parent.iterdir()], n=1)
    return f"did you mean '{path.parent / near[0]}'?" if near else "check the path"


def _asked(overrides: Sequence[str]) -> str | None:
    """The task that the command line names."""
    return next((one.partition("=")[2].strip() for one in overrides if one.partition("=")[0].strip() == "task"), None)


def _guessed(path: Path, asked: str | None) -> dict[str, Any]:
    """Sections of a recipe for these rows."""
    train, held_out = _parts(path)
    if held_out is not None:
        try:
            task, columns = _task_of(train, asked)
            return _sections(path, task, {"train": str(train), "eval": str(held_out), **columns})
        except UserError:
            # Folders of pictures whose labels stand elsewhere are no sources of their own.
            train = path
    task, columns = _task_of(path, asked)
    data: dict[str, Any] = {"train": str(path), **columns}
    if path.is_dir() and (split := _held_out_split(path, task)) is not None:
        data |= {"eval": str(path), "eval_split": split}
    return _sections(path, task, data)


def _sections(path: Path, task: str, data: Mapping[str, Any]) -> dict[str, Any]:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.resolve().stem).strip("-._") or "data"
    return {"task": task, "model": STARTERS.get(task, NO_MODEL), "data": dict(data), "run": {"name": name}}


def _parts(path: Path) -> tuple[Path, Path | None]:
    """Training and held-out rows of a folder that has both as folders or files of their own."""
    if not path.is_dir():
        return path, None
    found: dict[str, list[Path]] = {}
    for one in sorted(path.iterdir()):
        family = split_family(one.name if one.is_dir() else one.stem)
        if family and (one.is_dir() or one.suffix.lower() in FORMATS):
            found.setdefault(family, []).append(one)
    held_out = found.get("test") or found.get("validation") or []
    train = found.get("train", [])
    return (train[0], held_out[0]) if len(train) == len(held_out) == 1 else (path, None)


def _held_out_split(path: Path, task: str) -> str | None:
    for split in ("test", "validation", "valid", "val", "dev", "eval"):
        if _fits(path, task, split) is None:
            return split
    return None


def _fits(path: Path, task: str, split: str | None = None) -> UserError | None:
    """None where a task's own reader takes the rows, else why it does not."""
    kind = find_task(task)
    try:
        shape = kind.row_shape(kind.Options())
        read_rows(path, shape=shape, limit=1 if split else 20, broken_rows=1.0, split=split)
    except UserError as fault:
        return fault
    return None


def _task_of(path: Path, asked: str | None) -> tuple[str, dict[str, Any]]:
    """The task for what stands at a path, and the data section's columns where they have other names."""
    if asked is not None:
        return asked, _columns(path) if asked == "text-classification" else {}
    files = list_files(path, str(path)).files if path.is_dir() else (path.name,)
    tasks, rows = _media_tasks(files), list[Row]()
    if not tasks and path.suffix.lower() == ".json" and _fits(path, "object-detection") is None:
        return "object-detection", {}
    if not tasks:
        rows = _head(path)
        values = [value.get("path") if isinstance(value, Mapping) else value for row in rows for value in row.values()]
        tasks = _media_tasks([value for value in values if isinstance(value, str) and len(value) < LONGEST_NAME])
    return (_first_fitting(path, tasks), {}) if tasks else _task_of_texts(path, rows)


def _media_tasks(names: Sequence[str]) -> tuple[str, ...]:
    """The tasks that files of these names may be for."""
    from tunesmith.pictures.files import is_picture_name
    from tunesmith.speech.audio import is_audio_name

    if any(map(is_picture_name, names)):
        return PICTURE_TASKS
    return ("speech-to-text",) if any(map(is_audio_name, names)) else ()


def _first_fitting(path: Path, tasks: Sequence[str]) -> str:
    fault: UserError | None = None
    for task in tasks:
        fault = _fits(path, task)
        if fault is None:
            return task
    assert fault is not None
    raise fault


def _head(path: Path) -> list[Row]:
    return list(read_rows(path, limit=LOOKED_AT, broken_rows=1.0))


def _task_of_texts(path: Path, rows: Sequence[Row]) -> tuple[str, dict[str, Any]]:
    from tunesmith.language.rows import ConversationShape

    if not isinstance(ConversationShape("preference")(rows[0]), str):
        return "preference", {}
    shape = ConversationShape("conversation")
    fitting = [row for row in rows if not isinstance(shape(row), str)]
    text_alone = all(row.get("text") is not None for row in rows)
    if len(fitting) > len(rows) / 2 and not text_alone:
        return "causal-lm", {}
    found = _classified(rows)
    if found is not None:
        return "text-classification", _named(found)
    if fitting and text_alone:
        return "causal-lm", {}
    columns = ", ".join(name for name in rows[0] if name != "id")
    raise UserError(
        f"the rows don't tell what they are for: their columns are {columns}",
        str(path),
        "name the task and its columns (task=text-classification data.columns.text=... data.columns.label=...), "
        "or write a recipe",
    )


def _columns(path: Path) -> dict[str, Any]:
    """The columns of text and label of a file of rows, where they have other names."""
    found = _classified(_head(path))
    return _named(found) if found is not None else {}


def _named(found: tuple[str, str]) -> dict[str, Any]:
    columns = {ours: theirs for ours, theirs in zip(("text", "label"), found, strict=True) if ours != theirs}
    return {"columns": columns} if columns else {}


def _classified(rows: Sequence[Row]) -> tuple[str, str] | None:
    """The columns of text and of label: by their names, else by what stands in them; None: there are no such two."""
    names = {name.lower(): name for name in rows[0] if name != "id"}
    text = next((names[name] for name in TEXT_COLUMNS if name in names), None) or _longest(rows, names.values())
    label = next((names[name] for name in LABEL_COLUMNS if name in names and names[name] != text), None)
    if label is None:
        rest = [name for name in names.values() if name != text]
        label = next((name for name in rest if _few_values([row.get(name) for row in rows])), None)
    return (text, label) if text is not None and label is not None else None


def _longest(rows: Sequence[Row], names: Any) -> str | None:
    """The column whose texts have the most words, where they have more than one."""
    words = {name: sum(len(str(row.get(name) or "").split()) for row in rows) for name in names}
    best = max(words, key=lambda name: words[name], default=None)
    return best if best is not None and words[best] > 1.5 * len(rows) else None


def _few_values(values: Sequence[Any]) -> bool:
    plain = [value for value in values if isinstance(value, (str, int, bool))]
    different = len(set(map(str, plain)))
    return len(plain) == len(values) and 2 <= different <= max(2, MOST_CLASSES_SHARE * len(values))
