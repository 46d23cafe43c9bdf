"""The objects that are printed in a text, and what stands before each: when, and of which session."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

# When something was logged, as logs write it. A number whose unit nobody says is no time: nothing is guessed.


class Instant(NamedTuple):
    """An instant in milliseconds, and on which clock: instants of different clocks are not comparable."""

    ms: float
    clock: str


# Names of fields, in lower case without underscores, → milliseconds per unit.
_WITH_UNIT = {
    name + suffix: factor
    for name in ("at", "t", "ts", "time", "timestamp", "elapsed", "offset", "relative", "receivedat", "sentat", "since", "mono", "")
    for suffix, factor in (("ms", 1.0), ("millis", 1.0), ("milliseconds", 1.0), ("s", 1e3), ("sec", 1e3), ("seconds", 1e3),
                           ("us", 1e-3), ("micros", 1e-3), ("ns", 1e-6), ("nanos", 1e-6))
    if name + suffix not in ("s", "ts", "us", "ats", "ns")
}  # fmt: skip
_WITHOUT_UNIT = frozenset(
    {"t", "ts", "time", "timestamp", "at", "receivedat", "sentat", "createdat", "loggedat", "date", "datetime", "walltime",
     "unix", "epoch", "starttime", "eventtime"}
)  # fmt: skip
# Fields of the API's own events that look like one of these and are none.
_INSIDE = frozenset({"ts", "timestamp", "time", "atms", "timestampms", "tsms", "receivedat", "receivedatms", "unix"})

_ISO = re.compile(
    r"(\d{4})[-/](\d\d)[-/](\d\d)[T ]+(\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?\s?(Z|UTC|[+-]\d\d:?\d\d)?", re.ASCII
)
_TIME_OF_DAY = re.compile(r"(?<![\d:])(\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(?![\d:])", re.ASCII)
_EPOCH = re.compile(r"(?<![\d.])(1\d{9}(?:\.\d+)?|1\d{12})(?![\d.])", re.ASCII)


def of_fields(fields: Mapping[str, Any], *, inside_event: bool = False) -> Instant | None:
    """When, as a wrapper's fields say it; those with a unit in their name count first."""
    plain: Instant | None = None
    for key, value in fields.items():
        factor, unitless, inside, name = _meaning(key)
        if (factor is None and not unitless) or (inside_event and not inside):
            continue
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            continue
        if factor is not None and isinstance(value, int | float) and abs(value) < 1e20:
            at_ms = value * factor
            return Instant(at_ms, "unix" if at_ms > 1e11 else name)
        if plain is None:
            plain = of_text(value) if isinstance(value, str) else _of_epoch(value)
    return plain


@lru_cache(maxsize=4_096)
def _meaning(key: str) -> tuple[float | None, bool, bool, str]:
    """Of a field's name: milliseconds per unit, whether it is a time without a unit, whether an event may have it, and its stem."""
    name = str(key)[:60].lower().replace("_", "").replace("-", "").lstrip("@$")
    return _WITH_UNIT.get(name), name in _WITHOUT_UNIT, name in _INSIDE, name


def of_text(text: str) -> Instant | None:
    """When, in front of an event in a line of text (or in a field): the last instant that stands there."""
    text = text[-300:]
    if dates := list(_ISO.finditer(text)):
        return _of_iso(dates[-1])
    if times := list(_TIME_OF_DAY.finditer(text)):
        hours, minutes, seconds, fraction = times[-1].groups()
        whole = (int(hours) * 60 + int(minutes)) * 60 + int(seconds)
        return Instant(whole * 1000 + _fraction_ms(fraction), "day")
    numbers = list(_EPOCH.finditer(text))
    return _of_epoch(float(numbers[-1][1])) if numbers else None


def begins_with_one(line: str) -> bool:
    """Whether a line of text begins with an instant, as a logger's records do."""
    head = line[:40].lstrip("[( ")
    return any(form.match(head) for form in (_ISO, _TIME_OF_DAY, _EPOCH))


def _of_iso(found: re.Match[str]) -> Instant | None:
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    try:
        at = datetime(int(year), int(month), int(day), int(hour), int(minute), min(int(second), 59), tzinfo=UTC)
    except ValueError:
        return None
    at_ms = at.timestamp() * 1000 + _fraction_ms(fraction)
    if zone is None:
        return Instant(at_ms, "local")
    if zone not in ("Z", "UTC"):
        sign = -1 if zone[0] == "+" else 1
        at_ms += sign * (int(zone[1:3]) * 60 + int(zone[-2:])) * 60_000
    return Instant(at_ms, "unix")


def _of_epoch(value: float) -> Instant | None:
    """Seconds, ms, µs or ns since 1970, told apart by their size (from 2001 to 2286 they do not overlap)."""
    for factor in (1e3, 1.0, 1e-3, 1e-6):
        if 1e12 <= value * factor < 1e13:
            return Instant(value * factor, "unix")
    return None


def _fraction_ms(digits: str | None) -> float:
    return float(f"0.{digits}") * 1000 if digits else 0.0


# Objects as programs print them, read without running anything.
#
# JSON; Python's ``{'type': 'response.done', 'ok': True, 'x': None}``; what pydantic and dataclasses print,
# ``ResponseDoneEvent(type='response.done', response=Response(id=…))``; and what consoles print, ``{ type: 'response.done' }``.
# Nothing is evaluated. Depth and length are bounded; the time is linear in the text.


MAX_DEPTH = 64  # the deepest event of the reference has about ten levels


class Incomplete(ValueError):
    """The text ends inside the object."""


_SPACE = re.compile(r"[\s]*")
_STRINGS = {q: re.compile(rf"{q}([^{q}\\]*(?:\\.[^{q}\\]*)*){q}", re.DOTALL) for q in "'\""}
_NUMBER = re.compile(r"[-+]?(?:\d[\d_]*\.?\d*(?:[eE][-+]?\d+)?|\.\d+)")
_NAME = re.compile(r"[A-Za-z_$][\w.$]*")
_ENUM = re.compile(r"<[\w.]+:\s*")
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(\n)|(.))", re.DOTALL)
_SIMPLE = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "a": "\a", "v": "\v", "0": "\0"}
_WORDS: dict[str, Any] = {
    "None": None, "null": None, "undefined": None, "nil": None, "True": True, "true": True, "False": False, "false": False,
    "nan": None, "NaN": None, "inf": "inf", "Infinity": "inf",
}  # fmt: skip
_decode_json = json.JSONDecoder().raw_decode


def parse(text: str, start: int = 0) -> tuple[Any, int]:
    """The object that begins at `start`, and where it ends.

    Raises:
        Incomplete: If the text ends first.
        ValueError: If it is none.
    """
    if text.startswith(("{", "["), start):
        try:
            return _decode_json(text, start)
        except (ValueError, RecursionError):
            pass
    return _Parser(text).value(start, 0)


def string(text: str, start: int) -> tuple[str, int]:
    """The quoted string that begins at `start`, its escapes undone, and where it ends."""
    found = _STRINGS[text[start]].match(text, start)
    if found is None:
        raise Incomplete("a string without an end")
    raw = found[1]
    return (_ESCAPE.sub(_unescaped, raw) if "\\" in raw else raw), found.end()


def _unescaped(found: re.Match[str]) -> str:
    code = found[1] or found[2] or found[3]
    if code:
        number = int(code, 16)
        return chr(number) if number <= 0x10FFFF else "\ufffd"
    if found[4]:
        return ""
    return _SIMPLE.get(found[5], found[5])


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text

    def value(self, at: int, depth: int) -> tuple[Any, int]:
        if depth > MAX_DEPTH:
            raise ValueError("nested too deeply")
        at = self._skip(at)
        c = self._text[at]
        if c == "{":
            return self._object(at + 1, depth)
        if c in "[(":
            return self._list(at + 1, "]" if c == "[" else ")", depth)
        if c in "'\"":
            return string(self._text, at)
        if c == "<" and (enum := _ENUM.match(self._text, at)):
            told, at = self.value(enum.end(), depth + 1)
            return told, self._expect(at, ">")
        if number := _NUMBER.match(self._text, at):
            return _number(number[0]), number.end()
        return self._word(at, depth)

    def _word(self, at: int, depth: int) -> tuple[Any, int]:
        name = _NAME.match(self._text, at)
        if name is None:
            raise ValueError(f"nothing begins with {self._text[at]!r}")
        word, end = name[0], name.end()
        if end < len(self._text):
            if self._text[end] == "(":
                return self._call(end + 1, depth)
            if self._text[end] in "'\"" and len(word) <= 2 and set(word.lower()) <= set("rbuf"):
                return string(self._text, end)
        if word in _WORDS:
            return _WORDS[word], end
        if end == len(self._text):
            raise Incomplete("the text ends in a word")
        raise ValueError(f"{word[:40]!r} stands for nothing")

    def _object(self, at: int, depth: int) -> tuple[dict[str, Any], int]:
        made: dict[str, Any] = {}
        while True:
            at = self._skip(at)
            if self._text[at] == "}":
                return made, at + 1
            if self._text[at] in "'\"":
                key, at = string(self._text, at)
            elif name := (_NAME.match(self._text, at) or _NUMBER.match(self._text, at)):
                key, at = name[0], name.end()
            else:
                raise ValueError("an object's field without a name")
            made[key], at = self.value(self._expect(at, ":"), depth + 1)
            at = self._separator(at, "}")

    def _list(self, at: int, close: str, depth: int) -> tuple[list[Any], int]:
        made: list[Any] = []
        while True:
            at = self._skip(at)
            if self._text[at] == close:
                return made, at + 1
            value, at = self.value(at, depth + 1)
            made.append(value)
            at = self._separator(at, close)

    def _call(self, at: int, depth: int) -> tuple[dict[str, Any], int]:
        """``Name(field=value, …)`` as an object of its fields; a value without a name is passed over."""
        made: dict[str, Any] = {}
        while True:
            at = self._skip(at)
            if self._text[at] == ")":
                return made, at + 1
            name = _NAME.match(self._text, at)
            if name and self._text[name.end() : name.end() + 1] == "=":
                made[name[0]], at = self.value(name.end() + 1, depth + 1)
            else:
                _, at = self.value(at, depth + 1)
            at = self._separator(at, ")")

    def _skip(self, at: int) -> int:
        found = _SPACE.match(self._text, at)
        end = found.end() if found else at
        if end >= len(self._text):
            raise Incomplete("the text ends inside an object")
        return end

    def _expect(self, at: int, mark: str) -> int:
        at = self._skip(at)
        if self._text[at] != mark:
            raise ValueError(f"{mark!r} is missing")
        return at + 1

    def _separator(self, at: int, close: str) -> int:
        at = self._skip(at)
        if self._text[at] == ",":
            return at + 1
        if self._text[at] == close:
            return at
        raise ValueError("a comma is missing")


def _number(word: str) -> int | float:
    word = word.replace("_", "")
    if len(word) > 40:
        raise ValueError("a number of more than 40 digits")
    return int(word) if word.lstrip("+-").isdigit() else float(word)


_MAX_TRIES = 16  # places in one text where an object may begin
_BEGINS = re.compile(r"[{]|\b[A-Z]\w*\(")
_SESSION_ID = re.compile(r"\bsess_\w+")
_decode = msgspec.json.Decoder().decode


def printed(text: str, holds_event: Callable[[Any], bool]) -> Iterator[tuple[Any, Instant | None, str | None]]:
    """Each object in `text`, the instant and the session id that stand before it.

    Raises:
        Incomplete: If an object begins that does not end, and in no other is an event.
    """
    at, found = 0, False
    cut: Incomplete | None = None
    for _ in range(_MAX_TRIES):
        begin = _BEGINS.search(text, at)
        if begin is None:
            break
        try:
            value, at = _value(text, begin.start())
        except Incomplete as exc:
            cut, at = cut or exc, begin.end()
            continue
        except ValueError:
            at = begin.end()
            continue
        if cut is not None and not holds_event(value):
            continue  # a part of the one that does not end
        prefix = text[max(0, begin.start() - 300) : begin.start()]
        session = _SESSION_ID.search(prefix)
        found = True
        yield value, of_text(prefix), session[0] if session else None
    if cut is not None and not found:
        raise cut


def _value(text: str, start: int) -> tuple[Any, int]:
    quote = text[start - 1] if start else ""
    if quote and quote in "'\"" and "\\" in text:
        # JSON that was printed as a string: its own escapes are escaped once more.
        try:
            inner, end = string(text, start - 1)
            return _decode(inner), end
        except (ValueError, RecursionError):
            pass
    return parse(text, start)
