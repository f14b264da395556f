"""A pretrained part inside a model of one's own: which module saves itself, and what stands beside it.

It knows modules; no task, no file and no layer group.
"""

from __future__ import annotations

from torch import Tensor, nn


def pretrained_parts(model: nn.Module) -> dict[str, nn.Module]:
    """The outermost parts that save themselves, by dotted name; "" is the whole model."""
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        inside = any(not outer or name.startswith(f"{outer}.") for outer in found)
        if hasattr(module, "save_pretrained") and not inside:
            found[name] = module
    return found


def pretrained_part(model: nn.Module) -> tuple[str | None, nn.Module | None]:
    """The one part that saves itself, None where there is none."""
    found = pretrained_parts(model)
    if len(found) > 1:
        raise TypeError(
            f"{type(model).__name__} has several pretrained parts ({', '.join(found)}): write save yourself"
        )
    return next(iter(found.items()), (None, None))


def own_tensors(model: nn.Module, pretrained: str | None) -> dict[str, Tensor]:
    """The state of a model outside its pretrained part."""
    if pretrained == "":
        return {}
    state = model.state_dict()
    return {name: t for name, t in state.items() if pretrained is None or not name.startswith(f"{pretrained}.")}


def trunk_beside_head(model: nn.Module, fresh: frozenset[str]) -> nn.Module | None:
    """The part that saves itself, or the child that holds every parameter that is not fresh.

    None where the model itself says what its trunk is, or where there is no such part.
    """
    if getattr(model, "base_model_prefix", ""):
        return None
    parts = pretrained_parts(model)
    if len(parts) == 1:
        return next(iter(parts.values()))
    old = {name.split(".")[0] for name, _ in model.named_parameters() if name not in fresh}
    if not fresh or len(old) != 1 or any(name.split(".")[0] in old for name in fresh):
        return None
    return dict(model.named_children()).get(old.pop())
