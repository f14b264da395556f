"""What is wrong with captions: too long, short, all alike, two for a picture, without the token. It opens no picture.

It knows no model; how many tokens captions have, and what a word is to a tokenizer, are told to it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from tunesmith.diffusion.tokens import CaptionLengths, Vocabulary, meaning_of
from tunesmith.types import Finding, Row

SHOWN = 5
SHORT_WORDS = 3
SHORT_WARNING_SHARE = 0.1


def long_captions(rows: Sequence[Row], lengths: CaptionLengths, source: str) -> Iterator[Finding]:
    """Captions with more tokens than the text encoder reads: the rest would be cut off."""
    lost = [(count, at) for at, count in enumerate(lengths.lost) if count]
    if not lost:
        return
    lost.sort(key=lambda item: (-item[0], item[1]))
    worst = [f"{place_of(rows[at])} ({lengths.tokens[at]:,} tokens, {count:,} lost)" for count, at in lost[:SHOWN]]
    yield Finding(
        "long-caption",
        "error",
        f"{len(lost):,} of {len(rows):,} captions have more than the {lengths.most} tokens that {lengths.name} reads, "
        f"marks of beginning and end among them; {sum(count for count, _ in lost):,} tokens would be cut off: "
        f"{', '.join(worst)}",
        source,
        "shorten them, what matters first; or accept the cut with audit.accept: [long-caption]",
        tuple(place_of(rows[at]) for _, at in lost[:SHOWN]),
        len(lost) / len(rows),
    )


def has_word(text: str, word: str) -> bool:
    """Whether a text has a word as a whole, in any case: not ``skis`` for ``sks``, nor ``dogs`` for ``dog``."""
    return word_of(word).search(text) is not None


def word_of(word: str) -> re.Pattern[str]:
    """What a word as a whole looks like in a text, in any case."""
    return re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE)


def token_findings(
    train: Sequence[Row],
    held_out: Sequence[Row],
    source: str,
    held_out_source: str,
    prompt: str | None,
    token: str | None,
    class_noun: str | None,
) -> Iterator[Finding]:
    """Captions that do not name the subject by its token, or say not what it is."""
    if token is None:
        return
    lacking = [row for row in train if not has_word(str(row["text"]), token)]
    if lacking:
        said = (
            f"the prompt {prompt!r} is"
            if prompt is not None
            else f"{share_of(len(lacking), len(train), 'captions')} are"
        )
        example = "" if prompt is not None else f" (as {place_of(lacking[0])}: {shown(lacking[0])})"
        noun = f" {class_noun}" if class_noun else ""
        yield Finding(
            "prompt-without-token",
            "error",
            f"{said} without the token {token!r}{example}: the subject could not be called by it",
            "recipe: options.prompt" if prompt is not None else source,
            f"write it where the subject is meant: a photo of {token}{noun}",
            names_of(lacking),
            len(lacking) / len(train),
        )
    if held_out and not any(has_word(str(row["text"]), token) for row in held_out):
        yield Finding(
            "held-out-without-token",
            "warning",
            f"none of {len(held_out):,} held-out prompts has the token {token!r}: whether the subject was learned "
            "can't be measured",
            held_out_source,
            f"add prompts with it: {token}{f' {class_noun}' if class_noun else ''} on a beach",
            names_of(held_out),
            1.0,
        )
    bare = [row for row in train if class_noun and not has_word(str(row["text"]), class_noun)]
    if bare and not lacking:
        yield Finding(
            "caption-without-class",
            "warning",
            f"{share_of(len(bare), len(train), 'captions')} do not say that {token!r} is a {class_noun} (as "
            f"{place_of(bare[0])}: {shown(bare[0])}): what the model knows of it is not used",
            source,
            f"write: {token} {class_noun}",
            names_of(bare),
            len(bare) / len(train),
        )


def meaning_findings(token: str, vocabulary: Vocabulary) -> Iterator[Finding]:
    """What the token is to the tokenizer before anything is learned."""
    meaning = meaning_of(token, vocabulary)
    where = "recipe: options.token"
    rare = "choose a rare word, or learn a new token (textual inversion)"
    if meaning.unknown:
        yield Finding(
            "unknown-token",
            "error",
            f"the tokenizer does not know {token!r}: it reads it as any other unknown word",
            where,
            rare,
        )
    elif meaning.is_known_word:
        yield Finding(
            "known-token",
            "warning",
            f"the token {token!r} is a word of the vocabulary already: {meaning.told()} of {meaning.size:,}; what it "
            "means is learned over",
            where,
            f"nothing, if that is rare enough; else {rare}",
        )
    else:
        yield Finding(
            "token-in-pieces",
            "note",
            f"the token {token!r} is read as {len(meaning.ids)} pieces: {meaning.told()}; what they mean shows through",
            where,
            f"nothing, if these pieces mean nothing that the pictures could take on; else {rare}",
        )


def text_findings(rows: Sequence[Row], source: str, prompt: str | None) -> Iterator[Finding]:
    """Captions that are all the same or say next to nothing, where each picture has its own."""
    if prompt is not None or not rows:
        return
    texts = Counter(str(row["text"]) for row in rows)
    if len(texts) == 1 and len(rows) > 1:
        yield Finding(
            "same-captions",
            "warning",
            f"all {len(rows):,} captions are the same ({shown(rows[0])}): they tell no picture from another",
            source,
            "say what differs between the pictures; or, for one subject, remove them and set options.prompt",
            share=1.0,
        )
    short = [row for row in rows if len(str(row["text"]).split()) < SHORT_WORDS]
    if short:
        share = len(short) / len(rows)
        yield Finding(
            "short-caption",
            "warning" if share >= SHORT_WARNING_SHARE else "note",
            f"{share_of(len(short), len(rows), 'captions')} have fewer than {SHORT_WORDS} words (as "
            f"{place_of(short[0])}: {shown(short[0])}): what they leave out is learned as if it belonged to them",
            source,
            "say what else is to be seen: place, light, pose, style",
            names_of(short),
            share,
        )


def two_captions(rows: Sequence[Row], source: str) -> Iterator[Finding]:
    """Rows whose files are equal while their captions differ."""
    first: dict[str, Row] = {}
    differing: list[tuple[Row, Row]] = []
    for row in rows:
        other = first.setdefault(str(row["content"]), row)
        if row["text"] != other["text"]:
            differing.append((row, other))
    if not differing:
        return
    row, other = differing[0]
    yield Finding(
        "two-captions",
        "error",
        f"{share_of(len(differing), len(rows))} stand in another row with another caption "
        f"({place_of(row)}: {shown(row)}, and {place_of(other)}: {shown(other)})",
        source,
        "keep one; or accept several captions for a picture with audit.accept: [two-captions]",
        tuple(place_of(row) for row, _ in differing[:SHOWN]),
        len(differing) / len(rows),
    )


def place_of(row: Row) -> str:
    """What a person knows a row by."""
    return str(row["image"] or row["id"])


def shown(row: Row) -> str:
    """Its caption, the beginning of a long one, in quotes."""
    text = str(row["text"])
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def names_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """The first few rows."""
    return tuple(place_of(row) for row in rows[:SHOWN])


def share_of(count: int, total: int, what: str = "pictures") -> str:
    """A count with its share, for a sentence."""
    return f"{count:,} of {total:,} {what} ({count / total:.1%})"
