"""The comparison: every network on the same rows, the better one first, and one that can't be had as a row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.small_models import rows_of, write_model
from tunesmith.cli import main
from tunesmith.compare import compare_models, source_with
from tunesmith.errors import UserError
from tunesmith.evaluate import compare as compare_predictions
from tunesmith.linear_probe import open_probe
from tunesmith.prepare import prepare
from tunesmith.recipe import Source, read_recipe
from tunesmith.report.compared import compare_text

FIELDS = {"model", "metric", "higher_is_better", "score", "interval", "difference", "reach", "verdict"}
FIELDS |= {"parameters", "bytes", "rows_per_second", "license", "probe", "rows", "fault"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that tells words apart, one of another architecture, one that tells nothing, one without weights."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("models")
    for name, family in (("bert", "bert"), ("other", "distilbert"), ("blind", "bert"), ("broken", "bert")):
        write_model(folder / name, family)
    (folder / "bert" / "README.md").write_text("---\nlicense: mit\n---\n", encoding="utf-8")
    weights = load_file(folder / "blind" / "model.safetensors")
    blind = {k: v * 0 if "word_embeddings" in k else v for k, v in weights.items()}
    save_file(blind, folder / "blind" / "model.safetensors", metadata={"format": "pt"})
    whole = (folder / "broken" / "model.safetensors").read_bytes()
    (folder / "broken" / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture
def source(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path, rows_of(240))
    return read_recipe(tmp_path / "recipe.yaml")


def write_rows(folder: Path, rows: list[dict[str, Any]], task: str = "text-classification") -> None:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "recipe.yaml").write_text(
        f"task: {task}\nmodel: bert\ndata: {{train: rows.jsonl, eval: 0.3}}\n"
        "audit: {accept: {few-rows: a test}}\nengine: {device: cpu, precision: fp32}\n",
        encoding="utf-8",
    )


def test_networks_are_ranked_on_the_same_rows_with_their_costs(source: Source, models: Path) -> None:
    names = [str(models / name) for name in ("blind", "bert", "other")]
    found = compare_models(source, names)
    assert all(set(one) == FIELDS for one in found)
    assert [one["score"] for one in found] == sorted((one["score"] for one in found), reverse=True)
    first = found[0]
    assert (first["verdict"], first["difference"], first["reach"]) == ("best", 0, [0, 0])
    assert first["model"] == names[1]
    by_name = {one["model"]: one for one in found}
    blind = by_name[names[0]]
    assert blind["verdict"] == "worse", "a network that reads no word"
    assert blind["reach"][1] < 0
    assert by_name[names[1]]["license"] == "mit"
    assert by_name[names[2]]["license"] == "unknown"
    for one in found:
        assert one["bytes"] == (Path(one["model"]) / "model.safetensors").stat().st_size
        assert one["interval"][0] <= one["score"] <= one["interval"][1]
        assert one["rows_per_second"] > 0
        prepared = prepare(source_with(source, one["model"]))
        assert one["parameters"] == sum(p.numel() for p in prepared.task.load().parameters())


def test_the_difference_is_the_paired_one_of_the_verdict(source: Source, models: Path) -> None:
    names = [str(models / name) for name in ("bert", "blind")]
    best, other = compare_models(source, names)
    said = []
    for name in names:
        prepared = prepare(source_with(source, name))
        ids = {row["id"]: i for i, row in enumerate(prepared.learning)}
        rows, judging = ([ids[row["id"]] for row in part] for part in (prepared.train, prepared.validation))
        said.append(open_probe(prepared).predictions(rows, judging, 0))
    known = compare_predictions(prepared.task, prepared.held_out, *said, base_name="best", seed=1)
    assert (best["score"], other["score"]) == (known["base"], known["tuned"])
    assert other["difference"] == pytest.approx(known["difference"])
    assert other["reach"] == pytest.approx(known["interval"], abs=0.02)
    assert other["verdict"] == known["verdict"]


def test_a_copy_is_not_told_apart_from_the_best(source: Source, models: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(models / "bert", tmp_path / "copy")
    best, other = compare_models(source, [str(models / "bert"), str(tmp_path / "copy")])
    assert best["score"] == other["score"]
    assert (other["difference"], other["verdict"]) == (0, "no difference shown")
    assert "not told apart" in compare_text([best, other])


def test_what_can_t_be_loaded_is_a_row_with_its_reason(source: Source, models: Path) -> None:
    names = [str(models / "broken"), str(models / "bert"), "no/such-model", "starter:mobilenet-v2", "./nowhere"]
    found = compare_models(source, names)
    assert found[0]["model"] == names[1]
    faults = {one["model"]: one["fault"] for one in found[1:]}
    assert set(faults) == set(names) - {names[1]}
    assert "broken" in faults[names[0]]
    assert "there is no folder" in faults["./nowhere"]
    assert all(faults.values())
    text = compare_text(found)
    for name, fault in faults.items():
        assert f"not probed: {name}: {fault}" in text


def test_names_that_make_no_comparison_are_refused(source: Source, models: Path) -> None:
    name = str(models / "bert")
    for names, what in (([], "no models are named"), ([name, name], "is named twice"), (["bert"], "1 model is named")):
        with pytest.raises(UserError, match=what) as fault:
            compare_models(source, names)
        assert fault.value.fix
    with pytest.raises(UserError, match="none of the 2 models could be probed") as fault:
        compare_models(source, ["./a", "./b"])
    assert "./a: there is no folder" in fault.value.what


def test_one_model_is_held_against_the_recipe_s_own(source: Source, models: Path, tmp_path: Path) -> None:
    (tmp_path / "bert").symlink_to(models / "bert")
    said: list[str] = []
    found = compare_models(source, [str(models / "blind")], say=said.append)
    assert [one["model"] for one in found] == ["bert", str(models / "blind")]
    assert "held against the recipe's own model, bert" in said


def test_rows_at_fault_are_said_once_and_are_no_model_s_fault(source: Source, models: Path, tmp_path: Path) -> None:
    write_rows(tmp_path, [{**row, "label": "x"} for row in rows_of(60)])
    with pytest.raises(UserError, match="one-class"):
        compare_models(source, [str(models / "bert"), str(models / "blind")])


def test_a_task_without_frozen_features_is_refused(source: Source, tmp_path: Path) -> None:
    from tests.fixtures import small_decoders

    names = [str(small_decoders.write_decoder(tmp_path / name)) for name in ("one", "two")]
    write_rows(tmp_path, small_decoders.conversations(48), "causal-lm")
    with pytest.raises(UserError, match="trains no new head on a frozen network"):
        compare_models(read_recipe(tmp_path / "recipe.yaml", ["options={forgetting: null, shots: [1]}"]), names)


def test_ctrl_c_is_no_model_s_fault(source: Source, models: Path) -> None:
    def stop(what: str, _done: int, _total: int) -> None:
        if what.startswith("features"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare_models(source, [str(models / "bert"), str(models / "blind")], progress=stop)


def test_the_command_takes_models_side_by_side_and_settings(
    source: Source, models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    bert, blind, other = (str(models / name) for name in ("bert", "blind", "other"))

    def said(*words: str) -> str:
        capsys.readouterr()
        monkeypatch.setattr("sys.argv", ["tunesmith", "compare", "recipe.yaml", *words])
        with pytest.raises(SystemExit) as done:
            main()
        assert done.value.code == 0
        return capsys.readouterr().out

    together = json.loads(said("--models", bert, blind, other, "data.limit=80", "--json"))
    repeated = json.loads(said("data.limit=80", "--models", bert, "--models", blind, "--models", other, "--json"))
    assert [one["score"] for one in together] == [one["score"] for one in repeated]
    assert together[0]["rows"] == 24
    text = said("--models", bert, blind)
    assert "licence" in text
    assert "rows/s" in text
