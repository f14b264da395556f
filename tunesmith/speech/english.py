"""English as it is compared: contractions in full, titles, numbers in figures, no fillers, one spelling.

It follows the normaliser that Whisper's English error rates are published with, so that figures can be set beside
those; it knows English words and no other language. ``normalize`` decides when it is used.
"""

from __future__ import annotations

import re
from fractions import Fraction

from tunesmith.speech.spelling import american

Value = int | str | None

_FILLERS = re.compile(r"\b(?:h+m+|mm+|mhm+|u+h+|u+m+|uhm+|erm+)\b")
_SHORT = {
    "won't": "will not",
    "can't": "can not",
    "cannot": "can not",
    "let's": "let us",
    "ain't": "aint",
    "y'all": "you all",
    "wanna": "want to",
    "gotta": "got to",
    "gonna": "going to",
    "i'ma": "i am going to",
    "imma": "i am going to",
    "woulda": "would have",
    "coulda": "could have",
    "shoulda": "should have",
    "ma'am": "madam",
    "mr": "mister",
    "mrs": "missus",
    "st": "saint",
    "dr": "doctor",
    "prof": "professor",
    "capt": "captain",
    "gov": "governor",
    "ald": "alderman",
    "gen": "general",
    "sen": "senator",
    "rep": "representative",
    "pres": "president",
    "rev": "reverend",
    "hon": "honorable",
    "asst": "assistant",
    "assoc": "associate",
    "lt": "lieutenant",
    "col": "colonel",
    "jr": "junior",
    "sr": "senior",
    "esq": "esquire",
}
_SHORT_WORDS = re.compile(rf"\b(?:{'|'.join(map(re.escape, _SHORT))})\b")
_ENDINGS = {
    "'d been": " had been",
    "'s been": " has been",
    "'d gone": " had gone",
    "'s gone": " has gone",
    "'d done": " had done",
    "'s got": " has got",
    "n't": " not",
    "'re": " are",
    "'s": " is",
    "'d": " would",
    "'ll": " will",
    "'t": " not",
    "'ve": " have",
    "'m": " am",
}
_SHORT_ENDINGS = re.compile(rf"(?:{'|'.join(_ENDINGS)})\b")

_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_POWERS = (
    "thousand million billion trillion quadrillion quintillion sextillion septillion octillion nonillion decillion"
)
_ORDINAL = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"}
_ZEROS = {"zero", "o", "oh"}
_SIGNS = {"minus": "-", "negative": "-", "plus": "+", "positive": "+"}
_COINS = {"pound": "£", "euro": "€", "dollar": "$", "cent": "¢"}
_COINS |= {f"{name}s": sign for name, sign in _COINS.items()}
_TIMES = {"double": 2, "triple": 3}


def _number_words() -> dict[str, tuple[str, int, str]]:
    """Word to kind (``one``, ``ten``, ``times``), number, and what stands after its figures."""
    named = [("one", word, number) for number, word in enumerate(_ONES)]
    named += [("ten", word, 10 * number) for number, word in enumerate(_TENS, start=2)]
    named += [("times", "hundred", 100)]
    named += [("times", word, 1000**power) for power, word in enumerate(_POWERS.split(), start=1)]
    words: dict[str, tuple[str, int, str]] = {}
    for kind, word, number in named:
        ordinal = _ORDINAL.get(word) or (
            f"{word[:-1]}ieth" if kind == "ten" else f"{word[:-2]}fth" if word == "twelve" else f"{word}th"
        )
        plural = f"{word[:-1]}ies" if kind == "ten" else f"{word}es" if word == "six" else f"{word}s"
        suffix = {1: "st", 2: "nd", 3: "rd"}.get(number, "th")
        words |= {word: (kind, number, ""), ordinal: (kind, number, suffix), plural: (kind, number, "s")}
    return {word: entry for word, entry in words.items() if word not in ("zero", "zeros")}


_NUMBERS = _number_words()
_SPECIAL = {"and", "point", *_TIMES}
_KNOWN = {*_NUMBERS, *_ZEROS, *_SIGNS, *_COINS, *_SPECIAL, "per", "percent"}
_FIGURES = re.compile(r"([-+£€$¢]?)(\d+(?:\.\d+)?)")


def english(text: str) -> str:
    """An English text in lower case without brackets, as it is compared; punctuation but that of numbers is left in.

    Args:
        text: In lower case, apostrophes straight.

    Returns:
        Words with one space between them; ``$``, ``%`` and others stand only at figures, and a point only inside them.
    """
    text = re.sub(r"\s+'", "'", _FILLERS.sub("", text))
    text = _SHORT_WORDS.sub(lambda found: f"{_SHORT[found[0]]} ", text)
    text = _SHORT_ENDINGS.sub(lambda found: _ENDINGS[found[0]], text)
    text = re.sub(r"(?<!\S)[-\u2212](?=\d)", "minus ", text)
    text = re.sub(r"(\d),(?=\d)", r"\1", text)
    return re.sub(r"\.(?!\d)", " ", text)


def figures(text: str) -> str:
    """Words without punctuation: numbers in figures, spelling American; ``twenty one colours`` is ``21 colors``."""
    half = r"\b(\S+)\s+and\s+a\s+half\b"
    text = re.sub(half, lambda found: f"{found[1]} point five" if _counts(found[1]) else found[0], text)
    text = re.sub(r"(?<=[a-z])(?=\d)|(?<=\d)(?=[a-z])", " ", text)
    text = re.sub(r"(\d)\s+(st|nd|rd|th|s)\b", r"\1\2", text)
    text = " ".join(_in_figures(text.split()))
    text = re.sub(r"([€£$]\d+) (?:and )?¢(\d\d?)\b", lambda found: f"{found[1]}.{int(found[2]):02d}", text)
    text = re.sub(r"[€£$]0\.(\d\d?)\b", lambda found: f"¢{int(found[1])}", text)
    text = re.sub(r"(?<![\w.$¢€£+-])1(s?)\b(?![.%])", r"one\1", text)
    text = " ".join(american(word) for word in text.split())
    # Signs that stand at no figure are punctuation after all.
    text = re.sub(r"[.$¢€£](?!\d)", " ", text)
    return " ".join(re.sub(r"(?<!\d)%", " ", text).split())


def _counts(word: str) -> bool:
    return word in _ZEROS or word.isdecimal() or bool(_kind(word))


def _kind(word: str) -> str:
    """``one``, ``ten`` or ``times`` where the word is a plain number word, else nothing."""
    kind, _, suffix = _NUMBERS.get(word, ("", 0, ""))
    return "" if suffix else kind


def _numeric(word: str) -> bool:
    return word in _KNOWN or _FIGURES.fullmatch(word) is not None


class _Number:
    """The number that is being read, and what was written before it."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.value: Value = None
        self.prefix = ""

    def end(self, after: str = "", sign: str | None = None) -> None:
        """The number is whole: it is written with what stands around it, and the next may begin."""
        if self.value is not None:
            self.written.append(f"{self.prefix if sign is None else sign}{self.value}{after}")
            self.value, self.prefix = None, ""

    def word(self, word: str) -> None:
        """A word that is no part of the number."""
        self.end()
        self.written.append(f"{self.prefix}{word}")
        self.prefix = ""

    def digits(self, more: str) -> None:
        """Figures one after another, as a telephone number is read."""
        self.value = f"{self.value or ''}{more}"

    def figures(self, sign: str, figures: str) -> None:
        """A number that stood in figures; after ``three point`` it is the rest of one."""
        if isinstance(self.value, str) and self.value.endswith("."):
            self.value += f"{sign}{figures}"
            return
        self.end()
        self.prefix = sign or self.prefix
        self.value = figures if Fraction(figures).denominator > 1 else int(Fraction(figures))

    def add(self, kind: str, number: int, before: str) -> None:
        """One more number word; ``before`` is the kind of the word before it."""
        value = self.value
        if value is None:
            self.value = number
        elif kind == "times":
            self._multiply(number)
        elif isinstance(value, str) or (kind == "one" and before == "one"):
            text = str(value)
            # "Nineteen eighty" is 1980, in which "four" takes the place of the last nought.
            held = text[:-1] if kind == "one" and before == "ten" and number < 10 else text
            self.value = f"{held}{number}"
        else:
            room = 10 if kind == "one" and number < 10 else 100
            self.value = value + number if value % room == 0 else f"{value}{number}"

    def _multiply(self, number: int) -> None:
        value = self.value
        if isinstance(value, int) and value:
            self.value = value // 1000 * 1000 + value % 1000 * number
            return
        try:
            product = Fraction(str(value)) * number
        except ValueError:
            product = Fraction(1, 2)
        if product.denominator == 1:
            self.value = int(product)
        else:
            self.end()
            self.value = number


def _in_figures(words: list[str]) -> list[str]:
    """The words with every number that is spelled out in figures: ``one hundred and five`` is ``105``."""
    reading = _Number()
    skip = False
    for place, word in enumerate(words):
        if skip:
            skip = False
            continue
        before = words[place - 1] if place else ""
        after = words[place + 1] if place + 1 < len(words) else ""
        if found := _FIGURES.fullmatch(word):
            reading.figures(found[1], found[2])
        elif word in _ZEROS:
            reading.digits("0")
        elif word in _NUMBERS:
            kind, number, suffix = _NUMBERS[word]
            reading.add(kind, number, _kind(before))
            if suffix:
                reading.end(suffix)
        else:
            skip = _other(reading, word, before, after)
    reading.end()
    return reading.written


def _other(reading: _Number, word: str, before: str, after: str) -> bool:
    """A word that may belong to a number without being one; whether the next word is used up with it."""
    if word in _SIGNS and _numeric(after):
        reading.end()
        reading.prefix = _SIGNS[word]
    elif word in _COINS and reading.value is not None:
        reading.end(sign=_COINS[word])
    elif reading.value is not None and (word == "percent" or (word == "per" and after == "cent")):
        reading.end("%")
        return word == "per"
    elif word == "and" and _kind(before) == "times" and _numeric(after):
        pass
    elif word in _TIMES and (after in _ZEROS or _kind(after) == "one"):
        reading.digits(str(0 if after in _ZEROS else _NUMBERS[after][1]) * _TIMES[word])
        return True
    elif word == "point" and (after in _ZEROS or _FIGURES.fullmatch(after) or _counts(after)):
        reading.digits(".")
    else:
        reading.word(word)
    return False
