"""The same verbs from a terminal.

::

    python -m kit cases                 the four cases, a row each
    python -m kit case 1b               one of them; then you go on by typing
    python -m kit chat                  no history: just talk
    python -m kit serve --port 8765     the stand-in, for any client in any language
    python -m kit lab                   the notebooks, in JupyterLab
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import __version__, show
from .cases import Case, all_cases, case
from .clip import Clip
from .connecting import connect
from .endpoint import NAMES
from .errors import InputError, KitError
from .session import Session
from .standin import StandIn
from .wire.records import Response

_console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
_PROMPT_HELP = "type a turn · /clip FILE says a sound file · /events lists the events · /quit or Ctrl-D ends"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0 done, 1 a session failed, 2 wrong usage, 130 interrupted."""
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args))
    except KeyboardInterrupt:
        return 130
    except InputError as exc:
        return _complain(exc, 2)
    except KitError as exc:
        return _complain(exc, 1)


def _complain(exc: Exception, code: int) -> int:
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text(f"kit: {show.plain(exc)}"))
    return code


# --------------------------------------------------------------------------------------------------------------- verbs


def _cases(args: argparse.Namespace) -> int:
    return asyncio.run(_run_cases(args))


async def _run_cases(args: argparse.Namespace) -> int:
    _console.print(_row("case", "items", "reported", Text("arrived"), "first", "it says"))
    failed = 0
    said_where = False
    for each in all_cases():
        try:
            async with _connect(args, quiet=True, trial=f"case {each.name}") as session:
                response = await _play(session, each, args)
                origin = show.origin_word(session.simulated)
                where = f"{session.endpoint.name}, {session.model}, {session.dialect.name}"
        except InputError:  # a key that is not set, an endpoint that is none: the same for every case
            raise
        except KitError as exc:
            failed += 1
            _console.print(
                _row(each.name, str(len(each.history)), each.reported, _badge("failed"), "–", show.plain(exc))
            )
            continue
        said_where = True
        _console.print(
            _row(
                each.name,
                str(len(each.history)),
                each.reported,
                _badge(response.modality),
                _first(response),
                show.plain(response.words),
            )
        )
    if said_where:
        _console.print(
            f"\n{where}{f' – {origin}: this shows the instrument, not what a model does' if origin else ''}",
            style="dim",
        )
    return 1 if failed else 0


def _case(args: argparse.Namespace) -> int:
    chosen = case(args.name)
    return asyncio.run(_talk(args, chosen))


def _chat(args: argparse.Namespace) -> int:
    return asyncio.run(_talk(args, None))


async def _talk(args: argparse.Namespace, start: Case | None) -> int:
    async with _connect(args) as session:
        if start is not None:
            _show_history(start)
            _show_response(await _play(session, start, args))
        async for turn in _turns(args, session, always=start is None):
            try:
                response = await session.ask(turn, timeout_s=args.timeout)
            except InputError as exc:
                _complain(exc, 2)
                continue
            _keep_sound(response, args.wav)
            _show_response(response)
    return 0


async def _play(session: Session, chosen: Case, args: argparse.Namespace) -> Response:
    await session.seed(chosen.history)
    response = await session.respond(timeout_s=args.timeout)
    _keep_sound(response, args.wav)
    return response


async def _turns(args: argparse.Namespace, session: Session, *, always: bool) -> AsyncIterator[str | Clip]:
    """What the user says next: `--say`, then what is typed, or what is piped in to `chat`."""
    for words in args.say:
        _console.print(Text(f"you: {words}"))
        yield words
    if sys.stdin.isatty():
        from prompt_toolkit import PromptSession

        _console.print(_PROMPT_HELP, style="dim")
        prompt: PromptSession[str] = PromptSession()
        while True:
            try:
                line = (await prompt.prompt_async("you: ")).strip()
            except (EOFError, KeyboardInterrupt):
                return
            if line in ("/quit", "/exit"):
                return
            if line == "/events":
                _console.print(Text(repr(session.events)))
            elif line.startswith("/clip"):
                with _complaints():
                    yield Clip.load(line.removeprefix("/clip").strip())
            elif line.startswith("/"):
                _console.print(_PROMPT_HELP, style="dim")
            elif line:
                yield line
    elif always and not args.say:
        for line in sys.stdin:
            if line.strip():
                _console.print(Text(f"you: {show.plain(line.strip())}"))
                yield line.strip()


@contextlib.contextmanager
def _complaints() -> Iterator[None]:
    try:
        yield
    except InputError as exc:
        _complain(exc, 2)


def _serve(args: argparse.Namespace) -> int:
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_run_server(args))
    return 0


async def _run_server(args: argparse.Namespace) -> None:
    server = StandIn(
        drift=args.drift,
        seed=args.seed,
        dialect=args.serve_dialect,
        pace=args.pace,
        host=args.host,
        port=args.port,
        beta_disabled=args.beta_disabled,
    )
    try:
        await server.start()
    except OSError as exc:
        raise InputError(
            f"cannot listen on {args.host}:{args.port} ({exc.strerror or exc}); choose another --port, or 0"
        ) from exc
    print(server.url, flush=True)  # the first line, whatever else is said: scripts read it
    print(f"{server!r}; Ctrl-C ends it", flush=True)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(
            NotImplementedError
        ):  # Windows has no signal handlers on its loop; Ctrl-C still raises there
            loop.add_signal_handler(number, stop.set)
    try:
        await stop.wait()
    finally:
        await server.stop()


def _lab(args: argparse.Namespace) -> int:
    notebooks = Path(__file__).resolve().parents[1] / "notebooks"
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


# --------------------------------------------------------------------------------------------------------- what is shown


def _row(name: str, items: str, reported: str, arrived: Text, first: str, words: str) -> Table:
    # A table of one row, so that each case is printed when it is done; the widths make the rows one table.
    grid = Table.grid(padding=(0, 2, 0, 0))
    for width in (4, 5, 8, 10, 14):
        grid.add_column(width=width)
    grid.add_column(ratio=1)
    grid.add_row(name, items, reported, arrived, first, Text(words))
    return grid


def _badge(modality: str | None) -> Text:
    word = modality or "pending"
    return Text(f"{show.SIGNS.get(word, '…')} {word}", style=f"bold {show.COLOURS.get(word, '#7F7F7F')}")


def _first(response: Response) -> str:
    if response.first_audio_ms is not None:
        return f"audio {show.ms(response.first_audio_ms)}"
    return f"text {show.ms(response.first_text_ms)}"


def _show_history(chosen: Case) -> None:
    table = Table(
        title=f"case {chosen.name}, reported: {chosen.reported}", title_justify="left", box=None, padding=(0, 2, 0, 0)
    )
    for head in ("", "who", "says"):
        table.add_column(head)
    for n, item in enumerate(chosen.history):
        clip = next((part.clip for part in item.parts if part.clip), None)
        sound = f" (a clip of {clip.duration_ms / 1000:.1f} s)" if clip else ""
        table.add_row(str(n), item.role or item.type, Text(show.plain(item.text) + sound))
    _console.print(table)


def _show_response(response: Response) -> None:
    line = _badge(response.modality)
    seconds = f"{response.audio.duration_ms / 1000:.1f} s of audio, " if response.audio else ""
    state = "" if response.status == "completed" else f"{response.status} {response.reason or ''}, "
    mark = show.origin_word(response.simulated)
    line.append(f"  {show.plain(response.words)}", style="default not bold")
    _console.print(line)
    detail = f"{state}{seconds}first {_first(response)}, done {show.ms(response.done_ms)}{f', {mark}' if mark else ''}"
    _console.print(f"   {detail}", style="dim")


def _keep_sound(response: Response, folder: str | None) -> None:
    if folder and response.audio:
        target = Path(folder).expanduser()
        target.mkdir(parents=True, exist_ok=True)
        path = target / f"{response.id}.wav"
        response.audio.save(path)
        _console.print(Text(f"   saved {path.resolve()}"), style="dim")


# -------------------------------------------------------------------------------------------------------------- options


def _connect(args: argparse.Namespace, *, quiet: bool = False, trial: str | None = None) -> connect:
    stand_in = {"drift": args.drift, "seed": args.seed, "pace": args.pace} if args.endpoint == "standin" else {}
    return connect(
        args.endpoint,
        model=args.model,
        dialect=args.dialect,
        key_env=args.key_env,
        quiet=quiet,
        trial=trial,
        **stand_in,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kit",
        description="How does a speech-to-speech model behave when it is given a conversation history over the Realtime API?",
        epilog="The stand-in, a local simulation, answers unless you name a service: nothing is paid by accident.",
    )
    parser.add_argument("--version", action="version", version=f"realtime-history-kit {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    drift = argparse.ArgumentParser(add_help=False)
    drift.add_argument(
        "--drift", default="documented", metavar="RULE", help="documented, never, always, p=Q or per-response=Q"
    )
    drift.add_argument("--seed", type=int, default=0, help="of the stand-in's draws (default 0)")
    drift.add_argument(
        "--pace", type=float, default=None, metavar="FACTOR", help="audio at FACTOR times real time (default: at once)"
    )

    session = argparse.ArgumentParser(add_help=False, parents=[drift])
    session.add_argument(
        "--endpoint", default="standin", metavar="WHERE", help=f"{', '.join(NAMES)}, or a ws:// URL (default standin)"
    )
    session.add_argument("--model", help="the model, or Azure's deployment")
    session.add_argument("--dialect", choices=("ga", "beta"), default="ga")
    session.add_argument("--key-env", metavar="NAME", help="the environment variable that holds the key for a URL")
    session.add_argument("--timeout", type=float, default=60, metavar="S", help="for one response (default 60)")
    session.add_argument("--wav", metavar="DIR", help="keep every spoken reply there")

    cases = verbs.add_parser("cases", parents=[session], help="the four cases, a row each")
    cases.set_defaults(run=_cases, say=[])
    one = verbs.add_parser("case", parents=[session], help="one case; then go on by typing")
    one.add_argument("name", help="1a, 1b, 2a or 2b")
    one.add_argument("--say", action="append", default=[], metavar="TEXT", help="a further turn (may be repeated)")
    one.set_defaults(run=_case)
    chat = verbs.add_parser("chat", parents=[session], help="no history: just talk")
    chat.add_argument("--say", action="append", default=[], metavar="TEXT", help="a turn (may be repeated)")
    chat.set_defaults(run=_chat)
    serve = verbs.add_parser("serve", parents=[drift], help="the stand-in, for any client; the first line is its URL")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=8765, help="0: any free one (default 8765)")
    serve.add_argument("--dialect", dest="serve_dialect", choices=("ga", "beta", "both"), default="both")
    serve.add_argument("--beta-disabled", action="store_true", help="refuse beta as the service does since 2026-05")
    serve.set_defaults(run=_serve)
    lab = verbs.add_parser("lab", help="the notebooks, in JupyterLab")
    lab.add_argument("jupyter", nargs=argparse.REMAINDER, help="options for jupyter lab, such as --no-browser")
    lab.set_defaults(run=_lab)
    return parser
