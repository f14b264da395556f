"""Calls of functions as models write them: JSON, tagged, fenced, or Python's notation. It knows no scores.

Python's notation is read as a syntax tree of literals; nothing is ever evaluated.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith.language.answers.extract import fences, without_thought
from tunesmith.language.answers.json_values import NotJson, given, is_deep

_TAGGED = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_MARKS = re.compile(r"\s*(?:\[TOOL_CALLS\]|<\|python_tag\|>)\s*")
_BETWEEN = re.compile(r"[\s,;]*")
_LANGUAGES = ("", "json", "jsonl", "tool_call", "tool_calls", "tool_code", "python", "py")
_WORDS = {"true": True, "false": False, "null": None, "none": None}
_TOO_DEEP = (RecursionError, MemoryError)


@dataclass(frozen=True)
class Call:
    """One call: the function's name and its arguments as JSON values.

    An argument without a name, which only Python's notation has, is named by its position: ``#1``.
    """

    name: str
    arguments: Mapping[str, Any]


def calls_in(answer: str) -> list[Call]:
    """All calls of an answer, at least one.

    Reads ``{"name": ..., "arguments": ...}`` (or ``parameters``, or OpenAI's ``function`` around it), one, several or a
    list of them, and ``f(a=1)``, one, several or a list; bare, in ``<tool_call>`` tags or in fences. Text beside tags
    and fences is passed over.

    Raises:
        NotJson: It holds no call, or something that is none where a call should be.
    """
    text = without_thought(answer)
    parts = _TAGGED.findall(text)
    parts = parts or [fence.text for fence in fences(text) if fence.language in _LANGUAGES]
    if not parts:
        marks = _MARKS.match(text)
        parts = [text[marks.end() if marks else 0 :]]
    calls = [call for part in parts for call in _calls_of(part.strip())]
    if not calls:
        raise NotJson("it holds no call")
    return calls


def calls_from(value: Any) -> Iterator[Call]:
    """The calls that a JSON value says.

    Raises:
        NotJson: It says none.
    """
    if isinstance(value, Mapping) and isinstance(value.get("tool_calls"), list):
        value = value["tool_calls"]
    if isinstance(value, list | tuple):
        for item in value:
            yield _call_from(item)
    else:
        yield _call_from(value)


def _call_from(value: Any) -> Call:
    inner = value.get("function", value) if isinstance(value, Mapping) else value
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise NotJson("a call is an object with a name and arguments")
    arguments: Any = next((inner[key] for key in ("arguments", "parameters") if inner.get(key) is not None), {})
    if isinstance(arguments, str):
        arguments = given(arguments) if arguments.strip() else {}
    if not isinstance(arguments, Mapping) or is_deep(arguments):
        raise NotJson(f"the arguments of {inner['name']} are no object")
    return Call(inner["name"], arguments)


def _calls_of(part: str) -> list[Call]:
    if part.startswith(("{", "[{")) or re.match(r"\[\s*\{", part):
        return [call for value in _json_values(part) for call in calls_from(value)]
    return _python_calls(part)


def _json_values(text: str) -> Iterator[Any]:
    """JSON values one after the other, with nothing but blanks, commas and semicolons between them."""
    decoder = json.JSONDecoder(parse_constant=_refuse)
    at = 0
    while at < len(text):
        try:
            value, end = decoder.raw_decode(text, at)
        except RecursionError as error:
            raise NotJson("it is nested too deeply") from error
        except ValueError as error:
            raise NotJson(str(error)) from error
        yield value
        between = _BETWEEN.match(text, end)
        at = between.end() if between else end


def _python_calls(text: str) -> list[Call]:
    try:
        with warnings.catch_warnings():
            # "\d" in a model's string is no concern of ours.
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
        return [call for statement in tree.body for call in _calls_of_statement(statement)]
    except (SyntaxError, ValueError) as error:
        raise NotJson(f"it is neither JSON nor a call ({error})") from error
    except _TOO_DEEP as error:
        raise NotJson("it is nested too deeply") from error


def _calls_of_statement(statement: ast.stmt) -> Iterator[Call]:
    value = statement.value if isinstance(statement, ast.Expr) else None
    for node in value.elts if isinstance(value, ast.List | ast.Tuple) else [value]:
        if not isinstance(node, ast.Call):
            raise NotJson("it is Python, but no call")
        arguments: dict[str, Any] = {f"#{place}": _literal(argument) for place, argument in enumerate(node.args, 1)}
        for keyword in node.keywords:
            if keyword.arg is None or keyword.arg in arguments:
                raise NotJson("an argument has no name, or one that another has")
            arguments[keyword.arg] = _literal(keyword.value)
        if is_deep(arguments):
            raise NotJson("it is nested too deeply")
        yield Call(_dotted(node.func), arguments)


def _dotted(node: ast.expr) -> str:
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise NotJson("what is called has no name")
    return ".".join([node.id, *reversed(names)])


def _literal(node: ast.expr) -> Any:
    """The JSON value of a literal; never a name, a call or an operation."""
    match node:
        case ast.Constant(value=str() | int() | float() | None as value):
            return value
        case ast.Name(id=word) if word in _WORDS:
            return _WORDS[word]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=ast.Constant(value=int() | float() as number)):
            return -number if isinstance(sign, ast.USub) else number
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_literal(item) for item in items]
        case ast.Dict(keys=keys, values=values):
            names = [key.value if isinstance(key, ast.Constant) else None for key in keys]
            if all(isinstance(name, str) for name in names):
                return {name: _literal(value) for name, value in zip(names, values, strict=True)}
    raise NotJson("an argument is no literal")


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
