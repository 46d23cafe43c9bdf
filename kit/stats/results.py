"""What comes back: one interval, or one comparison of two arms."""

from __future__ import annotations

from dataclasses import dataclass


def percent(rate: float) -> str:
    """A rate as people read it: three figures, no more."""
    return f"{100 * rate:.3g} %"


@dataclass(frozen=True, slots=True, repr=False)
class Interval:
    """An estimate with its bounds; `None` where there is none, and then `note` says why.

    Rates are fractions from 0 to 1, differences from -1 to 1, medians in the unit of what went in.
    """

    estimate: float | None
    low: float | None
    high: float | None
    level: float | None
    """The confidence level; ``None`` for bounds that are not a matter of chance (`bounds_if_missing`)."""
    method: str
    n: int
    """How many observations: trials, or turns where turns were pooled."""
    note: str = ""
    clusters: int | None = None
    """How many trials the turns belong to; ``None`` where each observation is a trial of its own."""

    @property
    def width(self) -> float | None:
        """`high` less `low`."""
        return None if self.low is None or self.high is None else self.high - self.low

    def __repr__(self) -> str:
        size = f"n = {self.n}" + (f" turns, {self.clusters} trials" if self.clusters is not None else "")
        if self.estimate is None and self.low is None and self.high is None:
            return f"no estimate ({size}; {self.note or self.method})"
        centre = "no estimate" if self.estimate is None else f"{self.estimate:.4g}"
        if self.low is None and self.high is None:
            return f"{centre} (no interval: {self.note or 'not given'}; {size}, {self.method})"
        kind = "bounds" if self.level is None else f"{percent(self.level)} interval"
        low, high = ("open" if bound is None else f"{bound:.4g}" for bound in (self.low, self.high))
        tail = f"; {self.note}" if self.note else ""
        return f"{centre} ({kind} {low} to {high}; {size}, {self.method}{tail})"


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """One arm against a baseline: how often each drifted, how far apart they are, and how likely that is by chance.

    The interval of the difference is unadjusted. What may be *said* is decided by `p_holm` (see `sentence`).
    """

    k1: int
    """How many drifted in the arm; in a pooled row the sum over the strata that were used."""
    n1: int
    k0: int
    """The same for the baseline."""
    n0: int
    rate1: float | None
    """``k1 / n1``; in a pooled row the rate with every stratum at its Mantel-Haenszel weight."""
    rate0: float | None
    difference: Interval
    """Arm less baseline."""
    p: float | None
    """Two-sided, unadjusted."""
    method: str
    """The test that made `p`; the interval's method is in `difference`."""
    arm: str = "arm"
    baseline: str = "baseline"
    stratum: str | None = None
    """Which case, in a comparison within one."""
    p_holm: float | None = None
    """`p` after Holm over the family; ``None`` until `adjusted` has seen the whole family."""
    family: int | None = None
    """How many tests the family has."""
    strata: int | None = None
    """How many strata were pooled; ``None`` in a comparison that is not pooled."""
    strata_dropped: int = 0
    """Strata with an empty arm: they compare nothing."""
    within: tuple[Comparison, ...] = ()
    """The comparisons within each stratum that was used, in order."""
    note: str = ""

    def __repr__(self) -> str:
        where = f" in {self.stratum}" if self.stratum else f" over {self.strata} strata" if self.strata else ""
        sides = f"{self.arm} {self.k1} of {self.n1} against {self.baseline} {self.k0} of {self.n0}{where}"
        if self.p is None:
            return f"{sides}: not compared ({self.note})"
        p_holm = "not adjusted" if self.p_holm is None else f"Holm of {self.family}: {self.p_holm:.3g}"
        return f"{sides}: difference {self.difference!r}, p = {self.p:.3g} by {self.method} ({p_holm})"
