"""Runs a plan and dies at the n-th ledger write, saying how far each session in flight had come.

    python tests/killed.py LEDGER SEED NTH before|after [live]

Each death is a SIGKILL: nothing is closed, flushed or said goodbye to. Run as a script by tests/test_runner.py, and many times by

    python tests/killed.py many N [live]

12 plans take about three minutes (over GPT-Live, whose seconds are paid, about twelve). If some stage was hit less than four times by then it goes on, for up to four times as many plans,
and ends with an error if that was not enough.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import weakref
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kit import Ledger, Plan, Settings, run
from kit.endpoint import PRICES
from kit.trials.attempt import Attempt
from kit.trials.writer import Writer
from kit.wire.live import USD_PER_SECOND

AT_ONCE = 4
STAGES = ("before connect", "seeded", "mid-reply", "replied", "committed")
ALIVE = weakref.WeakSet()


def plan(seed, live=False):
    if live:  # a price makes its seconds cost what a service's would
        priced = PRICES["gpt-realtime-2.1"]
        stand_in = {"pace": 8, "live": {"silence": "p=0.4"}}
        return Plan(
            ["1a", "1b"],
            repeats=4,
            settings=Settings(protocol="live", price=priced, stand_in=stand_in),
            seed=seed,
            controls=0,
        )
    settings = Settings(stand_in={"drift": "p=0.4", "pace": 120})
    return Plan(["1a", "1b", "2b", "1b+4"], repeats=6, settings=settings, seed=seed)


def stages(book):
    """How far each attempt in flight has come."""
    told = []
    for each in ALIVE:
        session = each.session
        if session is None:
            told.append("before connect")
        elif any(r.status == "in_progress" for r in session.responses):
            told.append("mid-reply")
        elif each.outcome.turns or getattr(each, "answers", None):
            told.append("replied")
        elif "seed_ms" in each.outcome.session:
            told.append("seeded")
        else:
            told.append("seeding")
    return told


def arm_the_trap(nth, when):
    written = iter(range(1, 1 << 30))
    write, init = Writer._write, Attempt.__init__

    def trapped(book, work):
        all_of_it = [*book._ends, *work]
        mine = next(written) == nth
        if mine and when == "before":
            die(book, [])
        last = write(book, work)
        if mine:
            ended = any("SET" in sql and "status" in sql and "started" not in sql for sql, _ in all_of_it)
            pending = any(sql.startswith("INSERT INTO attempts") for sql, _ in all_of_it)
            die(book, ["committed"] * ended + ["before connect"] * pending)
        return last

    def die(book, more):
        print(json.dumps(stages(book) + more), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    def remembered(self, *args):
        init(self, *args)
        ALIVE.add(self)

    Writer._write = trapped
    Attempt.__init__ = remembered


async def main(path, seed, nth, when, live=""):
    arm_the_trap(int(nth), when)
    await run(plan(int(seed), bool(live)), path, at_once=AT_ONCE, progress=None, budget_usd=1_000 if live else None)
    print(json.dumps([]), flush=True)


def killed(path, seed, nth, when, live=False):
    """One run in a process of its own; gives what was in flight when it died (nothing if it came to its end)."""
    command = [sys.executable, __file__, str(path), str(seed), str(nth), when, *(["live"] if live else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return json.loads(done.stdout.splitlines()[-1])


async def quietly(plan, path, **options):
    """Run without a bar, many at once."""
    return await run(plan, path, **{"progress": None, "at_once": 16} | options)


def heard(ledger):
    """What was heard, trial by trial and turn by turn, of the trials that were completed."""
    rows = ledger.rows(
        "SELECT t.trial_id, u.turn, u.final_modality FROM trial_states t JOIN turns u USING (attempt_id) "
        "WHERE t.state = 'completed' ORDER BY 1, 2"
    )
    return [tuple(row) for row in rows]


def assert_every_trial_is_decided(ledger):
    """Completed, or cut off after a reply: such a trial is not played again."""
    n = ledger.counts()
    cut_off = ledger.rows("SELECT 1 FROM attempts WHERE counts = 1 AND kind = 'interrupted'")
    assert (n["missing"], n["failed"]) == (0, len(cut_off))


def assert_seconds_are_paid_once(ledger):
    """Of GPT-Live: an attempt costs the seconds that the server confirmed; where it could not, its reservation."""
    rows = ledger.rows(
        "SELECT status, seconds, cost_usd, cost_estimated, reserved_usd FROM attempts WHERE session_id IS NOT NULL"
    )
    assert rows
    for row in rows:
        paid = row["reserved_usd"] if row["seconds"] is None else row["seconds"] * USD_PER_SECOND
        assert abs(row["cost_usd"] - paid) < 1e-9 and row["cost_estimated"] == (row["seconds"] is None)
        assert row["status"] != "completed" or row["seconds"]


def deaths(folder, seed, n, live=False):
    """A plan that is killed `n` times and then left to end; gives its ledger and how often each stage was hit."""
    draw = random.Random(seed)
    path = Path(folder) / f"{seed}.sqlite"
    hit = Counter()
    for _ in range(n):
        hit.update(killed(path, seed, draw.randint(1, 30), draw.choice(["before", "after"]), live))
    killed(path, seed, 1 << 29, "before", live)
    return Ledger(path), hit


def many(n_plans, live=False):
    """The recorded run: every stage hit, every trial completed once, and heard what an undisturbed run heard."""
    hit = Counter()
    for seed in range(4 * n_plans):
        if seed >= n_plans and all(hit[stage] >= 4 for stage in STAGES):
            break
        with tempfile.TemporaryDirectory() as folder:
            ledger, more = deaths(folder, seed, 6, live)
            hit += more
            if live:
                assert_seconds_are_paid_once(ledger)
            budget = {"budget_usd": 1_000, "at_once": AT_ONCE} if live else {}
            calm = asyncio.run(quietly(plan(seed, live), Path(folder) / "calm.sqlite", **budget))
            assert set(heard(ledger)) <= set(heard(calm))
            assert_every_trial_is_decided(ledger)
            twice = ledger.rows("SELECT trial_id FROM attempts WHERE counts = 1 GROUP BY 1 HAVING COUNT(*) > 1")
            assert not twice
            paid = ledger.rows(
                "SELECT COUNT(*) FROM attempts a JOIN attempts b USING (trial_id) "
                "WHERE a.status = 'completed' AND b.attempt_id > a.attempt_id"
            )
            assert paid[0][0] == 0
        print(f"{6 * (seed + 1)} deaths, in flight then: {dict(hit)}", flush=True)
    missed = [stage for stage in STAGES if hit[stage] < 4]
    assert not missed, f"hit less than four times: {', '.join(missed)}"


if __name__ == "__main__":
    if sys.argv[1] == "many":
        many(int(sys.argv[2]), sys.argv[3:] == ["live"])
    else:
        asyncio.run(main(*sys.argv[1:]))
