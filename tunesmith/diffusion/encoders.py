"""Encoders that judge generated pictures: a picture or a text becomes a unit vector. They know no prompt's meaning.

What encodes is named by the recipe: a CLIP folder or hub id (pictures and texts), a DINOv2, ViT or other picture
model, or a starter. Numbers of different encoders can't be compared with each other.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from tunesmith.errors import UserError
from tunesmith.pictures.augment import Sample, fit
from tunesmith.pictures.preprocess import FILE, Preprocessing, as_bytes
from tunesmith.recipe.sections import ModelSection

if TYPE_CHECKING:
    from tunesmith.model.towers import Towers

Picture: TypeAlias = NDArray[np.uint8]
"""uint8 [height, width, 3], RGB."""

Vectors: TypeAlias = NDArray[np.float32]
"""float32 [n, width], each of length 1."""

T = TypeVar("T")

AT_ONCE = 4
"""Pictures or texts in one forward pass."""

KEPT = 20_000
"""Vectors that are remembered, the latest; 60 MB at a width of 768."""

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class PictureEncoder(Protocol):
    """Turns pictures into vectors whose cosine says how alike they are."""

    @property
    def name(self) -> str:
        """As a person named it; it stands beside every number that it gives."""

    def encode(self, pictures: Sequence[Picture]) -> Vectors:
        """Pictures of any size to unit vectors, float32 [n, width]."""


class TextEncoder(PictureEncoder, Protocol):
    """Turns texts, too, into vectors of the same space."""

    @property
    def longest(self) -> int:
        """Most tokens of a text that are read."""

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Texts to unit vectors, float32 [n, width]."""

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, however many; what is beyond ``longest`` is not read."""


class PretrainedEncoder:
    """A `PictureEncoder` on pretrained weights, and a `TextEncoder` where they are a CLIP's.

    Without gradients, in fp32, a batch at a time. The vector of a picture or text is remembered by its content, so
    that scoring it again costs its digest.

    Args:
        name: As the recipe has it.
        towers: The networks.
        preprocessing: How pictures are fed.
    """

    def __init__(self, name: str, towers: Towers, preprocessing: Preprocessing) -> None:
        self.name, self.towers, self.preprocessing = name, towers, preprocessing
        self._kept: dict[bytes, NDArray[np.float32]] = {}

    @property
    def reads_texts(self) -> bool:
        """Whether it has a text tower."""
        return self.towers.reads_texts

    @property
    def longest(self) -> int:
        """Most tokens of a text that are read; 0 without a text tower."""
        return self.towers.longest

    def encode(self, pictures: Sequence[Picture]) -> Vectors:
        """Pictures of any size to unit vectors, float32 [n, width].

        Raises:
            ValueError: One is not uint8 [height, width, 3], or there are none.
        """
        for picture in pictures:
            if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[-1] != 3:
                raise ValueError(f"a picture is uint8 [height, width, 3], not {picture.dtype} {list(picture.shape)}")
        keys = [_digest(f"picture {p.shape}", np.ascontiguousarray(p).tobytes()) for p in pictures]
        return self._remembered(pictures, keys, self._of_pictures)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Texts to unit vectors, float32 [n, width].

        Raises:
            UserError: There is no text tower.
            ValueError: There are no texts.
        """
        keys = [_digest("text", text.encode("utf-8", "surrogatepass")) for text in texts]
        return self._remembered(texts, keys, self._of_texts)

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, those at its ends with them.

        Raises:
            UserError: There is no text tower.
        """
        return self.towers.lengths(list(texts))

    def _remembered(
        self, inputs: Sequence[T], keys: Sequence[bytes], encode: Callable[[Sequence[T]], Vectors]
    ) -> Vectors:
        if not inputs:
            raise ValueError("there is nothing to encode")
        # Those of this call are held beside what is kept, which may be less than the call needs.
        known = {key: self._kept[key] for key in keys if key in self._kept}
        new = [at for key, at in dict(zip(keys, range(len(keys)), strict=True)).items() if key not in known]
        for start in range(0, len(new), AT_ONCE):
            some = new[start : start + AT_ONCE]
            known |= dict(zip((keys[at] for at in some), encode([inputs[at] for at in some]), strict=True))
        self._kept |= known
        for key in list(self._kept)[: max(0, len(self._kept) - KEPT)]:
            del self._kept[key]
        return np.stack([known[key] for key in keys])

    def _of_pictures(self, pictures: Sequence[Picture]) -> Vectors:
        import torch

        wanted = self.preprocessing
        placed = (
            fit(Sample(picture), wanted.size, wanted.fit, shorter=wanted.shorter, resample=wanted.filter)[0].image
            for picture in pictures
        )
        pixels = torch.stack([as_bytes(image) for image in placed]).to(self.towers.device)
        found: Vectors = self.towers.of_pictures(wanted.numbers(pixels)).cpu().numpy()
        return found

    def _of_texts(self, texts: Sequence[str]) -> Vectors:
        found: Vectors = self.towers.of_texts(list(texts)).cpu().numpy()
        return found


def open_encoder(named: str, *, revision: str | None = None, device: str = "cpu", where: str = "") -> PretrainedEncoder:
    """The encoder that a recipe names.

    Args:
        named: A folder, a hub id, or ``starter:NAME`` (``starter:mobilenet-v2`` where no CLIP can be had).
        revision: Of a hub id.
        device: Where it computes.
        where: The setting that named it, for errors.

    Raises:
        UserError: It is not there, is no model of pictures, or its weights are not whole.
    """
    from tunesmith.model.towers import Towers
    from tunesmith.model.weights import resolve

    source = resolve(ModelSection(name=named, revision=revision), where=where)
    towers = Towers(source, device)
    return PretrainedEncoder(named, towers, _preprocessing(Path(source.folder), towers))


def open_text_encoder(
    named: str, *, revision: str | None = None, device: str = "cpu", where: str = ""
) -> PretrainedEncoder:
    """The same with a text tower, for the fidelity of pictures to prompts.

    Raises:
        UserError: As `open_encoder`; or it has no text tower or no tokenizer.
    """
    found = open_encoder(named, revision=revision, device=device, where=where)
    found.lengths([""])
    return found


def _preprocessing(folder: Path, towers: Towers) -> Preprocessing:
    """How the folder says that pictures are fed; where it does not, as CLIP's or ImageNet's models are."""
    side = towers.side
    unwritten = Preprocessing((side, side), "resize-crop", side, "bicubic", mean=CLIP_MEAN, std=CLIP_STD)
    otherwise = unwritten if towers.reads_texts else None
    joined = folder / "processor_config.json"
    if not (folder / FILE).is_file() and joined.is_file():
        # transformers 5 writes one file for a model's tokenizer and picture processor, of which ours is a part.
        try:
            part: Any = json.loads(joined.read_text(encoding="utf-8"))["image_processor"]
        except (ValueError, LookupError, TypeError) as fault:
            what = f"{joined.name} has no image_processor that can be read: {type(fault).__name__}: {fault}"
            raise UserError(what, str(joined), f"put the model's {FILE} beside its weights") from fault
        with tempfile.TemporaryDirectory() as place:
            (Path(place) / FILE).write_text(json.dumps(part), encoding="utf-8")
            return Preprocessing.read(Path(place), "resize-crop", side, otherwise)
    return Preprocessing.read(folder, "resize-crop", side, otherwise)


def _digest(kind: str, content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16, key=kind.encode()[:64]).digest()
