"""What every part of a picture looks like to heads that learned from other pictures: cells of the network's own maps.

A picture is a grid of cells; a cell's features are the network's maps of several strides at its place. Heads learn the
class of cells from some pictures and judge those of others. It knows no box and no mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.audit.heads import Floats, Head, Numbers
from tunesmith.audit.out_of_fold import FOLDS

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from tunesmith.audit.data import AuditData
    from tunesmith.types import Batch

IGNORED = -1
STRIDES = (4, 8, 16, 32)
MOST_CELLS = 64 * 64
CELLS_A_PICTURE = 160
MOST_PICTURES = 2000
LEAST_PICTURES = 2 * FOLDS
DECAYS = (0.1, 0.01, 1e-3)

CellClasses = Callable[["Batch", tuple[int, int]], NDArray[np.int64]]
"""A batch of one picture and the size of the grid to the class of each cell, int64 [height, width]; -1: unknown."""


@dataclass(frozen=True)
class SeenPicture:
    """A picture as the heads of the other folds see it.

    Args:
        at: Its place in the training side.
        batch: The picture alone as a batch, with boxes or mask.
        probabilities: float32 [height, width, classes].
        given: Class of each cell as labelled, int64 [height, width].
        stride: Pixels of the network's input a cell is high and wide.
        maps: Features of the cells, float32 [height, width, features].
    """

    at: int
    batch: Batch
    probabilities: Floats
    given: Numbers
    stride: int
    maps: Floats


class NoMaps(Exception):
    """Why cells can't be judged, in words for a person."""


def seen_pictures(data: AuditData, classes: int, given: CellClasses, seed: int = 0) -> Iterator[SeenPicture]:
    """Training pictures, each with what heads say of its cells that learned from other pictures.

    Args:
        data: Pictures.
        classes: How many, background among them.
        given: Tells the class of cells.
        seed: Of folds, cells and, where there are very many, pictures.

    Raises:
        NoMaps: The network puts out no maps, can't be run, or there are too few pictures.
    """
    watched = _Watched(data)
    rng = np.random.default_rng(seed)
    total = len(data.sides["train"])
    if total < LEAST_PICTURES:
        raise NoMaps(f"{total} pictures are too few for heads to judge one by the others: {LEAST_PICTURES}")
    chosen = np.sort(rng.permutation(total)[:MOST_PICTURES])
    folds = rng.permutation(len(chosen)) % FOLDS
    inputs, labels, of_fold = [], [], []
    for number, at in enumerate(chosen):
        batch = watched.batch(int(at))
        maps = watched.maps(batch)
        known = given(batch, (maps.shape[0], maps.shape[1])).reshape(-1)
        some = _some_cells(known, rng)
        inputs.append(maps.reshape(len(known), -1)[some].numpy())
        labels.append(known[some])
        of_fold.append(np.full(len(some), folds[number]))
        data.progress("looking at parts of pictures", number + 1, 2 * len(chosen))
    heads = _heads(np.concatenate(inputs), np.concatenate(labels), np.concatenate(of_fold), classes)
    del inputs
    for number, at in enumerate(chosen):
        batch = watched.batch(int(at))
        maps = watched.maps(batch)
        height, width = maps.shape[:2]
        said = heads[int(folds[number])].probabilities(maps.reshape(height * width, -1).numpy())
        grid = np.asarray(said.reshape(height, width, classes), dtype=np.float32)
        stride = round(batch["pixels"].shape[-2] / height)
        data.progress("looking at parts of pictures", len(chosen) + number + 1, 2 * len(chosen))
        yield SeenPicture(int(at), batch, grid, given(batch, (height, width)), stride, maps.numpy())


def _some_cells(known: Numbers, rng: np.random.Generator) -> Numbers:
    """Numbers of cells to learn from: the same number of each class that is there, as far as it has them."""
    present = [k for k in np.unique(known) if k != IGNORED]
    found = []
    for k in present:
        mine = np.flatnonzero(known == k)
        found.append(rng.permutation(mine)[: CELLS_A_PICTURE // len(present)])
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)


def _heads(inputs: Floats, labels: Numbers, folds: Numbers, classes: int) -> list[Head]:
    """The head that each fold is judged by, under the one penalty with the least loss on rows left out."""
    heads = [Head(inputs[folds != fold], labels[folds != fold], classes) for fold in range(FOLDS)]
    losses = []
    for decay in DECAYS:
        total = 0.0
        for fold, head in enumerate(heads):
            mine = folds == fold
            if mine.any():
                said = head.fit(decay).probabilities(inputs[mine])
                total -= float(np.log(np.clip(said[np.arange(len(said)), labels[mine]], 1e-9, 1)).sum())
        losses.append(total)
        if total > min(losses):
            break
    best = DECAYS[int(np.argmin(losses))]
    return [head.fit(best) for head in heads]


class _Watched:
    """The network with its blocks watched."""

    def __init__(self, data: AuditData) -> None:
        import torch

        from tunesmith.linear_probe import frozen_of
        from tunesmith.machine import pick_device

        if not data.has_weights:
            raise NoMaps("the model's weights are not at hand")
        self.prepared = frozen_of(data.prepared)
        self.task, self.rows = self.prepared.task, data.sides["train"]
        self.device = torch.device(pick_device(self.prepared.source.recipe.engine.device))
        torch.manual_seed(self.prepared.source.recipe.run.seed)
        model = self.task.load()
        layers = self.task.layers(model)
        self.model: nn.Module = model.eval().requires_grad_(False).to(self.device)
        self._seen: list[torch.Tensor] = []
        for block in layers.blocks or (layers.trunk,):
            for module in block.modules():
                module.register_forward_hook(self._note)

    def _note(self, _module: nn.Module, _args: Any, output: Any) -> None:
        import torch

        one = output[0] if isinstance(output, tuple) and output else output
        one = getattr(one, "last_hidden_state", one)
        if isinstance(one, torch.Tensor) and one.ndim in (3, 4) and one.is_floating_point():
            self._seen.append(one)

    def batch(self, at: int) -> Batch:
        """A training picture alone."""
        from tunesmith.plan import loader_of

        return loader_of(self.prepared, [self.rows[at]]).batch([0])

    def maps(self, batch: Batch) -> Tensor:
        """Features of the cells of a picture, float32 [height, width, features].

        Raises:
            NoMaps: The network's blocks put out none.
        """
        import torch
        import torch.nn.functional as F

        from tunesmith.train.step import to_device

        self._seen.clear()
        with torch.no_grad():
            self.task.predict(self.model, to_device(batch, self.device))
        size = tuple(batch["pixels"].shape[-2:])
        by_stride: dict[int, Tensor] = {}
        for one in self._seen:
            for stride in STRIDES:
                found = _as_map(one, -(-size[0] // stride), -(-size[1] // stride))
                if found is not None:
                    by_stride[stride] = found
        self._seen.clear()
        if not by_stride:
            raise NoMaps("the network's blocks put out no maps of the picture")
        grid = next(s for s in STRIDES if -(-size[0] // s) * -(-size[1] // s) <= MOST_CELLS or s == STRIDES[-1])
        wanted = (-(-size[0] // grid), -(-size[1] // grid))
        parts = []
        for one in by_stride.values():
            finer = one.shape[-2] > wanted[0]
            there = F.adaptive_avg_pool2d(one, wanted) if finer else F.interpolate(one, wanted, mode="bilinear")
            parts.append(there[0])
        return torch.cat(parts).permute(1, 2, 0).float().cpu().contiguous()


def _as_map(states: Tensor, height: int, width: int) -> Tensor | None:
    """States as a map [1, channels, height, width] of this size; None where they are none."""
    if states.shape[0] != 1:
        return None
    if states.ndim == 4:
        if tuple(states.shape[-2:]) == (height, width):
            return states
        return states.permute(0, 3, 1, 2) if tuple(states.shape[1:3]) == (height, width) else None
    cells = height * width
    # Tokens of patches, maybe after one of the whole picture and before those that look for objects.
    extra = states.shape[1] - cells
    if extra < 0 or extra > max(1, cells // 2) or cells < 16:
        return None
    start = 0 if extra == 0 else 1
    return states[:, start : start + cells].reshape(1, height, width, -1).permute(0, 3, 1, 2)


def picture_limit_said(data: AuditData) -> str | None:
    """That pictures were a sample, where they were."""
    total = len(data.sides["train"])
    return f"{MOST_PICTURES:,} of {total:,} pictures are judged, a sample" if total > MOST_PICTURES else None


def pieces(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Connected pieces of a grid (four neighbours), each bool [height, width], largest first."""
    from collections import deque

    left, found = mask.copy(), []
    while left.any():
        start = tuple(int(v) for v in np.argwhere(left)[0])
        piece, queue = np.zeros_like(mask), deque([start])
        left[start] = False
        while queue:
            y, x = queue.popleft()
            piece[y, x] = True
            for there in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                if 0 <= there[0] < mask.shape[0] and 0 <= there[1] < mask.shape[1] and left[there]:
                    left[there] = False
                    queue.append(there)
        found.append(piece)
    return sorted(found, key=lambda one: -int(one.sum()))
