"""A tiny world (BERT-shaped folder, words with a pattern, rows) and a server that trains in it in real processes."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tunesmith.errors import UserError

WORDS = [f"w{i}" for i in range(60)]
STAGES = [
    {"train": "head", "epochs": 2, "lr": 3e-2},
    {"train": {"top": 2}, "epochs": 1, "lr": 3e-3, "layer_decay": 0.8},
    {"train": "all", "steps": 10, "lr": 3e-3},
]


def write_model(folder: Path, intermediate: int = 64) -> Path:
    """A BERT of four layers with random weights and dropout 0.1, and a tokenizer of whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **special).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=intermediate,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def make_rows(number: int, seed: int = 1) -> list[dict[str, str]]:
    """Texts of 3 to 16 words whose label is told by which words are frequent."""
    rng = random.Random(seed)
    rows = []
    for i in range(number):
        label = i % 2
        pool = WORDS[:33] if label else WORDS[27:]
        text = " ".join(rng.choice(pool) for _ in range(rng.randint(3, 16)))
        rows.append({"id": f"r{i}", "text": text, "label": "ab"[label]})
    return rows


@dataclass
class World:
    """One place for runs: a model, rows, recipes; and the means to train there."""

    root: Path
    model: Path
    server: Any = None
    numbers: Iterator[int] = field(default_factory=count)

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    def recipe(self, name: str = "recipe", *, rows: int = 120, stages: Sequence[Any] = STAGES, **sections: Any) -> Path:
        """Write a recipe, with its rows beside it."""
        file = self.root / f"rows-{rows}.csv"
        if not file.exists():
            with file.open("w", newline="") as stream:
                writer = csv.DictWriter(stream, ["id", "text", "label"])
                writer.writeheader()
                writer.writerows(make_rows(rows))
        values: dict[str, Any] = {
            "task": "text-classification",
            "model": str(self.model),
            "data": {"train": str(file), "validation": 0.2, **sections.pop("data", {})},
            "stages": list(stages),
            "batch": {"rows": 8, "eval_rows": 16, **sections.pop("batch", {})},
            "run": {"folder": str(self.runs), "checkpoint_steps": 3, **sections.pop("run", {})},
            **sections,
        }
        path = self.root / f"{name}.yaml"
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return path

    def train(self, recipe: Path, *settings: str, seconds: float = 120, **order: Any) -> tuple[int, str]:
        """``tunesmith train`` in a process; its exit code (negative: the signal) and everything it said."""
        process = self.start(recipe, *settings, **order)
        return process.wait(seconds), process.said()

    def start(self, recipe: Path, *settings: str, **order: Any) -> Process:
        out = self.root / f"out-{next(self.numbers)}.txt"
        order = {
            "do": "start",
            "args": ["train", str(recipe), *settings],
            "out": str(out),
            "env": {"TUNESMITH_CACHE": str(order.pop("cache", self.root / "cache"))} | order.pop("env", {}),
            "under": [str(self.runs), str(self.root / "cache")],
            **order,
        }
        return Process(self.server.ask(order), out, self.server)


@dataclass
class Process:
    pid: int
    out: Path
    server: Any

    def said(self) -> str:
        return self.out.read_text(encoding="utf-8", errors="replace")

    def wait(self, seconds: float = 120) -> int:
        code = self.server.ask({"do": "wait", "pid": self.pid, "seconds": seconds})
        if code is None:
            os.kill(self.pid, 9)
            self.server.ask({"do": "wait", "pid": self.pid, "seconds": 5})
            raise TimeoutError(f"still running after {seconds} s:\n{self.said()}")
        return int(code)

    def state(self) -> str:
        """The letter by which the kernel says what the process does: R, S, T (halted), Z (ended); none: it is gone."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return ""


class Server:
    """The forking server, spoken to in JSON lines."""

    def __init__(self) -> None:
        env = os.environ | {
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "COLUMNS": "200",
        }
        script = str(Path(__file__).with_name("server.py"))
        self.process = subprocess.Popen(
            [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )
        assert self.read() == "ready"

    def read(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, order: dict[str, Any]) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return self.read()

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.close()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def world(tmp_path: Path, tiny_model: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    return World(tmp_path, tiny_model, server)


def events_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "events.jsonl").read_text(encoding="utf-8").splitlines()]


def end_of(run: Path) -> dict[str, Any]:
    """Everything that must be equal, bit for bit, however a run came to its end."""
    events = events_of(run)
    steps = [e for e in events if e["kind"] == "step"]
    last = sorted((run / "checkpoints").glob("step-*"))[-1]
    state = json.loads((last / "state.json").read_text())
    files = [run / "model" / "model.safetensors", run / "scores.json", run / "predictions.jsonl"]
    files += [last / f"{part}.safetensors" for part in ("weights", "optimizer", "average")]
    return {
        "files": {f.name: f.read_bytes() for f in files if f.exists()},
        "steps": [e["step"] for e in steps],
        "losses": [e["loss"] for e in steps],
        "norms": [e["norm"] for e in steps],
        "rates": [e["lr"] for e in steps],
        "evals": [e["scores"] for e in events if e["kind"] == "eval"],
        "ends": [e["scores"] for e in events if e["kind"] == "stage" and e["event"] == "end"],
        "position": state["position"],
        "watchers": {name: kept for name, kept in state["watchers"].items() if name != "Progress"},
    }


def assert_same_end(first: Path, second: Path) -> None:
    """Two runs ended in the same bits, and the second logged every step once."""
    one, other = end_of(first), end_of(second)
    assert other["steps"] == list(range(1, len(one["steps"]) + 1))
    for part in one:
        if part != "files":
            assert other[part] == one[part], part
    assert other["files"].keys() == one["files"].keys()
    different = [name for name, data in one["files"].items() if other["files"][name] != data]
    assert different == []
    leftovers = [p for p in second.rglob(".*") if p.name != ".lock"]
    assert leftovers == []


def user_error(*args: Any, **kwargs: Any) -> UserError:
    from tunesmith.tune import fine_tune

    with pytest.raises(UserError) as caught:
        fine_tune(*args, **kwargs)
    return caught.value
