"""One response: its events in the service's order, in audio, in text, cut short, refused by the model, or wrong on purpose.

A response is a generator: it puts what is due in the outbox and yields when it wants to go on, in seconds of its own clock.
So the session that drives it may stream in real time or all at once, and may stop it between any two steps.

| status | the response | how it is reached |
|---|---|---|
| ``in_progress`` | thinks, waits for the user's words, or streams | `stream` |
| ``completed`` | all of the plan is out | `stream` |
| ``incomplete`` | stopped at `max_output_tokens`, or midway by a fault | `end` |
| ``cancelled`` | stopped by the client or by the user's speech | `end` |
| ``failed`` | the model never began, or no rule matches | `fail` |

The orders of events are those of wire logs (wire/README.md, Event orders).
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..wire.dialect import Dialect
from ..wire.refusals import Refusal
from .drift import Silence
from .faults import Fault
from .frames import Core, DeltaFrame, InjectedFrame, encode, error_fields, event_name
from .items import (
    ASSISTANT_MS_PER_TOKEN,
    Conversation,
    Item,
    Part,
    TokenCount,
    audio_tokens,
    rate_limits,
    text_tokens,
    usage,
)
from .options import Options
from .replies import Call, NoReply, Output
from .settings import ResponseRequest, Settings
from .sound import CHUNK_MS, pieces, spoken

# Seconds on a response's own clock, from the request to the first content (wire/README.md, Timing: mini in text, 2026-09; audio, 2025-06).
THINKING_S = {"text": 0.195, "audio": 0.370}
# Between two text deltas, from the same logs.
TEXT_DELTA_S = 0.008


class _LimitReached(Exception):
    """The reply has reached its `max_output_tokens`."""


class Outbox(Core):
    """What its responses know of a Realtime session: where their events go, what they read and write, and how fast.

    Args:
        options: How the stand-in behaves.
        d: The dialect.
        unix: The wall clock, in seconds.
        sideband: Whether audio goes to a call, and this connection is only told when it is played.
    """

    def __init__(self, options: Options, d: Dialect, unix: Callable[[], float], *, sideband: bool) -> None:
        super().__init__(d.name, unix)
        self.d = d
        self.options = options
        self.sideband = sideband
        self.id = self.new_id("sess")
        self.conversation = Conversation(self.new_id("conv"), options.limits.item_bytes)
        # The frame that was put last: some faults repeat it.
        self.last = b""

    def emit(self, ga_name: str, **fields: Any) -> None:
        """Put an event, by GA's name for it."""
        self.put(encode({"type": event_name(ga_name, self.d), "event_id": self.new_id("event"), **fields}))

    def error(self, refusal: Refusal, event_id: object) -> None:
        """Put an `error` event about a client's event: all five inner keys, null where unused."""
        self.emit("error", error=error_fields(refusal) | {"event_id": event_id if isinstance(event_id, str) else None})

    def put(self, frame: bytes) -> None:
        """Put a frame that is encoded already."""
        if not self.over:
            self.last = frame
            self._out.append(frame)


class Response:
    """A response in the making.

    Args:
        outbox: Where its events go, and its items, unless it is out of band.
        request: The options of its `response.create`.
        context: The items that it reads.
        aloud: Whether it will speak.
        plan: Returns what it will produce, in order; ``None`` while that cannot be said yet.
    """

    def __init__(
        self,
        outbox: Outbox,
        request: ResponseRequest,
        context: Sequence[Item],
        aloud: bool,
        plan: Callable[[], list[Output] | None],
    ) -> None:
        self.id = outbox.new_id("resp")
        self.status = "in_progress"
        self.request = request
        self.outbox = outbox
        # What it does, step by step; a fault or a silence takes other steps.
        self.steps = self.stream()
        # Where it is on the session's clock: when its own was 0, and when its next step is due (∞: it waits for something else).
        self.began_s = self.due_s = 0.0
        # Whether it waits for the user's words to be recognised.
        self.waiting = False
        # Seconds of real time by which its clock is to be put back, whatever the pace; the session takes them.
        self.hold_s = 0.0
        # Its `response.done`, once that was sent: the fault ``duplicate`` repeats it.
        self.done_frame = b""
        # ``None`` for a response that leaves the conversation as it is.
        self.conversation_id = None if request.out_of_band else outbox.conversation.id
        self._aloud = aloud
        self._plan = plan
        # What it made so far: shown in `response.done`, and counted in its usage.
        self._items: list[Item] = []
        # Output index, item and content part that are being streamed; a call has no part.
        self._open: tuple[int, Item, Part | None] | None = None
        self._details: dict[str, Any] | None = None
        self._usage: dict[str, Any] | None = None
        # Its own clock, which pace stretches or shrinks.
        self._at_s = 0.0
        # Text tokens so far; audio tokens follow from the sound.
        self._text_out = 0
        # `rate_limits.updated` comes once, before or after the end by dialect.
        self._limits_sent = False
        # Token counts of what it reads: usage says how many, and how many of them the response before had read.
        instructions, tools = request.get("instructions") or "", request.get("tools") or ()
        n_tokens = text_tokens(str(instructions)) + sum(text_tokens(str(tool)) for tool in tools)
        self._reads = [TokenCount(f"{instructions}{tools}", n_tokens), *(item.tokens() for item in context)]

    def show(self) -> dict[str, Any]:
        """Return the response object, its keys in wire order (wire/README.md, Response object)."""
        d, request = self.outbox.d, self.request
        done = self.status != "in_progress"
        fields: dict[str, Any] = {
            "object": "realtime.response",
            "id": self.id,
            "status": self.status,
            "status_details": self._details,
            "output": [item.show(d) for item in self._items] if done and self.status != "failed" else [],
            "conversation_id": self.conversation_id,
            d.modalities: request.get("modality"),
        }
        limit, voice, format = (request.get(name) for name in ("max_output_tokens", "voice", "output_format"))
        if d.name == "ga":
            fields |= {"max_output_tokens": limit, "audio": {"output": {"format": format, "voice": voice}}}
        else:
            fields |= {"voice": voice, "output_audio_format": format}
            fields |= {"temperature": request.get("temperature"), "max_output_tokens": limit}
        return fields | {"usage": self._usage, "metadata": request.get("metadata")}

    @property
    def speaking(self) -> bool:
        """Whether it is in the middle of an audio part."""
        return self._open is not None and self._open[2] is not None and self._open[2].kind == "audio"

    @property
    def audio_ms(self) -> float:
        """How much it has spoken."""
        return sum(part.audio_ms for item in self._items for part in item.parts)

    # Its life

    def stream(self) -> Iterator[float]:
        """Emit what is due; yield when to go on, in seconds since the response began (∞: when something else happens)."""
        self.outbox.emit("response.created", response=self.show())
        if self.outbox.options.first_s is None:
            self._at_s = THINKING_S["audio" if self._aloud else "text"]
        else:
            self.hold_s = self.outbox.options.first_s
        yield self._at_s
        try:
            while (plan := self._plan()) is None:
                self.waiting = True
                yield math.inf
                self._at_s = 0.0
            self.waiting = False
            for index, output in enumerate(plan):
                yield from self._produce(index, output)
                self._close_item("completed", last=index == len(plan) - 1)
        except NoReply as exc:
            self.fail(Refusal(exc.code, str(exc)))
        except _LimitReached:
            self.end("incomplete", "max_output_tokens")
        else:
            self.end("completed")

    def fail(self, refusal: Refusal) -> None:
        """End without output and with nothing used; no `error` event says so."""
        self._usage = usage((), (), 0, 0, self.outbox.d, self.request.is_2x)
        error = error_fields(refusal)
        del error["param"]
        self._details = {"type": "failed", "error": error}
        self._finish("failed")

    def end(self, status: str, reason: str | None = None) -> None:
        """End where it is. What is open is closed, as incomplete unless `status` is ``completed``; usage counts what was made."""
        self._close_item("completed" if status == "completed" else "incomplete", last=True)
        self._details = {"type": status, "reason": reason} if reason else None
        # what a transcript adds to its words was 1.4 tokens a piece and 4 more (five replies, 2025-06 and 2026-07)
        aloud = any(part.kind == "audio" for item in self._items for part in item.parts)
        text_out = round(1.4 * self._text_out + 4) if aloud else self._text_out
        before, self.outbox.conversation.last_read = self.outbox.conversation.last_read, self._reads
        self._usage = usage(
            self._reads,
            before,
            text_out,
            audio_tokens(self.audio_ms, ASSISTANT_MS_PER_TOKEN),
            self.outbox.d,
            self.request.is_2x,
        )
        self._finish(status)

    # Its items

    def _produce(self, index: int, output: Output) -> Iterator[float]:
        """Make an item of a message or a call, and stream it."""
        outbox, part = self.outbox, None
        if isinstance(output, Call):
            # ``call_`` and sixteen letters and digits: without the second that other ids begin with
            call_id = f"call_{outbox.new_id('')[6:]}"
            item = Item(outbox.new_id("item"), "function_call", status="in_progress")
            item.fields = {"name": output.name, "call_id": call_id, "arguments": ""}
        else:
            item = Item(outbox.new_id("item"), "message", "assistant", "in_progress")
            # the 2.x family marks every message
            phase = output.phase or ("final_answer" if self.request.is_2x else None)
            item.fields = {"phase": phase} if phase is not None else {}
        self._items.append(item)
        item_fields = item.show(outbox.d)
        outbox.emit("response.output_item.added", response_id=self.id, output_index=index, item=item_fields)
        if self.conversation_id is not None:
            before = outbox.conversation.add(item)
            outbox.emit("conversation.item.added", previous_item_id=before, item=item_fields)
        place: dict[str, Any] = {"response_id": self.id, "item_id": item.id, "output_index": index}
        if isinstance(output, Call):
            place["call_id"] = item.fields["call_id"]
            self._open = (index, item, None)
            name, text = "response.function_call_arguments.delta", json.dumps(output.arguments, ensure_ascii=False)
        else:
            place["content_index"] = 0
            part = Part("audio" if output.aloud else "text", "")
            empty = {"type": "audio", "transcript": ""} if output.aloud else {"type": "text", "text": ""}
            outbox.emit("response.content_part.added", **place, part=empty)
            item.parts.append(part)
            self._open = (index, item, part)
            if output.aloud:
                yield from self._stream_speech(place, part, output.text)
                return
            self._text_out += 2  # a text of 12 pieces is 14 tokens, one of 11 is 13 (recordings of 2026-07)
            name, text = "response.output_text.delta", output.text
        for piece in self._pieces(name, place, text):
            if part is None:
                item.fields["arguments"] += piece
            else:
                part.text = f"{part.text}{piece}"
            if outbox.options.token_s is None:
                self._at_s += TEXT_DELTA_S
            else:
                self.hold_s = outbox.options.token_s
            yield self._at_s

    def _pieces(self, ga_name: str, place: dict[str, Any], text: str) -> Iterator[str]:
        """Emit a delta for each piece of a text, and yield it once it is out."""
        outbox = self.outbox
        frame = DeltaFrame(ga_name, outbox.d, place, noise=True)
        for piece in pieces(text):
            self._spend(1)
            outbox.put(frame.text(outbox.new_id("event"), piece))
            yield piece

    def _stream_speech(self, place: dict[str, Any], part: Part, text: str) -> Iterator[float]:
        outbox = self.outbox
        words = self._pieces("response.output_audio_transcript.delta", place, text)
        sound = DeltaFrame("response.output_audio.delta", outbox.d, place)
        speech = spoken(text, self.request.output_format)
        pcm = memoryview(speech.pcm)
        n_pieces = 0  # of the transcript, sent
        if outbox.sideband:
            outbox.emit("output_audio_buffer.started", response_id=self.id)
        for n, chunk in enumerate(speech.chunks):
            share = (n + 1) / len(speech.chunks)
            ahead = min(len(speech.pieces), 3 + int(share * len(speech.pieces)))  # the words run ahead of the voice
            for piece in itertools.islice(words, ahead - n_pieces):
                part.text = f"{part.text}{piece}"
            n_pieces = ahead
            self._spend(0, CHUNK_MS)
            if not outbox.sideband:
                outbox.put(sound.base64(outbox.new_id("event"), chunk))
            part.pcm = pcm[: (n + 1) * CHUNK_MS * 48]
            self._at_s += CHUNK_MS / 1000
            yield self._at_s

    def _spend(self, text: int, audio_ms: int = 0) -> None:
        total = self._text_out + text + audio_tokens(self.audio_ms + audio_ms, ASSISTANT_MS_PER_TOKEN)
        if self.request.max_output_tokens is not None and total > self.request.max_output_tokens:
            raise _LimitReached
        self._text_out += text

    # How it ends

    def _close_item(self, status: str, *, last: bool) -> None:
        """Emit the closing events of the item that is open, if one is."""
        if self._open is None:
            return
        (index, item, part), self._open = self._open, None
        item.status = status
        outbox = self.outbox
        if last:
            self._send_limits(early=True)
        place = {"response_id": self.id, "item_id": item.id, "output_index": index}
        if part is None:
            place["call_id"] = item.fields["call_id"]
            name = {"name": item.fields["name"]} if outbox.d.name == "ga" else {}
            arguments = item.fields["arguments"]
            outbox.emit("response.function_call_arguments.done", **place, **name, arguments=arguments)
        else:
            place["content_index"] = 0
            if part.kind == "audio":
                outbox.emit("response.output_audio.done", **place)
                outbox.emit("response.output_audio_transcript.done", **place, transcript=part.text)
                shown_part = {"type": "audio", "transcript": part.text}
            else:
                outbox.emit("response.output_text.done", **place, text=part.text)
                shown_part = {"type": "text", "text": part.text}
            outbox.emit("response.content_part.done", **place, part=shown_part)
        item_fields = item.show(outbox.d)
        if self.conversation_id is not None and outbox.d.name == "ga" and item.id in self.outbox.conversation:
            # null after audio and after a call, the id before it after text: so in all six recordings of 2026-07
            before = self.outbox.conversation.before(item.id) if part is not None and part.kind == "text" else None
            outbox.emit("conversation.item.done", previous_item_id=before, item=item_fields)
        outbox.emit("response.output_item.done", response_id=self.id, output_index=index, item=item_fields)

    def _finish(self, status: str) -> None:
        self.status = status
        self._send_limits(early=True)
        self.outbox.emit("response.done", response=self.show())
        self.done_frame = self.outbox.last
        self._send_limits(early=False)
        if self.outbox.sideband and self.audio_ms:
            # cleared by an interruption, stopped when all was played: here that is at once
            event = "output_audio_buffer.cleared" if status == "cancelled" else "output_audio_buffer.stopped"
            self.outbox.emit(event, response_id=self.id)

    def _send_limits(self, *, early: bool) -> None:
        """Emit `rate_limits.updated`: beta before the closing events, GA after `response.done` (logs of 2025-06, 2026-09)."""
        d = self.outbox.d
        if self._limits_sent or early != (d.name == "beta"):
            return
        self._limits_sent = True
        tokens = self._usage["total_tokens"] if self._usage else sum(count.text + count.audio for count in self._reads)
        self.outbox.emit("rate_limits.updated", rate_limits=rate_limits(tokens, d))


# How a reply goes wrong on purpose: `faults.KINDS` says what each fault is.

# Steps into a reply: begun, and a little of it out.
MIDWAY = 3
# The largest frame that was seen from the service (items with their audio).
_HUGE_BYTES = 3_476_354


def silent_steps(response: Response, silence: Silence) -> Iterator[float]:
    """Take the steps of a response that a drift rule makes silent, empty or late."""
    steps = response.stream()
    yield next(steps)  # `response.created` comes in time
    if silence.kind == "silent":
        while True:
            yield math.inf
    elif silence.kind == "empty":
        response.end("completed")
    else:
        response.hold_s = silence.late_s
        yield 0.0
        yield from steps


def faulty_steps(response: Response, fault: Fault, settings: Settings) -> Iterator[float]:
    """Take the steps of a response that has a fault."""
    name, outbox = fault.name, response.outbox
    if name == "slow-start":
        response.hold_s = fault.value
        yield 0.0
        yield from response.stream()
    elif name in ("failed", "rate-limit", "quota"):
        outbox.emit("response.created", response=response.show())
        yield THINKING_S["text"]
        if name == "failed":
            response.fail(server_error(settings))
        elif name == "rate-limit":
            message = (
                f"Rate limit reached for {settings.model} in organization org-standin on tokens per min (TPM): "
                f"Limit 40000, Used 40000, Requested 1000. Please try again in {fault.value:g}s."
            )
            response.fail(Refusal("rate_limit_exceeded", message, type="tokens"))
        else:
            message = "You exceeded your current quota, please check your plan and billing details."
            response.fail(Refusal("insufficient_quota", message, type="insufficient_quota"))
            outbox.closing = (1000, "insufficient_quota")  # with which code the service closes then is unverified
    elif name == "late":
        delta = b""
        for at_s in response.stream():
            if b'.delta","event_id"' in outbox.last[:80]:
                delta = outbox.last
            yield at_s
        outbox.put(InjectedFrame(delta))
    else:
        for n, at_s in enumerate(response.stream()):
            yield at_s
            if n == MIDWAY:
                yield from _midway(response, fault)
                if response.status != "in_progress":
                    return
        if name == "duplicate":
            outbox.put(InjectedFrame(response.done_frame))


def _midway(response: Response, fault: Fault) -> Iterator[float]:
    outbox = response.outbox
    injected: bytes | dict[str, Any] = b""
    match fault.name:
        case "stall":
            while True:
                yield math.inf
        case "drop":
            outbox.closing = (1000, "")
        case "close":
            outbox.closing = (int(fault.value), "asked for: close")
        case "cut":
            outbox.cut = True
        case "incomplete":
            response.end("incomplete", "content_filter")
        case "duplicate":
            injected = outbox.last
        case "malformed":
            injected = b'{"type":"response.output_audio.delta","event_id":'
        case "unknown-event":
            injected = {"type": "response.weather.delta", "event_id": outbox.new_id("event"), "delta": "sunny"}
        case "huge":
            padding = "x" * _HUGE_BYTES
            injected = {"type": "response.output_padding", "event_id": outbox.new_id("event"), "padding": padding}
    if injected:
        outbox.put(InjectedFrame(encode(injected) if isinstance(injected, dict) else injected))


def server_error(settings: Settings) -> Refusal:
    """Return the error for which the service itself is at fault, in its words."""
    message = (
        "The server had an error while processing your request. Sorry about that! "
        f"(asked for of a stand-in; session ID: {settings.session['id']})"
    )
    return Refusal(None, message, type="server_error")
