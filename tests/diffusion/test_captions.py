"""Captioned pictures in every layout, through the door that a run uses, and each way in which they can be at fault."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.fixtures.picture_sources import HEIGHT, WIDTH, png_of_size, save, save_turned
from tunesmith.data.source import read_rows
from tunesmith.data.store import RowStore
from tunesmith.diffusion.formats import CaptionShape
from tunesmith.errors import UserError
from tunesmith.pictures.files import content_of, read_picture
from tunesmith.pictures.kept import PictureStore

PROMPT = "a photo of sks dog"


def read(
    folder: Path, name: str = "photos", *, share: float = 0.0, split: str | None = None, **options: Any
) -> RowStore:
    options.setdefault("store", PictureStore(folder / "kept"))
    return read_rows(name, relative_to=folder, shape=CaptionShape(**options), broken_rows=share, split=split)


def photos(folder: Path, count: int = 3, captions: bool = True) -> Path:
    for number in range(1, count + 1):
        save(folder / f"dog{number}.jpg", number)
        if captions:
            (folder / f"dog{number}.txt").write_text(f"a dog, number {number}\n", encoding="utf-8")
    return folder


def rows_file(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def refused(folder: Path, name: str = "photos", **options: Any) -> UserError:
    with pytest.raises(UserError) as found:
        read(folder, name, **options)
    return found.value


# Layouts


def test_a_text_file_beside_each_picture(tmp_path: Path) -> None:
    photos(tmp_path / "photos")
    save_turned(tmp_path / "photos" / "wide.jpg", 9, 6)
    (tmp_path / "photos" / "wide.caption").write_text("two\n\nlines é", encoding="utf-8")
    (tmp_path / "photos" / "README.txt").write_text("by me")
    store = read(tmp_path)
    assert dict(store[0]) == {
        "id": "dog1.jpg",
        "image": "dog1.jpg",
        "text": "a dog, number 1",
        "height": HEIGHT,
        "width": WIDTH,
        "content": content_of(tmp_path / "photos" / "dog1.jpg"),
    }
    assert (store[3]["text"], store[3]["height"], store[3]["width"]) == ("two lines é", WIDTH, HEIGHT)
    assert store.report.format == "texts-beside"
    notes = "\n".join(store.report.notes)
    assert "photos: a .caption and .txt file with the caption of each picture" in notes
    assert re.search(r"pictures in photos +4", notes)
    assert "1 captions have several lines, which were joined: wide.caption" in notes


def test_captions_in_a_folder_of_their_own_and_splits(tmp_path: Path) -> None:
    for split, count in (("train", 2), ("val", 1)):
        for number in range(count):
            save(tmp_path / "photos" / "images" / split / f"{number}.png", number)
            text = tmp_path / "photos" / "captions" / split / f"{number}.txt"
            text.parent.mkdir(parents=True, exist_ok=True)
            text.write_text(f"{split} {number}")
    assert [row["text"] for row in read(tmp_path)] == ["train 0", "train 1"]
    assert [row["text"] for row in read(tmp_path, split="val")] == ["val 0"]
    (tmp_path / "photos" / "captions" / "train" / "1.txt").unlink()
    assert refused(tmp_path).where == "photos/captions/train/1.txt"


@pytest.mark.parametrize("column", ["text", "caption", "prompt", "Caption"])
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_metadata_file_beside_the_pictures(tmp_path: Path, column: str, kind: str) -> None:
    photos(tmp_path / "photos", 2, captions=False)
    file = tmp_path / "photos" / f"metadata.{kind}"
    if kind == "jsonl":
        rows_file(file, [{"file_name": f"dog{n}.jpg", column: f"dog {n}", "by": "me"} for n in (1, 2)])
    else:
        file.write_text(f"file_name,{column},by\ndog1.jpg,dog 1,me\ndog2.jpg,dog 2,me\n")
    store = read(tmp_path)
    assert dict(store[1]) == {
        "id": "dog2.jpg",
        "by": "me",
        "image": "dog2.jpg",
        "text": "dog 2",
        "content": content_of(tmp_path / "photos" / "dog2.jpg"),
        "height": HEIGHT,
        "width": WIDTH,
    }
    assert store.report.format == "image-folder-metadata"


def test_metadata_below_splits_names_pictures_from_the_source(tmp_path: Path) -> None:
    for split in ("train", "test"):
        photos(tmp_path / "photos" / split, 1, captions=False)
        rows_file(tmp_path / "photos" / split / "metadata.jsonl", [{"file_name": "dog1.jpg", "text": split}])
    assert [(row["image"], row["text"]) for row in read(tmp_path)] == [("train/dog1.jpg", "train")]
    assert [(row["image"], row["text"]) for row in read(tmp_path, split="test")] == [("test/dog1.jpg", "test")]


def test_one_prompt_for_a_plain_folder_or_a_picture(tmp_path: Path) -> None:
    photos(tmp_path / "photos", 2, captions=False)
    save(tmp_path / "photos" / "more" / "dog3.png", 3)
    (tmp_path / "photos" / "ideas.txt").write_text("a dog on the moon")
    store = read(tmp_path, prompt=f" {PROMPT} ")
    assert [(row["image"], row["text"]) for row in store] == [
        ("dog1.jpg", PROMPT),
        ("dog2.jpg", PROMPT),
        ("more/dog3.png", PROMPT),
    ]
    notes = "\n".join(store.report.notes)
    assert f"3 pictures in photos have the prompt: {PROMPT}" in notes
    assert "2 folders, and all have this one prompt: the folder itself, more" in notes
    assert "left alone: 1 text file of other names: ideas.txt" in notes
    assert [row["text"] for row in read(tmp_path, "photos/dog1.jpg", prompt=PROMPT)] == [PROMPT]
    (tmp_path / "photos" / "dog1.txt").write_text("a wet dog")
    assert [row["text"] for row in read(tmp_path, "photos/dog1.jpg")] == ["a wet dog"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json"])
@pytest.mark.parametrize(("image", "text"), [("image", "text"), ("file_name", "caption"), ("path", "prompt")])
def test_files_of_rows(tmp_path: Path, kind: str, image: str, text: str) -> None:
    photos(tmp_path / "photos", 2, captions=False)
    rows = [{image: f"photos/dog{n}.jpg", text: f"dog {n}", "by": "me"} for n in (1, 2)]
    file = tmp_path / f"rows.{kind}"
    if kind == "csv":
        file.write_text("\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)]) + "\n")
    elif kind == "json":
        file.write_text(json.dumps(rows))
    else:
        rows_file(file, rows)
    store = read(tmp_path, file.name)
    row = dict(store[1])
    assert re.fullmatch("[0-9a-f]{16}", row.pop("id"))
    assert row == {
        "by": "me",
        "image": "photos/dog2.jpg",
        "text": "dog 2",
        "content": content_of(tmp_path / "photos" / "dog2.jpg"),
        "height": HEIGHT,
        "width": WIDTH,
    }
    assert f"captions are in column {text} (2)" in store.report.notes
    assert [row["text"] for row in read(tmp_path, file.name)] == ["dog 1", "dog 2"]


def test_columns_of_our_names_that_mean_something_else_are_replaced(tmp_path: Path) -> None:
    photos(tmp_path / "photos", 1, captions=False)
    row = {"image": "photos/dog1.jpg", "text": "x", "content": "animals", "height": 7, "width": "wide"}
    rows_file(tmp_path / "rows.jsonl", [row])
    found = read(tmp_path, "rows.jsonl")[0]
    assert (found["content"], found["height"]) == (content_of(tmp_path / "photos" / "dog1.jpg"), HEIGHT)


def test_rows_without_captions_take_the_prompt(tmp_path: Path) -> None:
    photos(tmp_path / "photos", 2, captions=False)
    rows_file(tmp_path / "rows.jsonl", [{"image": f"photos/dog{n}.jpg", "text": None} for n in (1, 2)])
    store = read(tmp_path, "rows.jsonl", prompt=PROMPT)
    assert [row["text"] for row in store] == [PROMPT, PROMPT]
    assert f"2 pictures have the prompt of options.prompt: {PROMPT}" in store.report.notes


@pytest.mark.parametrize("way", ["saved", "parquet"])
def test_data_sets_with_pictures_inside(tmp_path: Path, way: str) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    held = [save(tmp_path / "made" / f"{n}.png", n).read_bytes() for n in range(2)]
    values = {"image": [{"bytes": one, "path": None} for one in held], "text": ["one", "two"]}
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    made = datasets.Dataset.from_dict(values, features=features)
    if way == "saved":
        made.save_to_disk(tmp_path / "photos")
    else:
        made.to_parquet(tmp_path / "photos.parquet")
    shape = CaptionShape(store=PictureStore(tmp_path / "kept"))
    store = read_rows(tmp_path / ("photos" if way == "saved" else "photos.parquet"), shape=shape)
    assert [row["text"] for row in store] == ["one", "two"]
    for number, row in enumerate(store):
        path = next(folder / row["image"] for folder in shape.folders if (folder / row["image"]).is_file())
        assert (read_picture(path) == read_picture(tmp_path / "made" / f"{number}.png")).all()
        assert row["content"] == content_of(tmp_path / "made" / f"{number}.png")
        assert (row["height"], row["width"]) == (HEIGHT, WIDTH)


def test_pictures_of_pillow_in_rows_of_python(tmp_path: Path) -> None:
    shape = CaptionShape(store=PictureStore(tmp_path / "kept"))
    store = read_rows([{"image": Image.new("RGB", (9, 5), "red"), "caption": "red"}], shape=shape)
    assert (store[0]["height"], store[0]["width"], store[0]["text"]) == (5, 9, "red")


# Prompts


@pytest.mark.parametrize("extra", [{}, {"image": ""}, {"image": None, "width": None}])
def test_rows_of_prompts_have_no_picture(tmp_path: Path, extra: dict[str, Any]) -> None:
    rows_file(tmp_path / "prompts.jsonl", [{"text": "a dog at sea", "kind": "place", **extra}, {"prompt": "a dog"}])
    for prompt in (None, PROMPT):
        store = read(tmp_path, "prompts.jsonl", prompt=prompt)
        row = {name: value for name, value in store[0].items() if name != "id"}
        assert row == {"kind": "place", "image": "", "text": "a dog at sea", "content": ""}
        assert store[1]["text"] == "a dog"
        assert "2 rows are prompts without a picture" in store.report.notes


def test_a_prompt_may_ask_for_a_size(tmp_path: Path) -> None:
    (tmp_path / "prompts.csv").write_text("text,height,width\na dog,512,768\na cat,,\n")
    store = read(tmp_path, "prompts.csv")
    assert (store[0]["height"], store[0]["width"]) == (512, 768)
    assert "height" not in store[1]
    for wrong in ("tall", "0", "1.5", "-8", "inf"):
        (tmp_path / "prompts.csv").write_text(f"text,height\na dog,{wrong}\n")
        assert f"has '{wrong}' in height, which is no number of pixels" in refused(tmp_path, "prompts.csv").what


def test_a_text_file_has_one_prompt_a_line(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a dog at sea\n\n  a dog  asleep\n")
    store = read(tmp_path, "prompts.txt", answered=False)
    assert [(row["image"], row["text"]) for row in store] == [("", "a dog at sea"), ("", "a dog asleep")]
    assert store.place(1) == "prompts.txt:3"


def test_only_prompts_are_asked_for(tmp_path: Path) -> None:
    rows_file(tmp_path / "rows.jsonl", [{"image": "gone.jpg", "text": "a dog"}, {"text": "a cat"}])
    store = read(tmp_path, "rows.jsonl", answered=False)
    assert [(row["image"], row["text"]) for row in store] == [("", "a dog"), ("", "a cat")]
    assert "the pictures of 1 rows were left aside: only their prompts are asked for" in store.report.notes
    rows_file(tmp_path / "rows.jsonl", [{"image": "gone.jpg"}])
    assert "has no text: it has image" in refused(tmp_path, "rows.jsonl", answered=False).what


def test_pictures_and_prompts_are_not_mixed(tmp_path: Path) -> None:
    photos(tmp_path / "photos", 2, captions=False)
    rows_file(tmp_path / "rows.jsonl", [{"text": "a dog"}, {"image": "photos/dog1.jpg", "text": "x"}])
    error = refused(tmp_path, "rows.jsonl", share=1.0)
    assert "some rows have a picture and others have none: 1 of them came before" in error.what
    assert error.where == "rows.jsonl"
    rows_file(tmp_path / "rows.jsonl", [{"image": "photos/dog1.jpg", "text": "x"}, {"text": "a dog"}])
    error = refused(tmp_path, "rows.jsonl")
    assert "rows.jsonl:2 names no picture, as other rows do" in error.what
    rows_file(tmp_path / "photos" / "prompts.jsonl", [{"text": "a dog at sea"}])
    error = refused(tmp_path, prompt=PROMPT)
    assert "its rows name no picture" in error.what
    assert "while the folder has 2 pictures" in error.what


# Faults


def test_a_missing_caption_is_named_by_its_expected_file(tmp_path: Path) -> None:
    photos(tmp_path / "photos", 4)
    (tmp_path / "photos" / "dog3.txt").unlink()
    error = refused(tmp_path, share=1.0)
    assert "1 picture without a caption: dog3.jpg" in error.what
    assert re.search(r"with captions +3", error.what)
    assert error.where == "photos/dog3.txt"
    assert "photos/dog3.txt" in error.fix


def test_a_picture_without_a_row_of_metadata(tmp_path: Path) -> None:
    photos(tmp_path / "photos", 3, captions=False)
    rows_file(tmp_path / "photos" / "metadata.jsonl", [{"file_name": f"dog{n}.jpg", "text": "x"} for n in (1, 2)])
    error = refused(tmp_path, share=1.0)
    assert "1 picture without a caption: dog3.jpg" in error.what
    assert error.where == "photos/metadata.jsonl"
    assert '{"file_name": "dog3.jpg", "text": "..."}' in error.fix


def test_a_caption_without_a_picture(tmp_path: Path) -> None:
    photos(tmp_path / "photos")
    (tmp_path / "photos" / "cat.txt").write_text("a cat")
    error = refused(tmp_path, share=1.0)
    assert "1 caption without a picture: cat.txt" in error.what
    assert error.where == "photos/cat.txt"
    photos(tmp_path / "other", 1, captions=False)
    rows = [{"file_name": name, "text": "x"} for name in ("dog1.jpg", "cat.jpg")]
    rows_file(tmp_path / "other" / "metadata.jsonl", rows)
    error = refused(tmp_path, "other", share=1.0)
    assert "1 caption without a picture: cat.jpg" in error.what
    assert error.where == "other/metadata.jsonl:2"


@pytest.mark.parametrize("content", ["", "  \n\t\n"])
def test_an_empty_caption(tmp_path: Path, content: str) -> None:
    photos(tmp_path / "photos")
    (tmp_path / "photos" / "dog2.txt").write_text(content)
    assert "(dog2.txt) is an empty caption" in refused(tmp_path).what
    photos(tmp_path / "other", 1, captions=False)
    rows_file(tmp_path / "other" / "metadata.jsonl", [{"file_name": "dog1.jpg", "text": content}])
    assert "(metadata.jsonl:1) has an empty caption (column text)" in refused(tmp_path, "other").what
    rows_file(tmp_path / "rows.jsonl", [{"image": "other/dog1.jpg", "text": content}])
    assert "rows.jsonl:1 has an empty caption (column text)" in refused(tmp_path, "rows.jsonl").what


def test_two_captions_for_a_picture(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", 2)
    (folder / "dog1.caption").write_text("another")
    error = refused(tmp_path)
    assert "two captions for a picture: dog1.caption and dog1.txt" in error.what
    (folder / "dog1.caption").unlink()
    rows = [{"file_name": f"dog{n}.jpg", "text": "x"} for n in (1, 2)]
    rows_file(folder / "metadata.jsonl", rows)
    assert "two captions for a picture: metadata.jsonl has captions" in refused(tmp_path).what
    photos(tmp_path / "other", 2, captions=False)
    rows_file(tmp_path / "other" / "metadata.jsonl", [*rows, {"file_name": "dog1.jpg", "text": "y"}])
    error = refused(tmp_path, "other")
    assert "two captions for a picture: dog1.jpg is named again (first at other/metadata.jsonl:1)" in error.what
    assert error.where == "other/metadata.jsonl:3"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"text": "a", "caption": "b"}, "has two captions: 'a' in text, and 'b' in caption: set data.columns.text"),
        ({"text": ["a", "b"]}, "has 2 captions in text; one for a picture is expected"),
        ({"text": 5}, "has a int in text; a caption is a text"),
        ({"by": "me"}, "has no caption: beside the picture it has by; text is expected"),
        ({"image": "none.jpg", "text": "x"}, "names the picture none.jpg, which is not there"),
    ],
)
def test_rows_at_fault(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    photos(tmp_path, 1, captions=False)
    rows_file(tmp_path / "rows.jsonl", [{"image": "dog1.jpg", **row}])
    assert f"rows.jsonl:1 {said}" in refused(tmp_path, "rows.jsonl").what


def test_equal_captions_in_two_columns_and_a_list_of_one_are_taken(tmp_path: Path) -> None:
    photos(tmp_path, 1, captions=False)
    rows_file(tmp_path / "rows.jsonl", [{"image": "dog1.jpg", "text": ["a"], "caption": "a", "prompt": ""}])
    assert read(tmp_path, "rows.jsonl")[0]["text"] == "a"


def test_a_prompt_beside_captions_is_refused_in_every_layout(tmp_path: Path) -> None:
    photos(tmp_path / "texts", 2)
    (tmp_path / "texts" / "dog2.txt").unlink()
    photos(tmp_path / "rows", 1, captions=False)
    rows_file(tmp_path / "rows" / "metadata.jsonl", [{"file_name": "dog1.jpg", "text": "x"}])
    rows_file(tmp_path / "rows.jsonl", [{"image": "rows/dog1.jpg", "text": "x"}])
    for name, told in (
        ("texts", "1 of 2 pictures have a caption (dog1.txt)"),
        ("rows", "1 of 1 rows have a caption"),
        ("rows.jsonl", "a row has a caption ('x')"),
    ):
        error = refused(tmp_path, name, prompt=PROMPT, share=1.0)
        assert error.what == f"both are given: options.prompt ({PROMPT!r}) says what every picture shows, and {told}"
        assert error.fix == "remove options.prompt to learn the captions, or the captions to learn the prompt"


def test_nothing_says_what_the_pictures_show(tmp_path: Path) -> None:
    photos(tmp_path / "photos", 2, captions=False)
    error = refused(tmp_path)
    assert error.what == "nothing says what the pictures show: photos has 2 pictures and no captions"
    assert "photos/dog1.txt" in error.fix
    assert "options.prompt" in error.fix
    (tmp_path / "photos" / "Hund1.txt").write_text("x")
    assert "(1 text file of other names: Hund1.txt)" in refused(tmp_path).what
    rows_file(tmp_path / "photos" / "metadata.jsonl", [{"file_name": f"dog{n}.jpg", "breed": "x"} for n in (1, 2)])
    error = refused(tmp_path)
    assert error.what == "no row has a caption: its columns are file_name, breed"
    assert [row["text"] for row in read(tmp_path, prompt=PROMPT)] == [PROMPT] * 2


@pytest.mark.parametrize("prompt", ["", "  "])
def test_a_blank_prompt_is_refused(prompt: str) -> None:
    with pytest.raises(UserError, match=r"options\.prompt is empty"):
        CaptionShape(prompt=prompt)


def test_empty_folders_and_folders_of_texts(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    assert "the folder is empty" in refused(tmp_path).what
    (tmp_path / "photos" / "a.txt").write_text("x")
    assert "1 text files and no pictures" in refused(tmp_path).what


def test_links_that_lead_out_are_not_followed(tmp_path: Path) -> None:
    photos(tmp_path / "photos", 3)
    (tmp_path / "secret.txt").write_text("a secret")
    (tmp_path / "photos" / "dog1.txt").unlink()
    (tmp_path / "photos" / "dog1.txt").symlink_to(tmp_path / "secret.txt")
    assert "(dog1.txt) is a link that leads out of the data folder" in refused(tmp_path).what
    photos(tmp_path / "other", 2, captions=False)
    (tmp_path / "other" / "out.jpg").symlink_to(save(tmp_path / "elsewhere.jpg", 7))
    assert "(out.jpg) is a link that leads out of the data folder" in refused(tmp_path, "other", prompt=PROMPT).what
    rows = [{"file_name": name, "text": "x"} for name in ("dog1.jpg", "dog2.jpg", "out.jpg")]
    rows_file(tmp_path / "other" / "metadata.jsonl", rows)
    assert "(metadata.jsonl:3) names the picture out.jpg, which is a link" in refused(tmp_path, "other").what
    (tmp_path / "other" / "metadata.jsonl").unlink()
    rows_file(tmp_path / "outer.jsonl", rows)
    (tmp_path / "other" / "metadata.jsonl").symlink_to(tmp_path / "outer.jsonl")
    assert "is a link that leads out of the data folder" in refused(tmp_path, "other").what


def test_unreadable_pictures_are_named_and_counted(tmp_path: Path) -> None:
    photos(tmp_path / "photos", 4)
    (tmp_path / "photos" / "dog2.jpg").write_bytes(b"<html>")
    (tmp_path / "photos" / "dog3.jpg").write_bytes(png_of_size(20_000, 20_000))
    error = refused(tmp_path)
    assert "2 of 4 rows are broken (50.0%)" in error.what
    assert "(dog2.jpg) is a web page, not a picture" in error.what
    assert "(dog3.jpg) says it has 20,000 x 20,000 pixels" in error.what
    assert len(read(tmp_path, share=0.5)) == 2


def test_two_pictures_with_one_caption(tmp_path: Path) -> None:
    photos(tmp_path / "photos", 1)
    save(tmp_path / "photos" / "dog1.png", 5)
    assert "two pictures have one name" in refused(tmp_path).what


def test_captions_of_other_encodings_and_other_kinds(tmp_path: Path) -> None:
    photos(tmp_path / "photos", 2)
    (tmp_path / "photos" / "dog1.txt").write_bytes("ein Hund im Grünen".encode("cp1252"))
    store = read(tmp_path)
    assert store[0]["text"] == "ein Hund im Grünen"
    assert any("1 captions are of another encoding" in note for note in store.report.notes)
    (tmp_path / "photos" / "dog1.txt").write_bytes(b"PK\x03\x04" + bytes(40))
    assert "(dog1.txt)" in refused(tmp_path).what
    (tmp_path / "photos" / "dog1.txt").write_bytes(b"x" * (2**20 + 1))
    assert "is too large for a caption: 1,048,577 bytes" in refused(tmp_path).what


def test_ids_and_digests_are_the_same_when_read_again(tmp_path: Path) -> None:
    photos(tmp_path / "photos")
    first, again = read(tmp_path), read(tmp_path)
    assert first.digest == again.digest
    (tmp_path / "photos" / "dog1.txt").write_text("something else")
    assert read(tmp_path).digest != first.digest


def test_bytes_that_are_no_picture_are_a_broken_row(tmp_path: Path) -> None:
    held = io.BytesIO()
    Image.new("RGB", (4, 4)).save(held, "PNG")
    shape = CaptionShape(store=PictureStore(tmp_path / "kept"))
    rows = [{"image": held.getvalue(), "text": "x"}, {"image": {"bytes": b"no", "path": "a.png"}, "text": "y"}]
    with pytest.raises(UserError, match="row 2 is no picture of a known format"):
        read_rows(rows, shape=shape)
