"""Text classification from rows to a folder that other libraries load, on tiny models with random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tunesmith.classification import Classes, ordered_labels
from tunesmith.errors import UserError
from tunesmith.model.weights import resolve
from tunesmith.predict import predict
from tunesmith.prove import load_model, load_task
from tunesmith.recipe import ModelSection
from tunesmith.rescore import rescore
from tunesmith.tasks.text_classification import TextClassification, TextOptions
from tunesmith.types import Facts


def _worlds() -> Any:
    spec = spec_from_file_location("small_models", Path(__file__).parents[1] / "fixtures" / "small_models.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


small = _worlds()
Make = Callable[..., Path]


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNESMITH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    def build(family: str = "bert", pooling: str | None = None, **settings: Any) -> Path:
        folder: Path = small.write_model(tmp_path_factory.mktemp(family), family, **settings)
        if pooling:
            small.write_pooling(folder, pooling)
        return folder

    return build


@pytest.fixture(scope="module")
def bert(make: Make) -> Path:
    return make()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, bert: Path) -> Any:
    """One finished run of the architecture's own classifier."""
    return small.fine_tuned(tmp_path_factory.mktemp("run"), bert)


def task_of(folder: Path, rows: list[dict[str, Any]], **options: Any) -> TextClassification:
    task = TextClassification(TextOptions(**options), resolve(ModelSection(name=str(folder))))
    task.facts = task.survey(rows)
    return task


def logits_of(model: Any, task: TextClassification, texts: list[str]) -> Tensor:
    batch = task.collate([task.encode({"id": t, "text": t}) for t in texts])
    with torch.no_grad():
        out = model.eval()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    return out if isinstance(out, Tensor) else out.logits


TEXTS = [
    "the film was good",
    "bad",
    "the actor and the music and the plot was cold weak sloppy",
    "",
    "\u05e9\u05dc\u05d5\u05dd \U0001f600",
]


def test_a_run_keeps_its_promises(finished: Any) -> None:
    receipts = json.loads((finished.folder / "receipts.json").read_text(encoding="utf-8"))
    broken = [r["promise"] for r in receipts if not r["holds"] and r["promise"] != "memory was predicted"]
    assert broken == []
    assert sum("cache equals no cache" in r["promise"] for r in receipts) == 2


def test_the_saved_folder_loads_in_plain_transformers(finished: Any) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    task = load_task(finished)
    ours = logits_of(load_model(finished, task), task, TEXTS)
    theirs = AutoModelForSequenceClassification.from_pretrained(finished.model).eval()
    tokenizer = AutoTokenizer.from_pretrained(finished.model)
    with torch.no_grad():
        encoded = tokenizer(TEXTS, padding=True, return_tensors="pt")
        torch.testing.assert_close(theirs(**encoded).logits, ours)
    assert theirs.config.id2label == {0: "bad", 1: "good"}
    assert theirs.config.label2id == {"bad": 0, "good": 1}
    classify = pipeline("text-classification", model=str(finished.model), top_k=None)
    for text, row in zip(TEXTS[:3], ours, strict=False):
        found = {entry["label"]: entry["score"] for entry in classify([text])[0]}
        assert [found["bad"], found["good"]] == pytest.approx(row.softmax(-1).tolist(), abs=1e-5)


def test_predictions_for_texts_rows_and_a_file(finished: Any, tmp_path: Path) -> None:
    file = tmp_path / "new.csv"
    file.write_text("text\n" + "\n".join(TEXTS[:3]) + "\n", encoding="utf-8")
    from_texts = [p["prediction"] for p in predict(finished, TEXTS[:3])]
    from_rows = [p["prediction"] for p in predict(finished, [{"text": t} for t in TEXTS[:3]])]
    from_file = [p["prediction"] for p in predict(finished, [str(file)])]
    assert from_texts == from_rows == from_file
    task = load_task(finished)
    shares = logits_of(load_model(finished, task), task, TEXTS[:3]).softmax(-1)
    for prediction, row in zip(from_texts, shares, strict=True):
        assert list(prediction["probabilities"].values()) == pytest.approx(row.tolist(), abs=1e-5)
        assert prediction["label"] == ["bad", "good"][int(row.argmax())]
    with pytest.raises(UserError, match="has no 'text'"):
        predict(finished, [{"body": "x"}])


def test_odd_texts_are_predicted(finished: Any) -> None:
    odd = ["word " * 100_000, "", " ", "\U0001f600" * 50, "\u202e\u05e9\u05dc\u05d5\u05dd", "a\x00b", "\ud7ff\ufffd"]
    for found in predict(finished, [{"text": t} for t in odd]):
        assert sum(found["prediction"]["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_scoring_again_gives_the_same_scores(tmp_path: Path, bert: Path) -> None:
    from tunesmith import fine_tune

    rows = small.rows_of()
    file = tmp_path / "rows.csv"
    file.write_text("body,class\n" + "".join(f"{r['text']},{r['label']}\n" for r in rows), encoding="utf-8")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"task: text-classification\nmodel: {bert}\n"
        f"data: {{train: {file}, eval: 0.25, columns: {{text: body, label: class}}}}\n"
        f"stages: [{{train: all, epochs: 1}}]\naudit: {{accept: {{few-rows: a test}}}}\n"
        f"run: {{folder: {tmp_path / 'runs'}}}\n",
        encoding="utf-8",
    )
    run = fine_tune(recipe)
    stored = json.loads((run.folder / "scores.json").read_text(encoding="utf-8"))
    again = rescore(run)
    for key, value in again.items():
        assert stored[key] == (pytest.approx(value) if isinstance(value, float) else value), key
    on_all = rescore(run, str(file))
    assert on_all["rows"] == 80


@pytest.mark.parametrize("family", ["llama", "roberta"])
def test_other_shapes_end_to_end(make: Make, tmp_path: Path, family: str) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = make(family, side="left") if family == "llama" else make(family)
    run = small.fine_tuned(tmp_path, model)
    receipts = json.loads((run.folder / "receipts.json").read_text(encoding="utf-8"))
    assert all(r["holds"] for r in receipts if r["promise"] != "memory was predicted")
    task = load_task(run)
    ours = logits_of(load_model(run, task), task, TEXTS)
    tokenizer = AutoTokenizer.from_pretrained(run.model)
    theirs = AutoModelForSequenceClassification.from_pretrained(run.model).eval()
    with torch.no_grad():
        encoded = tokenizer(TEXTS, padding=True, return_tensors="pt", return_token_type_ids=False)
        torch.testing.assert_close(theirs(**encoded).logits, ours, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_a_saved_adapter_loads_with_peft(make: Make, tmp_path: Path, family: str) -> None:
    from peft import AutoPeftModelForSequenceClassification
    from transformers import AutoTokenizer

    model = make(family)
    run = small.fine_tuned(
        tmp_path, model, None, "adapter.r=4", "stages=[{train: adapter, epochs: 2, lr: 1e-2}]"
    )  # fmt: skip
    task = load_task(run)
    ours = logits_of(load_model(run, task), task, TEXTS)
    theirs = AutoPeftModelForSequenceClassification.from_pretrained(run.model, num_labels=2).eval()
    theirs.config.pad_token_id = task.tokenizer.pad_token_id
    tokenizer = AutoTokenizer.from_pretrained(run.model)
    with torch.no_grad():
        encoded = tokenizer(TEXTS, padding=True, return_tensors="pt", return_token_type_ids=False)
        torch.testing.assert_close(theirs(**encoded).logits, ours, rtol=1e-4, atol=1e-5)


# The base model's own head


def test_a_classifier_of_the_same_labels_is_the_base(make: Make, tmp_path: Path) -> None:
    rows = small.rows_of()
    model = make(labels=["good", "bad"])
    task = task_of(model, rows)
    assert task.labels == ["good", "bad"], "the head's order, not the alphabet's"
    loaded = task.load()
    assert task.fresh == frozenset()
    assert "pretrained classifier" in task.bases(loaded, rows)
    run = small.fine_tuned(tmp_path, model, rows, "stages=[{train: head, epochs: 1}]")
    names = json.loads((run.folder / "base.jsonl").read_text(encoding="utf-8").splitlines()[0])["candidates"]
    assert "pretrained classifier" in names


@pytest.mark.parametrize("labels", [["x", "y", "z"], ["ham", "spam"]])
def test_a_classifier_of_other_labels_gets_a_new_head(make: Make, labels: list[str]) -> None:
    from safetensors.torch import load_file

    rows = small.rows_of()
    model = make(labels=labels)
    task = task_of(model, rows)
    loaded: Any = task.load()
    assert task.fresh == {"classifier.weight", "classifier.bias"}
    assert "pretrained classifier" not in task.bases(loaded, rows)
    stored = load_file(model / "model.safetensors")
    assert torch.equal(loaded.bert.pooler.dense.weight, stored["bert.pooler.dense.weight"])
    assert loaded.classifier.weight.shape == (2, 32)
    if len(labels) == 2:
        assert not torch.equal(loaded.classifier.weight, stored["classifier.weight"])
    assert loaded.config.id2label == {0: "bad", 1: "good"}


def test_the_shape_names_the_same_fresh_parameters_as_loading(make: Make) -> None:
    for family in ("bert", "roberta", "llama"):
        task = task_of(make(family), small.rows_of())
        task.load()
        loaded = task.fresh
        task.skeleton()
        assert task.fresh == loaded


# Sentence encoders


def test_a_sentence_encoder_has_a_zero_shot_base(make: Make) -> None:
    rows = small.rows_of()
    task = task_of(make(pooling="mean"), rows, zero_shot_template="the film was {}")
    model = task.load().eval()
    found = task.bases(model, rows)
    assert list(found) == ["majority class", "zero-shot by label names"]
    batch = task.collate([task.encode({"id": t, "text": t}) for t in ("the film was bad", "the film was good")])
    with torch.no_grad():
        predicted = found["zero-shot by label names"](model, batch)
        majority = found["majority class"](model, batch)
    assert [p["label"] for p in predicted] == ["bad", "good"]
    assert [p["label"] for p in majority] == ["bad", "bad"]


def test_an_unknown_pooling_is_an_error_with_a_fix(make: Make) -> None:
    folder = make(pooling="weightedmean_tokens")
    with pytest.raises(UserError, match="pools its tokens by weightedmean_tokens") as fault:
        task_of(folder, small.rows_of()).load()
    assert "options: {pooling: mean}" in fault.value.fix
    assert task_of(folder, small.rows_of(), pooling="cls").load() is not None


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken"])
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_padding_does_not_change_a_text(make: Make, family: str, pooling: str) -> None:
    task = task_of(make(family), small.rows_of(), pooling=pooling)
    model = task.load()
    together = logits_of(model, task, TEXTS)
    alone = torch.cat([logits_of(model, task, [text]) for text in TEXTS])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


# Options


def test_max_length(make: Make, bert: Path) -> None:
    rows = small.rows_of()
    auto = task_of(bert, rows)
    longest = max(len(auto.tokenizer(r["text"])["input_ids"]) for r in rows)
    assert auto.facts.values["max_length"] == -(-longest // 8) * 8
    short = task_of(bert, rows, max_length=6)
    assert max(short.length(short.encode({"id": "1", **r})) for r in rows) == 6
    over = np.mean([len(auto.tokenizer(r["text"])["input_ids"]) > 6 for r in rows])
    assert short.facts.values["truncated_share"] == pytest.approx(over)
    found = {f.code: f for f in short.audit([{"id": str(i), **r} for i, r in enumerate(rows)], [])}
    assert found["truncated"].share == pytest.approx(over)
    with pytest.raises(UserError, match="more than the 48 that the model takes") as fault:
        task_of(bert, rows, max_length=49)
    assert fault.value.where == "recipe: options.max_length"
    with pytest.raises(UserError, match="leave no room for the text: the model adds 2"):
        task_of(bert, rows, max_length=2)
    with pytest.raises(UserError, match="more than the 47"):
        task_of(make("roberta"), rows, max_length=48)


def test_labels_in_the_order_of_the_recipe(bert: Path) -> None:
    rows = small.rows_of()
    assert task_of(bert, rows, labels=["good", "neutral", "bad"]).labels == ["good", "neutral", "bad"]
    with pytest.raises(UserError, match="leaves out 1 labels of the data: good"):
        task_of(bert, rows, labels=["bad", "ugly"])


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_balanced_weights_are_those_of_scikit_learn(bert: Path, smoothing: float) -> None:
    from sklearn.utils.class_weight import compute_class_weight

    rows = [{"id": str(i), **r} for i, r in enumerate(small.rows_of())]
    task = task_of(bert, rows, class_weights="balanced", label_smoothing=smoothing)
    labels = np.array([r["label"] for r in rows])
    expected = compute_class_weight("balanced", classes=np.array(task.labels), y=labels)
    assert task.facts.values["class_weights"] == pytest.approx(expected.tolist())
    model = task.load().eval()
    batch = task.collate([task.encode(r) for r in rows[:16]])
    with torch.no_grad():
        total = float(task.loss(model, batch)["examples"])
        logits = logits_of(model, task, [r["text"] for r in rows[:16]])
    mean = total / task.count(batch)["examples"]
    weights = torch.tensor(expected, dtype=torch.float32)
    if smoothing == 0:
        assert mean == pytest.approx(float(torch.nn.functional.cross_entropy(logits, batch["label"], weights)))
    each = torch.nn.functional.cross_entropy(logits, batch["label"], reduction="none", label_smoothing=smoothing)
    by_row = weights[batch["label"]]
    assert mean == pytest.approx(float((each * by_row).sum() / by_row.sum()), rel=1e-5)
    assert task.count(batch)["examples"] == pytest.approx(float(by_row.sum()))


@pytest.mark.parametrize(
    ("values", "order"),
    [((10, 9), ["9", "10"]), ((True, False), ["False", "True"]), ((0.5, -1.5), ["-1.5", "0.5"]),
     ((10.0, 9.5), ["9.5", "10.0"])],
)  # fmt: skip
def test_labels_of_other_types(bert: Path, values: tuple[Any, Any], order: list[str]) -> None:
    rows = small.rows_of(names=values)
    task = task_of(bert, rows)
    assert task.labels == order
    assert int(task.encode({"id": "0", **rows[0]})["label"]) == order.index(str(rows[0]["label"]))
    assert ordered_labels([*rows, {"label": "word"}])[-1] == "word"


# Tokenizers


def test_a_tokenizer_without_a_padding_token_pads_with_its_end(make: Make) -> None:
    task = task_of(make("llama", pad=False, wrapped=False), small.rows_of())
    assert task.tokenizer.pad_token == task.tokenizer.eos_token == "[SEP]"
    model: Any = task.load()
    together = logits_of(model, task, TEXTS)
    alone = torch.cat([logits_of(model, task, [text]) for text in TEXTS])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert task.encode({"id": "1", "text": ""})["input_ids"].tolist() == [3], "an empty text is one token"


def test_padding_is_on_the_right_unless_the_head_reads_the_last_place(make: Make) -> None:
    task = task_of(make("llama", side="left"), small.rows_of())
    batch = task.collate([task.encode({"id": t, "text": t}) for t in TEXTS[:2]])
    assert batch["attention_mask"][1].tolist() == [1, 1, 1, 0, 0, 0]


def test_a_folder_without_a_vocabulary_is_an_error(make: Make, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(make(), tmp_path / "bare")
    (tmp_path / "bare" / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="can't be loaded"):
        task_of(tmp_path / "bare", small.rows_of())


# Metrics


def test_scores_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss, precision_recall_fscore_support

    drawn = np.random.default_rng(0)
    labels = ("a", "b", "c")
    shares = drawn.dirichlet([1.0, 1.0, 1.0], 200)
    true = drawn.choice(3, 200, p=[0.6, 0.3, 0.1])
    classes = Classes(labels)
    predictions = classes.named(shares.tolist())
    rows = [{"id": str(i), "label": labels[t], "text": "x"} for i, t in enumerate(true)]
    found = shares.argmax(1)
    scores = classes.score(predictions, rows)
    assert scores["macro_f1"] == pytest.approx(f1_score(true, found, average="macro"))
    assert scores["accuracy"] == pytest.approx(accuracy_score(true, found))
    assert scores["log_loss"] == pytest.approx(log_loss(true, shares), rel=1e-4)
    bins = np.minimum((shares.max(1) * 15).astype(int), 14)
    gaps = [abs((found == true)[bins == b].mean() - shares.max(1)[bins == b].mean()) * (bins == b).sum()
            for b in set(bins)]  # fmt: skip
    assert scores["calibration_error"] == pytest.approx(sum(gaps) / 200, abs=1e-4)
    panels = {p["title"]: p for p in classes.panels(rows, None, predictions, lambda row: row["text"])}
    assert panels["Confusion matrix"]["tuned"] == confusion_matrix(true, found).tolist()
    table = precision_recall_fscore_support(true, found)
    for i, (label, support, precision, recall, f1) in enumerate(panels["By class, tuned"]["rows"]):
        assert (label, support) == (labels[i], table[3][i])
        assert (precision, recall, f1) == pytest.approx([table[k][i] for k in range(3)], abs=1e-4)


def test_tallies_sum_to_the_score(bert: Path) -> None:
    rows = [{"id": str(i), **r} for i, r in enumerate(small.rows_of(40))]
    task = task_of(bert, rows)
    drawn = np.random.default_rng(1).dirichlet([1.0, 1.0], 40)
    predictions = task.classes.named(drawn.tolist())
    totals = task.tally(predictions, rows).sum(0, keepdims=True)
    assert task.goal_of(totals)[0] == pytest.approx(task.score(predictions, rows)["macro_f1"])


def test_the_card_snippet_names_what_loads_the_folder(bert: Path, make: Make) -> None:
    plain, sentence = task_of(bert, small.rows_of()), task_of(make(pooling="mean"), small.rows_of())
    assert "pipeline(" in plain.load_snippet("model")
    assert "SentenceTransformer(" in sentence.load_snippet("model")
    assert isinstance(plain.facts, Facts)
