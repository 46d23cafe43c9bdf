"""The kernel's microphone: blocks of PCM as they come, or a clip of some seconds."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from ..clip import MAX_MS, RATE_HZ, Clip, Provenance
from ..errors import AudioFormatError, DeviceError, InputError
from .portaudio import DeviceStream, resampler

SPEECH_DBFS = -45.0  # a louder peak counts as speech: rooms stay below −55 dBFS, a voice at a laptop is above −35
_SILENT_S = 3.0  # a device that brings no block for this long is gone; the slowest start measured was below one second


class Gap(NamedTuple):
    """A stretch that never came: silence in the clip, so that what follows keeps its place."""

    start_ms: float
    length_ms: float


class Recording:
    """The samples of one recording, each block put where it belongs, in whatever order and on whatever thread it comes.

    A block that never comes leaves a gap of silence that `gaps` names. The samples are held once: ten minutes are 29 MB.

    Args:
        rate_hz: Of the blocks. The clip is at 24 kHz whatever this is.
        max_ms: Sound after this is not kept, and `full` is true.
    """

    def __init__(self, *, rate_hz: int = RATE_HZ, max_ms: float = MAX_MS) -> None:
        if not 4_000 <= rate_hz <= 768_000:
            raise InputError(f"no microphone runs at {rate_hz} Hz; they run at 8 000 to 192 000")
        self.rate_hz = rate_hz
        # Blocks that came, and how many there are in all, once the last one has told its number.
        self.n_blocks = 0
        self.n_expected: int | None = None
        # Where keeping ends, in samples at `rate_hz`.
        self._limit = int(max_ms * rate_hz / 1000)
        # Little-endian int16 from the start to the end of the latest block; gaps are zeros.
        self._pcm = bytearray()
        # Stretches that have come, (first, end) in samples: sorted, disjoint, nearly always one.
        self._spans: list[tuple[int, int]] = []
        # End of the last block that was louder than `SPEECH_DBFS`; 0 before anybody spoke.
        self._loud_until = 0
        # Blocks come on the main thread and on a subshell's within one recording.
        self._lock = threading.Lock()

    def add(self, pcm: bytes | memoryview, *, first: int, seq: int | None = None, last: bool = False) -> float:
        """Put one block in its place; returns its peak in dB below full scale (−inf for silence).

        Args:
            pcm: Little-endian int16, mono, at `rate_hz`.
            first: Where it begins, in samples from the start of the recording.
            seq: Its number, from 0, where the sender counts.
            last: No block comes after it.
        """
        samples = np.frombuffer(pcm, "<i2")
        peak = int(np.abs(samples.astype(np.int32)).max(initial=0))
        dbfs = 20 * float(np.log10(peak / 32_768)) if peak else -np.inf
        with self._lock:
            # Cut at the limit, wherever the block stands: blocks may come in any order.
            end = min(first + samples.size, self._limit)
            if first < end:
                if len(self._pcm) < 2 * end:
                    self._pcm.extend(bytes(2 * end - len(self._pcm)))
                self._pcm[2 * first : 2 * end] = samples[: end - first].tobytes()
                merged: list[tuple[int, int]] = []
                for start, stop in sorted([*self._spans, (first, end)]):
                    if merged and start <= merged[-1][1]:
                        merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
                    else:
                        merged.append((start, stop))
                self._spans = merged
                if dbfs > SPEECH_DBFS:
                    self._loud_until = max(self._loud_until, end)
            self.n_blocks += 1
            if last:
                self.n_expected = self.n_blocks if seq is None else seq + 1
        return dbfs

    @property
    def n_samples(self) -> int:
        """Samples from the start to the end of the latest block, gaps included, at `rate_hz`."""
        return len(self._pcm) // 2

    @property
    def ms(self) -> float:
        return self.n_samples * 1000 / self.rate_hz

    @property
    def full(self) -> bool:
        return self.n_samples >= self._limit

    @property
    def complete(self) -> bool:
        """The last block has come, and all before it."""
        return self.n_expected is not None and self.n_blocks >= self.n_expected

    @property
    def quiet_ms(self) -> float:
        """How long it has been quiet since somebody spoke; 0 before anybody did."""
        return (self.n_samples - self._loud_until) * 1000 / self.rate_hz if self._loud_until else 0.0

    @property
    def gaps(self) -> list[Gap]:
        with self._lock:
            # Ends and beginnings in turns, from 0 on: what lies between an end and the next beginning never came.
            edges = [0, *(edge for span in self._spans for edge in span)]
        per_ms = self.rate_hz / 1000
        return [Gap(a / per_ms, (b - a) / per_ms) for a, b in zip(edges[0:-1:2], edges[1::2], strict=True) if b > a]

    def clip(self, *, details: Mapping[str, Any], text: str = "") -> Clip:
        """Make a clip of it, at 24 kHz, that knows its microphone, and the words that were spoken.

        Raises:
            AudioFormatError: If nothing came.
        """
        if not self._spans:
            raise AudioFormatError("no sound came: is the microphone muted, or in use by another program? record again")
        gaps = [[round(gap.start_ms, 1), round(gap.length_ms, 1)] for gap in self.gaps]
        when = datetime.now(UTC).isoformat(timespec="seconds")
        provenance = Provenance("microphone", text, when, {**details, **({"missing_ms": gaps} if gaps else {})})
        samples, converted = np.frombuffer(self._pcm, "<i2"), ""
        if self.rate_hz != RATE_HZ:
            import soxr

            samples = soxr.resample(samples, self.rate_hz, RATE_HZ, quality="HQ")
            converted = f"{self.rate_hz:,} Hz → 24 000 Hz".replace(",", " ")
        return Clip(samples.astype(np.int16, copy=False), provenance=provenance, converted=converted)


def silence_limit_ms(seconds: float | None) -> float | None:
    """How much quiet ends a recording, in milliseconds; ``None``: no amount does."""
    if seconds is not None and not seconds > 0:
        raise InputError(f"to stop at a silence of {seconds:g} s: take more than 0; 1 is usual")
    return None if seconds is None else seconds * 1000


class Block(NamedTuple):
    """A few milliseconds of sound: int16 bytes, mono, 24 kHz."""

    pcm: bytes
    first: int
    """Where it begins, in samples from the start, lost ones included."""
    ready_at_s: float
    """When the device handed it over, on `time.perf_counter`."""


class BlockQueue:
    """Blocks of a microphone that wait for one reader; all calls on the reader's event loop.

    At most `limit` wait: a reader that falls behind loses whole blocks, the newest first, and `n_dropped` counts their samples.
    A microphone that brings nothing for `silent_s` is gone.
    """

    def __init__(self, limit: int, *, silent_s: float) -> None:
        # Samples at 24 kHz of blocks that found no place: the newest, since what waits already belongs together.
        self.n_dropped = 0
        # `perf_counter` of the last block, or of the opening.
        self.heard_at_s = time.perf_counter()
        self._limit, self._silent_s = limit, silent_s
        self._blocks: deque[Block] = deque()
        # Set when a block came or the queue was closed since the reader looked last.
        self._changed = asyncio.Event()
        self._closed = False

    def put(self, block: Block) -> None:
        """Add a block, or count it as dropped."""
        self.heard_at_s = block.ready_at_s
        if len(self._blocks) >= self._limit:
            self.n_dropped += len(block.pcm) // 2
            return
        self._blocks.append(block)
        self._changed.set()

    def clear(self) -> None:
        """Forget the blocks that wait: the next one is from now."""
        self._blocks.clear()

    def close(self) -> None:
        """End it: no block comes any more."""
        self._closed = True
        self._changed.set()

    @property
    def silent_for_s(self) -> float:
        """How long no block has come."""
        return time.perf_counter() - self.heard_at_s

    def why_gone(self) -> str:
        """Say that the microphone brings nothing any more, and what to do."""
        raise NotImplementedError

    async def __aiter__(self) -> AsyncIterator[Block]:
        """Yield blocks as they come, until `close`. Leaving the loop early is fine.

        Raises:
            DeviceError: If the microphone is gone.
        """
        while True:
            while self._blocks:
                yield self._blocks.popleft()
            if self._closed:
                return
            self._changed.clear()
            try:
                async with asyncio.timeout(self._silent_s):
                    await self._changed.wait()
            except TimeoutError:
                if self.silent_for_s >= self._silent_s:  # or else the loop was busy, not the microphone silent
                    raise DeviceError(self.why_gone()) from None


class Microphone(BlockQueue, DeviceStream):
    """The microphone of the machine that the kernel runs on.

    ::

        async with Microphone() as microphone:
            async for block in microphone:
                await session.append_audio(block.pcm)

    The device's own thread copies each block and hands it over; nothing else happens there.

    Args:
        device: Its number or a part of its name (`devices()` lists them); the system's default if left out.
        block_ms: How much comes at once.
        max_waiting_ms: How much is kept for a reader that is busy.

    Attributes:
        rate_hz: What the device runs at; blocks are at 24 kHz whatever this is.
        n_overflows: How often the device itself reported that it lost sound.

    Raises:
        MissingExtra: If PortAudio is missing.
        DeviceError: If there is no such device, or it cannot be opened.
    """

    kind = "input"

    def __init__(self, device: int | str | None = None, *, block_ms: int = 20, max_waiting_ms: float = 10_000) -> None:
        if not 5 <= block_ms <= 1_000:
            raise InputError(f"blocks of {block_ms} ms: take 5 to 1 000; 20 is usual")
        DeviceStream.__init__(self, device, RATE_HZ)
        BlockQueue.__init__(self, max(int(max_waiting_ms / block_ms), 2), silent_s=_SILENT_S)
        self.block_ms = block_ms
        self.n_overflows = 0
        # Samples at 24 kHz that came so far, dropped ones included: the next block's `first`.
        self._n_samples = 0
        self._resampler = resampler(self.rate_hz, RATE_HZ)

    def __repr__(self) -> str:
        state = "open" if self._stream else "closed"
        return f"<Microphone {self.device.name!r} at {self.rate_hz} Hz, {state}, {self.n_dropped} samples dropped>"

    def start(self, deliver: Callable[[bytes, float], None]) -> None:
        """Open the device. `deliver` is called with (int16 bytes at `rate_hz`, `time.perf_counter`) on the device's thread."""

        def callback(data: Any, _frames: int, _times: Any, status: Any) -> None:
            now_s = time.perf_counter()
            if status.input_overflow:
                self.n_overflows += 1
            deliver(bytes(data), now_s)

        self._open(callback, self.block_ms)
        self.heard_at_s = time.perf_counter()

    def stop(self) -> None:
        """Close the device. Closing twice is fine, and so is closing one that was unplugged."""
        self._close()

    async def __aenter__(self) -> Microphone:
        loop = asyncio.get_running_loop()

        def put(pcm: bytes, now_s: float) -> None:
            if self._resampler is not None:
                pcm = self._resampler.resample_chunk(np.frombuffer(pcm, np.int16)).tobytes()
            if pcm:
                self.put(Block(pcm, self._n_samples, now_s))
                self._n_samples += len(pcm) // 2

        def deliver(data: bytes, now_s: float) -> None:
            # A device may bring one more block after the loop that reads it has ended.
            if not loop.is_closed():
                loop.call_soon_threadsafe(put, data, now_s)

        self.start(deliver)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.stop()
        self.close()

    def why_gone(self) -> str:
        seconds = f"{self._n_samples / RATE_HZ:.1f} s (nothing came for {_SILENT_S:g} s)"
        return f"the microphone {self.device.name!r} is gone after {seconds}; plug it in and start again"


async def record_clip(
    seconds: float = 5, *, device: int | str | None = None, stop_at_silence_s: float | None = None
) -> Clip:
    """Record with the kernel's microphone, without any widget. Device and errors: see `Microphone`.

    Args:
        stop_at_silence_s: End earlier, once somebody has spoken (above −45 dBFS) and been quiet for this long.
    """
    if not 0 < seconds <= MAX_MS / 1000:
        raise InputError(f"a recording of {seconds:g} s: take more than 0 and at most {MAX_MS / 1000:g}")
    limit_ms = silence_limit_ms(stop_at_silence_s)
    recording = Recording(max_ms=seconds * 1000)
    async with Microphone(device) as microphone:
        async for block in microphone:
            recording.add(block.pcm, first=block.first)
            if recording.full or (limit_ms is not None and recording.quiet_ms >= limit_ms):
                break
    return recording.clip(details=kernel_details(microphone))


def kernel_details(microphone: Microphone) -> dict[str, Any]:
    """What a clip keeps about the kernel's microphone."""
    device, n = microphone.device, microphone.n_overflows
    details = {"where": "kernel", "device": device.name, "through": device.host, "rate_hz": microphone.rate_hz}
    return details | ({"n_overflows": n} if n else {})
