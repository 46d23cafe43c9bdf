"""One attempt at a trial: connect, settle, seed, ask, and everything that a ledger wants to know of it.

Nothing here writes a ledger, counts money or tries again: it plays one session to its end and says how that went, as plain
data that can also come back from another machine.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..clip import Clip
from ..connecting import open_link
from ..endpoint import Endpoint, Price
from ..errors import (
    ConnectError,
    EndpointError,
    HandshakeRefused,
    HistoryError,
    RemoteProtocolError,
    ServerError,
    SessionClosed,
)
from ..history import History
from ..link import Link
from ..session import Session
from ..wire.dialect import read_session
from ..wire.events import Event, dict_of, encode, text_of
from ..wire.records import Response
from .plan import Trial

# What kind of failure an error is, and what the service says about coming back.


AGAIN = frozenset(("transport", "rate_limit", "worker_lost"))
"""Kinds of failure that are tried again, unless an answer had come."""

THERE = AGAIN - {"worker_lost"}
"""Those of them that the other end brought about."""

_RATE_CODES = ("rate_limit_exceeded", "rate_limit_error", "too_many_requests", "slow_down")
HOPELESS = ("insufficient_quota", "invalid_api_key")
_TRY_AGAIN = re.compile(r"(?:try again|retry(?: again)?) (?:in|after) ([0-9.]+) *(ms|milli|s|m)?", re.IGNORECASE)


class ResponseFailed(Exception):
    """A response that the service ended as failed or cancelled."""

    def __init__(self, response: Response) -> None:
        super().__init__(response)
        self.response = response

    def __str__(self) -> str:
        said = (self.response.error or {}).get("message")
        return f"response {self.response.status} ({self.response.reason}){f': {said}' if said else ''}"


def failure_kind(exc: BaseException) -> tuple[str, str | None]:
    """What kind of failure an error is, and the service's own code for it (the ledger's docstring lists the kinds)."""
    if isinstance(exc, ResponseFailed):
        code = text_of(exc.response.error or {}, "code") or exc.response.reason
        return ("rate_limit" if code in _RATE_CODES else "refused" if code in HOPELESS else "server"), code
    if isinstance(exc, HandshakeRefused):
        limited = exc.code in _RATE_CODES or exc.close_code == 429
        broken = exc.close_code is None or 500 <= exc.close_code < 600 or 1001 <= exc.close_code <= 1015
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


def waiting_time_s(exc: BaseException) -> float | None:
    """What an error's own words say about when to come back; ``None`` if they say nothing."""
    found = _TRY_AGAIN.search(str(exc))
    if found is None:
        return None
    try:
        return float(found[1]) * {"ms": 0.001, "milli": 0.001, "m": 60.0}.get((found[2] or "s").lower(), 1.0)
    except ValueError:
        return None


_BACKSTOP_S = 0.25  # what an arm waits for ends this much after the turn's own deadline, whose error says more
_MAX_ERROR_CHARS = 500

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What an arm makes of a case: the same for all repeats, so it is made once, before anything is connected."""

    settings: dict[str, Any]
    history: History
    turns: tuple[str | Clip, ...]


def prepare(trial: Trial) -> Prepared:
    """Ask the arm. May take seconds where it has text spoken: use a thread.

    Raises:
        KitError: Whatever the arm raises; nothing was sent.
    """
    arm, case = trial.arm, trial.case
    settings = dict(trial.settings.session())
    added = dict(arm.settings(case.history))
    if settings.get("instructions") and added.get("instructions"):
        added["instructions"] = f"{settings['instructions']}\n\n{added['instructions']}"
    if trial.modality == "text":
        added["modality"] = "text"
    return Prepared(settings | added, arm.history(case.history), tuple(map(arm.turn, case.turns)))


@dataclass(slots=True)
class Outcome:
    """How an attempt went: columns of the ledger, under the ledger's names."""

    status: str = "completed"
    answered: bool = False
    """A response had ended: then this attempt decides its trial, however it went on."""
    fatal: bool = False
    """No trial of these settings can do better: a key that is wrong, a model that there is not."""
    failure: Row = field(default_factory=dict)
    session: Row = field(default_factory=dict)
    turns: list[Row] = field(default_factory=list)
    responses: list[Row] = field(default_factory=list)
    usd: float | None = 0.0
    """What its responses cost; ``None`` where that is unknown: no price, or a response without usage."""
    jsonl: bytes | None = None
    n_events: int = 0
    wait_s: float | None = None
    """What the service said about when to come back."""
    remaining_tokens: int | None = None
    reset_s: float | None = None

    @property
    def kind(self) -> str | None:
        return self.failure.get("kind")

    @property
    def may_be_tried_again(self) -> bool:
        """Whether the service gave no answer at all."""
        return self.status == "failed" and not self.answered and self.kind in AGAIN

    @property
    def final_modality(self) -> str | None:
        """What the user finally heard of the first turn."""
        return self.turns[0]["final_modality"] if self.turns else None


Seeded = Callable[[Row], None]
Turned = Callable[[Row, list[Row]], None]


async def play(
    trial: Trial,
    prepared: Prepared,
    where: Endpoint,
    url: str,
    *,
    timeout_s: float,
    keep_events: bool = False,
    on_seeded: Seeded | None = None,
    on_turn: Turned | None = None,
) -> Outcome:
    """Play a trial once. Whatever goes wrong is in the outcome; only cancelling and a missing key are raised.

    Args:
        url: The address with everything in it; for a stand-in also the trial's id.
        timeout_s: For the beginning, and for each turn.
        on_seeded: Called once settings and history are confirmed, with what is known of the session.
        on_turn: Called when a turn that is not the last has ended, with its row and those of its responses.
    """
    playing = _Playing(trial, prepared, where, timeout_s, on_seeded, on_turn)
    try:
        await playing.play(url)
    except EndpointError:
        raise
    except Exception as exc:
        playing.failed(exc)
    finally:
        if playing.session is not None:
            await playing.session.close()
    return playing.finish(keep_events)


class _Playing:
    def __init__(
        self,
        trial: Trial,
        prepared: Prepared,
        where: Endpoint,
        timeout_s: float,
        on_seeded: Seeded | None,
        on_turn: Turned | None,
    ) -> None:
        self.trial, self.prepared, self.where, self.timeout_s = trial, prepared, where, timeout_s
        self.on_seeded, self.on_turn = on_seeded, on_turn
        self.outcome = Outcome()
        self.link: Link[Any] | None = None
        self.session: Session | None = None
        self.turn = 0
        self.n_told = 0  # responses of the conversation that are in rows already
        self.n_items_before = 0

    async def play(self, url: str) -> None:
        arm, prepared = self.trial.arm, self.prepared
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.timeout(self.timeout_s):
            self.link = link = await open_link(self.where, url, timeout_s=self.timeout_s, keep_audio=False)
            self.session = session = Session(link)
            connect_ms = (loop.time() - began) * 1000
            try:
                if prepared.settings:
                    await session.update(**prepared.settings)
                await arm.seed(session, prepared.history)
                await arm.after_seed(session)
            finally:
                self.outcome.session |= _facts(link) | {"connect_ms": connect_ms}
        self.outcome.session["seed_ms"] = (loop.time() - began) * 1000 - connect_ms
        if self.on_seeded is not None:
            self.on_seeded(self.outcome.session)
        so_far = prepared.history
        for turn, said in enumerate((None, *prepared.turns)):
            self.turn = turn
            deadline = loop.time() + self.timeout_s
            async with asyncio.timeout_at(deadline + _BACKSTOP_S):
                if said is not None:
                    added = History().user(said)
                    await arm.seed(session, added)
                    so_far = so_far + added
                self.n_items_before = self._n_sent("conversation.item.create")
                last = await self._answer(session, so_far, deadline)
            self._end_turn(last)
            if last.words:
                so_far = so_far.assistant(last.words)

    async def _answer(self, session: Session, so_far: History, deadline: float) -> Response:
        """Ask until the arm has had enough; gives the last response."""
        arm, loop = self.trial.arm, asyncio.get_running_loop()
        for n in range(1, arm.max_responses + 1):
            left_s = max(0.001, deadline - loop.time())
            response = await session.respond(timeout_s=left_s, **arm.asks(so_far))
            if response.status in ("failed", "cancelled"):
                raise ResponseFailed(response)
            self.outcome.answered = True
            if response.modality != "text" or self.trial.modality == "text" or n == arm.max_responses:
                break
            if not await arm.on_text(session, response, n):
                break
        return response

    # ------------------------------------------------------------------------------------------------------------ rows

    def _n_sent(self, kind: str) -> int:
        return 0 if self.link is None else self.link.conversation.n_sent[kind]

    def _end_turn(self, last: Response | None) -> None:
        """Rows of the turn; `last` is ``None`` for one that never ended."""
        assert self.link is not None
        told = self.link.conversation.responses[self.n_told :]
        self.n_told += len(told)
        n_items = self._n_sent("conversation.item.create")
        price = self.trial.settings.reckoned_price
        rows: list[Row] = [
            {"turn": self.turn, "response": n} | _response(response, price, free=self.trial.settings.free)
            for n, response in enumerate(told)
        ]
        for row in rows:
            row["error"] = row["error"] and self._without_secrets(row["error"])
        began = next((r.started_at_ms for r in told if r.started_at_ms is not None), None)
        heard = next((r.first_audio_at_ms for r in told if r.first_audio_at_ms is not None), None)
        row = {
            "turn": self.turn,
            "n_responses": len(told),
            "first_modality": told[0].modality if told else None,
            "final_modality": last.modality if last is not None else None,
            "final_status": last.status if last is not None else None,
            "heard_ms": None if heard is None or began is None else heard - began,
            "n_items_sent": n_items - self.n_items_before,
        }
        self.outcome.turns.append(row)
        self.outcome.responses += rows
        if self.on_turn is not None and last is not None and self.turn < len(self.prepared.turns):
            self.on_turn(row, rows)  # the last turn's rows are written with the outcome

    def failed(self, exc: Exception) -> None:
        """Take down what went wrong, and what had come by then."""
        kind, code = failure_kind(exc)
        outcome = self.outcome
        outcome.status = "failed"
        outcome.fatal = kind == "refused" and (isinstance(exc, HandshakeRefused) or code in HOPELESS)
        outcome.wait_s = waiting_time_s(exc)
        outcome.failure = {
            "kind": kind,
            "error_type": type(exc).__name__,
            "error_code": code,
            "error": self._without_secrets(str(exc) or type(exc).__name__)[:_MAX_ERROR_CHARS],
            "expected": int(kind == self.trial.arm.expects),
        }
        if self._n_sent("response.create") and self.link and self.n_told < len(self.link.conversation.responses):
            self._end_turn(None)

    def _without_secrets(self, words: str) -> str:
        """What a server says may repeat what it was sent."""
        return self.link.redactor.text(words) if self.link is not None else words  # an error of connecting has none

    def finish(self, keep_events: bool) -> Outcome:
        """The outcome, complete."""
        outcome, link = self.outcome, self.link
        if link is None:  # nothing was sent, so nothing is owed
            return outcome
        outcome.session |= _facts(link) | {
            "n_items_sent": self._n_sent("conversation.item.create"),
            "n_updates_sent": self._n_sent("session.update"),
            "n_deletes_sent": self._n_sent("conversation.item.delete"),
            "n_responses": len(link.conversation.responses),
        }
        usd = [row["cost_usd"] for row in outcome.responses]
        unanswered = self._n_sent("response.create") > len(usd)
        outcome.usd = None if None in usd or (unanswered and not self.trial.settings.free) else float(sum(usd))
        for limit in link.conversation.rate_limits:
            if isinstance(limit, dict) and limit.get("name") == "tokens":
                outcome.remaining_tokens = _number(limit.get("remaining"))
                reset_s = limit.get("reset_seconds")
                outcome.reset_s = float(reset_s) if isinstance(reset_s, int | float) else None
        if keep_events:
            outcome.n_events = len(link.events)
            redact = link.redactor
            outcome.jsonl = zlib.compress(b"\n".join(redact(_event(event)) for event in link.events), 3)
        return outcome


def _facts(link: Link[Any]) -> Row:
    session = link.conversation.session
    simulated = link.conversation.simulated
    return {
        "session_id": _words(session.get("id")),
        "model": _words(session.get("model")),
        "voice": _words(read_session(session, "voice")),
        "simulated": None if simulated is None else int(simulated),
        "drift_rule": _words(dict_of(session, "simulated").get("drift")),
    }


def _response(response: Response, price: Price | None, *, free: bool) -> Row:
    usage = response.usage or {}
    given, made = dict_of(usage, "input_token_details"), dict_of(usage, "output_token_details")
    cached = dict_of(given, "cached_tokens_details")
    usd = 0.0 if free else price.usd(usage) if price is not None and response.usage else None
    error = response.error or {}
    return {
        "response_id": response.id,
        "simulated": None if response.simulated is None else int(response.simulated),
        "modality": response.modality,
        "status": response.status,
        "reason": response.reason,
        "asked": "+".join(response.asked) if response.asked else None,
        "started_by": response.started_by,
        "started_at_ms": response.started_at_ms,
        "first_audio_ms": response.first_audio_ms,
        "first_text_ms": response.first_text_ms,
        "first_transcript_ms": response.first_transcript_ms,
        "done_ms": response.done_ms,
        "n_audio_bytes": response.n_audio_bytes,
        "transcript": _storable(response.transcript),
        "text": _storable(response.text),
        "n_calls": len(response.calls),
        "error_code": _words(error.get("code")) or _words(error.get("type")),
        "error": _words(error.get("message")),
        "input_text_tokens": _number(given.get("text_tokens")),
        "input_audio_tokens": _number(given.get("audio_tokens")),
        "cached_text_tokens": _number(cached.get("text_tokens")),
        "cached_audio_tokens": _number(cached.get("audio_tokens")),
        "output_text_tokens": _number(made.get("text_tokens")),
        "output_audio_tokens": _number(made.get("audio_tokens")),
        "total_tokens": _number(usage.get("total_tokens")),
        "cost_usd": usd,
        "cost_estimated": 0,
    }


def _event(event: Event) -> bytes:
    told = {"at_ms": round(event.at_ms, 3), "direction": event.direction, "event": event.data}
    return encode(told if event.n_audio_bytes is None else told | {"n_audio_bytes": event.n_audio_bytes})


def _words(value: object) -> str | None:
    return _storable(value) if isinstance(value, str) else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _storable(text: str) -> str:
    """Half a surrogate pair, which JSON can carry and SQLite cannot, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()
