"""What is measured of a recording is what was put into it; prints know a recording again, and no other."""

from __future__ import annotations

import io

import numpy as np
import pytest

from tests.fixtures.sounds import RATE, Wave, sentences, speechlike, tone
from tunesmith.speech.likeness import (
    LEAST_FRAMES,
    MOST_DIFFERENCE,
    SOUNDING,
    SURE_FRAMES,
    PrintIndex,
    alike,
    difference,
    most_difference,
    sound_print,
)
from tunesmith.speech.measures import FLOOR_DB, frame_levels_db, measure


def talk(seed: int, words: int = 8) -> Wave:
    """Speech that nobody says twice: other words, another voice, other pauses."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    pieces = []
    for _ in range(words):
        pieces.append(speechlike("".join(rng.choice(letters, rng.integers(2, 6))), seed=seed))
        pieces.append(np.zeros(int(rng.uniform(0.0, 0.2) * RATE), dtype=np.float32))
    return np.concatenate(pieces)


def noise(count: int, seed: int = 0, loud: float = 1.0) -> Wave:
    return (np.random.default_rng(seed).normal(0, loud, count)).astype(np.float32)


def noisy(wave: Wave, snr_db: float, seed: int = 0) -> Wave:
    loud = np.sqrt(np.mean(wave.astype(np.float64) ** 2) / 10 ** (snr_db / 10))
    return (wave + noise(len(wave), seed, loud)).astype(np.float32)


@pytest.mark.parametrize("snr_db", [0, 5, 10, 15, 20, 25, 30])
def test_the_estimated_noise_is_within_3_db_of_what_was_added(snr_db: float) -> None:
    errors = []
    for seed in range(6):
        clean = speechlike(sentences(1, words=8, seed=seed)[0], seed=seed)
        found = measure(noisy(clean, snr_db, seed), RATE).snr_db
        assert found is not None
        errors.append(found - snr_db)
    assert max(map(abs, errors)) < 3, errors
    assert abs(float(np.mean(errors))) < 1.5, errors


def test_a_tone_that_pauses_stands_out_of_noise_and_one_that_does_not_is_noise() -> None:
    beeps = np.concatenate([tone(0.4, 440), np.zeros(RATE // 5, dtype=np.float32)] * 8)
    found = measure(noisy(beeps, 12), RATE).snr_db
    assert found == pytest.approx(12, abs=3)
    assert (measure(noisy(tone(4, 440), 20), RATE).snr_db or 0) < 5
    assert (measure(noise(3 * RATE, loud=0.1), RATE).snr_db or 0) < 0


def test_short_sound_has_no_estimate_of_noise_and_digital_silence_is_no_clean_background() -> None:
    assert measure(speechlike("a"), RATE).snr_db is None
    dirty = noisy(speechlike(sentences(1, words=10)[0]), 8)
    padded = np.concatenate([np.zeros(2 * RATE, dtype=np.float32), dirty])
    assert measure(padded, RATE).snr_db == pytest.approx(8, abs=3)


def test_loudness_and_silence_are_told_in_seconds_and_db() -> None:
    wave = np.concatenate([noise(RATE, loud=1e-5), tone(1.5, 300, loud=0.25), noise(RATE // 2, loud=1e-5)])
    found = measure(wave, RATE)
    assert found.seconds == 3
    assert found.peak == pytest.approx(0.25, abs=1e-3)
    assert found.rms_db == pytest.approx(20 * np.log10(0.25 / 2**0.5) + 10 * np.log10(0.5), abs=0.05)
    assert found.leading == pytest.approx(1, abs=0.03)
    assert found.trailing == pytest.approx(0.5, abs=0.03)
    assert found.silence == pytest.approx(0.5, abs=0.03)


def test_silence_is_silent_however_it_is_made() -> None:
    for wave in (np.zeros(RATE, dtype=np.float32), noise(RATE, loud=2e-4), np.zeros(3, dtype=np.float32)):
        found = measure(wave, RATE)
        assert (found.silence, found.snr_db, found.bandwidth) == (1, None, 0)
        assert found.leading == found.trailing == found.seconds
    empty = measure(np.zeros(0, dtype=np.float32), RATE)
    assert (empty.seconds, empty.silence, empty.rms_db) == (0, 1, FLOOR_DB)


def test_flat_runs_at_full_scale_are_clipped_and_loud_peaks_are_not() -> None:
    wave = tone(1, 100, loud=1.0)
    assert measure(wave, RATE).clipped == 0
    cut = np.clip(2 * wave, -1, 1)
    # A sine of twice full scale is beyond it for two thirds of the time.
    assert measure(cut.astype(np.float32), RATE).clipped == pytest.approx(2 / 3, abs=0.02)
    assert measure((0.5 * cut).astype(np.float32), RATE).clipped == 0
    beyond = np.where(np.arange(RATE) % 100 == 0, 1.2, 0.1).astype(np.float32)
    assert measure(beyond, RATE).clipped == pytest.approx(0.01)
    pair = np.zeros(RATE, dtype=np.float32)
    pair[500:502] = 1.0
    assert measure(pair, RATE).clipped == 0
    pair[502] = 1.0
    assert measure(pair, RATE).clipped == pytest.approx(3 / RATE)


def test_telephone_sound_in_a_wide_file_has_four_kilohertz() -> None:
    soxr = pytest.importorskip("soxr")
    wide = noisy(talk(1), 30)
    assert measure(wide, RATE).bandwidth > 7_500
    narrow = soxr.resample(soxr.resample(wide, RATE, 8_000), 8_000, RATE)
    assert measure(narrow, RATE).bandwidth == pytest.approx(4_000, abs=250)
    assert measure(tone(1, 1_000), RATE).bandwidth == pytest.approx(1_000, abs=250)


def test_levels_cover_a_rest_at_the_end() -> None:
    levels = frame_levels_db(np.concatenate([np.zeros(320), np.full(10, 0.1)]).astype(np.float32), RATE, 0.02)
    assert levels.tolist() == pytest.approx([FLOOR_DB, -20], abs=1e-3)


def codec(wave: Wave, kind: str) -> Wave:
    soundfile = pytest.importorskip("soundfile")
    stream = io.BytesIO()
    soundfile.write(stream, wave, RATE, format=kind)
    stream.seek(0)
    return np.asarray(soundfile.read(stream, dtype="float32")[0])


@pytest.mark.parametrize("change", ["gain", "trim", "pad", "noise", "mp3", "ogg", "telephone", "all"])
def test_a_print_knows_a_recording_again(change: str) -> None:
    soxr = pytest.importorskip("soxr")
    waves = [talk(seed) for seed in range(6)]
    prints = [sound_print(wave) for wave in waves]
    index = PrintIndex(prints)
    for number, wave in enumerate(waves):
        changed, rate = wave, RATE
        if change in ("gain", "all"):
            changed = 0.2 * changed
        if change in ("trim", "all"):
            changed = changed[1_717:]
        if change == "pad":
            changed = np.concatenate([np.zeros(12_345, dtype=np.float32), changed])
        if change == "noise":
            changed = noisy(changed, 25)
        if change in ("mp3", "all"):
            changed = codec(changed, "MP3")
        if change == "ogg":
            changed = codec(changed, "OGG")
        if change == "telephone":
            changed, rate = soxr.resample(changed, RATE, 8_000), 8_000
        again = sound_print(changed, rate)
        assert alike(prints[number], again)
        assert alike(again, prints[number])
        assert index.find(again) == [number]


def test_other_recordings_are_not_alike() -> None:
    prints = [sound_print(talk(seed)) for seed in range(24)]
    assert not [(a, b) for a in range(24) for b in range(a) if alike(prints[a], prints[b])]
    index = PrintIndex(prints[:12])
    assert [index.find(asked) for asked in prints[12:]] == [[]] * 12
    assert PrintIndex([]).find(prints[0]) == []


def test_a_word_is_known_again_when_louder_and_no_other_is_taken_for_it() -> None:
    waves = [wave for seed in range(60) if 24 <= sounding(wave := talk(seed, 2)) < SURE_FRAMES]
    assert len(waves) > 30
    prints = [sound_print(wave) for wave in waves]
    index = PrintIndex(prints)
    assert [index.find(sound_print(0.6 * wave)) for wave in waves] == [[n] for n in range(len(waves))]
    assert all(alike(one, sound_print(0.6 * wave)) for one, wave in zip(prints, waves, strict=True))
    assert not [(a, b) for a in range(len(prints)) for b in range(a) if alike(prints[a], prints[b])]


def sounding(wave: Wave) -> int:
    return int(np.count_nonzero(sound_print(wave) & SOUNDING))


def test_fewer_frames_must_agree_the_better() -> None:
    shares = most_difference(np.array([0, LEAST_FRAMES, 36, SURE_FRAMES, 1_000]))
    assert shares[0] < 0 < shares[1] < 0.01 < shares[2] < shares[3] == shares[4] == MOST_DIFFERENCE


def test_silence_and_little_sound_are_alike_to_nothing() -> None:
    silent = sound_print(np.zeros(3 * RATE, dtype=np.float32))
    short = sound_print(speechlike("ab"))
    assert not alike(silent, silent)
    assert not alike(short, short)
    assert PrintIndex([silent, short]).find(silent) == []
    long = sound_print(talk(3))
    assert difference(long, long, 0)[0] == 0
    assert difference(long, long, len(long) - LEAST_FRAMES + 1)[0] == 1


def test_recordings_that_share_a_half_are_not_the_same() -> None:
    start, both, end = talk(3, 6), talk(4, 6), talk(5, 6)
    first, second = sound_print(np.concatenate([start, both])), sound_print(np.concatenate([both, end]))
    assert not alike(first, second)
    assert PrintIndex([first]).find(second) == []
    assert alike(first, sound_print(both))
