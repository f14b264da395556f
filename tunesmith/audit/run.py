"""The audit of a recipe's data: every check that its rows are fit for, one list of findings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module

from tunesmith.audit.data import AuditData
from tunesmith.audit.found import LEVELS, AuditReport, Found, Skipped, View
from tunesmith.audit.opening import left_out
from tunesmith.audit.places import located
from tunesmith.data.audit import KNOWN_CODES
from tunesmith.data.deep_codes import DEEP_CODES
from tunesmith.errors import UserError

Says = Found | View | Skipped


@dataclass(frozen=True)
class Check:
    """One look at the data.

    Args:
        name: For ``--only`` and ``--skip``, and in ``seconds``.
        path: ``module:function``; the function takes `AuditData` and yields findings, views and what it left out.
        fit: What the task's ``audited`` must name, one of them; empty: any rows.
        about: What it looks for, for a person.
    """

    name: str
    path: str
    fit: tuple[str, ...]
    about: str

    def run(self, data: AuditData) -> Iterable[Says]:
        """What it has to say."""
        module, _, function = self.path.partition(":")
        made: Callable[[AuditData], Iterable[Says]] = getattr(import_module(module), function)
        return made(data)


CHECKS: tuple[Check, ...] = (
    Check("columns", "tunesmith.audit.columns:column_findings", (), "empty and constant columns, the amount of data"),
    Check("doubles", "tunesmith.audit.doubles:double_findings", (), "exact and near duplicates, leaks between splits"),
    Check("groups", "tunesmith.audit.groups:group_findings", (), "one speaker, video or file on both sides"),
    Check("drift", "tunesmith.audit.drift:drift_findings", (), "held-out rows unlike the training rows; outliers"),
    Check("labels", "tunesmith.audit.labels:label_findings", ("labels", "boxes", "masks"), "labels that are wrong"),
    Check("text", "tunesmith.audit.text:text_findings", ("text",), "damaged, odd, foreign, secret or personal text"),
    Check("answers", "tunesmith.audit.answers:answer_findings", ("answers",), "refusals, copies, contradictions"),
    Check("overlap", "tunesmith.audit.overlap:overlap_findings", ("text",), "overlap with evaluation sets"),
    Check(
        "pictures", "tunesmith.audit.pictures:picture_findings", ("pictures",), "dark, blurred, odd pictures; variety"
    ),
    Check("turned", "tunesmith.audit.lying:lying_findings", ("pictures",), "pictures that lie on a side"),
    Check("boxes", "tunesmith.audit.boxes:box_findings", ("boxes", "masks"), "boxes and masks out of place"),
    Check("captions", "tunesmith.audit.captions:caption_findings", ("captions",), "captions that do not match"),
    Check("audio", "tunesmith.audit.audio:audio_findings", ("audio",), "silent, clipped, noisy recordings; variety"),
    Check(
        "transcripts", "tunesmith.audit.transcripts:transcript_findings", ("transcripts",), "transcripts of other sound"
    ),
)

SAME = {
    "picture-leak": "leak",
    "near-picture-leak": "near-leak",
    "repeated-picture": "duplicate-rows",
    "audio-in-both-splits": "leak",
    "near-audio-leak": "near-leak",
    "repeated-audio": "duplicate-rows",
}
"""Findings of every run by the name that the same thing has for all kinds of rows: one of the two is enough."""


def audit(
    data: AuditData, *, only: Sequence[str] = (), skip: Sequence[str] = (), say: Callable[[str], None] = lambda _l: None
) -> AuditReport:
    """Run the checks that the rows are fit for.

    Args:
        data: Rows and task.
        only: Names of checks; empty: all.
        skip: Names of checks to leave out.
        say: Receives what is done now.

    Raises:
        UserError: A name is no check's.
    """
    chosen = chosen_checks(only, skip)
    accept = data.prepared.source.recipe.audit.accept
    report = AuditReport(
        data.prepared.source.recipe.data.train,
        {side: len(rows) for side, rows in data.sides.items()},
        [Found.of(finding) for finding in data.prepared.findings],
        skipped=left_out(data),
        accepted=dict(accept),
    )
    known = {*DEEP_CODES, *KNOWN_CODES, *data.task.finding_codes}
    for check in chosen:
        if check.fit and not any(map(data.has, check.fit)):
            continue
        began = time.perf_counter()
        for said in check.run(data):
            if isinstance(said, Found):
                if said.code not in known:
                    raise LookupError(f"{check.name}: {said.code} is not in DEEP_CODES")
                # The check with all rows stands in for the one that saw a few.
                report.findings = [f for f in report.findings if f.code != said.code or f.marks or f.effect]
                report.findings.append(_accepted(said, accept))
            elif isinstance(said, View):
                report.views.append(said)
            else:
                report.skipped.append(said)
        report.seconds[check.name] = round(time.perf_counter() - began, 3)
        say(f"{check.name}: {report.seconds[check.name]:.1f} s")
    found = {one.code for one in report.findings}
    for code in accept if not only and not skip else ():
        if code in DEEP_CODES and code not in found:
            say(f"audit.accept: nothing was found under {code!r}, so there was nothing to accept")
    report.findings = located(data, _once(report.findings))
    report.findings.sort(key=lambda found: LEVELS.index(found.level))
    return report


def _once(findings: Sequence[Found]) -> list[Found]:
    """Without what is told under another name with all its rows; the name for this kind of rows comes first."""
    told = {found.code for found in findings if found.marks}
    own = {general for code, general in SAME.items() if code in told}
    return [f for f in findings if f.code not in own and (f.marks or SAME.get(f.code) not in told)]


def _accepted(found: Found, accept: dict[str, str]) -> Found:
    code = next((one for one in (found.code, *(a for a, b in SAME.items() if b == found.code)) if one in accept), None)
    if code is None or found.level == "note":
        return found
    return replace(found, level="note", what=f"{found.what} (accepted: {accept[code]})")


def chosen_checks(only: Sequence[str], skip: Sequence[str]) -> list[Check]:
    """The checks by their names.

    Raises:
        UserError: A name is no check's.
    """
    from difflib import get_close_matches

    names = [check.name for check in CHECKS]
    for name in (*only, *skip):
        if name not in names:
            near = get_close_matches(name, names, n=1)
            said = f"; did you mean {near[0]}?" if near else ""
            raise UserError(f"there is no check {name!r}{said}", "command line", f"write some of {', '.join(names)}")
    return [check for check in CHECKS if (not only or check.name in only) and check.name not in skip]
