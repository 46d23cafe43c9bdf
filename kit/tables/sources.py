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

# Plain scans, put together here: joins by a text id would cost more than the rest.
_TRIALS = """
SELECT trial_id, case_name, arm, settings, role, n_history_items, n_turns FROM trials WHERE ?1 IS NULL OR role = ?1 ORDER BY n
"""
_ATTEMPTS = """
SELECT trial_id, attempt_id, counts, status, simulated, voice, CAST(started_at / 86400 AS INTEGER), n_items_sent, cost_usd, model
FROM attempts ORDER BY attempt_id
"""
_TURNS = f"""
SELECT attempt_id, turn, CASE WHEN final_status IN {ANSWERED} THEN {{final}} ELSE -1 END, {{first}}, heard_ms, n_responses FROM turns
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
        trials = _columns(db.execute(_TRIALS, (role,)).fetchall(), 7)
        attempts = db.execute(_ATTEMPTS).fetchall()
        turns = db.execute(_TURNS.format(final=_code("final_modality"), first=_code("first_modality"))).fetchall()
        settings = db.execute("SELECT DISTINCT settings, settings_name, endpoint, asked_model FROM trials").fetchall()
    ids, cases, arms, of_settings, roles, items, planned = trials
    place = {trial_id: at for at, trial_id in enumerate(ids)}
    deciding: list[tuple[Any, ...]] = [(None,) * 5] * len(ids)
    of_attempt: dict[int, int] = {}
    usd = np.zeros(len(ids))
    served: dict[int, str] = {}
    for trial_id, attempt_id, counts, *told, cost, model in attempts:
        at = place.get(trial_id)
        if at is None:
            continue
        if told[0] != "pending":
            usd[at] += np.nan if cost is None else cost
        if model is not None:
            served.setdefault(of_settings[at], model)
        if counts:
            deciding[at] = tuple(told)
            of_attempt[attempt_id] = at
    status, simulated, voices, days, sent = _columns(deciding, 5)
    by_settings = {n: (name, endpoint, asked or served.get(n)) for n, name, endpoint, asked in settings}
    order = plan_order(ledger)
    states = {"completed": COMPLETED, "failed": FAILED}
    labels = {
        "plan": Labels(np.zeros(len(ids), np.int8), (ledger.plan_hash[:12],)),
        "role": Labels.of(roles),
        "case": Labels.of(cases, order["case"]),
        "arm": Labels.of(arms, order["arm"]),
        **_settings(of_settings, by_settings, order["settings"]),
        "voice": Labels.of(voices),
        "day": Labels.of(days),
    }
    words = tuple(str(np.datetime64(int(day), "D")) for day in labels["day"].words)
    labels["day"] = Labels(labels["day"].codes, words)
    where = [by_settings[n][1] for n in of_settings]
    return Rows(
        labels=labels,
        state=np.array([states.get(word, MISSING) for word in status], np.int8),
        simulated=told_or_planned(simulated, where, of_settings),
        turns=_turns(turns, of_attempt),
        numbers={
            "history_items": np.array(items, np.float64),
            "turns_planned": np.array(planned, np.float64),
            "items_sent": _floats(sent),
            "usd": usd,
        },
    )


def _columns(rows: Sequence[tuple[Any, ...]], n: int) -> list[Any]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(n)]


def _settings(of: Sequence[int], told: dict[int, tuple[Any, ...]], first: Sequence[str]) -> dict[str, Labels]:
    """What a trial's settings decide, looked up by their number."""
    numbers = sorted(told)
    which = np.searchsorted(np.array(numbers, np.int64), np.array(of, np.int64))
    out = {}
    for at, name in enumerate(("settings", "endpoint", "model")):
        few = Labels.of([told[n][at] for n in numbers], first if name == "settings" else ())
        out[name] = Labels(few.codes[which], few.words)
    return out


def _turns(rows: list[tuple[Any, ...]], place: dict[int, int]) -> Turns:
    attempt, turn, final, first, heard, n = _columns(rows, 6)
    whose = np.array([place.get(one, -1) for one in attempt], np.int32)
    turn = np.array(turn, np.int16)
    kept = np.flatnonzero(whose >= 0)
    order = kept[np.lexsort((turn[kept], whose[kept]))]
    arrays: Any = (np.array(final, np.int8), np.array(first, np.int8), _floats(heard), np.array(n, np.int16))
    return Turns(whose[order], turn[order], *(array[order] for array in arrays))


def _code(column: str) -> str:
    """SQL for a modality's code."""
    cases = " ".join(f"WHEN '{word}' THEN {at}" for at, word in enumerate(MODALITIES))
    return f"CASE {column} {cases} ELSE -1 END"


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


def _floats(values: Sequence[float | None]) -> Any:
    return np.array(values, dtype=np.float64)  # None becomes NaN


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
