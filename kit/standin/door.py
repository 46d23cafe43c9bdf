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
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from websockets.datastructures import Headers

from ..wire.dialect import BETA, GA, Dialect, Refusal

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
    """Why this caller is refused, in the service's words; ``None`` if it may come in (protocol.md §1.4).

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
