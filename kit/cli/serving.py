"""``serve`` and ``lab``: things that run until they are stopped."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from ..errors import InputError
from ..replay import Replay
from ..standin import FAULTS, SESSION_S, Reply, StandIn, replies_from_json
from .options import Verbs, drift_options


def _serve(args: argparse.Namespace) -> int:
    if not 0 <= args.port <= 65_535:
        raise InputError(f"--port must be 0 (any free one) to 65535, not {args.port}")
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_run_server(args))
    return 0


def _server(args: argparse.Namespace) -> StandIn | Replay:
    if args.replay:
        return Replay(args.replay, pace=args.pace, host=args.host, port=args.port)
    if args.key_env and not os.environ.get(args.key_env):
        raise InputError(f"{args.key_env} is not set; put the key that clients must send into it")
    return StandIn(
        faults=args.fault,
        replies=_script(args.replies) if args.replies else None,
        require_key=os.environ[args.key_env] if args.key_env else None,
        origins=args.origin,
        session_s=args.session_seconds,
        drift=args.drift,
        seed=args.seed,
        dialect=args.dialect,
        pace=args.pace,
        host=args.host,
        port=args.port,
        beta_disabled=args.beta_disabled,
    )


def _script(path: str) -> tuple[Reply, ...]:
    try:
        return replies_from_json(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(f"cannot read {path!r}: {exc}; --replies takes a JSON list in UTF-8") from exc


async def _run_server(args: argparse.Namespace) -> None:
    server = _server(args)
    try:
        await server.start()
    except OSError as exc:
        raise InputError(
            f"cannot listen on {args.host}:{args.port} ({exc.strerror or exc}); choose another --port, or 0"
        ) from exc
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):  # before the first line: who reads it may end us at once
        # Windows has no signal handlers on its loop; Ctrl-C still raises there
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(server.url, flush=True)  # the first line, whatever else is said: scripts read it
    print(f"{server!r}; Ctrl-C ends it", flush=True)
    try:
        await stop.wait()
    finally:
        await server.stop()


def _lab(args: argparse.Namespace) -> int:
    notebooks = Path(__file__).resolve().parents[2] / "notebooks"
    if not notebooks.is_dir():
        raise InputError(
            f"there are no notebooks beside the package ({notebooks}); run this from a clone of the project"
        )
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        f"--ServerApp.root_dir={notebooks}",
        "--LabApp.news_url=",
        *args.jupyter,
    ]
    print(f"notebooks: {notebooks}", flush=True)
    return subprocess.run(command, check=False, env=os.environ | {"JUPYTER_PLATFORM_DIRS": "1"}).returncode


def add(verbs: Verbs) -> None:
    """Add these verbs to the command line."""
    serve = verbs.add_parser(
        "serve", parents=[drift_options()], help="the stand-in, for any client; the first line is its URL"
    )
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=8765, help="0: any free one (default 8765)")
    serve.add_argument("--dialect", choices=("ga", "beta", "both"), default="both")
    serve.add_argument("--beta-disabled", action="store_true", help="refuse beta as the service does since 2026-05")
    serve.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME[=V][@WHEN]",
        help="fail on purpose, the Nth time (@N, @N-M), @every time or by chance (@p=0.1); may be repeated: "
        + ", ".join(kind.name for kind in FAULTS),
    )
    serve.add_argument("--replies", metavar="FILE", help="say these instead, in order: a JSON list of texts and calls")
    serve.add_argument(
        "--key-env", metavar="NAME", help="the variable with the key that clients must send; needed off loopback"
    )
    serve.add_argument("--origin", action="append", default=[], metavar="URL", help="web pages that may connect")
    serve.add_argument(
        "--session-seconds",
        type=float,
        default=SESSION_S,
        metavar="S",
        help="how long a session may last (default 3600)",
    )
    serve.add_argument(
        "--replay", metavar="LOG", help="play a recorded session again instead; --pace 1 keeps its times"
    )
    serve.set_defaults(run=_serve)
    lab = verbs.add_parser("lab", help="the notebooks, in JupyterLab")
    lab.add_argument("jupyter", nargs=argparse.REMAINDER, help="options for jupyter lab, such as --no-browser")
    lab.set_defaults(run=_lab)
