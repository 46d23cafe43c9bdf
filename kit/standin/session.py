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
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ..errors import KitError
from ..wire.dialect import CLIENT_EVENTS, MAX_APPEND_BYTES, Dialect
from ..wire.refusals import Refusal, invalid_value, missing, too_long, unknown_parameter, wrong_type
from . import hearing as transcribing
from .drift import Draws, Rule
from .faults import Fault, Faults, server_error, troubled
from .frames import DeltaFrame, encode, event_name, new_id
from .hearing import InputAudio, Started, Stopped, transcribe
from .items import (
    USER_MS_PER_TOKEN,
    Conversation,
    Item,
    Part,
    Weight,
    audio_tokens,
    base64_from_client,
    context_facts,
    item_from_client,
    text_tokens,
)
from .replies import Call, Output, Reply, asked_item, called, choose, outputs, words_of
from .response import Response
from .settings import Asked, Refused, Settings, demand, refuse
from .sound import BYTES_PER_MS, duration_ms, pieces

# The user's turns: audio that comes in, speech that is heard in it, items that are made of it, words that are made of those.
#
# Orders are those of the wire (wire/README.md, Turn detection): speech_started → speech_stopped → committed → item → response. An item's id is
# given out when speech starts.


MIN_COMMIT_MS = 100
LISTEN_MS = 500  # heard in one go: some 7 ms of CPU
UNHEARD_MS = 400_000  # of audio that may wait to be heard: one event of 15 MiB, and some


class Turns:
    """The input half of one session."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._audio = InputAudio(core.manners.max_buffer_s)
        self._item_id: str | None = None  # of the turn that is being spoken
        self._idle_at_s = math.inf  # when `idle_timeout_ms` runs out
        self._reply_end_ms = 0.0  # where in the input stream the last reply had been played
        self._unheard: deque[bytes] = deque()  # the rest of a long piece of audio: others want to be served meanwhile
        self.configure()

    # What clients ask for

    def configure(self) -> None:
        """The session was updated."""
        settings = self._core.settings
        self._audio.set(settings.input_format, settings.get("turn_detection"))
        if not self._audio.speaking:
            self._item_id = None

    def append(self, event: dict[str, Any]) -> None:
        core = self._core
        data = base64_from_client(event["audio"], core.settings.input_format, "audio")
        if len(data) > MAX_APPEND_BYTES:  # the sentence is ours: nobody has seen the service's
            raise refuse(
                "invalid_value", f"Invalid 'audio': {len(data)} bytes are more than the 15 MiB of one event.", "audio"
            )
        if not self._audio.fits(len(data)):
            limit_s = core.manners.max_buffer_s
            raise refuse(
                "input_audio_buffer_full", f"This stand-in keeps {limit_s:g} s of audio: commit or clear it.", "audio"
            )
        slice_bytes = LISTEN_MS * BYTES_PER_MS[core.settings.input_format]
        self._unheard.extend(data[start : start + slice_bytes] for start in range(0, len(data), slice_bytes))
        self._listen()
        while len(self._unheard) * LISTEN_MS > UNHEARD_MS:
            self._listen()

    def _listen(self) -> None:
        """Hear the next slice of what was appended."""
        for heard in self._audio.append(self._unheard.popleft()) if self._unheard else ():
            if isinstance(heard, Started):
                self._started()
            else:
                self._stopped(heard)

    def settle(self) -> None:
        """Hear all that was appended, for what a client asks next is to be answered after it."""
        while self._unheard:
            self._listen()

    def commit(self, event: dict[str, Any]) -> None:
        have_ms = self._audio.since_commit_ms
        if have_ms < MIN_COMMIT_MS:
            raise refuse(
                "input_audio_buffer_commit_empty",
                "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, "
                f"but buffer only has {have_ms:.2f}ms of audio.",
            )
        # by hand during speech: committed comes without speech_stopped (capture of 2026-09)
        self._commit(self._item_id or self._core.new_id("item"), self._audio.take())

    def clear(self, event: dict[str, Any]) -> None:
        self._audio.clear()
        self._item_id = None
        self._core.emit("input_audio_buffer.cleared")

    def close(self) -> None:
        """The session is over."""
        self._audio.close()

    # What is heard

    @property
    def _vad(self) -> dict[str, Any]:
        return self._core.settings.get("turn_detection") or {}

    def _started(self) -> None:
        core = self._core
        self._idle_at_s = math.inf
        self._item_id = core.new_id("item")
        core.emit("input_audio_buffer.speech_started", audio_start_ms=self._audio.turn_from_ms, item_id=self._item_id)
        if self._vad.get("interrupt_response", True):
            core.responses.interrupt()

    def _stopped(self, heard: Stopped) -> None:
        core, item_id = self._core, self._item_id or self._core.new_id("item")
        core.emit("input_audio_buffer.speech_stopped", audio_end_ms=heard.at_ms, item_id=item_id)
        self._commit(item_id, self._audio.take(heard.at_ms))
        self._respond()

    def _respond(self) -> None:
        core = self._core
        wanted = self._vad.get("create_response", True) and core.settings.is_conversation
        # what the service does while another reply, which was not to be interrupted, is still made is unverified
        if wanted and not core.responses.busy:
            core.responses.begin_for_turn()

    def _commit(self, item_id: str, pcm: bytes) -> None:
        core = self._core
        self._item_id = None
        item = Item(item_id, "message", "user", parts=[Part("audio", None, pcm)])
        before = core.conversation.add(item)
        core.emit("input_audio_buffer.committed", previous_item_id=before, item_id=item.id)
        core.announce(item, before)
        if core.settings.get("transcription") is not None:
            core.understand(item)

    # What nobody says

    @property
    def wake_at(self) -> float:
        return -math.inf if self._unheard else self._idle_at_s

    def replied(self, played_at_s: float) -> None:
        """A reply is out, and will have been played at that time: from then on silence is counted."""
        idle_ms = self._vad.get("idle_timeout_ms")
        if idle_ms is not None and not self._audio.speaking:
            self._idle_at_s = played_at_s + idle_ms / 1000 / (self._core.manners.pace or 1)
            self._reply_end_ms = self._audio.now_ms

    def advance(self, now_s: float) -> None:
        """Listen on. And when nobody said anything for too long: an empty turn, and a reply to it."""
        self._listen()
        if now_s < self._idle_at_s:
            return
        self._idle_at_s = math.inf
        if self._core.responses.busy:  # something is being said: silence is counted again when that is over
            return
        core, item_id = self._core, self._core.new_id("item")
        start_ms, end_ms = int(self._reply_end_ms), int(self._audio.now_ms)
        core.emit("input_audio_buffer.timeout_triggered", audio_start_ms=start_ms, audio_end_ms=end_ms, item_id=item_id)
        self._commit(item_id, self._audio.take())
        self._respond()

    # What was said

    def understood(self, item: Item, found: str | Exception) -> None:
        """The recogniser is done with an item."""
        core, settings = self._core, self._core.settings.get("transcription")
        item.hearing, item.heard = "done", found if isinstance(found, str) else None
        if settings is None or item.role != "user":
            return
        if not isinstance(found, str):
            message = str(found) if isinstance(found, KitError) else f"The audio could not be transcribed ({found})."
            error = {"type": "transcription_error", "code": "transcription_failed", "message": message, "param": None}
            core.emit(
                "conversation.item.input_audio_transcription.failed", item_id=item.id, content_index=0, error=error
            )
            return
        model = str(settings.get("model") or "whisper-1")
        place = {"item_id": item.id, "content_index": 0}
        frame = DeltaFrame("conversation.item.input_audio_transcription.delta", core.d, place, noise=True)
        for piece in (found,) if model == "whisper-1" else pieces(found):  # whisper-1 gives one delta with all of it
            if piece:
                core.put(frame.text(core.event_id(), piece))
        item.parts[0].text = found
        core.emit(
            "conversation.item.input_audio_transcription.completed",
            **place,
            transcript=found,
            usage=_usage(model, duration_ms(item.parts[0].pcm), found),
        )


def _usage(model: str, ms: float, transcript: str) -> dict[str, Any]:
    if "whisper" in model:  # 2.8 s came as 3 (recording of 2026-07)
        return {"type": "duration", "seconds": math.ceil(ms / 1000)}
    audio, text = audio_tokens(ms, USER_MS_PER_TOKEN), text_tokens(transcript)
    return {
        "type": "tokens",
        "total_tokens": audio + text,
        "input_tokens": audio,
        "input_token_details": {"text_tokens": 0, "audio_tokens": audio},
        "output_tokens": text,
    }


# The responses of one session: which may begin, which runs, what each is made of, and how it is stopped.


@dataclass(slots=True)
class _Running:
    response: Response
    steps: Iterator[float]
    began_s: float
    due_s: float


class Responses:
    """The output half of one session."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._drifts = core.manners.drift.for_session(core.draws)
        self._running: list[_Running] = []
        self._said: list[str] = []
        self._turn = 0

    # Which runs

    def _active(self) -> _Running | None:
        """The response that is writing to the conversation."""
        return next((run for run in self._running if run.response.conversation_id is not None), None)

    @property
    def busy(self) -> bool:
        return self._active() is not None

    @property
    def wake_at(self) -> float:
        return min((run.due_s for run in self._running), default=math.inf)

    def advance(self, now_s: float) -> None:
        """Let each response that is due take one step."""
        for run in self._running[:]:
            if run.due_s <= now_s and run in self._running:
                self._step(run)

    def _step(self, run: _Running) -> None:
        core = self._core
        at_s = next(run.steps, None)
        if at_s is None:
            if run in self._running:
                self._running.remove(run)
            self._over(run)
        elif at_s == math.inf:
            run.due_s = at_s
        else:
            run.due_s = run.began_s + at_s / core.manners.pace if core.manners.pace else run.began_s

    def _over(self, run: _Running) -> None:
        response, core = run.response, self._core
        if response.conversation_id is not None and response.status == "completed":
            core.turns.replied(max(core.now(), run.began_s + response.audio_ms / 1000 / (core.manners.pace or 1)))

    def hold(self, response: Response, seconds: float) -> None:
        """Let a response wait, whatever the pace."""
        for run in self._running:
            if run.response is response:
                run.began_s += seconds
                run.due_s = run.began_s

    def heard(self) -> None:
        """Something was understood: who waited for it goes on."""
        now_s = self._core.now()
        for run in self._running:
            if run.due_s == math.inf and run.response.waiting:
                run.began_s = run.due_s = now_s

    # Begin

    def create(self, event: dict[str, Any]) -> None:
        """`response.create`."""
        core = self._core
        asked = Asked(event.get("response"), core.settings)
        context = self._context(asked)
        busy = None if asked.out_of_band else self._active()
        if busy is not None:
            raise refuse(
                "conversation_already_has_active_response",
                f"Conversation already has an active response in progress: {busy.response.id}. "
                "Wait until the response is finished before creating a new one.",
            )
        self._begin(asked, context, event.get("event_id"))

    def begin_for_turn(self) -> None:
        """A turn was heard."""
        self._begin(Asked(None, self._core.settings), list(self._core.conversation), None)

    def _context(self, asked: Asked) -> list[Item]:
        """The items that a response reads: its own `input`, or the conversation."""
        core = self._core
        given = asked.get("input")
        if given is None:
            return list(core.conversation)
        items: list[Item] = []
        for n, raw in enumerate(given):
            path = f"response.input[{n}]"
            if isinstance(raw, dict) and raw.get("type") == "item_reference":
                found = core.conversation.find(str(raw.get("id")))
                if found is None:  # what the service says to this is unverified
                    demand(missing(f"{path}.id") if raw.get("id") is None else None)
                    raise refuse(
                        "item_not_found", f"Item with id '{raw['id']}' not found in conversation.", f"{path}.id"
                    )
                items.append(found)
            else:
                items.append(item_from_client(raw, core.d, core.settings.input_format, core.new_id("item"), path))
        return items

    def _begin(self, asked: Asked, context: list[Item], event_id: object) -> None:
        core = self._core
        fault = core.fault("reply")
        if fault is not None and fault.name == "error-event":
            error = server_error(core)
            core.error(error["type"], error["code"], error["message"], None, event_id)
            return
        # the rule is asked for each reply that is to be spoken, and for no other
        aloud = asked.speech and not self._drifts(context_facts(context))
        turn, self._turn = self._turn, self._turn + 1
        response = Response(core, asked, context, aloud, lambda: self._plan(asked, context, aloud, turn))
        now_s = core.now()
        run = _Running(response, iter(()), now_s, now_s)
        self._running.append(run)
        run.steps = response.steps() if fault is None else troubled(fault, response, core)
        self._step(run)

    def _plan(self, asked: Asked, context: list[Item], aloud: bool, turn: int) -> list[Output] | None:
        """What a response will produce; ``None`` while what was said to it is still being made out."""
        core = self._core
        item = asked_item(context)
        spoken = item is not None and item.has("user", "audio") and not words_of(item)
        if item is not None and spoken and item.hearing != "done" and transcribing.available():
            core.understand(item)
            return None
        scripted = core.manners.replies
        if scripted is not None and turn < len(scripted):
            plan = outputs(scripted[turn], aloud)
        else:
            call = called(asked.get("tools") or (), asked.get("tool_choice"), item, words_of(item))
            plan = [call] if call else outputs(choose(context, self._said, core.draws, turn), aloud)
        self._said += [one.text for one in plan if not isinstance(one, Call)]
        return plan

    # Stop

    def cancel(self, event: dict[str, Any]) -> None:
        """`response.cancel`."""
        wanted = event.get("response_id")
        run = self._active() if wanted is None else next((r for r in self._running if r.response.id == wanted), None)
        if run is None:
            raise refuse("response_cancel_not_active", "Cancellation failed: no active response found")
        self._stop(run, "client_cancelled")

    def interrupt(self) -> None:
        """The user speaks: what is being said to the conversation stops."""
        run = self._active()
        if run is not None:
            self._stop(run, "turn_detected")

    def _stop(self, run: _Running, reason: str) -> None:
        if run.response.speaking:
            self._step(run)  # a delta that was under way still arrives
        if run in self._running and run.response.status == "in_progress":
            self._running.remove(run)
            run.response.cancel(reason)


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
