"""Recordings and transcripts at fault, by the command line: an exit code, the fault, its place, a fix, no stack trace.

The readers' own words are tested in tests/speech; here that a run stops with them before weights are loaded, and
that an audit finds what was planted.
"""

from __future__ import annotations

import json
import resource
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fixtures.sounds import RATE, save, sentences, speechlike, tone, write_rows
from tests.speech.small_runs import DRAWN, listener, recipe_of, whisper
from tunesmith.errors import EXIT_COULD_NOT_RUN, EXIT_DONE, EXIT_FINDINGS

Rows = list[dict[str, Any]]
Build = Callable[[Path], Path]
GOOD = 12


def good(folder: Path, count: int = GOOD, first: int = 0) -> Rows:
    """Rows of different clips, with the hiss of a microphone."""
    texts = sentences(first + count, words=4)[first:]
    rows = []
    for number, text in enumerate(texts, first):
        wave = speechlike(text, seed=number) + np.random.default_rng(number).normal(0, 0.003, len(speechlike(text)))
        save(folder / f"clip-{number}.wav", wave.astype(np.float32))
        rows.append({"id": f"r{number}", "audio": f"clip-{number}.wav", "text": text})
    return rows


def with_row(make: Callable[[Path], dict[str, Any]]) -> Build:
    """Good rows and one more."""

    def build(folder: Path) -> Path:
        rows = good(folder)
        return write_rows(folder / "rows.jsonl", [*rows, {"id": "odd", **make(folder)}])

    return build


def file_of(name: str, content: bytes) -> Callable[[Path], dict[str, Any]]:
    """A row whose file holds these bytes."""

    def make(folder: Path) -> dict[str, Any]:
        (folder / name).write_bytes(content)
        return {"audio": name, "text": "the sun"}

    return make


def zero_length(folder: Path) -> dict[str, Any]:
    save(folder / "odd.wav", np.zeros(0, np.float32))
    return {"audio": "odd.wav", "text": "the sun"}


def outside(folder: Path) -> dict[str, Any]:
    save(folder.parent / "secret.wav", tone(1, 400))
    return {"audio": "../secret.wav", "text": "the sun"}


def linked_out(folder: Path) -> dict[str, Any]:
    (folder / "odd.wav").symlink_to(save(folder.parent / "secret.wav", tone(1, 400)))
    return {"audio": "odd.wav", "text": "the sun"}


def truncated(folder: Path) -> dict[str, Any]:
    content = save(folder / "odd.flac", speechlike("the sun and the rain")).read_bytes()
    (folder / "odd.flac").write_bytes(content[: len(content) // 2])
    return {"audio": "odd.flac", "text": "the sun"}


def three_hours(folder: Path) -> dict[str, Any]:
    """86 MB that no disk holds: a WAV of 8 bit, all of it one value."""
    rate = 8_000
    size = 3 * 3600 * rate
    head = b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate, rate, 1, 8)
    with (folder / "odd.wav").open("wb") as stream:
        stream.write(head + b"data" + struct.pack("<I", size))
        stream.write((128 + 40 * np.sin(np.arange(20 * rate))).astype(np.uint8).tobytes())
        stream.truncate(44 + size)
    return {"audio": "odd.wav", "text": "the sun and the rain " * 2000}


def texts_without(kind: str) -> Build:
    """Text files beside recordings, three of either without the other."""

    def build(folder: Path) -> Path:
        for number, row in enumerate(good(folder)):
            place = folder / row["audio"]
            if number >= 3 or kind == "recordings":
                place.with_suffix(".txt").write_text(row["text"])
            if number < 3 and kind == "recordings":
                place.unlink()
        return folder

    return build


FAULTS: dict[str, tuple[Build, str, str]] = {
    # The data, words of the message, and of its place.
    "a transcript without its recording": (
        with_row(lambda _: {"audio": "gone.wav", "text": "the sun"}),
        "names the recording gone.wav, which is not there",
        "rows.jsonl:13",
    ),
    "a recording without its transcript": (
        with_row(lambda _: {"audio": "clip-0.wav"}), "(clip-0.wav) has no text", "rows.jsonl:13",
    ),
    "text files without recordings": (
        texts_without("recordings"), "3 of 12 text files (25.0%) have no recording", "/data",
    ),
    "recordings without text files": (
        texts_without("texts"), "3 of 12 recordings (25.0%) have no text file", "/data",
    ),
    "a WAV of no length": (with_row(zero_length), "has a header and no samples (0 seconds)", "rows.jsonl:13"),
    "an empty file": (with_row(file_of("odd.wav", b"")), "(odd.wav) is empty (0 bytes)", "rows.jsonl:13"),
    "a text named wav": (
        with_row(file_of("odd.wav", b"hello there\n" * 9)), "is a text file, not a recording", "rows.jsonl:13",
    ),
    "an MP3 with a wrong header": (
        with_row(file_of("odd.mp3", bytes(range(200)) * 20)), "is named .mp3, but its header is not", "rows.jsonl:13",
    ),
    "a recording that was cut short": (with_row(truncated), "(odd.flac) is truncated", "rows.jsonl:13"),
    "an empty transcript": (
        with_row(lambda _: {"audio": "clip-0.wav", "text": " "}),
        "(clip-0.wav) has an empty transcript", "rows.jsonl:13",
    ),
    "a path that leads out": (with_row(outside), "leads out of the folder of the rows", "rows.jsonl:13"),
    "a link that leads out": (with_row(linked_out), "is a link that leads out", "rows.jsonl:13"),
    "one recording with two texts": (
        with_row(lambda _: {"audio": "clip-3.wav", "text": "something else"}),
        "(clip-3.wav) has another text than an earlier row of the same sound", "rows.jsonl:13",
    ),
    "a part that lies outside": (
        with_row(lambda _: {"audio": "clip-3.wav", "text": "x", "start": 0, "end": 99}),
        "lies outside", "rows.jsonl:13",
    ),
    "three hours without the times of words": (
        with_row(three_hours), "longer than the 30 seconds that the model hears at once (odd: 10,800.0)", "odd",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {
        "speech-ctc": listener(root / "listener"),
        "speech-to-text": whisper(root / "whisper", seconds=30, max_target_positions=448),
    }


def command(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cache: Path
) -> tuple[int, str, str]:
    """Exit code, what was put out, what was said."""
    from tunesmith.cli import main

    monkeypatch.setenv("TUNESMITH_CACHE", str(cache))
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr("sys.argv", ["tunesmith", *words])
    capsys.readouterr()
    with pytest.raises(SystemExit) as done:
        main()
    out, said = capsys.readouterr()
    assert "Traceback" not in said
    return int(done.value.code or 0), out, said


@pytest.mark.parametrize(("build", "words", "place"), FAULTS.values(), ids=FAULTS)
def test_a_run_stops_with_what_is_wrong_and_where(
    build: Build,
    words: str,
    place: str,
    models: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = build(tmp_path / "data")
    recipe = recipe_of(tmp_path, "speech-ctc", models["speech-ctc"], source)
    code, _, said = command(["train", str(recipe)], monkeypatch, capsys, tmp_path / "cache")
    assert code in (EXIT_COULD_NOT_RUN, EXIT_FINDINGS), said
    error = said[said.rindex("error: ") :].replace(str(tmp_path), "")
    assert words in error
    assert place in error
    assert "fix: " in error
    assert not list((tmp_path / "runs").rglob("model.safetensors"))


def test_three_hours_are_judged_without_being_held(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Decoded at 16 kHz they would take 691 MB."""
    source = with_row(three_hours)(tmp_path / "data")
    recipe = recipe_of(tmp_path, "speech-ctc", models["speech-ctc"], source, accept=f"{DRAWN}, too-long: known")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code, out, said = command(["audit", str(recipe), "--json"], monkeypatch, capsys, tmp_path / "cache")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert code == EXIT_DONE, said
    assert {f["level"] for f in json.loads(out)["findings"] if f["code"] == "too-long"} == {"note"}
    assert "speaking-rate" not in [f["code"] for f in json.loads(out)["findings"] if "odd" in f["rows"]]
    assert grown < 400 * 1024, "kilobytes"


def test_eight_channels_at_96_kilohertz_are_no_fault(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    rows = good(data)
    text = "the sun and the rain again"
    wave = speechlike(text, 96_000)
    save(data / "wide.wav", np.tile(wave[:, None], (1, 8)), 96_000)
    write_rows(data / "rows.jsonl", [*rows, {"id": "wide", "audio": "wide.wav", "text": text}])
    recipe = recipe_of(tmp_path, "speech-ctc", models["speech-ctc"], data / "rows.jsonl")
    code, out, said = command(["audit", str(recipe), "--json"], monkeypatch, capsys, tmp_path / "cache")
    assert code == EXIT_DONE, said
    assert not [f for f in json.loads(out)["findings"] if "wide" in f["rows"] and f["level"] != "note"]


# What an audit finds


def hissing(folder: Path) -> dict[str, Any]:
    speech = speechlike("hardly to be heard at all", seed=4)
    hiss = np.random.default_rng(0).normal(0, float(speech.std()), len(speech))
    save(folder / "odd.wav", (0.3 * (speech + hiss)).astype(np.float32))
    return {"audio": "odd.wav", "text": "hardly to be heard at all"}


def written(wave: Any, text: str, rate: int = RATE) -> Callable[[Path], dict[str, Any]]:
    """A row of a waveform."""

    def make(folder: Path) -> dict[str, Any]:
        save(folder / "odd.wav", np.asarray(wave, dtype=np.float32), rate)
        return {"audio": "odd.wav", "text": text}

    return make


def telephone(folder: Path) -> dict[str, Any]:
    import soxr

    narrow = soxr.resample(speechlike("from a telephone", seed=5), RATE, 8_000)
    return written(soxr.resample(narrow, 8_000, RATE), "from a telephone")(folder)


LOUD = np.clip(4 * speechlike("loud and clear speech", seed=3), -1, 1)
PLANTED: dict[str, tuple[Callable[[Path], dict[str, Any]], str, str]] = {
    # The row, the lowest level it must have, and words of the finding.
    "silent": (written(np.zeros(RATE), "the sun"), "warning", "are silent"),
    "clipped": (written(LOUD, "loud and clear speech"), "warning", "cut off at full scale"),
    "noisy": (hissing, "warning", "hardly more speech than noise"),
    "narrow-band": (telephone, "note", "though their files could"),
    "low-rate": (written(speechlike("slow rate", 8_000), "slow rate", 8_000), "note", "1 at 8,000 Hz"),
    "too-short": (written(tone(0.2, 300), "oh"), "warning", "shorter than 0.3 seconds (odd: 0.20)"),
    "too-long": (
        written(np.resize(speechlike("somebody speaks"), 31 * RATE), "words " * 30), "error",
        "longer than the 30 seconds that the model hears at once (odd: 31.0)",
    ),
    "speaking-rate": (written(speechlike("the sun"), "far too many words " * 20), "warning", "characters a second"),
    "other-script": (written(speechlike("eto solntse"), "это солнце"), "warning", "1 Cyrillic"),
    "repeated-audio": (
        lambda _: {"audio": "clip-3.wav", "text": sentences(4, words=4)[3]}, "warning", "repeat another exactly",
    ),
}  # fmt: skip
LEVELS = ("note", "warning", "error")


def audited(
    task: str, source: Path, held_out: Path, models: dict[str, Path], tmp_path: Path, monkeypatch: Any, capsys: Any,
    options: str = "{language: en}",
) -> tuple[int, list[dict[str, Any]]]:  # fmt: skip
    """Exit code and findings of ``tunesmith audit``, nothing accepted but how few they are."""
    recipe = recipe_of(tmp_path, task, models[task], source, held_out, accept="few-rows: a test", options=options)
    code, out, said = command(["audit", str(recipe), "--json"], monkeypatch, capsys, tmp_path / "cache")
    assert out, said
    return code, json.loads(out)["findings"]


@pytest.mark.parametrize(("code", "plant"), PLANTED.items(), ids=PLANTED)
def test_an_audit_finds_the_recording_that_was_planted(
    code: str, plant: Any, models: Any, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    make, level, words = plant
    held = write_rows(tmp_path / "eval" / "rows.jsonl", good(tmp_path / "eval", 6, GOOD))
    source = with_row(make)(tmp_path / "data")
    exit_code, found = audited("speech-ctc", source, held, models, tmp_path, monkeypatch, capsys)
    mine = [f for f in found if f["code"] == code and f["rows"] == ["odd"]]
    assert len(mine) == 1, found
    assert LEVELS.index(mine[0]["level"]) >= LEVELS.index(level)
    assert words in mine[0]["what"]
    assert mine[0]["fix"]
    assert mine[0]["where"] in ("train", str(source))
    assert (exit_code == EXIT_FINDINGS) is any(f["level"] == "error" for f in found)


def test_good_rows_find_nothing_worse_than_a_note(models: Any, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    held = write_rows(tmp_path / "eval" / "rows.jsonl", good(tmp_path / "eval", 6, GOOD))
    source = write_rows(tmp_path / "data" / "rows.jsonl", good(tmp_path / "data"))
    code, found = audited("speech-ctc", source, held, models, tmp_path, monkeypatch, capsys)
    assert code == EXIT_DONE
    assert {f["code"] for f in found if f["level"] != "note"} <= {"near-audio-leak"}, found


def test_a_transcript_longer_than_whisper_writes_is_an_error(
    models: Any, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    held = write_rows(tmp_path / "eval" / "rows.jsonl", good(tmp_path / "eval", 6, GOOD))
    wave = np.resize(speechlike("somebody speaks"), 29 * RATE)
    source = with_row(written(wave, "8. 9. " * 120))(tmp_path / "data")
    code, found = audited("speech-to-text", source, held, models, tmp_path, monkeypatch, capsys)
    (mine,) = [f for f in found if f["code"] == "label-too-long"]
    assert (code, mine["level"], mine["rows"]) == (EXIT_FINDINGS, "error", ["odd"])
    assert "448 tokens" in mine["what"]
    assert "shorter parts" in mine["fix"]


def test_characters_that_the_vocabulary_lacks_are_named(
    models: Any, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    """The vocabulary is made of the training transcripts: what only a held-out one has can't be written."""
    rows = good(tmp_path / "eval", 6, GOOD)
    rows[2]["text"] += " ß9"
    held = write_rows(tmp_path / "eval" / "rows.jsonl", rows)
    source = write_rows(tmp_path / "data" / "rows.jsonl", good(tmp_path / "data"))
    _, found = audited("speech-ctc", source, held, models, tmp_path, monkeypatch, capsys)
    (mine,) = [f for f in found if f["code"] == "outside-vocabulary"]
    assert (mine["level"], mine["rows"]) == ("warning", [rows[2]["id"]])
    assert "'ß' (1), '9' (1)" in mine["what"]


def test_more_characters_than_frames_are_an_error(models: Any, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    held = write_rows(tmp_path / "eval" / "rows.jsonl", good(tmp_path / "eval", 6, GOOD))
    source = with_row(written(speechlike("sun"), "far too many words " * 20))(tmp_path / "data")
    code, found = audited("speech-ctc", source, held, models, tmp_path, monkeypatch, capsys)
    (mine,) = [f for f in found if f["code"] == "beyond-frames"]
    assert (code, mine["level"], mine["rows"]) == (EXIT_FINDINGS, "error", ["odd"])


def test_recordings_and_speakers_on_both_sides_are_found(
    models: Any, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    train, held = good(tmp_path / "data"), good(tmp_path / "eval", 6, GOOD)
    for row in train:
        row["speaker"] = "ann"
    for number, row in enumerate(held):
        row["speaker"] = "ann" if number == 0 else "bob"
    (tmp_path / "eval" / "same.wav").write_bytes((tmp_path / "data" / "clip-4.wav").read_bytes())
    held.append({"id": "copy", "audio": "same.wav", "text": train[4]["text"], "speaker": "bob"})
    source = write_rows(tmp_path / "data" / "rows.jsonl", train)
    judged = write_rows(tmp_path / "eval" / "rows.jsonl", held)
    code, found = audited("speech-ctc", source, judged, models, tmp_path, monkeypatch, capsys)
    by_code = {f["code"]: f for f in found}
    assert code == EXIT_FINDINGS
    leak = by_code["audio-in-both-splits"]
    assert (leak["level"], [(mark["row"], mark["twin"]) for mark in leak["marks"]]) == ("error", [("r4", "eval:copy")])
    assert "copy is r4" in leak["what"]
    write_rows(tmp_path / "eval" / "rows.jsonl", held[:-1])
    _, found = audited("speech-ctc", source, judged, models, tmp_path, monkeypatch, capsys)
    (mine,) = [f for f in found if f["code"] == "speaker-in-both-splits"]
    assert (mine["level"], [mark["row"] for mark in mine["marks"]]) == ("warning", [row["id"] for row in train])
    assert "data.group_by: speaker" in mine["fix"]
