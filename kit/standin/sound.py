"""Audio formats: pcm16 at 24 kHz, and G.711 µ-law and A-law at 8 kHz, in and out of the PCM that the stand-in works in.

The tables are ITU-T G.711's, written out as the formulae of its reference implementation (STL2009), so that they can be
checked against another one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

import numpy as np
import pybase64
import soxr
from numpy.typing import NDArray

from .. import speech
from ..clip import RATE_HZ

Buffer = bytes | bytearray | memoryview
AudioFormat = Literal["pcm16", "g711_ulaw", "g711_alaw"]
TELEPHONE_HZ = 8_000
BYTES_PER_MS = {"pcm16": 48, "g711_ulaw": 8, "g711_alaw": 8}


def duration_ms(pcm: Buffer) -> float:
    """How long PCM at 24 kHz lasts."""
    return memoryview(pcm).nbytes / 48


@cache
def _ulaw_to_linear() -> NDArray[np.int16]:
    code = ~np.arange(256) & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)
    return np.where(code & 0x80, 0x84 - magnitude, magnitude - 0x84).astype(np.int16)


@cache
def _alaw_to_linear() -> NDArray[np.int16]:
    code = np.arange(256) ^ 0x55
    exponent, mantissa = (code & 0x70) >> 4, (code & 0x0F) << 4
    magnitude = np.where(exponent == 0, mantissa + 8, (mantissa + 0x108) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


@cache
def _from_linear(format: str) -> NDArray[np.uint8]:
    """The code of each of the 65,536 samples: the one whose value lies nearest."""
    table = _ulaw_to_linear() if format == "g711_ulaw" else _alaw_to_linear()
    order = np.argsort(table, kind="stable")
    values = table[order].astype(np.int32)
    samples = np.arange(-32768, 32768, dtype=np.int32)
    above = np.clip(np.searchsorted(values, samples), 1, 255)
    nearer_below = samples - values[above - 1] <= values[above] - samples
    return order[np.where(nearer_below, above - 1, above)].astype(np.uint8)


def decoded(data: bytes, format: AudioFormat) -> bytes:
    """What a client sent → PCM at 24 kHz. A sample cut in half at the end is dropped."""
    if format == "pcm16":
        return data[: len(data) // 2 * 2]
    table = _ulaw_to_linear() if format == "g711_ulaw" else _alaw_to_linear()
    samples = table[np.frombuffer(data, np.uint8)]
    if not samples.size:
        return b""
    return bytes(soxr.resample(samples, TELEPHONE_HZ, RATE_HZ, quality="HQ").astype("<i2").tobytes())


class Decoder:
    """`decoded` for audio that comes in pieces, as it does from a telephone: no seam between them."""

    def __init__(self, format: AudioFormat) -> None:
        self._format = format
        self._odd = b""  # half a sample that waits for its other half
        self._wide = None if format == "pcm16" else soxr.ResampleStream(TELEPHONE_HZ, RATE_HZ, 1, dtype="int16")

    def decode(self, data: bytes) -> bytes:
        """A piece of audio → PCM at 24 kHz; a few milliseconds of a telephone's come with the next piece."""
        if self._wide is None:
            whole = self._odd + data
            self._odd = whole[len(whole) // 2 * 2 :]
            return whole[: len(whole) // 2 * 2]
        table = _ulaw_to_linear() if self._format == "g711_ulaw" else _alaw_to_linear()
        return bytes(self._wide.resample_chunk(table[np.frombuffer(data, np.uint8)]).astype("<i2").tobytes())

    def flush(self) -> bytes:
        """What is still under way."""
        if self._wide is None:
            return b""
        rest = self._wide.resample_chunk(np.zeros(0, np.int16), last=True)
        self._wide = soxr.ResampleStream(TELEPHONE_HZ, RATE_HZ, 1, dtype="int16")
        return bytes(rest.astype("<i2").tobytes())


def encoded(pcm: NDArray[np.int16], format: AudioFormat) -> bytes:
    """PCM at 24 kHz → what a client asked for."""
    if format == "pcm16":
        return pcm.astype("<i2", copy=False).tobytes()
    narrow = soxr.resample(pcm, RATE_HZ, TELEPHONE_HZ, quality="HQ")
    return bytes(_from_linear(format)[narrow.astype(np.int32) + 32768].tobytes())


# Words as a reply says them: the pieces that a transcript comes in, and the chunks that its speech comes in.


CHUNK_MS = 200  # 9,600 bytes of PCM. The service's own sizes are not verified on a websocket (wire/README.md, Timing)

_PIECE = re.compile(r"\s*(?:[^\W\d_]{1,9}|\d{1,3}|[^\w\s]|_)|\s+")


@dataclass(frozen=True, slots=True)
class Spoken:
    """A text as speech, cut and encoded once for all sessions."""

    text: str
    pieces: tuple[str, ...]
    """The transcript as it streams: joined they are the text."""
    pcm: bytes
    """int16 mono at 24 kHz."""
    chunks: tuple[bytes, ...]
    """The audio as it streams: base64, `CHUNK_MS` each, the last one shorter."""

    @property
    def duration_ms(self) -> float:
        return len(self.pcm) / 48

    def pieces_before(self, chunk: int) -> int:
        """How many transcript pieces have gone out before audio chunk `chunk`: the words run ahead of the voice."""
        share = (chunk + 1) / len(self.chunks)
        return min(len(self.pieces), 3 + int(share * len(self.pieces)))


@lru_cache(maxsize=2048)
def pieces(text: str) -> tuple[str, ...]:
    """A text in the pieces that deltas carry, about a token each."""
    return tuple(_PIECE.findall(text))


@lru_cache(maxsize=256)  # 256 replies of 4 s are some 65 MB of base64; the repertoire alone is a quarter of that
def spoken(text: str, format: AudioFormat = "pcm16") -> Spoken:
    """A text as speech.

    Raises:
        MissingExtra: If it is not recorded and no synthesiser is installed.
        InputError: If nothing in it can be spoken.
    """
    pcm = speech.say(text).pcm
    wire = encoded(pcm, format)
    size = CHUNK_MS * BYTES_PER_MS[format]
    chunks = tuple(pybase64.b64encode(wire[start : start + size]) for start in range(0, len(wire), size))
    return Spoken(text, pieces(text), encoded(pcm, "pcm16"), chunks)
