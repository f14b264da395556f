"""Pilots and real weights: a tiny decoder is asked, tuned on a share of the rows, and asked again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fixtures.small_decoders import conversations, write_decoder
from tunesmith.asking.opening import open_model
from tunesmith.diagnose.inquiry import Wishes
from tunesmith.diagnose.items import read_items
from tunesmith.diagnose.opening import open_documents, tuner_of
from tunesmith.diagnose.pilot import LEAST_EPOCHS, Pilots
from tunesmith.diagnose.running import gather
from tunesmith.errors import UserError


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_decoder(folder / "model")
    rows = conversations(44)
    for name, some in (("train", rows[:32]), ("items", rows[32:])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some), encoding="utf-8")
    return folder


def test_a_pilot_learns_a_share_and_answers(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, items = read_items(world / "train.jsonl"), read_items(world / "items.jsonl")
    model = str(world / "model")
    tune = tuner_of(model, world / "out", device="cpu")
    assert isinstance(tune, Pilots)
    wishes = Wishes(train=train, tune=tune, only=("pilot-25", "constrained"), max_tokens=8, folder=world / "out")
    evidence = gather(items, open_model(model, device="cpu"), wishes)
    pilot = evidence.probes["pilot-25"]
    assert pilot.extra["rows"] == 8
    assert pilot.extra["training_seconds"] > 0
    # The weights are other ones: random ones never say what the rows say.
    assert pilot.outputs != evidence.probes["as-is"].outputs
    assert (Path(pilot.extra["folder"]) / "model" / "adapter_config.json").is_file()
    recipe = json.loads((Path(pilot.extra["folder"]).parent / "recipe.yaml").read_text(encoding="utf-8"))
    assert recipe["stages"][0]["epochs"] >= LEAST_EPOCHS
    # Held to the form that the references share, every output that came to its end has it.
    constrained = evidence.probes["constrained"]
    assert constrained.extra["grammar"] == r"start: /colour = [^\p{Lu}\n]+/"
    assert all(text.startswith("colour = ") for text in constrained.outputs.values())

    def never(*_args: object, **_options: object) -> None:
        raise AssertionError("a reply that is kept was asked for again")

    monkeypatch.setattr("tunesmith.asking.local.LocalModel.answer", never)
    again = gather(items, open_model(model, device="cpu"), wishes)
    assert again.probes["pilot-25"] == pilot


def test_too_few_rows_make_no_pilot(world: Path, tmp_path: Path) -> None:
    train, items = read_items(world / "train.jsonl"), read_items(world / "items.jsonl")
    tune = tuner_of(str(world / "model"), tmp_path, device="cpu")
    assert tune is not None
    with pytest.raises(UserError, match="4 rows are too few") as fault:
        tune(train[:16], items, 0.25)
    assert fault.value.fix == "give at least 32 rows"
    assert not list(tmp_path.iterdir())


def test_an_endpoint_and_a_tuned_run_are_not_tuned_here(tmp_path: Path) -> None:
    assert tuner_of("openai:some-model@http://localhost:1/v1", tmp_path) is None
    (tmp_path / "recipe.json").write_text("{}", encoding="utf-8")
    assert tuner_of(str(tmp_path), tmp_path / "out") is None


def test_documents_become_an_index_and_an_index_is_opened(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for land, town in (("Norway", "Oslo"), ("Italy", "Rome"), ("France", "Paris")):
        text = f"# {land}\n\nThe capital of {land} is {town}.\n"
        (tmp_path / "docs" / f"{land}.md").write_text(text, encoding="utf-8")
    made = open_documents(tmp_path / "docs", tmp_path / "out", "none")
    assert "Oslo" in made.search("What is the capital of Norway?", k=1)[0].chunk.text
    opened = open_documents(tmp_path / "out" / "index", tmp_path / "elsewhere", "none")
    assert "Rome" in opened.search("capital of Italy", k=1)[0].chunk.text
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(UserError):
        open_documents(tmp_path / "nothing", tmp_path / "out2", "none")


def test_a_model_without_a_chat_template_is_asked_plainly_and_that_is_said(world: Path, tmp_path: Path) -> None:
    folder = write_decoder(tmp_path / "plain", template=None)
    items = read_items(world / "items.jsonl", limit=3)
    evidence = gather(items, open_model(str(folder), device="cpu"), Wishes(only=("instructions",), max_tokens=4))
    assert len(evidence.probes["instructions"].outputs) == 3
    assert any("template" in note for note in evidence.notes)
