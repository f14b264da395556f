"""What every verb has in common: the command line itself, how its arguments look, and where output goes.

It knows no verb.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="tunesmith",
    help="Fine-tune a pretrained model on your own data, in stages, and prove that it helped.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RecipePath = Annotated[Path, typer.Argument(help="The recipe, a YAML file.", metavar="RECIPE")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Settings that win over the file: stages.0.epochs=2", metavar="KEY=VALUE"),
]
RunPath = Annotated[Path, typer.Argument(help="A run's folder.", metavar="RUN")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def emit(value: Any) -> None:
    """Print JSON."""
    from tunesmith.run import jsonable

    sys.stdout.write(json.dumps(jsonable(value), ensure_ascii=False, indent=1) + "\n")


def tell(line: str = "") -> None:
    """A line for the person, on standard output."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def note(line: str) -> None:
    """A line beside the output, on standard error."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


@contextmanager
def progress_bar(as_json: bool) -> Iterator[tuple[Callable[[str], None], Any]]:
    """Where lines go, and the progress bar; with --json both go to standard error."""
    from tunesmith.train.watch import Progress

    with Progress() as bar:
        yield (note if as_json else bar.say), bar


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """The terminal belongs to our bar: the bars of transformers would break its lines."""
    from tunesmith.model.pretrained import quiet

    with quiet():
        yield
