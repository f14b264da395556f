"""What can be wrong with pictures, captions, tokens, settings and models, each said before anything is learned."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from tests.fixtures import small_pipelines
from tunesmith.errors import UserError
from tunesmith.plan import Plan, make_plan
from tunesmith.predict import need_finished
from tunesmith.prepare import Prepared, prepare
from tunesmith.recipe import read_recipe
from tunesmith.types import Finding

SUBJECT = {"prompt": "a photo of sks dog", "token": "sks", "subject": "dog"}
CLIP = ["q_proj", "k_proj", "v_proj", "out_proj"]


@dataclass
class Desk:
    """A place for recipes."""

    root: Path
    models: Path

    def recipe(
        self,
        *,
        model: str | Path = "sd",
        data: Mapping[str, Any] | None = None,
        options: Any = SUBJECT,
        **sections: Any,
    ) -> Path:
        place = {"train": str(self.models / "photos"), "eval": str(self.models / "prompts.jsonl"), "validation": 0}
        values: dict[str, Any] = {
            "task": "text-to-image",
            "model": str(self.models / model),
            "data": place | dict(data or {}),
            "options": {"size": 32, "steps": 2, "encoder": str(self.models / "clip"), **options},
            "adapter": {"kind": "lora", "r": 2, "targets": ["to_q", "to_k"]},
            "stages": [{"train": "adapter", "epochs": 2}],
            "run": {"folder": str(self.root / "runs"), "name": "x"},
            **sections,
        }
        file = self.root / "recipe.yaml"
        file.write_text(yaml.safe_dump({k: v for k, v in values.items() if v is not None}), encoding="utf-8")
        return file

    def prepared(self, **sections: Any) -> Prepared:
        return prepare(read_recipe(self.recipe(**sections)))

    def found(self, code: str, **sections: Any) -> Finding:
        return next(one for one in self.prepared(**sections).findings if one.code == code)

    def planned(self, **sections: Any) -> Plan:
        prepared = self.prepared(**sections)
        prepared.raise_errors()
        return make_plan(prepared)

    def error(self, **sections: Any) -> UserError:
        """What is said of a recipe, at the latest when it is planned."""
        with pytest.raises(UserError) as caught:
            self.planned(**sections)
        assert caught.value.fix
        return caught.value


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("models")
    for family in ("sd", "sd3"):
        small_pipelines.write(root / family, family)
    small_pipelines.clip_folder(root / "clip")
    small_pipelines.photos(root / "photos")
    small_pipelines.captioned(root / "captioned")
    small_pipelines.prompts_file(root / "prompts.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNESMITH_CACHE", str(root / "cache"))
        yield root


@pytest.fixture
def desk(models: Path, tmp_path: Path) -> Desk:
    return Desk(tmp_path, models)


# Pictures


def test_one_picture_only(desk: Desk) -> None:
    small_pipelines.photos(desk.root / "one", 1)
    found = desk.found("few-pictures", data={"train": str(desk.root / "one")})
    assert found.level == "warning"
    assert found.what.startswith("there is one picture only: the subject is learned together with its background")
    assert "5 to 30 pictures" in found.fix
    # It can be learned from all the same.
    plan = make_plan(desk.prepared(data={"train": str(desk.root / "one")}))
    assert plan.stages[0]["steps"] == 2


def test_pictures_of_50_pixels(desk: Desk) -> None:
    small_pipelines.photos(desk.root / "small", 4, [(50, 50)])
    given = {"data": {"train": str(desk.root / "small")}, "options": SUBJECT | {"size": 64}}
    found = desk.found("small-picture", **given)
    assert found.level == "warning"
    assert "4 of 4 pictures (100.0%) are smaller than what they are learned at" in found.what
    assert "up to 1.28 times" in found.what
    prepared = desk.prepared(**given)
    assert tuple(prepared.task.encode(prepared.train[0])["pixels"].shape) == (3, 64, 64)


def test_a_picture_of_12_000_pixels(desk: Desk) -> None:
    folder = small_pipelines.photos(desk.root / "large", 3)
    Image.new("RGB", (12_000, 12_000), (90, 120, 30)).save(folder / "huge.jpg", quality=30)
    prepared = desk.prepared(data={"train": str(folder)})
    found = next(one for one in prepared.findings if one.code == "large-picture")
    assert found.level == "note"
    assert "huge.jpg: 12,000 x 12,000" in found.what
    row = next(row for row in prepared.train if row["image"] == "huge.jpg")
    example = prepared.task.encode(row)
    assert tuple(example["pixels"].shape) == (3, 32, 32)
    assert example["pixels"].float().mean((1, 2)).tolist() == pytest.approx([90, 120, 30], abs=4)
    assert example["micro"].tolist() == [12_000, 12_000, 0, 0, 32, 32]


def test_a_picture_that_can_not_be_read(desk: Desk) -> None:
    folder = small_pipelines.photos(desk.root / "broken", 4)
    file = folder / "p1.png"
    file.write_bytes(file.read_bytes()[:60])
    fault = desk.error(data={"train": str(folder), "broken_rows": 0})
    assert "p1.png" in f"{fault.what} {fault.where} {fault.fix}"


# Captions and tokens


def test_captions_of_400_tokens_are_counted_and_not_cut(desk: Desk) -> None:
    folder = small_pipelines.captioned(desk.root / "long")
    (folder / "p2.txt").write_text("a red ball on sand " + "x" * 400)
    fault = desk.error(data={"train": str(folder), "eval": 0.25}, options={})
    assert "long-caption" in fault.what
    assert "than the 77 tokens that text_encoder reads" in fault.what
    assert "p2.png" in f"{fault.what} {fault.where}"
    accept = {"accept": {"long-caption": "what matters stands first"}}
    desk.prepared(data={"train": str(folder), "eval": 0.25}, options={}, audit=accept).raise_errors()


def test_a_prompt_of_400_tokens_is_not_made_into_a_picture(desk: Desk) -> None:
    task: Any = desk.prepared().task
    task.for_person = True
    with pytest.raises(UserError, match="the prompt has 402 tokens, and text_encoder reads 77: 325 would be cut off"):
        task.encode({"id": "1", "text": "x" * 400, "image": ""})


def test_a_token_that_means_something_is_shown_with_what_it_means(desk: Desk) -> None:
    prompts = small_pipelines.prompts_file(desk.root / "x.jsonl", ["x on grass", "a tree"])
    found = desk.found("known-token", data={"eval": str(prompts)}, options={"prompt": "a photo of x", "token": "x"})
    assert found.level == "warning"
    assert "the token 'x' is a word of the vocabulary already" in found.what
    assert "near to" in found.what
    told = desk.found("token-in-pieces")
    assert "'sks' is read as 3 pieces: 's' (number" in told.what


def test_a_new_token_must_be_new_and_written_alike(desk: Desk) -> None:
    fault = desk.error(options={"prompt": "a photo of x", "token": "x", "learn_token": True})
    assert "options.token: 'x' is in the vocabulary already ('x' (number" in fault.what
    assert "so it gets no vector of its own" in fault.what
    assert fault.where == "recipe: options.token"
    fault = desk.error(options={"prompt": "a photo of SKS dog", "token": "sks", "learn_token": True})
    assert "has the token 'sks' in other letters" in fault.what


def test_a_prompt_without_the_token(desk: Desk) -> None:
    fault = desk.error(options=SUBJECT | {"prompt": "a photo of a dog"})
    assert "the prompt 'a photo of a dog' is without the token 'sks'" in fault.what
    assert "a photo of sks dog" in fault.fix


def test_held_out_rows_must_tell_of_the_metric(desk: Desk) -> None:
    prompts = small_pipelines.prompts_file(desk.root / "none.jsonl", ["a cat", "a tree"])
    fault = desk.error(data={"eval": str(prompts)})
    assert "options.metric: subject_fidelity is measured on prompts with 'sks', and none is held out" in fault.what
    fault = desk.error(data={"train": str(desk.models / "captioned")}, options={})
    assert "options.metric: loss needs held-out pictures, and 4 held-out rows are prompts alone" in fault.what


# Settings


@pytest.mark.parametrize(
    ("options", "what", "where"),
    [
        ({"learn_token": True}, "options.learn_token: there is no token to learn", "recipe: options.learn_token"),
        (
            {"prior": {"prompt": "a dog"}},
            "options.prior: class pictures belong to a subject with a token",
            "recipe: options.prior",
        ),
        (
            SUBJECT | {"prior": {"prompt": "a photo of sks dog"}},
            "options.prior.prompt holds the token 'sks'",
            "recipe: options.prior.prompt",
        ),
        (
            {"metric": "subject_fidelity"},
            "options.metric: there is no subject without a token",
            "recipe: options.metric",
        ),
        (
            SUBJECT | {"metric": "prompt_fidelity"},
            "options.metric: nothing compares pictures with prompts",
            "recipe: options.metric",
        ),
        (SUBJECT | {"steps": 2000}, "options.steps: 2,000 is more than the 1,000 times", "recipe: options.steps"),
        (SUBJECT | {"size": 30}, "30 pixels is no multiple of 4", "recipe: options.size"),
        (SUBJECT | {"encoder": "/no/such/folder"}, "there is no folder '/no/such/folder'", "recipe: options.encoder"),
        (
            SUBJECT | {"text_scorer": "/no/such/folder"},
            "there is no folder '/no/such/folder'",
            "recipe: options.text_scorer",
        ),
        (
            SUBJECT | {"text_encoder": True},
            "options.text_encoder: adapter.targets name no layer of the text encoders",
            "recipe: adapter.targets",
        ),
    ],
)
def test_settings_that_contradict_each_other(options: Any, what: str, where: str, desk: Desk) -> None:
    data = {} if options.get("prompt") else {"train": str(desk.models / "captioned"), "eval": 0.25}
    fault = desk.error(options=options, data=data)
    assert what in fault.what
    assert fault.where == where


def test_settings_that_do_not_exist(desk: Desk) -> None:
    fault = desk.error(options=SUBJECT | {"min_snr": -1})
    assert "options.min_snr" in fault.what
    assert "options.tokens: there is no such setting" in desk.error(options=SUBJECT | {"tokens": "x"}).what


def test_a_stage_within_nothing(desk: Desk) -> None:
    fault = desk.error(stages=[{"train": "adapter", "within": ["decoder"], "epochs": 1}])
    assert "LatentDiffusion has nothing within decoder" in fault.what
    assert "denoiser" in fault.fix


def test_training_rows_without_pictures(desk: Desk) -> None:
    fault = desk.error(data={"train": str(desk.models / "prompts.jsonl"), "eval": 0.25}, options={"token": "sks"})
    assert "no training row has a picture" in fault.what


def test_a_picture_of_a_size_that_can_not_be_made(desk: Desk) -> None:
    task: Any = desk.prepared().task
    with pytest.raises(
        UserError, match="a picture of 33 x 32 pixels can't be made: sides are multiples of 4"
    ) as caught:
        task.encode({"id": "7", "text": "a tree", "image": "", "height": 33, "width": 32})
    assert caught.value.where == "row 7"
    assert caught.value.fix == "write 32 x 32, the size of the model"


def test_the_adapter_of_a_recipe_without_one_reaches_the_text_encoders_where_they_learn(desk: Desk) -> None:
    for learns in (False, True):
        found = desk.prepared(options=SUBJECT | {"text_encoder": learns}, adapter=None, stages=None)
        adapter = found.source.recipe.adapter
        assert adapter is not None
        assert set(CLIP) <= set(adapter.targets) if learns else not set(CLIP) & set(adapter.targets)
        make_plan(found)


# Models


def altered(desk: Desk, part: str, file: str, **changes: Any) -> Path:
    """A copy of the model with other values in a configuration."""
    folder = desk.root / "altered"
    shutil.copytree(desk.models / "sd", folder)
    place = folder / part / file
    place.write_text(json.dumps(json.loads(place.read_text()) | changes))
    return folder


def test_a_vae_of_another_model(desk: Desk) -> None:
    fault = desk.error(model=altered(desk, "vae", "config.json", latent_channels=16))
    assert "the VAE makes latents of 16 channels, and the unet takes 4: they are of different models" in fault.what
    assert fault.where.endswith("vae")


def test_an_unknown_scheduler(desk: Desk) -> None:
    folder = altered(desk, "scheduler", "scheduler_config.json", prediction_type="score")
    assert "prediction_type is 'score'" in desk.error(model=folder).what
    (folder / "scheduler" / "scheduler_config.json").write_text('{"_class_name": "EDMEulerScheduler", "sigma_max": 80}')
    assert "the scheduler EDMEulerScheduler has no beta_schedule" in desk.error(model=folder).what


def test_a_folder_that_is_no_pipeline(desk: Desk) -> None:
    shutil.copytree(desk.models / "sd", desk.root / "bare")
    (desk.root / "bare" / "model_index.json").unlink()
    assert "has no config.json" in desk.error(model=desk.root / "bare").what
    # A model of another task.
    assert "model_index.json" in desk.error(model=desk.models / "clip").what


def test_a_safety_checker_that_is_missing_is_told_and_no_fault(desk: Desk) -> None:
    folder = desk.root / "checked"
    shutil.copytree(desk.models / "sd", folder)
    index = json.loads((folder / "model_index.json").read_text())
    index |= {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"], "requires_safety_checker": True}
    (folder / "model_index.json").write_text(json.dumps(index))
    prepared = desk.prepared(model=folder)
    prepared.raise_errors()
    assert "the folder has no safety checker: nothing checks what is generated" in prepared.task.facts.lines
    assert prepared.task.load() is not None


def test_an_adapter_on_a_t5_is_refused_before_it_learns(desk: Desk) -> None:
    """No pipeline loads one there."""
    from transformers import T5Config, T5EncoderModel

    folder = desk.root / "sd3"
    shutil.copytree(desk.models / "sd3", folder)
    config = T5Config(vocab_size=84, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=4)
    T5EncoderModel(config).save_pretrained(folder / "text_encoder_3")
    shutil.copytree(folder / "tokenizer", folder / "tokenizer_3")
    index = json.loads((folder / "model_index.json").read_text())
    index |= {"text_encoder_3": ["transformers", "T5EncoderModel"], "tokenizer_3": ["transformers", "CLIPTokenizer"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    learns = SUBJECT | {"text_encoder": True}
    fault = desk.error(model=folder, options=learns, adapter={"kind": "lora", "r": 2})
    assert "adapter.targets reach text_encoder_3 (T5)" in fault.what
    fine = desk.prepared(model=folder, options=learns, adapter={"kind": "lora", "r": 2, "targets": ["to_q", *CLIP]})
    make_plan(fine)


def test_a_run_that_is_not_finished_makes_no_pictures(desk: Desk) -> None:
    from tunesmith.run import Run

    with pytest.raises(UserError, match="this run has no tuned model yet"):
        need_finished(Run.open(desk.root / "runs" / "x", create=True))
