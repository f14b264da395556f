"""Puts emoji on coloured backgrounds and says so in captions. It knows pixels and words, no models."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from emoji_diffusion.source import Source
from emoji_diffusion.subjects import Subject

SIDE = 64
COLOURS = {
    "white": (255, 255, 255), "red": (226, 88, 80), "orange": (245, 160, 80), "yellow": (250, 222, 105),
    "green": (120, 196, 120), "blue": (105, 160, 232), "purple": (165, 120, 212), "pink": (248, 176, 202),
    "brown": (160, 120, 90), "grey": (165, 165, 170), "black": (36, 36, 40),
}  # fmt: skip
SMALL_SHARE, NOUN_SHARE, PICTURE_SHARE = 0.25, 0.08, 0.1
SINGULAR = ("ss", "us", "is", "os")
"""Endings of words that are no plurals, though they end in s."""


@dataclass(frozen=True)
class Look:
    """How a subject lies on its background; ``told`` says whether the caption names the background."""

    colour: str
    told: bool = True
    small: bool = False
    scale: float = 0.86
    right: int = 0
    down: int = 0
    flip: bool = False
    shade: tuple[int, int, int] = (0, 0, 0)


def draw_look(rng: np.random.Generator, colour: str, told: bool) -> Look:
    """A size and place for one picture: a quarter are small ones, which lie more freely."""
    small = bool(rng.random() < SMALL_SHARE)
    scale, slack = (rng.uniform(0.46, 0.54), 8) if small else (rng.uniform(0.82, 0.9), 2)
    right, down = (int(value) for value in rng.integers(-slack, slack + 1, 2))
    shade = (0, 0, 0) if colour == "white" else tuple(int(value) for value in rng.integers(-8, 9, 3))
    return Look(colour, told, small, float(scale), right, down, False, (shade[0], shade[1], shade[2]))


def paste(emoji: Image.Image, look: Look) -> np.ndarray:
    """The picture as uint8 [SIDE, SIDE, 3]; the emoji has an alpha channel."""
    ground = tuple(int(min(max(part + shift, 0), 255))
                   for part, shift in zip(COLOURS[look.colour], look.shade, strict=True))  # fmt: skip
    picture = Image.new("RGB", (SIDE, SIDE), ground)
    side = max(round(SIDE * look.scale), 8)
    if look.flip:
        emoji = emoji.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    # premultiplied, so that what hides under transparent pixels does not bleed into the edges
    small = emoji.convert("RGBa").resize((side, side), Image.Resampling.LANCZOS).convert("RGBA")
    left, top = (SIDE - side) // 2 + look.right, (SIDE - side) // 2 + look.down
    picture.paste(small, (left, top), small)
    return np.asarray(picture, np.uint8)


def article(name: str) -> str:
    """The name with "a" or "an", or as it is where it is a plural."""
    head = name.partition(" with ")[0].partition(" of ")[0]
    if head.endswith("s") and not head.endswith(SINGULAR):
        return name
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def caption(name: str, look: Look) -> str:
    """What the picture shows: "a small dog face on a blue background"."""
    what = article(f"small {name}") if look.small else article(name)
    return f"{what} on {article(look.colour)} background" if look.told else what


@dataclass(frozen=True)
class Pool:
    """Composed pictures, uint8 [pictures, SIDE, SIDE, 3], their captions and the index of the subject of each."""

    pictures: np.ndarray
    captions: list[str]
    subjects: np.ndarray


def open_emoji(source: Source, subject: Subject) -> Image.Image:
    """The emoji with its alpha channel."""
    with Image.open(source.picture(subject.image)) as opened:
        return opened.convert("RGBA")


def compose(source: Source, subjects: list[Subject], views: int, seed: int) -> Pool:
    """Each subject ``views`` times: on white without saying so, then once around the colours, then by chance."""
    pictures, captions, owners = [], [], []
    for index, subject in enumerate(subjects):
        rng = np.random.default_rng([seed, index])
        emoji = open_emoji(source, subject)
        names = list(COLOURS)
        order = ["", *(names[number] for number in rng.permutation(len(names))), "", ""]
        for view in range(views):
            colour = order[view] if view < len(order) else names[int(rng.integers(len(names)))]
            look = draw_look(rng, colour or "white", bool(colour))
            said = caption(subject.noun if rng.random() < NOUN_SHARE else subject.name, look)
            captions.append(f"a picture of {said}" if rng.random() < PICTURE_SHARE else said)
            pictures.append(paste(emoji, look))
            owners.append(index)
    return Pool(np.stack(pictures), captions, np.asarray(owners))
