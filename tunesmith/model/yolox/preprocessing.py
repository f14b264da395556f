"""How YOLOX wants a picture, in the words of preprocessor_config.json. It knows no network and opens no picture.

Who does it to a picture is `tunesmith.pictures.preprocess`, which reads these words for every family.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = "preprocessor_config.json"
_BILINEAR = 2
"""Pillow's number of the filter, as Hugging Face writes it."""


def preprocessor_config(size: tuple[int, int]) -> dict[str, Any]:
    """All that an export or another program needs to do the same.

    A picture is scaled until it fits, lies at the upper left on grey, and is given as bytes, blue first: so the
    official weights were trained, and those of ``ddddocr``.

    Args:
        size: Height and width in pixels.
    """
    return {
        "do_resize": True,
        "size": {"height": size[0], "width": size[1]},
        "keep_aspect_ratio": True,
        "resample": _BILINEAR,
        "do_pad": True,
        "pad_value": 114,
        "pad_position": "bottom_right",
        "channel_order": "BGR",
        "do_rescale": False,
        "do_normalize": False,
    }


def write_preprocessor(folder: Path, size: tuple[int, int]) -> None:
    """Write preprocessor_config.json.

    Args:
        folder: Of the weights.
        size: Height and width in pixels.
    """
    (folder / FILE).write_text(f"{json.dumps(preprocessor_config(size), indent=2)}\n", encoding="utf-8")
