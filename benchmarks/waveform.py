"""What does a waveform cost? ``python benchmarks/waveform.py [--rounds N] [--minutes N] [--json FILE]``

A clip's SVG outline at its usual size, in CPU time, beside the least that reads every sample twice: numpy's smallest and largest.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from running import absolute, interleaved, option, report, status

from kit.clip import RATE_HZ, waveform

MINUTES, ROUNDS = option("--minutes", 10), option("--rounds", 15)


def main() -> bool:
    pcm = np.random.default_rng(0).integers(-20_000, 20_000, MINUTES * 60 * RATE_HZ, dtype=np.int16)

    def timed(work: Callable[[], object]) -> Callable[[], float]:
        def once() -> float:
            began = time.process_time()
            work()
            return (time.process_time() - began) * 1000

        return once

    name, least = f"waveform of {MINUTES} minutes", "smallest and largest sample"
    costs = interleaved({name: timed(lambda: waveform(pcm)), least: timed(lambda: (pcm.min(), pcm.max()))}, ROUNDS)
    report("A clip's outline", costs, least, {})
    return absolute("A clip's outline, in CPU time", {name: costs[name]}, "ms", {name: 20})


if __name__ == "__main__":
    raise SystemExit(status(main()))
