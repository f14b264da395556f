"""Recordings at fault are found in full and marked by side; a second audit decodes nothing; what is missing is said."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.fixtures.sounds import RATE, Wave, save, sentences, speechlike
from tunesmith.audit.audio import audio_findings
from tunesmith.audit.data import AuditData, Wishes
from tunesmith.audit.found import Found, Skipped, View
from tunesmith.audit.kept import Kept
from tunesmith.prepare import read_sides
from tunesmith.recipe import read_recipe
from tunesmith.speech import heard
from tunesmith.speech.audio import channel_levels_db
from tunesmith.speech.conditions import conditions, decay_seconds


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test hears for itself."""
    monkeypatch.setattr(heard, "KEPT", heard.Kept())


def voice(text: str, seed: int) -> Wave:
    """Drawn speech with a little silence around and the hiss of a microphone, up to 8 kHz."""
    wave = np.pad(0.3 * speechlike(text, seed=seed), (3_200, 3_200))
    return (wave + np.random.default_rng(seed).normal(0, 1e-4, len(wave))).astype(np.float32)


def folder_of(folder: Path, waves: Mapping[str, tuple[str, np.ndarray, int]], **more: Any) -> Path:
    """Recordings with a ``metadata.jsonl``: name to transcript, samples and rate."""
    for name, (_, wave, rate) in waves.items():
        save(folder / name, wave, rate, subtype="PCM_16")
    rows = [{"file_name": name, "text": text, "language": "en", **more} for name, (text, _, _) in waves.items()]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def speech(count: int, first: int = 0, words: int = 5) -> dict[str, tuple[str, np.ndarray, int]]:
    return {
        f"clip-{n:03d}.wav": (text, voice(text, n), RATE)
        for n, text in enumerate(sentences(count, words=words, seed=first), first)
    }


def opened(folder: Path, **sections: Any) -> AuditData:
    data = {"train": str(folder / "train"), "eval": str(folder / "eval"), "validation": 0, **sections}
    written = {"task": "speech-to-text", "model": "starter:none", "data": data, "options": {"language": "en"}}
    source = read_recipe(folder / "recipe.yaml", text=yaml.safe_dump(written))
    return AuditData(read_sides(source), Kept(folder / "measures.sqlite"), Wishes(), has_weights=False)


def said(data: AuditData) -> tuple[dict[tuple[str, str], Found], dict[str, View]]:
    """Findings by code and side, and views by name."""
    found: dict[tuple[str, str], Found] = {}
    views: dict[str, View] = {}
    for one in audio_findings(data):
        assert not isinstance(one, Skipped)
        if isinstance(one, View):
            views[one.name] = one
        else:
            sides = {mark.side for mark in one.marks} or {"both"}
            assert one.code == "conflicting-texts" or one.code == "mixed-rates" or len(sides) == 1
            found[one.code, min(sides)] = one
    return found, views


def rows(found: dict[tuple[str, str], Found], code: str, side: str = "train") -> list[str]:
    return sorted(mark.row for mark in found[code, side].marks) if (code, side) in found else []


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    folder_of(tmp_path / "train", speech(30))
    folder_of(tmp_path / "eval", speech(8, 100))
    return tmp_path


def test_good_recordings_have_no_fault_and_every_view(clean: Path) -> None:
    found, views = said(opened(clean))
    assert {code for code, _ in found} <= {"noisy", "narrow-band", "speaking-rate", "near-audio-leak", "few"}, found
    assert {
        "audio-durations",
        "audio-loudness",
        "audio-noise",
        "audio-bandwidth",
        "audio-rates",
        "audio-voices",
    } <= set(views)
    assert sum(views["audio-durations"].data["counts"]["train"]) == 30
    assert sum(views["audio-durations"].data["counts"]["eval"]) == 8
    assert "can't be told" in views["audio-voices"].said[0]
    json.dumps([view.to_json() for view in views.values()])


def damaged() -> Iterator[tuple[str, str, Any]]:
    """A code, and what makes a recording so: samples and rate to samples and rate."""
    times = np.arange(10 * RATE) / RATE
    hum = (0.02 * np.sin(100 * np.pi * times) + 0.01 * np.sin(200 * np.pi * times)).astype(np.float32)
    yield "clipped", "loud.wav", lambda wave: np.clip(12 * wave, -1, 1)
    yield "silent", "silent.wav", lambda wave: 0 * wave
    yield "dc-offset", "offset.wav", lambda wave: wave + 0.05
    yield "mains-hum", "hum.wav", lambda wave: wave + hum[: len(wave)]
    yield "too-quiet", "quiet.wav", lambda wave: 0.03 * wave
    yield "cut-speech", "cut.wav", lambda wave: wave[3_200 + 1_900 :]
    yield "long-pause", "pause.wav", lambda wave: np.insert(wave, len(wave) // 2, np.zeros(4 * RATE, np.float32))
    yield "dead-channel", "dead.wav", lambda wave: np.stack([wave, 0 * wave], 1)
    yield "cancelling-channels", "cancel.wav", lambda wave: np.stack([wave, -wave], 1)


@pytest.mark.parametrize(("code", "name", "damage"), list(damaged()), ids=[code for code, _, _ in damaged()])
def test_a_damaged_recording_is_found_and_no_other(clean: Path, code: str, name: str, damage: Any) -> None:
    text = "moon over hill and lake"
    folder_of(clean / "train", {**speech(30), name: (text, damage(voice(text, 77)), RATE)})
    found, _ = said(opened(clean))
    assert rows(found, code) == [name]
    assert found[code, "train"].marks[0].note
    assert rows(found, code, "eval") == []


def test_all_rows_are_marked_not_a_handful(clean: Path) -> None:
    silent = {f"s{n}.wav": ("words", np.zeros(RATE, np.float32), RATE) for n in range(9)}
    folder_of(clean / "train", {**speech(30), **silent})
    found, _ = said(opened(clean))
    assert rows(found, "silent") == sorted(silent)
    assert found["silent", "train"].remedy == "drop"
    assert found["silent", "train"].level == "error"
    assert "9 of 39" in found["silent", "train"].what


def test_files_that_reading_left_out_are_unreadable(clean: Path) -> None:
    broken = clean / "train" / "clip-003.wav"
    broken.write_bytes(broken.read_bytes()[:-4000])
    (clean / "train" / "clip-004.wav").write_text("<html>not found</html>", encoding="utf-8")
    (clean / "train" / "clip-005.wav").write_bytes(b"")
    found, _ = said(opened(clean, broken_rows=0.5))
    assert rows(found, "unreadable-audio") == ["clip-003.wav", "clip-004.wav", "clip-005.wav"]
    assert "3 of 30" in found["unreadable-audio", "train"].what


def test_a_leak_marks_the_training_row_and_names_its_twin(clean: Path) -> None:
    (clean / "eval" / "clip-100.wav").write_bytes((clean / "train" / "clip-002.wav").read_bytes())
    twice = speech(30)
    twice["again.wav"] = (twice["clip-004.wav"][0], 0.5 * twice["clip-004.wav"][1], RATE)
    folder_of(clean / "train", {**twice, "exact.wav": twice["clip-006.wav"]})
    found, _ = said(opened(clean))
    assert [(m.row, m.side, m.twin) for m in found["audio-in-both-splits", "train"].marks] == [
        ("clip-002.wav", "train", "eval:clip-100.wav")
    ]
    assert [(m.row, m.twin) for m in found["repeated-audio", "train"].marks] == [("exact.wav", "train:clip-006.wav")]
    near = {(m.row, m.twin) for m in found["near-repeated-audio", "train"].marks}
    assert ("again.wav", "train:clip-004.wav") in near
    assert "exact.wav" not in {row for row, _ in near}


def test_a_second_audit_decodes_nothing(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = said(opened(clean))
    monkeypatch.setattr(heard, "KEPT", heard.Kept())  # as another process has it
    data = opened(clean)

    def never(*_: Any) -> None:
        raise AssertionError("a recording was decoded again")

    monkeypatch.setattr(type(data.task), "beginning", never)
    assert said(data) == first


def test_held_out_recordings_of_other_conditions_are_named(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", speech(30))
    rng = np.random.default_rng(0)
    noisy = {
        name: (text, wave + rng.normal(0, 0.03, len(wave)).astype(np.float32), rate)
        for name, (text, wave, rate) in speech(30, 100).items()
    }
    folder_of(tmp_path / "eval", noisy)
    found, views = said(opened(tmp_path))
    assert "signal-to-noise ratio" in found["audio-drift", "both"].what
    assert any("noisier than nearly all" in line for line in views["audio-noise"].said)
    assert any("a phone line, a car or a busy room will be worse" in line for line in views["audio-noise"].said)


def test_rates_and_voices_are_counted(tmp_path: Path) -> None:
    low = {name: (text, wave[::2], RATE // 2) for name, (text, wave, _) in speech(3, 50).items()}
    folder_of(tmp_path / "train", {**speech(30), **low}, speaker="anna")
    folder_of(tmp_path / "eval", speech(8, 100), speaker="ben")
    found, views = said(opened(tmp_path))
    assert sorted(m.row for m in found["mixed-rates", "train"].marks) == sorted(low)
    assert views["audio-rates"].data["names"] == ["8,000 Hz", "16,000 Hz"]
    assert views["audio-voices"].data == {"names": ["anna", "ben"], "counts": {"train": [33, 0], "eval": [0, 8]}}
    assert any("1 voices are few" in line for line in views["audio-voices"].said)
    assert any("No voice is on both sides" in line for line in views["audio-voices"].said)


def test_outliers_of_length_and_speed_are_named(clean: Path) -> None:
    long = " ".join(sentences(30, words=4, seed=9))
    fast = {"fast.wav": (f"{sentences(1, words=5, seed=8)[0]} " * 5, voice("moon hill lake tree", 5), RATE)}
    folder_of(clean / "train", {**speech(40), "long.wav": (long, voice(long[:300], 3), RATE), **fast})
    found, _ = said(opened(clean))
    assert rows(found, "duration-outlier") == ["long.wav"]
    assert "fast.wav" in rows(found, "speaking-rate-outlier") + rows(found, "speaking-rate")


def in_a_room(wave: Wave, seconds: float, seed: int) -> Wave:
    """Speech in a room in which sound dies away by 60 dB in so many seconds."""
    rng, length = np.random.default_rng(seed), round(1.2 * seconds * RATE)
    echo = 0.05 * rng.normal(size=length) * 10 ** (-3 * np.arange(length) / (seconds * RATE))
    echo[0] = 1
    return np.convolve(wave, echo).astype(np.float32)


def test_sound_dies_away_the_slower_the_more_a_room_rings() -> None:
    pause = np.zeros(RATE, np.float32)
    waves = [np.concatenate([voice(text, n), pause] * 3) for n, text in enumerate(sentences(8, words=4))]
    middles = []
    for seconds in (0.3, 0.6, 1.0):
        decays = [decay_seconds(in_a_room(wave, seconds, n), RATE) for n, wave in enumerate(waves)]
        known = [decay for decay in decays if decay is not None]
        assert len(known) >= 6
        middles.append(float(np.median(known)))
    assert middles[0] < middles[1] < middles[2]
    assert 0.35 < middles[1] < 0.9


def test_conditions_of_silence_and_of_one_sample_are_finite() -> None:
    for wave in (np.zeros(RATE, np.float32), np.ones(1, np.float32)):
        found = conditions(wave, RATE)
        assert found.decay is None
        assert np.isfinite([found.offset, found.hum_db, found.start_db, found.end_db, found.pause]).all()


def test_levels_of_channels_are_of_the_part_alone(tmp_path: Path) -> None:
    wave = np.zeros((2 * RATE, 2), np.float32)
    wave[RATE:, 0] = 0.5
    levels, mixed = channel_levels_db(save(tmp_path / "a.wav", wave, subtype="FLOAT"), 1.0, 2.0)
    assert levels == pytest.approx([-6.02, -120.0], abs=0.01)
    assert mixed == pytest.approx(-12.04, abs=0.01)
    assert channel_levels_db(tmp_path / "a.wav", 0.0, 1.0) == ([-120.0, -120.0], -120.0)
