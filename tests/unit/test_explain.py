"""What a setting means in words, and the JSON Schema that editors read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from tunesmith.errors import UserError
from tunesmith.recipe.explain import explain, render
from tunesmith.recipe.schema import recipe_schema, schema_text, write_schema
from tunesmith.registry import find_task, task_names

CHECKED_IN = Path(__file__).parents[2] / "docs" / "recipe.schema.json"


class Inner(BaseModel):
    """A part of the options."""

    model_config = ConfigDict(extra="forbid")
    depth: int = Field(default=1, description="How deep.")


class Options(BaseModel):
    """Settings of a task, for these tests."""

    model_config = ConfigDict(extra="forbid")
    max_length: int = Field(default=128, gt=0, description="Longest text in tokens.")
    pooling: Literal["mean", "first"] = Field(default="mean", description="How token vectors become one.")
    inner: Inner = Field(default=Inner(), description="More.")


@pytest.mark.parametrize(
    ("key", "kind", "default", "words"),
    [
        ("stages.train", "head, all, adapter or {top: n}", "required", "What learns"),
        ("stages.0.lr", "a number above 0, or auto", "0.001", "Peak learning rate"),
        ("stages.lr", "a number above 0, or auto", "0.001", "Peak learning rate"),
        ("stages.0.train.top", "a whole number above 0", "required", "How many blocks"),
        ("stages", "a list of sections or null", "null", "What learns, stage by stage"),
        ("data", "a section", "required", "The rows"),
        ("data.eval", "a number above 0 and below 1, or text", "0.2", "Held-out rows"),
        ("data.columns.text", "text", "none", "Our column name"),
        ("data.broken_rows", "a number from 0 to 1", "0.01", "unreadable rows"),
        ("adapter", "a section or null", "null", "LoRA"),
        ("model", "a name, or {name: ...} with more settings", "required", "pretrained weights"),
        ("optimizer.weight_decay", "a number of 0 or more", "0.01", "never on biases"),
        ("run.track", "a list of tensorboard, wandb, mlflow or trackio", "[]", "trackers"),
        ("options", "{name: value} pairs", "{}", "task's own"),
    ],
)
def test_explain(key: str, kind: str, default: str, words: str) -> None:
    found = explain(key)
    assert (found.key, found.type, found.default) == (key, kind, default)
    assert words in found.description
    assert f"default: {default}" in render(found)


def test_choices_and_children() -> None:
    assert explain("stages.train").choices == ("head", "all", "adapter")
    assert [child.key for child in explain("cache").children] == ["cache.use", "cache.dtype", "cache.max_gb"]
    assert explain("stages.0.lr").children == ()


def test_explain_everything_lists_every_setting_once() -> None:
    whole = explain(None)
    keys = [child.key for child in whole.children]
    assert keys[:4] == ["task", "model", "data", "stages"]
    text = render(whole)
    for key in ("model.revision", "stages.layer_decay", "engine.gradient_checkpointing", "run.checkpoint_seconds"):
        assert sum(line.startswith(f"{key} ") for line in text.splitlines()) == 1
    assert max(len(line) for line in text.splitlines()) <= 160


def test_explain_task_options() -> None:
    found = explain("options.max_length", Options)
    assert (found.type, found.default, found.description) == (
        "a whole number above 0",
        "128",
        "Longest text in tokens.",
    )
    assert [child.key for child in explain("options", Options).children] == [
        "options.max_length", "options.pooling", "options.inner",
    ]  # fmt: skip
    assert explain("options.inner.depth", Options).default == "1"
    with pytest.raises(UserError, match="an option belongs to a task"):
        explain("options.max_length")


@pytest.mark.parametrize(
    ("key", "fix"),
    [
        ("lr", "'lr' stands in a stage: try stages.0.lr"),
        ("stages.lrr", "did you mean stages.lr?"),
        ("dtaa", "did you mean data?"),
        ("batch.0.rows.x", "did you mean batch.rows?"),
        ("learning_rate", "'learning_rate' is called 'lr' here and stands in a stage: try stages.0.lr"),
        ("warmpu", "did you mean stages.warmup?"),
        ("xyzzy", "the sections are task, model, data"),
        ("options.max_lenght", "did you mean options.max_length?"),
        ("max_length", "'max_length' stands in options: try options.max_length"),
    ],
)
def test_unknown_key(key: str, fix: str) -> None:
    with pytest.raises(UserError) as caught:
        explain(key, Options)
    assert caught.value.what == f"{key}: there is no such setting"
    assert fix in caught.value.fix


def holds(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """The part of JSON Schema that a recipe's schema uses."""
    if "$ref" in schema:
        target: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part.replace("%20", " ")]
        if not holds(value, target, root):
            return False
    kinds = {
        "object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "integer": int,
        "number": (int, float),
    }  # fmt: skip
    kind = schema.get("type")
    right = kind is None or (isinstance(value, kinds[kind]) and (kind == "boolean" or not isinstance(value, bool)))
    checks = [
        right,
        "const" not in schema or value == schema["const"],
        "enum" not in schema or value in schema["enum"],
        "anyOf" not in schema or any(holds(value, one, root) for one in schema["anyOf"]),
        all(holds(value, one, root) for one in schema.get("allOf", [])),
    ]
    if "if" in schema and holds(value, schema["if"], root):
        checks.append(holds(value, schema["then"], root))
    if isinstance(value, dict):
        known = schema.get("properties", {})
        checks.append(all(name in value for name in schema.get("required", [])))
        checks += [holds(one, known[name], root) for name, one in value.items() if name in known]
        checks.append(schema.get("additionalProperties") is not False or set(value) <= set(known))
    if isinstance(value, list) and "items" in schema:
        checks += [holds(one, schema["items"], root) for one in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        checks.append(value > schema.get("exclusiveMinimum", float("-inf")))
    return all(checks)


RIGHT = {"task": "text-classification", "model": "org/name", "data": {"train": "rows.csv"}}


@pytest.mark.parametrize(
    ("more", "fits"),
    [
        ({}, True),
        ({"model": {"name": "x", "revision": "main"}}, True),
        ({"model": {"name": "x", "revison": "main"}}, False),
        ({"model": 5}, False),
        ({"stages": [{"train": {"top": 2}, "epochs": 1, "lr": "auto"}]}, True),
        ({"stages": [{"train": "hed", "epochs": 1}]}, False),
        ({"bacth": {}}, False),
        ({"batch": {"rows": 0}}, False),
        ({"adapter": None}, True),
        ({"options": {"max_length": 3, "inner": {"depth": 2}}}, True),
        ({"options": {"max_lenght": 3}}, False),
        ({"options": {"inner": {"dept": 2}}}, False),
        ({"task": "another", "options": {"anything": 3}}, True),
    ],
)
def test_schema_takes_what_the_recipe_takes(more: dict[str, Any], fits: bool) -> None:
    schema = recipe_schema({"text-classification": Options})
    assert holds({**RIGHT, **more}, schema, schema) is fits


def test_schema_describes_every_setting() -> None:
    schema = recipe_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for name, section in [("recipe", schema), *schema["$defs"].items()]:
        assert section["additionalProperties"] is False, name
        for key, field in section["properties"].items():
            # A description that the section itself repeats stands with the section alone.
            target = schema["$defs"][field["$ref"].rpartition("/")[2]] if "$ref" in field else {}
            assert field.get("description") or target.get("description"), f"{name}.{key}"
    assert "``" not in schema_text()


def test_written_schema_is_the_recipes(tmp_path: Path) -> None:
    write_schema(tmp_path / "new" / "schema.json")
    written = (tmp_path / "new" / "schema.json").read_text(encoding="utf-8")
    assert json.loads(written) == recipe_schema()


def test_checked_in_schema_is_what_the_command_writes() -> None:
    options = {name: find_task(name).Options for name in task_names()}
    told = "write it anew: tunesmith schema --out docs/recipe.schema.json"
    assert CHECKED_IN.read_text(encoding="utf-8") == schema_text(options), told


def test_schema_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="can't write the schema"):
        write_schema(tmp_path)
