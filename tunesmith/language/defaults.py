"""Chat templates for models that have none, and which one a tokenizer gets. It knows no rows.

``plain`` needs nothing but an end token, which every tokenizer has; ``chatml`` needs the two tokens of its name. Both
write tools and tool calls as JSON between the tags that most open models use, so that an answer can be read back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunesmith.data.reading import did_you_mean
from tunesmith.errors import UserError

_TOOLS = """
{{- "# Tools\\n\\nYou may call one or more functions to assist with the user query.\\n\\nYou are provided with \
function signatures within <tools></tools> XML tags:\\n<tools>" }}
{%- for tool in tools %}{{- "\\n" }}{{- tool | tojson }}{%- endfor %}
{{- "\\n</tools>\\n\\nFor each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:\\n<tool_call>\\n{\\"name\\": <function-name>, \\"arguments\\": <args-json-object>}\
\\n</tool_call>" }}
"""

_CALLS = """
{%- for call in message.tool_calls or [] %}
    {%- if message.content or not loop.first %}{{- "\\n" }}{%- endif %}
    {{- "<tool_call>\\n" }}
    {{- {"name": call.function.name, "arguments": call.function.arguments} | tojson }}
    {{- "\\n</tool_call>" }}
{%- endfor %}
"""

# Contents are trimmed: a blank that touches a role's line would become one token with its line break, and a model that
# continues from that line break could never write it.
_PLAIN = f"""
{{%- if tools and messages[0].role not in ["system", "developer"] %}}
    {{{{- "System:\\n" }}}}{_TOOLS.strip()}{{{{- "\\n\\n" }}}}
{{%- endif %}}
{{%- for message in messages %}}
    {{%- set role = "system" if message.role == "developer" else message.role %}}
    {{{{- role | capitalize + ":\\n" + message.content | trim }}}}
    {{%- if loop.first and tools and role == "system" %}}
        {{{{- "\\n\\n" }}}}{_TOOLS.strip()}
    {{%- endif %}}
    {{%- if role == "assistant" %}}
        {_CALLS.strip()}
        {{{{- eos_token }}}}
    {{%- endif %}}
    {{{{- "\\n\\n" }}}}
{{%- endfor %}}
{{%- if add_generation_prompt %}}
    {{{{- "Assistant:\\n" }}}}
{{%- endif %}}
"""

_CHATML = f"""
{{%- if tools and messages[0].role not in ["system", "developer"] %}}
    {{{{- "<|im_start|>system\\n" }}}}{_TOOLS.strip()}{{{{- "<|im_end|>\\n" }}}}
{{%- endif %}}
{{%- for message in messages %}}
    {{%- set role = "system" if message.role == "developer" else message.role %}}
    {{%- if role == "tool" %}}
        {{%- if loop.first or messages[loop.index0 - 1].role != "tool" %}}{{{{- "<|im_start|>user" }}}}{{%- endif %}}
        {{{{- "\\n<tool_response>\\n" + message.content + "\\n</tool_response>" }}}}
        {{%- if loop.last or messages[loop.index0 + 1].role != "tool" %}}{{{{- "<|im_end|>\\n" }}}}{{%- endif %}}
    {{%- else %}}
        {{{{- "<|im_start|>" + role + "\\n" + message.content }}}}
        {{%- if loop.first and tools and role == "system" %}}
            {{{{- "\\n\\n" }}}}{_TOOLS.strip()}
        {{%- endif %}}
        {_CALLS.strip()}
        {{{{- "<|im_end|>\\n" }}}}
    {{%- endif %}}
{{%- endfor %}}
{{%- if add_generation_prompt %}}
    {{{{- "<|im_start|>assistant\\n" }}}}
{{%- endif %}}
"""

TEMPLATES = {"plain": _PLAIN.strip(), "chatml": _CHATML.strip()}
"""Jinja text by name; where a tokenizer begins texts with a token of its own, ``ensure_template`` adds it to them."""

_WANTED = ("auto", "none", *TEMPLATES)
_TRIAL = ({"role": "user", "content": "a question"}, {"role": "assistant", "content": "an answer"})


def ensure_template(tokenizer: Any, wanted: str, where: str = "recipe: options.template") -> str | None:
    """Give a tokenizer the chat template that is wanted; it is saved with it.

    Args:
        tokenizer: A fast tokenizer; its ``chat_template`` is set.
        wanted: ``auto`` (its own, else plain), ``none`` (leave it alone), ``plain``, ``chatml``, or a file of Jinja.
        where: The place of this setting, for errors.

    Returns:
        A line for a person, or None where the tokenizer keeps what it has.

    Raises:
        UserError: There is no such template, it does not work, or the tokenizer lacks the tokens that it needs.
    """
    own = bool(tokenizer.chat_template)
    if wanted == "none" or (wanted == "auto" and own):
        return None
    name = "plain" if wanted == "auto" else wanted
    if name in TEMPLATES:
        _check_tokens(tokenizer, name, where)
        text = ("{{- bos_token }}" if begins_texts(tokenizer) else "") + TEMPLATES[name]
    else:
        text = _read(name, where)
    tokenizer.chat_template = text
    if name not in TEMPLATES:
        _try(tokenizer, name)
    if wanted == "auto":
        return "the tokenizer has no chat template: it gets the template plain, which is saved with the model"
    instead = "instead of the tokenizer's own" if own else "which the tokenizer lacked"
    return f"chat template: {name}, {instead}; it is saved with the model"


def begins_texts(tokenizer: Any) -> bool:
    """Whether the tokenizer puts its first token before every text by itself."""
    ids = tokenizer("a")["input_ids"]
    return tokenizer.bos_token_id is not None and bool(ids) and ids[0] == tokenizer.bos_token_id


def _check_tokens(tokenizer: Any, name: str, where: str) -> None:
    if name == "plain" and tokenizer.eos_token is None:
        what, fix = "has no end token", "set eos_token in its tokenizer_config.json"
    elif name == "chatml" and (
        lacking := [t for t in ("<|im_start|>", "<|im_end|>") if t not in tokenizer.get_vocab()]
    ):
        what, fix = f"has no token {' and no token '.join(lacking)}", "write template: plain"
    else:
        return
    raise UserError(f"options.template: {name} can't be taken, since the tokenizer {what}", where, fix)


def _read(name: str, where: str) -> str:
    path = Path(name).expanduser()
    if not path.is_file():
        known = f"write one of {', '.join(_WANTED)}, or the path of a .jinja file"
        raise UserError(f"options.template: there is no template {name!r}{did_you_mean(name, _WANTED)}", where, known)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise UserError(f"the chat template can't be read: {fault}", name, "give a text file in UTF-8") from fault
    if not text.strip():
        raise UserError("the chat template is empty", name, "write a Jinja template into it")
    return text


def _try(tokenizer: Any, name: str) -> None:
    """Render one exchange, so that a fault in the file is known before any row is read.

    Raises:
        UserError: The template does not work, or leaves the messages out.
    """
    from jinja2 import TemplateError

    fix = "mend the template; what a template may say: https://huggingface.co/docs/transformers/chat_templating"
    try:
        text = tokenizer.apply_chat_template([*_TRIAL], tokenize=False)
    except (TemplateError, TypeError, ValueError, KeyError) as fault:
        line = getattr(fault, "lineno", None)
        raise UserError(f"the chat template does not work: {fault}", f"{name}:{line}" if line else name, fix) from fault
    missing = [message["role"] for message in _TRIAL if message["content"] not in text]
    if missing:
        raise UserError(f"the chat template leaves out what the {missing[0]} says", name, fix)
