"""Echo cancellation: what the speaker says is taken out of what the microphone hears.

It is WebRTC's canceller in livekit's package (Apache-2.0), the only one found that runs at 24 kHz by itself and installs as a
wheel: 60 dB of echo gone once it has settled, 36 dB within the first two seconds, at 0.25 ms of CPU per 10 ms. It costs the
user's own voice 6 to 8 dB while both speak.

What is played and what is heard are paired by counting: a device brings every block, however late its thread runs. Pairing by
the instants of the callbacks was tried on recorded runs of a busy machine and let 11 of 56 echoes through, where counting let
none. What counting cannot know at once is a block that the device itself lost: 10 ms of the microphone alone interrupted 9 of
12 replies of a computed room before it was caught up with.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from ..clip import RATE_HZ
from ..errors import MissingExtra

_FRAME = RATE_HZ // 100  # the canceller takes 10 ms at a time, no more and no less
_WATCHED_FRAMES = 100
_FAR_FRAMES = 100  # what waits between two blocks of the microphone; more means that nobody is listening


def echo_cancellation_installed() -> bool:
    """The extra ``echo`` is there."""
    from importlib.util import find_spec

    return find_spec("livekit") is not None


class EchoCanceller:
    """Give it what is played with `far`, and pass what is heard through `near`.

    Args:
        far_rate_hz: Of what is played.

    Raises:
        MissingExtra: If the extra ``echo`` is not installed.
    """

    def __init__(self, *, far_rate_hz: int = RATE_HZ) -> None:
        try:
            from livekit import rtc
        except ImportError as exc:
            raise MissingExtra(
                'echo cancellation needs livekit: pip install "realtime-history-kit[echo]"; without it wear headphones, or '
                "use half-duplex"
            ) from exc
        self._frame_of = rtc.AudioFrame
        self._processing: Any = rtc.AudioProcessingModule(echo_cancellation=True)
        self._played: deque[np.ndarray[Any, np.dtype[np.int16]]] = deque(maxlen=_FAR_FRAMES)
        self._far: deque[bytes] = deque(maxlen=_FAR_FRAMES)
        self._far_rest = np.zeros(0, np.int16)
        self._n_near, self._least = 0, _FAR_FRAMES
        self._near_rest = np.zeros(0, np.int16)
        self._resampler: Any = None
        if far_rate_hz != RATE_HZ:
            import soxr

            self._resampler = soxr.ResampleStream(far_rate_hz, RATE_HZ, 1, dtype="int16")

    def far(self, samples: np.ndarray[Any, np.dtype[np.int16]]) -> None:
        """What is being played, silence too. From the speaker's thread: it is only copied."""
        self._played.append(samples.copy())

    def near(self, pcm: bytes) -> bytes:
        """What was heard (int16, 24 kHz) without its echo. Up to 10 ms of it may come with the next call."""
        while self._played:
            self._cut(self._played.popleft())
        samples = np.concatenate([self._near_rest, np.frombuffer(pcm, np.int16)])
        whole = samples.size // _FRAME * _FRAME
        self._near_rest = samples[whole:]
        cleaned = []
        for start in range(0, whole, _FRAME):
            self._feed()
            frame = self._frame_of(bytearray(samples[start : start + _FRAME].tobytes()), RATE_HZ, 1, _FRAME)
            self._processing.set_stream_delay_ms(0)  # it finds the delay by itself
            self._processing.process_stream(frame)
            cleaned.append(bytes(frame.data))
        return b"".join(cleaned)

    def _feed(self) -> None:
        """One frame of what is played for each that is heard: a busy loop brings both in bursts, and the canceller needs them
        side by side. What stays behind for a second (blocks of the microphone were lost) is caught up with."""
        if self._far:
            self._reverse(self._far.popleft())
        self._least = min(self._least, len(self._far))
        self._n_near += 1
        if self._n_near % _WATCHED_FRAMES == 0:
            for _ in range(self._least - 1):
                self._reverse(self._far.popleft())
            self._least = _FAR_FRAMES

    def _reverse(self, data: bytes) -> None:
        self._processing.process_reverse_stream(self._frame_of(bytearray(data), RATE_HZ, 1, _FRAME))

    def _cut(self, samples: np.ndarray[Any, np.dtype[np.int16]]) -> None:
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples)
        samples = np.concatenate([self._far_rest, samples])
        whole = samples.size // _FRAME * _FRAME
        self._far_rest = samples[whole:]
        self._far.extend(samples[start : start + _FRAME].tobytes() for start in range(0, whole, _FRAME))
