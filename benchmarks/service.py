"""A service without sockets, whose truth is known, behind everything of the kit that counts.

It takes the place of the stand-in in `run`: the kit's own session, fold, attempt, runner, writer and ledger do the rest, so that a
thousand plans take minutes. Like a service and unlike the stand-in's usual rules it draws afresh at every attempt. Time is turns of
the event loop: the first content of a text comes after 2 to 6 of them, of audio after 4 to 14, so that whatever ends sessions early
(a drop, an expiry, an interrupt) takes mostly audio.

::

    with serving(Service(lambda case, arm: 0.3, drop=0.05, expires_after=12, seed=1)):
        ledger = await run(plan, path)
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
from websockets.exceptions import ConnectionClosedError

from kit import Ledger, Plan, cases, run
from kit.eventlog.redact import Redactor
from kit.link import Link
from kit.session import Session
from kit.trials import runner
from kit.trials.plan import Trial
from kit.wire.conversation import Conversation

TEXT_AFTER, AUDIO_AFTER = (2, 6), (4, 14)  # turns of the loop until the first content, and again until the end


@dataclass
class Service:
    """What is true of the service, and what goes wrong.

    Args:
        p: The chance that a session's replies come as text, by case and arm. It sticks for the whole session.
        lose: The chance of each response, by whether it is text, that the connection drops before its content.
        fails: The chance of each response that the service ends it as failed, before its content.
        breaks: The chance of each response that the connection drops after its content has begun.
        unreached: The chance that a connection drops while it is being seeded, before anything is asked.
        expires_after: Turns of the loop after which every session is cut.
        paired: Like trials of two arms (same case, repeat and try) meet the same luck, so that what is left between the arms is what
            they do and how they are counted.
    """

    p: Callable[[str, str], float]
    lose: Callable[[bool], float] = lambda is_text: 0.0
    fails: float = 0.0
    breaks: float = 0.0
    unreached: float = 0.0
    expires_after: int | None = None
    paired: bool = False
    seed: int = 0
    n_text: int = 0
    """First responses, of all sessions, that were drawn as text, whatever became of them; and all of them."""
    n_asked: int = 0
    tries: Counter[str] = field(default_factory=Counter)
    draw: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)

    def draws_for(self, trial: Trial) -> random.Random:
        """Return where the next session of a trial draws from."""
        self.tries[trial.trial_id] += 1
        about = f"{self.seed} {trial.role} {trial.case.name} {trial.repeat} {self.tries[trial.trial_id]}"
        return random.Random(about) if self.paired else self.draw


@contextlib.contextmanager
def serving(service: Service) -> Iterator[Service]:
    """Let `run` meet this service wherever a plan names the stand-in."""

    class Places:
        def __init__(self, *_: Any, **options: Any) -> None: ...

        async def __aenter__(self) -> Places:
            return self

        async def __aexit__(self, *_: Any) -> None: ...

        def connect(self, trial: Trial, attempt: int, timeout_s: float, **_: Any) -> _Connection:
            return _Connection(service, trial)

    with patch.object(runner, "StandIns", Places):
        yield service


# What goes wrong → how, of the service and of the run; and whether the loss chooses between text and audio.
TROUBLE: dict[str, tuple[Mapping[str, Any], int, bool]] = {
    "nothing": ({}, 0, False),
    "5 % drop, 5 % fail, either": ({"lose": lambda is_text: 0.05, "fails": 0.05, "unreached": 0.05}, 0, False),
    "audio drops: 20 % against 2": ({"lose": lambda is_text: 0.02 if is_text else 0.2, "breaks": 0.1}, 0, True),
    "text drops: 20 % against 2": ({"lose": lambda is_text: 0.2 if is_text else 0.02, "breaks": 0.1}, 0, True),
    "cut after 12 turns": ({"expires_after": 12}, 0, True),
    "stopped 20 times": ({}, 20, True),
}


def in_plan(n_cells: int, arms: Any = "as_is", repeats: int = 40, **options: Any) -> Plan:
    """A plan of so many like cases; a history of one item costs the least."""
    return Plan([replace(cases.one_a, name=f"c{n:02}") for n in range(n_cells)], arms, repeats, **options)


async def play(plan: Plan, path: Path, stops: int = 0) -> Ledger:
    """Run a plan to its end; `stops` times it is stopped on the way, whatever its sessions are doing, and gone on with."""

    async def stopped(stop_at: int) -> None:
        def stop(progress: Any) -> None:
            if progress.decided >= stop_at:
                task.cancel()

        task = asyncio.ensure_future(run(plan, path, at_once=4, progress=stop))
        await asyncio.gather(task, return_exceptions=True)

    for n in range(stops):
        await stopped((n + 1) * plan.n_trials // (stops + 1))
    return await run(plan, path, at_once=32, progress=None)


@contextlib.contextmanager
def played(plan: Plan, service: Service | None = None, stops: int = 0) -> Iterator[Ledger]:
    """`play` a plan, against this service or what the plan names. The ledger is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder, serving(service) if service else contextlib.nullcontext():
        yield asyncio.run(play(plan, Path(folder, "ledger.sqlite"), stops))


class _Connection:
    """What ``await connect(…)`` is to an attempt."""

    def __init__(self, service: Service, trial: Trial) -> None:
        self.service, self.trial = service, trial

    def __await__(self) -> Any:
        return self._open().__await__()

    async def _open(self) -> Session:
        socket = _Socket(self.service, self.trial)
        now_ms = asyncio.get_running_loop().time
        link: Any = Link(
            self.trial.settings.where,
            socket,  # type: ignore[arg-type]
            Conversation(simulated=True, keep_audio=False),
            lambda: now_ms() * 1000,
            Redactor(),
        )
        link.start()
        socket.put(
            "session.created", session={"id": f"sess_{id(socket)}", "model": "simulated", "object": "realtime.session"}
        )
        session = Session(link)
        session.shows_replies = False
        return session


class _Socket:
    """The server's side of one session, and the client's socket to it."""

    def __init__(self, service: Service, trial: Trial) -> None:
        self.service, self.draw = service, service.draws_for(trial)
        self.is_text = self.draw.random() < service.p(trial.case.name, trial.arm.name)
        self.on_messages: Callable[[list[bytes]], None] | None = None
        self.n_responses = self.n_events = 0
        self.closed: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.unreached = self.draw.random() < service.unreached
        self.tasks: set[asyncio.Task[None]] = set()
        if service.expires_after is not None:
            self._start(self._expire(service.expires_after))

    # ------------------------------------------------------------------------------------------- what a link asks of it

    async def receive(self) -> bytes:
        return await asyncio.shield(self.closed)

    async def send_all(self, frames: Sequence[bytes]) -> None:
        if self.closed.done():
            raise ConnectionClosedError(None, None)
        for frame in frames:
            self._answer(msgspec.json.decode(frame))

    async def close(self) -> None:
        self.drop()

    # ------------------------------------------------------------------------------------------------------- the server

    def put(self, kind: str, **fields: Any) -> None:
        self.n_events += 1
        if self.on_messages is not None and not self.closed.done():
            event = {"type": kind, "event_id": f"event_{self.n_events}"} | fields
            self.on_messages([msgspec.json.encode(event)])

    def drop(self) -> None:
        if not self.closed.done():
            self.closed.set_exception(ConnectionClosedError(None, None))
            self.closed.exception()
        for task in self.tasks - {asyncio.current_task()}:
            task.cancel()

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _expire(self, turns: int) -> None:
        await _turns(turns)
        self.drop()

    def _answer(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind == "session.update":
            self.put("session.updated", session={"id": "sess", "model": "simulated"} | event["session"])
        elif kind == "conversation.item.create":
            if self.unreached:
                self.drop()
            item = {"object": "realtime.item", "status": "completed"} | event["item"]
            self.put("conversation.item.added", item=item, previous_item_id=None)
            self.put("conversation.item.done", item=item, previous_item_id=None)
        elif kind == "conversation.item.delete":
            self.put("conversation.item.deleted", item_id=event["item_id"])
        elif kind == "response.create":
            self._start(self._respond(event.get("response", {})))

    async def _respond(self, asked: dict[str, Any]) -> None:
        draw, service = self.draw, self.service
        self.n_responses += 1
        n, is_text = self.n_responses, self.is_text
        service.n_asked += n == 1
        service.n_text += n == 1 and is_text
        lost = draw.random() < service.lose(is_text)
        fails = draw.random() < service.fails
        breaks = draw.random() < service.breaks
        until_content, until_end = (draw.randint(*(TEXT_AFTER if is_text else AUDIO_AFTER)) for _ in range(2))
        response = {
            "id": f"resp_{id(self)}_{n}",
            "object": "realtime.response",
            "metadata": asked.get("metadata"),
            "output": [],
        }
        item = {"id": f"item_{id(self)}_{n}", "object": "realtime.item", "type": "message", "role": "assistant"}
        place = {"response_id": response["id"], "item_id": item["id"], "output_index": 0, "content_index": 0}
        part = {"type": "output_text", "text": "Ha."} if is_text else {"type": "output_audio", "transcript": "Ha."}
        await _turns(1)
        self.put("response.created", response=response | {"status": "in_progress"})
        await _turns(until_content)
        if lost:
            return self.drop()
        if fails:
            error = {"type": "server_error", "code": "server_error", "message": "failed"}
            details = {"type": "failed", "error": error}
            return self.put("response.done", response=response | {"status": "failed", "status_details": details})
        self.put("response.output_item.added", item=item | {"status": "in_progress", "content": []}, **place)
        self.put("conversation.item.added", item=item | {"status": "in_progress", "content": []}, previous_item_id=None)
        empty = {"type": "text", "text": ""} if is_text else {"type": "audio", "transcript": ""}
        self.put("response.content_part.added", part=empty, **place)
        if is_text:
            self.put("response.output_text.delta", delta="Ha.", **place)
        else:
            self.put("response.output_audio.delta", delta="AAAA", **place)
        await _turns(until_end)
        if breaks:
            return self.drop()
        whole = item | {"status": "completed", "content": [part]}
        self.put("response.output_item.done", item=whole, **place)
        self.put("conversation.item.done", item=whole, previous_item_id=None)
        return self.put("response.done", response=response | {"status": "completed", "output": [whole]})


async def _turns(n: int) -> None:
    for _ in range(n):
        await asyncio.sleep(0)
