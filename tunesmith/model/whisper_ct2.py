"""Whisper in CTranslate2's format, which faster-whisper runs: read as transformers' tensors, and written.

It knows the names and layouts of that format; no starter, recipe or task, and nothing of audio.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from tunesmith.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

Quantization: TypeAlias = Literal["float32", "float16", "int8", "int8_float16"]
"""How weights are stored: ``int8`` keeps what is not a matrix in fp32, ``int8_float16`` in fp16."""

Side: TypeAlias = Literal["encoder", "decoder"]

INSTALL = 'pip install "tunesmith[whisper-exports]"'
_AGAIN = "get the file again"
_VERSION, _SPEC, _REVISION = 6, "WhisperSpec", 3
"""What the files that are read say of themselves: the layout of the file, the kind of model, its names."""
_BFLOAT16 = 5
_TYPES = {0: "float32", 1: "int8", 2: "int16", 3: "int32", 4: "float16", _BFLOAT16: "uint16"}
_LAYER = re.compile(r"(encoder|decoder)/layer_(\d+)/")
_HALF = 65504.0
"""The largest number of fp16."""


# Reading


def read_ct2(files: Sequence[Path]) -> dict[str, NDArray[Any]]:
    """Every variable of a ``model.bin``, by CTranslate2's name, in the type that it is stored in (bf16 as fp32).

    Args:
        files: The file, or the parts that it was cut into, in their order.

    Returns:
        Matrices as [out, in], convolutions as [out, in, width], settings as arrays without axes. What is an alias in
        the file is here under both names.

    Raises:
        UserError: A file is missing or cut short, or it is of another model or version.
    """
    try:
        content = memoryview(b"".join(file.read_bytes() for file in files))
    except OSError as fault:
        raise UserError(f"{fault.strerror}: {Path(str(fault.filename)).name}", str(fault.filename), _AGAIN) from None
    where = str(files[0])
    try:
        return dict(_variables(content, where))
    except (struct.error, ValueError, UnicodeDecodeError, KeyError) as fault:
        raise UserError(f"{files[0].name} is cut short or broken: {fault}", where, _AGAIN) from fault


def _variables(content: memoryview, where: str) -> Iterator[tuple[str, NDArray[Any]]]:
    at = 0

    def number(code: str) -> int:
        nonlocal at
        (value,) = struct.unpack_from(f"<{code}", content, at)
        at += struct.calcsize(code)
        return int(value)

    def taken(length: int) -> memoryview:
        nonlocal at
        if at + length > len(content):
            raise ValueError(f"it ends at byte {len(content)}, inside what ends at byte {at + length}")
        at += length
        return content[at - length : at]

    def string() -> str:
        return bytes(taken(number("H"))).rstrip(b"\0").decode()

    version = number("I")
    spec = string() if version == _VERSION else ""
    revision = number("I") if spec == _SPEC else 0
    if (version, spec, revision) != (_VERSION, _SPEC, _REVISION):
        found = f"layout {version}" + (f", {spec}" if spec else "") + (f" revision {revision}" if revision else "")
        what = f"this is no Whisper of CTranslate2 in layout {_VERSION}, {_SPEC} revision {_REVISION}: it is of {found}"
        raise UserError(what, where, "convert the model with a current CTranslate2")
    held: dict[str, NDArray[Any]] = {}
    for _ in range(number("I")):
        name = string()
        shape = [number("I") for _ in range(number("B"))]
        kind = number("B")
        value = np.frombuffer(taken(number("I")), dtype=_TYPES[kind]).reshape(shape)
        if kind == _BFLOAT16:
            value = (value.astype(np.uint32) << 16).view(np.float32)
        held[name] = value
        yield name, value
    for _ in range(number("I")):
        alias, name = string(), string()
        yield alias, held[name]
        if f"{name}_scale" in held:
            yield f"{alias}_scale", held[f"{name}_scale"]
    if at != len(content):
        raise ValueError(f"{len(content) - at} bytes are left over at its end")


def network_of(tensors: Mapping[str, NDArray[Any]], where: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The same network in transformers' terms.

    Args:
        tensors: From ``read_ct2``.
        where: The file, for errors.

    Returns:
        What ``WhisperConfig`` takes of its shape, and its tensors by the names of ``WhisperForConditionalGeneration``,
        in the type that they were stored in (int8 as fp32). ``proj_out.weight`` is among them only where it is not the
        token embedding.

    Raises:
        UserError: A tensor is missing, or a bias is there which this architecture does not have.
    """
    try:
        return _shape(tensors), dict(_renamed(tensors, where))
    except (KeyError, ValueError) as fault:
        raise UserError(f"the file holds no whole Whisper: {fault} is missing or odd", where, _AGAIN) from fault


def _layers(tensors: Mapping[str, NDArray[Any]], side: Side) -> int:
    found = [_LAYER.match(name) for name in tensors]
    return len({match[2] for match in found if match is not None and match[1] == side})


def _shape(tensors: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    vocabulary, width = tensors["decoder/embeddings/weight"].shape
    shape: dict[str, Any] = {
        "vocab_size": vocabulary,
        "d_model": width,
        "num_mel_bins": tensors["encoder/conv1/weight"].shape[1],
        "max_source_positions": len(tensors["encoder/position_encodings/encodings"]),
        "max_target_positions": len(tensors["decoder/position_encodings/encodings"]),
    }
    sides: tuple[Side, ...] = ("encoder", "decoder")
    for side in sides:
        shape[f"{side}_layers"] = _layers(tensors, side)
        shape[f"{side}_attention_heads"] = int(tensors[f"{side}/num_heads"])
        shape[f"{side}_ffn_dim"] = len(tensors[f"{side}/layer_0/ffn/linear_0/weight"])
    return shape


def _whole(tensors: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    """A tensor as numbers: of int8, each row is divided by its scale."""
    scale = tensors.get(f"{name}_scale")
    value = tensors[name]
    if scale is None:
        return value
    return value.astype(np.float32) / scale.astype(np.float32).reshape(scale.shape + (1,) * (value.ndim - scale.ndim))


def _renamed(tensors: Mapping[str, NDArray[Any]], where: str) -> Iterator[tuple[str, NDArray[Any]]]:
    def pair(ours: str, theirs: str, names: tuple[str, str] = ("weight", "bias")) -> Iterator[tuple[str, NDArray[Any]]]:
        for end, name in zip(("weight", "bias"), names, strict=True):
            yield f"{ours}.{end}", _whole(tensors, f"{theirs}/{name}")

    def fused(ours: str, letters: str, theirs: str) -> Iterator[tuple[str, NDArray[Any]]]:
        """Projections that lie in one matrix; keys have no bias, which lies there as zeros."""
        for end in ("weight", "bias"):
            parts = np.split(_whole(tensors, f"{theirs}/{end}"), len(letters))
            for letter, part in zip(letters, parts, strict=True):
                if letter != "k" or end == "weight":
                    yield f"{ours}.{letter}_proj.{end}", part
                elif part.any():
                    what = f"{theirs} has a bias for keys, which Whisper does not have"
                    raise UserError(what, where, "name a Whisper")

    norm = ("gamma", "beta")
    sides: tuple[Side, ...] = ("encoder", "decoder")
    for side in sides:
        yield f"model.{side}.embed_positions.weight", _whole(tensors, f"{side}/position_encodings/encodings")
        yield from pair(f"model.{side}.layer_norm", f"{side}/layer_norm", norm)
        for i in range(_layers(tensors, side)):
            ours, theirs = f"model.{side}.layers.{i}", f"{side}/layer_{i}"
            yield from pair(f"{ours}.self_attn_layer_norm", f"{theirs}/self_attention/layer_norm", norm)
            yield from fused(f"{ours}.self_attn", "qkv", f"{theirs}/self_attention/linear_0")
            yield from pair(f"{ours}.self_attn.out_proj", f"{theirs}/self_attention/linear_1")
            if side == "decoder":
                yield from pair(f"{ours}.encoder_attn_layer_norm", f"{theirs}/attention/layer_norm", norm)
                yield from fused(f"{ours}.encoder_attn", "q", f"{theirs}/attention/linear_0")
                yield from fused(f"{ours}.encoder_attn", "kv", f"{theirs}/attention/linear_1")
                yield from pair(f"{ours}.encoder_attn.out_proj", f"{theirs}/attention/linear_2")
            yield from pair(f"{ours}.final_layer_norm", f"{theirs}/ffn/layer_norm", norm)
            yield from pair(f"{ours}.fc1", f"{theirs}/ffn/linear_0")
            yield from pair(f"{ours}.fc2", f"{theirs}/ffn/linear_1")
    for conv in ("conv1", "conv2"):
        yield from pair(f"model.encoder.{conv}", f"encoder/{conv}")
    embedding = _whole(tensors, "decoder/embeddings/weight")
    yield "model.decoder.embed_tokens.weight", embedding
    output = _whole(tensors, "decoder/projection/weight")
    if not np.array_equal(output, embedding):
        yield "proj_out.weight", output


# Writing


def write_ct2(model: Any, tokenizer: Any, folder: Path, quantization: Quantization = "float16") -> None:
    """Write a folder that CTranslate2 and faster-whisper load, with CTranslate2's own converter.

    Args:
        model: A ``WhisperForConditionalGeneration``, adapters merged, in any type and on any device; it stays as it is.
            Its generation config says which tokens are suppressed, which heads align and which tokens are languages.
        tokenizer: Its transformers tokenizer.
        folder: Made where it is missing. Gets model.bin, config.json, vocabulary.json, tokenizer.json and
            preprocessor_config.json; files of these names are replaced.
        quantization: How weights are stored.

    Raises:
        UserError: CTranslate2 is missing, tokenizer and model do not fit, or the model can't be told in this format.
    """
    import torch
    from transformers import WhisperFeatureExtractor

    if quantization not in get_args(Quantization):
        what = f"CTranslate2 weights are not written as '{quantization}'"
        raise UserError(what, str(folder), f"choose one of: {', '.join(get_args(Quantization))}")
    loader = _loader(str(folder))
    refuse_other_vocabulary(tokenizer, model.config.vocab_size, str(folder))
    state = model.state_dict()
    if "float16" in quantization:
        refuse_beyond_half(state, str(folder))
    # Scaling to int8 works in place: without a copy it would scale the model's own weights.
    plain = _plain(model, {name: value.detach().to("cpu", copy=True) for name, value in state.items()})
    try:
        with torch.no_grad():
            spec = loader(plain, tokenizer)
        for name in ("suppress_ids", "suppress_ids_begin", "lang_ids"):
            if getattr(spec.config, name) is None:
                setattr(spec.config, name, [])
        spec.validate()
        spec.optimize(quantization=quantization)
    except (ValueError, AttributeError, KeyError, NotImplementedError) as fault:
        what = f"CTranslate2 can't convert this model: {str(fault).strip().splitlines()[-1]}"
        raise UserError(what, str(folder), "export a Whisper model") from fault
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    WhisperFeatureExtractor(feature_size=model.config.num_mel_bins).save_pretrained(folder)


def _loader(where: str) -> Any:
    """CTranslate2's converter of a Whisper that is in memory."""
    try:
        from ctranslate2.converters.transformers import WhisperLoader
    except ImportError as fault:
        raise UserError(f"CTranslate2 can't be imported here ({fault})", where, INSTALL) from fault
    return WhisperLoader()


def _plain(model: Any, state: dict[str, Tensor]) -> Any:
    """The network of a model with other tensors, and without whatever was hung onto its modules."""
    import torch
    from transformers import WhisperForConditionalGeneration

    with torch.device("meta"):
        plain = WhisperForConditionalGeneration(model.config)
    plain.load_state_dict(state, assign=True)
    plain.generation_config = model.generation_config
    return plain.eval()


def refuse_other_vocabulary(tokenizer: Any, size: int, where: str) -> None:
    """Refuse a tokenizer whose ids are not 0 to ``size`` - 1: both formats name a token by its place in a list.

    Raises:
        UserError: There are more ids or fewer, or ids are left out.
    """
    ids = sorted(set(tokenizer.get_vocab().values()))
    if ids != list(range(size)):
        what = f"the tokenizer has {len(ids)} ids up to {ids[-1] if ids else 0}; the model has {size}, from 0"
        raise UserError(what, where, "save the tokenizer that the model was trained with beside it")


def refuse_beyond_half(state: Mapping[str, Tensor], where: str) -> None:
    """Refuse weights that fp16 can't hold.

    Raises:
        UserError: A number is not finite or beyond 65,504.
    """
    for name, value in state.items():
        if value.is_floating_point() and not bool((value.abs() <= _HALF).all()):
            what = f"{name} holds a number that fp16 can't hold (beyond 65504, or not finite)"
            raise UserError(what, where, "export in float32, or train with a lower learning rate")
