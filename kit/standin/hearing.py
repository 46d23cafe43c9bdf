"""The input audio buffer: what a client appended since the last commit, and the turns that are heard in it.

Times are milliseconds of the session's input stream: of all audio that was ever appended, whatever was cleared or committed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .listening import Started, Stopped, TurnDetector, detector, prefix_ms
from .sound import BYTES_PER_MS, AudioFormat, Decoder

_MS = BYTES_PER_MS["pcm16"]


class InputAudio:
    """One session's ears.

    Args:
        max_s: How much sound is kept. With turn detection the oldest is forgotten; without, more is refused.
    """

    def __init__(self, max_s: float) -> None:
        self._max_bytes = int(max_s * 1000) * _MS
        self._pcm = bytearray()
        self._from = 0  # where in the stream `_pcm` begins, in bytes
        self._format: AudioFormat = "pcm16"
        self._decoder = Decoder("pcm16")
        self._vad: Any = None
        self._detector: TurnDetector | None = None
        self.turn_from_ms: int | None = None
        """Where the turn that is being spoken begins, its prefix included; ``None`` while nobody speaks."""

    @property
    def now_ms(self) -> float:
        """How much audio was ever appended."""
        return (self._from + len(self._pcm)) / _MS

    @property
    def since_commit_ms(self) -> float:
        """How much was appended since the last commit or clear, and is kept."""
        return len(self._pcm) / _MS

    @property
    def speaking(self) -> bool:
        return self.turn_from_ms is not None

    def set(self, format: AudioFormat, turn_detection: Any) -> None:
        """What the session is set to. Ears that change begin anew."""
        if format != self._format:
            self._format, self._decoder = format, Decoder(format)
        if turn_detection != self._vad:
            self._vad = turn_detection
            self._deaf()

    def _deaf(self) -> None:
        if self._detector is not None:
            self._detector.close()
        self._detector = None
        self.turn_from_ms = None

    def fits(self, n_bytes: int) -> bool:
        """Whether so much more may be appended where nothing is ever forgotten."""
        return self._vad is not None or len(self._pcm) + n_bytes * _MS // BYTES_PER_MS[self._format] <= self._max_bytes

    def append(self, data: bytes) -> Iterator[Started | Stopped]:
        """Take audio in the session's format; gives what is heard, as it is heard.

        A `Stopped` must be followed by `take` before going on, for that is when the service commits.
        """
        if self._vad is not None and self._detector is None:
            self._detector = detector(self._vad, self.now_ms)  # not before there is something to hear
        pcm = self._decoder.decode(data)
        self._pcm += pcm
        if self._detector is not None:
            for heard in self._detector.feed(pcm):
                if isinstance(heard, Started):
                    start_ms = max(heard.at_ms - prefix_ms(self._vad), self._from / _MS)
                    self.turn_from_ms = int(start_ms)
                yield heard
        extra = len(self._pcm) - self._max_bytes
        if extra > 0:
            self._forget(extra)

    def _forget(self, n_bytes: int) -> None:
        n_bytes = min(len(self._pcm), n_bytes // 2 * 2)
        del self._pcm[:n_bytes]
        self._from += n_bytes

    def take(self, to_ms: float | None = None) -> bytes:
        """Commit: the turn up to `to_ms`, or all there is; what lies before it is gone too."""
        if to_ms is None:
            self._pcm += self._decoder.flush()
        start = self._from if to_ms is None or self.turn_from_ms is None else self.turn_from_ms * _MS
        end = self._from + len(self._pcm) if to_ms is None else int(to_ms) * _MS
        taken = bytes(self._pcm[max(0, start - self._from) : max(0, end - self._from)])
        self._forget(end - self._from)
        self.turn_from_ms = None
        if self._detector is not None:
            self._detector.forget()
        return taken

    def clear(self) -> None:
        """Forget what was appended and not committed, and the turn that was being spoken."""
        self._forget(len(self._pcm))
        self.turn_from_ms = None
        if self._detector is not None:
            self._detector.forget()

    def close(self) -> None:
        """The session is over."""
        self._deaf()
        self._pcm.clear()
