"""Writes a data set of telephone prompts with their texts, as spoken by the voice of the Asterisk exchange.

    OUT/{train,eval}/metadata.jsonl, *.wav        8 kHz mono, one voice; eval holds out at least 200 recordings

Prompts of one text are on one side; those longer than Whisper hears at once, and silence, are left out. The recordings
are under CC-BY-SA 3.0: they are built where they are used and never committed. They come from the Debian packages
asterisk-core-sounds-en and -wav, fetched once into the cache (TUNESMITH_CACHE, else ~/.cache/tunesmith).

It knows nothing of Tunesmith. A seed gives the same sides again.

    python scripts/make_prompts.py [OUT] [--seed N]
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import shutil
import sys
import tempfile
import wave
from hashlib import blake2b
from pathlib import Path, PurePosixPath

from stamp_pictures.packages import cache_folder, fetch, once, stop

TEXTS, SOUNDS = "asterisk-core-sounds-en", "asterisk-core-sounds-en-wav"
INSIDE = PurePosixPath("./usr/share/asterisk/sounds/en_US_f_Allison")
HELD_OUT, LONGEST = 200, 30
TITLE = "# Telephone prompts: built, not to be committed"
README = f"""{TITLE}

Made by `scripts/make_prompts.py` from the Debian packages {TEXTS} and {SOUNDS}:
recordings of Allison Smith for Asterisk, Copyright 2003-2019 Digium and Sangoma, under the Creative Commons
Attribution-ShareAlike 3.0 licence (https://creativecommons.org/licenses/by-sa/3.0/). What is here is under it, too.
"""


def fill(folder: Path) -> None:
    """Fetch texts and recordings."""
    fix = "fetch both packages by hand and unpack them"

    def text(name: PurePosixPath) -> str | None:
        return "texts.gz" if name.name == "core-sounds-en.txt.gz" else None

    def sound(name: PurePosixPath) -> str | None:
        return f"sounds/{name.relative_to(INSIDE)}" if name.suffix == ".wav" and name.is_relative_to(INSIDE) else None

    fetch(TEXTS, "15 MB", text, folder, fix)
    fetch(SOUNDS, "19 MB", sound, folder, fix)


def texts_of(file: Path) -> dict[str, str]:
    """Texts by the names of their recordings; what is no speech, in brackets, is left out."""
    found = {}
    for line in gzip.decompress(file.read_bytes()).decode("utf-8").splitlines():
        name, colon, text = line.partition(":")
        text = re.sub(r"\s+", " ", text).strip()
        if colon and not line.startswith(";") and text and not re.search(r"[\[(<]", text):
            found[name.strip()] = text
    return found


def seconds_of(file: Path) -> float | None:
    """How long a recording is; None where there is none."""
    if not file.is_file():
        return None
    with wave.open(str(file), "rb") as sound:
        return sound.getnframes() / sound.getframerate()


def sides(texts: dict[str, str], seed: int) -> dict[str, list[str]]:
    """Names of recordings by side: of all texts as many as make at least 200 recordings are held out."""

    def key(text: str) -> str:
        return re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()

    by_text: dict[str, list[str]] = {}
    for name in sorted(texts):
        by_text.setdefault(key(texts[name]), []).append(name)
    order = sorted(by_text, key=lambda text: blake2b(f"{seed} {text}".encode(), digest_size=8).digest())
    found: dict[str, list[str]] = {"eval": [], "train": []}
    for text in order:
        found["eval" if len(found["eval"]) < HELD_OUT else "train"] += by_text[text]
    return found


def main() -> None:
    """Build them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", nargs="?", type=Path, default=Path("examples/prompts"))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    out: Path = given.out
    readme = out / "README.md"
    if out.exists() and any(out.iterdir()) and not (readme.is_file() and readme.read_text("utf-8").startswith(TITLE)):
        stop(f"{out} holds something that this script has not written", "name another folder")
    source = once(cache_folder() / TEXTS, fill)
    texts = texts_of(source / "texts.gz")
    seconds = {name: seconds_of(source / "sounds" / f"{name}.wav") for name in texts}
    if long := [name for name in texts if (seconds[name] or 0) > LONGEST]:
        sys.stdout.write(f"left out, longer than {LONGEST} s: {', '.join(long)}\n")
    texts = {name: text for name, text in texts.items() if 0 < (seconds[name] or 0) <= LONGEST}
    if len(texts) < 2 * HELD_OUT:
        stop(f"{source} holds only {len(texts)} recordings with texts", f"remove {source} and begin again")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".prompts-") as place:
        made = Path(place) / "made"
        for side, names in sides(texts, given.seed).items():
            lines = []
            for name in sorted(names):
                target = made / side / f"{name.replace('/', '-')}.wav"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / "sounds" / f"{name}.wav", target)
                lines.append(json.dumps({"file_name": target.name, "text": texts[name], "language": "en"}))
            (made / side / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
            sys.stdout.write(f"{out / side}: {len(lines)} recordings\n")
        (made / "README.md").write_text(README, encoding="utf-8")
        if out.exists():
            shutil.rmtree(out)
        made.rename(out)


if __name__ == "__main__":
    main()
