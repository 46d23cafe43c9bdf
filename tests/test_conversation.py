"""The fold, held to the event orders of real sessions (types and ids, written by hand) and to any order at all."""

import html.parser
import random
import struct

import numpy as np
import pytest
from building import Talk, b64, event, seconds

from kit.errors import AudioFormatError
from kit.wire.conversation import TAG, Conversation
from kit.wire.dialect import BETA_NAME, GA_NAME
from kit.wire.event_list import EventList
from kit.wire.events import Event
from kit.wire.records import COLUMNS, TOKENS, row

BUSY = "conversation_already_has_active_response"


@pytest.fixture(params=["ga", "beta"])
def talk(request):
    return Talk(request.param)


@pytest.fixture
def ga():
    return Talk("ga")


def pcm(n_samples, first=0):
    return struct.pack(f"<{n_samples}h", *range(first, first + n_samples))


def user(item_id, text="hi", **more):
    return {"id": item_id, "type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]} | more


def call_item(status="completed", arguments='{"city":"Oslo"}', item_id="item_f"):
    return {
        "id": item_id,
        "type": "function_call",
        "status": status,
        "call_id": "call_1",
        "name": "weather",
        "arguments": arguments,
    }


def spoken(talk, words="Hi there", response_id="resp_1", item_id="item_a", sound=None, output=0):
    """The audio deltas and their transcript's, between the opening and the burst of done events."""
    for word in words.split(" "):
        piece = word if words.startswith(word) else f" {word}"
        talk.delta("audio_transcript", piece, item_id, response_id=response_id, output=output)
    return talk.delta("audio", b64(sound or pcm(240)), item_id, response_id=response_id, output=output)


# The event orders of real sessions, wire/README.md, Event orders, in both spellings


def test_a_spoken_reply(talk):
    talk.says("response.create", event_id="ev_1").at(10).creates().opens()
    talk.at(20).delta("audio_transcript", "Hi").at(35).delta("audio", b64(pcm(240))).delta("audio", b64(pcm(240, 240)))
    talk.delta("audio_transcript", " there")
    talk.hears("rate_limits.updated", rate_limits=[{"name": "tokens"}]).closes(words="Hi there")
    talk.at(50).done(output=[talk.message("item_a", "audio", "Hi there")], usage={"total_tokens": 9})

    response = talk.response
    assert (response.modality, response.status, response.reason) == ("audio", "completed", None)
    assert (response.transcript, response.text, response.words) == ("Hi there", "", "Hi there")
    assert response.sound == pcm(480)
    assert response.audio.n_samples == 480
    assert (response.started_by, response.event_id, response.started_at_ms) == ("create", "ev_1", 0)
    assert (response.first_transcript_ms, response.first_audio_ms, response.done_ms) == (20, 35, 50)
    assert response.first_text_ms is None
    assert response.usage == {"total_tokens": 9}
    assert response.item_ids == ["item_a"]
    assert talk.fold.rate_limits == [{"name": "tokens"}]
    assert not talk.fold.unknown


def test_a_replys_audio_is_one_array_that_is_kept_once(talk):
    talk.creates().opens().delta("audio", b64(pcm(240))).delta("audio", b64(pcm(240, 240)))
    talk.done(output=[talk.message("item_a", "audio", "Hi there")])

    first, again = talk.response.audio.pcm, talk.response.audio.pcm

    assert first.flags.c_contiguous and first.dtype == "int16" and first.size == 480
    assert np.shares_memory(first, again)


def test_a_written_reply(talk):
    talk.says("response.create").creates().opens(kind="text").at(30).delta("text", "Hi").delta("text", " there")
    talk.closes(kind="text", words="Hi there").at(60).done(output=[talk.message("item_a", "text", "Hi there")])

    response = talk.response
    assert (response.modality, response.text, response.transcript) == ("text", "Hi there", "")
    assert (response.first_text_ms, response.first_audio_ms, response.done_ms) == (30, None, 60)
    assert response.audio is None


def test_a_spoken_reply_that_turn_detection_asked_for(talk):
    talk.at(100).hears("input_audio_buffer.speech_started", item_id="item_u", audio_start_ms=0)
    talk.at(900).hears("input_audio_buffer.speech_stopped", item_id="item_u", audio_end_ms=800)
    talk.hears("input_audio_buffer.committed", item_id="item_u", previous_item_id=None)
    heard = {"id": "item_u", "type": "message", "role": "user", "status": "completed"}
    heard["content"] = [{"type": "input_audio", "transcript": None}]
    talk.hears("conversation.item.added", previous_item_id=None, item=heard)
    if talk.dialect == "ga":
        talk.hears("conversation.item.done", previous_item_id=None, item=heard)
    talk.creates(metadata=None).opens()
    talk.hears("conversation.item.input_audio_transcription.completed", item_id="item_u", transcript="Hello.")
    spoken(talk.at(1_240)).closes(words="Hi there").at(1_500).done()

    assert (talk.response.started_by, talk.response.started_at_ms) == ("vad", 900)
    assert (talk.response.first_transcript_ms, talk.response.done_ms) == (340, 600)
    assert talk.response.first_audio_ms == 342
    assert [(item.id, item.role, item.text) for item in talk.fold.items] == [
        ("item_u", "user", "Hello."),
        ("item_a", "assistant", "Hi there"),
    ]


def test_a_function_call(talk):
    about = {"response_id": "resp_1", "item_id": "item_f", "output_index": 0, "call_id": "call_1"}
    talk.creates().opens("item_f", item=call_item("in_progress", ""))
    talk.hears("response.function_call_arguments.delta", **about, delta='{"city":')
    talk.hears("response.function_call_arguments.delta", **about, delta='"Oslo"}')
    talk.hears("response.function_call_arguments.done", **about, arguments='{"city":"Oslo"}')
    talk.hears("response.output_item.done", response_id="resp_1", output_index=0, item=call_item())
    talk.done(output=[call_item()])

    assert talk.response.modality == "function"
    assert [(c.name, c.call_id, c.arguments, c.status) for c in talk.response.calls] == [
        ("weather", "call_1", '{"city":"Oslo"}', "completed")
    ]
    assert talk.fold.item("item_f").text == 'weather({"city":"Oslo"})'


def test_a_call_beside_spoken_words_leaves_the_modality_audio(talk):
    spoken(talk.creates().opens()).closes(words="Let me look")
    talk.opens("item_f", output=1, item=call_item("in_progress", ""))
    talk.hears("response.output_item.done", response_id="resp_1", output_index=1, item=call_item())
    talk.done(output=[talk.message("item_a", "audio", "Let me look"), call_item()])

    assert talk.response.modality == "audio"
    assert [call.name for call in talk.response.calls] == ["weather"]


@pytest.mark.parametrize("reason", ["client_cancelled", "turn_detected"])
def test_a_cancelled_reply_keeps_what_had_arrived(talk, reason):
    spoken(talk.creates().opens(), "Hi")
    talk.says("response.cancel").delta("audio", b64(pcm(10)))
    talk.closes(words="Hi", status="incomplete")
    talk.done(status="cancelled", status_details={"type": "cancelled", "reason": reason}, usage={"total_tokens": 3})

    response = talk.response
    assert (response.status, response.reason, response.modality) == ("cancelled", reason, "audio")
    assert response.n_audio_bytes == 500
    assert response.usage == {"total_tokens": 3}
    assert talk.fold.items[-1].status == "incomplete"


def test_a_failed_reply_is_empty_and_says_why(talk):
    error = {"type": "tokens", "code": "rate_limit_exceeded", "message": "Rate limit reached"}
    talk.says("response.create").creates().done(status="failed", status_details={"type": "failed", "error": error})

    assert (talk.response.status, talk.response.reason) == ("failed", "rate_limit_exceeded")
    assert talk.response.modality == "empty"
    assert talk.response.error == error
    assert not talk.fold.errors


@pytest.mark.parametrize("reason", ["max_output_tokens", "content_filter"])
def test_an_incomplete_reply_says_why(talk, reason):
    talk.creates().opens(kind="text").delta("text", "Once upon").closes(
        kind="text", words="Once upon", status="incomplete"
    )
    talk.done(status="incomplete", status_details={"type": "incomplete", "reason": reason})

    assert (talk.response.status, talk.response.reason, talk.response.text) == ("incomplete", reason, "Once upon")


def test_a_refused_request_makes_an_error_and_no_response(talk):
    talk.says("response.create", event_id="ev_1")
    talk.hears("error", error={"type": "invalid_request_error", "code": BUSY, "message": "Wait.", "event_id": "ev_1"})

    [error] = talk.fold.errors
    assert (error.code, error.event_id, error.caused_by) == (BUSY, "ev_1", "response.create")
    assert not talk.fold.responses


def test_a_reply_of_both_kinds_is_mixed(talk):
    spoken(talk.creates().opens()).closes(words="Hi there")
    talk.opens("item_b", "text", output=1).delta("text", "PS", "item_b", output=1)
    talk.closes("item_b", "text", "PS", output=1).done()

    assert talk.response.modality == "mixed"
    assert (talk.response.transcript, talk.response.text) == ("Hi there", "PS")


def test_a_reply_of_nothing_is_empty(talk):
    talk.creates().done()

    assert talk.response.modality == "empty"


def test_a_reply_has_no_modality_before_anything_has_arrived(talk):
    talk.creates()

    assert talk.response.modality is None
    assert "pending" in repr(talk.response)


# What decides the modality


def test_the_first_content_part_is_known_however_the_reply_goes_on(talk):
    talk.creates().opens(kind="text")
    assert (talk.response.first_modality, talk.response.ended) == ("text", None)
    talk.delta("text", "Hi")
    spoken(talk, item_id="item_b", output=1)
    talk.done(status="failed", status_details={"type": "failed", "error": {"code": "server_error"}})

    assert (talk.response.first_modality, talk.response.modality, talk.response.ended) == ("text", "mixed", "broken")


def test_a_reply_that_breaks_off_has_a_first_modality_and_no_end(talk):
    spoken(talk.creates().opens())

    assert (talk.response.first_modality, talk.response.ended) == ("audio", None)


@pytest.mark.parametrize(
    ("status", "details", "ended"),
    [
        ("completed", None, "complete"),
        ("incomplete", {"reason": "max_output_tokens"}, "cut"),
        ("incomplete", {"reason": "content_filter"}, "broken"),
        ("cancelled", {"reason": "turn_detected"}, "cancelled"),
        ("failed", {"error": {"code": "server_error"}}, "broken"),
    ],
)
def test_how_a_reply_ended_is_one_word(talk, status, details, ended):
    talk.creates().done(status=status, status_details=details)

    assert (talk.response.ended, talk.response.first_modality) == (ended, "empty")
    assert row(talk.response)["ended"] == ended and tuple(row(talk.response)) == COLUMNS


def test_what_was_asked_for_never_decides(talk):
    asked = {"modalities": ["text", "audio"]} if talk.dialect == "beta" else {"output_modalities": ["audio"]}
    talk.creates(**asked).opens(kind="text").delta("text", "Hi").closes(kind="text", words="Hi").done(**asked)

    assert talk.response.modality == "text"
    assert "audio" in talk.response.asked


def test_what_was_asked_for_is_the_sessions_where_the_response_does_not_say(ga):
    ga.hears("session.created", session={"id": "sess_1", "output_modalities": ["audio"]}).creates()

    assert ga.response.asked == ("audio",)


def test_over_webrtc_the_content_part_decides(talk):
    about = {"response_id": "resp_1", "item_id": "item_a", "output_index": 0, "content_index": 0}
    talk.creates().opens().hears("response.output_audio_transcript.done", **about, transcript="Hi")
    talk.done(output=[talk.message("item_a", "audio", "Hi")])

    assert (talk.response.modality, talk.response.transcript) == ("audio", "Hi")
    assert (talk.response.n_audio_bytes, talk.response.audio) == (0, None)


def test_a_response_of_which_only_the_end_was_logged_is_read_from_it(talk):
    talk.done(output=[talk.message("item_a", "text", "Hi"), call_item()])

    response = talk.response
    assert (response.modality, response.text, response.calls[0].name) == ("text", "Hi", "weather")
    assert (response.started_by, response.done_ms, response.done_at_ms) == (None, None, 0)


# Odd but seen


def test_two_audio_items_of_one_response_are_kept_apart(ga):
    ga.creates().opens("item_a").delta("audio", b64(pcm(4)), "item_a").delta("audio_transcript", "One.", "item_a")
    ga.opens("item_b", output=1).delta("audio", b64(pcm(4, 100)), "item_b", output=1)
    ga.delta("audio", b64(pcm(4, 4)), "item_a").delta("audio_transcript", "Two.", "item_b", output=1)
    ga.closes("item_a", words="One.").closes("item_b", words="Two.", output=1).done()

    assert ga.response.transcript == "One. Two."
    assert ga.response.sound == pcm(8) + pcm(4, 100)
    assert ga.response.item_ids == ["item_a", "item_b"]


def test_items_are_kept_apart_by_their_ids_where_a_server_gives_no_index(ga):
    ga.creates()
    for item_id, word in (("item_a", "One."), ("item_b", "Two."), ("item_a", " More.")):
        ga.hears("response.output_text.delta", response_id="resp_1", item_id=item_id, delta=word)

    assert ga.response.text == "One. More. Two."


def test_an_item_keeps_its_place_where_the_end_leaves_another_out(ga):
    ga.creates().opens("item_a", "text").delta("text", "One.", "item_a")
    ga.opens("item_b", "text", output=1).delta("text", "Two.", "item_b", output=1)
    ga.done(status="cancelled", output=[ga.message("item_b", "text", "Two.")])

    assert ga.response.text == "One. Two."


def test_a_log_that_starts_in_a_second_item_does_not_tell_it_twice(ga):
    ga.delta("audio_transcript", "there", "item_b", output=1)
    ga.hears("conversation.item.done", item=ga.message("item_b", "audio", "Hi there"))
    ga.hears(
        "response.output_item.done",
        response_id="resp_1",
        output_index=1,
        item=ga.message("item_b", "audio", "Hi there"),
    )

    assert ga.response.transcript == "Hi there"
    assert ga.response.status is None


def test_a_log_that_breaks_off_leaves_the_response_without_an_end(talk):
    talk.says("response.create").creates().opens().delta("audio_transcript", "Hi")

    assert (talk.response.status, talk.response.transcript, talk.response.done_ms) == ("in_progress", "Hi", None)
    assert talk.fold.active is talk.response


def test_deltas_after_the_end_are_counted_and_are_no_part_of_the_response(talk):
    spoken(talk.creates().opens()).closes(words="Hi there").done(status="cancelled")

    talk.delta("audio", b64(pcm(10))).delta("audio_transcript", "!!")

    assert len(talk.fold.responses) == 1
    assert (talk.response.n_audio_bytes, talk.response.n_surplus) == (480, 2)
    assert talk.response.transcript == "Hi there"
    assert talk.response.status == "cancelled"


def test_audio_that_is_repeated_at_the_end_counts_once(talk):
    about = {"response_id": "resp_1", "item_id": "item_a", "output_index": 0, "content_index": 0}
    talk.creates().opens().delta("audio", b64(pcm(10)))
    talk.hears("response.output_audio.done", **about, delta=b64(pcm(10)))
    talk.hears("response.content_part.done", **about, part={"type": "audio", "audio": b64(pcm(10)), "transcript": "Hi"})

    assert talk.response.sound == pcm(10)


def test_audio_that_only_the_end_brings_counts(talk):
    about = {"response_id": "resp_1", "item_id": "item_a", "output_index": 0, "content_index": 0}
    talk.creates().opens().hears("response.output_audio.done", **about, audio=b64(pcm(10)))

    assert talk.response.sound == pcm(10)


def test_an_empty_transcript_at_the_end_does_not_wipe_what_the_deltas_said(talk):
    talk.creates().opens().delta("audio_transcript", "Hi").closes(words="").done(status="cancelled")

    assert talk.response.transcript == "Hi"


def test_broken_base64_is_counted_and_still_is_audio(talk):
    talk.creates().opens().delta("audio", "AAA").delta("audio", b64(pcm(1)))

    assert (talk.response.modality, talk.response.n_bad_audio, talk.response.sound) == ("audio", 1, pcm(1))


def test_audio_moves_out_of_the_event_into_the_response(ga):
    told = event("response.output_audio.delta", response_id="resp_1", item_id="item_a", delta=b64(pcm(4)))

    ga.fold.receive(told)

    assert (told.pcm, told.n_audio_bytes, ga.response.sound) == (None, 8, pcm(4))


def test_ids_that_are_null_go_to_the_response_that_is_open(talk):
    about = {"response_id": None, "item_id": None}
    talk.creates(None).hears("response.output_text.delta", **about, delta="Hi").done(None)
    talk.creates(None).hears("response.output_text.delta", **about, delta="Ho").done(None)

    assert [(r.text, r.status) for r in talk.fold.responses] == [("Hi", "completed"), ("Ho", "completed")]


def test_an_item_without_an_id_is_told_twice_and_there_once(ga):
    ga.hears("conversation.item.added", item=user(None, status="in_progress"))
    ga.hears("conversation.item.done", item=user(None, status="completed"))
    ga.hears("conversation.item.added", item=ga.message(None, "text", ""))
    ga.hears("conversation.item.done", item=ga.message(None, "text", "Ho"))

    assert [(item.role, item.text) for item in ga.fold.items] == [("user", "hi"), ("assistant", "Ho")]


def test_beta_names_with_gas_item_done_are_read():
    hybrid = Talk("beta")
    hybrid.hears("conversation.item.added", previous_item_id=None, item=user("item_u"))
    hybrid.hears("conversation.item.done", previous_item_id=None, item=user("item_u"))
    spoken(hybrid.creates().opens()).closes(words="Hi there").done()

    assert hybrid.ids == ["item_u", "item_a"]
    assert hybrid.response.transcript == "Hi there"
    assert not hybrid.fold.unknown


def test_events_that_nobody_has_heard_of_are_counted(talk):
    talk.hears("response.hologram.delta").hears("response.hologram.delta").hears("session.blessed")
    talk.creates().hears("response.content_part.added", response_id="resp_1", part={"type": "hologram"})

    assert talk.fold.unknown == {
        "response.hologram.delta": 2,
        "session.blessed": 1,
        "response.content_part.added of type hologram": 1,
    }
    assert talk.fold.n_events == 5


@pytest.mark.parametrize(
    "kind",
    [
        "mcp_list_tools.completed",
        "response.mcp_call.in_progress",
        "transcription_session.updated",
        "conversation.created",
    ],
)
def test_what_the_reference_names_is_not_unknown(ga, kind):
    ga.hears(kind)

    assert not ga.fold.unknown


def test_usage_beside_the_response_is_taken(ga):
    ga.creates().hears("response.done", response={"id": "resp_1", "status": "completed"}, usage={"total_tokens": 4})

    assert ga.response.usage == {"total_tokens": 4}


def test_a_reason_that_is_a_bare_word_is_taken(ga):
    ga.creates().done(status="cancelled", status_details="turn_detected")

    assert ga.response.reason == "turn_detected"


def test_the_voice_and_format_of_a_reply_are_kept(talk):
    fields = {"audio": {"output": {"voice": "marin", "format": {"type": "audio/pcmu"}}}}
    talk.creates(**(fields if talk.dialect == "ga" else {"voice": "marin", "output_audio_format": "g711_ulaw"}))

    assert (talk.response.voice, talk.response.output_format) == ("marin", "g711_ulaw")


@pytest.mark.parametrize(
    "spelled", [{"type": "audio/pcmu"}, {"type": "audio/pcm", "rate": 16_000}, {"type": "audio/opus"}]
)
def test_sound_that_is_not_24_khz_pcm_is_not_made_a_clip(ga, spelled):
    ga.hears("session.created", session={"audio": {"output": {"format": spelled}}}).creates().opens()
    ga.delta("audio", b64(b"12345"))

    with pytest.raises(AudioFormatError, match="not as PCM at 24 000 Hz"):
        _ = ga.response.audio

    assert ga.response.sound == b"12345"
    assert "<audio" not in ga.response._repr_html_()


# Who asked, and what caused an error


def tagged(talk, event_id):
    return talk.says("response.create", event_id=event_id, response={"metadata": {TAG: event_id}})


def test_replies_find_their_requests_by_the_metadata_that_comes_back(talk):
    tagged(tagged(talk, "ev_1").at(10), "ev_2")
    talk.creates("resp_b", metadata={TAG: "ev_2"}, conversation_id=None).creates("resp_a", metadata={TAG: "ev_1"})

    asked = {r.id: (r.event_id, r.started_at_ms) for r in talk.fold.responses}
    assert asked == {"resp_b": ("ev_2", 10), "resp_a": ("ev_1", 0)}


def test_replies_find_their_requests_by_order_where_nothing_comes_back(talk):
    tagged(tagged(talk, "ev_1").at(10), "ev_2")

    talk.creates("resp_a").done("resp_a").creates("resp_b")

    assert [(r.event_id, r.started_at_ms) for r in talk.fold.responses] == [("ev_1", 0), ("ev_2", 10)]


def test_a_server_that_has_the_field_but_never_echoes_is_matched_by_order(talk):
    tagged(talk, "ev_1").creates(metadata=None)

    assert (talk.response.started_by, talk.response.event_id) == ("create", "ev_1")


def test_a_reply_to_speech_does_not_take_our_request(talk):
    talk.hears("input_audio_buffer.speech_stopped", item_id="item_u").at(50)
    tagged(talk, "ev_1").creates("resp_vad", metadata=None).done("resp_vad")
    talk.creates("resp_own", metadata={TAG: "ev_1"})

    assert [(r.started_by, r.started_at_ms) for r in talk.fold.responses] == [("vad", 0), ("create", 50)]


def test_a_server_that_has_echoed_once_is_taken_at_its_word(talk):
    tagged(talk, "ev_1").creates(metadata={TAG: "ev_1"}).done()

    tagged(talk, "ev_2").creates("resp_2", metadata=None)

    assert (talk.response.id, talk.response.started_by) == ("resp_2", None)


def test_a_request_of_a_client_without_tags_is_matched_by_order(talk):
    talk.says("response.create").creates(metadata=None)

    assert talk.response.started_by == "create"


def test_a_reply_out_of_band_is_never_turn_detections(talk):
    talk.hears("input_audio_buffer.speech_stopped", item_id="item_u").creates(conversation_id=None).opens()

    assert talk.response.started_by is None
    assert talk.fold.active is None


def test_speech_that_goes_on_asks_for_nothing(talk):
    talk.hears("input_audio_buffer.speech_stopped").hears("input_audio_buffer.speech_started").creates()

    assert talk.response.started_by is None


def test_one_end_of_speech_starts_one_reply(talk):
    talk.hears("input_audio_buffer.speech_stopped").creates().done().creates("resp_2")

    assert [r.started_by for r in talk.fold.responses] == ["vad", None]


def test_an_idle_timeout_starts_a_reply(ga):
    ga.at(700).hears("input_audio_buffer.timeout_triggered", item_id="item_u").creates()

    assert (ga.response.started_by, ga.response.started_at_ms) == ("vad", 700)


def test_a_response_of_october_2024_belongs_to_the_conversation():
    beta = Talk("beta").hears("response.created", response={"id": "resp_1", "status": "in_progress", "output": []})

    assert beta.fold.active is beta.response


@pytest.mark.parametrize(
    "error",
    [
        {"code": "invalid_value", "event_id": "ev_1", "message": "no"},
        {"code": BUSY, "message": "no"},
        {"code": "unknown_parameter", "param": "response.modalities", "message": "no"},
    ],
)
def test_a_refused_request_is_not_answered_by_the_next_reply(talk, error):
    talk.says("response.create", event_id="ev_1").hears("error", error=error).at(80)

    talk.says("response.create", event_id="ev_2").creates()

    assert (talk.response.event_id, talk.response.started_at_ms) == ("ev_2", 80)


@pytest.mark.parametrize("error", [{"message": "no"}, {"code": BUSY, "event_id": "ev_0"}, {"param": "session.voice"}])
def test_an_error_about_something_else_leaves_the_request_open(talk, error):
    talk.says("session.update", event_id="ev_0").says("response.create", event_id="ev_1").hears("error", error=error)

    talk.creates()

    assert talk.response.event_id == "ev_1"


def test_an_error_that_names_no_event_has_no_cause(talk):
    talk.says("session.update", event_id="ev_1")
    talk.hears("error", error={"type": "server_error", "code": None, "message": "Sorry.", "event_id": None})

    [error] = talk.fold.errors
    assert (error.caused_by, str(error)) == (None, "server_error: Sorry.")


def test_the_mark_of_a_stand_in_goes_to_every_response(ga):
    ga.hears("session.created", session={"simulated": {"drift": "never"}}).creates()

    assert ga.fold.simulated is True
    assert "stand-in: simulated" in repr(ga.response)
    assert "stand-in: simulated" in ga.response._repr_html_()


def test_where_nobody_knows_the_origin_it_says_so(ga):
    ga.creates()

    assert "origin unknown" in repr(ga.response)


def test_a_reply_of_a_known_service_bears_no_mark():
    known = Talk("ga", simulated=False).creates()

    assert "simulated" not in repr(known.response)
    assert "unknown" not in repr(known.response)


# The conversation


def added(talk, item_id, previous="absent", **more):
    place = {} if previous == "absent" else {"previous_item_id": previous}
    return talk.hears("conversation.item.added", **place, item=user(item_id, **more))


@pytest.mark.parametrize(
    ("previous", "order"),
    [
        ("absent", ["a", "b", "new"]),
        ("a", ["a", "new", "b"]),
        ("b", ["a", "b", "new"]),
        ("never_seen", ["a", "b", "new"]),
        (None, ["new", "a", "b"]),
    ],
)
def test_an_item_goes_where_its_predecessor_says(talk, previous, order):
    added(added(talk, "a", None), "b", "a")

    added(talk, "new", previous)

    assert talk.ids == order


def test_with_the_client_in_sight_only_what_was_asked_to_be_first_is_first(talk):
    talk.says("conversation.item.create", item={"id": "r"}, previous_item_id="root")
    talk.says("conversation.item.create", item={"id": "b"})

    added(added(added(talk, "a", None), "r", None), "b", None)

    assert talk.ids == ["r", "a", "b"]


def test_an_item_that_was_asked_to_be_first_without_an_id_is_first(talk):
    added(talk.says("conversation.item.create", item={"type": "message"}), "a", None)

    added(talk.says("conversation.item.create", item={"type": "message"}, previous_item_id="root"), "r", None)

    assert talk.ids == ["r", "a"]


def test_a_server_that_says_null_for_every_item_is_seen_through(talk):
    added(talk, "u1", None)
    saying = {"id": "a1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    talk.hears("conversation.item.added", previous_item_id=None, item=saying)

    added(talk, "u2", None)

    assert talk.ids == ["u1", "a1", "u2"]


def test_later_events_do_not_move_an_item(ga):
    added(added(ga, "a", None), "b", "a")

    ga.hears("conversation.item.done", previous_item_id="b", item=user("a", "changed"))

    assert ga.ids == ["a", "b"]
    assert ga.fold.item("a").text == "changed"


def test_an_item_of_which_only_the_end_was_logged_is_there(ga):
    ga.hears("conversation.item.done", previous_item_id=None, item=user("a"))

    assert ga.ids == ["a"]


def test_a_deleted_item_is_gone_and_may_come_again(talk):
    added(added(talk, "a"), "b").hears("conversation.item.deleted", item_id="a")
    assert (talk.ids, talk.fold.item("a")) == (["b"], None)

    added(talk, "a")

    assert talk.ids == ["b", "a"]


def test_an_item_that_is_deleted_while_it_is_being_said_stays_deleted(ga):
    ga.creates().opens().hears("conversation.item.deleted", item_id="item_a")

    ga.closes(words="Hi").done()

    assert ga.ids == []
    assert ga.response.transcript == "Hi"


@pytest.mark.parametrize("item_id", ["", None, "nobody"])
def test_a_deletion_that_names_nothing_here_deletes_nothing(talk, item_id):
    added(talk, "a").hears("conversation.item.deleted", item_id=item_id)

    assert talk.ids == ["a"]


def test_a_truncated_item_loses_its_transcript_and_the_response_keeps_what_was_sent(talk):
    spoken(talk.creates().opens()).closes(words="Hi there").done()

    talk.hears("conversation.item.truncated", item_id="item_a", content_index=0, audio_end_ms=40)

    item = talk.fold.item("item_a")
    assert (item.text, item.truncated_at_ms) == ("", 40)
    assert talk.response.transcript == "Hi there"


def test_a_retrieved_item_does_not_take_the_place_of_the_one_that_is_known(talk):
    added(talk, "a")

    talk.hears("conversation.item.retrieved", item=user("a", "with a megabyte of audio"))

    assert (talk.ids, talk.fold.item("a").text) == (["a"], "hi")


def test_an_item_event_without_an_item_adds_none(talk):
    talk.hears("conversation.item.added").hears("conversation.item.added", item="a").hears(
        "conversation.item.added", item={}
    )

    assert talk.ids == []


# Anything at all

FOREIGN = "<script>alert(1)</script><img src=x onerror=\"a('b')\">\u202e\x1b[31m\n"
WORDS = [
    "",
    "root",
    "a",
    "b",
    "AAAA",
    "completed",
    "in_progress",
    "cancelled",
    "message",
    "function_call",
    "audio",
    "text",
]
WORDS += [
    "input_text",
    "output_text",
    "output_audio",
    "assistant",
    "user",
    "audio/pcm",
    "pcm16",
    "error",
    FOREIGN,
    FOREIGN,
]
ODD = [None, True, False, 0, 1, 2, -1, 1.5, 10**30, [], {}, [None], {"type": []}, [[[]]], [{"type": "text"}, 5, "x"]]
KINDS = sorted({*GA_NAME, *BETA_NAME, "response.hologram"})


class Chaos:
    """Events with the right names and any values: mostly what belongs there, often what does not."""

    def __init__(self, seed):
        self.draw = random.Random(seed)

    def value(self, depth=0):
        dice = self.draw.random()
        if dice < 0.6 or depth > 2:
            return self.draw.choice(WORDS)
        return self.draw.choice(ODD) if dice < 0.9 else {w: self.value(depth + 1) for w in self.draw.sample(FIELDS, 3)}

    def of(self, *names, **made):
        """An object with some of these fields, now and then something else altogether."""
        if self.draw.random() < 0.1:
            return self.value()
        told = {name: self.value() for name in names} | {name: make() for name, make in made.items()}
        return {name: value for name, value in told.items() if self.draw.random() < 0.8}

    def listed(self, make):
        return [make() for _ in range(self.draw.randrange(3))]

    def part(self):
        return self.of("type", "text", "transcript", "audio")

    def item(self):
        return self.of(
            *("id", "type", "role", "status", "name", "arguments", "call_id", "output"),
            content=lambda: self.listed(self.part),
        )

    def format(self):
        return self.of("output_modalities", audio=lambda: self.of(output=lambda: self.of("voice", "format")))

    def reply(self):
        return self.of(
            *("id", "status", "usage", "conversation_id", "modalities", "voice", "output_audio_format", "audio"),
            output=lambda: self.listed(self.item),
            metadata=lambda: self.of(TAG),
            status_details=lambda: self.of("reason", error=lambda: self.of("type", "code", "message")),
        )

    def from_server(self):
        told = self.of(
            *(
                "response_id",
                "item_id",
                "previous_item_id",
                "delta",
                "text",
                "transcript",
                "arguments",
                "name",
                "usage",
            ),
            *("output_index", "content_index", "audio_end_ms", "call_id", "audio", "rate_limits"),
            item=self.item,
            part=self.part,
            response=self.reply,
            session=self.format,
            error=lambda: self.of("type", "code", "message", "param", "event_id"),
        )
        told = told if isinstance(told, dict) else {}
        return {"kind": self.draw.choice(KINDS)} | {name: value for name, value in told.items() if name != "type"}

    def from_client(self):
        return {
            "type": self.draw.choice(["response.create", "conversation.item.create", "session.update", None, []]),
            **dict.fromkeys(self.draw.sample(["event_id", "previous_item_id"], 1), self.value()),
            "item": self.item(),
            "response": self.reply(),
        }


FIELDS = ["type", "id", "text", "transcript", "content", "role", "status", "error", "output"]


class Markup(html.parser.HTMLParser):
    """Notes whatever in a page could run, load or draw something that the kit did not make."""

    def __init__(self, page):
        super().__init__()
        self.foreign = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        mine = {
            "div",
            "span",
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "code",
            "audio",
            "details",
            "summary",
            "pre",
        }
        fixed = (("class", "mathjax_ignore tex2jax_ignore"), ("role", "img"), ("aria-label", "no audio arrived"))
        own = [a for a in attributes if a not in fixed]
        if tag not in mine or any(name not in ("style", "controls", "preload", "src") for name, _ in own):
            self.foreign.append((tag, attributes))
        if any(name == "src" and not value.startswith("data:audio/wav;base64,") for name, value in attributes):
            self.foreign.append((tag, attributes))


@pytest.mark.parametrize("seed", range(60))
def test_nothing_that_a_server_says_can_make_the_fold_or_its_pictures_fail(seed):
    chaos, fold, told = Chaos(seed), Conversation(), []
    for n in range(40):
        if n % 5 == 0:
            fold.sent(chaos.from_client(), n)
        said = chaos.from_server()
        told.append(event(said.pop("kind"), n, **said))
        fold.receive(told[-1])

    for shown in (*fold.items, *fold.responses):
        assert len(repr(shown).splitlines()) == 1
        assert "\x1b" not in repr(shown)
    for response in fold.responses:
        assert not Markup(response._repr_html_()).foreign
        assert response.modality in ("audio", "text", "mixed", "function", "empty", None)
    assert all(isinstance(str(error), str) for error in fold.errors)
    assert not Markup(EventList(told)._repr_html_()).foreign
    assert "\x1b" not in repr(EventList(told))


def test_foreign_words_are_shown_and_do_nothing(ga):
    ga.creates().opens(kind="text").delta("text", FOREIGN).opens("item_f", output=1, item=call_item(arguments=FOREIGN))
    ga.done(status="failed", status_details={"error": {"code": FOREIGN, "message": FOREIGN}})

    page = ga.response._repr_html_()

    assert not Markup(page).foreign
    assert page.count("&lt;script&gt;") == 4
    assert "\u202e" not in page + repr(ga.response)


def test_a_delta_that_is_sent_twice_is_heard_once():
    talk = Talk().creates().opens()
    about = {"response_id": "resp_1", "item_id": "item_a", "output_index": 0, "content_index": 0}

    for _ in range(2):
        talk.hears("response.output_text.delta", event_id="event_9", **about, delta="Ha")

    assert (talk.response.text, talk.response.n_surplus) == ("Ha", 1)


def test_where_every_event_has_the_same_id_it_tells_nothing():
    talk = Talk().creates().opens()
    about = {"response_id": "resp_1", "item_id": "item_a", "output_index": 0, "content_index": 0}

    for word in ("One", " two", " two"):
        talk.hears("response.output_text.delta", event_id="event_1", **about, delta=word)

    assert talk.response.text == "One two two"


# What a hostile server or log may send


def begun(n):
    fold = Conversation()
    for i in range(n):
        fold.receive(Event("response.created", {"response": {"id": f"resp_{i}", "conversation_id": "c"}}, 0.0))
        assert fold.active is None
    return fold


def without_ids(n):
    fold = Conversation()
    for _ in range(n):
        fold.receive(Event("response.created", {"response": {"status": "in_progress"}}, 0.0))
        fold.receive(Event("response.output_text.delta", {"delta": "Hi"}, 0.0))
        fold.receive(Event("response.done", {"response": {"status": "completed"}}, 0.0))
    return fold


def unanswered(n):
    fold = Conversation()
    for i in range(n):
        fold.sent({"type": "response.create", "response": {"metadata": {TAG: str(i)}}}, 0.0)
        fold.receive(Event("response.created", {"response": {"id": str(i), "metadata": {TAG: "other"}}}, 0.0))
    return fold


def arguments(n):
    fold = Conversation()
    for _ in range(n):
        fold.receive(Event("response.function_call_arguments.delta", {"response_id": "r", "delta": "{" * 100}, 0.0))
    return fold


@pytest.mark.parametrize("build", [begun, without_ids, unanswered, arguments])
def test_four_times_as_many_events_take_four_times_as_long(build):
    def least(n):
        return min(seconds(lambda: build(n)) for _ in range(3))

    short, long = least(4_000), least(16_000)

    assert long < 10 * short + 0.05  # a loop over what came before makes it 16 times


def test_a_million_errors_are_counted_and_not_kept():
    fold = Conversation()
    for n in range(30_000):
        fold.receive(Event("error", {"error": {"message": str(n)}}, 0.0))

    assert fold.n_errors == 30_000 and fold.errors[-1].message == "29999"
    assert 10_000 <= len(fold.errors) < 20_000


def test_types_that_are_made_up_anew_are_counted_together():
    fold = Conversation()
    for n in range(3_000):
        fold.receive(Event(f"x.{n}" + "y" * 1_000, {}, 0.0))

    assert sum(fold.unknown.values()) == 3_000 and len(fold.unknown) < 1_100
    assert max(map(len, fold.unknown)) < 300


@pytest.mark.parametrize("value", [-1, 2**63, 1e6, "12", True, None, [3]])
def test_what_is_no_count_is_unknown(ga, value):
    usage = {"input_tokens": 5, "input_token_details": {"text_tokens": value, "audio_tokens": 2}}
    ga.creates().done(usage=usage)

    assert row(ga.response)["input_text_tokens"] is None
    assert row(ga.response)["input_audio_tokens"] == 2


def test_a_usage_that_contradicts_itself_says_nothing(ga):
    ga.creates().done(usage={"total_tokens": 5, "input_tokens": 5, "input_token_details": {"text_tokens": 6}})

    assert {row(ga.response)[name] for name in TOKENS} == {None}


def test_indexes_that_are_no_places_are_read_as_the_first(ga):
    ga.creates().hears(
        "response.output_text.delta", response_id="resp_1", output_index=-1, content_index=2**70, delta="Hi"
    )
    ga.hears("response.output_text.delta", response_id="resp_1", output_index=0, content_index=0, delta=" there")

    assert ga.response.text == "Hi there"


def test_a_long_text_is_shown_by_its_beginning(ga):
    ga.creates().opens(kind="text").delta("text", "ha " * 1_000_000)
    ga.hears("x" * 1_000_000).done(output=[ga.message("item_a", "text", "ha " * 1_000_000)])
    events = EventList([Event("x" * 1_000_000, {"type": "x" * 1_000_000, "text": "ha " * 1_000_000}, 0.0)] * 3)

    assert seconds(lambda: repr(events)) < 0.05
    assert seconds(lambda: repr(ga.response)) < 0.1
    assert len(repr(events)) + len(repr(events[0])) + len(repr(ga.response)) < 2_000


def test_a_table_of_events_has_an_end():
    events = EventList(Event("rate_limits.updated", {"type": "rate_limits.updated"}, 0.0) for _ in range(5_000))

    assert len(repr(events).splitlines()) == 401 and "of 5,000 rows" in repr(events)


def test_the_first_line_of_a_reply_is_what_was_asked_for_and_what_arrived(ga):
    ga.creates(output_modalities=["audio"]).opens(kind="text").delta("text", "Hello.").done()

    page = ga.response._repr_html_()

    assert "¶ text" in page and "no audio: 0 bytes" in page and "border-left:3px solid #C24E00" in page
