"""The stand-in's GPT-Live session, without a socket and on a clock of the test's own."""

import json

import numpy as np
import pybase64
import pytest
from openai.types.live import ServerEvent
from pydantic import TypeAdapter

from kit.errors import InputError
from kit.speech import recorded
from kit.standin.drift import Draws
from kit.standin.live import LiveServerSession
from kit.standin.live_settings import LiveOptions, silence_rule

OFFICIAL = TypeAdapter(ServerEvent)
QUESTION = "Tell me a joke."


class Wall:
    """A client that feeds 100 ms frames in real time, and what the server sent, with the time."""

    def __init__(self, *, store=None, source=None, trial="t", **options):
        self.now_s = 100.0
        self.store = {} if store is None else store
        rule = silence_rule(options.pop("silence", "never"))
        self.core = LiveServerSession(
            LiveOptions(silence=rule, **options),
            Draws(1, trial),
            self.store,
            now=lambda: self.now_s,
            unix=lambda: 1_790_000_000,
            simulated={"drift": str(rule)},
            source=source,
        )
        self.came = []

    def send(self, kind, **fields):
        return self.core.receive(json.dumps({"type": kind} | fields))

    def start(self, past=(), **session):
        messages = [
            {"role": role, "content": [{"type": "output_text" if role == "assistant" else "input_text", "text": text}]}
            for role, text in past
        ]
        body = session if self.core._source else {"model": "gpt-live-1", "input": messages} | session
        self.send("session.start", event_id="e_start", session=body)
        return self.wait(0.5)

    def wait(self, seconds):
        """Let the wall's clock run."""
        until = self.now_s + seconds
        while True:
            while self.core.advance():
                pass
            self._collect()
            wake = self.core.wake_at
            if wake is None or wake > until or self.core.over:
                self.now_s = until
                return self
            self.now_s = max(self.now_s, wake)

    def feed(self, data, *, seconds=None):
        """Send sound in real time, then silence until `seconds` are full."""
        n = max(len(data), int((seconds or 0) * 48_000))
        data = data.ljust(n, b"\0")
        for start in range(0, len(data), 4_800):
            self.send(
                "session.input_audio.append",
                audio=pybase64.b64encode(data[start : start + 4_800].ljust(4_800, b"\0")).decode(),
            )
            self.wait(0.1)
        return self

    def ask(self, seconds=10.0):
        return self.feed(b"", seconds=1).feed(recorded(QUESTION).to_bytes(), seconds=seconds)

    def _collect(self):
        for frame in self.core.take():
            event = json.loads(frame)
            self.came.append((self.now_s, event))

    def of(self, kind):
        return [event for _, event in self.came if event["type"] == kind]

    def said(self, kind="session.output_transcript.delta"):
        return "".join(event["delta"] for event in self.of(kind)).strip()

    def voiced(self):
        frames = [np.frombuffer(pybase64.b64decode(e["delta"]), "<i2") for e in self.of("session.output_audio.delta")]
        return [bool(np.abs(frame.astype(int)).max() > 64) for frame in frames]


def test_a_spoken_turn_has_its_words_before_its_voice_and_ends_in_zeros():
    wall = Wall().start([("user", "Hi."), ("assistant", "Hello!")]).ask()
    assert wall.said("session.input_transcript.delta") == QUESTION
    assert wall.said() and any(wall.voiced()) and not any(wall.voiced()[-10:])
    word_s = next(at for at, e in wall.came if e["type"] == "session.output_transcript.delta")
    voice_s = next(
        at
        for (at, e), v in zip(
            [c for c in wall.came if c[1]["type"] == "session.output_audio.delta"], wall.voiced(), strict=True
        )
        if v
    )
    assert 0.1 <= voice_s - word_s <= 0.5


def test_a_silent_session_hears_everything_and_says_nothing():
    wall = Wall(silence="always").start().ask()
    assert wall.said("session.input_transcript.delta") == QUESTION
    assert wall.said() == "" and not any(wall.voiced()) and len(wall.voiced()) > 80 and not wall.of("error")


def test_silence_by_length_of_history_is_drawn_by_trial():
    def share(rule, n):
        rule = silence_rule(rule)
        return sum(rule.silent(n, Draws(0, f"trial {k}")) for k in range(2_000)) / 2_000

    assert share("documented", 5) == 0 and share("documented", 9) == pytest.approx(14 / 48, abs=0.03)
    assert share("p=0.2@4", 3) == 0 and share("p=0.2@4", 4) == pytest.approx(0.2, abs=0.03)
    assert Wall(silence="documented", trial="t").start([("user", "x")]).core._silent is False


@pytest.mark.parametrize("name", ["p=2", "p=0.1@-1", "sometimes", "p=", ""])
def test_other_rules_are_refused(name):
    with pytest.raises(InputError, match="p=Q@N"):
        silence_rule(name)


def test_the_clock_stands_while_nothing_is_fed():
    wall = Wall().start()
    wall.send("session.commentary.append", event_id="e1", delegation_id=None, content="Say hi.")
    wall.wait(10)
    assert not wall.of("session.output_audio.delta") and not wall.of("session.commentary.appended")
    wall.feed(b"", seconds=5)
    assert wall.of("session.commentary.appended")[0]["client_event_id"] == "e1" and wall.said()


def test_thinking_is_known_in_silence_and_an_order_in_instructions_is_obeyed():
    quiet, ordered = Wall().start(), Wall().start()
    quiet.send("session.thinking.append", delegation_id=None, content="The caller likes cats.")
    ordered.send("session.instructions.append", delegation_id=None, content="Immediately say hello.")
    assert not any(quiet.feed(b"", seconds=4).voiced()) and any(ordered.feed(b"", seconds=4).voiced())


def test_speech_over_the_reply_stops_it_without_an_event():
    talk = recorded(QUESTION).to_bytes()
    wall = Wall(replies=("Why did the golfer bring two pairs of pants? In case he got a hole in one.",)).start()
    wall.feed(b"", seconds=1).feed(talk, seconds=len(talk) / 48_000 + 2.0)
    speaking = sum(wall.voiced())
    wall.feed(talk, seconds=1.2)
    assert speaking and sum(wall.voiced()) <= speaking + 4


def test_late_by_x():
    first = Wall().start().ask().came
    late = Wall(late_ms=6_000).start().ask(14).came
    when = [next(at for at, e in came if e["type"] == "session.output_transcript.delta") for came in (first, late)]
    assert when[1] - when[0] == pytest.approx(6, abs=0.2)


def test_closing_confirms_whole_seconds_and_then_the_socket():
    wall = Wall().start().feed(b"", seconds=20)
    assert [event["usage"]["seconds"] for event in wall.of("session.usage.updated")] == [15.0]
    wall.send("session.close", event_id="e9")
    wall.send("session.input_audio.append", audio="AAAA")
    wall.wait(1)
    (closed,) = wall.of("session.closed")
    assert (closed["reason"], closed["client_event_id"], closed["session"]["status"]) == (
        "close_requested",
        "e9",
        "active",
    )
    assert closed["usage"]["seconds"] == 21 and wall.core.closing == (1000, "") and not wall.of("error")


def test_a_dropped_session_says_nothing_first():
    wall = Wall(drops_after_s=2.0).start().feed(b"", seconds=3)
    assert wall.core.cut and not wall.of("session.closed")


REFUSED = [
    ({"model": None}, "missing_required_parameter"),
    ({"modalities": ["text"]}, "unknown_parameter"),
    ({"audio": {"output": {"voice": "nova"}}}, "forbidden"),
    ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}] * 129}, "invalid_value"),
    ({"input": [{"role": "system", "content": [{"type": "input_text", "text": "x"}]}]}, "invalid_value"),
    ({"input": [{"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}]}, "invalid_value"),
    ({"input": [{"role": "user", "content": []}]}, "invalid_value"),
]


@pytest.mark.parametrize(("session", "code"), REFUSED)
def test_a_start_that_is_refused_ends_the_session_two_seconds_later(session, code):
    wall = Wall().start(**session)
    assert wall.of("error")[0]["error"]["code"] == code and not wall.of("session.started") and not wall.core.over
    assert wall.wait(2).core.cut


def test_later_refusals_leave_the_session_alive():
    wall = Wall(null_codes=True).start()
    for kind, fields in [
        ("session.update", {"session": {"instructions": "x"}}),
        ("session.update", {"session": {"delegation": {"type": "responses"}}}),
        ("session.commentary.append", {"content": "x"}),
        ("session.commentary.append", {"content": "x", "delegation_id": "item_unknown"}),
        ("session.thinking.append", {"content": "x" * 5_000, "delegation_id": None}),
        ("session.start", {"session": {}}),
        ("response.create", {}),
        ("response.cancel", {}),
        ("session.input_audio.append", {"audio": "???"}),
    ]:
        assert not wall.send(kind, event_id="e5", **fields)
    wall.wait(0.1)
    errors = wall.of("error")
    assert len(errors) == 9 and {event["error"]["code"] for event in errors} == {None}
    assert {event["client_event_id"] for event in errors} == {"e5"} and not wall.core.over


def test_a_fork_knows_the_past_and_does_not_show_it():
    store = {}
    first = Wall(store=store).start([("user", "My favorite color is orange.")], store=True)
    first.core.close()
    (source,) = store.values()
    fork = Wall(store=store, source=source).start()
    (started,) = fork.of("session.started")
    assert started["session"]["input"] == [] and started["session"]["model"] == "gpt-live-1"
    assert started["session"]["id"] != first.core.id and fork.core._lines == ["My favorite color is orange."]


def test_muting_hears_nothing_and_keeps_the_clock():
    wall = Wall().start()
    wall.send("session.input_audio.mute", event_id="e1")
    wall.ask(5)
    assert wall.of("session.input_audio.muted")[0]["client_event_id"] == "e1"
    assert not wall.said("session.input_transcript.delta") and len(wall.voiced()) > 40


def test_a_backend_turn_opens_a_delegation_and_is_spoken():
    wall = Wall().start(delegation={"type": "responses", "responses": {"model": "gpt-5.6-sol"}}).feed(b"", seconds=1)
    wall.send("response.item.create", item={"type": "message", "role": "user", "content": []})
    wall.send("response.create", event_id="e3")
    wall.feed(b"", seconds=5)
    (created,) = wall.of("session.delegation.created")
    nested = [event["event"]["type"] for event in wall.of("response.event")]
    assert created["client_event_id"] == "e3" and nested == [
        "response.created",
        "response.output_text.done",
        "response.completed",
    ]
    assert {event["delegation_id"] for event in wall.of("response.event")} == {
        created["delegation"]["id"]
    } and wall.said()


def test_a_fixture_is_played_and_the_caller_is_not_heard_meanwhile():
    wall = Wall().start().feed(b"", seconds=1)
    wall.send(
        "session.output_audio.fixture.play",
        event_id="e4",
        audio=pybase64.b64encode(recorded(QUESTION).to_bytes()).decode(),
    )
    wall.feed(recorded(QUESTION).to_bytes(), seconds=4)
    assert [wall.of(f"session.output_audio.fixture.{w}")[0]["client_event_id"] for w in ("playing", "played")] == [
        "e4",
        "e4",
    ]
    assert any(wall.voiced()) and not wall.said("session.input_transcript.delta")


def test_every_frame_is_one_of_the_official_types():
    wall = Wall().start([("user", "Hi.")], delegation={"type": "responses", "responses": {"model": "gpt-5.6-sol"}})
    wall.send("session.update", event_id="u", session={})
    wall.send("session.thinking.append", delegation_id=None, content="x")
    wall.send("session.instructions.append", delegation_id=None, content="x")
    wall.send("session.commentary.append", delegation_id=None, content="x")
    wall.send("session.input_audio.mute")
    wall.send("session.input_audio.unmute")
    wall.send("response.create")
    wall.send("nonsense")
    wall.ask(16)
    wall.send("session.output_audio.fixture.play", audio=pybase64.b64encode(bytes(48_000)).decode())
    wall.feed(b"", seconds=4)
    wall.send("session.close")
    wall.wait(1)
    kinds = set()
    for _, event in wall.came:
        if (
            event["type"] != "response.event"
        ):  # its inner event is cut, as the service's is (output [], instructions null)
            OFFICIAL.validate_python(event, strict=True)
        kinds.add(event["type"])
    assert len(kinds) >= 16
