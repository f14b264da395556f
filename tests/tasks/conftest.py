"""Tiny worlds: real architectures and a real tokenizer at a size that loads in milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tunesmith.model.weights import Weights, resolve
from tunesmith.recipe import ModelSection

TEXT = """
a the this film story plot actor music scene ending was is and but very really not so never always
good great lovely warm bright clever bad poor dull cold weak sloppy boring moving funny sad slow quick
"""
WORDS = TEXT.split()
GOOD, BAD = WORDS[20:26], WORDS[26:32]


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Operations of microseconds gain nothing from a second thread, and wait for it wherever the machine is busy."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sentences(count: int = 16) -> list[dict[str, Any]]:
    """Sentences of different length, half of each label."""
    rows = []
    for i in range(count):
        label, words = ("positive", GOOD) if i % 2 else ("negative", BAD)
        text = ["the", WORDS[3 + i % 6], "was", *([words[(i * 5) % 6], "and"] * (i // 3)), words[i % 6]]
        rows.append({"id": f"row-{i}", "text": " ".join(text), "label": label})
    return rows


def write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: i for i, word in enumerate([*special, *dict.fromkeys(WORDS)])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
    ).save_pretrained(folder)


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """A BERT of four blocks, hidden 32, dropout 0.1, random weights."""
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny-bert")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=64,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.0,
    )
    BertModel(config).save_pretrained(folder)
    write_tokenizer(folder)
    return resolve(ModelSection(name=str(folder)))


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """A Llama-type decoder of four blocks, hidden 32, random weights."""
    import torch
    from transformers import LlamaConfig, LlamaModel

    folder = tmp_path_factory.mktemp("tiny-llama")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        pad_token_id=0,
    )
    LlamaModel(config).save_pretrained(folder)
    write_tokenizer(folder)
    return resolve(ModelSection(name=str(folder)))


@pytest.fixture(scope="session")
def rows() -> list[dict[str, Any]]:
    return sentences()
