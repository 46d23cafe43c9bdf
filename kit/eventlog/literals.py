"""Objects as programs print them, read without running anything.

JSON; Python's ``{'type': 'response.done', 'ok': True, 'x': None}``; what pydantic and dataclasses print,
``ResponseDoneEvent(type='response.done', response=Response(id=…))``; and what consoles print, ``{ type: 'response.done' }``.
Nothing is evaluated. Depth and length are bounded; the time is linear in the text.
"""

from __future__ import annotations

import json
import re
from typing import Any

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
