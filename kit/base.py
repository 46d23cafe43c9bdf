"""What an open session is, whichever protocol it speaks: verbs on its own loop, requests and their replies, events, an end.

Realtime (`kit.session`) and GPT-Live (`kit.live`) differ in almost everything on the wire, and in nothing that a reader of a cell
should care about. This is the common face; each protocol adds its verbs, its fold, and how it takes leave (`_leave`).

Every verb is a coroutine, and cancelling any of them is safe: what was sent stays sent, what the server answers is folded in all
the same, and the session goes on. A verb may be awaited on any loop and thread; it runs on the session's own. There is no hidden
retry and no reconnect: a drop is a `SessionClosed`.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import inspect
import sys
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from types import CoroutineType
from typing import Any, Self, TypeVar, cast

from .errors import InputError, KitError, LocalProtocolError, SessionClosed, clipped
from .history import History
from .link import Link, new_id
from .wire.conversation import SessionView
from .wire.events import Event

T = TypeVar("T")
V = TypeVar("V", bound=Callable[..., Coroutine[Any, Any, Any]])


def verb(method: V) -> V:
    """Decorate a coroutine method of a session.

    It then runs on the session's loop, whichever loop awaits it; and a call before it that was never awaited is named.
    """

    async def run(
        session: OpenSession, previous: CoroutineType[Any, Any, Any] | None, /, *args: Any, **kwargs: Any
    ) -> Any:
        # A coroutine that is over has no frame; asking that first spares the rest of the question.
        if previous and previous.cr_frame and inspect.getcoroutinestate(previous) == inspect.CORO_CREATED:
            await session._check_awaited(previous)
        coroutine = method(session, *args, **kwargs)
        if asyncio.get_running_loop() is session._link.loop:
            return await coroutine
        return await session._on_its_loop(coroutine)

    @functools.wraps(method)
    def call(session: OpenSession, /, *args: Any, **kwargs: Any) -> Any:
        coroutine: Any = run(session, session._last_call, *args, **kwargs)
        coroutine.__name__, coroutine.__qualname__ = method.__name__, method.__qualname__
        session._last_call = coroutine
        return coroutine

    return cast(V, call)


_open: weakref.WeakSet[OpenSession] = weakref.WeakSet()


class _Sessions(list["OpenSession"]):
    """Open sessions, shown with the names that a notebook or a script has for them."""

    def __repr__(self) -> str:
        main = list(vars(sys.modules["__main__"]).items())
        named = [(name, value) for name, value in main if not name.startswith("_")]
        names = [" = ".join(name for name, value in named if value is session) for session in self]
        lines = [f"{name} = {item!r}" if name else repr(item) for name, item in zip(names, self, strict=True)]
        return "[" + ",\n ".join(lines) + "]"


def sessions() -> list[OpenSession]:
    """Return the sessions that are open now, of either protocol."""
    return _Sessions(session for session in _open if not session.closed)


def check_history(history: object) -> None:
    """Refuse what somebody seeds that is no `History`."""
    if not isinstance(history, History):
        raise InputError(f"seed() takes a History, not {clipped(history)}: History.from_events(…) or from_chat(…)")


class OpenSession(SessionView[Any]):
    """One open session, made by `connect`.

    Attributes:
        endpoint: Where it is.
        redactor: Takes what this connection sent as a secret, and whatever looks like one, out of text.
    """

    def __init__(self, link: Link[Any]) -> None:
        super().__init__(link.conversation, link.events)
        self.endpoint = link.endpoint
        self.redactor = link.redactor
        # The socket. It must not know the session, or the session would never be collected.
        self._link = link
        # The verb that was called last, so that the next one can tell if it was never awaited.
        self._last_call: CoroutineType[Any, Any, Any] | None = None
        self.shows_replies = False  # replies are drawn in a notebook's cell while they arrive
        # Closes the socket of a session that nobody holds any more.
        self._finalizer = weakref.finalize(self, link.drop)
        self._finalizer.atexit = False  # the loop is gone by then, and the operating system closes sockets
        _open.add(self)

    def _greeting(self, place: str) -> str:
        """One line for who has just connected to this place: what it is and who pays."""
        raise NotImplementedError

    async def _begin(self, settings: Mapping[str, Any], timeout_s: float) -> None:
        """Do what the protocol does first, once the socket is open; `settings` are those of `connect`."""

    # ------------------------------------------------------------------------------------------------------ what it is

    @property
    def model(self) -> str | None:
        """The model, as the server names it; else as it was asked for."""
        return super().model or self.endpoint.model

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that it lives on: of a thread of its own, if it was opened by `in_thread`."""
        return self._link.loop

    @property
    def now_ms(self) -> float:
        """The session's clock: milliseconds since it was opened."""
        return self._link.now_ms()

    @property
    def replay(self) -> str | None:
        """What is played again here, if this is a replay of a log."""
        return self._link.replay

    @property
    def closed(self) -> SessionClosed | None:
        """How it ended; ``None`` while it is open."""
        return self._link.closed

    @property
    def _n_dropped(self) -> int:
        """How many older events are no longer kept."""
        return self._link.n_events - len(self._link.events)

    # ---------------------------------------------------------------------------------------------------------- events

    @verb
    async def send(self, event: Mapping[str, Any]) -> str:
        """Send any client event as it is and return its event id. A refusal goes to `errors`."""
        if not isinstance(event, Mapping) or not isinstance(event.get("type"), str):
            raise InputError(f"an event is a mapping with a type, not {clipped(event)}")
        event_id = str(event.get("event_id") or new_id("event"))
        await self._link.send(dict(event) | {"event_id": event_id})
        return event_id

    @verb
    async def wait_for(self, type: str, *, timeout_s: float = 30) -> Event:
        """Return the next server event of that type (of Realtime's two dialects: GA's name for it)."""
        return await self._link.answer(self._link.expect(None, type), timeout_s, type)

    def __aiter__(self) -> AsyncIterator[Event]:
        """Iterate over events as they come and go, both ways, from the first one on. See `follow`."""
        return self.follow()

    async def follow(self, *, from_now: bool = False) -> AsyncIterator[Event]:
        """Iterate over events as they come and go, both ways, until the session ends.

        Raises:
            KitError: If the reader falls so far behind that events it has not seen are no longer kept.
        """
        link = self._link
        n_read = link.n_events if from_now else 0
        while True:
            while n_read < link.n_events:
                n_dropped = link.n_events - len(link.events)
                if n_read < n_dropped:
                    raise KitError(f"{n_dropped - n_read} events were not read in time; read them as they come")
                yield link.events[n_read - n_dropped]
                n_read += 1
            if link.closed is not None:
                return
            await self._on_its_loop(link.arrival())

    async def _request(
        self,
        event: Mapping[str, Any],
        reply: str,
        timeout_s: float,
        match: Callable[[Event], bool] | None = None,
        *,
        listed: Mapping[str, Any] | None = None,
    ) -> Event:
        """Send an event and wait for its reply; `listed` is what the event list keeps of one that carries audio."""
        event = {"type": event["type"], "event_id": new_id("event")} | dict(event)
        pending = self._link.expect(event["event_id"], reply, match)
        try:
            await self._link.send(event, listed=listed)
            return await self._link.answer(pending, timeout_s, reply)
        finally:
            self._link.forget(pending)

    # ---------------------------------------------------------------------------------------------------- loops, threads

    async def _on_its_loop(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine where the session lives. Cancelling the wait cancels it there."""
        loop = self._link.loop
        if asyncio.get_running_loop() is loop:
            return await coroutine
        if not self._link.is_over:
            future = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))
            try:
                while not future.done() and not loop.is_closed():  # a loop that ends meanwhile never answers
                    await asyncio.wait([future], timeout=1)
                if future.done():
                    return future.result()
            finally:
                future.cancel()
        coroutine.close()
        raise copy.copy(self.closed or LocalProtocolError("the loop of this session has ended"))

    async def _check_awaited(self, call: CoroutineType[Any, Any, Any]) -> None:
        """Raise if an earlier call was never awaited. One that a task is just about to begin may begin."""
        for _ in range(3):  # a task in a task, such as `gather` in `wait_for`
            await asyncio.sleep(0)
        if inspect.getcoroutinestate(call) == inspect.CORO_CREATED:
            call.close()
            name = call.__name__
            raise LocalProtocolError(
                f"{name}() was called before without await, so nothing was done: await session.{name}(…)"
            )

    # --------------------------------------------------------------------------------------------------------- closing

    async def close(self) -> None:
        """Close the session, and end what was started for it. Closing twice is fine.

        Cancelling the wait does not cancel the closing.
        """
        self._finalizer.detach()
        _open.discard(self)
        if asyncio.get_running_loop() is self._link.loop:
            await self._leave()
        elif not self._link.is_over:
            # Its thread may end before it can answer: then it is closed, which is what was asked for.
            with contextlib.suppress(SessionClosed):
                await self._on_its_loop(self._leave())

    async def _leave(self) -> None:
        """Say whatever the protocol says at the end, and close the socket. Goes on to its end if the wait is cancelled."""
        await self._link.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()
