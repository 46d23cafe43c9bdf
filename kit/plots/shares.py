"""Modality share per arm and case, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import show
from . import style as look_up
from .style import BODY, HATCHES, SMALL, labels, need, percent_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..tables.columns import Frame

ORDER = ("text", "mixed", "function", "empty", "audio")
"""From the left: what was drifted first, so that its share can be read off the axis."""


def modality(
    table: Frame,
    *,
    turns: str = "first",
    style: str = "light",
    ax: Axes | Figure | None = None,
    title: str | None = None,
) -> Axes:
    """What the replies came as: a bar per row of `tables.modality_df`, its text share with an interval.

    Args:
        table: From `tables.modality_df`.
        turns: ``"first"``: the reply to the seeded history, Wilson's interval. ``"all"``: every turn, pooled, with an
            interval that knows which turns share a trial.
        style, ax, title: See `kit.plots`.
    """
    first = turns != "all"
    prefix, total, rate = ("", "first_turns", "drift") if first else ("turns_", "turns", "turn_drift")
    need(
        table,
        "modality_df",
        *(prefix + word for word in ORDER),
        total,
        *(f"{rate}_{end}" for end in ("rate", "low", "high")),
    )
    look = look_up.style(style)
    names, gaps = _labels(table)
    y = -(np.arange(len(table)) + 0.55 * np.cumsum(gaps))
    ax = look_up.axes(ax, look, 8.6, 1.9 + 0.36 * (len(table) + 0.55 * sum(gaps)))
    n = table[total].to_numpy(float)
    left = np.zeros(len(table))
    shown = [word for word in ORDER if word in ("audio", "text") or table[prefix + word].sum()]
    for word in shown:
        share = np.divide(table[prefix + word].to_numpy(float), n, out=np.zeros(len(table)), where=n > 0)
        hatch = HATCHES[word] if look.hatched else ""
        ax.barh(y, share, 0.7, left, color=show.COLOURS[word], edgecolor=look.page, linewidth=0.8, hatch=hatch,
                label=f"{show.SIGNS[word]} {word}")  # fmt: skip
        left += share
    _intervals(ax, look, table, y, rate)
    for at, (_, row) in zip(y, table.iterrows(), strict=True):
        ax.annotate(_counts(row, prefix + "text", total, rate), (1, at), (8, 0), ("axes fraction", "data"), "offset points",
                    va="center", fontsize=SMALL, color=look.ink, annotation_clip=False)  # fmt: skip
    ax.set(xlim=(0, 1), ylim=(y.min() - 0.6, y.max() + 0.6) if len(y) else (0, 1), yticks=y, yticklabels=names)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    percent_axis(ax.xaxis)
    ax.set_xlabel(f"share of {'first' if first else 'all'} turns that were answered", fontsize=BODY)
    ax.legend(*_legend(ax), loc="upper left", bbox_to_anchor=(0, 0), bbox_transform=under(ax, 34), ncols=len(shown),
              frameon=False, fontsize=SMALL, labelcolor=look.ink, handlelength=1.1, borderaxespad=0, borderpad=0)  # fmt: skip
    who = f"{int(np.nansum(n)):,} {'first turns' if first else 'turns'}"
    sub = "The reply to the seeded history" if first else "Every turn of every trial, pooled"
    look_up.words(ax, look, table, title=title or "Spoken or written?", subtitle=f"{sub}; the line is the text share's 95 % interval",
                  n=who, below=52)  # fmt: skip
    return ax


def _labels(table: Frame) -> tuple[list[str], list[bool]]:
    """A row's words, and whether a gap goes before it: where its first label changes."""
    names = list(table.columns[: list(table.columns).index("simulated")]) if "simulated" in table else []
    rows = [[str(table[name].iloc[at]) for name in names] for at in range(len(table))]
    called = {name: labels(table, name) for name in names}
    told = [
        " · ".join(called[name].get(word, "–") for name, word in zip(names, row, strict=True)) or "all" for row in rows
    ]
    gaps = [at > 0 and len(names) > 1 and rows[at][0] != rows[at - 1][0] for at in range(len(rows))]
    return told, gaps


def _intervals(ax: Axes, look: look_up.Style, table: Frame, y: Any, rate: str) -> None:
    low, high = table[f"{rate}_low"].to_numpy(float), table[f"{rate}_high"].to_numpy(float)
    for width, colour in ((4.2, look.page), (1.7, look.ink)):
        ax.hlines(
            y,
            low,
            high,
            color=colour,
            linewidth=width,
            zorder=4 if width > 2 else 5,
            gid="interval" if width < 2 else None,
        )
    ends = np.concatenate([low, high])
    ax.plot(ends, np.concatenate([y, y]), "|", color=look.ink, markersize=6, markeredgewidth=1.4, zorder=5)


def _counts(row: Any, text: str, total: str, rate: str) -> str:
    n = int(row[total])
    planned = row.get("planned")  # <NA> where the table is of a frame of responses, which does not know it
    known = isinstance(planned, int | float | np.number) and planned == planned
    of = f"; {int(planned)} planned" if known and total == "first_turns" and int(planned) != n else ""
    return f"{100 * row[f'{rate}_rate']:.0f} %  ({int(row[text])} of {n}{of})" if n else f"no answer{of}"


def _legend(ax: Axes) -> tuple[list[Any], list[str]]:
    handles, labels = ax.get_legend_handles_labels()
    return handles, labels


def under(ax: Axes, points: float) -> Any:
    """Axes coordinates, moved down by so many points."""
    from matplotlib.transforms import ScaledTranslation

    return ax.transAxes + ScaledTranslation(0, -points / 72, ax.get_figure().dpi_scale_trans)  # type: ignore[union-attr]
