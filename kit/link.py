"""The socket of one session: opened, read by one task, folded, and what is waited for.

`Session` is what users hold; a `Link` is what the reading task holds. They are apart so that a session which nobody holds
any more can be collected, and its socket closed with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from websockets.exceptions import ConnectionClosed

from .endpoint import Endpoint
from .errors import KitError, RemoteProtocolError, ResponseTimeout, ServerError, SessionClosed
from .eventlog.redact import Redactor
from .eventlog.writing import LogWriter
from .intake import Tapped
from .wire.conversation import Conversation
from .wire.dialect import MARK_HEADER, REPLAY_HEADER
from .wire.events import Event, decode, encode

KEPT_EVENTS = 20_000  # of one session, audio apart: several hours of talk
TAIL_EVENTS = 20

_REFUSE = frozenset({"error", "response.done"})  # the events that say why not


class Pending:
    """Something that the server is to answer: a reply of type `reply` that `match` accepts, or an error naming `event_id`.

    Without `match`, the next such reply that no earlier request of that kind waits for.
    """

    __slots__ = ("event_id", "future", "match", "reply")

    def __init__(self, event_id: str | None, reply: str, match: Callable[[Event], bool] | None = None) -> None:
        self.event_id = event_id
        self.reply = reply
        self.match = match
        self.future: asyncio.Future[Event] = asyncio.get_running_loop().create_future()


class Link:
    """One open socket and its fold. `now_ms` is milliseconds since the session was opened."""

    def __init__(
        self,
        endpoint: Endpoint,
        socket: Tapped,
        now_ms: Callable[[], float],
        redactor: Redactor,
        log: LogWriter | None = None,
        *,
        keep_audio: bool = True,
    ) -> None:
        self.endpoint = endpoint
        self.socket = socket
        self.now_ms = now_ms
        self.redactor = redactor
        self.log = log
        mark = socket.response.headers.get(MARK_HEADER) if socket.response else None
        self.stand_in = mark
        self.replay: str | None = None
        """What is played again, where the other side is a replay."""
        # A named service that bears no mark is the service. Any other address may be a proxy of a stand-in: unknown. A replay
        # is what its log says.
        told = socket.response.headers.get(REPLAY_HEADER, "") if socket.response else ""
        service = "origin=service" in told if endpoint.name == "replay" else endpoint.name != "url"
        self.conversation = Conversation(simulated=True if mark else False if service else None, keep_audio=keep_audio)
        self.events: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self.n_events = 0
        self.malformed: list[RemoteProtocolError] = []
        self.closed: SessionClosed | None = None
        self.closing = False
        self.on_close: list[Callable[[], Awaitable[None]]] = []
        self.loop = asyncio.get_running_loop()
        self._pending: list[Pending] = []
        self._awaited: set[str] = set()  # the event types that could settle one of them
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # ---------------------------------------------------------------------------------------------------------- reading

    def start(self) -> None:
        """Begin to read; the session's first event has been read already."""
        self.socket.taken = self.take
        self._task = self.loop.create_task(self._read(), name="kit: session reader")

    async def _read(self) -> None:
        try:
            while True:
                self.take([await self.socket.receive()])
        except ConnectionClosed as exc:
            self._end(exc)

    def take(self, frames: Sequence[bytes]) -> None:
        """Fold in what arrived together, all of it logged before any of it is folded, and wake whoever waits for it."""
        at_ms = self.now_ms()  # before decoding, which is no part of what is measured
        told: list[Event | RemoteProtocolError] = []
        for frame in frames:
            event = _decoded(frame, at_ms)
            if type(event) is not Event or event.type in _REFUSE:
                event = self._without_key(frame, event, at_ms)
            told.append(event)
        if self.log is not None:
            self.log.server(frames, told, at_ms)
        for event in told:
            if type(event) is Event:
                self.conversation.receive(event)
                self.events.append(event)
                self.n_events += 1
                if event.type in self._awaited:
                    self._answer(event)
            elif isinstance(event, RemoteProtocolError):
                self.malformed.append(event)
                self._fail(event)
        self._arrived.set()

    def _without_key(
        self, frame: bytes, told: Event | RemoteProtocolError, at_ms: float
    ) -> Event | RemoteProtocolError:
        """What becomes an error, without the key if the server repeats it there."""
        return _decoded(self.redactor(frame), at_ms) if self.redactor.knows(frame) else told

    def _answer(self, event: Event) -> None:
        if event.type == "error":
            error = self.conversation.errors[-1]
            for pending in self._pending:
                if error.event_id is not None and pending.event_id == error.event_id:
                    self._settle(pending, error)
                    return
            return
        acknowledged = False
        for pending in tuple(self._pending):
            if pending.reply != event.type:
                continue
            if pending.match is not None:
                if pending.match(event):
                    self._settle(pending, event)
            elif pending.event_id is None:
                self._settle(pending, event)  # somebody who only watches
            elif not acknowledged:
                # Acknowledgements that name nothing come in the order of what they acknowledge: one each.
                acknowledged = True
                self._settle(pending, event)

    def _settle(self, pending: Pending, outcome: Event | Exception) -> None:
        self._no_longer(pending)
        if pending.future.done():
            return
        if isinstance(outcome, Exception):
            pending.future.set_exception(outcome)
        else:
            pending.future.set_result(outcome)

    def _fail(self, error: KitError) -> None:
        for pending in tuple(self._pending):
            self._settle(pending, error)

    def _end(self, closed: ConnectionClosed) -> None:
        frame = closed.rcvd or closed.sent
        # it may repeat what was sent, and goes into errors and ledgers
        reason = self.redactor.text(frame.reason) if frame and frame.reason else ""
        if frame is None:
            cause = f" ({closed.__cause__})" if closed.__cause__ else ""
            what = f"the connection broke without a close frame{cause}"
        else:
            who = "we" if self.closing or closed.rcvd is None else "the server"
            what = f"{who} closed the session with {frame.code}{f' ({reason})' if reason else ''}"
        self.closed = SessionClosed(
            f"{what} after {self.now_ms() / 1000:.1f} s",
            code=frame.code if frame else 1006,
            reason=reason,
            tail=self.tail(),
        )
        if self.log is not None:
            self.log.end(code=self.closed.code, reason=reason, at_ms=self.now_ms())
        self._arrived.set()
        self._fail(self.closed)
        self.socket.taken = None  # or the two would keep each other, and an hour of audio, until the next collection

    # ---------------------------------------------------------------------------------------------------------- sending

    async def send(
        self, event: Mapping[str, Any], *, encoded: bytes | None = None, shown: Mapping[str, Any] | None = None
    ) -> None:
        """Send one client event.

        Args:
            event: What the fold takes note of.
            encoded: Its bytes, where they were made already.
            shown: What the event list keeps instead, for events that carry audio.
        """
        await self._send([(event, encoded or encode(event), shown or event)])

    async def send_frame(self, frame: bytes) -> None:
        """Send a frame that neither the fold nor the event list need: fed silence, of which there are ten a second."""
        if self.closed is not None:
            raise self.closed
        if self.log is not None:
            self.log.client([frame], self.now_ms())
        try:
            await self.socket.send_all([frame])
        except ConnectionClosed as exc:
            if self.closed is None:
                self._end(exc)
            raise self._ended() from None

    async def send_all(self, events: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
        """Send several events, each with what the event list keeps of it, together."""
        await self._send([(event, encode(event), shown) for event, shown in events])

    async def _send(self, told: Sequence[tuple[Mapping[str, Any], bytes, Mapping[str, Any]]]) -> None:
        if self.closed is not None:
            raise self.closed
        at_ms = self.now_ms()
        frames = [frame for _, frame, _ in told]
        for event, _, shown in told:
            self.conversation.sent(event, at_ms)
            self.events.append(Event(str(event["type"]), dict(shown), at_ms, "client"))
        self.n_events += len(told)
        self._arrived.set()
        if self.log is not None:
            self.log.client(frames, at_ms)
        try:
            await self.socket.send_all(frames)
        except ConnectionClosed as exc:
            if self.closed is None:
                self._end(exc)
            raise self._ended() from None

    def _ended(self) -> SessionClosed:
        return self.closed or SessionClosed("the session is closed", code=None)

    def expect(self, event_id: str | None, reply: str, match: Callable[[Event], bool] | None = None) -> Pending:
        """Register what is waited for; call it before sending, so that the answer cannot come first."""
        pending = Pending(event_id, reply, match)
        if self.closed is not None:
            pending.future.set_exception(self.closed)
        else:
            self._pending.append(pending)
            self._awaited.update((pending.reply, "error"))
        return pending

    def _no_longer(self, pending: Pending) -> None:
        self._pending.remove(pending)
        if not self._pending:
            self._awaited.clear()

    def forget(self, pending: Pending) -> None:
        """Stop waiting for it. What the server still sends is folded all the same."""
        if pending in self._pending:
            self._no_longer(pending)
        if pending.future.done() and not pending.future.cancelled():
            pending.future.exception()  # taken, so that asyncio does not report it as nobody's
        else:
            pending.future.cancel()

    async def answer(self, pending: Pending, timeout_s: float | None, what: str) -> Event:
        """Wait for it.

        Raises:
            ServerError: If the server refused the event that it belongs to.
            SessionClosed: If the socket closed first.
            ResponseTimeout: If nothing came in `timeout_s` seconds.
        """
        first_error = len(self.conversation.errors)
        try:
            if pending.future.done():  # as most confirmations of a seed are, once the first is
                return pending.future.result()
            async with asyncio.timeout(timeout_s):
                return await pending.future
        except TimeoutError:
            untied = [error for error in self.conversation.errors[first_error:] if error.event_id is None]
            told = f"; meanwhile the server said: {untied[-1]}" if untied else ""
            raise ResponseTimeout(f"no {what} within {timeout_s:g} s{told}", self.tail()) from None
        except SessionClosed as exc:
            raise SessionClosed(
                f"{exc.sentence}, while waiting for {what}", code=exc.code, reason=exc.reason, tail=exc.tail
            ) from None
        except ServerError as exc:
            raise exc.with_traceback(None)  # noqa: B904  one error object may be raised at several waits
        finally:
            self.forget(pending)

    async def arrival(self) -> None:
        """Wait until one more event has come or gone, or the session is closed."""
        if self.closed is None:
            self._arrived.clear()
            await self._arrived.wait()

    def tail(self) -> list[Event]:
        """The last events, oldest first."""
        return list(self.events)[-TAIL_EVENTS:]

    # ---------------------------------------------------------------------------------------------------------- closing

    async def close(self) -> None:
        """Close the socket and end the reading task; the stand-in that was started for this session ends with it."""
        self.closing = True
        await self.socket.close()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        if self.log is not None:
            self.log.close()
        while self.on_close:
            await self.on_close.pop()()

    def drop(self) -> None:
        """`close` for a session that was collected: from any thread, waiting for nothing."""
        if not self.loop.is_closed():
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(lambda: _dropped.add(self.loop.create_task(self.close())))


def _decoded(frame: bytes, at_ms: float) -> Event | RemoteProtocolError:
    try:
        return decode(frame, at_ms)
    except RemoteProtocolError as exc:
        return exc.with_traceback(None)  # its variables are what came


def new_id(prefix: str) -> str:
    """A new id: a prefix and 20 random characters; an item's may have at most 32 in all."""
    return f"{prefix}_{_ids.getrandbits(80):020x}"


_ids = random.Random()  # from the system's entropy; what a notebook seeds does not repeat them, and they guard nothing


_dropped: set[asyncio.Task[None]] = set()  # asyncio keeps only weak references to tasks
