"""Do the intervals hold the truth after loss, and are findings found by chance? ``python benchmarks/coverage.py [--runs N] [--only WORD]``

A simulated service with a known truth (`service.py`) behind the kit's own attempts, runner, ledger and tables. It draws anew at every
try, audio begins later than text, and what is lost is played again, so that loss is not like what is there.

=============  ==================================================================================================  ==========
part           what is counted, over `--runs` (1,000) estimates of 40 trials, or plans                             limit
=============  ==================================================================================================  ==========
intervals      Wilson's interval holds the truth, where loss does not choose                                       93 to 97 %
bounds         ``drift_least`` to ``drift_most`` hold the truth, whatever is lost: drops, expiry, interrupts       >= 95 %
estimates      kinds of loss, each with all its trials together: within 2 standard errors, or in the bounds        all
cures          a retry arm that cures nothing is called a cure at a failure rate of 0 to 10 % of responses         <= alpha
sequential     the interval at the end of a run that a stop rule ended misses the truth, in any of two cells       <= 5 %
family         any of 8 comparisons of 4 arms that change nothing (and 4 pooled) is called a difference            <= 5 %
first band     Kaplan-Meier's band before the first drift holds the truth (no runs: `kit.stats` alone)             >= 90 %
=============  ==================================================================================================  ==========

A share counts as within its limit if it is within 2 Monte Carlo errors of it.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from running import option, status
from scipy.stats import binom
from service import TROUBLE, Service, in_plan, played

from kit import stats, tables

N_TRIALS = 40  # behind each estimate
CELLS = 25  # estimates in one plan, each a case of its own
TRUTHS = (0.05, 0.3, 0.5)
ALPHA = 0.05
FAILURES = (0.0, 0.01, 0.02, 0.05, 0.1)


def hits(table: Any, low: str, high: str, truth: float) -> list[bool]:
    return list((table[low] <= truth) & (truth <= table[high]))


def error_of(share: float, n: int) -> float:
    return float((share * (1 - share) / n) ** 0.5)


def exact(p: float) -> float:
    """The coverage of Wilson's interval without any loss, enumerated."""
    k = np.arange(N_TRIALS + 1)
    low, high = stats.wilson_array(k, N_TRIALS)
    return float(binom.pmf(k, N_TRIALS, p)[(low <= p) & (p <= high)].sum())


def intervals_and_bounds(runs: int) -> bool:
    good = True
    print(
        f"truth  trouble                      lost  estimate   Wilson holds it (without loss)   bounds hold it   of {runs}"
    )
    for p, (name, (trouble, stops, chooses)) in itertools.product(TRUTHS, TROUBLE.items()):
        if p != 0.3 and name.startswith("stopped"):
            continue  # the same at any truth, and the dearest
        rows = []
        for n in range(runs // CELLS):
            service = Service(lambda case, arm, p=p: p, seed=n, **trouble)
            with played(in_plan(CELLS, repeats=N_TRIALS, seed=n), service, stops) as ledger:
                rows.append(tables.modality_df(ledger, "case"))
        wilson = np.mean([hit for table in rows for hit in hits(table, "drift_low", "drift_high", p)])
        bounds = np.mean([hit for table in rows for hit in hits(table, "drift_least", "drift_most", p)])
        text, known, lost = (sum(int(table[word].sum()) for table in rows) for word in ("text", "first_turns", "lost"))
        met = bounds >= 0.95 - 2 * error_of(0.95, runs)
        if not chooses:  # Wilson's interval is that of the tables' own n, whose coverage dips and peaks by itself
            met &= 0.93 - 2 * error_of(0.93, runs) <= wilson <= 0.97 + 2 * error_of(0.97, runs)
        good &= met
        print(f"{p:5}  {name:27} {lost / (known + lost):5.1%} {text / known:9.3f} {wilson:17.3f} ({exact(p):.3f})"
              f" {bounds:24.3f} {'' if met else '   NOT MET'}", flush=True)  # fmt: skip
    return good


ESTIMATES = "row                     truth  trials   lost  estimate (bounds)         errors from the truth"
LOSSES: dict[str, tuple[float, int, int, Mapping[str, Any], int]] = {
    # what happens → truth, trials of a plan, plans, trouble, stops
    "nothing": (0.5, 900, 5, {}, 0),
    "interrupted 10 times": (0.5, 150, 30, {}, 10),
    "cut late: few lost": (0.3, 300, 15, {"expires_after": 16}, 0),
    "cut sooner": (0.3, 300, 15, {"expires_after": 12}, 0),
    "cut before most audio": (0.3, 300, 15, {"expires_after": 8}, 0),
    "a bad day": (0.3, 300, 15, {"lose": lambda is_text: 0.1, "fails": 0.05}, 0),
}


def estimates(runs: int) -> bool:
    """What interrupts, cuts and a bad day do to the estimate: all plans of a kind together, and how often a single one fails."""
    good = True
    print(f"{ESTIMATES}   single plans that miss")
    for name, (p, n_trials, n_plans, trouble, stops) in LOSSES.items():
        n_plans = max(2, n_plans * runs // 1_000)
        text = known = lost = missed = 0
        for n in range(n_plans):
            service = Service(lambda case, arm, p=p: p, seed=n, **trouble)
            with played(in_plan(1, repeats=n_trials, seed=n), service, stops) as ledger:
                (row,) = tables.modality_df(ledger, []).to_dict("records")
            z = (row["drift_rate"] - p) / error_of(p, row["first_turns"])
            missed += abs(z) > 2 and not row["drift_least"] <= p <= row["drift_most"]
            text, known, lost = text + row["text"], known + row["first_turns"], lost + row["lost"]
        good &= near_or_held(name, p, text, known, lost, f"{missed} of {n_plans}")
    return good


def near_or_held(name: str, p: float, text: int, known: int, lost: int, more: str = "") -> bool:
    """Print a row of `ESTIMATES`. Returns whether the estimate is within two standard errors of the truth, or the bounds hold that."""
    z, bound = (text / known - p) / error_of(p, known), stats.bounds_if_missing(text, known, lost)
    met = abs(z) <= 2 or (bound.low or 0) <= p <= (bound.high or 1)
    print(f"{name:23} {p:5} {known:7} {lost / (known + lost):6.1%} {text / known:8.3f} ({bound.low:.3f} to {bound.high:.3f})"
          f" {z:+17.1f} {more:>27} {'' if met else '   NOT MET'}", flush=True)  # fmt: skip
    return met


def false_cures(runs: int) -> bool:
    """A retry arm asks again after text; drift sticks, so that the next reply is text too, if it comes. The two arms meet the same luck,
    trial by trial, so that a trial counted otherwise in one of them is the counting's fault; plans of 300 a side are then drawn from the
    rates of the two, since what a plan says depends on its counts alone."""
    draw, good = np.random.default_rng(2), True
    n_pairs, n_plans = 3 * runs, 2 * runs
    print(
        f"failure per response   text, answered as is     ... retry, final    ... retry, first    a cure is claimed, of {n_plans} plans"
    )
    for failure in FAILURES:
        service = Service(
            lambda case, arm: 0.5,
            lose=lambda is_text, q=failure / 2: q,
            fails=failure / 2,
            breaks=failure / 2,
            paired=True,
        )
        with played(in_plan(5, ["as_is", "delete_and_retry"], n_pairs // 5), service) as ledger:
            as_is, retry = tables.modality_df(ledger, "arm").to_dict("records")
        (k0, n0), (k1, n1), first = (
            (as_is["text"], as_is["first_turns"]),
            (retry["text"], retry["first_turns"]),
            (retry["first_response_drifted"], retry["first_responses"]),
        )
        sides = zip(draw.binomial(300, k1 / n1, n_plans), draw.binomial(300, k0 / n0, n_plans), strict=True)
        claimed = np.mean([a < b and (stats.fisher(int(a), 300, int(b), 300) or 1) <= ALPHA for a, b in sides])
        met = claimed <= ALPHA + 2 * error_of(ALPHA, n_plans)
        good &= bool(met)
        texts = [f"{k}, {n} ({k / n:.4f})" for k, n in ((k0, n0), (k1, n1), first)]
        print(
            f"{failure:20} {texts[0]:>25} {texts[1]:>19} {texts[2]:>19} {claimed:24.4f} {'' if met else '   NOT MET'}",
            flush=True,
        )
    return good


def sequential(runs: int) -> bool:
    """Runs of two cells that a stop rule ends, at 20 points each way, with loss that chooses nothing."""
    good = True
    print("truth     runs  ended by the rule   trials  a stop rule's interval misses the truth in either cell")
    for p in TRUTHS[:2]:
        missed, n_stopped, n_trials = [], 0, 0
        for n in range(runs):
            plan = in_plan(2, repeats=90, stop=0.4, seed=n)
            service = Service(lambda case, arm, p=p: p, lose=lambda is_text: 0.03, fails=0.03, seed=n)
            with played(plan, service) as ledger:
                table = tables.modality_df(ledger, "case")
                n_stopped += (ledger.last_run or {}).get("ended") == "stop rule"
            n_trials += int(table["first_turns"].sum())
            missed.append(not all(hits(table, "drift_low", "drift_high", p)))
        share = float(np.mean(missed))
        met = share <= ALPHA + 2 * error_of(ALPHA, len(missed))
        good &= met
        print(
            f"{p:5} {len(missed):8} {n_stopped:18} {n_trials / len(missed):8.0f} {share:54.3f} {'' if met else '   NOT MET'}",
            flush=True,
        )
    return good


def family(runs: int) -> bool:
    """Two cases, one of them without drift, and four arms that change nothing, one of them a retry arm; with loss."""
    good, arms = True, ["as_is", "update_again", "one_user_message", "modality_each_response", "delete_and_retry"]
    print("truth     runs   any of 8 comparisons and 4 pooled ones is called a difference")
    for p in (0.5,):
        found = []
        for n in range(runs):
            service = Service(
                lambda case, arm, p=p: p if case == "c00" else 0.02, lose=lambda is_text: 0.03, fails=0.05, seed=n
            )
            with played(in_plan(2, arms, 16, seed=n), service) as ledger:
                found.append(bool(tables.compare_df(ledger)["shown"].any()))
        share = float(np.mean(found))
        met = share <= ALPHA + 2 * error_of(ALPHA, runs)
        good &= met
        print(f"{p:5} {runs:8} {share:56.3f} {'' if met else '   NOT MET'}", flush=True)
    return good


def first_band(runs: int) -> bool:
    draw, good = np.random.default_rng(3), True
    print("trials  hazard   the band after turn 1 holds the truth")
    for n, hazard in itertools.product((20, 40, 100), (0.02, 0.05, 0.1)):
        n_held = 0
        for k in draw.binomial(n, hazard, 2 * runs):
            curve = stats.survival_of_counts([1], [n], [k], n) if k else None
            low, high = (curve.low[0], curve.high[0]) if curve else (stats.wilson(n, n).low or 0.0, 1.0)
            n_held += low <= 1 - hazard <= high
        good &= n_held / (2 * runs) >= 0.9
        print(f"{n:6} {hazard:7} {n_held / (2 * runs):39.3f}")
    return good


PARTS: dict[str, Callable[[int], bool]] = {
    "intervals": intervals_and_bounds,
    "estimates": estimates,
    "cures": false_cures,
    "sequential": sequential,
    "family": family,
    "band": first_band,
}


def parts() -> Iterator[str]:
    chosen = sys.argv[sys.argv.index("--only") + 1] if "--only" in sys.argv else ""
    return (name for name in PARTS if name.startswith(chosen))


def main(runs: int = 1_000) -> bool:
    good = True
    for name in parts():
        began = time.process_time()
        good &= PARTS[name](runs)
        print(f"({name}: {time.process_time() - began:.0f} s of CPU)\n", flush=True)
    return good


if __name__ == "__main__":
    raise SystemExit(status(main(option("--runs", 1_000))))
