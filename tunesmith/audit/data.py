"""The rows that an audit judges, with what every check needs of them: sides, places, names, a cache, progress."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.audit.found import SideName
from tunesmith.audit.kept import Kept
from tunesmith.data.digest import canonical_json
from tunesmith.prepare import Prepared
from tunesmith.types import Row

if TYPE_CHECKING:
    from tunesmith.audit.features import Features
    from tunesmith.task import Task

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Wishes:
    """What a person asked for beyond the defaults.

    Args:
        against: Files of evaluation sets that training rows must not overlap with.
        toxicity: A text classifier (hub id or folder) that scores toxicity; None: it is not looked at.
        groups: Columns that name where a row comes from (speaker, video), beside ``data.group_by``.
        effects: Whether effects are measured, which trains heads.
        most_seconds: None, or about how long checks that sample may take.
    """

    against: Sequence[Path] = ()
    toxicity: str | None = None
    groups: Sequence[str] = ()
    effects: bool = True
    most_seconds: float | None = None


@dataclass
class AuditData:
    """The data of a recipe, read and split, and its task.

    Args:
        prepared: Rows, task and findings of every run. ``prepared.learning`` is the train side (with validation).
        kept: Measures of earlier audits.
        wishes: What was asked for.
        progress: Receives what is being done, how much is done, and of how much.
        has_weights: Whether the task's pretrained weights are at hand.
        reasons: Why something is not there, by its name.
    """

    prepared: Prepared
    kept: Kept
    wishes: Wishes = field(default_factory=Wishes)
    progress: Progress = lambda _what, _done, _total: None
    has_weights: bool = True
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def task(self) -> Task:
        """The task, with its facts."""
        return self.prepared.task

    def has(self, kind: str) -> bool:
        """Whether rows hold what the task's ``audited`` names: ``pictures``, ``audio``, ``answers``, ..."""
        return kind in self.task.audited

    @property
    def sides(self) -> dict[SideName, Sequence[Row]]:
        """Rows by side; both may be large and are read from disk: go over them once, in order, and keep numbers."""
        return {"train": self.prepared.learning, "eval": self.prepared.held_out}

    @property
    def explicit_eval(self) -> bool:
        """Whether the held-out rows are a source of their own, not a share of the training source."""
        return "eval" in self.prepared.reports

    def where(self, side: SideName) -> str:
        """The source of a side, as findings name it."""
        data = self.prepared.source.recipe.data
        named = str(data.eval) if side == "eval" and self.explicit_eval else data.train
        report = self.prepared.reports["eval" if side == "eval" and self.explicit_eval else "train"]
        return report.paths[0] if len(report.paths) == 1 else str(named)

    @property
    def label(self) -> str | None:
        """The column of class labels; None where there are no classes."""
        return self.task.class_column()

    @property
    def texts(self) -> tuple[str, ...]:
        """The input columns that hold text."""
        return tuple(name for name in self.task.inputs if self.task.columns[name] is str and self.has("text"))

    def digest(self, row: Row, columns: Sequence[str]) -> str:
        """What names a row's content in `kept`: 32 hexadecimal digits."""
        import hashlib

        values = {name: row.get(name) for name in columns}
        return hashlib.blake2b(canonical_json(values), digest_size=16).hexdigest()

    @cached_property
    def features(self) -> Features | None:
        """The network's features of all rows, computed once; None where there are no weights."""
        from tunesmith.audit.features import features_of

        return features_of(self)

    @cached_property
    def some_features(self) -> Features | None:
        """The same, of a sample of the rows where all of them would take too long."""
        from tunesmith.audit.features import features_of_sample

        return self.features or features_of_sample(self)

    def options(self, name: str, default: Any = None) -> Any:
        """An option of the task."""
        return getattr(self.task.options, name, default)
