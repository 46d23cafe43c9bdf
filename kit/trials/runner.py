"""Run a plan: many sessions at once on one loop, every attempt in the ledger before it connects.

What becomes of a trial, after each attempt at it:

=========================================  ===============================================================================
the attempt                                the trial
=========================================  ===============================================================================
completed                                  decided: ``completed``
failed or stopped, its reply had begun     decided: ``failed``, with what the reply had begun as
lost before any reply, in a session        tried again, up to the plan's `max_attempts`; then decided: ``failed``
came to no session                         tried again, after a wait that doubles for all; uses up no tries. Many in a row stop
                                           the run, and the trial stays missing
refused, timed out, any other error        decided: ``failed``
refused for good (key, model, credit)      stays missing; the run stops
this machine's own trouble                 stays missing; the run stops, or tries again after a pause
stopped before any reply                   stays missing; the next run plays it
=========================================  ===============================================================================

A decided trial is never played again. What was lost after asking stays in the ledger as a turn that is ``failed`` or
``censored``, also when another attempt decides the trial.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from .. import show
from ..connecting import connect
from ..endpoint import Protocol
from ..errors import ConnectError, InputError, KitError, LedgerError, clipped, first_error
from ..standin import StandIn
from .attempt import AGAIN, THERE, Attempt, Outcome, Prepared, RealtimeAttempt, Row, prepare
from .limits import Budget, FirstTurn, Heartbeat, RateLimiter, Reservation, StopMonitor, check_budget
from .live import LiveAttempt
from .plan import Plan, Settings, Trial, estimate, tokens_of, worst_usd
from .writer import Writer

ATTEMPTS: dict[Protocol, type[Attempt]] = {"realtime": RealtimeAttempt, "live": LiveAttempt}
"""By protocol, what plays a trial once."""

# ----------------------------------------------------------------------------------------------------- how a run is going

_DRAW_S = 0.2  # the least time between two pictures of the bar


@dataclass(slots=True)
class Progress:
    """A run as it goes. The callback gets the same object each time; copy what you keep.

    Attributes:
        planned: Trials of the plan, controls included.
        completed, failed: Decided so far, by earlier runs too.
        in_flight: Attempts that are running now.
        attempts: Attempts begun by this run.
        tally: What the user finally heard of the first turn, or ``late`` or ``silent``, by (case, arm, settings index); without
            controls.
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
    """The default. In a notebook: a bar that becomes a line of text, which a saved notebook and an export still show. In a terminal:
    tqdm's. Where standard error is a file: that line alone."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._drawn_s = 0.0
        # IPython's handle of the cell's output; None outside of a notebook.
        self._output: Any = None
        # tqdm's bar; None in a notebook.
        self._bar: Any = None
        # Trials that earlier runs had decided: what is left says how long this one takes.
        self._n_before = 0

    def __call__(self, progress: Progress) -> None:
        if self._output is None and self._bar is None:
            self._begin(progress)
        if self._output is not None:
            now_s = time.monotonic()
            if progress.over or now_s - self._drawn_s >= _DRAW_S:
                self._drawn_s = now_s
                html = show.esc(self._sentence(progress)) if progress.over else self._html(progress)
                self._output.update(
                    {"text/html": f"<div {show.NO_MATH}>{html}</div>", "text/plain": str(progress)}, raw=True
                )
            return
        self._bar.set_postfix_str(str(progress), refresh=False)
        self._bar.update(progress.decided - self._bar.n)
        if progress.over:
            self._bar.refresh()
            self._bar.close()
            if self._bar.disable:
                print(self._sentence(progress), file=sys.stderr)

    def _begin(self, progress: Progress) -> None:
        self._n_before = progress.decided
        if show.in_a_cell():
            from IPython.display import display

            self._output = display({"text/plain": ""}, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            from tqdm import tqdm

            self._bar = tqdm(
                total=progress.planned, initial=progress.decided, unit="trial", dynamic_ncols=True, disable=None
            )

    def _html(self, progress: Progress) -> str:
        n_new = progress.decided - self._n_before
        took_s = time.monotonic() - self._began_s
        # The first few trials tell no pace.
        eta = ""
        if n_new > 3:
            eta = f" · about {show.duration(took_s / n_new * (progress.planned - progress.decided))} left"
        return (
            f'<progress max="{progress.planned}" value="{progress.decided}" aria-label="trials" style="width:220px;vertical-align:middle">'
            f"</progress> {progress.decided:,} of {progress.planned:,} trials · {progress.in_flight} running{eta} · {show.esc(progress)}"
        )

    def _sentence(self, progress: Progress) -> str:
        took = show.duration(time.monotonic() - self._began_s)
        return f"{progress.decided:,} of {progress.planned:,} trials after {took}: {progress}"


# ------------------------------------------------------------------------------------------------------- where trials go


class StandIns:
    """The stand-ins that a plan needs, running: one for each set of options. Use it in an ``async with``.

    Args:
        settings: Those of the trials.
        seed: Of the stand-ins that name none.
        keep_sound: Whether sessions keep the sound of their replies.
    """

    def __init__(self, settings: Iterable[Settings], seed: int, *, keep_sound: bool = False) -> None:
        self._settings, self._seed, self._keep_sound = tuple(settings), seed, keep_sound
        # By options as JSON: settings that have the same options share a server.
        self._servers: dict[str, StandIn] = {}
        # Closes those that are up also when a later one cannot be started.
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            for settings in self._settings:
                key = _options(settings)
                if settings.where.name == "standin" and key not in self._servers:
                    server = StandIn(**({"seed": self._seed} | dict(settings.stand_in)))
                    self._servers[key] = await self._stack.enter_async_context(server)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._stack.aclose()

    def server(self, trial: Trial) -> StandIn:
        """Return the stand-in that plays this trial."""
        return self._servers[_options(trial.settings)]

    def connect(self, trial: Trial, attempt: int, timeout_s: float) -> connect:
        """Return the connection of a trial, not opened yet. The trial's id goes to a stand-in only.

        Args:
            attempt: 1, and one more for each time that the other end has failed the trial: a stand-in draws its faults anew.
        """
        where = trial.settings.where
        quiet: dict[str, Any] = {"timeout_s": timeout_s, "quiet": True, "keep_audio": self._keep_sound}
        if where.name != "standin":
            return connect(where, **quiet)
        server = self.server(trial)
        protocol: dict[str, Any] = {"model": where.model, "dialect": where.dialect, "protocol": where.protocol}
        return connect(server, trial=trial.trial_id, attempt=attempt, **protocol, **quiet)


def _options(settings: Settings) -> str:
    return json.dumps(settings.describe().get("stand_in"), sort_keys=True)


# --------------------------------------------------------------------------------------------------------------- the run

_PATIENCE = 12  # attempts in a row that come to no session, before the run is stopped: the service is away, not a trial
_OUTAGE_S = 60.0  # but an outage is waited out for this long, if there has been a session before
_UNREACHABLE_S = 0.5  # the first wait where no session came about; doubled each time

_Key = tuple[str, str, str, int]


def check_run(
    plan: Plan, at_once: int, budget_usd: float | None, progress: Callback | bool | None, *, on_cluster: bool
) -> tuple[Callback, float]:
    """Check what `run` is given; return whom to call back and the cap in dollars. Nothing is written."""
    if not isinstance(plan, Plan):
        raise InputError(f"run() takes a Plan, not {clipped(plan)}")
    if not isinstance(at_once, int) or isinstance(at_once, bool) or at_once < 1:
        raise InputError(f"at_once is how many sessions run at the same time, at least 1, not {clipped(at_once)}")
    cap_usd = check_budget(budget_usd, plan.settings, lambda: estimate(plan).enough_usd)
    if not on_cluster:  # a worker has an environment of its own
        for settings in plan.settings:
            settings.where.headers()
    return Bar() if progress is True else progress if callable(progress) else lambda _: None, cap_usd


class Runner:
    """Which trials are left, what they cost, how they went. Running here and running on a cluster share it."""

    def __init__(
        self,
        plan: Plan,
        writer: Writer,
        cap_usd: float,
        tell: Callback,
        *,
        keep_events: bool = False,
        keep_sound: bool = False,
    ) -> None:
        self.plan, self.writer = plan, writer
        self.keep_events, self.keep_sound = keep_events, keep_sound
        # What earlier runs of this ledger spent counts: the cap is the ledger's, not the run's.
        self.budget = Budget(cap_usd, writer.spent_usd())
        self.rate_limiter = RateLimiter()
        self.stopped: tuple[str, str] | None = None
        """Why no more trials begin: ``(ended, note)`` of the ledger's run."""
        self.run_id = 0
        # By trial: attempts so far; those of them that use up a try; those that the other end failed, by which a stand-in draws anew.
        decided, self._attempts, self._used, self._failed_there = writer.history()
        # An interrupted trial has all its tries left; one that completed, or failed for good, is decided.
        self.left = [trial for trial in plan.trials if trial.trial_id not in decided]
        self.stop_monitor = StopMonitor(plan, writer.first_turns())
        # Called back whenever something changed.
        self._tell = tell
        # With many sessions at once one outage fails as many attempts, so it grows with them (`begin`).
        self._patience = _PATIENCE
        self._n_unreached = 0  # attempts in a row that came to no session
        self._reached_at: float | None = None  # when a session last came about, on the loop's clock
        # What is the same for all repeats of a cell, so it is worked out once.
        self._prepared: dict[_Key, Prepared] = {}
        self._worst: dict[_Key, float | None] = {}
        self._tokens: dict[_Key, int] = {}
        # Attempts in flight: what each has reserved.
        self._reservations: dict[int, Reservation] = {}
        self.progress = Progress(len(plan.trials), spent_usd=self.budget.spent_usd)
        self.progress.completed = sum(status == "completed" for status in decided.values())
        self.progress.failed = len(decided) - self.progress.completed
        self.progress.tally = self.stop_monitor.tally

    # ------------------------------------------------------------------------------------------------ the run as a whole

    async def run(self, at_once: int, budget_usd: float | None) -> None:
        """Run on this loop."""
        await self.prepare()
        self.begin(at_once, budget_usd)
        try:
            servers = StandIns(self.plan.settings, self.plan.seed, keep_sound=self.keep_sound)
            async with Heartbeat() as heartbeat, servers as stand_ins:
                queue = iter(self.left)
                async with asyncio.TaskGroup() as group:
                    for _ in range(min(at_once, max(1, len(self.left)))):
                        group.create_task(self._work(queue, stand_ins, heartbeat), name="kit: trials")
        except BaseExceptionGroup as group:
            # A task group wraps what one trial raised; the caller gets that error itself.
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
        self.run_id = self.writer.begin_run(at_once=at_once, budget_usd=budget_usd)
        # Earlier runs may have decided enough already.
        self._check_stop_rule()
        self.tell()

    def end(self) -> None:
        """Close the run: everything is decided, or something stopped it."""
        reason, note = self.stopped or ("complete", "")
        self.writer.end_run(self.run_id, reason, note or None)
        self.progress.over, self.progress.note = True, f"{reason}: {note}" if note else ""
        self.tell()

    def end_by(self, exc: BaseException) -> None:
        """Close the run after an error or an interrupt."""
        stopped = isinstance(exc, asyncio.CancelledError | KeyboardInterrupt)
        reason = "interrupted" if stopped else "error"
        with contextlib.suppress(KitError):  # the disk is full, or a newer run writes: the first error says more
            self.writer.end_run(self.run_id, reason, None if stopped else f"{type(exc).__name__}: {exc}"[:500])
        self.progress.over, self.progress.note = True, f"{reason}; run it again to go on"
        self.tell()

    def tell(self) -> None:
        """Call back."""
        self.progress.spent_usd, self.progress.reserved_usd = self.budget.spent_usd, self.budget.reserved_usd
        self._tell(self.progress)

    # ------------------------------------------------------------------------------------------------------ one trial

    async def _work(self, queue: Iterator[Trial], stand_ins: StandIns, heartbeat: Heartbeat) -> None:
        while self.stopped is None and (trial := next(queue, None)) is not None:
            again = True
            while again and self.stopped is None:
                await self.rate_limiter.wait()
                reservation = await self.reserve(trial)
                if reservation is None:
                    return
                async with reservation:
                    again = await self._attempt(trial, reservation, stand_ins, heartbeat)

    async def _attempt(self, trial: Trial, reservation: Reservation, stand_ins: StandIns, heartbeat: Heartbeat) -> bool:
        """Try a trial once; return whether it is to be tried again."""
        (attempt_id,) = self.begin_attempts([(trial, reservation)])
        outcome, n_turns = Outcome(), 0

        def on_turn(turn: Row, responses: list[Row]) -> None:
            nonlocal n_turns
            self.writer.turn(attempt_id, trial.trial_id, turn, responses)
            n_turns += 1

        try:
            attempt = ATTEMPTS[trial.settings.where.protocol](
                trial, self.prepared(trial), outcome, self.plan.timeout_s, self.plan.deadline_s, heartbeat.look
            )
            await attempt.play(
                stand_ins.connect(trial, self.attempt_there(trial), self.plan.timeout_s),
                keep_events=self.keep_events,
                on_seeded=lambda session: self.writer.seeded(attempt_id, session),
                on_turn=on_turn,
            )
        except BaseException:
            self.interrupted(trial, attempt_id, outcome, turns_written=n_turns)
            raise
        return self.decide(trial, attempt_id, outcome, turns_written=n_turns)

    # --------------------------------------------------------------------------------------- what both ways of running do

    async def reserve(self, trial: Trial) -> Reservation | None:
        """Reserve the worst case of one attempt; ``None`` if nothing more is to begin: the money is used up, or the run was
        stopped meanwhile."""
        usd = self.worst_usd(trial) or 0.0
        reservation = await self.budget.reserve(usd)
        if reservation is None and self.stopped is None:
            spent = f"${self.budget.spent_usd:.2f} of ${self.budget.cap_usd:.2f} is spent"
            self.stopped = "budget", f"{spent}, and the next trial may cost ${usd:.2f}"
        if reservation is not None and self.stopped is not None:
            reservation.settle(0.0)
            return None
        return reservation

    def worst_usd(self, trial: Trial) -> float | None:
        """What an attempt may cost at most; ``None``: no price."""
        key = self._key(trial)
        if key not in self._worst:
            self._worst[key] = worst_usd(trial)
        return self._worst[key]

    def attempt_there(self, trial: Trial) -> int:
        """Which attempt it is for the other end: what a stand-in draws its faults for. One that was interrupted, or whose
        worker was lost, is played as if it had not been, unless the stand-in is to draw afresh at every attempt."""
        if str(trial.settings.stand_in.get("drift", "")).startswith("fresh:"):
            return self._attempts.get(trial.trial_id, 1)
        return 1 + self._failed_there.get(trial.trial_id, 0)

    def begin_attempts(self, reserved: Sequence[tuple[Trial, Reservation]], *, worker: str | None = None) -> list[int]:
        """Write down that one more attempt of each begins; return their ids."""
        tries = []
        for trial, _ in reserved:
            n = self._attempts[trial.trial_id] = self._attempts.get(trial.trial_id, 0) + 1
            tries.append((trial.trial_id, n, self.worst_usd(trial)))
        ids = self.writer.pending(self.run_id, tries, worker=worker)
        self._reservations |= zip(ids, (reservation for _, reservation in reserved), strict=True)
        self.progress.in_flight += len(ids)
        self.progress.attempts += len(ids)
        self.tell()
        return ids

    def interrupted(self, trial: Trial, attempt_id: int, outcome: Outcome, *, turns_written: int = 0) -> None:
        """Write down an attempt that was stopped from outside, or by this machine's trouble. It decides its trial if a reply
        had begun; it uses up no try."""
        if outcome.status == "completed" and not outcome.turns:  # it was stopped before it could say anything
            outcome.status = "interrupted"
        failed = outcome.status == "failed" and not outcome.may_be_tried_again and not outcome.fatal
        with contextlib.suppress(KitError):  # the ledger cannot be written: the next run finds it pending
            self._write(trial, attempt_id, outcome, counts=outcome.reply_begun or failed, turns_written=turns_written)
        self.progress.in_flight -= 1

    def decide(self, trial: Trial, attempt_id: int, outcome: Outcome, *, turns_written: int = 0) -> bool:
        """Write down how an attempt went; return whether the trial is to be tried again.

        Raises:
            ConnectError: If no trial of these settings could do better, in the service's words; or if no session has come
                about for so long that the service must be away.
        """
        # No session came about, so nothing was asked and no try is used up: an outage would else eat up a plan's trials.
        unreached = not outcome.session and outcome.kind in AGAIN and outcome.kind != "worker_lost"
        used = self._used.get(trial.trial_id, 0) + (outcome.kind in AGAIN and not unreached)
        self._used[trial.trial_id] = used
        self._failed_there[trial.trial_id] = self._failed_there.get(trial.trial_id, 0) + (outcome.kind in THERE)
        paused = outcome.status == "interrupted"
        again = paused or (outcome.may_be_tried_again and used < self.plan.max_attempts)
        # A wrong key decides no trial: the run stops, and the same command goes on with a right one.
        counts = not again and not outcome.fatal
        self._write(trial, attempt_id, outcome, counts=counts, turns_written=turns_written)
        self._count(trial, outcome, counts)
        if outcome.fatal:
            raise ConnectError(str(outcome.failure["error"]))
        self._watch_outage(outcome, unreached)
        self._back_off(trial, outcome, unreached)
        self._check_stop_rule()
        self.tell()
        return again

    def _write(self, trial: Trial, attempt_id: int, outcome: Outcome, *, counts: bool, turns_written: int) -> None:
        """Settle an attempt's money and write it down."""
        # Without usage nobody knows, and the budget must hold: it costs all that was reserved, marked as estimated.
        worst = self.worst_usd(trial)
        cost = worst if outcome.usd is None else outcome.usd
        reservation = self._reservations.pop(attempt_id)
        reservation.settle(cost or 0.0)
        self.writer.ended(
            attempt_id,
            trial.trial_id,
            outcome,
            counts=counts,
            cost_usd=cost,
            cost_estimated=outcome.usd is None and worst is not None,
            turns_written=turns_written,
            may_wait=True,
        )
        # Nearly always the next attempt begins at once, and is written with it. If not, in this turn of the loop.
        asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        with contextlib.suppress(LedgerError):  # the next write raises it
            self.writer.flush()

    def _count(self, trial: Trial, outcome: Outcome, counts: bool) -> None:
        progress = self.progress
        progress.in_flight -= 1
        if outcome.session.get("simulated") is not None:
            simulated = bool(outcome.session["simulated"])
            progress.simulated = simulated if progress.simulated in (None, simulated) else None
        if outcome.kind:
            progress.failures[outcome.kind] += 1
        if not counts:
            return
        progress.completed += outcome.status == "completed"
        progress.failed += outcome.status != "completed"
        turn = outcome.turns[0] if outcome.turns else {}
        self.stop_monitor.decided(trial, FirstTurn.of(turn.get("outcome"), turn.get("final_modality")))

    def _watch_outage(self, outcome: Outcome, unreached: bool) -> None:
        now = asyncio.get_running_loop().time()
        if outcome.session:
            self._n_unreached, self._reached_at = 0, now
        self._n_unreached += unreached
        # With no session at all so far the address or the network is wrong, and waiting mends neither.
        waited_out = self._reached_at is None or now - self._reached_at > _OUTAGE_S
        if unreached and self._n_unreached >= self._patience and waited_out:
            error = outcome.failure["error"]
            raise ConnectError(f"{self._n_unreached} attempts in a row came to no session; the last one: {error}")

    def _back_off(self, trial: Trial, outcome: Outcome, unreached: bool) -> None:
        """Make all sessions wait, if the service said so or is away."""
        if outcome.kind == "rate_limit":
            wait_s = self.rate_limiter.back_off(outcome.wait_s)
        elif unreached:
            wait_s = self.rate_limiter.back_off(None, _UNREACHABLE_S)
        elif trial.settings.where.name == "standin" and not self.rate_limiter.n_waits:
            wait_s = 0.0  # it announces a limit like the service's, and keeps none
        else:
            key = self._key(trial)
            if key not in self._tokens:
                self._tokens[key] = tokens_of(trial)
            wait_s = self.rate_limiter.session_ended(outcome.remaining_tokens, outcome.reset_s, self._tokens[key])
        away = unreached and outcome.kind != "rate_limit"
        cause = "no session comes about: the next one" if away else "the service asks to wait"
        self.progress.note = f"{cause} {wait_s:.1f} s" if wait_s else ""

    def _check_stop_rule(self) -> None:
        if self.stopped is None and self.plan.stop is not None and self.stop_monitor.enough():
            self.stopped = "stop rule", f"every rate is known to ±{50 * self.plan.stop.width:g} points"
