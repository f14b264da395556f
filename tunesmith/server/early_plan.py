"""What a job takes at the very least, told from headers before there is a job; in a process of its own.

``python -m tunesmith.server.early_plan``: a recipe as JSON from standard input, what it takes as JSON to standard
output. The server's process loads no torch for it, and does not wait for it without end. It knows no store.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COMMAND = (sys.executable, "-m", "tunesmith.server.early_plan")
SECONDS = 60.0
"""After these a job is made without an answer: the plan at its turn has the last word in any case."""
LEAST = ("batch.micro=1",)
"""What the recipe is read with: a row at a time is the least that it can take."""
HERE = "this machine"


@dataclass(frozen=True)
class Taken:
    """What a job takes at the least, and what there is.

    Args:
        device: Where it would train: ``cpu``, ``cuda`` or ``mps``.
        needed_bytes: A row at a time, with weights, optimizer and workspace.
        room_bytes: All memory of that device, whoever holds it now; None where nothing tells.
        place: What the device is called.
    """

    device: str
    needed_bytes: int
    room_bytes: int | None
    place: str

    @property
    def fits(self) -> bool:
        """Whether it could fit if nothing else were in memory."""
        return self.room_bytes is None or self.needed_bytes <= self.room_bytes

    def __str__(self) -> str:
        needed, room = (f"{size / 1e6:,.0f} MB" for size in (self.needed_bytes, self.room_bytes or 0))
        return f"it needs {needed} of memory, a row at a time, and {self.place} has {room} in all"


class EarlyPlans:
    """Asks that process, one question at a time; what fits is asked once. Safe to use from several threads.

    Args:
        device: As the server was started: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        command: What answers.
        seconds: Most that is waited for it.
    """

    def __init__(self, device: str, *, command: Sequence[str] = COMMAND, seconds: float = SECONDS) -> None:
        self._device, self._command, self._seconds = device, tuple(command), seconds
        self._lock = threading.Lock()
        self._fitting: dict[str, Taken] = {}

    def taken(self, recipe: str) -> Taken | None:
        """What a job of this recipe takes; None where it can't be told, and its turn has to show it.

        Args:
            recipe: As YAML. Places in it are whole paths.
        """
        with self._lock:
            found = self._fitting.get(recipe) or self._asked(recipe)
            if found is not None and found.fits:
                self._fitting[recipe] = found
            return found

    def _asked(self, recipe: str) -> Taken | None:
        question = json.dumps({"recipe": recipe, "device": self._device}).encode()
        try:
            said = subprocess.run(
                self._command, input=question, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                timeout=self._seconds, check=True,
            )  # fmt: skip
            found = Taken(**json.loads(said.stdout))
        except (OSError, subprocess.SubprocessError, ValueError, TypeError):
            return None
        # Which device "auto" is takes an import of torch to tell; it stays the same as long as the server lives.
        self._device = found.device
        return found


def least_of(recipe: str, device: str) -> Taken:
    """What a recipe takes at the least on a device of this machine.

    Args:
        recipe: As YAML.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Raises:
        UserError: The model or the device is not there, or a file is at fault.
    """
    from tunesmith.forecast.headers import fast_plan
    from tunesmith.machine import pick_device, pick_precision
    from tunesmith.recipe import read_recipe

    device = pick_device(device)
    # As the plan picks it for tasks on decoders: a job that is refused here has to be one that it would refuse.
    precision, _ = pick_precision("auto", device, low=True)
    settings = (*LEAST, f"engine.device={device}", f"engine.precision={precision}")
    memory: Mapping[str, Any] = fast_plan(read_recipe("recipe.yaml", settings, text=recipe))["memory"]
    room, place = _room(device)
    return Taken(device, int(memory["resident_bytes"]), room, place)


def _room(device: str) -> tuple[int | None, str]:
    from tunesmith.machine import memory_bytes

    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[1]), str(torch.cuda.get_device_name())
    return memory_bytes(), HERE


def main() -> int:
    """The process."""
    asked = json.load(sys.stdin)
    json.dump(vars(least_of(asked["recipe"], asked["device"])), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
