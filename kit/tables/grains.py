"""One frame per row grain. Ids are always there, words that repeat are categoricals, units are in the names.

=================  =============================================================================================
`trials_df`        planned trial, whether it was run or not: the fixed denominators
`attempts_df`      try at a trial, those included that failed, were interrupted or are still pending
`turns_df`         planned user turn of a trial and all the responses that it took; unanswered ones are there too
`responses_df`     response
`events_df`        event, where `run` was asked to keep them
=================  =============================================================================================

Every frame has ``plan`` (the beginning of its hash), ``trial_id``, what the trial is labelled by (``role``, ``case``, ``arm``,
``settings``, ``endpoint``, ``model``), ``state`` of the trial, and ``simulated`` (true, false, or ``<NA>`` where nothing says).
Turns count from 0 (the one that the history ends with), responses from 0 within a turn. ``*_at`` are UTC; ``*_ms`` are
milliseconds, durations unless they end in ``_at_ms``. Unknown is missing (``NaN``, ``<NA>``), never zero.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..trials.ledger import Ledger
from .columns import ANSWERED, MODALITIES, STATES
from .ledgers import Role, plan_order, reading, told_or_planned
from .sources import LABELS, ledgers_of

if TYPE_CHECKING:
    import pandas as pd

    from .sources import Source

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
