"""The sessions of a ledger or of logs, each with its frames, one after the other."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import InputError, clipped
from ..eventlog import Log, LoggedSession, Reading, log_files
from ..eventlog.frames import frames, frames_of
from ..eventlog.recording import Step, stepped
from ..trials.ledger import Ledger

Source = Ledger | Log | str | os.PathLike[str]

_ATTEMPTS = """
SELECT e.attempt_id, e.trial_id, a.started_at, a.simulated, t.case_name, t.arm, t.endpoint, COALESCE(t.asked_model, a.model) AS model
FROM events e JOIN attempts a USING (attempt_id) JOIN trials t ON t.trial_id = a.trial_id WHERE a.counts = 1 AND t.role = 'measure'
ORDER BY a.attempt_id
"""


@dataclass(frozen=True, slots=True)
class Told:
    """One session, as it is known: its responses, its frames, and what a ledger says of it."""

    session: LoggedSession
    steps: list[Step]
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def opened_at(self) -> float | None:
        """Unix seconds, where it is known."""
        started = self.about.get("started_at")
        if isinstance(started, int | float):
            return float(started)
        told = (self.session.header or {}).get("opened_at")
        try:
            return datetime.fromisoformat(told).timestamp() if isinstance(told, str) else None
        except ValueError:
            return None

    def utc(self, at_ms: float | None) -> str | None:
        """An instant of the session's clock as UTC."""
        opened = self.opened_at
        if opened is None or at_ms is None:
            return None
        return datetime.fromtimestamp(opened + at_ms / 1000, UTC).isoformat(timespec="milliseconds")


def source_of(source: Source) -> Ledger | list[Path]:
    """A ledger, or the files of logs.

    Raises:
        InputError: If it is neither.
    """
    if isinstance(source, Ledger):
        return source
    if isinstance(source, Log):
        return [source.path]
    if isinstance(source, str | os.PathLike):
        path = Path(source).expanduser()
        if path.is_file():
            with open(path, "rb") as file:
                if file.read(16) == b"SQLite format 3\0":
                    return Ledger(path)
        return log_files(path)
    raise InputError(f"evidence is made of a ledger or a log, not {clipped(source)}")


def sessions_of(source: Ledger | list[Path]) -> Iterator[Told]:
    """Its sessions, one at a time; of a ledger those whose events were kept, and only the attempts that count."""
    if isinstance(source, Ledger):
        for row in source.rows(_ATTEMPTS):
            (kept,) = source.rows("SELECT jsonl FROM events WHERE attempt_id = ?", (row["attempt_id"],))
            reading = Reading()
            lines = zlib.decompress(kept["jsonl"]).splitlines()
            simulated = None if row["simulated"] is None else bool(row["simulated"])
            for session, steps in stepped(
                frames_of(lines, reading), reading, str(row["trial_id"]), simulated=simulated
            ):
                yield Told(session, steps, dict(row))
    else:
        for path in source:
            reading = Reading()
            for session, steps in stepped(frames(path, reading), reading, path.name):
                yield Told(session, steps)
