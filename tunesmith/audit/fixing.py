"""A mended copy of the rows: never in place, whole or not at all, with a log of every row that went or changed.

It decides nothing: findings say which rows, and what of them. It knows no format; layouts do.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from tunesmith.audit.copied import CopyJob, Layout, Misfit, Placed
from tunesmith.audit.copied_media import layouts as media_layouts
from tunesmith.audit.copied_tables import TABLES, as_it_was, as_lines, as_text_folder
from tunesmith.audit.data import AuditData
from tunesmith.audit.found import AuditReport, SideName
from tunesmith.audit.mended import Decisions, MendedSide, decide, prints
from tunesmith.data.audit import KNOWN_CODES
from tunesmith.data.deep_codes import DEEP_CODES
from tunesmith.data.reading import did_you_mean
from tunesmith.data.store import RowStore
from tunesmith.errors import UserError
from tunesmith.prepare import read_sides
from tunesmith.recipe import Source, read_recipe, resolved_yaml
from tunesmith.registry import find_task
from tunesmith.types import Row

SIDES: tuple[SideName, ...] = ("train", "eval")
COMMAND = "command line: --fix"
Counts: TypeAlias = "tuple[int, Counter[str], Counter[str]]"
"""Rows that stay, and rows left out and changed, by finding."""


@dataclass(frozen=True)
class FixLog:
    """What was done for a mended copy.

    Args:
        folder: The copy.
        recipe: Its recipe.
        removed: Rows left out, by finding.
        changed: Rows changed, by finding.
        unreadable: Rows that could not be read, and are not there either.
        rows: Rows of the copy by side.
        layout: What it is, by side.
        decisions: What became of each row.
    """

    folder: Path
    recipe: Path
    removed: dict[str, int]
    changed: dict[str, int]
    unreadable: int
    rows: dict[SideName, int]
    layout: dict[SideName, str]
    decisions: Decisions = field(default_factory=Decisions, repr=False)

    @property
    def said(self) -> str:
        """All of it in a sentence."""
        parts = [f"{sum(some.values()):,} rows {what}{_listed(some)}" for some, what in self._parts() if some]
        if self.unreadable:
            parts.append(f"{self.unreadable:,} rows that can't be read left out")
        return (
            f"{'; '.join(parts) or 'no row had to change'}; {self.rows['train']:,} train and {self.rows['eval']:,} eval"
        )

    def _parts(self) -> tuple[tuple[dict[str, int], str], ...]:
        return (self.removed, "left out"), (self.changed, "changed")

    def to_json(self) -> dict[str, Any]:
        """The log as JSON-able values."""
        return {
            "folder": str(self.folder),
            "recipe": str(self.recipe),
            "removed": dict(self.removed),
            "changed": dict(self.changed),
            "unreadable": self.unreadable,
            "rows": dict(self.rows),
            "layout": dict(self.layout),
            "said": self.said,
        }


def _listed(some: dict[str, int]) -> str:
    return f" ({', '.join(f'{code} {count:,}' for code, count in some.items())})"


def check_place(folder: Path, source: Source) -> None:
    """See that a copy may be written there, before hours are spent on what it is to hold.

    Raises:
        UserError: Something is there already, or it would lie inside of the data.
    """
    place = folder.expanduser()
    if place.is_file():
        raise UserError("a copy is a folder, and this is a file", f"{COMMAND} {folder}", "name a new folder")
    if place.is_dir() and any(place.iterdir()):
        what = "the folder is not empty, and a copy never writes over anything"
        raise UserError(what, f"{COMMAND} {folder}", "name a new folder, or remove this one")
    data = source.recipe.data
    for named in (data.train, data.eval):
        if not isinstance(named, str):
            continue
        for start in (Path(), source.path.parent):
            inside = (start / named).expanduser()
            if inside.is_dir() and Path(os.path.realpath(place)).is_relative_to(os.path.realpath(inside)):
                what = f"the copy would lie inside of the data ({named}), and be read as a part of it"
                raise UserError(what, f"{COMMAND} {folder}", "name a folder outside")


def check_codes(codes: Sequence[str], source: Source) -> None:
    """See that findings of these codes exist.

    Raises:
        UserError: There is none of that name.
    """
    kind = find_task(source.recipe.task, source.where("task"))
    known = sorted({*KNOWN_CODES, *DEEP_CODES, *kind.finding_codes})
    for code in codes:
        if code not in known:
            what = f"there is no finding {code!r}{did_you_mean(code, known)}"
            raise UserError(what, "command line: --codes", f"write one of {', '.join(known)}")


def write_fixed(
    data: AuditData, report: AuditReport, folder: Path, codes: Sequence[str] = (), relabel: bool = False
) -> FixLog:
    """Write a copy of the rows without those at fault, with its recipe and its log, and read it again.

    Args:
        data: As it was judged.
        report: The findings.
        folder: A new folder; ``recipe.yaml``, ``removed.jsonl`` and ``changed.jsonl`` go into it beside the rows.
        codes: Act on these findings alone.
        relabel: Give training rows their likely label, instead of leaving them out.

    Raises:
        UserError: The folder can't be written, nothing would be left, or no layout holds these rows.
    """
    source = data.prepared.source
    check_codes(codes, source)
    check_place(folder, source)
    decisions = decide(report, codes, relabel=relabel)
    target = folder.expanduser()
    layout, counts = write_copy(data, decisions, target, "fixed")
    gone = sum((one for _, one, _ in counts.values()), Counter[str]())
    changed = sum((one for _, _, one in counts.values()), Counter[str]())
    rows = {side: kept for side, (kept, _, _) in counts.items()}
    unreadable = sum(report.broken_count for report in data.prepared.reports.values())
    recipe = target / "recipe.yaml"
    return FixLog(target, recipe, _ordered(gone), _ordered(changed), unreadable, rows, layout, decisions)


def write_copy(
    data: AuditData, decisions: Decisions, target: Path, name: str
) -> tuple[dict[SideName, str], dict[SideName, Counts]]:
    """Write the rows after decisions, with a recipe and a log; whole or not at all.

    Args:
        data: As it was judged.
        decisions: What becomes of the rows.
        target: A folder that is new, or empty.
        name: What the run of its recipe is called beyond the name of the data.

    Returns:
        By side the layout; and how many rows stay, go and change.

    Raises:
        UserError: The folder can't be written, nothing would be left, or no layout holds these rows.
    """
    sides = {side: MendedSide(side, data.sides[side], decisions.by_row[side]) for side in SIDES}
    counts = {side: one.counts() for side, one in sides.items()}
    for side, (count, _, _) in counts.items():
        if not count:
            what = f"all {len(sides[side].rows):,} {side} rows would be left out"
            raise UserError(what, f"{COMMAND} {target}", "act on fewer findings with --codes, or mend the rows")
    draft: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        raw: dict[str, RowStore] = {}
        placed = _placed({side: CopyJob(data, one, draft, raw) for side, one in sides.items()}, target)
        (draft / "recipe.yaml").write_text(_recipe(data.prepared.source, placed, target, name), encoding="utf-8")
        _write_log(draft, sides, data)
        draft.chmod(0o755)
        with suppress(FileNotFoundError):
            target.rmdir()
        draft.rename(target)
    except OSError as fault:
        what = f"the copy cannot be written: {fault.strerror or fault}"
        raise UserError(what, str(fault.filename or target), "make room there, or name another folder") from fault
    finally:
        # Whatever stops the writing, Ctrl-C too: no half copy stays.
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)
    return {side: one.layout for side, one in placed.items()}, counts


def _ordered(counts: Counter[str]) -> dict[str, int]:
    return dict(counts.most_common())


def _layouts(job: CopyJob) -> Iterator[Layout]:
    format = job.report.format
    media = job.data.has("audio") or (job.data.has("pictures") and _has_pictures(job))
    if media:
        yield from media_layouts(job)
        return
    if format in TABLES:
        yield as_it_was
    if format == "text-folder":
        yield as_text_folder
    yield as_lines


def _has_pictures(job: CopyJob) -> bool:
    """Whether rows name pictures; those of prompts do not."""
    return len(job.side.rows) > 0 and bool(job.side.rows[0].get("image"))


def _placed(jobs: Mapping[SideName, CopyJob], target: Path) -> dict[SideName, Placed]:
    """Both sides, each in the first layout that holds it: read again, they have exactly the rows wanted.

    Raises:
        UserError: There is no such layout.
    """
    left = {name: iter(list(_layouts(job))) for name, job in jobs.items()}
    placed: dict[SideName, Placed] = {}
    why: list[str] = []
    missing: set[SideName] = set(SIDES)
    while True:
        for name in [side for side in SIDES if side in missing]:
            placed[name] = _next(jobs[name], left[name], why, target)
        missing = _not_as_wanted(jobs, placed, why)
        if not missing:
            return placed


def _next(job: CopyJob, left: Iterator[Layout], why: list[str], target: Path) -> Placed:
    """A side, written in the next layout that can hold it."""
    for layout in left:
        for made in job.folder.glob(f"{job.side.name}*"):
            shutil.rmtree(made) if made.is_dir() else made.unlink()
        try:
            return layout(job)
        except (Misfit, UserError) as fault:
            why.append(fault.what if isinstance(fault, UserError) else str(fault))
    what = f"no layout holds the {job.side.name} rows as they should be: {'; '.join(dict.fromkeys(why))}"
    raise UserError(what, f"{COMMAND} {target}", "give the rows as JSONL, or leave --fix out")


def _not_as_wanted(
    jobs: Mapping[SideName, CopyJob], placed: Mapping[SideName, Placed], why: list[str]
) -> set[SideName]:
    """Read the copy again: the sides whose rows are not those that were wanted."""
    job = jobs["train"]
    # Both sides are read by one recipe: what one has of the person's columns and options, the other must have.
    keepers: set[SideName] = {name for name, one in placed.items() if one.keeps_columns}
    if 0 < len(keepers) < len(placed) and not job.data.has("captions"):
        why.append("one side keeps the columns of the source, and the other can't")
        return keepers
    text = _recipe(job.data.prepared.source, placed, job.folder)
    try:
        again = read_sides(read_recipe(job.folder / "recipe.yaml", text=text), progress=job.data.progress)
    except UserError as fault:
        why.append(fault.what)
        at_fault = {name for name, one in placed.items() if str(job.folder / one.name) in fault.where}
        return at_fault or set(SIDES)
    wrong: set[SideName] = set()
    reread: dict[SideName, Sequence[Row]] = {"train": again.learning, "eval": again.held_out}
    for name, rows in reread.items():
        wanted, found = prints(jobs[name].side.kept(), placed[name].columns), prints(rows, placed[name].columns)
        if len(wanted) != len(found) or not np.array_equal(wanted, found):
            why.append(f"{placed[name].layout} gives {len(found):,} other rows for {len(wanted):,}")
            wrong.add(name)
    return wrong


def _recipe(source: Source, placed: Mapping[SideName, Placed], folder: Path, name: str = "fixed") -> str:
    """The recipe that reads the copy; places are whole, so that it can be used from anywhere."""
    recipe, place = source.recipe, folder.absolute()
    keeps = all(one.keeps_columns for one in placed.values())
    data = recipe.data.model_copy(
        update={
            "train": str(place / placed["train"].name),
            "eval": str(place / placed["eval"].name),
            "format": "auto",
            "columns": recipe.data.columns if keeps else {},
            "limit": None,
            "name": None,
            "split": None,
            "eval_split": None,
        }
    )
    options = {**recipe.options, **placed["eval"].options, **placed["train"].options}
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", recipe.run.name or source.path.stem).strip("-._") or "data"
    run = recipe.run.model_copy(update={"name": f"{stem}-{name}"})
    mended = recipe.model_copy(update={"data": data, "options": options, "run": run})
    new = (
        "data.train",
        "data.eval",
        "run.name",
        *(f"options.{name}" for one in placed.values() for name in one.options),
    )
    dropped = ("data.limit", "data.name", "data.split", "data.eval_split", "data.format", "data.columns")
    origins = {key: origin for key, origin in source.origins.items() if not key.startswith(dropped) or keeps}
    return resolved_yaml(mended, origins | dict.fromkeys(new, "recipe"))


def _write_log(folder: Path, sides: dict[SideName, MendedSide], data: AuditData) -> None:
    """``removed.jsonl`` and ``changed.jsonl``: each row with where it stood, why, and what it was and is."""
    with (
        (folder / "removed.jsonl").open("w", encoding="utf-8") as removed,
        (folder / "changed.jsonl").open("w", encoding="utf-8") as changed,
    ):
        for name, side in sides.items():
            for number, (row, mended, decision) in enumerate(side.all()):
                if decision is None:
                    continue
                place = getattr(side.rows, "place", None)
                told = {
                    "row": row["id"],
                    "side": name,
                    "place": place(number) if place is not None else None,
                    "code": decision.code,
                    "also": list(decision.also),
                    "note": decision.mark.note,
                    "twin": decision.mark.twin,
                }
                if mended is None:
                    _line(removed, {**told, "before": dict(row), "after": None})
                else:
                    columns = list(decision.change or ())
                    _line(changed, {**told, "before": _some(row, columns), "after": _some(mended, columns)})
        for which, report in data.prepared.reports.items():
            for place, reason in report.broken:
                _line(removed, {"row": None, "side": which, "place": place, "code": "unreadable", "note": reason})


def _some(row: Any, columns: Iterable[str]) -> dict[str, Any]:
    return {name: row.get(name) for name in columns}


def _line(stream: Any, value: Any) -> None:
    from tunesmith.run import jsonable

    stream.write(json.dumps(jsonable(value), ensure_ascii=False) + "\n")
