"""What a report shows of generated pictures: base beside tuned, samples by step, the metrics, the real pictures.

It knows rows, predictions and their scores; no model and no page (``report.panels`` says what a panel is). Pictures
stand inside the report, small, so that it is one file of a few megabytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tunesmith.diffusion.encoders import Picture
from tunesmith.diffusion.scores import METRICS, Compared, Criteria, GenerationScores, overfitting, unpack_picture
from tunesmith.pictures.draw import fitted
from tunesmith.pictures.panels import chosen_rows, gallery_item, gallery_panel, shown_picture
from tunesmith.types import Row

Json: TypeAlias = dict[str, Any]

SHOWN = 6
"""Cards in a gallery."""

MOST_REFERENCES = 12
"""Real pictures that are shown."""

MOST_STEPS = 8
"""Steps that the development strip shows, the first and the last among them."""

STRIP_SIDE = 240
"""Most pixels of a side in the strip."""

UNRESAMPLED = {"highest_training": "nearest training picture, of all rows"}
"""Scores without an interval: a maximum has none that a bootstrap could give."""

WORDS = {
    "subject_fidelity": "subject",
    "leakage": "subject",
    "prompt_fidelity": "prompt",
    "other_prompt_fidelity": "prompt",
    "picture_fidelity": "own picture",
    "other_picture_fidelity": "own picture",
}
"""What stands under a picture, in this order, each with its cosine."""


def generation_panels(
    base: GenerationScores | None,
    tuned: GenerationScores,
    *,
    found: Sequence[Compared] = (),
    samples: Sequence[Mapping[str, Any]] = (),
    sample_rows: Sequence[Row] = (),
    seed: int = 0,
    shown: int = SHOWN,
) -> list[Json]:
    """Every panel of a run, those that have something to show.

    Args:
        base: Scores of the base model's pictures of the held-out rows; None where there is no base.
        tuned: Of the tuned model's.
        found: From ``compared``; the table has no intervals without it.
        samples: ``{"step": int, "predictions": [...]}`` of the same prompts and seeds, by step.
        sample_rows: The samples' rows.
        seed: Of the random rows.
        shown: Cards in each gallery.
    """
    return [
        *sample_galleries(base, tuned, seed=seed, shown=shown),
        *development_panels(sample_rows, samples, tuned.criteria),
        metrics_table(base, tuned, found),
        *reference_panels(tuned.criteria),
    ]


def sample_galleries(
    base: GenerationScores | None, tuned: GenerationScores, *, seed: int = 0, shown: int = SHOWN
) -> list[Json]:
    """Base beside tuned, prompt and scores underneath: the worst rows, other prompts that lost most, random rows.

    Rows with the token are judged by subject fidelity (by fidelity to the prompt or the own picture, where there is no
    subject). Other rows are the worse the more of that fidelity the tuned model lost.

    Args:
        base: Of the base model, on the same rows; None where there is none.
        tuned: Of the tuned model.
        seed: Of the random rows.
        shown: Cards in each gallery.
    """
    card, count = _cards(base, tuned), len(tuned.rows)
    panels: list[tuple[str, str, list[int]]] = []
    judged = next((n for n in ("subject_fidelity", "prompt_fidelity", "picture_fidelity") if _known(tuned, n)), None)
    if judged is not None:
        order = _lowest_first(tuned.measures[judged])
        worst = order[:shown]
        note = f"{len(worst)} of {len(order)} held-out rows, the lowest first: {METRICS[judged].about}, tuned."
        panels.append(("Worst pictures, tuned", note, worst))
    lost = next((n for n in ("other_prompt_fidelity", "other_picture_fidelity") if base and _known(tuned, n)), None)
    if lost is not None and base is not None:
        change = tuned.measures[lost] - base.measures[lost]
        order = _lowest_first(change)
        fallen = [n for n in order if change[n] < 0]
        word = METRICS[lost].label.split(",")[0]
        note = f"Prompts without the token: {word} fell in {len(fallen)} of {len(order)}, the largest fall first."
        panels.append(("Other prompts that lost most", note, fallen[:shown]))
    drawn = chosen_rows(np.ones(count), seed, shown)[1]
    panels.append(("Pictures at random", f"{len(drawn)} of {count} held-out rows, whatever came of them.", drawn))
    return [gallery_panel(title, note, [card(n) for n in numbers]) for title, note, numbers in panels if numbers]


def _lowest_first(values: NDArray[np.float64]) -> list[int]:
    """Numbers of the rows that have a value, by it."""
    return [int(n) for n in np.argsort(values, kind="stable") if not np.isnan(values[n])]


def _known(scores: GenerationScores, metric: str) -> bool:
    return not np.isnan(scores.measures[metric]).all()


def _cards(base: GenerationScores | None, tuned: GenerationScores) -> Callable[[int], Json]:
    """A row's card: its own picture, else the nearest that was learned from; base; tuned."""
    criteria = tuned.criteria

    def card(number: int) -> Json:
        row = tuned.rows[number]
        pictures = []
        own = criteria.picture_of(row)
        if own is not None:
            pictures.append(_shown("its own picture", own))
        elif tuned.with_token[number] and tuned.copied[number] >= 0:
            learned = criteria.learned[int(tuned.copied[number])]
            pictures.append(_shown("training picture", learned, f"nearest to tuned, {tuned.near[number]:.2f}"))
        for name, scores in (("base", base), ("tuned", tuned)):
            if scores is not None:
                words = caption(scores.of_row(number))
                pictures.append(_shown(name, unpack_picture(scores.predictions[number]), words))
        return gallery_item(row, pictures, detail={"prompt": str(row.get("text") or "")})

    return card


def caption(measures: Mapping[str, float]) -> str:
    """A row's cosines in words: ``subject 0.81, prompt 0.27``."""
    return ", ".join(f"{word} {measures[name]:.2f}" for name, word in WORDS.items() if name in measures)


def _shown(name: str, picture: Picture, words: str = "", side: int | None = None) -> Json:
    image = Image.fromarray(picture)
    return shown_picture(name, fitted(image) if side is None else fitted(image, side, side), words)


def development_panels(
    rows: Sequence[Row], samples: Sequence[Mapping[str, Any]], criteria: Criteria | None = None
) -> list[Json]:
    """How the same prompts and seeds come out as the model learns: a strip a prompt, and curves of their fidelity.

    Args:
        rows: Of the prompts.
        samples: ``{"step": int, "predictions": [...]}``, a prediction a row; step 0 is the base.
        criteria: Scores the samples; None: no scores, no curves.
    """
    ordered = sorted(samples, key=lambda one: int(one["step"]))
    if not ordered or not rows:
        return []
    steps = [int(one["step"]) for one in ordered]
    rated = [criteria.rate(one["predictions"], rows) for one in ordered] if criteria is not None else None
    shown = sorted({round(at) for at in np.linspace(0, len(ordered) - 1, min(len(ordered), MOST_STEPS))})
    items = []
    for number, row in enumerate(rows):
        pictures = []
        for at in shown:
            words = caption(rated[at].of_row(number)) if rated is not None else ""
            picture = unpack_picture(ordered[at]["predictions"][number], f"step {steps[at]}, row {row.get('id')}")
            pictures.append(_shown(f"step {steps[at]:,}", picture, words, STRIP_SIDE))
        items.append(gallery_item(row, pictures, detail={"prompt": str(row.get("text") or "")}))
    note = "The same prompts and seeds as the model learns; step 0 is the base."
    if len(shown) < len(ordered):
        note += f" {len(shown)} of {len(ordered)} times."
    strip = gallery_panel("Samples by step", note, items) | {"strip": True}
    return [strip, *_curves(steps, rated or [])]


def _curves(steps: Sequence[int], rated: Sequence[GenerationScores]) -> list[Json]:
    """Fidelity of the samples over steps; nothing of one step alone."""
    if len(rated) < 2:
        return []
    values = [one.scores() for one in rated]
    series = []
    for name in ("subject_fidelity", "prompt_fidelity", "picture_fidelity", "diversity"):
        points = [[step, found[name]] for step, found in zip(steps, values, strict=True) if name in found]
        if len(points) == len(steps):
            series.append({"name": METRICS[name].label if name in METRICS else name, "points": points})
    if not series:
        return []
    note = "Of the samples by step; diversity is 1 minus cosine."
    if any(one["name"] == METRICS["prompt_fidelity"].label for one in series):
        note += " Where fidelity to the prompt sinks, training has gone on for too long."
    return [{"kind": "lines", "title": "Fidelity by step", "note": note, "x": "step", "y": "cosine", "series": series}]


def metrics_table(base: GenerationScores | None, tuned: GenerationScores, found: Sequence[Compared] = ()) -> Json:
    """Every metric of base and tuned model, with the interval of the difference where it was computed."""
    intervals = {one.metric: one for one in found}
    before, after = base.scores() if base is not None else {}, tuned.scores()
    lines: list[list[Any]] = []
    for name, value in after.items():
        label = METRICS[name].label if name in METRICS else UNRESAMPLED.get(name, name)
        one = intervals.get(name)
        line: list[Any] = [label, before.get(name), value]
        if found:
            line += (
                [None, None, None] if one is None else [one.interval.difference, one.interval.low, one.interval.high]
            )
            line.append("" if one is None else one.verdict)
        lines.append(line)
    columns = ["metric", "base", "tuned", *(["difference", "from", "to", "shows"] if found else [])]
    return {
        "kind": "table",
        "title": "Generated pictures",
        "note": _note(tuned, found),
        "columns": columns,
        "rows": lines,
    }


def _note(tuned: GenerationScores, found: Sequence[Compared]) -> str:
    criteria = tuned.criteria
    words = [f"Cosines of vectors by {criteria.picture.name}"]
    if criteria.text is not None:
        words[0] += f", prompts by {criteria.text.name} (CLIP-T, the plain cosine)"
    if found:
        words.append(
            f"from, to: {100 * found[0].interval.level:.0f} % interval of tuned minus base, the same rows drawn"
        )
    if criteria.real_fidelity is not None:
        words.append(f"the subject's real pictures among themselves: {criteria.real_fidelity:.3f}")
    if cut := criteria.cut_prompts(tuned.rows):
        longest = criteria.text.longest if criteria.text is not None else 0
        words.append(f"{cut} prompts are longer than the {longest} tokens that the encoder reads")
    note = "; ".join(words) + "."
    warning = overfitting(found)
    return note if warning is None else f"{note} Overfitted: {warning.what}; {warning.fix}."


def reference_panels(criteria: Criteria) -> list[Json]:
    """The subject's real pictures, the first of them where they are many; nothing where there is no subject."""
    some = list(criteria.references)[:MOST_REFERENCES]
    if not some:
        return []
    note = f"{len(some)} of {len(criteria.references)}: what subject fidelity is measured against."
    pictures = [_shown("", picture, side=STRIP_SIDE) for picture in some]
    return [gallery_panel("Real pictures of the subject", note, [{"id": "", "pictures": pictures}]) | {"strip": True}]
