"""The saved model of a run, scored in a process of its own: nothing of the one that trained it can stand in for a file.

`python -m tunesmith.apart RUN` is what that process runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.run import Run, jsonable
from tunesmith.types import Row

RANKS = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What tells a process that it is one of several: the one that is started here is alone, whatever started this one."""
ASKED, SAID = ".apart-asked.json", ".apart-said.json"


def predicted_apart(
    run: Run,
    rows: Sequence[Row],
    folders: Sequence[Path],
    *,
    device: str,
    precision: str,
    batch: int,
    progress: Callable[[int, int], None],
) -> list[Any]:
    """Predictions for rows by the saved model, loaded in a fresh process.

    Args:
        run: With a saved model.
        rows: JSON-able.
        folders: Where relative paths in them start from.
        device, precision: As the run's.
        batch: Rows a pass.
        progress: Receives rows done and rows in all.

    Raises:
        UserError: The process failed; its last words are told.
    """
    asked, said = run.folder / ASKED, run.folder / SAID
    about = {
        "rows": [dict(row) for row in rows],
        "folders": [str(folder.resolve()) for folder in folders],
        "device": device,
        "precision": precision,
        "batch": batch,
    }
    said.unlink(missing_ok=True)
    asked.write_text(json.dumps(jsonable(about)), encoding="utf-8")
    command = [sys.executable, "-m", "tunesmith.apart", str(run.folder)]
    alone = {name: value for name, value in os.environ.items() if name not in RANKS}
    try:
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", env=alone
        ) as process:
            words: list[str] = []
            assert process.stderr is not None
            assert process.stdout is not None
            listener = threading.Thread(target=lambda: words.extend(process.stderr or ()), daemon=True)
            listener.start()
            try:
                for line in process.stdout:
                    if line.startswith("done "):
                        progress(int(line.split()[1]), len(rows))
            except BaseException:
                process.terminate()
                raise
            listener.join()
        if process.returncode or not said.is_file():
            last = "".join(words[-3:]).strip() or f"exit code {process.returncode}"
            raise UserError(f"the saved model can't be loaded in a fresh process: {last}", str(run.model))
        found: list[Any] = json.loads(said.read_text(encoding="utf-8"))
        return found
    finally:
        asked.unlink(missing_ok=True)
        said.unlink(missing_ok=True)


def main(folder: Path) -> None:
    """Predict what is asked in the run's folder."""
    from tunesmith.data.loader import Loader
    from tunesmith.prove import load_model, load_task
    from tunesmith.train.engine import LocalEngine
    from tunesmith.train.inference import predict_rows

    run = Run.open(folder)
    asked = json.loads((folder / ASKED).read_text(encoding="utf-8"))
    task = load_task(run)
    task.folders = tuple(Path(place) for place in asked["folders"])
    engine = LocalEngine(asked["device"], asked["precision"])
    model = load_model(run, task).to(engine.device)
    loader = Loader(
        asked["rows"], task.encode, task.collate, length=task.length, cpu_rows=task.cpu_rows, seeded=task.seeded
    )

    def told(done: int, _total: int) -> None:
        sys.stdout.write(f"done {done}\n")
        sys.stdout.flush()

    found = predict_rows(
        model,
        task.predict,
        loader,
        loader.lengths,
        engine,
        rows=int(asked["batch"]),
        slow=not task.one_pass,
        on_progress=told,
    )
    (folder / SAID).write_text(json.dumps(jsonable(found)), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
