"""Ctrl-C and SIGTERM as a request that is met between two steps, or two batches. It knows nothing else."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

from tunesmith.errors import EXIT_INTERRUPTED, EXIT_TERMINATED, Interrupted


class StopRequest:
    """Notes that the process was asked to stop; a second Ctrl-C stops it at once.

    Use it as a context: the handlers that stood before come back afterwards.
    """

    INTERRUPT: ClassVar[int] = int(signal.SIGINT)
    TERMINATE: ClassVar[int] = int(signal.SIGTERM)

    def __init__(self) -> None:
        self.asked: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (self.INTERRUPT, self.TERMINATE):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.asked == self.INTERRUPT and number == self.INTERRUPT:
            raise KeyboardInterrupt
        self.asked = number


def stopped(asked: int, folder: Path, step: int | None = None) -> Interrupted:
    """The error that ends a run which was asked to stop.

    Args:
        asked: The signal.
        folder: The run.
        step: The last step done, where steps are being done.
    """
    name, code = ("SIGTERM", EXIT_TERMINATED) if asked == StopRequest.TERMINATE else ("Ctrl-C", EXIT_INTERRUPTED)
    when = "" if step is None else f" after step {step}"
    return Interrupted(
        f"stopped by {name}{when}; everything up to there is saved",
        str(folder),
        "run the same command again to go on from there",
        code=code,
    )
