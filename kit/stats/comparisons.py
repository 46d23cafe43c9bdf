"""Two rates: how far apart, how likely by chance, and how many questions like it were asked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np

from ..errors import InputError, clipped
from .intervals import (
    Comparison,
    Interval,
    k_of_n,
    percent,
    probability,
    rate,
    score_bounds,
    whole_number,
    z_of,
)


def newcombe(k1: int, n1: int, k0: int, n0: int, level: float = 0.95) -> Interval:
    """The difference ``k1/n1 - k0/n0`` of two independent arms with Newcombe's hybrid score interval.

    R. G. Newcombe (1998), Stat. Med. 17:873-890, method 10 (no continuity correction): the distances from each rate to its
    Wilson bounds, squared and added. It is not adjusted for the number of comparisons. For an empty arm it is ``None``, with a note.
    """
    k1, n1, k0, n0 = _two_arms((k1, n1, k0, n0))
    z = z_of(level)
    if not n1 or not n0:
        arms = "both arms" if not n1 and not n0 else "the arm" if not n1 else "the baseline"
        return Interval(None, None, None, level, "Newcombe", n1 + n0, f"no completed trials in {arms}")
    low, high = _square_and_add(k1 / n1, n1, k0 / n0, n0, z)
    return Interval(k1 / n1 - k0 / n0, low, high, level, "Newcombe", n1 + n0)


def _square_and_add(rate1: float, n1: float, rate0: float, n0: float, z: float) -> tuple[float, float]:
    """Combine the Wilson bounds of two rates into bounds of their difference (method 10); sizes may be effective ones."""
    low1, high1 = (float(bound) for bound in score_bounds(np.float64(rate1), np.float64(n1), z))
    low0, high0 = (float(bound) for bound in score_bounds(np.float64(rate0), np.float64(n0), z))
    difference = rate1 - rate0
    below, above = math.hypot(rate1 - low1, high0 - rate0), math.hypot(high1 - rate1, rate0 - low0)
    return difference - below, difference + above


def fisher(k1: int, n1: int, k0: int, n0: int) -> float | None:
    """Fisher's exact two-sided p for two independent arms (R. A. Fisher (1935), J. R. Stat. Soc. 98:39-82), by scipy.

    Two-sided means: all tables of the same margins that are no likelier than the one seen. ``None`` with an empty arm.
    """
    k1, n1, k0, n0 = _two_arms((k1, n1, k0, n0))
    if not n1 or not n0:
        return None
    from scipy.stats import fisher_exact

    # Rounding may carry the sum of probabilities past 1.
    return min(float(fisher_exact([[k1, n1 - k1], [k0, n0 - k0]])[1]), 1.0)


def holm(pvalues: Iterable[float | None]) -> tuple[float | None, ...]:
    """Adjusted p values: calling those at or below α real errs in at most α of families, however they depend.

    S. Holm (1979), Scand. J. Stat. 6:65-70; ``None`` stays ``None`` and does not count: a test that could not be made
    cannot be wrong.
    """
    values = list(pvalues)
    for at, p in enumerate(values):
        if p is not None and not (isinstance(p, int | float | np.floating) and 0 <= p <= 1):
            raise InputError(f"p value {at} must be from 0 to 1, or None where nothing was tested, got {clipped(p)}")
    tested = [float(p) for p in values if p is not None]
    if not tested:
        return tuple(None for _ in values)
    order = np.argsort(tested)
    # Step down from the smallest p; a later one is never below an earlier one.
    stepped = np.empty(len(tested))
    stepped[order] = np.minimum(np.maximum.accumulate(np.sort(tested) * np.arange(len(tested), 0, -1)), 1)
    results = iter(stepped)
    return tuple(None if p is None else float(next(results)) for p in values)


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
    """
    difference = newcombe(k1, n1, k0, n0, level)
    k1, n1, k0, n0 = _two_arms((k1, n1, k0, n0))
    rate1, rate0 = (k / n if n else None for k, n in ((k1, n1), (k0, n0)))
    p = fisher(k1, n1, k0, n0)
    return Comparison(
        k1, n1, k0, n0, rate1, rate0, difference, p, "Fisher exact", arm, baseline, stratum, note=difference.note
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


def _two_arms(counts: Sequence[object], where: str = "") -> tuple[int, int, int, int]:
    try:
        k1, n1, k0, n0 = counts
    except (TypeError, ValueError):
        raise InputError(f"{where}must be four counts (k1, n1, k0, n0), got {clipped(counts)}") from None
    return *k_of_n(k1, n1, (f"{where}k1", "n1")), *k_of_n(k0, n0, (f"{where}k0", "n0"))


# Two arms over several cases, without letting the mix of cases decide.

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
        names: What the strata are called, in order.

    Returns:
        The pooled comparison; `within` has each stratum's own. Strata with an empty arm are dropped and counted.
    """
    z = z_of(level)
    rows = [_two_arms(stratum, f"stratum {at}: ") for at, stratum in enumerate(strata)]
    if names is not None and len(names) != len(rows):
        raise InputError(f"names must be one per stratum, got {len(names)} for {len(rows)} strata")
    called = list(names) if names is not None else [f"stratum {at}" for at in range(len(rows))]
    within = tuple(
        compare(*row, level, arm=arm, baseline=baseline, stratum=name)
        for row, name in zip(rows, called, strict=True)
        if row[1] and row[3]
    )
    same: dict[str, Any] = {"arm": arm, "baseline": baseline, "strata_dropped": len(rows) - len(within)}
    # The shape is named, so that no strata at all are four empty columns.
    used = np.array([(c.k1, c.n1, c.k0, c.n0) for c in within], dtype=np.float64).reshape(-1, 4)
    k1, n1, k0, n0 = used.T
    if not within:
        note = f"none of {len(rows)} strata has trials in both arms"
        missing = Interval(None, None, None, level, "Mantel-Haenszel", 0, note)
        return Comparison(0, 0, 0, 0, None, None, missing, None, _TEST, strata=0, note=note, **same)
    weight = n1 * n0 / (n1 + n0)
    weight = weight / weight.sum()
    rate1, rate0 = float((weight * k1 / n1).sum()), float((weight * k0 / n0).sum())
    n, k = n1 + n0, k1 + k0
    # Within each stratum: what is rare in one case may be common in another.
    if min(np.minimum(k1, n1 - k1).sum(), np.minimum(k0, n0 - k0).sum()) < FEW:
        how = "Newcombe on weighted rates (few of the rarer outcome)"
        # The size of one sample whose rate would vary as much as the weighted one.
        size1, size0 = 1 / (weight**2 / n1).sum(), 1 / (weight**2 / n0).sum()
        low, high = _square_and_add(rate1, size1, rate0, size0, z)
    else:
        how = "Sato"
        # Sato's P and Q: the variance is (difference * P + Q) / total**2.
        total = (n1 * n0 / n).sum()
        difference = ((k1 * n0 - k0 * n1) / n).sum() / total
        big_p = ((n1**2 * k0 - n0**2 * k1 + n1 * n0 * (n0 - n1) / 2) / n**2).sum()
        big_q = ((k1 * (n0 - k0) + k0 * (n1 - k1)) / (2 * n)).sum()
        half = z * math.sqrt(max(difference * big_p + big_q, 0.0)) / total
        low, high = float(difference - half), float(difference + half)
    # Clipped: a normal interval may pass the ends of what a difference can be.
    ends = max(low, -1.0), min(high, 1.0)
    gap = Interval(rate1 - rate0, *ends, level, f"Mantel-Haenszel, {how}", int(n.sum()))
    excess = (k1 - n1 * k / n).sum()
    # Hypergeometric: the variance of the arm's count, given each stratum's margins.
    spread = (n1 * n0 * k * (n - k) / (n**2 * np.maximum(n - 1, 1))).sum()
    p, note = 1.0, "every trial of a stratum had the same outcome in both arms"
    if spread:
        # The upper tail of chi-square: 1 less its distribution function would be 0 below 1e-16.
        p, note = math.erfc(math.sqrt(float(excess**2 / spread) / 2)), ""
    sum_k1, sum_n1, sum_k0, sum_n0 = (int(column.sum()) for column in used.T)
    same |= {"strata": len(within), "within": within, "note": note}
    return Comparison(sum_k1, sum_n1, sum_k0, sum_n0, rate1, rate0, gap, p, _TEST, **same)


# How many trials, before the first one is paid for.

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
    """
    p0, p1 = rate(p0, "p0"), rate(p1, "p1")
    per_test = probability(alpha, "alpha", example="0.05") / whole_number(comparisons, "comparisons", at_least=1)
    power = probability(power, "power", example="0.8")
    if p0 == p1:
        raise InputError(f"p0 and p1 must differ, got {p0:g} for both: no number of trials can show a difference of 0")
    middle, gap = (p0 + p1) / 2, abs(p1 - p0)
    z_alpha, z_power = NormalDist().inv_cdf(1 - per_test / 2), NormalDist().inv_cdf(power)
    root = z_alpha * math.sqrt(2 * middle * (1 - middle)) + z_power * math.sqrt(p0 * (1 - p0) + p1 * (1 - p1))
    # The plain normal formula; the line after it corrects for continuity (Casagrande, Pike, Smith 1978).
    plain = max(root, 0.0) ** 2 / gap**2
    n = math.ceil(plain / 4 * (1 + math.sqrt(1 + 4 / (plain * gap))) ** 2) if plain else 1
    if n > EXACT_UP_TO:
        return n
    while fisher_power(p1, p0, n, per_test) < power:
        n += 1
    best, misses = n, 0
    # Down again while the saw still suffices: five numbers in a row that do not, end it.
    while n > 1 and misses < 5:
        n -= 1
        if fisher_power(p1, p0, n, per_test) >= power:
            best, misses = n, 0
        else:
            misses += 1
    return best


def trials_needed_per_stratum(
    rates: Iterable[tuple[float, float]], alpha: float = 0.05, power: float = 0.8, *, comparisons: int = 1
) -> int:
    """Return the trials per arm *in each stratum* with which Cochran-Mantel-Haenszel shows these rates with the power asked for.

    The normal formula for strata of equal size: the test's null variance, and the binomial one under the rates
    (R. F. Woolson, J. A. Bean, P. B. Rojas (1986), Biometrics 42:927-932, with the two variances kept apart).

    Args:
        rates: Per stratum, the baseline's and the arm's.
        alpha, power, comparisons: As in `trials_needed`.
    """
    pairs = [(rate(p0, "p0"), rate(p1, "p1")) for p0, p1 in rates]
    per_test = probability(alpha, "alpha", example="0.05") / whole_number(comparisons, "comparisons", at_least=1)
    power = probability(power, "power", example="0.8")
    difference = sum(p1 - p0 for p0, p1 in pairs)
    if abs(difference) < 1e-12:
        raise InputError("the differences of the strata cancel out: no number of trials can show a difference of 0")
    # Under the null hypothesis both arms of a stratum have the mean of its two rates.
    null = sum((p0 + p1) * (2 - p0 - p1) / 2 for p0, p1 in pairs)
    alternative = sum(p0 * (1 - p0) + p1 * (1 - p1) for p0, p1 in pairs)
    z_alpha, z_power = NormalDist().inv_cdf(1 - per_test / 2), NormalDist().inv_cdf(power)
    return max(1, math.ceil((z_alpha * math.sqrt(null) + z_power * math.sqrt(alternative)) ** 2 / difference**2))


@lru_cache(maxsize=4096)
def fisher_power(p1: float, p0: float, n: int, alpha: float = 0.05) -> float:
    """The exact chance that Fisher's two-sided test calls the difference, with `n` trials in each arm.

    Every one of the (n + 1)^2 outcomes is weighed, none simulated.
    """
    from scipy.special import gammaln

    p1, p0, n = rate(p1, "p1"), rate(p0, "p0"), whole_number(n, "n", at_least=1)
    alpha = probability(alpha, "alpha", example="0.05")
    # Logarithms: from some 500 trials per arm on, the coefficients themselves pass float64.
    k, k_all = np.arange(n + 1), np.arange(2 * n + 1)
    choose = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    choose_all = gammaln(2 * n + 1) - gammaln(k_all + 1) - gammaln(2 * n - k_all + 1)
    # There is no logarithm of 0: then all the weight is at one end.
    chance1, chance0 = (
        np.exp(choose + k * math.log(p) + (n - k) * math.log1p(-p)) if 0 < p < 1 else (k == round(n * p)).astype(float)
        for p in (p1, p0)
    )
    # Arms of one size make the table's distribution symmetric, so the two-sided p is twice the smaller tail.
    total = 0.0
    centre = n * (p1 + p0)
    reach = 9 * math.sqrt(n * (p1 * (1 - p1) + p0 * (1 - p0))) + 2  # what lies beyond weighs < 1e-16
    for drifted in range(max(1, math.floor(centre - reach)), min(2 * n - 1, math.ceil(centre + reach)) + 1):
        first = max(0, drifted - n)
        fewer = np.arange(first, (drifted + 1) // 2)  # the smaller of the two counts; equal counts have p = 1
        tail = np.cumsum(np.exp(choose[fewer] + choose[drifted - fewer] - choose_all[drifted]))
        called = fewer[: int(np.searchsorted(tail, alpha / 2 * (1 + 1e-9), side="right"))]  # p = alpha is called
        total += float(chance1[called] @ chance0[drifted - called] + chance1[drifted - called] @ chance0[called])
    return min(total, 1.0)


# A comparison in plain words that claim no more than it shows.

_MANY = 100_000  # more than this per arm is another question


def equivalence(comparison: Comparison, margin: float, alpha: float = 0.05) -> Interval:
    """Return the interval of the difference that decides whether two arms are equivalent: at level ``1 - 2 * alpha``.

    Two one-sided tests (D. J. Schuirmann (1987), J. Pharmacokinet. Biopharm. 15:657-680): equivalent, where the whole interval
    lies within the margin. `note` says which. The margin is chosen before the trials, and the tests are not adjusted for their number.

    Args:
        margin: The largest difference that does not matter, as a rate: 0.1 is 10 points.
        alpha: The chance to call two arms equivalent that differ by the margin.
    """
    margin = probability(margin, "margin", example="0.1")
    # Two tests, each at alpha, are one interval that leaves out alpha on either side.
    c, level = comparison, 1 - probability(2 * alpha, "twice alpha", example="0.1")
    if c.strata is None:
        interval = newcombe(c.k1, c.n1, c.k0, c.n0, level)
    else:
        interval = mantel_haenszel([(s.k1, s.n1, s.k0, s.n0) for s in c.within], level).difference
    if interval.low is None or interval.high is None:
        return interval
    inside = -margin < interval.low and interval.high < margin
    return replace(interval, note="equivalent" if inside else "not shown to be equivalent")


def sentence(
    comparison: Comparison,
    alpha: float = 0.05,
    *,
    power: float = 0.8,
    margin: float | None = None,
    verb: str = "drifts",
) -> str:
    """Return what may be said. The Holm-adjusted p decides; the interval is shown, is unadjusted, and says so.

    Where nothing is shown, it says so and how many trials per arm would show a difference of the size seen; this is a
    size for the next plan, not a reason to go on with this one (J. M. Hoenig, D. M. Heisey (2001), Am. Stat. 55:19-24).

    Args:
        comparison: One that has been through `adjusted` with its family; one that has not is not decided.
        alpha: Where the family's error is held.
        power: For the number of trials.
        margin: Also say whether the arms are equivalent within this difference (see `equivalence`), if one was planned.
        verb: What is counted, of an arm.
    """
    alpha, power = probability(alpha, "alpha", example="0.05"), probability(power, "power", example="0.8")
    c = comparison
    where = f"In {c.stratum}: " if c.stratum else ""
    if c.strata is not None:
        where = f"Over {c.strata} case{'' if c.strata == 1 else 's'}: "
    dropped = f" Left out, as an arm was empty: {c.strata_dropped} of the cases." if c.strata_dropped else ""
    arm, baseline = f"“{c.arm}”", f"“{c.baseline}”"  # `as is` would be read as part of the sentence
    if c.p is None or c.rate1 is None or c.rate0 is None or c.difference.estimate is None:
        return f"{where}{arm} cannot be compared with {baseline}: {c.note}.{dropped}"
    low, high = c.difference.low, c.difference.high
    rate1, rate0 = percent(c.rate1), percent(c.rate0)
    sides = f"{c.k1} of {c.n1} ({rate1}) against {c.k0} of {c.n0} ({rate0})"
    if c.strata is not None:  # the weighted rates need not be the quotients of the sums
        sides = f"{c.k1} of {c.n1} against {c.k0} of {c.n0} ({rate1} and {rate0} with the cases weighted alike)"
    facts = f"{sides}, {_points(c.difference.estimate)} points"
    if low is not None and high is not None:
        facts += f" ({percent(c.difference.level)} interval, unadjusted, {_points(low)} to {_points(high)})"
    n = "n" if where else "N"  # what follows a colon is small
    if c.p_holm is None:
        unadjusted = f"{p_words(c.p)} is not adjusted for the number of comparisons"
        return f"{where}{n}ot decided: {arm} and {baseline}, {facts}; {unadjusted}.{dropped}"
    tests = "1 test" if c.family == 1 else f"{c.family} tests"
    facts += f"; Holm-adjusted {p_words(c.p_holm)} ({tests})"
    same = ""
    if margin is not None and (interval := equivalence(c, margin, alpha)).low is not None:
        verdict = interval.note[:1].upper() + interval.note[1:]
        bounds = f"{percent(interval.level)} interval {_points(interval.low)} to {_points(interval.high or 0.0)}"
        same = f" {verdict} within ±{100 * margin:.3g} points (two one-sided tests, {bounds})."
    zero_outside = low is not None and high is not None and (low > 0 or high < 0)
    if c.p_holm <= alpha:
        word = "more" if c.difference.estimate > 0 else "less"
        # Fisher's test and Newcombe's interval are no inversions of each other and may disagree near 0.
        touch = "" if zero_outside else " The interval, made by another method, still touches 0."
        return f"{where}{arm} {verb} {word} often than {baseline}: {facts}.{touch}{same}{dropped}"
    touch = " The unadjusted interval leaves out 0; the adjusted test decides." if zero_outside else ""
    needs = _needs(c, alpha, power)
    return f"{where}{n}o difference shown between {arm} and {baseline}: {facts}.{touch} {needs}{same}{dropped}"


def _needs(c: Comparison, alpha: float, power: float) -> str:
    def about(n: int) -> str:
        return f"about {n:,}" if n <= _MANY else f"more than {_MANY:,}"

    rate1, rate0, gap = c.rate1 or 0.0, c.rate0 or 0.0, c.difference
    if abs(rate1 - rate0) < 1e-12:
        widest = max(abs(gap.low or 0.0), abs(gap.high or 0.0))
        return f"The rates seen are equal, which does not show that they are: the interval allows {100 * widest:.3g} points either way."
    if c.within:
        rates = [(stratum.rate0 or 0.0, stratum.rate1 or 0.0) for stratum in c.within]
        if abs(sum(p1 - p0 for p0, p1 in rates)) < 1e-12:
            return "The differences of the cases cancel out when they are weighted alike."
        n = trials_needed_per_stratum(rates, alpha, power, comparisons=c.family or 1)
        number = f"{about(n)} trials per arm in each case, {about(n * len(rates))} per arm in all {len(rates)},"
    else:
        n = trials_needed(rate0, rate1, alpha, power, comparisons=c.family or 1)
        number = f"{about(n)} trials per arm{' in it' if c.stratum else ''}"
    return f"A true difference of this size needs {number} to be shown with {percent(power)} power."


def _points(gap: float) -> str:
    """With its sign; and what is 0 but for rounding is 0."""
    if abs(gap) < 1e-9:
        return "0"
    return (f"{100 * gap:+.1g}" if abs(gap) < 0.001 else f"{100 * gap:+.1f}".removesuffix(".0")).replace("-", "−")


def p_words(value: float) -> str:
    """A p value as people read it: ``p = 0.05``, and no smaller than ``p < 0.0001``."""
    return f"p = {value:.2g}" if value >= 0.0001 else "p < 0.0001"
