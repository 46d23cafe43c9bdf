"""Frames to events and back: the fast path and the plain one give the same answers, and nothing but our own error escapes."""

import json

import msgspec
import pytest
from building import b64, event
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kit.errors import RemoteProtocolError
from kit.wire import events
from kit.wire.dialect import SERVER_EVENTS
from kit.wire.event_list import EventList
from kit.wire.events import AUDIO_DELTA, Event, decode, decode_plain, encode, encode_append

quick = settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def answer(decoder, frame):
    """What a decoder makes of a frame, comparable."""
    try:
        told = decoder(frame, 7.0)
    except RemoteProtocolError as exc:
        return "refused", exc.head
    return told.type, told.data, told.pcm, told.bad_audio is None, told.n_audio_bytes, told.at_ms


# Both paths

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
payloads = st.one_of(
    st.binary(max_size=40).map(b64),
    st.binary(max_size=40).map(lambda pcm: b64(pcm)[:-1]),  # truncated
    st.sampled_from(
        ["", "====", "AA=A", "AAA*", "AAAA AAAA", "AAAA\nAAAA", "\u00e9AAA", 'AA"A', "AA\\A", "-_-_", "AA==AA=="]
    ),
    st.none(),
    st.integers(),
)
values = st.recursive(
    st.one_of(words, st.none(), st.booleans(), st.integers(), payloads, st.just(',"delta":"AAAA"}')),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.one_of(words, st.just("delta")), inner, max_size=2)
    ),
    max_leaves=4,
)
types = st.sampled_from(
    ["response.audio.delta", "response.output_audio.delta", "response.audio.deltas", "session.created"]
)


@st.composite
def frames(draw):
    """JSON objects written by hand: any order, duplicate keys, any white space, any escape."""
    pairs = [("type", draw(types))]
    for key in draw(st.lists(st.sampled_from(["event_id", "delta", "delta", "item_id", "x", "type"]), max_size=5)):
        pairs.append((key, draw(payloads if key == "delta" else st.one_of(types, values) if key == "type" else values)))
    if draw(st.booleans()):
        pairs.append(("delta", draw(payloads)))
    if draw(st.integers(0, 4)) == 0:
        pairs = draw(st.permutations(pairs))
    comma, colon = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,", " : "), (",\n", ":\t"), (", ", ":")]))
    ascii_only = draw(st.booleans())
    body = comma.join(
        json.dumps(k) + colon + json.dumps(v, ensure_ascii=ascii_only, separators=(comma, colon)) for k, v in pairs
    )
    if draw(st.booleans()):
        body = body.replace("/", "\\/")
    end = draw(st.sampled_from(["}", "}", "} ", " }", "}\n", "}}", "", '"}']))
    return "{" + body + end


@settings(quick, max_examples=600)
@given(frames(), st.booleans())
@example('{"type":"response.output_audio.delta","type":[],"delta":"AAAA"}', False)
@example('{"type":"response.output_audio.delta","type":"session.created","delta":"AAAA"}', False)
@example('{"type":"response.output_audio.delta","delta":"AAAA","delta":"AAA"}', False)
@example('{"type":"response.output_audio.delta","delta":"AAAA", "delta": "BBBB"}', False)
@example('{"type":"response.output_audio.delta", "delta": "AAAA","delta":"BBBB"}', True)
@example('{"type":"response.audio.delta","x":{"y":1,"delta":"AAAA"}}', False)
@example('{"type":"response.audio.delta","x":[{"y":1,"delta":"AAAA"}', False)
@example('{"type":"response.audio.delta","x":"\\",\\"delta\\":\\"AAAA"}', False)
@example('{"type":"response.audio.delta","x":"\\\\","delta":"AAAA"}', False)
@example('{"type":"response.audio.delta","delta":"AA\\/A"}', False)
@example('{"type":"response.audio.delta","delta":"\\u0041AAA"}', False)
@example('{"type":"response.audio.delta","delta\\u0000":"","delta":"AAAA"}', False)
@example('{"type":"response.audio.delta","n":1e999,"delta":"AAAA"}', False)
@example('{"type":"response.audio.delta","x":"\\ud800","delta":"AAAA"}', False)
def test_the_fast_path_says_what_the_plain_one_says(frame, as_text):
    raw = frame.encode()

    assert answer(decode, frame if as_text else raw) == answer(decode_plain, raw)


@settings(quick, max_examples=300)
@given(st.binary(max_size=60), st.data())
def test_a_cut_or_damaged_audio_frame_is_read_alike_by_both_paths(pcm, data):
    whole = b'{"type":"response.output_audio.delta","event_id":"e","delta":"%b"}' % b64(pcm).encode()
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = data.draw(
        st.sampled_from([whole[:at], whole[:at] + b"\xff" + whole[at:], whole[:at] + b'"' + whole[at + 1 :]])
    )

    assert answer(decode, damaged) == answer(decode_plain, damaged)


@pytest.mark.parametrize("kind", ["response.output_audio.delta", "response.audio.delta"])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_an_official_audio_delta_takes_the_fast_path(kind, separators, monkeypatch):
    frame = json.dumps({"type": kind, "event_id": "e", "item_id": "i", "delta": b64(b"abcd")}, separators=separators)
    monkeypatch.setattr(events, "decode_plain", None)

    told = decode(frame.encode(), 5)

    assert (told.type, told.pcm, told.n_audio_bytes, told.data["delta"]) == (AUDIO_DELTA, b"abcd", 4, "")


# What an event is


@pytest.mark.parametrize(("ga", "beta"), SERVER_EVENTS)
def test_both_spellings_of_an_event_have_one_name(ga, beta):
    spelled = [event(name) for name in (ga, beta) if name]

    assert {told.type for told in spelled} == {ga}
    assert [told.wire_type for told in spelled] == [name for name in (ga, beta) if name]


def test_an_event_nobody_has_heard_of_is_kept_as_it_came():
    told = event("response.hologram.delta", delta="AAAA", x={"y": [1]})

    assert told.type == "response.hologram.delta"
    assert told.data["delta"] == "AAAA"
    assert told.pcm is None


def test_broken_base64_is_told_and_is_no_error():
    told = event("response.output_audio.delta", delta="AAA")

    assert told.bad_audio
    assert (told.pcm, told.n_audio_bytes) == (b"", 0)


@pytest.mark.parametrize("delta", [None, 5, ["AAAA"]])
def test_a_delta_that_is_no_text_is_bad_audio(delta):
    assert event("response.output_audio.delta", delta=delta).bad_audio


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        (b"", "not JSON"),
        (b"hello there", "not JSON"),
        (b'{"type":"x"', "not JSON"),
        (b'{"type":"x","a":"\xff"}', "not JSON"),
        ('{"type":"x","a":"\ud800"}', "not JSON"),
        (b'{"type":"x","a":' + b"[" * 100_000, "not JSON"),
        (b'{"type":"x","a":' + b"9" * 5_000 + b"}", "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"[1,2]", "not an object"),
        (b"null", "not an object"),
        (b'"type"', "not an object"),
        (b"{}", "without a type"),
        (b'{"type":null}', "without a type"),
        (b'{"type":["error"]}', "without a type"),
        (b'{"type":"response.output_audio.delta","type":{},"delta":"AAAA"}', "without a type"),
    ],
)
def test_a_malformed_frame_is_the_servers_fault_and_shows_its_beginning(frame, problem):
    with pytest.raises(RemoteProtocolError) as caught:
        decode(frame, 0)

    beginning = frame.encode("utf-8", "surrogatepass") if isinstance(frame, str) else frame
    assert problem in str(caught.value)
    assert caught.value.head == beginning[:80].decode("utf-8", "replace")
    assert len(str(caught.value)) < 300


@quick
@given(
    st.one_of(
        st.binary(max_size=80),
        st.text(max_size=60),
        values.map(json.dumps),
        st.tuples(
            st.sampled_from(['{"type":"response.audio.delta"', '{"type": "response.output_audio.delta"']),
            st.text(max_size=30),
        ).map("".join),
    )
)
def test_whatever_comes_in_is_an_event_or_our_own_error(frame):
    try:
        told = decode(frame, 0)
    except RemoteProtocolError as exc:
        assert str(exc)
    else:
        assert isinstance(told, Event)
        assert "\n" not in repr(EventList([told]))


# What we send


@quick
@given(st.binary(max_size=100), words)
def test_an_append_written_past_the_encoder_is_what_the_encoder_writes(pcm, event_id):
    plain = {"type": "input_audio_buffer.append", "event_id": event_id, "audio": b64(pcm)}

    assert encode_append(pcm, event_id) == encode(plain)


def test_what_is_encoded_is_compact_utf8_in_the_order_given():
    assert encode({"type": "x", "b": "é", "a": [1, None]}) == '{"type":"x","b":"é","a":[1,null]}'.encode()


# The list of events


def listed(*raw):
    return EventList(decode(msgspec.json.encode(data), n) for n, data in enumerate(raw))


@pytest.mark.parametrize(
    "odd",
    [
        {"type": "error", "error": "no"},
        {"type": "error", "error": {"message": ["<b>"]}},
        {"type": "conversation.item.added", "item": {"content": 5}},
        {"type": "conversation.item.added", "item": {"content": [None, {"type": {}, "text": 1}]}},
        {"type": "response.content_part.added", "part": {"type": None}},
        {"type": "response.done", "response": {"status": {"<b>": 1}}},
        {"type": "<script>alert(1)</script>\n\u202e"},
    ],
)
def test_an_event_of_odd_shape_shows_itself(odd):
    shown = listed(odd)

    assert len(repr(shown).splitlines()) == 1
    assert "<script" not in shown._repr_html_()
    assert "<b>" not in shown._repr_html_()


def test_deltas_that_follow_each_other_are_one_row():
    audio = {"type": "response.output_audio.delta", "delta": b64(b"1234")}

    shown = repr(listed({"type": "response.created"}, audio, audio, audio, {"type": "response.done"}))

    assert len(shown.splitlines()) == 3
    assert "response.output_audio.delta ×3  12 bytes of audio" in shown


def test_a_list_can_be_cut_and_picked_from():
    events_ = listed({"type": "session.created"}, {"type": "response.created"}, {"type": "response.done"})

    assert events_.of("response.").types == ["response.created", "response.done"]
    assert events_[:1].types == ["session.created"]
    assert events_[-1].type == "response.done"


def test_half_a_character_does_not_make_a_frame_unreadable():
    event = decode(b'{"type":"response.output_text.delta","delta":"cut \\ud83d","n":"\\ud83d\\ude00"}', 0.0)

    assert (event.data["delta"], event.data["n"]) == ("cut ?", "\U0001f600")
