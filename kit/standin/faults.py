"""Faults by name: what can go wrong on purpose, when, and what it looks like to a client.

How a reply goes wrong step by step stands beside the reply, in `response.py`.

``NAME``, ``NAME=VALUE``, ``NAME@WHEN``, ``NAME=VALUE@WHEN``: WHEN says which reply, item or connection has the fault.

| WHEN | which |
|---|---|
| ``3`` | the third, counted from 1. If nothing is said, the first; of several in a list, each the next. Replies and items are counted per session, connections per stand-in |
| ``20-27`` | the 20th to the 27th: a burst |
| ``every`` | every one |
| ``p=0.1`` | each with this probability |

Draws are a pure function of the stand-in's seed, the query fields ``trial`` and ``attempt``, and which reply, item or
connection of the session it is. So neither order nor resuming changes what goes wrong; and a trial that is tried again draws
again, or one whose line is cut could never succeed. Whether a reply drifts does not depend on ``attempt``. Faults of the same
thing share one draw, so that ``drop@p=0.1`` and ``failed@p=0.05`` are 15 % of replies and never both; on any occasion the
first of the list that is due is the one.

`KINDS` is the one list; a test holds the table in ``kit/standin/README.md`` to it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

from ..errors import InputError, clipped
from .drift import Draws


@dataclass(frozen=True, slots=True)
class Kind:
    """One thing that can go wrong."""

    name: str
    # What has it: a ``reply``, an ``item``, a ``connection`` or a whole ``session``.
    of: str
    does: str
    # What the kit's own client makes of it.
    looks_like: str
    default: float | None = None
    """The value that it has if none is named; ``None`` for a fault that takes no value."""


# Name and default, of what, what happens, what the kit's client makes of it. Values are seconds, an HTTP status or a close code.
_TABLE = """
stall | reply | stops midway; nothing more comes, the socket stays open | `ResponseTimeout` with the last events
slow-start=2 | reply | nothing comes at first | a late reply, or `ResponseTimeout` if it is later than the limit
drop | reply | closes the socket midway, in good order (1000) | `SessionClosed`, code 1000
cut | reply | the TCP connection is cut midway | `SessionClosed`, code 1006
close=1011 | reply | closes the socket midway with a code | `SessionClosed` with that code
error-event | reply | is refused: an `error` event (server_error) and no reply | `ServerError`
failed | reply | ends `failed` (server_error) before it says anything | a response whose status is `failed`
incomplete | reply | ends `incomplete` midway (content_filter) | a response whose status is `incomplete`
rate-limit=1.5 | reply | ends `failed` (rate_limit_exceeded), and is told when to come back | a response whose status is `failed`
quota | reply | ends `failed` (insufficient_quota), then the socket closes | a response that is `failed`; after it, `SessionClosed`
malformed | reply | midway comes a frame that is not JSON | `RemoteProtocolError` with the frame's head
unknown-event | reply | midway comes an event of a type that is in no reference | a complete response; the type is counted
huge | reply | midway comes a frame of 3.4 MB | a complete response
duplicate | reply | a delta and `response.done` come twice, with the same ids | a complete response, once
late | reply | a delta comes after `response.done` | a complete response
refuse-item | item | is refused with an `error` | `SeedRefused` naming the item
lose-item | item | is never confirmed | `ResponseTimeout` while seeding
refuse-handshake | connection | 101, `error` invalid_api_key, close 3000 | `HandshakeRefused`, close code 3000
http-error=503 | connection | the upgrade is refused with an HTTP status | `HandshakeRefused` with that status
silent | connection | 101, and then never a word | `Unreachable`: no first event came
expire=1 | session | reaches its maximum duration: `error` session_expired, close 1001 | `SessionClosed`, code 1001
"""


KINDS = tuple(
    Kind(name, of, does, looks_like, float(default) if default else None)
    for spelling, of, does, looks_like in (row.split(" | ") for row in _TABLE.strip().splitlines())
    for name, _, default in [spelling.partition("=")]
)
_BY_NAME = {kind.name: kind for kind in KINDS}

_STATUSES = frozenset(int(status) for status in HTTPStatus if status >= 400)
# RFC 6455, 7.4.
_CLOSE_CODES = frozenset((1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)))


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault that was asked for."""

    kind: Kind
    value: float
    # Which occasions, from 1; ``None``: every one.
    when: range | None = range(1, 2)
    # The probability of each occasion, instead.
    p: float | None = None

    @property
    def name(self) -> str:
        return self.kind.name

    def __str__(self) -> str:
        value = f"={self.value:g}" if self.kind.default is not None else ""
        if self.p is not None:
            when = f"p={self.p:g}"
        elif self.when is None:
            when = "every"
        else:
            when = f"{self.when[0]}-{self.when[-1]}" if len(self.when) > 1 else str(self.when[0])
        return f"{self.name}{value}@{when}"


def fault(text: str | Fault) -> Fault:
    """Parse ``NAME[=VALUE][@WHEN]``.

    Raises:
        InputError: If there is none of that name, or it takes no such value.
    """
    if isinstance(text, Fault):
        return text
    if not isinstance(text, str):
        raise InputError(f"a fault is asked for by its name, not by {clipped(text)}")
    spec, _, when = text.partition("@")
    name, _, number = spec.partition("=")
    kind = _BY_NAME.get(name)
    if kind is None:
        raise InputError(f"no fault is called {clipped(name)}; there are {', '.join(_BY_NAME)}")
    if number and kind.default is None:
        raise InputError(f"the fault {name} takes no value, and {clipped(text)} has one")
    occasions, p = None, None
    try:
        value = float(number) if number else kind.default or 0.0
        if when.startswith("p="):
            p = float(when.removeprefix("p="))
        elif when != "every":
            first, _, last = (when or "1").partition("-")
            occasions = range(int(first), int(last or first) + 1)
    except ValueError:
        raise InputError(
            f"{clipped(text)} is not a fault; write NAME or NAME=NUMBER, and then @N, @N-M, @every, @p=PROBABILITY or nothing"
        ) from None
    if p is not None and not 0 <= p <= 1:
        raise InputError(f"{clipped(text)}: a probability is from 0 to 1")
    if not 0 <= value < math.inf or (occasions is not None and (occasions.start < 1 or not occasions)):
        raise InputError(
            f"{clipped(text)} is not a fault: values are positive, and occasions are counted from 1 upwards"
        )
    if name == "http-error" and value not in _STATUSES:
        raise InputError(f"{clipped(text)}: {value:g} is no HTTP status of an error; 503, 429 or 401 are")
    if name == "close" and value not in _CLOSE_CODES:
        raise InputError(
            f"{clipped(text)}: {value:g} is no code that a websocket may close with; 1011 or 3000 to 4999 are"
        )
    return Fault(kind, value, occasions, p)


def faults(texts: Sequence[str | Fault]) -> tuple[Fault, ...]:
    """Parse a list of faults.

    Of several without WHEN about the same thing, the first comes the first time, the second the second time, and so on.

    Raises:
        InputError: As `fault`; if one can never come, because an earlier one has its occasions; or if the probabilities of what
            can go wrong with one thing are more than 1 together.
    """
    if isinstance(texts, str):
        raise InputError(f"faults must be a list of names, not {clipped(texts)}")
    parsed: list[Fault] = []
    for text in texts:
        item = fault(text)
        occasions = {before.when for before in parsed if before.kind.of == item.kind.of and before.p is None}
        if None in occasions and item.p is None:
            raise InputError(f"{item} never comes: an earlier fault has every {item.kind.of}")
        if isinstance(text, str) and "@" not in text:
            # several without WHEN: each has an occasion of its own, one after the other
            n = next(n for n in itertools.count(1) if not any(when is not None and n in when for when in occasions))
            item = replace(item, when=range(n, n + 1))
        elif item.when is not None and any(when and set(item.when) <= set(when) for when in occasions):
            raise InputError(f"{item} never comes: an earlier fault has that {item.kind.of}")
        parsed.append(item)
    for of in {item.kind.of for item in parsed}:
        total = math.fsum(item.p for item in parsed if item.kind.of == of and item.p is not None)
        if total > 1:
            raise InputError(f"the probabilities of the faults of one {of} are {total:g} together; they may be 1")
    return tuple(parsed)


class Faults:
    """The faults of a stand-in or of one session, with a count of the occasions so far."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._faults = faults
        self._count: dict[str, int] = {}

    def due(self, of: str, draws: Draws) -> Fault | None:
        """Count an occasion (`Kind.of`) and return the fault that it has, if any; `draws` are those of this attempt at the trial."""
        n = self._count[of] = self._count.get(of, 0) + 1
        number: float | None = None  # one draw for all faults of the same thing, so that their chances add up
        for item in self._faults:
            if item.kind.of != of:
                continue
            if item.p is not None:
                if number is None:
                    # a session has one connection, and which of the stand-in's it is must not change the draw
                    number = draws.uniform("fault", of, *([] if of == "connection" else [n]))
                if number < item.p:
                    return item
                number -= item.p
            elif item.when is None or n in item.when:
                return item
        return None
