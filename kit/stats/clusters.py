"""A rate over turns that share trials. Turns of one trial are not independent: drift sticks."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from kit.errors import InputError, clipped
from kit.stats.inputs import Floats, k_of_n_arrays, probability
from kit.stats.proportions import score_bounds
from kit.stats.results import Interval

LEAST = 0.8
"""The smallest design effect believed. Cutting at 1, as surveys do, makes independent turns cover 96.2-97.5 % (p = 0.3 and
0.5, 40 and 20 trials) instead of 95.3-96.1 %: half of the estimates fall below 1 by chance. Far below 1 would take turns that avoid each other."""

FEW = 6
"""How many trials with the rarer outcome it takes before the spread between trials is taken at its word.

With two or three of them the estimated design effect is mostly noise and far too often near 1: at p = 0.05 and ICC 0.6 the
plain method covers 84-91 %. With this, simulated over 100, 40 and 20 trials of up to 8 turns (6,000 plans of each kind), p from
0.02 to 0.95, ICC from 0 to 0.9 and two kinds of stickiness, nothing covered less than 92.6 %; at 40 trials, p from 0.2 to 0.5 and
ICC 0, 0.3 and 0.9 it is 93-97 %. Where text is rarer it errs to the safe side (up to 98 %, at 20 trials and p = 0.02 99.5 %), and
is up to two thirds wider than an interval that knew its turns to be independent. Most of that no width can mend: with so few trials
that hold any text no interval lies wholly below the truth, so that one of equal tails misses on one side alone and covers some
97.5 %. Smaller values bring more of it under 97 %, and p = 0.07 at ICC 0.3 down to 91 % (4) or 90 % (3)."""


def clustered(text: Sequence[object], trial: Sequence[Hashable], level: float = 0.95) -> Interval:
    """The share of text among pooled turns, with an interval that knows which turns share a trial.

    Args:
        text: Per turn, whether it was text: truth values or 0 and 1, length ``n_turns``.
        trial: Per turn, the id of its trial, same length, in any order.
        level: Confidence level.

    Returns:
        `n` counts turns, `clusters` trials. One trial alone gives an estimate and no interval.

    Raises:
        InputError: If a turn has no trial (``None``, NaN, an empty text, or a negative number: the code pandas gives to
            a missing category), if a value is neither true nor false, or the lengths differ.
    """
    values = _truths(text)
    codes = _codes(trial)
    if len(values) != len(codes):
        raise InputError(f"text and trial must be equally long, got {len(values)} turns and {len(codes)} ids")
    return from_counts(np.bincount(codes, weights=values), np.bincount(codes), level)


def from_counts(
    k: npt.ArrayLike, n: npt.ArrayLike, level: float = 0.95, *, times: npt.ArrayLike | None = None
) -> Interval:
    """`clustered` for counts that are made already: ``k[i]`` of ``n[i]`` turns of trial ``i``; trials of 0 turns do not count.

    Args:
        times: How many trials have these counts, where equal ones were put together; once each unless given.
    """
    few, all_ = k_of_n_arrays(k, n)
    often = np.ones_like(all_) if times is None else k_of_n_arrays(times, times)[0]
    estimate, low, high, effective = (float(x) for x in _core(few, all_, level, often))
    trials, turns = int((often * (all_ > 0)).sum()), int((often * all_).sum())
    if trials == 0:
        return Interval(None, None, None, level, "Wilson, clustered by trial", 0, "no turns, so no rate", 0)
    if trials == 1:
        note = "turns of one trial cannot show how trials differ"
        return Interval(estimate, None, None, level, "Wilson, clustered by trial", turns, note, 1)
    method = f"Wilson, clustered by trial, effective n {effective:.4g}"
    return Interval(estimate, low, high, level, method, turns, "", trials)


def clustered_array(k: npt.ArrayLike, n: npt.ArrayLike, level: float = 0.95) -> tuple[Floats, Floats, Floats]:
    """`clustered` for many groups at once.

    The ratio estimator ``sum k / sum n`` with its linearised between-trial variance and factor m / (m - 1) (W. G. Cochran
    (1977), Sampling Techniques, 3rd ed.), put as an effective number of turns into Wilson's interval (E. L.
    Korn, B. I. Graubard (1998), Surv. Methodol. 24:193-201, for the effective n; C. Franco, R. J. A. Little, T. A. Louis,
    E. V. Slud (2019), J. Surv. Stat. Methodol. 7:334-364, for Wilson), with Student's t on m - 1 degrees of
    freedom in place of the normal. The design effect is not believed below `LEAST`.

    Deviation: where fewer than about `FEW` trials hold the rarer outcome, the effective n moves linearly towards one
    observation per trial (L. Kish (1965): ``(sum n)^2 / sum n^2``), which is also what is used where all turns agree.

    Args:
        k, n: Text turns and all turns, shape ``(..., n_trials)``; pad with ``n = 0``.

    Returns:
        ``(estimate, low, high)``, shape ``(...)``; NaN where there is no turn, bounds NaN where there is but one trial.

    Raises:
        InputError: Naming the first entry that is not ``0 <= k <= n``.
    """
    few, all_ = k_of_n_arrays(k, n)
    return _core(few, all_, level, np.ones_like(all_))[:3]


def _core(k: Floats, n: Floats, level: float, times: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    from scipy.special import stdtrit

    upper = 0.5 + probability(level, "level", example="0.95") / 2
    if k.ndim == 0:
        raise InputError(
            "k and n must hold one entry per trial, got single numbers; for independent trials see wilson()"
        )
    turns, texts, trials = (times * n).sum(-1), (times * k).sum(-1), (times * (n > 0)).sum(-1)
    some = np.maximum(turns, 1)
    rate = texts / some
    between = (times * (k - rate[..., None] * n) ** 2).sum(-1) * trials / np.maximum(trials - 1, 1)
    chance = rate * (1 - rate)
    independent = np.maximum(between / (some * np.where(chance > 0, chance, 1)), LEAST)
    together = np.maximum((times * n * n).sum(-1) / some, 1)  # the design effect if all turns of a trial agreed
    # the outcome with fewer turns, not with fewer trials: at high ICC both are the same
    rarer = np.where(2 * texts <= turns, (times * (k > 0)).sum(-1), (times * (n > k)).sum(-1))
    doubt = np.clip(1 - (rarer - 1) / FEW, 0, 1)
    effect = np.maximum(independent, doubt * together + (1 - doubt) * independent)
    effective = some / effect
    t = stdtrit(np.maximum(trials - 1, 1), upper)
    low, high = score_bounds(rate, effective, t)
    nan = np.float64(np.nan)
    enough = trials > 1
    return np.where(turns > 0, rate, nan), np.where(enough, low, nan), np.where(enough, high, nan), effective


def _truths(values: Sequence[object]) -> Floats:
    array = np.asarray(values)
    if array.ndim != 1:
        raise InputError(f"text must hold one value per turn, got shape {array.shape}")
    if array.dtype.kind in "biuf":
        wrong = ~((array == 0) | (array == 1))
    else:
        wrong = np.array([not isinstance(v, bool | np.bool_ | int) or v not in (0, 1) for v in array], dtype=bool)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise InputError(
            f"turn {at}: text must be true or false, got {clipped(array[at])}; leave out turns without a reply"
        )
    return array.astype(np.float64)


def _codes(ids: Sequence[Hashable]) -> npt.NDArray[np.intp]:
    if getattr(getattr(ids, "dtype", None), "kind", "O") in "iu":  # an integer column: no loop over a million ids
        array = np.asarray(ids)
        if array.size and array.min() < 0:
            at = int(np.argmax(array < 0))
            raise InputError(f"turn {at} belongs to no trial, got id {int(array[at])}; pooled turns need their trial")
        return np.unique(array, return_inverse=True)[1].astype(np.intp)
    seen: dict[Hashable, int] = {}
    codes = np.empty(len(ids), dtype=np.intp)
    for at, one in enumerate(ids):
        if _is_missing(one):
            raise InputError(f"turn {at} belongs to no trial, got id {clipped(one)}; pooled turns need their trial")
        try:
            codes[at] = seen.setdefault(one, len(seen))
        except TypeError:
            raise InputError(f"turn {at}: a trial id must be hashable, got {clipped(one)}") from None
    return codes


def _is_missing(one: object) -> bool:
    if one is None or one == "":
        return True
    try:
        return bool(one != one) or bool(isinstance(one, int | float | np.integer | np.floating) and one < 0)
    except TypeError:  # pandas.NA: not even its own equal
        return True
