"""Beside the Hugging Face Trainer: the same losses where it is right, and the case in which it is not.

Where a model's loss takes no ``num_items_in_batch`` the Trainer of transformers 5 adds up the means of accumulated
micro-batches without dividing by their number; for BERT classification the update is then too large.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

transformers = pytest.importorskip("transformers")

from tunesmith.train.engine import LocalEngine  # noqa: E402
from tunesmith.train.step import Objective, optimizer_step, pieces_of  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
ROWS, STEP, STEPS, LENGTH = 32, 8, 4, 12


def rows_of(vocabulary: int = 50) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(5, vocabulary, (ROWS, LENGTH), generator=generator)
    mask = torch.ones(LENGTH, dtype=torch.int64)
    return [{"input_ids": row, "attention_mask": mask, "labels": torch.tensor(i % 3)} for i, row in enumerate(ids)]


def llama() -> nn.Module:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_labels=3,
        pad_token_id=0,
    )
    return transformers.LlamaForSequenceClassification(config)  # type: ignore[no-any-return]


def bert() -> nn.Module:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_labels=3,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.1,
    )
    return transformers.BertForSequenceClassification(config)  # type: ignore[no-any-return]


class Classify:
    """The least task that a step needs."""

    company = False

    def __init__(self) -> None:
        self.noted: dict[str, Tensor] = {}

    def count(self, batch: dict[str, Tensor]) -> dict[str, float]:
        return {"examples": float(len(batch["labels"]))}

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        return {"examples": nn.functional.cross_entropy(logits.float(), batch["labels"], reduction="sum")}


def optimizer_of(model: nn.Module, name: str) -> torch.optim.Optimizer:
    if name == "sgd":
        return torch.optim.SGD(model.parameters(), lr=0.05)
    return torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)


def ours(model: nn.Module, optimizer: torch.optim.Optimizer, micro: int, steps: int = STEPS) -> list[float]:
    """Losses by step, rows in order, each step cut into micro-batches."""
    from contextlib import nullcontext

    engine, task, rows = LocalEngine("cpu", "fp32"), Classify(), rows_of()
    objective = Objective(task, model.train())  # type: ignore[arg-type]
    losses = []
    for step in range(steps):
        pieces = pieces_of(np.arange(step * STEP, (step + 1) * STEP), micro, 0, 1)
        batches = [(p, {k: torch.stack([rows[i][k] for i in p.rows]) for k in rows[0]}) for p in pieces]
        result = optimizer_step(
            objective,
            task,  # type: ignore[arg-type]
            engine,
            optimizer,
            batches,
            lambda _rows: nullcontext(),
            1e9,
        )
        losses.append(result.loss)
    return losses


def theirs(model: nn.Module, optimizer: torch.optim.Optimizer, micro: int, folder: Path, steps: int = STEPS) -> Any:
    """Losses by step as the Trainer logs them, same rows in the same order."""

    class InOrder(transformers.Trainer):  # type: ignore[misc]
        def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=STEP // micro,
        max_steps=steps,
        lr_scheduler_type="constant",
        max_grad_norm=1e9,
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        seed=0,
    )
    trainer = InOrder(model=model, args=arguments, train_dataset=rows_of(), optimizers=(optimizer, None))
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def change(before: dict[str, Tensor], model: nn.Module) -> Tensor:
    return torch.cat([(p.detach() - before[n]).reshape(-1) for n, p in model.named_parameters()])


@pytest.mark.parametrize("kind", [llama, bert])
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_same_losses_where_the_trainer_is_right(kind: Any, name: str, tmp_path: Path) -> None:
    """Eight rows in one micro-batch: step for step the same loss to 1e-5."""
    model, other = kind(), kind()
    mine = ours(model, optimizer_of(model, name), STEP)
    peer = theirs(other, optimizer_of(other, name), STEP, tmp_path)
    assert len(mine) == len(peer) == STEPS
    assert max(abs(a - b) for a, b in zip(mine, peer, strict=True)) <= 1e-5
    assert mine[0] != pytest.approx(mine[-1], abs=1e-3)


def test_accumulation_of_single_rows(tmp_path: Path, record_property: Any) -> None:
    """One SGD step of eight rows, cut 8x1 and 1x8: equal here to 1e-6; the Trainer's differ by a multiple."""
    sizes: dict[str, dict[int, Tensor]] = {"ours": {}, "trainer": {}}
    for micro in (1, STEP):
        model = bert()
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        ours(model, optimizer_of(model, "sgd"), micro, steps=1)
        sizes["ours"][micro] = change(before, model)
        model = bert()
        theirs(model, optimizer_of(model, "sgd"), micro, tmp_path, steps=1)
        sizes["trainer"][micro] = change(before, model)
    assert float((sizes["ours"][1] - sizes["ours"][STEP]).abs().max()) <= 1e-6
    assert float((sizes["ours"][STEP] - sizes["trainer"][STEP]).abs().max()) <= 1e-6
    ratio = float(sizes["trainer"][1].norm() / sizes["trainer"][STEP].norm())
    record_property("trainer_update_ratio", ratio)
    assert ratio == pytest.approx(STEP, rel=0.1), f"the Trainer's update is {ratio:.2f} times too large"
