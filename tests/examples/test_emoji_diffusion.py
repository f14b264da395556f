"""The emoji model: a whole pipeline comes of drawn emoji, held-out ones stay out, a stopped run is as a whole one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
SHORT_NAMES = ["wolf", "bear", "parrot", "owl", "duck", "pineapple", "peach", "banana", "carrot", "corn", "lemon",
               "cherries", "grapes", "tangerine", "pear"]  # fmt: skip
KINDS = {"wolf": "animal-mammal", "bear": "animal-mammal", "parrot": "animal-bird", "owl": "animal-bird",
         "duck": "animal-bird", "carrot": "food-vegetable", "corn": "food-vegetable"}  # fmt: skip


@pytest.fixture(scope="module")
def rooms() -> Iterator[SimpleNamespace]:
    """The scripts' own rooms, which no package installs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        from emoji_diffusion import compose, loop, measure, source, subjects

        yield SimpleNamespace(compose=compose, loop=loop, measure=measure, source=source, subjects=subjects)


@pytest.fixture(scope="module")
def emoji(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of the source's form: discs with a transparent ground."""
    root = tmp_path_factory.mktemp("package")
    (root / "img/google/64").mkdir(parents=True)
    entries = []
    for number, name in enumerate(SHORT_NAMES):
        picture = Image.new("RGBA", (64, 64), (0, 255, 0, 0))
        ImageDraw.Draw(picture).ellipse((6, 6, 57, 57 - 2 * number), fill=(200 - 15 * number, 20 * number, 90, 255))
        picture.save(root / "img/google/64" / f"{name}.png")
        entries.append({"name": name.upper(), "short_names": [name], "subcategory": KINDS.get(name, "food-fruit"),
                        "sort_order": number, "image": f"{name}.png", "has_img_google": True})  # fmt: skip
    (root / "emoji.json").write_text(json.dumps(entries))
    (root / "package.json").write_text(json.dumps({"name": "drawn", "version": "1.0"}))
    return root


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)


@pytest.mark.heavy
def test_a_pipeline_comes_of_drawn_emoji(emoji: Path, tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline
    from transformers import CLIPModel, CLIPTextModel

    out, work = tmp_path / "model", tmp_path / "work"
    done = run("make_emoji_diffusion.py", out, "--emoji", emoji, "--work", work, "--quick")
    assert done.returncode == 0, done.stderr
    assert "12 emoji to learn, 3 held out" in done.stdout
    pipeline = StableDiffusionPipeline.from_pretrained(out, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    drawn = pipeline("a bear on a blue background", height=64, width=64, num_inference_steps=2).images[0]
    assert drawn.size == (64, 64)
    whole, part = CLIPModel.from_pretrained(out / "clip"), CLIPTextModel.from_pretrained(out / "text_encoder")
    ids = pipeline.tokenizer(["a bear"], return_tensors="pt")["input_ids"]
    assert torch.equal(whole.text_model(ids).last_hidden_state, part(ids).last_hidden_state)
    vocabulary = pipeline.tokenizer.get_vocab()
    assert pipeline.tokenizer.unk_token_id not in [vocabulary[text] for text in pipeline.tokenizer.tokenize("qzÄ!_")]
    card = (out / "README.md").read_text()
    known = card.partition("## Emoji that it knows")[2]
    assert "bear" in known
    assert "parrot" not in known
    assert "parrot (bird)" in card

    more = run("make_emoji_diffusion.py", out, "--emoji", emoji, "--work", work, "--quick", "--unet-steps", 7)
    assert more.returncode == 0, more.stderr
    assert "unet: goes on at step 6 of 7" in more.stdout
    other = run("make_emoji_diffusion.py", out, "--emoji", emoji, "--work", work, "--quick", "--seed", 1)
    assert other.returncode
    assert "was made with other data" in other.stderr


def test_what_another_hand_wrote_is_not_replaced(emoji: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    done = run("make_emoji_diffusion.py", tmp_path, "--emoji", emoji, "--quick")
    assert done.returncode
    assert "name another folder" in done.stderr


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_stopped_run_is_as_a_whole_one(rooms: SimpleNamespace, tmp_path: Path, ema: float) -> None:
    def train(work: Path, stop_at: int | None) -> torch.nn.Module:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.GELU(), torch.nn.Linear(8, 1))

        def loss(rng: np.random.Generator, step: int) -> tuple[torch.Tensor, dict[str, float]]:
            if step == stop_at:
                raise KeyboardInterrupt
            x = torch.from_numpy(rng.standard_normal((4, 3), np.float32))
            total = (model(x) - x.sum(1, keepdim=True)).square().mean()
            return total, {"loss": total.item()}

        rooms.loop.learn("part", model, loss, rooms.loop.Plan(12, 4, 1e-2, ema=ema), rooms.loop.Place(work, 0, False))
        return model

    whole = train(tmp_path / "whole", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rooms.loop, "SAVE_SECONDS", -1.0)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "parts", 7)
    parts = train(tmp_path / "parts", None)
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(one, other)


def test_captions_say_what_is_there(rooms: SimpleNamespace, emoji: Path) -> None:
    source = rooms.source.find(emoji)
    subjects = rooms.subjects.every_subject(source.folder / "emoji.json")
    known = rooms.subjects.learned(subjects)
    assert {subject.key for subject in rooms.subjects.held_out(subjects)} == {"parrot", "pineapple", "carrot"}
    pool = rooms.compose.compose(source, known, 16, 0)
    for picture, caption in zip(pool.pictures, pool.captions, strict=True):
        said = caption.rpartition(" on a")[2].partition(" ")[2].split()[0] if " on a" in caption else "white"
        assert rooms.measure.background(picture) == said
        disc = np.argwhere(np.abs(picture.astype(int) - picture[0, 0]).max(2) > 25)
        assert ("small" in caption) == (np.ptp(disc[:, 1]) < 36)
    again = rooms.compose.compose(source, known, 16, 0)
    assert (again.pictures == pool.pictures).all()
    assert again.captions == pool.captions
    look = rooms.compose.Look("orange", small=True)
    assert rooms.compose.caption("owl", look) == "a small owl on an orange background"
    assert rooms.compose.caption("jeans", rooms.compose.Look("white", told=False)) == "jeans"


def test_the_data_of_a_subject(emoji: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        done = run("make_emoji_subject.py", "parrot", tmp_path / name, "--emoji", emoji, "--token", "zwx")
        assert done.returncode == 0, done.stderr
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files)
    pictures = [np.asarray(Image.open(tmp_path / "one" / file)) for file in files if file.suffix == ".png"]
    assert len(pictures) == 16
    assert all(picture.shape == (64, 64, 3) for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == 16
    prompts = [json.loads(line) for line in (tmp_path / "one/prompts.jsonl").read_text().splitlines()]
    assert [prompt["subject"] for prompt in prompts] == [True] * 16 + [False] * 16
    assert all(("zwx bird" in prompt["text"]) == prompt["subject"] for prompt in prompts)
    assert len({prompt["text"] for prompt in prompts[:16]}) == 16
    known = run("make_emoji_subject.py", "owl", tmp_path / "three", "--emoji", emoji)
    assert known.returncode
    assert "name one of" in known.stderr
