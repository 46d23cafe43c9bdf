"""The options of all verbs: one table, so that an option has the same name, form and help wherever it is taken."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from .. import show
from ..endpoint import NAMES, Auth, Price, Protocol
from ..errors import InputError
from ..files import named_path

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Verbs = Any


def seconds(text: str) -> float:
    """A length of time on the command line."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a time; give seconds above 0")
    return value


def folder(text: str) -> Path:
    """A folder that may still have to be made."""
    path = named_path(text)
    if path.exists() and not path.is_dir():
        raise InputError(f"{show.one_line(text, 200)} is a file; name a folder")
    return path


def header(text: str) -> tuple[str, str]:
    """A header as it is printed: ``NAME: VALUE``."""
    name, colon, value = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError("a header is given as 'NAME: VALUE'")  # what was given may be a key
    return name.strip(), value.strip()


def in_words(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Keep the sentence of an error, for which argparse has one of its own."""

    def parse_in_words(text: str) -> Any:
        try:
            return parse(text)
        except InputError as exc:
            raise argparse.ArgumentTypeError(str(exc)) from None

    return parse_in_words


def access(args: argparse.Namespace) -> dict[str, Any]:
    """How an endpoint is reached and what it costs, as far as it was said; as `connect` and `Settings` take it."""
    fields = {"key_env": args.key_env, "auth": args.auth, "headers": dict(args.header or ())}
    return {name: value for name, value in (fields | {"price": getattr(args, "price", None)}).items() if value}


def live_field(text: str) -> tuple[str, str | float | bool]:
    """A switch of the stand-in's GPT-Live sessions: ``NAME=VALUE``, or ``NAME`` to switch it on."""
    name, _, value = text.partition("=")
    if name.endswith(("_ms", "_s")):
        return name, float(value)
    if name in ("silence", "replies", "hears"):
        return name, value
    if value.lower() not in ("", "yes", "true", "no", "false"):
        raise argparse.ArgumentTypeError(f"{show.one_line(name, 60)} is switched on by itself, or off by =no")
    return name, value.lower() not in ("no", "false")


def live_options(args: argparse.Namespace) -> dict[str, Any]:
    """What ``--live`` asks of the stand-in's GPT-Live sessions."""
    fields: dict[str, Any] = {}
    for name, value in args.live:
        fields[name] = [*fields.get(name, ()), value] if name in ("replies", "hears") else value
    return fields


SESSION = (
    "endpoint", "model", "dialect", "protocol", "key-env", "auth", "header", "call-id", "drift", "live", "seed", "pace", "fault", "timeout",
)  # fmt: skip


def _help_of_drift() -> str:
    from ..standin import drift_rules  # half a second, which not every verb has to wait

    return f"let the stand-in drift: {drift_rules()}; several by +; fresh: in front draws anew at each attempt (default: documented)"


OPTIONS: dict[str, dict[str, Any]] = {
    # where to connect
    "endpoint": {"default": "standin", "metavar": "WHERE", "help": f"connect there: {', '.join(NAMES)}, or a ws:// URL (default: standin)"},
    "model": {"help": "use this model, or deployment of Azure's"},
    "dialect": {"choices": ("ga", "beta"), "help": "speak GA or beta (default: what the endpoint speaks)"},
    "protocol": {"choices": get_args(Protocol), "help": "speak Realtime or GPT-Live (default: what the model belongs to)"},
    "key-env": {"metavar": "NAME", "help": "read the key for a URL from this environment variable"},
    "auth": {"choices": get_args(Auth), "help": "send the key this way (default: as the endpoint wants it; bearer)"},
    "header": {
        "action": "append", "type": header, "metavar": "NAME: VALUE",
        "help": "send this header when connecting; kept nowhere; may be repeated",
    },
    "price": {
        "type": in_words(Price.parse), "metavar": "PRICE",
        "help": "what the endpoint costs, where the kit does not know: a model's name, or 'text=4/0.4/24 audio=32/0.4/64 image=5/0.5' in "
                "USD per million tokens (input, cached, output)",
    },
    "call-id": {"metavar": "ID", "help": "join this WebRTC or SIP call beside the caller"},
    "timeout": {"type": seconds, "default": 60, "metavar": "S", "help": "wait this long for a response (default: 60)"},
    # the stand-in
    "drift": {"default": "documented", "metavar": "RULE", "help": _help_of_drift},
    "live": {
        "action": "append", "default": [], "type": live_field, "metavar": "NAME[=V]",
        "help": "let the stand-in's GPT-Live sessions be so: silence=RULE (documented, never, always, p=Q, p=Q@N messages), "
                "late_ms=MS, drops_after_s=S, replies=TEXT, hears=TEXT, null_codes, greets, usage=no; may be repeated",
    },
    "seed": {"type": int, "default": 0, "metavar": "N", "help": "seed the order and the stand-in's draws (default: 0)"},
    "pace": {"type": float, "metavar": "FACTOR", "help": "let the stand-in speak at FACTOR times real time (default: at once)"},
    "fault": {
        "action": "append", "default": [], "metavar": "NAME[=V][@WHEN]",
        "help": "let the stand-in fail, the Nth time (@N, @N-M), @every time or by chance (@p=0.1); may be repeated",
    },
    # a server
    "host": {"default": "127.0.0.1", "help": "listen on this address (default: 127.0.0.1)"},
    "port": {"type": int, "default": 8765, "metavar": "N", "help": "listen on this port; 0: any (default: 8765)"},
    "origin": {"action": "append", "default": [], "metavar": "URL", "help": "let this web page connect; may be repeated"},
    # what to keep, and where
    "wav": {"type": in_words(folder), "metavar": "DIR", "help": "keep every spoken reply in this folder"},
    "log": {"metavar": "DIR", "help": "keep an event log of each session in this folder"},
    "out": {"metavar": "PATH", "help": "write there"},
    "overwrite": {"action": "store_true", "help": "replace a file that exists"},
    "sound": {"action": "store_true", "help": "keep the sound of every reply in the ledger, 25 kB a second: the report plays it"},
    "no-events": {"action": "store_true", "help": "keep no events: a smaller ledger, of which no bundle can be made"},
    # how to run
    "say": {"action": "append", "default": [], "metavar": "TEXT", "help": "say this next; may be repeated"},
    "at-once": {"type": int, "default": 8, "metavar": "N", "help": "run this many sessions at a time (default: 8)"},
    "budget": {"type": float, "metavar": "USD", "help": "spend no more than this on the whole ledger"},
    "quiet": {"action": "store_true", "help": "draw no progress bar"},
    # how to show it
    "baseline": {"metavar": "ARM", "help": "compare the other arms with this one (default: as planned, else as_is)"},
    "csv": {"action": "store_true", "help": "print every column as CSV"},
    "json": {"action": "store_true", "help": "print every column as JSON"},
}  # fmt: skip


def add_options(parser: argparse._ActionsContainer, *names: str, **changes: dict[str, Any]) -> None:
    """Add options of the table; a keyword (its dashes as underscores) changes the default or help of one."""
    for name in names:
        option = OPTIONS[name] | changes.get(name.replace("-", "_"), {})
        text = option["help"]
        parser.add_argument(f"--{name}", **option | {"help": text() if callable(text) else text})


def add_verb(
    verbs: Verbs,
    name: str,
    run: Callable[[argparse.Namespace], int | Coroutine[Any, Any, int]],
    help: str,
    *options: str,
    description: str | None = None,
    **changes: dict[str, Any],
) -> argparse.ArgumentParser:
    """Add a verb that calls `run`, with options of the table; `changes` as in `add_options`."""
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=help, description=description)
    parser.set_defaults(run=run, parser=parser)  # itself, for errors and help that name its options
    add_options(parser, *options, **changes)
    return parser


async def until_stopped() -> None:
    """Wait for Ctrl-C or SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C raises in the loop instead
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


def stand_in(args: argparse.Namespace) -> dict[str, Any]:
    """What the options ask of the stand-in; nothing where another endpoint is named."""
    if args.endpoint != "standin":
        return {}
    options = {"drift": args.drift, "seed": args.seed, "pace": args.pace, "faults": args.fault}
    return options | ({"live": fields} if (fields := live_options(args)) else {})
