"""The progress bar: what a person sees on a terminal, and the plain lines elsewhere."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from tunesmith.train.watch import Progress, RateMeter, clock_time


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def screen(terminal: bool) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=terminal, width=80, color_system=None, legacy_windows=False), out


def step(number: int, **changes: Any) -> dict[str, Any]:
    event = {"kind": "step", "step": number, "loss": 0.5, "lr": {"head": 1e-3, "block 0": None}}
    return event | {"rows_per_second": 64.0, "seconds": 0.5} | changes


START = {"kind": "stage", "event": "start", "stage": 0, "name": "head", "steps": 4}


def test_without_a_terminal_lines_come_at_most_every_ten_seconds() -> None:
    clock, (console, out) = Clock(), screen(terminal=False)
    with Progress(console, clock) as bar:
        bar.see(START)
        for number in range(1, 5):
            clock.now += 4
            bar.see(step(number))
    lines = out.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == ["head 1/4", "head 4/4"]
    assert lines[0] == "head 1/4  loss 0.5000  8 rows/s  lr 1.0e-03  12 s left"
    assert lines[1].endswith("0 s left")


def test_work_that_is_short_says_nothing_and_long_work_says_its_share() -> None:
    clock, (console, out) = Clock(), screen(terminal=False)
    with Progress(console, clock) as bar:
        bar.work("reading train rows", 8_192, 400_000)
        bar.work("reading train rows", 400_000, 400_000)
        assert out.getvalue() == ""
        for done in range(0, 500, 100):
            clock.now += 6
            bar.work("scoring the base", done, 400)
    assert out.getvalue().splitlines() == ["scoring the base: 25%", "scoring the base: 75%"]


def test_work_without_a_size_is_no_crash() -> None:
    for terminal in (False, True):
        console, _out = screen(terminal)
        with Progress(console, Clock()) as bar:
            bar.work("reading", 0, 0)


def test_the_bar_shows_loss_rate_and_time_left_and_goes_back_to_the_terminal() -> None:
    clock, (console, out) = Clock(), screen(terminal=True)
    with Progress(console, clock) as bar:
        bar.see(START)
        clock.now += 2
        bar.see(step(1))
        bar.work("scoring the base", 10, 40)
        assert bar._bar is not None
        stage, work = bar._bar.tasks
        assert (stage.fields["name"], stage.fields["amount"], stage.completed) == ("head", "1/4", 1)
        assert stage.description == "loss 0.5000  16 rows/s  lr 1.0e-03  6 s left"
        assert (work.fields["amount"], work.description) == ("25%", "scoring the base")
        bar.work("scoring the base", 40, 40)
        assert [task.fields["name"] for task in bar._bar.tasks] == ["head"]
        bar.say("a line [above] the bar")
    written = out.getvalue()
    assert "a line [above] the bar" in written
    assert "━" in written
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1, "the cursor comes back"


def test_the_bar_fits_eighty_columns() -> None:
    console, out = screen(terminal=True)
    clock = Clock()
    with Progress(console, clock) as bar:
        bar.see({**START, "name": "adapter", "steps": 12_000})
        clock.now += 0.01
        bar.see(step(1, rows_per_second=6_400.0))
        bar.work("recording activations below encoder", 20, 40)
    frames = re.split(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]", out.getvalue())
    shown = [frame for frame in frames if "loss 0.5000" in frame]
    assert shown
    assert all(len(frame.rstrip()) <= 80 for frame in frames)
    assert any("left" in frame for frame in shown), "the time left is what one looks for"


def fail(bar: Progress) -> None:
    bar.see(START)
    raise ValueError("the work failed")


def test_the_terminal_comes_back_when_the_work_fails() -> None:
    console, out = screen(terminal=True)
    bar = Progress(console, Clock())
    with pytest.raises(ValueError, match="the work"), bar:
        fail(bar)
    assert out.getvalue().count("\x1b[?25h") == 1


def test_stages_evaluations_warnings_and_resumes_are_said() -> None:
    clock, (console, out) = Clock(), screen(terminal=False)
    with Progress(console, clock) as bar:
        bar.see({"kind": "resume", "step": 3})
        bar.see({**START, "done": 3})
        bar.see(step(4, loss=None))
        bar.see({"kind": "eval", "step": 4, "scores": {"macro_f1": 0.75, "accuracy": 0.5}, "best": True})
        bar.see({"kind": "warning", "text": "something [odd]"})
        assert bar.see({"kind": "stage", "event": "end", "stage": 0, "name": "head", "seconds": 65.4}) is None
    assert out.getvalue().splitlines() == [
        "going on from step 3",
        "head 4/4  loss not finite  lr 1.0e-03",
        "head step 4: macro_f1 0.75, accuracy 0.5 (best so far)",
        "warning: something [odd]",
        "head: done in 1:05",
    ]


def test_time_in_an_evaluation_is_not_counted_as_time_per_step() -> None:
    clock, (console, out) = Clock(), screen(terminal=False)
    with Progress(console, clock, every=0) as bar:
        bar.see(START)
        clock.now += 1
        bar.see(step(1))
        clock.now += 600
        bar.see({"kind": "eval", "step": 1, "scores": {"accuracy": 0.5}})
        clock.now += 1
        bar.see(step(2))
    assert out.getvalue().splitlines()[-1].endswith("32 rows/s  lr 1.0e-03  2 s left")


def test_a_meter_forgets_what_is_long_ago() -> None:
    clock = Clock()
    meter = RateMeter(seconds=10, clock=clock)
    assert meter.per_second is None
    for amount in (1000, *[10] * 30):
        clock.now += 1
        meter.tick(amount)
    assert meter.per_second == pytest.approx(10)


@pytest.mark.parametrize(("seconds", "words"), [(7.6, "8 s"), (185, "3:05"), (3723, "1:02:03"), (-1, "0 s")])
def test_times_for_a_person(seconds: float, words: str) -> None:
    assert clock_time(seconds) == words
