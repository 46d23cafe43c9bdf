"""The trial of ``trial.py`` with other people's clients: `installed` has those that are here, each ``trial(url) -> n_bytes`` of audio.

Each takes its library's fastest reasonable way: no log output, no tracing, no keep-alive where it can be turned off, no callbacks
that are not needed, the audio counted and dropped. All wait for five acknowledgements before they ask for the response, as the hand-written loop does. What each does beyond
the trial, and by which interface:

openai SDK (`AsyncOpenAI.realtime.connect`): a pydantic model per event. With a new client per trial, a connection pool and its
TLS context as well, which is what its documentation's first example costs.

openai-agents, model (`OpenAIRealtimeWebSocketModel` with a listener): every event parsed by ``json``, told as a raw event, validated
by pydantic, told again as an event of its own; audio decoded and its length tracked. Items go out by `RealtimeModelSendRawMessage`,
as its documentation says; that makes a validator of all client events for each message, 8 ms, unless their models were built
before, then 0.4 ms. Here they were: `built` is pydantic's public way, and few users will know of it.

openai-agents, session (`RealtimeRunner`): the same below a session that keeps a history, guardrails' state and a queue of events.

pipecat (`OpenAIRealtimeLLMService` in a `Pipeline` with one processor behind it, run by a `PipelineWorker`): a pydantic model per event,
then frames through the pipeline: one per audio delta, two per transcript delta. Its context aggregator would pack a history into one
user message, which is another trial; so items go out by `send_client_event`, its public method. Turn tracking, RTVI, idle
timeouts, metrics and the sink's own queue are off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import Any, get_args

import pybase64
from prepared import INSTRUCTIONS, ITEMS, named_items

Trial = Callable[[str], Awaitable[int]]
CREATE, ADDED = "conversation.item.create", "conversation.item.added"
TRANSPORT: Any = {"ping_interval": None, "max_size": None}  # as the hand-written loop has it


def installed(*, slow: bool = True) -> dict[str, Trial]:
    """The peers that are here, by the name they have in a table; without `slow`, one way to use each."""
    found: dict[str, Trial] = {}
    if find_spec("openai"):
        found["openai SDK, one client"] = openai_sdk(anew=False)
        if slow:
            found["openai SDK, new client per trial"] = openai_sdk(anew=True)
    if find_spec("agents") and find_spec("openai"):
        found["openai-agents, model"] = agents_model()
        if slow:
            found["openai-agents, session"] = agents_session()
    if find_spec("pipecat"):
        found["pipecat"] = pipecat()
    return found


def openai_sdk(*, anew: bool) -> Trial:
    """The official SDK: one client for all trials, or a new one for each."""
    from openai import AsyncOpenAI

    clients: dict[str, AsyncOpenAI] = {}

    async def talk(client: AsyncOpenAI) -> int:
        n = acknowledged = 0
        options = TRANSPORT | {"compression": None}
        async with client.realtime.connect(model="gpt-realtime", websocket_connection_options=options) as connection:
            await connection.session.update(session={"type": "realtime", "instructions": INSTRUCTIONS})
            for item in named_items():
                await connection.conversation.item.create(item=item)
            async for event in connection:
                if event.type == "response.output_audio.delta":
                    n += len(pybase64.b64decode(event.delta))
                elif event.type == ADDED and acknowledged < len(ITEMS):
                    acknowledged += 1
                    if acknowledged == len(ITEMS):
                        await connection.response.create()
                elif event.type == "response.done":
                    break
        return n

    async def trial(url: str) -> int:
        base = url.partition("?")[0].replace("ws://", "http://").removesuffix("/realtime")
        if anew:
            async with AsyncOpenAI(api_key="none", base_url=base) as client:
                return await talk(client)
        if base not in clients:
            clients[base] = AsyncOpenAI(api_key="none", base_url=base)
        return await talk(clients[base])

    return trial


class Ear:
    """A listener of openai-agents' model: counts audio, and knows when items were acknowledged and when the response is over."""

    def __init__(self) -> None:
        self.n_bytes = self.acknowledged = 0
        self.seeded, self.over = asyncio.Event(), asyncio.Event()
        self.errors: list[Any] = []

    async def on_event(self, event: Any) -> None:
        if event.type == "audio":
            self.n_bytes += len(event.data)
        elif event.type == "raw_server_event":
            if event.data["type"] == ADDED:
                self.acknowledged += 1
                if self.acknowledged == len(ITEMS):
                    self.seeded.set()
        elif event.type == "turn_ended":
            self.over.set()
        elif event.type in ("error", "exception"):
            self.errors.append(event)
            self.seeded.set()
            self.over.set()


def model_config(url: str) -> Any:
    """No key, no tracing: a `session.update` with the instructions, as the trial has it."""
    settings = {"model_name": "gpt-realtime", "instructions": INSTRUCTIONS, "tracing": None}
    return {"url": url, "api_key": "none", "initial_model_settings": settings}


def built() -> None:
    """Build the models of client events now, once, instead of for every message that is sent."""
    from openai.types.realtime import realtime_client_event

    (members, *_) = get_args(realtime_client_event.RealtimeClientEvent)
    for model in get_args(members):
        model.model_rebuild()


def agents_model() -> Trial:
    """openai-agents' model layer alone."""
    from agents.realtime import OpenAIRealtimeWebSocketModel, RealtimeModelSendRawMessage

    built()

    async def trial(url: str) -> int:
        model, ear = OpenAIRealtimeWebSocketModel(transport_config=TRANSPORT), Ear()
        model.add_listener(ear)
        await model.connect(model_config(url))
        for item in named_items():
            await model.send_event(RealtimeModelSendRawMessage({"type": CREATE, "other_data": {"item": item}}))
        await ear.seeded.wait()
        await model.send_event(RealtimeModelSendRawMessage({"type": "response.create"}))
        await ear.over.wait()
        await model.close()
        assert not ear.errors, ear.errors
        return ear.n_bytes

    return trial


def agents_session() -> Trial:
    """openai-agents as documented: a runner, its session, raw messages."""
    from agents.realtime import OpenAIRealtimeWebSocketModel, RealtimeAgent, RealtimeModelSendRawMessage, RealtimeRunner

    built()
    agent = RealtimeAgent(name="bench", instructions=INSTRUCTIONS)

    async def trial(url: str) -> int:
        n = acknowledged = 0
        model = OpenAIRealtimeWebSocketModel(transport_config=TRANSPORT)
        runner = RealtimeRunner(agent, model=model, config={"tracing_disabled": True})
        async with await runner.run(model_config=model_config(url)) as session:
            for item in named_items():
                message = RealtimeModelSendRawMessage({"type": CREATE, "other_data": {"item": item}})
                await session.model.send_event(message)
            async for event in session:
                if event.type == "audio":
                    n += len(event.audio.data)
                elif event.type == "raw_model_event" and event.data.type == "raw_server_event":
                    if event.data.data["type"] == ADDED and acknowledged < len(ITEMS):
                        acknowledged += 1
                        if acknowledged == len(ITEMS):
                            await session.model.send_event(RealtimeModelSendRawMessage({"type": "response.create"}))
                elif event.type == "agent_end":
                    break
                assert event.type != "error", event
        return n

    return trial


def pipecat() -> Trial:
    """pipecat's service in the smallest pipeline that its audio comes out of."""
    from loguru import logger

    logger.disable("pipecat")
    from pipecat.frames.frames import LLMFullResponseEndFrame, TTSAudioRawFrame
    from pipecat.pipeline.pipeline import Pipeline
    from pipecat.pipeline.worker import PipelineWorker
    from pipecat.processors.frame_processor import FrameProcessor
    from pipecat.services.openai.realtime import events
    from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
    from pipecat.utils.asyncio.task_manager import TaskManager
    from pipecat.workers.base_worker import WorkerParams

    class Sink(FrameProcessor):
        def __init__(self) -> None:
            super().__init__(enable_direct_mode=True)
            self.n_bytes, self.over = 0, asyncio.Event()

        async def process_frame(self, frame: Any, direction: Any) -> None:
            await super().process_frame(frame, direction)
            if isinstance(frame, TTSAudioRawFrame):
                self.n_bytes += len(frame.audio)
            elif isinstance(frame, LLMFullResponseEndFrame):
                self.over.set()
            await self.push_frame(frame, direction)

    async def trial(url: str) -> int:
        properties = events.SessionProperties(instructions=INSTRUCTIONS)
        settings = OpenAIRealtimeLLMService.Settings(model="gpt-realtime", session_properties=properties)
        service = OpenAIRealtimeLLMService(api_key="none", base_url=url.partition("?")[0], settings=settings)
        sink = Sink()
        off = {"enable_rtvi": False, "enable_turn_tracking": False, "check_dangling_tasks": False}
        worker = PipelineWorker(Pipeline([service, sink]), idle_timeout_secs=None, **off)
        started, seeded = asyncio.Event(), asyncio.Event()
        acknowledged = 0

        @worker.event_handler("on_pipeline_started")
        async def ready(*_: object) -> None:
            started.set()

        @service.event_handler("on_conversation_item_created")
        async def added(*_: object) -> None:
            nonlocal acknowledged
            acknowledged += 1
            if acknowledged == len(ITEMS):
                seeded.set()

        running = asyncio.create_task(worker.run(WorkerParams(TaskManager())))
        await started.wait()
        for item in named_items():
            made = events.ConversationItem.model_validate(item)
            await service.send_client_event(events.ConversationItemCreateEvent(item=made))
        await seeded.wait()
        await service.send_client_event(events.ResponseCreateEvent())
        await sink.over.wait()
        await worker.stop_when_done()
        await running
        return sink.n_bytes

    return trial
