"""A reply's text as its tokens come: whole letters, no beginning of a stop, and in the end all of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.fixtures.small_decoders import write_tokenizer
from tunesmith.asking.spoken import Spoken, token_bytes
from tunesmith.asking.steps import first_stop, nucleus, penalised


@pytest.mark.parametrize("stop", [(), ("STOP",), ("colour", "zz"), ("né",), ("aab",)])
@pytest.mark.parametrize("text", ["the colour = grün, né?", "日本語 🙂 ends", "a  STO STOP more", "aaaab", ""])
def test_what_is_said_adds_up_to_the_reply(tmp_path: Path, text: str, stop: tuple[str, ...]) -> None:
    tokenizer = write_tokenizer(tmp_path)
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]

    def decode(some: Sequence[int]) -> str:
        return str(tokenizer.decode(list(some), skip_special_tokens=True))

    end = first_stop(text, stop)
    wanted = text if end is None else text[:end]
    spoken = Spoken(decode, stop)
    said = ""
    for count in range(1, len(tokens) + 1):
        said += spoken.add(tokens[:count])
        assert wanted.startswith(said)
    assert said + spoken.rest(wanted) == wanted
    assert b"".join(token_bytes(tokenizer, token) for token in tokens).decode() == text


def test_steps_cut_the_unlikely_and_lower_what_was_written() -> None:
    import torch

    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    for top_p, left in ((0.0, 1), (0.5, 1), (0.51, 2), (0.9, 3), (1.0, 4)):
        assert int(torch.isfinite(nucleus(1.0, top_p)([], logits)).sum()) == left
    # Hotter, the same share needs more tokens.
    assert int(torch.isfinite(nucleus(3.0, 0.51)([], logits)).sum()) == 2
    changed = penalised(0.5, 0.25, {3: 9.0})([1, 1, 2], logits) - logits
    assert changed.tolist() == pytest.approx([0.0, -1.0, -0.75, 9.0])
