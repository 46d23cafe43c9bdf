"""From a ledger to the small columns that are counted: a few plain scans, each column as one text.

A ledger is written for safety, row by row as things happen; here it is read for counting. What costs is not SQLite's scan but
every value that becomes a Python object, so values come out by the column: small numbers packed into one, numbers joined into a
text that numpy takes apart, words joined and split.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import repeat
from typing import Any, Literal

import numpy as np

from ..trials.ledger import Ledger
from .columns import ANSWERED, MISSING, MODALITIES, STATES, Labels, Rows, Turns

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
