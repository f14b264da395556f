"""From a recipe to rows, facts and findings: what every verb does before it touches a model.

The cheap faults come first: a wrong setting before a file is read, a fault in the data before weights are fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tunesmith.data.audit import BEFORE_WEIGHTS, NEVER_ACCEPTED, apply_accept, audit_rows
from tunesmith.data.source import read_rows
from tunesmith.data.split import split_rows
from tunesmith.data.store import ReadReport, RowStore
from tunesmith.errors import EXIT_FINDINGS, UserError
from tunesmith.model.weights import Weights, resolve
from tunesmith.recipe import DataSection, Source, resolve_options
from tunesmith.registry import find_task
from tunesmith.task import Task
from tunesmith.types import Facts, Finding, Preview, Row, RowShape

Say = Callable[[str], None]
Progress = Callable[[str, int, int], None]
Rows = Iterable[Mapping[str, Any]]


def _silent(_what: str, _done: int, _total: int) -> None:
    """Tell nobody."""


@dataclass
class Prepared:
    """Rows, facts and findings of a recipe.

    Args:
        source: The recipe, with the task's options resolved.
        task: With its facts.
        train, validation, held_out: Rows; ``validation`` may be empty.
        learning: ``train`` and ``validation`` together.
        reports: How each source was read.
        digests: Content digest of each source.
        further: Training rows that the task makes for itself; they are among ``train``.
        lines: What was decided about the data, for a person.
        findings: Of the audit, after ``audit.accept``.
    """

    source: Source
    task: Task
    train: Sequence[Row]
    validation: Sequence[Row]
    learning: Sequence[Row]
    held_out: Sequence[Row]
    reports: dict[str, ReadReport]
    digests: dict[str, str]
    lines: list[str]
    findings: list[Finding] = field(default_factory=list)
    further: Sequence[Row] = ()
    unused_accepts: list[str] = field(default_factory=list)
    no_weights: str | None = None
    """Why there are no weights, where the rows were prepared without."""

    @property
    def weights(self) -> Weights:
        """The pretrained weights."""
        return self.task.source

    def previews(self, count: int = 3) -> list[Preview]:
        """A few training rows as the model will read them; none where an error came before the weights were found."""
        if not self.task.facts.values:
            return []
        step = max(1, len(self.train) // count)
        return self.task.preview([self.train[i] for i in range(0, len(self.train), step)][:count])

    def errors(self) -> list[Finding]:
        """Findings that stop a run."""
        return [finding for finding in self.findings if finding.level == "error"]

    def audit_json(self) -> dict[str, Any]:
        """The audit as the run directory keeps it."""
        return {
            "findings": [finding.to_json() for finding in self.findings],
            "previews": [preview.to_json() for preview in self.previews()],
            "accepted": dict(self.source.recipe.audit.accept),
            "rows": {
                "train": len(self.train),
                "validation": len(self.validation),
                "eval": len(self.held_out),
                "broken": sum(report.broken_count for report in self.reports.values()),
            },
        }

    def raise_errors(self) -> None:
        """Stop where the audit found an error.

        Raises:
            UserError: With every error, its rows and its fix; exit code 1.
        """
        errors = self.errors()
        if not errors:
            return
        first, rest = errors[0], errors[1:]
        more = "".join(f"\n  also: {f.code}: {f.what}\n    --> {_where(f)}\n    fix: {f.fix}" for f in rest)
        accepted = f", or accept it in the recipe with a reason: audit: {{accept: {{{first.code}: ...}}}}"
        fix = first.fix + ("" if first.code in NEVER_ACCEPTED else accepted)
        raise UserError(f"audit: {first.code}: {first.what}", _where(first), fix + more, code=EXIT_FINDINGS)


def _where(finding: Finding) -> str:
    return f"{finding.where}{': ' + ', '.join(finding.rows) if finding.rows else ''}"


def prepare(
    source: Source,
    *,
    rows: Rows | None = None,
    held_out: Rows | None = None,
    say: Say = lambda _line: None,
    progress: Progress = _silent,
    shape_only: bool = False,
    weights_needed: bool = True,
    despite_errors: bool = False,
) -> Prepared:
    """Read, split, audit and survey the data of a recipe, and find its weights.

    Args:
        source: The recipe.
        rows: Training rows in place of ``data.train``.
        held_out: Held-out rows in place of ``data.eval``.
        say: Receives lines for a person.
        progress: Receives what is being done, how much is done, and of how much.
        shape_only: Fetch of the model only what tells its shape, for a plan; the weights may be missing.
        weights_needed: Whether missing weights are a fault; where not, ``no_weights`` says why there are none, and the
            facts and the task's own findings are left out.
        despite_errors: Go on to the weights where the audit finds errors that do not make the rows useless: the errors
            are what the caller wants to know more of.

    Raises:
        UserError: A setting, a file, a row or the weights are at fault. Findings of the audit do not raise here.
    """
    prepared = read_sides(source, rows=rows, held_out=held_out, progress=progress)
    source, kind = prepared.source, type(prepared.task)
    for line in prepared.lines:
        say(line)
    _audit(prepared, kind)
    if any(not despite_errors or found.code in BEFORE_WEIGHTS for found in prepared.errors()):
        return prepared
    try:
        prepared.task.source = resolve(source.recipe.model, where=source.where("model"), shape_only=shape_only)
    except UserError as fault:
        if weights_needed:
            raise
        prepared.no_weights = fault.what
        return prepared
    prepared.task.facts = prepared.task.survey(prepared.train)
    for line in prepared.task.facts.lines:
        say(line)
    prepared.further = prepared.task.further_rows()
    if prepared.further:
        say(f"{len(prepared.further):,} further rows that the task makes are learned with the others")
        prepared.train = [*prepared.train, *prepared.further]
    _check_classes(prepared)
    more = list(prepared.task.audit(prepared.learning, prepared.held_out))
    prepared.findings = _accepted(prepared, [*prepared.findings, *more])
    for code in prepared.unused_accepts:
        say(f"audit.accept: nothing was found under {code!r}, so there was nothing to accept")
    return prepared


def read_sides(
    source: Source, *, rows: Rows | None = None, held_out: Rows | None = None, progress: Progress = _silent
) -> Prepared:
    """Read and split the rows of a recipe; no weights, no facts and no findings.

    Raises:
        UserError: A setting, a file or a row is at fault.
    """
    kind = find_task(source.recipe.task, source.where("task"))
    source = _with_default_adapter(resolve_options(source, kind.Options), kind)
    _check_columns(source, kind)
    return _read_and_split(source, kind, rows, held_out, progress)


def _with_default_adapter(source: Source, kind: type[Task]) -> Source:
    """The task's own adapter where the recipe names neither adapter nor stages; ``adapter: null`` names one: none."""
    written = [key for key, origin in source.origins.items() if origin != "default"]
    if source.recipe.stages or any(key.split(".")[0] == "adapter" for key in written):
        return source
    adapter = kind.default_adapter(kind.Options.model_validate(source.recipe.options))
    if adapter is None:
        return source
    origins = dict(source.origins) | {f"adapter.{name}": "auto" for name in type(adapter).model_fields}
    return replace(source, recipe=source.recipe.model_copy(update={"adapter": adapter}), origins=origins)


def _check_columns(source: Source, kind: type[Task]) -> None:
    from difflib import get_close_matches

    shaped = kind.row_shape(kind.Options.model_validate(source.recipe.options)) is not None
    for ours in source.recipe.data.columns:
        if ours not in kind.columns and ours != "id" and not shaped:
            near = get_close_matches(ours, kind.columns, n=1)
            fix = f"write '{near[0]}'" if near else f"its columns are {', '.join(kind.columns)}"
            raise source.error(("data", "columns", ours), f"data.columns: task {kind.name} has no column {ours!r}", fix)


def _read_and_split(
    source: Source, kind: type[Task], rows: Rows | None, held_out: Rows | None, progress: Progress
) -> Prepared:
    data, seed = source.recipe.data, source.recipe.run.seed
    options = kind.Options.model_validate(source.recipe.options)
    shape = kind.row_shape(options)
    first = _read(source, rows if rows is not None else data.train, "train", progress, shape)
    stores, lines, shapes = {"train": first}, list(first.report.lines()), [shape]
    inputs = kind.identity or [name for name in kind.columns if name != kind.target]
    train: Sequence[int] = range(len(first))
    if held_out is not None or isinstance(data.eval, str):
        place = held_out if held_out is not None else str(data.eval)
        shapes.append(kind.row_shape(options))
        other = _read(source, place, "eval", progress, shapes[-1])
        stores["eval"] = other
        lines += other.report.lines()
        judged: Sequence[Row] = other
    else:
        split = _split(source, first, float(data.eval), seed, inputs, kind.class_column())
        train, judged = split.train, first.take(split.eval)
        lines.append("; ".join(split.lines))
    learn: Sequence[Row] = first.take(train)
    validation: Sequence[Row]
    learning, validation = learn, ()
    if data.validation > 0 and len(learn) >= LEAST_ROWS_FOR_VALIDATION:
        # Another seed: the rows that pick the best weights are no continuation of the held-out ones.
        chosen = _split(source, learn, data.validation, seed + 1, inputs, kind.class_column())
        lines.append(f"validation, which picks the best weights: {'; '.join(chosen.lines)}")
        validation = first.take([train[i] for i in chosen.eval])
        learn = first.take([train[i] for i in chosen.train])
    elif data.validation > 0:
        lines.append(
            f"validation: none, {len(learn)} training rows are too few to spare any; the last weights are kept"
        )
    nowhere = Weights(source.recipe.model.name, Path(), "folder", None, None, ())
    task = kind(options, nowhere, Facts())
    task.declared = tuple(getattr(shape, "classes", None) or ())
    beside = [folder for one in shapes for folder in getattr(one, "folders", ())]
    task.folders = tuple(dict.fromkeys([*_folders(source), *beside]))
    reports = {name: store.report for name, store in stores.items()}
    digests = {name: store.digest for name, store in stores.items()}
    return Prepared(source, task, learn, validation, learning, judged, reports, digests, lines)


LEAST_ROWS_FOR_VALIDATION = 50


def _split(source: Source, rows: Any, share: float, seed: int, inputs: Sequence[str], target: str | None) -> Any:
    data = source.recipe.data
    return split_rows(
        rows,
        share=share,
        seed=seed,
        inputs=inputs,
        target=target,
        group_by=data.group_by,
        stratify=data.stratify,
    )


def _folders(source: Source) -> tuple[Path, ...]:
    """Where relative paths inside rows start from: the folder of each source, then this one."""
    data = source.recipe.data
    named = [Path(place).expanduser() for place in (data.train, data.eval) if isinstance(place, str)]
    found = [(_start(source, str(place)) or Path()) / place for place in named]
    return tuple(dict.fromkeys([*(p if p.is_dir() else p.parent for p in found if p.exists()), Path()]))


def _start(source: Source, place: str) -> Path | None:
    """The recipe's folder, where a source is not found from here but from there."""
    beside = source.path.parent / place
    return source.path.parent if not Path(place).expanduser().exists() and beside.exists() else None


def _read(source: Source, place: str | Rows, which: str, progress: Progress, shape: RowShape | None = None) -> RowStore:
    data: DataSection = source.recipe.data
    start = _start(source, place) if isinstance(place, str) else None
    return read_rows(
        place,
        format=data.format,
        columns=data.columns,
        broken_rows=data.broken_rows,
        limit=data.limit,
        name=data.name,
        split=data.split if which == "train" else data.eval_split or _eval_split(source),
        relative_to=start,
        on_progress=lambda done, total: progress(f"reading {which} rows", done, total),
        shape=shape,
    )


def _eval_split(source: Source) -> str | None:
    """The split to hold out where nothing names one: ``test``, if the held-out source is the training source."""
    return "test" if source.recipe.data.eval == source.recipe.data.train else None


def _audit(prepared: Prepared, kind: type[Task]) -> None:
    data = prepared.source.recipe.data
    explicit = "eval" in prepared.reports
    found = audit_rows(
        prepared.learning,
        prepared.held_out,
        columns=kind.columns,
        target=kind.class_column(),
        source=_label_of(data.train, prepared, "train"),
        held_out_source=_label_of(str(data.eval), prepared, "eval") if explicit else data.train,
        explicit_eval=explicit,
        identity=kind.identity,
    )
    prepared.findings = _accepted(prepared, [finding for finding in found if finding.code not in kind.spared])


def _check_classes(prepared: Prepared) -> None:
    """Two things that no accepted finding can make learnable: a single class, and a held-out label without an output.

    Raises:
        UserError: One of them is so.
    """
    known, source = prepared.task.facts.values.get("labels"), prepared.source
    if prepared.task.class_column() is None or not isinstance(known, list):
        return
    place = source.recipe.data.eval if "eval" in prepared.reports else source.recipe.data.train
    if len(known) < 2:
        raise UserError(
            f"there is one class only ({', '.join(map(repr, known))}), and a classifier needs two to tell apart",
            source.recipe.data.train,
            "add rows of at least one other class, or name the classes in options.labels",
        )
    check_known_labels(prepared.task, prepared.held_out, str(place))


def check_known_labels(task: Task, rows: Sequence[Row], place: str) -> None:
    """Every label must be one that the task learned, where it learned labels.

    Raises:
        UserError: Some are not; the message names them and the first row.
    """
    known, column = task.facts.values.get("labels"), task.class_column()
    if column is None or not isinstance(known, list):
        return
    labels = set(map(str, known))
    strange = [row for row in rows if str(row.get(column)) not in labels]
    if strange:
        names = ", ".join(sorted({repr(str(row.get(column))) for row in strange})[:5])
        raise UserError(
            f"the model does not know the labels of {len(strange):,} of {len(rows):,} rows: {names}",
            f"{place}, row {strange[0]['id']}",
            f"leave these rows out, or name their labels as the model does: {', '.join(map(str, known[:10]))}",
        )


def _label_of(written: str, prepared: Prepared, which: str) -> str:
    paths = prepared.reports[which].paths
    return paths[0] if len(paths) == 1 else written


def _accepted(prepared: Prepared, found: Sequence[Finding]) -> list[Finding]:
    """Apply ``audit.accept``, aloud where a code matched nothing."""
    accept = prepared.source.recipe.audit.accept
    try:
        done, unused = apply_accept(found, accept, known=prepared.task.finding_codes)
    except UserError as fault:
        raise prepared.source.error(tuple(fault.where.split(".")), fault.what, fault.fix) from fault
    prepared.unused_accepts = unused
    return done
