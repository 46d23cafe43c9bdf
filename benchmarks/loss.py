"""Does loss on the stand-in, through real sockets, tilt the estimate? ``python benchmarks/loss.py [--plans N] [--only rows|cures]``

What `coverage.py` asks a simulated service thousands of times, once more where sound takes time and connections are really cut: the
stand-in draws afresh at every attempt, as a service does, and audio takes longer than text, so that what is cut off is mostly audio.

========  ==================================================================================================================
part      limit
========  ==================================================================================================================
rows      nothing, interrupts, and sessions that are cut sooner and sooner: the estimate is within 2 standard errors of the
          truth, or the bounds of the report hold that
cures     a retry arm that cures nothing, beside as is, 300 trials each, while 0 to 10 % of responses are dropped: called a
          cure in at most alpha of `--plans` (20) plans for each of the five rates, all together, within 2 Monte Carlo errors
========  ==================================================================================================================
"""

from __future__ import annotations

import sys
from typing import Any

from coverage import ALPHA, ESTIMATES, FAILURES, error_of, near_or_held
from running import option, status
from service import played

from kit import Plan, Settings, tables

# what happens → truth, plans, trials of each, where a session is cut (seconds), how often a run is interrupted
ROWS: dict[str, tuple[float, int, int, float | None, int]] = {
    "nothing": (0.5, 1, 900, None, 0),
    "interrupted 10 times": (0.5, 6, 150, None, 10),
    "cut at 0.55 s": (0.3, 3, 300, 0.55, 0),
    "cut at 0.45 s": (0.3, 1, 300, 0.45, 0),
    "cut at 0.35 s": (0.3, 1, 300, 0.35, 0),
    # in the middle of what audio takes until it is heard, and before most of it
    "cut at 0.15 s": (0.3, 1, 300, 0.15, 0),
    "cut at 0.1 s": (0.3, 1, 300, 0.1, 0),
}
COUNTS = ("text", "first_turns", "lost")


def plan_of(drift: str, repeats: int, seed: int, faults: list[str], arms: Any = "as_is", pace: float = 8.0) -> Plan:
    stand_in = {"drift": drift, "faults": faults, "pace": pace}
    return Plan("1b", arms, repeats, seed=seed, settings=Settings(stand_in=stand_in))


def rows(_: int) -> bool:
    good = True
    print(ESTIMATES)
    for row, (name, (p, n_plans, repeats, cut_s, stops)) in enumerate(ROWS.items(), 1):
        faults = [f"expire={cut_s}@every"] if cut_s else []
        found = []
        for seed in range(10 * row, 10 * row + n_plans):  # what is drawn in a row is no copy of another's
            with played(plan_of(f"fresh:share={p}", repeats, seed, faults), stops=stops) as ledger:
                found.append(tables.modality_df(ledger, []).iloc[0])
        if n_plans > 1 and not stops:  # by itself, too
            for n, one in enumerate(found, 1):
                good &= near_or_held(f"{name}, plan {n}", p, *(int(one[word]) for word in COUNTS))
        good &= near_or_held(name, p, *(int(sum(one[word] for one in found)) for word in COUNTS))
    return good


def cures(n_plans: int) -> bool:
    print(
        "dropped   text, as is           text, retry, final    text, retry, first    failed, as is and retry   called a cure"
    )
    n_claimed = 0
    for part, failure in enumerate(FAILURES):
        found, claimed = [], 0
        for seed in range(part * n_plans, (part + 1) * n_plans):
            arms = ["as_is", "delete_and_retry"]
            plan = plan_of("share=0.5", 300, seed, [f"drop@p={failure}"] if failure else [], arms, pace=0)
            with played(plan) as ledger:
                found.append(tables.modality_df(ledger, "arm"))
                comparison = tables.compare_df(ledger, alpha=ALPHA).iloc[0]
                claimed += bool(comparison["shown"] and comparison["difference"] < 0)
        sums = sum(table.drop(columns="arm").select_dtypes("number") for table in found)
        as_is, retry = sums.to_dict("records")
        pairs = (
            (as_is["text"], as_is["first_turns"]),
            (retry["text"], retry["first_turns"]),
            (retry["first_response_drifted"], retry["first_responses"]),
        )
        shares = [f"{k:.0f} of {n:.0f} ({k / n:.3f})" for k, n in pairs]
        failed = f"{as_is['failed']:.0f}, {retry['failed']:.0f}"
        print(
            f"{failure:7.0%}   {shares[0]:21} {shares[1]:21} {shares[2]:21} {failed:25} {claimed} of {n_plans}",
            flush=True,
        )
        n_claimed += claimed
    share, n = n_claimed / (len(FAILURES) * n_plans), len(FAILURES) * n_plans
    met = share <= ALPHA + 2 * error_of(ALPHA, n)
    print(f"{n_claimed} of {n} plans called it a cure{'' if met else '   NOT MET'}")
    return met


PARTS = {"rows": rows, "cures": cures}


def main(n_plans: int) -> bool:
    only = sys.argv[sys.argv.index("--only") + 1] if "--only" in sys.argv else ""
    return all([part(n_plans) for name, part in PARTS.items() if name.startswith(only)])


if __name__ == "__main__":
    raise SystemExit(status(main(option("--plans", 20))))
