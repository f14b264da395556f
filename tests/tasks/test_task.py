"""What a task has without writing it: scores by name, batches, tokens, a saved folder that loads again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from tunesmith.model.pretrained_part import HEAD_FILE
from tunesmith.model.weights import Weights
from tunesmith.task import Task, TaskOptions
from tunesmith.types import Facts


class Plain(Task):
    """Nothing but what is required."""

    name = "plain"
    columns: ClassVar = {"x": float, "y": object}
    target = "y"
    goal = "accuracy"

    def load(self) -> nn.Module:
        return nn.Linear(1, 1)

    def encode(self, row: Any, rng: Any = None) -> Any:
        return {"x": row["x"]}

    def loss(self, model: nn.Module, batch: Any) -> Any:
        return {"examples": model(batch["x"]).sum()}

    def predict(self, model: nn.Module, batch: Any) -> Any:
        return model(batch["x"]).tolist()


def weights(folder: Path = Path()) -> Weights:
    return Weights("none", folder, "folder", None, None, ())


def task_of(kind: type[Task] = Plain, folder: Path = Path(), **changes: Any) -> Task:
    return type("Changed", (kind,), changes)(TaskOptions(), weights(folder), Facts())


def test_accuracy_compares_as_text() -> None:
    rows = [{"y": 1}, {"y": "b"}, {"y": "c"}, {"y": "d"}]
    assert task_of().score(["1", "b", "x", "d"], rows) == {"accuracy": 0.75}


def test_numbers_are_scored_as_sklearn_scores_them() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rows = [{"y": str(v)} for v in (0.5, 2.0, -1.0, 3.5)]
    found, true = [0.0, 2.5, -1.5, 3.0], [float(row["y"]) for row in rows]
    told = task_of(goal="r2").score(found, rows)
    assert told["r2"] == pytest.approx(sklearn.r2_score(true, found))
    assert told["mean_absolute_error"] == pytest.approx(sklearn.mean_absolute_error(true, found))
    constant = [{"y": 2.0}, {"y": 2.0}]
    assert task_of(goal="r2").score([2.0, 2.0], constant)["r2"] == sklearn.r2_score([2.0, 2.0], [2.0, 2.0])
    assert task_of(goal="r2").score([2.0, 3.0], constant)["r2"] == sklearn.r2_score([2.0, 2.0], [2.0, 3.0])


def test_an_unknown_goal_needs_a_score_of_its_own() -> None:
    with pytest.raises(TypeError, match="Changed has no score for its goal 'f1': write one, or take one of accuracy"):
        task_of(goal="f1")
    assert task_of(goal="f1", score=lambda self, predictions, rows: {"f1": 1.0}).score([], []) == {"f1": 1.0}


def test_a_batch_stacks_what_is_alike() -> None:
    batch = task_of().collate(
        [
            {"t": torch.zeros(2), "n": 1, "f": 0.5, "ids": [1, 2], "text": "a", "ragged": [1], "odd": torch.zeros(1)},
            {"t": torch.ones(2), "n": 2, "f": 1.5, "ids": [3, 4], "text": "b", "ragged": [1, 2], "odd": torch.zeros(2)},
        ]
    )
    assert batch["t"].tolist() == [[0, 0], [1, 1]]
    assert (batch["n"].dtype, batch["n"].tolist()) == (torch.int64, [1, 2])
    assert (batch["f"].dtype, batch["f"].tolist()) == (torch.float32, [0.5, 1.5])
    assert batch["ids"].tolist() == [[1, 2], [3, 4]]
    assert (batch["text"], batch["ragged"]) == (["a", "b"], [[1], [1, 2]])
    assert [len(v) for v in batch["odd"]] == [1, 2]


@pytest.mark.parametrize("values", [[1, "a"], [[1], 1], [["a"], ["b"]], [[], []], [None, None], [{"a": 1}, {"a": 1}]])
def test_what_is_not_alike_stays_a_list(values: list[Any]) -> None:
    assert task_of().collate([{"v": value} for value in values])["v"] == values


def test_a_key_that_an_example_lacks_is_left_out_of_the_batch() -> None:
    assert task_of().collate([{"x": 1, "y": 2}, {"x": 3}]).keys() == {"x"}


def test_tokens_are_cut_or_padded_to_a_length(tiny_bert: Weights) -> None:
    task = Plain(TaskOptions(), tiny_bert)
    short, long = task.tokens("the film was good", 8), task.tokens("the film was good and " * 9, 8)
    assert len(short["input_ids"]) == len(long["input_ids"]) == 8
    assert short["attention_mask"] == [1, 1, 1, 1, 1, 1, 0, 0]
    assert long["attention_mask"] == [1] * 8


class Around(nn.Module):
    def __init__(self, *folders: Path) -> None:
        super().__init__()
        from transformers import AutoModel

        self.towers = nn.ModuleList(AutoModel.from_pretrained(folder) for folder in folders)
        self.head = nn.Linear(32, 2)
        self.again = self.head


def test_the_head_is_fresh_at_first_and_kept_afterwards(tiny_bert: Weights, tmp_path: Path) -> None:
    task = Plain(TaskOptions(), tiny_bert)
    model = task.with_head(Around(tiny_bert.folder))
    assert task.fresh == {"head.weight", "head.bias"}
    layers = task.layers(model)
    assert layers.trunk is model.towers[0]  # type: ignore[index]
    assert layers.groups["head"] == ("head.weight", "head.bias")
    assert len(layers.blocks) == 4
    task.save(model, tmp_path)
    assert (tmp_path / HEAD_FILE).is_file()
    again = Plain(TaskOptions(), weights(tmp_path))
    loaded = again.with_head(Around(tmp_path))
    assert again.fresh == frozenset()
    state = loaded.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert again.tokenizer("good")["input_ids"] == task.tokenizer("good")["input_ids"]


def test_a_kept_head_of_another_shape_is_not_taken(tiny_bert: Weights, tmp_path: Path) -> None:
    task = Plain(TaskOptions(), tiny_bert)
    task.save(task.with_head(Around(tiny_bert.folder)), tmp_path)
    wider = Around(tmp_path)
    wider.head = wider.again = nn.Linear(32, 3)
    again = Plain(TaskOptions(), weights(tmp_path))
    again.with_head(wider)
    assert again.fresh == {"head.weight", "head.bias"}


def test_several_pretrained_parts_are_refused_when_loading_not_when_saving(tiny_bert: Weights) -> None:
    with pytest.raises(TypeError, match=r"several pretrained parts \(towers.0, towers.1\): write save yourself"):
        Plain(TaskOptions(), tiny_bert).with_head(Around(tiny_bert.folder, tiny_bert.folder))


def test_a_model_that_saves_itself_needs_no_head_file(tiny_bert: Weights, tmp_path: Path) -> None:
    from transformers import AutoModel

    task = Plain(TaskOptions(), tiny_bert)
    task.save(AutoModel.from_pretrained(tiny_bert.folder), tmp_path)
    assert {file.name for file in tmp_path.iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert not (tmp_path / HEAD_FILE).exists()
