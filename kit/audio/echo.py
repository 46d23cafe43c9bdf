"""Echo cancellation: take out of the microphone's sound what the speaker plays.

It is WebRTC's canceller in livekit's package (Apache-2.0), the only one found that runs at 24 kHz by itself and installs as a
wheel: 60 dB of echo are gone once it has settled, 36 dB within the first two seconds, at 0.25 ms of CPU per 10 ms. It costs
the user's own voice 6 to 8 dB while both speak.

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
from .portaudio import resampler
from .speaker import Samples

_FRAME = RATE_HZ // 100  # the canceller takes 10 ms at a time, no more and no less
_WATCHED_FRAMES = 100  # a second: how long played frames must lag to be caught up with, and the most that wait


def echo_cancellation_installed() -> bool:
    from importlib.util import find_spec

    return find_spec("livekit") is not None


class EchoCanceller:
    """Hand what is played, at `far_rate_hz`, to `far`, and pass what the microphone hears through `near`.

    Raises:
        MissingExtra: If the extra ``echo`` is not installed.
    """

    def __init__(self, *, far_rate_hz: int = RATE_HZ) -> None:
        try:
            from livekit import rtc
        except ImportError as exc:
            raise MissingExtra(
                'this needs livekit: pip install "realtime-history-kit[echo]"; or wear headphones, or use half-duplex'
            ) from exc
        # livekit's class of a frame: it is imported here alone, since the extra may be missing.
        self._audio_frame = rtc.AudioFrame
        self._processing: Any = rtc.AudioProcessingModule(echo_cancellation=True)
        # Buffers that the speaker's thread was given, at its rate; `near` takes them on the reader's thread.
        self._played: deque[Samples] = deque(maxlen=_WATCHED_FRAMES)
        # The same in frames of 10 ms at 24 kHz, not yet paired with a frame of the microphone; and what is less than one.
        self._far: deque[bytes] = deque(maxlen=_WATCHED_FRAMES)
        self._far_rest = np.zeros(0, np.int16)
        # What the microphone brought and is less than a frame.
        self._near_rest = np.zeros(0, np.int16)
        # Frames of the microphone so far, and the fewest played frames that waited during the last second of them.
        self._n_near, self._fewest_waiting = 0, _WATCHED_FRAMES
        # From the speaker's rate to 24 kHz; None where it plays at that already.
        self._resampler = resampler(far_rate_hz, RATE_HZ)

    def far(self, samples: Samples) -> None:
        """Note what is being played, silence too. Called on the speaker's thread: the samples are only copied."""
        self._played.append(samples.copy())

    def near(self, pcm: bytes) -> bytes:
        """Return what was heard (int16, 24 kHz) without its echo. Up to 10 ms of it may come with the next call."""
        # First what was played: the canceller must have heard a sound before its echo comes.
        while self._played:
            samples = self._played.popleft()
            if self._resampler is not None:
                samples = self._resampler.resample_chunk(samples)
            frames, self._far_rest = _frames(self._far_rest, samples)
            self._far.extend(frames)
        frames, self._near_rest = _frames(self._near_rest, np.frombuffer(pcm, np.int16))
        cleaned = []
        for data in frames:
            # One played frame for each that is heard: a busy loop brings both in bursts, the canceller needs them in step.
            n_due = 1 if self._far else 0
            self._fewest_waiting = min(self._fewest_waiting, len(self._far) - n_due)
            self._n_near += 1
            if self._n_near % _WATCHED_FRAMES == 0:
                # One played frame may wait at any time: only what waited during the whole second is a lag.
                n_due += max(self._fewest_waiting - 1, 0)
                self._fewest_waiting = _WATCHED_FRAMES
            for _ in range(n_due):
                played = self._audio_frame(bytearray(self._far.popleft()), RATE_HZ, 1, _FRAME)
                self._processing.process_reverse_stream(played)
            frame = self._audio_frame(bytearray(data), RATE_HZ, 1, _FRAME)
            self._processing.set_stream_delay_ms(0)  # it finds the delay by itself
            self._processing.process_stream(frame)
            cleaned.append(bytes(frame.data))
        return b"".join(cleaned)


def _frames(remainder: Samples, samples: Samples) -> tuple[list[bytes], Samples]:
    """Cut what was left and what came into frames of 10 ms; return them, and what is less than one."""
    samples = np.concatenate([remainder, samples])
    end = samples.size // _FRAME * _FRAME
    return [samples[start : start + _FRAME].tobytes() for start in range(0, end, _FRAME)], samples[end:]
