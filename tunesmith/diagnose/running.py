"""All probes of one model on the same items, made to evidence. It knows no rule, no page and no command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import get_close_matches

from tunesmith.asking.kept import Remembered
from tunesmith.asking.model import Model, Progress
from tunesmith.diagnose.agreement import disagreement, misfits_said
from tunesmith.diagnose.facts import NAME as FACTS
from tunesmith.diagnose.facts import Facts, known_facts
from tunesmith.diagnose.form import Judge
from tunesmith.diagnose.found import LEFT_OUT, Evidence, Item, NotTested
from tunesmith.diagnose.inquiry import Inquiry, Pilot, Tune, Wishes, silent
from tunesmith.diagnose.items import few_items
from tunesmith.diagnose.passages import Passages
from tunesmith.diagnose.probes import ASKED
from tunesmith.diagnose.wanted import read_wanted
from tunesmith.errors import UserError

__all__ = ["Pilot", "Tune", "Wishes", "gather"]

CONTROLS = ("as-is", "shuffled", "majority")
"""They cost nothing beside ``as-is``, and nothing can be said without them."""


def gather(
    items: Sequence[Item],
    model: Model,
    wishes: Wishes | None = None,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda _line: None,
) -> Evidence:
    """Ask the items in every way that can be asked here.

    With ``wishes.folder`` every reply is kept there by model and prompt: stopped by Ctrl-C, the same call goes on where
    it was, and loses no more than the replies that were asked together.

    Args:
        items: At least one, with unique ids.
        model: The model that is diagnosed.
        wishes: What may be used.
        progress: Receives what is being done, how much is done, and of how much.
        say: Receives lines for a person.

    Raises:
        UserError: A probe that is named does not exist, a reference is longer than the model's context, or references
            are wrong by what answers are judged by.
    """
    wishes = wishes or Wishes()
    _check(items, wishes)
    judge = Judge(wishes.wanted or read_wanted(items))
    notes = [*misfits_said(items, judge), *(str(note) for note in getattr(model, "notes", ()))]
    opened: list[Remembered] = []
    inquiry = Inquiry(items, _kept(model, wishes, opened), _with_kept(wishes, opened), judge, progress, notes=notes)
    try:
        return _gathered(inquiry, say)
    finally:
        for one in opened:
            one.close()


def _check(items: Sequence[Item], wishes: Wishes) -> None:
    known = [*ASKED, FACTS]
    for name in (*wishes.only, *wishes.skip):
        if name not in known:
            near = get_close_matches(name, known, n=1)
            fix = f"write '{near[0]}'" if near else f"write one of {', '.join(known)}"
            raise UserError(f"there is no probe {name!r}", "command line", fix)
    if not items:
        raise UserError("there are no items", "--items", "give at least one question with its answer")


def _kept(model: Model, wishes: Wishes, opened: list[Remembered]) -> Model:
    if wishes.folder is None or isinstance(model, Remembered):
        return model
    opened.append(Remembered(model, wishes.folder))
    return opened[-1]


def _with_kept(wishes: Wishes, opened: list[Remembered]) -> Wishes:
    """The same wishes, with replies of other models kept, too."""
    changed = wishes
    if wishes.larger is not None:
        changed = replace(changed, larger=_kept(wishes.larger, wishes, opened))
    tune = wishes.tune
    if tune is not None:

        def kept(rows: Sequence[Item], items: Sequence[Item], share: float) -> Pilot:
            made = tune(rows, items, share)
            return replace(made, model=_kept(made.model, wishes, opened))

        changed = replace(changed, tune=kept)
    return changed


def _gathered(inquiry: Inquiry, say: Callable[[str], None]) -> Evidence:
    wishes, items = inquiry.wishes, inquiry.items
    passages = Passages(inquiry)
    _note_beginnings(inquiry, say)
    not_tested: list[NotTested] = []
    facts: Facts | None = None
    for name, ask in ASKED.items():
        if name == "larger":
            facts = _facts(inquiry, not_tested)
        if not _is_wished(name, wishes):
            not_tested.append(NotTested(name, LEFT_OUT))
            continue
        found = ask(inquiry, passages)
        if isinstance(found, NotTested):
            not_tested.append(found)
            continue
        inquiry.probes[name] = found
        say(_line(inquiry, name))
        if name == "as-is" and (style := _fit_style(inquiry)):
            inquiry.notes.append(style)
            say(style)
    against, compared = disagreement(items, wishes.train, inquiry.wanted)
    if compared:
        inquiry.notes.append(
            f"{compared:,} items have references that can be compared, and {len(against):,} of them contradict each "
            "other"
        )
    return Evidence(
        items=tuple(items),
        probes=inquiry.probes,
        not_tested=tuple(not_tested),
        disagreement=against,
        unknown_facts=facts.unknown if facts else None,
        format_wanted=inquiry.wanted.said,
        facts=facts.levels if facts else {},
        notes=tuple(inquiry.notes),
        compared=compared,
    )


def _note_beginnings(inquiry: Inquiry, say: Callable[[str], None]) -> None:
    wishes = inquiry.wishes
    inquiry.notes += [few_items(inquiry.items)] if few_items(inquiry.items) else []
    left = len(wishes.train) - len(inquiry.train)
    if left:
        inquiry.notes.append(
            f"{left:,} of {len(wishes.train):,} training rows ask what an item asks; they are not used"
        )
    if not wishes.train:
        inquiry.notes.append("examples in the prompt are other items, since there are no training rows")
    say(inquiry.wanted.said)
    for note in inquiry.notes:
        say(note)


def _is_wished(name: str, wishes: Wishes) -> bool:
    return name in CONTROLS or (name not in wishes.skip and (not wishes.only or name in wishes.only))


def _facts(inquiry: Inquiry, not_tested: list[NotTested]) -> Facts | None:
    if not _is_wished(FACTS, inquiry.wishes):
        not_tested.append(NotTested(FACTS, LEFT_OUT))
        return None
    found = known_facts(inquiry)
    if isinstance(found, NotTested):
        not_tested.append(found)
        return None
    unknown, asked = found.unknown
    inquiry.notes.append(
        f"{unknown:,} of {asked:,} {found.of} ask for what the model never says in {inquiry.wishes.fact_prompts} "
        f"few-shot prompts ({found.calls:,} calls)"
    )
    return found


def _fit_style(inquiry: Inquiry) -> str:
    """Fit the classifier of style on what the model says as it is, and judge that anew."""
    probe = inquiry.probes["as-is"]
    too_long = set(probe.extra.get("too_long", ()))
    asked = [item for item in inquiry.items if item.id in probe.outputs and item.id not in too_long]
    answers = [row.references[0] for row in inquiry.train]
    said = inquiry.judge.fit_style(asked, [probe.outputs[item.id] for item in asked], answers)
    judged = {**probe.judged, **{item.id: inquiry.judge(item, probe.outputs[item.id]) for item in asked}}
    inquiry.probes["as-is"] = replace(probe, judged=judged)
    return said


def _line(inquiry: Inquiry, name: str) -> str:
    judged = list(inquiry.probes[name].judged.values())
    content, form, right = (sum(getattr(one, what) for one in judged) for what in ("content", "form", "right"))
    return f"{name}: {right} of {len(judged)} right (content {content}, form {form})"
