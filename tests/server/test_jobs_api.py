"""Jobs over HTTP: what is refused and how, keys that come twice, lists; no worker starts here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.asgi import GOOD, Said, ask
from tests.fixtures.server_parts import bare_app
from tests.fixtures.small_decoders import conversations, pairs
from tests.server.job_world import JobWorld
from tunesmith.server import jobs_api
from tunesmith.server.job_recipe import MOST_BATCH, resolved

TOP = "/v1/fine_tuning/jobs"


class Client:
    """A client of an application whose jobs wait."""

    def __init__(self, folder: Path) -> None:
        self.world = JobWorld(folder, "none", command=("false",))
        self.app = bare_app(folder, jobs_api.routes())
        self.app.state.server.jobs = self.world.jobs
        self.training = self.world.rows(conversations(12))
        self.validation = self.world.rows(conversations(4))

    def post(self, path: str = TOP, *, key: str | None = None, **body: Any) -> Said:
        """Send JSON."""
        headers = [*GOOD, ("content-type", "application/json"), *([("idempotency-key", key)] if key else [])]
        return ask(self.app, "POST", path, headers, json.dumps(body).encode())

    def create(self, *, key: str | None = None, **body: Any) -> Said:
        """Make a job of the training file."""
        return self.post(key=key, **({"model": "tiny", "training_file": self.training} | body))

    def get(self, path: str) -> Any:
        """The JSON of a list or a job."""
        return json.loads(ask(self.app, "GET", path).body)


@pytest.fixture
def client(tmp_path: Path) -> Any:
    found = Client(tmp_path)
    yield found
    found.world.close()


def supervised(**hyperparameters: Any) -> dict[str, Any]:
    return {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no such file": ({"training_file": "file-none"}, "training_file", "file_not_found"),
    "no such validation file": ({"validation_file": "file-none"}, "validation_file", "file_not_found"),
    "no such model": ({"model": "gpt-4"}, "model", "model_not_found"),
    "a tuned model": ({"model": "ft:tiny::abc"}, "model", "model_not_found"),
    "rows of the other method": ({"method": {"type": "dpo"}}, "training_file", "invalid_file_format"),
    "the same rows": ({"validation_file": "TRAINING"}, "validation_file", "invalid_value"),
    "a name that can't be": ({"suffix": "a:b"}, "suffix", "invalid_value"),
    "no epochs": (
        {"method": supervised(n_epochs=0)}, "method.supervised.hyperparameters.n_epochs", "invalid_value",
    ),
    "a method that is not there": ({"method": {"type": "reinforcement"}}, "method.type", "invalid_value"),
    "settings of another method": (
        {"method": {"type": "supervised", "dpo": {"hyperparameters": {"beta": 0.1}}}}, "method.dpo", "invalid_value",
    ),
    "settings twice": (
        {"method": supervised(n_epochs=1), "hyperparameters": {"n_epochs": 2}}, "hyperparameters", "invalid_value",
    ),
    "an unknown field": ({"modle": "tiny"}, "modle", "unknown_parameter"),
    "a seed that is too large": ({"seed": 1 << 31}, "seed", "invalid_value"),
    "an integration": ({"integrations": [{"type": "wandb"}]}, "integrations", "invalid_value"),
}  # fmt: skip


@pytest.mark.parametrize("why", REFUSED)
def test_refused(client: Client, why: str) -> None:
    body, param, code = REFUSED[why]
    body = {name: client.training if value == "TRAINING" else value for name, value in body.items()}
    said = client.create(**body)
    assert (said.status, said.error()["param"], said.error()["code"]) == (400, param, code), said.body
    assert client.get(TOP)["data"] == []


def test_too_few_rows(client: Client) -> None:
    said = client.create(training_file=client.validation)
    assert (said.status, said.error()["code"]) == (400, "invalid_n_examples")
    assert "has 4 examples" in said.error()["message"]


def test_a_file_for_something_else(client: Client) -> None:
    place = client.world.store.upload_path()
    place.write_text("x")
    file = client.world.store.add_file(place, filename="x", purpose="user_data")
    assert client.create(training_file=file.id).error()["code"] == "invalid_file_purpose"


def test_one_key_makes_one_job(client: Client) -> None:
    first, second = client.create(key="abc", seed=3), client.create(key="abc", seed=3)
    assert first.status == second.status == 200
    assert json.loads(first.body) == json.loads(second.body)
    assert len(client.get(TOP)["data"]) == 1
    other = client.create(key="abc", seed=4)
    assert (other.status, other.error()["code"]) == (409, "idempotency_key_reused")
    assert json.loads(client.create(key="abd", seed=3).body)["id"] != json.loads(first.body)["id"]
    assert len(client.get(TOP)["data"]) == 2


def test_a_job_that_is_not_there(client: Client) -> None:
    for verb in ("cancel", "pause", "resume"):
        said = client.post(f"{TOP}/ftjob-none/{verb}")
        assert (said.status, said.error()["code"]) == (404, "fine_tune_not_found")
    for part in ("", "/events", "/checkpoints"):
        assert ask(client.app, "GET", f"{TOP}/ftjob-none{part}").status == 404


def test_lists_come_in_pages(client: Client) -> None:
    made = [json.loads(client.create(metadata={"n": str(n % 2)}).body)["id"] for n in range(5)]
    page = client.get(f"{TOP}?limit=2")
    assert [job["id"] for job in page["data"]] == made[:2:-1]
    assert page["has_more"]
    rest = client.get(f"{TOP}?limit=9&after={page['last_id']}")
    assert [job["id"] for job in rest["data"]] == made[2::-1]
    assert not rest["has_more"]
    odd = client.get(f"{TOP}?metadata%5Bn%5D=1")
    assert [job["id"] for job in odd["data"]] == [made[3], made[1]]
    events = client.get(f"{TOP}/{made[0]}/events")["data"]
    assert events[-1]["message"].startswith("Created")
    assert client.get(f"{TOP}/{made[0]}/checkpoints")["data"] == []


def test_a_waiting_job_is_paused_resumed_and_cancelled(client: Client) -> None:
    job = json.loads(client.create().body)["id"]
    assert client.post(f"{TOP}/{job}/resume").error()["code"] == "invalid_job_status"
    for verb, status in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        assert json.loads(client.post(f"{TOP}/{job}/{verb}").body)["status"] == status
    assert client.post(f"{TOP}/{job}/cancel").error()["code"] == "job_has_ended"
    assert client.get(f"{TOP}/{job}")["finished_at"] is not None


def test_a_file_that_is_gone_fails_its_job(client: Client) -> None:
    job = json.loads(client.create().body)["id"]
    client.world.store.file_path(client.training).unlink()
    client.world.jobs.supervisor.look()
    failed = client.get(f"{TOP}/{job}")
    assert failed["status"] == "failed"
    assert (failed["error"]["code"], failed["error"]["param"]) == ("invalid_training_file", "training_file")


def test_preference_rows_are_for_dpo(client: Client) -> None:
    rows = client.world.rows(pairs(12))
    job = json.loads(client.create(training_file=rows, method={"type": "dpo"}).body)
    found = {"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": 1.0, "beta": 0.1}
    assert job["method"] == {"type": "dpo", "dpo": {"hyperparameters": found}}
    assert client.create(training_file=rows).error()["param"] == "training_file"


def test_batches_grow_with_the_rows() -> None:
    sizes = [resolved("supervised", {"batch_size": "auto"}, rows).batch_size for rows in (10, 5000, 10**6)]
    assert sizes == [4, 10, MOST_BATCH]
    assert resolved("dpo", {"beta": 0.7, "n_epochs": 2, "batch_size": 1}, 9).public() == {
        "n_epochs": 2, "batch_size": 1, "learning_rate_multiplier": 1.0, "beta": 0.7,
    }  # fmt: skip
