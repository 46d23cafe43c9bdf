"""When enough is known: a plan's stop rule, fed the completed beginning of the planned order.

Trials that run side by side do not end in the order in which they began, and text replies may end first; so a trial counts
here only once every trial before it is decided.
"""

from __future__ import annotations

from collections import Counter

from .plan import Plan, Trial

Cell = tuple[str, str, int]


class Watch:
    """What is decided, cell by cell (case, arm, settings).

    Attributes:
        heard: Per cell, what the user finally heard of the first turn, over all completed trials in whatever order they ended.
    """

    def __init__(
        self, plan: Plan, statuses: dict[str, str], modalities: dict[str, tuple[str | None, str | None]]
    ) -> None:
        self._plan = plan
        self._heard_of: dict[str, str | None] = {}
        self.heard: dict[Cell, Counter[str]] = {}
        self._at = 0
        self._counts: dict[Cell, list[int]] = {}
        self._enough: dict[Cell, bool] = {}
        self._changed: set[Cell] = set()
        self._fewest = 0 if plan.stop is None else plan.stop.trials_per_arm(0.0)
        for trial in plan.trials:
            if trial.role == "measure":
                self._counts.setdefault(trial.cell, [0, 0])
            status = statuses.get(trial.trial_id)
            if status is not None:
                self.decided(trial, status, modalities.get(trial.trial_id, (None, None))[1])

    def decided(self, trial: Trial, status: str, heard: str | None) -> None:
        """A trial is decided.

        Args:
            status: ``completed`` or ``failed``.
            heard: What the user finally heard of the first turn.
        """
        completed = status == "completed"
        self._heard_of[trial.trial_id] = heard or "empty" if completed else None
        if completed and trial.role == "measure":
            self.heard.setdefault(trial.cell, Counter())[heard or "empty"] += 1

    def counts(self) -> dict[Cell, tuple[int, int]]:
        """Per cell ``(drifted, completed)``, of the decided beginning of the planned order."""
        self._advance()
        return {cell: (k, n) for cell, (k, n) in self._counts.items()}

    def enough(self) -> bool:
        """Whether the plan's stop rule is content; ``False`` without one."""
        rule = self._plan.stop
        if rule is None:
            return False
        self._advance()
        while self._changed:
            cell = self._changed.pop()
            k, n = self._counts[cell]
            self._enough[cell] = n >= self._fewest and rule.enough(k, n)
        return len(self._enough) == len(self._counts) and all(self._enough.values())

    def _advance(self) -> None:
        """Take in what is decided now."""
        trials = self._plan.trials
        while self._at < len(trials) and trials[self._at].trial_id in self._heard_of:
            trial = trials[self._at]
            self._at += 1
            heard = self._heard_of[trial.trial_id]
            if trial.role != "measure" or heard is None:
                continue
            self._counts[trial.cell][0] += heard == "text"
            self._counts[trial.cell][1] += 1
            self._changed.add(trial.cell)
