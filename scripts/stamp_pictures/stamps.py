"""The stamps by class, those to learn from apart from those held out. It knows folders and names, not pictures."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stamp_pictures.dice import Dice
from stamp_pictures.packages import stop

HELD_OUT = 30
"""Percent of a class's stamps that are held out at least."""
COPIES = re.compile(r"_(mirror|flip)(_(mirror|flip))*$")
"""How the package calls a stamp's mirrored picture."""


@dataclass(frozen=True)
class Kind:
    """A class of stamps.

    Args:
        name: The label.
        folders: Where its stamps lie in the package, without what lies deeper.
        only: The names that belong, where a folder holds others, too.
        without: The names that don't belong.
        sided: Whether a mirrored picture would be wrong (writing).
        series: Whether all stamps of a folder are alike (coins of one country), so that they stay together.
    """

    name: str
    folders: tuple[str, ...]
    only: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()
    sided: bool = False
    series: bool = False


@dataclass(frozen=True)
class Stamp:
    """One picture with alpha."""

    id: str
    """Where it lies in the package, without ``.png``."""
    path: Path
    kind: Kind
    family: str
    """Stamps of one family are alike, so they are on the same side."""


def kind(
    name: str, *folders: str, only: str = "", without: str = "", sided: bool = False, series: bool = False
) -> Kind:
    """A class, its names written in one line."""
    return Kind(name, folders, frozenset(only.split()), frozenset(without.split()), sided, series)


MAMMALS = "animals/mammals"
KINDS = (
    kind("bird", "animals/birds"),
    kind("building", "town/houses/cartoon", without="cave_entrance city graveyard"),
    kind("coin", "symbols/money/canadian/coins", "symbols/money/euro/coins", "symbols/money/japanese",
         "symbols/money/us/coins", sided=True, series=True),
    kind("flower", "plants/flowers", "plants/flowers/plastic"),
    kind("fruit", "food/fruit", "food/fruit/cartoon", without="apple_core"),
    kind("hoofed-animal", MAMMALS, f"{MAMMALS}/bovines", f"{MAMMALS}/camel", f"{MAMMALS}/deer", f"{MAMMALS}/equines",
         without="badger echidna elephant ferret hedgehog hippopotamus rabbit_little rhino_black"),
    kind("insect", "animals/insects", "animals/insects/cartoon",
         without="Brown_slug Woodlouse snail snail2 spider_computer spider_fly spider_football wings"),
    kind("road-sign", "town/roadsigns", "vehicles/locomotive/cartoon", sided=True,
         only="arrow crossroads dead_end_sign give_way_sign hospital no_entry_sign no_uturn roundabout school_sign "
              "stop t-junction toilets xing_ped xing_school yield trainSign"),
    kind("sea-animal", "animals/fish", f"{MAMMALS}/aquatic", without="otter sea_lion"),
    kind("vegetable", "food/vegetables", "food/spices", without="mushroom"),
    kind("vehicle", "vehicles/auto", "vehicles/construction", "vehicles/construction/cartoon", "vehicles/emergency",
         "vehicles/emergency/cartoon", "vehicles/farming/cartoon", "vehicles/locomotive/cartoon",
         "vehicles/masstransit", "vehicles/masstransit/cartoon", "vehicles/race", "vehicles",
         without="7spoke256 wheel_tractor sedan_police trainSign"),
)  # fmt: skip
"""The classes of the classification: each with a dozen stamps or more that look like each other to a person."""

SCENE_KINDS = ("hoofed-animal", "coin", "flower", "road-sign")
"""The classes of detection and segmentation: few, and each of them different from the others at a glance."""
SOURCE_IDS = {"hoofed-animal": 2, "coin": 3, "flower": 7, "road-sign": 12}
"""Their ids in the COCO files: from 1 and with gaps, as in real files."""


def stamps_of(root: Path, wanted: Kind) -> list[Stamp]:
    """All stamps of a class, in the order of their paths inside the package."""
    found = []
    for folder in wanted.folders:
        for path in sorted((root / folder).glob("*.png"), key=lambda path: path.name):
            named = not wanted.only or path.stem in wanted.only
            if named and path.stem not in wanted.without and not COPIES.search(path.stem):
                family = folder if wanted.series else re.split(r"[_-]", path.stem)[0].lower()
                found.append(Stamp(f"{folder}/{path.stem}", path, wanted, family))
    return found


def deal(root: Path, wanted: Sequence[Kind], seed: int) -> Mapping[str, Mapping[str, list[Stamp]]]:
    """The stamps as side ("train", "eval") to label to stamps.

    A stamp is on one side in every data set, and so are its family: whole families are drawn until enough is held out.
    """
    sides: dict[str, dict[str, list[Stamp]]] = {"train": {}, "eval": {}}
    for one in wanted:
        stamps = stamps_of(root, one)
        families = defaultdict(list)
        for stamp in stamps:
            families[stamp.family].append(stamp)
        held_out: set[str] = set()
        for family in Dice(seed, "held out", one.name).shuffled(list(families)):
            if 100 * sum(len(families[name]) for name in held_out) >= HELD_OUT * len(stamps):
                break
            held_out.add(family)
        sides["train"][one.name] = [stamp for stamp in stamps if stamp.family not in held_out]
        sides["eval"][one.name] = [stamp for stamp in stamps if stamp.family in held_out]
        if not all(side[one.name] for side in sides.values()):
            stop(
                f"{root} has {len(stamps)} stamps of the class {one.name}, too few to hold some out",
                f"look whether {one.folders[0]} lies in it; leave --stamps out to have the stamps fetched",
            )
    return sides
