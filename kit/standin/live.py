"""A GPT-Live session without a socket: what the stand-in does at ``/v1/live/sessions``, and an observer's at ``…/{id}/attach``.

It is not a model: it shows an instrument what the wire looks like, with the orders and times of the sessions recorded in
2026-09 (kit/wire/LIVE.md). Everything is driven by the session's clock, which is *input audio received*:

| state | what may happen |
|---|---|
| ``waiting`` | nothing was started; only `session.start` is taken |
| ``active`` | input moves the clock; one output frame per 100 ms of it, zeros unless there is something to say |
| ``closing`` | `session.close` was taken; `session.closed` comes `_CLOSE_S` later |
| ``over`` | the socket is to be closed |

A caller's turn is heard by loudness: a loud frame begins it, 600 ms of quiet end it. The reply's words come 900 ms of clock
after that, its voice 270 ms later. A silent session does all of it but speak: the disease, without an error.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import msgspec
import numpy as np
import pybase64

from .. import speech
from ..clip import Clip
from ..errors import clipped
from ..wire.refusals import missing
from .drift import Draws
from .frames import Core, encode, error_fields
from .hearing import LOUD, recorded_words
from .live_settings import FORMATS, LiveOptions, StoredSession, shaped, start_settings, words_of
from .settings import Refused, refuse
from .sound import BYTES_PER_MS, AudioFormat, Decoder, speak

FRAME_MS = 100  # one output frame, 4,800 bytes at 24 kHz, in all recordings
_START_S = 0.45  # from session.start to session.started: 0.25 to 0.83 s recorded
_REFUSED_S = 2.0  # from a start that was refused to the end (recorded)
_TRACK_LAG_MS = 600  # from the first input frame to the first output frame: 0.34 to 0.78 s
_QUIET_MS = 600  # of the caller, then its turn is over
_ANSWER_MS = 900  # from there to the first word
_VOICE_AFTER_WORD_MS = 270  # words come 170 to 375 ms before their sound
_WORD_GRID_MS = 200  # of a transcript's stamps
# Of a transcript's fragments: how much later than their sound they are stamped, and how long after it they come.
_STAMPED_MS = {"input": 400, "output": 0}
_SENT_MS = {"input": 300, "output": _TRACK_LAG_MS - _WORD_GRID_MS}
_ACK_MS = 800  # of clock, until an append is acknowledged
_COMMENTARY_MS = 600  # of clock, from an append to its first word
_ORDER_MS = 1_200  # of clock, from an order among the instructions to its first word
_BACKEND_MS = 800  # of a response, and from its end to the voice: 0.7 to 1.5 s recorded
_MAX_QUEUED, _MAX_QUEUED_BYTES = 128, 32_768  # of what is queued for the backend, a session
_USAGE_S = 15.0
_CLOSE_S = 0.64
_MAX_S = 7_200.0
_DITHER = (19, 2)  # peaks of the first two output frames
_MAX_KEPT_BYTES = 16 << 20  # of all that a client puts in but sound; the service's context is 128,000 tokens
_EVENT_BYTES = 250  # that an event takes here whatever is in it
_MAX_TURN_MS = 60_000  # of a caller's turn is kept, to be made out
_MAX_STORED = 100  # sessions that can be forked, the oldest are forgotten first
_MAX_APPEND_BYTES = 4_000  # 500 tokens: counted by bytes here, generously, for the stand-in has no tokenizer
_APPENDS = {f"session.{lane}.append": lane for lane in ("commentary", "instructions", "thinking")}
_REPLAYED_S = 5.0  # to a sideband: "the last few seconds"; how many is unverified
_SIDEBAND_MS = 200  # of sound in a frame to a sideband, both ways in the recording, whatever the caller sends


class LiveServerSession(Core):
    """One GPT-Live session.

    Args:
        options: How it behaves.
        draws: The session's own draws.
        store: Sessions that can be forked, by id; this one is added if it asks for it.
        now: A monotonic clock, in seconds.
        unix: The wall clock, in seconds.
        simulated: The stand-in's mark, put into each session object.
        source: The stored session that this one is a fork of.
    """

    def __init__(
        self,
        options: LiveOptions,
        draws: Draws,
        store: dict[str, StoredSession],
        *,
        now: Callable[[], float],
        unix: Callable[[], float],
        simulated: Mapping[str, Any],
        source: StoredSession | None = None,
    ) -> None:
        super().__init__("live", unix)
        self.options = options
        self.state = "waiting"
        # From the first, for the journal; the client is told it at the start.
        self.id = f"live_u{draws.random('cluster').randrange(8)}{self.new_id('')}"
        # Sockets that listen beside the caller's, and what they may be sent again: when, and the frame.
        self.sidebands: list[LiveSideband] = []
        self._recent: deque[tuple[float, bytes]] = deque(maxlen=256)
        # The sideband whose command is being taken: a refusal is for it alone.
        self._asker: LiveSideband | None = None
        self._draws, self._store, self._source = draws, store, source
        self._wall = now
        self._simulated = dict(simulated)
        # The session object, as every `session.…` event echoes it whole.
        self._settings: dict[str, Any] = {}
        # What it knows, in words: the history, the caller's turns, its own replies, what was appended.
        self._lines: list[str] = []
        # What was said since the start, by either side, as messages: for the journal.
        self._said: list[dict[str, Any]] = []
        # Work that waits for a time on the wall, and work that waits for the session's clock.
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._on_clock: list[tuple[float, int, Callable[[], None]]] = []
        # Of two that are due at the same time the first comes first.
        self._order = itertools.count()
        self._format: AudioFormat = "pcm16"
        # Makes PCM at 24 kHz of what is fed, across the seams of frames.
        self._ear = Decoder("pcm16")
        self._n_kept_bytes = 0  # of what the client put in, sound apart
        self._in_ms = 0.0  # the session's clock
        self._n_out = 0  # output frames sent
        # When the first input frame came, on the wall: the track begins `_TRACK_LAG_MS` later.
        self._track_from_s: float | None = None
        # What the track is still to bring, in order: where on it, and PCM at 24 kHz. Jokes are not copied: a client may order thousands.
        self._voice: list[tuple[float, np.ndarray[Any, Any]]] = []
        self._muted = False
        # The caller's turn that is being heard, on the session's clock, and its sound.
        self._loud_from_ms: float | None = None
        self._loud_until_ms = 0.0
        self._turn: list[bytes] = []
        self._n_turns = 0
        # When `session.started` went out: seconds are billed from there.
        self._started_s = 0.0
        # The disease, drawn once at the start: everything goes on but the voice.
        self._silent = False
        # Where on the track the last word ends; the next reply begins behind it.
        self._speaks_until_ms = 0.0
        self._n_cuts = 0  # how often the caller talked: words of the model that were to come before are dropped
        # Client delegations by id; of the backend: the delegation that is open (empty: none), what it is owed and was given.
        self._delegations: set[str] = set()
        self._backend_id = ""
        self._owed: set[object] = set()
        self._outputs: list[dict[str, Any]] = []
        self._n_queued = self._queued_bytes = 0

    # What the server calls

    @property
    def now_s(self) -> float:
        """Seconds on the clock that this session takes for the wall's."""
        return self._wall() * self.options.pace

    @property
    def position_ms(self) -> int:
        """How far the output track has come on the session's timeline."""
        return self._n_out * FRAME_MS

    @property
    def wake_at(self) -> float | None:
        due = [at_s for at_s in (self._next_frame_s(), self._due[0][0] if self._due else None) if at_s is not None]
        return min(due) / self.options.pace if due else None

    def receive(self, frame: str | bytes, sideband: LiveSideband | None = None) -> bool:
        """Take a client's frame, or one of a sideband's; return whether it was accepted."""
        self._asker = sideband
        event: dict[str, Any] = {}
        try:
            try:
                decoded = msgspec.json.decode(frame)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                decoded = None
            if not isinstance(decoded, dict) or not isinstance(decoded.get("type"), str):
                raise refuse("invalid_event", "A JSON object with a type is expected.")
            event, kind = decoded, decoded["type"]
            if self.state == "waiting":
                if kind != "session.start":
                    raise refuse("invalid_event", "The first event must be session.start.", "type")
                self._start(event)
                return True
            if kind != "session.input_audio.append":
                self._n_kept_bytes += _EVENT_BYTES + (0 if kind == "session.output_audio.fixture.play" else len(frame))
                if self._n_kept_bytes > _MAX_KEPT_BYTES and kind != "session.close":
                    raise refuse("session_full", "This stand-in keeps no more of one session.")
            if kind == "session.start":
                raise refuse("invalid_event", "The session has been started.", "type")
            handle = _HANDLERS.get(kind)
            if handle is None or (sideband is not None and kind == "session.input_audio.append"):
                raise refuse("invalid_value", f"Invalid value: '{clipped(kind, 40)}'.", "type")
            if self.state == "active" or kind in _APPENDS:
                handle(self, event)
            elif kind != "session.input_audio.append":  # a client that feeds all the time has sent a few frames more
                raise refuse("invalid_event", "The session is closing.")
        except Refused as exc:
            client_id = event.get("event_id") if isinstance(event.get("event_id"), str) else None
            error = error_fields(exc.refusal) | ({"client_event_id": client_id} if client_id else {})
            if self.options.null_codes:
                error["code"] = None
            self._emit("error", error=error, client_event_id=client_id)
            return False
        finally:
            self._asker = None
        return True

    def advance(self) -> bool:
        """Do what is due first: a frame of the track, or work that waits for a time on the wall."""
        now_s, frame_s = self.now_s, self._next_frame_s()
        if frame_s is None or frame_s > now_s or (self._due and self._due[0][0] < frame_s):
            if not self._due or self._due[0][0] > now_s:
                return False
            heapq.heappop(self._due)[2]()
            return True
        position, n = self.position_ms, FRAME_MS * 24
        self._n_out += 1
        samples = np.zeros(n, np.int16)
        if position < len(_DITHER) * FRAME_MS:
            samples[::7] = _DITHER[position // FRAME_MS]
        for at_ms, pcm in self._voice:
            offset = int((position - at_ms) * 24)
            piece = pcm[max(0, offset) : max(0, offset + n)]
            if len(piece):
                samples[max(0, -offset) : max(0, -offset) + len(piece)] = piece
        self._voice = [(at, pcm) for at, pcm in self._voice if at + len(pcm) / 24 > position + FRAME_MS]
        for sideband in self.sidebands:
            sideband.sound("model", samples.tobytes())
        data = Clip(samples).to_bytes(self._format)
        # No event id and no times on the primary connection.
        self._out.append(b'{"type":"session.output_audio.delta","delta":"' + pybase64.b64encode(data) + b'"}')
        return True

    def items(self) -> list[dict[str, Any]]:
        """Return the history of the start, then what was said by either side."""
        return [*self._settings.get("input", []), *self._said]

    def close(self) -> None:
        self.state = "over"
        for sideband in self.sidebands:
            sideband.session_over()
        self._due.clear()
        self._on_clock.clear()
        self._keep()

    # Sending, now and later

    def _emit(self, type: str, **fields: Any) -> None:
        """Send an event; a field that is ``None`` is left out."""
        event = {"event_id": self.new_id("event"), "type": type}
        frame = encode(event | {name: value for name, value in fields.items() if value is not None})
        if self._asker is not None and type == "error":
            self._asker.event(frame)
            return
        self._out.append(frame)
        self._recent.append((self.now_s, frame))
        for sideband in self.sidebands:
            sideband.event(frame)

    def _answer(self, event: Mapping[str, Any], type: str, **fields: Any) -> None:
        """Send an event that names the client's event which it answers."""
        self._emit(type, **fields, client_event_id=event.get("event_id"))

    def _after_s(self, seconds: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now_s + seconds, next(self._order), do))

    def _at_clock(self, clock_ms: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._on_clock, (clock_ms, next(self._order), do))

    # The start

    def _start(self, event: dict[str, Any]) -> None:
        try:
            settings = start_settings(shaped(event.get("session")), self._source)
        except Refused:
            self._after_s(_REFUSED_S, self._abort)
            self.state = "closing"
            raise
        expires_at = int(self._unix() + _MAX_S)
        self._settings = settings | {"id": self.id, "expires_at": expires_at, "status": "active"}
        self._settings["simulated"] = self._simulated
        form, past = settings["audio"]["format"], settings["input"]
        self._format = FORMATS[form["type"], form["rate"]]
        self._ear = Decoder(self._format)
        self._lines = (self._source.lines if self._source else []) + [words_of(message) for message in past]
        self._silent = self.options.silence.silent(len(self._lines), self._draws)
        self.state = "active"

        def started() -> None:
            self._started_s = self.now_s
            self._answer(event, "session.started", session=self._settings)
            if self.options.usage:
                self._after_s(_USAGE_S, self._report_usage)
            if self.options.drops_after_s is not None:
                self._after_s(self.options.drops_after_s, self._abort)
            self._after_s(_MAX_S, lambda: self._closed({}, "expired"))
            if self.options.greets and past and past[-1].get("role") == "user":
                self._at_clock(_COMMENTARY_MS, lambda: self._say("Hello! How can I help you today?"))

        self._after_s(_START_S, started)

    # Sound in

    def _append_audio(self, event: dict[str, Any]) -> None:
        try:
            data = pybase64.b64decode(event.get("audio") or "", validate=True)
        except (ValueError, TypeError):
            raise refuse("invalid_value", "audio must be base64.", "audio") from None
        pcm = self._ear.decode(data)
        for sideband in self.sidebands:
            sideband.sound("caller", pcm)
        at_ms = self._in_ms
        self._in_ms += len(data) / BYTES_PER_MS[self._format]
        if self._track_from_s is None:
            self._track_from_s = self.now_s
        if not self._muted:
            samples = np.frombuffer(pcm[: len(pcm) // 2 * 2], "<i2")
            if samples.size and int(np.abs(samples.astype(np.int32)).max()) > LOUD:
                if self._loud_from_ms is None:
                    self._loud_from_ms = at_ms
                    # The caller talks over the reply: its voice and words stop. No event says so.
                    self._n_cuts, self._voice, self._speaks_until_ms = self._n_cuts + 1, [], self.position_ms
                self._loud_until_ms = self._in_ms
            if self._loud_from_ms is not None:
                if self._in_ms - self._loud_from_ms < _MAX_TURN_MS:
                    self._turn.append(pcm)
                if self._in_ms - self._loud_until_ms >= _QUIET_MS:
                    self._end_turn()
        while self._on_clock and self._on_clock[0][0] <= self._in_ms:
            heapq.heappop(self._on_clock)[2]()

    def _end_turn(self) -> None:
        """Transcribe the caller's turn, which is over, and answer it."""
        began_ms, until_ms = self._loud_from_ms or 0.0, self._loud_until_ms
        pcm, self._turn, self._loud_from_ms = b"".join(self._turn), [], None
        n, self._n_turns = self._n_turns, self._n_turns + 1
        text = self.options.hears[n] if n < len(self.options.hears) else recorded_words(pcm) or "(speech)"
        self._lines.append(text)
        self._said.append({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]})
        self._send_words("input", text, began_ms, until_ms - began_ms)
        if any(word.lower() in text.lower() for word in self.options.delegates):
            self._at_clock(until_ms + _ANSWER_MS, lambda: self._delegate({}))
        elif not self._silent:
            self._at_clock(until_ms + _ANSWER_MS + self.options.late_ms, lambda: self._say(self._reply()))

    # Sound out

    def _next_frame_s(self) -> float | None:
        """Return when the next output frame is due on the wall; ``None`` while the session's clock stands."""
        if self._track_from_s is None or self.state not in ("active", "closing") or not self._started_s:
            return None
        if self._in_ms < self.position_ms + FRAME_MS:
            return None
        return max(self._track_from_s, self._started_s) + (_TRACK_LAG_MS + self.position_ms) / 1000

    def _say(self, text: str) -> None:
        """Begin a reply now: words first, then their sound on the track."""
        pcm = speak(text)
        self._lines.append(text)
        self._said.append({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]})
        now_ms = max(self._in_ms - _TRACK_LAG_MS, self.position_ms, self._speaks_until_ms)
        at_ms, length_ms = now_ms + _VOICE_AFTER_WORD_MS, len(pcm) / 24
        self._voice.append((at_ms, pcm))
        self._speaks_until_ms = at_ms + length_ms
        self._send_words("output", text, now_ms, length_ms)

    def _send_words(self, side: str, text: str, from_ms: float, length_ms: float) -> None:
        """Send what `side` (``input`` or ``output``) says, in fragments on the 200 ms grid, each when the clock comes to its place."""
        fragments: dict[int, str] = {}
        n_chars = 0
        for word in text.split(" "):
            cell = int(length_ms * n_chars / max(1, len(text)) / _WORD_GRID_MS)
            fragments[cell] = f"{fragments.get(cell, '')} {word}"  # each begins with its space (recorded)
            n_chars += len(word) + 1
        first_ms = int((from_ms + _STAMPED_MS[side]) // _WORD_GRID_MS) * _WORD_GRID_MS
        for cell, delta in fragments.items():
            send = partial(self._send_fragment, side, delta, first_ms + cell * _WORD_GRID_MS, self._n_cuts)
            self._at_clock(max(from_ms + cell * _WORD_GRID_MS + _SENT_MS[side], self._in_ms), send)

    def _send_fragment(self, side: str, delta: str, start_ms: int, n_cuts: int) -> None:
        if side == "input" or n_cuts == self._n_cuts:
            end_ms = start_ms + _WORD_GRID_MS
            self._emit(f"session.{side}_transcript.delta", delta=delta, start_ms=start_ms, end_ms=end_ms)

    def _reply(self) -> str:
        n_scripted = sum(line in self.options.replies for line in self._lines)
        if n_scripted < len(self.options.replies):
            return self.options.replies[n_scripted]
        jokes = [line.text for line in speech.repertoire("joke")]
        fresh = [joke for joke in jokes if joke not in self._lines]
        return self._draws.random("reply", len(self._lines)).choice(fresh or jokes)

    # Context

    def _append(self, event: dict[str, Any]) -> None:
        content, lane = event.get("content"), _APPENDS[event["type"]]
        if not isinstance(content, str) or not content:
            raise refuse("invalid_value", "content must be text.", "content")
        if "delegation_id" not in event:
            raise Refused(missing("delegation_id"))
        if len(content.encode()) > _MAX_APPEND_BYTES:
            raise refuse("invalid_value", "Context append text must not exceed 500 tokens.", "content")
        delegation_id = event["delegation_id"]
        if delegation_id is not None and (not isinstance(delegation_id, str) or delegation_id not in self._delegations):
            raise refuse("invalid_value", "Unknown client delegation.", "delegation_id")
        at_ms = self._in_ms
        self._lines.append(content)
        end_ms = int(max(at_ms, 1) // _WORD_GRID_MS) * _WORD_GRID_MS + _ACK_MS
        times = {"start_ms": end_ms - _WORD_GRID_MS, "end_ms": end_ms}
        self._at_clock(at_ms + _ACK_MS, lambda: self._answer(event, f"session.{lane}.appended", **times))
        ordered = lane == "instructions" and content.lower().startswith(("immediately", "say ", "speak "))
        if lane == "commentary" or ordered:
            wait_ms = _COMMENTARY_MS if lane == "commentary" else _ORDER_MS
            # An order to speak moves a session that fell silent (egma#354, the cure called "nudge").
            # What answers a delegation is said; a bare order makes it reply.
            text = content if delegation_id is not None else None
            self._at_clock(at_ms + wait_ms + self.options.late_ms, lambda: self._say(text or self._reply()))

    def _close(self, event: dict[str, Any]) -> None:
        self.state = "closing"
        self._on_clock.clear()
        self._after_s(_CLOSE_S, lambda: self._closed(event, "close_requested"))

    def _mute(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        self._muted = kind.endswith(".mute")
        self._turn, self._loud_from_ms = [], None
        self._after_s(0.06, lambda: self._answer(event, f"{kind}d"))

    def _update(self, event: dict[str, Any]) -> None:
        changes = shaped(event.get("session"))
        for name in changes:
            if name not in ("delegation", "triggers"):
                message = f"'{name}' cannot change after session startup."
                raise refuse("immutable_field_update", message, f"session.{name}")
        delegation = changes.get("delegation")
        if isinstance(delegation, dict):
            current = self._settings["delegation"]
            if delegation.get("type", current["type"]) != current["type"]:
                message = "The delegation type cannot change after session startup."
                raise refuse("immutable_field_update", message, "session.delegation.type")
            merged = dict(current.get("responses") or {}) | dict(delegation.get("responses") or {})
            self._settings["delegation"] = current | ({"responses": merged} if merged else {})
        if "triggers" in changes:
            self._settings["triggers"] = changes["triggers"]
        self._after_s(0.1, lambda: self._answer(event, "session.updated", session=self._settings))

    def _fixture(self, event: dict[str, Any]) -> None:
        try:
            pcm = np.frombuffer(pybase64.b64decode(event.get("audio") or "", validate=True), "<i2")
        except (ValueError, TypeError):
            raise refuse("invalid_value", "audio must be base64 of whole samples.", "audio") from None
        if not len(pcm) or len(pcm) / 24 > 30_000:
            raise refuse("invalid_value", "A fixture lasts at most 30 seconds.", "audio")
        at_ms = self.position_ms
        self._n_cuts, self._voice, self._speaks_until_ms = self._n_cuts + 1, [(at_ms, pcm)], at_ms
        self._muted = True
        self._answer(event, "session.output_audio.fixture.playing")

        def end_fixture() -> None:
            self._muted = False
            self._answer(event, "session.output_audio.fixture.played")

        self._at_clock(at_ms + len(pcm) / 24 + _TRACK_LAG_MS, end_fixture)

    # The backend: one delegation at a time (recorded). A Responses round:
    #
    # caller or `response.create` → created, response.created → a function call? → completed, its output is owed
    #                                                         → else the text, completed → the voice says it
    # outputs by `response.item.create`, then `response.create` → the same delegation's next response → text → voice

    def _delegate(self, event: Mapping[str, Any]) -> None:
        """Hand a piece of work to the client or to the backend, and say so."""
        target = self._settings["delegation"].get("type", "client")
        fields: dict[str, Any] = {"id": self.new_id("item"), "type": "delegation", "target": target}
        response_id = self.new_id("resp")
        if target == "responses":
            fields["response_id"] = response_id
        self._answer(event, "session.delegation.created", offset_ms=int(self._in_ms), delegation=fields)
        if target == "client":
            self._delegations.add(fields["id"])  # answered by appends that name it; nothing closes it
        elif target == "responses":
            self._backend_id = fields["id"]
            self._respond(response_id)

    def _respond(self, response_id: str) -> None:
        """Run one response of the backend, under the delegation that is open."""
        delegation_id, numbers = self._backend_id, itertools.count()
        # Snapshots are cut, even in `completed` (15 of 15, habemus-papadum/pdum_aiui).
        snapshot: dict[str, Any] = {
            "id": response_id,
            "object": "response",
            "output": [],
            "tools": [],
            "instructions": None,
        }

        def nested(type: str, **fields: Any) -> None:
            inner = {"type": type, "sequence_number": next(numbers)} | fields  # restarts in each response
            self._emit("response.event", event=inner, delegation_id=delegation_id)

        tools = self._settings["delegation"].get("responses", {}).get("tools") or []
        name = next((tool.get("name") for tool in tools if tool.get("type") == "function"), None)
        calls = name is not None and not self._outputs

        def finish() -> None:
            if calls:
                call_id = self.new_id("call")
                self._owed.add(call_id)
                call = {"type": "function_call", "name": name, "call_id": call_id, "arguments": "{}"}
                item = call | {"id": self.new_id("fc"), "status": "completed"}
                # Call id, name and the whole arguments come together here alone.
                nested("response.output_item.done", output_index=0, item=item)
            else:
                self._backend_id, self._outputs = "", []
                fields = {"item_id": self.new_id("msg"), "output_index": 0, "content_index": 0, "logprobs": []}
                nested("response.output_text.done", text=text, **fields)
            usage = {"input_tokens": 40, "output_tokens": 12, "total_tokens": 52}
            nested("response.completed", response=snapshot | {"status": "completed", "usage": usage})
            if not calls and not self._silent:
                self._at_clock(self._in_ms + _BACKEND_MS, lambda: self._say(text))

        text = self._reply()
        nested("response.created", response=snapshot | {"status": "in_progress"})
        self._after_s(_BACKEND_MS / 1000, finish)

    def _backend(self, event: dict[str, Any]) -> None:
        """Queue an item for the backend, or have it go on: with the delegation that is open, or with a new one."""
        if self._settings["delegation"].get("type") != "responses":
            raise refuse("invalid_event", "This session has no Responses delegation.", "type")
        if event["type"] == "response.create":
            if self._owed:
                message = "Function call outputs are required before the next response."
                raise refuse("function_call_outputs_required", message)
            if self._backend_id:
                self._respond(self.new_id("resp"))
            else:
                self._delegate(event)
            return
        item = event.get("item")
        if not isinstance(item, dict) or not isinstance(item.get("type"), str):
            raise Refused(missing("item"))
        size = len(encode(item))
        if self._n_queued == _MAX_QUEUED or self._queued_bytes + size > _MAX_QUEUED_BYTES:
            # What was refused stays owed, so every later `response.create` fails (ZevCorp's and aplisay's probes).
            message = "Backend response input history is limited to 128 items and 32768 UTF-8 bytes per session"
            raise refuse("response_input_buffer_full", message)
        self._n_queued, self._queued_bytes = self._n_queued + 1, self._queued_bytes + size
        if item["type"] == "function_call_output":
            self._owed.discard(item.get("call_id"))
            self._outputs.append(item)
        self._lines.append(words_of(item))

    def _decision(self, event: dict[str, Any]) -> None:
        """Take what is for the Decisions API, which stands beside the voice; nothing is decided here."""
        kind = event["type"]
        if kind == "decision.create":
            if not isinstance(event.get("event_id"), str):
                raise Refused(missing("event_id"))
        elif kind == "decision.item.delete":
            self._answer(event, "decision.item.deleted", item_id=str(event.get("item_id")))
        elif isinstance(item := event.get("item"), dict):
            content = item.get("content")
            parts = {"content": [{"type": "input_text", "text": content}]} if isinstance(content, str) else {}
            self._answer(event, "decision.item.created", item={"id": self.new_id("item")} | item | parts)
        else:
            raise Refused(missing("item"))

    # The end

    def _report_usage(self) -> None:
        seconds = float(int(self.now_s - self._started_s))
        ratio = (1_100 + 8 * len(self._lines)) / 128_000
        self._emit("session.usage.updated", usage={"seconds": seconds}, context_window={"usage_ratio": ratio})
        self._after_s(_USAGE_S, self._report_usage)

    def _closed(self, event: Mapping[str, Any], reason: str) -> None:
        if self.over:
            return
        seconds = float(round(self.now_s - self._started_s)) if self._started_s else 0.0
        self._answer(event, "session.closed", reason=reason, session=self._settings, usage={"seconds": seconds})
        self._keep()
        self.state, self.closing = "over", (1000, "")

    def _abort(self) -> None:
        self.state, self.cut = "over", True

    def _keep(self) -> None:
        """Store the session for forks, if it asked for that."""
        if self._settings.get("store"):
            settings = {name: self._settings[name] for name in ("model", "delegation", "store")}
            settings["voice"] = self._settings["audio"]["output"]["voice"]
            self._store[self.id] = StoredSession(settings, list(self._lines))
            if len(self._store) > _MAX_STORED:
                del self._store[next(iter(self._store))]


_HANDLERS: dict[str, Callable[[LiveServerSession, dict[str, Any]], None]] = {
    "session.input_audio.append": LiveServerSession._append_audio,
    **dict.fromkeys(_APPENDS, LiveServerSession._append),
    "session.close": LiveServerSession._close,
    "session.input_audio.mute": LiveServerSession._mute,
    "session.input_audio.unmute": LiveServerSession._mute,
    "session.update": LiveServerSession._update,
    **dict.fromkeys(("response.item.create", "response.create"), LiveServerSession._backend),
    **dict.fromkeys(("decision.create", "decision.item.create", "decision.item.delete"), LiveServerSession._decision),
    "session.output_audio.fixture.play": LiveServerSession._fixture,
}


class LiveSideband(Core):
    """A second socket on a session that runs: an observer that may speak up. It shares the session's state.

    | what happens | what the sideband sees (recorded by pydantic-ai, kit/wire/LIVE.md, "Attaching") |
    |---|---|
    | it attaches | the events of the last seconds again, under their old ids: `session.started` only if it is that new |
    | the caller is heard | `session.input_audio.append`, 200 ms of PCM at 24 kHz, as it came before muting, without an id |
    | the model is heard | `session.output_audio.delta` of 200 ms, with `start_ms` and `end_ms` |
    | it sends a command | as if the caller had sent it; a refusal comes here alone. It sends no sound and starts nothing |
    | the session ends | its events, then a close with ``graceful_close=true``, else the socket is cut |

    Args:
        session: The one that it listens to.
        graceful: End with a closing handshake (the query's ``graceful_close``).
    """

    def __init__(self, session: LiveServerSession, *, graceful: bool) -> None:
        super().__init__("live", session._unix)
        self.session = session
        self.id = session.id
        self._graceful = graceful
        since_s = session.now_s - _REPLAYED_S
        self._out = [frame for at_s, frame in session._recent if at_s >= since_s]
        # Sound of either side that does not fill a frame yet, and where on the timeline the next output frame begins.
        self._pcm = {"caller": b"", "model": b""}
        self._position_ms = session.position_ms
        session.sidebands.append(self)

    # What the session calls

    def event(self, frame: bytes) -> None:
        """Pass on an event of the session's."""
        self._out.append(frame)
        self.wake()

    def sound(self, side: Literal["caller", "model"], pcm: bytes) -> None:
        """Pass on the caller's sound, or the model's track, in whole frames."""
        size = _SIDEBAND_MS * BYTES_PER_MS["pcm16"]
        pcm = self._pcm[side] + pcm
        end = len(pcm) // size * size
        self._pcm[side] = pcm[end:]
        for start in range(0, end, size):
            piece = pybase64.b64encode(pcm[start : start + size]).decode()
            if side == "caller":
                self.event(encode({"type": "session.input_audio.append", "audio": piece}))
            else:
                times = {"start_ms": self._position_ms, "end_ms": self._position_ms + _SIDEBAND_MS}
                self._position_ms += _SIDEBAND_MS
                self.event(encode({"type": "session.output_audio.delta", "delta": piece} | times))

    def session_over(self) -> None:
        """End as the session does."""
        if self._graceful:
            self.closing = (1000, "")
        else:
            self.cut = True
        self.wake()

    # What the server calls

    def receive(self, frame: str | bytes) -> bool:
        accepted = self.session.receive(frame, sideband=self)
        self.session.wake()
        return accepted

    def items(self) -> list[dict[str, Any]]:
        return self.session.items()

    def close(self) -> None:
        """Leave the session, which goes on."""
        if self in self.session.sidebands:
            self.session.sidebands.remove(self)
