"""A comparison in plain words that claim no more than it shows."""

from __future__ import annotations

from kit.stats.inputs import probability
from kit.stats.results import Comparison, Interval, percent
from kit.stats.sample_size import trials_needed

_MANY = 100_000  # more than this per arm is another question


def sentence(comparison: Comparison, alpha: float = 0.05, *, power: float = 0.8) -> str:
    """What may be said. The Holm-adjusted p decides; the interval is shown, is unadjusted, and says so.

    Where nothing is shown, it says so and how many trials per arm would show a difference of the size seen; this is a
    size for the next plan, not a reason to go on with this one (J. M. Hoenig, D. M. Heisey (2001), Am. Stat. 55:19-24).

    Args:
        comparison: One that has been through `adjusted` with its family; one that has not is not decided.
        alpha: Where the family's error is held.
        power: For the number of trials.

    Raises:
        InputError: If `alpha` or `power` is no probability.
    """
    alpha, power = probability(alpha, "alpha", example="0.05"), probability(power, "power", example="0.8")
    c = comparison
    where = (
        f"In {c.stratum}: "
        if c.stratum
        else f"Over {c.strata} case{'' if c.strata == 1 else 's'}: "
        if c.strata is not None
        else ""
    )
    dropped = f" Left out, as an arm was empty: {c.strata_dropped} of the cases." if c.strata_dropped else ""
    if c.p is None or c.rate1 is None or c.rate0 is None or c.difference.estimate is None:
        return f"{where}{c.arm} cannot be compared with {c.baseline}: {c.note}.{dropped}"
    facts = f"{_sides(c, c.rate1, c.rate0)}, {_difference(c.difference)}"
    if c.p_holm is None:
        return (
            f"{where}{'n' if where else 'N'}ot decided: {c.arm} and {c.baseline}, {facts}; p {_p(c.p)} is not adjusted for the number of "
            f"comparisons.{dropped}"
        )
    tests = "1 test" if c.family == 1 else f"{c.family} tests"
    facts += f"; Holm-adjusted p {_p(c.p_holm)} ({tests})"
    zero_outside = _excludes_zero(c.difference)
    if c.p_holm <= alpha:
        more = "more" if c.difference.estimate > 0 else "less"
        touch = "" if zero_outside else " The interval, made by another method, still touches 0."
        return f"{where}{c.arm} drifts {more} often than {c.baseline}: {facts}.{touch}{dropped}"
    touch = " The unadjusted interval leaves out 0; the adjusted test decides." if zero_outside else ""
    needs = _needs(c, alpha, power)
    return f"{where}{'n' if where else 'N'}o difference shown between {c.arm} and {c.baseline}: {facts}.{touch} {needs}{dropped}"


def _needs(c: Comparison, alpha: float, power: float) -> str:
    rate1, rate0, gap = c.rate1 or 0.0, c.rate0 or 0.0, c.difference
    if abs(rate1 - rate0) < 1e-12:
        widest = max(abs(gap.low or 0.0), abs(gap.high or 0.0))
        return f"The rates seen are equal, which does not show that they are: the interval allows {100 * widest:.3g} points either way."
    n = trials_needed(rate0, rate1, alpha, power, comparisons=c.family or 1)
    number = f"about {n:,}" if n <= _MANY else f"more than {_MANY:,}"
    return f"A true difference of this size needs {number} trials per arm to be shown with {percent(power)} power."


def _sides(c: Comparison, rate1: float, rate0: float) -> str:
    if c.strata is None:
        return f"{c.k1} of {c.n1} ({percent(rate1)}) against {c.k0} of {c.n0} ({percent(rate0)})"
    # the weighted rates need not be the quotients of the sums
    return f"{c.k1} of {c.n1} against {c.k0} of {c.n0} ({percent(rate1)} and {percent(rate0)} with the cases weighted alike)"


def _difference(gap: Interval) -> str:
    text = f"{_points(gap.estimate or 0.0)} points"
    if gap.low is None or gap.high is None or gap.level is None:
        return text
    return f"{text} ({percent(gap.level)} interval, unadjusted, {_points(gap.low)} to {_points(gap.high)})"


def _points(gap: float) -> str:
    """With its sign; and what is 0 but for rounding is 0."""
    if abs(gap) < 1e-9:
        return "0"
    return (f"{100 * gap:+.1g}" if abs(gap) < 0.001 else f"{100 * gap:+.1f}".removesuffix(".0")).replace("-", "−")


def _excludes_zero(gap: Interval) -> bool:
    return gap.low is not None and gap.high is not None and (gap.low > 0 or gap.high < 0)


def _p(value: float) -> str:
    return f"= {value:.2g}" if value >= 0.0001 else "< 0.0001"
