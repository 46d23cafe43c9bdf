"""Who has the floor: what of the replies was heard, and what an interruption means. No I/O, no clock.

A speaker counts the samples that it was given and those that were heard, one after the other, whatever they belong to. Here
each stretch of them is known by its item, so that an interruption can say where each reply was cut off:

=====================  ===============================================================================================
the user begins to     whatever is waiting to be heard is dropped, and belongs to nobody any more
speak                  every item that was not heard to its end is truncated at what *was* heard
                       a response that is still being made is cancelled, unless the server does that by itself
what still arrives     of an interrupted response is not played
=====================  ===============================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..clip import RATE_HZ

_KEPT = 64  # stretches remembered: one per item, and a conversation's last few matter


@dataclass(slots=True)
class Stretch:
    """One content part's sound, as the speaker was given it."""

    response_id: str | None
    item_id: str | None
    content_index: int
    first: int
    """Where it begins among all the samples that the speaker was ever given."""
    n: int = 0
    """Samples of it so far, at 24 kHz."""


@dataclass(frozen=True, slots=True)
class Truncation:
    """`conversation.item.truncate`: the user heard this much of that item."""

    item_id: str
    content_index: int
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class Interruption:
    """What is to be told to the server."""

    truncations: tuple[Truncation, ...]
    cancel: str | None
    """The response to cancel; ``None`` where none is being made, or the server cancels it."""
    heard_ms: float
    """Of the reply that was cut off last; 0 where none was."""


@dataclass(slots=True)
class Floor:
    """The replies of one session, as far as they went to the speaker."""

    stretches: list[Stretch] = field(default_factory=list)
    dropped: set[str | None] = field(default_factory=set)
    """Responses that were interrupted."""

    def may_play(self, response_id: str | None) -> bool:
        """False: its response was interrupted."""
        return response_id not in self.dropped

    def give(self, response_id: str | None, item_id: str | None, content_index: int, *, first: int, n: int) -> None:
        """The speaker was given n samples of that content part, the first of them as its number `first`."""
        last = self.stretches[-1] if self.stretches else None
        if last is None or (last.item_id, last.content_index) != (item_id, content_index):
            last = Stretch(response_id, item_id, content_index, first)
            self.stretches.append(last)
            del self.stretches[:-_KEPT]
        last.n += n

    def heard_ms(self, item_id: str, n_heard: int) -> float:
        """How much of an item was heard, when `n_heard` samples in all were."""
        samples = sum(_heard(s, n_heard) for s in self.stretches if s.item_id == item_id)
        return samples * 1000 / RATE_HZ

    def interrupt(self, n_heard: int, *, being_made: Iterable[str | None] = (), server_cancels: bool) -> Interruption:
        """The user took the floor when `n_heard` samples had been heard.

        Args:
            n_heard: Of all that the speaker was given.
            being_made: The responses that are not done yet.
            server_cancels: Turn detection interrupts them by itself (``interrupt_response``).
        """
        active = list(being_made)
        cut = [s for s in self.stretches if _heard(s, n_heard) < s.n or s.response_id in active]
        cut = [s for s in cut if s.response_id not in self.dropped]
        self.dropped.update(s.response_id for s in cut)
        self.dropped.update(active)
        truncations = tuple(
            Truncation(s.item_id, s.content_index, _heard(s, n_heard) * 1000 // RATE_HZ)
            for s in cut
            if s.item_id is not None and _heard(s, n_heard) < s.n
        )
        named = [response_id for response_id in active if response_id is not None]
        return Interruption(
            truncations,
            named[-1] if named and not server_cancels else None,
            truncations[-1].audio_end_ms if truncations else 0.0,
        )


def _heard(stretch: Stretch, n_heard: int) -> int:
    return min(max(n_heard - stretch.first, 0), stretch.n)
