"""How many requests there were and how long they took, as Prometheus reads it. It knows no route."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper ends of the histogram's buckets."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NOWHERE = "none"
Labels = tuple[tuple[str, str], ...]


class Measures:
    """Counts and times of requests. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[Labels] = Counter()
        self._buckets: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}
        self.in_flight = 0

    def enter(self) -> None:
        """A request has begun."""
        with self._lock:
            self.in_flight += 1

    def leave(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request has ended.

        Args:
            method: What is no known method counts as ``other``: a client must not make names at will.
            route: The route's path with its placeholders; ``none`` where there was none or it was refused before.
            status: Of the answer; 0 where there was none.
            seconds: From its head to the answer's end.
        """
        known = method if method in METHODS else "other"
        with self._lock:
            self.in_flight -= 1
            self._counts[("method", known), ("route", route), ("status", str(status))] += 1
            buckets = self._buckets.setdefault(route, [0] * len(SECONDS))
            for place, end in enumerate(SECONDS):
                buckets[place] += seconds <= end
            self._seconds[route] = self._seconds.get(route, 0.0) + seconds

    def text(self, gauges: Mapping[str, tuple[str, Mapping[Labels, float]]]) -> str:
        """All of it in Prometheus' text format, version 0.0.4.

        Args:
            gauges: What else is measured just now, by name: its help, and its values by their labels.
        """
        with self._lock:
            counts, seconds = dict(self._counts), dict(self._seconds)
            buckets, in_flight = {route: list(ends) for route, ends in self._buckets.items()}, self.in_flight
        lines = _head("tunesmith_requests_total", "counter", "Requests that were answered.")
        lines += [_line("tunesmith_requests_total", labels, count) for labels, count in sorted(counts.items())]
        name = "tunesmith_request_seconds"
        lines += _head(name, "histogram", "Seconds from a request's head to its answer's end.")
        for route, ends in sorted(buckets.items()):
            label = ("route", route)
            total = sum(count for labels, count in counts.items() if label in labels)
            for end, within in zip(SECONDS, ends, strict=True):
                lines += [_line(f"{name}_bucket", (label, ("le", f"{end:g}")), within)]
            lines += [_line(f"{name}_bucket", (label, ("le", "+Inf")), total)]
            lines += [_line(f"{name}_sum", (label,), seconds[route]), _line(f"{name}_count", (label,), total)]
        lines += _head("tunesmith_requests_in_flight", "gauge", "Requests that are being answered.")
        lines += [_line("tunesmith_requests_in_flight", (), in_flight)]
        for name, (said, values) in sorted(gauges.items()):
            lines += _head(name, "gauge", said) + [
                _line(name, labels, value) for labels, value in sorted(values.items())
            ]
        return "\n".join(lines) + "\n"


class Measured:
    """ASGI middleware that measures each request, those that are refused too."""

    def __init__(self, app: ASGIApp, measures: Measures) -> None:
        self.app, self.measures = app, measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, began = 0, perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self.measures.enter()
        try:
            await self.app(scope, receive, noting)
        except Exception:
            # What nothing caught is answered outside of this, as the server's failure.
            status = status or 500
            raise
        finally:
            self.measures.leave(scope["method"], route_of(scope), status, perf_counter() - began)


def route_of(scope: Mapping[str, Any]) -> str:
    """The path with its placeholders of the route that took a request."""
    endpoint, app = scope.get("endpoint"), scope.get("app")
    routes: Iterable[Any] = app.routes if app is not None and endpoint is not None else ()
    found = [route.path for route in routes if getattr(route, "endpoint", None) is endpoint]
    return str(found[0]) if found else NOWHERE


def _head(name: str, kind: str, said: str) -> list[str]:
    return [f"# HELP {name} {said}", f"# TYPE {name} {kind}"]


def _line(name: str, labels: Iterable[tuple[str, str]], value: float) -> str:
    inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
    return f"{name}{{{inside}}} {value:.10g}" if inside else f"{name} {value:.10g}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
