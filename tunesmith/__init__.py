"""Tunesmith: fine-tune a pretrained model on your own data, in stages, and prove that it helped.

The front door: these names are the public interface, loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PLACES = {
    "Task": "tunesmith.task",
    "TaskOptions": "tunesmith.task",
    "LayerGroups": "tunesmith.model.layers",
    "Finding": "tunesmith.types",
    "Facts": "tunesmith.types",
    "Recipe": "tunesmith.recipe",
    "read_recipe": "tunesmith.recipe",
    "read_rows": "tunesmith.data.source",
    "fine_tune": "tunesmith.tune",
    "evaluate": "tunesmith.evaluate",
    "predict": "tunesmith.predict",
    "check_task": "tunesmith.check",
    "UserError": "tunesmith.errors",
}

__all__ = ["__version__", *_PLACES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'tunesmith' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
