"""Log-mel spectrograms as Whisper reads them, of what was recorded only: the silence that fills them up is one number.

It knows waves; no files, no rows and no model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tunesmith.errors import UserError

FILE = "preprocessor_config.json"


@dataclass(frozen=True)
class LogMel:
    """How Whisper hears (arXiv:2212.04356): frames of 25 ms every 10 ms, on a logarithmic scale cut at 80 dB.

    Args:
        bins: Mel bands.
        seconds: Length that every recording is filled up to.
        rate: Samples a second.
        window: Samples of a frame.
        hop: Samples from frame to frame.
    """

    bins: int = 80
    seconds: float = 30.0
    rate: int = 16_000
    window: int = 400
    hop: int = 160

    @classmethod
    def read(cls, folder: Path, bins: int) -> LogMel:
        """As the folder's ``preprocessor_config.json`` says; Whisper's own numbers where there is none.

        Args:
            folder: Of the weights.
            bins: What the model takes.

        Raises:
            UserError: The file is no JSON, or does not fit the model.
        """
        file = folder / FILE
        if not file.is_file():
            return cls(bins)
        try:
            said = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, UnicodeDecodeError) as fault:
            raise UserError(f"{FILE} is no JSON: {fault}", str(file), "fetch the model again") from fault
        said = said.get("feature_extractor", said)
        own = int(said.get("feature_size", bins))
        if own != bins:
            what = f"the model takes {bins} mel bands, and {FILE} says {own}"
            raise UserError(what, str(file), "fetch the model again: its files do not belong together")
        found = cls(bins, float(said.get("chunk_length", 30)), int(said.get("sampling_rate", 16_000)))
        return cls(bins, found.seconds, found.rate, int(said.get("n_fft", 400)), int(said.get("hop_length", 160)))

    @property
    def samples(self) -> int:
        """Samples of a whole input."""
        return round(self.seconds * self.rate)

    @property
    def frames(self) -> int:
        """Frames of a whole input."""
        return self.samples // self.hop

    @cached_property
    def filters(self) -> Tensor:
        """Triangles in the mel scale of Slaney's toolbox, each of area one, float32 [bins, window / 2 + 1]."""
        edges = _hertz(np.linspace(0.0, _mel(self.rate / 2), self.bins + 2))
        bands = np.linspace(0.0, self.rate / 2, self.window // 2 + 1)
        slopes = edges[:, None] - bands[None]
        widths = np.diff(edges)
        rising, falling = -slopes[:-2] / widths[:-1, None], slopes[2:] / widths[1:, None]
        found = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (edges[2:] - edges[:-2]))[:, None]
        return torch.from_numpy(found.astype(np.float32))

    @cached_property
    def _weights(self) -> Tensor:
        return torch.hann_window(self.window)

    def __call__(self, wave: np.ndarray) -> tuple[Tensor, float]:
        """The frames that hold something of a recording, and what all frames after them hold.

        Args:
            wave: Float32 [samples]; what is longer than a whole input is cut.

        Returns:
            Float32 [bins, frames], and the value of silence.
        """
        half = self.window // 2
        heard = torch.from_numpy(np.ascontiguousarray(wave[: self.samples], dtype=np.float32))
        frames = min(self.frames, (len(heard) + half - 1) // self.hop + 1)
        # As if the recording went on with silence to the end, and both ends were mirrored.
        needed = (frames - 1) * self.hop + half
        whole = torch.zeros(max(min(needed, self.samples), half + 1))
        whole[: len(heard)] = heard[: len(whole)]
        parts = [whole[1 : half + 1].flip(0), whole]
        if needed > self.samples:
            parts.append(whole[-half - 1 : -1].flip(0))
        spectrum = torch.stft(
            torch.cat(parts)[: (frames - 1) * self.hop + self.window],
            self.window,
            self.hop,
            window=self._weights,
            center=False,
            return_complex=True,
        )
        power = spectrum.real.square() + spectrum.imag.square()
        loud = (self.filters @ power).clamp(min=1e-10).log10()
        silence = -10.0
        top = max(float(loud.max()), silence) if frames < self.frames else float(loud.max())
        return (loud.clamp(min=top - 8.0) + 4.0) / 4.0, (max(silence, top - 8.0) + 4.0) / 4.0

    def whole(self, parts: Sequence[tuple[Tensor, float]]) -> Tensor:
        """Several recordings at full length, float32 [recordings, bins, frames]."""
        found = torch.empty(len(parts), self.bins, self.frames)
        for place, (frames, silence) in zip(found, parts, strict=True):
            place[:, : frames.shape[1]] = frames
            place[:, frames.shape[1] :] = silence
        return found

    def to_json(self) -> Mapping[str, Any]:
        """What transformers' ``WhisperFeatureExtractor`` reads."""
        return {
            "feature_extractor_type": "WhisperFeatureExtractor",
            "processor_class": "WhisperProcessor",
            "feature_size": self.bins,
            "sampling_rate": self.rate,
            "hop_length": self.hop,
            "n_fft": self.window,
            "chunk_length": int(self.seconds),
            "n_samples": self.samples,
            "nb_max_frames": self.frames,
            "padding_value": 0.0,
            "padding_side": "right",
            "return_attention_mask": False,
        }


_LINEAR_HERTZ, _PER_MEL = 1000.0, 200.0 / 3.0
_STEP = np.log(6.4) / 27.0


def _mel(hertz: float) -> float:
    if hertz < _LINEAR_HERTZ:
        return hertz / _PER_MEL
    return float(_LINEAR_HERTZ / _PER_MEL + np.log(hertz / _LINEAR_HERTZ) / _STEP)


def _hertz(mel: np.ndarray) -> np.ndarray:
    bent = _LINEAR_HERTZ / _PER_MEL
    return np.where(mel < bent, mel * _PER_MEL, _LINEAR_HERTZ * np.exp(_STEP * (mel - bent)))
