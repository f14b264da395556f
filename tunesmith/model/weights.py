"""Where pretrained weights come from: a hub id, a local folder or a starter, always as a folder of safetensors.

A checkpoint in pickle form is refused unless the recipe allows it; then torch reads it with ``weights_only``, which
builds tensors and nothing else, and it is converted once. It knows no architecture and no task: what the tensors mean
is theirs who load them.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias

from tunesmith.errors import UserError
from tunesmith.machine import cache_folder
from tunesmith.model.file_digests import files_digest
from tunesmith.model.pipeline_folder import INDEX, hub_patterns, is_pipeline, weight_files
from tunesmith.model.shape_files import WEIGHTS, no_weights, pickles_in, without_weights
from tunesmith.model.starter import PREFIX, STARTERS, locate, write_once
from tunesmith.recipe.sections import ModelSection

if TYPE_CHECKING:
    from torch import Tensor

_SIDE = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "*.spm", "README.md", "LICENSE*")
"""What travels with weights: config, tokenizer, chat template, card, licence."""
_ELSEWHERE = ("original/*", "onnx/*", "openvino/*", "coreml/*", "*.onnx", "*.msgpack", "*.h5")


Origin: TypeAlias = Literal["hub", "folder", "starter"]


@dataclass(frozen=True)
class Weights:
    """Pretrained weights on this machine.

    Args:
        name: As the recipe names them.
        folder: A Hugging Face folder: config.json, safetensors, tokenizer.
        origin: ``hub``, ``folder`` or ``starter``.
        revision: Commit of a hub id, package version of a starter, None for a folder.
        license: What their card or the starter says, None where nothing does.
        files: The safetensors files, sorted by name; a shard index is not among them.
        converted: The pickle files that were read instead, where ``folder`` is a converted copy.
        remote_code: Commit whose Python code in ``folder`` may run; None: none may.
    """

    name: str
    folder: Path
    origin: Origin
    revision: str | None
    license: str | None
    files: tuple[Path, ...]
    converted: tuple[Path, ...] = ()
    remote_code: str | None = None


def resolve(model: ModelSection, *, where: str = "", shape_only: bool = False) -> Weights:
    """Find the weights that a recipe names, downloading or converting them where that is needed.

    A folder that exists wins over a hub id of the same name.

    Args:
        model: The recipe's section.
        where: The place that named them (``recipe.yaml:3:8``), for errors.
        shape_only: Fetch no weights and convert none: what tells the shape will do. ``files`` may be empty then.

    Raises:
        UserError: They are not there, not complete, not safetensors, or not what the name promises.
    """
    if model.name.startswith(PREFIX):
        found = locate(model.name, where=where)
        return _weights(model, found.folder, "starter", found.version, license_id=found.starter.license, where=where)
    path = Path(model.name).expanduser()
    if path.is_file():
        raise UserError(f"model: '{model.name}' is a file", where, f"name the folder it is in: '{path.parent}'")
    if path.is_dir():
        if model.remote_code:
            what = f"model.remote_code names a commit, but '{model.name}' is a local folder, which has none"
            raise UserError(what, where, "remove model.remote_code, or name the hub id")
        return _weights(model, path.resolve(), "folder", where=where, shape_only=shape_only)
    if _looks_like_path(model.name):
        raise UserError(f"there is no folder '{model.name}'", where, _near_fix(model.name))
    return _from_hub(model, where, shape_only)


def _weights(
    model: ModelSection,
    folder: Path,
    origin: Origin,
    revision: str | None = None,
    *,
    license_id: str | None = None,
    where: str,
    shape_only: bool = False,
) -> Weights:
    """The folder, checked: config, every safetensors file whole; converted first where pickles are allowed."""
    if not is_pipeline(folder) and (folder / "config.json").is_file():
        _json(folder / "config.json", "")
    if shape_only and no_weights(folder, partly=origin == "hub"):
        pickled = pickles_in(folder) if not is_pipeline(folder) else []
        if pickled:
            _pickles_in(folder, model, origin, where)
        return Weights(model.name, folder, origin, revision, license_id or _card_license(folder), ())
    if is_pipeline(folder):
        files = tuple(weight_files(folder))
        for file in files:
            _check_whole(file, where)
        return Weights(model.name, folder, origin, revision, license_id or _card_license(folder), files)
    if not (folder / "config.json").is_file():
        _no_config(model.name, folder, where)
    files = safetensors_in(folder, where=where)
    pickles: tuple[Path, ...] = ()
    if not files:
        pickles = _pickles_in(folder, model, origin, where)
        folder = _converted(folder, pickles, where)
        files = safetensors_in(folder, where=where)
    return Weights(model.name, folder, origin, revision, license_id or _card_license(folder), files, pickles)


def _no_config(name: str, folder: Path, where: str) -> NoReturn:
    if (folder / "adapter_config.json").is_file():
        base = _json(folder / "adapter_config.json", where).get("base_model_name_or_path") or "its base model"
        what, fix = f"'{name}' holds an adapter, not a whole model", f"name the model it was made for: {base}"
    else:
        what, fix = f"'{name}' has no config.json", f"name a folder in Hugging Face's layout; '{folder}' is none"
    raise UserError(what, where or str(folder), fix)


def safetensors_in(folder: Path, *, where: str = "") -> tuple[Path, ...]:
    """The folder's safetensors files, each one checked to be whole; empty where it has none.

    An index names its shards; else ``model.safetensors`` counts, else the only file there is.

    Raises:
        UserError: A shard is missing, a file is cut short, or it can't be told which file is meant.
    """
    indexes = sorted(folder.glob("*.safetensors.index.json"))
    singles = sorted(folder.glob("*.safetensors"))
    standard = folder / "model.safetensors"
    if standard in singles:
        files = [standard]
    elif indexes:
        files = _shards(indexes[0], where)
    else:
        files = singles
        if len(files) > 1:
            names = ", ".join(file.name for file in files)
            what = f"'{folder}' has several safetensors files and no index: {names}"
            raise UserError(what, where or str(folder), "keep one, or add model.safetensors.index.json")
    for file in files:
        _check_whole(file, where)
    return tuple(files)


def _shards(index: Path, where: str) -> list[Path]:
    table = _json(index, where).get("weight_map")
    if not isinstance(table, dict) or not all(isinstance(name, str) for name in table.values()):
        raise UserError(f"{index.name} has no weight_map of file names", str(index), "fetch the model again")
    files = []
    for name in sorted(set(table.values())):
        # A name with a folder in it could point anywhere on the disk.
        if Path(name).name != name:
            what = f"{index.name} names a file outside its folder: {name}"
            raise UserError(what, str(index), "do not use this model")
        if not (index.parent / name).is_file():
            what = f"{index.name} names {name}, which is not there"
            raise UserError(what, where or str(index.parent), "fetch the model again; its download did not finish")
        files.append(index.parent / name)
    return files


def _check_whole(file: Path, where: str) -> None:
    """A safetensors header says how long the file must be: a cut download is found without reading the tensors."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy"):
            return
    except SafetensorError as error:
        with file.open("rb") as stream:
            pointer = stream.read(40).startswith(b"version https://git-lfs")
        what = f"{file.name} is a Git LFS pointer, not weights" if pointer else f"{file.name} is broken: {error}"
        fix = "run 'git lfs pull' in its repository" if pointer else "fetch the model again"
        raise UserError(what, where or str(file), fix) from None


def _json(file: Path, where: str) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{file.name} is not JSON: {error}", str(file), "fetch the model again") from None
    if not isinstance(value, dict):
        raise UserError(f"{file.name} is not a JSON object", where or str(file), "fetch the model again")
    return value


def _pickles_in(folder: Path, model: ModelSection, origin: Origin, where: str) -> tuple[Path, ...]:
    """The checkpoint's pickle files, if the recipe allows them."""
    index = folder / "pytorch_model.bin.index.json"
    standard = folder / "pytorch_model.bin"
    if index.is_file():
        files = _shards(index, where)
    elif standard.is_file():
        files = [standard]
    else:
        files = pickles_in(folder)
    place = where or str(folder)
    names = ", ".join(file.name for file in files)
    if not files:
        fix = "name a model that has them"
        # Pickles are not even downloaded unless they are allowed, so whether the hub has them is not known here.
        if origin == "hub" and not model.allow_pickle:
            fix += ", or set model.allow_pickle: true if its weights are .bin files, to read tensors and nothing else"
        raise UserError(f"'{model.name}' has no safetensors weights", place, fix)
    if not model.allow_pickle:
        what = f"'{model.name}' has its weights in pickle form only ({names}), a format that can carry code"
        raise UserError(what, place, "set model.allow_pickle: true to read tensors from it and nothing else")
    if len(files) > 1 and not index.is_file():
        raise UserError(f"it can't be told which of {names} holds the weights", place, "keep one of them")
    return tuple(files)


def _converted(folder: Path, pickles: tuple[Path, ...], where: str) -> Path:
    """A copy of the folder with safetensors for pickles, made once for each content."""
    side = sorted({file for pattern in _SIDE for file in folder.glob(pattern) if file.is_file()})
    side = [file for file in side if not file.name.endswith(".bin.index.json")]
    digest = files_digest([*side, *pickles])

    def write(draft: Path) -> None:
        from safetensors.torch import save_file

        tensors: dict[str, Tensor] = {}
        for file in pickles:
            tensors.update(read_pickle(file, where))
        save_file(_unshared(tensors), draft / "model.safetensors", metadata={"format": "pt"})
        for file in side:
            shutil.copyfile(file, draft / file.name)

    return write_once(cache_folder("converted") / f"{folder.name}-{digest[:16]}", write)


def read_pickle(file: Path, where: str) -> dict[str, Tensor]:
    """The tensors of a pickled file, by torch's reader of weights alone, which runs no code."""
    from pickle import UnpicklingError  # the name of an error; nothing is unpickled by it

    import torch

    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"{file.name} holds more than tensors" + (f": it asks for {named[1]}" if named else "")
        fix = "do not use it; take a safetensors copy of the model from a place that you trust"
        raise UserError(what, where or str(file), fix) from None
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = _first_line(error)
        raise UserError(f"{file.name} can't be read: {reason}", where or str(file), "fetch the model again") from None
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content:
        what = f"{file.name} holds no table of tensors but a {type(content).__name__}"
        raise UserError(what, where or str(file), "name a checkpoint that holds a state dict")
    strange = [str(key) for key, value in content.items() if not (isinstance(key, str) and _is_plain(value))]
    if strange:
        what = f"{file.name} holds {len(strange)} entries that are no dense tensors: {', '.join(strange[:5])}"
        raise UserError(what, where or str(file), "name a checkpoint that holds a state dict and nothing else")
    return content


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _is_plain(value: object) -> bool:
    import torch

    return isinstance(value, torch.Tensor) and value.layout is torch.strided


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every tensor with memory of its own: safetensors refuses shared memory (tied embeddings), and a view of a large
    one would drag all of it along. The loader ties again what its config says is tied.
    """
    seen: set[int] = set()
    owned: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage()
        alone = storage.data_ptr() not in seen and storage.nbytes() == tensor.numel() * tensor.element_size()
        seen.add(storage.data_ptr())
        owned[name] = tensor.contiguous() if alone else tensor.contiguous().clone()
    return owned


def _from_hub(model: ModelSection, where: str, shape_only: bool) -> Weights:
    patterns = [*_SIDE, *WEIGHTS, *(["*.py"] if model.remote_code else [])]
    if is_pipeline(_snapshot(model, [INDEX, "config.json"], where)):
        # Its repository holds every part in several precisions, and often the whole of it once more in one file.
        wanted, unwanted = hub_patterns()
        folder = _snapshot(model, without_weights(wanted) if shape_only else wanted, where, unwanted)
        return _weights(model, folder, "hub", folder.name, where=where, shape_only=shape_only)
    folder = _snapshot(model, without_weights(patterns) if shape_only else patterns, where)
    if not shape_only and model.allow_pickle and not safetensors_in(folder, where=where):
        folder = _snapshot(model, [*patterns, "*.bin", "*.pt", "*.pth"], where)
    if model.remote_code and not folder.name.startswith(model.remote_code):
        what = f"model.remote_code trusts commit {model.remote_code}, but '{model.name}' is at {folder.name}"
        raise UserError(what, where, f"set model.revision to {model.remote_code}, or read the code and name its commit")
    found = _weights(model, folder, "hub", folder.name, where=where, shape_only=shape_only)
    return replace(found, remote_code=model.remote_code)


def _snapshot(model: ModelSection, patterns: list[str], where: str, without: Iterable[str] = _ELSEWHERE) -> Path:
    """The hub's own cache folder for one commit, downloaded where needed and possible."""
    from huggingface_hub import errors, snapshot_download

    name, revision = model.name, model.revision or model.remote_code
    try:
        folder = snapshot_download(name, revision=revision, allow_patterns=patterns, ignore_patterns=list(without))
    except errors.HFValidationError:
        raise UserError(f"'{name}' is neither a folder nor a hub id (org/name)", where, _near_fix(name)) from None
    except errors.GatedRepoError:
        what = f"'{name}' is gated: the hub gives it to accounts that accepted its terms"
        raise UserError(what, where, "accept its terms on the hub, then run 'hf auth login'") from None
    except errors.RevisionNotFoundError:
        fix = "set model.revision to a branch, tag or commit that exists, or leave it out"
        raise UserError(f"'{name}' has no revision '{revision}'", where, fix) from None
    except errors.RepositoryNotFoundError:
        what = f"the hub has no model '{name}', or it is private"
        raise UserError(what, where, f"{_near_fix(name)}; for a private one run 'hf auth login'") from None
    except errors.LocalEntryNotFoundError as error:
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        offline = isinstance(cause, errors.OfflineModeIsEnabled)
        reason = "HF_HUB_OFFLINE is set" if offline else f"the hub gives no answer ({_first_line(cause)})"
        at = f" at revision '{revision}'" if revision else ""
        what = f"'{name}'{at} is not a folder and not (wholly) in the hub's cache on this machine, and {reason}"
        fix = f"{_near_fix(name)}; or fetch it once with a connection: hf download {name}"
        raise UserError(what, where, fix) from None
    except Exception as error:  # what a transport can raise (proxies, certificates, disks) differs by library version
        reason = _first_line(error)
        fix = "check the connection, the free space and the account (hf auth whoami), and try again"
        raise UserError(f"'{name}' could not be fetched: {reason}", where, fix) from error
    assert isinstance(folder, str), "only a dry run returns a list"
    return Path(folder)


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "~", "/", "\\")) or name.endswith("/") or name.count("/") > 1 or "\\" in name


def _near_fix(name: str) -> str:
    """The nearest thing that does exist: a folder beside it, or a starter."""
    path = Path(name.rstrip("/")).expanduser()
    starters = get_close_matches(path.name, STARTERS, n=1)
    if starters and "/" not in name:
        return f"write '{PREFIX}{starters[0]}'"
    beside = [entry.name for entry in path.parent.iterdir() if entry.is_dir()] if path.parent.is_dir() else []
    near = get_close_matches(path.name, beside, n=1)
    if near:
        return f"did you mean '{path.parent / near[0]}'?"
    if "/" in name and path.parent.is_dir():
        here = f"there is no '{path.name}' in '{path.parent}'"
        return f"{here}: make it, as the recipe's first lines say, or check the spelling of model.name"
    return "check the spelling of model.name"


def _card_license(folder: Path) -> str | None:
    """What the model card's front matter says."""
    card = folder / "README.md"
    if not card.is_file():
        return None
    front = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    line = re.search(r"^license:[ \t]*['\"]?([\w.+-]+)", front[1], re.MULTILINE) if front else None
    return line[1] if line else None


def weights_digest(weights: Weights) -> str:
    """BLAKE2b over the safetensors files' names and contents: equal for equal weights, wherever they lie.

    A file is read again only when its size or its time of change differs from what the cache folder remembers.
    """
    return files_digest(weights.files)
