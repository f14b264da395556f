"""Dropout with an address (`RowDropout`) beside torch's ``nn.Dropout``: forward and backward pass, fp32.

    python benchmarks/dropout.py [--quick] [--json]

Ours hashes a mask from row, module and element, so that a batch drops the same units however it is cut; torch draws
from the state of a global generator. The figure is what that costs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.harness import Case, against, command, in_turn, seconds_of

RATE = 0.1


def beside_torch(shape: tuple[int, int, int], quick: bool) -> list[dict[str, Any]]:
    """One shape [rows, tokens, width]: milliseconds of a forward and a backward pass."""
    import torch
    from torch import nn

    from tunesmith.model.dropout import RowDropout, RowKeys

    keys = RowKeys()
    row, plain = RowDropout(RATE, 0, keys).train(), nn.Dropout(RATE).train()
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    gradient = torch.ones(shape)

    def passes(module: nn.Module) -> None:
        module(values).backward(gradient)
        values.grad = None

    def ours() -> float:
        with keys.over(range(1, shape[0] + 1)):
            return 1e3 * seconds_of(lambda: passes(row))

    def peer() -> float:
        return 1e3 * seconds_of(lambda: passes(plain))

    in_turn(3, ours, peer)
    mine, theirs = in_turn(10 if quick else 100, ours, peer)
    case = f"[{', '.join(map(str, shape))}]"
    return [against(case, mine, theirs, peer_name=f"torch {torch.__version__}", goal=None, unit="ms")]


CASES: dict[str, Case] = {
    "32x64x384": lambda quick: beside_torch((32, 64, 384), quick),
    "32x128x768": lambda quick: beside_torch((32, 128, 768), quick),
}

if __name__ == "__main__":
    command("dropout", (__doc__ or "").splitlines()[0], CASES, ("torch",))
