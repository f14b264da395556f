"""Texts that are nearly the same are found, and no others; hashes are the same in every process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest

from tunesmith.audit.near_texts import PIECE, NearPairs, NearTexts
from tunesmith.audit.shingles import BANDS, Block, bands, left_out, plain_words, whole_hashes

FIRST = "the quick brown fox jumps over the lazy dog in the park"


def pairs_of(texts: Sequence[str], held: Sequence[str] = ()) -> NearPairs:
    near = NearTexts()
    every = [*texts, *held]
    for text in every:
        near.add(text)
    side = np.repeat(np.arange(2, dtype=np.int8), [len(texts), len(held)])
    content = np.array([hash(text) & (2**63 - 1) for text in every], dtype=np.uint64)
    return near.pairs(lambda n: every[n], side, content)


def found(texts: Sequence[str], held: Sequence[str] = ()) -> set[tuple[int, int, str]]:
    pairs = pairs_of(texts, held)
    return set(zip(pairs.first.tolist(), pairs.second.tolist(), pairs.how.tolist(), strict=True))


def drawn(count: int, words: int = 14, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    known = ["".join(rng.choice(letters, rng.integers(2, 9))) for _ in range(3000)]
    return [" ".join(known[int(i)] for i in rng.integers(len(known), size=words)) for _ in range(count)]


def test_words_are_compared_without_case_signs_and_blanks() -> None:
    assert plain_words("  It's GOOD,\tvery good!! ") == "its good very good"
    assert plain_words("It\u2019s good") == "its good"
    assert plain_words("Straße 東京 2") == "straße 東京 2"


def test_a_block_counts_words_and_runs() -> None:
    block = Block(["one two three", "", "abc", "a b"])
    words, counts = block.words()
    assert counts.tolist() == [3, 0, 1, 2]
    assert len(words) == 6
    runs, of = block.runs()
    assert of.tolist() == [9, 0, 0, 0]
    assert len(runs) == 9


def test_equal_words_have_equal_hashes_wherever_they_stand() -> None:
    words, _ = Block(["cat dog cat", "dog cat", "catdog"]).words()
    assert words[0] == words[2] == words[4]
    assert words[1] == words[3]
    assert len(set(words.tolist())) == 3
    whole = whole_hashes(*Block(["cat dog", "dog cat", "cat dog", ""]).words())
    assert whole[0] == whole[2] != whole[1]
    assert whole[3] == 0


def test_hashes_are_the_same_in_every_process() -> None:
    code = (
        "from tunesmith.audit.shingles import *; b = Block(['the quick brown fox jumps over the lazy dog']);"
        "print(int(whole_hashes(*b.words())[0]), bands(*b.runs()).tolist())"
    )
    said = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout for _ in "ab"
    }
    assert len(said) == 1
    assert said.pop().strip()


@pytest.mark.parametrize("changed", ["the quick brown cat jumps over the lazy dog in the park",
                                     "quick brown fox jumps over the lazy dog in the park",
                                     "the quick brown fox jumps over the lazy dog in the large park"])  # fmt: skip
def test_texts_that_differ_in_one_word_share_a_hash(changed: str) -> None:
    keys, numbers = left_out(*Block([FIRST, changed, drawn(1)[0]]).words())
    of = [set(keys[numbers == n].tolist()) for n in range(3)]
    assert of[0] & of[1]
    assert not of[0] & of[2]
    assert not of[1] & of[2]


def test_short_texts_have_no_bands() -> None:
    table = bands(*Block(["too short", FIRST]).runs())
    assert table.shape == (2, BANDS)
    assert not table[0].any()
    assert table[1].all()


def test_case_words_and_passages_are_found_and_told_apart() -> None:
    texts = drawn(6)
    longer = " ".join(drawn(12, seed=3))
    extra = longer.rsplit(" ", 20)[0] + " " + drawn(1, 20, seed=9)[0]
    texts += [texts[0].upper() + "!", texts[1].replace(texts[1].split()[4], "elephant"), longer, extra]
    assert found(texts) == {(0, 6, "s"), (1, 7, "o"), (8, 9, "r")}


def test_sides_are_told_apart() -> None:
    texts = drawn(5)
    held = [texts[2].title(), texts[3].replace(texts[3].split()[7], "elephant"), *drawn(3, seed=8)]
    assert found(texts, held) == {(2, 5, "s"), (3, 6, "o")}


def test_what_is_equal_is_no_near_pair_and_hides_none() -> None:
    texts = drawn(3)
    near = texts[0].replace(texts[0].split()[3], "elephant")
    # The same row thrice, one of them held out, and a near one.
    assert found([texts[0], texts[0], near], [texts[0]]) == {(0, 2, "o"), (2, 3, "o")}


def test_records_that_differ_in_numbers_only_are_no_copies() -> None:
    form = "order {} was shipped on day {} of the month to the customer in the north"
    assert not found([form.format(n, n + 3) for n in range(10, 40)])


def test_a_form_that_all_share_makes_no_two_alike() -> None:
    schema = " ".join(drawn(1, 80, seed=5))
    asked = drawn(60, 10, seed=6)
    assert not found([f"{schema} {question}" for question in asked])
    near = asked[4].replace(asked[4].split()[5], "elephant")
    texts = [f"{schema}{PIECE}{question}" for question in [*asked, near]]
    assert {pair[:2] for pair in found(texts)} == {(4, 60)}


def test_each_piece_has_to_be_alike() -> None:
    answers, asked = drawn(30, 60, seed=7), drawn(30, 8, seed=8)
    rows = [f"{a}{PIECE}{b}" for a, b in zip(asked, answers, strict=True)]
    assert not found([*rows, f"{asked[0]}{PIECE}{answers[1]}", f"{asked[2]}{PIECE}no"])
    assert {pair[:2] for pair in found([*rows, f"{asked[0].upper()}{PIECE}{answers[0]}"])} == {(0, 30)}


def test_many_planted_pairs_among_many_texts() -> None:
    texts = drawn(6000, 12, seed=1)
    rng = np.random.default_rng(2)
    planted = set()
    for n in range(300):
        words = texts[n].split()
        words[int(rng.integers(1, len(words) - 1))] = "elephant"
        planted.add((n, len(texts)))
        texts.append(" ".join(words))
    pairs = pairs_of(texts)
    got = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert len(got & planted) >= 0.99 * len(planted)
    assert len(got & planted) >= 0.99 * len(got)


def test_nothing_to_compare() -> None:
    assert len(pairs_of([])) == 0
    assert len(pairs_of(["", "", "a"])) == 0
    assert len(pairs_of([FIRST])) == 0
