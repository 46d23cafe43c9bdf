"""`read_log`: anyone's log, folded by the same fold as a live session.

Sessions are told apart by what the log says of each event (a session id beside it), else by the ids in the events, else by
their order: a `session.created` begins another one. Times count from a session's first event, in milliseconds; where a log
has none, the responses have none.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .. import show
from ..errors import InputError, RemoteProtocolError, clipped
from ..wire import records
from ..wire.conversation import Conversation
from ..wire.dialect import BETA_NAME, GA_NAME
from ..wire.events import AUDIO_DELTA, Event, event_of, text_of
from ..wire.records import Response
from ..wire.view import ConversationView
from .formats import Frame, Reading, frames
from .writing import DIGEST, without_audio

# One row per response: what ``python -m kit log`` prints, and what evidence bundles hold.


COLUMNS = ("session_id", *records.COLUMNS, "file")


def row(response: Response, *, session_id: str | None = None, file: str | None = None) -> dict[str, Any]:
    """A response as a row of `COLUMNS`. ``None`` where the log does not say."""
    return {"session_id": session_id} | records.row(response) | {"file": file}


def csv_line(fields: Mapping[str, Any] | None = None) -> str:
    """A row as a line of CSV; without one, the head. Lists become ``audio+text`` and JSON; nothing becomes an empty cell."""
    out = io.StringIO()
    if fields is None:
        csv.writer(out).writerow(COLUMNS)
        return out.getvalue()
    flat = dict(fields)
    flat["asked"] = "+".join(flat["asked"] or ())
    flat["function_calls"] = json.dumps(flat["function_calls"], ensure_ascii=False) if flat["function_calls"] else ""
    flat["simulated"] = {True: "true", False: "false", None: "unknown"}[flat["simulated"]]
    cells = ["" if flat[name] is None else str(flat[name]).replace("\0", "") for name in COLUMNS]
    csv.writer(out).writerow([cell.encode("utf-8", "replace").decode() for cell in cells])
    return out.getvalue()


# One session of a log, as it was read: it reads like a live session that is over.


_TIMES = (
    "started_at_ms",
    "created_at_ms",
    "first_audio_at_ms",
    "first_text_at_ms",
    "first_transcript_at_ms",
    "done_at_ms",
)
_MAX_EVENTS = 1_000_000  # kept of one session
_DAY_MS = 86_400_000.0


class LoggedSession(ConversationView):
    """One session of a log. It reads like a live `Session` that is over.

    Attributes:
        id: As the server named it; ``None`` if the log never says.
        file: Where it was read.
        header: Of a log that the kit wrote: endpoint, dialect, model, version, when it was opened.
        end: ... and how it ended: ``code`` and ``reason``; ``None`` if the log breaks off or never says.
        n_malformed: Frames that were no events.
        n_withheld: Frames of which a redaction hook kept nothing.
        has_client: Whether it has what the client sent.
        last_ms: When its last event was, in ms since its first; NaN where the log does not say.
    """

    def __init__(self, file: str, key: str | None = None, *, whole: bool = True) -> None:
        self.file = file
        self.key = key
        self.header: dict[str, Any] | None = None
        self.end: dict[str, Any] | None = None
        self.n_malformed = 0
        self.n_withheld = 0
        self.n_events = 0
        self.has_client = False
        self._whole = whole
        self._events: list[Event] = []
        super().__init__(Conversation(), self._events)
        self._clock: str | None = None
        self._zero_ms = 0.0
        self.last_ms = math.nan

    @property
    def id(self) -> str | None:
        return super().id or (self.key if (self.key or "").startswith("sess_") else None)

    @property
    def model(self) -> str | None:
        return super().model or text_of(self.header or {}, "model")

    @property
    def busy(self) -> bool:
        """Whether a response is being made where the log stands now."""
        return self._conversation.active is not None

    @property
    def _n_dropped(self) -> int:
        return self.n_events - len(self._events)

    def __repr__(self) -> str:
        mark = show.origin_word(self.simulated)
        return (
            f"<LoggedSession {show.one_line(self.id or self.key or 'without an id', 80)}, {show.one_line(self.model or 'model unknown', 60)}, "
            f"{self.n_events} events, {len(self.responses)} responses{f', {mark}' if mark else ''}>"
        )

    # ---------------------------------------------------------------------------------------------------- being read

    def take(self, frame: Frame, reading: Reading) -> None:
        """Fold one frame in."""
        if frame.kind == "header":
            self.header = frame.data
            told = frame.data.get("simulated")
            self._conversation.simulated = told if isinstance(told, bool) else None
        elif frame.kind == "end":
            self.end = frame.data
        elif frame.kind == "withheld":
            self.n_withheld += 1
        elif frame.kind == "raw":
            self.n_malformed += 1
        else:
            self._take_event(frame, reading)

    def _take_event(self, frame: Frame, reading: Reading) -> None:
        at_ms = self._at_ms(frame, reading)
        self.n_events += 1
        if frame.direction == "client":
            self.has_client = True
            self._conversation.sent(frame.data, at_ms)
            event = Event(str(frame.data["type"]), frame.data, at_ms, "client")
            if self._whole:
                self._keep(Event(event.type, without_audio(event.data), at_ms, "client"))
            return
        try:
            event = event_from(frame.data, at_ms)
            if frame.n_audio_bytes and not event.pcm:
                event.n_audio_bytes = frame.n_audio_bytes
        except RemoteProtocolError:  # it has a type, so this does not happen
            self.n_malformed += 1
            return
        if not self._whole and event.pcm:
            event.pcm = b""  # counted by its length, which the event knows
        self._conversation.receive(event)
        if self._whole:
            self._keep(event)

    def _keep(self, event: Event) -> None:
        if len(self._events) < _MAX_EVENTS:
            self._events.append(event)

    def _at_ms(self, frame: Frame, reading: Reading) -> float:
        """Milliseconds since the session's first event; NaN where the log does not say."""
        if frame.at is None:
            self.last_ms = math.nan
            return math.nan
        at_ms, clock = frame.at
        if self._clock is None:
            self._clock = clock
            self._zero_ms = 0.0 if clock == "atms" else at_ms
        elif clock != self._clock:
            reading.notes["events whose time is on another clock than their session's have none"] += 1
            return math.nan
        at_ms -= self._zero_ms
        if clock == "day" and at_ms < self.last_ms - _DAY_MS / 2:  # past midnight
            self._zero_ms -= _DAY_MS
            at_ms += _DAY_MS
        self.last_ms = at_ms
        return at_ms

    def finish(self, simulated: bool | None = None) -> None:
        """The log has no more of it. `simulated` is what is known otherwise of who answered."""
        if self._conversation.simulated is None:
            self._conversation.simulated = simulated
        for response in self._conversation.responses:
            if not self._whole:
                for part in response.parts.values():
                    part.n_not_kept = part.n_bytes
                    part.chunks = []
            if response.status == "in_progress":
                response.status = None  # it never said how it ended
            response.simulated = self.simulated
            for name in _TIMES:
                value = getattr(response, name)
                if value is not None and math.isnan(value):
                    setattr(response, name, None)


def event_from(data: dict[str, Any], at_ms: float) -> Event:
    """A logged event; audio of which the log keeps the digest only counts with its length."""
    if GA_NAME.get(data["type"]) == AUDIO_DELTA and isinstance(delta := data.get("delta"), str):
        kept = DIGEST.match(delta)
        if kept is not None:
            return Event(AUDIO_DELTA, data | {"delta": ""}, at_ms, pcm=b"", n_audio_bytes=int(kept[2]))
    return event_of(data, at_ms)


# A session of a log, step by step, as it can be played again.


_BETA_ONLY = frozenset(BETA_NAME.values()) - frozenset(BETA_NAME)


@dataclass(frozen=True, slots=True)
class Step:
    """One frame: who sent it, what it was, and when (ms since the session's first; NaN where the log does not say)."""

    direction: Literal["server", "client"]
    data: dict[str, Any]
    at_ms: float


@dataclass(frozen=True, slots=True)
class Recording:
    """One session of a log.

    Attributes:
        name: The file's name.
        steps: Every event, both ways.
        simulated: As the log says of itself.
        digests: Whether audio is missing in it: its hash and length were kept.
    """

    name: str
    steps: tuple[Step, ...]
    dialect: Literal["ga", "beta"]
    model: str | None
    simulated: bool | None
    opened_at: str | None
    end: dict[str, Any] | None
    digests: bool


def recordings(path: str | os.PathLike[str]) -> list[Recording]:
    """The sessions of a log that can be played again: those of which it has both directions.

    Raises:
        InputError: If it cannot be read, or has no such session.
    """
    where = Path(path).expanduser()
    read = stepped(frames(where, reading := Reading()), reading, where.name)
    if any(session.n_withheld for session, _ in read):
        raise InputError(f"{where.name} cannot be played again: a redaction hook kept nothing of some frames")
    made = [_recording(where.name, session, steps) for session, steps in read if session.has_client]
    if not made:
        why = "it has what the server sent only" if read else "there is no Realtime event in it"
        raise InputError(
            f"{where.name} cannot be played again: {why}; a replay needs both directions, as connect(log=…) writes them"
        )
    return made


def stepped(
    told: Iterable[Frame], reading: Reading, name: str, *, simulated: bool | None = None
) -> list[tuple[LoggedSession, list[Step]]]:
    """The sessions among frames, each with its steps.

    Args:
        simulated: What is known of who answered, where the frames do not say.
    """
    sorter = Sorter(name, reading, whole=True)
    steps: dict[int, list[Step]] = {}
    for frame in told:
        session = sorter.session_of(frame)
        session.take(frame, reading)
        if frame.kind == "event":
            steps.setdefault(id(session), []).append(Step(frame.direction, frame.data, session.last_ms))
    for session in sorter.sessions:
        session.finish(simulated)
    return [(session, steps.get(id(session), [])) for session in sorter.sessions if session.n_events]


def _recording(name: str, session: LoggedSession, steps: list[Step]) -> Recording:
    header = session.header or {}
    spelled = {step.data.get("type") for step in steps}
    beta = header.get("dialect") == "beta" or bool(spelled & _BETA_ONLY) or "modalities" in session.settings
    return Recording(
        name=name,
        steps=tuple(steps),
        dialect="beta" if beta else "ga",
        model=session.model,
        simulated=session.simulated,
        opened_at=header.get("opened_at"),
        end=session.end,
        digests=header.get("audio") == "digest",
    )


def gap_s(before: Step | None, step: Step) -> float:
    """Seconds from the frame before to this one, where the log says so."""
    gap_ms = step.at_ms - before.at_ms if before is not None else 0.0
    return 0.0 if math.isnan(gap_ms) else max(0.0, gap_ms / 1000)


SUFFIXES = (".jsonl", ".ndjson", ".json", ".log", ".txt", ".har", ".gz")
"""What `read_logs` takes for a log in a folder."""

Path_ = str | os.PathLike[str]


@dataclass(frozen=True)
class Log:
    """What was read of one file.

    Attributes:
        path: The file.
        sessions: In the order in which they begin.
        reading: How far it was understood.
    """

    path: Path
    sessions: tuple[LoggedSession, ...]
    reading: Reading

    @property
    def responses(self) -> list[Response]:
        """Of all sessions."""
        return [response for session in self.sessions for response in session.responses]

    @property
    def simulated(self) -> bool | None:
        """True if any of it is; False only if the log says of all of it that a service answered."""
        told = {session.simulated for session in self.sessions}
        return True if True in told else False if told == {False} else None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row per response (`COLUMNS`)."""
        return [
            row(response, session_id=session.id, file=str(self.path))
            for session in self.sessions
            for response in session.responses
        ]

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
        known = ", ".join(session.id or "(no id)" for session in self.sessions[:5]) or "none"
        raise InputError(f"no session {clipped(id)} in {self.path.name}; it has {len(self.sessions)}: {known}")

    def __repr__(self) -> str:
        mark = show.origin_word(self.simulated)
        return (
            f"<Log {self.path.name}: {len(self.sessions)} sessions, {len(self.responses)} responses; {self.reading}"
            f"{f'; {mark}' if mark else ''}>"
        )

    def _repr_html_(self) -> str:
        shown = [(session, response) for session in self.sessions for response in session.responses]
        rows = [
            [
                f"<code>{show.esc(session.id or '–', 60)}</code>",
                show.badge(response.modality),
                show.esc(response.words, 300),
                show.esc(f"{response.status or 'no end'} {response.reason or ''}"),
                show.ms(response.first_audio_ms if response.modality == "audio" else response.first_text_ms),
                show.ms(response.done_ms),
            ]
            for session, response in shown[:200]
        ]
        more = f"{len(shown) - 200:,} more responses in .responses" if len(shown) > 200 else ""
        return show.card(
            f"<b>log</b> {show.esc(self.path.name)} {show.origin(self.simulated)}",
            show.esc(str(self.reading)),
            show.table(rows, ["session", "modality", "says", "status", "first", "done"]) if rows else "no responses",
            show.esc(more),
        )


def read_log(path: Path_, *, audio: bool = True) -> Log:
    """Read one file: the kit's own log, or anyone's.

    Args:
        path: A file; for a folder see `read_logs`.
        audio: Keep events and sound. ``False`` needs little memory and still counts them.

    Returns:
        The sessions in it, their responses as a live session has them, and how far the file was understood.

    Raises:
        InputError: If it cannot be read or is no text log.
    """
    where = Path(path).expanduser()
    reading = Reading()
    sorter = Sorter(str(path), reading, whole=audio)
    for frame in frames(where, reading):
        sorter.session_of(frame).take(frame, reading)
    for session in sorter.sessions:
        session.finish()
    # A header whose session never began tells nothing of a conversation.
    sessions = tuple(s for s in sorter.sessions if s.n_events or s.header or s.n_malformed)
    return Log(where, sessions, reading)


def log_files(*paths: Path_) -> list[Path]:
    """The log files among files and folders, in order. Folders are searched to the bottom; links in them are not followed.

    Raises:
        InputError: For a path that does not exist.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        path = path.expanduser()
        if not path.exists():
            raise InputError(f"there is no {path}")
        if not path.is_dir():
            found.append(path)
            continue
        for folder, folders, names in os.walk(path, followlinks=False):
            folders.sort()
            inside = (Path(folder, name) for name in sorted(names) if name.lower().endswith(SUFFIXES))
            found += (each for each in inside if each.is_file() and not each.is_symlink())
    return found


def read_logs(
    *paths: Path_, audio: bool = False, progress: Callable[[int, int, Log | InputError], None] | None = None
) -> Iterator[Log | InputError]:
    """Read many files, one at a time: memory is that of the largest.

    Args:
        paths: Files and folders.
        audio: See `read_log`.
        progress: Called after each file with how many are done, how many there are, and what was read.

    Yields:
        A `Log` per file, or the `InputError` that says why a file of a folder could not be read.
    """
    files = log_files(*paths)
    for n, file in enumerate(files, 1):
        read: Log | InputError
        try:
            read = read_log(file, audio=audio)
        except InputError as exc:
            read = exc
        if progress is not None:
            progress(n, len(files), read)
        yield read


_OVERLAP = (
    "sessions overlap and only ids in the events tell them apart: what names none went to the one that spoke last"
)


class Sorter:
    """Which session of a file a frame belongs to."""

    def __init__(self, file: str, reading: Reading, *, whole: bool) -> None:
        self.sessions: list[LoggedSession] = []
        self._reading = reading
        self._file, self._whole = file, whole
        self._by_key: dict[str, LoggedSession] = {}
        self._by_id: dict[str, LoggedSession] = {}
        self._latest: LoggedSession | None = None

    def session_of(self, frame: Frame) -> LoggedSession:
        names = _ids(frame.data) if frame.kind == "event" else []
        session = self._find(frame, names)
        if session is not self._latest and self._latest is not None and session.key is None and session.n_events:
            self._reading.notes[_OVERLAP] = 1
        for name in names:
            self._by_id.setdefault(name, session)
        self._latest = session
        return session

    def _find(self, frame: Frame, names: Iterable[str]) -> LoggedSession:
        key, data = frame.key, frame.data
        told = data.get("session") if frame.kind == "event" else None
        own_id = told.get("id") if isinstance(told, dict) and frame.direction == "server" else None
        begins = data.get("type") in ("session.created", "transcription_session.created")
        if key is not None:
            known = self._by_key.get(key)
            if known is None or (begins and known.id is not None and own_id is not None and own_id != known.id):
                known = self._by_key[key] = self._new(key)
            return known
        if isinstance(own_id, str):
            known = self._by_id.get(own_id)
            if known is None:
                latest = self._latest
                # What came before the first word of the server's (our first events) is of the session that it begins.
                fresh = latest is not None and not latest.settings and latest.key is None
                known = latest if latest is not None and (fresh or not begins) else self._new(None)
                self._by_id[own_id] = known
            return known
        if begins:
            latest = self._latest
            if latest is not None and latest.key is None and not latest.settings:
                return latest
            return self._new(None)
        for name in names:
            if name in self._by_id:
                return self._by_id[name]
        latest = self._latest if self._latest is not None and self._latest.key is None else None
        if latest is not None and data.get("type") == "response.created" and latest.busy:
            # A session makes one response at a time, so this one is another session's, if one is free.
            free = (s for s in reversed(self.sessions) if s.key is None and not s.busy)
            return next(free, latest)
        return latest or self._new(None)

    def _new(self, key: str | None) -> LoggedSession:
        session = LoggedSession(self._file, key, whole=self._whole)
        self.sessions.append(session)
        return session


def _ids(data: dict[str, Any]) -> list[str]:
    """The ids by which an event can be told to belong to what came before."""
    inner = [data.get("response"), data.get("item")]
    found = [data.get("response_id"), data.get("item_id"), data.get("previous_item_id")]
    found += [each.get("id") for each in inner if isinstance(each, dict)]
    return [name for name in found if isinstance(name, str) and name != "root"]
