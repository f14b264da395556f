"""What of a family fits where, as text: methods below models, GPUs side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.report.tables import table_of, text_of

GB = 10**9
GIB = 2**30
MARKS = {"fits": "yes", "micro 1 and checkpointing": "tight", "does not fit": "no"}
USUAL = ("T4", "RTX-4090", "A100-40GB", "A100-SXM-80GB", "H200")
"""GPUs that a terminal shows of more than it has room for."""


def family_text(found: Sequence[Mapping[str, Any]]) -> str:
    """A table with a line for each method of each model, and a column for each GPU."""
    devices = list(dict.fromkeys(entry["device"] for entry in found))
    shown = devices if len(devices) <= len(USUAL) else [name for name in USUAL if name in devices]
    rows: dict[tuple[str, str], list[Any]] = {}
    for entry in found:
        model, method = entry["model"], entry["method"]
        if (model, "") not in rows:
            rows[model, ""] = [f"{_named(entry)}", "", *("" for _ in shown)]
        row = rows.setdefault((model, method), [f"  {method}", 0.0, *("" for _ in shown)])
        row[1] = max(row[1], entry["bytes_asked"])
        if entry["device"] in shown:
            row[2 + shown.index(entry["device"])] = MARKS[entry["answer"]]
    for row in rows.values():
        row[1] = f"{row[1] / GB:,.1f}" if row[1] else ""
    sizes = {entry["device"]: f"{entry['memory_bytes'] / GIB:.0f} GiB" for entry in found}
    columns = [name.replace("-SXM", "") for name in shown]
    table = table_of(["model, method", "GB", *columns], rows.values(), right=(1,))
    asked, tokens = found[0]["rows_asked"], found[0]["tokens"]
    of = f" of {tokens:,} tokens" if tokens else ""
    lines = [
        "",
        f"yes: a pass of {asked} rows{of} fits, in GB as stated; tight: with batch.micro: 1 and "
        "engine.gradient_checkpointing: true",
        "memory: " + ", ".join(f"{name} {sizes[name]}" for name in shown),
        "estimated in closed form: `tunesmith plan` traces the step and is nearer",
    ]
    if any(entry["public_numbers"] for entry in found):
        lines.append("* by the configuration that its makers published; nothing was fetched")
    if len(shown) < len(devices):
        lines.append(f"--json has all {len(devices)} GPUs")
    return text_of(table, *lines)


def _named(entry: Mapping[str, Any]) -> str:
    mark = "*" if entry["public_numbers"] else ""
    size = entry["parameters"]
    return f"{entry['model']}{mark}, " + (f"{size / 1e9:,.3g} B" if size >= 1e9 else f"{size / 1e6:,.3g} M")
