"""Libraries that only some scorers need, loaded when they do. It knows where they come from, not what they do."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from tunesmith.errors import UserError


def library(name: str, scorer: str) -> ModuleType:
    """A module of an optional library.

    Args:
        name: The module.
        scorer: The scorer that needs it, for the message.

    Raises:
        UserError: It is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0].replace("_", "-")
        missing = f", for lack of {error.name}" if error.name and error.name != name.partition(".")[0] else ""
        raise UserError(
            f"answers can't be judged by {scorer!r}: the package {package} does not load{missing}",
            "recipe: options",
            "pip install 'tunesmith[language]'",
        ) from error
