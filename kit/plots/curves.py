"""Lines and points: drift against the length of the history, time to first audio, time until drift, and arms side by side."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, clipped
from .style import (
    ARM_COLOURS,
    ARM_MARKERS,
    BODY,
    SMALL,
    Style,
    canvas,
    foreign,
    grid,
    groups,
    interval_words,
    labels,
    legend_below,
    names_above,
    need,
    percent_axis,
    words,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame as Frame


def drift_by_length(
    table: Frame, *, by: str = "arm", style: str = "light", ax: Axes | Figure | None = None, title: str | None = None
) -> Axes:
    """Drift of the first turn against the number of items in the history, with Wilson intervals: a line per arm.

    Args:
        table: From `tables.modality_df(…, by=["case", "arm"])`, with a case per length.
        by: The column that makes a line.
        style, ax, title: See `kit.plots`.
    """
    columns = ("history_items", "drift_rate", "drift_low", "drift_high", "first_turns", by)
    look, ax = _canvas(table, "modality_df", columns, style, ax, by)
    lines = list(_lines(table, by))
    for n, (name, part, colour, marker) in enumerate(lines):
        # A length without an answer has no rate, and the line goes on to the next.
        part = part[part["first_turns"] > 0].sort_values("history_items")
        # Intervals at one length stand side by side.
        x = part["history_items"].to_numpy(float) + 0.12 * (n - (len(lines) - 1) / 2)
        ax.vlines(x, part["drift_low"], part["drift_high"], color=colour, linewidth=1.6, alpha=0.65)
        ax.plot(x, part["drift_rate"].to_numpy(float), color=colour, linewidth=1.8, label=name, marker=marker, markersize=6.5,
                markeredgecolor=look.page)  # fmt: skip
    ax.set(ylim=(-0.03, 1.03), xlabel="items in the history", ylabel="first turns answered in text")
    _finish(ax, look, table, len(lines), title or "Does a longer history drift more?", f"Lines are {interval_words(table)}",
            f"{int(table['first_turns'].sum()):,} first turns", counts=True)  # fmt: skip
    return ax


def first_audio(
    turns: Frame, *, by: str = "arm", style: str = "light", ax: Axes | Figure | None = None, title: str | None = None
) -> Axes:
    """How long until the user hears something, and how often never: the share of first turns in which audio had come by then.

    A line that ends below 100 % leaves the first turns that were answered without any audio; the gap is labelled.

    Args:
        turns: From `tables.turns_df`.
        by: The column that makes a line.
        style, ax, title: See `kit.plots`.
    """
    look, ax = _canvas(turns, "turns_df", ("turn", "modality", "heard_ms", by), style, ax, by)
    # What failed has no modality, and is in no denominator.
    first = turns[(turns["turn"] == 0) & turns["modality"].notna()]
    # The axis must end somewhere also where nobody heard anything.
    end_ms = 1.05 * (float(first["heard_ms"].max()) if first["heard_ms"].notna().any() else 1.0)
    lines = list(_lines(first, by))
    for n, (name, part, colour, _) in enumerate(lines):
        times_ms = np.sort(part["heard_ms"].dropna().to_numpy(float))
        # Those that never heard a voice stay in the denominator: the line ends below 100 % by them.
        n_silent = len(part) - len(times_ms)
        # A step from 0, and on to the axis's end, so that where the line stops short of 100 % is seen.
        x = np.concatenate(([0.0], times_ms, [end_ms]))
        y = np.minimum(np.arange(len(x)), len(times_ms)) / len(part)
        label = f"{name}  ({n_silent} of {len(part)} never)" if n_silent else f"{name}  (all {len(part)})"
        # Beyond the colours that there are, arms of one colour differ in their dashes.
        dashes = ("-", "--", ":")[n // len(ARM_COLOURS) % 3]
        ax.step(x, y, where="post", color=colour, linewidth=2, label=label, linestyle=dashes)
    ax.set(xlim=(0, end_ms), ylim=(0, 1.03), ylabel="first turns heard by then")
    ax.set_xlabel("from asking until audio came (ms)")
    _finish(ax, look, first, len(lines), title or "How long until there is a voice?",
            "All responses that a turn took are counted in; where a line stops short of 100 %, no voice came",
            f"{len(first):,} answered first turns")  # fmt: skip
    return ax


def until_drift(
    curve: Frame, *, by: str = "arm", style: str = "light", ax: Axes | Figure | None = None, title: str | None = None
) -> Axes:
    """The share of trials that have not drifted yet, after each reply (Kaplan-Meier), with pointwise bands.

    Args:
        curve: From `tables.until_drift_df`.
        by: The column that makes a line.
        style, ax, title: See `kit.plots`.
    """
    columns = ("after_turns", "not_drifted", "low", "high", "trials", by)
    look, ax = _canvas(curve, "until_drift_df", columns, style, ax, by)
    lines = list(_lines(curve, by))
    total = 0
    for at, (name, part, colour, marker) in enumerate(lines):
        part = part.sort_values("after_turns")
        wide = min(2 + 1.5 * (len(lines) - 1 - at), 8)  # a line under another one shows at its sides
        x, n = part["after_turns"].to_numpy(float), int(part["trials"].iloc[0])
        total += n
        low, high = part["low"].to_numpy(float), part["high"].to_numpy(float)
        ax.fill_between(x, low, high, step="post", color=colour, alpha=0.16, linewidth=0)
        ax.step(x, part["not_drifted"], where="post", color=colour, linewidth=wide, solid_capstyle="butt", marker=marker,
                markersize=4 + wide, markeredgecolor=look.page, markeredgewidth=0.6, label=f"{name}  ({n} trials)")  # fmt: skip
    ax.set(ylim=(0, 1.03), xlim=(0, None), xlabel="replies so far", ylabel="trials not drifted yet")
    _finish(ax, look, curve, len(lines), title or "How long does the voice last?",
            f"Kaplan-Meier, bands: {interval_words(curve)} at each reply; a trial that ended early counts up to its last answer",
            f"{total:,} trials", counts=True)  # fmt: skip
    return ax


def _lines(df: Frame, by: str) -> Iterator[tuple[str, Frame, str, str]]:
    """Name, rows, colour and marker of each line, in the order of the plan."""
    for (word, name), colour, marker in zip(
        labels(df, by).items(), cycle(ARM_COLOURS), cycle(ARM_MARKERS), strict=False
    ):
        yield name, df[df[by].astype(str) == word], colour, marker


def _canvas(df: Frame, maker: str, columns: tuple[str, ...], style: str, ax: Any, by: str) -> tuple[Style, Axes]:
    """Check the frame, and make room for the curves and for a line of the legend each."""
    need(df, maker, *columns)
    return canvas(style, ax, 4.7 + 0.22 * len(groups(df, by)))


def _finish(
    ax: Axes, look: Style, df: Frame, n_entries: int, title: str, subtitle: str, n: str, *,
    counts: bool = False, **legend: Any
) -> None:  # fmt: skip
    """Draw the grid, the legend with a row for each of its entries, and the words round the picture; `counts`: x is whole numbers."""
    if counts:
        from matplotlib.ticker import MaxNLocator

        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
    grid(ax, look, "y" if counts else "both")
    percent_axis(ax.yaxis)
    for label in (ax.xaxis.label, ax.yaxis.label):
        label.set_fontsize(BODY)
    if n_entries:
        legend_below(ax, look, labelspacing=0.3, **legend)
    words(ax, look, df, title=title, subtitle=subtitle, n=n, below=46 + 15.5 * n_entries)


# Arms side by side: what a cure costs, and how far each is from the baseline.

COSTS = {
    "heard_median_ms": "median time until the user hears something (ms)",
    "responses_per_turn": "responses per turn",
    "items_sent": "items sent per trial",
    "usd": "US dollars in all",
    "usd_per_trial": "US dollars per trial",
}


def cure_cost(
    table: Frame,
    *,
    cost: str = "items_sent",
    outcome: str = "text",
    style: str = "light",
    ax: Axes | Figure | None = None,
    title: str | None = None,
) -> Axes:
    """What an arm cures against what it costs: a point per arm, drift with its Wilson interval up, the cost to the right.

    Down and to the left is better.

    Args:
        table: From `tables.modality_df(…, by="arm")`; with more labels there is a point per row.
        cost: The column that counts as the cost: ``items_sent``, ``responses_per_turn``, ``heard_median_ms``, ``usd_per_trial``, or
            any number of your own.
        outcome: What is up: ``"text"``, or ``"lost_voice"`` (text, silent or late).
        style, ax, title: See `kit.plots`.
    """
    rates = {"text": "drift", "lost_voice": "lost_voice"}
    if outcome not in rates:
        raise InputError(f"{clipped(outcome)} is nothing that a cure mends; there are {' and '.join(rates)}")
    from matplotlib.transforms import offset_copy

    # A table has what a row cost in all; per trial it can be compared between arms of different size.
    if cost == "usd_per_trial" and "usd" in table and cost not in table:
        table = table.assign(usd_per_trial=table["usd"] / table["completed"].astype(float))
    rate = rates[outcome]
    columns = ("arm", cost, f"{rate}_rate", f"{rate}_low", f"{rate}_high", "first_turns")
    look, ax = _canvas(table, "modality_df", columns, style, ax, "arm")
    shown_rows, arms = table[(table["first_turns"] > 0) & table[cost].notna()], groups(table, "arm")
    costs = shown_rows[cost].to_numpy(float)
    reach = float(np.ptp(costs)) or 1.0 if len(costs) else 1.0
    dodged = False
    fig: Any = ax.get_figure()
    for at, (_, row) in enumerate(shown_rows.iterrows()):
        # By its place in the plan, so that an arm has one colour in all pictures.
        n = arms.index(str(row["arm"]))
        colour, marker = ARM_COLOURS[n % len(ARM_COLOURS)], ARM_MARKERS[n % len(ARM_MARKERS)]
        # Points at one cost stand side by side. Only the mark is moved, in points of the paper: its place on the axis is that of the
        # cost, and all of them stay within the margin.
        same = np.abs(costs - costs[at]) < 0.015 * reach
        beside = int(same[:at].sum())
        dodged = dodged or beside > 0
        step = min(9.0, 50 / int(same.sum()))
        place = offset_copy(ax.transData, fig, x=step * ((beside + 1) // 2) * (-1) ** beside, units="points")
        low, high = row[f"{rate}_low"], row[f"{rate}_high"]
        ax.vlines(row[cost], low, high, color=colour, linewidth=2, alpha=0.65, transform=place)
        ax.plot(row[cost], row[f"{rate}_rate"], marker=marker, markersize=9, color=colour, markeredgecolor=look.page, linestyle="none",
                label=foreign(row["arm"], 40).replace("_", " "), transform=place)  # fmt: skip
    if len(costs):
        # What has a transform of its own is not autoscaled.
        ax.set_xlim(costs.min() - 0.12 * reach, costs.max() + 0.12 * reach)
    if dodged:
        # Only costs that there are: marks beside a tick would be read off a scale.
        ticks: list[float] = []
        for x in np.sort(costs):
            if not ticks or x - ticks[-1] > 0.08 * reach:
                ticks.append(x)
        ax.set_xticks(ticks, [f"{x:.3g}" for x in ticks])
    happened = "answered in text" if rate == "drift" else "that lost their voice"
    ax.set(ylim=(-0.04, 1.04), xlabel=COSTS.get(cost, cost), ylabel=f"first turns {happened}")
    handles, names = ax.get_legend_handles_labels()
    # An arm with several rows has several marks, and one entry.
    unique = dict(zip(names, handles, strict=True))
    n_columns = 1 + (len(unique) > 6)
    n_left_out = len(table) - len(shown_rows)
    remarks = f"; {n_left_out} without a number left out" if n_left_out else ""
    remarks += "; arms of the same cost stand side by side" if dodged else ""
    _finish(ax, look, table, -(-len(unique) // n_columns), title or "What a cure costs",
            f"Down and left is better; lines are {interval_words(table)}{remarks}",
            f"{int(shown_rows['first_turns'].sum()):,} first turns",
            ncols=n_columns, handles=list(unique.values()), labels=list(unique))  # fmt: skip
    return ax


def differences(
    compared: Frame, *, style: str = "light", ax: Axes | Figure | None = None, title: str | None = None
) -> Axes:
    """Each arm less the baseline, in percentage points of drift, with the unadjusted interval; filled where it is shown.

    Args:
        compared: From `tables.compare_df`.
        style, ax, title: See `kit.plots`.
    """
    columns = ("arm", "baseline", "difference", "low", "high", "shown", "pooled", "n", "baseline_n")
    need(compared, "compare_df", *columns)
    # A table of `compare_df` begins with its labels; `baseline` is the first column after them.
    names = list(compared.columns[: list(compared.columns).index("baseline")])
    several = [name for name in names if len(groups(compared, name)) > 1] or ["arm"]
    # A gap before each arm: its cases belong together.
    arm = compared["arm"].astype(str)
    starts = (arm != arm.shift()).to_numpy(copy=True)
    starts[:1] = False
    y = -(np.arange(len(compared)) + 0.6 * np.cumsum(starts))
    height_in = 2.5 + 0.42 * (len(compared) + 0.6 * starts.sum())
    look, ax = canvas(style, ax, height_in)
    ax.axvline(0, color=look.muted, linewidth=1)
    for at, (_, row) in zip(y, compared.iterrows(), strict=True):
        if row["difference"] != row["difference"]:  # NaN: one side has no answer
            ax.text(0, at, " nothing to compare", fontsize=SMALL, color=look.muted, va="center")
            continue
        # The pooled row is what to look at; the single cases are beside it.
        ax.hlines(at, row["low"], row["high"], color=look.ink, linewidth=2.6 if row["pooled"] else 1.6)
        ax.plot(row["difference"], at, marker="D" if row["pooled"] else "o", markersize=7, linestyle="none", markeredgecolor=look.ink,
                markerfacecolor=look.ink if row["shown"] else look.page)  # fmt: skip
    rows = [
        " · ".join(_called(name, row[name]) for name in sorted(several, key=lambda n: n != "arm"))
        for _, row in compared.iterrows()
    ]
    ax.set(xlim=(-1.05, 1.05), ylim=(y.min() - 0.6, 0.9) if len(y) else (0, 1))
    names_above(ax, y + 0.12, rows)
    grid(ax, look, "x")
    ax.xaxis.set_major_formatter(lambda gap, _: f"{100 * gap:+.0f}".replace("-", "−") if round(100 * gap) else "0")
    base = ", ".join(_called("arm", word) for word in groups(compared, "baseline"))
    arms = groups(compared, "arm")
    subject = f"“{_called('arm', arms[0])}”" if len(arms) == 1 else "Each arm"
    ax.set_xlabel(f"difference from “{base}”, in percentage points (left is better)", fontsize=BODY)
    # The pooled row counts the same turns once more.
    total = int(compared["n"][~compared["pooled"].astype(bool)].sum())
    marks = "filled: shown after Holm's correction; diamonds: all cases pooled"
    words(ax, look, compared, title=title or f"{subject} against “{base}”",
          subtitle=f"{interval_words(compared).capitalize()}, unadjusted; {marks}",
          n=f"{total:,} first turns of arms, each case beside its own baseline")  # fmt: skip
    return ax


def _called(name: str, word: object) -> str:
    text = foreign(word, 40).replace("_", " ")
    return f"case {text}" if name == "case" and text != "all cases" else text
