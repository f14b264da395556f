"""Boxes and regions of one picture, checked: clipped, turned or refused, and counted. It knows no label format.

Boxes come in as the corners x1, y1, x2, y2 in pixels and leave as x, y, width, height of the picture as a person
sees it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tunesmith.data.opened import Misfit
from tunesmith.pictures.files import Look
from tunesmith.pictures.orientation import swaps_sides, turn_points
from tunesmith.pictures.regions import RegionFault, turn_region

LEAST_INSIDE = 0.5
"""A box with less of its area inside the picture is a mistake, no object at the edge."""
LEAST_OVERHANG = 1e-3
"""Pixels that a box may leave the picture by without being counted: rounding."""


class ObjectChecker:
    """Takes the objects of one source and counts what was mended.

    Attributes:
        counts: How often each thing happened.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def corners(self, corners: Sequence[float], width: float, height: float) -> tuple[list[float], bool]:
        """A box as x, y, width, height inside the picture, and whether it was clipped.

        Raises:
            Misfit: It is inverted, empty, or mostly outside.
        """
        x1, y1, x2, y2 = corners
        if not all(map(math.isfinite, corners)):
            raise Misfit(f"has a box with a coordinate that is no number: {_numbers(corners)}")
        if x2 < x1 or y2 < y1:
            raise Misfit(f"has an inverted box: {_numbers(corners)} (left, top, right, bottom)")
        if x2 == x1 or y2 == y1:
            raise Misfit(f"has a box of zero area: {_numbers(corners)} (left, top, right, bottom)")
        left, top, right, bottom = max(0.0, x1), max(0.0, y1), min(width, x2), min(height, y2)
        inside = max(0.0, right - left) * max(0.0, bottom - top) / ((x2 - x1) * (y2 - y1))
        if inside <= 0:
            raise Misfit(
                f"has a box outside the picture: {_numbers(corners)} (left, top, right, bottom) in {width:g} x "
                f"{height:g}"
            )
        if inside < LEAST_INSIDE:
            raise Misfit(
                f"has a box of which {inside:.0%} is inside the picture: {_numbers(corners)} (left, top, right, "
                f"bottom) in {width:g} x {height:g}"
            )
        overhang = max(left - x1, top - y1, x2 - right, y2 - bottom)
        clipped = overhang > LEAST_OVERHANG
        if clipped:
            self.counts["clipped"] += 1
        if overhang <= 0:
            return [x1, y1, x2 - x1, y2 - y1], False
        return [left, top, right - left, bottom - top], clipped

    def settle(self, objects: list[dict[str, Any]], size: tuple[int, int]) -> list[dict[str, Any]]:
        """Objects with ``corners`` in pixels as objects with ``box``; exact repeats are left out.

        Raises:
            Misfit: A box is none; the message begins with the object's ``place``.
        """
        settled: list[dict[str, Any]] = []
        seen: set[tuple[Any, ...]] = set()
        for item in objects:
            place, corners = item.pop("place", ""), item.pop("corners")
            try:
                box, clipped = self.corners(corners, *size)
            except Misfit as fault:
                raise Misfit(f"({place}) {fault}" if place else str(fault)) from fault
            key = (item["label"], *box)
            if key in seen and "segmentation" not in item:
                self.counts["repeats"] += 1
                continue
            seen.add(key)
            settled.append({"box": box, **item, **({"clipped": True} if clipped else {})})
        return settled

    def notes(self) -> list[str]:
        """What was counted, one sentence each."""
        told = {
            "clipped": "boxes reach out of their picture and were clipped to it",
            "repeats": "objects that repeat another of their picture exactly were left out",
            "turned": "pictures are stored turned (EXIF) and labelled as stored: their labels were turned with them",
            "unsure": "pictures are stored turned (EXIF), and their labels are taken to be for the picture as shown",
            "crowds": "objects stand for a crowd (iscrowd)",
            "zero": "boxes begin at 0 although this format counts from 1: taken as the picture's edge",
        }
        return [f"{self.counts[name]:,} {words}" for name, words in told.items() if self.counts[name]]


def turn_objects(objects: Iterable[dict[str, Any]], look: Look) -> None:
    """Move objects with ``corners`` of the stored picture to where a person sees them.

    Raises:
        Misfit: A region is none.
    """
    width, height = look.stored_size
    for item in objects:
        points = np.array(item["corners"], dtype=np.float64).reshape(2, 2)
        turned = turn_points(points, look.orientation, width, height)
        item["corners"] = [*turned.min(axis=0).tolist(), *turned.max(axis=0).tolist()]
        if "segmentation" in item:
            try:
                item["segmentation"] = turn_region(item["segmentation"], look.orientation, width, height)
            except RegionFault as fault:
                raise Misfit(str(fault)) from fault


def frame_of(
    look: Look, declared: tuple[float, float] | None, counts: Counter[str], *, where: str = "the labels say"
) -> bool:
    """Whether labels are for the stored picture rather than the shown one, by the size that they declare.

    Args:
        look: The picture.
        declared: Width and height that the labels give, None where they give none.
        counts: Counts pictures that were turned, and those where the size cannot tell.
        where: Who declares the size, for the message.

    Raises:
        Misfit: The size is neither of the two.
    """
    sizes: list[tuple[float, float]] = [(look.width, look.height), look.stored_size]
    if declared is not None and declared not in sizes:
        stored = f" ({look.stored_size[0]} x {look.stored_size[1]} as stored)" if look.orientation > 1 else ""
        raise Misfit(
            f"{where} {declared[0]:g} x {declared[1]:g}, but the picture has {look.width} x {look.height}{stored}"
        )
    if look.orientation == 1:
        return False
    tells = declared is not None and look.width != look.height and swaps_sides(look.orientation)
    turned = tells and declared == sizes[1]
    counts["turned"] += turned
    counts["unsure"] += not tells
    return turned


def look_normalised(boxes: Iterable[Sequence[float]]) -> bool:
    """Whether all of several boxes lie between 0 and 1: shares of the picture, where pixels were expected."""
    found = list(boxes)
    return bool(found) and all(0 <= value <= 1 for box in found for value in box)


def look_like_corners(boxes: Iterable[tuple[Sequence[float], float, float]]) -> bool:
    """Whether boxes that are to be x, y, width, height are corners instead: many leave the picture, none as corners.

    Args:
        boxes: Each with its picture's width and height.
    """
    leaving = total = 0
    for (x, y, w, h), width, height in boxes:
        total += 1
        if not (x < w <= width + 1 and y < h <= height + 1):
            return False
        leaving += x + w > width + 1 or y + h > height + 1
    return total > 0 and leaving * 4 >= total


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.6g}" for value in values)
