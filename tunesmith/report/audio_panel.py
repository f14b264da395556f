"""The panel of recordings: each playable, with its truth and what the base and the tuned model wrote, word by word.

It is drawn as a table whose cells hold more than words; it knows no task. Every word is escaped, sound is inside the
page, and differences are struck through or underlined, so that colour is never all that tells them.
"""

from __future__ import annotations

import base64
import re
from typing import Any

from markupsafe import Markup

from tunesmith.report import figures
from tunesmith.report.svg import tag

Json = dict[str, Any]

_SOUND = re.compile(r"data:audio/(mpeg|ogg|wav);base64,([A-Za-z0-9+/]+={0,2})")
_BEGINNINGS = {"mpeg": rb"ID3|\xff[\xe0-\xff]", "ogg": rb"OggS", "wav": rb"RIFF....WAVE"}
_KINDS = ("equal", "substitute", "delete", "insert")


def audio(panel: Json) -> Json:
    """Rows of sound: a player, what was spoken, and what each model wrote with its errors marked.

    ``items``: each ``expected``, and where known ``id``, ``seconds``, ``audio``, ``base``, ``tuned``. ``audio`` is an
    MP3, Ogg or WAV file inside the page, as ``data:audio/mpeg;base64,...``; a panel with any other address is refused,
    since a report loads nothing. ``base`` and ``tuned`` have ``steps``, each a kind (``equal``, ``substitute``,
    ``delete``, ``insert``), words of the truth and words that were written; and where known ``note`` and ``between``,
    what stands between two words.
    """
    items = list(panel["items"])
    sides = [name for name in ("base", "tuned") if any(item.get(name) is not None for item in items)]
    rows = []
    for item in items:
        cells: list[Markup | str] = [_recording(item), _words(figures.plain(item["expected"]))]
        cells += [_side(item[name]) if item.get(name) is not None else figures.NOTHING for name in sides]
        rows.append([(cell, False) for cell in cells])
    columns = [(name, False) for name in ("recording", "expected", *sides)]
    return {"columns": columns, "rows": rows, "wide": True}


def _recording(item: Json) -> Markup:
    name = str(item.get("id") or "")
    sound = item.get("audio")
    if sound is None:
        player = tag("small", "its sound is not in the report")
    else:
        words = f"recording {name}".strip()
        address = checked_sound(sound)
        player = tag("audio", controls="", preload="none", style="width:13rem", aria_label=words, src=address)
    seconds = figures.as_number(item.get("seconds"))
    facts = " · ".join(filter(None, (name, figures.duration(seconds) if seconds is not None else "")))
    return tag("div", player, tag("div", tag("small", facts), style="max-width:13rem;overflow-wrap:anywhere"))


def checked_sound(sound: object) -> str:
    """An address that holds its sound.

    Raises:
        ValueError: It is another, or holds something else.
    """
    found = _SOUND.fullmatch(sound) if isinstance(sound, str) else None
    if found is None:
        raise ValueError("a sound is no MP3, Ogg or WAV file inside the page")
    if not re.match(_BEGINNINGS[found[1]], base64.b64decode(found[2][:24]), re.DOTALL):
        raise ValueError(f"a sound says that it is {found[1]} and is not")
    return found[0]


def _words(*parts: Markup | str) -> Markup:
    return tag("div", *parts, dir="auto", style="min-width:11rem;max-height:16rem;overflow:auto;overflow-wrap:anywhere")


def _side(side: Json) -> Markup:
    between = str(side.get("between", " "))
    parts: list[Markup | str] = []
    for kind, truth, said in side["steps"]:
        if kind not in _KINDS:
            raise ValueError("a step is of no kind that the page knows")
        parts += [between] if parts else []
        if kind == "equal":
            parts.append(str(said))
        if kind in ("substitute", "delete"):
            parts.append(_mark("del", "quiet", "instead of" if kind == "substitute" else "left out", str(truth)))
        if kind == "substitute":
            parts.append(" ")
        if kind in ("substitute", "insert"):
            parts.append(_mark("ins", "no", "written" if kind == "substitute" else "put in", str(said)))
    note = str(side.get("note") or "")
    said_nothing = tag("small", "nothing")
    return tag("div", _words(*(parts or [said_nothing])), tag("small", note) if note else "")


def _mark(name: str, style: str, words: str, text: str) -> Markup:
    """One error; ``words`` are for those who hear the page."""
    return tag(name, tag("span", f"{words}: ", class_="unseen"), text, class_=style, title=words)
