"""Any reader of LlamaIndex as a source. What it leaves out nobody can tell: its receipt counts what it gives.

It imports nothing of that library; it takes what behaves as its readers do.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from tunesmith.connectors.receipt import Receipt
from tunesmith.errors import UserError
from tunesmith.retrieval.document import Document, Unread

PLACES = ("file_path", "url", "URL", "source", "page_id", "file_name", "filename", "id")
TITLES = ("title", "Title", "page_title", "file_name", "name")
CHANGES = ("last_modified_date", "last_edited_time", "modified_time", "updated_at")


class LlamaReader:
    """What a reader loads, as a source of documents.

    Ids that a reader draws at random at each load would make every document new each time. Where its metadata name a
    place (a path, an address), the id is made from that; else from the text.

    Args:
        reader: Has ``lazy_load_data`` or ``load_data``.
        name: Unique in an index.
        stable_ids: Whether the ids that the reader gives are the same at each load, and to be used.
        load: Arguments of its load function.
    """

    def __init__(self, reader: Any, name: str, *, stable_ids: bool = False, **load: Any) -> None:
        self.name, self._reader, self._stable, self._load = name, reader, stable_ids, load
        self.receipt = Receipt(name)
        self.receipt.notes.append("the reader decides what it lists; what it leaves out is not known")

    def documents(self, known: Mapping[str, str]) -> Iterator[Document | Unread | str]:
        """Everything that the reader loads.

        Raises:
            UserError: It fails, with its own words.
        """
        times: Counter[str] = Counter()
        for loaded in self._loaded():
            self.receipt.listed += 1
            text, told = str(loaded.text or ""), dict(loaded.metadata or {})
            place = next((str(told[key]) for key in PLACES if told.get(key)), "")
            digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
            base = str(loaded.id_) if self._stable else place or digest
            times[base] += 1
            # Pages of one file share its place.
            id = f"{self.name}:{base}" + (f"#{times[base]}" if times[base] > 1 else "")
            if not text.strip():
                self.receipt.empty.append(place or id)
            title = next((str(told[key]) for key in TITLES if told.get(key)), place or self.name)
            labels = {
                str(key): str(value) for key, value in told.items() if isinstance(value, str | int | float | bool)
            }
            facts = "\n".join(f"{key}={labels[key]}" for key in sorted(labels))
            version = hashlib.sha256(f"{digest}\n{facts}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
            if known.get(id) == version:
                self.receipt.unchanged += 1
                yield id
                continue
            self.receipt.fetched += 1
            self.receipt.parts.see("document")
            changed = next((str(told[key]) for key in CHANGES if told.get(key)), "")
            yield Document(id, place or id, title, text, "text", version, changed, labels)
        self.receipt.finished = True

    def _loaded(self) -> Iterator[Any]:
        try:
            yield from self._asked()
        except (UserError, GeneratorExit):
            raise
        except Exception as fault:
            said = f"the reader {type(self._reader).__name__} failed: {fault or type(fault).__name__}"
            raise UserError(
                said, self.name, "see what the reader needs; nothing that was read before is lost"
            ) from fault

    def _asked(self) -> Iterator[Any]:
        lazy = getattr(self._reader, "lazy_load_data", None)
        if lazy is not None:
            try:
                yield from lazy(**self._load)
                return
            except NotImplementedError:
                # The base class has the function and refuses; many readers load all at once only.
                pass
        yield from self._reader.load_data(**self._load)
