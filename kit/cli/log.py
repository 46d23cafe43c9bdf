"""``log``: what happened in anyone's log, a row per response. ``bundle``: the evidence, for somebody else."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from .. import show
from ..errors import InputError
from ..eventlog import Log, log_files, read_logs
from ..eventlog.reading import csv_line
from .options import Verbs
from .screen import complain

_MAX_WORDS = 60
_SAY_EVERY = 1_000  # files, where standard error is no terminal


def _log(args: argparse.Namespace) -> int:
    files = log_files(*args.files)
    if not files:
        raise InputError(f"no log file in {', '.join(args.files)}")
    tally = _Tally()
    write = _csv if args.csv else _json if args.json else _table
    try:
        write(tally.rows(files))
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough
        sys.stdout = None
        return 0
    for problem in tally.problems[:10]:
        complain(problem, 1)
    complain_about = Console(stderr=True, highlight=False, soft_wrap=True)
    complain_about.print(Text(str(tally), style="dim"))
    return 1 if tally.n_unread else 0


def _bundle(args: argparse.Namespace) -> int:
    from ..reporting import bundle  # with pandas and matplotlib, which no other verb here needs

    made = bundle(args.source, args.zip, n_each=args.each, overwrite=args.overwrite)
    Console(highlight=False, soft_wrap=True).print(Text(repr(made).strip("<>")))
    return 0


class _Tally:
    """What was read so far, over all files."""

    def __init__(self) -> None:
        self.n_files = self.n_unread = self.n_sessions = self.n_responses = self.n_events = 0
        self.n_not_understood = self.n_torn = self.n_other = 0
        self.n_by_modality: dict[str, int] = {}
        self.simulated: set[bool | None] = set()
        self.problems: list[InputError] = []
        self.samples: list[str] = []

    def rows(self, files: list[Any]) -> Iterator[dict[str, Any]]:
        """Row by row, file by file; progress goes to standard error."""
        terminal = Console(stderr=True)
        with Progress(console=terminal, transient=True, disable=not terminal.is_terminal or len(files) < 2) as bar:
            task = bar.add_task("reading", total=len(files))
            for n, read in enumerate(read_logs(*files), 1):
                self.take(read)
                if isinstance(read, Log):
                    yield from read.rows
                bar.update(task, completed=n, description=f"reading: {self.n_responses:,} responses")
                if n % _SAY_EVERY == 0 and not terminal.is_terminal:
                    terminal.print(f"{n:,} of {len(files):,} files, {self.n_responses:,} responses", highlight=False)

    def take(self, read: Log | InputError) -> None:
        self.n_files += 1
        if isinstance(read, InputError):
            self.n_unread += 1
            if len(self.problems) < 100:
                self.problems.append(read)
            return
        self.n_sessions += len(read.sessions)
        self.n_responses += len(read.responses)
        self.n_events += read.reading.n_events
        self.n_other += read.reading.n_other
        self.n_torn += read.reading.torn
        self.n_not_understood += read.reading.n_not_understood
        self.samples += [f"{read.path.name}:{n}: {text}" for n, text in read.reading.samples][: 3 - len(self.samples)]
        self.simulated |= {session.simulated for session in read.sessions}
        for response in read.responses:
            word = response.modality or "nothing yet"
            self.n_by_modality[word] = self.n_by_modality.get(word, 0) + 1

    def __str__(self) -> str:
        told = [f"{_n(self.n_files, 'file')}, {_n(self.n_sessions, 'session')}, {_n(self.n_responses, 'response')}"]
        if self.n_by_modality:
            told.append(", ".join(f"{n:,} {word}" for word, n in sorted(self.n_by_modality.items())))
        if self.n_not_understood:
            told.append(
                f"{_n(self.n_not_understood, 'line')} about events not understood ({show.plain('; '.join(self.samples), 300)})"
            )
        if self.n_torn:
            told.append(f"{_n(self.n_torn, 'file')} whose last line breaks off")
        if self.n_other:
            told.append(f"{_n(self.n_other, 'other line')}")
        if self.n_unread:
            told.append(f"{_n(self.n_unread, 'file')} not read")
        if True in self.simulated:
            told.append(show.SIMULATED if self.simulated == {True} else f"partly {show.SIMULATED}")
        elif None in self.simulated:
            told.append(show.UNKNOWN_ORIGIN)
        return "; ".join(told)


def _n(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _csv(rows: Iterator[dict[str, Any]]) -> None:
    sys.stdout.write(csv_line())
    for row in rows:
        sys.stdout.write(csv_line(row))


def _json(rows: Iterator[dict[str, Any]]) -> None:
    """One array, written as it is read."""
    separator = "[\n"
    for row in rows:
        sys.stdout.write(separator + json.dumps(row))
        separator = ",\n"
    sys.stdout.write("[]\n" if separator == "[\n" else "\n]\n")


def _table(rows: Iterator[dict[str, Any]]) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    for n, row in enumerate(rows):
        if n == 0:
            console.print(_line("session", "response", "asked", Text("arrived"), "status", "first", "done", "it says"))
        calls = ", ".join(f"{call['name']}(…)" for call in row["function_calls"])
        first = row["first_audio_ms"] if row["modality"] == "audio" else row["first_text_ms"]
        word = row["modality"] or "–"
        badge = Text(f"{show.SIGNS.get(word, '…')} {word}", style=f"bold {show.COLOURS.get(word, '#7F7F7F')}")
        console.print(
            _line(
                row["session_id"] or "–", row["response_id"] or "–", "+".join(row["asked"] or ()) or "–", badge,
                " ".join(filter(None, (row["status"] or "no end", row["reason"]))), show.ms(first), show.ms(row["done_ms"]),
                row["transcript"] or row["text"] or calls,
            )
        )  # fmt: skip


def _line(*cells: str | Text) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    for width in (14, 14, 10, 10, 16, 8, 8):
        grid.add_column(width=width, no_wrap=True, overflow="ellipsis")
    grid.add_column(ratio=1)
    grid.add_row(*(cell if isinstance(cell, Text) else Text(show.one_line(cell, _MAX_WORDS * 2)) for cell in cells))
    return grid


def add(verbs: Verbs) -> None:
    """Add this verb to the command line."""
    log = verbs.add_parser(
        "log",
        help="anyone's log of Realtime events, a row per response",
        description="Reads the kit's event logs, JSON lines or arrays of events (either dialect), text logs with events "
        "printed in them, and all of these gzipped; a folder is searched for them.",
    )
    log.add_argument("files", nargs="+", metavar="FILE", help="files and folders")
    how = log.add_mutually_exclusive_group()
    how.add_argument("--csv", action="store_true", help="as CSV, all columns")
    how.add_argument("--json", action="store_true", help="as one JSON array, all columns")
    log.set_defaults(run=_log)
    evidence = verbs.add_parser(
        "bundle",
        help="evidence as one zip file: logs, tables, pictures, ids, and a script that makes it happen again",
        description="Of a ledger whose events were kept, a log, or a folder of logs: sessions in which a reply came as text where "
        "audio was asked for, and as many in which none did.",
    )
    evidence.add_argument("source", help="a ledger, a log, or a folder of logs")
    evidence.add_argument("zip", help="the file to write")
    evidence.add_argument(
        "--each", type=int, default=3, metavar="N", help="sessions with the effect, and without (default 3)"
    )
    evidence.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    evidence.set_defaults(run=_bundle)
