"""Audio formats and speech: pcm16 at 24 kHz (GPT-Live: also 16 kHz) and G.711 at 8 kHz, in and out; replies cut into the deltas
that carry them.

Inside the stand-in all sound is PCM: int16, mono, 24 kHz, little-endian.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

import numpy as np
import pybase64
import soundfile
import soxr
from numpy.typing import NDArray

from .. import speech
from ..clip import RATE_HZ, Clip

AudioFormat = Literal["pcm16", "pcm16-16k", "g711_ulaw", "g711_alaw"]
BYTES_PER_MS = {"pcm16": 48, "pcm16-16k": 32, "g711_ulaw": 8, "g711_alaw": 8}
TELEPHONE_HZ = 8_000
_RATES_HZ = {"pcm16": RATE_HZ, "pcm16-16k": 16_000, "g711_ulaw": TELEPHONE_HZ, "g711_alaw": TELEPHONE_HZ}
# Libsndfile's names for ITU-T G.711's two laws.
_SUBTYPE = {"g711_ulaw": "ULAW", "g711_alaw": "ALAW"}


def duration_ms(pcm: bytes | memoryview) -> float:
    """Return how long PCM lasts, in milliseconds."""
    return len(pcm) / 48


@cache
def _linear(format: AudioFormat) -> NDArray[np.int16]:
    """Decode each of the 256 codes of a law once."""
    codes = io.BytesIO(bytes(range(256)))
    samples, _ = soundfile.read(
        codes, samplerate=TELEPHONE_HZ, channels=1, format="RAW", subtype=_SUBTYPE[format], dtype="int16"
    )
    return np.asarray(samples, np.int16)


def decoded(data: bytes, format: AudioFormat) -> bytes:
    """Decode audio from a client, all of it at once, to PCM. A sample cut in half at the end is dropped."""
    decoder = Decoder(format)
    return decoder.decode(data) + decoder.flush()


class Decoder:
    """Decode audio that comes in pieces, as it does from a telephone: no seam between them."""

    def __init__(self, format: AudioFormat) -> None:
        self._format = format
        # The first byte of a sample whose second comes with the next piece.
        self._half = b""
        rate_hz = _RATES_HZ[format]
        self._wide = None if rate_hz == RATE_HZ else soxr.ResampleStream(rate_hz, RATE_HZ, 1, dtype="int16")

    def decode(self, data: bytes) -> bytes:
        """Decode a piece to PCM; the last few milliseconds of G.711 come with the next piece."""
        if self._format in _SUBTYPE:
            samples = _linear(self._format)[np.frombuffer(data, np.uint8)]
        else:
            data = self._half + data
            n_bytes = len(data) // 2 * 2
            data, self._half = data[:n_bytes], data[n_bytes:]
            if self._wide is None:
                return data
            samples = np.frombuffer(data, "<i2").astype(np.int16, copy=False)
        assert self._wide is not None  # all but the first format are of another rate
        return bytes(self._wide.resample_chunk(samples).astype("<i2").tobytes())

    def flush(self) -> bytes:
        """Return what the resampler still holds, and begin anew."""
        if self._wide is None:
            return b""
        tail = self._wide.resample_chunk(np.zeros(0, np.int16), last=True)
        self._wide.clear()
        return bytes(tail.astype("<i2").tobytes())


# 9,600 bytes of PCM in an audio delta; the service's own sizes are unverified (wire/README.md, Timing).
CHUNK_MS = 200

_PIECE = re.compile(r"\s*(?:[^\W\d_]{1,9}|\d{1,3}|[^\w\s]|_)|\s+")


@dataclass(frozen=True, slots=True)
class Spoken:
    """A text as speech, cut and encoded once for all sessions."""

    # The transcript as it streams: joined they are the text.
    pieces: tuple[str, ...]
    # int16 mono at 24 kHz.
    pcm: bytes
    # The audio as it streams: base64, `CHUNK_MS` each, the last one shorter.
    chunks: tuple[bytes, ...]


def plain_voice(text: str) -> NDArray[np.int16]:
    """Hum a text: a quiet tone for each word, as long as the word takes to say. It cannot be mistaken for speech."""
    parts = []
    for word in text.split() or [text]:
        n = RATE_HZ * (80 + 60 * min(len(word), 40)) // 1000
        fade = np.minimum(1, np.minimum(np.arange(n), np.arange(n)[::-1]) / (RATE_HZ * 0.02))  # 20 ms: no clicks
        parts += [np.sin(2 * np.pi * 180 * np.arange(n) / RATE_HZ) * fade, np.zeros(RATE_HZ * 60 // 1000)]
    return (np.concatenate(parts) * 2_000).astype(np.int16)


@lru_cache(maxsize=2048)
def pieces(text: str) -> tuple[str, ...]:
    """Cut a text into the pieces that deltas carry, about a token each."""
    return tuple(_PIECE.findall(text))


def speak(text: str) -> NDArray[np.int16]:
    """Speak a text: by its recording, by the synthesiser, or by the plain voice."""
    try:
        return speech.say(text).pcm
    except Exception:  # not recorded, and no voice is installed that can say it
        return plain_voice(text)


@lru_cache(maxsize=256)  # 256 replies of 4 s are some 65 MB of base64; the repertoire alone is a quarter of that
def spoken(text: str, format: AudioFormat = "pcm16") -> Spoken:
    """Speak a text (see `speak`), cut and encoded as a session sends it."""
    clip = Clip(speak(text))
    data = clip.to_bytes(format)
    size = CHUNK_MS * BYTES_PER_MS[format]
    chunks = tuple(pybase64.b64encode(data[start : start + size]) for start in range(0, len(data), size))
    return Spoken(pieces(text), clip.to_bytes(), chunks)
