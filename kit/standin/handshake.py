"""The door: what a connection's URL and headers ask for, and how the service says no to it.

OpenAI accepts the upgrade of everything, wrong keys included, then sends one `error` and closes in the same millisecond with
3000 (who are you) or 4000 (what do you want); the reason is ``type.code`` (captures of 2026-09-18).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import re
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from websockets.datastructures import Headers

from ..wire.dialect import BETA, GA, Dialect
from ..wire.refusals import Refusal
from .frames import encode, new_id
from .settings import Refused, Settings, fields, integer, nullable, one_of

# Ephemeral keys: ``POST …/client_secrets`` (GA) and ``POST …/sessions`` (beta), and what an ``ek_`` key brings along.
#
# The server's library reads nothing but websocket handshakes, so that the few requests there are get read here.


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
        """Make a key; gives what the service answers (wire/README.md, Ephemeral keys). The model is not looked at: connecting fails, if it does.

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


DEFAULT_MODEL = "stand-in"
BETA_HEADER = "realtime=v1"
_SPEAKS_NOT = re.compile(r"gpt-(?:nope|[345](?!.*realtime))")  # names of models that the service has only in text


@dataclass(frozen=True, slots=True)
class Caller:
    """What a connection asks for."""

    dialect: Dialect
    model: str | None
    trial: str | None
    attempt: str | None
    key: str | None
    intent: str | None
    beta_header: bool


@dataclass(frozen=True, slots=True)
class Shut:
    """A handshake refused: the `error`, then the close."""

    refusal: Refusal
    close_code: int

    @property
    def reason(self) -> str:
        return ".".join(word for word in (self.refusal.type, self.refusal.code) if word)


def caller(target: str, headers: Headers, subprotocols: list[str], forced: str) -> Caller:
    """Read a request.

    Args:
        target: Path and query.
        headers: Of the upgrade request.
        subprotocols: Those it offers: a browser has no other place for its key (``openai-insecure-api-key.…``).
        forced: ``ga``, ``beta``, or ``both`` to let the request decide.
    """
    split = urlsplit(target)
    query = {name: values[-1] for name, values in parse_qs(split.query, keep_blank_values=True).items()}
    beta_header = (
        BETA_HEADER in headers.get_all("OpenAI-Beta")
        or "openai-beta.realtime-v1" in subprotocols
        or split.path.rstrip("/") == "/openai/realtime"  # Azure's preview path
    )
    asks_beta = beta_header or query.get("dialect") == "beta"
    d = {"ga": GA, "beta": BETA}.get(forced) or (BETA if asks_beta and query.get("dialect") != "ga" else GA)
    return Caller(
        dialect=d,
        model=query.get("model") or query.get("deployment"),
        trial=query.get("trial"),
        attempt=query.get("attempt"),
        key=_key(headers, subprotocols, query),
        intent=query.get("intent"),
        beta_header=beta_header,
    )


def _key(headers: Headers, subprotocols: list[str], query: dict[str, str]) -> str | None:
    authorization = headers.get("Authorization", "")
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer" and rest.strip():
        return rest.strip()
    if scheme.lower() == "basic" and rest.strip():
        try:
            return base64.b64decode(rest.strip()).decode().rpartition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return rest.strip()
    prefix = "openai-insecure-api-key."
    offered = next((word.removeprefix(prefix) for word in subprotocols if word.startswith(prefix)), None)
    return offered or headers.get("api-key") or query.get("api-key") or None


def masked(key: str) -> str:
    """A key as the service repeats it: enough to recognise, not enough to use."""
    head = key[:8] if len(key) > 16 else key[:3]
    return f"{head}{'*' * 8}{key[-4:] if len(key) > 12 else ''}"


def shut(who: Caller, *, require_key: str | None, secret: bool, beta_disabled: bool) -> Shut | None:
    """Why this caller is refused, in the service's words; ``None`` if it may come in (wire/README.md, Handshake failures).

    Args:
        who: The caller.
        require_key: The key that is let in; ``None``: any but ``sk-wrong…``.
        secret: Whether its key is an ephemeral one of ours, still valid.
        beta_disabled: Whether the beta header is refused.
    """
    if who.key is None and require_key is not None:
        return Shut(Refusal(None, "Missing bearer or basic authentication in header"), 3000)
    if who.key is not None and not secret and not good(who.key, require_key):
        message = (
            f"Incorrect API key provided: {masked(who.key)}. "
            "You can find your API key at https://platform.openai.com/account/api-keys."
        )
        return Shut(Refusal("invalid_api_key", message), 3000)
    if who.beta_header and beta_disabled:
        message = "The Realtime Beta API is no longer supported. Please use /v1/realtime for the GA API."
        return Shut(Refusal("beta_api_shape_disabled", message), 4000)
    if who.intent == "transcription":
        if who.model is None:
            return None
        message = "You must not provide a model parameter for transcription sessions."  # the code is unverified
        return Shut(Refusal("invalid_model", message), 4000)
    if who.model is None:
        message = (
            "You must provide a model parameter, for example wss://api.openai.com/v1/realtime?model=gpt-realtime-1.5"
        )
        return Shut(Refusal("missing_model", message), 4000)
    if not who.model.startswith(("gpt-", "grok-", DEFAULT_MODEL)) or _SPEAKS_NOT.match(who.model):
        # only the sentence's beginning is known (capture of 2026-09)
        message = f'Model "{who.model}" is not supported in realtime mode.'
        return Shut(Refusal("invalid_model", message), 4000)
    return None


def good(key: str, require_key: str | None) -> bool:
    """Whether a key opens the door: the one that is asked for, or else any that does not say it is wrong."""
    if require_key is not None:
        return hmac.compare_digest(key.encode(), require_key.encode())
    return not key.startswith(("sk-wrong", "ek_"))


def is_loopback(host: str | None) -> bool:
    """Whether a host's name or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def foreign(origin: str | None, allowed: Collection[str]) -> bool:
    """Whether a page of somebody else's is asking: any page in any browser can reach this machine's ports."""
    return origin is not None and origin not in allowed and not is_loopback(urlsplit(origin).hostname)
