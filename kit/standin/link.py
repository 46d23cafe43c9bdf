"""A connection and its core: one task reads, one writes, and what takes long runs in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Literal

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from .core import Core, Job

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
