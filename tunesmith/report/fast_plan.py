"""The plan from headers as text. It imports nothing, so that the answer is there in half a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MB = 10**6
Json = Mapping[str, Any]


def fast_text(plan: Json) -> str:
    """Parameters, stages, memory by part of the worst stage, the classic formula beside it, and what is unknown."""
    model, memory = plan["model"], plan["memory"]
    groups = ", ".join(f"{name} {size:,}" for name, size in model["groups"].items())
    lines = [f"{model['parameters']:,} parameters ({groups})", ""]
    stages = [("stage", "learns", "epochs", "steps", "parameters")]
    for number, stage in enumerate(plan["stages"], 1):
        shown = (str(number), stage["name"], _or_unknown(stage["epochs"], "g"), _or_unknown(stage["steps"], ","))
        stages.append((*shown, f"{stage['trainable']:,}"))
    lines += [*_columns(stages), ""]
    sizes = {**memory["parts"], "allocated": memory["allocated_bytes"], "resident": memory["resident_bytes"]}
    lines += [f"memory in MB, stage {memory['stage'] + 1}, estimated from headers:"]
    lines += _columns([(f"  {name}", f"{size / MB:,.1f}") for name, size in sizes.items()])
    low, high = (size / MB for size in memory["classic_bytes"])
    lines.append(f"the handbooks' formula, (parameters x bytes / 1024^3) x 2.5 or 3: {low:,.0f} to {high:,.0f} MB")
    room, device = memory["room_bytes"], memory["device"]
    if room is not None:
        lines.append(f"{'fits' if memory['fits'] else 'does not fit'}: {device['name']} leaves {room / MB:,.0f} MB")
    lines += ["", *(f"{d['what']}: {d['value']} ({d['reason']})" for d in plan["decisions"])]
    lines += ["", "not known from headers; `tunesmith plan` without --fast tells most of it:"]
    return "\n".join([*lines, *(f"  {line}" for line in plan["unknown"])])


def _or_unknown(value: Any, form: str) -> str:
    return "?" if value is None else format(value, form)


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Cells in columns: the first two begin together, the others end together."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    left = 2 if len(widths) > 2 else 1
    return [
        "  ".join(
            cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
