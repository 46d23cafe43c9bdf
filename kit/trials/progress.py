"""How a run is going, for whoever watches: a bar, a widget, a line in a terminal. The runner only calls back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .. import show


@dataclass(slots=True)
class Progress:
    """A run as it goes. The same object is handed to the callback each time; copy what you keep.

    Attributes:
        planned: Trials of the plan, controls included.
        completed, failed: Decided so far, by earlier runs too.
        in_flight: Attempts that are running now.
        attempts: Attempts begun by this run.
        tally: What the user finally heard of the first turn, by (case, arm, settings index), controls left out.
        failures: Kinds of failure, of all attempts of this run.
        spent_usd, reserved_usd: ``spent`` of the whole ledger.
        note: Why nothing begins at the moment, or how it ended; else empty.
        over: True in the last call.
    """

    planned: int
    completed: int = 0
    failed: int = 0
    in_flight: int = 0
    attempts: int = 0
    tally: dict[tuple[str, str, int], Counter[str]] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    spent_usd: float = 0.0
    reserved_usd: float = 0.0
    simulated: bool | None = None
    note: str = ""
    over: bool = False

    @property
    def decided(self) -> int:
        return self.completed + self.failed

    @property
    def heard(self) -> Counter[str]:
        """The tally over all cases and arms."""
        return sum(self.tally.values(), Counter())

    def __str__(self) -> str:
        words = [f"{show.SIGNS.get(word, '')} {word} {n}".strip() for word, n in sorted(self.heard.items())]
        if self.failed:
            words.append(f"{show.SIGNS['failed']} failed {self.failed}")
        if self.spent_usd or self.reserved_usd:
            words.append(f"${self.spent_usd:.2f}")
        if self.simulated:
            words.append("simulated")
        return ", ".join([*words, *([self.note] if self.note else [])])


Callback = Callable[[Progress], None]


class Bar:
    """The default: a tqdm bar, in a notebook or a terminal. Made when first called, so that it starts where the run starts."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._bar: Any = None

    def __call__(self, progress: Progress) -> None:
        if self._bar is None:
            from tqdm.auto import tqdm

            self._bar = tqdm(
                total=progress.planned, initial=progress.decided, unit="trial", dynamic_ncols=True, **self._options
            )
        self._bar.set_postfix_str(str(progress), refresh=False)
        self._bar.update(progress.decided - self._bar.n)
        if progress.over:
            self._bar.refresh()
            self._bar.close()
