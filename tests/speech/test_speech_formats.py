"""Layouts of speech data sets through the door that a run uses: recognised, said, paired; and every fault by name."""

from __future__ import annotations

import json
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
from tunesmith.data.source import RowStore, read_rows
from tunesmith.errors import UserError
from tunesmith.speech.audio import place_of, read_audio
from tunesmith.speech.formats import SpeechShape
from tunesmith.speech.kept import RecordingStore


def read(source: Any, **options: Any) -> tuple[RowStore, SpeechShape]:
    shape = options.pop("shape", None) or SpeechShape()
    return read_rows(source, shape=shape, **options), shape


def fault(source: Any, **options: Any) -> str:
    """The error as a person sees it."""
    with pytest.raises(UserError) as error:
        read(source, **options)
    assert error.value.fix
    return str(error.value)


def notes(store: RowStore) -> str:
    return "\n".join(store.report.notes)


EXPECTED = sentences(4)
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
