"""A job's own process: an ordinary run of its recipe, with adapters kept after epochs. It knows no store and no route.

``python -m tunesmith.server.worker FOLDER``; what it says goes to standard output.
"""

from __future__ import annotations

import os
import shutil
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import EXIT_COULD_NOT_RUN, EXIT_DONE, EXIT_FINDINGS, Interrupted, UserError
from tunesmith.server.job_recipe import RECIPE, RUN
from tunesmith.server.merged_base import merge_base
from tunesmith.server.workers import announce, put_outcome

if TYPE_CHECKING:
    from tunesmith.journey import Journey
    from tunesmith.train.watch import Ask

EPOCHS = "epochs"
"""The folder of a run that takes the adapters of epochs: ``step-000000120``."""
MOST_KEPT = 10
SPACE = "free some space on the server's disk, then resume the job: it goes on from its last checkpoint"


class EpochKeeper:
    """Keeps the adapter as it is at the end of epochs, at most ten of them, evenly spread, the last one among them.

    Args:
        journey: Its model is read and never changed.
    """

    def __init__(self, journey: Journey) -> None:
        self.journey = journey

    def see(self, event: Mapping[str, Any]) -> Ask | None:
        """Write the adapter where an epoch that is kept has been scored."""
        if event.get("kind") == "eval" and self.journey.engine.main:
            stage = self.journey.plan.resolved[int(event["stage"])]
            if is_kept(float(event["epoch"]), float(stage.epochs or event["epoch"])):
                self._write(int(event["step"]))
        return None

    def state(self) -> dict[str, Any]:
        """Nothing: the folder is its memory."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to remember."""

    def _write(self, step: int) -> None:
        from tunesmith.prove import save_into
        from tunesmith.run import sync_folder

        run = self.journey.run.folder
        place, draft = run / epoch_folder(step), run / ".epoch.tmp"
        if place.exists():
            return
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        save_into(self.journey, draft)
        place.parent.mkdir(exist_ok=True)
        draft.rename(place)
        sync_folder(place.parent)


def is_kept(epoch: float, epochs: float) -> bool:
    """Whether the adapter is kept at the end of an epoch."""
    every = -(-int(epochs) // MOST_KEPT)
    return epoch == epochs or (epoch == int(epoch) and int(epoch) % every == 0 and epochs - epoch >= every)


def epoch_folder(step: int) -> str:
    """Where the adapter after so many steps lies in a run."""
    return f"{EPOCHS}/step-{step:09d}"


def work(folder: Path) -> int:
    """Train the job of a folder to its end, or go on with it; how it ended stands in ``outcome.json``.

    Returns:
        The exit code.
    """
    from tunesmith.journey import Hooks
    from tunesmith.recipe import read_recipe
    from tunesmith.train.checkpoint import FULL, write_fault
    from tunesmith.tune import fine_tune

    hooks = Hooks(say=_say, watchers=lambda journey: [EpochKeeper(journey)], watch_held_out=True)
    ready = False
    try:
        merge_base(folder, _say)
        ready = True
        fine_tune(read_recipe(RECIPE), hooks=hooks)
    except Interrupted as stop:
        put_outcome(folder, "interrupted", stop.what)
        return stop.code
    except UserError as fault:
        _say(str(fault))
        code = _code_of(fault, folder / RUN) if ready else "base_unavailable"
        fix = SPACE if code == "insufficient_storage" else fault.fix
        put_outcome(folder, "failed", f"{fault.what}. Fix: {fix}" if fix else fault.what, code=code)
        return EXIT_COULD_NOT_RUN
    except Exception as fault:
        traceback.print_exception(fault)
        refused = None if ready else write_fault(fault)
        if refused is not None and refused.errno in FULL:
            what = f"the base that the job goes on from can't be written ({refused.strerror}). Fix: {SPACE}"
            put_outcome(folder, "failed", what, code="insufficient_storage")
        else:
            put_outcome(folder, "failed", f"{type(fault).__name__}: {fault}", code="server_error")
        return EXIT_COULD_NOT_RUN
    put_outcome(folder, "finished")
    return EXIT_DONE


def _code_of(fault: UserError, run: Path) -> str:
    """A fault's name in the API: by what it was caused, and by how far the run had come."""
    from tunesmith.train.checkpoint import FULL, write_fault

    refused = write_fault(fault.__cause__) if fault.__cause__ is not None else None
    if refused is not None and refused.errno in FULL:
        return "insufficient_storage"
    if fault.code == EXIT_FINDINGS or not (run / "audit.json").exists():
        return "invalid_training_file"
    return "training_failed" if (run / "plan.json").exists() else "plan_refused"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """The command."""
    announce()
    folder = Path(arguments[0]).absolute()
    os.chdir(folder)
    return work(folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
