"""Hear replies while they arrive, and tell the server what was heard of a reply that was interrupted.

A speaker counts the samples that it was given and those that were heard, one after the other, whatever they belong to.
`PlaybackPosition` knows each stretch of them by its item, so that an interruption can say where each reply was cut off:

=====================  ===============================================================================================
the user begins to     whatever is waiting to be heard is dropped
speak                  every item that was not heard to its end is truncated at what *was* heard
                       a response in progress is cancelled, unless the server does that by itself
what still arrives     of an interrupted response is not played
=====================  ===============================================================================================
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..clip import RATE_HZ
from ..errors import InputError, ServerError
from ..session import Session
from ..wire.dialect import read_session
from ..wire.events import AUDIO_DELTA, Event, dict_of, int_of, text_of
from ..wire.records import Response

_MAX_STRETCHES = 64  # remembered, one per content part: a conversation's last few matter


class Sink(Protocol):
    """A speaker: `kit.audio.Speaker`, or the browser's. Samples are int16 at 24 kHz, counted from the first ever written."""

    n_underruns: int
    """How often the sound stopped because its next samples had not come."""
    delays_ms: list[float]
    """For each reply, from the writing of its first sample to the device's taking it."""

    @property
    def n_written(self) -> int:
        """Samples given and not dropped by `stop`."""

    @property
    def n_heard(self) -> int:
        """Samples that have come out of the converter; silence does not count."""

    @property
    def playing(self) -> bool:
        """Something is waiting to be heard."""

    def write(self, pcm: bytes) -> None:
        """Add to what is to be heard."""

    def end(self) -> None:
        """The reply is complete."""

    async def stop(self) -> int:
        """Fall silent at once; returns the samples heard in all."""


@dataclass(slots=True)
class Stretch:
    """One content part's sound, as the speaker was given it: `n` samples, the first with this number of all ever given."""

    response_id: str | None
    item_id: str | None
    content_index: int
    first: int
    n: int = 0

    def n_heard(self, n_heard: int) -> int:
        """Its samples that were heard, when `n_heard` in all were."""
        return min(max(n_heard - self.first, 0), self.n)


@dataclass(frozen=True, slots=True)
class Truncation:
    """`conversation.item.truncate`: the user heard this much of that item."""

    item_id: str
    content_index: int
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class Interruption:
    """What the server must be told."""

    truncations: tuple[Truncation, ...]
    cancel: str | None = None
    """The response to cancel; ``None`` where none is in progress, or the server cancels it."""

    @property
    def heard_ms(self) -> float:
        """Of the reply that was cut off last; 0 where none was."""
        return self.truncations[-1].audio_end_ms if self.truncations else 0.0


@dataclass(slots=True)
class PlaybackPosition:
    """How far each reply of one session went to the speaker, and how far it was heard."""

    # The last content parts that the speaker was given, in order.
    stretches: list[Stretch] = field(default_factory=list)
    # Ids of responses that were interrupted: nothing of them is played any more.
    interrupted: set[str | None] = field(default_factory=set)

    def may_play(self, response_id: str | None) -> bool:
        return response_id not in self.interrupted

    def add(self, response_id: str | None, item_id: str | None, content_index: int, *, first: int, n: int) -> None:
        """Note that the speaker was given n samples of a content part, the first of them as its number `first`."""
        last = self.stretches[-1] if self.stretches else None
        if last is None or (last.item_id, last.content_index) != (item_id, content_index):
            last = Stretch(response_id, item_id, content_index, first)
            self.stretches.append(last)
            del self.stretches[:-_MAX_STRETCHES]
        last.n += n

    def heard_ms(self, item_id: str, n_heard: int) -> float:
        """How much of an item was heard, when `n_heard` samples in all were."""
        return sum(s.n_heard(n_heard) for s in self.stretches if s.item_id == item_id) * 1000 / RATE_HZ

    def interrupt(
        self, n_heard: int, *, in_progress: Sequence[str | None] = (), server_cancels: bool = False
    ) -> Interruption:
        """The user began to speak when `n_heard` of all samples had been heard.

        Args:
            in_progress: Ids of the responses that are not done.
            server_cancels: Turn detection interrupts them by itself (``interrupt_response``).
        """
        # What was heard to its end is not truncated: that would drop its whole transcript (wire/README.md, "Retrieve,
        # delete, truncate").
        cut = [s for s in self.stretches if self.may_play(s.response_id) and s.n_heard(n_heard) < s.n]
        self.interrupted.update(in_progress, (s.response_id for s in cut))
        places = [(s.item_id, s.content_index, s.n_heard(n_heard) * 1000 // RATE_HZ) for s in cut]
        truncations = tuple(Truncation(item_id, *place) for item_id, *place in places if item_id is not None)
        # Without its id a response cannot be named in a cancel.
        with_id = [None, *(response_id for response_id in in_progress if response_id is not None)]
        return Interruption(truncations, None if server_cancels else with_id[-1])


@dataclass(slots=True)
class Playback:
    """Feeds a speaker with a session's replies as they arrive, event by event; `play_replies` is the task around it.

    Raises:
        InputError: If the session's replies are not PCM.
    """

    session: Session
    sink: Sink
    position: PlaybackPosition = field(default_factory=PlaybackPosition)
    # Those that cut something off, oldest first.
    interruptions: list[Interruption] = field(default_factory=list)
    # For each reply, from the arrival of its first sound to its writing to the speaker: the kit's own part.
    handed_ms: list[float] = field(default_factory=list)
    # The server's refusals of cancels that its own doing had overtaken.
    too_late: list[ServerError] = field(default_factory=list)
    # Bytes already played of each content part: (response, place of its item, content index).
    _n_taken: dict[tuple[str | None, int, int], int] = field(default_factory=dict)
    # The first byte of a sample whose second comes with the next delta.
    _odd: bytes = b""
    # Responses of which something was played.
    _started: set[str | None] = field(default_factory=set)
    # Responses being interrupted: a browser takes a moment to say what was heard, and deltas come meanwhile.
    _stopping: set[str | None] = field(default_factory=set)

    def __post_init__(self) -> None:
        # A server that says nothing of its format sends PCM.
        name = read_session(self.session.settings, "output_format") or "pcm16"
        if name != "pcm16":
            raise InputError(f"the session's output is {name}; to hear it: update(output_format='pcm16')")

    def take(self, event: Event) -> None:
        """Play what an event brings."""
        response_id = text_of(event.data, "response_id")
        if event.type in ("response.output_audio.done", "response.done"):
            response_id = response_id or text_of(dict_of(event.data, "response"), "id")
            if self.position.may_play(response_id) and response_id in self._started:
                self.sink.end()
        # The conversation has decoded the samples of an audio delta into its response.
        response = response_of(self.session, response_id) if event.type == AUDIO_DELTA else None
        if response is None or not event.n_audio_bytes:
            return
        item_id, index = text_of(event.data, "item_id"), int_of(event.data, "content_index") or 0
        place = response.index_of.get(item_id or "", int_of(event.data, "output_index") or 0)
        part = response.parts.get((place, index, "audio"))
        if part is None:
            return
        # Counted although it may not be played: what comes next must still be found at its place.
        start = self._n_taken.get((response_id, place, index), 0)
        end = self._n_taken[response_id, place, index] = start + event.n_audio_bytes
        newest = part.chunks[-1] if part.chunks else b""
        # Nearly always the delta is the newest chunk; joining all of them for each delta would grow with the reply.
        is_newest = part.n_bytes == end and len(newest) == event.n_audio_bytes
        data = self._odd + (newest if is_newest else part.sound[start:end])
        n_even = len(data) // 2 * 2
        pcm, self._odd = data[:n_even], data[n_even:]
        if not pcm or response_id in self._stopping or not self.position.may_play(response_id):
            return
        first = self.sink.n_written
        self.sink.write(pcm)
        self.position.add(response_id, item_id, index, first=first, n=self.sink.n_written - first)
        if response_id not in self._started:
            self._started.add(response_id)
            self.handed_ms.append(self.session.now_ms - event.at_ms)

    async def interrupt(self, *, server_cancels: bool = False, at_ms: float | None = None) -> Interruption:
        """The user began to speak: fall silent at once, then tell the server what was heard.

        Args:
            server_cancels: The server's turn detection has cancelled the response by itself.
            at_ms: When, on the session's clock; a response that began later is the answer, and goes on. Now, if left out.
        """
        at_ms = self.session.now_ms if at_ms is None else at_ms
        in_progress = [
            r.id
            for r in self.session.responses
            if r.status == "in_progress" and r.conversation_id is not None
            if r.created_at_ms is not None and r.created_at_ms < at_ms
        ]
        # Before the await: what the deltas bring meanwhile must not be played.
        self._stopping.update(in_progress)
        n_heard = await self.sink.stop()
        interruption = self.position.interrupt(n_heard, in_progress=in_progress, server_cancels=server_cancels)
        self._stopping.difference_update(in_progress)  # from here on `position` keeps them out
        # Half a sample of what was cut off would shift every byte of the answer.
        self._odd = b""
        if interruption.truncations or interruption.cancel:
            self.interruptions.append(interruption)
        if interruption.cancel is not None:
            try:
                await self.session.cancel_response(interruption.cancel)
            except ServerError as exc:
                # Or the response ended on its own while the cancel was on its way (wire/README.md, "Errors").
                if exc.code != "response_cancel_not_active":
                    raise
                self.too_late.append(exc)
        # Unknown is tried: only a server that is known not to truncate is not asked.
        for cut in interruption.truncations if self.session.endpoint.capabilities.truncates is not False else ():
            await self.session.truncate_item(cut.item_id, cut.audio_end_ms, content_index=cut.content_index)
        return interruption

    def heard_ms(self, item_id: str) -> float:
        """How much of an item has been heard."""
        return self.position.heard_ms(item_id, self.sink.n_heard)

    async def drained(self) -> None:
        """Wait until what has arrived has been heard."""
        # The event that brought the last sound may be waiting for its turn on this loop.
        await asyncio.sleep(0)
        while self.sink.playing:  # noqa: ASYNC110  it is the device's clock that is asked
            await asyncio.sleep(0.02)


class play_replies:
    """Hear a session's replies that begin from now on, while they arrive::

        async with Speaker() as speaker, play_replies(session, speaker) as playback:
            response = await session.ask("Tell me a joke.")
            await playback.drained()

    The sink is a `Speaker` or a `Player`; `playback` knows what was heard, and what was interrupted. `on_event` is called with
    every event of the session.
    """

    def __init__(self, session: Session, sink: Sink, *, on_event: Callable[[Event], None] | None = None) -> None:
        self.playback = Playback(session, sink)
        self._on_event = on_event
        # Follows the session; None before `start`.
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, outside of ``async with``; `close` ends it, and so does the session."""
        events = self.playback.session.follow(from_now=True)

        async def follow() -> None:
            async for event in events:
                self.playback.take(event)
                if self._on_event is not None:
                    self._on_event(event)

        self._task = asyncio.get_running_loop().create_task(follow(), name="kit: playback")

    async def close(self) -> None:
        """End it; what is waiting is still heard."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def __aenter__(self) -> Playback:
        self.start()
        await asyncio.sleep(0)  # the task has begun to follow: what happens from here on is heard
        return self.playback

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()


def response_of(session: Session, response_id: str | None) -> Response | None:
    """Find the session's response with that id."""
    # From the end: it is nearly always the last one, and this is asked for each delta.
    return next((r for r in reversed(session.responses) if r.id == response_id), None)
