"""JSON: whether an answer is JSON, keeps the row's schema, and says what the reference says. It fetches nothing.

It knows no other format; what a schema refers to has to stand in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from tunesmith.language.answers.extract import fenced, without_thought
from tunesmith.language.answers.faults import Fault, gather
from tunesmith.language.answers.json_values import NotJson, given, is_deep, parse, same
from tunesmith.language.answers.libraries import library
from tunesmith.types import Finding, Row

KEPT_SCHEMAS = 256
_LANGUAGES = ("json", "json5", "jsonc")

Check = Callable[[Any], str | None]
"""Why a value breaks a schema; None where it keeps it."""


class UnusableSchema(ValueError):
    """A schema by which nothing can be judged, with the reason."""


@dataclass(frozen=True)
class JsonScorer:
    """Judges JSON by the schema in the row's ``json_schema`` (an object, or JSON text)."""

    name: ClassVar[str] = "json"
    goal: ClassVar[str] = "schema_valid"
    codes: ClassVar[tuple[str, ...]] = ("no-json-schema", "gold-json-invalid", "gold-breaks-schema")

    def one(self, answer: str, reference: str, row: Row) -> dict[str, float]:
        """``json_valid``: the answer (or its fence) is JSON; ``schema_valid``; ``json_match`` with the reference."""
        found, wanted = _json_or_none(answer), _json_or_none(reference)
        try:
            check = _check_of(row)
            keeps = found is not None and check(found[0]) is None
        except UnusableSchema:
            # The audit has said so; no answer can be right by such a schema.
            keeps = False
        return {
            "json_valid": float(found is not None),
            "schema_valid": float(keeps),
            "json_match": float(found is not None and wanted is not None and same(found[0], wanted[0])),
        }

    def findings(self, rows: Sequence[Row], references: Sequence[str]) -> Iterable[Finding]:
        """Rows without a schema that can be used, and references that are no JSON or break it."""
        return gather(rows, references, _fault)


def json_of(answer: str) -> Any:
    """The JSON value of an answer: all of it, else its JSON fence.

    Raises:
        NotJson: It is none.
    """
    text = without_thought(answer)
    try:
        return parse(text)
    except NotJson:
        inside = fenced(text, _LANGUAGES)
        if inside is None:
            raise
        return parse(inside)


def _json_or_none(text: str) -> tuple[Any] | None:
    """The JSON value in a tuple, since it may itself be null."""
    try:
        return (json_of(text),)
    except NotJson:
        return None


def _check_of(row: Row) -> Check:
    """The check of a row's schema.

    Raises:
        UnusableSchema: There is none, or none to judge by.
        UserError: The library is not installed.
    """
    library("jsonschema", "json")
    try:
        schema = given(row.get("json_schema"))
    except NotJson as error:
        raise UnusableSchema(f"it is no JSON: {error}") from error
    if not isinstance(schema, Mapping):
        raise UnusableSchema("there is none" if schema is None else "it is no object")
    if is_deep(schema) or not isinstance(schema.get("$schema", ""), str):
        raise UnusableSchema("it is nested too deeply, or its $schema is no text")
    try:
        return _check(json.dumps(schema, sort_keys=True))
    except TypeError as error:
        raise UnusableSchema(f"it is no JSON: {error}") from error


@lru_cache(maxsize=KEPT_SCHEMAS)
def _check(schema_text: str) -> Check:
    schema = json.loads(schema_text)
    validators, exceptions = (library(f"jsonschema.{part}", "json") for part in ("validators", "exceptions"))
    unresolvable = library("referencing.exceptions", "json").Unresolvable
    # With this registry, of the published meta-schemas alone, a reference to anywhere else is an error. The library's
    # own default would fetch it.
    registry = library("jsonschema_specifications", "json").REGISTRY
    kind = validators.validator_for(schema, default=validators.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except exceptions.SchemaError as error:
        raise UnusableSchema(f"it is no schema: {error.message}") from error
    validator = kind(schema, registry=registry)

    def check(value: Any) -> str | None:
        try:
            error = next(validator.iter_errors(value), None)
        except unresolvable as fault:
            raise UnusableSchema(f"it refers to what does not stand in it: {fault}") from fault
        except (RecursionError, OverflowError, re.error) as fault:
            raise UnusableSchema(f"it can't be applied: {fault}") from fault
        return None if error is None else str(error.message)

    return check


def _fault(row: Row, reference: str) -> Fault | None:
    try:
        wanted = json_of(reference)
    except NotJson as error:
        return Fault(
            "gold-json-invalid",
            "have a reference that is no JSON",
            "the reference",
            "mend these references",
            str(error),
        )
    try:
        reason = _check_of(row)(wanted)
    except UnusableSchema as error:
        return Fault(
            "no-json-schema",
            "have no JSON Schema that can be used",
            "column json_schema",
            "give a JSON Schema in 'json_schema', with everything that it refers to inside it",
            str(error),
        )
    if reason is None:
        return None
    return Fault(
        "gold-breaks-schema",
        "have a reference that breaks their own schema",
        "column json_schema",
        "mend these references or their schemas",
        reason,
    )
