"""`report`: a ledger as one self-contained HTML file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .. import show
from ..errors import InputError, clipped
from ..files import named_path, writable_path
from ..trials.ledger import Ledger
from ..version import __version__
from .pieces import Material, written_by_a_run
from .sections import context

QUESTION = "How often does a seeded history cost the voice?"
# Inside every page: a report is one file that fetches nothing.
STYLE = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """A report that was written.

    Attributes:
        path: The HTML file, absolute.
        fit: Whether the controls read what they must; ``None`` where there were none.
        simulated: Whether a stand-in answered; ``None`` for several origins, or an unknown one.
    """

    path: Path
    fit: bool | None
    simulated: bool | None

    def __repr__(self) -> str:
        words = {True: "controls as they must be", False: "UNFIT: a control failed", None: "no control answered"}
        mark = show.origin_word(self.simulated)
        return f"<Report {self.path}: {words[self.fit]}{f', {mark}' if mark else ''}>"

    def _repr_html_(self) -> str:
        unfit = "" if self.fit is not False else "<b>UNFIT: a control failed</b>"
        return show.card(f"<b>report</b> {show.link(self.path)} {show.origin(self.simulated)}", unfit)


def report(
    ledger: Ledger | str | Path,
    folder: str | Path | None = None,
    *,
    baseline: str | None = None,
    question: str = QUESTION,
    level: float | None = None,
) -> Report:
    """Write ``folder/report.html``: question, controls, comparisons, tables, pictures, settings, failures, ids for the vendor.

    One file that fetches nothing: it opens from disk, prints, follows the reader's light or dark theme, and can be sent.

    Args:
        ledger: A ledger or its path. Of one that is still being written to, the report shows that moment.
        folder: Made if there is none; a report that is there is replaced. A path that ends in ``.html`` is the file itself. By
            default the report is beside the ledger, under its name.
        baseline: The arm that others are compared with; by default the plan's, or ``as_is``. One that is named must be in the plan.
        question: The heading.
        level: Of every interval; by default the plan's, or 0.95. What differs from the plan is marked as chosen afterwards.

    Raises:
        LedgerError: If the path leads to no ledger, or the ledger holds what no run writes.
        InputError: If the folder cannot be written to, or for a baseline that the plan does not have.
    """
    book = ledger if isinstance(ledger, Ledger) else Ledger(ledger)
    with written_by_a_run(book):
        # All tables are made before the folder is touched: a ledger that cannot be read leaves an old report alone.
        material = Material(book, baseline, level)
    arms = list(dict.fromkeys(material.trials["arm"].astype(str)))
    # `as_is` may be named although the plan has it not: then there is nothing to compare.
    if baseline is not None and baseline not in ("as_is", *arms):
        raise InputError(f"no trial has the arm {clipped(baseline)} to compare with; there are {', '.join(arms)}")
    target = named_path(folder).resolve() if folder is not None else book.path.resolve().with_suffix(".html")
    if target.suffix.lower() != ".html":
        target /= "report.html"
    target = writable_path(target)
    with written_by_a_run(book):
        html = render("report.html", context(material, question))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Written beside and put in place: who reads the report meanwhile sees the old one or the new one.
        part = target.with_name(f".{target.name}.{os.getpid()}")
        part.write_text(html, encoding="utf-8")
        part.replace(target)
    except OSError as exc:
        raise InputError(f"cannot write {clipped(str(target))}: {exc.strerror or exc}; choose another folder") from exc
    return Report(target, material.fit, material.simulated)


def render(template: str, data: Mapping[str, Any]) -> str:
    """One of this folder's pages, with everything escaped that is not `Markup`, and the style inside."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,  # a name that the data does not have is an error, and no hole in the page
        # For every value of a template, so that none can be forgotten.
        finalize=_visible,
    )
    environment.filters |= {"units": show.units, "counted": show.counted}
    made_at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return environment.get_template(template).render(
        data, style=Markup(STYLE), made_at=made_at, kit_version=__version__
    )


def _visible(value: object) -> object:
    """Text as `show.plain` leaves it, before Jinja escapes it: without control characters, and not endless."""
    return value if isinstance(value, Markup) else show.plain(value)
