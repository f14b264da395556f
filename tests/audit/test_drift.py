"""Sides that differ are told apart with a size and a chance; sides of one source are not; what is far off is marked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.audit.test_near_texts import drawn
from tunesmith.audit import two_samples
from tunesmith.audit.data import AuditData, Wishes
from tunesmith.audit.drift import drift_findings
from tunesmith.audit.features import Features
from tunesmith.audit.found import Found, Skipped, View
from tunesmith.audit.kept import Kept
from tunesmith.audit.neighbours import nearest
from tunesmith.audit.two_samples import area, tell_kinds, tell_numbers, tell_vectors
from tunesmith.audit.unlike import plane
from tunesmith.data.deep_codes import DEEP_CODES
from tunesmith.prepare import read_sides
from tunesmith.recipe import read_recipe

Json = dict[str, Any]


def rows_of(count: int, prefix: str, *, words: int = 12, share: float = 0.5, seed: int = 0) -> list[Json]:
    texts = drawn(count, words, seed=seed)
    labels = ["a" if n < share * count else "b" for n in range(count)]
    return [{"id": f"{prefix}{n}", "text": t, "label": x} for n, (t, x) in enumerate(zip(texts, labels, strict=True))]


def data_of(folder: Path, train: list[Json], held: list[Json], vectors: Any = None, task: str = "text-classification"
            ) -> AuditData:  # fmt: skip
    section = {"train": "train", "eval": "eval", "validation": 0}
    source = read_recipe(
        folder / "recipe.yaml", text=yaml.safe_dump({"task": task, "model": "starter:none", "data": section})
    )
    prepared = read_sides(source, rows=train, held_out=held)
    data = AuditData(prepared, Kept(folder / "measures.sqlite"), Wishes(), has_weights=False)
    if vectors is not None:
        first, second = (np.asarray(part, dtype=np.float32) for part in vectors)
        at = {"train": np.arange(len(first)), "eval": np.arange(len(second))}
        data.__dict__["features"] = Features(first, second, "head", 0.0, at)  # type: ignore[arg-type]
    return data


def said(data: AuditData) -> tuple[dict[str, Found], list[View], list[Skipped]]:
    every = list(drift_findings(data))
    found = {one.code: one for one in every if isinstance(one, Found)}
    assert set(found) <= {*DEEP_CODES, "length-outliers"}
    return found, [one for one in every if isinstance(one, View)], [one for one in every if isinstance(one, Skipped)]


def cloud(count: int, seed: int, shift: float = 0.0, width: int = 32) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(count, width)) * np.linspace(2, 0.2, width)
    found[:, 1] += shift
    return found


def test_sides_of_one_source_are_alike(tmp_path: Path) -> None:
    vectors = cloud(600, 0), cloud(200, 1)
    found, views, skipped = said(data_of(tmp_path, rows_of(600, "t"), rows_of(200, "h", seed=1), vectors))
    # The farthest of any cloud are a little far: at most one in a hundred, and a note.
    assert set(found) <= {"outliers"}
    assert all((one.level, one.share < 0.01) == ("note", True) for one in found.values())
    assert not skipped
    (view,) = views
    assert view.kind == "map"
    assert "held-out rows are like the training rows" in view.said
    assert len(view.data["points"]) == 800
    x, y, side, label, row = view.data["points"][0]
    assert (side, label, row) == ("train", "a", "t0")
    assert isinstance(x, float)
    assert isinstance(y, float)


def test_a_shift_is_told_with_its_size_and_the_rows_farthest_off(tmp_path: Path) -> None:
    held = cloud(200, 1)
    held[:80, 1] += 9.0
    found, views, _ = said(data_of(tmp_path, rows_of(600, "t"), rows_of(200, "h", seed=1), (cloud(600, 0), held)))
    one = found["drift"]
    assert one.level == "note" or one.level == "warning"
    assert one.remedy is None
    assert len(one.marks) == 20
    assert sum(int(mark.row[1:]) < 80 for mark in one.marks) >= 16
    assert all(mark.side == "eval" for mark in one.marks)
    assert any("told from training rows in" in sentence for sentence in views[0].said)


def test_a_large_shift_is_a_warning(tmp_path: Path) -> None:
    vectors = cloud(600, 0) * 0.1 + np.eye(32)[0] * 3, cloud(200, 1) * 0.1 - np.eye(32)[5] * 3
    found, views, _ = said(data_of(tmp_path, rows_of(600, "t"), rows_of(200, "h", seed=1), vectors))
    assert found["drift"].level == "warning"
    assert any("nothing to learn them from" in sentence for sentence in views[0].said)


def test_lengths_and_labels_that_differ_are_told(tmp_path: Path) -> None:
    train, held = rows_of(300, "t"), rows_of(120, "h", words=30, share=0.9, seed=1)
    found, _, skipped = said(data_of(tmp_path, train, held))
    assert set(found) == {"length-drift", "label-drift"}
    assert "held-out rows are longer than training rows: half have at most 30 words" in found["length-drift"].what
    assert found["length-drift"].level == "warning"
    assert "a 90% against 50%" in found["label-drift"].what
    assert found["label-drift"].level == "warning"
    assert "the model's weights are not at hand" in skipped[0].reason


def test_rows_far_from_all_others_are_marked(tmp_path: Path) -> None:
    vectors = cloud(400, 0, width=8) * 0.05 + np.eye(8)[0] * 3, cloud(100, 1, width=8) * 0.05 + np.eye(8)[0] * 3
    for n in (7, 90):
        vectors[0][n] = -3.0 * np.eye(8)[2 + n % 3]
    vectors[1][5] = -3.0 * np.eye(8)[5]
    found, _, _ = said(data_of(tmp_path, rows_of(400, "t"), rows_of(100, "h", seed=1), vectors))
    marks = {(mark.side, mark.row) for mark in found["outliers"].marks[:3]}
    assert marks == {("train", "t7"), ("train", "t90"), ("eval", "h5")}
    assert "times as far from other rows as usual" in found["outliers"].marks[0].note
    assert found["outliers"].level == "note"
    assert found["outliers"].remedy is None


def test_of_a_small_side_all_that_are_surely_far_are_marked_and_five_at_most(tmp_path: Path) -> None:
    for planted, told in ((4, 4), (9, 5)):
        vectors = cloud(260, 0, width=16) * 0.05 + np.eye(16)[0] * 3, cloud(90, 1, width=16) * 0.05 + np.eye(16)[0] * 3
        for n in range(planted):
            vectors[0][20 * n] = -3.0 * np.eye(16)[2 + n]
        found, _, _ = said(data_of(tmp_path, rows_of(260, "t"), rows_of(90, "h", seed=1), vectors))
        marks = [mark.row for mark in found["outliers"].marks if mark.side == "train"]
        assert len(marks) == told
        assert set(marks) <= {f"t{20 * n}" for n in range(planted)}


def test_endless_rows_are_marked(tmp_path: Path) -> None:
    train = rows_of(200, "t", words=5)
    train[17]["text"] = " ".join(drawn(1, 900))
    found, _, _ = said(data_of(tmp_path, train, rows_of(60, "h", words=5, seed=1)))
    assert [(mark.row, mark.note) for mark in found["length-outliers"].marks] == [("t17", "900 words")]


def test_few_rows_tell_nothing(tmp_path: Path) -> None:
    vectors = cloud(20, 0), cloud(8, 1, shift=9.0)
    found, views, _ = said(data_of(tmp_path, rows_of(20, "t"), rows_of(8, "h", words=40, seed=1), vectors))
    assert not found
    assert len(views) == 1


def test_no_held_out_rows_and_equal_vectors_do_no_harm(tmp_path: Path) -> None:
    found, views, _ = said(data_of(tmp_path, rows_of(60, "t"), rows_of(5, "h"), (np.ones((60, 4)), np.zeros((5, 4)))))
    assert set(found) <= {"outliers"}
    assert len(views) == 1


# The tests themselves


def test_p_values_are_even_where_nothing_differs() -> None:
    values = [
        tell_vectors(cloud(80, n).astype(np.float32), cloud(60, 100 + n).astype(np.float32), n).p for n in range(40)
    ]
    assert 0.3 < float(np.mean(values)) < 0.7
    assert sum(p <= 0.05 for p in values) <= 6


def test_the_area_is_sklearns() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    low, high = rng.integers(0, 6, 50).astype(float), rng.integers(2, 8, 30).astype(float)
    truth = np.repeat([0, 1], [50, 30])
    assert area(low, high) == pytest.approx(metrics.roc_auc_score(truth, np.concatenate((low, high))))


def test_distances_of_numbers_are_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=300), rng.normal(0.3, 1, size=200)
    told, known = tell_numbers(first, second), stats.ks_2samp(first, second, method="asymp")
    assert told.effect == pytest.approx(known.statistic)
    assert told.p == pytest.approx(known.pvalue, rel=0.25)
    assert tell_numbers(first, first).p == 1.0


def test_kinds_that_differ_by_chance_are_not_told() -> None:
    rng = np.random.default_rng(0)
    share = np.array([0.4, 0.3, 0.2, 0.1])
    values = [tell_kinds(rng.multinomial(400, share), rng.multinomial(150, share), n).p for n in range(60)]
    assert sum(p <= 0.05 for p in values) <= 8
    told = tell_kinds(np.array([200, 200]), np.array([20, 80]), 0)
    assert told.effect == pytest.approx(0.3)
    assert told.p <= 1 / (5 * two_samples.DIVISIONS) * 1.01


def test_neighbours_are_those_of_brute_force() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    values, places = nearest(vectors, vectors, 4, same=True)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -2)
    assert np.array_equal(places, np.argsort(-cosines, axis=1)[:, :4])
    assert np.allclose(values, -np.sort(-cosines, axis=1)[:, :4])
    assert nearest(vectors[:1], vectors[:1], 3, same=True)[0].shape == (1, 0)


def test_the_plane_holds_the_largest_spread() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, 6)) * np.array([5, 3, 0.1, 0.1, 0.1, 0.1])
    points, held = plane(values)
    assert points.shape == (200, 2)
    assert held > 0.99
    assert abs(np.corrcoef(points[:, 0], values[:, 0])[0, 1]) > 0.99
