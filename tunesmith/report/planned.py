"""The plan as text for a terminal of 80 columns. It reads the plan's JSON; what the plan leaves out is not shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunesmith.report import figures, plan_charts
from tunesmith.report.tables import table_of, text_of

if TYPE_CHECKING:
    from rich.table import Table

Json = Mapping[str, Any]

MOST_STAGES = 4
"""Stages that the memory table has room for; of more, those that need most are shown."""

MB, GB = 10**6, 10**9


def plan_text(plan: Json) -> str:
    """Stages, decisions with their reasons, memory by part, and whatever else the plan could say."""
    stages = [
        [
            i + 1,
            s["name"],
            _figure(s.get("epochs"), "g"),
            _figure(s.get("steps"), ","),
            s.get("lr") or "",
            _figure(s.get("trainable"), ","),
            _cache(s.get("cache") or {}),
        ]
        for i, s in enumerate(plan["stages"])
    ]
    names = ["stage", "learns", "epochs", "steps", "lr", "parameters", "cache"]
    parts: list[Table | str] = [table_of(names, stages, right=(0, 2, 3, 4, 5))]
    decisions = [[f"{d['what']}: {d['value']}", d["reason"]] for d in plan["decisions"]]
    if decisions:
        parts.append(table_of(["decision", "why"], decisions, fold=(1,)))
    memory = plan.get("memory")
    if memory:
        parts.append(_memory_table(memory, [str(s["name"]) for s in plan["stages"]]))
        how = (
            "traced on the model's shape" if memory.get("traced") else "estimated: the model's shape does not run alone"
        )
        parts.append(f"stage {memory['stage'] + 1} needs the most; activations {how}")
    if rows := _forecast(plan):
        parts.append(table_of(["forecast", ""], rows, fold=(1,)))
    if options := plan.get("options"):
        parts.append(_options_table(options))
    if unknown := plan.get("unknown"):
        parts.append(table_of(["not known"], [[line] for line in unknown], fold=(0,)))
    return text_of(*parts)


def _figure(value: Any, how: str) -> str:
    return "" if value is None else format(value, how)


def _cache(cache: Json) -> str:
    size = cache.get("bytes")
    return "off" if not cache.get("use") else "on" if size is None else f"on, {size / MB:,.1f} MB"


def spelled(text: str) -> str:
    """A figure of the page with the blanks and the minus that any terminal and any search knows."""
    return text.replace("\u00a0", " ").replace("\u202f", ",").replace("\u2212", "-")


def _size(count: object) -> str:
    return spelled(figures.size(count))


def _memory_table(memory: Json, names: Sequence[str]) -> Table:
    """Parts down, stages across, all in one unit."""
    stages = plan_charts.stages_of(memory)
    if len(stages) > MOST_STAGES:
        most = sorted(stages, key=lambda pair: -(pair[1].get("resident_bytes") or 0))[:MOST_STAGES]
        stages = sorted(most, key=lambda pair: pair[0])
    largest = max(
        [stage.get("resident_bytes") or 0 for _, stage in stages] + [plan_charts.room_of(memory) or 0], default=0
    )
    unit, word = (GB, "GB") if largest >= 100 * GB else (MB, "MB")

    def cell(value: Any) -> str:
        if value is None:
            return ""
        return "< 0.1" if 0 < value < unit / 20 else f"{value / unit:,.1f}"

    rows = [
        [name, *(cell((stage.get("parts") or {}).get(name) or None) for _, stage in stages)]
        for name in plan_charts.order_of(memory)
    ]
    rows += [[kind, *(cell(stage.get(f"{kind}_bytes")) for _, stage in stages)] for kind in ("allocated", "resident")]
    if (room := plan_charts.room_of(memory)) is not None:
        rows.append(["room", *(cell(room) for _ in stages)])
    heads = [f"{index + 1} {names[index] if index < len(names) else ''}".strip()[:12] for index, _ in stages]
    return table_of([f"memory, {word}", *heads], rows, right=range(1, len(heads) + 1))


def verdict(plan: Json) -> str:
    """Whether the run fits, on what, in one sentence; empty where the plan does not say."""
    memory = plan.get("memory") or {}
    fits = plan_charts.fits_of(memory)
    if fits is None:
        return ""
    where = plan_charts.device_name(memory)
    each = " each" if ((memory.get("device") or {}).get("count") or 1) > 1 else ""
    need, room = figures.size(memory.get("resident_bytes")), figures.size(memory.get("room_bytes"))
    told = f"{'yes' if fits else 'no'}: {need} needed, {room} may be used{each}"
    return f"{told} ({where})" if where else told


def _forecast(plan: Json) -> list[list[str]]:
    """``[what, what is said of it]`` of everything beside the memory table."""
    memory, rows = plan.get("memory") or {}, []
    if said := verdict(plan):
        rows.append(["fits", spelled(said)])
    ends = memory.get("classic_bytes")
    if ends:
        words = plan_charts.CLASSIC.removeprefix("classic formula: ")
        rows.append(["classic formula", f"{spelled(figures.sizes(*ends))} ({words})"])
    time = plan.get("time")
    if time:
        parts = _listed(time.get("parts"), figures.duration)
        rows.append(["time", spelled(figures.duration(time.get("seconds"))) + (f": {parts}" if parts else "")])
        if time.get("basis"):
            rows.append(["", f"by {time['basis']}"])
    for what, key in (("host memory", "host"), ("disk", "disk")):
        store = plan.get(key)
        if store:
            free = store.get("free_bytes")
            parts = _listed(store.get("parts"), figures.size)
            total = _size(store.get("bytes")) + ("" if free is None else f" of {_size(free)} free")
            total += ", which is too little" if free is not None and (store.get("bytes") or 0) > free else ""
            rows.append([what, total + (f": {parts}" if parts else "")])
    data = plan.get("data") or {}
    if data.get("said"):
        rows.append(["data", str(data["said"])])
    return rows


def _listed(parts: Json | None, spell: Any) -> str:
    told = sorted(((name, value) for name, value in (parts or {}).items() if value), key=lambda pair: -pair[1])
    return ", ".join(f"{name} {spelled(spell(value))}" for name, value in told)


def overrides(patch: Json, name: str = "") -> list[str]:
    """A patch as settings on the command line: ``batch.micro=4``."""
    found = []
    for key, value in patch.items():
        whole = f"{name}.{key}" if name else str(key)
        inner = isinstance(value, Mapping) and value
        found += overrides(value, whole) if inner else [f"{whole}={figures.plain(value)}"]
    return found


def _options_table(options: Sequence[Json]) -> Table:
    """Changes in their order, each with the settings that it adds, one a line, so that none is broken in two."""
    rows: list[list[Any]] = []
    before: set[str] = set()
    for number, option in enumerate(options, 1):
        settings, kind = overrides(option.get("patch") or {}), option.get("kind") or "change"
        lines = [str(option["what"])]
        lines += [f"costs: {option['costs']}"] if option.get("costs") else []
        # A patch holds all changes so far; only the set that leaves some out again is worth saying whole.
        lines += [f"  {setting}" for setting in settings if kind == "least" or setting not in before]
        before |= set(settings)
        then, saved = _size(option.get("resident_bytes")), _size(option.get("saves_bytes"))
        fits = "?" if option.get("fits") is None else "yes" if option["fits"] else "no"
        rows.append([number, "\n".join(lines), *(("", "", "no") if kind == "refused" else (saved, then, fits))])
    heads = ["", "change, beside those before it", "saves", "needs then", "fits"]
    return table_of(heads, rows, right=(0, 2, 3), fold=(1,))
