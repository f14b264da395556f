"""Mask classification (Mask2Former, arXiv:2112.01527): queries that each say a mask and its class, and what is wrong.

Its authors compare masks at random points, which saves memory. Here they are compared at every point of the masks as
the model gives them, a quarter of the picture: nothing is drawn, so the loss of a picture does not depend on its batch.
Masks are made small by areas, so thin things stay, as shares. It knows logits and masks; no file and no ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tunesmith.model.pixel_loss import IGNORED
from tunesmith.model.set_prediction import Layer, Pairs, cheapest, softmax_classes


@dataclass(frozen=True)
class Regions:
    """The classes of one picture, each with where it is.

    Args:
        labels: Class ids, int64 [n].
        masks: Share of every cell that is of the class, [n, height, width].
        counted: Share of every cell that is not ignored, [height, width].
    """

    labels: Tensor
    masks: Tensor
    counted: Tensor


@dataclass(frozen=True)
class MaskWeights:
    """What the terms weigh, in matching and in the loss.

    Args:
        label, mask, dice: Of the class, of the mask's cross-entropy, and of its dice.
        nothing: Of queries that should say "nothing", relative to the others.
    """

    label: float
    mask: float
    dice: float
    nothing: float


def regions_of(mask: Tensor, size: tuple[int, int], classes: int) -> Regions:
    """One region for every class in a mask.

    Args:
        mask: Class ids, 255 where ignored, integers [rows, columns].
        size: Height and width of the model's masks.
        classes: How many there are; on the meta device every one of them is taken to be there.
    """
    labels = _labels_of(mask, classes)
    counted = _shrunk((mask != IGNORED)[None], size)[0]
    shares = _shrunk(mask[None] == labels[:, None, None], size)
    return Regions(labels, shares / counted.clamp(min=1e-6), counted)


def labels_in(mask: Tensor) -> int:
    """How many classes a mask holds."""
    return int((torch.unique(mask) != IGNORED).sum())


def _labels_of(mask: Tensor, classes: int) -> Tensor:
    if mask.is_meta:
        return torch.zeros(classes, dtype=torch.int64, device="meta")
    found: Tensor = torch.unique(mask).long()
    return found[found != IGNORED]


def _shrunk(masks: Tensor, size: tuple[int, int]) -> Tensor:
    return F.adaptive_avg_pool2d(masks.float(), size)


def mask_sums(classes: Tensor, masks: Tensor, regions: Sequence[Regions], weights: MaskWeights) -> dict[str, Tensor]:
    """Loss sums of what one layer says.

    Args:
        classes: Logits, with one more for "nothing", [batch, queries, classes + 1].
        masks: Logits, [batch, queries, height, width].
        regions: Of every picture.
        weights: Of the terms.

    Returns:
        ``class/queries``, ``mask/masks`` (cross-entropy, mean over the points that count) and ``dice/masks``.
    """
    layer = Layer(classes, masks)
    pairs, wanted, counted = _matched(classes, masks, regions, weights)
    said = pairs.of(masks).float().flatten(1)
    points = counted.sum(-1).clamp(min=1e-6)
    each = (F.binary_cross_entropy_with_logits(said, wanted, reduction="none") * counted).sum(-1) / points
    p = said.sigmoid() * counted
    dice = 1 - (2 * (p * wanted).sum(-1) + 1) / (p.sum(-1) + (wanted * counted).sum(-1) + 1)
    return {
        "class/queries": weights.label * softmax_classes(layer, pairs, weights.nothing),
        "mask/masks": weights.mask * each.sum(),
        "dice/masks": weights.dice * dice.sum(),
    }


def _matched(
    classes: Tensor, masks: Tensor, regions: Sequence[Regions], weights: MaskWeights
) -> tuple[Pairs, Tensor, Tensor]:
    """Pairs, and for each of them the shares of its region and of what counts, [m, points]."""
    found, wanted, counted = [], [], []
    for i, region in enumerate(regions):
        if len(region.labels):
            queries, which = cheapest(_cost(classes[i], masks[i], region, weights))
        else:
            queries = which = torch.zeros(0, dtype=torch.int64)
        queries, which = queries.to(masks.device), which.to(masks.device)
        found.append((torch.full_like(queries, i), queries, which, region.labels[which]))
        wanted.append(region.masks[which].flatten(1))
        counted.append(region.counted.flatten()[None].expand(len(which), -1))
    pictures, queries, which, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    pairs = Pairs(pictures, queries, which, masks.new_zeros(len(labels), 4), labels)
    return pairs, torch.cat(wanted), torch.cat(counted)


@torch.no_grad()
def _cost(classes: Tensor, masks: Tensor, region: Regions, weights: MaskWeights) -> Tensor:
    """What it costs to let a query answer for a region, [queries, regions]."""
    label = -classes.float().softmax(-1)[:, region.labels]
    said, wanted, counted = masks.float().flatten(1), region.masks.flatten(1), region.counted.flatten()
    points = counted.sum().clamp(min=1e-6)
    # Cross-entropy is linear in the target: softplus(x) - x * target.
    mask = (F.softplus(said) @ counted)[:, None] - (said * counted) @ wanted.T
    p = said.sigmoid() * counted
    dice = 1 - (2 * p @ wanted.T + 1) / (p.sum(-1)[:, None] + (wanted * counted).sum(-1)[None] + 1)
    return weights.label * label + weights.mask * mask / points + weights.dice * dice


def class_map(classes: Tensor, masks: Tensor) -> Tensor:
    """Probability of every class at every point of the masks, [batch, classes, height, width]."""
    said = torch.einsum("bqc,bqhw->bchw", classes.float().softmax(-1)[..., :-1], masks.float().sigmoid())
    return said / said.sum(1, keepdim=True).clamp(min=1e-9)
