"""`modality_df`, the curve until drift, and a table for reading."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import show
from ..errors import InputError, clipped
from .columns import Labels
from .counting import count
from .ledgers import Role
from .rates import SIMULATED, WHERE, grouped, rate_columns, survival, told, watching
from .sources import Source, rows_of

if TYPE_CHECKING:
    import pandas as pd

BY = ("case", "arm")


def modality_df(
    source: Source, by: Sequence[str] | str = BY, *, level: float = 0.95, role: Role | None = "measure"
) -> pd.DataFrame:
    """Which replies were audio and which were text: a row per group, in the plan's order.

    What was simulated is never pooled with what was measured: `simulated` is always one of the columns that group.

    ==================================  ===============================================================================
    columns                             what they count
    ==================================  ===============================================================================
    planned, completed, failed,         trials: fixed denominators. A frame of responses does not know them: ``<NA>``
    missing
    first_turns                         trials whose first turn was answered, whatever became of them later
    audio, text, mixed, function,       those by `final_modality`: what the user finally heard to the seeded history
    empty
    drift_rate, _low, _high             text / first_turns, Wilson's interval
    drift_least, drift_most             ... if none, or all, of the other planned trials had drifted: no chance in it
    first_response_drifted, _rate, …    the same by the *first* response, before an arm reacted to it
    any_drifted, any_drift_rate, …      completed trials with a text turn anywhere
    turns, turns_unanswered,            all turns of all trials, and what they came as
    turns_audio, …
    responses_per_turn                  how many responses a turn took
    turn_drift_rate, _low, _high        turns_text / turns; the interval knows which turns share a trial
    turns_after_text, persistence_rate, P(text next | text now), clustered by trial
    _low, _high
    turns_until_drift_median, …         Kaplan-Meier; 1 is the first reply. NaN where fewer than half drifted
    heard_n, heard_median_ms, _low_ms,  first turns with audio, and the median from asking first until audio came
    _high_ms
    history_items, items_sent, usd      of the case, means of what was sent; dollars in all, NaN where a price is unknown
    endpoint, model, day                where and when, all of them
    ==================================  ===============================================================================

    Args:
        source: A ledger, its path, a list of those, or a frame of `responses_df`.
        by: What to group by, of ``plan, role, case, arm, settings, endpoint, model, voice, day``; ``[]`` for one row.
        level: Of every interval.
        role: Controls are left out unless asked for: their drift is not drift.

    Raises:
        InputError: For a source or a label that there is not.
    """
    from .rates import frame

    names = [by] if isinstance(by, str) else list(by)
    return frame(rate_columns(rows_of(source, role), names, level))


def until_drift_df(
    source: Source, by: Sequence[str] | str = BY, *, level: float = 0.95, role: Role | None = "measure"
) -> pd.DataFrame:
    """The share of trials that have not drifted yet, after each turn (Kaplan-Meier): a row per group and turn.

    ``after_turns`` counts replies: 0 is before the first. A trial is watched up to its first turn without an answer; that
    takes those to be like the others, which is wrong where a failure is itself a sign of drift.
    """
    from .rates import frame

    rows = rows_of(source, role)
    group, n_groups, keys = grouped(rows, [by] if isinstance(by, str) else list(by))
    counts = count(rows, group, n_groups)
    lines: list[tuple[int, int, int, int, float, float, float, int]] = []
    for g in range(n_groups):
        curve, (at_risk, events, n) = survival(counts, g, level), watching(counts, g)
        step = {int(turn): at for at, turn in enumerate(curve.times)}
        share, low, high = 1.0, 1.0, 1.0
        for turn, (risk, drifts) in enumerate(zip(at_risk, events, strict=True)):
            at = step.get(turn)
            if at is not None:
                share = curve.survival[at]
                low, high = (np.nan if bound is None else bound for bound in (curve.low[at], curve.high[at]))
            lines.append((g, turn, int(risk), int(drifts), share, low, high, n))
    which = np.array([line[0] for line in lines], np.int64)
    columns: dict[str, Any] = {name: _repeated(values, which) for name, values in keys.items()}
    for at_, name in enumerate(("after_turns", "at_risk", "drifted", "not_drifted", "low", "high", "trials"), start=1):
        columns[name] = np.array([line[at_] for line in lines])
    for name in WHERE:
        words = told(rows, name, group, n_groups) if name not in keys else None
        if words is not None:
            columns[name] = _repeated(words, which)
    return frame(columns)


def brief_df(table: pd.DataFrame) -> pd.DataFrame:
    """A table of `modality_df` for reading: counts and rates with their intervals in words, and where they come from.

    Percent, with the bounds of the interval in brackets.
    """
    import pandas as pd

    if SIMULATED not in table or "drift_rate" not in table:
        raise InputError(f"brief_df takes a table of modality_df, not one with columns {clipped(list(table.columns))}")
    out = {
        name: table[name].astype("string").fillna("–") for name in table.columns[: list(table.columns).index(SIMULATED)]
    }
    lines = [row for _, row in table.iterrows()]
    out["trials"] = [_of(row["completed"], row["planned"]) for row in lines]
    out["answered"] = [f"{row['first_turns']}" for row in lines]
    out["text"] = [f"{row['text']}" for row in lines]
    out["drift"] = [_rate(row, "drift") for row in lines]
    if any(row["text"] != row["first_response_drifted"] for row in lines):
        out["first response"] = [_rate(row, "first_response") for row in lines]
    if (table["turns"] > table["first_turns"]).any():
        out["all turns"] = [_rate(row, "turn_drift") for row in lines]
        out["text stays"] = [_rate(row, "persistence") for row in lines]
    for name in ("mixed", "function", "empty"):
        if table[name].sum():
            out[name] = [f"{row[name]}" for row in lines]
    out["heard after"] = [
        show.ms(None if row["heard_median_ms"] != row["heard_median_ms"] else row["heard_median_ms"]) for row in lines
    ]
    out["origin"] = [show.origin_word(_flag(row[SIMULATED])) or "measured" for row in lines]
    return pd.DataFrame(out)


def _of(k: Any, n: Any) -> str:
    return "unknown" if _flag(n) is None else f"{int(k)} of {int(n)}"


def _rate(row: Any, name: str) -> str:
    rate, low, high = (row[f"{name}_{end}"] for end in ("rate", "low", "high"))
    if rate != rate:
        return "–"
    told = f"{points(rate)} %" + (f" ({points(low)}–{points(high)})" if low == low else "")
    return told.replace(" ", "\u00a0")  # a cell of it is one word


def points(rate: float) -> str:
    """A rate in percent, in as few figures as a table needs."""
    value = 100 * rate
    return f"{value:.0f}" if value >= 9.95 or value < 0.05 else f"{value:.1f}"


def _flag(value: Any) -> Any:
    import pandas as pd

    return None if pd.isna(value) else value if not isinstance(value, np.bool_) else bool(value)


def _repeated(values: Any, which: Any) -> Any:
    if isinstance(values, Labels):
        return Labels(values.codes[which], values.words)
    return [values[int(at)] for at in which]
