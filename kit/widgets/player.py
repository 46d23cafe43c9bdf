"""A player in the page: replies are heard while they arrive, gapless, and what was heard is known to the sample."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import traitlets

from .. import show
from ..audio import play_replies
from ..clip import RATE_HZ, Clip
from ..session import Session
from .page import BrowserSpeaker, Content, PageWidget, read


class Player(BrowserSpeaker, PageWidget):
    """``Player(session)`` as a cell's last line: from then on its replies are heard while they arrive.

    Stop falls silent, and the server is told how much of the reply was heard. Without a session it plays clips
    (``await player.play(clip)``), and it is a speaker for `play_replies` and `Voice`.

    Args:
        session: Whose replies to play; those that begin from now on.
        prebuffer_ms: How much must be there before a reply begins to play.
    """

    _esm = read("page.js", "playout.js", "player.js")
    _css = read("sound.css")
    KINDS: ClassVar[tuple[str, ...]] = ("here", "heard", "press")

    prebuffer_ms = traitlets.Float(60).tag(sync=True)

    def __init__(self, session: Session | None = None, *, prebuffer_ms: float = 60) -> None:
        PageWidget.__init__(self, prebuffer_ms=prebuffer_ms)
        BrowserSpeaker.__init__(self, self.send, prebuffer_ms=prebuffer_ms)
        # The session's replies, and the loop that it lives on; None where it plays clips only.
        self._replies: play_replies | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        if session is not None:
            self._loop = asyncio.get_running_loop()
            self._replies = play_replies(session, self)
            self._replies.start()

    async def play(self, clip: Clip) -> float:
        """Play a clip to its end; returns how many milliseconds of it were heard. Cancelling it falls silent."""
        before = self.n_heard
        try:
            self.write(clip.to_bytes())
            self.end()
            await self.drained()
        except asyncio.CancelledError:
            await self.stop()
            raise
        return (self.n_heard - before) * 1000 / RATE_HZ

    def __repr__(self) -> str:
        return f"<Player in the page: {self.n_heard / RATE_HZ:.1f} s heard>"

    def static_html(self) -> str:
        return show.card(show.facts([("player,", f"{self.n_heard / RATE_HZ:.1f} s heard")]))

    def _on_here(self, content: Content, buffers: list[memoryview]) -> None:
        super()._on_here(content, buffers)
        self.page_opened()

    def _on_heard(self, content: Content, _buffers: list[memoryview]) -> None:
        self.report(content)
        # Reports come every 50 ms; a picture for a saved notebook is due at the end.
        if not self.playing:
            self.update_snapshot()

    def _on_press(self, _content: Content, _buffers: list[memoryview]) -> None:
        replies = self._replies
        if replies is None or self._loop is None:
            # No session to be told: nobody waits for this stop, and 0 is no stop's number.
            self.send({"kind": "stop", "id": 0})
            return

        async def cut_off() -> None:
            if cuts := (await replies.playback.interrupt()).truncations:
                seconds = cuts[-1].audio_end_ms / 1000
                self.send({"kind": "words", "words": f"cut off after {seconds:.2f} s; the server knows"})

        # The message may have come on another thread than the session's.
        asyncio.run_coroutine_threadsafe(cut_off(), self._loop)
