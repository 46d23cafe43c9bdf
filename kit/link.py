"""The socket of one session: opened, read by one task, every event folded, and requests matched with their replies.

`dial` is the one place that decides where the kit connects: no redirect leads to another origin, no key goes out unencrypted
(`Endpoint.headers` refuses), no proxy stands before this machine's own servers, and what was sent as a secret is taken out of the
library's objects as soon as the handshake is over. Every refusal becomes one of the kit's errors.

`Session` is what users hold; a `Link` is what the reading task holds. They are apart so that a session without a holder can be
collected, and its socket closed with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import errno
import logging
import random
import socket
import urllib.parse
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urlsplit

import msgspec
from websockets.asyncio.client import connect as websocket_connect
from websockets.datastructures import Headers
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidProxy,
    InvalidStatus,
    InvalidURI,
    WebSocketException,
)

from .endpoint import PRICES, Endpoint, is_local
from .errors import (
    ConnectError,
    EndpointError,
    HandshakeRefused,
    KitError,
    MissingExtra,
    RemoteProtocolError,
    ResponseTimeout,
    ServerError,
    SessionClosed,
    Unreachable,
    clipped,
)
from .eventlog.redact import Redactor
from .eventlog.writing import LogWriter
from .intake import MAX_MESSAGE_BYTES, FastConnection
from .wire.dialect import MARK_HEADER, REPLAY_HEADER
from .wire.events import Event, decode, encode

if TYPE_CHECKING:
    from .wire.conversation import Conversation
    from .wire.live_conversation import LiveConversation

T = TypeVar("T")
Fold = TypeVar("Fold", "Conversation", "LiveConversation")

KEPT_EVENTS = 20_000  # of one session, audio apart: several hours of talk
TAIL_EVENTS = 20  # carried by the errors that end a wait

# websockets writes the handshake's headers, and with them the key, at DEBUG. This logger has no parent and no handler.
# Its level is above all others, for at DEBUG the library would also spend more on each frame than the kit does.
_SILENT = logging.Logger("kit.link", level=logging.CRITICAL + 1)

# This machine's trouble, which says nothing of the service: raised as it is.
_LOCAL_ERRORS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


# --------------------------------------------------------------------------------------------------------- opening it


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
        raise EndpointError("the environment's proxy (HTTPS_PROXY, SOCKS_PROXY …) is no http://host:port") from None
    except ImportError as exc:
        raise MissingExtra(f"the environment names a SOCKS proxy: pip install python-socks ({exc})") from None
    except (InvalidHandshake, WebSocketException) as exc:
        raise ConnectError(f"{host} answered, but not as a websocket server: {redactor.text(str(exc))}") from None
    except TimeoutError:
        raise Unreachable(f"{host} did not answer within {timeout_s:g} s; check address and network{hint}") from None
    except OSError as exc:
        if exc.errno in _LOCAL_ERRORS:
            raise
        where = endpoint.shown_url or url
        raise Unreachable(f"cannot reach {where}: {exc.strerror or exc}; check address and network{hint}") from None
    assert isinstance(ws, FastConnection)
    _forget_secrets(ws)
    raw = ws.transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return ws


def _forget_secrets(ws: FastConnection) -> None:
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


def refusal(endpoint: Endpoint, code: str | None, message: str, close_code: int | None) -> HandshakeRefused:
    """Say what a refusal means, whether it came as an `error` event and a close code or as an HTTP status."""
    key_env = endpoint.key_env
    advice = (_ADVICE.get(code) or _ADVICE.get(close_code) or "").format(
        check_key=f"Check the key in {key_env}." if key_env else "This server wants a key: key_env='…'.",
        redirect="It leads to another address, which the kit does not follow; connect there if you trust it.",
        models=", ".join(PRICES),
        name=endpoint.name,
    )
    message = f"{message}." if advice and message[-1:].isalnum() else message  # the advice is a sentence of its own
    return HandshakeRefused(code=code, message=message, close_code=close_code, advice=advice)


def _refusal_by_status(endpoint: Endpoint, redactor: Redactor, exc: InvalidStatus) -> HandshakeRefused:
    """The refusal that came as an HTTP answer, in the words of its body."""
    status = exc.response.status_code
    body = redactor(bytes(exc.response.body or b""))  # before it is cut, which could cut a key in two
    code, message = None, body[:2_000].decode("utf-8", "replace").strip() or f"HTTP {status}."
    with contextlib.suppress(ValueError, AttributeError, RecursionError):
        error = msgspec.json.decode(body)
        error = error.get("error", error)
        code, message = error.get("code"), str(error.get("message", message))[:2_000]
    return refusal(endpoint, code if isinstance(code, str) else None, message, status)


# --------------------------------------------------------------------------------------------------------- holding it


class Pending:
    """A request that waits for its reply: an event of type `reply` that `match` accepts, or an error naming `event_id`.

    Without `match`, the next such event that no earlier request waits for: acknowledgements that name nothing come in the order
    of the requests.
    """

    __slots__ = ("event_id", "future", "match", "reply")

    def __init__(self, event_id: str | None, reply: str, match: Callable[[Event], bool] | None = None) -> None:
        # Of the request: an `error` that names it ends the wait. ``None``: nothing was sent, it only watches.
        self.event_id = event_id
        self.reply = reply
        self.match = match
        self.future: asyncio.Future[Event] = asyncio.get_running_loop().create_future()


class Link(Generic[Fold]):
    """One open socket and its fold."""

    def __init__(
        self,
        endpoint: Endpoint,
        socket: FastConnection,
        conversation: Fold,
        now_ms: Callable[[], float],
        redactor: Redactor,
        log: LogWriter | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.socket = socket
        self.now_ms = now_ms
        self.redactor = redactor
        # Most frames of most sessions are of a stand-in, which is sent none.
        self._has_secrets = not redactor.is_empty
        self.log = log
        # The loop on which everything here runs; other threads come in by `Session`.
        self.loop = asyncio.get_running_loop()
        # What is played again, if the other side is a replay. Told by `connect`.
        self.replay: str | None = None
        self.conversation: Fold = conversation
        # The last events, both ways, and how many there were in all: a reader that fell behind learns how much it missed.
        self.events: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self.n_events = 0
        # Frames that were no events. Kept without traceback, and copied to be raised (see `KitError.__copy__`).
        self.malformed: deque[RemoteProtocolError] = deque(maxlen=TAIL_EVENTS)
        # How it ended; ``None`` while it is open. Also only raised as a copy.
        self.closed: SessionClosed | None = None
        self.closing = False  # we closed it: then an end is told as ours
        # Run when it is closed, the last first: the stand-in of this session, its thread.
        self.on_close: list[Callable[[], Awaitable[None]]] = []
        # Requests without a reply, the oldest first, and the types that could be one: most events are none.
        self._pending: list[Pending] = []
        self._awaited: set[str] = set()
        self._arrived = asyncio.Event()  # set at each event, for those who follow all of them
        # Reads what `socket` does not hand over by itself, until it closes.
        self._reader: asyncio.Task[None] | None = None
        self._is_over = False  # it was closed, and its thread (if it has one) is about to end
        # Runs to its end even if everybody who waits for it is cancelled.
        self._closer: asyncio.Task[None] | None = None

    # ---------------------------------------------------------------------------------------------------------- reading

    def start(self) -> None:
        """Begin to read; the session's first event has been read already."""
        self.socket.on_messages = self.receive
        self._reader = self.loop.create_task(self._read(), name="kit: session reader")

    async def _read(self) -> None:
        try:
            while True:
                self.receive([await self.socket.receive()])
        except ConnectionClosed as exc:
            self._end(exc)

    def receive(self, frames: Sequence[bytes]) -> None:
        """Fold in frames that arrived together, all of them logged before any is folded, and wake whoever waits for one."""
        at_ms = self.now_ms()  # before decoding, which is not part of what is measured
        if self._has_secrets:  # taken out wherever the server repeats them, however it spells them
            frames = [self.redactor(frame) if self.redactor.knows(frame) else frame for frame in frames]
        events: list[Event | RemoteProtocolError] = []
        for frame in frames:
            try:
                events.append(decode(frame, at_ms))
            except RemoteProtocolError as exc:
                events.append(exc.with_traceback(None))  # its frames hold what came
        if self.log is not None:
            self.log.server(frames, events, at_ms)
        fold, keep, awaited = self.conversation.receive, self.events.append, self._awaited
        for event in events:
            if isinstance(event, Event):
                fold(event)
                keep(event)
                self.n_events += 1
                if event.type in awaited:
                    self._answer(event)
            else:
                self.malformed.append(event)
                self._fail(event)
        self._arrived.set()

    def _answer(self, event: Event) -> None:
        """Settle the requests that this event answers."""
        if event.type == "error":
            error = self.conversation.errors[-1]
            for pending in tuple(self._pending):
                if error.event_id is not None and pending.event_id == error.event_id:
                    self._settle(pending, error)
                elif pending.reply == "error":  # `wait_for("error")`
                    self._settle(pending, event)
            return
        acknowledged = False
        for pending in tuple(self._pending):
            if pending.reply != event.type:
                continue
            if pending.match is not None:
                if pending.match(event):
                    self._settle(pending, event)
            elif pending.event_id is None:
                self._settle(pending, event)  # it watches, and takes nothing from a request
            elif not acknowledged:
                acknowledged = True
                self._settle(pending, event)

    def _settle(self, pending: Pending, outcome: Event | KitError) -> None:
        self._remove(pending)
        if pending.future.done():
            return
        if isinstance(outcome, Event):
            pending.future.set_result(outcome)
        else:
            pending.future.set_exception(copy.copy(outcome))

    def _fail(self, error: KitError) -> None:
        for pending in tuple(self._pending):
            self._settle(pending, error)

    def _remove(self, pending: Pending) -> None:
        self._pending.remove(pending)
        if not self._pending:
            self._awaited.clear()

    def _end(self, exc: ConnectionClosed) -> None:
        """Note how the connection ended, and fail whatever still waits."""
        close = exc.rcvd or exc.sent
        # The server may repeat the key in it.
        reason = self.redactor.text(close.reason) if close and close.reason else ""
        if close is None:
            cause = f" ({exc.__cause__})" if exc.__cause__ else ""
            sentence = f"the connection broke without a close frame{cause}"
        else:
            side = "we" if self.closing or exc.rcvd is None else "the server"
            sentence = f"{side} closed the session with {close.code}{f' ({reason})' if reason else ''}"
        self.closed = SessionClosed(
            f"{sentence} after {self.now_ms() / 1000:.1f} s",
            code=close.code if close else 1006,
            reason=reason,
            tail=self.tail(),
        )
        if self.log is not None:
            self.log.end(code=self.closed.code, reason=reason, at_ms=self.now_ms())
        self._arrived.set()
        self._fail(self.closed)
        # Or the two would keep each other, and an hour of audio, until the next collection.
        self.socket.on_messages = None

    # ---------------------------------------------------------------------------------------------------------- sending

    async def send(
        self, event: Mapping[str, Any], *, encoded: bytes | None = None, listed: Mapping[str, Any] | None = None
    ) -> None:
        """Send one client event.

        Args:
            event: What the fold takes note of.
            encoded: Its bytes, if they were made already.
            listed: What the event list keeps instead, for events that carry audio.
        """
        await self._send([(event, encoded or encode(event), listed or event)])

    async def send_all(self, events: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
        """Send several events together, each with what the event list keeps of it."""
        await self._send([(event, encode(event), listed) for event, listed in events])

    async def _send(self, events: Sequence[tuple[Mapping[str, Any], bytes, Mapping[str, Any]]]) -> None:
        if self.closed is not None:
            raise copy.copy(self.closed)
        at_ms = self.now_ms()
        frames = [frame for _, frame, _ in events]
        # Folded, listed and logged before it is written: its answer may come while the write still waits.
        for event, _, listed in events:
            self.conversation.sent(event, at_ms)
            self.events.append(Event(str(event["type"]), dict(listed), at_ms, "client"))
        self.n_events += len(events)
        self._arrived.set()
        if self.log is not None:
            self.log.client(frames, at_ms)
        await self._write(frames)

    async def send_frame(self, frame: bytes, *, listed: dict[str, Any] | None = None) -> None:
        """Send a frame that the fold does not need, nor, unless `listed`, the event list: fed silence comes ten times a second."""
        if self.closed is not None:
            raise copy.copy(self.closed)
        if listed is not None:
            self.events.append(Event(str(listed["type"]), listed, self.now_ms(), "client"))
            self.n_events += 1
        if self.log is not None:
            self.log.client([frame], self.now_ms())
        await self._write([frame])

    async def _write(self, frames: Sequence[bytes]) -> None:
        try:
            await self.socket.send_all(frames)
        except ConnectionClosed as exc:
            if self.closed is None:
                self._end(exc)
            raise copy.copy(self.closed or SessionClosed("the session is closed", code=None)) from None

    # ---------------------------------------------------------------------------------------------------------- waiting

    def expect(self, event_id: str | None, reply: str, match: Callable[[Event], bool] | None = None) -> Pending:
        """Register an expected reply. Call this before sending, or the reply may arrive first."""
        pending = Pending(event_id, reply, match)
        if self.closed is not None:
            pending.future.set_exception(copy.copy(self.closed))
        else:
            self._pending.append(pending)
            self._awaited.update((pending.reply, "error"))
        return pending

    def forget(self, pending: Pending) -> None:
        """Stop waiting for a reply. What the server still sends is folded all the same."""
        if pending in self._pending:
            self._remove(pending)
        if pending.future.done() and not pending.future.cancelled():
            pending.future.exception()  # marks it as retrieved, or asyncio would report it
        else:
            pending.future.cancel()

    async def answer(self, pending: Pending, timeout_s: float | None, name: str) -> Event:
        """Wait for a reply.

        Raises:
            ServerError: If the server refused the event that it belongs to.
            SessionClosed: If the socket closed first.
            ResponseTimeout: If nothing came in `timeout_s` seconds.
        """
        first_error = len(self.conversation.errors)
        # Cheaper than `asyncio.timeout`.
        expiry = None if timeout_s is None else self.loop.call_later(timeout_s, _expire, pending.future)
        try:
            return await pending.future
        except TimeoutError:
            untied = [error for error in self.conversation.errors[first_error:] if error.event_id is None]
            hint = f"; meanwhile the server said: {untied[-1]}" if untied else ""
            raise ResponseTimeout(f"no {name} within {timeout_s:g} s{hint}", self.tail()) from None
        except SessionClosed as exc:
            sentence = f"{exc.sentence}, while waiting for {name}"
            raise SessionClosed(sentence, code=exc.code, reason=exc.reason, tail=exc.tail) from None
        except (ServerError, RemoteProtocolError) as exc:
            raise exc.with_traceback(None) from None
        finally:
            if expiry is not None:
                expiry.cancel()
            self.forget(pending)

    async def arrival(self) -> None:
        """Wait until one more event has come or gone, or the session is closed."""
        if self.closed is None:
            self._arrived.clear()
            await self._arrived.wait()

    def tail(self) -> list[Event]:
        """Return the last events, oldest first."""
        return list(self.events)[-TAIL_EVENTS:]

    # ---------------------------------------------------------------------------------------------------------- closing

    async def close(self) -> None:
        """Close the socket and end everything that was started for this session.

        Cancelling the wait does not cancel the closing.
        """
        await asyncio.shield(self._begin_closing())

    @property
    def is_over(self) -> bool:
        """Whether nothing can run here any more."""
        return self._is_over or self.loop.is_closed()

    def _begin_closing(self) -> asyncio.Task[None]:
        if self._closer is None:
            self._closer = in_background(self._close())
        return self._closer

    async def _close(self) -> None:
        self.closing = True
        try:
            await self.socket.close()
            if self._reader is not None:
                with contextlib.suppress(Exception):  # whatever it read, it ends
                    await self._reader
        finally:
            if self.log is not None:
                self.log.close()
            self._is_over = True
            while self.on_close:
                await self.on_close.pop()()

    def drop(self) -> None:
        """`close` for a session that was collected: from any thread, waiting for nothing."""
        if not self.loop.is_closed():
            with contextlib.suppress(RuntimeError):  # it was closed meanwhile
                self.loop.call_soon_threadsafe(self._begin_closing)


def _expire(future: asyncio.Future[Event]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())


_background: set[asyncio.Task[Any]] = set()  # asyncio keeps only weak references to tasks


def in_background(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Run a coroutine in a task that goes on when everybody who waits for it is cancelled."""
    task = asyncio.get_running_loop().create_task(coroutine)
    _background.add(task)
    task.add_done_callback(_background.discard)
    return task


def simulated_by(endpoint: Endpoint, socket: FastConnection) -> bool | None:
    """Whether a stand-in answers: its handshake says so. A named service without that mark is the service.

    Any other address may be a proxy of a stand-in: unknown. A replay is what its log says.
    """
    headers = socket.response.headers if socket.response else Headers()
    if MARK_HEADER in headers:
        return True
    if endpoint.name == "replay":
        origins = headers.get_all(REPLAY_HEADER)  # not `get`, which raises if a hostile server sends a header twice
        return False if any("origin=service" in value for value in origins) else None
    return None if endpoint.name == "url" else False


_ids = random.Random()  # seeded by the system: what a notebook seeds does not repeat ids, which guard nothing


def new_id(prefix: str) -> str:
    """Return a new id: a prefix and 20 random characters; an item's may have at most 32 in all."""
    return f"{prefix}_{_ids.getrandbits(80):020x}"
