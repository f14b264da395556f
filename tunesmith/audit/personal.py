"""Personal data by rules: addresses, numbers with check digits, with a text in which they are masked. It knows no row.

Names of people and places are not looked for: no rule tells them from other words.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import NamedTuple

_SUSPECT = re.compile(r"@|\d[\d .()\-/:]{5,}\d|[A-Z]{2}\d\d")
_EMAIL = re.compile(r"(?<![\w.+/:-])[A-Za-z0-9][\w.+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,18}(?![\w@])")
_NOBODY = re.compile(
    r"@(?:.*\.)?(?:example|test|invalid|localhost|domain|email|company|yourdomain|mysite|sample)\b|"
    r"^(?:user|name|your|someone|foo|noreply|no-reply|first\.last|you|me|abc|xxx+)[\w.-]*@|^git@|\.(?:png|jpg|gif|js|py)$",
    re.IGNORECASE,
)
_IBAN = re.compile(r"(?<![A-Za-z0-9])([A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?)(?![A-Za-z0-9])")
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AT": 20, "BE": 16, "BG": 22, "CH": 21, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "EE": 20,
    "ES": 24, "FI": 18, "FR": 27, "GB": 22, "GR": 27, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IS": 26, "IT": 27,
    "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27, "MT": 31, "NL": 18, "NO": 15, "PL": 28, "PT": 25, "RO": 24,
    "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "TR": 26, "UA": 29,
}  # fmt: skip
_CARD = re.compile(r"(?<![\w.-])(?:\d{4}[ -]?\d{4}[ -]?\d{4}[ -]?\d{4}|3[47]\d{2}[ -]?\d{6}[ -]?\d{5})(?![\w-]|\.\d)")
_ISSUER = re.compile(r"4|5[1-5]|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)|3[47]|6(?:011|5|4[4-9])|35(?:2[89]|[3-8])")
_SSN = re.compile(r"(?<![\w-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])")
_IP = re.compile(r"(?<![\w.:-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
_IP6 = re.compile(r"(?<![\w:.])(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}(?![\w:])")
_VERSION = re.compile(r"\b(?:version|release|build|firmware|v|ver|section|chapter|clause)\.?\s*$", re.IGNORECASE)
_PHONE = re.compile(
    r"(?<![\w+./-])(?:\+\d{1,3}[ .-]?\(?\d{1,4}\)?(?:[ ./-]?\d{2,4}){2,4}|\(\d{3}\) ?\d{3}[ .-]\d{4}|"
    r"(?:1[ .-])?[2-9]\d{2}[.-][2-9]\d{2}[.-]\d{4}|[2-9]\d{2} [2-9]\d{2}[ -]\d{4}|0\d{2,4}[ /-]\d{5,8})(?![\w/-]|\.\d)"
)
_FICTIONAL = re.compile(r"555\D?01\d\d$|555\D?\d{4}$|1?2345678|^\D*0+$")
_ABOUT_PHONES = re.compile(
    r"\b(?:phone|call|tel|mobile|cell|fax|contact|whatsapp|reach|text|telefon|handy|anruf|ring|numero|número)", re.I
)


class Personal(NamedTuple):
    """A piece of personal data: what kind, and where it stands."""

    kind: str
    start: int
    end: int
    score: float


def personal_data(text: str) -> list[Personal]:
    """All that a text holds, in order, without overlaps."""
    if not _SUSPECT.search(text):
        return []
    found: list[Personal] = []
    for kind, pattern, right, score in _KINDS:
        if kind == "e-mail address" and "@" not in text:
            continue
        for match in pattern.finditer(text):
            overlaps = any(match.start() < one.end and one.start < match.end() for one in found)
            if not overlaps and right(match):
                found.append(Personal(kind, match.start(), match.end(), score))
    return sorted(found, key=lambda one: one.start)


def masked(text: str, found: list[Personal]) -> str:
    """The text with a word in brackets in place of each."""
    for one in reversed(found):
        text = f"{text[: one.start]}[{one.kind.upper()}]{text[one.end :]}"
    return text


def _is_email(match: re.Match[str]) -> bool:
    return not _NOBODY.search(match[0])


def _is_iban(match: re.Match[str]) -> bool:
    """Length of its country, and the remainder of ISO 7064 (mod 97)."""
    plain = match[0].replace(" ", "")
    if _IBAN_LENGTHS.get(plain[:2]) != len(plain):
        return False
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def _is_card(match: re.Match[str]) -> bool:
    """An issuer's first digits, and the check digit (Luhn)."""
    digits = [int(c) for c in match[0] if c.isdigit()]
    if not _ISSUER.match("".join(map(str, digits))) or len(set(digits)) < 2:
        return False
    doubled = [d if place % 2 == 0 else 2 * d - 9 * (d > 4) for place, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def _is_ssn(match: re.Match[str]) -> bool:
    return match[0] not in ("123-45-6789", "078-05-1120")


def _is_address(match: re.Match[str]) -> bool:
    """Of a machine anywhere on the net: not one of a private or reserved range, nor a version's number."""
    try:
        address = ipaddress.ip_address(match[0])
    except ValueError:
        return False
    small = address.version == 4 and all(int(part) < 20 for part in match[0].split("."))
    known = match[0] in ("8.8.8.8", "8.8.4.4", "1.1.1.1")
    return address.is_global and not small and not known and not _VERSION.search(match.string[: match.start()][-12:])


def _is_phone(match: re.Match[str]) -> bool:
    digits = "".join(c for c in match[0] if c.isdigit())
    if not 9 <= len(digits) <= 15 or _FICTIONAL.search(digits) or len(set(digits)) < 3:
        return False
    clear = match[0].startswith(("+", "("))
    near = match.string[max(0, match.start() - 60) : match.end() + 30]
    return clear or bool(_ABOUT_PHONES.search(near))


_Right = Callable[[re.Match[str]], bool]
_KINDS: tuple[tuple[str, re.Pattern[str], _Right, float], ...] = (
    ("e-mail address", _EMAIL, _is_email, 0.95),
    ("IBAN", _IBAN, _is_iban, 1.0),
    ("card number", _CARD, _is_card, 0.95),
    ("social security number", _SSN, _is_ssn, 0.8),
    ("IP address", _IP, _is_address, 0.7),
    ("IP address", _IP6, _is_address, 0.8),
    ("phone number", _PHONE, _is_phone, 0.8),
)
