"""Features are what a linear head reads, or the highest block; each row is computed once, and never too many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fixtures import picture_runs, small_decoders
from tests.fixtures.small_models import rows_of, write_model
from tunesmith.audit import features as room
from tunesmith.audit.data import AuditData, Wishes
from tunesmith.audit.features import Features, features_of, sampled_features, unit, why_none
from tunesmith.audit.kept import Kept
from tunesmith.linear_probe import LinearProbe, open_probe
from tunesmith.prepare import prepare
from tunesmith.recipe import read_recipe


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("bert"))


def audit_of(folder: Path, model: Path | str, rows: list[dict[str, Any]] | None, task: str = "text-classification",
             recipe: Path | None = None) -> AuditData:  # fmt: skip
    if recipe is None:
        recipe = folder / "recipe.yaml"
        recipe.write_text(
            f"task: {task}\nmodel: {model}\ndata: {{train: rows, eval: 0.25, validation: 0}}\nbatch: {{rows: 16}}\n"
            "audit: {accept: {few-rows: a test}}\nengine: {device: cpu, precision: fp32}\n",
            encoding="utf-8",
        )
    prepared = prepare(read_recipe(recipe), rows=rows)
    return AuditData(prepared, Kept(folder / "measures.sqlite"), Wishes())


def taken(data: AuditData) -> Features:
    found = data.features
    assert found is not None, why_none(data)
    return found


def test_they_are_what_the_head_reads(tmp_path: Path, bert: Path) -> None:
    data = audit_of(tmp_path, bert, rows_of(120))
    found = taken(data)
    probe = open_probe(data.prepared)
    assert isinstance(probe, LinearProbe)
    assert found.kind == "head"
    assert found.whole
    assert found.train.shape == (len(data.sides["train"]), 32)
    assert np.allclose(found.eval, probe.held_out.inputs.numpy(), atol=1e-5)
    assert np.allclose(np.linalg.norm(found.unit("train"), axis=1), 1, atol=1e-5)
    assert why_none(data) == ""


def test_a_second_audit_computes_only_what_is_new(tmp_path: Path, bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(120)
    first = taken(audit_of(tmp_path, bert, rows))
    assert first.seconds > 0
    from tunesmith.audit.states import Reader

    computed: list[int] = []
    original = Reader.vectors

    def counted(self: Reader, loader: Any, *args: Any) -> Any:
        computed.append(len(loader))
        return original(self, loader, *args)

    monkeypatch.setattr(Reader, "vectors", counted)
    again = taken(audit_of(tmp_path, bert, rows))
    assert not computed
    assert again.seconds == 0
    assert np.array_equal(again.train, first.train)
    rows[3] = {**rows[3], "text": f"{rows[3]['text']} anew"}
    changed = audit_of(tmp_path, bert, rows)
    taken(changed)
    assert sum(computed) == 1
    # A label is not read by the network.
    rows[5] = {**rows[5], "label": "good" if rows[5]["label"] == "bad" else "bad"}
    computed.clear()
    taken(audit_of(tmp_path, bert, rows))
    assert not computed


def test_an_interrupted_audit_keeps_what_it_computed(
    tmp_path: Path, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "CHUNK_ROWS", 20)
    rows = rows_of(120)
    data = audit_of(tmp_path, bert, rows)

    def stop(_what: str, done: int, _total: int) -> None:
        if done > 40:
            raise KeyboardInterrupt

    data.progress = stop
    with pytest.raises(KeyboardInterrupt):
        features_of(data)
    from tunesmith.audit.states import Reader

    computed: list[int] = []
    original = Reader.vectors
    monkeypatch.setattr(
        Reader, "vectors", lambda self, loader, *a: computed.append(len(loader)) or original(self, loader, *a)
    )
    found = taken(audit_of(tmp_path, bert, rows))
    assert sum(computed) == len(rows) - 40
    assert np.isfinite(found.train).all()


def test_a_damaged_cache_is_computed_anew(tmp_path: Path, bert: Path) -> None:
    first = taken(audit_of(tmp_path, bert, rows_of(60)))
    (folder,) = (tmp_path / "cache" / "audit" / "features").iterdir()
    for file in folder.glob("*.bin"):
        file.write_bytes(file.read_bytes()[:-8])
    assert np.allclose(taken(audit_of(tmp_path, bert, rows_of(60))).train, first.train, atol=1e-5)
    (folder / "about.json").write_text("{", encoding="utf-8")
    assert np.allclose(taken(audit_of(tmp_path, bert, rows_of(60))).train, first.train, atol=1e-5)


def test_a_decoder_is_heard_at_its_middle_and_without_padding(tmp_path: Path) -> None:
    model = small_decoders.write_decoder(tmp_path / "model")
    data = audit_of(tmp_path, model, small_decoders.conversations(48), "causal-lm")
    found = taken(data)
    assert found.kind == "block"
    assert len(found.train) == len(data.sides["train"])
    assert np.isfinite(found.train).all()
    assert found.train.std(0).mean() > 0
    # A row's features do not depend on the rows beside it.
    alone = room.Computation(data)
    row = data.sides["train"][0]
    vector = alone.reader.vectors(alone._loader([row]))[0].numpy()
    assert np.allclose(vector, found.train[0], atol=1e-4)


@pytest.mark.parametrize("task", ["image-classification", "object-detection", "image-segmentation"])
def test_pictures_have_features(tmp_path: Path, task: str) -> None:
    write = {
        "image-classification": (picture_runs.classifier_folder, "resnet"),
        "object-detection": (picture_runs.detector_folder, "yolos"),
        "image-segmentation": (picture_runs.segmenter_folder, "segformer"),
    }[task]
    data = picture_runs.data_for(task, tmp_path / "data", 16)
    size = "{size: 32}" if task == "image-classification" else "{size: 64}"
    recipe = picture_runs.write_recipe(tmp_path, task, write[0](tmp_path / "model", write[1]), data, size)
    found = taken(audit_of(tmp_path, "", None, recipe=recipe))
    assert found.kind == ("head" if task == "image-classification" else "block")
    assert found.train.ndim == found.eval.ndim == 2
    assert np.isfinite(found.train).all()
    assert len({row.tobytes() for row in found.train}) > 1


def test_what_takes_too_long_is_sampled(tmp_path: Path, bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "ALWAYS_ROWS", 50)
    monkeypatch.setattr(room, "MOST_SECONDS", 1e-6)
    monkeypatch.setattr(room, "SAMPLE_ROWS", 40)
    monkeypatch.setattr(room, "LEAST_SAMPLE", 40)
    data = audit_of(tmp_path, bert, rows_of(160))
    assert data.features is None
    assert "would take about" in why_none(data)
    found = sampled_features(data)
    assert found is not None
    assert not found.whole
    assert len(found.train) + len(found.eval) == 40
    assert len(found.eval) == 20
    assert len(found.at["train"]) == len(found.train)
    assert sampled_features(data) is found
    monkeypatch.setattr(room, "MOST_SECONDS", 1e6)
    whole = taken(audit_of(tmp_path, bert, rows_of(160)))
    assert np.allclose(whole.train[found.at["train"]], found.train, atol=1e-5)


def test_without_weights_it_is_said_why(tmp_path: Path, bert: Path) -> None:
    data = audit_of(tmp_path, bert, rows_of(60))
    data.has_weights = False
    assert data.features is None
    assert sampled_features(data) is None
    assert why_none(data) == "the model's weights are not at hand"


def test_a_network_that_fails_is_no_fault_of_the_data(
    tmp_path: Path, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = audit_of(tmp_path, bert, rows_of(60))

    def fail(*_args: Any) -> Any:
        raise RuntimeError("not implemented for 'Half'\nmore")

    monkeypatch.setattr(type(data.task), "loss", fail)
    assert data.features is None
    assert why_none(data) == "the network can't be run here: not implemented for 'Half'"


def test_units_of_zero_stay_zero() -> None:
    found = unit(np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32))
    assert np.allclose(found, [[0.6, 0.8], [0.0, 0.0]])
