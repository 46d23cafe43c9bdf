"""What does a trial cost when a plan is run? ``python benchmarks/runner.py [--rounds N] [--at-once N] [--trials N] [--json FILE]``

The trial of ``trial.py``: as a hand-written loop, as a kit session, by `run` with every row in its ledger, and with every event in
it too; then how long one append to a ledger takes, and how many trials a second the kit's own stand-in plays.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from contextlib import closing
from functools import partial
from pathlib import Path

from prepared import INSTRUCTIONS, N_BYTES
from running import interleaved, machine, option, report, status
from trial import HISTORY, RAW, cost, kit_session, prepared_server, raw, settle

from kit import Case, Ledger, Plan, Settings, run
from kit.trials.attempt import Outcome
from kit.trials.writer import Writer


def cost_of_runs(at_once: int, trials: int, rounds: int) -> bool:
    """Client CPU per trial, beside the raw loop and the session alone."""
    with prepared_server() as url:
        session = partial(kit_session, keep_audio=False)
        measured = {
            RAW: lambda: cost(raw, url, at_once, trials),
            "run, with its ledger": lambda: run_timed(url, at_once, trials)[0],
        }
        others = {
            RAW: measured[RAW],
            "kit session, audio counted": lambda: cost(session, url, at_once, trials),
            "run, keeping every event too": lambda: run_timed(url, at_once, trials, keep_events=True)[0],
        }
        costs, costs_of_others = interleaved(measured, rounds), interleaved(others, max(3, rounds // 4))
    met = report(f"Client CPU per trial of a plan, {at_once} at once", costs, RAW, {"run, with its ledger": 1.15})
    report(f"Beside it, {at_once} at once", costs_of_others, RAW, {})
    return met


def run_timed(url: str, at_once: int, trials: int, *, keep_events: bool = False) -> tuple[float, float]:
    """Client CPU of one trial in ms, and trials a second, when a plan is run into a new ledger."""
    settings = Settings(url, instructions=INSTRUCTIONS, max_output_tokens=None)
    plan = Plan(Case("bench", HISTORY, "audio"), repeats=trials, settings=settings)
    settle()
    with tempfile.TemporaryDirectory() as folder:
        began, wall = time.process_time(), time.perf_counter()
        path = Path(folder) / "bench.sqlite"

        async def ran() -> None:  # asyncio asks for the repr of what it runs, and a ledger's opens the file
            await run(plan, path, at_once=at_once, progress=None, keep_events=keep_events)

        asyncio.run(ran())
        spent, took = time.process_time() - began, time.perf_counter() - wall
        ledger = Ledger(path)
        assert ledger.counts()["completed"] == trials
        with closing(ledger.connect()) as db:
            heard = [tuple(row) for row in db.execute("SELECT n_audio_bytes, count(*) FROM responses GROUP BY 1")]
        assert heard == [(N_BYTES, trials)], heard
    return spent * 1000 / trials, trials / took


def appends(n: int = 500) -> None:
    """Milliseconds per transaction of a ledger."""
    plan = Plan("1b", repeats=n)
    with tempfile.TemporaryDirectory() as folder, Writer(Path(folder) / "bench.sqlite", plan) as writer:
        run_id = writer.begin_run(at_once=1, budget_usd=None)
        took: dict[str, list[float]] = {"pending": [], "seeded": [], "ended": []}
        turn = {
            "turn": 0,
            "n_responses": 1,
            "first_modality": "text",
            "final_modality": "text",
            "final_status": "completed",
        }
        turn |= {"heard_ms": None, "n_items_sent": 0}
        response = dict.fromkeys(
            ("response_id", "modality", "status", "text"), "text of a usual length, a joke perhaps"
        )
        row = {"turn": 0, "response": 0, "n_audio_bytes": 0, "n_calls": 0} | response
        for name in ("simulated", "reason", "asked", "started_by", "started_at_ms", "first_audio_ms", "first_text_ms"):
            row.setdefault(name, None)
        for name in ("first_transcript_ms", "done_ms", "transcript", "error_code", "error", "total_tokens", "cost_usd"):
            row.setdefault(name, None)
        for name in ("input_text", "input_audio", "cached_text", "cached_audio", "output_text", "output_audio"):
            row[f"{name}_tokens"] = 10
        row["cost_estimated"] = 0
        for trial in plan.trials:
            outcome = Outcome(turns=[turn], responses=[row])
            t0 = time.perf_counter()
            (attempt_id,) = writer.pending(run_id, [(trial.trial_id, 1, 0.0)])
            t1 = time.perf_counter()
            writer.seeded(attempt_id, {"session_id": "sess_1", "model": "gpt-realtime"})
            t2 = time.perf_counter()
            writer.ended(attempt_id, trial.trial_id, outcome, counts=True, cost_usd=0.0, cost_estimated=False)
            t3 = time.perf_counter()
            for name, ms in zip(took, (t1 - t0, t2 - t1, t3 - t2), strict=True):
                took[name].append(ms * 1000)
    print(f"\nLedger, ms per transaction (median of {n})\n{machine()}\n")
    for name, ms in took.items():
        print(f"{name:10} {statistics.median(ms):.3f}")


def rate(at_once: int = 16, repeats: int = 100) -> None:
    """Trials a second on the stand-in: the four cases, as they are."""
    print(f"\nTrials a second on the stand-in, {at_once} at once, the four cases\n{machine()}\n")
    best = 0.0
    for n in range(3):
        with tempfile.TemporaryDirectory() as folder:
            plan = Plan(["1a", "1b", "2a", "2b"], repeats=repeats, seed=n)
            began = time.perf_counter()
            asyncio.run(run(plan, Path(folder) / "rate.sqlite", at_once=at_once, progress=None))
            best = max(best, plan.n_trials / (time.perf_counter() - began))
    print(f"{best:.0f}")


if __name__ == "__main__":
    met = cost_of_runs(option("--at-once", 16), option("--trials", 256), option("--rounds", 120))
    appends()
    rate(option("--at-once", 16), option("--repeats", 100))
    raise SystemExit(status(met))
