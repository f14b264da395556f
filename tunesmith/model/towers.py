"""Pretrained towers that turn pictures and texts into unit vectors: CLIP's two, or any picture backbone's one.

Nothing is trained here. It knows tensors and texts; no picture file, no preprocessing and no score.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunesmith.errors import UserError
from tunesmith.model.backbone_heads import load_backbone, pooled_features
from tunesmith.model.pretrained import load_config, load_model, load_tokenizer
from tunesmith.model.weights import Weights

_MASKED = ("mask_token",)
"""Parameters that are read in pretraining alone, where patches are hidden."""


class Towers:
    """What a folder's weights make of pictures and, where they hold a text tower, of texts.

    Args:
        source: A CLIP (``model_type: clip``), or any other model whose input is a picture: DINOv2, ViT, ConvNeXt,
            MobileNetV2.
        device: Where it computes, in fp32.

    Raises:
        UserError: The model takes no pictures, or the weights lack a part of it.
    """

    def __init__(self, source: Weights, device: str = "cpu") -> None:
        self.source = source
        self.config = load_config(source)
        self.reads_texts: bool = self.config.model_type == "clip"
        if self.reads_texts:
            from transformers import CLIPModel

            model, fresh = load_model(CLIPModel, source, self.config)
        else:
            model, fresh = load_backbone(source, self.config)
        lacking = sorted(name for name in fresh if not name.endswith(_MASKED))
        if lacking:
            # Features of weights that were drawn at random would be numbers without meaning.
            what = f"the weights of {source.name!r} lack {len(lacking)} parameters of its encoder ({lacking[0]})"
            raise UserError(what, str(source.folder), "fetch the model again, or name another encoder")
        self.model: nn.Module = model.to(device).eval().requires_grad_(False)
        self.device = device

    @property
    def side(self) -> int:
        """Height and width of the pictures that it was made for, in pixels."""
        size = getattr(getattr(self.config, "vision_config", self.config), "image_size", None) or 224
        return int(size if isinstance(size, int) else size[0])

    @property
    def longest(self) -> int:
        """Most tokens of a text that are read; 0 where no text is."""
        return int(self.config.text_config.max_position_embeddings) if self.reads_texts else 0

    @cached_property
    def tokenizer(self) -> Any:
        """The text tower's.

        Raises:
            UserError: The folder has none, or there is no text tower.
        """
        if not self.reads_texts:
            what = (
                f"{self.source.name!r} ({self.config.model_type}) has no text tower: it can't compare texts to pictures"
            )
            raise UserError(what, str(self.source.folder), "name a CLIP model, or leave out the fidelity to prompts")
        return load_tokenizer(self.source)

    @torch.inference_mode()
    def of_pictures(self, pixel_values: Tensor) -> Tensor:
        """Normalised pictures [n, 3, height, width] to unit vectors, fp32 [n, width].

        Of CLIP its projected features; of a backbone its own pooling, else the first token, else the mean of its map.
        """
        if self.reads_texts:
            found: Tensor = self.model.get_image_features(pixel_values=pixel_values).pooler_output  # type: ignore[operator]
        else:
            found = pooled_features(self.model, pixel_values)
        return F.normalize(found.float(), dim=-1)

    @torch.inference_mode()
    def of_texts(self, texts: list[str]) -> Tensor:
        """Texts to unit vectors, fp32 [n, width], in the pictures' space; tokens beyond ``longest`` are not read."""
        tokens = self.tokenizer(texts, padding=True, truncation=True, max_length=self.longest, return_tensors="pt")
        ids, mask = (tokens[key].to(self.device) for key in ("input_ids", "attention_mask"))
        found: Tensor = self.model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output  # type: ignore[operator]
        return F.normalize(found.float(), dim=-1)

    def lengths(self, texts: list[str]) -> list[int]:
        """Tokens of each text as it is, those at its ends with them."""
        return [len(ids) for ids in self.tokenizer(texts, truncation=False, verbose=False)["input_ids"]]
