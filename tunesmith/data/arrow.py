"""Parquet files and Hugging Face data sets, row by row. It knows no text format.

pyarrow and datasets are an extra and heavy: they are imported when a source needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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

    def _unreadable(self, error: Exception) -> UserError:
        return UserError(f"this is not a readable Parquet file: {_line(error)}", self._label, "write the file anew")

    def rows(self) -> Iterator[Record]:
        """Number and values of every row, read in small batches."""
        try:
            batches = self._file.iter_batches(batch_size=BATCH_ROWS)
            yield from enumerate((values for batch in batches for values in batch.to_pylist()), 1)
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


def data_set_rows(data_set: Any, note: Callable[[str], None]) -> Iterable[Record]:
    """Number and values of every row; class numbers become their names, sound stays undecoded bytes."""
    features = data_set.features or {}
    names = {column: kind.names for column, kind in features.items() if type(kind).__name__ == "ClassLabel"}
    for column, known in names.items():
        note(f"column {column}: class numbers were replaced by their names ({', '.join(known[:8])})")
    for column, kind in features.items():
        if type(kind).__name__ == "Audio":
            data_set = data_set.cast_column(column, type(kind)(decode=False))
    for number, values in enumerate(data_set, 1):
        for column, known in names.items():
            value = values.get(column)
            if isinstance(value, int):
                values[column] = known[value] if 0 <= value < len(known) else None
        yield number, values
