"""The contract of tasks on speech, and models that they refuse; small models of the real architectures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from tests.speech.small_runs import listener, rows_of, tuned, weights, whisper
from tunesmith.check import CHECKS, check_task
from tunesmith.data.source import read_rows
from tunesmith.errors import UserError
from tunesmith.registry import find_task
from tunesmith.tasks import speech_ctc
from tunesmith.types import Batch, Example

DRAWN = ("encode-repeatable", "encode-rng", "length", "loss-sum", "two-ranks", "resume-mid-epoch")


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "family", "options"),
    [
        ("speech-to-text", "whisper", {"language": "en"}),
        ("speech-to-text", "whisper", {"language": "en", "timestamps": 0.5, "augment": "clean"}),
        ("speech-ctc", "wav2vec2", {}),
        ("speech-ctc", "hubert", {"case": "upper"}),
        ("speech-ctc", "wavlm", {"punctuation": "keep"}),
    ],
)
def test_tasks_on_speech_keep_the_contract(name: str, family: str, options: Mapping[str, Any], tmp_path: Path) -> None:
    rows_of(tmp_path / "data", 12)
    source = whisper(tmp_path / "model") if family == "whisper" else listener(tmp_path / "model", family)
    kind = find_task(name)
    shape = kind.row_shape(kind.Options(**options))
    rows = [
        {**row, "audio": str(tmp_path / "data" / row["audio"])}
        for row in read_rows(str(tmp_path / "data"), shape=shape)
    ]
    # Where Whisper's sound is drawn anew, what does not depend on that was asked above.
    asked = [c for c in CHECKS if "timestamps" not in options or c in DRAWN]
    report = check_task(kind, rows, source=weights(source), options=dict(options), checks=asked)
    assert not report.failures, str(report)
    assert [result.name for result in report.results] == asked


def exact_sum(logits: Tensor, frames: Sequence[int], labels: Tensor, counts: Sequence[int]) -> Tensor:
    """CTC in the precision of the logits."""
    return nn.functional.ctc_loss(
        logits.log_softmax(-1).transpose(0, 1), labels, torch.tensor(list(frames)), torch.tensor(list(counts)),
        reduction="sum", zero_infinity=True,
    )  # fmt: skip


class Exact(speech_ctc.SpeechCTC):
    """The task in fp64, which needs no exception for rounding."""

    exceptions: ClassVar[Mapping[str, str]] = {}

    def load(self) -> nn.Module:
        return super().load().double()

    def collate(self, examples: Sequence[Example]) -> Batch:
        batch = super().collate(examples)
        return batch | {"waves": batch["waves"].double()}


@pytest.mark.heavy
@pytest.mark.parametrize("family", ["wav2vec2", "hubert", "wavlm"])
def test_ranks_and_micro_batches_differ_by_rounding_alone(
    tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In fp32 they lie up to 1.3e-6 apart, at a drawn speed or not. More than the order of sums would stay in fp64."""
    assert set(speech_ctc.SpeechCTC.exceptions) == {"two-ranks", "accumulation"}
    monkeypatch.setattr(speech_ctc, "ctc_sum", exact_sum)
    options: dict[str, Any] = {"augment": {"speed": {"probability": 1.0, "factor": [0.85, 1.15]}}}
    rows_of(tmp_path / "data", 12)
    shape = Exact.row_shape(None)
    rows = [{**r, "audio": str(tmp_path / "data" / r["audio"])} for r in read_rows(tmp_path / "data", shape=shape)]
    source = weights(listener(tmp_path / "model", family))
    report = check_task(Exact, rows, source=source, options=options, checks=["two-ranks", "accumulation"])
    assert not report.failures, str(report)
    assert [result.status for result in report.results] == ["passed", "passed"]
    assert all(float(result.measured) < 1e-12 for result in report.results), str(report)


def test_other_models_are_refused_with_the_task_for_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="takes Whisper") as fault:
        tuned("speech-to-text", tmp_path, listener(tmp_path / "model"))
    assert "speech-ctc" in str(fault.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [("{}", "must be told one"), ("{language: klingon}", "does not know the language")],
)
def test_a_language_that_nobody_knows_is_an_error(options: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        tuned("speech-to-text", tmp_path, whisper(tmp_path / "model"), options=options)
