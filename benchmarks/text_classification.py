"""Text classification beside the Hugging Face ``Trainer``, and how long the light commands take.

    python benchmarks/text_classification.py [--quick] [--json] [--cases head,top2,all,help,plan]

Both sides start from the same class (``AutoModelForSequenceClassification`` on MiniLM-L6) with the same weights, and
train the same parameters on the same rows with the same batch size, rate, schedule, weight decay, clipping and epochs,
in fp32 on the CPU. Outside the clock on both sides: reading and tokenizing rows, loading the model. Inside it, ours:
the whole loop, that is recording the activation cache into an empty folder, rehearsal, every step with its event on
disk, scoring the held-out rows and the checkpoint at the end of the stage. The peer: ``Trainer.train()`` on rows
tokenized in advance, dynamic padding, no evaluation, no saving, no logging, no progress bar.

One difference stands: dropout inside the attention kernel is off with us (it can't be drawn by row) and on with the
peer, as the model's configuration says; every other dropout is the same on both sides.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from benchmarks.harness import Case, against, command, in_turn, seconds_of, within

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "examples" / "sentiment" / "sentiment.csv"
RECIPE = ROOT / "recipes" / "text-classification.yaml"
HELD_OUT = 64
BATCH = 32
VERSIONS = ("torch", "transformers", "accelerate", "tokenizers", "numpy")
NOTE = (
    "attention dropout: off with ours, as configured with the peer; held-out rows scored and a checkpoint "
    "written with ours only"
)


@dataclass(frozen=True)
class Work:
    """One stage to train: what learns, on how many rows, how long."""

    train: Any
    rows: int
    epochs: int
    lr: float
    cache: str = "auto"


@contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder, which is the cache folder, too, while the context lasts."""
    folder = Path(tempfile.mkdtemp(prefix="benchmark-"))
    before = os.environ.get("TUNESMITH_CACHE")
    os.environ["TUNESMITH_CACHE"] = str(folder / "cache")
    try:
        yield folder
    finally:
        if before is None:
            del os.environ["TUNESMITH_CACHE"]
        else:
            os.environ["TUNESMITH_CACHE"] = before
        shutil.rmtree(folder)


def prepared(work: Work, folder: Path) -> Any:
    """Rows, facts and weights of the work, ready to train."""
    from tunesmith.data.source import read_rows
    from tunesmith.prepare import prepare
    from tunesmith.recipe import read_recipe

    rows = list(read_rows(str(DATA)))
    recipe = {
        "task": "text-classification",
        "model": "starter:minilm-l6",
        "data": {"train": str(DATA), "validation": 0.0},
        "stages": [{"train": work.train, "epochs": work.epochs, "lr": work.lr}],
        "batch": {"rows": BATCH, "micro": BATCH},
        "engine": {"device": "cpu", "precision": "fp32"},
        "cache": {"use": work.cache},
        "options": {"pooling": "model"},
        "run": {"folder": str(folder / "runs"), "name": "ours"},
    }
    file = folder / "recipe.yaml"
    file.write_text(json.dumps(recipe), encoding="utf-8")
    ready = prepare(read_recipe(file), rows=rows[: work.rows], held_out=rows[work.rows : work.rows + HELD_OUT])
    ready.raise_errors()
    return ready


def ours(work: Work, folder: Path) -> tuple[float, list[float], Any]:
    """Train with our loop: seconds, the loss of every step, and the loop."""
    from tunesmith.journey import loop_of
    from tunesmith.plan import make_plan
    from tunesmith.run import Run
    from tunesmith.train.signals import StopRequest
    from tunesmith.train.watch import Explosion

    shutil.rmtree(folder / "cache" / "activations", ignore_errors=True)
    shutil.rmtree(folder / "runs", ignore_errors=True)
    ready = prepared(work, folder)
    run = Run.open(folder / "runs" / "ours", create=True)
    losses: list[float] = []

    def emit(event: dict[str, Any]) -> None:
        run.append_event(event)
        if event["kind"] == "step":
            losses.append(event["loss"])

    plan = make_plan(ready)
    loop = loop_of(ready, plan, StopRequest(), checkpoints=run.checkpoints, watchers=[Explosion()], emit=emit)
    for loader in loop.job.sets.values():
        assert len(loader.lengths) == len(loader)
    gc.collect()
    seconds = seconds_of(loop.fit)
    run.close()
    return seconds, losses, loop


def peer(work: Work, folder: Path, loop: Any) -> float:
    """Train with ``Trainer``: the same rows, the same learning parameters; seconds.

    Args:
        work: The stage.
        folder: Where ``Trainer`` may write.
        loop: Ours after its stage: its job says which rows, which tokens and which parameters.
    """
    from transformers import DataCollatorWithPadding, PrinterCallback, Trainer, TrainingArguments, logging

    logging.set_verbosity_error()
    job = loop.job
    learning = {name for name, parameter in job.model.named_parameters() if parameter.requires_grad}
    model = job.task.load()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in learning)
    train = job.sets["train"]
    examples = [train.example(i) for i in range(len(train))]
    rows = [{"input_ids": e["input_ids"].tolist(), "labels": int(e["label"])} for e in examples]
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        num_train_epochs=work.epochs,
        per_device_train_batch_size=BATCH,
        learning_rate=work.lr,
        lr_scheduler_type="cosine",
        warmup_steps=0.06,
        weight_decay=0.01,
        max_grad_norm=1.0,
        use_cpu=True,
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
    )
    with warnings.catch_warnings():
        # Its warnings (pinned memory without a GPU) are its own affair.
        warnings.simplefilter("ignore")
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=rows,
            data_collator=DataCollatorWithPadding(job.task.tokenizer),
        )
        # It would print its closing line into our JSON.
        trainer.remove_callback(PrinterCallback)
        gc.collect()
        return seconds_of(trainer.train)


def side_by_side(case: str, work: Work, rounds: int, goal: float) -> dict[str, Any]:
    """Ours, peer, ours, peer ...: one row. A short run of both goes before, so that neither pays for first use."""
    from tunesmith.machine import package_versions

    with scratch() as folder:
        last: list[Any] = []

        def we() -> float:
            seconds, _, loop = ours(work, folder)
            last[:] = [loop]
            return seconds

        warm = Work(work.train, BATCH, 1, work.lr)
        peer(warm, folder, ours(warm, folder)[2])
        mine, theirs = in_turn(rounds, we, lambda: peer(work, folder, last[0]))
        decision = last[0].decisions[0].reason
    size = {"rows": work.rows, "epochs": work.epochs, "batch": BATCH, "cache": decision}
    name = f"transformers Trainer {package_versions(['transformers'])['transformers']}"
    return against(case, mine, theirs, peer_name=name, goal=goal, size=size, note=NOTE)


def head(quick: bool) -> list[dict[str, Any]]:
    """Only the head learns, on a frozen backbone; and the losses with the cache beside those without."""
    work = Work("head", 192 if quick else 2000, 4 if quick else 10, 1e-3)
    row = side_by_side("head", work, 1 if quick else 2, goal=8.0)
    return [row, same_losses(Work("head", 96 if quick else 1000, 2 if quick else 3, 1e-3))]


def same_losses(work: Work) -> dict[str, Any]:
    """Largest difference between a step's loss with the cache and without it."""
    with scratch() as folder:
        _, cached, loop = ours(work, folder)
        assert loop.decisions[0].use, "the cache was not used, so there is nothing to compare"
        _, plain, _ = ours(Work(work.train, work.rows, work.epochs, work.lr, cache="off"), folder)
    largest = max(abs(a - b) for a, b in zip(cached, plain, strict=True))
    size = {"rows": work.rows, "epochs": work.epochs, "steps": len(cached)}
    return within("head: loss, cache against none", [largest], unit="difference", goal=1e-5, size=size)


def top2(quick: bool) -> list[dict[str, Any]]:
    """The top two of six blocks learn with the head."""
    work = Work({"top": 2}, 128 if quick else 2000, 2 if quick else 10, 1e-4)
    return [side_by_side("top2", work, 1, goal=2.0)]


def everything(quick: bool) -> list[dict[str, Any]]:
    """All layers learn: nothing to cache."""
    work = Work("all", 96 if quick else 2000, 1 if quick else 2, 1e-4)
    return [side_by_side("all", work, 1 if quick else 2, goal=1.0)]


def spent(arguments: Sequence[str]) -> float:
    """Wall seconds of a ``tunesmith`` command in a process of its own.

    Raises:
        RuntimeError: The command failed: its seconds would mean nothing.
    """
    program = [sys.executable, "-m", "tunesmith", *arguments]
    done: list[subprocess.CompletedProcess[str]] = []
    seconds = seconds_of(
        lambda: done.append(subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False))
    )
    if done[0].returncode:
        raise RuntimeError(f"tunesmith {' '.join(arguments)} failed: {done[0].stderr}")
    return seconds


def command_seconds(case: str, arguments: Sequence[str], rounds: int, goal: float) -> list[dict[str, Any]]:
    """Median seconds of a command; once before outside the clock, so that the disk is warm."""
    spent(arguments)
    return [within(case, [spent(arguments) for _ in range(rounds)], unit="seconds", goal=goal)]


CASES: dict[str, Case] = {
    "head": head,
    "top2": top2,
    "all": everything,
    "help": lambda quick: command_seconds("tunesmith --help", ["--help"], 3 if quick else 5, 0.3),
    "plan": lambda quick: command_seconds("tunesmith plan", ["plan", str(RECIPE)], 1 if quick else 5, 5.0),
}

if __name__ == "__main__":
    command("text_classification", (__doc__ or "").splitlines()[0], CASES, VERSIONS)
