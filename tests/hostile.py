"""Servers that misbehave, and a cancel at every step of a coroutine: what a new feature is put through, in ten lines each.

::

    async with serving(talk) as url: ...                      # a server that does whatever `talk(ws)` does
    async with Lossy(loses={1}) as server: ...                # a small server that keeps items, and loses some answers
    async for k in cancelled_at_each_step(lambda: session.seed(history)): ...   # after each cancel, the body looks what is left
    async with nothing_left_behind(): ...             # descriptors and tasks are as many afterwards
"""

import asyncio
import gc
import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

QUIET = logging.Logger("the test's own servers", logging.CRITICAL + 1)
CREATED = {"type": "session.created", "event_id": "event_0", "session": {"id": "sess_1", "model": "m"}}


@asynccontextmanager
async def serving(talk, **options):
    """A websocket server on loopback; yields its address. `options` are those of websockets' `serve`."""
    async with serve(talk, "127.0.0.1", 0, logger=QUIET, **options) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/realtime?model=m"


async def send(ws, type, **fields):
    await ws.send(json.dumps({"type": type} | fields))


class Lossy:
    """A server that holds a conversation and loses answers.

    Args:
        loses: Which creates it never answers, counted from 0 over all connections, though it keeps their items.
        drops: Which creates it neither answers nor keeps.
        renames: Items get ids of the server's own; else they keep those they were sent.
        retrieves: Whether it knows `conversation.item.retrieve`.
        checks_ids: An id that is there already is refused; else the item is there twice.

    Attributes:
        items: What it holds, in order.
        n_creates: How many creates came.
    """

    def __init__(self, *, loses=(), drops=(), renames=False, retrieves=True, checks_ids=True):
        self.loses, self.drops = set(loses), set(drops)
        self.renames, self.retrieves, self.checks_ids = renames, retrieves, checks_ids
        self.items, self.n_creates = [], 0

    async def __aenter__(self):
        self._serving = serving(self._talk)
        self.url = await self._serving.__aenter__()
        return self

    async def __aexit__(self, *exc):
        await self._serving.__aexit__(*exc)

    @property
    def texts(self):
        return [item["content"][0]["text"] for item in self.items]

    async def _talk(self, ws):
        await send(ws, **CREATED)
        try:
            async for frame in ws:
                event = json.loads(frame)
                await getattr(self, event["type"].replace(".", "_"), self._unknown)(ws, event)
        except ConnectionClosed:
            pass

    async def _refuse(self, ws, event, code, message="no"):
        error = {"type": "invalid_request_error", "code": code, "message": message, "event_id": event.get("event_id")}
        await send(ws, "error", error=error)

    async def _unknown(self, ws, event):
        await self._refuse(ws, event, "invalid_value", f"Invalid value: {event['type']!r}")

    async def conversation_item_create(self, ws, event):
        n, self.n_creates = self.n_creates, self.n_creates + 1
        if n in self.drops:
            return
        item = event["item"] | ({"id": f"own_{n}"} if self.renames else {})
        if self.checks_ids and item["id"] in [kept["id"] for kept in self.items]:
            await self._refuse(ws, event, "item_create_duplicate_item_id")
            return
        previous = event.get("previous_item_id")
        ids = [kept["id"] for kept in self.items]
        self.items.insert(0 if previous == "root" else ids.index(previous) + 1 if previous in ids else len(ids), item)
        if n not in self.loses:
            await send(ws, "conversation.item.added", item=item, previous_item_id=ids[-1] if ids else None)

    async def conversation_item_retrieve(self, ws, event):
        if not self.retrieves:
            await self._unknown(ws, event)
            return
        for item in self.items:
            if item["id"] == event["item_id"]:
                await send(ws, "conversation.item.retrieved", item=item)
                return
        await self._refuse(ws, event, "item_retrieve_invalid_item_id")

    async def response_create(self, ws, event):
        response = {"id": "resp_1", "status": "completed", "metadata": event["response"].get("metadata"), "output": []}
        await send(ws, "response.created", response=response | {"status": "in_progress"})
        await send(ws, "response.done", response=response)


async def cancelled_at_each_step(start, steps=range(60)) -> AsyncIterator[int]:
    """Start a coroutine again and again, and cancel it after 0, 1, 2 … turns of the loop; yields the number after each.

    Ends after the first that was over before it was cancelled.
    """
    for k in steps:
        task = asyncio.ensure_future(start())
        for _ in range(k):
            await asyncio.sleep(0)
        over = task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        yield k
        if over:
            return


@asynccontextmanager
async def nothing_left_behind():
    """After the body, no more descriptors are open and no other tasks run than before it."""
    gc.collect()
    descriptors, tasks = len(os.listdir("/proc/self/fd")), asyncio.all_tasks()
    yield
    async with asyncio.timeout(5):
        while asyncio.all_tasks() - tasks or len(os.listdir("/proc/self/fd")) > descriptors:
            gc.collect()
            await asyncio.sleep(0.01)
