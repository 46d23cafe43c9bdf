"""The kernel's speaker: what is written is heard without a gap, and the samples that were *heard* are counted."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from typing import Any

import numpy as np

from ..clip import MAX_MS, RATE_HZ, Clip
from ..errors import DeviceError, InputError
from .portaudio import DeviceStream, resampler

_GONE_S = 3.0  # a device that asks for nothing for this long is gone
_LOOK_S = 0.02  # how often a wait looks at what was heard

Samples = np.ndarray[Any, np.dtype[np.int16]]


class PlayQueue:
    """A `Sink` without its device: what is to be played, and how much of it has been.

    `pull` is called on the device's thread, everything else on any; the lock is held for microseconds. Samples are int16 at
    `rate_hz` inside; every count given out is at 24 kHz. Silence that fills a gap does not count.

    Args:
        prebuffer: Samples that must be there before a reply begins to play.
        limit: The most samples that may wait; what does not fit is dropped, and counted.
        rate_hz: The rate of what is written and pulled.
    """

    def __init__(self, *, prebuffer: int, limit: int, rate_hz: int = RATE_HZ) -> None:
        self.rate_hz = rate_hz
        # Gaps that were heard within replies, and their samples of silence; running dry after `end` is none.
        self.n_underruns = self.n_missing = 0
        self.delays_ms: list[float] = []
        self._prebuffer, self._limit = prebuffer, limit
        # Counts at `rate_hz`: given and not cleared, taken by the device, and refused because the queue was full.
        self._n_written = self._n_pulled = self._n_refused = 0
        # What waits, in order; the device cuts pieces as its buffers need them.
        self._pieces: deque[Samples] = deque()
        # False: waiting for the prebuffer. The device gets silence.
        self._flowing = False
        # True: the reply is over, and running dry is no fault.
        self._ended = True
        # The device's last buffers: (number of the first sample, how many, when the first is heard on the device's clock).
        self._pulls: deque[tuple[int, int, float]] = deque(maxlen=512)
        # First samples of replies that the device has not taken yet: (number, `perf_counter` of its writing).
        self._starts: deque[tuple[int, float]] = deque(maxlen=64)
        self._lock = threading.Lock()

    @property
    def n_written(self) -> int:
        return self._at_24k(self._n_written)

    @property
    def n_dropped(self) -> int:
        """Samples that did not fit in the queue."""
        return self._at_24k(self._n_refused)

    def _at_24k(self, n: int) -> int:
        return n if self.rate_hz == RATE_HZ else round(n * RATE_HZ / self.rate_hz)

    def write(self, pcm: bytes) -> None:
        samples = np.frombuffer(pcm, np.int16)
        with self._lock:
            # What does not fit is the newest: cutting what waits would break a sentence in its middle.
            room = max(self._limit - (self._n_written - self._n_pulled), 0)
            self._n_refused += max(samples.size - room, 0)
            samples = samples[:room]
            if not samples.size:
                return
            if self._ended:
                self._ended = False
                self._starts.append((self._n_written, time.perf_counter()))
            self._n_written += samples.size
            self._pieces.append(samples)

    def end(self) -> None:
        """The reply is complete: what is there is played to its end, and running dry is no fault."""
        self._ended = True

    def clear(self) -> None:
        """Drop what the device has not taken. Samples go on being counted from what it has."""
        with self._lock:
            self._pieces.clear()
            # As if it had never been given: the next sample has the number after the last that the device took.
            self._n_written = self._n_pulled
            self._ended, self._flowing = True, False
            self._starts.clear()

    def pull(self, out: Samples, heard_at_s: float) -> None:
        """Fill a device's buffer, shape ``(frames,)``, whose first sample is heard at this time of the device's clock."""
        with self._lock:
            waiting = self._n_written - self._n_pulled
            # A reply that is shorter than the prebuffer and over is played, too.
            if not self._flowing and (waiting >= self._prebuffer or (self._ended and waiting)):
                self._flowing = True
            n = 0
            while self._flowing and n < out.size and self._pieces:
                piece = self._pieces.popleft()
                part = piece[: out.size - n]
                out[n : n + part.size] = part
                n += part.size
                if part.size < piece.size:  # the device's next buffer begins with the rest
                    self._pieces.appendleft(piece[part.size :])
            out[n:] = 0
            if n:
                self._pulls.append((self._n_pulled, n, heard_at_s))
                self._n_pulled += n
                if self._starts and self._starts[0][0] < self._n_pulled:
                    self.delays_ms.append((time.perf_counter() - self._starts.popleft()[1]) * 1000)
            # Dry: the next sound waits for a whole prebuffer, or the gaps would follow each other.
            if self._flowing and n < out.size:
                if not self._ended:
                    self.n_underruns += 1
                    self.n_missing += out.size - n
                self._flowing = False

    def heard_by(self, now_s: float) -> int:
        """Count the samples whose time at the converter has passed, on the device's clock."""
        with self._lock:
            pulls = list(self._pulls)
        for first, n, at_s in reversed(pulls):
            if at_s <= now_s:
                # Within a buffer by the clock: its samples are heard one after the other.
                return self._at_24k(first + min(n, int((now_s - at_s) * self.rate_hz)))
        return self._at_24k(pulls[0][0]) if pulls else 0


class Speaker(PlayQueue, DeviceStream):
    """The speaker of the machine that the kernel runs on.

    ::

        async with Speaker() as speaker:
            speaker.write(pcm)            # int16 bytes at 24 kHz, as they arrive
            speaker.end()                 # nothing more for now
            await speaker.drained()

    Args:
        device: Its number or a part of its name; the system's default if left out.
        prebuffer_ms: How much must be there before a reply begins to play: what its deltas may come late by.
        max_waiting_ms: The most that may wait to be heard; what does not fit is dropped, and counted.

    Attributes:
        rate_hz: What the device runs at; what is written is at 24 kHz whatever this is.
        n_device_underflows: How often the device itself reported that it ran dry.
        on_played: Called on the device's thread with what it was just given (int16, at `rate_hz`): an echo canceller's far end.

    Raises:
        MissingExtra: If PortAudio is missing.
        DeviceError: If there is no such device, or it cannot be opened.
    """

    kind = "output"

    def __init__(
        self, device: int | str | None = None, *, prebuffer_ms: float = 40, max_waiting_ms: float = MAX_MS
    ) -> None:
        if not 0 <= prebuffer_ms <= 2_000:
            raise InputError(f"a prebuffer of {prebuffer_ms:g} ms: take 0 to 2 000; 40 is usual")
        DeviceStream.__init__(self, device, RATE_HZ)
        per_ms = self.rate_hz / 1000
        prebuffer, limit = int(prebuffer_ms * per_ms), int(max_waiting_ms * per_ms)
        PlayQueue.__init__(self, prebuffer=prebuffer, limit=limit, rate_hz=self.rate_hz)
        self.prebuffer_ms = prebuffer_ms
        self.n_device_underflows = 0
        self.on_played: Any = None
        # When it was closed, what had been heard.
        self._n_heard = 0
        # `perf_counter` of the device's last request for sound: a device that stops asking is gone.
        self._requested_at_s = time.perf_counter()
        # A new one for each reply: its last samples come out of it at the end.
        self._resampler = resampler(RATE_HZ, self.rate_hz)

    @property
    def n_heard(self) -> int:
        return self._n_heard if self._stream is None else self.heard_by(float(self._stream.time))

    @property
    def playing(self) -> bool:
        return self._stream is not None and self.n_heard < self.n_written

    def __repr__(self) -> str:
        state = "open" if self._stream else "closed"
        return f"<Speaker {self.device.name!r} at {self.rate_hz} Hz, {state}, {self.n_heard / RATE_HZ:.1f} s heard>"

    def write(self, pcm: bytes) -> None:
        if self._resampler is not None:
            pcm = self._resampler.resample_chunk(np.frombuffer(pcm, np.int16)).tobytes()
        super().write(pcm)

    def end(self) -> None:
        if self._resampler is not None:  # its last samples are still inside
            super().write(self._resampler.resample_chunk(np.zeros(0, np.int16), last=True).tobytes())
            self._resampler = resampler(RATE_HZ, self.rate_hz)
        super().end()

    async def stop(self) -> int:
        """Fall silent at once; what the device has taken already is still heard. Returns the samples heard in all."""
        n_heard = self.n_heard  # before the queue is cleared: the server is told what was heard up to now
        self.clear()
        self._resampler = resampler(RATE_HZ, self.rate_hz)
        return n_heard

    async def drained(self) -> None:
        """Wait until everything written has been heard.

        Raises:
            DeviceError: If the device goes away.
        """
        while self.playing:
            self.check()
            await asyncio.sleep(_LOOK_S)

    def check(self) -> None:
        """Raise a `DeviceError` if the device has asked for no sound for three seconds."""
        silent_s = time.perf_counter() - self._requested_at_s
        if self._stream is not None and silent_s > _GONE_S:
            why = f"it has taken nothing for {silent_s:.0f} s"
            raise DeviceError(f"the speaker {self.device.name!r} is gone: {why}; plug it in and start again")

    async def __aenter__(self) -> Speaker:
        self._requested_at_s = time.perf_counter()  # the object may have been made long ago

        def callback(data: Any, frames: int, times: Any, status: Any) -> None:
            self._requested_at_s = time.perf_counter()
            if status.output_underflow:
                self.n_device_underflows += 1
            out = np.frombuffer(data, np.int16)
            # Some systems do not say when a buffer is heard; then it is when they ask, plus the latency they report.
            self.pull(out, times.outputBufferDacTime or times.currentTime + (self.latency_ms or 0) / 1000)
            if self.on_played is not None:
                self.on_played(out)

        # 10 ms: how finely a reply can be cut off. A callback: a blocking write garbles the sound on JACK, and cannot be cut short.
        self._open(callback, 10)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._n_heard = self.n_heard
        self._close()


async def play(clip: Clip, *, device: int | str | None = None) -> None:
    """Play a clip on the kernel's speaker, to its end. Cancelling it falls silent. Device and errors: see `Speaker`."""
    async with Speaker(device) as speaker:
        speaker.write(clip.to_bytes())
        speaker.end()
        await speaker.drained()
