"""A quote is found wherever it stands, blanks aside, and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.retrieval.document import Chunk, Passage
from tunesmith.retrieval.quotes import check_quote, find, printable, sentences

TEXT = st.text(st.sampled_from("ab.c!é漢 \n\t\"'\\"), max_size=60)


def passage(text: str, start: int = 0) -> Passage:
    return Passage(Chunk("d", "v", 0, start, start + len(text.encode()), (), text, 1), "d", "", 1.0)


@settings(max_examples=200, deadline=None)
@given(TEXT, st.integers(0, 60), st.integers(1, 60), st.sampled_from([" ", "\n", "  "]), st.integers(0, 9))
def test_any_part_is_found_at_its_bytes(text: str, at: int, length: int, blank: str, start: int) -> None:
    part = text[at : at + length]
    if not part.strip():
        assert find(part, text) is None
        return
    # Only blanks between words may differ, never inside a word.
    quote = check_quote(blank.join(part.split()), 1, [passage(text, start)])
    assert quote.found
    said = text.encode()[quote.start - start : quote.end - start].decode()
    assert said.split() == part.split()


@settings(max_examples=100, deadline=None)
@given(TEXT)
def test_sentences_joined_are_the_text(text: str) -> None:
    assert "".join(sentences(text)) == text


@pytest.mark.parametrize("quote", ["It closes at six.", "it closes at five.", "closes five", "", " \n ", "fives"])
def test_what_differs_is_not_found(quote: str) -> None:
    assert not check_quote(quote, 1, [passage("It closes at five.")]).found


def test_special_signs_of_expressions_are_letters() -> None:
    assert find("a (b) [c]* d", "x a (b)\n[c]*  d") == (2, 15)
    assert find("a.c", "abc") is None


def test_a_terminal_obeys_nothing() -> None:
    assert printable("a\x1b[31mb\r\u202ec\nd\té") == "a\ufffd[31mb\ufffd\ufffdc\nd\té"
