"""When enough is known: a plan's stop rule, fed the completed beginning of the planned order.

Trials that run side by side do not end in the order in which they began, and text replies may end first; so a trial counts
here only once every trial before it is decided.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterable

from ..errors import InputError, clipped
from .plan import Plan, Settings, Trial

# Money: what is spent, what is reserved by trials in flight, and that both together never pass the cap.


def check_budget(budget_usd: float | None, settings: Iterable[Settings]) -> float:
    """The cap in dollars.

    Raises:
        InputError: If somebody pays and no cap is given, or a cap is given where prices are unknown and it could not be kept.
    """
    if budget_usd is not None and not (
        isinstance(budget_usd, int | float) and not isinstance(budget_usd, bool) and budget_usd >= 0
    ):
        raise InputError(f"budget_usd must be dollars, such as 2.50, not {clipped(budget_usd)}")
    for each in settings:
        if each.free:
            continue
        if budget_usd is None:
            raise InputError(
                f"{each.name} costs money: say how much it may, run(…, budget_usd=2.50), or --budget 2.50 in a terminal; the plan shows what to expect"
            )
        if each.reckoned_price is None and budget_usd != math.inf:
            raise InputError(
                f"the kit knows no price for {each.name}, so a budget of ${budget_usd:.2f} could not be kept; give one, "
                "Settings(…, price=Price(text=(…), audio=(…), image=(…))), or say budget_usd=float('inf')"
            )
    return math.inf if budget_usd is None else float(budget_usd)


class Budget:
    """Dollars of one run.

    Attributes:
        cap_usd, spent_usd, reserved_usd: ``spent + reserved ≤ cap`` holds at every moment in which something is reserved.
    """

    def __init__(self, cap_usd: float, spent_usd: float = 0.0) -> None:
        self.cap_usd = cap_usd
        self.spent_usd = spent_usd
        self.reserved_usd = 0.0
        self._held = 0
        self._freed = asyncio.Event()

    def room_for(self, usd: float) -> bool:
        """Whether this much could be set aside now."""
        return self.spent_usd + self.reserved_usd + usd <= self.cap_usd

    async def reserve(self, usd: float) -> bool:
        """Set this much aside, waiting for trials in flight to give back what they did not need; ``False`` if it can never be.

        Cancelling is safe.
        """
        while not self.room_for(usd):
            if not self._held:
                return False
            self._freed.clear()
            await self._freed.wait()
        self.reserved_usd += usd
        self._held += 1
        return True

    def settle(self, reserved_usd: float, spent_usd: float) -> None:
        """An attempt is over: its reservation is given back and what it cost is spent."""
        self._held -= 1
        self.reserved_usd = max(0.0, self.reserved_usd - reserved_usd) if self._held else 0.0
        self.spent_usd += spent_usd
        self._freed.set()


# Waiting together: when the service says "too fast" to one session, no other begins before it is time again.


FIRST_S = 1.0  # where the service does not say how long: doubled each time, as its own guide advises
LONGEST_S = 60.0  # limits are per minute
MARGIN_S = 0.05


class Gate:
    """Shut for a while after a rate limit; `pass_` waits until it is open.

    Attributes:
        n_shut: How often it was shut.
    """

    def __init__(self) -> None:
        self.n_shut = 0
        self._opens_at = 0.0
        self._in_a_row = 0

    async def pass_(self) -> None:
        """Wait until sessions may begin. Cancelling is safe."""
        loop = asyncio.get_running_loop()
        while self._opens_at > loop.time():  # noqa: ASYNC110  an instant; it may be shut for longer meanwhile
            await asyncio.sleep(self._opens_at - loop.time())

    def shut(self, said_s: float | None) -> float:
        """The service was asked too fast.

        Args:
            said_s: What it said about when to come back; ``None``: 1 s, 2 s, 4 s … up to a minute.

        Returns:
            How long it is shut from now, in seconds.
        """
        now = asyncio.get_running_loop().time()
        if self._opens_at <= now:  # sessions that began together are refused together: that is one time
            self._in_a_row += 1
        wait_s = FIRST_S * 2 ** (self._in_a_row - 1) if said_s is None else said_s + MARGIN_S
        return self._until(now, min(wait_s, LONGEST_S))

    def spare(self, remaining_tokens: int | None, reset_s: float | None, needed_tokens: int) -> float:
        """What is left of the limit, after a session; shuts if the next one would not fit. Gives for how long, in seconds."""
        self._in_a_row = 0
        if remaining_tokens is None or reset_s is None or remaining_tokens >= needed_tokens or reset_s <= 0:
            return 0.0
        return self._until(asyncio.get_running_loop().time(), min(reset_s, LONGEST_S))

    def _until(self, now: float, wait_s: float) -> float:
        opens_at = now + wait_s
        if opens_at > self._opens_at:
            self.n_shut += self._opens_at <= now
            self._opens_at = opens_at
        return max(0.0, self._opens_at - now)


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
