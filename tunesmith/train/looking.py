"""Between steps: predictions of rows that are not learned from, to judge by and for a person to watch.

It knows no modality.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from tunesmith.run import jsonable
from tunesmith.train.inference import Predict, predict_rows
from tunesmith.train.saving import save_best

if TYPE_CHECKING:
    from tunesmith.train.loop import Loop

SAMPLES = "samples"
"""The folder of a run that takes what is said of the sample rows: ``step-000120.json``."""


def predicted(loop: Loop, name: str, predict: Predict) -> list[Any]:
    """Predictions for a row set as the weights are now, from the cache where that can stand in."""
    job, loader, cache = loop.job, loop.job.sets[name], loop.cache
    recorded = cache is not None and name in cache.request.sets
    replay = recorded and (job.task.one_pass or predict != job.task.predict)
    with cache.whole() if cache is not None and not replay else nullcontext():
        return predict_rows(
            job.model,
            predict,
            loader,
            loader.lengths,
            job.engine,
            rows=job.recipe.batch.eval_rows,
            around=cache.around(name) if cache is not None and replay else None,
            slow=not job.task.one_pass and predict == job.task.predict,
            on_progress=lambda done, total: job.progress(f"predicting {name.replace('_', ' ')} rows", done, total),
        )


def evaluate(loop: Loop, index: int, epoch: float) -> None:
    """Score the rows that are watched; where they are the validation rows, keep the weights that are the best so far.

    Held-out rows are watched for a person: by them no weights are chosen.
    """
    loop.wanted.discard("evaluate")
    name = loop.job.watched
    if name not in loop.job.sets:
        return
    task = loop.job.task
    with loop.averaged():
        scores = task.score(predicted(loop, name, task.validate), loop.job.sets[name].rows)
        goal = scores[task.validation_metric[0]]
        sign = 1 if task.validation_metric[1] else -1
        best = loop.at.best
        better = name == "validation" and (best is None or sign * goal > sign * best["score"])
        if better:
            loop.at.best = {"score": goal, "step": loop.at.step, "stage": index, "epoch": epoch}
            save_best(loop)
    told = {"kind": "eval", "stage": index, "step": loop.at.step, "epoch": epoch, "scores": scores, "best": better}
    loop.emit(told if name == "validation" else told | {"rows": name})


def look(loop: Loop, epoch: int, *, last: bool = False) -> None:
    """Predict the sample rows where it is time, and keep what is said in the run's folder.

    Args:
        loop: At the end of an epoch, or before the first step.
        epoch: Epochs of the stage that are done.
        last: Whether the stage ends here.
    """
    job = loop.job
    if "samples" not in job.sets or (epoch == 0 and loop.at.step > 0):
        return
    every = job.task.sample_epochs
    if not last and int(epoch / every) == int((epoch - 1) / every) and epoch > 0:
        return
    file = job.checkpoints.parent / SAMPLES / f"step-{loop.at.step:06d}.json"
    if epoch == 0:
        job.model.to(job.engine.device)
    with loop.averaged():
        found = predicted(loop, "samples", job.task.predict)
    if job.engine.main:
        file.parent.mkdir(exist_ok=True)
        draft = file.with_name(f".{file.name}")
        draft.write_text(json.dumps(jsonable(found)), encoding="utf-8")
        draft.replace(file)
    loop.emit({"kind": "samples", "stage": loop.at.stage, "step": loop.at.step, "file": f"{SAMPLES}/{file.name}"})
