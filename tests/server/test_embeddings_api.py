"""Embeddings over HTTP are those that ``tunesmith predict`` gives, in both forms that clients ask for."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

from tests.fixtures import small_models
from tests.server.held import fault_of, official, own_cache, serving
from tunesmith import fine_tune
from tunesmith.model.sentence_encoder import TextEncoder
from tunesmith.model.weights import resolve
from tunesmith.predict import predict
from tunesmith.recipe import ModelSection

TEXTS = ["the plot was good", "bad", "the actor and the music"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("encoders")
    with own_cache(folder / "cache"):
        yield folder


@pytest.fixture(scope="module")
def encoder(place: Path) -> Path:
    folder = small_models.write_model(place / "bert")
    small_models.write_pooling(folder, "mean")
    return folder


@pytest.fixture(scope="module")
def run(place: Path, encoder: Path) -> Any:
    words = small_models.WORDS
    pairs = [
        {"query": f"{words[i]} {words[i + 1]}", "positive": f"the {words[i + 1]} is {words[i]}"} for i in range(24)
    ]
    (place / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs), encoding="utf-8")
    recipe = place / "recipe.yaml"
    recipe.write_text(
        f"task: retrieval\nmodel: {encoder}\ndata: {{train: {place / 'pairs.jsonl'}, eval: 0.25, validation: 0}}\n"
        "stages: [{train: all, epochs: 1, lr: 3e-3}]\nbatch: {rows: 8}\n"
        "options: {hard_negatives: 0, max_length: 8, query_prompt: 'the '}\n"
        f"audit: {{accept: {{few-rows: a test}}}}\nrun: {{folder: {place / 'runs'}, name: here}}\n",
        encoding="utf-8",
    )
    return fine_tune(recipe)


@pytest.fixture(scope="module")
def client(place: Path, encoder: Path, run: Any) -> Iterator[Any]:
    with serving(place / "server", models={"base": str(encoder)}, runs={"tuned": run.folder}) as found:
        yield found


def test_the_official_client_gets_the_vectors_of_predict(client: Any, run: Any) -> None:
    ours = [one["prediction"]["query"] for one in predict(run, [{"query": text} for text in TEXTS], device="cpu")]
    theirs = official(client).embeddings.create(model="tuned", input=TEXTS, encoding_format="float")
    assert [one.embedding for one in theirs.data] == ours
    assert [one.index for one in theirs.data] == [0, 1, 2]
    # It asks for base64 where nothing is said, and unpacks it.
    packed = official(client).embeddings.create(model="tuned", input=TEXTS)
    assert np.array_equal(np.float32(packed.data[2].embedding), np.float32(ours[2]))
    answer = client.post("/v1/embeddings", json={"model": "tuned", "input": "bad", "encoding_format": "base64"}).json()
    raw = np.frombuffer(base64.b64decode(answer["data"][0]["embedding"]), "<f4")
    single = predict(run, [{"query": "bad"}], device="cpu")[0]["prediction"]["query"]
    assert np.array_equal(raw, np.float32(single))
    assert answer["usage"] == {"prompt_tokens": 4, "total_tokens": 4}  # [CLS] the bad [SEP]
    assert "truncated" not in answer


def test_a_passage_is_read_with_its_own_beginning(client: Any, run: Any) -> None:
    wanted = predict(run, [{"query": "x", "passages": TEXTS[:1]}], device="cpu")[0]["prediction"]["passages"][0]
    body = {"model": "tuned", "input": TEXTS[0]}
    passage = client.post("/v1/embeddings", json={**body, "input_type": "passage"}).json()["data"][0]["embedding"]
    query = client.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]
    assert np.allclose(passage, wanted, atol=2e-6)
    assert not np.allclose(passage, query, atol=1e-3)


def test_a_base_gives_the_vectors_that_an_index_has(client: Any, encoder: Path) -> None:
    ours = TextEncoder(resolve(ModelSection(name=str(encoder))), "cpu", "fp32").encode(TEXTS, query=True)
    theirs = official(client).embeddings.create(model="base", input=TEXTS, encoding_format="float")
    assert np.allclose([one.embedding for one in theirs.data], ours, atol=2e-6)


def test_texts_that_lose_their_end_are_named(client: Any) -> None:
    long = " ".join(small_models.WORDS[:20])
    answer = client.post("/v1/embeddings", json={"model": "tuned", "input": ["bad", long]}).json()
    assert answer["truncated"] == [1]
    assert answer["usage"]["prompt_tokens"] == 4 + 8


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"input": ["good", "  "]}, "input", "empty string (text 1)"),
        ({"input": []}, "input", ""),
        ({"input": [1, 2, 3]}, "input", "token ids"),
        ({"input": [[1, 2], [3]]}, "input", "token ids"),
        ({"input": "good", "dimensions": 3}, "dimensions", "leave dimensions out"),
        ({"input": "good", "input_type": "title"}, "input_type", ""),
        ({"input": "good", "model": "nobody"}, "model", "does not exist"),
    ],
)
def test_what_can_not_be_embedded_is_refused(client: Any, body: dict[str, Any], param: str, words: str) -> None:
    status, named, said = fault_of(client.post("/v1/embeddings", json={"model": "tuned", **body}))
    assert status == (404 if body.get("model") else 400)
    # Where a field may be several things, the place is inside it.
    assert str(named).split(".")[0] == param
    assert words in said


def test_a_fault_is_a_typed_error_of_the_client(client: Any) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        official(client).embeddings.create(model="nobody", input="good")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="token ids"):
        official(client).embeddings.create(model="tuned", input=[5, 6])
