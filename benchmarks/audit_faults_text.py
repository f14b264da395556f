"""Sentences with flipped labels, repeats, leaks, damage and strangers at known rows, and a million short texts.

It knows no audit and none of its codes; what a world is stands in `audit_worlds`.
"""

from __future__ import annotations

import csv
import string
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.audit_damaged_texts import (
    LEFTOVERS,
    can_break,
    lowered,
    mojibake,
    repunctuated,
    respaced,
    reworded,
    with_card,
    with_email,
    with_phone,
    with_secret,
    words_of,
)
from benchmarks.audit_worlds import EXAMPLES, Case, Draw, Row, World, flipped, write_csv, write_jsonl, write_recipe


def sentiment(label: str = "label") -> list[Row]:
    """The rows of examples/sentiment, with what the sentence feels, or where it comes from, as its ``label``."""
    with (EXAMPLES / "sentiment" / "sentiment.csv").open(encoding="utf-8", newline="") as stream:
        return [{"id": row["id"], "text": row["text"], "label": row[label]} for row in csv.DictReader(stream)]


def _text_sides(draw: Draw, quick: bool, label: str = "label") -> dict[str, list[Row]]:
    """Sentences to learn from and to hold out, and the order in which rows are taken."""
    rows = sentiment(label)
    order = [rows[int(i)] for i in draw.rng.permutation(len(rows))]
    count = 400 if quick else 2_400
    sides = {"train": order[:count], "eval": order[count : count + count // 4]}
    for side, own in sides.items():
        draw.over(side, len(own))
    return sides


def _text_world(name: str, folder: Path, sides: Mapping[str, Sequence[Row]], faults: dict[str, list[Case]],
                arguments: tuple[str, ...] = ()) -> World:  # fmt: skip
    for side, rows in sides.items():
        write_csv(folder / f"{side}.csv", rows)
    recipe = write_recipe(folder, "text-classification", "starter:minilm-l6", "train.csv", "eval.csv")
    counts = {side: len(rows) for side, rows in sides.items()}
    return World(name, folder, recipe, faults, counts, arguments).save()


def text_flips(share: float, label: str = "label") -> Callable[[Path, int, bool], World]:
    """Sentences with a share of their training labels flipped.

    Args:
        share: Of the rows.
        label: What is told apart: what a sentence feels, which even people agree on in part, or its ``source``.
    """

    def make(folder: Path, seed: int, quick: bool) -> World:
        draw = Draw(seed, f"text/flips/{label}")
        sides = _text_sides(draw, quick, label)
        flips = flipped([row["label"] for row in sides["train"]], share, draw)
        sides["train"] = [row | ({"label": flips[at]} if at in flips else {}) for at, row in enumerate(sides["train"])]
        cases = [(f"train:{sides['train'][at]['id']}",) for at in sorted(flips)]
        if label == "source":
            for side, rows in sides.items():  # an id would tell
                rows[:] = [row | {"id": f"{side}-{at:04d}"} for at, row in enumerate(rows)]
            cases = [(f"train:{sides['train'][at]['id']}",) for at in sorted(flips)]
        return _text_world(f"text/{label}-flips-{share:.0%}".rstrip("%"), folder, sides, {"flips": cases})

    return make


FOREIGN: tuple[Callable[[Draw], str], ...] = (
    lambda draw: "SELECT COUNT(*) FROM orders WHERE price > 120 GROUP BY country HAVING COUNT(*) >= 3",
    lambda draw: f"0x{draw.letters(64, '0123456789abcdef')}",
    lambda draw: "2024-03-11 04:12:55,120 ERROR [worker-7] java.net.SocketTimeoutException: Read timed out",
    lambda draw: (
        "\\int_0^\\infty e^{-x^2} \\, dx = \\frac{\\sqrt{\\pi}}{2}, \\quad \\sum_{n=1}^N n = \\frac{N(N+1)}{2}"
    ),
    lambda draw: "for (int i = 0; i < n; ++i) { sum += a[i] * b[i]; } return sum / n;",
    lambda draw: "Bygglovet krävs för nybyggnad, vissa tillbyggnader och ändringar av fasaden inom detaljplan.",
    lambda draw: "350 g flour, 7 g yeast, 10 g salt, 230 ml water; knead, let rise for 2 h, bake at 230 °C for 25 min",
    lambda draw: "Content-Type: multipart/mixed; boundary=4f2a; charset=utf-8; X-Mailer: 16.0; MIME-Version: 1.0",
    lambda draw: "CCCCTAACCCTAACCCTAACGGATTACAGGCATGAGCCACCGCGCCCGGCCTATTTTATTTTTAGAGACAGG",
    lambda draw: "1. e4 e5 2. Nf3 Nc6 3. Bb5 a6 4. Ba4 Nf6 5. O-O Be7 6. Re1 b5 7. Bb3 d6 8. c3 O-O",
)
"""Texts that are no sentences of the kind that the others are, no two of them alike."""


def text_outliers(folder: Path, seed: int, quick: bool) -> World:
    """Sentences with a few texts of other kinds among them."""
    draw = Draw(seed, "text/outliers")
    sides = _text_sides(draw, quick)
    faults: dict[str, list[Case]] = {}
    for at, write in zip(draw.take("train", len(FOREIGN)), FOREIGN, strict=True):
        sides["train"][at] = sides["train"][at] | {"text": write(draw)}
        faults.setdefault("outlier", []).append((f"train:{sides['train'][at]['id']}",))
    return _text_world("text/outliers", folder, sides, faults)


def text_doubles(folder: Path, seed: int, quick: bool) -> World:
    """Sentences with repeats on the training side, and with held-out ones among them, exactly or nearly."""
    draw = Draw(seed, "text/doubles")
    sides = _text_sides(draw, quick)
    long = [len(row["text"].split()) >= 8 for row in sides["train"]]
    vocabulary = words_of([row["text"] for row in sides["train"]])
    near: dict[str, Callable[[str], str]] = {
        "near-case": lambda text: lowered(text, draw),
        "near-punctuation": lambda text: repunctuated(text, draw),
        "near-space": lambda text: respaced(text, draw),
        "near-word": lambda text: reworded(text, draw, vocabulary),
    }
    count = {True: 10, False: 60}[quick]
    faults: dict[str, list[Case]] = {}
    added: dict[str, list[Row]] = {"train": [], "eval": []}

    def plant(fault: str, side: str, many: int, change: Callable[[str], str]) -> None:
        for at in draw.take("train", many, lambda i: long[i]):
            row = sides["train"][at]
            copy = row | {
                "id": f"{row['id'].split('-')[0]}-{draw.letters(8, string.digits)}",
                "text": change(row["text"]),
            }
            added[side].append(copy)
            faults.setdefault(fault, []).append((f"train:{row['id']}", f"{side}:{copy['id']}"))

    plant("exact", "train", 2 * count, lambda text: text)
    plant("leak-exact", "eval", count, lambda text: text)
    for fault, change in near.items():
        plant(fault, "train", count // 2, change)
        plant(f"leak-{fault}", "eval", count // 4, change)
    for side, rows in added.items():
        own = [*sides[side], *rows]
        sides[side] = [own[int(i)] for i in draw.rng.permutation(len(own))]
    return _text_world("text/doubles", folder, sides, faults)


def text_damage(folder: Path, seed: int, quick: bool) -> World:
    """Sentences with broken encoding, personal data, secrets, leftovers; some stand in an evaluation set."""
    draw = Draw(seed, "text/damage")
    sides = _text_sides(draw, quick)
    train = sides["train"]
    count = 8 if quick else 40
    changes: dict[str, tuple[Callable[[str], str], Callable[[str], bool]]] = {
        "mojibake": (lambda text: mojibake(text, draw), can_break),
        "e-mail": (lambda text: with_email(text, draw), bool),
        "phone": (lambda text: with_phone(text, draw), bool),
        "card": (lambda text: with_card(text, draw), bool),
        "secret": (lambda text: with_secret(text, draw), bool),
        "leftover": (lambda text: f"{text} {draw.one(LEFTOVERS)}", bool),
    }
    faults: dict[str, list[Case]] = {}
    for fault, (change, fit) in changes.items():
        for at in draw.take("train", count, lambda i, fit=fit: fit(train[i]["text"])):  # type: ignore[misc]
            train[at] = train[at] | {"text": change(train[at]["text"])}
            faults.setdefault(fault, []).append((f"train:{train[at]['id']}",))
    against = []
    for at in draw.take("train", count, lambda i: len(train[i]["text"].split()) >= 16):
        text = train[at]["text"]
        against.append({"id": f"q{at}", "question": f"Read this: {text} Is the writer content?", "answer": "see text"})
        faults.setdefault("overlap", []).append((f"train:{train[at]['id']}",))
    # Questions about texts that are held out overlap with no training row.
    against += [{"id": f"h{at}", "question": f"Read this: {row['text']} Is the writer content?", "answer": "see text"}
                for at, row in enumerate(sides["eval"][:count])]  # fmt: skip
    write_jsonl(folder / "benchmark.jsonl", against)
    return _text_world("text/damage", folder, sides, faults, ("--against", str(folder / "benchmark.jsonl")))


# A million rows

MILLION = 1_000_000


def million(folder: Path, seed: int, quick: bool) -> World:
    """Short texts glued from pieces of real sentences, with repeats, near repeats, broken encoding and secrets."""
    draw = Draw(seed, "million")
    total, held = (20_000, 1_000) if quick else (MILLION, 10_000)
    pieces: dict[str, list[str]] = {"positive": [], "negative": []}
    for row in sentiment():
        words = row["text"].split()
        for start in range(0, len(words) - 2, 3):
            pieces[row["label"]].append(" ".join(words[start : start + int(draw.rng.integers(2, 5))]))
    vocabulary = words_of([row["text"] for row in sentiment()])
    share = total // 100
    planted = {
        "exact": share,
        "near-word": share,
        "mojibake": share // 10,
        "secret": share // 20,
        "e-mail": share // 10,
    }
    faults: dict[str, list[Case]] = {name: [] for name in planted}
    rows_planted = planted["exact"] + planted["near-word"]
    seen: set[int] = set()

    def made(label: str) -> str:
        while True:
            chosen = pieces[label]
            text = " ".join(chosen[int(i)] for i in draw.rng.integers(len(chosen), size=int(draw.rng.integers(3, 8))))
            key = hash(text)
            if len(text.split()) >= 8 and key not in seen:
                seen.add(key)
                return text

    plan = np.zeros(total - rows_planted, dtype=np.int8)
    marked = draw.rng.permutation(len(plan))
    names, start = list(planted), 0
    for number, name in enumerate(names, 1):
        plan[marked[start : start + planted[name]]] = number
        start += planted[name]
    copies: list[tuple[str, str, str]] = []
    with (folder / "train.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("id", "text", "label"))
        for at, kind in enumerate(plan):
            label = ("positive", "negative")[at % 2]
            text, row = made(label), f"m{at}"
            fault = names[kind - 1] if kind else ""
            if fault in ("exact", "near-word"):
                copy = f"c{len(copies)}"
                copies.append((copy, text if fault == "exact" else reworded(text, draw, vocabulary), label))
                faults[fault].append((f"train:{row}", f"train:{copy}"))
            elif fault:
                change = {
                    "mojibake": lambda t, d: mojibake(f"{t} it's", d),
                    "secret": with_secret,
                    "e-mail": with_email,
                }
                text = change[fault](text, draw)
                faults[fault].append((f"train:{row}",))
            writer.writerow((row, text, label))
        for at in draw.rng.permutation(len(copies)):
            writer.writerow(copies[int(at)])
    write_csv(folder / "eval.csv", [
        {"id": f"h{at}", "text": made(label), "label": label}
        for at, label in enumerate(("positive", "negative")[at % 2] for at in range(held))
    ])  # fmt: skip
    recipe = write_recipe(folder, "text-classification", "starter:minilm-l6", "train.csv", "eval.csv")
    return World("million", folder, recipe, faults, {"train": total, "eval": held}).save()
