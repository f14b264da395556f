"""Each fault of a text is found where it was planted, and not in what only looks like it."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path

import pytest

from tests.fixtures.text_faults import by_code, marked, opened, sentences, talks, texts
from tunesmith.audit.credentials import secrets_in
from tunesmith.audit.data import Wishes
from tunesmith.audit.encoding_damage import damage_of
from tunesmith.audit.found import Found, Skipped, View
from tunesmith.audit.languages import language_of
from tunesmith.audit.leftovers import markup_leftover, template_leftover
from tunesmith.audit.personal import masked, personal_data
from tunesmith.audit.repeats import Repeats, hash_of
from tunesmith.audit.run import audit
from tunesmith.audit.text import FAULTS, text_findings
from tunesmith.audit.text_views import FOREIGN
from tunesmith.audit.toxicity import toxic_outputs
from tunesmith.data.deep_codes import DEEP_CODES
from tunesmith.errors import UserError

WHOLE = (
    "It’s “fine” – really… €5", "naïve façade, Ångström, Straße", "Zażółć gęślą jaźń", "příliš žluťoučký kůň",
    "Привет, как дела?", "Καλημέρα κόσμε", "שלום עולם", "नमस्ते दुनिया", "日本語のテキスト", "안녕하세요 세계",
    "emoji 😀 and 🇩🇪 fine", "Tiếng Việt rất đẹp", "20 °C ± 3 £5 ½", "„Größe“ und »Maß«",
)  # fmt: skip


def read_as(text: str, encoding: str) -> str:
    """UTF-8 that was read in another encoding; bytes that it does not have pass as Latin-1, as browsers read them."""
    return "".join(bytes([byte]).decode(encoding, "ignore") or chr(byte) for byte in text.encode())


@pytest.mark.parametrize("text", WHOLE)
@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "cp1251", "mac_roman"])
def test_text_read_in_another_encoding_is_put_right(text: str, encoding: str) -> None:
    [damage] = damage_of(read_as(text, encoding))
    assert (damage.kind, damage.mended) == ("misread", text)
    assert not damage_of(text)


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("don\x92t", "don’t"),
        ("dÃƒÂ©jÃƒÂ\xa0 vu", "déjà vu"),
        ("caf\\u00e9 au lait", "café au lait"),
        ("he said â€œhiâ€ and left", "he said “hi” and left"),
        ("a zero\u200bwidth \ufeffspace\x07", "a zerowidth space"),
        ("\ud83d\ude00 and half \ud83d of one", "😀 and half  of one"),
    ],
)
def test_certain_damage_is_mended(text: str, mended: str) -> None:
    assert damage_of(text)[-1].mended == mended


@pytest.mark.parametrize(
    "text",
    [
        "CAFÉ…”", "„Ä“ ist ein Buchstabe", "MAÇÃ”", "√2 and √9", "AMANHÃ\xa0!", "A–Ä–Z", "NÃO, PÃO, LÃ…",
        "le café…” dit-il",
        "می\u200cخواهم بروم", "👨\u200d👩\u200d👧", "\u200fשלום", "a\tb\nc\r\n", "[\\u00e9-\\u00ff]+",
    ],
)  # fmt: skip
def test_unusual_text_is_no_damage(text: str) -> None:
    assert not damage_of(text)


def test_ftfy_agrees_where_it_is_there() -> None:
    ftfy = pytest.importorskip("ftfy")
    for text in WHOLE:
        broken = read_as(text, "cp1252")
        assert damage_of(broken)[0].mended == ftfy.fix_text(broken, uncurl_quotes=False)


def test_encoding_faults_of_rows(tmp_path: Path) -> None:
    planted = ["The cafÃ© isnâ€™t open.", "A bro\ufffdken word.", "Zero\u200bwidth.", "Déjà vu in São Paulo – “fine”."]
    found = by_code(text_findings(texts(tmp_path, planted)))
    assert marked(found, "encoding-damage") == {"p0"}
    assert found["encoding-damage"].marks[0].change == {"text": "The café isn’t open."}
    assert marked(found, "lost-characters") == {"p1"}
    assert found["lost-characters"].remedy == "drop"
    assert marked(found, "invisible-characters") == {"p2"}
    assert found["encoding-damage"].share == pytest.approx(1 / 124)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("English", "This is a short sentence that was written for the test."),
        ("German", "Das ist ein kurzer Satz, der nur für den Test geschrieben wurde."),
        ("French", "C'est une phrase courte qui est écrite pour le test dans la maison."),
        ("Spanish", "Esta es una frase que se escribe para la prueba y no para otra cosa."),
        ("Italian", "Questa è una frase che non è stata scritta per il libro della scuola."),
        ("Polish", "To jest zdanie, które nie jest bardzo długie, ale się nada."),
        ("Russian", "Это предложение, которое было написано для теста, и не только."),
        ("Ukrainian", "Це речення, яке було написано для тесту, але не тільки."),
        ("Greek", "Αυτή είναι μια σύντομη πρόταση."),
        ("Japanese", "これはテストのための短い文です。"),
        ("Chinese", "这是为测试写的一个短句子。"),
        ("Arabic", "هذه جملة قصيرة كتبت للاختبار."),
    ],
)
def test_language(language: str, text: str) -> None:
    assert language_of(text) == language


@pytest.mark.parametrize(
    "text",
    ["x_max = y_min + z * t", "Kubernetes Docker Linux", "ok", "3 x 4 = 12", "https://la.de/der/die/das la", ""],
)
def test_what_has_no_language(text: str) -> None:
    assert language_of(text) is None


def test_foreign_rows_and_languages_that_only_the_held_out_rows_have(tmp_path: Path) -> None:
    german = "Das ist ein Satz über den Garten, und er ist nicht sehr lang, Nummer "
    data = texts(tmp_path, [f"{german}{n}." for n in range(2)], held_out=[f"{german}{n}." for n in range(10, 16)])
    says = list(text_findings(data))
    foreign = [one for one in says if isinstance(one, Found) and one.code == "language-mix"]
    assert {(m.row, m.side) for f in foreign for m in f.marks} >= {("p0", "train"), ("p1", "train"), ("h20", "eval")}
    assert foreign[0].remedy == FOREIGN.remedy == "drop"
    assert "language-only-in-eval" not in by_code(iter(says))
    view = next(one for one in says if isinstance(one, View) and one.name == "languages")
    assert dict(zip(view.data["names"], view.data["counts"]["train"], strict=True))["German"] == 2
    alone = texts(tmp_path, [], held_out=[f"{german}{n}." for n in range(6)])
    assert by_code(text_findings(alone))["language-only-in-eval"].level == "warning"


def test_data_in_several_languages_is_no_mix(tmp_path: Path) -> None:
    german = [f"Das ist ein Satz über den Garten, und er ist nicht sehr lang, Nummer {n}." for n in range(100)]
    found = by_code(text_findings(texts(tmp_path, german)))
    assert (found["language-mix"].level, found["language-mix"].marks) == ("note", ())


@pytest.mark.parametrize(
    "text",
    [
        "Hello {name}, welcome", "Dear {{ customer_name }}, thanks", "<|im_start|>user hi<|im_end|>",
        "[INST] hi [/INST]",
        "Lorem ipsum dolor sit amet", "TODO: write this", "Sincerely, [Your Name]", "Your order %(number)s has shipped",
        "Hi ${user}, welcome", "A story. ### Response:", "Insert text here", "[Insert date] in Rome", "the answer</s>",
    ],
)  # fmt: skip
def test_template_leftovers(text: str) -> None:
    assert template_leftover(text)


@pytest.mark.parametrize(
    "text",
    [
        "def f(name):\n    return f'{name}'", "Use `{name}` as the field", "the set {a} is open", "thanks {hugs} again",
        "\\frac{a}{b} and x_{max}", "[NAME] is great", "my todo list is long", "See [name](http://x.y)",
        '{"name": "x"}', "price < 5 && x > 3", "```\n{{ name }}\n```", "SELECT {col} FROM t", "I love TODO-ish apps",
    ],
)  # fmt: skip
def test_braces_that_are_meant(text: str) -> None:
    assert not template_leftover(text)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Great film.<br /><br />Loved it", "Great film.\n\nLoved it"),
        ("Tom &amp; Jerry, it&#39;s", "Tom & Jerry, it's"),
        ("<p>hello <b>you</b></p>", "hello you"),
        ("AT&amp;amp;T", "AT&T"),
        ("[b]bold[/b] words", None),
        ("see <img src='x.png'> there", None),
    ],
)
def test_markup_leftovers(text: str, plain: str | None) -> None:
    found = markup_leftover(text)
    assert found
    assert found[2] == plain


@pytest.mark.parametrize(
    "text",
    ["a < b > c", "Tom & Jerry", "the `<b>` thing", "The <b> tag makes HTML bold", "<html><body><p>x</p></body></html>",
     "```html\n<p>x</p>\n```", "x &y; z", "AT&T; more", "<3 <3", "array[b] x"],
)  # fmt: skip
def test_angles_that_are_meant(text: str) -> None:
    assert not markup_leftover(text)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("write to anna.berg@web.de please", "e-mail address"),
        ("DE89 3704 0044 0532 0130 00", "IBAN"),
        ("GB82WEST12345698765432", "IBAN"),
        ("card 4111 1111 1111 1111", "card number"),
        ("amex 378282246310005", "card number"),
        ("SSN 219-09-9999", "social security number"),
        ("from 81.2.69.142 today", "IP address"),
        ("call +49 171 3920173", "phone number"),
        ("phone (415) 867-5309", "phone number"),
    ],
)
def test_personal_data(text: str, kind: str) -> None:
    found = personal_data(text)
    assert [one.kind for one in found] == [kind]
    assert masked(text, found).endswith((f"[{kind.upper()}]", "please", "today"))


@pytest.mark.parametrize(
    "text",
    ["user@example.com", "@anonymous hi", "git@github.com:x/y.git", "version 10.2.3.44", "192.168.1.1", "1.2.3.4",
     "order 1234 5678 9012 3456", "ISBN 978-3-16-148410-0", "2021-09-17 12:30:22", "1,234,567.89", "call 555-0123",
     "123-45-6789", "DE89 3704 0044 0532 0130 01", "part no 415-867-5309", "from 1990 - 2000 12 34"],
)  # fmt: skip
def test_numbers_that_are_nobodys(text: str) -> None:
    assert not personal_data(text)


def web_token() -> str:
    def part(value: dict[str, str]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'HS256'})}.{part({'sub': '1', 'name': 'x'})}.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV"


def drawn(letters: str, count: int) -> str:
    return "".join(random.Random(count).choices(letters, k=count))


BASE62 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("AKIA" + drawn("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16), "AWS key"),
        ("ghp_" + drawn(BASE62, 36), "GitHub token"),
        ("xoxb-" + "176536724810-198746983237-" + drawn(BASE62, 24), "Slack token"),
        ("sk-" + drawn(BASE62[:52], 48), "OpenAI key"),
        ("hf_" + drawn(BASE62, 34), "Hugging Face token"),
        (web_token(), "JSON web token"),
        ("-----BEGIN RSA PRIVATE KEY-----\n" + drawn(BASE62, 64) + "\n-----END RSA PRIVATE KEY-----", "private key"),
        ("postgres://admin:s3cr3tPazz@db.host.com/x", "password in an address"),
        ("api_key = '" + drawn("0123456789abcdef", 40) + "'", "secret value"),
        ("password: Xk9#mQ2$vL7!pR4&wT", "secret value"),
    ],
)
def test_secrets(text: str, kind: str) -> None:
    assert [one.kind for one in secrets_in(f"Use this: {text} now")] == [kind]


@pytest.mark.parametrize(
    "text",
    ["sk-learn-is-a-library-for-everyone-here", "api_key = 'your_api_key_here_12345'", "password: os.environ['PASS']",
     "AKIAIOSFODNN7EXAMPLE", "the token is called something_with_underscores", "https://user:password@host.com",
     "-----BEGIN PRIVATE KEY----- is how it begins", "secret: the-quick-brown-fox-jumps", "token: 550e8400",
     "eyJhbGciOiJ.eyJhbGciOiJ.eyJhbGciOiJeyJhbG"],
)  # fmt: skip
def test_words_that_are_no_secrets(text: str) -> None:
    assert not secrets_in(text)


def test_faults_of_rows_are_mended_in_full(tmp_path: Path) -> None:
    planted = [
        "Write to anna.berg@web.de, the cafÃ© &amp; bar.",
        f"Use this: ghp_{drawn(BASE62, 36)}.",
        "Hello {name}, nice to meet you.",
        "N/A",
        ":-)",
        "It was great.<br />Truly.",
    ]
    found = by_code(text_findings(texts(tmp_path, planted)))
    for code in ("personal-data", "encoding-damage", "markup-leftovers"):
        [mark] = [mark for mark in found[code].marks if mark.row == "p0"]
        assert mark.change == {"text": "Write to [E-MAIL ADDRESS], the café & bar."}
    assert marked(found, "secrets") == {"p1"}
    assert found["secrets"].level == "warning"
    assert found["secrets"].marks[0].change == {"text": "Use this: [SECRET]."}
    assert marked(found, "template-leftovers") == {"p2"}
    assert marked(found, "nothing-said") == {"p3"}
    assert marked(found, "markup-leftovers") == {"p0", "p5"}
    assert "e-mail address in 1" in found["personal-data"].what


def test_messages_are_mended_where_they_are(tmp_path: Path) -> None:
    clean = [(f"What happened on day {n}?", text) for n, text in enumerate(sentences(30))]
    data = talks(tmp_path, [("Who is it?", "It is anna.berg@web.de.")], clean)
    [mark] = by_code(text_findings(data))["personal-data"].marks
    assert mark.change is not None
    assert [m["content"] for m in mark.change["messages"]] == ["Who is it?", "It is [E-MAIL ADDRESS]."]
    row = next(row for row in data.sides["train"] if row["id"] == "p0")
    assert row["messages"][1]["content"] == "It is anna.berg@web.de."


def test_clean_rows_have_no_fault(tmp_path: Path) -> None:
    found = by_code(text_findings(texts(tmp_path, [])))
    assert {code: one.level for code, one in found.items()} == {"length-outliers": "note"}


def test_a_sentence_in_many_rows_is_boilerplate(tmp_path: Path) -> None:
    footer = "Sent from my old telephone with best wishes."
    planted = [f"{text} {footer}" for text in sentences(10, 3_000)]
    found = by_code(text_findings(texts(tmp_path, planted)))
    assert marked(found, "boilerplate") == {f"p{n}" for n in range(10)}
    assert footer in found["boilerplate"].what
    # Rows that repeat as a whole are doubles, and an instruction is meant to be the same.
    assert "boilerplate" not in by_code(text_findings(texts(tmp_path, [footer] * 10)))
    asked = [(f"Answer in one sentence, if you please. What about day {n}?", t) for n, t in enumerate(sentences(30))]
    assert "boilerplate" not in by_code(text_findings(talks(tmp_path, [], asked)))


def test_repeats_are_counted_in_bounded_memory() -> None:
    repeats = Repeats(most_kept=2_000)
    rng = random.Random(0)
    for row in range(3_000):
        own = [f"Sentence number {rng.random()} is said once." for _ in range(3)]
        repeats.add(row, " ".join([*own, "This one is said in every row." if row % 10 == 0 else "No."]))
        assert len(repeats._hashes) <= 2_010
    [(number, rows)] = repeats.common(100)
    assert number == hash_of("This one is said in every row.")
    assert rows.tolist() == list(range(0, 3_000, 10))


def test_a_row_far_longer_than_the_others(tmp_path: Path) -> None:
    long = " ".join(f"word{n}" for n in range(2_000))
    data = texts(tmp_path, [long, " ".join(sentences(10))])
    found = by_code(text_findings(data))["length-outliers"]
    assert [mark.row for mark in found.marks] == ["p0"]
    assert found.marks[0].note == "2,000 words"


def test_toxicity_is_judged_by_the_model_that_is_named(tmp_path: Path) -> None:
    from tests.fixtures.small_models import fine_tuned, rows_of, write_model

    write_model(tmp_path / "base")
    names, stages = ("toxic", "neutral"), 'stages=[{"train": "all", "epochs": 15, "lr": 3e-3}]'
    run = fine_tuned(tmp_path, tmp_path / "base", rows_of(160, names), stages)
    rows = [{**row, "id": f"r{n}"} for n, row in enumerate(rows_of(24, names))]
    wishes = Wishes(toxicity=str(run.folder / "model"))
    data = opened(tmp_path, "text-classification", rows[:16], rows[16:], wishes)
    found = [one for one in text_findings(data) if isinstance(one, Found) and one.code == "toxic-text"]
    toxic = {row["id"] for row in rows if row["label"] == "toxic"}
    marks = {mark.row for one in found for mark in one.marks}
    assert len(marks & toxic) >= 0.8 * len(toxic)
    assert len(marks - toxic) <= 2


def test_which_labels_are_toxic() -> None:
    assert toxic_outputs(["toxic", "severe_toxic", "obscene"], several=True) == [0, 1, 2]
    assert toxic_outputs(["non-toxic", "toxic"], several=False) == [1]
    assert toxic_outputs(["LABEL_0", "LABEL_1"], several=False) == [1]
    assert toxic_outputs(["neutral", "mild", "heavy"], several=False) == [1, 2]
    with pytest.raises(UserError, match="what is toxic"):
        toxic_outputs(["joy", "anger"], several=False)


def test_without_a_model_toxicity_is_not_judged(tmp_path: Path) -> None:
    skipped = [one for one in text_findings(texts(tmp_path, [])) if isinstance(one, Skipped)]
    assert [one.check for one in skipped] == ["toxicity"]


def test_every_code_is_known_and_the_check_runs(tmp_path: Path) -> None:
    assert set(FAULTS) <= set(DEEP_CODES)
    report = audit(texts(tmp_path, ["Write to anna.berg@web.de."]), only=["text"])
    assert {found.code for found in report.findings} == {"personal-data", "length-outliers"}
