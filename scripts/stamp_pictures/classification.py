"""A folder a class, one stamp a picture: OUT/{train,eval}/CLASS/*.jpg. It knows nothing of boxes and masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from stamp_pictures.backgrounds import Backgrounds
from stamp_pictures.dice import Dice
from stamp_pictures.paste import Canvas, cut
from stamp_pictures.stamps import Stamp

PICTURES = {"train": 24, "eval": 12}
"""Pictures of each class, whatever the number of its stamps: a class counts as much as another."""
SIDE = 256
QUALITY = 88
TURN = 20.0
"""The most degrees that a stamp is turned."""
PLAIN = 35
"""Percent of the pictures with a single colour behind the stamp."""


def picture(dice: Dice, stamp: Stamp, backgrounds: Backgrounds, side: int) -> Canvas:
    """One stamp, whole and near the middle, on a background."""
    plain = dice.colour(dice.between(0, 1))
    behind = backgrounds.draw(dice, side, side)
    if dice.chance(PLAIN):
        behind = behind * 0 + plain
    canvas = Canvas(behind)
    pasted = cut(dice, stamp.path, dice.between(0.55, 0.85) * side, TURN, stamp.kind.sided)
    height, width = pasted.alpha.shape
    top = round((side - height) * dice.between(0.3, 0.7))
    left = round((side - width) * dice.between(0.3, 0.7))
    canvas.paste(pasted, top, left, 0)
    return canvas


def write(
    out: Path,
    sides: Mapping[str, Mapping[str, Sequence[Stamp]]],
    backgrounds: Mapping[str, Backgrounds],
    seed: int,
    share: float = 1.0,
    side: int = SIDE,
) -> dict[str, dict[str, int]]:
    """Write the pictures.

    Args:
        out: An empty folder.
        sides: Side to label to stamps.
        backgrounds: Side to its backgrounds.
        seed: Another one gives other pictures.
        share: Part of the pictures to make, two of each class at least.
        side: Pixels of a picture's side.

    Returns:
        Side to label to the number of stamps that were used.
    """
    used: dict[str, dict[str, int]] = {}
    for name, count in PICTURES.items():
        used[name] = {}
        for label, stamps in sides[name].items():
            folder = out / name / label
            folder.mkdir(parents=True)
            order = Dice(seed, "stamps", name, label).shuffled(stamps)
            pictures = max(2, round(count * share))
            for index in range(pictures):
                dice = Dice(seed, "stamps", name, label, index)
                made = picture(dice, order[index % len(order)], backgrounds[name], side)
                stem = order[index % len(order)].path.stem.lower().replace(" ", "-")
                made.picture().save(folder / f"{label}-{index:02d}-{stem}.jpg", quality=QUALITY)
            used[name][label] = min(pictures, len(order))
    return used
