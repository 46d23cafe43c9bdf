"""Whose event an object is, what its wrappers say of it, and what can still be told of one that was cut.

An object is an event if its ``type`` is one of the API's names, of either dialect, or begins like one; who sent it follows from
that name. Of a text that was cut, or shortened in the middle, at most the type and the ids that are whole count (`remains`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ..wire.dialect import CLIENT_EVENTS, GA_NAME
from . import times, values
from .times import Instant

Direction = Literal["server", "client"]


@dataclass(slots=True)
class LogRecord:
    """One thing that a log holds.

    Attributes:
        kind: ``event``; ``partial`` (of an event that was cut or shortened, what could be read); of the kit's own logs also
            ``header``, ``end``, ``raw`` (a frame that was no event) and ``withheld``; ``live`` (an event of a GPT-Live session).
        data: The event as it is in the log; of a partial one ``type`` and ids, where they could be read; the header's or end's
            fields.
        direction: Who sent it.
        at: When, if the log says so.
        key: Which session it belongs to, where the log itself says so.
        n_line: From 1.
        n_audio_bytes: How much audio it had, where the log says so and left the audio out.
        hidden: Paths of fields that the program did not print, such as ``response.output``.
    """

    kind: Literal["event", "partial", "header", "end", "raw", "withheld", "live"]
    data: dict[str, Any]
    direction: Direction = "server"
    at: Instant | None = None
    key: str | None = None
    n_line: int = 0
    n_audio_bytes: int | None = None
    hidden: frozenset[str] = frozenset()


class Origin(NamedTuple):
    """What is known of a value from what stands round it."""

    at: Instant | None = None
    key: str | None = None
    direction: str | None = None
    n_line: int = 0
    hidden: frozenset[str] = frozenset()

    def record(
        self, kind: Any, data: dict[str, Any], direction: Direction = "server", at: Instant | None = None
    ) -> LogRecord:
        return LogRecord(kind, data, direction, self.at or at, self.key, self.n_line, hidden=self.hidden)


# ------------------------------------------------------------------------------------------------------ by an object's type

# What clients send and `CLIENT_EVENTS` leaves out: transcription and WebRTC, and the beta's early commit of an item.
CLIENT_NAMES = frozenset(CLIENT_EVENTS) | {
    "transcription_session.update", "output_audio_buffer.clear", "conversation.item.commit",
}  # fmt: skip
_LIKE_AN_EVENT = re.compile(  # the API grows: a new event of a known family is one too
    r"(?:session|conversation|input_audio_buffer|output_audio_buffer|response|rate_limits|transcription_session|mcp_list_tools)"
    r"(?:\.[a-z0-9_]{1,60}){1,4}\Z"
)
_PAYLOADS = frozenset({"event", "data", "payload", "message", "body", "raw"})
ENDED = ("completed", "cancelled", "failed", "incomplete")

EVENT_NAMES = frozenset(GA_NAME) - {"error"} | CLIENT_NAMES
MENTION = re.compile(
    r"(?<![\w./-])(?:" + "|".join(sorted(map(re.escape, EVENT_NAMES), key=len, reverse=True)) + r")(?![\w/-]|\.\w)"
)
"""An event's name in a text, whole: ``received response.done``."""


def is_event(value: object) -> bool:
    """Whether an object is an event of the Realtime API, of either dialect, or begins like one."""
    if not isinstance(value, dict):
        return False
    kind = value.get("type")
    if not isinstance(kind, str):
        return False
    if kind == "error":
        return isinstance(value.get("error"), dict)
    if kind not in GA_NAME and kind not in CLIENT_NAMES and not _LIKE_AN_EVENT.match(kind):
        return False
    if _PAYLOADS.isdisjoint(value):
        return True
    # A wrapper may repeat the type of what it wraps.
    return not any(isinstance(inner := value.get(n), dict) and inner.get("type") == kind for n in _PAYLOADS)


def is_foreign(event: Mapping[str, Any]) -> bool:
    """Whether an event of that name is one of the Responses API's stream: it counts its events, and its object is a ``response``."""
    if "sequence_number" in event:
        return True
    response = event.get("response")
    return isinstance(response, dict) and response.get("object") == "response"


def ids(event: Mapping[str, Any]) -> list[str]:
    """The ids of responses and items in an event, by which it can be told to belong to what came before."""
    inner = [event.get("response"), event.get("item")]
    names = [event.get("response_id"), event.get("item_id"), event.get("previous_item_id")]
    names += [part.get("id") for part in inner if isinstance(part, dict)]
    return [name for name in names if isinstance(name, str) and name != "root"]


def sender(event_type: str, direction: str | None = None) -> Direction:
    """Who sends events of a type. What the log says counts only where the name does not tell."""
    if event_type in CLIENT_NAMES or (direction == "client" and event_type not in GA_NAME):
        return "client"
    return "server"


def own_record(fields: dict[str, Any], n_line: int) -> LogRecord | None:
    """Read a line of the kit's own log that is no event: its header, its end, a frame that was no event or was withheld."""
    key = str(fields["log"])
    at = times.of_fields({"at_ms": fields.get("at_ms")})
    if "format" in fields and "opened_at" in fields:
        return LogRecord("header", fields, key=key, n_line=n_line)
    if isinstance(fields.get("end"), dict):
        return LogRecord("end", fields["end"], at=at, key=key, n_line=n_line)
    direction: Direction = "client" if fields.get("dir") == "client" else "server"
    for kind in ("raw", "withheld"):
        if isinstance(fields.get(kind), str):
            return LogRecord("raw" if kind == "raw" else "withheld", {kind: fields[kind]}, direction, at, key, n_line)
    return None


# ------------------------------------------------------------------------------------------------------- by what wraps it

_SESSION_FIELDS = frozenset(
    {"sessionid", "session", "callid", "call", "callsid", "connectionid", "conversationid", "room", "roomid", "log", "streamsid",
     "traceid"}
)  # fmt: skip
_NAME_OF_ONE = re.compile(r"[\w.:@/+=-]{1,100}\Z")
_SESSION_ID = re.compile(r"\bsess_\w+")
_SESSION_IN_TEXT = re.compile(
    r"\b(?:session|call|conversation|connection|room)_?(?:id|sid)[=:] ?[\"']?([\w.:@/+-]{1,100})", re.IGNORECASE
)
_DIRECTIONS = {
    "server": "server", "recv": "server", "receive": "server", "received": "server", "in": "server", "incoming": "server",
    "inbound": "server", "rx": "server", "<": "server", "<<<": "server", "client": "client", "send": "client", "sent": "client",
    "out": "client", "outgoing": "client", "outbound": "client", "tx": "client", ">": "client", ">>>": "client",
}  # fmt: skip
# Where a logger puts the text of its line, in the order in which they are looked for: Docker, journald, loggers, GCP.
_TEXT_FIELDS = ("log", "MESSAGE", "message", "msg", "@message", "line", "text", "textPayload", "body", "event")
_ALL_TEXT_FIELDS = frozenset(_TEXT_FIELDS)
_WITH_TEXT = frozenset({"_source", "attributes", "content", "jsonPayload"})


def direction_of(fields: Mapping[str, Any]) -> str | None:
    """Who sent what these fields stand round: ``{"dir": "recv", "event": …}``."""
    for name in ("dir", "direction", "source", "sender", "from", "type"):
        word = fields.get(name)
        if isinstance(word, str) and word.lower() in _DIRECTIONS:
            return _DIRECTIONS[word.lower()]
    return None


def session_key(fields: Mapping[str, Any]) -> str | None:
    """Which session these fields name: ``{"call_sid": "CA12", "message": …}``."""
    for name, value in fields.items():
        if not isinstance(value, str | int) or isinstance(value, bool):
            continue
        word = str(name)[:60].lower().replace("_", "").replace("-", "")
        if word == "callid" and "arguments" in fields:
            continue  # a function call's, in what is left of an item
        if word in _SESSION_FIELDS:
            is_name = isinstance(value, str) or abs(value) < 1e18  # longer numbers are slow to spell
            return str(value) if is_name and _NAME_OF_ONE.match(str(value)) else None
    return None


def session_key_in(text: str) -> str | None:
    """Which session a line of text names beside its events: ``[room_id=17] recv {…}``."""
    # A function call has a call_id, too.
    match = _SESSION_IN_TEXT.search(text)
    if match is not None and not (match[0][:4].lower() == "call" and "arguments" in text):
        return match[1]
    session = _SESSION_ID.search(text)
    return session[0] if session else None


def text_field(fields: Mapping[str, Any]) -> str | None:
    """The line of text that a logger wrapped in JSON, if it did; also one level down, where exports have it (``_source.message``)."""
    if not _WITH_TEXT.isdisjoint(fields):
        fields = next((inner for name in _WITH_TEXT if isinstance(inner := fields.get(name), dict)), fields)
    for name in _TEXT_FIELDS if not _ALL_TEXT_FIELDS.isdisjoint(fields) else ():
        text = fields.get(name)
        if isinstance(text, list) and text and all(isinstance(code, int) and 0 <= code < 256 for code in text):
            return bytes(text).decode("utf-8", "replace")  # journald writes what is not plain text as numbers
        if isinstance(text, str):
            return text
    return None


# ----------------------------------------------------------------------------------------------------- what a cut line still says

_MARK = r"[\"'\\]{0,5}"  # the quote of a name or a value, escaped or not
_COLON = rf"{_MARK}[ \t]*(?:[:=]|=>)[ \t]*"
_IS = rf"{_COLON}{_MARK}"
_END = r"(?=[\"'\\,;\s)}\]])"  # a value that is not followed by one of these may be cut
_ID_END = r"(?=[\"',;)}\]]|\\(?!u2026))"  # not a space: a line may have been cut there
_FAMILY = r"(?:session|conversation|(?:in|out)put_audio_buffer|response|rate_limits)"
_GAP = rf"[ \t]*[\[(<]?(?:{values.ELISION.pattern})[\])>.]*[ \t]*"
_TYPE_IS = rf"(?:\btype(?:{_IS}|{_MARK}{_GAP}[:=]?\s*{_MARK})|{_GAP}(?:typ|yp|p)?e?{_IS})"  # also where the mark of an elision stands
_TYPE = re.compile(rf"{_TYPE_IS}({_FAMILY}(?:\.[a-z_]+)+|error){_END}")
_QUOTED_NAME = re.compile(rf"[\"']{MENTION.pattern}[\"'\\]")  # of which the field was lost
_BEGUN_TYPE = re.compile(rf"\btype{_IS}{_FAMILY}\.")
EVENT_BEGINS = re.compile(rf"[{{(]\s*{_MARK}type{_IS}{_FAMILY}[.…]")
"""Where an event begins in a text, whole or not."""
_IN_RESPONSE = rf"\bresponse{_COLON}\w*[{{(][^{{}}()\[\]…]*?"
# Of an event: field → where it stands. An id within another object is not its own.
_PARTS = {
    "response_id": re.compile(rf"(?<![A-Za-z0-9_])response_id{_IS}([A-Za-z0-9_-]{{1,128}}){_ID_END}"),
    "item_id": re.compile(rf"(?<![A-Za-z0-9_])item_id{_IS}([A-Za-z0-9_-]{{1,128}}){_ID_END}"),
    "part": re.compile(rf"\bpart{_COLON}\w*[{{(]\s*{_MARK}type{_IS}([a-z_]+){_END}"),
}
_ID_OF_RESPONSE = re.compile(rf"{_IN_RESPONSE}(?<![A-Za-z0-9_])id{_IS}([A-Za-z0-9_-]{{1,128}}){_ID_END}")
_STATUS = re.compile(rf"{_IN_RESPONSE}\bstatus{_IS}([a-z_]+){_END}")
_FOREIGN = re.compile(rf"\bsequence_number{_MARK}\s*[:=]|\bobject{_IS}response{_END}")
FIELD = re.compile(rf"\b(?:type|event_id|response_id|item_id|(?:output|content)_index){_COLON}")
"""A field that events have."""


def remains(text: str) -> dict[str, Any]:
    """The type and the ids that are whole in a text that is no whole event. Whatever holds an elision is not."""
    text = text[:20_000]
    if (kind := _TYPE.search(text)) is None:
        return {}
    data: dict[str, Any] = {"type": kind[1]}
    data |= {name: match[1] for name, pattern in _PARTS.items() if (match := pattern.search(text))}
    if "response_id" not in data and (match := _ID_OF_RESPONSE.search(text)) and "..." not in match[0]:
        data["response_id"] = match[1]
    if kind[1] == "response.done" and (match := _STATUS.search(text)) and "..." not in match[0] and match[1] in ENDED:
        data["status"] = match[1]
    if _FOREIGN.search(text):
        data["is_foreign"] = True
    return data


def split(text: str) -> Iterator[tuple[int, str]]:
    """The lines of each event in a text of several lines, with how many stand before them."""
    begin, n_before, has_type = 0, 0, False
    if text.count("\n") > 0:
        for line in re.finditer(r"[^\n]+", text):
            is_typed = _TYPE.search(line[0]) is not None
            if is_typed and has_type:
                yield n_before, text[begin : line.start()]
                n_before, begin = n_before + text.count("\n", begin, line.start()), line.start()
            has_type |= is_typed
    yield n_before, text[begin:]


def type_in(text: str) -> str | None:
    """The type of the event that stands in a text; ``""`` where one is begun that is not whole."""
    if (kind := _TYPE.search(text)) is not None:
        return kind[1]
    if _BEGUN_TYPE.search(text):
        return ""
    is_elided = values.ELISION.search(text) is not None
    is_piece = FIELD.search(text) is not None and (is_elided or is_cut(text))  # of which not even the type is left
    return "" if is_piece or (is_elided and _QUOTED_NAME.search(text)) else None


def before(text: str) -> str:
    """What stands before the event in a text: later ids are the event's own (``call_id='call_1'``)."""
    matches = (values.BEGINS.search(text), _TYPE.search(text))
    return text[: min((match.start() for match in matches if match is not None), default=len(text))]


def is_cut(text: str) -> bool:
    """Whether an object begins in a text and does not end."""
    at = text.find("{")
    try:
        return at >= 0 and values.Scan().feed(text, at) is None
    except ValueError:
        return False
