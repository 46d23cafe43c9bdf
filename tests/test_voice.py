"""Voice to voice: what was heard, interruptions, and a spoken conversation over two cables of a virtual sound card."""

import asyncio
import re
import subprocess
import sys
from collections import deque
from pathlib import Path

import numpy as np
import pytest
import sound_card
from spoken import Terminal, loud_from, reply_interrupted, until

from kit import connect
from kit.audio import Block, Latency, PlaybackPosition, Truncation, Voice, play_replies
from kit.cli import _parser
from kit.cli.talk import _Face, _half_duplex
from kit.clip import Clip
from kit.errors import InputError, LocalProtocolError
from kit.widgets import VoiceChat

# ------------------------------------------------------------------------------------------ what was heard of which item


def position_of(*given):
    """The position after a speaker was given (response, item, samples) one after the other."""
    position, first = PlaybackPosition(), 0
    for response_id, item_id, n in given:
        position.add(response_id, item_id, 0, first=first, n=n)
        first += n
    return position


def test_an_item_is_truncated_at_what_was_heard_and_not_at_what_was_sent():
    position = position_of(("r1", "i1", 48_000))

    told = position.interrupt(12_000, server_cancels=True)

    assert told.truncations == (Truncation("i1", 0, 500),)
    assert told.cancel is None


def test_what_was_heard_to_its_end_is_left_alone():
    position = position_of(("r1", "i1", 24_000), ("r2", "i2", 24_000))

    told = position.interrupt(30_000, server_cancels=True)

    assert told.truncations == (Truncation("i2", 0, 250),)


def test_two_replies_that_wait_are_both_cut():
    position = position_of(("r1", "i1", 24_000), ("r2", "i2", 24_000))

    told = position.interrupt(12_000, server_cancels=True)

    assert told.truncations == (Truncation("i1", 0, 500), Truncation("i2", 0, 0))


def test_a_response_is_cancelled_only_where_one_is_in_progress_and_the_server_does_not():
    active = {"in_progress": ["r1"]}

    assert position_of(("r1", "i1", 100)).interrupt(0, server_cancels=False, **active).cancel == "r1"
    assert position_of(("r1", "i1", 100)).interrupt(0, server_cancels=True, **active).cancel is None
    assert position_of(("r1", "i1", 100)).interrupt(0, server_cancels=False).cancel is None


def test_what_still_arrives_of_an_interrupted_response_is_not_played():
    position = position_of(("r1", "i1", 24_000))
    position.interrupt(0, in_progress=["r1"], server_cancels=True)

    assert not position.may_play("r1") and position.may_play("r2")


def test_a_response_that_was_not_heard_yet_is_dropped_too():
    position = PlaybackPosition()
    told = position.interrupt(0, in_progress=["r1"], server_cancels=True)

    assert told.truncations == () and not position.may_play("r1")


def test_nobody_is_interrupted_twice_for_one_reply():
    position = position_of(("r1", "i1", 24_000))
    position.interrupt(6_000, server_cancels=True)

    assert position.interrupt(6_000, server_cancels=True).truncations == ()


# -------------------------------------------------------------------------------------- a conversation without a sound card


class Mouth:
    """A microphone that says what it is told to, as fast as it is listened to, then silence at the pace of the clock."""

    def __init__(self):
        self.n_dropped = 0
        self._said = deque()
        self._more = asyncio.Event()
        self._first = 0

    def say(self, clip, quiet_ms=1_000):
        silence = np.zeros(int(quiet_ms * 24), np.int16)
        samples = np.concatenate([clip.pcm, silence])
        self._said.extend(samples[k : k + 480].tobytes() for k in range(0, samples.size, 480))
        self._more.set()

    async def __aiter__(self):
        import time

        while True:
            while self._said:
                pcm = self._said.popleft()
                yield Block(pcm, self._first, time.perf_counter())
                self._first += len(pcm) // 2
            self._more.clear()
            await self._more.wait()


class Ear:
    """A speaker that has heard as much as a test says."""

    def __init__(self):
        self.n_written = self.n_heard = self.n_underruns = 0
        self.delays_ms = []
        self.heard = bytearray()

    @property
    def playing(self):
        return self.n_heard < self.n_written

    def write(self, pcm):
        self.heard += pcm
        self.n_written += len(pcm) // 2

    def end(self):
        pass

    async def stop(self):
        self.n_written = self.n_heard
        return self.n_heard


class Talking:
    """A conversation that runs for a test."""

    def __init__(self, session, **options):
        self.mouth, self.ear = Mouth(), Ear()
        self.voice = Voice(session, self.mouth, self.ear, **options)

    async def __aenter__(self):
        self._task = asyncio.ensure_future(self.voice.run())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_):
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


JOKE = Clip.named("tell-me-a-joke")


async def test_what_is_said_is_answered_and_the_answer_is_heard_whole():
    async with connect(quiet=True) as session, Talking(session) as talk:
        talk.mouth.say(JOKE)
        await until(lambda: session.responses and session.responses[-1].status == "completed")
        await until(lambda: len(talk.ear.heard) == session.responses[0].n_audio_bytes)

        assert bytes(talk.ear.heard) == session.responses[0].audio.to_bytes()
        assert session.responses[0].started_by == "vad"
        assert talk.voice.latency.input_ms and len(talk.voice.latency.output_ms) == 1


async def test_speaking_while_it_speaks_truncates_the_item_at_what_was_heard():
    async with connect(quiet=True) as session, Talking(session) as talk:
        talk.mouth.say(JOKE)
        await until(lambda: session.responses and session.responses[-1].status == "completed" and talk.ear.playing)
        talk.ear.n_heard = 24_000
        item = session.items[-1]
        talk.mouth.say(JOKE)
        await until(lambda: item.truncated_at_ms is not None)

        assert item.truncated_at_ms == 1_000
        assert "response.cancel" not in session.events.types  # it was complete: nothing to cancel
        assert session.errors == []


async def test_the_server_that_interrupts_by_itself_is_not_told_to_cancel():
    async with connect(quiet=True, pace=1.0) as session, Talking(session) as talk:
        talk.mouth.say(JOKE)
        await until(lambda: talk.ear.n_written > 12_000)
        talk.ear.n_heard = 6_000
        item = session.items[-1]
        talk.mouth.say(JOKE)
        await until(lambda: item.truncated_at_ms is not None)

        assert session.responses[0].reason == "turn_detected"
        assert item.truncated_at_ms == 250
        assert "response.cancel" not in session.events.types and session.errors == []


async def test_a_server_that_does_not_interrupt_is_told_to():
    settings = {"turn_detection": {"type": "server_vad", "interrupt_response": False, "create_response": True}}
    async with connect(quiet=True, pace=1.0, settings=settings) as session, Talking(session) as talk:
        talk.mouth.say(JOKE)
        await until(lambda: talk.ear.n_written > 12_000)
        talk.mouth.say(JOKE, quiet_ms=100)
        await until(lambda: session.responses[0].status == "cancelled")

        assert session.responses[0].reason == "client_cancelled"
        assert session.errors == []


async def test_nothing_of_an_interrupted_reply_is_heard_afterwards():
    async with connect(quiet=True, pace=2.0, settings={"turn_detection": None}) as session, Talking(session) as talk:
        asking = asyncio.ensure_future(session.ask("Tell me a joke."))
        await until(lambda: talk.ear.n_written > 9_600)
        await talk.voice.press()
        heard = len(talk.ear.heard)
        await asking

        assert (await asking).status == "cancelled"
        assert len(talk.ear.heard) == heard


async def test_what_arrives_while_a_speaker_takes_its_time_to_stop_is_not_heard():
    class FarAway(Ear):
        async def stop(self):
            before = session.responses[0].n_audio_bytes
            await until(lambda: session.responses[0].n_audio_bytes > before)
            return await super().stop()

    ear = FarAway()
    async with connect(quiet=True, pace=2.0) as session, play_replies(session, ear) as playing:
        asking = asyncio.ensure_future(session.ask("Tell me a joke."))
        await until(lambda: ear.n_written > 9_600)
        heard = len(ear.heard)
        await playing.interrupt()
        await asking

        assert len(ear.heard) == heard


async def test_push_to_talk_sends_only_what_is_said_while_it_is_held():
    async with connect(quiet=True, settings={"turn_detection": None}) as session, Talking(session) as talk:
        talk.mouth.say(JOKE)
        await asyncio.sleep(0.05)
        assert "input_audio_buffer.append" not in session.events.types
        await talk.voice.press()
        talk.mouth.say(JOKE, quiet_ms=0)
        await until(lambda: len(talk.voice.latency.input_ms) == -(-JOKE.n_samples // 480))
        response = await talk.voice.release()

        assert response.modality == "audio" and session.items[0].role == "user"
        assert await talk.voice.release() is None


async def test_a_press_that_said_nothing_is_no_turn():
    async with connect(quiet=True, settings={"turn_detection": None}) as session, Talking(session) as talk:
        await talk.voice.press()

        assert await talk.voice.release() is None
        assert session.responses == []


async def test_a_button_is_refused_where_the_server_listens_by_itself():
    async with connect(quiet=True) as session, Talking(session) as talk:
        with pytest.raises(LocalProtocolError, match="turn_detection=None"):
            await talk.voice.press()


async def test_half_duplex_says_nothing_while_it_speaks():
    async with connect(quiet=True) as session, Talking(session, half_duplex=True) as talk:
        talk.mouth.say(JOKE)
        await until(lambda: session.responses and session.responses[-1].status == "completed" and talk.ear.playing)
        talk.mouth.say(JOKE)
        await until(lambda: talk.voice.n_muted >= JOKE.n_samples)

        assert len(session.responses) == 1 and talk.ear.playing


async def test_replies_are_heard_while_they_arrive_without_a_microphone():
    ear = Ear()
    async with connect(quiet=True) as session, play_replies(session, ear) as playing:
        response = await session.ask("Tell me a joke.")
        await until(lambda: len(ear.heard) == response.n_audio_bytes)
        ear.n_heard = ear.n_written
        await playing.drained()

        assert bytes(ear.heard) == response.audio.to_bytes()
        assert playing.heard_ms(response.item_ids[0]) == pytest.approx(response.audio.duration_ms, abs=1)


async def test_a_session_that_is_not_pcm_is_refused_before_anything_is_heard():
    async with connect(quiet=True, settings={"output_format": "g711_ulaw"}) as session:
        with pytest.raises(InputError, match="pcm16"):
            play_replies(session, Ear())


async def test_the_conversation_ends_with_its_session():
    async with connect(quiet=True) as session:
        voice = Voice(session, Mouth(), Ear())
        running = asyncio.ensure_future(voice.run())
        await asyncio.sleep(0)
        await session.close()

        await asyncio.wait_for(running, 10)


def test_latency_keeps_the_kits_own_part_apart():
    latency = Latency(input_ms=[1.0] * 20, output_ms=[2.0], server_ms=[300.0], vad_silence_ms=200)

    assert latency.own_p95_ms == pytest.approx(3.0)
    assert "200 ms" in repr(latency) and "kit:" in latency._repr_html_()


def test_an_echo_alone_does_not_interrupt_and_a_user_over_it_is_heard():
    """In a computed room, at −10 dB after 80 ms; benchmarks/voice_echo.py has more trials, and levels."""
    pytest.importorskip("livekit", reason="the extra 'echo' is not installed")
    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    import voice_echo

    assert voice_echo.false_starts(2, cancel=False) == 2
    assert voice_echo.false_starts(2, cancel=True) == 0
    assert voice_echo.detections(2, near_db=0) == 2


# ------------------------------------------------------------------------------- real PortAudio, two cables, `kit voice`

card = pytest.mark.skipif(not sound_card.installed(), reason="jackd2 or PortAudio is not installed")


@pytest.fixture(scope="module")
def cables(tmp_path_factory):
    pytest.importorskip("jack", reason="JACK-Client is not installed")
    log = tmp_path_factory.mktemp("jack") / "log"
    with sound_card.jack_server(log), sound_card.Cables() as cables, sound_card.portaudio():
        yield cables


@card
@pytest.mark.sound_card
async def test_kit_voice_holds_a_conversation_of_two_turns_with_an_interruption(cables):
    async with Terminal("--full-duplex", "--no-echo-cancellation", "--show-events") as terminal:
        await terminal.says("speak; Ctrl-C ends")
        cables.say(JOKE.pcm)
        await terminal.says("completed", 0)
        await until(lambda: loud_from(cables.recorded, 0) is not None, 60)
        began = loud_from(cables.recorded, 0)
        await until(lambda: cables.n > began + 24_000)  # a second of the reply has been heard
        cables.say(JOKE.pcm)
        await terminal.says("(interrupted)")
        await terminal.says("response.done", 2)
        await until(lambda: cables.n > 0 and not np.any(cables.recorded[-12_000:]), 60)
        code = await terminal.interrupted_by_ctrl_c()
    text = "\n".join(terminal.lines)
    cut_s = float(re.search(r"interrupted after ([\d.]+) s", text)[1])
    # When the speaker fell silent: the first pause of half a second after the reply began.
    heard = np.abs(cables.recorded[began:].astype(int)) > 0
    silence = np.flatnonzero(np.convolve(~heard, np.ones(7_200), "valid") >= 7_200)
    recorded_s = int(silence[0]) / 24_000 if silence.size else heard.size / 24_000

    print({"cut_s": cut_s, "recorded_s": recorded_s})
    assert code == 0 and "Traceback" not in text
    assert text.count("♪ audio") == 2 and "you: Tell me a joke." in text and "simulated" in text
    assert abs(cut_s - recorded_s) <= 0.1
    assert "input 0, output 0" in text


@card
@pytest.mark.sound_card
async def test_a_chat_of_a_notebook_talks_with_the_kernels_microphone_and_speaker(cables):
    sent = []
    async with connect("standin", pace=1.25, quiet=True) as session:
        chat = VoiceChat(session, where="kernel", echo_cancellation=False)
        chat.send = lambda content, buffers=None: sent.append(content)
        before = cables.n
        await chat.start()
        talking = repr(chat)
        cables.say(JOKE.pcm)
        await until(lambda: session.responses and session.responses[-1].status == "completed", 60)
        await until(lambda: loud_from(cables.recorded, before) is not None, 60)
        await chat.stop()
        view = sent[-1]

        assert view["word"] == "ready"  # and not "speaking": a speaker that was closed is silent
        assert "talking" in talking and "idle" in repr(chat) and not session.closed
        assert session.responses[0].modality == "audio" and chat.voice.dropped["input"] == 0
    assert max(message["mine"] for message in sent if message["kind"] == "levels") > 0.1
    views = [message for message in sent if message["kind"] == "view"]
    assert "the kernel's microphone" in views[0]["facts"] and {"opening", "talking"} <= {
        view["state"] for view in views
    }


def test_a_chat_of_neither_machine_is_refused():
    with pytest.raises(InputError, match="where is 'browser' or 'kernel', not 'phone'"):
        VoiceChat(None, where="phone")


@card
@pytest.mark.sound_card
async def test_kit_voice_talks_to_gpt_live_and_says_how_much_was_heard_of_what_was_talked_over(cables):
    async with Terminal(
        "--protocol", "live", "--live", "silence=never", "--full-duplex", "--no-echo-cancellation"
    ) as terminal:
        await terminal.says("speak; Ctrl-C ends")
        asked = cables.say(JOKE.pcm)
        await until(lambda: loud_from(cables.recorded, asked) is not None, 60)
        began = loud_from(cables.recorded, asked)
        await until(lambda: cables.n > began + 24_000)  # a second of the reply has been heard
        cables.say(JOKE.pcm)
        await terminal.says("(interrupted)")
        await terminal.says("♪ audio", 2)
        code = await terminal.interrupted_by_ctrl_c()
    text = "\n".join(terminal.lines)
    cut_s = float(re.search(r"interrupted after ([\d.]+) s", text)[1])
    heard = np.abs(cables.recorded[began:].astype(int)) > 0
    silence = np.flatnonzero(np.convolve(~heard, np.ones(7_200), "valid") >= 7_200)

    assert code == 0 and "Traceback" not in text and text.count("spoken (inferred)") == 2
    assert text.count(f"you: {JOKE.text}") == 2 and "2 replies" in text and "simulated" in text
    assert abs(cut_s - int(silence[0]) / 24_000) <= 0.1
    assert "input 0, output 0" in text


@card
@pytest.mark.sound_card
async def test_an_echo_does_not_interrupt_the_terminal_and_a_user_as_loud_as_it_does(cables):
    """In real time, at −10 dB after 80 ms; `benchmarks/voice_echo.py --card` has more replies, and levels."""
    pytest.importorskip("livekit", reason="the extra 'echo' is not installed")
    async with Terminal() as terminal:
        await terminal.says("speak; Ctrl-C ends")
        by_echo = await reply_interrupted(cables, terminal, JOKE.pcm)
        by_user = await reply_interrupted(cables, terminal, JOKE.pcm, user_db=0)
        code = await terminal.interrupted_by_ctrl_c()

    assert (by_echo, by_user, code) == (False, True, 0)


@pytest.mark.parametrize(
    ("options", "installed", "half_duplex"),
    [
        ([], True, False),
        ([], False, True),
        (["--no-echo-cancellation"], True, True),
        (["--half-duplex"], True, True),
        (["--full-duplex"], False, False),
    ],
)
def test_the_microphone_stays_open_while_it_speaks_only_where_its_echo_is_taken_out_or_one_asks_for_it(
    monkeypatch, options, installed, half_duplex
):
    monkeypatch.setattr("kit.cli.talk.echo_cancellation_installed", lambda: installed)

    assert _half_duplex(_parser().parse_args(["voice", *options])) is half_duplex


async def test_the_line_that_moves_shows_the_last_event_that_is_not_the_microphones():
    async with connect(quiet=True) as session:
        await session.append_audio(JOKE.pcm[:480].tobytes())
        face = _Face(session, wav=None, every_event=False)
        for event in session.events:
            face.take(event)

    assert "append" in session.events[-1].type and "session." in face._line().plain


@card
@pytest.mark.sound_card
async def test_a_device_that_is_not_there_is_one_line(cables):
    async with Terminal("--input", "bluetooth") as terminal:
        code = await asyncio.to_thread(terminal.process.wait, 30)
        await terminal.says("no microphone is called 'bluetooth'; there are:")

    assert code == 1 and "Traceback" not in "\n".join(terminal.lines)


@card
@pytest.mark.sound_card
def test_a_device_that_is_unplugged_ends_the_talk_with_a_sentence(tmp_path):
    """In a process of its own: a sound system that dies takes down who shares it."""
    code = f"""
import asyncio, os, pathlib, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import sound_card, spoken
async def main(server):
    async with spoken.Terminal() as terminal:
        await terminal.says("speak; Ctrl-C ends")
        server.kill()
        code = await asyncio.to_thread(terminal.process.wait, 20)
    print(code, *terminal.lines, sep="\\n", flush=True)
with sound_card.jack_server(pathlib.Path({str(tmp_path / "log")!r}), "-L", "1") as server:
    asyncio.run(main(server))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=90, check=False).stdout

    assert out.splitlines()[0] == "1" and "the microphone 'loopback' is gone" in out and "Traceback" not in out
    assert "0 replies" in out  # what was said until then is summed up all the same


def test_devices_are_listed_or_said_to_be_missing():
    out = subprocess.run(
        [sys.executable, "-m", "kit", "voice", "--devices"], capture_output=True, text=True, timeout=60, check=False
    )

    assert "Traceback" not in out.stderr
    assert out.stdout.strip() or "PortAudio" in out.stderr
