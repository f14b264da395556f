"""The plan from headers: parameters against real models, memory against the traced plan, time, and bad files."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures import families, small_decoders, small_models, small_pipelines, small_vision, small_whisper
from tunesmith.errors import UserError
from tunesmith.forecast.closed_form import Load, stage_memory
from tunesmith.forecast.config_values import Config
from tunesmith.forecast.counted_rows import count_rows
from tunesmith.forecast.decoders import DECODERS
from tunesmith.forecast.encoders import ENCODERS
from tunesmith.forecast.family import built_in
from tunesmith.forecast.found_model import by_formula, shape_of_folder
from tunesmith.forecast.headers import fast_plan
from tunesmith.forecast.weight_headers import read_header
from tunesmith.model.starter import locate
from tunesmith.recipe import read_recipe

ROOT = Path(__file__).resolve().parents[2]
FORMULAS = sorted(set(families.FAMILIES) & {*DECODERS, *ENCODERS})
WITHOUT = sorted(set(families.FAMILIES) - {*DECODERS, *ENCODERS})


def learned(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def as_written(model: Any) -> Config:
    """Its config.json."""
    values = json.loads(model.config.to_json_string())
    return Config(values | {"architectures": [type(model).__name__]})


def meta(make: Any) -> Any:
    import torch

    with torch.device("meta"):
        return make()


def recipe(folder: Path, model: Path | str, **more: Any) -> Any:
    rows = folder / "rows.jsonl"
    if not rows.exists():
        kept = [json.dumps({"text": f"{row['text']}", "label": row["label"]}) for row in small_models.rows_of(64)]
        rows.write_text("\n".join(kept) + "\n", encoding="utf-8")
    values = {"task": "text-classification", "model": str(model), "data": {"train": str(rows)}} | more
    file = folder / "recipe.yaml"
    file.write_text(json.dumps(values), encoding="utf-8")
    return read_recipe(file)


# Parameters


@pytest.mark.parametrize("family", FORMULAS)
def test_a_config_alone_counts_every_parameter_of_a_classifier(family: str) -> None:
    from transformers import AutoModelForSequenceClassification

    model = meta(lambda: AutoModelForSequenceClassification.from_config(families.config_of(family)))
    shape, why = by_formula(as_written(model))
    assert shape is not None, why
    assert shape.parameters == learned(model)
    assert len(shape.blocks) > 0


@pytest.mark.parametrize("family", sorted(set(FORMULAS) & set(DECODERS) - {"t5", "bart"}))
def test_a_config_alone_counts_every_parameter_of_a_decoder(family: str) -> None:
    from transformers import AutoModelForCausalLM

    model = meta(lambda: AutoModelForCausalLM.from_config(families.config_of(family)))
    shape, _ = by_formula(as_written(model))
    assert shape is not None
    assert shape.parameters == learned(model)
    assert shape.vocabulary == 64


@pytest.mark.parametrize("family", ["vit", "dinov2"])
def test_a_config_alone_counts_every_parameter_of_a_picture_model(family: str) -> None:
    from transformers import AutoModelForImageClassification

    model = meta(lambda: AutoModelForImageClassification.from_config(small_vision.backbone_config(family)))
    shape, _ = by_formula(as_written(model))
    assert shape is not None
    assert shape.parameters == learned(model)
    assert shape.patches == 17


@pytest.mark.parametrize("normed", ["group", "layer"])
@pytest.mark.parametrize("family", ["wav2vec2", "hubert"])
def test_a_config_alone_counts_every_parameter_of_a_speech_encoder(family: str, normed: str) -> None:
    from transformers import AutoConfig, AutoModelForCTC

    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    heard = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "conv_dim": (16,) * 7}
    config = AutoConfig.for_model(family, **size, **heard, feat_extract_norm=normed, conv_bias=normed == "layer")
    model = meta(lambda: AutoModelForCTC.from_config(config))
    shape, _ = by_formula(as_written(model))
    assert shape is not None
    assert shape.parameters == learned(model)


PUBLISHED = {
    "llama-1B": 1_235_814_400,
    "llama-3B": 3_212_749_824,
    "llama-8B": 8_030_261_248,
    "llama-70B": 70_553_706_496,
    "llama2-7B": 6_738_415_616,
    "qwen2.5-0.5B": 494_032_768,
    "qwen2.5-1.5B": 1_543_714_304,
    "qwen2.5-3B": 3_085_938_688,
    "qwen2.5-7B": 7_615_616_512,
    "qwen2.5-14B": 14_770_033_664,
    "qwen2.5-32B": 32_763_876_352,
    "qwen2.5-72B": 72_706_203_648,
}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_the_shapes_that_come_along_have_as_many_parameters_as_their_makers_say(name: str) -> None:
    shape, _ = by_formula(built_in()[name])
    assert shape is not None
    assert shape.parameters == PUBLISHED[name]


@pytest.mark.parametrize("family", sorted(families.FAMILIES))
def test_headers_count_every_parameter_of_a_family(family: str, tmp_path: Path) -> None:
    model = families.classifier_of(family)
    model.save_pretrained(tmp_path)
    shape = shape_of_folder(tmp_path)
    assert shape.said == "headers"
    assert shape.parameters == learned(model)
    assert sum(shape.groups().values()) == shape.parameters
    assert family not in WITHOUT or any(family in line for line in shape.unknown)


@pytest.mark.parametrize("family", ["resnet", "mobilenet_v2", "convnext", "vit", "swin"])
def test_headers_count_every_parameter_of_a_picture_model(family: str, tmp_path: Path) -> None:
    model = small_vision.classifier_of(family)
    model.save_pretrained(tmp_path)
    shape = shape_of_folder(tmp_path)
    assert shape.parameters == learned(model)
    assert shape.head > 0


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3"])
def test_headers_count_every_part_of_a_pipeline(family: str, tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    small_pipelines.write(tmp_path, family)
    pipe = small_pipelines.read(tmp_path)
    parts = [part for part in pipe.components.values() if hasattr(part, "parameters")]
    shape = shape_of_folder(tmp_path)
    assert shape.parameters == sum(learned(part) for part in parts)
    assert any("denoiser" in line for line in shape.unknown)


def test_headers_count_every_parameter_of_a_whisper(tmp_path: Path) -> None:
    model = small_whisper.model_of(small_whisper.tokenizer_of())
    model.save_pretrained(tmp_path)
    shape = shape_of_folder(tmp_path)
    assert shape.parameters == learned(model)
    assert [block.along for block in shape.blocks] == ["sounds", "sounds", "tokens", "tokens"]
    (tmp_path / "model.safetensors").unlink()
    assert shape_of_folder(tmp_path).parameters == learned(model)


def test_shards_are_counted_together(tmp_path: Path) -> None:
    model = families.classifier_of("bert")
    model.save_pretrained(tmp_path, max_shard_size="10KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert shape_of_folder(tmp_path).parameters == learned(model)


# Memory against the trace

DECODER: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4,
                           "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64}  # fmt: skip
ENCODER: dict[str, Any] = {"hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 4,
                           "num_attention_heads": 4, "vocab_size": 600}  # fmt: skip
LEARNS: Mapping[str, dict[str, Any]] = {
    "all": {"adapter": None, "stages": [{"train": "all", "epochs": 1}]},
    "top": {"adapter": None, "stages": [{"train": {"top": 2}, "epochs": 1}]},
    "lora": {"adapter": {"kind": "lora"}, "stages": [{"train": "adapter", "epochs": 1}]},
}


def both(source: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    from tunesmith.plan import make_plan
    from tunesmith.prepare import prepare

    prepared = prepare(source)
    prepared.raise_errors()
    return fast_plan(source)["memory"], make_plan(prepared).to_json()["memory"]


@pytest.mark.parametrize("learns", sorted(LEARNS))
def test_memory_of_an_encoder_is_near_the_traced_one(learns: str, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModel

    AutoModel.from_config(AutoConfig.for_model("bert", **ENCODER, max_position_embeddings=48)).save_pretrained(tmp_path)
    small_models.write_tokenizer(tmp_path)
    rows = [{"text": f"n{i} " + "warm " * 60, "label": "ab"[i % 2]} for i in range(80)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings = {"options": {"max_length": 48}, "batch": {"rows": 32, "micro": 32, "eval_rows": 1}}
    accept = {"few-rows": "a test", "leak": "a test", "truncated": "a test"}
    more = settings | LEARNS[learns] | {"audit": {"accept": accept}, "engine": {"precision": "fp32", "device": "cpu"}}
    fast, traced = both(recipe(tmp_path, tmp_path, **more))
    assert fast["allocated_bytes"] == pytest.approx(traced["allocated_bytes"], rel=0.1)
    assert fast["parts"]["weights"] == pytest.approx(traced["parts"]["weights"], rel=0.02)
    assert fast["parts"]["optimizer"] == pytest.approx(traced["parts"]["optimizer"], rel=0.05)
    assert fast["parts"]["activations"] == pytest.approx(traced["parts"]["activations"], rel=0.1)


@pytest.mark.parametrize("learns", sorted(LEARNS))
def test_memory_of_a_decoder_is_near_the_traced_one(learns: str, tmp_path: Path) -> None:
    small_decoders.write_decoder(tmp_path, "llama", **DECODER)
    asked = {"role": "user", "content": "blue " * 200}
    rows = [{"messages": [{**asked, "content": f"{i} {asked['content']}"},
                          {"role": "assistant", "content": "red " * 200}]} for i in range(24)]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    more = LEARNS[learns] | {
        "task": "causal-lm",
        "options": {"max_length": 256, "forgetting": None, "shots": [], "metric": "perplexity"},
        "batch": {"rows": 8, "micro": 8, "eval_rows": 1},
        "engine": {"precision": "fp32", "device": "cpu"},
        "audit": {"accept": {code: "a test" for code in ("few-rows", "leak", "truncated", "answer-cut")}},
    }
    fast, traced = both(recipe(tmp_path, tmp_path, **more))
    assert fast["allocated_bytes"] == pytest.approx(traced["allocated_bytes"], rel=0.1)
    assert fast["parts"]["activations"] == pytest.approx(traced["parts"]["activations"], rel=0.1)


def test_what_costs_more_memory_is_told_to_cost_more() -> None:
    shape, _ = by_formula(built_in()["llama-8B"])
    assert shape is not None
    text = ROOT / "recipes/chat-style.yaml"

    def bytes_of(*settings: str, held: str = "bf16", rows: int = 8) -> dict[str, int]:
        read = read_recipe(text, settings).recipe
        assert read.stages is not None
        return stage_memory(read.stages[0], shape, read, Load(rows, 512), held=held, precision="bf16")

    plain = bytes_of()
    assert bytes_of(held="nf4")["weights"] < 0.4 * plain["weights"]
    assert bytes_of("engine.gradient_checkpointing=true")["activations"] < 0.3 * plain["activations"]
    assert bytes_of("adapter.r=64")["optimizer"] == 4 * plain["optimizer"]
    assert bytes_of(rows=4)["activations"] < 0.6 * plain["activations"]
    assert bytes_of("optimizer.name=adamw-8bit")["optimizer"] < 0.3 * plain["optimizer"]
    assert bytes_of("adapter.targets=[q_proj, v_proj]")["optimizer"] < 0.4 * plain["optimizer"]
    # 4 x r x (inputs + outputs) x 2 states, of seven matrices in 32 blocks.
    assert plain["optimizer"] == 8 * 16 * 32 * (8192 + 5120 * 2 + 8192 + 18432 * 3)


# The plan


def test_the_plan_has_what_was_agreed_and_says_what_it_could_not_know(tmp_path: Path) -> None:
    made = fast_plan(recipe(tmp_path, "starter:minilm-l6", stages=[{"train": "head", "epochs": 2}]))
    agreed = {"decisions", "held", "stages", "memory", "host", "disk", "time", "options", "data", "learning_curve"}
    assert agreed <= made.keys()
    assert made["data"]["rows"] == 64
    # 64 rows, four fifths of them, nine tenths of those: 46 in batches of 32, twice.
    assert made["stages"][0]["steps"] == 3
    memory = made["memory"]
    assert memory["resident_bytes"] == sum(memory["parts"].values())
    assert memory["classic_bytes"] == [round(22_713_216 * 4 * 2.5), 22_713_216 * 4 * 3]
    said = "\n".join(made["unknown"])
    assert "tokens" in said
    assert "time" in said
    assert "head that the task puts" in said
    json.dumps(made)


def test_a_recipe_without_stages_says_that_the_tasks_own_are_not_read(tmp_path: Path) -> None:
    made = fast_plan(recipe(tmp_path, "starter:minilm-l6"))
    assert any("the task's own are not read" in line for line in made["unknown"])
    assert [stage["name"] for stage in made["stages"]] == ["all"]


def test_the_micro_batch_is_halved_until_it_fits_the_device(tmp_path: Path) -> None:
    from tunesmith.devices import find_device

    small_decoders.write_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(built_in()["llama-8B"].values), encoding="utf-8")
    more = {"task": "causal-lm", "adapter": {"kind": "lora"}, "stages": [{"train": "adapter", "epochs": 1}]}
    source = recipe(tmp_path, tmp_path, **more, options={"max_length": 1024}, batch={"rows": 64})
    wide, narrow = (fast_plan(source, device=find_device(name)) for name in ("H200", "RTX-4090"))

    def micro(plan: dict[str, Any]) -> int:
        return next(d["value"] for d in plan["decisions"] if d["what"] == "batch.micro")

    assert micro(wide) > micro(narrow)
    assert wide["memory"]["fits"]
    assert wide["memory"]["device"]["name"] == "H200"
    assert narrow["memory"]["room_bytes"] == find_device("RTX-4090").usable_bytes
    assert wide["model"]["parameters"] == PUBLISHED["llama-8B"]
    assert wide["model"]["from"] == "config"


def test_the_command_answers_without_torch_in_little_time(tmp_path: Path) -> None:
    locate("minilm-l6")
    recipe(tmp_path, "starter:minilm-l6", stages=[{"train": "head", "epochs": 2}])
    code = (
        "import sys, resource\n"
        f"sys.argv = ['tunesmith', 'plan', {str(tmp_path / 'recipe.yaml')!r}, '--fast']\n"
        "from tunesmith.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as done:\n"
        "    heavy = [m for m in ('torch', 'transformers', 'numpy', 'pyarrow', 'rich') if m in sys.modules]\n"
        "    used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "    sys.stderr.write(f'{used.ru_utime + used.ru_stime:.3f} {heavy}')\n"
        "    sys.exit(done.code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    seconds, _, heavy = done.stderr.partition(" ")
    assert heavy == "[]"
    # The processor's own seconds: a machine that is busy with other tests makes a clock's run longer.
    assert float(seconds) < 1.0
    assert "22,713,216 parameters" in done.stdout
    assert "handbooks' formula" in done.stdout


def test_a_hub_model_is_found_in_the_hubs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = tmp_path / "hub/models--org--name"
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text(commit, encoding="utf-8")
    (snapshot / "config.json").write_text(json.dumps(built_in()["llama-1B"].values), encoding="utf-8")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    made = fast_plan(recipe(tmp_path, "org/name"))
    assert made["model"]["parameters"] == PUBLISHED["llama-1B"]


# Rows


def test_lines_are_counted_where_that_is_quick(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\nx,1\ny,2\n\n", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"a": 1}\n{"a": 22222}\n', encoding="utf-8")
    (tmp_path / "c.json").write_text("[]", encoding="utf-8")
    assert count_rows("a.csv", tmp_path).rows == 2
    assert (count_rows("b.jsonl", tmp_path).rows, count_rows("b.jsonl", tmp_path).longest_bytes) == (2, 12)
    for unknown in ("c.json", ".", "nowhere.csv"):
        counted = count_rows(unknown, tmp_path)
        assert counted.rows is None
        assert unknown in counted.said


def test_rows_of_a_parquet_file_stand_at_its_end(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", "b", "c"]}), tmp_path / "a.parquet")
    assert count_rows("a.parquet", tmp_path).rows == 3
    (tmp_path / "b.parquet").write_bytes(b"PAR1")
    assert count_rows("b.parquet", tmp_path).rows is None


# Bad files


def test_a_config_that_cant_be_read_is_named(tmp_path: Path) -> None:
    for text in ("{", "[1, 2]", "null", "\x00", "[" * 100_000):
        (tmp_path / "config.json").write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=r"config\.json is not") as fault:
            fast_plan(recipe(tmp_path, tmp_path))
        assert fault.value.where
        assert fault.value.fix
    (tmp_path / "config.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(UserError, match=r"config\.json can't be read"):
        fast_plan(recipe(tmp_path, tmp_path))
    (tmp_path / "config.json").unlink()
    with pytest.raises(UserError, match=r"no config\.json"):
        fast_plan(recipe(tmp_path, tmp_path))


@pytest.mark.parametrize("values", [{}, {"model_type": "bert"}, {"model_type": "llama", "hidden_size": "wide"},
                                    {"model_type": "gpt2", "n_embd": 16, "vocab_size": -4},
                                    {"model_type": "of-nobody"}, {"model_type": 7},
                                    {"model_type": "vit", "hidden_size": 32}])  # fmt: skip
def test_a_config_without_what_tells_the_shape_is_an_error_that_says_what_is_missing(
    values: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(UserError, match="shape can't be told") as fault:
        fast_plan(recipe(tmp_path, tmp_path))
    assert "recipe.yaml" in fault.value.where
    assert fault.value.fix


@pytest.mark.parametrize("heads", [0, 3])
def test_strange_numbers_in_a_config_are_no_stack_trace(heads: int, tmp_path: Path) -> None:
    values = built_in()["llama2-7B"].values | {"num_attention_heads": heads, "head_dim": None}
    (tmp_path / "config.json").write_text(json.dumps(values), encoding="utf-8")
    assert fast_plan(recipe(tmp_path, tmp_path))["model"]["parameters"] > 0


def test_an_unknown_architecture_is_planned_from_its_index_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "of-nobody", "torch_dtype": "bfloat16"}', encoding="utf-8")
    names = {f"model.layers.{i}.w": "model-00001-of-00002.safetensors" for i in range(4)}
    index = {"metadata": {"total_size": 8_000}, "weight_map": names | {"head": "model-00002-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    made = fast_plan(recipe(tmp_path, tmp_path))
    assert made["model"]["parameters"] == 4_000
    assert made["model"]["from"] == "index"
    said = "\n".join(made["unknown"])
    assert "of-nobody" in said
    assert "index alone" in said
    assert "activations are not counted" in said


def test_an_index_that_names_missing_shards_is_an_error_where_some_are_there(tmp_path: Path) -> None:
    families.classifier_of("bert").save_pretrained(tmp_path, max_shard_size="10KB")
    gone = sorted(tmp_path.glob("model-*.safetensors"))[-1]
    gone.unlink()
    with pytest.raises(UserError, match=f"names {gone.name}, which is not there"):
        fast_plan(recipe(tmp_path, tmp_path))


@pytest.mark.parametrize("index", ["{", "{}", '{"weight_map": [1]}', '{"weight_map": {"a": "../a.safetensors"}}'])
def test_a_broken_index_is_named(index: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "of-nobody"}', encoding="utf-8")
    (tmp_path / "model.safetensors.index.json").write_text(index, encoding="utf-8")
    with pytest.raises(UserError, match=r"model\.safetensors\.index\.json"):
        fast_plan(recipe(tmp_path, tmp_path))


def header_of(table: Any, *, length: int | None = None) -> bytes:
    text = json.dumps(table).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cut short"),
        (b"\x01\x02", "cut short"),
        (header_of({})[:9], "cut short"),
        (header_of({}, length=10**15), "cut short or no safetensors"),
        (header_of([1]), "header .* is broken"),
        (header_of({"a": {"dtype": "F32"}}), "header .* is broken"),
        (header_of({"a": 3}), "header .* is broken"),
        (header_of({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}), "cut short: it has"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (struct.pack("<Q", 4) + b"\xff\xff\xff\xff", "header .* is broken"),
    ],
)
def test_a_broken_file_of_weights_is_named(content: bytes, said: str, tmp_path: Path) -> None:
    small_models.write_model(tmp_path / "model")
    (tmp_path / "model/model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=said) as fault:
        fast_plan(recipe(tmp_path, tmp_path / "model"))
    assert fault.value.where
    assert fault.value.fix


def test_a_header_is_read_without_the_weights_behind_it(tmp_path: Path) -> None:
    table = {"a": {"dtype": "BF16", "shape": [1000, 1000], "data_offsets": [0, 2_000_000]}}
    file = tmp_path / "model.safetensors"
    with file.open("wb") as stream:
        stream.write(header_of(table))
        stream.truncate(len(header_of(table)) + 2_000_000)
    (tensor,) = read_header(file)
    assert (tensor.size, tensor.dtype) == (1_000_000, "BF16")
    assert file.stat().st_blocks * 512 < 100_000
