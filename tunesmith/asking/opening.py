"""A model by its name: weights on this machine, a run, or an endpoint. It asks nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.asking.model import Model
from tunesmith.errors import UserError

if TYPE_CHECKING:
    from tunesmith.asking.local import LocalModel

ENDPOINT = "openai:"
DTYPES = ("auto", "fp32", "bf16", "fp16", "nf4")


def open_model(
    name: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    template: str | None = None,
    settings: Mapping[str, Any] | None = None,
    key_variable: str | None = None,
    seconds: float = 120.0,
    parallel: int = 4,
    context: int | None = None,
    cache: str | Path | None = None,
) -> Model:
    """A model that answers prompts. Weights are loaded when the first prompt is asked.

    Args:
        name: ``starter:NAME``, a folder of weights, a folder of an adapter, a hub id, a finished run's folder, or
            ``openai:MODEL@BASE_URL``, any endpoint of that protocol (``openai:gpt-4o-mini`` alone takes the address in
            ``OPENAI_BASE_URL``, else OpenAI's).
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        dtype: ``auto``, ``fp32``, ``bf16``, ``fp16`` or ``nf4``; auto takes what a run held its weights in.
        template: Chat template, as ``options.template`` of a recipe; None takes the run's, else the model's own.
        settings: What the chat template takes besides messages (``{"enable_thinking": False}``).
        key_variable: Name of the environment variable that holds an endpoint's key; None: ``OPENAI_API_KEY``.
        seconds: Longest wait for one reply of an endpoint.
        parallel: Prompts that an endpoint is asked at a time.
        context: Most tokens of prompt and reply together of an endpoint, where it does not tell.
        cache: Folder in which replies are kept, so that nothing is asked twice.

    Raises:
        UserError: There is no such model, it writes no text, or the endpoint can't be reached.
    """
    model: Model
    if name.startswith(ENDPOINT):
        from tunesmith.asking.endpoint import open_endpoint

        model = open_endpoint(name, key_variable=key_variable, seconds=seconds, parallel=parallel, context=context)
    else:
        model = _local(name, device, dtype, template, settings)
    if cache is None:
        return model
    from tunesmith.asking.kept import Remembered

    return Remembered(model, cache)


def _local(name: str, device: str, dtype: str, template: str | None, settings: Mapping[str, Any] | None) -> LocalModel:
    from tunesmith.asking.local import LocalModel
    from tunesmith.machine import pick_device, pick_precision
    from tunesmith.model.weights import resolve
    from tunesmith.recipe import ModelSection

    if dtype not in DTYPES:
        raise UserError(f"there is no dtype '{dtype}'", "--dtype", f"write one of: {', '.join(DTYPES)}")
    device = pick_device(device)
    folder = Path(name).expanduser()
    section, adapter, held = ModelSection(name=name), None, None
    options: dict[str, Any] = {}
    if (folder / "recipe.json").is_file():
        section, adapter, options, held = _of_run(folder)
    elif (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        section, adapter = ModelSection(name=_base_of(folder)), folder
    if dtype == "auto":
        dtype = held or pick_precision("auto", device, low=True)[0]
    return LocalModel(
        name,
        resolve(section, where="--model"),
        adapter=adapter,
        held=dtype,
        device=device,
        template=template or options.get("template", "auto"),
        new_tokens=options.get("new_tokens", ()),
        settings=settings,
    )


def _of_run(folder: Path) -> tuple[Any, Path | None, dict[str, Any], str | None]:
    """Weights, adapter, options and precision of a finished run.

    Raises:
        UserError: It is not finished, or its model answers no messages.
    """
    from tunesmith.recipe import ModelSection
    from tunesmith.run import Run

    run = Run.open(folder)
    values = run.read_json("recipe.json")["values"]
    if values["task"] not in ("causal-lm", "preference"):
        what = f"a model for {values['task']} answers no prompts"
        raise UserError(what, str(folder), "name a run of causal-lm or preference")
    if not run.scores.exists() or not run.model.is_dir():
        raise UserError("this run has no tuned model yet", str(folder), "finish it: train with its recipe again")
    held = run.read_json("plan.json").get("held")
    # What was saved beside the weights carries the template that it learned with, wherever the file of that is now.
    options = {"template": "none" if values["options"].get("template") == "none" else "auto"}
    if values.get("adapter") is None:
        return ModelSection(name=str(run.model)), None, options, held
    options["new_tokens"] = values["options"].get("new_tokens", ())
    return ModelSection.model_validate(values["model"]), run.model, options, held


def _base_of(folder: Path) -> str:
    try:
        base = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (ValueError, AttributeError) as fault:
        raise UserError("adapter_config.json is no JSON", str(folder), "save the adapter again") from fault
    if not base:
        raise UserError("the adapter does not say what it was made for", str(folder), "name the run, or merge it")
    return str(base)
