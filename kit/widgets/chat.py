"""Go on with a session by typing and by talking: one log of turns, replies heard while they arrive, a badge on each.

=========  =======================  ===================================================================================
state      the button says          what changes it
=========  =======================  ===================================================================================
idle       Start talking            press → opening
opening    Give up                  the microphone is open → talking; a problem, or a press → idle
talking    End talk                 a press → idle, the session stays open; a device is gone, the session closed → idle;
                                    the page was left (`capture.js` lists how) → idle, and the session is closed
=========  =======================  ===================================================================================

While it talks a word says what goes on: listening, hearing you, thinking, speaking. Typing works in every state.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, Concatenate, Literal, ParamSpec

import traitlets

from .. import show
from ..audio import Microphone, Playback, Speaker, Voice, play_replies, turn_detection
from ..audio.echo import EchoCanceller, echo_cancellation_installed
from ..clip import Clip, clips_dir
from ..errors import DeviceError, InputError, KitError, LocalProtocolError, clipped
from ..session import Session
from ..wire.records import Item, Response
from .page import BrowserMicrophone, BrowserSpeaker, Content, PageWidget, read, settle, soon

_CLOSED = "the session is closed; connect again, and run this cell again"
_MAX_TURNS = 200  # shown: the conversation's last ones
_LEVELS_S = 0.08  # how often the page hears how loud the kernel's microphone is
_DRAW_S = 0.1  # the least time between two pictures: deltas come much faster
_HERE_S = 20.0  # how long a page may take to be drawn

Turn = dict[str, Any]
P = ParamSpec("P")


def _on_its_loop(
    method: Callable[Concatenate[Chat, P], Coroutine[Any, Any, None]],
) -> Callable[Concatenate[Chat, P], Coroutine[Any, Any, None]]:
    """Run a coroutine method of a chat on the loop of its session, whichever loop awaits it."""

    @functools.wraps(method)
    async def call(chat: Chat, /, *args: P.args, **kwargs: P.kwargs) -> None:
        if asyncio.get_running_loop() is chat._loop:
            await method(chat, *args, **kwargs)
        elif chat._loop.is_closed():  # the session's thread ended with it
            raise LocalProtocolError(_CLOSED)
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(method(chat, *args, **kwargs), chat._loop))

    return call


class Chat(PageWidget):
    """``Chat(session)`` as a cell's last line: type a turn, or choose a clip, and see and hear the reply as it arrives.

    With ``talk=True`` (`VoiceChat`) press Start and speak, too; headphones are advised. With turn detection on (the service's
    default) the microphone is open and the server hears when you begin and end; with
    ``await session.update(turn_detection=None)`` there is a button to hold. When you speak, what you hear stops, and the server
    is told how much of it you heard. What you say is written down where the session transcribes it:
    ``await session.update(transcription={"model": "whisper-1"})``.

    It uses the session that the cells use: what is said here is in `session.items` and `session.responses`. It goes on while
    other cells run; a cell that blocks (``time.sleep``) stops all sessions but those on a thread of their own:
    ``session = await in_thread(connect("standin"))``.

    Args:
        session: An open session.
        talk: Show the microphone; without it, as the class does.
        where: Whose microphone and speaker: the ``"browser"``'s, or the ``"kernel"``'s.
        half_duplex: The microphone is silent while the model is heard: no echo, and no interruption by voice.
        echo_cancellation: The browser's own, or with ``where="kernel"`` the extra ``echo``.
        prebuffer_ms: How much must be there before a reply begins to play.
    """

    _esm = read("page.js", "capture.js", "playout.js", "chat.js")
    _css = read("sound.css")
    # Every message that the page may send; anything else is ignored.
    KINDS: ClassVar[tuple[str, ...]] = ("here", "press", "say", "replay", "pcm", "heard", "opened", "problem", "left")
    talk: bool = False  # of this class, where nothing is said
    # Synchronised: the page itself waits for that much before it plays.
    prebuffer_ms = traitlets.Float(60).tag(sync=True)

    def __init__(
        self,
        session: Session,
        *,
        talk: bool | None = None,
        where: Literal["browser", "kernel"] = "browser",
        half_duplex: bool = False,
        echo_cancellation: bool = True,
        prebuffer_ms: float = 60,
    ) -> None:
        if where not in ("browser", "kernel"):
            raise InputError(f"where is 'browser' or 'kernel', not {clipped(where)}")
        self.session = session
        self.talk, self.where = type(self).talk if talk is None else talk, where
        self.half_duplex = half_duplex
        self.echo_cancellation = echo_cancellation
        # The spoken conversation, also after it ended; None before the first.
        self.voice: Voice | None = None
        # The session's own, which may run on another thread than the cells; everything below lives on it.
        self._loop = session.loop
        self._speaker = BrowserSpeaker(self.send, prebuffer_ms=prebuffer_ms)
        # The page's microphone while it is open; and what waits for the page to open it.
        self._microphone: BrowserMicrophone | None = None
        self._opened: asyncio.Future[None] | None = None
        # The talk, from its start to its end.
        self._running: asyncio.Task[None] | None = None
        # Turns typed here are asked one after the other; those that wait are shown as such.
        self._turn = asyncio.Lock()
        self._waiting: list[str] = []
        # Clips said here, by their item's id: the server does not send a user's sound back.
        self._clips: dict[str, Clip] = {}
        # What was heard of which reply, by the last thing that played them.
        self._playback: Playback | None = None
        # Held, or it could be collected in the middle.
        self._leaving: asyncio.Task[None] | None = None
        # Between `speech_started` and `speech_stopped`.
        self._hearing = False
        # The table at the top of this file.
        self._state = "idle"
        # A sentence under the button until the next attempt; None: all is well.
        self._problem: str | None = None
        # What the page shows, to send only what changed.
        self._drawn: list[Turn] = []
        # `monotonic` of the last picture, and the one that is due next: deltas only ask for it.
        self._drawn_at_s = 0.0
        self._to_draw: asyncio.TimerHandle | None = None
        super().__init__(prebuffer_ms=prebuffer_ms)
        self._following = asyncio.run_coroutine_threadsafe(self._follow(), self._loop)

    def __repr__(self) -> str:
        n = len(self.session.responses)
        return f"<{type(self).__name__} {self._state}, {n} repl{'y' if n == 1 else 'ies'}>"

    @_on_its_loop
    async def ask(self, content: str | Clip) -> None:
        """Ask, as the box does. An error is shown, not raised: the box stays usable."""
        waiting = content if isinstance(content, str) else "(a clip)"
        self._waiting.append(waiting)
        self._draw()
        async with self._turn:
            self._waiting.remove(waiting)
            self._problem = None
            # To find the item of a clip afterwards: the server gives it its id.
            before = {item.id for item in self.session.items}
            try:
                if self.session.closed:
                    raise LocalProtocolError(_CLOSED)
                async with contextlib.AsyncExitStack() as stack:
                    if self._running is None:  # a talk plays its replies itself
                        await self._speaker.stop()  # of an earlier reply: the reader has gone on
                        self._playback = await stack.enter_async_context(play_replies(self.session, self._speaker))
                    await self.session.ask(content)
            except KitError as exc:
                self._problem = _CLOSED if self.session.closed and not isinstance(exc, InputError) else str(exc)
            if isinstance(content, Clip):
                new = [i.id for i in self.session.items if i.id not in before and i.role == "user" and i.id]
                self._clips |= dict.fromkeys(new[:1], content)
        self._draw()

    @_on_its_loop
    async def start(self) -> None:
        """Open microphone and speaker and begin to talk, as the button does.

        Raises:
            DeviceError: If they cannot be had; the sentence says why.
            LocalProtocolError: If the session is closed.
        """
        if self._running is not None:
            return
        self._state, self._problem = "opening", None
        self._draw()

        def idle() -> None:
            self._running, self._microphone, self._hearing = None, None, False
            self._state = "idle"
            self._draw()

        async def talk(voice: Voice, devices: contextlib.AsyncExitStack) -> None:
            async with devices:
                try:
                    await voice.run()
                    self._problem = self._problem or _CLOSED  # nothing else ends it by itself
                except KitError as exc:
                    self._problem = str(exc)
                    if isinstance(exc, DeviceError) and self.where == "browser":  # the page went without a word
                        await self.session.close()

        async with contextlib.AsyncExitStack() as opening:
            # Whatever ends the opening or the talk, cancelling too, gives the devices back.
            opening.callback(idle)
            try:
                if self.session.closed:
                    raise LocalProtocolError(_CLOSED)
                await self._speaker.stop()
                open_devices = self._open_page if self.where == "browser" else self._open_kernel
                self.voice = voice = await open_devices(opening)
            except KitError as exc:
                self._problem = str(exc)
                raise
            self._playback = voice.playback
            self._running = self._loop.create_task(talk(voice, opening.pop_all()), name="kit: talk")
        self._state = "talking"
        self._draw()

    async def _open_page(self, opening: contextlib.AsyncExitStack) -> Voice:
        # Before it is told to open: whatever fails from here on, the page's microphone is closed.
        opening.callback(self.send, {"kind": "close"})
        self._opened = self._loop.create_future()
        otherwise = 'Press Start in the chat\'s own cell, or say VoiceChat(session, where="kernel")'
        await self._until_page_is_here(_HERE_S, otherwise)
        names = ("echoCancellation", "noiseSuppression", "autoGainControl")
        self.send({"kind": "open", "processing": dict.fromkeys(names, self.echo_cancellation)})
        await self._opened  # for as long as the page asks its reader
        assert self._microphone is not None  # `_on_opened` made it
        opening.callback(self._microphone.close)
        return Voice(self.session, self._microphone, self._speaker, half_duplex=self.half_duplex)

    async def _open_kernel(self, opening: contextlib.AsyncExitStack) -> Voice:
        microphone = await opening.enter_async_context(Microphone())
        speaker = await opening.enter_async_context(Speaker(prebuffer_ms=self.prebuffer_ms))
        canceller = None
        # Half-duplex has no echo to cancel: nothing is sent while the model is heard.
        if self.echo_cancellation and not self.half_duplex and echo_cancellation_installed():
            canceller = EchoCanceller(far_rate_hz=speaker.rate_hz)
            speaker.on_played = canceller.far
        voice = Voice(self.session, microphone, speaker, half_duplex=self.half_duplex, canceller=canceller)

        async def show_levels() -> None:
            """The page measures its own microphone; it cannot see the kernel's."""
            while True:
                # The kernel's speaker has no meter: on or off.
                self.send({"kind": "levels", "mine": voice.level, "its": 0.3 if speaker.playing else 0.0})
                await asyncio.sleep(_LEVELS_S)

        opening.callback(self._loop.create_task(show_levels(), name="kit: levels").cancel)
        return voice

    @_on_its_loop
    async def stop(self) -> None:
        """End the talk, as the button does; the session stays open."""
        # A press on "Give up": `_open_page` waits on this, and `start` takes everything down.
        settle(self._opened, DeviceError("given up before the microphone was open"))
        if self._running is not None:
            self._running.cancel()
            # Until the devices are closed; how it ended is shown by `start`.
            await asyncio.gather(self._running, return_exceptions=True)

    def release_devices(self) -> None:
        """Let go of microphone and speaker, from any thread, and close the session of a talk that is on no page any more."""
        # The page first, at once and from any thread: its microphone must not wait for a loop that is busy.
        self.send({"kind": "close"})
        if self._running is not None:
            soon(self._loop, self._leave, "Its name was given to another widget, and its microphone is closed.")

    def _leave(self, words: str) -> None:
        """End a talk that is on no page any more, and its session: an open one can go on costing."""

        async def leave() -> None:
            await self.stop()
            await self.session.close()
            self._draw()

        if self._state != "idle":
            self._problem = f"{words} The session is closed, too.".strip()
            self._leaving = self._loop.create_task(leave(), name="kit: talk left")

    async def _follow(self) -> None:
        """Draw what the session brings, until it ends."""
        async for event in self.session.follow(from_now=True):
            if event.type.startswith("input_audio_buffer.speech_"):
                self._hearing = event.type.endswith("started")
            if event.type != "input_audio_buffer.append":  # our own, dozens a second, and nothing to be seen in them
                self._draw_soon()
        self._draw()

    # -------------------------------------------------------------------------------- what the page says, on any thread

    def _on_here(self, content: Content, buffers: list[memoryview]) -> None:
        super()._on_here(content, buffers)
        self._speaker.page_opened()

        def arrived() -> None:
            # A new page shows nothing yet: every turn is news to it.
            self._drawn = []
            # A second view of a page that still talks is no end: its blocks go on coming.
            if self._microphone is not None and self._microphone.silent_for_s > 1:
                self._leave("The page was opened again, and its microphone is closed.")
            self._draw()

        if self._loop.is_closed():  # a page that was opened again after the end still shows what was said
            arrived()
        else:
            soon(self._loop, arrived)

    def _on_pcm(self, content: Content, buffers: list[memoryview]) -> None:
        if (microphone := self._microphone) is not None:
            n_blocks = microphone.take(bytes(buffers[0]), int(content["first"]))
            if n_blocks is not None:
                self.send({"kind": "got", "n": n_blocks})

    def _on_heard(self, content: Content, _buffers: list[memoryview]) -> None:
        self._speaker.report(content)
        soon(self._loop, self._draw_soon)

    def _on_press(self, content: Content, _buffers: list[memoryview]) -> None:
        async def press(action: str) -> None:
            try:
                if action == "start":
                    await self.start()
                elif action == "stop":
                    await self.stop()
                elif self.voice is not None and self._running is not None:
                    await (self.voice.press() if action == "talk" else self.voice.release())
            except KitError as exc:
                self._problem = str(exc)
            self._draw()

        self._run_soon(press(str(content.get("what"))))

    def _on_say(self, content: Content, _buffers: list[memoryview]) -> None:
        # Only names that are listed: what the page sends is never taken for a path.
        if (name := content.get("clip")) in _clip_names():
            self._run_soon(self.ask(Clip.named(str(name))))
        elif text := str(content.get("text", "")).strip():
            self._run_soon(self.ask(text))

    def _on_replay(self, content: Content, _buffers: list[memoryview]) -> None:
        item_id = str(content.get("id"))
        clip = self._clips.get(item_id) or next(
            (r.audio for r in self.session.responses if item_id in r.item_ids and r.output_format == "pcm16"), None
        )
        self.send({"kind": "clip", "id": item_id}, [show.wav_bytes(clip.to_bytes(), 24_000) if clip else b""])

    def _on_opened(self, _content: Content, _buffers: list[memoryview]) -> None:
        # Made here, on the thread of the message, so that the first block already finds it.
        self._microphone = BrowserMicrophone(self._loop)
        settle(self._opened, None)

    def _on_problem(self, content: Content, _buffers: list[memoryview]) -> None:
        problem = str(content.get("words"))

        def fail() -> None:
            if self._state == "opening":
                settle(self._opened, DeviceError(problem))
            else:
                self._problem = problem
                self._loop.create_task(self.stop())

        soon(self._loop, fail)

    def _on_left(self, content: Content, _buffers: list[memoryview]) -> None:
        soon(self._loop, self._leave, str(content.get("words") or ""))

    def _run_soon(self, coroutine: Coroutine[Any, Any, None]) -> None:
        if self._loop.is_closed():  # the session's thread ended with it
            coroutine.close()  # or Python warns that it was never awaited
            self._problem = _CLOSED
            self._draw()
        else:
            asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _draw_soon(self) -> None:
        if self._to_draw is None:
            wait_s = max(0.0, self._drawn_at_s + _DRAW_S - time.monotonic())
            self._to_draw = self._loop.call_later(wait_s, self._draw)

    def _draw(self) -> None:
        """Send the page what changed since the last picture."""
        if self._to_draw is not None:
            self._to_draw.cancel()
            self._to_draw = None
        self._drawn_at_s = time.monotonic()
        turns = self.turns()
        changed = [(n, turn) for n, turn in enumerate(turns) if n >= len(self._drawn) or self._drawn[n] != turn]
        if changed or len(turns) != len(self._drawn):
            self._drawn = turns
            self.send({"kind": "turns", "changed": changed, "total": len(turns)})
            # A saved notebook shows whole replies; a picture for each delta would be a message for each.
            if all(turn["done"] for turn in turns):
                self.update_snapshot()
        words = {
            "ended": self.session.closed,
            "opening the microphone": self._state == "opening",
            "hearing you": self._hearing,
            "speaking": self._playback is not None and self._playback.sink.playing,
            "thinking": self._turn.locked() or any(r.status == "in_progress" for r in self.session.responses[-1:]),
            "listening": self._state == "talking",
            "ready": True,
        }
        word = next(word for word, is_so in words.items() if is_so)
        view = {"state": self._state, "word": word, "facts": self._facts(), "problem": self._problem}
        manual = turn_detection(self.session) is None
        self.send({"kind": "view", "manual": manual, "talk": self.talk, "clips": _clip_names(), **view})

    def turns(self) -> list[Turn]:
        """Both sides, a dict for each turn: who, text, how much of it was heard, badge, notes."""
        # By item: a badge stands on each item of a reply, and a reply may have several.
        responses = {item_id: r for r in self.session.responses for item_id in r.item_ids}
        turns = [self._turn_of(item, responses.get(item.id or "")) for item in self.session.items]
        turns += [_turn("you", text, note="waiting for the reply before it") for text in self._waiting[:]]
        return turns[-_MAX_TURNS:]

    def _turn_of(self, item: Item, response: Response | None) -> Turn:
        if response is None:
            speaker = {"user": "you", "assistant": "model"}.get(item.role or "", item.role or item.type or "")
            clip = self._clips.get(item.id or "")
            note = "" if item.text else "speech, not written down"
            note = f"a clip of {clip.duration_ms / 1000:.1f} s" if clip else note
            return _turn(speaker, item.text, id=item.id, note=note, sound=clip is not None)
        text = show.plain(response.words, 4_000)
        warn = ""
        if item.truncated_at_ms is not None:
            warn = f"cut off after {item.truncated_at_ms / 1000:.2f} s"
        elif response.reason == "turn_detected":
            warn = "cut off: you spoke"
        elif response.status not in ("completed", "in_progress"):
            warn = f"{response.status} {response.reason or ''}".strip()
        # Heard to where it was cut off; else all of it, unless it is being played, or was not.
        playback = self._playback
        heard_ms: float | None = item.truncated_at_ms
        if heard_ms is None and playback is not None and playback.sink.playing and item.id is not None:
            # One stretch for each content part of the reply.
            stretches = [s for s in playback.position.stretches if s.item_id == item.id]
            if any(s.n_heard(playback.sink.n_heard) < s.n for s in stretches):
                heard_ms = playback.heard_ms(item.id)
        # 48 bytes are a millisecond of PCM; of other formats the length is not known.
        audio_ms = response.n_audio_bytes / 48 if response.output_format == "pcm16" else 0.0
        n_heard, badge = _n_heard_chars(text, heard_ms, audio_ms), show.badge_style(response.modality)
        done = response.status != "in_progress"
        sound = done and audio_ms > 0
        return _turn("model", text, id=item.id, badge=badge, warn=warn, heard=n_heard, sound=sound, done=done)

    def _facts(self) -> str:
        words = [show.origin_word(self.session.simulated)]
        voice = self.voice
        if voice is None and self.talk:
            words.append(f"the {self.where}'s microphone and speaker · headphones are advised")
        elif voice is not None:
            names = ("samples of your voice lost", "samples of its voice lost", "gaps heard")
            words += [f"{name}: {n}" for name, n in zip(names, voice.dropped.values(), strict=True) if n]
            latency = voice.latency
            if latency.server_ms:
                words.append(f"first sound {show.ms(latency.server_ms[-1])} after you")
            if latency.own_p95_ms is not None:
                words.append(f"{latency.own_p95_ms:.0f} ms of it in the kit")
        return " · ".join(word for word in words if word)

    def static_html(self) -> str:
        """The turns so far, as an export shows them."""
        lines = []
        for turn in self.turns():
            badge = show.badge(turn["badge"][0]) + " " if turn["badge"] else ""
            small = " ".join(show.esc(turn[key]) for key in ("note", "warn") if turn[key])
            lines.append(f"<b>{show.esc(turn['who'])}</b> {badge}{show.esc(turn['text'])} <small>{small}</small>")
        return show.card(f"<b>conversation</b> {show.origin(self.session.simulated)}", *(lines or ["no turn yet"]))


class VoiceChat(Chat):
    """``VoiceChat(session)`` is ``Chat(session, talk=True)``: press Start and talk, or type. See `Chat`."""

    talk = True


def _turn(speaker: str, text: str, **fields: Any) -> Turn:
    """One turn as the page draws it: `heard` counts the characters of the text that were; `done` is false while more comes."""
    text = show.plain(text, 4_000)
    turn = {"who": show.plain(speaker, 40), "text": text, "heard": len(text)}
    return turn | {"id": None, "badge": None, "note": "", "warn": "", "sound": False, "done": True} | fields


def _n_heard_chars(text: str, heard_ms: float | None, audio_ms: float) -> int:
    """Characters of a transcript that were heard, to the next word's end, as if all were spoken equally fast."""
    if heard_ms is None or heard_ms >= audio_ms or not audio_ms:
        return len(text)
    at = int(len(text) * heard_ms / audio_ms)
    # To the end of a word: half of one was not heard in any sense.
    space = text.find(" ", at)
    return len(text) if space < 0 else space


def _clip_names() -> list[str]:
    """The clips of `data/clips`, by name."""
    return sorted(path.stem for path in clips_dir().glob("*") if path.suffix in (".wav", ".flac", ".ogg"))
