"""Adapters on a model: put on, taken off, merged, and read and written in peft's file format.

It knows the names of layers. What a low-rank layer computes is in ``lora``, how it is written in ``peft_format``; it
knows no recipe file, stage or optimizer.
"""

from __future__ import annotations

import difflib
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tunesmith.errors import UserError
from tunesmith.model import peft_format
from tunesmith.model.lora import LoraLinear
from tunesmith.model.new_tokens import layers_of, put_rows
from tunesmith.model.peft_format import AdapterFiles
from tunesmith.recipe.sections import AdapterSection

ALL_LINEAR = "all-linear"

# peft trains and saves these by itself for such a task, and cannot load an adapter file that lacks them.
_HEADS = {"SEQ_CLS": ("classifier", "score"), "TOKEN_CLS": ("classifier", "score"), "QUESTION_ANS": ("qa_outputs",)}


def attach(model: nn.Module, blocks: Sequence[nn.Module], settings: AdapterSection, *, seed: int) -> list[str]:
    """Put a low-rank update on the linear layers that ``settings.targets`` names inside ``blocks``.

    The layers' own parameters are frozen; nothing else is. Each update's start depends on ``seed`` and the layer's
    name alone, so it does not change with the order or the number of the others. The model computes what it did
    before until an update learns.

    Returns:
        The layers' names in ``model``, in its order.

    Raises:
        UserError: A name that no linear layer of the blocks has, or a layer that can't carry an adapter.
    """
    if any(True for _ in _adapters(model)):
        raise ValueError("the model has adapters already: merge or detach them first")
    layers = _linear_layers(model, blocks)
    targets = _chosen(model, layers, settings.targets)
    _check_layers(model, targets, dora=settings.dora)
    alpha = 2.0 * settings.r if settings.alpha is None else settings.alpha
    for name, places in targets.items():
        adapter = LoraLinear(
            model.get_submodule(name),
            r=settings.r,
            alpha=alpha,
            rslora=settings.rslora,
            dropout=settings.dropout,
            dora=settings.dora,
            generator=_generator(seed, name),
        )
        _replace(model, places, adapter)
    return list(targets)


def detach(model: nn.Module) -> None:
    """Take the adapters off; the frozen layers stand where they were, unchanged and still frozen."""
    for name, adapter in list(_adapters(model)):
        _replace(model, _places(model, name), adapter.base_layer)


def merge(model: nn.Module) -> float:
    """Add each update to its frozen weight in place (computed in fp32) and take the adapters off.

    Returns:
        The largest absolute difference that rounding to the weight's own dtype made; 0 where that is fp32.

    Raises:
        UserError: A quantized layer, whose weight can't be written.
    """
    adapters = list(_adapters(model))
    for name, adapter in adapters:
        if not adapter.plain:
            kind = type(adapter.base_layer).__name__
            raise UserError(
                f"an adapter can't be merged into a layer of class {kind}",
                where=name,
                fix="load the model without quantization and merge there, or keep the adapter apart",
            )
    largest = 0.0
    with torch.no_grad():
        for name, adapter in adapters:
            exact = adapter.merged_weight()
            adapter.weight.copy_(exact)
            if exact.numel():
                largest = max(largest, float((adapter.weight.float() - exact).abs().max()))
            _replace(model, _places(model, name), adapter.base_layer)
    return largest


@contextmanager
def disabled(model: nn.Module) -> Iterator[None]:
    """Switch the adapters off for a while: the model computes exactly what it did before ``attach``."""
    adapters = [adapter for _, adapter in _adapters(model)]
    before = [adapter.enabled for adapter in adapters]
    try:
        for adapter in adapters:
            adapter.enabled = False
        yield
    finally:
        for adapter, enabled in zip(adapters, before, strict=True):
            adapter.enabled = enabled


def adapter_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The adapters' parameters by their names in ``model``."""
    return {
        f"{name}.{part}": parameter
        for name, adapter in _adapters(model)
        for part, parameter in adapter.named_parameters(recurse=False)
    }


def save_adapter(
    model: nn.Module,
    folder: str | Path,
    *,
    base_name: str,
    task_type: str | None,
    modules_to_save: Sequence[str] = (),
) -> None:
    """Write the adapters in peft's format: ``adapter_config.json`` and ``adapter_model.safetensors``.

    Args:
        model: The model that carries them.
        folder: Where to write; made if need be.
        base_name: Hub id or folder of the base model.
        task_type: peft's name of the task (``SEQ_CLS``, ``CAUSAL_LM``, ...), or None.
        modules_to_save: Names (or ends of names) of modules that are saved whole, as a trained head; those that peft
            expects with the task are added.

    Raises:
        UserError: A name in ``modules_to_save`` that no module has.
    """
    adapters = dict(_adapters(model))
    if not adapters:
        raise ValueError("the model has no adapters to save")
    names = _whole_modules(model, modules_to_save, task_type)
    whole = {f"{name}.{key}": value for name in names for key, value in model.get_submodule(name).state_dict().items()}
    rows = layers_of(model)
    whole |= {f"{name}{peft_format.ROWS_KEY}": module.rows for name, module in rows.items()}
    config = _config(model, adapters) | {
        "base_model_name_or_path": base_name,
        "task_type": task_type,
        "modules_to_save": sorted(names) or None,
        "trainable_token_indices": {n.rpartition(".")[2]: list(m.tokens) for n, m in rows.items()} or None,
    }
    peft_format.write(Path(folder), config, adapter_parameters(model), whole)


def load_adapter(model: nn.Module, source: str | Path | AdapterFiles) -> list[str]:
    """Put an adapter (its folder, or what was read from one) on ``model`` and fill in the modules saved whole.

    Where the model carries adapters already, they must be the same layers, rank, scale and kind; only their values
    are then replaced.

    Returns:
        The names of the layers that carry an adapter.

    Raises:
        UserError: Files that are missing or broken, an adapter of another kind, or of another model.
    """
    files = source if isinstance(source, AdapterFiles) else peft_format.read(Path(source))
    check_fits(model, files)
    present = dict(_adapters(model))
    if present:
        _check_same(present, files)
    else:
        _attach_read(model, files)
    own = dict(_adapters(model))
    state = model.state_dict()
    with torch.no_grad():
        for name, parts in files.updates.items():
            for part, value in parts.items():
                own[name].get_parameter(part).copy_(value)
        for key, value in files.whole.items():
            state[key].copy_(value)
    put_rows(model, {n: (files.token_ids(n), value) for n, value in files.rows.items()}, str(files.folder))
    return list(own)


def _adapters(model: nn.Module) -> Iterator[tuple[str, LoraLinear]]:
    for name, module in model.named_modules():
        if isinstance(module, LoraLinear):
            yield name, module


def _is_linear(module: nn.Module) -> bool:
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, nn.Linear | Conv1D)


def _linear_layers(model: nn.Module, blocks: Sequence[nn.Module]) -> dict[str, list[str]]:
    """Each linear layer of the blocks by its first name in the model, with every name it has there."""
    inside = {id(module) for block in blocks for module in block.modules()}
    names: dict[int, list[str]] = defaultdict(list)
    for name, module in model.named_modules(remove_duplicate=False):
        if name and id(module) in inside and _is_linear(module):
            names[id(module)].append(name)
    return {places[0]: places for places in names.values()}


def _chosen(model: nn.Module, layers: Mapping[str, list[str]], targets: str | list[str]) -> dict[str, list[str]]:
    """The layers that ``targets`` names: all, or those whose name is or ends with one of the list, as in peft."""
    if targets == ALL_LINEAR:
        if not layers:
            raise UserError(
                f"adapter.targets: the blocks of {type(model).__name__} have no linear layers",
                where=type(model).__name__,
                fix="train this model without an adapter",
            )
        return dict(layers)
    wanted = [targets] if isinstance(targets, str) else targets
    if not wanted:
        raise UserError("adapter.targets: the list is empty", fix=f"write {ALL_LINEAR}, or the names of the layers")
    for target in wanted:
        if not any(_ends_with(name, target) for places in layers.values() for name in places):
            raise _no_such_layer(model, layers, target)
    return {
        name: places
        for name, places in layers.items()
        if any(_ends_with(place, target) for place in places for target in wanted)
    }


def _no_such_layer(model: nn.Module, layers: Mapping[str, list[str]], target: str) -> UserError:
    what = f"adapter.targets: no linear layer of the blocks is called '{target}'"
    elsewhere = next((name for name, _ in model.named_modules() if _ends_with(name, target)), None)
    if elsewhere is not None:
        module = model.get_submodule(elsewhere)
        why = "outside the blocks" if _is_linear(module) else f"of class {type(module).__name__}"
        what += f" ('{elsewhere}' is {why})"
    last = sorted({name.rpartition(".")[2] for name in layers})
    known = [*last, *layers, ALL_LINEAR]
    close = difflib.get_close_matches(target, known, n=1)
    fix = f"did you mean '{close[0]}'? " if close else ""
    return UserError(what, where=type(model).__name__, fix=f"{fix}the layers are: {', '.join([*last, ALL_LINEAR])}")


def _ends_with(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _check_layers(model: nn.Module, targets: Mapping[str, list[str]], *, dora: bool) -> None:
    """Refuse the layers where an adapter would be overlooked or would change a second layer."""
    owners: dict[int, set[int]] = defaultdict(set)
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                owners[id(parameter)].add(id(module))
    for name in targets:
        layer = model.get_submodule(name)
        parent = model.get_submodule(name.rpartition(".")[0])
        fix = "leave it out of adapter.targets"
        if isinstance(parent, nn.MultiheadAttention | nn.TransformerEncoderLayer):
            # Both hand the weight itself to a fused kernel, past the layer's forward.
            kind = type(parent).__name__
            raise UserError(f"torch's {kind} does not call this layer, so an adapter is overlooked", name, fix)
        if any(len(owners[id(parameter)]) > 1 for parameter in layer.parameters()):
            raise UserError("this layer shares its weight with another one, which an adapter would change", name, fix)
        if dora and type(layer) is not nn.Linear and isinstance(layer, nn.Linear):
            kind = type(layer).__name__
            raise UserError(f"adapter.dora needs the weight itself, which a {kind} hides", name, "set dora: false")


def _places(model: nn.Module, name: str) -> list[str]:
    """Every name that the module called ``name`` has in the model."""
    module = model.get_submodule(name)
    return [place for place, other in model.named_modules(remove_duplicate=False) if other is module]


def _replace(model: nn.Module, places: Sequence[str], module: nn.Module) -> None:
    for place in places:
        parent, _, last = place.rpartition(".")
        old = model.get_submodule(place)
        module.train(old.training)
        setattr(model.get_submodule(parent), last, module)


def _generator(seed: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}/adapter/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _whole_modules(model: nn.Module, names: Sequence[str], task_type: str | None) -> list[str]:
    """Full names of the modules that are saved whole."""
    present = [name for name, _ in model.named_modules() if name]
    heads = [name for name in _HEADS.get(task_type or "", ()) if any(_ends_with(other, name) for other in present)]
    for name in names:
        if not any(_ends_with(other, name) for other in present):
            close = difflib.get_close_matches(name, present, n=1)
            fix = f"did you mean '{close[0]}'?" if close else "name a module of the model"
            raise UserError(f"modules_to_save: no module is called '{name}'", where=type(model).__name__, fix=fix)
    # peft goes by the end of the name alone, and misses a module that it expects.
    whole = [other for other in present if any(other.endswith(name) for name in (*names, *heads))]
    return [name for name in whole if not any(name.startswith(f"{other}.") for other in whole)]


def _config(model: nn.Module, adapters: Mapping[str, LoraLinear]) -> dict[str, Any]:
    """The settings of the adapters in peft's names; it has a default for each one that is not here."""
    first = next(iter(adapters.values()))
    r = Counter(adapter.r for adapter in adapters.values()).most_common(1)[0][0]
    alpha = Counter(adapter.alpha for adapter in adapters.values()).most_common(1)[0][0]
    return {
        "peft_type": "LORA",
        "r": r,
        "lora_alpha": _whole_number(alpha),
        "rank_pattern": {name: adapter.r for name, adapter in adapters.items() if adapter.r != r},
        "alpha_pattern": {name: _whole_number(a.alpha) for name, a in adapters.items() if a.alpha != alpha},
        "lora_dropout": getattr(first.lora_dropout, "p", 0.0),
        "use_rslora": first.rslora,
        "use_dora": first.lora_magnitude_vector is not None,
        "target_modules": _target_names(model, set(adapters)),
        "fan_in_fan_out": first.transposed,
        "bias": "none",
        "init_lora_weights": True,
        "inference_mode": True,
    }


def _target_names(model: nn.Module, targets: set[str]) -> list[str]:
    """The last parts of the names where they mean these layers and no others in the model, else the full names."""
    last = {name.rpartition(".")[2] for name in targets}
    meant = {name for name, _ in model.named_modules() if name.rpartition(".")[2] in last}
    return sorted(last if meant == targets else targets)


def _whole_number(value: float) -> float:
    return int(value) if float(value).is_integer() else value


def check_fits(model: nn.Module, files: AdapterFiles) -> None:
    """Refuse an adapter of another model before anything of this one changes."""
    path, base = str(files.path), files.config.get("base_model_name_or_path")
    fix = "load it on the model it was trained on" + (f", {base}" if base else "")
    modules = dict(model.named_modules())
    for name, parts in files.updates.items():
        layer = modules.get(name)
        if layer is None or not (isinstance(layer, LoraLinear) or _is_linear(layer)):
            raise UserError(f"the adapter is of another model: this one has no linear layer '{name}'", path, fix)
        inputs, outputs = _size(layer)
        r = len(parts["lora_A"])
        expected = {"lora_A": (r, inputs), "lora_B": (outputs, r), "lora_magnitude_vector": (outputs,)}
        for part, value in parts.items():
            if tuple(value.shape) != expected[part]:
                what = f"{part} of '{name}' has shape {tuple(value.shape)}; this model needs {expected[part]}"
                raise UserError(what, path, fix)
    state = model.state_dict()
    for key, value in files.whole.items():
        if key not in state or state[key].shape != value.shape:
            there = tuple(state[key].shape) if key in state else "nothing"
            raise UserError(f"the adapter brings {key} {tuple(value.shape)}; the model has {there} there", path, fix)


def _size(layer: nn.Module) -> tuple[int, int]:
    if isinstance(layer, LoraLinear | nn.Linear):
        return layer.in_features, layer.out_features
    inputs, outputs = layer.get_parameter("weight").shape
    return inputs, outputs


def _attach_read(model: nn.Module, files: AdapterFiles) -> None:
    places = {name: _places(model, name) for name in files.updates}
    _check_layers(model, places, dora=any(len(parts) == 3 for parts in files.updates.values()))
    for name, parts in files.updates.items():
        adapter = LoraLinear(
            model.get_submodule(name),
            r=len(parts["lora_A"]),
            alpha=files.alpha(name),
            rslora=files.rslora,
            dropout=files.dropout,
            dora="lora_magnitude_vector" in parts,
        )
        _replace(model, places[name], adapter)


def _check_same(present: Mapping[str, LoraLinear], files: AdapterFiles) -> None:
    where, fix = str(files.folder), "load it on the base model, without adapters"
    if set(present) != set(files.updates):
        other = sorted(set(present) ^ set(files.updates))[0]
        raise UserError(f"the model's adapters are on other layers than the file's ('{other}')", where, fix)
    for name, adapter in present.items():
        parts = files.updates[name]
        there = (adapter.r, adapter.alpha, adapter.rslora, adapter.lora_magnitude_vector is not None)
        read = (len(parts["lora_A"]), files.alpha(name), files.rslora, "lora_magnitude_vector" in parts)
        if there != read:
            raise UserError(f"(rank, alpha, rslora, dora) of '{name}' is {there}, in the file {read}", where, fix)
