"""The kernel's microphone: blocks of PCM as they come, or a clip of so many seconds."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from ..clip import MAX_MS, RATE_HZ, Clip, Provenance
from ..errors import AudioFormatError, DeviceError, InputError
from .portaudio import Device, close, find, in_words, latency_ms, rate_for, sounddevice

# One recording as it comes in: numbered blocks of samples, from whatever thread brings them, into one clip.


SPEECH_DBFS = -45.0  # a peak above this is somebody speaking: rooms are below −55 dBFS, speech at a laptop above −35


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch that never came. It is silence in the clip, so that what follows stays in its place."""

    start_ms: float
    length_ms: float


def silence_limit_ms(seconds: float | None) -> float | None:
    """How much quiet ends a recording, in milliseconds; ``None``: none does.

    Raises:
        InputError: If it would end before anybody spoke.
    """
    if seconds is None:
        return None
    if not seconds > 0:
        raise InputError(f"to stop at a silence of {seconds:g} s: take more than 0; 1 is usual")
    return seconds * 1000


class Take:
    """The samples of one recording, each block put where it belongs.

    Blocks may come in any order and on any thread. A block that never comes leaves a gap of silence that `gaps` names.
    The samples are held once: ten minutes are 29 MB.

    Args:
        rate_hz: Of the blocks; the clip is at 24 kHz whatever this is.
        max_ms: What comes later than this is not kept, and `full` says so.
    """

    def __init__(self, *, rate_hz: int = RATE_HZ, max_ms: float = MAX_MS) -> None:
        if not 4_000 <= rate_hz <= 768_000:
            raise InputError(f"a microphone at {rate_hz} Hz is none; they have 8 000 to 192 000")
        self.rate_hz = rate_hz
        self.n_blocks = 0
        """Blocks that came."""
        self.n_wanted: int | None = None
        """Blocks there are, once the last one has said its number."""
        self._max = int(max_ms * rate_hz / 1000)
        self._pcm = bytearray()
        self._spans: list[tuple[int, int]] = []  # what has come, in samples: sorted, apart, mostly one
        self._loud_until = 0
        self._lock = threading.Lock()

    def add(self, pcm: bytes | memoryview, *, first: int, seq: int | None = None, last: bool = False) -> float:
        """Put one block in its place.

        Args:
            pcm: Little-endian int16, mono.
            first: Where it begins, in samples from the start of the recording.
            seq: Its number, from 0, where the sender counts; a block that comes twice counts once.
            last: There is no block after it.

        Returns:
            Its peak in dB below full scale (−inf for silence), for a meter.
        """
        samples = np.frombuffer(pcm, "<i2")
        peak = int(np.abs(samples.astype(np.int32)).max(initial=0))
        dbfs = 20 * float(np.log10(peak / 32_768)) if peak else -np.inf
        with self._lock:
            end = min(first + samples.size, self._max)
            if first < end:
                if len(self._pcm) < 2 * end:
                    self._pcm.extend(bytes(2 * end - len(self._pcm)))
                self._pcm[2 * first : 2 * end] = samples[: end - first].tobytes()
                self._cover(first, end)
                if dbfs > SPEECH_DBFS:
                    self._loud_until = max(self._loud_until, end)
            self.n_blocks += 1
            if last:
                self.n_wanted = self.n_blocks if seq is None else seq + 1
        return dbfs

    def _cover(self, first: int, end: int) -> None:
        if self._spans and self._spans[-1][1] == first:  # nearly always: the next one
            self._spans[-1] = (self._spans[-1][0], end)
            return
        merged: list[tuple[int, int]] = []
        for a, b in sorted([*self._spans, (first, end)]):
            if merged and a <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(b, merged[-1][1]))
            else:
                merged.append((a, b))
        self._spans = merged

    @property
    def n_samples(self) -> int:
        """From the start to the end of the latest block, gaps included, at `rate_hz`."""
        return len(self._pcm) // 2

    @property
    def ms(self) -> float:
        return self.n_samples * 1000 / self.rate_hz

    @property
    def full(self) -> bool:
        return self.n_samples >= self._max

    @property
    def complete(self) -> bool:
        """The last block has come, and as many as its number says."""
        return self.n_wanted is not None and self.n_blocks >= self.n_wanted

    @property
    def spoken(self) -> bool:
        """Something louder than −45 dBFS has come."""
        return self._loud_until > 0

    @property
    def quiet_ms(self) -> float:
        """How long it has been quiet since somebody spoke; 0 before anybody did."""
        return (self.n_samples - self._loud_until) * 1000 / self.rate_hz if self._loud_until else 0.0

    @property
    def gaps(self) -> list[Gap]:
        """What never came."""
        with self._lock:
            edges = [0, *(edge for span in self._spans for edge in span)]
        per_ms = self.rate_hz / 1000
        return [Gap(a / per_ms, (b - a) / per_ms) for a, b in zip(edges[0:-1:2], edges[1::2], strict=True) if b > a]

    def clip(self, *, details: Mapping[str, Any], text: str = "") -> Clip:
        """What was recorded, as a clip that knows its microphone; the take can be forgotten then.

        Raises:
            AudioFormatError: If nothing came.
        """
        if not self._spans:
            raise AudioFormatError(
                "no sound came from the microphone; is it muted, or in use by another program? record again"
            )
        known = dict(details)
        if gaps := self.gaps:
            known["missing_ms"] = [[round(gap.start_ms, 1), round(gap.length_ms, 1)] for gap in gaps]
        when = datetime.now(UTC).isoformat(timespec="seconds")
        samples = np.frombuffer(self._pcm, "<i2")
        converted = ""
        if self.rate_hz != RATE_HZ:
            import soxr

            samples = soxr.resample(samples, self.rate_hz, RATE_HZ, quality="HQ")
            converted = f"{self.rate_hz:,} Hz → 24 000 Hz".replace(",", " ")
        provenance = Provenance("microphone", text, when, known)
        return Clip(samples.astype(np.int16, copy=False), provenance=provenance, converted=converted)


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
