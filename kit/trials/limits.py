"""What holds a run back: money, the service's rate limit, outages, a stop rule, and this machine's own pauses.

A session begins once `RateLimiter.wait` and `Budget.reserve` have returned.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Self

from ..errors import InputError, clipped
from .plan import Plan, Settings, Trial

# --------------------------------------------------------------------------------------------------------------- money


def check_budget(
    budget_usd: float | None, settings: Iterable[Settings], enough: Callable[[], float | None] = lambda: None
) -> float:
    """Return the cap in dollars; `enough` is asked for what the plan says is enough.

    Raises:
        InputError: If somebody pays and no cap is given, or a cap is given where prices are unknown and it could not be kept.
    """
    is_number = isinstance(budget_usd, int | float) and not isinstance(budget_usd, bool)
    if budget_usd is not None and not (is_number and budget_usd >= 0):
        raise InputError(f"budget_usd must be dollars, such as 2.50, not {clipped(budget_usd)}")
    for item in settings:
        if item.free:
            continue
        if budget_usd is None:
            usd = f"{enough() or 2.5:.2f}"
            how = f"run(…, budget_usd={usd}), or --budget {usd} in a terminal"
            raise InputError(f"{item.name} costs money: say how much it may, {how}; the plan shows what to expect")
        if budget_usd == math.inf:
            continue
        cannot = f"so a budget of ${budget_usd:.2f} could not be kept"
        if uncounted := item.where.cannot("counts_tokens"):
            raise InputError(f"{uncounted}, {cannot}; say budget_usd=float('inf'), or --budget inf")
        if not item.is_priced:
            how = "give one, Settings(…, price=Price.parse(…)), or say budget_usd=float('inf')"
            raise InputError(f"the kit knows no price for {item.name}, {cannot}; {how}")
    return math.inf if budget_usd is None else float(budget_usd)


class Budget:
    """The dollars of one run.

    Attributes:
        cap_usd, spent_usd, reserved_usd: ``spent + reserved ≤ cap`` holds whenever something is reserved.
    """

    def __init__(self, cap_usd: float, spent_usd: float = 0.0) -> None:
        # Checked by `check_budget`; infinite where nobody pays.
        self.cap_usd = cap_usd
        self.spent_usd = spent_usd
        self.reserved_usd = 0.0
        # What is in flight may return some of its money, so that waiting makes sense only while there is any.
        self.open: set[Reservation] = set()
        # Set whenever a reservation is settled.
        self.freed = asyncio.Event()

    def room_for(self, usd: float) -> bool:
        """Whether this much could be reserved now."""
        return self.spent_usd + self.reserved_usd + usd <= self.cap_usd

    async def reserve(self, usd: float) -> Reservation | None:
        """Reserve dollars, waiting for attempts in flight to return what they do not need; ``None`` if it can never be.

        Cancelling is safe.
        """
        while not self.room_for(usd):
            if not self.open:
                return None
            self.freed.clear()
            await self.freed.wait()
        reservation = Reservation(self, usd)
        self.open.add(reservation)
        self.reserved_usd += usd
        return reservation


class Reservation:
    """Dollars set aside for one attempt. Leaving its ``async with`` unsettled spends all of it: the worst case is what is known."""

    def __init__(self, budget: Budget, usd: float) -> None:
        self.budget, self.usd = budget, usd

    def settle(self, spent_usd: float) -> None:
        """Return the reservation and spend what the attempt cost. Only the first call counts."""
        budget = self.budget
        if self in budget.open:
            budget.open.remove(self)
            # With nothing open it is exactly zero: what rounding leaves would add up over a long run.
            budget.reserved_usd = max(0.0, budget.reserved_usd - self.usd) if budget.open else 0.0
            budget.spent_usd += spent_usd
            budget.freed.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.settle(self.usd)


# ---------------------------------------------------------------------------------------------------------- rate limits

FIRST_S = 1.0  # where the service does not say how long: doubled each time, as its own guide advises
LONGEST_S = 60.0  # limits are per minute
MARGIN_S = 0.05


class RateLimiter:
    """Makes all sessions wait together: when the service says "too fast" to one, no other begins before it is time again.

    Attributes:
        n_waits: How often it has made them wait.
    """

    def __init__(self) -> None:
        self.n_waits = 0
        self._opens_at = 0.0  # on the loop's clock
        self._in_a_row = 0  # limits or outages without a session in between

    async def wait(self) -> None:
        """Wait until sessions may begin. Cancelling is safe."""
        loop = asyncio.get_running_loop()
        while self._opens_at > loop.time():  # noqa: ASYNC110  an instant; the wait may grow meanwhile
            await asyncio.sleep(self._opens_at - loop.time())

    def back_off(self, wait_s: float | None, first_s: float = FIRST_S) -> float:
        """Take note that the service was asked too fast, or cannot be reached.

        Args:
            wait_s: When to come back, as the service said; ``None``: `first_s`, then twice that … up to a minute.

        Returns:
            How long no session begins from now, in seconds.
        """
        now = asyncio.get_running_loop().time()
        if self._opens_at <= now:  # sessions that began together are refused together: that is one time
            self._in_a_row += 1
        wait_s = first_s * 2.0 ** (self._in_a_row - 1) if wait_s is None else wait_s + MARGIN_S
        return self._wait(now, min(wait_s, LONGEST_S))

    def session_ended(self, remaining_tokens: int | None, reset_s: float | None, needed_tokens: int) -> float:
        """Take note of what a session says is left of the limit; return for how long no other begins, in seconds."""
        self._in_a_row = 0
        if remaining_tokens is None or reset_s is None or remaining_tokens >= needed_tokens or reset_s <= 0:
            return 0.0
        return self._wait(asyncio.get_running_loop().time(), min(reset_s, LONGEST_S))

    def _wait(self, now: float, wait_s: float) -> float:
        opens_at = now + wait_s
        if opens_at > self._opens_at:
            self.n_waits += self._opens_at <= now
            self._opens_at = opens_at
        return max(0.0, self._opens_at - now)


# ----------------------------------------------------------------------------------------------------------- this machine


class Heartbeat:
    """Notices when this process does not run: stopped, suspended, or its loop blocked by other code.

    Attributes:
        paused_s: For how long, in all. It grows when the process runs again.
    """

    EVERY_S = 0.25

    def __init__(self) -> None:
        self.paused_s = 0.0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._due = asyncio.get_running_loop().time() + self.EVERY_S
        self._task = asyncio.create_task(self._beat(), name="kit: heartbeat")
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def look(self) -> float:
        """Return `paused_s`, with a pause that has just ended."""
        late_s = asyncio.get_running_loop().time() - self._due
        if late_s > self.EVERY_S:
            self.paused_s += late_s
            self._due += late_s
        return self.paused_s

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._due - loop.time())
            self.look()
            self._due = loop.time() + self.EVERY_S


# ---------------------------------------------------------------------------------------------------------- when is enough

Cell = tuple[str, str, int]


class FirstTurn(NamedTuple):
    """What the user finally had of the turn that a history ends with."""

    result: str
    """The modality, or ``silent``, or ``late``."""
    drifted: bool
    """Whether it was text."""

    @classmethod
    def of(cls, outcome: str | None, modality: str | None) -> FirstTurn | None:
        """Of the ledger's columns; ``None`` where nothing is known. Schema 1 has no outcome: then the modality is all."""
        if outcome in ("failed", "censored") or (outcome is None and modality is None):
            return None
        return cls(outcome if outcome in ("silent", "late") else modality or "empty", modality == "text")


class StopMonitor:
    """Says when a plan's stop rule is satisfied, from what is decided, cell by cell (case, arm, settings).

    Trials that run side by side do not end in the order in which they began, and text replies may end first; so the rule sees
    a trial only once every trial before it in the planned order is decided.

    Attributes:
        tally: Per cell, what was heard of the first turns, in whatever order the trials ended.
    """

    def __init__(self, plan: Plan, first_turns: Mapping[str, FirstTurn | None]) -> None:
        """`first_turns`: the trials that are decided, each with its first turn (``None``: not known)."""
        self._plan = plan
        self._first_turns: dict[str, FirstTurn | None] = {}  # of decided trials
        self.tally: dict[Cell, Counter[str]] = {}
        # Only the decided beginning of the order may be looked at: text ends sooner than audio, and would be seen first.
        self._at = 0  # trials of the planned order that have been taken in
        self._counts: dict[Cell, list[int]] = {}  # of those: drifted, and decided one way or the other
        self._enough: dict[Cell, bool] = {}
        self._changed: set[Cell] = set()  # cells whose counts changed since the rule was last asked
        # Below this no interval can be narrow enough, whatever the counts; saves most of the work.
        self._fewest = 0 if plan.stop is None else plan.stop.trials_per_arm(0.0)
        for trial in plan.trials:
            if trial.role == "measure":
                self._counts.setdefault(trial.cell, [0, 0])
            if trial.trial_id in first_turns:
                self.decided(trial, first_turns[trial.trial_id])

    def decided(self, trial: Trial, first_turn: FirstTurn | None) -> None:
        """Take note of a decided trial."""
        self._first_turns[trial.trial_id] = first_turn
        if first_turn is not None and trial.role == "measure":
            self.tally.setdefault(trial.cell, Counter())[first_turn.result] += 1

    def counts(self) -> dict[Cell, tuple[int, int]]:
        """Return ``(drifted, known)`` per cell, of the decided beginning of the planned order."""
        self._advance()
        return {cell: (k, n) for cell, (k, n) in self._counts.items()}

    def enough(self) -> bool:
        """Whether the plan's stop rule is satisfied; ``False`` without one."""
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
        trials = self._plan.trials
        while self._at < len(trials) and trials[self._at].trial_id in self._first_turns:
            trial = trials[self._at]
            self._at += 1
            first_turn = self._first_turns[trial.trial_id]
            if trial.role == "measure" and first_turn is not None:
                self._counts[trial.cell][0] += first_turn.drifted
                self._counts[trial.cell][1] += 1
                self._changed.add(trial.cell)
