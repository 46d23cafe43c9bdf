"""``cases``, ``case``, ``chat``: a session in a terminal."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import show
from ..cases import Case, all_cases, case
from ..clip import Clip
from ..connecting import connect
from ..errors import InputError, KitError
from ..session import Session
from ..wire.records import Response
from .options import Verbs, complain, keep_sound, session_options, timeout_option

_console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
_PROMPT_HELP = "type a turn · /clip FILE says a sound file · /events lists the events · /quit or Ctrl-D ends"


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
        note = f" – {origin}: this shows the instrument, not what a model does" if origin else ""
        _console.print(Text(f"\n{show.plain(where)}{note}"), style="dim")
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
                complain(exc, 2)
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
        _console.print(Text(f"you: {show.plain(words)}"))
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
        complain(exc, 2)


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
    _console.print(Text(f"   {show.plain(detail)}"), style="dim")


def _keep_sound(response: Response, folder: Path | None) -> None:
    if path := keep_sound(response, folder):
        _console.print(Text(f"   saved {path}"), style="dim")


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


def add(verbs: Verbs) -> None:
    """Add these verbs to the command line."""
    cases = verbs.add_parser("cases", parents=[session_options(), timeout_option()], help="the four cases, a row each")
    cases.set_defaults(run=_cases, say=[])
    one = verbs.add_parser("case", parents=[session_options(), timeout_option()], help="one case; then go on by typing")
    one.add_argument("name", help="1a, 1b, 2a or 2b")
    one.add_argument("--say", action="append", default=[], metavar="TEXT", help="a further turn (may be repeated)")
    one.set_defaults(run=_case)
    chat = verbs.add_parser("chat", parents=[session_options(), timeout_option()], help="no history: just talk")
    chat.add_argument("--say", action="append", default=[], metavar="TEXT", help="a turn (may be repeated)")
    chat.set_defaults(run=_chat)
