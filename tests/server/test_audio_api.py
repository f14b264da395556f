"""Transcripts over HTTP are the files that ``tunesmith predict`` writes; what is no recording is refused."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.fixtures import small_whisper, sounds
from tests.server.held import fault_of, official, own_cache, serving
from tests.speech.small_runs import listener, tuned, weights, whisper
from tunesmith.errors import UserError
from tunesmith.model.whisper import languages_heard
from tunesmith.predict import predict
from tunesmith.server.tasks_held import open_base
from tunesmith.speech.inputs import recording_row
from tunesmith.speech.showing import write_transcripts

PATH = "/v1/audio/transcriptions"
FILES = {"text": "txt", "srt": "srt", "vtt": "vtt"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("speech")
    with own_cache(folder / "cache"):
        yield folder


@pytest.fixture(scope="module")
def base(place: Path) -> Path:
    """It writes letters at once, and is sure of them."""
    return whisper(place / "base", init_std=0.3)


@pytest.fixture(scope="module")
def opened(base: Path) -> Any:
    """Task and model of the base, asked without a server."""
    return open_base(weights(base))


@pytest.fixture(scope="module")
def run(place: Path, letters: Path) -> Any:
    (place / "run").mkdir()
    return tuned("speech-ctc", place / "run", letters, "stages=[{train: head, epochs: 1, lr: 1e-6}]")


@pytest.fixture(scope="module")
def recording(place: Path) -> Path:
    return sounds.spoken(place / "said.wav", "sun and rain")


@pytest.fixture(scope="module")
def letters(place: Path) -> Path:
    """An encoder whose own layer writes letters."""
    from transformers import AutoConfig, AutoModelForCTC

    names = ["<pad>", "|", *"abcdefghijklmnopqrstuvwxyz"]
    config = AutoConfig.from_pretrained(listener(place / "bare"))
    config.vocab_size, config.pad_token_id = len(names), 0
    torch.manual_seed(1)
    model = AutoModelForCTC.from_config(config)
    with torch.no_grad():
        model.lm_head.weight.mul_(50)
    model.save_pretrained(place / "letters")
    numbers = {name: number for number, name in enumerate(names)}
    (place / "letters" / "vocab.json").write_text(json.dumps(numbers), encoding="utf-8")
    return place / "letters"


@pytest.fixture(scope="module")
def client(place: Path, base: Path, letters: Path, run: Any) -> Iterator[Any]:
    models = {"base": str(base), "letters": str(letters), "bare": str(place / "bare")}
    with serving(place / "server", models=models, runs={"tuned": run.folder}) as found:
        yield found


def post(client: Any, file: Path | bytes, name: str = "said.wav", **fields: Any) -> Any:
    content = file if isinstance(file, bytes) else file.read_bytes()
    return client.post(PATH, data={"model": "base", "language": "en", **fields}, files={"file": (name, content)})


def test_texts_and_subtitles_of_a_run_are_the_files_of_predict(
    client: Any, run: Any, recording: Path, tmp_path: Path
) -> None:
    found = predict(run, [str(recording)], device="cpu", out=tmp_path / "out")
    said = {form: post(client, recording, model="tuned", response_format=form) for form in FILES}
    for form, ending in FILES.items():
        assert said[form].text == (tmp_path / "out" / f"said.{ending}").read_text(encoding="utf-8")
    assert said["vtt"].headers["content-type"].startswith("text/vtt")
    assert said["text"].headers["content-type"].startswith("text/plain")
    assert found[0]["prediction"]["text"] == said["text"].text.strip() != ""


def test_a_long_recording_is_heard_in_windows_by_a_base_too(client: Any, opened: Any, tmp_path: Path) -> None:
    long = sounds.save(tmp_path / "long.wav", small_whisper.sounds(6.5)[0])
    task, model = opened
    row = {**recording_row(long, "long.wav"), "language": "en"}
    with torch.inference_mode():
        answer = task.predict(model, task.collate([task.encode(row)]))
    write_transcripts([row], answer, tmp_path / "out")
    wanted = (tmp_path / "out" / "long.srt").read_text(encoding="utf-8")
    assert post(client, long, response_format="srt").text == wanted
    told = post(client, long, response_format="verbose_json").json()
    kept = json.loads((tmp_path / "out" / "long.json").read_text(encoding="utf-8"))
    assert [(p["start"], p["end"], p["text"]) for p in told["segments"]] == [
        (p["start"], p["end"], p["text"]) for p in answer[0]["segments"]
    ]
    assert (told["text"], told["duration"], told["language"]) == (kept["text"], 6.5, "en")
    assert len(told["segments"]) > 1


def test_an_encoder_that_writes_letters_is_asked_as_it_is(client: Any, letters: Path, recording: Path) -> None:
    task, model = open_base(weights(letters))
    with torch.inference_mode():
        wanted = task.predict(model, task.collate([task.encode(recording_row(recording, "said.wav"))]))[0]
    told = client.post(
        PATH,
        data={"model": "letters", "response_format": "verbose_json"},
        files={"file": ("said.wav", recording.read_bytes())},
    ).json()
    assert told["text"] == wanted["text"] != ""
    assert [part["text"] for part in told["segments"]] == [part["text"] for part in wanted["segments"]]
    # Without that layer it writes nothing before it has learned.
    status, param, _ = fault_of(post(client, recording, model="bare"))
    assert (status, param) == (400, "model")
    with pytest.raises(UserError, match="answers nothing before it has learned"):
        open_base(weights(letters.parent / "bare"))


def test_the_official_client_reads_every_form(client: Any, recording: Path) -> None:
    audio = official(client).audio.transcriptions
    plain = audio.create(model="base", file=recording, language="en")
    assert plain.text
    assert plain.usage is not None
    assert plain.usage.type == "duration"
    whole = audio.create(
        model="base", file=recording, language="en", response_format="verbose_json",
        timestamp_granularities=["segment"], temperature=0,
    )  # fmt: skip
    assert whole.text == plain.text
    assert whole.segments is not None
    assert whole.segments[0].end > whole.segments[0].start
    assert "-->" in audio.create(model="base", file=recording, language="en", response_format="srt")


def test_a_language_that_nobody_names_is_heard(client: Any, opened: Any, recording: Path) -> None:
    told = client.post(
        PATH,
        data={"model": "base", "response_format": "verbose_json"},
        files={"file": ("a.wav", recording.read_bytes())},
    ).json()
    task, model = opened
    features = small_whisper.heard(task.wave({"id": "1", "audio": str(recording)}))[:, :, :400]
    code = languages_heard(model, features, task.prompting)[0]
    assert f"<|{code}|>" == task.tokenizer.convert_ids_to_tokens(int(model.detect_language(features)[0]))
    assert told["language"] == code
    named = post(client, recording, language=code, response_format="verbose_json").json()
    assert named["text"] == told["text"]


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("said.wav", b"RIFF")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (zipped(), "zip archive"),
        (b"", "empty"),
        (b"hello, this is text" * 40, "the recording"),
        (b'{"audio": "/etc/hostname"}\n', "the recording"),
    ],
)
def test_what_is_no_recording_is_refused(client: Any, content: bytes, words: str) -> None:
    for name in ("said.wav", "rows.jsonl"):
        status, param, said = fault_of(post(client, content, name))
        assert (status, param) == (400, "file")
        assert words in said
        assert "/incoming/" not in said


def test_a_recording_that_was_cut_is_refused(client: Any, recording: Path) -> None:
    status, param, said = fault_of(post(client, recording.read_bytes()[:3000]))
    assert (status, param) == (400, "file")
    assert "truncated" in said


def test_days_of_silence_in_a_small_file_are_refused_unread(client: Any, tmp_path: Path) -> None:
    import soundfile

    file = tmp_path / "silence.flac"
    with soundfile.SoundFile(file, "w", 1_000, 1, format="FLAC") as sound:
        for _ in range(14):
            sound.write(np.zeros(1_000_000, dtype=np.int16))
    assert file.stat().st_size < 1 << 20
    status, param, said = fault_of(post(client, file, "silence.flac"))
    assert (status, param) == (400, "file")
    assert "3.9 hours" in said


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"language": "klingon"}, "language"),
        ({"temperature": "0.7"}, "temperature"),
        ({"prompt": "names: Ada"}, "prompt"),
        ({"timestamp_granularities[]": "word"}, "timestamp_granularities"),
        ({"response_format": "pdf"}, "response_format"),
        ({"include[]": "logprobs"}, "include"),
        ({"hotwords": "Ada"}, "hotwords"),
        ({"model": ["base", "tuned"]}, "model"),
    ],
)
def test_what_would_change_the_answer_elsewhere_is_refused(
    client: Any, recording: Path, fields: dict[str, Any], param: str
) -> None:
    status, named, _ = fault_of(post(client, recording, **fields))
    assert (status, named) == (400, param)


def test_a_form_without_its_file_is_refused(client: Any) -> None:
    status, param, _ = fault_of(client.post(PATH, data={"model": "base"}, files={"other": ("a", b"x")}))
    assert (status, param) == (400, "file")
    kind = {"Content-Type": "multipart/form-data"}
    assert client.post(PATH, content=b"--x\r\n", headers=kind).status_code == 400
    assert client.post(PATH, json={"model": "base", "file": "/etc/hostname"}).status_code == 415
