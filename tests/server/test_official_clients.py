"""OpenAI's own clients (Python, Node) and LangChain's: one scripted session with a server that trains."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml

from tests.fixtures.served import TOKEN, Served, served
from tests.fixtures.small_decoders import conversations, write_decoder

NODE = Path(__file__).parent / "node"
ASKED: list[Any] = [{"role": "user", "content": "snow: which colour?"}]
SECONDS = 600.0


def write_rows(place: Path, rows: list[dict[str, Any]]) -> Path:
    place.write_text("".join(json.dumps({"messages": row["messages"]}) + "\n" for row in rows))
    return place


METHOD: Any = {
    "type": "supervised",
    "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 8, "learning_rate_multiplier": "auto"}},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, rows to learn from, and others."""
    folder = tmp_path_factory.mktemp("world")
    write_decoder(folder / "tiny")
    write_rows(folder / "rows.jsonl", conversations(24))
    write_rows(folder / "held.jsonl", conversations(36)[24:])
    return folder


@pytest.fixture(scope="module")
def server(world: Path) -> Iterator[Served]:
    with served(world / "server", {"tiny": world / "tiny"}, cache=world / "cache") as found:
        yield found


@pytest.fixture(scope="module")
def client(server: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=TOKEN, base_url=server.base, max_retries=0, timeout=SECONDS) as made:
        yield made


@pytest.fixture(scope="module")
def files(client: openai.OpenAI, world: Path) -> tuple[str, str]:
    """Training and validation file."""
    made = [client.files.create(file=world / f"{name}.jsonl", purpose="fine-tune") for name in ("rows", "held")]
    first, second = (client.files.wait_for_processing(file.id) for file in made)
    return first.id, second.id


@pytest.fixture(scope="module")
def tuned(client: openai.OpenAI, files: tuple[str, str]) -> Any:
    """A job that has succeeded."""
    job = client.fine_tuning.jobs.create(
        model="tiny", training_file=files[0], validation_file=files[1], suffix="demo", seed=5, metadata={"a": "b"},
        method=METHOD,
    )  # fmt: skip
    assert job.status in ("validating_files", "queued", "running")
    return until(client, job.id, "succeeded")


def until(client: openai.OpenAI, job_id: str, wanted: str) -> Any:
    """The job, once it has a status."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        job = client.fine_tuning.jobs.retrieve(job_id)
        if job.status == wanted:
            return job
        assert job.status not in ("failed", "succeeded", "cancelled"), job.to_json()
        time.sleep(0.1)
    raise AssertionError(f"{job_id} does not become {wanted}: {job.to_json()}")


def metrics(client: openai.OpenAI, job_id: str) -> list[dict[str, Any]]:
    """What its events tell of its steps, oldest first."""
    events = list(client.fine_tuning.jobs.list_events(job_id, limit=50))[::-1]
    return [dict(event.data) for event in events if event.type == "metrics"]  # type: ignore[call-overload]


def stepped(client: openai.OpenAI, job_id: str, least: int) -> int:
    """The job's step, once it is that far."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        step = max((one["step"] for one in metrics(client, job_id)), default=0)
        if step >= least:
            return int(step)
        time.sleep(0.1)
    raise AssertionError(client.fine_tuning.jobs.retrieve(job_id).to_json())


def test_files_come_back_as_they_went(client: openai.OpenAI, files: tuple[str, str], world: Path) -> None:
    file = client.files.retrieve(files[0])
    assert (file.object, file.purpose, file.status, file.filename) == ("file", "fine-tune", "processed", "rows.jsonl")
    assert client.files.content(files[0]).content == (world / "rows.jsonl").read_bytes()
    assert set(files) <= {file.id for file in client.files.list(purpose="fine-tune", limit=1)}


def test_a_job_says_what_it_did(client: openai.OpenAI, tuned: Any, files: tuple[str, str]) -> None:
    assert (tuned.object, tuned.model, tuned.seed, tuned.metadata) == ("fine_tuning.job", "tiny", 5, {"a": "b"})
    assert tuned.fine_tuned_model.startswith("ft:tiny:demo:")
    assert (tuned.training_file, tuned.validation_file) == files
    asked = tuned.method.supervised.hyperparameters
    assert (asked.n_epochs, asked.batch_size, asked.learning_rate_multiplier) == (2, 8, 1.0)
    assert tuned.trained_tokens > 0
    assert tuned.finished_at >= tuned.created_at
    assert tuned.id in {job.id for job in client.fine_tuning.jobs.list(limit=1)}


def test_its_events_tell_of_every_step(client: openai.OpenAI, tuned: Any) -> None:
    told = metrics(client, tuned.id)
    assert [one["step"] for one in told if "train_loss" in one] == list(range(1, 7))
    assert all(one["train_loss"] > 0 for one in told if "train_loss" in one)
    assert any(one.get("valid_loss") is not None or one.get("full_valid_loss") is not None for one in told)
    text = client.files.content(tuned.result_files[0]).text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [int(row["step"]) for row in rows] == list(range(1, 7))
    by_step = {one["step"]: one["train_loss"] for one in told if "train_loss" in one}
    assert [float(row["train_loss"]) for row in rows] == pytest.approx(list(by_step.values()), abs=1e-4)


def test_its_model_and_its_checkpoints_answer(client: openai.OpenAI, tuned: Any) -> None:
    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(tuned.id))
    names = {model.id for model in client.models.list()}
    assert {"tiny", tuned.fine_tuned_model} <= names
    assert client.models.retrieve(tuned.fine_tuned_model).id == tuned.fine_tuned_model
    assert checkpoints
    for model in (tuned.fine_tuned_model, checkpoints[-1].fine_tuned_model_checkpoint):
        reply = client.chat.completions.create(model=model, messages=ASKED, max_tokens=8, temperature=0)
        assert reply.choices[0].message.role == "assistant"
        assert reply.usage is not None
        assert 0 < reply.usage.completion_tokens <= 8
        assert reply.choices[0].finish_reason in ("stop", "length")


def test_a_tuned_model_is_tuned_again(client: openai.OpenAI, files: tuple[str, str], tuned: Any) -> None:
    # The same rows in the same steps: what was learned shows in the first one.
    asked: Any = {"training_file": files[0], "validation_file": files[1], "method": METHOD, "seed": 5}
    made = client.fine_tuning.jobs.create(model=tuned.fine_tuned_model, suffix="again", **asked)
    job = until(client, made.id, "succeeded")
    assert job.model == tuned.fine_tuned_model
    assert job.fine_tuned_model.startswith("ft:tiny:again:")
    assert metrics(client, job.id)[0]["train_loss"] < metrics(client, tuned.id)[0]["train_loss"]
    reply = client.chat.completions.create(model=job.fine_tuned_model, messages=ASKED, max_tokens=8, temperature=0)
    assert reply.usage is not None
    assert reply.usage.completion_tokens > 0
    with pytest.raises(openai.BadRequestError) as fault:
        client.fine_tuning.jobs.create(model="ft:tiny:again:none", training_file=files[0])
    assert (fault.value.code, fault.value.param) == ("model_not_found", "model")


def test_a_stream_says_what_the_whole_says(client: openai.OpenAI, tuned: Any) -> None:
    asked: dict[str, Any] = {"model": tuned.fine_tuned_model, "messages": ASKED, "max_tokens": 12, "temperature": 0}
    whole = client.chat.completions.create(**asked)
    pieces, usage = [], None
    for chunk in client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        pieces += [choice.delta.content for choice in chunk.choices if choice.delta.content]
    assert "".join(pieces) == whole.choices[0].message.content
    assert len(pieces) > 1
    assert usage == whole.usage


def test_pause_resume_and_cancel(client: openai.OpenAI, files: tuple[str, str]) -> None:
    job = client.fine_tuning.jobs.create(
        model="tiny", training_file=files[0], method={"type": "supervised", "supervised": {
            "hyperparameters": {"n_epochs": 500, "batch_size": 4}}},
    )  # fmt: skip
    before = stepped(client, job.id, 2)
    assert client.fine_tuning.jobs.pause(job.id).status in ("running", "paused")
    until(client, job.id, "paused")
    assert client.fine_tuning.jobs.resume(job.id).status in ("queued", "running")
    assert stepped(client, job.id, before + 1) > before
    client.fine_tuning.jobs.cancel(job.id)
    ended = until(client, job.id, "cancelled")
    assert ended.fine_tuned_model is None
    with pytest.raises(openai.BadRequestError):
        client.fine_tuning.jobs.cancel(job.id)


def test_faults_are_typed(client: openai.OpenAI, server: Served, files: tuple[str, str], tuned: Any) -> None:
    jobs = client.fine_tuning.jobs
    with pytest.raises(openai.BadRequestError) as fault:
        jobs.create(model="tiny", training_file="file-nope")
    assert fault.value.param == "training_file"
    with pytest.raises(openai.BadRequestError) as fault:
        jobs.create(model="nope", training_file=files[0])
    assert (fault.value.code, fault.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as fault:
        client.files.create(file=("rows.jsonl", b'{"messages": []}\n'), purpose="fine-tune")
    assert "line 1" in str(fault.value)
    with pytest.raises(openai.NotFoundError):
        jobs.retrieve("ftjob-nope")
    with pytest.raises(openai.NotFoundError) as fault:  # type: ignore[assignment]
        client.chat.completions.create(model="nope", messages=ASKED)
    assert fault.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError):
        jobs.cancel(tuned.id)
    with (
        openai.OpenAI(api_key="wrong", base_url=server.base, max_retries=0) as other,
        pytest.raises(openai.AuthenticationError),
    ):
        other.models.list()


def test_one_key_makes_one_job(client: openai.OpenAI, files: tuple[str, str]) -> None:
    asked: dict[str, Any] = {"model": "tiny", "training_file": files[0], "seed": 1}
    key = {"Idempotency-Key": "one-and-the-same"}
    first, second = (client.fine_tuning.jobs.create(**asked, extra_headers=key) for _ in range(2))
    client.fine_tuning.jobs.cancel(first.id)
    assert first.id == second.id
    with pytest.raises(openai.ConflictError):
        client.fine_tuning.jobs.create(**asked | {"seed": 2}, extra_headers=key)


def test_langchain_answers(server: Served, tuned: Any) -> None:
    langchain = pytest.importorskip("langchain_openai")
    model = langchain.ChatOpenAI(
        model=tuned.fine_tuned_model, base_url=server.base, api_key=TOKEN, temperature=0, max_tokens=12, max_retries=0
    )
    said = model.invoke([("user", ASKED[0]["content"])])
    assert said.content
    assert "".join(piece.content for piece in model.stream([("user", ASKED[0]["content"])])) == said.content


def test_what_was_served_migrates(
    client: openai.OpenAI, server: Served, world: Path, tuned: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith.server.migrate import migrate, open_account

    monkeypatch.setenv("OPENAI_API_KEY", TOKEN)
    into = world / "brought"
    found = migrate(open_account(server.base), into, {"tiny": str(world / "tiny")})
    assert found.complete, found.lines()
    listed = list(client.fine_tuning.jobs.list())
    assert [job.id for job in found.jobs] == [job.id for job in listed]
    assert (into / "files" / f"{tuned.training_file}.jsonl").read_bytes() == (world / "rows.jsonl").read_bytes()
    assert (into / "results" / f"{tuned.result_files[0]}.csv").read_text().startswith("step,")
    brought = yaml.safe_load((into / f"{tuned.id}.yaml").read_text())
    trained = yaml.safe_load((world / "server" / "jobs" / tuned.id / "recipe.yaml").read_text())
    same = ("task", "model", "stages", "adapter", "batch", "options")
    assert {name: brought[name] for name in same} == {name: trained[name] for name in same}
    assert brought["run"]["seed"] == trained["run"]["seed"]


def test_the_node_client(server: Served, world: Path, client: openai.OpenAI, tuned: Any) -> None:
    if shutil.which("node") is None or not (NODE / "node_modules" / "openai").is_dir():
        assert not os.environ.get("CI"), "npm ci --prefix tests/server/node"
        pytest.skip("OpenAI's Node client is not installed: npm ci --prefix tests/server/node")
    words = ["node", "session.mjs", str(world / "rows.jsonl"), str(world / "held.jsonl"), tuned.fine_tuned_model]
    environment = os.environ | {"TUNESMITH_TOKEN": TOKEN, "TUNESMITH_BASE": server.base}
    ran = subprocess.run(words, cwd=NODE, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert ran.returncode == 0, ran.stderr
    met = json.loads(ran.stdout)
    assert met["file"] == ["file", "fine-tune", "processed"]
    assert met["content"] == (world / "rows.jsonl").read_text()
    settings = {"n_epochs": 400, "batch_size": 4, "learning_rate_multiplier": 1}
    assert met["created"] == ["fine_tuning.job", 3, {"from": "node"}, settings]
    assert (met["paused"], met["goesOn"], met["cancelled"]) == ("paused", True, "cancelled")
    reply = client.chat.completions.create(model=tuned.fine_tuned_model, messages=ASKED, max_tokens=12, temperature=0)
    assert met["answer"] == "".join(met["pieces"]) == reply.choices[0].message.content
    assert tuned.fine_tuned_model in met["models"]
    assert {name: fault[:2] for name, fault in met["faults"].items()} == {
        "file": ["BadRequestError", 400], "model": ["BadRequestError", 400], "job": ["NotFoundError", 404],
        "ended": ["BadRequestError", 400], "chat": ["NotFoundError", 404], "token": ["AuthenticationError", 401],
    }  # fmt: skip
    assert met["faults"]["model"][2:] == ["model_not_found", "model"]
    assert met["deleted"][:2] == ["NotFoundError", 404]
