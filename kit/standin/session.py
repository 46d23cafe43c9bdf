"""One session of the stand-in, without a socket: client frames in, server frames out.

The session knows no network and no clock of its own: `now` is passed in. It shares the spelling table with the kit's client and
nothing else, so that a misreading in one is not answered by its twin in the other. Whoever drives it calls, in any order::

    session.receive(frame)     # a client's frame has come
    session.advance()          # time has passed; `wake_at` says when this is due
    session.take()             # the frames to send now; then `closing` and `cut` say whether to end
    session.close()            # the connection is gone
    session.jobs()             # recognition and rules, which take long: run each anywhere, then call its `done` with the result

The user's turns (wire/README.md, Turn detection):

| state | where it is kept | leaves it when |
|---|---|---|
| quiet | – | turn detection hears speech: `speech_started`, and the running reply is interrupted |
| speaking | `_turn_item_id` | silence: `speech_stopped`, `committed`, item, response; or a commit by hand, without `speech_stopped` |
| waiting | `_idle_at_s` | speech; or `idle_timeout_ms` after a reply was played: an empty turn, and a response to it |

The responses, of which one at most writes to the conversation:

| state | where it is kept | leaves it when |
|---|---|---|
| due at a time | `Response.due_s` | `advance` takes its next step |
| waiting for words | `due_s` is ∞, `Response.waiting` | the recogniser, or the search of the rules, is done |
| stalled | `due_s` is ∞ | cancelled, or the session ends |
| over | no longer in `_running` | – |
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

import msgspec

from ..errors import KitError, clipped
from ..wire.dialect import CLIENT_EVENTS, MAX_APPEND_BYTES, Dialect
from ..wire.refusals import Refusal, invalid_value, missing, too_long, unknown_parameter, wrong_type
from . import hearing
from .drift import Context, Draws, Silence
from .faults import Faults
from .frames import DeltaFrame, Job
from .hearing import InputAudio, Started
from .items import Item, Part, base64_from_client, item_from_client, transcription_usage
from .options import Options
from .replies import NoReply, Output, Reply, Say, answered_item, choose, outputs, tool_call, words_of
from .response import Outbox, Response, faulty_steps, server_error, silent_steps
from .settings import NATURAL, Refused, ResponseRequest, Settings, check, refuse
from .sound import BYTES_PER_MS, duration_ms, pieces

MAX_EVENT_ID_CHARS = 512
MIN_COMMIT_MS = 100
# Heard in one go: some 7 ms of CPU.
LISTEN_MS = 500
# Of audio that may wait to be heard: one event of 15 MiB, and some.
UNHEARD_MS = 400_000

# The service's list of supported events names these two as well (2026-09): they belong to translation sessions.
TRANSLATION_EVENTS = ("session.close", "session.input_audio_buffer.append")


class ServerSession(Outbox):
    """One session: what it emits is taken from it.

    Args:
        options: How the stand-in behaves.
        d: The dialect that this session speaks.
        model: The name that the client asked for; ``None`` for a session that only transcribes.
        trial: Draws are a function of this and the seed.
        attempt: Which try of the trial it is: faults by chance are drawn for this as well.
        now: A monotonic clock, in seconds.
        unix: The wall clock, in seconds.
        sideband: Whether it is a second connection to a WebRTC or SIP call: no `session.created`, and no audio deltas, but
            `output_audio_buffer` events (wire/README.md, Other servers).
        update: Settings that the session begins with: an ephemeral key's.
    """

    def __init__(
        self,
        options: Options,
        d: Dialect,
        *,
        model: str | None,
        trial: str,
        attempt: str | None = None,
        now: Callable[[], float],
        unix: Callable[[], float],
        sideband: bool = False,
        update: Mapping[str, Any] | None = None,
    ) -> None:
        # The dialect is fixed by the handshake: the service has no way to change it either.
        super().__init__(options, d, unix, sideband=sideband)
        self._now = now
        # One decoder per session: making one for each frame costs more than decoding most frames.
        self._decoder = msgspec.json.Decoder()
        # Drift and the choice of lines depend on seed and trial alone, faults on the attempt too.
        self._draws = Draws(options.seed, trial, attempt)
        self._fault_draws = self._draws.of_attempt()
        self._faults = Faults(options.faults)
        self._drifts = options.drift.for_session(self._draws)
        expiry = self._faults.due("session", self._fault_draws)
        self._session_s = options.session_s if expiry is None else expiry.value
        self._expires_at_s = now() + self._session_s
        self._settings = Settings(d, session_id=self.id, model=model, expires_at=int(unix() + self._session_s))
        if update:
            self._settings.update(dict(update), spoke=False)

        # Input

        # What the client appended and did not commit, with the turn detection that listens to it.
        self._audio = InputAudio(options.limits.buffer_s)
        # The rest of a long piece of audio, heard slice by slice: other sessions are served meanwhile.
        self._unheard: deque[bytes] = deque()
        # The id of the turn that is being spoken. The service sends it when speech starts, before there is an item.
        self._turn_item_id: str | None = None
        # When `idle_timeout_ms` runs out; counted from the end of the last reply's sound, not of its frames.
        self._idle_at_s = math.inf
        # Where in the input stream the last reply had been played: `timeout_triggered` says so.
        self._reply_end_ms = 0.0

        # Output

        # Responses that are not over: one at most writes to the conversation, any number are out of band.
        self._running: list[Response] = []
        # Which reply is next: the script and drawn lines go by it.
        self._n_replies = 0
        # Texts of replies so far: no line comes twice while another is left.
        self._spoken_before: list[str] = []
        self._audio.set(self._settings.input_format, self._settings.get("turn_detection"))
        if not sideband:  # pydantic-ai's cassettes of one begin with the answer to the client's own update
            self.emit("session.created", session=self._shown_settings())

    def items(self) -> list[dict[str, Any]]:
        """Return the conversation as a client would be shown it, without sound."""
        return [item.show(self.d) for item in self.conversation]

    def close(self) -> None:
        self._audio.close()

    # Time

    @property
    def wake_at(self) -> float | None:
        if self.over:
            return None
        response_s = min((response.due_s for response in self._running), default=math.inf)
        return -math.inf if self._unheard else min(response_s, self._idle_at_s, self._expires_at_s)

    def advance(self) -> bool:
        now_s, wake_at = self._now(), self.wake_at
        if wake_at is None or wake_at > now_s:
            return False
        if now_s >= self._expires_at_s:
            minutes = self._session_s / 60
            span = f"{minutes:g} minutes" if minutes >= 1 else f"{self._session_s:g} seconds"
            message = f"Your session hit the maximum duration of {span}."
            self.error(Refusal("session_expired", message), None)
            self.closing = (1001, message)
            return True
        self._listen()
        if now_s >= self._idle_at_s:
            self._idle_at_s = math.inf
            if self._active() is None:  # else silence is counted again when this reply is over
                item_id = self.new_id("item")
                times = {"audio_start_ms": int(self._reply_end_ms), "audio_end_ms": int(self._audio.now_ms)}
                self.emit("input_audio_buffer.timeout_triggered", **times, item_id=item_id)
                self._take_turn(item_id, self._audio.take())
        for response in self._running[:]:
            if response.due_s <= now_s and response in self._running:
                self._step(response)
        return True

    # In

    def receive(self, frame: str | bytes) -> bool:
        """Take a client's frame: a text as `str`, anything else as `bytes`. Return whether the service would have taken it."""
        event_id = None
        try:
            if isinstance(frame, bytes):
                raise refuse("invalid_event", "Expected a text WebSocket message; binary frames are not supported.")
            try:
                event = self._decoder.decode(frame)
            except (msgspec.DecodeError, RecursionError) as exc:
                # only the sentence's beginning is known (capture of 2026-09)
                raise refuse("invalid_json", f"Invalid event: failed to parse JSON value. {exc}") from None
            if not isinstance(event, dict):
                raise Refused(wrong_type("event", "an object", event))
            kind, event_id = event.get("type"), event.get("event_id")
            if kind is None:
                raise refuse("invalid_event", "The 'type' field is missing.")
            supported = isinstance(kind, str) and (kind in CLIENT_FIELDS or kind in TRANSLATION_EVENTS)
            if not supported or (kind == "output_audio_buffer.clear" and not self.sideband):
                listed = CLIENT_EVENTS if self.d.name == "ga" else (*CLIENT_EVENTS, "transcription_session.update")
                raise Refused(invalid_value(kind, listed, "type"))
            if isinstance(event_id, str) and len(event_id) > MAX_EVENT_ID_CHARS:
                raise Refused(too_long("event_id", len(event_id), MAX_EVENT_ID_CHARS))
            if kind in TRANSLATION_EVENTS:
                # the service lists them and takes them there; what it says here is unverified
                raise refuse("invalid_value", f"'{kind}' is an event of translation sessions only.", "type")
            handle, required, optional = CLIENT_FIELDS[kind]
            for name in required:
                if event.get(name) is None:
                    raise Refused(missing(name))
            for name in event:
                if name not in ("type", "event_id", *required, *optional):
                    raise Refused(unknown_parameter(name))
            if kind.startswith("response.") and not self._settings.is_conversation:
                # the sentence is the stand-in's: the service's has not been seen
                raise refuse("invalid_value", "A transcription session makes no responses.", "type")
            while self._unheard and kind != "input_audio_buffer.append":
                self._listen()  # what comes next is answered after all that was appended before it
            handle(self, event)
        except Refused as exc:
            self.error(exc.refusal, event_id)
            return False
        return True

    # Settings

    def _shown_settings(self) -> dict[str, Any]:
        options = self.options
        mark = {"by": "realtime-history-kit stand-in", "drift": str(options.drift), "seed": options.seed}
        if options.plain_voice:
            mark["voice"] = "plain: texts that are not recorded are hummed"
        return self._settings.session | {"simulated": mark}

    def _update(self, event: dict[str, Any]) -> None:
        spoke = any(item.has("assistant", "audio") for item in self.conversation)
        self._settings.update(event["session"], spoke=spoke)
        self._audio.set(self._settings.input_format, self._settings.get("turn_detection"))
        if self._audio.turn_from_ms is None:
            self._turn_item_id = None
        self.emit("session.updated", session=self._shown_settings())

    # Items

    def _announce(self, item: Item, before: str | None) -> None:
        """Confirm an item: GA sends added, then done; beta sends created."""
        shown = item.show(self.d)
        self.emit("conversation.item.added", previous_item_id=before, item=shown)
        if self.d.name == "ga":
            self.emit("conversation.item.done", previous_item_id=before, item=shown)

    def _change_items(self, event: dict[str, Any]) -> None:
        """Create, retrieve, delete or truncate an item."""
        kind = event["type"]
        if kind == "conversation.item.create":
            fault = self._faults.due("item", self._fault_draws)
            if fault is not None and fault.name == "refuse-item":
                self.error(server_error(self._settings), event.get("event_id"))
                return
            item = item_from_client(event["item"], self.d, self._settings.input_format, self.new_id("item"))
            before = self.conversation.add(item, event.get("previous_item_id"))
            if fault is None:
                self._announce(item, before)
        elif kind == "conversation.item.retrieve":
            item = self.conversation.get(event["item_id"], "retrieve")
            self.emit("conversation.item.retrieved", item=item.show(self.d, with_audio=True))
        elif kind == "conversation.item.delete":
            self.emit("conversation.item.deleted", item_id=self.conversation.delete(event["item_id"]).id)
        else:
            place = {name: event[name] for name in ("content_index", "audio_end_ms")}
            for name, value in place.items():
                check(value, NATURAL, name)
            item = self.conversation.truncate(event["item_id"], place["content_index"], place["audio_end_ms"])
            self.emit("conversation.item.truncated", item_id=item.id, **place)

    # The user's turns

    @property
    def _vad(self) -> dict[str, Any]:
        return self._settings.get("turn_detection") or {}

    def _append(self, event: dict[str, Any]) -> None:
        format = self._settings.input_format
        data = base64_from_client(event["audio"], format, "audio")
        if len(data) > MAX_APPEND_BYTES:  # the sentence is the stand-in's: the service's has not been seen
            message = f"Invalid 'audio': {len(data)} bytes are more than the 15 MiB of one event."
            raise refuse("invalid_value", message, "audio")
        if not self._audio.fits(len(data)):
            message = f"This stand-in keeps {self.options.limits.buffer_s:g} s of audio: commit or clear it."
            raise refuse("input_audio_buffer_full", message, "audio")
        slice_bytes = LISTEN_MS * BYTES_PER_MS[format]
        self._unheard.extend(data[start : start + slice_bytes] for start in range(0, len(data), slice_bytes))
        self._listen()
        while len(self._unheard) * LISTEN_MS > UNHEARD_MS:
            self._listen()

    def _end_input(self, event: dict[str, Any]) -> None:
        """Commit what was appended, or forget it."""
        if event["type"] == "input_audio_buffer.clear":
            self._audio.clear()
            self._turn_item_id = None
            self.emit("input_audio_buffer.cleared")
            return
        buffer_ms = self._audio.since_commit_ms
        if buffer_ms < MIN_COMMIT_MS:
            message = (
                "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, "
                f"but buffer only has {buffer_ms:.2f}ms of audio."
            )
            raise refuse("input_audio_buffer_commit_empty", message)
        # by hand during speech: committed comes without speech_stopped (capture of 2026-09)
        self._add_turn(self._turn_item_id or self.new_id("item"), self._audio.take())

    def _listen(self) -> None:
        """Hear the next slice of what was appended."""
        for edge in self._audio.append(self._unheard.popleft()) if self._unheard else ():
            if isinstance(edge, Started):
                self._idle_at_s = math.inf
                self._turn_item_id = item_id = self.new_id("item")
                start_ms = self._audio.turn_from_ms
                self.emit("input_audio_buffer.speech_started", audio_start_ms=start_ms, item_id=item_id)
                active = self._active()
                if active is not None and self._vad.get("interrupt_response", True):
                    self._stop(active, "turn_detected")
            else:
                item_id = self._turn_item_id or self.new_id("item")
                self.emit("input_audio_buffer.speech_stopped", audio_end_ms=edge.at_ms, item_id=item_id)
                self._take_turn(item_id, self._audio.take(edge.at_ms))

    def _add_turn(self, item_id: str, pcm: bytes) -> None:
        """Make an item of what was spoken."""
        self._turn_item_id = None
        item = Item(item_id, "message", "user", parts=[Part("audio", None, pcm)])
        before = self.conversation.add(item)
        self.emit("input_audio_buffer.committed", previous_item_id=before, item_id=item.id)
        self._announce(item, before)
        if self._settings.get("transcription") is not None:
            self._recognise(item)

    def _take_turn(self, item_id: str, pcm: bytes) -> None:
        """Make an item of a turn that ended by itself, and answer it."""
        try:
            self._add_turn(item_id, pcm)
        except Refused as exc:
            self.error(exc.refusal, None)
            return
        answers = self._vad.get("create_response", True) and self._settings.is_conversation
        # what the service does while another reply, which was not to be interrupted, is still made is unverified
        if answers and self._active() is None:
            self._begin(ResponseRequest(None, self._settings), list(self.conversation), None)

    # Recognition

    def _unrecognised(self, item: Item | None) -> bool:
        """Whether the words of an item are only in its sound; they are being recognised from then on."""
        sound_alone = item is not None and item.has("user", "audio") and not words_of(item)
        if item is None or not sound_alone or item.recognition == "done" or not hearing.available():
            return False
        self._recognise(item)
        return True

    def _recognise(self, item: Item) -> None:
        """Have the words in a user's audio recognised, once."""
        if item.recognition == "none":
            item.recognition = "running"
            pcm = b"".join(part.pcm for part in item.parts if part.kind == "audio")
            self._jobs.append(Job(lambda: hearing.transcribe(pcm), lambda result: self._recognised(item, result)))

    def _recognised(self, item: Item, result: str | Exception) -> None:
        """Take the words of a turn, transcribe them for a client that asked for it, and let the responses look that waited."""
        item.recognition, item.recognised = "done", result if isinstance(result, str) else None
        settings, place = self._settings.get("transcription"), {"item_id": item.id, "content_index": 0}
        event = "conversation.item.input_audio_transcription"
        is_wanted = settings is not None and item.role == "user"
        if is_wanted and isinstance(result, Exception):
            message = str(result) if isinstance(result, KitError) else f"The audio could not be transcribed ({result})."
            error = {"type": "transcription_error", "code": "transcription_failed", "message": message, "param": None}
            self.emit(f"{event}.failed", **place, error=error)
        elif is_wanted and isinstance(result, str):
            model, part = str(settings.get("model") or "whisper-1"), item.parts[0]
            frame = DeltaFrame(f"{event}.delta", self.d, place, noise=True)
            deltas = (result,) if model == "whisper-1" else pieces(result)  # whisper-1 sends one with all of it
            for delta in filter(None, deltas):
                self.put(frame.text(self.new_id("event"), delta))
            part.text = result
            usage = transcription_usage(model, duration_ms(part.pcm), result)
            self.emit(f"{event}.completed", **place, transcript=result, usage=usage)
        self._go_on()

    def _go_on(self) -> None:
        """Let the responses look again that waited for words, or for what a rule makes of them."""
        now_s = self._now()
        for response in self._running:
            if response.due_s == math.inf and response.waiting:
                response.began_s = response.due_s = now_s

    # Responses

    def _active(self) -> Response | None:
        """Return the response that is writing to the conversation."""
        return next((response for response in self._running if response.conversation_id is not None), None)

    def _create_response(self, event: dict[str, Any]) -> None:
        request = ResponseRequest(event.get("response"), self._settings)
        # What it reads: its own `input`, or the conversation.
        raw_items = request.get("input")
        context = list(self.conversation) if raw_items is None else []
        for n, raw in enumerate(raw_items or ()):
            path = f"response.input[{n}]"
            if isinstance(raw, dict) and raw.get("type") == "item_reference":
                if raw.get("id") is None:
                    raise Refused(missing(f"{path}.id"))
                id = str(raw["id"])
                if id not in self.conversation:  # the service's refusal of this is unverified
                    raise refuse("item_not_found", f"Item with id '{id}' not found in conversation.", f"{path}.id")
                item = self.conversation.get(id, "retrieve")
            else:
                item = item_from_client(raw, self.d, self._settings.input_format, self.new_id("item"), path)
            context.append(item)
        active = None if request.out_of_band else self._active()
        if active is not None:
            raise refuse(
                "conversation_already_has_active_response",
                f"Conversation already has an active response in progress: {active.id}. "
                "Wait until the response is finished before creating a new one.",
            )
        self._begin(request, context, event.get("event_id"))

    def _begin(self, request: ResponseRequest, context: list[Item], event_id: object) -> None:
        fault = self._faults.due("reply", self._fault_draws)
        if fault is not None and fault.name == "error-event":
            self.error(server_error(self._settings), event_id)
            return
        # the rule is asked for each reply that is to be spoken, and for no other
        drift: bool | Silence = True
        if request.speech:
            messages = [item for item in context if item.type == "message"]
            facts = Context(
                system_text=sum(item.has("system", "text") for item in messages),
                assistant_text=sum(item.has("assistant", "text") for item in messages),
                user_audio=sum(item.has("user", "audio") for item in messages),
                starts_with_user_audio=bool(messages) and messages[0].has("user", "audio"),
            )
            drift = self._drifts(facts)
        silence = drift if isinstance(drift, Silence) else None
        aloud = not (silence.text if silence is not None else drift)
        turn, self._n_replies = self._n_replies, self._n_replies + 1
        ruled: Future[Reply | None] = Future()  # what the rules make of the words, once they were asked
        plan = partial(self._plan, request, context, aloud, turn, ruled)
        response = Response(self, request, context, aloud, plan)
        if fault is not None:
            response.steps = faulty_steps(response, fault, self._settings)
        elif silence is not None:
            response.steps = silent_steps(response, silence)
        # The words are made out while it thinks, or a spoken question would be answered later by what the recogniser takes.
        self._unrecognised(answered_item(context))
        response.began_s = response.due_s = self._now()
        self._running.append(response)
        self._step(response)

    def _plan(
        self, request: ResponseRequest, context: list[Item], aloud: bool, turn: int, ruled: Future[Reply | None]
    ) -> list[Output] | None:
        """Return what a response will produce; ``None`` while the words that it answers are recognised, or held against the rules."""
        item = answered_item(context)
        if self._unrecognised(item):
            return None
        script = self.options.replies or ()
        call = tool_call(request.get("tools") or (), request.get("tool_choice"), item)
        answer = script[turn] if turn < len(script) else None
        if self.options.rules:  # never beside a script
            if ruled.running():
                return None
            if not ruled.done():
                ruled.set_running_or_notify_cancel()

                def search() -> Reply | None:
                    answers = (rule.answer(item, context) for rule in self.options.rules)
                    return next((reply for reply in answers if reply is not None), None)

                def done(result: Reply | Exception | None) -> None:
                    if isinstance(result, Exception):
                        ruled.set_exception(result)
                    else:
                        ruled.set_result(result)
                    self._go_on()

                self._jobs.append(Job(search, done))
                return None
            answer = ruled.result()
        if answer is not None:
            plan = outputs(answer, aloud)
        elif self.options.strict:
            words = clipped(words_of(item) or (item and item.type) or "nothing")
            raise NoReply("no_rule_matches", f"No reply and no rule matches {words}.")
        elif call is not None:
            plan = [call]
        else:
            plan = outputs(choose(context, self._spoken_before, self._draws, turn), aloud)
        self._spoken_before += [output.text for output in plan if isinstance(output, Say)]
        return plan

    def _step(self, response: Response) -> None:
        """Let a response do what is due, and plan its next step."""
        at_s, pace = next(response.steps, None), self.options.pace
        if at_s is None:
            if response in self._running:
                self._running.remove(response)
            idle_ms = self._vad.get("idle_timeout_ms")
            completed = response.conversation_id is not None and response.status == "completed"
            if completed and idle_ms is not None and self._audio.turn_from_ms is None:
                # The idle timeout begins when the reply will have been played.
                played_at_s = max(self._now(), response.began_s + response.audio_ms / 1000 / (pace or 1))
                self._idle_at_s = played_at_s + idle_ms / 1000 / (pace or 1)
                self._reply_end_ms = self._audio.now_ms
        elif at_s == math.inf:
            response.due_s = at_s
        else:
            response.began_s += response.hold_s
            response.hold_s = 0.0
            response.due_s = response.began_s + at_s / pace if pace else response.began_s

    def _cancel(self, event: dict[str, Any]) -> None:
        """Stop the response that is named, or the one that is active; what a call plays (`output_audio_buffer.clear`) may be nothing."""
        response_id, response = event.get("response_id"), self._active()
        if response_id is not None:
            response = next((response for response in self._running if response.id == response_id), None)
        if response is not None:
            self._stop(response, "client_cancelled")
        elif event["type"] == "response.cancel":
            raise refuse("response_cancel_not_active", "Cancellation failed: no active response found")

    def _stop(self, response: Response, reason: str) -> None:
        if response.speaking:
            self._step(response)  # a delta that was under way still arrives
        if response in self._running and response.status == "in_progress":
            self._running.remove(response)
            response.end("cancelled", reason)


# What takes each client event, and what it may carry besides `type` and `event_id`: required, then optional.
CLIENT_FIELDS: dict[str, tuple[Callable[[ServerSession, dict[str, Any]], None], tuple[str, ...], tuple[str, ...]]] = {
    "session.update": (ServerSession._update, ("session",), ()),
    "input_audio_buffer.append": (ServerSession._append, ("audio",), ()),
    "input_audio_buffer.commit": (ServerSession._end_input, (), ()),
    "input_audio_buffer.clear": (ServerSession._end_input, (), ()),
    "conversation.item.create": (ServerSession._change_items, ("item",), ("previous_item_id",)),
    "conversation.item.retrieve": (ServerSession._change_items, ("item_id",), ()),
    "conversation.item.truncate": (ServerSession._change_items, ("item_id", "content_index", "audio_end_ms"), ()),
    "conversation.item.delete": (ServerSession._change_items, ("item_id",), ()),
    "response.create": (ServerSession._create_response, (), ("response",)),
    "response.cancel": (ServerSession._cancel, (), ("response_id",)),
    "output_audio_buffer.clear": (ServerSession._cancel, (), ()),  # of a sideband
}
