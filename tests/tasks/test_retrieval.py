"""A sentence encoder that learns to find passages: its loss, its contract, its files, its journey."""

from __future__ import annotations

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tunesmith import check_task, fine_tune
from tunesmith.check import CHECKS
from tunesmith.errors import UserError
from tunesmith.model.ranking_loss import ABSENT, ranking_losses
from tunesmith.model.weights import resolve
from tunesmith.predict import predict
from tunesmith.recipe import ModelSection
from tunesmith.tasks.retrieval import Retrieval, RetrievalOptions


def _worlds() -> Any:
    spec = spec_from_file_location("small_models", Path(__file__).parents[1] / "fixtures" / "small_models.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


small = _worlds()
WORDS = small.WORDS


def pairs(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Questions of two words that no other has; the passage has one of them, among words that come anywhere."""
    drawn = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        first, second = WORDS[i % 26], WORDS[26 + i // 26 % 6]
        noise = [WORDS[j] for j in drawn.integers(0, len(WORDS), 4)]
        rows.append({"query": f"{first} {second}", "positive": " ".join([*noise, second, first])})
    return rows


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNESMITH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = small.write_model(tmp_path_factory.mktemp("bert"))
    small.write_pooling(folder, "mean")
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, encoder: Path) -> Any:
    """A run that learns from a file, with hard negatives."""
    folder = tmp_path_factory.mktemp("run")
    file = folder / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in pairs(120)), encoding="utf-8")
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        f"task: retrieval\nmodel: {encoder}\ndata: {{train: {file}, eval: 0.25}}\n"
        "stages: [{train: {top: 1}, epochs: 1, lr: 1e-3}, {train: all, epochs: 6, lr: 3e-3}]\n"
        "batch: {rows: 16, micro: 8}\noptions: {hard_negatives: 1, query_prompt: 'the '}\n"
        f"audit: {{accept: {{few-rows: a test}}}}\nrun: {{folder: {folder / 'runs'}, name: here}}\n",
        encoding="utf-8",
    )
    return fine_tune(recipe)


def _task(folder: Path, rows: list[dict[str, Any]] | None = None, **options: Any) -> Retrieval:
    task = Retrieval(RetrievalOptions(**options), resolve(ModelSection(name=str(folder))))
    if rows:
        task.facts = task.survey(rows)
    return task


def _rows(count: int, wrong: int = 0) -> list[dict[str, Any]]:
    rows = pairs(count)
    return [
        {
            "id": str(i),
            "query": r["query"],
            "passages": [r["positive"], *(f"{r['query']} is {w}" for w in WORDS[:wrong])],
        }
        for i, r in enumerate(rows)
    ]


# The loss


def _part(rows: int, places: int, seed: int, first: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)

    def vectors() -> Any:
        return F.normalize(torch.randn(rows, 6, generator=generator, dtype=torch.float64), dim=-1)

    numbers = [torch.arange(rows) + first + 100 * (place + 1) for place in range(places)]
    question = torch.arange(rows) + first
    passages = [vectors() for _ in range(places)]
    return {"queries": vectors(), "passages": passages, "question": question, "numbers": numbers}


def test_the_loss_is_that_of_sentence_transformers() -> None:
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    part = _part(5, 3, seed=0)
    theirs = MultipleNegativesRankingLoss(torch.nn.Identity(), scale=20.0)  # type: ignore[arg-type]
    wanted = theirs.compute_loss_from_embeddings([part["queries"], *part["passages"]], torch.zeros(0))
    assert float(ranking_losses([part], 20.0).mean()) == pytest.approx(float(wanted), rel=1e-9)


def test_a_passage_that_is_right_for_the_same_question_is_no_negative() -> None:
    part = _part(4, 2, seed=1)
    alone = ranking_losses([part], 20.0)
    for key, place in (("question", None), ("numbers", 0), ("numbers", 1)):
        again = {**part, "numbers": [n.clone() for n in part["numbers"]], "question": part["question"].clone()}
        if place is None:
            again["question"][1] = again["question"][0]  # asked twice, with two answers
        elif place == 0:
            again["numbers"][0][1] = again["numbers"][0][0]  # two questions with one answer
        else:
            again["numbers"][1][2] = again["numbers"][0][0]  # an answer as a wrong passage of another row
        found = ranking_losses([again], 20.0)
        assert found[0] < alone[0], key
        assert torch.equal(found[3], alone[3])
    absent = {**part, "numbers": [part["numbers"][0], torch.full((4,), ABSENT)]}
    only = {**part, "passages": part["passages"][:1], "numbers": part["numbers"][:1]}
    assert torch.allclose(ranking_losses([absent], 20.0), ranking_losses([only], 20.0))


def test_a_step_is_the_same_however_it_is_cut(encoder: Path) -> None:
    """Against the loss of the whole step in one pass, and against parts that do not know of each other."""
    rows = _rows(8, wrong=1)
    task = _task(encoder, rows)
    model = task.load().eval()

    def gradient(parts: list[list[int]], *, company: bool) -> tuple[float, torch.Tensor]:
        batches = [task.collate([task.encode(rows[i]) for i in part]) for part in parts]
        with torch.no_grad():
            shares = [task.share(model, batch) for batch in batches]
        total = torch.zeros(())
        for number, batch in enumerate(batches):
            others = [share for i, share in enumerate(shares) if i != number]
            total = total + task.loss(model, batch | ({"company": others} if company else {}))["questions"]
        model.zero_grad()
        total.backward()
        return total.item(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    whole, wanted = gradient([list(range(8))], company=True)
    cut, found = gradient([[0, 1, 2], [3, 4, 5, 6], [7]], company=True)
    assert cut == pytest.approx(whole, rel=1e-5)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    apart, other = gradient([[0, 1, 2], [3, 4, 5, 6], [7]], company=False)
    assert apart < 0.8 * whole
    assert float((other - wanted).norm() / wanted.norm()) > 0.1


# The contract


def test_it_keeps_the_contract(tiny_bert: Any) -> None:
    rows = [{**row, "passages": row["passages"][: 1 + i % 3]} for i, row in enumerate(_rows(12, wrong=2))]
    report = check_task(Retrieval, rows, source=tiny_bert)
    report.raise_failures()
    assert [result.name for result in report.results] == list(CHECKS)
    moot = {result.name for result in report.results if result.status == "does not apply"}
    assert moot == {"cache-head", "cache-top", "tally"}
    assert {result.name for result in report.results if result.status == "excepted"} == {"loss-sum"}


# The journey


def test_it_learns_to_find_passages_that_it_has_not_seen(finished: Any) -> None:
    scores = json.loads((finished.folder / "scores.json").read_text(encoding="utf-8"))
    assert scores["metric"] == "ndcg_at_10"
    assert scores["tuned"] > scores["base"] + 0.1
    assert scores["verdict"] == "better"
    receipts = json.loads((finished.folder / "receipts.json").read_text(encoding="utf-8"))
    assert [r["promise"] for r in receipts if not r["holds"] and r["promise"] != "memory was predicted"] == []
    rows = [json.loads(line) for line in (finished.folder / "predictions.jsonl").read_text().splitlines()]
    assert len(rows) == 30
    page = finished.report.read_text(encoding="utf-8")
    assert "BM25" in page
    assert "What changed most" in page


def test_sentence_transformers_loads_what_was_saved(finished: Any) -> None:
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(finished.model), device="cpu")
    texts = [row["query"] for row in pairs(6)]
    ours = np.array([p["prediction"]["query"] for p in predict(finished, texts)])
    np.testing.assert_allclose(theirs.encode_query(texts), ours, atol=2e-6)
    passage = predict(finished, [{"query": "good", "passages": ["the plot was cold"]}])[0]["prediction"]["passages"]
    np.testing.assert_allclose(theirs.encode_document(["the plot was cold"]), passage, atol=2e-6)
    assert np.abs(theirs.encode(texts) - ours).max() > 1e-3, "the prompt of queries counts"


def test_our_own_encoder_reads_it_too(finished: Any) -> None:
    from tunesmith.model.sentence_encoder import TextEncoder

    encoder = TextEncoder(resolve(ModelSection(name=str(finished.model))), precision="fp32")
    texts = [row["query"] for row in pairs(6)]
    ours = np.array([p["prediction"]["query"] for p in predict(finished, texts)])
    np.testing.assert_allclose(encoder.encode(texts, query=True), ours, atol=2e-6)


# Settings and bad input


def test_an_adapter_is_refused(encoder: Path) -> None:
    task = _task(encoder)
    task.adapted = True
    with pytest.raises(UserError, match="an adapter can't be put on a sentence encoder"):
        task.load()


def test_an_encoder_with_further_layers_is_refused(encoder: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "dense"
    shutil.copytree(encoder, folder)
    steps = [{"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
             {"idx": 1, "path": "2_Dense", "type": "sentence_transformers.models.Dense"}]  # fmt: skip
    (folder / "modules.json").write_text(json.dumps(steps), encoding="utf-8")
    with pytest.raises(UserError, match="has a step Dense, which can't be tuned here"):
        _task(folder).load()


def test_one_passage_for_all_questions_is_an_error(encoder: Path) -> None:
    rows = [{**row, "passages": ["the plot was cold"]} for row in _rows(10)]
    found = {finding.code: finding for finding in _task(encoder, rows).audit(rows, [])}
    assert found["one-passage-for-all"].level == "error"
    assert "10 of 10 questions" in found["one-passage-for-all"].what
    assert not list(_task(encoder, _rows(10)).audit(_rows(10), []))


def test_cut_texts_are_counted(encoder: Path) -> None:
    rows = _rows(10)
    found = {f.code: f for f in _task(encoder, rows, max_length=6).audit(rows, [])}
    assert found["truncated"].share == 1.0


def test_prompts_come_from_the_folder_unless_the_recipe_says_them(encoder: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "prompted"
    shutil.copytree(encoder, folder)
    settings = {"prompts": {"query": "the ", "passage": "a "}}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings), encoding="utf-8")
    row = {"id": "1", "query": "good", "passages": ["bad"]}
    task = _task(folder, [row])
    read = [task.tokenizer.decode(ids, skip_special_tokens=True) for ids in task.encode(row)["texts"]]
    assert read == ["the good", "a bad"]
    other = _task(folder, [row], query_prompt="", passage_prompt="this ")
    read = [task.tokenizer.decode(ids, skip_special_tokens=True) for ids in other.encode(row)["texts"]]
    assert read == ["good", "this bad"]
