"""Objects to frames: the events in a JSON value, bare or wrapped, and what the wrappers say of when, who and where."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..wire.dialect import CLIENT_EVENTS, GA_NAME
from . import clocks
from .clocks import Instant
from .files import Reading
from .literals import Incomplete
from .printed import printed

_MAX_NODES = 20_000  # of one JSON value that is looked through for events
_CLIENT = frozenset(CLIENT_EVENTS) | {
    "transcription_session.update",
    "output_audio_buffer.clear",
    "conversation.item.commit",
}
_LIKE_ONE = re.compile(
    r"(?:session|conversation|input_audio_buffer|output_audio_buffer|response|rate_limits|transcription_session|mcp_list_tools)"
    r"(?:\.[a-z0-9_]{1,60}){1,4}\Z"
)
HINT = re.compile(
    r"type['\"]?\s*[:=]\s*['\"](?:error|(?:session|conversation|(?:in|out)put_audio_buffer|response|rate_limits)\.[a-z_.]+)['\"]"
)
_NAME_OF_ONE = re.compile(r"[\w.:@/+=-]{1,100}\Z")
_SESSION_FIELDS = frozenset(
    {
        "sessionid",
        "session",
        "callid",
        "callsid",
        "connectionid",
        "conversationid",
        "room",
        "roomid",
        "log",
        "streamsid",
        "traceid",
    }
)
_PAYLOADS = ("event", "data", "payload", "message", "body", "raw")


@dataclass(slots=True)
class Frame:
    """One thing that a log tells.

    Attributes:
        kind: ``event``; of the kit's own logs also ``header``, ``end``, ``raw`` (a frame that was no event) and ``withheld``.
        data: The event as it is in the log, or the header's or end's fields.
        direction: Who sent it.
        at: When, if the log says so.
        key: Which session it belongs to, where the log itself says so.
        n_line: From 1.
        n_audio_bytes: How much audio it had, where the log says so and left the audio out.
    """

    kind: Literal["event", "header", "end", "raw", "withheld"]
    data: dict[str, Any]
    direction: Literal["server", "client"] = "server"
    at: Instant | None = None
    key: str | None = None
    n_line: int = 0
    n_audio_bytes: int | None = None


def is_event(value: object) -> bool:
    """Whether an object is an event of the API, of either dialect."""
    if not isinstance(value, dict):
        return False
    kind = value.get("type")
    if not isinstance(kind, str):
        return False
    if kind == "error":
        return isinstance(value.get("error"), dict)
    if kind not in GA_NAME and kind not in _CLIENT and not _LIKE_ONE.match(kind):
        return False
    # A wrapper may repeat the type of what it wraps.
    return not any(isinstance(inner := value.get(name), dict) and inner.get("type") == kind for name in _PAYLOADS)


def frames_in(
    value: Any, reading: Reading, n_line: int, at: Instant | None = None, key: str | None = None
) -> Iterator[Frame]:
    """The frames in one JSON value: itself, or whatever it wraps."""
    if isinstance(value, dict) and isinstance(value.get("log"), str):
        own = _own(value, n_line)
        if own is not None:
            yield own
            return
    budget = [_MAX_NODES if not isinstance(value, list) else 50 * _MAX_NODES]
    for frame in _walk(value, at, key, None, 0, budget):
        frame.n_line = n_line
        reading.n_events += 1
        yield frame
    if budget[0] <= 0:
        reading.notes["an object has too many parts to be looked through"] += 1


def _own(value: dict[str, Any], n_line: int) -> Frame | None:
    """A line of the kit's own that is no event."""
    key = str(value["log"])
    at_ms = value.get("at_ms")
    at = Instant(float(at_ms), "atms") if isinstance(at_ms, int | float) else None
    direction: Literal["server", "client"] = "client" if value.get("dir") == "client" else "server"
    if "format" in value and "opened_at" in value:
        return Frame("header", value, key=key, n_line=n_line)
    if isinstance(value.get("end"), dict):
        return Frame("end", value["end"], at=at, key=key, n_line=n_line)
    for kind in ("raw", "withheld"):
        if isinstance(value.get(kind), str):
            return Frame("raw" if kind == "raw" else "withheld", {kind: value[kind]}, direction, at, key, n_line)
    return None


def _walk(
    value: Any, at: Instant | None, key: str | None, direction: str | None, depth: int, budget: list[int]
) -> Iterator[Frame]:
    budget[0] -= 1
    if depth > 10 or budget[0] <= 0:
        return
    if isinstance(value, dict):
        if is_event(value):
            inside = clocks.of_fields(value, inside_event=True)
            yield Frame("event", value, _sender(value, direction), at or inside, key)
            return
        at = clocks.of_fields(value) or at
        direction = _direction(value) or direction
        key = _session_key(value) or key
        n_bytes = value.get("n_audio_bytes")
        if isinstance(n_bytes, int) and isinstance(event := value.get("event"), dict) and is_event(event):
            yield Frame("event", event, _sender(event, direction), at, key, n_audio_bytes=n_bytes)
            return
        for each in value.values():
            yield from _walk(each, at, key, direction, depth + 1, budget)
    elif isinstance(value, list):
        for each in value:
            yield from _walk(each, at, key, direction, depth + 1, budget)
    elif (
        isinstance(value, str) and len(value) > 8 and (value.lstrip()[:1] in ("{", "[") or HINT.search(value, 0, 2_000))
    ):
        # JSON inside a string, or a line of text inside JSON
        with contextlib.suppress(Incomplete):
            for inner, instant, session in printed(value, holds_event):
                yield from _walk(inner, instant or at, session or key, direction, depth + 1, budget)


def holds_event(value: Any) -> bool:
    """Whether there is an event in a value, at any depth."""
    return any(True for _ in _walk(value, None, None, None, 0, [_MAX_NODES]))


def _sender(event: Mapping[str, Any], told: str | None) -> Literal["server", "client"]:
    kind = event["type"]
    if kind in _CLIENT:
        return "client"
    return "client" if told == "client" and kind not in GA_NAME else "server"


_SAYS = {
    "server": "server", "recv": "server", "receive": "server", "received": "server", "in": "server", "incoming": "server",
    "inbound": "server", "rx": "server", "<": "server", "<<<": "server", "client": "client", "send": "client", "sent": "client",
    "out": "client", "outgoing": "client", "outbound": "client", "tx": "client", ">": "client", ">>>": "client",
}  # fmt: skip


def _direction(fields: Mapping[str, Any]) -> str | None:
    for name in ("dir", "direction", "source", "sender", "from", "type"):
        word = fields.get(name)
        if isinstance(word, str) and word.lower() in _SAYS:
            return _SAYS[word.lower()]
    return None


def _session_key(fields: Mapping[str, Any]) -> str | None:
    for name, value in fields.items():
        if (
            isinstance(value, str | int)
            and not isinstance(value, bool)
            and str(name).lower().replace("_", "").replace("-", "") in _SESSION_FIELDS
        ):
            return str(value) if _NAME_OF_ONE.match(str(value)) else None
    return None
