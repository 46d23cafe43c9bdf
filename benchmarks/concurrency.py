"""What does a trial cost with many at once? ``python benchmarks/concurrency.py [--rounds N] [--json FILE] [--plot FILE.png]``

The trial of ``trial.py`` at 1, 4, 16 and 64 at once: client CPU per trial, as a ratio to the hand-written loop at the same
number at once, and trials a second. Contenders and numbers at once take turns within a round. Trials a second are decided by
whichever is full first, the client's one core or the server's, so above some hundreds they tell of the server.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import peers
from runner import run_timed
from running import absolute, interleaved, machine, named, option, ratio, report, status, versions
from trial import connect_only, kit_session, library_defaults, prepared_server, raw, timed

AT_ONCE = (1, 4, 16, 64)
RAW = "raw websockets + orjson"
Measure = Callable[[str, int, int], tuple[float, float]]

# name in the table → (name in the figure, colour and marker): Okabe and Ito's colours, which the colour-blind tell apart
STYLES = {
    "connect and close only": ("connect + close", "#999999", "v"),
    RAW: ("hand-written loop", "#000000", "o"),
    "kit session": ("kit session", "#0072B2", "s"),
    "kit run, with its ledger": ("kit run, with ledger", "#56B4E9", "D"),
    "json + base64 + library defaults": ("json + library defaults", "#009E73", "^"),
    "openai SDK, one client": ("openai SDK", "#D55E00", "P"),
    "openai-agents, model": ("openai-agents", "#CC79A7", "X"),
    "pipecat": ("pipecat", "#E69F00", "*"),
}


def contenders() -> dict[str, Measure]:
    trials = {"connect and close only": connect_only, RAW: raw, "kit session": kit_session}
    trials |= {"json + base64 + library defaults": library_defaults} | peers.installed(slow=False)
    return {name: partial(timed, trial) for name, trial in trials.items()} | {"kit run, with its ledger": run_timed}


def measured(rounds: int, trials: int) -> dict[int, dict[str, list[tuple[float, float]]]]:
    """By number at once and contender: (ms of CPU per trial, trials a second) of each round."""
    with prepared_server() as url:
        taken = {
            (n, name): partial(measure, url, n, max(trials, 2 * n))
            for n in AT_ONCE
            for name, measure in contenders().items()
        }
        costs = interleaved(taken, rounds)
    return {n: {name: costs[n, name] for at, name in costs if at == n} for n in AT_ONCE}


def plot(told: dict[int, dict[str, list[tuple[float, float]]]], path: Path) -> None:
    """Two panels over the number at once, both axes logarithmic: CPU as a ratio to the hand-written loop, and trials a second."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    names = [name for name in STYLES if name in told[AT_ONCE[0]]]
    fig, panels = plt.subplots(1, 2, figsize=(11.5, 5.2))
    ends: list[list[tuple[float, float, str]]] = [[], []]
    for place, name in enumerate(names):
        _, colour, marker = STYLES[name]
        beside = [n * 2 ** (0.04 * (place - (len(names) - 1) / 2)) for n in AT_ONCE]  # so that no bar hides another
        cpu = {n: [cost for cost, _ in told[n][name]] for n in AT_ONCE}
        base = {n: [cost for cost, _ in told[n][RAW]] for n in AT_ONCE}
        ratios = [ratio(cpu[n], base[n]) for n in AT_ONCE]
        rates = [ratio([rate for _, rate in told[n][name]], [1.0] * len(cpu[n])) for n in AT_ONCE]
        for panel, told_at, end in zip(panels, (ratios, rates), ends, strict=True):
            middle, low, high = zip(*told_at, strict=True)
            panel.plot(beside, middle, color=colour, marker=marker, markersize=6.5, linewidth=1.8)
            panel.vlines(beside, low, high, color=colour, linewidth=1.2, alpha=0.7)
            end.append((beside[-1], middle[-1], name))
    for panel, end, title in zip(
        panels, ends, ("Client CPU per trial, hand-written loop = 1", "Trials a second"), strict=True
    ):
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.set_xticks(AT_ONCE, [str(n) for n in AT_ONCE])
        panel.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        panel.yaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        panel.set_title(title, loc="left", fontsize=11)
        panel.set_xlabel("trials at once")
        panel.grid(axis="y", color="#dddddd", linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_xlim(AT_ONCE[0] * 0.75, AT_ONCE[-1] * 1.25)
        labelled(panel, end)
    today = datetime.datetime.now(datetime.UTC).date()
    rounds = len(told[AT_ONCE[0]][RAW])
    note = f"One trial: connect, update, seed five items, 8 s of audio, close. Medians of {rounds} interleaved rounds, bars: 95 % bootstrap.\n"
    note += f"{today}, {machine()}, {versions('openai', 'openai-agents', 'pipecat-ai')}"
    fig.text(0.01, 0.012, note, fontsize=7.5, color="#444444")
    fig.tight_layout(rect=(0, 0.06, 1, 1), w_pad=3)
    fig.savefig(path, dpi=160)
    plt.close(fig)


def labelled(panel: Any, ends: list[tuple[float, float, str]], apart: float = 0.055) -> None:
    """A name at the end of each line; those that would touch are pushed `apart` of the panel's height."""
    low, high = (math.log(limit) for limit in panel.get_ylim())
    ends = sorted(ends, key=lambda end: end[1])
    places = [(math.log(value) - low) / (high - low) for _, value, _ in ends]
    for _ in range(200):
        for k in range(len(places) - 1):
            if (short := apart - (places[k + 1] - places[k])) > 0:
                places[k], places[k + 1] = places[k] - short / 2, places[k + 1] + short / 2
    for (x, value, name), place in zip(ends, places, strict=True):
        label, colour, _ = STYLES[name]
        line = {"arrowstyle": "-", "color": colour, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 5, "relpos": (0, 0.5)}
        panel.annotate(
            label,
            xy=(x, value),
            xytext=(1.04, place),
            textcoords="axes fraction",
            va="center",
            fontsize=9.5,
            color="#222222",
            arrowprops=line,
            annotation_clip=False,
        )


def main() -> bool:
    told = measured(option("--rounds", 7), option("--trials", 64))
    for n, by in told.items():
        report(f"Client CPU per trial, {n} at once", {name: [c for c, _ in some] for name, some in by.items()}, RAW, {})
    for n, by in told.items():
        rates = {name: [rate for _, rate in some] for name, some in by.items()}
        absolute(f"Trials a second, {n} at once", rates, "/s", {})
    if path := named("--plot"):
        plot(told, path)
    return True


if __name__ == "__main__":
    raise SystemExit(status(main()))
