"""Do the intervals hold the truth after loss? ``python benchmarks/coverage.py [--runs N]``

Services draw anew at every try, a lost attempt is played again, and what is lost may not be like what is there: a text reply begins
sooner than audio, so that a connection that breaks early loses more audio. Simulated by the kit's own counting rule (a reply that has
begun decides its trial; an attempt that was lost before is played again and stands in the bounds), at rates of 0.05, 0.3 and 0.5:

* the share of runs in which the bounds and Wilson's interval hold the truth (bounds: at least 95 %, within Monte Carlo error);
* the share of runs in which a retry arm that cures nothing is called a cure, at failure rates of 0 to 10 % for each response (at most 5 %);
* how often the band before the first drift holds the truth (Kaplan-Meier).
"""

from __future__ import annotations

import numpy as np
from running import option, status

from kit import stats


def lossy(draw: np.random.Generator, n: int, p: float, lost_audio: float, lost_text: float) -> tuple[int, int, int]:
    """Play n trials, each until an attempt is not lost: text, answered, lost attempts."""
    text = lost = 0
    for _ in range(n):
        while True:
            is_text = draw.random() < p
            if draw.random() >= (lost_text if is_text else lost_audio):
                break
            lost += 1
        text += is_text
    return text, n, lost


def after_loss(runs: int) -> bool:
    draw, good = np.random.default_rng(1), True
    print("truth  lost (audio, text)  estimate   Wilson holds it   bounds hold it")
    for p in (0.05, 0.3, 0.5):
        for lost_audio, lost_text in ((0.0, 0.0), (0.1, 0.1), (0.2, 0.02), (0.5, 0.05), (0.02, 0.2)):
            counts = [lossy(draw, 100, p, lost_audio, lost_text) for _ in range(runs)]
            wilson = np.mean([i.low <= p <= i.high for i in (stats.wilson(k, n) for k, n, _ in counts)])
            bounds = np.mean([i.low <= p <= i.high for i in (stats.bounds_if_missing(*count) for count in counts)])
            good &= bounds >= 0.95 - 3 * (0.05 * 0.95 / runs) ** 0.5 - 0.02  # Wilson itself dips by 2 points
            print(
                f"{p:5}  {lost_audio:5} {lost_text:5}  {np.mean([k / n for k, n, _ in counts]):16.3f} {wilson:15.3f} {bounds:16.3f}"
            )
    return bool(good)


def false_cures(runs: int) -> bool:
    """A retry arm asks again after text; drift is sticky, so that the next reply is text too, if it comes."""
    draw, good = np.random.default_rng(2), True
    print("failure per response   a cure is claimed, text kept   ... struck out, as before")
    for failure in (0.0, 0.01, 0.02, 0.05, 0.1):
        kept = struck = 0
        for _ in range(runs):
            base, arm = draw.binomial(300, 0.5), draw.binomial(300, 0.5)
            broken = draw.binomial(arm, 1 - (1 - failure) ** 4)  # four more tries at each text reply
            kept += stats.compare(int(arm), 300, int(base), 300).p <= 0.05 and arm < base
            struck += stats.compare(int(arm - broken), 300 - int(broken), int(base), 300).p <= 0.05 and arm < base
        good &= kept / runs <= 0.05
        print(f"{failure:20} {kept / runs:29.3f} {struck / runs:25.3f}")
    return good


def first_band(runs: int) -> bool:
    draw, good = np.random.default_rng(3), True
    print("trials  hazard   the band after turn 1 holds the truth")
    for n in (20, 40, 100):
        for hazard in (0.02, 0.05, 0.1):
            hits = 0
            for k in draw.binomial(n, hazard, runs):
                curve = stats.survival_of_counts([1], [n], [k], n) if k else None
                low, high = (curve.low[0], curve.high[0]) if curve else (stats.wilson(n, n).low, 1.0)
                hits += low <= 1 - hazard <= high
            good &= hits / runs >= 0.9
            print(f"{n:6} {hazard:7} {hits / runs:39.3f}")
    return good


def main() -> bool:
    runs = option("--runs", 2_000)
    return all([after_loss(runs), false_cures(runs), first_band(runs)])


if __name__ == "__main__":
    raise SystemExit(status(main()))
