"""Which part of a generated text is the answer: fences and thoughts around it. It knows no kind of answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_OPENS = re.compile(r"[ \t]*(`{3,}|~{3,})[ \t]*([\w+#.-]*)[ \t]*(.*)")
_CLOSES = re.compile(r"[ \t]*(`{3,}|~{3,})[ \t]*")
_END_OF_THOUGHT = "</think>"


@dataclass(frozen=True)
class Fence:
    """A fenced part of a text: the language it names (lower case, may be empty), and what stands in it."""

    language: str
    text: str


def without_thought(text: str) -> str:
    """What a reasoning model says after its thoughts; the whole text where it has none."""
    return text.rpartition(_END_OF_THOUGHT)[2]


def fences(text: str) -> Iterator[Fence]:
    """All fences in order, as CommonMark reads them; one that was never closed (a cut answer) reaches to the end."""
    mark, language, lines = "", "", list[str]()
    for line in text.splitlines():
        if not mark:
            opens = _OPENS.fullmatch(line)
            if opens is None:
                continue
            mark, language, rest = opens[1], opens[2].lower(), opens[3].rstrip()
            lines = []
            if rest.endswith(mark) and rest != mark:
                # All of it on one line, as small models like to write: ```sql SELECT 1```
                yield Fence(language, rest.removesuffix(mark).strip())
                mark = ""
            continue
        closes = _CLOSES.fullmatch(line)
        if closes and closes[1].startswith(mark):
            yield Fence(language, "\n".join(lines))
            mark = ""
        else:
            lines.append(line)
    if mark:
        yield Fence(language, "\n".join(lines))


def fenced(text: str, languages: tuple[str, ...]) -> str | None:
    """The first fence that names one of the languages, else the first that names none; None where there is neither."""
    found = list(fences(text))
    for named in (languages, ("",)):
        for fence in found:
            if fence.language in named:
                return fence.text
    return None
