"""A pretrained part inside a model of one's own: which module saves itself, and what stands beside it.

It knows modules and the files of theirs; no task and no layer group.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

HEAD_FILE = "head.safetensors"
"""What is written beside a pretrained part that saves itself: all other tensors of the model."""


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


def read_head(model: nn.Module, folder: Path) -> frozenset[str] | None:
    """Put what ``write_parts`` wrote beside the pretrained part into a model.

    Returns:
        Names of the parameters that are still fresh; None where nothing was found and the model has no pretrained part.
    """
    from safetensors.torch import load_file

    prefix, _ = pretrained_part(model)
    own = own_tensors(model, prefix)
    file = folder / HEAD_FILE
    kept = load_file(file) if file.is_file() else {}
    if {n: t.shape for n, t in kept.items()} == {n: t.shape for n, t in own.items()}:
        model.load_state_dict(kept, strict=False)
        return frozenset()
    if prefix is None:
        return None
    return frozenset(name for name, _ in model.named_parameters() if name in own)


def write_parts(model: nn.Module, folder: Path) -> None:
    """Write a model's pretrained part as it saves itself, and all its other tensors in a file beside it."""
    from tunesmith.model.pretrained import quiet

    prefix, part = pretrained_part(model)
    if part is not None:
        with quiet():
            part.save_pretrained(folder)  # type: ignore[operator]
    own = own_tensors(model, prefix)
    if own:
        from safetensors.torch import save_file

        # Copies, because tensors that share memory can't be written.
        save_file({name: t.detach().cpu().contiguous().clone() for name, t in own.items()}, folder / HEAD_FILE)
