"""The activation cache on every family: where the boundary is, that replaying changes nothing, and why it is off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tunesmith.data.loader import Loader
from tunesmith.machine import cache_folder
from tunesmith.model.adapters import attach
from tunesmith.model.boundary import find_boundary
from tunesmith.model.cache import ActivationCache, predicted_bytes
from tunesmith.model.dropout import address_dropout
from tunesmith.model.layers import LayerGroups
from tunesmith.model.memory import MetaAnswers
from tunesmith.model.store import cache_entries, clear_cache
from tunesmith.model.weights import Weights
from tunesmith.recipe import AdapterSection, CacheSection
from tunesmith.task import Task, TaskOptions
from tunesmith.train.caching import CacheRequest, StageCache, decide, encoding_fingerprint, open_cache
from tunesmith.train.engine import LocalEngine


def _families() -> Any:
    spec = spec_from_file_location("families", Path(__file__).parents[1] / "fixtures" / "families.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


families = _families()
ROW_LENGTHS = (9, 5, 3, 2, 8, 4, 7, 6, 5, 3)


class Numbers(Task):
    """Rows of token ids, padded on the side that the test asks for."""

    name = "numbers"
    columns = {"ids": list}  # noqa: RUF012
    goal = "loss"
    left = False

    def load(self) -> nn.Module:
        raise NotImplementedError

    def encode(self, row: Any, rng: Any = None) -> Any:
        return {"ids": torch.tensor(row["ids"])}

    def length(self, example: Any) -> int:
        return len(example["ids"])

    def collate(self, examples: Sequence[Any]) -> Any:
        longest = max(len(e["ids"]) for e in examples)
        ids = torch.full((len(examples), longest), 1)
        mask = torch.zeros_like(ids)
        for i, example in enumerate(examples):
            n = len(example["ids"])
            place = slice(longest - n, longest) if self.left else slice(0, n)
            ids[i, place], mask[i, place] = example["ids"], 1
        return {"ids": ids, "mask": mask}

    def loss(self, model: nn.Module, batch: Any) -> Any:
        return {"examples": families.loss_of(model, batch["ids"], batch["mask"])}

    def predict(self, model: nn.Module, batch: Any) -> list[Any]:
        raise NotImplementedError

    def score(self, predictions: Any, rows: Any) -> dict[str, float]:
        raise NotImplementedError


class World:
    """A model with one stage applied, rows, and what the cache asks for."""

    def __init__(
        self,
        model: nn.Module,
        train: Any,
        *,
        left: bool = False,
        lengths: Sequence[int] = ROW_LENGTHS,
        adapter: bool = False,
        device: str = "cpu",
        **settings: Any,
    ) -> None:
        self.model = model
        names: frozenset[str] = frozenset()
        if adapter:
            attach(model, [LayerGroups.of(model).blocks[1]], AdapterSection(r=2), seed=0)
            names = frozenset(n for n, _ in model.named_parameters() if "lora" in n)
        self.rows_in_flight, _ = address_dropout(model)
        self.layers = LayerGroups.of(model, adapter=names)
        self.layers.apply(self.layers.learning(train))
        self.task = Numbers(TaskOptions(), Weights("tiny", Path("nowhere"), "folder", None, None, ()))
        self.task.left = left
        drawn = np.random.default_rng(0)
        rows = [{"id": str(i), "ids": [*drawn.integers(3, 64, n - 1).tolist(), 2]} for i, n in enumerate(lengths)]
        loader = Loader(rows, self.task.encode, self.task.collate, length=self.task.length, inputs=("ids",))
        engine: Any = LocalEngine("cpu", "fp32")
        if device == "meta":
            engine.device = torch.device("meta")
        self.request = CacheRequest(
            task=self.task,
            model=model,
            layers=self.layers,
            sets={"train": loader},
            settings=CacheSection(**settings),
            engine=engine,
            precision="fp32",
            passes=5.0,
            fingerprint="f",
            dropout=lambda lengths: self.rows_in_flight.over(range(1, len(lengths) + 1)),
        )

    def opened(self) -> StageCache:
        cache, decision = open_cache(self.request)
        assert cache is not None, decision.reason
        cache.fill(lambda _done, _total: None, rows=4)
        return cache

    def refusal(self) -> str:
        site, decision = decide(self.request)
        assert site is None, f"the cache is used below {decision.boundary}"
        return decision.reason

    def step(self, rows: Sequence[int], around: AbstractContextManager[Any]) -> tuple[float, dict[str, Tensor]]:
        """Loss and gradients of a batch, with dropout on where the stage trains."""
        self.model.zero_grad()
        batch = self.request.sets["train"].batch(list(rows))
        with self.rows_in_flight.over([7 * r + 1 for r in rows]), around:
            loss = self.task.loss(self.model, batch)["examples"]
            loss.backward()
        return float(loss.detach()), {n: p.grad.clone() for n, p in self.model.named_parameters() if p.grad is not None}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))


HEAD = {
    "bert": "bert", "roberta": "roberta", "xlm-roberta": "roberta", "camembert": "roberta", "distilbert": "distilbert",
    "electra": "electra", "albert": "albert", "mpnet": "mpnet", "deberta": "deberta", "deberta-v2": "deberta",
    "modernbert": "model", "longformer": "longformer", "big_bird": "bert", "xlm": "transformer",
    "gpt2": "transformer", "falcon": "transformer", "bloom": "transformer", "gpt_neox": "gpt_neox", "t5": "transformer",
} | dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "phi", "phi3", "opt", "smollm3", "mixtral",
                   "bart"), "model")  # fmt: skip
TOP = {
    "bert": "bert.encoder.layer.1", "roberta": "roberta.encoder.layer.1", "xlm-roberta": "roberta.encoder.layer.1",
    "camembert": "roberta.encoder.layer.1", "distilbert": "distilbert.transformer.layer.1",
    "electra": "electra.encoder.layer.1", "albert": "albert.encoder.albert_layer_groups.0",
    "mpnet": "mpnet.encoder.layer.1", "deberta": "deberta.encoder.layer.1", "deberta-v2": "deberta.encoder.layer.1",
    "big_bird": "bert.encoder.layer.1", "gpt2": "transformer.h.1", "falcon": "transformer.h.1",
    "bloom": "transformer.h.1", "gpt_neox": "gpt_neox.layers.1", "opt": "model.decoder.layers.1",
    # The decoder reads the encoder's states past its own lower block, so the cut lies where the encoder ends.
    "bart": "model.encoder", "t5": "transformer.encoder",
} | dict.fromkeys(("modernbert", "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "phi", "phi3", "smollm3",
                   "mixtral"), "model.layers.1")  # fmt: skip


@pytest.mark.parametrize(
    ("family", "train", "name"),
    [(f, "head", n) for f, n in HEAD.items()] + [(f, 1, n) for f, n in TOP.items()],
)
def test_replaying_is_recomputing(family: str, train: Any, name: str) -> None:
    world = World(families.classifier_of(family), train)
    cache = world.opened()
    assert cache.cache.boundary.name == name
    ran: list[str] = []
    for block in world.layers.blocks[:1]:
        inner = next(m for m in block.modules() if next(m.children(), None) is None and list(m.parameters()))
        inner.register_forward_pre_hook(lambda module, _: ran.append(type(module).__name__))
    for rows in ([0, 1, 2, 3], [9, 4], [3], list(range(10))):
        live, gradients = world.step(rows, nullcontext())
        frozen_runs = len(ran)
        ran.clear()
        replayed, again = world.step(rows, cache.around("train")(np.array(rows)))
        assert replayed == pytest.approx(live, abs=1e-5, rel=1e-5)
        assert gradients.keys() == again.keys()
        for key, gradient in gradients.items():
            torch.testing.assert_close(again[key], gradient, rtol=1e-3, atol=1e-4)
        assert (frozen_runs > 0 and not ran) or not world.layers.blocks
        ran.clear()
    assert "forward" not in {key for m in world.model.modules() for key in vars(m)}
    assert cache.largest_difference("train", np.arange(4)) <= 1e-5


@pytest.mark.parametrize("family", ["llama", "qwen2", "opt", "bloom"])
@pytest.mark.parametrize("train", ["head", 1])
def test_rows_that_are_padded_on_the_left(family: str, train: Any) -> None:
    world = World(families.classifier_of(family), train, left=True)
    cache = world.opened()
    for rows in ([0, 3, 2], [3, 9], [2]):
        live, _ = world.step(rows, nullcontext())
        replayed, _ = world.step(rows, cache.around("train")(np.array(rows)))
        assert replayed == pytest.approx(live, abs=1e-5, rel=1e-5)
    assert all(layout.left for layout in cache.cache.store.layouts if layout.ragged)


@pytest.mark.parametrize(
    ("family", "train", "why", "left"),
    [
        ("fnet", "head", "depend on how far it is padded", False),
        ("fnet", 1, "depend on how far it is padded", False),
        ("gpt2", 1, "depend on how far it is padded", True),
        ("roberta", 1, "reads padded positions", True),
        ("funnel", "head", "does not follow the rows", False),
        ("longformer", 1, "does not follow the rows", False),
        ("t5", 3, "without a batch axis", False),
        ("xlnet", 1, "without a batch axis", False),
        ("bert", "all", "no block lies below the lowest learning layer", False),
    ],
)
def test_where_no_boundary_can_be_had_the_decision_says_why(family: str, train: Any, why: str, left: bool) -> None:
    assert why in World(families.classifier_of(family), train, left=left, lengths=(9, 5, 4, 8, 7, 6)).refusal()


@pytest.mark.parametrize("train", ["head", 1])
@pytest.mark.parametrize("family", ["bert", "llama", "mpnet", "deberta-v2"])
def test_the_shape_alone_decides_as_the_model_does(family: str, train: Any) -> None:
    from transformers import AutoModelForSequenceClassification

    real = decide(World(families.classifier_of(family), train).request)[1]
    config = families.config_of(family, use_cache=False) if family == "llama" else families.config_of(family)
    with torch.device("meta"):
        shape = AutoModelForSequenceClassification.from_config(config)
    world = World(shape, train, device="meta")
    with MetaAnswers():
        assert decide(world.request)[1] == real


def test_a_leaf_that_nothing_reads_is_not_stored_and_answers_nan() -> None:
    world = World(families.classifier_of("bert"), "head")
    cache = world.opened()
    assert cache.cache.boundary.used == (False, True)
    assert [layout.tail for layout in cache.cache.store.layouts] == [(16,)]
    keys = world.request.sets["train"].keys[:2]
    with cache.cache.replaying(keys, [9, 5], torch.device("cpu")):
        states, pooled = world.model.bert(torch.zeros(2, 9, dtype=torch.int64)).to_tuple()
    assert torch.isnan(states).all()
    assert states.shape == (2, 9, 16) or states.shape[0] == 2
    assert torch.isfinite(pooled).all()


@pytest.mark.parametrize(("dtype", "tolerance"), [("fp32", 1e-5), ("bf16", 5e-2), ("fp16", 1e-2)])
def test_stored_precision(dtype: str, tolerance: float) -> None:
    world = World(families.classifier_of("bert"), 1, dtype=dtype)
    cache = world.opened()
    live, _ = world.step(range(10), nullcontext())
    replayed, _ = world.step(range(10), cache.around("train")(np.arange(10)))
    assert replayed == pytest.approx(live, rel=tolerance)
    if dtype != "fp32":
        assert replayed != live
    data = sum(f.stat().st_size for f in cache.cache.store.folder.glob("*.bin"))
    assert data == cache.decision.bytes == sum(ROW_LENGTHS) * 16 * (4 if dtype == "fp32" else 2)


def test_bytes_are_predicted_and_capped() -> None:
    world = World(families.classifier_of("bert"), 1)
    cache = world.opened()
    folder = cache.cache.store.folder
    loader = world.request.sets["train"]
    assert predicted_bytes(cache.cache.store.layouts, loader.lengths) == cache.decision.bytes
    assert sum(f.stat().st_size for f in folder.glob("*.bin")) == cache.decision.bytes
    small = World(families.classifier_of("bert"), 1, max_gb=1e-6)
    assert "are allowed or free" in small.refusal()
    off = World(families.classifier_of("bert"), 1, use="off")
    assert "cache.use: off" in off.refusal()


def test_an_adapter_in_a_block_moves_the_boundary_below_it() -> None:
    assert World(families.classifier_of("bert"), "head").opened().cache.boundary.name == "bert"
    world = World(families.classifier_of("bert"), "adapter", adapter=True)
    cache = world.opened()
    assert cache.cache.boundary.name == "bert.encoder.layer.0"
    live, gradients = world.step([0, 3], nullcontext())
    replayed, again = world.step([0, 3], cache.around("train")(np.array([0, 3])))
    assert replayed == pytest.approx(live, abs=1e-5)
    assert any("lora" in key for key in gradients)
    for key, gradient in gradients.items():
        torch.testing.assert_close(again[key], gradient)


def test_two_runs_share_a_key_and_only_new_rows_are_recorded() -> None:
    first = World(families.classifier_of("bert"), 1).opened()
    again = World(families.classifier_of("bert"), 1)
    cache, _ = open_cache(again.request)
    assert cache is not None
    assert cache.cache.store.folder == first.cache.store.folder
    assert cache.fill(lambda *_: None, rows=4) == 0
    more = World(families.classifier_of("bert"), 1, lengths=(*ROW_LENGTHS, 6, 9))
    cache, _ = open_cache(more.request)
    assert cache is not None
    assert 2 <= cache.fill(lambda *_: None, rows=4) < 12


def _changed_weight(world: World) -> None:
    with torch.no_grad():
        world.model.bert.encoder.layer[0].output.dense.weight[0, 0] += 1.0  # type: ignore[union-attr, index]


def _changed_embedding(world: World) -> None:
    with torch.no_grad():
        world.model.bert.embeddings.position_embeddings.weight[5, 0] += 1.0  # type: ignore[union-attr]


@pytest.mark.parametrize("change", [_changed_weight, _changed_embedding])
def test_a_changed_weight_changes_the_key(change: Callable[[World], None]) -> None:
    folder = World(families.classifier_of("bert"), 1).opened().cache.store.folder
    other = World(families.classifier_of("bert"), 1)
    change(other)
    assert other.opened().cache.store.folder != folder


def test_what_learns_above_the_boundary_does_not_change_the_key() -> None:
    folder = World(families.classifier_of("bert"), 1).opened().cache.store.folder
    other = World(families.classifier_of("bert"), 1)
    with torch.no_grad():
        other.model.bert.encoder.layer[2].output.dense.weight.add_(1.0)  # type: ignore[union-attr, index, operator]
        other.model.classifier.weight.add_(1.0)  # type: ignore[union-attr, operator]
    assert other.opened().cache.store.folder == folder


@pytest.mark.parametrize("field", ["fingerprint", "precision"])
def test_another_encoding_or_precision_changes_the_key(field: str) -> None:
    folder = World(families.classifier_of("bert"), 1).opened().cache.store.folder
    world = World(families.classifier_of("bert"), 1)
    object.__setattr__(world.request, field, "bf16")
    assert world.opened().cache.store.folder != folder


def test_the_fingerprint_follows_tokenizer_and_options(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    task = Numbers(TaskOptions(), Weights("tiny", tmp_path, "folder", None, None, ()))
    before = encoding_fingerprint(task)
    assert encoding_fingerprint(task) == before
    (tmp_path / "tokenizer.json").write_text('{"a": 1}', encoding="utf-8")
    assert encoding_fingerprint(task) != before


def test_a_model_whose_loss_changes_is_refused() -> None:
    class Twice(nn.Module):
        """Runs its trunk's block on two inputs: one stored output can't stand for both."""

        base_model_prefix = "trunk"

        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Module()
            self.trunk.layers = nn.ModuleList([nn.Linear(4, 4)])
            self.head = nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            block = self.trunk.layers[0]  # type: ignore[index]
            return self.head(block(x)).sum() + self.head(block(-2 * x)).square().sum()

    model = Twice()
    layers = LayerGroups.of(model)
    layers.apply(["head"])
    found = find_boundary(layers, lambda: model(torch.ones(3, 4)))
    assert isinstance(found, str)
    assert "reads blocks below" in found or "can't stand for" in found


def test_listing_and_clearing() -> None:
    World(families.classifier_of("bert"), 1).opened()
    World(families.classifier_of("bert"), "head").opened()
    root = cache_folder("activations")
    entries = cache_entries(root)
    assert [entry.about["boundary"] for entry in entries] == ["bert.encoder.layer.1", "bert"]
    total = sum(f.stat().st_size for f in root.rglob("*") if f.is_file())
    assert sum(entry.bytes for entry in entries) == total
    assert clear_cache(root) == (2, total)
    assert cache_entries(root) == []


def test_a_row_that_was_never_recorded_is_an_error() -> None:
    cache: ActivationCache = World(families.classifier_of("bert"), 1).opened().cache
    with pytest.raises(KeyError), cache.replaying([b"x" * 16], [3], torch.device("cpu")):
        pass
