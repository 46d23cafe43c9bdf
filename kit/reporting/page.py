"""`report`: a ledger as one self-contained HTML file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from .. import show
from ..errors import InputError, clipped
from ..trials.ledger import Ledger
from ..version import __version__
from . import sections as record
from . import sections as results
from .sections import Material, costs, reported

if TYPE_CHECKING:
    from collections.abc import Sequence

QUESTION = "How often does a seeded history cost the voice?"
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
        fit = {True: "controls as they must be", False: "UNFIT: a control failed", None: "no control answered"}[
            self.fit
        ]
        mark = show.origin_word(self.simulated)
        return f"<Report {self.path}: {fit}{f', {mark}' if mark else ''}>"

    def _repr_html_(self) -> str:
        return show.card(f'<b>report</b> <a href="{show.esc(self.path.as_uri())}">{show.esc(self.path)}</a> {show.origin(self.simulated)}',
                         "" if self.fit is not False else "<b>UNFIT: a control failed</b>")  # fmt: skip


def report(
    ledger: Ledger | str | Path,
    folder: str | Path,
    *,
    baseline: str = "as_is",
    question: str = QUESTION,
    level: float = 0.95,
) -> Report:
    """Write ``folder/report.html``: question, controls, comparisons, tables, pictures, settings, failures, ids for the vendor.

    One file that fetches nothing: it opens from disk, prints, follows the reader's light or dark theme, and can be sent.

    Args:
        ledger: A ledger or its path. One that is still being written to gives a report of that moment.
        folder: Made if there is none; a report that is there is replaced. A path that ends in ``.html`` is the file itself.
        baseline: The arm that others are compared with; without trials of it nothing is compared. One that is named must be in the plan.
        question: The heading.
        level: Of every interval.

    Raises:
        LedgerError: If the path leads to no ledger.
        InputError: If the folder cannot be written to, or for a baseline that the plan does not have.
    """
    material = Material(ledger if isinstance(ledger, Ledger) else Ledger(ledger), baseline, level)
    arms = list(dict.fromkeys(material.trials["arm"].astype(str)))
    if baseline not in ("as_is", *arms):
        raise InputError(f"no trial has the arm {clipped(baseline)} to compare with; there are {', '.join(arms)}")
    target = Path(folder).expanduser().resolve()
    if target.suffix.lower() != ".html":
        target /= "report.html"
    html = page(material, question)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{os.getpid()}")
        part.write_text(html, encoding="utf-8")
        part.replace(target)
    except OSError as exc:
        raise InputError(f"cannot write {clipped(str(target))}: {exc.strerror or exc}; choose another folder") from exc
    return Report(target, material.fit, material.simulated)


def page(material: Material, question: str) -> str:
    """The whole page."""
    parts: Sequence[str] = [
        results.head(material, question),
        results.verdicts(material),
        results.in_short(material),
        *results.pictures(material),
        results.table(material),
        costs(material),
        reported(material),
        results.comparisons(material),
        results.controls(material),
        record.plan(material),
        record.failures(material),
        record.money(material),
        record.versions(material),
        record.ids(material),
        record.method(material),
    ]
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
        f'<meta name="color-scheme" content="light dark"><title>{show.esc(question)}</title><style>{STYLE}</style></head>'
        f"<body><main>{''.join(parts)}<footer>Made {made} by realtime-history-kit {show.esc(__version__)} from a ledger of "
        f"plan <code>{show.esc(material.ledger.plan_hash)}</code>. This page fetches nothing.</footer></main></body></html>"
    )
