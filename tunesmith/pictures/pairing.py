"""Which pictures have labels and which labels have pictures: the table a person sees first, and when it is an error.

It knows no format: names are given to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tunesmith.data.pairing import PairingTable
from tunesmith.errors import UserError

OPTION = "options.background"


@dataclass
class Pairing(PairingTable):
    """Pictures and labels, counted, with up to five names of each kind.

    Args:
        source: The source as a person wrote it.
        label: What a label is here, for a sentence: ``label file``, ``mask``, ``class folder``.
        fills: Whether a picture without a label can be used as background, when that is allowed.
    """

    fills: bool = True
    empty: int = 0

    @property
    def pictures(self) -> int:
        """All pictures."""
        return self.labelled + self.empty + self.unlabelled

    @property
    def share(self) -> float:
        """The share of pictures that have no label, 0 to 1."""
        return self.unlabelled / self.pictures if self.pictures else 0.0

    def add(self, name: str, labelled: bool, *, empty: bool = False) -> None:
        """Count a picture; ``empty``: its label says that nothing is in it."""
        kind = "empty" if labelled and empty else "labelled" if labelled else "unlabelled"
        setattr(self, kind, getattr(self, kind) + 1)
        self.note(kind, name)

    def _rows(self) -> list[tuple[str, str, int]]:
        rows = [("labelled", f"  with {self.label}s", self.labelled)]
        if self.empty:
            rows.append(("empty", f"  with a {self.label} that says: nothing here", self.empty))
        rows.append(("unlabelled", f"  without {self.label}s", self.unlabelled))
        rows.append(("orphans", f"{self.label}s without pictures", self.orphans))
        return rows

    def lines(self) -> list[str]:
        """The table for a person, one line a kind with up to five names."""
        return self.table([("", f"pictures in {self.source}", self.pictures), *self._rows()])

    def to_json(self) -> dict[str, Any]:
        """The table as JSON-able values."""
        return {
            "source": self.source,
            "label": self.label,
            "pictures": self.pictures,
            "with_labels": self.labelled,
            "with_empty_labels": self.empty,
            "without_labels": self.unlabelled,
            "labels_without_pictures": self.orphans,
            "share_without_labels": self.share,
            "examples": {kind: list(names) for kind, names in self.examples.items()},
        }

    def check(self, background: float) -> None:
        """Stop where labels have no picture, or more pictures have no label than are allowed as background.

        Args:
            background: Share of pictures that may have no label, 0 to 1.

        Raises:
            UserError: It is so.
        """
        table = "\n    ".join(self.lines())
        if not self.pictures:
            raise UserError("there are no pictures", self.source, "give a folder with pictures and their labels")
        if self.orphans:
            raise UserError(
                f"{self.orphans:,} {self.label}s have no picture: {self.some('orphans')}\n    {table}",
                self.source,
                f"add these pictures, or remove the {self.label}s",
            )
        if not self.labelled and self.unlabelled:
            raise UserError(
                f"none of {self.pictures:,} pictures has a {self.label}\n    {table}",
                self.source,
                f"check where the {self.label}s are; they must lie beside the pictures or mirror their folders",
            )
        if self.share > background:
            needed = min(1.0, float(f"{self.share * 1.05 + 0.0005:.2g}"))
            allow = f", or allow them as background with {OPTION}: {needed:g}" if self.fills else ", or remove them"
            raise UserError(
                f"{self.unlabelled:,} of {self.pictures:,} pictures ({self.share:.1%}) have no {self.label}, and "
                f"{background:.1%} may have none: {self.some('unlabelled')}\n    {table}",
                self.source,
                f"label them{allow}",
            )
