"""Memory of a stage in closed form, from a model's shape and the recipe: nothing runs, not even on fake tensors.

It knows no file and no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tunesmith.forecast.shapes import Block, Linear, Shape, adapted, kept_values
from tunesmith.recipe import Recipe, Stage, Top

WORKSPACE_BYTES = 64 << 20
"""Scratch of the matrix library and the allocator's slack, as the traced plan assumes."""
PIECE_BYTES = 32 << 20
"""What one piece of logits takes in fp32, where they are made in pieces."""
NF4_BYTES = 0.5 + 1 / 64
"""Bytes of a number in 4 bit with its share of the scales, which are 8 bit each."""
STATE_BYTES = {"adamw": 8.0, "adamw-8bit": 2.0 + 8 / 256, "sgd": 4.0}
"""Bytes of optimizer state for each number that learns; in 8 bit with the scales of blocks of 256."""
HELD = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "nf4": NF4_BYTES}


@dataclass(frozen=True)
class Load:
    """How much goes through a model at once.

    Args:
        rows: In a pass.
        tokens: Of the longest row; pictures, sounds and maps take what the shape says.
        pixels: Of a picture (or of its latents), where maps are computed.
    """

    rows: int
    tokens: int
    pixels: int = 224 * 224

    def positions(self, block: Block, shape: Shape) -> float:
        """Positions of a row that a block runs over."""
        if block.along == "map":
            return self.pixels / block.stride**2
        if block.along == "pictures":
            return shape.patches or 197
        return shape.frames or self.tokens if block.along == "sounds" else self.tokens


def learning_blocks(stage: Stage, shape: Shape, recipe: Recipe) -> tuple[int, bool]:
    """How many blocks from the top must be gone back through, and whether their own weights learn."""
    count = len(shape.blocks)
    if isinstance(stage.train, Top):
        return min(stage.train.top, count), True
    if stage.train == "adapter":
        top = recipe.adapter.top if recipe.adapter else None
        return min(top or count, count), False
    return (count, True) if stage.train == "all" else (0, False)


def learning_parameters(stage: Stage, shape: Shape, recipe: Recipe) -> int:
    """Numbers that learn in a stage, those of a head that the task adds apart."""
    if stage.train == "all":
        return shape.parameters
    if isinstance(stage.train, Top):
        top = shape.blocks[len(shape.blocks) - min(stage.train.top, len(shape.blocks)) :]
        return sum(block.parameters for block in top) + shape.neck + shape.head
    if stage.train == "adapter" and recipe.adapter is not None:
        return adapter_parameters(shape, recipe) + shape.head
    return shape.head


def adapter_parameters(shape: Shape, recipe: Recipe) -> int:
    """Numbers of the recipe's adapter; 0 without one."""
    adapter = recipe.adapter
    if adapter is None:
        return 0
    blocks = shape.blocks[len(shape.blocks) - adapter.top :] if adapter.top else shape.blocks
    size = adapted(blocks, adapter.targets, adapter.r)
    if adapter.dora:
        size += sum(linear.outputs * linear.count for block in blocks for linear in block.linears)
    return size


def weight_bytes(shape: Shape, recipe: Recipe, held: str) -> int:
    """Bytes of all weights: what learns in fp32, the rest as it is held; in 4 bit the blocks' matrices alone are."""
    extra = adapter_parameters(shape, recipe)
    if recipe.adapter is None or held == "fp32":
        return 4 * (shape.parameters + extra) + shape.buffer_bytes
    matrices = sum(matrix_size(linear) for block in shape.blocks for linear in block.linears)
    plain = shape.parameters - matrices
    size = HELD[held] * matrices + (2.0 if held == "nf4" else HELD[held]) * plain
    return int(size) + 4 * extra + shape.buffer_bytes


def matrix_size(linear: Linear) -> int:
    """Numbers of a matrix without its bias."""
    return linear.count * linear.inputs * linear.outputs


def activation_bytes(
    stage: Stage, shape: Shape, recipe: Recipe, load: Load, precision: str, *, held: str = "fp32"
) -> dict[str, int]:
    """Bytes that the way back needs, by what needs them: ``blocks``, ``recomputed``; ``passing`` where none is kept."""
    through, learns = learning_blocks(stage, shape, recipe)
    top = shape.blocks[len(shape.blocks) - through :] if through else ()
    narrow = 4 if precision == "fp32" else 2
    # Frozen weights that are held in 16 bit make the stream between blocks 16 bit wide, too.
    wide = 4 if precision == "fp32" or held == "fp32" else 2
    of_blocks = [_block_bytes(block, shape, recipe, load, (wide, narrow), learns=learns) for block in top]
    found: dict[str, int] = {}
    if recipe.engine.gradient_checkpointing and of_blocks:
        inputs = [wide * block.kept.width * load.positions(block, shape) * load.rows for block in top if block.kept]
        found = {"blocks": int(sum(inputs)), "recomputed": max(of_blocks)}
    elif of_blocks:
        found = {"blocks": sum(of_blocks)}
    elif shape.blocks:
        blocks = [block for block in shape.blocks if block.kept is not None]
        passing = [
            narrow * block.kept.passing * load.positions(block, shape) * load.rows for block in blocks if block.kept
        ]
        found = {"passing": int(max(passing, default=0))}
    return found


def _block_bytes(
    block: Block, shape: Shape, recipe: Recipe, load: Load, widths: tuple[int, int], *, learns: bool
) -> int:
    """``widths``: bytes of a number in the stream, and of one in a product."""
    kept = block.kept
    if kept is None:
        return 0
    updates = _adapted_linears(block, recipe) if not learns else ()
    stream, products = kept_values(kept, learns=learns, adapted_inputs=bool(updates))
    of_updates = recipe.adapter.r * sum(one.count for one in updates) if recipe.adapter else 0
    each = widths[0] * stream + widths[1] * (products + of_updates)
    return int(each * load.positions(block, shape) * load.rows)


def _adapted_linears(block: Block, recipe: Recipe) -> Sequence[Linear]:
    adapter = recipe.adapter
    if adapter is None:
        return ()
    if isinstance(adapter.targets, str):
        return block.linears
    return [one for one in block.linears if any(f".{one.name}".endswith(f".{target}") for target in adapter.targets)]


def stage_memory(
    stage: Stage, shape: Shape, recipe: Recipe, load: Load, *, held: str, precision: str
) -> dict[str, int]:
    """Bytes by part of one stage at its worst moment; parts of zero are left out.

    That moment is one of two: the end of the forward pass, when all is kept and only the output layer has a gradient;
    or the end of the backward pass, when every gradient is there and one block's activations.

    Args:
        stage: What learns.
        shape: The model.
        recipe: Optimizer, adapter, checkpointing.
        load: How much goes through at once.
        held: How frozen weights are held.
        precision: What the pass computes in.
    """
    learns = learning_parameters(stage, shape, recipe)
    kept = activation_bytes(stage, shape, recipe, load, precision, held=held)
    through, _ = learning_blocks(stage, shape, recipe)
    # Autocast keeps a copy of every weight that learns until the backward pass is done.
    copies = 2 * learns if precision != "fp32" else 0
    full = sum(kept.values()) + copies
    one = copies + kept.get("recomputed", full // max(1, through))
    output = _output_bytes(stage, shape, load, precision) if through else 0
    back = max(output, _going_back(shape, load, precision) if through else 0)
    # Where a step takes several passes, the gradients of the first stand while the next ones run.
    standing = 4 * learns if load.rows < recipe.batch.rows else 0
    if full + back + standing >= 4 * learns + one:
        moment = {"gradients": standing, "activations": full, "logits and backward pass": back}
    else:
        moment = {"gradients": 4 * learns, "activations": one}
    state = int(STATE_BYTES[recipe.optimizer.name] * learns)
    average = 4 * learns if recipe.optimizer.ema is not None else 0
    parts = {"weights": weight_bytes(shape, recipe, held), "optimizer": state, "moving average": average}
    parts |= moment | {"workspace": WORKSPACE_BYTES}
    return {name: size for name, size in parts.items() if size}


def _output_bytes(stage: Stage, shape: Shape, load: Load, precision: str) -> int:
    """What a language model's loss holds: a piece of logits and of their slope, states, and where the output layer
    learns its gradient with the product that is added to it.
    """
    if not shape.vocabulary:
        return 0
    piece = min(load.rows * load.tokens, max(1, PIECE_BYTES // (4 * shape.vocabulary))) * shape.vocabulary
    states = load.rows * load.tokens * shape.width
    learned = shape.vocabulary * shape.width if stage.train == "all" or isinstance(stage.train, Top) else 0
    return (4 if precision == "fp32" else 2) * piece + 4 * piece + 2 * 4 * states + 2 * 4 * learned


def _going_back(shape: Shape, load: Load, precision: str) -> int:
    """What the way back through the top block holds beside what was kept: two slopes of its inner network."""
    block = shape.blocks[-1]
    if block.kept is None or block.along == "map":
        return 0
    return int((8 if precision == "fp32" else 4) * block.kept.inner * load.positions(block, shape) * load.rows)
