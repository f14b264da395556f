"""Losses and rates reach a real tracker, and a tracker that is not installed is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunesmith.errors import UserError
from tunesmith.train.engine import LocalEngine


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_holds_what_was_logged(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    engine = LocalEngine("cpu", "fp32")
    engine.track(["tensorboard"], "trial", tmp_path, {"recipe": "r.yaml"})
    for step in range(1, 6):
        engine.log({"loss": 1.0 / step, "lr/head": 1e-3 * step}, step)
    engine.close()
    folder = next(tmp_path.rglob("events.out.tfevents*")).parent
    events = EventAccumulator(str(folder))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "lr/head"}
    logged = [(event.step, round(event.value, 6)) for event in events.Scalars("loss")]
    assert logged == [(step, round(1.0 / step, 6)) for step in range(1, 6)]


def test_a_tracker_that_is_not_installed_is_named_with_the_command(tmp_path: Path) -> None:
    engine = LocalEngine("cpu", "fp32")
    with pytest.raises(UserError) as caught:
        engine.track(["mlflow"], "trial", tmp_path, {})
    assert "mlflow" in caught.value.what
    assert caught.value.fix == "pip install mlflow"


def test_without_trackers_logging_does_nothing(tmp_path: Path) -> None:
    engine = LocalEngine("cpu", "fp32")
    engine.track([], "trial", tmp_path, {})
    engine.log({"loss": 1.0}, 1)
    engine.close()
    assert not list(tmp_path.iterdir())
