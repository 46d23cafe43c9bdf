"""`modality_df`, the curve until drift, and a table for reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .. import show, stats
from ..errors import InputError, clipped
from ..stats.intervals import Interval, from_counts, of_finite
from .frames import (
    COMPLETED,
    FAILED,
    MISSING,
    MODALITIES,
    STATES,
    TEXT,
    Codes,
    Floats,
    Labels,
    Role,
    Rows,
    Source,
    Turns,
    rows_of,
)

if TYPE_CHECKING:
    import pandas as pd

# `modality_df`: which replies were audio and which were text, with intervals, a row per group.


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


# From columns of small numbers to counts per group: one pass to put responses in order, one per thing counted.
#
# The cost is linear in the responses (n log n only where they come out of order). Rates and intervals are not made here.


Whole = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def fold(
    trial: Codes, turn: Codes, index: Codes, modality: Codes, answered: Flags, started_ms: Floats, audio_ms: Floats
) -> Turns:
    """Responses folded into turns: an entry per response in every array.

    Args:
        index: Which response of the turn, from 0.
        modality: Code in `MODALITIES`, -1 while nothing had arrived.
        answered: Whether it ended in one of `ANSWERED`.
        started_ms: When it was asked for, on the session's clock.
        audio_ms: From then to its first audio; NaN where none came.
    """
    if not len(trial):
        none, short = np.empty(0, np.int64), np.empty(0, np.int8)
        return Turns(none, none, short, short, np.empty(0), none)
    width, deepest = int(turn.max()) + 1, int(index.max()) + 1
    key = (trial * np.int64(width) + turn) * np.int64(deepest) + index
    modality = np.where(answered, modality, np.int8(-1))
    if np.any(key[1:] < key[:-1]):
        order = np.argsort(key, kind="stable")
        key, modality, started_ms, audio_ms = key[order], modality[order], started_ms[order], audio_ms[order]
    if deepest > 1:
        key //= deepest
    begins = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
    ends = np.concatenate((begins[1:], [len(key)]))
    heard = audio_ms
    if len(begins) < len(key):  # some turn took several
        heard = np.fmin.reduceat(started_ms + audio_ms, begins) - started_ms[begins]
    return Turns(*np.divmod(key[begins], width), modality[ends - 1], modality[begins], heard, ends - begins)


@dataclass(frozen=True, slots=True)
class Spread:
    """How counts of turns spread over trials: `times` trials of group `group` have `k` of `n`. An entry per distinct triple.

    All that an interval needs which knows which turns share a trial, in as many entries as there are kinds of trials.
    """

    group: Codes
    n: Codes
    k: Codes
    times: Codes

    def of(self, g: int) -> tuple[Codes, Codes, Codes]:
        """``(k, n, times)`` of one group."""
        first, last = np.searchsorted(self.group, [g, g + 1])
        return self.k[first:last], self.n[first:last], self.times[first:last]


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted: an array per thing, an entry per group."""

    planned: Whole
    completed: Whole
    failed: Whole
    missing: Whole
    first_turns: Whole
    """Trials whose first turn was answered, whatever became of them later."""
    first_final: Whole
    """Those by what the user finally heard, shape ``(n_groups, 5)``, columns as in `MODALITIES`."""
    first_response_drifted: Whole
    """First turns whose *first* response was text, whatever the arm made of it."""
    any_drifted: Whole
    """Completed trials with a text turn anywhere."""
    turns: Whole
    turns_unanswered: Whole
    responses: Whole
    final: Whole
    """`first_final` for all turns."""
    text: Spread
    """Text turns, of those answered."""
    again: Spread
    """Text turns, of those that follow a text turn."""
    until_drift: Spread
    """``n`` turns watched, from the first on without a gap; ``k`` is the turn of the first drift, from 1, or 0."""
    heard_ms: list[npt.NDArray[np.float64]]
    """Per group, the time to the first audio of each first turn that had one, in no order."""


def count(rows: Rows, group: Codes, n_groups: int) -> Counts:
    """Count `rows` by `group` (a code per trial, 0 to ``n_groups - 1``)."""
    turns, n_kinds, n_states = rows.turns, len(MODALITIES) + 1, len(STATES)
    of_turn = group[turns.trial]
    heard, is_text, opening = turns.final >= 0, turns.final == TEXT, turns.turn == 0
    text, answered, pairs, again, watched, drift = _per_trial(turns, heard, is_text, rows.n_trials)
    # one histogram for everything about turns, one for everything about trials
    outcome = (of_turn * 2 + opening) * n_kinds + turns.final + 1  # -1, no answer, comes first
    kinds = np.bincount(outcome, minlength=n_groups * 2 * n_kinds).reshape(n_groups, 2, n_kinds)
    ended = (group * n_states + rows.state) * 2 + (text > 0)
    states = np.bincount(ended, minlength=n_groups * n_states * 2).reshape(n_groups, n_states, 2)
    first, every, n_turns = kinds[:, 1, 1:], kinds[:, :, 1:].sum(1), kinds.sum((1, 2))
    first_drifted, responses = first[:, TEXT], n_turns
    if len(turns) and int(turns.responses.max()) > 1:
        reacted = opening & heard & (turns.first == TEXT)
        first_drifted = np.bincount(of_turn[reacted], minlength=n_groups)
        responses = np.bincount(of_turn, turns.responses, minlength=n_groups).astype(np.int64)
    return Counts(
        planned=states.sum((1, 2)),
        completed=states[:, COMPLETED].sum(1),
        failed=states[:, FAILED].sum(1),
        missing=states[:, MISSING].sum(1),
        first_turns=first.sum(1),
        first_final=first,
        first_response_drifted=first_drifted,
        any_drifted=states[:, COMPLETED, 1],
        turns=every.sum(1),
        turns_unanswered=kinds[:, :, 0].sum(1),
        responses=responses,
        final=every,
        text=_spread(group, answered, text),
        again=_spread(group, pairs, again),
        until_drift=_spread(group, watched, drift),
        heard_ms=_apart(turns.heard_ms, opening & heard, of_turn, n_groups),
    )


def _per_trial(
    turns: Turns, heard: Flags, is_text: Flags, n_trials: int
) -> tuple[Whole, Whole, Whole, Whole, Whole, Whole]:
    """Per trial: text turns, answered turns, turns after text, those that are text again, turns watched, turn of first drift."""
    out = tuple(np.zeros(n_trials, np.int32) for _ in range(6))
    text, answered, pairs, again, watched, drift = out
    if not len(turns):
        return out  # type: ignore[return-value]
    new = np.ones(len(turns), bool)
    np.not_equal(turns.trial[1:], turns.trial[:-1], out=new[1:])
    begins = np.flatnonzero(new)
    whose = turns.trial[begins]
    if len(begins) == len(turns):  # one turn each
        alone = heard & (turns.turn == 0)
        if len(turns) == n_trials:  # and of every trial
            told = [flags.view(np.int8) for flags in (is_text, heard, alone, alone & is_text)]
            return told[0], told[1], pairs, again, told[2], told[3]  # type: ignore[return-value]
        text[whose], answered[whose], watched[whose], drift[whose] = is_text, heard, alone, alone & is_text
        return out  # type: ignore[return-value]
    lengths = np.diff(begins, append=len(turns)).astype(np.int32)
    place = np.arange(len(turns), dtype=np.int32) - np.repeat(begins.astype(np.int32), lengths)
    after_text = np.zeros(len(turns), bool)
    after_text[1:] = ~new[1:] & (turns.turn[1:] == turns.turn[:-1] + 1) & heard[1:] & is_text[:-1]
    gap = ~heard | (turns.turn != place)

    def total(flags: Flags) -> Whole:
        return np.add.reduceat(flags.view(np.int8), begins, dtype=np.int32)

    def first_place(flags: Flags) -> Whole:
        return np.minimum.reduceat(np.where(flags, place, np.int32(2**30)), begins)

    text[whose], answered[whose] = total(is_text), total(heard)
    pairs[whose], again[whose] = total(after_text), total(after_text & is_text)
    seen = np.minimum(first_place(gap), lengths) if gap.any() else lengths
    came = first_place(is_text) + 1
    watched[whose] = seen
    drift[whose] = np.where(came <= seen, came, 0)  # past a turn that nobody can tell about, it may have come before
    return out  # type: ignore[return-value]


def _spread(group: Codes, n: Codes, k: Codes) -> Spread:
    """Trials put together that are of one group and have the same counts; those of 0 turns are left out."""
    wide = int(n.max(initial=0)) + 1
    if wide == 1:
        none = np.empty(0, np.int64)
        return Spread(none, none, none, none)
    size = (int(group.max(initial=0)) + 1) * wide * wide
    whole: Codes = group.astype(np.int32 if size < 2**31 else np.int64)
    code = (whole * wide + n) * wide + k
    if size <= max(4 * len(code), 10_000):
        times = np.bincount(code, minlength=size)
        codes = np.flatnonzero(times)
        times = times[codes]
    else:
        codes, times = np.unique(code, return_counts=True)
    rest, k_of = np.divmod(codes, wide)
    group_of, n_of = np.divmod(rest, wide)
    some = n_of > 0
    return Spread(group_of[some], n_of[some], k_of[some], times[some])


def _apart(values: Floats, which: Flags, group: Codes, n_groups: int) -> list[npt.NDArray[np.float64]]:
    """Those of the values that are wanted and known, a list entry per group."""
    wanted = which & ~np.isnan(values)
    some = values[wanted].astype(np.float64)
    code = group[wanted].astype(np.int16 if n_groups < 2**15 else np.int32)  # 16 bits are sorted in one pass
    ends = np.cumsum(np.bincount(code, minlength=n_groups))[:-1]
    return np.split(some[np.argsort(code, kind="stable")], ends)


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
    pass

    names = [by] if isinstance(by, str) else list(by)
    return frame(rate_columns(rows_of(source, role), names, level))


def until_drift_df(
    source: Source, by: Sequence[str] | str = BY, *, level: float = 0.95, role: Role | None = "measure"
) -> pd.DataFrame:
    """The share of trials that have not drifted yet, after each turn (Kaplan-Meier): a row per group and turn.

    ``after_turns`` counts replies: 0 is before the first. A trial is watched up to its first turn without an answer; that
    takes those to be like the others, which is wrong where a failure is itself a sign of drift.
    """
    pass

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
