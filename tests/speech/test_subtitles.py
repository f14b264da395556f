from __future__ import annotations

import json
import re
from itertools import pairwise

import numpy as np
import pytest

from tunesmith.speech.subtitles import (
    COLUMNS,
    LINES,
    Segment,
    joined,
    read_srt,
    read_vtt,
    stitch,
    to_json,
    to_srt,
    to_vtt,
)

TALK = [
    Segment(0.0, 2.5, "Hello there."),
    Segment(2.5, 61.25, "How are you?"),
    Segment(3661.0, 3662.04, "Fine & well <3"),
]


def test_srt_is_written_as_players_read_it() -> None:
    assert to_srt(TALK) == (
        "1\n00:00:00,000 --> 00:00:02,500\nHello there.\n\n"
        "2\n00:00:02,500 --> 00:01:01,250\nHow are you?\n\n"
        "3\n01:01:01,000 --> 01:01:02,040\nFine & well <3\n"
    )


def test_vtt_is_written_as_browsers_read_it() -> None:
    assert to_vtt(TALK) == (
        "WEBVTT\n\n00:00.000 --> 00:02.500\nHello there.\n\n"
        "00:02.500 --> 01:01.250\nHow are you?\n\n"
        "01:01:01.000 --> 01:01:02.040\nFine &amp; well &lt;3\n"
    )


def test_both_come_back_as_they_were() -> None:
    assert read_srt(to_srt(TALK)) == TALK
    assert read_vtt(to_vtt(TALK)) == TALK
    assert read_srt(to_srt([])) == read_vtt(to_vtt([])) == []
    assert to_srt([]) == ""
    assert to_vtt([]) == "WEBVTT\n"


def test_json_holds_whole_segments() -> None:
    told = json.loads(to_json([*TALK, Segment(5, 6, " ")], language="en"))
    assert told["language"] == "en"
    assert told["text"] == "Hello there. How are you? Fine & well <3"
    assert told["segments"][1] == {"start": 2.5, "end": 61.25, "text": "How are you?"}
    assert len(told["segments"]) == 3
    assert joined(["你好", "世界"]) == "你好世界"


def test_text_is_never_taken_for_a_time_or_markup() -> None:
    nasty = Segment(0, 1, "a --> b\n\n2\n00:00:09,000 --> 00:00:10,000\nx <b>bold</b> &amp; \x00\u2028NOTE")
    for read, text in ((read_srt, to_srt([nasty])), (read_vtt, to_vtt([nasty]))):
        cues = read(text)
        assert cues[-1].end <= 1.0
        assert text.count("-->") == len(cues)
    (back,) = read_vtt(to_vtt([Segment(0, 1, "a --> b <i> &lt; c")]))
    assert back.text == "a --> b <i> &lt; c"
    assert "<i>" not in to_vtt([Segment(0, 1, "a --> b <i> &lt; c")])


def test_long_segments_become_cues_that_fit_and_share_the_time() -> None:
    text = " ".join(f"word{n}" for n in range(60))
    cues = read_srt(to_srt([Segment(10, 40, text)]))
    assert len(cues) > 3
    assert " ".join(cue.text for cue in cues) == text
    assert (cues[0].start, cues[-1].end) == (10, 40)
    assert all(abs((cue.end - cue.start) - 30 * len(cue.text) / len(text)) < 1.5 for cue in cues)
    for block in to_srt([Segment(10, 40, text)]).split("\n\n"):
        lines = block.strip().split("\n")[2:]
        assert 1 <= len(lines) <= LINES
        assert all(len(line) <= COLUMNS for line in lines)


def test_a_word_longer_than_a_line_and_scripts_without_spaces_are_broken() -> None:
    for text, per_line in (("x" * 100, COLUMNS), ("字" * 60 + "。", COLUMNS // 2 + 1), ("किताबें" * 20, 80)):
        cues = to_vtt([Segment(0, 9, text)])
        lines = [line for line in cues.split("\n") if line and "-->" not in line and line != "WEBVTT"]
        assert "".join(lines) == text
        assert all(len(line) <= per_line for line in lines)
        assert not any(line.startswith(("。", "\u093f", "\u093e", "\u0902")) for line in lines)


def test_times_never_overlap_go_backwards_or_vanish() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        segments = []
        for n in range(int(rng.integers(1, 12))):
            start, end = rng.uniform(-3, 20, 2)
            if rng.random() < 0.2:
                start = round(start)
            if rng.random() < 0.1:
                end = float(rng.choice([np.nan, np.inf, start]))
            if rng.random() < 0.05:
                start = float("nan")
            segments.append(Segment(float(start), float(end), f"s{n} " + "word " * int(rng.integers(0, 40))))
        for cues in (read_srt(to_srt(segments)), read_vtt(to_vtt(segments))):
            assert all(cue.start < cue.end for cue in cues)
            assert all(one.end <= other.start for one, other in pairwise(cues))
            assert cues[0].start >= 0
            said = sorted(" ".join(cue.text for cue in cues).split())
            assert said == sorted(" ".join(one.text for one in segments).split())
        told = json.loads(to_json(segments))["segments"]
        assert len(told) == len(segments)
        assert all(one["end"] <= other["start"] for one, other in pairwise(told))


def test_readers_take_what_others_write() -> None:
    srt = (
        "\ufeff1\r\n0:00:01.5 --> 00:00:02,250  X1:40\r\n<i>Hi</i>\r\n{you} <3\r\n\r\n"
        "00:00:03,000-->00:00:04,000\r\nno number\r\n\r\nlost\r\n"
    )
    assert read_srt(srt) == [Segment(1.5, 2.25, "Hi {you} <3"), Segment(3.0, 4.0, "no number")]
    vtt = (
        "WEBVTT - title\nKind: captions\n\nNOTE 00:00.000 --> 00:09.000\nnothing\n\nSTYLE\n::cue {}\n\n"
        "id 7\n00:01.000 --> 00:02.000 align:start\n<v Ann>Hi &amp; <c.loud>bye</c>\n\n\n"
        "01:00:00.000 --> 01:00:01.000\nlate\n"
    )
    assert read_vtt(vtt) == [Segment(1, 2, "Hi & bye"), Segment(3600, 3601, "late")]
    assert read_srt("") == read_vtt("no cues") == []


def spoken(words: list[str], begin: float, end: float, offset: float) -> list[Segment]:
    """A window that hears words of one half second each, five to a segment."""
    heard = [n for n in range(len(words)) if begin <= n / 2 and (n + 1) / 2 <= end]
    return [
        Segment(group[0] / 2 - offset, (group[-1] + 1) / 2 - offset, " ".join(words[n] for n in group))
        for group in (heard[n : n + 5] for n in range(0, len(heard), 5))
    ]


def test_windows_are_joined_where_they_say_the_same() -> None:
    rng = np.random.default_rng(1)
    words = [f"w{n}" for n in rng.integers(0, 40, 160)]
    windows = [(float(begin), spoken(words, begin, begin + 30, begin)) for begin in (0, 25, 50)]
    found = stitch(windows, 5)
    assert " ".join(one.text for one in found).split() == words
    assert all(one.start < one.end for one in found)
    assert all(one.end <= other.start for one, other in pairwise(found))
    assert found[0].start == 0
    assert found[-1].end == pytest.approx(80)


def test_what_a_window_mishears_at_its_edge_is_dropped() -> None:
    first = (0.0, [Segment(0, 20, "it was a bright cold day in april"), Segment(20, 30, "and the clocks were strike")])
    second = (25.0, [Segment(0, 5, "ox were striking thirteen."), Segment(5, 9, "Winston Smith")])
    found = stitch([second, first], 5)
    told = " ".join(one.text for one in found)
    assert told == "it was a bright cold day in april and the clocks were striking thirteen. Winston Smith"


def test_case_and_punctuation_do_not_hide_what_is_said_twice() -> None:
    first = (0.0, [Segment(0, 30, "So we all went home, and then")])
    second = (20.0, [Segment(0, 10, "We all went home. And then"), Segment(10, 12, "slept.")])
    assert " ".join(one.text for one in stitch([first, second], 10)) == "So we all went home, and then slept."


def test_windows_without_a_common_word_are_cut_in_the_middle() -> None:
    first = (0.0, [Segment(0, 10, "a b c d e f g h i j")])
    second = (6.0, [Segment(0, 10, "1 2 3 4 5 6 7 8 9 0")])
    found = stitch([first, second], 4)
    assert " ".join(one.text for one in found).split() == [*"abcdefgh", *"34567890"]


def test_nothing_is_taken_out_without_an_overlap() -> None:
    windows = [(0.0, [Segment(28, 30, "no no")]), (30.0, [Segment(0, 2, "no no")]), (60.0, [])]
    assert [one.text for one in stitch(windows, 0)] == ["no no", "no no"]
    assert stitch([], 5) == stitch([(0.0, [])], 5) == []


def test_scripts_without_spaces_are_joined_by_character() -> None:
    first = (0.0, [Segment(0, 30, "今天天气很好我们去公园散")])
    second = (25.0, [Segment(0, 6, "去公园散步吧")])
    assert joined([one.text for one in stitch([first, second], 5)]) == "今天天气很好我们去公园散步吧"


def test_times_of_stitched_segments_rise_whatever_the_windows_say() -> None:
    rng = np.random.default_rng(7)
    for _ in range(100):
        windows = []
        for offset in (0.0, 20.0, 40.0):
            starts = rng.uniform(-1, 31, 6)
            ends = starts + rng.uniform(-1, 9, 6)
            ends[0] = np.nan
            texts = [" ".join(rng.choice(["a", "b", "c", "d"], 4)) for _ in starts]
            windows.append(
                (offset, [Segment(float(s), float(e), t) for s, e, t in zip(starts, ends, texts, strict=True)])
            )
        found = stitch(windows, 10)
        assert all(one.start < one.end and re.fullmatch(r"[abcd ]+", one.text) for one in found)
        assert all(one.end <= other.start for one, other in pairwise(found))
