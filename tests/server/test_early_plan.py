"""What can never fit is refused when a job is asked for; what can't be told so early waits for its turn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import openai
import pytest
from starlette.testclient import TestClient

from tests.fixtures.asgi import HOST
from tests.fixtures.asgi import TOKEN as BARE_TOKEN
from tests.fixtures.server_parts import bare_app
from tests.fixtures.small_decoders import conversations
from tests.server.job_world import JobWorld
from tunesmith.machine import memory_bytes, pick_precision
from tunesmith.server import jobs_api
from tunesmith.server.early_plan import EarlyPlans, Taken, least_of
from tunesmith.server.faults import ApiFault
from tunesmith.server.job_recipe import Hyperparameters, recipe_of

WAIT = 600.0
"""Seconds: these machines may be busy."""
LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 128256, "torch_dtype": "bfloat16",
         "num_key_value_heads": 8, "max_position_embeddings": 8192, "tie_word_embeddings": False}  # fmt: skip
LARGE = {"hidden_size": 65536, "intermediate_size": 262144, "num_hidden_layers": 400, "num_attention_heads": 256}
SMALL = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 8}


def shaped(folder: Path, **sizes: int) -> str:
    """A base of which nothing is here but what it says of its shape."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA | sizes))
    return str(folder)


def recipe(model: str, **changes: Any) -> str:
    settings = Hyperparameters(n_epochs=1, batch_size=8, learning_rate_multiplier=1.0)
    named: dict[str, Any] = {"training": "rows.jsonl", "validation": None, "seed": 0, "device": "auto"}
    return recipe_of("supervised", settings, model=model, **named | changes)


def test_the_official_client_is_told_at_once_what_never_fits(tmp_path: Path) -> None:
    world = JobWorld(tmp_path / "server", shaped(tmp_path / "small", **SMALL), plans=EarlyPlans("cpu", seconds=WAIT))
    world.settings["models"]["huge"] = shaped(tmp_path / "huge", **LARGE)
    app = bare_app(tmp_path / "server", jobs_api.routes())
    app.state.server.jobs = world.jobs
    world.jobs.start = world.jobs.stop = lambda: None  # type: ignore[method-assign]
    rows = world.rows(conversations(12))
    with TestClient(app, base_url=f"http://{HOST}") as plain:
        client = openai.OpenAI(api_key=BARE_TOKEN, base_url=f"http://{HOST}/v1", http_client=plain, max_retries=0)
        with pytest.raises(openai.BadRequestError) as fault:
            client.fine_tuning.jobs.create(model="huge", training_file=rows)
        assert (fault.value.code, fault.value.param) == ("plan_refused", "model")
        room = f"this machine has {memory_bytes() / 1e6:,.0f} MB in all"
        assert room in fault.value.message
        assert "Fix: name a smaller model" in fault.value.message
        assert str(tmp_path) not in fault.value.message
        assert list(client.fine_tuning.jobs.list()) == []
        # The same request on a base that fits is a job.
        made = client.fine_tuning.jobs.create(model="tiny", training_file=rows)
        assert [job.id for job in client.fine_tuning.jobs.list()] == [made.id]
    world.store.close()


def test_no_key_is_used_up_by_a_refusal_and_a_kept_answer_is_not_planned_again(tmp_path: Path) -> None:
    asked: list[str] = []

    class Counting(EarlyPlans):
        def taken(self, recipe: str) -> Taken | None:
            asked.append(recipe)
            return Taken("cpu", 2, 1 if len(asked) == 1 else 3, "this machine")

    world = JobWorld(tmp_path, "none", command=("false",), plans=Counting("cpu"))
    body = {"model": "tiny", "training_file": world.rows(conversations(12))}
    with pytest.raises(ApiFault, match="needs 0 MB of memory, a row at a time") as fault:
        world.jobs.create(body, "key")
    assert (fault.value.status, fault.value.code) == (400, "plan_refused")
    first = world.jobs.create(body, "key")
    assert world.jobs.create(body, "key") == first
    assert len(asked) == 2
    world.close()


def test_what_it_takes_is_what_the_plan_says_at_a_row_a_time(tmp_path: Path) -> None:
    from tunesmith.forecast.headers import fast_plan
    from tunesmith.recipe import read_recipe

    model = shaped(tmp_path / "small", **SMALL)
    found = EarlyPlans("cpu", seconds=WAIT).taken(recipe(model))
    # The whole plan holds what is frozen in bf16 where the CPU has units for it, and so does this one.
    precision = pick_precision("auto", "cpu", low=True)[0]
    settings = ("batch.micro=1", "engine.device=cpu", f"engine.precision={precision}")
    planned = fast_plan(read_recipe("r.yaml", settings, text=recipe(model)))["memory"]["resident_bytes"]
    assert found == Taken("cpu", planned, memory_bytes(), "this machine")
    assert found.fits
    assert not least_of(recipe(shaped(tmp_path / "huge", **LARGE)), "cpu").fits


def test_what_fits_is_asked_once_and_what_does_not_is_asked_again(tmp_path: Path) -> None:
    answers, log = tmp_path / "answers.json", tmp_path / "log"
    script = "import sys; open(sys.argv[2], 'a').write('x'); sys.stdin.read(); print(open(sys.argv[1]).read())"
    plans = EarlyPlans("auto", command=(sys.executable, "-S", "-c", script, str(answers), str(log)), seconds=WAIT)
    for room, times in ((1, 1), (1, 2), (9, 3), (1, 3)):
        answers.write_text(json.dumps({"device": "cpu", "needed_bytes": 5, "room_bytes": room, "place": "here"}))
        found = plans.taken("one")
        assert found is not None
        assert found.fits == (times == 3)
        assert len(log.read_text()) == times
    assert plans.taken("another") is not None
    assert len(log.read_text()) == 4


@pytest.mark.parametrize(
    "code",
    ["import time; time.sleep(600)", "import sys; sys.exit(1)", "print('no JSON')", "print('{}')", "print('[1]')"],
)
def test_what_can_not_be_told_is_left_to_its_turn(code: str) -> None:
    plans = EarlyPlans("cpu", command=(sys.executable, "-S", "-c", code), seconds=1.0)
    began = time.monotonic()
    assert plans.taken("recipe") is None
    assert time.monotonic() - began < 60
    assert EarlyPlans("cpu", command=("/no/such/program",)).taken("recipe") is None


def test_a_model_that_is_not_there_yet_is_left_to_its_turn(tmp_path: Path) -> None:
    assert EarlyPlans("cpu").taken(recipe(str(tmp_path / "nothing"))) is None


def test_the_servers_process_loads_no_torch_for_it(tmp_path: Path) -> None:
    model = shaped(tmp_path / "small", **SMALL)
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from tunesmith.server.early_plan import EarlyPlans\nfrom tunesmith.server.jobs import Jobs\n"
        "from tunesmith.server.settings import Settings\nfrom tunesmith.server.store import Store\n"
        "folder, model, rows = Path(sys.argv[1]), sys.argv[2], sys.argv[3]\n"
        "store = Store(folder)\nplace = store.upload_path()\nplace.write_text(rows)\n"
        "file = store.add_file(place, filename='x', purpose='fine-tune', kind='conversation', rows=12).id\n"
        "plans, settings = EarlyPlans('auto', seconds=600), Settings(folder, models={'tiny': model})\n"
        "jobs = Jobs(store, settings, plans=plans)\n"
        "jobs.create({'model': 'tiny', 'training_file': file})\n"
        "print('torch' in sys.modules, len(plans._fitting), plans._device)\n"
    )
    words = [sys.executable, "-c", script, str(tmp_path / "server"), model, "rows"]
    ran = subprocess.run(words, capture_output=True, text=True, env=dict(os.environ), check=True)
    loaded, planned, device = ran.stdout.split()
    assert (loaded, planned) == ("False", "1")
    # Which device "auto" is was told by the process apart, which imports torch for it.
    assert device in ("cpu", "cuda", "mps")
