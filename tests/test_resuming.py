"""Going on after any end: done, cancelled, interrupted, killed."""

import asyncio
from collections import Counter
from pathlib import Path

import killed
import pytest
from killed import assert_every_trial_is_decided, heard, quietly

from kit import Ledger, Plan, Settings

pytest_plugins = ["trial_fixtures"]
pytestmark = pytest.mark.usefixtures("unwatched")

FOUR = ["1a", "1b", "2a", "2b"]


# -------------------------------------------------------------------------------------------------- ends and goings-on


async def test_what_is_done_is_not_done_again(path):
    plan = Plan("1b", repeats=5)
    first = await quietly(plan, path)
    again = await quietly(plan, path)

    assert len(again.rows("SELECT 1 FROM attempts")) == 5
    assert [row["ended"] for row in again.rows("SELECT ended FROM runs")] == ["complete", "complete"]
    assert heard(first) == heard(again)


async def test_cancelled_in_the_middle_and_run_again_it_is_as_if_nothing_had_been(path, tmp_path):
    plan = Plan(FOUR, repeats=10, settings=Settings(stand_in={"drift": "p=0.5"}))
    task = None

    def stop_half_way(progress):
        if progress.decided >= 20:
            task.cancel()

    task = asyncio.create_task(quietly(plan, path, progress=stop_half_way, at_once=4))
    with pytest.raises(asyncio.CancelledError):
        await task
    states = Counter(row[0] for row in Ledger(path).rows("SELECT status FROM attempts"))
    assert Ledger(path).last_run["ended"] == "interrupted"
    assert states["pending"] == 0
    assert states["interrupted"] <= 4
    ledger, calm = await quietly(plan, path), await quietly(plan, tmp_path / "calm.sqlite")

    assert set(heard(ledger)) <= set(heard(calm))
    assert_every_trial_is_decided(ledger)


async def test_what_has_ended_is_in_the_ledger_while_another_attempt_goes_on(path):
    plan = Plan("1b", repeats=1, settings=[Settings(), Settings(stand_in={"pace": 0.1})])
    has_ended = asyncio.Event()
    running = asyncio.create_task(quietly(plan, path, progress=lambda p: p.decided and has_ended.set()))

    await has_ended.wait()
    counts = Ledger(path).counts()
    running.cancel()
    await asyncio.wait([running])

    assert (counts["completed"], counts["missing"]) == (1, 1)


async def test_an_interrupted_attempt_does_not_use_the_limit(path):
    plan = Plan("1a", repeats=1, max_attempts=1, settings=Settings(stand_in={"pace": 1.0}))
    running = []

    def stop(progress):
        if progress.in_flight:
            running[-1].cancel()

    for _ in range(3):
        running.append(asyncio.create_task(quietly(plan, path, progress=stop)))
        with pytest.raises(asyncio.CancelledError):
            await running[-1]
    rows = Ledger(path).rows("SELECT attempt, status, counts FROM attempts")

    assert [tuple(row) for row in rows] == [(n, "interrupted", 0) for n in (1, 2, 3)]


def test_killed_at_any_write_and_run_again_it_is_as_if_nothing_had_been(tmp_path):
    ledger, hit = killed.deaths(tmp_path, seed=4, n=4)
    calm = asyncio.run(quietly(killed.plan(4), tmp_path / "calm.sqlite"))

    assert set(heard(ledger)) <= set(heard(calm))
    assert_every_trial_is_decided(ledger)
    assert sum(hit.values()) > 0
    assert {row[0] for row in ledger.rows("SELECT status FROM attempts")} <= {"completed", "interrupted", "failed"}
    assert len(ledger.rows("SELECT 1 FROM runs WHERE ended IS NULL")) <= 4


def test_a_real_kernels_interrupt_and_then_the_cell_again(tmp_path):
    from jupyter_client.manager import start_new_kernel

    path = tmp_path / "kernel.sqlite"
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(Path(__file__).parents[1]))
    try:
        make = (
            "from kit import Plan, Settings, run\n"
            "plan = Plan(['1a', '1b'], repeats=30, settings=Settings(stand_in={'drift': 'p=0.5', 'pace': 60.0}))\n"
            "def tell(p):\n    if p.decided == 5: print('FIVE', flush=True)"
        )
        client.execute_interactive(make, timeout=60, output_hook=lambda _: None)
        cell = f"ledger = await run(plan, {str(path)!r}, at_once=4, progress=tell)"

        def interrupt(message):
            if "FIVE" in message["content"].get("text", ""):
                manager.interrupt_kernel()

        stopped = client.execute_interactive(cell, timeout=60, output_hook=interrupt)
        assert stopped["content"]["status"] == "error"
        assert stopped["content"]["ename"] in ("CancelledError", "KeyboardInterrupt")
        states = Counter(row[0] for row in Ledger(path).rows("SELECT status FROM attempts"))
        assert 5 <= states["completed"] < 60
        assert states["pending"] == 0
        assert states["interrupted"] + states["failed"] > 0
        again = client.execute_interactive(cell, timeout=60, output_hook=lambda _: None)
        assert again["content"]["status"] == "ok"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    plan = Plan(["1a", "1b"], repeats=30, settings=Settings(stand_in={"drift": "p=0.5", "pace": 60.0}))
    assert Ledger(path).plan_hash == plan.hash
    calm = asyncio.run(quietly(plan, tmp_path / "calm.sqlite"))

    assert set(heard(Ledger(path))) <= set(heard(calm))
    assert_every_trial_is_decided(Ledger(path))
