"""``check_task``: every installed task keeps the contract, and each way of breaking it is found by its check."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from tests.fixtures import picture_runs
from tunesmith import check_task
from tunesmith.check import CHECKS, CheckReport
from tunesmith.errors import UserError
from tunesmith.model.weights import Weights, resolve
from tunesmith.recipe import ModelSection
from tunesmith.registry import find_task, task_names
from tunesmith.task import Task
from tunesmith.types import Facts

# Every installed task, with the small worlds it is checked in: weights by fixture name, options, checks that cannot
# apply there.
WORLDS: dict[str, list[tuple[str, dict[str, Any], set[str]]]] = {
    "text-classification": [
        ("tiny_bert", {"pooling": "model"}, set()),
        ("tiny_bert", {"pooling": "mean", "label_smoothing": 0.1, "class_weights": "balanced"}, set()),
        ("tiny_llama", {}, set()),
    ],
}
# Of tasks on pictures: family of the weights, options, checks that cannot apply, declared exceptions that this family
# does not need, so that the check is run and must pass.
PICTURES: dict[str, list[tuple[str, dict[str, Any], set[str], set[str]]]] = {
    "image-classification": [
        ("resnet", {}, set(), set()),
        ("mobilenet_v2", {}, set(), set()),
        ("convnext", {"label_smoothing": 0.1}, set(), set()),
        ("vit", {"class_weights": "balanced"}, set(), set()),
        ("vit", {"augment": "outdoor"}, {"cache-head", "cache-top"}, set()),
        ("dinov2", {"fit": "letterbox"}, set(), set()),
        ("dinov3_vit", {"dropout": 0.2}, set(), set()),
    ],
    "object-detection": [
        ("yolox", {}, {"tally"}, set()),
        ("yolox", {"augment": "outdoor"}, {"tally", "cache-head", "cache-top"}, set()),
        ("yolos", {"fit": "stretch"}, {"tally"}, {"learns"}),
        ("rt_detr", {}, {"tally"}, {"learns"}),
        ("rt_detr_v2", {}, {"tally"}, {"learns"}),
        ("d_fine", {}, {"tally"}, {"learns"}),
    ],
    "image-segmentation": [
        ("segformer", {}, {"predict-unlabelled"}, set()),
        ("upernet", {}, {"predict-unlabelled"}, set()),
        ("mask2former", {}, {"predict-unlabelled"}, set()),
        ("resnet", {}, {"predict-unlabelled"}, set()),
        ("vit", {"fit": "letterbox"}, {"predict-unlabelled"}, set()),
    ],
}
PICTURE_CASES = [(name, *world) for name, worlds in PICTURES.items() for world in worlds]
CASES = [(name, *world) for name, worlds in WORLDS.items() for world in worlds]


def test_every_installed_task_of_ours_has_a_world() -> None:
    ours = {name for name in task_names() if find_task(name).__module__.startswith("tunesmith.")}
    # Tasks on a decoder, on speech, on pictures, on diffusion and of retrieval have their worlds in files of their own.
    pictures = {"image-classification", "object-detection", "image-segmentation"}
    elsewhere = {"causal-lm", "preference", "speech-to-text", "speech-ctc", "text-to-image", "retrieval"}
    assert ours == {*WORLDS, *pictures, *elsewhere}


@pytest.mark.parametrize(("name", "weights", "options", "moot"), CASES, ids=[f"{c[0]}-{c[1]}-{c[2]}" for c in CASES])
def test_our_tasks_keep_the_contract(
    name: str, weights: str, options: dict[str, Any], moot: set[str], rows: Any, request: pytest.FixtureRequest
) -> None:
    report = check_task(find_task(name), rows, source=request.getfixturevalue(weights), options=options)
    report.raise_failures()
    assert [result.name for result in report.results] == list(CHECKS)
    assert {result.name for result in report.results if result.status == "does not apply"} == moot
    assert {result.name: result.detail for result in report.results if result.status == "excepted"} == dict(
        find_task(name).exceptions
    )


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    root = tmp_path_factory.mktemp("drawn")
    return {task: picture_runs.rows_for(task, root / task) for task in PICTURES}


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "family", "options", "moot", "kept"), PICTURE_CASES, ids=[f"{c[0]}-{c[1]}-{c[2]}" for c in PICTURE_CASES]
)
def test_tasks_on_pictures_keep_the_contract(
    name: str, family: str, options: dict[str, Any], moot: set[str], kept: set[str], drawn: Any, tmp_path: Any
) -> None:
    make = {
        "image-classification": picture_runs.classifier_folder,
        "object-detection": picture_runs.detector_folder,
        "image-segmentation": picture_runs.segmenter_folder,
    }[name]
    source = resolve(ModelSection(name=str(make(tmp_path, family))))
    kind = find_task(name)
    excepted = {check: why for check, why in kind.exceptions.items() if check not in kept}
    strict = type(kind.__name__, (kind,), {"exceptions": excepted})
    exact = {"accumulation", "two-ranks"} if family == "mobilenet_v2" else set()
    settings = {"size": 64, **options}
    checks = [check for check in CHECKS if check not in exact]
    report = check_task(strict, drawn[name], source=source, options=settings, checks=checks)
    assert not report.failures, str(report)
    assert {result.name for result in report.results if result.status == "does not apply"} == moot
    assert {result.name for result in report.results if result.status == "excepted"} == set(excepted)
    if exact:
        # Fifty layers that bend at 0 and at 6: some unit always lies so near that rounding decides on its gradient.
        report = check_task(
            strict, drawn[name], source=source, options=settings, checks=sorted(exact), model=in_double_precision
        )
        assert {result.status for result in report.results} == {"passed"}, str(report)


def in_double_precision(task: Task) -> nn.Module:
    model = task.load().double()
    model.register_forward_pre_hook(
        lambda _module, _args, given: ((), {name: value.double() for name, value in given.items()}), with_kwargs=True
    )
    return model


def test_moving_batch_norms_of_a_picture_model_break_what_still_ones_keep(drawn: Any, tmp_path: Any) -> None:
    """Or the checks above would say nothing."""
    source = resolve(ModelSection(name=str(picture_runs.classifier_folder(tmp_path, "resnet"))))
    rows, checks = drawn["image-classification"], ["accumulation", "two-ranks", "frozen"]
    for moves, fails in (("moving", {"accumulation", "two-ranks"}), ("still", set())):
        options = {"size": 64, "batch_norm": moves}
        report = check_task(find_task("image-classification"), rows, source=source, options=options, checks=checks)
        assert failed(report) == fails, str(report)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm, self.dropout = nn.Linear(8, 8), nn.LayerNorm(8), nn.Dropout(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = x + self.dropout(torch.tanh(self.linear(self.norm(x))))
        return out


class Trunk(nn.Module):
    """Three blocks; ``skip`` lets the embedding by-pass them."""

    def __init__(self, skip: bool = False, batch_norm: bool = False) -> None:
        super().__init__()
        self.embed = nn.Linear(1, 8)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.statistics = nn.BatchNorm1d(8, affine=False) if batch_norm else None
        self.skip = skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = hidden = self.embed(x)
        for block in self.blocks:
            hidden = block(hidden)
        if self.statistics is not None:
            hidden = self.statistics(hidden.transpose(1, 2)).transpose(1, 2)
        return hidden + first if self.skip else hidden


class Mean(nn.Module):
    """The mean over real positions, or over all of them where ``padded``, to one number."""

    def __init__(self, padded: bool = False, **trunk: bool) -> None:
        super().__init__()
        self.trunk, self.head, self.padded = Trunk(**trunk), nn.Linear(8, 1), padded

    def forward(self, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        weights = torch.ones_like(mask) if self.padded else mask
        hidden = self.trunk(values[..., None]) * weights[..., None]
        out: torch.Tensor = self.head(hidden.sum(1) / weights.sum(1, keepdim=True))[:, 0]
        return out


class Numbers(Task):
    """A number from a sequence of numbers: right in every way."""

    name = "numbers"
    columns: ClassVar = {"values": list, "y": float}
    target = "y"
    goal = "r2"
    shape: ClassVar[dict[str, bool]] = {}

    def load(self) -> nn.Module:
        model = self.with_head(Mean(**self.shape))
        self.fresh = frozenset({"head.weight", "head.bias"})
        return model

    def encode(self, row: Any, rng: Any = None) -> Any:
        example = {"values": torch.tensor(row["values"])}
        return example | ({"y": float(row["y"])} if row.get("y") is not None else {})

    def length(self, example: Any) -> int:
        return len(example["values"])

    def collate(self, examples: Any) -> Any:
        batch = (
            super().collate([{k: v for k, v in e.items() if k != "values"} for e in examples]) if examples[0] else {}
        )
        values = [e["values"] for e in examples]
        batch["values"] = nn.utils.rnn.pad_sequence(values, batch_first=True)
        batch["mask"] = nn.utils.rnn.pad_sequence([torch.ones_like(v) for v in values], batch_first=True)
        return batch

    def count(self, batch: Any) -> Any:
        return {"examples": float(len(batch["values"]))}

    def loss(self, model: nn.Module, batch: Any) -> Any:
        return {"error/examples": (model(batch["values"], batch["mask"]) - batch["y"]).square().sum()}

    def predict(self, model: nn.Module, batch: Any) -> Any:
        return model(batch["values"], batch["mask"]).tolist()

    def tally(self, predictions: Any, rows: Any) -> Any:
        true, found = np.array([r["y"] for r in rows]), np.array(predictions)
        return np.stack([np.ones_like(true), true, true**2, (true - found) ** 2], axis=1)

    def goal_of(self, totals: Any) -> Any:
        n, true, squares, left = totals.T
        spread = squares - true**2 / n
        return np.where(spread > 1e-12, 1 - left / np.where(spread > 1e-12, spread, 1), (left == 0).astype(float))


def broken(**changes: Any) -> type[Task]:
    return type("Broken", (Numbers,), changes)


@pytest.fixture(scope="module")
def numbers() -> list[dict[str, Any]]:
    rows = []
    for i in range(12):
        # Rows i and i + 6 differ only in a column that the task does not declare.
        values = [((7 * (i % 6) + 3 * j) % 11) / 5 - 1 for j in range(1 + i % 6)]
        rows.append({"id": f"row-{i}", "values": values, "y": float(sum(values) > 0), "note": "n" * (1 + i // 6)})
    return rows


def failed(report: CheckReport) -> set[str]:
    return {result.name for result in report.failures}


def detail_of(report: CheckReport, name: str) -> str:
    return next(result.detail for result in report.results if result.name == name)


def test_a_third_partys_own_model_without_weights_passes_every_check(numbers: Any) -> None:
    lines: list[str] = []
    report = check_task(Numbers, numbers, say=lines.append)
    assert {result.name: result.status for result in report.results} == dict.fromkeys(CHECKS, "passed"), str(report)
    assert lines == [f"{name}: passed" for name in CHECKS]
    assert not report.left_out
    report.raise_failures()


def mean_loss(self: Any, model: nn.Module, batch: Any) -> Any:
    return {"error/examples": (model(batch["values"], batch["mask"]) - batch["y"]).square().mean()}


def noisy_encode(self: Any, row: Any, rng: Any = None) -> Any:
    noise = np.random.default_rng().normal() if rng is None else rng.normal()
    return Numbers.encode(self, row) | {"values": torch.tensor(row["values"]) + noise}


def augmented_encode(self: Any, row: Any, rng: Any = None) -> Any:
    shift = 0.0 if rng is None else rng.normal() / 10
    return Numbers.encode(self, row) | {"values": torch.tensor(row["values"]) + shift}


def encode_with_note(self: Any, row: Any, rng: Any = None) -> Any:
    return Numbers.encode(self, row) | {"values": torch.tensor(row["values"]) * len(row["note"])}


def encode_that_needs_y(self: Any, row: Any, rng: Any = None) -> Any:
    return {"values": torch.tensor(row["values"]), "y": float(row["y"])}


def save_without_head(self: Any, model: nn.Module, folder: Any) -> None:
    from safetensors.torch import save_file

    kept = {name: t for name, t in model.state_dict().items() if not name.startswith("head")}
    save_file(kept, folder / "model.safetensors")
    self.save_processor(folder)


def loss_in_training_mode(self: Any, model: nn.Module, batch: Any) -> Any:
    if torch.is_grad_enabled():
        model.get_submodule("trunk").statistics.train()
    return Numbers.loss(self, model, batch)


def loss_that_writes(self: Any, model: nn.Module, batch: Any) -> Any:
    with torch.no_grad():
        model.get_submodule("trunk").embed.bias.add_(1e-4)
    return Numbers.loss(self, model, batch)


def loss_with_memory(self: Any, model: nn.Module, batch: Any) -> Any:
    seen = self.__dict__.setdefault("seen", {})
    if torch.is_grad_enabled():
        seen[id(model)] = seen.get(id(model), 0) + 1
    return {k: v * (1 + seen.get(id(model), 0)) for k, v in Numbers.loss(self, model, batch).items()}


def loss_without_slope(self: Any, model: nn.Module, batch: Any) -> Any:
    out = model(batch["values"], batch["mask"])
    return {"error/examples": (out * 0 + 1).sum()}


def global_noise(self: Any, model: nn.Module, batch: Any) -> Any:
    noise = 1 + torch.rand(len(batch["values"])) if torch.is_grad_enabled() else 1.0
    return {"error/examples": ((model(batch["values"], batch["mask"]) - batch["y"]).square() * noise).sum()}


STEPS = {"learns", "accumulation", "two-ranks"}
FAULTS: dict[str, tuple[dict[str, Any], set[str], set[str]]] = {
    # What is broken: the changes, the checks that must fail, and checks that must still pass.
    "mean for sum": ({"loss": mean_loss}, {"loss-sum", "accumulation", "two-ranks"}, {"count", "predict-batch"}),
    "encode draws from elsewhere": ({"encode": noisy_encode}, {"encode-repeatable", "encode-rng"}, {"audit", "count"}),
    "augmentation undeclared": ({"encode": augmented_encode}, {"encode-rng"}, {"encode-repeatable", "loss-sum"}),
    "random declared for nothing": ({"random": True}, {"encode-rng"}, {"encode-repeatable", "accumulation"}),
    "unit that is not counted": (
        {"count": lambda self, batch: {"rows": float(len(batch["values"]))}},
        {"count", *STEPS, "frozen", "cache-top", "resume-epoch"},
        {"loss-sum", "predict-json"},
    ),
    "count that does not add up": ({"count": lambda self, batch: {"examples": 1.0}}, {"count"}, {"loss-sum"}),
    "head lost on saving": ({"save": save_without_head}, {"save"}, {"learns", "score"}),
    "facts that are not JSON": (
        {"survey": lambda self, rows: Facts({"seen": {1, 2}})},
        {"save"},
        {"encode-repeatable", "predict-json"},
    ),
    "padding is averaged": ({"shape": {"padded": True}}, {"loss-sum", "predict-batch"}, {"length", "count"}),
    "length left out": ({"length": Task.length}, {"length"}, {"count", "predict-batch"}),
    "length of something else": ({"length": lambda self, example: 2 * len(example["values"])}, {"length"}, {"count"}),
    "undeclared column read": (
        {"encode": encode_with_note},
        {"columns", "cache-head", "cache-top"},
        {"encode-repeatable", "loss-sum"},
    ),
    "input not declared": ({"columns": {"y": float}}, {"columns", "audit"}, {"encode-repeatable"}),
    "target needed to predict": ({"encode": encode_that_needs_y}, {"predict-unlabelled"}, {"columns", "predict-json"}),
    "statistics move while frozen": (
        {"shape": {"batch_norm": True}, "loss": loss_in_training_mode},
        {"frozen"},
        {"encode-rng", "audit"},
    ),
    "frozen weights written": ({"loss": loss_that_writes}, {"frozen"}, {"count", "audit"}),
    "memory between steps": (
        {"loss": loss_with_memory},
        {"accumulation", "resume-mid-epoch", "resume-epoch"},
        {"count", "frozen"},
    ),
    "dropout of one's own": ({"loss": global_noise}, {"accumulation"}, {"count", "frozen", "loss-sum"}),
    "nothing to learn": ({"loss": loss_without_slope}, {"learns"}, {"count", "loss-sum"}),
    "predictions that are no JSON": (
        {"predict": lambda self, model, batch: list(model(batch["values"], batch["mask"]))},
        {"predict-json", "score"},
        {"loss-sum"},
    ),
    "predictions as tuples": (
        {"predict": lambda self, model, batch: [(v,) for v in Numbers.predict(self, model, batch)]},
        {"predict-json", "score"},
        {"predict-batch"},
    ),
    "a prediction too few": (
        {"predict": lambda self, model, batch: Numbers.predict(self, model, batch)[:-1]},
        {"predict-json", "predict-batch", "predict-unlabelled"},
        {"loss-sum"},
    ),
    "score without its goal": (
        {"goal": "f1", "score": lambda self, predictions, rows: {"r2": 0.0}},
        {"score", "tally"},
        {"predict-json"},
    ),
    "score that is not finite": (
        {"score": lambda self, predictions, rows: {"r2": float("nan")}},
        {"score", "tally"},
        {"predict-json"},
    ),
    "tally of something else": ({"goal_of": lambda self, totals: totals[:, 3]}, {"tally"}, {"score"}),
}


@pytest.mark.parametrize(("changes", "fails", "holds"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_found_by_its_check(changes: dict[str, Any], fails: set[str], holds: set[str], numbers: Any) -> None:
    report = check_task(broken(**changes), numbers, checks=sorted(fails | holds))
    assert failed(report) == fails, str(report)
    assert {result.name for result in report.results if result.status == "passed"} == holds, str(report)
    assert set(report.left_out) == set(CHECKS) - fails - holds
    with pytest.raises(UserError) as caught:
        report.raise_failures()
    assert caught.value.code == 1
    assert all(f"\n  {name}: " in caught.value.what for name in fails)


def test_a_way_around_the_cached_block_is_no_fault(numbers: Any) -> None:
    """The engine sees by itself that the head reads what lies below the seam."""
    report = check_task(broken(shape={"skip": True}), numbers, checks=["cache-head", "cache-top"])
    assert [result.status for result in report.results] == ["passed", "passed"], str(report)


def test_batch_norm_that_is_left_alone_stays_frozen_but_spoils_accumulation(numbers: Any) -> None:
    report = check_task(broken(shape={"batch_norm": True}), numbers, checks=["frozen", "accumulation"])
    assert failed(report) == {"accumulation"}


def test_an_exception_is_reported_with_its_reason_and_not_run(numbers: Any) -> None:
    reason = "BatchNorm sees the micro-batch"
    kind = broken(shape={"batch_norm": True}, exceptions={"accumulation": reason})
    report = check_task(kind, numbers, checks=["frozen", "accumulation"])
    excepted = next(result for result in report.results if result.name == "accumulation")
    assert (excepted.status, excepted.measured, excepted.detail) == ("excepted", "", reason)
    assert not report.failures
    assert any("accumulation" in line and "excepted" in line and reason in line for line in str(report).splitlines())


def test_declared_augmentation_passes_and_has_no_cache(numbers: Any) -> None:
    report = check_task(broken(random=True, encode=augmented_encode), numbers)
    assert not report.failures, str(report)
    moot = {result.name: result.detail for result in report.results if result.status == "does not apply"}
    assert moot.keys() == {"cache-head", "cache-top"}
    assert "augmented" in moot["cache-head"]


def test_a_task_without_target_blocks_or_tally_says_what_does_not_apply(numbers: Any) -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(1, 1)

        def forward(self, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = (self.linear(values[..., None])[..., 0] * mask).sum(1) / mask.sum(1)
            return out

    def loss(self: Any, model: nn.Module, batch: Any) -> Any:
        found = model(batch["values"], batch["mask"])
        return {"error/examples": (found - batch["values"].sum(1) / batch["mask"].sum(1)).square().sum()}

    kind = broken(
        columns={"values": list},
        target=None,
        goal="spread",
        loss=loss,
        encode=lambda self, row, rng=None: {"values": torch.tensor(row["values"])},
        collate=lambda self, examples: Numbers.collate(self, [e | {"y": 0.0} for e in examples]),
        tally=Task.tally,
        score=lambda self, predictions, rows: {"spread": float(np.std(predictions))},
    )

    def build(task: Task) -> nn.Module:
        model = Flat()
        task.fresh = frozenset({"linear.weight", "linear.bias"})
        return model

    chosen = [name for name in CHECKS if name != "save"]
    report = check_task(kind, numbers, model=build, checks=chosen)
    assert not report.failures, str(report)
    moot = {result.name for result in report.results if result.status == "does not apply"}
    assert moot == {"frozen", "cache-head", "cache-top", "predict-unlabelled", "tally"}, str(report)


def test_the_callers_random_state_and_cache_folder_are_left_alone(
    numbers: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    check_task(Numbers, numbers, checks=["cache-head", "learns"])
    assert torch.equal(before, torch.get_rng_state())
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "kind", "what"),
    [
        ({"checks": ["acumulation"]}, Numbers, "there is no check called 'acumulation'"),
        ({"options": {"max_lenght": 3}}, Numbers, "options.max_lenght"),
        ({}, broken(exceptions={"caches": "why"}), "Broken.exceptions: there is no check called 'caches'"),
    ],
)
def test_what_the_caller_got_wrong_is_said(arguments: Any, kind: type[Task], what: str, numbers: Any) -> None:
    with pytest.raises(UserError) as caught:
        check_task(kind, numbers, **arguments)
    assert what in caught.value.what
    assert caught.value.fix


def test_too_few_rows_are_refused(numbers: Any) -> None:
    with pytest.raises(UserError, match="at least 8 rows, and 7 were given"):
        check_task(Numbers, numbers[:7])


def test_rows_without_ids_get_some(numbers: Any) -> None:
    bare = [{k: v for k, v in row.items() if k != "id"} for row in numbers]
    assert not check_task(Numbers, bare, checks=["columns", "accumulation"]).failures


def test_the_report_is_a_table(numbers: Any) -> None:
    report = check_task(broken(loss=mean_loss), numbers, checks=["loss-sum", "count"])
    lines = str(report).splitlines()
    assert lines[0].split() == ["check", "result", "measured", "tolerance", "detail"]
    assert [line.split()[:2] for line in lines[1:3]] == [["count", "passed"], ["loss-sum", "failed"]]
    assert lines[3].startswith("not asked for: encode-repeatable, ")
    assert len(lines) == 4


def test_a_task_that_raises_is_a_finding_not_a_crash(numbers: Any) -> None:
    def loss(self: Any, model: nn.Module, batch: Any) -> Any:
        raise ZeroDivisionError("no rows")

    report = check_task(broken(loss=loss), numbers, checks=["loss-sum", "audit"])
    assert failed(report) == {"loss-sum"}
    assert detail_of(report, "loss-sum") == "ZeroDivisionError: no rows"


def test_a_tiny_model_of_the_callers_is_checked_in_place_of_load(numbers: Any) -> None:
    made: list[Task] = []

    def build(task: Task) -> nn.Module:
        made.append(task)
        return task.load()

    assert not check_task(Numbers, numbers, model=build, checks=["learns", "frozen"]).failures
    assert len(made) == 1


def test_a_head_of_ones_own_is_saved_beside_its_pretrained_part(tiny_bert: Weights, rows: Any) -> None:
    """The defaults of a task that puts a plain module around a transformers model."""

    class Reader(nn.Module):
        def __init__(self, folder: Any) -> None:
            super().__init__()
            from transformers import AutoModel

            self.trunk = AutoModel.from_pretrained(folder)
            self.head = nn.Linear(32, 1)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.head(self.trunk(input_ids, attention_mask).last_hidden_state[:, 0])[:, 0]
            return out

    class Positive(Task):
        name = "positive"
        columns: ClassVar = {"text": str, "label": object}
        target = "label"
        goal = "accuracy"

        def load(self) -> nn.Module:
            return self.with_head(Reader(self.source.folder))

        def encode(self, row: Any, rng: Any = None) -> Any:
            return {**self.tokens(row["text"], 24), "label": float(row.get("label") == "positive")}

        def loss(self, model: nn.Module, batch: Any) -> Any:
            logits = model(batch["input_ids"], batch["attention_mask"])
            return {"examples": nn.functional.binary_cross_entropy_with_logits(logits, batch["label"], reduction="sum")}

        def predict(self, model: nn.Module, batch: Any) -> Any:
            return ["positive" if x > 0 else "negative" for x in model(batch["input_ids"], batch["attention_mask"])]

    report = check_task(Positive, rows, source=tiny_bert)
    assert not report.failures, str(report)
    assert {r.name for r in report.results if r.status == "does not apply"} == {"tally"}
    assert "above trunk.encoder.layer.1" in detail_of(report, "cache-top")

    class Lost(Positive):
        def load(self) -> nn.Module:
            self.fresh = frozenset({"head.weight", "head.bias"})
            return Reader(self.source.folder)

    assert failed(check_task(Lost, rows, source=tiny_bert, checks=["save", "count"])) == {"save"}
