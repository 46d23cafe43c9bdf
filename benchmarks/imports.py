"""What does importing cost? ``python benchmarks/imports.py [--rounds N] [--json FILE]``

Each import runs in a fresh interpreter with byte code cached, as an installed package has it; the interpreter's own start is
taken off. CPU time, so that other work on the machine counts little.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile

from running import absolute, interleaved, option, report, status

ROUNDS = option("--rounds", 15)
BARE = "pass"
STATEMENTS = {
    "import websockets.asyncio.client": "import websockets.asyncio.client",
    "import kit": "import kit",
    "kit.History": "import kit; kit.History",
    "kit.connect": "import kit; kit.connect",
    "kit.StandIn": "import kit; kit.StandIn",
    "import pandas": "import pandas",
}

LOADED = """
import sys
before = set(sys.modules)
import kit
new = {name.partition(".")[0] for name in set(sys.modules) - before} - {"kit"}
print(sum(name == "asyncio" or name not in sys.stdlib_module_names for name in new))
"""


def main() -> bool:
    with tempfile.TemporaryDirectory() as cache:
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {"PYTHONPYCACHEPREFIX": cache}

        def timed(statement: str) -> float:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-c", statement], check=True, env=env)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000

        costs = interleaved({name: lambda s=s: timed(s) for name, s in {"bare": BARE, **STATEMENTS}.items()}, ROUNDS)
        bare = costs.pop("bare")
        net = {
            name: [max(0.01, cost - start) for cost, start in zip(values, bare, strict=True)]
            for name, values in costs.items()
        }
        told = subprocess.run(
            [sys.executable, "-c", LOADED], check=True, env=env, capture_output=True, text=True
        ).stdout
    met = report(
        "Imports, less the interpreter's own start", net, "import websockets.asyncio.client", {"kit.connect": 2.2}
    )
    met &= absolute("import kit, in CPU time", {"import kit": net["import kit"]}, "ms", {"import kit": 10})
    loaded = {"asyncio or third-party modules": [float(told)]}
    return absolute("What import kit brings with it", loaded, "", dict.fromkeys(loaded, 0)) and met


if __name__ == "__main__":
    raise SystemExit(status(main()))
