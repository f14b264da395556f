"""whisper.cpp's Whisper: what is written loads there, says what the model says, and reads back as the same tensors."""

from __future__ import annotations

import copy
import struct
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tunesmith.errors import UserError
from tunesmith.model.whisper_ggml import ggml_name, mel_filters, read_ggml, write_ggml
from tunesmith.model.whisper_runtimes import hold_against, transcribe_ggml


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
def file(model: Any, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("whisper") / "new" / "ggml-model.bin"
    write_ggml(model, tokenizer, target)
    return target


@pytest.mark.parametrize("task", ["transcribe", "translate"])
def test_it_says_what_the_model_says(task: Any, file: Path, model: Any, tokenizer: Any) -> None:
    waves = small.sounds(2, 3)
    expected = [small.said(model, tokenizer, wave, 6, task) for wave in waves]
    assert len(set(expected)) == 2
    found = transcribe_ggml(file, waves, "en", task, max_tokens=6)
    assert hold_against(expected, found) == {"clips": 2, "differ": []}


@pytest.mark.parametrize(("size", "mels"), [(51864, 80), (51866, 128)])
def test_english_only_and_128_mels_too(size: int, mels: int, tmp_path: Path) -> None:
    tokenizer = small.tokenizer_of(size)
    model = small.model_of(tokenizer, num_mel_bins=mels)
    write_ggml(model, tokenizer, tmp_path / "m.bin")
    content = read_ggml(tmp_path / "m.bin")
    assert (content.shape.vocabulary, content.shape.mels, content.filters.shape) == (size, mels, (mels, 201))
    assert len(content.tokens) == (50256 if size == 51864 else 50257)
    waves = small.sounds(2)
    assert transcribe_ggml(tmp_path / "m.bin", waves, max_tokens=5) == [small.said(model, tokenizer, waves[0], 5)]


def test_the_file_holds_the_model(file: Path, model: Any, tokenizer: Any) -> None:
    content = read_ggml(file)
    assert content.shape.audio_positions == 1500
    assert (content.shape.text_positions, content.shape.text_heads, content.shape.kind) == (448, 4, 1)
    assert np.array_equal(content.filters, mel_filters(80))
    assert content.filters.sum(axis=1).min() > 0

    state = {name: value for name, value in model.state_dict().items() if name != "proj_out.weight"}
    assert sorted(content.tensors) == sorted(map(ggml_name, state))
    for name, value in state.items():
        found, wanted = content.tensors[ggml_name(name)], value.numpy()
        exact = value.ndim < 2 or "embed_positions" in name
        assert found.dtype == (np.float32 if exact else np.float16), name
        assert np.array_equal(found.reshape(wanted.shape), wanted.astype(found.dtype)), name
    assert content.tensors["encoder.conv1.bias"].shape == (64, 1)
    assert {"encoder.ln_post.weight", "decoder.ln.bias", "decoder.blocks.1.cross_attn.key.weight",
            "encoder.blocks.0.mlp.2.bias", "decoder.token_embedding.weight"} <= set(content.tensors)  # fmt: skip


def test_the_vocabulary_is_bytes_by_id(file: Path, tokenizer: Any) -> None:
    tokens = read_ggml(file).tokens
    assert {tokens[i] for i in range(256)} == {bytes([i]) for i in range(256)}
    assert tokens[tokenizer.convert_tokens_to_ids("Ġ")] == b" "
    assert tokens[tokenizer.convert_tokens_to_ids("a7x")] == b"a7x"
    assert tokens[-1] == b""


def test_nothing_is_said_on_the_terminal_and_it_is_heard_again_after(
    file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    transcribe_ggml(file, small.sounds(1), max_tokens=2)
    assert capfd.readouterr() == ("", "")
    print("after")
    print("too", file=sys.stderr)
    assert capfd.readouterr() == ("after\n", "too\n")


# Faults


def test_what_whisper_cpp_would_end_the_process_on_is_refused_before(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = file.read_bytes()
    broken = tmp_path / "broken.bin"
    for content in (b"", b"GGUF", whole[:20], whole[:5000], whole[:-7], b"\0" + whole[1:]):
        broken.write_bytes(content)
        with pytest.raises(UserError, match=r"no file of whisper\.cpp's, or is cut short"):
            transcribe_ggml(broken, small.sounds(1))
    broken.write_bytes(whole[:44] + struct.pack("<i", 0) + whole[48:])
    with pytest.raises(UserError, match="does not hold its matrices in fp16"):
        transcribe_ggml(broken, small.sounds(1))
    with pytest.raises(UserError, match="No such file"):
        transcribe_ggml(tmp_path / "gone.bin", small.sounds(1))
    # Whole, but of another shape than it says: whisper.cpp itself refuses.
    broken.write_bytes(whole[:20] + struct.pack("<i", 3) + whole[24:])
    with pytest.raises(UserError, match=r"whisper\.cpp can't load broken\.bin: .*not all tensors"):
        transcribe_ggml(broken, small.sounds(1))
    with pytest.raises(UserError, match="knows no language 'xx'"):
        transcribe_ggml(file, small.sounds(1), "xx")
    with pytest.raises(UserError, match=r"clip 0 is 31\.0 seconds"):
        transcribe_ggml(file, [np.zeros(496_000, np.float32)])
    monkeypatch.setitem(sys.modules, "pywhispercpp.model", None)
    with pytest.raises(UserError, match="pywhispercpp can't be imported") as fault:
        transcribe_ggml(file, small.sounds(1))
    assert fault.value.fix == 'pip install "tunesmith[whisper-exports]"'


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"encoder_ffn_dim": 128}, "whose encoder_ffn_dim is 128, only 256"),
        ({"activation_function": "relu"}, "activation_function is relu, only gelu"),
        ({"scale_embedding": True}, "scale_embedding is True"),
        ({"num_mel_bins": 40}, "num_mel_bins is 40, only 80, 128"),
        ({"tie_word_embeddings": False}, "output weights of its own"),
    ],
)
def test_a_model_that_whisper_cpp_computes_otherwise_is_refused(
    changes: dict[str, Any], why: str, tokenizer: Any, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=why):
        write_ggml(small.model_of(tokenizer, **changes), tokenizer, tmp_path / "m.bin")
    assert not list(tmp_path.iterdir())


def test_a_vocabulary_that_whisper_cpp_does_not_know_is_refused(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    wide = copy.deepcopy(tokenizer)
    wide.add_tokens(["hello"])
    longer = copy.deepcopy(model)
    longer.resize_token_embeddings(51866)
    with pytest.raises(UserError, match=r"the tokenizer has <\|translate\|> at 50358; .* at 50359"):
        write_ggml(longer, wide, tmp_path / "m.bin")
    longer.resize_token_embeddings(51867)
    with pytest.raises(UserError, match="vocab_size is 51867, only 51864, 51865, 51866"):
        write_ggml(longer, wide, tmp_path / "m.bin")
    with pytest.raises(UserError, match="the tokenizer has 51866 ids up to 51865; the model has 51865"):
        write_ggml(model, wide, tmp_path / "m.bin")
    broken = copy.deepcopy(model)
    broken.model.encoder.conv1.weight.data[0, 0, 0] = torch.inf
    with pytest.raises(UserError, match=r"conv1\.weight holds a number that fp16 can't hold"):
        write_ggml(broken, tokenizer, tmp_path / "m.bin")
    assert not list(tmp_path.iterdir())
