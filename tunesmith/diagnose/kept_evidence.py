"""Evidence as a file, so that a verdict can be made again without asking anything. It judges nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from tunesmith.diagnose.found import Evidence, Item, Judged, NotTested, Probe
from tunesmith.errors import UserError
from tunesmith.run import jsonable, write_whole

FILE = "evidence.json"


def write_evidence(evidence: Evidence, folder: Path) -> Path:
    """Write ``evidence.json`` into a folder, whole or not at all.

    Raises:
        UserError: It can't be written.
    """
    text = json.dumps(jsonable(evidence), ensure_ascii=False, indent=1, allow_nan=False)
    return write_whole(folder / FILE, (text + "\n").encode("utf-8", "replace"))


def read_evidence(place: Path) -> Evidence:
    """Read evidence from its file, or from the folder of it.

    Raises:
        UserError: It is not there, or is not what `write_evidence` wrote.
    """
    file = place / FILE if place.is_dir() else place
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        return _evidence(values)
    except OSError as fault:
        raise UserError(
            f"the evidence can't be read: {fault.strerror}", str(file), "name a diagnosis' folder"
        ) from fault
    except (ValueError, TypeError, KeyError, AttributeError) as fault:
        raise UserError(f"this is no evidence of a diagnosis: {fault}", str(file), "diagnose again") from fault


def _evidence(values: Mapping[str, Any]) -> Evidence:
    items = tuple(
        Item(**{**item, "references": tuple(item["references"]), "messages": tuple(item["messages"])})
        for item in values["items"]
    )
    probes = {
        name: Probe(**{**probe, "judged": {i: Judged(**one) for i, one in probe["judged"].items()}})
        for name, probe in values["probes"].items()
    }
    unknown = values.get("unknown_facts")
    plain = {field.name: values[field.name] for field in fields(Evidence) if field.name in values}
    return Evidence(
        **{
            **plain,
            "items": items,
            "probes": probes,
            "not_tested": tuple(NotTested(**one) for one in values["not_tested"]),
            "unknown_facts": None if unknown is None else (int(unknown[0]), int(unknown[1])),
            "notes": tuple(values.get("notes", ())),
        }
    )
