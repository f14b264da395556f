"""The audit beside its peers on the same rows: our recall at their precision, time and memory.

Peers (`audit_peers`) judge the same rows: Datalab on the features that ours has, cleanvision on the same files.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.audit_runs import Ran, audited, mean_of, ran
from benchmarks.audit_scores import (
    ALSO,
    CODES,
    DOUBTED,
    LEAKED,
    NEAR,
    NEAR_LEAKED,
    REPEATED,
    allied,
    judged,
    marks_of,
    places,
    pooled,
    score,
)

PEERS = Path(__file__).parent / "audit_peers.py"

TOLD_BY_PEER: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {
    "datalab": {
        "flips": ("label", ("labels",)),
        "outlier": ("outlier", ("drift",)),
        **{
            fault: ("near_duplicate", ("doubles",))
            for fault, codes in CODES.items()
            if codes in (REPEATED, NEAR, LEAKED, NEAR_LEAKED)
        },
    },
    "cleanvision": {
        **dict.fromkeys(("exact", "leak-exact"), ("exact_duplicates", ("doubles",))),
        **{fault: ("near_duplicates", ("doubles",)) for fault in CODES if fault.startswith(("near-", "leak-near-"))},
        "blurred": ("blurry", ("pictures",)),
        "dark": ("dark", ("pictures",)),
        "bright": ("light", ("pictures",)),
        "low-information": ("low_information", ("pictures",)),
        "odd-size": ("odd_size", ("pictures",)),
        "odd-aspect": ("odd_aspect_ratio", ("pictures",)),
    },
}
"""By peer and fault: the peer's name of the issue, and our checks that do the same."""


def beside(
    peer: str, world: Mapping[str, Any], report: Mapping[str, Any], folder: Path, warm: Ran
) -> dict[str, Any]:  # fmt: skip
    """A peer on the same rows, and our recall at its precision.

    Args:
        peer: ``datalab`` gets our features and is held against our second run, which has them too; ``cleanvision``
            reads files, and is held against a first run of ours of the same checks.
        world: The world.
        report: Of our audit.
        folder: Where files may lie; the cache is in it.
        warm: Our second run.
    """
    names = {told for told, _ in TOLD_BY_PEER[peer].values()}
    out = folder / f"{peer}.json"
    command = [sys.executable, str(PEERS), peer, world["folder"], str(out)]
    if peer == "datalab":
        exported = ran([sys.executable, str(PEERS), "features", world["folder"], str(out)], folder / "cache", folder)
        if exported.code:
            return {"reason": f"no features: {exported.err.strip()[-400:]}"}
    theirs = ran(command, folder / "cache", folder)
    if theirs.code:
        return {"reason": theirs.err.strip().splitlines()[-1] if theirs.err.strip() else f"exit {theirs.code}"}
    found = json.loads(out.read_text(encoding="utf-8"))
    assert names >= set(found["marks"]), found["marks"].keys()
    told = {f: t for f, t in TOLD_BY_PEER[peer].items() if f in world["faults"]}
    checks = tuple(dict.fromkeys(check for _, own in told.values() for check in own))
    cache = folder / ("cache" if peer == "datalab" else "cache-2")
    # What a fault does to a score is measured by training heads, which no peer does.
    of_ours, ours = audited(world, cache, folder, checks, "--no-effects")
    scores = {}
    for fault, (issue, _) in told.items():
        cases = world["faults"][fault]
        same = [other for other, (also, _) in told.items() if also == issue and other != fault]
        spared = {place for other in allied(fault) for case in world["faults"].get(other, ()) for place in case}
        marks = found["marks"].get(issue, [])
        exact = found["marks"].get("exact_duplicates", []) if issue == "near_duplicates" else []
        family = [case for other in same for case in world["faults"][other]]
        their = score(marks, cases, also=exact, family=family, spared=spared)
        precision = their["right"] / their["marked"] if their["marked"] else 1.0
        scores[fault] = {"theirs": their, "ours": at_precision(report, fault, world["faults"], precision)}
    return {
        "scores": scores, "seconds": theirs.seconds, "peak_mib": theirs.peak_mib, "ours_seconds": ours.seconds,
        "cpu_seconds": theirs.cpu_seconds, "ours_cpu_seconds": ours.cpu_seconds,
        "ours_work_seconds": round(sum(of_ours.get("seconds", {}).values()), 3),
        "ours_peak_mib": ours.peak_mib, "work_seconds": found["seconds"], "checks": checks,
        "ours_full_seconds": warm.seconds,
    }  # fmt: skip


def at_precision(report: Mapping[str, Any], fault: str, faults: Mapping[str, Any], precision: float) -> dict[str, Any]:
    """Our score on the longest beginning of our ranked marks that is at least so precise."""
    codes = CODES.get(fault, (fault,)) + DOUBTED.get(fault, ())
    whole = {"findings": [
        {"code": found["code"], "marks": found.get("marks", ())} for found in report["findings"]
    ]}  # fmt: skip
    by_code = (sorted(marks_of(whole, (code,)), key=lambda mark: -mark.get("score", 1.0)) for code in codes)
    marks = list({places(mark): mark for own in by_code for mark in own}.values())
    best = judged({"findings": [f for f in whole["findings"] if f["code"] in ALSO.get(fault, ())]}, faults)[fault]
    low, step = 0, max(1, len(marks) // 200)
    for count in [*range(step, len(marks), step), len(marks)]:
        some = [f for f in whole["findings"] if f["code"] in ALSO.get(fault, ())]
        one = judged({"findings": [*some, {"code": codes[0], "marks": marks[:count]}]}, faults)[fault]
        exact = one["right"] / one["marked"] if one["marked"] else 1.0
        if exact >= precision and count > low:
            best, low = one, count
    return best


def peer_rows(case: str, peer: str, own: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a peer on a case: one a fault, and one of its costs."""
    if reasons := [one["reason"] for one in own if "reason" in one]:
        return [{"case": case, "peer": peer, "fault": None, "reason": reasons[0], "goal": None, "holds": None}]
    rows = []
    for fault in own[0]["scores"]:
        theirs = pooled([one["scores"][fault]["theirs"] for one in own])
        ours = pooled([one["scores"][fault]["ours"] for one in own])
        rows.append({
            "case": case, "peer": peer, "fault": fault, **theirs, "ours_recall": ours["recall"],
            "ours_precision": ours["precision"], "goal": "their recall at their precision",
            "holds": ours["recall"] >= theirs["recall"],
        })  # fmt: skip
    kinds = ("seconds", "cpu_seconds", "work_seconds")
    cost = {key: mean_of(own, key) for kind in kinds for key in (kind, f"ours_{kind}")}
    peak = {key: max(one[key] for one in own) for key in ("peak_mib", "ours_peak_mib")}
    rows.append({
        "case": case, "peer": peer, "fault": None, **cost, **peak, "checks": own[0]["checks"],
        "goal": "no more time and memory",
        "holds": cost["ours_seconds"] <= cost["seconds"] and peak["ours_peak_mib"] <= peak["peak_mib"],
    })  # fmt: skip
    return rows
