"""Settings as sentences for a person: what each group that is on does, with its ranges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tunesmith.recipe.ranges import Range
from tunesmith.speech.augment.settings import AugmentSettings, Mask, Noise


def steps(settings: AugmentSettings) -> list[str]:
    """One sentence for each group that is on; none where nothing is drawn."""
    return [f"{group}: {text}." for group, text in _groups(settings)]


def sentences(settings: AugmentSettings) -> list[str]:
    """What happens to recordings under settings with every value filled in (``settings_of``)."""
    found = steps(settings)
    if not found:
        return ["Recordings are not varied."]
    if settings.views is not None:
        views = "1 version" if settings.views == 1 else f"{settings.views} versions"
        found.append(f"With a frozen encoder {views} of each recording are drawn once and recorded.")
    return found


def _groups(settings: AugmentSettings) -> Iterator[tuple[str, str]]:
    if share := settings.speed.probability:
        times = _ends(settings.speed.factor)
        yield "Speed", f"{share:.0%} of the recordings are played {times} times as fast, pitch and all"
    if share := settings.pitch.probability:
        yield "Pitch", f"{share:.0%} are shifted by {_ends(settings.pitch.semitones)} semitones at the same speed"
    if share := settings.room.probability:
        seconds, direct = _ends(settings.room.rt60), _ends(settings.room.direct)
        yield (
            "Room",
            f"{share:.0%} are heard in a room whose echo falls by 60 dB in {seconds} s and is {direct} dB softer than "
            "the direct sound",
        )
    if settings.noise.probability:
        yield "Noise", _noise(settings.noise)
    if share := settings.gain.probability:
        yield "Gain", f"{share:.0%} change by {_ends(settings.gain.db)} dB, to full scale at most"
    if share := settings.clipping.probability:
        yield "Clipping", f"{share:.0%} are cut off {_ends(settings.clipping.db)} dB below their highest peak"
    if share := settings.telephone.probability:
        law = settings.telephone.mu_law
        yield (
            "Telephone",
            f"{share:.0%} come through a line of 300 to 3400 Hz" + (f", {law:.0%} of them in 8 bits" if law else ""),
        )
    if share := settings.codec.probability:
        names, kbps = _or(settings.codec.formats), _ends(settings.codec.kbps)
        yield "Codec", f"{share:.0%} are encoded and decoded by {names} at {kbps} kbit/s"
    if settings.mask.probability and (settings.mask.bands or settings.mask.spans):
        yield "Mask", _mask(settings.mask)


def _noise(noise: Noise) -> str:
    what = f"recordings of {noise.folder}" if noise.folder else f"{_or(noise.colors)} noise"
    return f"{noise.probability:.0%} get {what} behind the speech, {_ends(noise.snr)} dB below it"


def _mask(mask: Mask) -> str:
    parts = []
    if mask.bands:
        parts.append(f"{mask.bands} bands of up to {mask.band_bins} bins")
    if mask.spans:
        parts.append(f"{mask.spans} spans of up to {mask.span_frames} frames ({mask.most:.0%} of all at most)")
    return f"of {mask.probability:.0%} the features are covered in {' and '.join(parts)}"


def _or(words: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _ends(ends: Range) -> str:
    low, high = ends
    return f"{low:.3g}" if low == high else f"{low:g} to {high:g}"
