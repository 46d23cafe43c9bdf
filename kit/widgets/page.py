"""What every widget shares: the handshake with its page, the page's speaker and microphone, and a last picture for export.

A page is JavaScript put together from files of this folder, so that nothing is fetched from outside. It says ``here`` when it
is drawn, again when it was opened anew, and ``left`` when its microphone was ended there (`capture.js` lists the ways).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import anywidget

from .. import show
from ..audio.microphone import Block, BlockQueue
from ..connecting import when_rebound
from ..errors import DeviceError

_HERE = Path(__file__).parent
_STOP_S = 4.0  # how long a page may take to say what was heard; then its last report counts
_LOOK_S = 0.02  # how often a wait looks at what was heard
_MAX_WAITING = 500  # blocks of 40 ms: how late a busy session may be
CONFIRM_EVERY = 50  # blocks: how often the page hears that its sound arrived
_SILENT_S = 5.0  # a page that talks and brings nothing for this long was closed, crashed, or sleeps under a lid

Content = Mapping[str, Any]

# Where no kernel runs, ipywidgets writes "Error displaying widget: model not found" under the picture of a widget's last state,
# as the bare text of an output without elements; JupyterLab 4.6, seen 2026-11.
_WITHOUT_MODEL = ".jp-OutputArea-child:has([data-kit-snapshot]) + .jp-OutputArea-child > .jupyter-widgets:not(:has(*))"
_WITHOUT_KERNEL = (
    f"<style>{_WITHOUT_MODEL} {{ font-size: 0 }} {_WITHOUT_MODEL}::after {{ font-size: 12px; opacity: .8; "
    'content: "as it was last; run the cells to use it" }</style>'
)


@cache
def read(*names: str) -> str:
    """Read these files, in this order, as one; ``sound.css`` is the look that all widgets with sound share."""
    return "\n".join((_HERE / name).read_text(encoding="utf-8") for name in names)


class PageWidget(anywidget.AnyWidget):
    """A widget whose page and kernel exchange messages: ``{"kind": …}`` and buffers, both ways.

    A message of a kind in `KINDS` is handed to ``_on_<kind>(content, buffers)``, on whatever thread it came: JupyterLab 4.4 and
    newer sends them on a thread of their own, so that a cell that blocks delays none.
    """

    KINDS: ClassVar[tuple[str, ...]] = ("here",)

    def __init__(self, **traits: Any) -> None:
        # The page was drawn at least once.
        self._page_here = threading.Event()
        # It stands in some output, or is on its way there.
        self._displayed = False
        # Pictures of its state beside it, one per output that it stands in, and what they show; its page hides them while a
        # kernel is there.
        self._snapshots: list[Any] = []
        self._snapshot_id, self._snapshot = secrets.token_hex(6), ""
        super().__init__(**traits)
        self.on_msg(_dispatch)
        comm = self.comm
        if hasattr(comm, "_reply_subshell_for"):
            # ipykernel 7.4 answers on the thread that *sent* last on this comm, which for a widget made in a cell is the main
            # one (`BaseComm._reply_subshell_for`, seen 2026-11); the page asked for its own.
            comm._reply_subshell_for = lambda _data, asked_for: asked_for
        when_rebound(self, PageWidget, lambda widget: widget.release_devices())

    def _received(self, content: Any, buffers: list[memoryview]) -> None:
        kind = content.get("kind") if isinstance(content, dict) else None
        if kind in self.KINDS:
            getattr(self, f"_on_{kind}")(content, buffers)

    def _on_here(self, _content: Content, _buffers: list[memoryview]) -> None:
        self._page_here.set()
        self.send({"kind": "live", "id": self._snapshot_id})

    async def _until_page_is_here(self, limit_s: float, otherwise: str) -> None:
        """Wait until the page is drawn; show the widget first, if it stands in no output.

        Raises:
            DeviceError: With `otherwise` as advice, if no page answers within `limit_s` seconds.
        """
        if not self._displayed and not self._page_here.is_set() and "IPython" in sys.modules:
            from IPython.display import display

            display(self)  # type: ignore[no-untyped-call]
        deadline = time.monotonic() + limit_s
        while not self._page_here.is_set():
            if time.monotonic() > deadline:
                raise DeviceError(f"no page answered within {limit_s:g} s. {otherwise}")
            await asyncio.sleep(0.05)

    def static_html(self) -> str:
        """Its state now as HTML: what an export and a saved notebook show where no kernel runs."""
        return ""

    def update_snapshot(self) -> None:
        """Take a new picture of its state, for a notebook that is saved now: call it whenever something was done."""
        if self._snapshots and (picture := self.static_html()) != self._snapshot:
            self._snapshot = picture
            for output in self._snapshots:
                output.update(self._snapshot_bundle(), raw=True)

    def _snapshot_bundle(self) -> dict[str, str]:
        html = f'<div data-kit-snapshot="{self._snapshot_id}">{self._snapshot}</div>{_WITHOUT_KERNEL}'
        return {"text/html": html, "text/plain": ""}

    def release_devices(self) -> None:
        """Let go of microphone and speaker, from any thread: the widget's name was given to another one."""

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        self._displayed = True
        if show.in_a_cell() and (picture := self.static_html()):
            from IPython.display import display

            # An output of its own: to change that of the widget would draw the widget anew, under the hands of who types.
            self._snapshot = picture
            self._snapshots.append(display(self._snapshot_bundle(), raw=True, display_id=True))  # type: ignore[no-untyped-call]
        return super()._repr_mimebundle_(**kwargs)


def _dispatch(widget: PageWidget, content: Any, buffers: list[memoryview]) -> None:
    """Hand a message on. (A function: a bound method would keep the widget alive with itself.)"""
    widget._received(content, buffers)


class BrowserSpeaker:
    """A `kit.audio.Sink` in the page, which reports every 50 ms what was heard. Its messages may come on any thread."""

    def __init__(self, send: Callable[..., None], *, prebuffer_ms: float = 60) -> None:
        # How much must be there before a reply begins to play: the page sees to it (`Playout` in playout.js).
        self.prebuffer_ms = prebuffer_ms
        self.n_underruns = 0
        self.delays_ms: list[float] = []
        # The widget's ``send(content, buffers=…)``.
        self._to_page = send
        # Samples given and not dropped by `stop`, and those that the page reports as heard.
        self.n_written = self.n_heard = 0
        # Messages for a page that is not drawn yet, and would not hear them; None once it is.
        self._early: list[tuple[dict[str, Any], list[bytes]]] | None = []
        # What had been written when the page was opened: it counts from 0.
        self._base = 0
        # The reply is complete: the next samples begin another one.
        self._ended = True
        # `perf_counter` of the first samples of replies that the page has not taken yet.
        self._starts: deque[float] = deque(maxlen=64)
        # Stops that wait for the page's answer, by their number.
        self._stops: dict[int, asyncio.Future[int]] = {}
        self._numbers = itertools.count(1)
        self._counts = threading.Lock()

    @property
    def playing(self) -> bool:
        return self.n_heard < self.n_written

    def write(self, pcm: bytes) -> None:
        with self._counts:
            if self._ended:
                self._ended = False
                self._starts.append(time.perf_counter())
            self.n_written += len(pcm) // 2
        self._tell({"kind": "sound"}, [pcm])

    def end(self) -> None:
        self._ended = True
        self._tell({"kind": "end"}, [])

    def _tell(self, content: dict[str, Any], buffers: list[bytes]) -> None:
        with self._counts:
            if self._early is not None:
                self._early.append((content, buffers))
                return
        self._to_page(content, buffers=buffers)

    async def stop(self) -> int:
        """Fall silent at once; returns the samples heard in all, as the page says (its last report, if it does not answer)."""
        if not self.playing:
            return self.n_heard
        number, answer = next(self._numbers), asyncio.get_running_loop().create_future()
        self._stops[number] = answer
        self._to_page({"kind": "stop", "id": number})
        try:
            async with asyncio.timeout(_STOP_S):
                return int(await answer)
        except TimeoutError:
            self.n_written = self.n_heard
            return self.n_heard
        finally:
            self._stops.pop(number, None)
            self._ended = True

    async def drained(self) -> None:
        """Wait until everything has been heard."""
        while self.playing:  # noqa: ASYNC110  it is the page's clock that is asked
            await asyncio.sleep(_LOOK_S)

    def page_opened(self) -> None:
        """Take a page that counts from 0: what an earlier one was still to play is lost."""
        with self._counts:
            early, self._early = self._early, None
        if early is None:
            self._base = self.n_heard = self.n_written
        for content, buffers in early or ():
            self._to_page(content, buffers=buffers)

    def report(self, content: Content) -> None:
        """Take what the page reports: ``played`` and ``heard`` samples, ``underruns``; ``began``, ``stopped``."""
        n_heard = self._base + int(content["heard"])
        with self._counts:
            self.n_heard = max(self.n_heard, min(n_heard, self.n_written))
            self.n_underruns = int(content["underruns"])
            if content.get("began") and self._starts:
                self.delays_ms.append((time.perf_counter() - self._starts.popleft()) * 1000)
            if (number := content.get("stopped")) is None:
                return
            # What the device had taken when it was stopped is still heard; nothing waits any more.
            self.n_written = self._base + int(content["played"])
            result, self.n_heard = min(n_heard, self.n_written), self.n_written
        settle(self._stops.get(int(number)), result)


class BrowserMicrophone(BlockQueue):
    """The page's microphone: blocks as they come, until `close`, to be read on that loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(_MAX_WAITING, silent_s=_SILENT_S)
        self._loop = loop
        self._n_blocks = 0

    def take(self, pcm: bytes, first: int) -> int | None:
        """Add one block, from any thread; returns how many came so far each time that the page should hear of it."""
        self._n_blocks += 1
        soon(self._loop, self.put, Block(pcm, first, time.perf_counter()))
        return self._n_blocks if self._n_blocks % CONFIRM_EVERY == 0 else None

    def why_gone(self) -> str:
        return (
            f"the page brought nothing of its microphone for {_SILENT_S:g} s: it was closed, or sleeps. "
            "Show the widget again, and press Start"
        )


def soon(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *args: Any) -> None:
    """Call something on a loop, from any thread; nothing happens where the loop is gone."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call, *args)


def settle(future: asyncio.Future[Any] | None, outcome: object) -> None:
    """Give a future its result or its error, from any thread; nothing happens where there is none, or it has one."""

    def give(future: asyncio.Future[Any]) -> None:
        if not future.done() and isinstance(outcome, Exception):
            future.set_exception(outcome)
        elif not future.done():
            future.set_result(outcome)

    if future is not None:
        soon(future.get_loop(), give, future)
