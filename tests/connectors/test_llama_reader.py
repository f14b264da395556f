"""Readers of LlamaIndex as sources, with the library's own readers where it is installed."""

from __future__ import annotations

import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tunesmith.connectors.folder import SyncedFolder, sync_into
from tunesmith.connectors.llama_reader import LlamaReader
from tunesmith.errors import UserError
from tunesmith.retrieval.document import Document


class Reader:
    """As LlamaIndex's readers are: random ids, metadata, all at once."""

    def __init__(self, *loaded: tuple[str, dict[str, Any]]) -> None:
        self.loaded = loaded

    def lazy_load_data(self, **_: Any) -> Any:
        raise NotImplementedError

    def load_data(self, **load: Any) -> list[Any]:
        if load.get("fail"):
            raise RuntimeError("no route")
        return [SimpleNamespace(id_=str(uuid.uuid4()), text=text, metadata=told) for text, told in self.loaded]


def test_random_ids_make_no_document_new() -> None:
    pages = [("one", {"file_path": "a.pdf", "page_label": "1"}), ("two", {"file_path": "a.pdf", "page_label": "2"})]
    loaded = [*pages, ("three", {}), ("", {"url": "https://x/empty", "title": "Empty"})]
    source = LlamaReader(Reader(*loaded), "reader")
    documents = {item.id: item for item in source.documents({}) if isinstance(item, Document)}
    assert list(documents)[:2] == ["reader:a.pdf", "reader:a.pdf#2"]
    assert len(documents) == 4
    assert source.receipt.empty == ["https://x/empty"]
    assert source.receipt.complete
    held = {id: document.version for id, document in documents.items()}
    again = LlamaReader(Reader(*loaded), "reader")
    assert list(again.documents(held)) == list(documents)
    assert again.receipt.unchanged == 4
    loaded[0] = ("one, changed", {"file_path": "a.pdf", "page_label": "1"})
    changed = list(LlamaReader(Reader(*loaded), "reader").documents(held))
    assert [item.text for item in changed if isinstance(item, Document)] == ["one, changed"]


def test_a_reader_that_fails_says_so_in_its_own_words() -> None:
    with pytest.raises(UserError, match="the reader Reader failed: no route"):
        list(LlamaReader(Reader(), "reader", fail=True).documents({}))


def test_the_librarys_own_readers_are_taken(tmp_path: Path) -> None:
    core = pytest.importorskip("llama_index.core")
    (tmp_path / "texts").mkdir()
    for name in ("a", "b"):
        (tmp_path / "texts" / f"{name}.txt").write_text(f"Text of {name}")
    reader = core.SimpleDirectoryReader(str(tmp_path / "texts"))
    source = LlamaReader(reader, "texts")
    receipt = sync_into(source, tmp_path / "copy")
    assert (receipt.fetched, receipt.complete) == (2, True)
    documents = [item for item in SyncedFolder(tmp_path / "copy").documents({}) if isinstance(item, Document)]
    assert [document.text for document in documents] == ["Text of a", "Text of b"]
    assert documents[0].title == str(tmp_path / "texts" / "a.txt") or documents[0].title == "a.txt"
    again = LlamaReader(core.SimpleDirectoryReader(str(tmp_path / "texts")), "texts")
    assert sync_into(again, tmp_path / "copy").unchanged == 2
