"""The Whisper that two packages carry in CTranslate2's format, as a Hugging Face folder that trains and transcribes.

It knows what those packages lack: the tokenizer's timestamps, and the first merge of its BPE. It knows no recipe or
task.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import UserError
from tunesmith.model.whisper_ct2 import network_of, read_ct2

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AGAIN = "install the packages that carry it again"
_PARTS = ("model.bin.part1", "model.bin.part2")
_SECONDS, _PER_SECOND = 30, 50
"""What timestamps reach to, and how many stand in a second."""
_BYTES = 256
"""Tokens that are one byte; after them comes one for every merge, in the order of the merges."""
_END, _START = "<|endoftext|>", "<|startoftranscript|>"
_FIRST_TIMESTAMP_AT_MOST = 1.0
"""Seconds; what Whisper was published with, as the rest of the generation config."""


def convert(sources: tuple[Path, ...], target: Path) -> None:
    """Write a Hugging Face folder: config, safetensors, generation config, feature extractor, tokenizer.

    Weights stay in fp16, as they come; the config says fp32, so that they are loaded as such.

    Args:
        sources: The folders of the first package (config, tokenizer, first half of the weights) and of the second.
        target: An empty folder.

    Raises:
        UserError: A file is missing, cut short, or not of a Whisper with languages.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import WhisperConfig, WhisperFeatureExtractor

    first, second = sources
    files = (first / _PARTS[0], second / _PARTS[1])
    shape, state = network_of(read_ct2(files), str(files[0]))
    settings = _read(first / "config.json", "lang_ids", "suppress_ids", "suppress_ids_begin", "alignment_heads")
    raw = _read(first / "tokenizer.json", "model", "added_tokens")
    ids = _whole_tokenizer(raw, shape["vocab_size"], first / "tokenizer.json")
    end = {"bos_token_id": ids[_END], "eos_token_id": ids[_END], "pad_token_id": ids[_END]}
    config = WhisperConfig(
        architectures=["WhisperForConditionalGeneration"],
        dtype=torch.float32,
        decoder_start_token_id=ids[_START],
        begin_suppress_tokens=settings["suppress_ids_begin"],
        **shape,
        **end,
    )
    _check_whole(state, config, files[0])
    config.save_pretrained(target)
    _generation(settings, ids, config).save_pretrained(target)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(target)
    _save_tokenizer(raw, config.max_target_positions, target)
    tensors = {name: torch.from_numpy(value.copy()) for name, value in state.items()}
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})


def _read(file: Path, *wanted: str) -> dict[str, Any]:
    """A JSON file that is a table with these keys."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"the folder holds no {file.name}", str(file.parent), _AGAIN) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as fault:
        raise UserError(f"{file.name} is not JSON: {fault}", str(file), _AGAIN) from None
    missing = [key for key in wanted if not isinstance(content, dict) or key not in content]
    if missing:
        raise UserError(f"{file.name} has no '{missing[0]}'", str(file), _AGAIN)
    return dict(content)


# Tokenizer


def _whole_tokenizer(raw: dict[str, Any], size: int, file: Path) -> dict[str, int]:
    """Add in place what the tokenizer lacks.

    Args:
        raw: The content of tokenizer.json.
        size: Tokens that the model knows.
        file: For errors.

    Returns:
        Every token's id.
    """
    try:
        _mend_merges(raw["model"])
        added = {str(token["content"]): int(token["id"]) for token in raw["added_tokens"]}
        ids = {**raw["model"]["vocab"], **added}
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise UserError(f"{file.name} is not Whisper's byte-level BPE: {fault}", str(file), _AGAIN) from fault
    place = ids.get("<|notimestamps|>", -1) + 1
    stamps = [f"<|{i / _PER_SECOND:.2f}|>" for i in range(_SECONDS * _PER_SECOND + 1)]
    if stamps[0] not in ids:
        for i, stamp in enumerate(stamps, place):
            ids[stamp] = i
            # Not special: as in the published tokenizer, which leaves them to the reader of the text.
            plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
            raw["added_tokens"].append({"id": i, "content": stamp, **plain})
    lacking = [
        token for token in (_END, _START, "<|transcribe|>", "<|translate|>", "<|startofprev|>") if token not in ids
    ]
    if lacking or sorted(ids.values()) != list(range(size)):
        what = f"{file.name} lacks {lacking[0]}" if lacking else f"{file.name} has {len(ids)} tokens, the model {size}"
        raise UserError(what, str(file), _AGAIN)
    return ids


def _mend_merges(model: dict[str, Any]) -> None:
    """Put back merges that are missing though their token is there: the first one, in the packages that are known.

    Without "Ġ t" (a space and a t), " the" is split as a space and "the": two tokens that the model never saw in a row.

    Args:
        model: The ``model`` of tokenizer.json; changed in place.
    """
    merges = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
    made = {"".join(merge) for merge in merges}
    for token, i in sorted(model["vocab"].items(), key=lambda entry: int(entry[1])):
        if len(token) == 2 and token not in made and i >= _BYTES:
            merges.insert(i - _BYTES, (token[0], token[1]))
    unmade = [token for token in model["vocab"] if len(token) > 1 and token != _END]
    wrong = [token for token, merge in zip(unmade, merges, strict=False) if token != "".join(merge)]
    if wrong or len(unmade) != len(merges):
        raise ValueError(f"{len(merges)} merges for {len(unmade)} tokens")
    model["merges"] = [list(merge) for merge in merges]


def _save_tokenizer(raw: Mapping[str, Any], longest: int, target: Path) -> None:
    """tokenizer.json, and what makes transformers read it as Whisper's, with every special token known as such."""
    settings = {
        "tokenizer_class": "WhisperTokenizer",
        "bos_token": _END,
        "eos_token": _END,
        "pad_token": _END,
        "unk_token": _END,
        "additional_special_tokens": [token["content"] for token in raw["added_tokens"] if token["special"]],
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": longest,
    }
    for name, content in (("tokenizer.json", raw), ("tokenizer_config.json", settings)):
        (target / name).write_text(f"{json.dumps(content, ensure_ascii=False, indent=1)}\n", encoding="utf-8")


# Model


def _generation(settings: Mapping[str, Any], ids: Mapping[str, int], config: Any) -> Any:
    """What decoding needs to know of the tokens, as Whisper was published with."""
    from transformers import GenerationConfig

    languages = set(settings["lang_ids"])
    return GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        decoder_start_token_id=config.decoder_start_token_id,
        max_length=config.max_target_positions,
        is_multilingual=True,
        lang_to_id={token: i for token, i in ids.items() if i in languages},
        task_to_id={task: ids[f"<|{task}|>"] for task in ("transcribe", "translate")},
        no_timestamps_token_id=ids["<|notimestamps|>"],
        prev_sot_token_id=ids["<|startofprev|>"],
        max_initial_timestamp_index=int(_FIRST_TIMESTAMP_AT_MOST * _PER_SECOND),
        suppress_tokens=settings["suppress_ids"],
        begin_suppress_tokens=settings["suppress_ids_begin"],
        alignment_heads=settings["alignment_heads"],
        return_timestamps=False,
    )


def _check_whole(state: Mapping[str, NDArray[Any]], config: Any, file: Path) -> None:
    """Refuse tensors that are not those of the network: transformers would fill what is missing with noise."""
    import torch
    from transformers import WhisperForConditionalGeneration

    with torch.device("meta"):
        wanted = WhisperForConditionalGeneration(config).state_dict()
    shapes = {name: tuple(value.shape) for name, value in wanted.items() if name != "proj_out.weight"}
    found = {name: tuple(value.shape) for name, value in state.items()}
    wrong = sorted({name for name, _ in shapes.items() ^ found.items()})
    if wrong:
        raise UserError(f"{file.name} lacks {wrong[0]}, has it in another size or too much", str(file), _AGAIN)
