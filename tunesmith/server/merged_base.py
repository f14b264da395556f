"""The base of a job that goes on from a tuned model: that model's adapter, merged into the weights beneath it.

It lies in the job's own folder, so that the job needs nothing of the one before it once it has begun. It knows no
store, no route and no training.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tunesmith.run import Run, sync_folder

START = "start.json"
"""What a job goes on from: places of the run and of the adapter, relative to the job's folder."""
BASE = "base"
DRAFT = ".base.tmp"
WHOLE: Mapping[str, str] = {"nf4": "bf16"}
"""In what weights are merged that can't be written as they are held; all others as their run held them."""


def merge_base(folder: Path, say: Callable[[str], None]) -> bool:
    """Put the base of a job's folder in its place, unless it lies there or the job needs none.

    Args:
        folder: The job's.
        say: Is told what was done.

    Returns:
        Whether it was put there now.

    Raises:
        UserError: The run or its adapter is gone or broken.
        OSError: The disk takes no more; or safetensors' own exception for it.
    """
    if not (folder / START).is_file() or (folder / BASE).is_dir():
        return False
    from tunesmith.model.adapters import load_adapter, merge
    from tunesmith.model.pretrained import quiet
    from tunesmith.prove import load_task

    start: Mapping[str, Any] = json.loads((folder / START).read_text(encoding="utf-8"))
    adapter, draft = folder / start["adapter"], folder / DRAFT
    task = load_task(Run.open(folder / start["run"]))
    task.held, task.saved = WHOLE.get(task.held, task.held), adapter
    model = task.load()
    load_adapter(model, adapter)
    rounding = merge(model)
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    task.adapted = False
    with quiet():
        task.save(model, draft)
    _sync(draft)
    draft.rename(folder / BASE)
    sync_folder(folder)
    say(f"merged into a base of its own ({task.held}): {adapter}; rounding of a weight {rounding:.1e}")
    return True


def _sync(folder: Path) -> None:
    """Bring a folder of files to the disk: one that has its name at last is whole, whatever happens then."""
    for file in folder.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    sync_folder(folder)
