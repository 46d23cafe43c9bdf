"""What the sections of a report share: the tables of one ledger (`Material`), a table of the page (`Grid`), words and links.

Text is escaped by the template; only `Markup` is HTML already.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from markupsafe import Markup

from .. import plots, show, tables
from ..errors import InputError, KitError, LedgerError, clipped
from ..stats import StopRule
from ..tables.modality import points
from ..trials.ledger import Ledger

if TYPE_CHECKING:
    from pandas import DataFrame as Frame

MAX_DOWNLOAD_BYTES = 8_000_000  # of CSV inside the page; a larger table stays in the ledger

# What a first turn of an attempt that counts came to. Ledgers of schema 1 have no outcome: what was answered is known there,
# and silence is not.
_FIRST_TURNS = """
SELECT t.settings_name AS settings, t.case_name AS "case", t.arm, u.outcome IS NOT NULL AS timed,
  COALESCE(u.outcome, CASE WHEN u.final_status IN ('completed', 'incomplete', 'cancelled') THEN
    CASE u.final_modality WHEN 'audio' THEN 'spoken' WHEN 'mixed' THEN 'both' WHEN 'empty' THEN 'silent' ELSE u.final_modality END
    ELSE 'failed' END) AS outcome, u.final_modality AS modality, u.first_modality, COUNT(*) AS n
FROM trials t JOIN attempts c ON c.trial_id = t.trial_id AND c.counts = 1
  JOIN turns u ON u.attempt_id = c.attempt_id AND u.turn = 0
WHERE t.role = 'measure' GROUP BY 1, 2, 3, 4, 5, 6, 7
"""


@contextmanager
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


@dataclass(frozen=True, slots=True)
class Control:
    """The controls of one kind and setting.

    Attributes:
        role: ``positive``: text was asked for, so it must read text. ``negative``: without a history, audio is expected.
        n_planned, n_answered, n_text: How many, how many got an answer to their first turn, and how many of those in text.
        others: The other answers, counted.
    """

    settings: str
    role: str
    n_planned: int
    n_answered: int
    n_text: int
    others: str

    @property
    def fit(self) -> bool | None:
        """Whether the instrument was: not known while none has answered.

        A single text without a history is the model's background rate, and no fault of the instrument; if all of them are text,
        the setting cannot speak at all.
        """
        if not self.n_answered:
            return None
        return self.n_text == self.n_answered if self.role == "positive" else self.n_text < self.n_answered

    @property
    def read(self) -> str:
        """What was read, in words."""
        return ", ".join(filter(None, (f"text {self.n_text}" if self.n_text else "", self.others))) or "nothing"


def controls_of(ledger: Ledger) -> list[Control]:
    """The controls of a ledger, by setting and kind, in the plan's order."""
    df = tables.trials_df(ledger, role=None)
    df = df[df["role"].isin(["positive", "negative"])]
    controls = []
    for (settings, role), trials in df.groupby(["settings", "role"], observed=True, sort=False):
        answers = trials["first_turn_modality"].dropna().astype(str)
        others = answers[answers != "text"].value_counts()
        words = ", ".join(f"{word} {n}" for word, n in others.items())
        controls.append(
            Control(str(settings), str(role), len(trials), len(answers), len(answers) - int(others.sum()), words)
        )
    return sorted(controls, key=lambda control: (control.settings, control.role == "negative"))


class Material:
    """The tables of one ledger, made once and shared by the sections."""

    def __init__(self, ledger: Ledger, baseline: str | None = None, level: float | None = None) -> None:
        import pandas as pd

        self.ledger = ledger
        self.plan: dict[str, Any] = ledger.plan
        # What the plan froze of its analysis; None in ledgers of plans that froze the trials alone.
        self.analysis: dict[str, Any] | None = self.plan.get("analysis")
        frozen = self.analysis or {}
        self.baseline: str = baseline or frozen.get("baseline") or "as_is"  # the arm that the others are compared with
        self.level: float = level or frozen.get("level") or 0.95  # of every interval on the page
        self.alpha: float = frozen.get("alpha") or 0.05  # at which the family of comparisons is held
        self.trials = tables.trials_df(ledger)  # measured trials; controls are in `controls`
        self.turns = tables.turns_df(ledger)
        self.attempts = tables.attempts_df(ledger)
        self.controls = controls_of(ledger)
        self.settings = ordered(self.trials, "settings")  # names, in the plan's order
        # With several settings every table keeps them apart.
        self.over = ["settings"] if len(self.settings) > 1 else []
        self.table = tables.modality_df(ledger, [*self.over, "case", "arm"], level=self.level)
        self.arms = tables.modality_df(ledger, [*self.over, "arm"], level=self.level)
        self.until_drift = tables.until_drift_df(ledger, [*self.over, "arm"], level=self.level)
        # None where there is nothing to compare.
        self.comparisons = self._compare()
        responses = tables.responses_df(ledger)
        self.drifted = responses[(responses["modality"] == "text") & (responses["role"] == "measure")]
        self.simulated = ledger.simulated
        # First turns by what they came to; `timed` where silence is known at all (schema 2).
        columns = ["settings", "case", "arm", "timed", "outcome", "modality", "first_modality", "n"]
        self.first_turns = pd.DataFrame([tuple(row) for row in ledger.rows(_FIRST_TURNS)], columns=columns)
        self.timed = bool(self.first_turns["timed"].all())
        stop = self.plan.get("stop")
        self.stop_rule = StopRule(**stop) if stop else None  # that the plan froze
        # Whether every setting's controls read what they must; None where that is not known of one.
        fits = [control.fit for control in self.controls if control.role == "positive" or control.fit is False]
        self.fit = False if False in fits else None if None in fits or not fits else True

    def _compare(self) -> Frame | None:
        try:
            return tables.compare_df(self.table, self.baseline, over=self.over, alpha=self.alpha, level=self.level)
        except InputError:
            return None

    def called(self, name: str, row: Any) -> str:
        """What a cell of the column `name` says: of settings only the words in which they differ."""
        word = str(row[name])
        if name != "settings" or not self.over:
            return spaced(word)
        shared = set.intersection(*(set(settings.split()) for settings in self.settings))
        return " ".join(part for part in word.split() if part not in shared) or word

    def brief_settings(self, row: Any) -> str:
        """The sentence of a comparison, in which the settings are called by what they differ in."""
        sentence = str(row["sentence"])
        return (
            sentence.replace(f"{row['settings']}: ", f"{self.called('settings', row)}: ", 1) if self.over else sentence
        )

    def of(self, df: Frame, settings: str) -> Frame:
        """The rows of one of the plan's settings."""
        return df[df["settings"].astype(str) == settings] if "settings" in df and self.over else df

    def first_turns_of(self, row: Any) -> Frame:
        """The first turns of the case, arm and settings of a row of the table."""
        df = self.of(self.first_turns, str(row["settings"])) if self.over else self.first_turns
        return df[(df["case"] == str(row["case"])) & (df["arm"] == str(row["arm"]))]

    @property
    def hosts(self) -> list[str]:
        """Where the services of the plan were; empty for stand-ins."""
        urls = [
            settings.get("url") for settings in self.plan.get("settings", ()) if settings.get("endpoint") != "standin"
        ]
        return list(dict.fromkeys(urlsplit(str(url)).netloc.rpartition("@")[2] or str(url) for url in urls if url))


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of the page.

    Attributes:
        names: The headings.
        rows: The cells, text or `Markup`.
        wide: Columns whose words may wrap.
        group: A row whose first so many cells differ from those of the row above begins a group; 0: there are none.
    """

    names: Sequence[str]
    rows: list[list[Any]]
    wide: Sequence[int] = ()
    group: int = 0


# ------------------------------------------------------------------------------------------------------------ small pieces


def figure(draw: Callable[..., Any], df: Frame, prefix: str, alt: str) -> Markup:
    """A plot as inline SVG that follows the page's theme."""
    return Markup(plots.svg(draw(df, ax=plots.figure()), themed=True, alt=alt, prefix=prefix))


def bar(rate: float, low: float, high: float) -> Markup:
    """A rate as a bar, its interval as a line across it."""
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


def badge(modality: str) -> Markup:
    return Markup(show.badge(modality))


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
    order = df[name].cat.categories if hasattr(df[name], "cat") else present.unique()
    words = set(present.astype(str))
    return [str(word) for word in order if str(word) in words]


def spaced(word: object) -> str:
    """An arm's name as words: ``one_user_message`` is one user message."""
    return str(word).replace("_", " ")


def plural(n: int, word: str) -> str:
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def listing(options: Any) -> str:
    return ", ".join(f"{name} = {value}" for name, value in (options or {}).items()) or "–"


def rate_text(row: Any, name: str) -> str:
    """A rate of `modality_df` in percent, its interval in brackets."""
    rate, low, high = (row[f"{name}_{end}"] for end in ("rate", "low", "high"))
    if rate != rate:
        return "–"
    return f"{points(rate)} %" + (f" ({points(low)}–{points(high)})" if low == low else "")


def number(value: float, *, sign: str = "") -> str:
    """Three digits, and whole from 100 on; a true minus sign."""
    return f"{value:{sign},.0f}" if abs(value) >= 100 else f"{value:{sign},.3g}".replace("-", "−")


def milliseconds(value: Any) -> str:
    return show.ms(None if value != value else float(value))


def flag(value: Any) -> bool | None:
    """A cell of a nullable column."""
    return bool(value) if value is True or value is False or str(value) in ("True", "False") else None


def origin(value: Any) -> str:
    return show.origin_word(flag(value)) or "measured"
