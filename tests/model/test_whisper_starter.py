"""The Whisper starter: two halves in CTranslate2's format become a folder that is the same network, with a whole
tokenizer; and its exports say what it says."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import warnings
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tunesmith.errors import UserError
from tunesmith.model.pretrained import load_config, load_model
from tunesmith.model.starter import STARTERS, locate
from tunesmith.model.weights import resolve
from tunesmith.model.whisper_ct2 import write_ct2
from tunesmith.model.whisper_ggml import write_ggml
from tunesmith.model.whisper_runtimes import hold_against, lead, transcribe_ct2, transcribe_ggml
from tunesmith.model.whisper_starter import convert
from tunesmith.recipe.sections import ModelSection

STARTER = STARTERS["whisper-base"]
PROMPT = [50258, 50259, 50359, 50363]
TEXT = " That the thing to test is tomorrow's training, at the top."


def fixture_module() -> Any:
    spec = spec_from_file_location("small_whisper", Path(__file__).parents[1] / "fixtures" / "small_whisper.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


small = fixture_module()


def packages() -> tuple[Path, Path]:
    """The packages' folders. Skips, with the reason, where they are not installed; in CI that is an error."""
    try:
        for package in STARTER.packages:
            importlib.metadata.version(package.distribution)
    except importlib.metadata.PackageNotFoundError:
        if os.environ.get("CI", "").lower() == "true":
            raise
        pytest.skip(f"the starter's packages are not installed: {STARTER.command}")
    found = [importlib.metadata.files(package.distribution) or [] for package in STARTER.packages]
    one, two = (next(Path(str(f.locate())).parent for f in files if "model.bin" in f.name) for files in found)
    return one, two


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Converted anew, so that what is tested is this converter and not what another left in the cache."""
    packages()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNESMITH_CACHE", str(tmp_path_factory.mktemp("cache")))
        found = locate("starter:whisper-base")
    assert found.folder.name == "whisper-base-1.0.0"
    return found.folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    from transformers import WhisperForConditionalGeneration

    model, report = WhisperForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    return model.eval()


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The packages' own file, joined and run by CTranslate2."""
    import ctranslate2

    first, second = packages()
    joined = tmp_path_factory.mktemp("joined")
    for name in ("config.json", "vocabulary.txt", "tokenizer.json"):
        shutil.copy(first / name, joined)
    parts = ((first / "model.bin.part1").read_bytes(), (second / "model.bin.part2").read_bytes())
    (joined / "model.bin").write_bytes(b"".join(parts))
    return ctranslate2.models.Whisper(str(joined), device="cpu", compute_type="float32")


# The folder


def test_the_model_is_whole_tied_and_in_fp32(folder: Path, model: Any) -> None:
    assert {file.name for file in folder.iterdir()} == {
        "config.json", "generation_config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json",
        "tokenizer_config.json",
    }  # fmt: skip
    assert model.dtype == torch.float32
    assert model.proj_out.weight is model.model.decoder.embed_tokens.weight
    assert sum(weight.numel() for weight in model.parameters()) == 72_593_920
    shape = (model.config.d_model, model.config.encoder_layers, model.config.decoder_layers, model.config.vocab_size)
    assert shape == (512, 6, 6, 51865)
    assert (model.config.encoder_attention_heads, model.config.encoder_ffn_dim, model.config.num_mel_bins) == (
        8,
        2048,
        80,
    )
    assert (folder / "model.safetensors").stat().st_size < 146e6


def test_the_engine_reads_it(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForSpeechSeq2Seq

    monkeypatch.setenv("TUNESMITH_CACHE", str(folder.parents[1]))
    weights = resolve(ModelSection(name="starter:whisper-base"))
    assert (weights.origin, weights.revision, weights.license) == ("starter", "1.0.0", "MIT")
    loaded, fresh = load_model(AutoModelForSpeechSeq2Seq, weights, load_config(weights))
    assert not fresh
    loaded.save_pretrained(tmp_path)
    again, report = AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    assert again.generation_config.lang_to_id == loaded.generation_config.lang_to_id


def test_decoding_knows_languages_tasks_and_what_to_leave_out(model: Any) -> None:
    known = model.generation_config
    assert (known.is_multilingual, known.no_timestamps_token_id, known.prev_sot_token_id) == (True, 50363, 50361)
    assert (known.decoder_start_token_id, known.eos_token_id, known.max_length) == (50258, 50257, 448)
    assert (len(known.lang_to_id), known.lang_to_id["<|en|>"], known.lang_to_id["<|su|>"]) == (99, 50259, 50357)
    assert known.task_to_id == {"transcribe": 50359, "translate": 50358}
    assert known.alignment_heads == [[3, 1], [4, 2], [4, 3], [4, 7], [5, 1], [5, 2], [5, 4], [5, 6]]
    assert known.begin_suppress_tokens == [220, 50257]
    assert {1, 50258, 50362} <= set(known.suppress_tokens)
    assert known.max_initial_timestamp_index == 50


def test_the_tokenizer_has_its_timestamps_and_stays_so(folder: Path, tokenizer: Any, tmp_path: Path) -> None:
    from transformers import WhisperProcessor, WhisperTokenizer

    processor = WhisperProcessor.from_pretrained(folder)
    processor.save_pretrained(tmp_path)
    for found in (tokenizer, processor.tokenizer, WhisperTokenizer.from_pretrained(tmp_path)):
        assert type(found) is WhisperTokenizer
        assert len(found) == 51865
        assert sorted(found.get_vocab().values()) == list(range(51865))
        assert found.convert_tokens_to_ids(["<|0.00|>", "<|0.02|>", "<|29.98|>", "<|30.00|>"]) == [
            50364, 50365, 51863, 51864,
        ]  # fmt: skip
        assert found.get_vocab() == tokenizer.get_vocab()
        assert found.all_special_ids[-1] == 50363
        assert (found.pad_token_id, found.eos_token_id, found.model_max_length) == (50257, 50257, 448)
    assert processor.feature_extractor.feature_size == 80

    told = [*PROMPT[:3], 50364, *tokenizer.encode(" Hello.", add_special_tokens=False), 50414, 50257]
    assert tokenizer.decode(told, skip_special_tokens=True) == " Hello."
    marked = tokenizer.decode(told, skip_special_tokens=True, output_offsets=True)
    assert marked["offsets"] == [{"text": " Hello.", "timestamp": (0.0, 1.0)}]
    assert "<|0.00|> Hello.<|1.00|>" in tokenizer.decode(told, decode_with_timestamps=True)
    assert tokenizer("<|0.02|>", add_special_tokens=False).input_ids == [50365]


def test_words_are_split_as_the_model_was_taught(tokenizer: Any) -> None:
    """The package's tokenizer lacks its first merge, a space and a t; every common word with t would come apart."""
    assert tokenizer.encode(" the", add_special_tokens=False) == [264]
    words = tokenizer.tokenize(TEXT)
    assert "Ġ" not in words
    assert words[:6] == ["ĠThat", "Ġthe", "Ġthing", "Ġto", "Ġtest", "Ġis"]
    assert tokenizer.decode(tokenizer.encode(TEXT, add_special_tokens=False)) == TEXT
    assert len(json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]) == 50_000
    for language, word in (("de", " Straßenbahn"), ("ru", " привет"), ("zh", "你好")):
        tokenizer.set_prefix_tokens(language=language, task="transcribe")
        ids = tokenizer(word).input_ids
        assert ids[1] == tokenizer.convert_tokens_to_ids(f"<|{language}|>")
        assert tokenizer.decode(ids, skip_special_tokens=True) == word


# The network


@pytest.mark.heavy
def test_it_is_the_network_that_it_was(model: Any, original: Any) -> None:
    import ctranslate2

    features = torch.randn(1, 80, 3000, generator=torch.Generator().manual_seed(0)) * 0.5
    heard = ctranslate2.StorageView.from_array(features.numpy())
    theirs = np.array(original.encode(heard))
    with torch.inference_mode():
        ours = model.get_encoder()(features).last_hidden_state.numpy()
    assert ours.shape == theirs.shape == (1, 1500, 512)
    # Both compute in fp32 from the same fp16 numbers.
    assert float(np.abs(ours - theirs).max()) < 2e-3 * float(np.abs(theirs).max())


@pytest.mark.heavy
@pytest.mark.parametrize("seconds", [2.0, 3.0])
def test_it_says_what_it_said(seconds: float, model: Any, tokenizer: Any, original: Any) -> None:
    import ctranslate2

    wave = small.sounds(seconds)[0]
    heard = ctranslate2.StorageView.from_array(small.heard(wave).numpy())
    theirs = original.generate(heard, [PROMPT], beam_size=1, max_length=40)[0].sequences_ids[0]
    settings = {"language": "en", "task": "transcribe", "do_sample": False, "num_beams": 1}
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        ours = model.generate(small.heard(wave), max_new_tokens=20, max_length=None, **settings)[0].tolist()
    ours = [i for i in ours if i not in (*PROMPT, 50257)]
    assert ours == theirs[: len(ours)]
    assert len(ours) >= 1
    assert small.said(model, tokenizer, wave, 20) == tokenizer.decode(ours)


@pytest.mark.heavy
def test_its_exports_say_what_it_says(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    waves = small.sounds(2, 3)
    expected = [small.said(model, tokenizer, wave, 10) for wave in waves]
    write_ct2(model, tokenizer, tmp_path / "ct2")
    assert hold_against(expected, transcribe_ct2(tmp_path / "ct2", waves, max_tokens=10))["differ"] == []
    write_ct2(model, tokenizer, tmp_path / "int8", "int8")
    write_ggml(model, tokenizer, tmp_path / "ggml.bin")
    found = transcribe_ct2(tmp_path / "int8", waves, max_tokens=10)
    found += transcribe_ggml(tmp_path / "ggml.bin", waves, max_tokens=10)
    for text, other, wave in zip(expected * 2, found, waves * 2, strict=True):
        assert lead(model, tokenizer, small.heard(wave), text, other) < 0.3
    assert (tmp_path / "ggml.bin").stat().st_size < 150e6
    assert (tmp_path / "int8" / "model.bin").stat().st_size < 80e6


# Faults


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Packages as they might be, with a small network in them."""
    at = tmp_path_factory.mktemp("tiny")
    made, first, second = (at / name for name in ("made", "first", "second"))
    tokenizer = small.tokenizer_of()
    write_ct2(small.model_of(tokenizer), tokenizer, made)
    whole = (made / "model.bin").read_bytes()
    for folder, name, content in (
        (first, "part1", whole[: len(whole) // 2]),
        (second, "part2", whole[len(whole) // 2 :]),
    ):
        folder.mkdir()
        (folder / f"model.bin.{name}").write_bytes(content)
    shutil.copy(made / "config.json", first)
    raw = json.loads((made / "tokenizer.json").read_text(encoding="utf-8"))
    raw["added_tokens"] = [token for token in raw["added_tokens"] if token["id"] < 50364]
    del raw["model"]["merges"][0]
    (first / "tokenizer.json").write_text(json.dumps(raw), encoding="utf-8")
    return first, second


def test_a_small_one_in_halves_is_converted(tiny: tuple[Path, Path], tmp_path: Path) -> None:
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    convert(tiny, tmp_path)
    model, report = WhisperForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    assert model.config.d_model == 64
    tokenizer = WhisperProcessor.from_pretrained(tmp_path).tokenizer
    assert tokenizer.get_vocab() == small.tokenizer_of().get_vocab()
    assert tokenizer.tokenize("aa") == ["aa"]


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def older(file: Path) -> None:
    file.write_bytes(b"\x03" + file.read_bytes()[1:])


def without(*keys: str) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        content = json.loads(file.read_text(encoding="utf-8"))
        inner = content
        for key in keys[:-1]:
            inner = inner[key]
        del inner[keys[-1]]
        file.write_text(json.dumps(content), encoding="utf-8")

    return change


def fewer_merges(file: Path) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    del content["model"]["merges"][4000]
    file.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("model.bin.part2", cut, "cut short"),
        ("model.bin.part1", cut, "cut short or broken"),
        ("model.bin.part1", older, "it is of layout 3"),
        ("model.bin.part2", Path.unlink, r"No such file or directory: model\.bin\.part2"),
        ("config.json", Path.unlink, r"no config\.json"),
        ("config.json", lambda file: file.write_text("{", encoding="utf-8"), "is not JSON"),
        ("config.json", without("lang_ids"), "has no 'lang_ids'"),
        ("tokenizer.json", lambda file: file.write_text("[]", encoding="utf-8"), "has no 'model'"),
        ("tokenizer.json", without("model", "merges"), "not Whisper's byte-level BPE: 'merges'"),
        ("tokenizer.json", fewer_merges, "49999 merges for 50000 tokens"),
        ("tokenizer.json", without("model", "vocab", "zz"), "merges for"),
        ("tokenizer.json", without("added_tokens"), "has no 'added_tokens'"),
    ],
)
def test_what_is_not_such_a_package_is_refused(
    name: str, change: Callable[[Path], object], why: str, tiny: tuple[Path, Path], tmp_path: Path
) -> None:
    sources = tuple(shutil.copytree(folder, tmp_path / folder.name) for folder in tiny)
    target = tmp_path / "out"
    target.mkdir()
    change(next(folder / name for folder in sources if (folder / name).exists()))
    with pytest.raises(UserError, match=why) as fault:
        convert(sources, target)
    assert fault.value.fix
    assert fault.value.where
    assert not list(target.iterdir())
