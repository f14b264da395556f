from __future__ import annotations

import json
import sys

import jiwer
import numpy as np
import pytest

from tunesmith.errors import UserError
from tunesmith.speech import scores
from tunesmith.speech.scores import (
    DURATIONS,
    RATES,
    Counts,
    alignment,
    by_group,
    confusions,
    duration_band,
    errors_of,
    errors_of_rows,
    noise_band,
    rate_of,
    score,
    tally,
)

WORDS = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"]


def drawn(rng: np.random.Generator, least: int) -> str:
    return " ".join(WORDS[n] for n in rng.integers(0, len(WORDS), int(rng.integers(least, 15))))


def pairs(count: int, seed: int = 0) -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(seed)
    truths, saids = [], []
    for _ in range(count):
        truth = drawn(rng, 1)
        kept = [word if rng.random() < 0.8 else WORDS[rng.integers(8)] for word in truth.split() if rng.random() < 0.9]
        truths.append(truth)
        saids.append(" ".join(kept) if rng.random() < 0.9 else drawn(rng, 0))
    return truths, saids


def test_corpus_rates_are_those_of_jiwer() -> None:
    truths, saids = pairs(300)
    found = score([errors_of(truth, said) for truth, said in zip(truths, saids, strict=True)])
    assert found["wer"] == found["wer_normalized"] == pytest.approx(jiwer.wer(truths, saids))
    assert found["cer"] == found["cer_normalized"] == pytest.approx(jiwer.cer(truths, saids))
    whole = jiwer.process_words(truths, saids)
    words = sum(len(truth.split()) for truth in truths)
    assert found["substitutions"] == pytest.approx(whole.substitutions / words)
    assert found["insertions"] == pytest.approx(whole.insertions / words)
    assert found["deletions"] == pytest.approx(whole.deletions / words)


def test_rates_are_of_the_corpus_and_no_means_of_rows() -> None:
    errors = [errors_of("a", "b"), errors_of("a b c d e f g h i", "a b c d e f g h i")]
    assert score(errors)["wer"] == pytest.approx(0.1)


def test_sums_of_tallies_give_every_rate() -> None:
    truths, saids = pairs(80, seed=3)
    errors = [errors_of(t, s, ended=n % 3 > 0) for n, (t, s) in enumerate(zip(truths, saids, strict=True))]
    counts = tally(errors)
    assert counts.shape == (80, 14)
    assert counts.dtype == np.float64
    rng = np.random.default_rng(1)
    drawn_rows = rng.integers(0, 80, (20, 80))
    totals = counts[drawn_rows].sum(axis=1)
    for name in RATES:
        rates = rate_of(totals, name)
        assert rates.shape == (20,)
        assert rates == pytest.approx([score([errors[n] for n in rows])[name] for rows in drawn_rows])
    assert score(errors)["stopped"] == pytest.approx(sum(n % 3 > 0 for n in range(80)) / 80)


def test_tallies_meet_the_bootstrap() -> None:
    from tunesmith.metrics import paired_bootstrap

    truths, saids = pairs(60, seed=4)
    base = tally([errors_of(t, s) for t, s in zip(truths, saids, strict=True)])
    tuned = tally([errors_of(t, t) for t in truths])
    interval = paired_bootstrap(base, tuned, lambda totals: rate_of(totals, "wer_normalized"), resamples=500)
    assert interval.high < 0


@pytest.mark.parametrize(
    ("truth", "said", "words", "invented"),
    [
        ("", "", Counts(), False),
        ("", "thank you for watching", Counts(insertions=4), True),
        ("...", "thank you", Counts(insertions=1, substitutions=1), True),
        ("hello there", "", Counts(deletions=2), False),
        ("  ", "\n", Counts(), False),
    ],
)
def test_empty_texts_are_counted(truth: str, said: str, words: Counts, invented: bool) -> None:
    found = errors_of(truth, said, "en")
    assert found.words == words
    assert found.hallucinated is invented
    assert score([found, errors_of("one two three four", "one two three four")])["wer"] == words.errors / (
        words.reference + 4
    )


def test_a_rate_of_nothing_is_not_a_number() -> None:
    assert np.isnan(score([errors_of("", "")])["wer"])
    assert score([errors_of("", "")])["exact"] == 1
    assert tally([]).shape == (0, 14)
    assert np.isnan(score([])["stopped"])


def test_raw_and_normalised_differ_by_what_nobody_hears() -> None:
    found = errors_of("Won't you pay $20?", "will not you pay twenty dollars", "en")
    assert found.words_normalized == Counts(hits=5)
    assert found.exact
    assert found.words.errors > 0
    assert found.characters.errors > 0
    assert errors_of("Hello, World", "hello world").words == Counts(substitutions=2)


@pytest.mark.parametrize(
    ("truth", "said", "invented"),
    [
        ("we went home", "we went home", False),
        ("we went home", "we went home and then we slept", True),
        ("we went home again today", "we went home again today then", False),
        ("we went home and so on and on", "we went home " + "and then " * 40, True),
        ("a b c d e f g h i j k l m n o p", "a b c x x x x x x x x x x x x x", True),
        ("no no no no no no", "no no no no no no", False),
        ("no no no no no no", "no no no no no", False),
        ("你好世界", "你好世界", False),
        ("你好世界", "你好世界谢谢观看", True),
        ("你好世界我们今天去学校", "你好世界好好好好好好好", True),
    ],
)
def test_invented_text_is_found(truth: str, said: str, invented: bool) -> None:
    assert errors_of(truth, said).hallucinated is invented


def test_spaces_are_no_characters_of_scripts_without_them() -> None:
    found = errors_of("你好世界。", "你好 世间", "zh")
    assert found.characters_normalized == Counts(hits=3, substitutions=1)


def test_rows_bring_their_language_and_their_end() -> None:
    rows = [{"id": "a", "text": "four", "language": "en"}, {"id": "b", "text": "four", "language": "de"}, {"id": "c"}]
    said = [{"text": "4", "ended": True}, {"text": "4", "ended": False}, {"text": ""}]
    found = errors_of_rows(rows, said)
    assert [one.exact for one in found] == [True, False, True]
    assert [one.ended for one in found] == [True, False, True]
    assert [one.exact for one in errors_of_rows([{"id": "a", "text": "four"}], said[:1], "en")] == [True]
    told = json.loads(json.dumps(found[1].to_json()))
    assert told["words"] == {"hits": 0, "substitutions": 1, "insertions": 0, "deletions": 0}
    assert told["exact"] is False


def test_the_same_pair_is_aligned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = errors_of("a pair like no other", "a pair like another", "en")
    monkeypatch.setattr(scores, "chunks", None)
    assert errors_of("a pair like no other", "a pair like another", "en") is first


def test_without_jiwer_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jiwer", None)
    with pytest.raises(UserError) as caught:
        errors_of("not seen before", "nor this")
    assert caught.value.fix == 'pip install "tunesmith[audio]"'


def test_groups_add_up() -> None:
    truths, saids = pairs(60, seed=9)
    tuned = [errors_of(t, s) for t, s in zip(truths, saids, strict=True)]
    base = [errors_of(t, "") for t in truths]
    names = [("ann", "bob", None)[n % 3] for n in range(60)]
    rows = by_group(tuned, names, base)
    assert {row[0] for row in rows} == {"ann", "bob", "not known"}
    assert rows[-1][0] == "not known"
    assert sum(row[1] for row in rows) == 60
    words = sum(row[2] for row in rows)
    assert words == sum(one.words.reference for one in tuned)
    assert sum(row[2] * row[4] for row in rows) / words == pytest.approx(score(tuned)["wer"])
    assert [row[3] for row in rows] == [1, 1, 1]
    assert by_group([errors_of("", "")], ["x"]) == [["x", 1, 0, None, None]]


def test_bands_come_in_their_order() -> None:
    seconds = [40.0, 2.0, 0.5, 1.0, 12, None, float("nan")]
    names = [duration_band(value) for value in seconds]
    assert names == [DURATIONS[4], DURATIONS[1], DURATIONS[0], DURATIONS[1], DURATIONS[3], None, None]
    rows = by_group([errors_of("a", "a")] * 7, names, order=DURATIONS)
    assert [row[0] for row in rows] == ["under 1 s", "1 to 3 s", "10 to 30 s", "30 s and more", "not known"]
    assert [noise_band(value) for value in (-3, 0, 15.5, 29.9, 60)] == list(scores.NOISES)


def test_an_alignment_tells_what_became_of_each_word() -> None:
    steps = alignment("The quick brown fox, jumps.", "the quack fox jumps high", "en")
    assert steps == [
        ("equal", "The", "the"),
        ("substitute", "quick", "quack"),
        ("delete", "brown", ""),
        ("equal", "fox,", "fox"),
        ("equal", "jumps.", "jumps"),
        ("insert", "", "high"),
    ]
    assert alignment("", "") == []
    assert alignment("a", "") == [("delete", "a", "")]
    assert alignment("", "a") == [("insert", "", "a")]


def test_the_same_in_other_words_is_equal() -> None:
    assert alignment("I won't pay 21 - now", "I will not pay twenty one now", "en") == [
        ("equal", "I", "I"),
        ("equal", "won't", "will not"),
        ("equal", "pay", "pay"),
        ("equal", "21 -", "twenty one"),
        ("equal", "now", "now"),
    ]
    assert alignment("你好，世界", "你好世间") == [
        ("equal", "你", "你"),
        ("equal", "好，", "好"),
        ("equal", "世", "世"),
        ("substitute", "界", "间"),
    ]


def test_alignments_hold_both_texts_and_the_errors_of_the_score() -> None:
    for truth, said in zip(*pairs(100, seed=2), strict=True):
        steps = alignment(truth, said)
        assert " ".join(step[1] for step in steps if step[1]) == truth
        assert " ".join(step[2] for step in steps if step[2]) == said
        assert sum(step[0] != "equal" for step in steps) == errors_of(truth, said).words.errors


def test_words_that_look_alike_stand_side_by_side() -> None:
    steps = alignment("the recognition works", "the wreck a nice recondition of works")
    assert ("substitute", "recognition", "recondition") in steps
    assert [step[0] for step in steps] == ["equal", "insert", "insert", "insert", "substitute", "insert", "equal"]
    back = alignment("the wreck a nice recondition of works", "the recognition works")
    assert [(kind, said, truth) for kind, truth, said in back] == [
        ("delete" if kind == "insert" else kind, truth, said) for kind, truth, said in steps
    ]


def test_confusions_count_pairs_of_words() -> None:
    counts = confusions(["see the sea", "the sea", "你好"], ["see the see", "the see now", "你号"])
    assert counts == {("sea", "see"): 2, ("好", "号"): 1}
