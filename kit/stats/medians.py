"""The median of what has no nice distribution: latencies."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from kit.errors import InputError, clipped
from kit.stats.inputs import Floats, probability
from kit.stats.results import Interval


def median_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """The median with the exact interval between two order statistics.

    W. R. Thompson (1936), Ann. Math. Stat. 7:122-128: the number of values below the median is binomial with one half,
    whatever the distribution. The narrowest symmetric pair that keeps the level, so it covers at least `level` and never
    exactly; `method` says how much. Below 6 values no pair reaches 95 %, and there is none.

    Args:
        values: Finite numbers, one per independent trial, in any unit. Leave out replies that never spoke, and say how
            many: a median over those that did is a median over those that did.
        level: Confidence level.

    Raises:
        InputError: If a value is missing or not finite.
    """
    level = probability(level, "level", example="0.95")
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"values must be numbers, got {clipped(values)}") from None
    if array.ndim != 1:
        raise InputError(f"values must be one row of numbers, got shape {array.shape}")
    bad = ~np.isfinite(array)
    if bad.any():
        at = int(np.argmax(bad))
        raise InputError(f"values[{at}] must be a finite number, got {float(array[at])}; leave missing ones out")
    return of_finite(array, level)


def of_finite(values: Floats, level: float = 0.95) -> Interval:
    """`median_interval` of an array that is known to hold finite numbers; it is not sorted, only parted where it must be."""
    n = len(values)
    if n == 0:
        return Interval(None, None, None, level, "order statistics", 0, "no values")
    rank, covers = _rank(n, level)
    places = [(n - 1) // 2, n // 2, max(rank - 1, 0), min(n - rank, n - 1)]
    parted = np.partition(values, sorted(set(places)))
    left, right, low, high = (float(parted[at]) for at in places)
    middle = left / 2 + right / 2
    if rank == 0:
        note = f"{n} values are too few for {100 * level:.3g} %"
        return Interval(middle, None, None, level, "order statistics", n, note)
    method = f"order statistics {rank} and {n - rank + 1}, exact coverage {100 * covers:.2f} %"
    return Interval(middle, low, high, level, method, n)


@lru_cache(maxsize=4096)
def _rank(n: int, level: float) -> tuple[int, float]:
    """The largest r for which the r-th value from below and the r-th from above keep the level (0: none does), and theirs."""
    from scipy.special import bdtr

    def covers(r: int) -> float:
        return float(1 - 2 * bdtr(r - 1, n, 0.5))

    low, high = 0, n // 2 + 1  # coverage falls as r grows: halve
    while high - low > 1:
        r = (low + high) // 2
        low, high = (r, high) if covers(r) >= level else (low, r)
    return low, covers(low) if low else 0.0
