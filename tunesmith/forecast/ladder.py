"""What would make a recipe fit: changes in the order of least harm, each planned anew together with those before it.

It knows what each change costs, and no device's own rules; it changes no file but the copy that it is asked to write.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.devices import DEVICES, Device
from tunesmith.errors import UserError
from tunesmith.forecast.changes import STEPS, Change, Here
from tunesmith.forecast.replan import Patch, Replanner, settings_of
from tunesmith.prepare import Prepared
from tunesmith.recipe import Source, read_recipe
from tunesmith.recipe.edit import edited
from tunesmith.recipe.resolved import HEADER

if TYPE_CHECKING:
    from tunesmith.data.loader import Loader
    from tunesmith.model.memory import MemoryPlan
    from tunesmith.plan import Plan

MOST_TRACES = 24
"""Plans that may be made before the list is no longer shortened."""

LEAST_SAVING = 0.005
"""Share of the memory that a change must save to be worth a line."""

MOST_DEVICES = 64
WRITTEN = "# Changed by `tunesmith plan --apply`"


@dataclass
class _Rung:
    """A change that was taken, with its milder and harder forms, mildest first."""

    levels: list[Change]
    change: Change


@dataclass
class _Climb:
    """How far the changes have come.

    Args:
        planner: Plans a patch.
        room: Bytes that may be used.
        memory: What the recipe needs with the changes taken so far.
    """

    planner: Replanner
    room: int
    memory: MemoryPlan
    rungs: list[_Rung] = field(default_factory=list)

    @property
    def patch(self) -> dict[str, Any]:
        """All changes so far as one."""
        return _joined(rung.change for rung in self.rungs)

    def fits(self, memory: MemoryPlan) -> bool:
        """Whether this is within the room."""
        return memory.resident <= self.room

    def mildest(self, levels: Sequence[Change], others: Patch) -> Change:
        """The mildest form of a change with which the recipe fits, else the hardest."""
        low, high = 0, len(levels) - 1
        if not self.fits(self.planner.memory({**others, **levels[high].patch})):
            return levels[high]
        while low < high and self.planner.traces < MOST_TRACES:
            middle = (low + high) // 2
            if self.fits(self.planner.memory({**others, **levels[middle].patch})):
                high = middle
            else:
                low = middle + 1
        return levels[high]


def options_of(
    prepared: Prepared,
    plan: Plan,
    *,
    room: int | None = None,
    sets: Mapping[str, Loader] | None = None,
) -> list[dict[str, Any]]:
    """Changes that make a recipe fit, each beside those before it, and at last no more of them than it takes.

    Args:
        prepared: The recipe, its rows and its task.
        plan: What it needs as it is, with the micro-batch that this figure is for.
        room: Bytes that may be used, where they are not the plan's.
        sets: The row sets, where their lengths are known already.

    Returns:
        Nothing where the recipe fits. Else entries ``what``, ``patch`` (all that is changed up to here),
        ``saves_bytes`` (against the recipe as it is), ``allocated_bytes``, ``resident_bytes``, ``costs``, ``fits`` and
        ``kind``: ``change``, ``least`` (only the changes that are needed), ``refused`` (``costs`` says why) or
        ``elsewhere`` (no setting of a recipe: its patch is empty, as a refused one's; these stand at the end).
    """
    before, device, room = plan.memory, plan.target, plan.room if room is None else room
    if room is None or before is None or before.resident <= room:
        return []
    climb = _Climb(Replanner(prepared, plan, sets), room, before)
    entries: list[dict[str, Any]] = []
    for step in STEPS:
        levels = step(Here(climb.planner, climb.patch, climb.memory, device))
        if not levels:
            continue
        try:
            change = climb.mildest(levels, climb.patch)
            memory = climb.planner.memory({**climb.patch, **change.patch})
        except UserError as fault:
            refused = Change(levels[0].what, {}, f"can't be had here: {fault.what}")
            entries.append(_entry(refused, {}, climb.memory, before, kind="refused", fits=False))
            continue
        if climb.memory.resident - memory.resident < LEAST_SAVING * before.resident:
            continue
        climb.memory = memory
        climb.rungs.append(_Rung(levels, change))
        entries.append(_entry(change, climb.patch, memory, before, fits=climb.fits(memory)))
        if climb.fits(memory):
            entries += _least(climb, before)
            break
    return [*entries, *_elsewhere(before, room, device, plan.device)]


def _entry(
    change: Change, patch: Patch, memory: MemoryPlan, before: MemoryPlan, *, fits: bool, kind: str = "change"
) -> dict[str, Any]:
    return {
        "what": change.what,
        "patch": dict(patch),
        "saves_bytes": before.resident - memory.resident,
        "allocated_bytes": memory.allocated,
        "resident_bytes": memory.resident,
        "costs": change.costs,
        "fits": fits,
        "kind": kind,
    }


def _joined(changes: Iterable[Change]) -> dict[str, Any]:
    """Patches as one; the later holds."""
    patch: dict[str, Any] = {}
    for change in changes:
        patch |= change.patch
    return patch


def _least(climb: _Climb, before: MemoryPlan) -> list[dict[str, Any]]:
    """The changes without those that are not needed, the most harmful left out first, each as mild as will do."""
    kept = list(climb.rungs)
    for rung in reversed(climb.rungs[:-1]):
        others = [one for one in kept if one is not rung]
        if climb.planner.traces >= MOST_TRACES:
            break
        try:
            if climb.fits(climb.planner.memory(_joined(one.change for one in others))):
                kept = others
        except UserError:  # what comes after it stands on it
            continue
    for index, rung in reversed(list(enumerate(kept))):
        if len(rung.levels) > 1 and climb.planner.traces < MOST_TRACES:
            beside = _joined(one.change for one in kept if one is not rung)
            # The mildest that fits is known to be no harder than the one that was taken.
            to = rung.levels.index(rung.change) + 1
            kept[index] = _Rung(rung.levels, climb.mildest(rung.levels[:to], beside))
    patch = _joined(rung.change for rung in kept)
    if patch == climb.patch:
        return []
    changes = [rung.change for rung in kept]
    whole = Change(
        "only what is needed: " + ", ".join(change.what for change in changes),
        patch,
        "; ".join(dict.fromkeys(change.costs for change in changes)),
    )
    return [_entry(whole, patch, climb.planner.memory(patch), before, kind="least", fits=True)]


def _elsewhere(before: MemoryPlan, room: int, device: Device | None, kind: str) -> list[dict[str, Any]]:
    """What no recipe can set: more devices, host memory, a larger device; for the recipe as it is."""
    found = []
    state = before.weights + before.gradients + before.optimizer + before.average
    rest = before.resident - state
    count = next((n for n in (2**i for i in range(1, 20)) if n <= MOST_DEVICES and state / n + rest <= room), None)
    on_gpu = device is not None or kind != "cpu"
    if count and on_gpu:
        what = f"sharded over {count} such devices (ZeRO-3, FSDP), bytes on each"
        found.append((what, state - state // count, "no setting of this engine: its processes hold whole copies"))
    if on_gpu and before.optimizer:
        costs = "no setting of this engine; every step waits for the host's memory"
        found.append(("optimizer state in the host's memory", before.optimizer, costs))
    entries = [
        {
            "what": what,
            "patch": {},
            "saves_bytes": saved,
            "allocated_bytes": before.allocated - saved,
            "resident_bytes": before.resident - saved,
            "costs": costs,
            "fits": before.resident - saved <= room,
            "kind": "elsewhere",
        }
        for what, saved, costs in found
    ]
    larger = [one for one in DEVICES.values() if one.usable_bytes >= before.resident]
    if larger:
        best = min(larger, key=lambda one: (one.memory_bytes, -one.bandwidth))
        change = Change(f"a GPU such as {best.name}, as the recipe is", {}, "another machine")
        entries.append(_entry(change, {}, before, before, kind="elsewhere", fits=True))
    return entries


def least_resident(options: Sequence[Mapping[str, Any]]) -> int | None:
    """The fewest bytes that any of the changes brings a recipe to; None where there is no change."""
    return min((one["resident_bytes"] for one in options if one["patch"]), default=None)


def chosen(source: Source, options: Sequence[Mapping[str, Any]], number: int | None = None) -> Mapping[str, Any]:
    """The entry whose patch is to be written.

    Args:
        source: The recipe, for errors.
        options: Of `options_of`.
        number: Which, counted from 1; None: the last that fits.

    Raises:
        UserError: None fits; or the number is no entry's, or of one that no recipe can set.
    """
    if number is not None:
        if not 1 <= number <= len(options):
            fix = f"write a number from 1 to {len(options)}" if options else "leave it out"
            raise UserError(f"--option {number}: the plan lists {len(options)} options", "command line", fix)
        if not options[number - 1]["patch"]:
            what = f"--option {number}: {options[number - 1]['what']} is nothing that a recipe can set here"
            raise UserError(what, "command line", "name an option that shows settings, or none for the one that fits")
        return options[number - 1]
    fitting = [one for one in options if one["patch"] and one["fits"]]
    if not fitting:
        raise fits_nowhere(source, options)
    return fitting[-1]


def fits_nowhere(source: Source, options: Sequence[Mapping[str, Any]], room: int | None = None) -> UserError:
    """What to say where no change makes a recipe fit."""
    least = least_resident(options)
    need = f"with every change listed it still needs {least / 1e6:,.0f} MB" if least else "there is nothing to change"
    had = "" if room is None else f", and {room / 1e6:,.0f} MB may be used"
    larger = [one["what"] for one in options if one["kind"] == "elsewhere" and one["fits"]]
    fix = "take a smaller model, or free memory" + (f", or take {larger[-1]}" if larger else "")
    return UserError(f"plan: nothing makes this recipe fit: {need}{had}", source.where("model"), fix)


def write_patched(source: Source, patch: Patch, *, out: Path | None = None, overrides: Sequence[str] = ()) -> Path:
    """Write a copy of a recipe with settings changed, its comments and order kept where that can be.

    Args:
        source: The recipe as it was read.
        patch: What to change.
        out: Where to; None: beside the recipe, ``NAME.fits.yaml``.
        overrides: ``key=value`` texts of the command line that the plan was made with; they are written, too.

    Returns:
        The file, which can be read as a recipe.

    Raises:
        UserError: The file can't be written, is another than one of ours, or would not find its data.
    """
    place = out or source.path.with_name(f"{source.path.stem}.fits.yaml")
    _check_place(source, place)
    settings = [*overrides, *settings_of(patch)]
    text, kept = edited(source.text, settings, str(source.path))
    notes = [f"{WRITTEN} from {source.path.name}, so that it needs less memory:", *(f"#   {one}" for one in settings)]
    notes += [] if kept else ["# Its comments are in the original: these changes have no place in its layout."]
    first, _, rest = text.partition("\n")
    # Where values came from is only read under this line.
    lines = [first, *notes, rest] if first == HEADER else [*notes, text]
    try:
        place.write_text("\n".join(lines), encoding="utf-8")
    except OSError as fault:
        what = f"the changed recipe can't be written: {fault.strerror}"
        raise UserError(what, str(place), "name a file that can be written with --out") from fault
    read_recipe(place)
    return place


def _check_place(source: Source, place: Path) -> None:
    if place.exists() and (place.is_dir() or WRITTEN not in place.read_text(encoding="utf-8", errors="replace")[:2000]):
        what = "it is a folder" if place.is_dir() else "it was not written by --apply, and would be overwritten"
        raise UserError(f"the changed recipe can't go here: {what}", str(place), "name another file with --out")
    if not place.parent.is_dir():
        raise UserError("there is no such folder", str(place.parent), "make it, or name another file with --out")
    data = source.recipe.data
    beside = source.path.parent
    for name, value in (("data.train", data.train), ("data.eval", data.eval)):
        relative = isinstance(value, str) and not Path(value).expanduser().exists() and (beside / value).exists()
        if relative and place.parent.resolve() != beside.resolve():
            what = f"{name}: {value} is found beside the recipe, and would not be from another folder"
            raise UserError(what, str(place), f"write the copy into {beside}")
