"""Keys, tokens and passwords that stand in a text, with the text in which they are masked. It knows no row.

Forms that a service gives its tokens, private keys, signed web tokens, and values of high entropy that something named
like a secret is set to.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

_LONG = re.compile(r"[A-Za-z0-9_\-/+=.:]{16,}")
_NAMES = ("passw", "pwd", "secret", "token", "key", "auth", "credential")
_TOKENS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(rf"(?<![A-Za-z0-9_-])(?:{form})(?![A-Za-z0-9])"))
    for name, form in (
        ("AWS key", r"(?:AKIA|ASIA)[A-Z2-7]{16}"),
        ("GitHub token", r"gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,}"),
        ("GitLab token", r"glpat-[A-Za-z0-9_-]{20,}"),
        ("Slack token", r"xox[abeoprs]-[A-Za-z0-9-]{12,}|xapp-\d-[A-Za-z0-9-]{20,}"),
        ("Anthropic key", r"sk-ant-[A-Za-z0-9_-]{24,}"),
        ("OpenAI key", r"sk-(?:proj-|svcacct-)?[A-Za-z0-9_-]{24,}"),
        ("Hugging Face token", r"hf_[A-Za-z0-9]{30,}"),
        ("Google key", r"AIza[A-Za-z0-9_-]{35}"),
        ("Stripe key", r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"),
        ("SendGrid key", r"SG\.[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}"),
        ("npm token", r"npm_[A-Za-z0-9]{36}"),
        ("PyPI token", r"pypi-[A-Za-z0-9_-]{50,}"),
        ("Telegram token", r"\d{8,10}:AA[A-Za-z0-9_-]{32,}"),
    )
)
_TOKEN_START = re.compile(
    r"AKIA|ASIA|gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|xapp-|sk-|hf_|AIza|[sr]k_(?:live|test)_|SG\.|npm_|pypi-|:AA"
)
_PRIVATE = re.compile(
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----"
    r"(?:\s*(?:[\w-]+: [^\n]*\n)*\s*[A-Za-z0-9+/=]{16,}.*?(?:-----END [A-Z ]+-----|$))",
    re.DOTALL,
)
_JWT = re.compile(r"(?<![\w.-])(eyJ[A-Za-z0-9_-]{8,})\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,}")
_IN_ADDRESS = re.compile(r"\b[a-z][a-z0-9+]{2,15}://[^\s/:@]{1,64}:([^\s/@:{}<>$*]{6,})@[\w.-]+")
_NAMED = re.compile(
    r"(?:password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key|auth|credential|private[_-]?key)s?[\"']?"
    r"\s*(?:=>|:=|=|:|\bis\b)\s*[\"'`]?([A-Za-z0-9_\-/+=.!#%^&*@$]{16,200})",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"example|sample|dummy|your|placeholder|changeme|xxxx|\*\*\*|\.\.\.|1234567|abcdef|redacted|<|\{", re.IGNORECASE
)
_REFERENCE = re.compile(
    r"os\.environ|getenv|process\.env|config\.|settings\.|self\.|https?:|[a-z_]+$|[A-Z_]+$|[A-Za-z]+(?:[_.-][A-Za-z]+)+$|"
    r"[\w-]+\.\w+\.?$"
)
"""A value that is a name: of a variable, of a file, words with signs between them."""
LEAST_BITS = 3.0
"""Bits of entropy a character from which a value is random enough for a secret; of a word of ten letters there
are about 2.7, of random hexadecimal digits up to 4, of base64 up to 6."""


class Secret(NamedTuple):
    """What kind of secret, and where it stands."""

    kind: str
    start: int
    end: int
    score: float


def secrets_in(text: str) -> list[Secret]:
    """All that a text holds, in order, without overlaps."""
    found: list[Secret] = []
    for kind, start, end, score in _met(text):
        if not any(start < one.end and one.start < end for one in found):
            found.append(Secret(kind, start, end, score))
    return sorted(found, key=lambda one: one.start)


def _met(text: str) -> Iterator[tuple[str, int, int, float]]:
    """Everything that looks like a secret, the surest first."""
    long = _LONG.search(text)
    if "-----BEGIN" in text:
        yield from (("private key", *match.span(), 1.0) for match in _PRIVATE.finditer(text))
    if long and _TOKEN_START.search(text):
        for kind, pattern in _TOKENS:
            for match in pattern.finditer(text):
                if not _PLACEHOLDER.search(match[0]) and _random(match[0]):
                    yield kind, *match.span(), 0.95
    if long and "eyJ" in text:
        yield from (("JSON web token", *match.span(), 0.95) for match in _JWT.finditer(text) if _is_header(match[1]))
    if "://" in text and "@" in text:
        for match in _IN_ADDRESS.finditer(text):
            if not _PLACEHOLDER.search(match[1]) and match[1].lower() not in ("password", "secret"):
                yield "password in an address", *match.span(1), 0.9
    if any(word in text.lower() for word in _NAMES):
        for match in _NAMED.finditer(text):
            named = _PLACEHOLDER.search(match[1]) or _REFERENCE.match(match[1])
            if not named and _mixed(match[1]) and entropy(match[1]) >= LEAST_BITS:
                yield "secret value", *match.span(1), 0.8


def masked_secrets(text: str, found: list[Secret]) -> str:
    """The text with a word in brackets in place of each."""
    for one in reversed(found):
        text = f"{text[: one.start]}[SECRET]{text[one.end :]}"
    return text


def entropy(text: str) -> float:
    """Shannon's, in bits a character."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values()) if text else 0.0


def _random(token: str) -> bool:
    """Whether what follows a token's prefix is no word: ``sk-learn-is-a-library-for-everyone`` is one."""
    turns = sum(a.islower() != b.islower() for a, b in pairwise(filter(str.isalpha, token)))
    return entropy(token) >= LEAST_BITS and (_mixed(token) or turns >= 4 or token.isupper())


def _mixed(text: str) -> bool:
    digits = sum(map(str.isdigit, text))
    return digits >= 2 and any(map(str.isalpha, text))


def _is_header(part: str) -> bool:
    try:
        header = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, binascii.Error):
        return False
    return isinstance(header, dict) and "alg" in header
