"""Voice to voice: a microphone, a session and a speaker, until one of them ends.

=====================  =====================================  ====================================================
the microphone brings  turn detection on                      turn detection off (push to talk)
=====================  =====================================  ====================================================
sound, at any time     is sent                                is sent between `press` and `release`, else dropped
sound, half-duplex     silence is sent while a reply is       the same
                       heard, and 0.25 s longer
speech_started         the reply is interrupted: see          does not come
                       `Playback.interrupt`
`press`                refused: the server listens by itself  the reply is interrupted, and the server cancels
                                                              nothing by itself
`release`              does nothing                           the buffer is committed and a response asked for
=====================  =====================================  ====================================================
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Protocol

import numpy as np

from .. import show
from ..base import OpenSession
from ..errors import LocalProtocolError, ServerError, SessionClosed, first_error
from ..session import Session
from ..wire.dialect import read_session
from ..wire.events import Event
from ..wire.records import Response
from .echo import EchoCanceller
from .microphone import Block
from .playback import Playback, Sink, response_of

_TIMED_BLOCKS = 3_000  # blocks whose time to the socket is kept: the last minute, so that a long talk holds no more
_MUTED_AFTER_S = 0.25  # half-duplex: a room still rings after the speaker has fallen silent


class Source(Protocol):
    """A microphone: `kit.audio.Microphone`, or the browser's. Iterating over it yields blocks as they come."""

    @property
    def n_dropped(self) -> int:
        """Samples lost because no reader took them in time."""

    def __aiter__(self) -> AsyncIterator[Block]: ...


@dataclass(slots=True)
class Latency:
    """Durations in milliseconds, one per block or per reply, each on one clock of this machine.

    The kit's own part is `input_ms` and `output_ms`. The rest is shown beside it, never added to it.
    """

    # Per block of the last minute: from the device's handing it over to the socket's taking it.
    input_ms: list[float] = field(default_factory=list, metadata={"label": "kit: microphone block → socket"})
    # Per reply: from the arrival of its first sound to its writing to the speaker's queue.
    output_ms: list[float] = field(
        default_factory=list, metadata={"label": "kit: first sound arrived → speaker's queue"}
    )
    # Per reply: from there to the speaker's taking it.
    queue_ms: list[float] = field(
        default_factory=list, metadata={"label": "queue → speaker took it (prebuffer, device period)"}
    )
    # Per reply: from `speech_stopped` (or our request) to its first sound: the server and the network.
    server_ms: list[float] = field(default_factory=list, metadata={"label": "server: speech stopped → first sound"})
    # How long the server waits in silence before it says `speech_stopped`.
    vad_silence_ms: float | None = field(default=None, metadata={"label": "server: silence it waits for (VAD)"})
    # How much must be there before a reply begins to play, and what the devices add.
    prebuffer_ms: float | None = field(default=None, metadata={"label": "prebuffer"})
    microphone_ms: float | None = field(default=None, metadata={"label": "microphone, as its driver reports"})
    speaker_ms: float | None = field(default=None, metadata={"label": "speaker, as its driver reports"})

    def rows(self) -> list[tuple[str, str, str, str]]:
        """(quantity, count, median, 95th percentile), as words; what was never measured has no row."""
        rows = []
        for quantity in fields(self):
            label = quantity.metadata["label"]
            match getattr(self, quantity.name):
                case [_, *_] as values:
                    median, high = np.percentile(values, (50, 95))
                    rows.append((label, str(len(values)), f"{median:.1f} ms", f"{high:.1f} ms"))
                case float() | int() as value:
                    rows.append((label, "", f"{value:.0f} ms", ""))
        return rows

    @property
    def own_p95_ms(self) -> float | None:
        """The kit's own part, both ways together, at the 95th percentile of each."""
        if not self.input_ms or not self.output_ms:
            return None
        return float(np.percentile(self.input_ms, 95) + np.percentile(self.output_ms, 95))

    def __repr__(self) -> str:
        lines = [f"{name:52s} {n:>5s} {median:>9s} {high:>9s}" for name, n, median, high in self.rows()]
        return "\n".join(lines) or "<no latency yet>"

    def _repr_html_(self) -> str:
        rows = [[show.esc(word) for word in row] for row in self.rows()]
        return show.table(rows, ["where the time goes", "n", "median", "95 %"])


class Voice:
    """A spoken conversation::

        async with Microphone() as microphone, Speaker() as speaker:
            await Voice(session, microphone, speaker).run()

    Args:
        session: An open session; it stays open when the conversation ends.
        source, sink: Where the user and the model are heard: a `Microphone` and a `Speaker`, or the browser's.
        half_duplex: The microphone is silent while the model is heard: no echo, and no interruption by voice.
        canceller: Takes the echo out of what the microphone hears.
        on_event: Called with every event of the session, on its loop, after it was taken.
    """

    playback_of: ClassVar[Callable[..., Any]] = Playback
    # What the microphone brings is sent whatever the session's turn detection is.
    listens_by_itself: ClassVar[bool] = False

    def __init__(
        self,
        session: OpenSession,
        source: Source,
        sink: Sink,
        *,
        half_duplex: bool = False,
        canceller: EchoCanceller | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self.session: Any = session  # each protocol's class knows its own
        self.source = source
        self.sink = sink
        self.half_duplex = half_duplex
        # Called when the user spoke over a reply, where no event tells it (`audio.live`).
        self.on_interrupted: Callable[[], None] = lambda: None
        # What is heard, and what was interrupted.
        self.playback = self.playback_of(self.session, sink)
        # Peak of the microphone's last block, 0 to 1, after the canceller: a meter shows the user and not the model's echo.
        self.level = 0.0
        # Samples of the microphone that half-duplex replaced by silence.
        self.n_muted = 0
        # None: the browser's own, headphones, or none at all.
        self._canceller = canceller
        self._on_event = on_event
        # From the device to the socket, per block.
        self._input_ms: deque[float] = deque(maxlen=_TIMED_BLOCKS)
        # Between `press` and `release`.
        self._pressed = False
        # Half-duplex: until when (`perf_counter`) the room may still ring.
        self._muted_until_s = 0.0
        # While `run` runs: an interruption needs a task of its own, since the speaker may take a moment to stop.
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Talk until the session closes or the microphone ends. Cancelling it falls silent and leaves the session open.

        Raises:
            DeviceError, SessionClosed: If a device goes away, or the connection breaks.
        """

        async def watch() -> None:
            """End the conversation in words when the speaker is gone."""
            # The browser's speaker has none: where its page goes, the page's microphone tells.
            check: Callable[[], None] | None = getattr(self.sink, "check", None)
            while check is not None:
                check()
                await asyncio.sleep(0.5)

        try:
            await self._ready()
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                listening = tasks.create_task(self._listen(), name="kit: microphone")
                following = tasks.create_task(self._follow(), name="kit: replies")
                watching = tasks.create_task(watch(), name="kit: speaker")
                # Whichever ends first ends the talk: the microphone's blocks, or the session's events.
                await asyncio.wait({listening, following}, return_when=asyncio.FIRST_COMPLETED)
                for task in (listening, following, watching):
                    task.cancel()
        except* Exception as group:
            error = first_error(group)  # a task group raises all at once; a reader is helped by the first
            # 1000 and 1001: closed on purpose, by us or by a server that goes away in order.
            if not (isinstance(error, SessionClosed) and error.code in (1000, 1001)):
                raise error from None
        finally:
            self._tasks = None
            # However it ended: nothing goes on sounding after the talk.
            await self.sink.stop()

    async def _listen(self) -> None:
        async for block in self.source:
            pcm = block.pcm if self._canceller is None else self._canceller.near(block.pcm)
            samples = np.frombuffer(pcm, np.int16)
            self.level = int(np.abs(samples.astype(np.int32)).max(initial=0)) / 32_768
            is_heard = self.listens_by_itself or self._pressed or turn_detection(self.session) is not None
            # The canceller may hold back up to 10 ms, and then this is empty.
            if not pcm or not is_heard:
                continue
            now_s = time.perf_counter()
            # Pushed on with each block, so that it runs from the moment that the speaker fell silent.
            if self.half_duplex and self.sink.playing:
                self._muted_until_s = now_s + _MUTED_AFTER_S
            if now_s >= self._muted_until_s:
                self._brought(pcm)
            else:
                self.n_muted += samples.size
                pcm = bytes(len(pcm))  # silence, so that the server's clock goes on
            await self.session.append_audio(pcm)
            self._input_ms.append((time.perf_counter() - block.ready_at_s) * 1000)

    async def _follow(self) -> None:
        async for event in self.session.follow(from_now=True):
            self.playback.take(event)
            if event.type == "input_audio_buffer.speech_started" and self._tasks is not None:
                detection = turn_detection(self.session)
                # Absent is true: the service interrupts by itself unless it was told not to (wire/README.md, Turn detection).
                server_cancels = detection is not None and detection.get("interrupt_response") is not False
                interrupt = self.playback.interrupt(server_cancels=server_cancels, at_ms=event.at_ms)
                self._tasks.create_task(interrupt, name="kit: interruption")
            if self._on_event is not None:
                self._on_event(event)

    # What another protocol does otherwise (`audio.live`).

    async def _ready(self) -> None:
        """Prepare the session for the first sound."""

    def _brought(self, pcm: bytes) -> None:
        """The user's sound, about to be sent."""

    async def press(self) -> None:
        """Begin to speak (push to talk): what is being heard stops."""
        if turn_detection(self.session) is not None:
            raise LocalProtocolError("turn detection is on; push to talk needs session.update(turn_detection=None)")
        # Before the interruption, which may take a moment: the first word is sent already.
        self._pressed = True
        await self.playback.interrupt()

    async def release(self) -> Response | None:
        """End speaking (push to talk): the model answers. ``None`` if less than 100 ms was said, which the server refuses."""
        if not self._pressed:
            return None
        self._pressed = False
        try:
            await self.session.commit_audio()
            return await self.session.respond()  # type: ignore[no-any-return]
        except ServerError as exc:
            # Less than 100 ms were in the buffer (wire/README.md, "Input audio"): a slip of the finger.
            if exc.code != "input_audio_buffer_commit_empty":
                raise
            return None

    def _timed_replies(self) -> list[Any]:
        """Replies that were heard, each with its `first_audio_ms`."""
        return [response_of(self.session, s.response_id) for s in self.playback.position.stretches]

    @property
    def latency(self) -> Latency:
        """Where the time went so far."""
        silence = (turn_detection(self.session) or {}).get("silence_duration_ms")
        times = [reply.first_audio_ms for reply in self._timed_replies() if reply is not None]
        return Latency(
            input_ms=list(self._input_ms),
            output_ms=list(self.playback.handed_ms),
            queue_ms=list(self.sink.delays_ms),
            server_ms=[ms for ms in times if ms is not None],
            vad_silence_ms=float(silence) if isinstance(silence, int | float) else None,
            prebuffer_ms=getattr(self.sink, "prebuffer_ms", None),
            microphone_ms=getattr(self.source, "latency_ms", None),
            speaker_ms=getattr(self.sink, "latency_ms", None),
        )

    @property
    def dropped(self) -> dict[str, int]:
        """What was lost, in samples, and underruns of the speaker; all zero is as it should be."""
        n_output = int(getattr(self.sink, "n_dropped", 0))
        return {"input": self.source.n_dropped, "output": n_output, "underruns": self.sink.n_underruns}


def turn_detection(session: Session) -> dict[str, Any] | None:
    """The session's turn detection as the server reports it; ``None`` where it is off."""
    value = read_session(session.settings, "turn_detection")
    return value if isinstance(value, dict) else None
