"""What all plots share: three styles, one frame of words round each picture, and where the picture says it comes from."""

from __future__ import annotations

import base64
import io
import re
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .. import show
from ..errors import InputError, clipped
from ..stats.intervals import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame as Frame


@dataclass(frozen=True, slots=True)
class Style:
    """Colours of everything but the data; the data's are `kit.show.COLOURS` in every style."""

    name: str
    # Behind everything; the words; axes and small print; the lines behind the data.
    page: str
    ink: str
    muted: str
    grid: str
    hatched: bool = False
    """Whether a modality also has a pattern: for paper without colour."""


STYLES = {
    "light": Style("light", "#ffffff", "#1b1f24", "#5c6670", "#dfe3e8"),
    "dark": Style("dark", "#14181d", "#e9ebee", "#a3adb8", "#333b44"),
    "print": Style("print", "#fffffe", "#000000", "#404040", "#cccccc", hatched=True),
}
HATCHES = {
    "audio": "", "text": "////", "mixed": "xxx", "function": "..", "empty": "--", "failed": "++", "silent": "..", "late": r"\\\\",
}  # fmt: skip

# For arms: Okabe and Ito's hues that no modality has taken first, then those that some have, each with a marker of its own,
# so that colour is never alone.
ARM_COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#7F7F7F", "#0072B2", "#D55E00")
ARM_MARKERS = "osD^vPXd<>hp"
# Points. A figure is at most `WIDTH` inches wide, so that at 480 px the smallest text is still some 10 px high.
SMALL, BODY, TITLE = 11.3, 11.3, 13.5
WIDTH = 7.1


def blank(height_in: float = 3.0) -> Axes:
    """Axes in the kit's light style, for your own picture: draw on them, and show it by ``Picture(ax)``."""
    look, ax = canvas("light", figure(), height_in)
    grid(ax, look)
    return ax


def figure() -> Figure:
    """An empty figure that is not pyplot's, so that no notebook shows it by itself: give it to a plot as ``ax``, for files and reports."""
    from matplotlib.figure import Figure

    return Figure(layout="constrained")


def canvas(name: str, ax: Any, height_in: float) -> tuple[Style, Axes]:
    """Return the style of that name, and the axes to draw on in it: the given ones, or new ones in a figure of that height.

    Args:
        ax: Axes, or an empty figure, which is given its size; ``None``: a new figure.
    """
    try:
        look = STYLES[name]
    except (KeyError, TypeError):
        raise InputError(f"no style is called {clipped(name)}; there are {', '.join(STYLES)}") from None
    if ax is None:  # a new figure of pyplot's, so that a plot at the end of a cell shows itself
        from matplotlib import pyplot

        ax = pyplot.figure(layout="constrained")
    # A figure. Axes of the caller's own keep the size that they have.
    if hasattr(ax, "set_size_inches"):
        ax.set_size_inches(WIDTH, height_in)
        ax = ax.subplots()
    for ground in (ax.get_figure(), ax):
        ground.set_facecolor(look.page)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set(color=look.muted, linewidth=0.8)
    ax.tick_params(colors=look.muted, labelcolor=look.ink, labelsize=SMALL, length=3, width=0.8)
    for text, colour in ((ax.title, look.ink), (ax.xaxis.label, look.muted), (ax.yaxis.label, look.muted)):
        text.set_color(colour)
    return look, ax


def words(ax: Axes, look: Style, df: Frame, *, title: str, subtitle: str, n: str, below: float = 40) -> None:
    """Title above, and below it n, the date, the endpoint; a mark wherever a model is not known to have answered.

    Args:
        df: The frame that was drawn: its columns ``simulated``, ``endpoint``, ``model`` and ``day`` are read.
        n: How many of what.
        below: How far under the axes the small print goes, in points.
    """
    # 70 characters of this size are the width of the picture.
    lines = textwrap.wrap(subtitle, 70)
    # The title goes up by the height of the subtitle, which stands between it and the axes.
    up = 14 + 13.5 * len(lines)
    ax.set_title(title, loc="left", fontsize=TITLE, fontweight="bold", color=look.ink, pad=up + 3)
    spans, endpoints, models = ([foreign(word) for word in groups(df, name)] for name in ("day", "endpoint", "model"))
    # A day, or "2026-11-02 to 2026-11-05" of a table's row.
    days = sorted({day for span in spans for day in span.split(" to ")})
    if not days and "started_at" in df:
        days = sorted({str(at)[:10] for at in df["started_at"].dropna()})
    date = " to ".join(dict.fromkeys((days[0], days[-1]))) if days else "date unknown"
    origin = " · ".join((date, ", ".join(endpoints) or "endpoint unknown", *models[:3]))
    small_print = [n, *textwrap.wrap(origin, 80)]
    mark = show.UNKNOWN_ORIGIN
    if "simulated" in df and len(df):
        # By its word: a table that was read from CSV has text in this column.
        flags = df["simulated"].astype("string")
        kinds = {flag == "True" for flag in flags.dropna()}
        marks = [show.SIMULATED] * (True in kinds) + [show.UNKNOWN_ORIGIN] * bool(flags.isna().any())
        mark = " and ".join(marks) + (", beside measured" if marks and False in kinds else "")

    def note(text: str, points: float, *, above: bool = True, indent: float = 0, **how: Any) -> None:
        """Write at the left edge of the axes, `points` from their upper or lower edge."""
        place = (0, float(above)), (indent, points), "axes fraction", "offset points"
        ax.annotate(text, *place, annotation_clip=False, **how)

    note("\n".join(lines), 12, fontsize=BODY, color=look.muted, va="bottom", linespacing=1.25)
    note("\n".join(small_print), -below, above=False, fontsize=SMALL, color=look.muted, va="top", linespacing=1.25)
    if mark:  # over the title: it goes wherever the picture goes
        box = {"boxstyle": "round,pad=0.35", "fc": look.page, "ec": look.ink, "ls": (0, (4, 2)), "lw": 0.9}
        note(mark, up + 25, indent=4, fontsize=SMALL, color=look.ink, va="bottom", bbox=box, gid="origin")


def need(df: Any, maker: str, *names: str) -> None:
    """Refuse a frame that lacks what is to be drawn; `maker` is the function of `kit.tables` that makes it."""
    if not hasattr(df, "columns"):
        raise InputError(f"a plot takes a DataFrame, here what tables.{maker} makes, not {clipped(df)}")
    for name in names:
        if name not in df:
            raise InputError(f"the frame has no column {clipped(name)}; this plot takes what tables.{maker} makes")


def groups(df: Frame, name: str) -> list[str]:
    """The different words of a column, in the order of its categories, else in which they come."""
    if name not in df:
        return []
    words = df[name].dropna().unique()
    # Categories are in the order of the plan, and keep words that a filter has left no rows of.
    present = set(words)
    return [str(word) for word in getattr(df[name].dtype, "categories", words) if word in present]


def foreign(word: object, limit: int = 60) -> str:
    """A name that somebody else chose, as text for a picture: `show.plain`, and dollar signs begin no formula.

    Matplotlib takes what stands between two of them for TeX, and raises where it is none.
    """
    return show.plain(word, limit).replace("$", r"\$")


def labels(df: Frame, name: str) -> dict[str, str]:
    """What each word of a column is called in a picture: `case 1b`, `as is`; of settings, what they differ in."""
    present = groups(df, name)
    parted = [word.split(" ") for word in present]
    # What all settings share says nothing in a legend.
    same = set(parted[0]).intersection(*parted) if name == "settings" and len(present) > 1 else set()
    called = {}
    for word, parts in zip(present, parted, strict=True):
        own_parts = [part for part in parts if part not in same]
        text = " ".join(own_parts)
        if name == "settings" and len({part.partition("=")[0] for part in own_parts}) == 1:
            text = text.replace("drift=", "")  # all that differs is the rule, whose name says what it is
        if name == "arm":
            text = text.replace("_", " ")
        called[word] = f"case {foreign(text, 40)}" if name == "case" else foreign(text)
    return called


def legend_below(ax: Axes, look: Style, *, ncols: int = 1, **options: Any) -> None:
    """Put the legend under the axes: at their side it would take half the picture."""
    from matplotlib.transforms import ScaledTranslation

    # Anchored 42 points under the axes, so that it stays clear of the labels whatever the picture's height.
    fig: Any = ax.get_figure()
    under = ax.transAxes + ScaledTranslation(0, -42 / 72, fig.dpi_scale_trans)
    ax.legend(loc="upper left", bbox_to_anchor=(0, 0), bbox_transform=under, ncols=ncols, frameon=False, fontsize=SMALL,
              labelcolor=look.ink, borderaxespad=0, borderpad=0, **options)  # fmt: skip


def names_above(ax: Axes, y: Any, names: Sequence[str]) -> None:
    """Write the name of each row over it, at its left end: beside it long names would take half the picture."""
    ax.set_yticks(y, names)
    ax.tick_params(axis="y", length=0, pad=0)
    ax.spines["left"].set_visible(False)
    for label in ax.get_yticklabels():
        label.set(ha="left", va="bottom")


def interval_words(df: Frame) -> str:
    """Name the intervals of a table with their level, as far as its rows agree on one: ``95 % intervals``."""
    levels = df["level"].dropna().unique() if "level" in df else ()
    return f"{percent(float(next(iter(levels))))} intervals" if len(levels) == 1 else "intervals"


def grid(ax: Axes, look: Style, axis: Literal["both", "x", "y"] = "y") -> None:
    """Draw light lines behind the data."""
    ax.grid(axis=axis, color=look.grid, linewidth=0.8)
    ax.set_axisbelow(True)


def percent_axis(axis: Any) -> None:
    """Ticks as percent of a rate from 0 to 1."""
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))


_NOTEBOOK = {
    "page": "var(--jp-layout-color0, var(--vscode-editor-background, Canvas))",
    "ink": "var(--jp-ui-font-color1, currentColor)",
    "muted": "var(--jp-ui-font-color2, currentColor)",
    "grid": "var(--jp-border-color2, #8888)",
}
"""What JupyterLab calls the colours of a style, and what stands in for them elsewhere (VS Code, an export)."""


def svg(ax: Axes, *, themed: bool | Literal["notebook"] = False, alt: str = "", prefix: str = "") -> str:
    """The figure of these axes as an ``<svg>`` element for a page, with nothing to fetch.

    Args:
        themed: Replace the light style's page, ink and line colours by the page's CSS variables ``--page``, ``--ink``,
            ``--muted`` and ``--grid``, so that one picture follows the reader's light or dark theme; ``"notebook"``: by
            JupyterLab's variables.
        alt: What it shows, for those who do not see it.
        prefix: Put before every id, so that several pictures can stand on one page.
    """
    import matplotlib

    out = io.StringIO()
    # The caller's own matplotlib settings stay as they are.
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "kit", "svg.id": None}):
        fig: Any = ax.get_figure()
        fig.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    # The same plot is the same text: no date, no creator, ids by a fixed salt. Words are paths, since a reader's fonts are not known.
    text = out.getvalue()
    # From `<svg` on: an XML head in the middle of a page is no HTML.
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text[text.index("<svg") :], flags=re.DOTALL)
    if themed:
        # Each colour of the light style is used for one thing only, so that it can be replaced in the finished text.
        variables = _NOTEBOOK if themed == "notebook" else {name: f"var(--{name})" for name in _NOTEBOOK}
        ink = variables["ink"]
        # Coloured words are mixed with the page's ink: read on white, and on black. A sample: `<g id="words"><g style="fill: #c24e00"`.
        text = re.sub(
            r'<g id="words">.*?(?=<g id=|$)',
            lambda words: re.sub(r"(#\w{6})(?=[;\"])", rf"color-mix(in srgb, \1 70%, {ink})", words[0]),
            text,
            flags=re.DOTALL,
        )
        for name, variable in variables.items():
            text = text.replace(getattr(STYLES["light"], name), variable)
    # Every id and what refers to it: `id="p1"`, `href="#p1"`, `url(#p1)`.
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}", text)
    # A click between two turns is a click on both.
    text = re.sub(r'(<g id="[^"]*seam-[^"]*")', r'\1 pointer-events="none"', text)
    text = re.sub(r'(<a [^>]*href="#[^>]*) target="_blank"', r"\1", text)  # a link within the page stays in the page
    return text.replace("<svg ", f'<svg role="img" aria-label="{show.esc(alt)}" ', 1)


def sized(picture: str) -> str:
    """An ``<svg>`` as wide as its place: on a phone it scrolls, since its words could not be read any smaller."""
    return picture.replace("<svg ", '<svg style="max-width:100%;min-width:480px;height:auto" ', 1)


class Picture:
    """A plot for a notebook: sharp, in the colours of the reader's theme, with its words for those who do not see it, and with the
    picture and the table behind it one click away.

    Args:
        ax: Of any plot, drawn in the style ``"light"``.
        df: The table that was drawn.
        alt: What it shows; by default what is written on it.
    """

    def __init__(self, ax: Axes, df: Frame | None = None, alt: str = "") -> None:
        self.ax, self.df = ax, df
        self.alt = alt or alt_text(ax)
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is not None:  # or Jupyter would show every open figure a second time, as a white image
            pyplot.close(ax.get_figure())

    def __repr__(self) -> str:
        return f"<Picture {self.alt}>"

    def _repr_html_(self) -> str:
        # 200 dots an inch: sharp on a screen with two pixels to the point.
        png = io.BytesIO()
        self.ax.get_figure().savefig(png, format="png", dpi=200, bbox_inches="tight")  # type: ignore[union-attr]
        files = [("picture.png", "image/png", png.getvalue())]
        if self.df is not None:
            files.append(("table.csv", "text/csv", show.csv_of(self.df).encode()))
        links = " · ".join(
            f'<a download="{name}" href="data:{kind};base64,{base64.b64encode(data).decode()}">{name.rpartition(".")[2].upper()}</a>'
            for name, kind, data in files
        )
        picture = svg(self.ax, themed="notebook", alt=self.alt, prefix=f"p{id(self):x}-")
        return f'<figure style="margin:0;overflow-x:auto">{sized(picture)}<figcaption style="font-size:85%">{links}</figcaption></figure>'


def alt_text(ax: Axes) -> str:
    """Return what is written on a picture, in one line: its title, what is under it and what was counted."""
    # The mark of a stand-in follows the title: the text may be cut at its end.
    texts = [text.get_text() for text in sorted(ax.texts, key=lambda text: text.get_gid() != "origin")]
    labels = [label.get_text() for label in ax.get_yticklabels() if any(char.isalpha() for char in label.get_text())]
    parts = [ax.get_title(loc="left"), *texts, *labels]
    return show.one_line(". ".join(part.replace("\n", " ").replace("\\$", "$") for part in parts if part), 600)
