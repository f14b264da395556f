"""Whisper as one file of whisper.cpp's: its shape, mel filters, vocabulary and tensors; written, and read back.

It knows the names and layouts of that format; no starter, recipe or task, and nothing of audio.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from tunesmith.errors import UserError
from tunesmith.model.whisper_ct2 import refuse_beyond_half, refuse_other_vocabulary

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAGIC = 0x67676D6C
_TYPES = ("<f4", "<f2")
"""Types of tensors by their number in the file."""
_HALF = 1
_TIMESTAMPS = 1501
_VOCABULARIES = {51864: 99, 51865: 99, 51866: 100}
"""Sizes that whisper.cpp knows, English alone and with languages, and how many language tokens are in each: it takes
every special token's id from the size."""
_NAMES = {
    "layers": "blocks",
    "self_attn": "attn",
    "encoder_attn": "cross_attn",
    "q_proj": "query",
    "k_proj": "key",
    "v_proj": "value",
    "out_proj": "out",
    "self_attn_layer_norm": "attn_ln",
    "encoder_attn_layer_norm": "cross_attn_ln",
    "final_layer_norm": "mlp_ln",
    "fc1": "mlp.0",
    "fc2": "mlp.2",
    "embed_tokens": "token_embedding",
    "embed_positions": "positional_embedding",
}
_NORM = {"encoder": "ln_post", "decoder": "ln"}
"""What the last norm of either side is called."""


@dataclass(frozen=True)
class Shape:
    """What stands at a file's beginning, in its order.

    Args:
        vocabulary: Tokens, with timestamps.
        audio_positions: Steps of the encoder: 1,500 for 30 seconds.
        audio_width: Width of the encoder.
        audio_heads: Its attention heads.
        audio_blocks: Its blocks.
        text_positions: The longest text, in tokens.
        text_width: Width of the decoder.
        text_heads: Its attention heads.
        text_blocks: Its blocks.
        mels: Mel bands: 80 or 128.
        kind: 1 where matrices are in fp16, others where they are not.
    """

    vocabulary: int
    audio_positions: int
    audio_width: int
    audio_heads: int
    audio_blocks: int
    text_positions: int
    text_width: int
    text_heads: int
    text_blocks: int
    mels: int
    kind: int


@dataclass(frozen=True)
class Ggml:
    """A file's content.

    Args:
        shape: Its beginning.
        filters: Mel filters, fp32 [mels, frequencies].
        tokens: The bytes of each token of text, by id; special tokens are not in the file.
        tensors: By whisper.cpp's names, axes in numpy's order.
    """

    shape: Shape
    filters: NDArray[np.float32]
    tokens: tuple[bytes, ...]
    tensors: Mapping[str, NDArray[Any]]


# Writing


def write_ggml(model: Any, tokenizer: Any, file: Path) -> None:
    """Write a model as a file that whisper.cpp loads, matrices in fp16.

    whisper.cpp's own tools make smaller ones of it. A file with matrices in fp32 would load, and then end the process.

    Args:
        model: A ``WhisperForConditionalGeneration``, adapters merged, in any type and on any device.
        tokenizer: Its transformers tokenizer.
        file: Replaced where it is there; its folder is made.

    Raises:
        UserError: whisper.cpp can't run such a model, or tokenizer and model do not fit.
    """
    shape = shape_of(model.config, str(file))
    refuse_other_vocabulary(tokenizer, shape.vocabulary, str(file))
    _refuse_other_places(tokenizer, shape.vocabulary, str(file))
    state = model.state_dict()
    refuse_beyond_half(state, str(file))
    if not bool((state["proj_out.weight"] == state["model.decoder.embed_tokens.weight"]).all()):
        what = "the model has output weights of its own; whisper.cpp takes the token embedding for them"
        raise UserError(what, str(file), "train with tie_word_embeddings: true, or export another format")
    tokens = _text_tokens(tokenizer, str(file))
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as stream:
        stream.write(struct.pack("<12i", _MAGIC, *astuple(shape)))
        filters = mel_filters(shape.mels)
        stream.write(struct.pack("<2i", *filters.shape))
        stream.write(filters.astype("<f4").tobytes())
        stream.write(struct.pack("<i", len(tokens)))
        for token in tokens:
            stream.write(struct.pack("<i", len(token)) + token)
        for name, tensor in state.items():
            if name != "proj_out.weight":
                _write_tensor(stream, ggml_name(name), tensor.detach().float().cpu().numpy())


def shape_of(config: Any, where: str) -> Shape:
    """The beginning of the file of a model with a ``WhisperConfig``.

    Raises:
        UserError: It has what whisper.cpp takes for granted otherwise.
    """
    width = config.d_model
    given = {
        "vocab_size": (config.vocab_size, tuple(_VOCABULARIES)),
        "encoder_ffn_dim": (config.encoder_ffn_dim, (4 * width,)),
        "decoder_ffn_dim": (config.decoder_ffn_dim, (4 * width,)),
        "activation_function": (config.activation_function, ("gelu",)),
        "scale_embedding": (bool(config.scale_embedding), (False,)),
        "num_mel_bins": (config.num_mel_bins, (80, 128)),
    }
    for name, (value, known) in given.items():
        if value not in known:
            what = f"whisper.cpp can't run a Whisper whose {name} is {value}, only {', '.join(map(str, known))}"
            raise UserError(what, where, "export another format")
    return Shape(
        vocabulary=config.vocab_size,
        audio_positions=config.max_source_positions,
        audio_width=width,
        audio_heads=config.encoder_attention_heads,
        audio_blocks=config.encoder_layers,
        text_positions=config.max_target_positions,
        text_width=width,
        text_heads=config.decoder_attention_heads,
        text_blocks=config.decoder_layers,
        mels=config.num_mel_bins,
        kind=_HALF,
    )


def mel_filters(mels: int) -> NDArray[np.float32]:
    """The filters that Whisper hears through, [mels, 201]."""
    from transformers import WhisperFeatureExtractor

    return np.ascontiguousarray(WhisperFeatureExtractor(feature_size=mels).mel_filters.T, dtype=np.float32)


def ggml_name(name: str) -> str:
    """whisper.cpp's name of a tensor of ``WhisperForConditionalGeneration``."""
    _, side, *path = name.split(".")
    if path[0] == "layer_norm":
        path[0] = _NORM[side]
    if path[0] == "embed_positions":
        path.pop()
    return ".".join([side, *(_NAMES.get(part, part) for part in path)])


def _write_tensor(stream: BinaryIO, name: str, value: NDArray[np.float32]) -> None:
    """Vectors and positions stay in fp32: whisper.cpp wants them so."""
    kind = 0 if value.ndim < 2 or name.endswith("positional_embedding") else _HALF
    if name.endswith(("conv1.bias", "conv2.bias")):
        value = value[:, None]
    encoded = name.encode()
    stream.write(struct.pack("<3i", value.ndim, len(encoded), kind))
    stream.write(struct.pack(f"<{value.ndim}i", *reversed(value.shape)))
    stream.write(encoded + value.astype(_TYPES[kind]).tobytes())


def _refuse_other_places(tokenizer: Any, size: int, where: str) -> None:
    """whisper.cpp takes the ids of special tokens from the size of the vocabulary, not from the file."""
    first = size - _TIMESTAMPS
    start = first - 7 - _VOCABULARIES[size]
    places = {
        "<|endoftext|>": start - 1,
        "<|startoftranscript|>": start,
        "<|en|>": start + 1,
        "<|translate|>": first - 6,
        "<|transcribe|>": first - 5,
        "<|startofprev|>": first - 3,
        "<|notimestamps|>": first - 1,
        "<|0.00|>": first,
    }
    ids = tokenizer.get_vocab()
    for token, place in places.items():
        if ids.get(token) != place:
            what = f"the tokenizer has {token} at {ids.get(token)}; whisper.cpp looks for it at {place}"
            raise UserError(what, where, "export another format")


def _text_tokens(tokenizer: Any, where: str) -> list[bytes]:
    """The bytes of every token before the special ones; the multilingual vocabulary ends with an empty one."""
    ids = {i: token for token, i in tokenizer.get_vocab().items()}
    count = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    byte_of = _byte_of_letter()
    try:
        return [bytes(byte_of[letter] for letter in ids[i]) for i in range(count)]
    except KeyError as fault:
        what = f"the tokenizer has text tokens that are not byte-level BPE: {fault} is not the letter of a byte"
        raise UserError(what, where, "use Whisper's tokenizer") from fault


def _byte_of_letter() -> dict[str, int]:
    """Byte-level BPE writes bytes that print as themselves, and the others as letters from 256 on, in order."""
    printed = {*range(33, 127), *range(161, 173), *range(174, 256)}
    hidden = (byte for byte in range(256) if byte not in printed)
    return {chr(byte): byte for byte in printed} | {chr(256 + i): byte for i, byte in enumerate(hidden)}


# Reading


def read_ggml(file: Path) -> Ggml:
    """A file's content; what whisper.cpp would choke on natively is an error here.

    Raises:
        UserError: The file is missing or cut short, or it is of another kind.
    """
    try:
        content = memoryview(file.read_bytes())
    except OSError as fault:
        raise UserError(f"{fault.strerror}: {file.name}", str(file), "name a file of whisper.cpp's") from None
    try:
        return _parsed(content)
    except (struct.error, ValueError, IndexError, UnicodeDecodeError) as fault:
        what = f"{file.name} is no file of whisper.cpp's, or is cut short: {fault}"
        raise UserError(what, str(file), "export it again") from fault


def _parsed(content: memoryview) -> Ggml:
    at = 0

    def numbers(count: int) -> tuple[int, ...]:
        nonlocal at
        found = struct.unpack_from(f"<{count}i", content, at)
        at += 4 * count
        return found

    def taken(length: int) -> memoryview:
        nonlocal at
        if not 0 <= length <= len(content) - at:
            raise ValueError(f"it ends at byte {len(content)}")
        at += length
        return content[at - length : at]

    if numbers(1)[0] != _MAGIC:
        raise ValueError("it begins otherwise")
    shape = Shape(*numbers(len(fields(Shape))))
    mels, frequencies = numbers(2)
    filters = np.frombuffer(taken(4 * mels * frequencies), "<f4").reshape(mels, frequencies)
    tokens = tuple(bytes(taken(numbers(1)[0])) for _ in range(numbers(1)[0]))

    def tensors() -> Iterator[tuple[str, NDArray[Any]]]:
        while at < len(content):
            axes, length, kind = numbers(3)
            sizes = numbers(axes)[::-1]
            name = bytes(taken(length)).decode()
            stored = np.dtype(_TYPES[kind])
            yield name, np.frombuffer(taken(int(np.prod(sizes)) * stored.itemsize), stored).reshape(sizes)

    return Ggml(shape, filters, tokens, dict(tensors()))
