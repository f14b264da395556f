"""What a recipe may write about augmentation, what it becomes, and how it is told to a person."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import Field

from tunesmith.pictures.augment import PRESETS, Augment, Augmenter, AugmentSettings, Camera, Viewpoint, settings_of
from tunesmith.recipe.explain import explain
from tunesmith.recipe.faults import check
from tunesmith.recipe.settings import children, every
from tunesmith.task import TaskOptions


class Options(TaskOptions):
    """Settings of a task, for these tests."""

    augment: Augment = Field("outdoor", validate_default=True, description="How pictures vary while the model learns.")


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


def test_what_is_written_replaces_what_the_preset_says_and_nothing_else() -> None:
    found = read({"preset": "outdoor", "viewpoint": {"rotate": 0, "scale": [0.9, 1.1]}, "camera": {"noise": 0.0}})
    outdoor = PRESETS["outdoor"]
    assert found.viewpoint == outdoor.viewpoint.model_copy(update={"rotate": 0.0, "scale": (0.9, 1.1)})
    assert found.camera == outdoor.camera.model_copy(update={"noise": 0.0})
    assert (found.light, found.background) == (outdoor.light, outdoor.background)
    assert read({"viewpoint": {"flip": 0.5}}) == AugmentSettings(viewpoint=Viewpoint(flip=0.5))


def test_what_is_recorded_is_read_again_as_the_same_whatever_presets_become(monkeypatch: pytest.MonkeyPatch) -> None:
    first = read({"preset": "product", "mosaic": 0.5, "light": {"hue": 0}})
    recorded = json.loads(first.model_dump_json())
    monkeypatch.setattr("tunesmith.pictures.augment.presets.PRESETS", {"product": AugmentSettings(preset="product")})
    assert read(recorded) == first
    assert recorded["light"]["brightness"] > 0


def test_left_out_it_is_the_default_filled_in() -> None:
    options, _ = check({}, Options, ("options",))
    assert options is not None
    assert options.augment == PRESETS["outdoor"]


@pytest.mark.parametrize(
    ("augment", "what", "fix"),
    [
        ("outdor", "options.augment: got 'outdor'", "did you mean 'outdoor'? write 'outdoor'"),
        ({"preset": "sea"}, "options.augment.preset: got 'sea'", "outdoor, product, document, aerial or none"),
        ({"viewpoint": {"rotation": 5}}, "options.augment.viewpoint.rotation: there is no such setting", "rotate"),
        ({"viewpoint": {"rotate": 200}}, "options.augment.viewpoint.rotate: got 200", "from 0 to 180"),
        ({"viewpoint": {"scale": [1.2, 0.8]}}, "1.2 is more than 0.8: the lower end stands first", "two numbers"),
        ({"viewpoint": {"scale": 0.5}}, "options.augment.viewpoint.scale: got 0.5", "a list of two numbers"),
        ({"viewpoint": {"perspective": 0.5}}, "options.augment.viewpoint.perspective: got 0.5", "from 0 to 0.2"),
        ({"light": {"brightness": 1}}, "options.augment.light.brightness: got 1", "below 1"),
        ({"mosaic": 1.5}, "options.augment.mosaic: got 1.5", "from 0 to 1"),
        ({"views": 0}, "options.augment.views: got 0", "above 0"),
        ({"jpeg": 0.5}, "options.augment.jpeg: there is no such setting", ""),
        ({"camera": {"jpeg_quality": [40, 100]}}, "options.augment.camera.jpeg_quality", ""),
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
    for section in (Viewpoint, Camera, AugmentSettings):
        assert len(list(children(section))) <= 12
    text = explain("options.augment.viewpoint.rotate", Options)
    assert "Degrees" in text.description


def test_every_step_that_is_on_is_told() -> None:
    assert settings_of("none") == AugmentSettings()
    assert Augmenter.of("none", (8, 8), "label").describe() == ("Pictures are not varied.",)
    everything = {
        "viewpoint": {"flip": 0.5, "vertical_flip": 0.25, "quarter_turn": 0.75, "rotate": 12, "scale": [0.8, 1.25],
                      "crop": [0.5, 1.0], "aspect": [0.75, 1.3], "perspective": 0.05, "translate": 0.1},
        "light": {"brightness": 0.3, "contrast": 0.2, "hue": 9, "saturation": 0.4, "gamma": 0.25, "shadow": 0.15},
        "background": {"paste": 0.35, "folder": "rooms", "blur": 0.45, "cut_out": 0.05},
        "camera": {"noise": 0.11, "jpeg": 0.22, "motion_blur": 0.33, "resolution": 0.44},
        "mosaic": 0.55, "mixup": 0.66, "close_out": 0.1, "views": 8,
    }  # fmt: skip
    text = "\n".join(Augmenter.of(read(everything), (8, 8), "boxes").describe())
    wanted = [
        "50% of the pictures are mirrored left", "25% are mirrored top", "75% are turned by 90", "up to 12 degrees",
        "0.8 to 1.25 times as large", "50% to 100% of the area", "0.75 to 1.3 times across", "up to 5% of the sides",
        "shifted by up to 10%", "less than 25%", "brightness times 0.7 to 1.3", "contrast times 0.8 to 1.2",
        "up to 9 degrees", "saturation times 0.6 to 1.4", "gamma 0.80 to 1.25", "shadow on 15%", "35% of the pictures",
        "pictures of rooms", "45% of the pictures", "on 5% of the pictures", "11% get noise of 2 to 10",
        "22% are written as JPEG of quality 40 to 90", "33% of the pictures are blurred along", "44% keep only",
        "55% of the pictures are a mosaic", "66% are blended", "last 10% of the epochs", "8 views of each picture",
    ]  # fmt: skip
    assert [words for words in wanted if words not in text] == []
    for name, settings in PRESETS.items():
        told = Augmenter.of(settings, (8, 8), "boxes").describe()
        assert all(line.endswith(".") for line in told), name
        assert (len(told) > 8) == (name != "none")
