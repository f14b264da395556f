"""The doors: every verb of the command line. It parses, calls and shows; it decides nothing.

Nothing heavy is imported before a verb needs it. The verbs stand in the order of the help: those that train, those that
use what was trained, those that explain.
"""

from __future__ import annotations

import atexit
import gc
import sys
from typing import Any

import typer

from tunesmith.cli import training, auditing, planning, using, diagnosing, retrieving, asking, connecting, migrating  # isort: skip
from tunesmith.cli import serving, explaining  # isort: skip
from tunesmith.cli.shell import app
from tunesmith.errors import EXIT_COULD_NOT_RUN, EXIT_DONE, EXIT_INTERRUPTED, UserError

__all__ = [
    "app",
    "asking",
    "auditing",
    "connecting",
    "diagnosing",
    "explaining",
    "main",
    "migrating",
    "planning",
    "retrieving",
    "serving",
    "training",
    "using",
]


def main() -> None:
    """The command ``tunesmith``. Exit codes: 0 done, 1 findings, 2 could not run, 130 and 143 stopped by a signal."""
    # A model's library makes a million objects that live to the end. To look for garbage among them after every 700 new
    # ones, and once more when all ends, takes a third of a short command's time.
    gc.set_threshold(100_000, 20, 20)
    atexit.register(gc.freeze)
    try:
        code = app(prog_name="tunesmith", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else EXIT_DONE)
    except UserError as fault:
        sys.stderr.write(f"{fault}\n")
        sys.exit(fault.code)
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        sys.exit(EXIT_INTERRUPTED)
    except typer.Abort:
        sys.exit(EXIT_INTERRUPTED)
    except Exception as fault:
        if not hasattr(fault, "format_message") or not hasattr(fault, "exit_code"):
            raise
        sys.stderr.write(_complaint(fault) + "\n")
        sys.exit(EXIT_COULD_NOT_RUN)


def _complaint(fault: Any) -> str:
    """The command line parser's own complaints, in the one shape that all errors have."""
    context = getattr(fault, "ctx", None)
    command = context.command_path if context is not None else "tunesmith"
    if type(fault).__name__ == "NoArgsIsHelpError":
        return str(fault.format_message())
    return str(UserError(fault.format_message().rstrip("."), "command line", f"see `{command} --help`"))
