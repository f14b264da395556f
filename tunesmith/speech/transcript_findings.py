"""What is wrong with transcripts: empty, too long, in letters the model lacks, at odds with their recordings.

It reads no sound: what was measured of each recording is given to it.
"""

from __future__ import annotations

import statistics
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from functools import lru_cache

from tunesmith.speech.heard import Place, Side, Traced
from tunesmith.types import Finding, Level

SHOWN, SHOWN_CHARACTERS = 5, 12
ALPHABETIC_RATE = (2.0, 30.0)
SYLLABIC_RATE = (1.0, 15.0)
"""Characters a second between which people speak: of alphabets, and where a character is a syllable or a word."""
LEAST_SLOW_SECONDS = 1.5
"""A shorter recording of one word has few characters a second, and nothing is wrong with it."""
LEAST_SECONDS = 0.1
SPEAKING_RATE_WARNING_SHARE = 0.005
OUTSIDE_ERROR_SHARE = 0.5
MAJORITY = 0.6
WRONG_RATE, RIGHT_MEDIAN, LEAST_HYPOTHESES = 0.8, 0.4, 10

_SYLLABIC = frozenset({"HAN AND KANA", "HANGUL", "YI", "ETHIOPIC"})


def transcript_findings(
    side: Side,
    most_label_tokens: Callable[[str], int] | None,
    token_limit: int,
    vocabulary: Set[str] | None,
    hypotheses: Mapping[str, float] | None,
) -> Iterator[Traced]:
    """What is wrong with the transcripts of one side.

    Args:
        side: Heard in full.
        most_label_tokens: How many tokens a transcript is to the model, at most.
        token_limit: How many it takes.
        vocabulary: The characters that the model can write; None where it can write all.
        hypotheses: Error rate of the model's own transcript, by row id.
    """
    texts = [str(row.get("text") or "").strip() for row in side.rows]
    yield from _empty(side, texts)
    if most_label_tokens is not None:
        yield from _too_long(side, texts, most_label_tokens, token_limit)
    if vocabulary is not None:
        yield from _outside(side, texts, vocabulary)
    yield from _other_script(side, texts)
    yield from _speaking_rate(side, texts)
    if hypotheses is not None:
        yield from _wrong(side, hypotheses)


def _found(
    side: Side, code: str, level: Level, numbers: Sequence[int], what: str, fix: str, total: int | None = None
) -> Traced:
    share = len(numbers) / (total or len(side.rows))
    text = f"{len(numbers):,} of {total or len(side.rows):,} transcripts ({share:.1%}) {what}"
    finding = Finding(code, level, text, side.name, fix, tuple(side.id(n) for n in numbers[:SHOWN]), share)
    return Traced(finding, [Place(side, n) for n in numbers])


def _empty(side: Side, texts: Sequence[str]) -> Iterator[Traced]:
    empty = [number for number, text in enumerate(texts) if not text]
    if empty:
        silent = sum(side.silent(number) for number in empty)
        yield _found(
            side,
            "empty-text",
            "error" if len(empty) == len(texts) else "note" if silent == len(empty) else "warning",
            empty,
            f"are empty; {silent:,} of their recordings are silent",
            "give their words, or leave out those in which somebody speaks; silence without words may stay",
        )


def _too_long(side: Side, texts: Sequence[str], tokens: Callable[[str], int], limit: int) -> Iterator[Traced]:
    counts = {number: tokens(text) for number, text in enumerate(texts)}
    long = [number for number, count in counts.items() if count > limit]
    if long:
        most = max(long, key=lambda number: counts[number])
        yield _found(
            side,
            "label-too-long",
            "error",
            long,
            f"are longer than the {limit:,} tokens that the model can write ({side.id(most)}: {counts[most]:,})",
            "cut these recordings and their transcripts into shorter parts, or leave them out",
        )


def _outside(side: Side, texts: Sequence[str], vocabulary: Set[str]) -> Iterator[Traced]:
    counts: Counter[str] = Counter()
    rows = []
    for number, text in enumerate(texts):
        strange = [c for c in text if c not in vocabulary and not c.isspace()]
        counts.update(strange)
        if strange:
            rows.append(number)
    if rows:
        shown = ", ".join(f"{c!r} ({count:,})" for c, count in counts.most_common(SHOWN_CHARACTERS))
        more = f" and {len(counts) - SHOWN_CHARACTERS:,} more" if len(counts) > SHOWN_CHARACTERS else ""
        yield _found(
            side,
            "outside-vocabulary",
            "error" if len(rows) / len(texts) >= OUTSIDE_ERROR_SHARE else "warning",
            rows,
            f"hold characters that the model's vocabulary does not: {shown}{more}",
            "write them otherwise (figures as words, letters as the vocabulary has them), or add them to it",
        )


@lru_cache(maxsize=1 << 14)
def script_of(character: str) -> str | None:
    """The script of a letter by its Unicode name (``LATIN``, ``CYRILLIC``); None of what is no letter."""
    if not character.isalpha():
        return None
    name = unicodedata.name(character, "").replace("-", " ").split(" ")
    first = next((word for word in name if word not in ("FULLWIDTH", "HALFWIDTH", "MODIFIER", "OLD", "NEW")), "")
    return "HAN AND KANA" if first in ("CJK", "HIRAGANA", "KATAKANA", "IDEOGRAPHIC", "BOPOMOFO") else first or None


def main_script(text: str) -> str | None:
    """The script of most letters of a text; None where it has no letters."""
    counts = Counter(script for script in map(script_of, text) if script)
    return counts.most_common(1)[0][0] if counts else None


def _other_script(side: Side, texts: Sequence[str]) -> Iterator[Traced]:
    by_language: dict[str, dict[str, list[int]]] = {}
    for number, text in enumerate(texts):
        script = main_script(text)
        if script is not None:
            language = str(side.rows[number].get("language") or "")
            by_language.setdefault(language, {}).setdefault(script, []).append(number)
    for language, scripts in sorted(by_language.items()):
        total = sum(map(len, scripts.values()))
        usual = max(scripts, key=lambda script: len(scripts[script]))
        if len(scripts) == 1 or len(scripts[usual]) < MAJORITY * total:
            continue
        others = sorted(number for script, rows in scripts.items() if script != usual for number in rows)
        said = ", ".join(f"{len(rows):,} {script.capitalize()}" for script, rows in scripts.items() if script != usual)
        yield _found(
            side,
            "other-script",
            "warning",
            others,
            f"are in another script than the rest{f' of language {language}' if language else ''}, "
            f"which is {usual.capitalize()}: {said}",
            "check their language, and the encoding of the file; write one language in one script",
            total,
        )


def _speaking_rate(side: Side, texts: Sequence[str]) -> Iterator[Traced]:
    """Transcripts that nobody could say so fast, or that leave most of the recording unsaid."""
    fast, slow = [], []
    for number, text in enumerate(texts):
        measured = side.measures[number]
        letters = sum(character.isalnum() for character in text)
        if measured is None or not letters or side.silent(number):
            continue
        if side.seconds(number) > measured.seconds + 1:
            continue  # one of hours, of which the beginning was heard
        seconds = max(LEAST_SECONDS, measured.seconds - measured.leading - measured.trailing)
        least, most = SYLLABIC_RATE if main_script(text) in _SYLLABIC else ALPHABETIC_RATE
        if letters > most * seconds:
            fast.append((number, letters / seconds))
        elif letters < least * seconds and seconds >= LEAST_SLOW_SECONDS:
            slow.append((number, letters / seconds))
    odd = [*fast, *slow]
    if odd:
        said = []
        if fast:
            number, rate = max(fast, key=lambda found: found[1])
            said.append(f"{len(fast):,} are too long for it ({side.id(number)}: {rate:,.0f} characters a second)")
        if slow:
            number, rate = min(slow, key=lambda found: found[1])
            said.append(f"{len(slow):,} are too short for it ({side.id(number)}: {rate:.1f} characters a second)")
        yield _found(
            side,
            "speaking-rate",
            "warning" if len(odd) / len(texts) >= SPEAKING_RATE_WARNING_SHARE else "note",
            [number for number, _ in odd],
            f"hardly belong to their recording: {'; '.join(said)}",
            "listen to these: the transcript is of something else, or the recording was cut off",
        )


def _wrong(side: Side, hypotheses: Mapping[str, float]) -> Iterator[Traced]:
    """Rows that the model reads otherwise altogether, where it reads most rows well."""
    rates = {number: hypotheses[side.id(number)] for number in range(len(side.rows)) if side.id(number) in hypotheses}
    if len(rates) < LEAST_HYPOTHESES or (median := statistics.median(rates.values())) >= RIGHT_MEDIAN:
        return
    wrong = sorted((number for number, rate in rates.items() if rate > WRONG_RATE), key=lambda n: -rates[n])
    if wrong:
        yield _found(
            side,
            "wrong-transcript",
            "warning",
            wrong,
            f"differ from what the model hears before training in more than {WRONG_RATE:.0%} of it, where half of all "
            f"differ in {median:.0%} at most ({side.id(wrong[0])}: {rates[wrong[0]]:.0%})",
            "listen to these: the transcript is likely of another recording, or in another language",
            len(rates),
        )
