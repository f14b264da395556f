"""The formula that handbooks of fine-tuning give for memory, for comparison.

It knows neither rows, nor lengths, nor what learns.
"""

from __future__ import annotations

CLASSIC_NAME = "the handbooks' formula: (parameters x bytes / 1024^3) x 2.5 or 3 GB"
GIB = 1024**3


def classic_bytes(parameters: int, bytes_each: float) -> tuple[int, int]:
    """Memory by the classic formula: weights times 2.5, and times 3.

    A model of 7 billion parameters in 32 bit gives 65 to 78 GiB.

    Args:
        parameters: Of the whole model.
        bytes_each: Bytes of one (4 in 32 bit, 2 in 16 bit).
    """
    gigabytes = parameters * bytes_each / GIB
    return round(gigabytes * 2.5 * GIB), round(gigabytes * 3 * GIB)
