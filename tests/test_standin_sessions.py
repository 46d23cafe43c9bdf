"""Sessions on the stand-in: what they begin with, how they are updated, which dialect they speak."""

import asyncio
import json

import pytest
import websockets
from talk import BETA_HEADER, talk

from kit.errors import InputError, LocalProtocolError
from kit.standin import StandIn


async def created(server, dialect="ga", **how):
    async with talk(server, dialect, **how) as t:
        return t.events[0]["session"]


async def test_header_query_or_force_decides_the_dialect():
    async with StandIn() as server:
        assert "output_modalities" in await created(server)
        assert "modalities" in await created(server, "beta")
        async with talk(server, headers=BETA_HEADER) as t:
            assert "modalities" in t.events[0]["session"]
    async with StandIn() as server, talk(server, **{"dialect": "ga"}) as t:
        assert "output_modalities" in t.events[0]["session"]
    async with StandIn(dialect="beta") as server:
        assert "modalities" in await created(server)
    async with StandIn(dialect="ga") as server:
        assert "output_modalities" in await created(server, "beta")


async def test_a_query_field_asks_for_beta_where_no_header_can_be_set():
    async with (
        StandIn() as server,
        websockets.connect(f"{server.url}?model=gpt-realtime&dialect=beta", proxy=None) as socket,
    ):
        assert "modalities" in json.loads(await socket.recv())["session"]


async def test_an_update_comes_back_as_the_whole_session():
    async with StandIn() as server, talk(server) as t:
        tools = [{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}}]
        event = await t.update(
            instructions="Be brief.",
            output_modalities=["text"],
            tools=tools,
            tool_choice={"type": "function", "name": "f"},
            max_output_tokens=100,
            audio={
                "input": {
                    "turn_detection": {"type": "semantic_vad", "eagerness": "high"},
                    "transcription": {"model": "gpt-realtime-whisper"},
                    "noise_reduction": {"type": "near_field"},
                },
                "output": {"voice": "cedar", "speed": 1.25},
            },
        )

    session = event["session"]
    assert session["instructions"] == "Be brief."
    assert session["output_modalities"] == ["text"]
    assert session["tools"] == tools
    assert session["max_output_tokens"] == 100
    assert session["audio"]["input"] == {
        "format": {"type": "audio/pcm", "rate": 24000},
        "transcription": {"model": "gpt-realtime-whisper", "language": None, "prompt": None},
        "noise_reduction": {"type": "near_field"},
        "turn_detection": {
            "type": "semantic_vad",
            "eagerness": "high",
            "create_response": True,
            "interrupt_response": True,
        },
    }
    assert session["audio"]["output"] == {
        "format": {"type": "audio/pcm", "rate": 24000},
        "voice": "cedar",
        "speed": 1.25,
    }


@pytest.mark.parametrize("dialect", ["ga", "beta"])
async def test_sub_fields_replace_and_null_turns_off(dialect):
    def vad(value):
        return {"turn_detection": value} if dialect == "beta" else {"audio": {"input": {"turn_detection": value}}}

    def shown(event):
        session = event["session"]
        return session["turn_detection"] if dialect == "beta" else session["audio"]["input"]["turn_detection"]

    async with StandIn() as server, talk(server, dialect) as t:
        first = shown(await t.update(**vad({"type": "server_vad", "threshold": 0.7})))
        second = shown(await t.update(**vad({"type": "server_vad", "silence_duration_ms": 900})))
        off = shown(await t.update(**vad(None)))
        on = shown(await t.update(**vad({"type": "server_vad"})))

    assert (first["threshold"], first["silence_duration_ms"]) == (0.7, 200)
    assert (second["threshold"], second["silence_duration_ms"]) == (0.7, 900)
    assert off is None
    assert on["threshold"] == 0.5


async def test_null_leaves_what_it_cannot_turn_off():
    async with StandIn() as server, talk(server) as t:
        before = t.events[0]["session"]
        event = await t.update(instructions=None, tools=None, audio={"output": {"voice": None}}, model="gpt-other")

    assert event["session"] == before


@pytest.mark.refusal
async def test_a_rejected_update_changes_nothing():
    async with StandIn() as server, talk(server) as t:
        before = t.events[0]["session"]
        refused = await t.update(instructions="Half of it.", bogus=1)
        after = await t.update()

    assert refused["type"] == "error"
    assert after["session"] == before


async def test_many_frames_at_once_before_any_is_read():
    async with StandIn(drift="never") as server, talk(server, greet=False) as t:
        await t.send("session.update", session={"type": "realtime", "instructions": None, "tools": []})
        await t.send("session.update", session={"type": "realtime", "output_modalities": ["audio"]})
        await t.send("conversation.item.create", item=t.text("user", "Tell me a joke."), previous_item_id="root")
        await t.send("response.create", response={"instructions": None, "metadata": {"turn": "1"}})
        done = await t.until("response.done")

    assert t.types[:5] == [
        "session.created",
        "session.updated",
        "session.updated",
        "conversation.item.added",
        "conversation.item.done",
    ]
    assert done["response"]["status"] == "completed"
    assert done["response"]["metadata"] == {"turn": "1"}


async def test_a_response_without_a_body_inherits_the_session():
    async with StandIn(drift="never") as server, talk(server, "beta") as t:
        await t.update(modalities=["text"], temperature=0.7)
        await t.say("user", "Tell me a joke.")

        response = await t.respond()

        assert (response["modalities"], response["temperature"]) == (["text"], 0.7)
        assert response["output"][0]["content"][0]["type"] == "text"


async def test_every_known_field_is_taken_in_ga():
    async with StandIn() as server, talk(server) as t:
        event = await t.update(
            truncation={"type": "retention_ratio", "retention_ratio": 0.8},
            tracing={"workflow_name": "w"},
            prompt={"id": "pmpt_1", "version": "2"},
            include=["item.input_audio_transcription.logprobs"],
            reasoning={"effort": "low"},
            parallel_tool_calls=True,
            audio={"input": {"format": {"type": "audio/pcmu"}}, "output": {"format": {"type": "audio/pcma"}}},
        )

    session = event["session"]
    assert session["truncation"] == {"type": "retention_ratio", "retention_ratio": 0.8}
    assert session["prompt"] == {"id": "pmpt_1", "version": "2"}
    assert session["reasoning"] == {"effort": "low"}
    assert session["audio"]["input"]["format"] == {"type": "audio/pcmu"}


# Its life as an object


async def test_it_says_where_it_is():
    server = StandIn(drift="never", seed=3)
    assert repr(server) == "<StandIn not started drift=never seed=3>"
    await server.start()
    assert repr(server) == f"<StandIn {server.url} drift=never seed=3>"
    assert server.drift == "never"
    await server.stop()


async def test_stopping_leaves_no_task_and_no_socket():
    before = asyncio.all_tasks()
    server = await StandIn(pace=1).start()
    async with talk(server) as t:
        await t.say("user", "Tell me a joke.")
        await t.send("response.create")
        await t.until("response.created")
        await server.stop()
        await server.stop()
        await t.socket.wait_closed()

    assert asyncio.all_tasks() <= before
    with pytest.raises(LocalProtocolError):
        _ = server.url


async def test_a_client_that_vanishes_leaves_nothing_behind():
    before = asyncio.all_tasks()
    async with StandIn(pace=1) as server, talk(server) as t:
        await t.say("user", "Tell me a joke.")
        await t.send("response.create")
        await t.until("response.created")
        t.socket.transport.abort()
    assert asyncio.all_tasks() <= before


async def test_it_can_be_started_again():
    server = StandIn()
    for _ in range(2):
        async with server, talk(server) as t:
            assert t.types == ["session.created"]


@pytest.mark.parametrize(
    "setting",
    [
        {"drift": "often"},
        {"dialect": "gamma"},
        {"pace": -1},
        {"pace": "fast"},
        {"replies": "one text"},
        {"replies": ["…"]},
        {"seed": "7"},
        {"port": 70_000},
        {"session_s": 0},
        {"faults": "drop"},
    ],
)
def test_a_setting_that_cannot_be_is_refused_at_once(setting):
    with pytest.raises(InputError):
        StandIn(**setting)


async def test_frames_are_shown_to_who_asked():
    seen = []
    async with StandIn(on_frame=lambda *frame: seen.append(frame)) as server, talk(server) as t:
        await t.say("user", "Hello.")
        id = t.events[0]["session"]["id"]

    assert [direction for direction, _, _ in seen] == ["server", "client", "server", "server"]
    assert {session for _, _, session in seen} == {id}


async def test_a_recorder_is_told_of_each_frame():
    class Seen(list):
        def __init__(self, facts):
            super().__init__()
            self.session = facts["session"]
            recorders.append(self)

        def frame(self, direction, frame, refused):
            self.append(direction)

        def end(self, code, reason):
            pass

    recorders = []
    async with StandIn(recorder=Seen) as server, talk(server) as t:
        await t.say("user", "Hello.")
        id = t.events[0]["session"]["id"]

    (seen,) = recorders
    assert seen == ["server", "client", "server", "server"] and seen.session == id


# The gpt-realtime-2 family


MODELS_2X = ["gpt-realtime-2", "gpt-realtime-2.1", "gpt-realtime-2.1-mini", "gpt-realtime-2-2026-05-06"]
OTHERS = ["gpt-realtime", "gpt-realtime-2025-08-28", "gpt-realtime-1.5", "gpt-realtime-mini"]


@pytest.mark.parametrize(("model", "is_2x"), [*((m, True) for m in MODELS_2X), *((m, False) for m in OTHERS)])
async def test_the_2x_family_has_other_defaults_marks_its_messages_and_counts_more_kinds_of_tokens(model, is_2x):
    async with StandIn(drift="never") as server, talk(server, model=model) as t:
        audio = t.events[0]["session"]["audio"]
        await t.say("user", "Hello.")
        response = await t.respond()
        phases = [item.get("phase") for item in response["output"]]
        usage = response["usage"]
        kinds = [
            "cache_write_tokens" in usage["input_token_details"],
            "reasoning_tokens" in usage["output_token_details"],
        ]

    assert (audio["output"]["voice"], audio["input"]["turn_detection"]["silence_duration_ms"]) == (
        ("marin", 500) if is_2x else ("alloy", 200)
    )
    assert phases == ["final_answer" if is_2x else None]
    assert kinds == [is_2x] * 2


@pytest.mark.refusal
@pytest.mark.parametrize(("model", "limit"), [("gpt-realtime-2.1", 32_000), ("gpt-realtime", 4_096)])
async def test_the_2x_family_writes_up_to_32_000_tokens(model, limit):
    async with StandIn() as server, talk(server, model=model) as t:
        assert (await t.update(max_output_tokens=limit))["session"]["max_output_tokens"] == limit
        await t.send("session.update", session={"type": "realtime", "max_output_tokens": limit + 1})
        error = (await t.until("error"))["error"]
        await t.send("response.create", response={"max_output_tokens": limit + 1})
        assert (await t.until("error"))["error"]["code"] == error["code"] == "integer_above_max_value"


# The sideband of a call


async def test_a_sideband_hears_no_greeting_and_no_audio_but_all_the_rest():
    async with StandIn(drift="never") as server, talk(server, model=None, call_id="rtc_1", greet=False) as t:
        assert (await t.update(instructions="Be brief."))["type"] == "session.updated"
        await t.say("user", "Tell me a joke.")
        response = await t.respond()
        await t.until("output_audio_buffer.stopped")

    assert t.types[0] == "session.updated"
    assert "response.output_audio.delta" not in t.types and "response.output_audio_transcript.delta" in t.types
    assert t.types.count("output_audio_buffer.started") == 1
    assert response["output"][0]["content"][0]["transcript"]
    assert response["usage"]["output_token_details"]["audio_tokens"] > 0


async def test_a_sideband_can_stop_what_the_call_plays():
    async with StandIn(drift="never", pace=1.0) as server, talk(server, model=None, call_id="rtc_1", greet=False) as t:
        await t.say("user", "Tell me a joke.")
        await t.send("response.create")
        await t.until("output_audio_buffer.started")
        await t.send("output_audio_buffer.clear")
        done = (await t.until("response.done"))["response"]
        await t.until("output_audio_buffer.cleared")

    assert done["status"] == "cancelled"
