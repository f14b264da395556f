"""Writes examples/text-to-sql: questions with their SQLite queries over 86 small databases, 18 of them held out.

It knows nothing of Tunesmith: it needs Python alone. A seed gives the same bytes on every machine.

    python scripts/make_text_to_sql.py [--seed 0] [--out examples/text-to-sql]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from text_to_sql.database import fill
from text_to_sql.deal import Deck, Example, deal
from text_to_sql.domains import HELD_OUT, TRAIN
from text_to_sql.draw import Draw
from text_to_sql.schema import Domain

TRAIN_ROWS = 56
EVAL_ROWS = 12
"""Rows for each schema."""


def make(domains: Sequence[Domain], seed: int, rows: int, taken: set[str]) -> list[Example]:
    """The examples of some domains, mixed."""
    deck = Deck(Draw(seed, "deck", len(domains)))
    found = [example for domain in domains for example in deal(fill(domain, seed), deck, seed, rows, taken)]
    return Draw(seed, "order", len(found)).shuffled(found)


def write(out: Path, name: str, examples: Sequence[Example]) -> None:
    """Write the rows, one a line, and each database's script."""
    (out / "databases").mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(example.row, ensure_ascii=False) for example in examples]
    (out / name).write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    for database in {example.database.domain.name: example.database for example in examples}.values():
        file = out / "databases" / f"{database.domain.name}.sql"
        file.write_text(database.script, encoding="utf-8", newline="\n")


def summary(name: str, examples: Sequence[Example]) -> str:
    """How many rows of which kind, and how long they are."""
    kinds = Counter(example.kind for example in examples)
    schemas = {example.database.domain.name: len(example.database.domain.text) for example in examples}
    characters = {
        "schema": sum(len(example.database.domain.text) for example in examples),
        "question": sum(len(example.question) for example in examples),
        "query": sum(len(example.query.sql) for example in examples),
    }
    means = ", ".join(f"{what} {total / len(examples):.0f}" for what, total in characters.items())
    shares = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
    return f"{name}: {len(examples)} rows over {len(schemas)} schemas; mean characters: {means}\n  {shares}\n"


def main() -> None:
    """Read the arguments, write the files, say what is in them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("examples/text-to-sql"))
    arguments = parser.parse_args()
    taken: set[str] = set()
    for name, domains, rows in (("train.jsonl", TRAIN, TRAIN_ROWS), ("eval.jsonl", HELD_OUT, EVAL_ROWS)):
        examples = make(domains, arguments.seed, rows, taken)
        write(arguments.out, name, examples)
        sys.stdout.write(summary(name, examples))


if __name__ == "__main__":
    main()
