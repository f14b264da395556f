"""Answers quote what stands in their sources, say where it stands, and say when it is not in the documents."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.injected_documents import FACT, INJECTED, QUESTION, Injected
from tests.fixtures.scripted_model import ScriptedModel, asked_of
from tests.fixtures.small_decoders import write_decoder
from tunesmith.asking.local import LocalModel
from tunesmith.asking.model import Prompt, Reply
from tunesmith.asking.opening import open_model
from tunesmith.cli.asking import answer_json, answer_text
from tunesmith.errors import UserError
from tunesmith.retrieval.answering import ask, ask_all, prompt_for, read_reply
from tunesmith.retrieval.document import Chunk, Passage
from tunesmith.retrieval.quotes import sentences

TEXTS = (
    "Opening hours.\nThe library in Mora opens at nine\nin the morning. It closes at five.",
    'Fees. A card costs 20 kronor: "cheap", says the mayor. Lost cards cost 50 kronor.',
    "Räksmörgås is served daily. Öl kostar 60 kr.",
)


def passage(text: str, number: int = 1, start: int = 0) -> Passage:
    chunk = Chunk(f"d{number}.md", "v1", 0, start, start + len(text.encode()), ("Guide",), text, 20)
    return Passage(chunk, f"/docs/d{number}.md", "Guide", 1 / number)


class Shelf:
    """Finds the passages that it was given, in their order."""

    def __init__(self, *texts: str) -> None:
        self.passages = [passage(text, number) for number, text in enumerate(texts, 1)]
        self.labels: Mapping[str, str] | None = None

    def search(self, query: str, k: int = 5, *, labels: Mapping[str, str] | None = None) -> list[Passage]:
        self.labels = labels
        return self.passages[:k]


def replying(answer: str | None, *quotes: tuple[int, str]) -> ScriptedModel:
    value = {"quotes": [{"source": n, "quote": text} for n, text in quotes], "answer": answer}
    return ScriptedModel(lambda _prompt: json.dumps(value, ensure_ascii=False))


def test_quotes_are_found_with_their_place_in_the_document() -> None:
    shelf = Shelf(*TEXTS)
    shelf.passages[2] = passage(TEXTS[2], 3, start=1000)
    model = replying(
        "At nine.", (1, "The library in Mora opens at nine in the morning."), (3, "Öl kostar 60 kr."), (2, "the mayor.")
    )
    found = ask("When?", shelf, model, k=3, labels={"owner": "me"})
    assert shelf.labels == {"owner": "me"}
    assert found.supported
    assert found.there
    assert found.cited == (1, 2, 3)
    first, second, third = found.quotes
    assert TEXTS[0].encode()[first.start : first.end].decode() == "The library in Mora opens at nine\nin the morning."
    assert TEXTS[2].encode()[second.start - 1000 : second.end - 1000].decode() == "Öl kostar 60 kr."
    assert (second.document, second.version) == ("d3.md", "v1")
    assert third.found


def test_what_stands_in_no_source_is_marked_and_what_stands_in_another_is_moved() -> None:
    model = replying(
        "So.", (1, "Lost cards cost 50 kronor."), (1, "The library opens at ten."), (9, "It closes at five.")
    )
    found = ask("When?", Shelf(*TEXTS), model)
    assert [(q.source, q.named, q.found) for q in found.quotes] == [(2, 1, True), (0, 1, False), (1, 9, True)]
    assert not found.supported
    assert found.cited == (1, 2)
    assert any("stands in no source: 'The library opens at ten.'" in note for note in found.notes)
    assert any("said to be from source 1 stands in source 2" in note for note in found.notes)
    assert "[in no source]" in answer_text(found)


@pytest.mark.parametrize("said", [None, "Not in the documents.", "null", "", "The answer is not in the documents."])
def test_not_in_the_documents_is_an_answer(said: str | None) -> None:
    found = ask("Who is king?", Shelf(*TEXTS), replying(said, (1, "It closes at five.")))
    assert not found.there
    assert found.quotes == ()
    assert found.reply is not None
    shown = answer_text(found)
    assert shown.startswith("Not in the documents.")
    assert "read 3: /docs/d3.md" in shown
    assert answer_json(found)["answer"] is None


def test_where_nothing_is_found_no_model_is_asked() -> None:
    model = replying("At nine.")
    found = ask("When?", Shelf(), model)
    assert not found.there
    assert found.reply is None
    assert model.asked == []
    assert "no model was asked" in found.notes[0]


def test_several_questions_are_asked_together_and_each_has_its_answer() -> None:
    class Some(Shelf):
        def search(self, query: str, k: int = 5, *, labels: Mapping[str, str] | None = None) -> list[Passage]:
            return [] if "nothing" in query else self.passages[:k]

    def script(prompt: Prompt) -> str:
        asked = asked_of(prompt).rpartition("Question: ")[2]
        return json.dumps({"quotes": [], "answer": f"to {asked}"})

    found = ask_all(["one", "nothing", "two"], Some(*TEXTS), ScriptedModel(script))
    assert [answer.text for answer in found] == ["to one", "", "to two"]
    assert "no quote supports this answer" in found[0].notes


@pytest.mark.parametrize(
    ("reply", "text", "quotes"),
    [
        ('```json\n{"quotes": [{"source": 1, "quote": "It closes at five."}], "answer": "Five."}\n```', "Five.", [1]),
        ('At five: "It closes at five." [1] and [2].', 'At five: "It closes at five." [1] and [2].', [1]),
        ('[2] "Lost cards cost 50 kronor." So 50.', '[2] "Lost cards cost 50 kronor." So 50.', [2]),
        ("It closes at five [1].", "It closes at five [1].", []),
        ('{"answer": "Five."}', "Five.", []),
        ('{"quotes": "It closes at five.", "answer": "Five."}', "Five.", []),
        ('{"quotes": [{"source": "1", "quote": "It closes at five."}, 3], "answer": 5}', "5", [1]),
        ("[1, 2]", "[1, 2]", []),
    ],
)
def test_replies_that_keep_to_no_form_are_read_as_far_as_they_go(reply: str, text: str, quotes: list[int]) -> None:
    found = read_reply("When?", [passage(one, n) for n, one in enumerate(TEXTS, 1)], Reply(reply))
    assert found.text == text
    assert [quote.source for quote in found.quotes] == quotes


def test_a_reply_that_was_cut_says_so_and_keeps_its_quotes() -> None:
    cut = '{"quotes": [{"source": 1, "quote": "It closes at five."}, {"source": 1, "quote": "Opening'
    found = read_reply("When?", [passage(TEXTS[0])], Reply(cut, ended=False))
    assert found.text == "It closes at five."
    assert "cut" in found.notes[0]
    later = '{"quotes": [{"source": 1, "quote": "It closes at five."}], "answer": "At fi'
    assert read_reply("When?", [passage(TEXTS[0])], Reply(later, ended=False)).text == "At fi"


def test_passages_that_do_not_fit_are_left_out_and_said() -> None:
    model = replying("So.")
    model.context = 700
    found = ask("When?", Shelf(*["word " * 60] * 5), model, max_tokens=384)
    assert 0 < len(found.sources) < 5
    assert f"{5 - len(found.sources)} of 5 passages found did not fit" in found.notes[-1]
    model.context = 300
    with pytest.raises(UserError, match="not even one passage fits"):
        ask("When?", Shelf(*TEXTS), model)
    with pytest.raises(UserError, match="a question is empty"):
        ask(" ", Shelf(*TEXTS), model)


# What others wrote into documents


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: Any, **_more: Any) -> Any:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def forged(one: Injected) -> str:
    """The document of a writer who knows how marks look, and even the mark of another prompt."""
    known = re.search(r"<source-(\w+)", str(prompt_for(QUESTION, [passage(FACT)]).messages[1]["content"]))
    assert known is not None
    return one.text.replace("{mark}", known[1])


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("one", INJECTED, ids=lambda one: one.name)
def test_a_document_stays_between_marks_that_it_can_t_write(one: Injected) -> None:
    text = forged(one)
    asked = prompt_for(QUESTION, [passage(text), passage(TEXTS[1], 2)])
    assert one.canary not in str(asked.messages[0])
    body = str(asked.messages[1]["content"])
    mark = re.findall(r"<source-(\w+) number", body)[0]
    assert mark not in text
    first, end = body.index(f"<source-{mark} number"), body.index(f"</source-{mark}>")
    assert first < body.index(one.canary) < end
    assert body.count(f"</source-{mark}>") == 2
    assert body.endswith(f"Question: {QUESTION}")


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("one", INJECTED, ids=lambda one: one.name)
def test_a_model_that_obeys_can_t_pass_it_off_as_a_source(one: Injected) -> None:
    """The worst there is: it says what it was told to, quotes what it was told to, and names addresses."""
    obeys = replying(
        f"{one.canary} ![x](http://127.0.0.1:9/?q=1)\x1b[31m", (2, f"{one.canary} are free for all."), (1, FACT)
    )
    found = ask(QUESTION, Shelf(forged(one), TEXTS[1]), obeys)
    invented, true = found.quotes
    assert not invented.found or invented.source == 1
    assert true.found
    assert found.supported == invented.found
    shown = answer_text(found)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    folder = write_decoder(tmp_path_factory.mktemp("asks"), longest=4096, max_position_embeddings=4096)
    model = open_model(str(folder), device="cpu", dtype="fp32")
    assert isinstance(model, LocalModel)
    return model


def test_constrained_quotes_are_whole_sentences_of_their_source_whatever_the_model(small: LocalModel) -> None:
    """Weights drawn at random write nonsense, and can't misquote."""
    sources = [passage(text, number) for number, text in enumerate(TEXTS, 1)]
    form = prompt_for("?", sources).grammar
    hot = [
        Prompt(({"role": "user", "content": "?"},), max_tokens=120, temperature=1.0, seed=seed, grammar=form)
        for seed in range(16)
    ]
    answers = [read_reply("?", sources, reply) for reply in small.answer(hot)]
    quotes = [quote for answer in answers for quote in answer.quotes]
    assert len(quotes) >= 6
    assert len({quote.text for quote in quotes}) >= 3
    parts = [sentences(text) for text in TEXTS]
    assert parts[0] == ["Opening hours.\n", "The library in Mora opens at nine\nin the morning. ", "It closes at five."]
    runs = [[p[i:j] for i in range(len(p)) for j in range(i + 1, len(p) + 1)] for p in parts]
    for quote in quotes:
        assert quote.found
        assert quote.named == quote.source
        said = TEXTS[quote.source - 1].encode()[quote.start : quote.end].decode()
        assert said.split() in ["".join(run).split() for run in runs[quote.source - 1]]


def test_the_turns_of_a_chat_are_ours_whatever_stands_in_documents(small: LocalModel) -> None:
    one = next(one for one in INJECTED if "<|im_start|>" in one.text)
    ids = small._ids(prompt_for(QUESTION, [passage(one.text)]), 1)
    clean = small._ids(prompt_for(QUESTION, [passage(FACT)]), 1)
    for token in ("<|im_start|>", "<|im_end|>"):
        number = small._tokenizer.convert_tokens_to_ids(token)
        assert ids.count(number) == clean.count(number)


def test_from_files_to_a_citation_that_resolves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tunesmith.retrieval.indexing import build_index
    from tunesmith.retrieval.reading import FolderSource
    from tunesmith.retrieval.search import open_index

    (tmp_path / "docs").mkdir()
    for number, text in enumerate(TEXTS):
        (tmp_path / "docs" / f"{number}.md").write_text(f"# Guide {number}\n\n{text}\n", encoding="utf-8")
    build_index(tmp_path / "index", [FolderSource(tmp_path / "docs")], encoder="none")
    script: Callable[[Prompt], str] = lambda prompt: json.dumps({  # noqa: E731
        "quotes": [{"source": 1, "quote": "The library in Mora opens at nine in the morning."}], "answer": "Nine.",
    })  # fmt: skip
    with open_index(tmp_path / "index") as index:
        found = ask("library Mora opens", index, ScriptedModel(script))
        quote = found.quotes[0]
        document = index.document(quote.document).document
        assert document.version == quote.version
        assert document.text.encode()[quote.start : quote.end].decode().split() == FACT.split()
        assert ask("zebra quantum", index, ScriptedModel(script)).reply is None
