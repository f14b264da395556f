"""The verb of the server: serve.

Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunesmith.cli.shell import AsJson, app, note, tell
from tunesmith.errors import EXIT_DONE, UserError

if TYPE_CHECKING:
    from tunesmith.server.settings import Settings

MIB, GIB = 1 << 20, 1 << 30
COMMAND = "command line"
STANDARD = {"smollm2-135m": "starter:smollm2-135m"}


@app.command()
def serve(
    folder: Annotated[Path, typer.Option(help="Files, jobs and what was tuned.")] = Path("tunesmith-server"),
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8642,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="TUNESMITH_TOKEN",
            show_envvar=True,
            help="That every request must carry; a random one if none is given. Others can read a command line.",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="A base that may be tuned and asked; repeatable.", metavar="NAME=MODEL"),
    ] = None,
    run: Annotated[
        list[str] | None,
        typer.Option(help="A finished run that is served as a model; repeatable.", metavar="NAME=FOLDER"),
    ] = None,
    answer_to: Annotated[
        list[str] | None,
        typer.Option(help="A further host name that clients may ask for; repeatable.", metavar="HOST[:PORT]"),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(help="Pages of this origin may ask, from a browser; repeatable.", metavar="ORIGIN"),
    ] = None,
    open_to_network: Annotated[
        bool, typer.Option("--open-to-network", help="Listen at an address other machines reach; needs a token.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="In which bases are held: fp32, bf16 or fp16.")] = "fp32",
    jobs_at_once: Annotated[int, typer.Option(min=1, help="Jobs that train at a time.")] = 1,
    queue: Annotated[int, typer.Option(min=1, help="Most requests that wait for a model.")] = 64,
    seconds: Annotated[float, typer.Option(min=1.0, help="Most seconds of one answer.")] = 600.0,
    upload_mib: Annotated[int, typer.Option(min=1, help="Most MiB of one file.")] = 1024,
    memory_gib: Annotated[float, typer.Option(min=0.1, help="GiB for loaded models.")] = 8.0,
    as_json: AsJson = False,
) -> int:
    """Answer OpenAI's fine-tuning and inference API on this machine, until Ctrl-C."""
    check_installed()
    from tunesmith.server.listening import serve as listen
    from tunesmith.server.security import check_token, new_token
    from tunesmith.server.settings import Settings

    check_reach(host, token, open_to_network)
    bases, runs = pairs(model, "--model NAME=MODEL") or STANDARD, folders(run, "--run NAME=FOLDER")
    for name in runs.keys() & bases.keys():
        raise UserError(f"{name!r} is a model and a run", "--model and --run", "give each a name of its own")
    settings = Settings(
        folder=folder,
        host=host,
        port=port,
        token=check_token(token) if token else new_token(),
        hosts=tuple(check_host(one) for one in answer_to or ()),
        origins=tuple(check_origin(one) for one in origin or ()),
        models=bases,
        runs=runs,
        upload_bytes=upload_mib * MIB,
        queue=queue,
        seconds=seconds,
        jobs_at_once=jobs_at_once,
        model_bytes=int(memory_gib * GIB),
        device=device,
        dtype=dtype,
    )
    listen(settings, lambda held: greet(held, shown=token is None, as_json=as_json))
    return EXIT_DONE


def check_installed() -> None:
    """What the server stands on comes with an extra.

    Raises:
        UserError: One of it is not installed.
    """
    from importlib.util import find_spec

    missing = [name for name in ("starlette", "uvicorn", "python_multipart") if find_spec(name) is None]
    if missing:
        raise UserError(f"the server needs {', '.join(missing)}", COMMAND, 'pip install "tunesmith[serve]"')


def check_reach(host: str, token: str | None, open_to_network: bool) -> None:
    """Other machines reach the server only where a person said so twice: by the flag, and by a token they know.

    Raises:
        UserError: The address is none of loopback, and the flag or the token is missing.
    """
    from tunesmith.server.listening import is_loopback

    if is_loopback(host):
        return
    if not open_to_network:
        fix = "leave --host out, or add --open-to-network if that is meant"
        raise UserError(f"other machines can reach {host}", COMMAND, fix)
    if not token:
        fix = "set TUNESMITH_TOKEN to one that clients know"
        raise UserError(f"a server at {host} needs a token of yours", COMMAND, fix)


def check_host(name: str) -> str:
    """A value of the Host header, as a person writes it.

    Raises:
        UserError: It is none: a star, an address with a scheme or a path.
    """
    import re

    if not re.fullmatch(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?", name):
        raise UserError(f"{name!r} is no host name", "--answer-to", "write it as in box.example or box.example:8642")
    return name


def check_origin(origin: str) -> str:
    """An origin of pages, as browsers send it.

    Raises:
        UserError: It is none: ``null``, a star, something with a path.
    """
    from urllib.parse import urlsplit

    parts = urlsplit(origin)
    if parts.scheme not in ("http", "https") or not parts.netloc or origin != f"{parts.scheme}://{parts.netloc}":
        raise UserError(f"{origin!r} is no origin", "--origin", "write scheme, host and port: http://localhost:3000")
    return origin


def pairs(given: list[str] | None, option: str) -> dict[str, str]:
    """``NAME=VALUE``, several times.

    Raises:
        UserError: One has another form, or a name comes twice.
    """
    found: dict[str, str] = {}
    for one in given or ():
        name, equals, value = one.partition("=")
        if not (name and equals and value):
            raise UserError(f"{one!r} has no name and value", option, "write it as NAME=VALUE")
        if name in found:
            raise UserError(f"{name!r} is given twice", option, "give each a name of its own")
        found[name] = value
    return found


def folders(given: list[str] | None, option: str) -> dict[str, Path]:
    """``NAME=FOLDER``, several times.

    Raises:
        UserError: As with `pairs`, or a folder is not there.
    """
    found = {name: Path(place).expanduser() for name, place in pairs(given, option).items()}
    for place in found.values():
        if not place.is_dir():
            raise UserError("there is no such folder", str(place), "name the folder of a finished run")
    return found


def greet(settings: Settings, shown: bool, as_json: bool = False) -> Any:
    """Say where the server is and how to ask it; the token only where it was made here. As JSON it is one line."""
    from tunesmith.server.listening import is_loopback
    from tunesmith.server.security import WILDCARDS, bracketed

    host = "127.0.0.1" if settings.host in WILDCARDS else bracketed(settings.host)
    base = f"http://{host}:{settings.port}/v1"
    if as_json:
        models = [*settings.models, *settings.runs]
        own = {"token": settings.token} if shown else {}
        tell(json.dumps({"base_url": base, "folder": str(settings.folder), "models": models, **own}))
        return
    tell(f"serving {base} from {settings.folder}; Ctrl-C stops it")
    tell(f"  models  {', '.join([*settings.models, *settings.runs])}")
    if shown:
        tell(f"  token   {settings.token}")
    token = settings.token if shown else "$TUNESMITH_TOKEN"
    tell(f'  try     curl -H "Authorization: Bearer {token}" {base}/models')
    if not is_loopback(settings.host):
        note("warning: other machines can reach this server, and nothing is encrypted: use it in a network you trust")
