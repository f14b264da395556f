"""Models that write no text to messages, opened for asking: encoders, transcribers, classifiers, makers of pictures.

A run is opened as ``tunesmith predict`` opens it; a base as its task would load it before it learned anything. What is
held, and for how long, is decided elsewhere.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from tunesmith.model.weights import Weights
    from tunesmith.run import Run
    from tunesmith.task import Task
    from tunesmith.train.engine import Engine
    from tunesmith.types import Facts

DECODERS = ("causal-lm", "preference")
"""Tasks whose models answer messages."""
MOST_NEW_TOKENS = 440
"""Of a transcript by a Whisper that has no times; with times the task takes as many by itself."""
_ENGINES: dict[str, Engine] = {}
_ENGINES_LOCK = threading.Lock()


def task_of_run(run: Run) -> str:
    """The name of a run's task."""
    return str(run.read_json("recipe.json")["values"]["task"])


def task_of_base(source: Weights) -> str | None:
    """The name of the task that asks a base; None for a decoder, and for what answers nothing before it has learned.

    Args:
        source: The resolved weights.
    """
    from tunesmith.model.pretrained import load_config, saved_classes
    from tunesmith.model.sentence import POOLING_FILE

    folder = Path(source.folder)
    if (folder / "model_index.json").is_file():
        return "text-to-image"
    if (folder / POOLING_FILE).is_file():
        return "retrieval"
    if load_config(source).model_type == "whisper":
        return "speech-to-text"
    if any(name.endswith("ForCTC") for name in saved_classes(source)) and (folder / "vocab.json").is_file():
        return "speech-ctc"
    return None


def open_run(run: Run) -> tuple[Task, nn.Module]:
    """The task and the tuned model of a finished run, on the CPU, answering a person.

    Raises:
        UserError: It is not finished, or its files can't be read.
    """
    from tunesmith.predict import need_finished
    from tunesmith.prove import load_model, load_task

    need_finished(run)
    task: Task = load_task(run)
    task.for_person = True
    return task, load_model(run, task).eval()


def open_base(source: Weights) -> tuple[Task, nn.Module]:
    """The task and the model of a base, on the CPU, answering a person.

    Raises:
        UserError: It answers nothing before it has learned, or its files can't be read.
    """
    from tunesmith.registry import find_task

    name = task_of_base(source)
    if name is None:
        what = f"'{source.name}' answers nothing before it has learned"
        raise UserError(what, "--model", "train it, and serve the run: --run NAME=FOLDER")
    kind = find_task(name)
    options = {"max_new_tokens": MOST_NEW_TOKENS} if name == "speech-to-text" else {}
    task = kind(kind.Options.model_validate(options), source)
    task.facts = _untaught(task)
    task.for_person = task.trained = True
    return task, task.load().eval()


def _untaught(task: Task) -> Facts:
    """Facts of a task that has seen no data: what its weights say themselves."""
    from tunesmith.types import Facts

    if task.name in ("speech-to-text", "speech-ctc"):
        facts = task.survey([])
        if facts.values.get("vocabulary") and len(facts.values["vocabulary"]) <= len(("pad", "space", "unknown")):
            what = f"'{task.source.name}' writes no characters before it has learned some"
            raise UserError(what, "--model", "train it, and serve the run: --run NAME=FOLDER")
        # English stands there for a model of English alone; any other is told, or hears for itself.
        return facts
    if task.name == "retrieval":
        from tunesmith.model.pretrained import load_config
        from tunesmith.model.sentence_encoder import most_tokens

        folder = Path(task.source.folder)
        return Facts({"max_length": most_tokens(folder, task.tokenizer, load_config(task.source))})
    return Facts()


def engine_for(device: str) -> Engine:
    """The one engine of a device in this process.

    Making one changes what accelerate keeps for the whole process, so that threads must not make their own.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
    """
    from tunesmith.machine import pick_device
    from tunesmith.train.engine import LocalEngine

    picked = pick_device(device)
    with _ENGINES_LOCK:
        if picked not in _ENGINES:
            _ENGINES[picked] = LocalEngine(picked)
        return _ENGINES[picked]


def bytes_of(model: Any) -> int:
    """Memory of a model's weights and buffers."""
    found = {tensor.data_ptr(): tensor for tensor in (*model.parameters(), *model.buffers())}
    return sum(tensor.numel() * tensor.element_size() for tensor in found.values())
