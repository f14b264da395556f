"""Seconds of counted operations, by what a device does per second: measured, or as its maker states it.

Each operation takes what a call costs, and the longer of its arithmetic and its way through memory (a roofline,
Williams et al., doi:10.1145/1498765.1498785), at the rate measured for its size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tunesmith.devices import Device
from tunesmith.model.operations import ATTENTION, CONVOLUTION, FUNCTION, PRODUCT, VIEW, Operation
from tunesmith.rates import Points, Rates, UnitRates, rate_at

PRODUCTS_REACHED, ATTENTION_REACHED, CONVOLUTIONS_REACHED, BANDWIDTH_REACHED = 0.5, 0.35, 0.3, 0.8
"""What share of a GPU's stated arithmetic and bandwidth large pieces of work reach in training, as a rule."""
SMALL_REACHED = 0.05
"""The same for products so small that most of the units have nothing to do."""
LAUNCH_SECONDS, TRAINING_LAUNCH_SECONDS = 10e-6, 8e-6
"""What Python and the driver take for an operation of any size, forward without gradients and in training."""
PARALLEL_REACHED = 0.9
"""What share of their sum several devices reach together."""


@dataclass(frozen=True)
class Pricing:
    """What operations cost on one device.

    Args:
        unit: Its rates.
        basis: Where they come from, in words.
        ahead: Whether calls run ahead of the arithmetic (GPUs), so that the longer of the two counts.
        count: How many devices share the rows.
        disk: Bytes per second written and read.
    """

    unit: UnitRates
    basis: str
    ahead: bool = False
    count: int = 1
    disk: tuple[float, float] = (500e6, 1000e6)

    def seconds(self, work: Mapping[Operation, float], *, training: bool = False) -> float:
        """Seconds of operations.

        Args:
            work: Operations and how often each runs.
            training: Whether they are of a pass forward and back.
        """
        each = self.unit.training_call_seconds if training else self.unit.call_seconds
        calls = each * sum(work.values())
        computed = sum(self.one(operation) * count for operation, count in work.items())
        found = max(calls, computed) if self.ahead else calls + computed
        return found / (1 if self.count == 1 else self.count * PARALLEL_REACHED)

    def one(self, operation: Operation) -> float:
        """Seconds of one operation without what the call costs."""
        if operation.kind == VIEW:
            return 0.0
        unit, kind = self.unit, operation.kind
        table = unit.functions if kind == FUNCTION else unit.moves
        moved = operation.bytes / rate_at(_of(table, operation.dtype), operation.bytes, 0)
        if not operation.flops:
            return moved
        tables = {CONVOLUTION: unit.convolutions, ATTENTION: unit.attention}
        table = tables.get(kind, unit.batched if kind == PRODUCT and operation.batch > 1 else unit.products)
        rate = rate_at(_of(table, operation.dtype), operation.narrow, operation.flops / operation.batch)
        if kind == PRODUCT and operation.batch == 1:
            # One row through a matrix is slow because the matrix is read: that is in the rate already.
            return operation.flops / rate
        return max(operation.flops / rate, moved)


def _of(table: Mapping[str, Points], dtype: str) -> Points:
    """A precision's points; those of 16 bits stand for each other, and fp32's for everything else."""
    if dtype in table:
        return table[dtype]
    return table["bf16"] if dtype == "fp16" and "bf16" in table else table["fp32"]


def measured_pricing(rates: Rates, kind: str) -> Pricing | None:
    """By the rates of this machine; None where the kind of device (``cpu``, ``cuda``) was not measured."""
    unit = rates.units.get(kind)
    if unit is None:
        return None
    basis = f"rates measured on {rates.cpu if kind == 'cpu' else kind} with {rates.threads} thread"
    basis += "" if rates.threads == 1 else "s"
    return Pricing(unit, basis, ahead=kind != "cpu", disk=(rates.write_bytes, rates.read_bytes))


def stated_pricing(device: Device) -> Pricing:
    """By what a device's maker states, and what share of it training reaches as a rule."""

    def points(reached: float) -> dict[str, Points]:
        return {
            kind: ((16.0, 1e6, device.rate(kind) * SMALL_REACHED), (1024.0, 4e9, device.rate(kind) * reached))
            for kind in ("fp32", "bf16", "fp16")
        }

    products, wide = points(PRODUCTS_REACHED), device.bandwidth * BANDWIDTH_REACHED
    moves: dict[str, Points] = {kind: ((1e6, 0.0, wide),) for kind in ("fp32", "bf16", "fp16")}
    unit = UnitRates(
        products=products,
        batched=products,
        convolutions=points(CONVOLUTIONS_REACHED),
        attention={kind: ((32.0, 1e6, device.rate(kind) * ATTENTION_REACHED),) for kind in ("fp32", "bf16", "fp16")},
        moves=moves,
        functions=moves,
        call_seconds=LAUNCH_SECONDS,
        training_call_seconds=TRAINING_LAUNCH_SECONDS,
    )
    named = device.name if device.count == 1 else f"{device.count} x {device.name}"
    basis = f"stated rates of {named}, of which {PRODUCTS_REACHED:.0%} of the products and {BANDWIDTH_REACHED:.0%} of "
    return Pricing(unit, f"{basis}the bandwidth are taken as reached", ahead=True, count=device.count)
