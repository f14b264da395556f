"""Digests of weight files, remembered from run to run. It knows files and nothing of what is in them."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tunesmith.machine import cache_folder


def files_digest(files: Iterable[Path]) -> str:
    """BLAKE2b over names and contents, in the order given."""
    memory = cache_folder() / "digests.json"
    known = _known_digests(memory)
    fresh = False
    total = hashlib.blake2b(digest_size=32)
    for file in files:
        stat = file.stat()
        # By the real file: a hub snapshot is made of links.
        key, mark = str(file.resolve()), [stat.st_size, stat.st_mtime_ns]
        entry = known.get(key)
        if entry is None or entry[:2] != mark:
            with file.open("rb") as stream:
                entry = [*mark, hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=32)).hexdigest()]
            # A file changed this very moment can change again within one tick of the clock.
            if time.time_ns() - stat.st_mtime_ns > 2_000_000_000:
                known[key], fresh = entry, True
        total.update(f"{file.name}\0{entry[2]}\n".encode())
    if fresh:
        kept = {key: entry for key, entry in known.items() if Path(key).is_file()}
        draft = memory.with_name(f".{memory.name}.{os.getpid()}")
        draft.write_text(json.dumps(kept, indent=0, sort_keys=True), encoding="utf-8")
        draft.replace(memory)
    return total.hexdigest()


def _known_digests(memory: Path) -> dict[str, list[Any]]:
    """What was computed before; a memory that can't be read is only a loss of time."""
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return {}
    rows = known.items() if isinstance(known, dict) else ()
    return {key: entry for key, entry in rows if isinstance(entry, list) and len(entry) == 3}
