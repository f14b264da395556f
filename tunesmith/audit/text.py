"""What is wrong with the texts of rows, in one pass over them. It knows no answer and no label.

Damaged encodings, foreign languages, lengths, leftovers of templates and of HTML, sentences that stand everywhere,
personal data, secrets; toxicity where a model for it is named.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tunesmith.audit.credentials import masked_secrets, secrets_in
from tunesmith.audit.data import AuditData
from tunesmith.audit.encoding_damage import damage_of
from tunesmith.audit.found import Found, SideName, Skipped, View
from tunesmith.audit.gathered import Fault, Gathered
from tunesmith.audit.languages import language_of
from tunesmith.audit.leftovers import markup_leftover, template_leftover
from tunesmith.audit.personal import masked, personal_data
from tunesmith.audit.repeats import Repeats
from tunesmith.audit.row_texts import PLAIN, Piece, excerpt, reader, rewritten
from tunesmith.audit.text_views import boilerplate_findings, language_says, length_says
from tunesmith.audit.toxicity import toxicity_findings
from tunesmith.types import Row

PROGRESS_ROWS = 2_000
_SAYING = (PLAIN, "assistant", "text")
"""Roles whose texts are no instruction that is meant to be the same in many rows."""
_ASKED = (PLAIN, "user", "assistant", "text")
_NOTHING = re.compile(
    r"\W*(?:n/?a|null|none|nan|nil|undefined|unknown|tbd|test|testing|asdf+|qwerty|xx+|object object|"
    r"no (?:text|content|data|comment)|not available|deleted|removed|empty|blank|error|value!|ref!)?\W*",
    re.IGNORECASE,
)
_PICTURES = re.compile("[\u2190-\u2bff\u3000-\u303f\U0001f000-\U0001faff]|[:;=8xX][-^']?[)(DPpO/|*3]|<3")

FAULTS: dict[str, Fault] = {
    "encoding-damage": Fault(
        "hold text that was read in another encoding than it was written in",
        "read the source in its own encoding (UTF-8 most often); --fix puts right what is certain",
        warning=0.001,
        error=0.2,
        remedy="change",
    ),
    "lost-characters": Fault(
        "hold replacement characters: what stood there is gone",
        "read the source anew in its own encoding, or leave these rows out",
        warning=0.001,
        error=0.2,
        remedy="drop",
    ),
    "invisible-characters": Fault(
        "hold control characters or characters without width, which a tokenizer sees and nobody else",
        "take them out; --fix does",
        warning=0.01,
        remedy="change",
    ),
    "nothing-said": Fault(
        "hold a text that says nothing (n/a, null, signs alone)",
        "leave these rows out",
        warning=0.01,
        error=0.3,
        remedy="drop",
    ),
    "template-leftovers": Fault(
        "hold places that were to be filled, or a chat template's own tokens",
        "fill them, or leave these rows out",
        warning=0.001,
        error=0.3,
        remedy="drop",
    ),
    "markup-leftovers": Fault(
        "hold HTML or other markup in the midst of prose",
        "take the markup out; --fix does where nothing is lost by it",
        warning=0.01,
        remedy="change",
    ),
    "personal-data": Fault(
        "hold personal data",
        "mask it (--fix does), or make sure that you may use it; a model can say it word for word",
        warning=0.0,
        error=0.2,
        remedy="change",
    ),
    "secrets": Fault(
        "hold keys, tokens or passwords",
        "revoke them, and mask them (--fix does); a model can say them word for word",
        warning=0.0,
        error=0.01,
        remedy="change",
    ),
}
Says = Found | View | Skipped


@dataclass
class Texts:
    """All that one pass over both sides told.

    Args:
        gathered: Marks by code.
        names: Languages by number; 0 is none.
        languages: By side, the number of every row's language.
        words: By side, every row's words.
        repeats: Sentences of all rows, the held-out ones numbered after the others.
        kinds: Rows by kind of personal data and secret.
    """

    gathered: Gathered
    names: dict[str | None, int] = field(default_factory=lambda: {None: 0})
    languages: dict[SideName, array[int]] = field(default_factory=lambda: {"train": array("B"), "eval": array("B")})
    words: dict[SideName, array[int]] = field(default_factory=lambda: {"train": array("i"), "eval": array("i")})
    repeats: Repeats = field(default_factory=Repeats)
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)


def text_findings(data: AuditData) -> Iterator[Says]:
    """Everything that is the matter with texts."""
    texts = Texts(Gathered(data, FAULTS))
    read = reader(data)
    number = 0
    total = sum(map(len, data.sides.values()))
    for side, rows in data.sides.items():
        for row in rows:
            if number % PROGRESS_ROWS == 0:
                data.progress("reading texts", number, total)
            _look(texts, side, row, read(row), number)
            number += 1
    data.progress("reading texts", number, total)
    said = {code: _kinds_said(texts, code) for code in ("personal-data", "secrets")}
    yield from texts.gathered.findings(said)
    yield from boilerplate_findings(data, texts.repeats, read, _SAYING)
    yield from language_says(data, list(texts.names), texts.languages)
    yield from length_says(data, texts.words)
    yield from toxicity_findings(data)


def _kinds_said(texts: Texts, code: str) -> str:
    counts = [(kind, n) for (name, kind), n in texts.kinds.most_common() if name == code]
    return ": " + ", ".join(f"{kind} in {n:,}" for kind, n in counts) if counts else ""


def _look(texts: Texts, side: SideName, row: Row, pieces: list[Piece], number: int) -> None:
    """Look at one row: every text by itself, one mark a code."""
    met: dict[str, _Met] = {}
    words, longest = 0, ""
    for piece in pieces:
        text = piece.text
        words += text.count(" ") + 1
        if piece.role in _ASKED and len(text) > len(longest):
            longest = text
        if piece.role in _SAYING:
            texts.repeats.add(number, text)
        _look_at(piece, met)
    for code, one in met.items():
        change = rewritten(row, one.texts) if one.texts else None
        texts.gathered.add(code, side, str(row["id"]), one.note, one.score, change)
        texts.kinds.update((code, kind) for kind in one.kinds)
    language = language_of(longest)
    texts.languages[side].append(texts.names.setdefault(language, len(texts.names)))
    texts.words[side].append(words)


@dataclass
class _Met:
    """What one code met in a row."""

    note: str
    score: float
    texts: dict[tuple[str, int], str] = field(default_factory=dict)
    kinds: set[str] = field(default_factory=set)


_DAMAGE = {"misread": "encoding-damage", "lost": "lost-characters", "unseen": "invisible-characters"}


def _look_at(piece: Piece, met: dict[str, _Met]) -> None:
    """Look at one text. What can be mended is mended in full, whichever of the codes ``--fix`` acts on."""
    text, mended = piece.text, piece.text
    repaired: list[_Met] = []

    def add(code: str, note: str, score: float, kinds: Iterable[str] = ()) -> _Met:
        one = met.setdefault(code, _Met(note, score))
        one.kinds.update(kinds)
        return one

    if not text.isascii() or not text.isprintable() or "\\u" in text:
        for damage in damage_of(text):
            one = add(_DAMAGE[damage.kind], damage.seen, 0.95)
            if damage.mended is not None:
                mended = damage.mended
                repaired.append(one)
    if len(text) < 24 and piece.role in (PLAIN, "user") and _NOTHING.fullmatch(text) and not _PICTURES.search(text):
        add("nothing-said", excerpt(text) or "blank", 0.9)
    if leftover := template_leftover(text):
        add("template-leftovers", excerpt(leftover[0]), leftover[1])
    if markup := markup_leftover(mended):
        one = add("markup-leftovers", excerpt(markup[0]), markup[1])
        if markup[2] is not None:
            mended = markup[2]
            repaired.append(one)
    if found := personal_data(mended):
        kinds = dict.fromkeys(one.kind for one in found)
        repaired.append(add("personal-data", ", ".join(kinds), max(f.score for f in found), kinds))
        mended = masked(mended, found)
    if secrets := secrets_in(mended):
        kinds = dict.fromkeys(secret.kind for secret in secrets)
        repaired.append(add("secrets", ", ".join(kinds), max(s.score for s in secrets), kinds))
        mended = masked_secrets(mended, secrets)
    if mended != text:
        for one in repaired:
            one.texts[piece.column, piece.number] = mended
