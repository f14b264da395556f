"""Which word was heard as which: two texts side by side, with the fewest errors that make one of the other.

It knows texts and no rates. The least cost is Levenshtein's, as jiwer finds it; where several alignments cost as
little, words that look alike stand side by side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any, Literal, TypeAlias

from tunesmith.errors import UserError
from tunesmith.speech.normalize import normalize, unit_of

Kind: TypeAlias = Literal["equal", "substitute", "delete", "insert"]
Pair: TypeAlias = tuple[Kind, str, str]
Step: TypeAlias = tuple[Kind, int, int]
"""A kind, and places in the truth and in what was said; -1 where there is none."""

LONGEST_RUN = 40
"""Words of a run without equal words up to which the likest are looked for."""


def chunks(truth: Sequence[str], said: Sequence[str]) -> Iterator[tuple[Kind, int, int, int, int]]:
    """Runs of one kind: where they begin and end in the truth and in what was said.

    Raises:
        UserError: jiwer is not installed.
    """
    if not truth or not said:
        # jiwer takes no empty reference.
        if truth or said:
            yield "delete" if truth else "insert", 0, len(truth), 0, len(said)
        return
    try:
        import jiwer
    except ImportError as error:
        what = "error rates of transcripts are counted by jiwer, which is not installed"
        raise UserError(what, "", 'pip install "tunesmith[audio]"') from error
    found = jiwer.process_words([list(truth)], [list(said)], _as_it_is, _as_it_is)
    for chunk in found.alignments[0]:
        yield chunk.type, chunk.ref_start_idx, chunk.ref_end_idx, chunk.hyp_start_idx, chunk.hyp_end_idx


def _as_it_is(words: Any) -> Any:
    """What jiwer is given in place of its own preparation."""
    return words


def alignment(truth: str, said: str, language: str | None = None) -> list[Pair]:
    """The two texts word by word, as a person reads them; what normalises to the same counts as equal.

    Args:
        truth: What was spoken.
        said: What the model wrote.
        language: A code or an English name.

    Returns:
        Kind, words of the truth and words that were said, as written: ``("equal", "won't", "will not")``,
        ``("delete", "the", "")``. Characters instead of words where the script has no spaces between them.
    """
    by_character = unit_of(language, truth or said) == "character"
    true, true_forms = _tokens(truth, language, by_character)
    heard, said_forms = _tokens(said, language, by_character)
    pairs: list[Pair] = []
    for same, steps in _runs(true_forms, said_forms):
        told = [
            (kind, true[ours] if ours >= 0 else "", heard[theirs] if theirs >= 0 else "")
            for kind, ours, theirs in steps
        ]
        whole, other = (" ".join(filter(None, words)) for words in ([t for _, t, _ in told], [s for _, _, s in told]))
        # The same may be said in other words: 21 and twenty one.
        if not same and normalize(whole, language) == normalize(other, language):
            told = [("equal", whole, other)]
        pairs += told
    return pairs


def confusions(
    truths: Sequence[str], saids: Sequence[str], languages: Sequence[str | None] | None = None
) -> Counter[tuple[str, str]]:
    """How often one word was heard as another, normalised; words that were left out or put in are none of them.

    Args:
        truths: What was spoken, a row each.
        saids: What the model wrote.
        languages: Of each row.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for truth, said, language in zip(truths, saids, languages or [None] * len(truths), strict=True):
        by_character = unit_of(language, truth or said) == "character"
        texts = (normalize(text, language) for text in (truth, said))
        true, heard = (list("".join(text.split())) if by_character else text.split() for text in texts)
        for _, steps in _runs(true, heard):
            counts.update((true[ours], heard[theirs]) for kind, ours, theirs in steps if kind == "substitute")
    return counts


def _tokens(text: str, language: str | None, by_character: bool) -> tuple[list[str], list[str]]:
    """Words (or characters) with their normal forms; what has none, a dash, stands with the word before it."""
    parts = [c for c in text if not c.isspace()] if by_character else text.split()
    between = "" if by_character else " "
    written: list[str] = []
    forms: list[str] = []
    early = ""
    for part in parts:
        form = normalize(part, language)
        if form:
            written.append(early + part)
            forms.append(form)
            early = ""
        elif written:
            written[-1] += between + part
        else:
            early += part + between
    return written, forms


def _runs(truth: Sequence[str], said: Sequence[str]) -> Iterator[tuple[bool, list[Step]]]:
    """Runs of equal words and runs without any, each in steps of one word."""
    ours, theirs = (0, 0), (0, 0)
    for kind, first, last, start, end in chunks(truth, said):
        if kind != "equal":
            ours, theirs = (ours[0], last), (theirs[0], end)
            continue
        if ours[0] < ours[1] or theirs[0] < theirs[1]:
            yield False, _likest(truth, said, range(*ours), range(*theirs))
        yield True, [("equal", first + n, start + n) for n in range(last - first)]
        ours, theirs = (last, last), (end, end)
    if ours[0] < ours[1] or theirs[0] < theirs[1]:
        yield False, _likest(truth, said, range(*ours), range(*theirs))


def _likest(truth: Sequence[str], said: Sequence[str], ours: range, theirs: range) -> list[Step]:
    """A run without equal words, as few of its words alone as can be and those that look alike together."""
    if len(ours) > len(theirs):
        turned = _likest(said, truth, theirs, ours)
        return [("delete" if kind == "insert" else kind, left, right) for kind, right, left in turned]
    spare = len(theirs) - len(ours)
    shifts = range(spare + 1) if len(theirs) <= LONGEST_RUN else range(1)
    # best[shift]: the likeness reached when as many words that were put in have gone before, and how.
    best: dict[int, tuple[float, list[int]]] = {shift: (0.0, []) for shift in shifts}
    for place in ours:
        reached: dict[int, tuple[float, list[int]]] = {}
        for shift in shifts:
            before, way = max((best[s] for s in shifts if s <= shift), key=lambda entry: entry[0])
            other = theirs[place - ours.start + shift]
            likeness = SequenceMatcher(None, truth[place], said[other], autojunk=False).ratio() if spare else 0.0
            reached[shift] = (before + likeness, [*way, other])
        best = reached
    together = dict(zip(max(best.values(), key=lambda entry: entry[0])[1], ours, strict=True))
    return [("substitute", together[n], n) if n in together else ("insert", -1, n) for n in theirs]
