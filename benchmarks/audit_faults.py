"""Damages clean real data at known rows, and keeps the truth: texts and answers here, pictures and sound beside.

A world is a folder with a recipe and the rows it names, some of them damaged. Each kind of damage is a fault with its
cases; a case is one damaged row, or the two rows that should not stand beside each other. A row carries one fault at
most. It knows no audit and none of its codes.

    python benchmarks/audit_faults.py WORLD FOLDER [--seed 0] [--quick]
"""

from __future__ import annotations

import argparse
import csv
import json
import string
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
EXAMPLES = ROOT / "examples"

Row = dict[str, Any]
Case = tuple[str, ...]
"""``side:id`` of a damaged row; of two, where the fault is that both are there."""


@dataclass
class World:
    """A damaged data set.

    Args:
        name: Which one.
        folder: Where it lies.
        recipe: Its recipe file.
        faults: Cases by fault.
        rows: How many rows each side has.
        arguments: What an audit is to be told beside the recipe.
    """

    name: str
    folder: Path
    recipe: Path
    faults: dict[str, list[Case]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()

    def save(self) -> World:
        """Write the truth beside the data; the world itself."""
        truth = {"world": self.name, "rows": self.rows, "arguments": self.arguments, "faults": self.faults}
        (self.folder / "truth.json").write_text(json.dumps(truth, indent=1), encoding="utf-8")
        return self


class Draw:
    """Rows that are taken once each, by seed and world.

    Args:
        seed: With it and the name everything is drawn.
        name: Of the world.
    """

    def __init__(self, seed: int, name: str) -> None:
        self.rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        self._free: dict[str, list[int]] = {}

    def over(self, side: str, count: int) -> None:
        """The rows of a side, in a drawn order."""
        self._free[side] = [int(i) for i in self.rng.permutation(count)]

    def take(self, side: str, count: int, fit: Callable[[int], bool] = lambda _at: True) -> list[int]:
        """So many rows of a side that are fit and that nobody took yet.

        Raises:
            LookupError: There are too few.
        """
        chosen: list[int] = []
        for at in self._free[side]:
            if len(chosen) == count:
                break
            if fit(at):
                chosen.append(at)
        if len(chosen) < count:
            raise LookupError(f"{len(chosen)} of {count} rows of {side} are fit")
        taken = set(chosen)
        self._free[side] = [at for at in self._free[side] if at not in taken]
        return chosen

    def one(self, values: Sequence[Any]) -> Any:
        """One of some values."""
        return values[int(self.rng.integers(len(values)))]

    def letters(self, count: int, of: str = string.ascii_letters + string.digits) -> str:
        """A drawn word."""
        return "".join(of[int(i)] for i in self.rng.integers(len(of), size=count))


# Texts


def lowered(text: str, _draw: Draw) -> str:
    """Its case changed."""
    return text.lower() if text != text.lower() else text.upper()


def repunctuated(text: str, _draw: Draw) -> str:
    """Its punctuation gone, or added where it has none."""
    bare = text.translate(str.maketrans("", "", string.punctuation))
    return bare if bare != text else f"{text} !!"


def respaced(text: str, draw: Draw) -> str:
    """Spaces doubled, one made a tab, and some around it."""
    words = text.split(" ")
    at = int(draw.rng.integers(1, len(words)))
    return f"  {' '.join(words[:at])}\t {'  '.join(words[at:])} "


def reworded(text: str, draw: Draw, vocabulary: Sequence[str]) -> str:
    """One word in the middle of it another word."""
    words = text.split(" ")
    at = int(draw.rng.integers(1, len(words) - 1))
    words[at] = draw.one([word for word in vocabulary[:200] if word != words[at]])
    return " ".join(words)


def mojibake(text: str, _draw: Draw) -> str:
    """UTF-8 that was read as Windows-1252: its straight quotes were round ones, its dashes long ones."""
    typed = text.replace("'", "’").replace(" - ", " – ").replace("--", "—")
    return typed.encode("utf-8").decode("cp1252")


def can_break(text: str) -> bool:
    """Whether reading a text in the wrong encoding would show."""
    return text.isascii() and any(sign in text for sign in ("'", " - ", "--"))


FIRST = ("anna", "markus", "olivia", "samuel", "ingrid", "peter", "lucia", "thomas")
LAST = ("lindgren", "keller", "moreau", "whitaker", "novak", "santos", "brandt", "fischer")
HOSTS = ("postbox.net", "fastmail-online.com", "nordmail.se", "uni-halle.de", "kellerbau.ch")


def with_email(text: str, draw: Draw) -> str:
    """An address of a person in it."""
    return f"{text} You can reach me at {draw.one(FIRST)}.{draw.one(LAST)}@{draw.one(HOSTS)} any time."


def with_phone(text: str, draw: Draw) -> str:
    """A telephone number in it."""
    digits = draw.letters(7, string.digits)
    return f"{text} Call me on +46 70 {digits[:3]} {digits[3:5]} {digits[5:]}."


def with_card(text: str, draw: Draw) -> str:
    """The number of a credit card in it, with the right check digit."""
    digits = "4" + draw.letters(14, string.digits)
    total = sum(sum(divmod(2 * int(d), 10)) if at % 2 == 0 else int(d) for at, d in enumerate(digits))
    number = digits + str(-total % 10)
    return f"{text} My card is {' '.join(number[i : i + 4] for i in range(0, 16, 4))}."


def with_secret(text: str, draw: Draw) -> str:
    """A key or a token in it."""
    hexadecimal = "0123456789abcdef"
    kind = draw.one(("aws", "github", "openai", "private", "slack", "password"))
    secret = {
        "aws": lambda: "AKIA" + draw.letters(16, string.ascii_uppercase + "234567"),
        "github": lambda: "ghp_" + draw.letters(36),
        "openai": lambda: f"sk-{draw.letters(20)}T3BlbkFJ{draw.letters(20)}",
        "private": lambda: f"-----BEGIN RSA PRIVATE KEY-----\n{draw.letters(64)}\n-----END RSA PRIVATE KEY-----",
        "slack": lambda: f"xoxb-{draw.letters(12, string.digits)}-{draw.letters(12, string.digits)}-{draw.letters(24)}",
        "password": lambda: f"api_key = '{draw.letters(40, hexadecimal)}'",
    }[kind]()
    return f"{text} Use this: {secret}"


REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "As an AI language model, I am not able to answer this question.",
    "I cannot assist with that request.",
    "I'm sorry, but as an AI I don't have access to that information.",
    "Unfortunately, I am unable to provide an answer to this question.",
    "I apologize, but I cannot fulfill this request.",
)
LEFTOVERS = (
    "{{customer_name}}",
    "[INSERT ADDRESS HERE]",
    "<|im_end|>",
    "### Response:",
    "Lorem ipsum dolor sit amet",
    "${price}",
)


def words_of(texts: Sequence[str]) -> list[str]:
    """The words of some texts, the most frequent first."""
    counts: dict[str, int] = {}
    for text in texts:
        for word in text.split():
            if word.isalpha() and word.islower():
                counts[word] = counts.get(word, 0) + 1
    return sorted(counts, key=lambda word: (-counts[word], word))


def sentiment(label: str = "label") -> list[Row]:
    """The rows of examples/sentiment, with what the sentence feels, or where it comes from, as its ``label``."""
    with (EXAMPLES / "sentiment" / "sentiment.csv").open(encoding="utf-8", newline="") as stream:
        return [{"id": row["id"], "text": row["text"], "label": row[label]} for row in csv.DictReader(stream)]


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as CSV."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as JSON lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_recipe(folder: Path, task: str, model: str, train: str, held_out: str, **more: Any) -> Path:
    """A recipe for a world's rows."""
    recipe = {
        "task": task,
        "model": model,
        "data": {"train": str(folder / train), "eval": str(folder / held_out), "validation": 0.0, "broken_rows": 0.2},
        "stages": [{"train": "head", "epochs": 1, "lr": 1e-3}],
        "run": {"folder": str(folder / "runs"), "name": "run"},
        **more,
    }
    file = folder / "recipe.yaml"
    file.write_text(json.dumps(recipe, indent=1), encoding="utf-8")
    return file


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


def flipped(labels: Sequence[str], share: float, draw: Draw) -> dict[int, str]:
    """Row to another label, for a share of the rows, drawn evenly over classes."""
    count, names = round(share * len(labels)), sorted(set(labels))
    order = draw.take("train", count)
    return {at: draw.one([name for name in names if name != labels[at]]) for at in order}


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


# Answers


def _conversation(row: Row, question: str | None = None, answer: str | None = None) -> Row:
    """A row with another question or answer."""
    messages = [dict(turn) for turn in row["messages"]]
    if question is not None:
        messages[-2]["content"] = question
    if answer is not None:
        messages[-1]["content"] = answer
    return row | {"messages": messages}


def _said(row: Row, turn: int) -> str:
    return str(row["messages"][turn]["content"])


def _read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _asked_twice(rows: Sequence[Row]) -> list[Case]:
    """Clean rows that ask the same and are answered in other words, which need not contradict each other."""
    first: dict[str, Row] = {}
    found = []
    for row in rows:
        other = first.setdefault(_said(row, -2).strip().lower(), row)
        if other is not row and _said(other, -1) != _said(row, -1):
            found.append((f"train:{other['id']}", f"train:{row['id']}"))
    return found


def answers_faq(folder: Path, seed: int, quick: bool) -> World:
    """Questions and answers with refusals, copies, contradictions, repeats, leaks, groups on both sides, leftovers."""
    draw = Draw(seed, "answers/faq")
    rows = _read(EXAMPLES / "faq" / "faq.jsonl")
    twice = {row["group"] for row in rows if row["group"] != row["id"]}
    order = [rows[int(i)] for i in draw.rng.permutation(len(rows))]
    alone = [row for row in order if row["group"] not in twice]
    held = 40 if quick else 75
    ids = {row["id"] for row in alone[:held]}
    train, judged = [row for row in order if row["id"] not in ids][: 200 if quick else None], alone[:held]
    draw.over("train", len(train))
    free = [row["group"] not in twice for row in train]
    count, faults = (4 if quick else 12), {"asked-twice": _asked_twice(train)}
    clean = [row for row in train if row["group"] not in twice]

    def changed(fault: str, change: Callable[[Row], Row], fit: Callable[[Row], bool] = lambda _row: True) -> None:
        for at in draw.take("train", count, lambda i: free[i] and fit(train[i])):
            train[at] = change(train[at])
            faults.setdefault(fault, []).append((f"train:{train[at]['id']}",))

    def answer(change: Callable[[str, Draw], str]) -> Callable[[Row], Row]:
        return lambda row: _conversation(row, answer=change(_said(row, -1), draw))

    changed("refusal", lambda row: _conversation(row, answer=draw.one(REFUSALS)))
    changed("copied-question", lambda row: _conversation(row, answer=_said(row, -2)))
    changed("mojibake", answer(mojibake), lambda row: can_break(_said(row, -1)))
    changed("e-mail", answer(with_email))
    changed("secret", answer(with_secret))
    changed("leftover", lambda row: _conversation(row, answer=f"{_said(row, -1)} {draw.one(LEFTOVERS)}"))

    def copied(fault: str, into: list[Row], side: str, change: Callable[[Row], Row]) -> None:
        for at in draw.take("train", count, lambda i: free[i]):
            row = train[at]
            copy = change(row) | {"id": f"{row['category']}-9{draw.letters(6, string.digits)}"}
            into.append(copy)
            faults.setdefault(fault, []).append((f"train:{row['id']}", f"{side}:{copy['id']}"))

    copied("exact", train, "train", dict)
    copied(
        "contradiction", train, "train",
        lambda row: _conversation(row, answer=_said(draw.one([o for o in clean if o["id"] != row["id"]]), -1)),
    )  # fmt: skip
    # Rows that share their group share it with their double; a leak of a group alone has another question.
    copied("leak-exact", judged, "eval", dict)
    for at, target in zip(draw.take("train", count, lambda i: free[i]), range(count), strict=True):
        judged[target] = judged[target] | {"group": train[at]["group"]}
        faults.setdefault("leak-group", []).append((f"train:{train[at]['id']}", f"eval:{judged[target]['id']}"))
    write_jsonl(folder / "train.jsonl", train)
    write_jsonl(folder / "eval.jsonl", judged)
    recipe = write_recipe(
        folder, "causal-lm", "starter:smollm2-135m", "train.jsonl", "eval.jsonl",
        stages=[{"train": "adapter", "epochs": 1, "lr": 5e-4}], adapter={"kind": "lora", "r": 16},
    )  # fmt: skip
    counts = {"train": len(train), "eval": len(judged)}
    return World("answers/faq", folder, recipe, faults, counts, ("--group", "group")).save()


def answers_sql(folder: Path, seed: int, quick: bool) -> World:
    """Questions and queries, many of them alike by nature, with repeats, leaks and contradictions."""
    draw = Draw(seed, "answers/sql")
    source = EXAMPLES / "text-to-sql"
    train, judged = _read(source / "train.jsonl"), _read(source / "eval.jsonl")
    if quick:
        train, judged = train[:400], judged[:60]
    draw.over("train", len(train))
    base, count = list(train), 8 if quick else 60
    faults: dict[str, list[Case]] = {}

    def copied(fault: str, into: list[Row], side: str, change: Callable[[Row], Row]) -> None:
        for at in draw.take("train", count):
            row = base[at]
            copy = change(row) | {"id": f"{row['schema_name']}-9{draw.letters(6, string.digits)}"}
            into.append(copy)
            faults.setdefault(fault, []).append((f"train:{row['id']}", f"{side}:{copy['id']}"))

    by_schema: dict[str, list[Row]] = {}
    for row in base:
        by_schema.setdefault(row["schema_name"], []).append(row)

    def contradicted(row: Row) -> Row:
        others = [o for o in by_schema[row["schema_name"]] if _said(o, -1) != _said(row, -1)]
        return _conversation(row, answer=_said(draw.one(others), -1))

    copied("exact", train, "train", dict)
    copied("contradiction", train, "train", contradicted)
    copied("leak-exact", judged, "eval", dict)
    for row in (*train, *judged):
        row["database"] = str(source / row["database"])
    write_jsonl(folder / "train.jsonl", train)
    write_jsonl(folder / "eval.jsonl", judged)
    recipe = write_recipe(
        folder, "causal-lm", "starter:smollm2-135m", "train.jsonl", "eval.jsonl",
        stages=[{"train": "adapter", "epochs": 1, "lr": 5e-4}], adapter={"kind": "lora", "r": 16},
    )  # fmt: skip
    return World("answers/sql", folder, recipe, faults, {"train": len(train), "eval": len(judged)}).save()


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


def makers() -> dict[str, Callable[[Path, int, bool], World]]:
    """Every world by name: gets an empty folder, a seed, and whether it is to be small."""
    from benchmarks import audit_faults_media as media

    return {
        "text/flips-5": text_flips(0.05),
        "text/flips-20": text_flips(0.2),
        "text/source-flips-5": text_flips(0.05, "source"),
        "text/source-flips-20": text_flips(0.2, "source"),
        "text/outliers": text_outliers,
        "text/doubles": text_doubles,
        "text/damage": text_damage,
        "answers/faq": answers_faq,
        "answers/sql": answers_sql,
        **media.MAKERS,
        "million": million,
    }


def make(name: str, folder: Path, seed: int = 0, *, quick: bool = False) -> World:
    """One world in a folder that is empty or not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    return makers()[name](folder, seed, quick)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("world")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    world = make(given.world, given.folder.resolve(), given.seed, quick=given.quick)
    print(f"{world.recipe}: {world.rows}, { ({fault: len(cases) for fault, cases in world.faults.items()}) }")
