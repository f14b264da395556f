"""Faults of rows and folders of recordings, each by its name and its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fixtures.sounds import (
    audio_folder,
    common_voice,
    kaldi,
    librispeech,
    ljspeech,
    save,
    spoken,
    texts_beside,
    tone,
    write_rows,
)
from tests.speech.reading import EXPECTED, fault, notes, read
from tunesmith.speech.audio import place_of
from tunesmith.speech.formats import SpeechShape

# Faults of rows


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"audio": "none.wav", "text": "x"}, "rows.jsonl:2 names the recording none.wav, which is not there"),
        ({"audio": "a" * 5000, "text": "x"}, "which is not there"),
        ({"audio": "gone.wav", "text": "x"}, "names the recording gone.wav, which is a broken link"),
        ({"audio": "out.wav", "text": "x"}, "names the recording out.wav, which is a link that leads out"),
        ({"audio": "../elsewhere.wav", "text": "x"}, "which leads out of the folder of the rows"),
        ({"audio": "ABSOLUTE", "text": "x"}, "which leads out of the folder of the rows"),
        ({"audio": "https://a.b/c.wav", "text": "x"}, "an address: download it"),
        ({"audio": 5, "text": "x"}, "names no recording: '5'"),
        ({"text": "x"}, "names no recording: it has the columns text; audio is expected"),
        ({"audio": "b.wav", "mood": "x"}, "rows.jsonl:2 (b.wav) has no text: beside the recording it has mood"),
        ({"audio": "b.wav", "text": "  "}, "(b.wav) has an empty transcript (column text)"),
        ({"audio": "b.wav", "text": ["x"]}, "(b.wav) has a list in text, which is no transcript"),
        ({"audio": "empty.wav", "text": "x"}, "(empty.wav) is empty (0 bytes)"),
        ({"audio": "zero.wav", "text": "x"}, "(zero.wav) has a header and no samples (0 seconds)"),
        ({"audio": "text.wav", "text": "x"}, "(text.wav) is a text file, not a recording"),
        ({"audio": "wrong.mp3", "text": "x"}, "(wrong.mp3) is named .mp3, but its header is not"),
        (
            {"audio": "b.wav", "text": "x", "start": "soon"},
            "(b.wav) has 'soon' in start, which is no number of seconds",
        ),
        ({"audio": "b.wav", "text": "x", "end": True}, "has 'True' in end, which is no number of seconds"),
        ({"audio": "b.wav", "text": "x", "start": 2, "end": 1}, "(b.wav) has a part that ends (1 s) where or before"),
        ({"audio": "b.wav", "text": "x", "start": 0, "end": 9}, "(b.wav) has 3.00 seconds, and the part from 0 to 9"),
        ({"audio": "b.wav", "text": "x", "start": -1}, "the part from -1 to 3 lies outside"),
        ({"audio_filepath": "b.wav", "text": "x", "duration": 9}, "the part from 0 to 9 lies outside"),
        (
            {"audio": "a.wav", "text": "rain"},
            "(a.wav) has another text than an earlier row of the same sound: 'sun', now",
        ),
        (
            {"audio": "b.wav", "text": "x", "words": [{"word": "x", "start": 2, "end": 1}]},
            "has words whose times run backwards (number 1, 'x', 2 to 1 s)",
        ),
        ({"audio": "b.wav", "text": "x", "words": [{"word": "x"}]}, "has a word without word, start and end"),
    ],
)
def test_rows_at_fault_are_named_with_their_line(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    data = tmp_path / "data"
    spoken(data / "a.wav", "sun")
    save(data / "b.wav", tone(3, 400))
    save(data / "zero.wav", np.zeros(0, np.float32))
    (data / "empty.wav").touch()
    (data / "text.wav").write_text("hello there\n")
    (data / "wrong.mp3").write_bytes(bytes(range(200)) * 20)
    (data / "out.wav").symlink_to(save(tmp_path / "elsewhere.wav", tone(1, 400)))
    (data / "gone.wav").symlink_to(tmp_path / "nothing.wav")
    if row.get("audio") == "ABSOLUTE":
        row = {**row, "audio": str(tmp_path / "elsewhere.wav")}
    source = write_rows(data / "rows.jsonl", [{"audio": "a.wav", "text": "sun"}, row])
    found = fault(source)
    assert said in found
    assert "rows.jsonl:2" in found
    store, _ = read(source, broken_rows=0.5)
    assert store.report.broken_count == 1


def test_paths_elsewhere_may_be_allowed_but_no_hidden_link(tmp_path: Path) -> None:
    place = save(tmp_path / "elsewhere.wav", tone(1, 400))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "out.wav").symlink_to(place)
    rows = [{"audio": name, "text": "x"} for name in (str(place), "../elsewhere.wav")]
    store, shape = read(write_rows(tmp_path / "data" / "rows.jsonl", rows), shape=SpeechShape(elsewhere=True))
    assert all(place_of(row, shape.folders) for row in store)
    rows = [{"audio": "out.wav", "text": "x"}]
    source = write_rows(tmp_path / "data" / "rows.jsonl", rows)
    assert "is a link that leads out" in fault(source, shape=SpeechShape(elsewhere=True))


def test_recordings_in_folders_beside_and_without_their_ending_are_found(tmp_path: Path) -> None:
    spoken(tmp_path / "clips" / "a.wav", "sun")
    spoken(tmp_path / "wavs" / "b.flac", "rain")
    source = write_rows(tmp_path / "rows.csv", [{"audio": "a.wav", "text": "sun"}, {"audio": "b", "text": "rain"}])
    store, _ = read(source)
    assert [row["audio"] for row in store] == ["clips/a.wav", "wavs/b.flac"]


def test_the_same_text_twice_is_no_contradiction_and_parts_are_apart(tmp_path: Path) -> None:
    save(tmp_path / "a.wav", tone(3, 400))
    rows = [
        {"audio": "a.wav", "text": "sun", "start": 0, "end": 1},
        {"audio": "a.wav", "text": "sun", "start": 0, "end": 1},
        {"audio": "a.wav", "text": "rain", "start": 1, "end": 2},
    ]
    assert len(read(write_rows(tmp_path / "rows.jsonl", rows))[0]) == 3


def test_a_content_under_another_name_is_said(tmp_path: Path) -> None:
    spoken(tmp_path / "a.flac", "sun").rename(tmp_path / "a.wav")
    store, _ = read(write_rows(tmp_path / "rows.jsonl", [{"audio": "a.wav", "text": "sun"}]))
    assert "1 recordings are named otherwise than they are; the content counts: a.wav is FLAC" in notes(store)


def test_a_long_recording_of_many_parts_is_digested_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tunesmith.speech.formats import rows as module

    save(tmp_path / "a.wav", tone(3, 400))
    looks = []
    monkeypatch.setattr(
        module, "look_at_audio", lambda place, real=module.look_at_audio: looks.append(place) or real(place)
    )
    rows = [{"audio": "a.wav", "text": str(n), "start": n / 10, "end": n / 10 + 0.1} for n in range(20)]
    assert len(read(write_rows(tmp_path / "rows.jsonl", rows))[0]) == 20
    assert len(looks) == 1


# Faults of folders


def lone(folder: Path, layout: str, kind: str, count: int) -> Path:
    """A set of 20 with ``count`` transcripts too many (``orphans``) or too few (``unlabelled``)."""
    makers: dict[str, Callable[..., Path]] = {".txt": texts_beside, "metadata": audio_folder, "ljspeech": ljspeech}
    makers[layout](folder, 20)
    recordings = sorted([*folder.glob("*.wav"), *folder.glob("wavs/*.wav")])
    for place in recordings[:count]:
        if kind == "orphans":
            place.unlink()
        elif layout == ".txt":
            place.with_suffix(".txt").unlink()
    if kind == "unlabelled" and layout != ".txt":
        lines = (folder / "metadata.csv").read_text().splitlines()
        head = lines[:1] if layout == "metadata" else []
        (folder / "metadata.csv").write_text("\n".join([*head, *lines[len(head) + count :]]) + "\n")
    return folder


@pytest.mark.parametrize("layout", [".txt", "metadata", "ljspeech"])
@pytest.mark.parametrize("kind", ["orphans", "unlabelled"])
def test_what_stands_alone_is_left_out_aloud_and_refused_past_a_tenth(tmp_path: Path, layout: str, kind: str) -> None:
    few = lone(tmp_path / "few", layout, kind, 2)
    store, shape = read(few)
    assert len(store) == 18
    assert getattr(shape.pairing, kind) == 2
    assert "left out: 2 " in notes(store)
    many = lone(tmp_path / "many", layout, kind, 3)
    said = fault(many)
    assert "3 of 20 " in said
    assert "(15.0%) have no" in said
    assert "at most 10% may" in said


def test_missing_clips_of_common_voice_are_counted_and_others_are_not(tmp_path: Path) -> None:
    folder = common_voice(tmp_path, {"train": 10, "dev": 2}, suffix=".wav")
    (folder / "clips" / "common_voice_en_train_3.wav").unlink()
    store, shape = read(folder)
    assert len(store) == 9
    assert (shape.pairing.orphans, shape.pairing.unlabelled) == (1, 0)
    (folder / "clips" / "common_voice_en_train_4.wav").unlink()
    assert "2 of 10 rows (20.0%) have no recording" in fault(folder)


def test_chapters_of_librispeech_are_paired(tmp_path: Path) -> None:
    folder = librispeech(tmp_path, count=10)
    spoken(folder / "100" / "1007" / "100-1007-0099.flac", "sun")
    (folder / "101" / "1017" / "101-1017-0003.flac").unlink()
    store, shape = read(folder)
    assert len(store) == 19
    assert (shape.pairing.orphans, shape.pairing.unlabelled) == (1, 1)
    assert shape.pairing.examples["orphans"] == ["101-1017-0003 (101/1017/101-1017.trans.txt:4)"]


def test_faults_in_folders_are_named(tmp_path: Path) -> None:
    folder = texts_beside(tmp_path / "a")
    (folder / "clip-001.txt").write_text(" \n")
    (folder / "clip-002.wav").write_bytes(b"")
    (folder / "clip-003.wav").unlink()
    (folder / "clip-003.wav").symlink_to(save(tmp_path / "out.wav", tone(1, 300)))
    store, _ = read(folder, broken_rows=0.9)
    assert [reason for _, reason in store.report.broken] == [
        "(clip-001.txt) is an empty transcript",
        "(clip-002.wav) is empty (0 bytes)",
        f"(clip-003.wav) is a link that leads out of the data folder (to {tmp_path / 'out.wav'}); it is not followed",
    ]
    folder = audio_folder(tmp_path / "b", 12)
    (folder / "clip-001.wav").write_text("text")
    text = (folder / "metadata.csv").read_text().replace(EXPECTED[2], "")
    (folder / "metadata.csv").write_text(text.replace("clip-003", "../out"))
    store, _ = read(folder, broken_rows=0.9)
    assert [reason.partition(",")[0] for _, reason in store.report.broken] == [
        "(clip-001.wav) is a text file",
        "(clip-002.wav) has an empty transcript (column transcription)",
        "names the recording ../out.wav",
    ]


def test_what_is_no_set_of_speech_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "the folder is empty" in fault(tmp_path / "empty")
    spoken(tmp_path / "bare" / "a.wav", "sun")
    assert "holds 1 recordings, and nothing that says what is said in them" in fault(tmp_path / "bare")
    assert "this is one recording, without a transcript" in fault(tmp_path / "bare" / "a.wav")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("sun")
    assert "1 text files and no recordings" in fault(tmp_path / "texts")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.png").touch()
    assert "no recordings: it has 1 .png" in fault(tmp_path / "other")
    two = texts_beside(tmp_path / "two")
    spoken(two / "clip-000.flac", "sun")
    assert "two recordings have one name, so that either could be meant: clip-000.flac and clip-000.wav" in fault(two)


def test_labels_with_times_are_no_transcripts(tmp_path: Path) -> None:
    folder = texts_beside(tmp_path, 1, ending=".lab")
    (folder / "clip-000.lab").write_text("0 1000 s\n1000 2000 ah\n")
    assert "(clip-000.lab) holds labels with times, not a transcript" in fault(folder)


def test_commands_of_kaldi_are_refused(tmp_path: Path) -> None:
    folder = kaldi(tmp_path)
    (folder / "wav.scp").write_text("r0 sph2pipe -f wav a.sph |\nr1 wav/r1.wav\n")
    said = fault(folder)
    assert "this recording is the output of a command, which is not run: sph2pipe" in said
    assert "wav.scp:1" in said


def test_without_answers_recordings_are_enough(tmp_path: Path) -> None:
    folder = librispeech(tmp_path / "a")
    store, _ = read(folder, shape=SpeechShape(answered=False))
    assert [row["audio"] for row in store] == sorted(str(p.relative_to(folder)) for p in folder.rglob("*.flac"))
    assert not any("text" in row for row in store)
    place = spoken(tmp_path / "b.wav", "sun")
    store, _ = read(place, shape=SpeechShape(answered=False))
    assert (store[0]["audio"], store[0]["seconds"]) == ("b.wav", 0.44)
    store, _ = read([{"audio": str(place)}], shape=SpeechShape(answered=False))
    assert store[0]["seconds"] == 0.44


def test_limits_are_kept(tmp_path: Path) -> None:
    store, _ = read(texts_beside(tmp_path, 6), limit=2)
    assert len(store) == 2
