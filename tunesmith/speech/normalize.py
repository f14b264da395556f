"""Texts as error rates compare them: case, punctuation and spelling that nobody hears are gone, the words are not.

It knows scripts, and of languages which of them are written without spaces. English has more rules (``english``).
Marks of vowels and viramas are letters of their scripts and stay, whatever their Unicode category says.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Literal

from tunesmith.speech.english import english, figures

Unit = Literal["word", "character"]

KEPT_TEXTS = 1 << 15
"""Texts whose normal form is remembered; a score, its tally and its panels ask for the same ones."""

_CODES = {
    "english": "en",
    "chinese": "zh",
    "mandarin": "zh",
    "cmn": "zh",
    "cantonese": "yue",
    "japanese": "ja",
    "thai": "th",
    "lao": "lo",
    "khmer": "km",
    "myanmar": "my",
    "burmese": "my",
    "turkish": "tr",
    "azerbaijani": "az",
    "french": "fr",
    "italian": "it",
    "catalan": "ca",
    "occitan": "oc",
}
_UNSPACED = frozenset({"zh", "yue", "ja", "th", "lo", "km", "my"})
_DOTLESS = frozenset({"tr", "az"})
_ELIDING = frozenset({"fr", "it", "ca", "oc"})
"""Languages in which an apostrophe parts two words: l'eau."""

_UNSPACED_RANGES = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3005, 0x3007),
    (0x3040, 0x30FF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xA9E0, 0xA9FF),
    (0xAA60, 0xAA7F),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),
    (0x20000, 0x3FFFF),
)
"""Thai, Lao, Burmese, Khmer, kana and Han."""

_APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u201b\u02bc\u02b9\u00b4`\uff07\u2032", "'"))
_BRACKETED = re.compile(r"[<\[][^>\]]*[>\]]|\([^)]+\)")
_POINTS = re.compile("[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u0652\u0670\u0640]")
"""Points over and under Hebrew and Arabic letters, which most writers leave out, and the stroke that stretches them."""

_SIGNS = ".%$¢€£"
_FOLDED = {"œ": "oe", "ø": "o", "æ": "ae", "ß": "ss", "đ": "d", "ð": "d", "þ": "th", "ł": "l"}


def language_code(language: str | None) -> str:
    """``en`` of ``English``, ``en-GB``, ``EN`` or ``<|en|>``; the language as it stands where it has no short name."""
    plain = re.split(r"[-_]", (language or "").strip().strip("<|>").lower())[0]
    return _CODES.get(plain, plain)


def unit_of(language: str | None, text: str) -> Unit:
    """What an error rate of the text counts: words, or characters where the script has no spaces between words.

    Where it says ``character``, a word error rate says little and the character error rate is the one to read.

    Args:
        language: A code or an English name; None where it is not known.
        text: The truth, or a text of the same language.
    """
    if language_code(language) in _UNSPACED:
        return "character"
    letters = [ord(c) for c in text if c.isalpha()]
    unspaced = sum(any(low <= c <= high for low, high in _UNSPACED_RANGES) for c in letters if c >= 0x0E00)
    return "character" if 2 * unspaced > len(letters) else "word"


@lru_cache(maxsize=KEPT_TEXTS)
def normalize(text: str, language: str | None = None) -> str:
    """The text as a normalised error rate compares it: lower case, words with one space between them.

    Any language: NFKC; what stands in brackets, punctuation, symbols and invisible characters are gone; figures of
    every script are ASCII's; apostrophes stay inside words. English besides: contractions in full, titles in full,
    number words in figures, American spelling, no fillers, no diacritics.

    Args:
        text: As written or said.
        language: A code or an English name. Only ``en`` brings in the rules of English; None does not.
    """
    code = language_code(language)
    text = text.translate(_APOSTROPHES)
    if code in _DOTLESS:
        text = text.replace("I", "ı").replace("İ", "i")
    # What is small may decompose into what is large (U+1D2C), hence lower case on both sides.
    text = unicodedata.normalize("NFKC", text.lower()).lower().translate(_APOSTROPHES)
    text = _BRACKETED.sub(" ", text)
    text = _POINTS.sub("", text.replace("\u200b", " "))
    if code == "en":
        return figures("".join(map(_english_letter, unicodedata.normalize("NFKD", english(text)))).strip())
    kept = "" if code in _ELIDING else "'"
    plain = "".join(_letter(character, kept) for character in text)
    return " ".join(word for word in (word.strip("'") for word in plain.split()) if word)


def _letter(character: str, kept: str) -> str:
    """The character, a space where it is no part of a word, or nothing where nobody sees it."""
    if character in kept and character:
        return character
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.digit(character))
    if category in ("Cf", "Cc", "Cs", "Co", "Me"):
        return " " if character.isspace() else ""
    return " " if category[0] in "PSZ" else character


def _english_letter(character: str) -> str:
    if character in _SIGNS:
        return character
    # Only what the Latin script puts over its letters; English text may quote another script.
    if "\u0300" <= character <= "\u036f":
        return ""
    return _FOLDED.get(character) or _letter(character, "")
