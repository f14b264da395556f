"""A model's shape as numbers: its parameters by layer group, its matrices, and what a position of a block keeps.

It knows no file, no model family and no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Linear:
    """A matrix: ``name`` is the last part of its path (``q_proj``), ``count`` how many like it the block has."""

    name: str
    inputs: int
    outputs: int
    bias: bool = False
    count: int = 1

    @property
    def parameters(self) -> int:
        """Its numbers."""
        return self.count * self.outputs * (self.inputs + self.bias)

    def adapter(self, rank: int) -> int:
        """Numbers of a low-rank update on it."""
        return self.count * rank * (self.inputs + self.outputs)


@dataclass(frozen=True)
class Kept:
    """What one position of a transformer block keeps for the way back, in numbers; attention is fused.

    Args:
        width: Of the stream that runs through all blocks.
        query: Numbers of all heads' queries together.
        keys: Of keys, and as many of values.
        heads: Each keeps one sum.
        inner: Of the feed-forward network.
        gated: Whether its inner product has two factors.
        norms: How many there are.
        rms: Whether they are of Llama's kind, which keep their input once more while their weight learns.
        masks: Numbers that dropout keeps.
    """

    width: int
    query: int
    keys: int
    heads: int
    inner: int
    gated: bool = False
    norms: int = 2
    rms: bool = False
    masks: int = 0

    @property
    def passing(self) -> int:
        """Numbers that a pass holds of one position at once where nothing is kept for the way back."""
        return 2 * self.inner + 3 * self.width if self.width else self.heads


@dataclass(frozen=True)
class Block:
    """A repeated layer: its matrices, all its other numbers, what a position keeps, and which sequence it runs over.

    ``along`` is ``tokens``, ``pictures`` (patches), ``sounds`` (frames) or ``map`` (pixels at a step of ``stride``).
    """

    linears: tuple[Linear, ...]
    rest: int = 0
    kept: Kept | None = None
    along: str = "tokens"
    stride: float = 1.0

    @property
    def parameters(self) -> int:
        """Its numbers."""
        return sum(linear.parameters for linear in self.linears) + self.rest


@dataclass(frozen=True)
class Shape:
    """A model: numbers below its blocks, in them, above them, and in its head.

    Args:
        embeddings, neck, head: Parameters of those groups.
        blocks: Bottom to top.
        width: Of the stream.
        vocabulary: Outputs of a language head; 0 without one.
        longest: Most positions that the model takes; 0 where nothing says.
        patches: Positions that a picture of the usual size takes, where pictures are what it sees.
        frames: Positions that a sound takes, where the model always hears as many.
        buffer_bytes: Of stored tensors that never learn (running statistics).
        dtypes: Parameters by stored type; empty where no file says.
        said: How it is known, for a person.
        unknown: What could not be known.
    """

    embeddings: int = 0
    blocks: tuple[Block, ...] = ()
    neck: int = 0
    head: int = 0
    width: int = 0
    vocabulary: int = 0
    longest: int = 0
    patches: int = 0
    frames: int = 0
    buffer_bytes: int = 0
    dtypes: dict[str, int] = field(default_factory=dict)
    said: str = ""
    unknown: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.embeddings + sum(block.parameters for block in self.blocks) + self.neck + self.head

    def groups(self) -> dict[str, int]:
        """Parameters by group: embeddings, blocks, neck, head; empty groups left out."""
        blocks = sum(block.parameters for block in self.blocks)
        found = {"embeddings": self.embeddings, "blocks": blocks, "neck": self.neck, "head": self.head}
        return {name: size for name, size in found.items() if size}


def adapted(blocks: Sequence[Block], targets: str | Sequence[str], rank: int) -> int:
    """Numbers of a low-rank adapter on the matrices of blocks: all of them, or those of these names."""
    chosen = [
        linear
        for block in blocks
        for linear in block.linears
        if isinstance(targets, str) or any(f".{linear.name}".endswith(f".{name}") for name in targets)
    ]
    return sum(linear.adapter(rank) for linear in chosen)


def kept_values(kept: Kept, *, learns: bool, adapted_inputs: bool) -> tuple[int, int]:
    """Numbers that a position of a block keeps: of the stream (as wide as the norms compute), and of the products.

    Args:
        kept: The block.
        learns: Whether its own weights learn; else only what their inputs need is kept.
        adapted_inputs: Whether adapters keep the inputs of its matrices.
    """
    inputs = learns or adapted_inputs
    stream = kept.norms * kept.width * (1 + (kept.rms and learns))
    attention = 2 * kept.query + 2 * kept.keys + kept.heads
    inner = (4 if kept.gated else 2) * kept.inner if inputs else (3 if kept.gated else 1) * kept.inner
    normed = kept.norms * kept.width if inputs else 0
    return stream + kept.masks, attention + inner + normed
