"""Ephemeral keys: ``POST …/client_secrets`` (GA) and ``POST …/sessions`` (beta), and what an ``ek_`` key brings along.

The server's library reads nothing but websocket handshakes, so that the few requests there are get read here.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from ..wire.dialect import BETA, GA, Dialect, Refusal
from .frames import encode, new_id
from .schema import Refused, fields, integer, nullable, one_of
from .settings import Settings

DEFAULT_S = 600  # of GA; 10 to 7,200 may be asked for
BETA_S = 60
MAX_REQUEST_BYTES = 1 << 20

_EXPIRES = nullable(fields(anchor=one_of("created_at"), seconds=nullable(integer(10, 7200))))


@dataclass(frozen=True, slots=True)
class Secret:
    """What an ``ek_`` key stands for."""

    expires_at: int
    dialect: Dialect
    model: str | None
    update: dict[str, Any]
    """The settings that its session begins with."""


class Secrets:
    """The ephemeral keys of one stand-in.

    Args:
        unix: The wall clock, in seconds.
    """

    def __init__(self, unix: Callable[[], float]) -> None:
        self._unix = unix
        self._known: dict[str, Secret] = {}

    def find(self, key: str | None) -> Secret | None:
        """The key's secret, if it is one of ours and still valid."""
        found = self._known.get(key or "")
        return found if found is not None and found.expires_at > self._unix() else None

    def mint(self, body: dict[str, Any], d: Dialect) -> dict[str, Any]:
        """Make a key; gives what the service answers (protocol.md §1.3). The model is not looked at: connecting fails, if it does.

        Raises:
            Refused: If the session could not be made so.
        """
        now = int(self._unix())
        self._known = {key: secret for key, secret in self._known.items() if secret.expires_at > now}
        if d is GA:
            update, seconds = dict(body.get("session") or {"type": "realtime"}), self._seconds(body)
        else:
            update, seconds = dict(body), BETA_S
        transcribes = update.get("type") == "transcription"
        model = None if transcribes else str(update.get("model") or "stand-in")
        settings = Settings(d, session_id=new_id("sess", now), model=model, expires_at=0)
        settings.update(update, spoke=False)
        key, expires_at = f"ek_{secrets.token_hex(16)}", now + seconds
        self._known[key] = Secret(expires_at, d, model, update)
        if d is BETA:
            return settings.session | {"client_secret": {"value": key, "expires_at": expires_at}}
        return {"value": key, "expires_at": expires_at, "session": settings.session}

    def _seconds(self, body: dict[str, Any]) -> int:
        asked = body.get("expires_after")
        refusal = _EXPIRES(asked, "expires_after")
        if refusal:
            raise Refused(refusal)
        return int((asked or {}).get("seconds") or DEFAULT_S)


class Post:
    """One HTTP request as it comes in, and its answer.

    Args:
        mint: Makes the answer's body; raises `Refused`.
        allowed: Whether the key of a request is good.
    """

    def __init__(
        self, mint: Callable[[dict[str, Any], Dialect], dict[str, Any]], allowed: Callable[[str], bool]
    ) -> None:
        self._mint, self._allowed = mint, allowed
        self._data = bytearray()

    def feed(self, data: bytes) -> bytes | None:
        """Take what came; gives the whole answer once the whole request is there."""
        self._data += data
        head, gap, body = bytes(self._data).partition(b"\r\n\r\n")
        if len(self._data) > MAX_REQUEST_BYTES:
            return _answer("413 Content Too Large", Refusal(None, "The request is too large."))
        if not gap:
            return None
        lines = head.decode("latin-1").split("\r\n")
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        length = headers.get("content-length", "0")
        if not length.isdecimal():  # "²" is a digit
            return _answer("400 Bad Request", Refusal(None, "Content-Length is not a number."))
        if len(body) < int(length):
            return None
        return self._reply(lines[0].split(" ")[1].partition("?")[0].rstrip("/"), headers, body[: int(length)])

    def _reply(self, path: str, headers: dict[str, str], body: bytes) -> bytes:
        d = GA if path.endswith("/realtime/client_secrets") else BETA if path.endswith("/realtime/sessions") else None
        if d is None:
            return _answer("404 Not Found", Refusal(None, f"Invalid URL (POST {path})"))
        key = headers.get("authorization", "").partition(" ")[2].strip() or headers.get("api-key", "")
        if not self._allowed(key):
            return _answer("401 Unauthorized", Refusal("invalid_api_key", "Incorrect API key provided."))
        try:
            given = msgspec.json.decode(body or b"{}")
        except (msgspec.DecodeError, RecursionError) as exc:
            return _answer(
                "400 Bad Request", Refusal("invalid_json", f"We could not parse the JSON body of your request. {exc}")
            )
        if not isinstance(given, dict):
            return _answer("400 Bad Request", Refusal("invalid_json", "The body must be a JSON object."))
        try:
            return _answer("200 OK", self._mint(given, d))
        except Refused as exc:
            return _answer("400 Bad Request", exc.refusal)


def _answer(status: str, body: dict[str, Any] | Refusal) -> bytes:
    if isinstance(body, Refusal):
        body = {"error": {"message": body.message, "type": body.type, "param": body.param, "code": body.code}}
    data = encode(body)
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    return head.encode() + data
