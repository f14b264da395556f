"""What the model said of each row before it learned, recorded once and handed back with every batch.

It knows no modality: the task says what is recorded and what it is for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

import torch
from torch import nn

from tunesmith.data.loader import Loader
from tunesmith.machine import cache_folder
from tunesmith.model.layers import ADAPTER, LayerGroups
from tunesmith.model.store import ActivationStore, LeafLayout, describe_store
from tunesmith.task import Task
from tunesmith.train.caching import encoding_fingerprint, tensors_digest
from tunesmith.train.engine import Engine
from tunesmith.train.inference import predict_rows


def record_references(
    task: Task,
    layers: LayerGroups,
    sets: Mapping[str, Loader],
    engine: Engine,
    precision: str,
    rows: int,
    progress: Callable[[str, int, int], None],
    watched: str = "validation",
) -> None:
    """Attach ``task.reference`` of every row to the loaders, from the cache where it stands there.

    Args:
        task: With a ``reference_width``.
        layers: The model before it learns; an adapter on it changes nothing yet.
        sets: Row sets by name.
        engine: Where forward passes run.
        precision: Its name, part of the key.
        rows: Rows per forward pass.
        progress: Told what is done.
        watched: The row set whose loss is told beside that of the training rows; others are judged without a reference.
    """
    folder = cache_folder("activations", _key(task, layers, engine, precision))
    describe_store(folder, {"task": task.name, "model": task.source.name, "boundary": "reference"})
    store = ActivationStore(folder, [LeafLayout((task.reference_width,), torch.float32, ragged=False)])

    def listed(model: nn.Module, batch: dict[str, Any]) -> list[list[float]]:
        return task.reference(model, batch).float().tolist()

    for name in (name for name in ("train", watched) if name in sets):
        loader = sets[name]
        if any(key not in store for key in loader.keys):
            what = f"recording the reference of {name} rows"

            def told(done: int, total: int, what: str = what) -> None:
                progress(what, done, total)

            found = predict_rows(layers.model, listed, loader, loader.lengths, engine, rows=rows, on_progress=told)
            if engine.main:
                store.append(loader.keys, [1] * len(loader), [torch.tensor(found)])
                store.flush()
            engine.wait()
            store.refresh()
        loader.extra = {"reference": store.read(loader.keys, 1)[0]}


def _key(task: Task, layers: LayerGroups, engine: Engine, precision: str) -> str:
    adapter = set(layers.names(ADAPTER))
    tensors = {name: p for name, p in layers.model.named_parameters() if name not in adapter}
    about = [task.name, encoding_fingerprint(task), tensors_digest(tensors), precision, engine.device.type]
    return blake2b(json.dumps(["reference", *about, torch.__version__]).encode(), digest_size=16).hexdigest()
