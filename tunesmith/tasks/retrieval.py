"""Retrieval: a sentence encoder learns which passage answers a question. It knows no loop and no index.

The loss is the one of in-batch negatives (arXiv:1705.00652, "MultipleNegativesRanking"): of all passages of a batch the
right one must be nearest to its question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from tunesmith.errors import UserError
from tunesmith.model.pretrained import chosen_length, load_config, load_model
from tunesmith.model.ranking_loss import ABSENT, ranking_losses
from tunesmith.model.sentence import POOLINGS, SentenceEncoder, check_steps, pooling_of, prompts_of
from tunesmith.recipe import Stage, Top
from tunesmith.retrieval.negatives import same
from tunesmith.retrieval.pairs import PairShape
from tunesmith.retrieval.ranked import NAMES, Candidates
from tunesmith.retrieval.ranking_panels import ranking_panels
from tunesmith.task import Task, TaskOptions
from tunesmith.types import Batch, Example, Facts, Finding, Preview, Row, Scores, Sums

SURVEYED_ROWS = 20_000
DECIMALS = 6
"""Of a number of a vector in a prediction: vectors of length one, compared in fp32."""


class RetrievalOptions(TaskOptions):
    """Settings of a sentence encoder that learns to find passages."""

    hard_negatives: Annotated[int, Field(ge=0, le=32)] = Field(
        2,
        description="How many wrong passages BM25 finds for each question of a file, to be told from the right one "
        "beside those of the other rows; 0: those of the other rows alone.",
    )
    scale: float = Field(
        20.0, gt=0, description="What cosines are multiplied by in the loss; 20 is a temperature of 0.05."
    )
    max_length: Annotated[int, Field(gt=0)] | Literal["auto"] = Field(
        "auto",
        description="Most tokens of a text; auto takes the 99.5th percentile, bounded by the model. Cuts are counted.",
    )
    pooling: Literal["auto", "mean", "cls", "max", "lasttoken"] = Field(
        "auto",
        description="How tokens become one vector; auto takes what a sentence encoder's folder says, else mean.",
    )
    query_prompt: str | None = Field(
        None, description='What stands before every query ("query: "); null takes what the encoder\'s folder says.'
    )
    passage_prompt: str | None = Field(
        None, description="What stands before every passage; null takes what the encoder's folder says."
    )


class Retrieval(Task):
    """A question to the passage that answers it, with any sentence encoder."""

    name = "retrieval"
    columns = {"query": str, "passages": list}  # noqa: RUF012
    target = "passages"
    goal = "ndcg_at_10"
    Options = RetrievalOptions
    audited = ("text",)
    finding_codes = ("truncated", "one-passage-for-all")
    pipeline_tag = "sentence-similarity"
    company = True
    exceptions = {  # noqa: RUF012
        "loss-sum": "a question's wrong passages are those of the other rows, so that rows alone have another loss; "
        "cutting a step changes nothing, since its parts are told of each other",
    }
    options: RetrievalOptions

    @classmethod
    def row_shape(cls, options: Any, *, answered: bool = True) -> PairShape:
        """Query and positive, question and answer, triplets, conversations, or an index."""
        return PairShape(negatives=options.hard_negatives, answered=answered)

    @property
    def pooling(self) -> str:
        """How tokens become one vector."""
        said = self.options.pooling
        return said if said != "auto" else pooling_of(Path(self.source.folder)) or POOLINGS[0]

    @cached_property
    def prompts(self) -> dict[str, str]:
        """What stands before a query and before a document."""
        known = prompts_of(Path(self.source.folder))
        own = {"query": self.options.query_prompt, "document": self.options.passage_prompt}
        return {name: known[name] if own[name] is None else str(own[name]) for name in known}

    # Facts and findings

    def survey(self, rows: Sequence[Row]) -> Facts:
        """Lengths in tokens."""
        step = max(1, len(rows) // SURVEYED_ROWS)
        texts = [text for i in range(0, len(rows), step) for text in self._texts(rows[i])]
        lengths = np.array([len(ids) for ids in self._ids(texts, cut=False)])
        limit = chosen_length(self.source, self.tokenizer, self.options.max_length, lengths)
        wrong = sum(max(0, len(row["passages"]) - 1) for row in rows)
        lines = (
            f"{len(rows):,} pairs to learn, with {wrong / max(1, len(rows)):.1f} wrong passages each",
            f"lengths in tokens: median {np.median(lengths):.0f}, longest {lengths.max()}; max_length {limit}, "
            f"{float((lengths > limit).mean()):.2%} of the texts are cut",
        )
        return Facts({"max_length": limit}, lines)

    def audit(self, train: Sequence[Row], held_out: Sequence[Row]) -> Iterable[Finding]:
        """Texts that are cut, and one passage that answers too many questions."""
        limit = self.facts.values["max_length"]
        rows = [row for side in (train, held_out) for row in side]
        long = [row for row in rows if max(map(len, self._texts(row))) > limit]
        cut = [row for row in long if max(map(len, self._ids(self._texts(row), cut=False))) > limit]
        if cut:
            share = len(cut) / len(rows)
            yield Finding(
                "truncated",
                "warning" if share > 0.05 else "note",
                f"{len(cut)} rows have a text of more than {limit} tokens, which loses its end",
                "passages",
                "raise options.max_length, or cut the passages into parts",
                tuple(str(row["id"]) for row in cut[:5]),
                share,
            )
        counts: dict[str, list[str]] = {}
        for row in train:
            counts.setdefault(same(row["passages"][0]), []).append(str(row["id"]))
        ids = max(counts.values(), key=len, default=[])
        if len(train) > 1 and len(ids) > len(train) / 2:
            yield Finding(
                "one-passage-for-all",
                "error",
                f"{len(ids)} of {len(train)} questions have the same right passage: there is nothing to tell apart",
                "passages",
                "give each question the passage that answers it",
                tuple(ids[:5]),
                len(ids) / len(train),
            )

    def preview(self, rows: Sequence[Row]) -> list[Preview]:
        """Questions with their right passage, and the wrong ones that they are to be told from."""
        return [
            Preview(str(row["id"]), ((row["query"] + "\n", False), (row["passages"][0], True)), _beside(row))
            for row in rows
        ]

    # The model

    def load(self) -> nn.Module:
        """The encoder, its pooling on top."""
        from transformers import AutoModel

        self._check()
        config = load_config(self.source)
        transformer, fresh = load_model(AutoModel, self.source, config)
        model = SentenceEncoder(transformer, self.pooling)
        self.fresh = frozenset({f"transformer.{name}" for name in fresh} & {n for n, _ in model.named_parameters()})
        return model

    def skeleton(self) -> nn.Module:
        """The model's shape on the meta device, from its configuration alone."""
        from transformers import AutoModel

        self._check()
        with torch.device("meta"):
            return SentenceEncoder(AutoModel.from_config(load_config(self.source)), self.pooling)

    def _check(self) -> None:
        if self.adapted:
            what = "an adapter can't be put on a sentence encoder: what finds passages loads the whole encoder"
            raise UserError(what, "recipe: adapter", "remove it, and write stages: [{train: {top: 2}}]")
        check_steps(Path(self.source.folder))

    def stages(self, blocks: int) -> list[Stage]:
        """The top third, gently: there is no new head."""
        train = Top(top=max(1, blocks // 3)) if blocks else "all"
        return [Stage(train=train, epochs=3, lr=5e-5, layer_decay=0.8)]

    # Rows to sums

    def _texts(self, row: Row) -> list[str]:
        """The query and the passages as the model reads them."""
        passages = [self.prompts["document"] + str(text) for text in row.get("passages") or ()]
        return [self.prompts["query"] + str(row["query"] or ""), *passages]

    def _ids(self, texts: Sequence[str], *, cut: bool = True) -> list[list[int]]:
        limit = {"truncation": True, "max_length": self.facts.values["max_length"]} if cut else {}
        found = self.tokenizer(list(texts), verbose=False, **limit)["input_ids"] if texts else []
        # An empty text is no token at all where the tokenizer adds none of its own (GPT-2).
        return [ids or [self.tokenizer.pad_token_id] for ids in found]

    def encode(self, row: Row, rng: np.random.Generator | None = None) -> Example:
        """Token ids of the query and of each passage, and numbers that tell equal texts."""
        return self.encode_many([row])[0]

    def encode_many(self, rows: Sequence[Row]) -> list[Example]:
        """The same for many rows: the tokenizer takes a batch in a fraction of the time."""
        texts = [self._texts(row) for row in rows]
        ids = iter(self._ids([text for of_row in texts for text in of_row]))
        examples: list[Example] = []
        for row, of_row in zip(rows, texts, strict=True):
            tensors = [torch.tensor(next(ids), dtype=torch.int64) for _ in of_row]
            example: dict[str, Any] = {"texts": tensors, "question": _number(str(row["query"]))}
            if len(of_row) > 1:
                example["passages"] = [_number(str(text)) for text in row["passages"]]
            examples.append(example)
        return examples

    def length(self, example: Example) -> int:
        """Tokens of the longest text."""
        return max(len(text) for text in example["texts"])

    def collate(self, examples: Sequence[Example]) -> Batch:
        """The queries, then the first passages of all rows, then the second: ids and mask [rows, tokens] each."""
        most = max(len(example["texts"]) for example in examples)
        batch: Batch = {"question": torch.tensor([example["question"] for example in examples])}
        for place in range(most):
            texts = [e["texts"][place] if place < len(e["texts"]) else self._nothing for e in examples]
            lengths = torch.tensor([len(text) for text in texts])
            ids = pad_sequence(texts, batch_first=True, padding_value=self.tokenizer.pad_token_id)
            batch[f"ids_{place}"] = ids
            batch[f"mask_{place}"] = (torch.arange(ids.shape[1]) < lengths[:, None]).to(torch.int64)
            if place:
                known = [e.get("passages", [])[place - 1 : place] or [ABSENT] for e in examples]
                batch[f"passage_{place}"] = torch.tensor([number for (number,) in known])
        return batch

    @cached_property
    def _nothing(self) -> Tensor:
        return torch.tensor([self.tokenizer.pad_token_id], dtype=torch.int64)

    def _vectors(self, model: nn.Module, batch: Batch) -> list[Tensor]:
        """Vectors of length one, [rows, width] of the queries and of each place of passages.

        Each by itself, so that dropout is drawn by row, and short questions are not padded to the passages' length.
        """
        places = sum(name.startswith("ids_") for name in batch)
        return [F.normalize(model(batch[f"ids_{i}"], batch[f"mask_{i}"]).float(), dim=-1) for i in range(places)]

    def share(self, model: nn.Module, batch: Batch) -> dict[str, Any]:
        """The vectors of a batch, and the numbers of its texts."""
        queries, *passages = self._vectors(model, batch)
        numbers = [batch[f"passage_{place}"] for place in range(1, len(passages) + 1)]
        return {"queries": queries, "passages": passages, "question": batch["question"], "numbers": numbers}

    def loss(self, model: nn.Module, batch: Batch) -> Sums:
        """Cross-entropy of the right passage among all passages of the step, summed over the batch's questions."""
        own = self.share(model, batch)
        losses = ranking_losses([own, *batch.get("company", ())], self.options.scale)
        mine = losses[: len(own["queries"])].sum()
        # The batch's passages are wrong ones for the questions of others, too: their gradient counts, not their value.
        return {"questions": mine.detach() + losses.sum() - losses.sum().detach()}

    def count(self, batch: Batch) -> dict[str, float]:
        """Questions."""
        return {"questions": float(len(batch["question"]))}

    # Judging

    def predict(self, model: nn.Module, batch: Batch) -> list[Any]:
        """The vector of the query, and those of the passages that the row has."""
        vectors = [np.round(one.cpu().double().numpy(), DECIMALS).tolist() for one in self._vectors(model, batch)]
        there = [batch[f"passage_{i}"].tolist() for i in range(1, len(vectors))]
        found = []
        for row, query in enumerate(vectors[0]):
            passages = [v[row] for v, of in zip(vectors[1:], there, strict=True) if of[row] != ABSENT]
            found.append({"query": query} | ({"passages": passages} if passages else {}))
        return found

    def _judged(self, predictions: Sequence[Any], rows: Sequence[Row]) -> np.ndarray:
        queries = np.array([p["query"] for p in predictions], dtype=np.float32)
        passages = [np.array(p["passages"], dtype=np.float32) for p in predictions]
        return Candidates(rows).by_vectors(queries, passages)

    def score(self, predictions: Sequence[Any], rows: Sequence[Row]) -> Scores:
        """Recall, MRR and nDCG, where the passages of all these rows are what is searched."""
        means = self._judged(predictions, rows).mean(0)
        return dict(zip(NAMES, map(float, means), strict=True))

    def resampler(self, predictions: Sequence[Any], rows: Sequence[Row]) -> Callable[[np.ndarray], float]:
        """Questions are drawn anew, and what is searched stays."""
        goals = self._judged(predictions, rows)[:, NAMES.index(self.goal)]
        return lambda index: float(goals[index].mean())

    def show(self, rows: Sequence[Row], base: Sequence[Any] | None, tuned: Sequence[Any]) -> list[dict[str, Any]]:
        """BM25, base and tuned side by side, and questions that were mended or broken."""
        return ranking_panels(rows, self._judged(base, rows) if base is not None else None, self._judged(tuned, rows))

    # Files

    def save(self, model: nn.Module, folder: Path) -> None:
        """A folder in the layout of sentence-transformers."""
        assert isinstance(model, SentenceEncoder)
        model.save_pretrained(folder, self.facts.values["max_length"], self.prompts)
        self.save_processor(folder)

    def save_processor(self, folder: Path) -> None:
        """The tokenizer."""
        self.tokenizer.save_pretrained(folder)

    def load_snippet(self, folder: str) -> str:
        """Loading without this project."""
        return (
            "from sentence_transformers import SentenceTransformer\n\n"
            f'model = SentenceTransformer("{folder}")\n'
            'print(model.encode_query(["..."]) @ model.encode_document(["...", "..."]).T)'
        )


def _number(text: str) -> int:
    """A number that texts of the same words share."""
    return int.from_bytes(blake2b(same(text).encode(), digest_size=8).digest(), "little") >> 1


def _beside(row: Row) -> str:
    count = len(row["passages"]) - 1
    return f"{count} wrong passage{'' if count == 1 else 's'}" if count else "wrong passages: those of other rows"
