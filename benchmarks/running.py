"""What the benchmarks share: interleaved rounds, a ratio with its interval, the machine, and one way to print."""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path


def machine() -> str:
    """What the figures were taken on; only ratios within one run mean anything."""
    cores = os.cpu_count()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("websockets", "msgspec", "numpy"))
    return f"{platform.system()} {platform.machine()}, {cores} cores, load {load:.1f}, Python {platform.python_version()}, {versions}"


def interleaved(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """`rounds` costs of each contender, taken in turns and in a new order each round, after one round that is not kept."""
    costs: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders)
    for n in range(rounds + 1):
        random.Random(n).shuffle(order)
        for name in order:
            cost = contenders[name]()
            if n:
                costs[name].append(cost)
    return costs


def ratio(costs: Sequence[float], base: Sequence[float], draws: int = 2_000) -> tuple[float, float, float]:
    """Ratio of medians, with a 95 % percentile bootstrap interval over rounds (pairs kept together)."""
    rng = random.Random(0)
    n = len(costs)
    drawn = []
    for _ in range(draws):
        picked = [rng.randrange(n) for _ in range(n)]
        drawn.append(statistics.median(costs[i] for i in picked) / statistics.median(base[i] for i in picked))
    drawn.sort()
    return statistics.median(costs) / statistics.median(base), drawn[int(0.025 * draws)], drawn[int(0.975 * draws)]


def report(
    title: str, costs: Mapping[str, Sequence[float]], base: str, limits: Mapping[str, float], unit: str = "ms"
) -> bool:
    """Print a table of medians, spread and ratios to `base`; JSON to the file named by ``--json``. Returns: all limits met.

    A limit is met when the upper end of the ratio's interval is at or below it.
    """
    print(f"\n{title}\n{machine()}\n")
    print(f"{'':34} {'median':>10} {'quartiles':>19} {'ratio':>7} {'95 %':>13} {'limit':>7}")
    rows, met = [], True
    for name, values in costs.items():
        middle, low, high = ratio(values, costs[base])
        quartiles = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
        limit = limits.get(name)
        verdict = "" if limit is None else "  met" if high <= limit else "  NOT MET"
        met &= limit is None or high <= limit
        spread = f"{quartiles[0]:.2f}–{quartiles[2]:.2f}"
        shown = f"{limit:.2f}" if limit else ""
        print(
            f"{name:34} {statistics.median(values):8.2f} {unit:2}{spread:>18} {middle:7.2f}  {low:5.2f}–{high:5.2f} {shown:>7}{verdict}"
        )
        rows.append(
            {
                "name": name,
                "median": statistics.median(values),
                "unit": unit,
                "ratio": middle,
                "low": low,
                "high": high,
                "limit": limit,
            }
        )
    if "--json" in sys.argv:
        path = Path(sys.argv[sys.argv.index("--json") + 1])
        past = json.loads(path.read_text()) if path.exists() else []
        path.write_text(json.dumps([*past, {"title": title, "machine": machine(), "rows": rows}], indent=1))
    return met
