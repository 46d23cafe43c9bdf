"""The official `openai` client, as people use it, against the stand-in: GA and beta."""

import base64

import pytest
from hearing import heard
from openai import AsyncOpenAI
from talk import SKELETONS

from kit.speech import repertoire
from kit.standin import StandIn

JOKES = sorted(line.text for line in repertoire("joke"))


def realtime(client, dialect):
    return client.realtime if dialect == "ga" else client.beta.realtime


def seeds(dialect):
    kind = "output_text" if dialect == "ga" else "text"
    for role, type, text in [
        ("user", "input_text", "Tell me a joke."),
        ("assistant", kind, SKELETONS),
        ("user", "input_text", "Another one, please."),
    ]:
        yield {"type": "message", "role": role, "content": [{"type": type, "text": text}]}


def client(server):
    # websocket_base_url, for the beta half of the SDK makes wss:// of any base_url
    return AsyncOpenAI(api_key="sk-anything", websocket_base_url=server.url.removesuffix("/realtime"))


def http(server):
    return server.url.replace("ws://", "http://").removesuffix("/realtime")


async def one_b(server, dialect):
    """Test case 1b, and all events up to `response.done`."""
    async with client(server) as openai, realtime(openai, dialect).connect(model="gpt-realtime") as connection:
        for item in seeds(dialect):
            await connection.conversation.item.create(item=item)
        await connection.response.create()
        events = [await connection.recv()]
        while events[-1].type != "response.done":
            events.append(await connection.recv())
        return events


@pytest.mark.parametrize("dialect", ["ga", "beta"])
async def test_it_seeds_1b_and_gets_a_complete_text_reply(dialect):
    async with StandIn() as server:
        events = await one_b(server, dialect)

    response = events[-1].response
    assert response.status == "completed"
    assert response.output[0].content[0].type == ("output_text" if dialect == "ga" else "text")
    assert response.output[0].content[0].text in JOKES
    assert not [event for event in events if event.type.endswith("audio.delta")]


@pytest.mark.parametrize("dialect", ["ga", "beta"])
async def test_without_drift_it_gets_speech_that_decodes_to_its_transcript(dialect):
    async with StandIn(drift="never") as server:
        events = await one_b(server, dialect)

    pcm = b"".join(base64.b64decode(event.delta) for event in events if event.type.endswith("audio.delta"))
    transcript = events[-1].response.output[0].content[0].transcript
    assert heard(pcm, JOKES) == transcript


@pytest.mark.refusal
async def test_it_meets_the_service_s_errors():
    async with (
        StandIn() as server,
        client(server) as openai,
        openai.realtime.connect(model="gpt-realtime") as connection,
    ):
        await connection.conversation.item.delete(item_id="X")
        error = [await connection.recv() for _ in range(2)][-1].error

    assert error.code == "item_delete_invalid_item_id"


async def test_a_base_url_is_enough_for_ga():
    async with StandIn() as server, AsyncOpenAI(api_key="sk-anything", base_url=http(server)) as openai:
        connection = await openai.realtime.connect(model="gpt-realtime").enter()

        assert (await connection.recv()).type == "session.created"
        await connection.close()
