"""Speech to text by Whisper: recordings to transcripts, with times where they are wanted. It knows no loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from tunesmith.data.digest import digest_number
from tunesmith.errors import UserError
from tunesmith.model.layers import LayerGroups
from tunesmith.model.log_mel import FILE, LogMel
from tunesmith.model.pretrained import load_config, load_model
from tunesmith.model.transcript_fit import Fit, whisper_fits
from tunesmith.model.whisper import IGNORED, Prompting, languages_heard, transcribed, transcript_sum
from tunesmith.speech.audio import AUDIO_RATE
from tunesmith.speech.augment import settings_of
from tunesmith.speech.findings import LONG_SLACK_SECONDS
from tunesmith.speech.normalize import unit_of
from tunesmith.speech.subtitles import joined
from tunesmith.speech.task import SpeechOptions, SpeechTask
from tunesmith.types import Batch, Counts, Example, Facts, Finding, Row, Sums


class SpeechToTextOptions(SpeechOptions):
    """Settings of speech to text."""

    write: Literal["transcribe", "translate"] = Field(
        "transcribe", description="What the model is told to write: what was said, or that in English."
    )
    timestamps: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="Share of training rows that are learned with their times, so that the model keeps them."
    )
    max_new_tokens: Annotated[int, Field(gt=0, le=444)] | Literal["auto"] = Field(
        "auto", description="Most tokens of a transcript; auto takes half more than the longest training transcript."
    )
    check_transcripts: bool = Field(
        False,
        description="Let the model transcribe all rows before it learns, and name those whose text is far from that.",
    )


class SpeechToText(SpeechTask):
    """A recording to its transcript, by a Whisper of any size."""

    name = "speech-to-text"
    Options = SpeechToTextOptions
    # peft has a class for sequence to sequence, whose forward hands Whisper inputs that it does not take.
    adapter_type = None
    exports: ClassVar[Mapping[str, str]] = {"ctranslate2": "", "ggml": ".bin"}
    finding_codes = (*SpeechTask.finding_codes, "no-language")
    options: SpeechToTextOptions

    @cached_property
    def config(self) -> Any:
        """The model's configuration, without random masks of its own: the recipe's are drawn by row.

        Raises:
            UserError: It is no Whisper.
        """
        found = load_config(self.source)
        if found.model_type != "whisper":
            raise UserError(
                f"model: {self.source.name!r} is {found.model_type}, and speech-to-text takes Whisper",
                str(self.source.folder),
                "choose a Whisper, or write task: speech-ctc for wav2vec2, HuBERT and WavLM",
            )
        found.apply_spec_augment = False
        return found

    @cached_property
    def prompting(self) -> Prompting:
        """How transcripts are asked for."""
        return Prompting(self.tokenizer, str(self.source.folder))

    @cached_property
    def listener(self) -> LogMel:
        """How the model hears."""
        folder = self.saved if self.saved is not None and (self.saved / FILE).is_file() else self.source.folder
        return LogMel.read(Path(folder), int(self.config.num_mel_bins))

    @property
    def hears(self) -> float:
        """Seconds that this Whisper hears at once; while no weights are named, as long as any does."""
        if self.source.folder == Path() and self.saved is None:
            return self.longest
        return min(self.longest, self.listener.seconds)

    # Facts

    def survey(self, rows: Sequence[Row]) -> Facts:
        """Languages, hours, lengths of transcripts."""
        room = int(self.config.max_target_positions) - 4  # a model of another kind is named before its tokenizer
        values, lines = self.speech_facts(rows)
        counts = [len(self.written(row)) for row in rows if row.get("text") is not None]
        longest = max(counts, default=0)
        most = self.options.max_new_tokens
        values["max_new_tokens"] = most if isinstance(most, int) else min(room, max(16, longest + longest // 2))
        language = values["language"] or ("en" if not self.prompting.languages else None)
        values["language"] = language
        example = next(iter(rows), {})
        prefix = self.prompting.prefix(example.get("language") or language or "en", self.options.write)
        shown = "".join(self.tokenizer.convert_ids_to_tokens(prefix))
        lines.append(f"before each transcript stands {shown}, once; the longest has {longest} tokens")
        if getattr(load_config(self.source), "apply_spec_augment", False):
            lines.append("the model's own random masks are off: options.augment.mask draws them by row")
        return Facts(values, tuple(lines))

    def audit(self, train: Sequence[Row], held_out: Sequence[Row]) -> Iterable[Finding]:
        """Recordings and transcripts at fault; languages that nobody named."""
        rows = [*train, *held_out]
        unnamed = [row for row in rows if self.language_of(row) is None] if self.prompting.languages else []
        if unnamed:
            yield Finding(
                "no-language",
                "error",
                f"{len(unnamed):,} rows name no language, and this model must be told one",
                "language",
                "write options: {language: en}, or a column language",
                tuple(str(row["id"]) for row in unnamed[:5]),
                len(unnamed) / len(rows),
            )
            return
        for language in dict.fromkeys(self.language_of(row) for row in rows):
            self.prompting.prefix(language, self.options.write)
        check = self.options.check_transcripts and self.source.files
        yield from self.speech_findings(train, held_out, hypotheses=self.hypotheses(rows) if check else None)

    def limits(self, rows: Iterable[Row]) -> dict[str, Any]:
        """How many tokens a transcript has, and how many the decoder has room for."""
        count = lambda text: len(self.tokenizer(text, add_special_tokens=False).input_ids) + 5  # noqa: E731
        return {"most_label_tokens": count, "token_limit": int(self.config.max_target_positions)}

    def fits(self, model: nn.Module, row: Row, texts: Sequence[str]) -> list[Fit]:
        """How well each text fits, token by token, by one pass of the encoder over what was recorded."""
        frames, silence = self.listener(self.wave(row))
        prefix = self.prompting.prefix(self.language_of(row), self.options.write)
        written = [self.written({**row, "text": text}) for text in texts]
        return whisper_fits(
            model, self.listener.whole([(frames, silence)]), frames.shape[1], prefix, written, self.prompting
        )

    def language_heard(self, model: nn.Module, row: Row) -> str | None:
        """The code of the language that a row names, else of the one that its first seconds sound like.

        Raises:
            UserError: The model does not know the language, or the recording can't be read.
        """
        named = self.language_of(row)
        if named is not None or not self.prompting.languages:
            return self.prompting.code(named)
        heard = self.listener(self.wave(row)[: self.listener.samples])
        features = self.listener.whole([heard]).to(next(model.parameters()).device)
        with torch.inference_mode():
            return languages_heard(model, features, self.prompting)[0]

    # The model

    def load(self) -> nn.Module:
        """The whole model."""
        from transformers import WhisperForConditionalGeneration

        model, self.fresh = load_model(WhisperForConditionalGeneration, self.source, self.config)
        if len(self.fresh) > len(list(model.parameters())) // 2:
            what = f"model: {self.source.name!r} holds no weights of a Whisper"
            raise UserError(what, str(self.source.folder), "choose a whole Whisper checkpoint")
        return model  # type: ignore[no-any-return]

    def skeleton(self) -> nn.Module:
        """Its shape."""
        from transformers import WhisperForConditionalGeneration

        with torch.device("meta"):
            shape: nn.Module = WhisperForConditionalGeneration(self.config)
        return shape

    def layers(self, model: nn.Module) -> LayerGroups:
        """The encoder's blocks, then the decoder's; the vectors of tokens are read and written with, and learn last."""
        return LayerGroups.of(model, trunk=model.get_submodule("model"), fresh=self.fresh)

    def stages(self, blocks: int) -> list[Any]:
        """The decoder on a frozen encoder, then the top of the encoder with it."""
        from tunesmith.recipe import Stage, Top

        decoder = int(self.config.decoder_layers)
        encoder = max(1, (blocks - decoder) // 3)
        return [
            Stage(train=Top(top=decoder), epochs=5, lr=3e-5),
            Stage(train=Top(top=decoder + encoder), epochs=2, lr=1e-5),
        ]

    # Rows to sums

    def written(self, row: Row) -> list[int]:
        """The tokens of a transcript alone. Whisper begins words with a space, the first one, too."""
        text = " ".join(str(row["text"]).split())
        spaced = unit_of(self.language_of(row), text) == "word"
        found = self.tokenizer((" " if spaced and text else "") + text, add_special_tokens=False).input_ids
        return [int(token) for token in found]

    def encode(self, row: Row, rng: np.random.Generator | None = None) -> Example:
        """What the model hears of a recording, what its decoder reads, and what follows each token."""
        wave = self.heard(row, rng)
        prefix = self.prompting.prefix(self.language_of(row), self.options.write)
        if len(wave) <= self.listener.samples + LONG_SLACK_SECONDS * AUDIO_RATE:
            # What the audit lets pass as 30 seconds may be some milliseconds more.
            wave = wave[: self.listener.samples]
        if len(wave) > self.listener.samples:
            # Only where it is to be transcribed: the audit lets none be learned.
            return {"wave": wave, "prefix": torch.tensor(prefix), "frames": None, "silence": 0.0}
        frames, silence = self.listener(wave)
        if rng is not None and self.random and settings_of(self.options.augment).mask.probability:
            masked = self.augmenter.features(frames.numpy().copy(), rng)
            frames = torch.from_numpy(np.ascontiguousarray(masked, dtype=np.float32))
        found: dict[str, Any] = {"frames": frames, "silence": silence, "prefix": torch.tensor(prefix), "wave": None}
        if row.get("text") is not None:
            start, tokens = self._script(row, wave)
            targets = [IGNORED] * (len(start) - 1) + tokens[len(start) :] + [self.prompting.end]
            found |= {"tokens": torch.tensor(tokens), "targets": torch.tensor(targets)}
        return found

    def _timed(self, row: Row) -> bool:
        """Whether a row is learned with its times: by its id, in every epoch, so that what was recorded stays true."""
        return digest_number(str(row["id"]).encode()) < self.options.timestamps * 2**64

    def _script(self, row: Row, wave: np.ndarray) -> tuple[list[int], list[int]]:
        """The prefix, and all that the decoder reads."""
        timed = self._timed(row)
        prefix = self.prompting.prefix(self.language_of(row), self.options.write, times=timed)
        words = self.written(row)
        if not timed:
            return prefix, [*prefix, *words]
        seconds = len(wave) / AUDIO_RATE
        return prefix, [*prefix, self.prompting.time(0.0), *words, self.prompting.time(seconds)]

    def spans(self, row: Row) -> list[tuple[str, bool]]:
        """The prefix, which is read, and the transcript with its end, which is learned."""
        prefix, tokens = self._script(row, self.wave(row))
        return [
            (self.prompting.shown(prefix), False),
            (self.prompting.shown([*tokens[len(prefix) :], self.prompting.end]), True),
        ]

    def row_length(self, row: Row) -> int | None:
        """Tokens that the decoder reads, however the recording sounds."""
        if row.get("text") is None:
            return None
        timed = self._timed(row)
        prefix = self.prompting.prefix(self.language_of(row), self.options.write, times=timed)
        return len(prefix) + len(self.written(row)) + (2 if timed else 0)

    def length(self, example: Example) -> int:
        """Tokens that the decoder reads."""
        return len(example["tokens"]) if "tokens" in example else 1

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Recordings at full length, transcripts filled up behind their ends."""
        short = [e for e in examples if e["frames"] is not None]
        batch: Batch = {
            "features": self.listener.whole([(e["frames"], e["silence"]) for e in short]),
            "prefix": torch.stack([e["prefix"] for e in examples]),
            "waves": [e["wave"] for e in examples],
        }
        if all("tokens" in e for e in examples):
            longest = max(len(e["tokens"]) for e in examples)
            for key, fill in (("tokens", self.prompting.end), ("targets", IGNORED)):
                batch[key] = torch.full((len(examples), longest), fill)
                for place, example in zip(batch[key], examples, strict=True):
                    place[: len(example[key])] = example[key]
            batch["learned"] = float(sum(int((e["targets"] != IGNORED).sum()) for e in examples))
        return batch

    def count(self, batch: Batch) -> Counts:
        """Learned tokens.

        Raises:
            UserError: A recording is longer than the model hears, which somebody accepted.
        """
        if "learned" not in batch:
            what = f"a row is longer than the {self.hears:g} seconds that this model hears, and can't be learned"
            raise UserError(
                what, "recipe: audit.accept", "don't accept too-long; give the times of words, or leave it out"
            )
        return {"tokens": batch["learned"]}

    def loss(self, model: nn.Module, batch: Batch) -> Sums:
        """Cross-entropy summed over learned tokens."""
        return {"tokens": transcript_sum(model, batch["features"], batch["tokens"], batch["targets"])}

    # Transcripts

    def predict(self, model: nn.Module, batch: Batch) -> list[Any]:
        """What was said, whether the transcript ended by itself, and its parts with times where they are wanted."""
        said: list[Any] = []
        for wave in batch["waves"]:
            said.append(None if wave is None else self._long(model, wave, batch["prefix"][len(said)]))
        short = [i for i, one in enumerate(said) if one is None]
        if short:
            found = self._texts(model, batch["features"], batch["prefix"][short], times=self._times)
            for i, one in zip(short, found, strict=True):
                said[i] = one
        return said

    @property
    def _times(self) -> bool:
        """Whether answers carry times: for a person, where the tokenizer has them."""
        return self.for_person and self.prompting.first_time is not None

    def _texts(
        self, model: nn.Module, features: Tensor, prefix: Tensor, *, times: bool, lengths: Sequence[float] | None = None
    ) -> list[dict[str, Any]]:
        if times:
            prefix = prefix[:, :-1]
        most = int(self.facts.values.get("max_new_tokens", 440))
        # With times there are two tokens more a part; and what a person brings may be longer than what was learned.
        most = 440 if times else most
        found = transcribed(model, features, prefix, most=most, prompting=self.prompting, times=times)
        said = []
        for i, one in enumerate(found):
            length = lengths[i] if lengths else self.listener.seconds
            parts = self.prompting.timed(one.tokens, length) if times else [(0.0, length, list(one.tokens))]
            texts = [self.tokenizer.decode(ids, skip_special_tokens=True).strip() for _, _, ids in parts]
            answer: dict[str, Any] = {"text": joined(texts), "ended": one.ended}
            if times:
                answer["segments"] = [
                    {"start": round(start, 2), "end": round(end, 2), "text": text}
                    for (start, end, _), text in zip(parts, texts, strict=True)
                    if text
                ]
            said.append(answer)
        return said

    def _long(self, model: nn.Module, wave: np.ndarray, prefix: Tensor) -> dict[str, Any]:
        times = self.prompting.first_time is not None

        def hear(parts: Sequence[np.ndarray]) -> list[dict[str, Any]]:
            features = self.listener.whole([self.listener(one) for one in parts]).to(prefix.device)
            lengths = [len(one) / AUDIO_RATE for one in parts]
            several = prefix[None].expand(len(parts), -1)
            return self._texts(model, features, several, times=times, lengths=lengths)

        return self.in_windows(wave, hear)

    def bases(self, model: nn.Module, train: Sequence[Row]) -> dict[str, Any]:
        """The model as it came."""
        return {"pretrained Whisper": self.predict}

    # Saving

    def save(self, model: nn.Module, folder: Path) -> None:
        """A transformers folder that speaks the language and task that were learned."""
        settings: Any = model.generation_config
        before = (getattr(settings, "language", None), getattr(settings, "task", None))
        language = self.facts.values.get("language")
        if language is not None and self.prompting.languages:
            settings.language, settings.task = self.prompting.code(language), self.options.write
        try:
            super().save(model, folder)
        finally:
            settings.language, settings.task = before

    def load_snippet(self, folder: str) -> str:
        """Loading without this project."""
        if self.adapted:
            base = str(self.source.name)
            first = (
                "from peft import PeftModel\n"
                "from transformers import WhisperForConditionalGeneration, WhisperProcessor\n\n"
                f'model = WhisperForConditionalGeneration.from_pretrained("{base}")\n'
                f'model = PeftModel.from_pretrained(model, "{folder}")\n'
            )
        else:
            first = (
                "from transformers import WhisperForConditionalGeneration, WhisperProcessor\n\n"
                f'model = WhisperForConditionalGeneration.from_pretrained("{folder}")\n'
            )
        return (
            f'{first}processor = WhisperProcessor.from_pretrained("{folder}")\n'
            'inputs = processor(wave, sampling_rate=16000, return_tensors="pt")  # mono\n'
            "print(processor.batch_decode(model.generate(**inputs), skip_special_tokens=True)[0])"
        )

    def export(self, format: str, model: nn.Module, rows: Sequence[Row], file: Path) -> dict[str, Any]:
        """Write the model for faster-whisper or whisper.cpp, which must transcribe recordings as it does."""
        from tunesmith.speech.deployment import export_whisper

        return export_whisper(self, format, model, rows, file)
