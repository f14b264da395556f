"""What a person names to be transcribed: a recording, a folder, a pattern, a file of rows; each fault with its row."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures.sounds import librispeech, manifest, save, spoken, tone, write_rows
from tunesmith.errors import UserError
from tunesmith.speech.audio import read_audio
from tunesmith.speech.formats import SpeechShape
from tunesmith.speech.inputs import rows_named
from tunesmith.types import Row


def named(given: str | Path, **columns: str) -> list[Row]:
    return rows_named(str(given), columns, SpeechShape(answered=False))


def test_a_recording_by_its_name_or_its_content(tmp_path: Path) -> None:
    place = save(tmp_path / "a.wav", tone(1.5, 400, 44_100), 44_100)
    (row,) = named(place)
    assert (row["id"], row["audio"], row["file_name"]) == (str(place), str(place), str(place))
    assert (row["seconds"], row["rate"], row["channels"]) == (1.5, 44_100, 1)
    (row,) = named(place.rename(tmp_path / "voice"))
    assert row["seconds"] == 1.5


def test_folders_and_patterns_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = librispeech(tmp_path / "data")
    rows = named(folder)
    assert [row["id"] for row in rows] == sorted(str(p.relative_to(folder)) for p in folder.rglob("*.flac"))
    assert all(len(read_audio(Path(row["audio"]))) for row in rows)
    monkeypatch.chdir(tmp_path)
    assert [row["id"] for row in named("data/*/*/*0000.flac")] == [
        "data/100/1007/100-1007-0000.flac",
        "data/101/1017/101-1017-0000.flac",
    ]
    assert len(named("data/1*")) == 4


def test_a_file_of_rows_with_columns_parts_and_faults(tmp_path: Path) -> None:
    save(tmp_path / "calls" / "a.wav", tone(3, 400))
    (tmp_path / "calls" / "b.wav").write_text("no sound")
    rows = [
        {"id": "1", "call": "calls/a.wav", "from": "1", "end": "2.5", "lang": "en", "text": "secret"},
        {"id": "2", "call": "calls/b.wav", "from": "", "end": "", "lang": "en", "text": ""},
        {"id": "3", "call": "calls/c.wav", "from": "", "end": "", "lang": "en", "text": ""},
    ]
    found = named(write_rows(tmp_path / "rows.csv", rows), audio="call", start="from")
    first = dict(found[0])
    assert first.pop("content")
    assert first == {
        "id": "1",
        "audio": str(tmp_path / "calls" / "a.wav"),
        "file_name": "calls/a.wav",
        "start": 1.0,
        "end": 2.5,
        "seconds": 1.5,
        "language": "en",
        "rate": 16_000,
        "channels": 1,
    }
    assert [row["fault"] for row in found[1:]] == [
        "(calls/b.wav) is a text file, not a recording",
        "names the recording calls/c.wav, which is not there",
    ]
    assert found[1]["id"].endswith("rows.csv:3")
    assert "fault" not in found[0]


def test_a_manifest_needs_no_columns(tmp_path: Path) -> None:
    rows = named(manifest(tmp_path, 3))
    assert [row["file_name"] for row in rows] == [f"clips/clip-{n:03d}.wav" for n in range(3)]
    assert all(Path(row["audio"]).is_file() for row in rows)


def test_faults_go_with_their_recordings(tmp_path: Path) -> None:
    data = tmp_path / "data"
    spoken(data / "a.wav", "sun")
    (data / "b.m4a").write_bytes(b"\0\0\0\x20ftypM4A \0\0")
    (data / "c.wav").touch()
    (data / "d.wav").symlink_to(spoken(tmp_path / "out.wav", "rain"))
    rows = named(data)
    assert [row.get("fault", "")[:30] for row in rows] == [
        "",
        "is MP4 or M4A (AAC), which is ",
        "is empty (0 bytes)",
        "is a link that leads out of th",
    ]
    (row,) = named(data / "b.m4a")
    assert "ffmpeg -i b.m4a b.flac" in row["fault"]


def test_nothing_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    for given, said in (
        ("nowhere.wav", "there is no recording, folder or file"),
        (tmp_path, "holds no recording; it holds 1 .png"),
        (tmp_path / "*.wav", "nothing matches the pattern"),
        (tmp_path / "*.png", "matches 1 files, none of them a recording"),
        ("", "there is no recording, folder or file ''"),
    ):
        with pytest.raises(UserError, match=said.replace("(", r"\(")) as error:
            named(given)
        assert error.value.fix
