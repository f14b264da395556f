"""Image generation as people run it, at tiny size: what is learned, kept, shown, saved, and loaded by others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.fixtures import generation, small_pipelines
from tests.fixtures.generation import (
    PRIOR,
    SUBJECT,
    Place,
    events,
    moved,
    picture_by_diffusers,
    pipeline,
    predicted,
    read_picture,
    receipt,
    receipts,
    three_stages,
    weights_at,
)
from tunesmith.apart import predicted_apart
from tunesmith.cli.using import predict as predict_command
from tunesmith.data.loader import Address
from tunesmith.diffusion.scores import unpack_picture
from tunesmith.errors import UserError
from tunesmith.export import export
from tunesmith.machine import cache_folder
from tunesmith.predict import predict
from tunesmith.prove import load_task
from tunesmith.rescore import rescore
from tunesmith.train.engine import LocalEngine


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with generation.made(tmp_path_factory.mktemp("generation")) as found:
        yield found


@pytest.fixture(scope="module")
def subject(place: Place) -> Any:
    return generation.subject(place)


@pytest.fixture(scope="module")
def token(place: Place, subject: Any) -> Any:
    return place.tune(three_stages(place, "token"))


@pytest.fixture(scope="module")
def captions(place: Place) -> Any:
    return generation.captions(place)


@pytest.fixture(scope="module")
def large(place: Place) -> Any:
    return generation.large(place)


@pytest.fixture(scope="module")
def flow(place: Place) -> Any:
    return generation.flow(place)


# What a run shows


def test_a_subject_is_learned_and_proved(subject: Any, place: Place) -> None:
    assert all(receipts(subject).values()), subject.read_json("receipts.json")
    scores = subject.read_json("scores.json")
    assert scores["metric"] == "subject_fidelity"
    assert {"prompt_fidelity", "other_prompt_fidelity", "leakage", "diversity"} <= set(scores["all"]["tuned"])
    assert [stage["name"] for stage in scores["stages"]] == ["adapter"]
    titles = {panel["title"] for panel in subject.read_json("panels.json")}
    assert {"Samples by step", "Worst pictures, tuned", "Real pictures of the subject", "Generated pictures"} <= titles
    said = "\n".join(place.said["subject"])
    for line in (
        "6 pictures in 3 buckets",
        "is cut away on average",
        "'sks' stands for what 6 pictures show",
        "the denoiser answers epsilon, as its scheduler says",
        "the folder has no safety checker",
        "3 further rows that the task makes are learned with the others",
        "token-in-pieces",
    ):
        assert line in said
    assert (subject.folder / "crops.jpg").stat().st_size > 1000
    assert subject.report.stat().st_size > 10_000
    assert "load_lora_weights" in subject.card.read_text()


def test_samples_are_made_before_the_first_step_and_on_a_schedule(subject: Any) -> None:
    """Nine rows in steps of four: three steps an epoch, a look every second one."""
    lines = (subject.folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert kinds.index("samples") < kinds.index("step")
    assert [event["step"] for event in events(subject, "samples")] == [0, 6, 12]
    taken = [subject.read_json(event["file"]) for event in events(subject, "samples")]
    strip = next(p for p in subject.read_json("panels.json") if p["title"] == "Samples by step")
    assert len(strip["items"]) == 2
    assert all(len(item["pictures"]) == 3 for item in strip["items"])
    # The same prompts and seeds: at step 0 the base's pictures, at the end those of the tuned model.
    rows = [json.loads(line) for line in (subject.folder / "predictions.jsonl").read_text().splitlines()]
    by_text = {row["row"]["text"]: row for row in rows}
    chosen = [by_text["a photo of sks dog"], by_text["sks dog on grass"]]
    for at, row in enumerate(chosen):
        assert np.abs(unpack_picture(taken[0][at]).astype(int) - unpack_picture(row["base"])).max() <= 1
        assert np.abs(unpack_picture(taken[-1][at]).astype(int) - unpack_picture(row["tuned"])).max() <= 1
        assert np.abs(unpack_picture(row["base"]).astype(int) - unpack_picture(row["tuned"])).mean() > 0.5


def test_the_activation_cache_holds_latents_and_texts(subject: Any, token: Any, captions: Any) -> None:
    """Where the text encoder learns, the latents alone."""
    found = {name: [(e["use"], e["boundary"]) for e in events(run, "cache")] for name, run in
             (("subject", subject), ("token", token), ("captions", captions))}  # fmt: skip
    assert found["subject"] == [(True, "joint")]
    assert found["captions"] == [(True, "joint")]
    # A token's vector lies below all texts; then the denoiser alone; then the encoder's own adapter.
    assert found["token"] == [(True, "latents"), (True, "joint"), (True, "latents")]
    for run in (subject, token, captions):
        cached = [holds for promise, holds in receipts(run).items() if promise.startswith("the cache equals no cache")]
        assert cached == [True] * len(events(run, "cache"))


def test_class_pictures_are_made_once_and_kept(place: Place, subject: Any, token: Any) -> None:
    """The second run has the same weights, prompt and size: its class pictures are there already."""
    files = sorted(cache_folder("class-pictures").rglob("*.*"))
    assert [file.name for file in files] == ["0000.png", "0001.png", "0002.png"]
    assert len({file.read_bytes() for file in files}) == 3
    assert all(read_picture(str(file)).shape == (32, 32, 3) for file in files)
    assert max(file.stat().st_mtime for file in files) < (token.folder / "recipe.yaml").stat().st_mtime
    assert receipt(subject, "every row is accounted for")["detail"].startswith("6 train, 0 validation, 4 held out")
    # They are what the pretrained model makes of the prompt.
    wanted = picture_by_diffusers(pipeline(place.root / "sd"), PRIOR["prompt"], "class-0001")
    assert np.abs(read_picture(str(files[1])) - wanted).max() <= 1


# Stages


def test_a_token_then_the_denoiser_then_both(token: Any) -> None:
    """Nine rows, three steps an epoch, two epochs a stage."""
    assert all(receipts(token).values()), token.read_json("receipts.json")
    names = [stage["name"] for stage in token.read_json("scores.json")["stages"]]
    assert names == ["head", "adapter of denoiser", "adapter"]
    ends = [weights_at(token, step) for step in (6, 12, 18)]
    assert moved({}, ends[0]) == {"rows"}
    assert moved(ends[0], ends[1]) == {"denoiser"}
    assert moved(ends[1], ends[2]) >= {"denoiser", "texts"}
    # The vector began as that of the class.
    table = load_file(token.folder / "model" / "learned_embeds.safetensors")
    assert table["<disc>"].shape == (1, 16)
    groups = [event["groups"] for event in events(token, "stage") if event["event"] == "start"]
    assert [[g["group"] for g in one if g["trains"]] for one in groups] == [["head"], ["adapter"], ["adapter", "head"]]


def test_a_run_that_was_killed_ends_in_the_same_bits(place: Place, token: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of the second stage and of the third, between which the cache is another one."""
    recipe, whole, left = three_stages(place, "killed"), LocalEngine.step, [9]

    def step(self: LocalEngine, optimizer: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        whole(self, optimizer)

    monkeypatch.setattr(LocalEngine, "step", step)
    for count in (9, 7):
        left[0] = count
        with pytest.raises(KeyboardInterrupt):
            place.tune(recipe)
    left[0] = 1000
    killed = place.tune(recipe)
    assert [event["step"] for event in events(killed, "resume")] == [8, 14]
    for name in ("model/adapter_model.safetensors", "model/pytorch_lora_weights.safetensors",
                 "model/learned_embeds.safetensors", "predictions.jsonl"):  # fmt: skip
        assert (killed.folder / name).read_bytes() == (token.folder / name).read_bytes(), name
    assert [e["loss"] for e in events(killed, "step")] == [e["loss"] for e in events(token, "step")]


def test_all_weights_of_a_denoiser_that_answers_v(captions: Any, place: Place) -> None:
    assert all(receipts(captions).values()), captions.read_json("receipts.json")
    scores = captions.read_json("scores.json")
    assert (scores["metric"], scores["higher_is_better"], scores["rows"]) == ("loss", False, 2)
    assert scores["tuned"] != scores["base"]
    said = "\n".join(place.said["captions"])
    assert "the denoiser answers v prediction, as its scheduler says" in said
    assert "the folder has no safety checker" in said
    assert receipt(captions, "frozen weights are unchanged")["detail"] == "digests of block 0, block 1"
    for part, learned in (("unet", True), ("vae", False), ("text_encoder", False)):
        before, after = (
            load_file(next((folder / part).glob("*.safetensors"))) for folder in (place.root / "sd2", captions.model)
        )
        assert before.keys() == after.keys()
        assert any(not torch.equal(before[name], after[name]) for name in before) == learned, part


def test_large_pipelines_and_transformers_are_learned(large: Any, flow: Any, place: Place) -> None:
    for run in (large, flow):
        assert all(receipts(run).values()), run.read_json("receipts.json")
    assert "the denoiser answers flow, as its scheduler says" in "\n".join(place.said["flow"])
    assert set(load_file(large.model / "learned_embeds.safetensors")) == {"clip_l", "clip_g"}
    parts = {key.split(".")[0] for key in load_file(large.model / "pytorch_lora_weights.safetensors")}
    assert parts == {"unet", "text_encoder", "text_encoder_2"}


# What is drawn


def test_caption_dropout_and_crops_come_from_the_rows_own_draw(captions: Any, place: Place) -> None:
    task = load_task(captions)
    task.folders = (place.root / "captioned",)
    row = {"id": "7", "image": "p1.png", "text": "a red ball on sand", "height": 36, "width": 54, "content": "x"}
    empty, full = task.token_ids(""), task.token_ids(row["text"])
    plain = task.encode(row)
    assert torch.equal(plain["tokens"]["text_encoder"], full["text_encoder"])
    drawn = [task.encode(row, Address(0, 0, n).rng("row", "7")) for n in range(40)]
    again = [task.encode(row, Address(0, 0, n).rng("row", "7")) for n in range(40)]
    dropped = sum(torch.equal(one["tokens"]["text_encoder"], empty["text_encoder"]) for one in drawn)
    assert 8 <= dropped <= 24
    assert all(torch.equal(a["pixels"], b["pixels"]) for a, b in zip(drawn, again, strict=True))
    assert len({one["pixels"].numpy().tobytes() for one in drawn}) > 2
    # Of a class picture the caption stays.
    kept = [task.encode(row | {"prior": True}, Address(0, 0, n).rng("row", "7")) for n in range(20)]
    assert all(torch.equal(one["tokens"]["text_encoder"], full["text_encoder"]) for one in kept)


# The saved model


def test_a_saved_adapter_that_does_nothing_fails(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is scored at the end is what a fresh process read from the files; however little was learned."""
    from tunesmith.model import adapters

    whole = adapters.save_adapter

    def empty(model: Any, folder: Any, **more: Any) -> None:
        whole(model, folder, **more)
        file = Path(folder) / "adapter_model.safetensors"
        save_file({name: torch.zeros_like(value) for name, value in load_file(file).items()}, file)

    monkeypatch.setattr(adapters, "save_adapter", empty)
    stages = [{"train": "adapter", "epochs": 1, "lr": 1e-5}]
    run = place.tune(place.recipe("emptied", options=SUBJECT | {"samples": {"rows": 0}}, stages=stages))
    found = receipt(run, "the saved model reloads to the same outputs")
    assert not found["holds"]
    assert "those of the base: what was saved does nothing" in found["detail"]
    scores = run.read_json("scores.json")
    assert scores["difference"] == 0


def test_a_fresh_process_says_what_is_wrong_with_the_files(subject: Any, place: Place) -> None:
    """It is alone, too, where torchrun started several of this one."""
    rows, folders = [{"id": "1", "text": "a tree", "image": ""}], [place.root / "photos"]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}.items():
            patch.setenv(name, value)
        done: list[tuple[int, int]] = []
        found = predicted_apart(
            subject, rows, folders, device="cpu", precision="fp32", batch=1, progress=lambda *at: done.append(at)
        )
    wanted = predicted(subject, "a tree")
    assert np.abs(unpack_picture(found[0]).astype(int) - wanted).max() <= 1
    assert done == [(1, 1)]
    file = subject.model / "adapter_model.safetensors"
    kept = file.read_bytes()
    try:
        file.write_bytes(kept[:100])
        with pytest.raises(UserError, match="can't be loaded in a fresh process") as caught:
            predicted_apart(
                subject, rows, folders, device="cpu", precision="fp32", batch=1, progress=lambda _done, _all: None
            )
    finally:
        file.write_bytes(kept)
    assert "adapter_model.safetensors" in caught.value.what
    assert list(subject.folder.glob(".apart*")) == []


@pytest.mark.parametrize("name", ["subject", "flow"])
def test_diffusers_draws_what_predict_draws(name: str, place: Place, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(name)
    prompt = "sks dog on grass"
    mine = predicted(run, prompt)
    pipe = pipeline(place.root / {"subject": "sd", "flow": "sd3"}[name])
    before = picture_by_diffusers(pipe, prompt, "1")
    pipe.load_lora_weights(run.model)
    after = picture_by_diffusers(pipe, prompt, "1")
    assert np.abs(mine - after).max() <= 1
    assert np.abs(mine - before).max() > 3


@pytest.mark.parametrize("name", ["token", "large"])
def test_diffusers_draws_it_with_the_token_too(name: str, place: Place, request: pytest.FixtureRequest) -> None:
    run, prompt = request.getfixturevalue(name), "<disc> dog on grass"
    mine = predicted(run, prompt)
    pipe = pipeline(place.root / {"token": "sd", "large": "sdxl"}[name])
    file = run.model / "learned_embeds.safetensors"
    if name == "token":
        pipe.load_textual_inversion(file)
    else:
        vectors = load_file(file)
        pipe.load_textual_inversion(
            vectors["clip_l"], "<disc>", tokenizer=pipe.tokenizer, text_encoder=pipe.text_encoder
        )
        more = {"tokenizer": pipe.tokenizer_2, "text_encoder": pipe.text_encoder_2}
        pipe.load_textual_inversion(vectors["clip_g"], "<disc>", **more)
    without = picture_by_diffusers(pipe, prompt, "1")
    pipe.load_lora_weights(run.model)
    assert np.abs(mine - picture_by_diffusers(pipe, prompt, "1")).max() <= 1
    assert np.abs(mine - without).max() > 5


def test_diffusers_loads_all_weights(captions: Any) -> None:
    """The safety checker that the folder named and lacked is named no more."""
    prompt = "a red ball on sand"
    assert np.abs(predicted(captions, prompt) - picture_by_diffusers(pipeline(captions.model), prompt, "1")).max() <= 1


def test_a_merged_adapter_is_a_pipeline(token: Any, tmp_path: Path) -> None:
    made = export(token, tmp_path / "merged", dtype="fp32")
    assert made.to_json()["rows"] == 4
    prompt = "<disc> dog on grass"
    pipe = pipeline(tmp_path / "merged")
    assert "<disc>" in pipe.tokenizer.get_vocab()
    assert np.abs(predicted(token, prompt) - picture_by_diffusers(pipe, prompt, "1")).max() <= 2


def test_an_adapter_in_kohyas_layout(subject: Any, token: Any, place: Place, tmp_path: Path) -> None:
    file = tmp_path / "new" / "lora.safetensors"
    made = export(subject, file, format="kohya")
    assert made.to_json()["verified"]["differences"][0]["largest"] <= 1e-5
    assert "read back" in str(made)
    pipe = pipeline(place.root / "sd")
    pipe.load_lora_weights(file.parent, weight_name=file.name)
    prompt = "sks dog on grass"
    assert np.abs(predicted(subject, prompt) - picture_by_diffusers(pipe, prompt, "1")).max() <= 1
    told = str(export(token, tmp_path / "token.safetensors", format="kohya"))
    assert "the vectors of <disc> are not in it" in told


def test_an_export_that_changes_a_value_is_no_export(
    subject: Any, captions: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith.model import kohya

    whole = kohya.write_kohya

    def changed(parts: Any, file: Any) -> Any:
        whole(parts, file)
        tensors = load_file(file)
        name = next(key for key in sorted(tensors) if key.endswith("lora_up.weight"))
        tensors[name][0, 0] += 0.01 * tensors[name].abs().max()
        save_file(tensors, file)
        return file

    monkeypatch.setattr(kohya, "write_kohya", changed)
    with pytest.raises(UserError, match="an update differs by") as caught:
        export(subject, tmp_path / "lora.safetensors", format="kohya")
    assert caught.value.code == 1
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="this run has no adapter, and kohya's layout holds nothing else"):
        export(captions, tmp_path / "all.safetensors", format="kohya")


# Use


def test_several_pictures_of_a_prompt(subject: Any, captions: Any, tmp_path: Path, capsys: Any) -> None:
    found = predict(subject, ["sks dog on grass", "a tree"], n=2, out=tmp_path / "made", device="cpu")
    assert [one["id"] for one in found] == ["1-1", "1-2", "2-1", "2-2"]
    assert [Path(one["prediction"]).name for one in found] == ["0001.png", "0002.png", "0003.png", "0004.png"]
    pictures = [read_picture(one["prediction"]) for one in found]
    assert all(np.abs(pictures[i] - pictures[j]).mean() > 1 for i in range(4) for j in range(i))
    table = [json.loads(line) for line in (tmp_path / "made" / "metadata.jsonl").read_text().splitlines()]
    assert [one["text"] for one in table] == ["sks dog on grass"] * 2 + ["a tree"] * 2
    capsys.readouterr()
    assert predict_command(captions.folder, ["a red ball"], n=2, as_json=True) == 0
    said = json.loads(capsys.readouterr().out)
    assert [Path(one["prediction"]).name for one in said] == ["0001.png", "0002.png"]
    # Without a folder of their own they lie in the run's.
    assert {Path(one["prediction"]).parent.parent for one in said} == {captions.folder / "predictions"}


def test_prompts_may_ask_for_their_size(captions: Any, tmp_path: Path) -> None:
    file = small_pipelines.prompts_file(tmp_path / "p.jsonl", ["a ball"])
    file.write_text('{"text": "a ball", "height": 40, "width": 24}\n')
    found = predict(captions, [str(file)], device="cpu", out=tmp_path / "made")
    assert read_picture(found[0]["prediction"]).shape == (40, 24, 3)


def test_a_run_is_scored_again(captions: Any) -> None:
    again, scores = rescore(captions), captions.read_json("scores.json")
    assert again["tuned"] == pytest.approx(scores["tuned"], rel=1e-5)
    assert again["base"] == pytest.approx(scores["base"], rel=1e-5)
