"""Items on the stand-in: where they go, what is kept of them, and how they are changed (wire/README.md, Conversation items)."""

import base64

import pytest
from talk import speech_of, talk

from kit.speech import say
from kit.standin import StandIn


async def order(t):
    """The conversation's ids as a client learns them: each item says which one is before it."""
    known = [e for e in t.events if e["type"] in ("conversation.item.added", "conversation.item.created")]
    ids = []
    for event in known:
        before = event["previous_item_id"]
        ids.insert(0 if before is None else ids.index(before) + 1, event["item"]["id"])
    return ids


@pytest.mark.parametrize("dialect", ["ga", "beta"])
async def test_items_go_where_previous_item_id_says(dialect):
    async with StandIn() as server, talk(server, dialect) as t:
        for id, place in [("a", {}), ("c", {"previous_item_id": None}), ("b", {"previous_item_id": "a"})]:
            await t.add(t.text("user", id) | {"id": id}, **place)
        await t.add(t.text("user", "first") | {"id": "first"}, previous_item_id="root")

        assert await order(t) == ["first", "a", "b", "c"]


async def test_a_client_s_id_and_text_come_back_as_they_were():
    async with StandIn() as server, talk(server) as t:
        event = await t.add(t.text("user", "Grüße 🎈") | {"id": "my-own id/1", "status": "incomplete"})

        assert event["item"] == {
            "id": "my-own id/1",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_text", "text": "Grüße 🎈"}],
        }


async def test_user_audio_is_echoed_without_its_sound_and_retrieved_with_it():
    pcm = say("Tell me a joke.").to_bytes()
    async with StandIn() as server, talk(server) as t:
        item = t.user_audio(pcm)
        item["content"][0]["transcript"] = "Tell me a joke."
        echoed = (await t.add(item))["item"]
        await t.send("conversation.item.retrieve", item_id=echoed["id"])
        retrieved = (await t.until("conversation.item.retrieved"))["item"]

    assert echoed["content"] == [{"type": "input_audio", "transcript": None}]
    assert base64.b64decode(retrieved["content"][0]["audio"]) == pcm


@pytest.mark.parametrize("dialect", ["ga", "beta"])
async def test_a_reply_is_retrieved_with_the_sound_that_was_streamed(dialect):
    async with StandIn(drift="never") as server, talk(server, dialect) as t:
        await t.say("user", "Tell me a joke.")
        reply = (await t.respond())["output"][0]
        await t.send("conversation.item.retrieve", item_id=reply["id"])
        retrieved = (await t.until("conversation.item.retrieved"))["item"]

    assert base64.b64decode(retrieved["content"][0]["audio"]) == speech_of(t.events)


@pytest.mark.parametrize("dialect", ["ga", "beta"])
async def test_a_deleted_item_is_gone_and_its_place_closes(dialect):
    async with StandIn() as server, talk(server, dialect) as t:
        for id in "abc":
            await t.add(t.text("user", id) | {"id": id})
        await t.send("conversation.item.delete", item_id="c")
        deleted = await t.until("conversation.item.deleted")
        event = await t.add(t.text("user", "d"))

    assert deleted["item_id"] == "c"
    assert event["previous_item_id"] == "b"


@pytest.mark.parametrize("dialect", ["ga", "beta"])
async def test_truncating_forgets_the_sound_after_the_point_and_the_whole_transcript(dialect):
    async with StandIn(drift="never") as server, talk(server, dialect) as t:
        await t.say("user", "Tell me a joke.")
        id = (await t.respond())["output"][0]["id"]
        await t.send("conversation.item.truncate", item_id=id, content_index=0, audio_end_ms=500)
        event = await t.until("conversation.item.truncated")
        await t.send("conversation.item.retrieve", item_id=id)
        part = (await t.until("conversation.item.retrieved"))["item"]["content"][0]

    assert (event["item_id"], event["content_index"], event["audio_end_ms"]) == (id, 0, 500)
    assert len(base64.b64decode(part["audio"])) == 500 * 48
    assert part["transcript"] == ""


@pytest.mark.parametrize("dialect", ["ga", "beta"])
async def test_a_call_and_its_output_can_be_seeded(dialect):
    async with StandIn() as server, talk(server, dialect) as t:
        call = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"a": 1}'}
        event = await t.add(call)
        output = await t.add({"type": "function_call_output", "call_id": "call_1", "output": "2"})

    assert event["item"].items() >= (call | {"status": "completed"}).items()
    assert output["item"].items() >= {"type": "function_call_output", "call_id": "call_1", "output": "2"}.items()


async def test_an_image_is_taken_in_ga():
    image = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}
    async with StandIn() as server, talk(server) as t:
        event = await t.add({"type": "message", "role": "user", "content": [image]})

    assert event["item"]["content"] == [image]


@pytest.mark.parametrize("dialect", ["ga", "beta"])
async def test_a_manual_commit_makes_an_item_of_the_buffer_and_no_response(dialect):
    pcm = say("Tell me a joke.").to_bytes()
    async with StandIn() as server, talk(server, dialect) as t:
        await t.update(
            **({"turn_detection": None} if dialect == "beta" else {"audio": {"input": {"turn_detection": None}}})
        )
        for start in range(0, len(pcm), 9600):
            await t.send("input_audio_buffer.append", audio=base64.b64encode(pcm[start : start + 9600]).decode())
        await t.send("input_audio_buffer.commit", event_id="mine")
        committed = await t.until("input_audio_buffer.committed")
        events = await t.rest()
        await t.send("conversation.item.retrieve", item_id=committed["item_id"])
        part = (await t.until("conversation.item.retrieved"))["item"]["content"][0]

    names = ["conversation.item.added", "conversation.item.done"] if dialect == "ga" else ["conversation.item.created"]
    assert [e["type"] for e in events] == names
    assert committed["previous_item_id"] is None
    assert base64.b64decode(part["audio"]) == pcm


@pytest.mark.refusal
async def test_clearing_the_buffer_forgets_it():
    async with StandIn() as server, talk(server) as t:
        await t.update(audio={"input": {"turn_detection": None}})
        await t.send("input_audio_buffer.append", audio=base64.b64encode(bytes(48_000)).decode())
        await t.send("input_audio_buffer.clear")
        await t.send("input_audio_buffer.commit")
        event = await t.until("error")

    assert event["error"]["code"] == "input_audio_buffer_commit_empty"


async def test_an_item_added_while_a_reply_is_made_comes_after_it():
    async with StandIn(drift="never", pace=20) as server, talk(server) as t:
        await t.say("user", "Tell me a joke.")
        await t.send("response.create")
        reply = (await t.until("response.output_item.added"))["item"]["id"]
        event = await t.say("user", "And another.")

    assert event["previous_item_id"] == reply
