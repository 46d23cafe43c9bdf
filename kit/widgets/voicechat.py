"""Talk to a session: an open microphone or a button to hold, both sides written down, each reply with its badge."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Any, Literal

import anywidget
import traitlets

from .. import show
from ..audio import Microphone, Speaker, Voice, turn_detection
from ..audio.echo import EchoCanceller, echo_cancellation_installed
from ..errors import DeviceError, InputError, KitError, LocalProtocolError, clipped
from ..session import Session
from ..wire.events import Event
from ..wire.records import Item, Response
from .page import BrowserMicrophone, BrowserSpeaker, css, esm, heard_while_a_cell_blocks

_CLOSED = "the session is closed; connect again, and make a new VoiceChat of it"
_SHOWN = 30  # turns: the conversation's last ones
_DRAW_S = 0.1
_LEFT_S = 1.0  # a page that talks and brings nothing of its microphone for so long has been left or opened again
_HERE_S = 20.0  # how long a page may take to be drawn and to ask its reader for the microphone


class VoiceChat(anywidget.AnyWidget):
    """``VoiceChat(session)`` as a cell's last line: press Start and talk; headphones are advised.

    With turn detection on (the service's default) the microphone is open and the server hears when you begin and end; with
    ``await session.update(turn_detection=None)`` there is a button to hold. When you speak, what you hear stops, and the
    server is told how much of it you heard. What you say is written down where the session transcribes it:
    ``await session.update(transcription={"model": "whisper-1"})``.

    It goes on while other cells run. A cell that blocks (``time.sleep``) stops the sessions of all cells, but not one on a
    thread of its own: ``session = await in_thread(connect("standin"))``.

    Args:
        session: An open session.
        where: Whose microphone and speaker: the ``"browser"``'s, or the ``"kernel"``'s.
        half_duplex: The microphone is silent while the model is heard: no echo, and no interruption by voice.
        echo_cancellation: The browser's own, or with ``where="kernel"`` the extra ``echo``.
        prebuffer_ms: How much must be there before a reply begins to play.
    """

    _esm = esm("capture", "playout", "voicechat")
    _css = css()
    prebuffer_ms = traitlets.Float(60).tag(sync=True)

    def __init__(
        self,
        session: Session,
        *,
        where: Literal["browser", "kernel"] = "browser",
        half_duplex: bool = False,
        echo_cancellation: bool = True,
        prebuffer_ms: float = 60,
    ) -> None:
        if where not in ("browser", "kernel"):
            raise InputError(f"where is 'browser' or 'kernel', not {clipped(where)}")
        super().__init__(prebuffer_ms=prebuffer_ms)
        self.session = session
        self.where = where
        self.half_duplex = half_duplex
        self.echo_cancellation = echo_cancellation
        self.voice: Voice | None = None
        self._session = session
        self._loop = session.loop
        self._speaker = BrowserSpeaker(self.send, prebuffer_ms=prebuffer_ms)
        self._microphone: BrowserMicrophone | None = None
        self._opened: asyncio.Future[None] | None = None
        self._running: asyncio.Task[None] | None = None
        self._is_here = False
        self._heard_at_s = 0.0
        self._ask_for: dict[str, bool] | None = None
        self._state = "idle"
        self._problem: str | None = None
        self._drawn_at_s = 0.0
        self._to_draw: asyncio.TimerHandle | None = None
        self.on_msg(self._told)
        heard_while_a_cell_blocks(self)

    def __repr__(self) -> str:
        return f"<VoiceChat {self._state}, {len(self._session.responses)} replies>"

    # ----------------------------------------------------------------------------------------------- the same, without a page

    async def start(self) -> None:
        """Open microphone and speaker and begin to talk, as the button does.

        Raises:
            DeviceError: If they cannot be had; the sentence says why.
            LocalProtocolError: If the session is closed.
        """
        await self._there(self._start())

    async def stop(self) -> None:
        """End the talk; the session stays open."""
        await self._there(self._stop())

    async def _there(self, coroutine: Any) -> None:
        if asyncio.get_running_loop() is self._loop:
            await coroutine
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    # ---------------------------------------------------------------------------------------- on the session's own loop

    async def _start(self) -> None:
        if self._running is not None:
            return
        self._problem = None
        self._enter("opening")
        stack = contextlib.AsyncExitStack()
        try:
            if self._session.closed:
                raise LocalProtocolError(_CLOSED)
            voice = await (self._open_page(stack) if self.where == "browser" else self._open_kernel(stack))
        except BaseException as exc:
            await stack.aclose()
            self._problem = str(exc) if isinstance(exc, KitError) else None
            self._enter("idle")
            raise
        self.voice = voice
        self._running = self._loop.create_task(self._run(voice, stack), name="kit: voice chat")
        self._enter("talking")

    async def _open_page(self, stack: contextlib.AsyncExitStack) -> Voice:
        self._microphone = microphone = BrowserMicrophone(self._loop)
        self._opened = self._loop.create_future()
        on = self.echo_cancellation
        processing = {"echoCancellation": on, "noiseSuppression": on, "autoGainControl": on}
        stack.callback(self.send, {"kind": "close"})
        stack.callback(microphone.close)
        if self._is_here:
            self.send({"kind": "open", "processing": processing})
        else:  # a page that is only just being drawn would not hear it: it says when it is there
            self._ask_for = processing
        try:
            async with asyncio.timeout(None if self._is_here else _HERE_S):
                await self._opened
        except TimeoutError:
            raise DeviceError(
                f"no page answered within {_HERE_S:g} s: show the chat as the last line of a cell of its own, and press "
                'Start there; or VoiceChat(session, where="kernel")'
            ) from None
        finally:
            self._ask_for = None
        return Voice(self._session, microphone, self._speaker, half_duplex=self.half_duplex, on_event=self._on_event)

    async def _open_kernel(self, stack: contextlib.AsyncExitStack) -> Voice:
        microphone = await stack.enter_async_context(Microphone())
        speaker = await stack.enter_async_context(Speaker(prebuffer_ms=self.prebuffer_ms))
        canceller = None
        if self.echo_cancellation and not self.half_duplex and echo_cancellation_installed():
            canceller = EchoCanceller(far_rate_hz=speaker.rate_hz)
            speaker.on_played = canceller.far
        return Voice(
            self._session,
            microphone,
            speaker,
            half_duplex=self.half_duplex,
            canceller=canceller,
            on_event=self._on_event,
        )

    async def _run(self, voice: Voice, stack: contextlib.AsyncExitStack) -> None:
        meters = self._loop.create_task(self._show_levels(voice)) if self.where == "kernel" else None
        try:
            await voice.run()
            self._problem = _CLOSED  # nothing else ends it by itself
        except KitError as exc:
            self._problem = str(exc)
        finally:
            if meters is not None:
                meters.cancel()
            await stack.aclose()
            self._running, self._microphone = None, None
            self._enter("idle")

    async def _show_levels(self, voice: Voice) -> None:
        while True:
            its = 0.3 if voice.sink.playing else 0.0  # the kernel's speaker has no meter: on or off
            self.send({"kind": "levels", "mine": voice.level, "its": its})
            await asyncio.sleep(0.08)

    async def _stop(self) -> None:
        if self._opened is not None and not self._opened.done():
            self._opened.set_exception(DeviceError("given up before the microphone was open"))
        running = self._running
        if running is not None:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def _press(self, what: str) -> None:
        try:
            if what == "start":
                await self._start()
            elif what == "stop":
                await self._stop()
            elif self.voice is not None and self._running is not None:
                await (self.voice.press() if what == "talk" else self.voice.release())
        except KitError as exc:
            self._problem = str(exc)
        self._draw()

    # ------------------------------------------------------------------------------------ what the page says, on any thread

    def _told(self, _widget: object, told: Mapping[str, Any], buffers: list[memoryview]) -> None:
        kind = told.get("kind")
        if kind == "pcm":
            if self._microphone is not None:
                self._heard_at_s = time.monotonic()
                self._microphone.take(bytes(buffers[0]), int(told["first"]))
        elif kind == "heard":
            self._speaker.heard(told)
        elif kind == "press":
            asyncio.run_coroutine_threadsafe(self._press(str(told.get("what"))), self._loop)
        elif kind == "here":
            self._speaker.page_opened()
            self._soon(self._arrived)
        elif kind == "opened":
            self._soon(self._settle, None)
        elif kind == "problem":
            self._soon(self._settle, str(told.get("words")))

    def _arrived(self) -> None:
        self._is_here = True
        if self._ask_for is not None:
            self.send({"kind": "open", "processing": self._ask_for})
        elif self._microphone is not None and time.monotonic() - self._heard_at_s > _LEFT_S:
            self._settle("The page was opened again, and its microphone is closed. Press Start talking to go on.")
        self._draw()

    def _soon(self, call: Any, *args: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *args)

    def _settle(self, problem: str | None) -> None:
        if self._opened is not None and not self._opened.done():
            if problem is None:
                self._opened.set_result(None)
            else:
                self._opened.set_exception(DeviceError(problem))
        elif problem is not None:
            self._problem = problem
            self._loop.create_task(self._stop())

    # ---------------------------------------------------------------------------------------------------------- its picture

    def _enter(self, state: str) -> None:
        self._state = state
        self._draw()

    def _on_event(self, event: Event) -> None:
        if event.type.startswith("input_audio_buffer.append"):
            return
        if self._to_draw is None:
            wait_s = max(0.0, self._drawn_at_s + _DRAW_S - time.monotonic())
            self._to_draw = self._loop.call_later(wait_s, self._draw)

    def _draw(self) -> None:
        if self._to_draw is not None:
            self._to_draw.cancel()
            self._to_draw = None
        self._drawn_at_s = time.monotonic()
        manual = turn_detection(self._session) is None
        view = {"state": self._state, "html": self.html(), "facts": self._facts(), "manual": manual}
        self.send({"kind": "view", "problem": self._problem, **view})

    def html(self) -> str:
        """Both sides, as the page shows them."""
        spoken_by = {item_id: r for r in self._session.responses for item_id in r.item_ids}
        turns = [_turn(item, spoken_by.get(item.id or "")) for item in self._session.items]
        mark = show.origin(self._session.simulated)
        return "".join(turns[-_SHOWN:]) + (f'<div class="kit-small">{mark}</div>' if mark and turns else "")

    def _facts(self) -> str:
        voice = self.voice
        if voice is None:
            device = "the browser's" if self.where == "browser" else "the kernel's"
            return f"{device} microphone and speaker · headphones are advised"
        lost = {
            "input": "frame{} of yours lost",
            "output": "frame{} of its lost",
            "underruns": "gap{} in what you heard",
        }
        words = [f"{n} {lost[name].format('s' * (n != 1))}" for name, n in voice.dropped.items() if n]
        latency = voice.latency
        if latency.server_ms:
            words.append(f"first sound {show.ms(latency.server_ms[-1])} after you")
        if latency.own_p95_ms is not None:
            words.append(f"of which the kit's own part {latency.own_p95_ms:.0f} ms at p95, apart from the network")
        return " · ".join(words)


def _turn(item: Item, response: Response | None) -> str:
    if response is None:
        who = {"user": "you", "assistant": "model"}.get(item.role or "", item.role or item.type or "")
        said = show.esc(item.text) or '<span class="kit-small">(speech, not written down)</span>'
        return f'<div class="kit-turn"><span>{show.esc(who)}</span><span>{said}</span></div>'
    cut = ""
    if item.truncated_at_ms is not None:
        cut = f' <span class="kit-warn">cut off after {item.truncated_at_ms / 1000:.2f}&nbsp;s</span>'
    elif response.status not in ("completed", "in_progress"):
        cut = f' <span class="kit-warn">{show.esc(response.status)} {show.esc(response.reason or "")}</span>'
    said = f"{show.badge(response.modality)} {show.esc(response.words)}{cut}"
    return f'<div class="kit-turn"><span>model</span><span>{said}</span></div>'
