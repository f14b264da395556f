"""What a run writes down before it begins, and what it checks before it goes on: recipe, data, plan, environment."""

from __future__ import annotations

import platform
import shutil
import time
from typing import TYPE_CHECKING, Any

from tunesmith.errors import UserError
from tunesmith.machine import describe, package_versions
from tunesmith.recipe import Recipe, Source, recipe_digest, resolved_yaml
from tunesmith.recipe.resolved import difference
from tunesmith.run import Run, write_whole

if TYPE_CHECKING:
    from tunesmith.plan import Plan
    from tunesmith.prepare import Prepared

PACKAGES = ("torch", "transformers", "accelerate", "peft", "safetensors", "tokenizers", "numpy", "tunesmith")


DRAFTS = (".*.tmp", ".probe.*", ".report.html.*", ".README.md.*")
"""Names of what is being written, before it gets the name that stands for a whole file."""


def check_same_recipe(run: Run, source: Source) -> None:
    """A run goes on only with the recipe it began with.

    Raises:
        UserError: It began with another one; the message names the differences.
    """
    if not run.recipe_json.exists():
        return
    stored = run.read_json("recipe.json")
    if stored["written_digest"] == recipe_digest(source.recipe):
        return
    before = Recipe.model_validate(stored["written"])
    lines = difference(before, source.recipe)
    shown = "; ".join(lines[:6]) + (f"; and {len(lines) - 6} more" if len(lines) > 6 else "")
    raise UserError(
        f"this run belongs to another recipe: {shown}",
        str(run.folder),
        "give this one a name of its own (run.name=...), or put the old run aside with --fresh",
    )


def check_same_data(run: Run, prepared: Prepared) -> None:
    """A run goes on only with the rows it began with.

    Raises:
        UserError: They have changed since.
    """
    if not run.environment.exists():
        return
    stored = run.read_json("environment.json")["digests"]
    changed = [name for name, digest in prepared.digests.items() if stored.get(name) != digest]
    if changed:
        raise UserError(
            f"the {changed[0]} rows are not those that this run began with",
            str(run.folder),
            "put the old rows back to go on, or start anew with --fresh",
        )


def rewind_events(run: Run, count: int) -> int:
    """Cut the log back to its first ``count`` whole lines, before a resume logs the rest again; how many it has now."""
    run.close()
    if not run.events.exists():
        return 0
    lines = run.events.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines[:count] if line.endswith(b"\n")]
    if len(kept) < len(lines):
        write_whole(run.events, b"".join(kept))
    return len(kept)


def sweep_drafts(run: Run) -> None:
    """Remove what killed processes left half written; only for the one that holds the run."""
    for pattern in DRAFTS:
        for draft in run.folder.glob(pattern):
            if draft.is_dir():
                shutil.rmtree(draft)
            else:
                draft.unlink()


def write_beginnings(run: Run, source: Source, prepared: Prepared, plan: Plan) -> None:
    """Write recipe, facts, plan and environment; the environment only once, when the run begins."""
    recipe = prepared.source.recipe
    origins = dict(prepared.source.origins)
    if not recipe.stages:
        recipe = recipe.model_copy(update={"stages": plan.resolved})
        for i, stage in enumerate(plan.resolved):
            origins |= {f"stages.{i}.{name}": "auto" for name in type(stage).model_fields}
    run.write_text("recipe.yaml", resolved_yaml(recipe, origins))
    values = {
        "values": recipe.model_dump(mode="json"),
        "origins": origins,
        "digest": recipe_digest(recipe),
        "written": source.recipe.model_dump(mode="json"),
        "written_digest": recipe_digest(source.recipe),
        "file": source.path.name,
    }
    run.write_json("recipe.json", values)
    run.write_json("facts.json", {"values": prepared.task.facts.values, "lines": list(prepared.task.facts.lines)})
    run.write_json("plan.json", plan.to_json())
    if not run.environment.exists():
        run.write_json("environment.json", _environment(run, prepared, plan))


def _environment(run: Run, prepared: Prepared, plan: Plan) -> dict[str, Any]:
    from tunesmith import __version__
    from tunesmith.model.weights import weights_digest

    recipe, weights = prepared.source.recipe, prepared.weights
    reports = prepared.reports
    data: dict[str, Any] = {
        name: {
            "path": ", ".join(report.paths[:3]) or "rows",
            "format": report.format,
            "rows": report.rows,
            "digest": prepared.digests[name],
            "bytes": report.bytes,
        }
        for name, report in reports.items()
    }
    data.setdefault("eval", {"share": recipe.data.eval, "rows": len(prepared.held_out)})
    data["split"] = prepared.lines
    return {
        "tunesmith": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "packages": package_versions(PACKAGES),
        "machine": {**describe(run.folder).to_json(), "device": plan.device},
        "seed": recipe.run.seed,
        "task": prepared.task.name,
        "data": data,
        "digests": prepared.digests,
        "base": {
            "name": weights.name,
            "folder": str(weights.folder),
            "origin": weights.origin,
            "revision": weights.revision,
            "digest": weights_digest(weights),
            "license": weights.license,
            "remote_code": weights.remote_code,
            "pipeline_tag": prepared.task.pipeline_tag,
            "load_snippet": prepared.task.load_snippet("model"),
        },
    }
