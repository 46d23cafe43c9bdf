"""A session: connect, seed a history, ask, listen, look at every event.

::

    session = await connect("standin")         # or: async with connect(...) as session
    await session.seed(history)
    response = await session.respond()

Everything here is a coroutine, and cancelling any of them is safe: what was sent stays sent, what the server answers is
folded in all the same, and the session goes on. There is no hidden retry and no reconnect: a drop is a `SessionClosed`.

Times are milliseconds on one monotonic clock that begins when the session is opened.
"""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import show
from .errors import (
    HistoryError,
    InputError,
    KitError,
    LocalProtocolError,
    SeedRefused,
    ServerError,
    SessionClosed,
    clipped,
)
from .history import History, HistoryItem
from .link import Link, Pending, new_id
from .wire.conversation import TAG
from .wire.dialect import MAX_APPEND_BYTES, Dialect, dialect, spell_response, spell_session
from .wire.events import Event, dict_of, encode_append
from .wire.records import Item, Items, Response
from .wire.view import ConversationView

if TYPE_CHECKING:
    from .clip import Clip

# A history on its way into a conversation: sent at once, every item confirmed, and mended where one was refused.


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


_open: weakref.WeakSet[Session] = weakref.WeakSet()


def sessions() -> list[Session]:
    """The sessions that are open now."""
    return [session for session in _open if not session.closed]


class Session(ConversationView):
    """One Realtime session. Made by `connect`.

    Attributes:
        endpoint: Where it is.
        dialect: How it is spelled.
        redactor: Takes what this connection sent as a secret, and whatever looks like one, out of text.
    """

    def __init__(self, link: Link) -> None:
        super().__init__(link.conversation, link.events)
        self.endpoint = link.endpoint
        self.dialect: Dialect = dialect(link.endpoint.dialect)
        self.redactor = link.redactor
        self._link = link
        self._seeding: Seeding | None = None
        self._finalizer = weakref.finalize(self, link.drop)
        self._finalizer.atexit = False  # the loop is gone by then, and the operating system closes sockets
        _open.add(self)

    # ------------------------------------------------------------------------------------------------------ what it is

    @property
    def model(self) -> str | None:
        """As the server names it; else as it was asked for."""
        return super().model or self.endpoint.model

    @property
    def _n_dropped(self) -> int:
        return self._link.n_events - len(self._link.events)

    @property
    def now_ms(self) -> float:
        """The session's clock: milliseconds since it was opened."""
        return self._link.now_ms()

    @property
    def replay(self) -> str | None:
        """What is played again here, if this is a replay of a log."""
        return self._link.replay

    @property
    def closed(self) -> SessionClosed | None:
        """How it ended; ``None`` while it is open."""
        return self._link.closed

    def __repr__(self) -> str:
        mark = show.origin_word(self.simulated)
        state = "closed" if self.closed else "open"
        return (
            f"<Session {state} at {self.endpoint.name}, {self.model}, {self.dialect.name}, "
            f"{len(self._link.conversation.items)} items, {len(self._link.conversation.responses)} responses"
            f"{f', {mark}' if mark else ''}>"
        )

    def _repr_html_(self) -> str:
        rows = [
            [
                str(n),
                show.badge(r.modality),
                show.esc(r.words),
                show.esc(r.status),
                show.ms(r.first_audio_ms),
                show.ms(r.done_ms),
            ]
            for n, r in enumerate(self._link.conversation.responses)
        ]
        drift = (self.settings.get("simulated") or {}).get("drift")
        facts: list[tuple[str, object]] = [
            ("model", self.model),
            ("dialect", self.dialect.name),
            ("items", len(self.items)),
        ]
        return show.card(
            f"<b>session</b> at {show.esc(self.endpoint.name)} {show.origin(self.simulated)} {'closed' if self.closed else 'open'}",
            show.facts([*facts, ("drift rule", drift)] if drift else facts),
            show.table(rows, ["", "modality", "says", "status", "first audio", "done"]) if rows else "no responses yet",
        )

    # ---------------------------------------------------------------------------------------------------- what it does

    async def update(
        self, *, raw: Mapping[str, Any] | None = None, timeout_s: float = 10, **settings: Any
    ) -> dict[str, Any]:
        """Change the session's settings; returns the whole session object as the server tells it.

        Args:
            raw: Fields of the `session` object as they go over the wire, beside or instead of `settings`.
            **settings: In the kit's words, the same for both dialects: ``instructions, modality ("audio" | "text"), voice,
                speed, input_format, output_format, turn_detection (None: manual), transcription, noise_reduction, tools,
                tool_choice, max_output_tokens, temperature (beta), truncation (GA), …``

        Raises:
            InputError: For a setting that there is not, or not in this dialect.
            ServerError: If the service refuses it; it then discards the whole update.
        """
        body = spell_session(settings, self.dialect) | dict(raw or {})
        event = await self._request({"type": "session.update", "session": body}, "session.updated", timeout_s)
        return dict_of(event.data, "session")

    async def seed(self, history: History, *, check: bool = True, timeout_s: float = 30) -> Items:
        """Put a history into the conversation: sent at once, and every item confirmed.

        If an item is refused the conversation is not the one you meant, so `respond` refuses too, until it is mended:
        seed the corrected history again and only the items that are missing are sent, each to its place.

        Args:
            history: What to seed.
            check: Raise `HistoryError`, before anything is sent, for what `History.lint` finds. ``False`` lets the service
                refuse it.
            timeout_s: For all confirmations together.

        Returns:
            The items as the server confirmed them, in order.

        Raises:
            HistoryError: See `check`.
            SeedRefused: Naming the first item that the service refused, and which were accepted.
        """
        if not isinstance(history, History):
            raise InputError(
                f"seed() takes a History, not {clipped(history)}; a list of events: History.from_events(…)"
            )
        findings = history.lint(self.dialect) if check else []
        if findings:
            raise HistoryError(
                f"{len(findings)} of {len(history)} items would be refused, so nothing was sent: {findings[0]} "
                "(seed(history, check=False) lets the service refuse it)",
                findings,
            )
        seeding = self._seeding.mended(history) if self._seeding else Seeding(history)
        self._seeding = seeding  # stays, should we be cancelled or an item be refused
        await seeding.send(self._link, self.dialect, timeout_s)
        self._seeding = None
        return Items(item for item_id in seeding.ids if (item := self._link.conversation.item(item_id)))

    async def respond(
        self,
        *,
        partial: bool = False,
        timeout_s: float = 60,
        metadata: Mapping[str, str] | None = None,
        input: History | Sequence[Mapping[str, Any]] | None = None,
        raw: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Response:
        """Ask for a response and wait until it is done.

        A response that failed, was cancelled or is incomplete is returned, not raised: its `status` and `reason` say so.

        Args:
            partial: Answer although the last seed is incomplete.
            timeout_s: For the whole response. When it runs out, the response goes on at the server.
            metadata: Echoed by the server. The kit adds a key of its own, by which it knows its response.
            input: The items to answer instead of the conversation's; with ``conversation="none"`` the response stays out of it.
            raw: Fields of the `response` object as they go over the wire.
            **settings: In the kit's words: ``modality, instructions, voice, conversation ("auto" | "none"), tools,
                tool_choice, max_output_tokens, temperature (beta), …``

        Raises:
            LocalProtocolError: If the last seed is incomplete.
            ServerError: If the service refuses to make one.
            SessionClosed, ResponseTimeout: With the last events in ``.tail``.
        """
        if self._seeding is not None and not partial:
            raise LocalProtocolError(
                f"the last seed is incomplete (in the conversation are items {sorted(self._seeding.accepted)} of "
                f"{len(self._seeding.ids)}); seed the mended history, or respond(partial=True)"
            )
        event_id = new_id("event")
        if input is not None:
            settings["input"] = (
                input.spelled(self.dialect) if isinstance(input, History) else [dict(item) for item in input]
            )
        body = spell_response(settings | {"metadata": dict(metadata or {}) | {TAG: event_id}}, self.dialect) | dict(
            raw or {}
        )

        def ours(event: Event) -> bool:
            response = self._response_of(event)
            return response is not None and response.event_id == event_id

        create = {"type": "response.create", "event_id": event_id, "response": body}
        done = await self._request(create, "response.done", timeout_s, ours)
        response = self._response_of(done)
        assert response is not None  # `ours` found it
        return response

    async def ask(self, content: str | Clip, *, timeout_s: float = 60, **settings: Any) -> Response:
        """Add a user's turn, text or a `Clip`, and ask for the response to it. Settings are those of `respond`."""
        if self._seeding is None:
            await self.seed(History().user(content), timeout_s=timeout_s)
        elif settings.get("partial"):  # else `respond` says that the seed is incomplete
            await Seeding(History().user(content)).send(self._link, self.dialect, timeout_s)
        return await self.respond(timeout_s=timeout_s, **settings)

    async def append_audio(self, audio: Clip | bytes) -> None:
        """Append sound to the input buffer. Nothing confirms it; with turn detection on, the server listens as it comes.

        Args:
            audio: A `Clip`, or little-endian bytes in the session's input format.
        """
        pcm = audio if isinstance(audio, bytes | bytearray | memoryview) else _bytes_of(audio)
        for start in range(0, len(pcm), MAX_APPEND_BYTES):
            piece = bytes(pcm[start : start + MAX_APPEND_BYTES])
            event_id = new_id("event")
            event = {"type": "input_audio_buffer.append", "event_id": event_id}
            await self._link.send(
                event, encoded=encode_append(piece, event_id), shown=event | {"audio": f"({len(piece)} bytes)"}
            )

    async def commit_audio(self, *, timeout_s: float = 10) -> Item:
        """Make a user's item of the input buffer; asks for no response.

        Raises:
            ServerError: ``input_audio_buffer_commit_empty`` below 100 ms of audio.
        """
        added = self._link.expect(
            None, "conversation.item.added", lambda e: dict_of(e.data, "item").get("role") == "user"
        )
        try:
            event = await self._request(
                {"type": "input_audio_buffer.commit"}, "input_audio_buffer.committed", timeout_s
            )
            item_id = str(event.data.get("item_id"))
            if self._link.conversation.item(item_id) is None:
                await self._link.answer(added, timeout_s, "conversation.item.added")
        finally:
            self._link.forget(added)
        return self._link.conversation.item(item_id) or Item(item_id, {})

    async def clear_audio(self, *, timeout_s: float = 10) -> None:
        """Throw away what is in the input buffer."""
        await self._request({"type": "input_audio_buffer.clear"}, "input_audio_buffer.cleared", timeout_s)

    async def cancel_response(self, response: Response | str | None = None, *, timeout_s: float = 10) -> Response:
        """Stop a response, the active one unless another is given, and wait for its end.

        Raises:
            ServerError: ``response_cancel_not_active`` if there is none.
        """
        response_id = response.id if isinstance(response, Response) else response
        event: dict[str, Any] = {"type": "response.cancel"} | ({"response_id": response_id} if response_id else {})

        def ended(event: Event) -> bool:
            found = self._response_of(event)
            return found is not None and response_id in (None, found.id)

        told = self._response_of(await self._request(event, "response.done", timeout_s, ended))
        assert told is not None  # `ended` found it
        return told

    async def truncate_item(
        self, item: Item | str, audio_end_ms: int, *, content_index: int = 0, timeout_s: float = 10
    ) -> None:
        """Cut a spoken assistant item where the user stopped hearing it; the server drops its transcript with the rest."""
        await self._on_item(
            "truncate", "truncated", item, timeout_s, content_index=content_index, audio_end_ms=int(audio_end_ms)
        )

    async def delete_item(self, item: Item | str, *, timeout_s: float = 10) -> None:
        """Take an item out of the conversation."""
        await self._on_item("delete", "deleted", item, timeout_s)

    async def retrieve_item(self, item: Item | str, *, timeout_s: float = 10) -> dict[str, Any]:
        """An item as the server has it, its audio included (base64)."""
        event = await self._on_item("retrieve", "retrieved", item, timeout_s)
        return dict_of(event.data, "item")

    def _response_of(self, event: Event) -> Response | None:
        told = dict_of(event.data, "response").get("id")
        return self._link.conversation.response(told) if isinstance(told, str) else None

    async def _on_item(self, verb: str, done: str, item: Item | str, timeout_s: float, **fields: Any) -> Event:
        item_id = item.id if isinstance(item, Item) else item
        if not isinstance(item_id, str):
            raise InputError(f"{verb}_item() takes an item or its id, not {clipped(item)}; session.items lists them")

        def same(event: Event) -> bool:
            return item_id in (event.data.get("item_id"), dict_of(event.data, "item").get("id"))

        event = {"type": f"conversation.item.{verb}", "item_id": item_id, **fields}
        return await self._request(event, f"conversation.item.{done}", timeout_s, same)

    async def send(self, event: Mapping[str, Any]) -> str:
        """Send any client event as it is, and wait for nothing; returns its event id. Errors go to `errors`."""
        if not isinstance(event, Mapping) or not isinstance(event.get("type"), str):
            raise InputError(f"an event is a mapping with a type, not {clipped(event)}")
        event_id = str(event.get("event_id") or new_id("event"))
        await self._link.send(dict(event) | {"event_id": event_id})
        return event_id

    async def wait_for(self, type: str, *, timeout_s: float = 30) -> Event:
        """The next server event of that type (GA's name for it)."""
        return await self._link.answer(self._link.expect(None, type), timeout_s, type)

    def __aiter__(self) -> AsyncIterator[Event]:
        """Events as they come and go, both ways, from the first one on; ends when the session does. See `follow`."""
        return self.follow()

    async def follow(self, *, from_now: bool = False) -> AsyncIterator[Event]:
        """Events as they come and go, both ways, until the session ends: all of them, or those from now on.

        Raises:
            KitError: If the reader falls so far behind that events it has not seen are no longer kept.
        """
        link = self._link
        seen = link.n_events if from_now else 0
        while True:
            while seen < link.n_events:
                kept_from = link.n_events - len(link.events)
                if seen < kept_from:
                    raise KitError(f"{kept_from - seen} events were not read in time; read them as they come")
                yield link.events[seen - kept_from]
                seen += 1
            if link.closed is not None:
                return
            await link.arrival()

    async def _request(self, event: Mapping[str, Any], reply: str, timeout_s: float, match: Any = None) -> Event:
        """Send an event and wait for what answers it."""
        event = {"type": event["type"], "event_id": new_id("event")} | dict(event)
        pending = self._link.expect(event["event_id"], reply, match)
        try:
            await self._link.send(event)
            return await self._link.answer(pending, timeout_s, reply)
        finally:
            self._link.forget(pending)

    # --------------------------------------------------------------------------------------------------------- closing

    async def close(self) -> None:
        """Close the session. Closing twice is fine."""
        self._finalizer.detach()
        _open.discard(self)
        await self._link.close()

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()


def _bytes_of(audio: object) -> bytes:
    from .clip import Clip  # with numpy, which a session of text has no use for

    if not isinstance(audio, Clip):
        raise InputError(
            f"append_audio() takes a Clip or bytes, not {clipped(audio)}; open a sound file with Clip.load()"
        )
    return audio.to_bytes()
