"""Where autocast's settings for a tensor are asked for. It knows no model."""

from __future__ import annotations

from torch import Tensor


def autocast_device(tensor: Tensor) -> str:
    """The device type whose autocast holds for a tensor: a shape on the meta device is planned as a CPU's."""
    kind: str = tensor.device.type
    return "cpu" if kind == "meta" else kind
