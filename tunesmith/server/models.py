"""The models that a server knows by name, and those that it holds in memory. It knows no route.

Adapters stand on one base in memory. What was asked longest ago leaves first, and never while it answers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import UserError
from tunesmith.server.decoder import Decoder
from tunesmith.server.decoding import Engine
from tunesmith.server.faults import ApiFault
from tunesmith.server.tasks_held import DECODERS, bytes_of, open_base, open_run, task_of_base, task_of_run

if TYPE_CHECKING:
    from tunesmith.asking.local import LocalModel
    from tunesmith.server.settings import Settings
    from tunesmith.server.store import Store

DECODER = "decoder"
GIB = 1 << 30


@dataclass(frozen=True)
class Named:
    """A model by its name.

    Args:
        name: As clients call it.
        kind: ``decoder`` where it answers messages, else the name of its task.
        place: What it is opened by: a starter, a folder of weights, of an adapter, or of a finished run.
        run: The folder of the run that it is, if it is one.
        created: Seconds since 1970.
    """

    name: str
    kind: str
    place: str
    run: Path | None
    created: int


@dataclass(eq=False)
class _Held:
    """A base, or a task's model, in memory.

    Args:
        bytes: Of its weights.
        engine: Of a decoder.
        task: Of anything else: task, model and lock.
        users: How many answers it gives now.
        used: When it was asked last, by the monotonic clock.
        adapters: Bytes, users and last use of each adapter.
    """

    bytes: int
    engine: Engine | None = None
    task: tuple[Any, Any, threading.Lock] | None = None
    users: int = 0
    used: float = field(default_factory=time.monotonic)
    adapters: dict[str, _Adapter] = field(default_factory=dict)

    @property
    def busy(self) -> bool:
        return self.users > 0 or (self.task is not None and self.task[2].locked())


@dataclass(eq=False)
class _Adapter:
    bytes: int
    users: int = 0
    used: float = field(default_factory=time.monotonic)


class Models:
    """Models by name. Safe to use from several threads.

    Args:
        settings: How the server was started.
        store: Where jobs and checkpoints are; None where there are none.
    """

    def __init__(self, settings: Settings, store: Store | None = None) -> None:
        self._settings, self._store = settings, store
        self._lock = threading.RLock()
        self._held: dict[tuple[str, ...], _Held] = {}
        self._locals: dict[tuple[str, bool], LocalModel] = {}
        self._kinds: dict[str, str] = {}
        self._began = int(time.time())

    # Names

    def cards(self) -> list[dict[str, Any]]:
        """All that may be asked or tuned, as the API lists models."""
        names = [*self._settings.models, *self._settings.runs]
        rows = [(name, self._began, "tunesmith") for name in names]
        if self._store is not None:
            for job in self._store.list_jobs(order="asc").rows:
                if job.get("fine_tuned_model") and job["status"] == "succeeded":
                    rows.append((job["fine_tuned_model"], int(job.get("finished_at") or job["created_at"]), "user"))
        return [{"id": name, "object": "model", "created": made, "owned_by": owner} for name, made, owner in rows]

    def resolve(self, name: str) -> Named:
        """What a name stands for: a base, a run, or what a job tuned, its checkpoints too.

        Raises:
            ApiFault: 404, there is none.
        """
        if name in self._settings.models:
            place = self._settings.models[name]
            return Named(name, self._kind_of_base(place), place, None, self._began)
        if name in self._settings.runs:
            folder = self._settings.runs[name]
            return Named(name, self._kind_of_run(folder), str(folder), folder, self._began)
        if self._store is not None:
            job = self._store.find_job(name)
            if job is not None and job["status"] == "succeeded":
                folder = self._store.jobs / job["id"] / "run"
                return Named(name, self._kind_of_run(folder), str(folder), folder, int(job["created_at"]))
            kept = self._store.find_checkpoint(name)
            if kept is not None:
                return Named(name, DECODER, str(self._settings.folder / kept.folder), None, kept.created)
        what = f"The model '{name[:200]}' does not exist; list what there is with GET /v1/models"
        raise ApiFault(404, what, param="model", code="model_not_found")

    def _kind_of_base(self, place: str) -> str:
        if place not in self._kinds:
            from tunesmith.model.weights import resolve
            from tunesmith.recipe import ModelSection

            folder = Path(place).expanduser()
            adapter = (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file()
            found = None if adapter else task_of_base(resolve(ModelSection(name=place), where="--model"))
            self._kinds[place] = found or DECODER
        return self._kinds[place]

    def _kind_of_run(self, folder: Path) -> str:
        from tunesmith.run import Run

        place = str(folder)
        if place not in self._kinds:
            found = task_of_run(Run.open(folder))
            self._kinds[place] = DECODER if found in DECODERS else found
        return self._kinds[place]

    # Decoders

    def local(self, name: str, *, plain: bool = False) -> LocalModel:
        """A decoder's template and tokenizer; its weights are loaded by ``lease``.

        Args:
            name: Of the model.
            plain: Without a template: texts are continued as they are.

        Raises:
            ApiFault: 404, there is none; 400, it writes no text.
        """
        named = self.resolve(name)
        if named.kind != DECODER:
            what = f"The model '{name[:200]}' answers no messages: it is a model for {named.kind}"
            raise ApiFault(400, what, param="model", code="invalid_model")
        with self._lock:
            if (name, plain) not in self._locals:
                self._locals[name, plain] = self._opened(named, plain)
            return self._locals[name, plain]

    def _opened(self, named: Named, plain: bool) -> LocalModel:
        from tunesmith.asking.local import LocalModel
        from tunesmith.asking.opening import open_model

        # A run says itself in what it held its weights: what is served is what was scored.
        dtype = "auto" if named.run is not None else self._settings.dtype
        template = "none" if plain else None
        try:
            found = open_model(named.place, device=self._settings.device, dtype=dtype, template=template)
        except UserError as fault:
            raise _unserved(named.name, fault) from fault
        assert isinstance(found, LocalModel), "places are on this machine"
        # What it says of itself goes to clients, whom folders do not concern.
        found.name = named.name
        return found

    def decoder(self, name: str, *, plain: bool = False) -> Decoder:
        """A decoder to ask; ``plain`` continues texts as they are.

        Raises:
            ApiFault: 404, there is none; 400, it writes no text; 503, it can't be opened.
        """
        return Decoder(self.local(name, plain=plain), self.lease)

    @contextmanager
    def lease(self, local: LocalModel) -> Iterator[tuple[Engine, str | None]]:
        """What answers for a decoder, loaded if need be, and its adapter's name there; held while the context lasts.

        Raises:
            ApiFault: 503, it does not fit into memory beside what answers just now.
        """
        from tunesmith.model.shared_base import can_share

        try:
            shares = local.adapter is None or (not local.adds_tokens and can_share(local.adapter))
        except UserError as fault:
            raise _unserved(local.name, fault) from fault
        base = ("decoder", str(local.source.folder), local.held, local.device)
        key = base if shares else (*base, str(local.adapter))
        adapter = str(local.adapter) if shares and local.adapter is not None else None
        with self._lock:
            held = self._held.get(key) or self._loaded(key, local, adapted=not shares)
            held.users += 1
            try:
                on = self._adapted(held, adapter, local) if adapter else None
            except BaseException:
                held.users -= 1
                raise
        assert held.engine is not None, "a decoder's"
        try:
            yield held.engine, adapter
        finally:
            with self._lock:
                held.users -= 1
                held.used = time.monotonic()
                if on is not None:
                    on.users -= 1
                    on.used = held.used

    def _loaded(self, key: tuple[str, ...], local: LocalModel, *, adapted: bool) -> _Held:
        from tunesmith.model.pretrained import decoder_shape, load_config
        from tunesmith.model.shared_base import SharedBase

        try:
            needed = bytes_of_shape(decoder_shape(load_config(local.source), local.held))
            self._make_room(needed, local.name)
            model = local.load(adapted=adapted)
            engine = Engine(SharedBase(model), local.pad, queue=self._settings.queue)
        except UserError as fault:
            raise _unserved(local.name, fault) from fault
        self._held[key] = _Held(bytes_of(model), engine)
        return self._held[key]

    def _adapted(self, held: _Held, adapter: str, local: LocalModel) -> _Adapter:
        assert held.engine is not None, "a decoder's"
        if adapter not in held.adapters:
            self._make_room((Path(adapter) / "adapter_model.safetensors").stat().st_size, local.name)
            try:
                held.adapters[adapter] = _Adapter(held.engine.put(adapter, Path(adapter)))
            except UserError as fault:
                raise _unserved(local.name, fault) from fault
        held.adapters[adapter].users += 1
        return held.adapters[adapter]

    # Everything else

    def task(self, name: str) -> tuple[Any, Any, threading.Lock]:
        """Task, model and lock of a model that answers no messages; who computes with them holds the lock.

        Raises:
            ApiFault: 404, there is none; 400, it is a decoder, or answers nothing; 503, it does not fit into memory.
        """
        from tunesmith.model.weights import resolve
        from tunesmith.recipe import ModelSection
        from tunesmith.run import Run

        named = self.resolve(name)
        if named.kind == DECODER:
            what = f"The model '{name[:200]}' answers messages: ask it at /v1/chat/completions"
            raise ApiFault(400, what, param="model", code="invalid_model")
        key = ("task", named.place)
        with self._lock:
            if key not in self._held:
                try:
                    self._make_room(_file_bytes(named), name)
                    if named.run is not None:
                        task, model = open_run(Run.open(named.run))
                    else:
                        task, model = open_base(resolve(ModelSection(name=named.place), where="--model"))
                except UserError as fault:
                    raise _unserved(name, fault) from fault
                self._held[key] = _Held(bytes_of(model), task=(task, model, threading.Lock()))
            held = self._held[key]
            held.used = time.monotonic()
            assert held.task is not None, "a task's"
            return held.task

    # Memory

    @property
    def bytes(self) -> int:
        """Of all weights that are held."""
        with self._lock:
            return sum(h.bytes + sum(a.bytes for a in h.adapters.values()) for h in self._held.values())

    def _make_room(self, needed: int, name: str) -> None:
        """Let go of what was asked longest ago until so many bytes are free.

        Raises:
            ApiFault: 503, what is left answers just now, or the model alone is larger than the limit.
        """
        limit = self._settings.model_bytes
        if needed > limit:
            what = f"'{name[:200]}' needs {needed / GIB:.1f} GiB, and models may take {limit / GIB:.1f} together"
            raise ApiFault(503, f"{what}: start the server with more, or ask a smaller model", code="model_too_large")
        while self.bytes + needed > limit:
            # An adapter is older than its base, which it was asked with, or as old.
            found = [(a.used, 0, key, n) for key, h in self._held.items() for n, a in h.adapters.items() if not a.users]
            found += [(h.used, 1, key, "") for key, h in self._held.items() if not h.busy]
            if not found:
                what = f"no memory is free for '{name[:200]}': the models that are held answer just now"
                raise ApiFault(503, what, code="models_busy", retry_after=5)
            _, _, key, adapter = min(found)
            engine = self._held[key].engine
            if adapter:
                assert engine is not None, "only decoders have adapters"
                del self._held[key].adapters[adapter]
                engine.drop(adapter)
                continue
            if engine is not None:
                engine.stop()
            del self._held[key]

    def gauges(self) -> dict[str, tuple[str, dict[tuple[tuple[str, str], ...], float]]]:
        """What is measured of the models, as ``/metrics`` says it."""
        with self._lock:
            engines = [h.engine for h in self._held.values() if h.engine is not None]
            adapters = sum(len(h.adapters) for h in self._held.values())
            models = len(self._held)
        told: dict[str, tuple[str, float]] = {
            "tunesmith_models_held": ("Bases and other models in memory.", models),
            "tunesmith_adapters_held": ("Adapters in memory, beside their bases.", adapters),
            "tunesmith_model_bytes": ("Bytes of the weights in memory.", self.bytes),
            "tunesmith_answers_waiting": ("Answers of decoders that wait to begin.", sum(e.waiting for e in engines)),
            "tunesmith_answers_growing": ("Answers of decoders that are being written.", sum(e.live for e in engines)),
            "tunesmith_tokens_written": ("Tokens that held decoders wrote.", sum(e.tokens for e in engines)),
        }
        return {name: (said, {(): float(value)}) for name, (said, value) in told.items()}

    def stop(self) -> None:
        """Let go of everything; who still waits gets a fault."""
        with self._lock:
            held = list(self._held.values())
            self._held.clear()
            self._locals.clear()
        for one in held:
            if one.engine is not None:
                one.engine.stop()


def bytes_of_shape(model: Any) -> int:
    """Bytes of the parameters of a model on the meta device; tied ones stand there once."""
    return sum(p.numel() * p.element_size() for p in model.parameters())


def _file_bytes(named: Named) -> int:
    """About what the weights of a task's model take: what their files do."""
    from tunesmith.model.weights import resolve
    from tunesmith.recipe import ModelSection
    from tunesmith.run import Run

    name = named.place
    if named.run is not None:
        run = Run.open(named.run)
        values = run.read_json("recipe.json")["values"]
        name = str(values["model"]["name"] if values.get("adapter") else run.model)
    try:
        return sum(file.stat().st_size for file in resolve(ModelSection(name=name)).files)
    except UserError:
        # A run may keep its weights in a form of its own; they are counted once they are there.
        return sum(file.stat().st_size for file in Path(name).rglob("*.safetensors"))


def _unserved(name: str, fault: UserError) -> ApiFault:
    """A model that can't be opened is the server's affair; which folder it is in is not the client's."""
    what = f"The model '{name[:200]}' can't be served: {fault.what}"
    return ApiFault(503, what + (f"; {fault.fix}" if fault.fix else ""), param="model", code="model_unavailable")
