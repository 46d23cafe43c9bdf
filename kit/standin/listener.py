"""What any local server of the kit needs: a door, limits and an end. The stand-in, the relay and a replay are listeners.

It is one of two files here that know asyncio; the other is server.py.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import ssl
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self, cast

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.protocol import CONNECTING
from websockets.typing import Subprotocol

from ..errors import InputError, LocalProtocolError, MissingExtra, clipped
from .handshake import Access, HttpRequest, PlainRequest
from .options import MAX_FRAME_BYTES

HELLO_S = 10.0  # for a TLS handshake, as for that of the websocket
CLOSE_S = 0.5  # for closing handshakes when a server stops; who has not answered then is cut off
_REALTIME = Subprotocol("realtime")
_TLS_HELLO = b"\x16\x03"  # how every TLS connection begins
_SILENT = logging.Logger("kit.standin", level=logging.CRITICAL + 1)
"""websockets writes the handshake's headers at DEBUG, and with them whatever key a client sent. This logger has no parent."""


class Connection(ServerConnection):
    """A websocket that sends many frames in one write, and that may turn out to be a plain POST."""

    def __init__(self, listener: Listener, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # What the listener found out in the handshake, for its handler.
        self.about: Any = None
        # Whose server it came to.
        self._listener = listener
        # What reads this connection's bytes instead of the library, which knows no POST; ``None``: a GET, or not known yet.
        self._plain: PlainRequest | None = None
        # The answer to it that is being made: asyncio itself holds tasks only weakly.
        self._replying: asyncio.Future[bytes] | None = None
        # Whether the first bytes have come: they tell what the client speaks.
        self._begun = False

    async def send_all(self, frames: Sequence[bytes]) -> None:
        """Send text frames, in order. Raises and may be cancelled as `send` does.

        One write for all of them: half of a stand-in's work is telling the system of frames.
        """
        async with self.send_context():
            for frame in frames:
                self.protocol.send_text(frame)
            self.protocol.writes = [b"".join(self.protocol.writes)]

    # asyncio's own hooks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._listener.connections.add(self)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.connections.discard(self)
        self._listener.lost(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._begun:
            self._begun = True
            if self.protocol.state is CONNECTING and data.startswith(PlainRequest.METHODS):
                answer_plain = self._listener.answer_plain
                self._plain = PlainRequest(self._listener.access, answer_plain) if answer_plain is not None else None
            if data.startswith(_TLS_HELLO) and self._listener.on_notice is not None:
                text = "a client speaks TLS (wss://) and this server does not: serve with TLS, or use ws://"
                self._listener.on_notice(text)
        if self._plain is None:
            super().data_received(data)
        elif isinstance(answer := self._plain.feed(data), bytes):
            self._reply(answer)
        elif answer is not None and self._replying is None:  # what comes after a whole request is not read
            self._replying = asyncio.ensure_future(answer)
            self._replying.add_done_callback(lambda task: self._reply(task.result()))

    def _reply(self, answer: bytes) -> None:
        self.transport.write(answer)
        self.transport.close()


class Listener:
    """A websocket server on the running loop.

    Args:
        name: What its errors call it.
        access: Who may connect, and where it listens.
        port: 0 takes a free one.
        frame_bytes: The longest message that is taken from a client.
        ping_s: Seconds between pings; ``None``: none.
    """

    def __init__(
        self, name: str, access: Access, port: int, *, frame_bytes: int = MAX_FRAME_BYTES, ping_s: float | None = None
    ) -> None:
        if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65_535:
            raise InputError(f"port must be 0 (any free one) to 65535, not {clipped(port)}")
        self.access = access
        # Every TCP connection, also before its handshake: `stop` cuts off those that do not end by themselves.
        self.connections: set[Connection] = set()
        # Answers a POST or DELETE; ``None``: nothing does.
        self.answer_plain: Callable[[HttpRequest], bytes | Coroutine[Any, Any, bytes]] | None = None
        # Called with a sentence that whoever runs this server may want to know.
        self.on_notice: Callable[[str], None] | None = None
        self._name = name
        self._port = port
        self._frame_bytes, self._ping_s = frame_bytes, ping_s
        # What it serves ``wss://`` with; ``None``: it speaks ``ws://``.
        self._ssl: ssl.SSLContext | None = None
        # The library's server while this listens.
        self._server: Server | None = None

    # What each kind of server does in its own way: the stand-in, a replay, the relay

    async def admit(self, connection: Connection, request: Request) -> Response | None:
        """Return why a request that came through the door is refused over HTTP; ``None``: shake hands."""
        return None

    def headers(self, connection: Connection) -> dict[str, str]:
        """Return what the handshake's answer says besides."""
        return {}

    async def talk(self, connection: Connection) -> None:
        """Serve one connection until it is over."""
        raise NotImplementedError

    def lost(self, connection: Connection) -> None:
        """Let go of what `admit` opened for a connection: it is gone, and may never have come as far as `talk`."""

    # Its life

    async def start(self) -> Self:
        """Listen, on the running loop."""
        if self._server is not None:
            raise LocalProtocolError(f"this {self._name} listens already, at {self.url}")
        self._server = await serve(
            cast(Any, self.talk),  # its connections are those that `create_connection` makes
            self.access.host,
            self._port,
            process_request=self._before,
            process_response=self._after,
            select_subprotocol=lambda _, offered: _REALTIME if _REALTIME in offered else None,
            subprotocols=[_REALTIME],
            compression=None,  # it costs 21 times the CPU on these frames and saves nothing on loopback
            server_header=None,
            max_size=self._frame_bytes,
            ping_interval=self._ping_s,
            ping_timeout=None,  # a notebook cell that blocks for a minute must not lose its session
            logger=_SILENT,
            ssl=self._ssl,
            # Not the library's minute: `stop` knows no connection before its TLS handshake is done.
            ssl_handshake_timeout=HELLO_S if self._ssl else None,
            create_connection=functools.partial(Connection, self),  # type: ignore[arg-type]
        )
        return self

    async def stop(self) -> None:
        """Close every connection and the socket, and wait until all of it is gone. May be called twice.

        A client that does not answer the close within `CLOSE_S` is cut off.
        """
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        try:
            async with asyncio.timeout(CLOSE_S):
                await server.wait_closed()
        except TimeoutError:
            for connection in list(self.connections):
                connection.transport.abort()
            await server.wait_closed()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_exc: object) -> None:
        await self.stop()

    @property
    def listening(self) -> bool:
        """Whether it was started and not stopped."""
        return self._server is not None

    @property
    def port(self) -> int:
        """Where it listens."""
        if self._server is None:
            way = f"`async with {type(self).__name__}(...)` or `await .start()`"
            raise LocalProtocolError(f"this {self._name} does not listen; use {way}")
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """Where to connect; a client adds ``?model=…``."""
        host = f"[{self.access.host}]" if ":" in self.access.host else self.access.host
        return f"{'wss' if self._ssl else 'ws'}://{host}:{self.port}/v1/realtime"

    # The handshake

    async def _before(self, connection: Any, request: Request) -> Response | None:
        why = self.access.refusal(request.headers)
        if why is not None:
            response: Response = connection.respond(HTTPStatus.FORBIDDEN, f"{why}\n")
            return response
        return await self.admit(connection, request)

    def _after(self, connection: Any, request: Request, response: Response) -> None:
        if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            for name, value in self.headers(connection).items():
                response.headers[name] = value


def make_certificate(host: str) -> tuple[ssl.SSLContext, Path]:
    """Make an authority and a certificate for this machine, for clients that speak only ``wss://``, such as the official one for Node.

    The authority's private key is never written; only its certificate is, for the client to trust.

    Returns:
        What the server serves with, and the file with the authority's certificate in PEM.

    Raises:
        MissingExtra: If `trustme` is not installed.
    """
    try:
        import trustme
    except ImportError:
        raise MissingExtra('TLS needs trustme; pip install "realtime-history-kit[tls]" brings it') from None
    authority = trustme.CA(organization_name="realtime-history-kit stand-in")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    names = dict.fromkeys(("localhost", "127.0.0.1", "::1", host))
    authority.issue_cert(*(name for name in names if name not in ("0.0.0.0", "::"))).configure_cert(context)
    path = Path(tempfile.mkdtemp(prefix="kit-standin-")) / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return context, path
