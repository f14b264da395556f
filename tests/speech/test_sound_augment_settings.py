"""What a recipe may write about augmentation of sound, what it becomes, and how it is told to a person."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import Field

from tunesmith.recipe.explain import explain
from tunesmith.recipe.faults import check
from tunesmith.recipe.settings import children, every
from tunesmith.speech.augment import (
    PRESETS,
    Augment,
    Augmenter,
    AugmentSettings,
    Gain,
    Mask,
    Noise,
    at,
    settings_of,
)
from tunesmith.task import TaskOptions


class Options(TaskOptions):
    """Settings of a task, for these tests."""

    augment: Augment = Field("meeting", validate_default=True, description="How recordings vary while it learns.")


def read(augment: Any) -> AugmentSettings:
    options, faults = check({"augment": augment}, Options, ("options",))
    assert faults == []
    assert options is not None
    assert isinstance(options.augment, AugmentSettings)
    return options.augment


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_preset_can_be_named_alone(name: Any) -> None:
    assert read(name) == read({"preset": name}) == settings_of(name) == PRESETS[name]
    assert settings_of(settings_of(name)) == PRESETS[name]


def test_presets_hold_what_their_surroundings_have() -> None:
    def on(name: Any) -> set[str]:
        groups = {group: getattr(PRESETS[name], group) for group in AugmentSettings.model_fields}
        return {group for group, settings in groups.items() if getattr(settings, "probability", 0)}

    assert on("none") == set()
    assert on("clean") == {"gain", "mask"}
    assert on("call-center") == {"telephone", "codec", "noise", "gain"}
    assert on("meeting") == {"room", "noise", "gain", "speed"}
    assert on("field") == {"noise", "gain", "speed"}
    assert [PRESETS[n].noise.snr for n in ("call-center", "meeting", "field")] == [(5, 20), (5, 25), (0, 20)]


def test_what_is_written_replaces_what_the_preset_says_and_nothing_else() -> None:
    found = read({"preset": "call-center", "noise": {"snr": [0, 10]}, "codec": {"probability": 0}})
    preset = PRESETS["call-center"]
    assert found.noise == preset.noise.model_copy(update={"snr": (0.0, 10.0)})
    assert found.codec == preset.codec.model_copy(update={"probability": 0.0})
    assert (found.gain, found.telephone) == (preset.gain, preset.telephone)
    assert read({"gain": {"probability": 0.5}}) == AugmentSettings(gain=Gain(probability=0.5))
    assert read({"noise": {"probability": 1, "color": ["white", "wind"]}}).noise.colors == ("white", "wind")
    assert read({"noise": {"probability": 1, "color": "brown"}}).noise.colors == ("brown",)
    assert read({"mask": {"probability": 1, "fill": -4}}).mask.fill == -4
    assert read({"preset": "field", "views": 4}).views == 4


def test_what_is_recorded_is_read_again_as_the_same_whatever_presets_become(monkeypatch: pytest.MonkeyPatch) -> None:
    first = read({"preset": "call-center", "views": 3, "noise": {"probability": 0.0, "color": ["babble"]}})
    recorded = json.loads(first.model_dump_json())
    bare = {"call-center": AugmentSettings(preset="call-center")}
    monkeypatch.setattr("tunesmith.speech.augment.presets.PRESETS", bare)
    assert read(recorded) == first
    assert recorded["gain"]["probability"] > 0


def test_left_out_it_is_the_default_filled_in() -> None:
    options, _ = check({}, Options, ("options",))
    assert options is not None
    assert options.augment == PRESETS["meeting"]


@pytest.mark.parametrize(
    ("augment", "what", "fix"),
    [
        ("call-centre", "options.augment: got 'call-centre'", "did you mean 'call-center'?"),
        ({"preset": "sea"}, "options.augment.preset: got 'sea'", "none, clean, call-center, meeting or field"),
        ({"noise": {"level": 5}}, "options.augment.noise.level: there is no such setting", ""),
        ({"echo": {"rt60": 5}}, "options.augment.echo: there is no such setting", ""),
        ({"noise": {"snr": [20, 5]}}, "20 is more than 5: the lower end stands first", "two numbers"),
        ({"noise": {"snr": 5}}, "options.augment.noise.snr: got 5", "a list of two numbers"),
        ({"noise": {"snr": [-90, 5]}}, "options.augment.noise.snr", "-20"),
        ({"noise": {"color": "grey"}}, "options.augment.noise.color: got 'grey'", ""),
        ({"noise": {"color": []}}, "options.augment.noise.color", ""),
        ({"noise": {"probability": 1.5}}, "options.augment.noise.probability: got 1.5", "from 0 to 1"),
        ({"speed": {"factor": [0.1, 1]}}, "options.augment.speed.factor", "0.5"),
        ({"room": {"rt60": [0, 1]}}, "options.augment.room.rt60", "0.05"),
        ({"codec": {"formats": []}}, "options.augment.codec.formats", ""),
        ({"codec": {"formats": ["aac"]}}, "options.augment.codec.formats", "opus"),
        ({"codec": {"kbps": [1, 8]}}, "options.augment.codec.kbps", "6"),
        ({"mask": {"most": 2}}, "options.augment.mask.most: got 2", "from 0 to 1"),
        ({"mask": {"fill": "zero"}}, "options.augment.mask.fill: got 'zero'", "mean"),
        ({"views": 0}, "options.augment.views: got 0", "above 0"),
        ({"noise": {"snr": [5, 9]}}, "noise is written without its probability, which is 0 in preset none", ""),
        ({"preset": "field", "room": {"rt60": [0.2, 0.4]}}, "room is written without its probability", ""),
    ],
)
def test_what_is_wrong_is_said_where_it_stands(augment: Any, what: str, fix: str) -> None:
    options, faults = check({"augment": augment}, Options, ("options",))
    assert options is None
    assert what in faults[0].what
    assert fix in faults[0].fix
    assert faults[0].fix


def test_every_setting_is_described_and_explained() -> None:
    settings = list(every(Options, ("options",)))
    assert len(settings) > 35
    assert [s.key for s in settings if not s.description] == []
    for section in (Noise, Mask, AugmentSettings):
        assert len(list(children(section))) <= 12
    assert "RT60" in explain("options.augment.room.rt60", Options).description


def test_every_group_that_is_on_is_told_in_one_line() -> None:
    assert settings_of("none") == AugmentSettings()
    assert Augmenter.of("none").describe() == ["Recordings are not varied."]
    assert not Augmenter.of(read({"mask": {"probability": 1, "bands": 0, "spans": 0}})).random
    everything = {
        "speed": {"probability": 0.11, "factor": [0.8, 1.3]},
        "pitch": {"probability": 0.12, "semitones": [-3, 1]},
        "room": {"probability": 0.13, "rt60": [0.3, 0.9], "direct": [-2, 7]},
        "noise": {"probability": 0.14, "snr": [1, 9], "color": ["white", "pink", "wind"]},
        "gain": {"probability": 0.15, "db": [-8, 2]},
        "clipping": {"probability": 0.16, "db": [4, 4]},
        "telephone": {"probability": 0.17, "mu_law": 0.25},
        "codec": {"probability": 0.18, "formats": ["vorbis", "gsm"], "kbps": [7, 21]},
        "mask": {"probability": 0.19, "bands": 3, "band_bins": 12, "spans": 4, "span_frames": 33, "most": 0.07},
        "views": 8,
    }
    lines = Augmenter.of(read(everything)).describe()
    assert len(lines) == 10
    wanted = [
        "Speed: 11% of the recordings are played 0.8 to 1.3 times", "Pitch: 12% are shifted by -3 to 1 semitones",
        "Room: 13%", "in 0.3 to 0.9 s and is -2 to 7 dB", "Noise: 14% get white, pink or wind noise", "1 to 9 dB below",
        "Gain: 15% change by -8 to 2 dB", "Clipping: 16% are cut off 4 dB below", "Telephone: 17%", "25% of them in 8",
        "Codec: 18% are encoded and decoded by vorbis or gsm at 7 to 21 kbit/s", "Mask: of 19%", "3 bands of up to 12",
        "4 spans of up to 33 frames (7% of all at most)", "8 versions of each recording",
    ]  # fmt: skip
    text = "\n".join(lines)
    assert [words for words in wanted if words not in text] == []
    assert all(line.endswith(".") for line in lines)
    folder = read({"noise": {"probability": 1, "folder": "street"}})
    assert "100% get recordings of street behind" in Augmenter.of(folder).describe()[0]


def test_a_condition_takes_settings_as_well_as_presets() -> None:
    written = read({"preset": "call-center", "telephone": {"mu_law": 0.0}, "codec": {"probability": 0.1}})
    fixed = at(written, 7.5).augmenter.settings
    assert (fixed.noise.probability, fixed.noise.snr) == (1, (7.5, 7.5))
    assert (fixed.telephone.probability, fixed.telephone.mu_law) == (1, 0)
    assert (fixed.codec.probability, fixed.codec.formats, fixed.room.probability) == (1, ["opus"], 0)
    assert fixed.codec.kbps[0] == fixed.codec.kbps[1] == pytest.approx((8 * 24) ** 0.5)
    assert (fixed.gain, fixed.speed.probability, fixed.mask.probability) == (Gain(), 0, 0)
    assert at("call-center", None).augmenter.settings.noise.probability == 0
