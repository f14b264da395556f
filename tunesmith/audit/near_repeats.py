"""Training recordings that sound the same as an earlier one: saved anew, louder, trimmed. It reads no sound."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tunesmith.speech.heard import Place, Side, Traced, part_of
from tunesmith.speech.likeness import PrintIndex, SoundPrint
from tunesmith.types import Finding, Row

NEAR_MOST_FRAMES = 40_000_000
"""Training recordings of 180 hours; the prints of more would take more than 1 GiB."""


class NearRepeats:
    """Training recordings that sound the same as an earlier one, though they are other files or parts."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.prints: list[SoundPrint] = []
        self.frames = 0
        self.left_out = 0

    def add(self, number: int, one: SoundPrint) -> None:
        """Take in the print of a training recording."""
        if self.frames + len(one) > NEAR_MOST_FRAMES:
            self.left_out += 1
            return
        self.frames += len(one)
        self.numbers.append(number)
        self.prints.append(one)

    def findings(self, side: Side) -> Iterator[Traced]:
        """What repeats; exact repeats are told elsewhere."""
        index, places = PrintIndex(self.prints), list[Place]()
        content: Callable[[Row], str] = lambda row: part_of(row)[0]  # noqa: E731
        for at, one in enumerate(self.prints):
            earlier = min((other for other in index.find(one) if other < at), default=None)
            if earlier is None:
                continue
            first, number = self.numbers[earlier], self.numbers[at]
            if content(side.rows[first]) != content(side.rows[number]):
                places.append(Place(side, number, f"sounds as {side.id(first)} does", (side, first)))
        if places:
            share = len(places) / len(side.rows)
            text = (
                f"{len(places):,} of {len(side.rows):,} recordings ({share:.1%}) sound nearly the same as another: "
                f"{side.id(places[0].number)} {places[0].note}"
            )
            finding = Finding(
                "near-repeated-audio",
                "warning" if share >= 0.01 else "note",
                text,
                side.name,
                "leave the repeats out; a recording saved anew, louder or trimmed, teaches nothing new",
                tuple(side.id(place.number) for place in places[:5]),
                share,
            )
            yield Traced(finding, places)
