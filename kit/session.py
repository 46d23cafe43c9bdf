"""A Realtime session: connect, seed a history, ask, listen, look at every event.

::

    session = await connect("standin")         # or: async with connect(...) as session
    await session.seed(history)
    response = await session.respond()

What it shares with GPT-Live's (its loop, its events, its end) is in `kit.base`: there, too, what cancelling a verb means.

Times are milliseconds on one monotonic clock that begins when the session is opened.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import show
from .base import OpenSession, check_history, verb
from .errors import HistoryError, InputError, LocalProtocolError, SeedRefused, ServerError, clipped
from .history import History, HistoryItem
from .link import Link, new_id
from .services import HISTORY_HZ
from .wire.conversation import TAG, Conversation, ConversationView
from .wire.dialect import MAX_APPEND_BYTES, Dialect, dialect, spell_response, spell_session
from .wire.events import Event, dict_of, encode_append, text_of
from .wire.records import Item, Items, Response

if TYPE_CHECKING:
    from .clip import Clip


_ITEM_ADDED = "conversation.item.added"


class Seeding:
    """A history on its way into a conversation: sent at once, each item confirmed, and mended if some did not go in.

    ==========================  =======================================================================================
    the server                  an item is in the conversation
    ==========================  =======================================================================================
    keeps the ids it is sent    once an item with its id was added; also after the wait was cancelled or timed out
    makes ids of its own        once an item of the same type, role and words was added. Each added item confirms one
    refuses an item             never: its `error` names the item's `conversation.item.create`
    answers nothing             if, asked for that id by the next `seed`, it has the item (`conversation.item.retrieve`).
                                Only then is it known that nothing is sent twice
    ==========================  =======================================================================================
    """

    def __init__(self, history: History, conversation: Conversation, *, own_ids: bool = False) -> None:
        # In the order of the history: `accepted`, `sent` and errors name an item by its index here.
        self.items: tuple[HistoryItem, ...] = history.items
        # As they are sent, and as the server names them once it has confirmed them.
        self.ids = [str(item.get("id") or new_id("item")) for item in self.items]
        # Indexes of the items that are in the conversation, and of those that were sent and not refused.
        self.accepted: set[int] = set()
        self.sent: set[int] = set()
        # The item before the first, for items that are sent again. Others are appended in their order.
        self._previous_id = (conversation.items[-1].id if conversation.items else None) or "root"
        # After `mend`: items then go out with their place, since those around them may be there already.
        self._is_resumed = False
        # Items that are not of this history, or have confirmed one of its items already.
        self._spent = {item.id for item in conversation.items}
        # Whether the server keeps the ids that it is sent; None until an item shows it.
        self._keeps_ids: bool | None = False if own_ids else None
        # The last confirmation and whose it is: every waiting item looks at it.
        self._confirmation: tuple[Event | None, int | None] = (None, None)

    @property
    def is_complete(self) -> bool:
        return len(self.accepted) == len(self.items)

    def mend(self, history: History) -> None:
        """Replace the items by corrected ones, of which only those that are missing are still to be sent."""
        same = len(history) == len(self.items) and all(history.items[n] == self.items[n] for n in self.accepted)
        if self.accepted and not same:
            raise LocalProtocolError("this history differs from what the last seed put in already; open a new session")
        # An item that was sent keeps its id: should it be there after all, the server refuses a second one of that id.
        ids = self.ids + [new_id("item") for _ in history.items[len(self.ids) :]]
        self.ids = [
            ids[n] if n in self.accepted else str(item.get("id") or ids[n]) for n, item in enumerate(history.items)
        ]
        self.items = history.items
        self._is_resumed = True

    def find(self, conversation: Conversation) -> None:
        """Accept what was added to the conversation without anybody waiting for it."""
        for item in conversation.items:
            n = self._confirmed(item.id, item.data) if item.id is not None else None
            if n is not None:
                self.accepted.add(n)

    async def ask(self, link: Link[Conversation], timeout_s: float) -> None:
        """Find out what became of items that were sent and never answered.

        Raises:
            ResponseTimeout: If the server does not say.
            LocalProtocolError: If it cannot say, since it names items by ids of its own.
        """
        self.find(link.conversation)
        unknown = sorted(self.sent - self.accepted)
        if unknown and self._keeps_ids is False:
            problem = f"this server names items by ids of its own and did not confirm items {unknown}"
            raise LocalProtocolError(f"{problem}; they may be there or not: seed the history into a new session")
        # What is refused is not there: the server has none of that id.
        requests = {}
        for n in unknown:
            event = {"type": "conversation.item.retrieve", "event_id": new_id("event"), "item_id": self.ids[n]}
            requests[n] = event, event
        reply, subject = "conversation.item.retrieved", "word of item"
        await self._request_each(link, requests, reply, self._is_item, timeout_s, subject)
        self.find(link.conversation)

    async def send(self, link: Link[Conversation], d: Dialect, timeout_s: float) -> None:
        """Send what is missing, and wait until all of it is confirmed.

        Raises:
            SeedRefused: If the service refuses an item.
            ResponseTimeout: If a confirmation does not come.
        """
        missing = [n for n in range(len(self.items)) if n not in self.accepted]
        # Only of these can "it is there already" mean success: at a first sending, the history itself has an id twice.
        sent_before = self.sent.copy()
        creates = {n: self._create(d, n) for n in missing}
        # Before the sending: a call that is cancelled in its middle does not know what went out.
        self.sent.update(missing)
        refused: list[tuple[int, ServerError]] = []
        reply, subject = _ITEM_ADDED, "confirmation of item"
        for n, error in await self._request_each(link, creates, reply, self._confirms, timeout_s, subject):
            if n in sent_before and error.code == "item_create_duplicate_item_id":
                self.accepted.add(n)  # it is there, though the server did not say so when asked
            else:
                refused.append((n, error))
                self.sent.discard(n)  # it is certainly not there, so the next `seed` need not ask for it
        if refused:
            index, error = refused[0]
            missing = sorted(set(range(len(self.items))) - self.accepted)
            raise SeedRefused(index=index, accepted=sorted(self.accepted), not_accepted=missing, error=error)

    async def _request_each(
        self,
        link: Link[Conversation],
        requests: Mapping[int, tuple[dict[str, Any], dict[str, Any]]],
        reply: str,
        match: Callable[[int], Callable[[Event], bool]],
        timeout_s: float,
        subject: str,
    ) -> list[tuple[int, ServerError]]:
        """Send a request for each of these items at once, accept those that are answered, and return the others' refusals."""
        refused: list[tuple[int, ServerError]] = []
        deadline = link.loop.time() + timeout_s
        # Registered before anything is sent: replies come while the rest still goes out.
        waiting = [(n, link.expect(event["event_id"], reply, match(n))) for n, (event, _) in requests.items()]
        try:
            if requests:
                await link.send_all(list(requests.values()))
            for n, pending in waiting:
                try:
                    # Most are answered by the time that the first is, and need no wait.
                    if not pending.future.done() or pending.future.exception() is not None:
                        await link.answer(pending, max(0.001, deadline - link.loop.time()), f"{subject} {n}")
                    self.accepted.add(n)
                except ServerError as exc:
                    refused.append((n, exc))
        finally:
            for _, pending in waiting:
                link.forget(pending)
        return refused

    def _create(self, d: Dialect, n: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """The event that creates an item, and what the event list keeps of it."""
        item = self.items[n]
        wire_item = {"id": self.ids[n]} | item.serialize(d)
        event: dict[str, Any] = {"type": "conversation.item.create", "event_id": new_id("event"), "item": wire_item}
        # Appending would put it behind the items that went in (wire/README.md, Positions).
        if self._is_resumed:
            event["previous_item_id"] = self.ids[n - 1] if n else self._previous_id
        # The event list would hold each clip once more, as base64.
        with_audio = any(part.clip for part in item.parts)
        return event, event | {"item": _without_audio(wire_item)} if with_audio else event

    def _is_item(self, n: int) -> Callable[[Event], bool]:
        return lambda event: dict_of(event.data, "item").get("id") == self.ids[n]

    def _confirms(self, n: int) -> Callable[[Event], bool]:
        def confirms(event: Event) -> bool:
            if event is not self._confirmation[0]:
                item = dict_of(event.data, "item")
                self._confirmation = event, self._confirmed(text_of(item, "id"), item) if item else None
            return self._confirmation[1] == n

        return confirms

    def _confirmed(self, item_id: str | None, item: Mapping[str, Any]) -> int | None:
        """Return which item of the history an item of the server's confirms; ``None``: none of them."""
        if item_id is not None:
            if item_id in self.ids:
                self._keeps_ids = self._keeps_ids is not False
                return self.ids.index(item_id)
            if item_id in self._spent:
                return None
        # Such a server confirms an item under the id that it was sent, so this one is somebody else's.
        if self._keeps_ids:
            return None
        kind = item.get("type"), item.get("role")
        waiting = [n for n in sorted(self.sent - self.accepted) if (self.items[n].type, self.items[n].role) == kind]
        if not waiting:
            return None
        # The one of the same words; the first, if the server repeats none or changes them.
        words = [part.get("text") for part in Item(item_id, dict(item)).parts]
        n = next((n for n in waiting if words == [part.text for part in self.items[n].parts]), waiting[0])
        if item_id is not None:
            self._spent.add(item_id)
            self.ids[n] = item_id
        self._keeps_ids = False
        self.accepted.add(n)  # now, so that the next one of the same words confirms another
        return n


def _without_audio(item: Mapping[str, Any]) -> dict[str, Any]:
    parts = [
        part | {"audio": f"({len(part['audio'])} characters)"} if "audio" in part else part for part in item["content"]
    ]
    return dict(item) | {"content": parts}


class Session(OpenSession, ConversationView):
    """One Realtime session, made by `connect`.

    Attributes:
        dialect: How its events are spelled.
    """

    def __init__(self, link: Link[Conversation]) -> None:
        super().__init__(link)
        self.dialect: Dialect = dialect(link.endpoint.dialect)
        self.spoken = self.dialect.name
        # A seed that did not go in as a whole: `respond` refuses until it is mended.
        self._seeding: Seeding | None = None

    def _greeting(self, place: str) -> str:
        if self.replay:
            return f"connected to {self.replay.strip('<>')} (free: nothing is sent anywhere)"
        where = self.endpoint
        # A stand-in behind a URL looks like a service that may charge; its handshake says what it is.
        cost = "a stand-in: free, simulated" if self.simulated and where.name != "standin" else where.who_pays
        rule = f"; drift rule: {self.drift_rule}" if self.drift_rule else ""
        return f"connected to {place}, {self.model}, {self.dialect.name} ({cost}{rule})"

    async def _begin(self, settings: Mapping[str, Any], timeout_s: float) -> None:
        if settings:
            await self.update(**settings)

    # ------------------------------------------------------------------------------------------------------ what it is

    def __repr__(self) -> str:
        mark = show.origin_word(self.simulated)
        state = "closed" if self.closed else "open"
        return (
            f"<Session {state} at {self.endpoint.name}, {show.one_line(self.model)}, {self.dialect.name}, "
            f"{len(self._conversation.items)} items, {len(self._conversation.responses)} responses"
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
            for n, r in enumerate(self._conversation.responses)
        ]
        drift = self.drift_rule
        facts: dict[str, object] = {"model": self.model, "dialect": self.dialect.name, "items": len(self.items)}
        facts |= {"drift rule": drift} if drift else {}
        return show.card(
            f"<b>session</b> at {show.esc(self.endpoint.name)} {show.origin(self.simulated)} {'closed' if self.closed else 'open'}",
            show.facts(facts.items()),
            show.table(rows, ["", "modality", "says", "status", "first audio", "done"]) if rows else "no responses yet",
        )

    # ----------------------------------------------------------------------------------------------------------- verbs

    @verb
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
        # `session.updated` never has the client's event id, so the next one is taken (wire/README.md, Session updates).
        event = await self._request({"type": "session.update", "session": body}, "session.updated", timeout_s)
        return dict_of(event.data, "session")

    @verb
    async def seed(self, history: History, *, check: bool = True, timeout_s: float = 30) -> Items:
        """Put a history into the conversation: sent at once, and every item confirmed.

        If an item is refused the conversation is not the one that was meant, so `respond` refuses too, until it is mended:
        seed the corrected history again and only the items that are missing are sent, each to its place. After a cancelled or
        timed-out seed, the same call goes on: what the conversation holds is not sent again.

        Args:
            check: Raise `HistoryError` for what `History.lint` finds, before anything is sent. ``False`` lets the service refuse it.
            timeout_s: For all confirmations together.

        Returns:
            The items as the server confirmed them, in order.

        Raises:
            SeedRefused: Names the first item that the service refused, and which were accepted.
            ResponseTimeout: If a confirmation does not come.
            LocalProtocolError: If the last seed is incomplete and `history` is not a correction of it.
        """
        check_history(history)
        if check:
            self._lint(history)
        seeding = self._seeding
        if seeding is not None:
            # What was sent and never answered may be there: sent again unasked, it would be there twice.
            await seeding.ask(self._link, timeout_s)
            if seeding.is_complete and history.items != seeding.items:
                seeding = None  # it went in after all, and this one follows it
            else:
                seeding.mend(history)
        self._seeding = seeding = seeding or self._seeding_of(history)
        await seeding.send(self._link, self.dialect, timeout_s)
        self._seeding = None  # not reached if this is cancelled or an item is refused
        return Items(item for item_id in seeding.ids if (item := self._conversation.item(item_id)))

    @verb
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
        if not partial:
            self._check_seeded()
        event_id = new_id("event")
        if input is not None:
            items = input.serialize(self.dialect) if isinstance(input, History) else input
            settings["input"] = [dict(item) for item in items]
        # By its mark a response is known. Where it would not come back, their order has to do, and no mark is sent: a server that
        # does not know the field may refuse it.
        mark = {} if self.endpoint.cannot("echoes_metadata") else {TAG: event_id}
        if metadata or mark:
            settings["metadata"] = dict(metadata or {}) | mark
        body = spell_response(settings, self.dialect) | dict(raw or {})

        # `response.done` does not name the request; the fold has matched the two, by the mark or by order.
        def is_asked_for(event: Event) -> bool:
            response = self._response_of(event)
            return response is not None and response.event_id == event_id

        def html() -> str | None:
            arriving = next((r for r in reversed(self._conversation.responses) if r.event_id == event_id), None)
            return arriving._repr_html_() if arriving else None

        create = {"type": "response.create", "event_id": event_id, "response": body}
        with show.while_it_arrives(html) if self.shows_replies else contextlib.nullcontext():
            response = self._response_of(await self._request(create, "response.done", timeout_s, is_asked_for))
        assert response is not None  # as `is_asked_for` made sure
        return response

    @verb
    async def ask(self, content: str | Clip, *, timeout_s: float = 60, **settings: Any) -> Response:
        """Add a user's turn, text or a `Clip`, and ask for the response to it.

        Args:
            timeout_s: For the turn's confirmation, and again for the response.
            **settings: As `respond` takes them; it raises what `respond` raises.

        Raises:
            SeedRefused: If the service refuses the turn.
        """
        turn = History().user(content)
        if not settings.get("partial"):
            self._check_seeded()
        self._lint(turn)
        # Not kept to be mended: whoever cancels this, or is refused, asks something else.
        await self._seeding_of(turn).send(self._link, self.dialect, timeout_s)
        return await self.respond(timeout_s=timeout_s, **settings)

    def _seeding_of(self, history: History) -> Seeding:
        return Seeding(history, self._conversation, own_ids=self.endpoint.cannot("keeps_ids") is not None)

    def _check_seeded(self) -> None:
        """Raise if the last seed is incomplete. Confirmations that came since count."""
        if self._seeding is None:
            return
        self._seeding.find(self._conversation)
        if not self._seeding.is_complete:
            n_in = f"{sorted(self._seeding.accepted)} of {len(self._seeding.ids)}"
            raise LocalProtocolError(
                f"the last seed is incomplete: in it are items {n_in}; mend it, or respond(partial=True)"
            )
        self._seeding = None

    def _lint(self, history: History) -> None:
        kinds: dict[tuple[str | None, bool], int] = {}  # of items, and where each comes first
        for n, item in enumerate(history.items):
            kinds.setdefault((item.role, any(part.clip is not None for part in item.parts)), n)
        for (role, has_sound), n in kinds.items():
            reason = self.endpoint.cannot(roles=[role] if role else [], with_sound=has_sound)
            if reason is not None:
                raise HistoryError(f"item {n}: {reason}; nothing was sent (seed(history, check=False) tries it)")
        findings = history.lint(self.dialect)
        if findings:
            problem = f"{len(findings)} of {len(history)} items would be refused, so nothing was sent: {findings[0]}"
            raise HistoryError(f"{problem} (seed(history, check=False) lets the service refuse it)", findings)

    @verb
    async def append_audio(self, audio: Clip | bytes) -> None:
        """Append sound to the input buffer. The server does not confirm it; with turn detection on, it listens as it comes.

        Args:
            audio: A `Clip`, which is brought to the rate that the endpoint is known to take; or little-endian bytes in the session's
                input format.
        """
        rate_hz = self.endpoint.capabilities.input_hz or HISTORY_HZ
        pcm = audio if isinstance(audio, bytes | bytearray | memoryview) else _bytes_of(audio, rate_hz)
        # So much that it is within the limit as base64, too, which is a third longer; a multiple of every sample's size.
        most = MAX_APPEND_BYTES // 4 * 3
        for start in range(0, len(pcm), most):
            piece = bytes(pcm[start : start + most])
            event_id = new_id("event")
            event = {"type": "input_audio_buffer.append", "event_id": event_id}
            listed = event | {"audio": f"({len(piece)} bytes)"}
            await self._link.send(event, encoded=encode_append(piece, event_id), listed=listed)

    @verb
    async def commit_audio(self, *, timeout_s: float = 10) -> Item:
        """Make a user's item of the input buffer. This asks for no response.

        Raises:
            ServerError: ``input_audio_buffer_commit_empty`` below 100 ms of audio.
        """
        # `committed` only names the item, which comes in an event of its own (wire/README.md, Event orders). Expected
        # before the commit goes out, or it may come first.
        added = self._link.expect(None, _ITEM_ADDED, lambda event: dict_of(event.data, "item").get("role") == "user")
        try:
            commit = {"type": "input_audio_buffer.commit"}
            event = await self._request(commit, "input_audio_buffer.committed", timeout_s)
            item_id = str(event.data.get("item_id"))
            if self._conversation.item(item_id) is None:
                await self._link.answer(added, timeout_s, _ITEM_ADDED)
        finally:
            self._link.forget(added)
        return self._conversation.item(item_id) or Item(item_id, {})

    @verb
    async def clear_audio(self, *, timeout_s: float = 10) -> None:
        """Empty the input buffer."""
        await self._request({"type": "input_audio_buffer.clear"}, "input_audio_buffer.cleared", timeout_s)

    @verb
    async def cancel_response(self, response: Response | str | None = None, *, timeout_s: float = 10) -> Response:
        """Stop a response, by default the active one, and wait for its end.

        Raises:
            ServerError: ``response_cancel_not_active`` if there is none.
        """
        response_id = response.id if isinstance(response, Response) else response
        event: dict[str, Any] = {"type": "response.cancel"} | ({"response_id": response_id} if response_id else {})

        def is_ended(event: Event) -> bool:
            response = self._response_of(event)
            return response is not None and response_id in (None, response.id)

        response = self._response_of(await self._request(event, "response.done", timeout_s, is_ended))
        assert response is not None  # as `is_ended` made sure
        return response

    @verb
    async def truncate_item(
        self, item: Item | str, audio_end_ms: int, *, content_index: int = 0, timeout_s: float = 10
    ) -> None:
        """Cut a spoken assistant item where the user stopped hearing it.

        The server drops its whole transcript with the sound after `audio_end_ms`, milliseconds of this sound.
        """
        where = {"content_index": content_index, "audio_end_ms": int(audio_end_ms)}
        await self._on_item("truncate", "truncated", item, timeout_s, **where)

    @verb
    async def delete_item(self, item: Item | str, *, timeout_s: float = 10) -> None:
        """Take an item out of the conversation."""
        await self._on_item("delete", "deleted", item, timeout_s)

    @verb
    async def retrieve_item(self, item: Item | str, *, timeout_s: float = 10) -> dict[str, Any]:
        """Return an item as the server has it, its audio included (base64)."""
        event = await self._on_item("retrieve", "retrieved", item, timeout_s)
        return dict_of(event.data, "item")

    def _response_of(self, event: Event) -> Response | None:
        response_id = text_of(dict_of(event.data, "response"), "id")
        return self._conversation.response(response_id) if response_id is not None else None

    async def _on_item(self, verb: str, done: str, item: Item | str, timeout_s: float, **fields: Any) -> Event:
        item_id = item.id if isinstance(item, Item) else item
        if not isinstance(item_id, str):
            raise InputError(f"{verb}_item() takes an item or its id, not {clipped(item)}; session.items lists them")

        # `deleted` and `truncated` have the id, `retrieved` the whole item (wire/README.md, Server events).
        def is_same_item(event: Event) -> bool:
            return item_id in (event.data.get("item_id"), dict_of(event.data, "item").get("id"))

        event = {"type": f"conversation.item.{verb}", "item_id": item_id, **fields}
        return await self._request(event, f"conversation.item.{done}", timeout_s, is_same_item)


def _bytes_of(audio: object, rate_hz: int) -> bytes:
    from .clip import Clip  # with numpy, which a session of text has no use for

    if not isinstance(audio, Clip):
        raise InputError(f"append_audio() takes a Clip or bytes, not {clipped(audio)}; a sound file: Clip.load()")
    return audio.to_bytes("pcm16-16k" if rate_hz == 16_000 else "pcm16")
