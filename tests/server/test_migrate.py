"""An account over real HTTP becomes data and recipes; what can't is named with the reason."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.fake_account import KEY, FakeAccount, jsonl
from tests.fixtures.fake_http import DyingClock, FakeClock, Killed
from tests.fixtures.small_decoders import conversations
from tunesmith.cli import main
from tunesmith.errors import EXIT_COULD_NOT_RUN, EXIT_DONE, EXIT_FINDINGS, UserError
from tunesmith.recipe import read_recipe
from tunesmith.server.migrate import migrate, open_account
from tunesmith.server.migrated_recipe import NotOurs, model_of, read_job
from tunesmith.server.migration import Migration

CHATS = jsonl([{"messages": row["messages"]} for row in conversations(16)])
PAIRS = jsonl([
    {
        "input": {"messages": [{"role": "user", "content": f"say {i}"}]},
        "preferred_output": [{"role": "assistant", "content": f"{i}"}],
        "non_preferred_output": [{"role": "assistant", "content": f"well, {i}"}],
    }
    for i in range(12)
])  # fmt: skip
RESULTS = b"step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n1,2.5,0.4,,\n"


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAccount]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with FakeAccount() as fake:
        assert isinstance(fake, FakeAccount)
        yield fake


def bring(fake: FakeAccount, into: Path, clock: FakeClock | None = None, **models: str) -> Migration:
    return migrate(open_account(f"{fake.base}/v1", clock=clock or FakeClock()), into, models)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def full(fake: FakeAccount) -> None:
    """Five jobs on three pages, seven files."""
    chats, pairs, held = (fake.add_file(rows) for rows in (CHATS, PAIRS, jsonl(conversations(20)[16:])))
    fake.add_file(b"hello", "notes.txt", "assistants")
    fake.add_file(CHATS, "unused.jsonl")
    results = fake.add_file(RESULTS, "step_metrics.csv", "fine-tune-results")
    fake.add_job(chats, validation_file=held, result_files=[results],
                 fine_tuned_model="ft:gpt-4o-mini-2024-07-18:acme:house style:AbCd1234")  # fmt: skip
    asked = {"n_epochs": 2, "batch_size": 8, "learning_rate_multiplier": "auto", "beta": 0.2}
    fake.add_job(pairs, method={"type": "dpo", "dpo": {"hyperparameters": asked}}, hyperparameters={}, seed=11)
    fake.add_job(chats, status="failed", model="gpt-4.1-nano-2025-04-14")
    fake.add_job(chats, hyperparameters={"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"})
    fake.add_job(chats, status="cancelled", seed=None)


def test_jobs_become_recipes_and_files_data(account: FakeAccount, tmp_path: Path) -> None:
    full(account)
    found = bring(account, tmp_path)
    assert found.complete
    assert [job.id for job in found.jobs] == [job["id"] for job in account.jobs]
    assert sorted(p.name for p in (tmp_path / "files").iterdir()) == [
        f"{id}.jsonl" for id, (about, _) in account.files.items() if about["purpose"] == "fine-tune"
    ]
    first, second, *_, unset, last = (read_recipe(tmp_path / f"{j['id']}.yaml").recipe for j in account.jobs[::-1])
    files = list(account.files)
    assert (first.task, first.model.name) == ("causal-lm", "starter:smollm2-135m")
    assert (first.data.train, first.data.eval) == (f"files/{files[0]}.jsonl", f"files/{files[2]}.jsonl")
    assert first.stages is not None
    assert (first.stages[0].train, first.stages[0].epochs, first.stages[0].lr) == ("adapter", 3, pytest.approx(3.6e-4))
    assert (first.batch.rows, first.run.seed, first.run.name) == (1, 7, "house-style-00000000")
    assert second.stages is not None
    assert (second.task, second.options, second.run.seed) == ("preference", {"method": "dpo", "beta": 0.2}, 11)
    assert (second.stages[0].epochs, second.stages[0].lr, second.batch.rows) == (2, 5e-5, 8)
    assert unset.stages is not None
    assert (unset.stages[0].epochs, unset.stages[0].lr, unset.batch.rows) == (3, 2e-4, 4)
    assert last.run.seed == 0
    assert (tmp_path / "files" / f"{files[1]}.jsonl").read_bytes() == PAIRS
    assert (tmp_path / "results" / f"{files[5]}.csv").read_bytes() == RESULTS
    assert json.loads((tmp_path / "jobs" / f"{account.jobs[0]['id']}.json").read_text()) == account.jobs[0]
    assert json.loads((tmp_path / "migration.json").read_text())["complete"] is True


def test_a_recipe_that_was_brought_trains(account: FakeAccount, tmp_path: Path) -> None:
    from tests.fixtures.small_decoders import write_decoder
    from tunesmith.tune import fine_tune

    model = write_decoder(tmp_path / "model")
    account.add_job(account.add_file(CHATS), validation_file=account.add_file(jsonl(conversations(24)[16:])))
    found = bring(account, tmp_path / "brought", **{"gpt-4o-mini": str(model)})
    assert found.jobs[0].model == str(model)
    small = ["options.forgetting=null", "options.shots=[1]", "stages.0.epochs=1", f"run.folder={tmp_path / 'runs'}"]
    small += ["batch.rows=4", "audit.accept={few-rows: small, leak: small, duplicate-rows: small}"]
    fine_tune(read_recipe(tmp_path / "brought" / found.jobs[0].recipe, small))
    (run,) = (tmp_path / "runs").iterdir()
    assert (run / "model").is_dir()


def test_what_can_not_be_brought_is_named(account: FakeAccount, tmp_path: Path) -> None:
    chats = account.add_file(CHATS + b'{"messages": [{"role": "user", "content": "and?"}]}\nno json\n')
    account.add_job("file-gone")
    account.add_job(chats, method={"type": "reinforcement", "reinforcement": {"grader": {}}})
    account.add_job(chats, validation_file="file-gone-too", integrations=[{"type": "wandb", "wandb": {"project": "p"}}])
    account.add_job(account.add_file(b"\n"))
    account.add_job("../../etc/passwd")
    account.add_job(chats, hyperparameters={"n_epochs": 0, "batch_size": 1.5, "learning_rate_multiplier": "much"})
    found = bring(account, tmp_path)
    said = "\n".join(found.lines())
    assert not found.complete
    gone, reinforced, read, empty, outside, odd = found.jobs[::-1]
    assert "No such File object" in gone.why
    assert "reinforcement" in reinforced.why
    assert (read.rows, read.broken, bool(read.recipe)) == (16, 2, True)
    assert [place.rpartition(":")[2] for place, _ in read.shown] == ["17", "18"]
    assert any("file-gone-too" in note for note in read.notes)
    assert any("wandb" in note for note in read.notes)
    assert empty.why
    assert not empty.recipe
    assert "no json" not in said
    assert "its id is none that the API gives" in outside.why
    assert [note.split()[0] for note in odd.notes] == ["n_epochs", "batch_size", "learning_rate_multiplier"]
    assert {path.name for path in tmp_path.iterdir()} == {
        "files", "jobs", "results", "migration.json", f"{read.id}.yaml", f"{odd.id}.yaml"
    }  # fmt: skip


def test_a_name_from_there_can_not_write_into_a_recipe(account: FakeAccount, tmp_path: Path) -> None:
    chats = account.add_file(CHATS, "a\nname.jsonl")
    job = account.add_job(
        chats, model="evil\nengine: {device: cuda}", status="succeeded\nadapter: null",
        fine_tuned_model="ft:m:o:a\nrun:x", user_provided_suffix="b\nseed: 5", metadata={"a": "b"},
    )  # fmt: skip
    bring(account, tmp_path)
    recipe = read_recipe(tmp_path / f"{job['id']}.yaml").recipe
    assert (recipe.engine.device, recipe.run.seed, recipe.run.name) == ("auto", 7, "b-seed-5-00000000")
    assert recipe.adapter is not None


def test_what_is_here_is_kept(account: FakeAccount, tmp_path: Path) -> None:
    full(account)
    bring(account, tmp_path)
    mine = tmp_path / f"{account.jobs[0]['id']}.yaml"
    mine.write_text(mine.read_text() + "# mine\n")
    before = contents(tmp_path)
    account.restart()
    found = bring(account, tmp_path)
    assert not [line for line in account.log if line.endswith("/content")]
    assert all(job.kept for job in found.jobs)
    assert all(file.kept for file in found.files)
    after = contents(tmp_path)
    assert {name for name in before if before[name] != after[name]} == {"migration.json"}


@pytest.mark.parametrize(
    "faults", [{1: "429", 3: "502", 5: "cut"}, {2: "429-date", 4: "close", 6: "500", 7: "garbage"}]
)
def test_faults_on_the_way_change_nothing(account: FakeAccount, tmp_path: Path, faults: dict[int, str]) -> None:
    full(account)
    bring(account, tmp_path / "smooth")
    account.restart(faults)
    assert bring(account, tmp_path / "rough").complete
    assert contents(tmp_path / "smooth") == contents(tmp_path / "rough")


def test_one_that_was_killed_goes_on(account: FakeAccount, tmp_path: Path) -> None:
    full(account)
    bring(account, tmp_path / "whole")
    account.restart()
    asked: list[str] = []
    for request in (3, 6, 8):
        account.restart()
        with pytest.raises(Killed):
            bring(account, tmp_path / "parts", DyingClock(account, request))
        asked += [line for line in account.log if line.endswith("/content")]
    account.restart()
    bring(account, tmp_path / "parts")
    asked += [line for line in account.log if line.endswith("/content")]
    assert len(asked) == len(set(asked))
    whole, parts = contents(tmp_path / "whole"), contents(tmp_path / "parts")
    assert {n: c for n, c in whole.items() if n != "migration.json"} == {
        n: c for n, c in parts.items() if n != "migration.json"
    }


def test_a_refused_key_ends_it_and_is_told_to_nobody(
    account: FakeAccount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
    with pytest.raises(UserError, match="Incorrect API key") as fault:
        bring(account, tmp_path)
    assert "sk-wrong" not in str(fault.value)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(UserError, match="no key in OPENAI_API_KEY"):
        bring(account, tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(UserError, match="unencrypted"):
        open_account("http://api.example.org/v1")


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["tunesmith", "migrate", *words])
    monkeypatch.setattr("gc.set_threshold", lambda *_: None)
    monkeypatch.setattr("atexit.register", lambda *_: None)
    with pytest.raises(SystemExit) as left:
        main()
    said = capsys.readouterr()
    return int(left.value.code or 0), said.out, said.err


def test_the_verb(
    account: FakeAccount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full(account)
    words = ["openai", "--into", str(tmp_path / "mine"), "--base-url", f"{account.base}/v1"]
    names = ["--model", "starter:smollm2-135m", "--model", "gpt-4.1-nano=org/small"]
    code, out, _ = call(monkeypatch, capsys, *words, *names, "--json")
    assert code == EXIT_DONE
    told: dict[str, Any] = json.loads(out)
    assert sorted({job["model"] for job in told["jobs"]}) == ["org/small", "starter:smollm2-135m"]
    account.add_job("file-gone")
    code, out, _ = call(monkeypatch, capsys, *words)
    assert code == EXIT_FINDINGS
    assert "NOT complete" in out.splitlines()[0]
    code, _, err = call(monkeypatch, capsys, "elsewhere", *words[1:])
    assert (code, "write openai" in err) == (EXIT_COULD_NOT_RUN, True)
    assert KEY not in out + err


def test_what_stands_in_for_a_model() -> None:
    models = {"gpt-4o-mini": "a", "gpt-4.1-2025-04-14": "b", "": "c"}
    assert [model_of(name, models) for name in ("gpt-4o-mini-2024-07-18", "gpt-4.1-2025-04-14", "o4-mini")] == list(
        "abc"
    )
    assert model_of("o4-mini", {}) == "starter:smollm2-135m"


def test_a_method_without_a_recipe_is_refused() -> None:
    with pytest.raises(NotOurs, match="reinforcement"):
        read_job({"method": {"type": "reinforcement"}})
