"""From a ledger, several, or a frame of responses to the small columns that are counted.

A source of another kind needs one function here that fills a `Rows`; every table and plot then takes it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from ..errors import InputError, clipped
from ..trials.ledger import Ledger
from .columns import ANSWERED, COMPLETED, FAILED, MISSING, MODALITIES, STATES, Labels, Rows, Turns, joined
from .counting import fold

if TYPE_CHECKING:
    import pandas as pd

Source: TypeAlias = "Ledger | str | Path | pd.DataFrame | Rows | Sequence[Source]"
Role = Literal["measure", "positive", "negative"]

LABELS = ("plan", "role", "case", "arm", "settings", "endpoint", "model", "voice", "day")
"""What rows can be grouped by; `simulated` always is."""

_TRIALS = """
SELECT t.n, t.role, t.case_name, t.arm, t.settings_name, t.endpoint, COALESCE(t.asked_model, a.model), a.voice,
       a.started_at, a.status, a.simulated, t.n_history_items, t.n_turns, a.n_items_sent, a.attempt_id
FROM trials t LEFT JOIN attempts a ON a.trial_id = t.trial_id AND a.counts = 1
WHERE (?1 IS NULL OR t.role = ?1) ORDER BY t.n
"""
_TURNS = f"""
SELECT u.attempt_id, u.turn, {{final}}, {{first}}, u.heard_ms, u.n_responses, u.final_status IN {ANSWERED}
FROM turns u JOIN attempts a USING (attempt_id) WHERE a.counts = 1 ORDER BY u.attempt_id, u.turn
"""
_COSTS = """
SELECT a.trial_id, SUM(a.cost_usd), SUM(a.cost_usd IS NULL) FROM attempts a WHERE a.status != 'pending' GROUP BY a.trial_id
"""


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
    raise InputError(f"a source is a ledger, its path, or a list of those, not {clipped(source)}")


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
        return _of_ledger(ledger, role)
    if isinstance(source, Sequence) and source:
        return joined([rows_of(each, role) for each in source])
    raise InputError(f"a source is a ledger, its path, a frame of responses, or a list of those, not {clipped(source)}")


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


def _of_ledger(ledger: Ledger, role: Role | None) -> Rows:
    with reading(ledger) as db:
        trials = db.execute(_TRIALS, (role,)).fetchall()
        words = [_code("final_modality"), _code("first_modality")]
        turns = db.execute(_TURNS.format(final=words[0], first=words[1])).fetchall()
        ids = dict(db.execute("SELECT trial_id, n FROM trials").fetchall())
        costs = db.execute(_COSTS).fetchall()
    columns: list[Any] = [list(column) for column in zip(*trials, strict=True)] or [[] for _ in range(15)]
    (
        n,
        roles,
        cases,
        arms,
        settings,
        endpoints,
        models,
        voices,
        started,
        status,
        simulated,
        items,
        planned,
        sent,
        attempts,
    ) = columns
    place_of_attempt = {attempt: at for at, attempt in enumerate(attempts) if attempt is not None}
    place_of_n = {number: at for at, number in enumerate(n)}
    usd = np.full(len(n), 0.0)
    for trial_id, total, unknown in costs:
        at = place_of_n.get(ids[trial_id])
        if at is not None:
            usd[at] = np.nan if unknown else total
    labels = {
        "plan": [ledger.plan_hash[:12]] * len(n),
        "role": roles,
        "case": cases,
        "arm": arms,
        "settings": settings,
        "endpoint": endpoints,
        "model": models,
        "voice": voices,
        "day": _days(started),
    }
    order = plan_order(ledger)
    states = {"completed": COMPLETED, "failed": FAILED}
    return Rows(
        labels={name: Labels.of(values, order.get(name, ())) for name, values in labels.items()},
        state=np.array([states.get(word, MISSING) for word in status], np.int8),
        simulated=told_or_planned(simulated, endpoints, settings),
        turns=_turns(turns, place_of_attempt),
        numbers={
            "history_items": np.array(items, np.float64),
            "turns_planned": np.array(planned, np.float64),
            "items_sent": _floats(sent),
            "usd": usd,
        },
    )


def _turns(rows: list[tuple[Any, ...]], place: dict[int, int]) -> Turns:
    kept = [row for row in rows if row[0] in place]
    attempt, turn, told, first, heard, n, answered = zip(*kept, strict=True) if kept else ((),) * 7
    trial = np.array([place[one] for one in attempt], np.int32)
    order = np.argsort(trial, kind="stable")
    final = np.where(np.array(answered, bool), np.array(told, np.int8), np.int8(-1))  # NULL status: not answered
    arrays: Any = (
        trial,
        np.array(turn, np.int16),
        final,
        np.array(first, np.int8),
        _floats(heard),
        np.array(n, np.int16),
    )
    return Turns(*(array[order] for array in arrays))


def _code(column: str) -> str:
    """SQL for a modality's code."""
    cases = " ".join(f"WHEN '{word}' THEN {at}" for at, word in enumerate(MODALITIES))
    return f"CASE {column} {cases} ELSE -1 END"


def told_or_planned(told: Sequence[int | None], endpoint: Sequence[str], settings: Sequence[str]) -> Any:
    """Whether a stand-in answers: as the server said; for trials that never got so far, as it said to others of the same
    settings, or by the endpoint's name where that is the stand-in. Unknown stays unknown."""
    known: dict[str, set[int]] = {}
    for name, value in zip(settings, told, strict=True):
        if value is not None:
            known.setdefault(name, set()).add(value)
    guess = {name: values.pop() for name, values in known.items() if len(values) == 1}

    def one(value: int | None, where: str, name: str) -> int:
        if value is not None:
            return value
        return 1 if where == "standin" else guess.get(name, -1)

    return np.array([one(*each) for each in zip(told, endpoint, settings, strict=True)], np.int8)


def _days(seconds: Sequence[float | None]) -> list[str | None]:
    known = (
        np.array([0.0 if s is None else s for s in seconds]).astype("datetime64[s]").astype("datetime64[D]").astype(str)
    )
    return [None if s is None else str(day) for s, day in zip(seconds, known, strict=True)]


def _floats(values: Sequence[float | None]) -> Any:
    return np.array([np.nan if value is None else value for value in values], np.float64)


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
