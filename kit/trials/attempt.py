"""One attempt at a trial: connect, settle, seed, ask, and everything that a ledger wants to know of it.

Nothing here writes a ledger, counts money or tries again: it plays one session to its end and describes how that went as plain
data, which can also come back from another machine.

How an attempt ends:

=========================  ==============================================================================================
what happened              status, and what it decides
=========================  ==============================================================================================
every turn was answered    ``completed``
nothing came in time       ``completed``: the turn is ``silent``, and no further turn is asked for
any error                  ``failed``, of a kind. Content that had begun decides the turn, and the trial is not played again
cancelled                  ``interrupted``; ``failed`` of kind ``interrupted`` if content had begun
this machine's trouble     ``interrupted`` of kind ``machine``, and the error is raised: it is no result of the trial
=========================  ==============================================================================================
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..clip import Clip
from ..connecting import connect
from ..endpoint import PRICES, Price
from ..errors import (
    AudioFormatError,
    ConnectError,
    EndpointError,
    HandshakeRefused,
    HistoryError,
    KitError,
    LedgerError,
    RemoteProtocolError,
    ResponseTimeout,
    ServerError,
    SessionClosed,
)
from ..eventlog.redact import Redactor
from ..history import History
from ..session import Session
from ..wire.dialect import read_session
from ..wire.events import Event, dict_of, encode, int_of, text_of
from ..wire.live_conversation import Reply
from ..wire.records import Response, row
from .plan import Trial

Row = dict[str, Any]

# ------------------------------------------------------------------------------------------------------- kinds of failure

AGAIN = frozenset(("transport", "rate_limit", "worker_lost"))
"""Kinds of failure that are tried again, unless a reply had begun."""

THERE = AGAIN - {"worker_lost"}
"""Those of them that the other end caused."""

# What OpenAI, Azure and compatible servers call it; the first is the one of `response.done` and of the handshake.
_RATE_CODES = ("rate_limit_exceeded", "rate_limit_error", "too_many_requests", "slow_down")
# No later trial can do better, so the run stops instead of failing them one by one.
HOPELESS = ("insufficient_quota", "invalid_api_key", "credit_balance_exhausted", "account_deactivated")
# Refusals of a GPT-Live start that are its history's or its instructions', not those of every trial's.
_OF_THE_CASE = ("invalid_value", "invalid_request_error")
# No service sends a Retry-After in the socket; OpenAI's sentence is "Please try again in 1.2s" (wire/README.md, Rate limits).
_TRY_AGAIN = re.compile(r"(?:try again|retry(?: again)?) (?:in|after) ([0-9.]+) *(ms|milli|s|m)?", re.IGNORECASE)
# What the operating system says when this process has no more files, buffers or memory. `Unreachable` repeats its words.
_MACHINE = tuple(os.strerror(code) for code in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class ResponseFailed(Exception):
    """A response that the service ended as failed or cancelled."""

    def __init__(self, response: Response) -> None:
        super().__init__(response)
        self.response = response

    def __str__(self) -> str:
        message = (self.response.error or {}).get("message")
        return f"response {self.response.status} ({self.response.reason}){f': {message}' if message else ''}"


def failure_kind(exc: BaseException) -> tuple[str, str | None]:
    """Return the kind of a failure and the service's own code for it (the ledger's docstring lists the kinds)."""
    if isinstance(exc, ResponseFailed):
        # A missing quota, or no access to the model, shows only here (wire/README.md, Handshake failures).
        code = text_of(exc.response.error or {}, "code") or exc.response.reason
        return ("rate_limit" if code in _RATE_CODES else "refused" if code in HOPELESS else "server"), code
    if isinstance(exc, HandshakeRefused):
        limited = exc.code in _RATE_CODES or exc.close_code == 429
        # GPT-Live says why and cuts the socket, so a code that is given says more than the close (wire/LIVE.md, "Connecting").
        named = exc.code not in (None, "server_error", "internal_error")
        # 1001 to 1015 are broken connections; 3000 and 4000 refuse (wire/README.md, Handshake failures).
        broken = not named and (exc.close_code is None or 500 <= exc.close_code < 600 or 1001 <= exc.close_code <= 1015)
        return (
            "rate_limit" if limited and exc.code != "insufficient_quota" else "transport" if broken else "refused"
        ), exc.code
    if isinstance(exc, ServerError):
        if exc.code in _RATE_CODES or exc.type in _RATE_CODES:
            return "rate_limit", exc.code
        return ("server" if exc.type == "server_error" else "refused"), exc.code
    if isinstance(exc, TimeoutError):
        return "timeout", None
    if isinstance(exc, SessionClosed):
        return "transport", None if exc.code is None else str(exc.code)
    if isinstance(exc, ConnectError | OSError):
        return "transport", None
    if isinstance(exc, RemoteProtocolError):
        return "protocol", None
    return ("refused" if isinstance(exc, HistoryError) else "error"), None


def machine_trouble(exc: BaseException) -> bool:
    """Whether an error is this machine's own: a missing library, no more files or memory, a ledger that cannot be written."""
    if isinstance(exc, EndpointError | LedgerError | ImportError | MemoryError):
        return True
    return isinstance(exc, OSError | ConnectError) and any(words in str(exc) for words in _MACHINE)


def waiting_time_s(exc: BaseException) -> float | None:
    """Read from an error's own words when to come back, in seconds; ``None`` if they do not say."""
    match = _TRY_AGAIN.search(str(exc))
    if match is None:
        return None
    try:
        return float(match[1]) * {"ms": 0.001, "milli": 0.001, "m": 60.0}.get((match[2] or "s").lower(), 1.0)
    # `1.2.3` passes the pattern and is no number.
    except ValueError:
        return None


# ---------------------------------------------------------------------------------------------------------- before and after


@dataclass(frozen=True, slots=True)
class Prepared:
    """What an arm makes of a case: the same for all repeats, so it is made once, before anything is connected."""

    # For `Session.update`: the plan's, with the arm's on top.
    settings: dict[str, Any]
    history: History
    # User turns after the seeded one, as the arm hands them over.
    turns: tuple[str | Clip, ...]


def prepare(trial: Trial) -> Prepared:
    """Ask the arm. May take seconds where it has text spoken: use a thread.

    Raises:
        KitError: Whatever the arm raises; nothing was sent.
    """
    arm, case = trial.arm, trial.case
    history, last = case.history, History()
    if trial.settings.live and not arm.keeps_last_line:
        # It is asked aloud as it is, so that no arm has it.
        history, last = History(history.items[:-1]), History(history.items[-1:])
    settings = dict(trial.settings.session())
    added = dict(arm.settings(history))
    # Of both there are instructions: an arm adds to the plan's. Everything else of an arm replaces the plan's.
    if settings.get("instructions") and added.get("instructions"):
        added["instructions"] = f"{settings['instructions']}\n\n{added['instructions']}"
    # A positive control: its session asks for text.
    if trial.modality == "text":
        added["modality"] = "text"
    return Prepared(settings | added, arm.history(history) + last, tuple(map(arm.turn, case.turns)))


@dataclass(slots=True)
class Outcome:
    """How an attempt went: columns of the ledger, under the ledger's names."""

    # As in `attempts.status`; `Attempt` changes it when something ends the attempt early.
    status: str = "completed"
    reply_begun: bool = False
    """The content of a reply had begun: then this attempt decides its trial, however it went on."""
    fatal: bool = False
    """No trial of these settings can do better: a key that is wrong, a model that does not exist."""
    # `kind`, `error_type`, `error_code`, `error`, `expected`; empty where nothing failed.
    failure: Row = field(default_factory=dict)
    # Ids, counts and durations that a session tells. Empty: no session came about, and no try is used up.
    session: Row = field(default_factory=dict)
    # Rows of `turns`, in order, those included that were written as soon as they had ended.
    turns: list[Row] = field(default_factory=list)
    # Rows of `responses`; those of no turn have turn -1.
    responses: list[Row] = field(default_factory=list)
    usd: float | None = 0.0
    """What it cost; ``None`` where that is unknown: no price, or usage that is missing or makes no sense."""
    # Events as zlib, a line each, without audio; only where they are kept.
    jsonl: bytes | None = None
    n_events: int = 0
    sounds: list[tuple[str, bytes]] = field(default_factory=list)
    """Response id and FLAC file of each reply whose sound the session kept: see `run(keep_sound=True)`."""
    wait_s: float | None = None
    """When to come back, as the service said."""
    # What `rate_limits.updated` said last: tokens left, and seconds until the limit is reset.
    remaining_tokens: int | None = None
    reset_s: float | None = None

    @property
    def kind(self) -> str | None:
        return self.failure.get("kind")

    @property
    def may_be_tried_again(self) -> bool:
        """Whether it was lost before any reply started."""
        return self.status == "failed" and not self.reply_begun and self.kind in AGAIN


# ------------------------------------------------------------------------------------------------------------- the attempt

_BACKSTOP_S = 0.25  # what an arm waits for ends this much after the turn's own deadline, whose error says more
_PROOF_OF_LIFE_S = 5.0  # how long a server that has been silent may take to confirm an empty buffer
_DRAIN_S = 0.5  # for what is in the socket when this process wakes up
MAX_ERROR_CHARS = 500


class Attempt:
    """One attempt and its rows, as far as it has come. What differs between the protocols is left to their classes.

    Args:
        trial: What is played.
        prepared: What its arm made of its case.
        outcome: A new one; everything about the attempt is written into it, also when it is cancelled or raises.
        timeout_s: For the beginning, and how long each turn is observed.
        deadline_s: When the first content of a turn is due.
        paused_s: How long this process has not been running, in all: what came in that time came late by no fault of the server.

    Attributes:
        session: As soon as there is one.
        turn: The turn that is open: asked for, and not in rows yet.
    """

    def __init__(
        self,
        trial: Trial,
        prepared: Prepared,
        outcome: Outcome,
        timeout_s: float,
        deadline_s: float,
        paused_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.trial, self.prepared, self.outcome = trial, prepared, outcome
        self.timeout_s, self.deadline_s, self.paused_s = timeout_s, deadline_s, paused_s
        self.session: Any = None
        self.turn: int | None = None

    async def play(
        self,
        connection: connect,
        *,
        keep_events: bool = False,
        on_seeded: Callable[[Row], None] | None = None,
        on_turn: Callable[[Row, list[Row]], None] | None = None,
    ) -> None:
        """Play the trial once.

        Args:
            connection: Not opened yet.
            on_seeded: Called once settings and history are confirmed, just before a response is asked for.
            on_turn: Called when a turn that is not the last has ended, with its row and those of its responses.

        Raises:
            KitError, ImportError, OSError: This machine's own trouble (`machine_trouble`), which is no result of the trial.
            CancelledError: If the attempt was stopped.
        """
        clock = asyncio.get_running_loop().time
        session_row = self.outcome.session
        try:
            await self.get_ready()
            started_s = clock()
            async with asyncio.timeout(self.timeout_s):
                self.session = await connection
                session_row["connect_ms"] = (clock() - started_s) * 1000
                await self.seed(connection)
            session_row |= self.facts()
            session_row["seed_ms"] = (clock() - started_s) * 1000 - session_row["connect_ms"]
            if on_seeded is not None:
                on_seeded(session_row)
            for n in range(1 + len(self.prepared.turns)):
                turn, rows, may_go_on = await self.ask(n)
                if not may_go_on:
                    break
                if on_turn is not None and n < len(self.prepared.turns):
                    on_turn(turn, rows)  # the last turn's rows are written with the outcome
        except asyncio.CancelledError:
            self._interrupted()
            raise
        except Exception as exc:
            self._failed(exc)
            if machine_trouble(exc):
                raise
        finally:
            if self.session is not None:
                try:
                    await self.close()
                finally:  # also if it is stopped while it closes: everything is known by then
                    self.collect()
                    if keep_events:
                        self._keep_events()
                    self.outcome.sounds = list(sounds_of(self.session.responses))

    # ------------------------------------------------------------------------------------------- what a protocol answers

    async def get_ready(self) -> None:
        """Do what may take long before anything is connected."""

    async def seed(self, connection: connect) -> None:
        """Bring settings and history into the session that is open."""
        raise NotImplementedError

    async def ask(self, n: int) -> tuple[Row, list[Row], bool]:
        """Ask turn `n`; return its row, those of its responses, and whether anything more can be asked."""
        raise NotImplementedError

    async def close(self) -> None:
        await self.session.close()

    def facts(self) -> Row:
        """Who the server says it is."""
        session = self.session
        texts = {
            "session_id": session.id,
            "model": text_of(session.settings, "model"),
            "voice": read_session(session.settings, "voice"),
            "drift_rule": dict_of(session.settings, "simulated").get("drift"),
        }
        return {name: _text(value) for name, value in texts.items()} | {
            "simulated": None if session.simulated is None else int(session.simulated)
        }

    def close_turn(self, without_content: str) -> None:
        """Put the open turn into rows, if anything was asked for in it.

        Args:
            without_content: The outcome if nothing came: ``failed`` or ``censored``.
        """
        raise NotImplementedError

    def collect(self) -> None:
        """Complete the outcome, once the session is closed."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------------------------- ends

    def _interrupted(self) -> None:
        """Take down that it was stopped from outside."""
        self.close_turn("censored")
        outcome = self.outcome
        outcome.status = "failed" if outcome.reply_begun else "interrupted"
        if outcome.reply_begun:
            words = "the run was stopped after the reply had begun"
            outcome.failure = {"kind": "interrupted", "error_type": "CancelledError", "error": words, "expected": 0}

    def _failed(self, exc: Exception) -> None:
        """Take down what went wrong, and what had come by then."""
        machine = machine_trouble(exc) or isinstance(exc, MachinePaused)
        # What this machine cut off says nothing of the model, so that it is censored and not failed.
        self.close_turn("censored" if machine else "failed")
        kind, code = ("machine", None) if machine else failure_kind(exc)
        outcome = self.outcome
        outcome.status = "interrupted" if machine and not outcome.reply_begun else "failed"
        outcome.fatal = kind == "refused" and (
            code in HOPELESS or (isinstance(exc, HandshakeRefused) and code not in _OF_THE_CASE)
        )
        outcome.wait_s = waiting_time_s(exc)
        # An error may repeat a header or an address that has the key in it.
        redactor = self.session.redactor if self.session is not None else Redactor()
        outcome.failure = {
            "kind": kind,
            "error_type": type(exc).__name__,
            "error_code": code,
            "error": redactor.text(str(exc) or type(exc).__name__)[:MAX_ERROR_CHARS],
            "expected": int(kind == self.trial.arm.expects),
        }

    def _keep_events(self) -> None:
        """Put the session's events into the outcome, without secrets and without audio."""
        events, outcome = self.session.events, self.outcome
        outcome.n_events = len(events)
        outcome.jsonl = zlib.compress(b"\n".join(self.session.redactor(event_line(event)) for event in events), 3)


class MachinePaused(KitError):
    """This process was stopped or suspended for so long that nothing can be said of the reply."""


class RealtimeAttempt(Attempt):
    """One attempt over Realtime."""

    session: Session | None

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # All that was said: an arm that asks outside of the conversation sends it with each response.
        self._so_far = self.prepared.history
        self.answers: list[Response] = []  # of the open turn, in order; not what else came
        self._n_asked = 0  # responses asked for in the open turn
        self._n_before = 0  # responses of the session before the last one was asked for
        self._n_items = 0  # items sent before the turn was first asked for
        self._paused_before_s = 0.0  # as it was when the turn started
        self._in_rows: list[Response] = []  # responses of turns that have ended

    async def seed(self, connection: connect) -> None:
        session, arm = self.session, self.trial.arm
        assert session is not None
        if self.prepared.settings:
            await session.update(**self.prepared.settings)
        await arm.seed(session, self.prepared.history)
        await arm.after_seed(session)

    # ----------------------------------------------------------------------------------------------------------- turns

    async def ask(self, n: int) -> tuple[Row, list[Row], bool]:
        assert self.session is not None
        until = asyncio.get_running_loop().time() + self.timeout_s
        # Longer than the turn: `respond` ends it by an error that says more, and the server may prove to be alive.
        async with asyncio.timeout_at(until + _PROOF_OF_LIFE_S + _BACKSTOP_S):
            if n:
                added = History().user(self.prepared.turns[n - 1])
                await self.trial.arm.seed(self.session, added)
                self._so_far = self._so_far + added
            self.turn, self.answers, self._n_asked = n, [], 0
            self._n_items = self._n_sent("conversation.item.create")
            self._paused_before_s = self.paused_s()
            last = await self._answer(self.session, until)
        if last is not None and last.words and n < len(self.prepared.turns):
            self._so_far = self._so_far.assistant(last.words)
        # Nothing more can be asked for while a reply is still to come.
        return *self._end_turn("silent"), last is not None

    async def _answer(self, session: Session, until: float) -> Response | None:
        """Ask until the arm has had enough; return the last response, or ``None`` if the observation window ended first."""
        arm, clock = self.trial.arm, asyncio.get_running_loop().time
        for n in range(1, arm.max_responses + 1):
            self._n_asked += 1
            self._n_before = len(session.responses)
            paused_s = self.paused_s()
            try:
                response = await session.respond(timeout_s=max(0.001, until - clock()), **arm.asks(self._so_far))
            except ResponseTimeout as exc:
                late_s = self.paused_s() - paused_s
                if late_s > _DRAIN_S:  # this process did not run: what has come meanwhile is read first
                    await asyncio.sleep(_DRAIN_S)
                late = self._take()
                if late is None or late.done_at_ms is None:
                    if late is None and late_s > _DRAIN_S:
                        raise MachinePaused(
                            f"this process did not run for {late_s:.0f} s while a reply was awaited"
                        ) from exc
                    await _prove_alive(session, exc)
                    return None
                response = late
            self._take(response)
            if response.status in ("failed", "cancelled"):
                raise ResponseFailed(response)
            # An arm reacts only to text where speech was asked for, and only while it may ask again.
            if response.modality != "text" or self.trial.modality == "text" or n == arm.max_responses:
                break
            if not await arm.on_text(session, response, n):
                break
        return response

    def _take(self, response: Response | None = None) -> Response | None:
        """Note which response answers; without one, look for what has come of it so far."""
        if response is None and self.session is not None:
            newer = self.session.responses[self._n_before :]
            # Voice detection may have begun others; those count only where none answers the question.
            candidates = [item for item in newer if item.started_by == "create"]
            response = next(iter(candidates or newer), None)
        if response is not None and response not in self.answers and len(self.answers) < self._n_asked:
            self.answers.append(response)
            self.outcome.reply_begun = self.outcome.reply_begun or response.outcome is not None
        return response

    def _end_turn(self, without_content: str) -> tuple[Row, list[Row]]:
        """Put the open turn into rows.

        Args:
            without_content: The outcome if nothing came: ``silent``, ``failed`` or ``censored``.
        """
        assert self.turn is not None and self.session is not None
        answers = self.answers
        rows = [self._response(self.turn, n, response) for n, response in enumerate(answers)]
        outcomes = [response.outcome for response in answers]
        # The user keeps what the last response with content brought; a failure after it takes nothing back.
        with_content = [n for n, outcome in enumerate(outcomes) if outcome not in (None, "silent")]
        final = with_content[-1] if with_content else len(answers) - 1
        started = next((r.started_at_ms for r in answers if r.started_at_ms is not None), None)
        first_ms = _since(started, [_first_content_at_ms(response) for response in answers])
        # After a pause of this process nothing was late by the server's fault.
        in_time = first_ms is None or first_ms <= self.deadline_s * 1000 or self.paused_s() > self._paused_before_s
        reply_end = None
        if with_content:
            reply_end = answers[final].ended or ("unfinished" if without_content == "silent" else "broken")
        turn = {
            "turn": self.turn,
            "n_responses": len(answers),
            "first_modality": rows[0]["modality"] if rows else None,
            "final_modality": rows[final]["modality"] if rows else None,
            "final_status": rows[final]["status"] if rows else None,
            "first_outcome": _outcome(outcomes[0] if outcomes else None, in_time, without_content),
            "outcome": _outcome(outcomes[final] if outcomes else None, in_time, without_content),
            "ended": reply_end,
            "first_ms": first_ms,
            "heard_ms": _since(started, [response.first_audio_at_ms for response in answers]),
            "n_items_sent": self._n_sent("conversation.item.create") - self._n_items,
        }
        self.turn = None
        self.outcome.turns.append(turn)
        self.outcome.responses += rows
        return turn, rows

    # ------------------------------------------------------------------------------------------------------------- ends

    def close_turn(self, without_content: str) -> None:
        if self.turn is not None and self._n_asked:
            self._take()
            self._end_turn(without_content)

    def collect(self) -> None:
        session, outcome = self.session, self.outcome
        assert session is not None
        # Responses of no turn: asked for beside the talk by an arm, or not asked for at all.
        in_rows = set(map(id, self._in_rows))
        beside = [response for response in session.responses if id(response) not in in_rows]
        outcome.responses += [self._response(-1, n, response) for n, response in enumerate(beside)]
        if "seed_ms" not in outcome.session:  # it was lost before they were taken down
            outcome.session |= self.facts()
        outcome.session |= {
            "reply_asked": int(self._n_sent("response.create") > 0),
            "n_items_sent": self._n_sent("conversation.item.create"),
            "n_updates_sent": self._n_sent("session.update"),
            "n_deletes_sent": self._n_sent("conversation.item.delete"),
            "n_responses": len(session.responses),
        }
        outcome.usd = self._usd()
        # Only the entry `tokens` is ever sent (wire/README.md, Rate limits, models, prices).
        for limit in session.rate_limits:
            if isinstance(limit, dict) and limit.get("name") == "tokens":
                outcome.remaining_tokens = int_of(limit, "remaining")
                reset_s = limit.get("reset_seconds")
                outcome.reset_s = float(reset_s) if isinstance(reset_s, int | float) else None

    def _n_sent(self, kind: str) -> int:
        return 0 if self.session is None else self.session.n_sent[kind]

    # ------------------------------------------------------------------------------------------------------------ money

    def _price(self) -> tuple[Price | None, str | None]:
        """The price that counts, and the model whose it is: the plan's own, or that of the model that answers."""
        settings = self.trial.settings
        if settings.price is not None or settings.where.price is None:
            return settings.price, None
        asked_model, served_model = settings.where.model, self.session.model if self.session is not None else None
        # By the model that answers, which need not be the one that was asked for.
        model = served_model if served_model in PRICES else _DATED.sub("", served_model or asked_model or "")
        return PRICES.get(model), model if model in PRICES else None

    def _usd(self) -> float | None:
        if self.trial.settings.free:
            return 0.0
        costs = [response["cost_usd"] for response in self.outcome.responses]
        assert self.session is not None
        # The service bills transcripts of a user's audio apart, by their own model's price, which the kit does not know.
        transcribes = read_session(self.session.settings, "transcription") is not None
        transcribed = transcribes and any(event.type == _TRANSCRIBED for event in self.session.events)
        # A response that was asked for and has no row may have been billed all the same.
        if None in costs or transcribed or self._n_sent("response.create") > len(costs):
            return None
        return float(sum(costs))

    def _response(self, turn: int, n: int, response: Response) -> Row:
        self._in_rows.append(response)
        price, model = self._price()
        if model is not None:
            self.outcome.session["priced_model"] = model
        usage = response.usage
        usd = 0.0 if self.trial.settings.free else None
        if price is not None and usage:
            usd = price.usd(usage)
        fields = row(response)
        assert self.session is not None
        return fields | {
            "turn": turn,
            "response": n,
            "asked": "+".join(fields["asked"]) if fields["asked"] else None,
            "n_calls": len(fields["function_calls"]),
            "error": fields["error"] and self.session.redactor.text(fields["error"]),
            "cost_usd": usd,
            "cost_estimated": 0,
        }


async def _prove_alive(session: Session, exc: ResponseTimeout) -> None:
    """Ask a silent server for something else: a connection that is dead is a failure, and no silence."""
    try:
        await session.clear_audio(timeout_s=_PROOF_OF_LIFE_S)
    except ServerError:
        return  # it says no, so it is there
    except ResponseTimeout:
        # Nothing comes back at all: the turn's timeout is the failure, not that of this question.
        raise exc from None


_DATED = re.compile(r"-\d{4}-\d{2}-\d{2}$")  # a snapshot costs what its model costs
_TRANSCRIBED = "conversation.item.input_audio_transcription.completed"


def _outcome(outcome: str | None, in_time: bool, without_content: str) -> str:
    outcome = outcome or without_content
    return "late" if not in_time and outcome in ("spoken", "text", "both") else outcome


def _first_content_at_ms(response: Response) -> float | None:
    times = (response.first_audio_at_ms, response.first_text_at_ms, response.first_transcript_at_ms)
    return min((at for at in times if at is not None), default=None)


def _since(started_at_ms: float | None, instants: list[float | None]) -> float | None:
    """The first instant that is known, in ms since the start."""
    first = next((at for at in instants if at is not None), None)
    return None if first is None or started_at_ms is None else first - started_at_ms


def sounds_of(responses: Iterable[Response | Reply]) -> Iterator[tuple[str, bytes]]:
    """Yield response id and sound, as FLAC, of what the session kept; other formats than 24 kHz PCM are left out."""
    for response in responses:
        with contextlib.suppress(AudioFormatError):  # longer than any clip: its bytes are counted, as ever
            if response.id and response.output_format == "pcm16" and (clip := response.audio) is not None:
                yield _text(response.id) or "", clip.to_flac()


def event_line(event: Event) -> bytes:
    fields = {"at_ms": round(event.at_ms, 3), "direction": event.direction, "event": event.data}
    return encode(fields if event.n_audio_bytes is None else fields | {"n_audio_bytes": event.n_audio_bytes})


def _text(value: object) -> str | None:
    """Half a surrogate pair, which JSON can carry and SQLite cannot, becomes a question mark."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else None
