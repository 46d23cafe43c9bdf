"""Does an echo interrupt, and is a user who speaks over the model still heard?

    python benchmarks/voice_echo.py [TRIALS]

The room is computed, so that every trial is the same on every machine: the reply comes back to the microphone at −10 dB after
80 ms with a tail of 60 ms, over a noise floor of −65 dBFS; the user speaks over it at so many dB above or below the echo.
What leaves the canceller goes to the stand-in's turn detection (silero, threshold 0.5). Each trial has a reply, a user's line and
a moment of its own, from a seed, and begins with a canceller that has heard nothing yet.
"""

from __future__ import annotations

import sys

import numpy as np

from kit import speech
from kit.devices.echo import EchoCanceller
from kit.standin.listening import Started, TurnDetector
from kit.stats import wilson

ECHO_DB, DELAY_MS, TAIL_MS, FLOOR_DB = -10.0, 80, 60, -65.0
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
    """(instants at which turn detection heard speech, from and to when the user spoke), in ms; ``near_db=None``: nobody does."""
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


def main():
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    print(f"echo at {ECHO_DB:g} dB after {DELAY_MS} ms, {n} trials each (95 % Wilson interval)")
    print(f"echo alone interrupts, cancellation off   {rate(false_starts(n, cancel=False), n)}")
    print(f"echo alone interrupts, cancellation on    {rate(false_starts(n, cancel=True), n)}")
    for near_db in (6, 0, -6):
        print(f"user at {near_db:+d} dB over the echo is heard      {rate(detections(n, near_db), n)}")


if __name__ == "__main__":
    main()
