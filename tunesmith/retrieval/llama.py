"""An index as a retriever of LlamaIndex, for those who build on that library. It needs llama-index-core."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tunesmith.errors import UserError

if TYPE_CHECKING:
    from tunesmith.retrieval.document import Passage, Searcher


def llama_retriever(searcher: Searcher, k: int = 5, labels: Mapping[str, str] | None = None) -> Any:
    """A `BaseRetriever` that searches an index.

    Its nodes have the passage as text, and as metadata the source, title, document, version, the bytes ``start`` to
    ``end`` and the headings, so that a citation can be resolved.

    Args:
        searcher: An open index.
        k: How many passages.
        labels: Only documents that have all of these.

    Raises:
        UserError: LlamaIndex is not installed.
    """
    try:
        from llama_index.core.retrievers import BaseRetriever
        from llama_index.core.schema import NodeWithScore, TextNode
    except ModuleNotFoundError as fault:
        what = f"a retriever of LlamaIndex needs llama-index-core, which can't be imported here ({fault})"
        raise UserError(what, "", "pip install llama-index-core") from fault

    def node(passage: Passage) -> Any:
        chunk = passage.chunk
        about = {
            "source": passage.source,
            "title": passage.title,
            "document": chunk.document,
            "version": chunk.version,
            "start": chunk.start,
            "end": chunk.end,
            "headings": " > ".join(chunk.path),
            **{f"label_{name}": value for name, value in passage.labels.items()},
        }
        plain = TextNode(text=chunk.text, id_=f"{chunk.document}#{chunk.start}-{chunk.end}", metadata=about)
        return NodeWithScore(node=plain, score=passage.score)

    class IndexRetriever(BaseRetriever):  # type: ignore[misc, unused-ignore]
        """The index behind LlamaIndex's own interface."""

        def _retrieve(self, query_bundle: Any) -> list[Any]:
            return [node(passage) for passage in searcher.search(query_bundle.query_str, k, labels=labels)]

    return IndexRetriever()
