"""`modality_df`: which replies were audio and which were text, with intervals, a row per group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .. import stats
from ..errors import InputError, clipped
from ..stats.clusters import from_counts
from ..stats.medians import of_finite
from ..stats.results import Interval
from .columns import MODALITIES, TEXT, Codes, Labels, Rows
from .counting import Counts, Spread, count

if TYPE_CHECKING:
    import pandas as pd

SIMULATED = "simulated"
WHERE = ("endpoint", "model", "day")
"""What a picture says about its origin; where a group holds several, all are named."""


def rate_columns(rows: Rows, by: Sequence[str], level: float) -> dict[str, Any]:
    """The columns of `modality_df`, as arrays and lists, in order."""
    group, n_groups, keys = grouped(rows, by)
    c = count(rows, group, n_groups)
    out: dict[str, Any] = dict(keys)
    known = np.full(n_groups, rows.planned)
    for name in ("planned", "completed", "failed", "missing"):
        out[name] = _or_none(getattr(c, name), known)
    drifted = c.first_final[:, TEXT]
    out["first_turns"] = c.first_turns
    out |= {name: c.first_final[:, at] for at, name in enumerate(MODALITIES)}
    out |= _wilson("drift", drifted, c.first_turns, level)
    unknown = c.planned - c.first_turns
    out["drift_least"] = np.where(known, _share(drifted, c.planned), np.nan)
    out["drift_most"] = np.where(known, _share(drifted + unknown, c.planned), np.nan)
    out["first_response_drifted"] = c.first_response_drifted
    out |= _wilson("first_response", c.first_response_drifted, c.first_turns, level)
    out["any_drifted"] = c.any_drifted
    out |= _wilson("any_drift", c.any_drifted, c.completed, level)
    out |= {"turns": c.turns, "turns_unanswered": c.turns_unanswered}
    out |= {f"turns_{name}": c.final[:, at] for at, name in enumerate(MODALITIES)}
    out["responses_per_turn"] = _share(c.responses, c.turns + c.turns_unanswered)
    out |= _intervals("turn_drift", "rate", [_pooled(c.text, g, level) for g in range(n_groups)])
    again = [_pooled(c.again, g, level) for g in range(n_groups)]
    out["turns_after_text"] = np.array([i.n for i in again], np.int64)
    out |= _intervals("persistence", "rate", again)
    medians = [survival(c, g, level).median for g in range(n_groups)]
    out |= _intervals("turns_until_drift", "median", medians)
    heard = [of_finite(some, level) for some in c.heard_ms]
    out["heard_n"] = np.array([i.n for i in heard], np.int64)
    out |= {f"heard_{name}": value for name, value in _bounds(heard, ("median_ms", "low_ms", "high_ms")).items()}
    out |= _numbers(rows, group, n_groups)
    out |= {
        name: words for name in WHERE if name not in by and (words := told(rows, name, group, n_groups)) is not None
    }
    return out


def grouped(rows: Rows, by: Sequence[str]) -> tuple[Codes, int, dict[str, Any]]:
    """A group code per trial, how many groups, and the columns that say which is which.

    What was simulated is never pooled with what was measured, nor with what nobody knows: `simulated` is always one of the
    columns. Groups come in the order in which their words first come in the plan.
    """
    if isinstance(by, str):
        by = [by]
    repeated = [name for at, name in enumerate(by) if name in by[:at]]
    if repeated:
        raise InputError(f"by names {clipped(repeated[0])} twice")
    names = [name for name in by if name != SIMULATED]
    labels: list[tuple[str, Labels]] = [(name, rows.label(name)) for name in names]
    key = np.zeros(rows.n_trials, np.int64)
    size = 1
    for _, label in labels:
        key = key * (len(label.words) + 1) + label.codes + 1
        size *= len(label.words) + 1
    key = key * 3 + rows.simulated + 1
    size *= 3
    if size <= max(1_000, 4 * rows.n_trials):  # a look-up table costs less than a sort
        present = np.flatnonzero(np.bincount(key, minlength=size))
        book = np.zeros(size, np.int32)
        book[present] = np.arange(len(present), dtype=np.int32)
        group: Codes = book[key]
    else:
        present, group = np.unique(key, return_inverse=True)
    columns: dict[str, Any] = {}
    rest, simulated = np.divmod(present, 3)
    for name, label in reversed(labels):
        rest, codes = np.divmod(rest, len(label.words) + 1)
        columns[name] = Labels(codes - 1, label.words)
    columns = {name: columns[name] for name in names}
    columns[SIMULATED] = [{0: None, 1: False, 2: True}[int(code)] for code in simulated]
    return group, len(present), columns


def survival(c: Counts, g: int, level: float = 0.95) -> stats.Survival:
    """Turns until drift in group `g` (Kaplan-Meier): a trial is watched up to its first turn without an answer."""
    at_risk, events, n = watching(c, g)
    turns = np.flatnonzero(events)
    return stats.survival_of_counts(turns, at_risk[turns], events[turns], n, level)


def watching(c: Counts, g: int) -> tuple[Codes, Codes, int]:
    """By turn, counted from 1 (entry 0 is before the first): trials still watched without drift, those that drifted at it; and how
    many there are in all."""
    drift, watched, times = c.until_drift.of(g)
    longest = int(watched.max(initial=0))
    last = np.where(drift > 0, drift, watched)
    n = int(times.sum())
    ended = np.bincount(last, times, minlength=longest + 1)
    at_risk = (n - np.concatenate(([0], np.cumsum(ended)[:-1]))).astype(np.int64)
    events = np.bincount(drift[drift > 0], times[drift > 0], minlength=longest + 1).astype(np.int64)
    return at_risk, events, n


def frame(columns: Mapping[str, Any]) -> pd.DataFrame:
    """Columns as a DataFrame: labels as categoricals, truth values and counts that may be unknown as such."""
    import pandas as pd

    def column(name: str, values: Any) -> Any:
        if isinstance(values, Labels):
            return pd.Categorical.from_codes(values.codes, list(values.words))
        if name == SIMULATED:
            return pd.array(values, dtype="boolean")
        return values

    return pd.DataFrame({name: column(name, values) for name, values in columns.items()})


def _pooled(spread: Spread, g: int, level: float) -> Interval:
    k, n, times = spread.of(g)
    return from_counts(k, n, level, times=times)


def _wilson(name: str, k: Codes, n: Codes, level: float) -> dict[str, npt.NDArray[np.float64]]:
    low, high = stats.wilson_array(k, n, level)
    return {f"{name}_rate": _share(k, n), f"{name}_low": low, f"{name}_high": high}


def _intervals(name: str, estimate: str, intervals: Sequence[Interval]) -> dict[str, npt.NDArray[np.float64]]:
    return {f"{name}_{end}": values for end, values in _bounds(intervals, (estimate, "low", "high")).items()}


def _bounds(intervals: Sequence[Interval], names: Sequence[str]) -> dict[str, npt.NDArray[np.float64]]:
    ends = ("estimate", "low", "high")
    return {
        name: np.array([np.nan if getattr(i, end) is None else getattr(i, end) for i in intervals], np.float64)
        for name, end in zip(names, ends, strict=True)
    }


def _share(k: Any, n: Codes) -> npt.NDArray[np.float64]:
    return np.where(n > 0, k / np.maximum(n, 1), np.nan)


def _or_none(counts: Codes, known: npt.NDArray[np.bool_]) -> Any:
    if known.all():
        return counts
    import pandas as pd

    return (
        pd.array(np.where(known, counts, 0), dtype="Int64").copy()
        if known.any()
        else pd.array([None] * len(counts), dtype="Int64")
    )


def _numbers(rows: Rows, group: Codes, n_groups: int) -> dict[str, npt.NDArray[np.floating]]:
    """Numbers of the trial: dollars are summed (unknown if one is), the rest is a mean over the trials that have it."""
    out: dict[str, npt.NDArray[np.floating]] = {}
    for name, values in rows.numbers.items():
        known = ~np.isnan(values)
        n = np.bincount(group[known], minlength=n_groups)
        total = np.bincount(group[known], weights=values[known], minlength=n_groups)
        if name == "usd":
            out[name] = np.where(n == np.bincount(group, minlength=n_groups), total, np.nan)
        else:
            out[name] = _share(total, n)
    return out


def told(rows: Rows, name: str, group: Codes, n_groups: int) -> Labels | None:
    """What each group says of a label that it is not grouped by: its words, or the first and last of many days."""
    label = rows.labels.get(name)
    if label is None:
        return None
    width = len(label.words) + 1
    pairs = np.flatnonzero(np.bincount(group.astype(np.int64) * width + label.codes + 1, minlength=n_groups * width))
    words: list[list[str]] = [[] for _ in range(n_groups)]
    for pair in pairs:
        g, code = divmod(int(pair), width)
        if code:
            words[g].append(label.words[code - 1])
    if name == "day":
        words = [[min(w), max(w)] if len(w) > 1 else w for w in words]
    joint = " to " if name == "day" else ", "
    return Labels.of([joint.join(w) if w else None for w in words])
