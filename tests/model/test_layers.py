"""Layer groups of every family: each parameter once, and frozen means frozen."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tunesmith.errors import UserError
from tunesmith.model.layers import LayerGroups, blocks_named
from tunesmith.model.stages import learning_groups, stage_name
from tunesmith.recipe import Stage, Top


def _families() -> Any:
    spec = spec_from_file_location("families", Path(__file__).parents[1] / "fixtures" / "families.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


families = _families()
BLOCKS = dict.fromkeys(families.FAMILIES, 3) | {
    "albert": 2, "funnel": 2, "xlm": 0, "t5": 4, "bart": 4,
}  # fmt: skip
NECKS = {
    "bert": {"bert.pooler.dense"},
    "albert": {"albert.pooler"},
    "big_bird": {"bert.pooler"},
    "fnet": {"fnet.pooler.dense"},
    "modernbert": {"model.final_norm"},
    "gpt2": {"transformer.ln_f"},
    "falcon": {"transformer.ln_f"},
    "bloom": {"transformer.ln_f"},
    "phi": {"model.final_layernorm"},
    "gpt_neox": {"gpt_neox.final_layer_norm"},
    "opt": {"model.decoder.final_layer_norm"},
    "t5": {"transformer.decoder.final_layer_norm"},
} | {
    family: {"model.norm"}
    for family in ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "phi3", "smollm3", "mixtral")
}


def modules(names: tuple[str, ...]) -> set[str]:
    return {name.rpartition(".")[0] for name in names}


@pytest.mark.parametrize("family", families.FAMILIES)
def test_every_parameter_is_in_one_group_and_the_parts_are_where_they_belong(family: str) -> None:
    model = families.classifier_of(family)
    layers = LayerGroups.of(model)
    grouped = [name for group in layers.groups for name in layers.names(group)]
    assert sorted(grouped) == sorted(name for name, _ in model.named_parameters())
    assert len(layers.blocks) == BLOCKS[family]
    assert modules(layers.names("neck")) == NECKS.get(family, set())
    trunk = {id(p) for p in layers.trunk.parameters()}
    head = {name for name, p in model.named_parameters() if id(p) not in trunk}
    assert set(layers.names("head")) == head
    assert head
    words = model.get_input_embeddings().weight  # type: ignore[operator, union-attr]
    assert any(p is words for _, p in layers.parameters("embeddings"))
    assert sum(layers.size(group) for group in layers.groups) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("family", families.FAMILIES)
def test_stages_train_what_they_say_and_the_rest_is_still(family: str) -> None:
    model = families.classifier_of(family)
    layers = LayerGroups.of(model)
    top = f"block {len(layers.blocks) - 1}"
    wanted: dict[Any, set[str]] = {"head": {"head"}, "all": set(layers.groups)}
    if layers.blocks:
        wanted[1] = {top, "head", *(["neck"] if layers.names("neck") else [])}
    for train, groups in wanted.items():
        layers.apply(layers.learning(train))
        names = {name for group in groups for name in layers.names(group)}
        assert {n for n, p in model.named_parameters() if p.requires_grad} == names
        for name, module in model.named_modules():
            own = list(module.parameters())
            learns = any(p.requires_grad for p in own)
            assert not (module.training and own and not learns), f"{name} is frozen and in training mode"
            assert module.training or not learns, f"{name} learns and is in eval mode"
    frozen_dropout = [
        m for i, block in enumerate(layers.blocks[:-1]) for m in block.modules() if isinstance(m, nn.Dropout)
    ]
    layers.apply(layers.learning("head"))
    assert not any(m.training for m in frozen_dropout)


@pytest.mark.parametrize("family", ["mpnet", "deberta", "deberta-v2"])
def test_relative_positions_that_every_block_reads_are_embeddings(family: str) -> None:
    layers = LayerGroups.of(families.classifier_of(family))
    assert any("rel" in name for name in layers.names("embeddings"))


def test_the_norm_at_the_end_of_a_first_stack_belongs_to_its_last_block() -> None:
    layers = LayerGroups.of(families.classifier_of("t5"))
    assert "transformer.encoder.final_layer_norm.weight" in layers.names("block 1")


def test_albert_shares_one_block_between_layers() -> None:
    layers = LayerGroups.of(families.classifier_of("albert", num_hidden_groups=1))
    assert len(layers.blocks) == 1
    with pytest.raises(UserError, match="top 2 is more than the 1 blocks that AlbertForSequenceClassification has"):
        layers.learning(2)


class Plain(nn.Module):
    """A model without a module list."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.second(self.first(x)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("model", [Plain(), families.classifier_of("xlm")], ids=["plain", "xlm"])
def test_a_model_that_cannot_be_read_says_how_to_declare_its_blocks(model: nn.Module) -> None:
    with pytest.raises(UserError) as fault:
        LayerGroups.of(model).learning(1)
    assert type(model).__name__ in fault.value.what
    assert "blocks: [" in fault.value.fix


def test_declared_blocks_are_read_bottom_to_top() -> None:
    model = Plain()
    layers = LayerGroups.of(model, blocks=blocks_named(model, ["first", "second"]))
    assert layers.groups == {
        "block 0": ("first.weight", "first.bias"),
        "block 1": ("second.weight", "second.bias"),
        "head": ("out.weight", "out.bias"),
    }
    assert layers.learning(1) == ["block 1", "head"]
    bert = families.classifier_of("bert")
    assert blocks_named(bert, ["encoder.layer"]) == list(bert.bert.encoder.layer)
    with pytest.raises(UserError, match=r"has no module 'encoder\.layers'") as fault:
        blocks_named(bert, ["encoder.layers"])
    assert "bert.encoder.layer" in fault.value.fix


def test_what_the_weights_did_not_hold_is_head_wherever_it_stands() -> None:
    model = families.classifier_of("bert")
    fresh = frozenset({"bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"})
    layers = LayerGroups.of(model, fresh=fresh)
    assert set(layers.names("head")) == fresh
    assert layers.names("neck") == ()
    layers.apply(layers.learning("head"))
    assert model.bert.pooler.training
    assert {n for n, p in model.named_parameters() if p.requires_grad} == fresh


def test_layer_decay_falls_from_the_head_down() -> None:
    layers = LayerGroups.of(families.classifier_of("bert"))
    stage = Stage(train="all", lr=1.0, layer_decay=0.5)
    rates = {g.group: g.rate for g in learning_groups(layers, stage)}
    assert rates == {
        "embeddings": 0.5**4, "block 0": 0.5**3, "block 1": 0.25, "block 2": 0.5, "neck": 0.5, "head": 1.0,
    }  # fmt: skip
    top = learning_groups(layers, Stage(train=Top(top=2), layer_decay=0.5))
    assert [g.group for g in top if not g.trains] == ["embeddings", "block 0"]
    assert top[0].to_json(1e-3)["lr"] is None
    assert top[-1].to_json(1e-3)["lr"] == 1e-3
    assert stage_name(Stage(train=Top(top=2))) == "top 2"
