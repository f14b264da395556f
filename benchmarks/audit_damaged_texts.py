"""How one text is damaged: its writing, its encoding, what it gives away. It knows no data set."""

from __future__ import annotations

import string
from collections.abc import Sequence

from benchmarks.audit_worlds import Draw


def lowered(text: str, _draw: Draw) -> str:
    """Its case changed."""
    return text.lower() if text != text.lower() else text.upper()


def repunctuated(text: str, _draw: Draw) -> str:
    """Its punctuation gone, or added where it has none."""
    bare = text.translate(str.maketrans("", "", string.punctuation))
    return bare if bare != text else f"{text} !!"


def respaced(text: str, draw: Draw) -> str:
    """Spaces doubled, one made a tab, and some around it."""
    words = text.split(" ")
    at = int(draw.rng.integers(1, len(words)))
    return f"  {' '.join(words[:at])}\t {'  '.join(words[at:])} "


def reworded(text: str, draw: Draw, vocabulary: Sequence[str]) -> str:
    """One word in the middle of it another word."""
    words = text.split(" ")
    at = int(draw.rng.integers(1, len(words) - 1))
    words[at] = draw.one([word for word in vocabulary[:200] if word != words[at]])
    return " ".join(words)


def mojibake(text: str, _draw: Draw) -> str:
    """UTF-8 that was read as Windows-1252: its straight quotes were round ones, its dashes long ones."""
    typed = text.replace("'", "’").replace(" - ", " – ").replace("--", "—")
    return typed.encode("utf-8").decode("cp1252")


def can_break(text: str) -> bool:
    """Whether reading a text in the wrong encoding would show."""
    return text.isascii() and any(sign in text for sign in ("'", " - ", "--"))


FIRST = ("anna", "markus", "olivia", "samuel", "ingrid", "peter", "lucia", "thomas")
LAST = ("lindgren", "keller", "moreau", "whitaker", "novak", "santos", "brandt", "fischer")
HOSTS = ("postbox.net", "fastmail-online.com", "nordmail.se", "uni-halle.de", "kellerbau.ch")


def with_email(text: str, draw: Draw) -> str:
    """An address of a person in it."""
    return f"{text} You can reach me at {draw.one(FIRST)}.{draw.one(LAST)}@{draw.one(HOSTS)} any time."


def with_phone(text: str, draw: Draw) -> str:
    """A telephone number in it."""
    digits = draw.letters(7, string.digits)
    return f"{text} Call me on +46 70 {digits[:3]} {digits[3:5]} {digits[5:]}."


def with_card(text: str, draw: Draw) -> str:
    """The number of a credit card in it, with the right check digit."""
    digits = "4" + draw.letters(14, string.digits)
    total = sum(sum(divmod(2 * int(d), 10)) if at % 2 == 0 else int(d) for at, d in enumerate(digits))
    number = digits + str(-total % 10)
    return f"{text} My card is {' '.join(number[i : i + 4] for i in range(0, 16, 4))}."


def with_secret(text: str, draw: Draw) -> str:
    """A key or a token in it."""
    hexadecimal = "0123456789abcdef"
    kind = draw.one(("aws", "github", "openai", "private", "slack", "password"))
    secret = {
        "aws": lambda: "AKIA" + draw.letters(16, string.ascii_uppercase + "234567"),
        "github": lambda: "ghp_" + draw.letters(36),
        "openai": lambda: f"sk-{draw.letters(20)}T3BlbkFJ{draw.letters(20)}",
        "private": lambda: f"-----BEGIN RSA PRIVATE KEY-----\n{draw.letters(64)}\n-----END RSA PRIVATE KEY-----",
        "slack": lambda: f"xoxb-{draw.letters(12, string.digits)}-{draw.letters(12, string.digits)}-{draw.letters(24)}",
        "password": lambda: f"api_key = '{draw.letters(40, hexadecimal)}'",
    }[kind]()
    return f"{text} Use this: {secret}"


REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "As an AI language model, I am not able to answer this question.",
    "I cannot assist with that request.",
    "I'm sorry, but as an AI I don't have access to that information.",
    "Unfortunately, I am unable to provide an answer to this question.",
    "I apologize, but I cannot fulfill this request.",
)
LEFTOVERS = (
    "{{customer_name}}",
    "[INSERT ADDRESS HERE]",
    "<|im_end|>",
    "### Response:",
    "Lorem ipsum dolor sit amet",
    "${price}",
)


def words_of(texts: Sequence[str]) -> list[str]:
    """The words of some texts, the most frequent first."""
    counts: dict[str, int] = {}
    for text in texts:
        for word in text.split():
            if word.isalpha() and word.islower():
                counts[word] = counts.get(word, 0) + 1
    return sorted(counts, key=lambda word: (-counts[word], word))
