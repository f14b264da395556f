"""What exported Whispers say when other programs run them: CTranslate2 and whisper.cpp, decoded greedily.

It is how an export is held against the model that it came from. It knows no recipe, task or training.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from tunesmith.errors import UserError
from tunesmith.model.whisper_ct2 import INSTALL
from tunesmith.model.whisper_ggml import read_ggml

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

Job: TypeAlias = Literal["transcribe", "translate"]

RATE = 16_000
_LONGEST = 30 * RATE
_MULTILINGUAL = 51865
"""Vocabularies from this size on have languages."""


def hold_against(expected: Sequence[str], found: Sequence[str]) -> dict[str, Any]:
    """Where two readings of the same clips differ, but for space at their ends.

    Args:
        expected: What the model says, one text a clip.
        found: What its export says of the same clips.

    Returns:
        ``{"clips": 8, "differ": [{"clip": 3, "expected": "a", "found": "b"}]}``; ``differ`` is empty where they agree.
    """
    pairs = [(ours.strip(), theirs.strip()) for ours, theirs in zip(expected, found, strict=True)]
    differ = [{"clip": i, "expected": a, "found": b} for i, (a, b) in enumerate(pairs) if a != b]
    return {"clips": len(pairs), "differ": differ}


def lead(
    model: Any,
    tokenizer: Any,
    features: Tensor,
    expected: str,
    found: str,
    language: str = "en",
    task: Job = "transcribe",
) -> float:
    """By how much the model prefers its own next token over that of another text, where the two part.

    Near 0 it is undecided, and rounding decides: fp16, int8 and another order of sums turned only tokens whose lead
    was below 0.2. Where weights went wrong it is larger.

    Args:
        model: A ``WhisperForConditionalGeneration``.
        tokenizer: Its tokenizer.
        features: Log-mel features of the clip, [1, mels, 3000].
        expected: What the model says, with the space that it begins with.
        found: What its export says.
        language: As for ``transcribe_ct2``.
        task: As for ``transcribe_ct2``.

    Returns:
        Nats; 0 where the two are the same.
    """
    import torch

    space = expected[: len(expected) - len(expected.lstrip())]
    texts = (expected, space + found.strip())
    end = tokenizer.eos_token_id
    ours, theirs = ([*tokenizer.encode(text.rstrip(), add_special_tokens=False), end] for text in texts)
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
    if at is None:
        return 0.0
    prompt = tokenizer.convert_tokens_to_ids(_prompt(model.config.vocab_size, language, task))
    ids = torch.tensor([[*prompt, *ours[:at]]], device=model.device)
    with torch.inference_mode():
        logits = model(input_features=features.to(model.device, model.dtype), decoder_input_ids=ids).logits[0, -1]
    return float(logits[ours[at]] - logits[theirs[at]])


def transcribe_ct2(
    folder: Path,
    waves: Sequence[NDArray[np.float32]],
    language: str = "en",
    task: Job = "transcribe",
    *,
    max_tokens: int | None = None,
) -> list[str]:
    """What CTranslate2 says, without timestamps, one clip at a time, on the CPU.

    Args:
        folder: From ``write_ct2``.
        waves: Clips of at most 30 seconds, float32 [samples] at 16,000 Hz.
        language: Code of the language that is spoken, ``en``; English-only models are not told.
        task: What to write down.
        max_tokens: The most tokens to write; None: CTranslate2's own limit, half of what the model holds.

    Returns:
        One text a clip, without space at its ends.

    Raises:
        UserError: CTranslate2 is missing, the folder is not its model, or does not know the language; a clip is longer
            than 30 seconds.
    """
    try:
        import ctranslate2
    except ImportError as fault:
        raise UserError(f"CTranslate2 can't be imported here ({fault})", str(folder), INSTALL) from fault
    from tokenizers import Tokenizer
    from transformers import WhisperFeatureExtractor

    _refuse_long(waves)
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        listen = WhisperFeatureExtractor.from_pretrained(folder)
        size = len(json.loads((folder / "vocabulary.json").read_text(encoding="utf-8")))
        with _only_errors(ctranslate2):
            model = ctranslate2.models.Whisper(str(folder), device="cpu")
    except Exception as fault:  # tokenizers raises nothing narrower, and CTranslate2 what its native part throws
        what = f"this is no CTranslate2 model with its tokenizer: {str(fault).splitlines()[0]}"
        raise UserError(what, str(folder), "export it again") from fault
    prompt = [tokenizer.token_to_id(token) for token in _prompt(size, language, task)]
    if None in prompt:
        raise UserError(f"the model knows no language '{language}'", str(folder), "name a language that it knows")
    settings: dict[str, Any] = {"beam_size": 1}
    if max_tokens is not None:
        # It writes half as many at most, and at most what the prompt leaves.
        settings["max_length"] = max(2 * max_tokens, len(prompt) + max_tokens)
    texts = []
    for wave in waves:
        features = listen(wave, sampling_rate=RATE, return_tensors="np").input_features.astype(np.float32)
        heard = ctranslate2.StorageView.from_array(np.ascontiguousarray(features))
        ids = model.generate(heard, [prompt], **settings)[0].sequences_ids[0]
        texts.append(str(tokenizer.decode(ids[:max_tokens], skip_special_tokens=True)).strip())
    return texts


def _prompt(size: int, language: str, task: Job) -> list[str]:
    """The tokens that decoding starts from."""
    asked = [f"<|{language}|>", f"<|{task}|>"] if size >= _MULTILINGUAL else []
    return ["<|startoftranscript|>", *asked, "<|notimestamps|>"]


@contextmanager
def _only_errors(ctranslate2: Any) -> Iterator[None]:
    """Without the warning that fp16 is run as fp32 on a CPU."""
    import logging

    before = ctranslate2.get_log_level()
    ctranslate2.set_log_level(logging.ERROR)
    try:
        yield
    finally:
        ctranslate2.set_log_level(before)


def transcribe_ggml(
    file: Path,
    waves: Sequence[NDArray[np.float32]],
    language: str = "en",
    task: Job = "transcribe",
    *,
    max_tokens: int | None = None,
) -> list[str]:
    """What whisper.cpp says, without timestamps, fallbacks and context, on the CPU, and without a word of its log.

    What goes to the process's standard output and error meanwhile is lost: native code writes there past Python.

    Args:
        file: From ``write_ggml``.
        waves: Clips of at most 30 seconds, float32 [samples] at 16,000 Hz; of less than 0.1 seconds it says nothing.
        language: Code of the language that is spoken, ``en``.
        task: What to write down.
        max_tokens: The most tokens to write; None: whisper.cpp's own limit, half of what the model holds.

    Returns:
        One text a clip, without space at its ends.

    Raises:
        UserError: pywhispercpp is missing, whisper.cpp can't load the file or does not know the language; a clip is
            longer than 30 seconds.
    """
    try:
        from pywhispercpp.model import Model
    except ImportError as fault:
        raise UserError(f"pywhispercpp can't be imported here ({fault})", str(file), INSTALL) from fault
    _refuse_long(waves)
    # A file that fails natively ends the process, at the latest when the model is used.
    if read_ggml(file).shape.kind != 1:
        what = f"{file.name} does not hold its matrices in fp16"
        raise UserError(what, str(file), "export it again")
    if language not in Model.available_languages():
        raise UserError(f"whisper.cpp knows no language '{language}'", str(file), "write its code, as in 'en'")
    settings: dict[str, Any] = {
        "language": language,
        "translate": task == "translate",
        "greedy": {"best_of": 1},
        "no_timestamps": True,
        "single_segment": True,
        "no_context": True,
        "temperature": 0.0,
        "temperature_inc": 0.0,
        "suppress_nst": True,
        "no_speech_thold": 1.0,
        "print_progress": False,
        # It stops after one token more than it is told.
        "max_tokens": 0 if max_tokens is None else max(max_tokens - 1, 1),
    }
    with _silent() as log:
        # Flash attention rounds the more: it turned a token in 3 of 40 clips, where the model was all but undecided.
        model = Model(str(file), context_params={"use_gpu": False, "flash_attn": False}, **settings)
        said = log.read_text(encoding="utf-8", errors="replace")
        told = next((line for line in said.splitlines() if "error" in line.lower() or "failed" in line), None)
        if told is None:
            texts = [" ".join(part.text for part in model.transcribe(_plain(wave))).strip() for wave in waves]
            del model
    if told is not None:
        raise UserError(f"whisper.cpp can't load {file.name}: {told}", str(file), "export it again")
    return texts


def _plain(wave: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(wave, dtype=np.float32)


def _refuse_long(waves: Sequence[NDArray[np.float32]]) -> None:
    for i, wave in enumerate(waves):
        if len(wave) > _LONGEST:
            what = f"clip {i} is {len(wave) / RATE:.1f} seconds long; Whisper hears 30 at once"
            raise UserError(what, "", "cut it")


@contextmanager
def _silent() -> Iterator[Path]:
    """Send standard output and error, also of native code, into a file; yields the file."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError, OSError):
            stream.flush()
    with tempfile.NamedTemporaryFile(prefix="whisper-", suffix=".log") as log:
        before = {number: os.dup(number) for number in (1, 2)}
        try:
            for number in before:
                os.dup2(log.fileno(), number)
            yield Path(log.name)
        finally:
            for number, kept in before.items():
                os.dup2(kept, number)
                os.close(kept)
