"""What does one trial cost a client? ``python benchmarks/trial.py [--rounds N] [--at-once N] [--trials N] [--json FILE]``

A trial: connect, `session.update`, seed five items (each acknowledged), `response.create`, 40 audio deltas of 9,600 bytes and
20 transcript deltas, the closing events, close. The server sends prepared bytes from a process of its own. Client CPU per
trial, as a ratio to a hand-written loop of websockets and orjson, interleaved. The peers are measured if they are installed:
``pip install orjson "openai[realtime]" openai-agents``.
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pybase64
from running import interleaved, report
from websockets.asyncio.client import connect as ws_connect

from kit import History, connect

HISTORY = (
    History().user("Tell me a joke.").assistant("One.").user("Another.").assistant("Two.").user("One more, please.")
)
ITEMS = HISTORY.spelled("ga")
N_BYTES = 40 * 9_600
OPTIONS = {"max_size": None, "compression": None, "ping_interval": None}


def option(name: str, default: int) -> int:
    return int(sys.argv[sys.argv.index(name) + 1]) if name in sys.argv else default


async def raw(url: str) -> int:
    """The loop that somebody in a hurry for speed would write."""
    import orjson

    n = 0
    async with ws_connect(url, **OPTIONS) as ws:
        await ws.recv(decode=False)
        await ws.send(
            orjson.dumps({"type": "session.update", "session": {"type": "realtime", "instructions": "Be brief."}}),
            text=True,
        )
        for i, item in enumerate(ITEMS):
            await ws.send(
                orjson.dumps({"type": "conversation.item.create", "item": {"id": f"item_{i}"} | item}), text=True
            )
        acknowledged = 0
        while acknowledged < len(ITEMS):
            acknowledged += orjson.loads(await ws.recv(decode=False))["type"] == "conversation.item.added"
        await ws.send(orjson.dumps({"type": "response.create"}), text=True)
        while True:
            event = orjson.loads(await ws.recv(decode=False))
            if event["type"] == "response.output_audio.delta":
                n += len(pybase64.b64decode(event["delta"], validate=True))
            elif event["type"] == "response.done":
                return n


async def library_defaults(url: str) -> int:
    """The scripts' style: json, base64, the library's defaults."""
    n = 0
    async with ws_connect(url) as ws:
        await ws.recv()
        await ws.send(
            json.dumps({"type": "session.update", "session": {"type": "realtime", "instructions": "Be brief."}})
        )
        for i, item in enumerate(ITEMS):
            await ws.send(json.dumps({"type": "conversation.item.create", "item": {"id": f"item_{i}"} | item}))
        await ws.send(json.dumps({"type": "response.create"}))
        while True:
            event = json.loads(await ws.recv())
            if event["type"] == "response.output_audio.delta":
                n += len(base64.b64decode(event["delta"]))
            elif event["type"] == "response.done":
                return n


async def kit_session(url: str, *, keep_audio: bool = True, log: str | None = None) -> int:
    """The kit: fold, modality, times, every event kept, the audio in one place; with `log`, every frame written down too."""
    async with connect(url, quiet=True, keep_audio=keep_audio, log=log) as session:
        await session.update(instructions="Be brief.")
        await session.seed(HISTORY)
        response = await session.respond()
        assert response.modality == "audio" and response.first_audio_ms is not None
        return response.n_audio_bytes


async def connect_only(url: str) -> int:
    async with ws_connect(url, **OPTIONS) as ws:
        await ws.recv(decode=False)
    return N_BYTES


def openai_sdk() -> Callable[[str], Awaitable[int]] | None:
    """The official SDK, one client for all trials."""
    try:
        from openai import AsyncOpenAI
    except ImportError:
        return None
    clients: dict[str, AsyncOpenAI] = {}

    async def trial(url: str) -> int:
        base = url.replace("ws://", "http://").removesuffix("/realtime")
        client = clients.setdefault(base, AsyncOpenAI(api_key="none", base_url=base))
        n = 0
        async with client.realtime.connect(model="gpt-realtime") as connection:
            await connection.session.update(session={"type": "realtime", "instructions": "Be brief."})
            for i, item in enumerate(ITEMS):
                await connection.conversation.item.create(item={"id": f"item_{i}"} | item)  # type: ignore[arg-type]
            await connection.response.create()
            async for event in connection:
                if event.type == "response.output_audio.delta":
                    n += len(pybase64.b64decode(event.delta))
                elif event.type == "response.done":
                    return n
        return n

    return trial


@contextmanager
def prepared_server() -> Iterator[str]:
    """The server of prepared bytes in a process of its own: its URL."""
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("prepared.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        yield server.stdout.readline().strip() + "?model=gpt-realtime"
    finally:
        server.terminate()


def cost(trial: Callable[[str], Awaitable[int]], url: str, at_once: int, trials: int) -> float:
    """Client CPU of one trial, in ms."""

    async def many() -> None:
        gate = asyncio.Semaphore(at_once)

        async def one() -> None:
            async with gate:
                assert await trial(url) == N_BYTES

        await asyncio.gather(*(one() for _ in range(trials)))

    began = time.process_time()
    asyncio.run(many())
    return (time.process_time() - began) * 1000 / trials


def main() -> bool:
    at_once, trials, rounds = option("--at-once", 16), option("--trials", 64), option("--rounds", 15)
    logs = tempfile.TemporaryDirectory()
    sdk = openai_sdk()
    contenders = {
        "raw websockets + orjson": raw,
        "kit session": kit_session,
        "kit session, audio counted, not kept": lambda u: kit_session(u, keep_audio=False),
        "kit session, event log on": lambda u: kit_session(u, log=f"{logs.name}/x.jsonl"),
        "connect and close only": connect_only,
        "json + base64 + library defaults": library_defaults,
    } | ({"openai SDK, one client": sdk} if sdk else {})
    with prepared_server() as url:
        costs = interleaved({name: lambda t=t: cost(t, url, at_once, trials) for name, t in contenders.items()}, rounds)
    logs.cleanup()
    limits = {"kit session": 1.15, "kit session, event log on": 1.3}
    return report(f"Client CPU per trial, {at_once} at once", costs, "raw websockets + orjson", limits)


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
