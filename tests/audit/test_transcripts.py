"""Transcripts of other recordings are found by weights that hear, given back where they belong, and heard once only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.fixtures import sounds
from tests.speech.small_runs import DRAWN, listener, recipe_of, rows_of, weights, whisper
from tunesmith import fine_tune
from tunesmith.audit.found import AuditReport
from tunesmith.audit.kept import Kept
from tunesmith.audit.opening import open_data
from tunesmith.audit.run import audit
from tunesmith.audit.transcript_fit import Fitted, Listener, Ratios
from tunesmith.audit.transcripts import _likeliest, _odd_end, ends_of
from tunesmith.recipe import read_recipe
from tunesmith.registry import find_task
from tunesmith.speech import heard

STILL = {
    f"{name}_dropout": 0.0 for name in ("hidden", "attention", "activation", "feat_proj", "final")
} | {"layerdrop": 0.0}  # fmt: skip
EARS = {"conv_dim": (64,) * 3, "conv_kernel": (80, 8, 4), "conv_stride": (20, 4, 4)}


@pytest.fixture(scope="module", autouse=True)
def alone() -> Any:
    """One thread, and nothing heard before."""
    before, kept = torch.get_num_threads(), heard.KEPT
    torch.set_num_threads(1)
    heard.KEPT = heard.Kept()
    yield
    heard.KEPT = kept
    torch.set_num_threads(before)


def whisper_task(folder: Path, texts: Sequence[str]) -> tuple[Any, Any, list[dict[str, Any]]]:
    kind = find_task("speech-to-text")
    task = kind(kind.Options(language="en"), weights(whisper(folder / "model")))
    rows = []
    for i, text in enumerate(texts):
        sounds.spoken(folder / f"{i}.wav", text)
        rows.append({"id": str(i), "audio": str(folder / f"{i}.wav"), "text": text})
    task.facts = task.survey(rows)
    return task, task.load().eval(), rows


def test_the_fit_of_a_whisper_is_its_loss_where_all_of_the_input_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith.model import transcript_fit

    monkeypatch.setattr(transcript_fit, "QUIET_FRAMES", 400)
    task, model, rows = whisper_task(tmp_path, ("sun rain", "moon", "snow lake tree"))
    fits = task.fits(model, rows[0], [row["text"] for row in rows])
    for fit, row in zip(fits, rows, strict=True):
        mixed = {**rows[0], "text": row["text"]}
        batch = task.collate([task.encode(mixed)])
        with torch.no_grad():
            loss = float(task.loss(model, batch)["tokens"])
        assert fit.loss + fit.end == pytest.approx(loss, rel=1e-4)
        assert len(fit.parts) == fit.units == len(task.written(mixed))
        assert sum(fit.parts) == pytest.approx(fit.loss, rel=1e-5)
    assert len({fit.no_speech for fit in fits}) == 1
    assert 0 < fits[0].no_speech < 1


def test_the_fit_of_a_recognizer_is_its_loss(tmp_path: Path) -> None:
    kind = find_task("speech-ctc")
    source = weights(listener(tmp_path / "model", **STILL))
    task = kind(kind.Options(language="en"), source)
    rows = rows_of(tmp_path / "data", 3)
    task.folders = (tmp_path / "data",)
    named = [{"id": row["file_name"], "audio": row["file_name"], "text": row["text"]} for row in rows]
    task.facts = task.survey(named)
    model = task.load().eval()
    texts = [row["text"] for row in named]
    assert task.fits(model, named[0], texts) == [], "a fresh layer of characters can't say anything"
    task.__dict__["_own_vocabulary"] = task.vocabulary
    task.fresh = frozenset()
    fits = task.fits(model, named[0], texts)
    for fit, text in zip(fits, texts, strict=True):
        batch = task.collate([task.encode({**named[0], "text": text})])
        with torch.no_grad():
            assert fit.loss == pytest.approx(float(task.loss(model, batch)["characters"]), rel=1e-4)
        assert fit.units == len(task.written(text))


def test_ratios_tell_only_where_most_transcripts_fit_far_better_than_wrong_ones() -> None:
    rng = np.random.default_rng(0)
    wrong = rng.normal(1, 0.12, 400)
    own = np.concatenate([rng.uniform(0, 0.5, 95), rng.normal(1, 0.12, 5)])
    ratios = Ratios(own, wrong)
    assert ratios.tells
    assert set(np.flatnonzero(ratios.scores() >= 0.5)) == set(range(95, 100))
    deaf = Ratios(rng.normal(1, 0.12, 100), wrong)
    assert not deaf.tells
    assert Ratios(np.array([0.1, np.nan, 0.9]), wrong).scores()[1] == 0


@pytest.mark.parametrize(
    ("text", "said", "kind", "words"),
    [
        ("Press star to cancel.", "press star to cancel", None, ""),
        ("Press star", "press star to cancel this call", "cut", "to cancel this call"),
        ("to cancel this call", "press star to cancel this call", "cut", "press star"),
        ("press star to cancel and then say goodbye", "Press star to cancel.", "long", "and then say goodbye"),
        ("well hello there press star to cancel", "press star to cancel", "long", "well hello there"),
        ("Thursday", "the number is not answering", None, ""),
        ("press star to cancel", "", None, ""),
    ],
)
def test_words_that_one_side_lacks_at_an_end(text: str, said: str, kind: str | None, words: str) -> None:
    assert ends_of(text, said, "en") == ((kind, words) if kind else None)


def test_an_odd_end_is_told_by_the_losses_of_its_tokens() -> None:
    def fit(parts: Sequence[float], end: float = 0.5) -> Fitted:
        return Fitted(float(np.mean(parts)), tuple(parts), end, 0.0, (8.0,))

    assert not _odd_end(fit([0.3, 1.2, 0.1, 2.0, 0.2]))
    assert _odd_end(fit([0.3, 0.2, 0.1], end=9.0))
    assert _odd_end(fit([0.3, 0.2, 0.1, 9.0, 7.0, 8.0]))
    assert _odd_end(fit([7.0, 0.2, 0.1, 0.4]))
    assert not _odd_end(Fitted(0.2, (), None, None, (8.0,)))


def test_likely_texts_are_those_with_most_in_common_and_never_a_rows_own() -> None:
    texts = ["press star to cancel", "the number is busy", "press pound to cancel", "thank you"]
    found = _likeliest(["the number is busy now", "press star to cancel", "thank you", "press the pound"], texts)
    assert [some[0] for some in found] == [1, 0, 3, 2]
    assert all(n != some[0] for n, some in enumerate(found))


def audited(folder: Path, model: Path, data: Path, held: Path) -> AuditReport:
    recipe = recipe_of(
        folder, "speech-ctc", model, data, held,
        accept=f"{DRAWN}, audio-in-both-splits: on purpose, leak: on purpose, too-short: drawn",
    )  # fmt: skip
    opened = open_data(read_recipe(recipe), kept=Kept(folder / "measures.sqlite"))
    return audit(opened, only=["transcripts"])


@pytest.mark.heavy
def test_swapped_transcripts_are_found_given_back_and_heard_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small recognizer that knows its clips by heart judges them with four transcripts mixed up."""
    for place in ("data", "same"):
        rows_of(tmp_path / place, 24, voices=1)
    model = listener(tmp_path / "model", hidden_size=64, num_hidden_layers=2, intermediate_size=128, **STILL, **EARS)
    recipe = recipe_of(
        tmp_path, "speech-ctc", model, tmp_path / "data", tmp_path / "same", rows=4,
        accept=f"{DRAWN}, audio-in-both-splits: on purpose, leak: on purpose, too-short: drawn",
        more=["stages: [{train: all, epochs: 90, lr: 2e-3}]"],
    )  # fmt: skip
    run = fine_tune(recipe)
    lines = [json.loads(line) for line in (tmp_path / "data" / "metadata.jsonl").read_text("utf-8").splitlines()]
    right = {line["file_name"]: line["text"] for line in lines}
    for one, other in ((2, 9), (5, 17)):
        lines[one]["text"], lines[other]["text"] = lines[other]["text"], lines[one]["text"]
    lines[12]["text"] = "wind sun wind sun"
    sounds.write_rows(tmp_path / "data" / "metadata.jsonl", lines)

    report = audited(tmp_path, run.model, tmp_path / "data", tmp_path / "same")
    assert report.skipped == []
    swapped = {mark.row: mark for f in report.findings if f.code == "swapped-transcripts" for mark in f.marks}
    assert sorted(swapped) == [lines[n]["file_name"] for n in (2, 5, 9, 17)]
    assert all(mark.change == {"text": right[row]} for row, mark in swapped.items())
    assert swapped[lines[2]["file_name"]].twin == f"train:{lines[9]['file_name']}"
    wrong = [mark for f in report.findings if f.code == "wrong-transcript" for mark in f.marks]
    assert [mark.row for mark in wrong] == [lines[12]["file_name"]]
    assert right[lines[12]["file_name"]].split()[0] in wrong[0].note

    def never(*_: Any) -> None:
        raise AssertionError("a recording was heard again")

    monkeypatch.setattr(find_task("speech-ctc"), "fits", never)
    monkeypatch.setattr(find_task("speech-ctc"), "transcripts", never)
    again = audited(tmp_path, run.model, tmp_path / "data", tmp_path / "same")
    assert [f for f in again.findings if f.marks] == [f for f in report.findings if f.marks]


def test_weights_that_never_heard_speech_are_not_asked(tmp_path: Path) -> None:
    rows_of(tmp_path / "data", 24, voices=1)
    rows_of(tmp_path / "same", 4, voices=1)
    report = audited(tmp_path, listener(tmp_path / "model", **STILL), tmp_path / "data", tmp_path / "same")
    assert "never wrote characters" in report.skipped[0].reason
    assert not any(f.code in ("swapped-transcripts", "cut-transcripts") for f in report.findings)


def test_a_random_whisper_is_not_believed_and_a_sample_says_so(tmp_path: Path) -> None:
    for place, count in (("data", 24), ("same", 4)):
        rows_of(tmp_path / place, count, voices=1)
    recipe = recipe_of(tmp_path, "speech-to-text", whisper(tmp_path / "model"), tmp_path / "data", tmp_path / "same")
    opened = open_data(read_recipe(recipe), kept=Kept(tmp_path / "measures.sqlite"))
    report = audit(opened, only=["transcripts"])
    assert "does not tell these transcripts from each other's" in report.skipped[0].reason
    asked = Listener(opened)
    assert all(one is not None for one in asked.fitted(1e9))
    assert all(len(asked.others_of(at)) == 4 for at in range(len(asked.rows)))
    none = Listener(opened)
    assert none.fitted(-1.0) == [None] * 28
    assert none.left_out == 28
