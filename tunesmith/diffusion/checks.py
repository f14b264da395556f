"""What must hold of settings and rows before weights are loaded. It knows no model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.diffusion.findings import caption_findings
from tunesmith.diffusion.pictures import Feeding, holds_token
from tunesmith.diffusion.settings import GenerationOptions
from tunesmith.diffusion.tokens import CaptionLengths, Vocabulary, caption_lengths
from tunesmith.errors import UserError
from tunesmith.types import Finding, Row


def check_settings(options: GenerationOptions, rows: Sequence[Row]) -> None:
    """Refuse settings that contradict each other or the rows.

    Raises:
        UserError: Such a setting.
    """
    token = options.token
    if not any(row.get("image") for row in rows):
        fix = "give pictures; rows of prompts alone can only be held out (data.eval)"
        raise UserError("no training row has a picture", "data.train", fix)
    if options.learn_token and not token:
        fix = "write token: the word that stands for the subject, such as sks"
        raise UserError("options.learn_token: there is no token to learn", "recipe: options.learn_token", fix)
    if options.prior is not None and not token:
        fix = "write options.token, or leave options.prior out"
        raise UserError("options.prior: class pictures belong to a subject with a token", "recipe: options.prior", fix)
    if options.prior is not None and holds_token({"text": options.prior.prompt}, token):
        what = f"options.prior.prompt holds the token {token!r}: class pictures show others of its class"
        raise UserError(what, "recipe: options.prior.prompt", "leave the token out of it")
    if options.metric == "subject_fidelity" and not token:
        fix = "write options.token, or another metric"
        raise UserError("options.metric: there is no subject without a token", "recipe: options.metric", fix)
    if options.metric == "prompt_fidelity" and options.text_scorer is None:
        fix = "write options.text_scorer: a CLIP model by name or folder"
        raise UserError("options.metric: nothing compares pictures with prompts", "recipe: options.metric", fix)


def check_judged(options: GenerationOptions, goal: str, held_out: Sequence[Row]) -> None:
    """Refuse held-out rows that say nothing of the metric that the verdict is about.

    Raises:
        UserError: None of them does.
    """
    token = options.token
    if goal in ("loss", "picture_fidelity") and not any(row.get("image") for row in held_out):
        what = f"options.metric: {goal} needs held-out pictures, and {len(held_out):,} held-out rows are prompts alone"
        fix = "name a source of pictures in data.eval, or a share of data.train such as 0.2"
        raise UserError(what, "data.eval", f"{fix}; or write options.token, if one subject is learned")
    judged = token and goal in ("subject_fidelity", "prompt_fidelity")
    if judged and not any(holds_token(row, token) for row in held_out):
        what = f"options.metric: {goal} is measured on prompts with {token!r}, and none is held out"
        raise UserError(what, "data.eval", f"add prompts with it: a photo of {token}")


def audit_rows(
    options: GenerationOptions,
    train: Sequence[Row],
    held_out: Sequence[Row],
    folders: Sequence[Path],
    feeding: Feeding,
    tokenizers: Mapping[str, Any],
    longest: Mapping[str, int],
    vocabulary: Vocabulary | None,
) -> Iterable[Finding]:
    """What is wrong with pictures and captions.

    Args:
        options: The recipe's.
        train: Training rows.
        held_out: Held-out rows.
        folders: Where relative paths start from.
        feeding: How pictures lie in buckets.
        tokenizers: By text encoder.
        longest: How many tokens each encoder reads.
        vocabulary: What the token meant before; None where it is a new one.
    """

    def lengths(rows: Sequence[Row]) -> list[CaptionLengths]:
        texts = [str(row["text"]) for row in rows]
        return [caption_lengths(t, texts, most=longest[name], name=name) for name, t in tokenizers.items()]

    return caption_findings(
        train,
        held_out,
        folders,
        source="data.train",
        held_out_source="data.eval",
        buckets=feeding.buckets,
        lengths=lengths(train),
        held_out_lengths=lengths(held_out),
        prompt=options.prompt,
        token=options.token,
        class_noun=options.subject,
        vocabulary=None if options.learn_token else vocabulary,
    )
