"""Picture sources as `read_rows` reads them: folders, faults past a share, rows from Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.fixtures.picture_sources import coco, image_folder, save, yolo
from tunesmith.data.audit import audit_rows
from tunesmith.data.source import read_rows
from tunesmith.errors import UserError
from tunesmith.pictures.files import read_picture
from tunesmith.pictures.formats import PictureShape
from tunesmith.pictures.kept import PictureStore


def test_class_folders_become_a_row_store(tmp_path: Path) -> None:
    image_folder(tmp_path / "pets", {"cats": 3, "dogs": 2})
    store = read_rows("pets", relative_to=tmp_path, shape=PictureShape("label"))
    first = dict(store[0])
    assert first.pop("content")
    assert first == {"id": "cats/0.jpg", "image": "cats/0.jpg", "label": "cats"}
    assert (store.report.format, store.report.rows) == ("image-folder", 5)
    assert store.place(3) == "pets picture 4"
    assert any("pictures in pets" in line for line in store.report.lines())
    again = read_rows("pets", relative_to=tmp_path, shape=PictureShape("label"))
    assert again.digest == store.digest
    (tmp_path / "pets" / "dogs" / "9.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"1 of 6 rows are broken .*pets picture 6 \(dogs/9.jpg\) is empty"):
        read_rows("pets", relative_to=tmp_path, shape=PictureShape("label"))


def test_one_class_is_what_the_audit_finds(tmp_path: Path) -> None:
    image_folder(tmp_path, {"cats": 4})
    rows = read_rows(tmp_path, shape=PictureShape("label"))
    found = audit_rows(
        rows[:3],
        rows[3:],
        columns={"image": str, "label": object},
        target="label",
        source="a",
        held_out_source="a",
        explicit_eval=False,
    )
    assert "one-class" in {finding.code for finding in found if finding.level == "error"}


def test_limits_and_shares_of_broken_rows(tmp_path: Path) -> None:
    coco(tmp_path / "boxes", {f"{n}.jpg": [(1, (-1, 1, 5, 5))] for n in range(4)})
    store = read_rows(tmp_path / "boxes", shape=PictureShape("boxes"), limit=2)
    assert len(store) == 2
    assert any("boxes reach out of their picture" in line for line in store.report.notes)
    yolo(tmp_path / "lines", {"a": "0 0.5 0.5 0.1 0.1", "b": "9 0.5 0.5 0.1 0.1"})
    with pytest.raises(UserError, match=r"picture 2 \(labels/train/b.txt:1:1\) has the class id 9"):
        read_rows(tmp_path / "lines", shape=PictureShape("boxes"))
    assert len(read_rows(tmp_path / "lines", shape=PictureShape("boxes"), broken_rows=0.5)) == 1


def test_pictures_in_an_iterable(tmp_path: Path) -> None:
    with Image.open(save(tmp_path / "a.png")) as picture:
        rows = [{"image": picture.copy(), "label": "x"}, {"image": np.zeros((3, 4, 3), dtype=np.uint8), "label": "y"}]
    shape = PictureShape("label", store=PictureStore(tmp_path / "kept"))
    store = read_rows(rows, shape=shape)
    assert [row["label"] for row in store] == ["x", "y"]
    assert read_picture(shape.store.folder / store[1]["image"]).shape == (3, 4, 3)
