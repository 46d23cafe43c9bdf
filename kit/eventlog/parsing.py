"""From lines to records: the events in anybody's log, one after the other.

::

    a file ──┬─ one JSON value (arrays, HAR, notebooks) ──────────────┐
             ├─ YAML, CSV ───────────────────────────────────────────┤
             └─ lines ─┬─ JSON ──────────────────────────────────────┤→ values → `_walk` → `LogRecord`
                       └─ text, joined where an object spans lines ──┘

An object is an event if its ``type`` is one of the API's names, of either dialect, or begins like one; who sent it follows from
that name. What cannot be read is never guessed: of a line that was cut, or shortened in the middle, at most its type and its ids
count (`partial`), and the line is counted as not understood with a reason (`ParseReport`).
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from ..errors import InputError
from ..wire.dialect import CLIENT_EVENTS, GA_NAME
from . import advice, times, values
from .lines import (
    HEAD_BYTES,
    ParseReport,
    SplitLines,
    lines,
    n_parts_of,
    open_log,
    split_prefix,
    without_colours,
)
from .times import Instant

MAX_WHOLE_BYTES, MAX_WHOLE_PARTS = (
    64 * 1024 * 1024,
    8_000_000,
)  # of a file that is one JSON value, and must be read whole
MAX_YAML_BYTES = 16 * 1024 * 1024  # of one YAML document
_MAX_NODES = 20_000  # of one value that is looked through for events
_MAX_NESTING = 10  # wrappers round an event, strings of JSON among them
_MAX_MENTIONS = 100_000  # of events by name alone

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


# -------------------------------------------------------------------------------------------------- whose event an object is

_CLIENT = frozenset(CLIENT_EVENTS) | {
    "transcription_session.update", "output_audio_buffer.clear", "conversation.item.commit",
}  # fmt: skip
_LIKE_AN_EVENT = re.compile(
    r"(?:session|conversation|input_audio_buffer|output_audio_buffer|response|rate_limits|transcription_session|mcp_list_tools)"
    r"(?:\.[a-z0-9_]{1,60}){1,4}\Z"
)
# Names that GPT-Live has and Realtime has not. (`session.updated`, `response.create` and `error` are in both.)
_LIVE = re.compile(
    r"session\.(?:start|started|closed|usage\.updated|delegation\.created|input_audio\.(?:append|mute|unmute|muted|unmuted)"
    r"|output_audio\.(?:delta|fixture\.\w+)|(?:input|output)_transcript\.delta|(?:instructions|thinking|commentary)\.append(?:ed)?)\Z"
    r"|response\.event\Z|response\.item\.create\Z|decision\.\w+(?:\.\w+)?\Z"
)
_PAYLOADS = ("event", "data", "payload", "message", "body", "raw")
_ENDED = ("completed", "cancelled", "failed", "incomplete")

EVENT_NAMES = frozenset(GA_NAME) - {"error"} | _CLIENT
_MENTION = re.compile(
    r"(?<![\w./-])(?:" + "|".join(sorted(map(re.escape, EVENT_NAMES), key=len, reverse=True)) + r")(?![\w/-]|\.\w)"
)
"""An event's name in a text, whole."""


def is_event(value: object) -> bool:
    """Whether an object is an event of the Realtime API, of either dialect, or begins like one."""
    if not isinstance(value, dict):
        return False
    kind = value.get("type")
    if not isinstance(kind, str):
        return False
    if kind == "error":
        return isinstance(value.get("error"), dict)
    if kind not in GA_NAME and kind not in _CLIENT and not _LIKE_AN_EVENT.match(kind):
        return False
    # A wrapper may repeat the type of what it wraps.
    return not any(isinstance(inner := value.get(name), dict) and inner.get("type") == kind for name in _PAYLOADS)


def is_foreign(event: Mapping[str, Any]) -> bool:
    """Whether an event of that name is one of the Responses API's stream: it counts its events, and its object is a ``response``."""
    if "sequence_number" in event:
        return True
    response = event.get("response")
    return isinstance(response, dict) and response.get("object") == "response"


def _sender(event: Mapping[str, Any], direction: str | None) -> Direction:
    kind = event["type"]
    if kind in _CLIENT:
        return "client"
    return "client" if direction == "client" and kind not in GA_NAME else "server"


# ------------------------------------------------------------------------------------------------- what wrappers say of an event

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
# Where a logger puts the text of its line, in the order in which they are looked for.
_TEXT_FIELDS = ("log", "MESSAGE", "message", "msg", "@message", "line", "text", "textPayload", "body", "event")


def _direction(fields: Mapping[str, Any]) -> str | None:
    for name in ("dir", "direction", "source", "sender", "from", "type"):
        word = fields.get(name)
        if isinstance(word, str) and word.lower() in _DIRECTIONS:
            return _DIRECTIONS[word.lower()]
    return None


def _session_key(fields: Mapping[str, Any]) -> str | None:
    for name, value in fields.items():
        if not isinstance(value, str | int) or isinstance(value, bool):
            continue
        if str(name)[:60].lower().replace("_", "").replace("-", "") in _SESSION_FIELDS:
            is_name = isinstance(value, str) or abs(value) < 1e18  # longer numbers are slow to spell
            return str(value) if is_name and _NAME_OF_ONE.match(str(value)) else None
    return None


def _text_field(fields: Mapping[str, Any]) -> str | None:
    """The line of text that a logger wrapped in JSON, if it did."""
    for name in _TEXT_FIELDS:
        text = fields.get(name)
        if isinstance(text, list) and text and all(isinstance(code, int) and 0 <= code < 256 for code in text):
            return bytes(text).decode("utf-8", "replace")  # journald writes what is not plain text as numbers
        if isinstance(text, str):
            return text
    return None


# ------------------------------------------------------------------------------------------------------------- the reader


def records(path: Path, report: ParseReport) -> Iterator[LogRecord]:
    """Every record of a log, in its order. The file is read as it goes: a line at a time, unless it is one value.

    Raises:
        InputError: If it cannot be read, is no log at all, or holds more than any log does.
    """
    reader = _Reader(report)
    for name, stream in open_log(path):
        yield from reader.stream(stream, name)
    yield from reader.end()


def records_of(stored: Iterable[bytes], report: ParseReport) -> Iterator[LogRecord]:
    """Every record in lines of JSON that are in memory."""
    reader = _Reader(report)
    for n_line, line in enumerate(stored, 1):
        report.n_lines += 1
        yield from reader.line(line, n_line)
    yield from reader.end()


_ONE_VALUE = re.compile(rb'(?:\xef\xbb\xbf)?\s*(?:\[\s*(?:[\[{"\]]|\Z|\n)|\{\s*\n)')  # not "[12:00:01] a line of text"
# There is one way only through blank lines: with two, a file of them would take exponential time.
_YAML = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:[ \t\r]*\n|[#%][^\n]*\n)*(?:---\s|- [\w\"']+:\s|[\w-]+:[ \t]*\n\s*- |[\w-]+: [^\n{]*\n[\w-]+:)"
)
_CSV = re.compile(rb'[,;\t|]"[^"\n]*\{(?:[^"\n]|"")*""')
_ROW = re.compile(r'(?:^|[,;\t|])"(?!")[^"\n]*\{\s*""')  # in a cell each quote is doubled, so this is where one begins
_TIME_OF_CELLS = re.compile(r"time|date|stamp|^ts$|_at$", re.IGNORECASE)


class _Reader:
    """One log on its way from lines to records."""

    def __init__(self, report: ParseReport) -> None:
        self.report = report
        self._split = SplitLines()
        self._wrapped: dict[Any, list[str]] = {}  # text of JSON lines that goes on in the next: Docker cuts at 16 kB
        self._group: _Group | None = None  # an object that goes on in the next lines
        self._group_work = 0  # characters read again because a group came to nothing
        self._n_chars = 0
        self._mentions: list[tuple[str, Origin]] = []  # of events by name alone
        self._n_seen: Counter[str] = Counter()  # events by type, partial ones too
        self._foreign_ids: set[str] = set()  # of responses and items of another API
        self._n_live = 0
        self._text_of_live: set[str] = set()
        self._inner: str | None = (
            None  # the text that a logger wrapped in JSON: an object in it may go on in the next line
        )

    # ---------------------------------------------------------------------------------------------------------- kinds of file

    def stream(self, stream: Any, name: str) -> Iterator[LogRecord]:
        """The records of one file, or one member of a zip."""
        try:
            head = stream.peek(HEAD_BYTES)[:HEAD_BYTES]
        except (OSError, EOFError, ValueError):
            head = b""
        rest = lines(stream, name, self.report)
        suffix = name.lower().rpartition(".")[2].removesuffix(".gz")
        if _ONE_VALUE.match(head):
            yield from self._whole(rest, name)
        elif suffix in ("yaml", "yml") or (
            _YAML.match(head) and b"type:" in head and not head.lstrip().startswith((b"{", b"["))
        ):
            yield from self._yaml(rest, name)
        elif suffix in ("csv", "tsv") or _CSV.search(head):
            yield from self._csv(rest, head)
        else:
            yield from self._lines(rest)

    def _lines(self, lines: Iterable[bytes]) -> Iterator[LogRecord]:
        line = b""
        for n_line, line in enumerate(lines, 1):
            yield from self.line(line.removeprefix(b"\xef\xbb\xbf") if n_line == 1 else line, n_line)
        is_open = self._group is not None or _is_cut(line.decode("utf-8", "replace"))
        self.report.torn |= is_open and not line.endswith(b"\n")
        yield from self._flush()

    def _whole(self, lines: Iterator[bytes], name: str) -> Iterator[LogRecord]:
        """A file that is one JSON value; if it is not after all, its lines."""
        read: list[bytes] = []
        size = n_parts = 0
        for line in lines:
            read.append(line)
            size += len(line)
            n_parts += n_parts_of(line)
            if size > MAX_WHOLE_BYTES or n_parts > MAX_WHOLE_PARTS:
                raise InputError(
                    f"{name} is one JSON value of more than {MAX_WHOLE_BYTES // 2**20} MiB or {MAX_WHOLE_PARTS:,} parts; "
                    "make it lines: jq -c '.[]'"
                )
        try:
            value = _decode(b"".join(read).lstrip(b"\xef\xbb\xbf"))
        except (msgspec.DecodeError, ValueError, RecursionError):
            yield from self._lines(read)
            return
        n_records = 0
        for part in value if isinstance(value, list) else [value]:
            for record in self._of_value(part, Origin(n_line=1)):
                n_records += 1
                yield record
        self.report.n_other += not n_records
        yield from self._flush()

    def _yaml(self, lines: Iterator[bytes], name: str) -> Iterator[LogRecord]:
        """YAML, a document or a part of a list at a time; what is none is read as lines of text."""
        block: list[bytes] = []
        size, n_line = 0, 1
        for n, line in enumerate(lines, 1):
            if block and (line.startswith(b"---") or (line.startswith(b"- ") and block[0].startswith(b"- "))):
                yield from self._yaml_block(block, n_line)
                block, size, n_line = [], 0, n
            if not (line.startswith(b"---") and not line[3:].strip()) and not line.startswith((b"%", b"...")):
                block.append(line)
                size += len(line)
            if size > MAX_YAML_BYTES:
                raise InputError(
                    f"{name} has a YAML document of more than {MAX_YAML_BYTES // 2**20} MiB; make it JSON lines"
                )
        yield from self._yaml_block(block, n_line)
        yield from self._flush()

    def _yaml_block(self, block: list[bytes], n_line: int) -> Iterator[LogRecord]:
        if not block:
            return
        try:
            value = _load_yaml(b"".join(block).decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            for n, line in enumerate(block, n_line):
                yield from self.line(line, n)
            return
        found = list(self._of_value(value, Origin(n_line=n_line)))
        text = b"".join(block).decode("utf-8", "replace")
        if not found and values.HINT.search(text):
            found = list(self._lost("YAML in which no event could be read", text, Origin(n_line=n_line)))
        self.report.n_other += not found
        yield from found

    def _csv(self, lines: Iterator[bytes], head: bytes) -> Iterator[LogRecord]:
        """A table: a row is an object of its cells, by the names in the first row."""
        marks = Counter({mark: head.split(b"\n", 1)[0].count(mark.encode()) for mark in ",;\t|"})
        delimiter = marks.most_common(1)[0][0] if marks.total() else ","
        names: list[str] | None = None
        for n_line, text in _csv_lines(lines):
            try:
                csv.field_size_limit(64 * 1024 * 1024)
                row = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
            except csv.Error:
                row = []
            if names is None and row and not any("{" in cell for cell in row):
                names = row
                continue
            cells: Any = dict(zip(names, row, strict=False)) if names and len(row) == len(names) else row
            found = list(self._of_value(cells, Origin(n_line=n_line)))
            if not found:
                for n, line in enumerate(text.splitlines(), n_line):
                    found += self._text(line, Origin(n_line=n))
            yield from found
        yield from self._flush()

    # ------------------------------------------------------------------------------------------------------------------ lines

    def line(self, line: bytes, n_line: int) -> Iterator[LogRecord]:
        """The records in one line, or in the lines that it completes."""
        bare = line.strip()
        if not bare:
            return
        if bare.startswith((b"{", b"[")):
            value = _json_or_none(bare)
            if isinstance(value, dict):
                if b"..." in bare or "…".encode() in bare:
                    text = bare.decode("utf-8", "replace")
                    if values.HINT.search(text) and values.is_elided(value, text, 0, len(text)):
                        yield from self._give_up()
                        yield from self._lost("shortened in the middle", text, Origin(n_line=n_line))
                        return
                inner = self._inner = _text_field(value)
                found = list(self._of_value(value, Origin(n_line=n_line)))
                if found:
                    yield from self._give_up()  # of what was begun before: another record begins
                    yield from found
                    return
                if inner is not None and (self._group is not None or self._begins_in(inner) or self._wrapped):
                    yield from self._wrapped_text(value, inner, n_line)
                    return
                if self._group is None:
                    words = (
                        inner
                        if inner is not None and _FIELD_OF_EVENT.search(inner)
                        else bare.decode("utf-8", "replace")
                    )
                    yield from self._without_event(words, Origin(n_line=n_line))
                    return
            elif value is not None and self._group is None:
                yield from self._found_or_other(value, bare, n_line)
                return
        whole = self._split.whole(line.decode("utf-8", "replace").rstrip("\r\n"))
        if whole is not None:
            yield from self._text(whole, Origin(n_line=n_line))

    def _found_or_other(self, value: Any, bare: bytes, n_line: int) -> Iterator[LogRecord]:
        found = list(self._of_value(value, Origin(n_line=n_line)))
        yield from found
        if not found:
            yield from self._without_event(bare.decode("utf-8", "replace"), Origin(n_line=n_line))

    def _begins_in(self, text: str) -> bool:
        """Whether a logger's text needs the reader of lines: an object begins in it, or it speaks of an event."""
        return (
            text.rstrip().endswith(("{", "[", "(", ",")) or values.HINT.search(text) is not None or "\n" in text.strip()
        )

    def _wrapped_text(self, fields: dict[str, Any], text: str, n_line: int) -> Iterator[LogRecord]:
        """A line of text that a logger or a container wrapped in JSON, or a piece of one."""
        stream = fields.get("stream")
        if "log" in fields and isinstance(stream, str):  # Docker's json-file: a piece without \n goes on
            pieces = self._wrapped.setdefault(stream, [])
            pieces.append(text)
            if not text.endswith("\n") and sum(map(len, pieces)) < MAX_WHOLE_BYTES:
                return
            text = "".join(self._wrapped.pop(stream))
        origin = Origin(times.of_fields(fields), _session_key({**fields, "log": None}), _direction(fields), n_line)
        for part in text.splitlines():
            whole = self._split.whole(part)
            if whole is not None:
                yield from self._text(whole, origin)

    def _text(self, text: str, origin: Origin) -> Iterator[LogRecord]:
        """The records in a line of text. Lines whose group came to nothing are read again, each by itself."""
        self._n_chars += len(text)
        waiting = deque([(without_colours(text), origin)])
        while waiting:
            line, where = waiting.popleft()
            group = self._group
            if group is None:
                yield from self._one_line(line, where)
                continue
            end = group.add(line, where)
            if end == "open":
                continue
            self._group = None
            if end == "complete" and (found := self._of_group(group)) is not None:
                yield from found
                continue
            # It never was one object: its first line tells what it can, the others are read for themselves.
            first, *others = group.lines if end == "complete" else [*group.lines, (line, where)]
            self._group_work += sum(len(other) for other, _ in others)
            yield from self._without_event(first[0], first[1], reason="cut off")
            waiting.extendleft(reversed(others))

    def _one_line(self, line: str, origin: Origin) -> Iterator[LogRecord]:
        stripped = line.strip()
        if not stripped:
            return
        has_hint = values.HINT.search(line) is not None
        if not has_hint and not stripped.endswith(("{", "[", "(", ",")):
            yield from self._without_event(line, origin)
            return
        found: list[LogRecord] = []
        begins: int | None = None
        if has_hint:
            found, begins = self._of_text(line, origin)
            if found and begins is None:
                yield from found
                return
        yield from found
        group = _Group.beginning(line, begins, origin) if self._group_work <= 20 * self._n_chars + 1_000_000 else None
        if group is not None:
            self._group = group
        elif not found:
            yield from self._without_event(line, origin)

    def _of_group(self, group: _Group) -> list[LogRecord] | None:
        """The records of an object that was printed over several lines; ``None`` if the lines are no object."""
        is_elided = any(values.is_centred(line) for line, _ in group.lines)
        for text in group.texts():
            if values.HINT.search(text) is None:
                self.report.n_other += 1
                return []
            objects, _ = values.values_in(text) if is_elided or group.is_wrapped else ([], None)
            if any(is_elided or values.has_broken_name(value.data, _SPACE) for value in objects):
                return list(self._lost("shortened in the middle", text, group.origin))
            if found := self._of_text(text, group.origin)[0]:
                return found
        return None

    def _of_text(self, text: str, origin: Origin) -> tuple[list[LogRecord], int | None]:
        """The records of the objects in a text, and where one begins that does not end."""
        found: list[LogRecord] = []
        objects, unended = values.values_in(text)
        before: list[LogRecord] = []
        end_before, last_event = 0, -1
        key = origin.key or _key_in_text(
            f"{text[: objects[0].start][-300:]} {text[objects[-1].end :][:300]}" if objects else ""
        )
        for value in objects:
            between = text[end_before : value.start]
            prefix = text[: objects[0].start] if objects else ""
            where = Origin(
                origin.at or times.of_text(prefix) or times.of_text(between[-300:]),
                key,
                origin.direction,
                origin.n_line,
                value.hidden,
            )
            if value.is_elided:
                lost = list(self._lost("shortened in the middle", text[value.start : value.end], where))
                found += lost
                end_before = value.end
                continue
            records = list(self._of_value(value.data, where))
            # Printed twice in one line, in words and as data: it is one event. Side by side they are two.
            if records and between.strip(" ,;") and _same(records, before):
                records = []
            elif records:
                before = records
            found += records
            last_event = value.start if records else last_event
            end_before = value.end
        if unended is not None and unended < last_event:
            unended = None  # braces in the words before it
        return found, unended

    def _give_up(self) -> Iterator[LogRecord]:
        """The object that was begun never ended."""
        while (group := self._take_group()) is not None:
            first, *others = group.lines
            self._group_work += sum(len(other) for other, _ in others)
            yield from self._without_event(first[0], first[1], reason="cut off")
            for line, where in others:  # which may begin another
                yield from self._text(line, where)

    def _take_group(self) -> _Group | None:
        group, self._group = self._group, None
        return group

    def _flush(self) -> Iterator[LogRecord]:
        """A file ends."""
        for line in self._split.rest():
            yield from self._text(line, Origin())
        for pieces in self._wrapped.values():
            yield from self._text("".join(pieces), Origin())
        self._wrapped.clear()
        yield from self._give_up()

    def end(self) -> Iterator[LogRecord]:
        """The log ends: what is only known by name counts where nothing else is."""
        yield from self._flush()
        named = Counter(name for name, _ in self._mentions)
        unseen = Counter({name: n for name in named if (n := named[name] - self._n_seen[name]) > 0 or not self._n_seen})
        if not self._n_seen and not self.report.n_events:
            for name, origin in self._mentions:
                if name not in _CLIENT or name == "response.create":
                    self.report.n_partial += 1
                    yield LogRecord(
                        "partial", {"type": name}, _sender({"type": name}, None), origin.at, origin.key, origin.n_line
                    )
        if unseen.total():
            self.report.reasons["that only name an event"] += unseen.total()

    # --------------------------------------------------------------------------------------------------------- what is not read

    def _without_event(self, text: str, origin: Origin, *, reason: str | None = None) -> Iterator[LogRecord]:
        """A line in which no event could be read: one that is about something else, or one that is lost."""
        self._look_for_framework(text)
        if values.HINT.search(text) is None:
            if _may_be_of_event(text):
                yield from self._lost(reason or "cut off", text, origin)
            else:
                self.report.n_other += 1
            return
        if (kind := _TYPE.search(text)) is not None or _BEGUN_TYPE.search(text) is not None or _may_be_of_event(text):
            if kind is not None and _LIVE.match(kind[1]):
                self.report.n_live += 1
                yield LogRecord("live", {"type": kind[1]}, "server", origin.at, origin.key, origin.n_line)
            else:
                why = reason or (
                    "cut off"
                    if _is_cut(text)
                    else "shortened in the middle"
                    if values.ELISION.search(text)
                    else "in a notation that is not read"
                )
                yield from self._lost(why, text, origin)
            return
        names = _MENTION.findall(text)
        if not names:
            self.report.n_other += 1
            return
        if len(self._mentions) < _MAX_MENTIONS:
            at = origin.at or times.of_text(text)
            self._mentions += [(name, origin._replace(at=at)) for name in names[:3]]
            if len(self.report.samples) < 2:
                self.report.samples.append((origin.n_line, text.strip()[:100]))

    def _lost(self, reason: str, text: str, origin: Origin) -> Iterator[LogRecord]:
        """A line about an event that could not be read: what is whole in it, its type and its ids, still counts."""
        advice.look(text, self.report)
        self.report.lose(reason, origin.n_line, text)
        data = _partial(text)
        if "type" in data:
            self.report.n_partial += 1
            self._n_seen[data["type"]] += 1
        if data.pop("is_foreign", False) or data.get("response_id") in self._foreign_ids:
            self.report.n_foreign += 1
            return
        if data.get("type", "").startswith("session.") and _LIVE.match(data["type"]):
            self.report.n_live += 1
            return
        before = text[: begin.start()] if (begin := values.BEGINS.search(text)) else text
        at = origin.at or times.of_text(before)
        direction = _sender(data, None) if "type" in data else "server"
        yield LogRecord("partial", data, direction, at, origin.key or _key_in_text(before[-300:]), origin.n_line)

    def _look_for_framework(self, text: str) -> None:
        advice.look(text, self.report)

    # ------------------------------------------------------------------------------------------------------------------ values

    def _of_value(self, value: Any, origin: Origin) -> Iterator[LogRecord]:
        """The records in a value: itself, or whatever it wraps."""
        if isinstance(value, dict) and isinstance(value.get("log"), str):
            own = _own(value, origin.n_line)
            if own is not None:
                yield own
                return
        budget = [_MAX_NODES if not isinstance(value, list) else 50 * _MAX_NODES]
        yield from self._walk(value, origin, 0, budget)
        if budget[0] <= 0:
            self.report.notes["an object has too many parts to be looked through"] += 1

    def _walk(self, value: Any, origin: Origin, depth: int, budget: list[int]) -> Iterator[LogRecord]:
        budget[0] -= 1
        if depth > _MAX_NESTING or budget[0] <= 0:
            return
        if isinstance(value, dict):
            if is_event(value):
                yield from self._event(value, origin)
                return
            if value.get("object") == "realtime.response" and value.get("status") in _ENDED and "id" in value:
                yield from self._event({"type": "response.done", "response": value}, origin)
                return
            yield from self._wrapper(value, origin, depth, budget)
        elif isinstance(value, list):
            if value and all(isinstance(part, str) for part in value) and len(value) > 1 and _is_text(value):
                yield from self._walk("".join(value), origin, depth + 1, budget)  # a notebook's output, line by line
                return
            at = (
                times.of_text(value[0])
                if len(value) == 2 and isinstance(value[0], str) and len(value[0]) < 40
                else None
            )
            for part in value:
                yield from self._walk(part, origin._replace(at=at or origin.at), depth + 1, budget)
        elif isinstance(value, str) and len(value) > 8 and values.HINT.search(value):
            yield from self._string(value, origin)

    def _wrapper(self, fields: dict[str, Any], origin: Origin, depth: int, budget: list[int]) -> Iterator[LogRecord]:
        """The records in an object that is none itself."""
        origin = origin._replace(
            at=times.of_fields(fields) or origin.at,
            key=_session_key(fields) or origin.key,
            direction=_direction(fields) or origin.direction,
        )
        n_bytes = fields.get("n_audio_bytes")
        if isinstance(n_bytes, int) and isinstance(event := fields.get("event"), dict) and is_event(event):
            for record in self._event(event, origin):
                record.n_audio_bytes = n_bytes
                yield record
            return
        before: list[LogRecord] = []
        for field in fields.values():
            if not isinstance(field, dict | list | str):
                continue
            found = list(self._walk(field, origin, depth + 1, budget))
            if found and not _same(found, before):  # in words and as data: it is one event
                yield from found
                before = found

    def _string(self, text: str, origin: Origin) -> Iterator[LogRecord]:
        """The records in a string: JSON, a line of text, or several."""
        if text.lstrip()[:1] in "{[":
            value = _json_or_none(text.encode("utf-8", "surrogatepass"))
            if value is not None:
                if values.is_elided(value, text, 0, len(text)):
                    yield from self._lost("shortened in the middle", text, origin)
                else:
                    yield from self._of_value(value, origin)
                return
        if "\n" not in text.strip():
            found, unended = self._of_text(text, origin)
            if found or unended is None or _TYPE.search(text) is None or text is self._inner:
                yield from found
            else:
                yield from self._lost("cut off", text, origin)
            return
        inner = _Reader(self.report)
        inner._n_seen, inner._foreign_ids, inner._mentions = self._n_seen, self._foreign_ids, self._mentions
        for line in text.splitlines():
            yield from inner._text(line, origin)
        yield from inner._flush()

    def _event(self, event: dict[str, Any], origin: Origin) -> Iterator[LogRecord]:
        """An event, of whichever API."""
        kind = event["type"]
        if _LIVE.match(kind):
            self.report.n_live += 1
            yield LogRecord("live", event, "server", origin.at, origin.key, origin.n_line)
            return
        if self._is_foreign(event):
            self.report.n_foreign += 1
            return
        self.report.n_events += 1
        self._n_seen[kind] += 1
        at = origin.at or times.of_fields(event, inside_event=True)
        yield LogRecord(
            "event", event, _sender(event, origin.direction), at, origin.key, origin.n_line, hidden=origin.hidden
        )

    def _is_foreign(self, event: dict[str, Any]) -> bool:
        ids = [event.get("response_id"), event.get("item_id")]
        ids += [inner.get("id") for name in ("response", "item") if isinstance(inner := event.get(name), dict)]
        known = [name for name in ids if isinstance(name, str)]
        if is_foreign(event):
            if len(self._foreign_ids) < _MAX_MENTIONS:
                self._foreign_ids.update(known)
            return True
        return bool(self._foreign_ids) and "event_id" not in event and any(name in self._foreign_ids for name in known)


def _own(value: dict[str, Any], n_line: int) -> LogRecord | None:
    """A line of the kit's own that is no event."""
    key = str(value["log"])
    at = times.of_fields({"at_ms": value.get("at_ms")})
    direction: Direction = "client" if value.get("dir") == "client" else "server"
    if "format" in value and "opened_at" in value:
        return LogRecord("header", value, key=key, n_line=n_line)
    if isinstance(value.get("end"), dict):
        return LogRecord("end", value["end"], at=at, key=key, n_line=n_line)
    for kind in ("raw", "withheld"):
        if isinstance(value.get(kind), str):
            return LogRecord("raw" if kind == "raw" else "withheld", {kind: value[kind]}, direction, at, key, n_line)
    return None


def _same(found: list[LogRecord], before: list[LogRecord]) -> bool:
    return len(found) == len(before) and all(
        a.kind == b.kind and a.data == b.data for a, b in zip(found, before, strict=True)
    )


def _is_text(parts: list[str]) -> bool:
    return all(part.endswith("\n") for part in parts[:-1])


def _key_in_text(outside: str) -> str | None:
    """The session that a line of text names beside its events."""
    match = _SESSION_IN_TEXT.search(outside)
    if match is not None:
        return match[1]
    session = _SESSION_ID.search(outside)
    return session[0] if session else None


def _json_or_none(line: bytes) -> Any:
    try:
        return _decode(line)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


_decode = msgspec.json.Decoder().decode


# --------------------------------------------------------------------------------------------------- objects over several lines

_MAX_GROUP_LINES, _MAX_GROUP_CHARS = 5_000, 8 * 1024 * 1024
_OPENS = re.compile(r"[{(\[]\s*(?:[\"'\w$][^:=]{0,80}[:=]|[\"'][^\"']{0,80}$|[{(\[]|$)")
_GOES_ON = re.compile(
    r"\s*(?:[\"'`][^\"'`]*[\"'`]?\s*(?:[:,+)\]}]|=>|$)|[\w$.-]+\s*(?:[:=]|=>|,?$|[({])|[\]})]|[{(\[]|-?[\d.]+|\+|<|\.\.\.)"
)
_NEW_OBJECT = re.compile(r"\s*\{\s*[\"']?\w+[\"']?\s*[:=]")
_EVENT_BEGINS = re.compile(
    r"[{(]\s*[\"'\\]{0,5}type[\"'\\]{0,5}\s*(?:[:=]|=>)\s*[\"'\\]{0,5}(?:session|conversation|response|(?:in|out)put_audio_buffer|rate_limits)[.…]"
)
_SPACE = re.compile(r"\s")
_WRAP_CHARS = 40  # no terminal is narrower


class _Group:
    """Lines that together are one object, while its end has not come."""

    def __init__(self, line: str, at: int, origin: Origin) -> None:
        self.origin = origin
        self.lines: list[tuple[str, Origin]] = [(line, origin)]
        self._kinds, _ = split_prefix(line)
        self._constant = line[:at] if at else ""
        self._bodies = [line]
        self._begin = at
        self._size = len(line)
        self._scan = values.Scan()
        self._has_event = _EVENT_BEGINS.search(line) is not None
        self.is_wrapped = False

    @classmethod
    def beginning(cls, line: str, at: int | None, origin: Origin) -> _Group | None:
        """A group, if an object begins in the line that does not end there."""
        starts = [at] if at is not None else []
        starts += [match.start() for match in _OPENS.finditer(line)][-8:] if len(line) < 100_000 else []
        for start in starts:
            name = re.compile(r"[\w$.]+(?:\(\d+\))?\s*$").search(line, 0, start)
            group = cls(line, start, origin)
            try:
                if group._scan.feed(line, start) is None:
                    group._begin = name.start() if name and line[start] == "(" else start
                    return group
            except ValueError:
                continue
        return None

    def add(self, line: str, origin: Origin) -> Literal["open", "complete", "broken"]:
        """Take one more line."""
        body, has_prefix = self._body(line)
        scan = self._scan
        last = self._bodies[-1].rstrip()
        if _EVENT_BEGINS.search(body):
            if self._has_event and (scan.quote or scan.stack[-1] != "]"):
                return "broken"  # an event is in no other
            self._has_event = True
        if scan.quote:
            # JSON and Python break no string: a terminal did, and it put nothing before the rest.
            wide = len(self._bodies[-1]) >= _WRAP_CHARS
            if not wide or has_prefix or _NEW_OBJECT.match(body) or times.begins_with_time(body):
                return "broken"
            self.is_wrapped = True
        elif not self._may_follow(body, last) and not self._may_be_wrap(body, has_prefix):
            return "broken"
        self.lines.append((line, origin))
        self._bodies.append(body)
        self._size += len(body)
        if len(self.lines) > _MAX_GROUP_LINES or self._size > _MAX_GROUP_CHARS:
            return self._break()
        try:
            end = scan.feed(body)
        except ValueError:
            return self._break()
        return "open" if end is None else "complete"

    def _break(self) -> Literal["broken"]:
        self.lines.pop()
        self._bodies.pop()
        return "broken"

    def _body(self, line: str) -> tuple[str, bool]:
        """A line without what stands before every line of the object, and whether anything did."""
        kinds, at = split_prefix(line)
        if kinds and (kinds == self._kinds or (not self._kinds and kinds == "10 ")):
            return line[at:], kinds != "10 "
        if self._constant.strip() and line.startswith(self._constant):
            return line[len(self._constant) :], True
        return line, bool(kinds) and kinds != "10 "

    def _may_follow(self, body: str, last: str) -> bool:
        """Whether a line can be the next of a printed object, by how it begins and how the last one ended."""
        top = self._scan.stack[-1]
        if times.begins_with_time(body) and not body.lstrip().startswith(("'", '"')):
            return False
        if (
            body.lstrip()[:1] == "{"
            and top == "}"
            and not last.endswith((":", "=", "=>", "("))
            and not _ends_in_name(last)
        ):
            return False
        if body.lstrip()[:1] == "{" and top == "]" and not last.endswith((",", "[", ":")):
            return False
        return _GOES_ON.match(body) is not None or not body.strip()

    def _may_be_wrap(self, body: str, has_prefix: bool) -> bool:
        """Whether a terminal may have broken the line before this one, not inside a string."""
        if has_prefix or len(self._bodies[-1]) < _WRAP_CHARS or times.begins_with_time(body) or _NEW_OBJECT.match(body):
            return False
        self.is_wrapped = True
        return True

    def texts(self) -> Iterator[str]:
        """What the object may be, joined: as it was printed; if a terminal broke its lines, without the breaks."""
        if not self.is_wrapped:
            yield "\n".join(self._bodies)
        # A terminal that broke a word filled its line; one that broke between words left out the space.
        lengths = [len(line) for line, _ in self.lines]
        width = max(lengths[:-1])
        joined = self._bodies[0]
        for length, body in zip(lengths, self._bodies[1:], strict=False):
            joined += ("" if length >= width else " ") + body
        yield joined


def _ends_in_name(text: str) -> bool:
    return re.search(r"[:=]\s*[\w$.]+(?:\(\d+\))?$", text) is not None


def _csv_lines(lines: Iterator[bytes]) -> Iterator[tuple[int, str]]:
    """Rows of CSV as text: lines, put together while a quoted cell is open."""
    held: list[str] = []
    size = n_quotes = first = 0
    for n_line, line in enumerate(lines, 1):
        text = line.decode("utf-8-sig" if n_line == 1 else "utf-8", "replace")
        first = first if held else n_line
        held.append(text)
        size += len(text)
        if n_quotes % 2 and _ROW.search(text):  # the cell that is open never closes: a row was cut
            yield from ((first + n, text) for n, text in enumerate(held[:-1]))
            held, size, n_quotes, first = [text], len(text), 0, n_line
        n_quotes += text.count('"')
        if n_quotes % 2 == 0 or len(held) > _MAX_GROUP_LINES or size > _MAX_GROUP_CHARS:
            if n_quotes % 2:  # a quote that never closes: line by line
                yield from ((first + n, text) for n, text in enumerate(held))
            else:
                yield first, "".join(held)
            held, size, n_quotes = [], 0, 0
    yield from ((first + n, text) for n, text in enumerate(held))


def _load_yaml(text: str) -> Any:
    """A YAML document. Words are words: of YAML's own ideas only null, true, false and numbers are taken.

    Raises:
        ValueError: If it is none.
    """
    import yaml  # most logs have no use for it

    loader_class = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader = type("Loader", (loader_class,), {"yaml_implicit_resolvers": _RESOLVERS})(text)
    try:
        return loader.get_single_data()
    except yaml.YAMLError as exc:
        raise ValueError("no YAML") from exc
    finally:
        loader.dispose()


_RESOLVERS = {
    first: [
        ("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|)$")),
        ("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$")),
        ("tag:yaml.org,2002:int", re.compile(r"^-?(?:0|[1-9][0-9]{0,17})$")),
        ("tag:yaml.org,2002:float", re.compile(r"^-?[0-9]{1,30}\.[0-9]{1,30}(?:[eE][-+]?[0-9]{1,2})?$")),
    ]
    for first in ["", *"~ntf-0123456789"]
}


# ----------------------------------------------------------------------------------------------------- what a cut line still says

_MARK = r"[\"'\\]{0,5}"  # the quote of a name or a value, escaped or not
_IS = rf"{_MARK}\s*(?:[:=]|=>)\s*{_MARK}"
_END = r"(?=[\"'\\,;\s)}\]])"  # a value that is not followed by one of these may be cut
_ID_END = r"(?=[\"'\\,;)}\]])"  # not a space: a line may have been cut there
_FAMILY = r"(?:session|conversation|(?:in|out)put_audio_buffer|response|rate_limits)"
_TYPE = re.compile(rf"\btype{_IS}({_FAMILY}(?:\.[a-z_]+)+|error){_END}")
_BEGUN_TYPE = re.compile(rf"\btype{_IS}{_FAMILY}\.")
_OWN_IDS = {
    name: re.compile(rf"(?<![A-Za-z0-9_]){name}{_IS}([A-Za-z0-9_-]{{1,128}}){_ID_END}")
    for name in ("response_id", "item_id")
}
_IN_RESPONSE = rf"\bresponse{_MARK}\s*(?:[:=]|=>)\s*\w*[{{(][^{{}}()\[\]…]*?"
_INNER_ID = re.compile(rf"{_IN_RESPONSE}(?<![A-Za-z0-9_])id{_IS}([A-Za-z0-9_-]{{1,128}}){_ID_END}")
_STATUS = re.compile(rf"{_IN_RESPONSE}\bstatus{_IS}([a-z_]+){_END}")
_PART_TYPE = re.compile(rf"\bpart{_MARK}\s*(?:[:=]|=>)\s*\w*[{{(]\s*{_MARK}type{_IS}([a-z_]+){_END}")
_FOREIGN = re.compile(rf"\bsequence_number{_MARK}\s*[:=]|\bobject{_IS}response{_END}")


def _partial(text: str) -> dict[str, Any]:
    """The type and the ids that are whole in a text that is no whole event. Whatever holds an elision is not."""
    text = text[:20_000]
    data: dict[str, Any] = {}
    if (kind := _TYPE.search(text)) is None:
        return data
    data["type"] = kind[1]
    for name, pattern in _OWN_IDS.items():
        if match := pattern.search(text):
            data[name] = match[1]
    if "response_id" not in data and (match := _INNER_ID.search(text)) and "..." not in match[0]:
        data["response_id"] = match[1]
    if kind[1] == "response.done" and (match := _STATUS.search(text)) and "..." not in match[0] and match[1] in _ENDED:
        data["status"] = match[1]
    if match := _PART_TYPE.search(text):
        data["part"] = match[1]
    if _FOREIGN.search(text):
        data["is_foreign"] = True
    return data


_FIELD_OF_EVENT = re.compile(rf"\b(?:type|event_id|response_id|item_id|(?:output|content)_index){_MARK}\s*(?:[:=]|=>)")


def _may_be_of_event(text: str) -> bool:
    """Whether a text is a piece of something like an event, of which not even the type is left."""
    return _FIELD_OF_EVENT.search(text) is not None and (values.ELISION.search(text) is not None or _is_cut(text))


def _is_cut(text: str) -> bool:
    """Whether an object begins in a text and does not end."""
    at = text.find("{")
    try:
        return at >= 0 and values.Scan().feed(text, at) is None
    except ValueError:
        return False
