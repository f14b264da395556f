"""The audit's findings on recordings and transcripts: what was put in is found, named and counted, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from tests.fixtures.sounds import RATE, Wave, speechlike, tone
from tunesmith.errors import UserError
from tunesmith.speech.findings import CODES, sound_findings
from tunesmith.speech.heard import Kept
from tunesmith.speech.transcript_findings import main_script, script_of
from tunesmith.types import Finding

LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))


class Recordings:
    """Waves by name, and how often each was read."""

    def __init__(self) -> None:
        self.waves: dict[str, Wave] = {}
        self.reads: list[str] = []

    def __call__(self, row: Mapping[str, Any]) -> Wave:
        self.reads.append(row["audio"])
        if row["audio"] not in self.waves:
            raise UserError(f"{row['audio']} is not there", row["audio"], "put it there")
        return self.waves[row["audio"]]

    def rows(self, first: int, count: int, **values: Any) -> list[dict[str, Any]]:
        """Rows of different speech, each with words of its own, its header's figures, and what else is given."""
        rows = []
        for number in range(first, first + count):
            rng = np.random.default_rng(number)
            text = " ".join("".join(rng.choice(LETTERS, rng.integers(2, 6))) for _ in range(6))
            rows.append(self.row(f"r{number}", wide(speechlike(text, seed=number), number), text=text, **values))
        return rows

    def row(self, name: str, wave: Wave, **values: Any) -> dict[str, Any]:
        self.waves[f"{name}.wav"] = wave
        known = {"content": f"digest of {name}", "seconds": len(wave) / RATE, "rate": RATE, "language": "en"}
        return {"id": name, "audio": f"{name}.wav", "text": "some words here", **known, **values}


def wide(wave: Wave, seed: int) -> Wave:
    """With the faint hiss of a microphone, which reaches up to 8 kHz."""
    return (wave + np.random.default_rng(seed).normal(0, 0.003, len(wave))).astype(np.float32)


@pytest.fixture
def recordings() -> Recordings:
    return Recordings()


def findings(recordings: Recordings, train: Any, held_out: Any = (), **options: Any) -> dict[tuple[str, str], Finding]:
    options = {"most_label_tokens": None, "kept": Kept(), "held_out_source": "eval", **options}
    found = list(sound_findings(train, held_out, recordings, **options))
    assert {finding.code for finding in found} <= set(CODES)
    assert all(finding.fix and finding.where and len(finding.rows) <= 5 for finding in found)
    by_code = {(finding.where, finding.code): finding for finding in found}
    assert len(by_code) == len(found)
    return by_code


def only(found: dict[tuple[str, str], Finding]) -> Finding:
    assert len(found) == 1, list(found)
    return next(iter(found.values()))


def test_good_recordings_find_nothing(recordings: Recordings) -> None:
    seen: list[tuple[int, int]] = []
    train, held = recordings.rows(0, 12, speaker="a"), recordings.rows(100, 6, speaker="b")
    found = findings(
        recordings, train, held, most_label_tokens=len, vocabulary=set(LETTERS.tolist()),
        hypotheses={row["id"]: 0.1 for row in train + held}, on_progress=lambda *at: seen.append(at),
    )  # fmt: skip
    assert found == {}
    assert seen == [(done, 18) for done in range(1, 19)]


def test_what_cannot_be_read_is_an_error_with_its_reason(recordings: Recordings) -> None:
    rows = recordings.rows(0, 4)
    del recordings.waves["r1.wav"]
    recordings.waves["r3.wav"] = np.array([0.1, np.nan] * 9000, dtype=np.float32)
    finding = only(findings(recordings, rows))
    assert (finding.code, finding.level, finding.rows, finding.share) == (
        "unreadable-audio",
        "error",
        ("r1", "r3"),
        0.5,
    )
    assert "2 of 4 recordings (50.0%) cannot be read: r1: r1.wav is not there; r3: holds samples" in finding.what


def test_each_recording_is_read_once_and_not_again_for_a_second_audit(recordings: Recordings) -> None:
    train, held, kept = recordings.rows(0, 10), recordings.rows(50, 5), Kept()
    train[3]["text"] = ""
    first = findings(recordings, train, held, kept=kept)
    assert sorted(recordings.reads) == sorted(row["audio"] for row in train + held)
    recordings.reads.clear()
    assert findings(recordings, train, held, kept=kept) == first != {}
    assert recordings.reads == []
    changed = [{**train[0], "content": "mended"}, *train[1:]]
    findings(recordings, changed, held, kept=kept)
    assert recordings.reads == ["r0.wav"]
    full = Kept(most_bytes=2_000)
    findings(recordings, train, kept=full)
    assert 0 < full.bytes <= 2_000


def test_two_recordings_are_read_at_once_and_no_third(recordings: Recordings) -> None:
    lock, second, third = threading.Lock(), threading.Event(), threading.Event()
    inside: list[str] = []

    def read(row: Mapping[str, Any]) -> Wave:
        with lock:
            inside.append(row["id"])
            (third if len(inside) > 2 else second if len(inside) > 1 else threading.Event()).set()
        assert second.wait(10)
        if len(inside) == 2:
            third.wait(0.2)
        with lock:
            inside.remove(row["id"])
        return recordings(row)

    rows = recordings.rows(0, 6)
    assert list(sound_findings(rows, [], read, most_label_tokens=None, kept=Kept())) == []
    assert second.is_set()
    assert not third.is_set()


def test_silent_recordings_with_words_are_found(recordings: Recordings) -> None:
    rows = recordings.rows(0, 30)
    rows.append(recordings.row("quiet", np.zeros(RATE, dtype=np.float32)))
    finding = only(findings(recordings, rows))
    assert (finding.code, finding.level, finding.rows) == ("silent", "warning", ("quiet",))
    assert only(findings(recordings, rows[20:])).level == "error"
    rows[-1]["text"] = " "
    finding = only(findings(recordings, rows))
    assert (finding.code, finding.level) == ("empty-text", "note")


def test_clipped_noisy_and_short_recordings_are_found(recordings: Recordings) -> None:
    rows = recordings.rows(0, 17)
    loud = np.clip(4 * speechlike("loud and clear speech", seed=3), -1, 1).astype(np.float32)
    speech = speechlike("hardly to be heard at all", seed=4)
    hiss = np.random.default_rng(0).normal(0, float(speech.std()), len(speech)).astype(np.float32)
    rows += [
        recordings.row("loud", wide(loud, 1).clip(-1, 1), text="loud and clear"),
        recordings.row("hiss", 0.3 * (speech + hiss), text="hardly to be heard at all"),
        recordings.row("short", wide(tone(0.2, 300), 2), text="oh"),
    ]
    found = findings(recordings, rows)
    assert {code for _, code in found} == {"clipped", "noisy", "too-short"}
    assert found["train", "clipped"].rows == ("loud",)
    assert found["train", "noisy"].rows == ("hiss",)
    assert found["train", "too-short"].rows == ("short",)
    assert "(short: 0.20)" in found["train", "too-short"].what
    assert {finding.level for finding in found.values()} == {"warning"}
    assert {finding.share for finding in found.values()} == {0.05}


def test_narrow_sound_and_low_rates_are_told_apart(recordings: Recordings) -> None:
    soxr = pytest.importorskip("soxr")
    rows = recordings.rows(0, 18)
    for row in rows[:4]:
        row["rate"] = 8_000 if row["id"] < "r2" else 16_000
        wave = soxr.resample(recordings.waves[row["audio"]], RATE, 8_000)
        recordings.waves[row["audio"]] = soxr.resample(wave, 8_000, RATE)
    found = findings(recordings, rows)
    assert {code for _, code in found} == {"narrow-band", "low-rate"}
    narrow, low = found["train", "narrow-band"], found["train", "low-rate"]
    assert (narrow.level, narrow.rows, narrow.share) == ("warning", ("r2", "r3"), pytest.approx(2 / 18))
    assert (low.level, low.rows) == ("note", ("r0", "r1"))
    assert "2 at 8,000 Hz" in low.what


def test_long_recordings_are_an_error_where_the_model_takes_no_more(recordings: Recordings) -> None:
    rows = recordings.rows(0, 3)
    long = np.resize(recordings.waves["r0.wav"], 31 * RATE)
    rows.append(recordings.row("long", long, text="words " * 40))
    finding = only(findings(recordings, rows))
    assert (finding.code, finding.level, finding.rows) == ("too-long", "error", ("long",))
    assert "30 seconds" in finding.what
    assert "(long: 31.0)" in finding.what
    assert "words" in finding.fix
    assert "start" in finding.fix
    assert only(findings(recordings, rows, takes_longer=True)).level == "note"
    assert findings(recordings, rows, longest=40) == {}


def test_transcripts_that_nobody_could_say_are_found(recordings: Recordings) -> None:
    rows = recordings.rows(0, 6)
    rows[1]["text"] = "far too many words " * 20
    rows[2]["text"] = "o"
    rows[3]["text"] = "她们在这里说话"  # 7 characters of syllables: fine
    rows[3]["language"] = "zh"
    rows[4]["text"] = "她们在这里说话" * 9
    rows[4]["language"] = "zh"
    finding = only(findings(recordings, rows))
    assert (finding.code, finding.level, finding.rows) == ("speaking-rate", "warning", ("r1", "r4", "r2"))
    assert "2 are too long" in finding.what
    assert "1 are too short" in finding.what


def test_silence_around_speech_does_not_count_as_speaking_time(recordings: Recordings) -> None:
    speech = speechlike("yes of course")
    still = np.zeros(20 * RATE, dtype=np.float32)
    row = recordings.row("r", wide(speech, 1), text="yes of course")
    row_padded = recordings.row("padded", np.concatenate([still, speech, still[: 5 * RATE]]), text="yes of course")
    assert {code for _, code in findings(recordings, [row, row_padded])} <= {"narrow-band"}


def test_labels_longer_than_the_model_writes_are_an_error(recordings: Recordings) -> None:
    rows = recordings.rows(0, 4)
    count: Callable[[str], int] = lambda text: 449 if text == rows[2]["text"] else 448  # noqa: E731
    finding = only(findings(recordings, rows, most_label_tokens=count))
    assert (finding.code, finding.level, finding.rows) == ("label-too-long", "error", ("r2",))
    assert "448 tokens" in finding.what
    assert "(r2: 449)" in finding.what


def test_characters_outside_of_the_vocabulary_are_counted(recordings: Recordings) -> None:
    rows = recordings.rows(0, 4)
    rows[1]["text"] += " 22é"
    finding = only(findings(recordings, rows, vocabulary=set(LETTERS.tolist())))
    assert (finding.code, finding.level, finding.rows) == ("outside-vocabulary", "warning", ("r1",))
    assert "'2' (2), 'é' (1)" in finding.what
    assert only(findings(recordings, rows, vocabulary=set("ABC"))).level == "error"


def test_transcripts_in_another_script_are_found_by_language(recordings: Recordings) -> None:
    rows = recordings.rows(0, 12)
    for row in rows[:4]:
        row.update(language="ru", text="это хорошие слова")
    rows[5]["text"] = "это хорошие слова"
    rows[6]["text"] = "nice слово words"  # mostly Latin
    finding = only(findings(recordings, rows))
    assert (finding.code, finding.rows, finding.share) == ("other-script", ("r5",), 1 / 8)
    assert "language en, which is Latin: 1 Cyrillic" in finding.what
    for row in rows[:2]:
        row["text"] = "eto horoshie slova"  # a language that is written in two scripts
    assert only(findings(recordings, rows)).rows == ("r5",)


def test_scripts_are_those_of_letters() -> None:
    assert [script_of(c) for c in "aжａ한ก1 ."] == ["LATIN", "CYRILLIC", "LATIN", "HANGUL", "THAI", None, None, None]
    assert {script_of(c) for c in "漢かカ々"} == {"HAN AND KANA"}
    assert main_script("123 !") is None
    assert main_script("東京タワー tower") == "HAN AND KANA"


def test_empty_transcripts_are_found(recordings: Recordings) -> None:
    rows = recordings.rows(0, 4)
    rows[0]["text"], rows[1]["text"] = "  ", None
    finding = only(findings(recordings, rows))
    assert (finding.code, finding.level, finding.rows) == ("empty-text", "warning", ("r0", "r1"))
    assert only(findings(recordings, rows[:2])).level == "error"


def test_transcripts_that_the_model_hears_otherwise_are_found(recordings: Recordings) -> None:
    rows = recordings.rows(0, 12)
    rates = {row["id"]: 0.1 for row in rows} | {"r3": 0.9, "r7": 1.4, "elsewhere": 2.0}
    finding = only(findings(recordings, rows, hypotheses=rates))
    assert (finding.code, finding.level, finding.rows) == ("wrong-transcript", "warning", ("r7", "r3"))
    assert "(r7: 140%)" in finding.what
    bad = {row["id"]: 0.5 for row in rows} | {"r3": 0.9}
    assert findings(recordings, rows, hypotheses=bad) == {}  # the model knows no better
    assert findings(recordings, rows[:9], hypotheses=rates) == {}  # too few to say


def test_repeats_and_conflicting_texts_are_found(recordings: Recordings) -> None:
    rows = recordings.rows(0, 5)
    same = {**rows[1], "id": "again", "text": rows[1]["text"].upper() + "!"}
    finding = only(findings(recordings, [*rows, same]))
    assert (finding.code, finding.level, finding.rows) == ("repeated-audio", "warning", ("again",))
    assert "again is r1" in finding.what
    found = findings(recordings, [*rows, {**same, "text": "something else"}])
    assert {code for _, code in found} == {"repeated-audio", "conflicting-texts"}
    conflict = found["train", "conflicting-texts"]
    assert conflict.level == "error"
    assert "again 'something else'" in conflict.what
    assert conflict.rows == ("r1", "again")
    parts = [{**rows[0], "id": f"p{n}", "start": n * 0.5, "end": n * 0.5 + 0.5, "seconds": 0.5} for n in range(3)]
    assert not {"repeated-audio", "conflicting-texts"} & {code for _, code in findings(recordings, parts)}


def test_a_recording_on_both_sides_is_an_error(recordings: Recordings) -> None:
    train, held = recordings.rows(0, 6), recordings.rows(50, 3)
    held.append({**train[4], "id": "copy"})
    finding = only(findings(recordings, train, held))
    assert (finding.code, finding.level, finding.where) == ("audio-in-both-splits", "error", "eval")
    assert (finding.rows, finding.share) == (("copy",), 0.25)
    assert "copy is r4" in finding.what


@pytest.mark.parametrize(("start", "leaks"), [(0.0, True), (1.2, True), (1.95, False), (2.0, False)])
def test_parts_of_one_file_leak_where_they_overlap(recordings: Recordings, start: float, leaks: bool) -> None:
    train, held = recordings.rows(0, 1), recordings.rows(9, 1)
    train[0].update(content="same", start=0.0, end=2.0, seconds=2.0)
    held[0].update(content="same", start=start, end=start + 2, seconds=2.0)
    found = findings(recordings, train, held)
    assert (("eval", "audio-in-both-splits") in found) is leaks
    assert ("eval", "near-audio-leak") not in found


def test_a_recording_that_sounds_the_same_on_both_sides_is_found(recordings: Recordings) -> None:
    train, held = recordings.rows(0, 8), recordings.rows(50, 4)
    changed = (0.4 * recordings.waves["r5.wav"][1_000:]).astype(np.float32)
    held.append(recordings.row("near", wide(changed, 77), text=train[5]["text"]))
    finding = only(findings(recordings, train, held))
    assert (finding.code, finding.level, finding.where) == ("near-audio-leak", "warning", "eval")
    assert (finding.rows, finding.share) == (("near",), 0.2)
    assert "near is r5" in finding.what


def test_speakers_on_both_sides_are_counted(recordings: Recordings) -> None:
    train, held = recordings.rows(0, 6, speaker="ann"), recordings.rows(50, 4, speaker="bob")
    held[0]["speaker"] = held[1]["speaker"] = "ann"
    finding = only(findings(recordings, train, held))
    assert (finding.code, finding.level, finding.rows) == ("speaker-in-both-splits", "warning", ("r50", "r51"))
    assert "1 of 2 held-out speakers (ann), with 2 of 4 held-out recordings (50.0%)" in finding.what
    assert "group_by: speaker" in finding.fix
    for row in held:
        row["speaker"] = "ann"
    assert only(findings(recordings, train, held)).level == "note"  # a set of one voice
    for row in held:
        del row["speaker"]
    assert findings(recordings, train, held) == {}


def test_both_sides_are_judged_and_nothing_is_no_fault(recordings: Recordings) -> None:
    train, held = recordings.rows(0, 3), recordings.rows(50, 3)
    train[0]["text"] = held[0]["text"] = ""
    assert set(findings(recordings, train, held, source="a.csv")) == {("a.csv", "empty-text"), ("eval", "empty-text")}
    assert findings(recordings, [], []) == {}
    assert findings(recordings, [], held[1:]) == {}
