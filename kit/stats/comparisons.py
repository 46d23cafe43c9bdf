"""Two rates: how far apart, how likely by chance, and how many such questions were asked."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from kit.errors import InputError, clipped
from kit.stats.inputs import k_of_n, z_of
from kit.stats.results import Comparison, Interval

_NAMES_1, _NAMES_0 = ("k1", "n1"), ("k0", "n0")


def newcombe(k1: int, n1: int, k0: int, n0: int, level: float = 0.95) -> Interval:
    """The difference ``k1/n1 - k0/n0`` of two independent arms with Newcombe's hybrid score interval.

    R. G. Newcombe (1998), Stat. Med. 17:873-890, method 10 (no continuity correction), by statsmodels. It is not adjusted
    for the number of comparisons. An empty arm gives ``None`` and a note.

    Raises:
        InputError: If not ``0 <= k <= n`` in an arm, or `level` is no probability.
    """
    (k1, n1), (k0, n0) = k_of_n(k1, n1, _NAMES_1), k_of_n(k0, n0, _NAMES_0)
    z_of(level)
    if not n1 or not n0:
        return Interval(None, None, None, level, "Newcombe", n1 + n0, _empty(n1, n0))
    from statsmodels.stats.proportion import confint_proportions_2indep

    low, high = confint_proportions_2indep(k1, n1, k0, n0, method="newcomb", compare="diff", alpha=1 - level)
    return Interval(k1 / n1 - k0 / n0, float(low), float(high), level, "Newcombe", n1 + n0)


def fisher(k1: int, n1: int, k0: int, n0: int) -> float | None:
    """Fisher's exact two-sided p for two independent arms (R. A. Fisher (1935), J. R. Stat. Soc. 98:39-82), by scipy.

    Two-sided means: all tables of the same margins that are no likelier than the one seen. ``None`` with an empty arm.

    Raises:
        InputError: If not ``0 <= k <= n`` in an arm.
    """
    (k1, n1), (k0, n0) = k_of_n(k1, n1, _NAMES_1), k_of_n(k0, n0, _NAMES_0)
    if not n1 or not n0:
        return None
    from scipy.stats import fisher_exact

    return min(float(fisher_exact([[k1, n1 - k1], [k0, n0 - k0]])[1]), 1.0)


def holm(pvalues: Iterable[float | None]) -> tuple[float | None, ...]:
    """Adjusted p values: calling those at or below α real errs in at most α of families, however they depend.

    S. Holm (1979), Scand. J. Stat. 6:65-70; own three lines, as statsmodels takes 55 ms over a family. ``None`` stays ``None`` and does not count: a test that could
    not be made cannot be wrong.

    Raises:
        InputError: If a value is not from 0 to 1.
    """
    given = list(pvalues)
    for at, p in enumerate(given):
        if p is not None and not (isinstance(p, int | float | np.floating) and 0 <= p <= 1):
            raise InputError(f"p value {at} must be from 0 to 1, or None where nothing was tested, got {clipped(p)}")
    tested = [float(p) for p in given if p is not None]
    if not tested:
        return tuple(None for _ in given)
    order = np.argsort(tested)
    stepped = np.empty(len(tested))
    stepped[order] = np.minimum(np.maximum.accumulate(np.sort(tested) * np.arange(len(tested), 0, -1)), 1)
    results = iter(stepped)
    return tuple(None if p is None else float(next(results)) for p in given)


def compare(
    k1: int,
    n1: int,
    k0: int,
    n0: int,
    level: float = 0.95,
    *,
    arm: str = "arm",
    baseline: str = "baseline",
    stratum: str | None = None,
) -> Comparison:
    """One arm against the baseline, within one case: Newcombe's interval and Fisher's p.

    Put all comparisons of one question through `adjusted` before saying anything about one of them.

    Raises:
        InputError: If not ``0 <= k <= n`` in an arm, or `level` is no probability.
    """
    difference = newcombe(k1, n1, k0, n0, level)
    (k1, n1), (k0, n0) = k_of_n(k1, n1, _NAMES_1), k_of_n(k0, n0, _NAMES_0)
    return Comparison(
        k1=k1,
        n1=n1,
        k0=k0,
        n0=n0,
        rate1=k1 / n1 if n1 else None,
        rate0=k0 / n0 if n0 else None,
        difference=difference,
        p=fisher(k1, n1, k0, n0),
        method="Fisher exact",
        arm=arm,
        baseline=baseline,
        stratum=stratum,
        note=difference.note,
    )


def adjusted(family: Iterable[Comparison]) -> tuple[Comparison, ...]:
    """The same comparisons, each with Holm's p over all of them: the family is what you pass here.

    A family is everything that was asked at once, pooled rows included. Leaving out the dull ones afterwards undoes it.
    """
    rows = tuple(family)
    size = sum(row.p is not None for row in rows)
    return tuple(
        replace(row, p_holm=p, family=size if p is not None else None)
        for row, p in zip(rows, holm(row.p for row in rows), strict=True)
    )


def chi2_p(statistic: float) -> float:
    """The upper tail of chi-square with one degree of freedom, right also where it is tiny."""
    return math.erfc(math.sqrt(statistic / 2))


def _empty(n1: int, n0: int) -> str:
    which = "both arms" if not n1 and not n0 else "the arm" if not n1 else "the baseline"
    return f"no completed trials in {which}"
