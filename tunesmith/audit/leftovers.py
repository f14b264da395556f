"""What a program left in a text: places that were to be filled, a chat template's tokens, HTML. It knows no row."""

from __future__ import annotations

import html
import re

CODE = re.compile(
    r"```|^\s*(?:def \w+\(|class \w+\s*[:({]|import \w+\s*(?:$|,|;|as )|from \S+ import|function\s*\w*\(|return\b.*;|"
    r"(?:const|let|var) \w+\s*=|(?:public|private|static) \w+|#include|package \w+;|using \w+|<\?php|//|/\*|#!|"
    r"(?:SELECT|INSERT|CREATE|UPDATE|DELETE|WITH) [A-Za-z*({])|"
    r"(?i:<!doctype|</?(?:html|script|style|template|head|body)\b)|[;{]\s*$|=>|"
    r"\b[fr]['\"]|\w\([^()]*\)\s*[:;{]\s*$|\{%|\bprintf?\(",
    re.MULTILINE,
)
"""Signs of a program's source, in which braces, tags and placeholders are meant."""

_SUSPECT = re.compile(r"[{<\[#%]")
_SUSPECT_WORDS = ("TODO", "FIXME", "TBD", " here", "lorem", "Lorem", "laceholder")
_TOKENS = re.compile(
    r"<\|(?:im_start|im_end|endoftext|eot_id|start_header_id|end_header_id|begin_of_text|user|assistant|system|end|"
    r"eos|bos|pad|sep|endofprompt|fim_[a-z]+)\|>|\[/?INST\]|<</?SYS>>|</?s>(?!\w)|<(?:start|end)_of_turn>|\[(?:CLS|SEP|"
    r"PAD|MASK|UNK)\]|<(?:pad|unk|bos|eos|mask)>|<extra_id_\d+>|<｜[^｜]{1,30}｜>"
    r"|###\s*(?:Instruction|Response|Input|Human|Assistant)\s*:"
)
_FILLER = re.compile(
    r"\blorem ipsum\b|\[(?:insert|your|enter|add|write|company|customer|recipient|sender|first|last|product|date)"
    r"(?:[ _'’][^\[\]\n]{1,40})?\](?!\()|\[(?:name|city|address|title|phone number|email address)\](?!\()"
    r"|<(?:insert|your|enter)[ _][^<>\n]{2,40}>"
    r"|\b(?:insert|enter|type|add) (?:your )?(?:text|name|title|content|answer|description) here\b"
    r"|\bplaceholder text\b",
    re.IGNORECASE,
)
_ANONYMOUS = re.compile(r"\[[A-Z]+\]")
_FIELD = re.compile(
    r"\{\{\s*[A-Za-z_][\w.| ]*\s*\}\}|(?<![\w$\\{])\{(?!sic\})[A-Za-z_][A-Za-z0-9_]*(?:\.\w+)?\}(?!\})|"
    r"%\([a-z_]\w*\)[sd]|\$\{[A-Za-z_]\w*\}|<%=?.{1,40}?%>"
)
_FIELD_NAMES = re.compile(
    "name|user|username|customer|client|company|product|brand|item|date|time|day|month|year|city|country|address|"
    "street|email|phone|title|topic|subject|theme|input|output|question|answer|context|text|prompt|response|"
    "instruction|query|content|message|language|url|link|amount|price|total|number|count|id|order|task|value|var|"
    "variable|placeholder|person|place|location|first|last|firstname|lastname|word|sentence|paragraph|document|"
    "article|category|label|age|gender|role|job|position|school|event|recipient|sender|signature"
)
_LATEX = re.compile(r"\\(?:begin|end|frac|mathbb|text\w*|sum|int|left|cite|ref)\b|\$[^$\n]+\$|[_^]\{")
_TODO = re.compile(r"(?<![\w/#])(?:TODO|FIXME|TBD)(?:\s*:|\s+-|\s*$|\s+(?=[A-Za-z]+ )|(?=\)))")

_TAG = re.compile(
    r"</?(?:br|p|b|i|u|em|strong|span|div|a|font|img|li|ul|ol|h[1-6]|table|tr|td|th|tbody|blockquote|center|sup|sub|"
    r"small|hr|pre|code|strike|nobr|input|button|label|section|article|nav|footer|header|iframe|svg|figure|"
    r"figcaption)(?:\s[^<>]{0,300})?/?>|<!--.*?-->|<!\[CDATA\[",
    re.IGNORECASE | re.DOTALL,
)
_ENTITY = re.compile(r"&(?:[a-zA-Z]{2,8}|#\d{1,6}|#x[0-9a-fA-F]{1,5});")
_BB = re.compile(r"\[(b|i|u|quote|url|img|size|color|spoiler)(?:=[^\[\]\n]{1,80})?\].{0,2000}?\[/\1\]", re.DOTALL)
_WIKI = re.compile(r"\[\[(?:File|Image|Category):|\{\{(?:cite|reflist|infobox|citation needed)|<ref[ >]", re.IGNORECASE)
_BREAK = re.compile(r"\s*<(?:br|/p|/div|/li|/tr|/h[1-6])\s*/?>\s*", re.IGNORECASE)
_DROPPED = ("img", "iframe", "svg", "input", "button", "table", "tr", "td", "th", "pre", "code", "<!--", "<![")
_ABOUT_HTML = re.compile(r"\b(?:html|xml|tags?|elements?|css|markup|attributes?)\b", re.IGNORECASE)


def template_leftover(text: str) -> tuple[str, float] | None:
    """A place that nothing filled, or a chat template's token, and how sure this is; None where there is none."""
    if not _SUSPECT.search(text) and not any(word in text for word in _SUSPECT_WORDS):
        return None
    if token := _TOKENS.search(text):
        return token[0], 0.95
    code: bool | None = None
    for pattern, score in ((_FILLER, 0.95), (_FIELD, 0.8), (_TODO, 0.6)):
        found = pattern.search(text)
        if found is None or _ANONYMOUS.fullmatch(found[0]):
            continue
        code = bool(CODE.search(text)) if code is None else code
        if code or (pattern is _FIELD and (_LATEX.search(text) or _listed(text, found))):
            continue
        return found[0], score
    return None


def _listed(text: str, found: re.Match[str]) -> bool:
    """Whether a name in braces is a set, a sigh or a quoted piece of source: ``{a}``, ``{hugs}``."""
    before, after = text[: found.start()][-1:], text[found.end() :][:1]
    name = found[0].strip("{} ")
    plain = found[0].startswith("{") and found[0].strip("{}") == name and name.islower() and "_" not in name
    quoted = before != "" and before in "`/=\"'(" and after != "" and after in "`/\"')"
    return quoted or (plain and not _FIELD_NAMES.fullmatch(name))


def markup_leftover(text: str) -> tuple[str, float, str | None] | None:
    """HTML, BBCode or wiki markup in prose: what stands there, how sure this is, the text without it.

    The text without it is None where leaving the markup out would lose something (pictures, tables).
    """
    if "&" not in text and "<" not in text and "[" not in text and "{{" not in text:
        return None
    tag = _TAG.search(text) if "<" in text else None
    entity = next((e for e in _ENTITY.finditer(text) if html.unescape(e[0]) != e[0]), None) if "&" in text else None
    other = (_BB.search(text) or _WIKI.search(text)) if "[" in text or "{{" in text or "<ref" in text else None
    found = tag or entity or other
    if found is None or CODE.search(text) or _quoted(text, found) or (tag and _ABOUT_HTML.search(_TAG.sub(" ", text))):
        return None
    if other is not None:
        return other[0], 0.8, None
    return found[0], 0.95, _without_markup(text)


def _quoted(text: str, found: re.Match[str]) -> bool:
    """Whether it is spoken of: `` `<b>` ``, ``'&amp;'``."""
    before, after = text[: found.start()][-1:], text[found.end() :][:1]
    return before != "" and before in "`'\"" and after != "" and after in "`'\""


def _without_markup(text: str) -> str | None:
    low = text.lower()
    if any(f"<{name.lstrip('<')}" in low for name in _DROPPED):
        return None
    plain = _TAG.sub("", _BREAK.sub("\n", text))
    for _ in range(2):  # &amp;quot; was escaped twice
        plain = html.unescape(plain)
    return plain.replace("\xa0", " ").strip()
