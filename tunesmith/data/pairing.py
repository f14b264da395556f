"""Files and their labels counted, with a few names of each kind, as a table. It knows no format and no kind of file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

EXAMPLES = 5


@dataclass
class PairingTable:
    """Files with labels, files without and labels without files, counted, with up to five names of each kind.

    Args:
        source: The source as a person wrote it.
        label: What a label is here, for a sentence: ``label file``, ``mask``, ``transcript``.
    """

    source: str
    label: str = "label"
    labelled: int = 0
    unlabelled: int = 0
    orphans: int = 0
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add_orphans(self, names: Iterable[str]) -> None:
        """Count labels that have no file."""
        for name in names:
            self.orphans += 1
            self.note("orphans", name)

    def note(self, kind: str, name: str) -> None:
        """Keep a name as an example of its kind, while there are few."""
        shown = self.examples.setdefault(kind, [])
        if len(shown) < EXAMPLES:
            shown.append(name)

    def some(self, kind: str) -> str:
        """The names of a kind that are kept, for a sentence."""
        return ", ".join(self.examples.get(kind, ()))

    def table(self, rows: Sequence[tuple[str, str, int]]) -> list[str]:
        """A table for a person, one line a row with up to five names.

        Args:
            rows: Kind whose names are shown, words, count.
        """
        wide = max(len(words) for _, words, _ in rows)
        told = []
        for kind, words, count in rows:
            names = self.some(kind)
            more = ", ..." if count > EXAMPLES and names else ""
            told.append(f"{words:<{wide}}  {count:>8,}{f'  {names}{more}' if names else ''}".rstrip())
        return told
