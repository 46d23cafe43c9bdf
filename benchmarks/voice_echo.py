"""Does an echo interrupt, and is a user who speaks over the model still heard?

    python benchmarks/voice_echo.py [TRIALS]
    python benchmarks/voice_echo.py --card [TRIALS] [--busy N]

In the first way the room is computed, so that every trial is the same on every machine: the reply comes back to the microphone
at −10 dB after 80 ms with a tail of 60 ms, over a noise floor of −65 dBFS; the user speaks over it some dB above or below.
What leaves the canceller goes to the stand-in's turn detection (silero, threshold 0.5). Each trial has a reply, a user's line and
a moment of its own, from a seed, and begins with a canceller that has heard nothing yet.

In the second everything is in real time: `kit voice` in a process of its own, real PortAudio on a virtual sound card, and what it
says comes back to its microphone at −10 dB after 80 ms. Each trial is a new process with a reply that is not interrupted, and
one that a user speaks over at each level. `--busy` keeps that many processor cores busy meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from kit import speech
from kit.audio.echo import EchoCanceller
from kit.clip import Clip
from kit.standin.hearing import Started, TurnDetector
from kit.stats import wilson

ECHO_DB, DELAY_MS, TAIL_MS, FLOOR_DB = -10.0, 80, 60, -65.0
LEVELS_DB = (6, 0, -6)
FRAME = 240
SEED = 4


def room(far, rng):
    """What comes back of what is played."""
    tail = rng.standard_normal(TAIL_MS * 24) * np.exp(-np.arange(TAIL_MS * 24) / (TAIL_MS * 24 / 5))
    response = np.zeros((DELAY_MS + TAIL_MS) * 24)
    response[DELAY_MS * 24] = 1.0
    response[DELAY_MS * 24 :] += 0.15 * tail / np.abs(tail).max()
    echo = np.convolve(far, response)[: far.size]
    return echo * 10 ** (ECHO_DB / 20) / np.sqrt((response**2).sum())


def rms(samples):
    loud = samples[np.abs(samples) > 1e-4]
    return float(np.sqrt(np.mean(loud**2)))


def trial(n, near_db, *, cancel=True):
    """(instants at which turn detection heard speech, from and to when the user spoke), in ms; ``near_db=None``: never."""
    rng = np.random.default_rng([SEED, n])
    replies = [line for line in speech.repertoire() if line.kind in ("joke", "answer") and line.duration_ms > 2_500]
    far = np.concatenate(
        [speech.recorded(replies[k].text).pcm / 32_768 for k in rng.choice(len(replies), 3, replace=False)]
    )
    near = room(far, rng) + 10 ** (FLOOR_DB / 20) * rng.standard_normal(far.size)
    span = None
    if near_db is not None:
        lines = speech.repertoire("user")
        said = speech.recorded(lines[rng.integers(len(lines))].text).pcm / 32_768
        said = said * (rms(room(far, rng)) * 10 ** (near_db / 20) / rms(said))
        at = int(rng.uniform(3.0, far.size / 24_000 - said.size / 24_000 - 0.5) * 24_000)
        near[at : at + said.size] += said
        span = (at / 24, (at + said.size) / 24)
    far16 = (far * 32_768).astype(np.int16)
    near16 = (near * 32_768).clip(-32_768, 32_767).astype(np.int16)
    canceller = EchoCanceller() if cancel else None
    detector = TurnDetector(threshold=0.5, silence_ms=200, from_ms=0)
    heard = []
    for start in range(0, far.size - FRAME, FRAME):
        pcm = near16[start : start + FRAME].tobytes()
        if canceller is not None:
            canceller.far(far16[start : start + FRAME])
            pcm = canceller.near(pcm)
        heard += [told.at_ms for told in detector.feed(pcm) if isinstance(told, Started)]
    detector.close()
    return heard, span


def rate(hits, n):
    told = wilson(hits, n)
    low, high = told.low, told.high
    return f"{hits:3d} of {n}  {100 * hits / n:5.1f} %  ({100 * low:.0f} to {100 * high:.0f} %)"


def false_starts(n, *, cancel):
    """Trials in which the echo alone was taken for speech."""
    return sum(bool(trial(k, None, cancel=cancel)[0]) for k in range(n))


def detections(n, near_db):
    """Trials in which the user was heard while speaking over the reply."""
    hits = 0
    for k in range(n):
        heard, (start, end) = trial(k, near_db)
        hits += any(start - 100 <= at <= end + 100 for at in heard)
    return hits


async def in_real_time(cables, n):
    """How many of n replies were interrupted: by their echo alone, and by a user at each level over it."""
    from spoken import Terminal, reply_interrupted

    said = Clip.named("tell-me-a-joke").pcm
    hits = dict.fromkeys((None, *LEVELS_DB), 0)
    for _ in range(n):
        async with Terminal() as terminal:
            await terminal.says("speak; Ctrl-C ends")
            for user_db in hits:
                hits[user_db] += await reply_interrupted(cables, terminal, said, user_db=user_db)
    return hits


def on_the_card(n, n_busy):
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    import sound_card

    work = f"import os\nwhile os.getppid() == {os.getpid()}: sum(range(100_000))"
    busy = [subprocess.Popen([sys.executable, "-c", work]) for _ in range(n_busy)]
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            sound_card.jack_server(Path(folder) / "log"),
            sound_card.Cables() as cables,
        ):
            hits = asyncio.run(in_real_time(cables, n))
    finally:
        for each in busy:
            each.kill()
            each.wait()
    print(f"echo at {ECHO_DB:g} dB after {DELAY_MS} ms in real time, {n} trials (95 % Wilson interval)")
    print(f"{os.cpu_count()} cores, {n_busy} of them kept busy, load {os.getloadavg()[0]:.1f}")
    print(f"echo alone interrupts                     {rate(hits.pop(None), n)}")
    for user_db, n_heard in hits.items():
        print(f"user at {user_db:+d} dB over the echo interrupts  {rate(n_heard, n)}")


def main():
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    if "--card" in sys.argv:
        n_busy = int(sys.argv[sys.argv.index("--busy") + 1]) if "--busy" in sys.argv else 0
        on_the_card(numbers[0] if sys.argv[2:3] and sys.argv[2].isdigit() else 20, n_busy)
        return
    n = numbers[0] if numbers else 40
    print(f"echo at {ECHO_DB:g} dB after {DELAY_MS} ms, {n} trials each (95 % Wilson interval)")
    print(f"echo alone interrupts, cancellation off   {rate(false_starts(n, cancel=False), n)}")
    print(f"echo alone interrupts, cancellation on    {rate(false_starts(n, cancel=True), n)}")
    for near_db in LEVELS_DB:
        print(f"user at {near_db:+d} dB over the echo is heard      {rate(detections(n, near_db), n)}")


if __name__ == "__main__":
    main()
