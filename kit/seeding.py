"""A history on its way into a conversation: sent at once, every item confirmed, and mended where one was refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .errors import LocalProtocolError, SeedRefused, ServerError
from .history import History, HistoryItem
from .link import Link, Pending, new_id
from .wire.dialect import Dialect
from .wire.events import Event


class Seeding:
    """A history on its way into a conversation: which of its items are in."""

    def __init__(self, history: History) -> None:
        self.items: tuple[HistoryItem, ...] = history.items
        self.ids = [str(item.get("id") or new_id("item")) for item in self.items]
        self.accepted: set[int] = set()
        self.resumed = False

    def mended(self, history: History) -> Seeding:
        """The same seeding with corrected items, of which only the missing ones are still to be sent."""
        same = len(history) == len(self.items) and all(history.items[n] == self.items[n] for n in self.accepted)
        if not same:
            raise LocalProtocolError(
                "the last seed is incomplete, and this history differs from it in items that are in the conversation "
                "already; seed it into a new session"
            )
        self.items = history.items
        self.resumed = True
        return self

    async def send(self, link: Link, d: Dialect, timeout_s: float) -> None:
        waiting: list[tuple[int, Pending]] = []
        try:
            missing = [n for n in range(len(self.items)) if n not in self.accepted]
            creates = [self._create(d, n) for n in missing]
            for n, (create, _) in zip(missing, creates, strict=True):
                waiting.append((n, link.expect(create["event_id"], "conversation.item.added", self._confirms(n))))
            if creates:
                await link.send_all(creates)
            refused: list[tuple[int, ServerError]] = []
            deadline = link.loop.time() + timeout_s
            for n, pending in waiting:
                try:
                    event = await link.answer(
                        pending, max(0.001, deadline - link.loop.time()), f"confirmation of item {n}"
                    )
                except ServerError as exc:
                    refused.append((n, exc))
                else:
                    self.ids[n] = str(event.data["item"].get("id") or self.ids[n])
                    self.accepted.add(n)
        finally:
            for _, pending in waiting:
                link.forget(pending)
        if refused:
            index, error = refused[0]
            missing = sorted(set(range(len(self.items))) - self.accepted)
            raise SeedRefused(index=index, accepted=sorted(self.accepted), not_accepted=missing, error=error)

    def _create(self, d: Dialect, n: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """What is sent of an item, and what the event list keeps of it."""
        item = self.items[n]
        spelled = {"id": self.ids[n]} | item.spelled(d)
        event: dict[str, Any] = {"type": "conversation.item.create", "event_id": new_id("event"), "item": spelled}
        if self.resumed:
            event["previous_item_id"] = self.ids[n - 1] if n else "root"
        with_audio = any(part.clip for part in item.parts)
        return event, event | {"item": _without_audio(spelled)} if with_audio else event

    def _confirms(self, n: int) -> Callable[[Event], bool]:
        item = self.items[n]

        def confirmed(event: Event) -> bool:
            told = event.data.get("item")
            if not isinstance(told, dict) or told.get("id") in self.ids:
                return isinstance(told, dict) and told.get("id") == self.ids[n]
            # A server that gives items ids of its own confirms them in order.
            return told.get("type") == item.type and told.get("role") == item.role

        return confirmed


def _without_audio(item: Mapping[str, Any]) -> dict[str, Any]:
    parts = [
        part | {"audio": f"({len(part['audio'])} characters)"} if "audio" in part else part for part in item["content"]
    ]
    return dict(item) | {"content": parts}
