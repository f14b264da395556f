"""The probe: recorded features say what the model says, a fitted head is the reference's, other heads are trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.fixtures import picture_runs, small_decoders
from tests.fixtures.small_models import rows_of, write_model
from tunesmith.errors import UserError
from tunesmith.linear_probe import LinearProbe, TrainedProbe, open_probe, resampled_scores
from tunesmith.prepare import Prepared, prepare
from tunesmith.recipe import read_recipe

LABELS = ("bad", "good", "mixed")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))


def three_kinds(count: int = 160) -> list[dict[str, Any]]:
    """Rows of three labels, the third of them told by no word."""
    return [{**row, "label": "mixed"} if i % 5 == 4 else row for i, row in enumerate(rows_of(count))]


def prepared_of(
    folder: Path, model: Path | str, rows: list[dict[str, Any]], *settings: str, task: str = "text-classification"
) -> Prepared:
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        f"task: {task}\nmodel: {model}\ndata: {{train: rows, eval: 0.25}}\nbatch: {{rows: 16}}\n"
        "audit: {accept: {few-rows: a test, leak: a test}}\nengine: {device: cpu, precision: fp32}\n",
        encoding="utf-8",
    )
    return prepare(read_recipe(recipe, settings), rows=rows)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("bert"))


def linear(prepared: Prepared) -> LinearProbe:
    probe = open_probe(prepared)
    assert isinstance(probe, LinearProbe)
    return probe


def test_a_fitted_head_is_sklearns_logistic_regression(tmp_path: Path, bert: Path) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    prepared = prepared_of(tmp_path, bert, three_kinds())
    probe = linear(prepared)
    rows = list(range(0, len(prepared.learning), 2))
    decay = 0.03
    head, _ = probe.fit.path(rows, [decay])
    inputs = probe.fit.features.inputs[rows].double()
    mean, spread = inputs.mean(0), inputs.std(0, unbiased=False)
    reference = linear_model.LogisticRegression(C=1 / (decay * len(rows)), tol=1e-8, max_iter=5000)
    reference.fit(((inputs - mean) / spread).numpy(), [prepared.learning[i]["label"] for i in rows])
    assert tuple(reference.classes_) == tuple(prepared.task.labels)
    held_out = probe.held_out.inputs
    wanted = reference.predict_proba(((held_out.double() - mean) / spread).numpy())
    found = head(held_out).softmax(-1).numpy()
    assert np.abs(found - wanted).max() < 5e-3
    assert wanted.std() > 0.02, "a head that says nothing proves nothing"


def test_recorded_features_are_those_that_the_head_reads(tmp_path: Path, bert: Path) -> None:
    prepared = prepared_of(tmp_path, bert, three_kinds())
    probe = linear(prepared)
    torch.manual_seed(prepared.source.recipe.run.seed)
    task = prepared.task
    model = task.load().eval()
    loader_rows = list(prepared.held_out)
    with torch.inference_mode():
        batch = task.collate(task.encode_many(loader_rows))
        live = task.predict(model, batch)
        logits = model.classifier(probe.held_out.inputs)
        said = task.predict(probe._answers.saying(logits), probe.held_out.batch)
    assert [one["label"] for one in said] == [one["label"] for one in live]
    for one, other in zip(said, live, strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)


@pytest.mark.parametrize(("family", "how"), [("bert", "linear"), ("gpt2", "linear"), ("roberta", "trained")])
def test_heads_are_told_apart_by_what_they_are(tmp_path: Path, family: str, how: str) -> None:
    model = write_model(tmp_path / "model", family, pad=True)
    prepared = prepared_of(tmp_path, model, rows_of(80), "stages=[{train: head, epochs: 2, lr: 1e-2}]")
    probe = open_probe(prepared)
    assert probe.how == how
    rows = list(range(len(prepared.learning)))
    said = probe.predictions(rows[8:], rows[:8], 0)
    assert len(said) == len(prepared.held_out)
    assert {one["label"] for one in said} <= {"bad", "good"}
    assert probe.rows_per_second > 0
    assert probe.parameters == sum(p.numel() for p in prepared.task.load().parameters())


def test_a_trained_head_depends_on_its_rows_and_its_seed_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / "model", "roberta")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    prepared = prepared_of(tmp_path, model, rows_of(96), "stages=[{train: head, epochs: 3, lr: 1e-2}]")
    probe = open_probe(prepared)
    assert isinstance(probe, TrainedProbe)
    rows = list(range(len(prepared.learning)))
    first, again = probe.predictions(rows[8:], rows[:8], 5), probe.predictions(rows[8:], rows[:8], 5)
    assert first == again
    assert probe.predictions(rows[8:20], rows[:8], 5) != first
    assert probe.predictions(rows[8:], rows[:8], 6) != first
    assert list(work.iterdir()) == []


def test_the_penalty_is_the_one_that_the_judging_rows_want(tmp_path: Path, bert: Path) -> None:
    """On labels that nothing tells, the strongest penalty loses least; on rows that are learned, a weak one does."""
    rng = np.random.default_rng(0)
    chance = [{**row, "label": str(rng.integers(0, 2))} for row in rows_of(160)]
    probe = linear(prepared_of(tmp_path, bert, chance))
    rows = list(range(len(probe.prepared.learning)))
    _, of_chance = probe.fit.path(rows[40:], (1.0, 0.1, 1e-3), rows[:40])
    _, of_itself = probe.fit.path(rows[40:], (1.0, 0.1, 1e-3), rows[40:])
    assert of_chance == 1.0
    assert of_itself == 1e-3


def test_an_adapter_and_augmentation_are_left_out(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", "bert")
    prepared = prepared_of(tmp_path, model, rows_of(60), "adapter={kind: lora}")
    assert open_probe(prepared).how == "linear"
    data = picture_runs.data_for("image-classification", tmp_path / "pictures", 24)
    folder = picture_runs.classifier_folder(tmp_path / "resnet", "resnet")
    recipe = picture_runs.write_recipe(tmp_path, "image-classification", folder, data, "{size: 32, augment: outdoor}")
    pictures = prepare(read_recipe(recipe))
    assert pictures.task.random, "its rows are augmented in training"
    one, other = (linear(pictures).held_out.inputs for _ in range(2))
    assert torch.equal(one, other)
    assert pictures.task.random, "the recipe's own task is as it was"


@pytest.mark.parametrize("task", ["object-detection", "image-segmentation"])
def test_heads_that_are_no_classifier_learn_on_recorded_activations(tmp_path: Path, task: str) -> None:
    family = {"object-detection": "yolos", "image-segmentation": "segformer"}[task]
    write = picture_runs.detector_folder if task == "object-detection" else picture_runs.segmenter_folder
    data = picture_runs.data_for(task, tmp_path / "data", 16)
    stages = "[{train: head, epochs: 1, lr: 1e-3}]"
    recipe = picture_runs.write_recipe(tmp_path, task, write(tmp_path / family, family), data, "{size: 64}", stages)
    prepared = prepare(read_recipe(recipe))
    prepared.raise_errors()
    probe = open_probe(prepared)
    assert probe.how == "trained"
    said = probe.predictions(range(len(prepared.learning)), (), 0)
    points, drawn = resampled_scores(prepared.task, [said], prepared.held_out, seed=0)
    assert points[0] == prepared.task.score(said, prepared.held_out)[prepared.task.goal]
    assert drawn.shape[0] == 1


def test_a_language_model_has_no_head_to_learn_and_says_what_to_do(tmp_path: Path) -> None:
    model = small_decoders.write_decoder(tmp_path / "model")
    rows = small_decoders.conversations(48)
    settings = ("options={forgetting: null, shots: [1]}",)
    prepared = prepared_of(tmp_path, model, rows, *settings, task="causal-lm")
    with pytest.raises(UserError, match="trains no new head on a frozen network") as fault:
        open_probe(prepared)
    assert "train on half of the rows" in fault.value.fix


def test_features_that_are_not_numbers_are_named_with_their_row(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_model(tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    tensors["encoder.layer.1.output.dense.bias"][0] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="rows are not finite"):
        open_probe(prepared_of(tmp_path, folder, rows_of(60)))


def test_resampled_scores_are_those_of_the_paired_bootstrap(tmp_path: Path, bert: Path) -> None:
    from tunesmith.evaluate import compare

    prepared = prepared_of(tmp_path, bert, three_kinds())
    probe, task, rows = linear(prepared), prepared.task, prepared.held_out
    every = list(range(len(prepared.learning)))
    one, other = probe.predictions(every[:16], (), 0), probe.predictions(every, (), 0)
    points, drawn = resampled_scores(task, [one, other], rows, seed=3)
    known = compare(task, rows, one, other, base_name="fewer rows", seed=4)
    assert points.tolist() == [known["base"], known["tuned"]]
    found = np.quantile(drawn[1] - drawn[0], [0.025, 0.975])
    assert found == pytest.approx(known["interval"], abs=0.02)
    # Without a tally the same comes from scores, row by row.
    task.tally = lambda *_: None  # type: ignore[method-assign]
    again, slowly = resampled_scores(task, [one, other], rows, seed=3)
    assert again.tolist() == points.tolist()
    assert np.quantile(slowly[1] - slowly[0], [0.025, 0.975]) == pytest.approx(known["interval"], abs=0.05)


def test_whole_groups_are_resampled(tmp_path: Path, bert: Path) -> None:
    """With one group of all rows but one, a resample has all of them, one, or none."""
    prepared = prepared_of(tmp_path, bert, rows_of(80))
    probe, rows = linear(prepared), prepared.held_out
    said = probe.predictions(range(len(prepared.learning)), (), 0)
    _, drawn = resampled_scores(prepared.task, [said], rows, seed=0, groups=[int(i == 0) for i in range(len(rows))])
    assert len(set(np.round(drawn[0], 6))) <= 3
