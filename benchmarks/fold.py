"""What does reading a long spoken reply cost? ``python benchmarks/fold.py [--rounds N] [--minutes N] [--json FILE]``

A reply of many minutes as frames of 200 ms, with its transcript: decoded by a plain parser, by the kit's decoder, and
decoded and folded to a response with its times. Also what it leaves in memory.
"""

from __future__ import annotations

import base64
import json
import time
import tracemalloc
from collections import deque
from collections.abc import Callable

import orjson
import prepared
import pybase64
from running import absolute, interleaved, option, report, status

from kit.link import KEPT_EVENTS
from kit.wire.conversation import Conversation
from kit.wire.events import Event, decode

MINUTES, ROUNDS = option("--minutes", 10), option("--rounds", 9)
GROWTH = 1.05  # our reading of "memory grows by its audio and no more"; the list of its last events comes to an end at some 13 MB


def long_reply(minutes: int) -> list[bytes]:
    """The prepared reply with its deltas repeated until it is that long."""
    frames = prepared.REPLY
    deltas = [frame for frame in frames if b".delta" in frame[:60]]
    first = frames.index(deltas[0])
    last = len(frames) - frames[::-1].index(deltas[-1])
    n_audio = sum(b"audio.delta" in frame[:60] for frame in deltas)
    repeats = max(1, round(minutes * 60 / (n_audio * prepared.AUDIO_BYTES / 48_000)))
    return [*frames[:first], *deltas * repeats, *frames[last:]]


def plain(loads: Callable[[bytes], dict], b64decode: Callable[[str], bytes], frames: list[bytes]) -> int:
    n = 0
    for frame in frames:
        event = loads(frame)
        if event["type"] == "response.output_audio.delta":
            n += len(b64decode(event["delta"]))
    return n


def folded(frames: list[bytes], events: deque[Event] | None = None) -> Conversation:
    conversation = Conversation()
    for frame in frames:
        event = decode(frame, 1.0)
        conversation.receive(event)
        if events is not None:
            events.append(event)
    return conversation


def main() -> bool:
    frames = long_reply(MINUTES)
    size = sum(map(len, frames))

    def timed(work: Callable[[], object]) -> float:
        began = time.process_time()
        work()
        return (time.process_time() - began) * 1000

    costs = interleaved(
        {
            "orjson + pybase64, validated": lambda: timed(
                lambda: plain(orjson.loads, lambda s: pybase64.b64decode(s, validate=True), frames)
            ),
            "json + base64": lambda: timed(lambda: plain(json.loads, base64.b64decode, frames)),
            "kit: decode": lambda: timed(lambda: [decode(frame, 1.0).type for frame in frames]),
            "kit: decode and fold": lambda: timed(lambda: folded(frames)),
        },
        ROUNDS,
    )
    met = report(
        f"{MINUTES} minutes of speech, {len(frames)} frames, {size / 1e6:.0f} MB",
        costs,
        "orjson + pybase64, validated",
        {"kit: decode": 1.0},
    )

    tracemalloc.start()
    events: deque[Event] = deque(maxlen=KEPT_EVENTS)  # as a session keeps them
    conversation = folded(frames, events)
    with_events = tracemalloc.get_traced_memory()[0]
    events.clear()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    audio = conversation.responses[0].n_audio_bytes
    held_by = {"all, to its audio": [held / audio], f"and the last {KEPT_EVENTS:,} events": [with_events / audio]}
    return absolute(f"Held after the fold of {MINUTES} minutes", held_by, "×", {"all, to its audio": GROWTH}) and met


if __name__ == "__main__":
    raise SystemExit(status(main()))
