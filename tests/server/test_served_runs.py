"""A finished run answers over HTTP what ``tunesmith predict`` says, and SmolLM2 what it writes offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.fixtures.small_decoders import conversations, tuned, write_decoder
from tests.server.held import own_cache, serving
from tunesmith.asking.model import Prompt
from tunesmith.asking.opening import open_model
from tunesmith.predict import predict

ASKED = ("what colour is grass?", "sky: which colour? please", "snow: which colour?")


def chat(client: Any, model: str, text: str, **settings: Any) -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": text}], "temperature": 0} | settings
    answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_run_says_what_predict_says(tmp_path: Path) -> None:
    with own_cache(tmp_path / "cache"):
        base = write_decoder(tmp_path / "base")
        settings = ("options.max_new_tokens=10", "adapter={r: 8}", "stages=[{train: adapter, epochs: 2, lr: 0.02}]")
        run = tuned(tmp_path, base, conversations(16), *settings)
        rows = [{"messages": [{"role": "user", "content": text}]} for text in ASKED]
        wanted = [one["prediction"]["answer"] for one in predict(run.folder, rows, device="cpu")]
        models, runs = {"base": str(base)}, {"colours": run.folder}
        with serving(tmp_path / "server", models=models, runs=runs) as client:
            found = [chat(client, "colours", text, max_tokens=10) for text in ASKED]
            before = [chat(client, "base", text, max_tokens=10) for text in ASKED]
            told = client.app.state.server.models.gauges()
    assert [one["choices"][0]["message"]["content"] for one in found] == wanted
    assert [one["choices"][0]["message"]["content"] for one in before] != wanted
    # The run's adapter stands on the base that is served beside it.
    assert told["tunesmith_models_held"][1][()] == told["tunesmith_adapters_held"][1][()] == 1


def test_smollm2_is_served_token_for_token(tmp_path: Path) -> None:
    name = "starter:smollm2-135m"
    wanted = open_model(name, device="cpu", dtype="fp32").answer([
        Prompt(({"role": "user", "content": "Name three colours."},), max_tokens=6)
    ])[0]  # fmt: skip
    with serving(tmp_path / "server", models={"smollm2": name}) as client:
        found = chat(client, "smollm2", "Name three colours.", max_tokens=6)
    assert found["choices"][0]["message"]["content"] == wanted.text
    assert found["usage"] == {
        "prompt_tokens": wanted.prompt_tokens,
        "completion_tokens": wanted.tokens,
        "total_tokens": wanted.prompt_tokens + wanted.tokens,
    }
