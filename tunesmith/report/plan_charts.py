"""From a plan's figures to drawings: memory by part against the device, activations, disk, time, options, data.

It reads the JSON of a plan, draws through ``stacked`` and ``svg``, and knows no HTML; what the plan leaves out is None.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.report import figures, stacked
from tunesmith.report.stacked import Limit, Row
from tunesmith.report.svg import Chart, Part

Json = Mapping[str, Any]

PARTS = (
    "weights",
    "gradients",
    "optimizer",
    "moving average",
    "activations",
    "logits and loss",
    "logits and backward pass",
    "backward pass",
    "evaluation, beyond a step",
    "activation cache, mapped",
    "workspace",
)
"""The order of known parts; others follow as the plan names them."""

COLOURS = 12
"""Styles of pieces, ``m0`` on; the second half is paler."""

CLASSIC = "classic formula: parameters x bytes x 2.5 to 3"
"""What the handbook computes; named as such wherever it stands."""

ENLARGE_BELOW = 0.35
"""A longest bar below this share of the scale is drawn a second time on a scale of its own."""


def stages_of(memory: Json) -> list[tuple[int, Json]]:
    """``(index, parts and totals)`` of every stage that was predicted; only the one that needs most in older plans."""
    found = list(enumerate(memory.get("stages") or []))
    if found:
        return found
    return [(int(memory.get("stage") or 0), memory)] if memory.get("parts") else []


def order_of(memory: Json) -> list[str]:
    """The names of all parts that hold anything, in the order in which they are drawn and listed."""
    told = [name for _, stage in stages_of(memory) for name, value in (stage.get("parts") or {}).items() if value]
    return sorted(dict.fromkeys(told), key=lambda name: PARTS.index(name) if name in PARTS else len(PARTS))


def room_of(memory: Json) -> float | None:
    """Bytes that may be used on one device, where that is known."""
    return figures.as_number(memory.get("room_bytes"))


def device_name(memory: Json) -> str:
    """The device as a person says it: ``the CPU``, ``2 x A100-80GB``; empty where the plan does not say."""
    device = memory.get("device") or {}
    count, name = device.get("count") or 1, str(device.get("name") or "")
    if name == "cpu":
        return "the CPU"
    return f"{count} x {name}" if count > 1 else name


def fits_of(memory: Json) -> bool | None:
    """Whether the plan fits; None where it does not say, or knows no room that it could be held against."""
    return None if room_of(memory) is None or memory.get("fits") is None else bool(memory["fits"])


def parts_of(sizes: Json, order: Sequence[str] | None = None) -> list[Part]:
    """Bytes by name as pieces of a bar, each named with its amount."""
    names = list(order) if order is not None else list(sizes)
    found = []
    for number, name in enumerate(names):
        amount = figures.as_number(sizes.get(name)) or 0.0
        found.append(Part(name, amount, f"part m{number % COLOURS}", f"{name}: {figures.size(amount)}"))
    return found


def both(stage: Json) -> list[Part]:
    """Allocated, and what the process holds beyond, as two pieces."""
    allocated, resident = (figures.as_number(stage.get(f"{kind}_bytes")) for kind in ("allocated", "resident"))
    if allocated is None or resident is None:
        return []
    beyond = max(0.0, resident - allocated)
    return [
        Part("allocated", allocated, "allocated", f"allocated by tensors: {figures.size(allocated)}"),
        Part("resident beyond", beyond, "beyond", f"resident beyond that: {figures.size(beyond)}"),
    ]


def stage_words(memory: Json, names: Sequence[str]) -> list[str]:
    """What stands over each stage's bar."""
    told = []
    for index, stage in stages_of(memory):
        name = f"{index + 1} · {names[index]}" if index < len(names) else f"stage {index + 1}"
        kinds = [(kind, stage.get(f"{kind}_bytes")) for kind in ("resident", "allocated")]
        sizes = ", ".join(f"{figures.size(value)} {kind}" for kind, value in kinds if value is not None)
        told.append(f"{name}: {sizes}" if sizes else name)
    return told


def memory_charts(memory: Json, names: Sequence[str], measured: Sequence[tuple[str, float]] = ()) -> list[Chart]:
    """Memory by part of every stage against the device, the classic formula and what was measured.

    Args:
        memory: The plan's ``memory``.
        names: The stages' names.
        measured: ``(words, bytes)`` of what a run found.
    """
    order = order_of(memory)
    words = stage_words(memory, names)
    rows = [
        Row(said, parts_of(stage.get("parts") or {}, order), both(stage))
        for said, (_, stage) in zip(words, stages_of(memory), strict=True)
    ]
    if not any(row.total for row in rows):
        return []
    rows += [
        Row(f"{said}: {figures.size(amount)}", [Part(said, amount, "measured", f"{said}: {figures.size(amount)}")])
        for said, amount in measured
    ]
    longest = max(row.total for row in rows)
    room, band = room_of(memory), _classic(memory)
    limit = None if room is None else Limit(room, f"room {figures.size(room)}")
    whole = [*rows, band] if band else rows
    name = device_name(memory)
    title = f"Memory by part, against {name}" if name and limit else "Memory by part"
    charts = [stacked.stacked(title, whole, limit=limit, scale=_scale(whole, room))]
    if longest < ENLARGE_BELOW * _scale(whole, room):
        charts.append(stacked.stacked("The same, enlarged", rows, scale=longest))
    return charts


def _scale(rows: Sequence[Row], room: float | None) -> float:
    return max([row.total for row in rows] + ([room] if room else []))


def _classic(memory: Json) -> Row | None:
    """The handbook's figure as a band from its low to its high end."""
    ends = [float(end) for end in memory.get("classic_bytes") or () if figures.as_number(end) is not None]
    if len(ends) != 2:
        return None
    low, high = ends
    words = f"{CLASSIC}: {figures.sizes(low, high)}"
    parts = [Part("up to x 2.5", low, "classic low", f"x 2.5: {figures.size(low)}")]
    parts.append(Part("up to x 3", high - low, "classic high", f"x 3: {figures.size(high)}"))
    return Row(words, parts)


def gauge(memory: Json) -> Chart | None:
    """The stage that needs most on the scale of the whole device: one bar, with the room marked."""
    room, need = room_of(memory), figures.as_number(memory.get("resident_bytes"))
    if room is None or need is None:
        return None
    whole = figures.as_number((memory.get("device") or {}).get("memory_bytes")) or room
    limit = Limit(room, f"room {figures.size(room)}")
    return stacked.stacked("", [Row("", both(memory))], limit=limit, scale=max(whole, need))


def memory_table(memory: Json) -> list[tuple[str, str, list[object]]]:
    """``(part, style, bytes in each stage)``, in the order of the bars."""
    order = order_of(memory)
    told = [stage.get("parts") or {} for _, stage in stages_of(memory)]
    return [(name, f"m{n % COLOURS}", [parts.get(name) for parts in told]) for n, name in enumerate(order)]


def memory_view(memory: Json, names: Sequence[str], measured: Sequence[tuple[str, float]] = ()) -> dict[str, Any]:
    """Drawings and table of memory by part; empty where nothing was predicted. For the report of a run, too."""
    charts = memory_charts(memory, names, measured)
    if not charts:
        return {}
    told = stages_of(memory)
    totals = [(kind, [stage.get(f"{kind}_bytes") for _, stage in told]) for kind in ("allocated", "resident")]
    room = room_of(memory)
    if room is not None:
        totals.append(("room", [room for _ in told]))
    return {
        "charts": charts,
        "table": memory_table(memory),
        "stages": [f"{index + 1} · {names[index]}" if index < len(names) else str(index + 1) for index, _ in told],
        "totals": totals,
        "split": any(both(stage) for _, stage in told),
        "measured": bool(measured),
    }


def runs_of_groups(sizes: Json) -> list[tuple[str, int, float]]:
    """``(name, groups, bytes of each)``; neighbours of one kind and, within 1 %, of one size stand together."""
    found: list[tuple[str, str, int, float]] = []
    for name, raw in sizes.items():
        value = figures.as_number(raw) or 0.0
        first, _, count, each = found[-1] if found else ("", "", 0, math.inf)
        if count and _kind(first) == _kind(name) and math.isclose(value, each, rel_tol=0.01):
            found[-1] = (first, name, count + 1, (each * count + value) / (count + 1))
        else:
            found.append((name, name, 1, value))
    return [(first if count == 1 else f"{first} to {last}", count, each) for first, last, count, each in found]


def _kind(name: str) -> str:
    return re.sub(r"\d+", "#", name)


def shares(rows: Sequence[tuple[str, float, str]]) -> list[tuple[str, str, str]]:
    """``(name, share of the longest, words)`` of a list with bars, from ``(name, amount, words)``."""
    most = max((amount for _, amount, _ in rows), default=0.0) or 1.0
    return [(name, f"{amount / most:.4f}", words) for name, amount, words in rows]


def activation_rows(memory: Json) -> list[tuple[str, str, str]]:
    """Activations by layer group, as a list with bars."""
    rows = []
    for name, count, each in runs_of_groups(memory.get("activations") or {}):
        words = figures.size(each) if count == 1 else f"{count} x {figures.size(each)}, {figures.size(each * count)}"
        rows.append((name, each * count, words))
    return shares(rows) if any(amount for _, amount, _ in rows) else []


def store_chart(title: str, store: Json | None) -> tuple[Chart, list[Part]] | None:
    """Host memory or disk by part, against what is free; with the pieces for a legend."""
    sizes = {name: value for name, value in ((store or {}).get("parts") or {}).items() if value}
    if store is None or not sizes:
        return None
    parts, free = parts_of(sizes), figures.as_number(store.get("free_bytes"))
    total = figures.as_number(store.get("bytes")) or sum(part.amount for part in parts)
    limit = None if free is None else Limit(free, f"free {figures.size(free)}")
    return stacked.stacked(title, [Row(figures.size(total), parts)], limit=limit), parts


def time_rows(time: Json) -> list[tuple[str, str, str]]:
    """Seconds by part, as a list with bars."""
    told = [(name, figures.as_number(value)) for name, value in (time.get("parts") or {}).items()]
    return shares([(name, value, figures.duration(value)) for name, value in told if value])


def option_bar(option: Json, memory: Json) -> Chart | None:
    """What is still needed after a change and what it saves, against the room; None for one that saves nothing."""
    if option.get("kind") == "refused":
        return None
    then, saved = (figures.as_number(option.get(key)) for key in ("resident_bytes", "saves_bytes"))
    if then is None or saved is None or saved <= 0:
        return None
    room, now = room_of(memory), figures.as_number(memory.get("resident_bytes")) or 0.0
    # The scale is the same for every option, so that they can be read against each other.
    scale = max(now, then + saved, *([room] if room and room < 2 * now else []))
    parts = [Part("then", then, "then", f"needed then: {figures.size(then)}")]
    parts.append(Part("saved", saved, "saved", f"saved: {figures.size(saved)}"))
    limit = None if room is None else Limit(room, f"room {figures.size(room)}")
    return Chart("", stacked.bar(Row("", parts), scale, limit))


def data_chart(data: Json) -> Chart | None:
    """The recipe's amount of data against the references of the same unit."""
    own, unit = figures.as_number(data.get("amount")), str(data.get("unit") or "")
    rows = [
        (f"{one.get('what')}: {figures.number(one['least'])} {unit}", float(one["least"]))
        for one in comparable(data)
        if (figures.as_number(one.get("least")) or 0) > 0
    ]
    if not own or not rows:
        return None
    here = Limit(own, f"this recipe {figures.number(data.get('amount'))} {unit}")
    return stacked.dots("This recipe against the references", rows, here, spell=figures.number)


def comparable(data: Json) -> list[Json]:
    """The references that count in the same unit as the recipe's data."""
    unit = str(data.get("unit") or "").lower()
    return [one for one in data.get("references") or [] if str(one.get("unit") or "").lower() == unit]
