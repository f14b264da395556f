"""Augmentation of sound, each transform measured by itself."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tests.speech.drawn_voice import (
    ALL_ON,
    COLORS,
    RATE,
    db,
    fundamental,
    lag,
    level_at,
    power,
    rng_of,
    spoken,
    talking,
    tone,
    voice,
)
from tunesmith.errors import UserError
from tunesmith.speech.augment import (
    PRESETS,
    Augmenter,
    AugmentSettings,
    Codec,
    Gain,
    Noise,
    Pitch,
    Room,
    Speed,
)
from tunesmith.speech.augment.level import NOMINAL, active_power, gained, limited, overdriven, transform_length
from tunesmith.speech.augment.line import (
    CODECS,
    coded,
    decoded_mu_law,
    encoded,
    encoded_mu_law,
    sampled_narrowly,
    telephone_band,
    telephoned,
)
from tunesmith.speech.augment.noise import background, colored, mixed
from tunesmith.speech.augment.room import echoed, impulse_response
from tunesmith.speech.augment.tempo import at_speed, pitched, stretched

# Level


def test_speech_is_measured_where_it_is_active() -> None:
    wave = spoken(4)
    assert db(active_power(wave) / 0.01) == pytest.approx(0, abs=0.1)
    assert db(power(wave) / 0.01) == pytest.approx(-3, abs=0.1)
    hum = 0.1 * 10 ** (-40 / 20) * rng_of(0).standard_normal(len(wave)).astype(np.float32)
    assert db(active_power(wave + hum) / 0.01) == pytest.approx(0, abs=0.1)
    # Softer speech still is speech; half of it 10 dB softer makes the mean 2.6 dB less.
    softer = np.where(talking(len(wave)), voice(4), voice(4) * 10**-0.5)
    assert db(active_power(softer) / 0.01) == pytest.approx(-2.6, abs=0.1)
    assert active_power(np.zeros(1000, np.float32)) == active_power(np.zeros(0, np.float32)) == 0
    assert active_power(wave[:100]) == pytest.approx(power(wave[:100]), rel=1e-5)


def test_gain_is_exact_and_ends_at_full_scale() -> None:
    wave = voice(0.5)
    for wanted in (-20.0, -3.0, 0.0, 6.0):
        louder, got = gained(wave, wanted)
        assert got == wanted
        assert db(power(louder) / power(wave)) == pytest.approx(wanted, abs=1e-3)
    louder, got = gained(wave, 40)
    assert 0 < got < 40
    assert np.abs(louder).max() == pytest.approx(1)
    assert np.abs(louder).max() <= 1
    assert db(power(louder) / power(wave)) == pytest.approx(got, abs=1e-3)
    assert np.corrcoef(louder, wave)[0, 1] > 0.999999
    assert np.abs(limited(wave * 50)).max() <= 1
    told = Augmenter.of(AugmentSettings(gain=Gain(probability=1, db=(40, 40))))(wave, rng_of(0)).done
    assert "of +40.0 dB: full scale" in told[0]


def test_clipping_cuts_off_peaks_alone() -> None:
    wave = voice(0.5)
    peak = float(np.abs(wave).max())
    cut = overdriven(wave, 6)
    assert np.abs(cut).max() == pytest.approx(peak / 10 ** (6 / 20), rel=1e-5)
    inside = np.abs(wave) < peak / 2 * 0.99
    assert np.array_equal(cut[inside], wave[inside])
    assert np.array_equal(overdriven(wave, 0), wave)


def test_transforms_have_a_fast_length() -> None:
    for samples in (1, 2, 3, 5, 97, 160_000, 163_841, 196_609):
        length = transform_length(samples)
        assert samples <= length < max(4, samples * 1.6)
        assert length % 2 == 0 or samples == 1 or length in (3, 5)


# Noise


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("snr", [-5.0, 0.0, 12.5, 30.0])
def test_noise_has_its_ratio_to_the_active_speech(color: Any, snr: float) -> None:
    wave = spoken(3.3)
    heard = Augmenter.of(AugmentSettings(noise=Noise(probability=1, snr=(snr, snr), color=color)))(wave, rng_of(1)).wave
    speech = talking(len(wave))
    # Where the sum was made softer, the speech in it is so too.
    share = float(np.dot(heard, wave) / np.dot(wave, wave)) if snr < 10 else 1.0
    share = 1.0 if np.abs(heard).max() < 0.999 else share
    noise = heard - share * wave
    assert db(power(share * wave[speech]) / power(noise)) == pytest.approx(snr, abs=0.5)


def test_noise_that_would_go_beyond_full_scale_keeps_its_ratio() -> None:
    wave, noise = voice(1, level=0.3), colored(RATE, "white", rng_of(0))
    heard = mixed(wave, noise, 0.0)
    assert np.abs(heard).max() == pytest.approx(1, abs=1e-6)
    assert np.abs(heard).max() <= 1
    whole = wave + noise * np.float32(0.3 / power(noise) ** 0.5)
    assert np.allclose(heard, whole / np.abs(whole).max(), atol=1e-3)


def test_colors_fall_as_they_are_named() -> None:
    falls = {}
    for color in COLORS[:3]:
        noise = colored(20 * RATE, color, rng_of(0))
        assert power(noise) == pytest.approx(1, rel=1e-3)
        spectrum = np.abs(np.fft.rfft(noise)) ** 2
        hertz = np.fft.rfftfreq(len(noise), 1 / RATE)
        octaves = [float(spectrum[(hertz >= f) & (hertz < 2 * f)].mean()) for f in (200, 400, 800, 1600, 3200)]
        falls[color] = [db(b / a) for a, b in pairwise(octaves)]
    assert falls["white"] == pytest.approx([0] * 4, abs=0.5)
    assert falls["pink"] == pytest.approx([-3] * 4, abs=0.5)
    assert falls["brown"] == pytest.approx([-6] * 4, abs=0.5)


def test_babble_and_wind_swell_and_steady_noise_does_not() -> None:
    def unrest(color: Any) -> float:
        noise = colored(20 * RATE, color, rng_of(0))
        loudness = 10 * np.log10(np.square(noise).reshape(-1, RATE // 5).mean(1))
        return float(loudness.std())

    assert unrest("white") < 0.3
    assert unrest("babble") > 1
    assert unrest("wind") > 1.5


def test_a_background_is_cut_or_begun_anew_at_a_random_place() -> None:
    recording = rng_of(0).standard_normal(1000).astype(np.float32)
    places = set()
    for seed in range(8):
        part = background(recording, 300, rng_of(seed))
        start = int(np.flatnonzero(recording == part[0])[0])
        assert np.array_equal(part, recording[start : start + 300])
        longer = background(recording, 2500, rng_of(seed))
        first = int(np.flatnonzero(recording == longer[0])[0])
        assert np.array_equal(longer, np.resize(np.roll(recording, -first), 2500))
        places |= {start, first}
    assert len(places) > 10
    knock = np.zeros(100_000, np.float32)
    knock[70_000:70_100] = 0.5
    assert all(np.abs(background(knock, 2000, rng_of(seed))).max() == 0.5 for seed in range(5))


def test_recorded_backgrounds_are_laid_under_at_the_ratio() -> None:
    wave, recordings = spoken(2), [tone(1000, 0.7), tone(2500, 9)]
    settings = AugmentSettings(noise=Noise(probability=1, snr=(10, 10), folder="street"))
    heard = {}
    for seed in range(8):
        varied = Augmenter.of(settings, recordings)(wave, rng_of(seed))
        noise = varied.wave - wave
        assert db(power(wave[talking(len(wave))]) / power(noise)) == pytest.approx(10, abs=0.5)
        heard[varied.done] = round(level_at(noise, 1000) / 0.01)
    assert len(heard) == 2
    assert all((level > 0) == done[0].startswith("recorded background 1 ") for done, level in heard.items())


@pytest.mark.parametrize(
    ("wave", "words"),
    [
        (np.zeros(100, np.float32), "silent"),
        (np.zeros(0, np.float32), "silent"),
        (np.full(9, np.nan, np.float32), "not finite"),
        (np.ones((9, 2), np.float32), "no mono waveform"),
        (np.ones(9, np.int16), "no mono waveform"),
    ],
)
def test_a_background_that_cannot_be_used_is_named(wave: np.ndarray, words: str) -> None:
    with pytest.raises(UserError, match=f"recording 2 of 2 for the background .*{words}") as caught:
        Augmenter.of("meeting", [tone(300), wave])
    assert caught.value.fix


def test_silence_gets_the_noise_of_nominal_speech_and_stays_finite() -> None:
    silence = np.zeros(RATE, np.float32)
    heard = mixed(silence, colored(RATE, "pink", rng_of(0)), 20)
    assert db(power(heard) / NOMINAL) == pytest.approx(-20, abs=0.1)
    assert np.array_equal(mixed(voice(1), silence, 0), voice(1))
    for settings in (ALL_ON, *PRESETS.values()):
        varied = Augmenter.of(settings)(silence, rng_of(3))
        assert np.isfinite(varied.wave).all()
        assert len(Augmenter.of(settings)(silence[:0], rng_of(3)).wave) == 0


# Speed and pitch


@pytest.mark.parametrize("factor", [0.8, 0.9, 1.07, 1.25])
def test_speed_changes_duration_and_pitch_together(factor: float) -> None:
    wave = voice(2, 130)
    faster = at_speed(wave, factor)
    assert len(faster) == pytest.approx(len(wave) / factor, rel=1e-4)
    assert fundamental(faster) == pytest.approx(130 * factor, rel=0.01)
    assert power(faster) == pytest.approx(power(wave), rel=0.05)


def test_times_move_with_speed_as_it_says() -> None:
    wave = np.zeros(3 * RATE, np.float32)
    wave[2 * RATE] = 0.5
    varied = Augmenter.of(AugmentSettings(speed=Speed(probability=1, factor=(1.2, 1.2))))(wave, rng_of(0))
    assert varied.speed == pytest.approx(1.2)
    assert varied.moved(2.0) == pytest.approx(int(np.argmax(varied.wave)) / RATE, abs=0.001)
    assert Augmenter.of("none")(wave, rng_of(0)).speed == 1


@pytest.mark.parametrize("hertz", [90.0, 120.0, 230.0])
@pytest.mark.parametrize("semitones", [-5.0, -2.0, 1.0, 3.0])
def test_pitch_moves_the_fundamental_and_no_time(hertz: float, semitones: float) -> None:
    wave = voice(2, hertz)
    higher = pitched(wave, semitones)
    assert len(higher) == len(wave)
    assert fundamental(wave) == pytest.approx(hertz, rel=0.005)
    assert fundamental(higher) == pytest.approx(hertz * 2 ** (semitones / 12), rel=0.01)
    assert db(power(higher) / power(wave)) == pytest.approx(0, abs=0.5)


def test_words_stay_where_they_are_when_pitch_is_shifted() -> None:
    wave = spoken(4)
    for semitones in (-4.0, 4.0):
        loud = np.abs(pitched(wave, semitones)).reshape(-1, RATE // 100).max(1) > 0.03
        speech = talking(len(wave)).reshape(-1, RATE // 100).all(1)
        edges = np.flatnonzero(np.diff(loud.astype(int)))
        assert np.abs(edges - np.flatnonzero(np.diff(speech.astype(int)))).max() <= 2


def test_stretching_keeps_the_pitch() -> None:
    wave = voice(2, 150)
    for factor in (0.7, 1.4):
        longer = stretched(wave, factor)
        assert len(longer) == round(len(wave) * factor)
        assert fundamental(longer) == pytest.approx(150, rel=0.01)
        assert db(power(longer) / power(wave)) == pytest.approx(0, abs=0.5)
    assert stretched(wave, 1) is wave


# Room


@pytest.mark.parametrize("rt60", [0.2, 0.5, 1.2])
def test_the_echo_falls_as_fast_as_it_says(rt60: float) -> None:
    click = np.zeros(2 * RATE, np.float32)
    click[100] = 0.5
    heard = echoed(click, impulse_response(rt60, 0, rng_of(0)))
    assert len(heard) == len(click)
    assert int(np.argmax(np.abs(heard))) == 100
    assert np.abs(heard[:100]).max() < 1e-6
    # Schroeder's backward integration, from -5 to -25 dB of the tail.
    tail = np.square(heard[101:].astype(np.float64))
    left = 10 * np.log10(np.cumsum(tail[::-1])[::-1] / tail.sum() + 1e-12)
    fall = (int(np.argmax(left < -25)) - int(np.argmax(left < -5))) / RATE
    assert 3 * fall == pytest.approx(rt60, rel=0.2)


def test_the_direct_sound_is_as_strong_as_it_says_and_speech_stays_as_loud() -> None:
    for direct in (-5.0, 0.0, 10.0):
        response = impulse_response(0.4, direct, rng_of(0)).astype(np.float64)
        assert db(response[0] ** 2 / np.square(response[1:]).sum()) == pytest.approx(direct, abs=0.01)
        assert response[0] > 0
        noise = 0.1 * rng_of(1).standard_normal(RATE).astype(np.float32)
        assert db(power(echoed(noise, response.astype(np.float32))) / power(noise)) == pytest.approx(0, abs=1.5)
    wave = spoken(2)
    assert abs(lag(wave, echoed(wave, impulse_response(0.4, 3, rng_of(2))))) <= 1


# Line


@pytest.mark.parametrize("mu_law", [False, True])
def test_the_telephone_passes_its_band_alone(mu_law: bool) -> None:
    def loss(hertz: float) -> float:
        return -20 * float(np.log10(level_at(telephoned(tone(hertz), mu_law=mu_law), hertz) / 0.3 + 1e-9))

    assert all(loss(hertz) > 20 for hertz in (50, 100, 4000, 5000, 7000))
    assert all(abs(loss(hertz)) < 0.5 for hertz in (310, 500, 1000, 2000, 3000, 3390))
    wave = spoken(2)
    narrow = telephoned(wave, mu_law=mu_law)
    assert len(narrow) == len(wave)
    assert lag(wave, narrow) == 0
    assert power(telephoned(tone(1000), mu_law=mu_law)) == pytest.approx(power(tone(1000)), rel=0.02)


def test_the_band_is_linear_and_does_not_come_round() -> None:
    one, other = spoken(1), colored(RATE, "white", rng_of(0))
    assert np.allclose(telephone_band(one + other), telephone_band(one) + telephone_band(other), atol=1e-4)
    late = np.zeros(RATE, np.float32)
    late[-20:] = 1
    assert np.abs(telephone_band(late)[: RATE // 2]).max() < 1e-3


def test_mu_law_is_g711() -> None:
    import io

    import soundfile

    every = np.arange(-32768, 32768).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, every, 8000, format="RAW", subtype="ULAW")
    assert np.array_equal(encoded_mu_law(every / 32768.0), np.frombuffer(file.getvalue(), np.uint8))
    codes = np.arange(256, dtype=np.uint8)
    read, _ = soundfile.read(io.BytesIO(codes.tobytes()), samplerate=8000, channels=1, format="RAW", subtype="ULAW")
    assert np.array_equal(decoded_mu_law(codes), read.astype(np.float32))
    quantised = sampled_narrowly(tone(997)) - tone(997)
    assert 34 < db(power(tone(997)) / power(quantised[500:-500])) < 42


@pytest.mark.parametrize("rate", [8000, 16_000])
@pytest.mark.parametrize("codec", list(CODECS))
def test_a_codec_keeps_length_and_time_and_loses_something(codec: Any, rate: int) -> None:
    wave = spoken(1.2345)
    heard = coded(wave, codec, 16, rate)
    assert heard.dtype == np.float32
    assert len(heard) == len(wave)
    assert abs(lag(wave, heard)) <= RATE // 1000
    assert 0.8 < np.corrcoef(wave, heard)[0, 1] < 0.99999
    assert np.array_equal(heard, coded(wave, codec, 16, rate))
    loud = limited(wave * 50)
    assert np.abs(coded(loud, codec, 16, rate)).max() <= 1
    assert len(coded(wave[:1], codec, 16, rate)) == 1


def test_fewer_bits_are_fewer_and_sound_worse() -> None:
    noise = colored(5 * RATE, "pink", rng_of(0)) * np.float32(0.1)
    for codec in ("opus", "mp3"):
        sizes = [len(encoded(noise, codec, kbps, RATE)) * 8 / 5000 for kbps in (8, 16, 32, 64)]
        assert sizes == pytest.approx([8, 16, 32, 64], rel=0.4), codec
        likeness = [np.corrcoef(noise, coded(noise, codec, kbps))[0, 1] for kbps in (8, 16, 64)]
        assert likeness == sorted(likeness), codec


def test_a_long_recording_can_be_encoded() -> None:
    wave = voice(90)
    assert len(coded(wave, "vorbis", 24, 8000)) == len(wave)


@pytest.mark.parametrize(
    ("package", "settings"),
    [
        ("soundfile", AugmentSettings(codec=Codec(probability=1))),
        ("soxr", AugmentSettings(speed=Speed(probability=1))),
        ("soxr", AugmentSettings(pitch=Pitch(probability=1))),
    ],
)
def test_a_missing_package_is_named(package: str, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=package) as caught:
        Augmenter.of(settings)(voice(0.2), rng_of(0))
    assert caught.value.fix == 'pip install "tunesmith[audio]"'
    Augmenter.of(AugmentSettings(noise=Noise(probability=1), room=Room(probability=1)))(voice(0.2), rng_of(0))


def test_a_codec_that_the_library_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CODECS, "opus", ("OGG", "GSM610"))
    with pytest.raises(UserError, match="can't write opus") as caught:
        coded(voice(0.2), "opus", 16)
    assert "formats" in caught.value.fix
