"""Drift over the turns of a trial: how long until it comes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kit.stats.intervals import Floats, Interval, score_bounds, z_of


@dataclass(frozen=True, slots=True, repr=False)
class Survival:
    """The share of trials that have not drifted yet, after each turn at which one did."""

    times: tuple[float, ...]
    """Turns (from 1) at which some trial drifted first, ascending."""
    at_risk: tuple[int, ...]
    """Trials that had not drifted and were still watched when that turn came."""
    events: tuple[int, ...]
    """Trials that drifted at it."""
    survival: tuple[float, ...]
    """The share not drifted just after it."""
    low: tuple[float, ...]
    """Pointwise bounds."""
    high: tuple[float, ...]
    median: Interval
    """The turn by which half of the trials have drifted; ``None`` where fewer than half ever did."""
    level: float
    n: int
    method: str = "Kaplan-Meier, log-log intervals"
    note: str = ""

    def __repr__(self) -> str:
        end = f"{self.survival[-1]:.3g} without drift after turn {self.times[-1]:g}" if self.times else "no drift seen"
        return f"Kaplan-Meier of {self.n} trials, {sum(self.events)} drifted: {end}; median {self.median!r}"


def kaplan_meier(
    turns: npt.ArrayLike, at_risk: npt.ArrayLike, events: npt.ArrayLike, n: int, level: float = 0.95
) -> Survival:
    """Turns until drift, where many trials end before it comes.

    E. L. Kaplan, P. Meier (1958), J. Am. Stat. Assoc. 53:457-481, variance of M. Greenwood (1926), bounds on the
    log(-log) scale (J. D. Kalbfleisch, R. L. Prentice (1980), The Statistical Analysis of Failure Time Data), which stay
    in 0 to 1. The median's bounds are where those of the curve cross one half (R. Brookmeyer, J. Crowley (1982),
    Biometrics 38:29-41). Where all have drifted Greenwood's variance has no value: then the bounds are 0, and the share before
    times Wilson's upper bound of none of those at risk. The tests hold it to statsmodels' `SurvfuncRight`.

    It takes the trials that ended early to be like the others. If a failure is itself a sign of drift, it is not so.

    Args:
        turns: Turns (from 1) at which some trial drifted first, ascending.
        at_risk, events: Trials still watched without drift when that turn came, and those that drifted at it (1 or more).
        n: Trials in all.
        level: Confidence level, pointwise.
    """
    z = z_of(level)
    when, risk, drifts = np.asarray(turns, np.float64), np.asarray(at_risk, np.int64), np.asarray(events, np.int64)
    survival = np.cumprod(1 - drifts / np.maximum(risk, 1), dtype=np.float64)
    low, high = _log_log(survival, risk, drifts, z)
    return Survival(
        tuple(when.tolist()),
        tuple(risk.tolist()),
        tuple(drifts.tolist()),
        tuple(survival.tolist()),
        tuple(low.tolist()),
        tuple(high.tolist()),
        _median(when, survival, low, high, level, n),
        level,
        n,
        note="" if n else "no trials",
    )


def _log_log(
    survival: Floats, at_risk: npt.NDArray[np.int64], events: npt.NDArray[np.int64], z: float
) -> tuple[Floats, Floats]:
    n_left = at_risk - events
    # Greenwood divides by those that are left; where all have drifted, the bounds come from those that were at risk.
    some_left = n_left > 0
    greenwood = np.cumsum(np.where(some_left, events / (at_risk * np.maximum(n_left, 1)), 0.0))
    inner = np.where(some_left, survival, 0.5)  # any value inside, where the result is not used
    spread = z * np.sqrt(greenwood) / np.abs(np.log(inner))
    # A step on the log(-log) scale is a power of the curve itself.
    low, high = inner ** np.exp(spread), inner ** np.exp(-spread)
    # None of those at risk was left: Wilson's upper bound of 0 of n, times the share that had come so far.
    before = np.concatenate(([1.0], survival[:-1]))
    none_left = before * score_bounds(np.zeros(len(survival)), np.maximum(at_risk, 1).astype(np.float64), z)[1]
    return np.where(some_left, low, 0.0), np.where(some_left, high, none_left)


def _median(turns: Floats, survival: Floats, low: Floats, high: Floats, level: float, n: int) -> Interval:
    def first(below: npt.NDArray[np.bool_]) -> float | None:
        return float(turns[np.argmax(below)]) if below.any() else None

    tolerance = 1e-12  # products of fractions miss one half by an ulp
    # The median's bounds are where the curve's own bounds cross one half (Brookmeyer, Crowley 1982).
    estimate, lower, upper = (first(curve <= 0.5 + tolerance) for curve in (survival, low, high))
    note = ""
    if estimate is None:
        note = "fewer than half of the trials drifted while watched" if n else "no trials"
    elif upper is None:
        note = "no upper bound: too few trials are left to tell"
    return Interval(estimate, lower, upper, level, "Brookmeyer-Crowley, log-log", n, note)
