"""Scores of pictures whose vectors one can compute by hand: an encoder by mean colour, and texts that are colours."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tunesmith.diffusion.scores import (
    METRICS,
    Compared,
    Criteria,
    Resampling,
    compared,
    goal_of,
    overfitting,
    pack_picture,
    unpack_picture,
)
from tunesmith.errors import UserError
from tunesmith.metrics import Interval

WORDS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}


class Colours:
    """The mean colour of a picture, of length 1; a text is the sum of the colours that it names."""

    longest = 4

    def __init__(self, power: float = 1.0) -> None:
        self.name, self.power = f"colours {power:g}", power

    def encode(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        return self._unit([picture.reshape(-1, 3).mean(axis=0) ** self.power for picture in pictures])

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return self._unit([np.sum([WORDS[word] for word in text.split() if word in WORDS], axis=0) for text in texts])

    def lengths(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def _unit(self, vectors: Any) -> np.ndarray:
        found = np.array(vectors, dtype=np.float64)
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def plain(*colour: int, size: int = 4) -> np.ndarray:
    return np.full((size, size + 1, 3), colour, dtype=np.uint8)


def cosine(one: Any, other: Any) -> float:
    a, b = np.asarray(one, float), np.asarray(other, float)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


REAL = [plain(200, 40, 40), plain(220, 10, 60)]
ROWS = [
    {"id": "0", "text": "sks red", "subject": True, "image": ""},
    {"id": "1", "text": "sks red", "subject": True, "image": ""},
    {"id": "2", "text": "sks blue", "subject": True, "image": "own"},
    {"id": "3", "text": "green", "subject": False, "image": "own"},
]
COLOURS = [(250, 0, 0), (180, 90, 10), (60, 10, 200), (20, 240, 30)]
OWN = plain(10, 200, 90)


def criteria(**more: Any) -> Criteria:
    settings: dict[str, Any] = {
        "picture": Colours(),
        "text": Colours(2),
        "references": REAL,
        "picture_of": lambda row: OWN if row["image"] else None,
    }
    return Criteria(**settings | more)


def predictions(colours: Sequence[tuple[int, int, int]] = COLOURS, losses: Sequence[Any] = ()) -> list[dict[str, Any]]:
    found = [pack_picture(plain(*colour)) for colour in colours]
    given = losses or [None] * len(found)
    return [one | ({} if loss is None else {"loss": loss}) for one, loss in zip(found, given, strict=True)]


def test_every_measure_by_hand() -> None:
    rated = criteria().rate(predictions(losses=[0.5, None, 0.25, None]), ROWS)
    square = [np.square(np.array(colour, float)) for colour in COLOURS]
    to_subject = [np.mean([cosine(c, real[0, 0]) for real in REAL]) for c in COLOURS]
    to_real = [max(cosine(c, real[0, 0]) for real in REAL) for c in COLOURS]
    by_text = [cosine(s, WORDS[row["text"].split()[-1]]) for s, row in zip(square, ROWS, strict=True)]
    apart = 1 - cosine(COLOURS[0], COLOURS[1])
    expected = {
        "subject_fidelity": np.mean(to_subject[:3]),
        "subject_fidelity_clip": np.mean(
            [cosine(s, np.square(real[0, 0].astype(float))) for s in square[:3] for real in REAL]
        ),
        "leakage": to_subject[3],
        "picture_fidelity": cosine(COLOURS[2], OWN[0, 0]),
        "other_picture_fidelity": cosine(COLOURS[3], OWN[0, 0]),
        "prompt_fidelity": np.mean(by_text[:3]),
        "other_prompt_fidelity": by_text[3],
        "nearest_training": np.mean(to_real[:3]),
        "loss": 0.375,
        "diversity": apart,
        "highest_training": max(to_real),
    }
    assert rated.scores() == pytest.approx(expected, abs=1e-6)
    assert rated.of_row(1) == pytest.approx(
        {
            "subject_fidelity": to_subject[1],
            "subject_fidelity_clip": np.mean([cosine(square[1], np.square(r[0, 0].astype(float))) for r in REAL]),
            "prompt_fidelity": by_text[1],
            "nearest_training": to_real[1],
        },
        abs=1e-6,
    )
    assert rated.copied.tolist() == [int(np.argmax([cosine(c, r[0, 0]) for r in REAL])) for c in COLOURS]
    assert criteria().real_fidelity == pytest.approx(cosine(REAL[0][0, 0], REAL[1][0, 0]), abs=1e-6)


def test_a_sum_over_rows_is_the_score_of_those_rows() -> None:
    held, found = criteria(), predictions(losses=[0.5, 0.1, 0.25, 0.3])
    rng = np.random.default_rng(0)
    for metric in METRICS:
        tally = held.tally(found, ROWS, metric)
        assert tally.shape == (4, 2)
        for drawn in [[0, 1, 2, 3], *rng.integers(0, 4, (6, 4)).tolist()]:
            total = goal_of(tally[drawn].sum(axis=0)[None])[0]
            told = held.rate([found[i] for i in drawn], [ROWS[i] for i in drawn]).scores()
            assert told.get(metric, float("nan")) == pytest.approx(total, abs=1e-12, nan_ok=True)


def test_of_captions_every_row_counts_and_there_is_no_subject() -> None:
    learned = [plain(20, 230, 40)]
    held = criteria(references=(), training=learned)
    scores = held.rate(predictions(), ROWS).scores()
    assert set(scores) == {"prompt_fidelity", "picture_fidelity", "nearest_training", "highest_training", "diversity"}
    near = [cosine(colour, (20, 230, 40)) for colour in COLOURS]
    assert scores["nearest_training"] == pytest.approx(np.mean(near), abs=1e-6)
    assert held.real_fidelity is None


def test_without_a_text_encoder_nothing_is_said_of_prompts() -> None:
    scores = criteria(text=None).rate(predictions(), ROWS).scores()
    assert not [name for name in scores if "prompt" in name or "clip" in name]
    one = Colours()
    assert "subject_fidelity_clip" not in criteria(picture=one, text=one).rate(predictions(), ROWS).scores()


def test_the_token_can_be_left_out_of_what_the_text_encoder_reads() -> None:
    held = criteria(prompt_of=lambda row: "green", has_subject=lambda row: row["id"] == "3")
    scores = held.rate(predictions(), ROWS).scores()
    assert scores["prompt_fidelity"] == pytest.approx(cosine(np.square(np.array(COLOURS[3], float)), (0, 1, 0)))
    assert criteria(prompt_of=lambda row: "green " * (3 + int(row["id"]))).cut_prompts(ROWS) == 2
    assert criteria(text=None).cut_prompts(ROWS) == 0


def test_a_prediction_comes_back_from_json_as_it_was() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    assert np.array_equal(unpack_picture(json.loads(json.dumps(pack_picture(picture)))), picture)


@pytest.mark.parametrize(
    "broken", [{}, {"png": None}, {"png": "%%%"}, {"png": base64.b64encode(b"GIF89a").decode()}], ids=str
)
def test_a_prediction_without_a_picture_is_named(broken: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="no PNG") as error:
        criteria().rate([*predictions()[:3], broken], ROWS)
    assert error.value.where == "row 3"


def test_a_picture_that_is_cut_short_is_named() -> None:
    whole = base64.b64decode(
        pack_picture(np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8))["png"]
    )
    with pytest.raises(UserError, match="no PNG"):
        unpack_picture({"png": base64.b64encode(whole[:2000]).decode()})


def test_a_loss_that_is_no_number_is_named() -> None:
    with pytest.raises(UserError, match="nan") as error:
        criteria().rate(predictions(losses=[0.1, float("nan"), 0.1, 0.1]), ROWS)
    assert error.value.where == "row 1"


def test_predictions_of_other_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="3 predictions"):
        criteria().rate(predictions()[:3], ROWS)
    rated = criteria().rate(predictions(), ROWS)
    with pytest.raises(ValueError, match="other rows"):
        compared(rated, criteria().rate(predictions(), [{**row, "id": row["id"] + "x"} for row in ROWS]))


def many(count: int, seed: int, red: int, green: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    rng = np.random.default_rng(seed)
    rows, found = [], []
    for n in range(count):
        subject = n % 3 > 0
        rows.append(
            {
                "id": str(n),
                "text": f"sks {['red', 'green'][n % 2]}" if subject else "green",
                "subject": subject,
                "image": "",
            }
        )
        mean = (red, 60, 60) if subject else (60, green, 60)
        colour = np.clip(np.array(mean) + rng.normal(0, 15, 3), 0, 255)
        found.append(pack_picture(plain(*colour.astype(int).tolist())) | {"loss": float(rng.uniform(0.2, 0.4))})
    return rows, found


def test_intervals_are_those_of_a_plain_loop() -> None:
    rows, before = many(45, 0, 120, 200)
    _, after = many(45, 1, 220, 200)
    held = criteria()
    base, tuned = held.rate(before, rows), held.rate(after, rows)
    found = {one.metric: one for one in compared(base, tuned, Resampling(diversity_resamples=400))}
    rng = np.random.default_rng(5)
    draws = rng.integers(0, 45, (4000, 45))
    for name in ("subject_fidelity", "prompt_fidelity", "other_prompt_fidelity", "leakage", "loss"):
        change = tuned.measures[name] - base.measures[name]
        one, counts = found[name].interval, ~np.isnan(change)
        assert (
            found[name].rows
            == counts.sum()
            == (45 if name == "loss" else 15 if "other" in name or "leak" in name else 30)
        )
        assert one.difference == pytest.approx(np.nanmean(change), abs=1e-12)
        looped = [np.nanmean(change[drawn]) for drawn in draws]
        width = one.high - one.low
        np.testing.assert_allclose([one.low, one.high], np.quantile(looped, [0.025, 0.975]), atol=0.05 * width)
        assert width > 0
    pool, rng = np.flatnonzero(base.with_token), np.random.default_rng(0)
    drawn = [rng.integers(0, len(pool), len(pool)) for _ in range(400)]
    looped = [loop_diversity(tuned, pool[d]) - loop_diversity(base, pool[d]) for d in drawn]
    one = found["diversity"].interval
    np.testing.assert_allclose([one.low, one.high], np.quantile(looped, [0.025, 0.975]), atol=1e-7)
    assert one.tuned == pytest.approx(tuned.scores()["diversity"])
    assert found["subject_fidelity"].verdict == "better"
    assert found["nearest_training"].verdict == "higher"
    assert json.loads(json.dumps(found["loss"].to_json()))["verdict"] == found["loss"].verdict


def loop_diversity(rated: Any, drawn: np.ndarray) -> float:
    vectors = rated.vectors.astype(float)
    pairs = [
        1 - vectors[i] @ vectors[j]
        for place, i in enumerate(drawn)
        for j in drawn[place + 1 :]
        if i != j and rated.rows[i]["text"] == rated.rows[j]["text"]
    ]
    return float(np.mean(pairs))


def test_whole_groups_are_drawn_where_groups_are_given() -> None:
    rows, before = many(40, 0, 120, 200)
    _, after = many(40, 1, 220, 200)
    held = criteria(text=None)
    base, tuned = held.rate(before, rows), held.rate(after, rows)
    groups = [n // 10 for n in range(40)]
    found = compared(base, tuned, Resampling(resamples=500, diversity_resamples=50, groups=groups))
    assert {one.interval.units for one in found} == {4}


def test_a_metric_that_one_of_the_two_lacks_is_left_out() -> None:
    held = criteria()
    base, tuned = held.rate(predictions(), ROWS), held.rate(predictions(losses=[0.1] * 4), ROWS)
    names = [one.metric for one in compared(base, tuned, Resampling(resamples=200, diversity_resamples=50))]
    assert "loss" not in names
    assert "subject_fidelity" in names


def one_of(metric: str, difference: float, half: float = 0.01, differing: int = 20) -> Compared:
    better = METRICS[metric].higher_is_better
    interval = Interval(difference, difference - half, difference + half, 0.5, 0.5 + difference, 0.95, 20, differing)
    return Compared(metric, better, 20, interval)


def test_prompts_that_fall_while_the_subject_rises_are_a_warning() -> None:
    found = overfitting([one_of("subject_fidelity", 0.2), one_of("prompt_fidelity", -0.05)], "12 prompts")
    assert found is not None
    assert (found.code, found.level, found.where) == ("overfitted-subject", "warning", "12 prompts")
    assert "rises by 0.200 while prompt fidelity falls by 0.050 (-0.060 to -0.040)" in found.what
    other = overfitting([one_of("subject_fidelity", 0.2), one_of("other_picture_fidelity", -0.05)])
    assert other is not None
    assert "picture fidelity, other prompts falls" in other.what


@pytest.mark.parametrize(
    "found",
    [
        [],
        [one_of("subject_fidelity", 0.2)],
        [one_of("prompt_fidelity", -0.2)],
        [one_of("subject_fidelity", 0.2), one_of("prompt_fidelity", 0.05)],
        [one_of("subject_fidelity", -0.2), one_of("prompt_fidelity", -0.05)],
        [one_of("subject_fidelity", 0.2), one_of("prompt_fidelity", -0.05, half=0.06)],
        [one_of("subject_fidelity", 0.2), one_of("prompt_fidelity", -0.05, differing=3)],
        [one_of("subject_fidelity", 0.2), one_of("picture_fidelity", -0.05), one_of("leakage", -0.05)],
    ],
)
def test_else_there_is_no_warning(found: list[Compared]) -> None:
    assert overfitting(found) is None


def test_overfitting_is_found_in_pictures() -> None:
    rows, before = many(45, 0, 120, 200)
    # Every prompt with the token now gives the subject, and the others take its colour on.
    _, after = many(45, 1, 220, 90)
    held = criteria()
    found = overfitting(compared(held.rate(before, rows), held.rate(after, rows), Resampling(resamples=500)))
    assert found is not None
    assert "prompt fidelity, other prompts falls" in found.what
