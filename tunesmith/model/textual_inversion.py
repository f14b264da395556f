"""The vectors of one new token (textual inversion, arXiv:2208.01618) in the file that pipelines load.

With one text encoder the token is the tensor's name, as diffusers' training script writes it; with the two of SDXL the
names are ``clip_l`` and ``clip_g``, and the token stands in the header alone. It knows files; no model or tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from tunesmith.errors import UserError
from tunesmith.model.diffusion_lora import TEXT_ENCODERS, read_tensors, write_tensors

EMBEDDING_FILE = "learned_embeds.safetensors"
_SDXL = {"clip_l": TEXT_ENCODERS[0], "clip_g": TEXT_ENCODERS[1]}


@dataclass(frozen=True)
class Embedding:
    """What a file holds.

    Args:
        token: The token's text; None where the file does not say it.
        vectors: Text encoder (``text_encoder``, ``text_encoder_2``) to the token's vectors, [n, width]. With n > 1
            diffusers names the further ones ``token_1``, ``token_2``, ... and puts them into a prompt behind it.
    """

    token: str | None
    vectors: Mapping[str, Tensor]


def write_embedding(file: str | Path, token: str, vectors: Mapping[str, Tensor]) -> Path:
    """Write a token's vectors for ``load_textual_inversion``.

    Args:
        file: Where to write; its folder is made if need be. A folder's file is called ``learned_embeds.safetensors``.
        token: The token's text.
        vectors: ``text_encoder`` and perhaps ``text_encoder_2`` to vectors, [n, width], n the same for both.

    Returns:
        The file.
    """
    if set(vectors) not in ({TEXT_ENCODERS[0]}, set(TEXT_ENCODERS)):
        raise ValueError(f"vectors are for text_encoder, or for it and text_encoder_2; not for {sorted(vectors)}")
    if any(value.ndim != 2 for value in vectors.values()) or len({len(value) for value in vectors.values()}) > 1:
        shapes = {part: tuple(value.shape) for part, value in vectors.items()}
        raise ValueError(f"vectors are [n, width], n the same for each text encoder; not {shapes}")
    names = {token: TEXT_ENCODERS[0]} if len(vectors) == 1 else _SDXL
    path = Path(file)
    write_tensors(path, {name: vectors[part] for name, part in names.items()}, {"token": token})
    return path


def read_embedding(file: str | Path) -> Embedding:
    """Read a token's vectors, whoever wrote them.

    Args:
        file: The file, or the folder that holds it as ``learned_embeds.safetensors``.

    Raises:
        UserError: A file that is missing or broken, or that holds something else.
    """
    path = Path(file)
    path = path / EMBEDDING_FILE if path.is_dir() else path
    tensors, header = read_tensors(path)
    # Single vectors are saved flat by some scripts.
    vectors = {name: value[None] if value.ndim == 1 else value for name, value in tensors.items()}
    if all(value.ndim == 2 for value in vectors.values()):
        if set(vectors) == set(_SDXL):
            return Embedding(header.get("token"), {part: vectors[name] for name, part in _SDXL.items()})
        if len(vectors) == 1:
            name, value = next(iter(vectors.items()))
            return Embedding(header.get("token", name), {TEXT_ENCODERS[0]: value})
    what = f"the file holds no token's vectors but {', '.join(sorted(tensors)[:3]) or 'nothing'}"
    raise UserError(what, str(path), "name a file of textual inversion, as diffusers or tunesmith saves it")
