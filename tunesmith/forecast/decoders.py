"""Shapes of decoders and of models with two stacks from their config.json alone. It knows formulas and no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tunesmith.forecast.config_values import Config
from tunesmith.forecast.shapes import Block, Kept, Linear, Shape


def _tied(config: Config, default: bool) -> bool:
    return config.flag("tie_word_embeddings", default)


def language_head(config: Config, vocabulary: int, width: int, *, tied: bool, bias: bool = False) -> tuple[int, int]:
    """Numbers of a decoder's output layer and of a classifier on it; 0 for what the architecture has not."""
    kind = config.architecture
    if "Classification" in kind:
        return 0, config.labels * width
    if kind.endswith(("LMHeadModel", "ForCausalLM", "ForConditionalGeneration")) or not kind:
        return vocabulary * (bias + (0 if tied else width)), 0
    return 0, 0


def _llama(config: Config) -> Shape:
    """Llama and what is built like it: Mistral, Qwen, Gemma, Phi-3, SmolLM3, Mixtral, Granite."""
    family = config.family
    h, heads = config.number("hidden_size"), config.number("num_attention_heads")
    keys = config.number("num_key_value_heads", default=heads)
    size = config.number("head_dim", default=h // max(1, heads))
    f, vocabulary = config.number("intermediate_size"), config.number("vocab_size")
    bias = config.flag("attention_bias", family.startswith("qwen2"))
    if family == "phi3":
        attention: tuple[Linear, ...] = (
            Linear("qkv_proj", h, (heads + 2 * keys) * size),
            Linear("o_proj", heads * size, h),
        )
        inner: tuple[Linear, ...] = (Linear("gate_up_proj", h, 2 * f), Linear("down_proj", f, h))
    else:
        last = bias and family not in ("qwen2", "qwen2_moe")
        attention = (
            Linear("q_proj", h, heads * size, bias),
            Linear("k_proj", h, keys * size, bias),
            Linear("v_proj", h, keys * size, bias),
            Linear("o_proj", heads * size, h, last),
        )
        wide = config.flag("mlp_bias")
        inner = (
            Linear("gate_proj", h, f, wide),
            Linear("up_proj", h, f, wide),
            Linear("down_proj", f, h, wide),
        )
    rest, norms, of_heads = 0, 2, family in ("qwen3", "qwen3_moe", "gemma3", "gemma3_text")
    if family.startswith(("gemma2", "gemma3")):
        norms = 4
    experts = config.number("num_local_experts", "num_experts", default=0)
    if experts and family in ("mixtral", "qwen3_moe"):
        # Experts are stacked tensors, no linear layers: an adapter on all-linear passes them over.
        f = config.number("moe_intermediate_size", default=f) if family == "qwen3_moe" else f
        inner, rest = (Linear("gate", h, experts),), experts * 3 * h * f
        f *= config.number("num_experts_per_tok", default=1)
    rest += norms * h + (2 * size if of_heads else 0)
    kept = Kept(h, heads * size, keys * size, heads, f, gated=True, norms=norms, rms=family.startswith("gemma"))
    block = Block((*attention, *inner), rest, kept)
    tied = _tied(config, family.startswith("gemma"))
    output, head = language_head(config, vocabulary, h, tied=tied)
    return Shape(
        embeddings=vocabulary * h,
        blocks=(block,) * config.number("num_hidden_layers"),
        neck=h + output,
        head=head,
        width=h,
        vocabulary=vocabulary if not head else 0,
        longest=config.number("max_position_embeddings", default=0),
    )


def _plain(
    config: Config,
    *,
    h: int,
    layers: int,
    heads: int,
    f: int,
    attention: tuple[Linear, ...],
    inner: tuple[Linear, ...],
    keys: int | None = None,
    norms: int = 2,
    embeddings: int,
    above: int,
    tied: bool,
    bias: bool = False,
    longest: int = 0,
) -> Shape:
    """A decoder with layer norms and an inner network of two matrices."""
    vocabulary = config.number("vocab_size")
    kept = Kept(h, h, h if keys is None else keys, heads, f, norms=norms, masks=2 * h * config.drops)
    output, head = language_head(config, vocabulary, h, tied=tied, bias=bias)
    return Shape(
        embeddings=embeddings,
        blocks=(Block((*attention, *inner), 2 * h * norms, kept),) * layers,
        neck=above + output,
        head=head,
        width=h,
        vocabulary=vocabulary if not head else 0,
        longest=longest,
    )


def _gpt2(config: Config) -> Shape:
    h, longest = config.number("n_embd", "hidden_size"), config.number("n_positions", "max_position_embeddings")
    f, vocabulary = config.number("n_inner", default=4 * h), config.number("vocab_size")
    return _plain(
        config,
        h=h,
        layers=config.number("n_layer", "num_hidden_layers"),
        heads=config.number("n_head", "num_attention_heads"),
        f=f,
        attention=(Linear("c_attn", h, 3 * h, True), Linear("attn.c_proj", h, h, True)),
        inner=(Linear("c_fc", h, f, True), Linear("mlp.c_proj", f, h, True)),
        embeddings=(vocabulary + longest) * h,
        above=2 * h,
        tied=_tied(config, True),
        longest=longest,
    )


def _opt(config: Config) -> Shape:
    h, f, vocabulary = config.number("hidden_size"), config.number("ffn_dim"), config.number("vocab_size")
    narrow, longest = config.number("word_embed_proj_dim", default=h), config.number("max_position_embeddings")
    bias = config.flag("enable_bias", True)
    last = config.flag("do_layer_norm_before", True) and not config.flag("_remove_final_layer_norm")
    between = 2 * narrow * h if narrow != h else 0
    return _plain(
        config,
        h=h,
        layers=config.number("num_hidden_layers"),
        heads=config.number("num_attention_heads"),
        f=f,
        attention=tuple(Linear(name, h, h, bias) for name in ("k_proj", "v_proj", "q_proj", "out_proj")),
        inner=(Linear("fc1", h, f, bias), Linear("fc2", f, h, bias)),
        embeddings=vocabulary * narrow + (longest + 2) * h + between,
        above=2 * h if last else 0,
        tied=_tied(config, True),
        longest=longest,
    )


def _falcon(config: Config) -> Shape:
    h, heads = config.number("hidden_size"), config.number("num_attention_heads", "n_head")
    size, bias = h // max(1, heads), config.flag("bias")
    newer, parallel = config.flag("new_decoder_architecture"), config.flag("parallel_attn", True)
    keys = config.number("num_kv_heads", default=heads) if newer else 1 if config.flag("multi_query", True) else heads
    f = config.number("ffn_hidden_size", default=4 * h)
    two = config.number("num_ln_in_parallel_attn", default=2) == 2 if newer else not parallel
    return _plain(
        config,
        h=h,
        layers=config.number("num_hidden_layers", "n_layer"),
        heads=heads,
        f=f,
        keys=keys * size,
        attention=(Linear("query_key_value", h, (heads + 2 * keys) * size, bias), Linear("dense", h, h, bias)),
        inner=(Linear("dense_h_to_4h", h, f, bias), Linear("dense_4h_to_h", f, h, bias)),
        norms=2 if two else 1,
        embeddings=config.number("vocab_size") * h,
        above=2 * h,
        tied=_tied(config, True),
        longest=config.number("max_position_embeddings", default=2048),
    )


def _bloom(config: Config) -> Shape:
    h = config.number("hidden_size", "n_embed")
    return _plain(
        config,
        h=h,
        layers=config.number("n_layer", "num_hidden_layers"),
        heads=config.number("n_head", "num_attention_heads"),
        f=4 * h,
        attention=(Linear("query_key_value", h, 3 * h, True), Linear("self_attention.dense", h, h, True)),
        inner=(Linear("dense_h_to_4h", h, 4 * h, True), Linear("dense_4h_to_h", 4 * h, h, True)),
        embeddings=config.number("vocab_size") * h + 2 * h,
        above=2 * h,
        tied=_tied(config, True),
    )


def _phi(config: Config) -> Shape:
    """Phi and GPT-NeoX: biases everywhere, attention and inner network side by side."""
    h, f = config.number("hidden_size"), config.number("intermediate_size")
    heads, neox = config.number("num_attention_heads"), config.family == "gpt_neox"
    keys = config.number("num_key_value_heads", default=heads) * (h // max(1, heads))
    if neox:
        attention: tuple[Linear, ...] = (
            Linear("query_key_value", h, 3 * h, True),
            Linear("attention.dense", h, h, True),
        )
        inner: tuple[Linear, ...] = (Linear("dense_h_to_4h", h, f, True), Linear("dense_4h_to_h", f, h, True))
    else:
        attention = (
            Linear("q_proj", h, h, True),
            Linear("k_proj", h, keys, True),
            Linear("v_proj", h, keys, True),
            Linear("dense", h, h, True),
        )
        inner = (Linear("fc1", h, f, True), Linear("fc2", f, h, True))
    return _plain(
        config,
        h=h,
        layers=config.number("num_hidden_layers"),
        heads=heads,
        f=f,
        keys=h if neox else keys,
        attention=attention,
        inner=inner,
        norms=2 if neox else 1,
        embeddings=config.number("vocab_size") * h,
        above=2 * h,
        tied=_tied(config, False),
        bias=not neox,
        longest=config.number("max_position_embeddings", default=0),
    )


def _t5(config: Config) -> Shape:
    d, f, size = config.number("d_model"), config.number("d_ff"), config.number("d_kv")
    heads, vocabulary = config.number("num_heads"), config.number("vocab_size")
    layers = config.number("num_layers")
    named = config.text("feed_forward_proj", "relu")
    gated = config.flag("is_gated_act", named.startswith("gated"))
    inside = heads * size

    def attention(name: str) -> tuple[Linear, ...]:
        projections = tuple(Linear(f"{name}.{part}", d, inside) for part in "qkv")
        return (*projections, Linear(f"{name}.o", inside, d))

    first = ("wi_0", "wi_1") if gated else ("wi",)
    inner = (*(Linear(name, d, f) for name in first), Linear("wo", f, d))
    kept = Kept(d, inside, inside, heads, f, gated=gated, norms=2, rms=True, masks=2 * d * config.drops)
    crossed = Kept(d, 2 * inside, 2 * inside, 2 * heads, f, gated=gated, norms=3, rms=True, masks=3 * d * config.drops)
    below = Block((*attention("SelfAttention"), *inner), 2 * d, kept)
    above = Block((*attention("SelfAttention"), *attention("EncDecAttention"), *inner), 3 * d, crossed)
    decoder = config.number("num_decoder_layers", default=layers)
    kind, buckets = config.architecture, config.number("relative_attention_num_buckets", default=32)
    only = "EncoderModel" in kind
    untied = "ForConditionalGeneration" in kind and not _tied(config, True)
    return Shape(
        embeddings=vocabulary * d + buckets * heads * (1 if only else 2),
        blocks=(below,) * layers + ((above,) * decoder if not only else ()),
        neck=d * (1 if only else 2) + (vocabulary * d if untied else 0),
        head=d * d + d + config.labels * (d + 1) if "Classification" in kind else 0,
        width=d,
        vocabulary=vocabulary if "ForConditionalGeneration" in kind else 0,
        longest=config.number("n_positions", default=512),
    )


def two_stacks(config: Config, *, below: int, above: int, keys_biased: bool, frames: int = 0, head: int = 0) -> Shape:
    """BART's two stacks, which Whisper has, too.

    Args:
        config: With ``d_model``, layers, heads and inner widths of both.
        below: Numbers beneath the encoder's blocks and between the stacks.
        above: Numbers above the decoder's blocks.
        keys_biased: Whether keys have a bias.
        frames: Positions of the encoder where sounds are heard; 0: it reads tokens.
        head: Numbers of the head.
    """
    d, vocabulary = config.number("d_model"), config.number("vocab_size")

    def attention(prefix: str) -> tuple[Linear, ...]:
        bias = {"k_proj": keys_biased}
        names = ("k_proj", "v_proj", "q_proj", "out_proj")
        return tuple(Linear(f"{prefix}.{name}", d, d, bias.get(name, True)) for name in names)

    def stack(kind: str, crossed: bool) -> tuple[Block, ...]:
        f, heads = config.number(f"{kind}_ffn_dim"), config.number(f"{kind}_attention_heads")
        linears = (*attention("self_attn"), *(attention("encoder_attn") if crossed else ()))
        times = 2 if crossed else 1
        kept = Kept(d, times * d, times * d, times * heads, f, norms=times + 1, masks=(times + 1) * d * config.drops)
        inner = (Linear("fc1", d, f, True), Linear("fc2", f, d, True))
        along = "sounds" if frames and not crossed else "tokens"
        block = Block((*linears, *inner), 2 * d * (times + 1), kept, along)
        return (block,) * config.number(f"{kind}_layers")

    return Shape(
        embeddings=below,
        blocks=stack("encoder", False) + stack("decoder", True),
        neck=above,
        head=head,
        width=d,
        vocabulary=vocabulary,
        longest=config.number("max_target_positions", "max_position_embeddings", default=0),
        frames=frames,
    )


def _bart(config: Config) -> Shape:
    d, vocabulary = config.number("d_model"), config.number("vocab_size")
    positions = config.number("max_position_embeddings") + 2
    head = d * d + d + config.labels * (d + 1) if "Classification" in config.architecture else 0
    return two_stacks(config, below=vocabulary * d + 2 * positions * d + 4 * d, above=0, keys_biased=True, head=head)


_LLAMA = (
    "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "smollm3", "mixtral", "qwen3_moe",
    "granite",
)  # fmt: skip
DECODERS: Mapping[str, Callable[[Config], Shape]] = {
    **dict.fromkeys(_LLAMA, _llama),
    "gpt2": _gpt2,
    "opt": _opt,
    "falcon": _falcon,
    "bloom": _bloom,
    "phi": _phi,
    "gpt_neox": _phi,
    "t5": _t5,
    "mt5": _t5,
    "bart": _bart,
}
"""Formulas by ``model_type``."""
