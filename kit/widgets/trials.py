"""Every trial of a ledger as a strip of its turns; a click on one leads to what was said in it, when, and how it sounded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from .. import plots, show, tables
from ..errors import KitError
from ..trials.ledger import Ledger
from .page import Content, PageWidget, read


class Trials(PageWidget):
    """``Trials(ledger)`` as a cell's last line: `plots.strip`, and under it the trial that was clicked, with its sound if the run
    kept it (``run(…, keep_sound=True)``). Without a page: ``ledger.trial(17)``.

    Args:
        ledger: A ledger, or the path of one; it is read anew at each click.
        title: Of the picture.
    """

    _esm = read("page.js", "trials.js")
    _css = read("sound.css")
    KINDS: ClassVar[tuple[str, ...]] = ("here", "open")

    def __init__(self, ledger: Ledger | str | Path, *, title: str | None = None) -> None:
        self.ledger = ledger if isinstance(ledger, Ledger) else Ledger(ledger)
        turns = tables.turns_df(self.ledger)
        self._axes = plots.strip(turns, title=title, link="#trial-", ax=plots.figure())
        # Those that a strip stands for, in the plan's order; controls have no strip.
        self.trial_ids: list[str] = list(dict.fromkeys(turns["trial_id"].astype(str)))
        # HTML of the trial that was opened last; empty before any was.
        self._card = ""
        super().__init__()

    def __repr__(self) -> str:
        return f"<Trials: {len(self.trial_ids):,} of {self.ledger!r}>"

    def static_html(self) -> str:
        """The strips, and the trial that was looked at last: what an export shows."""
        return f"<figure style='margin:0;overflow-x:auto'>{self._picture(link=False)}</figure>{self._card}"

    def _picture(self, *, link: bool = True) -> str:
        alt = plots.alt_text(self._axes)
        # Ids of this object: several strips may stand in one notebook, and ids must not meet.
        picture = plots.svg(self._axes, themed="notebook", alt=alt, prefix=f"t{id(self):x}-")
        picture = plots.sized(picture)
        # In an export a link would lead to nothing: no kernel answers there. A sample: `<a xlink:href="#trial-17">`.
        return picture if link else re.sub(r"</?a\b[^>]*>", "", picture)

    def _on_here(self, content: Content, buffers: list[memoryview]) -> None:
        super()._on_here(content, buffers)
        self.send({"kind": "picture", "html": self._picture(), "ids": self.trial_ids})

    def _on_open(self, content: Content, _buffers: list[memoryview]) -> None:
        try:
            html = self.ledger.trial(str(content.get("id")))._repr_html_()
        # The ledger may have been moved since; the card says so where the trial would stand.
        except KitError as exc:
            html = show.card(show.esc(exc))
        self._card = html
        self.send({"kind": "card", "html": html})
        self.update_snapshot()
