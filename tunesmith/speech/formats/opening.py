"""The front door of speech sources: which layout a file or folder has, found by its content and said aloud.

It reads no layout itself. Files of rows (CSV, JSONL, Parquet) and saved data sets are other readers' matter.
"""

from __future__ import annotations

from pathlib import Path

from tunesmith.data.arrow import is_saved_data_set
from tunesmith.data.folder import FORMATS
from tunesmith.errors import UserError
from tunesmith.speech.audio import is_audio_name
from tunesmith.speech.formats.corpora import (
    TRANS,
    kaldi_folder,
    ljspeech_file,
    open_kaldi,
    open_librispeech,
    open_ljspeech,
)
from tunesmith.speech.formats.listing import Listing, list_files
from tunesmith.speech.formats.opened import Opened, Request
from tunesmith.speech.formats.tables import (
    TIMED,
    common_voice_files,
    has_word_times,
    metadata_files,
    open_common_voice,
    open_metadata,
    open_timed_rows,
)
from tunesmith.speech.formats.texts_beside import (
    has_texts_beside,
    open_recordings_alone,
    open_texts_beside,
    text_names,
)

WANTED = (
    "rows (CSV, TSV, JSONL, Parquet) with audio and text, a metadata.csv with file_name and transcription beside the "
    "recordings, a text file beside each recording, or a folder as LibriSpeech, Common Voice or LJSpeech has it"
)


def open_speech(path: Path, *, label: str, split: str | None = None, answered: bool = True) -> Opened | None:
    """The source as raw rows, or None where it is rows already (CSV, JSONL, Parquet: others read those).

    Files of rows with the times of words are read here, so that a row of a long recording can become several.

    Args:
        path: A file or folder.
        label: The source as the person wrote it, for places.
        split: The split that is wanted, where the source has several (default: train).
        answered: Whether transcripts are wanted; without, a recording, or a folder of any layout, gives its recordings.

    Raises:
        UserError: It is a speech source at fault.
    """
    request = Request(path, label, split)
    if path.is_file():
        return _open_file(request, answered)
    if is_saved_data_set(path):
        return None
    listing = list_files(path, label)
    if not listing.files:
        raise UserError(
            "the folder is empty", label, f"give {WANTED if answered else 'a recording, or a folder of them'}"
        )
    if not answered:
        return open_recordings_alone(request, listing) if listing.recordings() else None
    return _open_folder(request, listing)


def _open_file(request: Request, answered: bool) -> Opened | None:
    name = request.path.name
    if is_audio_name(name):
        if answered:
            raise UserError("this is one recording, without a transcript", request.label, f"give {WANTED}")
        return open_recordings_alone(request, Listing(request.root, request.root_label, (name,)))
    if not answered:
        return None
    if name.endswith(TRANS) or name == "wav.scp":
        raise UserError("this file alone is no data set", request.label, "name the folder that it stands in")
    if name == "metadata.csv" and (request.root / "wavs").is_dir():
        listing = list_files(request.root, request.root_label)
        if ljspeech_file(listing) == name:
            return open_ljspeech(request, listing, name)
    if request.path.suffix in TIMED and has_word_times(request.path):
        return open_timed_rows(request, name)
    return None


def _open_folder(request: Request, listing: Listing) -> Opened | None:
    known = _open_corpus(request, listing)
    if known is not None:
        return known
    tables = [name for name in listing.files if Path(name).suffix.lower() in FORMATS]
    recordings = listing.recordings()
    if recordings and has_texts_beside(listing):
        if tables:
            request.notes.append(f"{', '.join(tables[:5])} in {request.label} were left alone; name one to read it")
        return open_texts_beside(request, listing)
    if tables:
        alone = len(tables) == 1 and request.split is None and Path(tables[0]).suffix in TIMED
        return open_timed_rows(request, tables[0]) if alone and has_word_times(request.path / tables[0]) else None
    if not recordings:
        texts = text_names(listing)
        what = f"{len(texts):,} text files and no recordings" if texts else f"no recordings: it has {listing.kinds()}"
        raise UserError(f"the folder holds {what}", request.label, f"give {WANTED}")
    raise UserError(
        f"the folder holds {len(recordings):,} recordings, and nothing that says what is said in them",
        request.label,
        f"give {WANTED}",
    )


def _open_corpus(request: Request, listing: Listing) -> Opened | None:
    """The folder where files of fixed names say what it is, the surer ones first."""
    if listing.ending(TRANS):
        return open_librispeech(request, listing)
    if (kaldi := kaldi_folder(listing, request.split)) is not None:
        return open_kaldi(request, listing, kaldi)
    if voices := common_voice_files(listing):
        return open_common_voice(request, listing, voices)
    if (lines := ljspeech_file(listing)) is not None:
        return open_ljspeech(request, listing, lines)
    metadata = metadata_files(listing)
    return open_metadata(request, listing, metadata) if metadata else None
