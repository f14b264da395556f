"""The audit's findings on captioned pictures: each is found where it is there, and only there."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.fixtures.picture_sources import save
from tunesmith.data.source import read_rows
from tunesmith.diffusion.buckets import buckets_for
from tunesmith.diffusion.findings import FINDING_CODES, caption_findings
from tunesmith.diffusion.formats import CaptionShape
from tunesmith.diffusion.text_findings import has_word
from tunesmith.diffusion.tokens import (
    CaptionLengths,
    caption_lengths,
    meaning_of,
    nearest_words,
    token_counts,
    vocabulary_of,
)
from tunesmith.types import Finding

TEXTS = ("a brown dog in the snow", "a dog asleep on a red sofa", "two dogs at the sea", "a wet dog from the side")


def tokenizer(words: Sequence[str] = ("dog", "sks", "photo", "cat"), most: int = 77) -> Any:
    """CLIP's tokenizer, which knows letters and a few words."""
    from transformers import CLIPTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz"
    known = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges = []
    for word in words:
        left = word[0]
        for part in [*word[1:-1], f"{word[-1]}</w>"]:
            merges.append((left, part))
            left += part
            known.append(left)
    known = list(dict.fromkeys([*known, "<|startoftext|>", "<|endoftext|>"]))
    vocab = {word: number for number, word in enumerate(known)}
    return CLIPTokenizer(vocab=vocab, merges=list(dict.fromkeys(merges)), model_max_length=most)


def rows(
    folder: Path, texts: Sequence[str] = TEXTS, size: tuple[int, int] = (96, 96), first: int = 0, prefix: str = "t"
) -> list[dict[str, Any]]:
    """Pictures, all different, width x height, with these captions, as a run reads them."""
    made = []
    for number, text in enumerate(texts):
        name = f"{prefix}{number}.jpg"
        if not (folder / name).exists():
            save(folder / name, first + number, size, quality=95)
        made.append({"image": str(folder / name), "text": text})
    return [dict(row) for row in read_rows(made, shape=CaptionShape())]


def prompts(*texts: str) -> list[dict[str, Any]]:
    return [dict(row) for row in read_rows([{"text": text} for text in texts], shape=CaptionShape())]


def findings(train: Sequence[Any], held_out: Sequence[Any] = (), **options: Any) -> dict[str, Finding]:
    options.setdefault("buckets", buckets_for(64, 8, 2))
    found = list(caption_findings(train, held_out, [Path()], source="train", held_out_source="eval", **options))
    codes = [finding.code for finding in found]
    assert set(codes) <= set(FINDING_CODES)
    assert len(codes) == len(set(codes))
    return {finding.code: finding for finding in found}


def test_good_pictures_find_nothing(tmp_path: Path) -> None:
    held = [*rows(tmp_path, TEXTS[:1], first=50, prefix="h"), *prompts("a dog on the moon")]
    lengths = [caption_lengths(tokenizer(), TEXTS)]
    assert findings(rows(tmp_path), held, lengths=lengths) == {}
    sks = [f"a photo of sks dog, {n}" for n in "abcd"]
    train = rows(tmp_path, sks)
    assert findings(train, prompts("sks dog at sea"), token="sks", class_noun="dog") == {}


# Pictures


@pytest.mark.parametrize(
    ("count", "said"), [(1, "there is one picture only"), (2, "there are 2 pictures only"), (3, "")]
)
def test_few_pictures_of_a_subject(tmp_path: Path, count: int, said: str) -> None:
    train = rows(tmp_path, ["a photo of sks dog"] * count)
    found = findings(train, prompt="a photo of sks dog", token="sks")
    assert ("few-pictures" in found) == bool(said)
    if said:
        assert found["few-pictures"].level == "warning"
        assert f"{said}: the subject is learned together with its background" in found["few-pictures"].what
    assert ("few-pictures" in findings(rows(tmp_path, TEXTS[:count]))) == (count == 1)


def test_pictures_of_50_pixels_are_enlarged_aloud(tmp_path: Path) -> None:
    train = [*rows(tmp_path, TEXTS[:2], (600, 600)), *rows(tmp_path, TEXTS[2:3], (50, 50), 9, "s")]
    found = findings(train, buckets=buckets_for(512, 64, 2))
    assert set(found) == {"small-picture"}
    small = found["small-picture"]
    assert small.level == "warning"
    assert small.rows == (train[2]["image"],)
    assert "1 of 3 pictures (33.3%)" in small.what
    assert "up to 10.2 times" in small.what
    assert "50 x 50 to 512 x 512" in small.what
    assert findings(train, buckets=buckets_for(56, 8, 1))["small-picture"].level == "note"
    assert findings(train, buckets=buckets_for(48, 8, 1)) == {}


def test_pictures_of_12_000_pixels_are_told_with_their_memory(tmp_path: Path) -> None:
    Image.new("L", (12_000, 12_000)).save(tmp_path / "t0.jpg", quality=40)
    train = rows(tmp_path)
    assert (train[0]["height"], train[0]["width"]) == (12_000, 12_000)
    found = findings(train)
    assert set(found) == {"large-picture"}
    assert "t0.jpg: 12,000 x 12,000): one that is no JPEG takes 576 MB" in found["large-picture"].what
    assert found["large-picture"].level == "note"


def test_much_that_is_cut_away_is_named(tmp_path: Path) -> None:
    train = [*rows(tmp_path), *rows(tmp_path, ["a dog, and much else"], (400, 100), 9, "wide")]
    found = findings(train)
    assert set(found) == {"much-cut"}
    assert "of 1 of 5 pictures (20.0%) a quarter or more is cut away" in found["much-cut"].what
    assert "400 x 100 to 80 x 48" in found["much-cut"].what
    assert findings(train, buckets=buckets_for(64, 8, 4)) == {}


def test_repeats_exact_and_near_ones(tmp_path: Path) -> None:
    texts = [*TEXTS, "a dog in a garden"]
    train = rows(tmp_path, texts)
    shutil.copy(train[1]["image"], tmp_path / "c0.jpg")
    with Image.open(train[3]["image"]) as image:
        image.resize((80, 80), Image.Resampling.BICUBIC).save(tmp_path / "n0.jpg", quality=70)
    exact, near = rows(tmp_path, TEXTS[1:2], prefix="c"), rows(tmp_path, ["a dog once more, smaller"], prefix="n")
    found = findings([*train, *exact, *near])
    assert set(found) == {"repeated-picture", "near-repeated-picture"}
    assert "c0.jpg is" in found["repeated-picture"].what
    assert "1 of 7 pictures (14.3%) look nearly the same as another" in found["near-repeated-picture"].what
    assert found["near-repeated-picture"].rows == (str(tmp_path / "n0.jpg"),)


def test_every_near_repeat_is_found_once_wherever_it_stands(tmp_path: Path) -> None:
    first = rows(tmp_path, ["a dog in the snow, seen"])[0]
    with Image.open(first["image"]) as image:
        for number in range(5):
            image.copy().save(tmp_path / f"n{number}.jpg", quality=60 + 7 * number)
    train = [*rows(tmp_path, [f"the dog of day {n}" for n in range(6)]), *rows(tmp_path, TEXTS * 2, prefix="n")]
    near = findings(train)["near-repeated-picture"]
    assert "5 of 14 pictures" in near.what
    assert set(near.rows) == {str(tmp_path / f"n{number}.jpg") for number in range(5)}


def test_held_out_pictures_among_the_training_ones(tmp_path: Path) -> None:
    train = rows(tmp_path)
    shutil.copy(train[0]["image"], tmp_path / "h0.jpg")
    found = findings(train, [*rows(tmp_path, TEXTS[:1], prefix="h"), *prompts("a dog at night")])
    assert set(found) == {"picture-leak"}
    assert found["picture-leak"].where == "eval"
    assert found["picture-leak"].level == "error"


def test_a_picture_that_went_bad_after_it_was_read(tmp_path: Path) -> None:
    train = rows(tmp_path)
    whole = Path(train[2]["image"]).read_bytes()
    Path(train[2]["image"]).write_bytes(whole[: len(whole) // 2])
    found = findings(train)
    assert set(found) == {"unreadable-picture"}
    assert "is truncated" in found["unreadable-picture"].what


def test_columns_of_the_source_are_nobodys_matter(tmp_path: Path) -> None:
    train = [{**row, "objects": [7], "label": n, "mask": "x"} for n, row in enumerate(rows(tmp_path))]
    assert findings(train) == {}


# Captions


def test_captions_of_400_tokens_are_counted_and_not_cut(tmp_path: Path) -> None:
    long = "dog " * 398
    texts = [*TEXTS[:2], long.strip(), "dog " * 75, "dog " * 76]
    train = rows(tmp_path, texts)
    counts = token_counts(tokenizer(), [row["text"] for row in train])
    assert counts[2:] == [400, 77, 78]
    lengths = caption_lengths(tokenizer(), [row["text"] for row in train])
    assert (lengths.most, lengths.lost) == (77, [0, 0, 323, 0, 1])
    found = findings(train, lengths=[lengths])
    assert set(found) == {"long-caption"}
    said = found["long-caption"]
    assert said.level == "error"
    assert "2 of 5 captions have more than the 77 tokens that text_encoder reads" in said.what
    assert "324 tokens would be cut off" in said.what
    assert "t2.jpg (400 tokens, 323 lost)" in said.what
    assert said.rows == (train[2]["image"], train[4]["image"])
    assert train[2]["text"] == long.strip()


def test_held_out_prompts_and_every_encoder_are_counted(tmp_path: Path) -> None:
    train, held = rows(tmp_path), prompts("dog " * 100)
    one = CaptionLengths("text_encoder", 77, (5, 5, 5, 5))
    other = caption_lengths(tokenizer(most=10**30), ["dog " * 100], most=64, name="text_encoder_2")
    found = findings(train, held, lengths=[one], held_out_lengths=[other])
    assert "1 of 1 captions have more than the 64 tokens that text_encoder_2 reads" in found["long-caption"].what
    assert found["long-caption"].where == "eval"
    with pytest.raises(ValueError, match="has no length of its own"):
        caption_lengths(tokenizer(most=10**30), ["a"])
    assert caption_lengths(tokenizer(), ["a"], most=500).most == 77


def test_a_prompt_without_the_token(tmp_path: Path) -> None:
    train = rows(tmp_path, ["a photo of a dog"] * 4)
    found = findings(train, prompt="a photo of a dog", token="sks", class_noun="dog")
    assert set(found) == {"prompt-without-token"}
    said = found["prompt-without-token"]
    assert said.level == "error"
    assert said.what.startswith("the prompt 'a photo of a dog' is without the token 'sks'")
    assert said.where == "recipe: options.prompt"
    assert said.fix.endswith("a photo of sks dog")
    train = rows(tmp_path, [f"{name} dog in place {n}" for n, name in enumerate(("sks", "SKS", "skis", "sks's"))])
    said = findings(train, token="sks")["prompt-without-token"]
    assert "1 of 4 captions (25.0%) are without the token 'sks' (as " in said.what
    assert said.rows == (train[2]["image"],)


def test_held_out_prompts_without_the_token_or_captions_without_the_class(tmp_path: Path) -> None:
    train = rows(tmp_path, [f"a photo of sks number {n}" for n in range(4)])
    found = findings(train, prompts("a dog at sea", "a cat at sea"), token="sks", class_noun="dog")
    assert set(found) == {"held-out-without-token", "caption-without-class"}
    assert found["held-out-without-token"].level == found["caption-without-class"].level == "warning"
    found = findings(train, prompts("a dog at sea", "sks dog at sea"), token="sks")
    assert found == {}


@pytest.mark.parametrize(
    ("text", "word", "holds"),
    [
        ("a photo of sks dog", "sks", True),
        ("SKS, a dog", "sks", True),
        ("skis", "sks", False),
        ("a <cat-toy>, blue", "<cat-toy>", True),
        ("a cat-toy", "<cat-toy>", False),
        ("two dogs", "dog", False),
        ("dog", "d.g", False),
    ],
)
def test_words_are_whole(text: str, word: str, holds: bool) -> None:
    assert has_word(text, word) == holds


def test_a_token_that_means_something_is_shown_with_what_it_means(tmp_path: Path) -> None:
    known = tokenizer()
    vectors = np.eye(len(known), dtype=np.float32)
    ids = {word: known(word, add_special_tokens=False)["input_ids"][0] for word in ("sks", "cat", "dog")}
    vectors[ids["sks"]] += 2 * vectors[ids["cat"]] + vectors[ids["dog"]]
    train = rows(tmp_path, [f"a photo of sks dog, day {n}" for n in range(4)])
    found = findings(train, token="sks", vocabulary=vocabulary_of(known, vectors))
    assert set(found) == {"known-token"}
    said = found["known-token"]
    assert said.level == "warning"
    assert f"'sks' is a word of the vocabulary already: 'sks' (number {ids['sks']}, near to cat, dog" in said.what
    assert said.where == "recipe: options.token"
    train = rows(tmp_path, [f"a photo of ohwx dog, day {n}" for n in range(4)])
    said = findings(train, token="ohwx", vocabulary=vocabulary_of(known))["token-in-pieces"]
    assert said.level == "note"
    assert "read as 4 pieces: 'o' (number 14), 'h' (number 7), 'w' (number 22), 'x' (number 49)" in said.what
    train = rows(tmp_path, [f"a photo of ñ dog, day {n}" for n in range(4)])
    assert findings(train, token="ñ", vocabulary=vocabulary_of(known))["unknown-token"].level == "error"


def test_what_a_word_is_to_a_tokenizer() -> None:
    vocabulary = vocabulary_of(tokenizer())
    dog = meaning_of("dog", vocabulary)
    assert (dog.pieces, dog.is_known_word, dog.unknown, dog.near) == (("dog",), True, False, ((),))
    pieces = meaning_of("dogs", vocabulary)
    assert "".join(pieces.pieces) == "dogs"
    assert not pieces.is_known_word
    assert meaning_of("", vocabulary).unknown


def test_nearest_words_leave_the_word_itself_out() -> None:
    vectors = np.array([[1, 0], [2, 0.1], [0, 1], [1, 1], [-1, 0]], dtype=np.float32)
    names = ["Dog", "dog", "cat", "fox", "tax"]
    assert nearest_words(vectors, 0, lambda ids: names[ids[0]], 2) == ["fox", "cat"]


def test_captions_that_are_all_the_same_or_short(tmp_path: Path) -> None:
    found = findings(rows(tmp_path, ["a photo of a dog"] * 4))
    assert set(found) == {"same-captions"}
    assert "all 4 captions are the same ('a photo of a dog')" in found["same-captions"].what
    found = findings(rows(tmp_path, [*TEXTS[:3], "dog"]))
    assert set(found) == {"short-caption"}
    assert found["short-caption"].level == "warning"
    assert "1 of 4 captions (25.0%) have fewer than 3 words" in found["short-caption"].what
    many = [f"a dog of {n} years" for n in range(11)]
    assert findings(rows(tmp_path, [*many, "dog"]))["short-caption"].level == "note"
    assert findings(rows(tmp_path, ["sks dog"] * 4), prompt="sks dog", token="sks") == {}


def test_two_captions_for_one_picture_in_rows(tmp_path: Path) -> None:
    train = rows(tmp_path)
    twice = {**train[0], "id": "again", "text": "quite another thing"}
    found = findings([*train, twice])
    assert set(found) == {"two-captions", "repeated-picture"}
    assert found["two-captions"].level == "error"
    assert "'quite another thing'" in found["two-captions"].what
    assert repr(TEXTS[0]) in found["two-captions"].what
