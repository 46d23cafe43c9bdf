"""One session of the stand-in, without a socket: client frames in, server frames out.

The core knows no network and no clock of its own: `now` is passed in, frames are taken from `take()`, and `wake_at` says when
`advance()` has something to do. It shares its spelling table with the kit's client and nothing else, so that a misreading
in one is not answered by its twin in the other.

Whoever drives it does four things, in any order and as often as they like::

    core.receive(frame)     # a client's frame has come
    core.advance()          # time has passed
    core.jobs()             # work that takes long; run each anywhere, then call its `done` with what came of it
    core.take()             # what to send now; then core.closing and core.cut say whether to end
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ..wire.dialect import (
    CLIENT_EVENTS,
    Dialect,
    Refusal,
    invalid_value,
    missing,
    too_long,
    unknown_parameter,
    wrong_type,
)
from .drift import Draws, Rule
from .faults import Fault, Faults, server_error
from .frames import encode, event_name, new_id
from .items import Conversation, Item, item_from_client
from .running import Responses
from .schema import Refused, refuse
from .script import Reply
from .settings import Settings
from .transcribing import transcribe
from .turns import Turns
from .usage import Weight

SESSION_S = 3600.0  # 60 minutes in the captures of 2026
MAX_EVENT_ID_CHARS = 512

# What each client event may carry besides `type` and `event_id`: required, then optional.
CLIENT_FIELDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "session.update": (("session",), ()),
    "input_audio_buffer.append": (("audio",), ()),
    "input_audio_buffer.commit": ((), ()),
    "input_audio_buffer.clear": ((), ()),
    "conversation.item.create": (("item",), ("previous_item_id",)),
    "conversation.item.retrieve": (("item_id",), ()),
    "conversation.item.truncate": (("item_id", "content_index", "audio_end_ms"), ()),
    "conversation.item.delete": (("item_id",), ()),
    "response.create": ((), ("response",)),
    "response.cancel": ((), ("response_id",)),
}


@dataclass(frozen=True, slots=True)
class Manners:
    """How a stand-in behaves, the same for all its sessions."""

    drift: Rule
    seed: int = 0
    pace: float | None = None
    """How fast speech streams, and an idle timeout runs, as a multiple of real time; ``None``: speech as fast as it can."""
    replies: tuple[Reply, ...] | None = None
    faults: tuple[Fault, ...] = ()
    session_s: float = SESSION_S
    max_buffer_s: float = 600.0
    """How much input audio a session keeps; the service took 305 s (2026-10)."""


@dataclass(frozen=True, slots=True)
class Job:
    """Work that takes long. Run it anywhere, then call `done` with its result or its exception."""

    run: Callable[[], str]
    done: Callable[[str | Exception], None]


class Core:
    """One session.

    Args:
        manners: How the stand-in behaves.
        d: The dialect that this session speaks.
        model: The name that the client asked for; ``None`` for a session that only transcribes.
        trial: What the draws are drawn for, besides the seed.
        attempt: Which try of the trial it is: what goes wrong by chance is drawn for this as well.
        now: A monotonic clock, in seconds.
        unix: The wall clock, in seconds.
        update: Settings that the session begins with: an ephemeral key's.
    """

    def __init__(
        self,
        manners: Manners,
        d: Dialect,
        *,
        model: str | None,
        trial: str,
        attempt: str | None = None,
        now: Callable[[], float],
        unix: Callable[[], float],
        update: Mapping[str, Any] | None = None,
    ) -> None:
        self.manners = manners
        self.d = d
        self.now = now
        self.conversation = Conversation()
        self.closing: tuple[int, str] | None = None
        """Close code and reason, once the session is over."""
        self.cut = False
        """Whether the connection is to be cut without a close."""
        self.last = b""
        """The frame that was put last."""
        self.read_before: Sequence[Weight] = ()
        """What the last response read: the beginning that the next one shares with it is cached."""
        self.draws = Draws(manners.seed, trial)
        self._faults, self._fault_draws = Faults(manners.faults), self.draws.of_attempt(attempt)
        self._unix = unix
        self._outbox: list[bytes] = []
        self._jobs: list[Job] = []
        self._decoder = msgspec.json.Decoder()
        self.id = self.new_id("sess")
        self.conversation_id = self.new_id("conv")
        expiry = self.fault("session")
        self._session_s = manners.session_s if expiry is None else expiry.value
        self._expires_at_s = now() + self._session_s
        self.settings = Settings(d, session_id=self.id, model=model, expires_at=int(unix() + self._session_s))
        if update:
            self.settings.update(dict(update), spoke=False)
        self.turns = Turns(self)
        self.responses = Responses(self)
        self.emit("session.created", session=self._session())

    def fault(self, of: str) -> Fault | None:
        """What goes wrong with the next reply or item, if anything."""
        return self._faults.due(of, self._fault_draws)

    # Out

    def new_id(self, prefix: str) -> str:
        return new_id(prefix, int(self._unix()))

    def event_id(self) -> str:
        return self.new_id("event")

    def emit(self, ga_name: str, **fields: Any) -> None:
        """Say something, by GA's name for it."""
        self.put(encode({"type": event_name(ga_name, self.d), "event_id": self.event_id(), **fields}))

    def put(self, frame: bytes) -> None:
        """Say something that is a frame already."""
        if not self.over:
            self.last = frame
            self._outbox.append(frame)

    @property
    def over(self) -> bool:
        return self.cut or self.closing is not None

    @property
    def backlog(self) -> int:
        """How many frames wait to be taken."""
        return len(self._outbox)

    def take(self) -> list[bytes]:
        """The frames to send now, in order."""
        frames, self._outbox = self._outbox, []
        return frames

    def jobs(self) -> list[Job]:
        """What is to be worked out."""
        jobs, self._jobs = self._jobs, []
        return jobs

    def error(self, type: str, code: str | None, message: str, param: str | None, event_id: object) -> None:
        """An `error` event: all five inner keys, null where unused."""
        error = {"type": type, "code": code, "message": message, "param": param}
        self.emit("error", error=error | {"event_id": event_id if isinstance(event_id, str) else None})

    # Time

    @property
    def wake_at(self) -> float | None:
        """When `advance` has something to do, on the clock `now`; ``None`` while nothing is planned."""
        at_s = min(self.responses.wake_at, self.turns.wake_at, self._expires_at_s)
        return None if self.over or at_s == math.inf else at_s

    def advance(self) -> bool:
        """Take one step with everything that is due; gives whether anything was."""
        now_s, wake_at = self.now(), self.wake_at
        if wake_at is None or wake_at > now_s:
            return False
        if now_s >= self._expires_at_s:
            self._expire()
            return True
        self.turns.advance(now_s)
        self.responses.advance(now_s)
        return True

    def _expire(self) -> None:
        minutes = self._session_s / 60
        span = f"{minutes:g} minutes" if minutes >= 1 else f"{self._session_s:g} seconds"
        message = f"Your session hit the maximum duration of {span}."
        self.error("invalid_request_error", "session_expired", message, None, None)
        self.closing = (1001, message)

    def close(self) -> None:
        """The connection is gone."""
        self.turns.close()

    # In

    def receive(self, frame: str | bytes) -> bool:
        """A client's frame: a text as `str`, anything else as `bytes`. Gives whether the service would have taken it."""
        event_id = None
        try:
            event = self._decoded(frame)
            event_id = event.get("event_id")
            self._handle(event)
        except Refused as exc:
            r: Refusal = exc.refusal
            self.error(r.type, r.code, r.message, r.param, event_id)
            return False
        return True

    def _decoded(self, frame: str | bytes) -> dict[str, Any]:
        if isinstance(frame, bytes):
            raise refuse("invalid_event", "Expected a text WebSocket message; binary frames are not supported.")
        try:
            event = self._decoder.decode(frame)
        except (msgspec.DecodeError, RecursionError) as exc:
            # only the sentence's beginning is known (capture of 2026-09)
            raise refuse("invalid_json", f"Invalid event: failed to parse JSON value. {exc}") from None
        if not isinstance(event, dict):
            raise Refused(wrong_type("event", "an object", event))
        return event

    def _handle(self, event: dict[str, Any]) -> None:
        kind, event_id = event.get("type"), event.get("event_id")
        if kind is None:
            raise refuse("invalid_event", "The 'type' field is missing.")
        if not isinstance(kind, str) or kind not in CLIENT_FIELDS:
            known = CLIENT_EVENTS if self.d.name == "ga" else (*CLIENT_EVENTS, "transcription_session.update")
            raise Refused(invalid_value(kind, known, "type"))
        if isinstance(event_id, str) and len(event_id) > MAX_EVENT_ID_CHARS:
            raise Refused(too_long("event_id", len(event_id), MAX_EVENT_ID_CHARS))
        required, optional = CLIENT_FIELDS[kind]
        for name in required:
            if event.get(name) is None:
                raise Refused(missing(name))
        for name in event:
            if name not in ("type", "event_id", *required, *optional):
                raise Refused(unknown_parameter(name))
        if kind.startswith("response.") and not self.settings.is_conversation:  # the sentence is ours
            raise refuse("invalid_value", "A transcription session makes no responses.", "type")
        if kind != "input_audio_buffer.append":
            self.turns.settle()
        _HANDLERS[kind](self, event)

    # The session

    def _session(self) -> dict[str, Any]:
        mark = {"by": "realtime-history-kit stand-in", "drift": str(self.manners.drift), "seed": self.manners.seed}
        return self.settings.session | {"simulated": mark}

    def _update(self, event: dict[str, Any]) -> None:
        self.settings.update(event["session"], spoke=any(item.has("assistant", "audio") for item in self.conversation))
        self.turns.configure()
        self.emit("session.updated", session=self._session())

    # Items

    def announce(self, item: Item, before: str | None) -> None:
        """GA says added, then done; beta says created."""
        shown = item.show(self.d)
        self.emit("conversation.item.added", previous_item_id=before, item=shown)
        if self.d.name == "ga":
            self.emit("conversation.item.done", previous_item_id=before, item=shown)

    def understand(self, item: Item) -> None:
        """Have the words in a user's audio made out."""
        if item.hearing == "unasked":
            item.hearing = "asked"
            pcm = b"".join(part.pcm for part in item.parts if part.kind == "audio")
            self._jobs.append(Job(lambda: transcribe(pcm), lambda found: self._understood(item, found)))

    def _understood(self, item: Item, found: str | Exception) -> None:
        self.turns.understood(item, found)
        self.responses.heard()

    def _create_item(self, event: dict[str, Any]) -> None:
        fault = self.fault("item")
        if fault is not None and fault.name == "refuse-item":
            error = server_error(self)
            self.error(error["type"], error["code"], error["message"], None, event.get("event_id"))
            return
        item = item_from_client(event["item"], self.d, self.settings.input_format, self.new_id("item"))
        before = self.conversation.add(item, event.get("previous_item_id"))
        if fault is None:
            self.announce(item, before)

    def _retrieve_item(self, event: dict[str, Any]) -> None:
        item = self.conversation.get(event["item_id"], "retrieve")
        self.emit("conversation.item.retrieved", item=item.show(self.d, with_audio=True))

    def _delete_item(self, event: dict[str, Any]) -> None:
        self.emit("conversation.item.deleted", item_id=self.conversation.delete(event["item_id"]).id)

    def _truncate_item(self, event: dict[str, Any]) -> None:
        index, end_ms = event["content_index"], event["audio_end_ms"]
        for name, value in (("content_index", index), ("audio_end_ms", end_ms)):
            if not isinstance(value, int) or isinstance(value, bool):
                raise Refused(wrong_type(name, "an integer", value))
            if value < 0:
                raise refuse(
                    "integer_below_min_value",
                    f"Invalid '{name}': integer below minimum value. Expected a value >= 0, but got {value} instead.",
                    name,
                )
        item = self.conversation.truncate(event["item_id"], index, end_ms)
        self.emit("conversation.item.truncated", item_id=item.id, content_index=index, audio_end_ms=end_ms)


_HANDLERS: dict[str, Callable[[Core, dict[str, Any]], None]] = {
    "session.update": Core._update,
    "input_audio_buffer.append": lambda core, event: core.turns.append(event),
    "input_audio_buffer.commit": lambda core, event: core.turns.commit(event),
    "input_audio_buffer.clear": lambda core, event: core.turns.clear(event),
    "conversation.item.create": Core._create_item,
    "conversation.item.retrieve": Core._retrieve_item,
    "conversation.item.truncate": Core._truncate_item,
    "conversation.item.delete": Core._delete_item,
    "response.create": lambda core, event: core.responses.create(event),
    "response.cancel": lambda core, event: core.responses.cancel(event),
}
