"""A second socket on a GPT-Live session that runs: what the stand-in does at ``/v1/live/sessions/{id}/attach``.

======================  ==================================================================================================
what happens            what the sideband sees (recorded by pydantic-ai, kit/wire/LIVE.md, "Attaching")
======================  ==================================================================================================
it attaches             the events of the last seconds again, under their old ids: `session.started` only if it is that new
the caller is heard     `session.input_audio.append`, 200 ms of PCM at 24 kHz, as it came before muting, without an id
the model is heard      `session.output_audio.delta` of 200 ms, with `start_ms` and `end_ms`
it sends a command      as if the caller had sent it; a refusal comes here alone. It sends no sound and starts nothing
the session ends        its events, then a close with ``graceful_close=true``, else the socket is cut
======================  ==================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import pybase64

from .frames import Outgoing, encode

_FRAME_BYTES = 9_600  # 200 ms both ways in the recording, whatever the primary connection sends
REPLAYED_S = 5.0  # "the last few seconds"; how many is unverified


class Attachable(Protocol):
    """What a sideband needs of the session that it listens to (`live.LiveServerSession`)."""

    id: str
    wake: Callable[[], None]
    sidebands: list[LiveSideband]

    @property
    def n_out_ms(self) -> int: ...
    def recent(self, seconds: float) -> list[bytes]: ...
    def items(self) -> list[dict[str, Any]]: ...
    def receive(self, frame: str | bytes, sideband: LiveSideband | None = None) -> bool: ...


class LiveSideband(Outgoing):
    """An observer that may speak up: driven like a session of its own, it shares another's state.

    Args:
        session: The one that it listens to.
        graceful: End with a closing handshake (the query's ``graceful_close``).
    """

    def __init__(self, session: Attachable, *, graceful: bool) -> None:
        super().__init__("live")
        self.session = session
        self.id = session.id
        self._graceful = graceful
        self._out = session.recent(REPLAYED_S)
        # Sound of either side that does not fill a frame yet, and where on the timeline the next output frame begins.
        self._caller_pcm, self._model_pcm = b"", b""
        self._position_ms = session.n_out_ms
        session.sidebands.append(self)

    # --------------------------------------------------------------------------------------------- what it is told

    def event(self, frame: bytes) -> None:
        """The session sent an event."""
        self._out.append(frame)
        self.wake()

    def caller_sound(self, pcm: bytes) -> None:
        """The caller's sound came."""
        pieces, self._caller_pcm = _frames(self._caller_pcm + pcm)
        for piece in pieces:
            self.event(encode({"type": "session.input_audio.append", "audio": piece}))

    def model_sound(self, pcm: bytes) -> None:
        """The model's track went on."""
        pieces, self._model_pcm = _frames(self._model_pcm + pcm)
        for piece in pieces:
            times = {"start_ms": self._position_ms, "end_ms": self._position_ms + 200}
            self._position_ms += 200
            self.event(encode({"type": "session.output_audio.delta", "delta": piece} | times))

    def session_over(self) -> None:
        """The session is over."""
        if self._graceful:
            self.closing = (1000, "")
        else:
            self.cut = True
        self.wake()

    # ------------------------------------------------------------------------------------ verbs, as a session has them

    wake_at = None  # it does nothing by itself

    def receive(self, frame: str | bytes) -> bool:
        """Pass a command on; returns whether it was accepted."""
        accepted = self.session.receive(frame, sideband=self)
        self.session.wake()
        return accepted

    def advance(self) -> bool:
        return False

    def items(self) -> list[dict[str, Any]]:
        """The conversation of the session that it listens to."""
        return self.session.items()

    def jobs(self) -> list[Any]:
        return []

    def close(self) -> None:
        """The socket is gone; the session goes on."""
        if self in self.session.sidebands:
            self.session.sidebands.remove(self)


def _frames(pcm: bytes) -> tuple[list[str], bytes]:
    """Whole frames of sound, in base64, and what is left over."""
    end = len(pcm) // _FRAME_BYTES * _FRAME_BYTES
    starts = range(0, end, _FRAME_BYTES)
    return [pybase64.b64encode(pcm[start : start + _FRAME_BYTES]).decode() for start in starts], pcm[end:]
