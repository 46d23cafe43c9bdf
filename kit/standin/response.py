"""One response: its events in the service's order, in audio, in text, cut short, refused by the model, or wrong on purpose.

A response is a generator: it puts what is due in the outbox and yields when it wants to go on, in seconds of its own clock.
So the session that drives it may stream in real time or all at once, and may stop it between any two steps.

| status | the response | how it is reached |
|---|---|---|
| ``in_progress`` | thinks, waits for the user's words, or streams | `steps` |
| ``completed`` | all of the plan is out | `steps` |
| ``incomplete`` | stopped at `max_output_tokens`, or midway by a fault | `steps`, `cut_short` |
| ``cancelled`` | stopped by the client or by the user's speech | `cancel` |
| ``failed`` | the model never began | `fail` |

The orders of events are those of wire logs (wire/README.md, Event orders).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .drift import Silence
from .faults import Fault
from .frames import DeltaFrame, InjectedFrame, Outbox, encode, new_call_id
from .items import (
    ASSISTANT_MS_PER_TOKEN,
    Conversation,
    Item,
    Part,
    audio_tokens,
    context_tokens,
    rate_limits,
    usage,
)
from .replies import Call, NoRuleMatches, Output, RuleFails, Say
from .settings import ResponseRequest, Settings
from .sound import CHUNK_MS, pieces, spoken

# Seconds on a response's own clock, from the request to the first content (wire/README.md, Timing: mini in text, 2026-09; audio, 2025-06).
THINKING_S = {"text": 0.195, "audio": 0.370}
# Between two text deltas, from the same logs.
TEXT_DELTA_S = 0.008


class _LimitReached(Exception):
    """The reply has reached its `max_output_tokens`."""


class Response:
    """A response in the making.

    Args:
        outbox: Where its events go.
        conversation: What its items are added to, unless it is out of band.
        request: The options of its `response.create`.
        context: The items that it reads.
        aloud: Whether it will speak.
        plan: Returns what it will produce, in order; ``None`` while that cannot be said yet.
        sideband: Whether its audio goes to a call, and this connection is only told when it is played.
        first_s, token_s: Seconds of real time to the first content and between two text deltas; ``None``: by its own clock.
    """

    def __init__(
        self,
        outbox: Outbox,
        conversation: Conversation,
        request: ResponseRequest,
        context: Sequence[Item],
        aloud: bool,
        plan: Callable[[], list[Output] | None],
        *,
        sideband: bool = False,
        first_s: float | None = None,
        token_s: float | None = None,
    ) -> None:
        self.id = outbox.new_id("resp")
        self.status = "in_progress"
        self.request = request
        # Whether it waits for the user's words to be recognised.
        self.waiting = False
        # Seconds of real time by which its clock is to be put back, whatever the pace; the session takes them.
        self.hold_s = 0.0
        # Its `response.done`, once that was sent: the fault ``duplicate`` repeats it.
        self.done_frame = b""
        # ``None`` for a response that leaves the conversation as it is.
        self.conversation_id = None if request.out_of_band else conversation.id
        self._outbox = outbox
        self._conversation = conversation
        self._aloud = aloud
        self._plan = plan
        self._sideband = sideband
        self._first_s, self._token_s = first_s, token_s
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
        # Looked up once: every delta is held against it.
        self._limit = request.max_output_tokens
        # `rate_limits.updated` comes once, before or after the end by dialect.
        self._limits_sent = False
        # Token counts of what it reads: usage says how many, and how many of them the response before had read.
        self._reads = context_tokens(request.get("instructions") or "", request.get("tools") or (), context)

    def show(self) -> dict[str, Any]:
        """Return the response object, its keys in wire order (wire/README.md, Response object)."""
        d, request = self._outbox.d, self.request
        done = self.status != "in_progress"
        shown: dict[str, Any] = {
            "object": "realtime.response",
            "id": self.id,
            "status": self.status,
            "status_details": self._details,
            "output": [item.show(d) for item in self._items] if done and self.status != "failed" else [],
            "conversation_id": self.conversation_id,
            d.modalities: request.get("modality"),
        }
        limit, metadata = request.get("max_output_tokens"), request.get("metadata")
        if d.name == "ga":
            output = {"format": request.get("output_format"), "voice": request.get("voice")}
            return shown | {
                "max_output_tokens": limit,
                "audio": {"output": output},
                "usage": self._usage,
                "metadata": metadata,
            }
        return shown | {
            "voice": request.get("voice"),
            "output_audio_format": request.get("output_format"),
            "temperature": request.get("temperature"),
            "max_output_tokens": limit,
            "usage": self._usage,
            "metadata": metadata,
        }

    @property
    def speaking(self) -> bool:
        """Whether it is in the middle of an audio part."""
        return self._open is not None and self._open[2] is not None and self._open[2].kind == "audio"

    @property
    def audio_ms(self) -> float:
        """How much it has spoken."""
        return sum(part.audio_ms for item in self._items for part in item.parts)

    # Its life

    def steps(self) -> Iterator[float]:
        """Emit what is due; yield when to go on, in seconds since the response began (∞: when something else happens)."""
        self._outbox.emit("response.created", response=self.show())
        if self._first_s is None:
            self._at_s = THINKING_S["audio" if self._aloud else "text"]
        else:
            self.hold_s = self._first_s
        yield self._at_s
        try:
            while (plan := self._plan()) is None:
                self.waiting = True
                yield math.inf
                self._at_s = 0.0
            self.waiting = False
            for index, output in enumerate(plan):
                yield from self._stream_call(index, output) if isinstance(output, Call) else self._say(index, output)
                self._close_item("completed", last=index == len(plan) - 1)
        except (NoRuleMatches, RuleFails) as exc:
            code = "rule_fails" if isinstance(exc, RuleFails) else "no_rule_matches"
            self._fail({"type": "invalid_request_error", "code": code, "message": str(exc)})
        except _LimitReached:
            self.cut_short("max_output_tokens")
        else:
            self._end("completed", None)

    def cancel(self, reason: str) -> None:
        """Stop where it is: what is open is closed as incomplete, usage counts what was made."""
        self._end("cancelled", {"type": "cancelled", "reason": reason})

    def cut_short(self, reason: str) -> None:
        """End as incomplete, where it is."""
        self._end("incomplete", {"type": "incomplete", "reason": reason})

    def finish_empty(self) -> None:
        """End as completed, with no output."""
        self._end("completed", None)

    def fail(self, error: dict[str, Any]) -> Iterator[float]:
        """Take the steps of a response that the model never began: no `error` event, no output, nothing used."""
        self._outbox.emit("response.created", response=self.show())
        yield THINKING_S["text"]
        self._fail(error)

    def _fail(self, error: dict[str, Any]) -> None:
        self._usage = usage((), (), text_out=0, audio_out=0, d=self._outbox.d, is_2x=self.request.is_2x)
        self._details = {"type": "failed", "error": error}
        self._finish("failed")

    # Its items

    def _begin_item(self, index: int, item: Item) -> None:
        self._items.append(item)
        shown = item.show(self._outbox.d)
        self._outbox.emit("response.output_item.added", response_id=self.id, output_index=index, item=shown)
        if self.conversation_id is not None:
            before = self._conversation.add(item)
            self._outbox.emit("conversation.item.added", previous_item_id=before, item=shown)

    def _say(self, index: int, say: Say) -> Iterator[float]:
        item = Item(self._outbox.new_id("item"), "message", "assistant", "in_progress")
        phase = say.phase or ("final_answer" if self.request.is_2x else None)  # the 2.x family marks every message
        if phase is not None:
            item.fields["phase"] = phase
        self._begin_item(index, item)
        part = Part("audio" if say.aloud else "text", "")
        place = {"response_id": self.id, "item_id": item.id, "output_index": index, "content_index": 0}
        empty = {"type": "audio", "transcript": ""} if say.aloud else {"type": "text", "text": ""}
        self._outbox.emit("response.content_part.added", **place, part=empty)
        item.parts.append(part)
        self._open = (index, item, part)
        yield from (self._stream_speech if say.aloud else self._stream_text)(place, part, say.text)

    def _stream_text(self, place: dict[str, Any], part: Part, text: str) -> Iterator[float]:
        outbox = self._outbox
        frame = DeltaFrame("response.output_text.delta", outbox.d, place, noise=True)
        self._text_out += 2  # a text of 12 pieces is 14 tokens, one of 11 is 13 (recordings of 2026-07)
        for piece in pieces(text):
            self._spend(1)
            outbox.put(frame.text(outbox.event_id(), piece))
            part.text = f"{part.text}{piece}"
            yield self._next_token()

    def _stream_speech(self, place: dict[str, Any], part: Part, text: str) -> Iterator[float]:
        outbox = self._outbox
        words = DeltaFrame("response.output_audio_transcript.delta", outbox.d, place, noise=True)
        sound = DeltaFrame("response.output_audio.delta", outbox.d, place)
        speech = spoken(text, self.request.output_format)
        pcm = memoryview(speech.pcm)
        n_pieces = 0  # of the transcript, sent
        if self._sideband:
            outbox.emit("output_audio_buffer.started", response_id=self.id)
        for n, chunk in enumerate(speech.chunks):
            ahead = speech.pieces_before(n)
            for piece in speech.pieces[n_pieces:ahead]:
                self._spend(1)
                outbox.put(words.text(outbox.event_id(), piece))
                part.text = f"{part.text}{piece}"
            n_pieces = ahead
            self._spend(0, CHUNK_MS)
            if not self._sideband:
                outbox.put(sound.base64(outbox.event_id(), chunk))
            part.pcm = pcm[: (n + 1) * CHUNK_MS * 48]
            yield self._later(CHUNK_MS / 1000)

    def _stream_call(self, index: int, call: Call) -> Iterator[float]:
        outbox, call_id = self._outbox, new_call_id()
        item = Item(outbox.new_id("item"), "function_call", status="in_progress")
        item.fields = {"name": call.name, "call_id": call_id, "arguments": ""}
        self._begin_item(index, item)
        self._open = (index, item, None)
        place = {"response_id": self.id, "item_id": item.id, "output_index": index, "call_id": call_id}
        frame = DeltaFrame("response.function_call_arguments.delta", outbox.d, place, noise=True)
        for piece in pieces(json.dumps(call.arguments, ensure_ascii=False)):
            self._spend(1)
            outbox.put(frame.text(outbox.event_id(), piece))
            item.fields["arguments"] += piece
            yield self._next_token()

    def _next_token(self) -> float:
        if self._token_s is None:
            return self._later(TEXT_DELTA_S)
        self.hold_s = self._token_s
        return self._at_s

    def _later(self, s: float) -> float:
        self._at_s += s
        return self._at_s

    def _spend(self, text: int, audio_ms: int = 0) -> None:
        total = self._text_out + text + self._audio_out() + audio_ms // ASSISTANT_MS_PER_TOKEN
        if self._limit is not None and total > self._limit:
            raise _LimitReached
        self._text_out += text

    def _audio_out(self) -> int:
        return audio_tokens(self.audio_ms, ASSISTANT_MS_PER_TOKEN)

    # How it ends

    def _close_item(self, status: str, *, last: bool) -> None:
        """Emit the closing events of the item that is open, if one is."""
        if self._open is None:
            return
        (index, item, part), self._open = self._open, None
        item.status = status
        outbox = self._outbox
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
        shown = item.show(outbox.d)
        if self.conversation_id is not None and outbox.d.name == "ga" and item.id in self._conversation:
            # null after audio and after a call, the id before it after text: so in all six recordings of 2026-07
            before = self._conversation.before(item.id) if part is not None and part.kind == "text" else None
            outbox.emit("conversation.item.done", previous_item_id=before, item=shown)
        outbox.emit("response.output_item.done", response_id=self.id, output_index=index, item=shown)

    def _end(self, status: str, details: dict[str, Any] | None) -> None:
        self._close_item("completed" if status == "completed" else "incomplete", last=True)
        self._details = details
        # what a transcript adds to its words was 1.4 tokens a piece and 4 more (five replies, 2025-06 and 2026-07)
        aloud = any(part.kind == "audio" for item in self._items for part in item.parts)
        text_out = round(1.4 * self._text_out + 4) if aloud else self._text_out
        before, self._conversation.last_read = self._conversation.last_read, self._reads
        self._usage = usage(
            self._reads,
            before,
            text_out=text_out,
            audio_out=self._audio_out(),
            d=self._outbox.d,
            is_2x=self.request.is_2x,
        )
        self._finish(status)

    def _finish(self, status: str) -> None:
        self.status = status
        self._send_limits(early=True)
        self._outbox.emit("response.done", response=self.show())
        self.done_frame = self._outbox.last
        self._send_limits(early=False)
        if self._sideband and self.audio_ms:
            # cleared by an interruption, stopped when all was played: here that is at once
            event = "output_audio_buffer.cleared" if status == "cancelled" else "output_audio_buffer.stopped"
            self._outbox.emit(event, response_id=self.id)

    def _send_limits(self, *, early: bool) -> None:
        """Emit `rate_limits.updated`: beta before the closing events, GA after `response.done` (logs of 2025-06, 2026-09)."""
        d = self._outbox.d
        if self._limits_sent or early != (d.name == "beta"):
            return
        self._limits_sent = True
        tokens = self._usage["total_tokens"] if self._usage else sum(count.text + count.audio for count in self._reads)
        self._outbox.emit("rate_limits.updated", rate_limits=rate_limits(tokens, d))


# How a reply goes wrong on purpose: `faults.KINDS` says what each fault is.

# Steps into a reply: begun, and a little of it out.
MIDWAY = 3
# The largest frame that was seen from the service (items with their audio).
_HUGE_BYTES = 3_476_354


def silent_steps(response: Response, silence: Silence) -> Iterator[float]:
    """Take the steps of a response that a drift rule makes silent, empty or late."""
    steps = response.steps()
    yield next(steps)  # `response.created` comes in time
    if silence.kind == "silent":
        while True:
            yield math.inf
    elif silence.kind == "empty":
        response.finish_empty()
    else:
        response.hold_s = silence.late_s
        yield 0.0
        yield from steps


def faulty_steps(response: Response, fault: Fault, outbox: Outbox, settings: Settings) -> Iterator[float]:
    """Take the steps of a response that has a fault."""
    name = fault.name
    if name == "slow-start":
        response.hold_s = fault.value
        yield 0.0
        yield from response.steps()
    elif name in ("failed", "rate-limit", "quota"):
        yield from response.fail(failure(fault, settings))
        if name == "quota":
            outbox.closing = (1000, "insufficient_quota")  # with which code the service closes then is unverified
    elif name == "late":
        delta = b""
        for at_s in response.steps():
            if b'.delta","event_id"' in outbox.last[:80]:
                delta = outbox.last
            yield at_s
        outbox.put(InjectedFrame(delta))
    else:
        for n, at_s in enumerate(response.steps()):
            yield at_s
            if n == MIDWAY:
                yield from _midway(response, fault, outbox)
                if response.status != "in_progress":
                    return
        if name == "duplicate":
            outbox.put(InjectedFrame(response.done_frame))


def _midway(response: Response, fault: Fault, outbox: Outbox) -> Iterator[float]:
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
            response.cut_short("content_filter")
        case "duplicate":
            outbox.put(InjectedFrame(outbox.last))
        case "malformed":
            outbox.put(InjectedFrame(b'{"type":"response.output_audio.delta","event_id":'))
        case "unknown-event":
            event = {"type": "response.weather.delta", "event_id": outbox.event_id(), "delta": "sunny"}
            outbox.put(InjectedFrame(encode(event)))
        case "huge":
            event = {"type": "response.output_padding", "event_id": outbox.event_id(), "padding": "x" * _HUGE_BYTES}
            outbox.put(InjectedFrame(encode(event)))


def failure(fault: Fault, settings: Settings) -> dict[str, Any]:
    """Return the error of a failed reply, in the service's words."""
    if fault.name == "rate-limit":
        message = (
            f"Rate limit reached for {settings.model} in organization org-standin on tokens per min (TPM): "
            f"Limit 40000, Used 40000, Requested 1000. Please try again in {fault.value:g}s."
        )
        return {"type": "tokens", "code": "rate_limit_exceeded", "message": message}
    if fault.name == "quota":
        message = "You exceeded your current quota, please check your plan and billing details."
        return {"type": "insufficient_quota", "code": "insufficient_quota", "message": message}
    return server_error(settings)


def server_error(settings: Settings) -> dict[str, Any]:
    """Return the error for which the service itself is at fault, in its words."""
    message = (
        "The server had an error while processing your request. Sorry about that! "
        f"(asked for of a stand-in; session ID: {settings.session['id']})"
    )
    return {"type": "server_error", "code": None, "message": message}
