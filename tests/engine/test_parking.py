"""Weights that leave memory: the same values from a file, written once, and back to stay."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from tunesmith.train.parking import FILE, Parked


def _modules() -> list[nn.Module]:
    torch.manual_seed(0)
    modules = [nn.Linear(5, 3).bfloat16(), nn.LayerNorm(7), nn.Linear(4, 4)]
    for module in modules:
        module.requires_grad_(False)
    return modules


def test_parked_weights_are_pages_of_a_file_with_the_same_values(tmp_path: Path) -> None:
    modules = _modules()
    before = [p.clone() for m in modules for p in m.parameters()]
    places = {p.data_ptr() for m in modules for p in m.parameters()}
    parked = Parked(modules, tmp_path)
    after = [p for m in modules for p in m.parameters()]
    assert (tmp_path / FILE).stat().st_size == parked.bytes == sum(p.numel() * p.element_size() for p in before)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not places & {p.data_ptr() for p in after}
    assert torch.isfinite(modules[2](torch.ones(2, 4))).all()


def test_the_file_is_written_once_and_writing_to_a_weight_leaves_it_alone(tmp_path: Path) -> None:
    modules = _modules()
    Parked(modules, tmp_path)
    content, stamp = (tmp_path / FILE).read_bytes(), (tmp_path / FILE).stat().st_mtime_ns
    again = Parked(modules, tmp_path)
    assert (tmp_path / FILE).stat().st_mtime_ns == stamp
    again.restore(torch.device("cpu"))
    with torch.no_grad():
        modules[2].get_parameter("weight").zero_()
    assert (tmp_path / FILE).read_bytes() == content


def test_what_learns_is_never_parked(tmp_path: Path) -> None:
    module = nn.Linear(3, 3)
    assert Parked([module], tmp_path).bytes == 0
    assert not (tmp_path / FILE).exists()
