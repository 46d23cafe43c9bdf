"""What the benchmarks share: interleaved rounds, a ratio with its interval, the machine, and one way to print and to keep."""

from __future__ import annotations

import datetime
import json
import os
import platform
import random
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TypeVar

NOT_MET = 3
Name, Cost = TypeVar("Name"), TypeVar("Cost")


def option(name: str, default: int) -> int:
    """The whole number after `name` on the command line."""
    return int(sys.argv[sys.argv.index(name) + 1]) if name in sys.argv else default


def named(name: str) -> Path | None:
    """The path after `name` on the command line."""
    return Path(sys.argv[sys.argv.index(name) + 1]) if name in sys.argv else None


def versions(*names: str) -> str:
    """Those that are installed."""
    found = []
    for name in names:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def machine() -> str:
    """What the figures were taken on; only ratios within one run mean anything."""
    cores = os.cpu_count()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    python = f"{platform.python_implementation()} {platform.python_version()}"
    libraries = versions("websockets", "msgspec", "numpy", "orjson")
    return f"{platform.system()} {platform.machine()}, {cores} cores, load {load:.1f}, {python}, {libraries}"


def interleaved(contenders: Mapping[Name, Callable[[], Cost]], rounds: int) -> dict[Name, list[Cost]]:
    """`rounds` costs of each contender, taken in turns and in a new order each round, after one round that is not kept."""
    costs: dict[Name, list[Cost]] = {name: [] for name in contenders}
    order = list(contenders)
    for n in range(rounds + 1):
        random.Random(n).shuffle(order)
        for name in order:
            cost = contenders[name]()
            if n:
                costs[name].append(cost)
    return costs


def ratio(costs: Sequence[float], base: Sequence[float], draws: int = 2_000) -> tuple[float, float, float]:
    """Median of the ratios within a round, with a 95 % percentile bootstrap interval over rounds.

    Within a round, since a machine that others use, too, is half as fast for seconds at a time: it slows both of a pair.
    """
    rng = random.Random(0)
    ratios = [cost / its_base for cost, its_base in zip(costs, base, strict=True)]
    drawn = sorted(statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(draws))
    return statistics.median(ratios), drawn[int(0.025 * draws)], drawn[int(0.975 * draws)]


def report(
    title: str, costs: Mapping[str, Sequence[float]], base: str, limits: Mapping[str, float], unit: str = "ms"
) -> bool:
    """Print a table of medians, spread and ratios to `base`; JSON to the file named by ``--json``. Returns: all limits met.

    A limit is met when the upper end of the ratio's interval is at or below it.
    """
    print(f"\n{title}\n{machine()}\n")
    print(f"{'':38} {'median':>10} {'quartiles':>19} {'ratio':>7} {'95 %':>13} {'limit':>7}")
    rows = []
    for name, values in costs.items():
        middle, low, high = ratio(values, costs[base])
        quartiles = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
        limit = limits.get(name)
        spread = f"{quartiles[0]:.2f}–{quartiles[2]:.2f}"
        print(
            f"{name:38} {statistics.median(values):8.2f} {unit:2}{spread:>18} {middle:7.2f}  {low:5.2f}–{high:5.2f} {_shown(limit, high)}"
        )
        cost = {"cost": statistics.median(values), "cost_unit": unit, "base": base}
        rows.append({"name": name, "value": middle, "unit": "×", "low": low, "high": high, "limit": limit} | cost)
    return _kept(title, rows)


def absolute(title: str, values: Mapping[str, Sequence[float]], unit: str, limits: Mapping[str, float]) -> bool:
    """The same for limits that are no ratio: medians in `unit`, each with its interval where there are several rounds."""
    print(f"\n{title}\n{machine()}\n")
    print(f"{'':38} {'median':>10} {'':>27} {'95 %':>13} {'limit':>7}")
    rows = []
    for name, some in values.items():
        middle, low, high = ratio(some, [1.0] * len(some))
        limit = limits.get(name)
        print(f"{name:38} {middle:8.2f} {unit:2} {'':>25}  {low:5.2f}–{high:5.2f} {_shown(limit, high)}")
        rows.append({"name": name, "value": middle, "unit": unit, "low": low, "high": high, "limit": limit})
    return _kept(title, rows)


def status(met: bool) -> int:
    """What a benchmark exits with: 3 where a limit is not met, because an exception exits with 1."""
    return 0 if met else NOT_MET


def _shown(limit: float | None, high: float) -> str:
    return "" if limit is None else f"{limit:7.2f}  {'met' if high <= limit else 'NOT MET'}"


def _kept(title: str, rows: list[dict]) -> bool:
    for row in rows:
        row["met"] = None if row["limit"] is None else row["high"] <= row["limit"]
    if path := named("--json"):
        past = json.loads(path.read_text()) if path.exists() else []
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        entry = {"title": title, "file": Path(sys.argv[0]).name, "machine": machine(), "at": now, "rows": rows}
        path.write_text(json.dumps([*past, entry], indent=1, ensure_ascii=False))
    return all(row["met"] is not False for row in rows)
