"""Writes three data sets of pictures, made by pasting the stamps of the drawing program Tux Paint on photos.

    OUT/stamps/{train,eval}/CLASS/*.jpg                            classification: 11 classes, one stamp a picture
    OUT/detection/{train,eval}/_annotations.coco.json, *.jpg       detection: 4 classes, exact boxes
    OUT/segmentation/{train,eval}/{images,masks}, classes.json     segmentation: the same pictures, exact masks

Stamps and backgrounds of the eval pictures are in no train picture. The stamps are under the GPL, and so is what is
made of them: it is built where it is used and never committed. They come from FOLDER, from the installed Debian package
tuxpaint-stamps-default, or are fetched once into the cache (TUNESMITH_CACHE, else ~/.cache/tunesmith).

It knows nothing of Tunesmith: it needs numpy and Pillow. A seed gives the same bytes again with the same versions.

    python scripts/make_pictures.py [OUT] [--stamps FOLDER] [--only classification,detection,segmentation]
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
from stamp_pictures import classification, scenes
from stamp_pictures.backgrounds import Backgrounds
from stamp_pictures.packages import PHOTOS, Found, find_photos, find_stamps, stop
from stamp_pictures.stamps import KINDS, SCENE_KINDS, SOURCE_IDS, deal

FOLDERS = {"classification": "stamps", "detection": "detection", "segmentation": "segmentation"}
README = "README.md"
TITLE = "# Pictures made of stamps: built, not to be committed"


def put(out: Path, name: str, fill: Callable[[Path], object]) -> str:
    """Fill ``out/name`` in another place, then put it where an earlier build of it may be; say what is in it."""
    with tempfile.TemporaryDirectory(dir=out, prefix=f".{name}-") as place:
        made = Path(place) / "made"
        made.mkdir()
        fill(made)
        if (out / name).exists():
            shutil.rmtree(out / name)
        made.rename(out / name)
    files = [path for path in (out / name).rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    return f"{out / name}: {len(files)} files, {size / 1e6:.1f} MB"


def check(out: Path, wanted: list[str]) -> None:
    """Refuse to replace what another hand has written."""
    readme = out / README
    ours = readme.is_file() and readme.read_text(encoding="utf-8", errors="replace").startswith(TITLE)
    there = [FOLDERS[task] for task in wanted if (out / FOLDERS[task]).exists()]
    if there and not ours:
        stop(f"{out} holds {', '.join(there)}, which this script has not written", "name another folder")
    out.mkdir(parents=True, exist_ok=True)


def readme(stamps: Found, photos: Found, seed: int) -> str:
    """Where the pictures come from and what may be done with them."""
    credits = "\n".join(f"- `{photo.name}`: {photo.credit}" for side in PHOTOS.values() for photo in side)
    return f"""{TITLE}

Made by `scripts/make_pictures.py` with seed {seed}, numpy {np.__version__} and Pillow {PIL.__version__}.

Stamps: {stamps.source}, GPL-2+, by Bill Kendrick and others (https://tuxpaint.org).
Everything here derives from them and is under the GPL, too. It is an example to learn with: build it where you need it,
and do not commit it.

Backgrounds: drawn ones, and photos from {photos.source}. Those that are fetched are in the public domain or under CC0:

{credits}

`stamps` has a folder for each of its classes. The categories of `detection` have the ids
{", ".join(f"{SOURCE_IDS[name]} ({name})" for name in SCENE_KINDS)}: gaps are part of the exercise.
A box is the smallest one around the pixels of a stamp that are seen and whose alpha is above 127. The masks in
`segmentation` hold 0 for the background and otherwise the class as in `classes.json`, for the very same pixels.
No stamp, nor one of its series, and no photo is on both sides, train and eval.
"""


def main() -> None:
    """Read the arguments, find the packages, write the data sets, say what is in them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=Path("examples/pictures"), metavar="OUT")
    parser.add_argument("--stamps", type=Path, help="the folder stamps of the package", metavar="FOLDER")
    parser.add_argument("--photos", type=Path, help="other photos, in folders train and eval", metavar="FOLDER")
    parser.add_argument("--only", default=",".join(FOLDERS), help="some of " + ",".join(FOLDERS), metavar="TASKS")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="part of the pictures to make, for tests")
    arguments = parser.parse_args()
    wanted = [name.strip() for name in arguments.only.split(",") if name.strip()]
    if not wanted or set(wanted) - set(FOLDERS):
        stop(f"--only {arguments.only} names what can't be made", f"write some of {','.join(FOLDERS)}")
    out, seed, share = arguments.out, arguments.seed, arguments.share
    check(out, wanted)
    stamps, photos = find_stamps(arguments.stamps), find_photos(arguments.photos)
    backgrounds = {side: Backgrounds.of(photos.folder, side) for side in PHOTOS}
    (out / README).write_text(readme(stamps, photos, seed), encoding="utf-8", newline="\n")
    say = sys.stdout.write
    if "classification" in wanted:
        sides = deal(stamps.folder, KINDS, seed)
        say(put(out, "stamps", lambda made: classification.write(made, sides, backgrounds, seed, share)) + "\n")
        say("".join(f"  {kind.name}: {len(sides['train'][kind.name])} stamps to learn from, "
                    f"{len(sides['eval'][kind.name])} held out\n" for kind in KINDS))  # fmt: skip
    if "detection" in wanted or "segmentation" in wanted:
        kinds = {kind.name: kind for kind in KINDS}
        sides = deal(stamps.folder, [kinds[name] for name in SCENE_KINDS], seed)
        made = scenes.compose(sides, backgrounds, seed, share)
        if "detection" in wanted:
            say(put(out, "detection", lambda to: scenes.write_detection(to, made, SCENE_KINDS, stamps.source)) + "\n")
        if "segmentation" in wanted:
            say(put(out, "segmentation", lambda to: scenes.write_segmentation(to, made, SCENE_KINDS)) + "\n")
        for side, found in made.items():
            shown = ", ".join(f"{name} {count}" for name, count in sorted(scenes.counts(found).items()))
            say(f"  {side}: {len(found)} pictures; {shown}\n")


if __name__ == "__main__":
    main()
