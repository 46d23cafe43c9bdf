"""The stand-in on a real socket: `StandIn`, a websocket server on loopback round one `Core` per connection."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Literal, Self
from urllib.parse import urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from ..errors import InputError, LocalProtocolError, clipped
from . import door
from .core import Core, Manners
from .drift import Rule, rule
from .frames import encode, new_id
from .speaking import spoken

MARK_HEADER = "X-Stand-In"
PING_S = 20.26  # the service's own interval, its pings carry four bytes (capture of 2026-09)
MAX_FRAME_BYTES = 24 * 1024 * 1024  # 15 MiB of audio in base64, and some
BACKLOG_FRAMES = 512  # unsent answers, after which a client that does not read is not listened to either
_BURST = 8  # steps of a reply between two looks at what the client sent


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


class StandIn:
    """A local Realtime server that speaks, and drifts on demand. Nothing leaves this machine.

    Everything it says is simulated, and says so: in the header ``X-Stand-In`` of the handshake, and under ``simulated`` in
    the session object.

    Args:
        drift: When an audio reply comes as text: ``documented``, ``never``, ``always``, ``p=Q`` or ``per-response=Q``
            (`kit.standin.drift`).
        seed: Of its draws, together with the query field ``trial`` of a connection.
        dialect: ``both`` (header or query decides), ``ga`` or ``beta``.
        pace: How fast speech streams, as a multiple of real time; ``None`` or 0: as fast as it can.
        host, port: Where to listen; port 0 takes a free one.
        beta_disabled: Refuse the beta header, as the service does since 2026-05.
        replies: What to say, one after the other in each session, before the repertoire goes on.
        on_frame: Called with ``(direction, text, session_id)`` for each frame; direction is ``client`` or ``server``.
        require_key: The only API key that is let in; ``None`` lets everybody in but ``sk-wrong…``.

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
        replies: Sequence[str] | None = None,
        on_frame: Callable[[str, str, str], None] | None = None,
        require_key: str | None = None,
    ) -> None:
        if dialect not in ("both", "ga", "beta"):
            raise InputError(f"dialect must be 'both', 'ga' or 'beta', not {clipped(dialect)}")
        if pace is not None and not (isinstance(pace, int | float) and 0 <= pace < float("inf")):
            raise InputError(f"pace must be a factor of real time such as 1.0, or None, not {clipped(pace)}")
        if isinstance(replies, str):
            raise InputError("replies must be a list of texts, not one text")
        for text in replies or ():
            spoken(text)
        self.manners = Manners(
            drift=rule(drift), seed=seed, pace=pace or None, replies=None if replies is None else tuple(replies)
        )
        self.dialect = dialect
        self.beta_disabled = beta_disabled
        self.require_key = require_key
        self._host, self._port = host, port
        self._on_frame = on_frame
        self._server: Server | None = None
        self._count = itertools.count(1)

    # Starting and stopping

    async def start(self) -> Self:
        """Listen, on the running loop."""
        if self._server is not None:
            raise LocalProtocolError(f"this stand-in listens already, at {self.url}")
        self._server = await serve(
            self._handle,
            self._host,
            self._port,
            process_request=self._before,
            process_response=self._after,
            compression=None,  # it costs 21 times the CPU on these frames and saves nothing on loopback
            max_size=MAX_FRAME_BYTES,
            ping_interval=PING_S,
            ping_timeout=None,  # a notebook cell that blocks for a minute must not lose its session
            server_header=None,
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
            raise LocalProtocolError("this stand-in does not listen; use `async with StandIn(...)` or `await .start()`")
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """Where to connect; a client adds ``?model=…``."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"ws://{host}:{self.port}/v1/realtime"

    @property
    def drift(self) -> str:
        """The name of the drift rule."""
        return str(self.manners.drift)

    @property
    def mark(self) -> str:
        """What the header ``X-Stand-In`` says."""
        return f"realtime-history-kit; drift={self.drift}; seed={self.manners.seed}"

    def __repr__(self) -> str:
        where = self.url if self._server is not None else "not started"
        return f"<StandIn {where} drift={self.drift} seed={self.manners.seed}>"

    # One connection

    def _before(self, connection: ServerConnection, request: Request) -> Response | None:
        if not urlsplit(request.path).path.rstrip("/").endswith("/realtime"):
            return connection.respond(HTTPStatus.NOT_FOUND, f"{self!r}: connect a websocket to /v1/realtime?model=…\n")
        return None

    def _after(self, connection: ServerConnection, request: Request, response: Response) -> None:
        response.headers[MARK_HEADER] = self.mark

    async def _handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        headers = connection.request.headers
        offered = [word.strip() for line in headers.get_all("Sec-WebSocket-Protocol") for word in line.split(",")]
        who = door.caller(connection.request.path, headers, offered, self.dialect)
        refused = door.shut(
            who, require_key=self.require_key, accepted_keys=frozenset(), beta_disabled=self.beta_disabled
        )
        with contextlib.suppress(ConnectionClosed):
            if refused is not None:
                await self._shut(connection, refused, who)
                return
            core = Core(
                self.manners,
                who.dialect,
                model=who.model or door.DEFAULT_MODEL,
                trial=who.trial or f"session {next(self._count)}",
                now=asyncio.get_running_loop().time,
                unix=time.time,
            )
            await _Link(self, connection, core).run()

    async def _shut(self, connection: ServerConnection, refused: door.Shut, who: door.Caller) -> None:
        r = refused.refusal
        error = {"type": r.type, "code": r.code, "message": r.message, "param": r.param, "event_id": None}
        frame = encode({"type": "error", "event_id": new_id("event", int(time.time())), "error": error})
        self.saw(Seen("server", frame.decode(), "", who.dialect.name))
        await connection.send(frame, text=True)
        await connection.close(refused.close_code, refused.reason)

    @property
    def watched(self) -> bool:
        return self._on_frame is not None or bool(OBSERVERS)

    def saw(self, seen: Seen) -> None:
        """Tell those who watch."""
        for observer in OBSERVERS:
            observer(seen)
        if self._on_frame is not None:
            self._on_frame(seen.direction, seen.text, seen.session_id)


class _Link:
    """A connection and its core: one task reads, one writes."""

    def __init__(self, standin: StandIn, connection: ServerConnection, core: Core) -> None:
        self._standin, self._connection, self._core = standin, connection, core
        self._wake = asyncio.Event()  # something may be to be sent
        self._room = asyncio.Event()  # the backlog was sent

    async def run(self) -> None:
        """Until either side closes."""
        writer = asyncio.create_task(self._write())
        try:
            await self._read(writer)
        finally:
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionClosed):
                await writer

    async def _read(self, writer: asyncio.Task[None]) -> None:
        core, standin = self._core, self._standin
        async for frame in self._connection:
            taken = core.receive(frame)
            if standin.watched:
                text = frame if isinstance(frame, str) else repr(frame)
                standin.saw(Seen("client", text, core.id, core.d.name, refused=not taken))
            self._wake.set()
            while core.backlog > BACKLOG_FRAMES and not writer.done():
                self._room.clear()
                await self._room.wait()

    async def _write(self) -> None:
        core, connection, standin = self._core, self._connection, self._standin
        loop = asyncio.get_running_loop()
        while True:
            for frame in core.take():
                if standin.watched:
                    standin.saw(Seen("server", frame.decode(), core.id, core.d.name))
                await connection.send(frame, text=True)
            self._room.set()
            if core.closing is not None:
                await connection.close(*core.closing)
                return
            if core.backlog:
                continue
            await self._until(core.wake_at, loop)
            for _ in range(_BURST):
                core.advance()

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
