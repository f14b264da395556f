"""What a client's requests have cost so far. It sends nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Tally:
    """Counts that a client adds to; several clients may share one, one at a time.

    Args:
        requests: Sent, repeated ones included.
        repeated: Requests sent again, by reason (``429``, ``502``, ``connection``).
        waited_seconds: For the service's limit, and because it asked.
        bytes: Received.
        most_bytes: Of all replies together; None leaves it at the client's own limit.
    """

    requests: int = 0
    repeated: Counter[str] = field(default_factory=Counter)
    waited_seconds: float = 0.0
    bytes: int = 0
    most_bytes: int | None = None
