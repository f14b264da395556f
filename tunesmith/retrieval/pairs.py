"""Questions with the passages that answer them, from rows of any common shape or from the headings of documents.

It knows no model, no tokenizer and no training.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tunesmith.data.opened import OpenedSource
from tunesmith.data.source import read_rows
from tunesmith.errors import UserError
from tunesmith.language.rows import ConversationShape, answer_of, is_text, prompt_of
from tunesmith.retrieval.document import Chunk
from tunesmith.retrieval.negatives import same, with_negatives
from tunesmith.retrieval.store import FILE, Store
from tunesmith.types import Row

QUERIES = ("query", "anchor", "question")
RIGHT = ("positive", "answer", "passage", "document")
WRONG = ("negatives", "negative", "hard_negatives")
KNOWN = (
    "query and passages (the right one first); query and positive, with negatives or without; anchor, positive and "
    "negative; question and answer; messages"
)
LEAST_WORDS = 8
"""Of a passage that is to be found by its heading or its first sentence: less says nothing of its own."""
_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+")


class PairShape:
    """Raw rows to rows with ``query`` and ``passages``, the right one first (a `tunesmith.types.RowShape`).

    Args:
        negatives: How many wrong passages BM25 finds for each row of a source that is read as a whole.
        answered: Whether rows must have a passage; not so when vectors are to be made.
    """

    def __init__(self, *, negatives: int = 0, answered: bool = True) -> None:
        self.negatives, self.answered = negatives, answered
        self._chat = ConversationShape("conversation", want_answer=answered)
        self._notes: list[str] = []
        self._pairs = self._wrong = 0

    def open(self, path: Path, label: str, split: str | None = None) -> OpenedSource | None:
        """A source whose rows get hard negatives, since all of its passages are seen; None: rows that others read.

        Raises:
            UserError: It can't be read, or is an index without a passage to learn from.
        """
        if not self.answered:
            return None
        if (path / FILE).is_file():
            return self._opened("index", pairs_of_index(path, label), path, label)
        if not self.negatives or path.is_dir():
            return None
        raw = read_rows(path, split=split, broken_rows=1.0)
        shaped = [self._shaped(row) for row in raw]
        rows = [row for row in shaped if not isinstance(row, str)]
        if raw.report.broken_count or len(rows) < len(shaped):
            # Who reads the rows next says which ones are broken, or has other names for the columns.
            self._notes.append("no wrong passages were searched by BM25: give the columns the names that are known")
            return None
        return self._opened(raw.report.format, rows, path, label)

    def _opened(self, format: str, rows: Sequence[Row], path: Path, label: str) -> OpenedSource:
        found = with_negatives(rows, self.negatives)
        records: Iterator[Any] = ((number, row) for number, row in enumerate(found, 1))
        return OpenedSource(
            format=format, records=records, paths=(label,), notes=[], root=path.parent, total=len(found)
        )

    def __call__(self, row: Row) -> dict[str, Any] | str:
        """The row in our columns, or why it has none: words that follow its place in a sentence."""
        shaped = self._shaped(row)
        if not isinstance(shaped, str):
            self._pairs += 1
            self._wrong += max(0, len(shaped.get("passages") or ()) - 1)
        return shaped

    def notes(self) -> list[str]:
        """How many pairs were read, and how many wrong passages they have."""
        if not self.answered or not self._pairs:
            return []
        return [
            *self._notes,
            f"{self._pairs:,} pairs, {self._wrong / self._pairs:.1f} wrong passages each beside those of others",
        ]

    def _shaped(self, row: Row) -> dict[str, Any] | str:
        query = next((name for name in QUERIES if _is_text(row.get(name))), None)
        right = next((name for name in RIGHT if _is_text(row.get(name))), None)
        if query and _texts(row.get("passages")):
            return _row(row, row[query], row["passages"], (query, "passages"))
        if query and right:
            wrong = [text for name in WRONG for text in _listed(row.get(name))]
            if any(not _is_text(text) for text in wrong):
                return "has negatives that are no texts"
            return _row(row, row[query], [row[right], *wrong], (query, right, *WRONG))
        if query and not self.answered:
            return _row(row, row[query], None, (query, "passages", *WRONG))
        return self._of_conversation(row)

    def _of_conversation(self, row: Row) -> dict[str, Any] | str:
        shaped = self._chat(row)
        if isinstance(shaped, str) or is_text(shaped):
            columns = ", ".join(name for name in row if name != "id") or "none"
            return f"fits no known shape: its columns are {columns}; known are {KNOWN}"
        asked = [str(m["content"]) for m in prompt_of(shaped) if m["role"] == "user"]
        answer = answer_of(shaped)
        if not asked or not asked[-1].strip() or (self.answered and not answer.strip()):
            return "has a conversation without a question, or without an answer in words"
        return _row(shaped, asked[-1], [answer] if answer.strip() else None, ("messages", "plain", "tools"))


def _row(row: Row, query: str, passages: Sequence[str] | None, used: Sequence[str]) -> dict[str, Any]:
    rest = {name: value for name, value in row.items() if name not in used}
    return {**rest, "query": query} | ({"passages": list(passages)} if passages else {})


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _texts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(map(_is_text, value))


def _listed(value: Any) -> list[Any]:
    return [] if value is None or value == "" else list(value) if isinstance(value, (list, tuple)) else [value]


def pairs_of_index(folder: Path, label: str) -> list[dict[str, Any]]:
    """Rows to learn from, made from all chunks of an index.

    Raises:
        UserError: The index can't be read, or holds nothing to learn from.
    """
    store = Store(folder)
    try:
        ids = [int(found) for (found,) in store.rows("SELECT id FROM chunks ORDER BY document, number")]
        pieces = [ids[i : i + READ_TOGETHER] for i in range(0, len(ids), READ_TOGETHER)]
        rows = pairs_of_chunks(passage.chunk for piece in pieces for passage in store.passages(piece))
    finally:
        store.close()
    if not rows:
        what = "the index holds no passage under a heading, and none of two sentences"
        raise UserError(what, label, "give rows with a query and a positive")
    return rows


READ_TOGETHER = 500


def pairs_of_chunks(chunks: Iterable[Chunk]) -> list[dict[str, Any]]:
    """Rows to learn from, made from documents that nobody has asked about yet.

    The first chunk under a heading is what its heading asks for. A further one, or one without a heading, is found by
    its first sentence, which is taken out of it (the inverse cloze task, arXiv:1906.00300).
    """
    rows, headed = [], set()
    for chunk in chunks:
        made = None
        if (chunk.document, chunk.path) not in headed:
            headed.add((chunk.document, chunk.path))
            made = _of_heading(chunk)
        made = made or _of_first_sentence(chunk)
        if made is not None:
            query, passage = made
            identity = f"{chunk.document}#{chunk.number}"
            rows.append({"id": identity, "document": chunk.document, "query": query, "passages": [passage]})
    return rows


def _of_heading(chunk: Chunk) -> tuple[str, str] | None:
    headings = [heading.strip() for heading in chunk.path if heading.strip()]
    if not headings:
        return None
    known = {same(heading) for heading in headings}
    # The heading itself stands in the text, and would be all that is learned to be found.
    body = "\n".join(line for line in chunk.text.splitlines() if same(line) not in known or not line.strip()).strip()
    if len(body.split()) < LEAST_WORDS:
        return None
    above, last = headings[-2] if len(headings) > 1 else "", headings[-1]
    plain = last.endswith("?") or not above or same(above) == same(last)
    return (last if plain else f"{above}: {last}"), body


def _of_first_sentence(chunk: Chunk) -> tuple[str, str] | None:
    first, *rest = _SENTENCE_END.split(chunk.text.strip(), maxsplit=1)
    if not rest or len(rest[0].split()) < LEAST_WORDS or len(first.split()) < 3:
        return None
    return first, rest[0]
