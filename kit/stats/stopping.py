"""Looking after every trial, and stopping when it is enough, without fooling oneself.

Wilson's interval looked at after every trial up to 400 misses the truth at least once in 41 % of runs at p = 0.05 and in
48 % at 0.3 (enumerated; in 35 and 40 % if the first look is at trial 10). A confidence sequence holds at all looks at once,
so it may be watched, and a run may be stopped for any reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kit.errors import InputError, clipped
from kit.stats.inputs import Floats, k_of_n, k_of_n_arrays, probability, rate, whole
from kit.stats.results import Interval

PRIOR = 0.5  # both parameters of the mixing beta: Jeffreys', which favours no rate and is tightest near 0 and 1

_HALVINGS = 55  # of [0, 1]: below the spacing of float64 near 1


def confidence_sequence(k: int, n: int, alpha: float = 0.05) -> Interval:
    """The rate with an interval that is right at *every* n at once with chance at least ``1 - alpha``.

    All rates p at which the beta(1/2, 1/2)-mixed likelihood is less than ``1 / alpha`` times the likelihood of p
    (H. Robbins (1970), Ann. Math. Stat. 41:1397-1409; J. Ville (1939)). The price of being allowed to look: at 12 of 40
    it is 0.114 to 0.549 where Wilson's has 0.181 to 0.454.

    Trials must come in an order that their outcome does not decide. Of trials that run side by side text replies may end
    first: count the completed beginning of the *planned* order, not whatever has finished.

    Args:
        k, n: Drifted, of trials so far. At 0 of 0 it is 0 to 1.
        alpha: Chance that it ever misses.

    Raises:
        InputError: If not ``0 <= k <= n``, or `alpha` is no probability.
    """
    k, n = k_of_n(k, n)
    low, high = confidence_sequence_array(k, n, alpha)
    note = "" if n else "no trials, so no rate"
    method = "beta-binomial confidence sequence"
    return Interval(k / n if n else None, float(low), float(high), 1 - alpha, method, n, note)


def confidence_sequence_array(k: npt.ArrayLike, n: npt.ArrayLike, alpha: float = 0.05) -> tuple[Floats, Floats]:
    """The bounds of `confidence_sequence` for whole columns, by bisection; shapes as in `wilson_array`."""
    from scipy.special import betaln, xlog1py, xlogy

    few, all_ = k_of_n_arrays(k, n)
    probability(alpha, "alpha", example="0.05")
    mixed = betaln(PRIOR + few, PRIOR + all_ - few) - betaln(PRIOR, PRIOR) + np.log(alpha)
    seen = few / np.maximum(all_, 1)

    def boundary(outside: Floats, inside: Floats) -> Floats:
        for _ in range(_HALVINGS):
            middle = (outside + inside) / 2
            is_in = mixed < xlogy(few, middle) + xlog1py(all_ - few, -middle)
            inside, outside = np.where(is_in, middle, inside), np.where(is_in, outside, middle)
        return outside  # the end that errs to the wide side

    low = np.where(few == 0, 0.0, boundary(np.zeros_like(seen), seen))
    high = np.where(few == all_, 1.0, boundary(np.ones_like(seen), seen))
    return low, high


@dataclass(frozen=True, slots=True)
class StopRule:
    """Stop when no arm's interval is wider than `width` (0.2 is ±10 points), whenever one looks.

    alpha is split evenly over the arms (C. E. Bonferroni (1936)), so with chance at least ``1 - alpha`` no arm's interval
    is wrong at any look, stopped or not. Plain numbers, so that a plan can freeze and hash it.

    Raises:
        InputError: If `width` or `alpha` is not between 0 and 1, or `n_arms` is not a positive whole number.
    """

    width: float
    """How wide an arm's interval may be, high less low: 0.2 is ±10 points."""
    alpha: float = 0.05
    n_arms: int = 1
    """Everything that is watched: arms × cases where each is watched apart."""

    def __post_init__(self) -> None:
        probability(self.width, "width", example="0.2")
        probability(self.alpha, "alpha", example="0.05")
        whole(self.n_arms, "n_arms", at_least=1)

    def interval(self, k: int, n: int) -> Interval:
        """The interval of one arm at its share of alpha: the one to show while a plan runs."""
        return confidence_sequence(k, n, self.alpha / self.n_arms)

    def enough(self, k: int, n: int) -> bool:
        """Whether one arm is known well enough."""
        return bool((self.interval(k, n).width or 0.0) <= self.width)

    def stop(self, counts: Iterable[tuple[int, int]]) -> bool:
        """Whether all arms are: one ``(k, n)`` per arm, of completed trials in planned order.

        Raises:
            InputError: If there are not `n_arms` of them; an arm without trials is ``(0, 0)``.
        """
        arms = list(counts)
        if len(arms) != self.n_arms:
            raise InputError(f"the rule is for {self.n_arms} arms, got counts of {len(arms)}: {clipped(arms)}")
        return all(self.enough(k, n) for k, n in arms)

    def trials_per_arm(self, p: float = 0.5) -> int:
        """About how many trials an arm takes whose rate is `p`; one half takes the most. For the price of a plan."""
        p = rate(p, "p")
        high = 1
        while not self.enough(round(p * high), high):
            high *= 2
        low = high // 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.enough(round(p * middle), middle) else (middle, high)
        return high
