"""The kit's own part of the latency of a spoken turn, with a breakdown: is it below 15 ms at p95?

    python benchmarks/voice_latency.py [TURNS]

A real session with the stand-in over a socket, and real PortAudio on JACK's dummy card with two cables (tests/sound_card.py).
A turn is a spoken line of 1.4 s and the reply to it. What is the kit's own: a microphone block from the moment that the device
has handed it over until the socket has taken it, and the first sound of a reply from its arrival until the device takes it, less
the prebuffer. The server's part (the stand-in hears, decides and speaks) and the devices' are shown beside it.
"""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import sound_card

from kit import connect
from kit.audio import Microphone, Speaker, Voice
from kit.clip import Clip


async def turns(cables, n, prebuffer_ms):
    """Where the time went in n turns."""
    clip = Clip.named("tell-me-a-joke")
    devices = Microphone(), Speaker(prebuffer_ms=prebuffer_ms)
    async with connect("standin", quiet=True, pace=2.0) as session, devices[0] as microphone, devices[1] as speaker:
        voice = Voice(session, microphone, speaker)
        running = asyncio.ensure_future(voice.run())
        for turn in range(1, n + 1):
            cables.say(clip.pcm)
            while len(speaker.delays_ms) < turn or speaker.playing:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return voice.latency, voice.dropped


def p(values, percentile):
    return float(np.percentile(values, percentile))


def main():
    n = int(sys.argv[1]) if sys.argv[1:] and sys.argv[1].isdigit() else 20
    with (
        tempfile.TemporaryDirectory() as folder,
        sound_card.jack_server(Path(folder) / "log"),
        sound_card.Cables() as cables,
        sound_card.portaudio(),
    ):
        latency, dropped = asyncio.run(turns(cables, n, 0))
    print(
        f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    print(f"{n} turns, prebuffer 0, frames dropped {dropped}")
    print(latency)
    inward, outward = (
        p(latency.input_ms, 95),
        p([a + b for a, b in zip(latency.output_ms, latency.queue_ms, strict=False)], 95),
    )
    print(
        f"the kit's own part at p95: in {inward:.1f} ms, out {outward:.1f} ms (up to one 10 ms period of the device in it), both {inward + outward:.1f} ms"
    )


if __name__ == "__main__":
    main()
