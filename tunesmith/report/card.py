"""The model card: a run directory in, a ``README.md`` out that the Hugging Face hub reads.

It knows the card's metadata schema and the files of a run; it knows no task and no weights.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tunesmith.report import figures
from tunesmith.report.page import write_whole
from tunesmith.report.read import RunRecord, read_run
from tunesmith.report.sections import flatten

Json = dict[str, Any]

METRICS = {
    "macro_f1": "f1",
    "micro_f1": "f1",
    "weighted_f1": "f1",
    "f1": "f1",
    "accuracy": "accuracy",
    "word_error_rate": "wer",
    "character_error_rate": "cer",
    "map": "mean_average_precision",
}
"""Our names of metrics where the hub has another for the same thing; others are passed on as they are."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")


def write_card(run_folder: Path) -> Path:
    """Writes ``README.md`` into the run directory, and beside the weights where ``model/`` is there.

    Raises:
        UserError: The folder holds no run, a file of it is damaged, or it can't be written to.
    """
    text = render(read_run(run_folder))
    if (run_folder / "model").is_dir():
        write_whole(run_folder / "model" / "README.md", text)
    return write_whole(run_folder / "README.md", text)


def render(record: RunRecord) -> str:
    """The card's text: YAML front matter, then Markdown."""
    import yaml
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("tunesmith.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for name in ("signed", "number", "rate", "percent", "parameters", "size"):
        environment.filters[name] = getattr(figures, name)
    environment.filters["md"] = markdown
    environment.filters["fenced"] = fenced
    front = yaml.safe_dump(metadata(record), sort_keys=False, allow_unicode=True, width=1000)
    body = environment.get_template("card.md").render(record=record, **_view(record))
    return f"---\n{front}---\n\n{body}"


def markdown(value: object) -> Any:
    """Words that Markdown and HTML take as words: one line, every character with a meaning escaped."""
    from markupsafe import Markup, escape

    line = " ".join(str(value).split())
    special = re.sub(r"([\\`*_{}\[\]|~#])", r"\\\1", line)
    readable = str(escape(special)).replace("&#39;", "'").replace("&#34;", '"')
    return Markup(readable)  # noqa: S704  (escaped in the line above; quotes are harmless outside attributes)


def fenced(text: str, language: str = "") -> Any:
    """A code block whose fence is longer than any run of backticks inside."""
    from markupsafe import Markup

    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markup(f"{fence}{language}\n{text.rstrip()}\n{fence}")  # noqa: S704  (a fenced block is never read as HTML)


def hub_id(start: Json) -> str | None:
    """The base model's id on the hub, or None where its name is a folder or an installed package's weights."""
    name, folder = str(start.get("name") or ""), str(start.get("folder") or "")
    if not _HUB_ID.fullmatch(name) or ".." in name or "--" in name:
        return None
    # a relative folder looks like an id; weights of the hub lie in a cache under another name
    local = folder.replace("\\", "/").rstrip("/").endswith(name) or Path(name).exists()
    return None if local else name


def metadata(record: RunRecord) -> Json:
    """The front matter, in the schema of the Hugging Face hub; what is not known is left out, not guessed."""
    environment = record.environment or {}
    start = environment.get("base") or {}
    adapter = ((record.recipe or {}).get("values") or {}).get("adapter")
    front: Json = {"library_name": "peft" if adapter else "transformers"}
    pipeline = start.get("pipeline_tag")
    if pipeline:
        front["pipeline_tag"] = str(pipeline)
    if start.get("license"):
        front["license"] = str(start["license"]).lower()
    origin = hub_id(start)
    if origin:
        front["base_model"] = origin
        front["base_model_relation"] = "adapter" if adapter else "finetune"
    front["tags"] = list(dict.fromkeys(tag for tag in ("tunesmith", record.task) if tag))
    if record.scores:
        results = _results(record, str(pipeline or record.task or "other"))
        front["metrics"] = list(dict.fromkeys(one["type"] for one in results[0]["metrics"]))
        front["model-index"] = [{"name": record.name, "results": results}]
    return front


def _results(record: RunRecord, task: str) -> list[Json]:
    scores = record.scores or {}
    headline = str(scores["metric"])
    tuned = {headline: scores["tuned"], **((scores.get("all") or {}).get("tuned") or {})}
    metrics = [
        {"type": METRICS.get(name.replace("-", "_").lower(), name), "name": name, "value": float(value)}
        for name, value in tuned.items()
        if figures.as_number(value) is not None
    ]
    source = _source(record)
    name = str(source.get("path") or "held-out rows")
    return [
        {
            "task": {"type": task, "name": task.replace("-", " ")},
            "dataset": {
                "type": re.sub(r"[^\w.-]+", "-", Path(name).stem).strip("-") or "held-out",
                "name": Path(name).name,
                "split": "held-out",
            },
            "metrics": metrics or [{"type": headline, "name": headline, "value": None}],
        }
    ]


def _source(record: RunRecord) -> Json:
    """Where the held-out rows come from: a source of their own, or a share of the training rows."""
    data = (record.environment or {}).get("data") or {}
    held = data.get("eval") or {}
    source: Json = held if held.get("path") else data.get("train") or {}
    return source


def _view(record: RunRecord) -> Json:
    environment = record.environment or {}
    scores = record.scores
    decimals = 3
    if scores and all(figures.as_number(end) is not None for end in scores["interval"]):
        decimals = figures.decimals_for(scores["interval"][1] - scores["interval"][0])
    stages = []
    for number, plan in enumerate((record.plan or {}).get("stages") or []):
        told = (scores or {}).get("stages") or []
        trained = [group for group in plan.get("groups") or [] if group.get("trains")]
        after = told[number].get("score") if number < len(told) else None
        stages.append({"plan": plan, "groups": ", ".join(str(one.get("group")) for one in trained), "after": after})
    recipe = record.recipe_text
    if recipe is None and record.recipe:
        recipe = "\n".join(f"{name}: {figures.plain(value)}" for name, value in flatten(record.recipe["values"]))
    return {
        "score": lambda value: figures.score(value, decimals),
        "signed": lambda value: figures.signed(value, decimals),
        "start": environment.get("base") or {},
        "data": environment.get("data") or {},
        "tunesmith": environment.get("tunesmith"),
        "scores": scores,
        "stages": stages,
        "findings": (record.audit or {}).get("findings") or [],
        "audited": record.audit is not None,
        "rows": (record.audit or {}).get("rows") or {},
        "receipts": record.receipts or [],
        "recipe": recipe,
        "finished": record.status == "finished",
    }
