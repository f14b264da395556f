"""What recordings are made of, and what is missing: lengths, levels, noise, bands, rooms, voices. It judges no row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.audit.found import Found, SideName, View
from tunesmith.audit.sounds import Made
from tunesmith.speech.findings import HeardSides
from tunesmith.speech.heard import Side

if TYPE_CHECKING:
    from tunesmith.audit.data import AuditData

Floats = NDArray[np.float64]
Values = Mapping[SideName, Floats]

FEW = 0.02
"""A share below which a condition is as good as missing."""
NOISY_DB, VERY_NOISY_DB = 20.0, 10.0
RINGING_SECONDS = 0.5
NARROW_SPREAD_DB = 6.0
BANDS: tuple[tuple[str, float], ...] = (
    ("up to 4.4 kHz (telephone)", 4_400.0),
    ("4.4 to 6 kHz", 6_000.0),
    ("6 to 7.4 kHz", 7_400.0),
    ("above 7.4 kHz (whole)", float("inf")),
)
MOST_BARS = 30
FEW_VOICES, MOST_OF_IT = 10, 0.8
DRIFT, DRIFT_LEAST_ROWS = 0.5, 20


def _values(sides: HeardSides, of: str) -> Values:
    """A measure of every recording that was read, by side."""
    found: dict[SideName, Floats] = {}
    for side, name in ((sides.learned, "train"), (sides.judged, "eval")):
        some = [getattr(m, of) for m in side.measures if m is not None and (m.silence < 1 or of == "seconds")]
        found[name] = np.array([value for value in some if value is not None], dtype=np.float64)  # type: ignore[index]
    return found


def _decays(made: Mapping[SideName, Sequence[Made]]) -> Values:
    found: dict[SideName, Floats] = {}
    for name, some in made.items():
        known = [one.conditions.decay for one in some if one.conditions is not None]
        found[name] = np.array([value for value in known if value is not None], dtype=np.float64)
    return found


def drift_said(data: AuditData, sides: HeardSides, made: Mapping[SideName, Sequence[Made]]) -> Iterator[Found]:
    """Held-out recordings that were made under other conditions than those that are learned."""
    told = []
    for words, unit, values in (
        ("signal-to-noise ratio", "dB", _values(sides, "snr_db")),
        ("level", "dB", _values(sides, "rms_db")),
        ("highest frequency", "Hz", _values(sides, "bandwidth")),
        ("time to die away", "s", _decays(made)),
    ):
        train, held = values.get("train", np.zeros(0)), values.get("eval", np.zeros(0))
        if min(len(train), len(held)) >= DRIFT_LEAST_ROWS and _apart(train, held) >= DRIFT:
            middle, other = float(np.median(train)), float(np.median(held))
            told.append(f"{words} (half have {middle:,.3g} {unit} and more in training, {other:,.3g} {unit} held out)")
    if told:
        yield Found(
            "audio-drift",
            "warning",
            f"held-out recordings were made under other conditions than training recordings: {'; '.join(told)}",
            data.where("eval"),
            "judge on recordings like those to come; let training recordings be like them, too, or vary them "
            "(options.augment)",
        )


def _apart(one: Floats, other: Floats) -> float:
    """Kolmogorov and Smirnov's distance of two samples, 0 to 1."""
    points = np.concatenate([one, other])
    below = [np.searchsorted(np.sort(some), points, "right") / len(some) for some in (one, other)]
    return float(np.abs(below[0] - below[1]).max())


def audio_views(data: AuditData, sides: HeardSides, made: Mapping[SideName, Sequence[Made]]) -> Iterator[View]:
    """Histograms and bars, each with what is missing in words."""
    if not any(len(some) for some in _values(sides, "seconds").values()):
        return
    yield _durations(sides)
    varied = _augmented(data)
    level = _values(sides, "rms_db")
    yield _histogram("audio-loudness", "Level", level, "dB of full scale", _level_said(level["train"]), 2.0)
    snr = _values(sides, "snr_db")
    if any(map(len, snr.values())):
        yield _histogram("audio-noise", "Speech above noise (estimated)", snr, "dB", [*_noise_said(snr), *varied], 5.0)
    yield _bandwidths(sides, varied)
    rates = [Counter(int(row.get("rate") or 0) for row in side.rows) for side in (sides.learned, sides.judged)]
    if sum(rates, Counter()).keys() - {0}:
        yield _bars("audio-rates", "Sampling rates of the files", rates, lambda rate: f"{rate:,} Hz", by_name=True)
    decays = _decays(made)
    if any(map(len, decays.values())):
        said = [
            "A stand-in for rooms: how fast sound dies away by 60 dB where speech stops; voice and room together.",
            *_room_said(decays.get("train", np.zeros(0))),
            *varied,
        ]
        yield _histogram("audio-rooms", "How sound dies away", decays, "seconds for 60 dB", said, 0.1, most=2.0)
    yield from _speaking(sides)
    yield _voices(data, sides)
    languages = [Counter(str(row.get("language") or "") for row in side.rows) for side in (sides.learned, sides.judged)]
    if len(sum(languages, Counter()).keys() - {""}) > 1:
        yield _bars("audio-languages", "Languages", languages, lambda name: str(name) or "not named")


def _augmented(data: AuditData) -> list[str]:
    """What the recipe adds to this while the model learns."""
    augmenter = getattr(data.task, "augmenter", None) if getattr(data.task, "random", False) else None
    lines = list(augmenter.describe()) if augmenter is not None else []
    return [f"While the model learns, the recipe varies recordings: {'; '.join(lines)}."] if lines else []


def _histogram(
    name: str, title: str, values: Values, unit: str, said: Sequence[str], step: float, most: float = float("inf")
) -> View:
    """Bars of a round width over all that there is; what lies beyond ``most`` counts into the last."""
    whole = np.minimum(np.concatenate(list(values.values())), most)
    low, high = np.floor(whole.min() / step), np.ceil(whole.max() / step)
    count = int(max(1, high - low))
    width = int(np.ceil(count / 60))
    edges = (low + np.arange(0, count + width, width)) * step
    counts = {
        side: np.histogram(np.clip(some, edges[0], edges[-1]), edges)[0].tolist() for side, some in values.items()
    }
    return View(name, title, "histogram", {"edges": edges.round(6).tolist(), "counts": counts}, unit, tuple(said))


def _bars(
    name: str, title: str, counted: Sequence[Counter[Any]], shown: Any, said: Sequence[str] = (), by_name: bool = False
) -> View:
    whole: Counter[Any] = sum(counted, Counter())
    order = sorted(whole) if by_name else [key for key, _ in whole.most_common(MOST_BARS)]
    more = len(whole) - len(order)
    data = {
        "names": [shown(key) for key in order],
        "counts": {side: [some[key] for key in order] for side, some in zip(("train", "eval"), counted, strict=True)},
    }
    return View(name, title, "bars", data, said=(*said, *([f"{more:,} more are not shown."] if more else [])))


def _durations(sides: HeardSides) -> View:
    both: list[tuple[Side, SideName]] = [(sides.learned, "train"), (sides.judged, "eval")]
    values: dict[SideName, Floats] = {
        name: np.array([side.seconds(n) for n in range(len(side.rows)) if side.seconds(n) > 0]) for side, name in both
    }
    train, held = values["train"], values["eval"]
    said = []
    for name, some in (("Training", train), ("Held-out", held)):
        if len(some):
            q = np.quantile(some, [0.05, 0.5, 0.95])
            said.append(
                f"{name}: {some.sum() / 3600:,.2f} hours in {len(some):,} recordings; half last {q[1]:.1f} s and more, "
                f"nine of ten {q[0]:.1f} to {q[2]:.1f} s."
            )
    if len(train) and float(np.quantile(train, 0.98)) < 10:
        said.append(
            f"Next to none is longer than {np.quantile(train, 0.98):.1f} s: whole sentences and talks will be worse."
        )
    if len(train) and float(np.quantile(train, 0.02)) > 3:
        said.append(f"Next to none is shorter than {np.quantile(train, 0.02):.1f} s: single words will be worse.")
    return _histogram("audio-durations", "Lengths", values, "seconds", said, 0.5)


def _level_said(train: Floats) -> list[str]:
    if not len(train):
        return []
    low, middle, high = np.quantile(train, [0.05, 0.5, 0.95])
    said = [f"Half of the training recordings have {middle:.0f} dB and more, nine of ten {low:.0f} to {high:.0f} dB."]
    if high - low < NARROW_SPREAD_DB:
        said.append(
            f"All are about equally loud ({high - low:.0f} dB apart): a speaker who is far from the microphone, or a "
            "line that is louder, is not among them."
        )
    return said


def _noise_said(snr: Values) -> list[str]:
    train, held = snr["train"], snr["eval"]
    if not len(train):
        return []
    low, middle, high = np.quantile(train, [FEW, 0.5, 1 - FEW])
    said = [f"Half of the training recordings have {middle:.0f} dB and more (60 dB is the most that is told)."]
    if low >= NOISY_DB:
        said.append(
            f"Next to no recording has a signal-to-noise ratio below {low:.0f} dB: a phone line, a car or a busy room "
            "will be worse."
        )
    elif low >= VERY_NOISY_DB:
        said.append(f"Next to no recording lies below {low:.0f} dB: loud surroundings will be worse.")
    if high < 30:
        said.append(f"Next to no recording lies above {high:.0f} dB: there is no clean speech among them.")
    if len(held) >= DRIFT_LEAST_ROWS and (share := float(np.mean(held < low))) > 0.1:
        said.append(f"{share:.0%} of the held-out recordings are noisier than nearly all training recordings.")
    return said


def _bandwidths(sides: HeardSides, varied: Sequence[str]) -> View:
    counted: list[Counter[int]] = []
    for values in (_values(sides, "bandwidth")["train"], _values(sides, "bandwidth")["eval"]):
        places = np.searchsorted([high for _, high in BANDS], values)
        counted.append(Counter(places.tolist()))
    total, said = sum(counted[0].values()), []
    if total:
        shares = [counted[0][place] / total for place in range(len(BANDS))]
        if shares[0] < FEW:
            said.append("Next to no recording is of a telephone's band (up to 4.4 kHz): phone calls will be worse.")
        if shares[0] > 1 - FEW:
            said.append(
                "Next to all recordings are of a telephone's band: what a wide-band microphone adds above 4.4 kHz is "
                "not learned."
            )
    names = [name for name, _ in BANDS]
    data = {
        "names": names,
        "counts": {
            side: [some[place] for place in range(len(BANDS))]
            for side, some in zip(("train", "eval"), counted, strict=True)
        },
    }
    title = "Highest frequency that holds sound, at 16 kHz"
    return View("audio-bandwidth", title, "bars", data, said=(*said, *varied))


def _room_said(train: Floats) -> list[str]:
    if len(train) < DRIFT_LEAST_ROWS:
        return ["Too few recordings hold places where it can be told."]
    share = float(np.mean(train >= RINGING_SECONDS))
    said = [f"Half take {np.median(train):.2f} s and more; close speech takes about 0.25 s, a room 0.5 s and more."]
    if share < FEW:
        said.append("Next to no recording rings: a meeting room, or a microphone at a distance, will be worse.")
    if share > 1 - FEW:
        said.append("Next to all recordings ring: none is of speech close to the microphone.")
    return said


def _speaking(sides: HeardSides) -> Iterator[View]:
    from tunesmith.audit.audio import spoken_rates

    values: dict[SideName, Floats] = {}
    for side, name in ((sides.learned, "train"), (sides.judged, "eval")):
        rates = spoken_rates(side)
        values[name] = rates[np.isfinite(rates)]  # type: ignore[index]
    if not any(map(len, values.values())):
        return
    train = values["train"]
    said = []
    if len(train) >= DRIFT_LEAST_ROWS:
        low, middle, high = np.quantile(train, [0.05, 0.5, 0.95])
        said.append(
            f"Half of the training recordings have {middle:.1f} letters a second and more, nine of ten {low:.1f} to "
            f"{high:.1f}."
        )
        if high / low < 1.6:
            said.append("All speak at about the same speed: hurried and slow speech will be worse.")
    yield _histogram("audio-speaking-rate", "Letters a second", values, "letters a second", said, 1.0)


def _voices(data: AuditData, sides: HeardSides) -> View:
    """Recordings of each speaker, with hours in words; where no column names one, nobody can tell."""
    columns = list(dict.fromkeys(("speaker", *data.wishes.groups)))
    column = next(
        (c for c in columns if any(row.get(c) for row in (*sides.learned.rows[:50], *sides.judged.rows[:50]))), None
    )
    if column is None:
        said = (
            "No column names speakers: how many voices there are, and whether one is on both sides, can't be told. "
            "Name one with data.columns: {speaker: ...} or --group."
        )
        return View(
            "audio-voices", "Speakers", "bars", {"names": [], "counts": {"train": [], "eval": []}}, said=(said,)
        )
    counted: list[Counter[str]] = []
    hours: Counter[str] = Counter()
    for side in (sides.learned, sides.judged):
        found: Counter[str] = Counter()
        for number, row in enumerate(side.rows):
            voice = str(row.get(column) or "")
            found[voice] += 1
            if side is sides.learned:
                hours[voice] += side.seconds(number) / 3600  # type: ignore[assignment]
        counted.append(found)
    return _bars(
        "audio-voices", "Recordings of each speaker", counted, lambda v: v or "not named", _voices_said(hours, counted)
    )


def _voices_said(hours: Counter[str], counted: Sequence[Counter[str]]) -> list[str]:
    known = {voice: float(time) for voice, time in hours.items() if voice}
    total = sum(known.values())
    if not known or total <= 0:
        return ["No training recording names its speaker."]
    order = sorted(known, key=lambda voice: -known[voice])
    shown = ", ".join(f"{voice} {known[voice]:.2f} h" for voice in order[:3])
    said = [f"Training holds {len(known):,} voices in {total:,.2f} hours; most: {shown}."]
    if len(known) < FEW_VOICES:
        said.append(f"{len(known):,} voices are few: what other people say will be worse than the score tells.")
    running, needed = 0.0, 0
    while running < MOST_OF_IT * total:
        running += known[order[needed]]
        needed += 1
    if len(known) >= FEW_VOICES and needed <= len(known) // 10:
        said.append(f"{needed:,} of them have {MOST_OF_IT:.0%} of the hours: the others count little.")
    if (nameless := hours.get("", 0)) > 0:
        said.append(f"{float(nameless):.2f} hours name no speaker.")
    both = {voice for voice in counted[0] if voice} & {voice for voice in counted[1] if voice}
    if counted[1] and not both and any(counted[1]):
        said.append("No voice is on both sides.")
    return said
