"""Whether a server that is given a conversation reads the tokens that were trained on. It knows no model.

A difference here is the quietest fault there is: losses look well, and the model answers worse than it should.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.errors import UserError
from tunesmith.language.rows import is_text, prompt_of, sides_of
from tunesmith.language.template import Rendered, Renderer, messages_for_template

MERGED_SHARE = 0.1
"""Share of conversations whose answer may begin inside a token, as one does that begins with a blank line."""
MERGED_TOKENS = 4
_SHOWN = 4


def check_serving(
    tokenizer: Any,
    rows: Sequence[Mapping[str, Any]],
    *,
    concatenate: bool = False,
    settings: Mapping[str, Any] | None = None,
    served: Any = None,
    sample: int = 32,
) -> list[str]:
    """Render rows as training does and as a server does, and hold the tokens against each other.

    Args:
        tokenizer: Training's.
        rows: Rows with ``messages``; some are taken, evenly.
        concatenate: Whether prompts and completions are joined without a template.
        settings: What the template takes besides messages and tools.
        served: The tokenizer that a server would load; the same one where it is left out.
        sample: Most rows to take.

    Returns:
        What was checked, and what a person should know of the template, one sentence each.

    Raises:
        UserError: The tokens differ, with the first place where they do.
    """
    renderer = Renderer(tokenizer, learn="last", concatenate=concatenate, settings=settings)
    server = Renderer(served if served is not None else tokenizer, concatenate=concatenate, settings=settings)
    count = min(sample, len(rows))
    merged: list[UserError] = []
    silent: Counter[str] = Counter()
    for number in range(count):
        row = rows[number * len(rows) // count]
        row = sides_of(row)[0] if "chosen" in row else row
        rendered = renderer(row)
        if is_text(row) or concatenate:
            _check_joined(server, row, rendered)
        elif fault := _check_chat(server, row, rendered):
            merged.append(fault)
        if not is_text(row) and not concatenate:
            silent.update(_left_out(server, row))
    if len(merged) > MERGED_SHARE * count:
        raise merged[0]
    lines = [f"{count:,} rows are the same tokens in training and on a server"] if count else []
    if merged:
        lines.append(
            f"in {len(merged):,} of {count:,} rows checked the answer begins inside a token that a server can't give: "
            "it begins with a blank or a line break"
        )
    return lines + [
        f"the chat template leaves out {name} ({n:,} of {count:,} rows checked)" for name, n in silent.items()
    ]


def _check_chat(server: Renderer, row: Mapping[str, Any], rendered: Rendered) -> UserError | None:
    """Raise where the tokens differ; a fault is given back where only the last token before the answer does."""
    messages, asked = messages_for_template(row), prompt_of(row)
    answered = len(asked) < len(messages)
    if answered:
        whole = _ids(server, row, messages, False)
        _check_whole(server, row, rendered, whole)
    if not asked:
        return None
    before = messages[: len(asked)]
    fed, ours = _ids(server, row, before, True), rendered.ids[: rendered.prompt]
    at = _first_difference(ours, fed)
    if at is None:
        return None
    fault = _prompt_differs(server, row, rendered.ids, fed, at)
    # The same text in other tokens, and only where prompt and answer touch.
    touches = at >= min(len(ours), len(fed)) - MERGED_TOKENS
    if touches and answered and server.text(row, messages, False).startswith(server.text(row, before, True)):
        return fault
    raise fault


def _check_whole(server: Renderer, row: Mapping[str, Any], rendered: Rendered, whole: Sequence[int]) -> None:
    """Raise where a whole conversation differs; training may have added an end token."""
    at = _first_difference(rendered.ids[: len(whole)], whole)
    if at is None and list(rendered.ids[len(whole) :]) not in ([], [server.tokenizer.eos_token_id]):
        at = len(whole)
    if at is not None:
        raise _differs(server, row, rendered.ids, whole, at)


def _check_joined(server: Renderer, row: Mapping[str, Any], rendered: Rendered) -> None:
    """The same for what no template touches."""
    contents = [message["content"] for message in row["messages"]]
    whole = _bare(server, "".join(contents))
    _check_whole(server, row, rendered, whole)
    if is_text(row):
        return
    fed = _bare(server, "".join(message["content"] for message in prompt_of(row)))
    at = _first_difference(rendered.ids[: rendered.prompt], fed)
    if at is not None:
        raise _prompt_differs(server, row, rendered.ids, fed, at)


def _ids(server: Renderer, row: Mapping[str, Any], messages: Sequence[Mapping[str, Any]], ask: bool) -> list[int]:
    found = server.tokenizer.apply_chat_template(
        list(messages),
        tools=row.get("tools"),
        tokenize=True,
        return_dict=True,
        add_generation_prompt=ask,
        **server.settings,
    )
    return [int(number) for number in found["input_ids"]]


def _bare(server: Renderer, text: str) -> list[int]:
    """A text as a completion endpoint reads it: with what the tokenizer puts before it, without what it puts after."""
    ids = [int(number) for number in server.tokenizer(text, verbose=False)["input_ids"]]
    return ids[:-1] if ids and ids[-1] == server.tokenizer.eos_token_id else ids


def _first_difference(ours: Sequence[int], theirs: Sequence[int]) -> int | None:
    if list(ours) == list(theirs):
        return None
    pairs = enumerate(zip(ours, theirs, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(ours), len(theirs)))


def _left_out(server: Renderer, row: Mapping[str, Any]) -> set[str]:
    """What of a row the template says nothing about, by putting words in its place that occur nowhere else."""
    messages = messages_for_template(row)
    words = [f"Q{number}Z" for number in range(len(messages))]
    asked = [
        message if message["role"] == "assistant" else {**message, "content": word}
        for message, word in zip(messages, words, strict=True)
    ]
    text = server.text(row, asked, messages[-1]["role"] != "assistant")
    pairs = zip(messages, words, strict=True)
    out = {f"what the role {m['role']} says" for m, word in pairs if m["role"] != "assistant" and word not in text}
    if row.get("tools") and not any(tool["function"]["name"] in text for tool in row["tools"]):
        out.add("the tools")
    return out


def _differs(
    server: Renderer, row: Mapping[str, Any], ours: Sequence[int], theirs: Sequence[int], at: int
) -> UserError:
    begin = server.tokenizer.bos_token_id
    twice = begin is not None and list(theirs[:2]) == [begin, begin] and list(ours[:2]) != [begin, begin]
    fix = (
        "let either the chat template or the tokenizer write the token that begins a text, not both"
        if twice
        else "save the tokenizer with the chat template and the settings that it was trained with"
    )
    return _fault(server, row, "a conversation is", ours, theirs, at, fix)


def _prompt_differs(
    server: Renderer, row: Mapping[str, Any], ours: Sequence[int], theirs: Sequence[int], at: int
) -> UserError:
    return _fault(
        server,
        row,
        "what comes before the last answer is",
        ours,
        theirs,
        at,
        "choose a template (options.template) whose answers begin with what it asks for an answer with, or mend rows "
        "whose answers begin with a blank or whose prompts end with one",
    )


def _fault(
    server: Renderer,
    row: Mapping[str, Any],
    what: str,
    ours: Sequence[int],
    theirs: Sequence[int],
    at: int,
    fix: str,
) -> UserError:
    def shown(ids: Sequence[int]) -> str:
        said = [repr(server.tokenizer.decode([number])) for number in ids[max(0, at - _SHOWN) : at + _SHOWN]]
        return " ".join(said) or "nothing"

    return UserError(
        f"{what} not the same tokens in training and on a server, from token {at + 1:,} on: training has "
        f"{shown(ours)}, a server {shown(theirs)}",
        f"row {row['id']}" if "id" in row else "a row",
        fix,
    )
