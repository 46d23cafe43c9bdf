"""What does sound cost on its way? ``python benchmarks/sound_path.py [--rounds N] [--json FILE]``

* Microphone → wire and wire → speaker: CPU per block of 20 ms, with real PortAudio on JACK's dummy card, a real socket, and the
  stand-in in a process of its own. It is *all* CPU of this process while it does only that, so an upper bound. Limit: 1 ms.
  Echo cancellation is shown beside it; half a millisecond of that is the canceller's own work.
* What stays allocated in ten minutes of talk, by the kit's sound path: nothing may grow with the length of a session.
"""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import numpy as np
import sound_card
from running import absolute, interleaved, option, status

from kit import connect
from kit.audio import Block, Microphone, Speaker, Voice, play_replies
from kit.audio.echo import EchoCanceller, echo_cancellation_installed
from kit.audio.speaker import PlayQueue
from kit.session import Session

ROUNDS = option("--rounds", 5)
BLOCK = 480  # 20 ms
N_BLOCKS = 250  # of a round: five seconds
LONG = 600 * 50  # blocks: ten minutes
SOUND_PATH = ("kit/audio/",)


class Nobody:
    """A speaker that is never given anything."""

    n_written = n_heard = n_underruns = 0
    playing = False
    delays_ms: tuple[float, ...] = ()

    async def stop(self) -> int:
        return 0


async def inward(session: Session, *, cancelled: bool = False) -> float:
    """Five seconds of a real microphone; CPU in ms per block."""
    async with Microphone("loopback") as microphone:
        canceller = EchoCanceller() if cancelled else None
        voice = Voice(session, microphone, Nobody(), canceller=canceller)
        await voice.press()
        running = asyncio.ensure_future(voice.run())
        while not voice.latency.input_ms:  # noqa: ASYNC110  the device opens
            await asyncio.sleep(0.02)
        first, began = session.events.types.count("input_audio_buffer.append"), time.process_time()
        await asyncio.sleep(N_BLOCKS / 50)
        cost = time.process_time() - began
        n = session.events.types.count("input_audio_buffer.append") - first
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return cost * 1000 / n


async def outward(session: Session) -> float:
    """One reply through a real speaker; CPU in ms per block."""
    async with Speaker("loopback") as speaker, play_replies(session, speaker) as playing:
        began, before = time.process_time(), speaker.n_heard
        await session.ask("Tell me a joke.")
        await playing.drained()
        return (time.process_time() - began) * 1000 / ((speaker.n_heard - before) / BLOCK)


def grown(before: tracemalloc.Snapshot, after: tracemalloc.Snapshot) -> int:
    """Bytes that the sound path holds more than before."""
    told = after.compare_to(before, "filename")
    return sum(s.size_diff for s in told if any(part in s.traceback[0].filename for part in SOUND_PATH))


async def kept_inward(session: Session) -> tuple[int, int]:
    """Bytes kept by ten minutes of the microphone, as fast as it goes, after a minute of it; and how many blocks went."""

    snapshots: list[tracemalloc.Snapshot] = []

    class Mouth:
        n_dropped = 0

        async def __aiter__(self) -> AsyncIterator[Block]:
            pcm = bytes(2 * BLOCK)
            for n in range(LONG + 1):
                if n in (LONG // 10, LONG):
                    snapshots.append(tracemalloc.take_snapshot())
                if n % 3_000 == 2_999:
                    await session.clear_audio()  # or the server's buffer would be full
                yield Block(pcm, n * BLOCK, time.perf_counter())

    tracemalloc.start()
    voice = Voice(session, Mouth(), Nobody())
    await voice.press()
    await voice.run()
    tracemalloc.stop()
    return grown(*snapshots), LONG


def kept_outward() -> tuple[int, int]:
    """Bytes kept by ten minutes through the speaker's queue, after a minute of it."""
    queue = PlayQueue(prebuffer=960, limit=24_000)
    pcm, out = np.arange(BLOCK, dtype=np.int16).tobytes(), np.zeros(BLOCK // 2, np.int16)
    snapshots = []
    tracemalloc.start()
    for n in range(LONG + 1):
        if n in (LONG // 10, LONG):
            snapshots.append(tracemalloc.take_snapshot())
        queue.write(pcm)
        for half in range(2):
            queue.pull(out, (2 * n + half) * 0.01)
        queue.heard_by(n * 0.02)
    tracemalloc.stop()
    return grown(*snapshots), LONG


async def measure(url: str) -> bool:
    settings = {"turn_detection": None}

    def cost(of: Callable[[Session], Awaitable[float]]) -> float:
        async def one() -> float:
            async with connect(url, quiet=True, settings=settings) as session:
                return await of(session)

        return loop(one())

    async def once(of: Callable[[Session], Awaitable[tuple[int, int]]]) -> tuple[int, int]:
        async with connect(url, quiet=True, settings=settings) as session:
            return await of(session)

    def loop(coroutine: Awaitable[float]) -> float:
        return asyncio.new_event_loop().run_until_complete(coroutine)

    ways = {"microphone → wire": lambda: cost(inward), "wire → speaker": lambda: cost(outward)}
    if echo_cancellation_installed():
        ways["microphone → wire, echo taken out"] = lambda: cost(functools.partial(inward, cancelled=True))
    limits = dict.fromkeys(("microphone → wire", "wire → speaker"), 1.0)
    met = absolute("CPU per block of 20 ms", await asyncio.to_thread(interleaved, ways, ROUNDS), "ms", limits)
    kept = {"microphone → wire, kept": await once(kept_inward), "wire → speaker, kept": kept_outward()}
    kilobytes = {name: [n_bytes / 1000] for name, (n_bytes, _) in kept.items()}
    return absolute("Kept by the sound path from minute 1 to 10", kilobytes, "kB", dict.fromkeys(kept, 100.0)) and met


def main() -> bool:
    serving = subprocess.Popen(
        [sys.executable, "-u", "-m", "kit", "serve", "--port", "0", "--pace", "1.25"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert serving.stdout is not None
        url = serving.stdout.readline().split()[-1]
        with (
            tempfile.TemporaryDirectory() as folder,
            sound_card.jack_server(Path(folder) / "log", "-L", "1"),
            sound_card.portaudio(),
        ):
            return asyncio.run(measure(url))
    finally:
        serving.terminate()
        serving.wait()


if __name__ == "__main__":
    raise SystemExit(status(main()))
