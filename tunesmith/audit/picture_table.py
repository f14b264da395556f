"""All pictures of a data set with their measures, row by row. It knows no finding.

Measures are kept by content: a second audit decodes only what is new.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.audit.picture_measures import NAME, measure_picture, sight_of
from tunesmith.data.ahead import ahead
from tunesmith.pictures.files import PictureFault, content_of, folder_of, is_picture_name
from tunesmith.pictures.likeness import Sight

if TYPE_CHECKING:
    from tunesmith.audit.data import AuditData
    from tunesmith.audit.found import SideName
    from tunesmith.types import Row

Floats = NDArray[np.float64]
_NAMED = re.compile(r"\((.+?)\) (.*)", re.DOTALL)


@dataclass
class PictureSide:
    """The pictures of one side.

    Args:
        ids: Row ids.
        names: Paths as rows have them.
        labels: The class of each row, None where it has none.
        measures: What `measure_picture` found.
        paths: The files; None where one is not there.
        contents: Digests that name them in `Kept`.
    """

    ids: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    measures: list[dict[str, Any]] = field(default_factory=list)
    paths: list[Path | None] = field(default_factory=list)
    contents: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def readable(self) -> NDArray[np.bool_]:
        """Whether each could be read."""
        return np.array(["fault" not in one for one in self.measures], dtype=bool)

    @cached_property
    def _columns(self) -> dict[str, Floats]:
        return {}

    def column(self, name: str) -> Floats:
        """A measure of every picture, float64 [rows]; NaN where there is none."""
        if name not in self._columns:
            values = [one.get(name) for one in self.measures]
            self._columns[name] = np.array([np.nan if value is None else float(value) for value in values])
        return self._columns[name]

    def sights(self, at: Sequence[int]) -> list[Sight]:
        """Glances of some pictures, which must be readable."""
        return [sight_of(self.measures[i]) for i in at]

    def thumbs(self, at: Sequence[int]) -> NDArray[np.uint8]:
        """Grey thumbnails of some pictures, uint8 [n, 32, 32]."""
        return np.stack([sight.thumbnail for sight in self.sights(at)])


def picture_table(data: AuditData) -> dict[SideName, PictureSide]:
    """Every picture of both sides, measured."""
    made: dict[SideName, PictureSide] = {side: _listed(data, side) for side in data.sides}
    total = sum(map(len, made.values()))
    begun = 0
    for table in made.values():
        there = [at for at, path in enumerate(table.paths) if path is not None]
        begun += len(table) - len(there)

        def measure(positions: Sequence[int], table: PictureSide = table, there: list[int] = there) -> Iterator[Any]:
            return ahead(measure_picture, [table.paths[there[position]] or Path() for position in positions])

        def tell(known: int, _of: int, begun: int = begun) -> None:
            data.progress("looking at pictures", begun + known, total)

        found = data.kept.measured(NAME, [table.contents[at] for at in there], measure, tell)
        table.measures = [{"fault": "is not there"} for _ in table.ids]
        for at, measures in zip(there, found, strict=True):
            table.measures[at] = measures
        begun += len(there)
    return made


def broken_rows(data: AuditData, side: SideName) -> list[tuple[str, str]]:
    """Rows of pictures that reading left out, with the reason: as the file is called, since they have no id."""
    report = data.prepared.reports.get(side)
    if report is None:
        return []
    found = []
    for place, reason in report.broken:
        match = _NAMED.match(reason)
        named = match is not None and is_picture_name(match[1])
        found.append((match[1], match[2]) if named and match is not None else (place, reason))
    return found


def _listed(data: AuditData, side: SideName) -> PictureSide:
    table = PictureSide()
    label = data.label
    for row in data.sides[side]:
        if not row.get("image"):
            continue  # a prompt
        folder = folder_of(row, data.task.folders)
        path = None if folder is None else folder / str(row["image"])
        table.ids.append(str(row["id"]))
        table.names.append(str(row["image"]))
        table.labels.append(None if label is None or row.get(label) is None else str(row[label]))
        table.paths.append(path)
        table.contents.append(_content(row, path))
    return table


def _content(row: Row, path: Path | None) -> str:
    """What names the picture in `Kept`."""
    if isinstance(row.get("content"), str) and row["content"]:
        return str(row["content"])
    try:
        return "" if path is None else content_of(path)
    except PictureFault:
        return f"{path}"
