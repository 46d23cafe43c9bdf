"""One frame per row grain, from a ledger, several, or event logs.

=================  =============================================================================================
`trials_df`        planned trial, whether it was run or not: the fixed denominators
`attempts_df`      try at a trial, those included that failed, were interrupted or are still pending
`turns_df`         planned user turn of a trial and all the responses that it took; unanswered ones are there too
`responses_df`     response
`events_df`        event, where `run` was asked to keep them
`log_df`           response of any event log
=================  =============================================================================================

Every frame has ``plan`` (the beginning of its hash), ``trial_id``, the labels of the trial (``role``, ``case``, ``arm``,
``settings``, ``endpoint``, ``model``), ``state`` of the trial, and ``simulated`` (true, false, or ``<NA>`` where nothing says).
Turns count from 0 (the one that the history ends with), responses from 0 within a turn. ``*_at`` are UTC; ``*_ms`` are
milliseconds, durations unless they end in ``_at_ms``. Unknown is missing (``NaN``, ``<NA>``), never zero. Ids are always there,
words that repeat are categoricals in the plan's order, units are in the names.
"""

from __future__ import annotations

import json
import os
import sqlite3
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from ..errors import InputError, clipped
from ..eventlog import Log, read_logs
from ..eventlog.answer import beginning
from ..trials.ledger import OUTCOMES, Ledger, damage, inflate
from ..wire.records import row

if TYPE_CHECKING:
    import pandas as pd

Role = Literal["measure", "positive", "negative"]
Source: TypeAlias = "Ledger | str | Path | pd.DataFrame | Sequence[Source]"
LogSource = Log | str | os.PathLike[str]

MODALITIES = ("audio", "text", "mixed", "function", "empty")
LABELS = ("plan", "role", "case", "arm", "settings", "endpoint", "model", "voice", "day", "beginning")
"""What turns can be grouped by; `simulated` always is. `beginning` is of logs alone."""
STOPPED = "stop rule"
STATES = ("completed", "failed", "missing")
"""Of a trial. Failed: no attempt came to its end. Missing: never run, or not finished yet."""
NO_ANSWER = ("failed", "censored")
"""Outcomes of a turn that say nothing of what the model does."""
ANSWERED = ("completed", "incomplete", "cancelled")
"""In a ledger of before: response statuses after which what arrived is what the user got. A ``failed`` one, or one without an
end, is no answer there, as nothing says what had come by then."""

# ------------------------------------------------------------------------------------------- columns, as name → SQL

# `t` is the planned trial, `c` the attempt that counts, `served` the model that first answered trials of the same settings.
_TRIAL = {
    "trial_id": "t.trial_id", "role": "t.role", "case": "t.case_name", "arm": "t.arm", "settings": "t.settings_name",
    "endpoint": "t.endpoint",
    "model": "COALESCE(t.asked_model, c.model, (SELECT model FROM served WHERE served.settings = t.settings))",
    "state": "COALESCE(c.status, 'missing')",
}  # fmt: skip
_COUNTING = "LEFT JOIN attempts c ON c.trial_id = t.trial_id AND c.counts = 1"
# SQLite looks it up when the first trial needs it, and most ledgers never do: a join would cost a third of reading 100,000 trials.
_SERVED = """WITH served AS MATERIALIZED (SELECT t.settings, a.model, MIN(a.attempt_id) FROM attempts a
  JOIN trials t USING (trial_id) WHERE a.model IS NOT NULL GROUP BY t.settings)"""
# Attempts that do not count, of each trial; one that is unpriced makes the sum unknown.
_OTHERS = """LEFT JOIN (SELECT trial_id, COUNT(*) AS n, CASE WHEN SUM(status != 'pending' AND cost_usd IS NULL) THEN NULL
  ELSE TOTAL(CASE WHEN status != 'pending' THEN cost_usd END) END AS usd FROM attempts WHERE counts = 0 GROUP BY trial_id) x
  ON x.trial_id = t.trial_id"""
_USD = "CASE WHEN c.attempt_id IS NULL THEN 0.0 ELSE c.cost_usd END + CASE WHEN x.n IS NULL THEN 0.0 ELSE x.usd END"
_ROLE = "WHERE (:role IS NULL OR t.role = :role) AND t.trial_id NOT IN (SELECT value FROM json_each(:left_out))"
# A turn is decided by its first content, however it ended. A turn that stayed silent is decided too: it came to nothing.
_ANSWER = f"CASE WHEN u.outcome IS NULL THEN u.final_status IN {ANSWERED} ELSE u.outcome NOT IN {NO_ANSWER} END"
_FINAL = f"CASE WHEN {_ANSWER} THEN CASE WHEN u.outcome IS NULL THEN u.final_modality ELSE COALESCE(u.final_modality, 'empty') END END"
_FIRST = f"""CASE WHEN u.first_outcome IS NULL THEN CASE WHEN u.first_modality != 'empty' OR {_ANSWER} THEN u.first_modality END
  WHEN u.first_outcome NOT IN {NO_ANSWER} THEN COALESCE(u.first_modality, 'empty') END"""
# Attempts that were lost after a reply to the seeded history had been asked for, also where another attempt decided the trial.
_LOST = f"""LEFT JOIN (SELECT a.trial_id, COUNT(*) AS n FROM attempts a WHERE a.status IN ('failed', 'interrupted')
  AND COALESCE(a.reply_asked, a.stage != 'connecting')
  AND a.attempt_id NOT IN (SELECT u.attempt_id FROM turns u WHERE u.turn = 0 AND {_ANSWER})
  GROUP BY a.trial_id) l ON l.trial_id = t.trial_id"""

_TRIALS = _TRIAL | {
    "simulated": "c.simulated", "n": "t.n", "repeat": "t.repeat", "reported": "t.reported", "history_items": "t.n_history_items",
    "turns_planned": "t.n_turns", "attempt_id": "c.attempt_id", "attempts": "COALESCE(x.n, 0) + (c.attempt_id IS NOT NULL)",
    "turns": "COALESCE(w.turns, 0)",
    "first_response_modality": "w.first_response", "first_turn_modality": "w.first_turn", "first_turn_outcome": "w.outcome",
    "lost": "COALESCE(l.n, 0)", "heard_ms": "w.heard_ms",
    "drift_turn": "w.drift_turn", "any_drift": "CASE WHEN c.attempt_id IS NOT NULL THEN w.drift_turn IS NOT NULL END",
    "responses": "c.n_responses", "items_sent": "c.n_items_sent", "updates_sent": "c.n_updates_sent",
    "deletes_sent": "c.n_deletes_sent", "total_tokens": "r.total_tokens", "output_audio_tokens": "r.output_audio_tokens",
    "usd": f"CASE WHEN c.attempt_id IS NOT NULL OR x.n IS NOT NULL THEN {_USD} END",
    "connect_ms": "c.connect_ms", "seed_ms": "c.seed_ms", "voice": "c.voice", "session_id": "c.session_id",
    "started_at": "c.started_at", "ended_at": "c.ended_at", "kind": "c.kind", "error": "c.error",
}  # fmt: skip
# Per attempt: what its answered turns came to, and its tokens.
_OF_TURNS = f"""LEFT JOIN (SELECT attempt_id, SUM({_ANSWER}) AS turns, MIN(CASE {_FINAL} WHEN 'text' THEN turn END) AS drift_turn,
  MAX(CASE turn WHEN 0 THEN {_FIRST} END) AS first_response, MAX(CASE turn WHEN 0 THEN {_FINAL} END) AS first_turn,
  MAX(CASE turn WHEN 0 THEN outcome END) AS outcome, MAX(CASE WHEN turn = 0 AND {_ANSWER} THEN heard_ms END) AS heard_ms
  FROM turns u GROUP BY attempt_id) w ON w.attempt_id = c.attempt_id"""
_OF_RESPONSES = """LEFT JOIN (SELECT attempt_id, SUM(total_tokens) AS total_tokens, SUM(output_audio_tokens) AS output_audio_tokens
  FROM responses GROUP BY attempt_id) r ON r.attempt_id = c.attempt_id"""

_ATTEMPTS = _TRIAL | {"simulated": "COALESCE(a.simulated, c.simulated)"} | {
    name: f"a.{name}" for name in (
        "attempt_id", "attempt", "counts", "status", "stage", "kind", "expected", "error_type", "error_code", "error", "run_id",
        "worker", "started_at", "ended_at", "session_id", "reply_asked",
    )
} | {
    "served_model": "a.model", "voice": "a.voice", "drift_rule": "a.drift_rule", "connect_ms": "a.connect_ms", "seed_ms": "a.seed_ms",
    "items_sent": "a.n_items_sent", "updates_sent": "a.n_updates_sent", "deletes_sent": "a.n_deletes_sent",
    "responses": "a.n_responses", "reserved_usd": "a.reserved_usd", "usd": "a.cost_usd", "cost_estimated": "a.cost_estimated",
    "seconds": "a.seconds", "policy": "a.policy",
}  # fmt: skip

_TURNS = _TRIAL | {
    "simulated": "c.simulated", "attempt_id": "c.attempt_id", "turn": "place.turn", "repeat": "t.repeat",
    "history_items": "t.n_history_items", "first_modality": _FIRST,
    "modality": _FINAL, "status": "u.final_status", "first_outcome": "u.first_outcome", "outcome": "u.outcome", "ended": "u.ended",
    "first_ms": "u.first_ms",
    "responses": "COALESCE(u.n_responses, 0)", "heard_ms": "u.heard_ms", "items_sent": "COALESCE(u.n_items_sent, 0)",
    "session_id": "c.session_id", "started_at": "c.started_at",
}  # fmt: skip
# What `modality_df` reads. Of each the first columns repeat from row to row (see `_read_kinds`); text ids, which are different in
# every row, would be most of the memory of a million turns.
_COUNTED_TRIALS = {name: _TRIAL[name] for name in ("role", "case", "arm", "settings", "endpoint", "model", "state")} | {
    "simulated": "c.simulated", "voice": "c.voice", "day": "date(c.started_at, 'unixepoch')",
    "history_items": "t.n_history_items", "turns_planned": "t.n_turns", "items_sent": "c.n_items_sent", "lost": "COALESCE(l.n, 0)",
}  # fmt: skip
_EACH_TRIAL = {"attempt_id": "COALESCE(c.attempt_id, -1)", "usd": _USD}
_COUNTED_TURNS = {
    "turn": "u.turn", "outcome": "u.outcome", "first_modality": _FIRST, "modality": _FINAL, "responses": "u.n_responses",
}  # fmt: skip
_EACH_TURN = {"attempt_id": "u.attempt_id", "heard_ms": "u.heard_ms"}
# A row for each turn that was planned: one that was never asked for has no row in `turns`.
_PLACES = """JOIN (WITH RECURSIVE p(turn) AS (SELECT 0 UNION ALL SELECT turn + 1 FROM p WHERE turn + 1 < (SELECT MAX(n_turns) FROM trials))
  SELECT turn FROM p) place ON place.turn < t.n_turns LEFT JOIN turns u ON u.attempt_id = c.attempt_id AND u.turn = place.turn"""

_RESPONSES = _TRIAL | {
    "simulated": "COALESCE(r.simulated, a.simulated, c.simulated)", "attempt_id": "a.attempt_id", "counts": "a.counts",
} | {
    name: f"r.{name}" for name in (
        "turn", "response", "modality", "first_modality", "status", "reason", "ended", "asked", "started_by", "started_at_ms",
        "first_audio_ms", "first_text_ms", "first_transcript_ms", "done_ms",
    )
} | {"audio_bytes": "r.n_audio_bytes", "calls": "r.n_calls"} | {
    name: f"r.{name}" for name in (
        "input_text_tokens", "input_audio_tokens", "cached_text_tokens", "cached_audio_tokens", "output_text_tokens",
        "output_audio_tokens", "total_tokens",
    )
} | {
    "usd": "r.cost_usd", "cost_estimated": "r.cost_estimated", "error_code": "r.error_code", "error": "r.error",
    "response_id": "r.response_id", "session_id": "a.session_id", "started_at": "a.started_at",
}  # fmt: skip
_WORDS = {"transcript": "r.transcript", "text": "r.text"}

# Columns of `log_df`, in order: those of the other frames, as far as a log has them.
_LOG = (
    "plan", "trial_id", "role", "case", "arm", "settings", "endpoint", "model", "day", "state", "simulated", "turn", "response",
    "modality", "status", "reason", "asked", "started_by", "started_at_ms", "first_audio_ms", "first_text_ms",
    "first_transcript_ms", "done_ms", "audio_bytes", "calls", "input_text_tokens", "input_audio_tokens",
    "output_text_tokens", "output_audio_tokens", "voice", "response_id", "session_id", "started_at", "transcript", "text",
    "beginning", "outcome",
)  # fmt: skip

# --------------------------------------------------------------------------------------- what a column holds, by name

# A column's type follows from its name alone: a new column of text that repeats is added here, one of numbers ends in `_ms`, `usd`,
# or one of `_COUNT_ENDS`; anything else is text.
_CATEGORIES = {
    *LABELS, "status", "reason", "asked", "started_by", "reported", "kind", "stage", "direction", "type", "drift_rule", "ended",
    "run_ended",
}  # fmt: skip
# The same in every frame, so that a code means the same word wherever frames are put together.
_FIXED = {"state": STATES, "modality": MODALITIES, "outcome": OUTCOMES}
_FLAGS = {"simulated", "reply_asked", "counts", "expected", "cost_estimated", "any_drift", "reached"}
_COUNTS = {
    "attempt_id", "attempt", "attempts", "run_id", "n", "trial", "repeat", "turn", "turns", "response", "responses", "event",
    "calls", "lost",
}  # fmt: skip
_COUNT_ENDS = ("_tokens", "_items", "_sent", "_bytes", "_planned", "_turn")


def trials_df(source: Source, *, role: Role | None = "measure") -> pd.DataFrame:
    """Return a row per planned trial.

    ``first_turn`` is what the user finally heard to the seeded history, ``first_response`` what came before an arm reacted;
    ``drift_turn`` counts from 0; ``usd`` and ``attempts`` are over all attempts, the rest is of the one that counts.

    Args:
        source: A ledger, its path, or a list of those.
        role: ``"measure"``, ``"positive"``, ``"negative"``, or ``None`` for controls and all.
    """
    joins = f"{_COUNTING} {_OTHERS} {_LOST} {_OF_TURNS} {_OF_RESPONSES}"
    return _read(source, _TRIALS, f"FROM trials t {joins} {_ROLE} ORDER BY t.n", role)


def attempts_df(source: Source, *, role: Role | None = None) -> pd.DataFrame:
    """Return a row per attempt, in the order in which they began; controls included unless `role` says otherwise."""
    joins = f"JOIN trials t USING (trial_id) {_COUNTING}"
    return _read(source, _ATTEMPTS, f"FROM attempts a {joins} {_ROLE} ORDER BY a.attempt_id", role)


def turns_df(source: Source, *, role: Role | None = "measure") -> pd.DataFrame:
    """Return a row per planned turn of each trial, of the attempt that counts. A turn without an answer has no modality."""
    return _read(source, _TURNS, f"FROM trials t {_COUNTING} {_PLACES} {_ROLE} ORDER BY t.n, place.turn", role)


def responses_df(
    source: Source, *, role: Role | None = "measure", all_attempts: bool = False, words: bool = False
) -> pd.DataFrame:
    """Return a row per response.

    Args:
        source: A ledger, its path, or a list of those.
        role: ``"measure"``, or ``None`` for controls too.
        all_attempts: Those of attempts that do not count as well; the column ``counts`` tells them apart.
        words: Also ``transcript`` and ``text``: most of what a ledger weighs.
    """
    joins = f"JOIN attempts a USING (attempt_id) JOIN trials t ON t.trial_id = a.trial_id {_COUNTING}"
    where = _ROLE if all_attempts else f"{_ROLE} AND a.counts = 1"
    clauses = f"FROM responses r {joins} {where} ORDER BY t.n, a.attempt_id, r.turn, r.response"
    return _read(source, _RESPONSES | (_WORDS if words else {}), clauses, role)


def events_df(source: Source, *, role: Role | None = None, words: bool = False) -> pd.DataFrame:
    """Return a row per event of the attempts whose events were kept (``run(…, keep_events=True)``), in order.

    Args:
        words: Also ``json``, the event itself (its audio was left out when it was kept).
    """
    columns = _TRIAL | {"simulated": "COALESCE(a.simulated, c.simulated)"} | {
        name: f"a.{name}" for name in ("attempt_id", "counts", "session_id", "started_at")
    } | {"jsonl": "e.jsonl"}  # fmt: skip
    joins = f"JOIN attempts a USING (attempt_id) JOIN trials t ON t.trial_id = a.trial_id {_COUNTING}"
    rows: list[tuple[Any, ...]] = []
    for *of_attempt, jsonl in _rows(source, columns, f"FROM events e {joins} {_ROLE} ORDER BY e.attempt_id", role):
        for place, stored in enumerate(map(json.loads, inflate(jsonl).splitlines())):
            event = stored.get("event") or {}
            parts = (event.get("item"), event.get("response"))
            item_id, response_id = (part.get("id") if isinstance(part, dict) else None for part in parts)
            rows.append((
                *of_attempt, place, stored.get("at_ms"), stored.get("direction"), event.get("type"), stored.get("n_audio_bytes"),
                event.get("event_id"), event.get("item_id") or item_id, event.get("response_id") or response_id,
                *([json.dumps(event, ensure_ascii=False)] if words else []),
            ))  # fmt: skip
    names = ["plan", *columns, "event", "at_ms", "direction", "type", "audio_bytes", "event_id", "item_id", "response_id"]  # fmt: skip
    names.remove("jsonl")
    return _frame([*names, "json"] if words else names, rows, _plan_order(source))


def log_df(source: LogSource | Iterable[LogSource], *, asked: str | None = "audio") -> pd.DataFrame:
    """Return a row per response of one log or many, with the columns of `responses_df` as far as logs have them.

    Of GPT-Live a row is a reply, or an ask that got none, with its ``outcome``; what the model said unasked is left out.

    ``modality_df(log_df("logs/"), by=["model"])`` counts them, and the plots take that. A session stands for a trial, and each of
    its responses for a turn, in order: a log does not say which responses were tries at the same turn. A response that never
    ended, or was cancelled, has no say in a rate, as in a ledger.

    ``beginning`` says whether messages of the assistant stood before the first reply (``history restored``, ``began fresh``).

    Args:
        source: A `Log` of `read_log`, files, folders, or a list of those.
        asked: Only responses of which the server echoed that they were to be in this modality, or echoed nothing.
            ``None``: all; replies that were asked for as text are then among them.

    Raises:
        InputError: If a file cannot be read.
    """
    rows = []
    sessions = [(log, session) for log in _logs(source) for session in log.all]
    for n, (log, session) in enumerate(sessions, 1):
        header, opened_at = session.header or {}, None
        with suppress(TypeError, ValueError):  # anybody may have written the log: a date that is none is unknown
            opened_at = datetime.fromisoformat(header["opened_at"]).timestamp() if "opened_at" in header else None
        of_session = {
            "trial_id": f"{session.id or f'{log.path.name} {n}'} #{n}", "role": "measure", "case": "as logged", "arm": "as logged",
            "settings": log.path.name, "endpoint": header.get("endpoint") or "log", "model": session.model,
            "day": None if opened_at is None else header["opened_at"][:10], "state": "completed", "session_id": session.id,
            "started_at": opened_at, "beginning": beginning(session.n_seeded),
        }  # fmt: skip
        responses = [r for r in session.answers if asked is None or r.asked is None or asked in r.asked]
        for turn, response in enumerate(responses):
            fields = row(response)
            fields |= of_session | {
                "turn": turn, "response": 0, "asked": "+".join(fields["asked"]) if fields["asked"] else None,
                "audio_bytes": fields["n_audio_bytes"], "calls": len(response.calls),
                # Without a deadline nothing was late, so nothing is said of outcomes.
                "outcome": response.outcome if response.policy else None,
            }  # fmt: skip
            rows.append(tuple(map(fields.get, _LOG)))
    return _frame(_LOG, rows, {})


def _logs(source: Any) -> Iterator[Log]:
    if isinstance(source, InputError):  # a file of a folder that could not be read
        raise source
    if isinstance(source, Log):
        yield source
    elif isinstance(source, Iterable | os.PathLike):
        for part in read_logs(source) if isinstance(source, str | os.PathLike) else source:
            yield from _logs(part)
    else:
        raise InputError(f"log_df() takes logs, files and folders, not {clipped(source)}")


# -------------------------------------------------------------------------------------------------- from SQL to a frame


def ledgers_of(source: object) -> list[Ledger]:
    """Return the ledgers that are meant: one or several, opened or by path."""
    parts = _flat(source)
    if not all(isinstance(part, Ledger) for part in parts):
        raise InputError(f"a source is a ledger, its path, or a list of those (logs: log_df), not {clipped(source)}")
    return parts


def _same_trials(ledgers: Sequence[Ledger]) -> list[str]:
    """Return, for each ledger, a JSON list of the trials that another one of the same plan already has.

    A copy of a ledger is not more trials. Of a plan that is in several files each trial is taken from the first one that decided
    it, and a warning says how many were left out.
    """
    plans = [ledger.plan_hash for ledger in ledgers]
    # A plan that is in one file alone shares nothing, and its trials need not be read.
    trials = [
        ledger.rows("SELECT trial_id, state != 'missing' FROM trial_states") if plans.count(plan) > 1 else []
        for ledger, plan in zip(ledgers, plans, strict=True)
    ]
    # Whoever decided a trial first has it; where no ledger has, the first one that plans it.
    owner: dict[tuple[str, str], int] = {}
    for is_decided in (True, False):
        for at, rows in enumerate(trials):
            for trial_id, decided in rows:
                if bool(decided) is is_decided:
                    owner.setdefault((plans[at], trial_id), at)
    left_out = [[row[0] for row in rows if owner[plans[at], row[0]] != at] for at, rows in enumerate(trials)]
    if n := sum(map(len, left_out)):
        says = f"the same plan is in several ledgers: {n} trials that are in two of them are counted once"
        warnings.warn(says, stacklevel=4)
    return [json.dumps(trial_ids) for trial_ids in left_out]


@contextmanager
def _selected(
    ledger: Ledger, columns: Iterable[str], clauses: str, role: Role | None, left_out: str
) -> Iterator[sqlite3.Cursor]:
    """Query a ledger, which may be written to meanwhile: it sees one moment; `left_out` is of `_same_trials`."""
    with closing(ledger.connect()) as db:
        db.row_factory = None  # plain tuples: names for each row would be a third of reading it
        values = {"role": role, "plan": ledger.plan_hash[:12], "left_out": left_out}
        try:
            yield db.execute(f"{_SERVED} SELECT {', '.join(columns)} {clauses}", values)
        except sqlite3.DatabaseError as exc:
            raise damage(ledger.path, exc) or exc from exc


def _plan_order(source: object) -> dict[str, list[str]]:
    """Return the names of cases, arms and settings in the order of the plans; trials come shuffled."""
    order: dict[str, list[str]] = {"case": [], "arm": [], "settings": []}
    for ledger in ledgers_of(source):
        for label, part in (("case", "cases"), ("arm", "arms"), ("settings", "settings")):
            order[label] += [str(entry["name"]) for entry in ledger.plan.get(part) or ()]
    return order


def _rows(source: object, columns: Mapping[str, str], clauses: str, role: Role | None) -> list[tuple[Any, ...]]:
    """Query each ledger of a source; the first column is the plan, the others are `columns`."""
    ledgers = ledgers_of(source)
    rows: list[tuple[Any, ...]] = []
    for ledger, left_out in zip(ledgers, _same_trials(ledgers), strict=True):
        with _selected(ledger, [":plan", *columns.values()], clauses, role, left_out) as selected:
            rows += selected
    return rows


def _read(source: object, columns: Mapping[str, str], clauses: str, role: Role | None) -> pd.DataFrame:
    return _frame(("plan", *columns), _rows(source, columns, clauses, role), _plan_order(source))


_ROWS_AT_ONCE = 1_000


def _read_kinds(
    ledger: Ledger, repeated: Mapping[str, str], single: Mapping[str, str], clauses: str, role: Role | None, skip: str
) -> pd.DataFrame:
    """Read rows of which most columns repeat: those come as one JSON text, and each text that is different is typed once.

    A text a row instead of ten is half the time of reading a large ledger.

    Args:
        single: The columns, ids and numbers, that are different in every row.
    """
    place: dict[str, int] = {}
    kinds: list[int] = []
    singles: list[list[Any]] = [[] for _ in single]
    columns = [f"json_array(:plan, {', '.join(repeated.values())})", *single.values()]
    with _selected(ledger, columns, clauses, role, skip) as rows:
        # Some at a time: a million tuples at once take as long again.
        while batch := rows.fetchmany(_ROWS_AT_ONCE):
            texts, *columns_of_batch = zip(*batch, strict=True)
            kinds += [place.setdefault(text, len(place)) for text in texts]
            for column, values in zip(singles, columns_of_batch, strict=True):
                column += values
    df = _frame(("plan", *repeated), [json.loads(kind) for kind in place], _plan_order(ledger))
    typed = {name: _column(name, values, ()) for name, values in zip(single, singles, strict=True)}
    return df.take(kinds).reset_index(drop=True).assign(**typed)


def _frame(names: Sequence[str], rows: list[tuple[Any, ...]], order: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    import pandas as pd

    values = dict(zip(names, zip(*rows, strict=True) if rows else ((),) * len(names), strict=True))
    df = pd.DataFrame({name: _column(name, column, order.get(name, ())) for name, column in values.items()})
    if "simulated" not in df or not (unknown := df["simulated"].isna()).any():
        return df
    # Trials that never got so far are what others of the same settings are, or a stand-in's endpoint; unknown stays unknown.
    marks = df["simulated"].groupby([df["plan"], df["settings"]], observed=True, dropna=False)
    same = marks.transform("min")
    guess = same.where(same == marks.transform("max"))
    guess[df["endpoint"] == "standin"] = True
    return df.assign(simulated=df["simulated"].where(~unknown, guess.astype("boolean")))


def _column(name: str, values: Sequence[Any], first: Sequence[str]) -> Any:
    """Give a column of Python values its type, by its name; words in `first` come first among the categories."""
    import pandas as pd

    if fixed := _FIXED.get(name.rpartition("_")[2] if name.endswith(("_modality", "_outcome")) else name):
        return _categorical(values, fixed)
    if name in _CATEGORIES:
        present = dict.fromkeys(values)
        present.pop(None, None)
        return _categorical(values, dict.fromkeys((*(word for word in first if word in present), *present)))
    if name in _FLAGS:
        return pd.array([None if value is None else bool(value) for value in values], dtype="boolean")
    if name.endswith("_at"):
        return pd.to_datetime(np.array(values, np.float64), unit="s", utc=True)
    if name.endswith(("_ms", "usd")):
        return np.array(values, np.float64)  # None becomes NaN
    if name in _COUNTS or name.endswith(_COUNT_ENDS):
        return pd.array(list(values), dtype="Int64") if None in values else np.array(values, np.int64)
    return pd.array(list(values), dtype="string")


def _categorical(values: Sequence[Any], words: Iterable[str]) -> Any:
    """Make a categorical by a dictionary of codes: a third of what `pd.Categorical` takes for a list of texts."""
    import pandas as pd

    code = {word: at for at, word in enumerate(words)}
    book = {value: code.get(value, -1) for value in dict.fromkeys(values)}
    codes = np.fromiter(map(book.__getitem__, values), np.int32, len(values))
    return pd.Categorical.from_codes(codes, list(code))


# ------------------------------------------------------------------------------------------------ turns that are counted


def counted_turns(source: Source, role: Role | None = "measure") -> pd.DataFrame:
    """Return a row per turn with what `modality_df` counts, in the order of trials and turns, whatever the source.

    A column that `modality_df` is to count as well is added in `_COUNTED_TURNS` or `_COUNTED_TRIALS`, above, or, if it is a number
    that hardly ever repeats, in `_EACH_TURN` or `_EACH_TRIAL` (of logs also in `_LOG`). Where a source does not have it, it is missing: `modality.if_known` keeps its count from being a zero there. What only
    the table ``responses`` has is joined in `_turns_of_ledger`, grouped by attempt and turn: that table has no index, so that to
    look it up turn by turn would be quadratic.

    Columns: ``trial`` (a number from 0), ``turn``, ``planned`` (whether all trials of a plan are here: a frame of responses has
    only those with a response), ``reached`` (it was asked for), ``modality`` (as finally answered, else missing),
    ``first_modality``, ``outcome``, ``responses``, ``heard_ms``, the labels that the source has, ``state``, ``simulated``; of the
    trial also ``history_items``, ``turns_planned``, ``items_sent``, ``usd`` where known.
    """
    import pandas as pd

    sources = _flat(source)
    left_out = iter(_same_trials([part for part in sources if isinstance(part, Ledger)]))
    parts = [
        _turns_of_ledger(part, next(left_out), role) if isinstance(part, Ledger) else _turns_of_responses(part, role)
        for part in sources
    ]
    if len(parts) == 1:
        return parts[0]
    # Under one another: trials are numbered on, words that one source lacks are missing there.
    start = 0
    for part in parts:
        part["trial"] += start
        start = int(part["trial"].max()) + 1 if len(part) else start
    for name in dict.fromkeys(name for part in parts for name in part if hasattr(part[name], "cat")):
        words = dict.fromkeys(word for part in parts if name in part for word in part[name].cat.categories)
        for part in parts:
            values = part[name] if name in part else [None] * len(part)
            part[name] = pd.Categorical(values, categories=list(words))
    return pd.concat(parts, ignore_index=True)


def _flat(source: object) -> list[Any]:
    if hasattr(source, "columns") and hasattr(source, "iloc"):
        return [source]
    if isinstance(source, Ledger | str | Path):
        return [source if isinstance(source, Ledger) else Ledger(source)]
    if isinstance(source, Sequence) and source:
        return [part for inner in source for part in _flat(inner)]
    raise InputError(f"a source is a ledger, its path, a frame of responses, or a list of those, not {clipped(source)}")


def _turns_of_ledger(ledger: Ledger, left_out: str, role: Role | None) -> pd.DataFrame:
    clauses = f"FROM trials t {_COUNTING} {_OTHERS} {_LOST} {_ROLE} ORDER BY t.n"
    trials = _read_kinds(ledger, _COUNTED_TRIALS, _EACH_TRIAL, clauses, role, left_out)
    trials["run_ended"] = _categorical([run_ended(ledger)] * len(trials), filter(None, [run_ended(ledger)]))
    trials["trial"] = np.arange(len(trials))
    clauses = "FROM turns u ORDER BY u.attempt_id, u.turn"
    turns = _read_kinds(ledger, _COUNTED_TURNS, _EACH_TURN, clauses, role, "[]").drop(columns="plan")
    # Turns of attempts that do not count find no trial here and fall away.
    df = trials.merge(turns, how="left", on="attempt_id").drop(columns="attempt_id")
    df["reached"] = df["turn"].notna()
    df[["turn", "responses"]] = df[["turn", "responses"]].fillna(0)
    numbers: dict[str, Any] = {"trial": np.int32, "turn": np.int32, "responses": np.int16, "lost": np.int16}
    numbers |= dict.fromkeys(("history_items", "turns_planned", "items_sent"), np.float32)
    return df.astype(numbers).assign(planned=True)


def run_ended(ledger: Ledger) -> str | None:
    """Return why the last run of a ledger ended; after a stop rule also the alpha of each of its intervals."""
    reason = (ledger.last_run or {}).get("ended")
    rule = ledger.plan.get("stop")
    return f"{STOPPED} {rule['alpha'] / rule['n_arms']!r}" if reason == STOPPED and rule else reason


# Without these columns responses cannot be put together to turns.
_NEEDED = ("trial_id", "turn", "response", "modality", "status", "simulated")


def _turns_of_responses(df: pd.DataFrame, role: Role | None) -> pd.DataFrame:
    """Fold a frame of `responses_df`, fresh or saved and read again, into turns."""
    import pandas as pd

    for name in _NEEDED:
        if name not in df:
            raise InputError(f"the frame has no column {clipped(name)}; a frame to count is one of tables.responses_df")
    in_turns = (df["turn"] >= 0).to_numpy()  # -1: asked for beside the conversation, and no turn of it
    if role is not None and "role" in df:
        in_turns = in_turns & (df["role"] == role).to_numpy()
    df = df if in_turns.all() else df[in_turns]
    trial = _codes(df["trial_id"])
    if "plan" in df:  # the same trial id in two plans is two trials
        plan = _codes(df["plan"])
        trial = trial * (int(plan.max(initial=0)) + 1) + plan
    # Trial and turn as one number, and the response too: comparing neighbours is then all that is needed to find where each begins.
    turn, response = df["turn"].to_numpy(np.int64), df["response"].to_numpy(np.int64)
    n_turns, n_responses = int(turn.max(initial=0)) + 1, int(response.max(initial=0)) + 1
    turn_of = trial * n_turns + turn
    place = turn_of * n_responses + response
    # Frames of `responses_df` come in order and need no sort, which would be most of the cost; a saved one may not.
    if not (np.diff(place) > 0).all():
        order = np.argsort(place, kind="stable")
        df, turn_of = df.iloc[order], turn_of[order]
    begins = np.flatnonzero(np.diff(turn_of, prepend=turn_of[:1] - 1))
    ends = np.append(begins[1:], len(df))
    trial, turn = np.divmod(turn_of[begins], n_turns)
    content = df["status"].isin(ANSWERED).to_numpy()
    if "first_modality" in df:  # a reply is decided by its first content, however it ended
        content = content | df["first_modality"].notna().to_numpy()
    if "outcome" in df:  # of GPT-Live: a reply that was never decided is no answer
        content = content & ~df["outcome"].isin(NO_ANSWER).to_numpy()
    first, last, decided, heard_ms = df, df, content, _number(df, "first_audio_ms")
    if len(begins) < len(df):  # some turn took several responses
        started, place = _number(df, "started_at_ms"), np.arange(len(df))
        # The last with content decides; one that completed with nothing in it only where no other has any.
        rank = place + len(df) * (df["modality"] != "empty").to_numpy()
        final = np.maximum.reduceat(np.where(content, rank, -1), begins)
        decided = final >= 0
        first, last = df.iloc[begins], df.iloc[np.where(decided, final % len(df), ends - 1)]
        # From asking first: what asking again took is part of how long the user waited. `fmin` passes over what is missing.
        heard_ms = np.fmin.reduceat(started + heard_ms, begins) - started[begins]
    columns: dict[str, Any] = {
        "trial": np.cumsum(np.diff(trial, prepend=trial[:1]) != 0, dtype=np.int32),  # from 0: rows of a trial stand together
        "turn": turn.astype(np.int32),
        "planned": False,
        "reached": True,
        "modality": _recoded(last["modality"], MODALITIES, decided),
        "first_modality": _recoded(first["modality"], MODALITIES, content[begins]),
        "responses": (ends - begins).astype(np.int32),
        "heard_ms": heard_ms,
        "state": _recoded(first["state"], STATES, first["state"].notna()) if "state" in df
        else pd.Categorical.from_codes(np.zeros(len(first), np.int8), STATES),
        "simulated": _flag(first["simulated"]),
    }  # fmt: skip
    columns |= {name: first[name].astype("category").array for name in LABELS if name in df}
    # Whatever else is counted is said by the response that decides the turn; what only a ledger has is missing.
    for name in [name for name in _COUNTED_TURNS if name not in columns]:
        if name not in df:
            columns[name] = _column(name, [None], ()).repeat(len(begins))
        elif last[name].dtype.kind in "iuf":
            columns[name] = np.where(decided, _number(last, name), np.nan)
        else:
            columns[name] = _recoded(last[name], _FIXED.get(name) or last[name].dropna().unique(), decided)
    return pd.DataFrame(columns)


def _codes(column: pd.Series) -> Any:
    """Number the different values of a column."""
    return column.astype("category").cat.codes.to_numpy(np.int64)


def _number(df: pd.DataFrame, name: str) -> Any:
    return df[name].to_numpy(np.float64, na_value=np.nan) if name in df else np.full(len(df), np.nan)


def _recoded(column: pd.Series, words: Sequence[str], where: Any) -> Any:
    """Turn a column of words into a categorical of `words`; any other word, and rows not in `where`, are missing."""
    return column.astype("category").cat.set_categories(list(words)).where(where).array


def _flag(column: pd.Series) -> Any:
    """Read true, false and unknown, however the column was saved and read again."""
    import pandas as pd

    if column.dtype.kind == "b" or column.dtype == "boolean":
        return column.astype("boolean").array
    # CSV and spreadsheets give them back as words or as numbers.
    flags = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
    return pd.array(column.astype("string").str.lower().map(flags), dtype="boolean")
