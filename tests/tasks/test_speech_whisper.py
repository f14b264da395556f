"""Speech to text by Whisper, on drawn sound and small random Whispers with a vocabulary of the real size."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.fixtures import sounds
from tests.speech.small_runs import DRAWN, broken, losses, recipe_of, rows_of, tuned, weights, whisper, words
from tunesmith import fine_tune
from tunesmith.predict import predict
from tunesmith.prove import load_model, load_task
from tunesmith.registry import find_task


@pytest.mark.heavy
def test_a_whisper_learns_in_stages_and_loads_in_transformers(tmp_path: Path) -> None:
    run = tuned(
        "speech-to-text",
        tmp_path,
        whisper(tmp_path / "model"),
        "stages=[{train: {top: 2}, epochs: 8, lr: 2e-2}, {train: {top: 3}, epochs: 2, lr: 1e-3}]",
        "cache.use=on",
        options="{language: en, also_under: [{preset: call-center, snr: 5}]}",
    )
    assert broken(run) == []
    # The vectors of 51,865 tokens stay: only what their decoder says of them learns.
    assert np.mean(losses(run)[-2:]) < 0.99 * np.mean(losses(run)[:2])
    caches = [event for event in run.read_events()[0] if event["kind"] == "cache"]
    assert [event["boundary"] for event in caches] == ["model.encoder", "model.encoder.layers.0"]
    scores = run.read_json("scores.json")
    assert scores["metric"] == "wer_normalized"
    assert set(scores["probes"]) == {"call-center at 5 dB"}
    assert scores["probes"]["call-center at 5 dB"]["rows"] == scores["rows"] == 4
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "<audio controls" in page
    assert "All rates" in page

    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    theirs = WhisperForConditionalGeneration.from_pretrained(run.model).eval()
    processor = WhisperProcessor.from_pretrained(run.model)
    task = load_task(run)
    task.folders = (tmp_path / "data",)
    ours = load_model(run, task).eval()
    row = {"id": "a", "audio": "clip-00.wav", "text": "x"}
    said = task.predict(ours, task.collate([task.encode(row)]))[0]["text"]
    inputs = processor(task.wave(row), sampling_rate=16_000, return_tensors="pt")
    most = task.facts.values["max_new_tokens"]
    told = theirs.generate(inputs.input_features, max_new_tokens=most)
    assert processor.batch_decode(told, skip_special_tokens=True)[0].strip() == said
    assert len(processor.tokenizer) == len(words())


@pytest.mark.heavy
def test_without_stages_the_decoder_learns_first_and_then_the_top_of_the_encoder_with_it(tmp_path: Path) -> None:
    """The encoder is heard once for each stage, and what lies below it never moves."""
    from safetensors.torch import load_file

    model = whisper(tmp_path / "model", encoder_layers=3)
    run = tuned("speech-to-text", tmp_path, model, "cache.use=on", "batch.rows=16")
    assert broken(run) == []
    stages = run.read_json("plan.json")["stages"]
    assert [(one["train"], one["epochs"]) for one in stages] == [({"top": 2}, 5), ({"top": 3}, 2)]
    caches = [event["boundary"] for event in run.read_events()[0] if event["kind"] == "cache"]
    assert caches == ["model.encoder", "model.encoder.layers.1"]
    before, after = load_file(model / "model.safetensors"), load_file(run.model / "model.safetensors")
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    parts = [f"model.encoder.layers.{n}." for n in range(3)] + ["model.encoder.conv", "model.decoder.layers."]
    assert [any(name.startswith(part) for name in moved) for part in parts] == [False, False, True, False, True]
    assert not any("embed_tokens" in name or "embed_positions" in name for name in moved)


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft asks for it
def test_an_adapter_learns_in_both_halves_and_peft_loads_it(tmp_path: Path) -> None:
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    model = whisper(tmp_path / "model", unbound=True)
    adapter = ("adapter.kind=lora", "adapter.r=4", "stages=[{train: adapter, epochs: 4, lr: 2e-2}]")
    run = tuned("speech-to-text", tmp_path, model, *adapter)
    assert broken(run) == []
    assert np.mean(losses(run)[-2:]) < 0.99 * np.mean(losses(run)[:2])
    names = list(load_file(run.model / "adapter_model.safetensors"))
    assert all(".lora_" in name for name in names)
    assert {half for half in ("encoder", "decoder") for name in names if f".{half}.layers." in name} == {
        "encoder", "decoder",
    }  # fmt: skip

    base = WhisperForConditionalGeneration.from_pretrained(model).eval()
    task = load_task(run)
    task.folders = (tmp_path / "data",)
    ours = load_model(run, task).eval()
    row = {"id": "a", "audio": "clip-00.wav", "text": "sun rain"}
    batch = task.collate([task.encode(row)])
    with torch.no_grad():
        plain = base(batch["features"], decoder_input_ids=batch["tokens"]).logits
        theirs = PeftModel.from_pretrained(base, run.model).eval()
        told = theirs(input_features=batch["features"], decoder_input_ids=batch["tokens"]).logits
        mine = ours(batch["features"], decoder_input_ids=batch["tokens"]).logits
    torch.testing.assert_close(told, mine, atol=1e-4, rtol=1e-4)
    assert float((told - plain).abs().max()) > 0.1
    processor = WhisperProcessor.from_pretrained(run.model)
    inputs = processor(task.wave(row), sampling_rate=16_000, return_tensors="pt")
    written = theirs.generate(
        input_features=inputs.input_features, language="en", task="transcribe",
        max_new_tokens=task.facts.values["max_new_tokens"],
    )  # fmt: skip
    said = processor.batch_decode(written, skip_special_tokens=True)[0].strip()
    assert said == task.predict(ours, batch)[0]["text"]


def test_a_sample_shows_one_start_token_and_what_is_learned(tmp_path: Path) -> None:
    source = weights(whisper(tmp_path / "model"))
    kind = find_task("speech-to-text")
    sounds.spoken(tmp_path / "a.wav", "sun rain")
    row = {"id": "a", "audio": str(tmp_path / "a.wav"), "text": "sun  rain", "seconds": 1.2}
    for share in (0.0, 1.0):
        task = kind(kind.Options(language="en", timestamps=share), source)
        task.facts = task.survey([row])
        (prefix, read), (text, learned) = task.preview([row])[0].spans
        assert (read, learned) == (False, True)
        times = "" if share else "<|notimestamps|>"
        assert prefix == f"<|startoftranscript|><|en|><|transcribe|>{times}"
        assert text.replace("<|0.00|>", "").endswith("<|endoftext|>")
        assert (text.startswith("<|0.00|>"), " sun rain" in text) == (bool(share), True)
        example = task.encode(row)
        start = words().get_vocab()["<|startoftranscript|>"]
        assert example["tokens"].tolist().count(start) == 1
        assert len(example["tokens"]) == len(example["targets"])
        learned_tokens = [t for t in example["targets"].tolist() if t >= 0]
        assert learned_tokens[-1] == words().eos_token_id
        assert words().decode(learned_tokens, skip_special_tokens=True).strip() == "sun rain"


def test_a_share_of_rows_is_learned_with_times_without_any_augmentation(tmp_path: Path) -> None:
    source = weights(whisper(tmp_path / "model"))
    kind = find_task("speech-to-text")
    task = kind(kind.Options(language="en", timestamps=0.5), source)
    sounds.spoken(tmp_path / "a.wav", "sun rain")
    first, timed = words().get_vocab()["<|0.00|>"], 0
    for i in range(60):
        row = {"id": f"row {i}", "audio": str(tmp_path / "a.wav"), "text": "sun rain"}
        example = task.encode(row)
        assert task.row_length(row) == len(example["tokens"])
        timed += first in example["tokens"].tolist()
    assert 15 < timed < 45


def test_the_summed_loss_is_that_of_transformers(tmp_path: Path) -> None:
    source = weights(whisper(tmp_path / "model"))
    kind = find_task("speech-to-text")
    task = kind(kind.Options(language="en"), source)
    rows = []
    for i, text in enumerate(("sun rain", "moon")):
        sounds.spoken(tmp_path / f"{i}.wav", text)
        rows.append({"id": str(i), "audio": str(tmp_path / f"{i}.wav"), "text": text})
    task.facts = task.survey(rows)
    model = task.load().eval()
    batch = task.collate([task.encode(row) for row in rows])
    counts = task.count(batch)
    with torch.no_grad():
        sums = task.loss(model, batch)
        logits = model(batch["features"], decoder_input_ids=batch["tokens"]).logits
    wanted = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).double(), batch["targets"].flatten(), reduction="sum"
    )
    assert float(sums["tokens"]) == pytest.approx(float(wanted), rel=1e-5)
    assert counts["tokens"] == int((batch["targets"] >= 0).sum())


def test_files_folders_and_long_recordings_are_transcribed_and_written(tmp_path: Path) -> None:
    run = tuned(
        "speech-to-text",
        tmp_path,
        whisper(tmp_path / "model"),
        "stages=[{train: {top: 1}, epochs: 1, lr: 1e-3}]",
    )
    long = np.concatenate([sounds.speechlike(text, seed=1) for text in sounds.sentences(40, words=3)])
    sounds.save(tmp_path / "long.wav", long)
    assert len(long) / 16_000 > 30
    found = predict(run, [str(tmp_path / "data"), str(tmp_path / "long.wav")], out=tmp_path / "out")
    assert len(found) == 21
    written = {file.name for file in (tmp_path / "out").rglob("*") if file.is_file()}
    assert {"clip-00.txt", "clip-00.srt", "clip-00.vtt", "clip-00.json", "long.vtt"} <= written
    whole = json.loads(next((tmp_path / "out").rglob("long.json")).read_text(encoding="utf-8"))
    times = [(part["start"], part["end"]) for part in whole["segments"]]
    assert all(a < b for a, b in times)
    assert all(b[0] >= a[0] for a, b in pairwise(times))
    assert next((tmp_path / "out").rglob("long.vtt")).read_text(encoding="utf-8").startswith("WEBVTT")


# A Whisper that knows twenty clips by heart


@pytest.fixture(scope="module")
def by_heart(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A run on twenty clips, half of them with times, until they are known; and the clips."""
    folder = tmp_path_factory.mktemp("by-heart")
    for place in ("data", "same"):
        rows_of(folder / place, voices=1)
    model = whisper(folder / "model", seconds=2, unbound=True, d_model=64, encoder_ffn_dim=128, decoder_ffn_dim=128)
    recipe = recipe_of(
        folder, "speech-to-text", model, folder / "data", folder / "same", rows=4,
        options="{language: en, timestamps: 0.5}",
        accept=f"{DRAWN}, audio-in-both-splits: on purpose, leak: on purpose",
        more=["stages: [{train: all, epochs: 64, lr: 3e-3}]"],
    )  # fmt: skip
    return fine_tune(recipe), folder / "data"


@pytest.mark.heavy
def test_times_survive_where_rows_with_times_are_mixed_in(by_heart: tuple[Any, Path]) -> None:
    """What was learned with times ends with its clip; what was learned without is right without. It is one model."""
    run, data = by_heart
    assert broken(run) == []
    task = load_task(run)
    task.folders = (data,)
    first = words().get_vocab()["<|0.00|>"]
    kept = [json.loads(line) for line in (run.folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    timed = [one for one in kept if first in task.encode({**one["row"], "id": one["id"]})["tokens"].tolist()]
    plain = [one for one in kept if one not in timed]
    assert min(len(timed), len(plain)) >= 5
    assert sum(one["tuned"]["text"] == one["row"]["text"] for one in plain) >= len(plain) - 1
    found = predict(run, [str(data / one["row"]["audio"]) for one in timed])
    right = 0
    for one, told in zip(timed, found, strict=True):
        text = one["row"]["text"]
        seconds = len(sounds.speechlike(text)) / 16_000
        parts = told["prediction"]["segments"]
        right += parts == [{"start": 0.0, "end": pytest.approx(seconds, abs=0.03), "text": text}]
    assert right >= len(timed) - 1


@pytest.mark.heavy
def test_a_wrong_transcript_is_told_by_what_the_model_hears(
    by_heart: tuple[Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tunesmith.cli import main

    run, data = by_heart
    lines = [json.loads(line) for line in (data / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    lines[7]["text"] = "nothing"
    rows = [{"id": f"r{n}", "audio": str(data / one["file_name"]), "text": one["text"]} for n, one in enumerate(lines)]
    source = sounds.write_rows(data / "planted.jsonl", rows)
    rows_of(tmp_path / "held", 4)
    for check, expected in (("true", True), ("false", False)):
        recipe = recipe_of(
            tmp_path, "speech-to-text", run.model, source, tmp_path / "held",
            options=f"{{language: en, check_transcripts: {check}}}",
            accept=f"{DRAWN}, leak: on purpose, audio-in-both-splits: on purpose",
        )  # fmt: skip
        monkeypatch.setattr("sys.argv", ["tunesmith", "audit", str(recipe), "--quick", "--json"])
        capsys.readouterr()
        with pytest.raises(SystemExit):
            main()
        out = json.loads(capsys.readouterr().out)
        wrong = [f for f in out["findings"] if f["code"] == "wrong-transcript" and f["where"] == "train"]
        assert bool(wrong) is expected
        if expected:
            assert wrong[0]["rows"][0] == "r7"
            assert "r7: 200%" in wrong[0]["what"]
            assert "listen to these" in wrong[0]["fix"]
