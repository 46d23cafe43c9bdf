"""The median of what has no nice distribution: latencies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kit.errors import InputError, clipped
from kit.stats.inputs import probability
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
    n = len(array)
    if n == 0:
        return Interval(None, None, None, level, "order statistics", 0, "no values")
    from scipy.special import bdtr

    ordered = np.sort(array)
    middle = float(np.median(ordered))
    ranks = np.arange(1, n // 2 + 1)
    covers = 1 - 2 * bdtr(ranks - 1, n, 0.5)  # between the r-th from below and the r-th from above
    fitting = ranks[covers >= level]
    if not len(fitting):
        note = f"{n} values are too few for {100 * level:.3g} %"
        return Interval(middle, None, None, level, "order statistics", n, note)
    rank = int(fitting[-1])
    method = f"order statistics {rank} and {n - rank + 1}, exact coverage {100 * covers[rank - 1]:.2f} %"
    return Interval(middle, float(ordered[rank - 1]), float(ordered[n - rank]), level, method, n)
