"""A relay between any client and any endpoint, which passes every frame on untouched and keeps the event log.

::

    async with Relay("openai", log="runs/today") as relay:
        print(relay.url)          # give this to the client instead of wss://api.openai.com/v1/realtime

The client, in whatever language, needs its base URL changed and nothing else. Its own key travels through and is never kept;
or the relay holds the key (`key_env`), and the client sends none. Realtime and GPT-Live go through alike: what they say is only
looked at, after it was sent on.

====================  =================================================================================================
what happens          what the other side sees
====================  =================================================================================================
a frame               the same frame, next in order; a reader that is slow slows the sender (back-pressure)
a close               the same code and reason
a broken connection   a broken connection
a refused handshake   the same status and body
====================  =================================================================================================
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, build_opener
from urllib.request import Request as HttpPost

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.http11 import Request, Response
from websockets.protocol import State

from . import show
from .endpoint import KEY_IN_URL, Endpoint, endpoint, is_local
from .errors import HandshakeRefused, InputError, KitError, RemoteProtocolError
from .eventlog import LogWriter, Redactor
from .files import named_path
from .intake import FastConnection
from .link import dial
from .standin import Access, Connection, HttpRequest, Listener, http_answer, key_of
from .wire.conversation import Conversation
from .wire.events import Event, decode
from .wire.live_conversation import LiveConversation
from .wire.refusals import Refusal

MAX_FRAME_BYTES = 64 * 1024 * 1024  # as the kit's own client takes
_WAITING_BYTES = 1 << 20  # on their way to a client that does not read; then the service is not read either
# What was passed on is in the log after this long, or once it is this much: recording that takes half a millisecond, in which
# nothing passes.
_RECORD_S, _RECORD_BYTES = 0.05, 1 << 18
_STATUSES = frozenset(map(int, HTTPStatus))
# Headers that belong to one hop; everything else is the client's word to the service.
_OWN = frozenset((
    "host", "connection", "upgrade", "origin", "content-length", "accept-encoding", "sec-websocket-key",
    "sec-websocket-version", "sec-websocket-extensions", "sec-websocket-protocol", "cookie",
))  # fmt: skip
# No secret in these.
_PLAIN = frozenset(("user-agent", "accept", "accept-language", "cache-control", "pragma", "openai-beta"))
_KEYS = frozenset({"authorization", "api-key", "xi-api-key"})
_PROTOCOLS = "Sec-WebSocket-Protocol"
_KEY_PROTOCOL = "openai-insecure-api-key."  # how a browser sends its key
_EPHEMERAL = "ek_"
# Below /realtime: what a POST makes an ephemeral key by.
_MINTS = ("client_secrets", "sessions", "transcription_sessions")
_PASSED_BACK = frozenset({"x-stand-in", "x-replay", "x-request-id"})  # of the handshake
_ANSWER_HEADERS = frozenset({"content-type", "x-request-id"})
_WRONG_KEY = "this relay wants the key that it was started with\n"
_PLAINTEXT = "a key is not sent in plaintext: the address must be wss://\n"


@dataclass(frozen=True, slots=True)
class RelayedReply:
    """What is told of a reply as soon as it is over."""

    session: int  # the number of the client's connection, from 1
    at: datetime  # when it was over, by the wall clock
    asked: str | None  # the modalities that were asked for, joined by ``+``; ``None`` where the server did not say
    arrived: str | None  # ``audio``, ``text``, … or GPT-Live's outcome
    words: str  # transcript or text, without the client's secrets
    first_ms: float | None  # from the request to the first audio, or to the first text where no audio came

    def __str__(self) -> str:
        times = f" after {self.first_ms / 1000:.2f} s" if self.first_ms is not None else ""
        words = show.one_line(self.words, 60)
        return f"{self.at:%H:%M:%S} session {self.session}: asked {self.asked or '?'} → {self.arrived}{times} {words!r}"


class Relay(Listener):
    """A local server that passes frames between clients and one endpoint, and records them.

    Args:
        to: The endpoint: a name, a URL, or an `Endpoint`.
        log: The folder of the event logs, one file per connection; ``None``: none is kept.
        key_env: The environment variable whose key the relay sends; the client then needs none. Default: the client's own key
            goes through.
        audio: What the logs keep of sound: ``"digest"`` or ``"keep"``.
        on_reply: Called with each `RelayedReply`.
        host, port: Where to listen. An address that others can reach needs `require_key`.
        require_key: The only key that clients may send; not the service's.
        origins: Web pages, besides this machine's own, that may connect.

    Raises:
        InputError: For an endpoint without an address, or a folder that cannot be written to.
        EndpointError: If the relay is to hold a key that is not set.
    """

    def __init__(
        self,
        to: str | Endpoint,
        *,
        log: str | Path | None = None,
        key_env: str | None = None,
        audio: str = "digest",
        on_reply: Callable[[RelayedReply], None] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        require_key: str | None = None,
        origins: tuple[str, ...] = (),
    ) -> None:
        access = Access(host, require_key, frozenset(origins))
        super().__init__("relay", access, port, frame_bytes=MAX_FRAME_BYTES, ping_s=None)
        self.endpoint = endpoint(to, key_env=key_env) if isinstance(to, str) else to
        if not self.endpoint.url:
            raise InputError('a relay passes to an address: give that of a stand-in which "kit serve" started')
        # Whether it sends a key of its own in the place of the client's.
        self._holds_key = key_env is not None
        if self._holds_key:
            self.endpoint.headers()  # a key that is missing is told now, not to the first client
        self.folder = named_path(log).absolute() if log is not None else None
        if self.folder is not None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as exc:
                raise InputError(f"cannot write logs to {self.folder}: {exc.strerror or exc}") from exc
        self._audio, self.on_reply = audio, on_reply
        # How many clients were let through so far; a log is named by it.
        self.n_connections = 0
        self.answer_plain = self._pass_post

    def __repr__(self) -> str:
        where = self.url if self.listening else "not started"
        return f"<Relay {where} to {self.endpoint.host}>"

    # ---------------------------------------------------------------------------------------------------- handshake

    async def admit(self, connection: Connection, request: Request) -> Response | None:
        """Open the connection to the service first, so that what it refuses is refused to the client in its words."""
        # Before anything is opened: a picture in any web page asks for this address, without an Origin, and is no websocket.
        try:
            connection.protocol.process_request(request)
        except InvalidHandshake:
            return None  # the library refuses it in its own words
        key = key_of(request.headers, request.path)
        if self.access.require_key is not None and not self.access.fits(key):
            return connection.respond(HTTPStatus.UNAUTHORIZED, _WRONG_KEY)
        headers = self._outgoing(request.headers, key)
        offered = [word.strip() for line in request.headers.get_all(_PROTOCOLS) for word in line.split(",")]
        keys = [word for word in offered if word.startswith(_KEY_PROTOCOL)]
        if not self._sends_clients_key(key):
            offered = [word for word in offered if word not in keys]
        url = self._upstream(request.path)
        secrets = [
            *self.endpoint.secrets({k: v for k, v in headers.items() if k.lower() not in _PLAIN}),
            *(word.removeprefix(_KEY_PROTOCOL) for word in keys),
            *(value for name, value in parse_qsl(urlsplit(url).query) if KEY_IN_URL.search(name)),
        ]
        redactor = Redactor(secrets)
        if urlsplit(url).scheme == "ws" and not is_local(url) and secrets:
            return connection.respond(HTTPStatus.BAD_GATEWAY, _PLAINTEXT)
        # `lost` cancels it: a client that left, or a relay that stops, waits for no service that says nothing.
        dialled = dial(self.endpoint, url, headers, redactor, 15, offered or None)
        dialling = connection.about = asyncio.ensure_future(dialled)
        try:
            upstream = await dialling
        except asyncio.CancelledError:
            if connection.state is State.CONNECTING:
                raise  # it is this handshake that is over
            return None
        except HandshakeRefused as exc:  # by HTTP status; a refusal by an `error` event comes as a frame, and passes
            status = exc.close_code if exc.close_code in _STATUSES else HTTPStatus.BAD_GATEWAY
            return connection.respond(HTTPStatus(status), exc.message)
        except (KitError, OSError) as exc:
            return connection.respond(HTTPStatus.BAD_GATEWAY, f"cannot reach {self.endpoint.host}: {exc}\n")
        if connection.state is not State.CONNECTING:  # the client went away meanwhile
            upstream.transport.abort()
            return None
        self.n_connections += 1
        connection.about = _Session(self, self.n_connections, upstream, url, headers, redactor)
        return None

    def _sends_clients_key(self, key: str | None) -> bool:
        """Whether the client's own key goes through. An ephemeral one does in any case: the service knows what it is for."""
        return (key or "").startswith(_EPHEMERAL) or not (self._holds_key or self.access.require_key is not None)

    def _outgoing(self, headers: Headers, key: str | None) -> dict[str, str]:
        """The headers that go to the service for a request with these, by a client with this key."""
        own = self.endpoint.headers() if self._holds_key or self.endpoint.extra_headers else {}
        # One side's key goes, and never both.
        of_client, of_own = (_OWN, _KEYS) if self._sends_clients_key(key) else (_OWN | _KEYS, frozenset[str]())
        passed = {name: value for name, value in headers.raw_items() if name.lower() not in of_client}
        return passed | {name: value for name, value in own.items() if name.lower() not in of_own}

    async def _pass_post(self, request: HttpRequest) -> bytes:
        """Pass on a request for an ephemeral key, so that a page that gets one from its own server finds it all here.

        Nothing of it is kept. WebRTC's calls are refused: their sound would not come through here.
        """
        _, door, suffix = request.path.partition("/realtime/")
        if request.method != "POST" or not door or suffix not in _MINTS:
            return _refused(404, "this relay passes on websockets, and POST /v1/realtime/client_secrets")
        key = key_of(request.headers)
        if self.access.require_key is not None and not self.access.fits(key):
            return _refused(401, _WRONG_KEY.strip(), "invalid_api_key")
        base = urlsplit(self.endpoint.url)
        if base.scheme == "ws" and not is_local(self.endpoint.url):
            return _refused(502, _PLAINTEXT.strip())
        path = f"{base.path.partition('/realtime')[0]}/realtime/{suffix}"
        url = urlunsplit(("https" if base.scheme == "wss" else "http", base.netloc, path, request.query, ""))
        headers = self._outgoing(request.headers, key)
        try:
            return await asyncio.to_thread(_post, url, headers, request.body)
        except (OSError, HTTPException, ValueError) as exc:
            return _refused(502, f"cannot reach {self.endpoint.host}: {type(exc).__name__}")

    def lost(self, connection: Connection) -> None:
        about: _Session | asyncio.Future[FastConnection] | None = connection.about
        if isinstance(about, asyncio.Future):
            about.cancel()
        elif about is not None and not about.has_begun:
            about.end(connection)

    def headers(self, connection: Connection) -> dict[str, str]:
        session: _Session | None = connection.about
        answer = session.upstream.response.headers if session is not None and session.upstream.response else {}
        # A stand-in's mark goes through: what is simulated stays marked, whoever relays it.
        return {name: value for name, value in answer.items() if name.lower() in _PASSED_BACK}

    async def talk(self, connection: Connection) -> None:
        assert connection.request is not None
        connection.request.headers.clear()  # the client's key is held no longer than it takes to send it on
        session: _Session = connection.about
        await session.run(connection)

    def _upstream(self, path: str) -> str:
        """The endpoint's address for a client's path: ``/v1/realtime?model=…``, ``/v1/live/sessions/ID/fork``, …"""
        client, base = urlsplit(path), urlsplit(self.endpoint.url)
        root = base.path.partition("/realtime")[0].partition("/live/sessions")[0]
        for door in ("/realtime", "/live/sessions"):
            _, door_found, suffix = client.path.partition(door)
            if door_found:
                # The endpoint's own query holds for what the client does not say (a model, Azure's deployment).
                own = {} if door == "/live/sessions" else dict(parse_qsl(base.query, keep_blank_values=True))
                query = own | dict(parse_qsl(client.query, keep_blank_values=True))
                return urlunsplit((base.scheme, base.netloc, f"{root}{door}{suffix}", urlencode(query), ""))
        return self.endpoint.url

    def writer(self, n: int) -> LogWriter | None:
        """A log for the client's `n`-th connection; ``None`` where none is kept."""
        if self.folder is None:
            return None
        name = f"{datetime.now():%Y%m%d-%H%M%S}-{n:04}.jsonl"
        return LogWriter(self.folder / name, audio=self._audio)  # type: ignore[arg-type]


def _refused(status: int, message: str, code: str | None = None) -> bytes:
    return http_answer(f"{status} {HTTPStatus(status).phrase}", Refusal(code, message))


class _NoRedirect(HTTPRedirectHandler):
    """Answers with a redirect as it is: the key goes to no other address."""

    def redirect_request(self, *args: Any) -> None:
        return None


def _post(url: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """Send a POST and return its whole answer."""
    proxies = ProxyHandler({}) if is_local(url) else ProxyHandler()
    try:
        request = HttpPost(url, body, dict(headers), method="POST")
        response = build_opener(_NoRedirect, proxies).open(request, timeout=15)
    except HTTPError as exc:  # an answer too
        response = exc
    with response:
        passed = {name: value for name, value in response.headers.items() if name.lower() in _ANSWER_HEADERS}
        return http_answer(f"{response.status} {response.reason}", response.read(MAX_FRAME_BYTES), passed)


class _Binary(bytes):
    """A binary frame; other bytes are those of a text frame."""


class _Session:
    """One client's connection and the one to the service, which is open. `headers` are read here and not kept."""

    def __init__(
        self, relay: Relay, n: int, upstream: FastConnection, url: str, headers: Mapping[str, str], redactor: Redactor
    ) -> None:
        self.upstream = upstream
        self._relay, self._n = relay, n
        # When the service was reached: all times of the log count from there.
        self._opened = time.perf_counter()
        # The two folds have one face; what the frames are, the address says.
        asks_beta = any(name.lower() == "openai-beta" for name in headers)
        dialect = "live" if "/live/sessions" in urlsplit(url).path else "beta" if asks_beta else "ga"
        mark = upstream.response.headers.get("X-Stand-In") if upstream.response else None
        simulated = True if mark else None if relay.endpoint.name == "url" else False
        # What the frames come to: of it is told what arrived. Sound is counted and not held.
        fold_of: type[Conversation] | type[LiveConversation] = LiveConversation if dialect == "live" else Conversation
        self._fold = fold_of(simulated=simulated, keep_audio=False)
        # Whether `run` has: from then on it ends both sides alike. Before, nothing else ends the connection to the service.
        self.has_begun = False
        # Knows what the client sent as a secret, which is on no disk and no screen.
        self._redactor = redactor
        # Replies of the fold that were told of already, from the first.
        self._n_told = 0
        # What was passed on and is not recorded yet: who sent it, the frames, and two clocks. Decoding, hashing and writing each
        # frame as it passes would cost several times what passing it does (benchmarks/relay.py); a few together cost a third.
        self._unrecorded: list[tuple[str, Sequence[bytes], float, float]] = []
        # Bytes of those; many are recorded at once, so that they are never more than a few frames' worth.
        self._n_unrecorded = 0
        # When they are recorded; ``None`` while there are none.
        self._timer: asyncio.TimerHandle | None = None
        # ``None`` where no log is kept; replies are told of all the same.
        self._log = relay.writer(n)
        if self._log is not None:
            self._log.redactor = redactor
            query = dict(parse_qsl(urlsplit(url).query))
            facts: dict[str, Any] = {"model": query.get("model"), "dialect": dialect, "simulated": simulated}
            self._log.begin(endpoint=relay.endpoint.name, url=Endpoint("url", url).shown_url, **facts)

    async def run(self, client: Connection) -> None:
        """Pass frames until either side is gone; then end the other in the same way."""
        self.has_begun = True
        down = asyncio.create_task(self._down(client))
        up = asyncio.create_task(self._up(client))
        try:
            await asyncio.wait([down, up], return_when=asyncio.FIRST_COMPLETED)
            first, partner = (self.upstream, client) if down.done() else (client, self.upstream)
            await _end_alike(first, partner)
            await asyncio.wait([down, up], timeout=3)
        finally:
            for task in (down, up):
                task.cancel()
            await asyncio.gather(down, up, return_exceptions=True)
            self.end(self.upstream if down.done() else client)

    async def _down(self, client: Connection) -> None:
        """From the service to the client: what arrived together is sent on in one write."""
        waiting: list[bytes] = []
        arrived = asyncio.Event()
        # Whether the service is gone, is not read, or sent a frame that is not a whole text.
        over = paused = odd = False

        def take(frames: Sequence[bytes]) -> None:
            nonlocal paused
            waiting.extend(frames)
            if sum(map(len, waiting)) > _WAITING_BYTES:
                paused = True
                self.upstream.transport.pause_reading()  # the client reads more slowly than the service sends
            arrived.set()

        async def take_odd() -> None:  # binary, or in fragments
            nonlocal over, odd
            with contextlib.suppress(ConnectionClosed):
                while True:
                    frame = await self.upstream.receive(decode=None)
                    odd = True
                    take([frame.encode() if isinstance(frame, str) else _Binary(frame)])
            over = True
            arrived.set()

        self.upstream.on_messages = take
        reading = asyncio.create_task(take_odd())
        try:
            while waiting or not over:
                await arrived.wait()
                arrived.clear()
                frames, waiting = waiting, []
                if paused:
                    paused = False
                    with contextlib.suppress(RuntimeError):  # closed
                        self.upstream.transport.resume_reading()
                if not frames:
                    continue
                if odd:
                    for frame in frames:
                        await (client.send(frame) if type(frame) is _Binary else client.send_all([frame]))
                else:
                    await client.send_all(frames)
                self._note("server", frames)
        except ConnectionClosed:
            pass
        finally:
            reading.cancel()

    async def _up(self, client: Connection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for frame in client:
                await self.upstream.send(frame)
                self._note("client", [frame.encode() if isinstance(frame, str) else frame])

    def _now_ms(self) -> float:
        return (time.perf_counter() - self._opened) * 1000

    def _note(self, direction: str, frames: Sequence[bytes]) -> None:
        """Take note of frames that were passed on; they are recorded soon."""
        self._unrecorded.append((direction, frames, self._now_ms(), time.time()))
        self._n_unrecorded += sum(map(len, frames))
        if self._n_unrecorded > _RECORD_BYTES:
            self._record()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_RECORD_S, self._record)

    def _record(self) -> None:
        """Write what was noted into the log and fold it in, in its order."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        notes, self._unrecorded, self._n_unrecorded = self._unrecorded, [], 0
        with self._log.in_one_write() if self._log is not None else contextlib.nullcontext():
            for direction, frames, at_ms, unix in notes:
                events = [_decoded(frame, at_ms) for frame in frames]
                if self._log is not None and direction == "client":
                    self._log.client(frames, at_ms, unix)
                elif self._log is not None:
                    self._log.server(frames, events, at_ms, unix)  # before the fold takes the sound out of the events
                for event in events:
                    if isinstance(event, Event):
                        self._fold.sent(event.data, at_ms) if direction == "client" else self._fold.receive(event)
        self._tell_replies()

    def _tell_replies(self) -> None:
        replies: list[Any] = self._fold.responses
        while self._n_told < len(replies) and replies[self._n_told].status not in (None, "in_progress"):
            reply = replies[self._n_told]
            self._n_told += 1
            first = reply.first_audio_ms if reply.first_audio_ms is not None else reply.first_text_ms
            asked = "+".join(reply.asked or ()) or None
            # An outcome is by a policy; without one, what arrived is told.
            arrived = reply.outcome if reply.policy else reply.modality
            # What is told goes to a screen: without what the client sent as a secret, should the server repeat it.
            words = self._redactor.text(reply.words)
            if self._relay.on_reply is not None:
                self._relay.on_reply(RelayedReply(self._n, datetime.now(), asked, arrived, words, first))

    def end(self, first: ClientConnection | ServerConnection) -> None:
        """Close the connection to the service, and the log: as `first` ended."""
        self.upstream.on_messages = None
        self.upstream.transport.abort()
        self._record()
        self._fold.end(self._now_ms(), lost=None)
        self._tell_replies()
        if self._log is not None:
            self._log.end(code=first.close_code, reason=first.close_reason or "", at_ms=self._now_ms())


def _decoded(frame: bytes, at_ms: float) -> Event | RemoteProtocolError:
    try:
        return decode(frame, at_ms)
    except RemoteProtocolError as exc:
        return exc


async def _end_alike(first: ClientConnection | ServerConnection, partner: ClientConnection | ServerConnection) -> None:
    """End one side as the other ended: the same code and reason, or a broken connection for a broken one."""
    code, reason = first.close_code, first.close_reason or ""
    if code is None or code == 1006:
        partner.transport.abort()
    elif code == 1005:  # a close frame without a code
        await partner.close()
    else:
        await partner.close(code, reason)
