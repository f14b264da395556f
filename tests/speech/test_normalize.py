from __future__ import annotations

import csv
import re
import unicodedata
from pathlib import Path

import jiwer
import numpy as np
import pytest

from tunesmith.speech.normalize import language_code, normalize, unit_of
from tunesmith.speech.spelling import american

EXAMPLES = Path(__file__).parents[2] / "examples/sentiment/sentiment.csv"

SAME = [
    ("I won't go.", "i will not go"),
    ("He can't, they're late", "he can not they are late"),
    ("I’ve seen it; it’s John’s", "i've seen it it's john's"),
    ("Mr. Smith and Dr. Jones", "mister smith and doctor jones"),
    ("The colour of the grey theatre", "the color of the gray theater"),
    ("We realised the catalogue's travellers favoured it", "we realized the catalog's travelers favored it"),
    ("four", "4"),
    ("twenty one", "21"),
    ("twenty-one", "21"),
    ("one hundred and five", "105"),
    ("two thousand twenty", "2020"),
    ("nineteen eighty four", "1984"),
    ("one oh one", "101"),
    ("double seven", "77"),
    ("three point five million", "3,500,000"),
    ("two and a half", "2.5"),
    ("the twenty-first of May", "the 21st of may"),
    ("a third, a fourth and a ninth", "a 3rd, a 4th and a 9th"),
    ("in the nineteen sixties", "in the 1960s"),
    ("fifty percent", "50%"),
    ("fifty per cent", "50 percent"),
    ("five dollars and seven cents", "$5.07"),
    ("twenty million pounds", "£20 million"),
    ("minus five degrees", "-5 degrees"),
    ("one of them", "1 of them"),
    ("Uh, so, um, yes", "so yes"),
    ("yes [laughs] (quietly) no", "yes no"),
    ("Café naïve", "cafe naive"),
    ("e.g. the U.S.A.", "e g the u s a"),
    ("ﬁne ｗｏｒｄｓ", "fine words"),
]
DIFFERENT = [
    ("21", "twenty two"),
    ("the first", "the one"),
    ("50", "50%"),
    ("$5", "5"),
    ("-5", "5"),
    ("he will", "he would"),
    ("story", "sorry"),
    ("fulled", "filled"),
    ("promise", "promised"),
    ("our hour", "or hour"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_english_that_says_the_same_is_the_same(one: str, other: str) -> None:
    assert normalize(one, "en") == normalize(other, "en") != ""


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_english_that_says_something_else_is_not(one: str, other: str) -> None:
    assert normalize(one, "en") != normalize(other, "en")


def test_numbers_are_read_as_said() -> None:
    ones = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    ones += [f"{word}teen" for word in ("thir", "four", "fif", "six", "seven", "eigh", "nine")]
    tens = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]

    def spelled(number: int) -> str:
        if number < 20:
            return ones[number]
        if number < 100:
            return tens[number // 10 - 2] + (f"-{ones[number % 10]}" if number % 10 else "")
        if number < 1000:
            return f"{ones[number // 100]} hundred" + (f" and {spelled(number % 100)}" if number % 100 else "")
        for size, name in ((10**9, "billion"), (10**6, "million"), (1000, "thousand")):
            if number >= size:
                rest = number % size
                joined = " and " if 0 < rest < 100 else " "
                return f"{spelled(number // size)} {name}" + (f"{joined}{spelled(rest)}" if rest else "")
        raise AssertionError

    rng = np.random.default_rng(0)
    numbers = [*range(2, 130), *(int(10 ** rng.uniform(2, 12)) for _ in range(400))]
    wrong = {n: got for n in numbers if (got := normalize(f"it is {spelled(n)} now", "en")) != f"it is {n} now"}
    assert wrong == {}


def sentences(count: int) -> list[str]:
    with EXAMPLES.open(encoding="utf-8", newline="") as stream:
        texts = [row["text"] for row in csv.DictReader(stream)]
    spoken = [
        "I paid twenty-five dollars and fifty cents for one hundred and two apples in nineteen ninety nine.",
        "Mr. Brown's flight at ten thirty won't leave before the twenty-second of July, he'd been told.",
        "Seventy percent of them, about three point five million, didn't vote the second time.",
        "Call one eight hundred double five, two oh nine; uh, it's the colour of the theatre's door.",
    ]
    return [*spoken, *texts[: count - len(spoken)]]


def misheard(text: str, rng: np.random.Generator) -> str:
    """What a recogniser might write: other case, no punctuation, short or long forms, words lost, doubled or other."""
    changes = {"n't": " not", "one": "1", "two": "2", "first": "1st", "color": "colour", "'s": " is"}
    for old, new in changes.items():
        if rng.random() < 0.5:
            text = re.sub(rf"{old}\b", new, text)
    words = []
    for word in text.split():
        draw = rng.random()
        words += [] if draw < 0.06 else [word, word] if draw < 0.1 else ["thing"] if draw < 0.16 else [word.upper()]
    return " ".join(words)


def test_error_rates_are_those_of_the_published_normaliser() -> None:
    """It differs where that one reads "-5" as 5 and "2 and a half" as no number, and takes "ninth" for no ordinal."""
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    rng = np.random.default_rng(5)
    truths = sentences(400)
    saids = [misheard(text, rng) for text in truths]
    words = {word for text in truths + saids for word in re.findall(r"\w+", text.lower())}
    theirs = EnglishTextNormalizer({word: american(word) for word in words})
    same, totals = 0, np.zeros((2, 2))
    for truth, said in zip(truths, saids, strict=True):
        rates = []
        for which, form in enumerate((lambda text: normalize(text, "en"), theirs)):
            reference, heard = " ".join(form(truth).split()), " ".join(form(said).split())
            found = jiwer.process_words(reference, heard)
            errors, count = found.substitutions + found.insertions + found.deletions, len(reference.split())
            totals[which] += errors, count
            rates.append(errors / count)
        same += rates[0] == pytest.approx(rates[1])
    assert same >= 0.97 * len(truths)
    ours, published = totals[:, 0] / totals[:, 1]
    assert published > 0.05
    assert ours == pytest.approx(published, abs=0.001)


@pytest.mark.parametrize(
    ("british", "expected"),
    [
        ("colours", "colors"),
        ("honourable", "honorable"),
        ("organisation", "organization"),
        ("analysed", "analyzed"),
        ("kilometres", "kilometers"),
        ("centred", "centered"),
        ("dialogue", "dialog"),
        ("travelling", "traveling"),
        ("counsellor", "counselor"),
        ("paediatrician", "pediatrician"),
        ("defence", "defense"),
        ("tyres", "tires"),
    ],
)
def test_british_words_are_spelled_as_american_ones(british: str, expected: str) -> None:
    assert american(british) == expected == american(expected)


def test_words_of_no_british_spelling_stay() -> None:
    words = "hour four tour devour surprise otherwise exercise promised raised noises wise adviser televised here acre "
    words += "genre where called filled controlled smaller excellent visible basis this promises precise vogue"
    assert [word for word in words.split() if american(word) != word] == []


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("de", "Straße, GRÖẞE!  Über-Ich", "straße größe über ich"),
        ("fr", "L’été, c’est l'heure…", "l été c est l heure"),
        ("uk", "М’ята, п'ять", "м'ята п'ять"),
        ("tr", "IŞIK İstanbul", "ışık istanbul"),
        ("el", "ΟΔΟΣ", "οδος"),
        ("es", "¿Qué? ¡Ñandú!", "qué ñandú"),
        ("vi", "Tiếng Việt", "tiếng việt"),
        ("ar", "مُحَمَّدٌ، قال: ١٢٣؟", "محمد قال 123"),
        ("he", "שָׁלוֹם!", "שלום"),
        ("zh", "你好，世界！", "你好 世界"),
        (None, "Four won't ‘quote’ (aside) <unk> [noise] it's", "four won't quote it's"),
        (None, "soft\u00adhyphen \ufeffmark a\u200bb", "softhyphen mark a b"),
        (None, " … — !", ""),
        (None, "", ""),
    ],
)
def test_other_languages_lose_only_what_nobody_hears(language: str | None, text: str, expected: str) -> None:
    # Two capitals that lower case maps to one letter.
    assert normalize(text, language).replace("grösse", "größe") == expected


@pytest.mark.parametrize("language", [None, "en", "hi", "ta", "th"])
@pytest.mark.parametrize(
    "text",
    [
        "क्षत्रिय हिन्दी में किताबें",
        "தமிழ் மொழி",
        "বাংলা ভাষা",
        "ಕನ್ನಡ",
        "മലയാളം",
        "తెలుగు",
        "ไทยที่นี่",
        "ภาษาไทย น้ำ",
        "ខ្មែរ",
        "မြန်မာ",
        "བོད་ཡིག",
    ],
)
def test_vowel_signs_and_viramas_stay(text: str, language: str | None) -> None:
    form = normalize(text, language)
    marks = [c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) in ("Mn", "Mc")]
    assert [c for c in unicodedata.normalize("NFKC", form) if unicodedata.category(c) in ("Mn", "Mc")] == marks
    assert form


@pytest.mark.parametrize("language", [None, "en", "fr", "tr", "zh"])
def test_a_normal_form_is_stable(language: str | None) -> None:
    rng = np.random.default_rng(11)
    points = [*range(0x20, 0x2FF), *range(0x370, 0x700), *range(0x900, 0xF00), *range(0x2000, 0x2200)]
    points += [*range(0x3040, 0x30FF), *range(0x4E00, 0x4E80), *range(0x1F600, 0x1F640)]
    points = [point for point in points if unicodedata.category(chr(point)) != "Cn"]
    for _ in range(300):
        text = "".join(chr(points[int(n)]) for n in rng.integers(0, len(points), 12))
        form = normalize(text, language)
        assert form == " ".join(form.split())
        if language != "en":
            assert normalize(form, language) == form, (text, form)
        assert not [c for c in form if unicodedata.category(c)[0] in "PSZC" and c not in " '.%$¢€£-+"], form


@pytest.mark.parametrize(
    ("language", "text", "unit"),
    [
        ("en", "hello", "word"),
        (None, "hello", "word"),
        ("zh-TW", "", "character"),
        ("Chinese", "你好", "character"),
        (None, "你好世界", "character"),
        (None, "これは本です", "character"),
        (None, "ไทย", "character"),
        (None, "ລາວ", "character"),
        (None, "ខ្មែរ", "character"),
        (None, "မြန်မာ", "character"),
        ("ja", "OK", "character"),
        ("ko", "안녕 하세요", "word"),
        ("hi", "नमस्ते", "word"),
        (None, "he said 你好 to all", "word"),
        (None, "", "word"),
    ],
)
def test_scripts_without_spaces_are_counted_by_character(language: str | None, text: str, unit: str) -> None:
    assert unit_of(language, text) == unit


@pytest.mark.parametrize("name", ["en", "EN", "en-GB", "en_US", "English", "<|en|>", " english "])
def test_a_language_has_one_code(name: str) -> None:
    assert language_code(name) == "en"
    assert normalize("won't", name) == "will not"
