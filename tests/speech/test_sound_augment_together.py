"""Augmentation of sound: masks, all steps together, conditions. Seeds give the same sound; no step disturbs another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.speech.drawn_voice import (
    ALL_ON,
    RATE,
    db,
    lag,
    level_at,
    power,
    rng_of,
    spoken,
    talking,
    tone,
)
from tunesmith.data.draws import Draws
from tunesmith.errors import UserError
from tunesmith.speech.augment import (
    PRESETS,
    Augmenter,
    AugmentSettings,
    Clipping,
    Codec,
    Gain,
    Mask,
    Noise,
    Pitch,
    at,
    condition,
    spec_augment,
)
from tunesmith.speech.augment.level import active_power

# Masks


def test_masks_cover_no_more_than_they_may_and_nothing_but_sound() -> None:
    features = rng_of(0).standard_normal((80, 300)).astype(np.float32)
    shares = []
    for seed in range(40):
        made = spec_augment(
            features, rng_of(seed), bands=2, band_bins=10, spans=3, span_frames=30, most=0.2, frames=200
        )
        changed = made != features
        assert not changed[:, 200:].any()
        columns, lines = changed[:, :200].all(0), changed[:, :200].all(1)
        assert columns.sum() <= 40
        assert lines.sum() <= 20
        assert np.array_equal(changed[:, :200], columns[None] | lines[:, None])
        assert np.unique(made[changed]) == pytest.approx(features[:, :200].mean(), abs=1e-6)
        shares.append(changed.sum() / (80 * 200))
    assert max(shares) <= 0.2 + 20 / 80
    assert 0.1 < float(np.mean(shares)) < 0.3
    assert made.dtype == np.float32
    assert made.shape == features.shape


def test_masks_fill_with_a_number_and_fit_any_features() -> None:
    features = np.ones((80, 50), np.float32)
    made = spec_augment(features, rng_of(1), spans=1, span_frames=50, most=1.0, fill=-3.5)
    assert set(np.unique(made)) == {-3.5, 1.0}
    assert (features == 1).all()
    for shape in ((1, 1), (80, 0), (2, 3), (0, 4)):
        assert spec_augment(np.ones(shape, np.float32), rng_of(0), bands=5, band_bins=100).shape == shape
    for seed in range(20):
        assert (spec_augment(np.ones((4, 9)), rng_of(seed), bands=1, band_bins=99, spans=0, fill=0.0) == 1).any()
    assert np.array_equal(spec_augment(features, rng_of(0), bands=0, spans=0, fill=0.0), features)


def test_an_augmenter_masks_as_often_as_it_says() -> None:
    features = rng_of(0).standard_normal((80, 100)).astype(np.float32)
    augmenter = Augmenter.of(AugmentSettings(mask=Mask(probability=0.5, bands=4, fill=0.0)))
    made = [augmenter.features(features, rng_of(seed)) for seed in range(100)]
    assert 30 < sum(not np.array_equal(one, features) for one in made) < 65
    assert np.array_equal(made[7], augmenter.features(features, rng_of(7)))
    assert Augmenter.of("none").features(features, rng_of(0)) is features
    assert augmenter.random
    rng, other = rng_of(3), rng_of(3)
    augmenter.features(features, rng)
    Augmenter.of("none").features(features, other)
    assert rng.random() == other.random()


# All steps together


def test_a_seed_gives_the_same_sound_always() -> None:
    wave = spoken(1)
    for seed in range(3):
        one = Augmenter.of(ALL_ON)(wave, rng_of(seed))
        other = Augmenter.of(ALL_ON)(wave, rng_of(seed))
        assert np.array_equal(one.wave, other.wave)
        assert (one.speed, one.done) == (other.speed, other.done)
        assert len(one.done) == 7 + (2 if "8 kHz in 8 bits" in one.done else 1)
    assert one.done != Augmenter.of(ALL_ON)(wave, rng_of(99)).done
    steady = AugmentSettings(noise=Noise(probability=1, snr=(5, 5)))
    first, second = (Augmenter.of(steady)(wave, rng_of(seed)).wave for seed in (0, 1))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("preset", list(PRESETS))
def test_every_preset_takes_every_recording(preset: Any) -> None:
    augmenter = Augmenter.of(preset)
    for seed, samples in enumerate((0, 1, 7, 319, 321, 5000, 20_001)):
        for wave in (spoken(2)[:samples], np.full(samples, 1, np.float32), np.zeros(samples, np.float32)):
            before = wave.copy()
            varied = augmenter(wave, rng_of(seed))
            assert np.array_equal(wave, before)
            assert varied.wave.dtype == np.float32
            assert len(varied.wave) == round(samples / varied.speed)
            assert np.isfinite(varied.wave).all()
            assert np.abs(varied.wave).max(initial=0) <= 1
            assert varied.wave.flags.writeable
    assert augmenter.random == (preset != "none")


@pytest.mark.parametrize("group", [g for g in AugmentSettings.model_fields if g not in ("preset", "views", "mask")])
def test_nothing_but_speed_changes_the_length_and_each_step_does_something(group: str) -> None:
    settings = AugmentSettings(**{group: getattr(ALL_ON, group)})
    wave = spoken(1.3)
    varied = Augmenter.of(settings)(wave, rng_of(5))
    assert not np.array_equal(varied.wave, wave)
    assert (len(varied.wave) == len(wave)) == (group != "speed")
    assert varied.done


def test_none_changes_nothing_and_every_setting_takes_one_number() -> None:
    wave, ends = spoken(0.5), set()
    for settings in ("none", "field", ALL_ON):
        rng = rng_of(3)
        made = Augmenter.of(settings)(wave, rng)
        ends.add(int(rng.integers(0, 2**63)))
        if settings == "none":
            assert np.array_equal(made.wave, wave)
            made.wave[:] = 0
            assert wave.any()
    assert len(ends) == 1


@pytest.mark.parametrize("off", ["noise", "speed", "room", "telephone", "gain"])
def test_a_group_that_is_off_changes_nothing_that_the_others_draw(off: str) -> None:
    settings = ALL_ON.model_copy(update={"codec": Codec(), "clipping": Clipping(), "pitch": Pitch()})
    told = ("telephone", "8 kHz") if off == "telephone" else (off,)
    for seed in range(3):
        full = Augmenter.of(settings)(spoken(0.5), rng_of(seed)).done
        less = Augmenter.of(settings.model_copy(update={off: type(getattr(settings, off))()}))(
            spoken(0.5), rng_of(seed)
        ).done
        kept = [line for line in full if not line.startswith(told) and off not in line.split()]
        # Full scale may end a gain earlier or later, which is no draw.
        assert [line.split(" dB")[0][:6] for line in kept] == [line.split(" dB")[0][:6] for line in less]
        assert [line for line in kept if "gain" not in line] == [line for line in less if "gain" not in line]


def test_steps_happen_as_often_as_they_say() -> None:
    hits = sum(Draws(rng_of(i)).happens("a", 0.3) is not None for i in range(1000))
    assert 240 < hits < 360
    assert Draws(rng_of(0)).happens("a", 0.0) is None
    augmenter = Augmenter.of(AugmentSettings(gain=Gain(probability=0.3, db=(-9, -3))))
    got = [float(np.abs(augmenter(tone(500, 0.1), rng_of(i)).wave).max()) / 0.3 for i in range(300)]
    changed = [20 * np.log10(x) for x in got if x < 0.99]
    assert 60 < len(changed) < 120
    assert -9.1 < min(changed) < -8
    assert -4 < max(changed) < -2.9


# Conditions


def without_codec(preset: Any) -> AugmentSettings:
    return AugmentSettings(preset=preset, codec=Codec(probability=0.0))


@pytest.mark.parametrize("preset", list(PRESETS))
@pytest.mark.parametrize("snr", [0.0, 5.0, 20.0])
def test_a_condition_has_exactly_its_ratio_in_the_band_that_is_heard(preset: Any, snr: float) -> None:
    wave = spoken(3, level=0.05)
    quiet = at(without_codec(preset), None).apply(wave, rng_of(4))
    heard = at(without_codec(preset), snr).apply(wave, rng_of(4))
    assert len(heard) == len(wave)
    assert np.abs(heard).max() < 0.99
    speech = talking(len(wave))
    # An echo fills the pauses: there the active level is asked for, which has its own test.
    level = active_power(quiet) if preset == "meeting" else power(quiet[speech])
    assert db(level / power(heard - quiet)) == pytest.approx(snr, abs=0.5)
    assert not np.array_equal(heard, at(without_codec(preset), snr).apply(wave, rng_of(5)))


def test_a_condition_is_always_the_same_and_moves_nothing() -> None:
    wave = spoken(1.1)
    for preset in PRESETS:
        one, other = condition(preset, 5), condition(preset, 5)
        assert np.array_equal(one.apply(wave, rng_of(0)), other.apply(wave, rng_of(0)))
        done = {tuple(line for line in one.augmenter(wave, rng_of(i)).done if "noise" not in line) for i in range(6)}
        assert len(done) == 1, preset
        assert not any(line.startswith(("speed", "pitch", "gain", "clipped")) for line in done.pop())
        assert len(one.apply(wave, rng_of(0))) == len(wave)
    phone = condition("call-center", 5).augmenter(wave, rng_of(0)).done
    assert [line.split()[0] for line in phone if "noise" not in line] == ["telephone", "8", "opus"]
    assert any("at 5.0 dB" in line for line in phone)
    assert np.array_equal(condition("none", None).apply(wave, rng_of(0)), wave)
    assert abs(lag(wave, condition("call-center", 10).apply(wave, rng_of(0)))) <= RATE // 1000


def test_conditions_are_named_and_faults_said() -> None:
    assert condition("call-center", 5).label == "call-center at 5 dB"
    assert condition("field", None).label == "field without noise"
    assert "behind the speech, 5 dB below it" in " ".join(condition("meeting", 5).describe())
    with pytest.raises(UserError, match="no condition 'callcenter'") as caught:
        condition("callcenter", 5)
    assert "call-center" in caught.value.fix
    with pytest.raises(UserError, match="nan dB is no number"):
        condition("field", float("nan"))
    hum = condition("field", 5, [tone(1000)])
    assert level_at(hum.apply(spoken(2), rng_of(0)) - spoken(2), 1000) > 0.03
