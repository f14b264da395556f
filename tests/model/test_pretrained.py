"""Loading through transformers: what was not in the weights is named, and every fault is one line with a fix."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import torch

from tunesmith.errors import UserError
from tunesmith.model.pretrained import (
    absent_parameters,
    diffusers,
    load_config,
    load_model,
    load_tokenizer,
    longest_input,
    renew_output,
    stored_labels,
)
from tunesmith.model.weights import Weights, resolve
from tunesmith.recipe import ModelSection


def _families() -> Any:
    spec = spec_from_file_location("families", Path(__file__).parents[1] / "fixtures" / "families.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


families = _families()


def _save(folder: Path, family: str, *, head: bool, **changes: Any) -> Weights:
    from transformers import AutoModel

    torch.manual_seed(0)
    config = families.config_of(family, **changes)
    model = families.classifier_of(family, **changes) if head else AutoModel.from_config(config)
    model.save_pretrained(folder)
    return resolve(ModelSection(name=str(folder)))


def _loaded(source: Weights, **changes: Any) -> tuple[Any, frozenset[str]]:
    from transformers import AutoModelForSequenceClassification

    return load_model(AutoModelForSequenceClassification, source, load_config(source, **changes))


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra", "deberta-v2", "gpt2", "llama", "t5"])
def test_the_header_alone_names_what_loading_finds_fresh(tmp_path: Path, family: str) -> None:
    from transformers import AutoModelForSequenceClassification

    for head in (False, True):
        source = _save(tmp_path / f"{head}", family, head=head)
        _, fresh = _loaded(source)
        with torch.device("meta"):
            shape = AutoModelForSequenceClassification.from_config(load_config(source))
        assert absent_parameters(source, shape) == fresh
        assert bool(fresh) != head


def test_another_label_count_makes_the_head_fresh(tmp_path: Path) -> None:
    source = _save(tmp_path, "bert", head=True)
    model, fresh = _loaded(source, num_labels=5)
    assert fresh == {"classifier.weight", "classifier.bias"}
    assert model.classifier.out_features == 5
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_renewing_the_output_touches_nothing_else(tmp_path: Path) -> None:
    source = _save(tmp_path, "roberta", head=True)
    model, fresh = _loaded(source)
    assert fresh == frozenset()
    before = {n: p.clone() for n, p in model.named_parameters()}
    head = {n for n in before if n.startswith("classifier.")}
    changed = renew_output(model, head, 3)
    assert changed == {"classifier.out_proj.weight", "classifier.out_proj.bias"}
    assert {n for n, p in model.named_parameters() if not torch.equal(p, before[n])} <= changed
    assert not torch.equal(model.classifier.out_proj.weight, before["classifier.out_proj.weight"])


def test_stored_labels_in_their_order(tmp_path: Path) -> None:
    source = _save(tmp_path, "bert", head=True, id2label={0: "b", 1: "a", 2: "c"}, label2id={"b": 0, "a": 1, "c": 2})
    assert stored_labels(load_config(source)) == ["b", "a", "c"]


def test_faults_are_one_line_with_a_fix(tmp_path: Path) -> None:
    source = _save(tmp_path / "model", "bert", head=False)
    with pytest.raises(UserError, match="its tokenizer can't be loaded") as fault:
        load_tokenizer(source)
    assert "tokenizer.json" in fault.value.fix
    other = tmp_path / "other"
    shutil.copytree(tmp_path / "model", other)
    for broken in ('{"model_type": "no-such-model"}', "{"):
        (other / "config.json").write_text(broken, encoding="utf-8")
        with pytest.raises(UserError, match="can't read the configuration") as fault:
            load_config(Weights("other", other, "folder", None, None, ()))
        assert "\n" not in fault.value.what
    vision = tmp_path / "vision"
    vision.mkdir()
    (vision / "config.json").write_text(json.dumps({"model_type": "vit"}), encoding="utf-8")
    place = Weights("vision", vision, "folder", None, None, ())
    from transformers import AutoModelForSequenceClassification

    with pytest.raises(UserError, match="can't be loaded as AutoModelForSequenceClassification"):
        load_model(AutoModelForSequenceClassification, place, load_config(place))


class _Tokenizer:
    def __init__(self, longest: int) -> None:
        self.model_max_length = longest


@pytest.mark.parametrize(
    ("family", "tokenizer", "longest"),
    [("bert", 10**30, 64), ("bert", 32, 32), ("roberta", 10**30, 62), ("mpnet", 10**30, 62), ("t5", 10**30, None),
     ("gpt2", 10**30, 64), ("distilbert", 128, 64)],
)  # fmt: skip
def test_the_longest_input(family: str, tokenizer: int, longest: int | None) -> None:
    assert longest_input(families.config_of(family), _Tokenizer(tokenizer)) == longest


@pytest.mark.parametrize("family", ["roberta", "mpnet", "camembert", "longformer"])
def test_the_longest_input_is_one_that_the_model_takes(family: str) -> None:
    longest = longest_input(families.config_of(family), _Tokenizer(10**30))
    assert longest is not None
    model = families.classifier_of(family).eval()
    with torch.no_grad():
        ids, mask = families.probe((longest,))
        assert torch.isfinite(model(input_ids=ids, attention_mask=mask).logits).all()
        ids, mask = families.probe((longest + 1,))
        with pytest.raises((IndexError, RuntimeError)):
            model(input_ids=ids, attention_mask=mask)


def test_a_library_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(UserError, match="needs the package diffusers") as fault:
        diffusers()
    assert "tunesmith[generation]" in fault.value.fix
