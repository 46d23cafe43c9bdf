"""Does anything grow? ``python benchmarks/soak.py [--sessions 10000] [--minutes 60] [--at-once 16]``

* 10,000 sessions through one stand-in and one runner, all in this process, a ledger row each;
* one session with an hour of audio, said and heard, as fast as it goes.

Prints resident memory and open file descriptors as it goes, and at the end the growth in the second half (until then caches fill,
and the session's list of its last 20,000 events), and what tasks are left. What a session keeps for ever, its items and the words
of its responses, is a few kB a reply.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from running import absolute, machine, option, status

from kit import Clip, Plan, arms, cases, connect, run
from kit.trials.ledger import Ledger
from kit.trials.runner import Progress


class Watch:
    """Memory and file descriptors, as they are now and were."""

    def __init__(self, what: str, every: int) -> None:
        self.what, self.every, self.began = what, every, time.monotonic()
        self.samples: list[tuple[int, float, int]] = []
        print(f"\n{what}\n{'done':>8} {'s':>7} {'MB':>8} {'fds':>5}")

    def look(self, done: int) -> None:
        if done < self.every * (len(self.samples) + 1):
            return
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        sample = (done, pages * resource.getpagesize() / 1e6, len(os.listdir("/proc/self/fd")))
        self.samples.append(sample)
        print(f"{done:8,} {time.monotonic() - self.began:7.0f} {sample[1]:8.1f} {sample[2]:5}", flush=True)

    def judge(self) -> bool:
        settled = self.samples[len(self.samples) // 2 :]
        (first, mb, fds), (last, mb_end, fds_end) = settled[0], settled[-1]
        peak_fds = max(sample[2] for sample in settled)
        print(
            f"from {first:,} to {last:,}: {100 * (mb_end / mb - 1):+.1f} %, file descriptors {fds_end - fds:+d}, most {peak_fds}"
        )
        title = f"{self.what}: growth in the second half"
        memory = absolute(title, {"memory": [mb_end - mb]}, "MB", {"memory": mb * 0.1 + 5})
        return (
            absolute(title, {"file descriptors at most": [peak_fds]}, "", {"file descriptors at most": 200}) and memory
        )


def left() -> bool:
    """Whether tasks are left on this loop, this one apart."""
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    print(f"tasks left: {len(tasks)}{f' {tasks[:3]}' if tasks else ''}")
    return bool(tasks)


async def many(n_sessions: int, at_once: int) -> bool:
    """Sessions through one stand-in and one runner."""
    began_fds = len(os.listdir("/proc/self/fd"))
    plan = Plan(cases=[cases.one_a, cases.one_b], arms=[arms.as_is], repeats=n_sessions // 2, seed=1)
    watch = Watch(f"{len(plan.trials):,} sessions, {at_once} at once", max(1, n_sessions // 20))

    def tell(progress: Progress) -> None:
        watch.look(progress.decided)

    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        ledger = await run(plan, Path(folder) / "soak.sqlite", at_once=at_once, progress=tell)
        counts = Ledger(ledger.path).counts()
        print(f"{counts}, {counts['completed'] / (time.monotonic() - began):.0f} sessions/s")
        kept = left()
    fds = len(os.listdir("/proc/self/fd")) - began_fds
    print(f"file descriptors more than before: {fds}")
    return watch.judge() and not kept and fds <= 1 and counts["completed"] == counts["planned"]


async def long(minutes: int) -> bool:
    """One session, until that much audio was said and heard."""
    watch = Watch(f"one session, {minutes} minutes of audio", 1)
    clip = Clip.named("tell-me-a-joke")
    settings = {
        "turn_detection": None
    }  # what is said is appended and cleared: the stand-in hears it and does not answer it
    said_ms = heard_ms = 0.0
    step = 0
    async with connect("standin", drift="never", settings=settings, keep_audio=False, quiet=True) as session:
        while said_ms + heard_ms < minutes * 60_000:
            await session.append_audio(clip)
            await session.clear_audio()
            response = await session.ask("Another one, please.")
            said_ms += clip.duration_ms
            heard_ms += response.n_audio_bytes / 48
            if said_ms + heard_ms >= step * minutes * 60_000 / 20:
                step += 1
                watch.look(step)
        print(
            f"{len(session.responses):,} replies, {said_ms / 60_000:.1f} min said, {heard_ms / 60_000:.1f} min heard, {len(session.events):,} events kept"
        )
    kept = left()
    return watch.judge() and not kept


async def main() -> int:
    print(machine())
    ok = await many(option("--sessions", 10_000), option("--at-once", 16))
    ok = await long(option("--minutes", 60)) and ok
    print("\nflat" if ok else "\nGREW")
    return status(ok)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
