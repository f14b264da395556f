"""Shapes of encoders of text, pictures and sound from their config.json alone. It knows formulas and no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

from tunesmith.forecast.config_values import Config
from tunesmith.forecast.decoders import two_stacks
from tunesmith.forecast.shapes import Block, Kept, Linear, Shape


def _block(
    h: int,
    f: int,
    heads: int,
    *,
    bias: bool = True,
    along: str = "tokens",
    extra: int = 0,
    dropped: bool = False,
) -> Block:
    """BERT's block: four square matrices, two wide ones, two norms; ``dropped``: whether it has dropout."""
    names = ("query", "key", "value", "dense")
    square = tuple(Linear(name, h, h, bias if name != "dense" else True) for name in names)
    inner = (Linear("intermediate.dense", h, f, True), Linear("output.dense", f, h, True))
    return Block((*square, *inner), 4 * h + extra, Kept(h, h, h, heads, f, masks=2 * h * dropped), along)


def _head(config: Config, h: int, vocabulary: int, *, pooler: bool, dense: bool) -> tuple[int, int]:
    """Numbers above the blocks and in the head: pooler, classifier, or what guesses masked tokens."""
    kind, pooled = config.architecture, h * h + h if pooler else 0
    if "SequenceClassification" in kind:
        # BigBird keeps the pooler that its classifier does not use.
        kept = pooled if not dense or config.family == "big_bird" else 0
        return kept, config.labels * (h + 1) + (h * h + h if dense else 0)
    if "MaskedLM" in kind or "PreTraining" in kind:
        return 0, h * h + h + 2 * h + vocabulary
    if "TokenClassification" in kind or "QuestionAnswering" in kind:
        return 0, (config.labels if "Token" in kind else 2) * (h + 1)
    return pooled, 0


def _bert(config: Config) -> Shape:
    family = config.family
    h, vocabulary = config.number("hidden_size"), config.number("vocab_size")
    positions, f = config.number("max_position_embeddings"), config.number("intermediate_size")
    heads = config.number("num_attention_heads")
    narrow = config.number("embedding_size", default=h) if family == "electra" else h
    types = 0 if family == "mpnet" else config.number("type_vocab_size", default=2)
    below = (vocabulary + positions + types + 2) * narrow + (narrow * h + h if narrow != h else 0)
    if family == "mpnet":
        below += config.number("relative_attention_num_buckets", default=32) * heads
    # Longformer sees everything through projections of their own.
    extra = 3 * (h * h + h) if family == "longformer" else 0
    newer = family not in ("bert", "big_bird")
    dense = family != "bert"
    pooler = family != "electra"
    neck, head = _head(config, h, vocabulary, pooler=pooler, dense=dense)
    block = _block(h, f, heads, extra=extra, dropped=config.drops)
    return Shape(
        embeddings=below,
        blocks=(block,) * config.number("num_hidden_layers"),
        neck=neck,
        head=head,
        width=h,
        longest=positions - (2 if newer and family not in ("electra",) else 0),
    )


def _distilbert(config: Config) -> Shape:
    h, vocabulary = config.number("dim"), config.number("vocab_size")
    positions = config.number("max_position_embeddings")
    neck, head = _head(config, h, vocabulary, pooler=False, dense=True)
    block = _block(h, config.number("hidden_dim"), config.number("n_heads"), dropped=config.drops)
    return Shape(
        embeddings=(vocabulary + positions + 2) * h,
        blocks=(block,) * config.number("n_layers"),
        neck=neck,
        head=head,
        width=h,
        longest=positions,
    )


def _deberta(config: Config) -> Shape:
    """DeBERTa v2 and v3."""
    h, vocabulary = config.number("hidden_size"), config.number("vocab_size")
    f, heads = config.number("intermediate_size"), config.number("num_attention_heads")
    positions = config.number("max_position_embeddings", default=512)
    below = vocabulary * h + 2 * h + config.number("type_vocab_size", default=0) * h
    below += positions * h if config.flag("position_biased_input", True) else 0
    extra = 0
    if config.flag("relative_attention"):
        buckets = config.number("position_buckets", default=0)
        reach = config.number("max_relative_positions", default=0) or positions
        below += 2 * (buckets or reach) * h
        below += 2 * h if "layer_norm" in config.text("norm_rel_ebd", "none") else 0
        extra = 0 if config.flag("share_att_key") else 2 * (h * h + h)
    kernel = config.number("conv_kernel_size", default=0)
    below += h * h * kernel + h + 2 * h if kernel else 0
    kind = config.architecture
    classifies = "SequenceClassification" in kind
    # Its relative positions are no fused attention: the matrix of all pairs is kept, which is not counted here.
    return Shape(
        embeddings=below,
        blocks=(_block(h, f, heads, extra=extra, dropped=config.drops),) * config.number("num_hidden_layers"),
        head=h * h + h + config.labels * (h + 1) if classifies else 0,
        width=h,
        longest=positions,
        unknown=("what its relative attention keeps (a matrix of all pairs of tokens) is not counted",),
    )


def _modernbert(config: Config) -> Shape:
    h, f = config.number("hidden_size"), config.number("intermediate_size")
    layers, heads = config.number("num_hidden_layers"), config.number("num_attention_heads")
    linears = (Linear("Wqkv", h, 3 * h), Linear("attn.Wo", h, h), Linear("Wi", h, 2 * f), Linear("mlp.Wo", f, h))
    kept = Kept(h, h, h, heads, f, gated=True)
    # The first block has no norm before its attention.
    blocks = tuple(Block(linears, 2 * h - (h if i == 0 else 0), kept) for i in range(layers))
    classifies = "SequenceClassification" in config.architecture
    return Shape(
        embeddings=config.number("vocab_size") * h + h,
        blocks=blocks,
        neck=h,
        head=h * h + h + config.labels * (h + 1) if classifies else 0,
        width=h,
        longest=config.number("max_position_embeddings", default=0),
    )


def _albert(config: Config) -> Shape:
    h, narrow = config.number("hidden_size"), config.number("embedding_size")
    positions, groups = config.number("max_position_embeddings"), config.number("num_hidden_groups", default=1)
    block = _block(h, config.number("intermediate_size"), config.number("num_attention_heads"))
    classifies = "SequenceClassification" in config.architecture
    types = config.number("type_vocab_size", default=2)
    return Shape(
        embeddings=(config.number("vocab_size") + positions + types + 2) * narrow + narrow * h + h,
        blocks=(block,) * (groups * config.number("inner_group_num", default=1)),
        neck=h * h + h,
        head=config.labels * (h + 1) if classifies else 0,
        width=h,
        longest=positions,
        unknown=(f"its {config.number('num_hidden_layers')} layers share weights; what each keeps is counted once",),
    )


def _square(config: Config, name: str, default: int) -> tuple[int, int]:
    sides = config.numbers(name, (default,))
    return (sides[0], sides[-1])


def _vit(config: Config) -> Shape:
    """ViT, DeiT and DINOv2."""
    family, h = config.family, config.number("hidden_size")
    height, width = _square(config, "image_size", 224)
    patch = _square(config, "patch_size", 16)
    channels, heads = config.number("num_channels", default=3), config.number("num_attention_heads")
    patches = (height // patch[0]) * (width // patch[1])
    layers, extra, special = config.number("num_hidden_layers"), 0, 1
    if family == "dinov2":
        f, extra = h * config.number("mlp_ratio", default=4), 2 * h
    else:
        f = config.number("intermediate_size")
    special += family == "deit"
    below = special * h + (patches + special) * h + channels * patch[0] * patch[1] * h + h
    below += h if family == "dinov2" else 0  # the mask's vector
    kind = config.architecture
    classifies = "ImageClassification" in kind
    pooled = h * h + h if family in ("vit", "deit") and kind.endswith("Model") else 0
    outputs = config.labels * ((2 * h if family == "dinov2" else h) + 1)
    block = _block(h, f, heads, bias=config.flag("qkv_bias", True), along="pictures", extra=extra, dropped=config.drops)
    return Shape(
        embeddings=below,
        blocks=(block,) * layers,
        neck=2 * h + pooled,
        head=outputs if classifies else 0,
        width=h,
        patches=patches + special,
    )


def _wav2vec2(config: Config) -> Shape:
    """wav2vec 2.0 and HuBERT."""
    h, f, heads = (
        config.number("hidden_size"),
        config.number("intermediate_size"),
        config.number("num_attention_heads"),
    )
    widths = config.numbers("conv_dim", (512,) * 7)
    kernels = config.numbers("conv_kernel", (10, 3, 3, 3, 3, 2, 2))
    inputs = (1, *widths[:-1])
    below = sum(a * b * k for a, b, k in zip(inputs, widths, kernels, strict=True))
    below += sum(widths) if config.flag("conv_bias") else 0
    normed = widths[:1] if config.text("feat_extract_norm", "group") == "group" else widths
    below += 2 * sum(normed)
    below += (2 * widths[-1] if config.flag("feat_proj_layer_norm", True) else 0) + widths[-1] * h + h
    masks = any(float(config.values.get(name) or 0) > 0 for name in ("mask_time_prob", "mask_feature_prob"))
    below += h if masks else 0
    reach = config.number("num_conv_pos_embeddings", default=128)
    groups = config.number("num_conv_pos_embedding_groups", default=16)
    below += h * (h // groups) * reach + reach + h + 2 * h
    writes = "CTC" in config.architecture
    stride = prod(config.numbers("conv_stride", (5, 2, 2, 2, 2, 2, 2)))
    vocabulary = config.number("vocab_size", default=32)
    return Shape(
        embeddings=below,
        blocks=(_block(h, f, heads, along="sounds", dropped=config.drops),) * config.number("num_hidden_layers"),
        head=vocabulary * (h + 1) if writes else 0,
        width=h,
        frames=16_000 * 15 // stride,
        unknown=("how long the recordings are: 15 seconds each are assumed",),
    )


def _whisper(config: Config) -> Shape:
    d, mels = config.number("d_model"), config.number("num_mel_bins", default=80)
    frames = config.number("max_source_positions", default=1500)
    heard = mels * d * 3 + d + d * d * 3 + d + frames * d + 2 * d
    words = (config.number("vocab_size") + config.number("max_target_positions", default=448)) * d
    return two_stacks(config, below=heard + words, above=2 * d, keys_biased=False, frames=frames)


ENCODERS: Mapping[str, Callable[[Config], Shape]] = {
    **dict.fromkeys(
        ("bert", "roberta", "xlm-roberta", "camembert", "electra", "mpnet", "big_bird", "longformer"), _bert
    ),
    "distilbert": _distilbert,
    "deberta-v2": _deberta,
    "modernbert": _modernbert,
    "albert": _albert,
    "vit": _vit,
    "deit": _vit,
    "dinov2": _vit,
    "wav2vec2": _wav2vec2,
    "hubert": _wav2vec2,
    "whisper": _whisper,
}
"""Formulas by ``model_type``."""
