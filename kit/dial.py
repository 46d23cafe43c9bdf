"""Opening a socket: the one place that decides where the kit connects, and that turns every refusal into one of its errors.

No redirect leads to another origin, no key goes out unencrypted (`Endpoint.headers` refuses), no proxy stands before this machine's
own servers, and what was sent as a secret is taken out of the library's objects as soon as the handshake is over.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import urllib.parse
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket_connect
from websockets.exceptions import InvalidHandshake, InvalidProxy, InvalidStatus, InvalidURI, WebSocketException

from .endpoint import PRICES, Endpoint, is_local
from .errors import ConnectError, EndpointError, HandshakeRefused, MissingExtra, ServerError, Unreachable, clipped
from .eventlog.redact import Redactor
from .intake import MAX_MESSAGE_BYTES, FastConnection

# websockets writes the handshake's headers, and with them the key, at DEBUG. This logger has no parent and no handler.
# Its level is above all others, for at DEBUG the library would also spend more on each frame than the kit does.
_SILENT = logging.Logger("kit.link", level=logging.CRITICAL + 1)

# This machine's trouble, which says nothing of the service: raised as it is.
_LOCAL_ERRORS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class _Opening(websocket_connect):
    """websockets' `connect`, which follows no redirect to another origin: the key, or what is said, would go there."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        location = exc.response.headers.get_all("Location") if isinstance(exc, InvalidStatus) else []
        if not location:
            return exc
        try:
            origin, target = urlsplit(self.uri), urlsplit(urllib.parse.urljoin(self.uri, location[0]))
            same = (origin.scheme, origin.hostname, origin.port) == (target.scheme, target.hostname, target.port)
        except ValueError:  # such as "ws://[::1"
            return exc
        return super().process_redirect(exc) if same and len(location) == 1 else exc


async def dial(
    endpoint: Endpoint,
    url: str,
    headers: dict[str, str],
    redactor: Redactor,
    timeout_s: float,
    subprotocols: Sequence[str] | None = None,
) -> FastConnection:
    """Open a socket and shake hands.

    Args:
        endpoint: Whose address this is, for the words of errors.
        url: The address itself; a stand-in's has more in its query.
        headers: As `Endpoint.headers` returned them.
        redactor: Takes what was sent as a secret out of a refusal's words.
        timeout_s: For all of it.
        subprotocols: To be offered.

    Raises:
        EndpointError: If the address, or the proxy that the environment names, is none.
        Unreachable: If nothing answers in time.
        HandshakeRefused: If the service refuses by HTTP status.
        ConnectError: If what answers is no websocket server.
        OSError: If this machine has no descriptors or memory left: that says nothing of the service.
    """
    local = is_local(url)
    hint = ". To start a stand-in there: python -m kit serve --port PORT" if local else ""
    host = urlsplit(url).hostname or ""
    try:
        ws = await _Opening(
            url,
            additional_headers=headers,
            user_agent_header=headers.pop("User-Agent", "realtime-history-kit"),
            subprotocols=subprotocols,  # type: ignore[arg-type]
            max_size=MAX_MESSAGE_BYTES,  # the library's 1 MiB would end sessions whose items carry audio
            compression=None,  # costs several times the CPU of everything else here, and base64 audio hardly shrinks
            # No keepalive: a cell that blocks the loop for a minute would find its session dead. The service pings every 20 s,
            # and TCP's own keepalive (below) finds a dead peer.
            ping_interval=None,
            open_timeout=timeout_s,
            close_timeout=5,
            proxy=None if local else True,
            logger=_SILENT,
            create_connection=FastConnection,
        )
    except InvalidStatus as exc:
        raise _refusal_by_status(endpoint, redactor, exc) from None
    except InvalidURI as exc:
        raise EndpointError(f"{clipped(endpoint.shown_url or url)} is not a websocket address: {exc.msg}") from None
    except (InvalidProxy, ValueError):  # what it says holds the proxy's password
        raise EndpointError(
            "the proxy that the environment names (HTTPS_PROXY, SOCKS_PROXY …) is not an address such as http://host:port"
        ) from None
    except ImportError as exc:
        raise MissingExtra(
            f"the environment names a SOCKS proxy: pip install python-socks, or unset it ({exc})"
        ) from None
    except (InvalidHandshake, WebSocketException) as exc:
        raise ConnectError(f"{host} answered, but not as a websocket server: {redactor.text(str(exc))}") from None
    except TimeoutError:
        raise Unreachable(
            f"{host} did not answer within {timeout_s:g} s; check the address and the network{hint}"
        ) from None
    except OSError as exc:
        if exc.errno in _LOCAL_ERRORS:
            raise
        raise Unreachable(
            f"cannot reach {endpoint.shown_url or url}: {exc.strerror or exc}; check the address and the network{hint}"
        ) from None
    assert isinstance(ws, FastConnection)
    _forget_secrets(ws)
    raw = ws.transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return ws


def _forget_secrets(ws: ClientConnection) -> None:
    """Take what was sent as a secret out of the library's objects, which live as long as the session."""
    if ws.request is not None:
        ws.request.headers.clear()
        ws.request.path = ws.request.path.partition("?")[0]
    uri = ws.protocol.uri
    uri.query, uri.username, uri.password = "", None, None


# ------------------------------------------------------------------------------------------------------------- refusals

# What to try next, by the API's error code, else by the close code or the HTTP status.
# The wordings of the codes are in wire/README.md, Handshake failures.
_ADVICE: dict[str | int | None, str] = {
    "invalid_api_key": "{check_key}",
    "missing_model": "Name a model: connect({name!r}, model=…).",
    "invalid_model": "Known models: {models}.",
    "beta_api_shape_disabled": "The service switched beta off in 2026-05: connect with dialect='ga'.",
    "insufficient_quota": "The account has no credit left for this.",
    "credit_balance_exhausted": "The account has no credit left for this.",
    # Of GPT-Live: no access to the model, or a voice that there is not; both read alike (wire/LIVE.md, "Open").
    "forbidden": "This key has no access to this model, or no such voice; overloaded, the service says the same.",
    3000: "{check_key}",
    **dict.fromkeys((301, 302, 303, 307, 308), "{redirect}"),
    401: "{check_key}",
    403: "This key has no access to Realtime, or the server refuses this origin.",
    404: "Check the address and the model or deployment.",
    429: "Too many requests or no quota left; wait, or ask for fewer at once.",
}


def _refusal(endpoint: Endpoint, code: str | None, message: str, close_code: int | None) -> HandshakeRefused:
    key_env = endpoint.key_env
    advice = (_ADVICE.get(code) or _ADVICE.get(close_code) or "").format(
        check_key=f"Check the key in {key_env}." if key_env else "This server wants a key: key_env='…'.",
        redirect="It leads to another address, which the kit does not follow; connect there if you trust it.",
        models=", ".join(PRICES),
        name=endpoint.name,
    )
    message = f"{message}." if advice and message[-1:].isalnum() else message  # the advice is a sentence of its own
    return HandshakeRefused(code=code, message=message, close_code=close_code, advice=advice)


def refusal_of(endpoint: Endpoint, error: ServerError, close_code: int | None) -> HandshakeRefused:
    """Return the refusal that came as an `error` event."""
    return _refusal(endpoint, error.code, error.message, close_code)


def _refusal_by_status(endpoint: Endpoint, redactor: Redactor, exc: InvalidStatus) -> HandshakeRefused:
    """The refusal that came as an HTTP answer, in the words of its body."""
    status = exc.response.status_code
    body = redactor(bytes(exc.response.body or b""))  # before it is cut, which could cut a key in two
    code, message = None, body[:2_000].decode("utf-8", "replace").strip() or f"HTTP {status}."
    with contextlib.suppress(ValueError, AttributeError, RecursionError):
        error = msgspec.json.decode(body)
        error = error.get("error", error)
        code, message = error.get("code"), str(error.get("message", message))[:2_000]
    return _refusal(endpoint, code if isinstance(code, str) else None, message, status)
