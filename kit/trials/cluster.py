"""The same plan on a Dask cluster: workers play batches of trials on loops of their own, one ledger here takes everything down.

::

    from distributed import Client
    ledger = await run(plan, "runs/study.sqlite", at_once=16, cluster=Client("tcp://scheduler:8786"))

Dask would run a task again elsewhere when its worker dies, and that a session was paid twice would be seen nowhere. So a batch is
sent to one worker by name and never moves; when that worker is gone, its trials that have not come back are failures of kind
``worker_lost``, tried again by the plan's own rule. Every trial of a sent batch is in flight for the budget. No key is in a
task: a worker reads its own environment when it connects.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import ConnectError, KitError, MissingExtra
from .attempt import Outcome, Prepared
from .limits import Heartbeat, RateLimiter, Reservation
from .plan import Trial
from .runner import ATTEMPTS, Runner, StandIns

_ROUNDS = 4  # a batch is this many times what runs at once on a worker: the pause between batches is then small
_LOOK_S = 0.25  # how often it is looked whether the workers are still there, and on a worker whether to stop
_NO_WORKER_S = 60.0

# A turn of which nothing will ever be known: it may have been asked for, or not.
CENSORED = {"turn": 0, "n_responses": 0, "first_outcome": "censored", "outcome": "censored", "n_items_sent": 0}

Try = tuple[int, Trial, Prepared, int]
"""Attempt id, trial, what its arm made of its case, and which attempt it is for the other end."""


@dataclass(frozen=True)
class Batch:
    """What is sent to a worker. Everything that it plays was written down as pending before."""

    topic: str
    seed: int
    timeout_s: float
    deadline_s: float
    keep_events: bool
    keep_sound: bool
    at_once: int
    tries: tuple[Try, ...]


async def run_on(runner: Runner, client: Any, at_once: int, budget_usd: float | None) -> None:
    """Run what is left of a runner's plan on the workers of `client`.

    Raises:
        MissingExtra: If `distributed` is not installed here.
        KitError: If the cluster has no worker for a minute, or a batch could not be played at all (a key that a worker does
            not have, say): then in the worker's own words.
    """
    try:
        import distributed
    except ImportError as exc:
        raise MissingExtra('a cluster needs Dask: pip install "realtime-history-kit[cluster]"') from exc
    await runner.prepare()
    cluster = _Cluster(runner, client, distributed, at_once)
    runner.begin(at_once, budget_usd)
    try:
        await cluster.run()
    except BaseException as exc:
        runner.end_by(exc)
        raise
    runner.end()


class _Cluster:
    def __init__(self, runner: Runner, client: Any, distributed: Any, at_once: int) -> None:
        self._runner, self._client, self._at_once = runner, client, at_once
        # One topic of Dask's event log for each run: two runs on one cluster must not read each other's outcomes.
        self._topic = f"kit-trials-{secrets.token_hex(8)}"
        # Seen by every worker: set, they close their sessions and start nothing more.
        self._stop = distributed.Event(f"{self._topic}-stop", client=client)
        # Trials that are with no worker, in the planned order; one that is lost comes back to an end of it.
        self._left: deque[Trial] = deque(runner.left)
        # By worker, the batch on its way and its attempts that have not come back yet, by id. Never more than one each, so that a
        # worker that vanishes takes little with it.
        self._open_batches: dict[str, tuple[Any, dict[int, Trial]]] = {}
        # Outcomes that came as messages, ahead of the batch that they belong to: a ledger that waited for whole batches would lose
        # minutes of paid work with its process.
        self._inbox: deque[tuple[int, dict[str, Any]]] = deque()
        # Something has come, or a batch is over.
        self._news = asyncio.Event()
        # Dask takes two tasks of the same key for the same task, and would play the second one never.
        self._numbers = itertools.count(1)
        # Messages come on the client's own thread; everything else happens on this loop.
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        client = self._client
        await self._ask(client.subscribe_topic, self._topic, self._on_message)
        idle_s = 0.0
        try:
            while True:
                workers = set(await self._ask(client.nthreads))
                await self._take(workers)
                if not self._open_batches and (not self._left or self._runner.stopped is not None):
                    break
                await self._send(workers)
                idle_s = 0.0 if self._open_batches or workers else idle_s + _LOOK_S
                if idle_s > _NO_WORKER_S:
                    raise KitError(f"the cluster has no worker since {_NO_WORKER_S:.0f} s; start one and run it again")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await self._news.wait()
                self._news.clear()
        except BaseException:
            await self._abandon()
            raise
        finally:
            await self._ask(client.unsubscribe_topic, self._topic)

    # ------------------------------------------------------------------------------------------------- to the workers

    async def _send(self, workers: set[str]) -> None:
        """One batch to each worker that has none, as far as plan and budget go."""
        runner, plan = self._runner, self._runner.plan
        for worker in sorted(workers - self._open_batches.keys()):
            # Waits until sessions may begin; a worker does not know what the service told another one.
            await runner.rate_limiter.wait()
            reserved: list[tuple[Trial, Reservation]] = []
            while self._left and len(reserved) < self._at_once * _ROUNDS:
                has_room = runner.budget.room_for(runner.worst_usd(self._left[0]) or 0.0)
                if not has_room and (reserved or self._open_batches):
                    break  # what is in flight may give some of its reservation back
                reservation = await runner.reserve(self._left[0])
                if reservation is None:
                    break
                reserved.append((self._left.popleft(), reservation))
            if not reserved:
                return
            trials = dict(
                zip(runner.begin_attempts(reserved, worker=worker), (trial for trial, _ in reserved), strict=True)
            )
            tries = tuple(
                (n, trial, runner.prepared(trial), runner.attempt_there(trial)) for n, trial in trials.items()
            )
            limits, keep = (plan.timeout_s, plan.deadline_s), (runner.keep_events, runner.keep_sound)
            batch = Batch(self._topic, plan.seed, *limits, *keep, self._at_once, tries)
            future = self._client.submit(
                play_batch,
                batch,
                key=f"{self._topic}-{next(self._numbers)}",
                workers=[worker],
                allow_other_workers=False,
                # Dask runs it once, where it was sent: what a worker had begun to pay for must not run again elsewhere unseen.
                pure=False,
                retries=0,
            )
            future.add_done_callback(lambda _: self._wake())
            self._open_batches[worker] = future, trials

    async def _ask(self, method: Callable[..., Any], *args: Any) -> Any:
        """Call the client, whichever kind it is, without blocking this loop."""
        if self._client.asynchronous:
            result = method(*args)
            return await result if asyncio.iscoroutine(result) or asyncio.isfuture(result) else result
        return await asyncio.to_thread(method, *args)

    # ----------------------------------------------------------------------------------------------- from the workers

    def _on_message(self, event: Any) -> None:
        """A worker logged an outcome. Called on the client's own thread."""
        self._loop.call_soon_threadsafe(self._inbox.append, event[1])
        self._wake()

    def _wake(self) -> None:
        self._loop.call_soon_threadsafe(self._news.set)

    async def _take(self, workers: set[str]) -> None:
        """Write down what has come, then look which batches are over or their workers gone: what those have not brought is lost."""
        self._empty_inbox()
        for worker, (future, trials) in list(self._open_batches.items()):
            if worker not in workers:
                await self._ask(future.cancel)
            elif future.status == "finished":
                self._inbox.extend(await self._ask(future.result))
                self._empty_inbox()
            elif future.status == "error":
                problem = await self._ask(future.exception)
                if not isinstance(problem, KitError):
                    problem = KitError(f"a worker could not play its trials: {problem}")
                raise problem
            elif not future.done():
                continue
            del self._open_batches[worker]
            error = f"the worker {worker} was gone before this came back; what it used is not known"
            failure = {"kind": "worker_lost", "error_type": "WorkerLost", "error": error, "expected": 0}
            for attempt_id, trial in trials.items():
                outcome = Outcome("failed", failure=failure, turns=[CENSORED], usd=None)
                if self._runner.decide(trial, attempt_id, outcome):
                    self._left.append(trial)

    def _empty_inbox(self) -> None:
        """Outcomes come by a message and once more with their batch, and what comes first counts."""
        while self._inbox:
            attempt_id, fields = self._inbox.popleft()
            for _, trials in self._open_batches.values():
                trial = trials.pop(attempt_id, None)
                if trial is not None and self._runner.decide(trial, attempt_id, Outcome(**fields)):
                    self._left.appendleft(trial)

    async def _abandon(self) -> None:
        """Stopped from outside, or by an error: have the workers close their sessions, and write down what was in flight."""
        self._empty_inbox()
        for _, trials in self._open_batches.values():
            for attempt_id, trial in trials.items():
                self._runner.interrupted(trial, attempt_id, Outcome("interrupted", turns=[CENSORED], usd=None))
        if self._open_batches:
            await self._ask(self._stop.set)
            await asyncio.sleep(2 * _LOOK_S)
        for future, _ in self._open_batches.values():
            await self._ask(future.cancel)


# ---------------------------------------------------------------------------------------------------- on a worker's side


def play_batch(batch: Batch) -> list[tuple[int, dict[str, Any]]]:
    """Play a batch on a loop of its own, in a worker's thread; every outcome is also told as soon as it is there."""
    import distributed

    dask: Any = distributed
    worker = dask.get_worker()
    stop = dask.Event(f"{batch.topic}-stop", client=dask.get_client())
    return asyncio.run(_play_batch(batch, lambda *outcome: worker.log_event(batch.topic, outcome), stop.is_set))


async def _play_batch(
    batch: Batch, tell: Callable[[int, dict[str, Any]], None], stopped: Callable[[], bool]
) -> list[tuple[int, dict[str, Any]]]:
    settings = {trial.settings_n: trial.settings for _, trial, _, _ in batch.tries}
    done: list[tuple[int, dict[str, Any]]] = []
    # Of this batch alone; what other workers were told holds back the next batch, in `_send`.
    limiter = RateLimiter()

    async def work(tries: Iterator[Try], stand_ins: StandIns, heartbeat: Heartbeat) -> None:
        for attempt_id, trial, prepared, n_attempt in tries:
            outcome, was_stopped = Outcome(), True
            await limiter.wait()
            connection = stand_ins.connect(trial, n_attempt, batch.timeout_s)
            try:
                kind = ATTEMPTS[trial.settings.where.protocol]
                attempt = kind(trial, prepared, outcome, batch.timeout_s, batch.deadline_s, heartbeat.look)
                await attempt.play(connection, keep_events=batch.keep_events)
                was_stopped = False
            finally:
                if outcome.kind == "rate_limit":
                    limiter.back_off(outcome.wait_s)
                # That the machine paused is an outcome, too: the trial is played again, and no worker was lost.
                if outcome.status != "interrupted" or not was_stopped:
                    fields = {f.name: getattr(outcome, f.name) for f in dataclasses.fields(outcome)}
                    done.append((attempt_id, fields))
                    tell(attempt_id, fields)

    async def all_of_it() -> None:
        async with (
            Heartbeat() as heartbeat,
            StandIns(settings.values(), batch.seed, keep_sound=batch.keep_sound) as stand_ins,
            asyncio.TaskGroup() as group,
        ):
            tries = iter(batch.tries)
            for _ in range(min(batch.at_once, len(batch.tries))):
                group.create_task(work(tries, stand_ins, heartbeat))

    playing = asyncio.create_task(all_of_it())
    while not playing.done():
        await asyncio.wait([playing], timeout=_LOOK_S)
        if not playing.done() and await asyncio.to_thread(stopped):
            playing.cancel()
    problem = None if playing.cancelled() else playing.exception()
    if isinstance(problem, BaseExceptionGroup):
        raise problem.exceptions[0]
    if problem is not None:
        raise ConnectError(str(problem)) from problem
    return done
