"""What the replies came as: `modality_df` with intervals, the curve until drift, and both in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import show, stats
from ..errors import InputError, clipped
from ..stats.intervals import Interval, percent
from .frames import LABELS, MODALITIES, STATES, STOPPED, Role, Source, counted_turns

if TYPE_CHECKING:
    import pandas as pd

BY = ("case", "arm")
SIMULATED = "simulated"
WHERE = ("endpoint", "model", "day")
"""What a picture says about its origin; where a group holds several, all are named."""
# What a trial has as a number, see `Groups.numbers`.
NUMBERS = ("history_items", "turns_planned", "items_sent", "usd")


def modality_df(
    source: Source, by: Sequence[str] | str = BY, *, level: float = 0.95, role: Role | None = "measure"
) -> pd.DataFrame:
    """Return which replies were audio and which were text: a row per group, in the plan's order.

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
    drift_least, drift_most, lost       ... if none, or all, of the `lost` attempts had drifted: those that were asked and have no
                                        answer, also where another attempt decided the trial. From the lower exact bound of
                                        the one to the upper bound of the other. What never began is not missing
    silent, late, lost_voice,           first turns without any content, with content after the plan's deadline, and those that
    lost_voice_rate, _low, _high        lost their voice: text, silent or late. ``<NA>`` where a ledger of before does not tell
    first_responses,                    the same by the *first* response, before an arm reacted to it, of those whose first
    first_response_drifted, _rate, …    content came, however the turn went on
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
    level                               of the intervals. After a run that a stop rule ended, drift_low and _high are that rule's
                                        confidence sequence, at its level
    endpoint, model, day, run_ended     where and when, all of them, and why the last run ended
    ==================================  ===============================================================================

    Args:
        source: A ledger, its path, a list of those, or a frame of `responses_df`.
        by: What to group by, of ``plan, role, case, arm, settings, endpoint, model, voice, day``; ``[]`` for one row.
        level: Of every interval.
        role: Controls are left out unless asked for: their drift is not drift.

    Raises:
        InputError: For a source or a label that there is not.
    """
    return modality_table(counted_turns(source, role), by, level)


def modality_table(turns_in: pd.DataFrame, by: Sequence[str] | str, level: float) -> pd.DataFrame:
    """Group turns of `frames.counted_turns`: see `modality_df`."""
    import pandas as pd

    groups = Groups(turns_in, by)
    trials, turns = groups.trials, groups.turns
    # Turn 0 answers the seeded history: drift is what it came as. A turn without a final modality has no answer.
    opening, has_answer = (turns["turn"] == 0).to_numpy(), turns["modality"].notna().to_numpy()
    states = groups.tally(trials, "state")
    first, every = groups.tally(turns, "modality", opening), groups.tally(turns, "modality")
    text, first_turns, n_turns = first[:, MODALITIES.index("text")], first.sum(1), every.sum(1)
    # In the order of `STATES`: completed is the first.
    planned, completed = states.sum(1), states[:, 0]
    lost_attempts = groups.sum(trials, "lost")
    first_responses = groups.count(turns, opening & turns["first_modality"].notna())
    first_response = groups.count(turns, opening & (turns["first_modality"] == "text"))
    any_drifted = groups.count(trials, (trials["state"] == "completed") & (trials["text"] > 0))
    unanswered = groups.count(turns, turns["reached"] & ~has_answer)
    responses = groups.sum(turns, "responses")
    # A frame of responses holds no trial without a response, so that its denominators are unknown.
    in_plan = groups.count(trials, ~trials["planned"]) == 0
    persistence = groups.pooled("again", "after_text", level)

    columns: dict[str, Any] = dict(groups.keys)
    for name, values in zip(("planned", *STATES), (planned, *states.T), strict=True):
        columns[name] = values if in_plan.all() else if_known(values, in_plan)
    columns["first_turns"] = first_turns
    columns |= dict(zip(MODALITIES, first.T, strict=True))
    columns |= _wilson("drift", text, first_turns, level)
    bounds = stats.bounds_if_missing_array(text, first_turns, lost_attempts, level)
    for name, values in zip(("drift_least", "drift_most"), bounds, strict=True):
        columns[name] = np.where(in_plan, values, np.nan)
    columns["lost"] = lost_attempts if in_plan.all() else if_known(lost_attempts, in_plan)
    columns |= groups.lost_voice(opening & has_answer, first_turns, level)
    columns["first_responses"] = first_responses
    columns["first_response_drifted"] = first_response
    columns |= _wilson("first_response", first_response, first_responses, level)
    columns["any_drifted"] = any_drifted
    columns |= _wilson("any_drift", any_drifted, completed, level)
    columns |= {"turns": n_turns, "turns_unanswered": unanswered}
    columns |= {f"turns_{name}": values for name, values in zip(MODALITIES, every.T, strict=True)}
    columns["responses_per_turn"] = _share(responses, n_turns + unanswered)
    columns |= _ends("turn_drift", "rate", groups.pooled("text", "answered", level))
    columns["turns_after_text"] = np.array([interval.n for interval in persistence], np.int64)
    columns |= _ends("persistence", "rate", persistence)
    columns |= _ends("turns_until_drift", "median", [curve.median for curve, _, _ in groups.survival(level)])
    heard_ms = turns["heard_ms"].where(opening & has_answer).dropna()
    heard_of = dict(tuple(heard_ms.groupby(turns["group"])))
    medians_ms = [stats.median_interval(heard_of.get(group, ()), level) for group in range(len(groups))]
    columns["heard_n"] = np.array([interval.n for interval in medians_ms], np.int64)
    columns |= {f"{name}_ms": values for name, values in _ends("heard", "median", medians_ms).items()}
    columns |= groups.numbers()
    columns["level"] = np.full(len(groups), level)
    table = pd.DataFrame(columns | groups.origin())
    # Wilson's interval takes the number of trials as fixed: a run that a stop rule ended has the interval of that rule.
    for at, reason in enumerate(table.get("run_ended", ())):
        # With a comma there are runs of several ledgers in it, and no one rule's sequence covers them.
        if isinstance(reason, str) and reason.startswith(STOPPED) and "," not in reason:
            k, n, n_lost = (int(table.at[at, name]) for name in ("text", "first_turns", "lost"))
            pairs, alpha = ((k, n), (k, n + n_lost), (k + n_lost, n + n_lost)), float(reason.removeprefix(STOPPED))
            observed, least, most = (stats.confidence_sequence(*pair, alpha) for pair in pairs)
            names = ["drift_low", "drift_high", "drift_least", "drift_most", "level"]
            table.loc[at, names] = observed.low, observed.high, least.low, most.high, observed.level
    return table


def until_drift_df(
    source: Source, by: Sequence[str] | str = BY, *, level: float = 0.95, role: Role | None = "measure"
) -> pd.DataFrame:
    """Return the share of trials that have not drifted yet, after each turn (Kaplan-Meier): a row per group and turn.

    ``after_turns`` counts replies: 0 is before the first. A trial is watched up to its first turn without an answer; that
    takes those to be like the others, which is wrong where a failure is itself a sign of drift.
    """
    import pandas as pd

    groups = Groups(counted_turns(source, role), by)
    rows: list[tuple[Any, ...]] = []
    for g, (curve, at_risk, events) in enumerate(groups.survival(level)):
        # The curve has an entry only for turns at which somebody drifted; in between it stays as it was.
        steps = dict(zip(curve.times, zip(curve.survival, curve.low, curve.high, strict=True), strict=True))
        step: tuple[Any, Any, Any] = (1.0, 1.0, 1.0)
        for turn, (risk, drifted) in enumerate(zip(at_risk, events, strict=True)):
            if turn and turn < min(steps, default=math.inf):
                # Before the first drift: a proportion, none of those that were watched so far.
                step = 1.0, stats.wilson(int(risk), int(risk), level).low, 1.0
            step = steps.get(turn, step)
            rows.append((g, turn, int(risk), int(drifted), *step, curve.n))
    names = ("group", "after_turns", "at_risk", "drifted", "not_drifted", "low", "high", "trials")
    curves = pd.DataFrame(rows, columns=list(names)).astype({"low": float, "high": float})
    labels, origin = (
        pd.DataFrame(columns, index=range(len(groups))).iloc[curves["group"]].reset_index(drop=True)
        for columns in (groups.keys, groups.origin())
    )
    return pd.concat([labels, curves.drop(columns="group").assign(level=level), origin], axis=1)


class Groups:
    """Trials and turns by the labels that were asked for.

    What was simulated is never pooled with what was measured, nor with what is unknown: `simulated` is always one of the columns
    that group. Groups come in the order of the plan.

    Attributes:
        by: The labels, without `simulated`.
        keys: The columns that name each group, `simulated` last.
        turns: A row per turn, see `frames.counted_turns`, with its ``group``.
        trials: A row per trial: the columns of its first turn, and `_per_trial`.
    """

    def __init__(self, turns: pd.DataFrame, by: Sequence[str] | str) -> None:
        import pandas as pd

        self.by = [name for name in ([by] if isinstance(by, str) else by) if name != SIMULATED]
        for at, name in enumerate(self.by):
            if name in self.by[:at]:
                raise InputError(f"by names {clipped(name)} twice")
            if name not in turns or name not in LABELS:
                labels = ", ".join(label for label in LABELS if label in turns)
                raise InputError(f"trials are not labelled by {clipped(name)}; there are {labels or 'none'}")
        # What is of a trial stands in each of its turns; the first one speaks for it.
        begins = ~turns["trial"].duplicated().to_numpy()
        trials = turns[begins].reset_index(drop=True)
        codes = pd.DataFrame({name: trials[name].cat.codes for name in self.by})  # -1, no word, comes first
        codes[SIMULATED] = trials[SIMULATED].astype("Int8").fillna(-1).astype(np.int8)
        # Sorted by code, which is the plan's order, not the alphabet's.
        group = codes.groupby(list(codes), sort=True).ngroup().to_numpy()
        first = np.flatnonzero(~pd.Series(group).duplicated())
        present = codes.iloc[first[group[first].argsort()]]
        self.keys: dict[str, Any] = {
            name: pd.Categorical.from_codes(present[name], dtype=trials[name].dtype) for name in self.by
        }
        self.keys[SIMULATED] = trials[SIMULATED].iloc[present.index].array
        self.trials = trials.assign(group=group, **_per_trial(turns))
        self.turns = turns.assign(group=group[turns["trial"].to_numpy()])

    def __len__(self) -> int:
        return len(self.keys[SIMULATED])

    def count(self, rows: pd.DataFrame, flags: Any) -> Any:
        """Count the rows of each group that are flagged."""
        return np.bincount(rows["group"].to_numpy()[np.asarray(flags, bool)], minlength=len(self))

    def sum(self, rows: pd.DataFrame, name: str) -> Any:
        """Sum a column of whole numbers in each group; 0 where the source does not have it."""
        values = rows[name].fillna(0).to_numpy() if name in rows else np.zeros(len(rows))
        return np.bincount(rows["group"], values, minlength=len(self)).astype(np.int64)

    def lost_voice(self, decided: Any, first_turns: Any, level: float) -> dict[str, Any]:
        """Count first turns that came as text, silent or late; unknown where a ledger or a frame does not tell outcomes."""
        turns = self.turns
        outcome, text = turns["outcome"], (turns["modality"] == "text").to_numpy()
        # One turn of schema 1 in a group, and the group's count would be too small: then it is unknown.
        is_known = self.count(turns, decided & outcome.notna().to_numpy()) == first_turns
        silent, late = ((outcome == word).to_numpy() & decided for word in ("silent", "late"))
        counts = {"silent": silent, "late": late, "lost_voice": decided & (text | silent | late)}
        n_of = {name: self.count(turns, flags) for name, flags in counts.items()}
        rates = _wilson("lost_voice", n_of["lost_voice"], first_turns, level)
        columns: dict[str, Any] = {name: if_known(n, is_known) for name, n in n_of.items()}
        return columns | {name: np.where(is_known, values, np.nan) for name, values in rates.items()}

    def origin(self) -> dict[str, Any]:
        """Return the columns that say where and when, and why the run ended: all words of a group, of days the first and last."""
        import pandas as pd

        columns = {}
        for name in (*WHERE, "run_ended"):
            if name in self.trials and name not in self.by:
                labels = self.trials[name].cat.categories.astype(str)
                joint = [joined(labels[present], name) for present in self.tally(self.trials, name) > 0]
                columns[name] = pd.Categorical(joint, categories=list(dict.fromkeys(filter(None, joint))))
        return columns

    def tally(self, rows: pd.DataFrame, name: str, flags: Any = True) -> Any:
        """Count the words of a categorical in each group: shape ``(n_groups, n_words)``. What is missing is not counted."""
        # One count over (group, word) as a single number: a tenth of the time of a crosstab.
        codes, n_words = rows[name].cat.codes.to_numpy(), len(rows[name].cat.categories)
        turns_in = (codes >= 0) & flags
        cells = rows["group"].to_numpy()[turns_in] * n_words + codes[turns_in]
        return np.bincount(cells, minlength=len(self) * n_words).reshape(len(self), n_words)

    def pooled(self, k: str, n: str, level: float) -> list[Interval]:
        """Return the rate ``k / n`` of each group, with intervals that know which turns share a trial.

        Trials with the same counts are put together: an interval costs as much as there are kinds of trials.
        """
        return [stats.clustered_counts(kinds[k], kinds[n], level, times=kinds["times"]) for kinds in self._kinds(k, n)]

    def survival(self, level: float) -> list[tuple[stats.Survival, Any, Any]]:
        """Return the turns until drift of each group (Kaplan-Meier), and by turn, counted from 1 (entry 0 is before the first), the
        trials that were still watched without drift and those that drifted at it."""
        out = []
        for kinds in self._kinds("drift", "watched"):
            drift, watched, times = (kinds[name].to_numpy() for name in ("drift", "watched", "times"))
            longest, n = int(watched.max(initial=0)), int(times.sum())
            # A trial leaves at its drift, or where it was last watched; whoever has not left is at risk.
            left_at = np.bincount(np.where(drift > 0, drift, watched), times, minlength=longest + 1)
            at_risk = (n - np.concatenate(([0], np.cumsum(left_at)[:-1]))).astype(np.int64)
            events = np.bincount(drift[drift > 0], times[drift > 0], minlength=longest + 1).astype(np.int64)
            turns = np.flatnonzero(events)
            out.append((stats.survival_of_counts(turns, at_risk[turns], events[turns], n, level), at_risk, events))
        return out

    def _kinds(self, k: str, n: str) -> list[pd.DataFrame]:
        """Return a frame for each group: the different pairs of ``k`` and ``n``, and how many trials have each; none of 0."""
        import pandas as pd

        group, n_of, k_of = (self.trials[name].to_numpy() for name in ("group", n, k))
        # One count over (group, n, k) as a single number: a tenth of the time of a groupby.
        shape = (len(self), int(n_of.max(initial=0)) + 1, int(k_of.max(initial=0)) + 1)
        times = np.bincount(np.ravel_multi_index((group, n_of, k_of), shape), minlength=math.prod(shape))
        present = np.flatnonzero(times)
        kinds = pd.DataFrame(dict(zip(("group", n, k), np.unravel_index(present, shape), strict=True)))
        kinds = kinds.assign(times=times[present])[kinds[n] > 0]
        edges = np.searchsorted(kinds["group"], np.arange(len(self) + 1))
        return [kinds.iloc[begin:end] for begin, end in pairwise(edges)]

    def numbers(self) -> dict[str, Any]:
        """Return numbers of the trial: dollars are summed (unknown if one is), the rest is a mean over the trials that have it."""
        out: dict[str, Any] = {}
        for name in NUMBERS:
            if name in self.trials:
                values = self.trials[name].astype(np.float64).groupby(self.trials["group"])
                column = values.mean()
                if name == "usd":  # unknown once is unknown in sum
                    column = values.sum(min_count=1).where(values.count() == values.size())
                out[name] = column.to_numpy(np.float64)
        return out


def joined(words: Iterable[str], name: str) -> str | None:
    """Put different words of a label in one; of days the first and the last."""
    if name == "day":
        days = sorted(day for word in words for day in word.split(" to "))
        return " to ".join(dict.fromkeys((days[0], days[-1]))) if days else None
    return ", ".join(words) or None


def if_known(counts: Any, is_known: Any) -> pd.Series:
    """Return a column of counts, ``<NA>`` for groups of which it is not known what was to be counted."""
    import pandas as pd

    return pd.Series(counts).astype("Int64").where(is_known)


def _per_trial(turns: pd.DataFrame) -> dict[str, Any]:
    """Count turns per trial: ``text`` of ``answered``; ``again`` text of those ``after_text``; ``watched`` turns, up to the first
    without an answer, and in which of them ``drift`` came first (from 1; 0 is never: past a turn without an answer it may have
    come unseen)."""
    trial, turn = turns["trial"].to_numpy(), turns["turn"].to_numpy()
    code = turns["modality"].cat.codes.to_numpy()
    has_answer, text = code >= 0, code == MODALITIES.index("text")
    # Rows of a trial stand together, so that sums over slices do what a groupby does, in a tenth of its time.
    new = np.diff(trial, prepend=-1) != 0
    begins = np.flatnonzero(new)
    if not len(begins):
        return dict.fromkeys(("text", "answered", "again", "after_text", "watched", "drift"), np.empty(0, np.int32))

    def total(flags: Any) -> Any:
        return np.add.reduceat(flags, begins, dtype=np.int32)

    # Persistence is asked of neighbours alone: after a turn without an answer nothing is known of what stayed.
    after_text = np.zeros(len(turns), bool)
    after_text[1:] = ~new[1:] & (np.diff(turn) == 1) & has_answer[1:] & text[:-1]
    place = np.arange(len(turns)) - np.repeat(begins, np.diff(begins, append=len(turns)))
    lengths = np.diff(begins, append=len(turns))
    # Above every place, so that the minimum over a trial without any says so.
    never = np.iinfo(np.int32).max
    # A turn that has no row makes place and turn differ: it is a gap like one without an answer.
    gap = np.minimum.reduceat(np.where(has_answer & (turn == place), never, place), begins)
    first = np.minimum.reduceat(np.where(text, place, never), begins)
    watched = np.minimum(gap, lengths)
    return {
        "text": total(text), "answered": total(has_answer), "again": total(after_text & text), "after_text": total(after_text),
        "watched": watched, "drift": np.where(first < watched, first + 1, 0),
    }  # fmt: skip


def _wilson(name: str, k: Any, n: Any, level: float) -> dict[str, Any]:
    low, high = stats.wilson_array(k, n, level)
    return {f"{name}_rate": _share(k, n), f"{name}_low": low, f"{name}_high": high}


def _ends(name: str, estimate: str, intervals: Sequence[Interval]) -> dict[str, Any]:
    """Return the estimate and the bounds of intervals as columns, NaN where there is none."""
    ends = np.array([(i.estimate, i.low, i.high) for i in intervals], np.float64).reshape(-1, 3)
    return {f"{name}_{end}": values for end, values in zip((estimate, "low", "high"), ends.T, strict=True)}


def _share(k: Any, n: Any) -> Any:
    return np.where(n > 0, k / np.maximum(n, 1), np.nan)


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
    lines: list[Any] = [row for _, row in table.iterrows()]
    completed = zip(table["completed"], table["planned"], table["planned"].isna(), strict=True)
    out["trials"] = ["unknown" if unknown else f"{int(k)} of {int(n)}" for k, n, unknown in completed]
    out["answered"] = [f"{row['first_turns']}" for row in lines]
    out["text"] = [f"{row['text']}" for row in lines]
    out["drift"] = [_rate(row, "drift") for row in lines]
    # From here on: a column that would only repeat another is left out of a table for reading.
    if "lost_voice" in table and (table["lost_voice"].fillna(0) > table["text"]).any():
        out["lost voice"] = [_rate(row, "lost_voice") for row in lines]
    if "lost" in table and table["lost"].fillna(0).sum():
        out["lost"] = [f"{row['lost']}" for row in lines]
    if (table["text"] != table["first_response_drifted"]).any():
        out["first response"] = [_rate(row, "first_response") for row in lines]
    if (table["turns"] > table["first_turns"]).any():
        out["all turns"] = [_rate(row, "turn_drift") for row in lines]
        out["text stays"] = [_rate(row, "persistence", row["turns_after_text"]) for row in lines]
    for name in ("mixed", "function", "empty"):
        if table[name].sum():
            out[name] = [f"{row[name]}" for row in lines]
    out["heard after"] = [heard_after(row) for row in lines]
    simulated = table[SIMULATED].astype(object).where(table[SIMULATED].notna(), None)
    out["origin"] = [show.origin_word(flag) or "measured" for flag in simulated]
    return pd.DataFrame(out)


def heard_after(row: Any) -> str:
    """The median time until audio came, and of how many first turns: those without audio have no time."""
    return f"{show.ms(row['heard_median_ms'])} of {row['heard_n']}" if row["heard_n"] else "–"


def in_words(table: pd.DataFrame) -> show.Words:
    """Say what a table shows, a sentence per row; a cell that ends on it shows them as a list.

    Args:
        table: Of `modality_df` or `compare_df`, whole or some of its rows.

    Raises:
        InputError: If it is neither.
    """
    if "sentence" in table:
        return show.Words("\n".join(f"- {sentence}" for sentence in table["sentence"]))
    missing = {"planned", "completed", "first_turns", "text", "drift_rate", "simulated"} - set(table.columns)
    if missing:
        raise InputError(f"in_words() takes a table of modality_df or compare_df; this has no {min(missing)!r}")
    keys = list(table.columns[: table.columns.get_loc("simulated")])
    lines = []
    for _, row in table.iterrows():
        # Names come from files, and the sentence is Markdown.
        words = {
            key: show.plain(row[key]).replace("_", " ").replace("*", "\\*") for key in keys if row[key] is not None
        }
        bare = ("arm", "model", "settings", "beginning")
        names = ", ".join(text if key in bare else f"{key} {text}" for key, text in words.items()) or "all"
        incomplete, counts = "", "no first turn was answered"
        if row.notna()["planned"] and row["completed"] < row["planned"]:  # a log has no plan
            incomplete = f" ({int(row['planned'] - row['completed'])} of {int(row['planned'])} did not complete)"
        if row["first_turns"]:
            rate, low, high = (f"{100 * row[f'drift_{end}']:.0f}" for end in ("rate", "low", "high"))
            interval = f"{percent(row.get('level', 0.95))} interval {low} to {high} %"
            counts = f"text in {int(row['text'])} of {int(row['first_turns'])} sessions, {rate} % ({interval})"
        origin = {True: "simulated by the stand-in", False: "measured"}.get(row["simulated"], show.UNKNOWN_ORIGIN)
        lines.append(f"- **{names}**: {counts}{incomplete}; {origin}.")
    return show.Words("\n".join(lines))


def _rate(row: Any, name: str, n: int | None = None) -> str:
    """Write a rate and its interval, and out of how many where that stands nowhere else."""
    rate, low, high = (row[f"{name}_{end}"] for end in ("rate", "low", "high"))
    # NaN is not its own equal.
    if rate != rate:
        return "–"
    words = f"{points(rate)} %" + (f" ({points(low)}–{points(high)})" if low == low else "")
    words += "" if n is None else f" of {n}"
    return words.replace(" ", "\u00a0")  # a cell of it is one word


def points(rate: float) -> str:
    """A rate in percent, in as few figures as a table needs."""
    value = 100 * rate
    # 9.96 would be written as 10.0; a share below 0.05 as 0.0.
    return f"{value:.0f}" if value >= 9.95 or value < 0.05 else f"{value:.1f}"
