"""The headers of safetensors files: names, types and shapes of tensors, and the layer groups that the names tell.

A header is a few kilobytes before the weights; nothing behind it is read. It knows no torch and no formula.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.forecast.config_values import read_object
from tunesmith.forecast.shapes import Block, Kept, Linear, Shape

BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1,
    "F8_E5M2": 1, "U16": 2, "U32": 4, "U64": 8,
}  # fmt: skip
MOST_HEADER = 100_000_000
"""Bytes of a header beyond which safetensors itself refuses it."""
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "position_ids", "masked_bias", "inv_freq",
            "relative_position_index", "final_logits_bias", ".attn.bias", "token_type_ids",
            "pos_embed.pos_embed")  # fmt: skip
_HEADS = ("classifier", "score", "head", "cls", "qa_outputs", "classification_head", "lm_head", "class_embed",
          "decode_head", "class_labels_classifier", "bbox_predictor", "out_proj", "pre_classifier")  # fmt: skip
_FEEDS = ("embed", "wte", "wpe", "shared", "patch", "stem", "feature_extractor", "feature_projection", "cls_token",
          "mask_token", "pos_conv", "conv1.", "conv2.")  # fmt: skip
_ORDER = ("feature_extractor", "embed", "backbone", "encoder", "down", "mid", "decoder", "up")
CONVOLUTION_KEEPS = 2
"""Numbers that each output of a convolution keeps, by rule of thumb: itself, and what its norm makes of it."""


@dataclass(frozen=True)
class Stored:
    """One tensor of a file."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Its numbers."""
        return prod(self.shape)

    @property
    def learns(self) -> bool:
        """Whether it is a parameter; running statistics and tables of positions are none."""
        return not self.dtype.startswith(("I", "U", "BOOL")) and not self.name.endswith(_BUFFERS)


def read_header(file: Path, where: str = "") -> list[Stored]:
    """The tensors of one safetensors file, from its header alone.

    Raises:
        UserError: It is cut short, no safetensors file, or a Git LFS pointer.
    """
    place, fix = where or str(file), "fetch the model again"
    try:
        with file.open("rb") as stream:
            begin = stream.read(8)
            if begin == b"version ":
                fix = "run 'git lfs pull' in its repository"
                raise UserError(f"{file.name} is a Git LFS pointer, not weights", place, fix)
            if len(begin) < 8:
                raise UserError(f"{file.name} is cut short: it has {len(begin)} bytes", place, fix)
            (length,) = struct.unpack("<Q", begin)
            text = stream.read(length) if length <= MOST_HEADER else b""
    except OSError as fault:
        raise UserError(f"{file.name} can't be read: {fault.strerror}", place, fix) from None
    if len(text) < length:
        what = f"{file.name} is cut short or no safetensors file: its header should have {length:,} bytes"
        raise UserError(what, place, fix)
    try:
        header: Any = json.loads(text)
        found = [
            Stored(name, str(entry["dtype"]), tuple(int(n) for n in entry["shape"]))
            for name, entry in header.items()
            if name != "__metadata__"
        ]
        ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as fault:
        raise UserError(f"the header of {file.name} is broken: {fault}", place, fix) from None
    wanted = 8 + length + max(ends, default=0)
    if file.stat().st_size < wanted:
        raise UserError(f"{file.name} is cut short: it has {file.stat().st_size:,} of {wanted:,} bytes", place, fix)
    return found


def stored_tensors(folder: Path, where: str = "") -> tuple[list[Stored], list[str]]:
    """All tensors of a model's folder, and what could not be known; none where it has no safetensors files.

    An index whose shards are not there gives their names and the sum of their bytes, and no shapes.

    Raises:
        UserError: A file is broken, or the index names a file that is not there while others are.
    """
    single = folder / "model.safetensors"
    files = sorted(folder.glob("*.safetensors"))
    whole = [file for file in files if "." not in file.name.removesuffix(".safetensors")]
    indexes = sorted(folder.glob("*.safetensors.index.json"))
    if single.is_file():
        return read_header(single, where), []
    if indexes:
        names = index_table(indexes[0])
        shards = sorted(set(names.values()))
        missing = [name for name in shards if not (folder / name).is_file()]
        if missing and len(missing) < len(shards):
            what = f"{indexes[0].name} names {missing[0]}, which is not there"
            raise UserError(what, where or str(folder), "fetch the model again; its download did not finish")
        if not missing:
            return [tensor for name in shards for tensor in read_header(folder / name, where)], []
        return [], [f"no shard of {indexes[0].name} is here"]
    return [tensor for file in (whole or files)[:1] for tensor in read_header(file, where)], []


def index_table(index: Path) -> dict[str, str]:
    """Tensor names to shard names of an index.

    Raises:
        UserError: It has none, or names a file outside its folder.
    """
    table = read_object(index).get("weight_map")
    if not isinstance(table, dict) or not all(isinstance(name, str) for name in table.values()):
        raise UserError(f"{index.name} has no weight_map of file names", str(index), "fetch the model again")
    outside = [name for name in table.values() if Path(name).name != name]
    if outside:
        raise UserError(f"{index.name} names a file outside its folder: {outside[0]}", str(index), "do not use it")
    return {str(name): str(file) for name, file in table.items()}


def index_bytes(folder: Path) -> tuple[int, int]:
    """Bytes of all tensors that an index states, and how many blocks its names have; zeros where there is none."""
    indexes = sorted(folder.glob("*.safetensors.index.json"))
    if not indexes:
        return 0, 0
    stated = read_object(indexes[0]).get("metadata")
    size = stated.get("total_size") if isinstance(stated, dict) else None
    names = [Stored(name, "F32", ()) for name in index_table(indexes[0])]
    return (int(size) if isinstance(size, (int, float)) else 0), len(_numbered(names))


def _container(name: str) -> tuple[str, int] | None:
    """The outermost numbered list that a tensor stands in, and its number there."""
    found = re.match(r"(.*?\w)\.(\d+)\.", name)
    return (found[1], int(found[2])) if found else None


def _numbered(tensors: Iterable[Stored]) -> dict[tuple[str, int], list[Stored]]:
    """Blocks bottom to top, as names tell: the members of lists, and the middle of a U-Net."""
    found: dict[tuple[str, int], list[Stored]] = {}
    for tensor in tensors:
        middle = re.match(r"(.*?\bmid_block)\.", tensor.name)
        key = (middle[1], 0) if middle else _container(tensor.name)
        if key is not None and not any(part in key[0] for part in ("feature_extractor", "head", "classifier", "cls")):
            found.setdefault(key, []).append(tensor)

    def place(key: tuple[str, int]) -> tuple[int, str, int]:
        stands = [i for i, part in enumerate(_ORDER) if part in key[0]]
        return (max(stands, default=0), *key)

    return {key: found[key] for key in sorted(found, key=place)}


def shape_of_tensors(tensors: Sequence[Stored], *, tied: bool, known: Shape | None, language: bool) -> Shape:
    """Layer groups of stored tensors.

    Args:
        tensors: Of a whole model.
        tied: Whether its output layer is its table of tokens, so that a stored copy of it does not count.
        known: Its shape by formula, which says what its blocks keep; None for a family without one.
        language: Whether its output layer is pretrained and no head.
    """
    learned = [t for t in tensors if t.learns and not (tied and t.name.endswith("lm_head.weight"))]
    blocks = _numbered(learned)
    inside = {tensor.name for members in blocks.values() for tensor in members}
    outside = [tensor for tensor in learned if tensor.name not in inside]
    sums = {"embeddings": 0, "neck": 0, "head": 0}
    for tensor in outside:
        sums[_group(tensor.name, language)] += tensor.size
    dtypes: dict[str, int] = {}
    for tensor in learned:
        dtypes[tensor.dtype] = dtypes.get(tensor.dtype, 0) + tensor.size
    like = known.blocks if known is not None and len(known.blocks) == len(blocks) else ()
    channels = [_channels(members) for members in blocks.values()]
    first = min((count for count in channels if count), default=1)
    made = [
        _block(members, like[i] if like else None, channels[i] / first) for i, members in enumerate(blocks.values())
    ]
    shape = known or Shape()
    return replace(
        shape,
        embeddings=sums["embeddings"],
        blocks=tuple(made),
        neck=sums["neck"],
        head=sums["head"],
        width=shape.width or _width(learned),
        buffer_bytes=sum(t.size * BYTES.get(t.dtype, 4) for t in tensors if not t.learns),
        dtypes=dtypes,
    )


def _group(name: str, language: bool) -> str:
    parts = name.split(".")
    if "lm_head" in parts and language:
        return "neck"
    if any(part in _HEADS for part in parts[:2]):
        return "head"
    return "embeddings" if any(part in name for part in _FEEDS) else "neck"


def _width(tensors: Sequence[Stored]) -> int:
    """The most common width of matrices' inputs."""
    counts: dict[int, int] = {}
    for tensor in tensors:
        if len(tensor.shape) == 2:
            counts[tensor.shape[1]] = counts.get(tensor.shape[1], 0) + 1
    return max(counts, key=lambda n: counts[n], default=0)


def _block(members: Sequence[Stored], like: Block | None, growth: float) -> Block:
    """A block as its tensors tell, with what a formula says it keeps."""
    biased = {t.name.removesuffix(".bias") for t in members if t.name.endswith(".bias")}
    linears = [
        Linear(_tail(t.name), t.shape[1], t.shape[0], t.name.removesuffix(".weight") in biased)
        for t in members
        if len(t.shape) == 2 and t.name.endswith(".weight") and "embed" not in t.name and "bias_table" not in t.name
    ]
    rest = sum(t.size for t in members) - sum(linear.parameters for linear in linears)
    if like is not None:
        return Block(tuple(linears), rest, like.kept, like.along, like.stride)
    maps = sum(t.shape[0] for t in members if len(t.shape) == 4)
    if maps:
        made = Block(tuple(linears), rest, None, "map", _stride(growth))
        values = CONVOLUTION_KEEPS * maps + 2 * sum(linear.outputs for linear in linears)
        return replace(made, kept=Kept(0, 0, 0, values, 0, norms=0))
    width = min((linear.inputs for linear in linears), default=0)
    wide = [linear.outputs for linear in linears if linear.outputs > width]
    widest = max(wide, default=width)
    return replace(Block(tuple(linears), rest), kept=Kept(width, width, width, 1, widest, gated=wide.count(widest) > 1))


def _channels(members: Sequence[Stored]) -> int:
    """Width of a block of convolutions: its narrowest one, depthwise and squeezing ones apart; 0 without any."""
    dense = [t for t in members if len(t.shape) == 4 and t.shape[1] > 1 and "squeeze" not in t.name]
    return min((t.shape[0] for t in dense), default=0)


def _tail(name: str) -> str:
    return name.removesuffix(".weight").split(".", 2)[-1] if name.count(".") > 2 else name.removesuffix(".weight")


def _stride(growth: float) -> float:
    """Pixels of the picture from one of a block's to the next, by rule of thumb: four, twice that as width doubles."""
    stride = 4.0
    while growth >= 2 and stride < 32:
        stride, growth = 2 * stride, growth / 2
    return stride
