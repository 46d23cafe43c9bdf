"""The responses of one session: which may begin, which runs, what each is made of, and how it is stopped."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..wire.dialect import missing
from . import transcribing
from .calling import called
from .faults import server_error, troubled
from .items import Item, context_facts, item_from_client
from .replies import asked_item, choose, words_of
from .responding import Response
from .schema import demand, refuse
from .script import Call, Output, outputs
from .settings import Asked

if TYPE_CHECKING:
    from .core import Core


@dataclass(slots=True)
class _Running:
    response: Response
    steps: Iterator[float]
    began_s: float
    due_s: float


class Responses:
    """The output half of one session."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._drifts = core.manners.drift.for_session(core.draws)
        self._running: list[_Running] = []
        self._said: list[str] = []
        self._turn = 0

    # Which runs

    def _active(self) -> _Running | None:
        """The response that is writing to the conversation."""
        return next((run for run in self._running if run.response.conversation_id is not None), None)

    @property
    def busy(self) -> bool:
        return self._active() is not None

    @property
    def wake_at(self) -> float:
        return min((run.due_s for run in self._running), default=math.inf)

    def advance(self, now_s: float) -> None:
        """Let each response that is due take one step."""
        for run in self._running[:]:
            if run.due_s <= now_s and run in self._running:
                self._step(run)

    def _step(self, run: _Running) -> None:
        core = self._core
        at_s = next(run.steps, None)
        if at_s is None:
            if run in self._running:
                self._running.remove(run)
            self._over(run)
        elif at_s == math.inf:
            run.due_s = at_s
        else:
            run.due_s = run.began_s + at_s / core.manners.pace if core.manners.pace else run.began_s

    def _over(self, run: _Running) -> None:
        response, core = run.response, self._core
        if response.conversation_id is not None and response.status == "completed":
            core.turns.replied(max(core.now(), run.began_s + response.audio_ms / 1000 / (core.manners.pace or 1)))

    def hold(self, response: Response, seconds: float) -> None:
        """Let a response wait, whatever the pace."""
        for run in self._running:
            if run.response is response:
                run.began_s += seconds
                run.due_s = run.began_s

    def heard(self) -> None:
        """Something was understood: who waited for it goes on."""
        now_s = self._core.now()
        for run in self._running:
            if run.due_s == math.inf and run.response.waiting:
                run.began_s = run.due_s = now_s

    # Begin

    def create(self, event: dict[str, Any]) -> None:
        """`response.create`."""
        core = self._core
        asked = Asked(event.get("response"), core.settings)
        context = self._context(asked)
        busy = None if asked.out_of_band else self._active()
        if busy is not None:
            raise refuse(
                "conversation_already_has_active_response",
                f"Conversation already has an active response in progress: {busy.response.id}. "
                "Wait until the response is finished before creating a new one.",
            )
        self._begin(asked, context, event.get("event_id"))

    def begin_for_turn(self) -> None:
        """A turn was heard."""
        self._begin(Asked(None, self._core.settings), list(self._core.conversation), None)

    def _context(self, asked: Asked) -> list[Item]:
        """The items that a response reads: its own `input`, or the conversation."""
        core = self._core
        given = asked.get("input")
        if given is None:
            return list(core.conversation)
        items: list[Item] = []
        for n, raw in enumerate(given):
            path = f"response.input[{n}]"
            if isinstance(raw, dict) and raw.get("type") == "item_reference":
                found = core.conversation.find(str(raw.get("id")))
                if found is None:  # what the service says to this is unverified
                    demand(missing(f"{path}.id") if raw.get("id") is None else None)
                    raise refuse(
                        "item_not_found", f"Item with id '{raw['id']}' not found in conversation.", f"{path}.id"
                    )
                items.append(found)
            else:
                items.append(item_from_client(raw, core.d, core.settings.input_format, core.new_id("item"), path))
        return items

    def _begin(self, asked: Asked, context: list[Item], event_id: object) -> None:
        core = self._core
        fault = core.fault("reply")
        if fault is not None and fault.name == "error-event":
            error = server_error(core)
            core.error(error["type"], error["code"], error["message"], None, event_id)
            return
        # the rule is asked for each reply that is to be spoken, and for no other
        aloud = asked.speech and not self._drifts(context_facts(context))
        turn, self._turn = self._turn, self._turn + 1
        response = Response(core, asked, context, aloud, lambda: self._plan(asked, context, aloud, turn))
        now_s = core.now()
        run = _Running(response, iter(()), now_s, now_s)
        self._running.append(run)
        run.steps = response.steps() if fault is None else troubled(fault, response, core)
        self._step(run)

    def _plan(self, asked: Asked, context: list[Item], aloud: bool, turn: int) -> list[Output] | None:
        """What a response will produce; ``None`` while what was said to it is still being made out."""
        core = self._core
        item = asked_item(context)
        spoken = item is not None and item.has("user", "audio") and not words_of(item)
        if item is not None and spoken and item.hearing != "done" and transcribing.available():
            core.understand(item)
            return None
        scripted = core.manners.replies
        if scripted is not None and turn < len(scripted):
            plan = outputs(scripted[turn], aloud)
        else:
            call = called(asked.get("tools") or (), asked.get("tool_choice"), item, words_of(item))
            plan = [call] if call else outputs(choose(context, self._said, core.draws, turn), aloud)
        self._said += [one.text for one in plan if not isinstance(one, Call)]
        return plan

    # Stop

    def cancel(self, event: dict[str, Any]) -> None:
        """`response.cancel`."""
        wanted = event.get("response_id")
        run = self._active() if wanted is None else next((r for r in self._running if r.response.id == wanted), None)
        if run is None:
            raise refuse("response_cancel_not_active", "Cancellation failed: no active response found")
        self._stop(run, "client_cancelled")

    def interrupt(self) -> None:
        """The user speaks: what is being said to the conversation stops."""
        run = self._active()
        if run is not None:
            self._stop(run, "turn_detected")

    def _stop(self, run: _Running, reason: str) -> None:
        if run.response.speaking:
            self._step(run)  # a delta that was under way still arrives
        if run in self._running and run.response.status == "in_progress":
            self._running.remove(run)
            run.response.cancel(reason)
