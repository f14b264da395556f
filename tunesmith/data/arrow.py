"""Parquet files and Hugging Face data sets, row by row. It knows no text format.

pyarrow and datasets are an extra and heavy: they are imported when a source needs them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from tunesmith.data.reading import Record, did_you_mean
from tunesmith.errors import UserError

BATCH_ROWS = 1024


def _module(name: str, what: str, where: str) -> ModuleType:
    import importlib

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        raise UserError(
            f"{what} needs the package {package}, which is not installed", where, "pip install 'tunesmith[data]'"
        ) from error


class ParquetFile:
    """A Parquet file, opened; its columns and its rows."""

    def __init__(self, path: Path, label: str) -> None:
        parquet = _module("pyarrow.parquet", "reading Parquet", label)
        self._label = label
        self._size = path.stat().st_size
        try:
            self._file = parquet.ParquetFile(path)
        except (ValueError, OSError) as error:  # pyarrow's ArrowInvalid is a ValueError
            raise self._unreadable(error) from error
        self.columns = list(self._file.schema_arrow.names)
        self._namers = _namers(_described(self._file.schema_arrow.metadata))
        self.notes = _names_replaced(self._namers)

    def _unreadable(self, error: Exception) -> UserError:
        return UserError(f"this is not a readable Parquet file: {_line(error)}", self._label, "write the file anew")

    def rows(self) -> Iterator[Record]:
        """Number and values of every row, read in small batches."""
        try:
            batches = self._file.iter_batches(batch_size=BATCH_ROWS)
            for number, values in enumerate((values for batch in batches for values in batch.to_pylist()), 1):
                yield number, {**values, **{name: named(values.get(name)) for name, named in self._namers.items()}}
        except (ValueError, OSError) as error:
            raise self._unreadable(error) from error
        finally:
            self._file.close()

    def bytes_of(self, rows: int) -> int:
        """The share of the file's bytes that so many rows stand for."""
        return self._size * rows // max(1, int(self._file.metadata.num_rows))


def _line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def is_saved_data_set(folder: Path) -> bool:
    """Whether ``datasets.save_to_disk`` wrote this folder."""
    return (folder / "dataset_dict.json").is_file() or (
        (folder / "dataset_info.json").is_file() and (folder / "state.json").is_file()
    )


def open_saved(folder: Path, label: str, split: str | None) -> Any:
    """The data set that ``datasets.save_to_disk`` wrote; of several splits, the one asked for (default: train).

    Raises:
        UserError: where datasets is not installed, the folder is torn, or the split is not there.
    """
    datasets = _module("datasets", "reading a saved Hugging Face data set", label)
    try:
        found = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"the saved data set cannot be read: {_line(error)}", label, "save it anew") from error
    if not isinstance(found, dict):
        if split is not None:
            raise UserError(
                f"data.split: {split} was asked for, but this data set has no splits", label, "leave data.split out"
            )
        return found
    wanted = split or "train"
    if wanted not in found:
        raise UserError(
            f"the data set has no split '{wanted}'{did_you_mean(wanted, found)}",
            label,
            f"set data.split to one of: {', '.join(found)}",
        )
    return found[wanted]


def open_from_hub(identity: str, name: str | None, split: str | None) -> Any:
    """A Hugging Face data set by id, from the local cache or the hub.

    Raises:
        UserError: where datasets is not installed, or the data set, its configuration or its split cannot be had.
    """
    datasets = _module("datasets", "a Hugging Face data set", identity)
    try:
        return datasets.load_dataset(identity, name, split=split or "train")
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise UserError(
            f"there is no such file or folder, and as a Hugging Face data set it cannot be loaded: {_line(error)}",
            identity,
            "check the path or the id, data.name and data.split; offline, a data set has to be in the cache already",
        ) from error


def data_set_rows(data_set: Any, note: Callable[[str], None], *, decode: bool = True) -> Iterable[Record]:
    """Number and values of every row; class numbers become their names, sound stays undecoded bytes.

    Args:
        data_set: Opened.
        note: Takes what a person should know.
        decode: Whether pictures are decoded; else they are bytes as well.
    """
    features: Any = data_set.features or {}
    namers = _namers(features.to_dict() if features else {})
    for line in _names_replaced(namers):
        note(line)
    for column, kind in features.items():
        if type(kind).__name__ == "Audio" or (type(kind).__name__ == "Image" and not decode):
            data_set = data_set.cast_column(column, type(kind)(decode=False))
    for number, values in enumerate(data_set, 1):
        yield number, {**values, **{column: named(values.get(column)) for column, named in namers.items()}}


@dataclass(frozen=True)
class _Namer:
    """Turns the class numbers inside a column's values into names.

    Args:
        known: The names, where the column itself is a class number or a list of them.
        parts: The same for members of a mapping.
    """

    known: tuple[str, ...] = ()
    parts: Mapping[str, _Namer] = field(default_factory=dict)

    def __call__(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self(item) for item in value]
        if isinstance(value, dict):
            return {name: self.parts[name](item) if name in self.parts else item for name, item in value.items()}
        if isinstance(value, int) and self.known:
            return self.known[value] if 0 <= value < len(self.known) else None
        return value

    def names(self) -> tuple[str, ...]:
        """The names, for a note."""
        return self.known or next((part.names() for part in self.parts.values()), ())


def _namers(features: Mapping[str, Any]) -> dict[str, _Namer]:
    """Columns with class numbers, by the description that a data set keeps of its features."""
    found = {column: _namer(kind) for column, kind in features.items()}
    return {column: namer for column, namer in found.items() if namer is not None}


def _namer(kind: Any) -> _Namer | None:
    if isinstance(kind, list):
        return _namer(kind[0]) if kind else None
    if not isinstance(kind, dict):
        return None
    if isinstance(kind.get("_type"), str):
        names = kind.get("names")
        return _Namer(tuple(map(str, names))) if isinstance(names, list) else _namer(kind.get("feature"))
    parts = _namers(kind)
    return _Namer(parts=parts) if parts else None


def _names_replaced(namers: Mapping[str, _Namer]) -> list[str]:
    return [
        f"column {column}: class numbers were replaced by their names ({', '.join(namer.names()[:8])})"
        for column, namer in namers.items()
    ]


def _described(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """The features that a Parquet file written by datasets describes beside its schema."""
    try:
        found = json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}
