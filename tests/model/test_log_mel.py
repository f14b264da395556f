from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tunesmith.errors import UserError
from tunesmith.model.log_mel import FILE, LogMel


def sound(samples: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / 16_000
    wave = 0.3 * np.sin(2 * np.pi * 440 * time) * (np.sin(2 * np.pi * 3 * time) > 0) + 0.01 * rng.standard_normal(
        samples
    )
    return wave.astype(np.float32)


@pytest.mark.parametrize(
    "samples", [1, 60, 160, 199, 200, 201, 1_000, 16_000, 47_777, 479_700, 479_999, 480_000, 500_000]
)
@pytest.mark.parametrize("bins", [80, 128])
def test_frames_are_those_of_transformers(samples: int, bins: int) -> None:
    from transformers import WhisperFeatureExtractor

    wave = sound(samples)
    theirs = WhisperFeatureExtractor(feature_size=bins)(wave, sampling_rate=16_000, return_tensors="np").input_features
    listener = LogMel(bins)
    ours = listener.whole([listener(wave)]).numpy()
    assert ours.shape == theirs.shape == (1, bins, 3000)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_only_what_was_recorded_is_kept() -> None:
    frames, silence = LogMel()(sound(16_000))
    assert frames.shape == (80, 102)
    assert silence == pytest.approx(float(frames.min()), abs=0.5)
    quiet, fill = LogMel()(np.zeros(8_000, np.float32))
    assert float(quiet.min()) == float(quiet.max()) == pytest.approx(fill)


def test_settings_are_read_and_held_against_the_model(tmp_path: Path) -> None:
    assert LogMel.read(tmp_path, 80) == LogMel()
    (tmp_path / FILE).write_text(json.dumps(dict(LogMel(128).to_json())), encoding="utf-8")
    assert LogMel.read(tmp_path, 128) == LogMel(128)
    with pytest.raises(UserError, match="takes 80 mel bands"):
        LogMel.read(tmp_path, 80)
    (tmp_path / FILE).write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="no JSON"):
        LogMel.read(tmp_path, 80)
