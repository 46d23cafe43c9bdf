"""From a ledger, several, or a frame of responses to the small columns that are counted.

A source of another kind needs one function here that fills a `Rows`; every table and plot then takes it.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import InputError, clipped
from ..eventlog import Log, LoggedSession, read_logs, row
from ..trials.ledger import Ledger

if TYPE_CHECKING:
    import pandas as pd

# What is counted, as columns of small numbers: no text, no ids from the wire, no pandas.
#
# A million turns are a few whole-number arrays of one entry each; what belongs to the trial (its case, its arm, its model) is
# kept once per trial. `counting` needs nothing else. Ids and words stay where they came from until a ``*_df`` asks for them.
#
# `Rows` is the seam for sources: whatever can fill one (a ledger, a frame, an event log) gets the same tables.


Codes = npt.NDArray[np.integer]
Floats = npt.NDArray[np.floating]

MODALITIES = ("audio", "text", "mixed", "function", "empty")
TEXT = MODALITIES.index("text")
LABELS = ("plan", "role", "case", "arm", "settings", "endpoint", "model", "voice", "day")
"""What rows can be grouped by; `simulated` always is."""
STATES = ("completed", "failed", "missing")
"""Of a trial. Failed: no attempt came to its end. Missing: never run, or not finished yet."""
COMPLETED, FAILED, MISSING = range(3)
ANSWERED = ("completed", "incomplete", "cancelled")
"""Response statuses after which what arrived is what was said; a ``failed`` one, or one without an end, says nothing."""


@dataclass(frozen=True, slots=True)
class Labels:
    """A column of few different words: a code per row, -1 where there is none."""

    codes: Codes
    words: tuple[str, ...]

    @classmethod
    def of(cls, values: Iterable[object], first: Iterable[str] = ()) -> Labels:
        """From the words themselves, numbered in the order of `first` and then as they come; ``None`` and NaN have no word."""
        seen: dict[str, int] = {word: at for at, word in enumerate(dict.fromkeys(first))}
        listed = list(values)
        codes = {
            value: -1 if value is None or value != value else seen.setdefault(str(value), len(seen))
            for value in dict.fromkeys(listed)
        }
        return cls(np.fromiter(map(codes.__getitem__, listed), _small(len(seen)), len(listed)), tuple(seen))

    @classmethod
    def joined(cls, parts: Sequence[Labels]) -> Labels:
        """One column after another, under one numbering."""
        seen: dict[str, int] = {}
        arrays = []
        for part in parts:
            book = [*(seen.setdefault(word, len(seen)) for word in part.words), -1]
            arrays.append(np.asarray(book, _small(len(seen)))[part.codes])  # code -1 takes the last entry, which is -1
        return cls(np.concatenate(arrays) if arrays else np.empty(0, np.int8), tuple(seen))

    def __len__(self) -> int:
        return len(self.codes)


def _small(n_words: int) -> npt.DTypeLike:
    """The smallest whole numbers that hold the codes of so many words, and one more."""
    return np.min_scalar_type(-n_words - 2)


@dataclass(frozen=True, slots=True)
class Turns:
    """A turn per entry, ordered by trial and turn, of the attempts that count: what its responses came to.

    Attributes:
        trial: Which trial: its row in `Rows`.
        turn: Which user turn, from 0; 0 is the one that the history ends with.
        final: What the user finally heard: code in `MODALITIES` of the last response, -1 where the turn was not answered.
        first: The same of the first response, before an arm reacted to it.
        heard_ms: From asking first until audio first came; NaN where none did.
        responses: How many it took.
    """

    trial: Codes
    turn: Codes
    final: Codes
    first: Codes
    heard_ms: Floats
    responses: Codes

    def __len__(self) -> int:
        return len(self.trial)

    @property
    def n_bytes(self) -> int:
        """What all of them take in memory."""
        return sum(getattr(self, name).nbytes for name in self.__slots__)


@dataclass(frozen=True, slots=True)
class Rows:
    """Trials with what they are labelled by and how they ended, and their turns.

    Attributes:
        labels: Per trial, by name: ``case``, ``arm``, ``endpoint``, ``model``, ``day`` (UTC, ``2026-11-22``), …
        state: Code in `STATES`.
        simulated: 1 where a stand-in answered, 0 where a service did, -1 where nothing says.
        numbers: Per trial, by name: floats, NaN where unknown.
        planned: Whether every trial of a plan is here. A frame of responses has only those with a response.
    """

    labels: Mapping[str, Labels]
    state: Codes
    simulated: Codes
    turns: Turns
    numbers: Mapping[str, Floats] = field(default_factory=dict)
    planned: bool = True

    @property
    def n_trials(self) -> int:
        return len(self.state)

    def label(self, name: str) -> Labels:
        """A label by name.

        Raises:
            InputError: If trials are not labelled so.
        """
        try:
            return self.labels[name]
        except KeyError:
            known = ", ".join(self.labels) or "nothing"
            raise InputError(f"trials are not labelled by {clipped(name)}; there are {known}") from None


def joined(parts: Sequence[Rows]) -> Rows:
    """Several sources as one. Trials are numbered on; those of a source that lacks a label or a number have none."""
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(part.n_trials for part in parts)])
    labels = dict.fromkeys(name for part in parts for name in part.labels)
    numbers = dict.fromkeys(name for part in parts for name in part.numbers)

    def label(part: Rows, name: str) -> Labels:
        return part.labels.get(name) or Labels(np.full(part.n_trials, -1, np.int32), ())

    def number(part: Rows, name: str) -> Floats:
        return part.numbers[name] if name in part.numbers else np.full(part.n_trials, np.nan)

    def stacked(name: str) -> npt.NDArray[np.generic]:
        return np.concatenate([getattr(part.turns, name) for part in parts])

    trial = np.concatenate([part.turns.trial + start for part, start in zip(parts, starts[:-1], strict=True)])
    others = {name: stacked(name) for name in ("turn", "final", "first", "heard_ms", "responses")}
    return Rows(
        labels={name: Labels.joined([label(part, name) for part in parts]) for name in labels},
        state=np.concatenate([part.state for part in parts]),
        simulated=np.concatenate([part.simulated for part in parts]),
        turns=Turns(trial=trial, **others),  # type: ignore[arg-type]
        numbers={name: np.concatenate([number(part, name) for part in parts]) for name in numbers},
        planned=all(part.planned for part in parts),
    )


# Anybody's logs as the frame of responses that is counted and plotted like a ledger's.


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


# One frame per row grain. Ids are always there, words that repeat are categoricals, units are in the names.
#
# =================  =============================================================================================
# `trials_df`        planned trial, whether it was run or not: the fixed denominators
# `attempts_df`      try at a trial, those included that failed, were interrupted or are still pending
# `turns_df`         planned user turn of a trial and all the responses that it took; unanswered ones are there too
# `responses_df`     response
# `events_df`        event, where `run` was asked to keep them
# =================  =============================================================================================
#
# Every frame has ``plan`` (the beginning of its hash), ``trial_id``, what the trial is labelled by (``role``, ``case``, ``arm``,
# ``settings``, ``endpoint``, ``model``), ``state`` of the trial, and ``simulated`` (true, false, or ``<NA>`` where nothing says).
# Turns count from 0 (the one that the history ends with), responses from 0 within a turn. ``*_at`` are UTC; ``*_ms`` are
# milliseconds, durations unless they end in ``_at_ms``. Unknown is missing (``NaN``, ``<NA>``), never zero.


_KEYS = (
    "t.trial_id, t.role, t.case_name AS 'case', t.arm, t.settings_name AS settings, t.endpoint, "
    "COALESCE(t.asked_model, c.model) AS model, COALESCE(c.status, 'missing') AS state"
)
_SIMULATED = (
    "COALESCE({told}, c.simulated) AS simulated"  # as the server said to this row, else to the attempt that counts
)
_FROM = "FROM trials t LEFT JOIN attempts c ON c.trial_id = t.trial_id AND c.counts = 1"
_WHERE = "WHERE (?1 IS NULL OR t.role = ?1)"
_CATEGORIES = {
    **dict.fromkeys(("modality", "first_modality", "final_modality"), MODALITIES),
    "state": STATES,
    "status": None,
    **dict.fromkeys(LABELS, None),
    **dict.fromkeys(
        ("reason", "asked", "started_by", "reported", "kind", "stage", "direction", "type", "drift_rule"), None
    ),
}
_WHOLE = {"attempt_id", "attempt", "attempts", "run_id", "n", "repeat", "turn", "response", "responses", "event"}
_FLAGS = {"simulated", "counts", "expected", "cost_estimated", "any_drift", "planned_text"}


def trials_df(source: Source, *, role: Role | None = "measure") -> pd.DataFrame:
    """A row per planned trial.

    ``first_turn`` is what the user finally heard to the seeded history, ``first_response`` what came before an arm reacted;
    ``drift_turn`` counts from 0; ``usd`` and ``attempts`` are over all attempts, the rest is of the one that counts.

    Args:
        source: A ledger, its path, or a list of those.
        role: ``"measure"`` unless told; ``"positive"``, ``"negative"``, or ``None`` for controls and all.
    """
    answered = f"u.attempt_id = c.attempt_id AND u.final_status IN {ANSWERED}"
    text = f"(SELECT MIN(turn) FROM turns u WHERE {answered} AND u.final_modality = 'text')"

    def of_first(column: str) -> str:
        return f"(SELECT {column} FROM turns u WHERE {answered} AND u.turn = 0)"

    def tokens(column: str) -> str:
        return f"(SELECT SUM({column}) FROM responses r WHERE r.attempt_id = c.attempt_id) AS {column}"

    sql = f"""SELECT {_KEYS}, {_SIMULATED.format(told="NULL")}, t.n, t.repeat, t.reported,
      t.n_history_items AS history_items, t.n_turns AS turns_planned, c.attempt_id,
      (SELECT COUNT(*) FROM attempts x WHERE x.trial_id = t.trial_id) AS attempts,
      (SELECT COUNT(*) FROM turns u WHERE {answered}) AS turns,
      {of_first("first_modality")} AS first_response_modality, {of_first("final_modality")} AS first_turn_modality,
      {of_first("heard_ms")} AS heard_ms, {text} AS drift_turn, {text} IS NOT NULL AS any_drift,
      c.n_responses AS responses, c.n_items_sent AS items_sent, c.n_updates_sent AS updates_sent,
      c.n_deletes_sent AS deletes_sent, {tokens("total_tokens")}, {tokens("output_audio_tokens")},
      (SELECT CASE WHEN SUM(x.cost_usd IS NULL) THEN NULL ELSE SUM(x.cost_usd) END
       FROM attempts x WHERE x.trial_id = t.trial_id AND x.status != 'pending') AS usd,
      c.connect_ms, c.seed_ms, c.voice, c.session_id, c.started_at, c.ended_at, c.kind, c.error {_FROM} {_WHERE} ORDER BY t.n"""
    df = _frame(source, sql, (role,))
    df.loc[df["state"] == "missing", "any_drift"] = None
    return df


def attempts_df(source: Source, *, role: Role | None = None) -> pd.DataFrame:
    """A row per attempt, in the order in which they began; controls included unless `role` says otherwise."""
    sql = f"""SELECT {_KEYS}, {_SIMULATED.format(told="a.simulated")}, a.attempt_id, a.attempt, a.counts, a.status, a.stage,
      a.kind, a.expected, a.error_type, a.error_code, a.error, a.run_id, a.worker, a.started_at, a.ended_at, a.session_id,
      a.model AS served_model, a.voice, a.drift_rule, a.connect_ms, a.seed_ms, a.n_items_sent AS items_sent,
      a.n_updates_sent AS updates_sent, a.n_deletes_sent AS deletes_sent, a.n_responses AS responses, a.reserved_usd,
      a.cost_usd AS usd, a.cost_estimated FROM attempts a JOIN trials t USING (trial_id)
      LEFT JOIN attempts c ON c.trial_id = t.trial_id AND c.counts = 1 {_WHERE} ORDER BY a.attempt_id"""
    return _frame(source, sql, (role,))


def turns_df(source: Source, *, role: Role | None = "measure") -> pd.DataFrame:
    """A row per planned turn of each trial, from the attempt that counts. A turn that was not answered has no modality."""
    sql = f"""WITH RECURSIVE place(turn) AS
      (SELECT 0 UNION ALL SELECT turn + 1 FROM place WHERE turn + 1 < (SELECT MAX(n_turns) FROM trials))
      SELECT {_KEYS}, {_SIMULATED.format(told="NULL")}, c.attempt_id, place.turn, t.repeat,
      t.n_history_items AS history_items, u.first_modality AS first_modality, CASE WHEN u.final_status IN {ANSWERED} THEN u.final_modality END AS modality,
      u.final_status AS status, COALESCE(u.n_responses, 0) AS responses, u.heard_ms, COALESCE(u.n_items_sent, 0) AS items_sent,
      c.session_id, c.started_at {_FROM} JOIN place ON place.turn < t.n_turns
      LEFT JOIN turns u ON u.attempt_id = c.attempt_id AND u.turn = place.turn {_WHERE} ORDER BY t.n, place.turn"""
    return _frame(source, sql, (role,))


def responses_df(
    source: Source, *, role: Role | None = "measure", all_attempts: bool = False, words: bool = False
) -> pd.DataFrame:
    """A row per response.

    Args:
        source: A ledger, its path, or a list of those.
        role: ``"measure"`` unless told; ``None``: controls too.
        all_attempts: Those of attempts that do not count as well; ``counts`` tells them apart.
        words: Also ``transcript`` and ``text``: most of what a ledger weighs.
    """
    said = ", r.transcript, r.text" if words else ""
    which = "" if all_attempts else "AND a.counts = 1"
    sql = f"""SELECT {_KEYS}, {_SIMULATED.format(told="r.simulated, a.simulated")}, a.attempt_id, a.counts, r.turn, r.response,
      r.modality, r.status, r.reason, r.asked, r.started_by, r.started_at_ms, r.first_audio_ms, r.first_text_ms,
      r.first_transcript_ms, r.done_ms, r.n_audio_bytes AS audio_bytes, r.n_calls AS calls, r.input_text_tokens,
      r.input_audio_tokens, r.cached_text_tokens, r.cached_audio_tokens, r.output_text_tokens, r.output_audio_tokens,
      r.total_tokens, r.cost_usd AS usd, r.cost_estimated, r.error_code, r.error, r.response_id, a.session_id, a.started_at{said}
      FROM responses r JOIN attempts a USING (attempt_id) JOIN trials t ON t.trial_id = a.trial_id
      LEFT JOIN attempts c ON c.trial_id = t.trial_id AND c.counts = 1 {_WHERE} {which}
      ORDER BY t.n, a.attempt_id, r.turn, r.response"""
    return _frame(source, sql, (role,))


def events_df(source: Source, *, role: Role | None = None, words: bool = False) -> pd.DataFrame:
    """A row per event of the attempts whose events were kept (``run(…, keep_events=True)``), in order; empty if none were.

    Args:
        words: Also ``event``, the event itself as JSON (its audio was left out when it was kept).
    """
    sql = f"""SELECT {_KEYS}, {_SIMULATED.format(told="a.simulated")}, a.attempt_id, a.counts, a.session_id, a.started_at, e.jsonl
      FROM events e JOIN attempts a USING (attempt_id) JOIN trials t ON t.trial_id = a.trial_id
      LEFT JOIN attempts c ON c.trial_id = t.trial_id AND c.counts = 1 {_WHERE} ORDER BY e.attempt_id"""
    names, rows = _query(source, sql, (role,))
    out = [
        (*row[:-1], at, *_event(line, words))
        for row in rows
        for at, line in enumerate(zlib.decompress(row[-1]).splitlines())
    ]
    told = ("event", "at_ms", "direction", "type", "audio_bytes", "event_id", "item_id", "response_id")
    return _made((*names[:-1], *told, *(("json",) if words else ())), out, _order(source))


def _event(line: bytes, words: bool) -> tuple[Any, ...]:
    told = json.loads(line)
    event = told.get("event") or {}

    def id_of(name: str) -> Any:
        inner = event.get(name)
        return event.get(f"{name}_id") or (inner.get("id") if isinstance(inner, dict) else None)

    ids = (event.get("event_id"), id_of("item"), id_of("response"))
    seen = (told.get("at_ms"), told.get("direction"), event.get("type"), told.get("n_audio_bytes"), *ids)
    return (*seen, json.dumps(event, ensure_ascii=False)) if words else seen


# -------------------------------------------------------------------------------------------------------------- frames


def _query(source: object, sql: str, values: Sequence[Any]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    names: tuple[str, ...] = ()
    rows: list[tuple[Any, ...]] = []
    for ledger in ledgers_of(source):
        with reading(ledger) as db:
            found = db.execute(sql, values)
            names = ("plan", *(column[0] for column in found.description))
            plan = _plan(ledger)
            rows += [(plan, *row) for row in found]
    return names, rows


def _plan(ledger: Ledger) -> str:
    return ledger.plan_hash[:12]


def _frame(source: object, sql: str, values: Sequence[Any]) -> pd.DataFrame:
    return _made(*_query(source, sql, values), _order(source))


def _order(source: object) -> dict[str, list[str]]:
    order: dict[str, list[str]] = {}
    for ledger in ledgers_of(source):
        for name, words in plan_order(ledger).items():
            order.setdefault(name, []).extend(words)
    return order


def _made(names: Sequence[str], rows: list[tuple[Any, ...]], order: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    import pandas as pd

    columns: dict[str, Sequence[Any]] = dict(
        zip(names, zip(*rows, strict=True) if rows else ((),) * len(names), strict=True)
    )
    told = told_or_planned(columns["simulated"], columns["endpoint"], columns["settings"])
    columns["simulated"] = [None if one < 0 else bool(one) for one in told]
    return pd.DataFrame({name: _column(name, values, order.get(name, ())) for name, values in columns.items()})


def _column(name: str, values: Sequence[Any], first: Sequence[str]) -> Any:
    import pandas as pd

    if name in _CATEGORIES or name.endswith("_modality"):
        fixed = MODALITIES if name.endswith("_modality") else _CATEGORIES[name]
        present = dict.fromkeys(value for value in values if value is not None)
        words = fixed or tuple(dict.fromkeys((*(word for word in first if word in present), *present)))
        return pd.Categorical(list(values), categories=list(words))
    if name in _FLAGS:
        return pd.array([None if value is None else bool(value) for value in values], dtype="boolean")
    if name.endswith("_at"):
        return pd.to_datetime(
            pd.array(list(values), dtype="Float64").to_numpy(np.float64, na_value=np.nan), unit="s", utc=True
        )
    if name.endswith(("_ms", "usd")):
        return np.array([np.nan if value is None else value for value in values], np.float64)
    if (
        name in _WHOLE
        or name.endswith(("_tokens", "_items", "_sent", "_bytes", "_planned", "_turn"))
        or name in ("turns", "calls")
    ):
        if None in values:
            return pd.array(list(values), dtype="Int64")
        return np.array(values, np.int64)
    return pd.array(list(values), dtype="string")


# From a ledger to the small columns that are counted: a few plain scans, each column as one text.
#
# A ledger is written for safety, row by row as things happen; here it is read for counting. What costs is not SQLite's scan but
# every value that becomes a Python object, so values come out by the column: small numbers packed into one, numbers joined into a
# text that numpy takes apart, words joined and split.


Role = Literal["measure", "positive", "negative"]
_ROLES = ("measure", "positive", "negative")


@contextmanager
def reading(ledger: Ledger) -> Iterator[sqlite3.Connection]:
    """One look at a ledger that may be written to meanwhile: every query inside sees the same moment."""
    with closing(ledger.connect()) as db:
        db.row_factory = None
        db.execute("BEGIN")
        yield db


def plan_order(ledger: Ledger) -> dict[str, tuple[str, ...]]:
    """The names of cases, arms and settings in the order in which the plan was written down; trials come shuffled."""
    return {
        label: tuple(str(each["name"]) for each in ledger.plan.get(part) or ())
        for label, part in (("case", "cases"), ("arm", "arms"), ("settings", "settings"))
    }


class _Packed:
    """Small whole numbers of a row as one: arithmetic costs SQLite less than another column.

    Args:
        fields: Name → (SQL, what its value is below). The values are not negative; all of the limits multiplied are below 2⁶³.
    """

    def __init__(self, **fields: tuple[str, int]) -> None:
        self._fields = fields
        sql = "0"
        for expression, below in fields.values():
            sql = f"({sql} * {below} + {expression})"
        self.sql = sql

    def apart(self, packed: Any) -> dict[str, Any]:
        """The fields again, as int64 arrays."""
        rest, out = packed, {}
        for name, (_, below) in reversed(self._fields.items()):
            rest, out[name] = np.divmod(rest, below)
        return out


def _word(column: str, words: Sequence[str]) -> str:
    """SQL for the number of a word, from 1; 0 is any other."""
    cases = " ".join(f"WHEN '{word}' THEN {at}" for at, word in enumerate(words, 1))
    return f"CASE {column} {cases} ELSE 0 END"


_OF_TRIAL = _Packed(
    settings=("settings", 2**16), role=(_word("role", _ROLES), 4), items=("n_history_items", 2**20), turns=("n_turns", 2**20)
)  # fmt: skip
_OF_ATTEMPT = _Packed(
    day=("CAST(started_at / 86400 AS INTEGER)", 2**20), items=("IFNULL(n_items_sent + 1, 0)", 2**20),
    simulated=("IFNULL(simulated + 1, 0)", 4), state=(_word("status", STATES[:2]), 4), over=("(status != 'pending')", 2),
    counts=("counts", 2),
)  # fmt: skip
_OF_TURN = _Packed(
    turn=("turn", 2**20), n=("n_responses", 2**20), first=(_word("first_modality", MODALITIES), 8),
    final=(f"CASE WHEN final_status IN {ANSWERED} THEN {_word('final_modality', MODALITIES)} ELSE 0 END", 8),
)  # fmt: skip
# Numbers with a fraction come as whole ones, exactly down to these parts: below a nanosecond, below a millionth of a cent.
_PARTS_OF_MS, _PARTS_OF_USD = 2**20, 2**40
# Plain scans, put together here: joins by a text id, and sorting whole rows, would cost more than the rest.
_TRIALS = "trials WHERE ?1 IS NULL OR role = ?1", ("trial_id", "case_name", "arm"), ("n", _OF_TRIAL.sql)
_ATTEMPTS = (
    "attempts",
    ("trial_id", "IFNULL(voice, '')", "IFNULL(model, '')"),
    ("attempt_id", _OF_ATTEMPT.sql, f"IFNULL(CAST(cost_usd * {_PARTS_OF_USD} AS INTEGER), -1)"),
)
_TURNS = "turns", (), ("attempt_id", _OF_TURN.sql, f"IFNULL(CAST(heard_ms * {_PARTS_OF_MS} AS INTEGER), -1)")
_Table = tuple[str, Sequence[str], Sequence[str]]


def _columns(db: sqlite3.Connection, table: _Table, values: Sequence[Any] = ()) -> tuple[list[Any], list[Any]]:
    """A table's columns in the order of the first number: of words as lists, of whole numbers as int64 arrays.

    Each comes out of SQLite as one text and is taken apart here: a Python object per cell would cost several times as much.
    """
    source, words, numbers = table
    texts = [f"group_concat(REPLACE({each}, char(31), ' '), char(31))" for each in words]
    texts += [f"group_concat({each})" for each in numbers]
    n, *told = db.execute(f"SELECT COUNT(*), {', '.join(texts)} FROM {source}", values).fetchone()
    if not n:
        return [[] for _ in words], [np.empty(0, np.int64) for _ in numbers]
    listed = [each.split("\x1f") for each in told[: len(words)]]
    arrays = [np.fromstring(each, np.int64, sep=",") for each in told[len(words) :]]
    if np.all(arrays[0][1:] >= arrays[0][:-1]):
        return listed, arrays
    order = np.argsort(arrays[0], kind="stable")
    return [[column[at] for at in order.tolist()] for column in listed], [array[order] for array in arrays]


def _parts(whole: Any, of_one: int) -> Any:
    """Whole numbers of parts as float64; -1 becomes NaN."""
    return np.where(whole >= 0, whole / of_one, np.nan)


def rows_of_ledger(ledger: Ledger, role: Role | None) -> Rows:
    """A ledger's trials of one role, or all, with their turns."""
    with reading(ledger) as db:
        (ids, cases, arms), (_, packed) = _columns(db, _TRIALS, (role,))
        (trial_of, voices, models), (attempt_ids, packed_attempts, cost) = _columns(db, _ATTEMPTS)
        _, turns = _columns(db, _TURNS)
        settings = db.execute("SELECT DISTINCT settings, settings_name, endpoint, asked_model FROM trials").fetchall()
    n, trial, attempt = len(ids), _OF_TRIAL.apart(packed), _OF_ATTEMPT.apart(packed_attempts)
    whose = _looked_up(ids, trial_of)
    usd = np.zeros(n)
    owed = np.flatnonzero((whose >= 0) & (attempt["over"] == 1))
    np.add.at(usd, whose[owed], _parts(cost, _PARTS_OF_USD)[owed])
    which = np.flatnonzero((whose >= 0) & (attempt["counts"] == 1))  # of each trial the one attempt that counts
    at = whose[which]

    def of_deciding(values: Any, without: float) -> Any:
        out = np.full(n, without, values.dtype)
        out[at] = values[which]
        return out

    served = _first_of_each(trial["settings"], whose, models)
    by_settings = {n: (name, endpoint, asked or served.get(n)) for n, name, endpoint, asked in settings}
    order = plan_order(ledger)
    voice, day = Labels.of(voice or None for voice in voices), Labels.of(attempt["day"].tolist())
    role_words = np.array([-1, *range(len(_ROLES))], np.int8)
    labels = {
        "plan": Labels(np.zeros(n, np.int8), (ledger.plan_hash[:12],)),
        "role": Labels(role_words[trial["role"]], _ROLES),
        "case": Labels.of(cases, order["case"]),
        "arm": Labels.of(arms, order["arm"]),
        **_settings(trial["settings"], by_settings, order["settings"]),
        "voice": Labels(of_deciding(voice.codes, -1), voice.words),
        "day": Labels(of_deciding(day.codes, -1), tuple(str(np.datetime64(int(each), "D")) for each in day.words)),
    }
    items_sent = np.where(attempt["items"] > 0, attempt["items"] - 1.0, np.nan)
    state = np.where(attempt["state"] > 0, attempt["state"] - 1, MISSING).astype(np.int8)
    simulated = of_deciding((attempt["simulated"] - 1).astype(np.int8), -1)
    trial_at = np.full(int(attempt_ids.max(initial=-1)) + 1, -1, np.int32)
    trial_at[attempt_ids[which]] = at
    return Rows(
        labels=labels,
        state=of_deciding(state, MISSING),
        simulated=_simulated(simulated, trial["settings"], by_settings),
        turns=_turns(turns, trial_at),
        numbers={
            "history_items": trial["items"].astype(np.float32),
            "turns_planned": trial["turns"].astype(np.float32),
            "items_sent": of_deciding(items_sent.astype(np.float32), np.nan),
            "usd": usd,
        },
    )


def _looked_up(ids: Sequence[str], wanted: Sequence[str]) -> Any:
    """The place of each wanted id among `ids`, -1 where it is not there."""
    if ids == wanted:  # one attempt at each trial, in their order
        return np.arange(len(ids), dtype=np.int32)
    place = dict(zip(ids, range(len(ids)), strict=True))
    return np.fromiter(map(place.get, wanted, repeat(-1)), np.int32, len(wanted))


def _settings(of: Any, told: dict[int, tuple[Any, ...]], first: Sequence[str]) -> dict[str, Labels]:
    """What a trial's settings decide, looked up by their number."""
    numbers = sorted(told)
    which = np.searchsorted(np.array(numbers, np.int64), of)
    out = {}
    for at, name in enumerate(("settings", "endpoint", "model")):
        few = Labels.of([told[n][at] for n in numbers], first if name == "settings" else ())
        out[name] = Labels(few.codes[which], few.words)
    return out


def _simulated(told: Any, of_settings: Any, settings: Mapping[int, tuple[Any, ...]]) -> Any:
    """`told_or_planned` for whole columns: the unknown ones are guessed by settings, of which there are few."""
    for n, (_, endpoint, _) in settings.items():
        same = of_settings == n
        unknown, known = same & (told < 0), np.unique(told[same & (told >= 0)])
        if endpoint == "standin":
            told[unknown] = 1
        elif len(known) == 1:
            told[unknown] = known[0]
    return told


def _first_of_each(of_settings: Any, whose: Any, models: Sequence[str]) -> dict[int, str]:
    """The model that answered first, by settings: where none was asked for."""
    named = np.flatnonzero((whose >= 0) & np.fromiter(map(bool, models), bool, len(models)))
    numbers, first = np.unique(of_settings[whose[named]], return_index=True)
    return {int(n): models[named[at]] for n, at in zip(numbers, first, strict=True)}


def _turns(columns: Sequence[Any], trial_at: Any) -> Turns:
    """Those of the attempts that count, by trial and turn. `trial_at`: attempt id → trial, or -1."""
    attempts, packed, heard = columns
    told = _OF_TURN.apart(packed)
    known = np.flatnonzero(attempts < len(trial_at))
    known = known[trial_at[attempts[known]] >= 0]
    whose, turn = trial_at[attempts[known]], told["turn"][known].astype(np.int16)
    order = np.lexsort((turn, whose))
    kept = known[order]
    final, first = ((told[name][kept] - 1).astype(np.int8) for name in ("final", "first"))
    heard_ms = _parts(heard, _PARTS_OF_MS)[kept]
    return Turns(whose[order], turn[order], final, first, heard_ms, told["n"][kept].astype(np.int16))


def told_or_planned(told: Sequence[int | None], endpoint: Sequence[str], settings: Sequence[object]) -> Any:
    """Whether a stand-in answers: as the server said; for trials that never got so far, as it said to others of the same
    settings, or by the endpoint's name where that is the stand-in. Unknown stays unknown."""
    known: dict[object, set[int]] = {}
    for name, value in zip(settings, told, strict=True):
        if value is not None:
            known.setdefault(name, set()).add(value)
    guess = {name: values.pop() for name, values in known.items() if len(values) == 1}

    def one(value: int | None, where: str, name: object) -> int:
        if value is not None:
            return value
        return 1 if where == "standin" else guess.get(name, -1)

    return np.array([one(*each) for each in zip(told, endpoint, settings, strict=True)], np.int8)


Source: TypeAlias = "Ledger | str | Path | pd.DataFrame | Rows | Sequence[Source]"


def ledgers_of(source: object) -> list[Ledger]:
    """The ledgers that are meant: one or several, opened or by path.

    Raises:
        InputError: If it is something else.
        LedgerError: If a path leads to no ledger.
    """
    if isinstance(source, Ledger):
        return [source]
    if isinstance(source, str | Path):
        return [Ledger(source)]
    if isinstance(source, Sequence) and source:
        return [ledger for each in source for ledger in ledgers_of(each)]
    raise InputError(f"a source is a ledger, its path, or a list of those (event logs: log_df), not {clipped(source)}")


def rows_of(source: Source, role: Role | None = "measure") -> Rows:
    """A source as columns of small numbers.

    Args:
        role: Trials of that role only: the measurement unless told. ``None``: all.

    Raises:
        InputError: If it is nothing that can be tabulated.
        LedgerError: If a path leads to no ledger.
    """
    if isinstance(source, Rows):
        return source
    if hasattr(source, "columns") and hasattr(source, "iloc"):
        return _of_frame(source, role)
    if isinstance(source, Ledger | str | Path):
        (ledger,) = ledgers_of(source)
        return rows_of_ledger(ledger, role)
    if isinstance(source, Sequence) and source:
        return joined([rows_of(each, role) for each in source])
    raise InputError(f"a source is a ledger, its path, a frame of responses, or a list of those, not {clipped(source)}")


# ------------------------------------------------------------------------------------------------------- from a frame

_NEEDED = ("trial_id", "turn", "response", "modality", "status", "simulated")


def _of_frame(df: pd.DataFrame, role: Role | None) -> Rows:
    lacking = [name for name in _NEEDED if name not in df]
    if lacking:
        raise InputError(
            f"the frame has no column {clipped(lacking[0])}; a frame to count is one of tables.responses_df"
        )
    if role is not None and "role" in df:
        df = df[(df["role"] == role).to_numpy()]
    ids = _categories(df["trial_id"]).codes.to_numpy()
    if "plan" in df:
        plans, names = _codes(df["plan"])
        if len(names) > 1:  # the same trial id in two plans is two trials
            ids = ids.astype(np.int64) * len(names) + plans
    if len(ids) and np.all(ids[1:] >= ids[:-1]):  # in order already: no sort
        begins = np.concatenate(([True], ids[1:] != ids[:-1]))
        trial = (np.cumsum(begins) - 1).astype(np.int32)
        row_of = np.flatnonzero(begins)
    else:
        _, row_of, inverse = np.unique(ids, return_index=True, return_inverse=True)
        trial = inverse.astype(np.int32)
    simulated = _flag(df["simulated"])

    def number(name: str) -> Any:
        return df[name].to_numpy(np.float64, na_value=np.nan) if name in df else np.full(len(df), np.nan)

    from .modality import fold

    state = _mapped(df["state"], STATES) if "state" in df else np.zeros(len(df), np.int8)
    started, audio = number("started_at_ms"), number("first_audio_ms")
    return Rows(
        labels={name: _labels(df[name], row_of) for name in LABELS if name in df},
        state=state[row_of],
        simulated=simulated[row_of],
        turns=fold(
            trial,
            df["turn"].to_numpy(),
            df["response"].to_numpy(),
            _mapped(df["modality"], MODALITIES),
            _mapped(df["status"], ANSWERED) >= 0,
            started,
            audio,
        ),
        planned=False,
    )


def _categories(column: pd.Series) -> Any:
    return (column if hasattr(column, "cat") else column.astype("category")).cat


def _codes(column: pd.Series) -> tuple[Any, list[str]]:
    told = _categories(column)
    return told.codes.to_numpy(), [str(word) for word in told.categories]


def _mapped(column: pd.Series, words: Sequence[str]) -> Any:
    """A column of words as codes into `words`; -1 for any other."""
    codes, present = _codes(column)
    book = np.array([*(words.index(word) if word in words else -1 for word in present), -1], np.int8)
    return book[codes]


def _labels(column: pd.Series, row_of: Any) -> Labels:
    codes, words = _codes(column)
    return Labels(codes[row_of], tuple(words))


def _flag(column: pd.Series) -> Any:
    """1, 0, -1 for true, false and unknown, however the column was saved and read again."""
    if column.dtype.kind != "b":
        column = column.map({True: 1.0, False: 0.0, "True": 1.0, "False": 0.0}).astype("float64")
    return column.to_numpy(np.float64, na_value=-1).astype(np.int8)
