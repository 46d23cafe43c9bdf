"""A session on a thread of its own, so that it goes on while a cell blocks.

A cell that computes for a minute without awaiting blocks the loop that all cells share, and with it every session opened in
a cell: its socket is not read. A session that was opened `apart` has its own loop in its own thread::

    session = await apart(connect("standin"))
    await session.ask("Tell me a joke.")         # awaited as ever

The stand-in that such a `connect` starts lives on that thread, too.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from ..connecting import connect
from ..session import Session

T = TypeVar("T")


class ApartSession:
    """A session elsewhere: its coroutines are awaited here and run there; everything else is read as it is.

    Attributes:
        session: The session itself. Only its own thread may call it.
        loop: The loop that it lives on.
    """

    def __init__(self, session: Session, loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
        self.session = session
        self.loop = loop
        self._thread = thread

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.session, name)
        if not inspect.iscoroutinefunction(value):
            return value

        async def there(*args: Any, **kwargs: Any) -> Any:
            return await self.run(value(*args, **kwargs))

        return there

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the session's thread and wait for it here. Cancelling one cancels the other."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.loop))

    async def close(self) -> None:
        """Close the session and end its thread. Closing twice is fine."""
        if self._thread.is_alive():
            await self.run(self.session.close())
            self.loop.call_soon_threadsafe(self.loop.stop)
            await asyncio.to_thread(self._thread.join, 5)

    async def __aenter__(self) -> ApartSession:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return repr(self.session).replace("<Session", "<Session (apart)", 1)

    def _repr_html_(self) -> str:
        return self.session._repr_html_()


async def apart(connecting: connect) -> ApartSession:
    """Open a session on a thread of its own.

    Args:
        connecting: ``connect(…)``, not awaited.

    Raises:
        KitError: What `connect` raises.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=_live, args=(loop,), name="kit: session apart", daemon=True)
    thread.start()

    async def opened() -> Session:
        return await connecting

    try:
        session = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(opened(), loop))
    except BaseException:
        loop.call_soon_threadsafe(loop.stop)
        raise
    return ApartSession(session, loop, thread)


def _live(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
