"""How a server was started. It decides nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

GIB = 1 << 30


@dataclass(frozen=True)
class Settings:
    """What holds for the whole server.

    Args:
        folder: Files, jobs (each a run directory), and the SQLite file.
        host: Address to listen at; loopback unless a person said otherwise.
        port: 0 takes a free one.
        token: That every request must carry.
        hosts: Host headers that are answered, beside loopback names with the port.
        origins: Origins that may ask; none by default.
        models: Bases that may be tuned and asked, by the name that clients use: ``{"smollm2": "starter:..."}``.
        runs: Folders of finished runs that are served as models, by name.
        upload_bytes: Most bytes of a file.
        body_bytes: Most bytes of any other body.
        queue: Most requests that wait for a model; one more is answered 429.
        seconds: Most seconds of one inference request.
        jobs_at_once: Workers that train at a time.
        model_bytes: Memory for loaded models; the one asked longest ago leaves first.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        dtype: In which bases are held for inference.
    """

    folder: Path
    host: str = "127.0.0.1"
    port: int = 8642
    token: str = field(default="", repr=False)
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    models: dict[str, str] = field(default_factory=dict)
    runs: dict[str, Path] = field(default_factory=dict)
    upload_bytes: int = GIB
    body_bytes: int = 32 << 20
    queue: int = 64
    seconds: float = 600.0
    jobs_at_once: int = 1
    model_bytes: int = 8 * GIB
    device: str = "auto"
    dtype: str = "fp32"
