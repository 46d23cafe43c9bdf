"""Voice to voice over GPT-Live: a track that always runs, and nobody who says when a turn begins or ends.

=====================  ===============================================================================================
the microphone brings  it is sent as it comes; where it stops, silence is fed
the model's track      is played from a reply's first voiced frame on, pauses of up to half a second included
the user begins to     100 ms of loud sound: what waits to be heard is dropped, and the reply notes how much was heard.
speak over a reply     Nothing is sent: the model hears it, and yields or goes on. What still arrives for `_YIELDS_S` is its
                       old sentence, and is dropped; if it goes on after that, it is heard again
half-duplex            silence is sent while a reply is heard: the session's clock is the input audio, it must not stop
=====================  ===============================================================================================
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ..clip import RATE_HZ
from ..errors import InputError, LocalProtocolError
from ..live import LiveSession
from ..wire.events import LIVE_AUDIO_DELTA, Event
from ..wire.live_conversation import Reply
from .playback import Interruption, Sink, Truncation
from .voice import Voice

_PAUSE_FRAMES = 5  # of 100 ms: a longer pause is no sound to be queued (pydantic-ai forwards as much)
_BEGINS_MS = 100  # of loud sound: then the user speaks, and it is no click
_YIELDS_S = 0.7  # for the model to fall silent when it is talked over


class LivePlayback:
    """Feeds a speaker with what GPT-Live says; the counterpart of `Playback`."""

    def __init__(self, session: LiveSession, sink: Sink) -> None:
        if session.audio_format != "pcm16":
            raise InputError(f"the session's sound is {session.audio_format}; to be heard here it must be pcm16")
        self.session, self.sink = session, sink
        # Those that cut something off, oldest first, and the kit's own part of each reply's delay (see `Playback`).
        self.interruptions: list[Interruption] = []
        self.handed_ms: list[float] = []
        # The reply that is being played, how many of its frames were taken, and the number of its first sample at the speaker.
        self._reply: Reply | None = None
        self._n_taken = 0
        self._first = 0
        # Frames of quiet since the last voiced one.
        self._n_quiet = 0
        # Until when (`perf_counter`) what comes is the sentence that the user talked over.
        self._yields_until_s = 0.0

    def take(self, event: Event) -> None:
        """Play what an event brings."""
        replies = self.session.conversation.replies
        # The track runs before the first reply, too: frames of zeros (wire/LIVE.md, "In ten lines").
        if event.type != LIVE_AUDIO_DELTA or not replies:
            return
        reply = replies[-1]
        if reply is not self._reply:
            self._reply, self._n_taken, self._first = reply, 0, self.sink.n_written
        frames = reply.frames(self._n_taken)
        # The first frames with a voice. What the speaker had been given by then belongs to the reply before.
        if frames and not self._n_taken:
            self.handed_ms.append(self.session.now_ms - event.at_ms)
            self._first = self.sink.n_written
        self._n_taken += len(frames)
        for frame, voiced in frames:
            self._n_quiet = 0 if voiced else self._n_quiet + 1
            if self._n_quiet == _PAUSE_FRAMES:
                self.sink.end()  # it falls silent; if the voice comes again, it begins again
            elif self._n_quiet < _PAUSE_FRAMES and time.perf_counter() >= self._yields_until_s:
                self.sink.write(frame)

    async def interrupt(self) -> Interruption:
        """The user began to speak: fall silent at once, and note how much of the reply was heard."""
        # Set first: frames that come while the speaker stops are of the old sentence already.
        self._yields_until_s = time.perf_counter() + _YIELDS_S
        n_heard = await self.sink.stop()
        heard_ms = max(0, n_heard - self._first) * 1000 // RATE_HZ
        reply_id = self._reply.id if self._reply is not None else ""
        self.session.interrupted(heard_ms)
        interruption = Interruption((Truncation(reply_id, 0, heard_ms),))
        self.interruptions.append(interruption)
        return interruption


class LiveVoice(Voice):
    """A spoken conversation over GPT-Live; arguments and use are those of `Voice`. The session is started if it was not."""

    session: LiveSession
    playback: LivePlayback
    playback_of = LivePlayback
    listens_by_itself = True  # no event says that the user speaks
    # Loud sound of the user without a pause, in ms; negative: it has interrupted, and must fall quiet first.
    _loud_ms = 0.0

    async def _ready(self) -> None:
        if self.session.feeder is None:
            await self.session.start()

    def _brought(self, pcm: bytes) -> None:
        """The microphone brought this, after the echo was taken out."""

        async def interrupt() -> None:
            await self.playback.interrupt()
            self.on_interrupted()

        samples = np.frombuffer(pcm, np.int16)
        ms = samples.size * 1000 / RATE_HZ
        loud = self.level * 32_768 > self.session.conversation.policy.caller_floor
        if not loud:
            # Below zero it counts the quiet up to 0: one interruption for each time that the user begins to speak.
            self._loud_ms = 0.0 if self._loud_ms >= 0 else min(0.0, self._loud_ms + ms)
        elif self._loud_ms >= 0:
            self._loud_ms += ms
            if self._loud_ms >= _BEGINS_MS and self.sink.playing and self._tasks is not None:
                self._loud_ms = -600.0  # the quiet after which the next sound is another interruption
                self._tasks.create_task(interrupt(), name="kit: interruption")

    async def press(self) -> None:
        raise LocalProtocolError("GPT-Live listens by itself: no push to talk (session.mute() closes its ears)")

    def _timed_replies(self) -> list[Any]:
        return self.session.replies  # each from the last loud sound that was sent
