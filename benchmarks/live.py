"""What does a second of GPT-Live cost? ``python benchmarks/live.py [--rounds N] [--seconds N] [--json FILE]``

A server in a process of its own reads whatever comes and sends a frame of 100 ms of zeros ten times a second, as GPT-Live's track does. CPU of this
process per session-second: the kit's `LiveSession` (feeder, reader, fold) and a hand-written feeder and reader of `websockets` and
`orjson`, in turns. Then one session for `--seconds`: the feeder's drift against the wall, and how much memory grows.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import subprocess
import sys
import time

import orjson
import pybase64
from running import absolute, interleaved, option, report, status
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from kit.connecting import connect as connect_kit

ROUNDS, SECONDS, ROUND_S = option("--rounds", 7), option("--seconds", 600), option("--round-seconds", 10)
ZEROS = pybase64.b64encode(bytes(4_800)).decode()
FRAME_S = 0.1
STARTED = orjson.dumps({"type": "session.started", "event_id": "event_1", "session": {"id": "live_u0_1"}}).decode()
CLOSED = '{"type":"session.closed","event_id":"event_2","reason":"close_requested","session":{"id":"live_u0_1"},"usage":{"seconds":1}}'
FRAME = f'{{"type":"session.output_audio.delta","delta":"{ZEROS}"}}'


async def be_server() -> None:
    async def handle(socket):
        await socket.recv()
        await socket.send(STARTED)

        async def track():
            due = time.perf_counter()
            while True:
                await socket.send(FRAME)
                due += FRAME_S
                await asyncio.sleep(max(0.0, due - time.perf_counter()))

        sending = asyncio.create_task(track())
        async for frame in socket:
            if "session.close" in frame[:40]:
                break
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        with contextlib.suppress(ConnectionClosed):  # a client that closes at once does not wait for it
            await socket.send(CLOSED)

    async with serve(handle, "127.0.0.1", 0, compression=None, max_size=None) as listening:
        print(f"ws://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1/live/sessions", flush=True)
        await asyncio.Future()


async def by_hand(url: str, seconds: float) -> float:
    """CPU in ms per session-second of the least that speaks GPT-Live."""
    async with connect(url, compression=None, max_size=None) as socket:
        await socket.send('{"type":"session.start","session":{"model":"gpt-live-1.1","input":[]}}')
        await socket.recv()
        before, began = time.process_time(), time.perf_counter()

        async def feed():
            due = time.perf_counter()
            while True:
                audio = pybase64.b64encode(bytes(4_800)).decode()
                await socket.send(orjson.dumps({"type": "session.input_audio.append", "audio": audio}).decode())
                due += FRAME_S
                await asyncio.sleep(max(0.0, due - time.perf_counter()))

        async def read():
            async for frame in socket:
                event = orjson.loads(frame)
                if event["type"] == "session.output_audio.delta":
                    pybase64.b64decode(event["delta"])

        tasks = [asyncio.create_task(feed()), asyncio.create_task(read())]
        await asyncio.sleep(seconds)
        used = (time.process_time() - before) * 1000 / (time.perf_counter() - began)
        for task in tasks:
            task.cancel()
        return used


async def by_kit(url: str, seconds: float) -> tuple[float, float, float]:
    """CPU in ms per session-second; the feeder's drift in ms; MiB that this process grew by since a tenth of the time."""
    async with connect_kit(url, protocol="live", model="gpt-live-1.1", auth="none", quiet=True) as session:
        await session.start()
        before, began = time.process_time(), time.perf_counter()
        await asyncio.sleep(seconds / 10)
        early = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await asyncio.sleep(seconds - (time.perf_counter() - began))
        used = (time.process_time() - before) * 1000 / (time.perf_counter() - began)
        assert session.feeder is not None
        # Frame n is due n frames after the first, so a feeder in time is less than one frame behind the wall.
        behind_s = time.perf_counter() - began - session.feeder.n_frames * FRAME_S
        drift_ms = max(0.0, abs(behind_s + FRAME_S / 2) - FRAME_S / 2) * 1000 + session.feeder.skipped_ms
        return used, drift_ms, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - early) / 1024


def main() -> bool:
    command = [sys.executable, __file__, "--be-server"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
    assert child.stdout is not None
    try:
        url = child.stdout.readline().strip()
        contenders = {
            "LiveSession": lambda: asyncio.run(by_kit(url, ROUND_S))[0],
            "by hand": lambda: asyncio.run(by_hand(url, ROUND_S)),
        }
        costs = interleaved(contenders, ROUNDS)
        met = report("CPU of a second of a session", costs, "by hand", {"LiveSession": 1.5})
        _, drift_ms, grown = asyncio.run(by_kit(url, SECONDS))
    finally:
        child.kill()
    met &= absolute(f"Feeder's drift in {SECONDS} s", {"drift": [drift_ms]}, "ms", {"drift": 50.0})
    return absolute(f"Memory in {SECONDS} s", {"growth": [grown]}, "MiB", {"growth": 8.0}) and met


if __name__ == "__main__":
    if "--be-server" in sys.argv:
        asyncio.run(be_server())
    raise SystemExit(status(main()))
