"""Which recordings have transcripts and which transcripts have recordings: the table, and when it is an error.

It knows no format: names are given to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tunesmith.data.pairing import PairingTable
from tunesmith.errors import UserError

MOST_UNPAIRED = 0.1
"""Share of recordings without a transcript, and of transcripts without a recording, that is left out, not refused."""


@dataclass
class Pairing(PairingTable):
    """Recordings and transcripts, counted, with up to five names of each kind.

    Args:
        source: The source as a person wrote it.
        label: What a transcript is here, for a sentence: ``transcript``, ``row``, ``text file``.
    """

    label: str = "transcript"

    @property
    def recordings(self) -> int:
        """All recordings."""
        return self.labelled + self.unlabelled

    @property
    def share_unlabelled(self) -> float:
        """The share of recordings that have no transcript, 0 to 1."""
        return self.unlabelled / self.recordings if self.recordings else 0.0

    @property
    def share_orphans(self) -> float:
        """The share of transcripts that have no recording, 0 to 1."""
        return self.orphans / (self.labelled + self.orphans) if self.orphans else 0.0

    def add(self, name: str, labelled: bool) -> None:
        """Count a recording, with a transcript or without."""
        if labelled:
            self.labelled += 1
        else:
            self.unlabelled += 1
        self.note("labelled" if labelled else "unlabelled", name)

    def lines(self) -> list[str]:
        """The table for a person, one line a kind with up to five names."""
        return self.table(
            [
                ("", f"recordings in {self.source}", self.recordings),
                ("labelled", f"  with {self.label}s", self.labelled),
                ("unlabelled", f"  without {self.label}s", self.unlabelled),
                ("orphans", f"{self.label}s without recordings", self.orphans),
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """The table as JSON-able values."""
        return {
            "source": self.source,
            "label": self.label,
            "recordings": self.recordings,
            "with_transcripts": self.labelled,
            "without_transcripts": self.unlabelled,
            "transcripts_without_recordings": self.orphans,
            "examples": {kind: list(names) for kind, names in self.examples.items()},
        }

    def settle(self, notes: list[str]) -> None:
        """Say the table and what is left out, or stop by it.

        Raises:
            UserError: There is nothing, or more than a tenth of the recordings or of the transcripts stand alone.
        """
        self._check()
        notes.extend(self.lines())
        if self.unlabelled:
            notes.append(f"left out: {self.unlabelled:,} recordings without {self.label}s")
        if self.orphans:
            notes.append(f"left out: {self.orphans:,} {self.label}s without recordings")

    def _check(self) -> None:
        table = "\n    ".join(self.lines())
        if not self.recordings and not self.orphans:
            raise UserError("there are no recordings", self.source, "give a folder with recordings and transcripts")
        if not self.labelled:
            lone = f"recordings has a {self.label}" if self.recordings else f"{self.label}s has a recording"
            raise UserError(
                f"none of {self.recordings or self.orphans:,} {lone}\n    {table}",
                self.source,
                f"check the names: a {self.label} and its recording must go together",
            )
        if self.share_orphans > MOST_UNPAIRED:
            raise UserError(
                f"{self.orphans:,} of {self.labelled + self.orphans:,} {self.label}s ({self.share_orphans:.1%}) have "
                f"no recording, and at most {MOST_UNPAIRED:.0%} may: {self.some('orphans')}\n    {table}",
                self.source,
                f"add these recordings, or remove the {self.label}s",
            )
        if self.share_unlabelled > MOST_UNPAIRED:
            raise UserError(
                f"{self.unlabelled:,} of {self.recordings:,} recordings ({self.share_unlabelled:.1%}) have no "
                f"{self.label}, and at most {MOST_UNPAIRED:.0%} may: {self.some('unlabelled')}\n    {table}",
                self.source,
                f"add the {self.label}s, or remove these recordings",
            )
