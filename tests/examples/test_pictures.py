"""The pictures made of stamps: the same each time, boxes and masks exact, what is held out new."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "make_pictures.py"
SIDES = ("train", "eval")


@pytest.fixture(scope="module")
def workshop() -> Iterator[SimpleNamespace]:
    """The generator's own rooms, which no package installs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPT.parent))
        from stamp_pictures import backgrounds, classification, dice, packages, paste, scenes, stamps

        yield SimpleNamespace(backgrounds=backgrounds, classification=classification, dice=dice, packages=packages,
                              paste=paste, scenes=scenes, stamps=stamps)  # fmt: skip


def draw_stamp(path: Path, number: int) -> None:
    """A disc with a hole and a soft rim on an empty ground, in one of the modes that the package has."""
    side = 70 + 7 * (number % 5)
    picture = Image.new("RGBA", (side + 20, side), (90, 200, 10, 0))
    draw = ImageDraw.Draw(picture)
    colour = (40 * number % 256, 90 + 20 * number % 160, 200 - 30 * number % 200)
    draw.ellipse((8, 3, side + 5, side - 4), fill=(*colour, 100))
    draw.ellipse((11, 6, side + 2, side - 7), fill=(*colour, 255))
    draw.rectangle((side // 2, side // 3, side // 2 + 8, side // 3 + 12), fill=(0, 0, 0, 0))
    mode = ("RGBA", "LA", "P")[number % 3]
    path.parent.mkdir(parents=True, exist_ok=True)
    (picture if mode == "RGBA" else picture.convert(mode)).save(path)


@pytest.fixture(scope="module")
def drawn(workshop: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Six stamps of each class, with one that lies there twice and one that is a mirrored copy; and four photos."""
    root = tmp_path_factory.mktemp("drawn")
    for number, kind in enumerate(workshop.stamps.KINDS):
        names = sorted(kind.only)[:6] if kind.only else [f"{name}-x" for name in ("ant", "bee", "cow", "dog", "elk")]
        for index, name in enumerate(names):
            folder = kind.folders[index % 2 if kind.series else 0]
            draw_stamp(root / "stamps" / folder / f"{name}.png", number + index)
        if not kind.only:
            draw_stamp(root / "stamps" / kind.folders[0] / "ant_2.png", number)
            draw_stamp(root / "stamps" / kind.folders[0] / "dog-x_mirror.png", number)
    rng = np.random.default_rng(0)
    for side in SIDES:
        (root / "photos" / side).mkdir(parents=True)
        for index, shape in enumerate(((90, 120), (100, 80, 3))):
            photo = Image.fromarray(rng.integers(0, 256, shape).astype(np.uint8))
            photo.save(root / "photos" / side / f"photo-{index}.png")
    return SimpleNamespace(stamps=root / "stamps", photos=root / "photos")


def build(out: Path, drawn: SimpleNamespace, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(out), "--stamps", str(drawn.stamps), "--photos", str(drawn.photos)]
    return subprocess.run([*command, *more], check=False, capture_output=True, text=True)


@pytest.fixture(scope="module")
def built(drawn: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "pictures"
    done = build(out, drawn, "--share", "0.09")
    assert done.returncode == 0, done.stderr
    assert "hoofed-animal" in done.stdout
    return out


@pytest.fixture(scope="module")
def made(workshop: SimpleNamespace, drawn: SimpleNamespace) -> dict[str, Any]:
    """Scenes in memory, small ones."""
    kinds = {kind.name: kind for kind in workshop.stamps.KINDS}
    dealt = workshop.stamps.deal(drawn.stamps, [kinds[name] for name in workshop.stamps.SCENE_KINDS], 0)
    behind = {side: workshop.backgrounds.Backgrounds.of(drawn.photos, side) for side in SIDES}
    return dict(workshop.scenes.compose(dealt, behind, 3, 0.12, ((128, 96), (96, 128))))


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def coco_of(folder: Path, side: str) -> dict[str, Any]:
    return dict(json.loads((folder / "detection" / side / "_annotations.coco.json").read_text(encoding="utf-8")))


def pixels_of(run_lengths: dict[str, Any]) -> np.ndarray:
    """The mask of run lengths, decoded apart from the code that wrote them."""
    height, width = run_lengths["size"]
    values = np.arange(len(run_lengths["counts"])) % 2 == 1
    return np.repeat(values, run_lengths["counts"]).reshape(width, height).T


def check_boxes_and_masks(out: Path, names: dict[int, str]) -> int:
    """Every box is the smallest around its pixels, and every mask is made of those pixels; how many there were."""
    classes = json.loads((out / "segmentation" / "classes.json").read_text(encoding="utf-8"))
    numbers = {one["name"]: one["id"] for one in classes}
    assert list(numbers) == ["background", *names.values()]
    assert len({path.read_text(encoding="utf-8") for path in out.rglob("classes.json")}) == 1
    assert len(list(out.rglob("classes.json"))) == 3
    seen = 0
    for side in SIDES:
        found = coco_of(out, side)
        for image in found["images"]:
            photo = out / "detection" / side / image["file_name"]
            twin = out / "segmentation" / side / "images" / image["file_name"]
            assert photo.read_bytes() == twin.read_bytes()
            with Image.open(photo) as picture:
                assert picture.size == (image["width"], image["height"])
            with Image.open(out / "segmentation" / side / "masks" / f"{photo.stem}.png") as opened:
                assert opened.mode == "P"
                mask = np.asarray(opened)
            expected = np.zeros((image["height"], image["width"]), np.uint8)
            here = [one for one in found["annotations"] if one["image_id"] == image["id"]]
            assert 1 <= len(here) <= 5
            for one in here:
                pixels = pixels_of(one["segmentation"])
                assert not expected[pixels].any(), "two stamps own one pixel"
                expected[pixels] = numbers[names[one["category_id"]]]
                rows, columns = np.nonzero(pixels)
                assert one["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
                assert one["area"] == pixels.sum() > 0
                seen += 1
            assert np.array_equal(mask, expected)
    return seen


# The files


def test_the_same_stamps_give_the_same_bytes(built: Path, drawn: SimpleNamespace, tmp_path: Path) -> None:
    assert build(tmp_path / "again", drawn, "--share", "0.09").returncode == 0
    assert digests(tmp_path / "again") == digests(built)
    done = build(tmp_path / "again", drawn, "--share", "0.09", "--seed", "1", "--only", "detection")
    assert done.returncode == 0
    other, first = digests(tmp_path / "again"), digests(built)
    changed = {name.split("/")[0] for name in first if other.get(name) != first[name]}
    assert changed == {"detection", "README.md"}


def test_boxes_and_masks_are_those_of_the_pixels(built: Path, workshop: SimpleNamespace) -> None:
    names = {number: name for name, number in workshop.stamps.SOURCE_IDS.items()}
    assert check_boxes_and_masks(built, names) > 20
    assert sorted(names) == [2, 3, 7, 12]
    assert [one["id"] for one in coco_of(built, "train")["categories"]] == [2, 3, 7, 12]


def test_how_many_there_are(built: Path, workshop: SimpleNamespace) -> None:
    assert workshop.scenes.PICTURES == {"train": 100, "eval": 50}
    assert len(workshop.stamps.KINDS) >= 8
    for side, scenes, pictures in (("train", 9, 2), ("eval", 4, 2)):
        assert len(coco_of(built, side)["images"]) == scenes
        assert len(list((built / "detection" / side).glob("*.jpg"))) == scenes
        assert len(list((built / "segmentation" / side / "masks").glob("*.png"))) == scenes
        folders = {folder.name: len(list(folder.iterdir())) for folder in (built / "stamps" / side).iterdir()}
        assert folders == {kind.name: pictures for kind in workshop.stamps.KINDS}


def test_the_readme_says_whose_they_are(built: Path, workshop: SimpleNamespace) -> None:
    readme = (built / "README.md").read_text(encoding="utf-8")
    assert "GPL" in readme
    assert "do not commit" in readme
    assert all(photo.name in readme for side in workshop.packages.PHOTOS.values() for photo in side)
    assert "GPL" in coco_of(built, "train")["licenses"][0]["name"]


# What is held out


def test_no_stamp_is_on_both_sides(drawn: SimpleNamespace, workshop: SimpleNamespace, built: Path) -> None:
    sides = workshop.stamps.deal(drawn.stamps, workshop.stamps.KINDS, 0)
    for kind in workshop.stamps.KINDS:
        learned, held_out = ({stamp.id for stamp in sides[side][kind.name]} for side in SIDES)
        assert not learned & held_out
        assert 100 * len(held_out) >= workshop.stamps.HELD_OUT * len(learned | held_out)
        families = [{stamp.family for stamp in sides[side][kind.name]} for side in SIDES]
        assert not families[0] & families[1]
        assert not [name for name in learned | held_out if name.endswith("_mirror")]
        if not kind.only and not kind.series:
            ants = {name for name in learned | held_out if "/ant" in name}
            assert len(ants) == 2
            assert ants <= learned or ants <= held_out
    stamps = [{one["stamp"] for one in coco_of(built, side)["annotations"]} for side in SIDES]
    assert not stamps[0] & stamps[1]
    of_series = {stamp.id.rsplit("/", 1)[0] for stamp in sides["eval"]["coin"]}
    assert not of_series & {stamp.id.rsplit("/", 1)[0] for stamp in sides["train"]["coin"]}


def test_no_background_is_on_both_sides(drawn: SimpleNamespace, workshop: SimpleNamespace) -> None:
    photos = [set(workshop.backgrounds.Backgrounds.of(drawn.photos, side).photos) for side in SIDES]
    assert not photos[0] & photos[1]
    names = [{photo.sha256 for photo in workshop.packages.PHOTOS[side]} for side in SIDES]
    assert not names[0] & names[1]
    drawings = [set(workshop.backgrounds.DRAWN[side]) for side in SIDES]
    assert not drawings[0] & drawings[1]


@pytest.mark.parametrize("side", SIDES)
def test_each_drawn_background_is_a_picture(workshop: SimpleNamespace, side: str) -> None:
    for drawing in workshop.backgrounds.DRAWN[side]:
        canvas = drawing(workshop.dice.Dice(0, drawing.__name__), 40, 60)
        assert canvas.shape == (40, 60, 3)
        assert np.isfinite(canvas).all()
        assert canvas.std() > 2
        assert np.array_equal(canvas, drawing(workshop.dice.Dice(0, drawing.__name__), 40, 60))


# Pasting


def test_a_box_follows_from_alpha(workshop: SimpleNamespace) -> None:
    alpha = np.zeros((10, 12), np.uint8)
    alpha[2:7, 3:9] = 127
    alpha[3:6, 4:8] = 128
    stamp = workshop.paste.Cut(np.full((10, 12, 3), 200, np.float32), alpha)
    canvas = workshop.paste.Canvas(np.zeros((30, 40, 3), np.float32))
    assert canvas.paste(stamp, 5, 6, 1.0)
    assert workshop.paste.box_of(canvas.seen(0)) == [10, 8, 4, 3]
    pixels = np.asarray(canvas.picture())
    assert pixels[8, 10].tolist() == [100, 100, 100]
    assert pixels[7, 9].tolist() == [100, 100, 100]
    assert not pixels[6, 10].any()


def test_what_would_hide_too_much_is_not_pasted(workshop: SimpleNamespace) -> None:
    square = workshop.paste.Cut(np.full((10, 10, 3), 9, np.float32), np.full((10, 10), 255, np.uint8))
    canvas = workshop.paste.Canvas(np.zeros((40, 40, 3), np.float32))
    assert not canvas.paste(square, -3, 0, 0.75)
    assert canvas.paste(square, -2, 0, 0.75)
    assert workshop.paste.box_of(canvas.seen(0)) == [0, 0, 10, 8]
    assert not canvas.paste(square, 7, 0, 0.75)
    assert canvas.paste(square, 7, 7, 0.75)
    assert canvas.seen(0).sum() == 80 - 3
    assert len(canvas.sizes) == 2
    assert not canvas.paste(square, 50, 50, 0.0)


def test_stamps_stay_in_sight(made: dict[str, Any], workshop: SimpleNamespace) -> None:
    for one in (scene for scenes in made.values() for scene in scenes):
        assert len(one.stamps) == len(one.canvas.sizes) >= 1
        for index, size in enumerate(one.canvas.sizes):
            assert one.canvas.seen(index).sum() >= workshop.scenes.SEEN * size


def test_run_lengths_are_those_of_coco(workshop: SimpleNamespace, made: dict[str, Any]) -> None:
    for pixels in (np.ones((3, 2), bool), np.zeros((3, 2), bool), np.array([[1, 0, 1], [0, 1, 1]], bool)):
        assert np.array_equal(pixels_of(workshop.scenes.run_lengths(pixels)), pixels)
    assert workshop.scenes.run_lengths(np.array([[1, 0], [0, 1]], bool))["counts"] == [0, 1, 2, 1]
    seen = made["train"][0].canvas.seen(0)
    assert np.array_equal(pixels_of(workshop.scenes.run_lengths(seen)), seen)


# What goes wrong


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--stamps", "/nowhere"], "there is no folder /nowhere"),
        (["--photos", "/nowhere"], "has no photos in train and eval"),
        (["--only", "depth"], "names what can't be made"),
    ],
)
def test_faults_say_what_helps(drawn: SimpleNamespace, tmp_path: Path, more: list[str], said: str) -> None:
    done = build(tmp_path / "out", drawn, *more)
    assert done.returncode == 1
    assert said in done.stderr
    assert "fix: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_class_without_stamps_is_an_error(drawn: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = build(tmp_path / "out", drawn, "--stamps", str(tmp_path / "empty"))
    assert done.returncode == 1
    assert "has 0 stamps of the class bird" in done.stderr


def test_what_another_hand_wrote_stays(drawn: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "detection").mkdir()
    (tmp_path / "detection" / "mine.txt").write_text("mine")
    done = build(tmp_path, drawn, "--only", "detection")
    assert done.returncode == 1
    assert "has not written" in done.stderr
    assert (tmp_path / "detection" / "mine.txt").read_text() == "mine"


def test_without_apt_and_pip_it_says_what_to_install(
    workshop: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = workshop.packages
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(packages, "INSTALLED", tmp_path / "none")
    monkeypatch.setattr(packages.shutil, "which", lambda tool: None)
    with pytest.raises(SystemExit, match="tuxpaint-stamps-default"):
        packages.find_stamps()
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    failed = subprocess.CompletedProcess([], 1, "", "no network\n")
    monkeypatch.setattr(packages.subprocess, "run", lambda *command, **options: failed)
    with pytest.raises(SystemExit, match="no network"):
        packages.find_photos()
    monkeypatch.setattr(packages.shutil, "which", lambda tool: f"/usr/bin/{tool}")
    with pytest.raises(SystemExit, match="apt-get update"):
        packages.find_stamps()
    assert [path for path in (tmp_path / "cache" / "data").iterdir()] == []


def test_a_cache_folder_is_whole_or_not_there(workshop: SimpleNamespace, tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "one").write_text("1")

    def fail(folder: Path) -> None:
        fill(folder)
        raise OSError("the disk is full")

    target = tmp_path / "data"
    with pytest.raises(OSError, match="full"):
        workshop.packages.once(target, fail)
    assert list(tmp_path.iterdir()) == []
    assert workshop.packages.once(target, fill) == workshop.packages.once(target, fail)
    assert (target / "one").read_text() == "1"
    other = tmp_path / "other"

    def overtaken(folder: Path) -> None:
        fill(folder)
        other.mkdir()
        (other / "theirs").write_text("2")

    assert [path.name for path in workshop.packages.once(other, overtaken).iterdir()] == ["theirs"]


# The package itself


@pytest.mark.heavy
def test_the_package_gives_what_the_recipes_need(workshop: SimpleNamespace, tmp_path: Path) -> None:
    out = tmp_path / "pictures"
    done = subprocess.run([sys.executable, str(SCRIPT), str(out)], check=False, capture_output=True, text=True)
    if done.returncode:
        # Packages and photographs are fetched; where that can't be done there is nothing to check.
        pytest.skip(done.stderr.strip())
    names = {number: name for name, number in workshop.stamps.SOURCE_IDS.items()}
    assert check_boxes_and_masks(out, names) > 300
    assert [len(coco_of(out, side)["images"]) for side in SIDES] == [100, 50]
    used = [{one["stamp"] for one in coco_of(out, side)["annotations"]} for side in SIDES]
    assert not used[0] & used[1]
    for side, pictures in (("train", 24), ("eval", 12)):
        folders = {folder.name: len(list(folder.iterdir())) for folder in (out / "stamps" / side).iterdir()}
        assert folders == {kind.name: pictures for kind in workshop.stamps.KINDS}
    root = workshop.packages.find_stamps().folder
    sides = workshop.stamps.deal(root, workshop.stamps.KINDS, 0)
    for kind in workshop.stamps.KINDS:
        learned, held_out = len(sides["train"][kind.name]), len(sides["eval"][kind.name])
        assert learned >= 8
        assert held_out >= 4
        assert held_out < learned
        named = {stamp.path.stem for side in SIDES for stamp in sides[side][kind.name]}
        assert kind.only <= named
    assert sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) < 20_000_000
