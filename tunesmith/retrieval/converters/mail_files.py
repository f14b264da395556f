"""E-mail to Markdown: who wrote to whom, when and of what, the text, and what is attached. It fetches nothing."""

from __future__ import annotations

import email
import email.policy
import re
import tempfile
from collections.abc import Iterator
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path

from tunesmith.retrieval.converters.choose import converted
from tunesmith.retrieval.converters.web_pages import page, tidy
from tunesmith.retrieval.kinds import TEXT_KINDS, kind_of, refusal
from tunesmith.retrieval.limits import Limits
from tunesmith.retrieval.plain import Converted, Refused, read_plain

HEADERS = ("From", "To", "Cc", "Date", "Subject")
DEPTH = 5
"""Most messages within messages."""


def convert(path: Path, limits: Limits) -> Converted:
    """A message, with its attachments as documents inside it."""
    with path.open("rb") as file:
        message = email.message_from_binary_file(file, policy=email.policy.default)
    return _message(message, limits, DEPTH)


def _message(message: EmailMessage, limits: Limits, depth: int) -> Converted:
    said = {name: _header(message, name) for name in HEADERS}
    lines = [f"{name}: {value}" for name, value in said.items() if value]
    bodies, attached = _parts(message)
    notes = (
        [f"{len(message.defects):,} defects in its structure: {type(message.defects[0]).__name__}"]
        if message.defects
        else []
    )
    text = "\n".join(lines) + "\n\n" + "\n\n".join(filter(None, (_body(body) for body in bodies)))
    labels = (("from", said["From"]),) if said["From"] else ()
    inside = tuple(_attachments(attached, limits, depth))
    return Converted(tidy(text), said["Subject"], tuple(notes), labels=labels, changed=_when(message), inside=inside)


def _header(message: EmailMessage, name: str) -> str:
    try:
        return " ".join(str(message[name] or "").split())
    except Exception:  # The parser of headers fails on some that are broken, each time otherwise.
        return " ".join(
            str(next((value for key, value in message.raw_items() if key.lower() == name.lower()), "")).split()
        )


def _when(message: EmailMessage) -> str:
    try:
        return parsedate_to_datetime(str(message["Date"])).isoformat()
    except (TypeError, ValueError, AttributeError):
        return ""


def _parts(message: EmailMessage) -> tuple[list[list[EmailMessage]], list[EmailMessage]]:
    """Its texts, each as the ways it is written in, and everything else."""
    bodies: list[list[EmailMessage]] = []
    attached: list[EmailMessage] = []

    def look(part: EmailMessage, ways: list[EmailMessage] | None) -> None:
        kind = part.get_content_type()
        if part.is_multipart() and kind != "message/rfc822":
            shared: list[EmailMessage] | None = [] if kind == "multipart/alternative" else ways
            for inner in part.iter_parts():
                assert isinstance(inner, EmailMessage)  # as the policy makes every part
                look(inner, shared)
            if kind == "multipart/alternative" and shared:
                bodies.append(shared)
        elif part.get_content_maintype() == "text" and not part.get_filename() and not part.is_attachment():
            if ways is None:
                bodies.append([part])
            else:
                ways.append(part)
        else:
            attached.append(part)

    look(message, None)
    return bodies, attached


def _body(ways: list[EmailMessage]) -> str:
    """The plain text, unless the page says more than twice as much."""
    texts = {part.get_content_subtype(): _text(part) for part in ways}
    html = page(texts.pop("html")).text if "html" in texts else ""
    plain = max(texts.values(), key=len, default="")
    return html if len(html.split()) > 2 * len(plain.split()) else plain


def _text(part: EmailMessage) -> str:
    content = part.get_payload(decode=True)
    content = content if isinstance(content, bytes) else str(content or "").encode("utf-8", "replace")
    for encoding in (part.get_content_charset() or "utf-8", "utf-8"):
        try:
            return content.decode(encoding)
        except (LookupError, UnicodeDecodeError):
            continue
    return content.decode("cp1252", "replace")


def _attachments(parts: list[EmailMessage], limits: Limits, depth: int) -> Iterator[tuple[str, Converted | Refused]]:
    seen: set[str] = set()
    for number, part in enumerate(parts, 1):
        name = _name(part, number)
        while name in seen:
            name = f"{number}-{name}"
        seen.add(name)
        if part.get_content_type() == "message/rfc822":
            inner = next(part.iter_parts(), None)
            if depth and isinstance(inner, EmailMessage):
                yield name, _message(inner, limits, depth - 1)
            else:
                yield name, Refused(f"messages within messages are read {DEPTH} deep", "save it apart")
            continue
        kind = kind_of(name)
        content = part.get_payload(decode=True)
        if not kind or not isinstance(content, bytes):
            yield name, Refused(*refusal(name))
            continue
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "attached"
            place.write_bytes(content)
            if kind == "mbox":
                yield name, Refused("a mailbox in a message is not read", "save it apart")
            elif kind in TEXT_KINDS:
                yield name, read_plain(place, name, kind)
            else:
                yield name, converted(place, kind, limits)


def _name(part: EmailMessage, number: int) -> str:
    """Of an attachment: its file's, without what would make a path of it."""
    name = re.sub(r"[\\/#\0-\x1f]+", "_", part.get_filename() or "").strip(". ")
    if name:
        return name
    subtype = part.get_content_subtype()
    return f"message-{number}.eml" if subtype == "rfc822" else f"part-{number}.{subtype}"
