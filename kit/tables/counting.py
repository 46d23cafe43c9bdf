"""From columns of small numbers to counts per group: one pass to put responses in order, one per thing counted.

The cost is linear in the responses (n log n only where they come out of order). Rates and intervals are not made here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .columns import COMPLETED, FAILED, MODALITIES, TEXT, Codes, Floats, Rows, Turns

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
class Counts:
    """What was counted: an array per thing, an entry per group.

    Arrays named ``trial_*`` have an entry per trial, ordered by group; those of group ``g`` are from ``trial_starts[g]`` to
    ``trial_starts[g + 1]``. They are what an interval that knows which turns share a trial is made of.
    """

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
    trial_starts: Whole
    trial_turns: Whole
    trial_text: Whole
    trial_pairs: Whole
    """Turns that follow a text turn, and those of them that are text again."""
    trial_again: Whole
    trial_drift: Whole
    """The turn of the first drift, counted from 1; 0 where none was seen."""
    trial_watched: Whole
    """Turns from the first on that were answered without a gap: how long the trial was watched for drift."""
    heard_ms: npt.NDArray[np.float64]
    """Time to the first audio of each first turn that had one, ascending within its group."""
    heard_starts: Whole


def count(rows: Rows, group: Codes, n_groups: int) -> Counts:
    """Count `rows` by `group` (a code per trial, 0 to ``n_groups - 1``)."""
    turns, n_trials = rows.turns, rows.n_trials

    def per_group(which: Flags) -> Whole:
        return np.bincount(group[which], minlength=n_groups)

    def per_trial(which: Flags) -> Whole:
        return np.bincount(turns.trial[which], minlength=n_trials)

    def turns_per_group(which: Flags) -> Whole:
        return np.bincount(of_turn[which], minlength=n_groups)

    def by_modality(which: Flags) -> Whole:
        outcome = of_turn[which] * len(MODALITIES) + turns.final[which]
        return np.bincount(outcome, minlength=n_groups * len(MODALITIES)).reshape(n_groups, len(MODALITIES))

    of_turn = group[turns.trial].astype(np.intp)
    heard, is_text, opening = turns.final >= 0, turns.final == TEXT, turns.turn == 0
    follows = (turns.trial[1:] == turns.trial[:-1]) & (turns.turn[1:] == turns.turn[:-1] + 1)
    after_text = np.zeros(len(turns), bool)
    after_text[1:] = follows & heard[1:] & is_text[:-1]
    text = per_trial(is_text)
    watched, drift = _until_drift(turns, heard, is_text, n_trials)
    by_group = np.argsort(group, kind="stable")
    planned, completed = np.bincount(group, minlength=n_groups), rows.state == COMPLETED
    failed = per_group(rows.state == FAILED)
    timed = opening & heard & ~np.isnan(turns.heard_ms)
    heard_ms, heard_group = turns.heard_ms[timed].astype(np.float64), of_turn[timed]
    ordered, starts = _sorted_within(heard_ms, heard_group, n_groups)
    return Counts(
        planned=planned,
        completed=per_group(completed),
        failed=failed,
        missing=planned - per_group(completed) - failed,
        first_turns=turns_per_group(opening & heard),
        first_final=by_modality(opening & heard),
        first_response_drifted=turns_per_group(opening & heard & (turns.first == TEXT)),
        any_drifted=per_group(completed & (text > 0)),
        turns=turns_per_group(heard),
        turns_unanswered=turns_per_group(~heard),
        responses=np.bincount(of_turn, turns.responses, minlength=n_groups).astype(np.int64),
        final=by_modality(heard),
        trial_starts=np.concatenate(([0], np.cumsum(planned))),
        trial_turns=per_trial(heard)[by_group],
        trial_text=text[by_group],
        trial_pairs=per_trial(after_text)[by_group],
        trial_again=per_trial(after_text & is_text)[by_group],
        trial_drift=drift[by_group],
        trial_watched=watched[by_group],
        heard_ms=ordered,
        heard_starts=starts,
    )


def _until_drift(turns: Turns, heard: Flags, is_text: Flags, n_trials: int) -> tuple[Whole, Whole]:
    """Per trial, how many turns it was watched for, and at which of them (from 1) it drifted first, 0 for never."""
    watched, drift = np.zeros(n_trials, np.int64), np.zeros(n_trials, np.int64)
    if not len(turns):
        return watched, drift
    begins = np.flatnonzero(np.concatenate(([True], turns.trial[1:] != turns.trial[:-1])))
    lengths = np.diff(begins, append=len(turns))
    place = np.arange(len(turns)) - np.repeat(begins, lengths)
    gap = ~heard | (turns.turn != place)
    whose = turns.trial[begins]
    watched[whose] = lengths
    if gap.any():
        first_gap = np.minimum.reduceat(np.where(gap, place, np.iinfo(np.int64).max), begins)
        watched[whose] = np.minimum(first_gap, lengths)
    when = np.flatnonzero(is_text)[::-1]  # the earliest is written last, and stays
    drift[turns.trial[when]] = turns.turn[when] + 1
    drift[drift > watched] = 0  # past a turn that nobody can tell about, it may have come before
    return watched, drift


def _sorted_within(
    values: npt.NDArray[np.float64], group: Codes, n_groups: int
) -> tuple[npt.NDArray[np.float64], Whole]:
    """Values ascending within each group, and where each group's begin."""
    starts = np.concatenate(([0], np.cumsum(np.bincount(group, minlength=n_groups))))
    out = values[np.argsort(group, kind="stable")]
    for g in range(n_groups):
        out[starts[g] : starts[g + 1]].sort()
    return out, starts
