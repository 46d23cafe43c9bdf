"""One attempt at a trial over GPT-Live, and what its seconds cost.

The same trial as over Realtime, with three differences. The history goes into the session's start, so the user's last line in it
is not seeded but asked aloud. A reply is inferred, by a policy made of the plan's deadline and window. And money runs by the
second, from the start to the close, whatever is said.

The runner plays it for an endpoint whose protocol is ``live`` (`runner.ATTEMPTS`); the columns are those of the ledger for both.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ..clip import Clip
from ..connecting import connect
from ..link import in_background
from ..live import LiveSession
from ..speech import say
from ..wire.live import PRICED_MODELS, USD_PER_SECOND
from ..wire.live_conversation import ReplyPolicy
from ..wire.records import row
from .attempt import Attempt, MachinePaused, Row
from .plan import first_ask


def policy_of(deadline_s: float, timeout_s: float) -> ReplyPolicy:
    """How replies are inferred: the plan's deadline and, up to 10 s, its observation window."""
    # 10 s without a voice is what `plan.live_usd` reserves money for.
    return ReplyPolicy(deadline_ms=deadline_s * 1000, window_ms=min(timeout_s, max(10.0, deadline_s)) * 1000)


async def _closed(session: LiveSession) -> None:
    """Close a session. Stopped meanwhile, it is waited for all the same: its confirmed seconds are what it costs."""
    closing = in_background(session.close())
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        await closing
        raise


class LiveAttempt(Attempt):
    """One attempt over GPT-Live."""

    session: LiveSession | None

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._history, first = first_ask(self.prepared.history, keep=self.trial.arm.keeps_last_line)
        # What each turn asks aloud; `None`: the arm asks by another way.
        self._contents: tuple[str | Clip | None, ...] = (first, *self.prepared.turns)
        self._asks: list[Clip | None] = []  # the same, spoken
        self._policy = policy_of(self.deadline_s, self.timeout_s)
        self._source: LiveSession | None = None  # that it is a fork of, closed
        self._n_rows = 0  # replies that are in rows already

    async def get_ready(self) -> None:
        # Spoken beforehand: a voice that is missing is this machine's trouble, and no second of a session is billed for it.
        self._asks = [await asyncio.to_thread(say, c) if isinstance(c, str) else c for c in self._contents]

    async def seed(self, connection: connect) -> None:
        session = self.session
        assert isinstance(session, LiveSession)
        session.configure(policy=self._policy, **self.prepared.settings)
        await self.trial.arm.seed(session, self._history)  # type: ignore[arg-type]
        # An arm that seeds nothing may not have started the session.
        if session.feeder is None:
            await session.start()
        if self.trial.arm.forks:
            # What was seeded is closed, and the trial goes on in a fork of it. Both are paid for.
            self._source = session
            assert session.id is not None
            await _closed(session)
            self.session = session = await connection.forked(session.id)
            session.configure(policy=self._policy)
            await session.start()

    async def ask(self, n: int) -> tuple[Row, list[Row], bool]:
        assert self.session is not None and self.session.feeder is not None
        self.turn, skipped_ms = n, self.session.feeder.skipped_ms
        await self.trial.arm.ask_aloud(self.session, self._asks[n])
        skipped_s = (self.session.feeder.skipped_ms - skipped_ms) / 1000
        # This process slept while a reply was awaited, and nothing was heard: then its silence says nothing.
        if skipped_s and not any(reply.n_voiced for reply in self.session.replies[self._n_rows :]):
            raise MachinePaused(f"this process did not run for {skipped_s:.0f} s while a reply was awaited")
        return *self._end_turn(), True

    async def close(self) -> None:
        assert self.session is not None
        await _closed(self.session)

    def _end_turn(self) -> tuple[Row, list[Row]]:
        """Put the open turn's replies into rows."""
        assert self.session is not None and self.turn is not None
        replies = self.session.replies[self._n_rows :]
        self._n_rows += len(replies)
        # What the model said unasked is no answer, unless nothing else came.
        answers = [reply for reply in replies if reply.ask is not None] or replies
        voiced = [reply for reply in answers if reply.n_voiced]
        final = (voiced or answers)[-1] if answers else None
        first = answers[0] if answers else None
        asked_at_ms = first.ask.at_ms if first and first.ask else None
        heard_at_ms = voiced[0].first_voice_at_ms if voiced else None
        heard_ms = None if heard_at_ms is None or asked_at_ms is None else heard_at_ms - asked_at_ms
        how_ended = None
        if final is not None and final.n_voiced:
            how_ended = "unfinished" if final.ended == "session ended" else "complete"
        turn = {
            "turn": self.turn,
            "n_responses": len(answers),
            "first_modality": first.modality if first else None,
            "final_modality": final.modality if final else None,
            "final_status": final.status if final else None,
            "first_outcome": first.outcome if first else "failed",
            "outcome": final.outcome if final else "failed",
            "ended": how_ended,
            # There are no written replies, so that the first content is the first voice.
            "first_ms": heard_ms,
            "heard_ms": heard_ms,
            "n_items_sent": len(self.session.conversation.appends),
        }
        rows: list[Row] = []
        for n, reply in enumerate(answers):
            rows.append(
                {name: int(value) if isinstance(value, bool) else value for name, value in row(reply).items()}
                # No event echoes what was asked for; there is only the voice (wire/LIVE.md, In ten lines).
                | {"turn": self.turn, "response": n, "asked": "audio", "ended": how_ended, "n_calls": 0}
                # Money runs by the session's seconds: a reply has no price of its own.
                | {"cost_usd": None if not self.trial.settings.free else 0.0, "cost_estimated": 0}
            )
        self.outcome.reply_begun = self.outcome.reply_begun or bool(voiced)
        self.outcome.turns.append(turn)
        self.outcome.responses += rows
        self.turn = None
        return turn, rows

    def close_turn(self, without_content: str) -> None:
        if self.session is None:
            return
        # Ends a reply that is still open, so that it gets a row.
        self.session.conversation.end(self.session.now_ms, lost=without_content == "failed")
        # Without a reply there is nothing to put into rows.
        if self.turn is not None and self.session.replies[self._n_rows :]:
            self._end_turn()

    def facts(self) -> Row:
        assert self.session is not None
        # Where the server does not name the model, the one that was asked for.
        return super().facts() | {"model": self.session.model}

    def _billed_s(self, session: LiveSession) -> float | None:
        """The seconds that a session is billed for; ``None`` where they, or what they cost, are not known.

        Unknown are seconds that the server did not confirm or that are not about those of this clock, those of a model without
        a known price, and what a backend's tokens cost beside them.
        """
        conversation = session.conversation
        if conversation.started_at_ms is None:  # nothing is billed before the start
            return 0.0
        seconds = conversation.seconds if conversation.seconds_confirmed else None
        if seconds is None or session.model not in PRICED_MODELS or list(conversation.backend_usage()):
            return None
        lasted_s = ((conversation.closed_at_ms or session.now_ms) - conversation.started_at_ms) / 1000
        # The service counts whole seconds by a clock of its own (wire/LIVE.md, Events): some slack is its right.
        return seconds if abs(seconds - lasted_s) <= 10 + 0.1 * lasted_s else None

    def collect(self) -> None:
        session, outcome = self.session, self.outcome
        assert session is not None
        conversation = session.conversation
        outcome.session |= self.facts() | {
            "reply_asked": int(bool(conversation.asks)),
            "n_items_sent": len(conversation.past) + len(conversation.appends),
            "n_updates_sent": 0,
            # Nothing can be deleted (wire/LIVE.md, In ten lines).
            "n_deletes_sent": 0,
            "n_responses": len(session.replies),
            "policy": conversation.policy.name,
        }
        # A fork is paid beside the session that it was made of.
        sessions = [session] if self._source is None else [self._source, session]
        if all(paid.conversation.seconds_confirmed for paid in sessions):
            outcome.session["seconds"] = sum(paid.conversation.seconds or 0.0 for paid in sessions)
        billed_s = [0.0] if self.trial.settings.free else [self._billed_s(paid) for paid in sessions]
        outcome.usd = None if None in billed_s else sum(filter(None, billed_s)) * USD_PER_SECOND
