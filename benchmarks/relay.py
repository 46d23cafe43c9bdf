"""What does the relay add? ``python benchmarks/relay.py [--rounds N] [--frames N] [--json FILE]``

A server sends a spoken reply's frames (audio deltas of 9.6 kB of PCM, transcript deltas) at 200 a second to one client: through the relay
with its event log on, and through a bare pass-through of `websockets`. Each runs in a process of its own, whose CPU is read from the
system. The delay is from the server's send to the client's receipt, less that of a direct connection in the same round.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pybase64
from running import absolute, interleaved, option, report, status
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

FRAMES, ROUNDS = option("--frames", 2_000), option("--rounds", 9)
GAP_S = 1 / 200
AUDIO = pybase64.b64encode(os.urandom(9_600)).decode()


def frames() -> list[str]:
    head = '"event_id":"event_%06d","response_id":"resp_1","item_id":"item_1","output_index":0,"content_index":0,"delta":"%s"}'
    made = [
        json.dumps({"type": "response.created", "event_id": "e", "response": {"id": "resp_1", "status": "in_progress"}})
    ]
    for n in range(FRAMES):
        kind = "response.output_audio.delta" if n % 3 else "response.output_audio_transcript.delta"
        made.append(f'{{"type":"{kind}",' + head % (n, AUDIO if n % 3 else " word"))
    return made


async def bare(upstream: str) -> None:
    """The least that passes frames both ways."""

    async def handle(client):
        async with connect(upstream, compression=None, max_size=None, ping_interval=None) as server:

            async def pump(source, sink):
                async for frame in source:
                    await sink.send(frame)
                await sink.close()

            await asyncio.gather(pump(client, server), pump(server, client))

    async with serve(handle, "127.0.0.1", 0, compression=None, max_size=None) as listening:
        print(f"ws://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1/realtime", flush=True)
        await asyncio.Future()


async def relay(upstream: str, folder: str) -> None:
    from kit.relay import Relay

    async with Relay(upstream, log=folder) as server:
        print(server.url, flush=True)
        await asyncio.Future()


def cpu_s(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(address: str | None, pid: int | None) -> tuple[float, list[float]]:
    """One reply's worth of frames: CPU of the process in between per frame in µs, and each frame's delay in ms."""
    prepared, sent = frames(), []

    async def send(socket):
        await socket.recv()
        due = time.perf_counter()
        for frame in prepared:
            due += GAP_S
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            sent.append(time.perf_counter())
            await socket.send(frame)
        await socket.recv()

    async with serve(send, "127.0.0.1", SERVER_PORT, compression=None, max_size=None):
        url = address or f"ws://127.0.0.1:{SERVER_PORT}/v1/realtime"
        async with connect(url, compression=None, max_size=None, ping_interval=None) as client:
            before = cpu_s(pid) if pid else 0.0
            await client.send("{}")
            delays = []
            for n in range(len(prepared)):
                await client.recv()
                delays.append((time.perf_counter() - sent[n]) * 1000)
            used = (cpu_s(pid) - before) * 1e6 / len(prepared) if pid else 0.0
            await client.send("{}")
    return used, delays


SERVER_PORT = 18_765


def main() -> bool:
    upstream = f"ws://127.0.0.1:{SERVER_PORT}/v1/realtime"
    with tempfile.TemporaryDirectory() as folder:
        children = {}
        for name in ("relay", "bare"):
            command = [sys.executable, __file__, f"--be-{name}", upstream, folder]
            child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
            assert child.stdout is not None
            children[name] = (child, child.stdout.readline().strip())
        delays: dict[str, list[float]] = {"direct": [], "relay": [], "bare": []}

        def once(name: str):
            def run() -> float:
                child, url = children.get(name, (None, None))
                used, came = asyncio.run(measure(url, child.pid if child else None))
                delays[name] += came
                return used

            return run

        costs = interleaved({name: once(name) for name in ("relay", "bare", "direct")}, ROUNDS)
        for child, _ in children.values():
            child.kill()
    costs.pop("direct")
    met = report("CPU of a frame that passes", costs, "bare", {"relay": 1.3}, unit="µs")

    def p99(name: str) -> float:
        return statistics.quantiles(delays[name], n=100)[98]

    added = {
        "added by the relay, p99": [p99("relay") - p99("direct")],
        "added by the bare one, p99": [p99("bare") - p99("direct")],
    }
    return absolute("Delay of a frame", added, "ms", {"added by the relay, p99": 1.0}) and met


if __name__ == "__main__":
    if "--be-relay" in sys.argv:
        asyncio.run(relay(*sys.argv[-2:]))
    elif "--be-bare" in sys.argv:
        asyncio.run(bare(sys.argv[-2]))
    raise SystemExit(status(main()))
