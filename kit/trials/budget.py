"""Money: what is spent, what is reserved by trials in flight, and that both together never pass the cap."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable

from ..errors import InputError, clipped
from .plan import Settings


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
