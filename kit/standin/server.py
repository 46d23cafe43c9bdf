"""The stand-in on a real socket: `StandIn`, a websocket server on loopback round one `Core` per connection."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import CONNECTING

from ..errors import InputError, LocalProtocolError, clipped
from ..wire.dialect import GA
from ..wire.refusals import Refusal
from . import handshake as door
from .drift import Draws, Rule, rule
from .faults import Fault, Faults
from .faults import faults as asked_for
from .frames import OnPurpose, encode, new_id
from .handshake import Post, Secrets
from .replies import Reply, script
from .session import SESSION_S, Core, Job, Manners

# What listens on a socket: started once, stopped with all its connections, and where to reach it.


MARK_HEADER = "X-Stand-In"
MAX_FRAME_BYTES = 24 * 1024 * 1024  # 15 MiB of audio in base64, and some
_SILENT = logging.Logger("kit.standin", level=logging.CRITICAL + 1)
"""websockets writes the handshake's headers at DEBUG, and with them whatever key a client sent. This logger has no parent."""


class Listener(ABC):
    """A websocket server on the running loop."""

    _called: str
    """What its errors call it."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._server: Server | None = None

    @abstractmethod
    async def start(self) -> Self:
        """Listen, on the running loop."""

    async def _listen(self, handle: Callable[[ServerConnection], Awaitable[None]], **options: Any) -> Self:
        if self._server is not None:
            raise LocalProtocolError(f"this {self._called} listens already, at {self.url}")
        self._server = await serve(
            handle,
            self._host,
            self._port,
            compression=None,  # it costs 21 times the CPU on these frames and saves nothing on loopback
            server_header=None,
            logger=_SILENT,
            **options,
        )
        return self

    async def stop(self) -> None:
        """Close every connection and the socket, and wait until all of it is gone. May be called twice."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            await server.wait_closed()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def port(self) -> int:
        """Where it listens."""
        if self._server is None:
            way = f"`async with {type(self).__name__}(...)` or `await .start()`"
            raise LocalProtocolError(f"this {self._called} does not listen; use {way}")
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """Where to connect; a client adds ``?model=…``."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"ws://{host}:{self.port}/v1/realtime"


# A connection and its core: one task reads, one writes, and what takes long runs in a thread.


BACKLOG_FRAMES = 512  # unsent answers, after which a client that does not read is not listened to either
_BURST = 8  # steps of a reply between two looks at what the client sent
_RATE_WINDOW = 256  # messages between two looks at how fast they come


class Connection(ServerConnection):
    """A websocket that sends many frames in one write: half of a stand-in's work is telling the system of frames."""

    async def send_all(self, frames: Sequence[bytes]) -> None:
        """Send text frames, in order. Raises and may be cancelled as `send` does."""
        async with self.send_context():
            for frame in frames:
                self.protocol.send_text(frame)
            self.protocol.writes = [b"".join(self.protocol.writes)]


Saw = Callable[[Core, Literal["client", "server"], str | bytes, bool], None]


class Link:
    """Drives one core over one websocket.

    Args:
        connection: The websocket, open.
        core: The session.
        saw: Told of each frame; ``None`` where nobody watches.
        messages_per_s: How fast a client is read at most.
    """

    def __init__(self, connection: Connection, core: Core, saw: Saw | None, messages_per_s: float) -> None:
        self._connection, self._core, self._saw = connection, core, saw
        self._rate = messages_per_s
        self._wake = asyncio.Event()  # something may be to be sent
        self._room = asyncio.Event()  # the backlog was sent
        self._jobs: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until either side closes. Leaves no task behind."""
        writer = asyncio.create_task(self._write())
        writer.add_done_callback(self._silenced)
        try:
            await self._read(writer)
            if self._core.over:
                await writer  # it says the last words
        finally:
            for task in (writer, *self._jobs):
                task.cancel()
            for task in (writer, *self._jobs):
                with suppress(asyncio.CancelledError, ConnectionClosed):
                    await task

    def _silenced(self, writer: asyncio.Task[None]) -> None:
        """The writer is done: nobody shall wait for it, and a session that cannot speak is over."""
        self._room.set()
        if not writer.cancelled() and writer.exception() is not None:
            self._connection.transport.abort()

    async def _read(self, writer: asyncio.Task[None]) -> None:
        core, loop = self._core, asyncio.get_running_loop()
        count, since_s = 0, loop.time()
        async for frame in self._connection:
            taken = core.receive(frame)
            if self._saw is not None:
                self._saw(core, "client", frame, not taken)
            for job in core.jobs():
                self._start(job)
            self._wake.set()
            while core.backlog > BACKLOG_FRAMES and not writer.done():
                self._room.clear()
                await self._room.wait()
            count += 1
            if count == _RATE_WINDOW:
                ahead_s = count / self._rate - (loop.time() - since_s)
                if ahead_s > 0:
                    await asyncio.sleep(ahead_s)
                count, since_s = 0, loop.time()

    async def _write(self) -> None:
        core, connection = self._core, self._connection
        loop = asyncio.get_running_loop()
        while True:
            frames = core.take()
            if self._saw is not None:
                for frame in frames:
                    self._saw(core, "server", frame, False)
            if frames:
                await connection.send_all(frames)
            self._room.set()
            if core.cut:
                connection.transport.abort()
                return
            if core.closing is not None:
                await connection.close(*core.closing)
                return
            if core.backlog:
                continue
            await self._until(core.wake_at, loop)
            for _ in range(_BURST):
                if not core.advance():
                    break
            for job in core.jobs():
                self._start(job)

    def _start(self, job: Job) -> None:
        task = asyncio.create_task(self._work(job))
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    async def _work(self, job: Job) -> None:
        try:
            found: str | Exception = await asyncio.to_thread(job.run)
        except Exception as exc:  # whatever a recogniser does wrong is the client's to hear of, not this server's end
            found = exc
        job.done(found)
        self._wake.set()

    async def _until(self, wake_at: float | None, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for a time on the loop's clock, or for the reader, whichever comes first."""
        if wake_at is not None and wake_at <= loop.time():
            await asyncio.sleep(0)  # due already: but let the reader have its turn, a cancel may be there
            return
        timer = None if wake_at is None else loop.call_at(wake_at, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            if timer is not None:
                timer.cancel()
        self._wake.clear()


PING_S = 20.26  # the service's own interval, its pings carry four bytes (capture of 2026-09)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one stand-in takes before it says no."""

    sessions: int = 4_096
    """At once; one more gets HTTP 503."""
    frame_bytes: int = MAX_FRAME_BYTES
    """Of one message from a client; a longer one closes its socket with 1009."""
    buffer_s: float = 600.0
    """Input audio that a session keeps."""
    messages_per_s: float = 5_000.0
    """From one client; a faster one is read no faster."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A frame that passed, for those who watch."""

    direction: Literal["client", "server"]
    text: str
    session_id: str
    dialect: str
    refused: bool = False
    """A client's frame that was answered with an `error`."""
    on_purpose: bool = False
    """A frame that no Realtime server should send: a fault that was asked for."""


OBSERVERS: list[Callable[[Seen], None]] = []
"""Called with every frame of every stand-in in this process. For the test suite, which checks them all."""


class StandIn(Listener):
    """A local Realtime server that speaks, listens, and drifts and fails on demand. Nothing leaves this machine.

    Everything it says is simulated, and says so: in the header ``X-Stand-In`` of the handshake, and under ``simulated`` in
    the session object.

    Args:
        drift: When an audio reply comes as text: ``documented``, ``never``, ``always``, ``p=Q`` or ``per-response=Q``
            (`kit.standin.drift`).
        seed: Of its draws, together with the query field ``trial`` of a connection.
        dialect: ``both`` (header or query decides), ``ga`` or ``beta``.
        pace: How fast speech streams, as a multiple of real time; ``None`` or 0: as fast as it can.
        host, port: Where to listen; port 0 takes a free one. Another machine can reach it only at an address that is not
            loopback, and then `require_key` must be given.
        beta_disabled: Refuse the beta header, as the service does since 2026-05.
        replies: What to say, one after the other in each session, before the repertoire goes on: texts, `Call`, `Reasoned`.
        faults: What shall go wrong, and when or how often: ``NAME[=VALUE][@WHEN]``, such as ``stall@2`` or ``drop@p=0.1``
            (`kit.standin.faults`).
        on_frame: Called with ``(direction, text, session_id)`` for each frame; direction is ``client`` or ``server``.
        require_key: The only API key that is let in; ``None`` lets everybody in but ``sk-wrong…``.
        session_s: How long a session may last, in seconds.
        limits: What it takes before it says no.
        origins: Web pages, besides this machine's own, that may connect, such as ``https://app.example``.

    Raises:
        InputError: For a setting that cannot be, or a reply that cannot be spoken.
        MissingExtra: For a reply that is not recorded where no synthesiser is installed.
    """

    def __init__(
        self,
        *,
        drift: str | Rule = "documented",
        seed: int = 0,
        dialect: str = "both",
        pace: float | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        beta_disabled: bool = False,
        replies: Sequence[Reply | dict[str, Any]] | None = None,
        faults: Sequence[str | Fault] = (),
        on_frame: Callable[[str, str, str], None] | None = None,
        require_key: str | None = None,
        session_s: float = SESSION_S,
        limits: Limits | None = None,
        origins: Sequence[str] = (),
    ) -> None:
        if dialect not in ("both", "ga", "beta"):
            raise InputError(f"dialect must be 'both', 'ga' or 'beta', not {clipped(dialect)}")
        if pace is not None and not (isinstance(pace, int | float) and 0 <= pace < float("inf")):
            raise InputError(f"pace must be a factor of real time such as 1.0, or None, not {clipped(pace)}")
        if not door.is_loopback(host) and require_key is None:
            raise InputError(f"{clipped(host)} can be reached by others: give require_key=, or listen on 127.0.0.1")
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise InputError(f"seed must be a whole number, not {clipped(seed)}")
        if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65_535:
            raise InputError(f"port must be 0 (any free one) to 65535, not {clipped(port)}")
        if not session_s > 0:
            raise InputError(f"session_s must be a number of seconds above 0, not {clipped(session_s)}")
        self.limits = limits or Limits()
        self.manners = Manners(
            drift=rule(drift),
            seed=seed,
            pace=pace or None,
            replies=None if replies is None else script(replies),
            faults=asked_for(faults),
            session_s=session_s,
            max_buffer_s=self.limits.buffer_s,
        )
        self.dialect = dialect
        self.beta_disabled = beta_disabled
        self.require_key = require_key
        super().__init__(host, port)
        self._origins = frozenset(origins)
        self._on_frame = on_frame
        self._count = itertools.count(1)
        self._faults = Faults(self.manners.faults)
        self._secrets = Secrets(time.time)
        self._links: set[Link] = set()

    _called = "stand-in"

    async def start(self) -> Self:
        """Listen, on the running loop."""
        return await self._listen(
            self._handle,
            process_request=self._before,
            process_response=self._after,
            select_subprotocol=lambda _, offered: "realtime" if "realtime" in offered else None,
            subprotocols=["realtime"],
            max_size=self.limits.frame_bytes,
            ping_interval=PING_S,
            ping_timeout=None,  # a notebook cell that blocks for a minute must not lose its session
            create_connection=lambda *args, **kwargs: _Connection(self, *args, **kwargs),
        )

    @property
    def drift(self) -> str:
        """The name of the drift rule."""
        return str(self.manners.drift)

    @property
    def mark(self) -> str:
        """What the header ``X-Stand-In`` says."""
        return f"realtime-history-kit; drift={self.drift}; seed={self.manners.seed}"

    @property
    def n_sessions(self) -> int:
        """How many sessions are open."""
        return len(self._links)

    def __repr__(self) -> str:
        where = self.url if self._server is not None else "not started"
        faults = f" faults={','.join(map(str, self.manners.faults))}" if self.manners.faults else ""
        return f"<StandIn {where} drift={self.drift} seed={self.manners.seed}{faults}>"

    # One connection

    def _before(self, connection: ServerConnection, request: Request) -> Response | None:
        if not urlsplit(request.path).path.rstrip("/").endswith("/realtime"):
            return connection.respond(HTTPStatus.NOT_FOUND, f"{self!r}: connect a websocket to /v1/realtime?model=…\n")
        if door.foreign(request.headers.get("Origin"), self._origins):
            return connection.respond(HTTPStatus.FORBIDDEN, "this stand-in is not open to other machines' web pages\n")
        if len(self._links) >= self.limits.sessions:
            return connection.respond(
                HTTPStatus.SERVICE_UNAVAILABLE, f"{self.limits.sessions} sessions are open already\n"
            )
        assert isinstance(connection, _Connection)
        connection.who = who = self._caller(request)
        connection.trial = who.trial or f"session {next(self._count)}"
        draws = Draws(self.manners.seed, connection.trial).of_attempt(who.attempt)
        connection.fault = self._faults.due("connection", draws)
        if connection.fault is not None and connection.fault.name == "http-error":
            status = HTTPStatus(int(connection.fault.value))
            return connection.respond(status, "this was asked for of a stand-in: http-error\n")
        return None

    def _caller(self, request: Request) -> door.Caller:
        headers = request.headers
        offered = [word.strip() for line in headers.get_all("Sec-WebSocket-Protocol") for word in line.split(",")]
        return door.caller(request.path, headers, offered, self.dialect)

    def _after(self, connection: ServerConnection, request: Request, response: Response) -> None:
        response.headers[MARK_HEADER] = self.mark

    async def _handle(self, connection: ServerConnection) -> None:
        assert isinstance(connection, _Connection) and connection.who is not None
        who = connection.who
        secret = self._secrets.find(who.key)
        if secret is not None:
            intent = "transcription" if secret.model is None else who.intent
            who = replace(who, model=who.model or secret.model, intent=intent, dialect=secret.dialect)
        why = door.shut(who, require_key=self.require_key, secret=secret is not None, beta_disabled=self.beta_disabled)
        name = connection.fault.name if connection.fault is not None else ""
        if name == "refuse-handshake":
            why = door.Shut(Refusal("invalid_api_key", "Incorrect API key provided: asked for of a stand-in."), 3000)
        with suppress(ConnectionClosed):
            if why is not None:
                await self._shut(connection, why, who)
            elif name == "silent":
                await connection.wait_closed()
            else:
                await self._talk(connection, who, secret.update if secret is not None else None)

    async def _talk(self, connection: _Connection, who: door.Caller, update: dict[str, Any] | None) -> None:
        core = Core(
            self.manners,
            GA if who.intent == "transcription" else who.dialect,
            model=None if who.intent == "transcription" else who.model,
            trial=connection.trial,
            attempt=who.attempt,
            now=asyncio.get_running_loop().time,
            unix=time.time,
            update=update,
        )
        link = Link(connection, core, self._saw if self._on_frame or OBSERVERS else None, self.limits.messages_per_s)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)
            core.close()

    async def _shut(self, connection: ServerConnection, why: door.Shut, who: door.Caller) -> None:
        r = why.refusal
        error = {"type": r.type, "code": r.code, "message": r.message, "param": r.param, "event_id": None}
        frame = encode({"type": "error", "event_id": new_id("event", int(time.time())), "error": error})
        self._tell(Seen("server", frame.decode(), "", who.dialect.name))
        await connection.send(frame, text=True)
        await connection.close(why.close_code, why.reason)

    # Who watches

    def _saw(self, core: Core, direction: Literal["client", "server"], frame: str | bytes, refused: bool) -> None:
        on_purpose = isinstance(frame, OnPurpose)
        text = frame if isinstance(frame, str) else frame.decode() if direction == "server" else repr(frame)
        self._tell(Seen(direction, text, core.id, core.d.name, refused, on_purpose))

    def _tell(self, seen: Seen) -> None:
        for observer in OBSERVERS:
            observer(seen)
        if self._on_frame is not None:
            self._on_frame(seen.direction, seen.text, seen.session_id)

    def post(self) -> Post:
        """The reading of one HTTP request."""
        return Post(
            self._secrets.mint, lambda key: door.good(key, self.require_key) and bool(key or not self.require_key)
        )


class _Connection(Connection):
    """A connection that may turn out to be a plain POST. `data_received` is asyncio's own hook."""

    def __init__(self, standin: StandIn, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fault: Fault | None = None
        self.who: door.Caller | None = None
        self.trial = ""
        """What its draws are drawn for."""
        self._standin = standin
        self._post: Post | None = None
        self._begun = False

    def data_received(self, data: bytes) -> None:
        if not self._begun:
            self._begun = True
            if self.protocol.state is CONNECTING and data.startswith(b"POST "):
                self._post = self._standin.post()
        if self._post is None:
            super().data_received(data)
        elif (answer := self._post.feed(data)) is not None:
            self.transport.write(answer)
            self.transport.close()
