"""The kernel's speaker: what is written is heard without a gap, and the samples that were *heard* are counted."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from types import TracebackType
from typing import Any

import numpy as np

from ..clip import MAX_MS, RATE_HZ, Clip
from ..errors import DeviceError, InputError
from .portaudio import Device, close, find, in_words, latency_ms, rate_for, sounddevice

_GONE_S = 3.0  # a device that asks for nothing for so long is gone
_LOOK_S = 0.02  # how often a wait looks at what was heard


class Queue:
    """What is to be played, and how much of it has been: the speaker without its device.

    `pull` is called by the device's thread, everything else by anybody's; the lock is held for microseconds. Samples are int16, counted from the first one ever written; silence that fills a gap is
    not counted.
    """

    def __init__(self, *, prebuffer: int, limit: int) -> None:
        self.n_written = 0
        self.n_pulled = 0
        self.n_dropped = 0
        """Samples that did not fit in the queue."""
        self.n_underruns = 0
        """How often the queue ran dry in the middle of a reply."""
        self.n_missing = 0
        """Samples of silence that were heard because of it."""
        self._pieces: deque[np.ndarray[Any, np.dtype[np.int16]]] = deque()
        self._prebuffer, self._limit = prebuffer, limit
        self._flowing = False
        self._ended = True
        self._pulls: deque[tuple[int, int, float]] = deque(maxlen=512)  # first sample, how many, when they are heard
        self._marks: deque[tuple[int, float]] = deque(maxlen=64)
        self._lock = threading.Lock()
        self.delays_ms: list[float] = []
        """From the writing of a reply's first sample to the device's taking it."""

    @property
    def n_waiting(self) -> int:
        return self.n_written - self.n_pulled

    def write(self, pcm: bytes) -> None:
        samples = np.frombuffer(pcm, np.int16)
        with self._lock:
            room = max(self._limit - self.n_waiting, 0)
            self.n_dropped += max(samples.size - room, 0)
            samples = samples[:room]
            if not samples.size:
                return
            if self._ended:
                self._ended = False
                self._marks.append((self.n_written, time.perf_counter()))
            self.n_written += samples.size
            self._pieces.append(samples)

    def end(self) -> None:
        """Nothing more is to come for now: what is there is played to its end, and running dry is no fault."""
        self._ended = True

    def clear(self) -> None:
        """Drop what has not been taken. Samples go on being counted from what was taken."""
        with self._lock:
            self._pieces.clear()
            self.n_written = self.n_pulled
            self._ended, self._flowing = True, False
            self._marks.clear()

    def pull(self, out: np.ndarray[Any, np.dtype[np.int16]], heard_at_s: float) -> None:
        """Fill a device's buffer. `heard_at_s` is when its first sample is heard, on the device's clock."""
        with self._lock:
            self._pull(out, heard_at_s)

    def _pull(self, out: np.ndarray[Any, np.dtype[np.int16]], heard_at_s: float) -> None:
        done = 0
        if not self._flowing and (self.n_waiting >= self._prebuffer or (self._ended and self._pieces)):
            self._flowing = True
        if self._flowing:
            while done < out.size:
                try:
                    piece = self._pieces.popleft()
                except IndexError:
                    break
                n = min(piece.size, out.size - done)
                out[done : done + n] = piece[:n]
                done += n
                if n < piece.size:
                    self._pieces.appendleft(piece[n:])
        out[done:] = 0
        if done:
            self._pulls.append((self.n_pulled, done, heard_at_s))
            self.n_pulled += done
            if self._marks and self._marks[0][0] < self.n_pulled:
                self.delays_ms.append((time.perf_counter() - self._marks.popleft()[1]) * 1000)
        if self._flowing and done < out.size:
            if not self._ended:
                self.n_underruns += 1
                self.n_missing += out.size - done
            self._flowing = False

    def heard(self, now_s: float, rate_hz: int) -> int:
        """Samples whose time at the converter has passed."""
        with self._lock:
            pulls = list(self._pulls)
        for first, n, at in reversed(pulls):
            if at <= now_s:
                return first + min(n, int((now_s - at) * rate_hz))
        return pulls[0][0] if pulls else 0


class Speaker:
    """The speaker of the machine that the kernel runs on.

    ::

        async with Speaker() as speaker:
            speaker.write(pcm)            # int16 bytes at 24 kHz, as they arrive
            speaker.end()                 # nothing more for now
            await speaker.drained()

    `n_heard` counts the samples that have come out of the converter, so it is what `conversation.item.truncate` needs.

    Args:
        device: Its number or a part of its name; the system's default if left out.
        prebuffer_ms: How much must be there before a reply begins to play: what its deltas may come late by.
        max_waiting_ms: What does not fit is dropped, and counted.

    Raises:
        MissingExtra: If PortAudio is missing.
        DeviceError: If there is no such device, or it cannot be opened.
    """

    def __init__(
        self, device: int | str | None = None, *, prebuffer_ms: float = 40, max_waiting_ms: float = MAX_MS
    ) -> None:
        if not 0 <= prebuffer_ms <= 2_000:
            raise InputError(f"a prebuffer of {prebuffer_ms:g} ms: take 0 to 2 000; 40 is usual")
        self.device: Device = find(device, "output")
        self.rate_hz = rate_for(self.device, "output", RATE_HZ)
        self.prebuffer_ms = prebuffer_ms
        self.on_played: Any = None
        """Called on the device's thread with what it was just given (int16, at `rate_hz`): an echo canceller's far end."""
        self._per_ms = self.rate_hz / 1000
        self._queue = Queue(prebuffer=int(prebuffer_ms * self._per_ms), limit=int(max_waiting_ms * self._per_ms))
        self._asked_at_s = time.perf_counter()
        self._stream: Any = None
        self._resampler: Any = None
        self.n_device_underflows = 0
        """How often the device itself said that it ran dry."""

    # ---------------------------------------------------------------------------------------------------- what was heard

    @property
    def n_heard(self) -> int:
        """Samples heard so far, at 24 kHz, of all that was written and not dropped; silence does not count."""
        if self._stream is None:
            return 0
        return self._at_24k(self._queue.heard(float(self._stream.time), self.rate_hz))

    @property
    def n_written(self) -> int:
        """Samples written and not dropped by `stop`, at 24 kHz."""
        return self._at_24k(self._queue.n_written)

    def _at_24k(self, n: int) -> int:
        return n if self.rate_hz == RATE_HZ else round(n * RATE_HZ / self.rate_hz)

    @property
    def playing(self) -> bool:
        return self.n_heard < self.n_written

    @property
    def n_dropped(self) -> int:
        """Frames that did not fit in the queue."""
        return self._at_24k(self._queue.n_dropped)

    @property
    def n_underruns(self) -> int:
        """How often the sound stopped in the middle of a reply because its next samples had not come."""
        return self._queue.n_underruns

    @property
    def delays_ms(self) -> list[float]:
        """For each reply, from the writing of its first sample to the device's taking it: prebuffer and waiting."""
        return list(self._queue.delays_ms)

    @property
    def latency_ms(self) -> float | None:
        """What the device adds by its own word; ``None`` while it is closed, or where it does not say."""
        return latency_ms(self._stream)

    def __repr__(self) -> str:
        state = "open" if self._stream else "closed"
        return f"<Speaker {self.device.name!r} at {self.rate_hz} Hz, {state}, {self.n_heard / RATE_HZ:.1f} s heard>"

    # ----------------------------------------------------------------------------------------------------------- playing

    def write(self, pcm: bytes) -> None:
        """Add int16 bytes (mono, 24 kHz) to what is to be heard."""
        if self.rate_hz != RATE_HZ:
            import soxr

            if self._resampler is None:
                self._resampler = soxr.ResampleStream(RATE_HZ, self.rate_hz, 1, dtype="int16")
            pcm = self._resampler.resample_chunk(np.frombuffer(pcm, np.int16)).tobytes()
        self._queue.write(pcm)

    def end(self) -> None:
        """Nothing more is to come for now."""
        if self._resampler is not None:
            self._queue.write(self._resampler.resample_chunk(np.zeros(0, np.int16), last=True).tobytes())
            self._resampler = None
        self._queue.end()

    async def stop(self) -> int:
        """Fall silent at once. Returns the samples heard in all; what the device has taken already is still heard."""
        heard = self.n_heard
        self._queue.clear()
        self._resampler = None
        return heard

    async def drained(self) -> None:
        """Wait until everything written has been heard.

        Raises:
            DeviceError: If the device goes away.
        """
        while self._stream is not None and self.playing:
            self.check()
            await asyncio.sleep(_LOOK_S)

    def check(self) -> None:
        """Is the device still there?

        Raises:
            DeviceError: If it has asked for nothing for three seconds.
        """
        silent_s = time.perf_counter() - self._asked_at_s
        if self._stream is not None and silent_s > _GONE_S:
            raise DeviceError(
                f"the speaker {self.device.name!r} is gone: it has taken nothing for {silent_s:.0f} s; was it unplugged? "
                "plug it in and start again"
            )

    # ------------------------------------------------------------------------------------------------- opening and closing

    async def __aenter__(self) -> Speaker:
        sd = sounddevice()
        self._asked_at_s = time.perf_counter()

        def callback(data: Any, frames: int, times: Any, status: Any) -> None:
            self._asked_at_s = time.perf_counter()
            if status.output_underflow:
                self.n_device_underflows += 1
            out = np.frombuffer(data, np.int16)
            # Some systems do not say when a buffer is heard; then it is when they ask, and what they say they add.
            at = times.outputBufferDacTime or times.currentTime + (self.latency_ms or 0) / 1000
            self._queue.pull(out, at)
            if self.on_played is not None:
                self.on_played(out)

        with in_words(self.device, "output"):
            # Always a callback: a blocking write garbles the sound on JACK, and could not be cut short.
            self._stream = sd.RawOutputStream(
                samplerate=self.rate_hz,
                blocksize=self.rate_hz // 100,
                device=self.device.index,
                channels=1,
                dtype="int16",
                latency="low",
                callback=callback,
            )
            self._stream.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            close(stream)


async def play(clip: Clip, *, device: int | str | None = None) -> None:
    """Play a clip on the kernel's speaker, to its end. Cancelling it falls silent at once.

    Args:
        clip: What to play.
        device: Its number or a part of its name; the system's default if left out.

    Raises:
        MissingExtra, DeviceError: See `Speaker`.
    """
    async with Speaker(device) as speaker:
        speaker.write(clip.to_bytes())
        speaker.end()
        await speaker.drained()
