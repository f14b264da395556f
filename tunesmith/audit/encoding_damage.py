"""Text that was read in another encoding than it was written in, and characters that nobody sees. It knows no row.

UTF-8 that was read as Windows-1252, Latin-1, Windows-1251 or Mac Roman is told by the form of its byte sequences: a
lead byte's character, followed by just as many continuation bytes' characters as UTF-8 asks for. What such a sequence
says is certain once it is long enough, or rare enough in real text; the rest is left as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TIMES = 3
"""Most times that a text is taken to be damaged over and over."""
_SEQUENCES = 3
"""Different characters of UTF-8 from which a text that is UTF-8 throughout is taken to be so."""
_UNDEFINED = {0x81: "\x81", 0x8D: "\x8d", 0x8F: "\x8f", 0x90: "\x90", 0x9D: "\x9d", 0x98: "\x98"}


def _read_as(encoding: str, byte: int) -> str:
    try:
        return bytes([byte]).decode(encoding)
    except UnicodeDecodeError:
        return _UNDEFINED[byte]


def _bytes_of(encoding: str, latin: bool = False) -> dict[str, int]:
    """Character to the byte that it was, 0x80 to 0xFF."""
    found = {_read_as(encoding, byte): byte for byte in range(0x80, 0x100)}
    return {**({chr(byte): byte for byte in range(0x80, 0xA0)} if latin else {}), **found}


_WESTERN, _CYRILLIC, _MAC = _bytes_of("cp1252", latin=True), _bytes_of("cp1251"), _bytes_of("mac_roman")


def _class(table: dict[str, int], low: int, high: int) -> str:
    return "[" + "".join(re.escape(c) for c, byte in table.items() if low <= byte <= high) + "]"


_TAIL, _UPPER_TAIL = _class(_WESTERN, 0x80, 0xBF), _class(_WESTERN, 0xA0, 0xBF)
_TYPED = "“”‘’‚„…–—"
"""Characters of tail bytes that people type after a capital letter."""
_AFTER_CAPITALS = _TYPED + "\xa0«»ªº°·´"

_SURE = re.compile(
    # Punctuation, currency, signs: â€™ â€œ â‚¬ â„¢ â†’; the mark of byte order; emoji.
    rf"â[€\x80‚\x82„\x84†\x86…\x85ˆ‰]{_TAIL}|ï»¿|ï¿½|ð[Ÿ\x9f]{_TAIL}{{2}}"
    # Letters with accents: Ã© Å‚ Ä™; signs: Â° Â£.
    rf"|[ÃÄÅ]{_TAIL}|Â{_UPPER_TAIL}"
    # Other alphabets, which no real text mixes with signs so.
    rf"|(?:[ÐÑÎÏ×-Û]{_TAIL}){{2,}}|(?:[à-ï]{_TAIL}{{2}}){{2,}}"
)
_QUOTE_LOST = re.compile(r"â€(?:\ufffd|(?=[\s.,!?)]|$))")
_RUSSIAN = re.compile(rf"(?:[РС]{_class(_CYRILLIC, 0x80, 0xBF)}){{3,}}")
_RUSSIAN_SIGN = re.compile(rf"вЂ{_class(_CYRILLIC, 0x80, 0xBF)}")
_APPLE = re.compile(rf"‚Ä{_class(_MAC, 0x80, 0xBF)}|(?<![\d(=+*/-])√{_class(_MAC, 0x80, 0xBF)}(?![\d(])")
_ALONE = re.compile(r"[\x80-\x9f]")
_LOST = re.compile("\ufffd+")
_ESCAPED = re.compile(r"(?<=[A-Za-z])\\u(00[a-fA-F][0-9a-fA-F]|20[12][0-9a-fA-F])(?=[A-Za-z\s.,!?]|$)")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_UNSEEN = re.compile("[\u200b\u2060\ufeff\u00ad\u180e\ufff9-\ufffc]|(?<=[A-Za-z])[\u200c\u200d]+(?=[A-Za-z ])")
_TURNED = re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f]")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_HALF = re.compile("[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]")
_WHOLE = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_FOREIGN = re.compile(r"[^\x00-\x7f](?s:.|$)")
_ANY = re.compile("[Â-ïðÄ-ÿ√‚\x80-\x9f\u0402-\u045f\u2020-\u22ff]")


@dataclass(frozen=True, slots=True)
class Damage:
    """What is the matter with a text.

    Args:
        kind: ``misread`` (another encoding), ``lost`` (characters that are gone) or ``unseen`` (control characters and
            those without width).
        seen: What stands there.
        mended: The whole text as it was meant; None where nobody can tell.
    """

    kind: str
    seen: str
    mended: str | None


def damage_of(text: str) -> list[Damage]:
    """Every kind of damage in a text, each with all of the text mended as far as that is certain."""
    if text.isprintable() and text.isascii() and "\\u" not in text:
        return []
    found: list[tuple[str, str]] = []
    mended, misread = _read_anew(text)
    if misread:
        found.append(("misread", misread))
    mended, unseen = _without_unseen(mended)
    if unseen:
        found.append(("unseen", unseen))
    if lost := _LOST.search(mended):
        start = max(0, lost.start() - 12)
        return [
            *(Damage(kind, seen, mended) for kind, seen in found),
            Damage("lost", mended[start : lost.end() + 12], None),
        ]
    return [Damage(kind, seen, mended) for kind, seen in found]


def _read_anew(text: str) -> tuple[str, str]:
    """The text in its own encoding, and the first place that was not."""
    first = ""
    for _ in range(_TIMES):
        before = text
        if not text.isascii():
            text, seen = _once(text)
            first = first or seen
        if text == before:
            break
    if "\\u" in text and (escape := _ESCAPED.search(text)):
        first = first or escape[0]
        text = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)
    return text, first


def _once(text: str) -> tuple[str, str]:
    if not _ANY.search(text):
        return text, ""
    for table in (_WESTERN, _CYRILLIC, _MAC):
        if said := _all_anew(text, table):
            return said
    first = ""

    def take(match: re.Match[str], table: dict[str, int]) -> str:
        nonlocal first
        try:
            said = bytes(table[character] for character in match[0]).decode()
        except (KeyError, UnicodeDecodeError):
            return match[0]
        if not _could_be(match, said):
            return match[0]
        first = first or match[0]
        return said

    text = _SURE.sub(lambda match: take(match, _WESTERN), text)
    if "â€" in text:
        # The closing quote's last byte is no character of Windows-1252, so that many programs leave it out.
        first = first or (match[0] if (match := _QUOTE_LOST.search(text)) else "")
        text = _QUOTE_LOST.sub("”", text)
    if "Р" in text or "С" in text:
        text = _RUSSIAN.sub(lambda match: take(match, _CYRILLIC), text)
    if "вЂ" in text:
        text = _RUSSIAN_SIGN.sub(lambda match: take(match, _CYRILLIC), text)
    if "‚Ä" in text or "√" in text:
        text = _APPLE.sub(lambda match: take(match, _MAC), text)
    if alone := _ALONE.search(text):
        # Windows-1252 that was read as Latin-1: its quotes and dashes became control characters.
        first = first or repr(alone[0])[1:-1]
        text = _ALONE.sub(lambda match: _read_as("cp1252", ord(match[0])), text)
    return text, first


def _all_anew(text: str, table: dict[str, int]) -> tuple[str, str] | None:
    """The whole text as UTF-8, where it is that throughout: with several sequences it can't be so by chance."""
    lead = _FOREIGN.search(text)
    if lead is None or table.get(lead[0][0], 0) < 0xC2 or not 0x80 <= table.get(lead[0][1:], 0) < 0xC0:
        return None
    try:
        content = bytes(ord(c) if c < "\x80" else table[c] for c in text)
        said = content.decode()
    except (KeyError, UnicodeDecodeError):
        return None
    sequences = {c for c in said if c > "\x7f"}
    if len(sequences) < _SEQUENCES or not all(c.isprintable() or c in "\xa0\xad\ufeff\u200d\n" for c in sequences):
        return None
    return said, lead[0]


def _could_be(match: re.Match[str], said: str) -> bool:
    """Whether a sequence of two is no real text: a letter before a quote that someone typed."""
    seen, text = match[0], match.string
    if len(seen) != 2 or seen[1] not in _AFTER_CAPITALS:
        return said.isprintable() or said in "\xa0\xad\ufeff"
    before, after = text[: match.start()][-1:], text[match.end() : match.end() + 1]
    if before.isupper():
        return False
    return seen[1] not in _TYPED or before.islower() or after.islower()


def _without_unseen(text: str) -> tuple[str, str]:
    """The text without what nobody sees, and the first such character by name."""
    if text.isprintable():
        return text, ""
    first = ""

    def drop(match: re.Match[str]) -> str:
        nonlocal first
        first = first or f"U+{ord(match[0][0]):04X}"
        return ""

    if max(text) >= "\ud800":
        text = _WHOLE.sub(lambda match: match[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
        text = _HALF.sub(drop, text)
    text = _CONTROL.sub(drop, text)
    if not text.isascii():
        text = _UNSEEN.sub(drop, text)
        if _TURNED.search(text) and not _RIGHT_TO_LEFT.search(text):
            text = _TURNED.sub(drop, text)
    return text, first
