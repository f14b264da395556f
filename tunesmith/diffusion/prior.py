"""Class pictures for prior preservation: generated once by the pretrained model, kept, learned beside the subject's.

After DreamBooth (arXiv:2208.12242, section 3.2). It knows rows and files; what generates is given.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from tunesmith.data.digest import canonical_json
from tunesmith.diffusion.scores import unpack_picture
from tunesmith.diffusion.settings import GenerationOptions
from tunesmith.machine import cache_folder
from tunesmith.model.weights import Weights, weights_digest
from tunesmith.types import Row

AT_ONCE = 8


def prior_rows(options: GenerationOptions, source: Weights, side: int) -> list[Row]:
    """A row for each class picture, with the place where it lies or will lie.

    What decides a picture decides its folder: the weights, the prompt, the size, how it is sampled, from what noise.
    """
    prior = options.prior
    assert prior is not None
    about = [weights_digest(source), prior.prompt, side, options.steps, options.guidance, options.seed]
    key = blake2b(canonical_json(about), digest_size=12).hexdigest()
    folder = cache_folder("class-pictures", key)
    return [
        {
            "id": f"class-{number:04d}",
            "image": str(folder / f"{number:04d}.png"),
            "text": prior.prompt,
            "content": f"{key}-{number}",
            "height": side,
            "width": side,
            "prior": True,
        }
        for number in range(prior.pictures)
    ]


def missing(rows: Sequence[Row]) -> list[Row]:
    """Class pictures that do not exist yet."""
    return [row for row in rows if row.get("prior") and not Path(row["image"]).is_file()]


def write_prior(predict: Callable[[Sequence[Row]], list[Any]], rows: Sequence[Row]) -> None:
    """Generate class pictures; what is there when this is stopped is not made again.

    Args:
        predict: Predictions of prompts, with the pretrained model.
        rows: Those that are missing.
    """
    from PIL import Image

    for start in range(0, len(rows), AT_ONCE):
        some = rows[start : start + AT_ONCE]
        asked = [{**row, "image": ""} for row in some]
        for row, found in zip(some, predict(asked), strict=True):
            file = Path(row["image"])
            # Two runs may make the same pictures at the same time.
            draft = file.with_suffix(f".{os.getpid()}.tmp")
            Image.fromarray(unpack_picture(found)).save(draft, "PNG")
            draft.replace(file)
