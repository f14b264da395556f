"""Requests that are sent twice with one Idempotency-Key: the second is answered as the first, and does nothing.

What a request does and the answer that is kept for it are one transaction: after a crash there are both or neither.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from tunesmith.data.digest import canonical_json
from tunesmith.server.faults import ApiFault
from tunesmith.server.kept import Answer

if TYPE_CHECKING:
    from starlette.requests import Request

    from tunesmith.server.store import Store

HEADER = "Idempotency-Key"


def key_of(request: Request) -> str | None:
    """The key that a request carries; None where it has none.

    Raises:
        ApiFault: 400, it is empty, longer than 255 letters or not printable ASCII.
    """
    key = request.headers.get(HEADER)
    if key is not None and not re.fullmatch(r"[!-~]{1,255}", key):
        what = f"{HEADER} has to be 1 to 255 printable ASCII letters without spaces, such as a UUID"
        raise ApiFault(400, what, param=HEADER, code="invalid_idempotency_key")
    return key


def digest_of(body: Any) -> str:
    """A digest of JSON that does not depend on the order of its keys."""
    return blake2b(canonical_json(body), digest_size=16).hexdigest()


def once(store: Store, key: str | None, route: str, digest: str, act: Callable[[], Answer]) -> Answer:
    """Do something unless a request with this key did it before.

    Args:
        store: Where answers are kept.
        key: The request's; None does it in any case.
        route: Method and path: a key holds for one route.
        digest: Of the body.
        act: What is to be done; what it writes into the store is undone where it fails.

    Raises:
        ApiFault: 409, the key was used for another body; or what ``act`` raises.
    """
    with store.transaction():
        if key is None:
            return act()
        answer = store.recall(key, route, digest)
        if answer is None:
            answer = act()
            store.remember(key, route, digest, answer.status, answer.body)
    return answer
