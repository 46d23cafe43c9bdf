"""What does the stand-in cost? ``python benchmarks/standin.py [trial] [idle] [paced] [--rounds N] [--sessions N] [--replies N] [--json FILE]``

CPU per trial beside a server that sends the very same bytes prepared, memory per idle session, and how late the audio of paced
sessions comes. Servers run as processes of their own; the client is a loop of `websockets`. CPU is the server process's user
and system time.

Lateness is against each reply's own earliest delta, the best guess at its clock: none of a reply can seem early because its first
delta was late. Sessions begin over six seconds, and only what comes while all of them are live is counted. Growth is the
median lateness of the last third of that time less that of the first.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import statistics
import sys
import time
from pathlib import Path

from running import absolute, interleaved, option, report, status
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from kit.speech import repertoire
from kit.standin import StandIn

LINE = max(repertoire(), key=lambda line: line.duration_ms).text
AT_ONCE, TRIALS = 16, 320
RAMP_S, REPLIES = 6, option("--replies", 10)
OPENING = [
    {"type": "session.update", "session": {"type": "realtime", "instructions": "Be brief."}},
    *(
        {
            "type": "conversation.item.create",
            "item": {
                "type": "message",
                "role": role,
                "content": [
                    {"type": "output_text" if role == "assistant" else "input_text", "text": "Tell me a joke."}
                ],
            },
        }
        for role in ("user", "assistant", "user", "assistant", "user")
    ),
    {"type": "response.create"},
]
FRAMES = [json.dumps(event) for event in OPENING]


def cpu_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_kb(pid):
    return next(int(line.split()[1]) for line in Path(f"/proc/{pid}/status").open() if line.startswith("VmRSS"))


async def trial(url):
    """Play one trial as a client does; return the frames by what caused them."""
    answers = [[]]
    async with connect(url, compression=None, max_size=None, proxy=None, ping_interval=None) as socket:
        answers[0].append(await socket.recv(decode=False))
        for frame in FRAMES:
            await socket.send(frame)
            answers.append([])
            last = (
                b"rate_limits" if "response.create" in frame else b"item.done" if "item.create" in frame else b"updated"
            )
            while last not in (got := await socket.recv(decode=False))[:60]:
                answers[-1].append(got)
            answers[-1].append(got)
    return answers


def run_standin(pipe, pace):
    async def main():
        async with StandIn(drift="never", replies=[LINE], pace=pace) as server:
            pipe.send(server.url + "?model=gpt-realtime")
            await asyncio.get_running_loop().run_in_executor(None, pipe.recv)

    asyncio.run(main())


def run_prepared(pipe, answers):
    async def handle(socket):
        for frames in answers:
            for frame in frames:
                await socket.send(frame, text=True)
            if frames is answers[-1]:
                break
            await socket.recv()
        await socket.wait_closed()

    async def main():
        async with serve(handle, "127.0.0.1", 0, compression=None, max_size=None) as server:
            pipe.send(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
            await asyncio.get_running_loop().run_in_executor(None, pipe.recv)

    asyncio.run(main())


class Process:
    def __init__(self, target, *args):
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=target, args=(theirs, *args), daemon=True)
        self.process.start()
        self.url = self.pipe.recv()
        self.pid = self.process.pid

    def stop(self):
        self.pipe.send(None)
        self.process.join(5)


async def many(url, n):
    gate = asyncio.Semaphore(AT_ONCE)

    async def one():
        async with gate:
            await trial(url)

    await asyncio.gather(*(one() for _ in range(n)))


def trials():
    ours = Process(run_standin, None)
    answers = asyncio.run(trial(ours.url))
    frames = [frame for group in answers for frame in group]
    prepared = Process(run_prepared, answers)

    def cost(server):
        before = cpu_s(server.pid)
        asyncio.run(many(server.url, TRIALS))
        return (cpu_s(server.pid) - before) / TRIALS * 1000

    servers = {"prepared bytes": prepared, "stand-in": ours}
    costs = interleaved({name: lambda s=server: cost(s) for name, server in servers.items()}, option("--rounds", 9))
    title = f"Server CPU per trial of {len(frames)} frames, {sum(map(len, frames)):,} bytes, {AT_ONCE} at once"
    met = report(title, costs, "prepared bytes", {"stand-in": 2})
    ours.stop()
    prepared.stop()
    return met


def idle(n=2_000):
    ours = Process(run_standin, None)

    async def hold():
        # sixty at a time: the system's queue of waiting connections is not what is measured
        sockets = []
        first = await connect(ours.url, compression=None, proxy=None, ping_interval=None)
        before = rss_kb(ours.pid)
        for _ in range(n // 50):
            sockets += await asyncio.gather(
                *(connect(ours.url, compression=None, proxy=None, ping_interval=None) for _ in range(50))
            )
        await asyncio.gather(*(socket.recv() for socket in sockets))
        after = rss_kb(ours.pid)
        await asyncio.gather(first.close(), *(socket.close() for socket in sockets))
        return (after - before) / len(sockets)

    kb = asyncio.run(hold())
    ours.stop()
    name = "per idle session"
    return absolute(f"Resident memory of the stand-in, {n:,} idle sessions", {name: [kb]}, "kB", {name: 40})


def run_listeners(pipe, url, n):
    """`n` clients in one process, each asking again when a reply ends; return (when, how late) for each audio delta, in seconds."""
    told = []

    async def listen(start_s):
        loop = asyncio.get_running_loop()
        await asyncio.sleep(start_s)
        async with connect(url, compression=None, max_size=None, proxy=None, ping_interval=None) as socket:
            for _ in range(REPLIES):
                await socket.send('{"type":"response.create"}')
                arrived = []
                while not (frame := await socket.recv(decode=False)).startswith(b'{"type":"rate_limits'):
                    if frame.startswith(b'{"type":"response.output_audio.delta"'):
                        arrived.append(loop.time())
                start = min(at - 0.2 * k for k, at in enumerate(arrived))
                told.extend((at, at - 0.2 * k - start) for k, at in enumerate(arrived))
            return loop.time()

    async def main():
        began = asyncio.get_running_loop().time()
        ended = await asyncio.gather(*(listen(i * RAMP_S / n) for i in range(n)))
        return [(at, late) for at, late in told if began + RAMP_S <= at <= min(ended)]

    pipe.send(asyncio.run(main()))


def paced(n=500):
    ours = Process(run_standin, 1.0)
    pipe, theirs = multiprocessing.Pipe()
    before, began = cpu_s(ours.pid), time.monotonic()
    listeners = multiprocessing.Process(target=run_listeners, args=(theirs, ours.url, n), daemon=True)
    listeners.start()
    told = sorted(pipe.recv())
    cpu = (cpu_s(ours.pid) - before) / (time.monotonic() - began)
    ours.stop()
    ms = [late * 1000 for _, late in told]
    third = len(ms) // 3
    values = {
        "lateness, median": [statistics.median(ms)],
        "lateness, p99": [sorted(ms)[int(0.99 * (len(ms) - 1))]],
        "its growth": [statistics.median(ms[-third:]) - statistics.median(ms[:third])],
    }
    # 10 ms is read as "no growth": a queue that grows in such a test gains hundreds
    limits = {"lateness, p99": 100, "its growth": 10}
    title = f"{n} paced sessions, {len(ms):,} deltas over {told[-1][0] - told[0][0]:.0f} s, {cpu * 100:.0f} % of a core"
    return absolute(title, values, "ms", limits)


def main():
    wanted = [name for name in ("trial", "idle", "paced") if name in sys.argv] or ["trial", "idle", "paced"]
    measure = {"trial": trials, "idle": idle, "paced": lambda: paced(option("--sessions", 500))}
    return all([measure[name]() for name in wanted])  # all of them, also after one that is not met


if __name__ == "__main__":
    raise SystemExit(status(main()))
