"""``serve``, ``record`` and ``lab``: things that run until they are stopped."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from .. import show
from ..endpoint import endpoint
from ..errors import InputError, RemoteProtocolError
from ..eventlog import LogWriter
from ..files import named_path, read_text
from ..relay import Relay
from ..replay import Replay
from ..standin import FAULTS, SESSION_S, StandIn, json_list
from ..wire.events import Event, decode
from .options import Verbs, access, add_verb, live_options, until_stopped

_MAX_FILE_BYTES = 16 << 20  # of replies or rules
_CLONE = Path(__file__).resolve().parents[2]  # the notebooks are beside the package, not in it
_FIRST_NOTEBOOK = "00-connect-and-hear-a-reply.ipynb"


def _record(args: argparse.Namespace) -> int:
    relay = Relay(
        endpoint(args.to, **access(args)),
        log=args.log,
        key_env=args.key_env,
        audio="keep" if args.keep_audio else "digest",
        on_reply=lambda reply: print(show.plain(reply), flush=True),
        host=args.host,
        port=args.port,
        require_key=_required_key(args.client_key_env),
        origins=tuple(args.origin),
    )
    _run(relay, args)
    if relay.folder is not None and relay.n_connections:
        print(f"{relay.n_connections} sessions in {relay.folder}; kit log {relay.folder}")
    return 0


def _required_key(variable: str | None) -> str | None:
    if variable and not os.environ.get(variable, "").strip():
        raise InputError(f"{variable} is not set, or blank; put the key that clients must send into it")
    return os.environ[variable] if variable else None


def _serve(args: argparse.Namespace) -> int:
    def tell(sentence: str) -> None:
        print(show.plain(sentence), file=sys.stderr, flush=True)

    same: dict[str, Any] = {name: getattr(args, name) for name in ("host", "port", "pace")}
    same |= {"origins": args.origin, "require_key": _required_key(args.key_env)}
    if args.replay:
        differing = [name for name in _NOT_BESIDE_REPLAY if getattr(args, name) != args.defaults[name]]
        if differing:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in differing)
            raise InputError(f"--replay plays what was recorded: it does not go with {flags}")
        return _run(Replay(args.replay, on_departed=tell, **same), args)
    names = ("drift", "seed", "dialect", "beta_disabled", "strict", "first_ms", "token_ms", "tls")
    options = {name: getattr(args, name) for name in names}
    for name in ("replies", "rules"):
        path = getattr(args, name)
        options[name] = json_list(read_text(path, _MAX_FILE_BYTES), name) if path else None
    folder = named_path(args.log) if args.log else None
    server = StandIn(
        **options,
        faults=args.fault,
        live=live_options(args),
        session_s=args.session_seconds,
        journal=True,
        recorder=None if folder is None else partial(_SessionLog, folder),
        on_notice=tell,
        **same,
    )
    return _run(server, args)


# Options of the stand-in: what plays a recording draws nothing, refuses nothing and answers nothing of its own.
_NOT_BESIDE_REPLAY = (
    "drift", "live", "fault", "seed", "dialect", "beta_disabled", "replies", "rules", "strict", "first_ms", "token_ms", "log", "tls",
    "session_seconds",
)  # fmt: skip


class _SessionLog:
    """Write one session of the stand-in as the kit's event log, for ``--log``."""

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        self._began_s = time.monotonic()
        self._log = LogWriter(folder / f"{facts['connection']:05}-{facts['session']}.jsonl")
        self._log.begin(endpoint="standin", url="", model=facts["model"], dialect=facts["dialect"], simulated=True)

    def frame(self, direction: str, frame: str | bytes, refused: bool) -> None:
        data = frame.encode() if isinstance(frame, str) else bytes(frame)
        at_ms = (time.monotonic() - self._began_s) * 1000
        if direction == "client":
            self._log.client([data], at_ms)
            return
        try:
            event: Event | Exception = decode(data, at_ms)
        except RemoteProtocolError as exc:
            event = exc
        self._log.server([data], [event], at_ms)

    def end(self, code: int | None, reason: str) -> None:
        self._log.end(code=code, reason=reason, at_ms=(time.monotonic() - self._began_s) * 1000)


def _run(server: StandIn | Replay | Relay, args: argparse.Namespace) -> int:
    """Run it until it is stopped; its URL is the first line printed."""
    if not 0 <= args.port <= 65_535:
        raise InputError(f"--port must be 0 (any free one) to 65535, not {args.port}")

    async def run() -> None:
        try:
            await server.start()
        except OSError as exc:
            where = f"{args.host}:{args.port} ({exc.strerror or exc})"
            raise InputError(f"cannot listen on {where}; choose another --port, or 0") from exc
        stopped = asyncio.create_task(until_stopped())
        await asyncio.sleep(0)  # it listens before the first line is printed: its reader may end this process at once
        print(server.url, flush=True)  # always the first line: scripts read it
        if isinstance(server, StandIn) and server.ca_path is not None:
            print(f"clients must trust {server.ca_path}; Node: NODE_EXTRA_CA_CERTS={server.ca_path}", flush=True)
        print(f"{server!r}; Ctrl-C ends it", flush=True)
        try:
            await stopped
        finally:
            await server.stop()

    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(run())
    return 0


def _lab(args: argparse.Namespace) -> int:
    notebooks = _CLONE / "notebooks"
    if not notebooks.is_dir():
        raise InputError(f"there are no notebooks at {notebooks}; run this from a clone of the project")
    options = args.unknown[1:] if args.unknown[:1] == ["--"] else args.unknown
    command = [sys.executable, "-m", "jupyterlab", "--LabApp.news_url=None"]
    # From the clone's root, so that links from a notebook to README and to runs/ lead somewhere.
    command += [f"--ServerApp.root_dir={_CLONE}", f"--LabApp.default_url=/lab/tree/notebooks/{_FIRST_NOTEBOOK}"]
    print(f"notebooks: {notebooks}", flush=True)
    environment = os.environ | {"JUPYTER_PLATFORM_DIRS": "1"}
    if os.name == "posix":  # in this process's place: a signal that ends `kit lab` leaves no server behind
        os.execve(command[0], [*command, *options], environment)
    return subprocess.run([*command, *options], check=False, env=environment).returncode


def add(verbs: Verbs) -> None:
    """Add these verbs to the command line."""
    key = {"help": "require the key in this environment variable; needed off loopback"}
    dialect = {"choices": ("ga", "beta", "both"), "default": "both", "help": "speak GA, beta or both (default: both)"}
    serve = add_verb(
        verbs, "serve", _serve, "serve the stand-in to any client; the first line printed is its URL",
        "host", "port", "dialect", "key-env", "origin", "log", "drift", "live", "seed", "pace", "fault",
        description=f"Faults: {', '.join(kind.name for kind in FAULTS)}. kit/standin/README.md explains them.",
        key_env=key, dialect=dialect,
    )  # fmt: skip
    add = serve.add_argument
    add("--beta-disabled", action="store_true", help="refuse beta as the service does since 2026-05")
    add("--replies", metavar="FILE", help="say these, in order: a JSON list of texts and calls")
    add("--rules", metavar="FILE", help="answer what the user says by these: a JSON list of {when, reply, after}")
    add("--strict", action="store_true", help="fail a response that no reply and no rule is there for")
    add("--first-ms", type=float, metavar="MS", help="begin a reply this much real time after it is asked for")
    add("--token-ms", type=float, metavar="MS", help="send text this much real time apart")
    add("--tls", action="store_true", help="speak wss:// with a certificate made on the spot (extra: tls)")
    limit = f"end a session after this long (default: {SESSION_S:g})"
    add("--session-seconds", type=float, default=SESSION_S, metavar="S", help=limit)
    add("--replay", metavar="LOG", help="play a recorded session again instead; --pace 1 keeps its times")
    serve.set_defaults(defaults={name: serve.get_default(name) for name in _NOT_BESIDE_REPLAY})
    key = {"help": "send the key in this environment variable; the client then needs none"}
    record = add_verb(
        verbs, "record", _record, "pass any client's sessions on to an endpoint and keep them as event logs",
        "log", "host", "port", "key-env", "auth", "header", "origin",
        description="Give the client the printed URL in place of the service's; change nothing else. Its own key goes "
        "through and is not kept. A line is printed for each reply: what was asked for, what arrived, and when.",
        key_env=key,
    )  # fmt: skip
    record.add_argument("--to", required=True, metavar="WHERE", help="pass on to this endpoint: a name or a URL")
    record.add_argument("--keep-audio", action="store_true", help="keep the sound, not only its length and digest")
    record.add_argument("--client-key-env", metavar="NAME", help="require this key of clients; needed off loopback")
    lab = add_verb(
        verbs, "lab", _lab, "open the notebooks in JupyterLab",
        description="Every option goes to JupyterLab: kit lab --no-browser --port 8890",
    )  # fmt: skip
    lab.set_defaults(passes_on=True)
