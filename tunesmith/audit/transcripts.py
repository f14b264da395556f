"""Transcripts that are not of their recording: of another row, cut, too long, or simply wrong.

The recipe's own weights say how well each fits before they learn; nobody else is asked. It knows no architecture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

import numpy as np

from tunesmith.audit.found import Found, Mark, Remedy, SideName, Skipped, View, share_level
from tunesmith.audit.transcript_fit import MOST_SECONDS, Fitted, Listener, Ratios, ratios_of
from tunesmith.speech.normalize import normalize
from tunesmith.speech.scores import errors_of

if TYPE_CHECKING:
    from tunesmith.audit.data import AuditData

SIDES: tuple[SideName, ...] = ("train", "eval")
LEAST_ROWS = 20
SUSPECT, DOUBTFUL = 0.5, 0.3
CLEARED = 0.4
"""A transcript whose characters differ less than this from what the model writes is right but for its spelling."""
CANDIDATES = 5
FITS = 0.6
"""A text fits where its loss is this share of that of the row's own transcript, at most."""
NO_SPEECH = 0.6
END_NATS, PART_NATS, REST_NATS, PART_TOKENS = 4.0, 3.5, 1.8, 3
MOST_ENDS = 2_000
LEAST_WORDS, LEAST_SHARE = 2, 0.12


def transcript_findings(data: AuditData) -> Iterator[Found | View | Skipped]:
    """Transcripts that the base model disagrees with, each with what it says instead."""
    if not data.has_weights or not data.task.facts.values:
        why = "no pretrained weights are at hand to hear recordings with"
        yield Skipped("transcripts", f"{why}: name them in the recipe's model")
        return
    listener = Listener(data)
    if len(listener.rows) < LEAST_ROWS:
        yield Skipped(
            "transcripts", f"{len(listener.rows):,} transcripts are too few to compare ({LEAST_ROWS} are needed)"
        )
        return
    most = data.wishes.most_seconds or MOST_SECONDS
    fitted = listener.fitted(most)
    if sum(one is not None and bool(one.others) for one in fitted) < LEAST_ROWS:
        yield Skipped(
            "transcripts",
            "the model can't say how well a transcript fits (it never wrote characters, or no recording can be heard): "
            "name one that was trained on speech with transcripts",
        )
        return
    ratios = ratios_of(listener, fitted)
    if not ratios.tells:
        yield Skipped(
            "transcripts",
            "the model does not tell these transcripts from each other's, as of a language that it does not know: "
            "name a larger one, or one of this language",
        )
        return
    if listener.left_out:
        total = len(listener.rows)
        yield Skipped(
            "transcripts",
            f"{total - listener.left_out:,} of {total:,} transcripts were heard in {most:,.0f} s, drawn at random; "
            "audit again to go on from there",
        )
    judge = _Judge(data, listener, fitted, ratios)
    yield from judge.swapped_and_wrong()
    yield from judge.ends()
    yield _view(listener, ratios)


def _view(listener: Listener, ratios: Ratios) -> View:
    edges = np.linspace(0, 1.5, 31)
    values = ratios.own
    counts = {}
    for side in ("train", "eval"):
        mine = [
            value for value, one in zip(values, listener.rows, strict=True) if one.side == side and np.isfinite(value)
        ]
        counts[side] = np.histogram(np.clip(mine, 0, 1.5), edges)[0].tolist()
    said = (
        "Loss of each transcript to the weights before they learn, beside that of other transcripts on the same "
        "recording and of the same transcript on other recordings: about 1 is as bad as a wrong one.",
        f"Half of all have {ratios.middle:.2f} and less; {ratios.limit:.2f} and more is likely a wrong one.",
    )
    return View("transcript-fit", "How well transcripts fit", "histogram", {"edges": edges.tolist(), "counts": counts},
                "share of a wrong transcript's loss", said)  # fmt: skip


@dataclass
class _Judge:
    """What is made of the losses."""

    data: AuditData
    listener: Listener
    fitted: Sequence[Fitted | None]
    ratios: Ratios

    def __post_init__(self) -> None:
        self.scores = self.ratios.scores()
        order = np.argsort(-self.scores, kind="stable").tolist()
        self.suspects = [at for at in order if self._suspect(at)]
        self.heard = dict(zip(self.suspects, self.listener.heard(self.suspects), strict=True))
        self.best: dict[int, int] = {}
        self.wrong = [at for at in self.suspects if self._distance(at, self.listener.rows[at].text) > CLEARED]

    def _suspect(self, at: int) -> bool:
        fit = self.fitted[at]
        return fit is not None and (self.scores[at] >= SUSPECT or (_silent(fit) and self.scores[at] >= DOUBTFUL))

    def _distance(self, at: int, text: str) -> float:
        """Share of a text's characters that differ from what is heard; 1 where nothing is."""
        heard = self.heard[at]
        if not heard:
            return 1.0
        found = errors_of(text, heard, self.listener.rows[at].language).characters_normalized
        return min(2.0, found.errors / max(1, found.reference))

    def swapped_and_wrong(self) -> Iterator[Found]:
        """Rows whose transcript is another one's, with that; and rows whose transcript is simply wrong."""
        best = self.best = self._partners()
        swapped: dict[SideName, list[Mark]] = {"train": [], "eval": []}
        wrong: dict[SideName, list[Mark]] = {"train": [], "eval": []}
        silent: dict[SideName, list[Mark]] = {"train": [], "eval": []}
        for at in self.wrong:
            one, fit = self.listener.rows[at], self.fitted[at]
            score = float(self.scores[at])
            if at in best:
                other = self.listener.rows[best[at]]
                both = self.listener.rows[best.get(best[at], at)].text == one.text and best.get(best[at]) is not None
                note = f"the recording says {_short(other.text)!r}" + (", and the other way round" if both else "")
                mark = Mark(one.id, one.side, score, note, f"{other.side}:{other.id}", {"text": other.text})
                swapped[one.side].append(mark)
                continue
            heard = self.heard[at]
            if ends_of(one.text, heard or "", one.language) is not None:
                continue  # a right one, cut or too long
            nobody = fit is not None and _silent(fit)
            note = f"heard: {_short(heard)!r}" if heard else "nothing is heard"
            (silent if nobody else wrong)[one.side].append(Mark(one.id, one.side, score, note))
        for side in SIDES:
            yield from self._found(
                side, "swapped-transcripts", swapped[side], 0.0, 0.05,
                "have the transcript of another row",
                "give each its own (--fix does), and look for where they were mixed up: a sorted list, a shifted table",
                "change",
            )  # fmt: skip
            yield from self._found(
                side, "wrong-transcript", wrong[side], 0.005, 0.05,
                "fit their recording no better than those of other rows do",
                "listen to these: the transcript is likely of another recording, or in another language",
                "drop",
            )  # fmt: skip
            yield from self._found(
                side, "no-speech", silent[side], 0.0, 0.05,
                "hold words, and the model hears nobody speak",
                "listen to these: music, noise or silence teach a model to make words up",
                "drop",
            )  # fmt: skip

    def _found(
        self, side: SideName, code: str, marks: list[Mark], warning: float, error: float, what: str, fix: str,
        remedy: Remedy,
    ) -> Iterator[Found]:  # fmt: skip
        if not marks:
            return
        asked = sum(
            fit is not None for fit, one in zip(self.fitted, self.listener.rows, strict=True) if one.side == side
        )
        share = len(marks) / asked
        marks.sort(key=lambda mark: -mark.score)
        text = f"{len(marks):,} of {asked:,} transcripts ({share:.1%}) {what}: {marks[0].row}, {marks[0].note}"
        level = share_level(share, warning, error)
        yield Found(code, level, text, self.data.where(side), fix, marks, share, remedy=remedy)

    def _partners(self) -> dict[int, int]:
        """Of each row with a wrong transcript another such row, whose text fits it, where there is one."""
        texts = [self.listener.rows[at].text for at in self.wrong]
        if len(texts) < 2:
            return {}
        likely = _likeliest([self.heard[at] or "" for at in self.wrong], texts)
        claims: list[tuple[float, int, int]] = []
        for at, some in zip(self.wrong, likely, strict=True):
            own = self.listener.rows[at].text
            tried = [n for n in some if texts[n] != own]
            losses = self.listener.tried(at, [texts[n] for n in tried]) if tried else None
            if losses is None:
                continue
            best = int(np.argmin(losses[1:]))
            closer = self._distance(at, texts[tried[best]]) < self._distance(at, own)
            if losses[best + 1] <= FITS * losses[0] and closer:
                claims.append((losses[best + 1] / losses[0], at, self.wrong[tried[best]]))
        found: dict[int, int] = {}
        for _, at, other in sorted(claims):
            # A text belongs to one recording: the one that it fits best.
            if other not in found.values():
                found[at] = other
        for at, other in list(found.items()):
            # A word alone is easily misheard: whose text went to another row has that one's, if it fits better at all.
            free = other not in found and at not in found.values()
            losses = self.listener.tried(other, [self.listener.rows[at].text]) if free else None
            if losses is not None and losses[1] < losses[0]:
                found[other] = at
        return found

    # Cut, and too long

    def ends(self) -> Iterator[Found]:
        """Transcripts that lack words at an end, or have more than are said."""
        suspects = set(self.suspects)
        asked = [
            at
            for at, fit in enumerate(self.fitted)
            if fit is not None and at not in suspects and (self.scores[at] >= DOUBTFUL or _odd_end(fit))
        ][:MOST_ENDS]
        # Those that fit badly may be cut or too long, too.
        asked += [at for at in self.wrong if self.heard[at] and at not in self.best]
        cut: dict[SideName, list[Mark]] = {"train": [], "eval": []}
        long: dict[SideName, list[Mark]] = {"train": [], "eval": []}
        for at, heard in zip(asked, self.listener.heard(asked), strict=True):
            one = self.listener.rows[at]
            found = ends_of(one.text, heard or "", one.language)
            if found is not None:
                kind, words = found
                note = f"heard besides: {_short(words)!r}" if kind == "cut" else f"not heard: {_short(words)!r}"
                (cut if kind == "cut" else long)[one.side].append(Mark(one.id, one.side, 0.7, note))
        for side in SIDES:
            yield from self._found(
                side, "cut-transcripts", cut[side], 0.02, 1.1,
                "lack words at an end that are heard", "write all that is said, or cut the recordings as well", "drop",
            )  # fmt: skip
            yield from self._found(
                side, "long-transcripts", long[side], 0.02, 1.1,
                "have words at an end that are not heard", "listen to these: the recording may be cut", "drop",
            )  # fmt: skip


def _silent(fit: Fitted) -> bool:
    return fit.no_speech is not None and fit.no_speech >= NO_SPEECH


def _odd_end(fit: Fitted) -> bool:
    """Whether a transcript fits but for one of its ends, by the losses of its tokens."""
    parts = np.array(fit.parts)
    if fit.end is None or len(parts) < 2:
        return False
    if fit.end >= END_NATS and float(np.median(parts)) < REST_NATS:
        return True
    if float(parts[0]) >= PART_NATS and float(np.median(parts[1:])) < REST_NATS:
        return True
    for size in range(PART_TOKENS, len(parts)):
        for tail, rest in ((parts[-size:], parts[:-size]), (parts[:size], parts[size:])):
            if float(np.median(tail)) >= PART_NATS and float(np.median(rest)) < REST_NATS:
                return True
    return False


def ends_of(text: str, heard: str, language: str | None) -> tuple[str, str] | None:
    """Whether a transcript is ``cut`` or ``long`` beside what is heard, and the words that one of them lacks.

    Args:
        text: The transcript.
        heard: What the model writes.
        language: Of both.
    """
    given, said = normalize(text, language).split(), normalize(heard, language).split()
    blocks = [b for b in SequenceMatcher(None, given, said, autojunk=False).get_matching_blocks() if b.size]
    if not blocks or sum(b.size for b in blocks) < 0.5 * min(len(given), len(said)):
        return None
    first, last = blocks[0], blocks[-1]
    lacking = (
        said[: first.b] if first.a == 0 else [],
        said[last.b + last.size :] if last.a + last.size == len(given) else [],
    )
    beyond = (
        given[: first.a] if first.b == 0 else [],
        given[last.a + last.size :] if last.b + last.size == len(said) else [],
    )
    for kind, ends, whole in (("cut", lacking, said), ("long", beyond, given)):
        words = max(ends, key=len)
        if len(words) >= max(LEAST_WORDS, LEAST_SHARE * len(whole)):
            return kind, " ".join(words)
    return None


HASHED = 4096


def _likeliest(heard: Sequence[str], texts: Sequence[str]) -> list[list[int]]:
    """Of each thing heard the numbers of the texts with most three-letter pieces in common, its own left out."""
    said, known = _pieces(heard), _pieces(texts)
    found = []
    for start in range(0, len(said), 512):
        alike = said[start : start + 512] @ known.T
        own = np.arange(len(alike))
        alike[own, own + start] = -1
        found += np.argsort(-alike, axis=1, kind="stable")[:, :CANDIDATES].tolist()
    return found


def _pieces(texts: Sequence[str]) -> np.ndarray:
    """Counts of hashed three-letter pieces, each row of length 1, float32 [texts, HASHED]."""
    from zlib import crc32

    found = np.zeros((len(texts), HASHED), dtype=np.float32)
    for i, text in enumerate(texts):
        plain = f" {normalize(text) or text.lower()} "
        for at in range(len(plain) - 2):
            found[i, crc32(plain[at : at + 3].encode()) % HASHED] += 1
    return np.asarray(found / np.maximum(1e-6, np.linalg.norm(found, axis=1, keepdims=True)))


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
