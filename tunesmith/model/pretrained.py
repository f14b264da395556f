"""Loading through transformers: quiet, from safetensors, in fp32, and with the names of what the weights did not hold.

It knows no task and no recipe.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.model.weights import Weights


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no reports from transformers while it loads: what matters in them is returned instead."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def diffusers() -> Any:
    """The library diffusers. It looks at bitsandbytes, which reports that a kernel of 4 bit is not there: not ours.

    Raises:
        UserError: It is not installed.
    """
    import logging

    try:
        import diffusers as library
    except ModuleNotFoundError as fault:
        what = f"image generation needs the package diffusers, which can't be imported here ({fault})"
        raise UserError(what, "", 'pip install "tunesmith[generation]"') from fault

    logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(_no_missing_kernel)
    return library


def _no_missing_kernel(record: Any) -> bool:
    return not str(record.msg).startswith("Failed to load CPU gemm_4bit_forward")


def load_config(source: Weights, **changes: Any) -> Any:
    """The model's configuration.

    Raises:
        UserError: It can't be read, or names an architecture that transformers does not know.
    """
    from transformers import AutoConfig

    try:
        with quiet():
            return AutoConfig.from_pretrained(
                str(source.folder), local_files_only=True, trust_remote_code=_trusted(source), **changes
            )
    except (ValueError, KeyError, OSError, json.JSONDecodeError) as fault:
        raise UserError(
            f"model: transformers can't read the configuration of {source.name!r}: {_first_line(fault)}",
            str(Path(source.folder) / "config.json"),
            "name a model whose config.json has a model_type that the installed transformers knows",
        ) from fault


def torch_dtype(held: str) -> Any:
    """The torch type that weights are held in: ``fp32``, ``bf16`` or ``fp16``; of ``nf4`` what is not in 4 bit."""
    import torch

    return {"fp32": torch.float32, "fp16": torch.float16}.get(held, torch.bfloat16)


def load_model(
    auto: Any, source: Weights, config: Any, *, held: str = "fp32", **settings: Any
) -> tuple[Any, frozenset[str]]:
    """A model through a transformers auto class.

    Args:
        auto: For example ``AutoModelForSequenceClassification``.
        source: The weights.
        config: From ``load_config``.
        held: ``fp32``, ``bf16`` or ``fp16``.

    Returns:
        The model, and the names of parameters that the weights did not hold or held in another shape.

    Raises:
        UserError: The auto class has no model for this architecture.
    """
    try:
        with quiet():
            model, report = auto.from_pretrained(
                str(source.folder),
                config=config,
                dtype=torch_dtype(held),
                local_files_only=True,
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                trust_remote_code=_trusted(source),
                **settings,
            )
    except (ValueError, OSError) as fault:
        raise UserError(
            f"model: {source.name!r} can't be loaded as {auto.__name__}: {_first_line(fault)}",
            str(source.folder),
            "choose a model that is made for this task",
        ) from fault
    fresh = set(report["missing_keys"]) | {str(entry[0]) for entry in report["mismatched_keys"]}
    return model, frozenset(fresh & {name for name, _ in model.named_parameters()})


def load_decoder(source: Weights, config: Any, held: str) -> tuple[Any, frozenset[str]]:
    """A decoder with its language head, as ``load_model`` gives it; in 4 bit where ``held`` is ``nf4``."""
    from transformers import AutoModelForCausalLM

    if held == "nf4":
        from tunesmith.model.quantized import load_quantized

        return load_quantized(AutoModelForCausalLM, source, config)
    return load_model(AutoModelForCausalLM, source, config, held=held)


def decoder_shape(config: Any, held: str) -> Any:
    """The same on the meta device: shapes and bytes, no numbers."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"), quiet():
        model = AutoModelForCausalLM.from_config(config, dtype=torch_dtype(held))
    if held == "nf4":
        from tunesmith.model.quantized import quantized_shape

        quantized_shape(model)
    return model


def processor_class(source: Weights) -> str | None:
    """Transformers' name of what prepares pictures for a model (``ViTImageProcessor``); None where it says nothing."""
    file = Path(source.folder) / "preprocessor_config.json"
    kept = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    named = kept.get("image_processor_type") or kept.get("feature_extractor_type")
    return None if named is None else str(named).replace("FeatureExtractor", "ImageProcessor")


def generation_config(stop: Sequence[int], pad: int) -> Any:
    """Settings of transformers' ``generate``: greedy, ending at any of ``stop``."""
    from transformers import GenerationConfig

    return GenerationConfig(eos_token_id=list(stop), pad_token_id=pad, do_sample=False)


def end_tokens(folder: Path) -> list[int]:
    """Ids at which a folder's generation settings end an answer; none where it has no settings."""
    file = folder / "generation_config.json"
    said = json.loads(file.read_text(encoding="utf-8")).get("eos_token_id") if file.is_file() else None
    return [int(one) for one in (said if isinstance(said, list) else [] if said is None else [said])]


def load_tokenizer(source: Weights) -> Any:
    """The model's tokenizer; one without a padding token pads with its end token.

    Raises:
        UserError: There is none, or it has neither token.
    """
    from transformers import AutoTokenizer

    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(
                str(source.folder), local_files_only=True, trust_remote_code=_trusted(source)
            )
    except (ValueError, OSError, KeyError, ImportError) as fault:
        raise UserError(
            f"model: the tokenizer of {source.name!r} can't be loaded: {_first_line(fault)}",
            str(source.folder),
            "put tokenizer.json and tokenizer_config.json beside the weights",
        ) from fault
    names = {"tokenizer.json", "tokenizer.model", *getattr(tokenizer, "vocab_files_names", {}).values()}
    if len(names) > 2 and not any((Path(source.folder) / name).is_file() for name in names):
        # transformers builds an empty one then, to which every word is unknown.
        raise UserError(
            f"model: {source.name!r} has no vocabulary, so its tokenizer can't be loaded",
            str(source.folder),
            "put tokenizer.json and tokenizer_config.json beside the weights",
        )
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise UserError(
                f"model: the tokenizer of {source.name!r} has neither a padding nor an end token",
                str(source.folder),
                "add a pad_token to its tokenizer_config.json",
            )
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _trusted(source: Weights) -> bool:
    """Whether the folder's own Python code may run: only where the recipe names its commit.

    Raises:
        UserError: The code would come from another repository, whose commit nobody named.
    """
    if source.remote_code is None:
        return False
    for file in ("config.json", "tokenizer_config.json"):
        path = Path(source.folder) / file
        settings = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        elsewhere = [v for v in _texts(settings.get("auto_map", {})) if "--" in v]
        if elsewhere:
            raise UserError(
                f"model.remote_code: {file} takes code from another repository: {elsewhere[0].split('--')[0]}",
                str(path),
                "put that code into the model's own repository, or choose another model",
            )
    return True


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for inner in value.values() for text in _texts(inner)]
    if isinstance(value, (list, tuple)):
        return [text for inner in value for text in _texts(inner)]
    return [value] if isinstance(value, str) else []


def longest_input(config: Any, tokenizer: Any) -> int | None:
    """Most tokens that a model takes, as its position table and its tokenizer say; None where neither does."""
    limits = []
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        # The RoBERTa family counts its positions from the padding index on, so two of them are never used.
        offset = (config.pad_token_id or 0) + 1 if config.model_type in _OFFSET else 0
        limits.append(positions - offset)
    if 0 < tokenizer.model_max_length < 10**9:
        limits.append(tokenizer.model_max_length)
    return min(limits) if limits else None


def chosen_length(source: Weights, tokenizer: Any, wanted: int | str, lengths: Any) -> int:
    """Most tokens of a text: the number wanted where the model takes it, or for ``auto`` what nearly all texts have.

    Args:
        source: The weights.
        tokenizer: Theirs.
        wanted: A number, or ``auto`` for the 99.5th percentile in steps of eight, bounded by the model.
        lengths: Tokens of the texts, [texts].

    Raises:
        UserError: The model takes fewer tokens, or adds so many of its own that no text is left.
    """
    import numpy as np

    longest = longest_input(load_config(source), tokenizer)
    if not isinstance(wanted, int):
        usual = int(-(-np.percentile(lengths, 99.5) // 8) * 8)
        return min(usual, longest) if longest else usual
    special = tokenizer.num_special_tokens_to_add()
    if longest and wanted > longest:
        what, least = f"are more than the {longest} that the model takes", f"at most {longest}"
    elif wanted <= special:
        what, least = f"leave no room for the text: the model adds {special} of its own", f"at least {special + 1}"
    else:
        return wanted
    fix = f"write {least}, or auto"
    raise UserError(f"options.max_length: {wanted} tokens {what}", "recipe: options.max_length", fix)


_OFFSET = (
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "camembert",
    "mpnet",
    "longformer",
    "xmod",
    "ibert",
    "luke",
    "data2vec-text",
)


def absent_parameters(source: Weights, model: Any) -> frozenset[str]:
    """Names of parameters outside the repeated layers that the weights do not hold, from the files' headers alone.

    What ``load_model`` would call fresh, without loading: a new head, or a pooler that was never pretrained. Repeated
    layers are left out, since transformers renames and joins their weights for some families. Where there are no files
    (a plan from the configuration alone) the class that was saved tells: the head is fresh unless it is this one.
    """
    from safetensors import safe_open

    if not source.files:
        return _beside_trunk(model) if type(model).__name__ not in saved_classes(source) else frozenset()
    held: dict[str, tuple[int, ...]] = {}
    for file in source.files:
        with safe_open(file, framework="pt") as tensors:
            held |= {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    prefix = f"{model.base_model_prefix}."

    def known(name: str, shape: tuple[int, ...]) -> bool:
        old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        spelled = [s for n in (name, old) for s in (n, n.removeprefix(prefix), prefix + n)]
        return any(held.get(s) == shape for s in spelled)

    return frozenset(
        name
        for name, parameter in model.named_parameters()
        if not any(part.isdecimal() for part in name.split(".")) and not known(name, tuple(parameter.shape))
    )


def saved_classes(source: Weights) -> list[str]:
    """Names of the classes that a configuration says its weights are of; none where it does not say."""
    return [str(name) for name in getattr(load_config(source), "architectures", None) or ()]


def _beside_trunk(model: Any) -> frozenset[str]:
    prefix = f"{model.base_model_prefix}."
    return frozenset(name for name, _ in model.named_parameters() if not name.startswith(prefix))


def stored_labels(config: Any) -> list[str]:
    """The label table that a configuration carries, in the order of the head's outputs."""
    stored = getattr(config, "id2label", None) or {}
    return [str(stored[i]) for i in sorted(stored)]


def renew_output(model: Any, head: set[str], labels: int) -> frozenset[str]:
    """Draw the head's output layer anew.

    Args:
        model: A transformers classifier.
        head: Names of the head's parameters.
        labels: Number of outputs, by which the layer is known.

    Returns:
        The names of its parameters.
    """
    from torch import nn

    names: set[str] = set()
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and module.out_features == labels and f"{name}.weight" in head:
            nn.init.normal_(module.weight, std=getattr(model.config, "initializer_range", 0.02))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            names |= {f"{name}.{key}" for key, _ in module.named_parameters()}
    return frozenset(names)


def _first_line(fault: Exception) -> str:
    lines = str(fault).strip().splitlines()
    return lines[0][:300] if lines else type(fault).__name__


_PROCESSOR_FILES = (
    "config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "*.spm",
    "*.jinja",
    "*processor_config.json",
)


def copy_processor(source: Weights, folder: Path) -> None:
    """Copy what turns raw input into tensors from the weights' folder into another one, where it is not there yet."""
    import shutil

    found = (f for pattern in _PROCESSOR_FILES for f in Path(source.folder).glob(pattern) if f.is_file())
    for file in found:
        if not (folder / file.name).exists():
            shutil.copyfile(file, folder / file.name)
