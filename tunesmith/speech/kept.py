"""Recordings that stand inside rows, written to files once, named by their content. It knows no rows.

Nothing is decoded: bytes are written as they are, and samples as a WAV of floating-point numbers.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunesmith.data.kept_files import KeptFiles
from tunesmith.speech.containers import AudioFault, format_of

_SUFFIXES = {"WAV": ".wav", "FLAC": ".flac", "OGG": ".ogg", "MP3": ".mp3", "AIFF": ".aiff", "AU": ".au", "CAF": ".caf"}


class RecordingStore(KeptFiles):
    """A folder of recordings by the digest of their bytes; what is there already is not written again.

    Args:
        folder: By default ``recordings`` in the cache folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder, kind="recordings")

    def take(self, value: Any) -> str | None:
        """The name of a recording that is bytes, ``{"bytes", "path"}`` or ``{"array", "sampling_rate"}``.

        None for anything else.

        Raises:
            AudioFault: It is samples of no known rate, or of a shape that is no sound.
            UserError: The folder takes no more.
        """
        if isinstance(value, Mapping):
            if value.get("bytes") is None and value.get("array") is not None:
                return self.write(_encoded(value["array"], value.get("sampling_rate")), ".wav")
            value = value.get("bytes")
        if isinstance(value, (bytes, bytearray, memoryview)):
            content = bytes(value)
            return self.write(content, _suffix(content))
        return None


def _encoded(samples: Any, rate: Any) -> bytes:
    """Samples as a WAV of 32-bit floating-point numbers."""
    import numpy as np

    from tunesmith.speech.audio import library

    wave = np.asarray(samples, dtype=np.float32)
    if wave.ndim == 2 and wave.shape[0] < wave.shape[1]:
        wave = wave.T
    if not isinstance(rate, (int, np.integer)) or isinstance(rate, bool) or rate <= 0:
        raise AudioFault(f"is an array of samples whose sampling_rate is {rate!r}")
    if wave.ndim not in (1, 2) or not wave.size:
        raise AudioFault(f"is an array of the shape {list(wave.shape)}, which is no sound")
    held = io.BytesIO()
    library("soundfile").write(held, wave, int(rate), format="WAV", subtype="FLOAT")
    return held.getvalue()


def _suffix(content: bytes) -> str:
    """The ending that the content has earned; any other is told apart when it is opened."""
    try:
        return _SUFFIXES.get(format_of(content[:4096], ""), ".bin")
    except AudioFault:
        return ".bin"
