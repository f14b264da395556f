"""Speech to text by CTC, on drawn sound and small random encoders of the real families."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.fixtures import sounds
from tests.speech.small_runs import DRAWN, broken, listener, losses, recipe_of, rows_of, weights
from tunesmith import fine_tune
from tunesmith.model.frame_labels import frames_of
from tunesmith.predict import predict
from tunesmith.prove import load_model, load_task
from tunesmith.registry import find_task

STILL = {
    f"{name}_dropout": 0.0 for name in ("hidden", "attention", "activation", "feat_proj", "final")
} | {"layerdrop": 0.0}  # fmt: skip
EARS = {"conv_dim": (64,) * 3, "conv_kernel": (80, 8, 4), "conv_stride": (20, 4, 4)}
"""Convolutions whose first filters are as long as a period of what tells the drawn letters apart; frames of 20 ms."""


@pytest.mark.heavy
@pytest.mark.parametrize("family", ["wav2vec2", "hubert", "wavlm"])
def test_a_random_recognizer_learns_twenty_clips_by_heart(tmp_path: Path, family: str) -> None:
    """From the empty transcripts that CTC begins with to the right ones, then out through plain transformers."""
    for place in ("data", "same"):
        rows_of(tmp_path / place, voices=1)
    model = listener(
        tmp_path / "model", family, hidden_size=64, num_hidden_layers=2, intermediate_size=128, **STILL, **EARS
    )
    recipe = recipe_of(
        tmp_path, "speech-ctc", model, tmp_path / "data", tmp_path / "same", rows=4,
        accept=f"{DRAWN}, audio-in-both-splits: on purpose, leak: on purpose, too-short: drawn",
        more=["stages: [{train: all, epochs: 90, lr: 2e-3}]"],
    )  # fmt: skip
    run = fine_tune(recipe)
    assert broken(run) == []
    scores = run.read_json("scores.json")
    assert (scores["base"], scores["rows"]) == (1.0, 20)
    assert scores["tuned"] <= 0.1, losses(run)[::20]

    from transformers import AutoModelForCTC, AutoProcessor

    theirs = AutoModelForCTC.from_pretrained(run.model).eval()
    processor = AutoProcessor.from_pretrained(run.model)
    task = load_task(run)
    task.folders = (tmp_path / "data",)
    ours = load_model(run, task).eval()
    row = {"id": "a", "audio": "clip-03.wav", "text": "x"}
    said = task.predict(ours, task.collate([task.encode(row)]))[0]["text"]
    with torch.no_grad():
        logits = theirs(**processor(task.wave(row), sampling_rate=16_000, return_tensors="pt")).logits
    assert processor.batch_decode(logits.argmax(-1))[0] == said != ""
    found = predict(run, [str(tmp_path / "data" / "clip-03.wav")], out=tmp_path / "out")
    assert found[0]["prediction"]["text"] == said


def test_a_row_says_the_same_alone_and_beside_longer_ones(tmp_path: Path) -> None:
    """Group norm over what fills a row up would change it."""
    source = weights(listener(tmp_path / "model"))
    kind = find_task("speech-ctc")
    rows = []
    for i, text in enumerate(("sun", "moon rain tree hill")):
        sounds.spoken(tmp_path / f"{i}.wav", text)
        rows.append({"id": str(i), "audio": str(tmp_path / f"{i}.wav"), "text": text})
    task = kind(kind.Options(), source)
    task.facts = task.survey(rows)
    model = task.load().eval()
    examples = [task.encode(row) for row in rows]
    with torch.no_grad():
        alone = task.loss(model, task.collate(examples[:1]))["characters"]
        other = task.loss(model, task.collate(examples[1:]))["characters"]
        both = task.loss(model, task.collate(examples))["characters"]
        theirs = type(model)(model.config).eval()
        theirs.load_state_dict(model.state_dict())
        out = theirs(examples[0]["wave"][None], labels=examples[0]["labels"][None])
    assert float(both) == pytest.approx(float(alone + other), rel=1e-5)
    frames = frames_of(task.config, len(examples[0]["wave"]))
    assert out.logits.shape[1] == frames
    wanted = torch.nn.functional.ctc_loss(
        out.logits.log_softmax(-1).transpose(0, 1), examples[0]["labels"], torch.tensor([frames]), torch.tensor([3]),
        reduction="sum",
    )  # fmt: skip
    assert float(alone) == pytest.approx(float(wanted), rel=1e-4)


def test_characters_come_from_the_transcripts(tmp_path: Path) -> None:
    source = weights(listener(tmp_path / "model"))
    kind = find_task("speech-ctc")
    rows = [{"id": "a", "audio": "a.wav", "text": "Don't STOP, please!"}, {"id": "b", "audio": "b", "text": "çà | va"}]
    task = kind(kind.Options(), source)
    assert task.written(rows[0]["text"]) == "don't stop please"
    found = task.survey(rows).values["vocabulary"]
    assert found[:3] == ["<pad>", "|", "<unk>"]
    assert set(found[3:]) == set("don'tsoppleaseçàva")
    kept = kind(kind.Options(case="keep", punctuation="keep"), source)
    assert kept.written(rows[0]["text"]) == "Don't STOP, please!"
