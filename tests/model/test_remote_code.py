"""Code that a model brings along runs only at the commit that the recipe names, and is recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tunesmith.errors import UserError
from tunesmith.model.pretrained import load_config, load_model
from tunesmith.model.weights import Weights

COMMIT = "0123abc"
CODE = """
import torch
from transformers import PretrainedConfig, PreTrainedModel


class OddConfig(PretrainedConfig):
    model_type = "odd"


class Odd(PreTrainedModel):
    config_class = OddConfig

    def __init__(self, config):
        super().__init__(config)
        self.layer = torch.nn.Linear(2, 2)
        self.post_init()

    def _init_weights(self, module):
        pass
"""


def folder_with_code(folder: Path, source: str = "odd_model") -> Path:
    folder.mkdir(parents=True)
    (folder / "odd_model.py").write_text(CODE)
    auto = {"AutoConfig": f"{source}.OddConfig", "AutoModel": f"{source}.Odd"}
    (folder / "config.json").write_text(json.dumps({"model_type": "odd", "auto_map": auto, "architectures": ["Odd"]}))
    save_file({"layer.weight": torch.ones(2, 2), "layer.bias": torch.zeros(2)}, folder / "model.safetensors")
    return folder


def weights(folder: Path, commit: str | None) -> Weights:
    return Weights("org/odd", folder, "hub", COMMIT, None, (folder / "model.safetensors",), remote_code=commit)


def test_without_a_named_commit_the_code_does_not_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="can't read the configuration"):
        load_config(weights(folder_with_code(tmp_path / "odd"), None))


def test_with_the_commit_named_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModel
    from transformers.utils import hub

    monkeypatch.setattr(hub, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    source = weights(folder_with_code(tmp_path / "odd"), COMMIT)
    model, fresh = load_model(AutoModel, source, load_config(source))
    assert type(model).__name__ == "Odd"
    assert not fresh
    assert torch.equal(model.layer.weight, torch.ones(2, 2))


def test_code_of_another_repository_is_refused(tmp_path: Path) -> None:
    source = weights(folder_with_code(tmp_path / "odd", "stranger/code--odd_model"), COMMIT)
    with pytest.raises(UserError, match="another repository: stranger/code"):
        load_config(source)
