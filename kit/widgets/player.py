"""A player in the page: replies are heard while they arrive, gapless, and what was heard is known to the sample."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import anywidget
import traitlets

from ..audio import play_replies
from ..clip import RATE_HZ, Clip
from ..session import Session
from .page import BrowserSpeaker, css, esm, heard_while_a_cell_blocks

_HERE_S = 10.0


class Player(anywidget.AnyWidget):
    """``Player(session)`` as a cell's last line: from then on its replies are heard while they arrive.

    Stop falls silent, and the server is told how much of the reply was heard. Without a session it plays clips
    (``await player.play(clip)``), and it is a speaker for `play_replies` and `Voice`.

    Args:
        session: Whose replies to play; those that begin from now on.
        prebuffer_ms: How much must be there before a reply begins to play.
    """

    _esm = esm("capture", "playout", "player")
    _css = css()
    prebuffer_ms = traitlets.Float(60).tag(sync=True)

    def __init__(self, session: Session | None = None, *, prebuffer_ms: float = 60) -> None:
        super().__init__(prebuffer_ms=prebuffer_ms)
        self._speaker = BrowserSpeaker(self.send, prebuffer_ms=prebuffer_ms)
        self._replies: play_replies | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.on_msg(self._told)
        heard_while_a_cell_blocks(self)
        if session is not None:
            self._loop = asyncio.get_running_loop()
            self._replies = play_replies(session, self._speaker)
            self._replies.start()

    # It is a speaker.

    @property
    def n_written(self) -> int:
        """Samples given and not dropped by `stop`, at 24 kHz."""
        return self._speaker.n_written

    @property
    def n_heard(self) -> int:
        """Samples that have been heard, at 24 kHz, as the page said last."""
        return self._speaker.n_heard

    @property
    def playing(self) -> bool:
        """Something is waiting to be heard."""
        return self._speaker.playing

    @property
    def n_underruns(self) -> int:
        """How often the sound stopped because its next samples had not come."""
        return self._speaker.n_underruns

    @property
    def delays_ms(self) -> list[float]:
        """Per reply, from the giving of its first sample to the page's taking it, and back."""
        return self._speaker.delays_ms

    def write(self, pcm: bytes) -> None:
        """Add int16 bytes (mono, 24 kHz) to what is to be heard."""
        self._speaker.write(pcm)

    def end(self) -> None:
        """Nothing more is to come for now."""
        self._speaker.end()

    async def stop(self) -> int:
        """Fall silent at once; the samples heard in all."""
        return await self._speaker.stop()

    async def play(self, clip: Clip) -> float:
        """Play a clip to its end; returns how many milliseconds of it were heard. Cancelling it falls silent."""
        before = self._speaker.n_heard
        try:
            self.write(clip.to_bytes())
            self.end()
            await self._speaker.drained()
        except asyncio.CancelledError:
            await self.stop()
            raise
        return (self._speaker.n_heard - before) * 1000 / RATE_HZ

    def __repr__(self) -> str:
        return f"<Player in the page: {self.n_heard / RATE_HZ:.1f} s heard>"

    def _told(self, _widget: object, told: Mapping[str, Any], _buffers: list[memoryview]) -> None:
        kind = told.get("kind")
        if kind == "here":
            self._speaker.page_opened()
        elif kind == "heard":
            self._speaker.heard(told)
        elif kind == "press":
            if self._replies is not None and self._loop is not None:
                asyncio.run_coroutine_threadsafe(self._cut_off(), self._loop)
            else:
                self.send({"kind": "stop", "id": 0})

    async def _cut_off(self) -> None:
        assert self._replies is not None
        told = await self._replies.playback.interrupt()
        if told.truncations:
            self.send(
                {
                    "kind": "words",
                    "words": f"cut off after {told.truncations[-1].audio_end_ms / 1000:.2f} s; the server knows",
                }
            )
