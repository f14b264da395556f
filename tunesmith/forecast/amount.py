"""How much data there is, beside what handbooks name as the least: a reference and no verdict.

It knows no modality: a task says in what it counts and which references are of its kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Any

from tunesmith.errors import UserError
from tunesmith.forecast.found_model import shape_of_folder
from tunesmith.prepare import Prepared
from tunesmith.traits import DataReference


def data_needs(prepared: Prepared) -> dict[str, Any]:
    """The plan's ``data``: rows, their amount in the task's unit, references of the task's kind, and a sentence.

    The nearest reference stands first. Rows that are held out and rows that the task makes do not count.

    Args:
        prepared: The recipe's rows and its task, whose weights need not be there.
    """
    task, rows = prepared.task, prepared.learning
    amount, size = task.amount(rows), _parameters(prepared)
    references = nearest_first(task.references, size)
    return {
        "rows": len(rows),
        "amount": amount,
        "unit": task.unit,
        "references": [
            {"what": one.what, "least": one.least, "unit": task.unit, "source": one.source} for one in references
        ],
        "said": _said(amount, task.unit, references, size),
    }


def nearest_first(references: Sequence[DataReference], parameters: int | None) -> list[DataReference]:
    """References by how near their models are in size; as declared where no size is known."""
    if not parameters:
        return list(references)

    def distance(one: DataReference) -> float:
        return abs(log(one.parameters / parameters)) if one.parameters else 0.0

    return sorted(references, key=distance)


def _parameters(prepared: Prepared) -> int | None:
    """Of the model, where its headers or its config tell."""
    try:
        return shape_of_folder(prepared.weights.folder).parameters or None
    except UserError:
        return None


def _said(amount: float, unit: str, references: Sequence[DataReference], size: int | None) -> str:
    measured = "tunesmith plan --learning-curve measures what more would bring"
    here = f"{_number(amount)} {unit} to learn from"
    if not references:
        return f"{here}; handbooks name no least amount for this kind of task; {measured}"
    nearest = references[0]
    least = f"{nearest.source} names as the least for {nearest.what}, {_number(nearest.least)} {unit}"
    if size and nearest.parameters and not 0.5 < nearest.parameters / size < 2:
        times = nearest.parameters / size
        least += f" ({times:,.0f} times as large)" if times > 1 else f" (a {1 / times:,.0f}th of this one's size)"
    share = amount / nearest.least
    told = f"{share:.2g} times as much as" if share >= 2 else f"{share:.0%} of what"
    return f"{here}, {told} {least}: a reference, no verdict; {measured}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:,.2g}"
