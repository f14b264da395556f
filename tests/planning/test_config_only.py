"""Planning with a model's configuration alone: no weights are fetched, and the shape is the same as with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fixtures import picture_runs, small_decoders, small_models, small_pipelines
from tests.speech import small_runs
from tunesmith.devices import find_device
from tunesmith.errors import UserError
from tunesmith.forecast.family import built_in
from tunesmith.model.weights import resolve
from tunesmith.plan import make_plan, shape_of
from tunesmith.prepare import Prepared, prepare
from tunesmith.recipe import ModelSection, read_recipe

FEW = {"few-rows": "a test", "leak": "a test"}


def rows_file(folder: Path, rows: list[dict[str, Any]]) -> str:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)


def text(folder: Path) -> dict[str, Any]:
    model = small_models.write_model(folder / "model", "bert")
    return {"task": "text-classification", "model": str(model),
            "data": {"train": rows_file(folder, small_models.rows_of(80))}, "audit": {"accept": FEW}}  # fmt: skip


def sentence(folder: Path) -> dict[str, Any]:
    found = text(folder)
    small_models.write_pooling(folder / "model", "mean")
    return found


def decoder_classifier(folder: Path) -> dict[str, Any]:
    model = small_models.write_model(folder / "model", "llama", labels=["x", "y"])
    return {"task": "text-classification", "model": str(model),
            "data": {"train": rows_file(folder, small_models.rows_of(80))}, "audit": {"accept": FEW}}  # fmt: skip


def chat(folder: Path) -> dict[str, Any]:
    model = small_decoders.write_decoder(folder / "model")
    return {"task": "causal-lm", "model": str(model), "audit": {"accept": FEW}, "options": {"forgetting": None},
            "data": {"train": rows_file(folder, small_decoders.conversations(64)), "eval": 0.25}}  # fmt: skip


def preference(folder: Path) -> dict[str, Any]:
    model = small_decoders.write_decoder(folder / "model", "gpt2")
    return {"task": "preference", "model": str(model), "audit": {"accept": FEW},
            "data": {"train": rows_file(folder, small_decoders.pairs(48)), "eval": 0.25}}  # fmt: skip


def pictures_of(task: str, write: Callable[[Path, str], Path], family: str) -> Callable[[Path], dict[str, Any]]:
    def made(folder: Path) -> dict[str, Any]:
        model = write(folder / "model", family)
        recipe = picture_runs.write_recipe(folder, task, model, picture_runs.data_for(task, folder))
        found: dict[str, Any] = yaml.safe_load(recipe.read_text(encoding="utf-8"))
        return found

    return made


def whisper(folder: Path) -> dict[str, Any]:
    small_runs.rows_of(folder / "data", 12)
    model = small_runs.whisper(folder / "model")
    place = small_runs.recipe_of(folder, "speech-to-text", model, folder / "data")
    found: dict[str, Any] = yaml.safe_load(place.read_text(encoding="utf-8"))
    return found


def listener(folder: Path) -> dict[str, Any]:
    small_runs.rows_of(folder / "data", 12)
    model = small_runs.listener(folder / "model")
    place = small_runs.recipe_of(folder, "speech-ctc", model, folder / "data", options="{}")
    found: dict[str, Any] = yaml.safe_load(place.read_text(encoding="utf-8"))
    return found


def diffusion(folder: Path) -> dict[str, Any]:
    pytest.importorskip("diffusers")
    small_pipelines.write(folder / "model", "sd")
    small_pipelines.captioned(folder / "photos", 6)
    clip = str(small_pipelines.clip_folder(folder / "clip"))
    return {
        "task": "text-to-image", "model": str(folder / "model"), "adapter": {"kind": "lora", "r": 2},
        "data": {"train": str(folder / "photos"), "eval": 0.4, "validation": 0}, "batch": {"rows": 2},
        "options": {"size": 32, "encoder": clip, "text_scorer": clip, "metric": "loss"},
        "stages": [{"train": "adapter", "epochs": 1}],
    }  # fmt: skip


WORLDS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "text": text,
    "sentence encoder": sentence,
    "decoder with a classifier": decoder_classifier,
    "chat": chat,
    "preference": preference,
    "picture classes": pictures_of("image-classification", picture_runs.classifier_folder, "vit"),
    "picture classes of a backbone": pictures_of("image-classification", picture_runs.classifier_folder, "dinov3_vit"),
    "boxes of yolox": pictures_of("object-detection", picture_runs.detector_folder, "yolox"),
    "boxes of detr": pictures_of("object-detection", picture_runs.detector_folder, "rt_detr"),
    "masks of a backbone": pictures_of("image-segmentation", picture_runs.segmenter_folder, "resnet"),
    "masks of segformer": pictures_of("image-segmentation", picture_runs.segmenter_folder, "segformer"),
    "whisper": whisper,
    "ctc": listener,
    "diffusion": diffusion,
}


def written(folder: Path, values: dict[str, Any]) -> Any:
    file = folder / "recipe.yaml"
    engine = {"device": "cpu", "precision": "fp32"} | values.get("engine", {})
    file.write_text(yaml.safe_dump(values | {"engine": engine}), encoding="utf-8")
    return read_recipe(file)


def told(prepared: Prepared) -> tuple[dict[str, Any], dict[str, Any]]:
    model, layers, *_ = shape_of(prepared)
    return {name: tuple(p.shape) for name, p in model.named_parameters()}, dict(layers.groups)


@pytest.mark.parametrize("world", sorted(WORLDS))
def test_the_shape_is_the_same_without_the_weights(world: str, tmp_path: Path) -> None:
    source = written(tmp_path, WORLDS[world](tmp_path))
    whole = prepare(source)
    whole.raise_errors()
    shapes, groups = told(whole)
    gone = [file for place in ("model", "clip") for file in (tmp_path / place).rglob("*.safetensors")]
    assert gone
    for file in gone:
        file.unlink()
    bare = prepare(source, shape_only=True)
    bare.raise_errors()
    assert bare.weights.files == ()
    assert told(bare) == (shapes, groups)
    # transformers makes the vector of masked frames of wav2vec 2.0 in a way that knows no device.
    made = [p.numel() for p in bare.task.skeleton().parameters() if not p.is_meta]
    assert sum(made) <= 32


@pytest.mark.parametrize("world", ["text", "chat"])
def test_the_plan_is_the_same_without_the_weights(world: str, tmp_path: Path) -> None:
    source = written(tmp_path, WORLDS[world](tmp_path))
    # The first trace in a process makes some tables that the later ones find.
    make_plan(prepare(source))
    whole = make_plan(prepare(source)).to_json()
    for file in (tmp_path / "model").glob("*.safetensors"):
        file.unlink()
    bare = make_plan(prepare(source, shape_only=True)).to_json()
    assert bare["memory"]["resident_bytes"] == pytest.approx(whole["memory"]["resident_bytes"], rel=1e-3)
    assert bare["stages"] == whole["stages"]


def test_one_pass_of_a_plan_runs_all_of_many_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaModel

    values = chat(tmp_path) | {"adapter": {"kind": "lora"}}
    config = tmp_path / "model/config.json"
    config.write_text(json.dumps(json.loads(config.read_text(encoding="utf-8")) | {"num_hidden_layers": 40}))
    (tmp_path / "model/model.safetensors").unlink()
    passes: list[int] = []
    whole, block = LlamaModel.forward, LlamaDecoderLayer.forward

    def model_forward(self: Any, *given: Any, **named: Any) -> Any:
        passes.append(0)
        return whole(self, *given, **named)

    def block_forward(self: Any, *given: Any, **named: Any) -> Any:
        passes[-1] += 1
        return block(self, *given, **named)

    monkeypatch.setattr(LlamaModel, "forward", model_forward)
    monkeypatch.setattr(LlamaDecoderLayer, "forward", block_forward)
    plan = make_plan(prepare(written(tmp_path, values), shape_only=True), target=find_device("L4"), ahead=True)
    assert plan.outlook["time"]["seconds"] > 0
    assert len(passes) > 4
    # What finds the cache's boundary follows the rows through the network as it is.
    assert sorted(passes)[-1] == 40
    assert sorted(passes)[-2] <= 5


def test_without_shape_only_weights_are_asked_for(tmp_path: Path) -> None:
    source = written(tmp_path, text(tmp_path))
    (tmp_path / "model/model.safetensors").unlink()
    with pytest.raises(UserError, match="no safetensors weights"):
        prepare(source)


# Where weights come from

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """A hub that hands out files of a folder, and notes what it was asked for."""

    def __init__(self, repository: Path, cache: Path) -> None:
        self.repository, self.snapshot, self.asked = repository, cache / COMMIT, list[str]()

    def __call__(
        self,
        name: str,
        *,
        revision: str | None = None,
        allow_patterns: list[str],
        ignore_patterns: list[str],
    ) -> str:
        files = [file for file in self.repository.rglob("*") if file.is_file()]
        for file in files:
            named = file.relative_to(self.repository).as_posix()
            wanted = any(fnmatch(named, pattern) for pattern in allow_patterns)
            if wanted and not any(fnmatch(named, pattern) for pattern in ignore_patterns):
                self.asked.append(named)
                (self.snapshot / named).parent.mkdir(parents=True, exist_ok=True)
                (self.snapshot / named).write_bytes(file.read_bytes())
        return str(self.snapshot)


def hub_of(monkeypatch: pytest.MonkeyPatch, repository: Path, cache: Path) -> Hub:
    hub = Hub(repository, cache)
    monkeypatch.setattr("huggingface_hub.snapshot_download", hub)
    return hub


def of_weights(names: list[str]) -> list[str]:
    return [name for name in names if name.endswith((".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack"))]


def test_no_weights_are_asked_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = chat(tmp_path)
    (tmp_path / "model/pytorch_model.bin").write_bytes(b"x")
    hub = hub_of(monkeypatch, tmp_path / "model", tmp_path / "cache")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    source = written(tmp_path, values | {"model": {"name": "org/name", "allow_pickle": True}})
    prepared = prepare(source, shape_only=True)
    assert of_weights(hub.asked) == []
    assert "config.json" in hub.asked
    assert "tokenizer.json" in hub.asked
    assert prepared.weights.files == ()
    assert prepared.weights.revision == COMMIT
    assert make_plan(prepared).memory is not None
    assert of_weights(hub.asked) == []
    resolve(ModelSection(name="org/name"))
    assert of_weights(hub.asked) == ["model.safetensors"]


def test_no_weights_of_a_pipeline_are_asked_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("diffusers")
    small_pipelines.write(tmp_path / "model", "sd")
    hub = hub_of(monkeypatch, tmp_path / "model", tmp_path / "cache")
    found = resolve(ModelSection(name="org/name"), shape_only=True)
    assert of_weights(hub.asked) == []
    assert {"model_index.json", "unet/config.json", "vae/config.json"} <= set(hub.asked)
    assert found.files == ()
    assert len(resolve(ModelSection(name="org/name")).files) == 3


def test_weights_that_are_here_are_used(tmp_path: Path) -> None:
    small_models.write_model(tmp_path / "model")
    found = resolve(ModelSection(name=str(tmp_path / "model")), shape_only=True)
    assert [file.name for file in found.files] == ["model.safetensors"]
    starter = resolve(ModelSection(name="starter:minilm-l6"), shape_only=True)
    assert len(starter.files) == 1


def test_a_hubs_cache_with_some_of_the_shards_is_one_without_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModel

    small_models.write_model(tmp_path / "model")
    AutoModel.from_pretrained(tmp_path / "model").save_pretrained(tmp_path / "model", max_shard_size="20KB")
    (tmp_path / "model/model.safetensors").unlink(missing_ok=True)
    hub = hub_of(monkeypatch, tmp_path / "model", tmp_path / "cache")
    shards = sorted((tmp_path / "model").glob("model-*.safetensors"))
    assert len(shards) > 1
    hub.snapshot.mkdir(parents=True)
    (hub.snapshot / shards[0].name).write_bytes(shards[0].read_bytes())
    assert resolve(ModelSection(name="org/name"), shape_only=True).files == ()
    shards[-1].unlink()
    with pytest.raises(UserError, match="which is not there"):
        resolve(ModelSection(name=str(tmp_path / "model")), shape_only=True)


def test_pickles_are_refused_before_the_run_as_ever(tmp_path: Path) -> None:
    folder = small_models.write_model(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="pickle form only"):
        resolve(ModelSection(name=str(folder)), shape_only=True)
    allowed = ModelSection(name=str(folder), allow_pickle=True)
    assert resolve(allowed, shape_only=True).files == ()


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"has no config\.json"):
        resolve(ModelSection(name=str(tmp_path / "empty")), shape_only=True)


@pytest.mark.parametrize(
    ("config", "said"),
    [("{", "can't read the configuration|not JSON"), ("[]", "can't read the configuration|not a JSON object"),
     ('{"model_type": "of-nobody"}', "can't read the configuration"), ("{}", "can't read the configuration")],
)  # fmt: skip
def test_a_config_that_cant_be_read_is_named_by_the_plan(config: str, said: str, tmp_path: Path) -> None:
    values = chat(tmp_path)
    (tmp_path / "model/model.safetensors").unlink()
    (tmp_path / "model/config.json").write_text(config, encoding="utf-8")
    with pytest.raises(UserError, match=said) as fault:
        prepare(written(tmp_path, values), shape_only=True)
    assert "config.json" in fault.value.where
    assert fault.value.fix


@pytest.mark.heavy
def test_a_model_of_70_billion_has_a_shape_in_seconds(tmp_path: Path) -> None:
    import time

    values = chat(tmp_path)
    (tmp_path / "model/model.safetensors").unlink()
    more = {"pad_token_id": 0, "rms_norm_eps": 1e-5, "hidden_act": "silu"}
    (tmp_path / "model/config.json").write_text(json.dumps(built_in()["llama-70B"].values | more), encoding="utf-8")
    prepared = prepare(written(tmp_path, values | {"adapter": {"kind": "lora"}}), shape_only=True)
    begun = time.process_time()
    model, layers, *_ = shape_of(prepared)
    assert time.process_time() - begun < 10
    frozen = sum(p.numel() for group in layers.groups if group != "adapter" for _, p in layers.parameters(group))
    assert frozen == 70_553_706_496
    assert all(parameter.is_meta for parameter in model.parameters())
