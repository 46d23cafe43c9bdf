"""``log``: how often a reply came as text, from anyone's log. ``bundle``: the evidence, for somebody else."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.progress import Progress
from rich.text import Text

from .. import show
from ..errors import InputError
from ..eventlog import Log, ParseReport, log_files, read_logs
from ..eventlog.advice import recipes
from ..eventlog.answer import BY, Answer
from ..eventlog.live import LIVE_COLUMNS, outcomes
from ..eventlog.reading import csv_line
from ..eventlog.sessions import COLUMNS
from .options import Verbs, add_options, add_verb
from .screen import Columns, badge, complain, console, say

_SAY_EVERY = 1_000  # logs, where standard error is no terminal
_MAX_TABLE_ROWS = 1_000  # --csv has all
_MAX_NAMED = 5  # files that were passed over, lines that were not understood: as many as are read
_MAX_HELD = 100_000  # partial rows, kept back in case another file has the reply whole
_LIVE_WIDTHS = {"session": 12, "turn": 4, "asked by": 10, "outcome": 14, "first word": 10, "first voice": 11}
_WIDTHS = {"session": 12, "time": 8, "turn": 4, "arrived": 10, "end": 10, "first": 8}


def _log(args: argparse.Namespace) -> int:
    passed_over: list[Path] = []
    files = log_files(*args.files, passed_over=passed_over)
    if not files:
        passed = f"; passed over: {_names(passed_over)}; name one to read it" if passed_over else ""
        raise InputError(f"no log file in {', '.join(args.files)}{passed}")
    count = _Count(args.by)
    rows = count.rows(files)
    try:
        if args.csv:
            _csv(rows, count)
        elif args.json:
            separator = "[\n"  # one array, written as it is read
            # GPT-Live's after all others: by then every file was read.
            for row in itertools.chain(rows, ({"protocol": "live"} | row for row in count.live_rows)):
                sys.stdout.write(separator + json.dumps(row))
                separator = ",\n"
            sys.stdout.write("[]\n" if separator == "[\n" else "\n]\n")
        else:
            _table(rows, count)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough
        sys.stdout = None
        return 0
    for problem in count.problems[:10]:
        complain(problem, 1)
    if args.csv or args.json:
        for line in count.answer_lines():
            say(line, stderr=True)
    for line in count.summary(passed_over, console(stderr=True).width):
        say(line, "dim", stderr=True)
    return count.exit_code


class _Count:
    """What was read so far, over all files."""

    def __init__(self, by: list[str]) -> None:
        # How often a reply came as text.
        self.answer = Answer(by)
        # Files that could not be read.
        self.problems: list[InputError] = []
        # Of all files together; samples come with their file's name, which the report of one file does not know.
        self.report = ParseReport()
        self.samples: list[str] = []
        self.simulated: set[bool | None] = set()
        # Files read and not read, sessions, replies found in more than one file.
        self.n_files = self.n_unread = self.n_sessions = self.n_twice = 0
        # GPT-Live's replies have other columns, so they wait for a table of their own; and what is said of each session.
        self.n_live_sessions = 0
        self.live_rows: list[dict[str, Any]] = []
        self.live_facts: list[str] = []
        # Hashes of the ids of responses, which take less memory than the ids: the same reply in two files counts once.
        self._seen: set[int] = set()
        # Partial rows by response id, each with its session: a later file may have the reply whole.
        self._partial: dict[str, tuple[dict[str, Any], str]] = {}

    def rows(self, files: list[Path]) -> Iterator[dict[str, Any]]:
        """Yield row by row, file by file, each reply once; progress goes to standard error."""
        stderr = console(stderr=True)
        with Progress(console=stderr, transient=True, disable=not stderr.is_terminal or len(files) < 2) as bar:
            task = bar.add_task("reading", total=len(files))
            for n, log in enumerate(read_logs(*files), 1):
                if isinstance(log, Log):
                    self._take(log)
                    for n_session, session in enumerate(log.sessions):
                        name = session.id or f"{log.path} {n_session}"
                        for row in session.iter_rows():
                            if self._is_new(row, name):
                                self.answer.take(row, name)
                                yield row
                else:
                    self.n_files += 1
                    self.n_unread += 1
                    self.problems += [log][: 100 - len(self.problems)]
                bar.update(task, completed=self.n_files, description=f"reading: {self.answer.n_rows:,} responses")
                if n % _SAY_EVERY == 0 and not stderr.is_terminal:
                    stderr.print(f"{self.n_files:,} of {len(files):,} files, {self.answer.n_rows:,} responses")
        for row, session_name in self._partial.values():
            self.answer.take(row, session_name)
            yield row
        self._partial.clear()

    def _take(self, log: Log) -> None:
        self.n_files += len(log.paths)
        self.n_sessions += len(log.sessions)
        self.report.add(log.report)
        samples = log.report.samples[: _MAX_NAMED - len(self.samples)]
        self.samples += [f"{log.path.name}:{n}: {text}" for n, text in samples]
        self.simulated |= {session.simulated for session in log.all}
        self.n_live_sessions += len(log.live)
        self.live_rows += log.live_rows
        self.live_facts += [line for session in log.live for line in session.facts()][:_MAX_TABLE_ROWS]

    def _is_new(self, row: dict[str, Any], session: str) -> bool:
        """Whether a row's reply was not seen in another file; a partial one is kept back, to wait for a whole one."""
        name = row["response_id"]
        if name is None:
            return True
        if hash(name) in self._seen or name in self._partial:
            self.n_twice += 1
            if row["partial"] or name not in self._partial:
                return False
            del self._partial[name]
        elif row["partial"] and len(self._partial) < _MAX_HELD:
            self._partial[name] = row, session
            return False
        self._seen.add(hash(name))
        return True

    def answer_lines(self) -> list[str]:
        """The answer, with what was lost on the way to it."""
        n = self.report.n_not_understood
        words = [f"{show.counted(n, 'line')} about events not understood"] if n else []
        words += [f"{show.counted(self.n_unread, 'file')} not read"] if self.n_unread else []
        words += [f"{show.counted(self.report.torn, 'file')} whose last line breaks off"] if self.report.torn else []
        words += [f"{text} ({_times(n_seen)})" for text, n_seen in self.report.sightings.items()] if n else []
        bias = ", and more often those in text, whose lines are longer" if n else ""
        losses = f"{', '.join(words)}: replies may be missing{bias}." if words else ""
        return list(self.answer.lines(losses, self.report.sightings.total()))

    @property
    def exit_code(self) -> int:
        """1 where a file was not read, or no event was understood."""
        report = self.report
        nothing = not report.n_events and not self.answer.n_rows and not self.n_live_sessions
        return 1 if self.n_unread or (nothing and (report.n_not_understood or report.n_lines)) else 0

    def summary(self, passed_over: list[Path], width: int) -> list[str]:
        """What was taken, what was passed over, and what it takes to log better; samples are a line of that width."""
        report, answer = self.report, self.answer
        facts = [show.counted(self.n_files, "file")]
        if self.n_sessions or not self.n_live_sessions:
            facts.append(f"{show.counted(self.n_sessions, 'session')}, {show.counted(answer.n_rows, 'response')}")
        if self.n_live_sessions:
            replies = show.counted(len(self.live_rows), "reply", "replies")
            facts.append(f"{show.counted(self.n_live_sessions, 'GPT-Live session')}, {replies}")
        facts = [", ".join(facts)]
        if answer.modalities:
            facts.append(", ".join(f"{n:,} {word}" for word, n in sorted(answer.modalities.items())))
        facts += report.facts()
        facts += [f"{show.counted(self.n_twice, 'response')} found twice, counted once"] if self.n_twice else []
        facts += [f"{show.counted(self.n_unread, 'file')} not read"] if self.n_unread else []
        if True in self.simulated:
            facts.append(show.SIMULATED if self.simulated == {True} else f"partly {show.SIMULATED}")
        elif None in self.simulated:
            facts.append(show.UNKNOWN_ORIGIN)
        lines = ["; ".join(facts)]
        lines += [f"{text}: {_times(n)}" for text, n in report.sightings.items()]
        for sample in self.samples:
            text = show.one_line(sample, 240)
            # Its beginning and end are seen: what is wrong with it is mostly at one of them.
            lines.append(f"  {text if len(text) <= width - 2 else f'{text[: width - 37]} […] {text[-30:]}'}")
        lines += report.remarks()
        if passed_over:
            lines.append(f"passed over: {_names(passed_over)}; name one to read it")
        if not report.n_events and report.n_lines and not report.n_live:
            few = "no event is whole: replies are counted by what is left of their events"
            lines.append(few if answer.n_rows else "no event was understood")
        if report.n_not_understood or answer.n_partial or (not report.n_events and not report.n_live):
            lines.append("how to log what is needed:")
            lines += [f"  {line}" for text in recipes(report.frameworks) for line in text.splitlines()]
        return lines


def _names(paths: list[Path]) -> str:
    names = ", ".join(show.one_line(path.name, 60) for path in paths[:_MAX_NAMED])
    n_unnamed = len(paths) - _MAX_NAMED
    return f"{names} and {n_unnamed:,} more" if n_unnamed > 0 else names


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n:,} times"


def _csv(rows: Iterator[dict[str, Any]], count: _Count) -> None:
    """Realtime's table; of files with GPT-Live only, its table, for the two have other columns."""
    first = next(rows, None)
    is_live = first is None and bool(count.live_rows)
    columns = LIVE_COLUMNS if is_live else COLUMNS
    sys.stdout.write(csv_line(columns=columns))
    for row in count.live_rows if is_live else itertools.chain([first] if first else [], rows):
        sys.stdout.write(csv_line(row, columns=columns))
    if count.live_rows and not is_live:
        n_rows = show.counted(len(count.live_rows), "row")
        complain(f"not in this table: {n_rows} of GPT-Live, which has other columns; --json has both", 0)


def _table(rows: Iterator[dict[str, Any]], count: _Count) -> None:
    """The answer, then a line for each reply: 80 columns or as many as the terminal has."""
    table_rows = list(itertools.islice(rows, _MAX_TABLE_ROWS))
    n_more = sum(1 for _ in rows)
    if count.n_sessions or table_rows or not count.n_live_sessions:
        for line in count.answer_lines():
            say(line)
    _live_table(count)
    if not table_rows:
        return
    say("")
    columns = Columns(_WIDTHS.values(), fold=False)
    columns.row(*_WIDTHS, "says")
    day = ""
    for row in table_rows:
        at = row["at"] or "–"
        if at[:10] != day and len(at) > 13:
            day = at[:10]
            say(day, "dim")
        calls = ", ".join(f"{call['name']}(…)" for call in row["function_calls"])
        end = "partial" if row["partial"] else " ".join(filter(None, (row["status"] or "no end", row["reason"])))
        first = row["first_audio_ms"] if row["modality"] == "audio" else row["first_text_ms"]
        columns.row(
            row["session_id"] or "–",
            at[11:19] if len(at) > 13 else at[:8],
            str(row["turn"]),
            badge(row["modality"]) if row["modality"] else "unknown",
            end,
            show.ms(first),
            row["transcript"] or row["text"] or calls,
        )
    if n_more:
        say(f"… {n_more:,} more; --csv has all")


def _live_table(count: _Count) -> None:
    """GPT-Live's asks by outcome, a line for each, and what is known of its sessions."""
    if not count.n_live_sessions:
        return
    for line in outcomes(count.live_rows):
        say(line)
    columns = Columns(_LIVE_WIDTHS.values(), fold=False)
    if count.live_rows:
        columns.row(*_LIVE_WIDTHS, "says")
    for row in count.live_rows[:_MAX_TABLE_ROWS]:
        words = row["words"] or "–"
        columns.row(
            row["session_id"] or "–",
            str(row["turn"]),
            row["asked_by"] or "unasked",
            f"{row['outcome']}{' (words)' if row['by_words'] else ''}",
            show.ms(row["first_word_ms"]),
            show.ms(row["first_voice_ms"]),
            f"{words} | caller: {row['caller']}" if row["caller"] else words,
        )
    for line in count.live_facts:
        say(show.one_line(line, 400), "dim")


def _bundle(args: argparse.Namespace) -> int:
    from ..reporting import bundle  # with pandas and matplotlib, which no other verb here needs

    summary = bundle(args.source, args.zip, n_each=args.each, overwrite=args.overwrite)
    console().print(Text(repr(summary).strip("<>")))
    return 0


def add(verbs: Verbs) -> None:
    """Add these verbs to the command line."""
    log = add_verb(
        verbs, "log", _log, "count how often a reply came as text, in anyone's log",
        description="How many replies that asked for audio came as text, in how many sessions; then a line for each reply. Reads the "
        "kit's logs; events as JSON, one a line or in one file (a browser's HAR, a notebook); whatever Python, Node and pydantic "
        "print, in lines of text or over several; logfmt, YAML and CSV; gzip, bzip2, xz and zip. Folders are searched, rotated "
        "logs put together. What is not understood is counted and shown.",
    )  # fmt: skip
    log.add_argument("files", nargs="+", metavar="FILE", help="files and folders; - is the standard input")
    by = f"count apart by {', '.join(BY)}; may be repeated"
    log.add_argument("--by", action="append", default=[], choices=BY, help=by)
    add_options(log.add_mutually_exclusive_group(), "csv", "json")
    evidence = add_verb(
        verbs, "bundle", _bundle,
        "evidence as one zip file: logs, tables, pictures, ids, and a script that makes it happen again", "overwrite",
        description="Of a ledger whose events were kept, a log, or a folder of logs: sessions in which a reply came as text where "
        "audio was asked for (of GPT-Live: silent or late), and as many in which none did.",
    )  # fmt: skip
    evidence.add_argument("source", help="a ledger, a log, or a folder of logs")
    evidence.add_argument("zip", help="the file to write")
    help_text = "sessions with the effect, and without (default: 3)"
    evidence.add_argument("--each", type=int, default=3, metavar="N", help=help_text)
