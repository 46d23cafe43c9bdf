"""Objects that a program printed over several lines, and lines of logfmt that a terminal broke, put together again.

====================  ===================================================  ===================================================
an object is open     and the next line                                    is
====================  ===================================================  ===================================================
between two fields    begins like a field, a value or a closing bracket    the next line of the print
between two fields    is blank, as not every second line is                what is left of a field: the object is damaged
between two fields    closes a bracket, but is not indented like the       the bracket that belongs to it was cut off: the object
                      line that ends with its opening                      is damaged
in a string           has nothing before it, and the last one was wide     what a terminal broke
anywhere              begins an event, a time or another prefix            another record: the object was cut off
====================  ===================================================  ===================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from . import times, values
from .events import EVENT_BEGINS, Origin
from .lines import split_prefix

MAX_GROUP_LINES, MAX_GROUP_CHARS = 5_000, 8 * 1024 * 1024
_WRAP_CHARS, _WIDEST = 40, 1_000  # no terminal is narrower, or wider
_GUIDES = "10 "  # the prefix that is drawn before some lines of an object only: see `lines.split_prefix`

_OPENS = re.compile(r"[{(\[]\s*(?:[\"'\w$][^:=]{0,80}[:=]|[\"'][^\"']{0,80}$|[{(\[]|$)")
_GOES_ON = re.compile(
    r"\s*(?:[\"'`][^\"'`]*[\"'`]?\s*(?:[:,+)\]}]|=>|$)|[\w$.-]+\s*(?:[:=]|=>|,?$|[({])|[\]})]|[{(\[]|-?[\d.]+|\+|<|\.\.\.)"
)
_NEW_OBJECT = re.compile(r"\s*\{\s*[\"']?\w+[\"']?\s*[:=]")
_IS_ELIDED = re.compile(rf"\s*\[?(?:{values.ELISION.pattern})(?!\s*\d+ more)")  # Node itself prints "... 2 more items"
_ENDS_ELIDED = re.compile(rf"(?:{values.ELISION.pattern})\s*$")
_BARE_EVENT = re.compile(r"\btype=([\"'])[a-z_]+(?:\.[a-z_]+)+\1[ \t]+\w")  # a print without brackets is on one line
_ENDS_IN_NAME = re.compile(r"[:=]\s*[\w$.]+(?:\(\d+\))?$")  # "session: RealtimeSession"


# Of logfmt: a line that ends inside a quoted field; an object of JSON in one; what no line goes on with.
_OPEN_FIELD = re.compile(r'(?:^|\s)\w+="[^"\\]*+(?:\\.[^"\\]*+)*+\\?\Z')
_ESCAPED_OBJECT = re.compile(r'\{\\"\w+\\"\s*:')
_BEGINS_RECORD = re.compile(r'\{\\"type\\"\s*:\s*\\"(?:[a-z_]+\.|error\b)|^\W*\w+="')


class Wrapped:
    """A line of logfmt with JSON in a quoted field, which a terminal broke into lines of its width."""

    def __init__(self) -> None:
        self._lines: list[tuple[str, Origin]] = []

    def join(self, line: str, origin: Origin) -> list[tuple[str, Origin]]:
        """Take a line; return the lines that can be read now: joined, or as they came where nothing was broken."""
        if self._lines:
            width, last = len(self._lines[0][0]), len(self._lines[-1][0])
            begins = times.begins_with_time(line) or split_prefix(line)[0] or _BEGINS_RECORD.search(line)
            if last == width >= len(line) and not begins and len(self._lines) < MAX_GROUP_LINES:
                self._lines.append((line, origin))
                return self.end() if len(line) < width else []
        ready = self.end()
        if _WRAP_CHARS <= len(line) <= _WIDEST and _ESCAPED_OBJECT.search(line) and _OPEN_FIELD.search(line):
            self._lines.append((line, origin))
            return ready
        return [*ready, (line, origin)]

    def end(self) -> list[tuple[str, Origin]]:
        """Nothing more belongs to it: one line, if its quoted field has ended."""
        lines, self._lines = self._lines, []
        joined = "".join(line for line, _ in lines)
        return [(joined, lines[0][1])] if len(lines) > 1 and not _OPEN_FIELD.search(joined) else lines


class Group:
    """Lines that together are one object, while its end has not come.

    Attributes:
        origin: Of its first line.
        start: Where it begins in that.
        lines: As they are in the log, each with its origin.
        is_wrapped: Whether a terminal may have broken lines of it.
        is_damaged: Whether something was cut off a line of it, although its brackets match.
    """

    def __init__(self, line: str, at: int, origin: Origin) -> None:
        self.origin, self.start = origin, at
        self.lines: list[tuple[str, Origin]] = [(line, origin)]
        self.is_wrapped = self.is_damaged = False
        self._prefix, _ = split_prefix(line)
        self._before = line[:at] if at else ""  # of a logger that writes it before every line of an object
        self._quote = self._before[-1:] if self._before.endswith(("'", '"')) else ""
        self._bodies = [line]  # the lines without what stands before them
        self._n_chars = len(line)
        self._n_blank = 0
        self._indents: list[int | None] = []  # of the lines that end with the brackets that are open, where they do
        self._scan = values.Scan()
        self._has_event = EVENT_BEGINS.search(line) is not None

    @classmethod
    def beginning(cls, line: str, at: int | None, origin: Origin) -> Group | None:
        """A group, if an object begins in the line that does not end there.

        Args:
            at: Where one begins, if that is known.
        """
        starts = [at] if at is not None else []
        starts += [match.start() for match in _OPENS.finditer(line)][-8:] if len(line) < 100_000 else []
        for start in starts:
            group = cls(line, start, origin)
            try:
                if group._scan.feed(line, start) is None:
                    return group
            except ValueError:
                continue
        return None

    def add(self, line: str, origin: Origin) -> Literal["open", "complete", "broken"]:
        """Take one more line, unless it is none of this object's (``broken``)."""
        body, has_prefix = self._without_prefix(line)
        scan = self._scan
        if not body.strip() and not scan.quote:
            self._n_blank += 1
        elif _IS_ELIDED.match(body) or (scan.quote and _ENDS_ELIDED.search(self._bodies[-1])):
            return "broken"
        if _BARE_EVENT.search(body):
            return "broken"
        if EVENT_BEGINS.search(body):
            if self._has_event and (scan.quote or scan.stack[-1] != "]"):
                return "broken"  # events stand side by side in a list, and in no other event
            self._has_event = True
        if not (not scan.quote and self._may_follow(body)):
            # JSON and Python break no string: a terminal did, and it put nothing before the rest.
            is_wide = len(self._bodies[-1]) >= _WRAP_CHARS
            if not is_wide or has_prefix or _NEW_OBJECT.match(body) or times.begins_with_time(body):
                return "broken"
            self.is_wrapped = True
        if len(self.lines) >= MAX_GROUP_LINES or self._n_chars + len(body) > MAX_GROUP_CHARS:
            return "broken"
        indent, n_open = len(body) - len(body.lstrip()), len(scan.stack)
        if not scan.quote and body[indent : indent + 1] in ("}", "]", ")") and len(self._indents) == n_open:
            # Less than two spaces may be of a print that a terminal broke.
            opening = self._indents[-1]
            self.is_damaged |= opening is not None and max(1, opening) != max(1, indent)
        try:
            end = scan.feed(body)
        except ValueError:
            return "broken"
        self._indents += [None] * (n_open - len(self._indents))
        self._indents[scan.n_lowest :] = [None] * (len(scan.stack) - scan.n_lowest)
        if scan.stack and not scan.quote and body.rstrip().endswith(("{", "[", "(")):
            self._indents[-1] = indent
        self.lines.append((line, origin))
        self._bodies.append(body)
        self._n_chars += len(body)
        if end is None:
            return "open"
        # No program prints a blank line between two fields, but some end each line twice.
        self.is_damaged |= 0 < 2 * self._n_blank < len(self.lines) - 2
        return "complete"

    def _without_prefix(self, line: str) -> tuple[str, bool]:
        """A line without what stands before every line of the object, and whether anything did."""
        prefix, at = split_prefix(line)
        if prefix and (prefix == self._prefix or (not self._prefix and prefix == _GUIDES)):
            return line[at:], prefix != _GUIDES
        if self._before.strip() and line.startswith(self._before):
            return line[len(self._before) :], True
        return line, bool(prefix) and prefix != _GUIDES

    def _may_follow(self, body: str) -> bool:
        """Whether a line can be the next of a printed object, by how it begins and how the last one ended."""
        first, last = body.lstrip()[:1], self._bodies[-1].rstrip()
        if times.begins_with_time(body) and first not in ("'", '"'):
            return False
        if first == "{" and self._scan.stack[-1] == "}":  # an object is in another by a name only
            if not last.endswith((":", "=", "=>", "(")) and not _ENDS_IN_NAME.search(last):
                return False
        elif first == "{" and self._scan.stack[-1] == "]" and not last.endswith((",", "[", ":")):
            return False
        return _GOES_ON.match(body) is not None or not body.strip()

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
        yield joined + (self._quote if joined.endswith("}") else "")  # where a terminal broke before it
