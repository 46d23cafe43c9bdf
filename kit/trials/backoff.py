"""Waiting together: when the service says "too fast" to one session, no other begins before it is time again."""

from __future__ import annotations

import asyncio

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
