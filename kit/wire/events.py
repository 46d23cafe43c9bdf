"""Frames to events and back.

Most bytes of a session are base64 audio inside `response.output_audio.delta`. Parsing those frames as JSON costs several
times what copying the audio out costs, so `decode` has two paths:

* **plain**: parse the JSON; for an audio delta, decode its base64;
* **fast**: when the frame begins like an audio delta, cut out what stands between the first ``,"delta":"`` and a final
  ``"}``, and parse the rest with an empty delta in its place.

The cut is safe because inside a JSON string a quote is always escaped: the unescaped ``,"delta":"`` can only be a key with
a string value, its value can only end at the next quote, and base64 with strict validation holds no quote. A delta inside
a nested object leaves one brace too many, so the rest does not parse. Whatever is not exactly as expected goes the plain
way; tests/test_events.py holds both to the same answers.
"""

from __future__ import annotations

import binascii
import functools
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import pybase64

from .. import show
from ..errors import RemoteProtocolError, ServerError
from .dialect import GA_NAME

MAX_COUNT = 2**63 - 1
MAX_ERRORS = 10_000  # kept of a session; a log with ten million of them is counted and not held
"""The largest number that SQLite keeps. Nothing that a session counts comes near it."""


# ----------------------------------------------------------- reading an event that may say anything: the right type, or nothing


def text_of(data: Mapping[str, Any], key: str) -> str | None:
    """Return a field that is text."""
    value = data.get(key)
    return value if isinstance(value, str) else None


def error_of(fields: Mapping[str, Any], event_id: str | None, caused_by: str | None = None) -> ServerError:
    """Make an error of what an `error` event says: ``event_id`` is the client event's that it names."""
    kind, code, param = (text_of(fields, name) for name in ("type", "code", "param"))
    message = text_of(fields, "message") or ""
    return ServerError(type=kind, code=code, message=message, param=param, event_id=event_id, caused_by=caused_by)


def int_of(data: Mapping[str, Any], key: str) -> int | None:
    """Return a field that is a count: a whole number from 0 to 2⁶³ − 1.

    Everything else (missing, null, negative, a fraction, text, true) is ``None``, which is unknown and not zero: a server's
    tokens become money, and its indexes places.
    """
    value = data.get(key)
    return value if type(value) is int and 0 <= value <= MAX_COUNT else None


def dict_of(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a field that is an object; an empty one for anything else."""
    value = data.get(key)
    return value if isinstance(value, dict) else {}


# ------------------------------------------------------------------------------------------------------------------- events

AUDIO_DELTA = "response.output_audio.delta"
LIVE_AUDIO_DELTA = "session.output_audio.delta"  # GPT-Live's: ten a second, speech or not
AUDIO_DELTAS = (AUDIO_DELTA, LIVE_AUDIO_DELTA)
# A frame of either spelling begins like this, with or without the space that some JSON writers put after a colon.
_AUDIO_HEADS = tuple(
    f'{{"type":{space}"{name}.delta"'.encode()
    for name in ("response.output_audio", "response.audio", "session.output_audio")
    for space in ("", " ")
)
_LONGEST_HEAD = 1_024  # bytes before the delta: two ids, two indexes and room to spare
DIGEST = re.compile(r"sha256:([0-9a-f]{64}):(\d{1,12})(?::(\d{1,5}))?\Z")
"""What stands for audio that was not kept: its SHA-256, its length in bytes and, where it was looked at, its largest sample. No base64
looks like this."""
UNKNOWN_PEAK = 32_767  # stands for the loudness of sound of which only the digest is known, and that is no silence

_DELTA_KEY, _SPACED_DELTA_KEY = b',"delta":"', b', "delta": "'

_decode_json = msgspec.json.Decoder().decode
_encode_json = msgspec.json.Encoder().encode


# Made by the thousand, hence gc=False: nothing in one can lead back to it.
class Event(msgspec.Struct, gc=False, eq=False):
    """One frame, either way."""

    type: str  # GA's name for it, also when it came in beta's spelling; an unknown type stays as it came
    data: dict[str, Any]
    """The frame as a dict, as it came, but for audio: an audio delta's base64 is left out (``delta`` is "")."""
    at_ms: float
    """When it arrived or was sent, on the session's clock. Frames that were read from the socket together arrived together."""
    direction: Literal["server", "client"] = "server"
    pcm: bytes | None = None
    """The bytes of an audio delta until the fold takes them; then ``None``: audio is held once, in its response."""
    n_audio_bytes: int | None = None  # how many bytes of audio there were; ``None`` for an event without audio
    bad_audio: str | None = None  # why the base64 of an audio delta could not be decoded, else ``None``

    @property
    def wire_type(self) -> str:
        """The type as it was spelled on the wire."""
        return str(self.data.get("type"))

    def __repr__(self) -> str:
        arrow = "←" if self.direction == "server" else "→"
        audio = f", {self.n_audio_bytes} bytes of audio" if self.n_audio_bytes is not None else ""
        return f"<{arrow} {show.one_line(self.type, 120)} at {self.at_ms:.0f} ms{audio}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """For tracebacks that print variables: no more than `repr`, since a server may repeat a key that it was sent."""
        return [(name, getattr(self, name)) for name in ("type", "at_ms", "direction", "n_audio_bytes")]


def digest(pcm: bytes, peak: int | None = None) -> str:
    """What stands for these bytes of audio where they are not kept."""
    loudness = "" if peak is None else f":{peak}"
    return f"sha256:{hashlib.sha256(pcm).hexdigest()}:{len(pcm)}{loudness}"


@functools.lru_cache(maxsize=64)
def silences(n_bytes: int) -> frozenset[str]:
    """Return the SHA-256 of so many bytes of silence, in PCM, µ-law and A-law."""
    if n_bytes > 1 << 20:
        return frozenset()
    return frozenset(hashlib.sha256(idle * n_bytes).hexdigest() for idle in (b"\0", b"\xff", b"\xd5"))


def loudness(audio: object) -> int | None:
    """Return the largest sample of sound of which a digest is left, `UNKNOWN_PEAK` where it only tells that this is no silence;
    ``None`` for what is no digest."""
    match = DIGEST.match(audio) if isinstance(audio, str) else None
    if match is None:
        return None
    return int(match[3]) if match[3] else 0 if match[1] in silences(int(match[2])) else UNKNOWN_PEAK


def decode(frame: bytes | str, at_ms: float) -> Event:
    """Decode a server's frame.

    Args:
        at_ms: When it arrived: taken before decoding, so that decoding is not part of what is measured.

    Raises:
        RemoteProtocolError: If it is not JSON, not an object, or has no type.
    """
    if isinstance(frame, str):
        # Text may hold half of a surrogate pair, at which plain UTF-8 would fail.
        frame = frame.encode("utf-8", "surrogatepass")
    if frame.startswith(_AUDIO_HEADS):
        event = _decode_audio_delta(frame, at_ms)
        if event is not None:
            return event
    return decode_plain(frame, at_ms)


def decode_plain(frame: bytes, at_ms: float) -> Event:
    """`decode` without the fast path."""
    try:
        data = _decode_json(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        try:
            data = _decode_json(_without_lone_surrogates(frame))  # the slow parser, for what is rare
        except (ValueError, RecursionError):
            raise RemoteProtocolError(f"the server sent a frame that is not JSON ({exc})", _head(frame)) from exc
    return event_of(data, at_ms, head=frame)


def _without_lone_surrogates(frame: bytes) -> bytes:
    """Replace what ``\\ud800`` and its like stand for by question marks.

    JSON's grammar allows half of a surrogate pair, which is no character. A text that was cut in the middle of an emoji
    holds one, and must not make the whole frame unreadable.
    """
    if b"\\u" not in frame:
        raise ValueError("it has no escapes")
    return json.dumps(json.loads(frame), ensure_ascii=False).encode("utf-8", "replace")


def event_of(data: object, at_ms: float, *, head: bytes = b"") -> Event:
    """Make an event of a decoded object; the audio of an audio delta is taken out of it."""
    if not isinstance(data, dict):
        raise RemoteProtocolError("the server sent JSON that is not an object", _head(head) or repr(data)[:80])
    wire_type = data.get("type")
    if not isinstance(wire_type, str):
        raise RemoteProtocolError("the server sent an event without a type", _head(head) or repr(data)[:80])
    kind = GA_NAME.get(wire_type, wire_type)
    if kind not in AUDIO_DELTAS:
        return Event(kind, data, at_ms)
    delta = data.get("delta")
    # An event without bytes: that one came, and when, is known all the same.
    if not isinstance(delta, str):
        return Event(kind, data, at_ms, "server", b"", 0, "its delta is not text")
    try:
        pcm = pybase64.b64decode(delta, validate=True)
    except (binascii.Error, ValueError) as exc:
        return Event(kind, data | {"delta": ""}, at_ms, "server", b"", 0, str(exc))
    return Event(kind, data | {"delta": ""}, at_ms, "server", pcm, len(pcm))


def _decode_audio_delta(frame: bytes, at_ms: float) -> Event | None:
    # As the service writes it; then with spaces, as Python's json does.
    start = frame.find(_DELTA_KEY, 0, _LONGEST_HEAD) + len(_DELTA_KEY)
    if start < len(_DELTA_KEY):
        start = frame.find(_SPACED_DELTA_KEY, 0, _LONGEST_HEAD) + len(_SPACED_DELTA_KEY)
        if start < len(_SPACED_DELTA_KEY):
            return None
    if not frame.endswith(b'"}'):
        return None
    try:
        # Fails at a quote: a frame with fields behind the delta goes the plain way.
        pcm = pybase64.b64decode(memoryview(frame)[start:-2], validate=True)
        data = _decode_json(frame[:start] + b'"}')
    except (binascii.Error, ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None
    if not isinstance(data, dict) or data.get("delta") != "":
        return None
    wire_type = data.get("type")  # a second "type" in the frame wins over the one that it begins with
    kind = GA_NAME.get(wire_type, wire_type) if isinstance(wire_type, str) else ""
    if kind not in AUDIO_DELTAS:
        return None
    return Event(kind, data, at_ms, "server", pcm, len(pcm))


def encode(event: Mapping[str, Any]) -> bytes:
    """Encode a client event as the UTF-8 JSON of one text frame."""
    return _encode_json(event)


def encode_append(pcm: bytes, event_id: str) -> bytes:
    """Encode an `input_audio_buffer.append` with these bytes; their base64 is written once, past the JSON encoder."""
    quoted_id, audio = _encode_json(event_id), pybase64.b64encode(pcm)
    return b'{"type":"input_audio_buffer.append","event_id":%b,"audio":"%b"}' % (quoted_id, audio)


def _head(frame: bytes) -> str:
    return frame[:80].decode("utf-8", "replace")
