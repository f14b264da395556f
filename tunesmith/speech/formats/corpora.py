"""Layouts of well-known corpora that are no tables: LibriSpeech, LJSpeech and Kaldi's data folders.

https://www.openslr.org/12, https://keithito.com/LJ-Speech-Dataset, https://kaldi-asr.org/doc/data_prep.html. Commands
in Kaldi's ``wav.scp`` are refused, never run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tunesmith.data.folder_listing import LINK_OUT, choose_split
from tunesmith.data.reading import Fault, Record
from tunesmith.data.text_file import look_at
from tunesmith.errors import UserError
from tunesmith.speech.formats.listing import Listing, folder_part
from tunesmith.speech.formats.opened import Opened, Request
from tunesmith.speech.pairing import Pairing

TRANS = ".trans.txt"
_FAMILIES = ("train", "dev", "test")
_ENDINGS = (".flac", ".wav", ".mp3", ".ogg", ".opus")
Lines = list[tuple[int, str]]


def _lines(request: Request, listing: Listing, name: str) -> Lines:
    """Number and text of each line that is not blank."""
    place = f"{request.root_label}/{name}"
    if name in listing.outside:
        raise UserError(f"it {LINK_OUT.format(target=listing.outside[name])}", place, "copy it here")
    file = look_at(listing.folder / name, place)
    request.notes.extend(file.notes)
    with file.open() as (text, _):
        return [(number, line.strip()) for number, line in enumerate(text, 1) if line.strip()]


def _record(listing: Listing, place: str, row: dict[str, Any]) -> dict[str, Any] | Fault:
    name = str(row["audio"])
    if name in listing.outside:
        return Fault(f"{place} names {name}, which {LINK_OUT.format(target=listing.outside[name])}")
    return row


def _opened(
    format: str, request: Request, rows: Sequence[dict[str, Any] | Fault], paths: Sequence[str], pairing: Pairing
) -> Opened:
    records: Iterator[Record] = iter(list(enumerate(rows, 1)))
    return Opened(
        format=format,
        records=records,
        paths=tuple(paths),
        notes=request.notes,
        root=request.root,
        total=len(rows),
        pairing=pairing,
    )


# LibriSpeech


def open_librispeech(request: Request, listing: Listing) -> Opened:
    """Recordings in ``speaker/chapter`` folders with a ``.trans.txt`` each, of one split.

    Raises:
        UserError: Too many stand alone, or the split is not there.
    """
    chapters = listing.ending(TRANS)
    subsets = {name: _subset(name) for name in chapters}
    wanted = _wanted_subsets(request, listing, set(subsets.values()))
    chosen = [name for name in chapters if subsets[name] in wanted]
    request.notes.append(f"{request.label}: LibriSpeech, {len(chosen):,} chapters (speaker and chapter are known)")
    pairing = Pairing(request.label, "transcript")
    rows: list[dict[str, Any] | Fault] = []
    for name in chosen:
        rows += _chapter(request, listing, name, pairing)
    pairing.settle(request.notes)
    shown = [f"{request.root_label}/{subset}".rstrip("/") for subset in sorted(wanted)]
    return _opened("librispeech", request, rows, shown, pairing)


def _subset(name: str) -> str:
    """The folder above those of speaker and chapter."""
    return "/".join(name.split("/")[:-1][:-2])


def _wanted_subsets(request: Request, listing: Listing, subsets: set[str]) -> set[str]:
    """The subsets that are read: the one of the wanted name, else all whose names begin as the split does, aloud."""
    named = {PurePosixPath(subset).name: subset for subset in subsets}
    if request.split in named:
        return {named[str(request.split)]}
    counts: dict[str, int] = {}
    families: dict[str, set[str]] = {}
    for name, subset in named.items():
        family = next((one for one in _FAMILIES if name.lower().startswith(one)), None)
        if family is not None:
            inside = sum(file.startswith(f"{subset}/") for file in listing.recordings())
            counts[family] = counts.get(family, 0) + inside
            families.setdefault(family, set()).add(subset)
    if not counts or (request.split is None and len(subsets) == 1):
        choose_split({}, request.split, request.label, request.notes)
        return subsets
    return families[str(choose_split(counts, request.split, request.label, request.notes, "recordings"))]


def _chapter(request: Request, listing: Listing, name: str, pairing: Pairing) -> list[dict[str, Any] | Fault]:
    folder = folder_part(name)
    above = folder.split("/")[:-1]
    rows: list[dict[str, Any] | Fault] = []
    seen = set()
    for number, line in _lines(request, listing, name):
        utterance, _, text = line.partition(" ")
        found = next((f"{folder}{utterance}{e}" for e in _ENDINGS if f"{folder}{utterance}{e}" in listing.names), None)
        place = f"({name}:{number})"
        if found is None:
            pairing.add_orphans([f"{utterance} ({name}:{number})"])
            continue
        seen.add(found)
        pairing.add(found, True)
        parts = utterance.split("-")
        who = parts[0] if len(parts) >= 3 else above[-2] if len(above) > 1 else ""
        chapter = parts[1] if len(parts) >= 3 else above[-1] if above else ""
        row = {"id": utterance, "audio": found, "text": text.strip(), "speaker": who, "session": chapter}
        rows.append(_record(listing, place, row) if text.strip() else Fault(f"{place} has an empty transcript"))
    for other in listing.by_folder.get(folder, ()):
        if other not in seen:
            pairing.add(other, False)
    return rows


# LJSpeech


def ljspeech_file(listing: Listing) -> str | None:
    """``metadata.csv`` of ``id|text|normalised`` with ``wavs`` beside it, where the folder has one."""
    for name in listing.files:
        if PurePosixPath(name).name == "metadata.csv" and name.count("/") <= 1:
            with (listing.folder / name).open("rb") as stream:
                head = [stream.readline(2**16).decode("utf-8", "replace") for _ in range(20)]
            if any(_wav(listing, name, line.partition("|")[0]) for line in head if "|" in line):
                return name
    return None


def _wav(listing: Listing, name: str, identity: str) -> str | None:
    start = f"{folder_part(name)}wavs/{identity.strip().removesuffix('.wav')}"
    return next((start + ending for ending in _ENDINGS if start + ending in listing.names), None)


def open_ljspeech(request: Request, listing: Listing, name: str) -> Opened:
    """The lines of LJSpeech's ``metadata.csv``; the normalised text is what is said.

    Raises:
        UserError: Too many stand alone, or a split is wanted.
    """
    choose_split({}, request.split, request.label, request.notes)
    pairing = Pairing(request.label, "line")
    rows: list[dict[str, Any] | Fault] = []
    seen: set[str] = set()
    normalised = 0
    for number, line in _lines(request, listing, name):
        place = f"({name}:{number})"
        identity, *texts = [field.strip() for field in line.split("|")]
        found = _wav(listing, name, identity)
        if found is None:
            pairing.add_orphans([f"{identity} ({name}:{number})"])
            continue
        if found not in seen:
            pairing.add(found, True)
        seen.add(found)
        spoken = next((text for text in reversed(texts[:2]) if text), "")
        if not spoken:
            rows.append(Fault(f"{place} has an empty transcript"))
            continue
        normalised += spoken != texts[0]
        row = {"id": identity, "audio": found, "text": spoken}
        rows.append(_record(listing, place, row if spoken == texts[0] else {**row, "written": texts[0]}))
    for other in listing.by_folder.get(f"{folder_part(name)}wavs/", ()):
        if other not in seen:
            pairing.add(other, False)
    request.notes.append(
        f"{request.label}: LJSpeech; of {normalised:,} lines the normalised text is read, and what was written is kept "
        "in the column written"
    )
    pairing.settle(request.notes)
    return _opened("ljspeech", request, rows, [f"{request.root_label}/{name}"], pairing)


# Kaldi


def kaldi_folder(listing: Listing, split: str | None) -> str | None:
    """The folder, as a part of names, that has ``wav.scp`` and ``text``: the top, else that of the split."""
    found = [folder_part(name) for name in listing.files if PurePosixPath(name).name == "wav.scp"]
    found = [folder for folder in found if f"{folder}text" in listing.names]
    if "" in found:
        return ""
    named = [folder for folder in found if folder.rstrip("/").split("/")[-1] == (split or "train")]
    return named[0] if len(named) == 1 else found[0] if len(found) == 1 and split is None else None


def open_kaldi(request: Request, listing: Listing, folder: str) -> Opened:
    """The utterances of a Kaldi data folder: ``wav.scp``, ``text``, and ``segments`` and ``utt2spk`` where they are.

    Raises:
        UserError: A recording is a command, or too many utterances stand alone.
    """

    def table(name: str) -> dict[str, tuple[int, str]]:
        if folder + name not in listing.names:
            return {}
        split = [(number, line.partition(" ")) for number, line in _lines(request, listing, folder + name)]
        return {key: (number, rest.strip()) for number, (key, _, rest) in split}

    recordings, segments, speakers = table("wav.scp"), table("segments"), table("utt2spk")
    for number, named in recordings.values():
        if named.endswith("|"):
            raise UserError(
                f"this recording is the output of a command, which is not run: {named[:80]}",
                f"{request.root_label}/{folder}wav.scp:{number}",
                "write the recordings to files and name these",
            )
    pairing = Pairing(request.label, "utterance")
    rows: list[dict[str, Any] | Fault] = []
    for utterance, (number, text) in table("text").items():
        place = f"({folder}text:{number})"
        row: dict[str, Any] = {"id": utterance, "text": text}
        if utterance in speakers:
            row["speaker"] = speakers[utterance][1]
        source = utterance
        if segments:
            source, *times = segments.get(utterance, (0, ""))[1].split() or [""]
            row.update(session=source, **dict(zip(("start", "end"), times, strict=False)))
        name = _kaldi_name(request, folder, recordings.get(source, (0, ""))[1])
        if not name:
            pairing.add_orphans([f"{utterance} ({folder}text:{number})"])
            continue
        pairing.add(f"{name} ({utterance})", True)
        rows.append(_record(listing, place, {**row, "audio": name}))
    request.notes.append(f"{request.label}: Kaldi's data folder with {len(recordings):,} recordings")
    pairing.settle(request.notes)
    return _opened("kaldi", request, rows, [f"{request.root_label}/{folder}text"], pairing)


def _kaldi_name(request: Request, folder: str, named: str) -> str:
    """A file of ``wav.scp``: relative to its folder, or to the root; where it is neither, as it stands there."""
    if not named:
        return ""
    beside = request.root / folder / named
    return request.name_of(beside) if beside.is_file() and not Path(named).is_absolute() else named
