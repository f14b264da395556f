"""Gradient checkpointing (arXiv:1604.06174) of any model's blocks: recompute them in the backward pass.

It knows no model family: a block is whatever the layer groups call one.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import Any

from torch.utils.checkpoint import checkpoint

from tunesmith.model.layers import LayerGroups
from tunesmith.model.ledger import shapes_again


def recompute_blocks(layers: LayerGroups) -> int:
    """Wrap every block above the lowest learning one; how many are wrapped. Wrapping twice changes nothing.

    Dropout draws by row address, so the recomputed pass drops what the first one dropped.
    """
    wrapped = 0
    for block in layers.blocks:
        if "forward" in vars(block):
            wrapped += 1
        elif any(p.requires_grad for p in block.parameters()):
            block.forward = partial(_recomputed, block.forward)
            wrapped += 1
    return wrapped


def _recomputed(forward: Any, *args: Any, **kwargs: Any) -> Any:
    again = shapes_again()
    return checkpoint(
        forward,
        *args,
        use_reentrant=False,
        preserve_rng_state=False,
        context_fn=lambda: (nullcontext(), again),
        **kwargs,
    )
