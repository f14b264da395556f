"""The plan's page: a plan's JSON in, one self-contained HTML file out.

It knows what stands where on the page; drawings are made in ``plan_charts``. What the plan leaves out is not shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunesmith.report import figures, plan_charts
from tunesmith.report.charts import group_bars
from tunesmith.report.page import filled, write_whole
from tunesmith.report.planned import overrides
from tunesmith.report.sections import Section
from tunesmith.report.svg import Chart

Json = Mapping[str, Any]


def write_plan_page(plan: Json, file: Path, *, name: str = "Plan") -> Path:
    """Writes the plan as one HTML page that opens offline, whole or not at all.

    Args:
        plan: The plan as ``plan --json`` prints it; only its stages are needed.
        file: Where the page goes.
        name: What was planned: stands in the title and at the top.

    Raises:
        UserError: The file can't be written.
    """
    return write_whole(file, render_plan(plan, name))


def render_plan(plan: Json, name: str = "Plan") -> str:
    """The page's HTML."""
    built = [
        Section("memory", "Memory", _memory(plan), ""),
        Section("options", "Ways to save memory", _options(plan), ""),
        Section("time", "Time", _time(plan), ""),
        Section("store", "Host memory and disk", _store(plan), ""),
        Section("data", "How much data", _data(plan), ""),
        Section("curve", "Learning curve", _curve(plan), ""),
        Section("stages", "Stages", _stages(plan), ""),
        Section("decisions", "Decisions", _decisions(plan), ""),
        Section("unknown", "Not known", _unknown(plan), ""),
    ]
    styles = ("page.css", "plan.css")
    return filled("plan_page.html", styles=styles, name=name, head=headline(plan, name), sections=built)


def names_of(plan: Json) -> list[str]:
    """The stages' names."""
    return [str(stage.get("name")) for stage in plan.get("stages") or []]


def _label(plan: Json, index: int) -> str:
    names = names_of(plan)
    return f"{index + 1} · {names[index]}" if index < len(names) else f"stage {index + 1}"


def headline(plan: Json, name: str) -> dict[str, Any]:
    """Whether it fits, on what, and the figures under that."""
    memory = plan.get("memory") or {}
    fits, where = plan_charts.fits_of(memory), plan_charts.device_name(memory)
    on = "" if not where else f" in {where}" if where.endswith(" memory") else f" on {where}"
    each = ", on each device" if ((memory.get("device") or {}).get("count") or 1) > 1 else ""
    style, badge, sentence = ("same", "Plan", "What the run will do and take.")
    if fits is not None:
        style, badge, sentence = (
            ("better", "Fits", f"It fits{on}.") if fits else ("worse", "Does not fit", f"It does not fit{on}.")
        )
    need, room = memory.get("resident_bytes"), memory.get("room_bytes")
    stage = f"in stage {_label(plan, int(memory['stage']))}" if memory.get("stage") is not None else ""
    return {
        "kicker": name,
        "style": style,
        "badge": badge,
        "sentence": sentence,
        "what": f"peak memory, resident{each}",
        "need": None if need is None else figures.size(need),
        "room": None if room is None else figures.size(room),
        "lead": f"The most is needed {stage}." if stage and len(names_of(plan)) > 1 else "",
        "gauge": plan_charts.gauge(memory),
        "figures": _key_figures(plan, memory),
    }


def _key_figures(plan: Json, memory: Json) -> list[tuple[str, str, str]]:
    """``(figure, what it is, small print)`` for the strip under the headline."""
    out = []
    allocated = memory.get("allocated_bytes")
    if allocated is not None:
        out.append((figures.size(allocated), "allocated by tensors", "at the peak"))
    ends = memory.get("classic_bytes")
    if ends:
        out.append((figures.sizes(*ends), "classic formula", "parameters x bytes x 2.5 to 3"))
    time, disk, data = (plan.get(key) or {} for key in ("time", "disk", "data"))
    if time.get("seconds") is not None:
        out.append((figures.duration(time["seconds"]), "from start to end", ""))
    if disk.get("bytes") is not None:
        free = disk.get("free_bytes")
        out.append((figures.size(disk["bytes"]), "disk", "" if free is None else f"{figures.size(free)} free"))
    if data.get("rows") is not None:
        out.append((figures.number(data["rows"]), "rows", ""))
    most = max((stage.get("trainable") or 0 for stage in plan.get("stages") or []), default=0)
    if most:
        count = len(plan["stages"])
        out.append((figures.parameters(most), "parameters trained", f"in {count} stage{'s' * (count != 1)}"))
    return out


def _memory(plan: Json) -> dict[str, Any] | None:
    memory = plan.get("memory") or {}
    drawn = plan_charts.memory_view(memory, names_of(plan))
    if not drawn:
        return None
    how = ""
    if memory.get("traced") is not None:
        told = "traced on the model's shape" if memory["traced"] else "estimated: the shape does not run alone"
        how = f"Activations are {told}. Small parts are drawn wider than they are."
    return {
        "drawn": drawn,
        "activations": plan_charts.activation_rows(memory),
        "worst": _label(plan, int(memory.get("stage") or 0)),
        "how": how,
    }


def _options(plan: Json) -> dict[str, Any] | None:
    options, memory = plan.get("options") or [], plan.get("memory") or {}
    if not options:
        return None
    lead = (
        "In the order of least harm, each made beside those before it. The lines to copy hold all changes up to there; "
        "what is saved counts from the recipe as it is. The line is the room."
    )
    views = [
        {
            "what": option.get("what"),
            "kind": option.get("kind") or "change",
            "fits": option.get("fits"),
            "saves": option.get("saves_bytes"),
            "resident": option.get("resident_bytes"),
            "allocated": option.get("allocated_bytes"),
            "costs": option.get("costs"),
            "chart": plan_charts.option_bar(option, memory),
            "patch": patch_yaml(option.get("patch") or {}),
        }
        for option in options
    ]
    return {"lead": lead, "options": views}


def patch_yaml(patch: Json) -> str:
    """A patch of dotted names as YAML; a setting within a list as an override, since a list can't be given in part."""
    import yaml

    tree: dict[str, Any] = {}
    inside = {}
    for name, value in patch.items():
        keys = str(name).split(".")
        if any(key.isdigit() for key in keys):
            inside[name] = value
            continue
        place = tree
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        place[keys[-1]] = value
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True) if tree else ""
    lines = [f"# and on the command line: {setting}" for setting in overrides(inside)]
    return "\n".join([text.rstrip("\n"), *lines]).strip("\n")


def _time(plan: Json) -> dict[str, Any] | None:
    time = plan.get("time")
    if not time or figures.as_number(time.get("seconds")) is None:
        return None
    rows = [
        (_label(plan, number), value, figures.duration(value))
        for number, raw in enumerate(time.get("stages") or [])
        if (value := figures.as_number(raw)) is not None
    ]
    parts, stages = plan_charts.time_rows(time), plan_charts.shares(rows) if len(rows) > 1 else []
    return {"seconds": time["seconds"], "basis": time.get("basis"), "parts": parts, "stages": stages}


def _store(plan: Json) -> dict[str, Any] | None:
    drawn: list[tuple[Chart, Any, float | None]] = []
    for title, key in (("Host memory", "host"), ("Disk", "disk")):
        store = plan.get(key) or {}
        found = plan_charts.store_chart(title, store)
        if found is not None:
            free, need = (figures.as_number(store.get(one)) for one in ("free_bytes", "bytes"))
            lacking = need - free if free is not None and need is not None and need > free else None
            drawn.append((*found, lacking))
    return {"charts": drawn} if drawn else None


def _data(plan: Json) -> dict[str, Any] | None:
    data = plan.get("data")
    if not data:
        return None
    same, own = plan_charts.comparable(data), figures.as_number(data.get("amount"))
    references = []
    for one in data.get("references") or []:
        least = figures.as_number(one.get("least"))
        ratio = (
            f"{figures.rate(float(f'{own / least:.2g}'))} ×"
            if one in same and least and own is not None
            else figures.NOTHING
        )
        told = {key: one.get(key) or "" for key in ("what", "unit", "source")}
        references.append({**told, "least": one.get("least"), "ratio": ratio})
    if not references and not data.get("said"):
        return None
    return {"said": data.get("said"), "chart": plan_charts.data_chart(data), "references": references}


def _curve(plan: Json) -> dict[str, Any] | None:
    curve = plan.get("learning_curve")
    if not curve:
        return None
    from tunesmith.report.curve import learning_curve_chart

    return {"chart": learning_curve_chart(curve), "said": curve.get("said")}


def _stages(plan: Json) -> dict[str, Any] | None:
    stages = plan.get("stages") or []
    return {"stages": stages, "chart": group_bars(stages, names_of(plan))} if stages else None


def _decisions(plan: Json) -> dict[str, Any] | None:
    return {"rows": plan["decisions"]} if plan.get("decisions") else None


def _unknown(plan: Json) -> dict[str, Any] | None:
    return {"lines": [str(line) for line in plan["unknown"]]} if plan.get("unknown") else None
