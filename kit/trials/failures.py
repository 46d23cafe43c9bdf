"""What kind of failure an error is, and what the service says about coming back."""

from __future__ import annotations

import re

from ..errors import (
    ConnectError,
    HandshakeRefused,
    HistoryError,
    RemoteProtocolError,
    ServerError,
    SessionClosed,
)
from ..wire.fields import text_of
from ..wire.records import Response

AGAIN = frozenset(("transport", "rate_limit", "worker_lost"))
"""Kinds of failure that are tried again, unless an answer had come."""

THERE = AGAIN - {"worker_lost"}
"""Those of them that the other end brought about."""

_RATE_CODES = ("rate_limit_exceeded", "rate_limit_error", "too_many_requests", "slow_down")
HOPELESS = ("insufficient_quota", "invalid_api_key")
_TRY_AGAIN = re.compile(r"(?:try again|retry(?: again)?) (?:in|after) ([0-9.]+) *(ms|milli|s|m)?", re.IGNORECASE)


class ResponseFailed(Exception):
    """A response that the service ended as failed or cancelled."""

    def __init__(self, response: Response) -> None:
        super().__init__(response)
        self.response = response

    def __str__(self) -> str:
        said = (self.response.error or {}).get("message")
        return f"response {self.response.status} ({self.response.reason}){f': {said}' if said else ''}"


def failure_kind(exc: BaseException) -> tuple[str, str | None]:
    """What kind of failure an error is, and the service's own code for it (the ledger's docstring lists the kinds)."""
    if isinstance(exc, ResponseFailed):
        code = text_of(exc.response.error or {}, "code") or exc.response.reason
        return ("rate_limit" if code in _RATE_CODES else "refused" if code in HOPELESS else "server"), code
    if isinstance(exc, HandshakeRefused):
        limited = exc.code in _RATE_CODES or exc.close_code == 429
        broken = exc.close_code is None or 500 <= exc.close_code < 600 or 1001 <= exc.close_code <= 1015
        return (
            "rate_limit" if limited and exc.code != "insufficient_quota" else "transport" if broken else "refused"
        ), exc.code
    if isinstance(exc, ServerError):
        if exc.code in _RATE_CODES or exc.type in _RATE_CODES:
            return "rate_limit", exc.code
        return ("server" if exc.type == "server_error" else "refused"), exc.code
    if isinstance(exc, TimeoutError):
        return "timeout", None
    if isinstance(exc, SessionClosed):
        return "transport", None if exc.code is None else str(exc.code)
    if isinstance(exc, ConnectError | OSError):
        return "transport", None
    if isinstance(exc, RemoteProtocolError):
        return "protocol", None
    return ("refused" if isinstance(exc, HistoryError) else "error"), None


def waiting_time_s(exc: BaseException) -> float | None:
    """What an error's own words say about when to come back; ``None`` if they say nothing."""
    found = _TRY_AGAIN.search(str(exc))
    if found is None:
        return None
    try:
        return float(found[1]) * {"ms": 0.001, "milli": 0.001, "m": 60.0}.get((found[2] or "s").lower(), 1.0)
    except ValueError:
        return None
