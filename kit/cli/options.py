"""Options that several verbs share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from .. import show
from ..endpoint import NAMES
from ..errors import InputError
from ..wire.records import Response

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Verbs = Any


def complain(exc: Exception, code: int) -> int:
    """One sentence on standard error; returns the exit code."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text(f"kit: {show.plain(exc)}"))
    return code


def keep_sound(response: Response, folder: Path | None) -> Path | None:
    """Write a spoken reply into the folder of ``--wav``; its absolute path, or ``None`` where there is nothing to keep."""
    if folder is None or response.audio is None:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise InputError(f"--wav: there can be no folder {show.one_line(str(folder), 200)} ({exc.strerror})") from exc
    return response.audio.save(folder / f"{show.file_name(response.id)}.wav")


def timeout_option() -> argparse.ArgumentParser:
    """How long to wait for a response that was asked for."""
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("--timeout", type=seconds, default=60, metavar="S", help="for one response (default 60)")
    return options


def seconds(text: str) -> float:
    """A length of time on the command line."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a time; give seconds above 0")
    return value


def _folder(text: str) -> Path:
    folder = Path(text).expanduser()
    if folder.exists() and not folder.is_dir():
        raise argparse.ArgumentTypeError(f"{show.one_line(text, 200)} is a file; name a folder")
    return folder


def drift_options(pace: float | None = None) -> argparse.ArgumentParser:
    """How the stand-in behaves; `pace` where none is asked for."""
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument(
        "--drift", default="documented", metavar="RULE", help="documented, never, always, p=Q or per-response=Q"
    )
    options.add_argument("--seed", type=int, default=0, help="of the stand-in's draws (default 0)")
    options.add_argument(
        "--pace",
        type=float,
        default=pace,
        metavar="FACTOR",
        help=f"audio at FACTOR times real time (default: {pace or 'at once'})",
    )
    return options


def session_options(*, pace: float | None = None) -> argparse.ArgumentParser:
    """Where to connect, and how."""
    options = argparse.ArgumentParser(add_help=False, parents=[drift_options(pace)])
    options.add_argument(
        "--endpoint", default="standin", metavar="WHERE", help=f"{', '.join(NAMES)}, or a ws:// URL (default standin)"
    )
    options.add_argument("--model", help="the model, or Azure's deployment")
    options.add_argument("--dialect", choices=("ga", "beta"), default="ga")
    options.add_argument("--key-env", metavar="NAME", help="the environment variable that holds the key for a URL")
    options.add_argument("--wav", type=_folder, metavar="DIR", help="keep every spoken reply there")
    return options
