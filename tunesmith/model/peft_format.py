"""The files of an adapter, as peft writes and reads them: a JSON of settings and a safetensors file.

It knows key names and settings, and no model: whether an adapter fits one is for ``adapters`` to say.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from tunesmith.errors import UserError

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"

ROWS_KEY = ".token_adapter.trainable_tokens_delta"
"""What peft calls the learned vectors of single tokens, after the layer's name."""
_PREFIX = "base_model.model."
_UPDATE_KEY = re.compile(r"(?P<layer>.+)\.(?P<part>lora_A|lora_B|lora_magnitude_vector)(?:\.weight)?")
# Settings that change what an adapter computes, with the values that mean "off".
_UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "bias": ("none",),
    "lora_bias": (False,),
    "layer_replication": (None, []),
    "target_parameters": (None, []),
    "alora_invocation_tokens": (None, []),
    "arrow_config": (None,),
    "kasa_config": (None,),
    "monteclora_config": (None,),
    "use_bdlora": (None, False),
    "use_qalora": (False,),
    "velora_config": (None,),
    # The other starts (PiSSA, OLoRA, ...) also change the base weights, which the files do not hold.
    "init_lora_weights": (True, False, "gaussian", "orthogonal", "eva", "lora_ga"),
}


@dataclass(frozen=True)
class AdapterFiles:
    """What a folder holds.

    Args:
        folder: Where it was read.
        config: peft's settings.
        updates: Layer name to part (``lora_A`` r x in, ``lora_B`` out x r, ``lora_magnitude_vector`` out) to value.
        whole: Tensors of the modules that were saved whole, by their names in the model.
        rows: Layer name to the vectors of single tokens that were learned, [tokens, width].
        weights_file: Name of the file that holds the tensors.
    """

    folder: Path
    config: Mapping[str, Any]
    updates: Mapping[str, Mapping[str, Tensor]]
    whole: Mapping[str, Tensor]
    rows: Mapping[str, Tensor] = field(default_factory=dict)
    weights_file: str = WEIGHTS_FILE

    @property
    def path(self) -> Path:
        """The file that holds the tensors."""
        return self.folder / self.weights_file

    def token_ids(self, name: str) -> list[int]:
        """The tokens whose vectors a layer brings."""
        indices = self.config.get("trainable_token_indices") or {}
        table = indices if isinstance(indices, dict) else {"embed_tokens": indices}
        found = (ids for key, ids in table.items() if name == key or name.endswith(f".{key}"))
        return [int(i) for i in next(found, ())]

    @property
    def rslora(self) -> bool:
        """Whether the scale is ``alpha / √r``."""
        return bool(self.config.get("use_rslora"))

    @property
    def dropout(self) -> float:
        """Dropout of the updates' input."""
        return float(self.config.get("lora_dropout", 0.0))

    def alpha(self, name: str) -> float:
        """Scale numerator of a layer: that of the first pattern that the end of its name matches, as in peft."""
        patterns: Mapping[str, float] = self.config.get("alpha_pattern") or {}
        found = (value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", name))
        return float(next(found, self.config.get("lora_alpha", 8)))


def write(folder: Path, config: Mapping[str, Any], updates: Mapping[str, Tensor], whole: Mapping[str, Tensor]) -> None:
    """Write both files.

    Args:
        folder: Where; made if need be.
        config: peft's settings; it has a default for each one that is left out.
        updates: ``layer.part`` to value.
        whole: Tensors of modules that are saved whole, by name.
    """
    from safetensors.torch import save_file

    # peft holds A and B in linear layers of their own, and its files keep that ".weight".
    tensors = {f"{key}.weight" if key.endswith((".lora_A", ".lora_B")) else key: t for key, t in updates.items()}
    tensors |= whole
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        # Cloned, for a module's tensors may share memory, which safetensors refuses.
        {f"{_PREFIX}{key}": tensors[key].detach().cpu().contiguous().clone() for key in sorted(tensors)},
        folder / WEIGHTS_FILE,
        metadata={"format": "pt"},
    )
    text = json.dumps(config, indent=2, sort_keys=True)
    (folder / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")


def read(folder: Path) -> AdapterFiles:
    """Read both files, whoever wrote them.

    Raises:
        UserError: A file that is missing or broken, or an adapter that computes something else than LoRA or DoRA.
    """
    config_path, weights_path = folder / CONFIG_FILE, folder / WEIGHTS_FILE
    for path in (config_path, weights_path):
        if not path.is_file():
            fix = "name the folder that a run or peft's save_pretrained wrote; only safetensors files are read"
            raise UserError(f"there is no {path.name}", where=str(folder), fix=fix)
    config = _read_config(config_path)
    updates: dict[str, dict[str, Tensor]] = defaultdict(dict)
    whole: dict[str, Tensor] = {}
    rows: dict[str, Tensor] = {}
    for key, value in _read_tensors(weights_path).items():
        name = key.removeprefix(_PREFIX)
        match = _UPDATE_KEY.fullmatch(name)
        if match:
            updates[match["layer"]][match["part"]] = value
        elif name.endswith(ROWS_KEY):
            rows[name.removesuffix(ROWS_KEY)] = value
        else:
            whole[name] = value
    if not updates:
        raise UserError("the file holds no low-rank update", where=str(weights_path), fix="save the adapter again")
    for name, parts in updates.items():
        wanted = {"lora_A", "lora_B"} | ({"lora_magnitude_vector"} if config.get("use_dora") else set())
        if set(parts) != wanted:
            what = f"the update of '{name}' has {', '.join(sorted(parts))}, not {', '.join(sorted(wanted))}"
            raise UserError(what, where=str(weights_path), fix="save the adapter again")
    return AdapterFiles(folder, config, dict(updates), whole, rows)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path.name} is not JSON: {error}", where=str(path), fix="save the adapter again") from error
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if not isinstance(config, dict) or kind != "LORA":
        raise UserError(f"this adapter is of kind {kind}", where=str(path), fix="only LORA adapters are read")
    check_settings(config, path)
    return config


def check_settings(config: Mapping[str, Any], path: Path) -> None:
    """Refuse settings of peft that make an adapter compute something else than LoRA or DoRA.

    Raises:
        UserError: Such a setting.
    """
    for key, off in _UNSUPPORTED.items():
        if config.get(key, off[0]) not in off:
            fix = "merge the adapter into its base model with peft, and start from that"
            raise UserError(f"this adapter uses {key}: {config[key]!r}, which is not read", str(path), fix)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path.name} is broken: {error}", where=str(path), fix="save the adapter again") from error
    return tensors
