"""Words as a reply says them: the pieces that a transcript comes in, and the chunks that its speech comes in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import pybase64

from .. import speech
from .sound import BYTES_PER_MS, AudioFormat, encoded

CHUNK_MS = 200  # 9,600 bytes of PCM. The service's own sizes are not verified on a websocket (protocol.md §5.4)

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
