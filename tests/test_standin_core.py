"""The stand-in's core by plain calls: no socket, a hand on its clock, and whatever a client may send."""

import base64
import itertools
import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from official import problems
from shapes import problems as shape_problems

from kit.errors import InputError, MissingExtra
from kit.standin import Call, StandIn
from kit.standin import sound as speaking
from kit.standin.session import CLIENT_FIELDS, LISTEN_MS, ServerSession
from kit.wire.dialect import dialect


class Clock:
    s = 100.0

    def __call__(self):
        return self.s


def core(d="ga", clock=None, **how):
    """A core, its greeting taken."""
    session = ServerSession(
        StandIn(**how).options, dialect(d), model="gpt-realtime", trial="t", now=clock or Clock(), unix=lambda: 1.7e9
    )
    session.take()
    return session


def events(core):
    """What it has to say now."""
    return [json.loads(frame) for frame in core.take()]


def send(core, type, **fields):
    core.receive(json.dumps({"type": type, **fields}))
    return events(core)


def ask(core, text="Tell me a joke."):
    return send(
        core,
        "conversation.item.create",
        item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]},
    )


def run(core, clock, seconds):
    """Let time pass in steps of its own choosing; gives (seconds, type) of what is said."""
    said, end = [], clock.s + seconds
    while core.wake_at is not None and core.wake_at <= end:
        clock.s = max(clock.s, core.wake_at)
        core.advance()
        said += [(clock.s, event["type"]) for event in events(core)]
    clock.s = end
    return said


def test_speech_keeps_to_its_deadlines_and_they_do_not_drift():
    clock = Clock()
    c = core(clock=clock, drift="never", pace=1.0)
    ask(c)
    send(c, "response.create")

    said = run(c, clock, 30)

    at = [s for s, kind in said if kind == "response.output_audio.delta"]
    gaps = [later - earlier for earlier, later in itertools.pairwise(at)]
    assert gaps == pytest.approx([0.2] * len(gaps))
    assert at[0] - 100.0 == pytest.approx(0.37)  # it thinks first, as long as the service did in a log


def test_a_session_ends_on_the_clock_and_says_nothing_after():
    clock = Clock()
    c = core(clock=clock)

    assert run(c, clock, 3599) == []
    assert [kind for _, kind in run(c, clock, 2)] == ["error"]
    assert c.closing == (1001, "Your session hit the maximum duration of 60 minutes.")
    assert ask(c) == []


def test_silence_is_counted_from_when_the_reply_has_been_played():
    clock = Clock()
    c = core(clock=clock, drift="never")
    vad = {"type": "server_vad", "idle_timeout_ms": 6_000}
    send(c, "session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": vad}}})
    ask(c)
    send(c, "response.create")
    while c.wake_at <= clock.s:
        c.advance()
    done = next(e["response"] for e in events(c) if e["type"] == "response.done")
    speech_s = len(speaking.spoken(done["output"][0]["content"][0]["transcript"]).pcm) / 48_000

    said = run(c, clock, speech_s + 7)

    assert said[0][1] == "input_audio_buffer.timeout_triggered"
    assert said[0][0] == pytest.approx(100 + speech_s + 6, abs=0.01)


def test_a_long_piece_of_audio_is_heard_in_slices_so_that_others_are_served_meanwhile():
    clock = Clock()
    c = core(clock=clock)
    say_nothing_for_20_s = base64.b64encode(bytes(20 * 48_000)).decode()

    assert send(c, "input_audio_buffer.append", audio=say_nothing_for_20_s) == []
    slices = 1
    while c.wake_at <= clock.s:
        c.advance()
        slices += 1

    assert slices == 20_000 / LISTEN_MS


def test_what_is_asked_next_is_answered_after_all_of_it_was_heard():
    c = core()
    send(c, "input_audio_buffer.append", audio=base64.b64encode(bytes(20 * 48_000)).decode())
    id = send(c, "input_audio_buffer.commit")[0]["item_id"]

    sound = send(c, "conversation.item.retrieve", item_id=id)[0]["item"]["content"][0]["audio"]
    assert len(base64.b64decode(sound)) == 20 * 48_000


# Whatever a client may send

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 40_000)
    | st.floats(allow_nan=False)
    | st.text(max_size=12)
    | st.sampled_from(
        ["realtime", "message", "user", "assistant", "input_text", "auto", "none", "inf", "root", "server_vad"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "role",
                    "content",
                    "id",
                    "text",
                    "audio",
                    "transcript",
                    "item_id",
                    "output_modalities",
                    "modalities",
                    "instructions",
                    "voice",
                    "tools",
                    "name",
                    "parameters",
                    "tool_choice",
                    "input",
                    "output",
                    "format",
                    "turn_detection",
                    "threshold",
                    "conversation",
                    "metadata",
                ]
            )
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
FIELDS = sorted({name for _, needed, more in CLIENT_FIELDS.values() for name in (*needed, *more)})
EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from([*CLIENT_FIELDS, "nope"])}, optional={name: ANYTHING for name in [*FIELDS, "event_id"]}
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(["ga", "beta"]), st.lists(EVENTS | ANYTHING, max_size=6))
@example("ga", [{"type": "session.update", "session": {"type": ["realtime"]}}])
@example("ga", [{"type": "session.update", "session": {"type": "realtime", "max_output_tokens": 10**400}}])
@example("beta", [{"type": "session.update", "session": {"temperature": -(10**400)}}])
@example(
    "ga", [{"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": [{"type": []}]}}]
)
@example("ga", [{"type": "conversation.item.create", "item": {"type": "message", "role": {}, "content": []}}])
@example("beta", [{"type": "session.update", "session": {"modalities": [{}]}}])
@example("ga", [{"type": "conversation.item.truncate", "item_id": {}, "content_index": 0, "audio_end_ms": 0}])
@example(
    "ga",
    [
        {
            "type": "conversation.item.create",
            "item": {"type": "message", "role": "user", "content": []},
            "previous_item_id": {},
        }
    ],
)
@example("ga", [{"type": "response.create", "response": {"input": [{"type": "item_reference", "id": []}]}}])
@example(
    "ga",
    [
        {
            "type": "session.update",
            "session": {"type": "realtime", "tools": [{"name": "f", "parameters": 1}], "tool_choice": "required"},
        },
        {"type": "response.create"},
    ],
)
def test_nothing_a_client_sends_breaks_it_and_every_answer_is_well_formed(d, sent):
    clock = Clock()
    c = core(d, clock)

    for event in sent:
        c.receive(json.dumps(event))
        c.advance()
    run(c, clock, 5)

    # a frame that echoes what the client made up may be odd; the rest may not
    for event in events(c):
        assert shape_problems(event, d) == [] or event["type"] == "session.updated"
        if event["type"] in ("error", "response.done", "response.created"):
            assert problems(event, dialect=d, direction="server") == []


# What can be said


def test_a_reply_that_nobody_here_can_speak_is_hummed_and_marked(monkeypatch):
    def missing(text, **_):
        raise MissingExtra("no voice is installed")

    monkeypatch.setattr("kit.speech.synthesised", missing)
    sentence = "This sentence was never recorded by anybody."

    assert StandIn(replies=[sentence]).mark.endswith("; voice=plain")
    assert not StandIn(replies=["Yes, I am listening."]).options.plain_voice
    hummed = speaking.plain_voice(sentence)
    assert 2 < len(hummed) / 24_000 < 5 and 500 < abs(hummed).max() <= 2_000


def test_a_call_s_arguments_must_be_json():
    with pytest.raises(InputError, match="must be JSON"):
        StandIn(replies=[Call("f", {"a": object()})])


def test_no_two_lines_share_a_clip():
    from kit.speech import repertoire

    clips = [speaking.spoken(line.text).pcm for line in repertoire()]

    assert len(set(clips)) == len(clips)
