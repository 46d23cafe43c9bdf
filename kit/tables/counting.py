"""From columns of small numbers to counts per group: one pass to put responses in order, one per thing counted.

The cost is linear in the responses (n log n only where they come out of order). Rates and intervals are not made here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .columns import COMPLETED, FAILED, MISSING, MODALITIES, STATES, TEXT, Codes, Floats, Rows, Turns

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
