"""The same plan on a real Dask cluster: what is heard is the same, also when a worker dies."""

import asyncio
import os
import pickle
import signal
import threading
import time
from collections import Counter

import pytest
from killed import assert_every_trial_is_decided, heard, quietly

from kit import Ledger, Plan, Settings, run
from kit.endpoint import PRICES
from kit.errors import EndpointError
from kit.trials.attempt import prepare
from kit.trials.cluster import Batch, _play_batch

distributed = pytest.importorskip("distributed")

pytest_plugins = ["trial_fixtures"]
pytestmark = [
    pytest.mark.usefixtures("unwatched"),
    pytest.mark.filterwarnings("default"),  # Dask's own, on the way up and down
]


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs="CRITICAL"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def plan_of(seed, repeats=25, **options):
    settings = Settings(stand_in={"drift": "p=0.4"})
    return Plan(["1b", "2b", "1b+4"], repeats=repeats, seed=seed, settings=settings, **options)


async def test_a_worker_is_killed_in_the_middle_and_it_is_as_if_nothing_had_been(client, path, tmp_path):
    # A reply takes a second, a batch of 16 four of them: whoever is killed at the first answer holds most of a batch.
    faults = ["failed@p=0.2", "slow-start=1@every"]
    plan = Plan(["1b", "2b"], repeats=16, settings=Settings(stand_in={"drift": "p=0.4", "faults": faults}))
    pids = await asyncio.to_thread(client.run, os.getpid)
    workers = client.cluster.scheduler.workers
    killed = threading.Event()

    def kill_at_once(progress):
        busy = [address for address, worker in workers.items() if worker.processing and address in pids]
        if progress.decided and busy and not killed.is_set():
            killed.set()
            os.kill(pids[busy[0]], signal.SIGKILL)

    ledger = await run(plan, path, at_once=4, cluster=client, progress=kill_at_once)
    calm = await quietly(plan, tmp_path / "calm.sqlite")

    assert killed.is_set()
    assert heard(ledger) == heard(calm)
    assert ledger.counts() == calm.counts()
    told = Counter(tuple(row) for row in ledger.rows("SELECT status, kind, counts FROM attempts"))
    assert 1 <= told.pop(("failed", "worker_lost", 0)) <= 16
    assert told == Counter(tuple(row) for row in calm.rows("SELECT status, kind, counts FROM attempts"))
    assert set(told) == {("completed", None, 1), ("failed", "server", 1)}
    assert not ledger.rows(
        "SELECT 1 FROM attempts a JOIN attempts b USING (trial_id) WHERE a.counts = 1 AND b.attempt_id > a.attempt_id"
    )


async def test_workers_share_the_trials(client, path):
    ledger = await run(plan_of(2, 20), path, at_once=2, cluster=client, progress=None)

    assert ledger.counts()["completed"] == 60
    assert len(ledger.rows("SELECT DISTINCT worker FROM attempts")) == 2


async def test_the_budget_holds_for_everything_that_was_sent(client, path):
    settings = Settings(price=PRICES["gpt-realtime-2.1"], max_output_tokens=400)
    plan = Plan(["1a", "1b"], repeats=100, settings=settings, controls=0)
    most = []
    ledger = await run(
        plan,
        path,
        at_once=4,
        cluster=client,
        budget_usd=0.5,
        progress=lambda p: most.append(p.spent_usd + p.reserved_usd),
    )

    assert 0.3 < max(most) <= 0.5
    assert ledger.spent()["usd"] <= 0.5
    assert ledger.last_run["ended"] == "budget"
    assert ledger.counts()["missing"] > 50


async def test_cancelled_in_the_middle_the_workers_stop_and_it_goes_on_later(client, path, tmp_path):
    settings = Settings(stand_in={"drift": "p=0.4", "pace": 30})
    plan = Plan(["1b", "2b"], repeats=20, settings=settings)
    task = None

    def stop(progress):
        if progress.decided >= 4:
            task.cancel()

    task = asyncio.create_task(run(plan, path, at_once=2, cluster=client, progress=stop))
    with pytest.raises(asyncio.CancelledError):
        await task
    states = Counter(row[0] for row in Ledger(path).rows("SELECT status FROM attempts"))
    assert states["pending"] == 0
    assert 4 <= states["completed"] < 40
    ledger = await run(plan, path, at_once=4, cluster=client, progress=None)

    assert set(heard(ledger)) <= set(heard(await quietly(plan, tmp_path / "calm.sqlite")))
    assert_every_trial_is_decided(ledger)


async def test_a_worker_that_paused_says_so_and_is_not_lost():
    settings = Settings(stand_in={"faults": ["slow-start=9"]})
    (trial, *_) = Plan("1a", repeats=1, controls=0, timeout_s=1, settings=settings).trials
    batch = Batch("t", 0, 1, 0.5, False, False, 1, ((7, trial, prepare(trial), 1),))
    asyncio.get_running_loop().call_later(0.7, time.sleep, 2.5)  # as if stopped while the reply is awaited

    ((attempt_id, outcome),) = await _play_batch(batch, lambda *_: None, lambda: False)

    assert (attempt_id, outcome["status"], outcome["failure"]["kind"]) == (7, "interrupted", "machine")


def test_no_key_is_in_what_is_sent(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    (trial, *_) = Plan("1a", repeats=1, settings=Settings("openai")).trials
    batch = Batch("t", 0, 60, 5, False, False, 1, ((1, trial, prepare(trial), 1),))

    assert b"sk-secret" not in pickle.dumps(batch)


async def test_a_key_that_no_worker_has_is_said_in_its_words(client, path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-only-here")
    plan = Plan("1a", repeats=1, settings=Settings("openai"), controls=0)

    with pytest.raises(EndpointError, match="OPENAI_API_KEY is not set"):
        await run(plan, path, at_once=1, cluster=client, budget_usd=5, progress=None)
    assert Ledger(path).last_run["ended"] == "error"
