"""Every benchmark in turn, and every limit in one table: ``python -m benchmarks [NAME ...] [--quick] [--json FILE] [--plot FILE]``

Each runs in a process of its own and alone, as it does by itself. `--quick` takes few rounds, to see that all of them run: its
intervals are wide. A limit is met when the upper end of its interval is at or below it. Exit status 0: all were measured and met.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from running import NOT_MET, machine, named  # noqa: E402

# file → what it is given for a quick look
BENCHMARKS = {
    "trial": "--rounds 3 --trials 32",
    "concurrency": "--rounds 3 --trials 32",
    "runner": "--rounds 3 --trials 64 --repeats 10",
    "fold": "--rounds 3",
    "standin": "--rounds 3 --replies 4",
    "tables": "--rounds 3 --most 100000",
    "imports": "--rounds 3",
    "waveform": "--rounds 3",
    "relay": "--rounds 3 --frames 500",
    "live": "--rounds 2 --round-seconds 4 --seconds 8",
    "sound_path": "--rounds 3",
    "soak": "--sessions 400 --minutes 5",
    "voice_echo": "4",
    "voice_latency": "4",
}


def run(name: str, quick: bool, results: Path) -> str:
    """Run one; empty, or why there is nothing to tell of it."""
    path = HERE / f"{name}.py"
    if not path.exists():
        return "is not here"
    print(f"\n{'=' * 100}\n{path.name}", flush=True)
    path_of_kit = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))
    options = BENCHMARKS[name].split() if quick else []
    command = [sys.executable, str(path), *options, "--json", str(results)]
    if name == "concurrency" and (figure := named("--plot")):
        command += ["--plot", str(figure)]
    ended = subprocess.run(command, env=os.environ | {"PYTHONPATH": path_of_kit}).returncode
    return "" if ended in (0, NOT_MET) else f"ended with {ended}, see above"


def summary(results: list[dict], absent: dict[str, str]) -> bool:
    """The table of limits."""
    print(f"\n{'=' * 100}\nEvery limit\n{machine()}\n")
    print(f"{'':66} {'':>10} {'95 %':>15} {'limit':>8}")
    met = not absent
    for entry in results:
        for row in entry["rows"]:
            if row["limit"] is None:
                continue
            met &= row["met"]
            name = f"{entry['file'].removesuffix('.py')}: {row['name']}{' / ' + row['base'] if 'base' in row else ''}"
            value, interval = f"{row['value']:.2f} {row['unit']}", f"{row['low']:.2f}–{row['high']:.2f}"
            verdict = "met" if row["met"] else "NOT MET"
            print(f"{name:66} {value:>10} {interval:>15} {row['limit']:8.2f}  {verdict:8} {entry['title']}")
    for name, why in absent.items():
        print(f"{name:66} NOT MEASURED: {why}")
    return met


def main() -> bool:
    chosen = [name for name in BENCHMARKS if name in sys.argv[1:]] or list(BENCHMARKS)
    with tempfile.TemporaryDirectory() as folder:
        results = named("--json") or Path(folder) / "results.json"
        results.write_text("[]")
        absent = {}
        for name in chosen:
            if why := run(name, "--quick" in sys.argv, results):
                absent[name] = why
        return summary(json.loads(results.read_text()), absent)


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
