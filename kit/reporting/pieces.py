"""What the pages share: the tables of one ledger (`Material`), a table of a page (`Grid`), words and links, and `render`.

Text is escaped by the template; only `Markup` is HTML already.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .. import plots, show, tables
from ..errors import InputError, KitError, LedgerError, clipped
from ..stats.intervals import Interval, percent
from ..tables.modality import points
from ..trials.ledger import Ledger
from ..version import __version__

if TYPE_CHECKING:
    from pandas import DataFrame as Frame

_HERE = Path(__file__).parent
MAX_DOWNLOAD_BYTES = 8_000_000  # of CSV inside the page; a larger table stays in the ledger


@contextlib.contextmanager
def written_by_a_run(ledger: Ledger) -> Iterator[None]:
    """Turn what a damaged or forged ledger makes Python raise into a sentence; the cause is chained.

    Raises:
        LedgerError: In the place of the usual errors of wrong types and values.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, MemoryError) as exc:
        if isinstance(exc, KitError):
            raise
        raise LedgerError(
            f"{ledger.path} holds something that no run writes ({type(exc).__name__}: {clipped(str(exc))}); it is damaged, or was "
            "changed by hand"
        ) from exc


class Material:
    """The tables of one ledger, made once and shared by the sections."""

    def __init__(self, ledger: Ledger, baseline: str | None = None, level: float | None = None) -> None:
        self.ledger = ledger
        self.plan: dict[str, Any] = ledger.plan
        # What the plan froze of its analysis; None in ledgers of plans that froze the trials alone.
        self.analysis: dict[str, Any] | None = self.plan.get("analysis")
        # What was frozen with the trials comes before the kit's defaults, and after what the reader names.
        frozen = self.analysis or {}
        self.baseline: str = baseline or frozen.get("baseline") or "as_is"  # the arm that the others are compared with
        self.level: float = level or frozen.get("level") or 0.95  # of every interval on the page
        self.alpha: float = frozen.get("alpha") or 0.05  # at which the family of comparisons is held
        self.trials = tables.trials_df(ledger)  # measured trials; controls are in `controls`
        self.turns = tables.turns_df(ledger)
        self.attempts = tables.attempts_df(ledger)
        # By which the outcomes of GPT-Live were inferred.
        self.policies = sorted(set(self.attempts["policy"].dropna().astype(str))) if "policy" in self.attempts else []
        self.controls = tables.controls_df(ledger, level=self.level)
        # Everything was GPT-Live, which has no text: what is lost is lost to silence.
        self.is_live = all(settings.get("protocol") == "live" for settings in self.plan.get("settings") or [{}])
        self.settings = ordered(self.trials, "settings")  # names, in the plan's order
        # With several settings every table keeps them apart.
        self.over = ["settings"] if len(self.settings) > 1 else []
        self.table = tables.modality_df(ledger, [*self.over, "case", "arm"], level=self.level)
        self.arms = tables.modality_df(ledger, [*self.over, "arm"], level=self.level)
        self.until_drift = tables.until_drift_df(ledger, [*self.over, "arm"], level=self.level)
        # What the plan named as its outcome; GPT-Live has no text to drift to.
        self.outcome = str((self.analysis or {}).get("outcome") or ("lost_voice" if self.is_live else "final"))
        # The rate that the page leads with: a name of `modality_df`, without its end.
        self.rate = "lost_voice" if self.outcome == "lost_voice" else "drift"
        # None where there is nothing to compare: one arm, or no baseline. The page is a report all the same.
        self.comparisons: Frame | None = None
        with contextlib.suppress(InputError):
            self.comparisons = tables.compare_df(
                self.table, self.baseline, outcome=self.outcome, over=self.over, alpha=self.alpha, level=self.level
            )
        # Text replies to measured trials: what a vendor is asked to look up.
        responses = tables.responses_df(ledger)
        self.drifted = responses[(responses["modality"] == "text") & (responses["role"] == "measure")]
        self.simulated = ledger.simulated
        # Whether silence and lateness are known: not in ledgers of schema 1.
        self.timed = bool(self.table["lost_voice"].notna().all())
        self.fit = tables.fit_of(self.controls)  # None where that is not known of some setting

    def called(self, name: str, row: Any) -> str:
        """What a cell of the column `name` says: of settings only the words in which they differ."""
        word = str(row[name])
        if name != "settings" or not self.over:
            return spaced(word)
        # Words that all settings have: in a table they would only make it wide.
        shared = set.intersection(*(set(settings.split()) for settings in self.settings))
        return " ".join(part for part in word.split() if part not in shared) or word

    def of(self, df: Frame, settings: str) -> Frame:
        """The rows of one of the plan's settings."""
        return df[df["settings"].astype(str) == settings] if "settings" in df and self.over else df

    @property
    def hosts(self) -> list[str]:
        """Where the services of the plan were; empty for stand-ins."""
        urls = [
            # The stand-in's address is a port of this machine, and says nothing.
            settings.get("url")
            for settings in self.plan.get("settings", ())
            if settings.get("endpoint") != "standin"
        ]
        # Behind an `@` only: what stands before it in an address is a password.
        return list(dict.fromkeys(urlsplit(str(url)).netloc.rpartition("@")[2] or str(url) for url in urls if url))


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of the page.

    Attributes:
        names: The headings.
        rows: The cells, text or `Markup`.
        wide: Columns whose words may wrap.
        group: How many leading cells name a group: a row in which they change begins one; 0: there are no groups.
        ids: Anchors of the rows, if they have any.
    """

    names: Sequence[str]
    rows: list[list[Any]]
    wide: Sequence[int] = ()
    group: int = 0
    ids: Sequence[str] = ()


# ------------------------------------------------------------------------------------------------------------ small pieces


def figure(draw: Callable[..., Any], df: Frame, prefix: str, alt: str) -> Markup:
    """A plot as inline SVG that follows the page's theme."""
    return Markup(plots.svg(draw(df, ax=plots.figure()), themed=True, alt=alt, prefix=prefix))


def bar(rate: float, low: float, high: float) -> Markup:
    """A rate as a bar, its interval as a line across it."""
    # NaN: nothing was answered.
    if rate != rate:
        return Markup("<span class='bar none'></span>")
    return Markup(
        f"<span class='bar'><i style='width:{100 * rate:.2f}%'></i>"
        f"<b style='left:{100 * low:.2f}%;width:{100 * (high - low):.2f}%'></b></span>"
    )


def download(df: Frame, name: str, words: str) -> Markup | str:
    """A link that saves a table from the page itself."""
    text = show.csv_of(df).encode("utf-8")
    if len(text) > MAX_DOWNLOAD_BYTES:
        return f"{words}: too large for a page ({len(text) / 1e6:.0f} MB); python -m kit table LEDGER --csv has it"
    link = '<a download="{}" href="data:text/csv;base64,{}">{}</a>'
    return Markup(link).format(name, base64.b64encode(text).decode("ascii"), words)


def code(text: object) -> Markup:
    return Markup(f"<code>{show.esc(text)}</code>")


def when(at: Any) -> str:
    """An instant in UTC, to the second; a number is Unix seconds."""
    if at is None or at != at:
        return "–"
    if isinstance(at, int | float):
        try:
            at = datetime.fromtimestamp(at, UTC)
        except (OverflowError, ValueError, OSError):  # a year that no calendar has
            return "–"
    return str(at.strftime("%Y-%m-%d %H:%M:%S"))


def ordered(df: Frame, name: str) -> list[str]:
    """The different words of a column, in the plan's order where the column has one."""
    present = df[name].dropna()
    # A filtered frame keeps all categories; only those with rows are named.
    order = df[name].cat.categories if hasattr(df[name], "cat") else present.unique()
    words = set(present.astype(str))
    return [str(word) for word in order if str(word) in words]


def spaced(word: object) -> str:
    """An arm's name as words: ``one_user_message`` is one user message."""
    return str(word).replace("_", " ")


def text_read(controls: Frame) -> str:
    """Of rows of `controls_df`: the sessions that were asked for text. One that is not read as text there shows a blind instrument."""
    positive = controls[controls["role"] == "positive"]
    k, n = int(positive["as_it_must"].sum()), int(positive["planned"].sum())
    return f"{k} of {n} sessions that were asked for text were read as text"


def times_of(ledger: Any) -> list[float]:
    """When the first of its attempts began and the last one ended; nothing of a ledger without any."""
    row = ledger.rows("SELECT MIN(started_at), MAX(ended_at) FROM attempts")[0]
    return [at for at in row if at is not None]


def days_of(times: Iterable[Any]) -> str:
    """The first and the last day of some times, in UTC as a study's own days are, with a comma before; nothing without any."""
    days = sorted({when(at)[:10] for at in times})
    return "" if not days else f", {days[0]}" if days[0] == days[-1] else f", {days[0]} to {days[-1]}"


def rate_text(row: Any, name: str) -> str:
    """A rate of `modality_df` in percent, its interval in brackets."""
    rate, low, high = (row[f"{name}_{end}"] for end in ("rate", "low", "high"))
    if rate != rate:
        return "–"
    return f"{points(rate)} %" + (f" ({points(low)}–{points(high)})" if low == low else "")


def number(value: float, *, sign: str = "") -> str:
    """Three digits, and whole from 100 on; a true minus sign."""
    form = ",.0f" if abs(value) >= 100 else ",.3g"
    return f"{value:{sign}{form}}".replace("-", "−")


def span(interval: Interval, to: str = "–") -> str:
    """The bounds of a rate, in percent."""
    low, high = (100 * (bound or 0.0) for bound in (interval.low, interval.high))
    return f"{low:.0f}{to}{high:.0f} %"


def flag(value: Any) -> bool | None:
    """A cell of a nullable column."""
    # By its word as well: <NA> has no truth, and numpy's True is not Python's.
    return bool(value) if value is True or value is False or str(value) in ("True", "False") else None


def origin(value: Any) -> str:
    return show.origin_word(flag(value)) or "measured"


def render(template: str, *, is_page: bool = True, **data: Any) -> str:
    """A text by one of this folder's templates. In a page everything is escaped that is not `Markup`; its style is inside."""
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=is_page,
        trim_blocks=is_page,
        lstrip_blocks=is_page,
        undefined=StrictUndefined,  # a name that the data does not have is an error, and no hole in the page
        # For every value of a template, so that none can be forgotten: no control characters, and nothing endless.
        finalize=(lambda value: value if isinstance(value, Markup) else show.plain(value)) if is_page else None,
    )
    if is_page:
        data["style"] = Markup((_HERE / "report.css").read_text(encoding="utf-8"))
    environment.filters |= {"units": show.units, "counted": show.counted, "percent": percent, "ascii": ascii}
    environment.filters |= {"spaced": spaced, "ordered": ordered, "when": when}
    made_at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return environment.get_template(template).render(data, made_at=made_at, kit_version=__version__)
