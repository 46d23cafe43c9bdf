"""One session of a log, as it was read: it reads like a live session that is over."""

from __future__ import annotations

import math
from typing import Any

from .. import show
from ..errors import RemoteProtocolError, ServerError
from ..wire.conversation import Conversation
from ..wire.dialect import GA_NAME
from ..wire.events import AUDIO_DELTA, Event, event_of
from ..wire.records import Items, Response
from ..wire.transcript import EventList
from .files import Reading
from .objects import Frame
from .writing import DIGEST, without_audio

_TIMES = (
    "started_at_ms",
    "created_at_ms",
    "first_audio_at_ms",
    "first_text_at_ms",
    "first_transcript_at_ms",
    "done_at_ms",
)
_MAX_EVENTS = 1_000_000  # kept of one session
_DAY_MS = 86_400_000.0


class LoggedSession:
    """One session of a log. It reads like a live `Session` that is over.

    Attributes:
        id: As the server named it; ``None`` if the log never says.
        file: Where it was read.
        header: Of a log that the kit wrote: endpoint, dialect, model, version, when it was opened.
        end: ... and how it ended: ``code`` and ``reason``; ``None`` if the log breaks off or never says.
        n_malformed: Frames that were no events.
        n_withheld: Frames of which a redaction hook kept nothing.
        has_client: Whether it has what the client sent.
        last_ms: When its last event was, in ms since its first; NaN where the log does not say.
    """

    def __init__(self, file: str, key: str | None = None, *, whole: bool = True) -> None:
        self.file = file
        self.key = key
        self.header: dict[str, Any] | None = None
        self.end: dict[str, Any] | None = None
        self.n_malformed = 0
        self.n_withheld = 0
        self.n_events = 0
        self.has_client = False
        self._whole = whole
        self._events: list[Event] = []
        self._conversation = Conversation()
        self._clock: str | None = None
        self._zero_ms = 0.0
        self.last_ms = math.nan

    @property
    def id(self) -> str | None:
        value = self._conversation.session.get("id")
        return value if isinstance(value, str) else self.key if (self.key or "").startswith("sess_") else None

    @property
    def model(self) -> str | None:
        value = self._conversation.session.get("model") or (self.header or {}).get("model")
        return value if isinstance(value, str) else None

    @property
    def settings(self) -> dict[str, Any]:
        """The session object as the server last told it."""
        return self._conversation.session

    @property
    def simulated(self) -> bool | None:
        """True: a stand-in answered. False: the log says that a service did. ``None``: nobody can tell."""
        return self._conversation.simulated

    @property
    def busy(self) -> bool:
        """Whether a response is being made where the log stands now."""
        return self._conversation.active is not None

    @property
    def items(self) -> Items:
        return Items(self._conversation.items)

    @property
    def responses(self) -> list[Response]:
        return list(self._conversation.responses)

    @property
    def errors(self) -> list[ServerError]:
        return list(self._conversation.errors)

    @property
    def unknown(self) -> dict[str, int]:
        """Event types that are in no reference, with how often they came."""
        return dict(self._conversation.unknown)

    @property
    def events(self) -> EventList:
        """Every event, both ways where the log has both."""
        return EventList(self._events, self.n_events - len(self._events))

    def __repr__(self) -> str:
        mark = show.origin_word(self.simulated)
        return (
            f"<LoggedSession {show.one_line(self.id or self.key or 'without an id', 80)}, {show.one_line(self.model or 'model unknown', 60)}, "
            f"{self.n_events} events, {len(self.responses)} responses{f', {mark}' if mark else ''}>"
        )

    # ---------------------------------------------------------------------------------------------------- being read

    def take(self, frame: Frame, reading: Reading) -> None:
        """Fold one frame in."""
        if frame.kind == "header":
            self.header = frame.data
            told = frame.data.get("simulated")
            self._conversation.simulated = told if isinstance(told, bool) else None
        elif frame.kind == "end":
            self.end = frame.data
        elif frame.kind == "withheld":
            self.n_withheld += 1
        elif frame.kind == "raw":
            self.n_malformed += 1
        else:
            self._take_event(frame, reading)

    def _take_event(self, frame: Frame, reading: Reading) -> None:
        at_ms = self._at_ms(frame, reading)
        self.n_events += 1
        if frame.direction == "client":
            self.has_client = True
            self._conversation.sent(frame.data, at_ms)
            event = Event(str(frame.data["type"]), frame.data, at_ms, "client")
            if self._whole:
                self._keep(Event(event.type, without_audio(event.data), at_ms, "client"))
            return
        try:
            event = event_from(frame.data, at_ms)
            if frame.n_audio_bytes and not event.pcm:
                event.n_audio_bytes = frame.n_audio_bytes
        except RemoteProtocolError:  # it has a type, so this does not happen
            self.n_malformed += 1
            return
        if not self._whole and event.pcm:
            event.pcm = b""  # counted by its length, which the event knows
        self._conversation.receive(event)
        if self._whole:
            self._keep(event)

    def _keep(self, event: Event) -> None:
        if len(self._events) < _MAX_EVENTS:
            self._events.append(event)

    def _at_ms(self, frame: Frame, reading: Reading) -> float:
        """Milliseconds since the session's first event; NaN where the log does not say."""
        if frame.at is None:
            self.last_ms = math.nan
            return math.nan
        at_ms, clock = frame.at
        if self._clock is None:
            self._clock = clock
            self._zero_ms = 0.0 if clock == "atms" else at_ms
        elif clock != self._clock:
            reading.notes["events whose time is on another clock than their session's have none"] += 1
            return math.nan
        at_ms -= self._zero_ms
        if clock == "day" and at_ms < self.last_ms - _DAY_MS / 2:  # past midnight
            self._zero_ms -= _DAY_MS
            at_ms += _DAY_MS
        self.last_ms = at_ms
        return at_ms

    def finish(self, simulated: bool | None = None) -> None:
        """The log has no more of it. `simulated` is what is known otherwise of who answered."""
        if self._conversation.simulated is None:
            self._conversation.simulated = simulated
        for response in self._conversation.responses:
            if not self._whole:
                for part in response.parts.values():
                    part.n_not_kept = part.n_bytes
                    part.chunks = []
            if response.status == "in_progress":
                response.status = None  # it never said how it ended
            response.simulated = self.simulated
            for name in _TIMES:
                value = getattr(response, name)
                if value is not None and math.isnan(value):
                    setattr(response, name, None)


def event_from(data: dict[str, Any], at_ms: float) -> Event:
    """A logged event; audio of which the log keeps the digest only counts with its length."""
    if GA_NAME.get(data["type"]) == AUDIO_DELTA and isinstance(delta := data.get("delta"), str):
        kept = DIGEST.match(delta)
        if kept is not None:
            return Event(AUDIO_DELTA, data | {"delta": ""}, at_ms, pcm=b"", n_audio_bytes=int(kept[2]))
    return event_of(data, at_ms)
