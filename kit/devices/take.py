"""One recording as it comes in: numbered blocks of samples, from whatever thread brings them, into one clip."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ..clip import MAX_MS, RATE_HZ, Clip, Provenance
from ..errors import AudioFormatError, InputError

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
