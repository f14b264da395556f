"""Pictures of several stamps with exact boxes and masks: COCO JSON for detection, index masks for segmentation.

A stamp's pixels are those where its alpha is above 127 and no later stamp lies over it; box, area, run lengths and mask
all follow from them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stamp_pictures.backgrounds import Backgrounds
from stamp_pictures.dice import Dice
from stamp_pictures.paste import Canvas, box_of, cut
from stamp_pictures.stamps import SOURCE_IDS, Stamp

PICTURES = {"train": 100, "eval": 50}
SIZES = ((416, 416), (416, 320), (320, 416))
"""Width and height."""
QUALITY = 85
MOST_STAMPS = 5
TURN = 30.0
"""The most degrees that a stamp is turned."""
LONGEST = (0.17, 0.48)
"""A stamp's longer side as a share of the picture's."""
SEEN = 0.75
"""The share of each stamp that is seen at least, whatever lies over it and however far it leaves the picture."""
BEYOND = 0.15
"""The share of a stamp's width or height that may leave the picture."""
TRIES = 25
PALETTE = ((0, 0, 0), (214, 96, 77), (244, 202, 74), (166, 97, 196), (67, 147, 195))
"""Colours of the masks: background, then the classes."""
COCO_FILE = "_annotations.coco.json"


@dataclass(frozen=True)
class Scene:
    """One picture and its stamps."""

    name: str
    canvas: Canvas
    stamps: tuple[Stamp, ...]

    def mask(self, labels: Sequence[str]) -> np.ndarray:
        """Class numbers as uint8 [height, width]: 0 for the background, then 1 for the first label."""
        numbers = np.asarray([0, *(labels.index(stamp.kind.name) + 1 for stamp in self.stamps)], np.uint8)
        return np.asarray(numbers[self.canvas.owner + 1])


def scene(dice: Dice, name: str, decks: Mapping[str, Deck], backgrounds: Backgrounds, size: tuple[int, int]) -> Scene:
    """Between one and five stamps of drawn classes on a background of ``size`` (width, height)."""
    width, height = size
    canvas = Canvas(backgrounds.draw(dice, height, width))
    stamps: list[Stamp] = []
    for _ in range(1 + dice.below(MOST_STAMPS)):
        stamp = decks[dice.choice(list(decks))].next()
        longest = dice.between(*LONGEST) * max(size)
        for _ in range(TRIES):
            pasted = cut(dice, stamp.path, longest, TURN, stamp.kind.sided)
            top, left = (
                round(dice.between(-BEYOND * own, whole - (1 - BEYOND) * own))
                for own, whole in zip(pasted.alpha.shape, (height, width), strict=True)
            )
            if canvas.paste(pasted, top, left, SEEN):
                stamps.append(stamp)
                break
    return Scene(name, canvas, tuple(stamps))


class Deck:
    """Deals the stamps of a class one after another, so that each is seen about as often."""

    def __init__(self, dice: Dice, stamps: Sequence[Stamp]) -> None:
        self._dice, self._stamps = dice, stamps
        self._left: list[Stamp] = []

    def next(self) -> Stamp:
        """The next stamp; after the last one they are shuffled again."""
        self._left = self._left or self._dice.shuffled(self._stamps)
        return self._left.pop()


def run_lengths(seen: np.ndarray) -> dict[str, Any]:
    """COCO's uncompressed run lengths of a bool mask: down the columns, zeros first."""
    flat = np.concatenate([[False], seen.flatten(order="F"), [False]])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    ends = np.concatenate([[0], changes, [seen.size]])
    counts = [int(count) for count in np.diff(ends)]
    return {"size": [int(length) for length in seen.shape], "counts": counts if counts[-1] else counts[:-1]}


def coco(scenes: Sequence[Scene], labels: Sequence[str], source: str) -> dict[str, Any]:
    """The scenes as COCO wants them; ids begin at 1, and the categories' ids have gaps."""
    images: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for number, one in enumerate(scenes, 1):
        height, width = one.canvas.owner.shape
        images.append({"id": number, "file_name": f"{one.name}.jpg", "width": width, "height": height, "license": 1})
        for index, stamp in enumerate(one.stamps):
            seen = one.canvas.seen(index)
            found.append({
                "id": len(found) + 1, "image_id": number, "category_id": SOURCE_IDS[stamp.kind.name],
                "bbox": box_of(seen), "area": int(seen.sum()), "iscrowd": 0, "segmentation": run_lengths(seen),
                "stamp": stamp.id,
            })  # fmt: skip
    licence = {"id": 1, "name": "GPL-2.0-or-later", "url": "https://www.gnu.org/licenses/old-licenses/gpl-2.0.html"}
    return {
        "info": {"description": f"Stamps pasted on photos, made from {source}. Not to be committed."},
        "licenses": [licence],
        "categories": [{"id": SOURCE_IDS[label], "name": label, "supercategory": "stamp"} for label in labels],
        "images": images,
        "annotations": found,
    }


def compose(
    sides: Mapping[str, Mapping[str, Sequence[Stamp]]],
    backgrounds: Mapping[str, Backgrounds],
    seed: int,
    share: float = 1.0,
    sizes: Sequence[tuple[int, int]] = SIZES,
) -> dict[str, list[Scene]]:
    """The scenes of both sides.

    Args:
        sides: Side to label to stamps.
        backgrounds: Side to its backgrounds.
        seed: Another one gives other scenes.
        share: Part of the scenes to make, four of each side at least.
        sizes: Width and height, of which one is drawn for each scene.
    """
    made: dict[str, list[Scene]] = {}
    for side, count in PICTURES.items():
        decks = {label: Deck(Dice(seed, "deck", side, label), stamps) for label, stamps in sides[side].items()}
        made[side] = []
        for index in range(max(4, round(count * share))):
            dice = Dice(seed, "scene", side, index)
            made[side].append(scene(dice, f"{side}-{index:03d}", decks, backgrounds[side], dice.choice(sizes)))
    return made


def write_detection(out: Path, scenes: Mapping[str, Sequence[Scene]], labels: Sequence[str], source: str) -> None:
    """Write ``out/{train,eval}``: the pictures and one COCO file beside them."""
    for side, made in scenes.items():
        (out / side).mkdir(parents=True)
        _write_pictures(out / side, made)
        text = json.dumps(coco(made, labels, source), separators=(",", ":"))
        (out / side / COCO_FILE).write_text(text + "\n", encoding="utf-8", newline="\n")


def write_segmentation(out: Path, scenes: Mapping[str, Sequence[Scene]], labels: Sequence[str]) -> None:
    """Write ``out/{train,eval}/{images,masks}``, and ``classes.json`` with the names in each folder that is a set."""
    names = enumerate(["background", *labels])
    classes = [{"id": number, "name": name, "source_id": number} for number, name in names]
    text = "[\n" + ",\n".join(f"  {json.dumps(one)}" for one in classes) + "\n]\n"
    for folder in (out, *(out / side for side in scenes)):
        folder.mkdir(exist_ok=True)
        (folder / "classes.json").write_text(text, encoding="utf-8", newline="\n")
    for side, made in scenes.items():
        (out / side / "images").mkdir(parents=True)
        (out / side / "masks").mkdir()
        _write_pictures(out / side / "images", made)
        for one in made:
            mask = Image.fromarray(one.mask(labels)).convert("P")
            mask.putpalette([part for colour in PALETTE[: len(labels) + 1] for part in colour])
            mask.save(out / side / "masks" / f"{one.name}.png")


def _write_pictures(folder: Path, scenes: Sequence[Scene]) -> None:
    for one in scenes:
        one.canvas.picture().save(folder / f"{one.name}.jpg", quality=QUALITY)


def counts(scenes: Sequence[Scene]) -> Counter[str]:
    """How many stamps of each class the scenes show."""
    return Counter(stamp.kind.name for one in scenes for stamp in one.stamps)
