"""What tasks that generate pictures have in common: prompts, what pictures are held against, what a report shows.

It knows no model and no loss.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tunesmith.diffusion.checks import audit_rows, check_judged, check_settings
from tunesmith.diffusion.crop_sheet import draw_crops
from tunesmith.diffusion.encoders import open_encoder, open_text_encoder
from tunesmith.diffusion.findings import FINDING_CODES
from tunesmith.diffusion.formats import CaptionShape
from tunesmith.diffusion.panels import development_panels, generation_panels
from tunesmith.diffusion.pictures import Feeding, holds_token, picture_file, read, without_token
from tunesmith.diffusion.scores import Criteria, compared, goal_of, overfitting, unpack_picture
from tunesmith.diffusion.settings import GenerationOptions
from tunesmith.diffusion.tokens import Vocabulary
from tunesmith.model.weights import resolve
from tunesmith.recipe.sections import ModelSection
from tunesmith.task import Task
from tunesmith.traits import DataReference
from tunesmith.types import Facts, Finding, Row, Scores

SHEET, SHEET_PICTURES = "crops.jpg", 20
MOST_REFERENCES = 64
"""Most of a subject's pictures that generated ones are held against."""
PNG_DISTANCE = 0.5
"""Grey levels that pixels of the same picture may differ by on average: a level here and there."""


class GenerationTask(Task):
    """A task that makes pictures from prompts. Abstract: it has neither model nor loss."""

    columns = {"image": str, "text": str}  # noqa: RUF012
    target = "image"
    identity = ("content", "text")
    key_columns = ("image", "content", "text")
    seeded = True
    one_pass = False
    fresh_process = True
    validation_goal = "loss"
    validation_higher = False
    pipeline_tag = "text-to-image"
    unit = "pictures"
    references = (DataReference("Stable Diffusion with DreamBooth", 10),)
    file_columns = ("image",)
    audited = ("pictures", "captions")
    finding_codes = FINDING_CODES
    # A subject has a handful of pictures and one prompt, and a prompt that is held out needs no picture.
    spared = ("few-rows", "constant-column", "empty-value")
    Options = GenerationOptions
    options: GenerationOptions

    def __init__(self, options: GenerationOptions, source: Any, facts: Facts | None = None) -> None:
        wanted = options.metric
        self.goal = wanted if wanted != "auto" else "subject_fidelity" if options.token else "loss"
        self.higher_is_better = self.goal != "loss"
        super().__init__(options, source, facts)
        self.random = options.crop == "random" or options.flip or options.caption_dropout > 0
        self.views = options.views
        self.sample_epochs = options.samples.epochs

    @property
    def feeding(self) -> Feeding:
        """How pictures lie in the model's sizes."""
        raise NotImplementedError

    @property
    def tokenizers(self) -> Mapping[str, Any]:
        """By text encoder."""
        raise NotImplementedError

    @property
    def longest(self) -> Mapping[str, int]:
        """How many tokens each text encoder reads."""
        raise NotImplementedError

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The first tokenizer's, to tell what the token means already."""
        return None

    @classmethod
    def row_shape(cls, options: Any, *, answered: bool = True) -> CaptionShape:
        """Folders of pictures with captions in every common layout, and prompts."""
        return CaptionShape(prompt=options.prompt, answered=answered)

    @classmethod
    def class_column(cls) -> str | None:
        """A picture is no class."""
        return None

    def data_facts(self, rows: Sequence[Row]) -> tuple[dict[str, Any], list[str]]:
        """What becomes of the pictures, and which of them show the subject: for the facts, and for a person.

        Raises:
            UserError: Settings that contradict each other or the rows.
        """
        check_settings(self.options, rows)
        for setting in ("encoder", "text_scorer"):
            # Before anything is generated: what judges the pictures must be there.
            if (name := getattr(self.options, setting)) is not None:
                place = f"recipe: options.{setting}"
                resolve(ModelSection(name=name), where=place, shape_only=not self.source.files)
        lines = self.feeding.describe(rows)
        if self.options.text_scorer is None:
            lines.append("options.text_scorer names no CLIP model: how well pictures fit their prompts is not measured")
        values: dict[str, Any] = {"size": self.feeding.side}
        if self.options.token:
            ours = [row for row in rows if holds_token(row, self.options.token)]
            chosen = ours[:: max(1, len(ours) // MOST_REFERENCES)][:MOST_REFERENCES]
            values["subject"] = [
                {k: row.get(k) for k in ("id", "image", "content", "text", "height", "width")} for row in chosen
            ]
            lines.append(f"{self.options.token!r} stands for what {len(ours):,} pictures show")
        return values, lines

    def audit(self, train: Sequence[Row], held_out: Sequence[Row]) -> Iterable[Finding]:
        """Pictures and captions that can't be learned from, or would be learned otherwise than meant."""
        check_judged(self.options, self.goal, held_out)
        return audit_rows(
            self.options,
            train,
            held_out,
            self.folders,
            self.feeding,
            self.tokenizers,
            self.longest,
            self.vocabulary,
        )

    # What pictures are held against

    @cached_property
    def criteria(self) -> Criteria:
        """Encoders, and the subject's real pictures."""
        picture = open_encoder(self.options.encoder, where="recipe: options.encoder")
        text = None
        if self.options.text_scorer == self.options.encoder:
            text = picture
        elif self.options.text_scorer is not None:
            text = open_text_encoder(self.options.text_scorer, where="recipe: options.text_scorer")
        token = self.options.token
        references = [read(row, self.folders) for row in self.facts.values.get("subject", ())]
        return Criteria(
            picture,
            text,
            references=references,
            has_subject=lambda row: holds_token(row, token),
            prompt_of=lambda row: without_token(str(row["text"]), token),
            picture_of=self.own_picture,
        )

    def own_picture(self, row: Row) -> Any:
        """A row's own picture, uint8 [height, width, 3]; None where it has none."""
        if not row.get("image") or picture_file(row, self.folders) is None:
            return None
        return read(row, self.folders)

    def score(self, predictions: Sequence[Any], rows: Sequence[Row]) -> Scores:
        """Fidelity to subject, prompt and own picture, diversity, loss: those that can be told of these rows."""
        if not any("png" in one for one in predictions):
            losses = [one["loss"] for one in predictions if "loss" in one]
            return {"loss": float(np.mean(losses)) if losses else float("nan")}
        return self.criteria.rate(predictions, rows).scores()

    def tally(self, predictions: Sequence[Any], rows: Sequence[Row]) -> np.ndarray | None:
        """The goal's measures, float64 [rows, 2]."""
        if not any("png" in one for one in predictions):
            return None
        return self.criteria.tally(predictions, rows, self.goal)

    def goal_of(self, totals: np.ndarray) -> np.ndarray:
        """The goal of summed measures."""
        return goal_of(totals)

    def distance(self, one: Any, other: Any) -> float:
        """Mean difference of two pictures' pixels, as a share of what counts as the same picture."""
        if "png" not in one or "png" not in other:
            return abs(float(one.get("loss", 0.0)) - float(other.get("loss", 0.0)))
        first, second = (unpack_picture(p).astype(np.float64) for p in (one, other))
        # The receipt's tolerance is 1e-4: rounding may move a pixel by a level here and there.
        return float(np.abs(first - second).mean()) / PNG_DISTANCE * 1e-4

    # For a person

    def samples(self, held_out: Sequence[Row]) -> Sequence[Row]:
        """Some prompts with the token, some without."""
        count = self.options.samples.rows
        ours = [row for row in held_out if holds_token(row, self.options.token)]
        others = [row for row in held_out if not holds_token(row, self.options.token)]
        least = min(len(others), count // 4 if ours else count)
        return [*ours[: count - least], *others[:least]][:count]

    def show_samples(self, rows: Sequence[Row], taken: Sequence[tuple[int, Sequence[Any]]]) -> list[dict[str, Any]]:
        """The same prompts and seeds by step."""
        found = [{"step": step, "predictions": list(predictions)} for step, predictions in taken]
        return development_panels(rows, found, self.criteria)

    def show(self, rows: Sequence[Row], base: Sequence[Any] | None, tuned: Sequence[Any]) -> list[dict[str, Any]]:
        """Galleries base beside tuned, every metric with its interval, the real pictures."""
        after = self.criteria.rate(tuned, rows)
        before = None if base is None else self.criteria.rate(base, rows)
        found = compared(before, after) if before is not None else []
        panels = generation_panels(before, after, found=found)
        # The first is told to the person when the run ends.
        if panels and (warning := overfitting(found)) is not None:
            panels[0]["warning"] = warning.what
        return panels

    def write_previews(self, rows: Sequence[Row], folder: Path) -> list[Path]:
        """What is taken of each picture, drawn."""
        shown = [row for row in rows if not row.get("prior") and row.get("image")]
        # Those that lose most come first.
        shown = sorted(shown, key=lambda row: -self.feeding.crop(row).cut)[:SHEET_PICTURES]
        if not shown:
            return []
        drawn = [(str(row["image"]), read(row, self.folders, (224, 224)), self.feeding.crop(row)) for row in shown]
        draw_crops(drawn).save(folder / SHEET, quality=88)
        return [folder / SHEET]

    def inputs_of(self, given: str, columns: Mapping[str, str]) -> list[Row] | None:
        """None: an input is a prompt or a file of them."""
        return None

    def write_predictions(self, rows: Sequence[Row], predictions: Sequence[Any], folder: Path) -> list[str]:
        """The pictures, and a table of their prompts."""
        from PIL import Image

        table = []
        for number, (row, one) in enumerate(zip(rows, predictions, strict=True), 1):
            name = f"{number:04d}.png"
            Image.fromarray(unpack_picture(one)).save(folder / name)
            table.append({"file_name": name, "id": row["id"], "text": row["text"]})
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in table)
        (folder / "metadata.jsonl").write_text(text, encoding="utf-8")
        return [line["file_name"] for line in table]
