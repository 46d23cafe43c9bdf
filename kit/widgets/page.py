"""The browser's speaker and microphone as the kernel sees them: the two ends of a conversation, over a widget's messages."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..audio import Block, BlockQueue

# The front ends of the sound widgets: modules of JavaScript put together here, so that nothing is fetched from outside.


_HERE = Path(__file__).parent


@cache
def esm(*names: str) -> str:
    """The source of these files, in this order, as one module."""
    return "\n".join((_HERE / f"{name}.js").read_text(encoding="utf-8") for name in names)


@cache
def css() -> str:
    """One look for all of them, in the colours of the reader's theme."""
    return (_HERE / "sound.css").read_text(encoding="utf-8")


def heard_while_a_cell_blocks(widget: Any) -> None:
    """Have the page's messages handled on the thread that the page asked for, so that a cell that blocks delays none.

    JupyterLab 4.4 and newer asks for a thread of its own for widgets ("comms over subshells"). ipykernel 7.4 answers on the
    thread that *sent* last on this comm, which for a widget made in a cell is the main one (``BaseComm._reply_subshell_for``,
    seen 2026-11). Handlers must be safe on any thread.
    """
    comm = widget.comm
    if hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = lambda _data, asked_for: asked_for


_STOP_S = 4.0  # how long a page may take to say what was heard; then what it said last counts
_LOOK_S = 0.02
_MAX_WAITING = 500  # blocks of 40 ms that a busy session may be late by

Send = Callable[..., None]


class BrowserSpeaker:
    """A `kit.audio.Sink` in the page. Samples are int16 at 24 kHz, counted from the first ever given.

    Messages may come on any thread. `n_heard` is what the page said last, which it does every 50 ms; `stop` asks it anew.

    Args:
        send: The widget's ``send(content, buffers=…)``.
    """

    def __init__(self, send: Send, *, prebuffer_ms: float = 60) -> None:
        self.prebuffer_ms = prebuffer_ms
        self.n_underruns = 0
        self.n_dropped = 0
        self.delays_ms: list[float] = []
        self.peak = 0.0
        self._send = send
        self._n_written = 0
        self._n_heard = 0
        self._is_here = False
        self._early: list[tuple[dict[str, Any], list[bytes]]] = []
        self._base = 0  # the page counts from when it was opened
        self._ended = True
        self._marks: deque[float] = deque(maxlen=64)
        self._stops: dict[int, tuple[asyncio.AbstractEventLoop, asyncio.Future[int]]] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    @property
    def n_written(self) -> int:
        """Samples given and not dropped by `stop`."""
        return self._n_written

    @property
    def n_heard(self) -> int:
        """Samples that the page says have come out."""
        return self._n_heard

    @property
    def playing(self) -> bool:
        """Something is waiting to be heard."""
        return self._n_heard < self._n_written

    def write(self, pcm: bytes) -> None:
        """Add to what is to be heard."""
        with self._lock:
            if self._ended:
                self._ended = False
                self._marks.append(time.perf_counter())
            self._n_written += len(pcm) // 2
        self._tell({"kind": "sound"}, [pcm])

    def end(self) -> None:
        """Nothing more is to come for now."""
        self._ended = True
        self._tell({"kind": "end"}, [])

    def _tell(self, content: dict[str, Any], buffers: list[bytes]) -> None:
        with self._lock:
            if not self._is_here:  # a page that is only just being drawn would not hear it
                self._early.append((content, buffers))
                return
        self._send(content, buffers=buffers)

    async def stop(self) -> int:
        """Fall silent at once; the samples heard in all, as the page says (or said last, if it does not answer)."""
        if not self.playing:
            return self._n_heard
        loop = asyncio.get_running_loop()
        number, told = next(self._numbers), loop.create_future()
        self._stops[number] = (loop, told)
        self._send({"kind": "stop", "id": number})
        try:
            async with asyncio.timeout(_STOP_S):
                return int(await told)
        except TimeoutError:
            self._n_written = self._n_heard
            return self._n_heard
        finally:
            self._stops.pop(number, None)
            self._ended = True

    async def drained(self) -> None:
        """Wait until everything has been heard."""
        while self.playing:  # noqa: ASYNC110  it is the page's clock that is asked
            await asyncio.sleep(_LOOK_S)

    def page_opened(self) -> None:
        """A page that counts from 0: what an earlier one was still to play is lost."""
        with self._lock:
            early, self._early, first, self._is_here = self._early, [], not self._is_here, True
        if not first:
            self._base = self._n_heard = self._n_written
        for content, buffers in early:
            self._send(content, buffers=buffers)

    def heard(self, told: Mapping[str, Any]) -> None:
        """What the page reports."""
        heard = self._base + int(told["heard"])
        with self._lock:
            self._n_heard = max(self._n_heard, min(heard, self._n_written))
            self.n_underruns = int(told["underruns"])
            self.peak = float(told["peak"])
            if told.get("began") and self._marks:
                self.delays_ms.append((time.perf_counter() - self._marks.popleft()) * 1000)
            number = told.get("stopped")
            if number is not None:
                self._n_written = self._base + int(told["played"])
                self._n_heard = min(heard, self._n_written)
                # What the device had taken is still heard; nothing waits any more.
                result, self._n_heard = self._n_heard, self._n_written
                waiting = self._stops.get(int(number))
                if waiting is not None and not waiting[0].is_closed():
                    waiting[0].call_soon_threadsafe(_settle, waiting[1], result)


def _settle(future: asyncio.Future[int], result: int) -> None:
    if not future.done():
        future.set_result(result)


class BrowserMicrophone:
    """A `kit.audio.Source` in the page: blocks as they come, until `close`.

    Args:
        loop: Where the blocks are read.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue = BlockQueue(_MAX_WAITING)

    @property
    def n_dropped(self) -> int:
        """Samples lost because no reader took them in time."""
        return self._queue.n_dropped

    def take(self, pcm: bytes, first: int) -> None:
        """Add one block, from any thread."""
        self._call(self._queue.put, Block(pcm, first, time.perf_counter()))

    def close(self) -> None:
        """End it, from any thread."""
        self._call(self._queue.close)

    def _call(self, call: Callable[..., None], *args: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *args)

    async def __aiter__(self) -> AsyncIterator[Block]:
        """Yield blocks as they come, until `close`."""
        while (block := await self._queue.get()) is not None:
            yield block
