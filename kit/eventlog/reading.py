"""`read_log`: anyone's log, folded by the same fold as a live session; `read_logs`: many, one at a time."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

from .. import show
from ..errors import InputError, clipped
from ..files import named_path
from ..wire.live_conversation import ReplyPolicy
from ..wire.records import Response
from .events import LogRecord
from .lines import STDIN, ParseReport, PathLike, family, log_files
from .live import LiveSorter, LoggedLiveSession
from .parsing import records
from .sessions import COLUMNS, LoggedSession, Sorter
from .times import Instant


def csv_line(fields: Mapping[str, Any] | None = None, *, columns: Iterable[str] = COLUMNS) -> str:
    """A row as a line of CSV; without one, the head. Lists become ``audio+text`` and JSON; nothing becomes an empty cell.

    Words are a server's: `show.csv_cell` makes them safe for spreadsheets and terminals.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    if fields is None:
        writer.writerow(columns)
        return out.getvalue()
    row = dict(fields) | ({"simulated": "unknown"} if fields.get("simulated") is None else {})
    writer.writerow(show.csv_cell(_flat(row[name])) for name in columns)
    return out.getvalue()


def _flat(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        is_words = all(isinstance(word, str) for word in value)
        return "+".join(value) if is_words else json.dumps(value, ensure_ascii=False)
    return value


@dataclass(frozen=True)
class Log:
    """What was read of one file.

    Attributes:
        path: The file.
        sessions: In the order in which they begin.
        report: How far it was understood.
        paths: Its files, where it was rotated.
        live: Its GPT-Live sessions, which have replies and no responses.
    """

    path: Path
    sessions: tuple[LoggedSession, ...]
    report: ParseReport
    paths: tuple[Path, ...] = ()
    live: tuple[LoggedLiveSession, ...] = ()

    @property
    def all(self) -> tuple[AnySession, ...]:
        """The sessions of both protocols, Realtime's first."""
        return (*self.sessions, *self.live)

    @property
    def responses(self) -> list[Response]:
        """Of all Realtime sessions."""
        return [response for session in self.sessions for response in session.responses]

    @property
    def simulated(self) -> bool | None:
        """True if any of it is; False only if the log says of all of it that a service answered."""
        origins = {session.simulated for session in self.all}
        return True if True in origins else False if origins == {False} else None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row per response (`sessions.COLUMNS`)."""
        return [row for session in self.sessions for row in session.rows]

    @property
    def live_rows(self) -> list[dict[str, Any]]:
        """A row per reply of a GPT-Live session (`live.LIVE_COLUMNS`)."""
        return [row for session in self.live for row in session.rows]

    def session(self, id: str | int = 0) -> LoggedSession:
        """The session with that id, or the n-th.

        Raises:
            InputError: If there is none.
        """
        if isinstance(id, int) and -len(self.sessions) <= id < len(self.sessions):
            return self.sessions[id]
        for session in self.sessions:
            if isinstance(id, str) and id in (session.id, session.key):
                return session
        names = ", ".join(session.id or "(no id)" for session in self.sessions[:5]) or "none"
        raise InputError(f"no session {clipped(id)} in {self.path.name}; it has {len(self.sessions)}: {names}")

    def __repr__(self) -> str:
        mark = show.origin_word(self.simulated)
        n_responses = sum(session.n_responses for session in self.sessions)
        live = f", {len(self.live)} of GPT-Live with {len(self.live_rows)} replies" if self.live else ""
        return (
            f"<Log {self.path.name}: {len(self.sessions)} sessions, {n_responses} responses{live}; {self.report}"
            f"{f'; {mark}' if mark else ''}>"
        )

    def _repr_html_(self) -> str:
        replies = [(session, response) for session in self.all for response in session.responses]
        rows = []
        for session, response in replies[:200]:
            first_ms = response.first_audio_ms if response.modality == "audio" else response.first_text_ms
            # Where a policy inferred it, its outcome; else how the server says that it ended.
            ending = response.outcome if response.policy else f"{response.status or 'no end'} {response.reason or ''}"
            row = [f"<code>{show.esc(session.id or '–', 60)}</code>", show.badge(response.modality)]
            row += [show.esc(response.words, 300), show.esc(ending)]
            rows.append(row + [show.ms(first_ms), show.ms(response.done_ms)] * session.has_times)
        n_hidden = f"{len(replies) - 200:,} more responses in .responses" if len(replies) > 200 else ""
        return show.card(
            f"<b>log</b> {show.esc(self.path.name)} {show.origin(self.simulated)}",
            show.esc(str(self.report)),
            show.table(rows, ["session", "modality", "says", "ended", "first", "done"]) if rows else "no responses",
            show.esc(n_hidden),
        )


def read_log(path: PathLike, *more: PathLike, audio: bool = True) -> Log:
    """Read one log: the kit's own, or anyone's.

    Args:
        path: A file; ``"-"`` is the standard input. For a folder see `read_logs`.
        more: Further files that go on where it ends: the parts of a rotated log, the oldest first.
        audio: Keep events and sound. ``False`` needs little memory and still counts them.

    Returns:
        The sessions in it, their responses as a live session has them, and how far the log was understood.

    Raises:
        InputError: If it cannot be read or is no text log.
    """
    paths = [Path(file) if str(file) == STDIN else named_path(file) for file in (path, *more)]
    report, order = ParseReport(), _Order()
    realtime, live = _fold(paths, report, audio, order.watch)
    if order.is_broken and str(paths[0]) != STDIN:
        report = ParseReport()
        realtime, live = _fold(paths, report, audio, order.restore)
        report.notes["its lines were put in the order of their times"] = 1
    return Log(paths[-1], tuple(realtime), report, tuple(paths), tuple(live))


def _fold(
    paths: list[Path],
    report: ParseReport,
    keep_audio: bool,
    ordered: Callable[[Iterable[LogRecord]], Iterable[LogRecord]],
) -> tuple[list[LoggedSession], list[LoggedLiveSession]]:
    """The sessions of a log, over both protocols: a record goes to the sorter that knows it for its own."""
    file = str(paths[-1])
    live, realtime = LiveSorter(file, keep_audio=keep_audio), Sorter(file, report, keep_audio=keep_audio)
    for record in ordered(itertools.chain.from_iterable(records(path, report) for path in paths)):
        if live.take(record) is None:
            realtime.take(record)
    return realtime.finish(), live.finish()


AnySession = LoggedSession | LoggedLiveSession
"""One session of a log, over either protocol: an id, a model, responses with outcomes, rows."""


@dataclass(frozen=True, slots=True)
class Step:
    """One frame: who sent it, what it was, and when (ms since the session's first; NaN where the log does not say)."""

    direction: Literal["server", "client"]
    data: dict[str, Any]
    at_ms: float


@dataclass(frozen=True, slots=True)
class RecordedSession:
    """One session of a log or a ledger, step by step: a replay plays it, a bundle shows it.

    Attributes:
        session: Its responses, folded from the steps.
        steps: Its frames, in order.
        attempt: What a ledger says of it; empty for a log.
    """

    session: AnySession
    steps: list[Step]
    attempt: Mapping[str, Any]

    def utc(self, at_ms: float | None) -> str | None:
        """An instant of the session's clock in UTC, ISO 8601 with milliseconds; ``None`` where the start is not known."""
        # A ledger knows when its attempt began; a log says it in its header.
        opened = self.attempt.get("started_at")
        try:
            if not isinstance(opened, int | float):
                opened = datetime.fromisoformat(str((self.session.header or {}).get("opened_at"))).timestamp()
            if at_ms is None:
                return None
            return datetime.fromtimestamp(opened + at_ms / 1000, UTC).isoformat(timespec="milliseconds")
        except (OverflowError, ValueError, OSError):  # no date; a year that no calendar has
            return None


def stepped(
    records: Iterable[LogRecord],
    name: str,
    *,
    simulated: bool | None = None,
    policy: ReplyPolicy | None = None,
    attempt: Mapping[str, Any] | None = None,
) -> list[RecordedSession]:
    """The sessions among records, each with its steps.

    Args:
        simulated: What is known of who answered, where the records do not say.
        policy: By which the replies of GPT-Live are inferred, where it was another than the default.
        attempt: What a ledger says of them.
    """
    live, realtime = LiveSorter(name, keep_audio=True, policy=policy), Sorter(name, ParseReport(), keep_audio=True)
    steps: dict[int, list[Step]] = {}
    for record in records:
        session = live.take(record) or realtime.take(record)
        if session is not None and record.kind in ("event", "live"):
            steps.setdefault(id(session), []).append(Step(record.direction, record.data, session.last_ms))
    every: list[AnySession] = [*live.finish(simulated), *realtime.finish(simulated)]
    return [RecordedSession(s, steps.get(id(s), []), attempt or {}) for s in every if s.n_events]


class _Order:
    """Whether the records of a log come in the order in which things happened, and if not, which that is.

    Times alone do not tell: clocks are set, and loggers of several threads mix their lines. But no response ends before it begins.
    """

    def __init__(self) -> None:
        self._latest: Instant | None = None
        self._ended: OrderedDict[str, None] = OrderedDict()  # ids of the responses that ended last
        self._n_up = self._n_down = self._n_late = 0

    def watch(self, records: Iterable[LogRecord]) -> Iterator[LogRecord]:
        """Pass records on, and take note of their order."""
        for record in records:
            yield record
            if record.at is not None and record.at.clock in ("unix", "local", "day"):
                if self._latest is not None and self._latest.clock == record.at.clock:
                    self._n_down += record.at.ms < self._latest.ms
                    self._n_up += record.at.ms > self._latest.ms
                self._latest = record.at
            kind, response = record.data.get("type"), record.data.get("response")
            if record.kind != "event" or not isinstance(kind, str) or not kind.startswith("response."):
                continue
            name = response.get("id") if isinstance(response, dict) else record.data.get("response_id")
            if not isinstance(name, str):
                continue
            if kind == "response.done":
                self._ended[name] = None
                if len(self._ended) > 1_000:
                    self._ended.popitem(last=False)
            else:
                self._n_late += name in self._ended

    @property
    def is_broken(self) -> bool:
        return self._n_down > 0 and (self._n_late > 0 or self._n_down > self._n_up)

    def restore(self, records: Iterable[LogRecord]) -> list[LogRecord]:
        """Records by their times, for a log that was exported newest first or in no order. One without a time stays behind its
        neighbour."""
        timed = list(records)
        if self._n_down > self._n_up:
            timed.reverse()  # so that those of the same millisecond come in their order
        keys: list[float] = []
        for record in timed:
            keys.append(record.at.ms if record.at is not None else keys[-1] if keys else -math.inf)
        return [record for _, record in sorted(zip(keys, timed, strict=True), key=itemgetter(0))]


def recordings(path: PathLike) -> list[RecordedSession]:
    """The sessions of a log that can be played again: those of which it has both directions.

    Raises:
        InputError: If it cannot be read, or has no such session.
    """
    where = named_path(path)
    sessions = stepped(records(where, ParseReport()), where.name)
    if any(recorded.session.n_withheld for recorded in sessions):
        raise InputError(f"{where.name} cannot be played again: a redaction hook kept nothing of some frames")
    playable = [recorded for recorded in sessions if recorded.session.has_client]
    if not playable:
        why = "it has what the server sent only" if sessions else "there is no event of a session in it"
        raise InputError(f"{where.name} cannot be played again: {why}; a replay needs both directions: connect(log=…)")
    return playable


def read_logs(
    *paths: PathLike, audio: bool = False, progress: Callable[[int, int, Log | InputError], None] | None = None
) -> Iterator[Log | InputError]:
    """Read many logs, one at a time: memory is that of the largest. The parts of a rotated log in a folder are one log.

    Args:
        paths: Files and folders.
        audio: See `read_log`.
        progress: Called after each log with how many files are done, how many there are, and what was read.

    Yields:
        A `Log`, or the `InputError` that says why a file of a folder could not be read.
    """
    files, n_done = log_files(*paths), 0
    for _, group in itertools.groupby(files, key=family):
        parts = list(group)
        n_done += len(parts)
        log: Log | InputError
        try:
            log = read_log(*parts, audio=audio)
        except InputError as exc:
            log = exc
        if progress is not None:
            progress(n_done, len(files), log)
        yield log
