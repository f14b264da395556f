"""The table of classes: the model's number, the name, and the number that the source had for it. It reads no file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from tunesmith.data.reading import did_you_mean
from tunesmith.errors import UserError

SourceId: TypeAlias = int | str | None
BACKGROUND = "background"
"""The class of all pixels that no object covers."""


@dataclass(frozen=True)
class PictureClasses:
    """Classes in the order of the model's numbers, 0 to n - 1.

    Args:
        names: One name each.
        source_ids: What each is called in the source: COCO's category id, a value in a mask, a colour ``#rrggbb``;
            None where the source knows names only.
    """

    names: tuple[str, ...]
    source_ids: tuple[SourceId, ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.source_ids):
            raise ValueError(f"{len(self.names)} names, but {len(self.source_ids)} source ids")
        if len(self._by_name) != len(self.names):
            raise ValueError("two classes have one name")
        if len(self._by_source) != sum(number is not None for number in self.source_ids):
            raise ValueError("two classes have one source id")

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _by_name(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names)}

    @cached_property
    def _by_source(self) -> dict[SourceId, int]:
        return {number: index for index, number in enumerate(self.source_ids) if number is not None}

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def index(self, name: str) -> int:
        """The model's number of a class.

        Raises:
            LookupError: There is no class of this name; the message says which are near.
        """
        if name not in self._by_name:
            raise LookupError(f"there is no class {name!r}{did_you_mean(name, self.names)}")
        return self._by_name[name]

    def of_source(self, source_id: SourceId) -> int | None:
        """The model's number of what the source calls so, or None."""
        return self._by_source.get(source_id)

    def source_of(self, index: int) -> SourceId:
        """What the source calls the class of this number."""
        return self.source_ids[index]

    def to_json(self) -> list[dict[str, Any]]:
        """The table as JSON-able rows."""
        return [
            {"id": index, "name": name, "source_id": number}
            for index, (name, number) in enumerate(zip(self.names, self.source_ids, strict=True))
        ]

    @classmethod
    def from_json(cls, table: Iterable[Mapping[str, Any]]) -> PictureClasses:
        """A table that `to_json` wrote, in the order of its ids."""
        rows = sorted(table, key=lambda row: int(row["id"]))
        return cls(tuple(str(row["name"]) for row in rows), tuple(row.get("source_id") for row in rows))

    @classmethod
    def of_rows(cls, rows: Iterable[Mapping[str, Any]]) -> PictureClasses:
        """The classes that occur in rows: of ``label``, of ``objects``, of the ``areas`` of masks."""
        found: dict[str, SourceId] = {}
        for row in rows:
            parts = [*row.get("objects", ()), *row.get("areas", ())]
            if "label" in row:
                parts.append(row)
            for part in parts:
                found.setdefault(str(part["label"]), part.get("source_id"))
        numbers = list(found.values())
        if len(set(numbers)) < len(numbers):  # two sources that number differently: names alone are sure
            found = dict.fromkeys(found)
        return in_order(found.items())


def in_order(found: Iterable[tuple[str, SourceId]]) -> PictureClasses:
    """A table in the order of the source's numbers; of the names, where any class has none."""
    pairs = list(found)
    if all(isinstance(number, int) for _, number in pairs):
        pairs.sort(key=lambda pair: (int(pair[1] or 0), pair[0]))
    elif all(number is None for _, number in pairs):
        pairs.sort()
    return PictureClasses(tuple(name for name, _ in pairs), tuple(number for _, number in pairs))


def declared(pairs: Sequence[tuple[str, SourceId]], where: str) -> PictureClasses:
    """A table that a source declares.

    Raises:
        UserError: It is empty, or two classes have one name or one number.
    """
    if not pairs:
        raise UserError("no classes are declared", where, "name at least one class")
    seen: dict[str, SourceId] = {}
    numbers: dict[SourceId, str] = {}
    for name, number in pairs:
        if not name.strip():
            raise UserError(f"class {number} has an empty name", where, "give it a name")
        if name in seen:
            raise UserError(
                f"two classes are called {name!r} (ids {seen[name]} and {number})", where, "give each its own name"
            )
        if number is not None and number in numbers:
            raise UserError(
                f"two classes have the id {number} ({numbers[number]!r} and {name!r})", where, "give each its own id"
            )
        seen[name], numbers[number] = number, name
    return in_order(pairs)


def with_background(classes: PictureClasses) -> PictureClasses:
    """The table with a class for what no object covers in front, unless it has one."""
    if BACKGROUND in classes:
        return classes
    return PictureClasses((BACKGROUND, *classes.names), (None, *classes.source_ids))
