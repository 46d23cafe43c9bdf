"""One session of the stand-in, without a socket: client frames in, server frames out.

The core knows no network and no clock of its own: `now` is passed in, frames are taken from `take()`, and `wake_at` says when
`advance()` has something to do. It shares its spelling table with the kit's client and nothing else, so that a misreading
in one is not answered by its twin in the other.

Whoever drives it does three things, in any order and as often as they like::

    core.receive(frame)     # a client's frame has come
    core.advance()          # time has passed
    core.take()             # what to send now; then core.closing says whether to close
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ..wire.dialect import CLIENT_EVENTS, Dialect, Refusal, invalid_value, missing, unknown_parameter, wrong_type
from .drift import Draws, Rule
from .frames import encode, event_name, new_id
from .items import Conversation, Item, Part, audio_from_client, context_facts, item_from_client
from .replies import choose
from .responding import Response, Say
from .schema import Refused, demand, refuse
from .settings import Asked, Settings
from .sound import duration_ms
from .usage import Weight

MIN_COMMIT_MS = 100
SESSION_S = 3600.0  # 60 minutes in the captures of 2026

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
    """How fast speech streams, as a multiple of real time; ``None``: as fast as it can."""
    replies: tuple[str, ...] | None = None
    session_s: float = SESSION_S


@dataclass(slots=True)
class _Running:
    response: Response
    steps: Iterator[float]
    began_s: float
    due_s: float


@dataclass(slots=True)
class _Buffer:
    """The input audio buffer: what was appended since the last commit."""

    pcm: bytearray = field(default_factory=bytearray)


class Core:
    """One session.

    Args:
        manners: How the stand-in behaves.
        d: The dialect that this session speaks.
        model: The name that the client asked for.
        trial: What the draws are drawn for, besides the seed.
        now: A monotonic clock, in seconds.
        unix: The wall clock, in seconds.
    """

    def __init__(
        self,
        manners: Manners,
        d: Dialect,
        *,
        model: str,
        trial: str,
        now: Callable[[], float],
        unix: Callable[[], float],
    ) -> None:
        self.manners = manners
        self.d = d
        self.conversation = Conversation()
        self.closing: tuple[int, str] | None = None
        """Close code and reason, once the session is over."""
        self.read_before: Sequence[Weight] = ()
        """What the last response read: the beginning that the next one shares with it is cached."""
        self._now, self._unix = now, unix
        self._outbox: list[bytes] = []
        self._draws = Draws(manners.seed, trial)
        self._drifts = manners.drift.for_session(self._draws)
        self._said: list[str] = []
        self._turn = 0
        self._running: list[_Running] = []
        self._buffer = _Buffer()
        self._decoder = msgspec.json.Decoder()
        self.id = self.new_id("sess")
        self.conversation_id = self.new_id("conv")
        expires_at = int(unix() + manners.session_s)
        self.settings = Settings(d, session_id=self.id, model=model, expires_at=expires_at)
        self.emit("session.created", session=self._session())

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
        self._outbox.append(frame)

    @property
    def backlog(self) -> int:
        """How many frames wait to be taken."""
        return len(self._outbox)

    def take(self) -> list[bytes]:
        """The frames to send now, in order."""
        frames, self._outbox = self._outbox, []
        return frames

    def refuse(self, refusal: Refusal, event_id: object = None) -> None:
        """Answer with an `error`: all five inner keys, null where unused."""
        error = {"type": refusal.type, "code": refusal.code, "message": refusal.message, "param": refusal.param}
        self.emit("error", error=error | {"event_id": event_id if isinstance(event_id, str) else None})

    # Time

    @property
    def wake_at(self) -> float | None:
        """When `advance` has something to do, on the clock `now`; ``None`` while nothing is planned."""
        return min((run.due_s for run in self._running), default=None)

    def advance(self) -> None:
        """Let each response that is due take one step."""
        now_s = self._now()
        for run in self._running[:]:
            if run.due_s <= now_s and run in self._running:
                self._step(run)

    def _step(self, run: _Running) -> None:
        at_s = next(run.steps, None)
        if at_s is None:
            self._running.remove(run)
        else:
            run.due_s = run.began_s + at_s / self.manners.pace if self.manners.pace else run.began_s

    # In

    def receive(self, frame: str | bytes) -> bool:
        """A client's frame: a text as `str`, anything else as `bytes`. Gives whether the service would have taken it."""
        event_id = None
        try:
            event = self._decoded(frame)
            event_id = event.get("event_id")
            self._handle(event)
        except Refused as exc:
            self.refuse(exc.refusal, event_id)
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
        kind = event.get("type")
        if kind is None:
            raise refuse("invalid_event", "The 'type' field is missing.")
        if not isinstance(kind, str) or kind not in CLIENT_FIELDS:
            known = CLIENT_EVENTS if self.d.name == "ga" else (*CLIENT_EVENTS, "transcription_session.update")
            raise Refused(invalid_value(kind, known, "type"))
        required, optional = CLIENT_FIELDS[kind]
        for name in required:
            if event.get(name) is None:
                raise Refused(missing(name))
        for name in event:
            if name not in ("type", "event_id", *required, *optional):
                raise Refused(unknown_parameter(name))
        _HANDLERS[kind](self, event)

    # The session

    def _session(self) -> dict[str, Any]:
        mark = {"by": "realtime-history-kit stand-in", "drift": str(self.manners.drift), "seed": self.manners.seed}
        return self.settings.session | {"simulated": mark}

    def _update(self, event: dict[str, Any]) -> None:
        self.settings.update(event["session"], spoke=any(item.has("assistant", "audio") for item in self.conversation))
        self.emit("session.updated", session=self._session())

    # Items

    def _announce(self, item: Item, before: str | None) -> None:
        """GA says added, then done; beta says created."""
        shown = item.show(self.d)
        self.emit("conversation.item.added", previous_item_id=before, item=shown)
        if self.d.name == "ga":
            self.emit("conversation.item.done", previous_item_id=before, item=shown)

    def _create_item(self, event: dict[str, Any]) -> None:
        item = item_from_client(event["item"], self.d, self.settings.input_format, self.new_id("item"))
        self._announce(item, self.conversation.add(item, event.get("previous_item_id")))

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

    # Input audio

    def _append(self, event: dict[str, Any]) -> None:
        self._buffer.pcm += audio_from_client(event["audio"], self.settings.input_format, "audio")

    def _commit(self, event: dict[str, Any]) -> None:
        have_ms = duration_ms(self._buffer.pcm)
        if have_ms < MIN_COMMIT_MS:
            raise refuse(
                "input_audio_buffer_commit_empty",
                "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, "
                f"but buffer only has {have_ms:.2f}ms of audio.",
            )
        item = Item(self.new_id("item"), "message", "user", parts=[Part("audio", None, bytes(self._buffer.pcm))])
        self._buffer.pcm.clear()
        before = self.conversation.add(item)
        self.emit("input_audio_buffer.committed", previous_item_id=before, item_id=item.id)
        self._announce(item, before)

    def _clear(self, event: dict[str, Any]) -> None:
        self._buffer.pcm.clear()
        self.emit("input_audio_buffer.cleared")

    # Responses

    def _active(self) -> _Running | None:
        """The response that is writing to the conversation."""
        return next((run for run in self._running if run.response.conversation_id is not None), None)

    def _create_response(self, event: dict[str, Any]) -> None:
        asked = Asked(event.get("response"), self.settings)
        context = self._context(asked)
        busy = None if asked.out_of_band else self._active()
        if busy is not None:
            raise refuse(
                "conversation_already_has_active_response",
                f"Conversation already has an active response in progress: {busy.response.id}. "
                "Wait until the response is finished before creating a new one.",
            )
        self.respond(asked, context)

    def _context(self, asked: Asked) -> list[Item]:
        """The items that a response reads: its own `input`, or the conversation."""
        given = asked.get("input")
        if given is None:
            return list(self.conversation)
        items: list[Item] = []
        for n, raw in enumerate(given):
            path = f"response.input[{n}]"
            if isinstance(raw, dict) and raw.get("type") == "item_reference":
                found = self.conversation.find(str(raw.get("id")))
                if found is None:  # what the service says to this is unverified
                    demand(missing(f"{path}.id") if raw.get("id") is None else None)
                    raise refuse(
                        "item_not_found", f"Item with id '{raw['id']}' not found in conversation.", f"{path}.id"
                    )
                items.append(found)
            else:
                items.append(item_from_client(raw, self.d, self.settings.input_format, self.new_id("item"), path))
        return items

    def respond(self, asked: Asked, context: list[Item]) -> None:
        """Begin a response."""
        aloud = asked.speech and not self._drifts(context_facts(context))
        text = choose(context, self._said, self._draws, self._turn, self.manners.replies)
        self._said.append(text)
        self._turn += 1
        response = Response(self, asked, context, [Say(text, aloud)])
        now_s = self._now()
        run = _Running(response, response.steps(), now_s, now_s)
        self._running.append(run)
        self._step(run)

    def _cancel_response(self, event: dict[str, Any]) -> None:
        wanted = event.get("response_id")
        run = self._active() if wanted is None else next((r for r in self._running if r.response.id == wanted), None)
        if run is None:
            raise refuse("response_cancel_not_active", "Cancellation failed: no active response found")
        self._running.remove(run)
        run.response.cancel("client_cancelled")


_HANDLERS: dict[str, Callable[[Core, dict[str, Any]], None]] = {
    "session.update": Core._update,
    "input_audio_buffer.append": Core._append,
    "input_audio_buffer.commit": Core._commit,
    "input_audio_buffer.clear": Core._clear,
    "conversation.item.create": Core._create_item,
    "conversation.item.retrieve": Core._retrieve_item,
    "conversation.item.truncate": Core._truncate_item,
    "conversation.item.delete": Core._delete_item,
    "response.create": Core._create_response,
    "response.cancel": Core._cancel_response,
}
