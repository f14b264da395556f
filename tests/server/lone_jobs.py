"""The jobs of a folder followed by a process of its own, which kills itself at the n-th change of a job's state.

``python lone_jobs.py FOLDER SETTINGS_JSON COMMAND_JSON before|after|never N``. Nothing else of a server is in it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from tunesmith.server.jobs import Jobs
from tunesmith.server.settings import Settings
from tunesmith.server.store import Store
from tunesmith.server.supervisor import LIVING


class Mortal(Store):
    """A store that kills its process before or after the n-th change of a state is kept."""

    when, left = "never", 0

    def update_job(self, job_id: str, **values: Any) -> Any:
        """As the store does it."""
        if values.get("status") is None:
            return super().update_job(job_id, **values)
        Mortal.left -= 1
        if Mortal.left == 0 and self.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        changed = super().update_job(job_id, **values)
        if Mortal.left == 0 and self.when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return changed


def main(folder: str, settings: str, command: str, when: str, number: str) -> None:
    """Follow until no job lives."""
    Mortal.when, Mortal.left = when, int(number)
    store = Mortal(Path(folder))
    store.sweep()
    jobs = Jobs(store, Settings(folder=Path(folder), **json.loads(settings)), command=json.loads(command))
    jobs.start()
    while store.list_jobs(statuses=LIVING).rows:
        time.sleep(0.02)
    jobs.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
