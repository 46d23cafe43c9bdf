"""Run a plan: many sessions at once on one loop, every attempt in the ledger before it connects.

::

    ledger = await run(plan, "runs/joke.sqlite", at_once=8)      # interrupted? run it again: it goes on
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .. import show
from ..connecting import in_process_url
from ..endpoint import Endpoint
from ..errors import ConnectError, InputError, KitError, clipped, first_error, show_interrupts_in_one_sentence
from ..standin import StandIn
from .attempt import AGAIN, THERE, Outcome, Prepared, Row, play, prepare
from .ledger import Ledger
from .limits import Budget, Gate, Watch, check_budget
from .plan import Plan, Settings, Trial, tokens_of, worst_usd
from .writer import Writer

if TYPE_CHECKING:
    from distributed import Client

# How a run is going, for whoever watches: a bar, a widget, a line in a terminal. The runner only calls back.


@dataclass(slots=True)
class Progress:
    """A run as it goes. The same object is handed to the callback each time; copy what you keep.

    Attributes:
        planned: Trials of the plan, controls included.
        completed, failed: Decided so far, by earlier runs too.
        in_flight: Attempts that are running now.
        attempts: Attempts begun by this run.
        tally: What the user finally heard of the first turn, by (case, arm, settings index), controls left out.
        failures: Kinds of failure, of all attempts of this run.
        spent_usd, reserved_usd: ``spent`` of the whole ledger.
        note: Why nothing begins at the moment, or how it ended; else empty.
        over: True in the last call.
    """

    planned: int
    completed: int = 0
    failed: int = 0
    in_flight: int = 0
    attempts: int = 0
    tally: dict[tuple[str, str, int], Counter[str]] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    spent_usd: float = 0.0
    reserved_usd: float = 0.0
    simulated: bool | None = None
    note: str = ""
    over: bool = False

    @property
    def decided(self) -> int:
        return self.completed + self.failed

    @property
    def heard(self) -> Counter[str]:
        """The tally over all cases and arms."""
        return sum(self.tally.values(), Counter())

    def __str__(self) -> str:
        words = [f"{show.SIGNS.get(word, '')} {word} {n}".strip() for word, n in sorted(self.heard.items())]
        if self.failed:
            words.append(f"{show.SIGNS['failed']} failed {self.failed}")
        if self.spent_usd or self.reserved_usd:
            words.append(f"${self.spent_usd:.2f}")
        if self.simulated:
            words.append("simulated")
        return ", ".join([*words, *([self.note] if self.note else [])])


Callback = Callable[[Progress], None]


class Bar:
    """The default: a tqdm bar, in a notebook or a terminal. Made when first called, so that it starts where the run starts."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._bar: Any = None

    def __call__(self, progress: Progress) -> None:
        if self._bar is None:
            from tqdm.auto import tqdm

            self._bar = tqdm(
                total=progress.planned, initial=progress.decided, unit="trial", dynamic_ncols=True, **self._options
            )
        self._bar.set_postfix_str(str(progress), refresh=False)
        self._bar.update(progress.decided - self._bar.n)
        if progress.over:
            self._bar.refresh()
            self._bar.close()


# Where the trials of a run go: the services that its settings name, and one stand-in for each way of standing in.


_SERVED = ("drift", "seed", "pace", "faults")  # what `python -m kit serve` takes
_STARTS_WITHIN_S = 60.0
_OURS = str(Path(__file__).resolve().parents[2])  # where `kit` is, should the notebook's folder be another


class Places:
    """The stand-ins that a plan needs, running. Use it in an ``async with``.

    Args:
        settings: What trials will be asked for.
        seed: Of the stand-ins that name none.
        own_process: Each in a process of its own, instead of on this loop.
    """

    def __init__(self, settings: Iterable[Settings], seed: int, *, own_process: bool = False) -> None:
        self._settings, self._seed, self._own_process = tuple(settings), seed, own_process
        self._urls: dict[str, str] = {}
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            for settings in self._settings:
                key = _key(settings)
                if settings.where.name == "standin" and key not in self._urls:
                    options = {"seed": self._seed} | dict(settings.stand_in)
                    self._urls[key] = await (self._process(options) if self._own_process else self._server(options))
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def of(self, trial: Trial, attempt: int = 1) -> tuple[Endpoint, str]:
        """The endpoint of a trial and its address; the trial's id goes to a stand-in and to no one else.

        Args:
            attempt: 1, and one more for each time that the other end has failed the trial: a stand-in draws its faults anew.
        """
        where = trial.settings.where
        if where.name != "standin":
            return where, where.url
        url = in_process_url(self._urls[_key(trial.settings)], where.model, trial.trial_id, attempt)
        return replace(where, url=url), url

    async def _server(self, options: dict[str, Any]) -> str:
        return (await self._stack.enter_async_context(StandIn(**options))).url

    async def _process(self, options: dict[str, Any]) -> str:
        unknown = [name for name in options if name not in _SERVED]
        if unknown:
            raise InputError(
                f"a stand-in in its own process takes {', '.join(_SERVED)}, not {', '.join(unknown)}; "
                "run it in this one (own_process=False)"
            )
        told = [f"--fault={each}" for each in options.pop("faults", ())]
        told += [f"--{name}={value}" for name, value in options.items() if value is not None]
        path = os.pathsep.join(filter(None, [_OURS, os.environ.get("PYTHONPATH")]))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "kit", "serve", "--port=0", *told),
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for us; it goes when we let it
        )
        self._stack.push_async_callback(_end, process)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_STARTS_WITHIN_S):
                url = (await process.stdout.readline()).decode().strip()
        except TimeoutError:
            url = ""
        if not url.startswith("ws://"):
            raise KitError(f"the stand-in's process did not start (it said {url!r}); try own_process=False")
        return url


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(5):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _key(settings: Settings) -> str:
    return json.dumps(settings.describe().get("stand_in"), sort_keys=True)


_Key = tuple[str, str, str, int]
_PATIENCE = 12  # attempts in a row that reach nobody, before the run is stopped: the network is down, not a trial
_UNREACHABLE_S = 0.5  # before another try where no session came about: nobody gains from asking at once


async def run(
    plan: Plan,
    ledger: str | Path | Ledger,
    *,
    at_once: int = 8,
    budget_usd: float | None = None,
    progress: Callback | bool | None = True,
    keep_events: bool = False,
    own_process: bool = False,
    cluster: Client | None = None,
) -> Ledger:
    """Run a plan, or what is left of it.

    Stopping it (the kernel's interrupt, Ctrl-C, cancelling the task) is safe: what runs is closed and written down as
    interrupted, and the same call goes on. So is killing the process.

    Args:
        plan: What to run.
        ledger: Where to write; a file that is there must be this plan's.
        at_once: Sessions open at the same time; of each worker, where there is a cluster.
        budget_usd: What the whole ledger may cost, earlier runs included. Needed where somebody pays. Each attempt reserves its
            worst case before it connects, and what is spent and reserved never passes the cap; an attempt without usage counts
            as its reservation.
        progress: Called with a `Progress` whenever something changed; ``True``: a tqdm bar; ``None`` or ``False``: nothing.
        keep_events: Keep every event of every session, without audio.
        own_process: Run the stand-in in a process of its own: worth it for big plans where a core is free.
        cluster: A `distributed.Client`: its workers run the trials (extra ``cluster``).

    Returns:
        The ledger. Its `Ledger.last_run` says why the run ended: ``complete``, ``budget`` or ``stop rule``.

    Raises:
        InputError: For a plan that costs money and no budget, and a budget that cannot be kept.
        EndpointError: If a key is missing; nothing is written.
        LedgerError: If the file is not this plan's ledger, or another runner has it.
        ConnectError: If the service refuses the key or the model, or nobody answers any more: no trial could do better. The same
            call goes on later.
    """
    show_interrupts_in_one_sentence()
    if not isinstance(plan, Plan):
        raise InputError(f"run() takes a Plan, not {clipped(plan)}")
    if not isinstance(at_once, int) or isinstance(at_once, bool) or at_once < 1:
        raise InputError(f"at_once is how many sessions run at the same time, at least 1, not {clipped(at_once)}")
    cap_usd = check_budget(budget_usd, plan.settings)
    if cluster is None:  # on a cluster each worker has its own
        for each in plan.settings:
            each.where.headers()
    tell: Callback = Bar() if progress is True else progress if callable(progress) else _nobody
    with Writer(ledger, plan) as book:
        runner = Runner(plan, book, Budget(cap_usd, book.spent_usd()), tell, keep_events=keep_events)
        if cluster is None:
            await runner.run(at_once, budget_usd, own_process=own_process)
        else:
            from .cluster import run_on

            await run_on(runner, cluster, at_once, budget_usd)
    return Ledger(book.path)


class Runner:
    """What a run knows: which trials are left, what they cost, how they went. Both ways of running share it."""

    def __init__(self, plan: Plan, book: Writer, budget: Budget, tell: Callback, *, keep_events: bool = False) -> None:
        self.plan, self.book, self.budget, self.keep_events = plan, book, budget, keep_events
        self.gate = Gate()
        self.stopped: tuple[str, str] | None = None
        """Why no more trials begin: ``(ended, note)``."""
        self.run_id = 0
        self._unreachable, self._patience = 0, _PATIENCE
        self._tell = tell
        self._prepared: dict[_Key, Prepared] = {}
        self._worst: dict[_Key, float | None] = {}
        self._tokens: dict[_Key, int] = {}
        decided, self._attempts, self._used, self._failed_there = book.history()
        # An interrupted trial has all its tries left; one that failed for good or completed is decided.
        self.left = [trial for trial in plan.trials if trial.trial_id not in decided]
        self.watch = Watch(plan, decided, book.first_modalities())
        self.progress = Progress(len(plan.trials), spent_usd=budget.spent_usd)
        self.progress.completed = sum(status == "completed" for status in decided.values())
        self.progress.failed = len(decided) - self.progress.completed
        for cell, heard in self.watch.heard.items():
            self.progress.tally[cell] = Counter(heard)

    # ------------------------------------------------------------------------------------------------ the run as a whole

    async def run(self, at_once: int, budget_usd: float | None, *, own_process: bool) -> None:
        """On this loop."""
        await self.prepare()
        self.begin(at_once, budget_usd)
        try:
            async with Places(self.plan.settings, self.plan.seed, own_process=own_process) as places:
                queue = iter(self.left)
                workers = min(at_once, max(1, len(self.left)))
                async with asyncio.TaskGroup() as group:
                    for _ in range(workers):
                        group.create_task(self._work(queue, places), name="kit: trials")
        except BaseExceptionGroup as group:
            first = first_error(group)
            self.end_by(first)
            raise first from None
        except BaseException as exc:
            self.end_by(exc)
            raise
        self.end()

    async def prepare(self) -> None:
        """Ask every arm what it makes of every case, before anything is connected or written."""
        for trial in self.left:
            if self._key(trial) not in self._prepared:
                self._prepared[self._key(trial)] = await asyncio.to_thread(prepare, trial)

    def prepared(self, trial: Trial) -> Prepared:
        return self._prepared[self._key(trial)]

    @staticmethod
    def _key(trial: Trial) -> _Key:
        return (trial.role, *trial.cell)

    def begin(self, at_once: int, budget_usd: float | None) -> None:
        """Open the run in the ledger."""
        self._patience = max(_PATIENCE, 2 * at_once)
        self.run_id = self.book.begin_run(at_once=at_once, budget_usd=budget_usd)
        self.budget.spent_usd = self.book.spent_usd()  # orphans of a dead runner count now
        self._look()
        self.tell()

    def end(self) -> None:
        """Close the run: everything is decided, or something stopped it."""
        ended, note = self.stopped or ("complete", "")
        self.book.end_run(self.run_id, ended, note or None)
        self.progress.over, self.progress.note = True, f"{ended}: {note}" if note else ""
        self.tell()

    def end_by(self, exc: BaseException) -> None:
        """Close the run after an error or an interrupt."""
        stopped = isinstance(exc, asyncio.CancelledError | KeyboardInterrupt)
        ended = "interrupted" if stopped else "error"
        try:
            self.book.end_run(self.run_id, ended, None if stopped else f"{type(exc).__name__}: {exc}"[:500])
        except sqlite3.Error:
            return  # the disk is full or gone: the first error says more
        self.progress.over, self.progress.note = True, f"{ended}; run it again to go on"
        self.tell()

    def tell(self) -> None:
        """Call back."""
        self.progress.spent_usd, self.progress.reserved_usd = self.budget.spent_usd, self.budget.reserved_usd
        self._tell(self.progress)

    # ------------------------------------------------------------------------------------------------------ one trial

    async def _work(self, queue: Iterator[Trial], places: Places) -> None:
        while self.stopped is None and (trial := next(queue, None)) is not None:
            await self._trial(trial, places)

    async def _trial(self, trial: Trial, places: Places) -> None:
        """Try a trial until it is decided, its tries are used up, or the run is stopped."""
        while self.stopped is None:
            await self.gate.pass_()
            if not await self.reserve(trial):
                return
            (attempt_id,) = self.begun([trial])
            where, url = places.of(trial, self.attempt_there(trial))
            notes = _Notes(self.book, attempt_id, trial.trial_id)
            try:
                outcome = await self._play(trial, where, url, notes)
            except BaseException:
                self.interrupted(trial, attempt_id)
                raise
            if not self.decide(trial, attempt_id, outcome, turns_written=notes.n_turns):
                return
            if not outcome.session and outcome.kind == "transport":
                await asyncio.sleep(_UNREACHABLE_S)

    async def _play(self, trial: Trial, where: Endpoint, url: str, notes: _Notes) -> Outcome:
        return await play(
            trial,
            self.prepared(trial),
            where,
            url,
            timeout_s=self.plan.timeout_s,
            keep_events=self.keep_events,
            on_seeded=notes.seeded,
            on_turn=notes.turn,
        )

    # --------------------------------------------------------------------------------------- what both ways of running do

    async def reserve(self, trial: Trial) -> bool:
        """Set aside the worst case of one attempt; ``False`` if nothing more is to begin, since the money is used up or
        the run was stopped meanwhile."""
        usd = self.worst_usd(trial) or 0.0
        if await self.budget.reserve(usd):
            if self.stopped is None:
                return True
            self.budget.settle(usd, 0.0)
        elif self.stopped is None:
            spent = f"${self.budget.spent_usd:.2f} of ${self.budget.cap_usd:.2f} is spent"
            self.stopped = "budget", f"{spent}, and the next trial may cost ${usd:.2f}"
        return False

    def worst_usd(self, trial: Trial) -> float | None:
        """What an attempt may cost at most; ``None``: no price."""
        key = self._key(trial)
        if key not in self._worst:
            self._worst[key] = worst_usd(trial)
        return self._worst[key]

    def attempt_there(self, trial: Trial) -> int:
        """Which attempt it is, as far as the other end goes: one that was interrupted, or whose worker was lost, is played
        as if it had not been. This is what a stand-in's faults are drawn for."""
        return 1 + self._failed_there.get(trial.trial_id, 0)

    def begun(self, trials: Sequence[Trial], *, worker: str | None = None) -> list[int]:
        """Write down that one more attempt of each begins; gives their ids."""
        tries = []
        for trial in trials:
            n = self._attempts[trial.trial_id] = self._attempts.get(trial.trial_id, 0) + 1
            tries.append((trial.trial_id, n, self.worst_usd(trial)))
        ids = self.book.pending(self.run_id, tries, worker=worker)
        self.progress.in_flight += len(ids)
        self.progress.attempts += len(ids)
        self.tell()
        return ids

    def interrupted(self, trial: Trial, attempt_id: int) -> None:
        """An attempt was stopped from outside: what it used is not known."""
        worst = self.worst_usd(trial)
        self.budget.settle(worst or 0.0, worst or 0.0)
        self.progress.in_flight -= 1
        self.book.interrupted(attempt_id, cost_usd=worst, cost_estimated=bool(worst))

    def decide(self, trial: Trial, attempt_id: int, outcome: Outcome, *, turns_written: int = 0) -> bool:
        """Write down how an attempt went; gives whether the trial is to be tried again.

        Raises:
            ConnectError: If no trial of these settings could do better, in the service's words; or if nobody has answered for
                so long that more trials would only be used up.
        """
        used = self._used[trial.trial_id] = self._used.get(trial.trial_id, 0) + (outcome.kind in AGAIN)
        self._failed_there[trial.trial_id] = self._failed_there.get(trial.trial_id, 0) + (outcome.kind in THERE)
        again = outcome.may_be_tried_again and used < self.plan.max_attempts
        counts = not again and not outcome.fatal
        worst = self.worst_usd(trial)
        estimated = outcome.usd is None and worst is not None
        cost = worst if outcome.usd is None else outcome.usd
        self.budget.settle(worst or 0.0, cost or 0.0)
        self.book.ended(
            attempt_id,
            trial.trial_id,
            outcome,
            counts=counts,
            cost_usd=cost,
            cost_estimated=estimated,
            turns_written=turns_written,
        )
        self._note(trial, outcome, counts)
        if outcome.fatal:
            raise ConnectError(str(outcome.failure["error"]))
        self._unreachable = 0 if outcome.session else self._unreachable + (outcome.kind == "transport")
        if self._unreachable >= self._patience:
            said = outcome.failure["error"]
            raise ConnectError(f"{self._unreachable} attempts in a row came to no session; the last one: {said}")
        self._limits(trial, outcome)
        self._look()
        self.tell()
        return again

    def _note(self, trial: Trial, outcome: Outcome, counts: bool) -> None:
        progress = self.progress
        progress.in_flight -= 1
        if outcome.session.get("simulated") is not None:
            told = bool(outcome.session["simulated"])
            progress.simulated = told if progress.simulated in (None, told) else None
        if outcome.kind:
            progress.failures[outcome.kind] += 1
        if not counts:
            return
        if outcome.status == "completed":
            progress.completed += 1
            if trial.role == "measure":
                progress.tally.setdefault(trial.cell, Counter())[outcome.final_modality or "empty"] += 1
        else:
            progress.failed += 1
        self.watch.decided(trial, outcome.status, outcome.final_modality)

    def _limits(self, trial: Trial, outcome: Outcome) -> None:
        """Back off, all together, if the service said so."""
        if outcome.kind == "rate_limit":
            wait_s = self.gate.shut(outcome.wait_s)
        elif trial.settings.where.name == "standin" and not self.gate.n_shut:
            wait_s = 0.0  # it tells a limit like the service's, and keeps none
        else:
            key = self._key(trial)
            if key not in self._tokens:
                self._tokens[key] = tokens_of(trial)
            wait_s = self.gate.spare(outcome.remaining_tokens, outcome.reset_s, self._tokens[key])
        self.progress.note = f"the service asks to wait {wait_s:.1f} s" if wait_s else ""

    def _look(self) -> None:
        """Whether the stop rule is content."""
        if self.stopped is None and self.plan.stop is not None and self.watch.enough():
            self.stopped = "stop rule", f"every rate is known to ±{50 * self.plan.stop.width:g} points"


class _Notes:
    """Writes an attempt's stages down as they are reached."""

    def __init__(self, book: Writer, attempt_id: int, trial_id: str) -> None:
        self._book, self._attempt_id, self._trial_id = book, attempt_id, trial_id
        self.n_turns = 0

    def seeded(self, session: Row) -> None:
        self._book.seeded(self._attempt_id, session)

    def turn(self, turn: Row, responses: list[Row]) -> None:
        self._book.turn(self._attempt_id, self._trial_id, turn, responses)
        self.n_turns += 1


def _nobody(progress: Progress) -> None:
    return
