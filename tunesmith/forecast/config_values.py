"""Values of a config.json by any of the names that families give them, with the fault named where one is missing.

It knows names of settings; no formula and no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError


class MissingSetting(KeyError):
    """A config.json lacks a setting without which the shape can't be told."""


class Config:
    """A config.json as numbers and flags. A missing number raises ``MissingSetting``."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def number(self, *names: str, default: int | None = None) -> int:
        """The first of these names that holds a whole number.

        Raises:
            MissingSetting: None does, and there is no default.
        """
        for name in names:
            value = self.values.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
                return value
        if default is None:
            raise MissingSetting(names[0])
        return default

    def flag(self, name: str, default: bool = False) -> bool:
        """A setting that is true or false."""
        value = self.values.get(name)
        return value if isinstance(value, bool) else default

    def text(self, name: str, default: str = "") -> str:
        """A setting that is a word."""
        value = self.values.get(name)
        return value if isinstance(value, str) else default

    def numbers(self, name: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """A setting that is a list of whole numbers, or one number; else the default."""
        value = self.values.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return (value,)
        if isinstance(value, list) and value and all(isinstance(one, int) for one in value):
            return tuple(value)
        return default

    @property
    def family(self) -> str:
        """Its ``model_type``."""
        return self.text("model_type")

    @property
    def architecture(self) -> str:
        """Name of the class that the weights were saved from; empty where nothing says."""
        named = self.values.get("architectures")
        return str(named[0]) if isinstance(named, list) and named else ""

    @property
    def labels(self) -> int:
        """Outputs of a classifier."""
        table = self.values.get("id2label")
        return len(table) if isinstance(table, dict) and table else self.number("num_labels", default=2)

    @property
    def drops(self) -> bool:
        """Whether its blocks have dropout."""
        names = ("hidden_dropout_prob", "hidden_dropout", "dropout", "resid_pdrop", "dropout_rate")
        return any(isinstance(value := self.values.get(name), float) and value > 0 for name in names)

    def inner(self, name: str) -> Config | None:
        """A config inside this one (``text_config``)."""
        value = self.values.get(name)
        return Config(value) if isinstance(value, dict) else None


def read_config(folder: Path, where: str = "") -> Config:
    """A folder's config.json.

    Raises:
        UserError: It can't be read, is not JSON or holds no object.
    """
    file = folder / "config.json"
    return Config(read_object(file, where))


def read_object(file: Path, where: str = "") -> dict[str, Any]:
    """A JSON file that must hold an object.

    Raises:
        UserError: It does not.
    """
    fix = "fetch the model again, or name another one"
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"there is no {file.name}", where or str(file.parent), "name a model's own folder") from None
    except (OSError, UnicodeDecodeError) as fault:
        raise UserError(f"{file.name} can't be read: {fault}", str(file), fix) from None
    except (ValueError, RecursionError) as fault:
        raise UserError(f"{file.name} is not JSON: {fault}", str(file), fix) from None
    if not isinstance(value, dict):
        raise UserError(f"{file.name} is not a JSON object but a {type(value).__name__}", str(file), fix)
    return value
