"""What listens on a socket: started once, stopped with all its connections, and where to reach it."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection, serve

from ..errors import LocalProtocolError

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
