"""The kernel's microphone: blocks of PCM as they come, or a clip of so many seconds."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from ..clip import MAX_MS, RATE_HZ, Clip
from ..errors import DeviceError, InputError
from .portaudio import Device, close, find, in_words, latency_ms, rate_for, sounddevice
from .take import Take, silence_limit_ms

_SILENT_S = 3.0  # a device that brings no block for so long is gone; the slowest start measured is below one second


class Block(NamedTuple):
    """A few milliseconds of sound: int16 bytes, mono, 24 kHz."""

    pcm: bytes
    first: int
    """Where it begins, in samples from the start, lost ones included."""
    ready_at_s: float
    """When the device handed it over, on `time.perf_counter`."""


class Microphone:
    """The microphone of the machine that the kernel runs on.

    ::

        async with Microphone() as microphone:
            async for block in microphone:
                await session.append_audio(block.pcm)

    The device's own thread copies each block and hands it over; nothing else happens there. A reader that falls behind
    loses whole blocks, newest first, and `n_dropped` counts their frames.

    Args:
        device: Its number or a part of its name (`devices()` lists them); the system's default if left out.
        block_ms: How much comes at once.
        max_waiting_ms: How much is kept for a reader that is busy.

    Raises:
        MissingExtra: If PortAudio is missing.
        DeviceError: If there is no such device, or it cannot be opened.
    """

    def __init__(self, device: int | str | None = None, *, block_ms: int = 20, max_waiting_ms: float = 10_000) -> None:
        if not 5 <= block_ms <= 1_000:
            raise InputError(f"blocks of {block_ms} ms: take 5 to 1 000; 20 is usual")
        self.device: Device = find(device, "input")
        self.rate_hz = rate_for(self.device, "input", RATE_HZ)
        """What the device runs at; blocks are at 24 kHz whatever this is."""
        self.block_ms = block_ms
        self.n_dropped = 0
        """Frames lost because nobody took them in time."""
        self.n_overflows = 0
        """How often the device itself said that it lost some."""
        self._waiting: deque[Block] = deque()
        self._limit = max(int(max_waiting_ms / block_ms), 2)
        self._arrived = asyncio.Event()
        self._n_taken = 0
        self._ended = False
        self._stream: Any = None
        self._resampler: Any = None

    @property
    def latency_ms(self) -> float | None:
        """What the device adds by its own word; ``None`` while it is closed, or where it does not say."""
        return latency_ms(self._stream)

    def __repr__(self) -> str:
        state = "open" if self._stream else "closed"
        return f"<Microphone {self.device.name!r} at {self.rate_hz} Hz, {state}, {self.n_dropped} frames dropped>"

    def start(self, deliver: Callable[[bytes, float], None]) -> None:
        """Open the device. `deliver` gets (int16 bytes at `rate_hz`, `time.perf_counter`) on the device's thread."""
        sd = sounddevice()

        def callback(data: Any, _frames: int, _times: Any, status: Any) -> None:
            now = time.perf_counter()
            if status.input_overflow:
                self.n_overflows += 1
            deliver(bytes(data), now)

        with in_words(self.device, "input"):
            self._stream = sd.RawInputStream(
                samplerate=self.rate_hz,
                blocksize=self.rate_hz * self.block_ms // 1000,
                device=self.device.index,
                channels=1,
                dtype="int16",
                latency="low",
                callback=callback,
                finished_callback=self._finished,
            )
            self._stream.start()

    def _finished(self) -> None:
        self._ended = True

    def stop(self) -> None:
        """Close the device. Closing twice is fine, and so is closing one that was unplugged."""
        stream, self._stream = self._stream, None
        if stream is not None:
            close(stream)

    def forget(self) -> None:
        """Drop what it has heard and nobody has taken: what comes next is from now."""
        self._waiting.clear()

    async def __aenter__(self) -> Microphone:
        loop = asyncio.get_running_loop()

        def hand_over(data: bytes, now: float) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._take, data, now)

        self.start(hand_over)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()

    def _take(self, data: bytes, now: float) -> None:
        pcm = self._converted(data)
        first, self._n_taken = self._n_taken, self._n_taken + len(pcm) // 2
        if len(self._waiting) >= self._limit:
            self.n_dropped += len(pcm) // 2
        elif pcm:
            self._waiting.append(Block(pcm, first, now))
            self._arrived.set()

    def _converted(self, data: bytes) -> bytes:
        if self.rate_hz == RATE_HZ:
            return data
        import soxr

        if self._resampler is None:
            self._resampler = soxr.ResampleStream(self.rate_hz, RATE_HZ, 1, dtype="int16")
        samples: bytes = self._resampler.resample_chunk(np.frombuffer(data, np.int16)).tobytes()
        return samples

    async def __aiter__(self) -> AsyncIterator[Block]:
        """Blocks as they come. Leaving it early is fine.

        Raises:
            DeviceError: If the device goes away.
        """
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self._stream is None:
                return
            self._arrived.clear()
            try:
                async with asyncio.timeout(_SILENT_S):
                    await self._arrived.wait()
            except TimeoutError:
                if self._stream is None:
                    return
                why = "it ended by itself" if self._ended else f"nothing came for {_SILENT_S:g} s"
                raise DeviceError(
                    f"the microphone {self.device.name!r} is gone after {self._n_taken / RATE_HZ:.1f} s ({why}); "
                    "was it unplugged? plug it in and start again"
                ) from None


async def record_clip(
    seconds: float = 5, *, device: int | str | None = None, stop_at_silence_s: float | None = None
) -> Clip:
    """Record with the kernel's microphone, without any widget.

    Args:
        seconds: For how long.
        device: Its number or a part of its name; the system's default if left out.
        stop_at_silence_s: End earlier, once somebody has spoken (above −45 dBFS) and been quiet for so long.

    Raises:
        MissingExtra, DeviceError: See `Microphone`.
    """
    if not 0 < seconds <= MAX_MS / 1000:
        raise InputError(f"a recording of {seconds:g} s: take more than 0 and at most {MAX_MS / 1000:g}")
    quiet_ms = silence_limit_ms(stop_at_silence_s)
    take = Take(max_ms=seconds * 1000)
    async with Microphone(device) as microphone:
        async for block in microphone:
            take.add(block.pcm, first=block.first)
            if take.full or (quiet_ms is not None and take.quiet_ms >= quiet_ms):
                break
    return take.clip(details=kernel_details(microphone))


def kernel_details(microphone: Microphone) -> dict[str, Any]:
    """What a clip keeps about the kernel's microphone."""
    return {
        "where": "kernel",
        "device": microphone.device.name,
        "through": microphone.device.host,
        "rate_hz": microphone.rate_hz,
    } | ({"n_overflows": microphone.n_overflows} if microphone.n_overflows else {})
