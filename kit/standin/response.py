"""One response: its events in the service's order, in audio, in text, cut short, or refused by the model.

The orders are those of wire logs (wire/README.md, Event orders). A response is a generator: it emits what is due and yields when it
wants to go on, in seconds of its own clock, so that whoever drives it may stream in real time or all at once, and may stop it
between any two steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .frames import DeltaFrame, new_call_id
from .items import ASSISTANT_MS_PER_TOKEN, Item, Part, audio_tokens, context_weights, nothing_used, rate_limits, usage
from .replies import Call, Output, Say, written
from .settings import Asked
from .sound import CHUNK_MS, pieces, spoken

if TYPE_CHECKING:
    from .session import Core

# Seconds on a response's own clock (wire/README.md, Timing: mini in text, 2026-09; audio, 2025-06).
THINKING_S = {"text": 0.195, "audio": 0.370}
TEXT_DELTA_S = 0.008


class _Stop(Exception):
    """The reply has reached its `max_output_tokens`."""


class Response:
    """A response in the making.

    Args:
        core: The session it belongs to.
        asked: What was asked for.
        context: The items that it reads.
        aloud: Whether it will speak.
        plan: Gives what it will produce, in order; ``None`` while that cannot be said yet.
    """

    def __init__(
        self, core: Core, asked: Asked, context: Sequence[Item], aloud: bool, plan: Callable[[], list[Output] | None]
    ) -> None:
        self.core = core
        self.asked = asked
        self.waiting = False
        """Whether it waits for the user's words to be made out."""
        self.done_frame = b""
        """Its `response.done`, once it was sent."""
        self._aloud_at_all = aloud
        self._plan = plan
        self.id = core.new_id("resp")
        self.status = "in_progress"
        self.conversation_id = None if asked.out_of_band else core.conversation_id
        self._items: list[Item] = []
        self._open: tuple[int, Item, Part | None] | None = None
        self._details: dict[str, Any] | None = None
        self._usage: dict[str, Any] | None = None
        self._at_s = 0.0
        self._text_out = 0
        self._limit = asked.max_output_tokens
        self._limits_told = False
        self._reads = context_weights(asked.get("instructions") or "", asked.get("tools") or (), context)

    # What it looks like

    def show(self) -> dict[str, Any]:
        """The response object, its keys in wire order (wire/README.md, Response object)."""
        d, ask = self.core.d, self.asked
        done = self.status != "in_progress"
        shown: dict[str, Any] = {
            "object": "realtime.response",
            "id": self.id,
            "status": self.status,
            "status_details": self._details,
            "output": [item.show(d) for item in self._items] if done and self.status != "failed" else [],
            "conversation_id": self.conversation_id,
            d.modalities: ask.get("modality"),
        }
        limit = ask.get("max_output_tokens")
        if d.name == "ga":
            output = {"format": ask.get("output_format"), "voice": ask.get("voice")}
            return shown | {
                "max_output_tokens": limit,
                "audio": {"output": output},
                "usage": self._usage,
                "metadata": ask.get("metadata"),
            }
        return shown | {
            "voice": ask.get("voice"),
            "output_audio_format": ask.get("output_format"),
            "temperature": ask.get("temperature"),
            "max_output_tokens": limit,
            "usage": self._usage,
            "metadata": ask.get("metadata"),
        }

    # Its life

    def steps(self) -> Iterator[float]:
        """Emit what is due; yield when to go on, in seconds since the response began."""
        self.core.emit("response.created", response=self.show())
        self._at_s = THINKING_S["audio" if self._aloud_at_all else "text"]
        yield self._at_s
        while (plan := self._plan()) is None:
            self.waiting = True
            yield math.inf
            self._at_s = 0.0
        self.waiting = False
        try:
            for index, output in enumerate(plan):
                yield from self._call(index, output) if isinstance(output, Call) else self._say(index, output)
                self._close("completed", last=index == len(plan) - 1)
        except _Stop:
            self.cut_short("max_output_tokens")
        else:
            self._end("completed", None)

    def cancel(self, reason: str) -> None:
        """Stop where it is: what is open is closed as incomplete, usage counts what was made."""
        self._end("cancelled", {"type": "cancelled", "reason": reason})

    def cut_short(self, reason: str) -> None:
        """End as incomplete, where it is."""
        self._end("incomplete", {"type": "incomplete", "reason": reason})

    @property
    def speaking(self) -> bool:
        """Whether it is in the middle of an audio part."""
        return self._open is not None and self._open[2] is not None and self._open[2].kind == "audio"

    @property
    def audio_ms(self) -> float:
        """How much it has spoken."""
        return sum(part.audio_ms for item in self._items for part in item.parts)

    def fail(self, error: dict[str, Any]) -> Iterator[float]:
        """The steps of a response that the model never began: no `error` event, no output, nothing used."""
        self.core.emit("response.created", response=self.show())
        yield THINKING_S["text"]
        self._usage = nothing_used(self.core.d)
        self._details = {"type": "failed", "error": error}
        self._finish("failed")

    # Its messages

    def _place(self, index: int, item: Item) -> dict[str, Any]:
        return {"response_id": self.id, "item_id": item.id, "output_index": index, "content_index": 0}

    def _begin(self, index: int, item: Item) -> None:
        self._items.append(item)
        self.core.emit(
            "response.output_item.added", response_id=self.id, output_index=index, item=item.show(self.core.d)
        )
        if self.conversation_id is not None:
            before = self.core.conversation.add(item)
            self.core.emit("conversation.item.added", previous_item_id=before, item=item.show(self.core.d))

    def _say(self, index: int, say: Say) -> Iterator[float]:
        item = Item(self.core.new_id("item"), "message", "assistant", "in_progress")
        if say.phase is not None:
            item.fields["phase"] = say.phase
        self._begin(index, item)
        part = Part("audio" if say.aloud else "text", "")
        empty = {"type": "audio", "transcript": ""} if say.aloud else {"type": "text", "text": ""}
        self.core.emit("response.content_part.added", **self._place(index, item), part=empty)
        item.parts.append(part)
        self._open = (index, item, part)
        yield from (self._aloud(index, item, part, say) if say.aloud else self._written(index, item, part, say))

    def _call(self, index: int, call: Call) -> Iterator[float]:
        core, call_id, text = self.core, new_call_id(), written(call)
        item = Item(core.new_id("item"), "function_call", status="in_progress")
        item.fields = {"name": call.name, "call_id": call_id, "arguments": ""}
        self._begin(index, item)
        self._open = (index, item, None)
        place = {"response_id": self.id, "item_id": item.id, "output_index": index, "call_id": call_id}
        frame = DeltaFrame("response.function_call_arguments.delta", core.d, place, noise=True)
        for piece in pieces(text):
            self._spend(1)
            core.put(frame.text(core.event_id(), piece))
            item.fields["arguments"] += piece
            yield self._later(TEXT_DELTA_S)

    def _written(self, index: int, item: Item, part: Part, say: Say) -> Iterator[float]:
        frame = DeltaFrame("response.output_text.delta", self.core.d, self._place(index, item), noise=True)
        self._text_out += 2  # a text of 12 pieces is 14 tokens, one of 11 is 13 (recordings of 2026-07)
        for piece in pieces(say.text):
            self._spend(1)
            self.core.put(frame.text(self.core.event_id(), piece))
            part.text = f"{part.text}{piece}"
            yield self._later(TEXT_DELTA_S)

    def _aloud(self, index: int, item: Item, part: Part, say: Say) -> Iterator[float]:
        d, place, core = self.core.d, self._place(index, item), self.core
        words = DeltaFrame("response.output_audio_transcript.delta", d, place, noise=True)
        sound = DeltaFrame("response.output_audio.delta", d, place)
        speech = spoken(say.text, self.asked.output_format)
        pcm = memoryview(speech.pcm)
        told = 0
        for n, chunk in enumerate(speech.chunks):
            ahead = speech.pieces_before(n)
            for piece in speech.pieces[told:ahead]:
                self._spend(1)
                core.put(words.text(core.event_id(), piece))
                part.text = f"{part.text}{piece}"
            told = ahead
            self._spend(0, CHUNK_MS)
            core.put(sound.base64(core.event_id(), chunk))
            part.pcm = pcm[: (n + 1) * CHUNK_MS * 48]
            yield self._later(CHUNK_MS / 1000)

    def _later(self, s: float) -> float:
        self._at_s += s
        return self._at_s

    def _spend(self, text: int, audio_ms: int = 0) -> None:
        limit = self._limit
        if limit is not None and self._text_out + text + self._audio_out() + audio_ms // ASSISTANT_MS_PER_TOKEN > limit:
            raise _Stop
        self._text_out += text

    def _audio_out(self) -> int:
        return audio_tokens(self.audio_ms, ASSISTANT_MS_PER_TOKEN)

    # How it ends

    def _close(self, status: str, *, last: bool) -> None:
        """The closing events of the item that is open, if one is."""
        if self._open is None:
            return
        index, item, part = self._open
        self._open = None
        item.status = status
        core, place = self.core, self._place(index, item)
        if last:
            self._tell_limits(early=True)
        if part is not None and part.kind == "audio":
            core.emit("response.output_audio.done", **place)
            core.emit("response.output_audio_transcript.done", **place, transcript=part.text)
            core.emit("response.content_part.done", **place, part={"type": "audio", "transcript": part.text})
        elif part is None:
            place = {
                "response_id": self.id,
                "item_id": item.id,
                "output_index": index,
                "call_id": item.fields["call_id"],
            }
            name = {"name": item.fields["name"]} if core.d.name == "ga" else {}
            arguments = item.fields["arguments"]
            core.emit("response.function_call_arguments.done", **place, **name, arguments=arguments)
        else:
            core.emit("response.output_text.done", **place, text=part.text)
            core.emit("response.content_part.done", **place, part={"type": "text", "text": part.text})
        shown = item.show(core.d)
        if self.conversation_id is not None and core.d.name == "ga" and item.id in core.conversation:
            # null after audio and after a call, the id before it after text: so in all six recordings of 2026-07
            before = core.conversation.before(item.id) if part is not None and part.kind == "text" else None
            core.emit("conversation.item.done", previous_item_id=before, item=shown)
        core.emit("response.output_item.done", response_id=self.id, output_index=index, item=shown)

    def _end(self, status: str, details: dict[str, Any] | None) -> None:
        self._close("completed" if status == "completed" else "incomplete", last=True)
        self._details = details
        # what a transcript adds to its words was 1.4 tokens a piece and 4 more (five replies, 2025-06 and 2026-07)
        aloud = any(part.kind == "audio" for item in self._items for part in item.parts)
        text_out = round(1.4 * self._text_out + 4) if aloud else self._text_out
        self._usage = usage(
            self._reads, self.core.read_before, text_out=text_out, audio_out=self._audio_out(), d=self.core.d
        )
        self.core.read_before = self._reads
        self._finish(status)

    def _finish(self, status: str) -> None:
        self.status = status
        self._tell_limits(early=True)
        self.core.emit("response.done", response=self.show())
        self.done_frame = self.core.last
        self._tell_limits(early=False)

    def _tell_limits(self, *, early: bool) -> None:
        """Beta tells the limits before the closing events, GA after `response.done` (logs of 2025-06 and 2026-09)."""
        if self._limits_told or early != (self.core.d.name == "beta"):
            return
        self._limits_told = True
        tokens = self._usage["total_tokens"] if self._usage else sum(w.text + w.audio for w in self._reads)
        self.core.emit("rate_limits.updated", rate_limits=rate_limits(tokens, self.core.d))
