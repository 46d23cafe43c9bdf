"""What does one trial cost a client? ``python benchmarks/trial.py [--rounds N] [--at-once N] [--trials N] [--json FILE]``

A trial: connect, `session.update`, seed five items (each acknowledged), `response.create`, 40 audio deltas of 9,600 bytes and
20 transcript deltas, the closing events, close. The server sends prepared bytes from a process of its own (``prepared.py``).
Client CPU per trial, as a ratio to a hand-written loop of websockets and orjson, interleaved. The peers of ``peers.py`` are
measured if they are installed: the dependency group `peers`, in an environment of its own.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch

import peers
import pybase64
from prepared import INSTRUCTIONS, ITEMS, LINES, N_BYTES, named_items
from running import interleaved, option, report, status
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as ws_connect

from kit import History, connect
from kit.intake import FastConnection

HISTORY = History()
for n, line in enumerate(LINES):
    HISTORY = HISTORY.assistant(line) if n % 2 else HISTORY.user(line)
assert HISTORY.serialize("ga") == ITEMS
RAW = "raw websockets + orjson"
PUBLIC = "kit session, by recv alone"
OPTIONS = {"max_size": None, "compression": None, "ping_interval": None}
UPDATE = {"type": "session.update", "session": {"type": "realtime", "instructions": INSTRUCTIONS}}


async def raw(url: str) -> int:
    """The loop that somebody in a hurry for speed would write."""
    import orjson

    n = 0
    async with ws_connect(url, **OPTIONS) as ws:
        await ws.recv(decode=False)
        await ws.send(orjson.dumps(UPDATE), text=True)
        for item in named_items():
            await ws.send(orjson.dumps({"type": "conversation.item.create", "item": item}), text=True)
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
    """The usual script: json, base64, the library's defaults."""
    n = 0
    async with ws_connect(url) as ws:
        await ws.recv()
        await ws.send(json.dumps(UPDATE))
        for item in named_items():
            await ws.send(json.dumps({"type": "conversation.item.create", "item": item}))
        acknowledged = 0
        while acknowledged < len(ITEMS):
            acknowledged += json.loads(await ws.recv())["type"] == "conversation.item.added"
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
        await session.update(instructions=INSTRUCTIONS)
        await session.seed(HISTORY)
        response = await session.respond()
        assert response.modality == "audio" and response.first_audio_ms is not None
        return response.n_audio_bytes


async def connect_only(url: str) -> int:
    async with ws_connect(url, **OPTIONS) as ws:
        await ws.recv(decode=False)
    return N_BYTES


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
    return timed(trial, url, at_once, trials)[0]


def settle() -> None:
    """Leave a contender nothing to collect but its own: not what the one before left, nor what other libraries keep for good."""
    gc.collect()
    gc.freeze()


def timed(trial: Callable[[str], Awaitable[int]], url: str, at_once: int, trials: int) -> tuple[float, float]:
    """Client CPU of one trial in ms, and trials a second. Every trial must have heard all of the audio."""

    async def many() -> None:
        gate = asyncio.Semaphore(at_once)

        async def one() -> None:
            async with gate:
                heard = await trial(url)
                assert heard == N_BYTES, f"{heard} bytes of {N_BYTES}"

        await asyncio.gather(*(one() for _ in range(trials)))

    settle()
    began, wall = time.process_time(), time.perf_counter()
    asyncio.run(many())
    return (time.process_time() - began) * 1000 / trials, trials / (time.perf_counter() - wall)


def public_cost(url: str, at_once: int, trials: int) -> float:
    """The kit's session with every message taken by `recv`, as where bytes do not come through `data_received`."""
    with patch.object(FastConnection, "data_received", ClientConnection.data_received):
        return cost(kit_session, url, at_once, trials)


def main() -> bool:
    at_once, trials, rounds = option("--at-once", 16), option("--trials", 32), option("--rounds", 240)
    with tempfile.TemporaryDirectory() as logs, prepared_server() as url:
        contenders = {
            RAW: raw,
            "kit session": kit_session,
            "kit session, audio counted, not kept": partial(kit_session, keep_audio=False),
            "kit session, event log on": partial(kit_session, log=f"{logs}/x.jsonl"),
        }
        measured = {name: lambda t=t: cost(t, url, at_once, trials) for name, t in contenders.items()}
        measured[PUBLIC] = lambda: public_cost(url, at_once, trials)
        costs = interleaved(measured, rounds)
        # Apart: a client that takes seconds would come between the two of a pair.
        others = {
            RAW: raw,
            "connect and close only": connect_only,
            "json + base64 + library defaults": library_defaults,
        }
        others |= peers.installed()
        measured = {name: lambda t=t: cost(t, url, at_once, trials) for name, t in others.items()}
        costs_of_others = interleaved(measured, max(3, rounds // 10))
    limits = {"kit session": 1.0, PUBLIC: 1.15, "kit session, event log on": 1.6}
    met = report(f"Client CPU per trial, {at_once} at once", costs, RAW, limits)
    report(f"Client CPU per trial of other clients, {at_once} at once", costs_of_others, RAW, {})
    return met


if __name__ == "__main__":
    raise SystemExit(status(main()))
