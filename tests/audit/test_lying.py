"""Pictures that lie on a side are told by the network's features; where it can't tell, the audit says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.audit.test_labels import opened
from tests.fixtures import picture_runs
from tunesmith.audit.data import AuditData
from tunesmith.audit.found import Found, Skipped
from tunesmith.audit.lying import lying_findings

COUNT, TURNED = 60, {4: 1, 17: 1, 23: 2, 38: 3, 51: 1}
SIDE = 64


def landscape(rng: np.random.Generator) -> Image.Image:
    """A sky that is light and even over a ground that is dark and ruled, with a sun somewhere."""
    horizon = int(rng.integers(20, 44))
    picture = rng.normal(200, 6, (SIDE, SIDE, 3))
    picture[:horizon] += np.linspace(-60, 20, horizon)[:, None, None] * [1, 0.6, 0.1]
    picture[horizon:] = rng.normal(70, 10, (SIDE - horizon, SIDE, 3)) * [0.5, 1, 0.4]
    picture[horizon::4] -= 40
    at, across = rng.integers(2, 12), rng.integers(5, 55)
    picture[at : at + 6, across : across + 6] = [250, 230, 80]
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


def noise(rng: np.random.Generator) -> Image.Image:
    return Image.fromarray(rng.integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8))


def audited(folder: Path, draw: object, monkeypatch: pytest.MonkeyPatch) -> tuple[AuditData, set[str]]:
    monkeypatch.setenv("TUNESMITH_CACHE", str(folder / "cache"))
    rng, turned = np.random.default_rng(0), set()
    for number in range(COUNT):
        label = "ab"[number % 2]
        place = folder / "rows" / label
        place.mkdir(parents=True, exist_ok=True)
        made = draw(rng)  # type: ignore[operator]
        if number in TURNED:
            made = Image.fromarray(np.rot90(np.asarray(made), TURNED[number]))
            turned.add(f"{label}/{number:02}.png")
        made.save(place / f"{number:02}.png")
    model = picture_runs.classifier_folder(folder / "model", "resnet", ["a", "b"])
    return opened(folder, model, "image-classification"), turned


def test_turned_pictures_are_marked_with_the_turn_that_mends_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, turned = audited(tmp_path, landscape, monkeypatch)
    said = list(lying_findings(data))
    assert all(isinstance(one, Found) for one in said)
    marks = {mark.row: mark for one in said if isinstance(one, Found) for mark in one.marks}
    assert set(marks) == turned
    assert "a quarter turn clockwise" in marks["a/04.png"].note
    assert "on its head" in marks["b/23.png"].note
    assert "to the left" in marks["a/38.png"].note
    # Turned features are kept by content: nothing is encoded a second time.
    monkeypatch.setattr(data.task.__class__, "pixels", lambda *_: pytest.fail("a picture was read again"))
    again = list(lying_findings(data))
    assert [one.what for one in again if isinstance(one, Found)] == [one.what for one in said if isinstance(one, Found)]


def test_without_weights_and_with_few_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, _ = audited(tmp_path, noise, monkeypatch)
    data.has_weights = False
    (said,) = lying_findings(data)
    assert isinstance(said, Skipped)
    data.has_weights = True
    monkeypatch.setattr("tunesmith.audit.lying.LEAST_PICTURES", COUNT + 1)
    assert list(lying_findings(data)) == []


def test_where_nothing_tells_the_way_up_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, _ = audited(tmp_path, noise, monkeypatch)
    (said,) = lying_findings(data)
    assert isinstance(said, Skipped)
    assert "EXIF alone is believed" in said.reason


def test_a_picture_that_breaks_off_keeps_no_other_from_being_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, _ = audited(tmp_path, noise, monkeypatch)
    broken = [str(rows[0]["image"]) for rows in data.sides.values()]
    for name in broken:
        file = tmp_path / "rows" / name
        file.write_bytes(file.read_bytes()[:3000])
    seen = data.features
    assert seen is not None
    for side, rows in data.sides.items():
        assert len(seen.of(side)) == len(rows) - 1
        left = [row["image"] for row in rows if row["image"] not in broken]
        assert [rows[int(i)]["image"] for i in seen.at[side]] == left
        assert seen.of(side).any(1).all()
