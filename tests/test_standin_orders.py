"""The stand-in's events come in the service's order, with its ids and keys (wire/README.md: Ids, Item event twins, Event orders)."""

import re

import pytest
from talk import outline, speech_of, talk

from kit.standin import StandIn
from kit.wire.dialect import MARK_HEADER

GA_AUDIO = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "delta*",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
    "rate_limits.updated",
]
GA_TEXT = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "delta*",
    "response.output_text.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
    "rate_limits.updated",
]
BETA_AUDIO = [
    "response.created",
    "response.output_item.added",
    "conversation.item.created",
    "response.content_part.added",
    "delta*",
    "rate_limits.updated",
    "response.audio.done",
    "response.audio_transcript.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.done",
]
BETA_TEXT = [
    "response.created",
    "response.output_item.added",
    "conversation.item.created",
    "response.content_part.added",
    "delta*",
    "rate_limits.updated",
    "response.text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.done",
]


@pytest.mark.parametrize(
    ("dialect", "drift", "expected"),
    [
        ("ga", "never", GA_AUDIO),
        ("ga", "always", GA_TEXT),
        ("beta", "never", BETA_AUDIO),
        ("beta", "always", BETA_TEXT),
    ],
)
async def test_a_reply_comes_in_the_service_s_order(dialect, drift, expected):
    async with StandIn(drift=drift) as server, talk(server, dialect) as t:
        await t.say("user", "Tell me a joke.")
        t.events.clear()

        await t.respond()

        assert outline(t.types) == expected


async def test_a_seeded_item_is_added_then_done_in_ga_and_created_in_beta():
    async with StandIn() as server:
        async with talk(server) as t:
            await t.say("user", "Hello.")
            assert t.types[1:] == ["conversation.item.added", "conversation.item.done"]
        async with talk(server, "beta") as t:
            await t.say("user", "Hello.")
            assert t.types[1:] == ["conversation.item.created"]


async def test_words_run_ahead_of_the_voice():
    async with StandIn(drift="never") as server, talk(server) as t:
        await t.say("user", "Tell me a joke.")
        await t.respond()

    words = [n for n, kind in enumerate(t.types) if kind == "response.output_audio_transcript.delta"]
    voice = [n for n, kind in enumerate(t.types) if kind == "response.output_audio.delta"]
    assert words[0] < voice[0]
    assert words[-1] < voice[-1]
    assert any(words[0] < n < words[-1] for n in voice)


async def test_audio_comes_in_pieces_of_200_ms():
    async with StandIn(drift="never") as server, talk(server) as t:
        await t.say("user", "Tell me a joke.")
        await t.respond()

    sizes = [len(speech_of([event])) for event in t.events if event["type"] == "response.output_audio.delta"]
    assert set(sizes[:-1]) == {9_600}
    assert 0 < sizes[-1] <= 9_600


async def test_deltas_add_up_to_the_transcript_and_to_the_part():
    async with StandIn(drift="never") as server, talk(server) as t:
        await t.say("user", "Tell me a joke.")
        response = await t.respond()

    said = "".join(e["delta"] for e in t.events if e["type"] == "response.output_audio_transcript.delta")
    assert [said] == [part["transcript"] for part in response["output"][0]["content"]]


async def test_ids_have_the_service_s_form_and_do_not_repeat():
    async with StandIn(drift="never") as server, talk(server) as t:
        await t.say("user", "Tell me a joke.")
        response = await t.respond()

    ids = [event["event_id"] for event in t.events]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"event_[0-9A-Za-z]{21}", id) for id in ids)
    assert re.fullmatch(r"sess_[0-9A-Za-z]{21}", t.events[0]["session"]["id"])
    assert re.fullmatch(r"resp_[0-9A-Za-z]{21}", response["id"])
    assert re.fullmatch(r"conv_[0-9A-Za-z]{21}", response["conversation_id"])
    assert re.fullmatch(r"item_[0-9A-Za-z]{21}", response["output"][0]["id"])


async def test_the_second_is_in_an_id_as_the_service_writes_it():
    from kit.standin.frames import new_id

    # sess_Ct1OV… was made at 2026-01-01T01:03:55Z
    assert new_id("sess", 1_767_229_435).startswith("sess_Ct1OV")


async def test_the_mark_is_in_the_handshake_and_in_the_session_object():
    async with StandIn(drift="p=0.3", seed=11) as server, talk(server) as t:
        await t.update(instructions="Be brief.")

        assert t.socket.response.headers[MARK_HEADER] == "realtime-history-kit; drift=p=0.3; seed=11"
        mark = {"by": "realtime-history-kit stand-in", "drift": "p=0.3", "seed": 11}
        assert [event["session"]["simulated"] for event in t.events] == [mark, mark]


async def test_what_was_asked_for_is_echoed_even_when_the_reply_drifts():
    async with StandIn(drift="always") as server, talk(server) as t:
        await t.say("user", "Tell me a joke.")

        response = await t.respond()

        assert response["output_modalities"] == ["audio"]
        assert response["output"][0]["content"][0]["type"] == "output_text"
