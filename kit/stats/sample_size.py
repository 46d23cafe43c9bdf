"""How many trials, before the first one is paid for."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from kit.errors import InputError
from kit.stats.inputs import Floats, probability, rate, whole

EXACT_UP_TO = 2_000
"""Trials per arm up to which power is enumerated; beyond, the formula it starts from is within 1 % of it."""


def trials_needed(p0: float, p1: float, alpha: float = 0.05, power: float = 0.8, *, comparisons: int = 1) -> int:
    """Trials per arm so that Fisher's test shows ``p0`` against ``p1`` with the power asked for.

    Starts at the corrected normal formula (J. T. Casagrande, M. C. Pike, P. G. Smith (1978), Biometrics 34:483-486) and
    goes to the smallest number in its neighbourhood whose exact power (`fisher_power`) suffices. Exact power is a saw: a
    few trials more can have a hair less. Beyond `EXACT_UP_TO` the formula is returned as it is.

    Args:
        p0, p1: Rates of the baseline and of the arm, from 0 to 1, not equal.
        alpha: Chance of calling a difference where there is none, two-sided.
        power: Chance of calling this one.
        comparisons: Tests in the family. The most demanding step of Holm's procedure is used, alpha / comparisons.

    Raises:
        InputError: If a value is out of range, or the rates are equal: no number of trials shows nothing.
    """
    p0, p1 = rate(p0, "p0"), rate(p1, "p1")
    each = probability(alpha, "alpha", example="0.05") / whole(comparisons, "comparisons", at_least=1)
    power = probability(power, "power", example="0.8")
    if p0 == p1:
        raise InputError(f"p0 and p1 must differ, got {p0:g} for both: no number of trials can show a difference of 0")
    start = _formula(p0, p1, each, power)
    if start > EXACT_UP_TO:
        return start
    n = max(start, 1)
    while _power(p1, p0, n, each) < power:
        n += 1
    best, misses = n, 0
    while n > 1 and misses < 5:
        n -= 1
        if _power(p1, p0, n, each) >= power:
            best, misses = n, 0
        else:
            misses += 1
    return best


def fisher_power(p1: float, p0: float, n: int, alpha: float = 0.05) -> float:
    """The exact chance that Fisher's two-sided test calls the difference, with `n` trials in each arm.

    Every one of the (n + 1)^2 outcomes is weighed, none simulated.

    Raises:
        InputError: If a value is out of range.
    """
    n = whole(n, "n", at_least=1)
    return _power(rate(p1, "p1"), rate(p0, "p0"), n, probability(alpha, "alpha", example="0.05"))


@lru_cache(maxsize=4096)
def _power(p1: float, p0: float, n: int, alpha: float) -> float:
    """Arms of one size make the table's distribution symmetric, so the two-sided p is twice the smaller tail."""
    choose = _log_choose(n)
    choose_all = _log_choose(2 * n)
    chance1, chance0 = _binomial(choose, p1), _binomial(choose, p0)
    total = 0.0
    centre, reach = (
        n * (p1 + p0),
        9 * math.sqrt(n * (p1 * (1 - p1) + p0 * (1 - p0))) + 2,
    )  # what lies beyond weighs < 1e-16
    for drifted in range(max(1, math.floor(centre - reach)), min(2 * n - 1, math.ceil(centre + reach)) + 1):
        first = max(0, drifted - n)
        few = np.arange(first, (drifted + 1) // 2)  # the smaller of the two counts; equal counts have p = 1
        tail = np.cumsum(np.exp(choose[few] + choose[drifted - few] - choose_all[drifted]))
        called = few[: int(np.searchsorted(tail, alpha / 2, side="right"))]
        total += float(chance1[called] @ chance0[drifted - called] + chance1[drifted - called] @ chance0[called])
    return min(total, 1.0)


def _log_choose(n: int) -> Floats:
    from scipy.special import gammaln

    k = np.arange(n + 1)
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1), dtype=np.float64)


def _binomial(log_choose: Floats, p: float) -> Floats:
    n = len(log_choose) - 1
    k = np.arange(n + 1)
    if p in (0.0, 1.0):
        return np.asarray(k == round(n * p), dtype=np.float64)
    return np.asarray(np.exp(log_choose + k * math.log(p) + (n - k) * math.log1p(-p)), dtype=np.float64)


def _formula(p0: float, p1: float, alpha: float, power: float) -> int:
    middle, gap = (p0 + p1) / 2, abs(p1 - p0)
    z_alpha, z_power = NormalDist().inv_cdf(1 - alpha / 2), NormalDist().inv_cdf(power)
    root = z_alpha * math.sqrt(2 * middle * (1 - middle)) + z_power * math.sqrt(p0 * (1 - p0) + p1 * (1 - p1))
    plain = max(root, 0.0) ** 2 / gap**2
    return math.ceil(plain / 4 * (1 + math.sqrt(1 + 4 / (plain * gap))) ** 2) if plain else 1
