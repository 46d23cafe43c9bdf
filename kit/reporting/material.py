"""What a report is made of: every table of a ledger, read once."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from .. import tables
from ..errors import InputError
from ..trials.ledger import Ledger
from .parts import said

if TYPE_CHECKING:
    from ..tables.columns import Frame


class Material:
    """The tables that the sections share."""

    def __init__(self, ledger: Ledger, baseline: str, level: float) -> None:
        self.ledger, self.baseline, self.level = ledger, baseline, level
        self.plan: dict[str, Any] = ledger.plan

    @cached_property
    def trials(self) -> Frame:
        return tables.trials_df(self.ledger)

    @cached_property
    def turns(self) -> Frame:
        return tables.turns_df(self.ledger)

    @cached_property
    def attempts(self) -> Frame:
        return tables.attempts_df(self.ledger)

    @cached_property
    def controls(self) -> Frame:
        return tables.controls_df(self.ledger)

    @cached_property
    def settings(self) -> list[str]:
        """The names of the plan's settings, in order."""
        present = set(self.trials["settings"].astype(str))
        return [str(name) for name in self.trials["settings"].cat.categories if str(name) in present]

    @cached_property
    def _brief(self) -> dict[str, str]:
        shared = set.intersection(*(set(name.split()) for name in self.settings)) if len(self.settings) > 1 else set()
        return {n: " ".join(word for word in n.split() if word not in shared) or n for n in self.settings}

    def called(self, name: str, row: Any) -> str:
        """What a cell of the column `name` says: of settings only what they differ in."""
        word = str(row[name])
        return self._brief.get(word, word) if name == "settings" else said(word)

    @cached_property
    def by(self) -> list[str]:
        return [*(["settings"] if len(self.settings) > 1 else []), "case", "arm"]

    @cached_property
    def table(self) -> Frame:
        return tables.modality_df(self.ledger, self.by, level=self.level)

    @cached_property
    def arms(self) -> Frame:
        return tables.modality_df(self.ledger, [*self.by[:-2], "arm"], level=self.level)

    @cached_property
    def until_drift(self) -> Frame:
        return tables.until_drift_df(self.ledger, [*self.by[:-2], "arm"], level=self.level)

    @cached_property
    def compared(self) -> Frame | None:
        """``None`` where there is nothing to compare."""
        try:
            return tables.compare_df(self.table, self.baseline, over=self.by[:-2], level=self.level)
        except InputError:
            return None

    @cached_property
    def drifted(self) -> Frame:
        """The responses that came as text where audio was asked for."""
        df = tables.responses_df(self.ledger)
        return df[(df["modality"] == "text") & (df["role"] == "measure")]

    @property
    def fit(self) -> bool | None:
        """Whether the instrument was: ``None`` where no control has answered."""
        told = self.controls["fit"].dropna()
        return None if not len(told) else bool(told.all())

    @property
    def simulated(self) -> bool | None:
        return self.ledger.simulated

    def of(self, frame: Frame, name: str) -> Frame:
        """The rows of one of the plan's settings."""
        return frame[frame["settings"].astype(str) == name] if "settings" in frame and len(self.settings) > 1 else frame
