"""How YOLOX wants a picture: which size, which padding, which order of colours. It knows no network and no file format.

What is written to preprocessor_config.json is all that an export or another program needs to do the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from tunesmith.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

FILE = "preprocessor_config.json"
_BILINEAR = 2
"""Pillow's number of the filter, as Hugging Face writes it."""


class Boxed(NamedTuple):
    """A picture at the network's size.

    Args:
        image: uint8 [height, width, 3], RGB.
        scale: What its boxes were multiplied by; they were not moved.
    """

    image: np.ndarray
    scale: float


@dataclass(frozen=True)
class Preprocessing:
    """What happens to a picture before the network.

    Args:
        size: Height and width in pixels.
        fill: The value of the padding, which is at the right and at the bottom.
        channel_order: What the weights were trained with; the official ones and those of ``ddddocr`` with BGR.
    """

    size: tuple[int, int] = (416, 416)
    fill: int = 114
    channel_order: Literal["RGB", "BGR"] = "BGR"

    def letterbox(self, image: np.ndarray) -> Boxed:
        """Scale a picture until it fits, and pad it at the right and at the bottom.

        Args:
            image: uint8 [height, width, 3].
        """
        import numpy as np
        from PIL import Image

        height, width = image.shape[:2]
        scale = min(self.size[0] / height, self.size[1] / width)
        rows, columns = max(1, int(height * scale)), max(1, int(width * scale))
        out = np.full((*self.size, 3), self.fill, dtype=np.uint8)
        scaled = Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR)
        out[:rows, :columns] = np.asarray(scaled)
        return Boxed(out, scale)

    def tensor(self, image: np.ndarray) -> Tensor:
        """A picture of the network's size as the network takes it: float32 [3, height, width], 0 to 255.

        Args:
            image: uint8 [height, width, 3], RGB.
        """
        import torch

        channels = torch.from_numpy(image.copy()).permute(2, 0, 1)
        return (channels.flip(0) if self.channel_order == "BGR" else channels).float().contiguous()

    def to_json(self) -> dict[str, Any]:
        """What preprocessor_config.json holds."""
        return {
            "do_resize": True,
            "size": {"height": self.size[0], "width": self.size[1]},
            "keep_aspect_ratio": True,
            "resample": _BILINEAR,
            "do_pad": True,
            "pad_value": self.fill,
            "pad_position": "bottom_right",
            "channel_order": self.channel_order,
            "do_rescale": False,
            "do_normalize": False,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: str = FILE) -> Preprocessing:
        """What a preprocessor_config.json describes.

        Raises:
            UserError: It asks for something that is not done here, or lacks a value.
        """
        try:
            size = (int(values["size"]["height"]), int(values["size"]["width"]))
            found = cls(size, int(values["pad_value"]), cast(Any, str(values["channel_order"])))
        except (KeyError, TypeError, ValueError) as fault:
            what = f"{FILE} does not describe how YOLOX wants pictures: {type(fault).__name__} at {fault}"
            raise UserError(what, where, "fetch the model again") from None
        changed = [name for name, value in found.to_json().items() if values.get(name) != value]
        if changed or found.channel_order not in ("RGB", "BGR"):
            name = changed[0] if changed else "channel_order"
            what = f"{FILE} wants {name} to be {values.get(name)!r}, which is not done for YOLOX"
            raise UserError(what, where, "use the file that belongs to the weights")
        return found

    @classmethod
    def read(cls, folder: Path) -> Preprocessing:
        """What the model in a folder wants.

        Raises:
            UserError: There is no such file, or it describes something else.
        """
        file = folder / FILE
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"'{folder}' has no {FILE}", str(folder), "fetch the model again") from None
        except (UnicodeDecodeError, json.JSONDecodeError) as fault:
            raise UserError(f"{FILE} is not JSON: {fault}", str(file), "fetch the model again") from None
        return cls.from_json(values if isinstance(values, dict) else {}, str(file))

    def write(self, folder: Path) -> None:
        """Write preprocessor_config.json."""
        (folder / FILE).write_text(f"{json.dumps(self.to_json(), indent=2)}\n", encoding="utf-8")
