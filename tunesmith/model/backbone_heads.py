"""A fresh head on any picture backbone of transformers: classes of a picture, or of its pixels.

For backbones whose family has no model for the task. The backbone saves itself and the head stands beside it
(``Task.with_head``). Heads have no batch statistics, so that pictures stay independent. It knows no task and no file.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunesmith.errors import UserError
from tunesmith.model.frozen_norm import sound_norms
from tunesmith.model.pretrained import load_model
from tunesmith.model.weights import Weights

LEVELS = 4
"""How many feature maps a segmentation head reads."""
GROUPS = 8


def load_backbone(source: Weights, config: Any) -> tuple[Any, frozenset[str]]:
    """A picture backbone without a pooler that was never trained, and what its weights did not hold.

    Raises:
        UserError: It can't be loaded, or takes no pictures.
    """
    from transformers import MODEL_MAPPING, AutoModel

    kind = MODEL_MAPPING.get(type(config), None)
    bare = kind is not None and "add_pooling_layer" in inspect.signature(kind.__init__).parameters
    # MobileNets pool without weights.
    settings: dict[str, Any] = (
        {"add_pooling_layer": False} if bare and not config.model_type.startswith("mobilenet") else {}
    )
    model, fresh = load_model(AutoModel, source, config, **settings)
    if getattr(model, "main_input_name", "") != "pixel_values":
        raise UserError(
            f"model: {source.name!r} takes no pictures (its input is {getattr(model, 'main_input_name', 'unknown')})",
            str(source.folder),
            "choose a model for pictures",
        )
    return sound_norms(model), fresh


def feature_maps(backbone: nn.Module, pixel_values: Tensor) -> list[Tensor]:
    """Feature maps, finest first, [batch, channels, height, width] each; of a transformer all of one size.

    Of a network that halves its maps: the last map of each size. Of one that keeps its tokens: those of up to four
    depths, with the tokens that stand for no patch left out.

    Args:
        backbone: A transformers model.
        pixel_values: Normalised, [batch, 3, height, width].
    """
    out = backbone(pixel_values=pixel_values, output_hidden_states=True)
    shaped = getattr(out, "reshaped_hidden_states", None) or out.hidden_states
    states = list(shaped)
    if states[0].ndim == 4:
        by_size = [list(same)[-1] for _, same in groupby(states, key=lambda state: tuple(state.shape[-2:]))]
        return by_size[-LEVELS:]
    depths = [states[round(i * (len(states) - 1) / LEVELS)] for i in range(1, LEVELS + 1)]
    return [_as_map(state, backbone, pixel_values) for state in depths]


def _as_map(tokens: Tensor, backbone: nn.Module, pixel_values: Tensor) -> Tensor:
    """Tokens [batch, tokens, width] as a map; those before the patches are left out."""
    patch = getattr(backbone.config, "patch_size", 16)
    patch = patch if isinstance(patch, int) else patch[0]
    height, width = pixel_values.shape[-2] // patch, pixel_values.shape[-1] // patch
    return tokens[:, -height * width :].transpose(1, 2).reshape(len(tokens), -1, height, width)


def pooled_features(backbone: nn.Module, pixel_values: Tensor) -> Tensor:
    """One vector a picture, [batch, width]: the model's own pooling, else the first token, else the mean of a map."""
    out = backbone(pixel_values=pixel_values)
    own = getattr(out, "pooler_output", None)
    if own is not None:
        return own.flatten(1)  # type: ignore[no-any-return]
    last: Tensor = out.last_hidden_state
    return last.mean((2, 3)) if last.ndim == 4 else last[:, 0]


@torch.no_grad()
def _shapes(backbone: nn.Module, size: int) -> tuple[list[int], int]:
    """Channels of the feature maps, and width of the pooled features."""
    like = next(backbone.parameters())
    picture = torch.zeros(1, 3, size, size, device=like.device, dtype=like.dtype)
    modes = [(module, module.training) for module in backbone.modules()]
    backbone.eval()
    try:
        maps, pooled = feature_maps(backbone, picture), pooled_features(backbone, picture)
    finally:
        for module, training in modes:
            module.training = training
    return [found.shape[1] for found in maps], pooled.shape[-1]


def _probe_size(config: Any) -> int:
    size = getattr(config, "image_size", None) or 64
    return int(size if isinstance(size, int) else size[0])


class BackboneClassifier(nn.Module):
    """A linear layer on the pooled features of a backbone.

    Args:
        backbone: From ``load_backbone``.
        classes: How many.
        dropout: On the features.
    """

    def __init__(self, backbone: nn.Module, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.backbone = backbone
        _, width = _shapes(backbone, _probe_size(backbone.config))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Logits [batch, classes]."""
        logits: Tensor = self.head(self.dropout(pooled_features(self.backbone, pixel_values)))
        return logits


class BackboneSegmenter(nn.Module):
    """A small feature pyramid (arXiv:1612.03144) on the maps of a backbone.

    Args:
        backbone: From ``load_backbone``.
        classes: How many.
        width: Channels of the pyramid, a multiple of 8.
    """

    def __init__(self, backbone: nn.Module, classes: int, width: int = 128) -> None:
        super().__init__()
        self.backbone = backbone
        channels, _ = _shapes(backbone, _probe_size(backbone.config))
        self.head = PyramidHead(channels, classes, width)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Logits [batch, classes, height, width], at the size of the finest map."""
        logits: Tensor = self.head(feature_maps(self.backbone, pixel_values))
        return logits


class PyramidHead(nn.Module):
    """Maps of several sizes to logits at the finest one: each narrowed, added from the coarsest down, smoothed."""

    def __init__(self, channels: Sequence[int], classes: int, width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList([nn.Conv2d(c, width, 1) for c in channels])
        self.norms = nn.ModuleList([nn.GroupNorm(GROUPS, width) for _ in channels])
        self.smooth = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(GROUPS, width), nn.ReLU())
        self.classifier = nn.Conv2d(width, classes, 1)
        nn.init.normal_(self.classifier.weight, std=0.01)
        assert self.classifier.bias is not None
        nn.init.zeros_(self.classifier.bias)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits [batch, classes, height, width]."""
        narrow = [
            norm(layer(found)) for norm, layer, found in zip(self.norms, self.lateral, maps, strict=True)
        ]  # fmt: skip
        total = narrow[-1]
        for finer in reversed(narrow[:-1]):
            if total.shape[-2:] != finer.shape[-2:]:
                total = F.interpolate(total, size=finer.shape[-2:], mode="bilinear", align_corners=False)
            total = total + finer
        logits: Tensor = self.classifier(self.smooth(total))
        return logits
