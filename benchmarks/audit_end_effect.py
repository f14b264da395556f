"""The end effect of an audit: a recipe trained on damaged rows, on the copies that ``--fix`` writes, on the clean rows.

All are judged on the same clean held-out rows.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.audit_runs import made_world, ran
from benchmarks.audit_scores import CODES

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
    from benchmarks.audit_faults_text import sentiment
    from benchmarks.audit_worlds import write_csv

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
