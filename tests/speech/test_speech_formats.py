"""Layouts of speech data sets through the door that a run uses: recognised, said, paired."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.fixtures.sounds import (
    audio_folder,
    common_voice,
    kaldi,
    librispeech,
    ljspeech,
    manifest,
    rows_of,
    save,
    sentences,
    speechlike,
    spoken,
    texts_beside,
    tone,
    write_rows,
)
from tests.speech.reading import EXPECTED, fault, notes, read
from tunesmith.speech.audio import place_of, read_audio
from tunesmith.speech.formats import SpeechShape
from tunesmith.speech.kept import RecordingStore

LAYOUTS: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "rows.csv": (lambda f: manifest(f, 4, name="rows.csv"), "csv", "recordings by column audio (4)"),
    "rows.tsv": (lambda f: manifest(f, 4, name="rows.tsv"), "tsv", "transcripts by column text (4)"),
    "rows.json": (lambda f: manifest(f, 4, name="rows.json"), "json", "recordings by column audio (4)"),
    "rows.jsonl": (lambda f: manifest(f, 4, name="rows.jsonl"), "jsonl", "recordings by column audio (4)"),
    "folder of rows": (lambda f: manifest(f, 4).parent, "jsonl", "recordings by column audio (4)"),
    "metadata.csv": (audio_folder, "audio-folder", "recordings with metadata.csv"),
    "metadata.tsv": (lambda f: audio_folder(f, name="metadata.tsv"), "audio-folder", "recordings with metadata.tsv"),
    "metadata.jsonl": (lambda f: audio_folder(f, name="metadata.jsonl"), "audio-folder", "with metadata.jsonl"),
    ".txt": (texts_beside, "texts-beside", "a .txt file for each recording"),
    ".lab": (lambda f: texts_beside(f, ending=".lab", suffix=".flac"), "texts-beside", "a .lab file"),
    "ljspeech": (ljspeech, "ljspeech", "LJSpeech; of 4 lines the normalised text is read"),
    "common voice": (common_voice, "common-voice", "Common Voice, train.tsv"),
    "librispeech": (librispeech, "librispeech", "LibriSpeech, 2 chapters"),
    "kaldi": (kaldi, "kaldi", "Kaldi's data folder with 2 recordings"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_recognised_said_and_read(tmp_path: Path, layout: str) -> None:
    make, format, said = LAYOUTS[layout]
    source = make(tmp_path / "data")
    store, shape = read(source)
    assert store.report.format == format
    assert said in notes(store)
    assert "transcripts without recordings" in notes(store) or "without recordings" in notes(store)
    assert store.report.broken_count == 0
    assert [row["text"].lower().removesuffix(" one") for row in store] == EXPECTED
    assert shape.classes is None
    assert shape.pairing.to_json()["with_transcripts"] == 4
    for row in store:
        place = place_of(row, shape.folders)
        assert place is not None
        wave = read_audio(place, row.get("start"), row.get("end"))
        assert row["seconds"] == pytest.approx(len(wave) / 16_000, abs=1e-3)
        assert len(row["content"]) == 16
        assert (row["rate"], row["channels"]) == ({"ljspeech": 22_050, "common voice": 32_000}.get(layout, 16_000), 1)
    assert len({row["id"] for row in store}) == 4
    again, _ = read(source)
    assert again.digest == store.digest


def test_the_recording_of_a_row_is_that_of_its_text(tmp_path: Path) -> None:
    for number, (make, _, _) in enumerate(LAYOUTS.values()):
        store, shape = read(make(tmp_path / str(number)))
        letters = [row["seconds"] for row in store]
        text = [row["text"].lower().removesuffix(" one") for row in store]
        assert letters == pytest.approx([len(speechlike(words)) / 16_000 for words in text], abs=0.05)
        assert shape.pairing.orphans == shape.pairing.unlabelled == 0


@pytest.mark.parametrize(
    ("audio", "text"),
    [
        ("audio", "text"),
        ("path", "sentence"),
        ("file", "transcription"),
        ("file_name", "transcript"),
        ("audio_filepath", "normalized_text"),
        ("wav", "Text"),
        ("Audio_Path", "utterance"),
    ],
)
@pytest.mark.parametrize("speaker", ["speaker", "client_id", "speaker_id", "spk"])
def test_columns_by_their_usual_names(tmp_path: Path, audio: str, text: str, speaker: str) -> None:
    spoken(tmp_path / "a b.wav", "sun")
    rows = [{audio: "a b.wav", text: " the sun ", speaker: 7, "locale": "en", "chapter_id": "c", "mood": "good"}]
    store, _ = read(write_rows(tmp_path / "rows.jsonl", rows))
    row = dict(store[0])
    assert {row.pop("id"), row.pop("content")}
    assert row == {
        "audio": "a b.wav",
        "text": "the sun",
        "speaker": "7",
        "session": "c",
        "language": "en",
        "mood": "good",
        "seconds": 0.44,
        "rate": 16_000,
        "channels": 1,
    }


def test_columns_that_the_recipe_names(tmp_path: Path) -> None:
    spoken(tmp_path / "a.wav", "sun")
    rows = [{"what": "a.wav", "said": "sun", "text": "other"}]
    store, _ = read(write_rows(tmp_path / "rows.csv", rows), columns={"audio": "what", "text": "said"})
    assert store[0]["text"] == "sun"
    store, _ = read(audio_folder(tmp_path / "data"), columns={"audio": "file_name", "text": "transcription"})
    assert [row["text"] for row in store] == EXPECTED


def test_speaker_session_and_language_come_from_layouts(tmp_path: Path) -> None:
    store, _ = read(librispeech(tmp_path / "l"))
    assert [(row["id"], row["speaker"], row["session"]) for row in store][::2] == [
        ("100-1007-0000", "100", "1007"),
        ("101-1017-0000", "101", "1017"),
    ]
    store, _ = read(common_voice(tmp_path / "c"))
    assert {(row["speaker"], row["language"]) for row in store} == {(f"c{number}", "en") for number in range(4)}
    store, _ = read(kaldi(tmp_path / "k"))
    assert [(row["speaker"], row["session"]) for row in store] == [("s0", "r0")] * 2 + [("s1", "r1")] * 2
    store, _ = read(ljspeech(tmp_path / "j"))
    assert store[0]["written"] == EXPECTED[0].title() + ', "1"'


def test_parts_and_words_are_kept(tmp_path: Path) -> None:
    save(tmp_path / "a.wav", tone(3, 400))
    words = [{"word": "sun", "start": 1.0, "end": 1.2}, {"word": "rain", "start": 1.3, "end": 1.5}]
    rows = [
        {"audio": "a.wav", "text": "one", "start": 1, "end": 2.5, "words": words},
        {"audio": "a.wav", "text": "two", "offset": 0.5, "duration": 1.0, "words": 12},
        {"audio": "a.wav", "text": "three", "start_time": "2", "end_time": "3.04"},
        {"audio_filepath": "a.wav", "text": "four", "duration": 1.5},
        {"audio_filepath": "a.wav", "text": "five", "duration": 3.0},
        {"audio": "a.wav", "text": "five", "duration": 2.0, "start": "", "end": None},
    ]
    store, _ = read(write_rows(tmp_path / "rows.jsonl", rows))
    parts = [(row.get("start"), row.get("end"), row["seconds"]) for row in store]
    assert parts == [(1, 2.5, 1.5), (0.5, 1.5, 1), (2, 3, 1), (0, 1.5, 1.5), (None, None, 3), (None, None, 3)]
    assert store[0]["words"] == words
    assert "words" not in store[1]
    assert "duration differs from the recording's length in 1 rows" in notes(store)
    assert "were left out: words" in notes(store)
    listed = {"word": ["sun", "rain"], "start": [1.0, 1.3], "end": [1.2, 1.5]}
    store, _ = read(
        [{"audio": str(tmp_path / "a.wav"), "text": "x", "words": value} for value in (listed, json.dumps(words))]
    )
    assert [row["words"] for row in store] == [words, words]


# Splits


def test_splits_are_folders_or_files(tmp_path: Path) -> None:
    for split, seed in (("train", 0), ("test", 5)):
        texts_beside(tmp_path / "texts" / split, seed=seed)
        audio_folder(tmp_path / "meta" / split, seed=seed)
        manifest(tmp_path / "rows", 4, name=f"{split}.jsonl", seed=seed)
    for folder in ("texts", "meta"):
        store, _ = read(tmp_path / folder)
        assert [row["text"] for row in store] == EXPECTED
        assert {row["audio"].split("/")[0] for row in store} == {"train"}
        assert "split 'train'" in notes(store)
        assert "left alone: test (4)" in notes(store)
        store, _ = read(tmp_path / folder, split="test")
        assert [row["text"] for row in store] == sentences(4, seed=5)
        assert "there is no split 'dev'" in fault(tmp_path / folder, split="dev")
    store, _ = read(tmp_path / "rows", split="test")
    assert [row["text"] for row in store] == sentences(4, seed=5)


def test_splits_of_corpora(tmp_path: Path) -> None:
    store, _ = read(common_voice(tmp_path / "voice"), split="validation")
    assert {row["audio"].split("_")[3] for row in store} == {"dev"}
    common_voice(tmp_path / "other", {"validated": 3})
    assert len(read(tmp_path / "other")[0]) == 3
    assert len(read(tmp_path / "voice" / "test.tsv")[0]) == 2
    books = librispeech(tmp_path / "books", ["train-clean-100", "train-other-500", "dev-clean", "test-clean"])
    assert {row["speaker"] for row in read(books)[0]} == {"100", "101", "110", "111"}
    assert {row["speaker"] for row in read(books, split="dev-clean")[0]} == {"120", "121"}
    assert {row["speaker"] for row in read(books, split="test")[0]} == {"130", "131"}
    assert {row["audio"][:4] for row in read(books / "dev-clean")[0]} == {"120/", "121/"}
    assert "no split 'other'" in fault(books, split="other")


def test_texts_may_lie_in_a_mirrored_folder(tmp_path: Path) -> None:
    for number, text in enumerate(EXPECTED):
        spoken(tmp_path / "wavs" / "s1" / f"{number}.wav", text)
        (tmp_path / "transcripts" / "s1").mkdir(parents=True, exist_ok=True)
        (tmp_path / "transcripts" / "s1" / f"{number}.txt").write_text(f"{text}\n")
    (tmp_path / "README.txt").write_text("about")
    store, _ = read(tmp_path)
    assert [row["text"] for row in store] == EXPECTED


def test_lines_of_a_text_are_one_transcript(tmp_path: Path) -> None:
    spoken(tmp_path / "a.wav", "sun")
    (tmp_path / "a.txt").write_text("\ufeffthe sun\n\n  and  the rain\n", encoding="utf-8")
    spoken(tmp_path / "b.wav", "rain")
    (tmp_path / "b.txt").write_bytes("die Tür".encode("cp1252"))
    store, _ = read(tmp_path)
    assert [row["text"] for row in store] == ["the sun and the rain", "die Tür"]
    assert "1 text files are of another encoding than UTF-8" in notes(store)


# Data sets


def test_hugging_face_data_sets_give_their_bytes(tmp_path: Path) -> None:
    import datasets

    rows = rows_of(tmp_path / "src", EXPECTED, suffix=".flac")
    columns = {
        "audio": [{"path": row["audio"], "bytes": (tmp_path / "src" / row["audio"]).read_bytes()} for row in rows],
        "sentence": EXPECTED,
        "speaker_id": [3, 4, 5, 6],
    }
    data_set = datasets.Dataset.from_dict(columns).cast_column("audio", datasets.Audio())
    datasets.disable_progress_bars()
    data_set.save_to_disk(str(tmp_path / "saved"))
    data_set.to_parquet(str(tmp_path / "rows.parquet"))
    datasets.DatasetDict({"train": data_set, "test": data_set.select([1])}).save_to_disk(str(tmp_path / "both"))
    digests = set()
    for source, split, count in (("saved", None, 4), ("rows.parquet", None, 4), ("both", None, 4), ("both", "test", 1)):
        shape = SpeechShape(store=RecordingStore(tmp_path / "kept"))
        store, _ = read(tmp_path / source, split=split, shape=shape)
        assert [row["text"] for row in store] == (EXPECTED if count == 4 else EXPECTED[1:2])
        assert store[0]["speaker"] == ("3" if count == 4 else "4")
        assert shape.folders[-1] == tmp_path / "kept"
        assert store[0]["audio"].endswith(".flac")
        digests.update(row["content"] for row in store)
    assert len(digests) == 4
    assert len(list((tmp_path / "kept").rglob("*.flac"))) == 4


def test_samples_in_rows_are_written_as_they_are(tmp_path: Path) -> None:
    shape = SpeechShape(store=RecordingStore(tmp_path / "kept"))
    wave = speechlike("sun", 8_000)
    held = save(tmp_path / "a.ogg", wave, 8_000).read_bytes()
    rows = [
        {"audio": {"array": wave, "sampling_rate": 8_000, "path": None}, "text": "sun"},
        {"audio": {"array": np.stack([wave, wave]), "sampling_rate": 8_000}, "text": "suns"},
        {"audio": held, "text": "moon"},
    ]
    store, _ = read(rows, shape=shape)
    assert [(row["rate"], row["channels"]) for row in store] == [(8_000, 1), (8_000, 2), (8_000, 1)]
    place = place_of(store[0], shape.folders)
    assert place is not None
    np.testing.assert_array_equal(read_audio(place, rate=8_000), wave)
    for value, said in (
        ({"array": wave}, "is an array of samples whose sampling_rate is None"),
        (
            {"array": np.zeros((2, 2, 2)), "sampling_rate": 8_000},
            "is an array of the shape [2, 2, 2], which is no sound",
        ),
        (b"no sound \x00\x01", "has no header one of a known format"),
    ):
        assert said in fault(
            [{"audio": value, "text": "x"}], shape=SpeechShape(store=RecordingStore(tmp_path / "kept"))
        )
