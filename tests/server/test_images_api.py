"""Pictures over HTTP are those that ``tunesmith predict`` and diffusers draw from the same noise."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.fixtures import small_pipelines
from tests.server.held import fault_of, official, own_cache, serving
from tunesmith import fine_tune
from tunesmith.data.loader import Address
from tunesmith.model.diffusion_sampling import start
from tunesmith.predict import predict

PATH = "/v1/images/generations"
PROMPT = "sks dog on grass"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("makers")
    small_pipelines.write(folder / "sd", "sd")
    with own_cache(folder / "cache"):
        yield folder


@pytest.fixture(scope="module")
def run(place: Path) -> Any:
    clip = str(small_pipelines.clip_folder(place / "clip"))
    recipe = {
        "task": "text-to-image",
        "model": str(place / "sd"),
        "data": {
            "train": str(small_pipelines.photos(place / "photos", 3)),
            "eval": str(small_pipelines.prompts_file(place / "prompts.jsonl", [PROMPT])),
            "validation": 0,
        },
        "options": {
            "prompt": "a photo of sks dog", "token": "sks", "subject": "dog", "size": 32, "steps": 2, "guidance": 3.0,
            "encoder": clip, "samples": {"rows": 0},
        },
        "stages": [{"train": "adapter", "epochs": 1, "lr": 1e-2}],
        "adapter": {"kind": "lora", "r": 2, "targets": ["to_q", "to_v"]},
        "batch": {"rows": 3, "eval_rows": 2},
        "run": {"folder": str(place / "runs"), "name": "here"},
    }  # fmt: skip
    (place / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return fine_tune(place / "recipe.yaml")


@pytest.fixture(scope="module")
def client(place: Path, run: Any) -> Iterator[Any]:
    with serving(place / "server", models={"base": str(place / "sd")}, runs={"tuned": run.folder}) as found:
        yield found


def pixels(content: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))).astype(int)


def test_the_official_client_gets_the_pictures_of_predict(client: Any, run: Any, tmp_path: Path) -> None:
    images = official(client).images
    one = images.generate(model="tuned", prompt=PROMPT, response_format="b64_json")
    wanted = predict(run, [PROMPT], device="cpu", out=tmp_path / "one")[0]["prediction"]
    assert one.data is not None
    assert np.array_equal(pixels(str(one.data[0].b64_json)), np.asarray(Image.open(wanted)))
    assert one.size == "32x32"
    two = images.generate(model="tuned", prompt=PROMPT, n=2)
    assert two.data is not None
    drawn = [pixels(str(data.b64_json)) for data in two.data]
    files = [found["prediction"] for found in predict(run, [PROMPT], n=2, device="cpu", out=tmp_path / "two")]
    assert all(np.array_equal(a, np.asarray(Image.open(b))) for a, b in zip(drawn, files, strict=True))
    assert not np.array_equal(*drawn)


def test_a_base_draws_what_diffusers_draws(client: Any, place: Path) -> None:
    asked = {"model": "base", "prompt": PROMPT, "size": "24x16", "seed": 7}
    made = client.post(PATH, json=asked).json()
    assert made["size"] == "24x16"
    noise = (Address(0, 0, 0).digest("fixed noise", "7") >> 2) % (1 << 62)
    pipe = small_pipelines.read(place / "sd")
    theirs = pipe(
        PROMPT, height=16, width=24, num_inference_steps=25, guidance_scale=7.5, output_type="np",
        latents=start([noise], (4, 8, 12)),
    ).images[0]  # fmt: skip
    assert np.abs(pixels(made["data"][0]["b64_json"]) - (theirs * 255).round()).max() <= 1
    again = client.post(PATH, json=asked).json()
    assert again["data"] == made["data"]
    other = client.post(PATH, json={**asked, "seed": 8}).json()
    assert other["data"] != made["data"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"response_format": "url"}, "response_format"),
        ({"output_format": "jpeg"}, "output_format"),
        ({"prompt": "  "}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"size": "4000x4000"}, "size"),
        ({"size": "large"}, "size"),
        ({"n": 99}, "n"),
    ],
)
def test_what_can_not_be_drawn_is_refused(client: Any, body: dict[str, Any], param: str) -> None:
    status, named, _ = fault_of(client.post(PATH, json={"model": "base", "prompt": PROMPT, **body}))
    assert (status, named) == (400, param)


def test_a_size_between_those_of_the_model_is_refused_with_the_way_on(client: Any) -> None:
    status, _, said = fault_of(client.post(PATH, json={"model": "base", "prompt": PROMPT, "size": "17x16"}))
    assert status == 400
    assert "multiples of" in said
