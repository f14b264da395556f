"""The measuring itself: small pieces of work, each repeated in short rounds of which the best counts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.rates import Points, Progress, Rates, UnitRates

if TYPE_CHECKING:
    import torch

ROUND_SECONDS, ROUNDS = 0.004, 10
"""How long a thing is repeated for, and how often; a round is shorter than a turn on a busy core."""

# Rows are odd numbers, as the lengths of texts are: round ones are faster than what a run meets.
# (rows, width, outputs): forward passes of small and larger transformers, adapters, a vocabulary, one token.
PRODUCTS = (
    (15, 384, 384),
    (125, 384, 384),
    (999, 384, 384),
    (999, 384, 1536),
    (253, 768, 3072),
    (1999, 1024, 1024),
    (999, 576, 16),
    (249, 576, 16),
    (999, 16, 576),
    (123, 576, 16384),
    (1, 768, 3072),
    (15, 768, 3072),
)
# (products, rows, width, outputs): attention by products.
BATCHED = ((48, 29, 32, 29), (3, 237, 64, 79), (6, 447, 64, 149), (36, 117, 64, 117), (8, 509, 64, 509))
# (channels, width of the picture, window, groups).
CONVOLUTIONS = ((64, 56, 3, 1), (256, 14, 3, 1), (96, 56, 1, 1), (320, 14, 1, 1), (96, 56, 3, 96), (384, 14, 3, 384))
MOVED = (1 << 14, 1 << 18, 1 << 21, 1 << 24, 1 << 27)
FILE_BYTES = 64 << 20
APART_BYTES, SWEPT_BYTES = 64 << 20, 1 << 20


def measured(folder: Path, about: Mapping[str, Any], progress: Progress) -> Rates:
    """Measure this machine.

    Args:
        folder: On the disk that is measured.
        about: What ``tunesmith.rates.key`` says.
        progress: Receives what is measured, how much is done, and of how much.
    """
    import torch

    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    parts, units = len(_TRIALS) + 1, {}
    total = parts * len(devices) + 2
    for number, device in enumerate(devices):

        def told(what: str, done: int, start: int = number * parts) -> None:
            progress(what, start + done, total)

        units[device] = _unit(torch.device(device), told)
    progress("disk", total - 2, total)
    write, read = _disk(folder)
    progress("decoding", total - 1, total)
    found = Rates(
        **about, units=units, write_bytes=write, read_bytes=read, pictures=_pictures(), sound_seconds=_sound()
    )
    progress("done", total, total)
    return found


def _seconds(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds of one run: the best of short rounds, since other programs only ever slow it.

    Where one thread of a CPU does it all, its own time counts, without the turns of other programs.
    """
    import torch

    clock = time.thread_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter

    def run(count: int) -> float:
        began = clock()
        for _ in range(count):
            work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return (clock() - began) / count

    run(1)
    once = min(run(1), run(1))
    count = max(1, min(1000, int(ROUND_SECONDS / max(once, 1e-7))))
    rounds = min(ROUNDS, max(2, int(ROUNDS * ROUND_SECONDS / (once * count))))
    return min(once, *(run(count) for _ in range(rounds)))


def _unit(device: torch.device, told: Callable[[str, int], None]) -> UnitRates:
    import torch

    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16}
    found: dict[str, dict[str, Points]] = {}
    with torch.inference_mode():
        for number, (name, trials) in enumerate(_TRIALS.items()):
            told(f"{device.type} {name}", number)
            found[name] = {
                kind: tuple((*sizes, amount / _seconds(work, device)) for *sizes, amount, work in trials(device, dtype))  # type: ignore[misc]
                for kind, dtype in kinds.items()
            }
    told(f"{device.type} calls", len(_TRIALS))
    forward, training = _calls(device)
    return UnitRates(**found, call_seconds=forward, training_call_seconds=training)


Trials = Iterator[tuple[float, float, float, Callable[[], Any]]]
"""Two sizes, how much is done, and what does it."""


def _products(device: torch.device, dtype: torch.dtype) -> Trials:
    import torch

    for rows, width, outputs in PRODUCTS:
        given = torch.randn(rows, width, device=device, dtype=dtype)
        # A network's layers each bring their own weights; one matrix would stay in the nearest cache.
        weights = [torch.randn(outputs, width, device=device, dtype=dtype) for _ in range(4)]
        flops = 2.0 * rows * width * outputs

        def work(given: Any = given, weights: Any = weights) -> None:
            for weight in weights:
                torch.nn.functional.linear(given, weight)

        yield min(rows, width, outputs), flops, 4 * flops, work


def _batched(device: torch.device, dtype: torch.dtype) -> Trials:
    import torch

    for count, rows, width, outputs in BATCHED:
        a = torch.randn(count, rows, width, device=device, dtype=dtype)
        b = torch.randn(count, outputs, width, device=device, dtype=dtype)
        flops = 2.0 * rows * width * outputs
        yield min(rows, width, outputs), flops, count * flops, partial(torch.bmm, a, b.transpose(1, 2))


def _convolutions(device: torch.device, dtype: torch.dtype) -> Trials:
    import torch

    for channels, width, window, groups in CONVOLUTIONS:
        pictures = torch.randn(8, channels, width, width, device=device, dtype=dtype)
        weight = torch.randn(channels, channels // groups, window, window, device=device, dtype=dtype)
        each = channels // groups * window * window
        flops = 2.0 * pictures.numel() * each
        work = partial(torch.nn.functional.conv2d, pictures, weight, padding=window // 2, groups=groups)
        yield min(each, channels // groups), flops, flops, work


def _attention(device: torch.device, dtype: torch.dtype) -> Trials:
    import torch

    for rows, heads, positions in ((32, 12, 32), (8, 12, 128), (2, 8, 512)):
        q, k, v = (torch.randn(rows, heads, positions, 32, device=device, dtype=dtype) for _ in range(3))
        flops = 4.0 * positions * positions * 32
        work = partial(torch.nn.functional.scaled_dot_product_attention, q, k, v)
        yield min(positions, 32), flops, rows * heads * flops, work


def _moves(device: torch.device, dtype: torch.dtype) -> Trials:
    import torch

    for size in MOVED:
        shape = size // dtype.itemsize // 3 + 1
        pairs = [[torch.zeros(shape, device=device, dtype=dtype) for _ in range(2)] for _ in range(_apart(size))]

        def work(pairs: Any = pairs) -> list[Any]:
            return [a + b for a, b in pairs]

        yield size, 0.0, len(pairs) * size, work


def _functions(device: torch.device, dtype: torch.dtype) -> Trials:
    import torch
    import torch.nn.functional as F

    width = 149
    ones = torch.ones(width, device=device, dtype=dtype)
    for size in MOVED[:-1]:
        rows = size // dtype.itemsize // 2 // width + 1
        given = [torch.randn(rows, width, device=device, dtype=dtype) for _ in range(_apart(size))]

        def work(given: Any = given) -> None:
            for x in given:
                F.gelu(x)
                F.softmax(x, -1)
                F.layer_norm(x, (width,), ones, ones)

        yield size, 0.0, 3 * len(given) * size, work


def _apart(size: int) -> int:
    """How many pieces of work of a size take turns, so that none lies in the nearest cache."""
    return max(1, min(16, APART_BYTES // size))


_TRIALS: Mapping[str, Callable[[Any, Any], Trials]] = {
    "products": _products,
    "batched": _batched,
    "convolutions": _convolutions,
    "attention": _attention,
    "moves": _moves,
    "functions": _functions,
}


def _calls(device: torch.device) -> tuple[float, float]:
    """Seconds of a call where nothing is to be computed, in modules as models have them: forward, and both ways.

    Between calls a tensor is swept, as a model's own are, so that neither code nor data lie in the nearest cache.
    """
    import torch
    from torch import nn

    swept = torch.zeros(SWEPT_BYTES // 4, device=device)

    class Sweep(torch.autograd.Function):
        @staticmethod
        def forward(_ctx: Any, x: Any) -> Any:
            swept.add_(1)
            return x.view_as(x)

        @staticmethod
        def backward(_ctx: Any, gradient: Any) -> Any:
            swept.add_(1)
            return gradient

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.inner, self.outer = nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: Any) -> Any:
            sweep: Any = Sweep.apply
            inner = sweep(nn.functional.gelu(sweep(self.inner(sweep(self.norm(sweep(x)))))))
            return x + sweep(sweep(self.outer(inner)).view(2, 4, 2, 4).transpose(1, 2).reshape(2, 4, 8))

    model = nn.Sequential(*[Block() for _ in range(8)]).to(device)
    given = torch.zeros(2, 4, 8, device=device)
    sweeps = 8 * 6

    def train() -> None:
        model(given).sum().backward()
        model.zero_grad()

    def forward() -> None:
        with torch.inference_mode():
            model(given)

    # The sweeps are the same work on a tensor of their own, and no part of what calls cost.
    alone = _seconds(lambda: [swept.add_(1) for _ in range(sweeps)], device)
    once = max(_seconds(forward, device) - alone, 1e-7) / (_counted(forward) - sweeps)
    both = max(_seconds(train, device) - 2 * alone, 1e-7) / (_counted(train) - 2 * sweeps)
    return once, both


def _counted(work: Callable[[], Any]) -> int:
    """How many operations run."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):  # type: ignore[no-untyped-call]
        number = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
            self.number += 1
            return func(*args, **(kwargs or {}))

    with Count() as count:  # type: ignore[no-untyped-call]
        work()
    return int(count.number)


def _disk(folder: Path) -> tuple[float, float]:
    """Bytes per second written until they are safe, and read where the system holds no copy."""
    file = folder / f".measure.{os.getpid()}"
    block = os.urandom(1 << 20)
    try:
        began = time.perf_counter()
        with file.open("wb") as stream:
            for _ in range(FILE_BYTES >> 20):
                stream.write(block)
            stream.flush()
            os.fsync(stream.fileno())
        written = time.perf_counter() - began
        with file.open("rb") as stream:
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            began = time.perf_counter()
            while stream.read(1 << 20):
                pass
        read = time.perf_counter() - began
    finally:
        file.unlink(missing_ok=True)
    return FILE_BYTES / max(written, 1e-6), FILE_BYTES / max(read, 1e-6)


def _pictures() -> float | None:
    if find_spec("PIL") is None:
        return None
    import torch
    from PIL import Image

    # Coarse noise made larger: edges and surfaces, as a photograph has them.
    coarse = (torch.rand(48, 64, 3, generator=torch.Generator().manual_seed(0)) * 255).to(torch.uint8).numpy()
    stream = BytesIO()
    Image.fromarray(coarse).resize((500, 375)).save(stream, "JPEG", quality=90)
    data = stream.getvalue()
    return 1 / _seconds(lambda: Image.open(BytesIO(data)).convert("RGB").load(), torch.device("cpu"))


def _sound() -> dict[str, float]:
    if find_spec("soundfile") is None:
        return {}
    import torch

    soundfile: Any = import_module("soundfile")
    seconds, rate = 10, 16_000
    tone = (torch.arange(seconds * rate) / 20).sin().mul(0.3).numpy()
    found = {}
    for kind in ("WAV", "FLAC"):
        stream = BytesIO()
        soundfile.write(stream, tone, rate, format=kind)
        data = stream.getvalue()
        found[kind] = seconds / _seconds(partial(_read_sound, soundfile, data), torch.device("cpu"))
    return found


def _read_sound(soundfile: Any, data: bytes) -> Any:
    return soundfile.read(BytesIO(data), dtype="float32")
