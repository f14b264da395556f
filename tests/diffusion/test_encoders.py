"""Encoders against transformers' own numbers, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from tunesmith.diffusion import encoders
from tunesmith.diffusion.encoders import PretrainedEncoder, open_encoder, open_text_encoder
from tunesmith.errors import UserError
from tunesmith.pictures.preprocess import FILE

SIDE, LONGEST = 32, 24
PROMPTS = ["a red box", "a blue disc at night", "snow"]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def drawn(shape: tuple[int, int], colour: tuple[int, int, int], seed: int = 0, *, disc: bool = True) -> np.ndarray:
    """A disc or box on a speckled ground, uint8 [*shape, 3]."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", shape[::-1], (235, 235, 230))
    x, y = (np.array(shape[::-1]) * rng.uniform(0.4, 0.6, 2)).tolist()
    r = min(shape) * rng.uniform(0.2, 0.3)
    pen = ImageDraw.Draw(image)
    (pen.ellipse if disc else pen.rectangle)([x - r, y - r, x + r, y + r], fill=colour)
    return (np.array(image).astype(int) + rng.integers(-15, 15, (*shape, 3))).clip(0, 255).astype(np.uint8)


PICTURES = [drawn((48, 64), (200, 30, 30)), drawn((90, 70), (20, 40, 200), 1), drawn((32, 32), (20, 160, 60), 2)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CLIP with random weights, in the layout of the hub."""
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    folder = tmp_path_factory.mktemp("clip")
    words = ["<|startoftext|>", "<|endoftext|>", *"abcdefghijklmnopqrstuvwxyz"]
    vocabulary = {word: n for n, word in enumerate([*words, *(f"{letter}</w>" for letter in words[2:])])}
    torch.manual_seed(0)
    shared = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    text = shared | ends | {"vocab_size": len(vocabulary), "max_position_embeddings": LONGEST}
    config = CLIPConfig(
        text_config=text, vision_config=shared | {"image_size": SIDE, "patch_size": 8}, projection_dim=24
    )
    model = CLIPModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=LONGEST).save_pretrained(folder)
    sides = {"height": SIDE, "width": SIDE}
    CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=sides).save_pretrained(folder)
    return folder


def without(folder: Path, target: Path, *names: str) -> Path:
    """A copy of a folder without some files."""
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns(*names))
    return target


def test_text_and_picture_cosines_are_clips_own(clip: Path) -> None:
    from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    encoder = open_text_encoder(str(clip))
    found = encoder.encode(PICTURES) @ encoder.encode_texts(PROMPTS).T

    model = CLIPModel.from_pretrained(clip).eval()
    pixels = CLIPImageProcessorPil.from_pretrained(clip)([Image.fromarray(p) for p in PICTURES], return_tensors="pt")
    tokens = CLIPTokenizer.from_pretrained(clip)(PROMPTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        out = model(**tokens, **pixels)
    expected = (out.logits_per_image / model.logit_scale.exp()).detach().numpy()
    assert np.ptp(expected) > 0.05
    np.testing.assert_allclose(found, expected, atol=2e-5)
    np.testing.assert_allclose(np.linalg.norm(encoder.encode(PICTURES), axis=1), 1, atol=1e-6)
    assert encoder.encode(PICTURES).dtype == np.float32


def test_tokens_beyond_the_text_tower_are_counted(clip: Path) -> None:
    encoder = open_text_encoder(str(clip))
    long = "a" * 40
    assert encoder.longest == LONGEST
    assert encoder.lengths(["ab", long]) == [4, 42]
    np.testing.assert_allclose(encoder.encode_texts([long]), encoder.encode_texts(["a" * 50]), atol=1e-6)


@pytest.mark.parametrize("family", ["dinov2", "vit"])
def test_a_picture_transformer_gives_its_first_token(family: str, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoImageProcessor, AutoModel, ViTImageProcessorPil

    torch.manual_seed(0)
    settings = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": SIDE}
    more = {"mlp_ratio": 2} if family == "dinov2" else {"intermediate_size": 48}
    made = AutoModel.from_config(AutoConfig.for_model(family, patch_size=8, **settings, **more)).eval()
    made.save_pretrained(tmp_path)
    size = {"height": SIDE, "width": SIDE}
    ViTImageProcessorPil(size=size, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4]).save_pretrained(tmp_path)

    processor = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    pixels = processor([Image.fromarray(p) for p in PICTURES], return_tensors="pt")
    with torch.no_grad():
        first = made(**pixels).last_hidden_state[:, 0]
    expected = torch.nn.functional.normalize(first, dim=-1).numpy()
    np.testing.assert_allclose(open_encoder(str(tmp_path)).encode(PICTURES), expected, atol=2e-5)


def test_each_content_is_encoded_once(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = open_text_encoder(str(clip))
    seen: list[int] = []
    of_pictures = encoder.towers.of_pictures
    monkeypatch.setattr(encoder.towers, "of_pictures", lambda p: seen.append(len(p)) or of_pictures(p))
    first = encoder.encode([*PICTURES, PICTURES[0].copy()])
    assert seen == [3]
    assert np.array_equal(first[0], first[3])
    assert np.array_equal(encoder.encode(PICTURES[::-1]), first[2::-1])
    # the same bytes in another shape are another picture
    encoder.encode([PICTURES[0].reshape(64, 48, 3)])
    assert seen == [3, 1]


def test_what_is_forgotten_is_encoded_anew(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = open_encoder(str(clip)).encode(PICTURES)
    monkeypatch.setattr(encoders, "KEPT", 1)
    monkeypatch.setattr(encoders, "AT_ONCE", 2)
    encoder = open_encoder(str(clip))
    for _ in range(2):
        np.testing.assert_allclose(encoder.encode(PICTURES), plain, atol=1e-6)
    assert len(encoder._kept) == 1


def test_the_starter_tells_subjects_apart() -> None:
    encoder = open_encoder("starter:mobilenet-v2")
    discs = encoder.encode([drawn((64, 64), (200, 30, 30), seed) for seed in range(3)])
    boxes = encoder.encode([drawn((64, 64), (30, 30, 200), seed, disc=False) for seed in range(3)])
    assert discs.shape == (3, 1280)
    assert (discs @ discs.T).min() > (discs @ boxes.T).max() + 0.1
    assert not encoder.reads_texts


def test_the_joined_processor_file_of_transformers_5_is_read(clip: Path, tmp_path: Path) -> None:
    folder = without(clip, tmp_path / "joined", FILE)
    part = json.loads((clip / FILE).read_text(encoding="utf-8")) | {"image_mean": [0.1, 0.2, 0.3]}
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": part}), encoding="utf-8")
    assert open_encoder(str(folder)).preprocessing.mean == (0.1, 0.2, 0.3)
    (folder / "processor_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="image_processor") as error:
        open_encoder(str(folder))
    assert FILE in error.value.fix


def test_a_clip_that_says_nothing_of_pictures_is_fed_as_clips_are(clip: Path, tmp_path: Path) -> None:
    folder = without(clip, tmp_path / "bare", FILE)
    assert open_encoder(str(folder)).preprocessing == open_encoder(str(clip)).preprocessing


def test_a_picture_encoder_is_refused_for_texts() -> None:
    with pytest.raises(UserError, match="no text tower") as error:
        open_text_encoder("starter:mobilenet-v2")
    assert "CLIP" in error.value.fix


def test_a_clip_without_tokenizer_is_refused_for_texts_alone(clip: Path, tmp_path: Path) -> None:
    folder = without(clip, tmp_path / "silent", "tokenizer*", "vocab*", "merges*")
    np.testing.assert_array_equal(open_encoder(str(folder)).encode(PICTURES), open_encoder(str(clip)).encode(PICTURES))
    with pytest.raises(UserError, match="vocabulary"):
        open_text_encoder(str(folder))


def test_a_model_of_texts_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="takes no pictures"):
        open_encoder(str(tmp_path))


def test_weights_that_lack_a_part_are_refused(clip: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = without(clip, tmp_path / "half", "nothing")
    state = load_file(folder / "model.safetensors")
    del state["visual_projection.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lack 1 parameters.*visual_projection"):
        open_encoder(str(folder))


def test_there_is_no_such_folder() -> None:
    with pytest.raises(UserError, match="no folder"):
        open_encoder("./nowhere", where="recipe: options.encoder")


def test_other_arrays_are_refused(clip: Path) -> None:
    encoder: PretrainedEncoder = open_encoder(str(clip))
    with pytest.raises(ValueError, match="uint8"):
        encoder.encode([PICTURES[0].astype(np.float32)])
    with pytest.raises(ValueError, match="nothing to encode"):
        encoder.encode([])
