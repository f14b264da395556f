"""The process that a model's code runs in: it shuts itself in, imports the code, and repeats a number after its end.

It knows no answer and no score. It runs as a program of its own (``code`` starts it), isolated and without packages;
hence it imports nothing but the standard library. Three walls, since each has gaps:

- limits of the kernel on memory, processor time and the size of files;
- where Linux permits, a network namespace of its own, no capabilities, and a filter of system calls: no other program,
  no other process, no socket that leaves the process;
- an audit hook of Python, everywhere: the same, and no file but those of the standard library and of the own folder.
"""

from __future__ import annotations

import ctypes
import math
import os
import resource
import struct
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn

CLONE_NEWUSER, CLONE_NEWNET, CLONE_THREAD = 0x10000000, 0x40000000, 0x00010000
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
EPERM, ENOSYS = 1, 38
AF_UNIX = 1
CAPABILITY_VERSION = 0x20080522

FILE_BYTES = 4 * 2**20
OPEN_FILES = 64
MOST_CHANGES = 256
"""Files and folders that may be made, changed or removed: with ``FILE_BYTES``, what a disk has to hold."""

# Numbers of system calls, from the kernel's asm/unistd_64.h and asm-generic/unistd.h; the first is the filter's name of
# the machine. Threads are clone with CLONE_THREAD; clone3 hides its flags from a filter, so it has to seem unknown.
MACHINES: dict[str, tuple[int, dict[str, int]]] = {
    "x86_64": (
        0xC000003E,
        {
            "clone": 56, "fork": 57, "vfork": 58, "clone3": 435, "execve": 59, "execveat": 322,
            "kill": 62, "tkill": 200, "tgkill": 234, "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297,
            "pidfd_send_signal": 424, "pidfd_getfd": 438, "ptrace": 101, "process_vm_readv": 310,
            "process_vm_writev": 311, "prlimit64": 302, "socket": 41, "connect": 42, "bind": 49, "io_uring_setup": 425,
            "unshare": 272, "setns": 308, "mount": 165, "mknod": 133, "mknodat": 259,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "clone": 220, "clone3": 435, "execve": 221, "execveat": 281,
            "kill": 129, "tkill": 130, "tgkill": 131, "rt_sigqueueinfo": 138, "rt_tgsigqueueinfo": 240,
            "pidfd_send_signal": 424, "pidfd_getfd": 438, "ptrace": 117, "process_vm_readv": 270,
            "process_vm_writev": 271, "prlimit64": 261, "socket": 198, "connect": 203, "bind": 200,
            "io_uring_setup": 425, "unshare": 97, "setns": 268, "mount": 40, "mknodat": 33,
        },
    ),
}  # fmt: skip

REFUSED_EVENTS = (
    "ctypes.", "fcntl.ioctl", "os.chdir", "os.exec", "os.fork", "os.kill", "os.link", "os.posix_spawn", "os.spawn",
    "os.startfile", "os.symlink", "os.system", "pty.", "resource.", "socket.", "subprocess.", "syslog.",
)  # fmt: skip
"""Beginnings of audit events. Links and other folders to stand in would make "inside the own folder" hard to tell."""
CHANGING_EVENTS = (
    "os.chflags", "os.chmod", "os.chown", "os.mkdir", "os.remove", "os.removexattr", "os.rename", "os.rmdir",
    "os.setxattr", "os.truncate", "os.utime",
)  # fmt: skip
READING_EVENTS = ("os.getxattr", "os.listdir", "os.listxattr", "os.scandir")
REFUSED_MODULES = {
    "_ctypes", "_dbm", "_gdbm", "_posixshmem", "_posixsubprocess", "_sqlite3", "_ssl", "_testcapi", "_tkinter",
    "ctypes", "readline",
}  # fmt: skip
"""Modules whose C code opens files or starts processes without telling a hook; refused when they are to be loaded."""
DEVICES = {"/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"}
TIME_ZONES = ("/usr/share/zoneinfo", "/etc/localtime")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def limit(seconds: float, memory_bytes: int) -> None:
    """Hard limits of the kernel, which the process can't raise again."""
    cpu_seconds = math.ceil(seconds) + 1
    for kind, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        set_limit(kind, value)


def set_limit(kind: int, value: int) -> None:
    """One limit, no higher than it already is. A system that doesn't know it (macOS: memory) has none."""
    _, most = resource.getrlimit(kind)
    least = value if most == resource.RLIM_INFINITY else min(value, most)
    with suppress(OSError, ValueError):
        resource.setrlimit(kind, (least, least))


def shut_in() -> None:
    """What Linux offers to a process without rights; where it offers less, at least no further process."""
    filtered = False
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.unshare(CLONE_NEWUSER | CLONE_NEWNET)
        # In a user namespace of its own a process has every capability; it is to have none.
        libc.capset(struct.pack("Ii", CAPABILITY_VERSION, 0), bytes(24))
        filtered = filter_calls(libc)
    if not filtered:
        set_limit(resource.RLIMIT_NPROC, 0)


def filter_calls(libc: Any) -> bool:
    """Install the filter of system calls; whether that worked."""
    machine = MACHINES.get(os.uname().machine)
    if machine is None or sys.maxsize < 2**32:
        return False
    steps = filter_program(*machine, os.getpid())
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = struct.pack("@HP", len(steps), ctypes.addressof(code))
    number = ctypes.c_ulong
    zero = number(0)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, number(1), zero, zero, zero):
        return False
    return not libc.prctl(PR_SET_SECCOMP, number(SECCOMP_MODE_FILTER), ctypes.c_char_p(program), zero, zero)


def filter_program(machine: int, calls: dict[str, int], own_id: int) -> list[tuple[int, int, int, int]]:
    """The filter as (operation, jump if true, jump if false, operand), in the kernel's classic BPF."""
    load, equal, at_least, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, kill, fail = 0x7FFF0000, 0x80000000, 0x00050000
    number_at, machine_at, argument_at = 0, 4, 16

    def refused(call: str, error: int = EPERM) -> list[tuple[int, int, int, int]]:
        return [(equal, 0, 1, calls[call]), (give, 0, 0, fail | error)] if call in calls else []

    def only_if(call: str, test: int, value: int) -> list[tuple[int, int, int, int]]:
        """Permitted where the first argument passes a test."""
        passed = [(load, 0, 0, argument_at), (test, 0, 1, value), (give, 0, 0, allow), (give, 0, 0, fail | EPERM)]
        return [(equal, 0, len(passed), calls[call]), *passed]

    steps = [(load, 0, 0, machine_at), (equal, 1, 0, machine), (give, 0, 0, kill), (load, 0, 0, number_at)]
    # x86 has a second set of numbers for the same calls.
    steps += [(at_least, 0, 1, 0x40000000), (give, 0, 0, fail | EPERM)]
    steps += refused("clone3", ENOSYS)
    steps += only_if("clone", any_bit, CLONE_THREAD)
    steps += only_if("socket", equal, AF_UNIX)
    steps += only_if("prlimit64", equal, 0)
    for call in ("kill", "tgkill"):
        steps += only_if(call, equal, own_id)
    special = {"clone", "clone3", "socket", "prlimit64", "kill", "tgkill"}
    for call in calls:
        steps += refused(call) if call not in special else []
    return [*steps, (give, 0, 0, allow)]


def forget() -> None:
    """Take away what this program itself needed and the code must not have."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("ctypes", "_ctypes")]:
        del sys.modules[name]
    # Where there is no filter of calls: what starts processes in C, for subprocess and multiprocessing alike.
    starter = import_module("_posixsubprocess")
    vars(starter)["fork_exec"] = refuse
    sys.modules["__main__"] = ModuleType("__main__")
    sys.argv = [""]


def refuse(*_: object) -> NoReturn:
    """Stands where a function was that starts processes."""
    raise PermissionError("refused: another process")


def hook(home: str, library: Sequence[str]) -> Callable[[str, tuple[Any, ...]], None]:
    """The audit hook. All that it decides by is bound here, where the code can't reach it by name.

    Args:
        home: The one folder to write in.
        library: Folders that may be read.
    """
    real, is_folder, text_of, refused_modules = os.path.realpath, os.path.isdir, os.fsdecode, frozenset(REFUSED_MODULES)
    refused, changing, reading = REFUSED_EVENTS, frozenset(CHANGING_EVENTS), frozenset(READING_EVENTS)
    devices, writes, own, roots = frozenset(DEVICES), WRITES, home + os.sep, tuple(root + os.sep for root in library)
    changes = 0

    def place(path: Any) -> str:
        return real(text_of("." if path is None else path))

    def read(path: str) -> None:
        within = f"{path}{os.sep}"
        # A folder opened elsewhere would be a place from which names that look like our own lead out.
        if not within.startswith(own) and (not within.startswith(roots) or is_folder(path)) and path not in devices:
            raise PermissionError(f"refused: reading {path}")

    def change(path: str) -> None:
        nonlocal changes
        changes += 1
        if not f"{path}{os.sep}".startswith(own):
            raise PermissionError(f"refused: changing {path}")
        if changes > MOST_CHANGES:
            raise PermissionError(f"refused: more than {MOST_CHANGES} changes of files")

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            # A number is a file that is open already.
            if not isinstance(path, int):
                where = place(path)
                (change if (flags or 0) & writes and where not in devices else read)(where)
        elif event == "import":
            name, file = arguments[:2]
            if name in refused_modules or (file and place(file).startswith(own)):
                raise ImportError(f"refused: {name}", name=name)
        elif event == "socket.__new__" and arguments[1] == AF_UNIX:
            # A pair of these is how asyncio wakes itself; none can be connected to anything.
            return
        elif event.startswith(refused):
            raise PermissionError(f"refused: {event}")
        elif event in changing:
            if isinstance(arguments[0], int):
                raise PermissionError(f"refused: {event} of an open file")
            for path in arguments[: 2 if event == "os.rename" else 1]:
                change(place(path))
        elif event in reading and not isinstance(arguments[0], int):
            where = place(arguments[0])
            if not f"{where}{os.sep}".startswith((own, *roots)):
                raise PermissionError(f"refused: reading {where}")

    return watch


def main() -> None:
    """Shut in, run ``answer.py`` of the working directory as a module, and write what stands on stdin to stdout."""
    seconds, memory_bytes = float(sys.argv[1]), int(sys.argv[2])
    home = os.path.realpath(".")
    library = [os.path.realpath(entry) for entry in (*sys.path, *TIME_ZONES) if entry]
    # The number stays unread in its pipe until the end, and neither it nor the verdict is where the code prints.
    number, verdict, nothing = os.dup(0), os.dup(1), os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    read, write, leave, show = os.read, os.write, os._exit, traceback.print_exc
    # Python empties a module that nobody holds, and this one is about to be put out of sight.
    this = sys.modules["__main__"]
    limit(seconds, memory_bytes)
    shut_in()
    forget()
    sys.path.insert(0, home)
    sys.addaudithook(hook(home, library))
    code = 1
    try:
        import_module("answer")
        write(verdict, read(number, 64))
        code = 0
    except BaseException:
        show()
    finally:
        del this
        leave(code)


if __name__ == "__main__":
    main()
