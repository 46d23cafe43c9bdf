"""Files to lines: opened with care, read a line at a time, refused with a sentence when they hold more than any log does."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import re
import stat
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import msgspec

from .. import show
from ..errors import InputError
from ..wire.dialect import CLIENT_EVENTS, GA_NAME
from . import text as clocks
from . import text as literals
from .text import Incomplete, Instant, printed

# Objects to frames: the events in a JSON value, bare or wrapped, and what the wrappers say of when, who and where.


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


# Files to frames: the events in anybody's log, one after the other.
#
# What is taken: the kit's own log; a JSON object or array per line, or one array or object in the whole file; events bare or in
# wrappers of any shape, also as JSON inside a string; lines of text with an object printed in them (see literals.py), also over
# several lines; all of it gzipped, in UTF-8 or with a byte order mark in UTF-16.
#
# An object is an event if its ``type`` is one of the API's names, of either dialect, or begins like one; who sent it follows from
# that name. What cannot be read is counted and kept for looking at (`Reading`), never guessed.


_MAX_JOINED_LINES, _MAX_JOINED_BYTES, _MAX_BROKEN_JOINS = 5_000, 8 * 1024 * 1024, 20
_ONE_VALUE = re.compile(rb'(?:\xef\xbb\xbf)?\s*(?:\[\s*(?:[\[{"\]]|\Z|\n)|\{\s*\n)')  # not "[12:00:01] a line of text"
_FIELD = re.compile(r"[\w'\"$-]+\s*:\s|[\w$]+=(?!=)")  # a line inside an object that is printed over several

_decode = msgspec.json.Decoder().decode


def frames(path: Path, reading: Reading) -> Iterator[Frame]:
    """Every frame of a log, in its order. The file is read as it goes: a line at a time, unless it is one JSON value.

    Raises:
        InputError: If it cannot be read, is no log at all, or holds more than any log does.
    """
    with open_log(path) as file:
        head = file.peek(64)[:64]
        rest = lines(file, path, reading)
        if _ONE_VALUE.match(head):
            yield from _whole(rest, path, reading)
        else:
            yield from _by_line(rest, reading)


def frames_of(told: Iterable[bytes], reading: Reading) -> Iterator[Frame]:
    """Every frame in lines that are in memory."""
    for line in told:
        reading.n_lines += 1
        yield from _by_line(iter((line,)), reading)


def _whole(lines: Iterator[bytes], path: Path, reading: Reading) -> Iterator[Frame]:
    """A file that is one JSON value; if it is not after all, its lines."""
    read: list[bytes] = []
    size = n_parts = 0
    for line in lines:
        read.append(line)
        size += len(line)
        n_parts += n_parts_of(line)
        if size > MAX_WHOLE_BYTES or n_parts > MAX_WHOLE_PARTS:
            raise InputError(
                f"{path.name} is one JSON value of more than {MAX_WHOLE_BYTES // 2**20} MiB or {MAX_WHOLE_PARTS:,} parts; "
                "make it lines: jq -c '.[]'"
            )
    try:
        value = _decode(b"".join(read).lstrip(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, ValueError, RecursionError):
        yield from _by_line(iter(read), reading)
        return
    found = False
    for each in value if isinstance(value, list) else [value]:
        for frame in frames_in(each, reading, 1):
            found = True
            yield frame
    reading.n_other += not found


def _by_line(lines: Iterator[bytes], reading: Reading) -> Iterator[Frame]:
    joined = _Joined(reading)
    last = b""
    for n_line, line in enumerate(lines, 1):
        last = line
        bare = line.strip()
        if n_line == 1:
            bare = bare.removeprefix(b"\xef\xbb\xbf")
        if not bare:
            continue
        if bare.startswith(b"{") or bare.startswith(b"["):
            value = _json(bare)
            if value is not None and not (joined and isinstance(value, list)):
                found = list(frames_in(value, reading, n_line))
                if found or not joined:
                    joined.give_up()
                    reading.n_other += not found
                    yield from found
                    continue
        yield from _in_text(bare.decode("utf-8", "replace"), n_line, joined, reading)
    if joined:
        joined.give_up(torn=True)
    elif last and not last.endswith(b"\n") and last.strip().startswith(b"{") and _json(last.strip()) is None:
        reading.torn = True


def _json(line: bytes) -> Any:
    try:
        return _decode(line)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


class _Joined:
    """Lines that together are one object, while its end has not come."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._lines: list[str] = []
        self._size = self._work = self._depth = self._n_broken = 0
        self.n_line = 0

    def __bool__(self) -> bool:
        return bool(self._lines)

    def begin(self, line: str, n_line: int) -> bool:
        """An object begins that does not end in this line; False if it hardly does."""
        opens = line.endswith(("{", "[", "(", ",")) or HINT.search(line, 0, 100_000)
        if not opens or self._n_broken >= _MAX_BROKEN_JOINS:
            return False
        self._lines, self.n_line, self._size, self._work = [line], n_line, len(line), 0
        self._depth = _depth(line)
        return True

    def add(self, line: str) -> str | None:
        """Take one more line; gives the whole text where the object may end here."""
        self._lines.append(line)
        self._size += len(line)
        self._depth += _depth(line)
        if len(self._lines) > _MAX_JOINED_LINES or self._size > _MAX_JOINED_BYTES:
            self.give_up()
        elif self._depth <= 0 or line in ("}", "]", ")", "})", "},", "};"):
            self._work += self._size
            if self._work <= 8 * _MAX_JOINED_BYTES:
                return "\n".join(self._lines)
        return None

    def done(self) -> None:
        self._lines = []

    def give_up(self, *, torn: bool = False) -> None:
        """It never ended."""
        if not self._lines:
            return
        text = "\n".join(self._lines[:50])
        self._lines = []
        self._n_broken += 1
        self._reading.torn = self._reading.torn or torn
        if not HINT.search(text, 0, 100_000):
            self._reading.n_other += 1
        elif not torn:
            self._reading.lost(self.n_line, text[:400])


def _depth(line: str) -> int:
    return sum(line.count(c) for c in "{[(") - sum(line.count(c) for c in "}])")


def _in_text(line: str, n_line: int, joined: _Joined, reading: Reading) -> Iterator[Frame]:
    """The frames in a line of text, or in the lines that it completes."""
    if joined and clocks.begins_with_one(line):
        joined.give_up()  # another record begins
    if joined and not _FIELD.match(line) and (found := _found(line, n_line, reading)):
        joined.give_up()
        yield from found
        return
    if joined:
        whole = joined.add(line)
        if whole is None:
            return
        n_line, line = joined.n_line, whole
    found = _found(line, n_line, reading)
    if found is None and (joined or joined.begin(line, n_line)):
        return
    joined.done()
    yield from found or ()
    if not found and HINT.search(line, 0, 100_000):
        reading.lost(n_line, line)
    else:
        reading.n_other += not found


def _found(line: str, n_line: int, reading: Reading) -> list[Frame] | None:
    """The frames in a text; ``None`` if an object begins in it and does not end."""
    found: list[Frame] = []
    try:
        for value, at, key in printed(line, holds_event):
            found += frames_in(value, reading, n_line, at, key)
    except literals.Incomplete:
        return None
    return found


MAX_LINE_BYTES = 32 * 1024 * 1024  # an append of 15 MiB is 20 MB of base64; nothing the API takes is longer
MAX_WHOLE_BYTES = 64 * 1024 * 1024  # of a file that is one JSON value, and must be read whole
MAX_PARTS, MAX_WHOLE_PARTS = 1_000_000, 8_000_000  # of a value: three bytes of JSON can take a hundred in memory
MAX_BARREN_LINES, MAX_BARREN_BYTES = 2_000_000, 2 << 30  # without one event among them
_SAMPLES = 5


@dataclass(slots=True)
class Reading:
    """How far a file was understood.

    Attributes:
        n_events: Events found.
        n_lines: Lines read.
        n_other: Lines and objects that are not about events: other things that a program logs.
        n_not_understood: Lines that mention an event that could not be read; the first few are in `samples`.
        torn: The last line breaks off.
    """

    n_events: int = 0
    n_lines: int = 0
    n_other: int = 0
    n_not_understood: int = 0
    torn: bool = False
    samples: list[tuple[int, str]] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)

    def lost(self, n_line: int, text: str) -> None:
        """A line that mentions an event and could not be read."""
        self.n_not_understood += 1
        if len(self.samples) < _SAMPLES:
            self.samples.append((n_line, show.one_line(text, 100)))

    def __str__(self) -> str:
        told = [f"{self.n_events:,} events in {self.n_lines:,} lines"]
        if self.n_not_understood:
            where = ", ".join(f"line {n}: {text}" for n, text in self.samples[:1])
            told.append(f"{self.n_not_understood:,} not understood ({where})")
        if self.n_other:
            told.append(f"{self.n_other:,} other lines")
        if self.torn:
            told.append("the last line breaks off and was passed over")
        told += [f"{note}{f' ({n:,} times)' if n > 1 else ''}" for note, n in self.notes.items()]
        return "; ".join(told)


def open_log(path: Path) -> Any:
    """The file, unpacked, with ``peek`` and ``readline``."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise InputError(f"{path} is no file; a log is a file, and read_logs() takes a folder of them")
        file: Any = open(path, "rb")  # noqa: SIM115  the caller closes it
    except OSError as exc:
        raise InputError(f"cannot read the log {path}: {exc.strerror or exc}") from None
    head = file.read(64)
    file.seek(0)
    if head[:2] == b"\x1f\x8b":
        file.close()
        file = gzip.GzipFile(path, "rb")
        try:
            head = file.peek(64)[:64]
        except (OSError, EOFError, zlib.error):
            head = b""
    for begins, what in _NOT_LOGS:
        if head.startswith(begins):
            file.close()
            raise InputError(f"{path.name} is {what}")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return io.BufferedReader(_AsUtf8(file))
    if b"\0" in head:
        file.close()
        raise InputError(f"{path.name} is not text; a log is JSON lines or text")
    return file


_NOT_LOGS = (
    (b"SQLite format 3\0", "a SQLite file; a ledger opens with Ledger(path), not as a log"),
    (b"PK\x03\x04", "a zip file; unpack it and read what is in it"),
    (b"RIFF", "a sound file; Clip.load() opens it"),
    (b"\x1f\x8b", "packed twice; unpack it once"),
)


class _AsUtf8(io.RawIOBase):
    """A UTF-16 file (as some shells write it) as UTF-8."""

    def __init__(self, file: IO[bytes]) -> None:
        self._text = io.TextIOWrapper(file, "utf-16", errors="replace", newline="")
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            self._left = self._text.read(8192).encode("utf-8", "replace")
        n = min(len(buffer), len(self._left))
        buffer[:n], self._left = self._left[:n], self._left[n:]
        return n

    def close(self) -> None:
        self._text.close()
        super().close()


def n_parts_of(text: bytes) -> int:
    return sum(text.count(mark) for mark in (b",", b"[", b"{"))


def lines(file: IO[bytes], path: Path, reading: Reading) -> Iterator[bytes]:
    n_bytes = 0
    while True:
        try:
            line = file.readline(MAX_LINE_BYTES + 1)
        except (OSError, EOFError, zlib.error) as exc:
            reading.torn = True
            reading.notes[f"the packed file breaks off ({exc})"[:120]] += 1
            return
        if not line:
            return
        if len(line) > MAX_LINE_BYTES:
            raise InputError(
                f"line {reading.n_lines + 1} of {path.name} is longer than {MAX_LINE_BYTES // 2**20} MiB: no event is; "
                "if it holds many, split it: jq -c '.[]'"
            )
        reading.n_lines += 1
        n_bytes += len(line)
        if not reading.n_events and (reading.n_lines > MAX_BARREN_LINES or n_bytes > MAX_BARREN_BYTES):
            raise InputError(f"{path.name} has no Realtime event in its first {reading.n_lines:,} lines")
        if len(line) > MAX_PARTS and n_parts_of(line) > MAX_PARTS:
            raise InputError(
                f"line {reading.n_lines} of {path.name} is JSON of more than {MAX_PARTS:,} parts: no event is; "
                "if it holds many, split it: jq -c '.[]'"
            )
        yield line
