"""How a text becomes the words that BM25 counts, the same for what is indexed and for what is asked.

Words are written small and without accents, so that ``Café`` finds ``cafe``; scripts that put no blanks between words
(Chinese, Japanese, Thai, Lao, Khmer, Burmese) become pairs of neighbouring characters. It knows no language and no
index.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

VERSION = 1
"""Of this file's rules. An index keeps it: words that were counted by other rules can't be taken out again."""

LONGEST = 64
"""Most characters of a word: what is longer is no word (base64, hashes) and counts by its beginning."""

_MARKS = "".join(chr(code) for code in range(0x0370, 0x3000) if unicodedata.category(chr(code)) in ("Mn", "Mc"))
_WORD = re.compile(rf"[\w{_MARKS}]+")
_ACCENT = re.compile("[\u0300-\u036f]")
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")


def words_of(text: str) -> list[str]:
    """The words of a text in its order, as an index counts them."""
    return list(_words(text))


def _words(text: str) -> Iterator[str]:
    if text.isascii():
        for word in _WORD.findall(text.lower()):
            yield word[:LONGEST]
        return
    plain = _ACCENT.sub("", unicodedata.normalize("NFKD", text.casefold()))
    for word in _WORD.findall(unicodedata.normalize("NFKC", plain)):
        if word.isascii() or not UNSPACED.search(word):
            yield word[:LONGEST]
        else:
            yield from _pairs(word)


def _pairs(word: str) -> Iterator[str]:
    """Neighbouring characters of what is written without blanks; all else as it stands."""
    done = 0
    for run in UNSPACED.finditer(word):
        if before := word[done : run.start()]:
            yield before[:LONGEST]
        done, signs = run.end(), run[0]
        yield from (signs[i : i + 2] for i in range(max(1, len(signs) - 1)))
    if behind := word[done:]:
        yield behind[:LONGEST]
