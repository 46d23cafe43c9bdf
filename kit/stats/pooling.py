"""Two arms over several cases, without letting the mix of cases decide."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from kit.errors import InputError, clipped
from kit.stats.comparisons import chi2_p, compare
from kit.stats.inputs import Floats, k_of_n, z_of
from kit.stats.proportions import score_bounds
from kit.stats.results import Comparison, Interval

_TEST = "Cochran-Mantel-Haenszel"

FEW = 5
"""Below this many of the outcome that is rarer within its stratum, in either arm, Sato's normal interval is not used.

Simulated at 4 strata of 40 per arm: Sato covers 95.0 % at 0.3 and 0.3 but 82 % at 0.99 against 0.01; with this rule 93.9 %
is the lowest seen."""


def mantel_haenszel(
    strata: Iterable[Sequence[int]],
    level: float = 0.95,
    *,
    names: Sequence[str] | None = None,
    arm: str = "arm",
    baseline: str = "baseline",
) -> Comparison:
    """The difference between two arms pooled over cases, each case compared with itself.

    Risk difference with Mantel-Haenszel weights ``n1 n0 / (n1 + n0)`` (S. Greenland, J. M. Robins (1985), Biometrics
    41:55-68), variance of T. Sato (1989), Biometrics 45:1323-1324, which holds for few large and for many small strata.
    p by Cochran-Mantel-Haenszel, two-sided, without continuity correction (N. Mantel, W. Haenszel (1959), J. Natl. Cancer
    Inst. 22:719-748); it asks whether the arms differ in the same direction over the cases.

    Deviation: where an arm has fewer than `FEW` of the outcome that is rarer within its stratum, Sato's variance runs
    towards 0 and would claim certainty. Then Newcombe's hybrid is taken of Wilson intervals of the weighted rates at
    effective size ``1 / sum(w^2 / n)`` (in the manner of X. Yan, X. G. Su (2010), Stat. Biopharm. Res. 2(3), with
    Mantel-Haenszel weights in place of theirs). It is wider than need be where cases differ much.

    Args:
        strata: Per case ``(k1, n1, k0, n0)``: drifted and completed in the arm, then in the baseline.
        level: Confidence level.
        names: What the strata are called, in order.

    Returns:
        The pooled comparison; `within` has each stratum's own. Strata with an empty arm are dropped and counted.

    Raises:
        InputError: If a stratum is not four counts with ``k <= n``, or `names` are too few or too many.
    """
    z = z_of(level)
    rows = [_four(stratum, at) for at, stratum in enumerate(strata)]
    if names is not None and len(names) != len(rows):
        raise InputError(f"names must be one per stratum, got {len(names)} for {len(rows)} strata")
    called = list(names) if names is not None else [f"stratum {at}" for at in range(len(rows))]
    within = tuple(
        compare(*row, level, arm=arm, baseline=baseline, stratum=name)
        for row, name in zip(rows, called, strict=True)
        if row[1] and row[3]
    )
    dropped = len(rows) - len(within)
    used = np.array([(c.k1, c.n1, c.k0, c.n0) for c in within], dtype=np.float64).reshape(-1, 4)
    k1, n1, k0, n0 = used.T
    if not within:
        note = f"none of {len(rows)} strata has trials in both arms"
        missing = Interval(None, None, None, level, "Mantel-Haenszel", 0, note)
        return Comparison(
            k1=0,
            n1=0,
            k0=0,
            n0=0,
            rate1=None,
            rate0=None,
            difference=missing,
            p=None,
            method=_TEST,
            arm=arm,
            baseline=baseline,
            strata=0,
            strata_dropped=dropped,
            note=note,
        )
    weight = n1 * n0 / (n1 + n0)
    weight = weight / weight.sum()
    rate1, rate0 = float((weight * k1 / n1).sum()), float((weight * k0 / n0).sum())
    thin = min(np.minimum(k1, n1 - k1).sum(), np.minimum(k0, n0 - k0).sum()) < FEW
    low, high, how = _hybrid(n1, n0, rate1, rate0, weight, z) if thin else _sato(k1, n1, k0, n0, z)
    p, note = _cmh(k1, n1, k0, n0)
    return Comparison(
        k1=int(k1.sum()),
        n1=int(n1.sum()),
        k0=int(k0.sum()),
        n0=int(n0.sum()),
        rate1=rate1,
        rate0=rate0,
        difference=Interval(
            rate1 - rate0, max(low, -1.0), min(high, 1.0), level, f"Mantel-Haenszel, {how}", int((n1 + n0).sum())
        ),
        p=p,
        method=_TEST,
        arm=arm,
        baseline=baseline,
        strata=len(within),
        strata_dropped=dropped,
        within=within,
        note=note,
    )


def _sato(k1: Floats, n1: Floats, k0: Floats, n0: Floats, z: float) -> tuple[float, float, str]:
    n = n1 + n0
    total = (n1 * n0 / n).sum()
    difference = ((k1 * n0 - k0 * n1) / n).sum() / total
    p = ((n1**2 * k0 - n0**2 * k1 + n1 * n0 * (n0 - n1) / 2) / n**2).sum()
    q = ((k1 * (n0 - k0) + k0 * (n1 - k1)) / (2 * n)).sum()
    half = z * math.sqrt(max(difference * p + q, 0.0)) / total
    return float(difference - half), float(difference + half), "Sato"


def _hybrid(n1: Floats, n0: Floats, rate1: float, rate0: float, weight: Floats, z: float) -> tuple[float, float, str]:
    size1, size0 = 1 / (weight**2 / n1).sum(), 1 / (weight**2 / n0).sum()
    low1, high1 = (float(b) for b in score_bounds(np.float64(rate1), size1, z))
    low0, high0 = (float(b) for b in score_bounds(np.float64(rate0), size0, z))
    difference = rate1 - rate0
    below, above = math.hypot(rate1 - low1, high0 - rate0), math.hypot(high1 - rate1, rate0 - low0)
    return difference - below, difference + above, "Newcombe on weighted rates (few of the rarer outcome)"


def _cmh(k1: Floats, n1: Floats, k0: Floats, n0: Floats) -> tuple[float, str]:
    """Own lines: statsmodels' `test_null_odds` rounds p below 1e-16 to 0 and divides by 0 where nothing varies."""
    n, k = n1 + n0, k1 + k0
    excess = (k1 - n1 * k / n).sum()
    spread = (n1 * n0 * k * (n - k) / (n**2 * np.maximum(n - 1, 1))).sum()
    if spread == 0:
        return 1.0, "every trial of a stratum had the same outcome in both arms"
    return chi2_p(float(excess**2 / spread)), ""


def _four(stratum: Sequence[int], at: int) -> tuple[int, int, int, int]:
    try:
        k1, n1, k0, n0 = stratum
    except (TypeError, ValueError):
        raise InputError(f"stratum {at} must be four counts (k1, n1, k0, n0), got {clipped(stratum)}") from None
    return *k_of_n(k1, n1, (f"stratum {at}: k1", "n1")), *k_of_n(k0, n0, (f"stratum {at}: k0", "n0"))
