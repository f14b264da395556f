"""A row's picture and sound as a page holds them: small, with boxes and masks drawn, and no more bytes than agreed.

It knows how a task reads its rows; no finding and no page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tunesmith.errors import UserError
from tunesmith.types import Row

if TYPE_CHECKING:
    from PIL import Image

    from tunesmith.audit.data import AuditData

Json = dict[str, Any]

WIDEST = 256
"""Most pixels of a picture's longer side, where nothing is drawn on it."""
DRAWN_WIDEST = 384
"""The same of one with boxes or a mask, whose words must be legible."""
MOST_BOXES = 40
CLOSE_SHARE = 0.25
"""Boxes that together cover less of the picture's sides than this are shown closer."""
LONGEST_SECONDS = 10.0
PEAKS = 120
"""Of a waveform's drawing."""
RATE = 16_000


class Media:
    """Pictures and sounds until the page holds enough.

    Args:
        data: Whose task reads rows.
        most_bytes: Of all addresses together.
    """

    def __init__(self, data: AuditData, most_bytes: int) -> None:
        self.data, self.left = data, most_bytes
        self._made: dict[Any, Json] = {}

    def of(self, key: tuple[str, str], row: Row, change: Mapping[str, Any] | None, note: str = "") -> Json:
        """What a row looks and sounds like.

        Args:
            key: Side and id of the row.
            row: With the columns that its task reads.
            change: Columns with the value that would be right; new ``objects`` are drawn beside the old ones.
            note: What is the matter; where it names boxes by their number (``box 2``) those are shown closer.

        Returns:
            ``picture`` and ``suggested`` (addresses), ``boxes``, ``legend``, ``size``; ``sound``, ``wave``,
            ``seconds``; ``missing``: why one of them is not there.
        """
        found: Json = {}
        if self.data.has("pictures") and row.get("image"):
            found |= self._within(("picture", *key, repr(change), note), lambda: self._picture(row, change, note))
        if self.data.has("audio") and row.get("audio"):
            found |= self._within(("sound", *key), lambda: self._sound(row))
        return found

    def _within(self, key: Any, make: Any) -> Json:
        """What was made, while there is room for it."""
        if self.left <= 0:
            return {"missing": "its picture or sound would make the page too large", "left_out": True}
        if key not in self._made:
            try:
                self._made[key] = make()
            except UserError as fault:
                self._made[key] = {"missing": fault.what}
        found = self._made[key]
        size = sum(len(found[name]) for name in ("picture", "suggested", "sound") if found.get(name))
        if size > self.left:
            self.left = 0
            return {"missing": "its picture or sound would make the page too large", "left_out": True}
        self.left -= size
        return found

    # Pictures

    def _picture(self, row: Row, change: Mapping[str, Any] | None, note: str) -> Json:
        from PIL import Image

        from tunesmith.pictures.draw import data_uri, fitted
        from tunesmith.pictures.files import PictureFault, folder_of, look_at_picture, read_picture

        folder = folder_of(row, self.data.task.folders)
        if folder is None:
            return {"missing": f"there is no picture {row['image']!r}"}
        place = folder / str(row["image"])
        try:
            look = look_at_picture(place)
            whole = Image.fromarray(read_picture(place, at_least=(2 * DRAWN_WIDEST, 2 * DRAWN_WIDEST)))
        except PictureFault as fault:
            return {"missing": f"the picture {fault.reason}"}
        found: Json = {"size": [look.width, look.height]}
        scale = whole.width / look.width
        if row.get("objects") is not None and not self.data.has("masks"):
            return found | self._boxed(whole, scale, row["objects"], change, note)
        if self.data.has("masks"):
            with suppress(UserError, LookupError):
                return found | self._masked(whole, row, (look.height, look.width))
        return found | {"picture": data_uri(fitted(whole, WIDEST, WIDEST))}

    def _boxed(
        self, whole: Image.Image, scale: float, objects: Sequence[Any], change: Mapping[str, Any] | None, note: str
    ) -> Json:
        """The picture with its boxes and, where they would change, with those that are suggested."""
        from tunesmith.pictures.draw import data_uri, draw_boxes, fitted

        task: Any = self.data.task
        known = task.class_names() if task.facts.values else [one["name"] for one in task.declared]
        names = [str(name) for name in known]
        given, wanted = list(objects), (change or {}).get("objects")
        gone = [one for one in given if wanted is not None and not _among(one, wanted)]
        come = [one for one in wanted or () if not _among(one, given)]
        named = [given[at] for at in _numbers(note) if at < len(given)]
        focus = [*gone, *come] or named
        corner = _close_up(focus, scale, whole.size)
        part = whole.crop(corner)
        small = fitted(part, DRAWN_WIDEST, DRAWN_WIDEST)
        to = scale * small.width / part.width

        def drawn(boxes: Sequence[Any], clear: Sequence[Any]) -> str:
            chosen = [one for one in boxes if _among(one, clear)]
            chosen += [one for one in boxes if not _among(one, clear)][: max(0, MOST_BOXES - len(chosen))]
            shifted = [
                {
                    "box": _moved(one["box"], corner, scale),
                    "label": str(one.get("label")),
                    "crowd": bool(one.get("crowd")) or (bool(focus) and not _among(one, clear)),
                }
                for one in chosen
            ]
            return data_uri(
                draw_boxes(small, [one for one in shifted if _inside(one, small.size, to)], names, scale=to)
            )

        found: Json = {
            "picture": drawn(given, gone or named or given),
            "boxes": [{"box": list(one["box"]), "label": one.get("label")} for one in given[:MOST_BOXES]],
        }
        if wanted is not None:
            found |= {"suggested": drawn(wanted, come or wanted)}
        if corner != (0, 0, *whole.size):
            found["close"] = True
        return found

    def _masked(self, whole: Image.Image, row: Row, size: tuple[int, int]) -> Json:
        """The picture under its mask, and the picture alone where the mask covers it all."""
        import numpy as np

        from tunesmith.pictures.draw import IGNORED, data_uri, draw_mask, fitted, hex_of

        task: Any = self.data.task
        mask = task.mask_of(row, size)
        names, seen = list(task.class_names()), [int(n) for n in np.unique(mask)]
        bare = names.index("background") if "background" in names else 0
        small = fitted(whole, DRAWN_WIDEST, DRAWN_WIDEST)
        legend = [{"name": names[n], "colour": hex_of(n)} for n in seen if n != bare and n < len(names)]
        if IGNORED in seen:
            legend.append({"name": "does not count", "colour": "#808080"})
        return {"picture": data_uri(draw_mask(small, mask, bare=(bare,), share=0.45)), "legend": legend}

    # Sounds

    def _sound(self, row: Row) -> Json:
        """The first seconds of a row's sound, and its outline."""
        import numpy as np

        from tunesmith.speech.audio import place_of, read_audio
        from tunesmith.speech.clips import clip_uri
        from tunesmith.speech.containers import AudioFault

        place = place_of(row, self.data.task.folders)
        if place is None:
            return {"missing": f"there is no recording {row['audio']!r}"}
        start, end, seconds = (_figure(row.get(name)) for name in ("start", "end", "seconds"))
        if seconds is None and start is not None and end is not None:
            seconds = end - start
        cut = seconds is not None and seconds > LONGEST_SECONDS
        if cut:
            start = start or 0.0
            end = start + LONGEST_SECONDS
        try:
            wave = read_audio(place, start, end)
        except AudioFault as fault:
            return {"missing": f"the recording {fault.reason}"}
        shown = wave[: round(LONGEST_SECONDS * RATE)]
        edges = np.linspace(0, len(shown), PEAKS + 1).astype(int)
        peaks = [float(np.abs(shown[a:b]).max(initial=0.0)) for a, b in pairwise(edges)]
        found: Json = {"sound": clip_uri(shown), "wave": [round(peak, 3) for peak in peaks]}
        found["seconds"] = round(seconds if seconds is not None else len(wave) / RATE, 2)
        return found | ({"cut": LONGEST_SECONDS} if len(shown) < len(wave) or cut else {})


def _figure(value: Any) -> float | None:
    """A column's value as a number, where it is one."""
    return None if value is None else float(value)


def _numbers(note: str) -> list[int]:
    """The boxes that a note names, counted from 1, as places in the row's list."""
    return [int(number) - 1 for number in re.findall(r"\b(?:box|object|mask) (\d{1,4})\b", note) if int(number)]


def _among(one: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the same object stands in a list: its class, and its box to half a pixel."""
    return any(
        str(one.get("label")) == str(other.get("label"))
        and all(abs(float(a) - float(b)) < 0.5 for a, b in zip(one["box"], other["box"], strict=True))
        for other in others
    )


def _close_up(focus: Sequence[Mapping[str, Any]], scale: float, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part of the picture to show, as left, top, right, bottom: all of it, or what lies around small boxes."""
    whole = (0, 0, *size)
    if not focus:
        return whole
    lefts, tops, rights, bottoms = zip(
        *((x * scale, y * scale, (x + w) * scale, (y + h) * scale) for x, y, w, h in (one["box"] for one in focus)),
        strict=True,
    )
    left, top, right, bottom = min(lefts), min(tops), max(rights), max(bottoms)
    if right - left > CLOSE_SHARE * size[0] or bottom - top > CLOSE_SHARE * size[1]:
        return whole
    middle, level = (left + right) / 2, (top + bottom) / 2
    reach = max(1.5 * (right - left), 1.5 * (bottom - top), min(size) * CLOSE_SHARE, 32.0)
    across, down = min(reach, size[0] / 2), min(reach, size[1] / 2)
    x = min(max(middle - across, 0), size[0] - 2 * across)
    y = min(max(level - down, 0), size[1] - 2 * down)
    return round(x), round(y), round(x + 2 * across), round(y + 2 * down)


def _moved(box: Sequence[float], corner: tuple[int, int, int, int], scale: float) -> list[float]:
    """A box in pixels of its picture, seen from the corner of a part of it."""
    x, y, width, height = (float(v) for v in box)
    return [x - corner[0] / scale, y - corner[1] / scale, width, height]


def _inside(one: Mapping[str, Any], size: tuple[int, int], scale: float) -> bool:
    """Whether any of a box lies on the paper."""
    x, y, width, height = (v * scale for v in one["box"])
    return bool(x < size[0] and y < size[1] and x + max(width, 1) > 0 and y + max(height, 1) > 0)
