"""What the replies came as: every trial as a strip, and shares per arm and case with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import show
from ..errors import InputError, clipped
from .style import (
    BODY,
    HATCHES,
    SMALL,
    Style,
    canvas,
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

# The strip: every trial of a ledger in one picture, turn by turn.


SHADES = ("text", "silent", "late", "mixed", "function", "empty", "audio", "failed", "not run")
"""What a turn may have come to, in the order in which trials are sorted by a turn, from the left; what was not run is left hollow."""
LEAST = 1.2  # turns: the least height of a band
_MOST_LABELLED = 8  # turns: of more, the first and the last have their number
LOST = {"silent": "#000000", "late": "#56B4E9"}
"""Colours of the two ways to lose the voice that are no modality."""
LOST_SIGNS = {"silent": "…", "late": "◷"}
_FEW = 6_000  # cells up to which each is drawn as a shape of its own; beyond, a page would be too heavy


def strip(
    turns: Frame,
    *,
    by: tuple[str, ...] | None = None,
    style: str = "light",
    ax: Axes | Figure | None = None,
    title: str | None = None,
    link: str = "",
) -> Axes:
    """Every trial as a narrow strip, its turns from top to bottom, coloured by what the user heard.

    A band per case and arm, its trials sorted by their turns: where colour changes in the top row is the share of trials that
    drifted at once; how it runs down is whether it stuck. Trials that failed or were never run keep their place, hollow.

    Args:
        turns: From `tables.turns_df`: a row per planned turn of each trial.
        by: Columns that make a band; ``case`` and ``arm``, and the model where there are several, unless told.
        style, ax, title: See `kit.plots`.
        link: In an SVG each strip leads to this, with its trial's id at the end: ``"#trial-"`` for anchors of the page.
    """
    from matplotlib.patches import Patch

    # Without `outcome` it still draws: ledgers of before it have no silent and late.
    need(turns, "turns_df", "trial_id", "turn", "modality", "state")
    several = [name for name in ("endpoint", "model") if len(groups(turns, name)) > 1]
    bands = _bands(turns, by or tuple(name for name in ("case", *several, "arm") if name in turns))
    # Above each band a line of words, and more room where another case begins.
    gaps = [2.4 if band.first != before.first else 1.7 for before, band in pairwise(bands)]
    look, ax = canvas(style, ax, 3.1 + 0.17 * (sum(band.height for band in bands) + sum(gaps)))
    # Down from 0, in turns; each band begins under the words of the one before.
    top = 0.0
    shades: set[str] = set()
    for at, (band, gap) in enumerate(zip(bands, [0.0, *gaps], strict=False)):
        top -= gap
        for x, text, side in ((0.0, band.name, "left"), (1.0, band.share, "right")):
            ax.text(x, top + 0.25, text, ha=side, va="bottom", fontsize=SMALL, color=look.ink)
        shades |= _draw(ax, look, band, top, at, link)
        top -= band.height
    ax.set(xlim=(0, 1), ylim=(top - 0.2, 1.6), yticks=[])
    ax.tick_params(axis="y", length=0)
    ax.spines[["left", "bottom"]].set_visible(False)
    percent_axis(ax.xaxis)
    ax.set_xlabel("share of trials, sorted by what came first", fontsize=BODY)
    handles = []
    for word in sorted(shades, key=SHADES.index):
        label = f"{show.SIGNS.get(word) or LOST_SIGNS.get(word, '')} {word}".strip()
        handles.append(Patch(facecolor=_colour(word, look), edgecolor=look.page, hatch=_hatch(word, look), label=label))
    legend_below(ax, look, ncols=4, handles=handles, handlelength=1.1, columnspacing=1.2, labelspacing=0.3)
    # Cases differ in turns; the subtitle speaks of the longest.
    most = max((len(band.cells) for band in bands), default=0)
    how = f", its {most} turns from top to bottom" if most > 1 else ""
    n = f"{sum(len(band.trial_ids) for band in bands):,} trials, {sum(band.cells.size for band in bands):,} turns"
    words(ax, look, turns, title=title or "Trial by trial, turn by turn", subtitle=f"Each narrow strip is one session{how}",
          n=n, below=64 + 16 * (len(shades) > 4))  # fmt: skip
    return ax


@dataclass(frozen=True, slots=True)
class Band:
    """The trials of one group: `cells` has a shade per turn and trial, shape ``(n_turns, n_trials)``, sorted like `trial_ids`."""

    # What the band is called; its first label, where a change widens the gap; its share of text, in words.
    name: str
    first: str
    cells: Any
    share: str
    trial_ids: list[str]

    @property
    def height(self) -> float:
        """A turn is 1, and no band is too thin to see."""
        return max(LEAST, float(len(self.cells)))


def _bands(turns: Frame, by: tuple[str, ...]) -> list[Band]:
    need(turns, "turns_df", *by)
    several = [name for name in by if len(groups(turns, name)) > 1] or list(by[:1])
    names_of = {name: labels(turns, name) for name in several}
    text, late = SHADES.index("text"), SHADES.index("late")  # with silent between them: the ways to lose the voice
    word_of = turns["modality"].astype(object).where(turns["modality"].notna(), "")
    if "outcome" in turns:  # silent and late are ways to lose the voice, whatever came late
        outcome = turns["outcome"].astype(object)
        word_of = word_of.where(~outcome.isin(["silent", "late"]), outcome)
    codes = word_of.map({word: at for at, word in enumerate(SHADES)}).to_numpy(float)
    # A turn without a modality: the trial was tried and failed, or nobody came to it.
    missing = np.where(turns["state"].astype(str) != "missing", SHADES.index("failed"), SHADES.index("not run"))
    turns = turns.assign(shade=np.where(np.isnan(codes), missing, codes).astype(int))
    # Of GPT-Live, which has no text, the share is of silence.
    word = "lost" if text < min(turns["shade"], default=text) <= late else "text"
    out = []
    for key, rows in turns.groupby(list(by), observed=True, sort=True, dropna=False) if by else [((), turns)]:
        # Several ledgers in one frame may use the same id for different trials.
        ids_of = [name for name in ("plan", "trial_id") if name in rows]
        trial = rows.groupby(ids_of, observed=True, sort=False).ngroup().to_numpy()
        turn = rows["turn"].to_numpy(int)
        # Whatever has no row counts as not run.
        cells = np.full((turn.max() + 1, trial.max() + 1), SHADES.index("not run"))
        cells[turn, trial] = rows["shade"]
        ids = np.array([""] * cells.shape[1], object)
        ids[trial] = rows["trial_id"].astype(str)
        # By the first turn, then the second, …: where the top row changes colour is a share that can be read off the axis.
        order = np.lexsort(cells[::-1])
        cells, ids = cells[:, order], ids[order]
        k = int((cells[0] <= (late if word == "lost" else text)).sum())
        # Failed and not run are last in `SHADES`; what is before them is an answer.
        n = int((cells[0] < SHADES.index("failed")).sum())
        share = f"{100 * k / n:.0f} % {word}  ({k} of {n})" if n else "no answer"
        label = dict(zip(by, key, strict=True))
        name = " · ".join(names_of[name].get(str(label[name]), "–") for name in several) or "all"
        out.append(Band(name, str(key[0]) if key else "", cells, share, list(ids)))
    return out


def _draw(ax: Axes, look: Style, band: Band, top: float, at: int, link: str) -> set[str]:
    """A band: cells that run into each other downwards, and a hair of the page between trials, so that each is a strip."""
    from matplotlib.collections import PolyCollection

    n_turns, n_trials = band.cells.shape
    tall = band.height / n_turns
    x, y = np.linspace(0, 1, n_trials + 1), top - tall * np.arange(n_turns + 1)
    many = band.cells.size > _FEW
    # Turns of one trial that share a shade are one run, or seams would show between them. True at each edge between two
    # shades, and at both ends of every trial.
    changes = np.ones((n_turns + 1, n_trials), bool)
    changes[1:-1] = band.cells[1:] != band.cells[:-1]
    trial, edge = np.nonzero(changes.T)
    # Two edges of one trial, one after the other, enclose a run.
    same = trial[1:] == trial[:-1]
    trial, first, end = trial[:-1][same], edge[:-1][same], edge[1:][same]
    shade_of = band.cells[first, trial]
    shades = {SHADES[shade] for shade in np.unique(shade_of)}
    for word in sorted(shades, key=SHADES.index):
        chosen = shade_of == SHADES.index(word)
        x0, x1, y0, y1 = x[trial[chosen]], x[trial[chosen] + 1], y[first[chosen]], y[end[chosen]]
        boxes = np.stack([x0, y0, x1, y0, x1, y1, x0, y1], axis=1).reshape(-1, 4, 2)
        # One shape of many boxes per shade: a page with thousands of rectangles of their own would crawl.
        cells = PolyCollection(
            list(boxes), facecolor=_colour(word, look), linewidth=0, gid=f"strip-{word}-{at}", rasterized=many
        )
        cells.set(edgecolor=look.page, hatch=_hatch(word, look) or None)  # the edge's colour is the pattern's
        # A shape that is drawn as pixels has no parts to click on.
        if link and not many:
            cells.set_urls([f"{link}{band.trial_ids[n]}" for n in trial[chosen]])
        ax.add_collection(cells)
    if n_trials > 1:
        ax.vlines(x[1:-1], top, y[-1], color=look.page, linewidth=min(1.6, 90 / n_trials), zorder=3, rasterized=many,
                  gid=f"seam-{at}")  # fmt: skip
    if n_turns > 1:  # a hair between turns too, or two that came to the same look like one
        ax.hlines(y[1:-1], 0, 1, color=look.page, linewidth=0.7, zorder=3, gid=f"seam-turns-{at}")
        for turn in range(n_turns) if n_turns <= _MOST_LABELLED else (0, n_turns - 1):
            middle = y[turn] - tall / 2
            ax.text(-0.008, middle, str(turn + 1), ha="right", va="center", fontsize=SMALL, color=look.muted)
    return shades


def _colour(word: str, look: Style) -> str:
    return look.ink if word == "silent" else LOST.get(word) or show.COLOURS.get(word, look.grid)


def _hatch(word: str, look: Style) -> str:
    """What failed is hatched in every style: its red is near the colour of text for some eyes."""
    return HATCHES.get(word, "") if look.hatched else "////" if word in ("failed", "late") else ""


# Shares: a bar per row of a table.

LIFT = 0.28  # rows: from the middle of a bar to the words above it
ORDER = ("text", "mixed", "function", "empty", "audio")
"""From the left: what was drifted first, so that its share can be read off the axis."""


def modality(
    table: Frame,
    *,
    turns: str = "first",
    outcome: str = "text",
    truth: Sequence[float] | None = None,
    style: str = "light",
    ax: Axes | Figure | None = None,
    title: str | None = None,
) -> Axes:
    """What the replies came as: a bar per row of `tables.modality_df`, with the interval of the share that is counted.

    Args:
        table: From `tables.modality_df`.
        turns: ``"first"``: the reply to the seeded history, Wilson's interval. ``"all"``: every turn, pooled, with an
            interval that knows which turns share a trial.
        outcome: What is counted and has the interval: ``"text"``, or ``"lost_voice"`` (text, silent or late; of first turns), which
            is the one to show of GPT-Live.
        truth: The share of text that a stand-in was told, for each row: a diamond on its bar.
        style, ax, title: See `kit.plots`.

    Raises:
        InputError: For lost voices of all turns, which no table counts.
    """
    first = turns != "all"
    if outcome not in ("text", "lost_voice") or (outcome == "lost_voice" and not first):
        raise InputError(f"{clipped(outcome)} of {turns} turns cannot be drawn; take text, or lost_voice of the first")
    prefix, total, rate = ("", "first_turns", "drift") if first else ("turns_", "turns", "turn_drift")
    count = prefix + "text"
    if outcome == "lost_voice":
        rate = count = "lost_voice"
    columns = [*(prefix + word for word in ORDER), total, count, *(f"{rate}_{end}" for end in ("rate", "low", "high"))]
    need(table, "modality_df", *columns)
    if len(table) and table[count].isna().all():
        raise InputError("this table counts no lost voices: what it is made of has no outcomes; take outcome='text'")
    names, gaps = _labels(table)
    # Rows go down from 0; a row that begins another case stands a third of a row apart.
    y = -(np.arange(len(table)) + 0.35 * np.cumsum(gaps))
    look, ax = canvas(style, ax, 2.7 + 0.5 * (len(table) + 0.35 * sum(gaps)))
    n = table[total].to_numpy(float)
    starts = np.zeros(len(table))
    # Audio and text are in every legend, so that pictures can be compared; the others where they occur.
    words_shown = [word for word in ORDER if word in ("audio", "text") or table[prefix + word].sum()]
    for word in words_shown:
        # A row without answers is an empty bar, and no division by zero.
        share = np.divide(table[prefix + word].to_numpy(float), n, out=np.zeros(len(table)), where=n > 0)
        hatch = HATCHES[word] if look.hatched else ""
        ax.barh(y, share, 0.5, starts, color=show.COLOURS[word], edgecolor=look.page, linewidth=0.8, hatch=hatch,
                label=f"{show.SIGNS[word]} {word}")  # fmt: skip
        starts += share
    low, high = table[f"{rate}_low"].to_numpy(float), table[f"{rate}_high"].to_numpy(float)
    # A line of the page's colour under that of the ink: it is seen on both colours of the bar.
    ax.hlines(y, low, high, color=look.page, linewidth=4.2, zorder=4)
    ax.hlines(y, low, high, color=look.ink, linewidth=1.7, zorder=5, gid="interval")
    ends = np.concatenate([low, high])
    ax.plot(ends, np.concatenate([y, y]), "|", color=look.ink, markersize=6, markeredgewidth=1.4, zorder=5)
    if truth is not None:
        ax.plot(truth, y, "D", color=look.page, markeredgecolor=look.ink, markersize=7, zorder=6, label="the truth")
    for at, (_, row), is_known in zip(y, table.iterrows(), table[count].notna(), strict=True):
        counts = _counts(row, count, total, rate) if is_known else "not counted"
        ax.text(1, at + LIFT, counts, ha="right", va="bottom", fontsize=SMALL, color=look.ink)
    ax.set(xlim=(0, 1), ylim=(y.min() - 0.5, y.max() + 1.05) if len(y) else (0, 1))
    names_above(ax, y + LIFT, names)
    percent_axis(ax.xaxis)
    ax.set_xlabel(f"share of {'first' if first else 'all'} turns that were answered", fontsize=BODY)
    legend_below(ax, look, ncols=len(words_shown) + (truth is not None), handlelength=1.1, columnspacing=1.2)
    n_words = f"{int(np.nansum(n)):,} {'first turns' if first else 'turns'}"
    sub = "First turns" if first else "Every turn of every trial, pooled"
    share = "the text share's interval" if outcome == "text" else "the interval of lost voice: text, silent or late"
    diamond = ""
    if first and outcome == "text" and "lost_voice" in table:
        # Where it is known and more than text.
        is_marked = (table["lost_voice"].fillna(0) > table["text"]).to_numpy(bool)
        if is_marked.any():
            diamond = "; the diamond is lost voice: text, silent or late"
            rates = table["lost_voice_rate"].to_numpy(float)[is_marked]
            ax.plot(rates, y[is_marked], "D", color=look.ink, markerfacecolor=look.page, markersize=6, zorder=6,
                    gid="lost-voice")  # fmt: skip
    question = "Spoken or written?" if outcome == "text" else "Spoken, or the voice lost?"
    sub += f"; the line is {share} ({interval_words(table).removesuffix(' intervals')}){diamond}"
    words(ax, look, table, title=title or question, subtitle=sub, n=n_words, below=64)
    return ax


def _labels(table: Frame) -> tuple[list[str], list[bool]]:
    """A row's words, and whether a gap goes before it: where its first label changes."""
    # A table of `modality_df` begins with its labels; the first of its numbers is `simulated`.
    names = list(table.columns[: list(table.columns).index("simulated")]) if "simulated" in table else []
    rows = [[str(table[name].iloc[at]) for name in names] for at in range(len(table))]
    names_of = {name: labels(table, name) for name in names}
    called = [
        " · ".join(names_of[name].get(word, "–") for name, word in zip(names, row, strict=True)) or "all"
        for row in rows
    ]
    gaps = [at > 0 and len(names) > 1 and rows[at][0] != rows[at - 1][0] for at in range(len(rows))]
    return called, gaps


def _counts(row: Any, text: str, total: str, rate: str) -> str:
    n = int(row[total])
    planned = row.get("planned")  # <NA> where the table is of a frame of responses, which does not know it
    # NaN differs from itself.
    is_known = isinstance(planned, int | float | np.number) and planned == planned
    of = f"; {int(planned)} planned" if is_known and total == "first_turns" and int(planned) != n else ""
    return f"{100 * row[f'{rate}_rate']:.0f} %  ({int(row[text])} of {n}{of})" if n else f"no answer{of}"
