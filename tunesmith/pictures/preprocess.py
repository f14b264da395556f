"""How a model wants pictures: size, how they lie in it, and how their values are scaled. It knows no file but one.

It is read from and written to ``preprocessor_config.json`` as transformers writes it, so that the saved model is fed
alike everywhere. Pictures travel as bytes and become numbers on the model's device.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from tunesmith.errors import UserError
from tunesmith.pictures.augment import Fit, Size
from tunesmith.pictures.augment.placement import CROP_SHARE
from tunesmith.pictures.augment.sample import GREY
from tunesmith.pictures.augment.warp import Filter

if TYPE_CHECKING:
    from torch import Tensor

FILE = "preprocessor_config.json"
FILTERS: dict[int, Filter] = {1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of filters, as Hugging Face writes them."""
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Preprocessing:
    """What happens to a picture before the network.

    Args:
        size: Height and width of the input, in pixels.
        fit: How a picture lies in it: ``stretch``, ``letterbox`` or ``resize-crop``.
        shorter: For ``resize-crop`` the shorter side that is resized to before the centre is cut out.
        filter: How it is resized.
        scale: What bytes are multiplied by.
        mean, std: What is then taken away, and what the rest is divided by, by channel.
        order: Order of the channels.
    """

    size: Size
    fit: Fit
    shorter: int | None = None
    filter: Filter = "bilinear"
    scale: float = 1 / 255
    mean: tuple[float, float, float] = IMAGENET[0]
    std: tuple[float, float, float] = IMAGENET[1]
    order: Literal["RGB", "BGR"] = "RGB"

    @classmethod
    def read(cls, folder: Path, fit: Fit, default: int, otherwise: Preprocessing | None = None) -> Preprocessing:
        """What the model in a folder wants; ImageNet's usual values where it does not say.

        Args:
            folder: Of the weights.
            fit: How pictures lie in the input where the file does not say.
            default: Sides of the input in pixels where the file does not say.
            otherwise: What holds where there is no file, of families whose networks were all trained alike.

        Raises:
            UserError: The file is no JSON, or holds something that can't be read.
        """
        place = folder / FILE
        if not place.is_file():
            return otherwise or cls((default, default), fit)
        try:
            return cls.of(json.loads(place.read_text(encoding="utf-8")), fit, default)
        except (ValueError, TypeError, KeyError, AttributeError, UnicodeDecodeError) as fault:
            what = f"{FILE} can't be read: {type(fault).__name__}: {fault}"
            raise UserError(what, str(place), "fetch the model again, or set options.size") from fault

    @classmethod
    def of(cls, found: dict[str, Any], fit: Fit, default: int) -> Preprocessing:
        """What a preprocessor's file says, as ``read`` has it.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: It holds something that can't be read or is not done here.
        """
        order = found.get("channel_order", "BGR" if found.get("do_flip_channel_order") else "RGB")
        if order not in ("RGB", "BGR"):
            raise ValueError(f"channel_order is {order!r}, not RGB or BGR")
        size, shorter, fit = _geometry(found, fit, default)
        normal = found.get("do_normalize", "image_mean" in found)
        mean, std = (found.get("image_mean"), found.get("image_std")) if normal else ((0.0,) * 3, (1.0,) * 3)
        return cls(
            size,
            fit,
            shorter,
            FILTERS.get(int(found.get("resample", 2)), "bilinear"),
            float(found.get("rescale_factor", 1 / 255)) if found.get("do_rescale", True) else 1.0,
            cast(Any, tuple(map(float, mean or IMAGENET[0]))),
            cast(Any, tuple(map(float, std or IMAGENET[1]))),
            cast(Any, order),
        )

    def sized(self, size: int | Size | Literal["auto"], fit: Fit | Literal["auto"]) -> Preprocessing:
        """The same at another size or with another fit, where the recipe names one."""
        new = self if fit == "auto" else replace(self, fit=fit, shorter=self.shorter if fit == "resize-crop" else None)
        if size == "auto":
            return new
        wanted = (size, size) if isinstance(size, int) else size
        shorter = None if new.shorter is None else max(1, round(new.shorter * min(wanted) / min(new.size)))
        return replace(new, size=wanted, shorter=shorter)

    def to_json(self, kind: str | None = None) -> dict[str, Any]:
        """What ``preprocessor_config.json`` holds.

        Args:
            kind: transformers' name of the class that reads it (``ViTImageProcessor``).
        """
        number = {name: key for key, name in FILTERS.items()}[self.filter]
        height, width = self.size
        found: dict[str, Any] = {"do_resize": True, "size": {"height": height, "width": width}, "resample": number}
        # Some classes cut out a centre unless they are told not to.
        found["do_center_crop"] = False
        if kind is not None and not _can_say(kind, self.fit):
            kind = {"resize-crop": "BitImageProcessor", "stretch": "ViTImageProcessor"}[self.fit]
        if self.fit == "resize-crop":
            found["size"] = {"shortest_edge": self.shorter or round(max(self.size) / CROP_SHARE)}
            found |= {"do_center_crop": True, "crop_size": {"height": height, "width": width}}
        if self.fit == "letterbox":
            found |= {"keep_aspect_ratio": True, "do_pad": True, "pad_value": GREY, "pad_position": "bottom_right"}
        plain = self.mean == (0.0,) * 3 and self.std == (1.0,) * 3
        found |= {"do_rescale": self.scale != 1.0, "rescale_factor": self.scale, "do_normalize": not plain}
        found |= {"image_mean": list(self.mean), "image_std": list(self.std), "channel_order": self.order}
        return found | ({"image_processor_type": kind} if kind else {})

    def numbers(self, pictures: Tensor) -> Tensor:
        """Pictures as the network takes them.

        Args:
            pictures: uint8 [batch, 3, height, width], RGB.

        Returns:
            float32 of the same shape, on the same device.
        """
        found = (pictures.flip(1) if self.order == "BGR" else pictures).float()
        if self.mean == (0.0,) * 3 and self.std == (1.0,) * 3:
            return found.mul_(self.scale) if self.scale != 1.0 else found
        # One multiplication and one addition: (x * scale - mean) / std.
        mean, std = (found.new_tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        return found.mul_(self.scale / std).sub_(mean / std)


_CROPPING = ("Bit", "CLIP", "MobileNetV1", "MobileNetV2", "Levit")
"""Classes that resize the shorter side and cut out the centre as their file says, by how their names begin."""
_STRAIGHT = 384
"""ConvNeXt's class cuts out a centre below this size, and stretches from it on."""


def _can_say(kind: str, fit: Fit) -> bool:
    """Whether transformers' class does with a picture what the file says (ConvNeXt's has a crop of its own)."""
    if fit == "resize-crop":
        return kind.startswith(_CROPPING)
    return fit == "letterbox" or not kind.startswith((*_CROPPING, "ConvNext"))


def _geometry(found: dict[str, Any], fit: Fit, default: int) -> tuple[Size, int | None, Fit]:
    """Size of the input, shorter side before the centre is cut out, and fit, as a preprocessor file says.

    What a file says of a centre crop is for labels: boxes and masks are wanted of the whole picture.
    """
    named = str(found.get("image_processor_type") or found.get("feature_extractor_type") or "")
    given, crop = found.get("size"), found.get("crop_size") if found.get("do_center_crop") else None
    size, shorter = (default, default), None
    if isinstance(given, dict) and "height" in given:
        size = (int(given["height"]), int(given["width"]))
    elif isinstance(given, int) or (isinstance(given, dict) and "shortest_edge" in given):
        side = given if isinstance(given, int) else int(given["shortest_edge"])
        size = (side, side)
    if found.get("keep_aspect_ratio") and found.get("do_pad"):
        fit = "letterbox"
        for name, done in (("pad_value", GREY), ("pad_position", "bottom_right")):
            if found.get(name, done) != done:
                raise ValueError(f"{name} is {found[name]!r}, and only {done!r} is done here")
    if crop is not None:
        shorter = min(size)
        sides = crop if isinstance(crop, dict) else {"height": crop, "width": crop}
        size = (int(sides["height"]), int(sides["width"]))
    elif fit == "resize-crop" and ("crop_pct" in found or named.startswith("ConvNext")):
        shorter = int(min(size) / float(found.get("crop_pct") or CROP_SHARE))
        fit = "resize-crop" if min(size) < _STRAIGHT else "stretch"
    elif fit == "resize-crop" and given is not None and not (isinstance(given, dict) and "shortest_edge" in given):
        fit = "stretch"
    return size, shorter if fit == "resize-crop" else None, fit


def as_bytes(image: np.ndarray) -> Tensor:
    """A picture uint8 [height, width, 3] as a tensor uint8 [3, height, width]."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
