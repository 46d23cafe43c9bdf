"""The objects that are printed in a text, and what stands before each: when, and of which session."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from . import clocks, literals
from .clocks import Instant

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
    cut: literals.Incomplete | None = None
    for _ in range(_MAX_TRIES):
        begin = _BEGINS.search(text, at)
        if begin is None:
            break
        try:
            value, at = _value(text, begin.start())
        except literals.Incomplete as exc:
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
        yield value, clocks.of_text(prefix), session[0] if session else None
    if cut is not None and not found:
        raise cut


def _value(text: str, start: int) -> tuple[Any, int]:
    quote = text[start - 1] if start else ""
    if quote and quote in "'\"" and "\\" in text:
        # JSON that was printed as a string: its own escapes are escaped once more.
        try:
            inner, end = literals.string(text, start - 1)
            return _decode(inner), end
        except (ValueError, RecursionError):
            pass
    return literals.parse(text, start)
