"""Whether captions fit their pictures, by a model that puts both into one space (CLIP). It knows no finding.

The cosine of a caption and its picture says little by itself: some captions are near every picture. So both means are
taken off, and the pair is held against pairs of its picture with other captions, and of its caption with other
pictures. A caption that fits no better than every other one at random is of another picture.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.diffusion.encoders import PretrainedEncoder, open_text_encoder
from tunesmith.model.weights import resolve, weights_digest
from tunesmith.pictures.files import PictureFault, read_picture
from tunesmith.recipe.sections import ModelSection

if TYPE_CHECKING:
    from tunesmith.audit.data import AuditData
    from tunesmith.audit.picture_table import PictureSide

Floats = NDArray[np.float64]

PICTURES, TEXTS = "caption-picture-1", "caption-text-1"
TOGETHER = 32
REFERENCES = 1000


@dataclass(frozen=True)
class Fit:
    """How well each caption fits its picture.

    Args:
        pictures: Unit vectors, float64 [n, width].
        texts: The same of captions.
        rank: The share of random pairs with this picture or this caption that fit at least as well, 0 (best) to 1.
        margin: By how many deviations of random pairs the pair fits better than they do.
        gain: By how many of them another caption would fit the picture better, and another picture the caption: the
            less of the two.
    """

    pictures: Floats
    texts: Floats
    rank: Floats
    margin: Floats
    gain: Floats

    def tells(self) -> float:
        """How well the encoder tells own captions from others: 1 always, 0.5 not at all."""
        return float(1 - self.rank.mean())

    def of_pairs(self, pictures: Sequence[int], captions: Sequence[int]) -> Floats:
        """How well some captions fit some pictures, both means taken off: float64 [pictures, captions]."""
        rows, columns = _means(self.pictures, self.texts)
        own = self.pictures[list(pictures)] @ self.texts[list(captions)].T
        found: Floats = own - rows[list(pictures)][:, None] - columns[list(captions)][None]
        return found


def caption_vectors(
    data: AuditData, named: str, pictures: PictureSide, at: Sequence[int], captions: Sequence[str]
) -> tuple[Floats, Floats]:
    """Unit vectors of pictures and of their captions, each float64 [n, width]; kept by content.

    Args:
        data: The audit.
        named: The encoder, as the recipe has it.
        pictures: Of one side.
        at: Which of them, all readable.
        captions: One for each, without the subject's token.

    Raises:
        UserError: The encoder can't be opened.
    """
    where = "recipe: options.text_scorer"
    weights = weights_digest(resolve(ModelSection(name=named), where=where))[:16]
    opened: list[PretrainedEncoder] = []

    def encoder() -> PretrainedEncoder:
        if not opened:
            opened.append(open_text_encoder(named, where=where))
        return opened[0]

    def look(positions: Sequence[int]) -> Iterator[Any]:
        side = 2 * max(encoder().preprocessing.size) if positions else 0
        for start in range(0, len(positions), TOGETHER):
            some = positions[start : start + TOGETHER]
            images = [_read(pictures.paths[at[i]], side) for i in some]
            there = [image for image in images if image is not None]
            vectors: Iterator[Any] = iter(encoder().encode(there) if there else [])
            yield from (None if image is None else _packed(next(vectors)) for image in images)

    def read(positions: Sequence[int]) -> Iterator[Any]:
        for start in range(0, len(positions), TOGETHER):
            some = [captions[i] for i in positions[start : start + TOGETHER]]
            yield from map(_packed, encoder().encode_texts(some))

    def tell(what: str) -> Any:
        return lambda done, total: data.progress(what, done, total)

    keys = [pictures.contents[i] for i in at]
    seen = data.kept.measured(f"{PICTURES}-{weights}", keys, look, tell("encoding pictures"))
    said = data.kept.measured(
        f"{TEXTS}-{weights}",
        [data.digest({"text": text}, ["text"]) for text in captions],
        read,
        tell("encoding captions"),
    )
    return _unpacked(seen), _unpacked(said)


def _read(path: Path | None, side: int) -> NDArray[np.uint8] | None:
    try:
        return None if path is None else read_picture(path, at_least=(side, side))
    except PictureFault:
        return None


def _packed(vector: NDArray[Any]) -> str:
    return base64.b64encode(np.asarray(vector, np.float16).tobytes()).decode("ascii")


def _unpacked(kept: Sequence[str | None]) -> Floats:
    width = next((len(base64.b64decode(one)) // 2 for one in kept if one is not None), 1)
    found = np.full((len(kept), width), np.nan)
    for at, one in enumerate(kept):
        if one is not None:
            found[at] = np.frombuffer(base64.b64decode(one), np.float16)
    return found


def fit_of(pictures: Floats, texts: Floats, captions: Sequence[str], seed: int = 0) -> Fit:
    """Hold every pair against random ones.

    Args:
        pictures: Unit vectors, float64 [n, width].
        texts: The same of captions.
        captions: The captions: pairs with the same caption are no random ones.
        seed: Draws the random ones, where there are more than `REFERENCES` rows.
    """
    count = len(pictures)
    chosen = np.arange(count)
    if count > REFERENCES:
        chosen = np.sort(np.random.default_rng([seed, count]).choice(count, REFERENCES, replace=False))
    rows, columns = _means(pictures, texts)
    own = np.einsum("nw,nw->n", pictures, texts) - rows - columns
    _, kinds = np.unique(np.array(captions, dtype=str), return_inverse=True)
    other = kinds[:, None] != kinds[chosen][None]
    # Of a picture with other captions, and of a caption with other pictures.
    by_picture = pictures @ texts[chosen].T - rows[:, None] - columns[chosen][None]
    by_caption = texts @ pictures[chosen].T - columns[:, None] - rows[chosen][None]
    beaten = ((by_picture >= own[:, None]) & other).sum(axis=1) + ((by_caption >= own[:, None]) & other).sum(axis=1)
    pairs = np.maximum(2 * other.sum(axis=1), 1)
    spread = np.sqrt((np.where(other, by_picture, 0) ** 2).sum(axis=1) / np.maximum(other.sum(axis=1), 1))
    margin = np.divide(own, spread, out=np.zeros(count), where=spread > 0)
    best = np.minimum(*(np.where(other, found, -np.inf).max(axis=1) for found in (by_picture, by_caption)))
    gain = np.divide(best - own, spread, out=np.zeros(count), where=(spread > 0) & np.isfinite(best))
    return Fit(pictures, texts, beaten / pairs, margin, gain)


def _means(pictures: Floats, texts: Floats) -> tuple[Floats, Floats]:
    """What is near everything: each picture's mean cosine to captions, each caption's to pictures less their mean."""
    rows = pictures @ texts.mean(axis=0)
    columns = texts @ pictures.mean(axis=0)
    return rows, columns - columns.mean()


def swapped_pairs(fit: Fit, bad: Sequence[int], sure: float) -> list[tuple[int, int]]:
    """Pictures among the bad ones, each with the bad row whose caption is its own: the best for it, and it for that.

    Args:
        fit: Of all rows.
        bad: Rows whose captions fit badly.
        sure: Deviations of random pairs by which the other caption must fit better.
    """
    if len(bad) < 2:
        return []
    fits = fit.of_pairs(bad, bad)
    spread = float(np.std(fits)) or 1.0
    own = np.diag(fits).copy()
    np.fill_diagonal(fits, -np.inf)
    best, back = fits.argmax(axis=1), fits.argmax(axis=0)
    return [
        (bad[at], bad[int(other)])
        for at, other in enumerate(best)
        if back[other] == at and fits[at, other] - own[at] > sure * spread
    ]
