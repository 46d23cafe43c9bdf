"""Anybody's logs as the frame of responses that is counted and plotted like a ledger's."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..errors import InputError, clipped
from ..eventlog import Log, LoggedSession, read_logs, row
from .grains import _made

if TYPE_CHECKING:
    import pandas as pd

_NAMES = (
    "plan", "trial_id", "role", "case", "arm", "settings", "endpoint", "model", "day", "state", "simulated", "turn", "response",
    "modality", "status", "reason", "asked", "started_by", "started_at_ms", "first_audio_ms", "first_text_ms",
    "first_transcript_ms", "done_ms", "audio_bytes", "calls", "input_text_tokens", "input_audio_tokens",
    "output_text_tokens", "output_audio_tokens", "voice", "response_id", "session_id", "started_at", "transcript", "text",
)  # fmt: skip

LogSource = Log | str | os.PathLike[str]


def log_df(source: LogSource | Iterable[LogSource], *, asked: str | None = "audio") -> pd.DataFrame:
    """A row per response of one log or many, with the columns of `responses_df` as far as logs tell them.

    ``modality_df(log_df("logs/"), by=["model"])`` counts them, and the plots take that. A session stands for a trial, and each of
    its responses for a turn, in order: a log does not say which responses were tries at the same turn. A response that never
    ended, or was cancelled, has no say in a rate, as in a ledger.

    Args:
        source: What `read_log` gave, files, folders, or a list of those.
        asked: Only responses of which the server echoed that they were to be in this modality, or echoed nothing.
            ``None``: all; replies that were asked for as text are then among them.

    Raises:
        InputError: If a file cannot be read.
    """
    rows: list[tuple[Any, ...]] = []
    n = 0
    for log in _logs(source):
        for session in log.sessions:
            n += 1
            rows += _rows(log, session, n, asked)
    return _made(_NAMES, rows, {})


def _logs(source: LogSource | Iterable[LogSource]) -> Iterator[Log]:
    if isinstance(source, Log):
        yield source
    elif isinstance(source, str | os.PathLike):
        for read in read_logs(source):
            if isinstance(read, InputError):
                raise read
            yield read
    elif isinstance(source, Iterable):
        for each in source:
            yield from _logs(each)
    else:
        raise InputError(f"log_df() takes logs, files and folders, not {clipped(source)}")


def _rows(log: Log, session: LoggedSession, n: int, asked: str | None) -> Iterator[tuple[Any, ...]]:
    header = session.header or {}
    session_id = session.id or f"{log.path.name} {n}"
    turn = 0
    for r in session.responses:
        if asked is not None and r.asked is not None and asked not in r.asked:
            continue
        told = row(r)
        tokens = (told[f"{way}_{kind}_tokens"] for way in ("input", "output") for kind in ("text", "audio"))
        yield (
            None, f"{session_id} #{n}", "measure", "as logged", "as logged", log.path.name, header.get("endpoint") or "log",
            session.model, _day(header.get("opened_at")), "completed", r.simulated, turn, 0, r.modality, r.status, r.reason,
            "+".join(r.asked) if r.asked else None, r.started_by, r.started_at_ms, r.first_audio_ms, r.first_text_ms,
            r.first_transcript_ms, r.done_ms, r.n_audio_bytes, len(r.calls), *tokens, r.voice, r.id, session.id,
            _unix(header.get("opened_at")), r.transcript, r.text,
        )  # fmt: skip
        turn += 1


def _day(iso: object) -> str | None:
    return iso[:10] if isinstance(iso, str) and _unix(iso) is not None else None


def _unix(iso: object) -> float | None:
    try:
        return datetime.fromisoformat(iso).timestamp() if isinstance(iso, str) else None
    except ValueError:
        return None
