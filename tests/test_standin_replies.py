"""What the stand-in says, how it is counted, stopped, and kept out of the conversation."""

import time

import pytest
from hearing import heard
from talk import speech_of, talk

from kit.speech import repertoire, say
from kit.standin import StandIn
from kit.standin.items import text_tokens
from kit.standin.settings import INSTRUCTIONS
from kit.standin.sound import decoded

JOKES = {line.text for line in repertoire("joke")}
ANSWERS = {line.text for line in repertoire("answer")}


def words(response):
    part = response["output"][0]["content"][0]
    return part.get("transcript") or part.get("text")


async def test_every_audio_reply_says_its_transcript():
    candidates = sorted(JOKES | ANSWERS)
    async with StandIn(drift="never") as server, talk(server) as t:
        for ask in ("Tell me a joke.", "Another one, please.", "Who are you?", "Count to ten."):
            await t.say("user", ask)
            t.events.clear()
            response = await t.respond()

            assert heard(speech_of(t.events), candidates) == words(response)


async def test_it_tells_jokes_when_asked_and_says_what_it_is_otherwise():
    async with StandIn() as server:
        async with talk(server) as t:
            await t.say("user", "Tell me a joke.")
            assert words(await t.respond()) in JOKES
        async with talk(server) as t:
            await t.say("user", "What is the capital of France?")
            assert words(await t.respond()) == "I'm a stand-in, not a language model; I only know a few jokes."


async def test_it_does_not_repeat_itself_until_all_is_said():
    async with StandIn(drift="always") as server, talk(server) as t:
        said = []
        for _ in range(len(JOKES) + 1):
            await t.say("user", "Another joke, please.")
            said.append(words(await t.respond()))

    assert set(said[:-1]) == JOKES
    assert said[-1] == "You have heard all the jokes that I know."


async def test_seed_and_trial_choose_the_line():
    async def first(seed, trial):
        async with StandIn(seed=seed) as server, talk(server, trial=trial) as t:
            await t.say("user", "Tell me a joke.")
            return words(await t.respond())

    assert await first(1, "a") == await first(1, "a")
    assert len({await first(seed, trial) for seed in (1, 2, 3) for trial in "ab"}) > 2


async def test_scripted_replies_come_in_order_in_every_session():
    script = ["Hello. What would you like to hear?", "Yes, I am listening."]
    async with StandIn(replies=script, drift="never") as server:
        for _ in range(2):
            async with talk(server) as t:
                await t.say("user", "Tell me a joke.")
                assert [words(await t.respond()) for _ in script] == script
                assert words(await t.respond()) in JOKES


async def test_usage_counts_speech_by_the_published_rates():
    clip = say("Tell me a joke.")
    async with StandIn(drift="never") as server, talk(server) as t:
        await t.add(t.user_audio(clip.to_bytes()))
        response = await t.respond()

    usage = response["usage"]
    spoken_ms = say(words(response)).duration_ms
    assert usage["input_token_details"]["audio_tokens"] == -(-clip.duration_ms // 100)
    assert usage["output_token_details"]["audio_tokens"] == -(-spoken_ms // 50)
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    inner = usage["input_token_details"]
    assert usage["input_tokens"] == inner["text_tokens"] + inner["audio_tokens"]


async def test_what_was_read_before_is_cached_in_blocks_of_64():
    async with StandIn(drift="never") as server, talk(server) as t:
        await t.say("user", "Tell me a joke.")
        first = (await t.respond())["usage"]
        await t.say("user", "Another one.")
        second = (await t.respond())["usage"]

    assert first["input_token_details"]["cached_tokens"] == 0
    assert second["input_token_details"]["cached_tokens"] == first["input_tokens"] // 64 * 64 > 0


def test_the_default_instructions_weigh_what_the_service_says():
    assert 105 <= text_tokens(INSTRUCTIONS) <= 140  # the service: about 115


async def test_a_limit_on_tokens_cuts_a_reply_short():
    async with StandIn(drift="never") as server, talk(server) as t:
        await t.say("user", "Tell me a joke.")
        response = await t.respond(max_output_tokens=20)

    assert response["status"] == "incomplete"
    assert response["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
    assert response["output"][0]["status"] == "incomplete"
    assert 0 < len(speech_of(t.events)) <= 20 * 50 * 48


@pytest.mark.parametrize("dialect", ["ga", "beta"])
async def test_a_cancelled_reply_is_closed_as_incomplete_and_counted(dialect):
    async with StandIn(drift="never", pace=1) as server, talk(server, dialect) as t:
        await t.say("user", "Tell me a joke.")
        await t.send("response.create")
        await t.until(("response.output_audio.delta", "response.audio.delta"))
        await t.send("response.cancel")
        response = (await t.until("response.done"))["response"]
        await t.rest()

    tail = t.types[-9:-2] if dialect == "ga" else t.types[-8:-1]
    prefix = "response.output_audio" if dialect == "ga" else "response.audio"
    closing = [f"{prefix}.done", f"{prefix}_transcript.done", "response.content_part.done"]
    closing += ["conversation.item.done"] if dialect == "ga" else []
    closing += ["response.output_item.done", "response.done"]
    assert [kind for kind in tail if kind in closing] == closing
    assert response["status"] == "cancelled"
    assert response["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    assert response["output"][0]["status"] == "incomplete"
    assert response["usage"]["output_token_details"]["audio_tokens"] == -(-len(speech_of(t.events)) // (50 * 48))


async def test_a_response_can_be_cancelled_by_its_id():
    async with StandIn(drift="never", pace=1) as server, talk(server) as t:
        await t.say("user", "Tell me a joke.")
        await t.send("response.create", response={"conversation": "none"})
        id = (await t.until("response.created"))["response"]["id"]
        await t.send("response.cancel", response_id=id)

        assert (await t.until("response.done"))["response"]["status"] == "cancelled"


@pytest.mark.parametrize("dialect", ["ga", "beta"])
async def test_out_of_band_leaves_the_conversation_as_it_was(dialect):
    async with StandIn(drift="never") as server, talk(server, dialect) as t:
        seeded = (await t.add(t.text("user", "Tell me a joke.")))["item"]["id"]
        t.events.clear()
        reference = {"type": "item_reference", "id": seeded}
        response = await t.respond(conversation="none", input=[reference], metadata={"topic": "x"})
        await t.rest()
        touched = [kind for kind in t.types if kind.startswith("conversation.item.")]
        event = await t.say("user", "Hello.")

    assert response["conversation_id"] is None
    assert response["metadata"] == {"topic": "x"}
    assert words(response) in JOKES
    assert touched == []
    assert event["previous_item_id"] == seeded


async def test_out_of_band_runs_beside_the_conversation_s_own():
    async with StandIn(drift="never", pace=20) as server, talk(server) as t:
        await t.say("user", "Tell me a joke.")
        await t.send("response.create")
        await t.until("response.created")
        await t.send("response.create", response={"conversation": "none"})
        done = [(await t.until("response.done"))["response"]["status"] for _ in range(2)]

    assert done == ["completed", "completed"]


async def test_an_empty_input_is_an_empty_context():
    async with StandIn(drift="never") as server, talk(server) as t:
        await t.say("user", "Tell me a joke.")
        response = await t.respond(conversation="none", input=[])

    assert words(response) == "Hello. What would you like to hear?"


async def test_pace_streams_in_multiples_of_real_time():
    server = StandIn(drift="never", pace=20, replies=["How does the ocean say hello? It waves."])
    async with server, talk(server) as t:
        await t.say("user", "Tell me a joke.")
        began = time.monotonic()
        await t.respond()
        took_ms = (time.monotonic() - began) * 1000

    speech_ms = len(speech_of(t.events)) / 48
    assert took_ms >= (speech_ms - 200) / 20


async def test_telephone_speech_is_heard_as_its_transcript():
    for kind, format in (("audio/pcmu", "g711_ulaw"), ("audio/pcma", "g711_alaw")):
        async with StandIn(drift="never") as server, talk(server) as t:
            await t.update(audio={"output": {"format": {"type": kind}}})
            await t.say("user", "Tell me a joke.")
            response = await t.respond()
        wide = decoded(speech_of(t.events), format)

        assert len(speech_of(t.events)) == pytest.approx(say(words(response)).duration_ms * 8, abs=8)
        assert heard(wide, sorted(JOKES)) == words(response)


async def test_an_update_in_the_middle_of_a_reply_is_for_the_next_one():
    async with StandIn(drift="never", pace=20) as server, talk(server) as t:
        await t.say("user", "Tell me a joke.")
        await t.send("response.create")
        await t.until("response.output_audio.delta")
        await t.update(output_modalities=["text"], max_output_tokens=77)
        first = (await t.until("response.done"))["response"]
        second = await t.respond()

    assert (first["output_modalities"], first["max_output_tokens"]) == (["audio"], "inf")
    assert (second["output_modalities"], second["max_output_tokens"]) == (["text"], 77)
