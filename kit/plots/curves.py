"""Lines: drift against the length of the history, time to first audio, time until drift."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from . import style as look_up
from .style import ARM_COLOURS, ARM_MARKERS, BODY, SMALL, Style, labels, need, percent_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..tables.columns import Frame


def drift_by_length(
    table: Frame, *, by: str = "arm", style: str = "light", ax: Axes | Figure | None = None, title: str | None = None
) -> Axes:
    """Drift of the first turn against the number of items in the history, with Wilson intervals: a line per arm.

    Args:
        table: From `tables.modality_df(…, by=["case", "arm"])`, with a case per length.
        by: The column that makes a line.
        style, ax, title: See `kit.plots`.
    """
    need(table, "modality_df", "history_items", "drift_rate", "drift_low", "drift_high", "first_turns", by)
    look = look_up.style(style)
    ax = look_up.axes(ax, look, 7.6, 4.6)
    lines = list(_lines(table, by))
    for n, (name, some, colour, marker) in enumerate(lines):
        some = some[some["first_turns"] > 0].sort_values("history_items")
        nudge = 0.12 * (n - (len(lines) - 1) / 2)  # intervals at one length stand side by side
        x, rate = some["history_items"].to_numpy(float) + nudge, some["drift_rate"].to_numpy(float)
        ax.vlines(x, some["drift_low"], some["drift_high"], color=colour, linewidth=1.6, alpha=0.65)
        ax.plot(
            x, rate, color=colour, marker=marker, markersize=6.5, markeredgecolor=look.page, linewidth=1.8, label=name
        )
    ax.set(ylim=(-0.03, 1.03), xlabel="items in the history", ylabel="first turns answered in text")
    _whole(ax)
    ax.grid(axis="y", color=look.grid, linewidth=0.8)
    ax.set_axisbelow(True)
    percent_axis(ax.yaxis)
    _name(ax, look, len(lines))
    n_all = int(table["first_turns"].sum())
    look_up.words(ax, look, table, title=title or "Does a longer history drift more?", subtitle="Lines are 95 % Wilson intervals",
                  n=f"{n_all:,} first turns")  # fmt: skip
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
    need(turns, "turns_df", "turn", "modality", "heard_ms", by)
    look = look_up.style(style)
    ax = look_up.axes(ax, look, 7.6, 4.6)
    first = turns[(turns["turn"] == 0) & turns["modality"].notna()]
    longest = float(first["heard_ms"].max()) if first["heard_ms"].notna().any() else 1.0
    lines = list(_lines(first, by))
    for name, some, colour, _ in lines:
        heard = np.sort(some["heard_ms"].dropna().to_numpy(float))
        share = np.arange(1, len(heard) + 1) / len(some)
        x = np.concatenate(([0.0], heard, [longest * 1.05]))
        y = np.concatenate(([0.0], share, share[-1:] if len(share) else [0.0]))
        never = len(some) - len(heard)
        told = f"{name}  ({never} of {len(some)} never)" if never else f"{name}  (all {len(some)})"
        ax.step(x, y, where="post", color=colour, linewidth=2, label=told)
    ax.set(
        xlim=(0, longest * 1.05),
        ylim=(0, 1.03),
        xlabel="from asking until audio came (ms)",
        ylabel="first turns heard by then",
    )
    ax.grid(color=look.grid, linewidth=0.8)
    ax.set_axisbelow(True)
    percent_axis(ax.yaxis)
    _name(ax, look, len(lines))
    look_up.words(ax, look, first, title=title or "How long until there is a voice?",
                  subtitle="All responses that a turn took are counted in; where a line stops short of 100 %, no voice came",
                  n=f"{len(first):,} answered first turns")  # fmt: skip
    return ax


def until_drift(
    curve: Frame, *, by: str = "arm", style: str = "light", ax: Axes | Figure | None = None, title: str | None = None
) -> Axes:
    """The share of trials that have not drifted yet, after each reply (Kaplan-Meier), with pointwise 95 % bands.

    Args:
        curve: From `tables.until_drift_df`.
        by: The column that makes a line.
        style, ax, title: See `kit.plots`.
    """
    need(curve, "until_drift_df", "after_turns", "not_drifted", "low", "high", "trials", by)
    look = look_up.style(style)
    ax = look_up.axes(ax, look, 7.6, 4.6)
    lines = list(_lines(curve, by))
    total = 0
    for at, (name, some, colour, marker) in enumerate(lines):
        some = some.sort_values("after_turns")
        wide = min(2 + 1.5 * (len(lines) - 1 - at), 8)  # a line under another one shows at its sides
        x, n = some["after_turns"].to_numpy(float), int(some["trials"].iloc[0])
        total += n
        ax.fill_between(
            x,
            some["low"].to_numpy(float),
            some["high"].to_numpy(float),
            step="post",
            color=colour,
            alpha=0.16,
            linewidth=0,
        )
        ax.step(
            x,
            some["not_drifted"],
            where="post",
            color=colour,
            linewidth=wide,
            solid_capstyle="butt",
            marker=marker,
            markersize=4 + wide,
            markeredgecolor=look.page,
            markeredgewidth=0.6,
            label=f"{name}  ({n} trials)",
        )
    ax.set(ylim=(0, 1.03), xlim=(0, None), xlabel="replies so far", ylabel="trials not drifted yet")
    _whole(ax)
    ax.grid(axis="y", color=look.grid, linewidth=0.8)
    ax.set_axisbelow(True)
    percent_axis(ax.yaxis)
    _name(ax, look, len(lines))
    look_up.words(ax, look, curve, title=title or "How long does the voice last?",
                  subtitle="Kaplan-Meier; a trial that ended early counts up to its last answer", n=f"{total:,} trials")  # fmt: skip
    return ax


def _lines(df: Frame, by: str) -> Iterator[tuple[str, Frame, str, str]]:
    """Name, rows, colour and marker of each line, in the order of the plan."""
    for n, (word, name) in enumerate(labels(df, by).items()):
        yield name, df[df[by].astype(str) == word], ARM_COLOURS[n % len(ARM_COLOURS)], ARM_MARKERS[n % len(ARM_MARKERS)]


def _whole(ax: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))


def _name(ax: Axes, look: Style, n: int) -> None:
    """Say which line is which, to the right of the picture."""
    if n == 0:
        return
    legend: Any = ax.legend(
        loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=SMALL + 0.5, labelcolor=look.ink
    )
    legend.set_zorder(5)
    ax.xaxis.label.set_fontsize(BODY)
    ax.yaxis.label.set_fontsize(BODY)
