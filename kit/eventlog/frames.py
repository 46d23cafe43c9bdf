"""Files to frames: the events in anybody's log, one after the other.

What is taken: the kit's own log; a JSON object or array per line, or one array or object in the whole file; events bare or in
wrappers of any shape, also as JSON inside a string; lines of text with an object printed in them (see literals.py), also over
several lines; all of it gzipped, in UTF-8 or with a byte order mark in UTF-16.

An object is an event if its ``type`` is one of the API's names, of either dialect, or begins like one; who sent it follows from
that name. What cannot be read is counted and kept for looking at (`Reading`), never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from ..errors import InputError
from . import clocks, literals
from .files import MAX_WHOLE_BYTES, MAX_WHOLE_PARTS, Reading, lines, n_parts_of, open_log
from .objects import HINT, Frame, frames_in, holds_event
from .printed import printed

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
