"""GPT-Live: what goes over the wire, and what is made of it. No socket, no clock."""

import json

import numpy as np
import pybase64
import pytest

from kit.clip import Clip
from kit.errors import HistoryError, InputError
from kit.history import History
from kit.wire.live import FORMATS, lint_past, pieces, spell_past, spell_start, tokens_of
from kit.wire.live_conversation import LiveConversation, ReplyPolicy

LOUD = (np.sin(np.arange(2400) / 8) * 8_000).astype("<i2").tobytes()
QUIET = bytes(4_800)


class Talk:
    """A session told event by event; one frame each way per 100 ms."""

    def __init__(self, **policy):
        self.fold = LiveConversation(ReplyPolicy(**policy))
        self.at_ms = 0.0
        self.fold.feed({"type": "session.start", "session": {"model": "gpt-live-1", "input": []}}, 0.0)
        self.server("session.started", session={"id": "live_u1_x", "model": "gpt-live-1", "input": []})

    def server(self, kind, **fields):
        self.fold.feed({"type": kind} | fields, self.at_ms, "server")
        return self

    def frames(self, n, *, caller=QUIET, voice=QUIET, words=""):
        for k in range(n):
            self.at_ms += 100
            if caller is not None:
                audio = pybase64.b64encode(caller).decode()
                self.fold.feed({"type": "session.input_audio.append", "audio": audio}, self.at_ms, "client")
            if words and not k:
                self.server("session.output_transcript.delta", delta=words, start_ms=0, end_ms=200)
            self.server("session.output_audio.delta", delta=pybase64.b64encode(voice).decode())
        return self


def asked():
    """A caller who spoke for a second, and was quiet for half a second; the last loud frame was sent at 2,000 ms."""
    return Talk().frames(10).frames(10, caller=LOUD).frames(5)


# ------------------------------------------------------------------------------------------------------------- outcomes


def test_a_voice_within_the_deadline_is_spoken_and_counted_from_the_last_loud_frame():
    talk = asked().frames(10, voice=LOUD, words=" Sure.").frames(25)
    (reply,) = talk.fold.replies
    assert (reply.outcome, reply.ended, reply.words) == ("spoken", "quiet", "Sure.")
    assert reply.ask.at_ms == 2_000 and reply.first_audio_ms == 600 and reply.n_voiced == 10
    assert reply.n_audio_bytes == 48_000 and reply.audio.duration_ms == 1_000


def test_no_voice_is_silent_however_many_frames_of_zeros_came():
    talk = asked().frames(110)
    (reply,) = talk.fold.replies
    assert (reply.outcome, reply.modality, reply.n_audio_bytes) == ("silent", "empty", 0)


def test_a_voice_after_the_deadline_is_late_and_keeps_what_came():
    talk = asked().frames(50).frames(5, voice=LOUD, words=" Well.").frames(25)
    (reply,) = talk.fold.replies
    assert (reply.outcome, reply.first_audio_ms, reply.words) == ("late", 5_600, "Well.")


def test_a_session_that_ends_before_the_deadline_has_shown_no_silence():
    talk = asked()
    talk.fold.end(talk.at_ms)
    assert [reply.outcome for reply in talk.fold.replies] == ["censored"]


def test_a_connection_that_breaks_before_the_deadline_is_a_failure_and_after_it_a_silence():
    early, late = asked(), asked().frames(50)
    for talk in (early, late):
        talk.fold.end(talk.at_ms, lost=True)
    assert [early.fold.replies[0].outcome, late.fold.replies[0].outcome] == ["failed", "silent"]


def test_a_question_over_the_models_own_voice_is_left_out():
    talk = asked().frames(5, voice=LOUD, words=" Sure,").frames(10, voice=LOUD, caller=LOUD).frames(20)
    assert [reply.outcome for reply in talk.fold.replies] == ["spoken", "censored"]


def test_a_pause_of_the_caller_does_not_make_two_questions():
    talk = Talk().frames(10).frames(8, caller=LOUD).frames(7).frames(8, caller=LOUD).frames(5).frames(5, voice=LOUD)
    assert [ask.began_at_ms for ask in talk.fold.asks] == [1_100]


def test_the_track_s_first_tick_is_no_speech():
    tick = np.full(2400, 80, "<i2").tobytes()
    talk = Talk().frames(2, voice=tick).frames(30)
    assert talk.fold.replies == []


def test_a_commentary_asks_and_its_acknowledgement_may_come_after_the_voice():
    talk = Talk().frames(10)
    talk.fold.sent(
        {"type": "session.commentary.append", "event_id": "e1", "delegation_id": None, "content": "Say hi."}, 1_000
    )
    talk.frames(10).frames(5, voice=LOUD, words="Hi.")
    talk.server("session.commentary.appended", start_ms=600, end_ms=800, client_event_id="e1").frames(25)
    (reply,) = talk.fold.replies
    assert (reply.ask.by, reply.outcome, reply.first_audio_ms) == ("commentary", "spoken", 1_100)
    assert talk.fold.appends[0].acked_at_ms == 2_500 and talk.fold.appends[0].start_ms == 600


def test_without_the_callers_sound_its_words_are_the_trace_of_the_ask():
    talk = Talk().frames(10, caller=None)
    talk.server("session.input_transcript.delta", delta=" Hello", start_ms=600, end_ms=800)
    talk.frames(15, caller=None).frames(3, caller=None, voice=LOUD).frames(30, caller=None)
    (reply,) = talk.fold.replies
    assert (reply.ask.by, reply.outcome) == ("words", "spoken") and talk.fold.caller_words == "Hello"


# ------------------------------------------------------------------------------------------------------ the rest of it


def test_events_that_an_attached_session_repeats_count_once():
    talk = Talk()
    for _ in range(2):
        talk.server("session.output_transcript.delta", event_id="event_1", delta=" Hi", start_ms=0, end_ms=200)
    assert [len(reply.fragments) for reply in talk.fold.replies] == [1]


def test_seconds_are_cumulative_and_confirmed_by_the_close_alone():
    talk = Talk()
    talk.server("session.usage.updated", usage={"seconds": 14.0}, context_window={"usage_ratio": 0.009328125})
    assert (talk.fold.seconds, talk.fold.seconds_confirmed, talk.fold.usage_ratio) == (14.0, False, 0.009328125)
    talk.server("session.closed", reason="close_requested", session={"status": "active"}, usage={"seconds": 21.0})
    assert (talk.fold.seconds, talk.fold.seconds_confirmed, talk.fold.close_reason) == (21.0, True, "close_requested")


def test_an_error_without_a_code_is_tied_to_the_event_that_it_names():
    talk = Talk()
    talk.server(
        "error", error={"type": "invalid_request_error", "code": None, "message": "no", "client_event_id": "e7"}
    )
    assert (talk.fold.errors[0].code, talk.fold.errors[0].event_id) == (None, "e7")


def test_types_that_are_in_no_reference_are_counted():
    talk = Talk().server("session.brand.new").server("session.brand.new")
    assert talk.fold.unknown == {"session.brand.new": 2}


def test_a_delegation_gathers_its_tools_its_answer_and_its_tokens_whichever_event_comes_first():
    talk = Talk()
    inner = [
        {"type": "response.created", "response": {"id": "resp_1"}},
        {
            "type": "response.output_item.done",
            "item": {"type": "function_call", "name": "f", "call_id": "c", "arguments": "{}"},
        },
        {"type": "response.output_text.done", "text": "It rains."},
        {"type": "response.completed", "response": {"usage": {"input_tokens": 8, "output_tokens": 2}}},
    ]
    for event in inner:
        talk.server("response.event", event=event, delegation_id="item_1")
    talk.server("session.delegation.created", offset_ms=3800, delegation={"id": "item_1", "target": "responses"})
    (delegation,) = talk.fold.delegations
    assert (delegation.tools, delegation.text) == ([{"name": "f", "call_id": "c", "arguments": "{}"}], "It rains.")
    assert (delegation.n_open, delegation.status, delegation.offset_ms) == (0, "completed", 3800)
    assert list(talk.fold.backend_usage()) == [{"input_tokens": 8, "output_tokens": 2}]


@pytest.mark.parametrize("value", [None, 3, [], {"a": 1}, "x", True, 1e400])
def test_no_field_of_any_event_can_end_the_fold(value):
    talk = Talk()
    kinds = ["session.started", "session.closed", "session.usage.updated", "response.event", "error", "info",
             "session.delegation.created", "session.output_audio.delta", "session.input_transcript.delta",
             "session.commentary.appended", "session.commentary.append", "session.start"]  # fmt: skip
    for kind in kinds:
        for name in ("session", "usage", "event", "error", "delegation", "delta", "start_ms", "content", "event_id"):
            talk.fold.feed({"type": kind, name: value}, 1.0)
    talk.fold.end(2.0)


def test_policies_have_names_that_differ_where_they_do():
    assert ReplyPolicy().name != ReplyPolicy(deadline_ms=8_000).name != ReplyPolicy(voiced_floor=1_000).name


# -------------------------------------------------------------------------------------------------------------- spelling


def test_a_history_becomes_messages_of_one_text_part_and_system_becomes_developer():
    history = (
        History()
        .system("Be brief.")
        .user("Hi.")
        .assistant("Hello!")
        .function_call("f", "{}", "c")
        .function_output("1", "c")
    )
    spelled = spell_past(history)
    assert [m["role"] for m in spelled] == ["developer", "user", "assistant", "developer", "developer"]
    assert [m["content"][0]["type"] for m in spelled[:3]] == ["input_text", "input_text", "output_text"]
    assert all(len(m["content"]) == 1 for m in spelled)


def test_sound_without_words_is_named_before_anything_is_sent():
    history = History().user(Clip.silence(500))
    with pytest.raises(HistoryError, match="no transcript"):
        spell_past(history)
    assert [finding.index for finding in lint_past(history)] == [0]


def test_each_message_is_named_for_its_own_fault():
    history = History().user(" ").user(Clip.silence(500)).user("Hi.")
    assert [(finding.index, "nothing" in str(finding)) for finding in lint_past(history)] == [(0, True), (1, False)]


def test_too_many_messages_and_too_many_tokens_are_named():
    many = History()
    for _ in range(129):
        many = many.user("Hi.")
    assert "129 messages" in str(lint_past(many)[0])
    assert "tokens" in str(lint_past(History().user("word " * 8_200))[0])
    assert not lint_past(History().user("word " * 1_000))


def test_pieces_lose_no_word_and_none_is_too_long():
    text = " ".join(f"word{n}" for n in range(700))
    cut = pieces(text)
    assert " ".join(cut) == text and len(cut) > 1 and all(tokens_of([piece])[0] <= 500 for piece in cut)


def test_session_start_is_spelled_and_an_unknown_setting_is_refused():
    body = spell_start("gpt-live-1.1", [], {"voice": "cedar", "format": "g711_ulaw", "delegation": "client"})
    assert body["audio"] == {"format": {"type": "audio/pcmu", "rate": 8000}, "output": {"voice": "cedar"}}
    assert body["delegation"] == {"type": "client"} and json.dumps(body)
    with pytest.raises(InputError, match="modality"):
        spell_start("gpt-live-1", [], {"modality": "text"})


@pytest.mark.parametrize("name", FORMATS)
def test_idling_is_quiet_and_speech_is_voiced_in_every_format(name):
    from kit.live import _IDLE
    from kit.wire.live_conversation import peak_of

    assert peak_of(_IDLE[name] * 800, name) <= 64
    loud = {"g711_ulaw": b"\x10", "g711_alaw": b"\x2a"}.get(name, LOUD)
    assert peak_of(loud, name) > 1_000
