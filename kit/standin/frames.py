"""Ids and frames: how the service numbers things, and how its frames look as bytes.

Frames are bytes of compact JSON whose keys begin with ``type, event_id``, as on the wire. A delta is spliced together
from parts that were made once, for a reply is mostly deltas.
"""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Any

import msgspec

from ..wire.dialect import BETA_NAME, Dialect

# An id is a prefix, the second it was made in (base62, five characters, counted from 2019-12-20), then sixteen random
# characters. Checked against eight ids of the service, 2024-10 to 2026-08.
EPOCH = 1_576_800_000
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS = [a + b for a in _BASE62 for b in _BASE62]
_PAIRS += _PAIRS[: 4096 - len(_PAIRS)]  # so that twelve bits choose one: a little unfair to none that counts
_NOISE = random.Random()  # seeded by the system

_OBFUSCATION = "".join(_NOISE.choices(_BASE62, k=4096 + 16))

_ENCODER = msgspec.json.Encoder()


@lru_cache(maxsize=8)
def _second(unix_seconds: int) -> str:
    digits = ""
    left = max(0, unix_seconds - EPOCH)
    for _ in range(5):
        left, digit = divmod(left, 62)
        digits = _BASE62[digit] + digits
    return digits


def new_id(prefix: str, unix_seconds: int) -> str:
    """A fresh id, such as ``item_Ct1OV…``.

    Ids never come from a seed: two sessions of one stand-in must not share any, whatever else they share.
    """
    n = _NOISE.getrandbits(96)
    p = _PAIRS
    return (
        f"{prefix}_{_second(unix_seconds)}{p[n & 4095]}{p[n >> 12 & 4095]}{p[n >> 24 & 4095]}{p[n >> 36 & 4095]}"
        f"{p[n >> 48 & 4095]}{p[n >> 60 & 4095]}{p[n >> 72 & 4095]}{p[n >> 84 & 4095]}"
    )


def new_call_id() -> str:
    """An id as function calls bear it: ``call_`` and sixteen letters and digits."""
    return "call_" + new_id("", EPOCH)[6:]


def event_name(ga_name: str, d: Dialect) -> str:
    """What `d` calls the server event that GA calls so."""
    return ga_name if d.name == "ga" else BETA_NAME.get(ga_name, ga_name)


class OnPurpose(bytes):
    """A frame that no Realtime server should send: a fault that was asked for."""


def encode(event: dict[str, Any]) -> bytes:
    """An event as the bytes of a text frame."""
    return _ENCODER.encode(event)


def obfuscation(delta: str) -> str:
    """The noise on a GA text delta: it fills the delta up to a multiple of 16 (61 of 61 in the recordings of 2026-07)."""
    start = _NOISE.getrandbits(12)
    return _OBFUSCATION[start : start + 16 - len(delta) % 16]


class DeltaFrame:
    """A delta event of one content part, ready but for its id and its payload.

    Args:
        ga_name: GA's name of the event.
        place: The fields between ``event_id`` and ``delta``, in wire order.
        noise: Whether frames carry `obfuscation` (GA does, on text).
    """

    __slots__ = ("_head", "_middle", "_noise")

    def __init__(self, ga_name: str, d: Dialect, place: dict[str, Any], *, noise: bool = False) -> None:
        self._head = b'{"type":"' + event_name(ga_name, d).encode() + b'","event_id":"'
        self._middle = b'",' + encode(place)[1:-1] + b',"delta":'
        self._noise = noise and d.name == "ga"

    def text(self, event_id: str, delta: str) -> bytes:
        tail = b',"obfuscation":"' + obfuscation(delta).encode() + b'"}' if self._noise else b"}"
        return b"".join((self._head, event_id.encode(), self._middle, encode_text(delta), tail))

    def base64(self, event_id: str, chunk: bytes) -> bytes:
        """A frame whose delta is base64 already, as bytes."""
        return b"".join((self._head, event_id.encode(), self._middle, b'"', chunk, b'"}'))


def encode_text(text: str) -> bytes:
    """A string as JSON."""
    return _ENCODER.encode(text)
