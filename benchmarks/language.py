"""Language models beside TRL, Trainer with peft and LLaMA-Factory: LoRA on SmolLM2-135M, time, memory and losses.

    python benchmarks/language.py [--quick] [--json] [--cases lora/trl-default,lora/trl-packing,...]

Every side runs in a process of its own (``language_sides.py`` says what is inside its clock), in turn. The rows are
questions and answers from ``examples/faq`` put together to uneven chats of up to 512 tokens; all sides learn the same
answers of the same rows with the same rank, rate and batch size. A `memory/...` row compares the most that the process
held above what its imports take; ratios above 1 mean that ours takes less.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import mean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.harness import Case, absent, against, command, within

ROOT = Path(__file__).resolve().parent.parent
FAQ = ROOT / "examples" / "faq" / "faq.jsonl"
SIDES = Path(__file__).with_name("language_sides.py")
VERSIONS = ("torch", "transformers", "accelerate", "peft", "trl", "datasets")
TOP_THIRD = 10
LONGEST_CHARACTERS = 1700
"""About 450 tokens: no chat is cut at 512 by any side."""
NOTE = "ours: the rehearsal, the held-out rows and the checkpoint at the end of the stage are inside its clock"


def chats(count: int) -> list[dict[str, Any]]:
    """Uneven chats: one to four questions at once, with their answers."""
    draw = random.Random(0)
    left = [json.loads(line)["messages"] for line in FAQ.read_text(encoding="utf-8").splitlines()]
    draw.shuffle(left)
    found: list[dict[str, Any]] = []
    while len(found) < count:
        size = draw.choice([1, 1, 1, 2, 2, 3, 4])
        parts = [left.pop() for _ in range(min(size, len(left)))]
        while sum(len(m["content"]) for part in parts for m in part) > LONGEST_CHARACTERS:
            left.insert(0, parts.pop())
        asked, said = ("\n\n".join(part[place]["content"] for part in parts) for place in (-2, -1))
        messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
        found.append({"id": str(len(found)), "messages": messages})
    return found


@contextmanager
def work(count: int) -> Iterator[Path]:
    """A file of chats."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as place:
        file = Path(place) / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in chats(count)), encoding="utf-8")
        yield file


def side(name: str, rows: Path, epochs: int, *more: str) -> dict[str, Any]:
    """Run one side.

    Raises:
        RuntimeError: It failed; the message is the end of what it said.
    """
    from tunesmith.model.starter import locate

    model = str(locate("smollm2-135m").folder)
    order = [sys.executable, str(SIDES), name, "--rows", str(rows), "--model", model, "--epochs", str(epochs), *more]
    done = subprocess.run(order, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} failed: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def beside(peer: str, name: str, goal: float, goal_memory: float | None) -> Case:
    """A case against one peer: time, memory and losses."""

    def case(quick: bool) -> list[dict[str, Any]]:
        missing = [package for package in ("trl", "peft", "datasets") if find_spec(package) is None]
        if missing:
            reason = f"{missing[0]} is not installed: pip install -e '.[peers]'"
            return [absent(f"lora/{peer}", peer_name=name, reason=reason, goal=goal)]
        count, epochs = (8, 1) if quick else (64, 2)
        with work(count) as rows:
            mine, theirs = side("ours", rows, epochs), side(peer, rows, epochs)
        size = {"rows": count, "epochs": epochs, "tokens": mine["tokens"], "trained": int(mine["trained"])}
        more = {"size": size, "note": NOTE}
        rates = {who: round(one["tokens"] / one["seconds"], 1) for who, one in (("ours", mine), ("peer", theirs))}
        apart = abs(mean(mine["losses"]) - mean(theirs["losses"])) / mean(theirs["losses"])
        peaks = ([mine["peak_bytes"] / 2**20], [theirs["peak_bytes"] / 2**20])
        return [
            against(
                f"lora/{peer}", [mine["seconds"]], [theirs["seconds"]], peer_name=name, goal=goal,
                tokens_per_second=rates, **more,
            ),
            against(f"memory/{peer}", *peaks, peer_name=name, goal=goal_memory, unit="MiB", **more),
            within(f"loss/{peer}", [apart], unit="difference", goal=0.03, **more),
        ]  # fmt: skip

    return case


def llamafactory(quick: bool) -> list[dict[str, Any]]:
    """LLaMA-Factory, where it can be had."""
    reason = (
        "it wants torchvision and torchaudio, whose wheels do not load beside a CPU build of torch"
        if find_spec("llamafactory") is None
        else "it is installed, but this benchmark has no side for its command line yet"
    )
    return [absent("lora/llamafactory", peer_name="LLaMA-Factory", reason=reason, goal=4.0)]


def top_third(quick: bool) -> list[dict[str, Any]]:
    """LoRA on the top third: recorded below it against computed again every epoch."""
    count, epochs = (8, 2) if quick else (64, 5)
    top = ("--top", str(TOP_THIRD))
    with work(count) as rows:
        cached = side("ours", rows, epochs, *top, "--cache", "on")
        plain = side("ours", rows, epochs, *top)
    each = len(cached["losses"]) // epochs
    largest = max(
        abs(mean(cached["losses"][i : i + each]) - mean(plain["losses"][i : i + each]))
        for i in range(0, len(cached["losses"]), each)
    )
    size = {"rows": count, "epochs": epochs, "tokens": cached["tokens"], "cache": cached["cache"]["reason"]}
    return [
        against(
            "cache/top-third", [cached["seconds"]], [plain["seconds"]], peer_name="ours without the cache", goal=1.4,
            size=size,
        ),
        within("cache/top-third: loss of an epoch", [largest], unit="difference", goal=5e-4, size=size),
        against(
            "memory/top-third", [cached["peak_bytes"] / 2**20], [plain["peak_bytes"] / 2**20],
            peer_name="ours without the cache", goal=None, unit="MiB", size=size,
        ),
    ]  # fmt: skip


def on_gpu(quick: bool) -> list[dict[str, Any]]:
    """The shapes of 7, 8 and 40 billion parameters, where a GPU is at hand."""
    from benchmarks.language_gpu import rows

    return rows(quick)


CASES: dict[str, Case] = {
    "lora/trl-default": beside("trl-default", "TRL SFTTrainer, its defaults", 4.0, 1 / 0.6),
    "lora/trl-packing": beside("trl-packing", "TRL SFTTrainer, packing", 2.0, None),
    "lora/hf-bf16": beside("hf-bf16", "transformers Trainer + peft, bf16 autocast", 2.0, None),
    "lora/llamafactory": llamafactory,
    "cache/top-third": top_third,
    "gpu": on_gpu,
}

if __name__ == "__main__":
    command("language", (__doc__ or "").splitlines()[0], CASES, VERSIONS)
