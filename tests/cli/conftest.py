"""A desk: a folder with a tiny model, rows and recipes, and the command line called in this process."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

WORDS = [f"w{i}" for i in range(60)]
STAGES = [{"train": "head", "epochs": 2, "lr": 3e-2}, {"train": {"top": 1}, "epochs": 1, "lr": 3e-3}]
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "COLUMNS": "80", "TOKENIZERS_PARALLELISM": "false"}


def write_model(folder: Path) -> Path:
    """A BERT of two layers with random weights, and a tokenizer of whole words."""
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
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    # A random encoder tells words apart only where its weights are not tiny.
    config = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=64, initializer_range=0.3, **size)
    BertModel(config).save_pretrained(folder)
    return folder


def make_rows(number: int, seed: int = 1) -> list[dict[str, Any]]:
    """Texts of 3 to 16 words whose label is told by which words are frequent."""
    rng = random.Random(seed)
    pools = {"no": WORDS[25:], "yes": WORDS[:35]}
    return [
        {"text": " ".join(rng.choice(pools[label]) for _ in range(rng.randint(3, 16))), "label": label}
        for label in ("no", "yes") * (number // 2)
    ]


@dataclass(frozen=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def error(self) -> tuple[str, str, str]:
        """The error that ended the command: what, where and fix."""
        assert "Traceback" not in self.err + self.out
        assert "error: " in self.err, self.err
        lines = self.err[self.err.rindex("error: ") :].splitlines()
        what = lines[0].removeprefix("error: ")
        where = next((line.removeprefix("  --> ") for line in lines if line.startswith("  --> ")), "")
        fix = next((line.removeprefix("  fix: ") for line in lines if line.startswith("  fix: ")), "")
        assert what
        assert fix, self.err
        return what, where, fix


@dataclass
class Desk:
    """A folder to work in, and the command line."""

    folder: Path
    model: Path
    capture: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def __call__(self, *words: object) -> Said:
        """``tunesmith WORDS``, in this process."""
        from tunesmith.cli import main

        self.capture.readouterr()
        self.monkeypatch.setattr("sys.argv", ["tunesmith", *map(str, words)])
        with pytest.raises(SystemExit) as done:
            main()
        said = self.capture.readouterr()
        code = done.value.code
        assert isinstance(code, int)
        return Said(code, said.out, said.err)

    def write(self, name: str, content: str | bytes | Iterable[Mapping[str, Any]]) -> Path:
        """A file; mappings become JSON lines."""
        path = self.folder / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
        return path

    def rows(self, number: int, seed: int = 1) -> list[dict[str, Any]]:
        """Rows with a text and the label no or yes."""
        return make_rows(number, seed)

    def recipe(self, name: str = "recipe.yaml", **sections: Any) -> Path:
        """A recipe that is right but for what is given."""
        if not (self.folder / "rows.jsonl").exists():
            self.write("rows.jsonl", make_rows(80))
        values = {
            "task": "text-classification",
            "model": str(self.model),
            "stages": STAGES,
            "batch": {"rows": 8},
            **sections,
            "data": {"train": "rows.jsonl", **sections.get("data", {})},
        }
        return self.write(name, yaml.safe_dump(values, allow_unicode=True))

    def train_says(self, rows: str | bytes | Iterable[Mapping[str, Any]], name: str = "bad.csv", **data: Any) -> Said:
        """``tunesmith train`` on rows."""
        self.write(name, rows)
        return self("train", self.recipe(data={"train": name, **data}))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def desk(tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    for name, value in (ENVIRONMENT | {"TUNESMITH_CACHE": str(tmp_path / "cache")}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path, tiny_model, capsys, monkeypatch)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A folder with rows.jsonl, recipe.yaml and the finished run runs/recipe. Read it, and write nothing into it."""
    from tunesmith.tune import fine_tune

    folder, before = tmp_path_factory.mktemp("finished"), Path.cwd()
    with pytest.MonkeyPatch.context() as patch, pytest.MonkeyPatch.context() as place:
        for name, value in (ENVIRONMENT | {"TUNESMITH_CACHE": str(folder / "cache")}).items():
            patch.setenv(name, value)
        place.chdir(folder)
        capture: Any = None
        fine_tune(Desk(folder, tiny_model, capture, patch).recipe())
    assert Path.cwd() == before
    assert [run.name for run in (folder / "runs").iterdir()] == ["recipe"]
    return folder
