"""`read_log`: anyone's log, folded by the same fold as a live session.

Sessions are told apart by what the log says of each event (a session id beside it), else by the ids in the events, else by
their order: a `session.created` begins another one. Times count from a session's first event, in milliseconds; where a log
has none, the responses have none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import show
from ..errors import InputError, clipped
from ..wire.records import Response
from .files import Reading
from .frames import frames
from .logged import LoggedSession
from .objects import Frame
from .rows import row

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
