"""Captions that say nothing or belong to another picture are found; those that fit are left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fixtures import small_pipelines
from tests.fixtures.picture_audits import findings, mark_of, read, rows_of, sharp, views
from tunesmith.audit.caption_fit import caption_vectors, fit_of, swapped_pairs
from tunesmith.audit.captions import caption_findings, is_file_name, says_nothing, suspects
from tunesmith.audit.data import AuditData
from tunesmith.audit.found import Skipped
from tunesmith.audit.picture_table import picture_table

THINGS = ("cat", "dog", "boat", "tree", "house", "car", "bird", "lamp", "chair", "fish", "cup", "kite")


def captioned(tmp_path: Path, captions: list[str], options: dict[str, Any] | None = None) -> AuditData:
    for side, texts in (("train", captions), ("eval", ["a red cup on a table", "a bird above the sea"])):
        (tmp_path / side).mkdir()
        lines = []
        for number, text in enumerate(texts):
            sharp(number + 100 * (side == "eval"), (64, 64)).save(tmp_path / side / f"img-{number:02d}.png")
            lines.append(json.dumps({"file_name": f"img-{number:02d}.png", "text": text}))
        (tmp_path / side / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return read(tmp_path, "text-to-image", options)


@pytest.mark.parametrize("text", ["", "  ", "image", "Photo.", "a picture", "N/A", '"untitled"', "this is an  image"])
def test_words_for_any_picture_say_nothing(text: str) -> None:
    assert says_nothing(text)


@pytest.mark.parametrize(
    ("text", "image"),
    [
        ("IMG 2041", "a.png"),
        ("img_20240501_143000", "a.png"),
        ("DSC01234", "a.png"),
        ("holiday-07", "train/holiday-07.jpg"),
        ("holiday 07.jpg", "train/holiday-07.jpg"),
        ("photo.png", "a.png"),
        ("9f86d081884c7d659a2feaa0", "a.png"),
        ("0412 2209", "a.png"),
    ],
)
def test_names_of_files_are_told(text: str, image: str) -> None:
    assert is_file_name(text, image)
    assert not says_nothing(text)


@pytest.mark.parametrize(
    ("text", "image"),
    [
        ("a red car", "a.png"),
        ("photo of two dogs", "a.png"),
        ("a house number 12", "a.png"),
        ("red car", "red-car.png"),
        ("an image of the year 2041", "a.png"),
        ("decade", "a.png"),
    ],
)
def test_captions_are_no_names_of_files(text: str, image: str) -> None:
    assert not is_file_name(text, image)
    assert not says_nothing(text)


def test_captions_by_their_words(tmp_path: Path) -> None:
    captions = [f"a {thing} on a {place}" for thing in THINGS for place in ("table", "street")]
    captions[3], captions[5], captions[7] = "image", "IMG 2041", captions[6]
    said = list(caption_findings(captioned(tmp_path, captions)))
    found = findings(said)
    assert {code: rows_of(one) for code, one in found.items()} == {
        "empty-caption": {"img-03.png"},
        "file-name-caption": {"img-05.png"},
        "repeated-caption": {"img-07.png"},
    }
    assert mark_of(found["repeated-caption"], "img-07.png").twin == "train:img-06.png"
    assert any(isinstance(one, Skipped) and "text_scorer" in one.reason for one in said)
    assert not findings(said, "eval")


def test_captions_without_the_token(tmp_path: Path) -> None:
    captions = [f"a photo of sks {thing}" for thing in THINGS]
    captions[4] = "a photo of skis"
    found = findings(caption_findings(captioned(tmp_path, captions, {"token": "sks"})))
    assert rows_of(found["prompt-without-token"]) == {"img-04.png"}
    assert found["prompt-without-token"].level == "error"


def test_one_prompt_for_all_is_looked_at_once(tmp_path: Path) -> None:
    for side in ("train", "eval"):
        (tmp_path / side).mkdir()
        for number in range(4):
            sharp(number + 100 * (side == "eval"), (64, 64)).save(tmp_path / side / f"{number}.png")
    data = read(tmp_path, "text-to-image", {"prompt": "a sks dog", "token": "sks"})
    (said,) = caption_findings(data)
    assert isinstance(said, Skipped)


def drawn(count: int, wrong: dict[int, int], seed: int = 0) -> tuple[Any, Any, list[str]]:
    """Unit vectors of pictures and captions that mean the same, up to noise; some captions are of other rows."""
    rng = np.random.default_rng(seed)
    meant = rng.normal(0, 1, (count, 48))
    texts = meant[[wrong.get(at, at) for at in range(count)]]

    def unit(values: Any, towards: Any) -> Any:
        noisy = values + rng.normal(0, 0.8, values.shape) + towards
        return noisy / np.linalg.norm(noisy, axis=1, keepdims=True)

    # Pictures lie in a corner of the space, texts in another one, as CLIP's do.
    return (
        unit(meant, 3 * rng.normal(0, 1, 48)),
        unit(texts, 3 * rng.normal(0, 1, 48)),
        [f"c{at}" for at in range(count)],
    )


@pytest.mark.parametrize("seed", range(3))
def test_captions_of_other_pictures(seed: int) -> None:
    swap = {10: 11, 11: 10, 50: 80, 80: 120, 120: 50}
    pictures, texts, captions = drawn(200, swap, seed)
    fit = fit_of(pictures, texts, captions)
    assert fit.tells() > 0.95
    bad = np.flatnonzero(suspects(fit.rank, fit.margin, fit.gain)).tolist()
    assert set(swap) <= set(bad)
    assert len(bad) <= len(swap) + 4  # of 195 that are right
    pairs = dict(swapped_pairs(fit, bad, 1.0))
    # Whose caption is mine: the row that carries it.
    carrier = {of: at for at, of in swap.items()}
    told = {at: pairs[at] for at in swap if at in pairs}
    assert len(told) >= 4
    assert told == {at: carrier[at] for at in told}


def test_a_sample_of_references_tells_the_same() -> None:
    swap = {10: 11, 11: 10}
    pictures, texts, captions = drawn(1500, swap)
    fit = fit_of(pictures, texts, captions)
    bad = np.flatnonzero(suspects(fit.rank, fit.margin, fit.gain)).tolist()
    assert set(swap) <= set(bad)
    assert len(bad) < 0.02 * 1500


def test_equal_captions_are_no_rivals() -> None:
    pictures, texts, _ = drawn(40, {})
    texts[1] = texts[0]
    pictures[1] = pictures[0]
    fit = fit_of(pictures, texts, ["same", "same", *(f"c{at}" for at in range(38))])
    assert fit.rank[0] == fit.rank[1] == 0


def test_an_encoder_that_can_not_tell_is_not_believed(tmp_path: Path) -> None:
    clip = small_pipelines.clip_folder(tmp_path / "clip")
    captions = [f"a {thing} on a {place}" for thing in THINGS for place in ("table", "street")]
    data = captioned(tmp_path, captions, {"text_scorer": str(clip)})
    said = list(caption_findings(data))
    assert not findings(said)
    assert any(isinstance(one, Skipped) and "pairs only" in one.reason for one in said)
    assert "caption-fit-train" not in views(said)
    table = picture_table(data)["train"]
    seen, texts = caption_vectors(data, str(clip), table, range(len(table)), captions)
    assert np.linalg.norm(seen, axis=1) == pytest.approx(1, abs=2e-3)
    assert np.linalg.norm(texts, axis=1) == pytest.approx(1, abs=2e-3)


def test_an_encoder_that_is_not_there_is_said(tmp_path: Path) -> None:
    data = captioned(tmp_path, [f"a {thing}" for thing in THINGS], {"text_scorer": str(tmp_path / "nowhere")})
    assert any(isinstance(one, Skipped) and "not known" in one.reason for one in caption_findings(data))
