"""Dropout with an address: the same mask for a row wherever it stands, and masks that look random."""

from __future__ import annotations

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tunesmith.errors import UserError
from tunesmith.model.dropout import RowDropout, RowKeys, address_dropout


def _families() -> Any:
    spec = spec_from_file_location("families", Path(__file__).parents[1] / "fixtures" / "families.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


families = _families()
CHI_SQUARE_LIMIT = 6.0
"""In standard deviations: one in half a billion by chance."""


def mask(keys: list[int], shape: tuple[int, ...], rate: float = 0.5, index: int = 0) -> Tensor:
    rows = RowKeys()
    drop = RowDropout(rate, index, rows)
    with rows.over(keys):
        return drop(torch.ones(len(keys), *shape)) != 0


def keys(count: int, seed: int = 0) -> list[int]:
    return torch.randint(0, 2**31, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def test_a_row_has_one_mask_whatever_the_batch() -> None:
    many = keys(8)
    whole = mask(many, (6, 5))
    for i, one in enumerate(many):
        assert torch.equal(mask([one], (6, 5))[0], whole[i])
    assert torch.equal(mask(many[::-1], (6, 5)).flip(0), whole)
    assert torch.equal(mask(many[1::2], (6, 5)), whole[1::2])


def test_padding_after_a_row_changes_nothing() -> None:
    assert torch.equal(mask(keys(4), (9, 5))[:, :6], mask(keys(4), (6, 5)))


def test_several_entries_of_a_row_are_drawn_apart() -> None:
    rows = RowKeys()
    drop = RowDropout(0.5, 0, rows)
    with rows.over(keys(3)):
        out = drop(torch.ones(12, 50)) != 0
    assert torch.equal(out.view(3, 200), mask(keys(3), (200,)))
    assert not torch.equal(out[0], out[1])


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.3, 0.5, 0.9])
def test_the_rate_and_the_scale(rate: float) -> None:
    rows = RowKeys()
    drop = RowDropout(rate, 3, rows)
    count = 400_000
    with rows.over(keys(100)):
        out = drop(torch.ones(100, count // 100))
    dropped = int((out == 0).sum())
    assert abs(dropped - rate * count) < CHI_SQUARE_LIMIT * (count * rate * (1 - rate)) ** 0.5
    assert out.max().item() == pytest.approx(1 / (1 - rate))


def _phi(a: Tensor, b: Tensor) -> float:
    """Standard deviations by which two masks agree more or less often than independent ones would."""
    x, y = a.flatten().double(), b.flatten().double()
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / (x.square().sum() * y.square().sum()).sqrt()) * x.numel() ** 0.5


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_rows_modules_and_elements_are_independent(rate: float) -> None:
    here = mask(keys(200), (64, 16), rate)
    assert abs(_phi(here[:-1], here[1:])) < CHI_SQUARE_LIMIT
    assert abs(_phi(here, mask(keys(200), (64, 16), rate, index=1))) < CHI_SQUARE_LIMIT
    assert abs(_phi(here, mask(keys(200, seed=1), (64, 16), rate))) < CHI_SQUARE_LIMIT
    flat = here.flatten(1)
    for lag in (1, 2, 3, 4, 8, 16, 64, 512):
        assert abs(_phi(flat[:, :-lag], flat[:, lag:])) < CHI_SQUARE_LIMIT, lag


def test_neighbouring_keys_are_as_independent_as_any() -> None:
    here = mask(list(range(1, 2001)), (256,))
    for step in (1, 2, 3, 256, 1024):
        assert abs(_phi(here[:-step], here[step:])) < CHI_SQUARE_LIMIT, step


@pytest.mark.parametrize("axis", [0, 1])
def test_no_row_and_no_element_is_favoured(axis: int) -> None:
    kept = mask(keys(1000), (1000,), 0.3).sum(axis).double()
    chi = ((kept - 700) ** 2 / (1000 * 0.3 * 0.7)).sum()
    assert abs(float(chi) - 1000) < CHI_SQUARE_LIMIT * (2 * 1000) ** 0.5


def test_pairs_of_bits_are_all_equally_frequent() -> None:
    here = mask(keys(500), (512,)).long()
    for lag in (1, 7, 32):
        pairs = torch.bincount((2 * here[:, :-lag] + here[:, lag:]).flatten(), minlength=4).double()
        expected = pairs.sum() / 4
        assert float(((pairs - expected) ** 2 / expected).sum()) < 3 + CHI_SQUARE_LIMIT * 6**0.5


def test_the_gradient_flows_where_the_mask_lets_it() -> None:
    rows = RowKeys()
    drop = RowDropout(0.25, 0, rows)
    x = torch.randn(4, 50, requires_grad=True)
    with rows.over(keys(4)):
        out = drop(x)
        out.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, (out != 0) / 0.75)


def test_eval_and_rate_zero_and_one() -> None:
    x = torch.randn(2, 5)
    rows = RowKeys()
    assert RowDropout(0.5, 0, rows).eval()(x) is x
    assert RowDropout(0.0, 0, rows)(x) is x
    with rows.over([1, 2]):
        assert not RowDropout(1.0, 0, rows)(x).any()
    assert rows.keys is None


def test_no_rows_in_flight_is_our_fault_and_a_foreign_axis_has_a_fix() -> None:
    rows = RowKeys()
    with pytest.raises(RuntimeError, match="no rows are in flight"):
        RowDropout(0.5, 0, rows)(torch.ones(2, 5))
    with rows.over([1, 2]), pytest.raises(UserError, match="can't be drawn by row") as fault:
        RowDropout(0.5, 0, rows)(torch.ones(3, 5))
    assert "dropout: 0" in fault.value.fix


def test_a_recipe_rate_wins_and_attention_kernels_read_zero() -> None:
    model = families.classifier_of("bert")
    address_dropout(model, 0.4)
    drops = [m for m in model.modules() if isinstance(m, RowDropout)]
    assert {m.rate for m in drops} == {0.4}
    assert len({m.index for m in drops}) == len(drops)
    assert model.bert.encoder.layer[0].attention.self.dropout.p == 0.0
    assert not any(isinstance(m, nn.Dropout) for m in model.modules())


@pytest.mark.parametrize("family", families.FAMILIES)
def test_nothing_random_is_left_in_any_family(family: str) -> None:
    config = families.config_of(family)
    rates = {k: 0.3 for k, v in config.to_dict().items() if "drop" in k and not isinstance(v, (bool, str))}
    model = families.classifier_of(family, **rates)
    rows, _ = address_dropout(model)
    model.train()
    ids, padding = families.probe((8, 8, 8, 8))

    def logits(seed: int, here: list[int]) -> Tensor:
        torch.manual_seed(seed)
        with rows.over([1 + i for i in here]), torch.no_grad():
            return model(input_ids=ids[here], attention_mask=padding[here]).logits  # type: ignore[no-any-return]

    whole = logits(1, [0, 1, 2, 3])
    assert torch.equal(whole, logits(2, [0, 1, 2, 3]))
    torch.testing.assert_close(logits(3, [2, 1]), whole[[2, 1]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "settings", "lines"),
    [
        ("llama", {"attention_dropout": 0.2}, {"LlamaAttention.attention_dropout (0.2)"}),
        ("bert", {}, {"attention dropout (0.1)"}),
        ("falcon", {"hidden_dropout": 0.2}, {"FalconDecoderLayer config.hidden_dropout (0.2)"}),
        ("opt", {"layerdrop": 0.5}, {"OPTDecoder.layerdrop (0.5)", "OPTDecoderLayer.dropout (0.1)"}),
        ("deberta-v2", {}, {"DisentangledSelfAttention.pos_dropout (0.1)"}),
    ],
)
def test_what_is_switched_off_is_named(family: str, settings: dict[str, float], lines: set[str]) -> None:
    model = families.classifier_of(family, **settings)
    _, off = address_dropout(model)
    assert lines <= set(off)
    assert all(re.search(r"\([0-9.]+\)$", line) for line in off)
    for name, value in settings.items():
        assert getattr(model.config, name) == value, "the saved configuration keeps the model's own rate"


def test_positions_that_change_while_training_are_switched_off_and_named() -> None:
    from transformers import AutoModel, DINOv3ViTConfig

    torch.manual_seed(0)
    model = AutoModel.from_config(
        DINOv3ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48, image_size=64)
    )
    pictures = torch.rand(2, 3, 64, 64)
    assert not torch.equal(model.train()(pictures)[0], model(pictures)[0]), "drawn by torch's own generator"
    _, off = address_dropout(model)
    assert "DINOv3ViTRopePositionEmbedding config.pos_embed_rescale (2)" in off
    assert torch.equal(model(pictures)[0], model(pictures)[0])
    assert model.config.pos_embed_rescale == 2.0, "the saved configuration keeps the model's own"


def test_channel_dropout_is_switched_off_and_named() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Dropout2d(0.5))
    _, off = address_dropout(model)
    assert off == ["Sequential.1 (Dropout2d, 0.5)"]
    x = torch.ones(2, 1, 3, 3)
    assert torch.equal(model(x), model(x))
