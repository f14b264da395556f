"""The tasks on speech, on drawn sound and small models of the real architectures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.fixtures import small_whisper, sounds
from tunesmith import fine_tune
from tunesmith.check import CHECKS, check_task
from tunesmith.data.source import read_rows
from tunesmith.errors import UserError
from tunesmith.export import export
from tunesmith.model.frame_labels import frames_of
from tunesmith.model.log_mel import LogMel
from tunesmith.model.weights import resolve
from tunesmith.predict import predict
from tunesmith.prove import load_model, load_task
from tunesmith.recipe import ModelSection
from tunesmith.registry import find_task
from tunesmith.types import Row

SECONDS = 4
"""What the small Whispers hear at once."""


@pytest.fixture(scope="session")
def words() -> Any:
    return small_whisper.tokenizer_of()


def whisper(folder: Path, words: Any) -> Path:
    model = small_whisper.model_of(
        words, max_source_positions=50 * SECONDS, max_target_positions=64, init_std=0.02, d_model=32,
        encoder_ffn_dim=64, decoder_ffn_dim=64, decoder_layers=2, encoder_layers=2,
    )  # fmt: skip
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    said = dict(LogMel(80, float(SECONDS)).to_json())
    (folder / "preprocessor_config.json").write_text(json.dumps(said), encoding="utf-8")
    return folder


def listener(folder: Path, family: str = "wav2vec2", **more: Any) -> Path:
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        family, hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64, conv_dim=(16, 16, 16),
        conv_kernel=(10, 8, 4), conv_stride=(5, 8, 4), num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
        num_feat_extract_layers=3, **more,
    )  # fmt: skip
    AutoModel.from_config(config).save_pretrained(folder)
    return folder


def rows_of(folder: Path, count: int = 20) -> list[Row]:
    texts = sounds.sentences(count, words=2)
    for i, text in enumerate(texts):
        sounds.spoken(folder / f"clip-{i:02d}.wav", text, seed=i % 3)
    lines = [{"file_name": f"clip-{i:02d}.wav", "text": text} for i, text in enumerate(texts)]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return lines


def tuned(task: str, folder: Path, model: Path, *settings: str, options: str = "{language: en}") -> Any:
    (folder / "data").mkdir()
    rows_of(folder / "data")
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        f"task: {task}\nmodel: {model}\ndata: {{train: {folder / 'data'}, eval: 0.2, validation: 0}}\n"
        f"options: {options}\nbatch: {{rows: 8}}\nengine: {{device: cpu, precision: fp32}}\n"
        "audit: {accept: {few-rows: a test, near-audio-leak: drawn, noisy: drawn, narrow-band: drawn, "
        "speaking-rate: drawn}}\n"
        f"run: {{folder: {folder / 'runs'}, name: here}}\n",
        encoding="utf-8",
    )
    return fine_tune(recipe, settings)


def broken(run: Any) -> list[str]:
    found = run.read_json("receipts.json")
    return [r["promise"] for r in found if not r["holds"] and r["promise"] != "memory was predicted"]


def losses(run: Any) -> list[float]:
    return [event["loss"] for event in run.read_events()[0] if event["kind"] == "step"]


# The contract

DRAWN = ("encode-repeatable", "encode-rng", "length", "loss-sum", "two-ranks", "resume-mid-epoch")


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "family", "options"),
    [
        ("speech-to-text", "whisper", {"language": "en"}),
        ("speech-to-text", "whisper", {"language": "en", "timestamps": 0.5, "augment": "clean"}),
        ("speech-ctc", "wav2vec2", {}),
        ("speech-ctc", "hubert", {"case": "upper"}),
        ("speech-ctc", "wavlm", {"punctuation": "keep"}),
    ],
)
def test_tasks_on_speech_keep_the_contract(
    name: str, family: str, options: Mapping[str, Any], tmp_path: Path, words: Any
) -> None:
    (tmp_path / "data").mkdir()
    rows_of(tmp_path / "data", 12)
    source = whisper(tmp_path / "model", words) if family == "whisper" else listener(tmp_path / "model", family)
    kind = find_task(name)
    shape = kind.row_shape(kind.Options(**options))
    rows = [
        {**row, "audio": str(tmp_path / "data" / row["audio"])}
        for row in read_rows(str(tmp_path / "data"), shape=shape)
    ]
    # Where Whisper's sound is drawn anew, what does not depend on that was asked above.
    asked = [c for c in CHECKS if "timestamps" not in options or c in DRAWN]
    report = check_task(kind, rows, source=resolve(ModelSection(name=str(source))), options=dict(options), checks=asked)
    assert not report.failures, str(report)
    assert [result.name for result in report.results] == asked


# Whisper


def test_a_whisper_learns_in_stages_and_loads_in_transformers(tmp_path: Path, words: Any) -> None:
    run = tuned(
        "speech-to-text",
        tmp_path,
        whisper(tmp_path / "model", words),
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
    assert len(processor.tokenizer) == len(words)


def test_a_sample_shows_one_start_token_and_what_is_learned(tmp_path: Path, words: Any) -> None:
    source = resolve(ModelSection(name=str(whisper(tmp_path / "model", words))))
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
        start = words.get_vocab()["<|startoftranscript|>"]
        assert example["tokens"].tolist().count(start) == 1
        assert len(example["tokens"]) == len(example["targets"])
        learned_tokens = [t for t in example["targets"].tolist() if t >= 0]
        assert learned_tokens[-1] == words.eos_token_id
        assert words.decode(learned_tokens, skip_special_tokens=True).strip() == "sun rain"


def test_a_share_of_rows_is_learned_with_times_without_any_augmentation(tmp_path: Path, words: Any) -> None:
    source = resolve(ModelSection(name=str(whisper(tmp_path / "model", words))))
    kind = find_task("speech-to-text")
    task = kind(kind.Options(language="en", timestamps=0.5), source)
    sounds.spoken(tmp_path / "a.wav", "sun rain")
    first, timed = words.get_vocab()["<|0.00|>"], 0
    for i in range(60):
        row = {"id": f"row {i}", "audio": str(tmp_path / "a.wav"), "text": "sun rain"}
        example = task.encode(row)
        assert task.row_length(row) == len(example["tokens"])
        timed += first in example["tokens"].tolist()
    assert 15 < timed < 45


def test_the_summed_loss_is_that_of_transformers(tmp_path: Path, words: Any) -> None:
    source = resolve(ModelSection(name=str(whisper(tmp_path / "model", words))))
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


def test_files_folders_and_long_recordings_are_transcribed_and_written(tmp_path: Path, words: Any) -> None:
    run = tuned(
        "speech-to-text",
        tmp_path,
        whisper(tmp_path / "model", words),
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


@pytest.mark.heavy
@pytest.mark.parametrize(("format", "name"), [("ctranslate2", "elsewhere"), ("ggml", "elsewhere.bin")])
def test_an_exported_whisper_writes_the_same_or_is_refused(
    format: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ctranslate2")
    pytest.importorskip("pywhispercpp")
    data = tmp_path / "data"
    data.mkdir()
    rows_of(data, 10)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"task: speech-to-text\nmodel: starter:whisper-base\ndata: {{train: {data}, eval: 0.5, validation: 0}}\n"
        "options: {language: en}\nbatch: {rows: 5}\nengine: {device: cpu, precision: fp32}\n"
        "stages: [{train: {top: 1}, epochs: 1, lr: 1e-5}]\n"
        "audit: {accept: {few-rows: a test, near-audio-leak: drawn, noisy: drawn, narrow-band: drawn, "
        "speaking-rate: drawn}}\n"
        f"run: {{folder: {tmp_path / 'runs'}, name: here}}\n",
        encoding="utf-8",
    )
    run = fine_tune(recipe)
    made = export(run, tmp_path / name, format=format)
    assert made.measured["verified"]["recordings"] == 5
    assert (tmp_path / name).exists()
    from tunesmith.model import whisper_runtimes

    def other(*given: Any, **more: Any) -> list[str]:
        return ["something else"] * 5

    monkeypatch.setattr(whisper_runtimes, f"transcribe_{'ct2' if format == 'ctranslate2' else 'ggml'}", other)
    with pytest.raises(UserError, match="written otherwise"):
        export(run, tmp_path / f"again-{name}", format=format)
    assert not (tmp_path / f"again-{name}").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [("{}", "must be told one"), ("{language: klingon}", "does not know the language")],
)
def test_a_language_that_nobody_knows_is_an_error(options: str, message: str, tmp_path: Path, words: Any) -> None:
    with pytest.raises(UserError, match=message):
        tuned("speech-to-text", tmp_path, whisper(tmp_path / "model", words), options=options)


def test_other_models_are_refused_with_the_task_for_them(tmp_path: Path, words: Any) -> None:
    with pytest.raises(UserError, match="takes Whisper") as fault:
        tuned("speech-to-text", tmp_path, listener(tmp_path / "model"))
    assert "speech-ctc" in str(fault.value)


# Frames


@pytest.mark.heavy
@pytest.mark.parametrize("family", ["wav2vec2", "hubert", "wavlm"])
def test_a_recognizer_learns_and_loads_in_transformers(tmp_path: Path, family: str) -> None:
    for place in ("data", "same"):
        (tmp_path / place).mkdir()
        rows_of(tmp_path / place)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"task: speech-ctc\nmodel: {listener(tmp_path / 'model', family)}\n"
        f"data: {{train: {tmp_path / 'data'}, eval: {tmp_path / 'same'}, validation: 0}}\nbatch: {{rows: 10}}\n"
        "stages: [{train: head, epochs: 2, lr: 1e-2}, {train: all, epochs: 15, lr: 3e-3}]\n"
        "engine: {device: cpu, precision: fp32}\n"
        "audit: {accept: {few-rows: a test, audio-in-both-splits: on purpose, leak: on purpose, "
        "near-audio-leak: drawn, noisy: drawn, narrow-band: drawn, speaking-rate: drawn, too-short: drawn}}\n"
        f"run: {{folder: {tmp_path / 'runs'}, name: here}}\n",
        encoding="utf-8",
    )
    run = fine_tune(recipe)
    assert broken(run) == []
    scores = run.read_json("scores.json")
    assert scores["base"] == 1.0
    assert scores["rows"] == 20
    assert np.mean(losses(run)[-4:]) < 0.8 * np.mean(losses(run)[:2]), losses(run)

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
    assert processor.batch_decode(logits.argmax(-1))[0] == said
    found = predict(run, [str(tmp_path / "data" / "clip-03.wav")], out=tmp_path / "out")
    assert found[0]["prediction"]["text"] == said


def test_a_row_says_the_same_alone_and_beside_longer_ones(tmp_path: Path) -> None:
    """Group norm over what fills a row up would change it."""
    source = resolve(ModelSection(name=str(listener(tmp_path / "model"))))
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
    source = resolve(ModelSection(name=str(listener(tmp_path / "model"))))
    kind = find_task("speech-ctc")
    rows = [{"id": "a", "audio": "a.wav", "text": "Don't STOP, please!"}, {"id": "b", "audio": "b", "text": "çà | va"}]
    task = kind(kind.Options(), source)
    assert task.written(rows[0]["text"]) == "don't stop please"
    found = task.survey(rows).values["vocabulary"]
    assert found[:3] == ["<pad>", "|", "<unk>"]
    assert set(found[3:]) == set("don'tsoppleaseçàva")
    kept = kind(kind.Options(case="keep", punctuation="keep"), source)
    assert kept.written(rows[0]["text"]) == "Don't STOP, please!"
