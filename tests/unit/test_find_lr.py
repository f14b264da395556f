"""The range test's rule on curves of every kind and on real descents; and the watchers of the same room."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

from tunesmith.errors import UserError
from tunesmith.run import Run
from tunesmith.train.find_lr import draw, exploded, schedule, smooth, valley
from tunesmith.train.watch import Ask, EventsFile, Explosion, Plateau, Progress, RateMeter, Watcher, clock_time

RATES = schedule()


def curve(noise: float = 0.0, seed: int = 0) -> tuple[list[float], list[float]]:
    """Flat, falling about 1e-3, rising from 6e-2, stopped when it explodes."""
    x = np.log10(RATES)
    losses = 0.69 - 0.25 / (1 + np.exp(-(x + 3) * 3)) + 0.1 * np.exp((x + 1.2) * 5)
    losses = losses + noise * np.random.default_rng(seed).normal(size=len(RATES))
    seen: list[float] = []
    for loss in losses:
        seen.append(float(loss))
        if exploded(seen):
            break
    return RATES[: len(seen)], seen


def test_importing_it_loads_no_torch() -> None:
    code = "import sys, tunesmith.train.find_lr, tunesmith.train.watch as w; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_rates_rise_by_the_same_factor() -> None:
    assert len(RATES) == 60
    assert (RATES[0], RATES[-1]) == pytest.approx((1e-7, 1.0))
    assert np.ptp(np.diff(np.log(RATES))) < 1e-12
    for low, high, steps in [(0, 1, 9), (1, 1, 9), (1, 2, 1)]:
        with pytest.raises(ValueError, match="no range"):
            schedule(low, high, steps)


def test_smoothing_is_unbiased_from_the_first_loss_on() -> None:
    assert smooth([5.0] * 10) == pytest.approx([5.0] * 10)
    assert smooth([1.0, 2.0], keep=0.5) == pytest.approx([1.0, (0.25 * 1 + 0.5 * 2) / 0.75])
    assert smooth([]) == []


def test_explosion_is_four_times_the_best_or_not_a_number() -> None:
    assert not exploded([])
    assert not exploded([1.0, 0.5, 0.6])
    assert exploded([1.0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 50.0])
    assert exploded([1.0, math.nan])
    assert exploded([1.0, math.inf])
    # A loss may be negative (a log-density): rising from -1 to -0.5 is no explosion, to 5 it is.
    assert not exploded([-1.0, -0.5])
    assert exploded([-1.0, 9.0])


def test_the_rule_by_hand() -> None:
    """Falls from index 3 to 12 of 20: two thirds along is index 9, whatever stands after."""
    rates = schedule(1e-6, 1.0, 20)
    losses = [1.0, 1.0, 1.0, *np.linspace(1.0, 0.1, 10), *np.linspace(0.5, 8, 7)]
    picked = valley(rates, [float(loss) for loss in losses])
    # Smoothing lags, so that the stretch ends a step or two later.
    assert rates[8] <= picked <= rates[11]
    assert picked in rates


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.03, 0.05])
def test_noise_moves_the_pick_by_less_than_a_decade(noise: float) -> None:
    picks = [valley(*curve(noise, seed)) for seed in range(40)]
    assert min(picks) >= 2e-4
    assert max(picks) <= 6e-3


def descent(rates: list[float], seed: int) -> tuple[list[float], float]:
    """Adam on a logistic regression, a batch of 32 a step: the losses seen, and the final loss on all rows."""
    rng = np.random.default_rng(seed)
    weights, inputs = rng.normal(size=20), 3 * rng.normal(size=(1000, 20))
    labels = inputs @ weights + 3 * rng.normal(size=1000) > 0
    learned, mean, square = np.zeros(20), np.zeros(20), np.zeros(20)
    losses: list[float] = []
    for step, rate in enumerate(rates, 1):
        rows = rng.integers(0, 1000, 32)
        logits = inputs[rows] @ learned
        losses.append(float(np.mean(np.logaddexp(0, logits) - labels[rows] * logits)))
        gradient = inputs[rows].T @ (np.exp(-np.logaddexp(0, -logits)) - labels[rows]) / 32
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        learned = learned - rate * mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
        if len(set(rates)) > 1 and exploded(losses):
            break
    logits = inputs @ learned
    return losses, float(np.mean(np.logaddexp(0, logits) - labels * logits))


@pytest.mark.parametrize("seed", range(5))
def test_the_picked_rate_trains_a_real_model_well(seed: int) -> None:
    losses, _ = descent(RATES, seed)
    picked = valley(RATES[: len(losses)], losses)
    reached = descent([picked] * 150, seed)[1]
    grid = {rate: descent([rate] * 150, seed)[1] for rate in (1e-5, 1e-4, 1e-2, 1e-1, 1.0, 10.0)}
    start, best = math.log(2), min(grid.values())
    assert reached < grid[1e-5]
    assert reached < grid[10.0]
    assert start - reached > 0.6 * (start - best)


def test_noise_alone_is_no_valley() -> None:
    accepted = 0
    for seed in range(200):
        losses = 0.69 + 0.05 * np.random.default_rng(seed).normal(size=60)
        try:
            valley(RATES, losses.tolist())
        except UserError:
            continue
        accepted += 1
    # Three standard errors with a choice among some dozens of stretches: 2 % of pure noise passed when this was set.
    assert accepted <= 10


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ([0.7] * 60, "is flat"),
        (np.linspace(0.7, 0.6995, 60).tolist(), "is flat"),
        (np.exp(np.linspace(0, 3, 60)).tolist(), "only rises"),
        ((np.exp(np.linspace(0, 3, 60)) + 0.01 * np.random.default_rng(1).normal(size=60)).tolist(), "only rises"),
        ([0.7, 0.6, math.nan, 0.1, *[0.1] * 56], "not finite from step 3"),
        ([math.inf] * 60, "not finite from step 1"),
    ],
    ids=["constant", "hardly-falling", "rising", "rising-noisily", "early-nan", "infinite"],
)
def test_a_curve_without_a_valley_is_an_error(losses: list[float], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        valley(RATES, losses)
    assert "write a rate" in caught.value.fix


def test_a_tail_that_is_not_finite_is_left_out() -> None:
    rates, losses = curve()
    assert valley([*rates, 1.0, 2.0], [*losses, math.inf, math.nan]) == valley(rates, losses)
    with pytest.raises(ValueError, match="beside"):
        valley(rates, losses[:-1])


@pytest.mark.parametrize("picked", [1e-3, 0.5, None])
def test_the_picture_is_valid_and_marks_the_picked_rate(picked: float | None) -> None:
    rates, losses = curve(0.02)
    text = draw([*rates, 1.5], [*losses, math.inf], picked)
    tree = ElementTree.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    texts = ["".join(node.itertext()) for node in tree.iter(f"{space}text")]
    assert {"loss", "learning rate (logarithmic)", "1e-7", "1e-4"} <= set(texts)
    marks = [said for said in texts if said.startswith("picked")]
    assert marks == ([] if picked is None else [f"picked {picked:.1e}"])
    circles = list(tree.iter(f"{space}circle"))
    assert len(circles) == len(losses)
    width, height = map(float, tree.attrib["viewBox"].split()[2:])
    assert all(0 <= float(c.attrib["cx"]) <= width and 0 <= float(c.attrib["cy"]) <= height for c in circles)
    across = [float(circle.attrib["cx"]) for circle in circles]
    assert np.ptp(np.diff(across)) < 0.3
    with pytest.raises(ValueError, match="no finite loss"):
        draw([1.0], [math.nan], None)


# The watchers


def step(loss: float | None, number: int = 1, **more: Any) -> dict[str, Any]:
    return {"kind": "step", "stage": 0, "step": number, "loss": loss, "norm": 1.0, "lr": {"head": 1e-3}} | more


def evaluated(score: float, number: int = 1) -> dict[str, Any]:
    return {"kind": "eval", "stage": 0, "step": number, "scores": {"accuracy": 0.0, "macro_f1": score}}


def asked(watcher: Watcher, events: list[dict[str, Any]]) -> list[bool]:
    return [watcher.see(event) is not None for event in events]


@pytest.mark.parametrize("sign", [1, -1], ids=["higher", "lower"])
def test_plateau_waits_for_a_better_score(sign: int) -> None:
    scores = [0.5, 0.6, 0.6, 0.59, 0.7, 0.7, math.nan, 0.2]
    watcher = Plateau(3, higher_is_better=sign > 0, metric="macro_f1")
    assert asked(watcher, [evaluated(sign * score) for score in scores]) == [False] * 7 + [True]
    ask = Plateau(1, metric="macro_f1").see(evaluated(math.nan))
    assert ask == Ask("stop", "plateau: no better score in 1 evaluations (no score at all)")


def test_plateau_starts_anew_with_a_stage_but_not_with_a_resume() -> None:
    watcher = Plateau(2, metric="macro_f1")
    start = {"kind": "stage", "event": "start", "stage": 0, "step": 0}
    events = [start, evaluated(0.9), evaluated(0.8), {"kind": "resume", "step": 1}, start]
    assert not any(asked(watcher, events))
    assert watcher.waited == 1
    watcher.see(start | {"stage": 1})
    assert asked(watcher, [evaluated(0.5), evaluated(0.4), evaluated(0.4)]) == [False, False, True]


def test_plateau_needs_to_know_which_score() -> None:
    with pytest.raises(ValueError, match="accuracy, macro_f1"):
        Plateau(1).see(evaluated(0.5))
    assert Plateau(1).see({"kind": "eval", "scores": {"f1": 0.5}}) is None
    assert Plateau(1).see({"kind": "eval", "score": 0.5, "scores": {"f1": 0, "g": 1}}) is None
    with pytest.raises(ValueError, match="at least 1"):
        Plateau(0)


@pytest.mark.parametrize("loss", [math.nan, math.inf, None])
def test_a_loss_that_is_not_finite_ends_the_run(loss: float | None) -> None:
    watcher = Explosion()
    assert watcher.see(step(0.7, 1, norm=math.inf)) is None
    with pytest.raises(UserError, match="not finite") as caught:
        watcher.see(step(loss, 7))
    assert caught.value.where == "step 7"


def exploding(watcher: Watcher, losses: list[float]) -> int | None:
    """The step at which it ends the run."""
    for number, loss in enumerate(losses, 1):
        try:
            watcher.see(step(loss, number))
        except UserError as error:
            return number if "exploded" in error.what else -1
    return None


def test_an_exploding_loss_ends_the_run_and_a_bad_batch_does_not() -> None:
    rng = np.random.default_rng(0)
    calm = (0.7 + 0.1 * rng.normal(size=300)).tolist()
    assert exploding(Explosion(), calm) is None
    assert exploding(Explosion(), [*calm[:100], 80.0, 90.0, *calm[100:]]) is None
    assert exploding(Explosion(), [*calm[:100], *[8.0] * 20]) == 106
    assert exploding(Explosion(), [*calm[:100], *[6.0] * 200]) is None
    assert exploding(Explosion(), [1e-4] * 25 + [5e-4] * 50) is None
    assert exploding(Explosion(), [-1.0] * 25 + [5.0] * 50) is None


def test_watchers_resume_as_if_never_interrupted() -> None:
    """At every step of a run the state goes through JSON into new watchers, which decide the same."""
    rng = np.random.default_rng(3)
    losses = [*np.abs(0.7 + 0.1 * rng.normal(size=40)), *[9.0] * 12]
    whole = exploding(Explosion(), losses)
    assert whole is not None
    for cut in range(whole):
        watcher, other = Explosion(), Explosion()
        assert exploding(watcher, losses[:cut]) is None
        other.restore(json.loads(json.dumps(watcher.state())))
        assert exploding(other, losses[cut:]) == whole - cut
    scores = [evaluated(score) for score in (0.1, 0.3, 0.2, 0.2, 0.2)]
    for cut in range(5):
        first, second = (Plateau(3, metric="macro_f1") for _ in range(2))
        asked(first, scores[:cut])
        second.restore(json.loads(json.dumps(first.state())))
        assert asked(second, scores[cut:]) == [False, False, False, False, True][cut:]


def test_events_file_writes_what_it_sees(tmp_path: Path) -> None:
    run = Run.open(tmp_path, create=True)
    watcher = EventsFile(run)
    assert asked(watcher, [step(0.5, 1), evaluated(math.nan)]) == [False, False]
    events, _ = run.read_events()
    assert [event["kind"] for event in events] == ["step", "eval"]
    assert events[1]["scores"]["macro_f1"] is None
    watcher.restore(watcher.state())


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rate_meter_looks_back_a_while_and_no_further() -> None:
    clock = Clock()
    meter = RateMeter(10, clock)
    assert meter.per_second is None
    for _ in range(10):
        clock.now += 1
        meter.tick(5)
    assert meter.per_second == pytest.approx(5)
    for _ in range(20):
        clock.now += 1
        meter.tick(50)
    assert meter.per_second == pytest.approx(50)
    clock.now += 500
    meter.rest()
    clock.now += 100
    meter.tick(1000)
    assert meter.per_second == pytest.approx(10)


def test_progress_in_plain_lines_every_ten_seconds() -> None:
    clock, out = Clock(), io.StringIO()
    with Progress(Console(file=out, width=60), clock) as progress:
        progress.see({"kind": "stage", "event": "start", "stage": 0, "name": "top 2", "steps": 60, "done": 20})
        for number in range(21, 61):
            clock.now += 1
            more = {"lr": {"head": 1e-3, "block 5": 5e-4, "block 0": None}, "rows_per_second": 32.0, "seconds": 1.0}
            assert progress.see(step(0.5, number, **more)) is None
        progress.see({"kind": "warning", "text": "[bold]as it is[/bold]"})
        progress.see(evaluated(0.75, 60) | {"best": True})
        progress.see({"kind": "stage", "event": "end", "stage": 0, "seconds": 65})
    lines = out.getvalue().splitlines()
    assert lines[0] == "top 2 21/60  loss 0.5000  32 rows/s  lr 1.0e-03  39 s left"
    assert [line.split()[2] for line in lines[:5]] == ["21/60", "31/60", "41/60", "51/60", "60/60"]
    assert lines[5:] == [
        "warning: [bold]as it is[/bold]",
        "top 2 step 60: accuracy 0, macro_f1 0.75 (best so far)",
        "top 2: done in 1:05",
    ]


def test_progress_on_a_terminal_is_a_bar_that_ends() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, _environ={"TERM": "xterm"})

    def interrupted() -> None:
        with Progress(console) as progress:
            for stage in range(2):
                progress.see({"kind": "stage", "event": "start", "stage": stage, "name": f"stage[{stage}]", "steps": 3})
                for number in range(1, 4):
                    progress.see(step(None if number == 2 else 0.25, number))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    shown = out.getvalue()
    assert "stage[1]" in shown
    assert "3/3" in shown
    assert "loss 0.2500" in shown
    # The cursor, hidden while the bar runs, is shown again.
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


def test_clock_time() -> None:
    assert [clock_time(s) for s in (0.2, 8, 185, 3723)] == ["0 s", "8 s", "3:05", "1:02:03"]
