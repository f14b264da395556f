"""Contrastive denoising: noisy copies of the true boxes as further queries of a decoder (RT-DETR, RT-DETRv2, D-FINE).

After DINO (arXiv:2203.03605). transformers builds these queries when it is given labels, draws their noise from a
global generator and lets their number follow the fullest picture of a batch, so that neither two micro-batches nor two
ranks add up to one. Here every picture has its own groups and its own seed. It knows decoders; no backbone, no loss and
no epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tunesmith.model.set_prediction import Layer, Objects, Pairs, centres_of, corners_of, pairs_of


@dataclass(frozen=True)
class Noise:
    """How strong the noise is.

    Args:
        queries: About how many noisy queries a picture gets for its true boxes.
        labels: Twice the share of labels that are replaced.
        boxes: How far a corner moves, in halves of the box.
    """

    queries: int
    labels: float
    boxes: float


@dataclass(frozen=True)
class Denoising:
    """The noisy queries of a batch, padded to the picture with most.

    Args:
        labels: Class ids, the number of classes where a query is padding, int64 [batch, queries].
        boxes: Inverse sigmoid of centre and size, [batch, queries, 4].
        group: Number of the group that a query belongs to, -1 for padding, int64 [batch, queries].
        weight: One over the number of groups of the picture, 0 for padding, [batch, queries].
        pairs: Which queries should become which object.
    """

    labels: Tensor
    boxes: Tensor
    group: Tensor
    weight: Tensor
    pairs: Pairs

    @property
    def queries(self) -> int:
        """Queries a picture, with padding."""
        return self.labels.shape[1]

    @classmethod
    def of(
        cls, objects: Sequence[Objects], seeds: Tensor | Sequence[int], noise: Noise, classes: int
    ) -> Denoising | None:
        """Noisy queries for the objects of a batch; None where there are no objects.

        Args:
            objects: By picture.
            seeds: Where each picture's noise comes from, int64 [batch].
            noise: How strong it is.
            classes: How many classes there are.
        """
        if objects[0].boxes.is_meta:
            # Only shapes are asked for.
            objects = [Objects(torch.zeros(o.boxes.shape), torch.zeros(o.labels.shape).long()) for o in objects]
            shapes = cls.of(objects, [0] * len(objects), noise, classes)
            return None if shapes is None else shapes.to(torch.device("meta"))
        numbers = seeds.tolist() if isinstance(seeds, Tensor) else seeds
        made = [_picture(o, seed, noise, classes) for o, seed in zip(objects, numbers, strict=True)]
        longest = max(len(labels) for labels, _, _ in made)
        if longest == 0:
            return None
        device = objects[0].boxes.device
        labels = torch.full((len(made), longest), classes, dtype=torch.int64)
        boxes = torch.zeros(len(made), longest, 4)
        group = torch.full((len(made), longest), -1, dtype=torch.int64)
        weight = torch.zeros(len(made), longest)
        found = []
        for i, (its, where, groups) in enumerate(made):
            count, number = len(objects[i].labels), torch.arange(len(its))
            labels[i, : len(its)], boxes[i, : len(its)] = its, where
            if groups:
                group[i, : len(its)], weight[i, : len(its)] = number // (2 * count), 1 / groups
            # In every group the first half should find its object, and the second half, further off, nothing.
            near = number[number % (2 * count) < count] if count else number
            found.append((near, near % (2 * count) if count else near))
        return cls(labels, boxes, group, weight, pairs_of(found, objects)).to(device)

    def to(self, device: torch.device) -> Denoising:
        """The same on a device."""
        labels, boxes, group, weight = (t.to(device) for t in (self.labels, self.boxes, self.group, self.weight))
        return Denoising(labels, boxes, group, weight, self.pairs.to(device))

    def mask(self, queries: int) -> Tensor:
        """What is added to attention logits so that no group sees another and no query sees the noisy ones.

        Args:
            queries: Number of the decoder's own queries, which follow.

        Returns:
            0 or minus infinity, [batch, 1, all, all].
        """
        group = nn.functional.pad(self.group, (0, queries), value=-2)
        sees = group[:, :, None] == group[:, None, :]
        # The noisy ones may look at the others, and padding must look at something.
        sees = sees | ((group >= 0)[:, :, None] & (group == -2)[:, None, :])
        sees = sees | torch.eye(group.shape[1], dtype=torch.bool, device=group.device)
        hidden = torch.zeros(sees.shape, device=group.device).masked_fill(~sees, -torch.inf)
        return hidden[:, None]

    def split(self, layer: Layer) -> tuple[Layer, Layer]:
        """What a layer says of the noisy queries, and of the others."""
        return layer.some(slice(None, self.queries)), layer.some(slice(self.queries, None))


@contextmanager
def with_noisy_queries(model: nn.Module, denoising: Denoising | None) -> Iterator[None]:
    """Put noisy queries before those that the model hands to its decoder, while the context lasts.

    Args:
        model: The part of a detector that holds ``decoder`` and ``denoising_class_embed``.
        denoising: The queries; nothing happens without.
    """
    if denoising is None:
        yield
        return
    decoder, embed = model.get_submodule("decoder"), model.get_submodule("denoising_class_embed")

    def put(_decoder: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        own, places = kwargs["inputs_embeds"], kwargs["reference_points"]
        noisy = embed(denoising.labels).to(own.dtype)
        return args, kwargs | {
            "inputs_embeds": torch.cat([noisy, own], 1),
            "reference_points": torch.cat([denoising.boxes.to(places.dtype), places], 1),
            "encoder_attention_mask": denoising.mask(own.shape[1]).to(own.dtype),
        }

    handle = decoder.register_forward_pre_hook(put, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _picture(objects: Objects, seed: int, noise: Noise, classes: int) -> tuple[Tensor, Tensor, int]:
    """Labels [q], boxes before the sigmoid [q, 4], and the number of groups of one picture's noisy queries."""
    count = len(objects.labels)
    if count == 0 or noise.queries <= 0:
        return torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4), 0
    groups = max(1, noise.queries // count)
    rng = np.random.default_rng(seed)
    total = 2 * groups * count
    labels = objects.labels.cpu().repeat(2 * groups)
    other = torch.as_tensor(rng.integers(0, classes, total))
    labels = torch.where(torch.as_tensor(rng.random(total) < noise.labels / 2), other, labels)
    boxes = objects.boxes.cpu().float().repeat(2 * groups, 1)
    far = torch.arange(total) % (2 * count) >= count
    step = torch.as_tensor(rng.random((total, 4)), dtype=torch.float32) + far[:, None]
    sign = torch.as_tensor(rng.integers(0, 2, (total, 4)) * 2 - 1, dtype=torch.float32)
    moved = corners_of(boxes) + sign * step * noise.boxes * boxes[:, 2:].repeat(1, 2) / 2
    return labels, before_sigmoid(centres_of(moved.clamp(0, 1))), groups


def before_sigmoid(shares: Tensor, eps: float = 1e-5) -> Tensor:
    """The numbers whose sigmoid is ``shares``, which are kept ``eps`` away from 0 and 1."""
    return (shares.clamp(min=eps) / (1 - shares).clamp(min=eps)).log()
