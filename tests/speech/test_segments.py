"""Cuts lie in pauses, parts are short enough and nothing is lost; rows that are cut keep every word."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from tests.fixtures.sounds import RATE, Wave, speechlike
from tunesmith.speech.segments import cut_points, cut_rows, speech_windows, windows


def pause(seconds: float, loud: float = 1e-4) -> Wave:
    return np.random.default_rng(5).normal(0, loud, round(seconds * RATE)).astype(np.float32)


def lecture(lengths: list[float], gap: float = 0.8) -> tuple[Wave, list[tuple[float, float]]]:
    """Stretches of speech of given seconds with pauses between; and where each pause is."""
    pieces, gaps, at = [], [], 0.0
    for number, seconds in enumerate(lengths):
        voice = np.resize(speechlike("somebodyspeaks", seed=number)[1_600:-1_600], round(seconds * RATE))
        pieces += [voice, pause(gap)]
        gaps.append((at + seconds, at + seconds + gap))
        at += seconds + gap
    return np.concatenate(pieces), gaps


def spoken(count: int, gap: float = 0.3) -> tuple[Wave, list[dict[str, Any]]]:
    """Words one after the other and their times; after every seventh a longer pause."""
    pieces, words, at = [pause(0.2)], [], 0.2
    for number in range(count):
        word = f"w{number}"
        wave = speechlike(word * 3, seed=1)[1_600:-1_600]
        words.append({"word": word, "start": round(at, 3), "end": round(at + len(wave) / RATE, 3)})
        rest = pause(1.0 if number % 7 == 6 else gap)
        pieces += [wave, rest]
        at += (len(wave) + len(rest)) / RATE
    return np.concatenate(pieces), words


def test_parts_are_cut_in_pauses_and_cover_all() -> None:
    wave, gaps = lecture([9, 8, 12, 7, 11, 14, 9, 13])
    parts = cut_points(wave, RATE)
    assert parts[0][0] == 0
    assert parts[-1][1] == pytest.approx(len(wave) / RATE)
    assert [a[1] for a in parts[:-1]] == [b[0] for b in parts[1:]]
    assert all(10 <= end - start <= 30 for start, end in parts)
    assert len(parts) == 4
    for _, cut in parts[:-1]:
        assert any(start + 0.1 < cut < end - 0.1 for start, end in gaps), cut


def test_parts_are_short_enough_where_nobody_pauses() -> None:
    wave = np.random.default_rng(0).normal(0, 0.1, 95 * RATE).astype(np.float32)
    for longest, shortest in ((30.0, None), (10.0, 5.0), (7.0, 100.0)):
        parts = cut_points(wave, RATE, longest, shortest)
        assert max(end - start for start, end in parts) <= longest
        assert min(end - start for start, end in parts) >= min(shortest or 10, longest / 2) - 0.01
        assert sum(end - start for start, end in parts) == pytest.approx(95)


def test_short_recordings_are_one_part_and_empty_ones_none() -> None:
    assert cut_points(pause(29.9), RATE) == [(0, 29.9)]
    assert cut_points(pause(30), RATE) == [(0, 30)]
    assert cut_points(pause(0), RATE) == []
    assert len(cut_points(pause(30.5), RATE)) == 2
    assert len(cut_points(np.zeros(61 * RATE, dtype=np.float32), RATE)) == 3


def test_a_row_is_cut_between_words_and_keeps_all_of_them() -> None:
    wave, words = spoken(120)
    text = " ".join(f"{word['word'].title()}{',' if n % 5 == 0 else ''}" for n, word in enumerate(words)) + "!"
    row = {"id": "talk", "audio": "a.wav", "text": text, "words": words, "speaker": "s", "content": "c", "rate": RATE}
    rows = cut_rows(row, wave)
    assert not isinstance(rows, str)
    assert len(rows) >= 2
    assert [one["id"] for one in rows] == [f"talk#{number}" for number in range(1, len(rows) + 1)]
    assert " ".join(one["text"] for one in rows) == text
    assert [word for one in rows for word in one["words"]] == words
    for one in rows:
        assert one["seconds"] == pytest.approx(one["end"] - one["start"], abs=2e-3)
        assert one["seconds"] <= 30
        assert {one["speaker"], one["content"], one["audio"]} == {"s", "c", "a.wav"}
        assert one["start"] <= one["words"][0]["start"]
        assert one["words"][-1]["end"] <= one["end"]
    for one in rows[:-1]:  # in the longer pauses
        assert (int(one["words"][-1]["word"][1:]) % 7) == 6
        assert one["seconds"] >= 10
    assert all(a["end"] <= b["start"] + 1e-3 for a, b in itertools.pairwise(rows))


def test_the_last_part_is_no_scrap() -> None:
    wave, words = spoken(50)
    seconds = words[-1]["end"] + 1
    rows = cut_rows({"id": "r", "text": "", "words": words}, wave, longest=seconds - 1.5, shortest=4.0)
    assert not isinstance(rows, str)
    assert len(rows) == 2
    assert rows[-1]["seconds"] >= 4


def test_times_count_from_the_beginning_of_the_file() -> None:
    wave, words = spoken(60)
    moved = [{**word, "start": word["start"] + 100, "end": word["end"] + 100} for word in words]
    row = {"id": "r", "text": "", "words": moved, "start": 100.0, "end": 100 + len(wave) / RATE}
    rows, plain = cut_rows(row, wave), cut_rows({"id": "r", "text": "", "words": words}, wave)
    assert not isinstance(rows, str)
    assert not isinstance(plain, str)
    assert [one["start"] for one in rows] == pytest.approx([one["start"] + 100 for one in plain], abs=2e-3)
    assert rows[0]["text"].split()[:2] == ["w0", "w1"]


def test_long_silence_between_words_is_in_no_row() -> None:
    first, words = spoken(8)
    second, more = spoken(8)
    at = len(first) / RATE + 50
    late = [{**word, "start": word["start"] + at, "end": word["end"] + at} for word in more]
    rows = cut_rows({"id": "r", "text": "other", "words": words + late}, np.concatenate([first, pause(50), second]))
    assert not isinstance(rows, str)
    assert [len(one["words"]) for one in rows] == [8, 8]
    assert rows[0]["end"] == pytest.approx(words[-1]["end"] + 1, abs=0.01)
    assert rows[1]["start"] == pytest.approx(late[0]["start"] - 1, abs=0.01)
    assert rows[0]["text"] == "w0 w1 w2 w3 w4 w5 w6 w7"


def test_scripts_without_spaces_and_what_opens_a_word_stay_whole() -> None:
    wave, words = spoken(60)
    signs = [{**word, "word": chr(0x4E00 + number)} for number, word in enumerate(words)]
    text = "「" + "".join(f"{word['word']}{'。「' if n % 7 == 6 else ''}" for n, word in enumerate(signs))
    rows = cut_rows({"id": "r", "text": text, "words": signs, "language": "zh"}, wave)
    assert not isinstance(rows, str)
    assert "".join(one["text"] for one in rows) == text
    assert all(one["text"].startswith("「") for one in rows)
    rows = cut_rows({"id": "r", "text": "不", "words": signs, "language": "zh"}, wave)
    assert "".join(one["text"] for one in rows) == "".join(word["word"] for word in signs)  # type: ignore[index]


def test_a_short_row_stays_as_it_is() -> None:
    row = {"id": "r", "text": "hello"}
    assert cut_rows(row, pause(30)) == [row]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (None, "row r7 lasts 40.0 seconds, more than 30, and has no times of its words"),
        ([], "has no times of its words"),
        ("hello", "row r7: words is no list"),
        (["hello"], "word 1 is no mapping"),
        ([{"word": "a", "start": 1}], "word 1 'a' has no start and end in seconds"),
        ([{"word": "a", "start": "x", "end": 2}], "word 1 'a' has no start and end in seconds"),
        ([{"word": "a", "start": float("nan"), "end": 2}], "no finite numbers"),
        ([{"word": "a", "start": 3, "end": 2}], "word 1 'a' ends before it starts (3 to 2)"),
        (
            [{"word": "a", "start": 3, "end": 4}, {"word": "b", "start": 2, "end": 5}],
            "word 2 'b' starts at 2, before the word before it (3)",
        ),
        ([{"word": "a", "start": 39, "end": 41}], "word 1 'a' (39 to 41) lies outside of the recording (0 to 40)"),
        ([{"word": "a", "start": -1, "end": 1}], "lies outside of the recording"),
        ([{"word": "a", "start": 1, "end": 39}], "word 1 'a' cannot be cut off within 30 seconds"),
    ],
)
def test_what_cannot_be_cut_names_the_row_and_the_word(words: Any, reason: str) -> None:
    found = cut_rows({"id": "r7", "text": "a", "words": words}, pause(40))
    assert isinstance(found, str)
    assert found.startswith("row r7")
    assert reason in found


def test_windows_overlap_and_end_with_the_recording() -> None:
    assert windows(70) == [(0, 30), (25, 55), (50, 70)]
    assert windows(30) == [(0, 30)]
    assert windows(12.5) == [(0, 12.5)]
    assert windows(0) == []
    assert windows(80, 30, 0) == [(0, 30), (30, 60), (60, 80)]
    with pytest.raises(ValueError, match="overlap of 30"):
        windows(70, 30, 30)


def test_windows_of_speech_meet_in_pauses_and_overlap_without_them() -> None:
    wave, gaps = lecture([9, 8, 12, 7, 11, 14])
    found = speech_windows(wave, RATE)
    assert found[0][0] == 0
    assert found[-1][1] == pytest.approx(len(wave) / RATE)
    for (_, end), (start, _) in itertools.pairwise(found):
        assert start == end
        assert any(low < end < high for low, high in gaps)
    steady = np.random.default_rng(0).normal(0, 0.1, 80 * RATE).astype(np.float32)
    found = speech_windows(steady, RATE)
    assert all(end - start <= 30 for start, end in found)
    assert all(end - start == pytest.approx(5) for (_, end), (start, _) in itertools.pairwise(found))
    assert (found[0][0], found[-1][1]) == (0, 80)


def test_windows_of_silence_are_left_out() -> None:
    wave, _ = lecture([9])
    found = speech_windows(np.concatenate([wave, np.zeros(100 * RATE, dtype=np.float32)]), RATE)
    assert found[0][0] == 0
    assert found[-1][1] < 40
    assert speech_windows(np.zeros(100 * RATE, dtype=np.float32), RATE) == []
    assert speech_windows(np.zeros(0, dtype=np.float32), RATE) == []
    assert speech_windows(wave, RATE) == [(0, len(wave) / RATE)]
