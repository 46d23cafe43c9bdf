"""The user's turns: audio that comes in, speech that is heard in it, items that are made of it, words that are made of those.

Orders are those of the wire (protocol.md §6.1): speech_started → speech_stopped → committed → item → response. An item's id is
given out when speech starts.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any

from ..errors import KitError
from ..wire.dialect import MAX_APPEND_BYTES
from .frames import DeltaFrame
from .hearing import InputAudio
from .items import Item, Part, base64_from_client
from .listening import Started, Stopped
from .schema import refuse
from .sound import BYTES_PER_MS, duration_ms
from .speaking import pieces
from .usage import USER_MS_PER_TOKEN, audio_tokens, text_tokens

if TYPE_CHECKING:
    from .core import Core

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
