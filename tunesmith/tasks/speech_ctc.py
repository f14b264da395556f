"""Speech to text by CTC: wav2vec2, HuBERT and WavLM with a vocabulary made of the transcripts. It knows no loop."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn

from tunesmith.errors import UserError
from tunesmith.model.frame_labels import (
    collapsed,
    ctc_sum,
    frame_logits,
    frames_of,
    rows_apart,
    speech_layers,
)
from tunesmith.model.layers import LayerGroups
from tunesmith.model.pretrained import load_config, load_model, quiet
from tunesmith.model.transcript_fit import Fit, ctc_fits
from tunesmith.speech.audio import AUDIO_RATE
from tunesmith.speech.augment import settings_of
from tunesmith.speech.task import SpeechOptions, SpeechTask
from tunesmith.types import Batch, Counts, Example, Facts, Finding, Row, Sums

FAMILIES = ("wav2vec2", "hubert", "wavlm", "wav2vec2-conformer", "unispeech", "unispeech-sat", "data2vec-audio")
PAD, SPACE, UNKNOWN = "<pad>", "|", "<unk>"
CASES: Mapping[str, Callable[[str], str]] = {"lower": str.lower, "upper": str.upper, "keep": str}
ROUNDING = (
    "sums over rows and frames in another order: in fp32 up to about 1.3e-6 apart, whether or not recordings vary, and "
    "in fp64 below 1e-12"
)
PAUSE, LINE = 0.6, 60
"""Seconds between words, and characters, after which a new part of a transcript begins."""


class SpeechCTCOptions(SpeechOptions):
    """Settings of speech to text by CTC."""

    case: Literal["lower", "upper", "keep"] = Field("lower", description="How transcripts are written.")
    punctuation: Literal["drop", "keep"] = Field(
        "drop", description="Whether punctuation is learned; apostrophes inside words always are."
    )
    vocabulary: Literal["auto", "new"] = Field(
        "auto",
        description="The characters that are written: auto takes the model's own where they hold all of the "
        "transcripts', else new ones are made.",
    )


class SpeechCTC(SpeechTask):
    """A recording to its transcript, by an encoder that labels frames."""

    name = "speech-ctc"
    Options = SpeechCTCOptions
    finding_codes = (*SpeechTask.finding_codes, "beyond-frames")
    exceptions: ClassVar[Mapping[str, str]] = {"accumulation": ROUNDING, "two-ranks": ROUNDING}
    options: SpeechCTCOptions

    def written(self, text: str) -> str:
        """A transcript as it is learned."""
        found = CASES[self.options.case](unicodedata.normalize("NFKC", text))
        if self.options.punctuation == "drop":
            found = "".join(
                c if unicodedata.category(c)[0] not in "PS" or _inside(found, i) else " " for i, c in enumerate(found)
            )
        return " ".join(found.replace(SPACE, " ").split())

    # Facts

    @cached_property
    def _own_vocabulary(self) -> list[str] | None:
        """What the weights write, by number; None where they have no characters."""
        file = Path(self.source.folder) / "vocab.json"
        if not file.is_file():
            return None
        try:
            numbers: Mapping[str, int] = json.loads(file.read_text(encoding="utf-8"))
            names = sorted(numbers, key=lambda name: numbers[name])
        except (ValueError, TypeError, AttributeError) as fault:
            raise UserError(f"vocab.json is no vocabulary: {fault}", str(file), "fetch the model again") from fault
        right = [numbers[name] for name in names] == list(range(len(names))) and names[:1] == [PAD] and SPACE in names
        return names if right else None

    def survey(self, rows: Sequence[Row]) -> Facts:
        """Languages, hours, and the characters of the transcripts."""
        values, lines = self.speech_facts(rows)
        wanted = sorted({c for row in rows for c in self.written(str(row.get("text") or "")) if c != " "})
        own = self._own_vocabulary if self.options.vocabulary == "auto" else None
        if own is not None and set(wanted) <= set(own):
            values["vocabulary"] = own
            lines.append(f"the model's own {len(own)} characters are written")
        else:
            values["vocabulary"] = [PAD, SPACE, UNKNOWN, *(c for c in wanted if c != SPACE)]
            lines.append(f"a new vocabulary of {len(wanted)} characters: {' '.join(wanted[:80])}")
        if settings_of(self.options.augment).mask.probability:
            lines.append("options.augment.mask changes nothing here: it masks spectrograms, and this model hears waves")
        return Facts(values, tuple(lines))

    @property
    def vocabulary(self) -> list[str]:
        """Characters by number."""
        return [str(name) for name in self.facts.values["vocabulary"]]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.vocabulary)} | {" ": self.vocabulary.index(SPACE)}

    def audit(self, train: Sequence[Row], held_out: Sequence[Row]) -> Iterable[Finding]:
        """Recordings and transcripts at fault; transcripts with more characters than their recording has frames."""
        yield from self.speech_findings(train, held_out)
        beyond = []
        for row in train:
            text = self.written(str(row.get("text") or ""))
            repeats = sum(a == b for a, b in pairwise(text))
            frames = frames_of(self.config, round(float(row.get("seconds") or 0) * AUDIO_RATE))
            if row.get("seconds") and len(text) + repeats > frames:
                beyond.append(str(row["id"]))
        if beyond:
            yield Finding(
                "beyond-frames",
                "error",
                f"{len(beyond):,} transcripts have more characters than their recordings have frames of 20 ms",
                "text",
                "mend the transcripts, or their start and end",
                tuple(beyond[:5]),
                len(beyond) / len(train),
            )

    def limits(self, rows: Iterable[Row]) -> dict[str, Any]:
        """The characters that transcripts may hold."""
        known = {c for name in self.vocabulary for c in (name, name.lower(), name.upper()) if len(c) == 1}
        if self.options.punctuation == "drop":
            known |= {c for row in rows for c in str(row.get("text") or "") if not c.isalnum()}
        return {"vocabulary": known}

    def fits(self, model: nn.Module, row: Row, texts: Sequence[str]) -> list[Fit]:
        """How well each text fits; None of these where the weights never wrote characters."""
        if not self._known or self.fresh:
            return []
        batch = self.collate([self.encode({**row, "text": text}) for text in texts])
        device = next(model.parameters()).device
        one = batch["waves"][:1].to(device), batch["lengths"][:1], batch["heard"][:1].to(device)
        labels = [part[part >= 0].tolist() for part in batch["labels"]]
        return ctc_fits(frame_logits(model, *one), frames_of(self.config, batch["lengths"][0]), labels)

    # The model

    @cached_property
    def config(self) -> Any:
        """The model's configuration with our characters, without random masks of its own.

        Raises:
            UserError: It is of no family that labels frames.
        """
        found = load_config(self.source)
        if found.model_type not in FAMILIES:
            raise UserError(
                f"model: {self.source.name!r} is {found.model_type}, and speech-ctc takes encoders of sound",
                str(self.source.folder),
                f"choose one of these families: {', '.join(FAMILIES)}; for Whisper write task: speech-to-text",
            )
        found.apply_spec_augment = False
        if "vocabulary" in self.facts.values:
            found.vocab_size, found.pad_token_id = len(self.vocabulary), 0
        return found

    @property
    def _known(self) -> bool:
        return self._own_vocabulary == self.vocabulary

    def load(self) -> nn.Module:
        """The encoder with a layer of our characters, fresh where the weights write others."""
        from transformers import AutoModelForCTC

        model, fresh = load_model(AutoModelForCTC, self.source, self.config)
        head = frozenset(f"lm_head.{key}" for key, _ in model.lm_head.named_parameters())
        if not self._known and not fresh & head:
            # A layer for as many other characters fits in shape alone.
            nn.init.normal_(model.lm_head.weight, std=float(self.config.initializer_range))
            nn.init.zeros_(model.lm_head.bias)
        self.fresh = fresh if self._known else fresh | head
        rows_apart(model)
        return model  # type: ignore[no-any-return]

    def skeleton(self) -> nn.Module:
        """Its shape."""
        from transformers import AutoModelForCTC

        with torch.device("meta"), quiet():
            model: nn.Module = AutoModelForCTC.from_config(self.config)
        self.fresh = frozenset() if self._known else frozenset(f"lm_head.{key}" for key in ("weight", "bias"))
        rows_apart(model)
        return model

    def layers(self, model: nn.Module) -> LayerGroups:
        """The transformer's blocks; the convolutions that hear are below them."""
        return speech_layers(model, self.fresh)

    def stages(self, blocks: int) -> list[Any]:
        """The new layer, then the transformer; the convolutions stay."""
        from tunesmith.recipe import Stage, Top

        return [Stage(train="head", epochs=5, lr=1e-3), Stage(train=Top(top=blocks), epochs=15, lr=1e-4)]

    # Rows to sums

    @cached_property
    def _normalised(self) -> bool:
        file = Path(self.source.folder) / "preprocessor_config.json"
        if not file.is_file():
            return True
        try:
            return bool(json.loads(file.read_text(encoding="utf-8")).get("do_normalize", True))
        except (ValueError, AttributeError) as fault:
            raise UserError(f"{file.name} is no JSON: {fault}", str(file), "fetch the model again") from fault

    def _fed(self, wave: np.ndarray) -> np.ndarray:
        """A wave as the model wants it; too short a one with silence behind it."""
        least = next(n for n in range(1, 2000) if frames_of(self.config, n) == 1)
        if len(wave) < least:
            wave = np.pad(wave, (0, least - len(wave)))
        return (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7) if self._normalised else wave

    def encode(self, row: Row, rng: np.random.Generator | None = None) -> Example:
        """The wave, and the numbers of the characters."""
        wave = self.heard(row, rng)
        found: dict[str, Any] = {"wave": torch.from_numpy(np.ascontiguousarray(self._fed(wave), dtype=np.float32))}
        if len(wave) > AUDIO_RATE * self.longest:
            found["whole"] = wave
        if row.get("text") is not None:
            # What can't be written is unknown, or left out where there is no such label: a blank is no target.
            unknown = self._numbers.get(UNKNOWN)
            numbers = (self._numbers.get(c, unknown) for c in self.written(str(row["text"])))
            labels = [number for number in numbers if number is not None]
            found["labels"] = torch.tensor(labels, dtype=torch.int64)
        return found

    def length(self, example: Example) -> int:
        """Frames."""
        return frames_of(self.config, len(example["wave"]))

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Waves filled up with silence, which frames lie before it, and labels filled up with -1."""
        lengths = [len(e["wave"]) for e in examples]
        batch: Batch = {"waves": torch.zeros(len(examples), max(lengths)), "lengths": lengths}
        for place, example in zip(batch["waves"], examples, strict=True):
            place[: len(example["wave"])] = example["wave"]
        frames = torch.tensor([frames_of(self.config, n) for n in lengths])
        batch["heard"] = torch.arange(int(frames.max())) < frames[:, None]
        batch["whole"] = [e.get("whole") for e in examples]
        if all("labels" in e for e in examples):
            batch["labels"] = nn.utils.rnn.pad_sequence([e["labels"] for e in examples], True, -1)
            batch["characters"] = [len(e["labels"]) for e in examples]
        return batch

    def count(self, batch: Batch) -> Counts:
        """Characters."""
        return {"characters": float(max(1, sum(batch["characters"])))}

    def loss(self, model: nn.Module, batch: Batch) -> Sums:
        """CTC, summed."""
        frames = [frames_of(self.config, n) for n in batch["lengths"]]
        logits = frame_logits(model, batch["waves"], batch["lengths"], batch["heard"])
        labels = batch["labels"] if logits.is_meta else batch["labels"][batch["labels"] >= 0]
        return {"characters": ctc_sum(logits, frames, labels, batch["characters"])}

    # Transcripts

    def predict(self, model: nn.Module, batch: Batch) -> list[Any]:
        """The likeliest label of every frame, repeats and blanks left out, with the times of its words."""
        if any(whole is not None for whole in batch["whole"]):
            return [self._one(model, batch, i) for i in range(len(batch["lengths"]))]
        logits = frame_logits(model, batch["waves"], batch["lengths"], batch["heard"])
        frames = [frames_of(self.config, n) for n in batch["lengths"]]
        best = logits.argmax(-1).tolist()
        return [self._said(row[:n]) for row, n in zip(best, frames, strict=True)]

    def _one(self, model: nn.Module, batch: Batch, index: int) -> dict[str, Any]:
        device = batch["waves"].device

        def hear(parts: Sequence[np.ndarray]) -> list[dict[str, Any]]:
            fed = [torch.from_numpy(np.ascontiguousarray(self._fed(part), dtype=np.float32)) for part in parts]
            some = self.collate([{"wave": one} for one in fed])
            return self.predict(model, some | {name: some[name].to(device) for name in ("waves", "heard")})

        whole = batch["whole"][index]
        if whole is not None:
            return self.in_windows(whole, hear)
        fed = self.collate([{"wave": batch["waves"][index, : batch["lengths"][index]].cpu()}])
        found = self.predict(model, fed | {name: fed[name].to(device) for name in ("waves", "heard")})
        return found[0]  # type: ignore[no-any-return]

    def _said(self, best: Sequence[int]) -> dict[str, Any]:
        step = float(np.prod(self.config.conv_stride)) / AUDIO_RATE
        words: list[tuple[str, float, float]] = []
        held, start, end = "", 0.0, 0.0
        for label, at in [*collapsed(best), (self._numbers[" "], len(best))]:
            name = self.vocabulary[label]
            if name == SPACE:
                if held:
                    words.append((held, start, end))
                held = ""
                continue
            if name == UNKNOWN:
                continue
            start, end = (at * step if not held else start), (at + 1) * step
            held += name
        return {
            "text": " ".join(word for word, _, _ in words),
            "ended": True,
            "segments": _parts(words),
        }

    def bases(self, model: nn.Module, train: Sequence[Row]) -> dict[str, Any]:
        """The model as it came, or silence where it never wrote these characters."""
        if self._known and not self.fresh:
            return {"pretrained recognizer": self.predict}

        def nothing(_model: nn.Module, batch: Batch) -> list[Any]:
            return [{"text": "", "ended": True, "segments": []} for _ in batch["lengths"]]

        return {"nothing written": nothing}

    # Saving

    def save_processor(self, folder: Path) -> None:
        """Characters and how sound is fed, as transformers reads them."""
        from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2Processor

        file = folder / "vocab.json"
        names = {name: i for i, name in enumerate(self.vocabulary)}
        file.write_text(json.dumps(names, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        with quiet():
            tokenizer = Wav2Vec2CTCTokenizer(
                str(file),
                unk_token=UNKNOWN if UNKNOWN in names else PAD,
                pad_token=PAD,
                word_delimiter_token=SPACE,
                bos_token=None,
                eos_token=None,
            )
            feeds = Wav2Vec2FeatureExtractor(
                do_normalize=self._normalised,
                return_attention_mask=getattr(self.config, "feat_extract_norm", "layer") != "group",
            )
            Wav2Vec2Processor(feeds, tokenizer).save_pretrained(folder)
        if not file.is_file():
            file.write_text(json.dumps(names, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    def load_snippet(self, folder: str) -> str:
        """Loading without this project."""
        return (
            "from transformers import AutoModelForCTC, AutoProcessor\n\n"
            f'model = AutoModelForCTC.from_pretrained("{folder}")\n'
            f'processor = AutoProcessor.from_pretrained("{folder}")\n'
            'inputs = processor(wave, sampling_rate=16000, return_tensors="pt")  # mono\n'
            "print(processor.batch_decode(model(**inputs).logits.argmax(-1))[0])"
        )


def _inside(text: str, at: int) -> bool:
    """Whether a character is an apostrophe between two letters."""
    return text[at] in "'’" and 0 < at < len(text) - 1 and text[at - 1].isalpha() and text[at + 1].isalpha()


def _parts(words: Sequence[tuple[str, float, float]]) -> list[dict[str, Any]]:
    """Words as parts of a transcript, a new one after a pause or a full line."""
    found: list[dict[str, Any]] = []
    for word, start, end in words:
        last = found[-1] if found else None
        if last is None or start - last["end"] > PAUSE or len(last["text"]) + len(word) >= LINE:
            found.append({"start": round(start, 2), "end": round(end, 2), "text": word})
        else:
            last["end"], last["text"] = round(end, 2), f"{last['text']} {word}"
    return found
