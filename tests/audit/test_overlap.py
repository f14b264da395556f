"""Training rows that overlap with an evaluation set are found, and those that share a phrase or a context are not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.fixtures.text_faults import by_code, marked, sentences, talks, texts
from tunesmith.audit import ngrams
from tunesmith.audit.found import Found
from tunesmith.audit.ngrams import WORDS, Block, Reference
from tunesmith.audit.overlap import overlap_findings
from tunesmith.audit.run import audit
from tunesmith.errors import UserError

PASSAGE = (
    "When the harbour froze in the winter of that year, seven ships stayed behind, and their crews built huts of "
    "driftwood on the shore and lived on dried fish until the ice broke at last."
)
OTHER = (
    "A good bread needs little more than flour, water, salt and time; whoever hurries it will taste the haste in every "
    "slice, however fine the oven may be."
)


def evaluation_set(folder: Path, *questions: str) -> Path:
    file = folder / "benchmark.jsonl"
    rows = [{"question": text, "choices": ["yes", "no"], "answer": 0} for text in questions]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_rows_that_stand_in_an_evaluation_set(tmp_path: Path) -> None:
    file = evaluation_set(tmp_path, f"Read this. {PASSAGE} Was it cold?", f"Read this. {OTHER} Is it true?")
    half = " ".join(OTHER.split()[:18]) + " and so on, as they say in the village where I was born and raised."
    planted = [
        PASSAGE.upper().replace(",", " ;"),
        half,
        "Little more than flour, water, salt and time is needed for bread.",
    ]
    found = by_code(overlap_findings(texts(tmp_path, planted, against=[file])))
    marks = found["evaluation-overlap"].marks
    assert [mark.row for mark in marks] == ["p0", "p1"]
    assert marks[0].score == 1.0
    assert f"100% of it, and 82% of {file}:1" in marks[0].note
    assert marks[0].twin is None
    assert found["evaluation-overlap"].remedy == "drop"
    assert found["evaluation-overlap"].share == pytest.approx(2 / 123)


def test_short_texts_are_compared_as_a_whole(tmp_path: Path) -> None:
    asked = "Name the largest of the three moons of Neverland."
    file = evaluation_set(tmp_path, f"{asked}\n\nChoose one of the two answers below.")
    planted = [
        f"{asked}\n\nChoose one of the two answers below!",
        "Thank you very much indeed.",
        asked.replace("largest", "third"),
    ]
    found = by_code(overlap_findings(texts(tmp_path, planted, against=[file])))
    assert marked(found, "evaluation-overlap") == {"p0"}


def test_what_many_rows_share_tells_nothing(tmp_path: Path) -> None:
    licence = (
        "Permission is hereby granted, free of charge, to any person obtaining a copy of this text, to deal in it."
    )
    file = evaluation_set(tmp_path, f"{licence} What is granted?")
    planted = [f"{licence} {text}" for text in sentences(15, 900)]
    assert not by_code(overlap_findings(texts(tmp_path, planted, against=[file])))


def test_held_out_rows_and_contexts_that_several_of_them_have(tmp_path: Path) -> None:
    context = f"{OTHER}\n\n"
    clean = [(f"What happened on day {n}?", text) for n, text in enumerate(sentences(40))]
    planted = [
        (
            f"{context}What about day 3?",
            "It was a quiet day, and nobody came to see the ships in the frozen harbour then.",
        )
    ]
    data = talks(tmp_path, planted, clean)
    asked = [("Tell me about it.", PASSAGE)]
    data.prepared.held_out = [
        *data.prepared.held_out,
        *({"id": f"c{n}", "messages": [{"role": "user", "content": f"{context}And day {n}?"},
                                       {"role": "assistant", "content": text}]}
          for n, text in enumerate(sentences(3, 8_000))),
    ]  # fmt: skip
    assert not by_code(overlap_findings(data))
    leak = talks(tmp_path, asked, clean)
    leak.prepared.held_out = [
        *leak.prepared.held_out,
        {"id": "leaked", "messages": [{"role": "user", "content": "What was that winter like?"},
                                      {"role": "assistant", "content": f"{PASSAGE} So they say."}]},
    ]  # fmt: skip
    [mark] = by_code(overlap_findings(leak))["held-out-overlap"].marks
    assert (mark.row, mark.side, mark.twin) == ("p0", "train", "eval:leaked")


def test_a_file_without_text_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "numbers.jsonl"
    file.write_text('{"x": 1}\n{"x": 2}\n', encoding="utf-8")
    with pytest.raises(UserError, match="no text"):
        list(overlap_findings(texts(tmp_path, [], against=[file])))


def test_several_files_name_their_rows(tmp_path: Path) -> None:
    first = evaluation_set(tmp_path, OTHER)
    second = tmp_path / "second.csv"
    second.write_text(f'prompt,answer\n"unlike","no"\n"{PASSAGE}","yes"\n', encoding="utf-8")
    [mark] = by_code(overlap_findings(texts(tmp_path, [PASSAGE], against=[first, second])))["evaluation-overlap"].marks
    assert mark.note.endswith(f"{second}:3")


def test_blocks_do_not_change_what_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = evaluation_set(tmp_path, f"{PASSAGE} {OTHER}")
    data = texts(tmp_path, [PASSAGE, OTHER, PASSAGE + " Truly."], against=[file])

    def marks() -> list[tuple[str, float, str]]:
        found = next(one for one in overlap_findings(data) if isinstance(one, Found))
        return [(mark.row, mark.score, mark.note) for mark in found.marks]

    whole = marks()
    monkeypatch.setattr(ngrams, "BLOCK_WORDS", 50)
    assert marks() == whole
    assert len(whole) == 3


def test_sequences_are_those_of_a_plain_count() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{n}" for n in rng.integers(0, 4, length)) for length in (0, 3, 5, 12, 13, 14, 40, 80)]
    block = Block()
    for row, text in enumerate(texts):
        block.add(row, text)
    found = block.take()
    for row, text in enumerate(texts):
        words = text.split()
        whole = [tuple(words)] if ngrams.LEAST_WHOLE <= len(words) < WORDS else []
        plain = {tuple(words[n : n + WORDS]) for n in range(len(words) - WORDS + 1)} or set(whole)
        assert (found.rows == row).sum() == len(plain)
    reference = Reference([found], most_rows=1)
    assert set(reference.counts) <= set(range(len(texts)))


def test_the_check_runs(tmp_path: Path) -> None:
    file = evaluation_set(tmp_path, PASSAGE)
    report = audit(texts(tmp_path, [PASSAGE], against=[file]), only=["overlap"])
    assert [found.code for found in report.findings] == ["evaluation-overlap"]
