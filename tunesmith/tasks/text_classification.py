"""Text classification: one of several labels for a text. It knows no loop and no file format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from tunesmith.classifier import Classifier, ClassifierOptions
from tunesmith.errors import UserError
from tunesmith.model.pretrained import (
    absent_parameters,
    chosen_length,
    load_config,
    load_model,
    load_tokenizer,
    renew_output,
    stored_labels,
)
from tunesmith.model.sentence import SentenceClassifier, SentenceEncoder, pooling_of
from tunesmith.types import Batch, Example, Facts, Finding, Row

SURVEYED_ROWS = 20_000
TEMPERATURE = 20.0


class TextOptions(ClassifierOptions):
    """Settings of text classification."""

    max_length: Annotated[int, Field(gt=0)] | Literal["auto"] = Field(
        "auto",
        description="Most tokens of a text; auto takes the 99.5th percentile, bounded by the model. Cuts are counted.",
    )
    pooling: Literal["auto", "model", "mean", "cls", "max", "lasttoken"] = Field(
        "auto",
        description="How tokens become one vector: model takes the architecture's own classification head; mean, cls, "
        "max and lasttoken pool as a sentence encoder does; auto takes what a sentence encoder's folder says, else "
        "model.",
    )
    zero_shot_template: str = Field(
        "{}", pattern=r"\{\}", description="Sentence around a label name for the zero-shot base, with {} for the name."
    )


class TextClassification(Classifier):
    """A text to a label, with any transformers encoder or decoder, or a sentence encoder."""

    name = "text-classification"
    columns = {"text": str, "label": object}  # noqa: RUF012
    Options = TextOptions
    audited = ("text", "labels")
    finding_codes = ("truncated", "similar-labels")
    adapter_type = "SEQ_CLS"
    pipeline_tag = "text-classification"
    options: TextOptions

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return load_tokenizer(self.source)

    @property
    def pooling(self) -> str:
        """``model``, or the pooling of a sentence encoder."""
        if self.adapted and self.options.pooling not in ("auto", "model"):
            what = f"options.pooling: {self.options.pooling} can't go with an adapter: peft knows no such model"
            raise UserError(what, "recipe: options.pooling", "write pooling: model, or remove the adapter")
        if self.options.pooling != "auto":
            return self.options.pooling
        # An adapter is saved for peft, which loads it onto the architecture's own classifier.
        return "model" if self.adapted else pooling_of(Path(self.source.folder)) or "model"

    def survey(self, rows: Sequence[Row]) -> Facts:
        """Labels with their counts, and lengths in tokens."""
        of_labels, shares = self.label_facts(rows)
        step = max(1, len(rows) // SURVEYED_ROWS)
        lengths = np.array([n for n in self._token_counts(_text(rows[i]) for i in range(0, len(rows), step))])
        limit = chosen_length(self.source, self.tokenizer, self.options.max_length, lengths)
        cut = float((lengths > limit).mean())
        lines = (
            shares,
            f"lengths in tokens: median {np.median(lengths):.0f}, "
            f"99.5th percentile {np.percentile(lengths, 99.5):.0f}, longest {lengths.max()}",
            f"max_length {limit} ({'auto' if self.options.max_length == 'auto' else 'recipe'}): "
            f"{cut:.2%} of the training rows are cut",
        )
        values = of_labels | {"max_length": limit, "truncated_share": cut}
        return Facts(values, lines)

    def _token_counts(self, texts: Iterable[str]) -> Iterator[int]:
        left = iter(texts)
        while batch := [str(text) for text in islice(left, 256)]:
            yield from map(len, self.tokenizer(batch, verbose=False)["input_ids"])

    def audit(self, train: Sequence[Row], held_out: Sequence[Row]) -> Iterable[Finding]:
        """Rows that are cut, and labels that differ only in case or blanks."""
        limit = self.facts.values["max_length"]
        # Fewer characters than tokens allowed can't be cut: only the longer texts are tokenized again.
        long = [row for rows in (train, held_out) for row in rows if len(_text(row)) > limit]
        counted = self._token_counts(map(_text, long))
        cut = [(row, n) for row, n in zip(long, counted, strict=True) if n > limit]
        if cut:
            share = len(cut) / (len(train) + len(held_out))
            yield Finding(
                "truncated",
                "warning" if share > 0.05 else "note",
                f"{len(cut)} texts are longer than {limit} tokens and lose their end; "
                f"the longest has {max(n for _, n in cut):,}",
                "text",
                "raise options.max_length, shorten the texts, or take a model with a longer input",
                tuple(row["id"] for row, _ in cut[:5]),
                share,
            )
        yield from super().audit(train, held_out)

    def _config(self) -> Any:
        names = dict(enumerate(self.labels))
        config = load_config(
            self.source, num_labels=len(names), id2label=names, label2id={v: k for k, v in names.items()}
        )
        config.problem_type = "single_label_classification"
        # Heads of decoders find a text's end by this number: it must be the one that ``collate`` pads with.
        config.pad_token_id = self.tokenizer.pad_token_id
        if getattr(config, "use_cache", False):
            # Keys and values of earlier tokens serve generation; here they would only fill memory.
            config.use_cache = False
        return config

    def load(self) -> nn.Module:
        """The architecture's own classifier, or a sentence encoder with a linear head."""
        from transformers import AutoModel, AutoModelForSequenceClassification

        config = self._config()
        if self.pooling == "model":
            model, fresh = load_model(AutoModelForSequenceClassification, self.source, config)
            head = {n for n, _ in model.named_parameters() if not n.startswith(model.base_model_prefix + ".")}
            self.knows_labels = stored_labels(load_config(self.source)) == self.labels and not (fresh & head)
            # A head for as many other labels fits in shape alone: what it knows is about something else.
            self.fresh = (
                fresh
                if stored_labels(load_config(self.source)) == self.labels
                else fresh | renew_output(model, head, len(self.labels))
            )
            return model  # type: ignore[no-any-return]
        transformer, fresh = load_model(AutoModel, self.source, config)
        model = self._sentence_model(transformer, config)
        self.knows_labels = stored_labels(load_config(self.source)) == self.labels and model.load_head(
            Path(self.source.folder)
        )
        kept = frozenset() if self.knows_labels else frozenset({"classifier.weight", "classifier.bias"})
        inside = {f"encoder.transformer.{name}" for name in fresh}
        self.fresh = frozenset(inside & {n for n, _ in model.named_parameters()}) | kept
        return model

    def _sentence_model(self, transformer: nn.Module, config: Any) -> SentenceClassifier:
        dropout = next((getattr(config, n) for n in _HEAD_DROPOUT if getattr(config, n, None) is not None), 0.0)
        return SentenceClassifier(SentenceEncoder(transformer, self.pooling), len(self.labels), dropout)

    def skeleton(self) -> nn.Module:
        """The model's shape on the meta device, from its configuration alone."""
        from transformers import AutoModel, AutoModelForSequenceClassification

        config = self._config()
        with torch.device("meta"):
            if self.pooling != "model":
                return self._sentence_model(AutoModel.from_config(config), config)
            model = AutoModelForSequenceClassification.from_config(config)
        self.fresh = absent_parameters(self.source, model)
        return model  # type: ignore[no-any-return]

    def encode(self, row: Row, rng: np.random.Generator | None = None) -> Example:
        """Token ids, cut at ``max_length``, and the label's number."""
        ids = self.tokenizer(_text(row), truncation=True, max_length=self.facts.values["max_length"])["input_ids"]
        return self._example(ids, row)

    def _example(self, ids: list[int], row: Row) -> Example:
        # An empty text is no token at all where the tokenizer adds none of its own (GPT-2).
        ids = ids or [self._anything]
        example: dict[str, Any] = {"input_ids": torch.tensor(ids, dtype=torch.int64)}
        if (label := self.label_number(row)) is not None:
            example["label"] = label
        return example

    @cached_property
    def _anything(self) -> int:
        known = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id, self.tokenizer.pad_token_id)
        return next(int(token) for token in known if token is not None)

    @cached_property
    def _pads_left(self) -> bool:
        """Only where the head reads the last place (XLNet).

        Elsewhere padding stands on the right, whatever the tokenizer prefers for generation: heads of decoders find the
        last token, and learned positions count from the left.
        """
        return getattr(load_config(self.source), "summary_type", None) == "last" and self.pooling == "model"

    def encode_many(self, rows: Sequence[Row]) -> list[Example]:
        """The same for many rows: the tokenizer takes a batch in a fraction of the time."""
        limit = self.facts.values["max_length"]
        found = self.tokenizer([_text(row) for row in rows], truncation=True, max_length=limit)["input_ids"]
        return [self._example(ids, row) for ids, row in zip(found, rows, strict=True)]

    def length(self, example: Example) -> int:
        """Tokens."""
        return len(example["input_ids"])

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Padded ids and mask [texts, tokens], labels [texts]."""
        texts = [example["input_ids"] for example in examples]
        lengths = torch.tensor([text.shape[0] for text in texts])
        side = "left" if self._pads_left else "right"
        # One call for all rows: with a cached backbone this is a good part of a step.
        ids = pad_sequence(texts, batch_first=True, padding_value=self.tokenizer.pad_token_id, padding_side=side)
        place = torch.arange(ids.shape[1])
        place = place.flip(0) if self._pads_left else place
        batch: Batch = {"input_ids": ids, "attention_mask": (place < lengths[:, None]).to(torch.int64)}
        if all("label" in e for e in examples):
            batch["label"] = torch.stack([e["label"] for e in examples])
        return batch

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Logits of a batch, [texts, labels]."""
        out = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        return out if isinstance(out, Tensor) else out.logits

    def bases(self, model: nn.Module, train: Sequence[Row]) -> dict[str, Callable[[nn.Module, Batch], list[Any]]]:
        """The majority class; a sentence encoder's zero-shot by label names; a head that already knows these labels."""
        found = super().bases(model, train)
        if isinstance(model, SentenceClassifier):
            found["zero-shot by label names"] = self._zero_shot(model)
        return found

    def _zero_shot(self, model: SentenceClassifier) -> Callable[[nn.Module, Batch], list[Any]]:
        names: list[Tensor] = []

        def predict(_model: nn.Module, batch: Batch) -> list[Any]:
            if not names:
                texts = [self.options.zero_shot_template.format(label.replace("_", " ")) for label in self.labels]
                prompts = self.collate([self.encode({"id": t, "text": t}) for t in texts])
                device = batch["input_ids"].device
                ids, mask = prompts["input_ids"].to(device), prompts["attention_mask"].to(device)
                names.append(F.normalize(model.encoder(ids, mask).float(), dim=-1))
            vectors = F.normalize(model.encoder(batch["input_ids"], batch["attention_mask"]).float(), dim=-1)
            return self.named((TEMPERATURE * vectors @ names[0].T).softmax(-1))

        return predict

    def show(self, rows: Sequence[Row], base: Sequence[Any] | None, tuned: Sequence[Any]) -> list[dict[str, Any]]:
        """Confusion matrices, the table by class, calibration, the worst mistakes, what changed."""
        return self.classes.panels(rows, base, tuned, _text)

    def save(self, model: nn.Module, folder: Path) -> None:
        """A transformers classifier, or a sentence-transformers folder whose ``encode`` gives the logits."""
        if isinstance(model, SentenceClassifier):
            model.save_pretrained(folder, self.facts.values["max_length"])
        else:
            model.save_pretrained(folder)  # type: ignore[operator]
        self.save_processor(folder)

    def save_processor(self, folder: Path) -> None:
        """The tokenizer."""
        self.tokenizer.padding_side = "left" if self._pads_left else "right"
        self.tokenizer.save_pretrained(folder)

    def load_snippet(self, folder: str) -> str:
        """Loading without this project."""
        if self.pooling == "model":
            return (
                "from transformers import pipeline\n\n"
                f'classify = pipeline("text-classification", model="{folder}")\nprint(classify("..."))'
            )
        return (
            "from sentence_transformers import SentenceTransformer\n\n"
            f'model = SentenceTransformer("{folder}")\nlogits = model.encode(["..."])\n'
            f"labels = {self.labels!r}\nprint(labels[logits[0].argmax()])"
        )


_HEAD_DROPOUT = ("classifier_dropout", "hidden_dropout_prob", "dropout")


def _text(row: Row) -> str:
    """A row's text; the audit has counted the rows that have none, and they are empty here, not the word None."""
    value = row.get("text")
    return "" if value is None else str(value)
