"""Opening a socket: the handshake, the first event, and every way in which a service says no."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from urllib.parse import urlsplit

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from .endpoint import PRICES, Endpoint, is_local
from .errors import ConnectError, EndpointError, HandshakeRefused, KitError, Unreachable, clipped
from .eventlog.redact import Redactor
from .eventlog.writing import LogWriter
from .intake import Tapped
from .link import Link

# websockets writes the handshake's headers, and with them the key, at DEBUG. This logger has no parent and no handler.
# Its level is above all others, for at DEBUG the library would also spend more on each frame than the kit does.
_SILENT = logging.Logger("kit.link", level=logging.CRITICAL + 1)


async def open_link(
    endpoint: Endpoint, url: str, *, timeout_s: float, log: LogWriter | None = None, keep_audio: bool = True
) -> Link:
    """Open a socket and read its first event; with a `log`, every frame is written to it, also those of a refusal.

    Raises:
        EndpointError: If the key is missing or the address is none.
        Unreachable: If nobody answers in `timeout_s` seconds.
        HandshakeRefused: If the service says no, by HTTP status or by an `error` event and a close.
    """
    try:
        return await _open_link(endpoint, url, timeout_s, log, keep_audio)
    except BaseException as exc:
        if log is not None:
            told = str(exc) if isinstance(exc, KitError) else type(exc).__name__
            log.end(code=getattr(exc, "close_code", None), problem=told)
        if isinstance(exc, KitError):
            raise
        # What was raised below had the handshake's headers, and with them the key, among its variables: a traceback that
        # prints variables would print them.
        exc.__context__ = exc.__cause__ = None
        raise exc.with_traceback(None) from None


async def _open_link(endpoint: Endpoint, url: str, timeout_s: float, log: LogWriter | None, keep_audio: bool) -> Link:
    deadline = asyncio.get_running_loop().time() + timeout_s
    if log is not None:
        log.redactor.add(*endpoint.secrets())
    ws, problem = await _open(endpoint, url, timeout_s)
    if problem is not None:  # raised here, where no frame and no earlier error holds the headers
        raise problem
    assert ws is not None
    opened = time.perf_counter()
    link = Link(endpoint, ws, lambda: (time.perf_counter() - opened) * 1000, log, keep_audio=keep_audio)
    if log is not None:
        log.begin(
            endpoint=endpoint.name,
            url=endpoint.shown_url,
            model=endpoint.model,
            dialect=endpoint.dialect,
            simulated=link.conversation.simulated,
        )
    try:
        async with asyncio.timeout_at(deadline):
            link.take([await ws.receive()])
            first = link.events[-1] if link.events else None
            if first is not None and first.type == "error":
                await ws.wait_closed()
                raise _refused(link, ws.close_code)
    except TimeoutError:
        await ws.close()
        if link.conversation.errors:  # it said no, and left the socket open
            raise _refused(link, ws.close_code) from None
        raise Unreachable(
            f"{endpoint.host or url} took the connection but sent nothing within {timeout_s:g} s"
        ) from None
    except ConnectionClosed as exc:
        told = Redactor(endpoint.secrets()).text(f"closed at once: {exc}.")  # its reason may repeat what was sent
        raise HandshakeRefused(code=None, message=told, close_code=ws.close_code) from None
    except asyncio.CancelledError:
        await ws.close()
        raise
    if link.malformed:
        await ws.close()
        raise link.malformed[0]
    link.start()
    return link


async def _open(endpoint: Endpoint, url: str, timeout_s: float) -> tuple[Tapped | None, Exception | None]:
    host = urlsplit(url).hostname or ""
    local = is_local(url)
    headers = endpoint.headers()
    try:
        ws = await connect(
            url,
            additional_headers=headers,
            user_agent_header="realtime-history-kit",
            max_size=None,  # items that carry audio come in frames of several MB; the library's 1 MiB would end the session
            compression=None,  # costs several times the CPU of everything else here, and base64 audio hardly shrinks
            # No keepalive of ours: a cell that blocks the loop for a minute would find its session dead. The service pings
            # every 20 s, and TCP's own keepalive (below) finds a dead peer.
            ping_interval=None,
            open_timeout=timeout_s,
            close_timeout=5,
            proxy=None if local else True,
            logger=_SILENT,
            create_connection=Tapped,
        )
        assert isinstance(ws, Tapped)
    except InvalidStatus as exc:
        return None, _refused_by_status(endpoint, exc)
    except InvalidURI as exc:
        return None, EndpointError(f"{clipped(endpoint.shown_url or url)} is not a websocket address: {exc.msg}")
    except InvalidHandshake as exc:
        told = Redactor(endpoint.secrets()).text(str(exc))
        return None, ConnectError(f"{host} answered, but not as a websocket server: {told}")
    except TimeoutError:
        return None, Unreachable(
            f"{host} did not answer within {timeout_s:g} s; check the address and the network{_start_one(local)}"
        )
    except OSError as exc:
        return None, Unreachable(
            f"cannot reach {endpoint.shown_url or url}: {exc.strerror or exc}; check the address and the network{_start_one(local)}"
        )
    raw = ws.transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return ws, None


def _start_one(local: bool) -> str:
    return ". To start a stand-in there: python -m kit serve --port PORT" if local else ""


_ADVICE = {
    "invalid_api_key": "Check the key in {key_env}.",
    "missing_model": "Name a model: connect({name!r}, model=…).",
    "invalid_model": "Known models: {models}.",
    "beta_api_shape_disabled": "The service switched beta off in 2026-05: connect with dialect='ga'.",
    "insufficient_quota": "The account has no credit left for this.",
}


def _advice(endpoint: Endpoint, code: str | None) -> str:
    words = _ADVICE.get(code or "", "")
    return words.format(key_env=endpoint.key_env, name=endpoint.name, models=", ".join(PRICES))


def _refused(link: Link, close_code: int | None) -> HandshakeRefused:
    error = link.conversation.errors[-1]
    advice = _advice(link.endpoint, error.code)
    if not advice and close_code == 3000:
        advice = (
            f"Check the key in {link.endpoint.key_env}."
            if link.endpoint.key_env
            else "This server wants a key: key_env='…'."
        )
    message = Redactor(link.endpoint.secrets()).text(error.message)  # a proxy may repeat what it was sent
    return HandshakeRefused(code=error.code, message=message, close_code=close_code, advice=advice)


def _refused_by_status(endpoint: Endpoint, exc: InvalidStatus) -> HandshakeRefused:
    status, body = exc.response.status_code, Redactor(endpoint.secrets())(bytes(exc.response.body or b"")[:2_000])
    code, message = None, body.decode("utf-8", "replace").strip()
    try:
        told = msgspec.json.decode(body)
        told = told.get("error", told)
        code, message = told.get("code"), str(told.get("message", message))
    except (ValueError, AttributeError):
        message = message or f"HTTP {status}."
    advice = {
        401: f"Check the key in {endpoint.key_env}.",
        403: "This key has no access to Realtime, or the server refuses this origin.",
        404: "Check the address and the model or deployment.",
        429: "Too many requests or no quota left; wait, or ask for fewer at once.",
    }.get(status, "")
    return HandshakeRefused(
        code=code if isinstance(code, str) else None, message=message, close_code=status, advice=advice
    )
