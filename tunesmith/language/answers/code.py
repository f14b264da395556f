"""Code: an answer is right when the row's tests pass on it. It knows no language but Python, and no network.

The code runs in a process of its own that shuts itself in first (``code_child``): no network, no other process, no file
but in an empty folder, and limits of time and memory. That stops mistakes and plain cheating. It is no prison for code
written by someone who studied it; hence nothing runs unless a person said so.
"""

from __future__ import annotations

import ast
import os
import re
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

from tunesmith.errors import UserError
from tunesmith.language.answers.extract import fenced, without_thought
from tunesmith.language.answers.faults import Fault, gather
from tunesmith.types import Finding, Row

PROGRAM = Path(__file__).with_name("code_child.py")
CODE_FILE = "answer.py"
SHOWN_CHARACTERS = 1_000
_LANGUAGES = ("python", "py", "python3")
_FUTURE = re.compile(r"^from[ \t]+__future__[ \t]+import[ \t]+\w.*$", re.MULTILINE)
_LOADER_PATH = "LD_LIBRARY_PATH"


@dataclass(frozen=True)
class CodeScorer:
    """Judges by running the row's ``tests`` (Python that raises where the answer is wrong) after the answer's code.

    A row may have code that goes before the answer in ``setup``; both may be lists of texts.

    Args:
        run_code: Whether a person has allowed that generated code is run.
        seconds: Most time of one answer with its tests.
        memory_bytes: Most memory of the process.
    """

    run_code: bool = False
    seconds: float = 10.0
    memory_bytes: int = 2**30
    name: ClassVar[str] = "code"
    goal: ClassVar[str] = "pass_at_1"
    codes: ClassVar[tuple[str, ...]] = ("no-tests", "gold-code-fails")

    def one(self, answer: str, reference: str, row: Row) -> dict[str, float]:
        """``pass_at_1``: the tests pass."""
        return {"pass_at_1": float(self._why_not(answer, row) is None)}

    def findings(self, rows: Sequence[Row], references: Sequence[str]) -> Iterable[Finding]:
        """Rows without tests, and references that fail their own."""
        self._demand_permission()
        return gather(rows, references, self._fault)

    def _fault(self, row: Row, reference: str) -> Fault | None:
        if not _joined(row.get("tests")).strip():
            return Fault(
                "no-tests",
                "have no tests",
                "column tests",
                "give Python in 'tests' that raises where the answer is wrong (assert f(1) == 2)",
            )
        reason = self._why_not(reference, row)
        if reason is None:
            return None
        return Fault(
            "gold-code-fails",
            "have a reference that fails their own tests",
            "column tests",
            "mend these references, tests or setups, or leave the rows out; code may use the standard library alone",
            reason,
        )

    def _why_not(self, answer: str, row: Row) -> str | None:
        """Why an answer fails; None where it passes."""
        self._demand_permission()
        tests = _joined(row.get("tests"))
        if not tests.strip():
            return "there are no tests"
        code = f"{_joined(row.get('setup'))}\n{code_of(answer)}"
        # What is no program by itself (an open quote, say) could swallow the tests that follow it.
        return _why_no_program(code) or run(_futures_first(f"{code}\n\n{tests}\n"), self.seconds, self.memory_bytes)

    def _demand_permission(self) -> None:
        if not self.run_code:
            raise UserError(
                "judging code means running what a model wrote, and that was not allowed",
                "recipe: options.run_code",
                "options.run_code: true",
            )
        if os.name != "posix":
            raise UserError(
                "code is run on Linux and macOS only, where its memory can be limited",
                "recipe: options",
                "evaluate there, or choose another scorer",
            )


def code_of(answer: str) -> str:
    """The code of an answer: its Python fence, else all of it, indented as it is."""
    text = without_thought(answer)
    inside = fenced(text, _LANGUAGES)
    return text.strip("\r\n") if inside is None else inside


def run(program: str, seconds: float, memory_bytes: int) -> str | None:
    """Run a program, shut in; None where it reached its end, else why not.

    The end is told by a number that the process is given at the start and repeats after the last line, so that
    leaving early or printing anything is no success.
    """
    nonce = secrets.token_hex(16).encode()
    with tempfile.TemporaryDirectory(prefix="tunesmith-", ignore_cleanup_errors=True) as folder:
        home = Path(folder).resolve() / "home"
        home.mkdir()
        (home / CODE_FILE).write_bytes(program.encode("utf-8", "replace"))
        with (Path(folder) / "stderr").open("w+b") as errors:
            child = subprocess.Popen(
                # Isolated: no environment, no site-packages, no file of ours on the path, no bytecode written.
                [sys.executable, "-I", "-S", "-B", "-X", "utf8", str(PROGRAM), str(seconds), str(memory_bytes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=home,
                env=_environment(home),
                start_new_session=True,
            )
            with child:
                try:
                    said = _said(child, nonce, seconds)
                finally:
                    # The whole group, so that nothing the code has started goes on.
                    with suppress(ProcessLookupError, PermissionError):
                        os.killpg(child.pid, signal.SIGKILL)
            if said == nonce:
                return None
            if said is None:
                return f"it was stopped after {seconds:g} s"
            return _last_words(errors) or f"it ended before its end (exit code {child.returncode})"


def _environment(home: Path) -> dict[str, str]:
    # Fewer arenas: each reserves address space, which is what the memory limit counts.
    found = {"TMPDIR": str(home), "HOME": str(home), "MALLOC_ARENA_MAX": "2"}
    # Some Pythons find their own library no other way.
    return {**found, _LOADER_PATH: os.environ[_LOADER_PATH]} if _LOADER_PATH in os.environ else found


def _said(child: subprocess.Popen[bytes], nonce: bytes, seconds: float) -> bytes | None:
    """What the process wrote until it closed its output, a little longer than the number at most; None: out of time."""
    assert child.stdin is not None
    assert child.stdout is not None
    with suppress(BrokenPipeError), child.stdin as stream:
        stream.write(nonce)
    deadline = time.monotonic() + seconds
    said = b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while len(said) <= len(nonce):
            left = deadline - time.monotonic()
            if left <= 0 or not selector.select(left):
                return None
            piece = os.read(child.stdout.fileno(), 1 + len(nonce) - len(said))
            if not piece:
                break
            said += piece
    return said


def _last_words(errors: IO[bytes]) -> str:
    """The end of what was written to stderr, where a traceback says what happened."""
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - SHOWN_CHARACTERS))
    lines = errors.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""


def _joined(value: Any) -> str:
    return "\n".join(map(str, value)) if isinstance(value, list | tuple) else str(value or "")


def _why_no_program(code: str) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(code)
    except (SyntaxError, ValueError) as error:
        return f"it is no Python: {error}"
    except (RecursionError, MemoryError):
        return "it is nested too deeply"
    return None


def _futures_first(program: str) -> str:
    """A program with its ``from __future__`` lines at the top, where Python wants them, after any setup too."""
    return "\n".join([*_FUTURE.findall(program), _FUTURE.sub("", program)])
