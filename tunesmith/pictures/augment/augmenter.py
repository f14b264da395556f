"""All steps in their order: one augmenter for the rows of a task. It knows no file, no row and no model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeAlias

import numpy as np
from PIL import Image

from tunesmith.data.draws import Draws
from tunesmith.errors import UserError
from tunesmith.pictures.augment.background import behind, covered
from tunesmith.pictures.augment.camera import photographed
from tunesmith.pictures.augment.describe import sentences, steps
from tunesmith.pictures.augment.light import relit
from tunesmith.pictures.augment.mosaic import TILES, mixup, mosaic
from tunesmith.pictures.augment.placement import Fit, place
from tunesmith.pictures.augment.presets import settings_of
from tunesmith.pictures.augment.sample import Sample, Size
from tunesmith.pictures.augment.settings import AugmentSettings, Preset
from tunesmith.pictures.augment.viewpoint import draw_view
from tunesmith.pictures.augment.warp import Filter, move, move_mask

Kind: TypeAlias = Literal["label", "boxes", "mask"]

FITS: dict[Kind, Fit] = {"label": "resize-crop", "boxes": "letterbox", "mask": "stretch"}
LEAST_SIDE = 1.0
"""Objects that are thinner than a pixel of the result can't be seen: they are dropped, counted."""


@dataclass(frozen=True)
class Mix:
    """What is put together for one row.

    Args:
        mosaic: Whether four pictures become one.
        mixup: Whether another picture is blended in.
        seed: From which the others are drawn.
    """

    mosaic: bool = False
    mixup: bool = False
    seed: int = 0

    @property
    def others(self) -> int:
        """How many pictures are needed besides the row's own."""
        return (TILES - 1 if self.mosaic else 0) + (1 if self.mixup else 0)

    def rows(self, count: int) -> list[int]:
        """Which rows out of ``count`` those are."""
        rng = np.random.Generator(np.random.PCG64(self.seed))
        return [int(row) for row in rng.integers(0, count, self.others)]


@dataclass(frozen=True)
class Augmenter:
    """Pictures as the model sees them while it learns. It holds no state: one may serve many threads.

    Args:
        settings: With every value filled in.
        size: Height and width of the model's input.
        kind: What is learned of a picture.
        fit: How a picture lies in the input when nothing is drawn, as in evaluation.
        shorter: For ``resize-crop``, see ``place``.
        resample: The filter.
        background_id: The class that masks give to the background.
        backgrounds: Pictures to paste on, uint8 [height, width, 3].
    """

    settings: AugmentSettings
    size: Size
    kind: Kind
    fit: Fit
    shorter: int | None = None
    resample: Filter = "bilinear"
    background_id: int = 0
    backgrounds: tuple[np.ndarray, ...] = ()

    @classmethod
    def of(
        cls,
        settings: Preset | AugmentSettings,
        size: Size,
        kind: Kind,
        *,
        fit: Fit | None = None,
        shorter: int | None = None,
        resample: Filter = "bilinear",
        background_id: int = 0,
        backgrounds: Sequence[np.ndarray] = (),
    ) -> Augmenter:
        """An augmenter from a recipe's ``augment``.

        Args:
            settings: A preset's name, or settings.
            size: Height and width of the model's input.
            kind: ``label``, ``boxes`` or ``mask``.
            fit: Default: resize-crop for labels, letterbox for boxes, stretch for masks.
            shorter: For ``resize-crop``, see ``place``.
            resample: The filter.
            background_id: The class that masks give to the background.
            backgrounds: Pictures to paste on, uint8 [height, width, 3]; with none they are painted.

        Raises:
            UserError: Mosaic or mixup for a kind of answer that can't be put together.
        """
        full = settings_of(settings)
        for step, kinds in (("mosaic", ("boxes", "mask")), ("mixup", ("boxes",))):
            if getattr(full, step) and kind not in kinds:
                what = f"augment.{step}: {getattr(full, step):g} can't go with a task that learns one {kind} a picture"
                raise UserError(what, f"recipe: options.augment.{step}", f"write {step}: 0, or remove the line")
        return cls(full, size, kind, fit or FITS[kind], shorter, resample, background_id, tuple(backgrounds))

    @property
    def random(self) -> bool:
        """Whether anything is drawn at all."""
        return bool(steps(self.settings))

    @property
    def enough(self) -> Size:
        """Height and width of which a decoder need not give more: no view enlarges a picture that is at least so large.

        ``Sample.with_picture`` brings boxes and mask to a picture that was decoded smaller.
        """
        view = self.settings.viewpoint
        zoom = max(1.0, view.scale[1] * (1 + 2 * view.perspective) / view.crop[0] ** 0.5)
        if self.fit == "resize-crop":
            zoom *= (self.shorter or max(self.size) / 0.875) / max(self.size)
        side = max(self.size) if view.quarter_turn else 0
        return (int(max(side, self.size[0]) * zoom + 1), int(max(side, self.size[1]) * zoom + 1))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """One picture at the wanted size; ``rng`` alone decides how it varies, and gives exactly one number."""
        draws = Draws(rng)
        matrix = self._view(sample.size, self.size, draws)
        moved = self._moved(sample, matrix)
        return self._finished(moved, draws, lambda: move_mask(np.zeros(sample.size, np.uint8), matrix, self.size))

    def plan(self, rng: np.random.Generator, progress: float = 0.0) -> Mix:
        """Whether a row is put together with others.

        Args:
            rng: The row's generator; exactly one number is taken from it.
            progress: Share of the epochs that are done, 0 to 1; within the close-out nothing is put together.
        """
        draws = Draws(rng)
        if progress >= 1 - self.settings.close_out:
            return Mix()
        joined = draws.happens("mosaic", self.settings.mosaic) is not None
        blended = draws.happens("mixup", self.settings.mixup) is not None
        return Mix(joined, blended, int(draws.of("others").integers(0, 2**63)))

    def mixed(self, samples: Sequence[Sample], mix: Mix, rng: np.random.Generator) -> Sample:
        """The row's own picture put together with others as planned; each has a viewpoint of its own.

        Args:
            samples: The row's own first, then ``mix.others`` more.
            mix: What ``plan`` gave.
            rng: The row's generator; exactly one number is taken from it.

        Raises:
            ValueError: Too few or too many samples.
        """
        if len(samples) != 1 + mix.others:
            raise ValueError(f"{1 + mix.others} pictures are needed, and {len(samples)} are given")
        if not mix.others:
            return self(samples[0], rng)
        draws = Draws(rng)
        views = [Draws(draws.of(f"view {i}")) for i in range(len(samples))]
        settings = self.settings.viewpoint
        if mix.mosaic:
            found = mosaic(
                samples[:TILES], self.size, draws.of("mosaic"),
                viewed=lambda i, source, size: self._view(source, size, views[i], fit="stretch"),
                min_visible=settings.min_visible, least_side=LEAST_SIDE, resample=self.resample,
            )  # fmt: skip
        else:
            found = self._moved(samples[0], self._view(samples[0].size, self.size, views[0]))
        if mix.mixup:
            other = self._moved(samples[-1], self._view(samples[-1].size, self.size, views[-1]))
            found = mixup(found, other, draws.of("mixup"))
        return self._finished(found, draws, None)

    def describe(self) -> tuple[str, ...]:
        """What happens to the pictures, for a person, a sentence a step."""
        return sentences(self.settings)

    def _view(self, source: Size, size: Size, draws: Draws, fit: Fit | None = None) -> np.ndarray:
        placed = partial(_placed, size=size, fit=fit or self.fit, shorter=self.shorter)
        return draw_view(self.settings.viewpoint, source, size, placed, draws)

    def _moved(self, sample: Sample, matrix: np.ndarray) -> Sample:
        return move(
            sample,
            matrix,
            self.size,
            resample=self.resample,
            min_visible=self.settings.viewpoint.min_visible,
            least_side=LEAST_SIDE,
        )

    def _finished(self, sample: Sample, draws: Draws, beyond: Callable[[], np.ndarray] | None) -> Sample:
        """Background, light and camera, on the picture as it lies; what was put together keeps its backgrounds."""
        settings, image = self.settings, Image.fromarray(sample.image)
        if beyond is not None:
            sample, image = behind(
                sample, image, settings.background, draws,
                beyond=beyond, background_id=self.background_id, backgrounds=self.backgrounds,
            )  # fmt: skip
        sample, image = covered(sample, image, settings.background, draws, settings.viewpoint.min_visible)
        image = photographed(relit(image, settings.light, draws), settings.camera, draws)
        return replace(sample, image=np.array(image))


def _placed(source: Size, size: Size, fit: Fit, shorter: int | None) -> np.ndarray:
    return place(source, size, fit, shorter).matrix
