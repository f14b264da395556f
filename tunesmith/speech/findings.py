"""What is wrong with the recordings of a data set, before a model hears them.

Each recording is read once, in threads, and measured. It knows no model but its limits, and no formats of sound; what
is wrong with transcripts stands in `transcript_findings`, what both sides share in `leak_findings`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from tunesmith.speech.heard import THREADS, Heard, Kept, Place, Side, Traced, hear
from tunesmith.speech.leak_findings import leak_findings
from tunesmith.speech.likeness import PrintIndex, SoundPrint
from tunesmith.speech.measures import Measures, Wave
from tunesmith.speech.transcript_findings import transcript_findings
from tunesmith.types import Finding, Level, Row

SHOWN = 5
RATE = 16_000
SILENT_ERROR_SHARE = 0.05
CLIPPED_SAMPLES, CLIPPED_WARNING_SHARE = 0.001, 0.01
NOISY_DB, NOISY_WARNING_SHARE = 5.0, 0.05
NARROW_HZ, NARROW_WARNING_SHARE = 4_400.0, 0.1
NARROW_SECONDS = 1.0
"""A shorter recording may hold one vowel, which is narrow by itself."""
SHORT_SECONDS, SHORT_WARNING_SHARE = 0.3, 0.01
LONG_SECONDS = 30.0
LONG_SLACK_SECONDS = 0.05

CODES: tuple[str, ...] = (
    "unreadable-audio",
    "silent",
    "clipped",
    "noisy",
    "narrow-band",
    "low-rate",
    "too-short",
    "too-long",
    "speaking-rate",
    "label-too-long",
    "outside-vocabulary",
    "other-script",
    "empty-text",
    "wrong-transcript",
    "repeated-audio",
    "audio-in-both-splits",
    "near-audio-leak",
    "speaker-in-both-splits",
    "conflicting-texts",
)
"""All codes that `sound_findings` may give, for a task's ``finding_codes``."""


def sound_findings(
    train: Sequence[Row],
    held_out: Sequence[Row],
    read: Callable[[Row], Wave],
    *,
    most_label_tokens: Callable[[str], int] | None,
    token_limit: int = 448,
    vocabulary: Set[str] | None = None,
    hypotheses: Mapping[str, float] | None = None,
    source: str = "train",
    held_out_source: str = "held out",
    longest: float = LONG_SECONDS,
    takes_longer: bool = False,
    kept: Kept | None = None,
    threads: int = THREADS,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[Finding]:
    """Look at every recording and every transcript once; the arguments are those of `traced_findings`.

    Yields:
        Findings with the codes of `CODES`.
    """
    sides = heard_sides(
        train, held_out, read,
        source=source, held_out_source=held_out_source, kept=kept, threads=threads, on_progress=on_progress,
    )  # fmt: skip
    for traced in traced_findings(
        sides,
        most_label_tokens=most_label_tokens,
        token_limit=token_limit,
        vocabulary=vocabulary,
        hypotheses=hypotheses,
        longest=longest,
        takes_longer=takes_longer,
    ):
        yield traced.finding


@dataclass
class HeardSides:
    """Both sides, heard in full.

    Args:
        learned: The training side.
        judged: The held-out side.
        near: Numbers of a held-out and of a training row that sound alike.
    """

    learned: Side
    judged: Side
    near: list[tuple[int, int]]


def heard_sides(
    train: Sequence[Row],
    held_out: Sequence[Row],
    read: Callable[[Row], Wave],
    *,
    source: str = "train",
    held_out_source: str = "held out",
    kept: Kept | None = None,
    threads: int = THREADS,
    on_progress: Callable[[int, int], None] | None = None,
    on_print: Callable[[int, SoundPrint], None] | None = None,
) -> HeardSides:
    """Hear every recording once.

    Args:
        train: Rows with ``id``, ``audio`` and ``text``; ``content``, ``seconds``, ``rate``, ``speaker``, ``language``,
            ``start`` and ``end`` are used where they are known.
        held_out: The same, of the other side.
        read: The row's waveform, float32 mono [samples] at 16 kHz; raises UserError where it cannot be read.
        source: Name of the training source, for ``where``.
        held_out_source: Name of the held-out source.
        kept: What was heard before (default: what this process has heard).
        threads: How many recordings are read at once.
        on_progress: Told (done, total) recordings.
        on_print: Handed the number and the print of every training recording.
    """
    total, done = len(train) + len(held_out), 0
    learned, judged = Side(train, source), Side(held_out, held_out_source)
    prints: list[SoundPrint] = []
    numbers: list[int] = []
    near: list[tuple[int, int]] = []
    index = PrintIndex([])
    for side in (judged, learned):  # held-out first: it is the smaller one, whose prints are kept at hand
        if side is learned:
            index = PrintIndex(prints)
        for number, heard in enumerate(hear(side.rows, read, kept=kept, threads=threads)):
            side.add(number, heard)
            if isinstance(heard, Heard) and side is judged:
                prints.append(heard.print)
                numbers.append(number)
            elif isinstance(heard, Heard):
                near.extend((numbers[asked], number) for asked in index.find(heard.print))
                if on_print:
                    on_print(number, heard.print)
            done += 1
            if on_progress:
                on_progress(done, total)
    return HeardSides(learned, judged, near)


def traced_findings(
    sides: HeardSides,
    *,
    most_label_tokens: Callable[[str], int] | None,
    token_limit: int = 448,
    vocabulary: Set[str] | None = None,
    hypotheses: Mapping[str, float] | None = None,
    longest: float = LONG_SECONDS,
    takes_longer: bool = False,
) -> Iterator[Traced]:
    """What is wrong with recordings and transcripts, with every row that it is about.

    Args:
        sides: Both, heard.
        most_label_tokens: How many tokens a transcript is to the model, at most; None where it has no limit.
        token_limit: How many of them the model takes.
        vocabulary: The characters that the model can write; None where it can write all.
        hypotheses: Error rate of the model's transcript before training, by row id.
        longest: Seconds that the model hears at once.
        takes_longer: Whether longer recordings can be learned all the same.
    """
    for side in (sides.learned, sides.judged):
        if side.rows:
            yield from recording_findings(side, longest=longest, takes_longer=takes_longer)
            yield from transcript_findings(side, most_label_tokens, token_limit, vocabulary, hypotheses)
    yield from leak_findings(sides.learned, sides.judged, sides.near)


def recording_findings(side: Side, *, longest: float, takes_longer: bool) -> Iterator[Traced]:
    """What is wrong with the recordings of one side.

    Args:
        side: Heard in full.
        longest: Seconds that the model hears at once.
        takes_longer: Whether longer recordings can be learned all the same.
    """
    yield from _unreadable(side)
    yield from _silent(side)
    yield from _measured(
        side, "clipped", lambda m: m.clipped >= CLIPPED_SAMPLES, CLIPPED_WARNING_SHARE,
        f"are cut off at full scale ({CLIPPED_SAMPLES:.1%} of their samples and more)",
        "record at a lower level; where recordings to come are clipped too, leave these in",
    )  # fmt: skip
    yield from _measured(
        side, "noisy", lambda m: m.snr_db is not None and m.snr_db < NOISY_DB, NOISY_WARNING_SHARE,
        f"hold hardly more speech than noise (an estimated {NOISY_DB:g} dB at most)",
        "listen to these; leave them out unless what is to be transcribed later is as noisy",
    )  # fmt: skip
    yield from _narrow(side)
    yield from _low_rate(side)
    yield from _too_short(side)
    yield from _too_long(side, longest, takes_longer)


def _of(count: int, side: Side) -> str:
    return f"{count:,} of {len(side.rows):,} recordings ({count / len(side.rows):.1%})"


def _found(side: Side, code: str, level: Level, numbers: Sequence[int], what: str, fix: str) -> Traced:
    ids = tuple(side.id(number) for number in numbers[:SHOWN])
    text = f"{_of(len(numbers), side)} {what}"
    finding = Finding(code, level, text, side.name, fix, ids, len(numbers) / len(side.rows))
    return Traced(finding, [Place(side, number) for number in numbers])


def _unreadable(side: Side) -> Iterator[Traced]:
    if side.faults:
        shown = "; ".join(f"{side.id(number)}: {reason}" for number, reason in side.faults[:3])
        found = _found(
            side,
            "unreadable-audio",
            "error",
            [number for number, _ in side.faults],
            f"cannot be read: {shown}",
            "mend these files, or leave their rows out",
        )
        yield Traced(found.finding, [Place(side, number, reason) for number, reason in side.faults])


def _silent(side: Side) -> Iterator[Traced]:
    """Silent recordings that are said to hold words; a silent one without words teaches to write nothing."""
    silent = [n for n in range(len(side.rows)) if side.silent(n) and str(side.rows[n].get("text") or "").strip()]
    if silent:
        yield _found(
            side,
            "silent",
            "error" if len(silent) / len(side.rows) >= SILENT_ERROR_SHARE else "warning",
            silent,
            "are silent, though their transcripts are not empty: the model would learn to make words up",
            "check start and end, and the channel that was recorded; or leave them out",
        )


def _measured(
    side: Side, code: str, holds: Callable[[Measures], bool], warning_share: float, what: str, fix: str
) -> Iterator[Traced]:
    numbers = [number for number, found in enumerate(side.measures) if found is not None and holds(found)]
    if numbers:
        level: Level = "warning" if len(numbers) / len(side.rows) >= warning_share else "note"
        yield _found(side, code, level, numbers, what, fix)


def _narrow(side: Side) -> Iterator[Traced]:
    """Sound of a telephone in a file of a higher rate."""
    narrow = [
        number
        for number, found in enumerate(side.measures)
        if found is not None
        and found.seconds >= NARROW_SECONDS
        and 0 < found.bandwidth <= NARROW_HZ
        and (side.rows[number].get("rate") or RATE) >= RATE
    ]
    if narrow:
        yield _found(
            side,
            "narrow-band",
            "warning" if len(narrow) / len(side.rows) >= NARROW_WARNING_SHARE else "note",
            narrow,
            f"hold no sound above {NARROW_HZ:,.0f} Hz, though their files could: they were recorded at 8,000 Hz "
            "or come from a telephone",
            "nothing to do where recordings to come are like these; else look for the originals",
        )


def _low_rate(side: Side) -> Iterator[Traced]:
    rates = [row.get("rate") for row in side.rows]
    low = [number for number, rate in enumerate(rates) if rate is not None and rate < RATE]
    if low:
        counts = Counter(int(side.rows[number]["rate"]) for number in low)
        said = ", ".join(f"{count:,} at {rate:,} Hz" for rate, count in counts.most_common(3))
        yield _found(
            side,
            "low-rate",
            "note",
            low,
            f"have a rate below {RATE:,} Hz and are resampled to it, without the sound that they lack: {said}",
            "nothing to do where recordings to come are like these; else look for the originals",
        )


def _too_short(side: Side) -> Iterator[Traced]:
    short = [n for n, found in enumerate(side.measures) if found is not None and side.seconds(n) < SHORT_SECONDS]
    if short:
        yield _found(
            side,
            "too-short",
            "warning" if len(short) / len(side.rows) >= SHORT_WARNING_SHARE else "note",
            short,
            f"are shorter than {SHORT_SECONDS:g} seconds ({side.id(short[0])}: {side.seconds(short[0]):.2f})",
            "check start and end, or leave them out",
        )


def _too_long(side: Side, longest: float, takes_longer: bool) -> Iterator[Traced]:
    long = [number for number in range(len(side.rows)) if side.seconds(number) > longest + LONG_SLACK_SECONDS]
    if long:
        most = max(long, key=side.seconds)
        yield _found(
            side,
            "too-long",
            "note" if takes_longer else "error",
            long,
            f"are longer than the {longest:g} seconds that the model hears at once "
            f"({side.id(most)}: {side.seconds(most):,.1f})",
            "they take more memory, nothing else"
            if takes_longer
            else "give the times of their words (a column words), so that they can be cut, "
            "or cut them yourself and give start and end",
        )
