"""Checks of a task's way with rows: encoding, lengths, columns, and what the audit sees. No model is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tunesmith.checks.world import DoesNotApply, Measured, World, none_of, predictions, same
from tunesmith.data.audit import KNOWN_CODES, audit_rows
from tunesmith.data.loader import Address
from tunesmith.task import Task
from tunesmith.types import Finding, Row


def encoding_is_repeatable(world: World) -> Measured:
    """``encode(row, None)`` gives the same example every time, and ``encode_many`` the same again."""
    task, together = world.task, world.task.encode_many(world.rows)
    twice = [(row, task.encode(row), again) for row, again in zip(world.rows, together, strict=True)]
    differing = [row["id"] for row, once, again in twice if not (same(once, task.encode(row)) and same(once, again))]
    return none_of([f"row {name} differs" for name in differing], f"{len(world.rows)} rows encoded twice")


def encoding_draws_from_its_rng(world: World) -> Measured:
    """One address gives one example; another address another one if ``random`` is declared, else the same."""
    task, faults, varied = world.task, [], False
    for row in world.rows:
        first, again, other = (
            world.task.encode(row, Address(0, 0, epoch).rng("row", str(row["id"]))) for epoch in (0, 0, 1)
        )
        varied = varied or not same(first, other)
        if not same(first, again):
            faults.append(f"row {row['id']} differs at the same address: encode draws from elsewhere than its rng")
        elif not task.random and not same(first, other):
            faults.append(f"row {row['id']} differs with another rng, and the task does not say random = True")
    if task.random and not varied:
        faults.append("the task says random = True, but no row depends on the rng: it loses the cache for nothing")
    return none_of(faults[:5], "random, by its rng alone" if task.random else "not random")


def lengths(world: World) -> Measured:
    """``length`` is the size of the axis that ``collate`` pads, and 1 where nothing is padded."""
    import torch

    task = world.task
    # Whether rows travel end to end may depend on the model.
    assert world.pristine is not None
    examples = [world.task.encode(world.rows[i]) for i in world.spread]
    told = [task.length(example) for example in examples]
    if task.packed:
        return _end_to_end(task, examples, told)
    alone = [_sizes(task.collate([example])) for example in examples]
    together = task.collate(examples)
    ragged = [key for key in alone[0] if len({sizes.get(key) for sizes in alone}) > 1]
    faults = [f"length says {n}" for n in told if n < 1]
    by_row = {k: v for k, v in together.items() if k not in task.not_by_row}
    first_axis = {k: len(v) for k, v in by_row.items() if isinstance(v, torch.Tensor) and v.ndim}
    faults += [f"{k} has {n} entries for {len(examples)} rows" for k, n in first_axis.items() if n % len(examples)]
    padded = {key: _sizes(together).get(key) for key in ragged}
    if ragged and len(set(told)) == 1:
        faults.append(f"{', '.join(ragged)} is padded, but every row's length is {told[0]}: write length")
    elif ragged and max(told) not in padded.values():
        faults.append(f"the longest row's length is {max(told)}, but collate pads to {padded}")
    elif not ragged and len(set(told)) > 1 and not _listed(together):
        faults.append("rows differ in length, but collate gives every row the same shape: leave length out")
    if not ragged and (listed := _listed(together)):
        return none_of(faults, f"{', '.join(listed)} of several sizes, as lists; lengths {min(told)} to {max(told)}")
    shape = f"{', '.join(ragged)} padded to {max(told)}" if ragged else "nothing is padded"
    return none_of(faults, shape)


def _end_to_end(task: Task, examples: Sequence[Any], told: Sequence[int]) -> Measured:
    """Of a packed batch every tensor by row lies in one row, as long as all rows together."""
    import torch

    batch = task.collate(examples)
    by_row = {k: v for k, v in batch.items() if isinstance(v, torch.Tensor) and k not in task.not_by_row}
    shape = (1, sum(told))
    faults = [f"{k} is {tuple(v.shape)}, not {shape}" for k, v in by_row.items() if tuple(v.shape[:2]) != shape]
    return none_of(faults or ([] if by_row else ["no tensor holds the rows"]), f"{len(told)} rows end to end, {shape}")


def _listed(batch: Any) -> list[str]:
    """Names of what lies in a list because its rows differ in shape: there is no axis that could be padded."""
    import torch

    lists = {k: v for k, v in batch.items() if isinstance(v, list) and v and isinstance(v[0], torch.Tensor)}
    return [name for name, found in lists.items() if len({tuple(one.shape) for one in found}) > 1]


def _sizes(batch: Any) -> dict[str, int]:
    import torch

    return {k: int(v.shape[1]) for k, v in batch.items() if isinstance(v, torch.Tensor) and v.ndim > 1}


def columns(world: World) -> Measured:
    """``encode`` reads the declared columns and no others."""
    allowed = {"id", *world.task.columns}
    faults = []
    for row in world.rows:
        bare = {key: value for key, value in row.items() if key in allowed}
        try:
            alike = same(world.task.encode(row), world.task.encode(bare))
        except KeyError as missing:
            faults.append(f"encode reads {missing}, which columns does not declare")
            break
        if not alike:
            faults.append(f"row {row['id']} is encoded differently without its undeclared columns")
    return none_of(faults[:5], f"columns {', '.join(world.task.columns)}")


def rows_without_target(world: World) -> Measured:
    """Rows without the target can be encoded, collated and predicted: that is what predicting is."""
    task = world.task
    if task.target is None:
        raise DoesNotApply("the task has no target column")
    bare = [{k: v for k, v in world.rows[i].items() if k != task.target} for i in world.spread]
    batch = task.collate([world.task.encode(row) for row in bare])
    if task.seeded:
        batch["seed"] = world.batch(world.spread)["seed"]
    found = predictions(task, world.fitting().model, [batch])
    return Measured(len(found) == len(bare), f"{len(found)} predictions", str(len(bare)), f"without {task.target}")


def audit(world: World) -> Measured:
    """The audit finds a planted missing column, an empty input, and a missing or wrong-typed target."""
    task, rows = world.task, [dict(row) for row in world.rows]
    faults, planted = [], []

    def expect(what: str, code: str, damaged: Sequence[Row]) -> None:
        planted.append(what)
        if code not in _codes(task, damaged):
            faults.append(f"{what} is not found ({code})")

    if not task.inputs:
        faults.append("columns declares no input")
    for name in task.inputs:
        expect(f"missing column {name}", "missing-column", [{k: v for k, v in r.items() if k != name} for r in rows])
        empty = "" if task.columns[name] is str else None
        expect(f"empty {name}", "empty-value", [{**rows[0], name: empty}, *rows[1:]])
    if task.target is not None:
        if task.target not in task.columns:
            faults.append(f"columns does not declare the target {task.target!r}")
        code = "label-missing" if _class_column(task) else "empty-value"
        expect(f"missing {task.target}", code, [{**rows[0], task.target: None}, *rows[1:]])
        if task.columns.get(task.target, object) is not object:
            wrong = [{**rows[0], task.target: {"not": "this"}}, *rows[1:]]
            expect(f"wrong-typed {task.target}", "wrong-type", wrong)
    known = {*KNOWN_CODES, *task.finding_codes}
    for finding in task.audit(rows, rows):
        if not isinstance(finding, Finding) or finding.code not in known:
            faults.append(f"the task's own audit gives {finding!r}, whose code is not in finding_codes"[:200])
    return none_of(faults, f"planted and found: {', '.join(planted)}")


def _class_column(task: Task) -> str | None:
    """The column of class labels, as a run sees it: a number is no class."""
    return None if task.target is None or task.columns.get(task.target) is float else task.target


def _codes(task: Task, rows: Sequence[Row]) -> set[str]:
    found = audit_rows(
        rows,
        rows,
        columns=task.columns,
        target=_class_column(task),
        source="rows",
        held_out_source="rows",
        explicit_eval=True,
    )
    return {finding.code for finding in found}
