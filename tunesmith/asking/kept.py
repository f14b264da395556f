"""Replies that were given before, in one SQLite file, so that nothing is asked twice. It knows no model."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path

from tunesmith.asking.model import Model, Progress, Prompt, Reply
from tunesmith.errors import UserError

FILE = "replies.sqlite"
_NEW = {"tools": (), "top_p": 1.0, "presence": 0.0, "frequency": 0.0, "bias": {}}
ASKED_TOGETHER = 32
"""Prompts after which replies are on the disk: so many are lost at most when a person stops."""


class Remembered:
    """A model whose replies are kept by its identity and the prompt.

    Args:
        model: What is asked where nothing is kept.
        folder: Where the file is; made if need be. Several processes may share it.

    Attributes:
        asked: Prompts that the model was asked.
        remembered: Prompts whose reply was there.

    Raises:
        UserError: The folder can't be written, or the file is none of ours.
    """

    def __init__(self, model: Model, folder: str | Path) -> None:
        self.model = model
        self.name, self.context = model.name, model.context
        self.grammars = getattr(model, "grammars", False)
        self.asked = self.remembered = 0
        self._file = Path(folder) / FILE
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            # Ours is never used by two threads at a time.
            self._table = sqlite3.connect(self._file, timeout=60, check_same_thread=False)
            self._table.execute("pragma journal_mode = wal")
            self._table.execute("create table if not exists replies (key blob primary key, reply text) without rowid")
        except (OSError, sqlite3.Error) as fault:
            raise self._fault(fault) from fault

    @property
    def identity(self) -> str:
        """The model's."""
        return self.model.identity

    @property
    def constrains(self) -> bool:
        """Whether the model can; an endpoint may turn out to be unable."""
        return self.model.constrains

    @property
    def notes(self) -> list[str]:
        """What a person should know of the model."""
        return list(getattr(self.model, "notes", ()))

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return self.model.count(text)

    def close(self) -> None:
        """Close the file."""
        self._table.close()

    def answer(self, prompts: Sequence[Prompt], progress: Progress | None = None) -> list[Reply]:
        """A reply to each prompt, in their order; the model is asked only what was not asked before, each prompt once.

        Raises:
            UserError: What the model raises; replies to the prompts before it are kept.
        """
        keys = [self._key(prompt) for prompt in prompts]
        found = self._known(keys)
        new = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in found}
        self.remembered += len(prompts) - len(new)
        done = len(prompts) - len(new)
        # Prompts of like length pad each other least.
        order = sorted(new, key=lambda key: -sum(len(str(m.get("content"))) for m in new[key].messages))
        for start in range(0, len(order), ASKED_TOGETHER):
            part = order[start : start + ASKED_TOGETHER]
            replies = self.model.answer([new[key] for key in part])
            self.asked += len(part)
            self._keep(dict(zip(part, replies, strict=True)))
            found |= zip(part, replies, strict=True)
            if progress is not None:
                progress("answering", done + min(start + len(part), len(order)), len(prompts))
        return [found[key] for key in keys]

    def _key(self, prompt: Prompt) -> bytes:
        # What is as it is by default says nothing, so that a field that is new loses no reply that was kept.
        said = {name: value for name, value in asdict(prompt).items() if name not in _NEW or value != _NEW[name]}
        text = json.dumps([self.model.identity, said], sort_keys=True)
        return blake2b(text.encode(), digest_size=16).digest()

    def _known(self, keys: Sequence[bytes]) -> dict[bytes, Reply]:
        found = {}
        try:
            for key in dict.fromkeys(keys):
                row = self._table.execute("select reply from replies where key = ?", (key,)).fetchone()
                if row is not None:
                    found[key] = Reply(**json.loads(row[0]))
        except (sqlite3.Error, ValueError, TypeError) as fault:
            raise self._fault(fault) from fault
        return found

    def _keep(self, replies: dict[bytes, Reply]) -> None:
        rows = [(key, json.dumps(asdict(reply))) for key, reply in replies.items()]
        try:
            with self._table:
                self._table.executemany("insert or replace into replies values (?, ?)", rows)
        except sqlite3.Error as fault:
            raise self._fault(fault) from fault

    def _fault(self, fault: Exception) -> UserError:
        return UserError(
            f"the replies can't be kept: {fault}", str(self._file), "delete the file, or name another folder"
        )
