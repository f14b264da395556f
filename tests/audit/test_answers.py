"""Each fault of an answer is found where it was planted, and not in what only looks like it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.text_faults import by_code, marked, opened, sentences, talks, texts
from tunesmith.audit.answer_faults import copies, ending, looped, open_fence, other_role, own_role, refusal, words_of
from tunesmith.audit.answers import FAULTS, answer_findings
from tunesmith.audit.contradictions import contradictions
from tunesmith.audit.data import AuditData
from tunesmith.audit.found import Skipped
from tunesmith.audit.run import audit
from tunesmith.data.deep_codes import DEEP_CODES

LONG = "This is a long answer that has quite a lot of words in it"
CLEAN = [
    (f"What happened on day {n}?", f"{text} Nobody spoke of it again for weeks.")
    for n, text in enumerate(sentences(120))
]


@pytest.mark.parametrize(
    "answer",
    ["As an AI language model, I do not know.", "I'm sorry, but I can't help with that.", "I cannot assist with this.",
     "Es tut mir leid, aber ich kann dabei nicht helfen.", "En tant qu'IA, je ne sais pas.",
     "Lo siento, pero no puedo.",
     "作为一个AI语言模型，我不知道。", "抱歉，我无法提供。", "Как языковая модель, я не знаю.",
     "I am unable to provide that."],
)  # fmt: skip
def test_refusals(answer: str) -> None:
    assert refusal(answer)


@pytest.mark.parametrize(
    "answer",
    ["I'm sorry to hear that. Let's fix it.", "As an airline, we fly daily.", "I can't believe it!",
     "You can provide help.",
     "An AI language model is a network.", "I cannot recommend this film enough.", "I am an airline pilot.",
     "Como siempre, la casa.", f"{LONG}. " * 8 + "As an AI, I said so."],
)  # fmt: skip
def test_what_refuses_nothing(answer: str) -> None:
    assert not refusal(answer)


@pytest.mark.parametrize(
    "answer",
    ["I love it. " * 5, "the " * 8, "The cat sat on the mat. " * 4,
     f"{LONG}, told well and with care. And then we see " + "that it says the same thing again " * 4],
)  # fmt: skip
def test_loops(answer: str) -> None:
    assert looped(answer)


@pytest.mark.parametrize(
    "answer",
    [" ".join(map(str, range(100))), "| a | b | a | b | a | b | a | b |", "0 0 0 0 0 0 0 0 0 0 0", "no no no no",
     "Row, row, row your boat, gently down the stream. Merrily merrily merrily merrily, life is but a dream.",
     "- - - - - - - - - - - - -", " ".join(sentences(40)), "the cat and the dog and the cow and the hen and the pig"],
)  # fmt: skip
def test_repetition_that_is_meant(answer: str) -> None:
    assert not looped(answer)


def test_a_question_said_again() -> None:
    asked = words_of("What is the capital of France today?")
    assert copies(asked, words_of("what is the capital of France today"))
    assert copies(asked, words_of("What is the capital of France today? It is Paris."))
    assert not copies(asked, words_of("The capital of France is Paris."))
    assert not copies(words_of("Is it so?"), words_of("Is it so?"))
    passage = words_of(" ".join(sentences(3)) + " What did the neighbour repair?")
    assert not copies(passage, words_of(sentences(1)[0]))


def test_roles() -> None:
    assert own_role("Assistant: it is late") == "it is late"
    assert own_role("**Assistant:** it is late") == "it is late"
    assert own_role("AI is late: yes") is None
    assert own_role("Answer: 3") is None
    assert other_role("User: what?", "hi")
    assert other_role("Fine.\nUser: and?\nAssistant: ok", "hi")
    assert not other_role("User: hello\nBot: hello", "Write a dialogue of two.")
    assert not other_role("Users: 3, admins: 1", "hi")


def test_code_that_is_never_closed() -> None:
    assert open_fence("```python\nprint(1)")
    assert open_fence("```\na\n```\nthen\n```\nb")
    assert not open_fence("```python\nprint(1)\n```")
    assert not open_fence("````md\n```\n````")
    assert not open_fence("three ``` in a line")


@pytest.mark.parametrize(
    ("answer", "how"),
    [
        (f"{LONG}.", 1), (f"{LONG} (or so)", 1), (f"{LONG}\n```", 1), (f"{LONG} 😀", 1), (f"{LONG}", 2),
        (f"{LONG} and the", 3), (f"{LONG},", 3), ("Two words", 0), (f"{LONG}\n- one item", 0), (f"{LONG} 42", 0),
    ],
)  # fmt: skip
def test_how_an_answer_ends(answer: str, how: int) -> None:
    assert ending(answer) == how


@pytest.mark.parametrize(
    ("answers", "places"),
    [
        (["Paris", "Lyon"], [0, 1]),
        (["Paris", "paris.", "Lyon"], [2]),
        (["Yes, it is.", "No, it is not."], [0, 1]),
        (["It was built in 1889 in Paris by Eiffel.", "It was built in 1901 in Paris by Eiffel."], [0, 1]),
        (["He was born in Rome in Italy", "He was born in Milan in Italy"], [0, 1]),
        (["Paris", "Paris, France"], []),
        (["A long and lovely story about cats and dogs", "Something else entirely, a poem about rain"], []),
        ([f"Name {n}" for n in range(20)], []),
        (["The same.", "the same"], []),
    ],
)
def test_contradictions(answers: list[str], places: list[int]) -> None:
    assert [found.place for found in contradictions(answers)] == places


def test_answers_that_have_nothing_in_common_where_questions_have_one() -> None:
    pair = [
        "Gravel drains water quickly below the concrete floor",
        "Tenants deduct household services from taxes yearly",
    ]
    alike = [
        "Gravel below the concrete floor drains the water quickly",
        "Water drains quickly through gravel below floors",
    ]
    assert len(list(contradictions(pair, rare=True))) == 2
    assert not list(contradictions(pair))
    assert not list(contradictions(alike, rare=True))
    queries = ["SELECT name FROM users WHERE age > 3", "SELECT COUNT(*) FROM users WHERE age > 3 GROUP BY city"]
    assert len(list(contradictions(queries, rare=True))) == 2
    assert not list(contradictions(["SELECT a FROM b", "select a  from b"], rare=True))


PLANTED = {
    "refusals": ("How do I open the gate?", "As an AI language model, I cannot open gates for you, I am afraid."),
    "copied-question": ("Why did the old baker sell the boat?", "Why did the old baker sell the boat?"),
    "looping-answers": ("What did he say?", "He said that it was late. " * 6),
    "role-labels": ("Who was at the gate?", "Assistant: The old baker was at the gate, and he had a lamp in his hand."),
    "role-mix-up": (
        "Who had the lamp?",
        "The old baker had it.\nUser: And the boat?\nAssistant: The captain had the boat.",
    ),
    "broken-code": ("How do I print it?", "You can print it with a single line of code:\n```python\nprint(1)"),
    "short-answers": ("How was the weather?", "fine"),
    "cut-answers": (
        "Where was the lamp?",
        "The lamp was in the kitchen on the table that the old baker had painted for the",
    ),
    "answer-language": (
        "Where is the key of the house?",
        "Der Schlüssel ist nicht hier, aber er war gestern noch auf dem Tisch.",
    ),
}


def test_planted_faults_and_no_others(tmp_path: Path) -> None:
    found = by_code(answer_findings(talks(tmp_path, list(PLANTED.values()), CLEAN)))
    for number, code in enumerate(PLANTED):
        assert marked(found, code) == {f"p{number}"}, code
    assert set(found) == set(PLANTED)
    change = found["role-labels"].marks[0].change
    assert change is not None
    assert change["messages"][-1]["content"].startswith("The old baker")
    assert found["role-labels"].remedy == "change"
    assert found["refusals"].remedy == "drop"


def test_clean_answers_have_no_fault(tmp_path: Path) -> None:
    assert not by_code(answer_findings(talks(tmp_path, [], CLEAN)))


def test_what_all_answers_do_is_no_fault(tmp_path: Path) -> None:
    short = [(f"Is day {n} good?", "yes" if n % 2 else "no") for n in range(60)]
    bare = [(f"Tell me of day {n}.", f"{LONG} on day {n} in town") for n in range(60)]
    foreign = [
        (q, f"Das ist die Antwort auf die Frage, und sie ist nicht lang, Nummer {n}.") for n, (q, _) in enumerate(CLEAN)
    ]
    for folder, clean in (("short", short), ("bare", bare), ("foreign", foreign)):
        (tmp_path / folder).mkdir()
        found = by_code(answer_findings(talks(tmp_path / folder, [], clean)))
        assert not {"short-answers", "cut-answers", "answer-language"} & set(found), folder


def test_a_translation_is_no_answer_in_another_language(tmp_path: Path) -> None:
    asked = (
        "Translate into German: where is the key of the house?",
        "Wo ist der Schlüssel für das Haus, das ist die Frage?",
    )
    assert "answer-language" not in by_code(answer_findings(talks(tmp_path, [asked], CLEAN)))


def test_an_empty_answer_is_a_fault_where_others_are_short_too(tmp_path: Path) -> None:
    short = [(f"Is day {n} good?", "yes" if n % 2 else "no") for n in range(60)]
    found = by_code(answer_findings(talks(tmp_path, [("Is it?", " ")], short)))
    assert {(mark.row, mark.note) for mark in found["short-answers"].marks} == {("p0", "empty")}


def test_json_where_most_is_json(tmp_path: Path) -> None:
    clean = [(f"Describe day {n}.", f'{{"day": {n}, "good": true}}') for n in range(60)]
    planted = [("Describe it.", '{"day": 3, "good": tru'), ("Describe her.", "A fine day")]
    found = by_code(answer_findings(talks(tmp_path, planted, clean)))
    # The held-out answers are prose, and stand apart.
    assert marked(found, "invalid-json") == {"p0", "p1"}
    (tmp_path / "prose").mkdir()
    assert "invalid-json" not in by_code(answer_findings(talks(tmp_path / "prose", planted, CLEAN)))


def test_contradictory_rows_are_marked_with_their_twin(tmp_path: Path) -> None:
    planted = [("What is the capital?", answer) for answer in ("Paris", "Lyon", "Paris")]
    found = by_code(answer_findings(talks(tmp_path, planted, CLEAN)))
    [mark] = found["contradictory-answers"].marks
    assert (mark.row, mark.twin) == ("p1", "train:p0")


def preferences(folder: Path, pairs: list[tuple[str, str, str]]) -> AuditData:
    def row(name: str, asked: str, chosen: str, rejected: str) -> dict[str, Any]:
        return {"id": name, "prompt": asked, "chosen": chosen, "rejected": rejected}

    train = [row(f"p{n}", *pair) for n, pair in enumerate(pairs)]
    held = [row(f"h{n}", f"Was it day {n}?", f"Yes, it was day {n}.", "No idea at all.") for n in range(5)]
    return opened(folder, "preference", train, held)


def test_preferences(tmp_path: Path) -> None:
    pairs = [
        (f"Why on day {n}?", f"{text} So it was.", f"Who knows what day {n} was.")
        for n, text in enumerate(sentences(60))
    ]
    pairs.append(("Which?", "The red one, of course.", "The blue one, of course."))
    pairs.append(("Which?", "The blue one, of course.", "The red one, of course."))
    pairs.append(("And now?", "It is late.", "As an AI language model, I cannot tell the time."))
    found = by_code(answer_findings(preferences(tmp_path, pairs)))
    assert {(mark.row, mark.twin) for mark in found["contradictory-preferences"].marks} == {
        ("p60", "train:p61"), ("p61", "train:p60"),
    }  # fmt: skip
    assert "longer one" in found["length-decides"].what
    # What is rejected may refuse.
    assert "refusals" not in found


def test_preferences_that_length_does_not_decide(tmp_path: Path) -> None:
    pairs = [(f"Why on day {n}?", f"{text} So it was.", "Who knows.") for n, text in enumerate(sentences(60))]
    turned = [
        (asked, worse, better) if n % 2 else (asked, better, worse) for n, (asked, better, worse) in enumerate(pairs)
    ]
    found = by_code(answer_findings(preferences(tmp_path, turned)))
    assert "length-decides" not in found
    assert "contradictory-preferences" not in found


def test_rows_that_are_no_conversations_are_skipped(tmp_path: Path) -> None:
    assert [type(one) for one in answer_findings(texts(tmp_path, []))] == [Skipped]


def test_every_code_is_known_and_the_check_runs(tmp_path: Path) -> None:
    assert set(FAULTS) | {"contradictory-answers", "contradictory-preferences", "length-decides"} <= set(DEEP_CODES)
    report = audit(talks(tmp_path, [PLANTED["refusals"]], CLEAN), only=["answers"])
    assert [found.code for found in report.findings] == ["refusals"]
