"""Text classification: one of several labels for a text. It knows no loop and no file format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from tunesmith import metrics
from tunesmith.classification import Classes, label_of, ordered_labels
from tunesmith.errors import UserError
from tunesmith.model.pretrained import load_config, load_model, load_tokenizer, longest_input
from tunesmith.model.sentence import SentenceClassifier, SentenceEncoder, pooling_of
from tunesmith.task import Task, TaskOptions
from tunesmith.types import Batch, Counts, Example, Facts, Finding, Row, Scores, Sums

SURVEYED_ROWS = 20_000
TEMPERATURE = 20.0


class TextOptions(TaskOptions):
    """Settings of text classification."""

    max_length: int | Literal["auto"] = Field(
        "auto",
        description="Most tokens of a text; auto takes the 99.5th percentile, bounded by the model. Cuts are counted.",
    )
    pooling: Literal["auto", "model", "mean", "cls", "max"] = Field(
        "auto",
        description="How tokens become one vector: model takes the architecture's own classification head; mean, cls "
        "and max pool as a sentence encoder does; auto takes what a sentence encoder's folder says, else model.",
    )
    labels: list[str] | None = Field(
        None, min_length=2, description="The labels in their order; left out, those of the data."
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced weighs each row by the inverse share of its class."
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Share of the target that is spread over all classes.")
    zero_shot_template: str = Field(
        "{}", pattern=r"\{\}", description="Sentence around a label name for the zero-shot base, with {} for the name."
    )


class TextClassification(Task):
    """A text to a label, with any transformers encoder or decoder, or a sentence encoder."""

    name = "text-classification"
    columns = {"text": str, "label": object}  # noqa: RUF012
    target = "label"
    goal = "macro_f1"
    Options = TextOptions
    finding_codes = ("truncated", "similar-labels")
    pipeline_tag = "text-classification"
    options: TextOptions

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return load_tokenizer(self.source)

    @property
    def labels(self) -> list[str]:
        """Label names in the order of the head's outputs."""
        return list(self.facts.values["labels"])

    @cached_property
    def classes(self) -> Classes:
        """The label table."""
        return Classes(tuple(self.labels))

    @cached_property
    def _index(self) -> dict[str, int]:
        return {label: i for i, label in enumerate(self.labels)}

    @cached_property
    def _weights(self) -> Tensor:
        return torch.tensor(self.facts.values["class_weights"], dtype=torch.float32)

    @property
    def pooling(self) -> str:
        """``model``, or the pooling of a sentence encoder."""
        if self.options.pooling != "auto":
            return self.options.pooling
        # An adapter is saved for peft, which loads it onto the architecture's own classifier.
        return "model" if self.adapted else pooling_of(Path(self.source.folder)) or "model"

    def survey(self, rows: Sequence[Row]) -> Facts:
        """Labels with their counts, and lengths in tokens."""
        counts = Counter(label_of(row) for row in rows)
        labels = self.options.labels or ordered_labels(rows)
        unknown = sorted(set(counts) - set(labels))
        if unknown:
            raise UserError(
                f"options.labels leaves out {len(unknown)} labels of the data: {', '.join(unknown[:5])}",
                "recipe: options.labels",
                "add them, or leave options.labels out",
            )
        step = max(1, len(rows) // SURVEYED_ROWS)
        lengths = np.array([n for n in self._token_counts(rows[i]["text"] for i in range(0, len(rows), step))])
        longest = longest_input(load_config(self.source), self.tokenizer)
        wanted = int(-(-np.percentile(lengths, 99.5) // 8) * 8)
        if self.options.max_length == "auto":
            limit = min(wanted, longest) if longest else wanted
        else:
            limit = self.options.max_length
            if longest and limit > longest:
                raise UserError(
                    f"options.max_length: {limit} tokens are more than the {longest} that the model takes",
                    "recipe: options.max_length",
                    f"write at most {longest}, or auto",
                )
        total = sum(counts.values())
        balanced = [total / (len(labels) * max(1, counts[label])) for label in labels]
        weights = balanced if self.options.class_weights == "balanced" else [1.0] * len(labels)
        shares = ", ".join(f"{label} {counts[label] / total:.0%}" for label in labels)
        cut = float((lengths > limit).mean())
        lines = (
            f"{len(labels)} labels: {shares}",
            f"lengths in tokens: median {np.median(lengths):.0f}, "
            f"99.5th percentile {np.percentile(lengths, 99.5):.0f}, longest {lengths.max()}",
            f"max_length {limit} ({'auto' if self.options.max_length == 'auto' else 'recipe'}): "
            f"{cut:.2%} of the training rows are cut",
        )
        values = {
            "labels": labels,
            "label_counts": {label: counts[label] for label in labels},
            "class_weights": weights,
            "max_length": limit,
            "truncated_share": cut,
        }
        return Facts(values, lines)

    def _token_counts(self, texts: Iterable[str]) -> Iterator[int]:
        batch: list[str] = []
        for text in texts:
            batch.append(str(text))
            if len(batch) == 256:
                yield from map(len, self.tokenizer(batch, verbose=False)["input_ids"])
                batch = []
        if batch:
            yield from map(len, self.tokenizer(batch, verbose=False)["input_ids"])

    def audit(self, train: Sequence[Row], held_out: Sequence[Row]) -> Iterable[Finding]:
        """Rows that are cut, and labels that differ only in case or blanks."""
        limit = self.facts.values["max_length"]
        # Fewer characters than tokens allowed can't be cut: only the longer texts are tokenized again.
        long = [row for rows in (train, held_out) for row in rows if len(str(row["text"])) > limit]
        counted = self._token_counts(row["text"] for row in long)
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
        folded: dict[str, set[str]] = {}
        for label in self.labels:
            folded.setdefault(" ".join(label.split()).casefold(), set()).add(label)
        for variants in folded.values():
            if len(variants) > 1:
                yield Finding(
                    "similar-labels",
                    "warning",
                    f"labels that differ only in case or blanks: {', '.join(map(repr, sorted(variants)))}",
                    "label",
                    "write them alike",
                )

    def _config(self) -> Any:
        names = dict(enumerate(self.labels))
        config = load_config(
            self.source, num_labels=len(names), id2label=names, label2id={v: k for k, v in names.items()}
        )
        config.problem_type = "single_label_classification"
        if getattr(config, "pad_token_id", None) is None:
            config.pad_token_id = self.tokenizer.pad_token_id
        return config

    def load(self) -> nn.Module:
        """The architecture's own classifier, or a sentence encoder with a linear head."""
        from transformers import AutoModel, AutoModelForSequenceClassification

        config = self._config()
        if self.pooling == "model":
            known = load_config(self.source)
            model, fresh = load_model(AutoModelForSequenceClassification, self.source, config)
            same = dict(getattr(known, "id2label", {})) == dict(config.id2label)
            head = {n for n, _ in model.named_parameters() if not n.startswith(model.base_model_prefix + ".")}
            self.fresh = fresh
            self.knows_labels = same and not (fresh & head)
            return model  # type: ignore[no-any-return]
        transformer, fresh = load_model(AutoModel, self.source, config)
        model = self._sentence_model(transformer, config)
        self.knows_labels = self._same_labels() and model.load_head(Path(self.source.folder))
        kept = frozenset() if self.knows_labels else frozenset({"classifier.weight", "classifier.bias"})
        inside = {f"encoder.transformer.{name}" for name in fresh}
        self.fresh = frozenset(inside & {n for n, _ in model.named_parameters()}) | kept
        return model

    def _sentence_model(self, transformer: nn.Module, config: Any) -> SentenceClassifier:
        dropout = next((getattr(config, n) for n in _HEAD_DROPOUT if getattr(config, n, None) is not None), 0.0)
        return SentenceClassifier(SentenceEncoder(transformer, self.pooling), len(self.labels), dropout)

    def _same_labels(self) -> bool:
        stored = getattr(load_config(self.source), "id2label", {})
        return [stored[i] for i in sorted(stored)] == self.labels

    def skeleton(self) -> nn.Module:
        """The model's shape on the meta device, from its configuration alone."""
        from transformers import AutoModel, AutoModelForSequenceClassification

        config = self._config()
        with torch.device("meta"):
            if self.pooling == "model":
                return AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-any-return]
            return self._sentence_model(AutoModel.from_config(config), config)

    def encode(self, row: Row, rng: np.random.Generator | None = None) -> Example:
        """Token ids, cut at ``max_length``, and the label's number."""
        ids = self.tokenizer(str(row["text"]), truncation=True, max_length=self.facts.values["max_length"])["input_ids"]
        example: dict[str, Any] = {"input_ids": torch.tensor(ids, dtype=torch.int64)}
        if row.get("label") is not None:
            example["label"] = torch.tensor(self._index[label_of(row)])
        return example

    def length(self, example: Example) -> int:
        """Tokens."""
        return len(example["input_ids"])

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Padded ids and mask [texts, tokens], labels [texts]."""
        side = self.tokenizer.padding_side
        longest = max(len(e["input_ids"]) for e in examples)
        ids = torch.full((len(examples), longest), self.tokenizer.pad_token_id, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for i, example in enumerate(examples):
            n = len(example["input_ids"])
            place = slice(longest - n, longest) if side == "left" else slice(0, n)
            ids[i, place] = example["input_ids"]
            mask[i, place] = 1
        batch: Batch = {"input_ids": ids, "attention_mask": mask}
        if all("label" in e for e in examples):
            batch["label"] = torch.stack([e["label"] for e in examples])
        return batch

    def count(self, batch: Batch) -> Counts:
        """Texts, each weighing what its class weighs."""
        return {"examples": float(self._weights[batch["label"].cpu()].sum())}

    def loss(self, model: nn.Module, batch: Batch) -> Sums:
        """Weighted cross-entropy, summed over texts."""
        each = F.cross_entropy(
            self._logits(model, batch).float(),
            batch["label"],
            reduction="none",
            label_smoothing=self.options.label_smoothing,
        )
        return {"examples": (each * self._weights.to(each.device)[batch["label"]]).sum()}

    def _logits(self, model: nn.Module, batch: Batch) -> Tensor:
        out = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        return out if isinstance(out, Tensor) else out.logits

    def predict(self, model: nn.Module, batch: Batch) -> list[Any]:
        """The most probable label, and the probability of each."""
        return self._named(self._logits(model, batch).float().softmax(-1))

    def _named(self, probabilities: Tensor) -> list[Any]:
        return self.classes.named(probabilities.tolist())

    def bases(self, model: nn.Module, train: Sequence[Row]) -> dict[str, Callable[[nn.Module, Batch], list[Any]]]:
        """The majority class; a sentence encoder's zero-shot by label names; a head that already knows these labels."""
        counts = self.facts.values["label_counts"]
        shares = torch.tensor([counts[label] for label in self.labels], dtype=torch.float32)
        shares = shares / shares.sum()

        def majority(_model: nn.Module, batch: Batch) -> list[Any]:
            return self._named(shares.expand(len(batch["input_ids"]), -1))

        found: dict[str, Callable[[nn.Module, Batch], list[Any]]] = {"majority class": majority}
        if isinstance(model, SentenceClassifier):
            found["zero-shot by label names"] = self._zero_shot(model)
        if self.knows_labels:
            found["pretrained classifier"] = self.predict
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
            return self._named((TEMPERATURE * vectors @ names[0].T).softmax(-1))

        return predict

    def score(self, predictions: Sequence[Any], rows: Sequence[Row]) -> Scores:
        """Macro-F1, accuracy, log loss (nats) and expected calibration error."""
        return self.classes.score(predictions, rows)

    def tally(self, predictions: Sequence[Any], rows: Sequence[Row]) -> np.ndarray:
        """Counts by class, whose sums determine macro-F1."""
        return self.classes.tally(predictions, rows)

    def goal_of(self, totals: np.ndarray) -> np.ndarray:
        """Macro-F1 of summed tallies."""
        return metrics.macro_f1_from(totals)

    def show(self, rows: Sequence[Row], base: Sequence[Any] | None, tuned: Sequence[Any]) -> list[dict[str, Any]]:
        """Confusion matrices, the table by class, calibration, the worst mistakes, what changed."""
        return self.classes.panels(rows, base, tuned, lambda row: str(row["text"]))

    def save(self, model: nn.Module, folder: Path) -> None:
        """A transformers classifier, or a sentence-transformers folder whose ``encode`` gives the logits."""
        if isinstance(model, SentenceClassifier):
            model.save_pretrained(folder, self.facts.values["max_length"])
        else:
            model.save_pretrained(folder)  # type: ignore[operator]
        self.save_processor(folder)

    def save_processor(self, folder: Path) -> None:
        """The tokenizer."""
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
