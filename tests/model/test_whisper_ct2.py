"""CTranslate2's Whisper: what is written loads, says what the model says, and is read back as the same tensors."""

from __future__ import annotations

import copy
import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tunesmith.errors import UserError
from tunesmith.model.whisper_ct2 import network_of, read_ct2, write_ct2
from tunesmith.model.whisper_runtimes import hold_against, lead, transcribe_ct2


def fixture_module() -> Any:
    spec = spec_from_file_location("small_whisper", Path(__file__).parents[1] / "fixtures" / "small_whisper.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


small = fixture_module()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return small.tokenizer_of()


@pytest.fixture(scope="module")
def model(tokenizer: Any) -> Any:
    return small.model_of(tokenizer)


@pytest.fixture(scope="module")
def folder(model: Any, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("whisper") / "new" / "ct2"
    write_ct2(model, tokenizer, target)
    return target


def test_the_folder_is_what_faster_whisper_looks_for(folder: Path, model: Any, tokenizer: Any) -> None:
    assert {file.name for file in folder.iterdir()} == {
        "model.bin", "config.json", "vocabulary.json", "tokenizer.json", "preprocessor_config.json",
    }  # fmt: skip
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["alignment_heads"] == [[1, 0]]
    assert config["suppress_ids"] == model.generation_config.suppress_tokens
    assert config["suppress_ids_begin"] == [50257]
    assert config["lang_ids"] == list(range(50259, 50358))
    words = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
    assert words == tokenizer.convert_ids_to_tokens(list(range(51865)))
    assert (words[50363], words[50364], words[-1]) == ("<|notimestamps|>", "<|0.00|>", "<|30.00|>")
    assert json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))["feature_size"] == 80


@pytest.mark.parametrize("task", ["transcribe", "translate"])
def test_it_says_what_the_model_says(task: Any, folder: Path, model: Any, tokenizer: Any) -> None:
    waves = small.sounds(2, 3, 0.5)
    expected = [small.said(model, tokenizer, wave, 8, task) for wave in waves]
    found = transcribe_ct2(folder, waves, "en", task, max_tokens=8)
    assert len(set(expected)) == 3
    assert all(len(text) > 8 for text in expected)
    assert hold_against(expected, found) == {"clips": 3, "differ": []}
    assert transcribe_ct2(folder, waves[:1], "en", task, max_tokens=1)[0] == small.said(
        model, tokenizer, waves[0], 1, task
    )


@pytest.mark.parametrize(
    ("quantization", "tolerance"), [("float32", 0.0), ("float16", 1e-3), ("int8", 1e-2), ("int8_float16", 1e-2)]
)
def test_what_is_written_is_read_back_as_the_network_that_it_was(
    quantization: Any, tolerance: float, model: Any, tokenizer: Any, tmp_path: Path
) -> None:
    before = copy.deepcopy(model.state_dict())
    write_ct2(model, tokenizer, tmp_path, quantization)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())

    file = tmp_path / "model.bin"
    shape, state = network_of(read_ct2([file]), str(file))
    assert {name: getattr(model.config, name) for name in shape} == shape
    assert sorted(state) == sorted(name for name in before if name != "proj_out.weight")
    for name, value in state.items():
        error = np.abs(value.astype(np.float32) - before[name].numpy())
        assert float(error.max()) <= tolerance * float(before[name].abs().max()), name
    kinds = {str(read_ct2([file])["encoder/layer_0/ffn/linear_0/weight"].dtype)}
    assert kinds == {quantization.split("_")[0]}


def test_what_differs_is_named_with_how_sure_the_model_was(model: Any, tokenizer: Any) -> None:
    held = hold_against([" a ", "b"], ["a", "c"])
    assert held == {"clips": 2, "differ": [{"clip": 1, "expected": "b", "found": "c"}]}
    with pytest.raises(ValueError, match="zip"):
        hold_against(["a", "b"], ["a"])

    wave = small.sounds(2)[0]
    prompt = tokenizer.convert_tokens_to_ids(["<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"])
    with torch.inference_mode():
        logits = model(input_features=small.heard(wave), decoder_input_ids=torch.tensor([prompt])).logits[0, -1]
    ours, theirs = tokenizer.convert_tokens_to_ids(["aab", "abc"])
    found = lead(model, tokenizer, small.heard(wave), "aab", " abc ")
    assert found == pytest.approx(float(logits[ours] - logits[theirs]), abs=1e-4)
    assert abs(found) > 0.5
    assert lead(model, tokenizer, small.heard(wave), "aab", "aab") == 0
    # Where one text goes on, it is held against the end of the other.
    assert lead(model, tokenizer, small.heard(wave), "aab", "aab abc") != 0


def test_a_half_precision_model_is_written_as_it_is(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    half = copy.deepcopy(model).to(torch.bfloat16)
    write_ct2(half, tokenizer, tmp_path, "float16")
    _, state = network_of(read_ct2([tmp_path / "model.bin"]), "")
    weight = half.model.decoder.embed_tokens.weight.detach()
    assert np.array_equal(state["model.decoder.embed_tokens.weight"], weight.to(torch.float16).numpy())


def test_output_weights_of_their_own_are_kept(tokenizer: Any, tmp_path: Path) -> None:
    untied = small.model_of(tokenizer, tie_word_embeddings=False)
    assert not torch.equal(untied.proj_out.weight, untied.model.decoder.embed_tokens.weight)
    write_ct2(untied, tokenizer, tmp_path, "float32")
    _, state = network_of(read_ct2([tmp_path / "model.bin"]), "")
    assert np.array_equal(state["proj_out.weight"], untied.proj_out.weight.detach().numpy())


@pytest.mark.parametrize(("size", "mels"), [(51864, 80), (51866, 128)])
def test_english_only_and_128_mels_too(size: int, mels: int, tmp_path: Path) -> None:
    tokenizer = small.tokenizer_of(size)
    model = small.model_of(tokenizer, num_mel_bins=mels)
    write_ct2(model, tokenizer, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert len(config["lang_ids"]) == (0 if size == 51864 else 100)
    waves = small.sounds(2, 3)
    expected = [small.said(model, tokenizer, wave, 5) for wave in waves]
    assert transcribe_ct2(tmp_path, waves, max_tokens=5) == expected


# Faults


def test_parts_are_joined_and_what_is_cut_short_is_refused(folder: Path, tmp_path: Path) -> None:
    whole = (folder / "model.bin").read_bytes()
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(whole[:100_000])
    two.write_bytes(whole[100_000:])
    joined, plain = read_ct2([one, two]), read_ct2([folder / "model.bin"])
    assert joined.keys() == plain.keys()
    assert all(np.array_equal(joined[name], plain[name]) for name in plain)
    assert np.array_equal(plain["decoder/projection/weight"], plain["decoder/embeddings/weight"])

    for content in (whole[:-1], whole[:100_000], whole[:30], whole[:3], b"", whole + b"\0"):
        one.write_bytes(content)
        with pytest.raises(UserError, match=r"cut short or broken|no Whisper of CTranslate2"):
            read_ct2([one])
    with pytest.raises(UserError, match=r"no Whisper of CTranslate2|cut short"):
        read_ct2([two, one])
    with pytest.raises(UserError, match="No such file"):
        read_ct2([tmp_path / "gone"])


def test_another_version_or_model_is_named(folder: Path, tmp_path: Path) -> None:
    whole = bytearray((folder / "model.bin").read_bytes())
    file = tmp_path / "model.bin"
    file.write_bytes(b"\x05" + bytes(whole[1:]))
    with pytest.raises(UserError, match="it is of layout 5"):
        read_ct2([file])
    file.write_bytes(bytes(whole).replace(b"WhisperSpec", b"WhitherSpec", 1))
    with pytest.raises(UserError, match="it is of layout 6, WhitherSpec"):
        read_ct2([file])
    tensors = read_ct2([folder / "model.bin"])
    del tensors["encoder/conv1/bias"]
    with pytest.raises(UserError, match="encoder/conv1/bias"):
        network_of(tensors, "")


def test_models_and_tokenizers_that_do_not_fit_are_refused(
    model: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="not written as 'int4'"):
        write_ct2(model, tokenizer, tmp_path, "int4")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="51864 ids up to 51863; the model has 51865"):
        write_ct2(model, small.tokenizer_of(51864), tmp_path)
    large = copy.deepcopy(model)
    large.model.encoder.conv1.bias.data[3] = 7e4
    with pytest.raises(UserError, match=r"conv1\.bias holds a number that fp16 can't hold"):
        write_ct2(large, tokenizer, tmp_path)
    large.model.encoder.conv1.bias.data[3] = torch.nan
    with pytest.raises(UserError, match=r"conv1\.bias"):
        write_ct2(large, tokenizer, tmp_path, "int8_float16")
    monkeypatch.setitem(sys.modules, "ctranslate2.converters.transformers", None)
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    for call in (lambda: write_ct2(model, tokenizer, tmp_path), lambda: transcribe_ct2(tmp_path, [])):
        with pytest.raises(UserError, match="CTranslate2 can't be imported") as fault:
            call()
        assert fault.value.fix == 'pip install "tunesmith[whisper-exports]"'
    assert not list(tmp_path.iterdir())


def test_what_can_not_be_transcribed_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="knows no language 'xx'"):
        transcribe_ct2(folder, small.sounds(1), "xx")
    with pytest.raises(UserError, match=r"clip 1 is 30\.5 seconds long"):
        transcribe_ct2(folder, [np.zeros(16_000, np.float32), np.zeros(488_000, np.float32)])
    with pytest.raises(UserError, match="no CTranslate2 model with its tokenizer"):
        transcribe_ct2(tmp_path, small.sounds(1))


def test_nothing_is_said_on_the_terminal(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    transcribe_ct2(folder, small.sounds(1), max_tokens=2)
    assert capfd.readouterr() == ("", "")
