"""The recipe as a JSON Schema, for editors that complete and check while one types.

It reads the sections and the options models it is handed; it finds no task itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from tunesmith.errors import UserError
from tunesmith.recipe.sections import Recipe

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NONE: Mapping[str, type[BaseModel]] = MappingProxyType({})


def recipe_schema(options: Mapping[str, type[BaseModel]] = _NONE) -> dict[str, Any]:
    """The schema of a recipe (JSON Schema, draft 2020-12).

    Args:
        options: Task name to the model of its options; a recipe of that task is held to it.
    """
    schema = _untitled(Recipe.model_json_schema())
    definitions = schema.pop("$defs")
    model = schema["properties"]["model"]
    reference = model.pop("$ref")
    schema["properties"]["model"] = {**model, "anyOf": [{"type": "string", "minLength": 1}, {"$ref": reference}]}
    rules = []
    for task, section in sorted(options.items()):
        name = f"options of {task}"
        place = f"#/$defs/{_pointer(name)}"
        own = _untitled(section.model_json_schema(ref_template=f"{place}/$defs/{{model}}"))
        own["additionalProperties"] = False
        definitions[name] = own
        chosen = {"properties": {"task": {"const": task}}, "required": ["task"]}
        rules.append({"if": chosen, "then": {"properties": {"options": {"$ref": place}}}})
    return {
        "$schema": DIALECT,
        "title": "Tunesmith recipe",
        **schema,
        **({"allOf": rules} if rules else {}),
        "$defs": definitions,
    }


def schema_text(options: Mapping[str, type[BaseModel]] = _NONE) -> str:
    """The schema as the text of a file."""
    return json.dumps(recipe_schema(options), indent=2, ensure_ascii=False) + "\n"


def write_schema(path: str | Path, options: Mapping[str, type[BaseModel]] = _NONE) -> None:
    """Write the schema to a file.

    Raises:
        UserError: The file can't be written.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(schema_text(options), encoding="utf-8")
    except OSError as error:
        raise UserError(f"can't write the schema: {error.strerror}", str(path), "name a file you may write") from None


def _pointer(name: str) -> str:
    """A name as part of a JSON pointer in a URI fragment (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1").replace("%", "%25").replace(" ", "%20")


def _untitled(schema: Any, names: bool = False) -> Any:
    """The schema without the titles that repeat each name, and with descriptions in plain text."""
    if isinstance(schema, list):
        return [_untitled(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {}
    for name, value in schema.items():
        if names:
            kept[name] = _untitled(value)
        elif name == "description":
            kept[name] = " ".join(value.replace("``", "").split())
        elif name == "default":
            kept[name] = value
        elif name != "title":
            kept[name] = _untitled(value, names=name in ("properties", "$defs"))
    return kept
