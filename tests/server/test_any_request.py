"""Requests made up from the published OpenAPI, right ones and wrong ones: none ends in a failure of ours."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from tests.fixtures.asgi import TOKEN
from tests.fixtures.small_decoders import conversations, write_decoder
from tunesmith.server.app import make_app
from tunesmith.server.jobs import Jobs
from tunesmith.server.listening import configuration, listening_socket
from tunesmith.server.openapi import document
from tunesmith.server.settings import Settings
from tunesmith.server.store import Store
from tunesmith.server.uploads import Uploads

EXAMPLES = {"positive": 12, "negative": 6}
LIMITS = {"n": 2, "best_of": 2, "max_tokens": 4, "max_completion_tokens": 4}
FEWEST = ("ChatBody", "CompletionBody")

pytestmark = [
    pytest.mark.heavy,
    # Of schemathesis and what it stands on, not of ours.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


class Waiting(Jobs):
    """Jobs that nothing follows."""

    def start(self) -> None:
        """Nothing begins."""

    def stop(self) -> None:
        """Nothing ends."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, Any]]]:
    """A server with a decoder, a file and a job that waits; its address, and its OpenAPI that names them."""
    folder = tmp_path_factory.mktemp("any")
    base = write_decoder(folder / "decoder")
    rows = "".join(json.dumps({"messages": row["messages"]}) + "\n" for row in conversations(16))
    with listening_socket("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        settings = Settings(
            folder / "server", port=port, token=TOKEN, models={"tiny": str(base)}, device="cpu", seconds=20
        )
        store = Store(settings.folder)
        place = store.upload_path()
        place.write_text(rows, encoding="utf-8")
        file = store.add_file(place, filename="rows.jsonl", purpose="fine-tune", kind="conversation", rows=16)
        # What is made is queued and never begins: training has tests of its own.
        jobs = Waiting(store, settings)
        job = jobs.create({"model": "tiny", "training_file": file.id})
        app = make_app(settings, store, jobs)
        uploads = Uploads(store, settings.upload_bytes)
        upload = uploads.begin(filename="rows.jsonl", purpose="fine-tune", size=len(rows), expires=False)
        place = store.part_path()
        place.write_text(rows, encoding="utf-8")
        part = uploads.add(upload.id, place, len(rows))
        others = [uploads.begin(filename="x", purpose="user_data", size=1 << 20, expires=False).id for _ in range(2)]
        server = uvicorn.Server(configuration(app, settings))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            ids = {"upload_id": [*others, upload.id], "part": part.id}
            yield f"http://127.0.0.1:{port}", named(document(app.routes), file.id, job["id"], ids)
        finally:
            server.should_exit = True
            thread.join()


def named(published: dict[str, Any], file: str, job: str, ids: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI with what there is: names that a machine makes up would all be of nothing."""
    known = {"model": ["tiny", "none"], "training_file": [file, "file-none"], "validation_file": [file]}
    paths = {"file_id": [file, "file-none"], "job_id": [job, "ftjob-none"], "model": ["tiny", "none"]}
    paths["upload_id"] = [*ids["upload_id"], "upload_none"]
    shapes = published["components"]["schemas"]
    shapes["CompleteBody"]["properties"]["part_ids"]["items"] = {"enum": [ids["part"], "part_none"]}
    shapes["UploadBody"]["properties"]["bytes"] = {"type": "integer", "minimum": 1, "maximum": 1 << 31}
    shapes["UploadBody"]["properties"]["purpose"] = {"enum": ["fine-tune", "user_data", "batch"]}
    for schema in shapes.values():
        for name, said in schema.get("properties", {}).items():
            if name in known and ("string" in json.dumps(said)):
                schema["properties"][name] = {"enum": known[name]}
            if name in LIMITS:
                schema["properties"][name] = {"type": "integer", "minimum": 1, "maximum": LIMITS[name]}
    for name in FEWEST:
        shapes[name]["required"] = [*shapes[name]["required"], "max_tokens"]
    for methods in published["paths"].values():
        for said in methods.values():
            for one in said.get("parameters", []):
                if one["in"] == "path":
                    one["schema"] = {"enum": paths[one["name"]]}
    return published


@pytest.mark.parametrize("mode", EXAMPLES)
def test_no_request_ends_in_a_failure_of_ours(world: tuple[str, dict[str, Any]], mode: str) -> None:
    import hypothesis
    import jsonschema
    import schemathesis
    from hypothesis import HealthCheck, Phase
    from schemathesis import GenerationMode

    base, published = world
    schema = schemathesis.openapi.from_dict(published)
    statuses: Counter[int] = Counter()
    failures: list[str] = []
    asked: set[str] = set()

    def one(case: Any) -> None:
        said = case.call(base_url=base, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60)
        statuses[said.status_code] += 1
        asked.add(case.operation.label)
        if said.status_code >= 500:
            failures.append(
                f"{case.operation.label} {said.status_code} {case.body!r} {case.query!r} {said.text}"[:2000]
            )
        elif said.headers["content-type"] == "application/json":
            shape = case.operation.definition.raw["responses"][str(said.status_code)]["content"]["application/json"]
            jsonschema.validate(said.json(), shape["schema"] | {"components": published["components"]})

    settings = hypothesis.settings(
        max_examples=EXAMPLES[mode], deadline=None, derandomize=True, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    operations = [found.ok() for found in schema.get_all_operations()]
    for operation in operations:
        strategy = operation.as_strategy(generation_mode=GenerationMode(mode))
        try:
            settings(hypothesis.given(case=strategy)(one))()
        except hypothesis.errors.Unsatisfiable:
            # There is nothing wrong that one could send to a route that takes nothing.
            assert mode == "negative"
    assert failures == []
    assert len(asked) == len(operations) if mode == "positive" else asked
    if mode == "positive":
        assert statuses[200] > 30
    else:
        assert statuses[400] > 30
