"""ONNX files: written from a module with everything inside, run, and held against the module that they came from.

It knows tensors by name; no task.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tunesmith.errors import EXIT_FINDINGS, UserError
from tunesmith.model.deployable import INPUT, Deployable
from tunesmith.model.set_prediction import cheapest

OPSET = 18
TOLERANCES: Mapping[str, float] = {"scores": 1e-4, "probabilities": 1e-4, "boxes": 0.05, "classes": 0.0}
"""How far a file's answers may lie from the model's: scores and probabilities as they are, boxes in pixels, and the
share of pixels whose class differs without a tie."""
LEAST_SCORE = 0.01
"""Candidates that no class gives as much are no detections, and are not compared."""


def export_onnx(
    model: nn.Module,
    example_inputs: tuple[Tensor, ...],
    path: Path,
    *,
    input_names: Sequence[str],
    output_names: Sequence[str],
    dynamic: Mapping[str, Mapping[int, str]],
    metadata: Mapping[str, str],
) -> Path:
    """Write a module as an ONNX file.

    Through torch's tracing exporter: it is several times faster than the newer one, which can't export RT-DETRv2,
    D-FINE and Mask2Former of transformers or ties them to one batch size.

    Args:
        model: In ``eval`` mode; forward takes tensors and gives a tuple of tensors.
        example_inputs: What it is run on once.
        path: The file; its folder exists.
        input_names, output_names: Names of its inputs and outputs.
        dynamic: Names of the axes that may be of any length, by input or output name and axis.
        metadata: Texts by name, kept in the file.

    Raises:
        UserError: A package is missing, or the model has a part that ONNX has no counterpart for.
    """
    onnx = _needed("onnx")
    draft = path.with_name(f".{path.name}.tmp")
    with _exportable(model), warnings.catch_warnings(), torch.no_grad():
        # What is wrong with a file, ``check_onnx`` finds.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                model,
                example_inputs,
                str(draft),
                dynamo=False,
                input_names=list(input_names),
                output_names=list(output_names),
                dynamic_axes={name: dict(axes) for name, axes in dynamic.items()},
                opset_version=OPSET,
            )
        except (RuntimeError, torch.onnx.OnnxExporterError) as fault:
            draft.unlink(missing_ok=True)
            raise UserError(
                f"{_name_of(model)} can't be written as ONNX: {_first_line(fault)}",
                str(path),
                "use the model as it was saved, or choose another one",
            ) from fault
    proto = onnx.load(str(draft))
    proto.producer_name = "tunesmith"
    for key, text in metadata.items():
        proto.metadata_props.add(key=key, value=text)
    onnx.checker.check_model(proto)
    onnx.save(proto, str(draft))
    draft.replace(path)
    return path


def export_deployable(deployable: Deployable, path: Path, metadata: Mapping[str, str]) -> Path:
    """Write a deployable as an ONNX file that takes any number of pictures at a time."""
    pixels = deployable.pixels
    like = torch.arange(2 * pixels.height * pixels.width * 3) % 251
    example = like.to(torch.uint8).view(2, pixels.height, pixels.width, 3)
    names = (INPUT, *deployable.outputs)
    return export_onnx(
        deployable,
        (example,),
        path,
        input_names=[INPUT],
        output_names=deployable.outputs,
        dynamic={name: {0: "batch"} for name in names},
        metadata=metadata,
    )


def read_metadata(path: Path) -> dict[str, Any]:
    """What a file says of itself, JSON texts read."""
    proto = _needed("onnx").load(str(path), load_external_data=False)
    return {entry.key: _read(entry.value) for entry in proto.metadata_props}


def run_onnx(path: Path, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run a file once on the CPU: outputs by name."""
    return _run(_session(path), inputs)


def open_onnx(path: Path) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """A file ready to be run many times on the CPU: from inputs to outputs, by name."""
    return partial(_run, _session(path))


@dataclass(frozen=True)
class Difference:
    """How far one output of a file lies from the module's.

    Args:
        name: The output.
        largest: The largest difference; of ``classes`` the share of pixels that differ without a tie.
        tolerance: What it is held against.
        where: The picture and the place in it.
    """

    name: str
    largest: float
    tolerance: float
    where: str

    @property
    def holds(self) -> bool:
        """Whether it is within the tolerance."""
        return bool(self.largest <= self.tolerance)


def check_onnx(
    path: Path,
    wrapper: Deployable,
    inputs: Sequence[np.ndarray],
    tolerances: Mapping[str, float] = TOLERANCES,
    batch: int = 4,
) -> list[Difference]:
    """Hold a file's answers against those of the module that it was made of, on given pictures.

    Candidates of a detector are compared as sets, since two equally good ones may change places on the way; those that
    no class gives a score of 0.01 are left out. Classes of pixels may differ where their probabilities are equal.

    Args:
        path: The file.
        wrapper: The module.
        inputs: Pictures uint8 [height, width, 3].
        tolerances: By output name.
        batch: Pictures at a time.

    Returns:
        The largest difference of every output, with its place.
    """
    session = _session(path)
    worst: dict[str, Difference] = {}
    for start in range(0, len(inputs), batch):
        pictures = np.stack(inputs[start : start + batch])
        with torch.no_grad():
            own = wrapper(torch.from_numpy(pictures))
        wanted = {name: tensor.cpu().numpy() for name, tensor in zip(wrapper.outputs, own, strict=True)}
        found = _run(session, {INPUT: pictures})
        for i in range(len(pictures)):
            pair = [{name: values[i] for name, values in side.items()} for side in (wanted, found)]
            for name, (largest, place) in _compared(wrapper.kind, pair[0], pair[1], tolerances).items():
                if name not in worst or largest > worst[name].largest:
                    worst[name] = Difference(name, largest, tolerances[name], f"picture {start + i}, {place}")
    return list(worst.values())


def raise_differences(differences: Sequence[Difference], path: Path) -> None:
    """Stop where a file says something else than the model.

    Raises:
        UserError: With the output, the figure and the place.
    """
    wrong = [d for d in differences if not d.holds]
    if not wrong:
        return
    told = "; ".join(f"{d.name} differ by {d.largest:.3g} (at most {d.tolerance:g}) at {d.where}" for d in wrong)
    raise UserError(
        f"the ONNX file does not say what the model says: {told}",
        str(path),
        "use the model as it was saved, and report this with its name",
        code=EXIT_FINDINGS,
    )


_Found = dict[str, tuple[float, str]]


def _compared(
    kind: str, wanted: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray], tolerances: Mapping[str, float]
) -> _Found:
    for name, values in wanted.items():
        if values.shape != found[name].shape:
            return {name: (float("inf"), f"whose shape is {found[name].shape} and not {values.shape}")}
        if not np.isfinite(found[name]).all():
            return {name: (float("inf"), f"where {_place(~np.isfinite(found[name]))} is no number")}
    if kind == "boxes":
        return _compared_boxes(wanted, found, tolerances)
    if kind == "mask":
        apart = np.abs(wanted["probabilities"] - found["probabilities"])
        # Where the winners are equally sure, which one wins is rounding.
        other = (wanted["classes"] != found["classes"]) & (apart > tolerances["probabilities"])
        share = float(other.mean())
        return {"classes": (share, _place(other)), "probabilities": (float(apart.max()), _place(apart))}
    apart = np.abs(wanted["scores"] - found["scores"])
    return {"scores": (float(apart.max()), f"class {int(apart.argmax())}")}


def _place(values: np.ndarray) -> str:
    """Where the largest value of one picture stands."""
    place = np.unravel_index(int(values.argmax()), values.shape)
    return ", ".join(f"{axis} {at}" for axis, at in zip(("row", "column"), place, strict=False))


def _compared_boxes(
    wanted: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray], tolerances: Mapping[str, float]
) -> _Found:
    rows = np.flatnonzero(wanted["scores"].max(-1) >= LEAST_SCORE)
    nowhere = "where nothing is detected"
    if not len(rows):
        # Then the file may not detect anything either.
        return {"boxes": (0.0, nowhere), "scores": (max(0.0, float(found["scores"].max()) - LEAST_SCORE), nowhere)}
    scores = np.abs(wanted["scores"][rows, None] - found["scores"][None]).max(-1)
    boxes = np.abs(wanted["boxes"][rows, None] - found["boxes"][None]).max(-1)
    chosen, place = cheapest(torch.from_numpy(scores / tolerances["scores"] + boxes / tolerances["boxes"]))
    pairs = chosen.numpy(), place.numpy()
    told = {}
    for name, apart in (("boxes", boxes[pairs]), ("scores", scores[pairs])):
        at = int(apart.argmax())
        told[name] = (float(apart[at]), f"candidate {int(rows[pairs[0][at]])}")
    return told


# Running.


def _needed(package: str) -> Any:
    from importlib import import_module

    try:
        return import_module(package)
    except ImportError as fault:
        raise UserError(
            f"ONNX files need the package {package!r}, which is not installed",
            package,
            'pip install "tunesmith[images]"',
        ) from fault


def _session(path: Path) -> Any:
    runtime = _needed("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _run(session: Any, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


# Exporting.


@contextmanager
def _exportable(model: nn.Module) -> Iterator[None]:
    """Pooling to a size that does not divide a map's, which the exporter can't say, as products that it can."""
    pools: list[Any] = [module for module in model.modules() if isinstance(module, nn.AdaptiveAvgPool2d)]
    for pool in pools:
        pool.forward = partial(averaged, size=pool.output_size)
    try:
        yield
    finally:
        for pool in pools:
            del pool.forward


def averaged(maps: Tensor, size: int | tuple[int | None, int | None]) -> Tensor:
    """``AdaptiveAvgPool2d`` as two products with matrices of averages.

    Args:
        maps: [batch, channels, height, width], of a height and width that is known when it is traced.
        size: Rows and columns that are wanted, None for as many as there are.
    """
    wanted = (size, size) if isinstance(size, int) else size
    rows, columns = (_averages(int(n), w or int(n)) for n, w in zip(maps.shape[-2:], wanted, strict=True))
    return rows.to(maps) @ maps @ columns.to(maps).T


def _averages(given: int, wanted: int) -> Tensor:
    matrix = torch.zeros(wanted, given)
    for i in range(wanted):
        first, last = i * given // wanted, -(-(i + 1) * given // wanted)
        matrix[i, first:last] = 1 / (last - first)
    return matrix


def _name_of(model: nn.Module) -> str:
    return type(getattr(model, "model", model)).__name__


def _first_line(fault: Exception) -> str:
    lines = str(fault).strip().splitlines()
    return lines[0][:300] if lines else type(fault).__name__
