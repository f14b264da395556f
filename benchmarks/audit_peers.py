"""Peers of the audit on the same damaged data, each in a process of its own: cleanlab's Datalab, and cleanvision.

    python benchmarks/audit_peers.py features|datalab|cleanvision WORLD OUT.json

``features`` writes the features that our own audit has of a world's rows, beside OUT, for Datalab to be given.
``datalab`` judges labels on probabilities that scikit-learn's logistic regression predicts in five folds of those
features, as its tutorials have it, and near repeats on the features of both sides. ``cleanvision`` reads the pictures
of both sides; those that can't be read are left out, since it stops at them. OUT gets marks as our findings have them,
by the peer's name of the issue, and the seconds of the work without the start of the process.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

Mark = dict[str, Any]


def features(world: Path, out: Path) -> None:
    """Our features of a world's rows as ``.npz`` beside ``out``: ``train``, ``eval``, ``places``, ``labels``."""
    import numpy as np

    from tunesmith.audit.data import AuditData
    from tunesmith.audit.features import features_of
    from tunesmith.audit.kept import Kept
    from tunesmith.prepare import prepare
    from tunesmith.recipe import read_recipe

    # Nothing but accepted findings lets a recipe with leaks come so far.
    accept = [f"audit.accept.{code}=planted" for code in ("leak", "duplicate-rows", "contradictory-labels")]
    prepared = prepare(read_recipe(world / "recipe.yaml", accept))
    data = AuditData(prepared, Kept())
    found = features_of(data)
    if found is None or not found.whole:
        raise SystemExit("there are no features of all rows")
    places = [f"{side}:{row['id']}" for side, rows in data.sides.items() for row in rows]
    label = data.label
    labels = [str(row[label]) if label else "" for row in data.sides["train"]]
    np.savez(out.with_suffix(".npz"), train=found.train, eval=found.eval, places=places, labels=labels)


def datalab(world: Path, out: Path) -> float:
    """Datalab on our features; seconds."""
    import numpy as np

    with np.load(out.with_suffix(".npz")) as kept:
        train, held_out, places, labels = (kept[name] for name in ("train", "eval", "places", "labels"))
    truth = json.loads((world / "truth.json").read_text(encoding="utf-8"))
    from cleanlab import Datalab
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    began = time.perf_counter()
    marks: dict[str, list[Mark]] = {}
    if "flips" in truth["faults"]:
        probabilities = cross_val_predict(
            LogisticRegression(max_iter=1_000), train, labels, cv=5, method="predict_proba"
        )
        lab = Datalab(data={"label": list(labels)}, label_name="label", verbosity=0)
        lab.find_issues(pred_probs=probabilities, features=train, issue_types={"label": {}})
        table = lab.get_issues("label")
        marked = [int(i) for i in np.flatnonzero(table["is_label_issue"].to_numpy())]
        scores = 1 - table["label_score"].to_numpy()
        marks["label"] = ranked([mark(str(places[i]), float(scores[i])) for i in marked])
    if truth["faults"].keys() & {"exact", "leak-exact"}:
        every = np.concatenate([train, held_out])
        lab = Datalab(data={"row": list(range(len(every)))}, verbosity=0)
        lab.find_issues(features=every, issue_types={"near_duplicate": {}})
        table = lab.get_issues("near_duplicate")
        sets = table["near_duplicate_sets"].tolist()
        marked = [int(i) for i in np.flatnonzero(table["is_near_duplicate_issue"].to_numpy())]
        scores = 1 - table["near_duplicate_score"].to_numpy()
        marks["near_duplicate"] = ranked(
            [mark(str(places[i]), float(scores[i]), str(places[int(sets[i][0])])) for i in marked if len(sets[i])]
        )
    if "outlier" in truth["faults"]:
        lab = Datalab(data={"row": list(range(len(train)))}, verbosity=0)
        lab.find_issues(features=train, issue_types={"outlier": {}})
        table = lab.get_issues("outlier")
        marked = [int(i) for i in np.flatnonzero(table["is_outlier_issue"].to_numpy())]
        scores = 1 - table["outlier_score"].to_numpy()
        marks["outlier"] = ranked([mark(str(places[i]), float(scores[i])) for i in marked])
    return finish(out, marks, time.perf_counter() - began)


CLEANVISION = ("dark", "light", "blurry", "low_information", "odd_size", "odd_aspect_ratio")


def cleanvision(world: Path, out: Path) -> float:
    """Cleanvision on the pictures of both sides; seconds."""
    from PIL import Image

    truth = json.loads((world / "truth.json").read_text(encoding="utf-8"))
    broken = {case[0] for case in truth["faults"].get("unreadable", ())}
    files = {
        str(file): f"{side}:{file.relative_to(world / side).as_posix()}"
        for side in ("train", "eval")
        for file in sorted((world / side).rglob("*"))
        if file.suffix in Image.registered_extensions()
    }
    files = {file: place for file, place in files.items() if place not in broken}
    from cleanvision import Imagelab

    doubles = bool(truth["faults"].keys() & {"exact", "leak-exact"})
    began = time.perf_counter()
    lab = Imagelab(filepaths=list(files))
    wanted = ("exact_duplicates", "near_duplicates") if doubles else CLEANVISION
    lab.find_issues({name: {} for name in wanted}, verbose=False)
    marks: dict[str, list[Mark]] = {}
    for name in wanted:
        if doubles:
            marks[name] = [
                mark(files[one], 1.0, files[group[0]]) for group in lab.info[name]["sets"] for one in group[1:]
            ]
        else:
            table = lab.issues[lab.issues[f"is_{name}_issue"]]
            marks[name] = ranked([mark(files[str(f)], 1 - float(s)) for f, s in table[f"{name}_score"].items()])
    return finish(out, marks, time.perf_counter() - began)


def mark(place: str, score: float, twin: str | None = None) -> Mark:
    """A marked row, as our findings have it."""
    side, _, row = place.partition(":")
    return {"row": row, "side": side, "score": score, "twin": twin}


def ranked(marks: list[Mark]) -> list[Mark]:
    """The surest first."""
    return sorted(marks, key=lambda one: -one["score"])


def finish(out: Path, marks: dict[str, list[Mark]], seconds: float) -> float:
    """Write what was found."""
    out.write_text(json.dumps({"marks": marks, "seconds": round(seconds, 3)}), encoding="utf-8")
    return seconds


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    work = {"features": features, "datalab": datalab, "cleanvision": cleanvision}[sys.argv[1]]
    work(Path(sys.argv[2]), Path(sys.argv[3]))
