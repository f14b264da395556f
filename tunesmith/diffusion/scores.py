"""How good generated pictures are: fidelity to the subject, the prompt and a row's own picture; diversity; copies.

It knows rows, predictions and encoders; no model, file or page. A prediction is ``{"png": base64 of a PNG, "loss":
denoising loss of the row's own picture at fixed noise and timesteps, where it has one}``.

Each measure of a row is a cosine of unit vectors. Fidelity to prompts is the plain cosine of the text's and the
picture's vector (CLIP-T of DreamBooth, arXiv:2208.12242); CLIPScore (arXiv:2104.08718, Hessel et al. 2021) is 2.5 times
that, and 0 below 0. Rows whose prompt does not hold the subject's token count in metrics of their own.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tunesmith.diffusion.encoders import Picture, PictureEncoder, TextEncoder, Vectors
from tunesmith.diffusion.likeness import Diversity, among, mean_cosine, nearest, pair_groups, paired_cosine
from tunesmith.errors import UserError
from tunesmith.metrics import Interval, paired_bootstrap, paired_bootstrap_scores, verdict
from tunesmith.types import Finding, Row

Floats: TypeAlias = NDArray[np.float64]
Prediction: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Metric:
    """What a score is called, which way it is better (None: neither), and what it says."""

    label: str
    higher_is_better: bool | None
    about: str


METRICS: Mapping[str, Metric] = {
    "subject_fidelity": Metric("subject fidelity", True, "mean cosine to the subject's real pictures"),
    "subject_fidelity_clip": Metric("subject fidelity, CLIP", True, "the same by the text encoder's picture tower"),
    "leakage": Metric("subject in other prompts", False, "the same cosine where the prompt lacks the token"),
    "picture_fidelity": Metric("picture fidelity", True, "cosine to the row's own picture"),
    "other_picture_fidelity": Metric("picture fidelity, other prompts", True, "the same without the token"),
    "prompt_fidelity": Metric("prompt fidelity", True, "cosine of text and picture (CLIP-T)"),
    "other_prompt_fidelity": Metric("prompt fidelity, other prompts", True, "the same without the token"),
    "nearest_training": Metric("nearest training picture", None, "highest cosine to any picture learned from"),
    "loss": Metric("loss", False, "denoising loss at fixed noise and timesteps"),
}
"""Metrics that are means of a row's measures, in the order of a table."""

DIVERSITY = Metric("diversity", True, "mean distance, 1 minus cosine, between pictures of one prompt or subject")
FALLS = ("prompt_fidelity", "other_prompt_fidelity", "other_picture_fidelity")
"""Metrics whose fall, while the subject comes out better, says that the prompts count for less."""


def pack_picture(picture: Picture) -> dict[str, Any]:
    """A picture, uint8 [height, width, 3], as a prediction."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return {"png": base64.b64encode(stream.getvalue()).decode("ascii")}


def unpack_picture(prediction: Prediction, where: str = "a prediction") -> Picture:
    """The picture of a prediction, uint8 [height, width, 3].

    Raises:
        UserError: It holds no PNG.
    """
    try:
        content = base64.b64decode(prediction["png"], validate=True)
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            return np.array(image.convert("RGB"))
    except (binascii.Error, KeyError, TypeError, ValueError, OSError, SyntaxError) as fault:
        what = f"its 'png' is no PNG in base64: {type(fault).__name__}: {fault}"
        raise UserError(what, where, "generate the pictures again") from fault


def _subject(row: Row) -> bool:
    return bool(row.get("subject"))


def _text(row: Row) -> str:
    return str(row.get("text") or "")


def _loss(prediction: Prediction, row: Row) -> float:
    """A prediction's loss; NaN where it has none, which one that was computed must not be."""
    if prediction.get("loss") is None:
        return float("nan")
    loss = float(prediction["loss"])
    if not np.isfinite(loss):
        what = f"the loss of its picture is {loss}"
        raise UserError(what, f"row {row.get('id')}", "the model has diverged: lower the rate")
    return loss


def _no_picture(row: Row) -> Picture | None:
    return None


@dataclass(frozen=True)
class Criteria:
    """What generated pictures are held against.

    Args:
        picture: Compares pictures (DINO, or a starter).
        text: Compares texts to pictures (CLIP); None: no fidelity to prompts.
        references: Real pictures of the subject; none where captions are learned, and then no row has a subject.
        training: Pictures that were learned from; left out, the references.
        has_subject: Whether a row's prompt holds the token; its ``subject`` where left out.
        prompt_of: What a row's picture should show, in words that the text encoder knows (the prompt without the
            token, which means nothing to it); its ``text`` where left out.
        picture_of: A row's own picture; None where it has none.
    """

    picture: PictureEncoder
    text: TextEncoder | None = None
    references: Sequence[Picture] = ()
    training: Sequence[Picture] = ()
    has_subject: Callable[[Row], bool] = _subject
    prompt_of: Callable[[Row], str] = _text
    picture_of: Callable[[Row], Picture | None] = _no_picture

    @property
    def learned(self) -> Sequence[Picture]:
        """The pictures that a copy would be a copy of."""
        return self.training or self.references

    @cached_property
    def real_fidelity(self) -> float | None:
        """The mean cosine between the subject's real pictures: about the most that subject fidelity can come to."""
        return among(self.picture.encode(self.references)) if len(self.references) > 1 else None

    def rate(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> GenerationScores:
        """Measure the pictures of rows.

        Raises:
            UserError: A prediction holds no picture.
            ValueError: There are no rows, or not as many predictions.
        """
        if len(predictions) != len(rows) or not rows:
            raise ValueError(f"{len(predictions)} predictions stand beside {len(rows)} rows")
        pictures = [unpack_picture(p, f"row {r.get('id')}") for p, r in zip(predictions, rows, strict=True)]
        with_token = np.array([not self.references or self.has_subject(row) for row in rows], dtype=bool)
        vectors = self.picture.encode(pictures)
        table = {name: np.full(len(rows), np.nan) for name in METRICS}
        same = self.text is None or self.text is self.picture
        clip = None if self.text is None else vectors if same else self.text.encode(pictures)
        if self.references:
            likeness = mean_cosine(vectors, self.picture.encode(self.references))
            table["subject_fidelity"][with_token], table["leakage"][~with_token] = (
                likeness[with_token],
                likeness[~with_token],
            )
            if self.text is not None and clip is not None and not same:
                found = mean_cosine(clip, self.text.encode(self.references))
                table["subject_fidelity_clip"][with_token] = found[with_token]
        if self.text is not None and clip is not None:
            found = paired_cosine(clip, self.text.encode_texts([self.prompt_of(row) for row in rows]))
            table["prompt_fidelity"][with_token], table["other_prompt_fidelity"][~with_token] = (
                found[with_token],
                found[~with_token],
            )
        found = self._own(vectors, rows)
        table["picture_fidelity"][with_token], table["other_picture_fidelity"][~with_token] = (
            found[with_token],
            found[~with_token],
        )
        near, copied = np.full(len(rows), np.nan), np.full(len(rows), -1)
        if self.learned:
            near, copied = nearest(vectors, self.picture.encode(self.learned))
            table["nearest_training"][with_token] = near[with_token]
        table["loss"] = np.array([_loss(p, r) for p, r in zip(predictions, rows, strict=True)])
        return GenerationScores(self, list(rows), list(predictions), with_token, vectors, table, near, copied)

    def _own(self, vectors: Vectors, rows: Sequence[Row]) -> Floats:
        """The cosine to each row's own picture, float64 [rows]; NaN where it has none."""
        found = np.full(len(rows), np.nan)
        own = {n: picture for n, row in enumerate(rows) if (picture := self.picture_of(row)) is not None}
        if own:
            at = list(own)
            found[at] = paired_cosine(vectors[at], self.picture.encode(list(own.values())))
        return found

    def tally(self, predictions: Sequence[Prediction], rows: Sequence[Row], metric: str = "subject_fidelity") -> Floats:
        """Statistics by row, float64 [rows, 2], whose sums determine a metric of ``METRICS``; see `goal_of`."""
        return self.rate(predictions, rows).tally(metric)

    def cut_prompts(self, rows: Sequence[Row]) -> int:
        """How many prompts have more tokens than the text encoder reads: their ends are not judged."""
        if self.text is None:
            return 0
        return sum(length > self.text.longest for length in self.text.lengths([self.prompt_of(row) for row in rows]))


def goal_of(totals: Floats) -> Floats:
    """A metric of summed tallies: float64 [..., 2], sum and rows that count, to [...]; NaN where none counts."""
    found = np.full(totals.shape[:-1], np.nan)
    np.divide(totals[..., 0], totals[..., 1], out=found, where=totals[..., 1] > 0)
    return found


@dataclass(frozen=True)
class GenerationScores:
    """Generated pictures of rows, measured; `Criteria.rate` makes it.

    Args:
        criteria: What they were held against.
        rows: The rows.
        predictions: Theirs.
        with_token: Which rows' prompts hold the token, bool [rows]; all, where there is no subject.
        vectors: Of the generated pictures, float32 [rows, width].
        measures: By metric, float64 [rows]; NaN in rows that it says nothing of.
        near: Highest cosine to a picture that was learned from, float64 [rows].
        copied: Which one that is, int64 [rows]; -1 where none is known.
    """

    criteria: Criteria
    rows: list[Row]
    predictions: list[Prediction]
    with_token: NDArray[np.bool_]
    vectors: Vectors
    measures: dict[str, Floats]
    near: Floats
    copied: NDArray[Any]

    def scores(self) -> dict[str, float]:
        """Every metric that some row counts in, ``diversity``, and ``highest_training``: the nearest copy of all."""
        found = {name: float(goal_of(self.tally(name).sum(axis=0))) for name in METRICS}
        pool, diversity = self.diversity
        found["diversity"] = diversity.of(np.arange(len(pool)))
        if self.criteria.learned:
            found["highest_training"] = float(self.near.max())
        return {name: value for name, value in found.items() if not np.isnan(value)}

    def tally(self, metric: str) -> Floats:
        """A metric's measures and which rows count in it, float64 [rows, 2]; see `goal_of`."""
        values = self.measures[metric]
        return np.stack([np.nan_to_num(values), ~np.isnan(values)], axis=1)

    @cached_property
    def diversity(self) -> tuple[NDArray[np.int64], Diversity]:
        """The rows that are compared, those with the token where there are any, and the distances among them."""
        pool = np.flatnonzero(self.with_token if self.with_token.any() else ~self.with_token)
        prompts = [str(self.rows[n].get("text")) for n in pool]
        return pool, Diversity(self.vectors[pool], pair_groups(prompts))

    def of_row(self, number: int) -> dict[str, float]:
        """A row's measures by metric, without those that say nothing of it."""
        return {name: float(found[number]) for name, found in self.measures.items() if not np.isnan(found[number])}


@dataclass(frozen=True)
class Compared:
    """One metric of base and tuned model with the interval of the difference.

    Args:
        metric: Its name.
        higher_is_better: Which way it is; None: neither.
        rows: How many rows count in it.
        interval: Tuned minus base.
    """

    metric: str
    higher_is_better: bool | None
    rows: int
    interval: Interval

    @property
    def verdict(self) -> str:
        """What the interval shows: better, worse or no difference; of a metric with no better side higher or lower."""
        found = verdict(self.interval, self.higher_is_better is not False)
        return {"better": "higher", "worse": "lower"}.get(found, found) if self.higher_is_better is None else found

    @property
    def about(self) -> Metric:
        """The metric's name and meaning for a person."""
        return METRICS.get(self.metric, DIVERSITY)

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON-able values."""
        return asdict(self) | {"verdict": self.verdict}


@dataclass(frozen=True)
class Resampling:
    """How the intervals are made: draws for means and for diversity, the seed, and the level."""

    resamples: int = 10_000
    diversity_resamples: int = 1_000
    seed: int = 0
    level: float = 0.95
    groups: Sequence[Any] | None = field(default=None)


def compared(base: GenerationScores, tuned: GenerationScores, resampling: Resampling = Resampling()) -> list[Compared]:
    """Every metric of both models on the same rows, with a paired interval; one that either lacks is left out.

    Args:
        base: Of the base model.
        tuned: Of the tuned model, for the same rows.
        resampling: How; with ``groups`` whole groups of rows are drawn (all pictures of a prompt).

    Raises:
        ValueError: They are of other rows.
    """
    if [row.get("id") for row in base.rows] != [row.get("id") for row in tuned.rows]:
        raise ValueError("base and tuned were rated on other rows")
    found, r = [], resampling
    for name, metric in METRICS.items():
        before, after = base.tally(name), tuned.tally(name)
        # A row that only one of the two has a measure of says nothing of their difference.
        counts = (before[:, 1] > 0) & (after[:, 1] > 0)
        if not counts.any():
            continue
        settings: dict[str, Any] = {"resamples": r.resamples, "seed": r.seed, "level": r.level, "groups": r.groups}
        interval = paired_bootstrap(before * counts[:, None], after * counts[:, None], goal_of, **settings)
        found.append(Compared(name, metric.higher_is_better, int(counts.sum()), interval))
    spread = _diversities(base, tuned, r)
    return found if spread is None else [*found, spread]


def _diversities(base: GenerationScores, tuned: GenerationScores, how: Resampling) -> Compared | None:
    (pool, before), (_, after) = base.diversity, tuned.diversity
    if np.isnan(before.of(np.arange(len(pool)))):
        return None
    groups = None if how.groups is None else [how.groups[n] for n in pool]
    settings: dict[str, Any] = {"resamples": how.diversity_resamples, "seed": how.seed, "level": how.level}
    try:
        interval = paired_bootstrap_scores(before.of, after.of, len(pool), groups=groups, **settings)
    except UserError:
        # So few pictures that most draws hold no pair: there is a number, and no interval of it.
        return None
    return Compared("diversity", True, len(pool), interval)


def overfitting(found: Sequence[Compared], where: str = "held-out prompts") -> Finding | None:
    """A warning where the subject comes out better and the prompts, or other prompts' pictures, worse.

    Args:
        found: From `compared`.
        where: What the rows are.

    Returns:
        The finding ``overfitted-subject``; None unless subject fidelity rises and the interval of a metric of
        ``FALLS`` lies below zero.
    """
    by_name = {one.metric: one for one in found}
    subject = by_name.get("subject_fidelity")
    fallen = [by_name[name] for name in FALLS if name in by_name and by_name[name].verdict == "worse"]
    if subject is None or subject.interval.difference <= 0 or not fallen:
        return None
    words = "; ".join(
        f"{one.about.label} falls by {-one.interval.difference:.3f} "
        f"({one.interval.low:+.3f} to {one.interval.high:+.3f})"
        for one in fallen
    )
    return Finding(
        "overfitted-subject",
        "warning",
        f"subject fidelity rises by {subject.interval.difference:.3f} while {words}",
        where,
        "train fewer steps (the samples by step show from when on), at a lower rate or rank, or keep class pictures",
    )
