"""Faults by name: what can go wrong on purpose, when, and what it looks like to a client.

``NAME``, ``NAME=VALUE``, ``NAME@WHEN``, ``NAME=VALUE@WHEN``: WHEN is which reply, item or connection has the fault, counted
from 1 (the default), or ``every``. Replies and items are counted per session, connections per stand-in.

`KINDS` is the one list; the table in ``kit/standin/README.md`` is what `table` makes of it, and a test keeps it so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ..errors import InputError, clipped
from .frames import OnPurpose, encode

if TYPE_CHECKING:
    from .core import Core
    from .responding import Response


@dataclass(frozen=True, slots=True)
class Kind:
    """One thing that can go wrong."""

    name: str
    of: str
    """What has it: a ``reply``, an ``item``, a ``connection`` or a whole ``session``."""
    does: str
    looks_like: str
    """What the kit's own client makes of it."""
    value: str = ""
    """What a value means, with its default."""
    default: float = 0.0


KINDS: tuple[Kind, ...] = (
    Kind(
        "stall",
        "reply",
        "stops midway; nothing more comes, the socket stays open",
        "`ResponseTimeout` with the last events",
    ),
    Kind(
        "slow-start",
        "reply",
        "nothing comes at first",
        "a late reply, or `ResponseTimeout` if it is later than the limit",
        "seconds",
        2.0,
    ),
    Kind("drop", "reply", "closes the socket midway, in good order (1000)", "`SessionClosed`, code 1000"),
    Kind("cut", "reply", "the TCP connection is cut midway", "`SessionClosed`, code 1006"),
    Kind(
        "close", "reply", "closes the socket midway with a code", "`SessionClosed` with that code", "close code", 1011
    ),
    Kind("error-event", "reply", "is refused: an `error` event (server_error) and no reply", "`ServerError`"),
    Kind(
        "failed", "reply", "ends `failed` (server_error) before it says anything", "a response whose status is `failed`"
    ),
    Kind("incomplete", "reply", "ends `incomplete` midway (content_filter)", "a response whose status is `incomplete`"),
    Kind("rate-limit", "reply", "ends `failed` (rate_limit_exceeded)", "a response whose status is `failed`"),
    Kind(
        "quota",
        "reply",
        "ends `failed` (insufficient_quota), then the socket closes",
        "a response that is `failed`; after it, `SessionClosed`",
    ),
    Kind("malformed", "reply", "midway comes a frame that is not JSON", "`RemoteProtocolError` with the frame's head"),
    Kind(
        "unknown-event",
        "reply",
        "midway comes an event of a type that is in no reference",
        "a complete response; the type is counted",
    ),
    Kind("huge", "reply", "midway comes a frame of 3.4 MB", "a complete response"),
    Kind(
        "duplicate", "reply", "a delta and `response.done` come twice, with the same ids", "a complete response, once"
    ),
    Kind("late", "reply", "a delta comes after `response.done`", "a complete response"),
    Kind("refuse-item", "item", "is refused with an `error`", "`SeedRefused` naming the item"),
    Kind("lose-item", "item", "is never confirmed", "`ResponseTimeout` while seeding"),
    Kind(
        "refuse-handshake",
        "connection",
        "101, `error` invalid_api_key, close 3000",
        "`HandshakeRefused`, close code 3000",
    ),
    Kind(
        "http-error",
        "connection",
        "the upgrade is refused with an HTTP status",
        "`HandshakeRefused` with that status",
        "status",
        503,
    ),
    Kind("silent", "connection", "101, and then never a word", "`Unreachable`: no first event came"),
    Kind(
        "expire",
        "session",
        "reaches its maximum duration: `error` session_expired, close 1001",
        "`SessionClosed`, code 1001",
        "seconds",
        1.0,
    ),
)
_BY_NAME = {kind.name: kind for kind in KINDS}

_STATUSES = frozenset(int(status) for status in HTTPStatus if status >= 400)
_CLOSE_CODES = frozenset((1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)))  # RFC 6455, 7.4

MIDWAY = 3  # steps into a reply: begun, and a little of it out
_HUGE_BYTES = 3_476_354  # the largest frame that was seen from the service (items with their audio)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault that was asked for."""

    kind: Kind
    value: float
    nth: int | None = 1
    """Which occasion, from 1; ``None``: every one."""

    @property
    def name(self) -> str:
        return self.kind.name

    def __str__(self) -> str:
        value = f"={self.value:g}" if self.kind.value else ""
        return f"{self.name}{value}@{self.nth or 'every'}"


def fault(text: str | Fault) -> Fault:
    """The fault that ``NAME[=VALUE][@WHEN]`` asks for.

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
    if number and not kind.value:
        raise InputError(f"the fault {name} takes no value, {clipped(text)} gives it one")
    try:
        value = float(number) if number else kind.default
        nth = None if when == "every" else int(when or 1)
    except ValueError:
        raise InputError(f"{clipped(text)} is not a fault; write NAME, NAME=NUMBER, NAME@COUNT or NAME@every") from None
    if not 0 <= value < math.inf or (nth is not None and nth < 1):
        raise InputError(f"{clipped(text)} is not a fault: values are positive, and occasions are counted from 1")
    if name == "http-error" and value not in _STATUSES:
        raise InputError(f"{clipped(text)}: {value:g} is no HTTP status of an error; 503, 429 or 401 are")
    if name == "close" and value not in _CLOSE_CODES:
        raise InputError(
            f"{clipped(text)}: {value:g} is no code that a websocket may close with; 1011 or 3000 to 4999 are"
        )
    return Fault(kind, value, nth)


class Faults:
    """The faults of a stand-in or of one session, and how often there was occasion for them."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._faults = faults
        self._count: dict[str, int] = {}

    def due(self, of: str) -> Fault | None:
        """The fault of the next reply, item, connection or session, if it has one. Counts the occasion."""
        n = self._count[of] = self._count.get(of, 0) + 1
        return next((f for f in self._faults if f.kind.of == of and f.nth in (None, n)), None)


# -------------------------------------------------------------------------------------------------- how replies go wrong


def troubled(fault: Fault, response: Response, core: Core) -> Iterator[float]:
    """The steps of a response that has a fault."""
    name = fault.name
    if name == "slow-start":
        core.responses.hold(response, fault.value)
        yield 0.0
        yield from response.steps()
    elif name in FAILURES:
        yield from response.fail(FAILURES[name](core))
        if name == "quota":  # the connection is closed then; with which code is unverified
            core.closing = (1000, "insufficient_quota")
    elif name == "late":
        yield from _steps_keeping_last_delta(response, core)
    else:
        for n, at_s in enumerate(response.steps()):
            yield at_s
            if n == MIDWAY:
                yield from _midway(fault, response, core)
                if response.status != "in_progress":
                    return
        if name == "duplicate":
            core.put(OnPurpose(response.done_frame))


def _midway(fault: Fault, response: Response, core: Core) -> Iterator[float]:
    name = fault.name
    if name == "stall":
        while True:
            yield math.inf
    elif name == "drop":
        core.closing = (1000, "")
    elif name == "close":
        core.closing = (int(fault.value), "asked for: close")
    elif name == "cut":
        core.cut = True
    elif name == "incomplete":
        response.cut_short("content_filter")
    elif name == "duplicate":
        core.put(OnPurpose(core.last))
    elif name == "malformed":
        core.put(OnPurpose(b'{"type":"response.output_audio.delta","event_id":'))
    elif name == "unknown-event":
        core.put(OnPurpose(encode({"type": "response.weather.delta", "event_id": core.event_id(), "delta": "sunny"})))
    elif name == "huge":
        filler = {"type": "response.output_padding", "event_id": core.event_id(), "padding": "x" * _HUGE_BYTES}
        core.put(OnPurpose(encode(filler)))


def _steps_keeping_last_delta(response: Response, core: Core) -> Iterator[float]:
    delta = b""
    for at_s in response.steps():
        if b'.delta","event_id"' in core.last[:80]:
            delta = core.last
        yield at_s
    core.put(OnPurpose(delta))


def _rate_limit(core: Core) -> dict[str, Any]:
    message = (
        f"Rate limit reached for {core.settings.model} in organization org-standin on tokens per min (TPM): "
        "Limit 40000, Used 40000, Requested 1000. Please try again in 1.5s."
    )
    return {"type": "tokens", "code": "rate_limit_exceeded", "message": message}


def _quota(core: Core) -> dict[str, Any]:
    message = "You exceeded your current quota, please check your plan and billing details."
    return {"type": "insufficient_quota", "code": "insufficient_quota", "message": message}


def server_error(core: Core) -> dict[str, Any]:
    """What the service says when it is at fault."""
    message = (
        "The server had an error while processing your request. Sorry about that! "
        f"(asked for of a stand-in; session ID: {core.id})"
    )
    return {"type": "server_error", "code": None, "message": message}


FAILURES = {"failed": server_error, "rate-limit": _rate_limit, "quota": _quota}


def table() -> str:
    """`KINDS` as the table of the docs."""
    rows = ["| fault | of | what happens | to the kit's client |", "|---|---|---|---|"]
    for kind in KINDS:
        name = f"`{kind.name}{f'={kind.default:g}' if kind.value else ''}`"
        rows.append(f"| {name} | {kind.of} | {kind.does} | {kind.looks_like} |")
    return "\n".join(rows)
