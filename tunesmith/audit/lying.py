"""Pictures that lie on a side or stand on their head, told by the network that the data are for. It knows no file.

A head learns from the other pictures which way up each of them was shown (Gidaris et al. 2018, arXiv:1803.07728, on
frozen features). A picture that lies already is told by its four turns together: each looks turned too far by as much.
Most pictures must stand upright, and turned ones must look other than upright ones: how often the head is right among
the pictures says whether it can be believed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.audit.found import Found, Mark, SideName, Skipped, share_level
from tunesmith.audit.picture_table import picture_table
from tunesmith.errors import UserError

if TYPE_CHECKING:
    from tunesmith.audit.data import AuditData
    from tunesmith.types import Row

Floats = NDArray[np.float64]
Sides = Mapping["SideName", "Sequence[Row]"]

TURNS = 4
LEAST_PICTURES = 40

LYING = 0.01
"""Share of pictures that are expected to lie each way, with the weight of `PRIOR_SHARE` of all pictures."""
PRIOR_SHARE = 0.07
ROUNDS = 200
SURE = 0.5
LEAST_RIGHT = 0.5
"""Pictures whose four turns must be told right, as a share; of noise a quarter is."""
WARNING_SHARE = 0.01
SAID = {1: "a quarter turn clockwise mends it", 2: "it stands on its head", 3: "a quarter turn to the left mends it"}
CODE = "turned-picture"


def lying_findings(data: AuditData) -> Iterator[Found | Skipped]:
    """Pictures of classes that look turned; other tasks' boxes and masks would have to be turned, too."""
    if not data.has("labels"):
        return
    if not data.has_weights:
        yield Skipped(CODE, "the model's weights are not at hand: which way up pictures are is told by EXIF alone")
        return
    table = picture_table(data)
    broken = {side: set(np.array(told.ids)[~told.readable].tolist()) for side, told in table.items()}
    sides: Sides = {side: [row for row in rows if row["id"] not in broken[side]] for side, rows in data.sides.items()}
    if sum(map(len, sides.values())) < LEAST_PICTURES:
        return
    seen = _seen(data, sides)
    if isinstance(seen, str):
        yield Skipped(CODE, f"{seen}: which way up pictures are is told by EXIF alone")
        return
    turns, right = _told(data, seen)
    if right < LEAST_RIGHT:
        yield Skipped(
            CODE, f"the network tells the way up of only {right:.0%} of these pictures: EXIF alone is believed"
        )
        return
    start = 0
    for side, rows in sides.items():
        mine = turns[start : start + len(rows)]
        start += len(rows)
        yield from _found(data, side, rows, mine, right)


def _found(data: AuditData, side: SideName, rows: Sequence[Row], turns: Floats, right: float) -> Iterator[Found]:
    sure = 1 - turns[:, 0]
    at = np.flatnonzero(sure >= SURE)
    if not len(at):
        return
    order = at[np.argsort(-sure[at], kind="stable")]
    marks = [
        Mark(str(rows[int(i)]["id"]), side, round(float(sure[i]), 4), SAID[int(turns[i, 1:].argmax()) + 1])
        for i in order
    ]
    share = len(at) / len(rows)
    what = (
        f"{len(at):,} of {len(rows):,} pictures ({share:.1%}) look turned, most probably {marks[0].row}: "
        f"{marks[0].note} (the head is right about {right:.0%} of all pictures)"
    )
    yield Found(
        CODE,
        share_level(share, WARNING_SHARE),
        what,
        data.where(side),
        "look at them, and turn their pixels",
        marks,
        share,
    )


def _told(data: AuditData, seen: NDArray[np.float32]) -> tuple[Floats, float]:
    """How probable each turn of each picture is, [pictures, turns], and the share of pictures told right.

    Args:
        data: For progress and the seed.
        seen: Features of each picture in each turn, [turns, pictures, width].
    """
    from tunesmith.audit.out_of_fold import cross_fitted

    count = seen.shape[1]
    labels = np.repeat(np.arange(TURNS), count)
    # The turns of one picture are in one fold: no head meets what it judges.
    units = np.tile(np.arange(count), TURNS)
    said = cross_fitted(
        seen.reshape(TURNS * count, -1), labels, TURNS, units, data.prepared.source.recipe.run.seed,
        report=lambda done, of: data.progress("which way up pictures are", done, of),
    )  # fmt: skip
    logs = np.log(np.clip(said.astype(np.float64), 1e-9, 1)).reshape(TURNS, count, TURNS)
    shown = np.arange(TURNS)
    # One that lies by j turns looks, shown with k more, like k + j.
    together = np.stack([logs[shown, :, (shown + j) % TURNS].sum(0) for j in range(TURNS)], axis=1)
    right = float((together.argmax(1) == 0).mean())
    return _with_shares(together), right


def _with_shares(logs: Floats) -> Floats:
    """Probabilities by how common each turn is among these pictures, [pictures, turns] as ``logs``; by expectation-
    maximisation, for where many lie a look that is half sure says more.
    """
    expected = np.array([1 - LYING * (TURNS - 1), *[LYING] * (TURNS - 1)])
    shares, chances = expected, logs
    for _ in range(ROUNDS):
        weighed = logs + np.log(shares)
        chances = np.exp(weighed - weighed.max(1, keepdims=True))
        chances /= chances.sum(1, keepdims=True)
        counts = chances.sum(0) + expected * PRIOR_SHARE * len(logs)
        shares = counts / counts.sum()
    return np.asarray(chances)


def _seen(data: AuditData, upright: Sides) -> NDArray[np.float32] | str:
    """Features of every picture in four turns, float32 [turns, pictures, width]; or why there are none."""
    from tunesmith.audit.features import MOST_SECONDS, Computation

    computation = Computation(data)
    total = TURNS * sum(map(len, upright.values()))
    limit = data.wishes.most_seconds or MOST_SECONDS
    turns = []
    computation.use(_turning(computation.task))
    try:
        for turn in range(TURNS):
            sides = {side: [_turned(row, turn) for row in rows] for side, rows in upright.items()}
            if not turn and (seconds := computation.seconds_for(sides, TURNS)) > limit:
                return f"{total:,} turned pictures would take about {seconds / 60:,.1f} minutes (--most-seconds)"
            turns.append(np.concatenate([computation.of(side, rows, f"pictures, turn {turn + 1} of {TURNS}")
                                         for side, rows in sides.items()]))  # fmt: skip
    except UserError as fault:
        return f"{fault.what} ({fault.where})"
    return np.stack(turns)


def _turned(row: Row, turn: int) -> Row:
    """A row whose picture is shown with so many quarter turns; upright it is the row itself."""
    if not turn:
        return row
    return {**row, "content": f"{row.get('content') or row['image']}:turn-{turn}", "upright": row, "turn": turn}


def _turning(task: Any) -> Any:
    """A copy of the task that shows a picture as its row says."""
    made = copy(task)
    read = made.pixels

    def pixels(row: Row, at_least: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        if "turn" not in row:
            return np.asarray(read(row, at_least))
        return np.ascontiguousarray(np.rot90(read(row["upright"], at_least), row["turn"]))

    made.pixels = pixels
    return made
