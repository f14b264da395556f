"""Boxes and masks out of place are found, all of them and no others; what is right is left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.fixtures.picture_audits import coco, findings, mark_of, read, rows_of, sharp, views
from tunesmith.audit.box_rules import overlaps, rule_findings
from tunesmith.audit.boxes import box_findings
from tunesmith.audit.mask_rules import specks_of

Json = dict[str, Any]
SIZE = 200


def thing(label: str, *box: float) -> Json:
    return {"label": label, "box": list(box)}


def ordinary(number: int) -> list[Json]:
    rng = np.random.default_rng([5, number])
    x, y = rng.uniform(5, 60, 2)
    return [thing("disc", x, y, *rng.uniform(40, 60, 2)), thing("square", x + 70, y + 60, *rng.uniform(30, 60, 2))]


def detection(tmp_path: Path, special: dict[int, list[Json]], count: int = 40, pictures: Any = None) -> dict[str, Any]:
    for side, many in (("train", count), ("eval", 5)):
        made = {}
        for number in range(many):
            picture = (pictures or {}).get(number) if side == "train" else None
            own = special.get(number, ordinary(number)) if side == "train" else ordinary(number)
            made[f"{number:03d}.png"] = (picture or sharp(number + 100 * (side == "eval"), (SIZE, SIZE)), own)
        coco(tmp_path, made, side)
    said = list(box_findings(read(tmp_path, "object-detection")))
    assert not findings(said, "eval")
    return findings(said)


def test_each_fault_is_found_and_no_other(tmp_path: Path) -> None:
    special = {
        3: [thing("disc", 20, 20, 50, 50), thing("disc", 21, 21, 50, 50), thing("square", 120, 120, 40, 40)],
        5: [thing("disc", 20, 20, 50, 50), thing("square", 20, 20.5, 50, 50)],
        7: [*ordinary(7), thing("square", 100, 10, 2, 2)],
        9: [thing("disc", -10, 40, 50, 50)],
        11: [thing("disc", 0, 0, SIZE, SIZE)],
        13: [thing("disc", 20, 90, 170, 5)],
    }
    found = detection(tmp_path, special)
    wrong = {
        "doubled-box": 3,
        "box-with-two-classes": 5,
        "tiny-box": 7,
        "box-outside": 9,
        "covering-box": 11,
        "odd-box-shape": 13,
    }
    assert {code: rows_of(one) for code, one in found.items()} == {
        code: {f"{at:03d}.png"} for code, at in wrong.items()
    }
    change = mark_of(found["doubled-box"], "003.png").change
    assert change is not None
    assert [one["box"] for one in change["objects"]] == [[20, 20, 50, 50], [120, 120, 40, 40]]
    assert found["doubled-box"].remedy == "change"


def test_rows_that_reading_refused(tmp_path: Path) -> None:
    found = detection(tmp_path, {4: [thing("disc", 190, 40, 60, 50)]})
    (place,) = rows_of(found["box-outside"])
    assert place.endswith("picture 5")  # such a row has no id
    assert "inside the picture" in found["box-outside"].marks[0].note


def test_boxes_missing_on_a_twin_and_of_another_class(tmp_path: Path) -> None:
    same = sharp(77, (SIZE, SIZE))
    found = detection(
        tmp_path,
        {
            10: ordinary(1),
            11: ordinary(1)[:1],
            12: [ordinary(1)[0], {**ordinary(1)[1], "label": "disc"}],
            13: ordinary(1),
        },
        pictures={10: same, 11: same, 12: same, 13: same},
    )
    assert rows_of(found["box-missing-on-twin"]) == {"011.png"}
    assert found["box-missing-on-twin"].marks[0].twin == "train:010.png"
    assert "012.png" in rows_of(found["class-differs-on-twin"])


def test_a_box_that_comes_and_goes_in_a_film_is_no_fault(tmp_path: Path) -> None:
    film = np.asarray(sharp(78, (SIZE + 20, SIZE)))
    frames = {
        at: Image.fromarray(np.ascontiguousarray(film[:, 2 * (at - 10) : 2 * (at - 10) + SIZE])) for at in range(10, 16)
    }
    whole, without = ordinary(1), ordinary(1)[:1]
    special = {10: whole, 11: whole, 12: without, 13: whole, 14: without, 15: without}
    found = detection(tmp_path, special, pictures=frames)
    assert rows_of(found["box-missing-on-twin"]) == {"012.png"}


def test_overlaps_as_by_hand() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 0, 10, 10], [20, 20, 4, 4], [0, 0, 0, 0]], float)
    found = overlaps(boxes)
    assert found[0, 1] == pytest.approx(50 / 150)
    assert found[0, 2] == 0
    assert found[2, 2] == 1
    assert np.isfinite(found).all()


def test_tiny_boxes_are_told_at_the_size_of_the_input() -> None:
    rows = [{"id": "a", "image": "a", "width": 4000, "height": 3000, "objects": [thing("disc", 5, 5, 20, 20)]}]
    assert "tiny-box" not in findings(rule_findings(rows, "train", "x"))
    assert "tiny-box" in findings(rule_findings(rows, "train", "x", input_size=(320, 320)))


def masks(tmp_path: Path, changes: dict[int, Any], count: int = 20) -> Any:
    for side, many in (("train", count), ("eval", 3)):
        for kind in ("images", "masks"):
            (tmp_path / side / kind).mkdir(parents=True)
        (tmp_path / side / "classes.json").write_text('{"0": "background", "1": "disc"}', encoding="utf-8")
        for number in range(many):
            sharp(number, (100, 80)).save(tmp_path / side / "images" / f"{number:02d}.png")
            mask = np.zeros((80, 100), np.uint8)
            mask[20 : 40 + number, 30:60] = 1
            if side == "train" and number in changes:
                mask = changes[number](mask)
            Image.fromarray(mask).save(tmp_path / side / "masks" / f"{number:02d}.png")
    return list(box_findings(read(tmp_path, "image-segmentation")))


def specked(mask: np.ndarray) -> np.ndarray:
    mask[2:78:8, 5:25:8] = 1
    return mask


def test_masks_at_fault(tmp_path: Path) -> None:
    said = masks(
        tmp_path,
        {
            3: lambda mask: mask * 0,
            5: specked,
            7: lambda mask: mask * 9,
            9: lambda mask: mask[:-4],
        },
    )
    found = findings(said)
    names = {code: rows_of(one) for code, one in found.items()}
    assert names == {
        "empty-mask": {"images/03.png"},
        "mask-specks": {"images/05.png"},
        "unusable-mask": {"masks/07.png", "masks/09.png"},
    }
    heat = np.array(views(said)["object-coverage"].data["cells"])
    assert heat.max() > 0.7
    assert heat[:, -2:].max() == 0


def test_specks_are_small_patches_inside_others() -> None:
    mask = np.zeros((60, 60), np.uint8)
    mask[10:30, 10:30] = 1
    assert specks_of(mask) == (0, 0)
    mask[40:43, 40:45] = 1
    mask[15, 15] = 0
    mask[50, 5:8] = 2
    mask[55, 50] = 255
    assert specks_of(mask) == (3, 15)
    assert specks_of(np.eye(4, dtype=np.uint8)) == (0, 0)
