"""A tuned Whisper for other programs writes there what it writes here, of the same part of a recording, or is refused.

The programs are the real ones, and so is the model: where the letters of a random one lie close, programs that round
otherwise write others.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.fixtures.sounds import RATE, save, sentences, speechlike, write_rows
from tests.speech.small_runs import DRAWN, recipe_of
from tunesmith import fine_tune
from tunesmith.errors import UserError
from tunesmith.export import export
from tunesmith.model import whisper_ct2, whisper_ggml, whisper_runtimes
from tunesmith.prove import load_model, load_task

FORMATS = [("ctranslate2", "elsewhere", "ct2"), ("ggml", "elsewhere.bin", "ggml")]


def parts_of(folder: Path, first: int, count: int) -> Path:
    """Rows that are parts of one recording."""
    pieces, rows, at = [], [], 0.0
    for text in sentences(first + count, words=3)[first:]:
        wave = speechlike(text, seed=first)
        rows.append({"audio": "whole.wav", "text": text, "start": at, "end": round(at + len(wave) / RATE, 6)})
        pieces.append(wave)
        at = rows[-1]["end"]
    save(folder / "whole.wav", np.concatenate(pieces))
    return write_rows(folder / "rows.jsonl", rows)


def run_of(folder: Path, model: Path | str) -> Any:
    """A run whose held-out rows are five parts of one recording."""
    recipe = recipe_of(
        folder, "speech-to-text", model, parts_of(folder / "train", 0, 8), parts_of(folder / "eval", 8, 5),
        accept=f"{DRAWN}, too-short: drawn", more=["stages: [{train: {top: 1}, epochs: 1, lr: 1e-5}]"],
    )  # fmt: skip
    return fine_tune(recipe)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run_of(tmp_path_factory.mktemp("trained"), "starter:whisper-base")


@pytest.fixture
def tuned(short: str, request: pytest.FixtureRequest) -> Any:
    """The run for a program."""
    pytest.importorskip("ctranslate2" if short == "ct2" else "pywhispercpp")
    return request.getfixturevalue("trained")


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many samples each program is given, while it does its work."""
    lengths: list[int] = []
    for _, _, short in FORMATS:
        real = getattr(whisper_runtimes, f"transcribe_{short}")

        def listening(place: Path, waves: Any, *given: Any, real: Any = real, **more: Any) -> Any:
            lengths.extend(len(wave) for wave in waves)
            return real(place, waves, *given, **more)

        monkeypatch.setattr(whisper_runtimes, f"transcribe_{short}", listening)
    return lengths


@pytest.mark.heavy
@pytest.mark.parametrize(("format", "name", "short"), FORMATS)
def test_an_exported_whisper_writes_the_same(
    format: str, name: str, short: str, tuned: Any, heard: list[int], tmp_path: Path
) -> None:
    made = export(tuned, tmp_path / name, format=format)
    assert made.measured["verified"]["recordings"] == 5  # type: ignore[union-attr]
    assert len(heard) == 5
    assert (tmp_path / name).exists()


@pytest.mark.heavy
@pytest.mark.parametrize(("format", "name", "short"), FORMATS)
@pytest.mark.parametrize("program", [True, False], ids=["weights", "texts"])
def test_an_export_that_writes_otherwise_is_refused_and_gone(
    format: str, name: str, short: str, program: bool, tuned: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that went wrong on their way, heard by the program itself; and a program that writes something else."""
    if program:
        module = {"ct2": whisper_ct2, "ggml": whisper_ggml}[short]
        write = getattr(module, f"write_{short}")

        def wrong(model: Any, *given: Any) -> Any:
            other = copy.deepcopy(model)
            with torch.no_grad():
                other.model.decoder.layers[0].fc1.weight.neg_()
            return write(other, *given)

        monkeypatch.setattr(module, f"write_{short}", wrong)
    else:
        monkeypatch.setattr(
            whisper_runtimes, f"transcribe_{short}", lambda _place, waves, *_given, **_more: ["no"] * len(waves)
        )
    with pytest.raises(UserError, match="of 5 recordings are written otherwise") as fault:
        export(tuned, tmp_path / name, format=format)
    assert fault.value.where.startswith("row ")
    assert "in the other format" in fault.value.fix
    assert not list(tmp_path.iterdir())


@pytest.mark.heavy
@pytest.mark.parametrize(("format", "name", "short"), FORMATS[:1])
def test_a_part_of_a_recording_is_what_both_are_heard_on(
    format: str, name: str, short: str, tuned: Any, heard: list[int], tmp_path: Path
) -> None:
    task = load_task(tuned)
    task.folders = (Path(tuned.folder).parents[1] / "eval",)
    rows = [{"id": str(n), "audio": "whole.wav", "start": 0.5 * n, "end": 0.5 * n + 1} for n in range(3)]
    found = task.export(format, load_model(tuned, task), rows, tmp_path / name)
    assert found["verified"]["recordings"] == 3
    assert heard == [RATE] * 3


@pytest.mark.heavy
@pytest.mark.parametrize(("format", "name", "short"), FORMATS[:1])
def test_the_parts_of_a_run_are_what_its_export_is_held_against(
    format: str, name: str, short: str, tuned: Any, heard: list[int], tmp_path: Path
) -> None:
    export(tuned, tmp_path / name, format=format)
    assert sorted(heard) == sorted(len(speechlike(text, seed=8)) for text in sentences(13, words=3)[8:])
