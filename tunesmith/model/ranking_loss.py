"""The loss of in-batch negatives: the right passage against all passages of a step, by cosine. It knows no model.

arXiv:1705.00652 (Henderson et al. 2017); with hard negatives as in arXiv:2004.04906 (Karpukhin et al. 2020).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

ABSENT = -1
"""In place of a passage's number where a row has fewer passages than another."""


def ranking_losses(parts: Sequence[Mapping[str, Any]], scale: float) -> Tensor:
    """Cross-entropy of each query's own first passage among all passages: [rows of all parts].

    Passages that are right for the same question in another row, or are the same text as the right one, are no
    negatives.

    Args:
        parts: Rows of one step. Each has ``queries`` [rows, width] and ``passages``, by place [rows, width], all of
            length one, the right passage first; ``question`` [rows], the number of each query's text; and ``numbers``,
            by place [rows], those of the passages' texts, ``ABSENT`` where a row has no such passage.
        scale: What cosines are multiplied by.
    """
    queries = torch.cat([part["queries"] for part in parts])
    questions = torch.cat([part["question"] for part in parts])
    # The right passages of all parts first, so that a query's own stands at its row's place.
    first = [part["passages"][0] for part in parts]
    rest = [vectors for part in parts for vectors in part["passages"][1:]]
    right = torch.cat([part["numbers"][0] for part in parts])
    known = torch.cat([right, *(numbers for part in parts for numbers in part["numbers"][1:])])
    logits = scale * queries @ torch.cat([*first, *rest]).T
    own = torch.eye(*logits.shape, dtype=torch.bool, device=logits.device)
    asked = (questions[:, None] == questions[None, :]).float()
    answers = asked @ (right[:, None] == known[None, :]).float() > 0
    left_out = (answers | (known == ABSENT)[None, :]) & ~own
    target = torch.arange(len(queries), device=logits.device)
    return F.cross_entropy(logits.masked_fill(left_out, -torch.inf), target, reduction="none")
