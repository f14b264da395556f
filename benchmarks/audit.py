"""The audit on data that was damaged at known rows: precision and recall of each fault, seconds and memory, and peers.

    python benchmarks/audit.py [--quick] [--json] [--cases text,pictures,...] [--again]

A case is a world of `audit_faults`: clean real data, damaged by seed in a temporary folder. ``tunesmith audit`` runs on
it twice in processes of its own, with an empty cache and then with what it kept, and what its findings mark is held
against the truth. A fault's recall is the share of its cases that were marked; its precision the share of right marks
among those of the same codes. Faults that lie so near to each other that a mark of one is right for the other
(``ALLIED``) do not count against it. Peers (`audit_peers`) judge the same rows: Datalab on the features that ours has,
cleanvision on the same files. ``end-effect/...``: the same recipe trained on damaged rows, on the copy that ``--fix``
wrote, and on the clean rows, judged on the same clean held-out rows. ``million``: a million short rows of text.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.harness import RESULTS, machine

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("torch", "numpy", "Pillow", "scikit-learn", "cleanlab", "cleanvision")
PEERS = Path(__file__).parent / "audit_peers.py"
SHOWN = 8


@dataclass(frozen=True)
class Goal:
    """What the issue asks of a fault."""

    recall: float
    precision: float | None = None


SURE = Goal(0.99, 0.99)
WHOLE = Goal(1.0, 0.99)
FLIPS = {"flips": Goal(0.8, 0.6)}

REPEATED = ("duplicate-rows", "repeated-picture", "repeated-audio")
NEAR = ("near-duplicates", "near-repeated-picture", "near-repeated-audio")
LEAKED = ("leak", "picture-leak", "audio-in-both-splits")
NEAR_LEAKED = ("near-leak", "near-picture-leak", "near-audio-leak")
KINDS = ("case", "punctuation", "space", "word", "jpeg", "crop", "resize", "brightness", "vorbis", "gain")
"""Of near repeats."""
CODES: dict[str, tuple[str, ...]] = {
    "flips": ("label-errors",),
    "outlier": ("outliers",),
    "exact": REPEATED,
    "leak-exact": LEAKED,
    **{f"near-{kind}": NEAR for kind in KINDS},
    **{f"leak-near-{kind}": NEAR_LEAKED for kind in KINDS},
    "leak-group": ("group-leak", "speaker-in-both-splits"),
    "mojibake": ("encoding-damage",),
    **dict.fromkeys(("e-mail", "phone", "card"), ("personal-data",)),
    "secret": ("secrets",),
    "leftover": ("template-leftovers",),
    "overlap": ("evaluation-overlap",),
    "refusal": ("refusals",),
    **dict.fromkeys(("contradiction", "asked-twice"), ("contradictory-answers",)),
    "unreadable": ("unreadable-picture", "unreadable-audio"),
    "blurred": ("blurred-picture",),
    "dark": ("dark-picture",),
    "bright": ("bright-picture",),
    "low-information": ("low-information-picture", "empty-picture"),
    "turned": ("turned-picture",),
    "transcript-swapped": ("swapped-transcripts", "wrong-transcript"),
    "caption-swapped": ("swapped-captions", "caption-misfit"),
    "caption-empty": ("empty-caption", "file-name-caption"),
    **dict.fromkeys(("box-shifted", "box-dropped", "box-swapped"), ("box-errors",)),
    "box-doubled": ("doubled-box",),
    "box-tiny": ("tiny-box",),
    **dict.fromkeys(("mask-swapped", "mask-shifted", "mask-dropped"), ("mask-errors",)),
}
"""Codes of findings that tell of a fault. A mark of an exact code is right for a near fault, too."""
ALSO: dict[str, tuple[str, ...]] = {
    fault: REPEATED if codes == NEAR else LEAKED for fault, codes in CODES.items() if codes in (NEAR, NEAR_LEAKED)
}
"""Codes that count for a fault's recall, and not against its precision where they are wrong."""
DOUBTED: dict[str, tuple[str, ...]] = {"flips": ("label-doubts",)}
"""Codes of rows that may have a fault: beside a peer they follow those that are said to have it."""
ALLIED: tuple[frozenset[str], ...] = (
    frozenset({"leak-group", "leak-exact"}),
    frozenset({"odd-size", "odd-aspect"}),
    frozenset({"dark", "low-information"}),
    frozenset({"bright", "low-information"}),
    frozenset({"blurred", "low-information"}),
    frozenset({"box-shifted", "box-dropped", "box-swapped", "box-doubled"}),
    frozenset({"mask-shifted", "mask-dropped", "mask-swapped"}),
    frozenset({"transcript-swapped", "silent", "noisy", "clipped", "unreadable"}),
)
"""Faults that can be told for each other."""


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


def places(mark: Mapping[str, Any]) -> tuple[str, str | None]:
    """``side:row`` of a mark, and of its twin."""
    return f"{mark['side']}:{mark['row']}", mark.get("twin")


def score(
    marks: Sequence[Mapping[str, Any]], cases: Sequence[Sequence[str]], *, also: Sequence[Mapping[str, Any]] = (),
    family: Iterable[Sequence[str]] = (), spared: Iterable[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """Hold marks against the truth.

    Args:
        marks: What was found, the surest first.
        cases: What was planted.
        also: Marks that count for recall alone.
        family: Cases of other faults that the same codes tell of: marks of them are right.
        spared: Places where a mark is right for a reason of its own.

    Returns:
        ``planted``, ``found`` (cases), ``marked`` (marks that count), ``right`` (of them), ``missed`` and ``wrong``.
    """
    every = [*cases, *family]
    by_place: dict[str, list[int]] = {}
    for number, case in enumerate(every):
        for place in case:
            by_place.setdefault(place, []).append(number)

    def told(mark: Mapping[str, Any]) -> list[int]:
        place, twin = places(mark)
        numbers = by_place.get(place, [])
        if twin is None:
            return numbers
        return [number for number in numbers if len(every[number]) == 1 or twin in every[number]]

    spare, found, wrong, right = set(spared), set[int](), [], 0
    for mark in marks:
        if numbers := told(mark):
            right += 1
            found.update(numbers)
        elif places(mark)[0] not in spare:
            wrong.append(mark)
    for mark in also:
        found.update(told(mark))
    missed = [cases[number] for number in range(len(cases)) if number not in found]
    return {
        "planted": len(cases), "found": len(cases) - len(missed), "marked": right + len(wrong), "right": right,
        "missed": [" ".join(case) for case in missed[:SHOWN]],
        "wrong": [" ".join(filter(None, places(mark))) + f" {mark.get('note') or ''}" for mark in wrong[:SHOWN]],
    }  # fmt: skip


def pooled(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The counts of several worlds put together, with recall and precision."""
    total: dict[str, Any] = {key: sum(one[key] for one in scores) for key in ("planted", "found", "marked", "right")}
    total["recall"] = round(total["found"] / total["planted"], 4) if total["planted"] else None
    total["precision"] = round(total["right"] / total["marked"], 4) if total["marked"] else None
    total |= {key: [text for one in scores for text in one[key]][:SHOWN] for key in ("missed", "wrong")}
    return total


def marks_of(report: Mapping[str, Any], codes: Iterable[str]) -> list[Mapping[str, Any]]:
    """The marks of findings with some codes; findings of every run have none."""
    wanted = set(codes)
    unique: dict[tuple[str, str | None], Mapping[str, Any]] = {}
    for found in report["findings"]:
        if found["code"] in wanted:
            for mark in found.get("marks", ()):
                # Two codes may say the same of a row.
                unique.setdefault(places(mark), mark)
    return list(unique.values())


def marked_by_code(report: Mapping[str, Any]) -> dict[str, int]:
    """How many marks each code has."""
    counts: dict[str, int] = {}
    for found in report["findings"]:
        counts[found["code"]] = counts.get(found["code"], 0) + len(found.get("marks", ()))
    return counts


def judged(report: Mapping[str, Any], faults: Mapping[str, Sequence[Sequence[str]]]) -> dict[str, dict[str, Any]]:
    """Each fault's marks held against the truth."""
    made = {}
    for fault, cases in faults.items():
        codes, also = CODES.get(fault, (fault,)), ALSO.get(fault, ())
        # A mark of a near repeat says not how it came to be: it is right for all faults of its codes.
        same = [other for other in faults if CODES.get(other, (other,)) == codes and other != fault]
        near = [other for other in faults if other in allied(fault) or set(CODES.get(other, ())) & set(also)]
        made[fault] = score(
            marks_of(report, codes), cases, also=marks_of(report, also),
            family=[case for other in same for case in faults[other]],
            spared={place for other in near for case in faults[other] for place in case},
        )  # fmt: skip
    return made


def allied(fault: str) -> set[str]:
    """Faults that can be told for this one."""
    return {other for group in ALLIED if fault in group for other in group}


@dataclass(frozen=True)
class Ran:
    """A process that came to its end."""

    code: int
    seconds: float
    cpu_seconds: float
    peak_mib: float
    out: str
    err: str


def ran(command: Sequence[str], cache: Path, folder: Path) -> Ran:
    """Run a command in a process of its own, with a cache: its seconds, and the most that it held resident."""
    env = os.environ | {"TUNESMITH_CACHE": str(cache), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    files = folder / "stdout.txt", folder / "stderr.txt"
    with files[0].open("wb") as out, files[1].open("wb") as err:
        began = time.perf_counter()
        child = subprocess.Popen(command, stdout=out, stderr=err, env=env, cwd=ROOT)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
    texts = [file.read_text(encoding="utf-8", errors="replace") for file in files]
    cpu = round(usage.ru_utime + usage.ru_stime, 2)
    return Ran(child.returncode, round(seconds, 2), cpu, round(usage.ru_maxrss / 1024, 1), *texts)


def audited(
    world: Mapping[str, Any], cache: Path, folder: Path, checks: Sequence[str], *more: str
) -> tuple[dict[str, Any], Ran]:
    """What ``tunesmith audit`` says of a world, and what that took."""
    only = [part for check in checks for part in ("--only", check)]
    command = [sys.executable, "-m", "tunesmith", "audit", world["recipe"], "--json", *world["arguments"], *only, *more]
    done = ran(command, cache, folder)
    if done.code not in (0, 1) or not done.out.startswith("{"):
        raise RuntimeError(f"{' '.join(command[2:])}: exit {done.code}: {done.err.strip()[-1500:]}")
    return dict(json.loads(done.out)), done


def made_world(name: str, folder: Path, seed: int, quick: bool) -> dict[str, Any]:
    """A world, made in a process of its own so that this one stays small."""
    command = [sys.executable, str(ROOT / "benchmarks" / "audit_faults.py"), name, str(folder), "--seed", str(seed)]
    done = subprocess.run(
        [*command, *(["--quick"] if quick else [])], check=False, capture_output=True, text=True, cwd=ROOT
    )
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr.strip()[-1500:]}")
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    return truth | {"recipe": str(folder / "recipe.yaml"), "folder": str(folder)}


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
    cost = {"case": name, "fault": None, **costs[0], "seconds": _mean(costs, "seconds"), "again": _mean(costs, "again"),
            "peak_mib": max(one["peak_mib"] for one in costs), "worlds": len(costs),
            "goal": None, "holds": None}  # fmt: skip
    return [*rows, cost, *(row for peer, own in peers.items() for row in peer_rows(name, peer, own))]


def _mean(costs: Sequence[Mapping[str, Any]], key: str) -> float:
    return round(sum(one[key] for one in costs) / len(costs), 2)


def held(total: Mapping[str, Any], goal: Goal | None) -> dict[str, Any]:
    """Whether a goal holds."""
    if goal is None:
        return {"goal": None, "holds": None}
    exact = goal.precision is None or (total["precision"] or 0) >= goal.precision
    return {
        "goal": {"recall": goal.recall, "precision": goal.precision},
        "holds": total["recall"] >= goal.recall and exact,
    }


# Peers

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
    cost = {key: _mean(own, key) for kind in kinds for key in (kind, f"ours_{kind}")}
    peak = {key: max(one[key] for one in own) for key in ("peak_mib", "ours_peak_mib")}
    rows.append({
        "case": case, "peer": peer, "fault": None, **cost, **peak, "checks": own[0]["checks"],
        "goal": "no more time and memory",
        "holds": cost["ours_seconds"] <= cost["seconds"] and peak["ours_peak_mib"] <= peak["peak_mib"],
    })  # fmt: skip
    return rows


# The end effect, and a million rows

TRAINED = {
    "text": [{"train": "head", "epochs": 10, "lr": 1e-3}, {"train": {"top": 2}, "epochs": 3, "lr": 2e-4}],
    "pictures": [{"train": "head", "epochs": 10, "lr": 3e-3}, {"train": {"top": 4}, "epochs": 6, "lr": 3e-4}],
}
WORLDS = {"text": "text/flips-20", "pictures": "pictures/flips-20"}


def end_effect(kind: str, quick: bool) -> list[dict[str, Any]]:
    """The same recipe on damaged rows, on the copies that ``--fix`` writes, and on the clean rows."""
    import numpy as np

    right: dict[str, list[Any]] = {}
    logs: dict[str, list[int]] = {}
    for seed in range(1 if quick else 3):
        with tempfile.TemporaryDirectory(prefix="benchmark-") as place:
            folder = Path(place)
            world = made_world(WORLDS[kind], folder / "world", seed, quick)
            recipe = folder / "world" / "recipe.yaml"
            told = json.loads(recipe.read_text(encoding="utf-8"))
            stages = [one | ({"epochs": 1} if quick else {}) for one in TRAINED[kind]]
            recipe.write_text(json.dumps(told | {"stages": stages}), encoding="utf-8")
            arms = {"damaged": recipe, "clean": folder / "clean" / "recipe.yaml"}
            for name, more in (("fixed", ()), ("relabelled", ("--relabel",))):
                target = folder / name
                codes = [part for code in CODES["flips"] for part in ("--codes", code)]
                command = [sys.executable, "-m", "tunesmith", "audit", str(recipe), "--json", "--only", "labels"]
                done = ran([*command, "--fix", str(target), *codes, *more], folder / "cache", folder)
                if done.code not in (0, 1):
                    raise RuntimeError(f"--fix: exit {done.code}: {done.err.strip()[-1500:]}")
                arms[name] = target / "recipe.yaml"
                logs.setdefault(name, []).append(_changed_rows(target))
            undamaged(kind, world, recipe, folder / "clean")
            for name, file in arms.items():
                right.setdefault(name, []).append(_trained(name, file, folder))
    rows = []
    damaged = np.concatenate(right["damaged"])
    draws = np.random.default_rng(0).integers(len(damaged), size=(2_000, len(damaged)))
    for name in ("fixed", "relabelled", "clean"):
        gain = np.concatenate(right[name]).astype(float) - damaged
        low, high = (float(v) for v in np.percentile(gain[draws].mean(1), (2.5, 97.5)))
        rows.append({
            "case": f"end-effect/{kind}", "fault": name,
            "accuracy": round(float(np.concatenate(right[name]).mean()), 4),
            "damaged": round(float(damaged.mean()), 4), "gain": round(float(gain.mean()), 4),
            "interval": [round(low, 4), round(high, 4)], "rows": len(damaged), "changed_rows": logs.get(name),
            "goal": None if name == "clean" else "above 0", "holds": None if name == "clean" else low > 0,
        })  # fmt: skip
    return rows


def undamaged(kind: str, world: Mapping[str, Any], recipe: Path, folder: Path) -> None:
    """The world's rows with their true labels, and the same recipe for them."""
    from benchmarks.audit_faults import sentiment, write_csv

    told = json.loads(recipe.read_text(encoding="utf-8"))
    source = Path(world["folder"])
    folder.mkdir()
    if kind == "text":
        import csv

        labels = {row["id"]: row["label"] for row in sentiment()}
        with (source / "train.csv").open(encoding="utf-8", newline="") as stream:
            rows = [row | {"label": labels[row["id"]]} for row in csv.DictReader(stream)]
        write_csv(folder / "train.csv", rows)
        told["data"]["train"] = str(folder / "train.csv")
    else:
        from hashlib import sha256

        from benchmarks.audit_faults_media import PICTURES

        true = {
            sha256(file.read_bytes()).digest(): file.parent.name for file in (PICTURES / "stamps/train").glob("*/*")
        }
        for file in (source / "train").glob("*/*"):
            target = folder / "train" / true[sha256(file.read_bytes()).digest()] / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        told["data"]["train"] = str(folder / "train")
    (folder / "recipe.yaml").write_text(json.dumps(told), encoding="utf-8")


def _changed_rows(folder: Path) -> int:
    """How many rows the log of a fixed copy names."""
    logs = (folder / "removed.jsonl", folder / "changed.jsonl")
    return sum(len(file.read_text(encoding="utf-8").splitlines()) for file in logs if file.is_file())


def _trained(name: str, recipe: Path, folder: Path) -> Any:
    """Whether each held-out row is predicted right, in the order of their ids, by a model trained by a recipe."""
    import numpy as np

    runs = folder / "runs"
    command = [
        sys.executable,
        "-m",
        "tunesmith",
        "train",
        str(recipe),
        f"run.folder={runs}",
        f"run.name={name}",
        "--json",
    ]
    done = ran(command, folder / "cache", folder)
    if done.code:
        raise RuntimeError(f"train {name}: exit {done.code}: {done.err.strip()[-1500:]}")
    lines = (runs / name / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = sorted((json.loads(line) for line in lines), key=lambda row: str(row["id"]))
    return np.array([is_right(row) for row in rows])


def is_right(row: Mapping[str, Any]) -> bool:
    """Whether a written prediction of the tuned model is the label."""
    return str(row["tuned"]["label"]) == str(row["row"]["label"])


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


# Cases

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


def table(report: Mapping[str, Any]) -> str:
    """The report for a terminal."""
    lines = [f"{'case':<20}{'fault':<24}{'planted':>8}{'recall':>8}{'precision':>10}{'goal':>13}  "]
    for row in report["results"]:
        mark = {None: "", True: "holds", False: "MISSED"}[row["holds"]]
        name = f"{row['case']:<20}" if not row.get("peer") else f"  {row['peer']:<18}"
        if row.get("reason"):
            lines.append(f"{name}{row['reason']}")
        elif "gain" in row:
            low, high = row["interval"]
            lines.append(f"{name}{row['fault']:<24}{row['accuracy']:.1%} for {row['damaged']:.1%}: "
                         f"{row['gain']:+.1%} [{low:+.1%}, {high:+.1%}]  {mark}")  # fmt: skip
        elif row["fault"] is None:
            ours = (
                f", ours {row['ours_seconds']:.1f} s, {row['ours_peak_mib']:.0f} MiB" if "ours_seconds" in row else ""
            )
            again = f", again {row['again']:.1f} s" if row.get("again") is not None else ""
            lines.append(f"{name}{row['seconds']:.1f} s{again}, {row['peak_mib']:.0f} MiB{ours}  {mark}")
        else:
            recall, precision = (("-" if row[k] is None else f"{row[k]:.3f}") for k in ("recall", "precision"))
            goal = row["goal"]
            wanted = f"{goal['recall']} / {goal['precision'] or '-'}" if isinstance(goal, Mapping) else ""
            ours = f"ours {row['ours_recall']:.3f} / {row['ours_precision'] or 0:.3f}" if row.get("peer") else ""
            lines.append(
                f"{name}{row['fault']:<24}{row['planted']:>8}{recall:>8}{precision:>10}{wanted:>13}  {ours} {mark}"
            )
    size = "quick: small sizes, no figure to quote" if report["quick"] else "full size"
    return "\n".join([*lines, f"({size}; {report['machine']['cpu']}, {report['machine']['threads']} threads)"])


def kept_rows(cases: Sequence[str]) -> list[dict[str, Any]]:
    """The kept rows of other cases than these."""
    file = RESULTS / "audit.json"
    if not file.is_file():
        return []
    return [row for row in json.loads(file.read_text(encoding="utf-8"))["results"] if row["case"] not in cases]


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two cases, small; writes nothing")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--cases", default="", help=f"those whose name begins so, with commas: {', '.join(CASES)}")
    parser.add_argument("--again", action="store_true", help="put the rows of these cases in place of the kept ones")
    given = parser.parse_args(argv)
    wanted = tuple(filter(None, given.cases.split(",")))
    cases = [name for name in CASES if (name.startswith(wanted) if wanted else name in QUICK or not given.quick)]
    if not cases:
        parser.error(f"there is no case {given.cases!r}; write some of {','.join(CASES)}")
    rows: list[dict[str, Any]] = []
    for case in cases:
        print(f"{case} ...", file=sys.stderr, flush=True)
        rows += rows_of(case, given.quick)
    from tunesmith.machine import package_versions

    if given.again and not given.quick:
        kept = kept_rows(cases)
        rows = sorted([*kept, *rows], key=lambda row: list(CASES).index(row["case"]))
    report = {
        "benchmark": "audit", "quick": given.quick, "machine": machine(),
        "versions": package_versions(["tunesmith", *VERSIONS]), "results": rows,
    }  # fmt: skip
    if not given.quick and (given.again or cases == list(CASES)):
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / "audit.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1) if given.json else table(report))
    return report


if __name__ == "__main__":
    main()
