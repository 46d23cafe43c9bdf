"""Ids and frames: how the service numbers things, and how its frames look as bytes.

Frames are bytes of compact JSON whose keys begin with ``type, event_id``, as on the wire. A delta is spliced together
from parts that were made once, because a reply is mostly deltas.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from ..wire.dialect import BETA_NAME, Dialect
from ..wire.refusals import Refusal

# An id is a prefix, the second it was made in (base62, five characters, counted from 2019-12-20), then sixteen random
# characters. Checked against eight ids of the service, 2024-10 to 2026-08.
EPOCH = 1_576_800_000
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS = [a + b for a in _BASE62 for b in _BASE62]
_PAIRS += _PAIRS[: 4096 - len(_PAIRS)]  # twelve random bits choose a pair: one table look-up for two characters
# Seeded by the system, never by the stand-in's seed.
_NOISE = random.Random()

_OBFUSCATION = "".join(_NOISE.choices(_BASE62, k=4096 + 16)).encode()


@lru_cache(maxsize=8)
def _second(unix_seconds: int) -> str:
    digits = ""
    number = max(0, unix_seconds - EPOCH)
    for _ in range(5):
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits


def new_id(prefix: str, unix_seconds: int) -> str:
    """Make a fresh id, such as ``item_Ct1OV…``.

    Ids never come from a seed: two sessions of one stand-in must not share any, whatever else they share.
    """
    n = _NOISE.getrandbits(96)
    p = _PAIRS
    return (
        f"{prefix}_{_second(unix_seconds)}{p[n & 4095]}{p[n >> 12 & 4095]}{p[n >> 24 & 4095]}{p[n >> 36 & 4095]}"
        f"{p[n >> 48 & 4095]}{p[n >> 60 & 4095]}{p[n >> 72 & 4095]}{p[n >> 84 & 4095]}"
    )


def event_name(ga_name: str, d: Dialect) -> str:
    """Return the name that `d` has for the server event that GA calls `ga_name`."""
    return ga_name if d.name == "ga" else BETA_NAME.get(ga_name, ga_name)


class InjectedFrame(bytes):
    """A frame that no Realtime server should send: a fault that was asked for."""


# An event as the bytes of a text frame.
encode: Callable[[object], bytes] = msgspec.json.Encoder().encode


def error_fields(refusal: Refusal) -> dict[str, Any]:
    """Return what is in an `error`, in wire order."""
    return {"type": refusal.type, "code": refusal.code, "message": refusal.message, "param": refusal.param}


@dataclass(frozen=True, slots=True)
class Job:
    """Work that takes long. Run it anywhere, then call `done` with its result or its exception."""

    run: Callable[[], Any]
    done: Callable[[Any], None]


class DeltaFrame:
    """A delta event of one content part, ready but for its id and its payload.

    Args:
        ga_name: GA's name of the event.
        place: The fields between ``event_id`` and ``delta``, in wire order.
        noise: Whether frames carry an ``obfuscation`` (GA does, on text), which fills the delta up to a multiple of 16 (61 of 61 in
            recordings of 2026-07).
    """

    __slots__ = ("_head", "_middle", "_noise")

    def __init__(self, ga_name: str, d: Dialect, place: dict[str, Any], *, noise: bool = False) -> None:
        self._head = b'{"type":"' + event_name(ga_name, d).encode() + b'","event_id":"'
        self._middle = b'",' + encode(place)[1:-1] + b',"delta":'
        self._noise = noise and d.name == "ga"

    def text(self, event_id: str, delta: str) -> bytes:
        """Return a frame whose delta is a text."""
        tail = b"}"
        if self._noise:
            start = _NOISE.getrandbits(12)
            tail = b',"obfuscation":"' + _OBFUSCATION[start : start + 16 - len(delta) % 16] + b'"}'
        return b"".join((self._head, event_id.encode(), self._middle, encode(delta), tail))

    def base64(self, event_id: str, chunk: bytes) -> bytes:
        """Return a frame whose delta is base64 already, as bytes."""
        return b"".join((self._head, event_id.encode(), self._middle, b'"', chunk, b'"}'))


class Core:
    """What a server drives over one connection, without the socket: a session of either protocol, or a sideband on one.

    Args:
        dialect: ``ga``, ``beta`` or ``live``.
        unix: The wall clock, in seconds: ids carry it.
    """

    id: str

    def __init__(self, dialect: str, unix: Callable[[], float]) -> None:
        self.dialect = dialect
        # What the socket does once all is sent: a close with code and reason, or a cut without either.
        self.closing: tuple[int, str] | None = None
        self.cut = False
        # Called when there is something to do that no frame of the client's brought.
        self.wake: Callable[[], None] = lambda: None
        self._unix = unix
        # Frames that the socket has not taken yet, and work that no thread has.
        self._out: list[bytes] = []
        self._jobs: list[Job] = []

    @property
    def wake_at(self) -> float | None:
        """When `advance` has something to do, on the server's clock; ``None``: only when something comes."""
        return None

    @property
    def over(self) -> bool:
        """Whether nothing more may be put."""
        return self.cut or self.closing is not None

    @property
    def backlog(self) -> int:
        """How many frames wait to be taken."""
        return len(self._out)

    def new_id(self, prefix: str) -> str:
        """Make a fresh id with that prefix."""
        return new_id(prefix, int(self._unix()))

    def take(self) -> list[bytes]:
        """Remove and return the frames to send now, in order."""
        frames, self._out = self._out, []
        return frames

    def advance(self) -> bool:
        """Take one step with what is due; return whether anything was."""
        return False

    def jobs(self) -> list[Job]:
        """Remove and return the work that is to be done elsewhere: it would hold up every other session here."""
        jobs, self._jobs = self._jobs, []
        return jobs
