"""A GPT-Live session over a real socket: seeded, asked, spoken, late, silent, lost. The stand-in's time runs fast."""

import asyncio

import pytest

from kit import History, connect
from kit.clip import Clip
from kit.endpoint import endpoint
from kit.errors import (
    EndpointError,
    HandshakeRefused,
    HistoryError,
    InputError,
    LocalProtocolError,
    MissingExtra,
    ServerError,
    SessionClosed,
)
from kit.standin import StandIn
from kit.wire.events import loudness
from kit.wire.live_conversation import ReplyPolicy

HISTORY = History().user("Tell me a joke.").assistant("Why don't skeletons fight each other? They don't have the guts!")
ASK = "Tell me another joke."
PACE = 6  # simulated seconds to one of the wall: a busy machine delays them as much the more


def live(**options):
    return connect(protocol="live", quiet=True, pace=PACE, live={"silence": "never"} | options)


async def test_seeded_asked_and_spoken():
    async with live() as session:
        past = await session.seed(HISTORY)
        reply = await session.ask(ASK)
        assert [message["role"] for message in past] == ["user", "assistant"]
        assert (reply.outcome, reply.modality, reply.ended) == ("spoken", "audio", "quiet")
        assert 900 < reply.first_audio_ms < 4_500 and reply.first_transcript_ms < reply.first_audio_ms
        assert reply.words and reply.audio.duration_ms > 1_000 and session.conversation.caller_words == ASK
        assert session.simulated and session.usd == 0
    assert session.conversation.close_reason == "close_requested" and session.conversation.seconds_confirmed


async def test_a_silent_session_is_transcribed_and_says_nothing_until_it_is_nudged():
    async with live(silence="p=1@2") as session:
        await session.seed(HISTORY)
        reply = await session.ask(ASK)
        assert (reply.outcome, reply.words, reply.n_audio_bytes) == ("silent", "", 0)
        assert session.conversation.caller_words == ASK and not session.errors
        assert (await session.respond()).outcome == "spoken"


async def test_a_late_voice_is_late_and_kept():
    async with live(late_ms=5_000) as session:
        reply = await session.ask(ASK)
        assert reply.outcome == "late" and reply.first_audio_ms > 5_000 and reply.audio is not None


async def test_a_deadline_is_the_policys_and_is_stored_with_the_reply():
    policy = ReplyPolicy(deadline_ms=500)
    async with connect(protocol="live", quiet=True, pace=PACE, live={"silence": "never"}, policy=policy) as session:
        reply = await session.ask(ASK)
        assert reply.outcome == "late" and reply.policy.name == policy.name


async def test_a_connection_that_breaks_before_the_answer_raises_and_the_reply_has_failed():
    async with live(drops_after_s=3.0) as session:
        with pytest.raises(SessionClosed):
            await session.ask(ASK)
        assert [reply.outcome for reply in session.replies] in ([], ["failed"])


async def test_a_history_is_linted_before_anything_is_sent():
    async with live() as session:
        with pytest.raises(HistoryError, match="no transcript"):
            await session.seed(History().user(Clip.silence(300)))
        assert not session.events
        await session.seed(HISTORY)
        with pytest.raises(LocalProtocolError, match="once"):
            await session.seed(HISTORY)


@pytest.mark.refusal
async def test_a_start_that_the_service_refuses_ends_in_its_words():
    session = await connect(protocol="live", quiet=True, pace=PACE, settings={"voice": "nova"})
    with pytest.raises(HandshakeRefused, match="Voice session access denied"):
        await session.ask(ASK)
    assert session.closed


@pytest.mark.refusal
async def test_what_cannot_change_is_refused_and_the_session_goes_on():
    async with live() as session:
        await session.start()
        with pytest.raises(ServerError, match="immutable_field_update"):
            await session.update(instructions="x")
        assert (await session.ask(ASK)).outcome == "spoken"


async def test_appends_mute_and_fixture_are_confirmed():
    async with live() as session:
        await session.start()
        thought = await session.append("thinking", "The caller likes cats.")
        assert thought.acked_at_ms is not None and thought.start_ms is not None
        assert len(await session.append_past(HISTORY)) == 1
        await session.mute()
        await session.mute(False)
        await session.play_fixture(Clip.silence(400))
        with pytest.raises(InputError, match="lane"):
            await session.append("shouting", "x")


async def test_the_clients_delegation_is_answered_by_the_users_function():
    async def answer(delegation):
        return ASK  # a line that is recorded

    live = {"delegates": ["joke"]}
    async with connect(protocol="live", quiet=True, pace=PACE, on_delegation=answer, live=live) as session:
        reply = await session.ask(ASK)
        (delegation,) = session.conversation.delegations
        assert (delegation.target, session.conversation.appends[0].lane) == ("client", "commentary")
        assert (reply.outcome, reply.words) == ("spoken", ASK)


async def test_a_call_of_the_backend_is_owed_its_output_and_then_spoken():
    tool = {"type": "function", "name": "jokes", "parameters": {"type": "object", "properties": {}}}
    backend = {"type": "responses", "responses": {"model": "gpt-5.6-sol", "tools": [tool]}}
    settings, live = {"delegation": backend}, {"delegates": ["joke"], "silence": "never"}
    async with connect(protocol="live", quiet=True, pace=PACE, settings=settings, live=live) as session:
        asking = asyncio.ensure_future(session.ask(ASK))
        while not (session.conversation.delegations and session.conversation.delegations[0].tools):
            await session.wait_for("response.event")
        delegation = session.conversation.delegations[0]
        await session.run_backend()  # too early
        while not session.errors:
            await session.wait_for("error")
        (call,) = delegation.tools
        await session.run_backend({"type": "function_call_output", "call_id": call["call_id"], "output": "[]"})
        reply = await asking
        assert session.errors[0].code == "function_call_outputs_required" and call["name"] == "jokes"
        assert (reply.outcome, reply.words) == ("spoken", delegation.text) and len(delegation.usage) == 2


async def test_responses_delegation_is_passed_on_and_its_tokens_are_counted():
    settings = {"delegation": {"type": "responses", "responses": {"model": "gpt-5.6-sol"}}}
    async with connect(protocol="live", quiet=True, pace=PACE, settings=settings, live={"silence": "never"}) as session:
        await session.start()
        await session.run_backend(
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi."}]}
        )
        await session.wait_for("session.delegation.created")
        while not session.conversation.delegations[0].usage:
            await session.wait_for("response.event")
        assert session.conversation.delegations[0].text


async def test_a_fork_is_opened_by_the_id_of_a_stored_session():
    async with StandIn(pace=PACE, live={"silence": "p=1@2"}) as stand_in:
        async with connect(stand_in, protocol="live", quiet=True, settings={"store": True}) as first:
            await first.seed(HISTORY)
        async with connect(stand_in, fork=first.id, quiet=True) as fork:
            assert (await fork.ask(ASK)).outcome == "silent"  # its past is the first one's
            assert fork.settings["input"] == [] and fork.id != first.id


async def test_the_feeder_keeps_time_and_counts_what_it_could_not():
    async with live() as session:
        await session.ask(ASK)
        feeder = session.feeder
        fed_ms = feeder.n_frames * 100
        assert abs(fed_ms - (session.now_ms - session.conversation.started_at_ms)) < 60 * PACE  # ms of the wall
        assert feeder.skipped_ms == 0


async def test_typed_words_that_nothing_can_speak_are_refused_with_a_way_out(monkeypatch):
    def missing(*args, **kwargs):
        raise MissingExtra("no voice is installed")

    monkeypatch.setattr("kit.speech.synthesised", missing)
    async with live() as session:
        with pytest.raises(MissingExtra, match="Clip.load"):
            await session.ask("Something that nobody recorded.")


async def test_an_event_log_of_it_holds_every_frame_and_no_sound(tmp_path):
    path = tmp_path / "live.jsonl"
    async with connect(protocol="live", quiet=True, pace=PACE, log=path, live={"silence": "never"}) as session:
        await session.ask(ASK)
    text = path.read_text()
    assert '"session.started"' in text and '"session.closed"' in text and max(map(len, text.splitlines())) < 4_000


def test_addresses_of_gpt_live():
    where = endpoint("openai", model="gpt-live-1.1", environ={})
    assert where.url == "wss://api.openai.com/v1/live/sessions" and where.protocol == "live"
    assert "$0.05 a minute" in where.who_pays
    azure = endpoint(
        "azure", model="my-live", protocol="live", environ={"AZURE_OPENAI_ENDPOINT": "https://r.openai.azure.com"}
    )
    assert azure.url == "wss://r.openai.azure.com/openai/v1/live/sessions" and azure.auth == "api-key"
    fork = endpoint("openai", fork="live_u1_abc", environ={})
    assert fork.url == "wss://api.openai.com/v1/live/sessions/live_u1_abc/fork" and fork.model is None
    for wrong in ({"fork": "a/b"}, {"fork": "live_x", "protocol": "realtime"}, {"protocol": "other"}):
        with pytest.raises(EndpointError):
            endpoint("openai", environ={}, **wrong)
    with pytest.raises(EndpointError, match="does not speak"):
        endpoint("xai", protocol="live")
    with pytest.raises(InputError, match="GPT-Live's"):
        connect(policy=ReplyPolicy())


async def test_a_sideband_hears_both_sides_adds_context_and_leaves_the_session_open():
    async with StandIn(pace=PACE, live={"silence": "never"}) as stand_in:
        async with connect(stand_in, protocol="live", quiet=True) as session:
            await session.seed(HISTORY)
            sideband = await connect(stand_in, attach=session.id, quiet=True)
            assert sideband.id == session.id and [m["role"] for m in sideband.conversation.past] == [
                "user",
                "assistant",
            ]
            with pytest.raises(LocalProtocolError, match="sideband"):
                await sideband.ask(ASK)
            await sideband.append("thinking", "The caller likes cats.")
            reply = await session.ask(ASK)
            while not (sideband.replies and sideband.replies[0].ended):
                await sideband.wait_for("session.output_audio.delta")
            seen = sideband.replies[0]
            assert (seen.outcome, seen.words, seen.ask.by) == ("spoken", reply.words, "clip")
            assert abs(seen.first_audio_ms - reply.first_audio_ms) < 1_000  # frames of 200 ms, times the pace
            heard = sideband.events.of("session.input_audio.append")  # its sound is heard, and not kept
            assert heard and all(loudness(event.data["audio"]) is not None for event in heard)
            await sideband.close()
            assert (await session.ask(ASK)).outcome == "spoken"
        with pytest.raises(HandshakeRefused, match="session_id_not_found"):
            await connect(stand_in, attach=session.id, quiet=True)


@pytest.mark.parametrize("audio_format", ["pcm16-16k", "g711_ulaw", "g711_alaw"])
async def test_every_format_is_heard_both_ways(audio_format):
    settings = {"format": audio_format}
    async with connect(protocol="live", quiet=True, pace=PACE, settings=settings, live={"silence": "never"}) as session:
        reply = await session.ask(ASK)
        assert session.conversation.caller_words == ASK and reply.outcome == "spoken"
        assert reply.output_format == audio_format and reply.audio.duration_ms > 1_000
