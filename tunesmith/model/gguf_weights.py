"""A GGUF file of the Llama architecture as a plain Hugging Face folder: config, safetensors, tokenizer, chat template.

transformers reads such files too, but then calls the model quantized, refuses to save it, and splits the digits of
SmolLM's tokenizer another way than it was trained. It knows llama.cpp's names and layouts; no starter, recipe or task.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_TENSOR = re.compile(r"(?:blk\.(?P<block>\d+)\.)?(?P<part>\w+)\.weight")
_CONTROL = 3
"""llama.cpp's mark of a token that is never text."""


def convert(sources: tuple[Path, ...], target: Path) -> None:
    """Write a Hugging Face folder from the one GGUF file in a folder.

    Weights are written in bf16, which SmolLM2 was published in: half the bytes of fp32, and the perplexity that 4 bit
    left is the same to 4 in 10,000.

    Args:
        sources: The folder, alone.
        target: An empty folder.

    Raises:
        UserError: The package ``gguf`` is missing, there is not one file, or it holds another architecture.
    """
    from safetensors.torch import save_file

    files = sorted(sources[0].glob("*.gguf"))
    if len(files) != 1:
        what = f"{len(files)} GGUF files are in this folder, not one"
        raise UserError(what, str(sources[0]), "install the package that carries it again")
    file = files[0]
    reader = _reader(file)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    kind, spelling = fields.get("general.architecture"), fields.get("tokenizer.ggml.pre")
    if kind != "llama" or spelling != "smollm":
        what = f"{file.name} is of architecture {kind} with tokenizer {spelling}; llama with smollm is read"
        raise UserError(what, str(file), "name a model in Hugging Face's format")
    config = _config(fields, tied=all(tensor.name != "output.weight" for tensor in reader.tensors))
    tensors = dict(_tensors(reader, config))
    _check_whole(tensors, config, file)
    config.save_pretrained(target)
    _generation(fields).save_pretrained(target)
    _tokenizer(fields).save_pretrained(target)
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})


def _reader(file: Path) -> Any:
    """The parsed file.

    Raises:
        UserError: The package that parses it is missing, or it is broken.
    """
    try:
        from gguf import GGUFReader
    except ImportError as fault:
        raise UserError(
            f"{file.name} is read with the package gguf, which can't be imported here ({fault})",
            str(file),
            "pip install gguf",
        ) from fault
    try:
        return GGUFReader(file)
    except (ValueError, IndexError, KeyError) as fault:
        what = f"{file.name} is broken: {fault}"
        raise UserError(what, str(file), "install the package that carries it again") from fault


def _config(fields: dict[str, Any], tied: bool) -> Any:
    import torch
    from transformers import LlamaConfig

    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=len(fields["tokenizer.ggml.tokens"]),
        hidden_size=fields["llama.embedding_length"],
        intermediate_size=fields["llama.feed_forward_length"],
        num_hidden_layers=fields["llama.block_count"],
        num_attention_heads=fields["llama.attention.head_count"],
        num_key_value_heads=fields["llama.attention.head_count_kv"],
        max_position_embeddings=fields["llama.context_length"],
        rms_norm_eps=_decimal(fields["llama.attention.layer_norm_rms_epsilon"]),
        rope_parameters={"rope_type": "default", "rope_theta": fields["llama.rope.freq_base"]},
        tie_word_embeddings=tied,
        dtype=torch.bfloat16,
        **_token_ids(fields),
    )


def _decimal(value: float) -> float:
    """The decimal that a number was before it was stored in 32 bits: 1e-5, not 9.99999974e-6."""
    return float(f"{value:.6g}")


def _token_ids(fields: dict[str, Any]) -> dict[str, int]:
    return {
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "pad_token_id": fields["tokenizer.ggml.padding_token_id"],
    }


def _generation(fields: dict[str, Any]) -> Any:
    """Greedy, ended by the end of a turn, which these files name as the end token."""
    from transformers import GenerationConfig

    return GenerationConfig(**_token_ids(fields))


def _tokenizer(fields: dict[str, Any]) -> Any:
    """Byte-level BPE over single digits, as SmolLM was trained."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"]]
    inner = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    inner.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL]
    inner.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in control])
    ids = _token_ids(fields)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=tokens[ids["bos_token_id"]],
        eos_token=tokens[ids["eos_token_id"]],
        pad_token=tokens[ids["pad_token_id"]],
        unk_token=tokens[fields["tokenizer.ggml.unknown_token_id"]],
        model_max_length=fields["llama.context_length"],
        clean_up_tokenization_spaces=False,
        chat_template=fields["tokenizer.chat_template"],
    )


def _tensors(reader: Any, config: Any) -> Iterator[tuple[str, Tensor]]:
    """Each tensor by its name in transformers, as numbers."""
    import torch
    from gguf import dequantize

    for tensor in reader.tensors:
        found = _TENSOR.fullmatch(tensor.name)
        name = _NAMES.get(found["part"]) if found else None
        if found is None or name is None:
            what = f"the file holds a tensor called {tensor.name}, which a Llama does not have"
            raise UserError(what, tensor.name, "name a model in Hugging Face's format")
        value = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(found["part"])
        if heads is not None:
            value = _halves(value, heads)
        block = f"model.layers.{found['block']}." if found["block"] is not None else ""
        yield f"{block}{name}.weight", value.to(torch.bfloat16).contiguous()


def _halves(weight: Tensor, heads: int) -> Tensor:
    """Rotary pairs apart by half a head, as in transformers; llama.cpp lays the two of a pair side by side."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).transpose(1, 2).reshape(rows, columns)


def _check_whole(tensors: dict[str, Tensor], config: Any, file: Path) -> None:
    """Refuse a file that lacks a tensor or has one of another size: transformers would fill it with noise."""
    import torch
    from transformers import LlamaForCausalLM

    with torch.device("meta"):
        wanted = {name: value.shape for name, value in LlamaForCausalLM(config).state_dict().items()}
    if config.tie_word_embeddings:
        del wanted["lm_head.weight"]
    wrong = sorted(name for name in wanted if name not in tensors or tensors[name].shape != wanted[name])
    if wrong:
        what = f"{file.name} lacks {wrong[0]} or has it in another size"
        raise UserError(what, str(file), "install the package that carries it again")
