"""An index is a retriever of the real LlamaIndex."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest

from tests.fixtures.word_encoder import Texts, WordEncoder
from tunesmith.errors import UserError
from tunesmith.retrieval.indexing import build_index
from tunesmith.retrieval.llama import llama_retriever
from tunesmith.retrieval.search import open_index

TEXTS = {"apples": "Apple trees are cut in late winter.", "roses": "Roses are cut when the forsythia blooms."}


def test_llama_index_retrieves_from_an_index(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        schema = pytest.importorskip("llama_index.core.schema")
    build_index(tmp_path, [Texts(TEXTS, labels={"roses": {"kind": "flower"}})], encoder=WordEncoder())
    with open_index(tmp_path, encoder=WordEncoder()) as index:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nodes = llama_retriever(index, k=2).retrieve("when are apple trees cut?")
            flowers = llama_retriever(index, labels={"kind": "flower"}).retrieve(
                schema.QueryBundle("when are trees cut?")
            )
        ours = index.search("when are apple trees cut?", 2)
    assert [node.node.get_content() for node in nodes] == [one.chunk.text for one in ours]
    assert [node.score for node in nodes] == [one.score for one in ours]
    about = nodes[0].node.metadata
    assert TEXTS["apples"].encode()[about["start"] : about["end"]].decode() == nodes[0].node.get_content()
    assert (about["document"], about["source"]) == ("apples", "texts:apples")
    assert [node.node.metadata["label_kind"] for node in flowers] == ["flower"]


def test_a_missing_llama_index_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llama_index.core.retrievers", None)
    with pytest.raises(UserError, match="needs llama-index-core") as caught:
        llama_retriever(None)  # type: ignore[arg-type]
    assert "pip install" in caught.value.fix
