"""Options that several verbs share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from .. import show
from ..endpoint import NAMES

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Verbs = Any


def complain(exc: Exception, code: int) -> int:
    """One sentence on standard error; returns the exit code."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text(f"kit: {show.plain(exc)}"))
    return code


def drift_options() -> argparse.ArgumentParser:
    """How the stand-in behaves."""
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument(
        "--drift", default="documented", metavar="RULE", help="documented, never, always, p=Q or per-response=Q"
    )
    options.add_argument("--seed", type=int, default=0, help="of the stand-in's draws (default 0)")
    options.add_argument(
        "--pace", type=float, default=None, metavar="FACTOR", help="audio at FACTOR times real time (default: at once)"
    )
    return options


def session_options() -> argparse.ArgumentParser:
    """Where to connect, and how."""
    options = argparse.ArgumentParser(add_help=False, parents=[drift_options()])
    options.add_argument(
        "--endpoint", default="standin", metavar="WHERE", help=f"{', '.join(NAMES)}, or a ws:// URL (default standin)"
    )
    options.add_argument("--model", help="the model, or Azure's deployment")
    options.add_argument("--dialect", choices=("ga", "beta"), default="ga")
    options.add_argument("--key-env", metavar="NAME", help="the environment variable that holds the key for a URL")
    options.add_argument("--timeout", type=float, default=60, metavar="S", help="for one response (default 60)")
    options.add_argument("--wav", metavar="DIR", help="keep every spoken reply there")
    return options
