"""Classes, boxes and masks over HTTP are those that ``tunesmith predict`` gives; no request reads a file of ours."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.fixtures import picture_runs, pictures, small_models
from tests.server.held import fault_of, own_cache, serving
from tunesmith.pictures.segmentation_scores import unpack_mask
from tunesmith.predict import predict
from tunesmith.run import jsonable

PATH = "/v1/predict"
TASKS = {
    "classes": ("image-classification", lambda place: picture_runs.classifier_folder(place, "resnet")),
    "boxes": ("object-detection", lambda place: picture_runs.detector_folder(place, "yolos")),
    "masks": ("image-segmentation", lambda place: picture_runs.segmenter_folder(place, "segformer")),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("predicting")
    with own_cache(folder / "cache"):
        yield folder


@pytest.fixture(scope="module")
def runs(place: Path) -> dict[str, Any]:
    """A short run of each task."""
    text = place / "text"
    text.mkdir()
    stages = "stages=[{train: head, epochs: 1, lr: 1e-2}]"
    found = {"words": small_models.fine_tuned(text, small_models.write_model(text), small_models.rows_of(40), stages)}
    for name, (task, write) in TASKS.items():
        folder = place / name
        model, data = write(folder / "model"), picture_runs.data_for(task, folder, 8)
        found[name] = picture_runs.fine_tuned(
            folder, task, model, data, stages="[{train: all, epochs: 1, lr: 3e-3}]", options="{size: 64}"
        )
    return found


@pytest.fixture(scope="module")
def photos(place: Path) -> list[Path]:
    """Three pictures, none of the size that models read."""
    rng = np.random.default_rng(5)
    files = [place / f"p{number}.png" for number in range(3)]
    for file in files:
        Image.fromarray(pictures.scene(rng, (72, 56))[0]).save(file)
    return files


@pytest.fixture(scope="module")
def client(place: Path, runs: dict[str, Any]) -> Iterator[Any]:
    base = place / "words-base"
    small_models.write_pooling(small_models.write_model(base), "mean")
    folders = {name: run.folder for name, run in runs.items()}
    with serving(place / "server", models={"encoder": str(base)}, runs=folders) as found:
        yield found


def uploaded(client: Any, model: str, files: list[Path]) -> Any:
    return client.post(PATH, data={"model": model}, files=[("file", (f.name, f.read_bytes())) for f in files])


def uri(file: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode("ascii")


def test_texts_are_classified_as_by_predict(client: Any, runs: dict[str, Any]) -> None:
    texts = ["the plot was good", "dull and weak", "the music"]
    answer = client.post(PATH, json={"model": "words", "inputs": [{"text": text} for text in texts]}).json()
    ours = predict(runs["words"], [{"text": text} for text in texts], device="cpu")
    assert [one["prediction"] for one in answer["data"]] == [one["prediction"] for one in ours]
    assert [one["id"] for one in answer["data"]] == ["1", "2", "3"]
    assert (answer["task"], answer["classes"]) == ("text-classification", ["bad", "good"])
    assert set(answer["data"][0]["prediction"]["probabilities"]) == {"bad", "good"}


@pytest.mark.parametrize("kind", TASKS)
def test_pictures_are_predicted_as_by_predict(client: Any, runs: dict[str, Any], photos: list[Path], kind: str) -> None:
    ours = [jsonable(one["prediction"]) for one in predict(runs[kind], list(map(str, photos)), device="cpu")]
    answer = uploaded(client, kind, photos).json()
    assert [one["prediction"] for one in answer["data"]] == ours
    assert answer["task"] == TASKS[kind][0]
    within = [{"image": uri(file), "id": file.stem} for file in photos]
    again = client.post(PATH, json={"model": kind, "inputs": within}).json()
    assert [one["prediction"] for one in again["data"]] == ours
    assert [one["id"] for one in again["data"]] == ["p0", "p1", "p2"]
    if kind == "masks":
        mask = unpack_mask(answer["data"][0]["prediction"])
        assert mask.shape == np.asarray(Image.open(photos[0])).shape[:2] == (56, 72)
        assert mask.max() < len(answer["classes"])


def test_a_broken_picture_is_named_and_the_others_are_predicted(
    client: Any, photos: list[Path], tmp_path: Path
) -> None:
    cut = tmp_path / "cut.png"
    cut.write_bytes(photos[0].read_bytes()[:200])
    data = uploaded(client, "classes", [photos[0], cut, photos[1]]).json()["data"]
    assert ["fault" in one for one in data] == [False, True, False]
    assert data[1]["prediction"] is None
    status, _, said = fault_of(uploaded(client, "classes", [cut]))
    assert status == 400
    assert "none of 1 inputs can be read" in said
    assert "/incoming/" not in said


@pytest.mark.parametrize(
    "given", ["/etc/hostname", "../../etc/hostname", "file:///etc/hostname", "http://127.0.0.1:1/a.png", "data:,x", 5]
)
def test_no_request_names_a_file_or_an_address(client: Any, photos: list[Path], given: Any) -> None:
    for value in (given, {"path": given}, [given]):
        body = {"model": "classes", "inputs": [{"image": uri(photos[0])}, {"image": value}]}
        status, param, said = fault_of(client.post(PATH, json=body))
        assert (status, param) == (400, "inputs.1.image")
        assert "data:" in said
    # What a text classifier reads is the text itself, though a file of that name is there.
    named = client.post(PATH, json={"model": "words", "inputs": [{"text": str(photos[0])}]})
    assert named.status_code == 200


def test_a_path_beside_an_uploaded_picture_is_not_read(client: Any, photos: list[Path]) -> None:
    body = {"model": "masks", "inputs": [{"image": uri(photos[0]), "mask": "/etc/hostname", "objects": [1]}]}
    assert client.post(PATH, json=body).status_code == 200


def test_a_name_with_a_path_is_a_name(client: Any, photos: list[Path], place: Path) -> None:
    before = sorted(place.rglob("*.png"))
    files = [("file", ("../../../../evil.png", photos[0].read_bytes())), ("file", ("..", photos[1].read_bytes()))]
    assert len(client.post(PATH, data={"model": "classes"}, files=files).json()["data"]) == 2
    assert sorted(place.rglob("*.png")) == before


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "words", "inputs": [{"text": "good"}, {"title": "x"}]}, "inputs.1.text"),
        ({"model": "words", "inputs": [{"text": 7}]}, "inputs.0.text"),
        ({"model": "words", "inputs": [{"text": "good", "id": [1]}]}, "inputs.0.id"),
        ({"model": "classes", "inputs": [{"text": "good"}]}, "inputs.0.image"),
        ({"model": "words", "inputs": []}, "inputs"),
        ({"model": "words", "inputs": [{"text": "good"}], "n": 2}, "n"),
        ({"inputs": [{"text": "good"}]}, "model"),
    ],
)
def test_inputs_that_can_not_be_read_are_named(client: Any, body: dict[str, Any], param: str) -> None:
    status, named, _ = fault_of(client.post(PATH, json=body))
    assert (status, named) == (400, param)


def test_a_model_is_asked_at_the_route_of_its_kind(client: Any, photos: list[Path]) -> None:
    assert fault_of(client.post("/v1/embeddings", json={"model": "words", "input": "good"}))[:2] == (400, "model")
    said = fault_of(client.post("/v1/images/generations", json={"model": "words", "prompt": "good"}))
    assert said[:2] == (400, "model")
    assert fault_of(uploaded(client, "words", photos[:1]))[:2] == (400, "file")
    vector = client.post(PATH, json={"model": "encoder", "inputs": [{"query": "good"}]}).json()
    assert len(vector["data"][0]["prediction"]["query"]) == 32
    assert client.post(PATH, json={"model": "nobody", "inputs": [{"text": "x"}]}).status_code == 404
