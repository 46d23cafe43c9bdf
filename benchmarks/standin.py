"""What the stand-in costs: CPU per trial beside a server that sends prepared bytes, memory per idle session, lateness when paced.

    python benchmarks/standin.py [trial] [idle] [paced]

Both servers run as processes of their own; the client is a loop of `websockets`. CPU is the server process's user + system
time. Only ratios within one run mean anything.
"""

import asyncio
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
from pathlib import Path

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from kit.speech import repertoire
from kit.standin import StandIn

LINE = max(repertoire(), key=lambda line: line.duration_ms).text
AT_ONCE, TRIALS, ROUNDS = 16, 320, 9
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
    """One trial as a client lives it; gives the frames by what caused them."""
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
    per_trial = {ours: [], prepared: []}
    for _ in range(ROUNDS):
        for server in (ours, prepared):
            asyncio.run(many(server.url, 32))
            before = cpu_s(server.pid)
            asyncio.run(many(server.url, TRIALS))
            per_trial[server].append((cpu_s(server.pid) - before) / TRIALS * 1000)
    ratios = [a / b for a, b in zip(per_trial[ours], per_trial[prepared], strict=True)]
    print(
        f"one trial: {len(frames)} frames, {sum(map(len, frames)):,} bytes, {AT_ONCE} at once, {ROUNDS} rounds of {TRIALS}"
    )
    print(
        f"  stand-in {statistics.median(per_trial[ours]):.2f} ms CPU, prepared bytes {statistics.median(per_trial[prepared]):.2f} ms"
    )
    print(
        f"  ratio: median {statistics.median(ratios):.2f}, range {min(ratios):.2f} to {max(ratios):.2f} (to reach: 2)"
    )
    ours.stop()
    prepared.stop()


def idle(n=2000):
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
        print(f"idle: {(after - before) / len(sockets):.1f} kB per session, {len(sockets)} of them (to reach: 40)")
        await asyncio.gather(first.close(), *(socket.close() for socket in sockets))

    asyncio.run(hold())
    ours.stop()


def run_listeners(pipe, url, n):
    """`n` clients in one process, each asking again when a reply ends; gives how late each audio delta came."""
    late = []

    async def listen(start_s):
        loop = asyncio.get_running_loop()
        await asyncio.sleep(start_s)
        async with connect(url, compression=None, max_size=None, proxy=None, ping_interval=None) as socket:
            for _ in range(PACED_REPLIES):
                await socket.send('{"type":"response.create"}')
                first, k = None, 0
                while True:
                    frame = await socket.recv(decode=False)
                    if frame.startswith(b'{"type":"response.output_audio.delta"'):
                        now = loop.time()
                        first = now if first is None else first
                        late.append(now - first - k * 0.2)
                        k += 1
                    elif frame.startswith(b'{"type":"rate_limits'):
                        break

    async def main():
        await asyncio.gather(*(listen(i * 6 / n) for i in range(n)))

    asyncio.run(main())
    pipe.send(late)


PACED_REPLIES = 5


def paced(n=500):
    ours = Process(run_standin, 1.0)
    pipe, theirs = multiprocessing.Pipe()
    before, began = cpu_s(ours.pid), time.monotonic()
    listeners = multiprocessing.Process(target=run_listeners, args=(theirs, ours.url, n), daemon=True)
    listeners.start()
    late = sorted(pipe.recv())
    took = time.monotonic() - began
    p = {q: late[int(q / 100 * (len(late) - 1))] * 1000 for q in (1, 50, 99)}
    print(
        f"paced: {n} sessions, {len(late):,} deltas in {took:.0f} s, {(cpu_s(ours.pid) - before) / took * 100:.0f} % of a core; "
        f"lateness against the session's own first delta p1 {p[1]:.0f}, p50 {p[50]:.0f}, p99 {p[99]:.0f} ms (to reach: p99 < 100)"
    )
    ours.stop()


if __name__ == "__main__":
    print(
        f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    wanted = sys.argv[1:] or ["trial", "idle", "paced"]
    for name in wanted:
        {"trial": trials, "idle": idle, "paced": paced}[name]()
