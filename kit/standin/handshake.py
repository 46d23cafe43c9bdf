"""The door: who may connect, what a connection asks for, how the service refuses it, and ephemeral keys.

OpenAI accepts the upgrade of everything, wrong keys included, then sends one `error` and closes in the same millisecond with
3000 (who are you) or 4000 (what do you want); the reason is ``type.code`` (captures of 2026-09-18).
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
import re
import secrets
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
from websockets.datastructures import Headers

from ..errors import InputError, clipped
from ..wire.dialect import BETA, GA, Dialect
from ..wire.refusals import Refusal, wrong_type
from .frames import encode, error_fields, new_id
from .settings import Number, Refused, Settings, check, refuse

DEFAULT_MODEL = "stand-in"
# Of the calls that a sideband joins: any call id will do.
CALL_MODEL = "gpt-realtime"
# Names of models that the service has only in text: refused as it refuses them.
_TEXT_ONLY = re.compile(r"gpt-(?:nope|[345](?!.*realtime))")

# Who may connect


def is_loopback(host: str | None) -> bool:
    """Whether a host's name or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Access:
    """Who may connect to a server of the kit's: the stand-in and the replay share this door.

    Raises:
        InputError: For an address that others reach without a key, or a key of blanks.
    """

    # Where it listens.
    host: str
    # The only key that is let in; ``None``: any but those that say they are wrong.
    require_key: str | None = None
    # Web pages, besides this machine's own, that may connect.
    origins: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.require_key is not None and not (isinstance(self.require_key, str) and self.require_key.strip()):
            raise InputError("require_key is blank: give the key that clients must send")
        if not is_loopback(self.host) and self.require_key is None:
            raise InputError(
                f"{clipped(self.host)} can be reached by others: give require_key=, or listen on 127.0.0.1"
            )

    def refusal(self, headers: Headers) -> str | None:
        """Return why a request with these headers may not come in, whatever its key; ``None`` if it may.

        Any page in any browser can reach this machine's ports: the page's Origin says where it is from. A page whose name was made
        to point here (DNS rebinding) shows in the Host header; where a key is required, that keeps it out.
        """
        origin, host = (next(iter(headers.get_all(name)), None) for name in ("Origin", "Host"))
        if origin is not None and origin not in self.origins and not is_loopback(_hostname(origin)):
            return "this server is not open to other machines' web pages"
        name = _hostname(f"//{host}") if host else None
        names = {self.host, *map(_hostname, self.origins)}
        if self.require_key is None and host is not None and not is_loopback(name) and name not in names:
            return f"this server answers to localhost, not to {clipped(host)}"
        return None

    def fits(self, key: str | None) -> bool:
        """Whether a key opens the door. Without a required key any does that does not say it is wrong, or none."""
        if self.require_key is not None:
            return key is not None and hmac.compare_digest(key.encode(), self.require_key.encode())
        return key is None or not key.startswith(("sk-wrong", "ek_"))


# What a connection asks for


def query_of(target: str) -> dict[str, str]:
    """Return the fields of a path's query; of several of one name the last."""
    return dict(parse_qsl(urlsplit(target).query, keep_blank_values=True))


def subprotocols(headers: Headers) -> list[str]:
    """Return the subprotocols that a client offers."""
    return [word.strip() for line in headers.get_all("Sec-WebSocket-Protocol") for word in line.split(",")]


class ConnectionRequest:
    """The options of one connection, from its URL and headers.

    `forced_dialect` is ``ga``, ``beta``, or ``both`` to let the request decide.
    """

    def __init__(self, target: str, headers: Headers, forced_dialect: str) -> None:
        query = query_of(target)
        # Whether it asks for beta as the service knows it: `beta_disabled` refuses that, and not ``?dialect=beta``, which is the kit's.
        self.beta_header = (
            "realtime=v1" in headers.get_all("OpenAI-Beta")
            or "openai-beta.realtime-v1" in subprotocols(headers)
            or urlsplit(target).path.rstrip("/") == "/openai/realtime"  # Azure's preview path
        )
        asks_beta = self.beta_header or query.get("dialect") == "beta"
        by_request = BETA if asks_beta and query.get("dialect") != "ga" else GA
        self.dialect = {"ga": GA, "beta": BETA}.get(forced_dialect, by_request)
        self.key = key_of(headers, target)
        self.model = query.get("model") or query.get("deployment")
        # What its draws are made for, and which try that is; ``None``: the connection's number, and the first.
        self.trial, self.attempt = query.get("trial"), query.get("attempt")
        # ``transcription``, or nothing.
        self.intent = query.get("intent")
        # The WebRTC or SIP call that it joins: a sideband, which hears no audio.
        self.call_id = query.get("call_id") or None
        # Whether a GPT-Live sideband is to end with a closing handshake.
        self.graceful_close = query.get("graceful_close") == "true"


def key_of(headers: Headers, target: str = "") -> str | None:
    """Return the API key of a request. A browser can only send it as a subprotocol, ``openai-insecure-api-key.…``."""
    scheme, _, credentials = next(iter(headers.get_all("Authorization")), "").partition(" ")
    credentials, key = credentials.strip(), None
    if scheme.lower() == "bearer":
        key = credentials
    elif scheme.lower() == "basic":
        try:
            key = base64.b64decode(credentials).decode().rpartition(":")[2]
        except ValueError:  # no base64, or no text in it
            key = credentials
    prefix = "openai-insecure-api-key."
    key = key or next((word.removeprefix(prefix) for word in subprotocols(headers) if word.startswith(prefix)), None)
    key = key or next((value for name in ("api-key", "xi-api-key") for value in headers.get_all(name)), None)
    key = key or query_of(target).get("api-key") or None
    return key.encode("utf-8", "replace").decode() if key else None  # a header may hold bytes that are no text


def rejection(
    request: ConnectionRequest, access: Access, *, ephemeral: bool, beta_disabled: bool
) -> tuple[Refusal, int] | None:
    """Return the `error` of a connection that is refused, and the code that it is closed with; ``None`` if it may come in.

    The sentences are those of wire/README.md, Handshake failures.
    `ephemeral`: its key is an ephemeral one of this server's, still valid.
    """
    key, model = request.key, request.model
    code: str | None = "invalid_model"
    if key is None and access.require_key is not None:
        return Refusal(None, "Missing bearer or basic authentication in header"), 3000
    if key is not None and not ephemeral and not access.fits(key):
        # the service repeats enough of it to recognise, not enough to use
        masked = f"{key[:8] if len(key) > 16 else key[:3]}{'*' * 8}{key[-4:] if len(key) > 12 else ''}"
        message = (
            f"Incorrect API key provided: {masked}. "
            "You can find your API key at https://platform.openai.com/account/api-keys."
        )
        return Refusal("invalid_api_key", message), 3000
    if request.beta_header and beta_disabled:
        message = "The Realtime Beta API is no longer supported. Please use /v1/realtime for the GA API."
        code = "beta_api_shape_disabled"
    elif request.intent == "transcription":
        if model is None:
            return None
        message = "You must not provide a model parameter for transcription sessions."  # the code is unverified
    elif request.call_id is not None:  # instead of a model: the call has one
        return None
    elif model is None:
        message = (
            "You must provide a model parameter, for example wss://api.openai.com/v1/realtime?model=gpt-realtime-1.5"
        )
        code = "missing_model"
    elif (
        model.startswith("gpt-live")
        or not model.startswith(("gpt-", "grok-", DEFAULT_MODEL))
        or _TEXT_ONLY.match(model)
    ):
        # only the sentence's beginning is known (capture of 2026-09)
        message = f'Model "{model}" is not supported in realtime mode.'
    else:
        return None
    return Refusal(code, message), 4000


# Ephemeral keys: ``POST …/client_secrets`` (GA) and ``POST …/sessions`` (beta), and what an ``ek_`` key brings along.

# How long a key is good for: GA's unless 10 to 7,200 are asked for, and beta's.
DEFAULT_S = 600
BETA_S = 60
MAX_REQUEST_BYTES = 1 << 20
# Kept at once; the bytes are those of their requests.
MAX_SECRETS, MAX_SECRETS_BYTES = 1_000, 16 << 20

_EXPIRES = {"anchor": ("created_at",), "seconds": Number("integer", 10, 7200)}


@dataclass(frozen=True, slots=True)
class Secret:
    """What an ``ek_`` key stands for."""

    expires_at: int  # Unix seconds
    dialect: Dialect
    model: str | None  # ``None`` for a session that only transcribes
    update: dict[str, Any]  # the settings that its session begins with
    n_bytes: int  # of the request that made it: what is kept is bounded


class Secrets:
    """The ephemeral keys of one stand-in. `unix` is the wall clock, in seconds."""

    def __init__(self, unix: Callable[[], float]) -> None:
        self._unix = unix
        self._by_key: dict[str, Secret] = {}

    def find(self, key: str | None) -> Secret | None:
        """Return what a key stands for, if it was made here and is still valid."""
        secret = self._by_key.get(key or "")
        return secret if secret is not None and secret.expires_at > self._unix() else None

    def answer(self, request: HttpRequest) -> bytes:
        """Answer a POST for an ephemeral key, or any other request that is for nothing here.

        The model is not looked at: connecting fails, if it is none.
        """
        path, now = request.path, int(self._unix())
        d = GA if path.endswith("/realtime/client_secrets") else BETA if path.endswith("/realtime/sessions") else None
        if d is None or request.method != "POST":
            return http_answer("404 Not Found", Refusal(None, f"Invalid URL ({request.method} {path})"))
        try:
            try:
                body = msgspec.json.decode(request.body or b"{}")
            except (ValueError, RecursionError) as exc:  # msgspec's errors are among these, and text that is not UTF-8
                raise refuse("invalid_json", f"We could not parse the JSON body of your request. {exc}") from None
            if not isinstance(body, dict):
                raise refuse("invalid_json", "The body must be a JSON object.")
            self._by_key = {key: secret for key, secret in self._by_key.items() if secret.expires_at > now}
            n_bytes = len(request.body) + sum(secret.n_bytes for secret in self._by_key.values())
            if len(self._by_key) >= MAX_SECRETS or n_bytes > MAX_SECRETS_BYTES:
                message = "This stand-in keeps no more ephemeral keys: wait until some expire."
                return http_answer("429 Too Many Requests", Refusal("rate_limit_exceeded", message))
            update: Any = body
            seconds = BETA_S
            if d is GA:
                update, expires_after = body.get("session"), body.get("expires_after")
                update = {"type": "realtime"} if update is None else update
                check(expires_after, _EXPIRES, "expires_after")
                seconds = int((expires_after or {}).get("seconds") or DEFAULT_S)
            if not isinstance(update, dict):
                raise Refused(wrong_type("session", "an object", update))
            model = None if update.get("type") == "transcription" else str(update.get("model") or DEFAULT_MODEL)
            settings = Settings(d, session_id=new_id("sess", now), model=model, expires_at=0)
            settings.update(update, spoke=False)
        except Refused as exc:
            return http_answer("400 Bad Request", exc.refusal)
        key, expires_at = f"ek_{secrets.token_hex(16)}", now + seconds
        self._by_key[key] = Secret(expires_at, d, model, dict(update), len(request.body))
        value = {"value": key, "expires_at": expires_at}
        if d is BETA:
            return http_answer("200 OK", settings.session | {"client_secret": value})
        return http_answer("200 OK", value | {"session": settings.session})


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A whole HTTP request with its body."""

    method: str
    path: str
    """Without a slash at its end."""
    query: str
    headers: Headers
    body: bytes


class PlainRequest:
    """One POST or DELETE as it comes in, which the server's library does not read.

    `answer` is called with the whole request; it returns the whole answer, or a coroutine that does.
    """

    METHODS = (b"POST ", b"DELETE ")

    def __init__(self, access: Access, answer: Callable[[HttpRequest], bytes | Coroutine[Any, Any, bytes]]) -> None:
        self._access, self._answer = access, answer
        self._data = bytearray()

    def feed(self, data: bytes) -> bytes | Coroutine[Any, Any, bytes] | None:
        """Take bytes of the request; return the answer, or a coroutine for it, once the whole request is there."""
        self._data += data
        if len(self._data) > MAX_REQUEST_BYTES:
            return http_answer("413 Content Too Large", Refusal(None, "The request is too large."))
        head, gap, body = bytes(self._data).partition(b"\r\n\r\n")
        if not gap:
            return None
        lines = head.decode("latin-1").split("\r\n")
        headers = Headers()
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip()] = value.strip()
        length = next(iter(headers.get_all("Content-Length")), "0")
        if not (length.isascii() and length.isdecimal()):
            return http_answer("400 Bad Request", Refusal(None, "Content-Length is not a number."))
        n_bytes = int(length) if len(length) < 10 else MAX_REQUEST_BYTES + 1
        if n_bytes > MAX_REQUEST_BYTES:
            return http_answer("413 Content Too Large", Refusal(None, "The request is too large."))
        if len(body) < n_bytes:
            return None
        why = self._access.refusal(headers)
        if why is not None:
            return http_answer("403 Forbidden", Refusal(None, why))
        method, _, target = lines[0].partition(" ")
        path, _, query = target.partition(" ")[0].partition("?")
        return self._answer(HttpRequest(method, path.rstrip("/"), query, headers, body[:n_bytes]))


def http_answer(status: str, body: dict[str, Any] | Refusal | bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """Return a whole HTTP answer; a body that is no bytes becomes JSON."""
    if isinstance(body, Refusal):
        body = {"error": error_fields(body)}
    data = body if isinstance(body, bytes) else encode(body)
    fields = {"Content-Type": "application/json", **(headers or {}), "Content-Length": len(data), "Connection": "close"}
    head = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items()), "\r\n"]
    return "\r\n".join(head).encode() + data
