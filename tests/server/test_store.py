"""The store: what is written stays, in order, whole or not at all, for threads, processes and clocks that jump."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.full_disk import no_more_than
from tunesmith.errors import UserError
from tunesmith.server.database import FILE
from tunesmith.server.faults import ApiFault
from tunesmith.server.kept import Answer
from tunesmith.server.repeated import digest_of, once
from tunesmith.server.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "server")
    yield made
    made.close()


def file_in(store: Store, content: str = "{}\n", **data: object) -> str:
    place = store.upload_path()
    place.write_text(content)
    return store.add_file(place, filename="rows.jsonl", purpose="fine-tune", **data).id


def test_all_that_was_written_is_there_after_it_is_opened_again(tmp_path: Path) -> None:
    first = Store(tmp_path)
    file = file_in(first, "abc", rows=3)
    job = first.add_job(training_file=file, metadata={"team": "red"})
    first.update_job(job["id"], status="succeeded", fine_tuned_model="ft:tiny:x:1")
    event = first.add_event(job["id"], "Step 1", kind="metrics", data={"step": 1, "train_loss": 0.5})
    kept = first.add_checkpoint(
        job["id"], step=1, model="ft:tiny:x:1:ckpt-step-1", folder="jobs/x", metrics={"step": 1}
    )
    first.remember("key", "POST /x", "digest", 200, {"id": job["id"]})
    first.close()

    again = Store(tmp_path)
    assert again.get_file(file).data == {"rows": 3}
    assert again.file_path(file).read_text() == "abc"
    assert again.find_job("ft:tiny:x:1") == again.get_job(job["id"])
    assert again.get_job(job["id"])["status"] == "succeeded"
    assert again.get_job(job["id"])["training_file"] == file
    assert again.list_events(job["id"]).rows == (event,)
    assert again.find_checkpoint("ft:tiny:x:1:ckpt-step-1") == kept
    assert again.list_checkpoints(job["id"]).rows == (kept,)
    assert again.recall("key", "POST /x", "digest") == Answer(200, {"id": job["id"]})
    again.close()


def test_ids_are_spelled_as_the_hosted_api_spells_them(store: Store) -> None:
    job = store.add_job()["id"]
    ids = [
        file_in(store),
        job,
        store.add_event(job, "x").id,
        store.add_checkpoint(job, step=1, model="m", folder="f", metrics={}).id,
    ]
    assert [name.rpartition("-")[0] for name in ids] == ["file", "ftjob", "ftevent", "ftckpt"]
    assert all(len(name.rpartition("-")[2]) == 24 and name.rpartition("-")[2].isalnum() for name in ids)


def test_lists_come_in_pages_without_a_gap_or_a_double(store: Store) -> None:
    made = [store.add_job()["id"] for _ in range(7)]
    for order, wanted in (("desc", made[::-1]), ("asc", made)):
        seen: list[str] = []
        more, after = True, None
        while more:
            page = store.list_jobs(after=after, limit=3, order=order)
            seen += [job["id"] for job in page.rows]
            more, after = page.has_more, seen[-1]
        assert seen == wanted
    with pytest.raises(ApiFault, match="ftjob-nope") as fault:
        store.list_jobs(after="ftjob-nope")
    assert (fault.value.status, fault.value.param) == (400, "after")


def test_order_is_that_of_writing_when_the_clock_jumps(tmp_path: Path) -> None:
    hours = iter([1_000_000, 5_000_000, 200_000, 200_000])
    store = Store(tmp_path, clock=lambda: float(next(hours)))
    made = [store.add_job()["id"] for _ in range(4)]
    assert [job["id"] for job in store.list_jobs(order="asc").rows] == made
    assert [job["created_at"] for job in store.list_jobs(order="asc").rows] == [1_000_000, 5_000_000, 200_000, 200_000]
    assert [job["id"] for job in store.list_jobs(after=made[1], order="asc").rows] == made[2:]
    store.close()


@pytest.mark.parametrize("later", [-(10**9), 10**9])
def test_a_key_holds_whatever_the_clock_says_later(tmp_path: Path, later: int) -> None:
    now = [2_000_000_000.0]
    store = Store(tmp_path, clock=lambda: now[0])
    done: list[int] = []

    def act() -> Answer:
        done.append(1)
        return Answer(200, {"n": len(done)})

    first = once(store, "k", "POST /jobs", digest_of({"a": 1, "b": 2}), act)
    now[0] += later
    assert once(store, "k", "POST /jobs", digest_of({"b": 2, "a": 1}), act) == first
    assert len(done) == 1
    with pytest.raises(ApiFault, match="another request") as fault:
        once(store, "k", "POST /jobs", digest_of({"a": 2}), act)
    assert fault.value.status == 409
    assert once(store, "k", "POST /files", digest_of({}), act).body == {"n": 2}
    assert once(store, None, "POST /jobs", digest_of({}), act).body == {"n": 3}
    store.close()


def test_of_many_requests_with_one_key_one_does_something(store: Store) -> None:
    started, answers = threading.Barrier(8), []

    def ask() -> None:
        started.wait()
        answers.append(once(store, "k", "POST /jobs", "d", lambda: Answer(200, store.add_job()["id"])))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.list_jobs().rows) == 1
    assert {answer.body for answer in answers} == {store.list_jobs().rows[0]["id"]}


def test_what_fails_within_a_transaction_leaves_nothing(store: Store) -> None:
    def act() -> Answer:
        store.add_event(store.add_job()["id"], "made")
        raise ApiFault(400, "the plan refuses it")

    with pytest.raises(ApiFault, match="refuses"):
        once(store, "k", "POST /jobs", "d", act)
    assert store.list_jobs().rows == ()
    assert store.recall("k", "POST /jobs", "d") is None
    assert store.add_job()["status"] == "validating_files"


def test_a_status_changes_only_from_one_that_was_expected(store: Store) -> None:
    job = store.add_job(status="queued", a=1)["id"]
    assert store.update_job(job, expected_status="running", status="paused") is None
    assert store.get_job(job)["status"] == "queued"
    changed = store.update_job(job, expected_status=("queued", "paused"), status="running", pid=7)
    assert changed is not None
    assert (changed["status"], changed["a"], changed["pid"]) == ("running", 1, 7)
    assert store.update_job(job, b=2) == {**changed, "b": 2}
    with pytest.raises(ApiFault) as fault:
        store.update_job("ftjob-nope", status="running")
    assert (fault.value.status, fault.value.code) == (404, "fine_tune_not_found")


def test_of_many_processes_one_takes_a_job(store: Store) -> None:
    job = store.add_job(status="queued")["id"]
    code = (
        "import sys, pathlib; from tunesmith.server.store import Store; s = Store(pathlib.Path(sys.argv[1]))\n"
        "sys.stdin.readline()\n"
        "for i in range(20): s.add_event(sys.argv[2], str(i), key=str(i))\n"
        "sys.exit(0 if s.update_job(sys.argv[2], expected_status='queued', status='running') else 3)"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(store.folder), job], stdin=subprocess.PIPE) for _ in range(3)
    ]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(b"go\n")
        worker.stdin.close()
    assert sorted(worker.wait(60) for worker in workers) == [0, 3, 3]
    # A step that several did is told once.
    assert sorted(int(event.message) for event in store.list_events(job).rows) == list(range(20))


def test_jobs_are_found_by_metadata_and_status(store: Store) -> None:
    red = store.add_job(status="queued", metadata={"team": "red", 'it\'s "odd".': "1"})["id"]
    blue = store.add_job(status="running", metadata={"team": "blue"})["id"]
    none = store.add_job(status="running", metadata=None)["id"]

    def found(**asked: object) -> list[str]:
        return [job["id"] for job in store.list_jobs(**asked).rows]  # type: ignore[arg-type]

    assert found(metadata={"team": "red"}) == [red]
    assert found(metadata={"team": "red", 'it\'s "odd".': "1"}) == [red]
    assert found(metadata={"team": "red", "other": "1"}) == []
    assert found(statuses=("running",)) == [none, blue]
    assert found(statuses=("running", "queued"), metadata={}) == [none, blue, red]
    assert found(statuses=()) == []


def test_a_step_has_one_checkpoint(store: Store) -> None:
    job = store.add_job()["id"]
    first = store.add_checkpoint(job, step=5, model="m:ckpt-step-5", folder="a", metrics={"train_loss": 1.0})
    again = store.add_checkpoint(job, step=5, model="m:ckpt-step-5", folder="b", metrics={"train_loss": 2.0})
    assert again == first
    assert [kept.step for kept in store.list_checkpoints(job).rows] == [5]


def test_a_file_that_a_job_needs_stays(store: Store) -> None:
    train, valid = file_in(store), file_in(store)
    job = store.add_job(training_file=train, validation_file=valid)["id"]
    for status in ("validating_files", "queued", "running", "paused"):
        store.update_job(job, status=status)
        for file in (train, valid):
            with pytest.raises(ApiFault, match=job) as fault:
                store.delete_file(file)
            assert (fault.value.status, store.file_path(file).exists()) == (409, True)
    store.update_job(job, status="cancelled")
    place = store.file_path(train)
    store.delete_file(train)
    assert not place.exists()
    with pytest.raises(ApiFault, match="No such File object") as fault:
        store.get_file(train)
    assert fault.value.status == 404


def test_sweeping_takes_what_uploads_left_and_nothing_else(store: Store) -> None:
    kept = file_in(store)
    store.upload_path().write_text("half a fi")
    (store.files / "file-moved-but-never-written-down").write_text("x")
    assert store.sweep() == 2
    assert [place.name for place in store.files.iterdir()] == [kept]


def test_a_full_disk_is_said_and_loses_nothing(store: Store) -> None:
    job = store.add_job()["id"]
    kept = file_in(store)
    size = max(place.stat().st_size for place in store.folder.iterdir())
    told: list[str] = []

    def tell_on() -> None:
        while True:
            told.append(store.add_event(job, "x" * 10_000).id)

    with no_more_than(size + 50_000), pytest.raises(ApiFault, match="takes no more") as fault:
        tell_on()
    assert (fault.value.status, fault.value.code) == (507, "insufficient_storage")
    assert told
    assert [event.id for event in store.list_events(job, order="asc").rows] == told
    place = store.upload_path()
    place.write_text("new")
    with no_more_than(1), pytest.raises(ApiFault) as fault:
        store.add_file(place, filename="f", purpose="fine-tune")
    assert fault.value.status == 507
    assert [place.name for place in store.files.iterdir()] == [kept]
    assert store.add_event(job, "there is room again").message == "there is room again"


def test_values_that_no_database_holds_are_the_clients_fault(store: Store) -> None:
    for ask in (lambda: store.get_file("\ud800"), lambda: store.list_jobs(after="\udfff")):
        with pytest.raises(ApiFault) as fault:
            ask()
        assert fault.value.status == 400
    assert store.add_job(metadata={"half": "\ud800"})["metadata"] == {"half": "\ud800"}


def test_a_database_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("no database at all, but long enough to be looked at as one" * 20)
    with pytest.raises(UserError, match="not a database"):
        Store(tmp_path)
    later = tmp_path / "later"
    Store(later).close()
    with sqlite3.connect(later / FILE) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(UserError, match="format 99"):
        Store(later)
    with pytest.raises(UserError, match="can't keep its files"):
        Store(tmp_path / FILE / "below-a-file")


def test_the_folder_is_its_owners_alone(store: Store) -> None:
    assert {place.stat().st_mode & 0o077 for place in (store.folder, store.files, store.jobs)} == {0}


def test_a_process_that_is_killed_leaves_jobs_and_keys_in_pairs(store: Store) -> None:
    code = (
        "import sys, pathlib; from tunesmith.server.kept import Answer; from tunesmith.server.repeated import once\n"
        "from tunesmith.server.store import Store; s = Store(pathlib.Path(sys.argv[1]))\n"
        "for i in range(10**6):\n"
        "    print(i, once(s, str(i), 'POST /jobs', 'd', lambda: Answer(200, s.add_job()['id'])).body, flush=True)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(store.folder)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    told = [child.stdout.readline().split() for _ in range(25)]
    child.kill()
    told += [line.split() for line in child.stdout if line.endswith("\n")]
    child.wait(20)
    child.stdout.close()
    made = [job["id"] for job in store.list_jobs(order="asc").rows]
    assert len(made) - len(told) in (0, 1)
    # All that was answered is there, and what was asked again is not done again.
    assert [name for _, name in told] == made[: len(told)]
    for number in range(len(made)):
        assert once(store, str(number), "POST /jobs", "d", lambda: Answer(500, None)).body == made[number]
    assert store.recall(str(len(made)), "POST /jobs", "d") is None
