"""Replies are heard while they arrive, and an interrupted one is cut off at the server where it was cut off for the ear."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from ..clip import RATE_HZ
from ..errors import InputError, ServerError
from ..session import Session
from ..wire.dialect import read_session
from ..wire.events import AUDIO_DELTA, Event, dict_of, int_of, text_of
from ..wire.records import Response
from . import Block

# What a conversation needs of a microphone and of a speaker, wherever they are.


class Source(Protocol):
    """A microphone: `kit.audio.Microphone`, or the browser's."""

    n_dropped: int

    def __aiter__(self) -> AsyncIterator[Block]: ...


class Sink(Protocol):
    """A speaker: `kit.audio.Speaker`, or the browser's. Samples are int16 at 24 kHz, counted from the first ever given."""

    @property
    def n_written(self) -> int:
        """Samples given and not dropped by `stop`."""

    @property
    def n_heard(self) -> int:
        """Samples that have come out of the converter; silence does not count."""

    @property
    def playing(self) -> bool:
        """Something is waiting to be heard."""

    @property
    def n_underruns(self) -> int:
        """How often the sound stopped because its next samples had not come."""

    @property
    def delays_ms(self) -> list[float]:
        """Per reply, from the giving of its first sample to the device's taking it."""

    def write(self, pcm: bytes) -> None:
        """Add to what is to be heard."""

    def end(self) -> None:
        """Nothing more is to come for now."""

    async def stop(self) -> int:
        """Fall silent at once; the samples heard in all."""


# Who has the floor: what of the replies was heard, and what an interruption means. No I/O, no clock.
#
# A speaker counts the samples that it was given and those that were heard, one after the other, whatever they belong to. Here
# each stretch of them is known by its item, so that an interruption can say where each reply was cut off:
#
# =====================  ===============================================================================================
# the user begins to     whatever is waiting to be heard is dropped, and belongs to nobody any more
# speak                  every item that was not heard to its end is truncated at what *was* heard
#                        a response that is still being made is cancelled, unless the server does that by itself
# what still arrives     of an interrupted response is not played
# =====================  ===============================================================================================


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


# What the server answers when the end of a response, or its own interruption, came before our request: no fault of anybody's.
_TOO_LATE = {"response_cancel_not_active"}


@dataclass(slots=True)
class Playback:
    """Feeds a speaker with a session's replies as they arrive.

    It is driven by events (`take`), so that it needs no task of its own; `play_replies` is the task around it.

    Args:
        session: Whose replies.
        sink: Where they are heard.
    """

    session: Session
    sink: Sink
    floor: Floor = field(default_factory=Floor)
    interruptions: list[Interruption] = field(default_factory=list)
    handed_ms: list[float] = field(default_factory=list)
    """Per reply, from the arrival of its first sound to its being given to the speaker: the kit's own part."""
    too_late: list[ServerError] = field(default_factory=list)
    """Requests that the server's own doing had overtaken."""
    _taken: dict[tuple[str | None, int, int], int] = field(default_factory=dict)
    _odd: bytes = b""
    _heard_first: set[str | None] = field(default_factory=set)
    _stopping: set[str | None] = field(default_factory=set)

    def __post_init__(self) -> None:
        told = output_format(self.session)
        if told != "pcm16":
            raise InputError(
                f"the session's output is {told}; to be heard here it must be pcm16: update(output_format='pcm16')"
            )

    def take(self, event: Event) -> None:
        """Hear what one event brings."""
        if event.type == AUDIO_DELTA:
            self._play(event)
        elif event.type in ("response.output_audio.done", "response.done"):
            response_id = text_of(event.data, "response_id") or text_of(dict_of(event.data, "response"), "id")
            if self.floor.may_play(response_id) and response_id in self._heard_first:
                self.sink.end()

    def _play(self, event: Event) -> None:
        response_id = text_of(event.data, "response_id")
        pcm = self._sound(event, response_id)
        if not pcm or response_id in self._stopping or not self.floor.may_play(response_id):
            return
        first = self.sink.n_written
        self.sink.write(pcm)
        item_id, index = text_of(event.data, "item_id"), int_of(event.data, "content_index")
        self.floor.give(response_id, item_id, index, first=first, n=self.sink.n_written - first)
        if response_id not in self._heard_first:
            self._heard_first.add(response_id)
            self.handed_ms.append(self.session.now_ms - event.at_ms)

    def _sound(self, event: Event, response_id: str | None) -> bytes:
        """The bytes of an audio delta: the fold has put them into its response."""
        response = response_of(self.session, response_id)
        if response is None or not event.n_audio_bytes:
            return b""
        place = response.index_of.get(text_of(event.data, "item_id") or "", int_of(event.data, "output_index"))
        key = (response_id, place, int_of(event.data, "content_index"))
        part = response.parts.get((place, key[2], "audio"))
        if part is None:
            return b""
        start = self._taken.get(key, 0)
        self._taken[key] = start + event.n_audio_bytes
        newest = part.chunks[-1] if part.chunks else b""
        up_to_date = part.n_bytes == start + event.n_audio_bytes and len(newest) == event.n_audio_bytes
        data = self._odd + (newest if up_to_date else part.sound[start : start + event.n_audio_bytes])
        self._odd = data[len(data) // 2 * 2 :]  # a delta may cut a sample in half
        return data[: len(data) // 2 * 2]

    async def interrupt(self, *, server_cancels: bool, at_ms: float | None = None) -> Interruption:
        """The user took the floor: silence at once, then the server is told what was heard.

        Args:
            at_ms: When, on the session's clock; a response that began later is the answer, and goes on. Now, if left out.
            server_cancels: The server's turn detection has cancelled the response by itself.

        Raises:
            ServerError: If the server refuses a truncation for any other reason than that it came too late.
        """
        when = self.session.now_ms if at_ms is None else at_ms
        being_made = [r.id for r in self.session.responses if r.conversation_id is not None and _being_made(r, when)]
        self._stopping.update(being_made)  # a browser takes a moment to say what was heard, and deltas come meanwhile
        n_heard = await self.sink.stop()
        told = self.floor.interrupt(n_heard, being_made=being_made, server_cancels=server_cancels)
        self._stopping.difference_update(being_made)  # from here on the floor keeps them out
        self._odd = b""
        if told.truncations or told.cancel:
            self.interruptions.append(told)
        if told.cancel is not None:
            try:
                await self.session.cancel_response(told.cancel)
            except ServerError as exc:
                if exc.code not in _TOO_LATE:
                    raise
                self.too_late.append(exc)
        for cut in told.truncations:
            await self.session.truncate_item(cut.item_id, cut.audio_end_ms, content_index=cut.content_index)
        return told

    @property
    def speaking(self) -> bool:
        """Something of a reply is waiting to be heard."""
        return self.sink.playing

    def heard_ms(self, item_id: str) -> float:
        """How much of an item has been heard."""
        return self.floor.heard_ms(item_id, self.sink.n_heard)


class play_replies:
    """Hear a session's replies while they arrive::

        async with Speaker() as speaker, play_replies(session, speaker) as playback:
            response = await session.ask("Tell me a joke.")
            await playback.drained()

    Args:
        session: Whose replies; those that begin from now on.
        sink: A `Speaker` or a `Player`.
        on_event: Called with every event of the session.
    """

    def __init__(self, session: Session, sink: Sink, *, on_event: Callable[[Event], None] | None = None) -> None:
        self.playback = Playback(session, sink)
        self._on_event = on_event
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, outside of ``async with``; `close` ends it, and so does the session."""
        events = self.playback.session.follow(from_now=True)
        self._task = asyncio.get_running_loop().create_task(self._follow(events), name="kit: playback")

    async def __aenter__(self) -> play_replies:
        self.start()
        await asyncio.sleep(0)  # the task has begun to follow: what happens from here on is heard
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End it; what is waiting is still heard."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self, events: AsyncIterator[Event]) -> None:
        async for event in events:
            self.playback.take(event)
            if self._on_event is not None:
                self._on_event(event)

    async def interrupt(self) -> Interruption:
        """Cut the reply off: silence, and the server knows what was heard."""
        return await self.playback.interrupt(server_cancels=False)

    async def drained(self) -> None:
        """Wait until what has arrived has been heard."""
        await asyncio.sleep(0)
        while self.playback.speaking:  # noqa: ASYNC110  it is the device's clock that is asked
            await asyncio.sleep(0.02)

    def heard_ms(self, item_id: str) -> float:
        """How much of an item has been heard."""
        return self.playback.heard_ms(item_id)


def response_of(session: Session, response_id: str | None) -> Response | None:
    """The session's response with that id."""
    return next((r for r in reversed(session.responses) if r.id == response_id), None)


def output_format(session: Session) -> str:
    """What the session's replies are spoken in, in beta's word; pcm16 where nothing is said."""
    return str(read_session(session.settings, "output_format") or "pcm16")


def turn_detection(session: Session) -> dict[str, object] | None:
    """The session's turn detection as the server tells it; ``None`` where it is off."""
    value = read_session(session.settings, "turn_detection")
    return value if isinstance(value, dict) else None


def _being_made(response: Response, at_ms: float) -> bool:
    begun = response.created_at_ms is not None and response.created_at_ms < at_ms
    return begun and response.status == "in_progress"
