"""Damages real pictures, their labels, boxes and masks, recordings and their transcripts, and captions, at known rows.

It knows no audit and none of its codes; what a world is stands in `audit_worlds`.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from benchmarks.audit_worlds import EXAMPLES, Case, Draw, Row, World, flipped, write_jsonl, write_recipe

PICTURES = EXAMPLES / "pictures"
PROMPTS = EXAMPLES / "prompts"
Bytes = Callable[[Path, Path], None]
"""Writes a damaged picture or recording: from where, to where."""


def lacking(world: str) -> str | None:
    """Why a world can't be made here; None where it can."""
    for folder in NEEDS.get(world, ()):
        if not folder.is_dir():
            script = f"scripts/make_{folder.relative_to(EXAMPLES).parts[0]}.py"
            return f"{folder.relative_to(EXAMPLES.parent)} is not built ({script})"
    if world == "captions" and shutil.which("npm") is None:
        return "the emoji come with npm, which is not installed"
    return None


# Pictures


def _saved(change: Callable[[Image.Image], Image.Image], **options: Any) -> Bytes:
    def write(source: Path, target: Path) -> None:
        with Image.open(source) as opened:
            picture = opened.convert("RGB")
        target.parent.mkdir(parents=True, exist_ok=True)
        change(picture).save(target, **({"quality": 92} | options))

    return write


def _cropped(picture: Image.Image) -> Image.Image:
    """A tenth of its width and height gone, at its own size again."""
    width, height = picture.size
    x, y = round(width * 0.05), round(height * 0.05)
    return picture.crop((x, y, width - x, height - y)).resize(picture.size, Image.Resampling.LANCZOS)


def _scaled(share: float) -> Callable[[Image.Image], Image.Image]:
    return lambda picture: picture.resize(
        (max(1, round(picture.width * share)), max(1, round(picture.height * share))), Image.Resampling.LANCZOS
    )


NEAR: Mapping[str, Bytes] = {
    "near-jpeg": _saved(lambda picture: picture, quality=55),
    "near-crop": _saved(_cropped),
    "near-resize": _saved(_scaled(0.7)),
    "near-brightness": _saved(lambda picture: ImageEnhance.Brightness(picture).enhance(1.15)),
}


def _flat(picture: Image.Image) -> Image.Image:
    """One colour with a little noise: a lens cap, a wall."""
    rng = np.random.default_rng(picture.size[0])
    mean = np.asarray(picture).reshape(-1, 3).mean(0)
    noise = rng.normal(0, 1.5, (picture.height, picture.width, 3))
    return Image.fromarray((mean * 0.5 + 64 + noise).clip(0, 255).astype(np.uint8))


def _strip(picture: Image.Image) -> Image.Image:
    """A stripe out of its middle, eight times as wide as high."""
    middle, half = picture.height // 2, picture.width // 16
    return picture.crop((0, middle - half, picture.width, middle + half))


POOR: Mapping[str, Bytes] = {
    "blurred": _saved(lambda picture: picture.filter(ImageFilter.GaussianBlur(picture.width / 32))),
    "dark": _saved(lambda picture: picture.point(lambda value: value * 0.08)),
    "bright": _saved(lambda picture: picture.point(lambda value: 225 + value * 0.12)),
    "low-information": _saved(_flat),
    "odd-size": _saved(_scaled(0.08)),
    "odd-aspect": _saved(_strip),
}


def _half(source: Path, target: Path) -> None:
    content = source.read_bytes()
    target.write_bytes(content[: len(content) // 2])


def _empty(_source: Path, target: Path) -> None:
    target.write_bytes(b"")


def _page(_source: Path, target: Path) -> None:
    target.write_text("<html><body><h1>404 Not Found</h1></body></html>", encoding="utf-8")


BROKEN: Sequence[Bytes] = (_half, _empty, _page)


def _stamps(folder: Path, draw: Draw, quick: bool) -> dict[str, list[str]]:
    """The stamps copied into class folders; the names of both sides."""
    sides = {}
    for side in ("train", "eval"):
        names = []
        for place in sorted((PICTURES / "stamps" / side).iterdir()):
            own = sorted(file.name for file in place.iterdir())[: 10 if quick else None]
            names += [f"{place.name}/{name}" for name in own]
        for name in names:
            (folder / side / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(PICTURES / "stamps" / side / name, folder / side / name)
        sides[side] = names
        draw.over(side, len(names))
    return sides


def _picture_world(name: str, folder: Path, faults: dict[str, list[Case]], task: str = "image-classification",
                   model: str = "starter:mobilenet-v2", **more: Any) -> World:  # fmt: skip
    recipe = write_recipe(folder, task, model, "train", "eval", **more)
    counts = {side: _count(folder / side) for side in ("train", "eval")}
    return World(name, folder, recipe, faults, counts).save()


def _count(folder: Path) -> int:
    masks = folder / "masks"
    files = (file for file in folder.rglob("*") if file.suffix in (".jpg", ".png", ".wav", ".ogg", ".mp3", ".flac"))
    return sum(masks not in file.parents for file in files)


def picture_flips(share: float) -> Callable[[Path, int, bool], World]:
    """Stamps with a share of the training pictures in another class's folder, under a free name."""

    def make(folder: Path, seed: int, quick: bool) -> World:
        draw = Draw(seed, "pictures/flips")
        train = _stamps(folder, draw, quick)["train"]
        cases: list[Case] = []
        for at, label in sorted(flipped([name.split("/")[0] for name in train], share, draw).items()):
            new = f"{label}/{label}-{draw.letters(5, '0123456789')}.jpg"
            (folder / "train" / train[at]).rename(folder / "train" / new)
            cases.append((f"train:{new}",))
        return _picture_world(f"pictures/flips-{share:.0%}".rstrip("%"), folder, {"flips": cases})

    return make


def _new_name(name: str, draw: Draw) -> str:
    label = name.split("/", maxsplit=1)[0]
    return f"{label}/{label}-{draw.letters(6, '0123456789')}.jpg"


def _copied(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def picture_doubles(folder: Path, seed: int, quick: bool) -> World:
    """Stamps with repeats and leaks, exact and nearly."""
    draw = Draw(seed, "pictures/doubles")
    train = _stamps(folder, draw, quick)["train"]
    count = 4 if quick else 12
    faults: dict[str, list[Case]] = {}

    def plant(fault: str, side: str, many: int, write: Bytes) -> None:
        for at in draw.take("train", many):
            new = _new_name(train[at], draw)
            write(folder / "train" / train[at], folder / side / new)
            faults.setdefault(fault, []).append((f"train:{train[at]}", f"{side}:{new}"))

    plant("exact", "train", 2 * count, _copied)
    plant("leak-exact", "eval", count, _copied)
    for fault, write in NEAR.items():
        plant(fault, "train", count, write)
        plant(f"leak-{fault}", "eval", count // 2, write)
    return _picture_world("pictures/doubles", folder, faults)


def _spectrogram(recording: Path) -> np.ndarray:
    """What a recording looks like: its short spectra, side by side."""
    import soundfile

    wave, _ = soundfile.read(recording, dtype="float32")
    wave = np.pad(wave, (0, 256 * 130))[: 256 * 130]
    frames = np.lib.stride_tricks.sliding_window_view(wave, 512)[::128][:256] * np.hanning(512)
    level = np.log10(np.abs(np.fft.rfft(frames, axis=1)).T[:256][::-1] + 1e-4)
    return np.asarray(((level + 4) / 6 * 255).clip(0, 255).astype(np.uint8))


def _page_of_text(rng: np.random.Generator) -> np.ndarray:
    """Lines of black words on white paper."""
    page = np.full((256, 256), 250, dtype=np.uint8)
    for top in range(16, 240, 12):
        left = 16
        while left < 230:
            width = int(rng.integers(6, 30))
            page[top : top + 6, left : min(240, left + width)] = rng.integers(0, 90, (6, min(240, left + width) - left))
            left += width + 5
    return page


def _code_of_squares(rng: np.random.Generator) -> np.ndarray:
    """Black and white squares, as of a QR code."""
    return np.kron(rng.integers(0, 2, (32, 32)), np.full((8, 8), 255)).astype(np.uint8)


def _chart(rng: np.random.Generator) -> np.ndarray:
    """A curve over a grid."""
    page = np.full((256, 256), 255, dtype=np.uint8)
    page[::32], page[:, ::32] = 200, 200
    heights = (128 + 60 * np.cumsum(rng.normal(0, 0.08, 256))).clip(2, 253).astype(int)
    for left, height in enumerate(heights):
        page[height - 2 : height + 2, left] = 0
    return page


def picture_outliers(folder: Path, seed: int, quick: bool) -> World:
    """Stamps with a spectrogram, a page of text, a code of squares and a chart among them."""
    draw = Draw(seed, "pictures/outliers")
    train = _stamps(folder, draw, quick)["train"]
    recording = max((PROMPTS / "train").glob("*.wav"), key=lambda file: file.stat().st_size)
    made = (_spectrogram(recording), *(write(draw.rng) for write in (_page_of_text, _code_of_squares, _chart)))
    faults: dict[str, list[Case]] = {}
    for at, picture in zip(draw.take("train", len(made)), made, strict=True):
        target = folder / "train" / train[at]
        Image.fromarray(picture).resize((256, 256)).convert("RGB").save(target, quality=92)
        faults.setdefault("outlier", []).append((f"train:{train[at]}",))
    return _picture_world("pictures/outliers", folder, faults)


def picture_quality(folder: Path, seed: int, quick: bool) -> World:
    """Stamps of which some are blurred, dark, bright, flat, small, narrow, turned, or can't be read."""
    draw = Draw(seed, "pictures/quality")
    sides = _stamps(folder, draw, quick)
    faults: dict[str, list[Case]] = {}
    for side, count in (("train", 3 if quick else 12), ("eval", 0 if quick else 4)):
        for fault, write in (*POOR.items(), ("turned", _saved(lambda p: p.transpose(Image.Transpose.ROTATE_90)))):
            for at in draw.take(side, count):
                file = folder / side / sides[side][at]
                write(file, file)
                faults.setdefault(fault, []).append((f"{side}:{sides[side][at]}",))
        for number, at in enumerate(draw.take(side, count)):
            file = folder / side / sides[side][at]
            BROKEN[number % len(BROKEN)](file, file)
            faults.setdefault("unreadable", []).append((f"{side}:{sides[side][at]}",))
    return _picture_world("pictures/quality", folder, faults)


# Boxes and masks


def _moved(box: list[float], size: tuple[int, int], draw: Draw) -> list[float]:
    """A box shifted by 45 to 70 % of its size, that stays within its picture."""
    best = box
    for _ in range(40):
        share, angle = draw.rng.uniform(0.45, 0.7), draw.rng.uniform(0, 2 * np.pi)
        x = box[0] + share * box[2] * float(np.cos(angle))
        y = box[1] + share * box[3] * float(np.sin(angle))
        x, y = min(max(0.0, x), size[0] - box[2]), min(max(0.0, y), size[1] - box[3])
        best = [x, y, box[2], box[3]]
        if abs(x - box[0]) / box[2] + abs(y - box[1]) / box[3] > 0.4:
            break
    return best


def boxes(folder: Path, seed: int, quick: bool) -> World:
    """Objects with boxes shifted, left out, of a wrong class, twice, out of the picture, and tiny."""
    draw = Draw(seed, "pictures/boxes")
    for side in ("train", "eval"):
        shutil.copytree(PICTURES / "detection" / side, folder / side)
    file = folder / "train" / "_annotations.coco.json"
    truth = json.loads(file.read_text(encoding="utf-8"))
    pictures, kinds = truth["images"], [one["id"] for one in truth["categories"]]
    own: dict[int, list[dict[str, Any]]] = {one["id"]: [] for one in pictures}
    for one in truth["annotations"]:
        own[one["image_id"]].append(one)
    draw.over("train", len(pictures))
    faults: dict[str, list[Case]] = {}
    last = max(one["id"] for one in truth["annotations"])

    def plant(fault: str, least: int, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
        count = {True: 3, False: 8}[quick]
        for at in draw.take("train", count, lambda i: len(own[pictures[i]["id"]]) >= least):
            change(pictures[at], draw.one(own[pictures[at]["id"]]))
            faults.setdefault(fault, []).append((f"train:{pictures[at]['file_name']}",))

    def add(one: dict[str, Any], box: list[float]) -> None:
        nonlocal last
        last += 1
        own[one["image_id"]].append({**one, "id": last, "bbox": box, "area": box[2] * box[3], "segmentation": []})

    def size(picture: Mapping[str, Any]) -> tuple[int, int]:
        return picture["width"], picture["height"]

    def outside(picture: dict[str, Any], one: dict[str, Any]) -> None:
        one["bbox"] = [picture["width"] - one["bbox"][2] / 2, one["bbox"][1], one["bbox"][2], one["bbox"][3]]

    plant("box-shifted", 1, lambda picture, one: one.update(bbox=_moved(one["bbox"], size(picture), draw)))
    plant("box-dropped", 2, lambda picture, one: own[picture["id"]].remove(one))
    plant(
        "box-swapped",
        1,
        lambda _p, one: one.update(category_id=draw.one([k for k in kinds if k != one["category_id"]])),
    )
    plant("box-doubled", 1, lambda _p, one: add(one, [v + 1.0 for v in one["bbox"][:2]] + one["bbox"][2:]))
    plant("box-outside", 1, outside)
    plant("box-tiny", 1, lambda _p, one: add(one, [one["bbox"][0], one["bbox"][1], 2.0, 2.0]))
    truth["annotations"] = [one for found in own.values() for one in found]
    file.write_text(json.dumps(truth), encoding="utf-8")
    return _picture_world("pictures/boxes", folder, faults, "object-detection", "starter:yolox-tiny")


def masks(folder: Path, seed: int, quick: bool) -> World:
    """Class masks with a class swapped, shifted, emptied, or of another picture."""
    draw = Draw(seed, "pictures/masks")
    for side in ("train", "eval"):
        shutil.copytree(PICTURES / "segmentation" / side, folder / side)
    if (PICTURES / "segmentation" / "classes.json").is_file():
        shutil.copyfile(PICTURES / "segmentation" / "classes.json", folder / "classes.json")
    names = sorted(file.stem for file in (folder / "train" / "masks").iterdir())
    draw.over("train", len(names))
    faults: dict[str, list[Case]] = {}

    def plant(fault: str, change: Callable[[np.ndarray, list[int]], np.ndarray], least: int = 1) -> None:
        def fit(at: int) -> bool:
            return len(_classes(folder / "train" / "masks" / f"{names[at]}.png")) >= least

        for at in draw.take("train", {True: 3, False: 8}[quick], fit):
            file = folder / "train" / "masks" / f"{names[at]}.png"
            with Image.open(file) as opened:
                mode, palette, mask = opened.mode, opened.getpalette(), np.array(opened)
            made = Image.fromarray(change(mask, _classes(file)), mode=None)
            if mode == "P" and palette:
                made = made.convert("P") if made.mode != "P" else made
                made.putpalette(palette)
            made.save(file)
            faults.setdefault(fault, []).append((f"train:images/{names[at]}.jpg",))

    def swapped(mask: np.ndarray, own: list[int]) -> np.ndarray:
        one = draw.one(own)
        return np.where(mask == one, draw.one([k for k in range(1, 5) if k not in own] or [one % 4 + 1]), mask).astype(
            mask.dtype
        )

    def shifted(mask: np.ndarray, _own: list[int]) -> np.ndarray:
        return np.roll(mask, (mask.shape[0] // 4, mask.shape[1] // 4), (0, 1))

    def emptied(mask: np.ndarray, own: list[int]) -> np.ndarray:
        return np.where(mask == draw.one(own), 0, mask).astype(mask.dtype)

    plant("mask-swapped", swapped)
    plant("mask-shifted", shifted)
    plant("mask-dropped", emptied, least=2)
    return _picture_world("pictures/masks", folder, faults, "image-segmentation")


def _classes(file: Path) -> list[int]:
    with Image.open(file) as opened:
        return [int(value) for value in np.unique(np.array(opened)) if 0 < value < 255]


# Recordings


def _sound(change: Callable[[np.ndarray, int], np.ndarray], kind: str = ".wav") -> Bytes:
    """Writes a recording changed, in the format that the name of the target says."""

    def write(source: Path, target: Path) -> None:
        import soundfile

        wave, rate = soundfile.read(source, dtype="float32")
        options = {"subtype": "VORBIS"} if target.suffix == ".ogg" else {}
        soundfile.write(target, np.clip(change(wave, rate), -1, 1), rate, **options)

    write.__doc__ = kind
    return write


def _noised(wave: np.ndarray, _rate: int) -> np.ndarray:
    """White noise as loud as the voice."""
    rng = np.random.default_rng(len(wave))
    loud = float(np.sqrt((wave**2).mean()))
    return wave * 0.5 + rng.normal(0, 0.5 * loud * 1.2, len(wave)).astype(np.float32)


def _loudest(wave: np.ndarray) -> float:
    return max(1e-6, float(np.abs(wave).max()))


SOUND: Mapping[str, Bytes] = {
    "clipped": _sound(lambda wave, _rate: np.clip(wave / _loudest(wave) * 6, -1, 1)),
    "silent": _sound(lambda wave, _rate: wave * 0),
    "noisy": _sound(_noised),
}
NEAR_SOUND: Mapping[str, tuple[str, Bytes]] = {
    "near-vorbis": (".ogg", _sound(lambda wave, _rate: wave)),
    "near-gain": (".wav", _sound(lambda wave, _rate: wave * 0.6)),
}


def _header_only(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes()[:20])


def audio(folder: Path, seed: int, quick: bool) -> World:
    """Telephone prompts: broken, silent, clipped, noisy, repeated, on both sides, with the words of others."""
    draw = Draw(seed, "audio")
    sides: dict[str, list[Row]] = {}
    for side, most in (("train", 80), ("eval", 30)):
        lines = (PROMPTS / side / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        if quick:
            rows = [rows[int(i)] for i in draw.rng.permutation(len(rows))[:most]]
        (folder / side).mkdir(parents=True)
        for row in rows:
            shutil.copyfile(PROMPTS / side / row["file_name"], folder / side / row["file_name"])
        sides[side] = rows
        draw.over(side, len(rows))
    train = list(sides["train"])
    count = 4 if quick else 12
    faults: dict[str, list[Case]] = {}
    long = [(PROMPTS / "train" / row["file_name"]).stat().st_size > 16_000 for row in train]  # a second

    def one(fault: str, at: int) -> None:
        faults.setdefault(fault, []).append((f"train:{train[at]['file_name']}",))

    for fault, write in SOUND.items():
        for at in draw.take("train", count, lambda i: long[i]):
            file = folder / "train" / train[at]["file_name"]
            write(file, file)
            one(fault, at)
    for number, at in enumerate(draw.take("train", count)):
        file = folder / "train" / train[at]["file_name"]
        (_header_only, _empty, _page)[number % 3](file, file)
        one("unreadable", at)
    swaps = draw.take("train", 2 * count, lambda i: len(train[i]["text"].split()) >= 2)
    texts = [train[at]["text"] for at in swaps]
    for number, at in enumerate(swaps):
        text = texts[(number + 1) % len(texts)]
        if text == texts[number]:
            continue
        where = next(i for i, row in enumerate(sides["train"]) if row["file_name"] == train[at]["file_name"])
        sides["train"][where] = train[at] | {"text": text}
        one("transcript-swapped", at)

    def plant(fault: str, side: str, many: int, suffix: str, write: Bytes) -> None:
        for at in draw.take("train", many, lambda i: long[i]):
            name = f"prompt-{draw.letters(6, '0123456789')}{suffix}"
            write(folder / "train" / train[at]["file_name"], folder / side / name)
            sides[side].append(train[at] | {"file_name": name})
            faults.setdefault(fault, []).append((f"train:{train[at]['file_name']}", f"{side}:{name}"))

    plant("exact", "train", count, ".wav", _copied)
    plant("leak-exact", "eval", count, ".wav", _copied)
    for fault, (suffix, write) in NEAR_SOUND.items():
        plant(fault, "train", count // 2, suffix, write)
        plant(f"leak-{fault}", "eval", count // 2, suffix, write)
    for side, rows in sides.items():
        write_jsonl(folder / side / "metadata.jsonl", rows)
    return _picture_world(
        "audio", folder, faults, "speech-to-text", "starter:whisper-base", options={"language": "en"},
        stages=[{"train": {"top": 6}, "epochs": 1, "lr": 5e-5}],
    )  # fmt: skip


# Captions


def captions(folder: Path, seed: int, quick: bool) -> World:
    """Emoji on coloured backgrounds with captions, some of another picture, some empty of sense, some repeated."""
    scripts = str(EXAMPLES.parent / "scripts")
    if scripts not in sys.path:
        sys.path.insert(0, scripts)
    from emoji_diffusion.compose import Look, caption, open_emoji, paste  # type: ignore[import-not-found]
    from emoji_diffusion.source import find  # type: ignore[import-not-found]
    from emoji_diffusion.subjects import core, every_subject, learned  # type: ignore[import-not-found]

    draw = Draw(seed, "captions")
    source = find()
    known = core(learned(every_subject(source.folder / "emoji.json")))
    colours = ("red", "green", "blue", "yellow", "white", "black")
    count = 60 if quick else 240
    rows: dict[str, list[Row]] = {"train": [], "eval": []}
    for side, many in (("train", count), ("eval", count // 4)):
        (folder / side).mkdir(parents=True)
        for number in range(many):
            subject = known[int(draw.rng.integers(len(known)))]
            look = Look(draw.one(colours), scale=float(draw.rng.uniform(0.65, 0.9)))
            name = f"{side}-{number:03d}.png"
            Image.fromarray(paste(open_emoji(source, subject), look)).save(folder / side / name)
            rows[side].append({"file_name": name, "text": caption(subject.name, look)})
    draw.over("train", count)
    faults: dict[str, list[Case]] = {}
    train = rows["train"]
    swaps = draw.take("train", count // 10)
    texts = [train[at]["text"] for at in swaps]
    for number, at in enumerate(swaps):
        train[at] = train[at] | {"text": texts[(number + 1) % len(texts)]}
        if texts[number] != train[at]["text"]:
            faults.setdefault("caption-swapped", []).append((f"train:{train[at]['file_name']}",))
    for at in draw.take("train", count // 20):
        train[at] = train[at] | {"text": draw.one(("image", "photo", "IMG 2041"))}
        faults.setdefault("caption-empty", []).append((f"train:{train[at]['file_name']}",))
    for side, own in rows.items():
        write_jsonl(folder / side / "metadata.jsonl", own)
    return _picture_world(
        "captions", folder, faults, "text-to-image", str(EXAMPLES / "emoji-diffusion"),
        adapter={"kind": "lora", "r": 16}, stages=[{"train": "adapter", "epochs": 1, "lr": 1e-3}],
        options={"text_scorer": str(EXAMPLES / "emoji-diffusion" / "clip")},
    )  # fmt: skip


MAKERS: dict[str, Callable[[Path, int, bool], World]] = {
    "pictures/flips-5": picture_flips(0.05),
    "pictures/flips-20": picture_flips(0.2),
    "pictures/doubles": picture_doubles,
    "pictures/quality": picture_quality,
    "pictures/outliers": picture_outliers,
    "pictures/boxes": boxes,
    "pictures/masks": masks,
    "audio": audio,
    "captions": captions,
}
_STAMPS = PICTURES / "stamps"
NEEDS: Mapping[str, tuple[Path, ...]] = {
    **dict.fromkeys(("pictures/flips-5", "pictures/flips-20", "pictures/doubles", "pictures/quality"), (_STAMPS,)),
    "pictures/outliers": (_STAMPS, PROMPTS),
    "pictures/boxes": (PICTURES / "detection",),
    "pictures/masks": (PICTURES / "segmentation",),
    "audio": (PROMPTS,),
}
"""Folders that are built by a script before a world can be made."""
