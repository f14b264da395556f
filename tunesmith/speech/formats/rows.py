"""Rows of any reader (CSV, JSONL, data sets, folders), in the columns of speech tasks. It opens no folder.

A recording may be named by its path, or stand in the row as bytes or samples; then it is written out once.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.data.digest import plain_columns
from tunesmith.data.folder_listing import LINK_OUT, leads_out
from tunesmith.data.opened import Misfit
from tunesmith.speech.audio import (
    AUDIO_SUFFIXES,
    PART_SLACK_SECONDS,
    AudioFault,
    Sound,
    find_audio,
    is_file,
    look_at_audio,
    misnamed,
    part_of,
)
from tunesmith.speech.formats.columns import (
    AUDIO_COLUMNS,
    DURATION_COLUMNS,
    END_COLUMNS,
    LANGUAGE_COLUMNS,
    SESSION_COLUMNS,
    SPEAKER_COLUMNS,
    START_COLUMNS,
    TEXT_COLUMNS,
    WORD_COLUMNS,
    first,
    name_in,
    number_in,
    words_of,
)
from tunesmith.speech.formats.listing import AUDIO_FOLDERS
from tunesmith.speech.kept import RecordingStore
from tunesmith.speech.pairing import Pairing

NEMO_COLUMN = "audio_filepath"
"""Where a recording is named so, ``duration`` says how much of it is meant."""
COLUMNS = (
    *("audio", "text", "start", "end", "seconds", "speaker", "session", "language", "words", "rate", "channels"),
    "content",
)
"""What rows of speech have, in this order."""
MOST_LOOKS = 50_000
SHOWN = 5


class RowReader:
    """Turns raw rows into those of a speech task, and counts what it met.

    Args:
        folders: Folders that paths in rows start from, tried in turn; names in rows start from the first.
        answered: Whether rows must hold a transcript.
        elsewhere: Whether rows may name recordings that lie outside of these folders.
        store: Takes recordings that stand inside rows.
        source: The source's name, for the table.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        *,
        answered: bool = True,
        elsewhere: bool = False,
        store: RecordingStore | None = None,
        source: str = "the rows",
    ) -> None:
        self.folders, self.answered, self.elsewhere = list(dict.fromkeys(folders)), answered, elsewhere
        self.store = store or RecordingStore()
        self.pairing = Pairing(source, "transcript")
        self.columns: dict[str, Counter[str]] = {"recordings": Counter(), "transcripts": Counter()}
        self.dropped: Counter[str] = Counter()
        self.misnamed: dict[str, str] = {}
        self.aside = 0
        self._looks: dict[tuple[Path, int, int], Sound | AudioFault] = {}
        self._texts: dict[tuple[str, float | None, float | None], str] = {}

    def row(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """The row in a task's columns; other columns stay.

        Raises:
            Misfit: It lacks something, or its recording is at fault.
        """
        column, value = first(raw, AUDIO_COLUMNS)
        if column is None:
            raise Misfit(
                f"names no recording: it has the columns {', '.join(map(str, raw)) or 'none'}; audio is expected"
            )
        try:
            name, path = self._recording(value)
        except AudioFault as fault:
            raise Misfit(fault.reason) from fault
        try:
            sound = self.look(path)
            self._see_name(value, name, sound)
            made: dict[str, Any] = {"audio": name}
            used = {column} | self._part(raw, column, sound, made)
            self.columns["recordings"][column] += 1
            used |= self._text(raw, made, name)
            used |= self._who(raw, made)
            made.update(content=sound.content, rate=sound.rate, channels=sound.channels)
            self._see_text(made)
        except (AudioFault, Misfit) as fault:
            raise Misfit(f"({name}) {fault}") from fault
        # A column of ours that was not used is blank.
        others = plain_columns(raw, used | set(COLUMNS), self.dropped)
        return {**others, **{column: made[column] for column in COLUMNS if column in made}}

    def look(self, path: Path) -> Sound:
        """What a recording is; a file that was looked at is looked at again only where it has changed.

        Raises:
            AudioFault: It can't be used.
        """
        try:
            told = path.stat()
        except OSError as error:
            raise AudioFault("is not there") from error
        key = (path, told.st_mtime_ns, told.st_size)
        found = self._looks.get(key)
        if found is None:
            try:
                found = look_at_audio(path)
            except AudioFault as fault:
                found = fault
            if len(self._looks) >= MOST_LOOKS:
                self._looks.clear()
            self._looks[key] = found
        if isinstance(found, AudioFault):
            raise AudioFault(found.reason)
        return found

    def look_ahead(self, raw: Mapping[str, Any]) -> None:
        """Look at a row's recording in advance, in another thread; faults wait until the row is read."""
        _, value = first(raw, AUDIO_COLUMNS)
        if isinstance(value, str) and (path := find_audio(value.strip(), self.folders[:1])) is not None:
            try:
                self.look(path)
            except AudioFault:
                return

    def notes(self, *, columns: bool = True) -> list[str]:
        """What a person should know of the rows taken so far, one sentence each.

        Args:
            columns: Whether to say which columns were used, and how recordings and transcripts go together.
        """
        told = [f"{what} by column {_listed(used)}" for what, used in self.columns.items() if used]
        said = [", ".join(told)] if told and columns else []
        if columns and self.answered and (self.pairing.recordings or self.pairing.orphans):
            said.extend(self.pairing.lines())
        if self.misnamed:
            some = ", ".join(list(self.misnamed.values())[:SHOWN])
            said.append(
                f"{len(self.misnamed):,} recordings are named otherwise than they are; the content counts: {some}"
            )
        if self.aside:
            said.append(f"duration differs from the recording's length in {self.aside:,} rows and was left aside")
        if self.dropped:
            said.append(f"columns that hold bytes, recordings or arrays were left out: {', '.join(self.dropped)}")
        return said

    # The recording

    def _recording(self, value: Any) -> tuple[str, Path]:
        """A recording's name for rows, and its file.

        Raises:
            AudioFault: It is not there, or lies outside.
        """
        kept = self.store.take(value)
        if kept is not None:
            return kept, self.store.folder / kept
        name = value.get("path") if isinstance(value, Mapping) else value
        if not isinstance(name, (str, os.PathLike)) or not str(name).strip():
            raise AudioFault(f"names no recording: {str(value)[:60]!r}")
        name = str(name).strip()
        if name.partition("://")[0].lower() in ("http", "https", "s3", "gs"):
            raise AudioFault(f"names the recording {name}, an address: download it, and name the file")
        found = self._find(name)
        if found is None:
            self.pairing.add_orphans([name])
            link = any(_is_link(folder / name) for folder in self.folders)
            raise AudioFault(f"names the recording {name}, which {'is a broken link' if link else 'is not there'}")
        folder, path = found
        if not self.elsewhere:
            self._check_inside(name, folder, path)
        elif target := leads_out(path, folder):
            raise AudioFault(f"names the recording {name}, which " + LINK_OUT.format(target=target))
        return self._named(path, folder), path

    def _find(self, name: str) -> tuple[Path, Path] | None:
        """The folder and the file: as named, or in a folder of recordings beside, or with its ending left out."""
        names = dict.fromkeys((name, name.replace("\\", "/")))
        for folder in self.folders:
            for start in (folder, *(folder / inner for inner in AUDIO_FOLDERS)):
                for given in names:
                    if is_file(place := start / given):
                        return folder, place
        if Path(name).suffix.lower() in AUDIO_SUFFIXES:
            return None
        for folder in self.folders:
            for start in (folder, *(folder / inner for inner in AUDIO_FOLDERS)):
                for ending in (".wav", ".flac", ".mp3", ".ogg", ".opus"):
                    if is_file(place := start / f"{name}{ending}"):
                        return folder, place
        return None

    def _check_inside(self, name: str, folder: Path, path: Path) -> None:
        """A file of rows may name what lies below its folder, or from here; nothing else.

        Raises:
            AudioFault: It leads out, by its name or by a link.
        """
        plainly = Path(os.path.normpath(path.absolute()))
        bounds = self.folders if Path(name).is_absolute() else [folder]
        within = [one for one in bounds if plainly.is_relative_to(Path(os.path.normpath(one.absolute())))]
        if not within:
            raise AudioFault(
                f"names the recording {name}, which leads out of the folder of the rows: move the file of rows to a "
                "folder above its recordings"
            )
        targets = [target for one in within if (target := leads_out(path, one)) is not None]
        if len(targets) == len(within):
            raise AudioFault(f"names the recording {name}, which " + LINK_OUT.format(target=targets[0]))

    def _named(self, path: Path, folder: Path) -> str:
        """A file as rows name it: from the first folder where it lies below, else from where it was found."""
        for start in dict.fromkeys((self.folders[0], folder)):
            if path.is_relative_to(start):
                return Path(os.path.normpath(path.relative_to(start))).as_posix()
        return str(path)

    def _see_name(self, value: Any, name: str, sound: Sound) -> None:
        if isinstance(value, str) and name not in self.misnamed and (said := misnamed(name, sound)):
            self.misnamed[name] = said

    # What stands beside it

    def _part(self, raw: Mapping[str, Any], column: str, sound: Sound, made: dict[str, Any]) -> set[str]:
        """Fill in ``seconds``, and ``start`` and ``end`` where a part is meant; the columns that said so."""
        first_column, start = number_in(raw, START_COLUMNS)
        last_column, end = number_in(raw, END_COLUMNS)
        length_column, length = number_in(raw, DURATION_COLUMNS)
        used = {name for name in (first_column, last_column) if name is not None}
        if end is None and length is not None:
            differs = abs(length - sound.seconds) > max(PART_SLACK_SECONDS, 0.01 * sound.seconds)
            if start is not None or (column.lower() == NEMO_COLUMN and differs):
                end = (start or 0.0) + length
                used.add(str(length_column))
            elif differs:
                self.aside += 1
        made["seconds"] = round(sound.seconds, 6)
        if start is not None or end is not None:
            begin, stop = part_of(sound.seconds, start, end)
            made.update(start=round(begin, 6), end=round(stop, 6), seconds=round(stop - begin, 6))
        return used

    def _text(self, raw: Mapping[str, Any], made: dict[str, Any], name: str) -> set[str]:
        column, value = first(raw, TEXT_COLUMNS)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = str(value)
        text = value.strip() if isinstance(value, str) else ""
        self.pairing.add(name, bool(text))
        if text:
            made["text"] = text
            self.columns["transcripts"][str(column)] += 1
        elif not self.answered:
            pass
        elif column is None:
            others = ", ".join(str(name) for name in raw if str(name).lower() not in AUDIO_COLUMNS)
            raise Misfit(f"has no text: beside the recording it has {others or 'nothing'}; text is expected")
        elif not isinstance(value, str):
            raise Misfit(f"has a {type(value).__name__} in {column}, which is no transcript")
        else:
            raise Misfit(f"has an empty transcript (column {column})")
        return {column} if column else set()

    def _who(self, raw: Mapping[str, Any], made: dict[str, Any]) -> set[str]:
        used: set[str] = set()
        for ours, names in (
            ("speaker", SPEAKER_COLUMNS),
            ("session", SESSION_COLUMNS),
            ("language", LANGUAGE_COLUMNS),
        ):
            column, value = name_in(raw, names)
            if column is not None and value:
                made[ours] = value
                used.add(column)
        column, value = first(raw, WORD_COLUMNS)
        if column is not None:
            words = words_of(value)
            used.add(column)
            if words is None:
                self.dropped[column] += 1
            else:
                made["words"] = words
        return used

    def _see_text(self, made: Mapping[str, Any]) -> None:
        """One part of one recording has one transcript.

        Raises:
            Misfit: An earlier row has another one.
        """
        if "text" not in made or not self.answered:
            return
        key = (made["content"], made.get("start"), made.get("end"))
        other = self._texts.setdefault(key, made["text"])
        if other != made["text"]:
            raise Misfit(
                f"has another text than an earlier row of the same sound: {other[:60]!r}, now {made['text'][:60]!r}"
            )


def _is_link(place: Path) -> bool:
    try:
        return place.is_symlink()
    except (OSError, ValueError):
        return False


def _listed(used: Counter[str]) -> str:
    return ", ".join(f"{column} ({count:,})" for column, count in used.most_common())
