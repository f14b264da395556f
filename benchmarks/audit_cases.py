"""The cases of the audit's benchmark: what each plants, which goals it has, which peers judge it, and how it runs.

A case is a world of `audit_faults`: clean real data, damaged by seed in a temporary folder. ``tunesmith audit`` runs on
it twice in processes of its own, with an empty cache and then with what it kept, and what its findings mark is held
against the truth. ``end-effect/...`` trains (`audit_end_effect`). ``million``: a million short rows of text.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.audit_beside import beside, peer_rows
from benchmarks.audit_end_effect import end_effect
from benchmarks.audit_runs import audited, made_world, mean_of
from benchmarks.audit_scores import (
    CODES,
    LEAKED,
    NEAR,
    NEAR_LEAKED,
    REPEATED,
    Goal,
    held,
    judged,
    marked_by_code,
    pooled,
)

SURE = Goal(0.99, 0.99)
WHOLE = Goal(1.0, 0.99)
FLIPS = {"flips": Goal(0.8, 0.6)}


@dataclass(frozen=True)
class Planned:
    """A case.

    Args:
        goals: By fault; faults that are not named are measured with no goal.
        checks: That run; empty: all that the rows are fit for.
        peers: Peers to fault to what of the peer's tells of it.
        seeds: Worlds whose counts are put together.
    """

    goals: Mapping[str, Goal] = field(default_factory=dict)
    checks: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    seeds: int = 1


def planted(name: str, planned: Planned, quick: bool) -> list[dict[str, Any]]:
    """The rows of a world: its faults, its costs, its peers."""
    scores: dict[str, list[dict[str, Any]]] = {}
    peers: dict[str, list[dict[str, Any]]] = {}
    costs: list[dict[str, Any]] = []
    for seed in range(1 if quick else planned.seeds):
        with tempfile.TemporaryDirectory(prefix="benchmark-") as place:
            folder = Path(place)
            world = made_world(name, folder / "world", seed, quick)
            report, cold = audited(world, folder / "cache", folder, planned.checks)
            again, warm = audited(world, folder / "cache", folder, planned.checks)
            for fault, one in judged(report, world["faults"]).items():
                scores.setdefault(fault, []).append(one)
            costs.append({
                "seconds": cold.seconds, "again": warm.seconds, "cpu_seconds": cold.cpu_seconds,
                "cpu_again": warm.cpu_seconds, "peak_mib": cold.peak_mib, "rows": world["rows"],
                "checks": report.get("seconds", {}), "checks_again": again.get("seconds", {}),
                "codes": marked_by_code(report),
                "skipped": report.get("skipped", []),
            })  # fmt: skip
            for peer in planned.peers:
                peers.setdefault(peer, []).append(beside(peer, world, report, folder, warm))
    rows = [
        {"case": name, "fault": fault, **(total := pooled(own)), **held(total, planned.goals.get(fault))}
        for fault, own in scores.items()
    ]
    cost = {"case": name, "fault": None, **costs[0],
            "seconds": mean_of(costs, "seconds"), "again": mean_of(costs, "again"),
            "peak_mib": max(one["peak_mib"] for one in costs), "worlds": len(costs),
            "goal": None, "holds": None}  # fmt: skip
    return [*rows, cost, *(row for peer, own in peers.items() for row in peer_rows(name, peer, own))]


MILLION_MINUTES, MILLION_GIB = 10.0, 4.0


def million(quick: bool) -> list[dict[str, Any]]:
    """A million short rows of text: minutes and memory, and what was found of what was planted."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as place:
        folder = Path(place)
        world = made_world("million", folder / "world", 0, quick)
        report, done = audited(world, folder / "cache", folder, ())
        rows = [
            {"case": "million", "fault": fault, **(total := pooled([one])), **held(total, MILLION_GOALS.get(fault))}
            for fault, one in judged(report, world["faults"]).items()
        ]
    minutes, gib = done.seconds / 60, done.peak_mib / 1024
    return [*rows, {
        "case": "million", "fault": None, "seconds": done.seconds, "again": None, "cpu_seconds": done.cpu_seconds,
        "peak_mib": done.peak_mib,
        "rows": world["rows"], "checks": report.get("seconds", {}), "skipped": report.get("skipped", []),
        "codes": marked_by_code(report),
        "goal": {"minutes": MILLION_MINUTES, "gib": MILLION_GIB},
        "holds": minutes < MILLION_MINUTES and gib < MILLION_GIB,
    }]  # fmt: skip


DOUBLES = {name: SURE for name, codes in CODES.items() if codes in (REPEATED, NEAR, LEAKED, NEAR_LEAKED)}
MILLION_GOALS = {"exact": SURE, "near-word": SURE}
PLANNED: dict[str, Planned] = {
    "text/flips-5": Planned(FLIPS, ("labels",), ("datalab",)),
    "text/flips-20": Planned({}, ("labels",), ("datalab",)),
    "text/source-flips-5": Planned(FLIPS, ("labels",), ("datalab",)),
    "text/source-flips-20": Planned({}, ("labels",), ("datalab",)),
    "text/outliers": Planned({}, ("drift",), ("datalab",)),
    "text/doubles": Planned(DOUBLES, ("doubles",), ("datalab",)),
    "text/damage": Planned({}, ("text", "overlap")),
    "answers/faq": Planned(DOUBLES | {"leak-group": SURE}),
    "answers/sql": Planned(DOUBLES, ("doubles", "answers")),
    "pictures/flips-5": Planned(FLIPS, ("labels",), ("datalab",), seeds=3),
    "pictures/flips-20": Planned({}, ("labels",), ("datalab",), seeds=3),
    "pictures/doubles": Planned(DOUBLES, ("doubles",), ("cleanvision", "datalab")),
    "pictures/quality": Planned({"unreadable": WHOLE}, ("pictures", "turned"), ("cleanvision",)),
    "pictures/outliers": Planned({}, ("drift",), ("datalab",)),
    "pictures/boxes": Planned({}, ("labels", "boxes")),
    "pictures/masks": Planned({}, ("labels", "boxes")),
    "audio": Planned(
        DOUBLES | {"unreadable": WHOLE, "silent": WHOLE, "clipped": WHOLE, "transcript-swapped": Goal(0.9)}
    ),
    "captions": Planned({}, ("captions",)),
}
CASES = {
    **{
        name: (lambda quick, name=name, planned=planned: planted(name, planned, quick))
        for name, planned in PLANNED.items()
    },
    "end-effect/text": lambda quick: end_effect("text", quick),
    "end-effect/pictures": lambda quick: end_effect("pictures", quick),
    "million": million,
}
QUICK = ("text/doubles", "pictures/quality")


def rows_of(case: str, quick: bool) -> list[dict[str, Any]]:
    """The rows of a case; one with the reason where it can't run."""
    from benchmarks.audit_faults_media import lacking

    if reason := lacking({"end-effect/pictures": "pictures/flips-20"}.get(case, case)):
        return [{"case": case, "fault": None, "reason": reason, "goal": None, "holds": None}]
    return CASES[case](quick)
