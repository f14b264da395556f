"""Makes the data of one subject for DreamBooth: an emoji that the emoji diffusion model has never seen.

    OUT/train/*.png        12 pictures to learn it from: 64 x 64, several sizes, places and backgrounds, no captions
    OUT/held_out/*.png     4 further pictures of it, to compare with
    OUT/prompts.jsonl      {"text": ..., "subject": true or false}: 16 prompts with the token, 16 about other things

Prompts with the token ask for backgrounds and sizes. Those without it ask for the class and for other emoji that the
model knows, so that what a fine-tuning forgets is seen.

    python scripts/make_emoji_subject.py NAME OUT [--token sks] [--emoji FOLDER] [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from emoji_diffusion.compose import COLOURS, Look, article, caption, open_emoji, paste
from emoji_diffusion.source import Source, find, stop
from emoji_diffusion.subjects import Subject, every_subject, held_out, learned
from PIL import Image

TRAIN, FURTHER, PROMPTS, OF_CLASS = 12, 4, 16, 4


def looks(count: int, seed: int) -> list[Look]:
    """Sizes, places and backgrounds that differ from picture to picture."""
    rng = np.random.default_rng([seed, 5])
    names = [
        list(COLOURS)[int(index)] for _ in range(count // len(COLOURS) + 1) for index in rng.permutation(len(COLOURS))
    ]
    made = []
    for name in names[:count]:
        scale = float(rng.uniform(0.6, 0.9))
        slack = int((1 - scale) * 20)
        right, down = (int(value) for value in rng.integers(-slack, slack + 1, 2))
        made.append(Look(name, scale=scale, right=right, down=down))
    return made


def prompts(subject: Subject, known: list[Subject], token: str, seed: int) -> list[dict[str, object]]:
    """With the token: every background, small ones, and none told; without it: the class, then other emoji."""
    rng = np.random.default_rng([seed, 6])
    names = list(COLOURS)
    named = f"{token} {subject.noun}"
    small = [names[int(index)] for index in rng.choice(len(names), PROMPTS - len(names) - 1, replace=False)]
    asked = [Look("white", told=False), *(Look(name) for name in names), *(Look(name, small=True) for name in small)]
    texts = [caption(named, look) for look in asked]
    others = [subject.noun] * OF_CLASS
    others += [known[int(index)].name for index in rng.permutation(len(known))[: PROMPTS - OF_CLASS]]
    plain = [f"{article(name)} on {article(names[int(rng.integers(len(names)))])} background" for name in others]
    return [{"text": text, "subject": True} for text in texts] + [{"text": text, "subject": False} for text in plain]


def write(source: Source, subject: Subject, known: list[Subject], out: Path, token: str, seed: int) -> str:
    """Write pictures and prompts; say what is where."""
    emoji = open_emoji(source, subject)
    every = looks(TRAIN + FURTHER, seed)
    for folder, part in (("train", every[:TRAIN]), ("held_out", every[TRAIN:])):
        (out / folder).mkdir(parents=True, exist_ok=True)
        for number, look in enumerate(part):
            Image.fromarray(paste(emoji, look)).save(out / folder / f"{subject.key}-{number:02d}.png")
    lines = [json.dumps(prompt) for prompt in prompts(subject, known, token, seed)]
    (out / "prompts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    return f"{out}: {TRAIN} pictures of a {subject.name}, {FURTHER} further ones; it is called {token} {subject.noun}\n"


def main() -> None:
    """Read the arguments, find the emoji, write the data."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", metavar="NAME", help="of a held-out emoji, as fox_face")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--token", default="sks", help="the word for the subject")
    parser.add_argument("--emoji", type=Path, help="the unpacked npm package", metavar="FOLDER")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    source = find(arguments.emoji)
    subjects = every_subject(source.folder / "emoji.json")
    free = {subject.key: subject for subject in held_out(subjects)}
    if arguments.name not in free:
        stop(f"{arguments.name} is no emoji that the model has not seen", "name one of " + ", ".join(sorted(free)))
    if arguments.out.exists() and any(arguments.out.iterdir()):
        stop(f"{arguments.out} is not empty", "name another folder")
    sys.stdout.write(
        write(source, free[arguments.name], learned(subjects), arguments.out, arguments.token, arguments.seed)
    )


if __name__ == "__main__":
    main()
