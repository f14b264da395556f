"""The learning curve: the fit finds known laws, the points are what was learned, and the words follow the interval."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fixtures import small_decoders
from tests.fixtures.small_models import rows_of, write_model
from tunesmith.cli import main
from tunesmith.errors import UserError
from tunesmith.learning_curve import REPEATS, SHARES, drawn_rows, error_at, fit_power_law, learning_curve
from tunesmith.prepare import Prepared, prepare
from tunesmith.recipe import read_recipe
from tunesmith.report.curve import curve_text, learning_curve_chart

ROWS = (250, 500, 1000, 2000)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("bert"))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))


def recipe_of(folder: Path, model: Path, data: dict[str, Any] | None = None, **sections: Any) -> Path:
    values = {"task": "text-classification", "model": str(model), "batch": {"rows": 16}} | sections
    values |= {"data": {"train": str(folder / "rows.jsonl"), "eval": 0.25} | (data or {})}
    values |= {"audit": {"accept": {"few-rows": "a test"}}, "engine": {"device": "cpu", "precision": "fp32"}}
    file = folder / "recipe.yaml"
    file.write_text(json.dumps(values), encoding="utf-8")
    return file


def prepared_of(folder: Path, model: Path, rows: list[dict[str, Any]], **more: Any) -> Prepared:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return prepare(read_recipe(recipe_of(folder, model, **more)))


# The law


@pytest.mark.parametrize(("a", "b", "c"), [(0.1, 2.0, 0.4), (0.0, 1.2, 0.15), (0.3, 40.0, 0.9), (0.05, 300.0, 1.5)])
def test_a_known_law_is_found_again(a: float, b: float, c: float) -> None:
    errors = a + b * np.array(ROWS, dtype=float) ** -c
    found = fit_power_law(ROWS, errors)
    assert error_at(found, 4000)[0] == pytest.approx(a + b * 4000**-c, rel=1e-3)
    assert found[0, 2] == pytest.approx(c, abs=0.02)
    assert found[0, 0] == pytest.approx(a, abs=0.01)
    assert found[0, 1] == pytest.approx(b, rel=0.15)


def test_the_fit_is_that_of_scipy_and_many_curves_are_fitted_as_one_by_one() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(0)
    curves = 0.2 + 1.5 * np.array(ROWS, dtype=float) ** -0.4 + rng.normal(0, 0.003, size=(20, 4))
    together = fit_power_law(ROWS, curves)
    alone = np.concatenate([fit_power_law(ROWS, curve) for curve in curves])
    assert together == pytest.approx(alone)
    sizes = np.array(ROWS) / max(ROWS)
    for curve, found in zip(curves, together, strict=True):

        def missed(at: Any, curve: Any = curve) -> Any:
            return np.sqrt(sizes) * (at[0] + at[1] * sizes ** -at[2] - curve)

        starts = ([0.2, 0.05, c] for c in (0.1, 0.5, 1.5))
        bounds = ([0, -np.inf, 0.05], [np.inf, np.inf, 2.0])
        best = min(optimize.least_squares(missed, start, bounds=bounds).cost for start in starts)
        ours = missed([found[0], found[1] * max(ROWS) ** -found[2], found[2]])
        assert (ours**2).sum() / 2 <= best * 1.01 + 1e-9


def test_a_curve_that_rises_stays_so_and_a_floor_holds() -> None:
    rising = fit_power_law(ROWS, np.array([0.30, 0.31, 0.32, 0.325]))
    assert rising[0, 1] < 0
    falling = np.array([0.4, 0.2, 0.06, 0.01])
    assert fit_power_law(ROWS, falling)[0, 0] >= 0
    assert fit_power_law(ROWS, falling - 1, floor=False)[0, 0] < 0


# The measurement


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, bert: Path) -> Iterator[tuple[Prepared, dict[str, Any]]]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("curve")
        patch.setenv("TUNESMITH_CACHE", str(folder / "cache"))
        prepared = prepared_of(folder, bert, rows_of(160))
        yield prepared, learning_curve(prepared, repeats=3)


def test_points_are_shares_of_the_rows_with_their_repeats(measured: tuple[Prepared, dict[str, Any]]) -> None:
    prepared, curve = measured
    assert (curve["metric"], curve["higher_is_better"]) == ("macro_f1", True)
    assert [point["share"] for point in curve["points"]] == list(SHARES)
    for point in curve["points"]:
        assert point["rows"] == pytest.approx(point["share"] * len(prepared.train), abs=2)
        assert len(point["repeats"]) == 3
        assert point["mean"] == pytest.approx(sum(point["repeats"]) / 3)
        assert point["low"] <= point["mean"] <= point["high"]
    assert curve["points"][-1]["mean"] > curve["points"][0]["mean"] + 0.05, "more rows teach more words"
    for name, times in (("doubling", 2), ("quadruple", 4)):
        ahead = curve[name]
        assert ahead["rows"] == times * curve["points"][-1]["rows"]
        assert ahead["low"] <= ahead["gain"] <= ahead["high"]
        fit = curve["fit"]
        law = fit["top"] - fit["a"] - fit["b"] * ahead["rows"] ** -fit["c"]
        assert ahead["expected"] == pytest.approx(law)
    assert curve["quadruple"]["gain"] >= curve["doubling"]["gain"]
    assert curve["seconds"] > 0
    assert json.loads(json.dumps(curve)) == curve


def test_the_same_seed_gives_the_same_curve_and_the_first_repeat_divides_as_a_run(
    measured: tuple[Prepared, dict[str, Any]],
) -> None:
    prepared, curve = measured
    again = learning_curve(prepared, repeats=3)
    assert {**again, "seconds": 0} == {**curve, "seconds": 0}
    rows, judging = drawn_rows(prepared, 1.0, prepared.source.recipe.run.seed, 0)
    ids = [row["id"] for row in prepared.learning]
    assert [ids[i] for i in rows] == [row["id"] for row in prepared.train]
    assert [ids[i] for i in judging] == [row["id"] for row in prepared.validation]
    other, others = drawn_rows(prepared, 0.5, 0, 1)
    assert not set(other) & set(others)
    assert set(others) != set(judging)


def test_groups_stay_together_in_every_share(tmp_path: Path, bert: Path) -> None:
    rows = [{**row, "who": f"s{i % 24}"} for i, row in enumerate(rows_of(240))]
    prepared = prepared_of(tmp_path, bert, rows, data={"group_by": "who"})
    for repeat in range(3):
        chosen, judging = drawn_rows(prepared, 0.5, 0, repeat)
        groups = [{prepared.learning[i]["who"] for i in part} for part in (chosen, judging)]
        rest = set(range(len(prepared.learning))) - set(chosen) - set(judging)
        assert not groups[0] & groups[1]
        assert not groups[0] & {prepared.learning[i]["who"] for i in rest}


def test_labels_that_nothing_tells_show_no_gain(tmp_path: Path, bert: Path) -> None:
    rng = np.random.default_rng(1)
    rows = [{**row, "label": str(rng.integers(0, 2))} for row in rows_of(200)]
    curve = learning_curve(prepared_of(tmp_path, bert, rows), repeats=3)
    assert curve["doubling"]["low"] <= 0
    assert curve["said"].startswith(("no gain to be seen", "not to be told"))


def test_rows_with_a_label_each_are_learned_without_a_fault(tmp_path: Path, bert: Path) -> None:
    """Half of the rows of every label are held out, so that one is left to learn from."""
    rows = [{**row, "label": f"l{i // 2}"} for i, row in enumerate(rows_of(40))]
    curve = learning_curve(prepared_of(tmp_path, bert, rows, data={"eval": 0.5}), repeats=2)
    assert [point["rows"] for point in curve["points"]] == [2, 5, 10, 20]
    assert len(curve["points"][-1]["repeats"]) == 1, "no rows judge, so all rows are one way to learn"


def test_a_trained_head_has_a_curve_too_and_a_metric_that_falls_is_read_so(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", "roberta")
    prepared = prepared_of(tmp_path, model, rows_of(96), stages=[{"train": "head", "epochs": 2, "lr": 1e-2}])
    prepared.task.goal, prepared.task.higher_is_better = "log_loss", False
    prepared.task.tally = lambda *_: None  # type: ignore[method-assign]
    curve = learning_curve(prepared, repeats=1)
    assert curve["probe"] == "trained"
    assert curve["fit"]["top"] is None
    first, last = curve["points"][0]["mean"], curve["points"][-1]["mean"]
    ahead = curve["doubling"]
    assert last < first, "a loss falls with rows"
    assert ahead["gain"] == pytest.approx(
        curve["fit"]["b"] * (curve["points"][-1]["rows"] ** -curve["fit"]["c"] - ahead["rows"] ** -curve["fit"]["c"])
    )
    assert "log loss" in curve["said"]


# Bad input


def test_too_few_rows_are_said_to_be_too_few(tmp_path: Path, bert: Path) -> None:
    with pytest.raises(UserError, match="training rows are too few for a learning curve") as fault:
        learning_curve(prepared_of(tmp_path, bert, rows_of(12)))
    assert "at least 16" in fault.value.fix


def test_a_language_model_is_refused_with_what_to_do(tmp_path: Path) -> None:
    model = small_decoders.write_decoder(tmp_path / "model")
    options = {"forgetting": None, "shots": [1]}
    prepared = prepared_of(tmp_path, model, small_decoders.conversations(48), task="causal-lm", options=options)
    with pytest.raises(UserError, match="trains no new head") as fault:
        learning_curve(prepared)
    assert fault.value.fix


def test_ctrl_c_ends_it_at_once(tmp_path: Path, bert: Path) -> None:
    def stop(_what: str, _done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learning_curve(prepared_of(tmp_path, bert, rows_of(60)), progress=stop)


# What is shown


def test_the_chart_shows_points_intervals_the_law_and_the_next_doubling(
    measured: tuple[Prepared, dict[str, Any]],
) -> None:
    chart = learning_curve_chart(measured[1])
    assert chart.picture.count("<circle") == len(SHARES) + 1
    assert chart.picture.count("<path") == len(SHARES) + 2
    assert [name for name, _, _ in chart.legend] == ["power law", "measured", "twice the rows"]
    assert "macro F1" in chart.note


def test_the_plan_has_the_curve_as_text_and_as_json(
    tmp_path: Path, bert: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(REPEATS, "linear", 2)
    prepared_of(tmp_path, bert, rows_of(80))

    def said(*words: str) -> str:
        monkeypatch.setattr("sys.argv", ["tunesmith", "plan", "recipe.yaml", *words])
        with pytest.raises(SystemExit) as done:
            main()
        assert done.value.code == 0
        return capsys.readouterr().out

    curve = json.loads(said("--learning-curve", "--json"))["learning_curve"]
    text = said("--learning-curve")
    assert curve["said"] in text
    assert curve_text(curve).splitlines()[0] in text
    assert not json.loads(said("--json")).get("learning_curve")
    assert not (tmp_path / "runs").exists()
